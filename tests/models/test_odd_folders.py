"""Whatever the files of a model's folder contain, loading it ends in a model or in one sentence."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import struct

import pytest
import tiny

import workbench as wb
from workbench.errors import InputError
from workbench.files import digests
from workbench.models.server import parse
from workbench.models.sources import check_name
from workbench.models.weights import loading, weight_files
from workbench.training.folders import complete_steps, read_record

pytestmark = pytest.mark.model
ODD = [
    None,
    True,
    -1,
    10**30,
    1e400,
    "",
    "x\x1b[31m",
    "../x",
    "\ud800",
    [],
    [[]],
    {},
    {"a": {}},
    10**9,
    2**63,
    ["a"] * 500,
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    tiny.network().save_pretrained(folder)
    tiny.byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def place(sound, tmp_path, cache):
    return shutil.copytree(sound, tmp_path / "model")


def mutated(value, draw):
    """The value with an odd one at a random place."""
    value, spots = copy.deepcopy(value), []

    def walk(each):
        for key in list(each) if isinstance(each, dict) else range(min(len(each), 20)):
            spots.append((each, key))
            if isinstance(each[key], dict | list):
                walk(each[key])

    walk(value)
    inside, key = draw.choice(spots)
    inside[key] = draw.choice(ODD)
    return value


def sentence_or_value(read, *arguments):
    try:
        read(*arguments)
    except InputError as error:
        text = str(error)
        assert text.endswith((".", "?")) and text.isprintable(), text
        return text
    return ""


def whole(place):
    model = wb.load_model(place, device="cpu")
    return model.tokenizer, model.network


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_odd_values_in_settings(place, name):
    written = json.loads((place / name).read_text())
    for seed in range(8):
        (place / name).write_text(json.dumps(mutated(written, random.Random(f"{name}{seed}"))))
        sentence_or_value(whole, place)


def test_odd_files_of_every_kind_are_refused_before_weights_are_loaded(place):
    written = json.loads((place / "config.json").read_text())
    index = place / "model.safetensors.index.json"
    for seed in range(200):
        draw = random.Random(seed)
        (place / "config.json").write_text(json.dumps(mutated(written, draw)))
        index.write_text(json.dumps(mutated({"weight_map": {"a": "model.safetensors", "b": "x"}}, draw)))
        sentence_or_value(weight_files, place, "m", False)


def test_lying_headers_of_weights(place):
    file = place / "model.safetensors"
    raw = file.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    for seed in range(40):
        changed = json.dumps(mutated(header, random.Random(seed))).encode()
        file.write_bytes(struct.pack("<Q", len(changed)) + changed + raw[8 + size :])
        sentence_or_value(weight_files, place, "m", False)
        sentence_or_value(wb.load_model, place)
    for length in (2**63, 2**64 - 1, size - 1, 0):
        file.write_bytes(struct.pack("<Q", length) + raw[8:])
        with pytest.raises(InputError, match="are damaged"):
            whole(place)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors", "chat_template.jinja"])
@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "large"])
def test_members_that_are_no_files_neither_hang_nor_fill_memory(place, name, kind):
    (place / name).unlink()
    if kind == "fifo":
        os.mkfifo(place / name)
    elif kind == "device":
        (place / name).symlink_to("/dev/zero")
    elif kind == "folder":
        (place / name).mkdir()
    elif kind == "loop":
        (place / name).symlink_to(name)
    else:
        with (place / name).open("wb") as file:
            file.truncate(2**30 if "safetensors" not in name else 2**20)
    text = sentence_or_value(whole, place)
    assert text or (name in ("tokenizer_config.json", "chat_template.jinja") and kind in ("folder", "loop"))


@pytest.mark.parametrize("setting", [{"vocab_size": 10**9}, {"hidden_size": 2**40}, {"num_hidden_layers": 10**8}])
def test_a_network_much_larger_than_its_files_is_refused_before_memory_is_taken(place, setting):
    written = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(written | setting))
    with pytest.raises(InputError, match=r"config\.json"):
        whole(place)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda at: (at / "model_index.json").touch(), "is a pipeline for images"),
        (
            lambda at: ((at / "checkpoint-8").mkdir(), (at / "checkpoint-8/config.json").touch()),
            "but checkpoint-8 in it",
        ),
        (lambda at: (at / "adapter_config.json").touch(), "is an adapter"),
        (lambda at: (at / "big.safetensors").touch(), "has no config.json; give the folder"),
    ],
)
def test_a_folder_of_another_kind_is_named_before_its_files_are_hashed(tmp_path, make, said):
    make(tmp_path)
    with pytest.raises(InputError, match=said):
        check_name(str(tmp_path))


class PanicException(BaseException):
    """As the tokenizers' Rust code raises."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("metadata"), "its files lack 'metadata'"),
        (PanicException("index out of bounds"), "index out of bounds"),
        (
            RuntimeError("Issues in conversion. For details look at the above report!"),
            ": Issues in conversion; compare",
        ),
        (
            OSError("Can't load it. If you were trying to load it from 'https://huggingface.co/models', make sure"),
            "load it;",
        ),
        (RecursionError(), "the library cannot use them (RecursionError)"),
        (ValueError("\x1b[31m"), "the library cannot use them (ValueError)"),
    ],
)
def test_what_a_library_raises_is_a_sentence_without_its_hints(error, said):
    with pytest.raises(InputError) as caught, loading("'m'"):
        raise error
    assert said in str(caught.value) and "report" not in str(caught.value) and "huggingface" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), InputError("Mine.")])
def test_what_is_not_about_the_files_stays_what_it_is(error):
    with pytest.raises(type(error)) as caught, loading("'m'"):
        raise error
    assert caught.value is error


def test_odd_addresses():
    pieces = [
        "vllm://",
        "openai+https://",
        "h",
        ":99999",
        "/v1/",
        "/N",
        "?top_k=",
        "9e9",
        "nan",
        "&",
        "%00",
        "@",
        "[::1",
        "#",
        " ",
    ]
    for seed in range(500):
        draw = random.Random(seed)
        sentence_or_value(parse, "".join(draw.choices(pieces, k=draw.randrange(1, 8))))


def test_odd_records_of_training(tmp_path):
    record = {"key": "k", "name": "n", "algorithm": "dpo", "parent": "p", "complete": True, "save_at": [1], "lora": 8}
    for seed in range(200):
        (tmp_path / "series.json").write_text(json.dumps(mutated(record | {"log": [{"loss": 1}]}, random.Random(seed))))
        if text := sentence_or_value(read_record, tmp_path / "series.json"):
            assert "is not the record of a training run" in text
    for name in ("checkpoint-x", "checkpoint-²", "checkpoint-3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "finished").write_text("p")
    assert complete_steps(tmp_path) == [3]


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"a": 1}', '{"\\u0000": "x"}', "[" * 5000])
def test_a_damaged_file_of_digests_is_made_again(cache, tmp_path, content):
    cache.mkdir(exist_ok=True)
    (cache / "digests.json").write_text(content)
    (tmp_path / "file").touch()
    assert len(digests([tmp_path / "file"])) == 1
