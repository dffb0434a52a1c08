"""Intervals of any statistic by the bootstrap and the jackknife, over items or clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, unknown
from workbench.statistics.intervals import NO_VARIATION, ROUNDING, Bounds, Floats, Interval, check_settings

LINKS = ("identity", "asinh")
DRAWN_AT_ONCE = 4_000_000
"""Most weights of units in one block of draws."""
UNSTABLE = 1.0
"""Standard error of asinh(statistic) (a factor of e) above which single items dominate and there is no interval."""


def generator(seed: int) -> np.random.Generator:
    """Return the random generator of a seed, shared by the steps of a notebook."""
    return np.random.default_rng(seed)


def bootstrap(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 999,
    seed: int = 0,
    centred: bool = False,
    bounds: Bounds | None = None,
) -> Interval:
    """Return the percentile interval of a statistic of one or more columns, resampling items or whole clusters.

    With `centred`, the draws are shifted so that their mean is the estimate: resampling biases a calibration error
    upwards, and its plain percentile interval can miss the estimate. An end that this moves outside `bounds`, the range
    of the statistic, is cut there, with a note. Draws with an undefined statistic are excluded and counted in the note.

    There is no interval, with a note, if all draws are equal; if more draws are undefined than may lie outside the
    interval; and if the estimate lies outside its interval, because resampling then changes the statistic more than the
    sample does.
    """
    columns, members = _split(samples, clusters)
    check_settings("bootstrap", level)
    rng = np.random.default_rng(seed)
    values = np.empty(draws)
    for draw in range(draws):
        chosen = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        values[draw] = statistic(*(column[chosen] for column in columns))
    defined, estimate = values[np.isfinite(values)], float(statistic(*columns))
    lost = draws - len(defined)
    notes = [f"undefined in {lost} of {draws} draws"] if lost else []
    low = high = np.nan
    if len(members) == 1:
        notes.append(_alone(clusters))
    elif len(defined) > 1 and np.allclose(defined, defined[0], rtol=ROUNDING, atol=ROUNDING):
        notes.append(NO_VARIATION)
    elif lost > (1 - level) * draws:
        notes.append("too many: no interval")
    elif len(defined) > 1 and np.isfinite(estimate):
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
        if centred:
            low, high = np.array([low, high]) + estimate - defined.mean()
        for name, end in (("low", bounds[0]), ("high", bounds[1])) if bounds else ():
            if (low < end) if name == "low" else (high > end):
                notes.append(f"{name} end cut at {end:g}, the end of the range")
        if bounds:
            low, high = np.clip([low, high], *bounds)
        if not low - ROUNDING <= estimate <= high + ROUNDING:
            low = high = np.nan
            notes.append("the estimate lies outside its percentile interval: no interval")
    return {
        "mean": estimate,
        "se": float(defined.std(ddof=1)) if np.isfinite(low) else np.nan,
        **{"low": float(low), "high": float(high)},
        **_counts(columns, members, clusters),
        **{"method": "bootstrap", "note": "; ".join(notes)},
    }


def middle(draws: ArrayLike, level: float = 0.95) -> Interval:
    """Return the mean of random draws and the ends of their middle `level`; NaN draws are left out.

    Returns:
        Keys mean, low, high (NaN without a defined draw) and n (defined draws).
    """
    values = np.asarray(draws, np.float64)
    defined = values[np.isfinite(values)]
    if not len(defined):
        return {**dict.fromkeys(("mean", "low", "high"), np.nan), "n": 0}
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return {"mean": float(defined.mean()), "low": float(low), "high": float(high), "n": len(defined)}


def resampled_means(
    values: ArrayLike,
    groups: ArrayLike,
    clusters: ArrayLike | None = None,
    draws: int = 1999,
    seed: int = 0,
) -> Floats:
    """Return bootstrap means of several models on the same items, `[draws, groups, models]`.

    Items, or whole clusters, are resampled within their group and jointly over models; clusters that occur in several
    groups are resampled together. A group without items in a draw has the mean NaN.

    Args:
        values: `[items, models]`, without NaN.
        groups: Group of each item; the result has them in order of appearance.
        clusters: Cluster of each item.
        draws: Number of draws.
        seed: Seed of them.
    """
    x = np.asarray(values, np.float64)
    group, labels = pd.factorize(np.asarray(groups))
    cluster = np.arange(len(x)) if clusters is None else pd.factorize(np.asarray(clusters))[0]
    table = pd.DataFrame(x).assign(**{"group": group, "cluster": cluster})
    spans = table.groupby("cluster")["group"].transform("nunique").to_numpy() > 1
    strata = np.where(spans, -1, group)
    rng, totals = np.random.default_rng(seed), np.zeros((draws, len(labels), x.shape[1] + 1))
    for stratum in np.unique(strata):
        rows = strata == stratum
        units = pd.factorize(cluster[rows])[0]
        n = int(units.max()) + 1
        counted = np.column_stack([x[rows], np.ones(rows.sum())])
        per_unit = np.zeros((n, len(labels), x.shape[1] + 1))
        np.add.at(per_unit, units, np.eye(len(labels))[group[rows]][:, :, None] * counted[:, None])
        step = max(1, DRAWN_AT_ONCE // n)
        for start in range(0, draws, step):
            weights = rng.multinomial(n, np.full(n, 1 / n), size=min(step, draws - start))
            totals[start : start + step] += np.tensordot(weights.astype(np.float64), per_unit, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals[..., :-1] / totals[..., -1:])


def jackknife(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    link: Literal["identity", "asinh"] = "identity",
) -> Interval:
    """Return Student's interval of a smooth statistic, leaving out one item or one cluster at a time.

    For ratios whose denominator is a small standard deviation, which the repeated items of a bootstrap distort. Link
    "asinh" computes the interval of asinh(statistic), a logarithm for large numbers of either sign. There is no
    interval if the statistic is undefined without one of the items, or its error on that scale exceeds `UNSTABLE`.
    """
    if link not in LINKS:
        raise unknown("link", link, list(LINKS))
    columns, members = _split(samples, clusters)
    check_settings("t", level)
    estimate, n = float(statistic(*columns)), len(members)
    result: Interval = {"mean": estimate, **dict.fromkeys(("se", "low", "high"), np.nan)}
    result |= {**_counts(columns, members, clusters), "method": "jackknife", "note": ""}
    if n == 1:
        return {**result, "note": _alone(clusters)}
    if not np.isfinite(estimate):
        return {**result, "note": "undefined: no interval"}
    codes = np.empty(len(columns[0]), np.int64)
    for number, rows in enumerate(members):
        codes[rows] = number
    without = np.array([statistic(*(column[codes != k] for column in columns)) for k in range(n)])
    if lost := int((~np.isfinite(without)).sum()):
        what = "items" if clusters is None else "clusters"
        return {**result, "note": f"undefined without {lost} of {n} {what}: no interval"}
    transform, inverse = (np.arcsinh, np.sinh) if link == "asinh" else (np.asarray, np.asarray)
    transformed = transform(without)
    se = float(np.sqrt((n - 1) / n * np.sum((transformed - transformed.mean()) ** 2)))
    if se <= ROUNDING * max(1.0, abs(float(transform(estimate)))):
        return {**result, "note": NO_VARIATION}
    if link == "asinh" and se > UNSTABLE:
        return {**result, "note": "single items change it by whole factors: no interval"}
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, (1 + level) / 2)) * se
    low, high = (float(inverse(transform(estimate) + end)) for end in (-half, half))
    return {**result, "se": se if link == "identity" else np.nan, "low": low, "high": high}


def _split(samples: tuple[ArrayLike, ...], clusters: ArrayLike | None) -> tuple[list[Floats], list[NDArray[Any]]]:
    """The columns, and the rows of each item or cluster."""
    columns = [np.asarray(sample, np.float64) for sample in samples]
    if not columns or not len(columns[0]) or len({len(column) for column in columns}) > 1:
        raise InputError("Resampling needs at least one sample; samples must have the same length and not be empty.")
    codes = np.arange(len(columns[0])) if clusters is None else pd.factorize(np.asarray(clusters))[0]
    return columns, np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


def _counts(columns: list[Floats], members: list[NDArray[Any]], clusters: ArrayLike | None) -> dict[str, Any]:
    return {"n": len(columns[0]), "n_undefined": 0, "n_clusters": np.nan if clusters is None else len(members)}


def _alone(clusters: ArrayLike | None) -> str:
    return f"one {'value' if clusters is None else 'cluster'}: no interval"
