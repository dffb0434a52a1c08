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
from workbench.statistics.distances import Floats, Ints, distributions, entropy, fractions
from workbench.statistics.findings import no_rows
from workbench.tables import headed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kernel = Literal["gaussian", "none"]
KERNELS = ("gaussian", "none")
HERE, PAPER = "this notebook", "Uzunoğlu et al. 2025, arXiv 2509.25671"
FLOOR = 1e-9
"""Least probability in a divergence, which would be infinite at 0."""
FEWEST_CONFIGURATIONS = 8
"""Configurations needed for a bootstrap over them; fewer give too few different samples."""


@dataclass(frozen=True, slots=True)
class Harmony:
    """Harmony of one partition, with its controls."""

    harmony: float
    """Normalised entropy of the parts' contributions, 0 to 1; NaN where no part contributes."""
    ceiling: float
    """Harmony of equal accuracies on parts of these sizes."""
    worst: float
    """Lowest accuracy of a part."""
    weighted_variance: float
    """Variance of the parts' accuracies, weighted by size."""
    mean: float
    """Accuracy over all items."""
    k: int
    """Number of parts."""
    n: float
    """Number of items."""
    note: str = ""
    """Why the harmony is 1 by convention, or NaN."""


def harmony(
    accuracy: ArrayLike,
    sizes: ArrayLike,
    kernel: Kernel = "gaussian",
    bandwidth: float = 0.25,
    weighted: bool = True,
) -> Harmony:
    """Return the harmony of the parts of a benchmark.

    Args:
        accuracy: Accuracy of each part, `[k]`.
        sizes: Items or weight of each part, `[k]`, above 0.
        kernel: `gaussian` takes g = exp(-(f - mean)^2 / (2 bandwidth^2)) of each accuracy f, `none` takes g = f.
        bandwidth: Of the Gaussian kernel, in units of accuracy.
        weighted: Whether parts are weighted by size in the contributions and the mean, or equally.

    Raises:
        InputError: A part is empty, or a setting is unknown or out of bounds.
    """
    (f,) = fractions(accuracy=accuracy)
    size = np.asarray(sizes, np.float64)
    if size.shape != f.shape or not np.isfinite(size).all() or (size <= 0).any():
        raise InputError("sizes must contain one positive number per part; leave empty subdomains out.")
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, list(KERNELS))
    if not bandwidth > 0:
        raise InputError(f"bandwidth must be above 0, not {bandwidth!r}.")
    w = size / size.sum()
    used = w if weighted else np.full(len(f), 1 / len(f))
    g = np.exp(-((f - used @ f) ** 2) / (2 * bandwidth**2)) if kernel == "gaussian" else f
    note = "one part: 1 by convention" if len(f) == 1 else ""
    return Harmony(
        harmony=_normalised_entropy(used * g),
        ceiling=_normalised_entropy(used),
        worst=float(f.min()),
        weighted_variance=float(w @ (f - w @ f) ** 2),
        mean=float(w @ f),
        k=len(f),
        n=float(size.sum()),
        note=note if used @ g else "no part has a correct answer",
    )


def _normalised_entropy(contributions: Floats) -> float:
    """Return the Shannon entropy over its maximum: 1 for one part, NaN where all contributions are 0."""
    if not contributions.sum():
        return float("nan")
    k = len(contributions)
    return float(entropy(contributions / contributions.sum()) / np.log(k)) if k > 1 else 1.0


def harmony_of_items(correct: ArrayLike, labels: ArrayLike, **settings: Any) -> Harmony:
    """Return the `harmony` of items by their correctness (0 to 1) and the label of their part, `[N]` each."""
    (right,) = fractions(correct=correct)
    codes = pd.factorize(np.asarray(labels))[0]
    if codes.shape != right.shape or (codes < 0).any():
        raise InputError(f"labels must name the part of each of the {len(right)} items.")
    sizes = np.bincount(codes)
    return harmony(np.bincount(codes, right) / sizes, sizes, **settings)


