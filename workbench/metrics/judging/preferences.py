"""What people and judges prefer: soft labels from ratings, a regression on properties, faithfulness to a persona."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr

from workbench.errors import InputError
from workbench.metrics.judging.reads import Floats

LEVELS = np.arange(1.0, 6.0)


def soft_levels(mean: float, sd: float, low: float = 1.0, high: float = 5.0) -> Floats:
    """A distribution over five levels with the mean and spread of human ratings (DeQA, arXiv 2501.11561).

    p(l) = Phi(l + 1/2) - Phi(l - 1/2), made to keep the mean by a p + b, clipped at 0 and renormalised; where that
    misses the mean by 0.1, or the spread is below 0.2, the mean is split between the two neighbouring levels.

    Args:
        mean: Of the ratings, on their scale.
        sd: Their standard deviation.
        low: Lower end of the scale.
        high: Upper end.

    Returns:
        Probabilities of the levels 1 ... 5, `[5]`.
    """
    if not (low < high and low <= mean <= high and sd >= 0):
        raise InputError(f"mean={mean}, sd={sd} do not fit a scale from {low} to {high}.")
    mu, spread = 4 * (mean - low) / (high - low) + 1, 4 * sd / (high - low)
    if spread >= 0.2:
        p = np.maximum(adjusted_levels(mu, spread), 0)
        p /= p.sum()
        if abs(p @ LEVELS - mu) <= 0.1:
            return p
    below = min(int(np.floor(mu)), 4)
    return np.interp(LEVELS, [below - 1, below, below + 1, below + 2], [0, below + 1 - mu, mu - below, 0])


def adjusted_levels(mu: float, spread: float) -> Floats:
    """The linear step of `soft_levels`, before clipping; without it at the middle of the scale, where it is 0 / 0."""
    p = np.asarray(ndtr((LEVELS + 0.5 - mu) / spread) - ndtr((LEVELS - 0.5 - mu) / spread), np.float64)
    total, moment = p.sum(), p @ LEVELS
    if abs(mu - 3) <= 1e-6:
        return p + (1 - total) / 5
    alpha = (mu - 3) / (moment - 3 * total)
    return alpha * p + (1 - alpha * total) / 5


def level_distance(p: ArrayLike, mean: ArrayLike, sd: ArrayLike, low: float = 1.0, high: float = 5.0) -> pd.DataFrame:
    """How far a judge's distribution over five levels is from people's soft label, one row an answer.

    Args:
        p: The judge's distributions over the levels 1 ... 5, `[answers, 5]`; NaN unread.
        mean: Of people's ratings of each answer, on their scale.
        sd: Their standard deviation.
        low: Lower end of people's scale.
        high: Upper end.

    Returns:
        `w1` (Wasserstein-1, in levels), `kl` (people against judge, nats, clipped at 1e-12), and `w1_uniform`, the
        first for a judge without opinion; NaN where one is unknown.
    """
    from scipy.stats import wasserstein_distance

    judge = np.asarray(p, np.float64)
    rows: list[dict[str, float]] = []
    if judge.ndim != 2 or judge.shape[1] != len(LEVELS):
        raise InputError(f"Distributions must be [answers, 5], not {list(judge.shape)}.")
    for own, mu, spread in zip(judge, np.asarray(mean, np.float64), np.asarray(sd, np.float64)):
        if np.isnan([*own, mu, spread]).any():
            rows.append(dict.fromkeys(("w1", "kl", "w1_uniform"), np.nan))
            continue
        people = soft_levels(mu, spread, low, high)
        w1 = [float(wasserstein_distance(LEVELS, LEVELS, people, q)) for q in (own, np.full(len(LEVELS), 0.2))]
        clipped = np.clip(own, 1e-12, None)
        kl = float(np.sum(people * np.log(np.clip(people, 1e-12, None) / clipped)))
        rows.append({"w1": w1[0], "kl": kl, "w1_uniform": w1[1]})
    return pd.DataFrame(rows)


def preference_regression(x: ArrayLike, y: ArrayLike, prior_scale: float = 0.1) -> Floats:
    """What each property is worth: the most probable coefficients under a Laplace prior (arXiv 2402.11296).

    logit P(A preferred) = x . coefficients, without an intercept; sigmoid of a coefficient is the win rate when that
    property alone differs.

    Args:
        x: Property of A minus that of B, `[pairs, properties]`, in {-1, 0, 1}.
        y: 1 where A is preferred, else 0, `[pairs]`.
        prior_scale: Of the Laplace prior.

    Returns:
        `[properties]`; NaN for a property that never differs.
    """
    from sklearn.linear_model import LogisticRegression

    features, preferred = np.asarray(x, np.float64), np.asarray(y)
    if features.ndim != 2 or preferred.shape != features.shape[:1]:
        raise InputError("x must be [pairs, properties] and y one number per pair.")
    if len(features) < 5 * features.shape[1]:
        warnings.warn(f"{len(features)} pairs are few for {features.shape[1]} properties.", stacklevel=2)
    varies = features.any(axis=0)
    both = np.concatenate([features, -features])  # one outcome alone would be one class; a mirrored pair says the same
    outcome, weight = np.concatenate([preferred, 1 - preferred]), np.full(2 * len(features), 0.5)
    fit = LogisticRegression(
        l1_ratio=1.0, C=prior_scale, fit_intercept=False, solver="liblinear", max_iter=20000, tol=1e-8, random_state=0
    )
    fit.fit(both[:, varies], outcome, sample_weight=weight)
    found = np.full(features.shape[1], np.nan)
    found[varies] = fit.coef_[0]
    return found


def apc(relevant: ArrayLike, entails: ArrayLike, contradicts: ArrayLike) -> float:
    """Faithfulness to a persona's statements: sum of g e + (1 - g)(1 - c) (APC, arXiv 2405.07726).

    Divide by the number of statements to compare personas; NaN without any.

    Args:
        relevant: P(statement bears on the query), g.
        entails: P(the answer entails it), e.
        contradicts: P(the answer contradicts it), c.
    """
    g, e, c = (np.asarray(x, np.float64) for x in (relevant, entails, contradicts))
    if ((np.stack([g, e, c]) < 0).any()) or (g > 1).any() or (e + c > 1 + 1e-9).any():
        raise InputError("APC needs probabilities, and entailment plus contradiction of at most 1.")
    return float(np.sum(g * e + (1 - g) * (1 - c))) if g.size else float("nan")
