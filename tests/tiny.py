"""Tokenizers trained in process and randomly initialised networks of two layers, for tests."""

from __future__ import annotations

import json

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "The capital of France is Paris. The capital of Germany is Berlin.",
    "Question: What is the largest planet? Answer: Jupiter",
    "I don't know. I do not know. Strongly agree, agree, disagree, strongly disagree.",
    "user assistant system 0 1 2 3 4 5 6 7 8 9 10 A B C D (A) (B) naïve façade",
] * 4
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% if not (loop.last and m['role'] == 'assistant') %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def byte_tokenizer(bos: bool = False, template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as in GPT-2, Llama 3, Qwen and SmolLM."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer, bos, template)


def metaspace_tokenizer(bos: bool = True, template: str | None = None) -> PreTrainedTokenizerFast:
    """BPE on `▁` with a dummy prefix and byte fallback, as in Llama 2 and Mistral."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = SPECIAL + [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if not token["content"].startswith("<0x")]
    return _wrapped(Tokenizer.from_str(json.dumps(plain)), bos, template)


def _wrapped(tokenizer: Tokenizer, bos: bool, template: str | None) -> PreTrainedTokenizerFast:
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    wrapped.add_special_tokens({"additional_special_tokens": [AddedToken(t, special=True) for t in SPECIAL[3:]]})
    wrapped.chat_template = template
    return wrapped


def network(family: str = "llama", seed: int = 0, context: int = 512, **changes: object) -> torch.nn.Module:
    """A two-layer network of a family with random weights, in float32.

    The weights are large, so that attending to a wrong token moves a log-probability by more than a rounding error.
    """
    torch.manual_seed(seed)
    shape: dict[str, object] = {
        "vocab_size": 704,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": context,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    if family == "gpt2":
        shape = {"vocab_size": 704, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": context}
        shape |= {"bos_token_id": 1, "eos_token_id": 2}
    if family in ("gemma2", "gemma3", "mistral"):
        shape["sliding_window"] = 16
    if family in ("gemma2", "gemma3"):
        shape["layer_types"] = ["sliding_attention", "full_attention"]
    if family == "phi3_long":
        factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
        shape["rope_parameters"] = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 8.0} | factors
        shape["rope_parameters"] |= {"original_max_position_embeddings": 64}
        shape["original_max_position_embeddings"] = 64
    if family == "doge":
        shape |= {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
    if family == "mamba":
        shape = {"vocab_size": 704, "hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "pad_token_id": 2}
    if family in ("gemma3n", "gemma4"):
        shape |= {"num_hidden_layers": 4, "num_kv_shared_layers": 1, "sliding_window": 16}
        shape |= {"layer_types": ["sliding_attention", "full_attention"] * 2}
        shape |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 704}
        shape |= {"laurel_rank": 8, "altup_num_inputs": 2} if family == "gemma3n" else {"global_head_dim": 16}
    if family == "lfm2":
        shape |= {"layer_types": ["conv", "full_attention"], "conv_L_cache": 3, "block_auto_adjust_ff_dim": False}
    if family == "jamba":
        shape |= {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8}
        shape |= {"mamba_dt_rank": 4, "use_mamba_kernels": False, "experts_implementation": "eager"}
    if family == "qwen3_next":
        shape |= {"layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2}
        shape |= {"linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
        shape |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        shape |= {"shared_expert_intermediate_size": 32, "experts_implementation": "eager"}
    if family == "mixtral":
        shape |= {"num_local_experts": 4, "experts_implementation": "eager"}
    if family == "gpt_neo":
        shape = {"vocab_size": 704, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 16}
        shape |= {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": context}
    if family == "bloom":
        shape = {"vocab_size": 704, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    if family == "roberta":
        shape = {
            "vocab_size": 704,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "pad_token_id": 1,
        }
        shape |= {"intermediate_size": 48, "max_position_embeddings": context, "is_decoder": True}
    if family == "xlm":
        shape = {"n_words": 704, "emb_dim": 32, "n_layers": 2, "n_heads": 4, "causal": True, "use_lang_emb": False}
        shape |= {"max_position_embeddings": context}
    config_class, network_class = FAMILIES[family]
    config = getattr(transformers, config_class)(**(shape | changes))
    made = getattr(transformers, network_class)(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2 if family == "mamba" else 8)
    return made


FAMILIES = {
    "llama": ("LlamaConfig", "LlamaForCausalLM"),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM"),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM"),
    "mistral": ("MistralConfig", "MistralForCausalLM"),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM"),
    "phi3_long": ("Phi3Config", "Phi3ForCausalLM"),
    "doge": ("DogeConfig", "DogeForCausalLM"),
    "cohere": ("CohereConfig", "CohereForCausalLM"),
    "granite": ("GraniteConfig", "GraniteForCausalLM"),
    "bloom": ("BloomConfig", "BloomForCausalLM"),
    "mixtral": ("MixtralConfig", "MixtralForCausalLM"),
    "gemma3n": ("Gemma3nTextConfig", "Gemma3nForCausalLM"),
    "gemma4": ("Gemma4TextConfig", "Gemma4ForCausalLM"),
    "lfm2": ("Lfm2Config", "Lfm2ForCausalLM"),
    "jamba": ("JambaConfig", "JambaForCausalLM"),
    "qwen3_next": ("Qwen3NextConfig", "Qwen3NextForCausalLM"),
    "gpt_neo": ("GPTNeoConfig", "GPTNeoForCausalLM"),
    "mamba": ("MambaConfig", "MambaForCausalLM"),
    "roberta": ("RobertaConfig", "RobertaForCausalLM"),
    "xlm": ("XLMConfig", "XLMWithLMHeadModel"),
}
