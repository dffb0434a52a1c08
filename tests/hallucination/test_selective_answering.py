"""What the notebook on selective answering computes, on respondents whose knowledge is known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from workbench.answers import probabilities
from workbench.errors import InputError
from workbench.hallucination import conformal, weak_supervision
from workbench.hallucination import selective_answering as selective
from workbench.planted import planted_answers
from workbench.questions import Option, Question
from workbench.statistics import bootstrap, wilson
from workbench.statistics.calibration import auroc

N, SPLITS = 120, 20
RIGHT = np.arange(N) % 4 > 0
BEST = np.where(RIGHT, 0.7, 0.4) + 0.001 * (np.arange(N) % 7)
"""Probability of the best option: those of right and of wrong answers do not overlap."""


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """Enough for what is planted here."""
    monkeypatch.setattr(
        selective.statistics, "bootstrap", lambda *samples, draws, **how: bootstrap(*samples, draws=39, **how)
    )


def answers(best=BEST, right=RIGHT) -> pd.DataFrame:
    """Questions with four options; the best is the right one where `right` says so, else the second best is."""
    texts = (" a", " b", " c", " d")
    questions = [
        Question(
            f"Question {i}?",
            tuple(Option(text, "correct" if k == (i + (not good)) % 4 else "wrong") for k, text in enumerate(texts)),
            {"benchmark": "made up"},
            id=str(i),
        )
        for i, good in enumerate(right)
    ]
    shape = np.array([0.0, 0.5, 0.3, 0.2])
    p = {str(i): np.roll(np.where(shape, shape * (1 - b), b), i) for i, b in enumerate(best)}
    return planted_answers(questions, lambda question: p[question.id])


@pytest.fixture(scope="module")
def readings() -> dict[str, pd.DataFrame]:
    return selective.readings([answers()])


@pytest.fixture(scope="module")
def items(readings) -> pd.DataFrame:
    return selective.items(readings)


def test_items_hold_confidence_certainty_and_their_benchmark(items):
    assert items["correct"].tolist() == RIGHT.tolist()
    assert items["question_id"].tolist()[:2] == ["made up 0", "made up 1"]
    for name in selective.NORMALISATIONS:  # all options are equally long
        assert items[f"confidence ({name})"].to_numpy()[:2] == pytest.approx(BEST[:2]) or name == "chars"
    p = np.array([0.4, 0.3, 0.18, 0.12])
    assert items["certainty"].iloc[0] == pytest.approx((p * np.log(p)).sum())


def test_a_score_that_ranks_releases_the_right_answers_and_keeps_the_bound(items):
    levels = [0.2, 0.5]
    runs = selective.releases(items, levels, SPLITS, seed=0)
    assert len(runs) == len(levels) * len(selective.CHOICES) * SPLITS
    released = selective.released(runs)
    table = released.set_index(["q", "choice", "metric"])["mean"]
    assert table[0.2, "optimised", "power"] > 0.9
    assert (table.xs("error_rate", level="metric") <= [0.2] * 3 + [0.5] * 3).all()
    assert selective.error_rate_at(released, 0.5)["mean"] == table[0.5, "optimised", "error_rate"]
    kept = selective.release_table(released, items)
    assert (kept["splits"] == SPLITS).all() and (kept["items"] == N).all()
    words = selective.release_summary(released, items)
    assert len(words) == 6 and words["error rate among released answers"].str.contains("[", regex=False).any()
    found = selective.release_findings(runs, released, 0.2)
    assert [finding.estimate for finding in found[:3]] == table[0.2].xs("error_rate", level="metric").loc[
        list(selective.CHOICES)
    ].tolist()
    assert not any(finding.verdict == "does not hold" for finding in found)
    assert "q = 0.2;" in found[3].claim and found[3].estimate == pytest.approx(
        table[0.2, "optimised", "power"] - table[0.2, "split", "power"]
    )
    assert "below the diagonal" in selective.draw_error_rate(released, "splits").get_label()
    assert selective.draw_power(released).get_label().startswith("Proportion of correct answers")


def test_one_split_says_why_nothing_is_released(items):
    parted = items.assign(part=conformal.split_parts(N, seed=0))
    table = selective.one_split(parted, [0.001, 0.3]).set_index(["q", "choice"])
    assert (table.loc[0.001, "released"] == 0).all() and table.loc[0.001, "note"].str.contains("no p-value").all()
    assert (table.loc[0.3, "released"] > 0).all() and (table["answers"] == 48).all()


def test_batch_bounds_and_label_sets_hold_as_promised(readings):
    batches = selective.batch_bounds(readings["none"], 3, 0.2, SPLITS, seed=0)
    assert batches["of the batch"].tolist() == ["median", "worst"] and (batches["items"] == N).all()
    assert batches["bound"].is_monotonic_increasing and (batches["covered"] >= 0.5).all()
    low, high = wilson(batches["covered"] * SPLITS, SPLITS)
    assert batches[["low", "high"]].to_numpy() == pytest.approx(np.column_stack([low, high]))
    pd.testing.assert_frame_equal(batches, selective.batch_bounds(readings["none"], 3, 0.2, SPLITS, seed=0))
    sets = selective.label_sets(readings["tokens"], 0.2, SPLITS, seed=0)
    by = sets.set_index("metric")["mean"]
    assert by["covered"] >= 0.5 and by["share_of_all"] == pytest.approx(by["sets"] / 16)
    found = selective.guarantee_findings(batches, sets, 0.2)
    assert [finding.estimate for finding in found] == [*batches["covered"], by["covered"]]
    assert all(finding.n == SPLITS and "−" not in finding.rule for finding in found)


def test_questions_with_more_options_are_left_out_of_the_label_sets():
    def respond(question):
        return np.full(len(question.options), 1 / len(question.options))

    roles = ["correct", "wrong"]
    made = [
        Question("?", tuple(Option(f" {k}", roles[k % 2]) for k in range(size)), {}, id=str(i))
        for i, size in enumerate([4] * 10 + [9])
    ]
    reading = probabilities(planted_answers(made, respond))
    assert (selective.label_sets(reading, 0.5, 3, seed=0)["items"] == 10).all()


def test_four_options_come_in_order_of_probability(readings):
    found = selective.four_options(readings["none"])
    assert found.p[0] == pytest.approx([0.4, 0.3, 0.18, 0.12])
    assert (found.right[:, 0] == RIGHT).all() and (found.right[:, 1] == ~RIGHT).all()
    assert found.features.shape == (N, 12) and (found.features[:, 4:8] == 1).all()


def test_entropy_finds_errors_where_confidence_separates_them(readings):
    table, more = selective.consistency(selective.four_options(readings["none"]), seed=0)
    by = table.set_index("uncertainty")
    assert by.loc["entropy", "mean"] == 1 and by.loc["learnt residual", "mean"] > 0.9
    assert more["mean"] == pytest.approx(by.loc["discrepancy (SDS)", "mean"] - 1)
    beside = pd.DataFrame({"mean": [0.9, 0.5, 0.5, 0.4, 0.3], "low": [0.8, 0.4, 0.4, 0.2, -0.1], "high": 1.0, "n": 50})
    found = selective.error_findings(beside, table, more)
    assert [finding.estimate for finding in found] == [0.3, by["mean"].iloc[0], more["mean"]]
    assert found[0].verdict == "cannot tell"


def test_a_verifier_that_knows_makes_every_attempt_worth_it():
    right = np.tile([[True, False, True, False]], (6, 1))
    knows, blind = selective.Sampled(right, right), selective.Sampled(~right, right)
    assert selective.verifier(knows).iloc[0].tolist() == [1, 1, 0.5, 1]
    best, curves = selective.attempts(knows, [0.0, -4.0])
    assert best["attempts"].tolist() == [3, 3] and best["value"].tolist() == [1, 1] and (best["n"] == 3).all()
    first = curves[curves["V"] == "V = -4"].set_index("k")["mean"]
    assert first.tolist() == pytest.approx([0, 0.5, 5 / 6, 1, 1])
    best, curves = selective.attempts(blind, [-1.0])
    assert best["attempts"].tolist() == [0] and curves["mean"].min() == -1
    assert selective.draw_attempts(curves).get_label().startswith("Value per question")


def test_samples_follow_the_model_and_the_verifier_its_reading_by_token(readings):
    found = selective.sampled(readings, 50, seed=0)
    assert found.right.shape == (N, 50)
    assert found.right.mean() == pytest.approx(np.where(RIGHT, BEST, (1 - BEST) / 2).mean(), abs=0.03)
    certain = RIGHT & (BEST > 0.6)  # only the best option has more than a quarter
    assert (found.accepted[certain] == found.right[certain]).all()


def test_voters_rules_and_what_the_model_said():
    people = pd.DataFrame({"PID": [0.0, 3.0, 6.0], "selfLR": [4.0, 7.0, 1.0], "income": [12.0, 11.0, 21.0]})
    silent = weak_supervision.ABSTAINS
    assert weak_supervision.voter_rules(people).tolist() == [[0, silent, silent], [silent, 1, 0], [1, 0, 1]]
    assert weak_supervision.predicted(pd.Series([0.49, 0.5 - 1e-14, 0.5, 0.7])).tolist() == [0, 1, 1, 1]


def test_polar_tells_each_scalariser_apart_by_the_wrong_answers_it_finds():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(150, 2))
    truth = (x[:, 0] > 0).astype(int)
    said = np.where(draw.random(150) < 0.7, truth, 1 - truth)
    table = weak_supervision.polar(x, said, truth[:, None], truth)
    assert table["scalariser"].tolist() == list(weak_supervision.SCALARISERS)
    assert (table["error_rate"] == (said != truth).mean()).all() and (table["predicted 1"] == said.mean()).all()
    assert (table.loc[table["scalariser"] != "chebyshev", "auroc"] > 0.8).all()


PRIOR, RATE = [0.58, 0.42], [0.87, 0.13]


def expected_value(prior, rate, completeness, soundness, cost, k):
    """Of at most k attempts, when tasks of type t are solved with rate r_t; the prior weighs types once."""
    good, bad = completeness * np.array(rate), (1 - soundness) * (1 - np.array(rate))
    accepted = good + bad
    gain = np.divide(good + cost * bad, accepted, out=np.zeros(len(good)), where=accepted > 0)
    return (np.array(prior) * gain * (1 - (1 - accepted) ** np.asarray(k, float)[..., None])).sum(axis=-1)


def best(prior, rate, completeness, soundness, cost, most=200):
    """The best number of attempts, its value, and the values of 0 to `most` attempts."""
    values = expected_value(prior, rate, completeness, soundness, cost, np.arange(most + 1))
    k = selective.fewest_best(values)
    return k, values[k], values


def first_accepted_value(index, right, cost, most):
    """Mean over items of stopping at the first accepted attempt, for at most 1 ... `most` attempts."""
    reward = np.where(np.array(right) == 1, 1.0, cost)
    return np.where(np.array(index)[:, None] <= np.arange(1, most + 1), reward[:, None], 0.0).mean(axis=0)


@pytest.mark.parametrize(
    ("cost", "k", "value", "other", "value_there"),
    [
        (-0.7, 3, 0.5246, 1, 0.4821),
        (-1, 2, 0.4724, 15, 0.4326),
        (-2, 1, 0.3388, 15, 0.1493),
        (-4, 1, 0.1184, 2, -0.0426),
    ],
)
def test_O_85_optimal_number_of_attempts(cost, k, value, other, value_there):
    best_k, best_value, values = best(PRIOR, RATE, 1, 0.75, cost)
    assert best_k == k
    assert [best_value, values[other]] == pytest.approx([value, value_there], abs=5e-5)


def test_O_85_precision_of_accepting():
    right, wrong = np.array(RATE), 0.25 * (1 - np.array(RATE))
    assert right / (right + wrong) == pytest.approx([0.963989, 0.374101], abs=1e-6)


@pytest.mark.parametrize(("cost", "k", "theirs"), [(-0.7, 3, 0.5541), (-1, 2, 0.4884), (-2, 1, 0.3388)])
def test_the_posterior_is_not_used_twice(cost, k, theirs):
    accepted = np.array(RATE) + 0.25 * (1 - np.array(RATE))
    gain = np.array(RATE) + cost * 0.25 * (1 - np.array(RATE))
    weights, value = np.array(PRIOR), 0.0
    for _ in range(k):
        value += weights @ gain
        weights = weights * (1 - accepted)
    ours = expected_value(PRIOR, RATE, 1, 0.75, cost, k)
    assert ours == pytest.approx(value)
    assert (abs(ours - theirs) > 1e-3) == (k > 1)


def test_O_86_first_accepted():
    index, right = [1, 2, 1, 5, np.nan, 3], [1, 0, 1, 0, 0, 1]
    free = first_accepted_value(index, right, 0, 6)
    dear = first_accepted_value(index, right, -1, 6)
    assert free == pytest.approx([0.3333, 0.3333, 0.5, 0.5, 0.5, 0.5], abs=1e-4)
    assert dear == pytest.approx([0.3333, 0.1667, 0.3333, 0.3333, 0.1667, 0.1667], abs=1e-4)
    assert dear.argmax() + 1 == 1


def test_sampled_values_are_the_mean_over_all_orders():
    accepted, right = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])
    curves = []
    for order in itertools.permutations(range(4)):
        hits = [i for i in range(4) if accepted[0, order[i]]]
        index = hits[0] + 1 if hits else np.nan
        curves.append(first_accepted_value([index], [right[0, order[hits[0]]]], -1.5, 4))
    found = selective.sampled_values(accepted, right, -1.5)[0]
    assert found[0] == 0
    assert found[1:] == pytest.approx(np.mean(curves, axis=0))


def test_sampled_values_come_to_the_expected_value():
    rng = np.random.default_rng(0)
    rate = rng.choice(RATE, 4000, p=PRIOR)[:, None]
    right = rng.random((4000, 12)) < rate
    accepted = right | (rng.random((4000, 12)) < 0.25)
    values = selective.sampled_values(accepted, right, -1).mean(axis=0)
    assert values[:6] == pytest.approx(expected_value(PRIOR, RATE, 1, 0.75, -1, np.arange(6)), abs=0.03)
    assert selective.fewest_best(values) in (1, 2, 3)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(-5, 0), st.floats(-5, 0))
@settings(max_examples=80, deadline=None)
def test_a_costlier_error_never_raises_the_value(rate, completeness, soundness, cost, more):
    cheap, dear = max(cost, more), min(cost, more)
    one, two = (best([1], [rate], completeness, soundness, v, 20)[1] for v in (cheap, dear))
    assert two <= one + 1e-9
    assert one >= 0


def split_point(residuals):
    """The split of residuals, and the mean absolute residual that self-consistency asks for."""
    r = np.asarray(residuals, float)
    up, down, mar = r[r > 0].mean(), -r[r < 0].mean(), np.abs(r).mean()
    consistent, sds = 2 * up * down / (up + down), abs(2 * up * down - mar * (up + down))
    return {"m_up": up, "m_down": down, "mar": mar, "mar_consistent": consistent, "sds": sds}


def test_O_81_split_point():
    found = split_point([-3, -1, -1, 1, 4])
    assert [found[name] for name in ("m_up", "m_down", "mar")] == pytest.approx([2.5, 5 / 3, 2])
    assert found["mar_consistent"] == pytest.approx(2)
    assert found["sds"] == pytest.approx(0, abs=1e-9)


def test_O_82_zero_residuals_break_the_identity():
    found = split_point([-2, -1, 0, 3])
    assert (found["mar"], found["mar_consistent"]) == (1.5, 2)
    assert found["sds"] > 0


def test_O_83_discrepancy_of_classes():
    p = [[0.7, 0.2, 0.1]]
    assert selective.spc_mar(p) == pytest.approx(np.array([[0.42, 0.32, 0.18]]))
    assert selective.spc_sds(p, [[0.5, 0.4, 0.2]]) == pytest.approx([0.18])


def test_O_84_correction():
    p, q = np.array([0.7]), np.array([0.55])
    u, d = q * (1 - p), p * (1 - q)  # the halves of a stated probability p of an event of true probability q
    assert (u[0], d[0]) == pytest.approx((0.165, 0.315))
    assert u + d == pytest.approx([0.48])
    assert selective.spc_correct([0.7], u, d, u + d) == pytest.approx([0.55])
    assert selective.spc_correct([0.7], u, d, u + d + 0.06) == pytest.approx([0.7])


def test_a_corrected_distribution_adds_up_to_one():
    p, q = np.array([[0.7, 0.2, 0.1]]), np.array([[0.4, 0.35, 0.25]])
    u, d = q * (1 - p), p * (1 - q)
    found = selective.spc_correct(p, u, d, u + d)
    assert found.sum() == pytest.approx(1)
    assert found == pytest.approx(q)


@given(st.lists(st.integers(-9, 9).filter(bool), min_size=2, max_size=30))
@settings(max_examples=80, deadline=None)
def test_identity_holds_for_residuals_of_mean_zero(values):
    residuals = np.array(values, float)
    residuals = residuals - residuals.mean()
    if (np.abs(residuals) < 1e-9).any():
        return
    found = split_point(residuals)
    assert found["mar"] == pytest.approx(found["mar_consistent"])


def test_discrepancy_finds_errors_of_digits():
    digits = load_digits()
    x, y = digits.data, digits.target
    model = LogisticRegression(C=1e-4, max_iter=200).fit(x[:400], y[:400])
    p = model.predict_proba(x)
    fit = np.arange(len(x)) < 1100
    mar = selective.fit_mar(np.column_stack([x, np.log(p + 1e-9)]), p, y, fit)
    wrong = (p.argmax(axis=1) != y)[~fit]
    assert mar.shape == p.shape
    assert auroc(np.clip(selective.spc_sds(p, mar)[~fit] / 2, 0, 1), wrong) > 0.55


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selective.sampled_values([[1]], [[1]], 0.5), "cost must be"),
        (lambda: selective.sampled_values([[1]], [[1, 0]], -1), "same shape"),
        (lambda: selective.spc_sds([[0.5, 0.4]], [[0, 0]]), "add up to 1"),
        (lambda: selective.spc_sds([[0.5, 0.5]], [[0]]), "mar has shape"),
        (lambda: selective.fit_mar([[1.0]], [[0.5, 0.5]], [0], [True]), "at least two"),
        (lambda: selective.spc_correct([0.5], [0.1], [0.1], [np.nan]), "finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
