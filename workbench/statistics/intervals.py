"""Means with intervals: Student's t, its logit form, Wilson and the bootstrap, over items or clusters of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, unknown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Method = Literal["t", "bootstrap", "wilson"]
METHODS = ("t", "bootstrap", "wilson")
Bounds = tuple[float, float]
SHARE: Bounds = (0.0, 1.0)
"""Range of probabilities and proportions."""
NO_VARIATION = "no variation: no interval"
ROUNDING = 1e-12
"""Relative difference below which numbers differ by rounding only."""
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
    bounds: Bounds | Mapping[str, Bounds] | None = None,
) -> pd.DataFrame:
    """Return means with intervals, one row per group and metric.

    Undefined values (NaN) are excluded from the mean and counted. Clustered errors are the sandwich estimate with
    factor G / (G - 1) and G - 1 degrees of freedom. A macro mean gives every group of `macro` equal weight and treats
    the groups as fixed (Welch-Satterthwaite degrees of freedom).

    Args:
        table: One row per item.
        columns: Metrics; by default every column of floats or booleans.
        by: Columns to group by, in order of appearance.
        cluster: Column with the cluster of each item (its template or passage).
        macro: Column with the groups that get equal weight (the subject).
        method: Student's t, percentile bootstrap over items or clusters, or Wilson for values in [0, 1]; with clusters
            Wilson uses the effective number of independent items.
        level: Coverage of the intervals.
        draws: Number of bootstrap samples.
        seed: Seed of the bootstrap.
        bounds: Range of all metrics, or of each by name: (0, 1) for probabilities. Student's interval is then computed
            for the logit of the mean's position in the range (delta method; method "logit-t"), so it stays inside; if
            all values are at one end, Wilson's is used. Booleans always have the range (0, 1).

    Returns:
        The group columns, then metric, mean, se, low, high, n, n_undefined, n_clusters, method (the one used), note.

    Raises:
        InputError: A column is missing or not numeric, a value lies outside its bounds, or the table is empty.
    """
    groups = listed(by)
    names = listed(columns) or _metric_columns(table, [*groups, *listed(cluster), *listed(macro)])
    need(table, [*names, *groups, *listed(cluster), *listed(macro)])
    if macro and method != "t":
        raise InputError(f"A macro mean has a t interval only; use method='t', not {method!r}.")
    ranges = bounds if isinstance(bounds, Mapping) else dict.fromkeys(names, bounds)
    ends = {name: ranges.get(name) or (SHARE if table[name].dtype.kind == "b" else None) for name in names}
    rows = []
    for key, part in grouped(table, groups):
        clusters = part[cluster] if cluster else None
        for name in names:
            values = numbers(part, name)
            if macro:
                result = _macro_interval(values, part[macro], clusters, level, ends[name])
            else:
                result = interval(values, clusters, method, level, draws, seed, ends[name])
            rows.append({**key, "metric": name, **result})
    return pd.DataFrame(rows)


def interval(
    values: ArrayLike,
    clusters: ArrayLike | None = None,
    method: Method = "t",
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    bounds: Bounds | None = None,
) -> Interval:
    """Return the mean of one sample with its interval; see `summarise`.

    If all values, or all cluster means, are equal, no spread can be estimated and there is no interval. The exception
    are values with a range (booleans, method "wilson", `bounds`) that are clustered or all at one end of it: they get
    Wilson's interval, the widest that values in a range can need.
    """
    check_settings(method, level)
    x, codes, n_undefined = _defined(values, clusters)
    if bounds is None and (method == "wilson" or np.asarray(values).dtype.kind == "b"):
        bounds = SHARE
    x = x if bounds is None else _inside(x, bounds)
    n_groups = len(np.unique(codes))
    result: Interval = {
        "mean": float(x.mean()) if len(x) else np.nan,
        **dict.fromkeys(("se", "low", "high"), np.nan),
        **{"n": len(x), "n_undefined": n_undefined, "n_clusters": np.nan if clusters is None else n_groups},
        **{"method": method, "note": ""},
    }
    if not len(x):
        return {**result, "note": "no defined value"}
    if method == "wilson" and bounds:
        return {**result, **_wilson(x, codes, level, bounds)}
    if n_groups == 1:
        return {**result, "note": f"one {'value' if clusters is None else 'cluster'}: no interval"}
    if _constant(x):
        if bounds and np.isclose(x[0], bounds, rtol=0, atol=1e-12).any():
            return {**result, **_wilson(x, codes, level, bounds), "note": "no variation: Wilson interval"}
        return {**result, "se": 0.0, "note": NO_VARIATION}
    error = _standard_error(x, codes)
    if error <= ROUNDING * max(1.0, np.abs(x).max()):  # items vary, cluster means do not
        if bounds:
            return {**result, **_wilson(x, codes, level, bounds), "note": "clusters do not vary: Wilson interval"}
        return {**result, "se": 0.0, "note": "clusters do not vary: no interval"}
    if method == "bootstrap":
        return {**result, **_bootstrap_mean(x, codes, level, draws, seed)}
    return {**result, **_student(result["mean"], error, n_groups - 1, level, bounds)}


def wilson(successes: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Return the Wilson interval of proportions, for numbers or arrays; NaN where there are no trials."""
    from statsmodels.stats.proportion import proportion_confint

    trials = np.asarray(n, np.float64)
    known = np.where(trials > 0, trials, np.nan)
    hits = np.asarray(successes, np.float64)
    low, high = proportion_confint(hits, known, alpha=1 - level, method="wilson")
    return np.where(hits * known == 0, 0.0, np.clip(low, 0.0, 1.0)), np.clip(high, 0.0, 1.0)


