"""Entropy and distances against scipy, and what they are at their ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy
from scipy.stats import wasserstein_distance

from workbench.statistics import icc
from workbench.statistics.distances import entropy, js, kl, tv, w1

WEIGHTS = st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda x: sum(x) > 1e-3)


@given(WEIGHTS, WEIGHTS)
def test_distances_are_those_of_scipy(a, b):
    p, q = (np.array(x) / sum(x) for x in (a, b))
    at = [3.0, 0.0, 1.0, 7.0]
    assert entropy(p) == pytest.approx(scipy_entropy(p), abs=1e-12)
    assert kl(p, q) == pytest.approx(scipy_entropy(p, q), abs=1e-9)
    assert js(p, q) == pytest.approx(np.nan_to_num(jensenshannon(p, q)) ** 2, abs=1e-9)
    assert w1(p, q, at) == pytest.approx(wasserstein_distance(at, at, p, q), abs=1e-9)
    assert tv(p, q) == pytest.approx(np.maximum(p - q, 0).sum())
    rows = np.stack([p, q])
    for result in (tv(rows, rows[::-1]), js(rows, rows[::-1]), w1(rows, rows[::-1], at)):
        assert result[0] == pytest.approx(result[1], abs=1e-12)


def test_ends():
    one, other = [1.0, 0.0], [0.0, 1.0]
    assert (entropy(one), entropy([0.5, 0.5])) == (0, pytest.approx(np.log(2)))
    assert tv(one, other) == 1 and js(one, other) == pytest.approx(np.log(2)) and kl(one, other) == np.inf
    assert entropy([0.5, 0.5, np.nan]) == pytest.approx(np.log(2)) and js(one, one) == 0


def test_icc_of_the_table_of_shrout_and_fleiss():
    """Six targets and four judges (Shrout and Fleiss 1979, table 2): ICC(2,1), ICC(3,1) and ICC(3,k)."""
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    result = icc(ratings)
    assert (result["agreement"], result["consistency"]) == (
        pytest.approx(0.29, abs=5e-3),
        pytest.approx(0.71, abs=6e-3),
    )
    assert result["consistency_k"] == pytest.approx(0.91, abs=5e-3)
    assert result["targets"] + result["raters"] + result["rest"] == pytest.approx(1)
    assert np.isnan(list(icc(np.ones((3, 2))).values())).all()
