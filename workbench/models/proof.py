"""Proof at load time that a network is what its files state: no weight is left over or missing, and samples agree.

The network as transformers built it is compared with config.json, the headers of the weight files and a few of their
numbers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from workbench.errors import InputError
from workbench.models.weights import Stored

Probe = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a context and of its continuation, which is scored."""
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError, ArithmeticError)
"""What networks raise on unsupported input."""
SAMPLED = 16
"""Numbers of each tensor that are compared with the file."""
_MEDIA = r"visual|vision_tower|vision_model|audio_tower|multi_modal_projector|embed_vision|embed_audio"
HARMLESS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("rotary tables", r"(^|\.)(rotary_emb|rotary_pos_emb|attention)\.(\w*inv_freq|cos_cached|sin_cached)$", ()),
    ("position numbers", r"(^|\.)position_ids$", ()),
    ("causal masks", r"(^|\.)(attn|attention|crossattention)\.(bias|causal_mask)$", (4,)),
    ("values of masked scores", r"(^|\.)(attn|attention|crossattention)\.masked_bias$", (0, 1)),
    ("next-token-prediction blocks", r"(^|\.)mtp(\.|_)", ()),
    ("parts for images and sound", rf"^(model\.)?({_MEDIA})\.", ()),
    ("pooling and next-sentence heads", r"(^|\.)(pooler\.dense|cls\.seq_relationship)\.(weight|bias)$", ()),
)
"""Weights that no causal language model uses: description, pattern of the name, allowed numbers of dimensions."""
OTHER_SENSES = re.compile(r"(^|[._])(visual|vision|image|img|audio|speech|multi_?modal|mm_projector)")
"""In names of weights for images or sound, in any architecture."""
WHOLE = ("F64", "F32", "F16", "BF16", "F")
"""Types of numbers that need no scale; the last stands for the floats of a pickle and for dequantised weights."""
EXTRA_BLOCK = re.compile(r"(.*\.layers\.(\d+)\.)eh_proj\.weight")
"""Marks a block behind the last layer that predicts the token after next."""
LARGER = 2**28
"""Numbers that a network may have beyond those of its files, before memory for it is taken."""
CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Where Linux states the limit of a container or job in bytes, or `max`."""
LAYERS = re.compile(r"(num_|n_)?(hidden_|decoder_)?layers?")
exact_sums: WeakKeyDictionary[Any, np.ndarray] = WeakKeyDictionary()
"""Log-probabilities of the probes in float32 by base plus adapter, for networks with a merged adapter."""
cpu_sums: WeakKeyDictionary[Any, np.ndarray] = WeakKeyDictionary()
"""Log-probabilities of the probes on the CPU, for networks that were moved to another device to be compared."""
ROPE = {"rope_theta": "rope_theta", "rotary_emb_base": "rope_theta"}
ROPE |= {"partial_rotary_factor": "partial_rotary_factor", "rotary_pct": "partial_rotary_factor"}
"""Settings of rotary positions that older files keep outside `rope_parameters`, and their names inside it."""
DECISIVE = re.compile(
    r".*softcap\w*|(logits?|embedding|residual|attention|lm_head)_(scale|scaling|multiplier)|scale_(emb|depth)|"
    r"clip_qkv|alibi|use_bidirectional_attention"
)
"""Settings that change numbers in any architecture that has them."""


def check_network(network: Any, report: dict[str, Any], stored: dict[str, Stored], name: str) -> str:
    """Compare a network that was just loaded with the headers and some numbers of its files.

    Args:
        network: As transformers built it.
        report: transformers' loading report, in full (`full_loading_report`).
        stored: The tensors of the files.
        name: The model's name.

    Returns:
        The kinds of weights in the files that are not used, for the record.

    Raises:
        InputError: If a weight is missing, left over, of another shape or type, read twice, or not that of the file.
    """
    kind, config = type(network).__name__, network.config.get_text_config()
    for key, in_file, built in sorted(report.get("mismatched_keys") or ()):
        raise InputError(
            f"The weight {key} of {name!r} has shape {list(in_file)} in {_file_of(key, stored)}, but config.json "
            f"makes it {list(built)}; correct config.json, or take it from the source of the weights."
        )
    state = network.state_dict()
    unexpected, missing = (set(report.get(f"{which}_keys") or ()) for which in ("unexpected", "missing"))
    unused = {key: what for key in unexpected if (what := _harmless(key, stored, config))}
    if lacking := [key for key in missing if not _harmless(key, {}, config, state[key].ndim)]:
        raise InputError(
            f"The files of {name!r} lack {len(lacking)} weights of a causal language model ({min(lacking)} first); "
            "the download is incomplete, or it is a model of another kind."
        )
    if extra := sorted(unexpected - unused.keys()):
        if media := next((key for key in extra if OTHER_SENSES.search(key)), ""):
            raise InputError(
                f"The files of {name!r} contain weights for images or sound ({media} in {_file_of(media, stored)} "
                f"first), which {kind} does not use; save its language model alone with save_pretrained and give that "
                "folder."
            )
        raise InputError(
            f"The files of {name!r} contain {len(extra)} weights that {kind} has no place for ({extra[0]} in "
            f"{_file_of(extra[0], stored)} first), so config.json does not describe them; correct it (layers, biases, "
            "architecture), or remove the weights if they belong to another model."
        )
    _check_tied(network, stored, name)
    kinds = sorted(set(unused.values()))
    skipped = {key for key in stored if key not in state and _harmless(key, stored, config) in kinds}
    in_files = sum(prod(stored[key].shape) for key in stored.keys() - skipped)
    _check_count(network, in_files, missing, stored, name)
    _check_values(network, state, stored, name)
    return f"not used: {', '.join(kinds)}" if kinds else ""


def check_size(folder: Path, stored: dict[str, Stored], written: dict[str, Any], name: str) -> None:
    """Refuse a config.json of a far larger network than that of the files, before memory or time for it is taken.

    Args:
        folder: The model's folder.
        stored: The tensors of its files.
        written: Content of config.json.
        name: The model's name.

    Raises:
        InputError: If the network would have more than four times the numbers of the files (16 times, if quantised).
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = [(key, value) for key, value in _entries(written) if isinstance(value, int)]
    if max((abs(value) for _, value in sizes), default=0) ** 2 * len(stored) < LARGER:
        return
    in_files, factor = (
        sum(prod(tensor.shape) for tensor in stored.values()),
        16 if written.get("quantization_config") else 4,
    )
    built: Any = next(
        (f"{key} {value}" for key, value in sizes if LAYERS.fullmatch(key) and value > 1000 + len(stored)), 0
    )
    if not built:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        numbers = sum(each.numel() for each in [*network.parameters(), *network.buffers()])
        built = f"{numbers:,} numbers" if numbers > factor * in_files + LARGER else ""
    if built:
        raise InputError(
            f"config.json of {name!r} describes a network of {built}, but its files contain {in_files:,} numbers in "
            f"{len(stored)} weights; take config.json from the source of the weights."
        )


