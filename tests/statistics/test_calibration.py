import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.metrics.calibration import expected_calibration_error as mapie_ece
from mapie.metrics.uncertainty import auroc as mapie_auroc
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from workbench.errors import InputError
from workbench.hallucination import distributional_correctness
from workbench.hallucination.risk_scores import risk_report
from workbench.statistics import calibration

CONFIDENCE = np.array([0.97, 0.93, 0.86, 0.81, 0.72, 0.66, 0.63, 0.54, 0.42, 0.31])
CORRECT = np.array([1, 1, 0, 1, 1, 0, 1, 0, 0, 0])
ON_EDGES = np.array([0.95, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.55, 0.4, 0.3])
DISTRIBUTIONS, GOLD = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]], [0, 2, 2]


@pytest.mark.parametrize(("bins", "expected"), [(5, 0.185), (10, 0.261), (15, 0.261)])
def test_O_30_ece(bins, expected):
    assert calibration.ece(CONFIDENCE, CORRECT, bins) == pytest.approx(expected, abs=1e-6)
    assert calibration.calibration_report(CONFIDENCE, CORRECT, bins).ece == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("bins", "expected"), [(5, 0.48), (10, 0.54)])
def test_O_31_mce_and_rmsce(bins, expected):
    report = calibration.calibration_report(CONFIDENCE, CORRECT, bins)
    assert report.mce == pytest.approx(expected, abs=1e-6)
    filled = report.bins.dropna()
    assert report.rmsce == pytest.approx(np.sqrt(np.average(filled["gap"] ** 2, weights=filled["n"])))
    assert report.ece <= report.rmsce <= report.mce


def test_O_32_adaptive_ece():
    assert calibration.adaptive_ece(CONFIDENCE, CORRECT, 5) == pytest.approx(0.205, abs=1e-6)
    assert mapie_ece(CORRECT, CONFIDENCE, num_bins=5, split_strategy="array split") == pytest.approx(0.205, abs=1e-6)


def test_adaptive_ece_does_not_depend_on_the_order_of_ties():
    conf, right = np.array([0.5] * 6 + [0.9] * 2), np.array([1, 1, 1, 0, 0, 0, 1, 0])
    assert calibration.adaptive_ece(conf, right, 4) == pytest.approx(
        calibration.adaptive_ece(conf[::-1], right[::-1], 4)
    )
    assert calibration.adaptive_ece(conf, right, 4) == pytest.approx(0.25 * 0.4)


def test_O_33_smooth_ece():
    assert calibration.smooth_ece(CONFIDENCE, CORRECT) == pytest.approx(0.184753, abs=1e-6)


def test_O_34_bias():
    assert calibration.calibration_report(CONFIDENCE, CORRECT).bias == pytest.approx(0.185, abs=1e-6)


def test_O_35_brier_of_confidences():
    assert calibration.brier(CONFIDENCE, CORRECT) == pytest.approx(0.19965, abs=1e-6)
    assert calibration.brier(CONFIDENCE, CORRECT) == pytest.approx(brier_score_loss(CORRECT, CONFIDENCE))


def test_O_36_brier_of_distributions():
    assert calibration.brier(DISTRIBUTIONS, GOLD) == pytest.approx(0.513333, abs=1e-6)


def test_O_37_nll():
    assert calibration.nll(CONFIDENCE, CORRECT) == pytest.approx(0.584153, abs=1e-6)
    assert calibration.nll(CONFIDENCE, CORRECT) == pytest.approx(log_loss(CORRECT, CONFIDENCE))
    assert calibration.nll(DISTRIBUTIONS, GOLD) == pytest.approx(0.825646, abs=1e-6)


def test_O_38_auroc():
    assert calibration.auroc(CONFIDENCE, CORRECT) == pytest.approx(0.84, abs=1e-6)
    assert mapie_auroc(CORRECT, CONFIDENCE) == pytest.approx(0.84, abs=1e-6)
    conf, right = np.random.default_rng(0).random((2, 300)).round(1)  # with ties in both, and fractions
    classes, weight = np.repeat([1, 0], 300), np.concatenate([right, 1 - right])
    expected = roc_auc_score(classes, np.tile(conf, 2), sample_weight=weight)
    assert calibration.auroc(conf, right) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [(5, 6), (10, 11), (15, 16)])
def test_mapie_counts_edges_where_others_count_bins(ours, theirs):
    same = mapie_ece(CORRECT, CONFIDENCE, num_bins=theirs, split_strategy="uniform")
    assert calibration.ece(CONFIDENCE, CORRECT, ours) == pytest.approx(same, abs=1e-6)
    literal = mapie_ece(CORRECT, CONFIDENCE, num_bins=15, split_strategy="uniform")
    assert literal == pytest.approx(0.373, abs=1e-6)
    assert calibration.ece(CONFIDENCE, CORRECT, 15) == pytest.approx(0.261, abs=1e-6)


def test_mapie_closes_bins_on_the_right_where_ours_are_closed_on_the_left():
    """On tenths every item lies on an edge or in mid-bin; in exact fractions [a, b) gives 0.26 and (a, b] 0.22."""
    assert calibration.ece(ON_EDGES, CORRECT, 10) == pytest.approx(0.26, abs=1e-6)
    assert mapie_ece(CORRECT, ON_EDGES, num_bins=11, split_strategy="uniform") == pytest.approx(0.22, abs=1e-6)


def test_edges_from_linspace_misplace_tenths():
    """Its fourth edge is 0.30000000000000004, so 0.3, 0.6 and 0.7 fall one bin too low: 0.20 instead of 0.26."""
    index = np.searchsorted(np.linspace(0, 1, 11), ON_EDGES, side="right") - 1
    assert np.abs(np.bincount(index, ON_EDGES - CORRECT)).sum() / 10 == pytest.approx(0.20)
    assert calibration.bin_table(ON_EDGES, CORRECT, 10)["n"].tolist() == [0, 0, 0, 1, 1, 1, 2, 1, 2, 2]


