"""Readings of known stances through the same table, and every refusal of a table that is none."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from workbench.errors import InputError
from workbench.planted import planted_answers
from workbench.statistics import adjusted
from workbench.value_drift import post_training, stances
from workbench.value_drift.texts import stance_questions, value_prompts

PROMPTS = value_prompts(topics=["work", "health"])
QUESTIONS = stance_questions(PROMPTS)
BASE = np.log([0.2, 0.5, 0.3])


def planted(step, offset, noise=0.3):
    """A respondent whose logit of support is shifted by `offset`; the noise of a prompt is the same at every step."""

    def answer(question):
        rng = np.random.default_rng(zlib.crc32(question.tags["prompt_id"].encode()))
        logits = BASE + rng.normal(scale=noise, size=3) + [offset if question.tags["topic"] == "work" else 0, 0, 0]
        return softmax(logits)

    return stances.stance_table(planted_answers(list(QUESTIONS), answer)).assign(run="planted", step=step)


def test_a_planted_offset_is_recovered_in_size_and_time():
    """The offset arrives between steps 2 and 4: the drift is the planted one, its time 4/8, only where it was put."""
    offsets = {0: 0.0, 2: 0.0, 4: 2.0, 8: 2.0}
    tables = [planted(step, offset) for step, offset in offsets.items()]
    report = post_training.drift_report(pd.concat(tables, ignore_index=True)).set_index(["topic", "stance"])
    truth = [t[t.topic == "work"]["p_support"].mean() for t in (tables[0], tables[-1])]
    moved = report.loc["work", "support"]
    assert moved["mean"] == pytest.approx(truth[1] - truth[0], abs=1e-12)
    assert moved["low"] < moved["mean"] < moved["high"] and moved["drifted"]
    assert (moved["eta_ci"], moved["eta_fraction"]) == (0.5, 0.5)
    assert report.loc["work"]["mean"].sum() == pytest.approx(0, abs=1e-12)
    still = report.loc["health", "support"]
    assert still["mean"] == 0 and np.isnan(still["eta_ci"]) and not still["drifted"]
    assert still["reason"].startswith("never outside")


def test_intervals_stay_in_the_range_of_a_share_and_of_its_change():
    """Prompts far apart: an interval on the line would end below 0 and above 1, where no end is cut."""
    table = planted(0, 0.0)
    odd = pd.factorize(table["prompt_id"])[0] % 2
    parts = list(stances.PARTS)
    table[parts] = [[0.9, 0.1, 0.0] if i else [0.02, 0.98, 0.0] for i in odd]
    vectors = stances.value_vectors(table)
    some = vectors[vectors.stance != "oppose"]
    assert ((some["low"] > 0) & (some["low"] < some["mean"]) & (some["mean"] < some["high"]) & (some["high"] < 1)).all()
    none = vectors[vectors.stance == "oppose"]
    assert (none["low"].abs() < 1e-9).all() and (none["high"] > 0.1).all()  # Wilson's of none out of a few
    later = table.assign(step=1)
    later[parts] = [[0.0, 0.02, 0.98] if i else [0.0, 1.0, 0.0] for i in odd]
    moved = post_training.drift_report(pd.concat([table, later], ignore_index=True))
    support = moved[moved.stance == "support"]
    assert ((support["low"] > -1) & (support["high"] < 1) & (support["low"] < support["mean"])).all()


def test_one_prompt_has_a_size_of_drift_but_no_time():
    tables = [planted(step, offset) for step, offset in ((0, 0.0), (1, 1.0))]
    both = pd.concat([table[table.prompt_id == PROMPTS[0].id] for table in tables], ignore_index=True)
    row = post_training.drift_report(both).set_index("stance").loc["support"]
    assert row["mean"] > 0.1 and row["reason"] == "one prompt"
    assert np.isnan(row[["low", "high", "p", "eta_ci", "eta_ci_low", "eta_ci_high"]].astype(float)).all()


def test_one_checkpoint_has_no_drift():
    report = post_training.drift_report(planted(0, 0.0))
    assert report["mean"].isna().all() and set(report["reason"]) == {"one checkpoint"}


def test_refused_answers_are_counted_not_neutral():
    table = planted(0, 0.0)
    table.loc[0, list(stances.PARTS)] = np.nan
    means = stances.by_prompt(table)
    assert means["n_undefined"].sum() == 1
    assert means["p_neutral"].notna().all()


def test_seeds_make_the_noise():
    found = post_training.seed_variance(pd.DataFrame({0: [0, 1, 2], 1: [0.2, 1.2, 2.2]}))
    assert (found["tau"], found["seeds"]) == (1.0, 2)
    assert found["seed_sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert found["signal_to_noise"] == pytest.approx(2 / found["seed_sd"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.assign(p_support=1.5), "not a distribution"),
        (lambda t: t.assign(p_support=t.p_support + 0.1), "not a distribution"),
        (lambda t: t.assign(prompt_id=""), "no prompt_id"),
        (lambda t: t.assign(topic=" "), "no topic"),
        (lambda t: t.assign(reading=t.reading + t.step.astype(str)), "same question, labels and tokenizer"),
        (lambda t: pd.concat([t, t.tail(1)]), "two rows"),
        (lambda t: t.drop(columns="mass"), "lacks mass"),
        (lambda t: t[0:0], "empty"),
        (lambda t: t.sort_values("step", ascending=False), "strictly increasing"),
        (lambda t: t[~((t.step == 4) & (t.prompt_id == PROMPTS[0].id))], "other prompts"),
    ],
)
def test_damaged_tables_are_refused(change, says):
    table = pd.concat([planted(0, 0.0), planted(4, 1.0)], ignore_index=True)
    with pytest.raises(InputError, match=says):
        post_training.drift_report(change(table))


def test_magnitude_of_the_worked_example():
    """Every prompt at a, then at b: the drift is b - a."""
    a, b = [0.2, 0.6, 0.2], [0.6, 0.3, 0.1]
    parts = list(stances.PARTS)
    table = planted(0, 0.0)
    both = pd.concat([table.assign(**dict(zip(parts, p)), step=i) for i, p in enumerate((a, b))], ignore_index=True)
    found = post_training.drift_report(both[both.topic == "work"]).set_index("stance")["mean"]
    assert found.loc[["support", "neutral", "oppose"]].to_numpy() == pytest.approx([0.4, -0.3, -0.1])


def test_p_is_adjusted_over_the_topics_of_a_run_and_stance():
    """Two runs and four topics of their own: each family is adjusted by itself."""
    few = value_prompts(per_topic=4)
    questions = stance_questions(few)
    rng = np.random.default_rng(0)
    tables = []
    for run in ("one", "two"):
        for step in (0, 1):
            answers = planted_answers(list(questions), lambda q: softmax(BASE + rng.normal(size=3)))
            tables.append(stances.stance_table(answers).assign(run=run, step=step))
    report = post_training.drift_report(pd.concat(tables, ignore_index=True))
    families = report.groupby(["run", "stance"])
    assert len(families) == 6 and set(families.size()) == {11}
    for _, family in families:
        assert family["p_holm"].to_numpy() == pytest.approx(adjusted(family["p"]))
    assert (report["p_holm"] > report["p"]).any()


def test_another_question_under_the_same_name_is_no_series():
    """The same ids, labels and tokens, asked in other words at the second step."""
    tables = [
        stances.stance_table(
            planted_answers(list(stance_questions(PROMPTS, template=template)), lambda q: np.full(3, 1 / 3))
        ).assign(step=i)
        for i, template in enumerate(("{question}", "Honestly: {question}"))
    ]
    with pytest.raises(InputError, match="same question, labels and tokenizer"):
        post_training.drift_report(pd.concat(tables, ignore_index=True))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (("I support", "I am neutral.", "I support strongly"), "begins with"),
        (("Yes.", "Maybe.", "Yes."), "begins with"),
    ],
)
def test_labels_that_hold_each_other_are_refused(labels, says):
    questions = stance_questions(PROMPTS[:1], [labels])
    with pytest.raises(InputError, match=says):
        stances.stance_table(planted_answers(list(questions), lambda q: np.full(3, 1 / 3)))


def test_labels_of_the_same_tokens_are_refused():
    answers = planted_answers(list(QUESTIONS)[:1], lambda q: np.full(3, 1 / 3)).assign(duplicate=[False, True, False])
    with pytest.raises(InputError, match="has the tokens of another label"):
        stances.stance_table(answers)


def test_little_mass_is_said_aloud():
    answers = planted_answers(list(QUESTIONS)[:1], lambda q: np.full(3, 1 / 3))
    with pytest.warns(UserWarning, match="is below 0.0001"):
        stances.stance_table(answers.assign(logprob=answers["logprob"] - 20))
