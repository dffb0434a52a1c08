import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.hallucination import benchmark_variance
from workbench.statistics import interval

SCORES = [[30, 34, 33, 38, 41], [29, 33, 36, 37, 43], [31, 32, 35, 39, 40]]
ITEMS = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]]


def test_O_60_seed_report():
    found = benchmark_variance.seed_report(SCORES)
    assert found.mean == pytest.approx(41.333333, abs=1e-6)
    assert found.seed_sd == pytest.approx(1.527525, abs=1e-6)
    assert found.sd_by_checkpoint == pytest.approx([1, 1, 1.527525, 1, 1.527525], abs=1e-6)
    assert found.seed_sd_mean == pytest.approx(1.211010, abs=1e-6)
    assert found.tau_by_seed == pytest.approx([0.8, 1, 1])
    assert found.monotonicity == pytest.approx(0.933333, abs=1e-6)
    assert found.snr == pytest.approx(27.059019, abs=1e-6)
    assert benchmark_variance.seed_report(SCORES, chance=25).snr_above_chance == pytest.approx(
        (41 + 1 / 3 - 25) / 1.527525, 1e-6
    )


def test_a_spread_of_rounding_errors_is_none():
    found = benchmark_variance.seed_report([[0.1 + 0.2], [0.3], [0.3]], chance=0.25)
    assert found.seed_sd == 0 and np.isnan(found.snr_above_chance) and "agree exactly" in found.notes["snr"]


def test_numbers_of_readings_have_intervals_over_questions():
    """Two benchmarks of 20 questions, read in two ways by three readers each: 40 units, however many rows."""
    rng = np.random.default_rng(0)
    rows = [
        {"benchmark": b, "reading": kind, "reader": f"{kind} {r}", "question_id": f"q{q}", "right": right}
        for b in "ab"
        for kind, shift in (("cloze", 0.0), ("letters", 0.35))
        for r in range(3)
        for q, right in enumerate((rng.random(20) < 0.3 + shift * (r - 0.5)).astype(float))
    ]
    items = pd.DataFrame(rows)
    found = benchmark_variance.over_questions(
        items, lambda t: benchmark_variance.reader_sd(t["letters"]) - benchmark_variance.reader_sd(t["cloze"])
    )
    means = items.groupby(["benchmark", "reading", "reader"])["right"].mean()
    spread = means.groupby(["benchmark", "reading"]).std().unstack()
    assert found["mean"] == pytest.approx((spread["letters"] - spread["cloze"]).mean())
    assert found["n"] == 40 and found["low"] < found["mean"] < found["high"]


def test_the_gain_of_pairing_is_that_of_the_paired_error():
    a, b = np.array([[1, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0]], float)
    errors = [interval(a - b)["se"], np.hypot(interval(a)["se"], interval(b)["se"])]
    assert benchmark_variance.pairing_gain([a, b]) == pytest.approx(errors[0] - errors[1]) and errors[0] < errors[1]
    assert benchmark_variance.half_width_gap([a, b]) == pytest.approx(
        1.96 * np.std([0.5, 1 / 3], ddof=1) - 1.96 * 0.5 / 6**0.5, abs=1e-4
    )


def test_O_61_analytic_and_bootstrap_intervals():
    assert benchmark_variance.analytic_half_width(0.62, 100) == pytest.approx(
        0.095136, abs=3e-6
    )  # with 1.96 for 1.959964
    items = np.repeat([1.0, 0.0], [62, 38])
    found = interval(items, method="bootstrap", draws=10_000, seed=0)
    assert (found["low"], found["high"]) == pytest.approx((0.52, 0.71), abs=0.0101)
    assert interval(items)["se"] == pytest.approx(0.048783, abs=1e-6)


