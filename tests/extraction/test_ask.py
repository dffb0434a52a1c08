"""`ask` from questions to the answers table."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny
import torch

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import engine
from workbench.extraction.store import store_of
from workbench.questions import Message, Option, Question
from workbench.runs.execution import counts_in
from workbench.runs.folder import _added, read_notes
from workbench.runs.record import Counts

pytestmark = pytest.mark.model


@pytest.fixture
def model(cache):
    return wb.wrap_model(tiny.network(), tiny.byte_tokenizer(), "tiny")


def questions(n: int = 6) -> list[Question]:
    options = (Option(" Paris", "correct", 1.0), Option(" Berlin", "wrong"), Option(" I don't know.", "abstain"))
    return [
        Question(f"Question {i}: What is the capital?\nAnswer:", options, {"subject": f"s{i % 2}"}) for i in range(n)
    ]


def test_one_row_per_option_with_all_columns(model):
    table = wb.ask(model, questions())
    assert len(table) == 18
    assert table["option"].tolist() == [0, 1, 2] * 6
    assert table.groupby("role").size().to_dict() == {"abstain": 6, "correct": 6, "wrong": 6}
    assert set(table["subject"]) == {"s0", "s1"}
    assert table["n_chars"].iloc[2] == len("I don't know.")
    assert table["logprob"].dtype == np.float64 and (table["logprob"] < 0).all()
    assert table["logprob_unconditional"].isna().all()
    assert wb.probabilities(table)["p"].groupby(table["question_id"]).sum().to_numpy() == pytest.approx(1)


def test_a_second_call_computes_nothing(model, monkeypatch):
    first = wb.ask(model, questions())
    monkeypatch.setattr(engine, "score", lambda *_, **__: pytest.fail("computed again"))
    second = wb.ask(model, questions())
    assert second["logprob"].tolist() == first["logprob"].tolist()
    assert [t.attrs["requests_computed"] for t in (first, second)] == [18, 0]
    assert [t.attrs["requests_stored"] for t in (first, second)] == [0, 18]


def test_answers_that_a_store_cannot_keep_are_used_and_counted(model, tmp_path):
    with wb.AnswerStore(tmp_path / "s.sqlite") as store:
        store._database.execute("PRAGMA query_only=1")
        with pytest.warns(UserWarning, match="new ones are computed and not kept") as told:
            attrs = wb.ask(model, questions(), store=store).attrs
        assert len(told) == 1 and attrs["requests_not_kept"] == attrs["requests_computed"] == 18


def test_a_call_answered_before_needs_neither_torch_nor_tokenizer(tmp_path, cache):
    tiny.network().save_pretrained(tmp_path / "m")
    tiny.byte_tokenizer().save_pretrained(tmp_path / "m")
    code = f"""
import sys, workbench as wb
model = wb.load_model({str(tmp_path / "m")!r}, device="cpu")
options = (wb.Option(" Paris"), wb.Option(" Berlin"))
table = wb.ask(model, [wb.Question("Capital?", options), wb.Question((wb.Message("user", "Chat?"),), options)])
heavy = sorted({{"torch", "transformers", "tokenizers"}} & set(sys.modules))
"""
    first: dict = {}
    exec(code, first)
    assert first["table"].attrs["requests_computed"] == 4 and "torch" in first["heavy"]
    program = [sys.executable, "-c", code + "print(table['logprob'].tolist(), heavy)"]
    second = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    assert second.strip() == f"{first['table']['logprob'].tolist()} []"


def test_an_interrupted_call_keeps_its_finished_batches(model, monkeypatch):
    real = engine.score

    def interrupted(model, requests, **_):
        yield next(iter(real(model, requests, 64)))
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wb.ask(model, questions())
    monkeypatch.setattr(engine, "score", real)
    resumed = wb.ask(model, questions())
    assert 0 < resumed.attrs["requests_computed"] < 18
    assert resumed["logprob"].to_numpy() == pytest.approx(wb.ask(model, questions(), store=False)["logprob"], abs=1e-5)


def test_another_model_is_never_served_these_numbers(model):
    """Weights, tokenizer and template are all part of the key."""
    base = wb.ask(model, questions())
    retrained = tiny.network()
    with torch.no_grad():
        retrained.lm_head.weight[7, 3] += 1e-3
    retemplated = tiny.byte_tokenizer(template=tiny.TEMPLATE + " ")
    others = [
        wb.wrap_model(retrained, tiny.byte_tokenizer()),
        wb.wrap_model(tiny.network(), retemplated),
        wb.wrap_model(tiny.network(), tiny.byte_tokenizer(bos=True)),
        wb.wrap_model(tiny.network().double(), tiny.byte_tokenizer()),
    ]
    for other in others:
        assert wb.ask(other, questions()).attrs["requests_computed"] == base.attrs["requests_computed"]


@pytest.mark.parametrize("part", ["weights", "hook", "template"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_model_changed_in_place_is_not_served_its_old_numbers(tmp_path, cache, part, when):
    """Trained on, hooked or given another template under the same name, it is another model."""
    tiny.network().save_pretrained(tmp_path / "m")
    tiny.byte_tokenizer().save_pretrained(tmp_path / "m")
    for items in (wb.load_model(tmp_path / "m", device="cpu"), wb.wrap_model(tiny.network(), tiny.byte_tokenizer())):
        _ = items.network, items.tokenizer
        if when == "after":
            wb.ask(items, questions(1))
        if part == "weights":
            trained = items.network.requires_grad_(True)
            trained(input_ids=torch.tensor([[5, 6]]), labels=torch.tensor([[5, 6]])).loss.backward()
            torch.optim.AdamW(trained.parameters()).step()
        elif part == "hook":
            items.network.model.layers[0].register_forward_hook(lambda _, args, out: out)
        else:
            items.tokenizer.chat_template += " "
        with pytest.raises(InputError, match=f"The {'tokenizer' if part == 'template' else 'network'} of .* changed"):
            wb.ask(items, questions(1))
        assert len(wb.ask(items, questions(1), store=False)) == 3
        again = wb.wrap_model(items.network, items.tokenizer)
        assert wb.ask(again, questions(1)).attrs["requests_computed"] == 3


def test_an_infinite_logit_is_not_taken_for_an_impossible_answer(model):
    """Where one logit overflows, every other token has log-probability -inf, which is no number to go on with."""
    head = torch.nn.Linear(32, 704).eval()
    with torch.no_grad():
        head.bias[9] = torch.inf
    model.network.lm_head = head
    with pytest.raises(InputError, match=f"-inf on question '{questions(1)[0].id}'"):
        wb.ask(model, questions(1), store=False)


def test_a_killed_run_keeps_its_packs_and_goes_on(tmp_path, cache):
    """SIGKILL in the middle of a call, and beside another process that asks the same."""
    tiny.network().save_pretrained(tmp_path / "m")
    tiny.byte_tokenizer().save_pretrained(tmp_path / "m")
    code = f"""
