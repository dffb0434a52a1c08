"""Two models on the same items, and p-values adjusted for their number."""

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
"""Up to this many pairs (or clusters) the sign-flip test lists all patterns."""


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
    """Two models, or two readings, on the same items: `a - b` item by item.

    Where no item of a metric with a known range differs, no more than a share of items that has the Wilson interval of
    0 of n differs at all, and the interval is that share of the range to either side. Booleans have the range (0, 1),
    and so has a column that holds 0 and 1 and nothing else; another without `bounds` has no interval then.

    Args:
        a: One row per item with `on` and the columns.
        b: The same items.
        columns: The metrics to compare.
        on: Columns that name an item.
        by: Columns of `a` that make the groups.
        cluster: Column of `a` of items that belong together; their signs flip together.
        method: Interval of the mean difference.
        level: Coverage of the interval.
        draws: Bootstrap samples and, beyond 16 pairs or clusters that differ, random sign patterns.
        seed: Of both.
        bounds: The range of the metrics, of all or by name; a difference has twice its width, see `summarise`.

    Returns:
        The columns of `summarise`, where `mean` is the mean difference, then `mean_a`, `mean_b`, `p_permutation`
        (two-sided sign-flip test) and `p_mcnemar` (exact; NaN unless the values are 0 and 1).

    Raises:
        InputError: The two tables do not hold the same items once each.
    """
    names, keys, groups = listed(columns), listed(on), listed(by)
    need(a, [*keys, *names, *groups, *listed(cluster)])
    need(b, [*keys, *names])
    _check_same_items(a, b, keys)
    other = b[[*keys, *names]].rename(columns={name: f"{name} of b" for name in names})
    known = bounds if isinstance(bounds, Mapping) else dict.fromkeys(names, bounds)
    rows = []
    for key, part in grouped(a.merge(other, on=keys), groups):
        clusters = part[cluster].to_numpy() if cluster else None
        for name in names:
            one, two = numbers(part, name), numbers(part, f"{name} of b")
            used = ~np.isnan(one - two)
            ends = known.get(name) or (SHARE if _holds_0_and_1(part[[name, f"{name} of b"]]) else None)
            width = ends[1] - ends[0] if ends else np.nan
            found = interval(one - two, clusters, method, level, draws, seed, (-width, width) if ends else None)
            if ends and found["mean"] == 0 and found["note"] == NO_VARIATION:
                found |= _nothing_differs(found, width, level)
            rows.append({**key, "metric": name, **found, **_tests(one, two, used, clusters, draws, seed)})
    return pd.DataFrame(rows)


def sign_flip_p(differences: ArrayLike, clusters: ArrayLike | None = None, draws: int = 9999, seed: int = 0) -> float:
    """Two-sided p of a mean difference as large, if every sign (of a whole cluster) could as well be the other.

    Exact up to 16 pairs or clusters that differ, else from seeded draws as (1 + hits) / (1 + draws).
    """
    d = np.asarray(differences, np.float64)
    if not len(d):
        return float("nan")
    sums = d if clusters is None else np.bincount(pd.factorize(np.asarray(clusters))[0], d)
    sums = sums[sums != 0]
    if len(sums) < 2:
        return 1.0
    from scipy.stats import permutation_test

    exact = len(sums) <= EXACT_SIGN_FLIPS
    test = permutation_test(
        (sums,),
        np.sum,
        permutation_type="samples",
        n_resamples=np.inf if exact else draws,
        vectorized=True,
        batch=256,
        rng=seed,
    )
    return float(test.pvalue)


def mcnemar_p(a: ArrayLike, b: ArrayLike) -> float:
    """Exact McNemar p of two 0/1 columns on the same items; NaN for other values."""
    one, two = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not len(one) or not np.isin([one, two], [0.0, 1.0]).all():
        return float("nan")
    from statsmodels.stats.contingency_tables import mcnemar

    table = pd.crosstab(one, two).reindex(index=[0.0, 1.0], columns=[0.0, 1.0], fill_value=0)
    return float(mcnemar(table.to_numpy(), exact=True).pvalue)


def adjusted(p: ArrayLike, method: Literal["holm", "fdr_bh"] = "holm") -> Floats:
    """p-values adjusted for their number, by Holm or Benjamini-Hochberg; NaN stays NaN and does not count."""
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
    """Rank or linear correlation over the items known to both; NaN for fewer than `fewest` or constant values."""
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
    """Intraclass correlations of a two-way table without replication (McGraw and Wong 1996).

    Args:
        ratings: `[targets, raters]`, complete.
        estimated: Cells that were filled in; each takes a degree of freedom from the error.

    Returns:
        `consistency` (ICC(C,1)), `agreement` (ICC(A,1)), `consistency_k` (ICC(C,k)), and the proportions of the sum of
        squares of `targets`, `raters` and the `rest`; NaN where nothing varies.
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
    found = {
        "consistency": (between - error, between + (k - 1) * error),
        "agreement": (between - error, between + (k - 1) * error + k * (across - error) / n),
        "consistency_k": (between - error, between),
        **{name: (part, sum(parts)) for name, part in zip(("targets", "raters", "rest"), parts)},
    }
    return {name: float(above / below) if below else float("nan") for name, (above, below) in found.items()}


def _holds_0_and_1(values: pd.DataFrame) -> bool:
    """Whether both columns are booleans, or hold 0 and 1 and nothing else."""
    kinds = {dtype.kind for dtype in values.dtypes}
    found = np.unique(values.to_numpy(np.float64, na_value=np.nan))
    return kinds == {"b"} or found[~np.isnan(found)].tolist() == [0.0, 1.0]


def _nothing_differs(found: Interval, width: float, level: float) -> Interval:
    n = found["n"] if np.isnan(found["n_clusters"]) else found["n_clusters"]
    most = float(wilson(0, n, level)[1]) * width
    return {"low": -most, "high": most, "method": "wilson", "note": "no item differs: Wilson interval of 0 of n"}


def _tests(
    one: Floats, two: Floats, used: np.ndarray, clusters: np.ndarray | None, draws: int, seed: int
) -> dict[str, float]:
    """What a comparison shows beside its interval, over the items defined in both."""
    one, two = one[used], two[used]
    return {
        "mean_a": float(one.mean()) if len(one) else np.nan,
        "mean_b": float(two.mean()) if len(two) else np.nan,
        "p_permutation": sign_flip_p(one - two, None if clusters is None else clusters[used], draws, seed),
        "p_mcnemar": np.nan if clusters is not None else mcnemar_p(one, two),
    }


def _check_same_items(a: pd.DataFrame, b: pd.DataFrame, keys: list[str]) -> None:
    for name, table in (("first", a), ("second", b)):
        if (twice := table.duplicated(keys)).any():
            item = tuple(table.loc[twice, keys].iloc[0])
            raise InputError(
                f"The {name} table holds item {item} more than once; name all columns that tell items apart in `on`."
            )
    found = a[keys].merge(b[keys], on=keys, how="outer", indicator="side")
    lonely = found[found["side"] != "both"]
    if len(lonely):
        item = tuple(lonely[keys].iloc[0])
        raise InputError(
            f"The two tables differ in {len(lonely)} items, {item} among them; compare both on the same items."
        )
