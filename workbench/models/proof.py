"""Proof at load time that a network is what its files say: nothing left over, nothing missing, two readings that agree.

The first reading is the library's; the second is the headers of the weight files and a few of their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from workbench.errors import InputError
from workbench.models.weights import Stored

Probe = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a context and of what is scored after it."""
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError, ArithmeticError)
"""What networks raise on input they do not take."""
SAMPLED = 16
"""Numbers of each tensor that are compared with the file."""
HARMLESS = (
    ("rotary tables", r"(^|\.)(rotary_emb|rotary_pos_emb|attention)\.(\w*inv_freq|cos_cached|sin_cached)$", None),
    ("position numbers", r"(^|\.)position_ids$", None),
    ("causal masks", r"(^|\.)(attn|attention|crossattention)\.(bias|causal_mask)$", 4),
    ("values of masked scores", r"(^|\.)(attn|attention|crossattention)\.masked_bias$", 0),
    ("next-token-prediction blocks", r"(^|\.)mtp(\.|_)", None),
    (
        "parts for images and sound",
        r"^(model\.)?(visual|vision_tower|vision_model|audio_tower|multi_modal_projector|embed_vision|embed_audio)\.",
        None,
    ),
    ("pooling and next-sentence heads", r"(^|\.)(pooler\.dense|cls\.seq_relationship)\.(weight|bias)$", None),
)
"""Weights that no causal language model reads: what they are, their names, and how many dimensions they must have."""
OTHER_SENSES = re.compile(r"(^|[._])(visual|vision|image|img|audio|speech|multi_?modal|mm_projector)")
"""In the names of weights that read images or sound, whatever an architecture calls them."""
WHOLE = ("F64", "F32", "F16", "BF16", "F")
"""Types of numbers that are what they say, with no scale beside them; the last is a pickle's."""
SCALE = re.compile(r"scale|absmax|SCB")
"""In the names of tensors that say how large the numbers of a weight in 8 bits are."""
EXTRA_BLOCK = re.compile(r"(.*\.layers\.(\d+)\.)eh_proj\.weight")
"""Marks a block that predicts the token after next and stands behind the layers."""
exact_sums: WeakKeyDictionary[Any, np.ndarray] = WeakKeyDictionary()
"""Log-probabilities of the probes in float32 by base plus adapter, for networks with a merged adapter."""
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


def check_network(
    network: Any, found: dict[str, Any], stored: dict[str, Stored], written: dict[str, Any], name: str
) -> str:
    """Hold a network that was just read against the headers of its files.

    Args:
        network: As transformers built it.
        found: transformers' own account: missing, unexpected and mismatched keys, before it leaves any unsaid.
        stored: The tensors of the files.
        written: What config.json holds.
        name: The model's name.

    Returns:
        What stands in the files and is not read, for the record; empty if nothing.

    Raises:
        InputError: If a weight is missing, left over, of another shape or type, read twice, or not what the file holds.
    """
    kind, config = type(network).__name__, network.config.get_text_config()
    quantised = _is_quantised(written)
    for key, in_file, built in sorted(found.get("mismatched_keys") or ()):
        raise InputError(
            f"The weight {key} of {name!r} has shape {list(in_file)} in {_file_of(key, stored)}, but config.json "
            f"makes it {list(built)}; correct config.json, or take it from where the weights are from."
        )
    state = network.state_dict()
    left_out = {key: what for key in found.get("unexpected_keys") or () if (what := _harmless(key, stored, config))}
    missing = [key for key in found.get("missing_keys") or () if not _harmless(key, {}, config, state[key].ndim)]
    if missing:
        raise InputError(
            f"The files of {name!r} lack {len(missing)} weights of a causal language model ({min(missing)} first); "
            "it is incomplete, or a model of another kind."
        )
    if unexpected := sorted(set(found.get("unexpected_keys") or ()) - set(left_out)):
        if other := next((key for key in unexpected if OTHER_SENSES.search(key)), ""):
            raise InputError(
                f"The files of {name!r} hold weights for images or sound ({other} in {_file_of(other, stored)} first), "
                f"which {kind} does not read; save its language model alone with save_pretrained and give that folder."
            )
        raise InputError(
            f"The files of {name!r} hold {len(unexpected)} weights that {kind} has no place for ({unexpected[0]} in "
            f"{_file_of(unexpected[0], stored)} first), so config.json does not describe them; correct it (layers, "
            "biases, architecture), or remove the weights if they belong to another model."
        )
    _check_tied(network, stored, name)
    if quantised:
        _check_scales(stored, name)
    else:
        unused = {key for key in stored if _harmless(key, stored, config) in left_out.values() and key not in state}
        absent = {key for key in found.get("missing_keys") or ()}
        _check_count(network, sum(prod(stored[key].shape) for key in stored.keys() - unused), absent, stored, name)
        _check_values(network, state, stored, name)
    kinds = sorted(set(left_out.values()))
    return f"not used: {', '.join(kinds)}" if kinds else ""


