"""One number out of a distribution over a scale, and what repeating a sampled verdict would show."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.metrics.judging.reads import Floats

Variant = Literal["expected", "geval", "argmax", "sampled", "literal_softmax", "trustjudge_repo"]


def score(p: ArrayLike, values: ArrayLike, variant: Variant = "expected", seed: int = 0) -> Floats:
    """A score per distribution.

    `expected` = sum s p(s) / sum p(s) (TrustJudge, arXiv 2509.21117); `geval` = sum s p(s), which probability lost to
    other tokens pulls down; `argmax` the most probable level (the mean of several that tie); `sampled` one draw;
    `literal_softmax` weighs by a softmax of the probabilities themselves, nearly uniform; `trustjudge_repo` is what
    that paper's code computes: weights softmax(log-odds / 0.2) over 0 < p < 1, and 0 where nothing is left.

    Args:
        p: Probabilities, raw or normalised, `[..., levels]`; levels a source does not show are 0,
            undecided distributions NaN.
        values: What the levels stand for, `[levels]`.
        variant: See above; the last two are for audits.
        seed: Of `sampled`.

    Returns:
        `[...]`, NaN where p is NaN or no level has any probability.

    Raises:
        InputError: Negative probabilities, or above 1; shapes that do not fit; an unknown variant.
    """
    if variant not in get_args(Variant):
        raise unknown("scoring variant", variant, list(get_args(Variant)))
    prob, levels = np.asarray(p, np.float64), np.asarray(values, np.float64)
    if levels.ndim != 1 or prob.shape[-1:] != levels.shape:
        raise InputError(f"p has shape {prob.shape} and values {levels.shape}; the last axis is the scale.")
    if (prob < 0).any() or (prob.sum(axis=-1) > 1 + 1e-6).any():
        raise InputError("p must be probabilities: none below 0, and each distribution at most 1 in all.")
    mass = prob.sum(axis=-1)
    weights = _weights(prob, variant, seed)
    total = weights.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.sum(weights * levels, axis=-1) / (1.0 if variant == "geval" else total)
    if variant == "trustjudge_repo":
        found = np.where(total > 0, found, 0.0)
    return np.where(mass > 0, found, np.nan)


def rescale(scores: ArrayLike, scale: tuple[float, float], to: tuple[float, float]) -> Floats:
    """Scores carried linearly from one scale to another, ends to ends.

    The published formula multiplies by the ratio of the ranges without an offset, so 100 becomes 4.04 of 5.

    Raises:
        InputError: A scale whose lower end is not below its upper end.
    """
    for low, high in (scale, to):
        if not low < high:
            raise InputError(f"A scale from {low:g} to {high:g} has no length; give its lower end first.")
    share = (np.asarray(scores, np.float64) - scale[0]) / (scale[1] - scale[0])
    return to[0] + share * (to[1] - to[0])


def pass_rate(p_yes: ArrayLike) -> float:
    """Share of a checklist that holds: the mean over its distinct items, of verdicts or of probabilities of YES.

    NaN for a checklist without items (TICK, arXiv 2410.03608).
    """
    items = np.asarray(p_yes, np.float64)
    return float(items.mean()) if items.size else float("nan")


def _weights(prob: Floats, variant: Variant, seed: int) -> Floats:
    """What each level counts for, up to a factor."""
    if variant == "argmax":
        return (prob >= prob.max(axis=-1, keepdims=True)).astype(np.float64)
    if variant == "literal_softmax":
        return np.where(prob > 0, np.exp(prob), 0.0)
    if variant == "trustjudge_repo":
        inside = (prob > 0) & (prob < 1)
        odds = np.where(inside, np.log((prob + 1e-8) / (1 - prob + 1e-8)) / 0.2, -np.inf)
        top = odds.max(axis=-1, keepdims=True)
        return np.where(inside, np.exp(odds - np.where(np.isfinite(top), top, 0.0)), 0.0)
    if variant == "sampled":
        draw = np.random.default_rng(seed).random(prob.shape[:-1])[..., None]
        below = np.cumsum(prob, axis=-1) > draw * prob.sum(axis=-1, keepdims=True)
        return (below & (np.cumsum(below, axis=-1) == 1)).astype(np.float64)
    return prob
