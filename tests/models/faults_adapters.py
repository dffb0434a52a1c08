"""Faults of adapters: adapters that do not fit, are incomplete, or that merging would change."""

from __future__ import annotations

import json

import peft
import tiny
import torch
from faults import fault, saved
from safetensors.torch import load_file, save_file

import workbench as wb
from workbench.models.proof import probes

FILE = "adapter_model.safetensors"


def tuned(network=None, seed=1, **settings):
    """A tiny network under a LoRA with random weights, or under another adapter."""
    torch.manual_seed(seed)
    config = settings.pop("config", None) or peft.LoraConfig(
        **({"target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "r": 4} | settings)
    )
    return peft.get_peft_model(tiny.network() if network is None else network, config).eval()


def laid(place, network=None, base=None, **settings):
    """A base and an adapter in folders of their own: the name of both, and the network under the adapter."""
    saved(place / "base", tiny.network() if base is None else base)
    made = tuned(network, **settings)
    made.save_pretrained(place / "adapter")
    return f"{place / 'base'}#{place / 'adapter'}", made


def rewritten(place, change):
    """Lets `change` give other weights to an adapter, by name."""
    weights = change(load_file(place / "adapter" / FILE))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, place / "adapter" / FILE)


def configured(place, **changes):
    """Changes settings in adapter_config.json."""
    file = place / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


SEEN = {number for pair in probes(704, 512) for ids in pair for number in ids}
UNPROBED = [number for number in range(5, 704) if number not in SEEN][:3]
"""Tokens that none of the engine's probes holds."""
KINDS = {
    "lora": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "rank_patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
    "every_linear_layer": {"target_modules": "all-linear"},
    "one_layer": {"layers_to_transform": [1]},
    "an_untied_head": {"target_modules": ["lm_head", "q_proj"]},
    "an_untied_embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "a_saved_head": {"modules_to_save": ["lm_head"]},
    "ia3": {
        "config": peft.IA3Config(
            target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"], init_ia3_weights=False
        )
    },
    "loha": {"config": peft.LoHaConfig(target_modules=["q_proj"], init_weights=False, r=2)},
    "oft": {"config": peft.OFTConfig(target_modules=["q_proj"], init_weights=False, oft_block_size=8, r=0)},
    "vera": {"config": peft.VeraConfig(target_modules=["q_proj"], init_weights=False, r=4)},
    "trained_tokens_alone": {
        "config": peft.TrainableTokensConfig(
            token_indices=UNPROBED, target_modules=["embed_tokens"], init_weights=False
        )
    },
    "trained_tokens": {"trainable_token_indices": [5, 300, 301]},
}
for kind, given in KINDS.items():

    @fault("adapter", name=kind)
    def an_adapter_of_a_kind(place, given=given):
        source, network = laid(place, **given)
        return source, network

    @fault("wrap_model", name=kind)
    def a_network_under_an_adapter(place, given=given):
        return wb.wrap_model(tuned(**given), tiny.byte_tokenizer()), tuned(**given)


TIED = {
    "a_tied_head": {"target_modules": ["lm_head", "q_proj"]},
    "a_tied_embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "both_of_a_tied_pair": {"target_modules": ["embed_tokens", "lm_head"]},
    "a_saved_tied_embedding": {"modules_to_save": ["embed_tokens"]},
    "a_saved_tied_head": {"modules_to_save": ["lm_head"]},
    "trained_tokens_of_a_tied_pair": {"trainable_token_indices": [5, 300]},
}
for kind, given in TIED.items():

    @fault("adapter", name=kind)
    def an_adapter_on_a_tied_pair(place, given=given):
        base = tiny.network(tie_word_embeddings=True)
        source, network = laid(place, tiny.network(tie_word_embeddings=True), base, **given)
        return source, network


@fault("adapter", refused=r"weights that have no place .*_orig_mod")
def names_with_the_prefix_of_a_compiled_network(place):
    source, _ = laid(place)
    rewritten(place, lambda weights: {name.replace(".model.", "._orig_mod.", 1): w for name, w in weights.items()})
    return source


@fault("adapter", refused=r"weights that have no place .*module\.")
def names_with_the_prefix_of_a_parallel_network(place):
    source, _ = laid(place)
    rewritten(place, lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()})
    return source


@fault("adapter", refused=r"lacks 4 weights .*layers\.1\.")
def half_of_the_layers(place):
    source, _ = laid(place)
    rewritten(place, lambda weights: {name: w for name, w in weights.items() if "layers.1." not in name})
    return source


