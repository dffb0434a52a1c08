"""Paired comparisons, adjusted p-values, correlations and intraclass correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.statistics.intervals import (
    NO_VARIATION,
    SHARE,
    Bounds,
    Floats,
    Interval,
    grouped,
    interval,
    listed,
    need,
    numbers,
    wilson,
)

Correlation = Literal["spearman", "kendall", "pearson"]
EXACT_SIGN_FLIPS = 16
"""Number of pairs (or clusters) up to which the sign-flip test enumerates all patterns."""
EXACT_JOINT_FLIPS = 13
"""The same for the tests of all pairs of several models."""
FLIPS_AT_ONCE = 4_000_000
"""Most numbers in one block of sign patterns."""


def paired(
    a: pd.DataFrame,
    b: pd.DataFrame,
    columns: str | Sequence[str],
    on: str | Sequence[str] = "question_id",
    by: str | Sequence[str] | None = None,
    cluster: str | None = None,
    method: Literal["t", "bootstrap"] = "t",
    level: float = 0.95,
    draws: int = 9999,
    seed: int = 0,
    bounds: Bounds | Mapping[str, Bounds] | None = None,
) -> pd.DataFrame:
    """Compare two models or conditions on the same items: statistics of `a - b` per item.

    If no item differs and the metric has a range, the interval is that of the proportion of items that differ (Wilson
    interval of 0 of n), times the width of the range, to either side. Booleans have the range (0, 1), as have columns
    of 0 and 1 only; other columns without `bounds` have no interval then.

    Args:
        a: One row per item with `on` and the columns.
        b: The same items.
        columns: Metrics to compare.
        on: Columns that identify an item.
        by: Columns of `a` to group by.
        cluster: Column of `a` with the cluster of each item; the signs of a cluster flip together.
        method: Interval of the mean difference.
        level: Coverage of the interval.
        draws: Number of bootstrap samples and, with more than 16 differing pairs or clusters, of random sign patterns.
        seed: Seed of both.
        bounds: Range of all metrics, or of each by name; a difference has twice its width, see `summarise`.

    Returns:
        The columns of `summarise` with the mean difference as `mean`, then `mean_a`, `mean_b`, `p_permutation`
        (two-sided sign-flip test) and `p_mcnemar` (exact; NaN unless the values are 0 and 1).

    Raises:
        InputError: The two tables do not have the same items, once each.
    """
    names, keys, groups = listed(columns), listed(on), listed(by)
    need(a, [*keys, *names, *groups, *listed(cluster)])
    need(b, [*keys, *names])
    _check_same_items(a, b, keys)
    other = b[[*keys, *names]].rename(columns={name: f"{name} of b" for name in names})
    ranges = bounds if isinstance(bounds, Mapping) else dict.fromkeys(names, bounds)
    rows = []
    for key, part in grouped(a.merge(other, on=keys), groups):
        clusters = part[cluster].to_numpy() if cluster else None
        for name in names:
            one, two = numbers(part, name), numbers(part, f"{name} of b")
            ends = ranges.get(name) or (SHARE if _is_binary(part[[name, f"{name} of b"]]) else None)
            width = ends[1] - ends[0] if ends else np.nan
            result = interval(one - two, clusters, method, level, draws, seed, (-width, width) if ends else None)
            if ends and result["mean"] == 0 and result["note"] == NO_VARIATION:
                result |= _no_difference(result, width, level)
            rows.append({**key, "metric": name, **result, **_tests(one, two, clusters, draws, seed)})
    return pd.DataFrame(rows)


def sign_flip_p(differences: ArrayLike, clusters: ArrayLike | None = None, draws: int = 9999, seed: int = 0) -> float:
    """Return the two-sided p-value of a mean difference under random sign flips of items or whole clusters.

    Exact for up to 16 pairs or clusters that differ, otherwise (1 + hits) / (1 + draws).
    """
    d = np.asarray(differences, np.float64)
    if not len(d):
        return float("nan")
    sums = d if clusters is None else np.bincount(pd.factorize(np.asarray(clusters))[0], d)
    sums = sums[sums != 0]
    if len(sums) < 2:
        return 1.0
    from scipy.stats import permutation_test

    n = np.inf if len(sums) <= EXACT_SIGN_FLIPS else draws
    how = {"permutation_type": "samples", "n_resamples": n, "vectorized": True, "batch": 256, "rng": seed}
    return float(permutation_test((sums,), np.sum, **how).pvalue)


def pairwise_p(values: ArrayLike, clusters: ArrayLike | None = None, draws: int = 9999, seed: int = 0) -> Floats:
    """Return the sign-flip p-values of all pairs of models on the same items, `[models, models]`; not adjusted.

    The tests share their sign patterns, of items or of whole clusters. Exact for up to 13 of these, otherwise
    (1 + hits) / (1 + draws); the diagonal is 1.

    Args:
        values: `[items, models]`, without NaN.
        clusters: Cluster of each item.
        draws: Number of random sign patterns.
        seed: Seed of them.
    """
    x = np.asarray(values, np.float64)
    codes = np.arange(len(x)) if clusters is None else pd.factorize(np.asarray(clusters))[0]
    sums = np.zeros((codes.max(initial=-1) + 1, x.shape[1]))
    np.add.at(sums, codes, x)
    units, exact = len(sums), len(sums) <= EXACT_JOINT_FLIPS
    total = 2**units if exact else draws
    rng, hits = np.random.default_rng(seed), np.zeros((x.shape[1], x.shape[1]))
    observed = np.abs(sums.sum(axis=0)[:, None] - sums.sum(axis=0))
    least = observed - 1e-9 * max(1.0, np.abs(sums).sum())
    step = max(1, FLIPS_AT_ONCE // max(units, 1))
    for start in range(0, total, step):
        count = min(step, total - start)
        bits = (start + np.arange(count))[:, None] >> np.arange(units) & 1 if exact else None
        signs = 2.0 * (rng.integers(2, size=(count, units)) if bits is None else bits) - 1.0
        flipped = signs @ sums
        for one in range(x.shape[1]):
            hits[one] += (np.abs(flipped[:, one, None] - flipped) >= least[one]).sum(axis=0)
    return hits / total if exact else (1 + hits) / (1 + total)


def holm_pairs(p: Floats) -> Floats:
    """Return a symmetric matrix of p-values, `[models, models]`, adjusted by Holm's method over all pairs."""
    upper = np.triu_indices(len(p), 1)
    result = np.ones_like(p)
    result[upper] = adjusted(p[upper])
    return np.minimum(result, result.T)


