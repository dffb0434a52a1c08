"""Plots shared by all studies: matplotlib figures with intervals and named baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, unknown
from workbench.statistics.calibration import CalibrationReport, RiskCoverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WIDTH = 7.5
"""Text width of a notebook, in inches."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#333333")
"""The colour-blind safe palette of Okabe and Ito."""
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
MOST_NAMED = 30
"""Maximum number of columns of a matrix with names and values."""
GREY, FAINT = "#6B6B6B", "#DDDDDD"
REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 1.2, "linestyle": (0, (2, 1.5))}
STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in the name of a model or in a text is a dollar
}


def described(figure: Figure, alt: str) -> Figure:
    """Return the figure with an alt text, which `run.figure` saves."""
    figure.set_label(alt)
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
) -> Figure:
    """Plot estimates with horizontal intervals, one line per label, the first on top.

    Args:
        table: One row per estimate, as returned by `summarise`.
        label: Columns that name the lines.
        value: Column with the estimates.
        low: Column with the lower ends of their intervals.
        high: Column with the upper ends.
        by: Column whose values are drawn on one line in different colours.
        baseline: One number, or a column with the baseline of each line or of each estimate.
        xlabel: Quantity and unit.
        title: Title of the plot.
        baseline_name: Name of the baseline in the legend.
    """
    labels = [label] if isinstance(label, str) else list(label)
    _need(table, [*labels, value, low, high, by, baseline if isinstance(baseline, str) else None])
    names = table[labels].astype(str).agg(" · ".join, axis=1)
    lines, groups = list(dict.fromkeys(names)), _groups(table, by)
    step = min(0.8 / len(groups), 0.28)
    with _figure((WIDTH, 1.3 + len(lines) * max(0.32, 0.19 * len(groups)))) as (figure, axes):
        for number, (name, rows) in enumerate(groups.items()):
            part = table[rows]
            y = np.array([lines.index(each) for each in names[rows]]) + (number - (len(groups) - 1) / 2) * step
            _bars(axes, "x", y, part[low], part[high], ecolor=_colour(number), elinewidth=1.6, capsize=0, zorder=3)
            axes.plot(part[value], y, ls="", ms=5, label=name, zorder=3, **_look(number))
        if isinstance(baseline, str):
            _draw_baselines(axes, table[baseline], names, lines, groups, step, baseline_name)
        elif baseline is not None:
            axes.axvline(baseline, label=baseline_name, **REFERENCE)
        axes.set_yticks(range(len(lines)), lines)
        axes.set_ylim(len(lines) - 0.45, -0.55)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.spines["left"].set_visible(False)
        axes.set(xlabel=xlabel or value, title=title)
        if by or baseline is not None:
            _legend_below(figure, axes, by, baseline_name)
    return figure


def curves(
    table: pd.DataFrame,
    x: str,
    value: str = "mean",
    low: str = "low",
    high: str = "high",
    by: str | None = None,
    baseline: float | None = None,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    baseline_name: str = "baseline",
) -> Figure:
    """Plot estimates against the number in column `x` as lines with interval bands, one row per point.

    Columns as for `intervals`; `by` separates lines, `baseline` is a horizontal reference line.
    """
    _need(table, [x, value, low, high, by])
    with _figure((WIDTH, 3.8)) as (figure, axes):
        if baseline is not None:
            axes.axhline(baseline, label=baseline_name, **REFERENCE)
        for number, (name, rows) in enumerate(_groups(table, by).items()):
            part = table[rows].sort_values(x)
            marker = MARKERS[number % len(MARKERS)] if len(part) <= 25 else ""
            _band(axes, part[x], part[value], part[low], part[high], number, name, marker)
        axes.grid()
        axes.set(xlabel=xlabel or x, ylabel=ylabel or value, title=title)
        axes.margins(x=0.02)
        if pd.api.types.is_numeric_dtype(table[x]) and (table[x] % 1 == 0).all():
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if by or baseline is not None:
            _legend_below(figure, axes, by, baseline_name)
    return figure


