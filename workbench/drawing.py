"""What all plots are drawn with: style, words, marks with and without intervals, notes, and names kept apart."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.called import called

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.2
"""Width of a figure in inches: its text is legible at the width of a phone."""
SMALL = 9.0
"""Size of notes and of names inside a plot, in points."""
LINE, NAME, NOTE = 46, 26, 64
"""Characters in a line of an axis label, of a name beside an axis, and of the note below a plot."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333")
"""The colour-blind safe palette of Okabe and Ito."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)))
GREY, FAINT = "#5F5F5F", "#DDDDDD"
REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 1.2, "linestyle": (0, (2, 1.5))}
STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-3, 5),  # beyond, one power of ten for all ticks: their labels would overlap
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "legend.frameon": False,
    "legend.title_fontsize": SMALL,
    "lines.linewidth": 1.8,
    "text.parse_math": False,  # a `$` in the name of a model or in a text is a dollar
}


def words(name: Any) -> str:
    """Return the name of a data set, or a name without the underscores of a code; addresses and quotations are kept."""
    text = called(str(name))
    return text if re.search(r"[/\\“]", text) else text.replace("_", " ")


def name_points(figure: Figure, axes: Axes, xy: NDArray[np.float64], names: Sequence[str]) -> None:
    """Write names beside points `[names, 2]`, clear of the points and of each other; a line leads to a far one.

    A point with an empty name is kept clear; a name without room is left out.
    """
    figure.draw_without_rendering()
    known = np.flatnonzero(np.isfinite(xy).all(axis=1))
    at, frame, unit = axes.transData.transform(xy), axes.get_window_extent(), figure.dpi / 72
    taken = [np.concatenate([place - 4 * unit, place + 4 * unit]) for place in at[known]]
    fars = np.arange(5, 200, 5)[:, None]
    turns = np.radians([0, 180, 90, -90, *range(15, 180, 15), *range(-165, 0, 15)])
    ways = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    for place, point, name in zip(at[known], xy[known], [names[int(k)] for k in known]):
        if not name:
            continue
        text = axes.annotate(name, point, (0, 0), textcoords="offset points", size=SMALL, ha="center", va="center")
        text.set_in_layout(False)
        extent = text.get_window_extent()
        half = np.array([extent.width / 2 + 3 * unit, extent.height / 2 + 1.5 * unit])
        middles = (place + ways * (fars[..., None] * unit + half * np.abs(ways))).reshape(-1, 2)  # the nearest first
        low, high, others = (middles - half)[:, None], (middles + half)[:, None], np.array(taken)
        meets = ((low < others[:, 2:]) & (high > others[:, :2])).all(axis=-1).sum(axis=1)
        outside = (low[:, 0] < frame.min).any(axis=1) | (high[:, 0] > frame.max).any(axis=1)
        best = int((meets + outside).argmin())
        if meets[best] or outside[best]:
            text.remove()
            continue
        taken.append(np.concatenate([middles[best] - half, middles[best] + half]))
        text.set_position(((middles[best] - place) / unit).tolist())
        if best >= 2 * len(turns):
            end = axes.transData.inverted().transform(middles[best])
            axes.plot(*np.stack([point, end], axis=1), color=GREY, lw=0.5, zorder=1, scalex=False, scaley=False)
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})


@contextmanager
def canvas(size: tuple[float, float], rows: int = 1, columns: int = 1, **shape: Any) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure in the house style; closed at the end, so that a notebook shows it only where it is returned."""
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        ratios = {"height_ratios": shape.pop("height_ratios")} if "height_ratios" in shape else {}
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", gridspec_kw=ratios, **shape)
        yield figure, axes
        plt.close(figure)


def fill(text: str, width: int = LINE) -> str:
    """The text in lines of about the same length, of at most `width` characters."""
    if len(text) <= width:
        return text
    even = len(text) // -(-len(text) // width) + 6
    return textwrap.fill(text, min(width, even), break_on_hyphens=False)


def tallest(texts: Iterable[str]) -> float:
    """Most lines that two neighbours share, each half of its own."""
    lines = [1 + text.count("\n") for text in texts]
    return max((one + two) / 2 for one, two in zip([1, *lines], lines))


def look_of(number: int) -> dict[str, Any]:
    """Colour and marker of the series with this number, no two of the first 49 alike."""
    return {"color": colour_of(number), "marker": MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]}


def colour_of(number: int) -> str:
    """Colour of the series with this number."""
    return PALETTE[number % len(PALETTE)]


