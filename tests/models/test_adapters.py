"""Adapters: their templates, what half precision does to them, and what is part of a fingerprint."""

from __future__ import annotations

import shutil
import warnings

import faults_adapters
import numpy as np
import pytest
import tiny
import torch
from faults import expected, read, saved

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import engine
from workbench.models import proof

pytestmark = pytest.mark.model
OTHER = tiny.TEMPLATE.replace("<|im_start|>", "<|im_start|>to ")
CHAT = wb.Question((wb.Message("user", "What is the largest planet?"),), (wb.Option("Jupiter"),))


def small(place, factor=0.01, **settings):
    """A base and a small adapter in folders of their own; the network under the adapter."""
    base, network = tiny.network(), faults_adapters.tuned(**settings)
    for name, weights in network.named_parameters():
        if "lora_B" in name:
            weights.data.mul_(factor)
    saved(place / "base", base)
    network.save_pretrained(place / "adapter")
    return f"{place / 'base'}#{place / 'adapter'}", network


@pytest.mark.parametrize("whole", [True, False])
def test_an_adapters_own_chat_template_is_the_one_that_is_used(tmp_path, cache, whole):
    source, _ = small(tmp_path)
    if whole:
        tiny.byte_tokenizer(template=OTHER).save_pretrained(tmp_path / "adapter")
    else:
        (tmp_path / "adapter" / "chat_template.jinja").write_text(OTHER)
    before = wb.load_model(f"{source}", device="cpu").fingerprint
    model = wb.load_model(source, device="cpu")
    assert model.tokenizer.chat_template == OTHER
    assert "chat template of the adapter" in model.facts()["note"]
    by_hand = wb.wrap_model(model.network, tiny.byte_tokenizer(template=OTHER))
    answers = [wb.ask(one, [CHAT], store=False)["logprob"][0] for one in (model, by_hand)]
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)
    template = tmp_path / "adapter" / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert wb.load_model(source, device="cpu").fingerprint != before


