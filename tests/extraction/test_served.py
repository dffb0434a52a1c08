"""A model behind a server: the numbers of the local engine, and every way a server can fail."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from fake_server import FakeServer

import workbench as wb
from workbench import training
from workbench.answers import probability_bounds
from workbench.errors import InputError
from workbench.extraction import replies
from workbench.extraction.store import store_of
from workbench.extraction.tokens import Request
from workbench.hallucination import steering
from workbench.models import server as serving

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and tokenizer of what the server serves."""
    path = tmp_path_factory.mktemp("model")
    tiny.network().save_pretrained(path)
    tiny.byte_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def fake(cache, monkeypatch):
    monkeypatch.setattr(serving, "BACKOFF", 0.01)
    for name in (serving.KEY_VARIABLE, serving.OPENAI_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with FakeServer(tiny.network(), tiny.byte_tokenizer()) as server:
        yield server


def opened(fake: FakeServer, folder: Path, options: str = "") -> wb.Model:
    if fake.vllm:
        return wb.load_model(f"vllm://{fake.host}/tiny?tokenizer={folder}{options}")
    return wb.load_model(f"openai+http://{fake.host}/v1/tiny?tokenizer={folder}&context=512{options}")


def questions(n: int = 6) -> list[wb.Question]:
    texts = (" A", " B", " Paris, France", " I don't know.")
    options = tuple(wb.Option(text, role) for text, role in zip(texts, ("correct", "wrong", "wrong", "abstain")))
    return [wb.Question(f"Question {i}: What is the capital?\nAnswer:", options, {"subject": i % 2}) for i in range(n)]


def test_the_table_is_the_local_engines(fake, folder):
    here = wb.ask(wb.wrap_model(tiny.network(), tiny.byte_tokenizer()), questions())
    there = wb.ask(opened(fake, folder), questions())
    assert here["logprob"].to_numpy() == pytest.approx(there["logprob"].to_numpy(), abs=1e-4)
    pd.testing.assert_frame_equal(here.drop(columns="logprob"), there.drop(columns="logprob"))
    chat = [wb.Question((wb.Message("user", "Capital?"),), questions()[0].options)]
    apart = [wb.ask(m, chat) for m in (wb.wrap_model(tiny.network(), tiny.byte_tokenizer()), opened(fake, folder))]
    assert apart[0]["logprob"].to_numpy() == pytest.approx(apart[1]["logprob"].to_numpy(), abs=1e-4)


def test_labels_of_one_token_are_requested_by_id_and_longer_options_by_their_prompt(fake, folder):
    model = opened(fake, folder)
    wb.ask(model, questions(1))
    labels = [body for body in fake.bodies if "logprob_token_ids" in body and len(body["logprob_token_ids"]) > 1]
    assert [len(body["logprob_token_ids"]) for body in labels] == [2]
    assert labels[0]["max_tokens"] == 1 and labels[0]["logprobs"] == 2 and labels[0]["return_token_ids"]
    context = labels[0]["prompt"]
    whole = [body["prompt"] for body in fake.bodies if "prompt_logprobs" in body and body["prompt"] != context]
    assert sum(ids[: len(context)] == context for ids in whole) == 2
    assert all(isinstance(token, int) for body in fake.bodies for token in body["prompt"])


def test_more_labels_than_a_server_gives_at_once_are_requested_in_parts():
    many = [Request((1, 2), (token,)) for token in range(10, 55)]
    reads = replies.plan(many, exact=True)
    assert [len(read.labels) for read in reads] == [20, 20, 5]
    assert sorted(i for read in reads for places in read.labels.values() for i, _ in places) == list(range(45))


def test_stored_numbers_are_not_requested_again(fake, folder):
    first = wb.ask(opened(fake, folder), questions())
    before = len(fake.bodies)
    second = wb.ask(opened(fake, folder), questions())
    assert len(fake.bodies) == before
    assert second["logprob"].tolist() == first["logprob"].tolist()
    assert (second.attrs["requests_computed"], second.attrs["requests_stored"]) == (0, 24)


def test_the_contract_and_the_ledger_are_in_the_record(fake, folder):
    model = opened(fake, folder, f"&check_against={folder}&price_in=2&price_out=10")
    assert "not tested" in model.facts()["contract"]
    answers = wb.ask(model, questions(2))
    facts = model.facts()
    assert facts["contract"].startswith("passed on 8 items: 0 nat when repeated, 0 nat in reverse order")
    assert model.server.contract.local < 1e-4 and str(folder) in facts["contract"]
    assert answers.attrs["engine_contract"] == facts["contract"] and answers.attrs["engine_gap_nats"] < 1e-4
    spent = answers.attrs
    witnesses = len(fake.bodies) - (56 + 6)  # one per confirmation of the served model
    assert spent["server_calls"] == len(fake.bodies) and 1 <= witnesses <= 6 and spent["server_retries"] == 0
    assert spent["server_prompt_tokens"] == sum(len(body["prompt"]) for body in fake.bodies)
    assert spent["server_cost"] == pytest.approx((2 * spent["server_prompt_tokens"] + 10 * len(fake.bodies)) / 1e6)
    assert f"calls {len(fake.bodies)}, retries 0" in facts["spent"]
    again = wb.ask(model, questions(3))
    assert spent["server_calls"] + again.attrs["server_calls"] == len(fake.bodies)
    assert again.attrs["engine_contract"] == facts["contract"]


def test_a_server_whose_numbers_depend_on_earlier_requests_is_refused(fake, folder):
    def stale(body, answer, call):
        if "prompt_logprobs" in body and call % 2:
            for row in answer["choices"][0]["prompt_logprobs"][1:]:
                for entry in row.values():
                    entry["logprob"] -= 0.01 * call

    fake.twist = stale
    with pytest.raises(InputError, match=r"breaks the contract: when requests are repeated.* differs by .* nat"):
        wb.ask(opened(fake, folder), questions(1))


def test_an_order_effect_is_detected_where_repetition_shows_none(fake, folder):
    """The number changes only if the previous request comes later in the list."""

    def ordered(body, answer, call):
        if "prompt_logprobs" in body and call and len(fake.bodies[call - 1]["prompt"]) > len(body["prompt"]):
            rows = answer["choices"][0]["prompt_logprobs"]
            rows[-1] = {name: {"logprob": entry["logprob"] - 0.7} for name, entry in rows[-1].items()}

    fake.twist = ordered
    with pytest.raises(InputError, match="when requests are sent in reverse order"):
        wb.ask(opened(fake, folder), questions(1))
    assert wb.ask(opened(fake, folder, "&tolerance=100"), questions(1)).attrs["engine_gap_nats"] == pytest.approx(0.7)


def test_another_model_than_the_one_on_this_machine_is_refused(fake, folder, tmp_path):
    tiny.network(seed=1).save_pretrained(tmp_path / "other")
    tiny.byte_tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match=r"breaks the contract: compared with .*other"):
        wb.ask(opened(fake, folder, f"&check_against={tmp_path / 'other'}"), questions(1))


