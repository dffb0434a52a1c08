"""Plots shared by all studies: matplotlib figures in words, with intervals, counts and named baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.drawing import (
    DASHES,
    FAINT,
    GREY,
    LINE,
    NAME,
    NOTE,
    PALETTE,
    REFERENCE,
    SMALL,
    WIDTH,
    canvas,
    colour_of,
    draw_band,
    draw_bars,
    draw_marks,
    fill,
    legend_below,
    look_of,
    name_above,
    name_ends,
    name_points,
    note_on,
    tallest,
    without_interval,
    words,
)
from workbench.errors import InputError, unknown
from workbench.statistics.calibration import CalibrationReport, RiskCoverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_NAMED, MOST_WRITTEN = 30, 8
"""Maximum numbers of columns of a matrix with names, and with values in the cells."""
MOST_ENDS = 8
"""Maximum number of curves that are named at their ends."""
MIDDLE_LUMINANCE = 0.179
"""Where black and white text have the same contrast, 4.6 to 1."""


def described(figure: Figure, alt: str) -> Figure:
    """Return the figure with an alt text, which `run.figure` saves: the given one and the note below the plot."""
    notes = [" ".join(legend.get_title().get_text().split()) for legend in figure.legends]
    figure.set_label(" ".join([alt, *filter(None, notes)]))
    return figure


def intervals(
    table: pd.DataFrame,
    label: str | Sequence[str],
    value: str = "mean",
    low: str = "low",
    high: str = "high",
    by: str | None = None,
    baseline: str | float | None = None,
    xlabel: str = "",
    title: str = "",
    baseline_name: str = "chance",
    bars: str = "95% intervals",
    of: str = "",
    why: str = "",
) -> Figure:
    """Plot estimates with horizontal intervals, one line per label, the first on top.

    Estimates without an interval have hollow marks, and the note below the plot states the reason: that of their
    column `note`, one item (`n`), or `why`.

    Args:
        table: One row per estimate, as returned by `summarise`; the note states the range of its column `n`.
        label: Columns that name the lines; of two, the first names groups of lines.
        value: Column with the estimates.
        low: Column with the lower ends of their intervals.
        high: Column with the upper ends.
        by: Column whose values are drawn on one line in different colours.
        baseline: One number, or a column with the baseline of each line or of each estimate.
        xlabel: Quantity and unit.
        title: Title of the plot.
        baseline_name: Name of the baseline, written beside it.
        bars: What the bars show.
        of: What `n` counts.
        why: Reason for missing intervals.
    """
    labels = [label] if isinstance(label, str) else list(label)
    _need(table, [*labels, value, low, high, by, baseline if isinstance(baseline, str) else None])
    lines, ticks, heads = _lines(table[labels])
    groups = _groups(table, by)
    step = min(0.8 / len(groups), 0.28)
    line = max(0.27, 0.18 * len(groups), 0.175 * tallest(ticks) + 0.08)
    with canvas((WIDTH, 1.3 + line * len(ticks))) as (figure, axes):
        for number, (name, rows) in enumerate(groups.items()):
            part = table[rows]
            y = lines[rows] + (number - (len(groups) - 1) / 2) * step
            draw_bars(axes, "x", y, part[low], part[high], ecolor=colour_of(number), elinewidth=1.6, zorder=3)
            draw_marks(axes, part[value], y, without_interval(part, low, high), name, number)
        if isinstance(baseline, str):
            _draw_baselines(axes, table[baseline], lines, groups, step, baseline_name)
        elif baseline is not None:
            axes.axvline(baseline, label=baseline_name, **REFERENCE)
        axes.set_yticks(range(len(ticks)), ticks)
        for head in heads:
            axes.get_yticklabels()[head].set_fontweight("bold")
        axes.set_ylim(len(ticks) - 0.45, -0.55)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(fill(xlabel or words(value)))
        given = (
            table[baseline].dropna().unique() if isinstance(baseline, str) else [] if baseline is None else [baseline]
        )
        if len(given) == 1:
            name_above(axes, float(given[0]), baseline_name)
        axes.set_title(fill(title, NOTE), pad=20 if len(given) == 1 else None)
        beside = baseline_name if len(given) == 1 else ""
        legend_below(figure, axes, note_on(table, value, low, high, bars, of, why), beside)
    return figure


def curves(
    table: pd.DataFrame,
    x: str,
    value: str = "mean",
    low: str | None = "low",
    high: str | None = "high",
    by: str | None = None,
    baseline: float | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    baseline_name: str = "baseline",
    bars: str = "95% intervals",
    of: str = "",
    why: str = "",
) -> Figure:
    """Plot estimates against the number in column `x` as lines with interval bands, one row per point.

    Arguments as for `intervals`; `by` separates lines, which are named at their ends, `baseline` is a horizontal
    reference line. Without the columns `low` and `high` there are no bands, and `why` states the reason.
    """
    _need(table, [x, value, low, high, by])
    with canvas((WIDTH, 3.6)) as (figure, axes):
        ends: list[tuple[float, float, str]] = []
        for number, (name, rows) in enumerate(_groups(table, by).items()):
            part = table[rows].sort_values(x)
            look = {"color": colour_of(number), "linestyle": DASHES[number % len(DASHES)]}
            if low and high:
                draw_band(axes, part[x], part[low], part[high], number)
                if len(part) == 1:
                    draw_bars(axes, "y", part[x], part[low], part[high], ecolor=colour_of(number))
            hollow = without_interval(part, low, high) if low and high else np.zeros(len(part), bool)
            marked = len(part) <= 25
            marker = look_of(number)["marker"] if marked and not hollow.any() else ""
            axes.plot(part[x], part[value], label=name, marker=marker, ms=4.5, **look)
            if marked and hollow.any():
                draw_marks(axes, part[x], part[value], hollow, "", number)
            finite = part[part[value].notna()]
            if len(finite) and name:
                ends.append((float(finite[x].iloc[-1]), float(finite[value].iloc[-1]), name))
        axes.grid()
        axes.margins(x=0.02)
        if baseline is not None:
            axes.axhline(baseline, label=baseline_name, **REFERENCE)
            ends.append((math.inf, baseline, baseline_name))
        axes.set(xlabel=fill(xlabel or words(x)), ylabel=fill(ylabel or words(value), 32), title=fill(title, NOTE))
        if pd.api.types.is_numeric_dtype(table[x]) and (table[x] % 1 == 0).all():
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        note = note_on(table, value, low, high, bars, of, why, "Bands")
        beside = len(ends) <= MOST_ENDS
        legend_below(figure, axes, note, entries=not beside)
        name_ends(figure, axes, ends if beside else [])
    return figure


def risk_coverage(curves: Mapping[str, RiskCoverage] | RiskCoverage, title: str = "") -> Figure:
    """Plot risk-coverage curves with pointwise Wilson bands, and the area under each in the legend."""
    named = {"": curves} if isinstance(curves, RiskCoverage) else dict(curves)
    with canvas((WIDTH, 3.9)) as (figure, axes):
        for number, (name, each) in enumerate(named.items()):
            area = f"{words(name)}: area (AURC) {each.aurc:.3f}, {each.e_aurc:.3f} above the best order, n = {each.n}"
            c = each.curve
            draw_band(axes, c["coverage"], c["low"], c["high"], number)
            look = {"color": colour_of(number), "linestyle": DASHES[number % len(DASHES)]}
            axes.plot(c["coverage"], c["risk"], label=fill(area.removeprefix(": "), 50), **look)
        axes.grid()
        axes.set(xlim=(0, 1.005), ylim=(0, 1), title=fill(title, NOTE))
        axes.set_xlabel(fill("coverage (proportion of questions answered, most confident first)"))
        axes.set_ylabel("risk (error rate of these answers)")
        legend_below(figure, axes, "Bands: pointwise 95% Wilson intervals.")
    return figure


def reliability(reports: Mapping[str, CalibrationReport] | CalibrationReport) -> Figure:
    """Plot reliability diagrams: accuracy with Wilson intervals by confidence, and the number of answers per bin."""
    named = {"": reports} if isinstance(reports, CalibrationReport) else dict(reports)
    if not named:
        raise InputError("There is no calibration report to plot; pass at least one.")
    columns, rows = min(2, len(named)), -(-len(named) // 2)
    width = WIDTH if columns == 2 else 3.6
    shape: dict[str, Any] = {"height_ratios": [3.2, 1] * rows, "sharex": True, "sharey": "row", "squeeze": False}
    with canvas((width, rows * (1.32 * (width - 0.75) / columns + 1.3)), 2 * rows, columns, **shape) as (figure, grid):
        for axes in grid.flat[:]:
            axes.set_visible(False)
        for number, (name, report) in enumerate(named.items()):
            row, column = divmod(number, 2)
            upper, lower = grid[2 * row : 2 * row + 2, column]
            _reliability_panel(upper, lower, words(name), report)
            if not column:
                upper.set_ylabel("accuracy in the bin")
                lower.set_ylabel("answers")
            if not number:
                place = {"rotation": 45, "rotation_mode": "anchor", "va": "bottom", "color": GREY, "size": SMALL}
                upper.text(0.03, 0.05, "calibrated", **place)
        wrapped = fill(
            "Bars: 95% Wilson intervals of the accuracy in each bin of confidence.", 64 if columns == 2 else 44
        )
        figure.legend([], [], loc="outside lower center", title=wrapped)
    return figure


def simplex(outcomes: pd.DataFrame, by: str | None = None, title: str = "") -> Figure:
    """Plot questions in the simplex of correct, wrong and abstention, over lines of equal DCS (lc = lw = 1).

    The lines are p_correct^2 - p_wrong^2 = const. Large marks are means with their 95% confidence region.

    Args:
        outcomes: One row per question with p_correct, p_wrong and p_abstain.
        by: Column whose values get different colours.
        title: Title of the plot.
    """
    parts = ["p_correct", "p_wrong", "p_abstain"]
    _need(outcomes, [*parts, by])
    with canvas((WIDTH, 5.2)) as (figure, axes):
        _draw_triangle(axes)
        few = False
        for number, (name, rows) in enumerate(_groups(outcomes, by).items()):
            p = outcomes.loc[rows, parts].to_numpy(np.float64)
            xy = _place(*(p / p.sum(axis=1, keepdims=True)).T)
            axes.scatter(*xy.T, s=13, alpha=0.4, linewidths=0, zorder=3, **look_of(number))
            label = f"{name} (n = {len(xy)})" if by else f"mean of {len(xy)} questions"
            mean = {"s": 75, "edgecolors": "white", "linewidths": 1.3, "zorder": 6, "label": label}
            axes.scatter(*xy.mean(axis=0), **mean, **look_of(number))
            few |= not _draw_region(axes, xy, colour_of(number))
        axes.set_title(fill(title, NOTE))
        note = "Small marks: questions; large marks: means with their 95% region, cut at the triangle."
        no = " No interval for a mean of fewer than three questions." if few else ""
        legend_below(figure, axes, f"{note}{no} Grey lines: equal DCS.")
    return figure


def points(
    table: pd.DataFrame,
    x: str,
    y: str,
    label: str,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    bars: str = "95% intervals",
    of: str = "",
    why: str = "",
    logarithmic: bool = False,
) -> Figure:
    """Plot named points, with intervals for coordinates that have columns `<name>_low` and `<name>_high`.

    Points without an interval are hollow; `bars`, `of` and `why` as for `intervals`; `logarithmic` is about x.
    """
    _need(table, [x, y, label])
    with canvas((WIDTH, 4.2)) as (figure, axes):
        bare = np.ones(len(table), bool)
        for along, name in (("x", x), ("y", y)):
            if f"{name}_low" in table:
                low, high = table[f"{name}_low"], table[f"{name}_high"]
                bare &= (low.isna() | high.isna()).to_numpy()
                for number, (lower, upper, at) in enumerate(zip(low, high, table[y if along == "x" else x])):
                    draw_bars(axes, along, [at], [lower], [upper], ecolor=colour_of(number), elinewidth=1.1)
        for number, (at, height, hollow) in enumerate(zip(table[x], table[y], bare)):
            draw_marks(axes, np.array([at]), np.array([height]), np.array([hollow]), "", number)
        axes.grid()
        axes.margins(0.12)
        axes.set_xscale("log" if logarithmic else "linear")
        axes.set(xlabel=fill(xlabel or words(x)), ylabel=fill(ylabel or words(y), 36), title=fill(title, NOTE))
        ends = table.assign(low_=np.where(bare, np.nan, 0.0))
        legend_below(figure, axes, note_on(ends, x, "low_", "low_", bars, of, why), entries=False)
        name_points(figure, axes, table[[x, y]].to_numpy(np.float64), [words(name) for name in table[label]])
    return figure


def matrix(
    table: pd.DataFrame,
    label: str,
    centre: float | None = None,
    title: str = "",
    mark_diagonal: bool = False,
    ends: tuple[float, float] | None = None,
    xlabel: str = "",
    texts: pd.DataFrame | None = None,
    centre_name: str = "",
    note: str = "",
) -> Figure:
    """Plot a heat map with named rows and columns, and the value in each cell of up to `MOST_WRITTEN` columns.

    With more than `MOST_NAMED` columns, their names are omitted; `xlabel` names the columns then.

    Args:
        table: Rows by columns.
        label: Quantity shown by the colours, and its unit.
        centre: Middle of a diverging scale; None for a sequential one.
        title: Title of the plot.
        mark_diagonal: Frame the cells whose row and column have the same name.
        ends: Ends of a sequential scale; None for those of the values.
        xlabel: Label of the column axis.
        texts: What is written in the cells instead of their values; cut to the first line where there is no room.
        centre_name: What the middle of a diverging scale is.
        note: Text below the plot: counts, intervals; by default whether the cells state intervals.
    """
    import seaborn as sns
    from matplotlib.patches import Rectangle

    values = table.to_numpy(np.float64)
    if not values.size:
        raise InputError("The matrix to plot is empty; pass at least one row.")
    columns = table.shape[1]
    named = columns <= MOST_NAMED
    least, most = ends or (None, None)
    scale: dict[str, Any] = {"cmap": "cividis", "vmin": least, "vmax": most}
    if centre is not None:
        reach = float(np.nanmax(np.abs(values - centre))) or 1.0
        scale = {"cmap": "RdBu_r", "vmin": centre - reach, "vmax": centre + reach}
    bar = {"label": fill(label), "location": "top", "shrink": 0.9, "aspect": 35, "pad": 0.02}
    written: dict[str, Any] = {"annot": columns <= MOST_WRITTEN, "fmt": ".2f", "annot_kws": {"size": 8.5}}
    shown = table.astype(float).set_axis([fill(words(name), NAME) for name in table.index])
    shown.columns = [fill(words(name), LINE) for name in table.columns]
    turn: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    longest, steep = max(map(len, shown.columns)), 0.65
    if longest <= 2 or columns > 12:
        turn, steep = {"rotation": 0 if longest <= 2 else 90}, 1.0
    line = max(0.22, 0.14 * tallest(shown.index) + 0.06)
    if texts is not None:
        cells = _fitted(texts, (72 * WIDTH - 50 - 5.2 * max(map(len, shown.index))) / columns)
        written |= {"annot": cells, "fmt": ""}
        line = max(line, 0.1 + 0.14 * max(1 + text.count("\n") for text in cells.flat))
        stated = any("[" in text for text in cells.flat)
        note = note or ("Cells: estimates and their intervals." if stated else "")
    note = note or "Values without intervals."
    height = 1.1 + line * len(shown) + (0.075 * steep * longest if named else 0.0)
    with canvas((WIDTH, height)) as (figure, axes):
        look = {"cbar_kws": bar, "yticklabels": True, "xticklabels": named, "rasterized": True}
        sns.heatmap(shown, ax=axes, **look, **scale, **written)
        fills = axes.collections[0].get_facecolors().reshape(len(shown), columns, 4)
        for text in axes.texts:
            x, y = (int(place) for place in text.get_position())
            text.set_color("white" if _luminance(fills[y, x]) < MIDDLE_LUMINANCE else "black")
        axes.tick_params(length=0)
        axes.set_xticks(axes.get_xticks(), axes.get_xticklabels(), size=SMALL, **turn)
        axes.set_yticks(axes.get_yticks(), axes.get_yticklabels(), rotation=0, size=SMALL)
        axes.set(xlabel=fill(xlabel), ylabel="", title=fill(title, NOTE))
        colours = axes.collections[0].colorbar.ax
        if centre is not None:
            colours.set_xlim(min(float(np.nanmin(values)), centre), max(float(np.nanmax(values)), centre))
            note = f"White: {centre_name or 'the middle'} ({centre:.2f}). {note}"
        figure.legend([], [], loc="outside lower center", title=fill(note, NOTE))
        for row, column in np.argwhere([[mark_diagonal and str(r) == str(c) for c in table] for r in table.index]):
            axes.add_patch(Rectangle((column, row), 1, 1, fill=False, lw=2, edgecolor="black"))
    return figure


def _luminance(colour: Any) -> float:
    """Relative luminance of an sRGB colour as WCAG 2.2 defines it, 0 (black) to 1 (white)."""
    parts = np.asarray(colour[:3])
    return float(np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def _fitted(texts: pd.DataFrame, room: float) -> NDArray[Any]:
    """Texts of cells of this width in points: as they are, with intervals on two lines, or their first lines."""
    changes: list[Callable[[str], str]] = [
        str,
        lambda text: text.replace(", ", ",\n"),
        lambda text: text.split("\n")[0],
    ]
    for change in changes:
        cells = texts.astype(str).map(change).to_numpy()
        if max(len(part) for text in cells.flat for part in text.split("\n")) * 5.1 <= room:
            break
    return cells


def distribution(
    values: ArrayLike,
    ends: tuple[float, float],
    xlabel: str,
    ylabel: str,
    title: str = "",
    baseline: float | None = None,
    baseline_name: str = "",
) -> Figure:
    """Plot a histogram between two ends, in 40 bins of equal width, with a named reference line."""
    import seaborn as sns

    numbers = np.asarray(values, np.float64).round(12)
    with canvas((WIDTH, 3.0)) as (figure, axes):
        sns.histplot(numbers, bins=40, binrange=ends, color=PALETTE[0], edgecolor="white", ax=axes)
        if baseline is not None:
            axes.axvline(baseline, **REFERENCE)
            name_above(axes, baseline, baseline_name)
        axes.set(xlabel=fill(xlabel), ylabel=ylabel, title=fill(title, NOTE))
        figure.legend([], [], loc="outside lower center", title=f"Counts in bins of width {np.ptp(ends) / 40:.3g}.")
    return figure


def stacked_bars(
    table: pd.DataFrame,
    xlabel: str = "proportion of variance",
    title: str = "",
    ordered: bool = False,
    note: str = "Proportions without intervals.",
) -> Figure:
    """Plot proportions as stacked bars, one per row; `ordered` columns get a diverging colour map."""
    import matplotlib.pyplot as plt

    with canvas((WIDTH, 1.6 + 0.34 * len(table))) as (figure, axes):
        left, ends = np.zeros(len(table)), plt.get_cmap("PuOr")
        steps = [PALETTE[i % len(PALETTE)] for i in range(table.shape[1])]
        colours = [ends(at) for at in np.linspace(0.1, 0.9, table.shape[1])] if ordered else steps
        for colour, name in zip(colours, table.columns):
            values = table[name].to_numpy(np.float64)
            look = {"color": colour, "edgecolor": "#777777", "linewidth": 0.5}
            axes.barh(range(len(table)), values, left=left, label=words(name), **look)
            left += values
        axes.set_yticks(range(len(table)), [fill(words(name), NAME) for name in table.index])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel=fill(xlabel), title=fill(title, NOTE), xlim=(0, max(1.0, float(np.nanmax(left)))))
        legend_below(figure, axes, note)
    return figure


def slopes(
    before: ArrayLike,
    after: ArrayLike,
    names: Sequence[str],
    ends: tuple[str, str],
    ylabel: str,
    title: str = "",
    middle: str = "",
    of: str = "line",
) -> Figure:
    """Plot one line per name from its score in one format to its score in another; level lines mean stability.

    Up to eight lines are named at their end, with overlapping names moved apart. If all scores are within 0.1 of one
    half, the axis is restricted to that range and says so. `middle` names one half, `of` what a line is.
    """
    one, two = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if one.shape != two.shape or len(one) != len(names):
        raise InputError(f"before, after and names have different lengths: {len(one)}, {len(two)} and {len(names)}.")
    furthest = float(np.nanmax(np.abs(np.concatenate([one, two]) - 0.5), initial=1e-3))
    reach = 1.25 * furthest if furthest < 0.1 else 0.52
    with canvas((WIDTH, 4.2)) as (figure, axes):
        for y0, y1 in zip(one, two):
            colour, dash = (PALETTE[1], "-") if y1 > y0 else (PALETTE[0], DASHES[1])
            axes.plot([0, 1], [y0, y1], marker="o", ms=3.5, lw=1.1, alpha=0.75, color=colour, linestyle=dash)
        axes.axhline(0.5, **REFERENCE)
        axes.set_xticks([0, 1], [fill(end, 16) for end in ends])
        looks = ((PALETTE[1], "-", "rises", two > one), (PALETTE[0], DASHES[1], "falls, or is level", ~(two > one)))
        for colour, dash, label, lines in looks:
            if lines.any():
                axes.plot([], [], marker="o", ms=3.5, lw=1.1, color=colour, linestyle=dash, label=label)
        about = ylabel if reach == 0.52 else f"{ylabel}; axis restricted"
        axes.set(xlim=(-0.15, 1.15), ylim=(0.5 - reach, 0.5 + reach), ylabel=fill(about, 40), title=fill(title, NOTE))
        axes.grid(axis="y")
        legend_below(figure, axes, f"One line per {of}, {len(names)} in all; no intervals.")
        named = [(1.0, float(y), words(name)) for y, name in zip(two, names)] if len(names) <= 8 else []
        name_ends(figure, axes, [*named, *([(math.inf, 0.5, middle)] if middle else [])])
    return figure


def _lines(labels: pd.DataFrame) -> tuple[NDArray[np.int64], list[str], set[int]]:
    """Number of each row's line, the names of all lines, and the numbers of those that head a group."""
    keys = list(labels.itertuples(index=False, name=None))
    groups: dict[Any, list[Any]] = {}
    for key in dict.fromkeys(keys):
        groups.setdefault(key[0], []).append(key)
    grouped = labels.shape[1] > 1 and len(groups) < len(set(keys))
    ticks: list[str] = []
    heads: set[int] = set()
    at = {}
    for head, members in groups.items():
        if grouped:
            heads.add(len(ticks))
            ticks.append(fill(words(head), NAME))
        for key in members:
            at[key] = len(ticks)
            ticks.append(fill(" · ".join(words(part) for part in key[grouped:]), NAME))
    return np.array([at[key] for key in keys]), ticks, heads


