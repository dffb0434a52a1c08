"""Quantised checkpoints: which forms are read, and their weights as plain numbers.

Every weight is its stored integers times their scales, in float32, and the network is that of the unquantised model, on
every device and without the library that wrote the files. What a runtime rounds besides (activations, products) is not.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.models.proof import WHOLE
from workbench.models.weights import Stored

PARTS = {
    "bitsandbytes": r"(.+?)\.(?:weight\.)?(absmax|quant_[\w.]+|nested_\w+|SCB|weight_format)",
    "gptq": r"(.+)\.(qweight|qzeros|scales|g_idx)",
    "awq": r"(.+)\.(qweight|qzeros|scales)",
    "compressed-tensors": r"(.+)\.(weight_(?:packed|scale|shape|zero_point|g_idx)|input_(?:scale|zero_point))",
    "fp8": r"(.+)\.(weight_scale|weight_scale_inv|input_scale|activation_scale)",
    "mxfp8": r"(.+)\.(weight_scale_inv)",
    "mxfp4": r"(.+)_(blocks|scales)",
}
"""Methods that are read: pattern of a module and of a tensor that belongs to its weight."""
AWQ_COLUMNS = [0, 4, 1, 5, 2, 6, 3, 7]
"""Position of column i among the eight of a 32-bit word."""
STRATEGIES = ("tensor", "channel", "group", "block")
SCHEMES = [f"pack-quantized, {bits} bits, {each}" for bits in (4, 8) for each in STRATEGIES]
SCHEMES += [f"{kind}-quantized, 8 bits, {each}" for kind in ("int", "naive", "float") for each in STRATEGIES]
"""Formats of compressed-tensors that are read."""
Parts = dict[str, Any]


def form_of(written: Mapping[str, Any], stored: dict[str, Stored], name: str) -> dict[str, Any]:
    """Return what config.json says of a quantisation, before the weights are read; empty if they are plain numbers.

    Args:
        written: Content of config.json.
        stored: The tensors of the files.
        name: The model's name.

    Raises:
        InputError: If the method, or a variant of it, is not read.
    """
    settings = written.get("quantization_config")
    if not settings:
        return {}
    settings = dict(settings) if isinstance(settings, dict) else {"quant_method": str(settings)}
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        settings["quant_method"] = "bitsandbytes"
    method = settings.get("quant_method") or "a method that config.json does not name"
    bits, variant, allowed = settings.get("bits", settings.get("w_bit", 4)), "", list[str]()
    if method == "gptq":
        kind = settings.get("checkpoint_format") or "gptq"
        variant = "layers of several kinds" if settings.get("dynamic") else f"{bits} bits, {kind}"
        allowed = [f"{number} bits, {each}" for number in (2, 4, 8) for each in ("gptq", "gptq_v2")]
    elif method == "awq":
        variant, allowed = f"{bits} bits, {str(settings.get('version', 'gemm')).lower()}", ["4 bits, gemm"]
    elif method == "compressed-tensors":
        variants = {_scheme(group, settings) for group in (settings.get("config_groups") or {}).values()}
        variant, allowed = ", ".join(sorted(variants)) or "without config_groups", SCHEMES
    elif method in PARTS:
        return settings
    elif all(each.dtype in WHOLE for each in stored.values()) and not _is_known(method):
        return {}  # plain numbers, whatever they were before
    if variant in allowed:
        return settings
    shown = f" ({variant})" if variant else ""
    raise InputError(
        f"{name!r} is quantised by {method}{shown}, which is not read here; give the unquantised model, or serve this "
        "one with vLLM and give vllm://host:port/NAME."
    )


def numbers_in(stored: dict[str, Stored], settings: dict[str, Any]) -> int:
    """Return the number of weights behind the tensors of a checkpoint, a few scales included."""
    per_word = {"U8": 2 if settings else 1, "I32": 32 // _bits(settings) if settings else 1}
    return sum(prod(each.shape) * per_word.get(each.dtype, 1) for each in stored.values())


def note_of(settings: dict[str, Any]) -> str:
    """Return the remark for the record on a quantised checkpoint that was read."""
    groups = (settings.get("config_groups") or {}).values()
    rounds = settings.get("activation_scheme") or any(group.get("input_activations") for group in groups)
    activations = ", its activations were not rounded" if rounds else ""
    return f"weights quantised by {settings['quant_method']} were read as numbers{activations}"


def dequantised(
    stored: dict[str, Stored], settings: dict[str, Any], dtype: Any, name: str
) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Return the weights of a checkpoint as numbers in `dtype`, and their headers as if the files contained them.

    Raises:
        InputError: If a part of a weight is missing, or the parts do not fit each other.
    """
    from safetensors import safe_open

    method, modules = settings["quant_method"], defaultdict[str, dict[str, str]](dict)
    for key in stored:
        if match := re.fullmatch(PARTS[method], key):
            modules[match[1]][match[2].partition("__")[0]] = key
    for module, parts in modules.items():
        if f"{module}.weight" in stored:
            parts["weight"] = f"{module}.weight"
    if pickles := sorted(tensor.file.name for tensor in stored.values() if tensor.file.suffix != ".safetensors"):
        raise InputError(f"{name!r} is quantised by {method} and is in pickle files ({pickles[0]}); convert them.")
    used = {key for parts in modules.values() for key in parts.values()}
    weights, headers = {}, {}
    with ExitStack() as stack:
        files: dict[Path, Any] = {}
        for path in {tensor.file for tensor in stored.values()}:
            files[path] = stack.enter_context(safe_open(path, framework="pt"))

        def read(key: str) -> Any:
            return files[stored[key].file].get_tensor(key)

        for key, tensor in stored.items():
            if key in used:
                continue
            if tensor.dtype.startswith(("F8", "I8", "U8", "I32")) and len(tensor.shape) > 1:
                raise InputError(
                    f"The weight {key} of {name!r} is stored as {tensor.dtype} in {tensor.file.name} without its "
                    "scale; the download may be incomplete, or the scales were lost in a conversion."
                )
            weights[key], headers[key] = read(key), tensor
        for module, parts in sorted(modules.items()):
            key, read_parts = module + ".weight" * (method != "mxfp4"), {part: read(of) for part, of in parts.items()}
            try:
                weights[key] = _weight(method, settings, read_parts).to(dtype)
            except KeyError as error:
                raise InputError(
                    f"The files of {name!r} lack {module}.{error.args[0]}, a part of its weight quantised by {method}; "
                    "the download may be incomplete."
                ) from error
            except (IndexError, RuntimeError, ValueError) as error:
                raise InputError(
                    f"The parts of {key} of {name!r}, quantised by {method}, do not fit each other or config.json "
                    f"({str(error).splitlines()[0].rstrip('.')}); take both from one source."
                ) from error
            headers[key] = Stored(tuple(weights[key].shape), "F", stored[next(iter(parts.values()))].file)
    return weights, headers


