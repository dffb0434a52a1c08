"""Dimensions of culture, distances to countries, and cultural maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import averaged, levels
from workbench.called import DIMENSION_NAMES
from workbench.cultural_alignment.instruments import DIMENSIONS, country_scores, vsm13
from workbench.cultural_alignment.populations import load_values_survey
from workbench.cultural_alignment.surveys import ORDERS, finite_matrix, scores
from workbench.drawing import STYLE, WIDTH, legend_below, look_of, name_points, words
from workbench.errors import InputError
from workbench.figures import described, intervals
from workbench.statistics import Finding, adjusted, bootstrap, finding, summarise
from workbench.statistics.distances import Floats
from workbench.statistics.findings import no_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST_RANKED = 5
"""Countries a p-value of a ranking needs: with three, the two-sided exact p is never below 1/3."""


def kogut_singh(a: ArrayLike, b: ArrayLike, variances: ArrayLike) -> float:
    """Return Kogut and Singh's cultural distance: mean over dimensions of squared difference / variance, all `[D]`.

    The variances (ddof 1) are those over the reference countries.
    """
    one, two, v = (np.asarray(x, np.float64) for x in (a, b, variances))
    if not one.shape == two.shape == v.shape:
        raise InputError(f"The scores and the variances have shapes {one.shape}, {two.shape} and {v.shape}.")
    if not (v > 0).all():
        raise InputError("A dimension does not vary over the reference countries; choose others.")
    return float(np.mean((one - two) ** 2 / v))


def rank_agreement(model: ArrayLike, reference: ArrayLike) -> dict[str, float]:
    """Return Kendall's tau-b of two rankings of the same countries (Cultural Alignment Test, arXiv 2309.12342).

    Countries are not independent draws, so p is optimistic.

    Returns:
        `tau` (NaN if either side does not vary), `p` (NaN with fewer than five countries), `n`, `n_dropped`.
    """
    from scipy.stats import kendalltau

    one, two = np.asarray(model, np.float64), np.asarray(reference, np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise InputError(f"The rankings have shapes {one.shape} and {two.shape}; give one score per country each.")
    known = ~np.isnan(one - two)
    counts = {"n": int(known.sum()), "n_dropped": int((~known).sum())}
    one, two = one[known], two[known]
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return {"tau": np.nan, "p": np.nan, **counts}
    test = kendalltau(one, two)
    p = float(test.pvalue) if len(one) >= FEWEST_RANKED else np.nan
    return {"tau": float(test.statistic), "p": p, **counts}


def mean_tau_test(model: ArrayLike, reference: ArrayLike, draws: int = 999, seed: int = 0) -> dict[str, float]:
    """Test the mean tau-b over dimensions against shuffled countries; both tables are `[countries, D]`.

    Returns:
        `mean_tau`, one-sided `p` = (b + 1) / (draws + 1), `null_low` and `null_high` (2.5 and 97.5 percentiles), `n`.
    """
    one, two = finite_matrix("model", model, 3), finite_matrix("reference", reference, 3)
    if one.shape != two.shape:
        raise InputError(f"model has shape {one.shape}, reference {two.shape}; give the same countries and dimensions.")
    mine, theirs = (np.sign(x[:, None, :] - x[None, :, :]) for x in (one, two))
    size = np.sqrt((mine**2).sum(axis=(0, 1)) * (theirs**2).sum(axis=(0, 1)))
    size = np.where(size > 0, size, np.nan)
    rng = np.random.default_rng(seed)
    orders = [np.arange(len(one)), *(rng.permutation(len(one)) for _ in range(draws))]
    means = np.array([np.nanmean((mine[np.ix_(o, o)] * theirs).sum(axis=(0, 1)) / size) for o in orders])
    low, high = np.percentile(means[1:], [2.5, 97.5])
    p = (1 + (means[1:] >= means[0] - 1e-12).sum()) / (1 + draws)
    return {"mean_tau": float(means[0]), "p": float(p), "null_low": low, "null_high": high, "n": len(one)}


@dataclass(frozen=True, slots=True)
class CultureMap:
    """Two principal axes of standardised country scores, oriented by rule."""

    mean: Floats
    """Mean of each dimension over the reference countries, `[D]`."""
    sd: Floats
    """Population standard deviation, `[D]`."""
    loadings: Floats
    """Axes in the space of z-scores, `[2, D]`."""
    explained: Floats
    """Proportion of variance of every axis, `[D]`."""
    n: int
    """Reference countries."""

    def place(self, scores: ArrayLike) -> Floats:
        """Return coordinates `[points, 2]` of scores `[points, D]`; the axes stay those of the reference countries."""
        return (np.atleast_2d(np.asarray(scores, np.float64)) - self.mean) / self.sd @ self.loadings.T


def culture_map(reference: ArrayLike, up: Sequence[int] = (1, 4)) -> CultureMap:
    """Return the map of reference countries `[countries, D]`, none missing.

    `up` are the dimensions whose loadings are positive on the first and second axis; default IDV and LTO.
    """
    x = finite_matrix("reference", reference, 3, 2)
    sd = x.std(axis=0)
    if not (sd > 0).all():
        raise InputError("A dimension does not vary over the reference countries, so it has no z-score; leave it out.")
    _, s, axes = np.linalg.svd((x - x.mean(axis=0)) / sd, full_matrices=False)
    two = axes[:2] * np.sign([axes[0, up[0]], axes[1, up[1]]])[:, None]
    return CultureMap(x.mean(axis=0), sd, two, s**2 / (s**2).sum(), len(x))


ITEMS = ("A008", "A165", "E018", "E025", "F063", "F118", "F120", "G006", "Y002", "Y003")
"""Happiness, trust, respect for authority, petition, God, homosexuality, abortion, national pride, post-materialism,
autonomy, by their codes in the integrated values surveys."""
RANGES = dict(zip(ITEMS, ((1, 4), (1, 2), (1, 3), (1, 3), (1, 10), (1, 10), (1, 10), (1, 4), (1, 3), (-2, 2))))
FEWEST_ANSWERS = 6
"""Items of the ten that a respondent must have answered."""
CONSTANTS = {"wvs": ((1.81, 0.038), (1.61, -0.1)), "tao_2024": ((1.81, 0.38), (1.61, -0.01))}
"""Slope and offset of either axis: the survey's own syntax, and as printed in a paper of 2024 (a shift of the map)."""
ANCHORS = {
    "Australia": (2.5, -0.4),
    "Brazil": (0.0, -0.4),
    "China": (0.4, 0.8),
    "Germany": (2.1, 0.9),
    "Great Britain": (2.4, -0.2),
    "India": (-0.4, -0.3),
    "Japan": (1.7, 1.7),
    "Jordan": (-1.4, -1.0),
    "Mexico": (0.2, -1.3),
    "Nigeria": (-1.0, -0.8),
    "Russia": (-0.2, 0.7),
    "South Korea": (0.4, 1.4),
    "Sweden": (3.6, 0.6),
    "Turkey": (-0.8, -0.2),
    "U.S.A.": (1.5, -0.4),
    "Zimbabwe": (-1.3, -0.4),
}
"""Published points (self-expression, secular) of some countries (Tao et al. 2024), rounded, to identify the axes."""
FEWEST_ANCHORS, MOST_ALIKE = 4, 0.8
"""Countries a check of the axes needs; correlation of their published axes from which a swap cannot be detected."""
EM_STEPS, ROTATION_STEPS = 200, 100
"""Most steps of expectation-maximisation, and of varimax."""