def kendall_w(scores: ArrayLike) -> Floats:
    """Return Kendall's coefficient of concordance of rankings, corrected for ties; NaN where nothing differs.

    Args:
        scores: `[..., raters, things]`; each rater ranks the things by its scores.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.asarray(scores, np.float64), axis=-1)
    raters, things = ranks.shape[-2:]
    totals = ranks.sum(axis=-2)
    spread = ((totals - totals.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    most = raters * ((ranks - (things + 1) / 2) ** 2).sum(axis=(-1, -2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(most > 0, spread / most, np.nan)


def mcnemar_p(a: ArrayLike, b: ArrayLike) -> float:
    """Return the exact McNemar p-value of two 0/1 columns on the same items; NaN for other values."""
    one, two = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not len(one) or not np.isin([one, two], [0.0, 1.0]).all():
        return float("nan")
    from statsmodels.stats.contingency_tables import mcnemar

    table = pd.crosstab(one, two).reindex(index=[0.0, 1.0], columns=[0.0, 1.0], fill_value=0)
    return float(mcnemar(table.to_numpy(), exact=True).pvalue)


def adjusted(p: ArrayLike, method: Literal["holm", "fdr_bh"] = "holm") -> Floats:
    """Return p-values adjusted for multiple testing (Holm or Benjamini-Hochberg); NaN stays NaN and is not counted."""
    if method not in ("holm", "fdr_bh"):
        raise unknown("adjustment", method, ["holm", "fdr_bh"])
    values = np.array(p, np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if method == "holm":  # statsmodels collects garbage in each call of its own, half a second beside a model
        ordered = known[np.argsort(values[known])]
        values[ordered] = np.minimum(np.maximum.accumulate(values[ordered] * np.arange(len(ordered), 0, -1)), 1.0)
    elif len(known):
        from statsmodels.stats.multitest import multipletests

        values[known] = multipletests(values[known], method=method)[1]
    return values


def correlation(x: ArrayLike, y: ArrayLike, kind: Correlation = "spearman", fewest: int = 2) -> float:
    """Return the correlation over items with both values; NaN for fewer than `fewest` items or constant values."""
    from scipy.stats import kendalltau, pearsonr, spearmanr

    if kind not in get_args(Correlation):
        raise unknown("correlation", kind, list(get_args(Correlation)))
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = ~np.isnan(a + b)
    a, b = a[known], b[known]
    if len(a) < max(fewest, 2) or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float({"spearman": spearmanr, "kendall": kendalltau, "pearson": pearsonr}[kind](a, b).statistic)


def icc(ratings: ArrayLike, estimated: int = 0) -> dict[str, float]:
    """Return intraclass correlations of a two-way table without replication (McGraw and Wong 1996).

    Args:
        ratings: `[targets, raters]`, complete.
        estimated: Number of imputed cells; each costs the error one degree of freedom.

    Returns:
        `consistency` (ICC(C,1)), `agreement` (ICC(A,1)), `consistency_k` (ICC(C,k)), and the proportions of the sum of
        squares of `targets`, `raters` and the `rest`; NaN if nothing varies.
    """
    y = np.asarray(ratings, np.float64)
    n, k = y.shape
    rows, columns, grand = y.mean(axis=1, keepdims=True), y.mean(axis=0), y.mean()
    parts = [
        k * np.sum((rows - grand) ** 2),
        n * np.sum((columns - grand) ** 2),
        np.sum((y - rows - columns + grand) ** 2),
    ]
    freedom = [n - 1, k - 1, max((n - 1) * (k - 1) - estimated, 1)]
    between, across, error = (part / df for part, df in zip(parts, freedom))
    ratios = {
        "consistency": (between - error, between + (k - 1) * error),
        "agreement": (between - error, between + (k - 1) * error + k * (across - error) / n),
        "consistency_k": (between - error, between),
        **{name: (part, sum(parts)) for name, part in zip(("targets", "raters", "rest"), parts)},
    }
    return {name: float(above / below) if below else float("nan") for name, (above, below) in ratios.items()}


def _is_binary(values: pd.DataFrame) -> bool:
    """Whether both columns are booleans, or have both 0 and 1 and no other value."""
    distinct = np.unique(values.to_numpy(np.float64, na_value=np.nan))
    return {dtype.kind for dtype in values.dtypes} == {"b"} or distinct[~np.isnan(distinct)].tolist() == [0.0, 1.0]


def _no_difference(result: Interval, width: float, level: float) -> Interval:
    n = result["n"] if np.isnan(result["n_clusters"]) else result["n_clusters"]
    most = float(wilson(0, n, level)[1]) * width
    return {"low": -most, "high": most, "method": "wilson", "note": "no item differs: Wilson interval of 0 of n"}


def _tests(one: Floats, two: Floats, clusters: np.ndarray | None, draws: int, seed: int) -> dict[str, float]:
    """The means and p-values of a comparison, over the items defined in both."""
    used = ~np.isnan(one - two)
    one, two = one[used], two[used]
    return {
        "mean_a": float(one.mean()) if len(one) else np.nan,
        "mean_b": float(two.mean()) if len(two) else np.nan,
        "p_permutation": sign_flip_p(one - two, None if clusters is None else clusters[used], draws, seed),
        "p_mcnemar": np.nan if clusters is not None else mcnemar_p(one, two),
    }


def _check_same_items(a: pd.DataFrame, b: pd.DataFrame, keys: list[str]) -> None:
    for name, table in (("first", a), ("second", b)):
        if (repeated := table.duplicated(keys)).any():
            item = tuple(table.loc[repeated, keys].iloc[0])
            raise InputError(
                f"The {name} table has item {item} more than once; name all columns that identify an item in `on`."
            )
    sides = a[keys].merge(b[keys], on=keys, how="outer", indicator="side")
    unmatched = sides[sides["side"] != "both"]
    if len(unmatched):
        item = tuple(unmatched[keys].iloc[0])
        raise InputError(
            f"The two tables differ in {len(unmatched)} items, {item} among them; compare both on the same items."
        )