def _draw_baselines(
    axes: Axes,
    values: pd.Series,
    lines: NDArray[np.int64],
    groups: Mapping[str, NDArray[np.bool_]],
    step: float,
    label: str,
) -> None:
    """Draw a reference mark through each line, or through each dot if the dots of a line differ in it."""
    middle, half = lines.astype(np.float64), 0.4
    if len(groups) > 1 and (values.groupby(lines).agg(np.ptp) > 1e-12).any():
        for number, rows in enumerate(groups.values()):
            middle[rows] += (number - (len(groups) - 1) / 2) * step
        half = step / 2
    axes.vlines(values, middle - half, middle + half, label=label, **REFERENCE)


def _reliability_panel(upper: Axes, lower: Axes, name: str, report: CalibrationReport) -> None:
    bins = report.bins[report.bins["n"] > 0]
    upper.plot([0, 1], [0, 1], **REFERENCE)
    for edge in report.bins["low"].iloc[1:]:
        upper.axvline(edge, color=FAINT, lw=0.7, zorder=0)
    draw_bars(upper, "y", bins["confidence"], bins["accuracy_low"], bins["accuracy_high"], ecolor=colour_of(0))
    upper.plot(bins["confidence"], bins["accuracy"], ls="", marker="o", ms=5, color=colour_of(0))
    upper.set_visible(True)
    lower.set_visible(True)
    head = f"{fill(name, 28)}\n" if name else ""
    bias = f"{report.bias:+.3f}".replace("-", "−")
    title = f"{head}smooth ECE {report.smooth_ece:.3f}, n = {report.n}\nconfidence − accuracy {bias}"
    upper.set_title(title, size=SMALL)
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), aspect="equal")
    widths = report.bins["high"] - report.bins["low"]
    lower.bar(report.bins["low"], report.bins["n"], widths, align="edge", color="#9DB7CC", edgecolor="white", lw=0.8)
    lower.set_xlabel("confidence")
    lower.tick_params(labelbottom=True)


