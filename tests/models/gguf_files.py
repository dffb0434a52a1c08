"""Small GGUF files of transformers networks, in the format of llama.cpp's converter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny
import torch
import transformers

import workbench as wb
from workbench.errors import InputError

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
    "stablelm": "stablelm",
    "starcoder2": "starcoder2",
    "gpt2": "gpt2",
}
"""What llama.cpp calls the types of transformers."""
KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "use_parallel_residual": "use_parallel_residual",
    "vocab_size": "vocab_size",
}
"""Settings that are written where the configuration has them, by their names there."""


def keys_of(config: Any) -> dict[str, Any]:
    """The settings of a network, without the architecture before their names."""
    keys = {key: getattr(config, name, None) for key, name in KEYS.items()}
    keys["feed_forward_length"] = keys["feed_forward_length"] or 4 * config.hidden_size
    norms = [getattr(config, name, None) for name in ("layer_norm_eps", "norm_epsilon", "layer_norm_epsilon")]
    keys["attention.layer_norm_epsilon"] = next((norm for norm in norms if norm), None)
    if rope := getattr(config, "rope_parameters", None):
        local = rope.get("sliding_attention")
        rope = rope.get("full_attention", rope)
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        keys |= {"rope.freq_base": rope["rope_theta"], "attention.key_length": head, "attention.value_length": head}
        keys["rope.dimension_count"] = int(head * rope.get("partial_rotary_factor", 1))
        keys["rope.freq_base_swa"] = local and local["rope_theta"]
    return {key: value for key, value in keys.items() if value is not None}


def tensors_of(network: torch.nn.Module) -> dict[str, np.ndarray]:
    """The tensors of a network under llama.cpp's names and in its order."""
    config: Any = network.config
    architecture = ARCHITECTURES[config.model_type]
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], config.num_hidden_layers)
    tensors = {}
    for name, parameter in network.named_parameters():
        values = parameter.detach().float().numpy()
        stem, _, suffix = name.rpartition(".")
        if suffix == "gate_up_proj":
            block = stem.split(".layers.")[1].split(".")[0]
            for part, half in zip(("gate", "up"), np.split(values, 2, axis=1), strict=True):
                tensors[f"blk.{block}.ffn_{part}_exps.weight"] = np.ascontiguousarray(half)
            continue
        written = f"{names.get_name(name)}.weight" if suffix == "down_proj" else f"{names.get_name(stem)}.{suffix}"
        if architecture == "llama" and (".attn_q." in written or ".attn_k." in written):
            heads = config.num_attention_heads if ".attn_q." in written else config.num_key_value_heads
            halves = values.reshape(heads, 2, len(values) // heads // 2, *values.shape[1:])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if architecture.startswith("gemma") and written.endswith("norm.weight"):
            values = values + 1
        if architecture == "gpt2" and written.startswith("blk.") and values.ndim == 2:
            values = values.T
        if written.endswith("ffn_gate_inp_shexp.weight"):
            values = values[0]
        tensors[written] = np.ascontiguousarray(values)
    return tensors


def vocabulary(tokenizer: Any = None, pre: str = "gpt-2") -> dict[str, Any]:
    """The `tokenizer.` keys of a byte-level tokenizer, by default that of `tiny`."""
    import json

    wrapped = tokenizer or tiny.byte_tokenizer()
    model = json.loads(wrapped.backend_tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    tokens = sorted(wrapped.get_vocab(), key=wrapped.get_vocab().get)
    special = set(wrapped.added_tokens_encoder)
    keys = {"model": "gpt2", "pre": pre, "tokens": tokens, "merges": merges}
    keys["token_type"] = [3 if token in special else 1 for token in tokens]
    keys |= {"bos_token_id": wrapped.bos_token_id, "eos_token_id": wrapped.eos_token_id}
    keys |= {"padding_token_id": wrapped.pad_token_id, "add_bos_token": False}
    return {f"tokenizer.ggml.{key}": value for key, value in keys.items()} | (
        {"tokenizer.chat_template": wrapped.chat_template} if wrapped.chat_template else {}
    )


def write(
    path: Path,
    network: torch.nn.Module | None = None,
    *,
    keys: Mapping[str, Any] | None = None,
    words: Mapping[str, Any] | None = None,
    without: tuple[str, ...] = (),
    more: Mapping[str, np.ndarray] | None = None,
    parts: int = 1,
) -> Path:
    """A GGUF file of a network, by default `tiny`'s llama.

    Args:
        path: The file; of a split one, the name that `-00001-of-0000N` comes behind.
        network: A network of a type in `ARCHITECTURES`.
        keys: Settings to add or change, without the architecture before their names; None removes one.
        words: `tokenizer.` and `general.` keys to add or change; None removes one.
        without: Tensors to leave out.
        more: Tensors to add or change.
        parts: Files to split it into.

    Returns:
        The file, or the first part.
    """
    network = network or tiny.network()
    config: Any = network.config
    architecture = ARCHITECTURES[config.model_type]
    values = {f"{architecture}.{key}": value for key, value in (keys_of(config) | dict(keys or {})).items()}
    values |= vocabulary() | dict(words or {})
    tensors = {name: data for name, data in (tensors_of(network) | dict(more or {})).items() if name not in without}
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(tensors)
    files = (
        [path] if parts == 1 else [path.with_name(f"{path.stem}-{n + 1:05}-of-{parts:05}.gguf") for n in range(parts)]
    )
    for number, file in enumerate(files):
        writer = gguf.GGUFWriter(file, architecture)
        if parts > 1:
            writer.add_uint16("split.no", number)
            writer.add_uint16("split.count", parts)
            writer.add_int32("split.tensors.count", len(tensors))
        if number == 0:
            for key, value in values.items():
                _add(writer, key, value)
        for name in names[number::parts]:
            writer.add_tensor(name, tensors[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return files[0]


def _add(writer: Any, key: str, value: Any) -> None:
    """A key with a value of the type that llama.cpp reads it in."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, list(value))


SHAPE = {"vocab_size": 704, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
EXPERTS = SHAPE | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
WINDOWS = {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 16}


def made(kind: str, **settings: object) -> Any:
    """A network with large random weights, so that a wrong setting shows."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**({} if kind == "GPT2" else SHAPE) | IDS | settings)
    name = kind.removesuffix("Text") + ("LMHeadModel" if kind == "GPT2" else "ForCausalLM")
    network = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(8) if parameter.ndim > 1 else parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def logits(network: Any, length: int = 160) -> np.ndarray:
    """Log-probabilities in float64 behind every one of `length` tokens."""
    ids = torch.randint(0, 400, (1, length), generator=torch.Generator().manual_seed(1))
    if hasattr(network.config, "num_experts"):
        network.set_experts_implementation("eager")  # the fast one has no float64
    with torch.inference_mode():
        return network.double()(input_ids=ids).logits[0].log_softmax(-1).numpy()


def read(path: Path) -> Any:
    """The network of a file."""
    return wb.load_model(path, device="cpu").network


def refused(path: Path, *words: str) -> str:
    """The error for a file, which must contain `words`; nothing of a conversion is left."""
    with pytest.raises(InputError) as caught:
        wb.load_model(path, device="cpu")
    sentence = str(caught.value)
    assert "\n" not in sentence and path.name in sentence and sentence.count(". ") == 0, sentence
    assert [word for word in words if word not in sentence] == [], sentence
    return sentence


def pieces() -> dict[str, Any]:
    """The `tokenizer.` keys of a sentencepiece vocabulary: bytes, characters, and merges of `tiny`'s with scores."""
    import json

    model = json.loads(tiny.metaspace_tokenizer().backend_tokenizer.to_str())["model"]
    merged = dict.fromkeys("".join(merge) for merge in model["merges"])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    known = {*tiny.SPECIAL, *bytes_, *merged}
    tokens = [*tiny.SPECIAL, *bytes_, *(token for token in model["vocab"] if token not in known), *merged]
    scores = [0.0] * (len(tokens) - len(merged)) + [-float(rank) for rank in range(len(merged))]
    kinds = [2, 3, 3, 3, 4] + [6] * 256 + [1] * (len(tokens) - 261)
    keys = {"model": "llama", "pre": "default", "tokens": tokens, "scores": scores, "token_type": kinds}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0, "padding_token_id": None}
    changes = {"merges": None, "add_bos_token": True, "add_space_prefix": True} | ids
    return {f"tokenizer.ggml.{key}": value for key, value in (keys | changes).items()} | {
        "tokenizer.chat_template": None
    }