@dataclass(frozen=True, slots=True)
class ValuesMap:
    """Two rotated factors of the ten items."""

    mean: Floats
    """Mean of each item, `[10]`."""
    sd: Floats
    """Standard deviation of each item, `[10]`."""
    weights: Floats
    """From z-scores to unscaled factors, `[10, 2]`."""
    scale: Floats
    """Standard deviation of either factor over the respondents, `[2]`."""
    n: int
    """Respondents used."""
    n_dropped: int
    """Respondents with fewer than six answers."""

    def place(self, items: ArrayLike, constants: str = "wvs") -> Floats:
        """Return coordinates `[points, 2]` (self-expression, secular) of item values `[points, 10]`."""
        x = np.atleast_2d(np.asarray(items, np.float64))
        if x.shape[1] != len(ITEMS) or not np.isfinite(x).all():
            raise InputError(f"A point of the map needs a value for each of {', '.join(ITEMS)}.")
        return rescale((x - self.mean) / self.sd @ self.weights / self.scale, constants)


def rescale(factors: ArrayLike, constants: str = "wvs") -> Floats:
    """Return factor scores `[points, 2]` on the scale of the published map."""
    if constants not in CONSTANTS:
        raise InputError(f"Unknown constants {constants!r}; use one of {', '.join(CONSTANTS)}.")
    slopes, offsets = np.array(CONSTANTS[constants]).T
    return np.atleast_2d(np.asarray(factors, np.float64)) * slopes + offsets


