"""What the calibration notebook computes, on respondents whose calibration is known."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.hallucination import calibration
from workbench.planted import planted_answers
from workbench.questions import Option, Question, Questions
from workbench.statistics import bootstrap, generator
from workbench.tables import ShownTable

PERFECT = np.tile([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.6, 0.6, 0.6], 8)
"""Confidences of a respondent that is right in 9 of 10 and in 3 of 5 cases, as `correct` has it."""
CORRECT = np.tile([1] * 9 + [0] + [1] * 3 + [0] * 2, 8)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Enough for what is planted here."""
    monkeypatch.setattr(calibration.statistics, "bootstrap", partial(bootstrap, draws=39))


def answered(confidence, correct, benchmark: str = "made up") -> tuple[Questions, pd.DataFrame]:
    """Questions with two options, answered with these confidences."""
    questions = [
        Question(
            f"Question {i}?",
            (Option(" Yes", "correct"), Option(" No", "wrong"), Option(" Unsure", "abstain")),
            {"benchmark": benchmark},
            id=f"{benchmark} {i}",
        )
        for i in range(len(confidence))
    ]
    p = {
        question.id: np.array([c, 1 - c, 0] if right else [1 - c, c, 0]) * 0.8 + [0, 0, 0.2]
        for question, c, right in zip(questions, confidence, correct)
    }
    return Questions(questions), planted_answers(questions, lambda question: p[question.id])


def reading(confidence=PERFECT, correct=CORRECT) -> pd.DataFrame:
    return calibration.readings([answered(confidence, correct)[1]], ["none"])["none"]


def test_confidence_leaves_the_abstention_out_and_length_changes_it():
    tables = [answered([0.9, 0.7], [1, 0], name)[1] for name in ("one", "two")]
    found = calibration.readings(tables, ["none", "tokens", "chars"])
    assert list(found) == ["none", "tokens", "chars"]
    assert found["none"]["answer_confidence"].to_numpy() == pytest.approx([0.9, 0.7, 0.9, 0.7])
    assert found["none"]["answer_correct"].tolist() == [1, 0, 1, 0]
    assert found["none"]["benchmark"].tolist() == ["one", "one", "two", "two"]
    assert (found["none"]["chance"] == 0.5).all()
    pd.testing.assert_frame_equal(
        found["none"].drop(columns="normalisation"), found["tokens"].drop(columns="normalisation")
    )
    odds = np.exp(np.log(0.9 * 0.8) / 3 - np.log(0.1 * 0.8) / 2)
    assert found["chars"]["answer_confidence"].iloc[0] == pytest.approx(odds / (1 + odds))


def test_items_name_their_questions():
    questions, answers = answered([0.9, 0.7], [1, 0])
    found = calibration.items(calibration.readings([answers], ["none"])["none"], [questions])
    assert found["question"].tolist() == ["Question 0?", "Question 1?"]
    assert found["answer_confidence"].to_numpy() == pytest.approx([0.9, 0.7])


def test_accuracy_is_reported_with_chance():
    found = calibration.accuracy(reading()).set_index("metric")
    assert found.loc["answer_correct", "mean"] == pytest.approx(CORRECT.mean())
    assert found.loc["answer_confidence", "mean"] == pytest.approx(PERFECT.mean())
    assert (found["chance"] == 0.5).all() and (found["n"] == len(CORRECT)).all()


def test_a_calibrated_respondent_has_no_error_beyond_noise():
    main = reading()
    noise, draw = calibration.noise(main, 10, generator(0)), generator(0)
    table = calibration.intervals(main, noise, 10, seed=0)
    assert table.loc["ECE", "mean"] == pytest.approx(0, abs=1e-9)
    assert 0.01 < noise.mean() < 0.1 and len(noise) == 999
    assert table.loc["ECE", calibration.CALIBRATED] == noise.mean()
    assert table[calibration.CALIBRATED].isna().tolist() == [False, True, True, True]
    assert table["chance alone"].tolist()[1:3] == [0.5, 0.5]  # every question has the same chance
    assert table.loc["AUROC", "mean"] == table.loc["AUROC, equal chance", "mean"] > 0.6
    after = calibration.recalibrate(main, 0.5, 10, draw)
    verdicts = [finding.verdict for finding in calibration.findings(main, table, noise, after)]
    assert verdicts[0] == "cannot tell" and verdicts[1] != "holds" and verdicts[2] == "holds"


