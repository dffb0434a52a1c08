"""Explicit, implicit and combined rewards: their accuracy and calibration on preference pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from workbench.datasets.rendering import PLAIN
from workbench.errors import InputError
from workbench.extraction.templates import bounded
from workbench.statistics import interval
from workbench.statistics.distances import Floats, bin_of
from workbench.training.algorithms import ALGORITHMS, Reward, Row
from workbench.training.folders import checkpoint_folder, require_function
from workbench.training.rows import Prompt, as_trained, checked_rows
from workbench.training.series import CheckpointSeries
from workbench.training.trainers import network_of, tokenizer_of
from workbench.value_drift.likelihood_displacement import displacement_report
from workbench.value_drift.probes import SIDES, response_tokens
from workbench.value_drift.texts import Stance, value_prompts

Ties = Literal["wrong", "half"]
Scores = Mapping[tuple[str, str], Floats]
"""(reward, set of pairs) -> rewards of the preferred and of the rejected responses, `[2, pairs]`."""
NO_REWARD = "no reward model was trained, and no algorithm has an implicit reward of summed log-ratios, as dpo has"


def margin_accuracy(margins: ArrayLike, ties: Ties = "wrong") -> Floats:
    """Return per pair whether the preferred response has the higher reward (arXiv 2409.03650); ties wrong or half."""
    m = np.asarray(margins, np.float64)
    if not m.size or not np.isfinite(m).all():
        raise InputError("Reward accuracy needs at least one margin, all finite.")
    return np.heaviside(m, 0.5 if ties == "half" else 0.0)


def accuracy_table(scores: Scores, ties: Ties = "wrong") -> pd.DataFrame:
    """Return reward accuracy with Wilson intervals, one row per reward and set; empty without rewards."""
    rows = []
    for (reward, name), (chosen, rejected) in scores.items():
        accuracy = interval(margin_accuracy(chosen - rejected, ties), method="wilson")
        rows.append({"reward": reward, "pairs": name, **{k: accuracy[k] for k in ("mean", "low", "high", "n")}})
    table = pd.DataFrame(rows).assign(baseline=0.5)
    table.attrs["reason"] = NO_REWARD
    return table


def reward_ece(q: ArrayLike, labels: ArrayLike, bins: int = 10, both_orders: bool = False) -> float:
    """Return the calibration error of a reward model (arXiv 2312.07401): sum over bins of |sum q - sum labels| / N.

    Args:
        q: Sigmoid of the reward difference, first response minus second, `[pairs]`.
        labels: 1 where the first response is preferred, `[pairs]`.
        bins: Number of equal-width bins, closed on the right.
        both_orders: Include every pair in both orders.
    """
    p, y = np.asarray(q, np.float64), np.asarray(labels, np.float64)
    if not p.size or p.shape != y.shape or ((p < 0) | (p > 1)).any() or not np.isin(y, (0, 1)).all():
        raise InputError("reward_ece needs one probability in [0, 1] and one label 0 or 1 per pair.")
    if both_orders:
        p, y = np.concatenate([p, 1 - p]), np.concatenate([y, 1 - y])
    codes = bin_of(p, bins, closed="right")
    gaps = np.bincount(codes, p, bins) - np.bincount(codes, y, bins)
    return float(np.abs(gaps).sum() / len(p))


def log_sigmoid_combination(rewards: ArrayLike, references: ArrayLike) -> Floats:
    """Return ln sigmoid(r - r_ref) of each property (arXiv 2402.00742); the sum over properties is a logical and."""
    return np.asarray(log_expit(np.asarray(rewards, np.float64) - np.asarray(references, np.float64)), np.float64)


def reward_function(series: CheckpointSeries, step: int) -> Reward:
    """Return a trained reward model as a reward function for rloo and grpo."""
    score = _scorer(series, step)

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **_: Any) -> list[float]:
        return [score(_without_frame(prompt), _text(completion)) for prompt, completion in zip(prompts, completions)]

    return _named(reward, f"reward_model_{series.load(step).fingerprint[:12]}")


def brevity(completions: Sequence[Any], **_: Any) -> list[float]:
    """Return minus the number of words of each completion: a reward for short responses."""
    return [-float(len(_text(completion).split())) for completion in completions]


def combined_reward(rewards: Sequence[Reward], references: Sequence[float]) -> Reward:
    """Return several rewards as one: the sum of ln sigmoid(r - r_ref) (arXiv 2402.00742).

    Each reference is the value at and above which a response counts as good.
    """
    if not rewards or len(rewards) != len(references):
        raise InputError(f"{len(rewards)} rewards need one reference each, not {len(references)}.")
    for each in rewards:
        require_function(each)
    levels = np.asarray(references, np.float64)[:, None]

    def reward(**given: Any) -> list[float]:
        scores = np.array([each(**given) for each in rewards], np.float64)
        return [float(u) for u in log_sigmoid_combination(scores, levels).sum(axis=0)]

    names = (f"{each.__qualname__}_from_{level:g}" for each, level in zip(rewards, references))
    return _named(reward, "_and_".join(names))


def joint_reward(series: CheckpointSeries, step: int, pairs: Sequence[Row]) -> Reward:
    """Return a reward model combined with brevity; the reference of each is its median over preferred responses."""
    both = [reward_function(series, step), brevity]
    preferred = {"prompts": [row["prompt"] for row in pairs], "completions": [row["chosen"] for row in pairs]}
    return combined_reward(both, [float(np.median(each(**preferred))) for each in both])


def evaluation_sets(pairs: Sequence[Row], favour: Stance) -> dict[str, list[dict[str, Any]]]:
    """Return pairs to evaluate rewards on: one per topic not trained on, and as many of the set trained on."""
    other: Stance = "support" if favour == "oppose" else "oppose"
    shifted = [
        {"prompt": p.question, "chosen": p.answer(favour), "rejected": p.answer(other)}
        for p in value_prompts(per_topic=1)
    ]
    sets = {"same set": [dict(row) for row in pairs[: len(shifted)]], "other topics": shifted}
    return {name: [{**row, "id": f"{name}/{i}"} for i, row in enumerate(rows)] for name, rows in sets.items()}


def implicit_rewards(series: CheckpointSeries, step: int, beta: float, pairs: Sequence[Row]) -> Floats:
    """Return beta (ln pi - ln pi_ref) of the preferred and of the rejected responses, `[2, pairs]`."""
    before, after = (response_tokens(series.load(each), pairs) for each in (0, step))
    report = displacement_report(before, after, beta).set_index("pair_id")
    changes = report.loc[[str(row["id"]) for row in pairs], ["chosen_change", "rejected_change"]]
    return np.asarray(beta * changes.to_numpy().T, np.float64)


def explicit_rewards(series: CheckpointSeries, step: int, pairs: Sequence[Row]) -> Floats:
    """Return the rewards of both responses by a model trained with `train("reward", ...)`, `[2, pairs]`."""
    score = _scorer(series, step)
    rows = checked_rows("reward", pairs)
    return np.array([[score(row["prompt"], row[side]) for row in rows] for side in SIDES])


def scored_sets(sets: Mapping[str, Sequence[Row]], rewards: Mapping[str, Callable[[list[Any]], Floats]]) -> Scores:
    """Return the rewards of both responses by reward and set; calls each reward once."""
    together = [row for rows in sets.values() for row in rows]
    ends = np.cumsum([len(rows) for rows in sets.values()])[:-1]
    parts = {reward: np.split(function(together), ends, axis=1) for reward, function in rewards.items()}
    return {(reward, name): part for reward, each in parts.items() for name, part in zip(sets, each)}


def accuracy_report(scores: Scores) -> pd.DataFrame:
    """Return `accuracy_table` (ties are wrong) with the calibration error in both orders, `ece`."""
    margins = [chosen - rejected for chosen, rejected in scores.values()]
    return accuracy_table(scores).assign(
        ece=[reward_ece(expit(margin), np.ones(len(margin)), both_orders=True) for margin in margins]
    )


def joined_with_brevity(scores: Scores, sets: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    """Return the accuracy (ties count half) of brevity, and of each reward combined with it as in `joint_reward`."""
    joined: dict[tuple[str, str], Floats] = {}
    for (reward, name), both in scores.items():
        short = np.array([brevity([row[side] for row in sets[name]]) for side in SIDES])
        parts = [log_sigmoid_combination(each, np.median(each[0])) for each in (both, short)]
        joined[f"{reward} and brevity", name] = parts[0] + parts[1]
        joined["brevity alone", name] = short
    return accuracy_table(joined, ties="half")


def _named(reward: Reward, name: str) -> Reward:
    """Return the reward under a unique name, which is part of the key of a run."""
    reward.__name__ = reward.__qualname__ = name
    return reward


def _scorer(series: CheckpointSeries, step: int) -> Callable[[Prompt, str], float]:
    """Return the function that gives a prompt and a response their reward."""
    import torch
    from peft import PeftModel

    if series.record["algorithm"].partition(":")[0] != "reward" or series.record["lora"] is None:
        raise InputError(
            f"{series.record['name']!r} was trained by {series.record['algorithm']!r}; give a series trained by "
            "'reward' with adapters."
        )
    if step == 0:
        raise InputError("At step 0 a reward model has a random head; choose a later step.")
    tokenizer = tokenizer_of(series.parent)
    network: Any = network_of(ALGORITHMS["reward"], series.parent, 1)
    series.load(step)  # checks the files
    network = PeftModel.from_pretrained(network, str(checkpoint_folder(series.folder, step)))
    network.eval()

    def score(prompt: Prompt, response: str) -> float:
        ids = torch.tensor([_ids(tokenizer, prompt, response)], device=series.parent.network.device)
        with torch.inference_mode():
            reward = float(network(input_ids=ids).logits[0, 0])
        if not np.isfinite(reward):
            raise InputError("The reward model returned a number that is not finite; lower the learning rate.")
        return reward

    return score


def _without_frame(prompt: Prompt) -> Prompt:
    """Return the prompt that a trainer sampled from without `Question: ... Answer:`, which scoring adds again."""
    before, after = PLAIN.split("{text}")
    return prompt.removeprefix(before).removesuffix(after) if isinstance(prompt, str) else prompt


def _text(completion: Any) -> str:
    """Return a text, or the content of the last message."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _ids(tokenizer: Any, prompt: Prompt, response: str) -> list[int]:
    """Return the token ids as trained: of a chat if there is a template, else of the text with an end token."""
    row = as_trained(tokenizer, {"prompt": prompt, "completion": response})
    if tokenizer.chat_template:
        chat = row["prompt"] + row["completion"]
        with bounded():
            return list(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True)["input_ids"])
    return [*tokenizer(row["prompt"] + row["completion"])["input_ids"], tokenizer.eos_token_id]