def fit_values_map(items: ArrayLike, weights: ArrayLike | None = None) -> ValuesMap:
    """Fit the Inglehart-Welzel map: two principal components of z-scores, varimax with Kaiser normalisation.

    Follows the surveys' published syntax, except that missing answers are completed by probabilistic PCA where the
    syntax uses pairwise correlations. Self-expression is the axis on which homosexuality (F118) and post-materialism
    (Y002) load, F118 positive; on the other, secular, the importance of God (F063) is negative.

    Args:
        items: `[respondents, 10]` in the order of `ITEMS`; NaN where missing (negative codes are missing, not values).
        weights: Survey weight of each respondent, `[respondents]`; None for equal weights.

    Raises:
        InputError: Invalid shape or codes, too few respondents, or F118 and Y002 load on different axes.
    """
    x = np.asarray(items, np.float64)
    if x.ndim != 2 or x.shape[1] != len(ITEMS):
        raise InputError(f"The map needs a column for each of {', '.join(ITEMS)}; there are {x.shape[-1]}.")
    for column, (name, (low, high)) in enumerate(RANGES.items()):
        values = x[:, column][~np.isnan(x[:, column])]
        if not ((values >= low) & (values <= high)).all():
            raise InputError(f"{name} has values outside {low} to {high}; mark missing codes as NaN first.")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (len(x),) or not (w >= 0).all():
        raise InputError("The map needs one weight per respondent, none negative or missing.")
    enough = ((~np.isnan(x)).sum(axis=1) >= FEWEST_ANSWERS) & (w > 0)
    used, w = x[enough], w[enough]
    if len(used) <= len(ITEMS):
        raise InputError(f"Only {len(used)} respondents answered {FEWEST_ANSWERS} of the ten items; add respondents.")
    known = ~np.isnan(used) * w[:, None]
    mean = np.nansum(used * w[:, None], axis=0) / known.sum(axis=0)
    sd = np.sqrt(np.nansum((used - mean) ** 2 * w[:, None], axis=0) / known.sum(axis=0))
    if not (sd > 0).all():
        raise InputError(f"{ITEMS[int((sd == 0).argmax())]} is the same for every respondent; add respondents.")
    loadings, completed = _principal((used - mean) / sd, w / w.mean())
    rotated = _oriented(loadings @ varimax(loadings))
    scoring = rotated @ np.linalg.inv(rotated.T @ rotated)
    scores = completed @ scoring
    spread = np.sqrt(np.average((scores - np.average(scores, axis=0, weights=w)) ** 2, axis=0, weights=w))
    return ValuesMap(mean, sd, scoring, spread, len(used), int((~enough).sum()))


def check_orientation(points: ArrayLike, names: Sequence[str]) -> str:
    """Check the axes of country points `[countries, 2]` (self-expression, secular) against the published map.

    Returns:
        A sentence for a caption: how many published countries confirm the axes, or why they could not be checked.

    Raises:
        InputError: The axes are exchanged, or one of them is reversed.
    """
    pairs = [(point, ANCHORS[name]) for point, name in zip(np.asarray(points, np.float64), names) if name in ANCHORS]
    if len(pairs) < FEWEST_ANCHORS:
        return f"axes not checked: fewer than {FEWEST_ANCHORS} of {', '.join(ANCHORS)}"
    r = np.corrcoef(np.array([[*own, *published] for own, published in pairs]).T)
    own, alike = r[:2, 2:], abs(r[2, 3]) >= MOST_ALIKE
    if np.abs(np.diag(own)).sum() < np.abs(own[[0, 1], [1, 0]]).sum() and not alike:
        raise InputError(
            f"The axes are exchanged: over {len(pairs)} countries, self-expression correlates with the published "
            f"secular axis (r = {own[0, 1]:.2f}; {own[0, 0]:.2f} with its own). Check that the items are coded as in "
            "the integrated surveys; in a file of coordinates, exchange the columns."
        )
    for name, each in zip(("self-expression", "secular"), np.diag(own)):
        if not each > 0:
            raise InputError(
                f"The {name} axis is reversed: over {len(pairs)} countries it correlates with the published axis at "
                f"r = {each:.2f}. Check that the items are coded as in the integrated surveys; in a file of "
                "coordinates, multiply by -1."
            )
    note = ", signs only, as their two axes are too alike" if alike else ""
    return f"axes checked against {len(pairs)} published countries{note}"


