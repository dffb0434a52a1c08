"""Post-training algorithms as data: TRL classes, settings, and the columns their rows need."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

from workbench.errors import InputError, shown, unknown
from workbench.reading import parse_json

PROMPT, ANSWER, PAIR = ("prompt",), ("prompt", "completion"), ("prompt", "chosen", "rejected")
Row = Mapping[str, Any]
Reward = Callable[..., list[float]]
"""A reward of rloo and grpo: called with `prompts`, `completions` and more by keyword; one number per completion."""
MAX_LENGTH = 512
"""Tokens of prompt and response that training reads, unless `max_length` is set."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A TRL trainer with its settings."""

    trainer: str
    """`module:Trainer` in TRL; its configuration has the same name with Config."""
    columns: tuple[str, ...]
    """Columns that every row needs."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that define the algorithm, and defaults; `params` can change any of them."""
    converted: tuple[str, ...] = ()
    """Parameters of the workbench that are converted into TRL's."""

    @property
    def samples(self) -> bool:
        """Whether training samples responses and needs a reward function."""
        return self.columns == PROMPT

    @property
    def is_reward_model(self) -> bool:
        """Whether training yields a reward model instead of a policy."""
        return self.trainer == "trl:Reward"


def _dpo(converted: tuple[str, ...] = (), **settings: Any) -> Algorithm:
    return Algorithm("trl:DPO", PAIR, {"beta": 0.1} | settings, converted)


SIMPO = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0, "remove_unused_columns": False}
SAMPLING = {"beta": 0.05, "num_generations": 4}
ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        "sft": Algorithm("trl:SFT", ANSWER),  # loss on the completion only
        "dpo": _dpo(loss_type="sigmoid"),
        "ln_dpo": _dpo(loss_type="sigmoid_norm", beta=2.0),  # log-ratios divided by lengths
        "ipo": _dpo(loss_type="ipo"),  # log-ratios divided by lengths, unlike the paper
        "hinge": _dpo(loss_type="hinge"),
        "robust": _dpo(loss_type="robust", label_smoothing=0.1),
        # sft_weight: weight of a token mean; eta: RPO's weight of beta times a sum, converted to sft_weight
        "dpo_sft": _dpo(loss_type=["sigmoid", "sft"], converted=("sft_weight", "eta")),
        "simpo": Algorithm("trl.experimental.cpo:CPO", PAIR, SIMPO),  # experimental in TRL
        "kto": Algorithm("trl:KTO", (*ANSWER, "label"), {"beta": 0.1}),  # unpaired
        "rloo": Algorithm("trl:RLOO", PROMPT, SAMPLING),  # substitute for PPO
        "grpo": Algorithm("trl:GRPO", PROMPT, SAMPLING),  # substitute for PPO
        "reward": Algorithm("trl:Reward", PAIR),
    }
)


def algorithm_named(name: str) -> Algorithm:
    """Return an algorithm by name, with the settings in the name: `simpo:simpo_gamma=2`, `dpo:beta=0.5:ld_alpha=0.9`.

    Values are parsed as JSON, else taken as text.

    Raises:
        InputError: Unknown algorithm, or a part after a colon that is not NAME=VALUE with a parameter of TRL.
    """
    stem = name.partition(":")[0]
    if stem == "ppo":
        raise InputError("TRL has no PPO trainer; use 'rloo' or 'grpo', with a reward function and a KL term.")
    if stem not in ALGORITHMS:
        raise unknown("algorithm", stem, sorted(ALGORITHMS))
    algorithm = ALGORITHMS[stem]
    return replace(algorithm, settings={**algorithm.settings, **named_settings(name)})


def policy_algorithm(name: str) -> Algorithm:
    """Return an algorithm by name; a reward model, whose stances cannot be read, is refused."""
    if name.partition(":")[0] == "reward":
        raise InputError("'reward' trains no policy; set reward_model instead.")
    return algorithm_named(name)


def named_settings(name: str) -> dict[str, Any]:
    """Return the settings in an algorithm's name; they override parameters given separately."""
    stem, *parts = name.split(":")
    settings = [_setting(part, stem) for part in parts]
    if len(dict(settings)) < len(settings):
        raise InputError(f"The algorithm {name!r} sets a parameter twice; set it once.")
    return dict(settings)


def _setting(part: str, stem: str) -> tuple[str, Any]:
    """Parse NAME=VALUE from an algorithm's name."""
    key, equals, text = part.partition("=")
    if not (key and equals and text):
        raise InputError(f"{shown(part)} is not a setting of {stem!r}; write {stem}:NAME=VALUE.")
    if key not in (valid := valid_parameters(stem)):
        raise unknown("parameter", key, valid, f" of {stem!r}")
    try:
        value = parse_json(text, "the value", strict=False)
    except InputError:
        value = text
    default = {each.name: each.default for each in fields(trl_classes(ALGORITHMS[stem])[1])}.get(key, 1.0)
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if isinstance(default, (int, float)) and not isinstance(default, bool) and not number:
        raise InputError(f"{key!r} of {stem!r} must be a number, not {shown(text)}.")
    return key, value


def valid_parameters(name: str) -> list[str]:
    """Return the parameters that `params`, or the name of an algorithm, can set."""
    algorithm = algorithm_named(name)
    names = [f.name for f in fields(trl_classes(algorithm)[1]) if f.init and f.name != "output_dir"]
    return sorted([*names, *algorithm.converted])


def trl_classes(algorithm: Algorithm) -> tuple[Any, Any]:
    """Import the trainer and configuration classes from TRL, with telemetry disabled."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "TRL_EXPERIMENTAL_SILENCE"):
        os.environ.setdefault(name, "1")
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    name, _, stem = algorithm.trainer.partition(":")
    module = import_module(name)
    return getattr(module, f"{stem}Trainer"), getattr(module, f"{stem}Config")


def constant_rate(rate: float, batch: int, **more: Any) -> dict[str, Any]:
    """Return TRL settings for a constant learning rate, `batch` sequences (or pairs) per step, and any further ones."""
    return {"learning_rate": rate, "lr_scheduler_type": "constant", "per_device_train_batch_size": batch} | more