def clusters(table: pd.DataFrame, column: str = "template", item: str = "question_id") -> pd.Series:
    """Return the cluster of each row: its value of `column` if there is one, else the item."""
    if column not in table:
        return table[item].astype(str)
    return table[column].where(table[column].notna(), table[item]).astype(str)


def listed(names: str | Sequence[str] | None) -> list[str]:
    """Return column names as a list, given one, several or none."""
    if names is None:
        return []
    return [names] if isinstance(names, str) else list(names)


def need(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Raise InputError if a table is empty or lacks a column."""
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
    """Return a column as floats."""
    try:
        return table[name].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise InputError(f"Column {name!r} is not numeric; choose a metric column.") from None


def _metric_columns(table: pd.DataFrame, others: list[str]) -> list[str]:
    names = [str(name) for name, kind in table.dtypes.items() if kind.kind in "fb" and name not in others]
    if not names:
        raise InputError("The table has no column of floats or booleans; name the columns to summarise.")
    return names


def check_settings(method: str, level: float) -> None:
    """Raise InputError for an unknown method, or a level outside (0, 1)."""
    if method not in METHODS:
        raise unknown("method", method, list(METHODS))
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, not {level!r}.")


def _defined(values: ArrayLike, clusters: ArrayLike | None) -> tuple[Floats, Ints, int]:
    """The values that are not NaN, their cluster codes, and the number of NaNs."""
    everything = np.asarray(values, np.float64)
    if np.isinf(everything).any():
        raise InputError("A mean needs finite values; this sample contains infinity.")
    kept = ~np.isnan(everything)
    x = everything[kept]
    codes = np.arange(len(x)) if clusters is None else pd.factorize(np.asarray(clusters)[kept])[0]
    if (codes < 0).any():
        raise InputError("A cluster label is missing; give every item its cluster.")
    return x, codes, int((~kept).sum())


def _standard_error(x: Floats, codes: Ints) -> float:
    """Clustered standard error of the mean; with one item per cluster it is sd / sqrt(n)."""
    sums = np.bincount(codes, x - x.mean())
    return float(np.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)) / len(x))


def _student(mean: float, se: float, df: float, level: float, bounds: Bounds | None = None) -> Interval:
    """Student's interval of a mean; with bounds that of logit((mean - a) / (b - a)), transformed back."""
    from scipy.special import expit, logit, stdtrit

    half = float(stdtrit(df, (1 + level) / 2)) * se
    if bounds is None:
        return {"se": se, "low": mean - half, "high": mean + half}
    start, width = bounds[0], bounds[1] - bounds[0]
    rate = (mean - start) / width
    half /= width * rate * (1 - rate)
    low, high = (start + width * float(expit(logit(rate) + end)) for end in (-half, half))
    return {"se": se, "low": low, "high": high, "method": "logit-t"}


def _constant(x: Floats) -> bool:
    """Whether all values are equal up to rounding."""
    return bool(np.ptp(x) <= ROUNDING * max(1.0, np.abs(x).max()))


def _inside(x: Floats, bounds: Bounds) -> Floats:
    """The values, checked to lie within their bounds up to rounding."""
    start, end = bounds
    if not start < end:
        raise InputError(f"bounds must be two numbers in order, not {bounds!r}.")
    if len(x) and (x.min() < start - 1e-9 or x.max() > end + 1e-9):
        raise InputError(
            f"A value is not between {start:g} and {end:g}; pass the range of the metric as bounds, or none (method "
            "'wilson' needs values between 0 and 1)."
        )
    return np.clip(x, start, end)


def _effective(x: Floats, codes: Ints) -> float:
    """Number of independent items with the same error as the clusters; the number of clusters if nothing varies."""
    groups = len(np.unique(codes))
    if groups in (1, len(x)) or _constant(x):
        return groups
    error = _standard_error(x, codes)
    return float(np.clip(x.mean() * (1 - x.mean()) / error**2, 1, len(x))) if error > ROUNDING else groups


def _wilson(x: Floats, codes: Ints, level: float, bounds: Bounds) -> Interval:
    """Wilson interval of the mean of values in a range; conservative for values between its ends."""
    start, width = bounds[0], bounds[1] - bounds[0]
    n, rate = _effective((x - start) / width, codes), float((x.mean() - start) / width)
    low, high = wilson(rate * n, n, level)
    return {
        "se": float(width * np.sqrt(max(rate * (1 - rate), 0.0) / n)),
        "low": start + width * float(low),
        "high": start + width * float(high),
        "method": "wilson",
    }


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


def _macro_interval(
    values: Floats, labels: pd.Series, clusters: pd.Series | None, level: float, bounds: Bounds | None
) -> Interval:
    """Unweighted mean over fixed groups."""
    if clusters is not None and (labels.groupby(clusters.to_numpy()).nunique() > 1).any():
        raise InputError("A cluster occurs in several groups of the macro mean; use different names in each group.")
    parts = []
    for rows in labels.reset_index(drop=True).groupby(labels.to_numpy(), sort=False, dropna=False).indices.values():
        parts.append(_defined(values[rows], None if clusters is None else clusters.to_numpy()[rows]))
    parts = [(x if bounds is None else _inside(x, bounds), codes, lost) for x, codes, lost in parts if len(x)]
    errors = np.array([_standard_error(x, c) if len(np.unique(c)) > 1 else np.nan for x, c, _ in parts])
    df = np.array([len(np.unique(c)) - 1 for _, c, _ in parts])
    n = sum(len(x) for x, _, _ in parts)
    result: Interval = {
        "mean": float(np.mean([x.mean() for x, _, _ in parts])) if parts else np.nan,
        "se": float(np.sqrt(np.sum(errors**2)) / len(parts)) if parts else np.nan,
        **{"low": np.nan, "high": np.nan, "n": n, "n_undefined": len(values) - n},
        "n_clusters": np.nan if clusters is None else int((df + 1).sum()),
        **{"method": "t", "note": f"mean over {len(parts)} groups"},
    }
    if not parts or np.isnan(errors).any():
        return {**result, "note": f"{result['note']}; one of them has a single value: no interval"}
    if (errors <= ROUNDING).all():
        return {**result, "note": f"{result['note']}; {NO_VARIATION}"}
    pooled = float(np.sum(errors**2) ** 2 / np.sum(errors**4 / df))
    return {**result, **_student(result["mean"], result["se"], pooled, level, bounds)}