def country_points(coordinates: ArrayLike, countries: ArrayLike, weights: ArrayLike) -> dict[str, Floats]:
    """Return the weighted mean coordinates by country, without countries whose weights are all 0."""
    xy, names, w = np.asarray(coordinates, float), np.asarray(countries), np.asarray(weights, np.float64)
    rows = {str(name): names == name for name in dict.fromkeys(names)}
    return {name: np.average(xy[at], axis=0, weights=w[at]) for name, at in rows.items() if w[at].sum() > 0}


def varimax(loadings: Floats) -> Floats:
    """Return the varimax rotation `[k, k]` of loadings `[items, k]`, rows scaled to length 1 first (Kaiser)."""
    lengths = np.linalg.norm(loadings, axis=1, keepdims=True)
    rows = loadings / np.where(lengths > 0, lengths, 1.0)
    n, k = rows.shape
    rotation, last = np.eye(k), 0.0
    for _ in range(ROTATION_STEPS):
        rotated = rows @ rotation
        u, s, v = np.linalg.svd(rows.T @ (rotated**3 - rotated * (rotated**2).sum(axis=0) / n))
        rotation = u @ v
        if s.sum() <= last * (1 + 1e-10):
            break
        last = s.sum()
    return rotation


def _principal(z: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Return loadings `[items, 2]` of principal components, and the data completed by expectation-maximisation."""
    missing = np.isnan(z)
    filled = np.where(missing, 0.0, z)
    for _ in range(EM_STEPS if missing.any() else 1):
        centred = filled - np.average(filled, axis=0, weights=w)
        _, s, axes = np.linalg.svd(centred * np.sqrt(w)[:, None], full_matrices=False)
        noise = (s[2:] ** 2).sum() / (len(z) * (z.shape[1] - 2))
        size = np.sqrt(np.maximum(s[:2] ** 2 / len(z) - noise, 1e-12))
        shrink = size**2 / (size**2 + noise)
        guess = (filled @ axes[:2].T * shrink) @ axes[:2]
        change = np.abs(np.where(missing, guess - filled, 0.0)).max()
        filled = np.where(missing, guess, z)
        if change < 1e-6:
            break
    return axes[:2].T * s[:2] / np.sqrt(len(z)), filled


def _oriented(loadings: Floats) -> Floats:
    """Return the columns in the order (self-expression, secular), with signs by rule."""
    god, gay, post = (ITEMS.index(name) for name in ("F063", "F118", "Y002"))
    first, second = (int(np.abs(loadings[row]).argmax()) for row in (gay, post))
    if first != second:
        raise InputError(
            "The axes cannot be identified: tolerance of homosexuality (F118) and post-materialism (Y002), which mark "
            "self-expression in the published map, load on different axes of these respondents; add respondents of "
            "more countries, or check how the items are coded."
        )
    loadings = loadings[:, [first, 1 - first]]
    return loadings * np.array([np.sign(loadings[gay, 0]), -np.sign(loadings[god, 1])])


def format_means(by_format: pd.DataFrame) -> pd.DataFrame:
    """Return score and acquiescence by dimension without a persona, with intervals over formats."""
    default = by_format[by_format["persona"] == "none"]
    return summarise(default, ["score", "acquiescence"], by="dimension").drop(columns=["method", "n_clusters"])


def draw_dimensions(dimensions: pd.DataFrame, countries: list[str], n_items: int) -> Figure:
    """Plot the model's dimension scores from `format_means` beside the published scores of some countries."""
    cited = country_scores()[DIMENSIONS]
    published = [
        pd.DataFrame({"dimension": DIMENSIONS, "mean": cited.loc[c].to_numpy(), "who": f"{c} (published)"})
        for c in countries
    ]
    mine = dimensions[dimensions["metric"] == "score"].assign(who="model without persona")
    figure = intervals(
        pd.concat([mine, *published]).replace({"dimension": DIMENSION_NAMES}),
        "dimension",
        by="who",
        baseline=50.0,
        baseline_name="uniform and position-only answers",
        xlabel=f"score, 0 to 100 ({n_items} items; the published scores use another instrument)",
        bars="95% intervals over formats",
        of="formats",
        why="published scores",
    )
    return described(figure, "The model's six dimension scores, beside published scores of three countries.")


def ranks(profile: pd.DataFrame, countries: list[str]) -> pd.DataFrame:
    """Return Kendall's tau-b of personas with published scores, one row per dimension, p adjusted by Holm."""
    cited = country_scores()
    rows = [{"dimension": d, **rank_agreement(profile.loc[countries, d], cited.loc[countries, d])} for d in DIMENSIONS]
    table = pd.DataFrame(rows)
    return table.assign(p_holm=adjusted(table["p"]))


def mean_tau(profile: pd.DataFrame, countries: list[str], seed: int = 0) -> pd.DataFrame:
    """Return `mean_tau_test` of the personas against published scores, as one row with its `verdict` at p < 0.05."""
    test = mean_tau_test(profile.loc[countries, DIMENSIONS], country_scores().loc[countries, DIMENSIONS], seed=seed)
    verdict = "above shuffled countries" if test["p"] < 0.05 else "not distinguishable from shuffled countries"
    return pd.DataFrame([{**test, "verdict": verdict}])


def tau_by_format(by_format: pd.DataFrame, countries: list[str]) -> pd.DataFrame:
    """Return the mean tau-b of the personas with published scores in each format: columns format, mean_tau, n."""
    cited = country_scores().loc[countries, DIMENSIONS]
    profiles = _profiles_by_format(by_format, countries)
    tests = {name: mean_tau_test(profile, cited, draws=1) for name, profile in profiles.items()}
    return pd.DataFrame([{"format": name, "mean_tau": t["mean_tau"], "n": t["n"]} for name, t in tests.items()])


def _profiles_by_format(by_format: pd.DataFrame, countries: list[str]) -> dict[str, pd.DataFrame]:
    """Return format -> scores, personas by dimensions."""
    some = by_format[by_format["persona"].isin(countries)]
    wide = some.pivot_table(index=["format", "persona"], columns="dimension", values="score")
    parts = wide.groupby(level="format")
    return {str(name): pd.DataFrame(part.droplevel(0).loc[countries, DIMENSIONS]) for name, part in parts}


@dataclass(frozen=True, slots=True)
class Places:
    """Coordinates of the countries, the model and its personas on one map."""

    axes: CultureMap
    countries: pd.DataFrame
    """By country: x, y and region."""
    personas: pd.DataFrame
    """By persona, `none` first: x, y, and their standard deviations over formats, dx and dy."""
    by_format: pd.DataFrame
    """By persona and format: x and y."""


def places(complete: pd.DataFrame, profile: pd.DataFrame, by_format: pd.DataFrame, countries: list[str]) -> Places:
    """Fit the map to published scores alone (`complete`, without gaps), and project the personas on it.

    `profile` are personas by dimensions, formats averaged; `by_format` is the result of `instruments.dimension_scores`.
    """
    axes = culture_map(complete[DIMENSIONS].to_numpy())

    def on_map(table: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(axes.place(table[DIMENSIONS].to_numpy()), table.index, ["x", "y"])

    where = on_map(complete)
    where["region"] = country_scores()["region"].reindex(complete.index).fillna("other")
    points = on_map(profile.loc[["none", *countries]])
    each = on_map(by_format.pivot_table(index=["persona", "format"], columns="dimension", values="score"))
    points[["dx", "dy"]] = each.groupby(level="persona").std().reindex(points.index)
    return Places(axes, where, points, each)


def loadings(axes: CultureMap) -> pd.DataFrame:
    """Return the loadings of the dimensions on the two axes."""
    return pd.DataFrame(axes.loadings.T, DIMENSIONS, ["first axis", "second axis"]).rename_axis("dimension")


def draw_map(places: Places) -> Figure:
    """Plot the countries on the map, coloured by region, and an arrow from the model to each persona."""
    import matplotlib.pyplot as plt

    countries, personas = places.countries, places.personas.drop("none")
    origin = places.personas.loc["none", ["x", "y"]].to_numpy()
    uniform = places.axes.place(np.full(len(DIMENSIONS), 50.0))[0]
    first, second = (
        f"{name} axis ({part:.0%} of variance)" for name, part in zip(("first", "second"), places.axes.explained)
    )
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 5.4), layout="constrained")
        for number, (region, part) in enumerate(countries.groupby("region", sort=True)):
            axes.scatter(part["x"], part["y"], s=26, label=words(region), zorder=3, alpha=0.85, **look_of(number))
        named = _draw_personas(axes, personas, origin, float(np.ptp(countries[["x", "y"]].to_numpy())))
        axes.scatter(*uniform, s=170, marker="o", facecolors="none", edgecolors="black", label="uniform answers")
        axes.scatter(*origin, s=90, marker="*", color="black", zorder=5, label="model without persona")
        axes.set(xlabel=first, ylabel=second)
        axes.grid()
        axes.margins(0.08)
        note = "Arrows: from the model to its personas. Ellipses: one standard deviation over formats. "
        note += "Countries have no interval."
        legend_below(figure, axes, note)
        at = pd.concat([countries[["x", "y"]], named]).to_numpy(np.float64)
        names = [words(name) for name in [*countries.index, *named.index]]
        name_points(figure, axes, np.vstack([at, uniform, origin]), [*names, "", ""])
        plt.close(figure)
    return described(
        figure,
        "Countries on the first two principal axes of published scores, by region; the model as a star with an "
        "arrow to each persona.",
    )


