"""Agreement of judges with people and with each other, through scikit-learn, krippendorff, pingouin and scipy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.metrics.judging.reads import Floats
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
