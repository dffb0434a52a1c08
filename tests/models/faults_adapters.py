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


def applied(place, network=None, base=None, **settings):
    """Save a base and an adapter in separate folders; return the name of both, and the network under the adapter."""
    saved(place / "base", tiny.network() if base is None else base)
    made = tuned(network, **settings)
    made.save_pretrained(place / "adapter")
    return f"{place / 'base'}#{place / 'adapter'}", made


def rewritten(place, change):
    """Replace the weights of an adapter, by name, by what `change` returns for them."""
    weights = change(load_file(place / "adapter" / FILE))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, place / "adapter" / FILE)


def configured(place, without="", **changes):
    """Change settings in adapter_config.json, and remove one."""
    file = place / "adapter" / "adapter_config.json"
    settings = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in settings.items() if key != without}))


SEEN = {number for pair in probes(704, 512) for ids in pair for number in ids}
UNPROBED = [number for number in range(5, 704) if number not in SEEN][:3]
"""Tokens that are in none of the engine's probes."""
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
        source, network = applied(place, **given)
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
        source, network = applied(place, tiny.network(tie_word_embeddings=True), base, **given)
        return source, network


def renamed(rename):
    """A change of the names of weights; those renamed to "" are removed."""
    return lambda place: rewritten(place, lambda weights: {rename(n): w for n, w in weights.items() if rename(n)})


def truncate(place):
    file = place / "adapter" / FILE
    file.write_bytes(file.read_bytes()[:-50])


def to_integers(place):
    rewritten(place, lambda weights: {name: (w * 100).to(torch.int8) for name, w in weights.items()})


REFUSED = {
    "names_with_the_prefix_of_a_compiled_network": (
        {},
        renamed(lambda name: name.replace(".model.", "._orig_mod.", 1)),
        r"weights that have no place .*_orig_mod",
    ),
    "names_with_the_prefix_of_a_parallel_network": (
        {},
        renamed(lambda name: f"module.{name}"),
        r"weights that have no place .*module\.",
    ),
    "half_of_the_layers": (
        {},
        renamed(lambda name: name * ("layers.1." not in name)),
        r"lacks 4 weights .*layers\.1\.",
    ),
    "a_smaller_model": ({"base": {"num_hidden_layers": 3}}, None, r"lacks \d+ weights"),
    "a_larger_model": (
        {"network": {"num_hidden_layers": 3}},
        None,
        r"contains 4 weights that have no place .*layers\.2\.",
    ),
    "a_wider_model": ({"network": {"hidden_size": 64}}, None, r"does not fit .*size mismatch for .*q_proj.*shape"),
    "more_tokens": (
        {"network": {"vocab_size": 720}, "modules_to_save": ["embed_tokens", "lm_head"]},
        None,
        r"size mismatch for .*embed_tokens.*resize the base, save it, and apply the adapter to that",
    ),
    "another_architecture": (
        {"network": {"family": "gpt2"}, "target_modules": ["c_attn"]},
        None,
        r"does not fit .*Target modules",
    ),
    "a_rank_that_the_configuration_does_not_have": (
        {"rank_pattern": {"q_proj": 2}},
        lambda place: configured(place, rank_pattern={}),
        r"does not fit .*size mismatch",
    ),
    "a_saved_head_that_the_file_lacks": (
        {"modules_to_save": ["lm_head"]},
        renamed(lambda name: name * ("lm_head" not in name)),
        r"does not fit .*lacks .*lm_head",
    ),
    "a_scaling_of_zero": ({}, lambda place: configured(place, lora_alpha=0), r"changes nothing .*lora_alpha"),
    "no_scaling": (
        {},
        lambda place: configured(place, "lora_alpha"),
        r"adapter_config\.json .* has no lora_alpha",
    ),
    "a_setting_of_a_newer_peft": (
        {},
        lambda place: configured(place, use_tomorrow=True),
        r"adapter_config\.json .* sets use_tomorrow to True, which this version of PEFT does not know",
    ),
    "an_unknown_kind": (
        {},
        lambda place: configured(place, peft_type="UNKNOWN"),
        r"adapter_config\.json .* cannot be read",
    ),
    "an_initialisation_that_changes_the_base": (
        {"init_lora_weights": "pissa"},
        None,
        r"init_lora_weights='pissa'.*plain LoRA",
    ),
    "an_adapter_that_acts_behind_some_tokens": (
        {"alora_invocation_tokens": [5, 6]},
        None,
        r"acts only behind its alora_invocation_tokens",
    ),
    "integers": ({}, to_integers, r"stores .*lora_A\.weight as I8, .*convert the adapter"),
    "a_truncated_file": ({}, truncate, r"damaged|does not fit"),
}
for name, (settings, change, refused) in REFUSED.items():

    @fault("adapter", refused=refused, name=name)
    def a_faulty_adapter(place, settings=settings, change=change):
        """`settings` of `applied`, with those of the networks by name; `change` alters the folder."""
        networks = {key: tiny.network(**settings[key]) for key in ("base", "network") if key in settings}
        source, _ = applied(place, **settings | networks)
        if change:
            change(place)
        return source


@fault("adapter")
def an_adapter_that_was_not_trained(place):
    source, network = applied(place, init_lora_weights=True)
    return source, network


for kind in ("prompt", "prefix", "p_tuning"):

    def config_of(kind):
        settings = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 3}
        if kind == "p_tuning":
            return peft.PromptEncoderConfig(**settings, encoder_hidden_size=16)
        return (peft.PromptTuningConfig if kind == "prompt" else peft.PrefixTuningConfig)(**settings)

    @fault("adapter", refused=r"of the kind (PROMPT_TUNING|PREFIX_TUNING|P_TUNING)", name=f"{kind}_tuning")
    def an_adapter_of_virtual_tokens(place, kind=kind):
        return applied(place, config=config_of(kind))[0]

    @fault("wrap_model", refused=r"of the kind (PROMPT_TUNING|PREFIX_TUNING|P_TUNING)", name=f"{kind}_tuning")
    def a_network_behind_virtual_tokens(place, kind=kind):
        return wb.wrap_model(tuned(config=config_of(kind)), tiny.byte_tokenizer())


@fault("adapter", refused=r"lacks adapter_model\.safetensors")
def an_adapter_in_pickle(place):
    source, _ = applied(place)
    torch.save(load_file(place / "adapter" / FILE), place / "adapter" / "adapter_model.bin")
    (place / "adapter" / FILE).unlink()
    return source


@fault("adapter", refused=r"tokenizer of its own.*gives \d+ tokens of .* another id")
def a_tokenizer_of_another_model(place):
    source, _ = applied(place)
    tiny.metaspace_tokenizer().save_pretrained(place / "adapter")
    return source


@fault("adapter")
def a_tokenizer_with_words_that_the_base_has_as_pieces(place):
    source, network = applied(place)
    tokenizer = tiny.byte_tokenizer()
    tokenizer.add_tokens(["Jupiter", "largest"])
    tokenizer.save_pretrained(place / "adapter")
    return source, network, tokenizer


@fault("adapter", refused=r"adapter' has two chat templates that differ")
def two_chat_templates_of_an_adapter(place):
    source, _ = applied(place)
    (place / "adapter" / "chat_template.jinja").write_text("{{ messages }}")
    (place / "adapter" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ 1 }}"}))
    return source


@fault("adapter", refused=r"both a whole model .* and an adapter")
def an_adapter_in_the_folder_of_its_base(place):
    saved(place)
    tuned().save_pretrained(place)
    return f"{place}#{place}"
