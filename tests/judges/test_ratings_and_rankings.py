"""Notebook on ratings, rankings and rewards: planted judges and made-up likelihoods."""

import numpy as np
import pandas as pd
import pytest

from workbench.judges import planted, readings, relations
from workbench.judges import ratings_and_rankings as ranking
from workbench.judges.prompts import likelihood, load_template, questions
from workbench.judges.sources import load_cases

CASES = load_cases("graded_answers", n=8)
PAIR, SCORE = load_template("pair"), load_template("score", scale=(1, 5))
QUESTIONS = questions(CASES, [PAIR, SCORE])
SCORES = CASES.scores


def likely(gain):
    """Answers to `likelihood`: log-probability -10 without the question, and `gain` more behind it."""
    rows = [
        {"question_id": q.id, "case": q.tags["case"], "option": i, "logprob": gain * option.value - 10}
        for q in likelihood(CASES)
        for i, option in enumerate(q.options)
    ]
    return pd.DataFrame(rows).assign(logprob_unconditional=-10.0, n_tokens=2)


def margin_of(name):
    (judge,) = planted.judged([name], QUESTIONS, CASES)
    return relations.aggregate(judge.pairs(PAIR.key), "likelihood").margin


@pytest.fixture(scope="module")
def judges():
    return planted.judged(["oracle", "first", "dice"], QUESTIONS, CASES)


def test_an_oracle_fills_the_diagonal_of_the_nine_cells(judges):
    cells = ranking.nine_cells(judges[0], SCORE.key, PAIR.key).set_index("ratings")
    assert np.diag(cells).sum() == cells.to_numpy().sum() == 10 * len(CASES)
    assert ranking.nine_cells(judges[1], SCORE.key, PAIR.key).set_index("ratings").loc["equal", "equal"] == 80


def test_consistency_is_one_less_the_conflict_ratio_and_its_ends_change_places(judges):
    table = ranking.consistency_table(judges, SCORE.key, PAIR.key).set_index(["judge", "reading"])
    assert table.loc["oracle", "mean"].eq(1).all()
    assert (table["low"].fillna(0) <= table["mean"]).all() and (table["mean"] <= table["high"].fillna(1)).all()
    assert 0.3 < table.loc[("dice", "expected, likelihood"), "mean"] < 0.7
    assert table.loc[("first", "argmax, two_pass"), ["mean", "chance", "tie_rate"]].tolist() == [1, 1, 1]


def test_rewards_of_likelihoods_are_per_token():
    rewards = readings.likelihood_rewards(likely(1.0), CASES.ids)
    assert rewards["pmi"] == pytest.approx(SCORES / 2)
    assert rewards["likelihood"] == pytest.approx((SCORES - 10) / 2)


def test_rewards_of_two_models_need_two_models():
    assert ranking.implicit_rewards(likely(1.0), None, 0.1, CASES.ids) == {}
    found = ranking.implicit_rewards(likely(1.0), likely(0.25), 0.1, CASES.ids)
    assert found["implicit (DPO)"] == pytest.approx(0.075 * SCORES)
    assert found["density ratio, per token"] == pytest.approx(0.375 * SCORES)


def test_accuracy_is_of_the_order_people_give():
    rewards = {"with": SCORES, "against": -SCORES, "equal": np.ones_like(SCORES)}
    right = ranking.correct_pairs(rewards, margin_of("oracle"), CASES)
    table = ranking.accuracy(right).set_index("reward")
    assert table["mean"].to_dict() == {"with": 1, "comparison": 1, "equal": 0.5, "against": 0}
    assert table["mean"].is_monotonic_decreasing and table.loc["with", "n_clusters"] == len(CASES)
    assert table.loc["equal", "against chance"].startswith("not distinguishable")
    items = ranking.items(right, CASES)
    assert items.groupby("question_id")["against"].mean().eq(0).all() and set(items["question_id"]) == set(CASES.ids)


def test_heads_are_probabilities_of_the_same_pairs():
    rewards = {"with": SCORES, "constant": np.ones_like(SCORES)}
    heads = ranking.preference_probabilities(rewards, margin_of("oracle"))
    assert {len(p) for p in heads.values()} == {10 * len(CASES)} == {len(ranking.cases_of_pairs(CASES))}
    assert np.all(heads["constant"] == 0.5)
    agreement = ranking.internal_agreement(heads, ranking.cases_of_pairs(CASES)).set_index(["head", "other"])
    assert agreement.loc[("with", "comparison"), "agree"] == 1
    grid = ranking.draw_agreement(agreement.reset_index()).axes[0]
    assert [label.get_text() for label in grid.get_yticklabels()] == [ranking.REWARDS.get(name, name) for name in heads]


def test_findings_are_undecided_where_ties_agree_by_counting_alone(judges):
    right = {
        name: ranking.correct_pairs({}, margin_of("oracle"), CASES)["comparison"]
        for name in ("P(Yes)", "follow-up", "comparison")
    }
    accuracy = ranking.accuracy(right)
    constant = ranking.consistency_table(judges[1:2], SCORE.key, PAIR.key)
    found = ranking.findings(constant, accuracy)
    assert len(found) == 6 and found[0].verdict == found[1].verdict
    assert "unrelated ones with as many ties" in found[0].verdict
    knows = ranking.findings(ranking.consistency_table(judges[:1], SCORE.key, PAIR.key), accuracy)
    assert [each.verdict for each in knows[1:3]] == ["holds", "holds"] and knows[0].verdict == "does not hold"
    assert [each.verdict for each in knows[3:]] == ["holds"] * 3
    assert ranking.main_consistency(ranking.consistency_table(judges, SCORE.key, PAIR.key))["judge"] == "oracle"


def test_figures_have_an_alt_text(judges):
    drawn = ranking.draw_consistency(ranking.consistency_table(judges, SCORE.key, PAIR.key))
    assert len(drawn.axes[0].get_yticks()) == 3 and drawn.get_label()
    right = ranking.correct_pairs({"with": SCORES}, margin_of("dice"), CASES)
    assert CASES.marks in ranking.draw_accuracy(ranking.accuracy(right), CASES.marks).axes[0].get_xlabel().replace(
        "\n", " "
    )