def test_a_server_in_half_precision_is_not_taken_for_another_model(fake, folder, tmp_path):
    fake.network.to(torch.bfloat16)
    exact = fake.network.__class__.from_pretrained(folder)
    for network in (fake.network, exact):
        network.get_output_embeddings().weight.data *= 8  # differences of half precision above 0.01 nat
    exact.save_pretrained(tmp_path)
    tiny.byte_tokenizer().save_pretrained(tmp_path)
    model = opened(fake, folder, f"&check_against={tmp_path}")
    wb.ask(model, questions(1), store=False)
    assert model.server.contract.local > 0.1
    assert "half precision explains it" in model.facts()["contract"]
    with pytest.raises(InputError, match=r"half precision does not explain it .* differs by"):
        wb.ask(opened(fake, folder, f"&check_against={folder}"), questions(1), store=False)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_requests_to_a_busy_or_broken_server_are_retried(fake, folder, status):
    fake.failures = [(status, {"Retry-After": "0.02"} if status == 429 else {})] * 3
    answers = wb.ask(opened(fake, folder), questions(1))
    assert answers.attrs["server_retries"] == 3
    assert answers["logprob"].notna().all()


def test_the_pause_a_server_asks_for_is_kept(fake, folder):
    model = opened(fake, folder)
    wb.ask(model, questions(1))
    fake.failures = [(429, {"Retry-After": "1"})]
    start = time.monotonic()
    wb.ask(model, questions(2))
    assert time.monotonic() - start >= 1
    fake.failures = [(429, {"Retry-After": "86400"})]
    with pytest.raises(InputError, match=r"\(not now\), asks for a pause of 86400 s, tried 1 times in 0 s; check"):
        wb.ask(model, questions(3))