def test_overconfidence_is_detected_and_temperature_scaling_removes_it():
    main = reading(np.where(PERFECT == 0.9, 0.999, 0.97))
    draw = generator(0)
    noise = calibration.noise(main, 10, draw)
    table = calibration.intervals(main, noise, 10, seed=0)
    after = calibration.recalibrate(main, 0.5, 10, draw)
    assert list(after.reports) == ["as it is", "temperature", "platt", "isotonic"]
    assert list(after.shown) == ["as it is", "temperature", "isotonic"]
    assert after.note == "On the 60 held-out questions; fitted on the other 60"
    assert after.reports["temperature"].bias == pytest.approx(0, abs=0.1)
    assert after.reports["as it is"].bias > 0.1
    assert calibration.metrics(after.reports, "method").loc["isotonic", "n"] == 60
    shown = repr(ShownTable(calibration.metrics(after.reports, "method")))
    assert "isotonic regression" in shown  # named as in figures
    assert after.errors["temperature"].mean() < after.errors["as it is"].mean()
    claims = calibration.findings(main, table, noise, after)
    assert [claim.verdict for claim in claims[:3]] == ["holds"] * 3 and claims[3].estimate > 0


def test_the_split_goes_on_where_the_noise_stopped():
    """One generator serves both, so the numbers of earlier runs stay."""
    main, draw, again = reading(), generator(3), np.random.default_rng(3)
    calibration.noise(main, 10, draw)
    errors = calibration.recalibrate(main, 0.5, 10, draw).errors
    for _ in range(999):
        again.random(len(main))
    names = np.unique(main["cluster"])
    fitted = again.permutation(names)[round(0.5 * len(names)) :]
    assert errors["cluster"].tolist() == [name for name in main["cluster"] if name not in set(fitted)]


def test_without_wrong_answers_nothing_is_fitted_or_claimed():
    main = reading(np.full(12, 0.8), np.ones(12))
    draw = generator(0)
    noise = calibration.noise(main, 5, draw)
    after = calibration.recalibrate(main, 0.5, 5, draw)
    assert list(after.reports) == ["as it is"] and after.note.endswith("too few correct or wrong answers to fit on")
    assert len(calibration.findings(main, calibration.intervals(main, noise, 5, 0), noise, after)) == 3
    alone = calibration.recalibrate(main.head(1), 0.5, 5, draw)
    assert alone.reports == alone.shown == {} and len(alone.errors) == 0


@pytest.mark.parametrize("held_out", [0, 1, -0.1])
def test_a_split_that_leaves_one_part_empty_is_refused(held_out):
    with pytest.raises(InputError, match="between 0 and 1"):
        calibration.recalibrate(reading(), held_out, 10, generator(0))


def test_selective_answering_rewards_a_ranking_confidence():
    ranked, reverse = (
        reading(np.linspace(0.99, 0.51, 20), [1] * 10 + [0] * 10),
        reading(np.linspace(0.51, 0.99, 20), [1] * 10 + [0] * 10),
    )
    curves, table = calibration.selective({"ranked": ranked, "reverse": reverse})
    assert table.loc["ranked", "excess AURC"] == pytest.approx(0)
    assert table.loc["ranked", "accuracy at coverage 0.3"] == 1
    assert table.loc["reverse", "accuracy at coverage 0.3"] == 0
    assert table.loc["ranked", "coverage at risk 0.25"] == pytest.approx(13 / 20)
    assert curves["ranked"].aurc == table.loc["ranked", "AURC (mean over k)"]


def test_figures_say_what_they_show():
    readings = {"none": reading()}
    assert (
        "log-probability of the answer" in calibration.draw_reliability(calibration.reports(readings, 10)).get_label()
    )
    assert "coverage" in calibration.draw_risk_coverage(calibration.selective(readings)[0]).get_label()
