import numpy as np
import pytest

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
def test_certain_answers_count_with_the_log_odds_of_one_in_a_trillion(method):
    conf, right, fit = np.array([0, 1, 0.4, 0.7, 0, 1]), [0, 1, 1, 0, 0, 1], np.arange(6) < 4
    certain = calibration_.recalibrate(conf, right, fit, method)
    np.testing.assert_array_equal(
        certain, calibration_.recalibrate(np.clip(conf, 1e-12, 1 - 1e-12), right, fit, method)
    )


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