def risk_coverage(
    curves: Mapping[str, RiskCoverage] | RiskCoverage,
    title: str = "Selective risk by coverage, most confident answers first",
) -> Figure:
    """Plot risk-coverage curves with pointwise Wilson bands, and the AURC of each in the legend."""
    named = {"": curves} if isinstance(curves, RiskCoverage) else dict(curves)
    with _figure((WIDTH, 4.0)) as (figure, axes):
        for number, (name, each) in enumerate(named.items()):
            label = f"{name}: AURC {each.aurc:.3f}, excess {each.e_aurc:.3f}, n = {each.n}".removeprefix(": ")
            c = each.curve
            _band(axes, c["coverage"], c["risk"], c["low"], c["high"], number, label, "")
        axes.grid()
        axes.set(xlim=(0, 1.005), ylim=(0, 1), title=title)
        axes.set(xlabel="coverage (proportion answered)", ylabel="risk (error rate among answered)")
        _legend_below(figure, axes)
    return figure


def reliability(reports: Mapping[str, CalibrationReport] | CalibrationReport) -> Figure:
    """Plot reliability diagrams: accuracy with Wilson intervals by confidence, and the number of answers per bin."""
    named = {"": reports} if isinstance(reports, CalibrationReport) else dict(reports)
    if not named:
        raise InputError("There is no calibration report to plot; pass at least one.")
    width = WIDTH if len(named) > 1 else 4.6
    panel = (width - 0.75) / len(named)
    shape: dict[str, Any] = {"height_ratios": [3.2, 1], "sharex": True, "sharey": "row", "squeeze": False}
    with _figure((width, 1.32 * panel + 1.4), 2, len(named), **shape) as (figure, grid):
        for number, (name, report) in enumerate(named.items()):
            _reliability_panel(grid[0, number], grid[1, number], name, report)
        grid[0, 0].set_ylabel("accuracy in the bin")
        grid[1, 0].set_ylabel("answers")
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
    with _figure((WIDTH, 6.2)) as (figure, axes):
        _draw_triangle(axes)
        for number, (name, rows) in enumerate(_groups(outcomes, by).items()):
            p = outcomes.loc[rows, parts].to_numpy(np.float64)
            xy = _place(*(p / p.sum(axis=1, keepdims=True)).T)
            axes.scatter(*xy.T, s=13, alpha=0.4, linewidths=0, zorder=3, **_look(number))
            label = f"{name} (n = {len(xy)})" if by else f"mean of {len(xy)} questions"
            mean = {"s": 75, "edgecolors": "white", "linewidths": 1.3, "zorder": 6, "label": label}
            axes.scatter(*xy.mean(axis=0), **mean, **_look(number))
            _draw_region(axes, xy, _colour(number))
        axes.set_title(title)
        _legend_below(figure, axes)
    return figure


