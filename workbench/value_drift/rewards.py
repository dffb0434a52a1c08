"""Rewards: explicit, implicit and joined, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit, softmax

from workbench.datasets.dialogues import PLAIN
from workbench.errors import InputError
from workbench.statistics import interval
from workbench.statistics.distances import Floats, bin_of
from workbench.training.algorithms import ALGORITHMS, Reward, checked_rows
from workbench.training.exchanges import Asked, as_trained
from workbench.training.folders import checkpoint_folder
from workbench.training.keys import need_function
from workbench.training.series import CheckpointSeries
from workbench.training.trainers import network_of, tokenizer_of

Ties = Literal["wrong", "half"]


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


def preference_probability(chosen: ArrayLike, rejected: ArrayLike) -> Any:
    """Sigmoid of the reward difference: what `reward_ece` judges."""
    return expit(np.asarray(chosen, np.float64) - np.asarray(rejected, np.float64))


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