def check_wrapped(network: Any, name: str) -> None:
    """Refuse a network from memory that is no causal language model, or whose numbers are not there.

    Raises:
        InputError: If it has no head, reads a text of its own first, has an adapter that changes no weights, or weights
            that were never read.
    """
    config = getattr(network, "config", None)
    head = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    if config is None or head is None or getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"{name!r} ({type(network).__name__}) has no head of a language model that reads from left to right; "
            "wrap the network of AutoModelForCausalLM."
        )
    for adapter in getattr(network, "peft_config", {}).values():
        if getattr(adapter, "is_prompt_learning", False) or getattr(adapter, "is_adaption_prompt", False):
            raise InputError(
                f"{name!r} has an adapter of the kind {adapter.peft_type.value}, which puts tokens of its own before "
                "every text; only adapters like LoRA can be read."
            )
    if not getattr(network, "hf_device_map", None):
        for key, parameter in network.named_parameters():
            if parameter.is_meta:
                raise InputError(
                    f"The weight {key} of {name!r} is on the meta device, so it was never read; load it first."
                )
    exact_sums.pop(network, None)


@contextmanager
def nothing_unsaid() -> Iterator[None]:
    """Has transformers report the missing and unexpected keys that a class's patterns would take off its account."""
    from transformers import PreTrainedModel

    name = "_adjust_missing_and_unexpected_keys"
    before = getattr(PreTrainedModel, name, None)
    setattr(PreTrainedModel, name, lambda *_: None)
    try:
        yield
    finally:
        setattr(PreTrainedModel, name, before)


