"""Extrapolability: agreement of clusters on part of the dimensions with clusters on all, against noise."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.cultural_alignment.instruments import DIMENSIONS, country_scores
from workbench.cultural_alignment.instruments import profiles as dimension_profiles
from workbench.errors import InputError
from workbench.figures import curves, described
from workbench.statistics import Finding, finding, middle
from workbench.statistics.distances import Floats, Ints
from workbench.statistics.findings import no_rows
from workbench.tables import headed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLUSTERS = 3
"""Clusters of the notebook, fixed beforehand: a silhouette picks the edge on real data."""
STARTS, STEPS, TRIALS = 10, 100, 3
"""Runs of k-means per data set; most steps of Lloyd's algorithm; candidates for every further start (greedy k-means++,
as in scikit-learn for three clusters)."""
ELEMENTS = 4_000_000
"""Numbers in memory at once while many data sets are clustered or ranked."""
MINE, PUBLISHED = "the model's personas", "published country scores"


def many_kmeans(points: Floats, k: int, n_init: int = STARTS, seed: int = 0) -> Ints:
    """Return labels `[sets, n]` of the best of several k-means runs (k-means++, then Lloyd's steps) on each data set.

    `points` is `[sets, n, d]`; of the `n_init` runs the one with the least squared distance within clusters is chosen.
    """
    sets, n, _ = points.shape
    x = np.repeat(points, n_init, axis=0)
    centres = _spread_starts(x, k, np.random.default_rng(seed))
    labels, moving = np.full(x.shape[:2], -1), np.arange(len(x))
    for _ in range(STEPS):
        new = _distances(x[moving], centres[moving]).argmin(axis=2)
        changed = (new != labels[moving]).any(axis=1)
        moving, new = moving[changed], new[changed]
        if not len(moving):
            break
        labels[moving] = new
        members = _members(new, k)
        size = members.sum(axis=1)[..., None]
        means = members.transpose(0, 2, 1) @ x[moving] / np.maximum(size, 1)
        centres[moving] = np.where(size > 0, means, centres[moving])
    within = _distances(x, centres).min(axis=2).sum(axis=1).reshape(sets, n_init)
    return labels.reshape(sets, n_init, n)[np.arange(sets), within.argmin(axis=1)]


def many_ari(a: Ints, b: Ints) -> Floats:
    """Return the adjusted Rand index of each row of labels `[sets, n]` with the same row of the other, `[sets]`."""
    both = _members(a, int(a.max()) + 1).transpose(0, 2, 1) @ _members(b, int(b.max()) + 1)
    counts = (both.reshape(len(a), -1), both.sum(axis=2), both.sum(axis=1))
    together, one, two = ((c * (c - 1) / 2).sum(axis=-1) for c in counts)
    by_chance = one * two / (a.shape[1] * (a.shape[1] - 1) / 2)
    room = (one + two) / 2 - by_chance
    return np.where(room > 0, (together - by_chance) / np.where(room > 0, room, 1.0), 1.0)


def _members(labels: Ints, k: int) -> Floats:
    """Return whether each point is in each cluster, `[sets, n, k]` of 0 and 1."""
    return (labels[..., None] == np.arange(k)).astype(np.float64)


def _distances(x: Floats, centres: Floats) -> Floats:
    """Return the squared distance of every point to every centre, `[sets, n, k]`."""
    return ((x[:, :, None, :] - centres[:, None, :, :]) ** 2).sum(axis=3)


def _spread_starts(x: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Return the starts of each set, `[sets, k, d]`, by greedy k-means++."""
    sets, n, d = x.shape
    chosen, rows = np.empty((sets, k, d)), np.arange(sets)[:, None]
    left = np.ones((sets, n))
    for i in range(k):
        far = np.where(left.sum(axis=1, keepdims=True) > 0, left, 1.0).cumsum(axis=1)
        draws = rng.random((sets, TRIALS if i else 1, 1)) * far[:, None, -1:]
        tried = x[rows, np.minimum((far[:, None, :] <= draws).sum(axis=2), n - 1)]
        after = _distances(x, tried) if i == 0 else np.minimum(_distances(x, tried), left[..., None])
        best = after.sum(axis=1).argmin(axis=1)[:, None]
        chosen[:, i], left = tried[rows, best][:, 0], after[rows, np.arange(n), best]
    return chosen


def ari_curve(scores: ArrayLike, seed: int = 0) -> pd.DataFrame:
    """Return the agreement of clusters on each proper subset of the dimensions with clusters on all of them.

    `scores` is `[countries, dimensions]`; rows with a NaN are left out. Columns: `size`, `subset` (indices, as "0-2"),
    `ari`, `n`, `n_dropped`, `k`.

    Raises:
        InputError: No more complete rows than clusters, or a dimension does not vary.
    """
    z, dropped = _standardised(scores)
    _need_more_than_clusters(len(z))
    subsets = _subsets(z.shape[1])
    table = pd.DataFrame({"size": [len(s) for s in subsets], "subset": ["-".join(map(str, s)) for s in subsets]})
    return table.assign(ari=_agreements(z[None], seed)[0], n=len(z), n_dropped=dropped, k=CLUSTERS)


def noise_curves(n: int, dimensions: int, draws: int = 200, seed: int = 0) -> pd.DataFrame:
    """Return the curves of Gaussian noise `[n, dimensions]`, one row per draw and one column per subset size."""
    _need_more_than_clusters(n)
    x = np.random.default_rng(seed).normal(size=(draws, n, dimensions))
    z = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    sizes = np.array([len(subset) for subset in _subsets(dimensions)])
    at_once = max(1, ELEMENTS // (n * dimensions * CLUSTERS * STARTS * (len(sizes) + 1)))
    curves = np.concatenate([_agreements(z[i : i + at_once], seed + i) for i in range(0, draws, at_once)])
    return pd.DataFrame({size: curves[:, sizes == size].mean(axis=1) for size in np.unique(sizes)})


def against_noise(curve: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """Return a curve less that of independent noise of the same shape, one row per subset size.

    Returns:
        `size`, `ari`, `mean` of the noise with `low` and `high` (2.5 and 97.5 percentiles over draws),
        `excess` (ari less `mean`) with `excess_low` and `excess_high` (ari less `high` and less `low`), one-sided
        Monte-Carlo `p` = (1 + draws as high) / (1 + draws), `n` and `draws`.
    """
    rows = []
    for size, part in curve.groupby("size"):
        if size not in noise.columns:
            raise InputError(f"The noise has no subsets of {size} dimensions; draw it for the same shape as the curve.")
        mine, drawn = float(part["ari"].mean()), noise[size].to_numpy()
        random = middle(drawn)
        p = (1 + int((drawn >= mine - 1e-12).sum())) / (1 + len(drawn))
        excess = {f"excess{end}": mine - random[of] for end, of in (("", "mean"), ("_low", "high"), ("_high", "low"))}
        band = {"size": size, "ari": mine, **{of: random[of] for of in ("mean", "low", "high")}}
        rows.append({**band, **excess, "p": p, "n": int(part["n"].iloc[0]), "draws": len(drawn)})
    return pd.DataFrame(rows)


def dimension_impact(curve: pd.DataFrame) -> pd.DataFrame:
    """Return the mean agreement of subsets with a dimension less that of subsets without it, by dimension and size."""
    members = curve["subset"].str.split("-").map(lambda part: {int(i) for i in part})
    rows = []
    for dimension in sorted(set().union(*members)):
        has = pd.Series([dimension in part for part in members], curve.index)
        for size, part in curve.groupby("size"):
            inside = has[part.index]
            impact = part["ari"][inside].mean() - part["ari"][~inside].mean()
            rows.append({"dimension": dimension, "size": size, "impact": impact})
    return pd.DataFrame(rows)


def mantel_splits(scores: ArrayLike) -> pd.DataFrame:
    """Return the held-out agreement of half of the dimensions with the other half: half (indices), rho, n, n_dropped.

    `rho` is Spearman's correlation between the two vectors of pairwise distances (NaN if one does not vary). Published
    national scores reach about 0.16, so a low value alone is not evidence against the model.
    """
    z, dropped = _standardised(scores)
    halves = ["-".join(map(str, half)) for half in _halves(z)]
    return pd.DataFrame({"half": halves, "rho": _held_out(z[None])[0], "n": len(z), "n_dropped": dropped})


def mantel_null(scores: ArrayLike, draws: int = 999, seed: int = 0) -> Floats:
    """Return the mean rho of `mantel_splits` with the rows of each dimension shuffled independently, `[draws]`."""
    z, _ = _standardised(scores)
    rng = np.random.default_rng(seed)
    at_once = max(1, ELEMENTS // (len(z) ** 2 * len(_halves(z)) * z.shape[1]))
    parts = [min(at_once, draws - i) for i in range(0, draws, at_once)]
    return np.concatenate([_held_out(rng.permuted(np.tile(z, (m, 1, 1)), axis=1)).mean(axis=1) for m in parts])


def split_half(profiles: ArrayLike, draws: int = 100, seed: int = 0) -> dict[str, float]:
    """Return the split-half reliability over items of an alignment profile `[items, countries]`.

    Returns:
        `rho` (mean Spearman of the profiles of random halves), `low` and `high` (2.5 and 97.5 percentiles),
        `spearman_brown` = 2 rho / (1 + rho), `n_items`, `n_countries`, `n_undefined` (halves with a constant profile).
    """
    from scipy.stats import spearmanr

    a = np.asarray(profiles, np.float64)
    if a.ndim != 2 or a.shape[0] < 2 or a.shape[1] < 3:
        raise InputError(f"profiles has shape {a.shape}; a split half needs two items and three countries.")
    rng = np.random.default_rng(seed)
    rho = np.full(draws, np.nan)
    for draw in range(draws):
        one, two = (np.nanmean(a[part], axis=0) for part in np.array_split(rng.permutation(len(a)), 2))
        if np.ptp(one) >= 1e-12 and np.ptp(two) >= 1e-12:
            rho[draw] = spearmanr(one, two).statistic
    halves = middle(rho)
    mean, ends = halves["mean"], {"low": halves["low"], "high": halves["high"]}
    brown = 2 * mean / (1 + mean) if mean > -1 else np.nan
    counts = {"n_items": len(a), "n_countries": a.shape[1], "n_undefined": draws - halves["n"]}
    return {"rho": mean, **ends, "spearman_brown": brown, **counts}


def _standardised(scores: ArrayLike) -> tuple[Floats, int]:
    """Return the complete rows as z-scores, and the number of rows left out."""
    x = np.asarray(scores, np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        raise InputError(f"scores has shape {x.shape}; give one row per country and at least two dimensions.")
    complete = ~np.isnan(x).any(axis=1)
    x = x[complete]
    if not len(x) or (np.ptp(x, axis=0) == 0).any():
        raise InputError("A dimension has the same score in every row, or no row is complete; add countries.")
    return (x - x.mean(axis=0)) / x.std(axis=0), int((~complete).sum())


def _need_more_than_clusters(n: int) -> None:
    if n <= CLUSTERS:
        raise InputError(f"{n} complete rows are too few for {CLUSTERS} clusters; use more rows.")


def _subsets(d: int) -> list[tuple[int, ...]]:
    """Return all proper subsets of the dimensions, by size."""
    return [subset for size in range(1, d) for subset in combinations(range(d), size)]


def _agreements(z: Floats, seed: int) -> Floats:
    """Return the agreement of clusters on every proper subset of dimensions with those on all, `[sets, subsets]`."""
    sets, n, d = z.shape
    masks = np.array([[i in subset for i in range(d)] for subset in (*_subsets(d), tuple(range(d)))], np.float64)
    parts = (z[:, None] * masks[:, None, :]).reshape(-1, n, d)
    labels = many_kmeans(parts, CLUSTERS, seed=seed).reshape(sets, len(masks), n)
    whole = np.repeat(labels[:, -1:], len(masks) - 1, axis=1)
    return many_ari(labels[:, :-1].reshape(-1, n), whole.reshape(-1, n)).reshape(sets, -1)


def _halves(z: Floats) -> list[tuple[int, ...]]:
    """Return the halves of the dimensions that contain the first dimension."""
    n, d = z.shape[-2:]
    if d < 2 or d % 2 or n < 3:
        raise InputError(f"{d} dimensions and {n} rows cannot be split; use an even number and at least three rows.")
    return [half for half in combinations(range(d), d // 2) if half[0] == 0]


def _held_out(z: Floats) -> Floats:
    """Return Spearman's rho of distances on each half with the rest, `[sets, splits]`; NaN if one is constant."""
    from scipy.stats import rankdata

    one, two = np.triu_indices(z.shape[1], 1)
    squares = (z[:, one] - z[:, two]) ** 2
    halves = _halves(z)
    inside = np.array([[i in half for i in range(z.shape[2])] for half in halves], np.float64)
    sides = [np.sqrt(squares @ mask.T).transpose(0, 2, 1) for mask in (inside, 1 - inside)]
    a, b = (rankdata(side, axis=2) for side in sides)
    a, b = a - a.mean(axis=2, keepdims=True), b - b.mean(axis=2, keepdims=True)
    size = np.sqrt((a**2).sum(axis=2) * (b**2).sum(axis=2))
    return np.where(size > 0, (a * b).sum(axis=2) / np.where(size > 0, size, 1.0), np.nan)


def profiles(scores: pd.DataFrame, names: list[str]) -> dict[str, pd.DataFrame]:
    """Return the dimension scores of the personas, and the published scores of the same countries if all have them.

    Name -> personas by dimensions; empty with fewer than four dimensions or four complete personas.
    """
    mine = dimension_profiles(scores)
    if mine.shape[1] < 4 or len(mine.dropna()) <= CLUSTERS:
        return {}
    published = country_scores().reindex(names)[DIMENSIONS].dropna()
    return {MINE: mine} | ({PUBLISHED: published} if len(published) == len(names) else {})


def subset_curves(sets: dict[str, pd.DataFrame], draws: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `against_noise` of every set of profiles, and the impact of each dimension on the model's curve.

    The curves have a column `profile`; the impact is dimensions by size of the subset. Both have no rows without sets.
    """
    if not sets:
        return (none := no_rows("Clusters need four dimensions and four personas with a score on each.")), none
    mine = sets[MINE]
    noise = noise_curves(len(mine.dropna()), mine.shape[1], draws, seed)
    curves = {name: ari_curve(part, seed) for name, part in sets.items()}
    against = [against_noise(part, noise).assign(profile=name) for name, part in curves.items()]
    impact = dimension_impact(curves[MINE])
    impact["dimension"] = impact["dimension"].map(dict(enumerate(mine.columns)))
    curve = headed(pd.concat(against, ignore_index=True), {"mean": "noise", "excess": "excess over noise"})
    return curve, impact.pivot(index="dimension", columns="size", values="impact")


def draw_curves(against: pd.DataFrame, n_personas: int) -> Figure | None:
    """Plot the curves of `subset_curves` and the band of the noise; None without curves."""
    if against.empty:
        return None
    band = against[against["profile"] == MINE].assign(profile="independent noise")
    lines = against.assign(mean=against["ari"], low=np.nan, high=np.nan)
    figure = curves(
        pd.concat([band, lines], ignore_index=True).drop(columns="n"),
        "size",
        by="profile",
        baseline=0.0,
        baseline_name="chance",
        xlabel=f"dimensions in the subset ({n_personas} personas in {CLUSTERS} clusters)",
        ylabel="adjusted Rand index",
        bars=f"middle 95% of {against['draws'].iloc[0]} draws of noise",
        why="one set of personas",
    )
    return described(figure, "Agreement of clusterings by subset size: personas, published scores, independent noise.")


def held_out(sets: dict[str, pd.DataFrame], draws: int = 999, seed: int = 0) -> pd.DataFrame:
    """Return the mean rho of `mantel_splits` of every set of profiles, with p and the 97.5 percentile of the null."""
    if not sets or sets[MINE].shape[1] % 2:
        return no_rows("Halves need four dimensions or more, an even number, and four personas.")
    rows = {}
    for name, part in sets.items():
        null, rho = mantel_null(part, draws=draws, seed=seed), mantel_splits(part)["rho"].mean()
        p = (1 + (null >= rho).sum()) / (1 + len(null))
        rows[name] = {"mean rho": rho, "p": p, "null 97.5%": pd.Series(null).quantile(0.975), "n": len(part)}
    return pd.DataFrame(rows).T.rename_axis("profile")


def findings(against: pd.DataFrame, sets: dict[str, pd.DataFrame]) -> list[Finding]:
    """Return the claim that half of the dimensions predict the clusters of all; none without curves."""
    if against.empty:
        return []
    half = sets[MINE].shape[1] // 2
    row = against[(against["size"] == half) & (against["profile"] == MINE)].iloc[0]
    claim = (
        "Half of the dimensions predict the clusters of all better than independent noise "
        f"(p = {row.p:.3f}, {row.draws} draws)"
    )
    ends = {"mean": row["excess"], "low": row["excess_low"], "high": row["excess_high"], "n": row["n"]}
    what = "adjusted Rand index minus that of noise, mean and middle 95%"
    return [finding(claim, "this notebook", ends, "above", 0.0, "", what, "noise")]
