"""GGUF files: every tensor of the file is in the numbers and nothing else is, or the file is refused by name."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import sys
from dataclasses import replace
from types import SimpleNamespace

import gguf
import gguf_files
import numpy as np
import pytest
import tiny
import torch
from gguf_files import logits, made, read, refused

import workbench as wb
from workbench.errors import InputError

pytestmark = pytest.mark.model


# Nothing beside the file has an effect


def test_what_lies_beside_a_file_changes_nothing_and_never_runs(tmp_path, monkeypatch):
    def contents(place: str, litter: bool) -> dict[str, bytes]:
        folder = tmp_path / place
        path = gguf_files.write(folder / "model.gguf")
        if litter:
            other = tiny.network(seed=1)
            other.save_pretrained(folder)
            tiny.metaspace_tokenizer(template="{{ 'another' }}").save_pretrained(folder)
            auto = {"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.N", "AutoTokenizer": ["mine.T", None]}
            for name in ("config.json", "tokenizer_config.json"):
                data = json.loads((folder / name).read_text()) | {"auto_map": auto, "model_type": "mine"}
                (folder / name).write_text(json.dumps(data))
            (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
            adapter = {"peft_type": "LORA", "base_model_name_or_path": "someone/else", "r": 1}
            (folder / "adapter_config.json").write_text(json.dumps(adapter))
            (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
        monkeypatch.setenv("WORKBENCH_CACHE", str(folder / "cache"))
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\ny\ny\n"))
        model = wb.load_model(path, device="cpu")
        assert sys.stdin.tell() == 0 and not (folder / "ran").exists()
        return {file.name: file.read_bytes() for file in model.folder.iterdir()}

    assert contents("littered", True) == contents("alone", False)


# Tensors


@pytest.mark.parametrize("name", ["token_embd", "output_norm", "blk.1.attn_q", "blk.0.ffn_norm"])
def test_a_missing_tensor_is_named(name, tmp_path, cache):
    refused(gguf_files.write(tmp_path / "model.gguf", without=(f"{name}.weight",)), name, "lacks")
    assert [path for path in (cache / "models").iterdir() if not path.name.endswith(".lock")] == []


@pytest.mark.parametrize(
    "name",
    [
        "blk.2.attn_q.weight",
        "blk.0.attn_q.bias",
        "cls.output.weight",
        "blk.0.attn_rot_embd.weight",
        "v.blk.0.ln1.weight",
    ],
)
def test_a_tensor_that_the_network_has_no_place_for_is_named(name, tmp_path, cache):
    kind = "Qwen3" if name.endswith("bias") else "Llama"
    path = gguf_files.write(tmp_path / "model.gguf", made(kind, head_dim=8), more={name: np.ones((4, 4), np.float32)})
    refused(path, name, "no place")


def test_a_tensor_of_another_shape_is_named(tmp_path, cache):
    more = {"blk.1.ffn_up.weight": np.ones((40, 32), np.float32)}
    refused(gguf_files.write(tmp_path / "model.gguf", more=more), "blk.1.ffn_up.weight", "(40, 32)")


def test_biases_of_some_projections_alone_are_refused(tmp_path, cache):
    network = made("Llama", attention_bias=True)
    without = tuple(f"blk.{block}.attn_output.bias" for block in range(2))
    refused(gguf_files.write(tmp_path / "model.gguf", network, without=without), "blk.0.attn_output.bias")


def test_a_head_of_its_own_is_read_and_one_that_is_left_out_is_the_embedding(tmp_path, cache):
    network = made("Llama", tie_word_embeddings=True)
    assert read(gguf_files.write(tmp_path / "tied.gguf", network)).config.tie_word_embeddings
    head = np.random.default_rng(0).normal(size=(704, 32)).astype(np.float32)
    untied = read(gguf_files.write(tmp_path / "own.gguf", network, more={"output.weight": head}))
    assert np.array_equal(untied.lm_head.weight.numpy(), head)


def test_a_split_file_is_read_whole_from_any_of_its_parts(tmp_path, cache):
    network = made("Llama")
    whole = wb.load_model(gguf_files.write(tmp_path / "whole.gguf", network), device="cpu")
    first = gguf_files.write(tmp_path / "split.gguf", network, parts=3)
    last = first.with_name("split-00003-of-00003.gguf")
    models = [wb.load_model(path, device="cpu") for path in (first, last)]
    assert len({model.fingerprint for model in models}) == 1
    assert np.array_equal(logits(models[1].network), logits(whole.network))


def test_a_split_file_whose_parts_are_missing_or_of_another_is_refused(tmp_path, cache):
    first = gguf_files.write(tmp_path / "split.gguf", parts=3)
    alone = tmp_path / "alone" / first.name
    alone.parent.mkdir()
    shutil.copy(first, alone)
    refused(alone, "split-00002-of-00003.gguf, split-00003-of-00003.gguf", "beside it")
    renamed = tmp_path / "renamed.gguf"
    shutil.copy(first, renamed)
    refused(renamed, "part 1 of 3")
    second = first.with_name("split-00002-of-00003.gguf")
    shutil.copy(first, second)
    refused(first, "part 1 of 3")


@pytest.mark.parametrize(
    ("left_out", "reason"), [("token_embd.weight", "in two of its parts"), ("output.weight", "of 21")]
)
def test_parts_of_two_conversions_are_refused(left_out, reason, tmp_path, cache):
    """Without its head a file would be read as one whose head is the embedding."""
    network = made("Llama")
    first = gguf_files.write(tmp_path / "split.gguf", network, parts=3)
    gguf_files.write(tmp_path / "other" / "split.gguf", network, without=(left_out,), parts=3)
    third = first.with_name("split-00003-of-00003.gguf")
    shutil.copy(tmp_path / "other" / third.name, third)
    refused(first, reason)


def test_a_file_of_the_other_byte_order_is_refused(tmp_path, cache):
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    refused(tmp_path / "big.gguf", "byte order")


@pytest.mark.parametrize("cut", [30, 2000, 40_000, -1000])
def test_a_file_that_was_cut_is_refused(cut, tmp_path, cache):
    path = gguf_files.write(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:cut])
    refused(path, f"it ends after {path.stat().st_size:,} bytes")


LISTS = struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 0, 2_000_001) + bytes(2_000_001)
DAMAGED = {
    "no GGUF": (lambda whole: b"PK" + whole, "is not a GGUF file by its first bytes"),
    "in the header": (lambda whole: whole[:20], "in its header, it ends after 20 bytes; download or copy it again"),
    "in a setting": (lambda whole: whole[:900], "in its setting 'tokenizer.ggml.tokens', it ends after 900 bytes"),
    "in a tensor": (lambda whole: whole[:-40], "in its tensor 'output.weight', it ends after"),
    "too many settings": (lambda whole: whole[:16] + b"\xff" * 8 + whole[24:], "in its header, it states the number"),
    "a long name": (
        lambda whole: whole[:24] + b"\xff" * 8 + whole[32:],
        "it states the number 18,446,744,073,709,551,615",
    ),
    "a long list": (lambda whole: LISTS, "in its setting 'k', it has more than 2,000,000 values"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGED.values(), ids=DAMAGED)
def test_the_place_where_a_file_is_damaged_is_named(change, message, tmp_path, cache):
    path = gguf_files.write(tmp_path / "net.gguf")
    path.write_bytes(change(path.read_bytes()))
    refused(path, message)


def test_a_file_that_is_no_language_model_is_refused(tmp_path, cache):
    refused(gguf_files.write(tmp_path / "lora.gguf", words={"general.type": "adapter"}), "adapter")
    path = gguf_files.write(tmp_path / "clip.gguf")
    path.write_bytes(path.read_bytes().replace(b"llama", b"clipp", 1))
    refused(path, "'clipp'")


# Bytes


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, cache, monkeypatch):
    from workbench.models import fetched

    path, convert = gguf_files.write(tmp_path / "model.gguf"), fetched._convert

    def changed(parts, *arguments):
        convert(parts, *arguments)
        data = bytearray(path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)

    monkeypatch.setattr(fetched, "_convert", changed)
    refused(path, "other bytes")
    assert not list((cache / "models").glob("model-*"))


def test_one_flipped_bit_of_a_packaged_model_is_noticed(tmp_path, cache, monkeypatch):
    from workbench.models import fetched, packaged

    path = gguf_files.write(tmp_path / "model.gguf")
    model = packaged.MODELS[packaged.EMBEDDED]
    monkeypatch.setattr(fetched, "require", lambda package, purpose: tmp_path)
    with pytest.raises(InputError, match="other bytes than expected"):
        fetched.convert(model)
    model = replace(model, gguf_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(packaged.MODELS, packaged.EMBEDDED, model)
    assert fetched.convert(model) == model.located()


def test_a_model_is_stored_in_shards_and_rounded_only_if_that_is_chosen(tmp_path, cache, monkeypatch):
    from safetensors.torch import load_file

    from workbench.models import fetched, packaged

    path = gguf_files.write(tmp_path / "model.gguf")
    model = replace(
        packaged.MODELS[packaged.EMBEDDED], gguf_sha256=hashlib.sha256(path.read_bytes()).hexdigest(), parameters=10**9
    )
    monkeypatch.setattr(fetched, "require", lambda package, purpose: tmp_path)
    monkeypatch.setitem(packaged.MODELS, packaged.EMBEDDED, model)
    whole = load_file(wb.load_model(path, device="cpu").folder / "model.safetensors")
    monkeypatch.setattr(fetched, "SHARD", 20_000)
    exact, rounded = None, fetched.convert(model, "bfloat16")
    subject = wb.load_model(packaged.EMBEDDED, device="cpu")
    assert (subject.folder, subject.note.split("; ")[-1]) == (rounded, "rounded to bfloat16")
    assert packaged.names().here[packaged.EMBEDDED] == "bfloat16"
    exact = fetched.convert(model)
    assert wb.load_model(packaged.EMBEDDED, device="cpu").folder == exact == model.located()
    for folder, dtype in ((exact, torch.float32), (rounded, torch.bfloat16)):
        files = sorted(folder.glob("model-*-of-*.safetensors"))
        assert len(files) > 1
        stored = {name: values for file in files for name, values in load_file(file).items()}
        assert stored.keys() == whole.keys()
        assert all(torch.equal(values, whole[name].to(dtype)) for name, values in stored.items())
        network = wb.load_model(folder, device="cpu").network
        assert torch.equal(network.get_input_embeddings().weight, whole["model.embed_tokens.weight"].to(dtype).float())


def test_a_model_that_does_not_fit_on_the_disk_is_refused_before_it_is_written(tmp_path, cache, monkeypatch):
    from workbench.models import fetched

    path = gguf_files.write(tmp_path / "model.gguf")
    monkeypatch.setattr(fetched.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"needs 0\.0 GB of the disk of .*; free that, or set WORKBENCH_CACHE"):
        wb.load_model(path, device="cpu")
    assert not list((cache / "models").glob("model-*"))


def test_a_copy_made_by_other_rules_is_not_used(tmp_path, cache, monkeypatch):
    from workbench.models import fetched

    path = gguf_files.write(tmp_path / "model.gguf")
    before = wb.load_model(path, device="cpu").folder
    assert wb.load_model(path, device="cpu").folder == before
    monkeypatch.setattr(fetched, "RULES", fetched.RULES + 1)
    assert wb.load_model(path, device="cpu").folder != before