def probes(vocabulary: int, context_length: int) -> list[Probe]:
    """A few sequences that share prefixes, branch, cross tile and pack borders, and are padded when they are rows."""
    draw = np.random.default_rng(0)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.integers(0, vocabulary, n).tolist())

    stem = ids(min(70, context_length // 2))
    fork = stem[: len(stem) // 2] + ids(6)
    return [(stem, ids(3)), (stem, ids(2)), (fork, ids(3)), (ids(5), ids(1)), (ids(9), ids(2))]


def plain(network: Any, asked: Sequence[Probe]) -> np.ndarray:
    """Log-probabilities (nats) of the probes, each alone through the unmodified network, log-softmax in float64.

    Raises:
        InputError: If the network cannot be computed on token ids alone.
    """
    import torch

    device = network.get_input_embeddings().weight.device
    values = []
    with torch.inference_mode():
        for context, continuation in asked:
            ids = torch.tensor([context + continuation], device=device)
            try:
                logp = network(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
            except torch.OutOfMemoryError:
                raise
            except FAILURES as error:
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise InputError(
                    f"A {type(network).__name__} cannot be read: on token ids alone it ends in an error ({reason}); "
                    "give a causal language model."
                ) from error
            at = torch.arange(len(context) - 1, ids.shape[1] - 1, device=logp.device)
            values.append(float(logp[at, ids[0, at + 1].to(logp.device)].sum()))
    return np.array(values)


@contextmanager
def computing_in_float32(network: Any) -> Iterator[None]:
    """Gives every module float32 weights while it runs, so no second network is needed beside the one in memory."""
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


def _file_of(key: str, stored: dict[str, Stored]) -> str:
    """The file that holds a weight; the first of the model where it has another name there."""
    found = _stored_as(key, stored)
    return (stored[found].file if found else next(iter(stored.values())).file).name if stored else "the files"


def _stored_as(key: str, stored: dict[str, Stored]) -> str:
    """A weight's name in the files, which may leave the base model's prefix out or add it."""
    tail = key.partition(".")[2]
    return next((name for name in (key, tail) if name in stored), "") or next(
        (name for name in stored if name.endswith("." + key)), ""
    )


def _harmless(key: str, stored: dict[str, Stored], config: Any, dimensions: int | None = None) -> str:
    """What a weight is that is known to decide no number; empty for any other."""
    name = _stored_as(key, stored)
    dimensions = len(stored[name].shape) if name else dimensions
    for what, pattern, needed in HARMLESS:
        if re.search(pattern, key) and (
            needed is None or dimensions in (needed, None) or (needed == 0 and dimensions == 1)
        ):
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


def _is_quantised(written: dict[str, Any]) -> bool:
    """Whether config.json names a quantisation, and one that transformers takes notice of."""
    from transformers.quantizers.auto import AutoHfQuantizer

    settings = written.get("quantization_config")
    return bool(settings) and AutoHfQuantizer.supports_quant_method(settings)


def _check_scales(stored: dict[str, Stored], name: str) -> None:
    """Refuse quantised files in which a weight of 8 bits has no scale, so nobody knows its size."""
    for key, tensor in stored.items():
        whole = tensor.dtype in ("I8", "U8") and key.endswith(".weight")
        if (tensor.dtype.startswith("F8") or whole) and "scale" not in key and len(tensor.shape) > 1:
            stem = key.removesuffix("weight")
            if not any(other.startswith(stem) and SCALE.search(other) for other in stored):
                raise InputError(
                    f"The weight {key} of {name!r} is stored as {tensor.dtype} in {tensor.file.name} without its "
                    "scale; the download may be incomplete, or the scales were lost in a conversion."
                )


def _check_tied(network: Any, stored: dict[str, Stored], name: str) -> None:
    """Refuse a head of its own in the files where the configuration says that the embedding is the head."""
    if not getattr(network.config.get_text_config(), "tie_word_embeddings", False):
        return
    head, embedding = network.get_output_embeddings(), network.get_input_embeddings()
    if head is None or embedding is None or head.weight.is_meta or head.weight is embedding.weight:
        return
    keys = [key for key, weight in network.named_parameters() if weight is head.weight]
    if keys and _stored_as(keys[0], stored):
        raise InputError(
            f"{_file_of(keys[0], stored)} of {name!r} holds a head ({keys[0]}) that differs from the embedding, but "
            'config.json ties the two; write "tie_word_embeddings": false there if the head is right, else remove it.'
        )


def _check_count(network: Any, in_files: int, absent: set[str], stored: dict[str, Stored], name: str) -> None:
    """Refuse files whose numbers are not as many as the network's: some were dropped, or read over one another."""
    once: dict[int, tuple[str, Any]] = {}
    for key, weight in network.state_dict(keep_vars=True).items():
        if weight.is_meta:
            return  # left on disk, where weights that are one cannot be told
        if id(weight) not in once:
            once[id(weight)] = key, weight
        elif key in stored and once[id(weight)][0] in stored:
            in_files -= weight.numel()
    in_network = sum(weight.numel() for key, weight in once.values() if key not in absent)
    if in_files != in_network:
        raise InputError(
            f"The files of {name!r} hold {in_files:,} numbers and the network has {in_network:,}, so some were "
            "dropped or stand twice under two names; save the model again with save_pretrained."
        )


def _check_values(network: Any, state: dict[str, Any], stored: dict[str, Stored], name: str) -> None:
    """Refuse a network of which a weight is not what the file holds under its name, by a few numbers of each."""
    from safetensors import safe_open
    from transformers.core_model_loading import WeightRenaming

    changed = [one for one in getattr(network, "_weight_conversions", ()) if not isinstance(one, WeightRenaming)]
    for path in sorted({one.file for one in stored.values() if one.file.suffix == ".safetensors"}):
        with safe_open(path, framework="pt") as file:
            for key, tensor in stored.items():
                weight = state.get(key)
                if tensor.file != path or weight is None or weight.is_meta or tuple(weight.shape) != tensor.shape:
                    continue
                if weight.is_floating_point() and tensor.dtype not in WHOLE:
                    raise InputError(
                        f"The weight {key} of {name!r} is stored as {tensor.dtype} in {path.name}, and config.json "
                        "names no quantisation that says how it is read; take config.json from where the weights are "
                        "from."
                    )
                if any(one.compiled_sources.search(key) for one in changed) or not weight.numel():
                    continue
                place = tuple(size // 2 for size in tensor.shape[:-1])
                sample = file.get_slice(key)
                row = sample[(*place, slice(0, SAMPLED))] if tensor.shape else sample[...]
                there = weight[(*place, slice(0, SAMPLED))] if tensor.shape else weight
                if not _same(row, there):
                    raise InputError(
                        f"The weight {key} of {name!r} is not what {path.name} holds once it is loaded: the "
                        "architecture's code changed it; update transformers, or load the model without its own code."
                    )


def _same(stored: Any, loaded: Any) -> bool:
    import torch

    with suppress(RuntimeError, TypeError):
        return bool(torch.equal(stored.to(loaded.dtype).nan_to_num(), loaded.detach().cpu().nan_to_num()))
    return True


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