import sys, time, workbench as wb
from workbench.extraction import engine
real = engine.score
def slowly(*given, **more):
    for batch in real(*given, **{{**more, "budget": 64}}):
        yield batch
        print("pack", flush=True)
        time.sleep(0.05)
engine.score = slowly
model = wb.load_model({str(tmp_path / "m")!r}, device="cpu")
options = (wb.Option(" Paris"), wb.Option(" Berlin"))
wb.ask(model, [wb.Question(f"{{i}} Capital?" * 9, options) for i in range(40)])
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    for process in running:
        for _ in range(5):
            assert process.stdout.readline() == b"pack\n"
    for process in running:
        process.kill()
        process.communicate()
    model = wb.load_model(tmp_path / "m", device="cpu")
    items = [Question(f"{i} Capital?" * 9, (Option(" Paris"), Option(" Berlin"))) for i in range(40)]
    resumed, alone = wb.ask(model, items), wb.ask(model, items, store=False)
    assert 0 < resumed.attrs["requests_computed"] < 80
    assert resumed["logprob"].to_numpy() == pytest.approx(alone["logprob"].to_numpy(), abs=2e-5)


def test_a_path_is_not_taken_for_a_store(model, tmp_path):
    with pytest.raises(InputError, match=r"AnswerStore\(Path"):
        wb.ask(model, questions(1), store=str(tmp_path / "s.sqlite"))


def test_what_is_flagged_is_counted(model):
    options = tuple(map(Option, (" Par", " Paris", " Par", "is")))
    items = [Question("The capital of France is Par", options), Question("word " * 600, options, id="long")]
    counts = wb.ask(model, items, truncate="middle").attrs
    assert (counts["prefix_options"], counts["duplicate_options"], counts["truncated_options"]) == (4, 2, 4)
    assert counts["merged_options"] == 2 and counts["engine_step"] == "trie"


def test_unconditional_scores_follow_the_bare_prompt(model):
    table = wb.ask(model, questions(2), unconditional="Answer:")
    bare = wb.ask(model, [Question("Answer:", questions(1)[0].options)])
    assert table["logprob_unconditional"].tolist() == pytest.approx(bare["logprob"].tolist() * 2, abs=1e-5)


def test_options_with_the_same_tokens_keep_their_rows_and_are_flagged(model):
    table = wb.ask(model, [Question("Answer:", (Option(" A"), Option(" B"), Option(" A")))])
    assert table["duplicate"].tolist() == [False, False, True]
    assert table["logprob"].iloc[0] == table["logprob"].iloc[2]


def test_numbers_that_are_not_finite_name_the_question(model):
    with torch.no_grad():
        model.network.lm_head.weight.fill_(torch.nan)
    with pytest.raises(InputError, match=questions(1)[0].id):
        wb.ask(model, questions(1), store=False)


