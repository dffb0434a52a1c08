"""Names of models: base and adapter are separated by `#`, by what exists."""

from __future__ import annotations

import pytest
import tiny

import workbench as wb
from workbench.errors import InputError
from workbench.models import check_name, packaged, paths_in, split_adapter

FILES = ("adapter_config.json", "adapter_model.safetensors")


@pytest.fixture
def here(tmp_path):
    for name in ("base", "my#model", "adapter", "ad#apter"):
        (tmp_path / name).mkdir()
        for file in FILES:
            (tmp_path / name / file).touch()
    for name in ("base", "my#model"):
        (tmp_path / name / "config.json").touch()
    (tmp_path / "q#4.gguf").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("source", "base", "adapter"),
    [
        ("./base", "./base", ""),
        ("./my#model", "./my#model", ""),
        ("q#4.gguf", "q#4.gguf", ""),
        ("./base#./adapter", "./base", "./adapter"),
        ("base#adapter", "base", "adapter"),
        ("./my#model#adapter", "./my#model", "adapter"),
        ("./base#ad#apter", "./base", "ad#apter"),
        ("./my#model#ad#apter", "./my#model", "ad#apter"),
        ("q#4.gguf#./adapter", "q#4.gguf", "./adapter"),
        (f"{packaged.EMBEDDED}#./adapter", packaged.EMBEDDED, "./adapter"),
        ("owner/name@main#./adapter", "owner/name@main", "./adapter"),
        ("./my#model#missing", "./my#model", "missing"),
        ("./gone#missing", "./gone", "missing"),
        ("vllm://host/NAME?check_against=a#b", "vllm://host/NAME?check_against=a#b", ""),
    ],
)
def test_what_exists_parts_a_base_from_its_adapter(here, source, base, adapter):
    assert split_adapter(source, here) == (base, adapter)


def test_a_name_that_can_be_read_in_two_ways_is_refused(here):
    (here / "base#adapter").mkdir()
    with pytest.raises(InputError, match="'base#adapter' can be read as 'base#adapter' and as 'base' with adapter"):
        split_adapter("base#adapter", here)


def test_a_folder_called_like_the_embedded_model_is_not_passed_over(here, monkeypatch):
    (here / packaged.EMBEDDED).mkdir()
    (here / packaged.EMBEDDED / "config.json").touch()
    monkeypatch.chdir(here)
    for function in (check_name, wb.load_model):
        with pytest.raises(InputError, match=f"is a packaged model and also a folder in .*'./{packaged.EMBEDDED}'"):
            function(packaged.EMBEDDED)
    check_name(f"./{packaged.EMBEDDED}")


@pytest.mark.parametrize("source", ["./base#./adapter", "./my#model#adapter", f"{packaged.EMBEDDED}#./adapter"])
def test_relative_adapters_resolve_from_another_folder(here, source, monkeypatch):
    check_name(source, here)
    absolute = "".join(str(here / part) if n % 2 else part for n, part in enumerate(paths_in(source, here)))
    assert absolute.endswith(f"#{here}/adapter")
    check_name(absolute)
    with pytest.raises(InputError, match=r"names no adapter behind the '#'"):
        check_name("./base#", here)


@pytest.mark.model
def test_a_folder_with_a_hash_in_its_name_is_loaded(tmp_path, cache):
    tiny.network().save_pretrained(tmp_path / "my#model")
    tiny.byte_tokenizer().save_pretrained(tmp_path / "my#model")
    model = wb.load_model(tmp_path / "my#model", device="cpu")
    assert model.adapter is None and model.network is not None


@pytest.mark.parametrize(
    ("name", "title"),
    [("smollm2-135m-instruct", "smollm2-135m-instruct"), ("org/base@main", "base@main"), ("runs/mine/", "mine")],
)
def test_titles_are_the_last_part_of_a_name(name, title):
    assert wb.wrap_model(tiny.network(), tiny.byte_tokenizer(), name=name).title == title