def check_memory(numbers: int, dtype: str, device: str, name: str) -> None:
    """Refuse a network that cannot fit into the free memory of its device, before its weights are read.

    Args:
        numbers: The number of its weights.
        dtype: The type in which they are loaded.
        device: The device; `auto` spreads them over all and is not checked.
        name: The model's name.

    Raises:
        InputError: If the weights alone take more than is free.
    """
    import torch

    if device == "auto":
        return
    need, free, place = numbers * getattr(torch, dtype).itemsize, _free_bytes(), "this machine"
    if device.startswith("cuda") and torch.cuda.is_available():
        free, place = torch.cuda.mem_get_info(torch.device(device))[0], f"device {device!r}"
    if need > free:
        ways = ["dtype='bfloat16'"] * (need > 2 * numbers) + ["device='auto'"] * device.startswith("cuda")
        raise InputError(
            f"{name!r} takes {need / 1e9:,.1f} GB in {dtype}, and {place} has {free / 1e9:,.1f} GB free; use "
            f"{', '.join([*ways, 'a smaller model'])}, or serve it elsewhere and give vllm://host:port/NAME."
        )


def _free_bytes() -> int:
    """Return the bytes of memory that this process may still take, swap and the limit of its container included."""
    import psutil

    memory = psutil.virtual_memory()
    free = int(memory.total if sys.platform == "darwin" else memory.available + psutil.swap_memory().free)
    with suppress(OSError, ValueError):
        free = min(free, int(CONTAINER.read_text("ascii")))
    return free