def test_O_62_item_analysis():
    found = benchmark_variance.item_analysis(ITEMS)
    assert found["difficulty"].tolist() == pytest.approx([0.8333, 0.5, 0.5, 0.3333], abs=1e-4)
    assert found["item_total"].tolist() == pytest.approx([0.4889, 0.7809, 0.7809, 0.2209], abs=1e-4)
    assert found["item_rest"].tolist() == pytest.approx([0.1581, 0.4472, 0.4472, -0.2209], abs=1e-4)


def test_O_63_item_curves():
    assert benchmark_variance.item_curve(1, 1.5, 0.2) == pytest.approx(0.768525, abs=1e-6)
    assert benchmark_variance.item_curve(1, 1.5, 0.2, 0.25) == pytest.approx(0.826394, abs=1e-6)


def test_item_curves_find_the_harder_and_the_sharper_item():
    rng = np.random.default_rng(0)
    ability = rng.normal(size=400)
    a, b = np.array([2.5, 2.5, 0.4, 1.0, 1.0, 1.0]), np.array([-1.0, 1.0, 0.0, 0.0, 0.5, -0.5])
    correct = rng.random((400, 6)) < benchmark_variance.item_curve(ability[:, None], a, b)
    found = benchmark_variance.fit_item_curves(correct)
    assert found["b"][0] < found["b"][1]
    assert found["a"][2] < found["a"][0]


def test_one_seed_has_no_spread_and_says_so():
    found = benchmark_variance.seed_report([[1, 2, 3]])
    assert np.isnan([found.seed_sd, found.snr]).all() and found.monotonicity == 1
    assert "one seed" in found.notes["seed_sd"]
    flat = benchmark_variance.seed_report([[5, 5], [5, 5]])
    assert np.isnan([flat.monotonicity, flat.snr]).all()
    assert {"snr", "monotonicity"} <= set(flat.notes)


def test_a_constant_item_has_no_discrimination():
    assert np.isnan(benchmark_variance.item_analysis([[1, 0], [1, 1], [1, 0]])["item_rest"]).all()


def test_stable_items_agree_between_weak_and_strong_readers():
    rng = np.random.default_rng(0)
    ability = np.sort(rng.normal(size=300))
    a = np.repeat([0.05, 3.0], 20)
    correct = rng.random((300, 40)) < benchmark_variance.item_curve(ability[:, None], a, rng.normal(0, 0.3, 40))
    found = benchmark_variance.split_stability(correct, draws=20)
    assert found["weak_strong"] > 0.5
    assert found["items"] == 40
    noise = benchmark_variance.split_stability(rng.random((30, 40)) < 0.5, draws=20)
    assert abs(noise["random"]) < 0.3


def test_a_subset_of_all_items_ranks_as_they_do():
    rng = np.random.default_rng(0)
    correct = rng.random((8, 30)) < np.linspace(0.2, 0.9, 8)[:, None]
    whole = benchmark_variance.subset_ranking(correct, 30, draws=5)
    assert whole["tau"].tolist() == pytest.approx([1, 1])
    part = benchmark_variance.subset_ranking(correct, 5, draws=50)
    assert part["tau"][0] < 1


@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_monotonicity_turns_its_sign_with_the_scores(scores):
    one = benchmark_variance.seed_report(scores).monotonicity
    two = benchmark_variance.seed_report(-np.array(scores)).monotonicity
    assert (np.isnan(one) and np.isnan(two)) or one == pytest.approx(-two)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: benchmark_variance.seed_report([[1, np.nan]]), "missing or infinite"),
        (lambda: benchmark_variance.seed_report([1, 2]), "two dimensions"),
        (lambda: benchmark_variance.item_curve(0, 1, 0, 1), "guessing"),
        (lambda: benchmark_variance.split_stability(ITEMS[:4]), "cannot be split"),
        (lambda: benchmark_variance.subset_ranking(ITEMS, 9), "cannot be taken"),
        (lambda: benchmark_variance.fit_item_curves([[0.5]]), "0 and 1"),
        (lambda: benchmark_variance.analytic_half_width(0.5, 0), "at least 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
