"""Intervals of any statistic, by resampling items or whole clusters: the bootstrap and the jackknife."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, unknown
from workbench.statistics.intervals import NO_VARIATION, ROUNDING, Bounds, Floats, Interval, check_settings

LINKS = ("identity", "asinh")
UNSTABLE = 1.0
"""Standard error of asinh(statistic), a factor of e, beyond which single items rule it and no interval can be had."""


def generator(seed: int) -> np.random.Generator:
    """Return the random generator of a seed, to be passed on from one step of a notebook to the next."""
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
    """Percentile interval of any statistic of one or more columns, resampling items or whole clusters.

    Centred, the draws are shifted so that their mean is the estimate: resampling pushes a calibration error upwards,
    and its plain percentile interval can miss its own estimate. An end that this moves out of `bounds`, the range of
    the statistic, is cut there, which the note says. Draws in which the statistic is undefined are left out and counted
    in the note.

    There is no interval, and the note says why, where all draws are equal, as in `interval`; where more draws are
    undefined than the interval may leave outside; and where the estimate lies outside its own interval, for resampling
    then changes the statistic more than the sample does.
    """
    columns, members = _split(samples, clusters)
    check_settings("bootstrap", level)
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        chosen = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        found[draw] = statistic(*(column[chosen] for column in columns))
    defined, estimate = found[np.isfinite(found)], float(statistic(*columns))
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


def jackknife(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    link: Literal["identity", "asinh"] = "identity",
) -> Interval:
    """Student's interval of any smooth statistic from leaving out one item, or one whole cluster, at a time.

    For ratios with a small standard deviation below the line, which a bootstrap's repeated items distort: no item is
    ever repeated here. Link "asinh" takes the interval of asinh(statistic), a logarithm for large numbers of either
    sign. Where a number is undefined without one of the items, or the error on that scale exceeds `UNSTABLE`, there is
    no interval.
    """
    if link not in LINKS:
        raise unknown("link", link, list(LINKS))
    columns, members = _split(samples, clusters)
    check_settings("t", level)
    estimate, n = float(statistic(*columns)), len(members)
    found: Interval = {"mean": estimate, **dict.fromkeys(("se", "low", "high"), np.nan)}
    found |= {**_counts(columns, members, clusters), "method": "jackknife", "note": ""}
    if n == 1:
        return {**found, "note": _alone(clusters)}
    if not np.isfinite(estimate):
        return {**found, "note": "undefined: no interval"}
    codes = np.empty(len(columns[0]), np.int64)
    for number, rows in enumerate(members):
        codes[rows] = number
    without = np.array([statistic(*(column[codes != k] for column in columns)) for k in range(n)])
    if lost := int((~np.isfinite(without)).sum()):
        return {
            **found,
            "note": f"undefined without {lost} of {n} {'items' if clusters is None else 'clusters'}: no interval",
        }
    carry, back = (np.arcsinh, np.sinh) if link == "asinh" else (np.asarray, np.asarray)
    carried = carry(without)
    se = float(np.sqrt((n - 1) / n * np.sum((carried - carried.mean()) ** 2)))
    if se <= ROUNDING * max(1.0, abs(float(carry(estimate)))):
        return {**found, "note": NO_VARIATION}
    if link == "asinh" and se > UNSTABLE:
        return {**found, "note": "single items change it by whole factors: no interval"}
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, (1 + level) / 2)) * se
    low, high = (float(back(carry(estimate) + end)) for end in (-half, half))
    return {**found, "se": se if link == "identity" else np.nan, "low": low, "high": high}


def _split(samples: tuple[ArrayLike, ...], clusters: ArrayLike | None) -> tuple[list[Floats], list[NDArray[Any]]]:
    """The columns, and the rows of each item or cluster."""
    columns = [np.asarray(sample, np.float64) for sample in samples]
    if not columns or not len(columns[0]) or len({len(column) for column in columns}) > 1:
        raise InputError("Resampling needs at least one sample that is not empty, all of the same length.")
    codes = np.arange(len(columns[0])) if clusters is None else pd.factorize(np.asarray(clusters))[0]
    return columns, np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])


def _counts(columns: list[Floats], members: list[NDArray[Any]], clusters: ArrayLike | None) -> dict[str, Any]:
    return {"n": len(columns[0]), "n_undefined": 0, "n_clusters": np.nan if clusters is None else len(members)}


def _alone(clusters: ArrayLike | None) -> str:
    return f"one {'value' if clusters is None else 'cluster'}: no interval"