def check_wrapped(network: Any, name: str) -> None:
    """Refuse a network from memory that is not a causal language model or was never loaded.

    Raises:
        InputError: If it has no language-model head, an adapter that does not act on weights, or weights without
            values.
    """
    config = getattr(network, "config", None)
    head = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    if config is None or head is None or getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{name!r} ({type(network).__name__}) has no head of a causal language model; wrap the network of "
            "AutoModelForCausalLM."
        )
    for adapter in getattr(network, "peft_config", {}).values():
        if getattr(adapter, "is_prompt_learning", False) or getattr(adapter, "is_adaption_prompt", False):
            raise InputError(
                f"{name!r} has an adapter of the kind {adapter.peft_type.value}, which prepends its own tokens to "
                "every text; only adapters that change weights, as LoRA does, are supported."
            )
    if not getattr(network, "hf_device_map", None):
        for key, parameter in network.named_parameters():
            if parameter.is_meta:
                raise InputError(
                    f"The weight {key} of {name!r} is on the meta device and has no values; load it first."
                )
    exact_sums.pop(network, None)
    cpu_sums.pop(network, None)


@contextmanager
def full_loading_report() -> Iterator[None]:
    """Make transformers report all missing and unexpected keys, also those that an architecture's patterns ignore."""
    from transformers import PreTrainedModel

    name = "_adjust_missing_and_unexpected_keys"
    before = getattr(PreTrainedModel, name, None)
    setattr(PreTrainedModel, name, lambda *_: None)
    try:
        yield
    finally:
        setattr(PreTrainedModel, name, before)


