"""Benchmark Harmony: how evenly accuracy is spread over the parts of a benchmark (arXiv 2509.25671)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.answers import block_starts
from workbench.errors import InputError, unknown
from workbench.statistics.distances import Floats, distributions, fractions

Kernel = Literal["gaussian", "none"]


KERNELS = ("gaussian", "none")


Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Harmony:
    """Harmony of one partition, with its controls."""

    harmony: float
    """Normalised entropy of the subdomains' shares, 0 to 1; NaN where no subdomain earns anything."""
    ceiling: float
    """Harmony of equal accuracies on subdomains of these sizes: what the sizes alone allow."""
    worst: float
    """Lowest accuracy of a subdomain."""
    weighted_variance: float
    """Variance of the subdomains' accuracies, weighted by size."""
    mean: float
    """Accuracy over all items."""
    k: int
    """Subdomains."""
    n: float
    """Items."""
    note: str = ""
    """Why a number is a convention or NaN."""


def harmony(
    accuracy: ArrayLike,
    sizes: ArrayLike,
    kernel: Kernel = "gaussian",
    bandwidth: float = 0.25,
    weighted: bool = True,
) -> Harmony:
    """Harmony of subdomains.

    Args:
        accuracy: Of each subdomain, `[k]`.
        sizes: Their items or weights, `[k]`, above 0.
        kernel: `gaussian` takes g = exp(-(f - mean)^2 / (2 bandwidth^2)), `none` takes g = f.
        bandwidth: Of the Gaussian kernel, in units of accuracy.
        weighted: Whether shares and mean weigh subdomains by size; if not, all weigh alike.

    Raises:
        InputError: A subdomain is empty, or a setting is unknown or out of bounds.
    """
    (f,) = fractions(accuracy=accuracy)
    size = np.asarray(sizes, np.float64)
    if size.shape != f.shape or not np.isfinite(size).all() or (size <= 0).any():
        raise InputError("sizes must hold one positive number per subdomain; leave empty subdomains out.")
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, list(KERNELS))
    if not bandwidth > 0:
        raise InputError(f"bandwidth must be above 0, not {bandwidth!r}.")
    w = size / size.sum()
    used = w if weighted else np.full(len(f), 1 / len(f))
    g = np.exp(-((f - used @ f) ** 2) / (2 * bandwidth**2)) if kernel == "gaussian" else f
    note = "one subdomain: 1 by convention" if len(f) == 1 else ""
    if not (used @ g):
        note = "no subdomain has a correct answer"
    return Harmony(
        harmony=_entropy(used * g),
        ceiling=_entropy(used),
        worst=float(f.min()),
        weighted_variance=float(w @ (f - w @ f) ** 2),
        mean=float(w @ f),
        k=len(f),
        n=float(size.sum()),
        note=note,
    )


def harmony_of_items(
    correct: ArrayLike,
    labels: ArrayLike,
    kernel: Kernel = "gaussian",
    bandwidth: float = 0.25,
    weighted: bool = True,
) -> Harmony:
    """Harmony of items `[N]` with the subdomain each belongs to, `[N]`; see `harmony`."""
    (right,) = fractions(correct=correct)
    codes = _codes(labels, len(right))
    sizes = np.bincount(codes)
    return harmony(np.bincount(codes, right) / sizes, sizes, kernel, bandwidth, weighted)


