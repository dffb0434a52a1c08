"""Every causal type of the installed transformers, built small from its own default configuration."""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

NAMES = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
"""The causal types."""
SMALL: dict[str, int] = {
    r"(\w+_)?vocab_size(_per_layer_input|_\w+)?|n_words": 704,
    r"d_model|hidden_size|n_embd|emb_dim|embed\w*_(size|dim)|dim|word_embed_proj_dim|lru_width": 32,
    r".*intermediate_(size|dim)|ffn_dim|inner_dim|d_ff|d_inner|\w*ffn_hidden_size|dff": 48,
    r"\w*(num_hidden_layers|n_layers?|num_layers|encoder_layers|decoder_layers|num_blocks)": 2,
    r".*(key_value_heads|n_kv_heads?|num_kv_heads)": 2,
    r".*(attention_heads|n_heads?|num_heads)": 4,
    r".*head_dim|d_kv|d_head|dim_head|head_size|kv_channels|qk_nope_head_dim|\w*_rank|\w*_head_dim": 8,
    r".*(n_routed_experts|num_experts|num_local_experts|n_experts)": 4,
    r".*(experts_per_tok(en)?|moe_top_?k|top_k_experts|moe_k|top_k)": 2,
    r"n_group|topk_group": 1,
    r"max_position_embeddings|n_positions|max_seq_len|seq_length|n_ctx|max_\w+_positions|max_\w*context_len": 512,
    r"sliding_window|window_size|attention_window": 16,
    r".*state_size|mamba_d_state|ssm_state_size|patch_size": 8,
    r"image_size": 16,
    r".*(bos_token_id|eos_token_id|decoder_start_token_id)": 1,
    r".*pad_token_id": 2,
}
"""Settings by name, and their value in a small network."""
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_d_state": 8}
HYBRID = {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "attention_hidden_size": 64}
HYBRID |= {"attention_head_dim": 16}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
CONVOLUTION = {"layer_types": ["conv", "full_attention"]}
LATENT = {"num_key_value_heads": 4}
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bamba", "granitemoehybrid"), MAMBA),
    **dict.fromkeys(("deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "minicpm3", "youtu"), LATENT),
    **dict.fromkeys(("axk2", "bailing_hybrid", "kimi_linear"), LATENT),
    **dict.fromkeys(("lfm2", "lfm2_moe"), CONVOLUTION),
    "axk1": LATENT | {"head_dim": 8},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {"rope_parameters": {"full_attention": ROPE, "sliding_attention": ROPE}},
    "deepseek_v2": LATENT | {"head_dim": 8, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "falcon_h1": MAMBA | {"mamba_d_ssm": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "gptj": {"rotary_dim": 4},
    "laguna": {"num_attention_heads_per_layer": [4, 4]},
    "longcat_flash": LATENT | {"qk_head_dim": 16, "zero_expert_num": 2, "moe_topk": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2, "state_size": 8},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 8, "n_groups": 2, "num_hidden_layers": 4}
    | {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"]},
    "nemotron": {"num_key_value_heads": 2},
    "reformer": {"axial_pos_embds_dim": [8, 24], "axial_pos_shape": [16, 32], "is_decoder": True},
    "xlm": {"causal": True, "use_lang_emb": False},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": HYBRID | {"n_mamba_heads": 2, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    "zamba2": HYBRID
    | {"mamba_d_state": 8, "mamba_ngroups": 1, "n_mamba_heads": 8, "mamba_headdim": 8}
    | {"num_mem_blocks": 1, "use_mem_rope": True, "adapter_rank": 4},
    "zaya": {"num_experts_per_tok": 1},
}
"""Settings of single types that depend on each other."""
TEXT = {"vocab_size": 704, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "head_dim": 8}
TEXT |= {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 16, "max_position_embeddings": 512}
TEXT |= {"layer_types": ["sliding_attention", "full_attention"] * 2, "num_kv_shared_layers": 1, "pad_token_id": 2}
TEXT |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 704}
GEMMA_3N = TEXT | {"laurel_rank": 8, "altup_num_inputs": 2}
GEMMA_4 = TEXT | {"global_head_dim": 16}
EYES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "head_dim": 8}
WHOLLY_OWN: dict[str, dict[str, Any]] = {
    "dbrx": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 512, "vocab_size": 704}
    | {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}}
    | {"ffn_config": {"ffn_hidden_size": 48, "hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2}},
    "gemma3n_text": GEMMA_3N,
    "gemma4_text": GEMMA_4,
    "gemma4": {"text_config": GEMMA_4, "vision_config": EYES, "audio_config": None},
    "gemma4_unified_text": GEMMA_4,
    "gemma4_unified": {"text_config": GEMMA_4},
}
"""All settings of types whose defaults name layers that a small network does not have."""
LARGEST = 3 * 10**7
"""Numbers in a network that is still called small."""


def built(kind: str) -> Any:
    """Return a network of a causal type, small, random and in float32.

    Raises:
        LookupError: If no attempt gives one, with the last reason.
    """
    reason: Any = ""
    for layers in (0, 2, 4, 6):
        try:
            settings = WHOLLY_OWN.get(kind) or (_bare(CONFIG_MAPPING[kind], layers) if layers else _whole(kind))
            config = CONFIG_MAPPING[kind](**(settings | OWN.get(kind, {})))
            if hasattr(config, "is_decoder"):
                config.is_decoder = True
            with torch.device("meta"):
                size = sum(each.numel() for each in AutoModelForCausalLM.from_config(config).parameters())
            if size > LARGEST:
                raise ValueError(f"{size:,} numbers")
            torch.manual_seed(0)
            network = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.ndim > 1:
                        parameter.mul_(4)
                network(input_ids=torch.tensor([[5, 6, 7]]), use_cache=False)
            return network
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    raise LookupError(reason)


def _whole(kind: str) -> dict[str, Any]:
    """Return a type's default configuration with every setting that has a small value."""
    written = _shrunk(CONFIG_MAPPING[kind]().to_dict())
    for part in (written, written.get("text_config") or {}):
        if kinds := part.get("layer_types"):
            part["layer_types"] = (list(kinds) * 4)[: max(2, len(kinds))]
            part["num_hidden_layers"] = len(part["layer_types"])
    own = ("model_type", "transformers_version", "architectures", "torch_dtype", "dtype")
    return {key: value for key, value in written.items() if key not in own}


def _shrunk(written: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in written.items():
        if isinstance(value, dict) and key.endswith("config") and key != "per_layer_config":
            made[key] = _shrunk(value)
        elif key in ("layer_types", "layers_block_type") and isinstance(value, list | tuple):
            made[key] = list(dict.fromkeys(value))
        else:
            made[key] = _small(key, value)
    return made


def _small(key: str, value: Any) -> Any:
    """Return the small value of a setting; its own if it is no number or no pattern has its name."""
    if isinstance(value, int) and not isinstance(value, bool):
        for pattern, small in SMALL.items():
            if re.fullmatch(pattern, key):
                return small
    return value


def _bare(kind: Any, layers: int) -> dict[str, Any]:
    """Return only the settings that make a network small, and leave what depends on them to the configuration."""
    default, made = kind(), {}
    for key in {*getattr(kind, "__dataclass_fields__", {}), *default.to_dict()}:
        value = default.__dict__.get(key)
        if (small := _small(key, value)) != value:
            made[key] = small
    made |= {key: layers for key in ("num_hidden_layers", "num_layers") if key in made}
    made |= {key: _small(key, 0) for key in ("intermediate_size", "head_dim") if key in default.__dict__}
    parts = (getattr(kind, "sub_configs", None) or {}).items()
    return made | {key: _bare(part, layers) for key, part in parts if part.__name__ != "AutoConfig"}
