"""What the steering notebook computes, on respondents that steering changes in a known way."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.hallucination import steering
from workbench.planted import planted_answers
from workbench.questions import Option, Question
from workbench.statistics import bootstrap

QUESTIONS = [
    Question(
        f"Question: What is {i}?\nAnswer:",
        (Option(" right", "correct"), Option(" wrong", "wrong"), Option(" I don't know.", "abstain")),
        id=f"q{i}",
    )
    for i in range(30)
]
BLIND = "cannot tell: the effect cannot be distinguished from that of a random direction"
STEERED, RANDOM = steering.setting("steered", 2.0), steering.setting("random", 2.0)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Enough for what is planted here."""
    monkeypatch.setattr(
        steering.statistics, "bootstrap", lambda *given, **how: bootstrap(*given, **how | {"draws": 39})
    )


def scores(steered, random=(0.3, 0.5, 0.2)) -> pd.DataFrame:
    """Scores of a model that answers with (0.3, 0.5, 0.2), and with these when steered or pushed; q0, q10, q20 stay."""
    planted = {steering.PLAIN: (0.3, 0.5, 0.2), STEERED: steered, RANDOM: random}

    def answers(name: str) -> pd.DataFrame:
        stays = planted[steering.PLAIN]
        return planted_answers(
            QUESTIONS, lambda question: np.array(stays if question.id.endswith("0") else planted[name])
        )

    return steering.read({name: answers(name) for name in planted})


def graded(right: int, wrong: int) -> pd.DataFrame:
    """Ten pairs of statements, graded so with certainty, but both sides of q0 with a 5."""
    made, grades = steering.statements(QUESTIONS[:10]), {1.0: right, 0.0: wrong}

    def grade(question: Question) -> int:
        return 5 if question.tags["pair"] == "q0" else grades[question.tags["level"]]

    return steering.graded(planted_answers(made, lambda question: np.eye(9)[grade(question) - 1]))


def test_what_is_learnt_from_is_not_tested_on():
    learn, test = steering.split(QUESTIONS, 4, seed=1)
    assert [question.id for question in learn + test] == [f"q{i}" for i in np.random.default_rng(1).permutation(30)]
    assert len(learn) == 4
    assert steering.split(QUESTIONS, 4, seed=2)[0] != learn


def test_attributions_are_summarised_by_token():
    made = partial(steering.Attribution, tokens=("<s>", "sun", " ", "moon", ":"), ids=(0, 1, 2, 3, 4), baseline=1.0)
    special = np.array([True, False, False, False, False])
    both = made("a", scores=np.array([9.0, 2.0, 0.5, -1.5, 4.0]), preference=15.0, special=special)
    none = made("b", scores=np.array([0.0, 1.0, 1.0, 0.0, 0.0]), preference=5.0, special=special)
    gaps = steering.completeness([both, none])
    assert gaps["gap"].tolist() == [0.0, 0.5] and gaps["tokens"].tolist() == [5, 5]
    strongest = steering.strongest_tokens([both, none])
    assert strongest["tokens"].tolist() == ["sun · ␣", "moon", "sun · ␣", "none: no token towards wrong"]
    assert strongest["side"].tolist() == ["towards right", "towards wrong"] * 2


def test_the_random_push_has_the_length_of_the_vectors():
    vectors = {1: np.array([3.0, 4.0]), 5: np.array([0.0, 1.0])}
    found = steering.settings(vectors, [-1.0, 2.0], seed=0)
    assert list(found) == ["none, α = 0", "steered, α = -1", STEERED, RANDOM]
    assert [alpha for _, alpha in found.values()] == [0.0, -1.0, 2.0, 2.0]
    assert found[STEERED][0] is vectors
    noise = np.random.default_rng(0).normal(size=2)
    assert found[RANDOM][0][1] == pytest.approx(5 * noise / np.linalg.norm(noise))
    assert np.linalg.norm(found[RANDOM][0][5]) == pytest.approx(1)


def test_what_steering_changes_is_measured():
    table = scores((0.6, 0.2, 0.2))
    assert len(table) == 90
    assert steering.items(table).loc["q1", f"DCS, {STEERED}"] == pytest.approx(0.6**2 - 0.2**2)
    means = steering.summary(table).set_index(["setting", "metric"])["mean"]
    assert means[steering.PLAIN, "dcs"] == pytest.approx(0.3**2 - 0.5**2)
    assert (means[steering.PLAIN, "accuracy"], means[STEERED, "accuracy"]) == (0, 0.9)
    found = steering.effects(table).set_index(["setting", "metric"])
    assert found.loc[(STEERED, "p_correct"), "mean"] == pytest.approx(0.9 * 0.3)
    assert found.loc[(STEERED, "p_abstain"), "mean"] == pytest.approx(0)
    assert found.loc[(RANDOM, "dcs"), "mean"] == pytest.approx(0)
    assert (found["p_adjusted"] >= found["p_permutation"]).all() and len(found) == 10
    assert "random direction" in steering.draw_effects(steering.effects(table)).get_label()


