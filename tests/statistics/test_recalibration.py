import numpy as np
import pytest
import scipy

from workbench.errors import InputError
from workbench.statistics import calibration as calibration_

RNG = np.random.default_rng(0)
TRUE = RNG.uniform(0.05, 0.95, 4000)
CORRECT = RNG.random(4000) < TRUE
OVERCONFIDENT = 1 / (1 + (1 / TRUE - 1) ** 3)
HALF = np.arange(4000) < 2000


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_recalibration_lowers_the_error_of_held_out_items(method):
    result = calibration_.recalibrate(OVERCONFIDENT, CORRECT, HALF, method)
    assert result.shape == (2000,)
    assert calibration_.ece(OVERCONFIDENT[~HALF], CORRECT[~HALF]) > 0.1
    assert calibration_.ece(result, CORRECT[~HALF]) < 0.05


def test_the_applied_temperature_is_recovered():
    result = calibration_.recalibrate(OVERCONFIDENT, CORRECT, HALF, "temperature")
    np.testing.assert_allclose(result, TRUE[~HALF], atol=0.03)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_oracle_scaling_maximises_the_likelihood_of_the_items_to_fit_on(method):
    """Certain answers count with the log-odds of 1e-12 and 1 - 1e-12."""
    conf = np.array([0.0, 0.1, 0.3, 0.45, 0.6, 0.8, 0.9, 1.0, 0.2, 0.7, 0.0, 1.0])
    right, fit = np.array([0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 1]), np.arange(12) < 8
    odds = scipy.special.logit(np.clip(conf, 1e-12, 1 - 1e-12))

    def loss(free):
        scores = free[0] * odds[fit] + (free[1] if method == "platt" else 0)
        return np.sum(np.logaddexp(0, scores) - right[fit] * scores)

    slope, shift = scipy.optimize.minimize(
        loss, [0.1, 0.1], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    ).x
    expected = scipy.special.expit(slope * odds[~fit] + (shift if method == "platt" else 0))
    assert calibration_.recalibrate(conf, right, fit, method) == pytest.approx(expected, abs=1e-4)


def test_oracle_isotonic_steps():
    conf, right = [0.1, 0.2, 0.3, 0.4, 0.05, 0.25, 0.45], [0, 1, 0, 1, 1, 0, 0]
    result = calibration_.recalibrate(conf, right, np.arange(7) < 4, "isotonic")
    assert result.tolist() == [0, 0.5, 1]


def test_one_correct_item_is_enough_to_fit_on():
    assert len(calibration_.recalibrate([0.2, 0.6, 0.5], [0, 1, 0], [True, True, False], "isotonic")) == 1


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_held_out_labels_are_never_seen(method):
    changed = np.where(HALF, CORRECT, ~CORRECT)
    one, two = (calibration_.recalibrate(OVERCONFIDENT, y, HALF, method) for y in (CORRECT, changed))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("calibration", "correct", "message"),
    [
        ([True] * 4, [0, 1, 0, 1], "change the split"),
        ([False] * 4, [0, 1, 0, 1], "change the split"),
        ([True, True, False, False], [1, 1, 0, 1], "change the split"),
        ([True, False], [0, 1, 0, 1], "calibration must contain 4"),
    ],
)
def test_a_split_that_cannot_work_is_refused(calibration, correct, message):
    with pytest.raises(InputError, match=message):
        calibration_.recalibrate([0.2, 0.4, 0.6, 0.8], correct, calibration)


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match="Did you mean 'platt'"):
        calibration_.recalibrate([0.2, 0.4], [0, 1], [True, False], "plat")