def harmony_test(
    correct: ArrayLike,
    labels: ArrayLike,
    kernel: Kernel = "gaussian",
    bandwidth: float = 0.25,
    weighted: bool = True,
    draws: int = 999,
    seed: int = 0,
    strata: ArrayLike | None = None,
) -> dict[str, float | str]:
    """Harmony against random partitions of the same sizes.

    Noise alone keeps harmony below its ceiling; only what lies below the random partitions speaks of the subdomains.

    Args:
        correct: Whether each item is right, `[N]`.
        labels: The subdomain of each, `[N]`.
        kernel: See `harmony`.
        bandwidth: See `harmony`.
        weighted: See `harmony`.
        draws: Random partitions.
        seed: Of them.
        strata: What a random partition leaves in place, `[N]`, as the number of options of each item: parts that differ
            in chance differ in accuracy whoever answers.

    Returns:
        The fields of `Harmony`, then `random_mean`, `random_low`, `random_high` (middle 95% of the random partitions)
        and `p_random`, the one-sided p of a harmony this low.
    """
    (right,) = fractions(correct=correct)
    codes = _codes(labels, len(right))
    found = harmony_of_items(right, codes, kernel, bandwidth, weighted)
    chance = _of_random_parts(right, codes, (kernel, bandwidth, weighted), draws, seed, strata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = np.nanquantile(chance, [0.025, 0.975])
        middle = float(np.nanmean(chance))
    below = float((1 + np.sum(chance <= found.harmony + 1e-12)) / (1 + draws))
    return {
        **asdict(found),
        **{"random_mean": middle, "random_low": float(low), "random_high": float(high)},
        "p_random": float("nan") if np.isnan(found.harmony) else below,
    }


def reader_range(
    readers: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]],
    bandwidth: float = 0.25,
    draws: int = 99,
    seed: int = 0,
) -> dict[str, float]:
    """How far harmony differs between readers of one benchmark, beside how far random parts make it differ.

    Every reader has clusters of its own, and their number and sizes alone move harmony: so each harmony is taken less
    the mean of random partitions of the same sizes. The range over readers is above 0 for noise too.

    Args:
        readers: Of each reader, whether each item is right, the subdomain of each, and the strata, `[N]`; see
            `harmony_test`.
        bandwidth: Of the Gaussian kernel.
        draws: Random partitions of each reader's items.
        seed: Of them.

    Returns:
        `range` (largest less smallest reader), `random_range` (mean over random partitions), `excess` (their
        difference, 0 for readers that answer at random) and `readers`.
    """
    gaps, random_gaps = [], []
    for number, (correct, labels, strata) in enumerate(readers):
        (right,) = fractions(correct=correct)
        codes = _codes(labels, len(right))
        chance = _of_random_parts(right, codes, ("gaussian", bandwidth, True), draws, seed + number, strata)
        gaps.append(harmony_of_items(right, codes, bandwidth=bandwidth).harmony - np.nanmean(chance))
        random_gaps.append(chance - np.nanmean(chance))
    found, by_chance = float(np.ptp(gaps)), float(np.nanmean(np.ptp(random_gaps, axis=0)))
    return {"range": found, "random_range": by_chance, "excess": found - by_chance, "readers": float(len(gaps))}


def within(values: ArrayLike, strata: ArrayLike | None, rng: np.random.Generator) -> Floats:
    """The values in random order, `[N]`, each staying within its stratum; anywhere without strata."""
    given = np.asarray(values, np.float64)
    codes = np.zeros(len(given)) if strata is None else pd.factorize(np.asarray(strata))[0]
    shuffled = np.empty_like(given)
    shuffled[np.argsort(codes, kind="stable")] = given[np.lexsort((rng.random(len(given)), codes))]
    return shuffled


def mean_variance(table: pd.DataFrame, by: str = "benchmark", value: str = "harmony") -> pd.DataFrame:
    """The mean-variance plane: per benchmark the mean and the variance (ddof 1) of harmony over its readers.

    Args:
        table: One row per benchmark and reader (a model, a readout, a normalisation).
        by: Column of the benchmark.
        value: Column of the harmony; NaN is left out.

    Returns:
        `by`, mean, variance (NaN with fewer than two readers), n.
    """
    groups = table.dropna(subset=[value]).groupby(by, sort=False)[value]
    return groups.agg(mean="mean", variance="var", n="count").reset_index()


def symmetric_kl(p: ArrayLike, floor: float = 1e-9) -> Floats:
    """Symmetrised Kullback-Leibler divergence KL(p || q) + KL(q || p) of every two rows, `[N, N]`, in nats.

    Args:
        p: One distribution per item over the same options, `[N, K]`.
        floor: Smallest probability; keeps the divergence finite where an option has none.
    """
    rows = np.maximum(distributions("p", p), floor)
    logs = np.log(rows)
    cross = rows @ logs.T
    own = np.diag(cross)
    return np.maximum(own[:, None] - cross + own[None, :] - cross.T, 0.0)