def test_an_option_that_another_begins_with_is_flagged(model):
    """The probability of the short one contains that of the long one."""
    table = wb.ask(model, [Question("Score:", (Option(" 1"), Option(" 10"), Option(" 2")))])
    assert table["prefix"].tolist() == [True, False, False]


def test_a_network_smaller_than_its_tokenizer_is_named(cache):
    small = wb.wrap_model(tiny.network(vocab_size=300), tiny.byte_tokenizer())
    with pytest.raises(InputError, match="300 tokens"):
        wb.ask(small, questions(1))


def test_two_threads_get_the_numbers_each_would_get_alone(cache):
    """Attention is routed through one registry; a forward of one thread must not see the state of another."""
    models = [wb.wrap_model(tiny.network(family), tiny.byte_tokenizer(), family) for family in ("llama", "qwen3")]
    alone = [wb.ask(each, questions(20), store=False)["logprob"].tolist() for each in models]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(wb.ask, models[i % 2], questions(20), store=False) for i in range(12)]
        together = [job.result()["logprob"].tolist() for job in jobs]
    assert all(result == alone[i % 2] for i, result in enumerate(together))


def test_the_store_is_closed_again(model):
    for n in range(1, 20):
        wb.ask(model, questions(n))
    assert sum("sqlite" in os.readlink(f"/proc/self/fd/{fd}") for fd in open_files()) == 0


def open_files() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (lambda: [], "no questions"),
        (lambda: questions(1) * 2, "twice"),
        (lambda: [Question("word " * 900, (Option(" A"),))], r"needs \d+ tokens"),
        (lambda: [questions(1)[0].tagged(role="judge")], "tag 'role'"),
        (lambda: ["What?"], "Question objects"),
        (lambda: questions(1)[0], "Question objects"),
        (lambda: [Question("What?", ("Paris", "Berlin"))], r"Option\('Paris'\)"),
        (lambda: [Question("What?", (Option(5),))], r"Option\('5'\)"),
        (lambda: [Question((), (Option("A"),))], "Message objects"),
        (lambda: [Question((Message("bot", "Hi"),), (Option("A"),))], "speaker 'bot'"),
        (lambda: [Question((Message("user", None),), (Option("A"),))], "must be a string"),
        (lambda: [Question(("What?",), (Option("A"),))], "Message objects"),
        (lambda: [Question(None, (Option("A"),))], "Message objects"),
        (lambda: [Question("caf\ud83d", (Option("A"),))], "contains an invalid character"),
        (lambda: [Question((Message("user", "Hi"),), (Option("\udc00"),))], "contains an invalid character"),
    ],
)
def test_invalid_questions_are_refused_before_anything_is_computed(model, monkeypatch, items, message):
    monkeypatch.setattr(engine, "score", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(InputError, match=message):
        wb.ask(model, items())


def test_counts_of_all_calls_are_in_the_record_of_a_run(model, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUN_FOLDER", str(tmp_path))
    first = wb.ask(model, questions())
    wb.ask(model, questions())
    facts = read_notes(tmp_path)["facts"]
    n = first.attrs["requests_computed"]
    assert n and counts_in(facts) == Counts(computed=n, cached=n, tokens=first.attrs["tokens_computed"])
    assert facts["engine_step"] == "trie" and facts["engine_gap_nats"] == pytest.approx(first.attrs["engine_gap_nats"])


def test_what_a_server_was_paid_adds_up():
    calls = [{"server_cost": 0.5, "requests_computed": 2, "engine_step": "server"}, {"server_cost": 0.25}]
    assert _added(_added({}, calls[0]), calls[1]) == calls[0] | {"server_cost": 0.75}


def test_a_damaged_answer_is_computed_again_and_replaced(model, cache):
    first = wb.ask(model, questions(2))
    with store_of(model.fingerprint) as store:
        store._database.execute("UPDATE numbers SET logprob = logprob * 2 WHERE key = (SELECT max(key) FROM numbers)")
        store._database.execute("UPDATE texts SET n_tokens = 9 WHERE text = (SELECT max(text) FROM texts)")
    with pytest.warns(UserWarning, match="are damaged"):
        again = wb.ask(model, questions(2))
    assert again.drop(columns="logprob").equals(first.drop(columns="logprob"))
    assert again["logprob"].to_numpy() == pytest.approx(first["logprob"].to_numpy(), abs=1e-5)
    assert again.attrs["requests_computed"] == 1
    assert wb.ask(model, questions(2)).attrs["requests_computed"] == 0


def test_a_log_probability_above_zero_is_refused(model, monkeypatch):
    real = engine.score

    def shifted(*given, **more):
        for tokens, indices, terms in real(*given, **more):
            yield tokens, indices, [part + 20 for part in terms]

    monkeypatch.setattr(engine, "score", shifted)
    with pytest.raises(InputError, match="gives a log-likelihood of"):
        wb.ask(model, questions(1), store=False)
