"""Alignment Quality Index: how safe and unsafe states cluster (arXiv 2506.13901)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures
from workbench.errors import InputError, unknown
from workbench.extraction import hidden_states
from workbench.statistics import Finding, finding
from workbench.statistics.distances import Floats
from workbench.training.series import CheckpointSeries
from workbench.value_drift.texts import labelled_sentences, safety_sentences

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Variant = Literal["A", "C", "D"]
LABELS = ("safe", "unsafe")
TESTED: tuple[Variant, ...] = ("D", "A")
"""Variants that a claim is tested on."""
FEWEST = 5
SHUFFLES = 50
FEWEST_OF_A_GROUP = 6
"""Sentences of each label that a group needs."""
States = Mapping[tuple[str, int], Floats]
"""(label of the advice, step) -> states of the sentences, `[N, width]`; step 0 is the untrained model."""


def measured(sentences: str | Path, skip: int) -> pd.DataFrame:
    """Sentences to measure: the written ones after the first `skip` pairs, or those of a CSV."""
    return pd.DataFrame(safety_sentences(skip=skip) if sentences == "written" else labelled_sentences(sentences))


def by_layer(states: Floats, layers: Sequence[int], labels: ArrayLike, seed: int) -> pd.DataFrame:
    """Indices of every layer, and AQI with the labels shuffled as a baseline.

    Args:
        states: Of the untrained model, `[N, layers, width]`.
        layers: Their numbers.
        labels: Of the sentences, `[N]`.
        seed: Of the shuffling.

    Returns:
        One row per layer: raw indices, `D`, `A`, `A_shuffled_95` (95th percentile of A over shuffled labels), `apart`.
    """
    rng, rows = np.random.default_rng(seed), []
    for i, layer in enumerate(layers):
        found = cluster_indices(states[:, i], labels)
        shuffled = [aqi(cluster_indices(states[:, i], rng.permutation(labels))) for _ in range(SHUFFLES)]
        row = {"layer": layer, **found, "D": aqi(found, "D"), "A": aqi(found, "A")}
        rows.append(row | {"A_shuffled_95": np.percentile(shuffled, 95)})
    table = pd.DataFrame(rows)
    apart = np.where(table["A"] > table["A_shuffled_95"], "yes", "cannot be told from chance")
    return table.assign(apart=apart, n=len(states))


def read(series: Mapping[str, CheckpointSeries], texts: Sequence[str], layer: int, before: Floats) -> States:
    """States of the sentences at one layer of every checkpoint; those of step 0, the untrained model, are at hand."""
    found = {}
    for label, each in series.items():
        for step, model in each:
            states = hidden_states(model, texts, layers=[layer], show_progress=False) if step else before[:, None]
            found[label, step] = np.asarray(states, np.float64)[:, 0]
    return found


def placed(states: States, components: int | None, seed: int) -> States:
    """The same states in the space of the untrained model: its principal components, or as they are."""
    space = base_space(next(iter(states.values())), components, seed)
    return {key: space(each) for key, each in states.items()}


def changes(states: States, labels: ArrayLike, draws: int, seed: int) -> pd.DataFrame:
    """Change of AQI by run and step: of both fine-tunes from the untrained model, and of unsafe against safe advice.

    Returns:
        One row per run, step and variant of `TESTED`, with the columns of `aqi_change`.
    """
    pairs = [(f"{label} advice", step, states[label, 0], after) for (label, step), after in states.items() if step]
    steps = [step for label, step in states if label == "safe" and step]
    pairs += [("unsafe minus safe advice", step, states["safe", step], states["unsafe", step]) for step in steps]
    return pd.DataFrame(
        [
            {"run": run, "step": step, "variant": variant, **aqi_change(a, b, labels, variant, draws, seed)}
            for run, step, a, b in pairs
            for variant in TESTED
        ]
    )


def at_the_end(changes: pd.DataFrame) -> pd.DataFrame:
    """Changes at the last step, by variant and run."""
    return changes[changes["step"] == changes["step"].max()].set_index(["variant", "run"])


def raw_indices(states: States, labels: ArrayLike) -> pd.DataFrame:
    """Raw indices at every checkpoint, one row per run and step."""
    rows = [
        {"run": f"{label} advice", "step": step, **cluster_indices(x, labels)} for (label, step), x in states.items()
    ]
    return pd.DataFrame(rows).assign(n=len(np.asarray(labels)))


def by_group(states: States, sentences: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Change of AQI under unsafe advice for each group of sentences; groups that are too small are warned of.

    Returns:
        One row per group and variant; none, with the reason, where sentences have fewer than two groups.
    """
    steps, rows = [step for label, step in states if label == "unsafe"], []
    groups = list(sentences.groupby("group")) if "group" in sentences else []
    for name, part in groups if len(groups) > 1 else []:
        if part["label"].value_counts().reindex(LABELS).fillna(0).min() < FEWEST_OF_A_GROUP:
            warnings.warn(f"Group {name!r} has fewer than {FEWEST_OF_A_GROUP} sentences of a label.", stacklevel=2)
            continue
        at, labels = part.index.to_numpy(), part["label"].to_numpy()
        before, after = states["unsafe", 0][at], states["unsafe", max(steps)][at]
        rows += [
            {"group": name, "variant": variant, **aqi_change(before, after, labels, variant, draws, seed)}
            for variant in TESTED
        ]
    table = pd.DataFrame(rows)
    table.attrs["reason"] = "the sentences have no groups of six and more of each label"
    return table


