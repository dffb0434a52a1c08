"""Addresses of served models: their parts, errors, and where keys are sent."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import tiny
from fake_server import FakeServer

import workbench as wb
from workbench.errors import InputError
from workbench.models import connection
from workbench.models import server as serving
from workbench.models.server import parse, paths_in

pytestmark = pytest.mark.model
KEY = "wb-very-secret-1234567890"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a tokenizer")
    tiny.byte_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def fake(cache, monkeypatch):
    monkeypatch.setattr(serving, "BACKOFF", 0.01)
    monkeypatch.delenv(serving.OPENAI_VARIABLE, raising=False)
    monkeypatch.delenv(serving.KEY_VARIABLE, raising=False)
    with FakeServer(tiny.network(), tiny.byte_tokenizer()) as server:
        yield server


@pytest.mark.parametrize(
    ("text", "base", "name", "exact"),
    [
        ("vllm://host:8000/NAME", "http://host:8000/v1", "NAME", True),
        ("vllm+https://host/Qwen/Qwen2.5-7B", "https://host/v1", "Qwen/Qwen2.5-7B", True),
        ("vllm://[::1]:8000//models/llama", "http://[::1]:8000/v1", "/models/llama", True),
        ("openai+https://api.example.org/api/v1/a/b", "https://api.example.org/api/v1", "a/b", False),
        ("openai+http://127.0.0.1:1/v1/x", "http://127.0.0.1:1/v1", "x", False),
    ],
)
def test_an_address_is_parsed(text, base, name, exact):
    address = parse(f"{text}?tokenizer=./a+b%20c#d&timeout=2.5&retries=0")
    assert (address.base, address.name, address.exact) == (base, name, exact)
    assert (address.tokenizer, address.timeout, address.retries) == ("./a+b c#d", 2.5, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://host:8000/NAME", "write vllm://host:port/NAME, openai"),
        ("vllm://host:8000", "Cannot read the address"),
        ("vllm://ho st/NAME", "Cannot read the address"),
        ("openai+http://host/NAME", "Cannot read the address"),
        ("vllm://h/N?tokeniser=x", "Did you mean 'tokenizer'"),
        ("vllm://h/N?timeout=soon", "must be float"),
        ("vllm://h/N?timeout=0", "must be above 0"),
        ("vllm://h/N?retries=-1", "out of range"),
        (f"vllm://{KEY}@h/N", "must not contain a user or key.*WORKBENCH_API_KEY"),
        (f"vllm://u:{KEY}@h/N", "must not contain a user or key"),
        (f"vllm://h/N?api_key={KEY}", "environment variable WORKBENCH_API_KEY"),
        (f"vllm://h/N?token={KEY}", "environment variable WORKBENCH_API_KEY"),
    ],
)
def test_a_wrong_address_is_one_sentence_without_its_secrets(text, message):
    with pytest.raises(InputError, match=message) as caught:
        wb.load_model(text)
    assert KEY not in str(caught.value)


def test_paths_in_the_options_can_be_changed_and_the_rest_survives():
    text = "vllm://h:1/a/b?timeout=3&tokenizer=./x&check_against=y#z"
    parts = paths_in(text, lambda value: ["", *value.partition("#")])
    parts[1::2] = map(str.upper, parts[1::2])
    assert "".join(parts) == "vllm://h:1/a/b?timeout=3&tokenizer=./X&check_against=Y#Z"


def test_no_server_a_wrong_name_and_a_missing_tokenizer_are_one_sentence_each(fake, tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"does not answer \(ConnectError\), tried 2 times"):
        wb.load_model(f"vllm://127.0.0.1:9/tiny?tokenizer={tokenizer}&retries=1")
    with pytest.raises(InputError, match="does not serve 'tinny'; it serves another, tiny"):
        wb.load_model(f"vllm://{fake.host}/tinny?tokenizer={tokenizer}")
    with pytest.raises(InputError, match=r"hub for 'org/tiny'.* \(\?tokenizer=FOLDER in the model's address"):
        wb.load_model(f"vllm://{fake.host}/tiny")
    fake.card["root"] = "/somewhere/tiny"
    with pytest.raises(InputError, match=r"no tokenizer 'tiny'; name its folder or hub id: \?tokenizer="):
        wb.load_model(f"vllm://{fake.host}/tiny")
    fake.card["root"] = str(tokenizer)
    assert wb.load_model(f"vllm://{fake.host}/tiny").server.tokenizer == str(tokenizer)
    with pytest.raises(InputError, match="There is no tokenizer in"):
        wb.load_model(f"vllm://{fake.host}/tiny?tokenizer={tmp_path}")
    with pytest.raises(InputError, match="its own device and dtype"):
        wb.load_model(f"vllm://{fake.host}/tiny?tokenizer={tokenizer}", dtype="float32")
    fake.card.pop("max_model_len")
    with pytest.raises(InputError, match=r"add \?context=NUMBER"):
        wb.load_model(f"vllm://{fake.host}/tiny?tokenizer={tokenizer}")


@pytest.mark.parametrize("root", [None, "", ".", "..", "~", "model", "./model"])
def test_the_current_folder_is_never_taken_for_the_servers(fake, tokenizer, tmp_path, monkeypatch, root):
    for place in (tmp_path, tmp_path / "tiny", tmp_path / "model", tmp_path / "org/tiny"):
        shutil.copytree(tokenizer, place, dirs_exist_ok=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    fake.card["root"] = root
    for here in (tmp_path / "tiny", tmp_path):
        monkeypatch.chdir(here)
        for query in ("", "?tokenizer="):
            with pytest.raises(InputError, match=r"no tokenizer 'tiny'; name its folder or hub id: \?tokenizer="):
                wb.load_model(f"vllm://{fake.host}/tiny{query}")


def test_a_hub_id_is_looked_up_at_the_hub_even_if_a_folder_has_its_name(fake, tokenizer, tmp_path, monkeypatch):
    shutil.copytree(tokenizer, tmp_path / "org/tiny")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="hub for 'org/tiny'"):
        wb.load_model(f"vllm://{fake.host}/tiny")
    assert wb.load_model(f"vllm://{fake.host}/tiny?tokenizer=org/tiny").folder == Path("org/tiny")


def test_an_empty_option_is_no_path():
    text = "vllm://h:1/a/b?tokenizer=&check_against="
    assert paths_in(text, lambda path: ["", path]) == [text]


def test_the_fingerprint_is_what_the_server_states_and_the_tokenizers_files(fake, tokenizer, tmp_path):
    def fingerprint(folder: Path = tokenizer, options: str = "") -> str:
        return wb.load_model(f"vllm://{fake.host}/tiny?tokenizer={folder}{options}").fingerprint

    first = fingerprint()
    assert first == fingerprint(options="&timeout=7&concurrency=2")
    tiny.byte_tokenizer(bos=True).save_pretrained(tmp_path / "other")
    assert len({first, fingerprint(tmp_path / "other"), fingerprint(options="&revision=2")}) == 3
    fake.card["root"] = "org/retrained"
    assert fingerprint() != first
    assert "were not seen" in wb.load_model(f"vllm://{fake.host}/tiny?tokenizer={tokenizer}").facts()["note"]


def test_the_key_goes_to_the_server_and_nowhere_else(fake, tokenizer, monkeypatch, cache):
    fake.key = KEY
    monkeypatch.setenv(serving.KEY_VARIABLE, f" {KEY}\n")
    model = wb.load_model(f"vllm://{fake.host}/tiny?tokenizer={tokenizer}")
    answers = wb.ask(model, [wb.Question("Capital?", (wb.Option(" A"), wb.Option(" B")))])
    assert {headers["Authorization"] for headers in fake.headers} == {f"Bearer {KEY}"}
    for shown in (repr(model), model._repr_html_(), str(model.facts()), repr(model.server), str(answers.attrs)):
        assert KEY not in shown
    assert not [path for path in cache.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    fake.key = "another"
    with pytest.raises(InputError, match=r"answers 401 \(wrong key Bearer \[key\].*WORKBENCH_API_KEY") as caught:
        wb.ask(model, [wb.Question("City?", (wb.Option(" A"), wb.Option(" B")))])
    assert KEY not in str(caught.value)


def test_a_key_of_openai_goes_to_openai_alone(fake, tokenizer, monkeypatch):
    monkeypatch.setenv(serving.OPENAI_VARIABLE, KEY)
    model = wb.load_model(f"vllm://{fake.host}/tiny?tokenizer={tokenizer}")
    wb.ask(model, [wb.Question("Capital?", (wb.Option(" A"), wb.Option(" B")))])
    assert not any("Authorization" in headers for headers in fake.headers)
    assert serving._key_for("https://api.openai.com/v1") == KEY
    assert serving._key_for("https://api.openai.com.example.org/v1") == ""
    monkeypatch.setenv(serving.KEY_VARIABLE, "a b")
    with pytest.raises(InputError, match="characters that no key can have"):
        serving._key_for("http://127.0.0.1/v1")


def test_the_weights_of_a_tokenizers_repository_are_not_fetched(fake, tokenizer, monkeypatch):
    request = {}

    def snapshot(repository, revision, allow_patterns, ignore_patterns):
        request.update(name=repository, revision=revision, patterns=allow_patterns)
        return str(tokenizer)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    model = wb.load_model(f"vllm://{fake.host}/tiny?tokenizer=owner/name@abc")
    assert (request["name"], request["revision"]) == ("owner/name", "abc")
    assert not any(pattern.endswith(("safetensors", "bin")) for pattern in request["patterns"])
    assert model.facts()["tokenizer"].startswith("owner/name@abc") and model.facts()["revision"] == ""


def test_retry_after_is_read_as_seconds_or_as_a_date():
    def pause(text: str) -> float | None:
        return connection._seconds(text)

    assert pause("2.5") == 2.5
    assert 50 < pause(format_datetime(datetime.now(UTC) + timedelta(seconds=60))) <= 60
    assert pause("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert pause("soon") is None and pause("") is None