def test_a_slow_reply_is_retried(fake, folder):
    model = opened(fake, folder, "&timeout=0.5")
    wb.ask(model, questions(1))
    fake.delays = [1.5]
    assert wb.ask(model, questions(2)).attrs["server_retries"] >= 1


def test_a_server_that_stays_away_is_one_sentence_and_finished_answers_are_kept(fake, folder):
    model = opened(fake, folder, "&retries=2&concurrency=1")
    wb.ask(model, questions(1))
    after = len(fake.bodies) + 4
    fake.twist = lambda body, answer, call: fake.failures.extend([(500, {})] * 3 if call == after else [])
    with pytest.raises(InputError, match=r"answers 500 \(not now\), tried 3 times"):
        wb.ask(model, questions(4))
    kept = len(store_of(model.fingerprint))
    assert kept > 4
    fake.twist = lambda body, answer, call: None
    resumed = wb.ask(model, questions(4))
    assert resumed.attrs["requests_computed"] == 16 - kept and resumed["logprob"].notna().all()


def test_a_kill_keeps_the_answers_that_had_come(fake, folder, cache):
    source = f"vllm://{fake.host}/tiny?tokenizer={folder}&concurrency=2"
    code = f"""
import workbench as wb
options = (wb.Option(" A"), wb.Option(" B"))
wb.ask(wb.load_model({source!r}), [wb.Question(f"Question {{i}}:", options) for i in range(60)])
"""
    fake.delays = [0.0] * 56 + [0.02] * 500
    killed = subprocess.Popen([sys.executable, "-c", code])
    while len(fake.bodies) < 56 + 20 and killed.poll() is None:
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    answered = sum(len(body.get("logprob_token_ids", ())) == 2 for body in fake.bodies)
    fake.delays = []
    assert answered < 60
    items = [wb.Question(f"Question {i}:", (wb.Option(" A"), wb.Option(" B"))) for i in range(60)]
    resumed = wb.ask(wb.load_model(source), items)
    assert resumed.attrs["requests_stored"] >= 2 * (answered - 12)  # those not yet confirmed are lost
    assert resumed["logprob"].notna().all()


def test_no_more_requests_are_in_flight_than_allowed(fake, folder):
    fake.delays = [0.0] * 56 + [0.05] * 60
    wb.ask(opened(fake, folder, "&concurrency=3"), questions(8))
    assert 1 < fake.most_at_once <= 3


@pytest.mark.parametrize("what", ["model", "fingerprint", "root"])
def test_a_model_changed_on_the_way_is_an_error_that_keeps_what_is_finished(fake, folder, what):
    model = opened(fake, folder, "&concurrency=1")
    wb.ask(model, questions(1))
    fake.fingerprint, after = None, len(fake.bodies) + 6

    def change(body, answer, call):
        if call == after:
            fake.card["root"] = "org/new" if what == "root" else fake.card["root"]
        if call >= after and what != "root":
            answer["model" if what == "model" else "system_fingerprint"] = "new"

    fake.twist = change
    with pytest.raises(InputError, match=r"changed its model during use .*is 'org/new'|is 'new'"):
        wb.ask(model, questions(6))
    before = store_of(model.fingerprint)
    assert 4 < len(before) < 24
    if what == "root":
        assert opened(fake, folder).fingerprint != model.fingerprint


