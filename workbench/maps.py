"""Figures of culture: matrices of alignment, maps of countries with arrows, shares of variance, slopes over formats."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError
from workbench.figures import GREY, MARKERS, PALETTE, REFERENCE, STYLE, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_NAMED = 30
"""Columns of a matrix that can be named."""


def matrix(
    table: pd.DataFrame,
    label: str,
    centre: float | None = None,
    title: str = "",
    mark_diagonal: bool = False,
    ends: tuple[float, float] | None = None,
    xlabel: str = "",
) -> Figure:
    """A matrix of numbers, its rows and columns named, each cell with its value.

    Beyond `MOST_NAMED` columns there is no room for values or their names; then `xlabel` says what columns are.

    Args:
        table: Rows by columns.
        label: What the colours mean.
        centre: Value at the middle of a diverging scale; None for a sequential one.
        title: Headline.
        mark_diagonal: Frame the cells whose row and column have one name.
        ends: Ends of a sequential scale; None for those of the numbers.
        xlabel: What the columns are.
    """
    import matplotlib.pyplot as plt

    values = table.to_numpy(np.float64)
    if not values.size:
        raise InputError("The matrix to draw is empty.")
    with plt.rc_context(STYLE):
        height = 1.4 + 0.34 * len(table)
        figure, axes = plt.subplots(figsize=(WIDTH, height), layout="constrained")
        if centre is None:
            least, most = ends or (None, None)
            image = axes.imshow(values, cmap="cividis", vmin=least, vmax=most, aspect="auto")
        else:
            reach = float(np.nanmax(np.abs(values - centre))) or 1.0
            image = axes.imshow(values, cmap="RdBu_r", vmin=centre - reach, vmax=centre + reach, aspect="auto")
        named = table.shape[1] <= MOST_NAMED
        columns = [str(name) for name in table.columns] if named else []
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
        axes.set_xlabel(xlabel)
        axes.set_yticks(range(table.shape[0]), [str(name) for name in table.index])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for (row, column), value in np.ndenumerate(values):
            if named and not np.isnan(value):
                r, g, b, _ = image.cmap(image.norm(value))
                ink = "black" if 0.3 * r + 0.59 * g + 0.11 * b > 0.55 else "white"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", size=7.5, color=ink)
            if mark_diagonal and str(table.index[row]) == str(table.columns[column]):
                frame = plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=2, edgecolor="black")
                axes.add_patch(frame)
        figure.colorbar(image, ax=axes, label=label, shrink=0.9, pad=0.02).outline.set_visible(False)
        axes.set_title(title)
        plt.close(figure)
    return figure


def country_map(
    countries: pd.DataFrame,
    points: pd.DataFrame | None = None,
    origin: Sequence[float] | None = None,
    uniform: Sequence[float] | None = None,
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


def stacked_shares(
    table: pd.DataFrame, xlabel: str = "share of the variance", title: str = "", ordered: bool = False
) -> Figure:
    """Parts of a whole as stacked bars, one line per row of the table; colours run from end to end if `ordered`."""
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(WIDTH, 1.3 + 0.32 * len(table)), layout="constrained")
        left, ends = np.zeros(len(table)), plt.get_cmap("PuOr")
        steps = [PALETTE[i % len(PALETTE)] for i in range(table.shape[1])]
        colours = [ends(at) for at in np.linspace(0.1, 0.9, table.shape[1])] if ordered else steps
        for colour, name in zip(colours, table.columns):
            values = table[name].to_numpy(np.float64)
            axes.barh(range(len(table)), values, left=left, color=colour, label=str(name))
            left += values
        axes.set_yticks(range(len(table)), [str(name) for name in table.index])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel=xlabel, title=title, xlim=(0, max(1.0, float(np.nanmax(left)))))
        figure.legend(loc="outside lower center", ncols=len(table.columns))
        plt.close(figure)
    return figure


def slopes(
    before: ArrayLike, after: ArrayLike, names: Sequence[str], ends: tuple[str, str], ylabel: str, title: str = ""
) -> Figure:
    """One line per name from its score in one format to its score in another; level lines would be stability.

    Up to eight lines are named at their end, names that would overlap moved apart. Where all stay within 0.1 of one
    half, the axis shows that part alone and says so.
    """
    import matplotlib.pyplot as plt

    one, two = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if one.shape != two.shape or len(one) != len(names):
        raise InputError(f"There are {len(one)} scores before, {len(two)} after and {len(names)} names.")
    furthest = float(np.nanmax(np.abs(np.concatenate([one, two]) - 0.5), initial=1e-3))
    reach = 1.25 * furthest if furthest < 0.1 else 0.52
    named, heights = len(names) <= 8, _apart(two, 0.09 * reach)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.6, 4.4), layout="constrained")
        for y0, y1, height, name in zip(one, two, heights, names):
            rises = y1 > y0
            colour = PALETTE[1] if rises else PALETTE[0]
            axes.plot([0, 1], [y0, y1], marker="o", ms=3.5, lw=1.1, alpha=0.75, color=colour)
            if named:
                axes.annotate(name, (1.02, height), size=7.5, va="center", color=GREY)
        axes.axhline(0.5, **REFERENCE)
        axes.set_xticks([0, 1], list(ends))
        looks = ((PALETTE[1], "rises", two > one), (PALETTE[0], "falls, or is level", ~(two > one)))
        for colour, says, lines in looks:
            if not lines.any():
                continue
            axes.plot([], [], marker="o", ms=3.5, lw=1.1, color=colour, label=says)
        about = ylabel if reach == 0.52 else f"{ylabel}; the axis shows a part"
        axes.set(xlim=(-0.15, 1.45 if named else 1.15), ylim=(0.5 - reach, 0.5 + reach), ylabel=about, title=title)
        figure.legend(loc="outside lower center", ncols=2)
        axes.grid(axis="y")
        plt.close(figure)
    return figure


def _apart(heights: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """The heights with each at least a gap above the one below it."""
    order, moved = np.argsort(heights, kind="stable"), np.array(heights, np.float64)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def _draw_personas(axes: Axes, points: pd.DataFrame, origin: Sequence[float] | None, reach: float) -> None:
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
