"""Dimensions of culture, the distance to countries, and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import averaged, levels
from workbench.cultural_alignment.instruments import DIMENSIONS, country_scores, vsm13
from workbench.cultural_alignment.populations import load_values_survey
from workbench.cultural_alignment.surveys import ORDERS, scores, table
from workbench.errors import InputError
from workbench.figures import GREY, MARKERS, PALETTE, STYLE, WIDTH, described, intervals
from workbench.statistics import Finding, adjusted, bootstrap, finding, summarise
from workbench.statistics.distances import Floats
from workbench.statistics.findings import no_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def kogut_singh(
    a: ArrayLike, b: ArrayLike, reference: ArrayLike | None = None, variances: ArrayLike | None = None
) -> float:
    """Kogut and Singh's cultural distance: mean over dimensions of squared difference / variance.

    Args:
        a: Scores of one country, `[D]`.
        b: Scores of the other.
        reference: The countries whose variance (ddof 1) divides, `[countries, D]`; name them with the result.
        variances: Or the variances themselves, `[D]`.
    """
    if (reference is None) == (variances is None):
        raise InputError("Kogut-Singh needs either the reference countries or their variances.")
    one, two = np.asarray(a, np.float64), np.asarray(b, np.float64)
    v = (
        np.var(table("reference", reference, 2), axis=0, ddof=1)
        if reference is not None
        else np.asarray(variances, float)
    )
    if one.shape != two.shape or one.shape != v.shape:
        raise InputError(f"The countries and the variances have shapes {one.shape}, {two.shape} and {v.shape}.")
    if not (v > 0).all():
        raise InputError("A dimension does not vary over the reference countries; take others.")
    return float(np.mean((one - two) ** 2 / v))


def rank_agreement(model: ArrayLike, reference: ArrayLike, min_n: int = 5) -> dict[str, float]:
    """Kendall's tau-b between two rankings of the same countries (the Cultural Alignment Test's measure).

    With three countries the two-sided exact p is never below 1/3, so p is NaN below `min_n` countries; tau is NaN where
    a side does not vary. Countries are not independent draws, so even that p is optimistic.

    Returns:
        `tau`, `p`, `n`, `n_dropped`.
    """
    from scipy.stats import kendalltau

    one, two = np.asarray(model, np.float64), np.asarray(reference, np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise InputError(f"The rankings have shapes {one.shape} and {two.shape}; give one score per country each.")
    both = ~np.isnan(one - two)
    counts = {"n": int(both.sum()), "n_dropped": int((~both).sum())}
    one, two = one[both], two[both]
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return {"tau": np.nan, "p": np.nan, **counts}
    found = kendalltau(one, two)
    return {"tau": float(found.statistic), "p": float(found.pvalue) if len(one) >= min_n else np.nan, **counts}


def mean_tau_test(model: ArrayLike, reference: ArrayLike, draws: int = 999, seed: int = 0) -> dict[str, float]:
    """Mean tau-b over dimensions against shuffled countries.

    Args:
        model: Scores of the personas, `[countries, D]`.
        reference: Published scores of the same countries.
        draws: Shuffles of the model's rows.
        seed: Of the shuffles.

    Returns:
        `mean_tau`, one-sided `p` = (b + 1) / (draws + 1), `null_low` and `null_high` (2.5 and 97.5 percentiles), `n`.
    """
    one, two = table("model", model, 3), table("reference", reference, 3)
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
    """Two principal axes of standardised country scores, oriented by rule, on which other points can be placed."""

    mean: Floats
    """Mean of each dimension over the reference countries, `[D]`."""
    sd: Floats
    """Population sd, `[D]`."""
    loadings: Floats
    """Axes in the space of z-scores, `[2, D]`."""
    explained: Floats
    """Share of the variance of every axis, `[D]`."""
    n: int
    """Reference countries."""

    def place(self, scores: ArrayLike) -> Floats:
        """Coordinates `[points, 2]` of scores `[points, D]`; the axes stay those of the reference countries."""
        return (np.atleast_2d(np.asarray(scores, np.float64)) - self.mean) / self.sd @ self.loadings.T


def culture_map(reference: ArrayLike, up: Sequence[int] = (1, 4)) -> CultureMap:
    """The map of reference countries `[countries, D]`.

    Args:
        reference: Their scores, none missing.
        up: Dimension whose loading is positive on the first and on the second axis (IDV and LTO).
    """
    x = table("reference", reference, 3, 2)
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
LEAST = 6
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
"""Published points (self-expression, secular) of some countries (Tao et al. 2024), rounded, to tell the axes by."""
FEWEST_ANCHORS, MOST_ALIKE = 4, 0.8
"""Countries a check of the axes needs, and the correlation of their published axes from which a swap cannot be seen."""


@dataclass(frozen=True, slots=True)
class ValuesMap:
    """Two rotated factors of the ten items."""

    mean: Floats
    """Mean of each item, `[10]`."""
    sd: Floats
    """Its sd."""
    weights: Floats
    """From z-scores to unscaled factors, `[10, 2]`."""
    scale: Floats
    """Sd of either factor over the respondents, `[2]`."""
    n: int
    """Respondents used."""
    n_dropped: int
    """Respondents with fewer than six answers."""

    def place(self, items: ArrayLike, constants: str = "wvs") -> Floats:
        """Coordinates `[points, 2]` (self-expression, secular) of item values `[points, 10]`."""
        x = np.atleast_2d(np.asarray(items, np.float64))
        if x.shape[1] != len(ITEMS) or not np.isfinite(x).all():
            raise InputError(f"A point of the map needs a value for each of {', '.join(ITEMS)}.")
        return rescale((x - self.mean) / self.sd @ self.weights / self.scale, constants)


def rescale(factors: ArrayLike, constants: str = "wvs") -> Floats:
    """Factor scores `[points, 2]` on the scale of the published map."""
    if constants not in CONSTANTS:
        raise InputError(f"Unknown constants {constants!r}; use one of {', '.join(CONSTANTS)}.")
    slopes, offsets = np.array(CONSTANTS[constants]).T
    return np.atleast_2d(np.asarray(factors, np.float64)) * slopes + offsets


def fit_values_map(items: ArrayLike, weights: ArrayLike | None = None, steps: int = 200) -> ValuesMap:
    """Fit the map: standardise, two principal components, varimax with Kaiser's normalisation, factors of unit spread.

    The steps of the surveys' published syntax, except that missing answers are completed by probabilistic PCA where the
    syntax uses pairwise correlations. Self-expression is the axis with tolerance of homosexuality (F118) and
    post-materialism (Y002), F118 upwards; on the other, secular, the importance of God (F063) counts down.

    Args:
        items: `[respondents, 10]` in the order of `ITEMS`; NaN where missing (negative codes are missing, not values).
        weights: Survey weight of each respondent, as in the syntax; None for equal weights.
        steps: Of expectation-maximisation.

    Raises:
        InputError: Wrong shape or codes, too few respondents, or F118 and Y002 load on different axes.
    """
    x = np.asarray(items, np.float64)
    if x.ndim != 2 or x.shape[1] != len(ITEMS):
        raise InputError(f"The map needs a column for each of {', '.join(ITEMS)}; there are {x.shape[-1]}.")
    for column, (name, (low, high)) in enumerate(RANGES.items()):
        seen = x[:, column][~np.isnan(x[:, column])]
        if len(seen) and not ((seen >= low) & (seen <= high)).all():
            raise InputError(f"{name} holds values outside {low} to {high}; mark missing codes as NaN first.")
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    if w.shape != (len(x),) or not (w >= 0).all():
        raise InputError("The map needs one weight per respondent, none negative or missing.")
    enough = ((~np.isnan(x)).sum(axis=1) >= LEAST) & (w > 0)
    used, w = x[enough], w[enough]
    if len(used) <= len(ITEMS):
        raise InputError(f"Only {len(used)} respondents answered {LEAST} of the ten items; bring more microdata.")
    known = ~np.isnan(used) * w[:, None]
    mean = np.nansum(used * w[:, None], axis=0) / known.sum(axis=0)
    sd = np.sqrt(np.nansum((used - mean) ** 2 * w[:, None], axis=0) / known.sum(axis=0))
    if not (sd > 0).all():
        raise InputError(f"{ITEMS[int((sd == 0).argmax())]} is the same for every respondent; bring more microdata.")
    loadings, completed = _principal((used - mean) / sd, w / w.mean(), steps)
    rotated = _oriented(loadings @ varimax(loadings))
    scoring = rotated @ np.linalg.inv(rotated.T @ rotated)
    scores = completed @ scoring
    spread = np.sqrt(np.average((scores - np.average(scores, axis=0, weights=w)) ** 2, axis=0, weights=w))
    return ValuesMap(mean, sd, scoring, spread, len(used), int((~enough).sum()))


def check_orientation(points: ArrayLike, names: Sequence[str]) -> str:
    """Say whether country points lie as the published map has them; refuse axes that are exchanged or reversed.

    Args:
        points: `[countries, 2]`: self-expression, secular.
        names: The countries, as `ANCHORS` spells them.

    Returns:
        A sentence for a caption: how many published countries confirm the axes, or why they could not be checked.

    Raises:
        InputError: An axis follows the other published axis more than its own, or runs the other way.
    """
    at = [(place, ANCHORS[name]) for place, name in zip(np.asarray(points, np.float64), names) if name in ANCHORS]
    if len(at) < FEWEST_ANCHORS:
        return f"axes not checked: fewer than {FEWEST_ANCHORS} of {', '.join(ANCHORS)}"
    both = np.corrcoef(np.array([[*own, *published] for own, published in at]).T)
    own = both[:2, 2:]
    if np.abs(np.diag(own)).sum() < np.abs(own[[0, 1], [1, 0]]).sum() and abs(both[2, 3]) < MOST_ALIKE:
        raise InputError(
            f"The axes are exchanged: over {len(at)} countries, self-expression correlates with the published secular "
            f"axis (r = {own[0, 1]:.2f}; {own[0, 0]:.2f} with its own). Check that the items are coded as in the "
            "integrated surveys; in a file of coordinates, exchange the columns."
        )
    for name, r in zip(("self-expression", "secular"), np.diag(own)):
        if not r > 0:
            raise InputError(
                f"The {name} axis is reversed: over {len(at)} countries it correlates with the published one at "
                f"r = {r:.2f}. Check that the items are coded as in the integrated surveys; in a file of coordinates, "
                "multiply by -1."
            )
    seen = "" if abs(both[2, 3]) < MOST_ALIKE else ", signs only, as their two axes are too alike"
    return f"axes checked against {len(at)} published countries{seen}"


def country_points(coordinates: ArrayLike, countries: ArrayLike, weights: ArrayLike) -> dict[str, Floats]:
    """Weighted mean of the respondents' coordinates, country by country; one whose weights are all 0 has none."""
    xy, names, w = np.asarray(coordinates, float), np.asarray(countries), np.asarray(weights, np.float64)
    each = {str(name): names == name for name in dict.fromkeys(names)}
    return {name: np.average(xy[at], axis=0, weights=w[at]) for name, at in each.items() if w[at].sum() > 0}


