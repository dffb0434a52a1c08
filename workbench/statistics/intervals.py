"""Means with intervals: Student's t, Wilson and the bootstrap, over items or clusters of items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, unknown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Method = Literal["t", "bootstrap", "wilson"]
METHODS = ("t", "bootstrap", "wilson")
Interval = dict[str, Any]
"""Keys mean, se, low, high, n, n_undefined, n_clusters, method, note."""


def summarise(
    table: pd.DataFrame,
    columns: str | Sequence[str] | None = None,
    by: str | Sequence[str] | None = None,
    cluster: str | None = None,
    macro: str | None = None,
    method: Method = "t",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Means with intervals, one row per group and metric.

    Undefined values (NaN) are left out of the mean and counted. Clustered errors are the sandwich estimate with
    factor G / (G - 1) and G - 1 degrees of freedom. A macro mean weighs every group of `macro` alike and takes the
    groups as fixed (Welch-Satterthwaite degrees of freedom).

    Args:
        table: One row per item, `[items]`.
        columns: The metrics; by default every column of floats or booleans.
        by: Columns that make the groups, kept in order of appearance.
        cluster: Column of items that belong together (the template, the passage).
        macro: Column whose groups are averaged without weights (the subject).
        method: Student's t, percentile bootstrap over items or clusters, or Wilson for values in [0, 1], under clusters
            with the number of independent items that has the clustered error.
        level: Coverage of the intervals.
        draws: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        The group columns, then metric, mean, se, low, high, n, n_undefined, n_clusters, method, note.

    Raises:
        InputError: A column is missing or not numeric, or the table is empty.
    """
    groups = listed(by)
    names = listed(columns) or _metric_columns(table, [*groups, *listed(cluster), *listed(macro)])
    need(table, [*names, *groups, *listed(cluster), *listed(macro)])
    if macro and method != "t":
        raise InputError("A macro mean has a t interval only; leave method at 't'.")
    rows = []
    for key, part in grouped(table, groups):
        clusters = part[cluster] if cluster else None
        for name in names:
            values = numbers(part, name)
            if macro:
                found = _macro_interval(values, part[macro], clusters, level)
            else:
                found = interval(values, clusters, method, level, draws, seed)
            rows.append({**key, "metric": name, **found})
    return pd.DataFrame(rows)


