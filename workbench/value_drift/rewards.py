"""Rewards: explicit, implicit and joined, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit, softmax

from workbench.datasets.rendering import PLAIN
from workbench.errors import InputError
from workbench.statistics import interval
from workbench.statistics.distances import Floats, bin_of
from workbench.training.algorithms import ALGORITHMS, Reward, checked_rows
from workbench.training.exchanges import Asked, as_trained
from workbench.training.folders import checkpoint_folder, need_function
from workbench.training.series import CheckpointSeries
from workbench.training.trainers import network_of, tokenizer_of
from workbench.value_drift.likelihood_displacement import displacement_report
from workbench.value_drift.probes import response_tokens
from workbench.value_drift.texts import Stance, value_prompts

Ties = Literal["wrong", "half"]
NO_REWARD = "no reward model was trained, and no algorithm has an implicit reward of summed log-ratios, as dpo has"


def margin_accuracy(margins: ArrayLike, ties: Ties = "wrong") -> Floats:
    """Per pair, whether the preferred response has the higher reward (arXiv 2409.03650); a tie is wrong, or half."""
    m = np.asarray(margins, np.float64)
    if not m.size or not np.isfinite(m).all():
        raise InputError("Reward accuracy needs at least one margin, all finite.")
    if ties not in ("wrong", "half"):
        raise InputError(f"ties={ties!r} is not known; use 'wrong' or 'half'.")
    return np.where(m > 0, 1.0, np.where(m == 0, 0.5 if ties == "half" else 0.0, 0.0))


def accuracy_table(rewards: Mapping[tuple[str, str], ArrayLike], ties: Ties = "wrong") -> pd.DataFrame:
    """Reward accuracy with intervals, one row per (reward, set of pairs in or out of distribution).

    Args:
        rewards: Of each, the rewards of the preferred and of the other responses, `[2, pairs]`.
        ties: As `margin_accuracy` takes them.
    """
    rows = []
    for (reward, name), values in rewards.items():
        chosen, rejected = np.asarray(values, np.float64)
        found = interval(margin_accuracy(chosen - rejected, ties), method="wilson")
        rows.append({"reward": reward, "pairs": name, **{k: found[k] for k in ("mean", "low", "high", "n")}})
    return pd.DataFrame(rows)


def reward_ece(q: ArrayLike, labels: ArrayLike, bins: int = 10, both_orders: bool = False) -> float:
    """Calibration error of a reward model (arXiv 2312.07401): sum over bins of |sum q - sum labels| / N.

    Args:
        q: sigmoid of the reward difference, first response minus second, `[pairs]`.
        labels: 1 where the first response is preferred.
        bins: Bins of equal width, closed on the right, so that an edge belongs to the lower bin.
        both_orders: Feed every pair in both orders too.
    """
    p, y = np.asarray(q, np.float64), np.asarray(labels, np.float64)
    if not p.size or p.shape != y.shape or ((p < 0) | (p > 1)).any() or not np.isin(y, (0, 1)).all():
        raise InputError("Reward calibration needs probabilities in [0, 1] and labels 0 or 1, one each per pair.")
    if both_orders:
        p, y = np.concatenate([p, 1 - p]), np.concatenate([y, 1 - y])
    codes = bin_of(p, bins, closed="right")
    gaps = np.bincount(codes, p, bins) - np.bincount(codes, y, bins)
    return float(np.abs(gaps).sum() / len(p))


def log_sigmoid_combination(rewards: ArrayLike, references: ArrayLike) -> Floats:
    """U = ln sigmoid(r - r_ref) per property (arXiv 2402.00742); summed over properties it is the logical and."""
    return np.asarray(log_expit(np.asarray(rewards, np.float64) - np.asarray(references, np.float64)), np.float64)


def min_norm_weights(gradients: ArrayLike) -> Floats:
    """Weights on the simplex that make the weighted sum of gradients `[sets, parameters]` shortest (2312.07401)."""
    from scipy.optimize import minimize

    g = np.asarray(gradients, np.float64)
    if g.ndim != 2 or not len(g) or not np.isfinite(g).all():
        raise InputError("min_norm_weights needs finite gradients [sets, parameters].")
    if len(g) == 2:
        difference = g[0] - g[1]
        length = difference @ difference
        first = 0.5 if length == 0 else float(np.clip(-(g[1] @ difference) / length, 0, 1))
        return np.array([first, 1 - first])
    gram = g @ g.T
    sums_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start = np.full(len(g), 1 / len(g))
    found = minimize(
        lambda w: w @ gram @ w,
        start,
        jac=lambda w: 2 * gram @ w,
        bounds=[(0, 1)] * len(g),
        constraints=sums_to_one,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return np.asarray(found.x, np.float64)


def best_of_n(rewards: Sequence[float]) -> tuple[int, bool]:
    """Index of the best response (the first at ties), and whether all rewards are the same."""
    r = np.asarray(rewards, np.float64)
    if not r.size or not np.isfinite(r).all():
        raise InputError("Best of n needs at least one finite reward.")
    return int(r.argmax()), bool(np.ptp(r) == 0)


def best_of_n_gain(n: int, sigma: float = 1.0) -> dict[str, float]:
    """Expected gain of the best of n normal rewards, its lower bound sigma sqrt(ln n / (pi ln 2)), and the KL paid."""
    from scipy.integrate import quad
    from scipy.stats import norm

    if n < 1:
        raise InputError(f"Best of n needs n of at least 1, not {n}.")
    exact = quad(lambda x: x * n * norm.pdf(x) * norm.cdf(x) ** (n - 1), -12, 12)[0]
    bound = sigma * np.sqrt(np.log(n) / (np.pi * np.log(2)))
    return {"exact": sigma * exact, "bound": float(bound), "kl": float(np.log(n) - (n - 1) / n)}


def n_to_recover(loss: float, sigma: float = 1.0) -> float:
    """How many samples the bound asks for to win back a loss of reward (arXiv 2506.04462)."""
    return float(np.exp((loss / sigma) ** 2 * np.pi * np.log(2)))


def green_list_z(n_green: int, n: int, fraction: float) -> float:
    """Detection score of a green-list watermark: z of `n_green` green tokens among n."""
    if n < 1 or not 0 < fraction < 1:
        raise InputError(
            "Detecting a watermark needs at least one token and a green fraction strictly between 0 and 1."
        )
    return float((n_green - fraction * n) / np.sqrt(n * fraction * (1 - fraction)))


def green_list_probabilities(logits: ArrayLike, green: Sequence[int], delta: float) -> Floats:
    """Next-token probabilities `[V]` after a watermark adds delta to the logits of its green tokens."""
    z = np.array(logits, np.float64)
    z[list(green)] += delta
    return np.asarray(softmax(z), np.float64)


def reward_scores(series: CheckpointSeries, step: int, pairs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rewards of preferred and other responses under a model trained by `train("reward", ...)`.

    Returns:
        One row per pair: `pair_id`, `chosen`, `rejected`, `margin`.

    Raises:
        InputError: The series is no reward model, or has no such checkpoint.
    """
    score = _scorer(series, step)
    checked_rows("reward", pairs)
    rows = []
    for number, row in enumerate(pairs):
        found = {side: score(row["prompt"], row[side]) for side in ("chosen", "rejected")}
        rows.append({"pair_id": str(row.get("id", number)), **found, "margin": found["chosen"] - found["rejected"]})
    return pd.DataFrame(rows)


