"""Reading GGUF files: every tensor and every setting of the file is used, or the file is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import InputError

_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.scale": (0.0,),
    "attention.sliding_window": (0,),
    "attn_logit_softcapping": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "expert_count": (0,),
    "expert_gating_func": (0,),
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
    "expert_shared_count": (0,),
    "expert_used_count": (0,),
    "expert_weights_norm": (False,),
    "expert_weights_scale": (0.0, 1.0),
    "final_logit_softcapping": (0.0,),
    "leading_dense_block_count": (0,),
    "logit_scale": (0.0, 1.0),
    "nextn_predict_layers": (0,),
    "pooling_type": (0,),
    "residual_scale": (0.0, 1.0),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.yarn_attn_factor": (1.0,),
    "rope.scaling.yarn_ext_factor": (1.0,),
    "rope.scaling.yarn_log_multiplier": (0.0,),
}
"""Values of settings that change nothing, for settings that the architecture's reader does not ask for."""
_HARMLESS = ("rope.scaling.finetuned", "tensor_data_layout")
"""Settings that describe the file and change no number."""
_REQUIRED: Any = object()


@dataclass
class Gguf:
    """The metadata and tensors of a GGUF file, or of all parts of a split one."""

    path: Path
    """The file, for messages."""
    values: dict[str, Any]
    """Metadata by key; numbers of 32 bits as the shortest decimal that is read as the same number."""
    tensors: dict[str, Any]
    """`gguf` reader's tensors by name."""
    unread: set[str] = field(default_factory=set)
    """Keys nobody has asked for yet."""

    @property
    def architecture(self) -> str:
        """The name that also begins the keys of the network's settings."""
        return str(self.values.get("general.architecture", ""))

    def key(self, key: str, default: Any = _REQUIRED) -> Any:
        """A metadata value, marked as read.

        Raises:
            InputError: If it is absent and has no default.
        """
        self.unread.discard(key)
        value = self.values.get(key, default)
        if value is _REQUIRED:
            raise self.refusal(f"has no {key}, which its network cannot be built without")
        return value

    def setting(self, name: str, default: Any = _REQUIRED) -> Any:
        """A value of the network's; one written for every layer is taken where all layers have the same.

        Raises:
            InputError: If it is absent without a default, or differs between layers.
        """
        value = self.key(f"{self.architecture}.{name}", default)
        if isinstance(value, list):
            if len(set(value)) != 1:
                raise self.refusal(f"has a {name} that differs between layers, which is not read")
            value = value[0]
        return value

    def hold(self, name: str, expected: Any) -> None:
        """Refuse a file that sets `name` to another value than the one that the network is built with."""
        if (found := self.setting(name, expected)) != expected:
            raise self.refusal(
                f"sets {self.architecture}.{name} to {found}, which its network would read as {expected}"
            )

    def whole(self, tensor: str) -> Any:
        """A tensor of the file in float32, as a numpy array.

        Raises:
            InputError: If it is of a type that cannot be read.
        """
        import gguf

        found = self.tensors[tensor]
        try:
            return gguf.dequantize(found.data, found.tensor_type)
        except NotImplementedError as error:
            kind = found.tensor_type.name
            raise self.refusal(f"holds {tensor} in the type {kind}, which cannot be dequantised here") from error

    def refusal(self, reason: str) -> InputError:
        """The error for a file that cannot be read as what it is."""
        return InputError(f"The GGUF file {self.path} {reason}; give the model's folder of safetensors instead.")


def parts_of(source: Path) -> list[Path]:
    """The files that decide a model's numbers: the file itself, or all parts of a split one, in order.

    Raises:
        InputError: If parts do not lie beside it.
    """
    named = _PART.fullmatch(source.name)
    if not named:
        return [source]
    parts = [source.with_name(f"{named[1]}-{n:05}-of-{named[3]}.gguf") for n in range(1, int(named[3]) + 1)]
    if missing := [part.name for part in parts if not part.is_file()]:
        raise InputError(
            f"The GGUF file {source} is one part of {named[3].lstrip('0')}; put {', '.join(missing)} beside it."
        )
    return parts


def read(parts: list[Path]) -> Gguf:
    """Metadata and tensors of all parts together."""
    import gguf
    import numpy as np

    file = Gguf(parts[0], {}, {})
    for number, part in enumerate(parts):
        reader = gguf.GGUFReader(part)
        if reader.byte_order == "S":
            raise file.refusal("is written for machines of the other byte order")
        values = {}
        for key, found in reader.fields.items():
            value = found.contents()
            if isinstance(value, float) and found.types[-1] == gguf.GGUFValueType.FLOAT32:
                value = float(str(np.float32(value)))
            values[key] = value
        if (values.get("split.count") or 1, values.get("split.no") or 0) != (len(parts), number):
            raise file.refusal(
                f"is part {values.get('split.no', 0) + 1} of {values.get('split.count', 1)} by its metadata and not by "
                "its name (NAME-00001-of-00003.gguf), so the other parts cannot be found"
            )
        file.values = values | file.values
        for tensor in reader.tensors:
            if tensor.name in file.tensors:
                raise file.refusal(f"holds {tensor.name} in two of its parts")
            file.tensors[tensor.name] = tensor
    total = file.values.get("split.tensors.count", len(file.tensors))
    if total != len(file.tensors):
        raise file.refusal(f"holds {len(file.tensors)} tensors in its parts, of {total}")
    file.unread = {key for key in file.values if key.startswith((f"{file.architecture}.", "tokenizer."))}
    if (kind := file.values.get("general.type", "model")) != "model":
        raise file.refusal(f"holds no model (general.type {kind!r})")
    return file


def says_nothing(file: Gguf, key: str) -> bool:
    """Whether a key that nobody asked for is known to change no number with the value that it has."""
    name = key.removeprefix(f"{file.architecture}.")
    if key.startswith("tokenizer."):
        return (
            not file.values[key]
            or key.endswith(("_token_id", "_token_ids"))
            or key.startswith("tokenizer.chat_template")
        )
    return name in _HARMLESS or file.values[key] in _NEUTRAL.get(name, ())


def short(value: Any) -> str:
    """A metadata value as it stands in a message."""
    return repr(value) if len(repr(value)) <= 40 else repr(value)[:40] + " …"