@pytest.mark.parametrize(
    ("twist", "message"),
    [
        (lambda choice: choice.update(prompt_token_ids=[1, 2, 3]), "does not return the token ids it was sent"),
        (lambda choice: choice.update(logprobs=None, prompt_logprobs=None), "gives no log-probabilities"),
        (lambda choice: _labels(choice, lambda v: 0.0), "total probability above 1|is repeated later"),
        (lambda choice: _labels(choice, lambda v: -9999.0), "gives -9999 for a log-probability"),
        (lambda choice: _labels(choice, lambda v: float("-inf")), "gives -inf for a log-probability"),
        (lambda choice: _labels(choice, lambda v: 0.5), "gives 0.5 for a log-probability"),
        (lambda choice: _labels(choice, lambda v: None), "gives None for a log-probability"),
        (lambda choice: choice.update(logprobs=[1]), "answers in an unknown format"),
        (lambda choice: choice["logprobs"]["top_logprobs"][0].popitem(), "does not give the log-probability of token"),
    ],
)
def test_answers_that_are_no_numbers_are_refused_by_name(fake, folder, twist, message):
    model = opened(fake, folder)
    wb.ask(model, questions(1))
    fake.twist = lambda body, answer, call: twist(answer["choices"][0]) if "logprob_token_ids" in body else None
    with pytest.raises(InputError, match=f"(?s)({message}).*(question|tolerance)"):
        wb.ask(model, questions(2))


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.0, "every token of an option the probability 1"), (-9999.0, "gives -9999"), (float("-inf"), "gives -inf")],
)
def test_sentinels_for_the_tokens_of_a_prompt_are_refused(fake, folder, value, message):
    def fill(body, answer, call):
        for row in (answer["choices"][0].get("prompt_logprobs") or [])[1:]:
            row.update({name: {"logprob": value} for name in row})

    model = opened(fake, folder)
    wb.ask(model, questions(1))
    fake.twist = fill
    with pytest.raises(InputError, match=message):
        wb.ask(model, questions(2))


def test_a_server_that_gives_every_token_the_same_is_refused_at_once(fake, folder):
    def fill(body, answer, call):
        choice = answer["choices"][0]
        _labels(choice, lambda value: -1.0)
        for row in (choice.get("prompt_logprobs") or [])[1:]:
            row.update({name: {"logprob": -1.0} for name in row})

    fake.twist = fill
    with pytest.raises(InputError, match="gives every token the same log-probability"):
        wb.ask(opened(fake, folder), questions(1))


def test_a_server_that_adds_tokens_is_refused(fake, folder):
    fake.twist = lambda body, answer, call: answer["usage"].update(prompt_tokens=len(body["prompt"]) + 1)
    with pytest.raises(InputError, match=r"read \d+ tokens where \d+ were sent"):
        wb.ask(opened(fake, folder), questions(1))


def test_answers_without_usage_are_counted_apart(fake, folder):
    fake.twist = lambda body, answer, call: answer.update(usage=None)
    spent = wb.ask(opened(fake, folder), questions(1)).attrs
    assert spent["server_unmetered_calls"] == spent["server_calls"] == len(fake.bodies)
    assert spent["server_prompt_tokens"] == 0 and "server_cost" not in spent


def test_texts_and_generation_go_through_the_server(fake, folder):
    here, there = wb.wrap_model(tiny.network(), tiny.byte_tokenizer()), opened(fake, folder)
    texts = ["The capital of France is Paris.", "Jupiter"]
    scores = [wb.score_texts(model, texts) for model in (here, there)]
    assert scores[1]["logprob"].to_numpy() == pytest.approx(scores[0]["logprob"].to_numpy(), abs=1e-4)
    assert scores[1]["tokens"].tolist() == scores[0]["tokens"].tolist()
    greedy = [wb.generate(model, texts, max_new_tokens=5, temperature=0) for model in (here, there)]
    assert greedy[1]["text"].tolist() == greedy[0]["text"].tolist()
    assert greedy[1]["logprob"].to_numpy() == pytest.approx(greedy[0]["logprob"].to_numpy(), abs=1e-4)
    sampled = wb.generate(there, texts, samples=2, max_new_tokens=4, seed=3)
    assert sampled["text"].tolist() == wb.generate(there, texts, samples=2, max_new_tokens=4, seed=3)["text"].tolist()


def test_what_a_server_cannot_give_is_one_sentence(fake, folder):
    model = opened(fake, folder)
    for refused in (
        lambda: wb.hidden_states(model, ["a"]),
        lambda: model.network,
        lambda: steering.attribute(model, questions(1)),
        lambda: steering.steered(model, {0: np.ones(32)}, 1.0).__enter__(),
        lambda: training.train("dpo", model, [{"prompt": "a", "chosen": "b", "rejected": "c"}], save_at=[1]),
    ):
        with pytest.raises(InputError, match="behind a server, which gives log-probabilities alone"):
            refused()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory) -> Path:
    """A tokenizer of about the same size, whose ids are other texts."""
    path = tmp_path_factory.mktemp("foreign")
    tiny.metaspace_tokenizer(bos=False).save_pretrained(path)
    return path


