"""The Inglehart-Welzel map from microdata a user brings: fitted once, other points projected with the same rotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.metrics.culture.checks import Floats

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
