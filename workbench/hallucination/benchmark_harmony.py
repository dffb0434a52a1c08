"""Benchmark Harmony: how evenly accuracy is spread over the parts of a benchmark (arXiv 2509.25671)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench import figures, statistics
from workbench.answers import Normalisation, block_starts, outcomes, probabilities
from workbench.errors import InputError, unknown
from workbench.files import titles
from workbench.statistics import Finding
from workbench.statistics.distances import Floats, distributions, entropy, fractions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


@dataclass(frozen=True, slots=True)
class Readings:
    """Benchmarks as every reader answers them."""

    tables: Mapping[tuple[str, str], pd.DataFrame]
    """(benchmark, reader) -> the answers with their probabilities."""
    items: pd.DataFrame
    """Outcomes of all of them, one row per question and reader."""

    @property
    def names(self) -> list[str]:
        """The benchmarks, in order."""
        return list(dict.fromkeys(self.items["benchmark"]))

    @property
    def main(self) -> pd.DataFrame:
        """The rows of the first reader, with the clusters of their templates."""
        rows = self.items[self.items["reader"] == self.items["reader"].iloc[0]]
        return rows.assign(cluster=statistics.clusters(rows))

    def of(self, column: str) -> dict[str, NDArray[Any]]:
        """A column of the first reader's rows, by benchmark."""
        return {str(name): part[column].to_numpy() for name, part in self.main.groupby("benchmark", sort=False)}


def readings(
    answers: Mapping[tuple[str, str, int, str], pd.DataFrame], normalisations: Sequence[Normalisation], plain: int
) -> Readings:
    """Return what each reader says: a model, a style, a number of examples and a normalisation.

    Args:
        answers: (model, style, worked examples, source) -> answers.
        normalisations: Of the log-likelihoods of option texts; letters, and prompts with other numbers of examples
            than `plain`, are read under the first alone.
        plain: Number of worked examples under which all normalisations are read.
    """
    models = list(dict.fromkeys(model for model, *_ in answers))
    called, tables = dict(zip(models, titles(models))), {}
    for (model, style, shots, _), table in answers.items():
        for normalisation in normalisations if style == "cloze" and shots == plain else normalisations[:1]:
            reader = f"{called[model]}, {style}, {normalisation}" + (f", {shots} examples" if shots else "")
            p = probabilities(table, normalisation).assign(reader=reader)
            tables[str(table["benchmark"].iloc[0]), reader] = p
    return Readings(tables, pd.concat([outcomes(table) for table in tables.values()], ignore_index=True))