@fault("adapter", refused=r"lacks \d+ weights")
def an_adapter_of_a_smaller_model(place):
    source, _ = laid(place, base=tiny.network(num_hidden_layers=3))
    return source


@fault("adapter", refused=r"contains 4 weights that have no place .*layers\.2\.")
def an_adapter_of_a_larger_model(place):
    source, _ = laid(place, tiny.network(num_hidden_layers=3))
    return source


@fault("adapter", refused=r"does not fit .*size mismatch for .*q_proj.*shape")
def an_adapter_of_a_wider_model(place):
    source, _ = laid(place, tiny.network(hidden_size=64))
    return source


@fault("adapter", refused=r"does not fit .*size mismatch")
def a_rank_that_the_configuration_does_not_have(place):
    source, _ = laid(place, rank_pattern={"q_proj": 2})
    configured(place, rank_pattern={})
    return source


@fault("adapter", refused=r"does not fit .*Target modules")
def an_adapter_of_another_architecture(place):
    source, _ = laid(place, tiny.network("gpt2"), target_modules=["c_attn"])
    return source


@fault("adapter", refused=r"does not fit .*lacks .*lm_head")
def a_saved_head_that_the_file_lacks(place):
    source, _ = laid(place, modules_to_save=["lm_head"])
    rewritten(place, lambda weights: {name: tensor for name, tensor in weights.items() if "lm_head" not in name})
    return source


@fault("adapter", refused=r"changes nothing .*lora_alpha")
def a_scaling_of_zero(place):
    source, _ = laid(place)
    configured(place, lora_alpha=0)
    return source


@fault("adapter")
def an_adapter_that_was_not_trained(place):
    source, network = laid(place, init_lora_weights=True)
    return source, network


@fault("adapter", refused=r"init_lora_weights='pissa'.*plain LoRA")
def an_adapter_that_changes_the_base(place):
    source, _ = laid(place, init_lora_weights="pissa")
    return source


for kind in ("prompt", "prefix", "p_tuning"):

    def config_of(kind):
        settings = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}
        if kind == "p_tuning":
            return peft.PromptEncoderConfig(**settings, encoder_hidden_size=16)
        return (peft.PromptTuningConfig if kind == "prompt" else peft.PrefixTuningConfig)(**settings)

    @fault("adapter", refused=r"of the kind (PROMPT_TUNING|PREFIX_TUNING|P_TUNING)", name=f"{kind}_tuning")
    def an_adapter_of_virtual_tokens(place, kind=kind):
        return laid(place, config=config_of(kind))[0]

    @fault("wrap_model", refused=r"of the kind (PROMPT_TUNING|PREFIX_TUNING|P_TUNING)", name=f"{kind}_tuning")
    def a_network_behind_virtual_tokens(place, kind=kind):
        return wb.wrap_model(tuned(config=config_of(kind)), tiny.byte_tokenizer())


@fault("adapter", refused=r"damaged|does not fit")
def a_truncated_adapter(place):
    source, _ = laid(place)
    file = place / "adapter" / FILE
    file.write_bytes(file.read_bytes()[:-50])
    return source


@fault("adapter", refused=r"adapter_config\.json .* cannot be read")
def an_adapter_of_an_unknown_kind(place):
    source, _ = laid(place)
    configured(place, peft_type="UNKNOWN")
    return source


@fault("adapter", refused=r"lacks adapter_model\.safetensors")
def an_adapter_in_pickle(place):
    source, _ = laid(place)
    torch.save(load_file(place / "adapter" / FILE), place / "adapter" / "adapter_model.bin")
    (place / "adapter" / FILE).unlink()
    return source


@fault("adapter", refused=r"tokenizer of its own.*gives \d+ tokens of .* another id")
def a_tokenizer_of_another_model(place):
    source, _ = laid(place)
    tiny.metaspace_tokenizer().save_pretrained(place / "adapter")
    return source


@fault("adapter")
def a_tokenizer_with_words_that_the_base_has_as_pieces(place):
    source, network = laid(place)
    tokenizer = tiny.byte_tokenizer()
    tokenizer.add_tokens(["Jupiter", "largest"])
    tokenizer.save_pretrained(place / "adapter")
    return source, network, tokenizer


@fault("adapter", refused=r"adapter' has two chat templates that differ")
def two_chat_templates_of_an_adapter(place):
    source, _ = laid(place)
    (place / "adapter" / "chat_template.jinja").write_text("{{ messages }}")
    (place / "adapter" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ 1 }}"}))
    return source


@fault("adapter", refused=r"both a whole model .* and an adapter")
def an_adapter_in_the_folder_of_its_base(place):
    saved(place)
    tuned().save_pretrained(place)
    return f"{place}#{place}"
