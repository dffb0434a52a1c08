"""What `ask` knows of what reads a model: keys that decide whether an answer is computed again, and questions."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from fake_server import FakeServer

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import AnswerStore
from workbench.extraction.backend import Number
from workbench.extraction.store import Reading, bound_key

pytestmark = pytest.mark.model
SERVED = "3794daa6586b3ba43ef2dd68b1350314a4e90444bd01a46b9cdc20817bff5ee0"
KEYS = {"local": "cee3261088d7e90192dcc53af67363f3946f5ddc246784098cd80da7669db707", "vllm": SERVED, "openai": SERVED}
"""Digests of the keys that `QUESTIONS` had in the store on 30 November 2026, under one fingerprint."""
OPTIONS = tuple(map(wb.Option, (" A", " B", " Paris, France", " I don't know.", " A")))
QUESTIONS = [
    *(wb.Question(f"Question {i}: What is the capital?\nAnswer:", OPTIONS) for i in range(3)),
    wb.Question((wb.Message("system", "Be brief."), wb.Message("user", "Capital?")), OPTIONS[:3]),
    wb.Question("word " * 600, OPTIONS[:2], id="long"),
    wb.Question("The capital of France is Par", (wb.Option("is"), wb.Option(" x"))),
]


@pytest.fixture(params=KEYS)
def model(request: pytest.FixtureRequest, cache: Path, tmp_path: Path) -> Iterator[wb.Model]:
    if request.param == "local":
        yield wb.wrap_model(tiny.network(), tiny.byte_tokenizer(), "local")
        return
    tiny.byte_tokenizer().save_pretrained(tmp_path / "tokenizer")
    with FakeServer(tiny.network(), tiny.byte_tokenizer(), vllm=request.param == "vllm") as fake:
        place = f"{request.param}://{fake.host}/" if fake.vllm else f"openai+http://{fake.host}/v1/"
        yield wb.load_model(f"{place}tiny?tokenizer={tmp_path / 'tokenizer'}&context=512")


def test_keys_of_stored_answers_are_those_of_earlier_versions(
    model: wb.Model, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    known = replace(model, fingerprint="0" * 64)
    with AnswerStore(tmp_path / "store.sqlite") as store:
        first = wb.ask(known, QUESTIONS, truncate="middle", store=store)
        wb.ask(known, QUESTIONS[:2], unconditional="Answer:", store=store)
        again = wb.ask(known, QUESTIONS, truncate="middle", store=store)
        texts = dict(store._database.execute("SELECT text, key FROM texts"))
        numbers = {key for (key,) in store._database.execute("SELECT key FROM numbers")}
    assert all((key in numbers) != (bound_key(key) in numbers) for key in texts.values())
    assert len(numbers) == len(set(texts.values()))
    result = b"".join(text + texts[text] + bound_key(texts[text]) for text in sorted(texts))
    assert hashlib.sha256(result).hexdigest() == KEYS[request.node.callspec.params["model"]]
    assert again.attrs["tokens_computed"] == 0 and again.drop(columns="logprob").equals(first.drop(columns="logprob"))


class Decisions:
    """A backend that chooses one option of a question, and knows no tokens."""

    label, bounded = "deciding", False

    def keys(self, question: wb.Question, truncate: str) -> list[bytes]:
        texts = [f"{question.prompt_text}|{option.text}" for option in question.options]
        return [hashlib.blake2b(text.encode(), digest_size=20).digest() for text in texts]

    def prepare(self, questions: Sequence[wb.Question], truncate: str) -> list[list[Reading]]:
        return [[Reading(key, None, False, False) for key in self.keys(q, truncate)] for q in questions]

    def run(self, keys: Sequence[bytes]) -> tuple[int, Iterator[tuple[int, dict[bytes, Number]]]]:
        return len(keys), ((0, {key: Number(-float(key[0]))}) for key in keys)

    def check_unchanged(self) -> None:
        pass

    def facts(self) -> dict[str, str]:
        return {"engine_step": "decisions"}


def test_a_backend_without_tokens_is_read_and_stored_like_any_other(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = wb.wrap_model(tiny.network(), tiny.byte_tokenizer())
    monkeypatch.setattr(sys.modules["workbench.extraction.ask"], "backend_of", lambda model: Decisions())
    first, again = wb.ask(model, QUESTIONS), wb.ask(model, QUESTIONS)
    assert first["n_tokens"].isna().all() and (first["logprob"] <= 0).all() and first.equals(again)
    computed = [(table.attrs["requests_computed"], table.attrs["engine_step"]) for table in (first, again)]
    assert computed == [(19, "decisions"), (0, "decisions")]
    for read in (wb.score_texts, wb.generate):
        with pytest.raises(InputError, match="does not give the log-probability of every token"):
            read(model, ["a text"])