def varimax(loadings: Floats, steps: int = 100) -> Floats:
    """The rotation `[k, k]` to simple columns of loadings `[items, k]`, rows brought to length 1 first (Kaiser)."""
    lengths = np.linalg.norm(loadings, axis=1, keepdims=True)
    rows = loadings / np.where(lengths > 0, lengths, 1.0)
    n, k = rows.shape
    rotation = np.eye(k)
    last = 0.0
    for _ in range(steps):
        turned = rows @ rotation
        u, s, v = np.linalg.svd(rows.T @ (turned**3 - turned * (turned**2).sum(axis=0) / n))
        rotation = u @ v
        if s.sum() <= last * (1 + 1e-10):
            break
        last = s.sum()
    return rotation


def _principal(z: Floats, w: Floats, steps: int) -> tuple[Floats, Floats]:
    """Loadings `[items, 2]` of principal components and the data, completed by expectation-maximisation (PPCA)."""
    missing = np.isnan(z)
    filled = np.where(missing, 0.0, z)
    for _ in range(steps if missing.any() else 1):
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
    """Columns ordered (self-expression, secular) and turned by rule."""
    god, gay, post = (ITEMS.index(name) for name in ("F063", "F118", "Y002"))
    first, second = (int(np.abs(loadings[row]).argmax()) for row in (gay, post))
    if first != second:
        raise InputError(
            "The axes cannot be named: tolerance of homosexuality (F118) and post-materialism (Y002), which mark "
            "self-expression in the published map, load on different axes of these respondents; bring respondents of "
            "more countries, or check how the items are coded."
        )
    loadings = loadings[:, [first, 1 - first]]
    return loadings * np.array([np.sign(loadings[gay, 0]), -np.sign(loadings[god, 1])])


