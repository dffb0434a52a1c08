import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from workbench.errors import InputError
from workbench.hallucination import selective_answering
from workbench.statistics.calibration import auroc


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
    assert selective_answering.spc_mar(p) == pytest.approx(np.array([[0.42, 0.32, 0.18]]))
    assert selective_answering.spc_sds(p, [[0.5, 0.4, 0.2]]) == pytest.approx([0.18])


def test_O_84_correction():
    p, q = np.array([0.7]), np.array([0.55])
    u, d = q * (1 - p), p * (1 - q)  # the halves of a stated probability p of an event of true probability q
    assert (u[0], d[0]) == pytest.approx((0.165, 0.315))
    assert u + d == pytest.approx([0.48])
    assert selective_answering.spc_correct([0.7], u, d, u + d) == pytest.approx([0.55])
    assert selective_answering.spc_correct([0.7], u, d, u + d + 0.06) == pytest.approx([0.7])


def test_a_corrected_distribution_adds_up_to_one():
    p, q = np.array([[0.7, 0.2, 0.1]]), np.array([[0.4, 0.35, 0.25]])
    u, d = q * (1 - p), p * (1 - q)
    found = selective_answering.spc_correct(p, u, d, u + d)
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
    mar = selective_answering.fit_mar(np.column_stack([x, np.log(p + 1e-9)]), p, y, fit)
    wrong = (p.argmax(axis=1) != y)[~fit]
    assert mar.shape == p.shape
    assert auroc(np.clip(selective_answering.spc_sds(p, mar)[~fit] / 2, 0, 1), wrong) > 0.55


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selective_answering.spc_sds([[0.5, 0.4]], [[0, 0]]), "add up to 1"),
        (lambda: selective_answering.spc_sds([[0.5, 0.5]], [[0]]), "mar has shape"),
        (lambda: selective_answering.fit_mar([[1.0]], [[0.5, 0.5]], [0], [True]), "at least two"),
        (lambda: selective_answering.spc_correct([0.5], [0.1], [0.1], [np.nan]), "finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