def _draw_personas(axes: Axes, points: pd.DataFrame, origin: Floats | Sequence[float], reach: float) -> pd.DataFrame:
    """Draw each persona with its spread and an arrow; return the places to be named, none if they are all close."""
    from matplotlib.patches import Ellipse

    apart = len(points) < 2 or float(np.ptp(points[["x", "y"]].to_numpy(), axis=0).max()) > 0.1 * reach
    for _, row in points.iterrows():
        if np.isfinite([row["dx"], row["dy"]]).all():
            spread = Ellipse((row["x"], row["y"]), 2 * row["dx"], 2 * row["dy"], color="black", alpha=0.07, lw=0)
            axes.add_patch(spread)
        style = {"arrowstyle": "->", "color": "black", "lw": 0.9, "alpha": 0.7}
        axes.annotate("", (row["x"], row["y"]), (origin[0], origin[1]), arrowprops=style)
    axes.scatter(points["x"], points["y"], s=16, color="black", zorder=4, label=f"model as {len(points)} personas")
    named = points[["x", "y"]].set_axis([f"as {name}" for name in points.index])
    return named if apart else named.head(0)


def arrows(places: Places) -> pd.DataFrame:
    """Return the proportion of personas that move in the direction of their country from the mean of the countries.

    Returns:
        One row of `summarise`, with `spread` (mean distance between personas / between their countries) and
        `format_sd` (mean standard deviation over formats, in units of the map).
    """
    from scipy.spatial.distance import pdist

    personas = places.personas.drop("none")
    theirs = places.countries.loc[personas.index, ["x", "y"]].to_numpy()
    mine, origin = personas[["x", "y"]].to_numpy(), places.personas.loc["none", ["x", "y"]].to_numpy(float)
    towards = ((mine - origin) * (theirs - theirs.mean(axis=0))).sum(axis=1) > 0
    row = summarise(pd.DataFrame({"proportion": towards}), method="wilson").drop(columns="n_clusters")
    format_sd = float(np.nanmean(personas[["dx", "dy"]].to_numpy()))
    return row.assign(spread=pdist(mine).mean() / pdist(theirs).mean(), format_sd=format_sd)