def country_map(
    countries: pd.DataFrame,
    points: pd.DataFrame | None = None,
    origin: Floats | Sequence[float] | None = None,
    uniform: Floats | Sequence[float] | None = None,
    axes_names: tuple[str, str] = ("first axis", "second axis"),
    title: str = "",
) -> Figure:
    """Countries on two axes, coloured by region, with a model's personas as arrows from its own place.

    Args:
        countries: Indexed by name: `x`, `y` and `region`.
        points: Indexed by persona: `x`, `y` and, if known, the half axes `dx`, `dy` of an interval over formats.
        origin: Where the model stands without a persona.
        uniform: Where uniform answers stand.
        axes_names: What the axes are.
        title: Headline.
    """
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 6.4), layout="constrained")
        for number, (region, part) in enumerate(countries.groupby("region", sort=True)):
            turn = number // len(PALETTE)
            look = {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[(number + turn) % len(MARKERS)]}
            axes.scatter(part["x"], part["y"], s=26, label=region, zorder=3, alpha=0.85, **look)
            for name, row in part.iterrows():
                axes.annotate(str(name), (row["x"], row["y"]), (4, 3), textcoords="offset points", size=7.5, color=GREY)
        if points is not None:
            _draw_personas(axes, points, origin, float(np.ptp(countries[["x", "y"]].to_numpy())))
        if uniform is not None:
            axes.scatter(*uniform, s=170, marker="o", facecolors="none", edgecolors="black", label="uniform answers")
        if origin is not None:
            axes.scatter(*origin, s=90, marker="*", color="black", zorder=5, label="the model, no persona")
        axes.set(xlabel=axes_names[0], ylabel=axes_names[1], title=title)
        axes.grid()
        figure.legend(loc="outside lower center", ncols=4)
        plt.close(figure)
    return figure


