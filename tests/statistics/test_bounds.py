"""Intervals of probabilities where a source shows its most probable tokens only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.answers import outcome_bounds, probability_bounds
from workbench.cultural_alignment import national_bias
from workbench.errors import InputError
from workbench.hallucination import risk_scores
from workbench.judges import ratings_and_rankings, readings
from workbench.judges.readings import label_probabilities


def table(p, high, roles=("correct", "wrong", "abstain"), question="q"):
    """Answers whose options have these probabilities, or at most those of `high` where they are None."""
    hidden = [x is None for x in p]
    rows = {"question_id": question, "option": range(len(p)), "text": [f" {i}x" for i in range(len(p))], "role": roles}
    rows |= {"logprob": np.log([np.nan if x is None else x for x in p]), "bounded": hidden, "value": range(len(p))}
    rows |= {"logprob_low": np.log([1e-300 if x is None else x for x in p]), "logprob_high": np.log(high)}
    made = pd.DataFrame(rows).assign(n_tokens=1)
    return made.assign(logprob_low=np.where(made["bounded"], -np.inf, made["logprob_low"]))


def test_an_option_not_shown_is_an_interval_by_hand():
    bounds = probability_bounds(table([0.6, 0.2, None], [0.6, 0.2, 0.1]))
    assert bounds["p_low"].tolist() == pytest.approx([0.6 / 0.9, 0.2 / 0.9, 0.0])
    assert bounds["p_high"].tolist() == pytest.approx([0.6 / 0.8, 0.2 / 0.8, 0.1 / 0.9])
    assert bounds[["mass_low", "mass_high"]].iloc[0].tolist() == pytest.approx([0.8, 0.9])


def test_bounds_hold_whatever_the_hidden_options_are():
    draw = np.random.default_rng(0)
    for _ in range(200):
        truth = draw.dirichlet(np.ones(4)) * 0.9
        hidden = draw.random(4) < 0.5
        high = np.where(hidden, np.minimum(truth * draw.uniform(1, 3, 4), 1), truth)
        answers = table([None if h else x for h, x in zip(hidden, truth)], high, ("correct", "wrong", "wrong", "none"))
        bounds, p = probability_bounds(answers), truth / truth.sum()
        assert (bounds["p_low"] <= p + 1e-12).all() and (p <= bounds["p_high"] + 1e-12).all()
        outcome = outcome_bounds(answers).iloc[0]
        assert outcome["p_wrong_low"] <= p[1] + p[2] + 1e-12 and p[1] + p[2] <= outcome["p_wrong_high"] + 1e-12
        assert np.isnan(outcome["choice"]) or outcome["choice"] == truth.argmax()


def test_what_was_shown_in_full_is_exact_and_its_choice_certain():
    answers = table([0.6, 0.2, 0.1], [0.6, 0.2, 0.1])
    exact, bounds = wb.probabilities(answers), probability_bounds(answers)
    assert bounds["p_low"].tolist() == pytest.approx(exact["p"].tolist()) == bounds["p_high"].tolist()
    assert outcome_bounds(answers)["choice"].tolist() == [0]
    local = answers.drop(columns=["logprob_low", "logprob_high", "bounded"])
    both = pd.concat([table([0.5, None, None], [0.5, 0.1, 0.1], question="r"), local])
    assert probability_bounds(both)["p_high"].iloc[-3:].tolist() == pytest.approx(exact["p"].tolist())
    assert outcome_bounds(both)["n_bounded"].tolist() == [2, 0]


def test_nothing_shown_is_neither_zero_nor_uniform():
    answers = table([None, None, None], [0.1, 0.1, 0.1])
    bounds = probability_bounds(answers)
    assert bounds["p_low"].tolist() == [0, 0, 0] and bounds["p_high"].tolist() == [1, 1, 1]
    assert np.isnan(outcome_bounds(answers)["choice"].iloc[0])
    with pytest.raises(InputError, match="3 options, the first of question 'q', were not shown"):
        wb.probabilities(answers)
    unknown = answers.assign(bounded=False)
    with pytest.raises(InputError, match="not bounded"):
        probability_bounds(unknown)


def test_metrics_that_need_every_number_refuse_intervals():
    """NaN would be left out of their sums without a word."""
    answers = table([0.5, 0.2, None], [0.5, 0.2, 0.1], ("correct", "wrong", "wrong"))
    letters = answers.assign(text=["A", "B", "C"], value=[0.0, 0.5, 1.0])
    digits = answers.assign(text=["1", "2", "3"])
    tagged = answers.assign(case="c", candidate=0, item="i", kind="stereotype")
    for refused in (
        lambda: risk_scores.choice_scores(letters),
        lambda: risk_scores.numeric_scores(digits),
        lambda: wb.levels(answers),
        lambda: national_bias.stereoset_scores(tagged),
        lambda: ratings_and_rankings.followup_rewards(tagged, ["c"]),
    ):
        with pytest.raises(InputError, match="known as intervals only"):
            refused()


def test_a_judge_that_shows_some_labels_is_flagged_with_its_bounds():
    shown, part, none = (
        table(p, [0.5, 0.2, 0.1], question=name).assign(role="none")
        for name, p in (("a", [0.5, 0.2, 0.1]), ("b", [0.5, 0.2, None]), ("c", [None] * 3))
    )
    reads = label_probabilities(pd.concat([shown, part, none], ignore_index=True))
    assert reads.counts() == {"n_total": 3, "n_unparsed": 1, "n_low_mass": 1, "n_top_k": 2, "n_undecided": 1}
    assert np.isnan(reads.p[1]).all() and reads.raw[1].tolist() == pytest.approx([0.5, 0.2, 0])
    low, high = reads.p_bounds
    assert low[0].tolist() == pytest.approx(reads.p[0].tolist()) == high[0].tolist()
    assert low[1].tolist() == pytest.approx([0.5 / 0.8, 0.2 / 0.8, 0])
    assert high[1].tolist() == pytest.approx([0.5 / 0.7, 0.2 / 0.7, 0.1 / 0.8])
    assert np.isnan(reads.p[2]).all() and high[2].tolist() == [1, 1, 1]
    sure, open_, close = (
        table([0.5, 0.2, None], [0.5, 0.2, 0.01], question="d").assign(role="none"),
        table([None, 0.2, 0.7], [0.25, 0.2, 0.7], question="e").assign(role="none"),
        table([0.02, 0.01, None], [0.02, 0.01, 0.021], question="f").assign(role="none"),
    )
    reads = label_probabilities(pd.concat([sure, open_, close], ignore_index=True))
    assert reads.undecided.tolist() == [False, True, True]
    assert reads.p[0].tolist() == pytest.approx([0.5 / 0.7, 0.2 / 0.7, 0])
    parts = [
        each.assign(template="s", labels="x", case="c", candidate=k) for k, each in enumerate((sure, open_, shown))
    ]
    scores = readings.judgement("j", pd.concat(parts, ignore_index=True), ["c"]).scores("s x")
    assert scores[0].tolist() == pytest.approx([0.2 / 0.7, np.nan, 0.4 / 0.8], nan_ok=True)
    tagged = pd.concat([shown.assign(template="s"), none.assign(template="p", pair=1.0)]).assign(labels="x", case="c")
    assert {name: r.counts()["n_unparsed"] for name, r in readings.judgement("j", tagged, ["c"]).prompts.items()} == {
        "p x": 1,
        "s x": 0,
    }