def harmony_test(
    correct: ArrayLike,
    labels: ArrayLike,
    bandwidth: float = 0.25,
    draws: int = 999,
    seed: int = 0,
    strata: ArrayLike | None = None,
) -> dict[str, float | str]:
    """Compare the harmony of items, see `harmony_of_items`, with that of random partitions of the same sizes.

    Noise alone keeps harmony below its ceiling, so only a harmony below that of random partitions is evidence about
    the parts. Items are shuffled within `strata`, `[N]`, such as their number of options: parts that differ in chance
    accuracy differ in accuracy under any respondent.

    Returns:
        The fields of `Harmony`, then `random_mean`, `random_low`, `random_high` (middle 95% of the random partitions)
        and `p_random`, the one-sided p-value of a harmony this low.
    """
    observed = harmony_of_items(correct, labels, bandwidth=bandwidth)
    random = _of_random_partitions(correct, labels, bandwidth, draws, seed, strata)
    middle = statistics.middle(random)
    as_low = float((1 + np.sum(random <= observed.harmony + 1e-12)) / (1 + draws))
    return {
        **asdict(observed),
        **{f"random_{name}": middle[name] for name in ("mean", "low", "high")},
        "p_random": float("nan") if np.isnan(observed.harmony) else as_low,
    }


def harmony_range(
    configurations: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]],
    bandwidth: float = 0.25,
    draws: int = 99,
    seed: int = 0,
) -> dict[str, float]:
    """Return the range of harmony over configurations of one benchmark, and that of random partitions.

    A configuration is correctness, part and stratum of each item, `[N]` each, see `harmony_test`. Each has its own
    clusters, whose number and sizes alone move harmony, so the mean of random partitions of the same sizes is
    subtracted from each harmony. The range is above 0 for noise too.

    Returns:
        `range` (largest minus smallest), `random_range` (mean over random partitions), `excess` (their difference, 0
        for configurations that answer at random) and `configurations` (their number).
    """
    gaps, random_gaps = [], []
    for number, (correct, labels, strata) in enumerate(configurations):
        random = _of_random_partitions(correct, labels, bandwidth, draws, seed + number, strata)
        gaps.append(harmony_of_items(correct, labels, bandwidth=bandwidth).harmony - np.nanmean(random))
        random_gaps.append(random - np.nanmean(random))
    observed, by_chance = float(np.ptp(gaps)), float(np.nanmean(np.ptp(random_gaps, axis=0)))
    excess, n = observed - by_chance, float(len(gaps))
    return {"range": observed, "random_range": by_chance, "excess": excess, "configurations": n}


def _of_random_partitions(
    correct: ArrayLike, labels: ArrayLike, bandwidth: float, draws: int, seed: int, strata: ArrayLike | None
) -> Floats:
    """Return the harmony of random partitions with parts of the same sizes, `[draws]`."""
    rng, codes = np.random.default_rng(seed), pd.factorize(np.asarray(labels))[0]
    shuffled = (within(correct, strata, rng) for _ in range(draws))
    return np.array([harmony_of_items(values, codes, bandwidth=bandwidth).harmony for values in shuffled])


def within(values: ArrayLike, strata: ArrayLike | None, rng: np.random.Generator) -> Floats:
    """Return the values shuffled within their strata, `[N]`; without strata, shuffled freely."""
    given = np.asarray(values, np.float64)
    codes = np.zeros(len(given)) if strata is None else pd.factorize(np.asarray(strata))[0]
    shuffled = np.empty_like(given)
    shuffled[np.argsort(codes, kind="stable")] = given[np.lexsort((rng.random(len(given)), codes))]
    return shuffled


def jeffreys(p: ArrayLike) -> Floats:
    """Return the Jeffreys divergence KL(p || q) + KL(q || p), in nats, of every two rows of `[N, K]`, `[N, N]`."""
    rows = np.maximum(distributions("p", p), FLOOR)
    cross = rows @ np.log(rows).T
    negative_entropy = np.diag(cross)
    return np.maximum(negative_entropy[:, None] - cross + negative_entropy[None, :] - cross.T, 0.0)


def similarity(p: ArrayLike) -> Floats:
    """Return exp(-J / 2) of the Jeffreys divergence J of every two rows, `[N, N]`: 1 for equal distributions."""
    return np.exp(-jeffreys(p) / 2)


@dataclass(frozen=True, slots=True)
class Partition:
    """Clusters of items with similar answer distributions."""

    labels: Ints
    """Cluster of each item, `[N]`."""
    silhouettes: pd.DataFrame
    """Per number of clusters `k`: `silhouette` on 1 - similarity, and sizes of the `smallest` and `largest` cluster."""
    k: int
    """Number of clusters with the best silhouette."""
    note: str = ""
    """Whether the similarity matrix is disconnected."""