def _draw_personas(axes: Axes, points: pd.DataFrame, origin: Floats | Sequence[float] | None, reach: float) -> None:
    """Personas with their spread and an arrow each; their names only where there is room for them."""
    from matplotlib.patches import Ellipse

    apart = len(points) < 2 or float(np.ptp(points[["x", "y"]].to_numpy(), axis=0).max()) > 0.1 * reach
    for name, row in points.iterrows():
        if {"dx", "dy"} <= set(row.index) and np.isfinite([row["dx"], row["dy"]]).all():
            spread = Ellipse((row["x"], row["y"]), 2 * row["dx"], 2 * row["dy"], color="black", alpha=0.07, lw=0)
            axes.add_patch(spread)
        if origin is not None:
            style = {"arrowstyle": "->", "color": "black", "lw": 0.9, "alpha": 0.7}
            axes.annotate("", (row["x"], row["y"]), (origin[0], origin[1]), arrowprops=style)
        if apart:
            axes.annotate(f"as {name}", (row["x"], row["y"]), (4, -9), textcoords="offset points", size=7.5)
    axes.scatter(points["x"], points["y"], s=16, color="black", zorder=4, label=f"its {len(points)} personas")


NAMES = list(DIMENSIONS)


def format_means(by_format: pd.DataFrame) -> pd.DataFrame:
    """Score and acquiescence of each dimension without a persona, with intervals over formats.

    Args:
        by_format: Made by `instruments.dimension_scores`, one row per persona, format and dimension.
    """
    own = by_format[by_format["persona"] == "none"]
    return summarise(own, ["score", "acquiescence"], by="dimension").drop(columns=["method", "n_clusters"])


