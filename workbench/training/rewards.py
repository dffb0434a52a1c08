"""Rewards in Python: an explicit reward model to hold against a policy's own, and several rewards joined into one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from workbench.datasets.value_drift import PLAIN
from workbench.errors import InputError
from workbench.metrics.drift import log_sigmoid_combination
from workbench.training.algorithms import ALGORITHMS, Reward, checked_rows
from workbench.training.exchanges import Asked, as_trained
from workbench.training.folders import checkpoint_folder
from workbench.training.keys import need_function
from workbench.training.series import CheckpointSeries
from workbench.training.trainers import network_of, tokenizer_of


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
