"""What the notebook on risk scores computes, for people whose outcomes are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.hallucination import risk_scores
from workbench.hallucination.tables import row_questions
from workbench.planted import planted_answers
from workbench.questions import Question

N = 120


def believes(question: Question) -> np.ndarray:
    """Gives the outcome 0.6 in one order, 0.8 in the other, 0.9 after examples, and writes the number 0.3."""
    if question.tags["style"] == "numeric":
        return np.eye(10)[3]
    p = 0.9 if question.tags["shots"] else {"0-1": 0.6, "1-0": 0.8}[question.tags["order"]]
    return np.array([(p if option.value else 1 - p) / 2 for option in question.options])


def scores(letters: float, number: float, examples: float = 0.0) -> pd.DataFrame:
    """Scores that share so much with the outcome, the rest being noise; groups in turn, but all of b rated higher."""
    draw = np.random.default_rng(0)
    label = np.tile([0.0, 0.0, 1.0, 1.0], N // 4)

    def score(knows: float) -> np.ndarray:
        return knows * label + (1 - knows) * draw.random(N)

    own = {"letters": letters, "number": number, "examples": examples, "one_order": letters}
    made = {f"score_{name}": score(knows) for name, knows in own.items()}
    made |= {"base_rate": np.full(N, 0.5), "logistic_regression": score(0.4), "gradient_boosting": score(0.9)}
    about = {"task": "made up", "row": np.arange(N), "question_id": np.arange(N).astype(str), "label": label}
    masses = {"order_gap": 0.2 + 0.01 * draw.random(N), "mass_letters": 0.5, "mass_number": 0.5}
    return pd.DataFrame(about | made | masses)


def judged(table: pd.DataFrame, shots: int = 4) -> dict[str, str]:
    """Verdict of each claim, without the name of the table."""
    report = risk_scores.reports(table, {risk_scores.LETTERS: "score_letters"}, draws=20, seed=0)
    found = risk_scores.findings(table, report, risk_scores.summary(table), shots, draws=20, seed=0)
    return {each.claim.removeprefix("made up: "): each.verdict for each in found}


@pytest.mark.parametrize("shots", [0, 2])
def test_a_planted_respondent_is_read_in_every_way(shots):
    loaded = risk_scores.loaded({"anes96": None, "fair": None}, 40, shots, seed=0)
    assert [(len(examples.rows), len(rows.rows)) for examples, rows in loaded] == [(shots, 40)] * 2
    by_letter = [row_questions(rows) for _, rows in loaded]
    questions = by_letter + [row_questions(rows, "numeric") for _, rows in loaded]
    questions += [row_questions(rows, examples=examples) for examples, rows in loaded if shots]
    found = risk_scores.read(planted_answers([each for part in questions for each in part], believes))
    assert len(found) == 80
    expected = {"score_letters": 0.7, "score_one_order": 0.6, "order_gap": 0.2, "score_number": 0.3}
    expected |= {"mass_letters": 0.5, "score_examples": 0.9 if shots else np.nan}
    for column, value in expected.items():
        assert found[column].to_numpy() == pytest.approx([value] * 80, nan_ok=True), column
    supervised = risk_scores.baselines([rows for _, rows in loaded], folds=2, seed=0)
    both = found.merge(supervised, on=["task", "row"])
    assert both["base_rate"].to_numpy() == pytest.approx(both.groupby("task")["label"].transform("mean"))
    readings = risk_scores.columns_of(both, shots)
    assert ("score_examples" in readings.values()) == bool(shots)
    items = risk_scores.items(both, readings, by_letter)
    assert items[f"Brier score of the {risk_scores.NUMBER}"].to_numpy() == pytest.approx((0.3 - both["label"]) ** 2)
    assert items["question"].iloc[0] == by_letter[0][1].prompt_text  # the order given last
    assert not items.filter(like="regression").size
    sentence = risk_scores.missing_numbers([rows for _, rows in loaded])
    assert sentence.endswith(": 0 of anes96, 0 of fair.")


def test_unread_rows_are_counted_and_left_out():
    table = scores(0.3, 0.2)
    table.loc[:9, "score_number"] = np.nan
    readings = risk_scores.columns_of(table, 4)
    report = risk_scores.reports(table, readings, draws=10, seed=0)
    rows = report[report["metric"] == "auroc"].set_index("score")
    assert rows.loc["number", ["n", "n_unread"]].tolist() == [N - 10, 10]
    assert rows.loc["base rate", "note"] == "a constant score has no ranking"
    wide = risk_scores.worth(report).set_index("score")
    assert wide.loc["base rate", "auroc"] == "undefined" and "[" in wide.loc[risk_scores.LETTERS, "auroc"]
    verdicts = risk_scores.rankings(report)
    assert verdicts["score"].tolist() == [risk_scores.LETTERS, risk_scores.NUMBER]
    assert verdicts["verdict"].str.startswith("above chance").all()
    assert list(risk_scores.every_score(table, readings))[:4] == ["task", "question_id", "row", "label"]
    for figure in (risk_scores.draw_auroc(report), risk_scores.draw_ece(report)):
        assert "95% bootstrap intervals" in figure.get_label()
    assert "logistic regression" in risk_scores.draw_reliability(table, readings).get_label()


def test_claims_about_scores_that_rank():
    found = judged(scores(letters=0.2, number=0.0, examples=0.9))
    found.pop("the number is better calibrated than the letters")
    assert found == dict.fromkeys(
        [
            "the letters rank people better than chance",
            "the letters' score ranks people worse than gradient boosting",
            "the number ranks worse than the letters",
            "the letters are overconfident",
            "the order of the choices moves the score",
            "worked examples improve the ranking",
        ],
        "holds",
    )


def test_letters_without_knowledge_decide_nothing_and_no_examples_are_claimed_to_help():
    table = scores(letters=0.0, number=0.9)
    table["score_letters"] = np.repeat(np.linspace(0.1, 0.9, N // 4), 4)  # alike for both outcomes
    found = judged(table, shots=0)
    reason = "cannot tell: the letters cannot be distinguished from chance"
    assert list(found.values())[1:4] == [reason] * 3 and len(found) == 6


def test_a_difference_needs_rows_with_both_scores():
    table = scores(0.9, 0.0)
    found = risk_scores.difference(table, "score_letters", "score_number", "auroc", 20, 0)
    assert found["mean"] > 0.3 and found["n"] == N
    calibrated = risk_scores.difference(table.assign(score_number=0.5), "score_number", "score_letters", "ece", 20, 0)
    assert calibrated["mean"] == pytest.approx(-risk_scores.METRICS["ece"](table["score_letters"], table["label"]))
    nothing = risk_scores.difference(table.assign(score_number=np.nan), "score_letters", "score_number", "ece", 20, 0)
    assert nothing["n"] == 0 and np.isnan(nothing["mean"])


def test_groups_are_compared_with_shuffled_groups():
    table = scores(0.3, 0.0).assign(group=np.tile(["a", "b"], N // 2))
    table["score_letters"] = 0.5 * table["score_letters"] + 0.5 * (table["group"] == "b")
    rates, gaps = risk_scores.by_group(table, draws=10, seed=0)
    assert rates["score"].tolist() == ["letters"] * 2 + ["logistic regression"] * 2
    assert rates.groupby("score")["n"].sum().tolist() == [rates["n"].iloc[:2].sum()] * 2 < [N, N]
    assert list(rates.filter(risk_scores.BRIEF)) == list(risk_scores.BRIEF)
    parity = gaps[gaps["metric"] == "demographic_parity"].set_index("score")
    assert parity.loc["letters", "mean"] > parity.loc["letters", "shuffled_high"]
    assert parity.loc["logistic regression", "mean"] <= parity.loc["logistic regression", "shuffled_high"]
    assert (gaps["shuffled"] <= gaps["shuffled_high"]).all()


def test_tables_without_groups_say_so():
    for table in risk_scores.by_group(scores(0.3, 0.0), draws=10, seed=0):
        assert len(table) == 0 and table.filter(risk_scores.BRIEF).attrs["reason"] == "no task names a group"
