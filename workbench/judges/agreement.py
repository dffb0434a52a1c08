"""Agreement of a judge with people: kappa, alpha, ICC, soft labels, panels and juries."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtr

from workbench.answers import Floats
from workbench.errors import InputError, unknown
from workbench.statistics import bootstrap

Weights = Literal["linear", "quadratic"]


Level = Literal["nominal", "ordinal", "interval"]


Kind = Literal["spearman", "kendall", "pearson"]


def kappa(a: ArrayLike, b: ArrayLike, weights: Weights | None = None) -> float:
    """Cohen's kappa of two raters; NaN where both always say the same one thing, or there is nothing to compare.

    Args:
        a: Labels of one rater, `[items]`; missing ones (NaN, None) leave the item out.
        b: Of the other.
        weights: None for names, `linear` or `quadratic` for levels.
    """
    from sklearn.metrics import cohen_kappa_score

    table = _both(a, b)
    labels = sorted(set(table["a"]) | set(table["b"]))
    if len(labels) < 2:
        return float("nan")
    return float(cohen_kappa_score(table["a"], table["b"], labels=labels, weights=weights))


def alpha(ratings: ArrayLike, level: Level = "ordinal") -> float:
    """Krippendorff's alpha of `[raters, items]`, NaN unread; NaN with one value only or no item rated twice."""
    import krippendorff

    r = np.asarray(ratings, np.float64)
    pairable = r[:, (~np.isnan(r)).sum(axis=0) > 1] if r.ndim == 2 else r
    if r.ndim != 2:
        raise InputError(f"Ratings must be [raters, items], not {list(r.shape)}.")
    if len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=r, level_of_measurement=level))


def correlation(x: ArrayLike, y: ArrayLike, kind: Kind = "spearman") -> float:
    """Rank or linear correlation over items known to both; NaN for fewer than three or constant values."""
    from scipy.stats import kendalltau, pearsonr, spearmanr

    if kind not in get_args(Kind):
        raise unknown("correlation", kind, list(get_args(Kind)))
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = ~np.isnan(a + b)
    a, b = a[known], b[known]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float({"spearman": spearmanr, "kendall": kendalltau, "pearson": pearsonr}[kind](a, b).statistic)


def icc_report(human: ArrayLike, judge: ArrayLike, draws: int = 999, seed: int = 0) -> pd.DataFrame:
    """Consistency, agreement and bias of a judge with people over sources (models), as MentalAlign reports them.

    Args:
        human: Mean rating of each source by people, `[sources]`.
        judge: By the judge.
        draws: Bootstrap samples of the sources.
        seed: Of the bootstrap.

    Returns:
        Rows ICC(C,1), ICC(A,1), bias (judge - human): keys of `statistics.bootstrap`, then `loo_low` and `loo_high`:
        how far leaving one source out moves it. NaN below three sources.
    """
    y = np.column_stack([np.asarray(human, np.float64), np.asarray(judge, np.float64)])
    y = y[~np.isnan(y).any(axis=1)]
    statistics: dict[str, Callable[[Floats, Floats], float]] = {
        "ICC(C,1)": lambda a, b: _icc_two(a, b)[0],
        "ICC(A,1)": lambda a, b: _icc_two(a, b)[1],
        "bias": lambda a, b: float(np.mean(b - a)),
    }
    rows = []
    for name, statistic in statistics.items():
        if len(y) < 3:
            rows.append({"statistic": name, "mean": np.nan, "n": len(y), "note": "fewer than three sources"})
            continue
        left = [statistic(*np.delete(y, source, axis=0).T) for source in range(len(y))]
        found = bootstrap(statistic, y[:, 0], y[:, 1], draws=draws, seed=seed)
        rows.append({"statistic": name, **found, "loo_low": min(left), "loo_high": max(left)})
    return pd.DataFrame(rows)


def replace_rater(ratings: ArrayLike, judge: ArrayLike, level: Level = "ordinal") -> pd.DataFrame:
    """Krippendorff's alpha of people, with each of them replaced by the judge, and with the judge added (ACORN).

    Args:
        ratings: `[raters, items]` of people.
        judge: `[items]`.
        level: Of measurement.

    Returns:
        One row per setting: `replaced` (index of the rater; -1 none, -2 the judge added), `alpha`, and `change`
        against the people alone.
    """
    r, j = np.asarray(ratings, np.float64), np.asarray(judge, np.float64)
    if r.ndim != 2 or j.shape != r.shape[1:]:
        raise InputError("ratings must be [raters, items] and judge one number per item.")
    rows = [{"replaced": -1, "alpha": alpha(r, level)}]
    for rater in range(len(r)):
        rows.append({"replaced": rater, "alpha": alpha(np.vstack([np.delete(r, rater, axis=0), j]), level)})
    rows.append({"replaced": -2, "alpha": alpha(np.vstack([r, j]), level)})
    return pd.DataFrame(rows).assign(change=lambda t: t["alpha"] - t["alpha"].iloc[0])


def _both(a: ArrayLike, b: ArrayLike) -> pd.DataFrame:
    left, right = pd.Series(np.asarray(a)), pd.Series(np.asarray(b))
    if len(left) != len(right):
        raise InputError(f"Two raters need the same items; they have {len(left)} and {len(right)}.")
    table = pd.DataFrame({"a": left, "b": right}).dropna()
    if table.map(lambda x: isinstance(x, float) and not float(x).is_integer()).to_numpy().any():
        raise InputError("Kappa is about labels or whole levels; round expected scores first.")
    return table.map(lambda x: int(x) if isinstance(x, float) else x)


def _icc_two(a: Floats, b: Floats) -> tuple[float, float]:
    """ICC(C,1) and ICC(A,1) of two raters from the two-way mean squares, for resampling."""
    y = np.column_stack([a, b])
    n = len(y)
    rows, columns, grand = y.mean(axis=1), y.mean(axis=0), y.mean()
    msr, msc = 2 * np.sum((rows - grand) ** 2) / (n - 1), n * np.sum((columns - grand) ** 2)
    mse = np.sum((y - rows[:, None] - columns + grand) ** 2) / (n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        consistency = (msr - mse) / (msr + mse)
        agreement = (msr - mse) / (msr + mse + 2 * (msc - mse) / n)
    return float(consistency), float(agreement)


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