@pytest.mark.parametrize(
    ("steered", "random", "expected"),
    [
        ((0.6, 0.2, 0.2), (0.3, 0.5, 0.2), ["holds"] * 4),
        (
            (0.6, 0.2, 0.2),
            (0.6, 0.2, 0.2),
            [BLIND] * 2 + ["cannot tell"] * 2,
        ),
        (
            (0.1, 0.8, 0.1),
            (0.6, 0.2, 0.2),
            [BLIND] * 2 + ["does not hold"] * 2,
        ),
    ],
)
def test_steering_counts_only_beyond_a_random_push(steered, random, expected):
    table, auroc = scores(steered, random), steering.grading_auroc(graded(9, 1), seed=0)
    assert auroc["score"].tolist() == ["expected"]
    claims = steering.findings(table, steering.effects(table), auroc, 2.0)
    assert [claim.verdict for claim in claims] == [*expected, "holds"]


def test_perplexity_weighs_tokens():
    texts = {"plain": pd.DataFrame({"logprob": [-2 * np.log(2), -6 * np.log(4)], "n_tokens": [2, 6]})}
    found = steering.perplexity(texts, seed=0)
    assert found["mean"].to_numpy() == pytest.approx([2 ** ((2 + 12) / 8)]) and found["n"].tolist() == [2]


def test_statements_are_graded_in_pairs():
    right, wrong = steering.statements(QUESTIONS[:1])
    assert right.prompt_text.startswith("Statement: What is 0? right\nHow reliable")
    assert wrong.prompt_text.startswith("Statement: What is 0? wrong\n")
    assert (right.tags["level"], wrong.tags["level"], right.tags["pair"]) == (1.0, 0.0, "q0")
    found = graded(9, 3)
    assert found["predicted"].tolist() == [0.5, 0.5] + [1.0, 0.25] * 9
    assert found["level"].tolist() == [1.0, 0.0] * 10
    assert steering.grading_errors(found)["mae"].tolist() == [pytest.approx((1 + 9 * 0.25) / 20)]
    assert steering.grading_bins(found)["n"].tolist() == [9, 2, 9]
    auroc = steering.grading_auroc(found, seed=0).iloc[0]
    assert auroc["mean"] == pytest.approx(0.995) and auroc["verdict"].startswith("above chance")
    alike = steering.grading_auroc(graded(7, 7), seed=0).iloc[0]
    assert alike["mean"] == 0.5 and alike["verdict"].startswith("not distinguishable from chance")


LEVEL, PREDICTED = [0.1, 0.4, 0.6, 0.9, 1.0], [0.2, 0.4, 0.5, 0.8, 0.7]


def test_O_91_reliability_regression():
    found = steering.reliability_regression(LEVEL, PREDICTED)
    assert found["mae"] == pytest.approx(0.12)
    assert found["rmse"] == pytest.approx(0.154919, abs=1e-6)
    assert found["r2"] == pytest.approx(0.777778, abs=1e-6)
    assert found["spearman"] == pytest.approx(0.9)


def test_the_mean_explains_nothing():
    found = steering.reliability_regression(LEVEL, [0.6] * 5)
    assert found["r2"] == pytest.approx(0)
    assert found["mae"] == pytest.approx(found["mae_of_mean"])
    assert np.isnan(found["spearman"])


def test_unread_scores_are_counted_not_guessed():
    found = steering.reliability_regression(LEVEL, [0.2, np.nan, 0.5, 0.8, 0.7])
    assert (found["parse_failures"], found["n"]) == (0.2, 4)
    assert np.isnan(steering.reliability_regression([0.5, 0.5], [0.4, 0.6])["r2"])


def test_scores_out_of_range_are_refused_or_cut():
    with pytest.raises(InputError, match="predicted must lie"):
        steering.reliability_regression([0.5], [1.2])
    assert steering.reliability_regression([1.0], [1.2], clip=True)["mae"] == 0
    with pytest.raises(InputError, match="no score"):
        steering.reliability_regression([0.5], [np.nan])
    with pytest.raises(InputError, match="one number per item"):
        steering.reliability_regression([0.5], [0.5, 0.5])


def test_expected_score():
    found = steering.expected_score([[0.1, 0.3], [0, 0]], [0.2, 0.6])
    assert found == pytest.approx([0.5, np.nan], nan_ok=True)
    with pytest.raises(InputError, match="one value per score"):
        steering.expected_score([[0.5]], [0.1, 0.2])