def _draw_triangle(axes: Axes) -> None:
    """The simplex with wrong left, correct right and abstention on top, and lines of equal DCS."""
    axes.plot(*_place([0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]).T, color="black", lw=1)
    for level in (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8):
        wrong = np.linspace(max(0.0, -level) ** 0.5, (1 - level) / 2, 100)
        correct = np.sqrt(np.maximum(level + wrong**2, 0)) if level else wrong
        line = _place(correct, wrong, 1 - correct - wrong)
        axes.plot(*line.T, color="#B4B4B4" if level else GREY, lw=0.8 if level else 1.2, zorder=1, snap=False)
        if level in (-0.8, -0.4, 0.0, 0.4, 0.8):
            _write(axes, f"{level:+.1f}".replace("-", "−") if level else "0", line[-1], (0, -6), "center", "top", GREY)
    _write(axes, "wrong\n(DCS −1)", _place(0, 1, 0), (-8, 0), "right", "center")
    _write(axes, "correct\n(DCS +1)", _place(1, 0, 0), (8, 0), "left", "center")
    _write(axes, "abstention (DCS 0)", _place(0, 0, 1), (0, 12), "center", "bottom")
    axes.set(aspect="equal", xlim=(-0.1, 1.1), ylim=(-0.09, 0.93))
    axes.axis("off")


