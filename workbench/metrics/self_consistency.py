"""Split-point self-consistency (Zhao & Chen 2025, arXiv 2509.13262): is a prediction consistent with its own errors?

A prediction that is the conditional mean splits its residuals so that the mean absolute residual (MAR) follows from the
mean residual above (m_up) and below (m_down): MAR = 2 m_up m_down / (m_up + m_down). How far a learnt MAR is from that
is the self-consistency discrepancy score (SDS), an uncertainty that needs one pass.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.metrics.checks import Floats, distributions


def spc_mar(p: ArrayLike) -> Floats:
    """The MAR of each class that a true distribution has: 2 p (1 - p), `[N, K]`."""
    return 2 * (rows := distributions("p", p)) * (1 - rows)


def spc_sds(p: ArrayLike, mar: ArrayLike) -> Floats:
    """Self-consistency discrepancy of class probabilities and a learnt MAR, `[N]`: sum of |2 p (1 - p) - MAR|.

    Args:
        p: Distributions over classes, `[N, K]`.
        mar: Learnt E|1{y = k} - p_k| of each class, `[N, K]`.
    """
    learnt = np.asarray(mar, np.float64)
    ideal = spc_mar(p)
    if learnt.shape != ideal.shape or not np.isfinite(learnt).all():
        raise InputError(f"mar has shape {learnt.shape}, p {ideal.shape}; give one finite number per class.")
    return np.abs(ideal - learnt).sum(axis=1)


def spc_correct(p: ArrayLike, up: ArrayLike, down: ArrayLike, mar: ArrayLike, tolerance: float = 0.05) -> Floats:
    """Probabilities corrected by learnt halves, where these agree with a learnt MAR, `[N]` or `[N, K]`.

    The correction is the least of u - d, MAR - 2 d and 2 u - MAR, as in the authors' code, applied where
    |u + d - MAR| < tolerance. Unlike there, the result is clipped, and rows of `[N, K]` are renormalised.
    """
    stated, u, d, m = (np.asarray(each, np.float64) for each in (p, up, down, mar))
    if not stated.shape == u.shape == d.shape == m.shape or not np.isfinite([u, d, m]).all():
        raise InputError("p, up, down and mar must be finite and of one shape.")
    shift = np.minimum(np.minimum(u - d, m - 2 * d), 2 * u - m)
    found = np.clip(stated + np.where(np.abs(u + d - m) < tolerance, shift, 0.0), 0.0, 1.0)
    if found.ndim == 1:
        return found
    total = found.sum(axis=1, keepdims=True)
    return np.where(total > 0, found / np.where(total > 0, total, 1.0), stated)


def fit_mar(features: ArrayLike, p: ArrayLike, gold: ArrayLike, fit: ArrayLike, ridge: float = 10.0) -> Floats:
    """A ridge regression of |1{y = k} - p_k| on features, fitted on part of the items, predicted for all, `[N, K]`.

    Args:
        features: `[N, D]`; standardised here.
        p: Distributions, `[N, K]`.
        gold: Class of each item, `[N]`; only those of the fitted part are used.
        fit: Which items the fit may see, `[N]`.
        ridge: Penalty.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, seen = distributions("p", p), np.asarray(fit, bool)
    if seen.shape != (len(rows),) or seen.sum() < 2:
        raise InputError("fit must mark at least two of the items.")
    x = np.asarray(features, np.float64)
    target = np.abs(np.eye(rows.shape[1])[np.asarray(gold)[seen].astype(int)] - rows[seen])
    model = make_pipeline(StandardScaler(), Ridge(ridge)).fit(x[seen], target)
    return np.clip(np.asarray(model.predict(x), np.float64).reshape(rows.shape), 0.0, 1.0)
