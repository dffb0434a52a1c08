"""Two models on the same items, and p-values adjusted for their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.statistics.intervals import Floats, grouped, interval, listed, need, numbers

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
) -> pd.DataFrame:
    """Two models, or two readings, on the same items: `a - b` item by item.

    Where no item differs the interval is that of a share of 0 of n, to either side.

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
    rows = []
    for key, part in grouped(a.merge(other, on=keys), groups):
        clusters = part[cluster].to_numpy() if cluster else None
        for name in names:
            one, two = numbers(part, name), numbers(part, f"{name} of b")
            used = ~np.isnan(one - two)
            found = interval(one - two, clusters, method, level, draws, seed)
            if found["method"] == "wilson" and found["mean"] == 0:
                found["low"] = -found["high"]
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
    known = ~np.isnan(values)
    if known.any():
        from statsmodels.stats.multitest import multipletests

        values[known] = multipletests(values[known], method=method)[1]
    return values


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
