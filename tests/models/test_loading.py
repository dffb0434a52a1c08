"""Models from folders, adapters and GGUF files: safety, fingerprints, and notes on contents that are not used."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import faults_adapters
import pytest
import tiny
import torch
from faults import opened, read, saved
from tokenizers import pre_tokenizers

import workbench as wb
from workbench.errors import InputError
from workbench.models import fingerprint, packaged

pytestmark = pytest.mark.model


@pytest.fixture
def folder(tmp_path, cache):
    saved(tmp_path / "my-model")
    return tmp_path / "my-model"


def test_a_folder_loads_on_the_cpu_in_float32(folder):
    model = wb.load_model(folder, device="cpu")
    assert (model.dtype, model.device) == ("float32", "cpu")
    assert model.network.dtype == torch.float32 and not model.network.training
    assert model.context_length == 512
    assert model.tokenizer("a").input_ids


def test_describing_a_model_does_not_import_torch(folder):
    code = (
        f"import sys, workbench as wb; wb.load_model({str(folder)!r}, device='cpu'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_fingerprint_follows_content_not_place(folder, tmp_path):
    def fingerprint(path=folder, **options):
        return wb.load_model(path, device="cpu", **options).fingerprint

    first = fingerprint()
    copy = folder.rename(tmp_path / "elsewhere")
    assert fingerprint(copy) == first
    assert fingerprint(copy, dtype="bfloat16") != first
    template = copy / "chat_template.jinja"
    before = template.read_text()
    template.write_text(before + " ")
    assert fingerprint(copy) != first
    template.write_text(before)
    assert fingerprint(copy) == first
    weights = copy / "model.safetensors"
    state, data = weights.stat(), bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint(copy) != first


@pytest.mark.parametrize(
    "name",
    ["tekken.json", "normalizer.json", "a.spm", "bpe.codes", "dict.txt", "additional_chat_templates/a.jinja"],
)
def test_whatever_a_tokenizer_may_be_read_from_is_in_the_fingerprint(name, folder):
    first = wb.load_model(folder, device="cpu").fingerprint
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    assert wb.load_model(folder, device="cpu").fingerprint != first


@pytest.mark.parametrize("name", ["README.md", "generation_config.json", "trainer_state.json", "all_results.json"])
def test_what_decides_no_number_is_not_in_the_fingerprint(name, folder):
    first = wb.load_model(folder, device="cpu").fingerprint
    (folder / name).write_text('{"x": 1}')
    assert wb.load_model(folder, device="cpu").fingerprint == first


def test_a_wrapped_tokenizers_start_is_part_of_the_fingerprint(cache):
    """An empty prompt starts from BOS, which the tokenizer's own file does not name."""
    other = tiny.byte_tokenizer()
    other.bos_token = "</s>"
    network = tiny.network()
    assert wb.wrap_model(network, tiny.byte_tokenizer()).fingerprint != wb.wrap_model(network, other).fingerprint


def test_an_adapter_changes_the_numbers_and_the_fingerprint(folder, tmp_path):
    import peft

    torch.manual_seed(1)
    tuned = peft.get_peft_model(tiny.network(), peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    tuned.save_pretrained(tmp_path / "adapter")
    base, adapted = wb.load_model(folder, device="cpu"), wb.load_model(f"{folder}#{tmp_path / 'adapter'}", device="cpu")
    assert base.fingerprint != adapted.fingerprint
    ids = torch.tensor([[5, 6, 7]])
    expected = tuned.eval()(input_ids=ids).logits
    assert torch.allclose(adapted.network(input_ids=ids).logits, expected, atol=1e-5)
    assert not torch.allclose(base.network(input_ids=ids).logits, expected, atol=1e-3)


def test_pickled_weights_are_refused_unless_allowed(folder):
    (folder / "model.safetensors").unlink()
    torch.save(tiny.network().state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickle"):
        wb.load_model(folder)
    assert wb.load_model(folder, device="cpu", allow_pickle=True).network is not None


def test_code_beside_the_weights_does_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Network"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="Cannot load"):
        _ = wb.load_model(folder, device="cpu").network
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("smollm2-135m-instrukt", "Did you mean 'smollm2-135m-instruct'"),
        ("./no-such-folder", "no model folder"),
        ("no-such.gguf", "no GGUF file"),
        ("smollm2-135m-instruct", "run `workbench fetch`"),
        ("owner/name", "Cannot reach the hub"),
    ],
)
def test_the_error_for_a_missing_model_states_what_to_do(cache, monkeypatch, tmp_path, source, message):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=message):
        wb.load_model(source)


@pytest.mark.parametrize("damage", ["config.json", "model.safetensors"])
def test_an_incomplete_folder_is_named(folder, damage):
    (folder / damage).unlink()
    with pytest.raises(InputError, match="my-model"):
        wb.load_model(folder)