def partition_items(p: ArrayLike, ks: Sequence[int] = tuple(range(2, 21)), seed: int = 0) -> Partition:
    """Cluster items spectrally by their distributions `[N, K]`, with the number of clusters of the best silhouette.

    Numbers of clusters `ks` that are not below N are skipped. For ragged options see `sorted_probabilities`.

    Raises:
        InputError: There are fewer than four items, or no number of clusters is below N.
    """
    from scipy.sparse.csgraph import connected_components
    from sklearn.cluster import SpectralClustering
    from sklearn.metrics import silhouette_score

    alike = similarity(p)
    n = len(alike)
    candidates = [k for k in ks if 2 <= k < n]
    if n < 4 or not candidates:
        raise InputError(f"{n} items cannot be clustered; give at least four, or a known partition.")
    distance = 1 - alike
    np.fill_diagonal(distance, 0.0)
    rows, best, labels = [], -np.inf, np.zeros(n, np.int64)
    for k in candidates:
        with warnings.catch_warnings(action="ignore"):
            model = SpectralClustering(k, affinity="precomputed", random_state=seed, assign_labels="cluster_qr")
            clusters = model.fit_predict(alike).astype(np.int64)
        sizes = np.bincount(clusters)
        score = float(silhouette_score(distance, clusters, metric="precomputed")) if len(sizes) > 1 else np.nan
        rows.append({"k": k, "silhouette": score, "smallest": int(sizes[sizes > 0].min()), "largest": int(sizes.max())})
        if score > best:
            best, labels = score, clusters
    components = connected_components(alike > 1e-6, directed=False)[0]
    note = f"the similarity falls into {components} unconnected parts" if components > 1 else ""
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return Partition(labels, pd.DataFrame(rows), int(labels.max()) + 1, note)


def sorted_probabilities(p: pd.DataFrame) -> Floats:
    """Return the option probabilities of each question in falling order, padded with 0, `[questions, most options]`.

    They make items with different options comparable by how certain and how divided the model is.
    """
    parts = np.split(p["p"].to_numpy(np.float64), block_starts(p)[1:])
    table = np.zeros((len(parts), max(map(len, parts))))
    for row, part in zip(table, parts):
        row[: len(part)] = np.sort(part)[::-1]
    return table / table.sum(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True)
class Readings:
    """Answers to the benchmarks under every configuration."""

    tables: Mapping[tuple[str, str], pd.DataFrame]
    """(benchmark, configuration) -> answers with their probabilities."""
    items: pd.DataFrame
    """Outcomes, one row per question and configuration."""

    @property
    def names(self) -> list[str]:
        """The benchmarks, in order."""
        return list(dict.fromkeys(self.items["benchmark"]))

    @property
    def main(self) -> pd.DataFrame:
        """The rows of the first configuration, with the clusters of their templates."""
        rows = self.items[self.items["configuration"] == self.items["configuration"].iloc[0]]
        return rows.assign(cluster=statistics.clusters(rows))

    def of(self, column: str) -> dict[str, NDArray[Any]]:
        """A column of the first configuration's rows, by benchmark."""
        return {str(name): part[column].to_numpy() for name, part in self.main.groupby("benchmark", sort=False)}


def readings(
    answers: Mapping[tuple[str, str, int, str], pd.DataFrame], normalisations: Sequence[Normalisation], plain: int
) -> Readings:
    """Return the answers under each configuration: model, style, number of worked examples and normalisation.

    All normalisations are used for option texts after `plain` worked examples; letters, and prompts with another number
    of examples, use the first alone. `answers` has the keys (model, style, worked examples, source).
    """
    models = list(dict.fromkeys(model for model, *_ in answers))
    short, tables = dict(zip(models, titles(models))), {}
    for (model, style, shots, _), table in answers.items():
        for normalisation in normalisations if style == "cloze" and shots == plain else normalisations[:1]:
            name = f"{short[model]}, {style}, {normalisation}" + (f", {shots} examples" if shots else "")
            p = probabilities(table, normalisation).assign(configuration=name)
            tables[str(table["benchmark"].iloc[0]), name] = p
    return Readings(tables, pd.concat([outcomes(table) for table in tables.values()], ignore_index=True))


