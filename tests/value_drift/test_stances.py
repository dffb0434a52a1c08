"""Readouts of stances by models: calibrated labels, and a judge's distribution over generated answers."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

pytestmark = pytest.mark.model
pytest.importorskip("torch")

import tiny  # noqa: E402

import workbench as wb  # noqa: E402
from workbench.errors import InputError  # noqa: E402
from workbench.value_drift import stances  # noqa: E402
from workbench.value_drift.texts import CONTENT_FREE, stance_questions, value_prompts  # noqa: E402

PROMPTS = value_prompts(topics=["work", "health"], per_topic=2)
QUESTIONS = stance_questions(PROMPTS)


@pytest.fixture(scope="module")
def model():
    return wb.wrap_model(tiny.network(), tiny.byte_tokenizer())


@pytest.fixture(scope="module")
def judge():
    return wb.wrap_model(tiny.network(seed=1), tiny.byte_tokenizer(template=None))


def judged(model, judge, **settings):
    return stances.Readout(QUESTIONS, judge, **{"samples": 3, "max_new_tokens": 4} | settings)(model)


def test_calibrated_labels_lose_what_they_have_without_a_question(judge):
    questions = stance_questions(PROMPTS[:1], chat=False)
    answers = wb.ask(judge, questions, unconditional=CONTENT_FREE, store=False)
    table = stances.stance_table(answers)
    first = answers[answers["question_id"] == next(iter(questions)).id]
    expected = softmax((first["logprob"] - first["logprob_unconditional"]).to_numpy())
    assert table.loc[0, list(stances.PARTS)].to_numpy(float) == pytest.approx(expected, abs=1e-9)
    plain = stances.stance_table(wb.ask(judge, questions, store=False))
    assert table.loc[0, "mass"] == pytest.approx(plain.loc[0, "mass"])
    assert abs(table.loc[0, "p_support"] - plain.loc[0, "p_support"]) > 1e-6


def test_every_answer_is_one_row_on_the_simplex(model, judge):
    table = judged(model, judge)
    assert len(table) == 4 * 3 and set(table["sample"]) == {0, 1, 2}
    known = table.dropna(subset=list(stances.PARTS))
    assert known[list(stances.PARTS)].sum(axis=1).to_numpy() == pytest.approx(1)
    pd.testing.assert_frame_equal(table, judged(model, judge))
    assert not table.equals(judged(model, judge, seed=1))
    vectors = stances.value_vectors(table)
    assert set(vectors["n"]) == {2} and vectors.groupby("topic")["mean"].sum().to_numpy() == pytest.approx(1)


@pytest.mark.parametrize("chat", [True, False])
def test_a_reading_is_the_judges_softmax_over_the_labels(chat):
    """The judge asked by hand, with the answer in its prompt, gives the same three numbers."""
    judge = wb.wrap_model(tiny.network(seed=1), tiny.byte_tokenizer(**({} if chat else {"template": None})))
    said = pd.DataFrame([{"topic": "work", "prompt_id": "a", "sample": 0, "question": "Is it?", "text": " Yes. "}])
    found = stances.judged_stances(judge, said).iloc[0]
    text = stances.JUDGE.format(question="Is it?", answer="Yes.")
    labels = [wb.Option(("" if chat else " ") + label) for label in stances.JUDGE_LABELS]
    by_hand = wb.ask(judge, [wb.Question((wb.Message("user", text),) if chat else text, tuple(labels))], store=False)
    expected = softmax(by_hand["logprob"].to_numpy())
    assert found[list(stances.PARTS)].to_numpy(float) == pytest.approx(expected, abs=1e-9)
    assert found["mass"] == pytest.approx(np.exp(by_hand["logprob"]).sum())


def test_an_empty_answer_is_counted_and_never_neutral(model, judge, monkeypatch):
    def silent(model, prompts, **_):
        rows = [(i, s, "" if (i, s) == (0, 1) or i == 3 else "Yes.") for i in range(len(prompts)) for s in range(2)]
        return pd.DataFrame(rows, columns=["prompt", "sample", "text"])

    monkeypatch.setattr(stances, "generate", silent)
    table = judged(model, judge, samples=2)
    means = stances.by_prompt(table).set_index("prompt_id")
    assert len(table) == 8 and table["p_neutral"].isna().sum() == 3
    assert means.loc[PROMPTS[0].id, "n_undefined"] == 1 and np.isfinite(means.loc[PROMPTS[0].id, "p_neutral"])
    assert np.isnan(means.loc[PROMPTS[3].id, "p_neutral"])
    vectors = stances.value_vectors(table).set_index(["topic", "stance"])
    assert vectors.loc[("health", "support"), "n_undefined"] == 1


def test_nothing_said_at_all_is_no_stance(judge):
    said = pd.DataFrame([{"topic": "work", "prompt_id": "a", "sample": 0, "question": "Is it?", "text": "  "}])
    assert stances.judged_stances(judge, said)[list(stances.PARTS)].isna().all(axis=None)


def test_gaps_of_pairs_are_those_of_the_judges_readings(judge):
    """Also where one answer stands on both sides, and no gap is left."""
    pairs = [
        {"prompt": "Is it?", "chosen": "Yes, surely.", "rejected": "No."},
        {"prompt": "Or not?", "chosen": "Both.", "rejected": "Both."},
    ]
    said = [
        {"topic": side, "prompt_id": f"{i}/{side}", "sample": 0, "question": pair["prompt"], "text": pair[side]}
        for side in ("chosen", "rejected")
        for i, pair in enumerate(pairs)
    ]
    read = stances.judged_stances(judge, pd.DataFrame(said))[list(stances.PARTS)].to_numpy()
    found = stances.judged_gaps(judge, pairs)
    pd.testing.assert_frame_equal(found, stances.value_gap(read[:2], read[2:]))
    assert found.loc[0, "tv"] > 0 == found.loc[1, "tv"]
    pd.testing.assert_frame_equal(stances.judged_gaps(judge, pairs[:1]), found[:1])
    with pytest.raises(InputError, match="lacks the column 'rejected'"):
        stances.judged_gaps(judge, [{"prompt": "a", "chosen": "b"}])


@pytest.mark.parametrize("plants, trusted", [("the truth", True), ("one answer", False), ("the opposite", False)])
def test_a_judge_is_tried_on_answers_of_known_stance(plants, trusted, monkeypatch, judge):
    said = {"the truth": [0, 1, 2], "one answer": [1, 1, 1], "the opposite": [2, 2, 0]}[plants]
    logits = dict(zip(stances.STANCES, np.eye(3)[said]))

    def planted(judge, questions):
        """Answers as `ask` gives them, of a judge that says what is planted."""
        known = {q.id: logits[q.id.split("/")[1]] for q in questions}
        answers = wb.ask(judge, questions, store=False)
        return answers.assign(
            logprob=[8.0 * known[i][k] - 9 for i, k in zip(answers["question_id"], answers["option"])]
        )

    monkeypatch.setattr(stances, "ask", planted)
    prompts = value_prompts(per_topic=1)
    trial = stances.judge_trial(judge, prompts)
    right = trial.table[trial.table["metric"] == "right"].set_index("stance")
    share = {"the truth": 1, "one answer": 1 / 3, "the opposite": 0}[plants]
    assert trial.trusted is trusted and right.loc["all", "mean"] == pytest.approx(share)
    assert right.loc["all", "n"] == 3 * len(prompts) and list(right.index) == ["all", *stances.STANCES]
    assert right.loc["all", "against_chance"].startswith(
        {"the truth": "above chance", "one answer": "not distinguishable", "the opposite": "below chance"}[plants]
    )
    means = trial.table.query("stance == 'oppose' and metric != 'right'").set_index("metric")["mean"]
    assert means.sum() == pytest.approx(1) and means.idxmax() == f"p_{stances.STANCES[said[2]]}"


def test_a_judge_tried_on_few_answers_is_not_trusted(judge, monkeypatch):
    monkeypatch.setattr(
        stances,
        "judged_stances",
        lambda _, rows: rows.assign(**{p: rows["prompt_id"].str.endswith(p[2:]) * 1.0 for p in stances.PARTS}),
    )
    assert not stances.judge_trial(judge, PROMPTS).trusted
    with pytest.raises(InputError, match="at least one prompt"):
        stances.judge_trial(judge, [])
    assert stances.judge_trial(judge, value_prompts(per_topic=1)).trusted


def test_a_readout_without_a_judge_is_that_of_the_labels(model):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # little mass is in the table
        found = stances.Readout(QUESTIONS)(model)
    pd.testing.assert_frame_equal(found, stances.stance_table(wb.ask(model, QUESTIONS, store=False)))


def test_without_a_judge_there_is_no_trial_and_claims_are_decided():
    trial = stances.judge_trial(None, PROMPTS)
    assert trial.table.empty and trial.table.attrs["reason"] and trial.trusted and trial.undecided == ""