def interval(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    method: Method = "t",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of one sample with its interval; see `summarise`.

    Where all values are equal no spread can be estimated: 0/1 values then get a Wilson interval, others none.
    """
    _check_settings(method, level)
    x, codes, n_undefined = _defined(values, clusters)
    n_groups = len(np.unique(codes))
    found: Interval = {
        "mean": float(x.mean()) if len(x) else np.nan,
        **dict.fromkeys(("se", "low", "high"), np.nan),
        **{"n": len(x), "n_undefined": n_undefined, "n_clusters": np.nan if clusters is None else n_groups},
        **{"method": method, "note": ""},
    }
    if not len(x):
        return {**found, "note": "no defined value"}
    if method == "wilson":
        return {**found, **_wilson(x, _effective(x, codes), level)}
    if n_groups == 1:
        return {**found, "note": f"one {'value' if clusters is None else 'cluster'}: no interval"}
    if np.ptp(x) == 0 and x[0] in (0.0, 1.0):
        return {**found, **_wilson(x, n_groups, level), "method": "wilson", "note": "no variation: Wilson interval"}
    if np.ptp(x) == 0:
        return {**found, "se": 0.0, "note": "no variation: no interval"}
    if method == "bootstrap":
        return {**found, **_bootstrap_mean(x, codes, level, draws, seed)}
    se = _standard_error(x, codes)
    return {**found, "se": se, **_student(found["mean"], se, n_groups - 1, level)}


def bootstrap(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = 999,
    seed: int = 0,
    centred: bool = False,
) -> Interval:
    """Percentile interval of any statistic of one or more columns, resampling items or whole clusters.

    Centred, the draws are shifted so that their mean is the estimate: resampling pushes a calibration error upwards,
    and its plain percentile interval can miss its own estimate. Draws in which the statistic is undefined are left out
    and counted in the note. Where all draws are equal there is no interval, as in `interval`.
    """
    columns = [np.asarray(sample, np.float64) for sample in samples]
    if not columns or not len(columns[0]) or len({len(column) for column in columns}) > 1:
        raise InputError("bootstrap needs at least one sample that is not empty, all of the same length.")
    _check_settings("bootstrap", level)
    codes = np.arange(len(columns[0])) if clusters is None else pd.factorize(np.asarray(clusters))[0]
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for draw in range(draws):
        chosen = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        found[draw] = statistic(*(column[chosen] for column in columns))
    defined = found[np.isfinite(found)]
    notes = [f"undefined in {draws - len(defined)} of {draws} draws"] if len(defined) < draws else []
    if len(members) == 1:
        notes.append(f"one {'value' if clusters is None else 'cluster'}: no interval")
    elif len(defined) and np.allclose(defined, defined[0], rtol=1e-12, atol=1e-12):
        notes.append("no variation: no interval")
    enough = len(defined) > 1 and "no interval" not in "".join(notes)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if enough else (np.nan, np.nan)
    estimate = float(statistic(*columns))
    if centred and enough:
        low, high = low + estimate - defined.mean(), high + estimate - defined.mean()
    return {
        "mean": estimate,
        "se": float(defined.std(ddof=1)) if enough else np.nan,
        **{"low": float(low), "high": float(high)},
        **{"n": len(columns[0]), "n_undefined": 0, "n_clusters": np.nan if clusters is None else len(members)},
        "method": "bootstrap",
        "note": "; ".join(notes),
    }


def wilson(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson interval of rates, for numbers or arrays; NaN where there are no trials."""
    from statsmodels.stats.proportion import proportion_confint

    trials = np.asarray(n, np.float64)
    known = np.where(trials > 0, trials, np.nan)
    hits = np.asarray(successes, np.float64)
    low, high = proportion_confint(hits, known, alpha=1 - level, method="wilson")
    return np.where(hits * known == 0, 0.0, np.clip(low, 0.0, 1.0)), np.clip(high, 0.0, 1.0)


def clusters(table: pd.DataFrame, column: str = "template", item: str = "question_id") -> pd.Series:
    """What each row is clustered by: the value of `column` where there is one, else the item itself."""
    if column not in table:
        return table[item].astype(str)
    return table[column].where(table[column].notna(), table[item]).astype(str)


def listed(names: str | Sequence[str] | None) -> list[str]:
    """Column names as a list, given as one, several or none."""
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


def need(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuse an empty table, or one that lacks a column."""
    if table.empty:
        raise InputError("The table is empty; there is nothing to summarise.")
    for name in names:
        if name not in table.columns:
            raise unknown("column", name, [str(column) for column in table.columns])


def grouped(table: pd.DataFrame, groups: list[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The parts of a table with the values of their group columns, in order of appearance."""
    if not groups:
        yield {}, table
        return
    for key, part in table.groupby(groups, sort=False, dropna=False, observed=True):
        yield dict(zip(groups, key)), part


def numbers(table: pd.DataFrame, name: str) -> Floats:
    """A column as floats."""
    try:
        return table[name].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise InputError(f"Column {name!r} is not numeric; choose a metric column.") from None


def _metric_columns(table: pd.DataFrame, others: list[str]) -> list[str]:
    names = [str(name) for name, kind in table.dtypes.items() if kind.kind in "fb" and name not in others]
    if not names:
        raise InputError("The table has no column of floats or booleans; name the columns to summarise.")
    return names


def _check_settings(method: str, level: float) -> None:
    if method not in METHODS:
        raise unknown("method", method, list(METHODS))
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, not {level!r}.")


def _defined(values: ArrayLike, clusters: ArrayLike | None) -> tuple[Floats, Ints, int]:
    """The values that are not NaN, the code of each one's cluster, and how many were NaN."""
    everything = np.asarray(values, np.float64)
    if np.isinf(everything).any():
        raise InputError("A mean needs finite values; this sample holds infinity.")
    kept = ~np.isnan(everything)
    x = everything[kept]
    codes = np.arange(len(x)) if clusters is None else pd.factorize(np.asarray(clusters)[kept])[0]
    if (codes < 0).any():
        raise InputError("A cluster label is missing; give every item its cluster.")
    return x, codes, int((~kept).sum())


def _standard_error(x: Floats, codes: Ints) -> float:
    """Of the mean; with one item a cluster this is sd / sqrt(n)."""
    sums = np.bincount(codes, x - x.mean())
    return float(np.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)) / len(x))