def distances(profile: pd.DataFrame, complete: pd.DataFrame) -> pd.DataFrame:
    """Return the Kogut-Singh distances of the default model and of uniform answers to every country, nearest first."""
    variances = complete[DIMENSIONS].var(ddof=1).to_numpy()
    scores = {"model": profile.loc["none", DIMENSIONS].to_numpy(), "uniform answers": np.full(len(DIMENSIONS), 50.0)}
    rows = complete[DIMENSIONS].to_numpy()
    near = {name: [kogut_singh(mine, row, variances) for row in rows] for name, mine in scores.items()}
    return pd.DataFrame(near, complete.index).sort_values("model")


def vsm_indices(answers: pd.DataFrame | None) -> pd.DataFrame:
    """Return VSM 2013 indices by persona, from answers averaged over orders; no rows without answers."""
    if answers is None:
        return no_rows("No VSM 2013 items were given (vsm=).")
    items = scores(averaged(levels(answers, nested="keep"), ORDERS))
    means = items.assign(m=1 + 4 * items["x_raw"]).pivot(index="persona", columns="item", values="m")
    indices = {name: vsm13(row.to_numpy()) for name, row in means.sort_index(axis=1).iterrows()}
    return pd.DataFrame(indices).T.rename_axis("persona")


def values_points(microdata: str | Path | None) -> tuple[pd.DataFrame, str]:
    """Return countries on the Inglehart-Welzel map fitted to a user's values survey.

    Returns:
        Columns `self-expression` and `secular` by country, no rows without a file; and a sentence for the caption on
        respondents used and left out.
    """
    if microdata is None:
        return no_rows("No values survey was given (microdata=)."), ""
    data = load_values_survey(microdata, list(RANGES))
    ten = data[list(RANGES)]
    fitted = fit_values_map(ten.to_numpy(), data["weight"])
    known = ten.notna().all(axis=1)
    points = country_points(fitted.place(ten[known].to_numpy()), data["country"][known], data["weight"][known])
    table = pd.DataFrame(points, index=["self-expression", "secular"]).T.rename_axis("country")
    note = (
        f"{fitted.n} respondents used, {fitted.n_dropped} dropped, {int(known.sum())} complete ones averaged; "
        f"{data.attrs['n_without_country']} without a country, {data.attrs['n_without_weight']} without a weight and "
        f"{sum(data.attrs['unknown_countries'].values())} with an unknown country number left out beforehand; "
        f"{check_orientation(table, list(table.index))}"
    )
    return table, note