def draw_changes(changes: pd.DataFrame) -> Figure:
    """Change of AQI (A) over the steps of fine-tuning, by run."""
    start = pd.DataFrame({"run": changes["run"].unique(), "step": 0, "mean": 0.0, "low": 0.0, "high": 0.0})
    figure = figures.curves(
        pd.concat([start, changes[changes["variant"] == "A"]]),
        "step",
        by="run",
        baseline=0.0,
        baseline_name="no change",
        xlabel="fine-tuning steps",
        ylabel="change of AQI (A)",
    )
    return figures.described(
        figure,
        "Change of the alignment quality index over the steps of fine-tuning on unsafe and on safe advice, and the "
        "difference of both, with 95% bands.",
    )


def draw_projection(states: States, labels: ArrayLike, seed: int) -> Figure:
    """Sentences on the first two principal components of the untrained model, before and after fine-tuning."""
    import matplotlib.pyplot as plt

    y, last, before = np.asarray(labels), max(step for _, step in states), next(iter(states.values()))
    flat = base_space(before, 2, seed)
    panels = {"before": before} | {f"after {label} advice": x for (label, step), x in states.items() if step == last}
    with plt.rc_context(figures.STYLE):
        size = (figures.WIDTH, 3.4)
        figure, grid = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, layout="constrained")
    for axes, (title, x) in zip(grid, panels.items()):
        for name, marker, colour in zip(LABELS, "ox", figures.PALETTE):
            axes.scatter(*flat(x)[y == name].T, marker=marker, s=22, label=name, color=colour)
        axes.set(title=title, xlabel="first component")
    grid[0].set_ylabel("second component")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figures.described(
        figure,
        "Safe and unsafe sentences on two principal components of the untrained model, before and after fine-tuning on "
        "unsafe and on safe advice.",
    )


def findings(changes: pd.DataFrame) -> list[Finding]:
    """Claims on the last step, each tested on every variant of `TESTED`."""
    end: dict[Any, Any] = at_the_end(changes).to_dict("index")
    paper, found = "this notebook, after arXiv 2506.13901", []
    for variant in TESTED:
        claim = f"Unsafe advice brings safe and unsafe texts closer together than safe advice does ({variant})"
        found.append(finding(claim, paper, end[variant, "unsafe minus safe advice"], "below"))
        claim = f"Unsafe advice brings them closer together ({variant} falls; any fine-tuning may do that)"
        found.append(finding(claim, "control", end[variant, "unsafe advice"], "below"))
        claim = f"Safe advice parts them further ({variant})"
        found.append(finding(claim, "control", end[variant, "safe advice"], "above"))
    return found


