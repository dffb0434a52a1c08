"""Several judges: a jury on their distributions, and models that review each other."""

from __future__ import annotations

import warnings
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.metrics.judging.reads import Floats

How = Literal["mean", "logit", "vote"]


def jury(p: ArrayLike, how: How = "mean") -> Floats:
    """The verdict distribution of a panel, `[items, labels]`.

    Args:
        p: Distributions of each judge, `[judges, items, labels]`; a judge's NaN rows are left out.
        how: `mean` of the probabilities, `logit` (normalised geometric mean), or `vote`: share of judges whose most
            probable label it is, split at ties.
    """
    if how not in get_args(How):
        raise unknown("way of putting judges together", how, list(get_args(How)))
    x = np.asarray(p, np.float64)
    if x.ndim != 3:
        raise InputError(f"A jury needs [judges, items, labels], not {list(x.shape)}.")
    if how == "vote":
        best = x >= x.max(axis=-1, keepdims=True)
        x = np.where(np.isnan(x), np.nan, best / best.sum(axis=-1, keepdims=True).clip(1))
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # items no judge has read
        if how != "logit":
            return np.asarray(np.nanmean(x, axis=0), np.float64)
        logs = np.nanmean(np.log(x), axis=0)
        weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float64)


def peer_matrix(scores: ArrayLike) -> dict[str, Any]:
    """Models that review each other: agreement without their own marks, and how much they favour themselves.

    Own marks are masked: the diagonal is replaced by the additive fit of the rest, and the error loses that many
    degrees of freedom.

    Args:
        scores: `[models, models]`, reviewer by author.

    Returns:
        `author_mean` (without own marks), `self_preference` (own mark minus what the reviewer's leniency and the
        author's standing, fitted to the marks of others, lead one to expect), and `icc_consistency_k`
        = ICC(C,k), `icc_agreement_1` = ICC(A,1) of the masked matrix.
    """
    s = np.asarray(scores, np.float64)
    n = len(s)
    if s.shape != (n, n) or n < 3 or np.isnan(s).any():
        raise InputError("A peer matrix must be square, at least 3 x 3, and complete.")
    off = ~np.eye(n, dtype=bool)
    others = np.where(off, s, 0).sum(axis=0) / (n - 1)
    expected = _additive(s, off)
    y = np.where(off, s, expected).T
    rows, columns, grand = y.mean(axis=1), y.mean(axis=0), y.mean()
    msr, msc = n * np.sum((rows - grand) ** 2) / (n - 1), n * np.sum((columns - grand) ** 2) / (n - 1)
    mse = np.sum((y - rows[:, None] - columns + grand) ** 2) / max((n - 1) ** 2 - n, 1)
    return {
        "author_mean": others,
        "self_preference": np.diag(s - expected),
        "icc_consistency_k": float((msr - mse) / msr) if msr > 0 else np.nan,
        "icc_agreement_1": float((msr - mse) / (msr + (n - 1) * mse + n * (msc - mse) / n)) if msr > 0 else np.nan,
    }


def _additive(s: Floats, known: np.ndarray) -> Floats:
    """Row plus column effects fitted to the known cells."""
    n = len(s)
    i, j = np.nonzero(known)
    design = np.zeros((len(i), 2 * n))
    design[np.arange(len(i)), i] = design[np.arange(len(i)), n + j] = 1
    effects = np.linalg.lstsq(design, s[i, j], rcond=None)[0]
    return effects[:n, None] + effects[None, n:]
