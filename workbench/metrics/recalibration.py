"""Recalibration, fitted on one part of the items and applied to the other, never to the part it was fitted on."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.metrics.checks import Floats, fractions, mask

METHODS = ("temperature", "platt", "isotonic")
BOUNDS = (-5.0, 7.0)
"""Of the log temperature: from 0.007 to 1100."""


def recalibrate(
    confidence: ArrayLike,
    correct: ArrayLike,
    calibration: ArrayLike,
    method: Literal["temperature", "platt", "isotonic"] = "temperature",
) -> Floats:
    """New confidences of the held-out items.

    Temperature scaling divides the log-odds by a number; Platt scaling shifts them too; isotonic regression fits any
    rising step function.

    Args:
        confidence: In each answer, `[N]`.
        correct: Whether it is right, `[N]`.
        calibration: Which items the fit may see, `[N]`; the others are returned.
        method: The family of curves.

    Returns:
        `[N - calibration items]`, in the order of the held-out items.

    Raises:
        InputError: One of the two parts is empty, or the calibration part is all right or all wrong.
    """
    if method not in METHODS:
        raise unknown("recalibration method", method, list(METHODS))
    conf, right = fractions(confidence=confidence, correct=correct)
    fit = mask("calibration", calibration, len(conf))
    if fit.all() or not 0 < right[fit].sum() < fit.sum():
        raise InputError(
            "Recalibration needs right and wrong items to fit on and others to apply it to; change the split."
        )
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(conf[fit], right[fit])
        return np.asarray(steps.predict(conf[~fit]), np.float64)
    odds = _log_odds(conf)
    slope, shift = (
        _temperature_of_odds(odds[fit], right[fit]) if method == "temperature" else _platt(odds[fit], right[fit])
    )
    return 1 / (1 + np.exp(-(slope * odds[~fit] + shift)))


def _minimum(loss: object) -> float:
    from scipy.optimize import minimize_scalar

    return float(minimize_scalar(loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-6}).x)


def _log_odds(confidence: Floats) -> Floats:
    inside = np.clip(confidence, 1e-12, 1 - 1e-12)
    return np.log(inside) - np.log1p(-inside)


def _temperature_of_odds(odds: Floats, right: Floats) -> tuple[float, float]:
    def loss(log_temperature: float) -> float:
        scaled = odds / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - right * scaled))

    return float(np.exp(-_minimum(loss))), 0.0


def _platt(odds: Floats, right: Floats) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([np.ones(len(odds)), np.zeros(len(odds))])
    fitted = LogisticRegression(C=np.inf).fit(
        np.tile(odds, 2)[:, None], both, sample_weight=np.concatenate([right, 1 - right])
    )
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
