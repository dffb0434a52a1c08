"""Chat endpoints: labels read from the listed first tokens of an answer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from fake_server import FakeServer

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import chats
from workbench.extraction.replies import InvalidReply
from workbench.judges import prompts
from workbench.judges.cases import Case
from workbench.judges.readings import label_probabilities
from workbench.models import server as serving

pytestmark = pytest.mark.model
User = tuple[wb.Message, ...]
LETTERS = tuple(wb.Option(space + letter, "none", v) for letter, v in (("A", 1.0), ("B", -1.0)) for space in ("", " "))


@pytest.fixture
def fake(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(serving, "BACKOFF", 0.01)
    for name in (serving.KEY_VARIABLE, serving.OPENAI_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with FakeServer(tiny.network(), tiny.byte_tokenizer(), vllm=False) as server:
        yield server


def opened(fake: FakeServer, options: str = "top_k=704") -> wb.Model:
    return wb.load_model(f"chat+http://{fake.host}/v1/tiny?{options}")


def turns(text: str, *more: wb.Message) -> User:
    return (wb.Message("user", text), *more)


def questions(n: int = 4) -> list[wb.Question]:
    return [wb.Question(turns(f"Question {i}: A or B?"), LETTERS, {"subject": i % 2}) for i in range(n)]


def listed(*tokens: tuple[str, float], drawn: str = "", message: dict[str, str] | None = None) -> dict[str, Any]:
    """A reply that lists these tokens with their probabilities."""
    named = [{"token": text, "logprob": log(p)} for text, p in tokens]
    first = next((each for each in named if each["token"] == drawn), named[0])
    return {"choices": [{"message": message or {}, "logprobs": {"content": [first | {"top_logprobs": named}]}}]}


def test_listed_letters_are_the_local_engines_and_spellings_count_once(fake: FakeServer) -> None:
    there = wb.ask(opened(fake), questions())
    here = wb.ask(wb.wrap_model(tiny.network(), tiny.byte_tokenizer()), questions(), store=False)
    best = here.groupby(["question_id", "value"], sort=False)["logprob"].transform("max")
    assert there["logprob"].to_numpy() == pytest.approx(best.to_numpy(), abs=1e-4)
    assert (there["duplicate"] == there["text"].str.startswith(" ")).all() and there["n_tokens"].isna().all()
    assert not there["bounded"].any() and there.attrs["server_prompt_tokens"] > there.attrs["tokens_computed"] > 0
    assert label_probabilities(there).mass == pytest.approx(
        np.exp(best[~there["duplicate"]]).groupby(here["question_id"], sort=False).sum().to_numpy(), abs=1e-4
    )
    again = wb.ask(opened(fake), questions())
    assert again.attrs["requests_computed"] == 0 and again["logprob"].equals(there["logprob"])


def test_unlisted_letters_are_bounded(fake: FakeServer) -> None:
    exact = wb.ask(opened(fake), questions(), store=False)
    there = wb.ask(opened(fake, "top_k=5"), questions(), store=False)
    assert there["bounded"].any() and (exact["logprob"] <= there["logprob_high"] + 1e-6).all()


def test_one_request_a_prompt_and_the_settings_that_leave_the_distribution_unchanged(fake: FakeServer) -> None:
    wb.ask(opened(fake, "top_k=30&thinking=off"), questions(3))
    sent = [body for body in fake.bodies if "Question" in body["messages"][0]["content"]]
    assert len(sent) == 3
    for body in sent:
        assert body["max_tokens"] == 1 and body["logprobs"] is True and body["top_logprobs"] == 30
        assert body["temperature"] == 1.0 and body["top_p"] == 1.0
        assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_the_beginning_of_an_answer_becomes_a_line_of_the_question() -> None:
    template = prompts.load_template("pair")
    case = Case("Which?", ("yes", "no"), (1.0, 0.0))
    sent = chats.messages_of(prompts.pairwise([case], template)[0])
    assert [turn["role"] for turn in sent] == ["user"]
    assert sent[0]["content"].endswith('\n\nWrite only what comes directly after "Verdict:".')
    with pytest.raises(InputError, match="begins an answer to nothing"):
        chats.messages_of(wb.Question((wb.Message("assistant", "Verdict:"),), LETTERS))


@pytest.mark.parametrize(
    ("tokens", "drawn", "option", "low", "high"),
    [
        ([("A", 0.5), (" A", 0.2), ("B", 0.2)], "A", "A", 0.5, 0.5),
        ([(" A", 0.6), ("B", 0.2)], "B", "A", 0.6, 0.6),
        ([("▁A", 0.6), ("B", 0.2)], "B", "A", 0.6, 0.6),
        ([("A", 0.6), ("B", 0.2)], "A", "C", 0.0, 0.2),  # at most the least probable listed one
        ([("A", 0.6), ("B", 0.35)], "A", "C", 0.0, 0.05),  # at most what is left
        ([("A", 0.6), ("B", 0.05), ("x", 0.001)], "x", "C", 0.0, 0.05),  # the drawn one has no rank
        ([("1", 0.6), ("2", 0.3)], "1", "10", 0.0, 0.6),  # it can continue the listed one
        ([("\n", 0.6), ("2", 0.3)], "2", "1", 0.0, 0.6),
    ],
)
def test_numbers_of_options(tokens: list[tuple[str, float]], drawn: str, option: str, low: float, high: float) -> None:
    found = chats.number(option, *chats.shown_in(listed(*tokens, drawn=drawn)))
    assert exp(found.high if low == 0 else found.logprob) == pytest.approx(high, abs=1e-5)
    assert np.isnan(found.logprob) == (low == 0)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (listed(("<think>", 0.99), ("A", 0.005)), "chain of thought"),
        (listed(("<|channel|>", 0.99), ("A", 0.005)), "chain of thought"),
        (listed(("A", 0.9), message={"reasoning_content": "Let me see"}), "chain of thought"),
        (listed(("A", 0.9), message={"reasoning": "Let me see"}), "chain of thought"),
        (listed(("A", 0.9), ("B", 0.9)), "total probability above 1"),
        ({"choices": [{"message": {"content": "A"}, "logprobs": None}]}, "gives no log-probabilities"),
        ({"choices": []}, "without a completion"),
    ],
)
def test_replies_that_are_no_reading(reply: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidReply, match=said):
        chats.shown_in(reply)


def test_a_rare_chain_of_thought_is_mass_that_is_lost() -> None:
    shown, _ = chats.shown_in(listed(("A", 0.9), ("<think>", 0.05)))
    assert shown["A"] == pytest.approx(log(0.9))


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (wb.Question("Plain: A or B?", LETTERS), "is plain text, and a chat endpoint takes messages"),
        (wb.Question(turns("Which?"), (wb.Option("Paris, on the Seine"),)), "ask for letters or single words"),
    ],
)
def test_questions_that_have_no_first_token(fake: FakeServer, question: wb.Question, said: str) -> None:
    with pytest.raises(InputError, match=said):
        wb.ask(opened(fake), [question])
    assert not fake.bodies


def test_whole_texts_are_refused_in_one_sentence(fake: FakeServer) -> None:
    model = opened(fake)
    for read in (lambda: wb.score_texts(model, ["a text"]), lambda: wb.generate(model, ["a"]), lambda: model.tokenizer):
        with pytest.raises(InputError, match=r"cannot be read from|shows no token ids"):
            read()
    assert prompts.whole_answers(model, questions()) is None


def shifted(by: float) -> Callable[[dict[str, Any], dict[str, Any], int], None]:
    def twist(body: dict[str, Any], answer: dict[str, Any], call: int) -> None:
        for token in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
            token["logprob"] -= by * (call % 3)

    return twist


def test_an_endpoint_that_contradicts_itself_is_refused(fake: FakeServer) -> None:
    fake.twist = shifted(0.4)
    with pytest.raises(InputError, match="breaks the contract: when requests are repeated"):
        wb.ask(opened(fake), questions())


def test_another_model_answers(fake: FakeServer) -> None:
    model = opened(fake)
    wb.ask(model, questions(1))
    fake.model = "larger"
    with pytest.raises(InputError, match="changed its model during use"):
        wb.ask(model, questions(3))


def test_several_systems_behind_one_name_are_recorded(fake: FakeServer) -> None:
    def twist(body: dict[str, Any], answer: dict[str, Any], call: int) -> None:
        answer["system_fingerprint"] = f"fp_{call % 2}"

    fake.twist = twist
    model = opened(fake)
    wb.ask(model, questions())
    assert model.facts()["systems"] == "fp_0, fp_1"


def test_a_local_model_checks_template_and_numbers(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chats, "COMPARED", log(0.002))  # a network from random weights has no probable token
    tiny.network().save_pretrained(tmp_path)
    tiny.byte_tokenizer().save_pretrained(tmp_path)
    model = opened(fake, f"top_k=704&check_against={tmp_path}")
    wb.ask(model, questions(1))
    assert f"nat from {tmp_path}" in model.facts()["contract"]
    fake.tokenizer.chat_template = fake.tokenizer.chat_template.replace("user", "USER") + "!"
    with pytest.raises(InputError, match="breaks the contract: compared with"):
        wb.ask(opened(fake, f"top_k=704&tolerance=0.0001&check_against={tmp_path}"), questions(2))
