"""The settings of GGUF files: each is in the numbers, or the file is refused by name."""

from __future__ import annotations

import re
from dataclasses import replace

import gguf_files
import numpy as np
import pytest
import tiny
import torch
from gguf_files import EXPERTS, WINDOWS, logits, made, read, refused

import workbench as wb
from workbench.errors import InputError
from workbench.models.gguf import FAMILIES, Gguf

pytestmark = pytest.mark.model


def rope(kind: str, **settings: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 5000.0, **settings}}


NETWORKS = {
    "llama": ("Llama", {"rms_norm_eps": 1e-3, **rope("default")}),
    "llama tied": ("Llama", {"tie_word_embeddings": True}),
    "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama with wide heads": ("Llama", {"head_dim": 16}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen2moe": ("Qwen2Moe", EXPERTS | {"shared_expert_intermediate_size": 24}),
    "qwen3moe": ("Qwen3Moe", EXPERTS | {"head_dim": 8, "norm_topk_prob": True}),
    "gemma2": ("Gemma2", WINDOWS | {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 5.0}),
    "gemma3": ("Gemma3Text", WINDOWS | {"num_hidden_layers": 7}),
    "phi3": ("Phi3", {"sliding_window": 31}),
    "phi3 turned in part": ("Phi3", {"partial_rotary_factor": 0.5}),
    "stablelm": ("StableLm", {"use_qkv_bias": True}),
    "stablelm in parallel": ("StableLm", {"use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    "starcoder2": ("Starcoder2", {"tie_word_embeddings": True, **rope("default")}),
    "gpt2": ("GPT2", {"vocab_size": 704, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_converted_network_gives_the_numbers_of_the_one_it_was_written_from(name, tmp_path, cache):
    kind, settings = NETWORKS[name]
    network = made(kind, **settings)
    path = gguf_files.write(tmp_path / "model.gguf", network)
    assert np.abs(logits(read(path)) - logits(network)).max() < 2e-5


def scaled(**rope_parameters: object) -> torch.nn.Module:
    return made("Llama", rope_parameters={"rope_theta": 10000.0, **rope_parameters})


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
YARN_KEYS = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}
SCALINGS = {
    "base": ({"rope_theta": 500.0}, {}),
    "linear": ({"rope_type": "linear", "factor": 4.0}, {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "linear by its factor": ({"rope_type": "linear", "factor": 3.0}, {"rope.scaling.factor": 3.0}),
    "linear of old": ({"rope_type": "linear", "factor": 2.0}, {"rope.scale_linear": 2.0}),
    "none": ({}, {"rope.scaling.type": "none", "rope.scaling.factor": 4.0}),
    "yarn": (YARN, YARN_KEYS | {"rope.scaling.finetuned": True}),
    "yarn with betas": (
        YARN | {"beta_fast": 4.0, "beta_slow": 2.0},
        YARN_KEYS | {"rope.scaling.yarn_beta_fast": 4.0, "rope.scaling.yarn_beta_slow": 2.0},
    ),
    "yarn with its own temper": (
        YARN | {"attention_factor": 1.5 * (1 + 0.1 * float(np.log(4)))},
        YARN_KEYS | {"rope.scaling.attn_factor": 1.5},
    ),
}


@pytest.mark.parametrize("name", SCALINGS)
def test_scaled_rotary_positions_give_the_numbers_of_the_network_they_describe(name, tmp_path, cache):
    rope_parameters, keys = SCALINGS[name]
    network = scaled(**rope_parameters)
    plain = scaled(rope_theta=rope_parameters.get("rope_theta", 10000.0))
    path = gguf_files.write(tmp_path / "model.gguf", network, keys=keys)
    values, unscaled = logits(read(path)), logits(plain)
    assert np.abs(values - logits(network)).max() < 2e-5
    assert name in ("base", "none") or np.abs(values - unscaled).max() > 0.01


def test_the_factors_of_llama_3_1_are_its_scaling(tmp_path, cache):
    parameters = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    parameters |= {"original_max_position_embeddings": 8192, "rope_theta": 500000.0}
    network = made("Llama", head_dim=64, max_position_embeddings=131072, rope_parameters=parameters)
    unscaled = 500000.0 ** -(torch.arange(0, 64, 2, dtype=torch.float64) / 64)
    factors = (unscaled / network.model.rotary_emb.inv_freq.double()).float().numpy()
    assert (factors.min(), factors.max()) == pytest.approx((1, 8)) and len(set(factors.round(3))) > 3
    path = gguf_files.write(tmp_path / "model.gguf", network, more={"rope_freqs.weight": factors})
    converted = read(path)
    assert converted.config.rope_parameters["rope_type"] == "llama3"
    assert np.abs(logits(converted) - logits(network)).max() < 2e-5


def test_any_other_factors_are_taken_one_by_one(tmp_path, cache):
    network, factors = made("Llama"), np.array([1, 1.5, 3, 7], np.float32)
    path = gguf_files.write(tmp_path / "model.gguf", network, more={"rope_freqs.weight": factors})
    before = logits(network)
    network.model.rotary_emb.inv_freq = network.model.rotary_emb.inv_freq.clone() / torch.from_numpy(factors)
    converted = read(path)
    assert np.abs(logits(converted) - logits(network)).max() < 2e-5 < np.abs(before - logits(network)).max()
    assert np.abs(logits(converted, 600) - logits(network, 600)).max() < 2e-5  # behind the context too
    refused(gguf_files.write(tmp_path / "few.gguf", network, more={"rope_freqs.weight": factors[:3]}), "not 4")
    keys = SCALINGS["linear"][1]
    refused(gguf_files.write(tmp_path / "two.gguf", network, keys=keys, more={"rope_freqs.weight": factors}), "linear")


LONG = {
    f"rope_factors_{name}.weight": np.array(x, np.float32)
    for name, x in (("long", [1, 2, 4, 9]), ("short", [1, 1, 1, 2]))
}


def test_long_and_short_factors_are_both_read(tmp_path, cache):
    factors = {f"{name}_factor": LONG[f"rope_factors_{name}.weight"].tolist() for name in ("long", "short")}
    parameters = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 8.0, **factors}
    network = made("Phi3", original_max_position_embeddings=64, rope_parameters=parameters)
    scale = network.model.rotary_emb.attention_scaling
    assert scale > 1.1
    keys = {"rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": scale}
    path = gguf_files.write(tmp_path / "model.gguf", network, keys=keys, more=LONG)
    for length in (60, 160):
        assert np.abs(logits(read(path), length) - logits(network, length)).max() < 2e-5
    without = keys | {"rope.scaling.attn_factor": None}
    refused(gguf_files.write(tmp_path / "untold.gguf", network, keys=without, more=LONG), "rope.scaling.attn_factor")
    one = {"rope_factors_long.weight": LONG["rope_factors_long.weight"]}
    refused(gguf_files.write(tmp_path / "one.gguf", network, keys=keys, more=one), "rope_factors_short")


OTHER = {"attention.layer_norm_rms_epsilon": 0.5, "rope.freq_base": 77.0, "context_length": 100}


@pytest.mark.parametrize("kind", ["Llama", "Qwen2Moe", "Gemma2", "Gemma3Text", "Phi3", "StableLm"])
def test_no_setting_of_a_file_can_be_changed_silently(kind, tmp_path, cache):
    """Each setting in turn is given another value: the numbers change, or the file is refused."""
    more = EXPERTS | {"shared_expert_intermediate_size": 24} if kind == "Qwen2Moe" else {}
    more |= WINDOWS | {"num_hidden_layers": 7 if kind == "Gemma3Text" else 2} if kind.startswith("Gemma") else {}
    more |= {"partial_rotary_factor": 0.5} if kind == "StableLm" else {}
    network = made(kind, **more)
    before, silent = logits(network), []
    for number, (key, value) in enumerate(gguf_files.keys_of(network.config).items()):
        other = OTHER.get(key, not value if isinstance(value, bool) else value * 2 or 16)
        path = gguf_files.write(tmp_path / f"{number}.gguf", network, keys={key: other})
        try:
            model = wb.load_model(path, device="cpu")
        except InputError:
            continue
        if model.context_length == 512 and np.abs(logits(model.network) - before).max() < 1e-3:
            silent.append(key)
    assert silent == ["feed_forward_length"] * (kind == "Qwen2Moe")  # of the layers without experts, of which none is


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("expert_count", 4),
        ("expert_weights_scale", 2.5),
        ("attention.scale", 0.5),
        ("attention.causal", False),
        ("attention.sliding_window", 16),
        ("attn_logit_softcapping", 30.0),
        ("final_logit_softcapping", 30.0),
        ("logit_scale", 0.25),
        ("residual_scale", 0.5),
        ("embedding_scale", 12.0),
        ("rope.scaling.attn_factor", 1.3),
        ("rope.scaling.yarn_log_multiplier", 0.1),
        ("rope.scaling.type", "dynamic"),
        ("rope.dimension_count", 4),
        ("rope.dimension_sections", [2, 2, 0, 0]),
        ("attention.value_length", 16),
        ("attention.head_count_kv", [2, 1]),
        ("feed_forward_length", [48, 40]),
        ("a_setting_of_next_year", 1),
    ],
)
def test_a_setting_that_is_not_read_is_refused_by_name(key, value, tmp_path, cache):
    refused(gguf_files.write(tmp_path / "model.gguf", keys={key: value}), key.removeprefix("rope.dimension_count"))


@pytest.mark.parametrize(
    ("kind", "name", "keys", "message"),
    [
        ("Qwen2", "qwen2", {"sliding_window": 16}, "sliding_window to 16, .* as None"),
        ("Phi3", "phi3", {"original_max_position_embeddings": 7}, "rope_parameters "),
    ],
)
def test_a_setting_that_the_configuration_rewrites_is_refused(kind, name, keys, message, tmp_path, cache, monkeypatch):
    """Qwen 2's drops a window unless another setting asks for windows; Phi 3's puts its own length into the rest."""
    family = FAMILIES[name]
    changed = replace(family, settings=lambda file: family.settings(file) | keys)
    monkeypatch.setitem(FAMILIES, name, changed)
    long = {"rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": 1.2}
    more, keys_ = (LONG, long) if kind == "Phi3" else ({}, {})
    path = gguf_files.write(tmp_path / "model.gguf", made(kind), more=more, keys=keys_)
    assert re.search(message, refused(path))


def test_settings_with_values_that_change_nothing_pass(tmp_path, cache):
    keys = {"expert_count": 0, "logit_scale": 1.0, "attention.causal": True, "rope.scaling.attn_factor": 1.0}
    keys |= {"attention.head_count_kv": [2, 2], "feed_forward_length": [48, 48], "tensor_data_layout": "Meta"}
    network = tiny.network()
    path = gguf_files.write(tmp_path / "model.gguf", network, keys=keys, words={"someone.note": 3})
    assert np.abs(logits(read(path)) - logits(network)).max() < 2e-5


@pytest.mark.parametrize(
    "key", ["attention.head_count", "attention.layer_norm_rms_epsilon", "context_length", "block_count"]
)
def test_a_setting_that_is_missing_is_named(key, tmp_path, cache):
    refused(gguf_files.write(tmp_path / "model.gguf", keys={key: None}), f"llama.{key}")


def test_the_largest_gemmas_scale_attention_by_another_width():
    for name, blocks, expected in (("gemma2", 46, 144), ("gemma2", 42, 128), ("gemma3", 62, 144), ("gemma3", 48, 128)):
        keys = {"embedding_length": 4608, "attention.head_count": 32, "attention.key_length": 128, "context_length": 9}
        keys |= {"block_count": blocks, "feed_forward_length": 8, "attention.layer_norm_rms_epsilon": 1e-6}
        keys["attention.sliding_window"] = 4
        file = Gguf(
            __file__, {f"{name}.{key}": value for key, value in keys.items()} | {"general.architecture": name}, {}
        )
        assert FAMILIES[name].settings(file)["query_pre_attn_scalar"] == expected