def draw_dimensions(dimensions: pd.DataFrame, countries: list[str], n_items: int) -> Figure:
    """The model's dimension scores from `format_means`, beside the published scores of some countries."""
    cited = country_scores()[NAMES]
    ends = {c: dict.fromkeys(("mean", "low", "high"), cited.loc[c].to_numpy()) for c in countries}
    published = [pd.DataFrame({"dimension": NAMES, **ends[c], "who": f"{c} (published)"}) for c in countries]
    mine = dimensions[dimensions["metric"] == "score"].assign(who="the model, no persona")
    figure = intervals(
        pd.concat([mine, *published]),
        "dimension",
        by="who",
        baseline=50.0,
        baseline_name="uniform and position-only answers",
        xlabel=f"score, 0 to 100 ({n_items} items, 8 formats; the model's and the published ones are different "
        "instruments)",
    )
    return described(
        figure,
        "The model's six dimension scores with intervals over formats, beside published scores of three countries and "
        "the score of uniform answers.",
    )


def ranks(profile: pd.DataFrame, countries: list[str]) -> pd.DataFrame:
    """Kendall's tau-b between personas and published scores, one row per dimension, with p adjusted by Holm.

    Args:
        profile: Personas by dimensions, made by `instruments.profiles`.
        countries: Personas to rank.
    """
    cited = country_scores()
    rows = [{"dimension": d, **rank_agreement(profile.loc[countries, d], cited.loc[countries, d])} for d in NAMES]
    found = pd.DataFrame(rows)
    return found.assign(p_holm=adjusted(found["p"]))


def mean_tau(profile: pd.DataFrame, countries: list[str], seed: int = 0) -> pd.DataFrame:
    """`mean_tau_test` of the personas against published scores, as one row with its `verdict` at p < 0.05."""
    found = mean_tau_test(profile.loc[countries, NAMES], country_scores().loc[countries, NAMES], seed=seed)
    said = "above shuffled countries" if found["p"] < 0.05 else "cannot be told from shuffled countries"
    return pd.DataFrame([{**found, "verdict": said}])


def tau_by_format(by_format: pd.DataFrame, countries: list[str]) -> pd.DataFrame:
    """Mean tau-b of the personas against published scores in each format: columns format, mean_tau, n."""
    cited = country_scores().loc[countries, NAMES]
    tests = {name: mean_tau_test(each, cited, draws=1) for name, each in _apart(by_format, countries).items()}
    return pd.DataFrame([{"format": name, "mean_tau": t["mean_tau"], "n": t["n"]} for name, t in tests.items()])


def _apart(by_format: pd.DataFrame, countries: list[str]) -> dict[str, pd.DataFrame]:
    """Format -> scores, personas by dimensions."""
    some = by_format[by_format["persona"].isin(countries)]
    wide = some.pivot_table(index=["format", "persona"], columns="dimension", values="score")
    return {str(f): pd.DataFrame(part.droplevel(0).loc[countries, NAMES]) for f, part in wide.groupby(level="format")}