def points(
    table: pd.DataFrame, x: str, y: str, label: str, xlabel: str = "", ylabel: str = "", title: str = ""
) -> Figure:
    """Plot named points, with intervals for coordinates that have columns `<name>_low` and `<name>_high`."""
    _need(table, [x, y, label])
    with _figure((WIDTH, 4.4)) as (figure, axes):
        for number, (_, row) in enumerate(table.iterrows()):
            for along, name, at in (("x", x, row[y]), ("y", y, row[x])):
                if f"{name}_low" in table:
                    ends = [row[f"{name}_low"]], [row[f"{name}_high"]]
                    _bars(axes, along, [at], *ends, ecolor=_colour(number), elinewidth=1.1)
            axes.plot(row[x], row[y], ls="", ms=6, label=str(row[label]), **_look(number))
        axes.grid()
        axes.set(xlabel=xlabel or x, ylabel=ylabel or y, title=title)
        _legend_below(figure, axes)
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
) -> Figure:
    """Plot a heat map with named rows and columns and the value in each cell.

    With more than `MOST_NAMED` columns, values and column names are omitted; `xlabel` names the columns then.

    Args:
        table: Rows by columns.
        label: Quantity shown by the colours.
        centre: Middle of a diverging scale; None for a sequential one.
        title: Title of the plot.
        mark_diagonal: Frame the cells whose row and column have the same name.
        ends: Ends of a sequential scale; None for those of the values.
        xlabel: Label of the column axis.
        texts: What is written in the cells instead of their values; a second line makes rows taller.
    """
    import seaborn as sns
    from matplotlib.patches import Rectangle

    values = table.to_numpy(np.float64)
    if not values.size:
        raise InputError("The matrix to plot is empty; pass at least one row.")
    named = table.shape[1] <= MOST_NAMED
    least, most = ends or (None, None)
    scale: dict[str, Any] = {"cmap": "cividis", "vmin": least, "vmax": most}
    if centre is not None:
        reach = float(np.nanmax(np.abs(values - centre))) or 1.0
        scale = {"cmap": "RdBu_r", "vmin": centre - reach, "vmax": centre + reach}
    bar = {"label": label, "shrink": 0.9, "pad": 0.02}
    written: dict[str, Any] = {"annot": named, "fmt": ".2f", "annot_kws": {"size": 7.5}, "xticklabels": named}
    height = 0.34
    if texts is not None:
        written |= {"annot": texts.to_numpy(str), "fmt": ""}
        height = 0.5 if texts.map(lambda text: "\n" in str(text)).any(axis=None) else height
    with _figure((WIDTH, 1.4 + height * len(table))) as (figure, axes):
        sns.heatmap(table.astype(float), ax=axes, cbar_kws=bar, yticklabels=True, rasterized=True, **scale, **written)
        axes.tick_params(length=0)
        axes.set_xticks(axes.get_xticks(), axes.get_xticklabels(), rotation=40, ha="right")
        axes.set_yticks(axes.get_yticks(), axes.get_yticklabels(), rotation=0)
        axes.set(xlabel=xlabel, ylabel="", title=title)
        for row, column in np.argwhere([[mark_diagonal and str(r) == str(c) for c in table] for r in table.index]):
            axes.add_patch(Rectangle((column, row), 1, 1, fill=False, lw=2, edgecolor="black"))
    return figure


def distribution(values: ArrayLike, ends: tuple[float, float], xlabel: str, ylabel: str, title: str = "") -> Figure:
    """Plot a histogram between two ends, in 40 bins of equal width."""
    import seaborn as sns

    with _figure((WIDTH, 3.0)) as (figure, axes):
        sns.histplot(np.asarray(values, np.float64).round(12), bins=40, binrange=ends, color=PALETTE[0], ax=axes)
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    return figure


def stacked_bars(
    table: pd.DataFrame, xlabel: str = "proportion of variance", title: str = "", ordered: bool = False
) -> Figure:
    """Plot proportions as stacked bars, one per row; `ordered` columns get a diverging colour map."""
    import matplotlib.pyplot as plt

    with _figure((WIDTH, 1.3 + 0.32 * len(table))) as (figure, axes):
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
    return figure


def slopes(
    before: ArrayLike, after: ArrayLike, names: Sequence[str], ends: tuple[str, str], ylabel: str, title: str = ""
) -> Figure:
    """Plot one line per name from its score in one format to its score in another; level lines mean stability.

    Up to eight lines are named at their end, with overlapping names moved apart. If all scores are within 0.1 of one
    half, the axis is restricted to that range and says so.
    """
    one, two = np.asarray(before, np.float64), np.asarray(after, np.float64)
    if one.shape != two.shape or len(one) != len(names):
        raise InputError(f"before, after and names have different lengths: {len(one)}, {len(two)} and {len(names)}.")
    furthest = float(np.nanmax(np.abs(np.concatenate([one, two]) - 0.5), initial=1e-3))
    reach = 1.25 * furthest if furthest < 0.1 else 0.52
    named, heights = len(names) <= 8, _apart(two, 0.09 * reach)
    with _figure((4.6, 4.4)) as (figure, axes):
        for y0, y1, height, name in zip(one, two, heights, names):
            colour = PALETTE[1] if y1 > y0 else PALETTE[0]
            axes.plot([0, 1], [y0, y1], marker="o", ms=3.5, lw=1.1, alpha=0.75, color=colour)
            if named:
                axes.annotate(name, (1.02, height), size=7.5, va="center", color=GREY)
        axes.axhline(0.5, **REFERENCE)
        axes.set_xticks([0, 1], list(ends))
        looks = ((PALETTE[1], "rises", two > one), (PALETTE[0], "falls, or is level", ~(two > one)))
        for colour, label, lines in looks:
            if lines.any():
                axes.plot([], [], marker="o", ms=3.5, lw=1.1, color=colour, label=label)
        about = ylabel if reach == 0.52 else f"{ylabel}; axis restricted"
        axes.set(xlim=(-0.15, 1.45 if named else 1.15), ylim=(0.5 - reach, 0.5 + reach), ylabel=about, title=title)
        figure.legend(loc="outside lower center", ncols=2)
        axes.grid(axis="y")
    return figure


