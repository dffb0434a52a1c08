"""The network of a GGUF file: its settings held against the configuration that is built, and every tensor used."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from workbench.models.gguf import Gguf, short

# Settings


def configuration(file: Gguf) -> Any:
    """The transformers configuration that the file's settings say, and nothing else."""
    from transformers import AutoConfig

    family = FAMILIES[file.architecture]
    rows, width = (int(size) for size in reversed(_tensor(file, "token_embd.weight").shape))
    file.hold("vocab_size", rows)
    file.hold("embedding_length", width)
    ids = {f"{name}_token_id": file.key(f"tokenizer.ggml.{key}_token_id", None) for name, key in _TOKENS.items()}
    if (turn := file.key("tokenizer.ggml.eot_token_id", None)) not in (None, ids["eos_token_id"]):
        ids["eos_token_id"] = [end for end in (ids["eos_token_id"], turn) if end is not None]
    settings = {"vocab_size": rows, "tie_word_embeddings": "output.weight" not in file.tensors}
    settings |= ids | family.settings(file)
    config = AutoConfig.for_model(family.model_type, **deepcopy(settings))  # which writes into dictionaries
    for name, value in settings.items():
        built = getattr(config, name)
        same = {key: built.get(key) for key in value} == value if isinstance(value, dict) else built == value
        if not same:
            raise file.refusal(f"says {name} {short(value)}, which the network would read as {short(built)}")
    return config


_TOKENS = {"bos": "bos", "eos": "eos", "pad": "padding"}


def _tensor(file: Gguf, name: str) -> Any:
    """The reader's tensor of that name."""
    if name not in file.tensors:
        raise file.refusal(f"lacks {name}, so it is no whole language model")
    return file.tensors[name]


