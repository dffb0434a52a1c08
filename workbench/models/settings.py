"""The settings that config.json states, held against the network that transformers builds from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.errors import InputError

ROPE = {
    "rope_theta": "rope_theta",
    "rotary_emb_base": "rope_theta",
    "partial_rotary_factor": "partial_rotary_factor",
    "rotary_pct": "partial_rotary_factor",
}
"""Settings of rotary positions that older files have beside `rope_parameters`, and their names in there."""
DECISIVE = re.compile(
    r".*softcap\w*|(logits?|embedding|residual|attention|lm_head)_(scale|scaling|multiplier)|scale_(emb|depth)|"
    r"clip_qkv|alibi|use_bidirectional_attention"
)
"""Settings that change numbers wherever an architecture has them."""


def check_settings(network: Any, written: dict[str, Any], name: str) -> str:
    """Refuse a config.json that says more than the network that was built from it does, or two things.

    Args:
        network: As transformers built it.
        written: What config.json holds.
        name: The model's name.

    Returns:
        What config.json names and was not used, for the record; empty if nothing.

    Raises:
        InputError: If a setting of rotary positions was overruled by another, the architecture has no place for a
            setting that changes numbers, or another architecture is named.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind, config = type(network).__name__, network.config.get_text_config()
    named = [str(one) for one in written.get("architectures") or ()]
    known = [one for one in named if one in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()]
    if known and kind not in named and not known[0].endswith("ConditionalGeneration"):
        raise InputError(
            f"config.json of {name!r} names two architectures, {known[0]} (architectures) and {kind} (model_type "
            f"{network.config.model_type!r}); correct the one that is wrong."
        )
    text = written.get("text_config") or written
    _check_rope(getattr(config, "rope_parameters", None) or {}, text, name)
    fields = {*getattr(type(config), "__dataclass_fields__", text), *getattr(config, "attribute_map", ())}
    for key, value in text.items():
        changes = value is True or (value is not None and value not in (0, 1))
        if DECISIVE.fullmatch(key) and key not in fields and changes:
            raise InputError(
                f"config.json of {name!r} sets {key} to {value}, which {kind} does not read; correct model_type, or "
                "take the setting out if the weights were trained without it."
            )
    theirs = type(network).__module__.startswith("transformers.")
    own = (written.get("auto_map") or {}).get("AutoModelForCausalLM", "") if theirs else ""
    return "; ".join(
        [f"config.json names {', '.join(named)}, read as {kind}"] * bool(named and kind not in named)
        + [f"the model's own code ({own}) was not used, but transformers' {kind}"] * bool(own)
    )


def _check_rope(built: dict[str, Any], text: dict[str, Any], name: str) -> None:
    """Refuse settings of rotary positions of which the network has only some."""
    if not built:
        return
    used = list(_numbers(built))
    beside = {inner: text[key] for key, inner in ROPE.items() if key in text}
    for key, value in [*_numbers(beside), *_numbers(text.get("rope_scaling")), *_numbers(text.get("rope_parameters"))]:
        others = [other for known, other in used if known == key]
        if others and value not in others:
            raise InputError(
                f"config.json of {name!r} says {key} {value} in one place and {others[0]} in another, of "
                "rope_parameters, rope_scaling and rope_theta; write all of them into rope_parameters and remove the "
                "others."
            )


def _numbers(settings: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of settings, also of those inside others; the kind by its newer name."""
    for key, value in settings.items() if isinstance(settings, Mapping) else ():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif value is not None and key != "type":
            yield key, value