def _write(axes: Axes, text: str, at: Any, shift: tuple[int, int], ha: Any, va: Any, colour: str = "black") -> None:
    """Write text beside a point, with an offset in points; grey text is smaller."""
    size = SMALL if colour == GREY else 10
    axes.annotate(text, at, shift, textcoords="offset points", ha=ha, va=va, color=colour, size=size)


def _draw_region(axes: Axes, xy: NDArray[np.float64], colour: str) -> bool:
    """Draw Hotelling's 95% confidence region of a mean, clipped to the triangle; False for fewer than three points."""
    from matplotlib.patches import Polygon
    from scipy.special import fdtri

    n = len(xy)
    if n < 3:
        return False
    radius = np.sqrt(2 * (n - 1) / (n - 2) * fdtri(2, n - 2, 0.95) / n)
    values, vectors = np.linalg.eigh(np.cov(xy.T))
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = np.vstack([np.cos(turn), np.sin(turn)]) * np.sqrt(np.maximum(values, 0))[:, None]
    (line,) = axes.plot(*(xy.mean(axis=0)[:, None] + radius * vectors @ circle), color=colour, lw=1.6, zorder=5)
    line.set_clip_path(Polygon(_place([0, 1, 0], [1, 0, 0], [0, 0, 1]), transform=axes.transData))
    return True


def _place(correct: Any, wrong: Any, abstain: Any) -> NDArray[np.float64]:
    """Coordinates of points of the simplex, `[..., 2]`: wrong at (0, 0), correct at (1, 0), abstention above."""
    c, a = np.asarray(correct, np.float64), np.asarray(abstain, np.float64)
    return np.stack([c + a / 2, a * np.sqrt(3) / 2], axis=-1)


def _groups(table: pd.DataFrame, by: str | None) -> dict[str, NDArray[np.bool_]]:
    """Mask of the rows of each value of `by`, in order of appearance; of all rows without it."""
    if by is None:
        return {"": np.ones(len(table), bool)}
    return {words(name): (table[by] == name).to_numpy() for name in dict.fromkeys(table[by])}


def _need(table: pd.DataFrame, names: Sequence[str | None]) -> None:
    """Refuse an empty table, or one that lacks a column."""
    if table.empty:
        raise InputError("The table to plot is empty; pass at least one row.")
    for name in names:
        if name is not None and name not in table.columns:
            raise unknown("column", name, [str(column) for column in table.columns])