@pytest.mark.parametrize("vllm", [True, False])
def test_a_tokenizer_that_is_not_the_models_is_refused_before_the_first_question(fake, foreign, vllm):
    fake.vllm = vllm
    with pytest.raises(InputError, match=r"\?tokenizer= in|as text, not as ids of the tokenizer|where \d+ were sent"):
        wb.ask(opened(fake, foreign), questions(1))
    assert len(fake.bodies) <= 56


@pytest.mark.parametrize("shown", ["decoded_token", "text"])
def test_an_answer_in_which_a_token_has_another_text_is_refused_after_the_contract_too(fake, folder, shown):
    model = opened(fake, folder)
    wb.ask(model, questions(1))

    def renamed(body, answer, call):
        choice = answer["choices"][0]
        if shown == "text":
            choice["text"], choice["token_ids"] = "Berlin", [fake.tokenizer("Par").input_ids[0]]
        for row in choice.get("prompt_logprobs", [None])[1:] if shown != "text" else ():
            row.update({name: entry | {"decoded_token": "Berlin"} for name, entry in row.items()})

    fake.twist = renamed
    with pytest.raises(
        InputError, match=r"calls token \d+ 'Berlin', which is .* name the model's own with \?tokenizer="
    ):
        wb.ask(model, questions(2))


def test_tokens_without_a_text_cannot_be_compared(fake, folder):
    def silent(body, answer, call):
        choice = answer["choices"][0]
        choice["text"] = ""
        for row in choice.get("prompt_logprobs", [None])[1:]:
            row.update({name: entry | {"decoded_token": None} for name, entry in row.items()})

    fake.twist = silent
    with pytest.raises(InputError, match=r"does not return the text of its tokens"):
        wb.ask(opened(fake, folder), questions(1))


def test_spaces_and_halves_of_characters_are_no_other_tokenizer(fake, folder):
    """vLLM's versions differ in whether a token is shown with its space, as a piece, or as half a character."""

    def spelt(body, answer, call):
        choice = answer["choices"][0]
        for row in choice.get("prompt_logprobs", [None])[1:]:
            for name, entry in row.items():
                piece = fake.tokenizer.convert_ids_to_tokens(int(name))
                entry["decoded_token"] = [piece, entry["decoded_token"].strip(), "\ufffd"][call % 3]

    fake.twist = spelt
    assert wb.ask(opened(fake, folder), questions(1))["logprob"].notna().all()


def shifted(body, answer, call):
    rows = answer["choices"][0].get("prompt_logprobs")
    if rows:
        rows[1:] = [*rows[2:], rows[1]]


def moved(body, answer, call):
    """Values one place on, under the right ids."""
    rows = answer["choices"][0].get("prompt_logprobs")
    values = [next(iter(row.values()))["logprob"] for row in rows[1:]] if rows else []
    for row, value in zip(rows[1:] if rows else (), [*values[1:], values[0]] if rows else ()):
        next(iter(row.values()))["logprob"] = value


def sampled(body, answer, call):
    if "token_logprobs" in (answer["choices"][0].get("logprobs") or {}):
        answer["choices"][0]["logprobs"]["token_logprobs"] = [-0.1]


@pytest.mark.parametrize(
    ("twist", "message"),
    [
        (shifted, r"does not give the log-probability of token \d+ at position 1 of a prompt"),
        (moved, "breaks the contract: read a label as the end of a prompt"),
        (lambda body, answer, call: answer["choices"][0]["token_ids"].append(5), "writes 2 tokens instead of one"),
        (sampled, "two log-probabilities, -0.1 and"),
    ],
    ids=["shifted", "moved", "two tokens", "two numbers"],
)
def test_numbers_of_other_places_are_refused(fake, folder, twist, message):
    fake.twist = twist
    with pytest.raises(InputError, match=message):
        wb.ask(opened(fake, folder), questions(1))


def test_another_network_under_the_same_name_is_detected_before_its_answers_are_stored(fake, folder):
    model = opened(fake, folder)
    wb.ask(model, questions(1))
    before = len(store_of(model.fingerprint))
    fake.network = tiny.network(seed=1)
    with pytest.raises(InputError, match="breaks the contract: when a request is repeated later, a number differs"):
        wb.ask(model, questions(3))
    assert len(store_of(model.fingerprint)) == before


DUMPS = json.dumps
TWICE = '{"choices": [{"text": " A", "logprobs": {"tokens": [" A"], "top_logprobs": [{" A": -1.0, " A": -2.0}]}}]}'


