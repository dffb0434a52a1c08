"""Stability of survey answers over formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.cultural_alignment.surveys import scores
from workbench.errors import InputError, unknown
from workbench.statistics import adjusted, interval, sign_flip_p
from workbench.statistics.comparisons import icc
from workbench.statistics.distances import Floats, tv

COUNTRY_SD = 0.114
"""Mean over items of the sd across countries of human answers on a 0-1 scale, in the paper's survey data."""


DRAWS = 10_000


def shift(after: ArrayLike, before: ArrayLike, country_sd: float = COUNTRY_SD, seed: int = 0) -> dict[str, Any]:
    """How far a change of format moves the same items.

    Args:
        after: Oriented 0-1 scores under the second level of a factor, `[items]`; NaN where an item was not asked.
        before: The same items under the first level.
        country_sd: What the shift is compared with: sd between countries on the same scale.
        seed: Of the random sign patterns (beyond 16 items that differ).

    Returns:
        `mean` of d = after - before with `low`, `high`; `mean_abs` with `abs_low`, `abs_high`; `d_z` = mean / sd; `p`
        (sign-flip); `ratio` = mean |d| / country_sd with its interval; `n`, `n_dropped`.
    """
    one, two = np.asarray(after, np.float64), np.asarray(before, np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise InputError(f"The two levels have shapes {one.shape} and {two.shape}; give one score per item each.")
    if not country_sd > 0:
        raise InputError(f"country_sd must be positive, not {country_sd!r}.")
    d = one - two
    used = d[~np.isnan(d)]
    signed, size = _interval(used, (-1.0, 1.0)), _interval(np.abs(used), (0.0, 1.0))
    spread = float(used.std(ddof=1)) if len(used) > 1 else np.nan
    found: dict[str, Any] = {name: signed[name] for name in ("mean", "low", "high", "n", "note")}
    found |= {"mean_abs": size["mean"], "abs_low": size["low"], "abs_high": size["high"]}
    found["d_z"] = found["mean"] / spread if spread > 0 else np.nan
    found["p"] = sign_flip_p(used, draws=DRAWS, seed=seed)
    for name, part in (("ratio", "mean_abs"), ("ratio_low", "abs_low"), ("ratio_high", "abs_high")):
        found[name] = found[part] / country_sd
    return {**found, "n_dropped": int(np.isnan(d).sum())}


def stability(
    responses: pd.DataFrame,
    factors: Mapping[str, Sequence[Any]] | Sequence[str],
    country_sd: float = COUNTRY_SD,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per format factor and contrast: what changing it alone does to the answers.

    Only questions that differ in nothing but the factor are compared (the tag `format_*` of the rest must agree),
    then averaged per item, so an incomplete design cannot mix two factors.

    Args:
        responses: Made by `reads.responses`, with the tags `item` and the factors.
        factors: Names of the factors, or name -> levels of which the first is compared with each other one.
        country_sd: See `shift`.
        seed: See `shift`.

    Returns:
        `factor`, `level_0`, `level_1`, the columns of `shift`, `flip_rate` (share of answer pairs whose most probable
        option changes, with n_pairs), `tvd` (mean total variation; both NaN between scales of different size), and
        for agreement before it is turned by the key `mean_raw` and `p_raw`: with balanced keys a pull towards agreeing
        or towards a slot cancels in `mean` and shows here only. Both p are adjusted by Holm over all rows.
    """
    found = scores(responses)
    wide = responses.pivot(index="question_id", columns="level", values="p")
    named = factors if isinstance(factors, Mapping) else {name: [] for name in factors}
    rows = []
    for factor, levels in named.items():
        if factor not in found.columns:
            raise unknown("factor", factor, [str(name) for name in found.columns])
        levels = list(levels) or list(dict.fromkeys(found[factor]))
        for level in levels[1:]:
            both = _matched(found, factor, levels[0], level, list(named))
            moved = both.groupby("item")[["x_0", "x_1", "x_raw_0", "x_raw_1"]].mean()
            about = {"factor": factor, "level_0": levels[0], "level_1": level}
            agree = shift(moved["x_raw_1"], moved["x_raw_0"], country_sd, seed)
            raw = {"mean_raw": agree["mean"], "p_raw": agree["p"]}
            about |= shift(moved["x_1"], moved["x_0"], country_sd, seed) | raw
            rows.append({**about, **_changes(both, wide)})
    return with_holm(pd.DataFrame(rows))


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `stability` rows with `p_holm` and `p_raw_holm`, each adjusted over all its rows."""
    return table.assign(p_holm=adjusted(table["p"]), p_raw_holm=adjusted(table["p_raw"])) if len(table) else table


@dataclass(frozen=True, slots=True)
class VarianceShares:
    """Two-way decomposition of scores `[countries, formats]` without replication."""

    country: float
    """Share of the sum of squares between countries."""
    format: float
    """Share between formats."""
    rest: float
    """What remains: countries that change place with the format, and noise."""
    icc_agreement: float
    """ICC(2,1): one format stands for another, levels included; may be negative."""
    icc_consistency: float
    """ICC(3,1): the same, order only."""
    n_countries: int
    """Rows used."""
    n_formats: int
    """Columns."""
    n_dropped: int
    """Rows left out because a format was missing."""
    note: str = ""
    """Why the numbers are NaN, if they are."""


def variance_shares(scores_by_format: ArrayLike) -> VarianceShares:
    """How much of the variation of `[countries, formats]` belongs to countries, and how much to the format.

    Rows with a missing format are left out and counted. Fewer than two rows or columns, or no variation, give NaN.
    """
    y = np.asarray(scores_by_format, np.float64)
    if y.ndim != 2:
        raise InputError(f"Scores have shape {y.shape}; give one row per country and one column per format.")
    whole = ~np.isnan(y).any(axis=1)
    y = y[whole]
    (n, k), lost = y.shape, int((~whole).sum())
    if n < 2 or k < 2:
        return _no_shares(n, k, lost, "needs two countries and two formats")
    if np.ptp(y) == 0:
        return _no_shares(n, k, lost, "no variance")
    found = icc(y)
    targets, raters, rest = (found[name] for name in ("targets", "raters", "rest"))
    return VarianceShares(targets, raters, rest, found["agreement"], found["consistency"], n, k, lost)


def choice_preference(trials: pd.DataFrame, k: int) -> pd.DataFrame:
    """How strongly each of a set is preferred, from ratings of ordered pairs (1: the first, k: the second).

    A rating v counts k + 1 - v for the first and v for the second; the mean m becomes (m - 1) / (k - 1).

    Args:
        trials: Columns `first`, `second`, `rating` (a number or an expectation between 1 and k).
        k: Points of the scale; odd ones have a neutral middle.

    Returns:
        One row per name: `preference` (0.5 is neutral), `n`, and `unbalanced` where a pair lacks its reverse.
    """
    if k < 2:
        raise InputError(f"A scale needs at least two points, not {k}.")
    if (same := trials["first"] == trials["second"]).any():
        raise InputError(f"{trials.loc[same, 'first'].iloc[0]!r} is paired with itself; leave that row out.")
    rating = trials["rating"].to_numpy(np.float64)
    if not ((rating >= 1) & (rating <= k)).all():
        raise InputError(f"Ratings must lie between 1 and {k}; undo any reordering and drop missing ones first.")
    pairs = set(zip(trials["first"], trials["second"]))
    lonely = {name for a, b in pairs if (b, a) not in pairs for name in (a, b)}
    sides = [
        pd.DataFrame({"name": trials["first"], "points": k + 1 - rating}),
        pd.DataFrame({"name": trials["second"], "points": rating}),
    ]
    points = pd.concat(sides).groupby("name", sort=False)["points"].agg(["mean", "size"]).reset_index()
    points["preference"] = (points["mean"] - 1) / (k - 1)
    points["unbalanced"] = points["name"].isin(lonely)
    return points.rename(columns={"size": "n"})[["name", "preference", "n", "unbalanced"]]


def _interval(values: Floats, bounds: tuple[float, float]) -> dict[str, Any]:
    """A t interval in its range; none where nothing varies, as a shift is no share that Wilson's would fit."""
    found = interval(values, bounds=bounds)
    return found if found["method"] != "wilson" else {**found, "low": np.nan, "high": np.nan, "note": "no variation"}


def _no_shares(n: int, k: int, lost: int, note: str) -> VarianceShares:
    return VarianceShares(np.nan, np.nan, np.nan, np.nan, np.nan, n, k, lost, note)


def _matched(found: pd.DataFrame, factor: str, first: Any, second: Any, factors: list[str]) -> pd.DataFrame:
    """Pairs of questions that differ in the factor alone."""
    keys = [name for name in ("item", "persona", *factors) if name in found.columns and name != factor]
    kept = ["question_id", "x", "x_raw", "modal", "n_levels"]
    sides = [found.loc[found[factor] == level, [*keys, *kept]] for level in (first, second)]
    for level, side in zip((first, second), sides):
        if side.empty:
            raise unknown("level", level, [str(name) for name in dict.fromkeys(found[factor])], f" of {factor}")
    both = sides[0].merge(sides[1], on=keys, suffixes=("_0", "_1"))
    if both.empty:
        raise InputError(f"No two questions differ in {factor!r} alone ({first!r} and {second!r}); ask such pairs.")
    return both


def _changes(both: pd.DataFrame, wide: pd.DataFrame) -> dict[str, float]:
    """Flip rate and total variation of matched questions on scales of one size."""
    alike = both[both["n_levels_0"] == both["n_levels_1"]]
    if alike.empty:
        return {"flip_rate": np.nan, "tvd": np.nan, "n_pairs": 0}
    one, two = (np.nan_to_num(wide.loc[alike[f"question_id_{i}"]].to_numpy()) for i in (0, 1))
    flips = (alike["modal_0"] != alike["modal_1"]).mean()
    return {"flip_rate": float(flips), "tvd": float(tv(one, two).mean()), "n_pairs": len(alike)}