def items(readings: Readings) -> pd.DataFrame:
    """Return the rows to compare runs by: correctness and confidence of the first reader, one row per question."""
    return readings.main[["benchmark", "question_id", "cluster", "answer_correct", "answer_confidence"]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Partitions of the benchmarks."""

    labels: Mapping[tuple[str, str], NDArray[Any]]
    """(benchmark, "clusters" or "subject") -> the part of each question of the first reader."""
    sizes: pd.DataFrame
    """Silhouette and sizes by benchmark and number of clusters; `chosen` marks the one taken."""
    silhouettes: pd.DataFrame
    """Silhouette by benchmark (rows) and number of clusters (columns), with `chosen k`."""


def partitions(readings: Readings, most_clusters: int, seed: int) -> Parts:
    """Return clusters of questions that the first reader answers alike, and the subjects of the source.

    Subjects count where at least two have five questions or more; smaller ones are pooled as "other".
    """
    first = str(readings.main["reader"].iloc[0])
    found = {name: _clusters(readings.tables[name, first], most_clusters, seed) for name in readings.names}
    labels: dict[tuple[str, str], NDArray[Any]] = {(name, "clusters"): each.labels for name, each in found.items()}
    for name, subjects in readings.of("subject").items():
        named = pd.Series(subjects).fillna("other").astype(str)
        pooled = named.where(named.map(named.value_counts()) >= 5, "other")
        if pooled.nunique() > 1:
            labels[name, "subject"] = pooled.to_numpy()
    tables = [
        each.silhouettes.assign(benchmark=name, chosen=each.silhouettes["k"] == each.k) for name, each in found.items()
    ]
    sizes = pd.concat(tables, ignore_index=True)
    chosen = pd.Series({name: each.k for name, each in found.items()}, name="chosen k")
    wide = sizes.pivot(index="benchmark", columns="k", values="silhouette").loc[readings.names]
    return Parts(labels, sizes, wide.join(chosen).rename(columns=str))


def against_random(readings: Readings, parts: Parts, bandwidth: float, draws: int, seed: int) -> pd.DataFrame:
    """Return the harmony of each partition with its bootstrap interval, its controls and random partitions.

    A random partition has parts of the same sizes, and questions change places only with questions of as many options.
    """
    correct, options, rows = readings.of("answer_correct"), readings.of("n_options"), []
    for (name, kind), labels in parts.labels.items():
        how: dict[str, Any] = {"draws": draws, "seed": seed}
        ends = statistics.bootstrap(
            lambda right, codes: harmony_of_items(right, codes, bandwidth=bandwidth).harmony,
            correct[name],
            pd.factorize(labels)[0],
            centred=True,
            bounds=(0, 1),
            **how,
        )
        tested = harmony_test(correct[name], labels, bandwidth=bandwidth, strata=options[name], **how)
        interval = {"low": ends["low"], "high": ends["high"], "bootstrap": ends["note"]}
        rows.append({"benchmark": name, "partition": kind, **tested, **interval})
    table = pd.DataFrame(rows)
    inside = table["harmony"].between(table["random_low"], table["random_high"])
    verdict = {True: "not distinguishable from random parts", False: "distinguishable from random parts"}
    return table.assign(p_adjusted=statistics.adjusted(table["p_random"]), verdict=inside.map(verdict))


def intervals(results: pd.DataFrame) -> pd.DataFrame:
    """Return harmony with its interval, and the middle 95% of random partitions."""
    ends = ["harmony", "low", "high", "random_low", "random_high"]
    return results[["benchmark", "partition", *ends, "p_adjusted", "verdict", "bootstrap"]]


def controls(results: pd.DataFrame) -> pd.DataFrame:
    """Return what moves harmony without meaning: the ceiling of the sizes, the worst part, the weighted variance."""
    moved = ["ceiling", "worst", "weighted_variance", "mean", "k", "n", "note"]
    return results[["benchmark", "partition", *moved]]


def accuracies(readings: Readings, parts: Parts) -> pd.DataFrame:
    """Return the accuracy of each part: by subject where there are subjects, else by cluster of the first benchmark."""
    correct = readings.of("answer_correct")
    kept = [key for key in parts.labels if key[1] == "subject"] or [next(iter(parts.labels))]
    tables = [
        pd.DataFrame({"benchmark": name, "part": parts.labels[name, kind].astype(str), "accuracy": correct[name]})
        for name, kind in kept
    ]
    found = statistics.summarise(pd.concat(tables), ["accuracy"], by=["benchmark", "part"], method="wilson")
    return found[["benchmark", "part", "mean", "low", "high", "n"]]


def kernels(readings: Readings, parts: Parts, bandwidth: float) -> pd.DataFrame:
    """Return the harmony of the same accuracies under other kernels, bandwidths b and weights."""
    settings: dict[str, dict[str, Any]] = {
        "no kernel": {"kernel": "none"},
        **{f"b = {b:g}": {"bandwidth": b} for b in (0.05, 0.1, 0.25, 0.5)},
        f"b = {bandwidth:g}, equal weights": {"bandwidth": bandwidth, "weighted": False},
    }
    correct, rows = readings.of("answer_correct"), []
    for (name, kind), labels in parts.labels.items():
        values = {said: harmony_of_items(correct[name], labels, **how).harmony for said, how in settings.items()}
        rows.append({"benchmark": name, "partition": kind, **values, "n": len(labels)})
    return pd.DataFrame(rows)


def by_reader(
    readings: Readings, most_clusters: int, bandwidth: float, draws: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the harmony of each reader over clusters of its own, and its range over readers (see `reader_range`)."""
    rows = []
    read: dict[str, list[tuple[ArrayLike, ArrayLike, ArrayLike]]] = {name: [] for name in readings.names}
    for (name, reader), table in readings.tables.items():
        found = outcomes(table)
        right, own = found["answer_correct"].to_numpy(), _clusters(table, most_clusters, seed)
        read[name].append((right, own.labels, found["n_options"].to_numpy()))
        score = harmony_of_items(right, pd.factorize(own.labels)[0], bandwidth=bandwidth).harmony
        rows.append({"benchmark": name, "reader": reader, "k": own.k, "n": len(right), "harmony": score})
    ranges = [{"benchmark": name, **reader_range(each, bandwidth, min(draws, 99), seed)} for name, each in read.items()]
    return pd.DataFrame(rows), pd.DataFrame(ranges)


def plane(by_reader: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Return mean and variance of harmony over readers, with bootstrap intervals where there are at least 8 readers."""
    table = mean_variance(by_reader)
    enough = by_reader["reader"].nunique() >= 8  # fewer give a bootstrap too few different samples
    of: dict[str, Callable[..., float]] = {"mean": np.mean, "variance": lambda values: float(np.var(values, ddof=1))}
    for column, statistic in of.items():
        found = [
            statistics.bootstrap(statistic, part["harmony"], draws=draws, seed=seed, centred=True)
            for _, part in by_reader.groupby("benchmark", sort=False)
        ]
        for end in ("low", "high"):
            table[f"{column}_{end}"] = [ends[end] if enough else np.nan for ends in found]
    columns = [f"{column}_{end}" for column in of for end in ("low", "high")]
    return table[[*(name for name in table if name not in columns), *columns]]


def size_control(by_reader: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Return the rank correlation of harmony with the numbers of clusters and questions; NaN where they are equal."""
    rows = []
    for what in ("k", "n"):
        found = statistics.bootstrap(
            statistics.correlation, by_reader["harmony"], by_reader[what], draws=draws, seed=seed
        )
        rows.append({"harmony and": what, **found})
    return pd.DataFrame(rows)[["harmony and", "mean", "low", "high", "n", "note"]]


def agreement(readings: Readings, parts: Parts, draws: int, seed: int) -> pd.DataFrame:
    """Return the adjusted Rand index of clusters and subjects, with that of `shuffled` subjects (mean of 99)."""
    from sklearn.metrics import adjusted_rand_score

    options, rows = readings.of("n_options"), []
    for name in (name for name, kind in parts.labels if kind == "subject"):
        subjects, clusters = pd.factorize(parts.labels[name, "subject"])[0], parts.labels[name, "clusters"]
        rng = np.random.default_rng(seed)
        shuffled = [adjusted_rand_score(within(subjects, options[name], rng), clusters) for _ in range(99)]
        ends = statistics.bootstrap(adjusted_rand_score, subjects, clusters, draws=draws, seed=seed, centred=True)
        rows.append({"benchmark": name, **ends, "shuffled": np.mean(shuffled)})
    table = pd.DataFrame(rows, columns=["benchmark", "mean", "low", "high", "n", "shuffled", "note"])
    table.attrs["reason"] = "none of these benchmarks names subjects"
    return table


def findings(results: pd.DataFrame, ranges: pd.DataFrame, agreement: pd.DataFrame) -> list[Finding | None]:
    """Return the paper's directions and the controls of the notebook, tested on this run."""
    here = "this notebook"
    gaps = results.assign(below_random=results["harmony"] - results["random_mean"])
    below = statistics.summarise(gaps, ["below_random"], cluster="benchmark").iloc[0]
    excess = statistics.summarise(ranges, ["excess"]).iloc[0]
    depends = "Harmony depends on the reader (largest less smallest reader, less that of random parts)"
    return [
        statistics.finding(
            "Parts carry the score less evenly than random parts of the same sizes", here, below, "below"
        ),
        statistics.finding(depends, "arXiv 2509.25671", excess, "above"),
        *(
            statistics.finding(
                f"The model's clusters follow the subjects of {row['benchmark']} (above shuffled subjects)",
                here,
                row,
                "above",
                row["shuffled"],
            )
            for _, row in agreement.iterrows()
        ),
    ]


def draw_harmony(results: pd.DataFrame) -> Figure:
    """Draw the harmony of each partition beside that of random partitions."""
    random = {"value": results["random_mean"], "low": results["random_low"], "high": results["random_high"]}
    bars = [
        results.assign(what="random parts of the same sizes (middle 95 %)", **random),
        results.assign(what="this partition", value=results["harmony"]),
    ]
    how: dict[str, Any] = {"value": "value", "by": "what", "xlabel": "harmony (1: all parts carry the score alike)"}
    alt = "Harmony of each benchmark and partition beside the middle 95% of random partitions of the same sizes."
    return figures.described(figures.intervals(pd.concat(bars), ["benchmark", "partition"], **how), alt)


def draw_parts(accuracies: pd.DataFrame) -> Figure:
    """Draw the accuracies of the first 24 parts."""
    alt = "Accuracy of each part of the benchmarks with known subjects, with 95% Wilson intervals."
    label = "accuracy, abstention left out"
    return figures.described(figures.intervals(accuracies.head(24), ["benchmark", "part"], xlabel=label), alt)


def draw_plane(plane: pd.DataFrame) -> Figure:
    """Draw mean and variance of each benchmark's harmony over readers."""
    labels = {"xlabel": "mean of harmony over the readers", "ylabel": "variance over the readers"}
    alt = (
        "Mean and variance of each benchmark's harmony over the readers, with 95% bootstrap intervals over the "
        "readers where there are at least 8."
    )
    return figures.described(figures.points(plane, "mean", "variance", "benchmark", **labels), alt)


def _clusters(p: pd.DataFrame, most: int, seed: int) -> Partition:
    return partition_items(sorted_probabilities(p), range(2, most + 1), seed)


def _entropy(shares: Floats) -> float:
    """Shannon entropy over its maximum; 1 for one part, NaN where nothing is to share."""
    if not shares.sum():
        return float("nan")
    return float(entropy(shares / shares.sum()) / np.log(len(shares))) if len(shares) > 1 else 1.0


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