@pytest.mark.parametrize(
    "entry",
    [
        '"_attn_implementation": "someone/kernel"',
        '"attn_implementation" : "someone\\/kernel"',
        '"_attn_implementati\\u006fn_internal": "someone\\u002fkernel"',
        '"_ATTN_Implementation": "someone/kernel@main:f"',
        '"text_config": {"attn_implementation": "paged|someone/kernel"}',
        '"attn_implementation": {"": "sdpa", "text_config": "someone/kernel"}',
        '"layers": [[{"_experts_implementation": ["someone/kernel"]}]]',
        '"attn_implementation": "someone/kernel", "attn_implementation": "someone/kernel"',
    ],
)
def test_attention_code_named_in_a_configuration_is_refused(folder, entry):
    config = (folder / "config.json").read_text().strip()
    (folder / "config.json").write_text(config[:-1] + f", {entry}}}")
    with pytest.raises(InputError, match="attention code from the hub"):
        wb.load_model(folder)


def test_an_implementation_that_is_no_address_is_read(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"_attn_implementation": "sdpa", "_name_or_path": "a/b"}))
    assert wb.load_model(folder, device="cpu").fingerprint


def test_a_folder_beside_the_tokenizer_files_does_no_harm(folder):
    (folder / "tokenizer_old").mkdir()
    assert wb.load_model(folder, device="cpu").fingerprint


@pytest.mark.parametrize("device", ["qpu", "cuda:x", "gpu"])
def test_an_unknown_device_is_refused(folder, device):
    with pytest.raises(InputError, match="cpu, cuda"):
        wb.load_model(folder, device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_layers_spread_over_the_devices_at_hand_give_the_same_numbers(folder, cache):
    questions = [wb.Question("Capital?", (wb.Option(" Paris"), wb.Option(" I don't know.")))]
    one, spread = (wb.load_model(folder, device=device, dtype="float32") for device in ("cpu", "auto"))
    assert wb.ask(spread, questions, store=False)["logprob"].to_numpy() == pytest.approx(
        wb.ask(one, questions, store=False)["logprob"].to_numpy(), abs=1e-4
    )


def test_a_device_that_is_not_there_is_named(folder):
    with pytest.raises(InputError, match="cannot be used here"):
        _ = wb.load_model(folder, device="cuda").network


def test_a_gguf_file_that_is_none_is_named(tmp_path, cache):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF1234")
    with pytest.raises(InputError, match="Cannot read the GGUF file"):
        wb.load_model(tmp_path / "bad.gguf")
    assert not list((cache / "models").glob("bad*"))


def test_a_sealed_folder_notices_damage(folder):
    fingerprint.seal(folder)
    assert fingerprint.sealed(folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    assert not fingerprint.sealed(folder)


def test_an_unknown_dtype_is_refused(folder):
    with pytest.raises(InputError, match="float32"):
        wb.load_model(folder, dtype="float8")


def test_the_embedded_model_answers_a_question_it_knows():
    model = wb.load_model(packaged.EMBEDDED, device="cpu")
    options = (wb.Option(" Paris", "correct"), wb.Option(" Berlin", "wrong"), wb.Option(" Madrid", "wrong"))
    table = wb.ask(model, [wb.Question("Question: What is the capital of France?\nAnswer:", options)], store=False)
    assert table["logprob"].idxmax() == 0
    assert "Q4_1" in model.facts()["note"]


def test_code_and_an_architecture_that_were_not_used_are_in_the_record(tmp_path, cache):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"architectures": ["MyModel"], "auto_map": {"AutoModelForCausalLM": "modeling_mine.MyModel"}}
    (tmp_path / "config.json").write_text(json.dumps(config | own))
    model = opened(tmp_path)
    read(model)
    assert "config.json names MyModel, read as LlamaForCausalLM" in model.note
    assert "own code (modeling_mine.MyModel) was not used" in model.note


def test_what_an_adapters_folder_holds_besides_is_in_the_record(tmp_path, cache):
    source, _ = faults_adapters.applied(tmp_path)
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(b"")
    tokenizer = tiny.byte_tokenizer()
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(False)])
    tokenizer.save_pretrained(tmp_path / "adapter")
    model = opened(source)
    read(model)
    assert "not read: adapter_model.bin" in model.note
    assert "the adapter's tokenizer encodes some texts otherwise than the base model's" in model.note


def test_a_tilde_may_begin_the_name_of_a_folder(tmp_path, cache, monkeypatch):
    saved(tmp_path / "~model")
    monkeypatch.chdir(tmp_path)
    assert len(read(opened("~model"))) == 3