def _weight(method: str, settings: dict[str, Any], parts: Parts) -> Any:
    """Return the weight of a module [outputs, inputs] in float32."""
    if method == "bitsandbytes":
        return _eight_bits(parts) if "SCB" in parts else _four_bits(parts)
    if method == "mxfp4":
        return _mxfp4(parts)
    readers = {"compressed-tensors": _compressed, "gptq": _gptq, "awq": _awq}
    return readers.get(method, _float8)(parts, settings)


def _four_bits(parts: Parts) -> Any:
    """bitsandbytes: two codes a byte, the first in the upper half; a table of values; blocks with a largest value."""
    import torch

    state = json.loads(bytes(parts["quant_state.bitsandbytes"].tolist()))
    packed, largest = parts["weight"].contiguous().view(torch.uint8).flatten(), parts["absmax"]
    if "nested_blocksize" in state:
        blocks = parts["nested_absmax"].repeat_interleave(state["nested_blocksize"])[: len(largest)]
        largest = parts["nested_quant_map"][largest.long()] * blocks + state["nested_offset"]
    values = parts["quant_map"].float()[torch.stack([packed >> 4, packed & 15], -1).flatten().long()]
    values = values[: prod(state["shape"])]
    _check(len(largest), -(-len(values) // state["blocksize"]), "blocks")
    return (values * largest.float().repeat_interleave(state["blocksize"])[: len(values)]).reshape(state["shape"])


def _eight_bits(parts: Parts) -> Any:
    """bitsandbytes: integers, and the largest value of each row."""
    if int(parts.get("weight_format", 0)):
        raise ValueError("a layout of another device")
    _check(tuple(parts["SCB"].shape), tuple(parts["weight"].shape[:1]), "scales")
    return parts["weight"].float() * parts["SCB"].float()[:, None] / 127


def _gptq(parts: Parts, settings: dict[str, Any]) -> Any:
    """GPTQ: inputs packed in words, zero points packed along the outputs and stored less one in the first version."""
    import torch

    bits = _bits(settings)
    codes, zeros, scales = _words(parts["qweight"].T, bits), _words(parts["qzeros"], bits), parts["scales"].float()
    if settings.get("checkpoint_format") != "gptq_v2":
        if (zeros == 2**bits - 1).any():  # kernels disagree: the zero point is 0 in some and 2 ** bits in others
            raise ValueError("a zero point that overflows")
        zeros = zeros + 1
    inputs = codes.shape[1]
    group = parts.get("g_idx", torch.arange(inputs) // _size(settings, inputs)).long()
    _check(len(group), inputs, "inputs")
    _check(tuple(zeros.shape), tuple(scales.shape), "zero points")
    _check((int(group.min()), int(group.max()) + 1), (0, len(scales)), "groups")
    return (codes - zeros[group].T) * scales[group].T


def _awq(parts: Parts, settings: dict[str, Any]) -> Any:
    """AWQ (gemm): outputs packed in words in an order of their own, zero points alike."""
    import torch

    codes, zeros = (_words(parts[part], 4).unflatten(-1, (-1, 8))[..., AWQ_COLUMNS] for part in ("qweight", "qzeros"))
    codes, zeros, scales = codes.flatten(-2), zeros.flatten(-2), parts["scales"].float()
    group = torch.arange(len(codes)) // _size(settings, len(codes))
    _check(tuple(zeros.shape), tuple(scales.shape), "zero points")
    _check(int(group.max()) + 1, len(scales), "groups")
    return ((codes - zeros[group]) * scales[group]).T


def _compressed(parts: Parts, settings: dict[str, Any]) -> Any:
    """compressed-tensors: plain or packed along the inputs, with scales of a tensor, rows, groups or blocks."""
    import torch

    scheme = next(iter(settings["config_groups"].values()))["weights"]
    scale, bits, zeros = parts["weight_scale"].float(), scheme["num_bits"], parts.get("weight_zero_point")
    codes = parts["weight"].float() if "weight_packed" not in parts else None
    if codes is None:
        shape = parts["weight_shape"].tolist()
        codes = _words(parts["weight_packed"], bits)[:, : shape[1]] - 2 ** (bits - 1)
        zeros = None if zeros is None else _words(zeros.T, bits).T[: shape[0]] - 2 ** (bits - 1)
        _check(list(codes.shape), shape, "rows and columns")
    sizes = {"tensor": list(codes.shape), "channel": [1, codes.shape[1]], "group": [1, scheme.get("group_size")]}
    row, column = sizes.get(scheme["strategy"]) or scheme["block_structure"]
    across = parts.get("weight_g_idx", torch.arange(codes.shape[1]) // column).long()
    scale = scale.reshape(1, 1) if scheme["strategy"] == "tensor" else scale.reshape(len(scale), -1)
    zeros = 0 if zeros is None else _spread(zeros.float().reshape(scale.shape), row, across, len(codes))
    return (codes - zeros) * _spread(scale, row, across, len(codes))


def _float8(parts: Parts, settings: dict[str, Any]) -> Any:
    """FP8 and MXFP8: floats of 8 bits, and a scale of the tensor or of each block; exponents alone in MXFP8."""
    import torch

    codes, scale = parts["weight"], parts["weight_scale_inv" if "weight_scale_inv" in parts else "weight_scale"]
    if codes.dtype not in (torch.float8_e4m3fn, torch.float8_e5m2) or codes.ndim != 2:
        raise ValueError(f"stored as {str(codes.dtype).removeprefix('torch.')}")
    scale = (scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float()
    block = settings.get("weight_block_size")
    if scale.numel() == 1 and not block:
        return codes.float() * scale.reshape(1, 1)
    block = block or ([1, 32] if settings["quant_method"] == "mxfp8" else [128, 128])
    return codes.float() * _spread(scale, block[0], torch.arange(codes.shape[1]) // block[1], len(codes))


def _mxfp4(parts: Parts) -> Any:
    """MXFP4: two codes a byte, the first in the lower half, an exponent for 32 inputs; [experts, inputs, outputs]."""
    import torch

    half = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    packed, exponents = parts["blocks"], parts["scales"].float() - 127
    _check(tuple(exponents.shape), tuple(packed.shape[:-1]), "scales")
    values = torch.cat([half, -half])[torch.stack([packed & 15, packed >> 4], -1).flatten(-2).long()]
    return torch.ldexp(values, exponents[..., None]).flatten(-2).transpose(1, 2).contiguous()


def _spread(scale: Any, row: int, across: Any, rows: int) -> Any:
    """Return the scale of each number, given those of blocks of `row` rows and the group of each column."""
    import torch

    down = torch.arange(rows) // row
    _check((*scale.shape, 0), (int(down.max()) + 1, int(across.max()) + 1, int(across.min())), "scales")
    return scale[down][:, across]


def _words(words: Any, bits: int) -> Any:
    """Return the unsigned integers of `bits` bits in 32-bit words along the last axis, the lowest bits first."""
    import torch

    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    return ((words.to(torch.int32)[..., None] >> shifts) & (2**bits - 1)).flatten(-2)


def _check(actual: Any, expected: Any, what: str) -> None:
    if actual != expected:
        raise ValueError(f"{what}: {actual} instead of {expected}")


def _bits(settings: dict[str, Any]) -> int:
    groups = list((settings.get("config_groups") or {}).values())
    return int((groups[0].get("weights") or {}).get("num_bits", 4) if groups else settings.get("bits", 4))


def _size(settings: dict[str, Any], inputs: int) -> int:
    """Return the number of inputs that share a scale."""
    size = int(settings.get("group_size", settings.get("q_group_size", 128)))
    return size if size > 0 else inputs


def _scheme(group: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return format, bits and strategy of a group of modules, as in `SCHEMES`."""
    weights = group.get("weights") or {}
    return f"{group.get('format') or settings.get('format')}, {weights.get('num_bits')} bits, {weights.get('strategy')}"


def _is_known(method: str) -> bool:
    """Whether transformers has a method of this name."""
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    return method in AUTO_QUANTIZATION_CONFIG_MAPPING