def _decoder(file: Gguf, eps: str = "rms_norm_eps", partial: bool = False) -> dict[str, Any]:
    """The settings that networks of Llama's kind share; `eps` is what the configuration calls that of its norms."""
    width, heads = file.setting("embedding_length"), file.setting("attention.head_count")
    size = file.setting("attention.key_length", width // heads)
    file.hold("attention.value_length", size)
    if partial:
        file.hold("attention.key_length", width // heads)  # the configuration has no place for another
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
    """Rotary positions as llama.cpp reads them: base, scaling and factors, and the part of a head that is turned."""
    turned = file.setting("rope.dimension_count", size)
    if turned != size and not (partial and 0 < turned < size and turned % 2 == 0):
        raise file.refusal(
            f"turns {turned} of {size} dimensions of a head by position (rope.dimension_count), which is not read"
        )
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": float(file.setting("rope.freq_base", 10000.0))}
    if partial:
        rope["partial_rotary_factor"] = turned / size
    length = file.setting("context_length")
    original = file.setting("rope.scaling.original_context_length", length)
    factor = file.setting("rope.scaling.factor", None) or file.setting("rope.scale_linear", None) or 1.0
    kind = file.setting("rope.scaling.type", "linear")  # what llama.cpp takes where only a factor is given
    factors = {name: f"rope_{name}.weight" for name in ("freqs", "factors_long", "factors_short")}
    given = {name: file.whole(key) for name, key in factors.items() if key in file.tensors}
    if any(values.shape != (turned // 2,) for values in given.values()):
        raise file.refusal(f"has factors of rotary positions that are not {turned // 2}")
    if kind not in ("none", "linear", "yarn", "longrope") or (given and kind in ("linear", "yarn") and factor != 1):
        raise file.refusal(
            f"scales rotary positions in a way that is not read (rope.scaling.type {kind}, factor {factor}, and "
            f"{len(given)} tensors of factors)"
        )
    if "freqs" in given and len(given) == 1:
        return rope | _frequency_factors(given["freqs"].tolist(), rope["rope_theta"], turned, length)
    if given or kind == "longrope":
        if sorted(given) != ["factors_long", "factors_short"]:
            raise file.refusal("lacks factors of its long rotary positions (rope_factors_long, rope_factors_short)")
        lists = {f"{name}_factor": given[f"factors_{name}"].tolist() for name in ("long", "short")}
        scale = float(file.setting("rope.scaling.attn_factor"))
        lists |= {"attention_factor": scale, "original_max_position_embeddings": original, "factor": length / original}
        return rope | {"rope_type": "longrope"} | lists
    if factor == 1 or kind == "none":
        return rope
    if kind == "linear":
        return rope | {"rope_type": "linear", "factor": float(factor)}
    scale = (1 + 0.1 * math.log(factor) if factor > 1 else 1.0) * file.setting("rope.scaling.attn_factor", 1.0)
    yarn: dict[str, Any] = {"beta_fast": float(file.setting("rope.scaling.yarn_beta_fast", 32.0))}
    yarn |= {"beta_slow": float(file.setting("rope.scaling.yarn_beta_slow", 1.0)), "attention_factor": scale}
    yarn |= {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": original}
    return rope | yarn


def _frequency_factors(factors: list[float], theta: float, turned: int, length: int) -> dict[str, Any]:
    """Rotary positions whose frequencies are divided by the file's own factors.

    Where they are Llama 3.1's, its parameters are named; any others are given one by one, as the short and long
    factors of a longrope, which then changes nothing with the length.
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
    """Qwen's networks of experts: softmax routing; the weights of the chosen sum to one in Qwen 3 alone."""
    third = file.architecture == "qwen3moe"
    file.hold("expert_gating_func", 1)
    file.hold("expert_weights_norm", third)
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
    """Gemma 2 and 3: soft caps, windows on some layers, and an attention scale that the file does not name."""
    third = file.architecture == "gemma3"
    settings = _decoder(file)
    layers = settings["num_hidden_layers"]
    period = file.key(f"{file.architecture}.attention.sliding_window_pattern", 6 if third else 2)
    slides = period if isinstance(period, list) else [bool((layer + 1) % period) for layer in range(layers)]
    settings["layer_types"] = ["sliding_attention" if slide else "full_attention" for slide in slides]
    settings["sliding_window"] = file.setting("attention.sliding_window")
    caps = {"attn_logit_softcapping": None if third else 50.0, "final_logit_softcapping": None if third else 30.0}
    settings |= {name: file.setting(name, default) or None for name, default in caps.items()}
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
    file.hold("use_parallel_residual", parallel)
    biases = {"use_qkv_bias": "blk.0.attn_q.bias" in file.tensors, "use_parallel_residual": parallel}
    return _decoder(file, "layer_norm_eps", partial=True) | biases


def _starcoder(file: Gguf) -> dict[str, Any]:
    return _decoder(file, "norm_epsilon") | {"use_bias": True, "sliding_window": None}


def _gpt2(file: Gguf) -> dict[str, Any]:
    names = {"n_embd": "embedding_length", "n_layer": "block_count", "n_head": "attention.head_count"}
    names |= {"n_positions": "context_length", "n_inner": "feed_forward_length"}
    file.hold("attention.head_count_kv", file.setting("attention.head_count"))
    epsilon = float(file.setting("attention.layer_norm_epsilon"))
    return {name: file.setting(key) for name, key in names.items()} | {"layer_norm_epsilon": epsilon}


# Weights


def weights(file: Gguf, config: Any) -> dict[str, Any]:
    """Every weight of the network from the file, by its name in transformers.

    Raises:
        InputError: If the file lacks some, has some left over, or has some of another shape.
    """
    import numpy as np
    import torch
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    config.architectures = [type(network).__name__]
    architecture = next(arch for arch in MODEL_ARCH if MODEL_ARCH_NAMES.get(arch) == file.architecture)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    wanted: dict[str, list[str]] = {}
    for name, _ in network.named_parameters():
        stem, _, kind = name.rpartition(".")
        if kind == "gate_up_proj":  # the experts' weights, which have no `.weight` behind their names
            block = str(names.get_name(f"{stem}.down_proj")).removesuffix("ffn_down_exps")
            wanted[name] = [f"{block}ffn_gate_exps.weight", f"{block}ffn_up_exps.weight"]
        elif kind == "down_proj":
            wanted[name] = [f"{names.get_name(name)}.weight"]
        else:
            wanted[name] = [f"{names.get_name(stem)}.{kind}"]
    needed = [source for sources in wanted.values() for source in sources]
    if missing := [source for source in needed if source not in file.tensors]:
        raise file.refusal(f"lacks {_listed(missing)} of its network's tensors, so it is damaged or a part of a model")
    if left := sorted(set(file.tensors) - set(needed) - _ROPE_TENSORS):
        raise file.refusal(f"holds {_listed(left)} tensors for which its network has no place")
    change = FAMILIES[file.architecture].change
    filled = {}
    for name, parameter in network.named_parameters():
        shape = tuple(parameter.shape)
        values = np.concatenate(
            [change(file.whole(source), source, config) for source in wanted[name]], axis=-min(len(wanted[name]), 2)
        )
        if (1, *values.shape) == shape:
            values = values[None]
        if values.shape != shape:
            raise file.refusal(
                f"holds {wanted[name][0]} in the shape {values.shape}, where its settings ask for {shape}"
            )
        filled[name] = torch.from_numpy(np.array(values, np.float32, order="C"))
    return filled


_ROPE_TENSORS = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
"""Read with the settings."""


def _listed(names: list[str]) -> str:
    """How many, and the first of them."""
    return f"{len(names)} ({', '.join(names[:3])}{' …' * (len(names) > 3)})"


def _as_it_is(values: Any, name: str, config: Any) -> Any:
    return values


def _unpermuted(values: Any, name: str, config: Any) -> Any:
    """Queries and keys of Llama, whose dimensions llama.cpp turns in neighbouring pairs instead of halves."""
    if ".attn_q." not in name and ".attn_k." not in name:
        return values
    heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
    return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(2, 1).reshape(values.shape)


def _without_one(values: Any, name: str, config: Any) -> Any:
    """Norms of Gemma, to whose weights one is added in the file."""
    return values - 1 if name.endswith("norm.weight") else values


def _transposed(values: Any, name: str, config: Any) -> Any:
    """Layers of GPT-2, whose weights lie the other way round."""
    return values.T if name.startswith("blk.") and values.ndim == 2 else values


@dataclass(frozen=True)
class _Family:
    """How files of one architecture are read."""

    model_type: str
    settings: Callable[[Gguf], dict[str, Any]]
    change: Callable[[Any, str, Any], Any] = _as_it_is


FAMILIES = {
    "llama": _Family("llama", _llama, _unpermuted),
    "qwen2": _Family("qwen2", _decoder),
    "qwen3": _Family("qwen3", _decoder),
    "qwen2moe": _Family("qwen2_moe", _experts),
    "qwen3moe": _Family("qwen3_moe", _experts),
    "gemma2": _Family("gemma2", _gemma, _without_one),
    "gemma3": _Family("gemma3_text", _gemma, _without_one),
    "phi3": _Family("phi3", _phi),
    "stablelm": _Family("stablelm", _stablelm),
    "starcoder2": _Family("starcoder2", _starcoder),
    "gpt2": _Family("gpt2", _gpt2, _transposed),
}
"""The architectures that are read, by their names in the file; each is held against transformers in a test."""