def _student(mean: float, se: float, df: float, level: float) -> Interval:
    from scipy.special import stdtrit

    half = float(stdtrit(df, (1 + level) / 2)) * se
    return {"low": mean - half, "high": mean + half}


def _effective(x: Floats, codes: Ints) -> float:
    """Independent items that would give a rate the error its clusters give it; the clusters where it does not vary."""
    groups = len(np.unique(codes))
    if groups in (1, len(x)) or np.ptp(x) == 0:
        return groups
    error = _standard_error(x, codes)
    return float(np.clip(x.mean() * (1 - x.mean()) / error**2, 1, len(x))) if error else groups


def _wilson(x: Floats, n: float, level: float) -> Interval:
    """Wilson interval of a mean of values in [0, 1]: exact form for 0/1, wider than needed between."""
    if x.min() < 0 or x.max() > 1:
        raise InputError("A Wilson interval needs values between 0 and 1; use method 't' or 'bootstrap'.")
    rate = float(x.mean())
    low, high = wilson(rate * n, n, level)
    return {"se": float(np.sqrt(rate * (1 - rate) / n)), "low": float(low), "high": float(high)}


def _bootstrap_mean(x: Floats, codes: Ints, level: float, draws: int, seed: int) -> Interval:
    from scipy import stats

    sums, counts = np.bincount(codes, x), np.bincount(codes).astype(np.float64)
    result = stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis=axis) / c.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=draws,
        batch=max(1, 2_000_000 // len(sums)),
        confidence_level=level,
        method="percentile",
        rng=seed,
    )
    low, high = result.confidence_interval
    return {"se": float(result.standard_error), "low": float(low), "high": float(high)}


def _macro_interval(values: Floats, labels: pd.Series, clusters: pd.Series | None, level: float) -> Interval:
    """Unweighted mean over groups taken as fixed."""
    if clusters is not None and (labels.groupby(clusters.to_numpy()).nunique() > 1).any():
        raise InputError("A cluster lies in several groups of the macro mean; name clusters apart in each group.")
    parts = []
    for rows in labels.reset_index(drop=True).groupby(labels.to_numpy(), sort=False, dropna=False).indices.values():
        parts.append(_defined(values[rows], None if clusters is None else clusters.to_numpy()[rows]))
    parts = [part for part in parts if len(part[0])]
    errors = np.array([_standard_error(x, c) if len(np.unique(c)) > 1 else np.nan for x, c, _ in parts])
    df = np.array([len(np.unique(c)) - 1 for _, c, _ in parts])
    n = sum(len(x) for x, _, _ in parts)
    found: Interval = {
        "mean": float(np.mean([x.mean() for x, _, _ in parts])) if parts else np.nan,
        "se": float(np.sqrt(np.sum(errors**2)) / len(parts)) if parts else np.nan,
        **{"low": np.nan, "high": np.nan, "n": n, "n_undefined": len(values) - n},
        "n_clusters": np.nan if clusters is None else int((df + 1).sum()),
        **{"method": "t", "note": f"mean over {len(parts)} groups"},
    }
    if not parts or np.isnan(errors).any():
        return {**found, "note": f"{found['note']}; one of them has a single value: no interval"}
    if not errors.any():
        return {**found, "note": f"{found['note']}; no variation: no interval"}
    pooled = float(np.sum(errors**2) ** 2 / np.sum(errors**4 / df))
    return {**found, **_student(found["mean"], found["se"], pooled, level)}