def reward_function(series: CheckpointSeries, step: int) -> Reward:
    """A trained reward model as the reward of rloo and grpo."""
    score = _scorer(series, step)

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **_: Any) -> list[float]:
        return [score(_asked(prompt), _text(completion)) for prompt, completion in zip(prompts, completions)]

    return _named(reward, f"reward_model_{series.load(step).fingerprint[:12]}")


def brevity(completions: Sequence[Any], **_: Any) -> list[float]:
    """A reward for short answers: minus their words."""
    return [-float(len(_text(completion).split())) for completion in completions]


def combined_reward(rewards: Sequence[Reward], references: Sequence[float]) -> Reward:
    """Several rewards as one, the logical and of their properties: sum of ln sigmoid(r - r_ref) (arXiv 2402.00742).

    Args:
        rewards: Python rewards, called as TRL calls them.
        references: Of each, the reward from which on an answer counts as good.

    Raises:
        InputError: Not one reference a reward, or a reward that is no function.
    """
    if not rewards or len(rewards) != len(references):
        raise InputError(f"{len(rewards)} rewards need one reference each, not {len(references)}.")
    for each in rewards:
        need_function(each)
    levels = np.asarray(references, np.float64)[:, None]

    def reward(**given: Any) -> list[float]:
        scored = np.array([each(**given) for each in rewards], np.float64)
        return [float(u) for u in log_sigmoid_combination(scored, levels).sum(axis=0)]

    names = (f"{each.__qualname__}_from_{level:g}" for each, level in zip(rewards, references))
    return _named(reward, "_and_".join(names))


def joint_reward(series: CheckpointSeries, step: int, pairs: Sequence[Mapping[str, Any]]) -> Reward:
    """Reward of rloo and grpo: a reward model and brevity, each good from the median preferred answer of pairs on."""
    both = [reward_function(series, step), brevity]
    answers = {
        name: [row[column] for row in pairs] for name, column in (("prompts", "prompt"), ("completions", "chosen"))
    }
    return combined_reward(both, [float(np.median(each(**answers))) for each in both])


def trial_sets(pairs: Sequence[Mapping[str, Any]], favour: str) -> dict[str, list[dict[str, Any]]]:
    """Pairs to try rewards on: of the set that was trained on, and as many of topics that were not."""
    other: Stance = "support" if favour == "oppose" else "oppose"
    shifted = [
        {"prompt": p.question, "chosen": p.answer(favour), "rejected": p.answer(other)}  # type: ignore[arg-type]
        for p in value_prompts(per_topic=1)
    ]
    sets = {"same set": [dict(row) for row in pairs[: len(shifted)]], "other topics": shifted}
    return {name: [{**row, "id": f"{name}/{i}"} for i, row in enumerate(rows)] for name, rows in sets.items()}