def draw_marks(axes: Axes, x: Any, y: Any, hollow: NDArray[np.bool_], label: str, number: int) -> None:
    """Draw estimates, hollow where they have no interval."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    look: dict[str, Any] = {"ls": "", "ms": 5, "zorder": 3, **look_of(number)}
    if not hollow.all():
        axes.plot(x[~hollow], y[~hollow], label=label, **look)
    if hollow.any():
        label = label if hollow.all() else ""
        axes.plot(x[hollow], y[hollow], label=label, mfc="white", mew=1.4, **look)


def without_interval(table: pd.DataFrame, low: str, high: str) -> NDArray[np.bool_]:
    """Which rows have no interval."""
    return (table[low].isna() | table[high].isna()).to_numpy(bool)


def note_on(
    table: pd.DataFrame, value: str, low: str | None, high: str | None, bars: str, of: str, why: str, kind: str = "Bars"
) -> str:
    """What the bars or bands show, the range of `n`, and why marks have no interval."""
    shown = table[table[value].notna()]
    bare = without_interval(shown, low, high) if low and high else np.ones(len(shown), bool)
    parts = [] if bare.all() else [f"{kind}: {bars}"]
    counts = shown["n"].dropna() if "n" in shown else shown[value].iloc[:0]
    if len(counts):
        least, most = (f"{end:,.0f}" for end in (counts.min(), counts.max()))
        number = least if least == most else f"{least} to {most}"
        parts.append(f"{number} {of} each" if of else f"n = {number}")
    note = "; ".join(parts) + "." if parts else ""
    if not bare.any():
        return note
    reasons = [why] if why else []
    if "note" in shown and not why:
        said = shown["note"][bare].dropna().astype(str)
        reasons = sorted({text.split(":")[0] for text in said if "no interval" in text})
    if not reasons and len(counts) and (shown["n"][bare] == 1).all():
        reasons = ["one item"]
    reason = f": {', '.join(reasons)}" if reasons else ""
    return f"{note} {'No intervals' if bare.all() else 'Hollow marks have no interval'}{reason}.".strip()


def draw_bars(axes: Axes, along: str, at: Any, low: Any, high: Any, **look: Any) -> None:
    """Draw intervals, also those that exclude their estimate or have no width; none where an end is NaN."""
    ends = np.asarray([low, high], np.float64)
    middle, half = ends.mean(axis=0), np.ptp(ends, axis=0) / 2
    if along == "x":
        axes.errorbar(middle, at, xerr=half, fmt="none", capsize=3, **look)
    else:
        axes.errorbar(at, middle, yerr=half, fmt="none", capsize=3, **look)


def draw_band(axes: Axes, x: Any, low: Any, high: Any, number: int) -> None:
    """Draw a band between the ends of intervals."""
    axes.fill_between(x, low.astype(float), high.astype(float), color=colour_of(number), alpha=0.16, lw=0)


def name_above(axes: Axes, x: float, name: str) -> None:
    """Write the name of a vertical reference line above the plot."""
    start, end = axes.get_xlim()
    part = (x - start) / (end - start)
    ha: Any = "left" if part < 0.15 else "center" if part < 0.6 else "right"
    where: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
    axes.annotate(fill(name, 30), (x, 1), (0, 3), ha=ha, va="bottom", size=SMALL, **where)


def name_ends(figure: Figure, axes: Axes, ends: Sequence[tuple[float, float, str]]) -> None:
    """Write names at the ends `(x, y)` of lines, right of the plot, moved apart; infinite x is the edge."""
    if not ends:
        return
    figure.draw_without_rendering()
    names = [fill(name, 18) for *_, name in ends]
    start, edge = axes.get_xlim()
    heights = axes.transData.transform([(edge, y) for _, y, _ in ends])[:, 1]
    sizes = np.array([1 + name.count("\n") for name in names]) * SMALL * 1.3 * figure.dpi / 72
    moved = apart(heights, sizes, axes.bbox.y1)
    places = axes.transData.inverted().transform([(0, y) for y in moved])[:, 1]
    for (x, y, _), name, place, far in zip(ends, names, places, np.abs(moved - heights)):
        if far > 1 or edge - x > 0.05 * (edge - start):
            ends_at = [min(x, edge), edge], [y, place]
            axes.plot(*ends_at, color=GREY, lw=0.5, scalex=False, scaley=False, clip_on=False)
        where: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
        axes.annotate(name, (1, place), (4, 0), size=SMALL, va="center", **where)


def apart(heights: NDArray[np.float64], sizes: NDArray[np.float64], top: float) -> NDArray[np.float64]:
    """Heights of texts of these sizes, moved up, and at the top down, until none overlaps the next."""
    order = np.argsort(heights, kind="stable")
    moved, gaps = np.array(heights, np.float64), (sizes[order][1:] + sizes[order][:-1]) / 2
    for below, above, gap in zip(order, order[1:], gaps):
        moved[above] = max(moved[above], moved[below] + gap)
    moved = np.where(moved > np.maximum(top, heights.max()), max(top, heights.max()), moved)
    for above, below, gap in zip(order[::-1], order[-2::-1], gaps[::-1]):
        moved[below] = min(moved[below], moved[above] - gap)
    return moved


def legend_below(figure: Figure, axes: Axes, note: str = "", beside: str = "", entries: bool = True) -> None:
    """Add one legend below the plot under a note, in as many columns as its longest name permits.

    What is named `beside` its line is left out. The figure grows with more than three lines of names.
    """
    pairs = dict(zip(*reversed(axes.get_legend_handles_labels()))) if entries else {}
    named = {fill(name, NOTE - 8): handle for name, handle in pairs.items() if name and name != beside}
    longest = max((len(line) for name in named for line in name.split("\n")), default=0)
    columns = max(1, min(len(named), NOTE // (longest + 8)))
    lines = sum(1 + name.count("\n") for name in named) / columns
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0.0, lines - 3))
    if named or note:
        look: dict[str, Any] = {"ncols": columns, "title": fill(note, NOTE), "alignment": "left"}
        figure.legend(named.values(), named.keys(), loc="outside lower center", **look)