@dataclass(frozen=True, slots=True)
class Places:
    """Countries, the model and its personas on the map of the countries."""

    axes: CultureMap
    """The map."""
    countries: pd.DataFrame
    """By country: x, y and region."""
    personas: pd.DataFrame
    """By persona, first `none`: x, y, and their sd over formats, dx and dy."""
    by_format: pd.DataFrame
    """By persona and format: x and y."""


def places(complete: pd.DataFrame, profile: pd.DataFrame, by_format: pd.DataFrame, countries: list[str]) -> Places:
    """Fit the map to published scores alone, and project the personas on it.

    Args:
        complete: Published scores without gaps, countries by dimensions.
        profile: Personas by dimensions, formats averaged.
        by_format: Made by `instruments.dimension_scores`.
        countries: Personas to show.
    """
    axes = culture_map(complete[NAMES].to_numpy())

    def on_map(table: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(axes.place(table[NAMES].to_numpy()), table.index, ["x", "y"])

    where = on_map(complete)
    where["region"] = country_scores()["region"].reindex(complete.index).fillna("other")
    points = on_map(profile.loc[["none", *countries]])
    each = on_map(by_format.pivot_table(index=["persona", "format"], columns="dimension", values="score"))
    points[["dx", "dy"]] = each.groupby(level="persona").std().reindex(points.index)
    return Places(axes, where, points, each)


def loadings(axes: CultureMap) -> pd.DataFrame:
    """Loadings of the dimensions on the two axes."""
    return pd.DataFrame(axes.loadings.T, NAMES, ["first axis", "second axis"]).rename_axis("dimension")


def draw_map(at: Places) -> Figure:
    """The countries on the map, and an arrow from the model to each persona."""
    first, second = at.axes.explained[:2]
    figure = country_map(
        at.countries,
        at.personas.drop("none"),
        at.personas.loc["none", ["x", "y"]].to_numpy(),
        at.axes.place(np.full(len(NAMES), 50.0))[0],
        (f"first axis ({first:.0%})", f"second axis ({second:.0%})"),
        "Countries by published scores; arrows: from the model to its personas",
    )
    return described(
        figure,
        "Countries on the first two principal axes of published scores, coloured by region; the model as a star with "
        "an arrow to each persona and an ellipse of one standard deviation over formats.",
    )


def arrows(at: Places) -> pd.DataFrame:
    """Proportion of personas that move in the direction of their country, seen from the mean of these countries.

    Returns:
        One row of `summarise`, with `spread` (mean distance between personas over that between their countries) and
        `format_sd` (mean sd over formats, in units of the map).
    """
    from scipy.spatial.distance import pdist

    personas = at.personas.drop("none")
    theirs = at.countries.loc[personas.index, ["x", "y"]].to_numpy()
    mine, origin = personas[["x", "y"]].to_numpy(), at.personas.loc["none", ["x", "y"]].to_numpy(float)
    towards = ((mine - origin) * (theirs - theirs.mean(axis=0))).sum(axis=1)
    found = summarise(pd.DataFrame({"share": towards > 0}), ["share"], method="wilson").drop(columns="n_clusters")
    format_sd = float(np.nanmean(personas[["dx", "dy"]].to_numpy()))
    return found.assign(spread=pdist(mine).mean() / pdist(theirs).mean(), format_sd=format_sd)


def distances(profile: pd.DataFrame, complete: pd.DataFrame) -> pd.DataFrame:
    """Kogut-Singh distance of the model without a persona, and of uniform answers, to every country, nearest first."""
    variances = complete[NAMES].var(ddof=1).to_numpy()
    of = {"model": profile.loc["none", NAMES].to_numpy(), "uniform answers": np.full(len(NAMES), 50.0)}
    rows = complete[NAMES].to_numpy()
    near = {name: [kogut_singh(mine, row, variances=variances) for row in rows] for name, mine in of.items()}
    return pd.DataFrame(near, complete.index).sort_values("model")


def vsm_indices(answers: pd.DataFrame | None) -> pd.DataFrame:
    """VSM 2013 indices by persona, from answers to the 24 items averaged over orders; no rows without answers."""
    if answers is None:
        return no_rows("No VSM 2013 items were given (vsm=).")
    said = scores(averaged(levels(answers, nested="keep"), ORDERS))
    means = said.assign(m=1 + 4 * said["x_raw"]).pivot(index="persona", columns="item", values="m")
    found = {name: vsm13(row.to_numpy()) for name, row in means.sort_index(axis=1).iterrows()}
    return pd.DataFrame(found).T.rename_axis("persona")


def values_points(microdata: str | Path | None) -> tuple[pd.DataFrame, str]:
    """Countries on the Inglehart-Welzel map fitted to a user's values survey, and what was used and left out.

    Returns:
        Columns `self-expression` and `secular` by country, no rows without a file; and a sentence for the caption.
    """
    if microdata is None:
        return no_rows("No values survey was given (microdata=)."), ""
    data = load_values_survey(microdata, list(RANGES))
    ten = data[list(RANGES)]
    fitted = fit_values_map(ten.to_numpy(), data["weight"])
    known = ten.notna().all(axis=1)
    spots = country_points(fitted.place(ten[known].to_numpy()), data["country"][known], data["weight"][known])
    found = pd.DataFrame(spots, index=["self-expression", "secular"]).T.rename_axis("country")
    note = (
        f"{fitted.n} respondents used, {fitted.n_dropped} dropped, {int(known.sum())} complete ones averaged; "
        f"{data.attrs['n_without_country']} without a country, {data.attrs['n_without_weight']} without a weight and "
        f"{sum(data.attrs['unknown_countries'].values())} with a number of no country left out beforehand; "
        f"{check_orientation(found, list(found.index))}"
    )
    return found, note


def findings(
    tau: pd.DataFrame, by_format: pd.DataFrame, at: Places, towards: pd.DataFrame, seed: int = 0
) -> list[Finding]:
    """Claims on the ranking of personas, in all formats and in each, and on their places on the map.

    Args:
        tau: Made by `mean_tau`.
        by_format: Made by `instruments.dimension_scores`.
        at: Made by `places`.
        towards: Made by `arrows`.
        seed: Of the shuffles and the bootstrap.
    """
    countries = list(at.personas.index.drop("none"))
    looks = list(_apart(by_format, countries).values())
    cited = country_scores().loc[countries, NAMES]
    in_all = mean_tau_test(np.hstack(looks), np.tile(cited, len(looks)), seed=seed)  # one shuffle for every format

    def excess(*axes: Floats) -> float:
        over = [at.std(axis=1, ddof=1).mean() - at.std(axis=0, ddof=1).mean() for at in axes]
        return float(np.mean(over))

    wide = [at.by_format[axis].unstack("format").loc[countries] for axis in ("x", "y")]
    moved = bootstrap(excess, *wide, seed=seed, centred=True)
    source = "this notebook, after arXiv 2309.12342"
    return [
        finding(
            "Personas are ranked as the countries are (mean tau, less that of shuffled countries)",
            source,
            _beyond(tau.iloc[0]),
            "above",
        ),
        finding(
            "Format by format the ranking agrees with the published one (mean tau over formats, less that of "
            "shuffled countries)",
            source,
            _beyond(in_all),
            "above",
        ),
        finding(
            "Personas move in the direction of their country on the map",
            "this notebook",
            towards.iloc[0],
            "above",
            0.5,
        ),
        finding(
            "A change of format moves a persona further on the map than a change of persona in one format (sd, mean "
            "of the axes)",
            "this notebook",
            moved,
            "above",
        ),
    ]


def _beyond(found: Mapping[str, Any] | pd.Series) -> dict[str, float]:
    """Mean tau less the middle 95% of shuffled countries, as a row for `finding`."""
    mean = found["mean_tau"]
    return {"mean": mean, "low": mean - found["null_high"], "high": mean - found["null_low"], "n": found["n"]}