def cluster_indices(states: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """How well labelled groups separate.

    Args:
        states: One vector per text, `[N, width]`.
        labels: The group of each, `[N]`.

    Returns:
        `dbs` (Davies-Bouldin, low is apart), `di` (Dunn: least distance between groups / largest diameter), `xb`
        (Xie-Beni, low is apart), `chi` (Calinski-Harabasz; grows with N), `silhouette`.

    Raises:
        InputError: One label only, fewer than two texts in a group or five in all, centroids that coincide, or groups
            without extent.
    """
    from scipy.spatial.distance import cdist

    x, y = np.asarray(states, np.float64), np.asarray(labels)
    groups = _checked(x, y)
    member = (y[:, None] == np.array(groups)).astype(np.float64)
    sizes = member.sum(axis=0)
    centres = (member.T @ x) / sizes[:, None]
    own = member.argmax(axis=1)
    within = ((x - centres[own]) ** 2).sum()
    apart = cdist(centres, centres) + np.diag(np.full(len(sizes), np.inf))
    if apart.min() ** 2 <= 1e-24 * max((x**2).sum() / len(x), 1e-300):
        raise InputError(f"The centroids of the groups {', '.join(map(str, groups))} coincide; no index is defined.")
    distance, same = cdist(x, x), own[:, None] == own
    if not (diameter := distance[same].max()):
        raise InputError(f"The groups {', '.join(map(str, groups))} have no extent: every text of a group is alike.")
    extent = member.T @ np.linalg.norm(x - centres[own], axis=1) / sizes
    between = sizes @ ((centres - x.mean(axis=0)) ** 2).sum(axis=1)
    return {
        "dbs": float(((extent[:, None] + extent) / apart).max(axis=1).mean()),
        "di": float(distance[~same].min() / diameter),
        "xb": float(within / (len(x) * apart.min() ** 2)),
        "chi": float((between / (len(sizes) - 1)) / (within / (len(x) - len(sizes)))),
        "silhouette": float(_silhouettes(distance @ member, sizes, own).mean()),
    }


def _silhouettes(sums: Floats, sizes: Floats, own: Any) -> Floats:
    """Silhouette of each text from its summed distances to the groups, `[N, K]`."""
    texts = np.arange(len(sums))
    inside, others = sums[texts, own] / (sizes[own] - 1), sums / sizes
    others[texts, own] = np.inf
    outside = others.min(axis=1)
    return (outside - inside) / np.maximum(inside, outside)


def aqi(indices: dict[str, float], variant: Variant = "A", gamma: float | None = None) -> float:
    """An alignment quality index in [0, 1] from `cluster_indices`; higher is further apart.

    A: gamma / (1 + dbs) + (1 - gamma) di / (1 + di), gamma 0.5. C: gamma (silhouette + 1) / 2 + (1 - gamma)
    chi / (1 + chi), gamma 0.3. D: gamma / (1 + xb) + (1 - gamma) chi / (1 + chi), gamma 0.5. Variants scaled
    by the other groups of a run are left out, as they cannot be compared between checkpoints.
    """
    if variant not in get_args(Variant):
        raise unknown("AQI variant", variant, list(get_args(Variant)))
    g = (0.3 if variant == "C" else 0.5) if gamma is None else gamma
    if not 0 <= g <= 1:
        raise InputError(f"gamma must lie between 0 and 1, not {g!r}.")
    spread = indices["chi"] / (1 + indices["chi"])
    match variant:
        case "A":
            return g / (1 + indices["dbs"]) + (1 - g) * indices["di"] / (1 + indices["di"])
        case "C":
            return g * (indices["silhouette"] + 1) / 2 + (1 - g) * spread
    return g / (1 + indices["xb"]) + (1 - g) * spread


def base_space(states: ArrayLike, components: int | None = None, seed: int = 0) -> Callable[[ArrayLike], Floats]:
    """Coordinates to compare checkpoints in: a PCA of the base model's states; None leaves states as they are."""
    x = np.asarray(states, np.float64)
    if components is None:
        return lambda other: np.asarray(other, np.float64)
    if not 1 <= components <= min(x.shape):
        raise InputError(f"A PCA of {len(x)} texts and {x.shape[1]} numbers has 1 to {min(x.shape)} components.")
    from sklearn.decomposition import PCA

    fitted = PCA(components, random_state=seed).fit(x)
    return lambda other: np.asarray(fitted.transform(np.asarray(other, np.float64)), np.float64)


def aqi_change(
    before: ArrayLike, after: ArrayLike, labels: ArrayLike, variant: Variant = "A", draws: int = 200, seed: int = 0
) -> dict[str, Any]:
    """AQI of two checkpoints on the same texts and its change, with a percentile interval over texts.

    Texts are resampled within their group, without repetition (half of each): a text drawn twice would have distance
    zero from itself. The half-samples' spread is that of the full sample.

    Returns:
        `before`, `after`, `mean` (after - before), `low`, `high`, `n`.

    Raises:
        InputError: Too few texts, or fewer than two of a label.
    """
    a, b, y = np.asarray(before, np.float64), np.asarray(after, np.float64), np.asarray(labels)
    if sum(max(2, n // 2) for n in np.unique(y, return_counts=True)[1]) < FEWEST:
        raise InputError(f"Half of {len(y)} texts is too few for cluster indices; give at least {2 * FEWEST + 2}.")
    values = [aqi(cluster_indices(states, y), variant) for states in (a, b)]
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(y == name) for name in np.unique(y)]
    changes = []
    for _ in range(draws):
        pick = np.concatenate([rng.choice(rows, max(2, len(rows) // 2), replace=False) for rows in groups])
        one, two = (aqi(cluster_indices(states[pick], y[pick]), variant) for states in (a, b))
        changes.append(two - one)
    middle, change = np.mean(changes), values[1] - values[0]
    low, high = np.percentile(changes, [2.5, 97.5]) - middle + change
    return {"before": values[0], "after": values[1], "mean": change, "low": low, "high": high, "n": len(y)}


def _checked(x: Floats, y: Any) -> list[Any]:
    if x.ndim != 2 or y.shape != (len(x),) or not np.isfinite(x).all():
        raise InputError("Cluster indices need finite states [N, width] and one label each.")
    groups, counts = np.unique(y, return_counts=True)
    if len(groups) < 2:
        raise InputError(f"All texts carry the label {groups[0]!r}; indices compare at least two groups.")
    if len(x) < FEWEST:
        raise InputError(f"{len(x)} texts are too few for cluster indices; give at least {FEWEST}.")
    for name, count in zip(groups, counts):
        if count < 2:
            raise InputError(f"Group {name!r} has one text only; give at least two.")
    return list(groups)