def implicit_rewards(series: CheckpointSeries, step: int, beta: float, pairs: Sequence[Mapping[str, Any]]) -> Floats:
    """Beta (ln pi - ln pi_ref) of the preferred and of the other responses, `[2, pairs]`."""
    before, after = (response_tokens(series.load(each), pairs) for each in (0, step))
    report = displacement_report(before, after, beta).set_index("pair_id")
    changes = report.loc[[str(row["id"]) for row in pairs], ["chosen_change", "rejected_change"]]
    return np.asarray(beta * changes.to_numpy().T, np.float64)


def explicit_rewards(series: CheckpointSeries, step: int, pairs: Sequence[Mapping[str, Any]]) -> Floats:
    """Rewards of the preferred and of the other responses by a reward model, `[2, pairs]`."""
    return reward_scores(series, step, pairs)[["chosen", "rejected"]].to_numpy(np.float64).T


def tried(
    sets: Mapping[str, Sequence[Mapping[str, Any]]], rewards: Mapping[str, Callable[[list[Any]], Floats]]
) -> dict[tuple[str, str], Floats]:
    """Of every reward and set, the rewards of the preferred and of the other responses, `[2, pairs]`."""
    together = [row for rows in sets.values() for row in rows]
    ends = np.cumsum([0, *map(len, sets.values())])
    scored = {name: reward(together) for name, reward in rewards.items()}
    return {
        (name, each): both[:, ends[i] : ends[i + 1]] for name, both in scored.items() for i, each in enumerate(sets)
    }


def accuracy_report(scored: Mapping[tuple[str, str], Floats]) -> pd.DataFrame:
    """Accuracy (ties are wrong) and calibration error in both orders of each reward on each set, if there are any."""
    table = accuracy_table(scored).assign(baseline=0.5)
    ones = {key: [1.0] * both.shape[1] for key, both in scored.items()}
    table["ece"] = [reward_ece(expit(both[0] - both[1]), ones[key], both_orders=True) for key, both in scored.items()]
    table.attrs["reason"] = NO_REWARD
    return table


def joined_with_brevity(
    scored: Mapping[tuple[str, str], Floats], sets: Mapping[str, Sequence[Mapping[str, Any]]]
) -> pd.DataFrame:
    """Accuracy (ties count half) of brevity, and of each reward joined with it from the median preferred answer on."""
    joined: dict[tuple[str, str], Floats] = {}
    for (reward, name), both in scored.items():
        short = np.array([brevity([row[side] for row in sets[name]]) for side in ("chosen", "rejected")])
        levels = [log_sigmoid_combination(each, np.median(each[0])) for each in (both, short)]
        joined[f"{reward} and brevity", name] = levels[0] + levels[1]
        joined["brevity alone", name] = short
    table = accuracy_table(joined, ties="half").assign(baseline=0.5)
    table.attrs["reason"] = NO_REWARD
    return table


def _named(reward: Reward, name: str) -> Reward:
    """The reward under a name that tells it from others: a run is kept under it."""
    reward.__name__ = reward.__qualname__ = name
    return reward


def _scorer(series: CheckpointSeries, step: int) -> Callable[[Asked, str], float]:
    """What gives a prompt and a response their reward."""
    import torch
    from peft import PeftModel

    if series.record["algorithm"].partition(":")[0] != "reward" or series.record["lora"] is None:
        raise InputError(
            f"{series.record['name']!r} was trained by {series.record['algorithm']!r}; rewards are read of a series "
            "trained by 'reward' with adapters."
        )
    if step == 0:
        raise InputError("At step 0 a reward model has a head at random; read a later step.")
    tokenizer = tokenizer_of(series.parent)
    network: Any = network_of(ALGORITHMS["reward"], series.parent, 1)
    series.load(step)  # checks its files
    network = PeftModel.from_pretrained(network, str(checkpoint_folder(series.folder, step)))
    network.eval()

    def score(prompt: Asked, response: str) -> float:
        ids = torch.tensor([_ids(tokenizer, prompt, response)], device=series.parent.network.device)
        with torch.inference_mode():
            reward = float(network(input_ids=ids).logits[0, 0])
        if not np.isfinite(reward):
            raise InputError("The reward model gives a number that is not finite; train it with a lower learning rate.")
        return reward

    return score


def _asked(given: Asked) -> Asked:
    """What a trainer sampled from: messages, or the plain form of a prompt, whose frame is put around it again."""
    before, after = PLAIN.split("{text}")
    return given.removeprefix(before).removesuffix(after) if isinstance(given, str) else given


def _text(given: Any) -> str:
    """A text, or the last message of an exchange."""
    return given if isinstance(given, str) else str(given[-1]["content"])


def _ids(tokenizer: Any, prompt: Asked, response: str) -> list[int]:
    """The exchange as it was trained on: as a chat where there is a template, else as text with an end token."""
    row = as_trained(tokenizer, {"prompt": prompt, "completion": response})
    if tokenizer.chat_template:
        chat = row["prompt"] + row["completion"]
        return list(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"])
    return [*tokenizer(row["prompt"] + row["completion"])["input_ids"], tokenizer.eos_token_id]
