"""Networks from GGUF files: every setting and tensor of the file is used, or the file is refused."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.reading import opened_file, printable

MOST_VALUES = 2_000_000
"""Values in all lists of a file's metadata, each of which the `gguf` reader turns into several objects."""
_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Types of values in metadata -> their bytes."""
_TEXT, _LIST = 8, 9
"""The other two types of values."""
_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_ZERO = (
    "attention.clamp_kqv", "attention.max_alibi_bias", "attention.scale", "attention.sliding_window",
    "attn_logit_softcapping", "expert_count", "expert_gating_func", "expert_shared_count", "expert_used_count",
    "expert_weights_norm", "final_logit_softcapping", "leading_dense_block_count", "nextn_predict_layers",
    "pooling_type", "rope.scaling.yarn_log_multiplier",
)  # fmt: skip
_ONE = (
    "attention.causal", "rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_ext_factor",
)  # fmt: skip
_EITHER = (
    "embedding_scale", "expert_group_count", "expert_group_used_count", "expert_weights_scale", "logit_scale",
    "residual_scale",
)  # fmt: skip
_NEUTRAL = dict.fromkeys(_ZERO, (0,)) | dict.fromkeys(_ONE, (1,)) | dict.fromkeys(_EITHER, (0, 1))
"""Values without effect of settings that the architecture's function does not read; False is 0, True is 1."""
_DESCRIPTIVE = ("rope.scaling.finetuned", "tensor_data_layout")
"""Settings that describe the file and affect no number."""
_REQUIRED: Any = object()