def items(readings: Readings) -> pd.DataFrame:
    """Return correctness and confidence under the first configuration, one row per question, for comparing runs."""
    return readings.main[["benchmark", "question_id", "cluster", "answer_correct", "answer_confidence"]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Partitions of the benchmarks."""

    labels: Mapping[tuple[str, str], NDArray[Any]]
    """(benchmark, "clusters" or "subject") -> part of each question of the first configuration."""
    sizes: pd.DataFrame
    """Silhouette and sizes by benchmark and number of clusters; `chosen` marks the selected number."""
    silhouettes: pd.DataFrame
    """Silhouette by benchmark (rows) and number of clusters (columns), with `chosen k`."""


def partitions(readings: Readings, most_clusters: int, seed: int) -> Parts:
    """Return two partitions: clusters of questions with similar answers, and the subjects of the source.

    Clusters come from the first configuration. Subjects with fewer than five questions are pooled as "other"; a
    benchmark has a partition by subject only if at least two remain.
    """
    first = str(readings.main["configuration"].iloc[0])
    clusters = {name: _clusters(readings.tables[name, first], most_clusters, seed) for name in readings.names}
    labels: dict[tuple[str, str], NDArray[Any]] = {(name, "clusters"): each.labels for name, each in clusters.items()}
    for name, subjects in readings.of("subject").items():
        named = pd.Series(subjects).fillna("other").astype(str)
        pooled = named.where(named.map(named.value_counts()) >= 5, "other")
        if pooled.nunique() > 1:
            labels[name, "subject"] = pooled.to_numpy()
    tables = [each.silhouettes.assign(benchmark=name, chosen_k=each.k) for name, each in clusters.items()]
    sizes = pd.concat(tables, ignore_index=True)
    sizes["chosen"] = sizes["k"] == sizes.pop("chosen_k")
    wide = sizes.pivot(index="benchmark", columns="k", values="silhouette").loc[readings.names]
    chosen = pd.Series({name: each.k for name, each in clusters.items()}, name="chosen k")
    return Parts(labels, sizes, wide.join(chosen).rename(columns=str))


def _clusters(p: pd.DataFrame, most: int, seed: int) -> Partition:
    return partition_items(sorted_probabilities(p), range(2, most + 1), seed)


def against_random(readings: Readings, parts: Parts, bandwidth: float, draws: int, seed: int) -> pd.DataFrame:
    """Return the harmony of each partition with its bootstrap interval, its controls and random partitions.

    Random partitions have parts of the same sizes; questions are exchanged only with questions of as many options.
    """
    correct, options, rows = readings.of("answer_correct"), readings.of("n_options"), []
    for (name, kind), labels in parts.labels.items():
        how: dict[str, Any] = {"draws": draws, "seed": seed}
        tested = harmony_test(correct[name], labels, bandwidth, strata=options[name], **how)
        ends = statistics.bootstrap(
            lambda right, codes: harmony_of_items(right, codes, bandwidth=bandwidth).harmony,
            correct[name],
            pd.factorize(labels)[0],
            centred=True,
            bounds=(0, 1),
            **how,
        )
        interval = {"low": ends["low"], "high": ends["high"], "bootstrap": ends["note"]}
        rows.append({"benchmark": name, "partition": kind, **tested, **interval})
    table = pd.DataFrame(rows)
    p = statistics.adjusted(table["p_random"])
    lower = ["lower than random partitions" if each < 0.05 else "not shown to be lower" for each in p]
    return table.assign(p_adjusted=p, verdict=lower)


def intervals(results: pd.DataFrame) -> pd.DataFrame:
    """Return harmony with its interval, and the middle 95% of random partitions."""
    ends = ["harmony", "low", "high", "random_low", "random_high"]
    table = results[["benchmark", "partition", *ends, "p_adjusted", "verdict", "bootstrap"]]
    return headed(table, {"random_low": "random partitions"})


def controls(results: pd.DataFrame) -> pd.DataFrame:
    """Return the ceiling, the worst accuracy, and the weighted variance of each partition."""
    table = results[["benchmark", "partition", "ceiling", "worst", "weighted_variance", "mean", "k", "n", "note"]]
    return headed(table, {"mean": "accuracy", "worst": "lowest accuracy of a part", "k": "parts"})


def accuracies(readings: Readings, parts: Parts) -> pd.DataFrame:
    """Return the accuracy of each subject, or of each cluster of the first benchmark if no benchmark has subjects."""
    correct = readings.of("answer_correct")
    keys = [key for key in parts.labels if key[1] == "subject"] or [next(iter(parts.labels))]
    tables = []
    for name, kind in keys:
        labels = parts.labels[name, kind]
        named = [f"cluster {label + 1}" for label in labels] if kind == "clusters" else labels.astype(str)
        tables.append(pd.DataFrame({"benchmark": name, "part": named, "accuracy": correct[name]}))
    means = statistics.summarise(pd.concat(tables), ["accuracy"], by=["benchmark", "part"], method="wilson")
    return means[["benchmark", "part", "mean", "low", "high", "n"]]


def kernels(readings: Readings, parts: Parts, bandwidth: float) -> pd.DataFrame:
    """Return the harmony of the same accuracies under other kernels, bandwidths b and weights."""
    settings: dict[str, dict[str, Any]] = {
        "no kernel": {"kernel": "none"},
        **{f"b = {b:g}": {"bandwidth": b} for b in (0.05, 0.1, 0.25, 0.5)},
        f"b = {bandwidth:g}, equal weights": {"bandwidth": bandwidth, "weighted": False},
    }
    correct, rows = readings.of("answer_correct"), []
    for (name, kind), labels in parts.labels.items():
        values = {label: harmony_of_items(correct[name], labels, **how).harmony for label, how in settings.items()}
        rows.append({"benchmark": name, "partition": kind, **values, "n": len(labels)})
    return pd.DataFrame(rows)


def by_configuration(
    readings: Readings, most_clusters: int, bandwidth: float, draws: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the harmony of each configuration over its own clusters, and its `harmony_range` on each benchmark."""
    rows = []
    samples: dict[str, list[tuple[ArrayLike, ArrayLike, ArrayLike]]] = {name: [] for name in readings.names}
    for (name, configuration), table in readings.tables.items():
        result, clusters = outcomes(table), _clusters(table, most_clusters, seed)
        right = result["answer_correct"].to_numpy()
        samples[name].append((right, clusters.labels, result["n_options"].to_numpy()))
        score = harmony_of_items(right, clusters.labels, bandwidth=bandwidth).harmony
        about = {"benchmark": name, "configuration": configuration, "k": clusters.k, "n": len(right)}
        rows.append({**about, "harmony": score})
    ranges = [{"benchmark": n, **harmony_range(s, bandwidth, min(draws, 99), seed)} for n, s in samples.items()]
    return pd.DataFrame(rows), pd.DataFrame(ranges)


def plane_over_runs(table: pd.DataFrame | None, draws: int, seed: int) -> pd.DataFrame | None:
    """Return the `plane` of the kept tables `harmony` of several runs, whose labels are the column `configuration`."""
    return None if table is None else plane(table[table["partition"] == "clusters"], draws, seed)


def plane(table: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Return mean and variance (ddof 1) of each benchmark's harmony over configurations, see `by_configuration`.

    Bootstrap intervals over configurations need at least `FEWEST_CONFIGURATIONS` of them.
    """
    groups = table.dropna(subset=["harmony"]).groupby("benchmark", sort=False)["harmony"]
    moments = groups.agg(mean="mean", variance="var", n="count")
    enough = table["configuration"].nunique() >= FEWEST_CONFIGURATIONS
    of: dict[str, Callable[..., float]] = {"mean": np.mean, "variance": lambda values: float(np.var(values, ddof=1))}
    for column, statistic in of.items():
        moments[[f"{column}_low", f"{column}_high"]] = np.nan
        for name, values in groups if enough else ():
            ends = statistics.bootstrap(statistic, values, draws=draws, seed=seed, centred=True)
            moments.loc[name, [f"{column}_low", f"{column}_high"]] = ends["low"], ends["high"]
    return moments.reset_index()


def size_control(table: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Return the rank correlation of harmony with numbers of clusters and questions; NaN where these do not vary."""
    how: dict[str, Any] = {"draws": draws, "seed": seed}
    rows = [
        {"harmony and": size, **statistics.bootstrap(statistics.correlation, table["harmony"], table[size], **how)}
        for size in ("k", "n")
    ]
    return pd.DataFrame(rows)[["harmony and", "mean", "low", "high", "n", "note"]]


def agreement(readings: Readings, parts: Parts, draws: int, seed: int) -> pd.DataFrame:
    """Return the adjusted Rand index of clusters and subjects, with that of `shuffled` subjects (mean of 99)."""
    from sklearn.metrics import adjusted_rand_score

    options, rows = readings.of("n_options"), []
    for name in (name for name, kind in parts.labels if kind == "subject"):
        subjects, clusters = pd.factorize(parts.labels[name, "subject"])[0], parts.labels[name, "clusters"]
        rng = np.random.default_rng(seed)
        shuffled = [adjusted_rand_score(within(subjects, options[name], rng), clusters) for _ in range(99)]
        index = statistics.bootstrap(adjusted_rand_score, subjects, clusters, draws=draws, seed=seed, centred=True)
        rows.append({"benchmark": name, **index, "shuffled": np.mean(shuffled)})
    if not rows:
        return no_rows("none of these benchmarks names subjects")
    return pd.DataFrame(rows)[["benchmark", "mean", "low", "high", "n", "shuffled", "note"]]


def findings(results: pd.DataFrame, ranges: pd.DataFrame, agreement: pd.DataFrame) -> list[Finding | None]:
    """Return the paper's directions and the controls of the notebook, tested on this run."""
    gaps = results.assign(below_random=results["harmony"] - results["random_mean"])
    below = statistics.summarise(gaps, ["below_random"], cluster="benchmark").iloc[0]
    excess = statistics.summarise(ranges, ["excess"]).iloc[0]
    minus, same = "minus that of random partitions", "no difference"
    claims: list[tuple[Any, ...]] = [
        (
            "Harmony is lower than that of random partitions with parts of the same sizes",
            HERE,
            below,
            "below",
            0.0,
            "",
            f"harmony {minus}",
            same,
        ),
        (
            "The range of harmony over configurations exceeds that of random partitions",
            PAPER,
            excess,
            "above",
            0.0,
            "",
            f"range of harmony {minus}",
            same,
        ),
    ]
    agrees = "The model's clusters agree with the subjects of {}"
    words = ("", "adjusted Rand index", "shuffled subjects")
    claims += [
        (agrees.format(r["benchmark"]), HERE, r, "above", r["shuffled"], *words) for _, r in agreement.iterrows()
    ]
    return [statistics.finding(*claim) for claim in claims]


def draw_harmony(results: pd.DataFrame) -> Figure:
    """Draw the harmony of each partition beside that of random partitions."""
    random = {"value": results["random_mean"], "low": results["random_low"], "high": results["random_high"]}
    marks = [
        results.assign(partitions="this partition (95% interval)", value=results["harmony"]),
        results.assign(partitions="random parts of the same sizes (middle 95%)", **random),
    ]
    rows = pd.concat(marks).replace({"partition": {"clusters": "clusters of questions", "subject": "subjects"}})
    named = {"by": "partitions", "bars": "95% intervals, and the middle 95% of random partitions", "of": "questions"}
    label = "harmony (1: all parts contribute equally)"
    figure = figures.intervals(rows, ["benchmark", "partition"], value="value", xlabel=label, **named)
    alt = "Harmony of each benchmark and partition beside that of random partitions of the same sizes."
    return figures.described(figure, alt)


def draw_parts(accuracies: pd.DataFrame) -> Figure:
    """Draw the accuracies of the first 24 parts."""
    how = {"xlabel": "accuracy, abstention left out", "bars": "95% Wilson intervals", "of": "questions"}
    figure = figures.intervals(accuracies.head(24), ["benchmark", "part"], **how)
    return figures.described(figure, "Accuracy of each subject, or of each cluster of one benchmark without subjects.")


def draw_plane(plane: pd.DataFrame | None, over: str = "configurations") -> Figure | None:
    """Draw mean and variance of each benchmark's harmony over configurations, or what else they are; None without."""
    if plane is None or plane[["mean", "variance"]].isna().any(axis=None):
        return None
    labels: dict[str, Any] = {"xlabel": f"mean harmony over {over}", "ylabel": f"variance of harmony over {over}"}
    labels |= {"bars": "95% bootstrap intervals", "of": over, "why": f"fewer than {FEWEST_CONFIGURATIONS} {over}"}
    figure = figures.points(plane, "mean", "variance", "benchmark", **labels)
    return figures.described(figure, f"Mean and variance of each benchmark's harmony over {over}.")
