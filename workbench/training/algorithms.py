"""Post-training algorithms of TRL as data: classes, settings, and the columns their rows need."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

from workbench.errors import InputError, unknown

ANSWER = ("prompt", "completion")
PAIR = ("prompt", "chosen", "rejected")
Row = Mapping[str, Any]
Reward = Callable[..., list[float]]
MAX_LENGTH = 512
"""Tokens of an exchange that training reads, unless `max_length` says otherwise."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to train."""

    trainer: str
    """`module:Trainer` in TRL; its configuration is the same name with Config."""
    columns: tuple[str, ...]
    """Columns every row of the data needs."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What makes it this algorithm, and defaults; `params` may change any of them."""
    own: tuple[str, ...] = ()
    """Parameters that are translated here into TRL's."""
    note: str = ""
    """What to know of TRL's form of it."""


def _dpo(note: str = "", own: tuple[str, ...] = (), **settings: Any) -> Algorithm:
    return Algorithm("trl:DPO", PAIR, {"beta": 0.1} | settings, own, note)


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "sft": Algorithm("trl:SFT", ("prompt", "completion"), note="loss on the completion alone"),
        "dpo": _dpo(loss_type="sigmoid"),
        "ln_dpo": _dpo(loss_type="sigmoid_norm", beta=2.0, note="log-ratios divided by lengths"),
        "ipo": _dpo(loss_type="ipo", note="log-ratios divided by lengths, unlike the paper"),
        "hinge": _dpo(loss_type="hinge"),
        "robust": _dpo(loss_type="robust", label_smoothing=0.1),
        "dpo_sft": _dpo(
            loss_type=["sigmoid", "sft"],
            own=("sft_weight", "eta"),
            note="sft_weight is of a token mean; eta is RPO's, of eta * beta * a sum, and is converted",
        ),
        "simpo": Algorithm(
            "trl.experimental.cpo:CPO",
            PAIR,
            {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0, "remove_unused_columns": False},
            note="experimental in TRL",
        ),
        "kto": Algorithm("trl:KTO", ("prompt", "completion", "label"), {"beta": 0.1}, note="unpaired"),
        "rloo": Algorithm(
            "trl:RLOO",
            ("prompt",),
            {"beta": 0.05, "num_generations": 4},
            note="stands in for PPO; needs a reward function",
        ),
        "grpo": Algorithm(
            "trl:GRPO",
            ("prompt",),
            {"beta": 0.05, "num_generations": 4},
            note="stands in for PPO; needs a reward function",
        ),
        "reward": Algorithm("trl:Reward", PAIR, note="an explicit reward model"),
    }
)


def algorithm_named(name: str) -> Algorithm:
    """The algorithm of a name, which may carry settings: `simpo:simpo_gamma=2`, `dpo:beta=0.5:ld_alpha=0.9`.

    Values are JSON, or else text.

    Raises:
        InputError: There is no such algorithm, or what follows the colon is no NAME=VALUE with a name TRL knows.
    """
    stem = name.partition(":")[0]
    if stem == "ppo":
        raise InputError("TRL has no PPO; rloo and grpo stand in for it, with a reward function and a KL term.")
    if stem not in ALGORITHMS:
        raise unknown("algorithm", stem, sorted(ALGORITHMS))
    made = ALGORITHMS[stem]
    return replace(made, settings={**made.settings, **named_settings(name)})


def policy_algorithm(name: str) -> Algorithm:
    """The algorithm of a name, if it trains a policy: a reward model has no stances that could be read."""
    if name.partition(":")[0] == "reward":
        raise InputError("'reward' trains no policy, whose stances could be read; set reward_model instead.")
    return algorithm_named(name)


def named_settings(name: str) -> dict[str, Any]:
    """What an algorithm's name sets; it goes over parameters given apart."""
    stem, *parts = name.split(":")
    found = [_setting(part, stem) for part in parts]
    if len(dict(found)) < len(found):
        raise InputError(f"The algorithm {name!r} sets a parameter twice; set it once.")
    return dict(found)


def _setting(part: str, stem: str) -> tuple[str, Any]:
    """NAME=VALUE of an algorithm's name."""
    key, equals, value = part.partition("=")
    if not (key and equals and value):
        raise InputError(f"{part!r} is no setting of {stem!r}; write {stem}:NAME=VALUE.")
    if key not in (valid := valid_parameters(stem)):
        raise unknown("parameter", key, valid, f" of {stem!r}")
    try:
        read = json.loads(value)
    except ValueError:
        read = value
    usual = {each.name: each.default for each in fields(trl_classes(ALGORITHMS[stem])[1])}.get(key, 1.0)
    number = isinstance(read, (int, float)) and not isinstance(read, bool) and math.isfinite(read)
    if isinstance(usual, (int, float)) and not isinstance(usual, bool) and not number:
        raise InputError(f"{key!r} of {stem!r} is a number, not {value!r}.")
    return key, read


def valid_parameters(algorithm: str) -> list[str]:
    """What `params` may name for an algorithm, and its name may carry."""
    made = algorithm_named(algorithm)
    return sorted([f.name for f in fields(trl_classes(made)[1]) if f.init and f.name != "output_dir"] + list(made.own))


def trl_classes(made: Algorithm) -> tuple[Any, Any]:
    """Trainer and configuration in TRL, imported without telemetry."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "TRL_EXPERIMENTAL_SILENCE"):
        os.environ.setdefault(name, "1")
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    module, _, stem = made.trainer.partition(":")
    found = import_module(module)
    return getattr(found, f"{stem}Trainer"), getattr(found, f"{stem}Config")


def constant_rate(rate: float, batch: int, **more: Any) -> dict[str, Any]:
    """Settings of TRL for a constant learning rate and so many sequences (or pairs) in a step, and further ones."""
    return {"learning_rate": rate, "lr_scheduler_type": "constant", "per_device_train_batch_size": batch} | more


def checked_rows(algorithm: str, data: Sequence[Row]) -> list[dict[str, Any]]:
    """The algorithm's columns of every row; an empty set, a missing column or an empty text is an error."""
    columns = algorithm_named(algorithm).columns
    if not len(data):
        raise InputError(f"There is nothing to train {algorithm!r} on; give at least one row.")
    rows = []
    for number, row in enumerate(data):
        for name in columns:
            if name not in row:
                raise InputError(f"Row {number} lacks the column {name!r}; {algorithm!r} needs {', '.join(columns)}.")
            if isinstance(row[name], str) and not row[name].strip():
                raise InputError(f"Row {number} has an empty {name!r}; leave the row out.")
        rows.append({name: row[name] for name in columns})
    return rows


def rows_for(algorithm: str, pairs: Sequence[Row]) -> list[dict[str, Any]]:
    """Preference pairs in the columns of an algorithm.

    Algorithms for pairs take them as they are; kto takes each answer by itself with its label, rloo and grpo the
    prompts alone, and sft, as a control, the preferred answers.

    Raises:
        InputError: Unknown algorithm, one that trains no policy, or a pair without a column.
    """
    columns = policy_algorithm(algorithm).columns
    rows = checked_rows("dpo", pairs)
    if columns == PAIR:
        return rows
    if "label" in columns:
        sides = [(row, side) for row in rows for side in PAIR[1:]]
        return [{"prompt": r["prompt"], "completion": r[side], "label": side == "chosen"} for r, side in sides]
    return [
        {"prompt": row["prompt"], "completion": row["chosen"]} if len(columns) > 1 else {"prompt": row["prompt"]}
        for row in rows
    ]