def similarity(p: ArrayLike, floor: float = 1e-9) -> Floats:
    """exp(-J / 2) of the symmetrised divergence J, `[N, N]`: 1 for equal distributions."""
    return np.exp(-symmetric_kl(p, floor) / 2)


@dataclass(frozen=True, slots=True)
class Partition:
    """Items in clusters by how alike the model answers them."""

    labels: Ints
    """Cluster of each item, `[N]`."""
    silhouettes: pd.DataFrame
    """Per number of clusters `k`: `silhouette` on 1 - similarity, and sizes of the `smallest` and largest cluster."""
    k: int
    """The number of clusters with the best silhouette."""
    note: str = ""
    """What to know about it."""


def partition_items(p: ArrayLike, ks: Sequence[int] = tuple(range(2, 21)), seed: int = 0) -> Partition:
    """Spectral clustering of items by their answer distributions, the number of clusters chosen by silhouette.

    Args:
        p: One distribution per item over the same options, `[N, K]`; see `sorted_probabilities` for ragged ones.
        ks: Numbers of clusters to try; those not below N are left out.
        seed: Of the clustering.

    Raises:
        InputError: Fewer than four items, or no number of clusters fits.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.cluster import SpectralClustering
    from sklearn.metrics import silhouette_score

    alike = similarity(p)
    n = len(alike)
    tried = [k for k in ks if 2 <= k < n]
    if n < 4 or not tried:
        raise InputError(f"{n} items cannot be clustered; give at least four, or a partition you know.")
    distance = 1 - alike
    np.fill_diagonal(distance, 0.0)
    rows, best, labels = [], -np.inf, np.zeros(n, np.int64)
    for k in tried:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = SpectralClustering(k, affinity="precomputed", random_state=seed, assign_labels="cluster_qr")
            found = model.fit_predict(alike).astype(np.int64)
        sizes = np.bincount(found)
        score = float(silhouette_score(distance, found, metric="precomputed")) if len(sizes) > 1 else np.nan
        rows.append({"k": k, "silhouette": score, "smallest": int(sizes[sizes > 0].min()), "largest": int(sizes.max())})
        if score > best:
            best, labels = score, found
    parts = connected_components(alike > 1e-6, directed=False)[0]
    note = f"the similarity falls into {parts} unconnected parts" if parts > 1 else ""
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return Partition(labels, pd.DataFrame(rows), int(labels.max()) + 1, note)


def sorted_probabilities(p: pd.DataFrame) -> Floats:
    """The option probabilities of each question in falling order, padded with 0, `[questions, most options]`.

    Items with other options can be compared by it: what is left is how sure and how divided the model is.

    Args:
        p: A table made by `workbench.probabilities`.
    """
    starts = block_starts(p)
    parts = np.split(p["p"].to_numpy(np.float64), starts[1:])
    table = np.zeros((len(parts), max(map(len, parts))))
    for row, part in zip(table, parts):
        row[: len(part)] = np.sort(part)[::-1]
    return table / table.sum(axis=1, keepdims=True)


def _entropy(shares: Floats) -> float:
    """Shannon entropy over its maximum; 1 for one part, NaN where nothing is to share."""
    from scipy.stats import entropy

    if not shares.sum():
        return float("nan")
    return float(entropy(shares) / np.log(len(shares))) if len(shares) > 1 else 1.0


def _of_random_parts(
    right: Floats, codes: Ints, how: tuple[Kernel, float, bool], draws: int, seed: int, strata: ArrayLike | None
) -> Floats:
    """Harmony of random partitions of the same sizes, `[draws]`."""
    rng = np.random.default_rng(seed)
    return np.array([harmony_of_items(within(right, strata, rng), codes, *how).harmony for _ in range(draws)])


def _codes(labels: ArrayLike, n: int) -> Ints:
    codes = pd.factorize(np.asarray(labels))[0].astype(np.int64)
    if codes.shape != (n,) or (codes < 0).any():
        raise InputError(f"labels must name the subdomain of each of the {n} items.")
    return codes