@contextmanager
def _figure(size: tuple[float, float], rows: int = 1, columns: int = 1, **shape: Any) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure in the house style; closed at the end, so that a notebook shows it only where it is returned."""
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        ratios = {"height_ratios": shape.pop("height_ratios")} if "height_ratios" in shape else {}
        figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", gridspec_kw=ratios, **shape)
        yield figure, axes
        plt.close(figure)


def _look(number: int) -> dict[str, Any]:
    """Colour and marker of the series with this number."""
    return {"color": _colour(number), "marker": MARKERS[number % len(MARKERS)]}


def _colour(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _bars(axes: Axes, along: str, at: Any, low: Any, high: Any, **look: Any) -> None:
    """Draw intervals, also those that exclude their estimate; none where an end is NaN."""
    ends = np.asarray([low, high], np.float64)
    middle, half = ends.mean(axis=0), np.ptp(ends, axis=0) / 2
    if along == "x":
        axes.errorbar(middle, at, xerr=half, fmt="none", **look)
    else:
        axes.errorbar(at, middle, yerr=half, fmt="none", **look)


def _band(axes: Axes, x: Any, y: Any, low: Any, high: Any, number: int, label: str, marker: str) -> None:
    axes.fill_between(x, low.astype(float), high.astype(float), color=_colour(number), alpha=0.16, lw=0)
    axes.plot(x, y, color=_colour(number), marker=marker, ms=4.5, label=label)


def _draw_baselines(
    axes: Axes,
    values: pd.Series,
    names: pd.Series,
    lines: list[str],
    groups: Mapping[str, NDArray[np.bool_]],
    step: float,
    label: str,
) -> None:
    """Draw a reference mark through each line, or through each dot if the dots of a line differ in it."""
    middle, half = np.array([lines.index(each) for each in names], np.float64), 0.4
    if len(groups) > 1 and (values.groupby(names.to_numpy()).agg(np.ptp) > 1e-12).any():
        for number, rows in enumerate(groups.values()):
            middle[rows] += (number - (len(groups) - 1) / 2) * step
        half = step / 2
    axes.vlines(values, middle - half, middle + half, label=label, **REFERENCE)


def _reliability_panel(upper: Axes, lower: Axes, name: str, report: CalibrationReport) -> None:
    bins = report.bins[report.bins["n"] > 0]
    upper.plot([0, 1], [0, 1], **REFERENCE)
    for edge in report.bins["low"].iloc[1:]:
        upper.axvline(edge, color=FAINT, lw=0.7, zorder=0)
    _bars(upper, "y", bins["confidence"], bins["accuracy_low"], bins["accuracy_high"], ecolor=_colour(0))
    upper.plot(bins["confidence"], bins["accuracy"], ls="", marker="o", ms=5, color=_colour(0))
    head = f"{name}\n" if name else ""
    bias = f"{report.bias:+.3f}".replace("-", "−")
    upper.set_title(f"{head}smooth ECE {report.smooth_ece:.3f}\nbias {bias}, n = {report.n}")
    upper.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), aspect="equal")
    widths = report.bins["high"] - report.bins["low"]
    lower.bar(report.bins["low"], report.bins["n"], widths, align="edge", color="#9DB7CC", edgecolor="white", lw=0.8)
    lower.set_xlabel("confidence")


def _draw_triangle(axes: Axes) -> None:
    """The simplex with wrong left, correct right and abstention on top, and lines of equal DCS."""
    axes.plot(*_place([0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]).T, color="black", lw=1)
    for level in (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8):
        wrong = np.linspace(max(0.0, -level) ** 0.5, (1 - level) / 2, 100)
        correct = np.sqrt(np.maximum(level + wrong**2, 0)) if level else wrong
        line = _place(correct, wrong, 1 - correct - wrong)
        axes.plot(*line.T, color="#B4B4B4" if level else GREY, lw=0.8 if level else 1.2, zorder=1, snap=False)
        _write(axes, f"{level:+.1f}".replace("-", "−") if level else "0", line[-1], (0, -6), "center", "top", GREY)
    _write(axes, "wrong\n(DCS −1)", _place(0, 1, 0), (-8, 0), "right", "center")
    _write(axes, "correct\n(DCS +1)", _place(1, 0, 0), (8, 0), "left", "center")
    _write(axes, "abstention (DCS 0)", _place(0, 0, 1), (0, 12), "center", "bottom")
    note = "grey lines: equal DCS · small marks: questions · large marks: means with 95% region inside the triangle"
    _write(axes, note, _place(0.5, 0.5, 0), (0, -24), "center", "top", GREY)
    axes.set(aspect="equal", xlim=(-0.1, 1.1), ylim=(-0.11, 0.93))
    axes.axis("off")


def _write(axes: Axes, text: str, at: Any, shift: tuple[int, int], ha: Any, va: Any, colour: str = "black") -> None:
    """Write text beside a point, with an offset in points; grey text is smaller."""
    size = 8.5 if colour == GREY else 9.5
    axes.annotate(text, at, shift, textcoords="offset points", ha=ha, va=va, color=colour, size=size)


def _draw_region(axes: Axes, xy: NDArray[np.float64], colour: str) -> None:
    """Draw Hotelling's 95% confidence region of a mean, clipped to the triangle; none for fewer than three points."""
    from matplotlib.patches import Polygon
    from scipy.special import fdtri

    n = len(xy)
    if n < 3:
        return
    radius = np.sqrt(2 * (n - 1) / (n - 2) * fdtri(2, n - 2, 0.95) / n)
    values, vectors = np.linalg.eigh(np.cov(xy.T))
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = np.vstack([np.cos(turn), np.sin(turn)]) * np.sqrt(np.maximum(values, 0))[:, None]
    (line,) = axes.plot(*(xy.mean(axis=0)[:, None] + radius * vectors @ circle), color=colour, lw=1.6, zorder=5)
    line.set_clip_path(Polygon(_place([0, 1, 0], [1, 0, 0], [0, 0, 1]), transform=axes.transData))


