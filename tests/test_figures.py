from xml.etree import ElementTree

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from legible import faults, overlap, svg_of

from workbench import drawing, figures
from workbench.errors import InputError
from workbench.figures import described
from workbench.runs.folder import draw
from workbench.statistics.calibration import calibration_report, risk_coverage

RNG = np.random.default_rng(0)
CONFIDENCE = RNG.beta(3, 1.5, 80)
CORRECT = RNG.random(80) < CONFIDENCE
ROWS = pd.DataFrame(
    {
        "benchmark": np.repeat(["A long name of a benchmark", "PIQA"], 2),
        "normalisation": ["none", "chars"] * 2,
        "mean": [0.1, 0.2, -0.1, np.nan],
        "low": [0.0, 0.1, -0.3, np.nan],
        "high": [0.3, 0.4, 0.1, np.nan],
        "uniform": [-0.3, -0.3, 0.0, 0.0],
        "t": [0.0, 0.5, 0.5, 0.0],
    }
)
POINTS = pd.DataFrame(RNG.dirichlet([1, 2, 1], 30), columns=["p_correct", "p_wrong", "p_abstain"])
LABELS = {"xlabel": "score (points)", "title": "One question each"}
DRAWN = {
    "intervals": lambda: figures.intervals(ROWS, "benchmark", by="normalisation", baseline="uniform", **LABELS),
    "intervals, one series": lambda: figures.intervals(ROWS, ["benchmark", "normalisation"], baseline=0.25, **LABELS),
    "curves": lambda: figures.curves(ROWS, "t", by="benchmark", baseline=0.0, ylabel="score", xlabel="target"),
    "risk_coverage": lambda: figures.risk_coverage({"plain": risk_coverage(CONFIDENCE, CORRECT)}),
    "reliability": lambda: figures.reliability(calibration_report(CONFIDENCE, CORRECT)),
    "reliability, three": lambda: figures.reliability(dict.fromkeys("abc", calibration_report(CONFIDENCE, CORRECT))),
    "points": lambda: figures.points(
        ROWS.assign(mean_low=0.0, mean_high=0.4), "mean", "uniform", "benchmark", **LABELS
    ),
    "simplex": lambda: figures.simplex(POINTS.assign(benchmark=["a", "b"] * 15), by="benchmark", title="Where"),
    "simplex, two points": lambda: figures.simplex(POINTS[:2]),
}


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_legible_and_closed(name):
    figure = described(DRAWN[name](), "The alt text of a figure")
    assert figure.get_figwidth() <= drawing.WIDTH
    assert not plt.get_fignums()
    assert not faults(svg_of(figure), figure.get_label())


def hollow(figure):
    """Points whose marks are hollow."""
    lines = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    return [tuple(at) for line in lines for at in line.get_xydata()]


ALONE = pd.DataFrame({"name": ["a", "b"], "mean": [1.0, 2.0], "low": [0.5, np.nan], "high": [1.5, np.nan], "n": [9, 1]})


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (ALONE, "Bars: 95% intervals; 1 to 9 pairs each. Hollow marks have no interval: one item."),
        (ALONE.assign(n=4), "Bars: 95% intervals; 4 pairs each. Hollow marks have no interval."),
        (ALONE.assign(note=["", "no variation: no interval"]), "no interval: no variation."),
        (ALONE.assign(low=np.nan), "1 to 9 pairs each. No intervals."),
    ],
)
def test_a_mark_without_an_interval_is_hollow_and_said_to_have_none(table, said):
    figure = described(figures.intervals(table, "name", of="pairs", xlabel="score"), "Estimates.")
    assert figure.get_label().endswith(said)
    assert hollow(figure)[-1] == (2.0, 1.0)
    lines = figures.curves(table.assign(x=[0, 1]), "x", of="pairs")
    assert hollow(lines)[-1] == (1.0, 2.0)
    places = figures.points(table.rename(columns={"low": "mean_low", "high": "mean_high"}), "mean", "n", "name")
    assert hollow(places)[-1][0] == 2.0