def test_certainty_shares_the_last_bin():
    """torchmetrics gives a confidence of exactly 1.0 a bin of its own, and would say 0.525 here."""
    assert calibration.ece([1.0, 0.95], [0, 1]) == pytest.approx(0.475)
    assert calibration.bin_table([1.0, 0.95], [0, 1])["n"].tolist() == [0] * 9 + [2]


@pytest.mark.parametrize("bins", [5, 10, 15, 20])
def test_every_edge_opens_its_own_bin(bins):
    edges = np.array([k / bins for k in range(bins)])
    assert calibration.bin_table(edges, np.ones(bins), bins)["n"].tolist() == [1] * bins


def test_bin_table():
    table = calibration.bin_table(CONFIDENCE, CORRECT, 5)
    assert table["n"].tolist() == [0, 1, 2, 3, 4]
    assert table["gap"].isna().tolist() == [True, False, False, False, False]
    assert table["accuracy_low"].isna()[0]
    last = table.iloc[-1]
    assert last["confidence"] == pytest.approx(0.8925)
    assert last["accuracy"] == pytest.approx(0.75)
    assert last["accuracy_low"] < 0.75 < last["accuracy_high"]


def test_one_class_has_no_auroc_and_says_why():
    report = calibration.calibration_report([0.4, 0.6], [1, 1])
    assert np.isnan(report.auroc)
    assert report.notes == {"auroc": "all answers are correct"}
    assert calibration.calibration_report([0.4, 0.6], [0, 1]).notes == {}
    assert report.metrics()["brier"] == pytest.approx((0.36 + 0.16) / 2)


def test_certain_errors_stay_finite():
    report = calibration.calibration_report([1.0, 0.0, 0.5], [0, 1, 1])
    assert np.isfinite(report.metrics()).all()


def test_a_split_credit_is_half_a_right_and_half_a_wrong_item():
    split, twice = ([0.8, 0.3], [0.5, 1]), ([0.8, 0.8, 0.3, 0.3], [0, 1, 1, 1])
    for metric in (calibration.brier, calibration.nll, calibration.auroc, calibration.ece):
        assert metric(*split) == pytest.approx(metric(*twice)), metric.__name__


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_errors_are_bounded_and_ordered(items, bins):
    conf, right = (np.array(column, float) for column in zip(*items))
    report = calibration.calibration_report(conf, right, bins)
    assert abs(report.bias) <= report.ece + 1e-12
    assert report.ece <= report.rmsce + 1e-12
    assert report.rmsce <= report.mce + 1e-12
    assert report.mce <= 1 + 1e-12
    assert report.bins["n"].sum() == len(items)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.ece([0.5], [1], bins=0), "bins must be at least 1"),
        (lambda: calibration.calibration_report([], []), "confidence is empty"),
        (lambda: calibration.calibration_report([np.nan], [1]), "confidence contains 1 NaN"),
        (lambda: calibration.calibration_report([1.2], [1]), "confidence must lie between"),
        (lambda: calibration.calibration_report([0.2], [2]), "correct must lie between"),
        (lambda: calibration.brier([[0.5, 0.6]], [0]), "add up to 1"),
        (lambda: calibration.brier([[0.5, 0.5]], [2]), "class numbers from 0 to 1"),
        (lambda: calibration.nll([[0.5, 0.5]], [0, 1]), "shapes"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_floats_of_one_number_share_a_bin_a_tie_and_a_target():
    low = np.array([0.3, 1 - 0.7, 0.1 + 0.2])
    assert calibration.ece(low, [1, 0, 0], 10) == pytest.approx(abs(low.sum() - 1) / 3)
    assert calibration.bin_table(low, [1, 0, 0], 10)["n"].tolist() == [0, 0, 0, 3, 0, 0, 0, 0, 0, 0]
    assert calibration.auroc(low, [0, 1, 0]) == 0.5
    assert calibration.aurc(low, [1, 0, 0]) == pytest.approx(2 / 3)
    assert distributional_correctness.confidence_target_score(low, [1, 1, 1], 0.3).tolist() == [0, 0, 0]
    assert distributional_correctness.confidence_target_score(low, [1, 1, 1], 1 - 0.7).tolist() == [0, 0, 0]
    half = [0.5, np.nextafter(0.5, 0), 0.49]
    assert risk_report(half, [1, 1, 0], ["accuracy"], draws=2)["mean"].tolist() == [1.0]


def test_a_uniform_guess_ranks_by_the_number_of_options_alone():
    options = np.repeat([2, 5], 50)
    result = 1 / options, 1 / options  # ties share the credit
    assert calibration.auroc(*result) > 0.6
    assert calibration.auroc(*result, strata=options) == 0.5
    rng = np.random.default_rng(0)
    coin = 1 / options + (1 - 1 / options) * rng.random(100), (rng.random(100) < 1 / options).astype(float)
    assert calibration.auroc(*coin, strata=options) == pytest.approx(0.5, abs=0.12)


def test_strata_weigh_by_their_pairs_and_leave_out_those_of_one_class():
    confidence, right, strata = [0.9, 0.2, 0.4, 0.8, 0.3, 0.99], [1, 0, 1, 0, 0, 1], ["a", "a", "b", "b", "b", "c"]
    assert calibration.auroc(confidence, right, strata) == pytest.approx((1 * 1 + 2 * 0.5) / 3)
    assert np.isnan(calibration.auroc([0.1, 0.2], [1, 0], ["a", "b"]))