@pytest.mark.parametrize("head", [None, ["lm_head"]])
def test_the_gap_of_half_precision_is_that_to_base_and_adapter(tmp_path, cache, head):
    """Merging rounds the weights, and those of a saved head: widening what was merged would not show it."""
    source, _ = small(tmp_path, modules_to_save=head)
    model = wb.load_model(source, device="cpu", dtype="bfloat16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choice = engine.choose(model)
    base = wb.load_model(tmp_path / "base", device="cpu", dtype="bfloat16").network.float()
    exact = faults_adapters.peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    probes = proof.probes(704, 512)
    actual, wanted = proof.plain(model.network, probes), proof.plain(exact, probes)
    assert choice.half_gap == pytest.approx(np.abs(actual - wanted).max(), abs=1e-4)
    with proof.computing_in_float32(model.network):
        blind = np.abs(proof.plain(model.network, probes) - actual).max()
    assert abs(choice.half_gap - blind) > 3e-4
    assert "rounding the merged weights to bfloat16 moves probes by" in model.facts()["note"]


def test_an_effect_that_half_precision_hides_is_reported(tmp_path, cache):
    source, _ = small(tmp_path, factor=1e-4)
    with pytest.warns(UserWarning, match="use dtype='float32' to see its effect"):
        _ = wb.load_model(source, device="cpu", dtype="bfloat16").network


@pytest.mark.parametrize("kind", ["dora", "ia3", "oft"])
def test_weights_are_merged_in_float32_before_they_are_rounded(tmp_path, cache, kind):
    source, _ = faults_adapters.applied(tmp_path, **faults_adapters.KINDS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        merged = wb.load_model(source, device="cpu", dtype="bfloat16").network.state_dict()
    base = wb.load_model(tmp_path / "base", device="cpu", dtype="bfloat16").network.float()
    exact = faults_adapters.peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).merge_and_unload()
    for name, weight in exact.state_dict().items():
        assert torch.equal(merged[name], weight.bfloat16()), name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_tied_network_is_untied_by_an_adapter_on_its_head(tmp_path, cache, dtype):
    tied = tiny.network(tie_word_embeddings=True)
    source, network = faults_adapters.applied(
        tmp_path, tied, tiny.network(tie_word_embeddings=True), target_modules=["lm_head"]
    )
    model = wb.load_model(source, device="cpu", dtype=dtype)
    assert read(model) == pytest.approx(expected(network, tiny.byte_tokenizer()), abs=2e-5)
    assert not model.network.config.tie_word_embeddings
    assert "no longer tied" in model.facts()["note"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_an_adapter_over_layers_spread_over_the_devices_at_hand_gives_the_same_numbers(tmp_path, cache):
    source, network = faults_adapters.applied(tmp_path)
    model = wb.load_model(source, device="auto", dtype="float32")
    assert read(model) == pytest.approx(expected(network, tiny.byte_tokenizer()), abs=2e-5)


def test_merging_that_gives_other_numbers_is_refused(tmp_path, cache, monkeypatch):
    from peft.tuners.lora import Linear

    source, _ = faults_adapters.applied(tmp_path)
    merge = Linear.merge
    monkeypatch.setattr(
        Linear, "merge", lambda layer, **given: (merge(layer, **given), layer.base_layer.weight.data.mul_(2))
    )
    with pytest.raises(InputError, match=r"other numbers once it is merged into .* nat"):
        _ = wb.load_model(source, device="cpu").network


def test_unread_files_are_noted_and_not_in_the_fingerprint(tmp_path, cache):
    saved(tmp_path)
    before = wb.load_model(tmp_path, device="cpu")
    for name in ("consolidated.safetensors", "old.gguf", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"anything")
    after = wb.load_model(tmp_path, device="cpu")
    assert after.fingerprint == before.fingerprint and before.note == ""
    assert after.note == "not read: consolidated.safetensors, old.gguf, pytorch_model.bin"


def test_weights_that_are_left_out_are_in_the_record(tmp_path, cache):
    from faults_weights import rotary_tables_and_prediction_blocks_are_left_out as fault

    model = wb.load_model(fault(tmp_path)[0], device="cpu")
    _ = model.network
    assert model.facts()["note"] == "not used: next-token-prediction blocks, rotary tables"


def test_the_base_that_an_adapter_names_is_in_the_record(tmp_path, cache):
    source, _ = faults_adapters.applied(tmp_path)
    faults_adapters.configured(tmp_path, base_model_name_or_path="owner/other-base")
    model = wb.load_model(source, device="cpu")
    _ = model.network
    assert "the adapter names owner/other-base as its base" in model.facts()["note"]


def test_an_adapter_is_not_scaled_where_that_means_nothing(tmp_path, cache):
    from workbench.models.adapters import with_adapter

    source, _ = faults_adapters.applied(tmp_path, modules_to_save=["lm_head"])
    with pytest.raises(InputError, match=r"cannot be scaled"):
        with_adapter(tiny.network(), wb.load_model(source, device="cpu"), scale=0.5)


def test_a_network_that_keeps_some_weights_wide_counts_as_half_precision(cache):
    network = tiny.network().bfloat16()
    network.model.embed_tokens.float()
    assert wb.wrap_model(network, tiny.byte_tokenizer()).dtype == "bfloat16"


def test_a_weight_that_is_changed_while_it_is_read_is_named(tmp_path, cache, monkeypatch):
    import transformers

    saved(tmp_path)
    tie = transformers.LlamaForCausalLM.tie_weights

    def tie_and_change(network, *given, **named):
        tie(network, *given, **named)
        if not network.model.norm.weight.is_meta:
            network.model.norm.weight.data.mul_(2)

    monkeypatch.setattr(transformers.LlamaForCausalLM, "tie_weights", tie_and_change)
    with pytest.raises(InputError, match=r"model\.norm\.weight .* is not that of model\.safetensors"):
        _ = wb.load_model(tmp_path, device="cpu").network


def test_a_shard_is_part_of_the_fingerprint(tmp_path, cache):
    saved(tmp_path, max_shard_size="70KB")
    before = wb.load_model(tmp_path, device="cpu").fingerprint
    shard = min(tmp_path.glob("model-*.safetensors"))
    away = tmp_path.parent / "away.safetensors"
    shutil.move(shard, away)
    shard.symlink_to(away)
    assert wb.load_model(tmp_path, device="cpu").fingerprint == before
    data = bytearray(away.read_bytes())
    data[-1] ^= 64
    away.write_bytes(data)
    assert wb.load_model(tmp_path, device="cpu").fingerprint != before