def test_numbers_in_the_cells_of_a_matrix_contrast_with_their_cells():
    """WCAG 2.2 asks for 4.5 to 1."""
    table = pd.DataFrame(np.linspace(0, 1, 32).reshape(8, 4), index=list("abcdefgh"), columns=list("wxyz"))
    for figure in (figures.matrix(table, "score"), figures.matrix(table, "difference", centre=0.4)):
        axes = figure.axes[0]
        fills = [figures._luminance(colour) for colour in axes.collections[0].get_facecolors()]
        written = [figures._luminance(matplotlib.colors.to_rgb(text.get_color())) for text in axes.texts]
        contrasts = [(max(pair) + 0.05) / (min(pair) + 0.05) for pair in zip(fills, written, strict=True)]
        assert min(contrasts) >= 4.5


def test_words_for_codes_but_not_for_addresses_and_quotations():
    names = ["my_items", "org/a_model", "“<|im_end|>”", "two-pass"]
    assert [drawing.words(name) for name in names] == ["my items", *names[1:]]


def test_the_first_49_series_look_different():
    assert len({tuple(drawing.look_of(number).items()) for number in range(49)}) == 49


def test_names_at_the_ends_of_lines_are_apart_and_in_order():
    heights = np.array([10.0, 11.0, 99.0, 100.0, 50.0])
    moved = drawing.apart(heights, np.full(5, 8.0), top=100)
    assert np.diff(np.sort(moved)).min() >= 8 and moved.argsort().tolist() == heights.argsort().tolist()
    assert moved.max() == 100 and moved[4] == 50 and moved[0] == 10


def test_a_baseline_is_named_beside_its_line_or_in_the_legend():
    one = figures.intervals(ROWS, "benchmark", baseline=0.1, baseline_name="no skill")
    assert [text.get_text() for text in one.axes[0].texts] == ["no skill"] and not one.legends[0].get_texts()
    several = figures.intervals(ROWS, "benchmark", baseline="uniform", baseline_name="no skill")
    assert not several.axes[0].texts and several.legends[0].get_texts()[0].get_text() == "no skill"


def test_lines_of_two_names_are_grouped():
    axes = figures.intervals(ROWS, ["benchmark", "normalisation"]).axes[0]
    ticks = axes.get_yticklabels()
    assert [text.get_text() for text in ticks][:3] == ["A long name of a benchmark", "none", "chars"]
    assert [text.get_fontweight() for text in ticks] == ["bold", "normal", "normal"] * 2


def test_the_check_finds_what_is_illegible():
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.set(xlabel="score_1-100", title="one")
    axes.text(0.5, 0.5, "some words")
    axes.text(0.55, 0.5, "other words", rotation=30)
    axes.text(0.1, 0.1, "tiny", size=4)
    found = " ".join(faults(svg_of(figure), "One."))
    plt.close(figure)
    assert all(
        part in found for part in ("'score_1-100' is a code", "overlaps 'other words'", "'tiny' is of", "alt text")
    )
    assert "'one'" not in found


def test_turned_texts_overlap_only_where_they_meet():
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2.0]])
    turned = square @ [[0.7071, 0.7071], [-0.7071, 0.7071]]
    assert overlap(square, turned + 1) and not overlap(square, turned + np.array([3, 2.5]))


def test_every_dot_has_its_interval():
    axes = figures.intervals(ROWS, "benchmark", by="normalisation").axes[0]
    drawn = [container.lines[2][0].get_segments() for container in axes.containers]
    ends = [sorted(segment[:, 0]) for segments in drawn for segment in segments if np.size(segment)]
    np.testing.assert_allclose(sorted(ends), sorted(ROWS[["low", "high"]].dropna().to_numpy().tolist()))


def test_an_interval_that_misses_its_estimate_is_drawn_as_it_is():
    table = pd.DataFrame({"name": ["a"], "x": [1.0], "y": [2.0], "y_low": [0.5], "y_high": [1.5]})
    axes = figures.points(table, "x", "y", "name").axes[0]
    assert [segment[:, 1].tolist() for segment in axes.containers[0].lines[2][0].get_segments()] == [[0.5, 1.5]]


def test_each_line_has_its_own_baseline():
    axes = figures.intervals(ROWS, "benchmark", baseline="uniform").axes[0]
    marks = next(c for c in axes.collections if c.get_label() == "chance").get_segments()
    assert sorted({float(mark[0, 0]) for mark in marks}) == [-0.3, 0.0]


