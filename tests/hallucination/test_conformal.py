import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nhypergeom

from workbench.errors import InputError
from workbench.hallucination import conformal

CALIBRATION = [
    *(0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4),
    *(0.35, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05),
]
CORRECT = [1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
TEST = [0.97, 0.92, 0.78, 0.55, 0.28]
LABELS = [0.3, 0.5, 0.65, 0.8, 0.95, 1.1, 1.4, 1.6, 2.0]


def batch_coverage(n, m, rank, k):
    """P(the rank-th smallest of m new scores <= the k-th smallest of n calibration scores), without ties."""
    bound = conformal.batch_quantile_bound(range(n), m, rank, alpha=1 - nhypergeom(n + m, n, rank).cdf(k - 1))
    assert bound.k == k
    return bound.coverage


def test_O_87_batch_coverage():
    assert batch_coverage(99, 5, 5, 97) == pytest.approx(0.861316, abs=1e-6)
    assert batch_coverage(99, 5, 3, 60) == pytest.approx(0.679228, abs=1e-6)
    assert batch_coverage(99, 1, 1, 90) == pytest.approx(90 / 100)
    simultaneous = np.prod([(97 + i) / (100 + i) for i in range(5)])
    assert batch_coverage(99, 5, 5, 97) == pytest.approx(simultaneous)


def test_O_87_batch_quantile_bound():
    scores = np.arange(1.0, 100.0)
    worst, median = (conformal.batch_quantile_bound(scores, 5, rank) for rank in (5, 3))
    assert (worst.k, worst.bound, worst.coverage) == (98, 98.0, pytest.approx(0.905713, abs=1e-6))
    assert (median.k, median.coverage) == (76, pytest.approx(0.901703, abs=1e-6))
    assert conformal.batch_quantile_bound([1, 2], 5, 5).bound == np.inf


def test_O_88_label_powerset():
    o = [0.9, 0.6, 0.2]
    everything = conformal.label_powerset_sets(LABELS, o, 0.0).sets
    numbers_of = {labels: [alpha, p] for labels, alpha, p in everything.to_numpy()}
    expected = {"110": (0.7, 0.7), "100": (0.9, 0.6), "111": (1.3, 0.4), "010": (1.5, 0.3), "101": (1.5, 0.3)}
    expected |= {"000": (1.7, 0.2), "011": (2.1, 0.1), "001": (2.3, 0.1)}
    for name, numbers in expected.items():
        assert numbers_of[tuple(map(int, name))] == pytest.approx(numbers), name
    found = conformal.label_powerset_sets(LABELS, o, 0.35)
    assert found.sets["labels"].tolist() == [(1, 1, 0), (1, 0, 0), (1, 1, 1)]
    assert (found.point, found.credibility, found.confidence) == ((1, 1, 0), pytest.approx(0.7), pytest.approx(0.4))


def test_O_89_conformal_selection():
    found = conformal.conformal_select(CALIBRATION, CORRECT, TEST, 0.1)
    assert found["p"].tolist() == pytest.approx([0.05, 0.05, 0.05, 0.10, 0.25])
    assert found["p_adjusted"].tolist() == pytest.approx([0.0833, 0.0833, 0.0833, 0.125, 0.25], abs=1e-4)
    assert found["selected"].sum() == 3
    assert conformal.conformal_select(CALIBRATION, CORRECT, TEST, 0.2)["selected"].sum() == 4


def test_impossible_selections_say_so():
    nothing = conformal.conformal_select(CALIBRATION, CORRECT, TEST, 0.01)
    assert not nothing["selected"].any() and "nothing can be released" in nothing.attrs["note"]
    assert "fewer than 3" in conformal.conformal_select(CALIBRATION, CORRECT, TEST, 0.1).attrs["note"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.sampled_from([1.0, 2.0]))
@settings(max_examples=60, deadline=None)
def test_best_first_finds_all_sets_in_order(o, d):
    found = list(conformal.best_first(np.array(o), d))
    assert {labels for labels, _ in found} == set(itertools.product((0, 1), repeat=len(o)))
    assert len(found) == 2 ** len(o)
    alphas = [alpha for _, alpha in found]
    assert (np.diff(alphas) >= -1e-9).all()
    for labels, alpha in found:
        assert alpha == pytest.approx(float(conformal.label_nonconformity(labels, o, d)), abs=1e-9)


def test_a_hundred_labels_are_no_obstacle():
    o = np.where(np.arange(100) % 3 == 0, 0.97, 0.03)
    found = conformal.label_powerset_sets(np.linspace(2.9, 4, 39), o, 0.1)
    assert 1 <= len(found.sets) < 5000


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_batch_bounds_hold_as_often_as_they_say(m, below, seed):
    rank = max(1, m - below)
    rng = np.random.default_rng(seed)
    bound = conformal.batch_quantile_bound(np.arange(1.0, 61.0), m, rank, 0.2)
    held = []
    for _ in range(400):
        scores = rng.random(60 + m)
        held.append(np.sort(scores[60:])[rank - 1] <= np.sort(scores[:60])[bound.k - 1])
    assert abs(np.mean(held) - bound.coverage) < 4 * np.sqrt(0.25 / 400)


def test_batch_bounds_over_200_splits():
    scores = np.random.default_rng(0).exponential(size=300)
    covered = conformal.batch_bounds_repeatedly(scores, 5, 5, 0.1, splits=200)["covered"]
    assert covered.mean() >= 0.9 - 3 * np.sqrt(0.09 / 200)


def test_ties_keep_the_bound():
    scores = np.random.default_rng(0).integers(0, 3, 300).astype(float)
    assert conformal.batch_bounds_repeatedly(scores, 5, 3, 0.1, splits=200)["covered"].mean() >= 0.85


def test_label_sets_cover_the_true_set():
    rng = np.random.default_rng(0)
    o = rng.beta(0.7, 0.7, size=(600, 5))
    truth = (rng.random((600, 5)) < o).astype(int)
    scores = conformal.label_nonconformity(truth, o)
    covered = []
    for split in range(200):
        order = np.random.default_rng(split).permutation(600)
        cal, test = order[:99], order[99]
        found = conformal.label_powerset_sets(scores[cal], o[test], 0.2)
        covered.append(tuple(truth[test]) in set(found.sets["labels"]))
    assert np.mean(covered) >= 0.8 - 3 * np.sqrt(0.16 / 200)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal.conformal_select(CALIBRATION, CORRECT[1:], TEST, 0.1), "correct must hold 19"),
        (lambda: conformal.conformal_select([], [], TEST, 0.1), "calibration must contain"),
        (lambda: conformal.conformal_select(CALIBRATION, CORRECT, [np.nan], 0.1), "test must contain"),
        (lambda: conformal.conformal_select(CALIBRATION, CORRECT, TEST, 1.1), "q must be"),
        (lambda: conformal.batch_quantile_bound([1], 2, 3), "rank must"),
        (lambda: conformal.batch_bounds_repeatedly([1, 2], 2, 1), "m must"),
        (lambda: conformal.label_powerset_sets(LABELS, [1.5]), "probabilities must lie"),
        (lambda: conformal.label_powerset_sets([100.0] * 9, [0.5] * 12, 0.01, limit=10), "take a larger one"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
