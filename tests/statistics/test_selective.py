import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.metrics.uncertainty import auarc as mapie_auarc

from workbench.errors import InputError
from workbench.statistics import calibration

CONFIDENCE = np.array([0.97, 0.93, 0.86, 0.81, 0.72, 0.66, 0.63, 0.54, 0.42, 0.31])
CORRECT = np.array([1, 1, 0, 1, 1, 0, 1, 0, 0, 0])


def test_O_39_aurc():
    result = calibration.risk_coverage(CONFIDENCE, CORRECT)
    assert result.aurc == pytest.approx(0.272183, abs=1e-6)
    assert result.aurc - result.e_aurc == pytest.approx(0.177183, abs=1e-6)
    assert result.e_aurc == pytest.approx(0.095, abs=1e-6)
    assert calibration.aurc(CONFIDENCE, CORRECT) == result.aurc


def test_O_40_auarc():
    assert calibration.risk_coverage(CONFIDENCE, CORRECT).auarc == pytest.approx(0.727817, abs=1e-6)
    assert mapie_auarc(CORRECT, CONFIDENCE) == pytest.approx(0.727817, abs=1e-6)


def test_O_41_augrc():
    assert calibration.risk_coverage(CONFIDENCE, CORRECT).augrc == pytest.approx(0.19, abs=1e-6)


@pytest.mark.parametrize(("coverage", "expected"), [(0.5, 0.8), (0.3, 0.666667), (0.7, 0.714286), (0, 1), (1, 0.5)])
def test_O_42_selective_accuracy(coverage, expected):
    assert calibration.selective_accuracy(CONFIDENCE, CORRECT, coverage) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("risk", "expected"), [(0.25, 0.5), (0, 0.2), (1, 1)])
def test_O_43_coverage_at_risk(risk, expected):
    assert calibration.coverage_at_risk(CONFIDENCE, CORRECT, risk) == pytest.approx(expected, abs=1e-6)


def test_no_coverage_at_an_impossible_risk():
    assert calibration.coverage_at_risk([0.9, 0.1], [0, 1], 0.2) == 0


def test_the_curve_carries_intervals():
    curve = calibration.risk_coverage(CONFIDENCE, CORRECT).curve
    assert curve["coverage"].iloc[-1] == 1
    assert curve["risk"].iloc[-1] == 0.5
    assert ((curve["low"] <= curve["risk"] + 1e-12) & (curve["risk"] <= curve["high"] + 1e-12)).all()
    assert (curve["low"].iloc[-1], curve["high"].iloc[-1]) == pytest.approx((0.236593, 0.763407), abs=1e-6)


def test_one_confidence_for_all_gives_the_plain_error_rate():
    result = calibration.risk_coverage(np.full(10, 0.5), CORRECT)
    assert result.curve["risk"].to_numpy() == pytest.approx(np.full(10, 0.5))


ITEMS = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=12)


@given(ITEMS, st.randoms())
@settings(max_examples=60, deadline=None)
def test_ties_do_not_depend_on_the_order(items, random):
    shuffled = random.sample(items, len(items))
    one, two = (calibration.risk_coverage(*map(np.array, zip(*each))) for each in (items, shuffled))
    for name in ("aurc", "e_aurc", "auarc", "augrc"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-12)
    assert one.e_aurc >= -1e-12


def test_ties_are_the_mean_over_all_their_orders():
    import itertools

    block = [(0, 1, 1), (0.9, 0.9, 0.9)]
    orders = [np.mean(np.cumsum(1 - np.array(y)) / [1, 2, 3]) for y in itertools.permutations(block[0])]
    assert calibration.aurc(block[1], block[0]) == pytest.approx(np.mean(orders))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.risk_coverage([], []), "confidence is empty"),
        (lambda: calibration.risk_coverage([0.1, 0.2], [1]), "correct has shape"),
        (lambda: calibration.selective_accuracy([0.1], [1], 1.5), "coverage must be"),
        (lambda: calibration.coverage_at_risk([0.1], [1], -1), "risk must be"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