def findings(
    tau: pd.DataFrame, by_format: pd.DataFrame, places: Places, towards: pd.DataFrame, seed: int = 0
) -> list[Finding]:
    """Return claims on the ranking of personas, over all formats and in each, and on their places on the map."""
    countries = list(places.personas.index.drop("none"))
    profiles = list(_profiles_by_format(by_format, countries).values())
    cited = country_scores().loc[countries, DIMENSIONS]
    # One shuffle of the countries for every format: formats are not independent.
    in_formats = mean_tau_test(np.hstack(profiles), np.tile(cited, len(profiles)), seed=seed)

    def excess(*axes: Floats) -> float:
        return float(np.mean([x.std(axis=1, ddof=1).mean() - x.std(axis=0, ddof=1).mean() for x in axes]))

    wide = [places.by_format[axis].unstack("format").loc[countries] for axis in ("x", "y")]
    moved = bootstrap(excess, *wide, seed=seed, centred=True)
    here, source = "this notebook", "this notebook, after Masoud et al. 2023, arXiv 2309.12342"
    ranked = "Personas are ranked as the countries are"
    ranked_in_formats = "Format by format the ranking agrees with the published one"
    less = "Kendall's tau, mean of {}, less that of shuffled countries"
    further = "A change of format moves a persona further on the map than a change of persona in one format"
    direction = "Personas move in the direction of their country on the map"
    spread = "standard deviation over formats minus that over personas, mean of the axes"
    return [
        finding(
            ranked, source, _beyond(tau.iloc[0]), "above", 0.0, "", less.format("dimensions"), "shuffled countries"
        ),
        finding(
            ranked_in_formats,
            source,
            _beyond(in_formats),
            "above",
            0.0,
            "",
            less.format("formats"),
            "shuffled countries",
        ),
        finding(direction, here, towards.iloc[0], "above", 0.5, "", "proportion of personas", "chance"),
        finding(further, here, moved, "above", 0.0, "", spread, "no difference"),
    ]


def _beyond(test: Mapping[str, Any] | pd.Series) -> dict[str, float]:
    """Return the mean tau less the middle 95% of shuffled countries, as a row for `finding`."""
    mean = test["mean_tau"]
    return {"mean": mean, "low": mean - test["null_high"], "high": mean - test["null_low"], "n": test["n"]}