def test_dots_of_a_line_have_their_own_baselines():
    table = ROWS.assign(own=[0.1, 0.2, 0.3, 0.3])
    axes = figures.intervals(table, "benchmark", by="normalisation", baseline="own").axes[0]
    marks = next(c for c in axes.collections if c.get_label() == "chance").get_segments()
    dots = [line.get_xydata() for line in axes.lines if line.get_marker() in ("o", "s")]
    heights = sorted(float(y) for xy in dots for y in xy[:, 1])
    assert sorted(float(mark[:, 1].mean()) for mark in marks) == pytest.approx(heights)
    assert [float(mark[0, 0]) for mark in marks] == [0.1, 0.2, 0.3, 0.3]


def test_whole_numbers_have_whole_ticks():
    axes = figures.curves(pd.DataFrame({"x": [1, 2, 3], "mean": 0.5, "low": 0.4, "high": 0.6}), "x").axes[0]
    inside = [tick for tick in axes.get_xticks() if 1 <= tick <= 3]
    assert inside == [1, 2, 3]


def test_the_first_label_is_on_top():
    axes = figures.intervals(ROWS, "benchmark").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["A long name of a benchmark", "PIQA"]
    bottom, top = axes.get_ylim()
    assert top < 0 < bottom


def test_lines_of_the_simplex_have_equal_dcs():
    axes = figures.simplex(POINTS).axes[0]
    lines = [line.get_xydata() for line in axes.lines[1:10]]
    for line, level in zip(lines, [-0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8]):
        abstain = line[:, 1] / (np.sqrt(3) / 2)
        correct = line[:, 0] - abstain / 2
        np.testing.assert_allclose(correct**2 - (1 - correct - abstain) ** 2, level, atol=1e-9)


def test_corners_of_the_simplex():
    np.testing.assert_allclose(figures._place([1, 0, 0], [0, 1, 0], [0, 0, 1]), [[1, 0], [0, 0], [0.5, 0.75**0.5]])


def test_a_region_is_drawn_inside_the_triangle_and_clear_of_the_words():
    silent = pd.DataFrame({"p_correct": [0, 0.3, 0, 0], "p_wrong": [0.01, 0, 0, 0.02]})
    axes = figures.simplex(silent.assign(p_abstain=1 - silent.sum(axis=1))).axes[0]
    region = axes.lines[-1]
    outline = region.get_clip_path().get_fully_transformed_path()
    corners = axes.transData.transform(figures._place([0, 1, 0], [1, 0, 0], [0, 0, 1]))
    assert outline.vertices[:3] == pytest.approx(corners)
    assert region.get_ydata().max() > 0.75**0.5  # it would leave the triangle
    words = next(text for text in axes.texts if "abstention" in text.get_text())
    assert words.get_position()[1] >= 10


def test_the_confidence_region_covers_as_stated():
    inside = 0
    for seed in range(200):
        xy = np.random.default_rng(seed).multivariate_normal([0.4, 0.3], [[0.02, 0.01], [0.01, 0.03]], 25)
        axes = plt.figure().add_subplot()
        figures._draw_region(axes, xy, "black")
        inside += matplotlib.path.Path(axes.lines[0].get_xydata()).contains_point((0.4, 0.3))
        plt.close()
    assert 0.9 <= inside / 200 <= 0.985


def test_reliability_shows_the_bins():
    report = calibration_report(CONFIDENCE, CORRECT)
    upper, lower = figures.reliability(report).axes
    assert [bar.get_height() for bar in lower.patches] == report.bins["n"].tolist()
    assert f"smooth ECE {report.smooth_ece:.3f}" in upper.get_title(loc="left")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.intervals(ROWS, "bench"), "Did you mean 'benchmark'"),
        (lambda: figures.intervals(ROWS.iloc[:0], "benchmark"), "empty"),
        (lambda: figures.curves(ROWS, "time"), "Unknown column 'time'"),
        (lambda: figures.simplex(ROWS), "Unknown column 'p_correct'"),
        (lambda: figures.reliability({}), "at least one"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("name", [r"$\foo$", "$5 or $6", "a\x00\x1b[31mb", "<script>]]>-->", "\u202e$", "&lt;&x;"])
def test_any_name_can_be_drawn_as_it_is(name):
    rows = ROWS.assign(benchmark=name)
    figure = figures.intervals(rows, "benchmark", by="normalisation", baseline=0.1, baseline_name=name, title=name)
    assert figure.axes[0].get_title("left") == name and not figure.axes[0].title.get_parse_math()
    drawing = draw(figure, name).svg
    root = ElementTree.fromstring(drawing)
    assert root.get("aria-label") == name.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert not [e for e in root.iter() if "script" in str(e.tag)]