def test_one_name_for_two_numbers_is_refused(fake, folder, monkeypatch):
    fake.vllm = False
    model = opened(fake, folder)
    wb.ask(model, questions(1))
    fake.twist = lambda body, answer, call: answer.update(twice=True)
    monkeypatch.setattr("fake_server.json.dumps", lambda content: TWICE if "twice" in content else DUMPS(content))
    with pytest.raises(InputError, match=r"it has ' A' twice\); it is not used"):
        wb.ask(model, questions(2))


def _labels(choice, change):
    rows = (choice.get("logprobs") or {}).get("top_logprobs") or []
    for row in rows:
        row.update({name: change(value) for name, value in row.items()})
        choice["logprobs"]["token_logprobs"] = [row[name] for name in choice["logprobs"]["tokens"]]


class TestMostProbableOnly:
    """Servers that show their most probable tokens: exact where shown, an interval where not, never zero."""

    @pytest.fixture
    def fake(self, fake):
        fake.vllm = False
        fake.card.pop("max_model_len", None)
        return fake

    @pytest.fixture
    def items(self):
        """Options of which a server that shows 20 tokens shows some."""
        words = [" A", " B", "\n", " the", " of", ".", " Paris", " is", "e", " I don't know."]
        return [wb.Question(f"The capital {i} of", tuple(wb.Option(w) for w in words if w.strip())) for i in range(4)]

    @pytest.mark.parametrize("top_k", [5, 20, 700])
    def test_shown_options_are_exact_and_the_others_lie_within_their_bounds(self, fake, folder, items, top_k):
        truth = wb.ask(wb.wrap_model(tiny.network(), tiny.byte_tokenizer()), items)["logprob"].to_numpy()
        answers = wb.ask(opened(fake, folder, f"&top_k={top_k}"), items)
        hidden = answers["bounded"].to_numpy()
        assert hidden.any() if top_k == 5 else not hidden.all()
        assert answers["logprob"].isna().tolist() == hidden.tolist()
        assert answers["logprob"].to_numpy()[~hidden] == pytest.approx(truth[~hidden], abs=1e-4)
        assert (truth <= answers["logprob_high"] + 1e-4).all()
        assert (answers["logprob_low"][hidden] == -np.inf).all()
        assert np.isfinite(answers["logprob_high"]).all()

    @pytest.mark.parametrize("named", [True, False])
    def test_the_sampled_token_does_not_tighten_the_bound(self, fake, folder, items, named):
        """It stands in the list whatever its rank, so others that are not shown can be more probable than it."""

        def rare(body, answer, call):
            row = fake.logprobs(body["prompt"])[-1]
            token = int(row.argmin())
            logprobs = answer["choices"][0]["logprobs"]
            name = fake.tokenizer.decode([token])
            logprobs["tokens"], logprobs["token_logprobs"] = ([name], [float(row[token])]) if named else (None, None)
            logprobs["top_logprobs"][0][name], answer["choices"][0]["text"] = float(row[token]), name

        fake.twist = rare
        truth = wb.ask(wb.wrap_model(tiny.network(), tiny.byte_tokenizer()), items)["logprob"].to_numpy()
        answers = wb.ask(opened(fake, folder), items)
        assert answers["bounded"].any()
        assert (truth <= answers["logprob_high"] + 1e-4).all()

    def test_a_list_cut_short_widens_the_bounds(self, fake, folder, items):
        whole = wb.ask(opened(fake, folder, "&top_k=20"), items, store=False)

        def cut(body, answer, call):
            row = answer["choices"][0]["logprobs"]["top_logprobs"][0]
            for name in sorted(row, key=row.get)[: max(0, len(row) - 2)]:
                del row[name]

        fake.twist = cut
        short = wb.ask(opened(fake, folder, "&top_k=20"), items, store=False)
        assert short["bounded"].sum() > whole["bounded"].sum()
        assert (short["logprob_high"] >= whole["logprob_high"] - 1e-6).all()

    def test_bounds_are_kept_in_the_store(self, fake, folder, items):
        first = wb.ask(opened(fake, folder), items)
        before = len(fake.bodies)
        second = wb.ask(opened(fake, folder), items)
        assert len(fake.bodies) == before
        pd.testing.assert_frame_equal(first, second)
        other = opened(fake, folder, "&top_k=20")
        assert other.fingerprint != opened(fake, folder).fingerprint

    def test_probabilities_refuse_and_bounds_hold(self, fake, folder, items):
        local = wb.probabilities(wb.ask(wb.wrap_model(tiny.network(), tiny.byte_tokenizer()), items))
        answers = wb.ask(opened(fake, folder, "&top_k=20"), items)
        assert answers.attrs["bounded_options"] == answers["bounded"].sum() > 0
        with pytest.raises(InputError, match=r"known as intervals only; use answers.probability_bounds\(answers\)"):
            wb.probabilities(answers)
        bounds = probability_bounds(answers)
        assert (bounds["p_low"] <= local["p"] + 1e-6).all() and (local["p"] <= bounds["p_high"] + 1e-6).all()
        assert (bounds["p_high"] > 0).all()

    def test_the_form_of_sglang_is_read(self, fake, folder, items):
        """Its answers by its source (`to_openai_style_logprobs`, 2026): offsets of -1, and fields of its own."""

        def as_sglang(body, answer, call):
            assert isinstance(body["prompt"], str | list) and body["max_tokens"] == 1
            shown = answer["choices"][0]["logprobs"]
            shown["text_offset"] = [-1] * len(shown["tokens"])
            ranked = sorted(shown["top_logprobs"][0].items(), key=lambda entry: -entry[1])
            shown["top_logprobs"] = [dict(ranked[: body["logprobs"]])]
            answer["choices"][0] |= {"matched_stop": None, "hidden_states": None}
            answer["usage"] |= {"total_tokens": 0, "prompt_tokens_details": None, "reasoning_tokens": 0}
            answer |= {"id": str(call), "object": "text_completion", "metadata": {"weight_version": "default"}}
            del answer["system_fingerprint"]

        fake.card |= {"owned_by": "sglang", "max_model_len": 512}
        fake.twist = as_sglang
        exact = wb.ask(wb.wrap_model(tiny.network(), tiny.byte_tokenizer()), items)
        answers = wb.ask(opened(fake, folder, "&top_k=400"), items)
        listed = answers["logprob"].notna()
        assert listed.sum() > 3
        assert (answers["logprob"] - exact["logprob"])[listed].abs().max() < 1e-4
        assert (exact["logprob"][~listed] <= answers["logprob_high"][~listed] + 1e-6).all()

    def test_zeros_for_everything_are_refused(self, fake, folder, items):
        fake.twist = lambda body, answer, call: _labels(answer["choices"][0], lambda value: 0.0)
        with pytest.raises(InputError, match=r"total probability above 1|every token the same"):
            wb.ask(opened(fake, folder), items)

    def test_values_that_depend_on_order_are_refused(self, fake, folder, items):
        fake.twist = lambda body, answer, call: _labels(answer["choices"][0], lambda value: value - 0.02 * call)
        with pytest.raises(InputError, match="breaks the contract"):
            wb.ask(opened(fake, folder), items)

    def test_it_is_compared_with_a_model_on_this_machine(self, fake, folder, tmp_path):
        model = opened(fake, folder, f"&top_k=50&check_against={folder}")
        wb.ask(model, questions(1))
        assert model.server.contract.local < 1e-4
        tiny.network(seed=1).save_pretrained(tmp_path / "other")
        tiny.byte_tokenizer().save_pretrained(tmp_path / "other")
        with pytest.raises(InputError, match="compared with"):
            wb.ask(opened(fake, folder, f"&top_k=50&check_against={tmp_path / 'other'}"), questions(2))

    def test_texts_and_generation_are_refused(self, fake, folder):
        model = opened(fake, folder)
        for refused in (lambda: wb.score_texts(model, ["a"]), lambda: wb.generate(model, ["a"])):
            with pytest.raises(InputError, match="does not give the log-probability of every token"):
                refused()

    def test_a_sampled_token_of_another_text_is_refused(self, fake, folder, items):
        model = opened(fake, folder)
        wb.ask(model, items[:1])

        def renamed(body, answer, call):
            answer["choices"][0]["text"] = " Berlin"
            answer["choices"][0]["logprobs"] |= {"tokens": [" Paris"], "token_logprobs": [-1.0]}

        fake.twist = renamed
        with pytest.raises(InputError, match=r"writes ' Berlin' and calls it the token"):
            wb.ask(model, items)