@dataclass
class Gguf:
    """The metadata and tensors of a GGUF file, or of all parts of a split one."""

    path: Path
    """The file, for messages."""
    values: dict[str, Any]
    """Metadata by key; 32-bit floats as the shortest decimal that rounds to the same number."""
    tensors: dict[str, Any]
    """The `gguf` reader's tensors by name."""
    unread: set[str] = field(default_factory=set)
    """Keys that have not been read yet."""

    @property
    def architecture(self) -> str:
        """The architecture's name, which is also the prefix of its settings' keys."""
        return str(self.values.get("general.architecture", ""))

    def value(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a metadata value and mark it as read."""
        self.unread.discard(key)
        value = self.values.get(key, default)
        if value is _REQUIRED:
            raise self.error(f"has no {key}, which its network cannot be built without")
        return value

    def setting(self, name: str, default: Any = _REQUIRED) -> Any:
        """Return a setting of the architecture; a list over layers must have one value."""
        value = self.value(f"{self.architecture}.{name}", default)
        if isinstance(value, list):
            if len(set(value)) != 1:
                raise self.error(f"has a {name} that differs between layers, which is not supported")
            value = value[0]
        return value

    def check_setting(self, name: str, expected: Any) -> None:
        """Refuse a file that sets `name` to another value than the one that the network is built with."""
        if (value := self.setting(name, expected)) != expected:
            raise self.error(f"sets {self.architecture}.{name} to {value}, which its network would read as {expected}")

    def tensor(self, name: str) -> Any:
        """Return a tensor as a numpy array in float32."""
        import gguf

        tensor = self.tensors[name]
        try:
            return gguf.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            kind = tensor.tensor_type.name
            raise self.error(f"stores {name} in the type {kind}, which cannot be dequantised here") from error

    def error(self, reason: str) -> InputError:
        """Return the error for a file that is not supported."""
        return InputError(f"The GGUF file {self.path} {reason}; give the model's folder of safetensors instead.")


def parts_of(source: Path) -> list[Path]:
    """Return all files of a model in order: the file itself, or all parts of a split one."""
    name = _PART.fullmatch(source.name)
    if not name:
        return [source]
    parts = [source.with_name(f"{name[1]}-{n:05}-of-{name[3]}.gguf") for n in range(1, int(name[3]) + 1)]
    if missing := [part.name for part in parts if not part.is_file()]:
        raise InputError(
            f"The GGUF file {source} is one part of {name[3].lstrip('0')}; put {', '.join(missing)} beside it."
        )
    return parts


def read(parts: list[Path]) -> Gguf:
    """Return metadata and tensors of all parts together.

    Raises:
        InputError: If a part belongs to another file, or the file is not a model.
    """
    import gguf
    import numpy as np

    file = Gguf(parts[0], {}, {})
    for number, part in enumerate(parts):
        _check_whole(part)
        reader = gguf.GGUFReader(part)
        if reader.byte_order == "S":
            raise file.error("is written for machines of the other byte order")
        values = {}
        for key, entry in reader.fields.items():
            value = entry.contents()
            if isinstance(value, float) and entry.types[-1] == gguf.GGUFValueType.FLOAT32:
                value = float(str(np.float32(value)))
            values[key] = value
        if (values.get("split.count") or 1, values.get("split.no") or 0) != (len(parts), number):
            raise file.error(
                f"is part {values.get('split.no', 0) + 1} of {values.get('split.count', 1)} by its metadata and not by "
                "its name (NAME-00001-of-00003.gguf), so the other parts cannot be found"
            )
        file.values = values | file.values
        for tensor in reader.tensors:
            if tensor.name in file.tensors:
                raise file.error(f"has {tensor.name} in two of its parts")
            file.tensors[tensor.name] = tensor
    total = file.values.get("split.tensors.count", len(file.tensors))
    if total != len(file.tensors):
        raise file.error(f"has {len(file.tensors)} tensors in its parts, of {total}")
    file.unread = {key for key in file.values if key.startswith((f"{file.architecture}.", "tokenizer."))}
    if (kind := file.values.get("general.type", "model")) != "model":
        raise file.error(f"is not a model (general.type {kind!r})")
    return file


def _check_whole(path: Path) -> None:
    """Refuse a file that ends before its metadata and tensors do, or whose metadata would fill the memory.

    Raises:
        InputError: It is such a file.
    """
    import gguf

    size, place, values = path.stat().st_size, "header", 0
    sizes: dict[int, tuple[int, int]] = {int(kind): each for kind, each in gguf.GGML_QUANT_SIZES.items()}
    with opened_file(path) as file:

        def damaged(reason: str) -> InputError:
            where = f"in its {printable(place, 100)}, it {reason}"
            return InputError(f"The GGUF file {path} is incomplete or damaged: {where}; download or copy it again.")

        def skip(count: int) -> None:
            if count > size - file.tell():
                raise damaged(f"ends after {size:,} bytes")
            file.seek(count, 1)

        def number(form: str, most: int = 1 << 64) -> int:
            skip(length := struct.calcsize(form))
            file.seek(-length, 1)
            if (value := int(struct.unpack(form, file.read(length))[0])) > most:
                raise damaged(f"states the number {value:,}, where {most:,} is the most that a model has")
            return value

        def text() -> str:
            skip(length := number("<Q", 1 << 16))
            file.seek(-length, 1)
            return file.read(length).decode("utf-8", "replace")

        def skip_value(kind: int) -> None:
            nonlocal values
            if kind == _LIST:
                kind, count = number("<I"), number("<Q")
                if (values := values + count) > MOST_VALUES:
                    raise damaged(f"has more than {MOST_VALUES:,} values in the lists of its metadata")
                if kind in _BYTES:
                    skip(count * _BYTES[kind])
                for _ in range(count if kind in (_TEXT, _LIST) else 0):
                    skip_value(kind)
            else:
                skip(number("<Q") if kind == _TEXT else _BYTES.get(kind, 0))

        if file.read(4) != b"GGUF":
            raise InputError(f"{path} is not a GGUF file by its first bytes; check the path, or download it again.")
        if number("<I") not in (2, 3):
            return  # another version or byte order, which the reader refuses
        tensors, settings, alignment = number("<Q", 1 << 17), number("<Q", 1 << 17), 32
        ends: list[tuple[int, str]] = []
        for _ in range(settings):
            place = f"setting {text()!r}"
            kind, start = number("<I"), file.tell()
            skip_value(kind)
            if place == "setting 'general.alignment'" and kind == 4:
                file.seek(start)
                alignment = number("<I") or 1
        for _ in range(tensors):
            place = f"tensor {text()!r}"
            elements = math.prod(number("<Q") for _ in range(number("<I", 4)))
            block, length = sizes.get(number("<I"), (1, 0))
            ends.append((number("<Q") + elements // block * length, place))
        start = -(-file.tell() // alignment) * alignment
        for end, place in ends:  # noqa: B007
            file.seek(start)
            skip(end)


def check_all_read(file: Gguf) -> None:
    """Refuse a file with a setting that was not read and may affect numbers."""
    for key in sorted(file.unread):
        value, name = file.values[key], key.removeprefix(f"{file.architecture}.")
        if key.startswith("tokenizer."):
            ids_or_template = key.endswith(("_token_id", "_token_ids")) or key.startswith("tokenizer.chat_template")
            neutral = not value or ids_or_template
        else:
            neutral = name in _DESCRIPTIVE or value in _NEUTRAL.get(name, ())
        if not neutral:
            raise file.error(f"sets {key} to {_short(value)}, which is not read and may change numbers")


def _short(value: Any) -> str:
    """Return a value for a message, of at most 40 characters."""
    return repr(value) if len(repr(value)) <= 40 else repr(value)[:40] + " …"


def configuration(file: Gguf) -> Any:
    """Return the transformers configuration with exactly the file's settings.

    Raises:
        InputError: If a setting is missing, not supported, or changed by the configuration's class.
    """
    from transformers import AutoConfig

    family = FAMILIES[file.architecture]
    if "token_embd.weight" not in file.tensors:
        raise file.error("lacks token_embd.weight, so it is not a whole language model")
    rows, width = (int(size) for size in reversed(file.tensors["token_embd.weight"].shape))
    file.check_setting("vocab_size", rows)
    file.check_setting("embedding_length", width)
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    ids = {f"{name}_token_id": file.value(f"tokenizer.ggml.{key}_token_id", None) for name, key in names.items()}
    if (turn := file.value("tokenizer.ggml.eot_token_id", None)) not in (None, ids["eos_token_id"]):
        ids["eos_token_id"] = [end for end in (ids["eos_token_id"], turn) if end is not None]
    settings = {"vocab_size": rows, "tie_word_embeddings": "output.weight" not in file.tensors}
    settings |= ids | family.settings(file)
    config = AutoConfig.for_model(family.model_type, **deepcopy(settings))  # which writes into dictionaries
    for name, value in settings.items():
        built = getattr(config, name)
        same = {key: built.get(key) for key in value} == value if isinstance(value, dict) else built == value
        if not same:
            raise file.error(f"sets {name} to {_short(value)}, which the network would read as {_short(built)}")
    return config


def _decoder(file: Gguf, eps: str = "rms_norm_eps", partial: bool = False) -> dict[str, Any]:
    """Return the settings shared by decoders like Llama.

    `eps` is the configuration's name for the epsilon of the norms. With `partial`, the configuration can turn a part of
    each head by position and has no `head_dim`.
    """
    width, heads = file.setting("embedding_length"), file.setting("attention.head_count")
    size = file.setting("attention.key_length", width // heads)
    file.check_setting("attention.value_length", size)
    if partial:
        file.check_setting("attention.key_length", width // heads)
    norm = "attention.layer_norm_rms_epsilon" if eps == "rms_norm_eps" else "attention.layer_norm_epsilon"
    return {
        "hidden_size": width,
        "intermediate_size": file.setting("feed_forward_length"),
        "num_hidden_layers": file.setting("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": file.setting("attention.head_count_kv", heads),
        "max_position_embeddings": file.setting("context_length"),
        eps: float(file.setting(norm)),
        "rope_parameters": _rope(file, size, partial),
    } | ({} if partial else {"head_dim": size})


def _rope(file: Gguf, size: int, partial: bool) -> dict[str, Any]:
    """Return rotary positions as llama.cpp reads them: base, scaling, factors, and the turned part of each head."""
    turned = file.setting("rope.dimension_count", size)
    if turned != size and not (partial and 0 < turned < size and turned % 2 == 0):
        raise file.error(
            f"turns {turned} of {size} dimensions of a head by position (rope.dimension_count), which is not supported"
        )
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(file.setting("rope.freq_base", 10000.0))}
    if partial:
        rope["partial_rotary_factor"] = turned / size
    length = file.setting("context_length")
    original = file.setting("rope.scaling.original_context_length", length)
    factor = file.setting("rope.scaling.factor", None) or file.setting("rope.scale_linear", None) or 1.0
    kind = file.setting("rope.scaling.type", "linear")  # llama.cpp's default where only a factor is given
    given = {name: file.tensor(key) for name, key in _ROPE_TENSORS.items() if key in file.tensors}
    if any(values.shape != (turned // 2,) for values in given.values()):
        raise file.error(f"has factors of rotary positions whose number is not {turned // 2}")
    if kind not in ("none", "linear", "yarn", "longrope") or (given and kind in ("linear", "yarn") and factor != 1):
        raise file.error(
            f"scales rotary positions in a way that is not supported (rope.scaling.type {kind}, factor {factor}, and "
            f"{len(given)} tensors of factors)"
        )
    if [*given] == ["freqs"]:
        return rope | _frequency_factors(given["freqs"].tolist(), rope["rope_theta"], turned, length)
    if given or kind == "longrope":
        if sorted(given) != ["long", "short"]:
            raise file.error("lacks factors of its long rotary positions (rope_factors_long, rope_factors_short)")
        rope |= {f"{name}_factor": given[name].tolist() for name in ("long", "short")}
        rope |= {"rope_type": "longrope", "attention_factor": float(file.setting("rope.scaling.attn_factor"))}
        return rope | {"original_max_position_embeddings": original, "factor": length / original}
    if factor == 1 or kind == "none":
        return rope
    if kind == "linear":
        return rope | {"rope_type": "linear", "factor": float(factor)}
    scale = (1 + 0.1 * math.log(factor) if factor > 1 else 1.0) * file.setting("rope.scaling.attn_factor", 1.0)
    rope |= {"beta_fast": float(file.setting("rope.scaling.yarn_beta_fast", 32.0))}
    rope |= {"beta_slow": float(file.setting("rope.scaling.yarn_beta_slow", 1.0)), "attention_factor": scale}
    return rope | {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": original}


_ROPE_TENSORS = {"freqs": "rope_freqs.weight", "long": "rope_factors_long.weight", "short": "rope_factors_short.weight"}


def _frequency_factors(factors: list[float], theta: float, turned: int, length: int) -> dict[str, Any]:
    """Return rotary positions whose frequencies are divided by the file's factors.

    Factors of Llama 3.1 are given by its parameters; any others as both short and long factors of a longrope.
    """
    factor, original = max(factors), 8192
    expected = []
    for n in range(turned // 2):
        turns = original * theta ** (-2 * n / turned) / (2 * math.pi)  # within the original context
        smooth = min(max((turns - 1) / (4 - 1), 0.0), 1.0)
        expected.append(1 / ((1 - smooth) / factor + smooth))
    if original < length and all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip(factors, expected, strict=True)):
        low_high = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        return {"rope_type": "llama3", "factor": factor, "original_max_position_embeddings": original} | low_high
    same = {"short_factor": factors, "long_factor": factors, "attention_factor": 1.0, "factor": 1.0}
    return {"rope_type": "longrope", "original_max_position_embeddings": length} | same


def _llama(file: Gguf) -> dict[str, Any]:
    biases = {"attention_bias": "blk.0.attn_q.bias", "mlp_bias": "blk.0.ffn_up.bias"}
    return _decoder(file) | {name: tensor in file.tensors for name, tensor in biases.items()}


def _experts(file: Gguf) -> dict[str, Any]:
    """Return the settings of Qwen's mixtures of experts; the chosen experts' weights sum to one only in Qwen 3."""
    third = file.architecture == "qwen3moe"
    file.check_setting("expert_gating_func", 1)
    file.check_setting("expert_weights_norm", third)
    settings = {
        "num_experts": file.setting("expert_count"),
        "num_experts_per_tok": file.setting("expert_used_count"),
        "moe_intermediate_size": file.setting("expert_feed_forward_length"),
        "norm_topk_prob": third,
    }
    if not third:
        settings["shared_expert_intermediate_size"] = file.setting("expert_shared_feed_forward_length")
    return _decoder(file) | settings


def _gemma(file: Gguf) -> dict[str, Any]:
    """Return the settings of Gemma 2 and 3: soft caps, windows on some layers, an attention scale not in the file."""
    third = file.architecture == "gemma3"
    settings = _decoder(file)
    layers = settings["num_hidden_layers"]
    period = file.value(f"{file.architecture}.attention.sliding_window_pattern", 6 if third else 2)
    slides = period if isinstance(period, list) else [bool((layer + 1) % period) for layer in range(layers)]
    settings["layer_types"] = ["sliding_attention" if slide else "full_attention" for slide in slides]
    settings["sliding_window"] = file.setting("attention.sliding_window")
    for name, default in {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}.items():
        settings[name] = file.setting(name, None if third else default) or None
    largest = layers == (62 if third else 46)  # the 27B models scale by another width
    scale = settings["hidden_size"] // settings["num_attention_heads"] if largest else settings["head_dim"]
    settings["query_pre_attn_scalar"] = scale
    if third:
        local = {"rope_type": "default", "rope_theta": float(file.setting("rope.freq_base_swa", 10000.0))}
        settings["rope_parameters"] = {"full_attention": settings["rope_parameters"], "sliding_attention": local}
    return settings


def _phi(file: Gguf) -> dict[str, Any]:
    settings = _decoder(file, partial=True)
    original = settings["rope_parameters"].get("original_max_position_embeddings", settings["max_position_embeddings"])
    window = file.setting("attention.sliding_window", 0) or None
    return settings | {"original_max_position_embeddings": original, "sliding_window": window}


def _stablelm(file: Gguf) -> dict[str, Any]:
    parallel = "blk.0.ffn_norm.weight" not in file.tensors
    file.check_setting("use_parallel_residual", parallel)
    biases = {"use_qkv_bias": "blk.0.attn_q.bias" in file.tensors, "use_parallel_residual": parallel}
    return _decoder(file, "layer_norm_eps", partial=True) | biases


def _starcoder(file: Gguf) -> dict[str, Any]:
    return _decoder(file, "norm_epsilon") | {"use_bias": True, "sliding_window": None}


def _gpt2(file: Gguf) -> dict[str, Any]:
    names = {"n_embd": "embedding_length", "n_layer": "block_count", "n_head": "attention.head_count"}
    names |= {"n_positions": "context_length", "n_inner": "feed_forward_length"}
    file.check_setting("attention.head_count_kv", file.setting("attention.head_count"))
    epsilon = float(file.setting("attention.layer_norm_epsilon"))
    return {name: file.setting(key) for name, key in names.items()} | {"layer_norm_epsilon": epsilon}


def weights(file: Gguf, config: Any) -> tuple[dict[str, int], Iterator[tuple[str, Any]]]:
    """Return the number of elements of every weight of the network, and an iterator over names and weights in float32.

    Names are those of transformers.

    Raises:
        InputError: If the file lacks tensors, has some left over, or (when they are read) has some of another shape.
    """
    import torch
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    config.architectures = [type(network).__name__]
    architecture = next(arch for arch in MODEL_ARCH if MODEL_ARCH_NAMES.get(arch) == file.architecture)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    sources: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        stem, _, kind = name.rpartition(".")
        if kind == "gate_up_proj":  # weights of experts, whose names do not end in `.weight`
            block = str(names.get_name(f"{stem}.down_proj")).removesuffix("ffn_down_exps")
            sources[name] = [f"{block}ffn_gate_exps.weight", f"{block}ffn_up_exps.weight"]
        elif kind == "down_proj":
            sources[name] = [f"{names.get_name(name)}.weight"]
        else:
            sources[name] = [f"{names.get_name(stem)}.{kind}"]
    needed = [source for each in sources.values() for source in each]
    if missing := [source for source in needed if source not in file.tensors]:
        raise file.error(f"lacks {_listed(missing)} of its network's tensors, so it is damaged or a part of a model")
    if left := sorted(set(file.tensors) - set(needed) - set(_ROPE_TENSORS.values())):
        raise file.error(f"has {_listed(left)} tensors for which its network has no place")
    return {name: parameter.numel() for name, parameter in network.named_parameters()}, _read(
        file, config, {name: (tuple(p.shape), sources[name]) for name, p in network.named_parameters()}
    )


def _read(file: Gguf, config: Any, needed: dict[str, tuple[tuple[int, ...], list[str]]]) -> Iterator[tuple[str, Any]]:
    """Yield names and weights; `needed` has the shape of each and the tensors of the file that it consists of."""
    import numpy as np
    import torch

    convert = FAMILIES[file.architecture].convert
    for name, (shape, sources) in needed.items():
        tensors = [convert(file.tensor(each), each, config) for each in sources]
        values = np.concatenate(tensors, axis=-min(len(tensors), 2))
        if (1, *values.shape) == shape:
            values = values[None]
        if values.shape != shape:
            raise file.error(f"has {sources[0]} in the shape {values.shape}, but its settings require {shape}")
        yield name, torch.from_numpy(np.array(values, np.float32, order="C"))


def _listed(names: list[str]) -> str:
    """Return the number of names and the first three."""
    return f"{len(names)} ({', '.join(names[:3])}{' …' * (len(names) > 3)})"


def _unchanged(values: Any, name: str, config: Any) -> Any:
    return values


def _unpermuted(values: Any, name: str, config: Any) -> Any:
    """Undo llama.cpp's order of Llama's queries and keys, which pairs neighbouring dimensions instead of halves."""
    if ".attn_q." not in name and ".attn_k." not in name:
        return values
    heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
    return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(2, 1).reshape(values.shape)


def _minus_one(values: Any, name: str, config: Any) -> Any:
    """Subtract the one that is added to the weights of Gemma's norms in the file."""
    return values - 1 if name.endswith("norm.weight") else values


def _transposed(values: Any, name: str, config: Any) -> Any:
    """Transpose the layers of GPT-2."""
    return values.T if name.startswith("blk.") and values.ndim == 2 else values


@dataclass(frozen=True)
class _Family:
    """How files of one architecture are read."""

    model_type: str
    """The architecture's name in transformers."""
    settings: Callable[[Gguf], dict[str, Any]]
    """Returns the settings of the configuration."""
    convert: Callable[[Any, str, Any], Any] = _unchanged
    """Converts a tensor of the file, given its name and the configuration."""


FAMILIES = {
    "llama": _Family("llama", _llama, _unpermuted),
    "qwen2": _Family("qwen2", _decoder),
    "qwen3": _Family("qwen3", _decoder),
    "qwen2moe": _Family("qwen2_moe", _experts),
    "qwen3moe": _Family("qwen3_moe", _experts),
    "gemma2": _Family("gemma2", _gemma, _minus_one),
    "gemma3": _Family("gemma3_text", _gemma, _minus_one),
    "phi3": _Family("phi3", _phi),
    "stablelm": _Family("stablelm", _stablelm),
    "starcoder2": _Family("starcoder2", _starcoder),
    "gpt2": _Family("gpt2", _gpt2, _transposed),
}
"""Supported architectures by their names in the file; a test compares each with transformers."""
