"""Notes on settings and files that were not used, and names of folders with a tilde; faults: `test_faults.py`."""

from __future__ import annotations

import json

import faults_adapters
import pytest
import tiny
from faults import opened, read, saved
from tokenizers import pre_tokenizers

pytestmark = pytest.mark.model


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
    source, _ = faults_adapters.laid(tmp_path)
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
