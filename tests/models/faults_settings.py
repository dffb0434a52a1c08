"""Faults of settings: a configuration that contradicts itself, or has settings that its network or adapter ignores."""

from __future__ import annotations

import json

import tiny
import torch
from faults import fault, saved
from faults_adapters import applied
from faults_adapters import configured as adapter_configured
from faults_weights import INDEX, UP, WEIGHTS, configured, rewritten
from safetensors.torch import load_file

LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]}


@fault("folder", refused=r"config\.json .* gives rope_theta as 1000000\.0 in one place and as 10000\.0 in another")
def a_scaling_that_takes_the_place_of_the_base(place):
    saved(place, tiny.network(rope_parameters={"rope_type": "default", "rope_theta": 1e6}))
    configured(place, rope_scaling={"type": "linear", "factor": 4.0})
    return place


@fault("folder", refused=r"gives rope_theta as 500000 in one place and as 10000\.0")
def a_base_beside_the_rotary_settings(place):
    saved(place)
    configured(place, rope_theta=500000)
    return place


@fault("folder")
def rotary_settings_as_older_files_write_them(place):
    network = saved(place, tiny.network(rope_parameters=LINEAR))
    configured(place, "rope_parameters", rope_theta=1e6, rope_scaling={"type": "linear", "factor": 4.0})
    return place, network


@fault("folder")
def rotary_settings_in_both_forms(place):
    network = saved(place, tiny.network(rope_parameters=LINEAR))
    configured(place, rope_theta=1e6, rope_scaling={"type": "linear", "factor": 4.0})
    return place, network


EXTRA = {"attn_logit_softcapping": 50.0, "logit_scale": 0.1, "embedding_multiplier": 12}
EXTRA |= {"use_bidirectional_attention": True}
for key, value in EXTRA.items():

    @fault("folder", refused=rf"config\.json .* sets {key} to .* LlamaForCausalLM does not read", name=key)
    def a_setting_of_another_architecture(place, key=key, value=value):
        saved(place)
        configured(place, **{key: value})
        return place


@fault("folder", refused=r"two architectures, LlamaForCausalLM .* and GemmaForCausalLM .*model_type 'gemma'")
def a_model_type_of_another_architecture(place):
    saved(place, tiny.network(tie_word_embeddings=True))
    configured(place, model_type="gemma")
    return place


@fault("folder")
def an_architecture_of_the_models_own_code(place):
    network = saved(place)
    configured(place, architectures=["MyModel"], auto_map={"AutoModelForCausalLM": "modeling_mine.MyModel"})
    return place, network


for key, value in {"num_hidden_layers": "2", "rms_norm_eps": "1e-2", "vocab_size": None, "dtype": "float7"}.items():

    @fault(
        "folder",
        refused=rf"Cannot load the config\.json of .*{key if key != 'dtype' else 'float7'}",
        name=f"{key}_of_another_kind",
    )
    def a_setting_of_another_kind(place, key=key, value=value):
        saved(place)
        configured(place, **{key: value})
        return place


@fault("folder", refused=r"Cannot load .* its files lack 'nope', or name it where the library does not know it")
def an_unknown_activation(place):
    saved(place)
    configured(place, hidden_act="nope")
    return place


@fault("folder", refused=r"chat_template\.jinja, line 1, contains the byte 0xE9, which is not UTF-8")
def a_chat_template_that_is_no_text(place):
    saved(place)
    (place / "chat_template.jinja").write_bytes(b"\xe9")
    return place


@fault("folder")
def an_index_that_names_the_whole_file(place):
    network = saved(place)
    (place / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(load_file(place / WEIGHTS), WEIGHTS)}))
    return place, network


for kind in (torch.float8_e4m3fn, torch.complex64, torch.int8):

    @fault(
        "folder",
        refused=r"is quantised by unknown, which is not read here",
        name=f"stored_as_{kind}",
    )
    def numbers_that_are_not_whole(place, kind=kind):
        rewritten(place, lambda weights: weights.update({UP: weights[UP].to(kind)}))
        configured(place, quantization_config={"quant_method": "unknown"})
        return place


def in_eight_bits(place, keep=lambda key: True):
    """A tiny model with weights in 8 bits; those whose key passes `keep` have scales."""
    network = tiny.network()

    def change(weights):
        for key in [key for key in weights if "_proj.weight" in key]:
            scale = weights[key].abs().max() / 448
            weights[key] = (weights[key] / scale).to(torch.float8_e4m3fn)
            with torch.no_grad():
                network.get_parameter(key).copy_(weights[key].float() * scale)
            if keep(key):
                weights[f"{key}_scale_inv"] = scale.reshape(1, 1)

    rewritten(place, change)
    configured(place, quantization_config=FP8)
    return network


@fault("folder")
def weights_in_eight_bits_with_scales(place):
    network = in_eight_bits(place)
    return place, network


for kind in (torch.int8, torch.uint8):

    @fault("folder", refused=rf"{UP} .* is stored as [IU]8 in .* without its scale", name=f"{kind}_under_fp8")
    def whole_numbers_where_eight_bits_are_read(place, kind=kind):
        rewritten(place, lambda weights: weights.update({UP: weights[UP].to(kind)}))
        configured(place, quantization_config=FP8)
        return place


@fault("folder")
def outputs_as_tuples(place):
    network = saved(place)
    configured(place, return_dict=False)
    return place, network


@fault("folder", refused=r"layers\.1\..* stored as F8_E4M3 in model\.safetensors without its scale")
def weights_in_eight_bits_without_some_scales(place):
    in_eight_bits(place, lambda key: "layers.1." not in key)
    return place


@fault("adapter")
def settings_of_an_adapters_training(place):
    source, network = applied(place)
    adapter_configured(place, lorap_emb_lr=1e-6, merge_weights=False, enable_lora=None)
    return source, network


@fault("name", refused=r"There is no model folder '~no-such-user/model'")
def an_unknown_home_folder(place):
    return "~no-such-user/model"


@fault("name", refused=r"'owner/name@' names no revision")
def a_revision_without_a_name(place):
    return "owner/name@"


@fault("name", refused=r"cannot be looked up as a folder \(File name too long\)")
def a_name_that_is_too_long(place):
    return "x" * 5000