def probes(vocabulary: int, context_length: int) -> list[Probe]:
    """Return a few sequences that share prefixes, branch, cross tile and pack borders, and need padding as rows."""
    draw = np.random.default_rng(0)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.integers(0, vocabulary, n).tolist())

    stem = ids(min(70, context_length // 2))
    fork = stem[: len(stem) // 2] + ids(6)
    return [(stem, ids(3)), (stem, ids(2)), (fork, ids(3)), (ids(5), ids(1)), (ids(9), ids(2))]


def plain(network: Any, pairs: Sequence[Probe]) -> np.ndarray:
    """Return the log-probabilities (nats) of probes, each alone through the network, log-softmax in float64.

    The log-softmax is computed on the CPU, since Apple's GPUs have no float64.
    """
    import torch

    device = network.get_input_embeddings().weight.device
    values = []
    with torch.inference_mode():
        for context, continuation in pairs:
            ids = torch.tensor([context + continuation], device=device)
            try:
                logp = network(input_ids=ids, use_cache=False).logits[0].cpu().double().log_softmax(-1)
            except torch.OutOfMemoryError:
                raise
            except FAILURES as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise InputError(
                    f"A {type(network).__name__} cannot be read: on token ids alone it fails ({reason}); give a "
                    "causal language model."
                ) from error
            at = torch.arange(len(context) - 1, ids.shape[1] - 1)
            values.append(float(logp[at, ids[0].cpu()[at + 1]].sum()))
    return np.array(values)


@contextmanager
def computing_in_float32(network: Any) -> Iterator[None]:
    """Widen the weights of each module to float32 while that module runs, so that no second network is in memory."""
    stored: dict[Any, Any] = {}

    def widen(module: Any, _: Any) -> None:
        for weight in module.parameters(recurse=False):
            if weight.element_size() < 4 and weight.is_floating_point():
                stored[weight] = weight.data
                weight.data = weight.data.float()

    def restore(module: Any, *_: Any) -> None:
        for weight in module.parameters(recurse=False):
            weight.data = stored.pop(weight, weight.data)

    hooks = []
    for module in network.modules():
        hooks.append(module.register_forward_pre_hook(widen))
        hooks.append(module.register_forward_hook(restore, always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _stored_as(key: str, stored: dict[str, Stored]) -> str:
    """Return a weight's name in the files, where the base model's prefix may be absent or added; else an empty text."""
    same = (name for name in (key, key.partition(".")[2]) if name in stored)
    return next(same, "") or next((name for name in stored if name.endswith("." + key)), "")


def _file_of(key: str, stored: dict[str, Stored]) -> str:
    """Return the name of the file with a weight; the model's first file if the weight has another name there."""
    if not stored:
        return "the files"
    name = _stored_as(key, stored) or next(iter(stored))
    return stored[name].file.name


def _harmless(key: str, stored: dict[str, Stored], config: Any, dimensions: int | None = None) -> str:
    """Return what a weight is if it is known to affect no number; else an empty text."""
    name = _stored_as(key, stored)
    dimensions = len(stored[name].shape) if name else dimensions
    for what, pattern, allowed in HARMLESS:
        if re.search(pattern, key) and (not allowed or dimensions is None or dimensions in allowed):
            return what
    layer = re.search(r"(.*\.layers\.(\d+)\.)", key)
    if not layer:
        return ""
    n, place = getattr(config, "num_hidden_layers", 0), int(layer[2])
    if place >= n and any(EXTRA_BLOCK.fullmatch(name) and f".{layer[1]}" in f".{name}" for name in stored):
        return "next-token-prediction blocks"
    shared = getattr(config, "num_kv_shared_layers", 0) or 0
    if n - shared <= place < n and re.search(r"self_attn\.(k_proj|v_proj|k_norm|v_norm)\.weight$", key):
        return "keys and values of layers that use those of earlier ones"
    return ""


def _check_tied(network: Any, stored: dict[str, Stored], name: str) -> None:
    """Refuse files with a separate head if the configuration ties the head to the embedding."""
    if not getattr(network.config.get_text_config(), "tie_word_embeddings", False):
        return
    head, embedding = network.get_output_embeddings(), network.get_input_embeddings()
    if head is None or embedding is None or head.weight.is_meta or head.weight is embedding.weight:
        return
    key = next((key for key, weight in network.named_parameters() if weight is head.weight), "")
    if key and _stored_as(key, stored):
        raise InputError(
            f"{_file_of(key, stored)} of {name!r} contains a head ({key}) that differs from the embedding, but "
            'config.json ties the two; write "tie_word_embeddings": false there if the head is right, else remove it.'
        )


def _check_count(network: Any, in_files: int, missing: set[str], stored: dict[str, Stored], name: str) -> None:
    """Refuse files with more or fewer numbers than the network: some were dropped, or one weight has two names."""
    once: dict[int, tuple[str, Any]] = {}
    for key, weight in network.state_dict(keep_vars=True).items():
        if weight.is_meta:
            return  # offloaded to disk, where tied weights cannot be recognised
        if id(weight) not in once:
            once[id(weight)] = key, weight
        elif key in stored and once[id(weight)][0] in stored:
            in_files -= weight.numel()
    in_network = sum(weight.numel() for key, weight in once.values() if key not in missing)
    if in_files != in_network:
        raise InputError(
            f"The files of {name!r} contain {in_files:,} numbers and the network has {in_network:,}, so some were "
            "dropped or stored under two names; save the model again with save_pretrained."
        )


def _check_values(network: Any, state: dict[str, Any], stored: dict[str, Stored], name: str) -> None:
    """Refuse a network with a weight that differs from the file, by a few numbers of each."""
    from safetensors import safe_open
    from transformers.core_model_loading import WeightRenaming

    converted = [each for each in getattr(network, "_weight_conversions", ()) if not isinstance(each, WeightRenaming)]
    for path in sorted({tensor.file for tensor in stored.values() if tensor.file.suffix == ".safetensors"}):
        with safe_open(path, framework="pt") as file:
            for key, tensor in stored.items():
                weight = state.get(key)
                if tensor.file != path or weight is None or weight.is_meta or tuple(weight.shape) != tensor.shape:
                    continue
                if tensor.dtype == "F":
                    continue  # computed from several tensors of the file
                if weight.is_floating_point() and tensor.dtype not in WHOLE:
                    raise InputError(
                        f"The weight {key} of {name!r} is stored as {tensor.dtype} in {path.name}, and config.json "
                        "names no known quantisation; take config.json from the source of the weights."
                    )
                if any(each.compiled_sources.search(key) for each in converted) or not weight.numel():
                    continue
                middle = (*(size // 2 for size in tensor.shape[:-1]), slice(0, SAMPLED)) if tensor.shape else ...
                if not _equal(file.get_slice(key)[middle], weight[middle]):
                    raise InputError(
                        f"The weight {key} of {name!r} is not that of {path.name} once it is loaded: the "
                        "architecture's code changed it; update transformers, or load the model without its own code."
                    )


def _equal(stored: Any, loaded: Any) -> bool:
    """Whether numbers of a file are those of the network in its dtype; True where the two cannot be compared."""
    import torch

    with suppress(RuntimeError, TypeError):
        return bool(torch.equal(stored.to(loaded.dtype).nan_to_num(), loaded.detach().cpu().nan_to_num()))
    return True


def check_settings(network: Any, written: dict[str, Any], name: str) -> str:
    """Refuse a config.json with settings that contradict one another or that the network does not use.

    Returns:
        The architecture or code that config.json (`written`) names and that was not used, for the record.

    Raises:
        InputError: If settings of rotary positions differ, the architecture ignores a setting that changes numbers, or
            config.json names two architectures.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind, config = type(network).__name__, network.config.get_text_config()
    named = [str(each) for each in written.get("architectures") or ()]
    known = [each for each in named if each in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()]
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
                "remove the setting if the weights were trained without it."
            )
    notes = [f"config.json names {', '.join(named)}, read as {kind}"] if named and kind not in named else []
    code = (written.get("auto_map") or {}).get("AutoModelForCausalLM", "")
    if code and type(network).__module__.startswith("transformers."):
        notes.append(f"the model's own code ({code}) was not used, but transformers' {kind}")
    return "; ".join(notes)


def _check_rope(built: dict[str, Any], text: dict[str, Any], name: str) -> None:
    """Refuse settings of rotary positions that differ from those of the network."""
    used = list(_entries(built))
    older = {inner: text[key] for key, inner in ROPE.items() if key in text}
    for key, value in [*_entries(older), *_entries(text.get("rope_scaling")), *_entries(text.get("rope_parameters"))]:
        others = [other for known, other in used if known == key]
        if others and value not in others:
            raise InputError(
                f"config.json of {name!r} gives {key} as {value} in one place and as {others[0]} in another, of "
                "rope_parameters, rope_scaling and rope_theta; write all of them into rope_parameters and remove the "
                "others."
            )


def _entries(settings: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and value of settings, also of nested ones; the older name `type` of `rope_type` is left out."""
    for key, value in settings.items() if isinstance(settings, Mapping) else ():
        if isinstance(value, Mapping):
            yield from _entries(value)
        elif value is not None and key != "type":
            yield key, value
