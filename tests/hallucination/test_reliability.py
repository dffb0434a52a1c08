import numpy as np
import pytest

from workbench.errors import InputError
from workbench.hallucination import steering

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