def _place(correct: Any, wrong: Any, abstain: Any) -> NDArray[np.float64]:
    """Coordinates of points of the simplex, `[..., 2]`: wrong at (0, 0), correct at (1, 0), abstention above."""
    c, a = np.asarray(correct, np.float64), np.asarray(abstain, np.float64)
    return np.stack([c + a / 2, a * np.sqrt(3) / 2], axis=-1)


def _apart(heights: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """The heights, raised so that each is at least a gap above the one below."""
    order, moved = np.argsort(heights, kind="stable"), np.array(heights, np.float64)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def _groups(table: pd.DataFrame, by: str | None) -> dict[str, NDArray[np.bool_]]:
    """Mask of the rows of each value of `by`, in order of appearance; of all rows without it."""
    if by is None:
        return {"": np.ones(len(table), bool)}
    return {str(name): (table[by] == name).to_numpy() for name in dict.fromkeys(table[by])}


def _need(table: pd.DataFrame, names: Sequence[str | None]) -> None:
    """Refuse an empty table, or one that lacks a column."""
    if table.empty:
        raise InputError("The table to plot is empty; pass at least one row.")
    for name in names:
        if name is not None and name not in table.columns:
            raise unknown("column", name, [str(column) for column in table.columns])


def _legend_below(figure: Figure, axes: Axes, title: str | None = None, last: str = "") -> None:
    """Add one legend below the plot, in as many columns as its longest name permits."""
    pairs = zip(*axes.get_legend_handles_labels())
    entries = {label: handle for handle, label in sorted(pairs, key=lambda pair: pair[1] == last) if label}
    columns = max(1, min(len(entries), 100 // (max(map(len, entries)) + 10)))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, title=title)
