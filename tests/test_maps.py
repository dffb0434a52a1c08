"""The figures of culture draw what they are given and refuse what does not fit."""

import numpy as np
import pandas as pd
import pytest

from workbench import figures
from workbench.cultural_alignment import cultural_map
from workbench.errors import InputError

NAMES = ["A", "B", "C"]


def test_matrix_marks_the_diagonal_and_writes_every_number():
    figure = figures.matrix(pd.DataFrame(np.eye(3), NAMES, NAMES), "alignment", centre=0.5, mark_diagonal=True)
    axes = figure.axes[0]
    assert sorted(patch.get_xy() for patch in axes.patches) == [(0, 0), (1, 1), (2, 2)]
    assert sorted({text.get_text() for text in axes.texts}) == ["0.00", "1.00"]


def test_a_matrix_leaves_a_missing_number_blank_and_keeps_its_centre():
    figure = figures.matrix(pd.DataFrame([[0.2, np.nan], [0.4, 1.0]], NAMES[:2], NAMES[:2]), "share", centre=0.5)
    figure.canvas.draw()
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.20", "0.40", "1.00"]
    assert figure.axes[0].collections[0].get_clim() == (0.0, 1.0) and figure.axes[1].get_xlabel() == "share"


def test_a_distribution_counts_every_value_between_its_ends():
    values = [-1.0, -0.5, 0.1 + 0.2, 0.3, 1.0]
    axes = figures.distribution(values, (-1, 1), "margin", "pairs").axes[0]
    heights = [patch.get_height() for patch in axes.patches]
    assert (sum(heights), max(heights), len(heights)) == (5, 2, 40) and axes.get_ylabel() == "pairs"


def test_country_map_has_an_arrow_per_persona():
    countries = pd.DataFrame({"x": [0, 1], "y": [0, 1], "region": ["r", "s"]}, index=["A", "B"])
    points = pd.DataFrame({"x": [0, 0.2], "y": [0, 0.3], "dx": [0.1, 0.1], "dy": [0.1, 0.1]}, index=["none", "A"])
    culture = cultural_map.culture_map(np.random.default_rng(0).normal(50, 10, (8, 6)))
    axes = cultural_map.draw_map(cultural_map.Places(culture, countries, points, points)).axes[0]
    assert len(axes.patches) == 1
    assert "as A" in {text.get_text() for text in axes.texts}


def test_stacked_bars_fill_the_whole():
    table = pd.DataFrame({"country": [0.2], "format": [0.5], "rest": [0.3]}, index=["PDI"])
    axes = figures.stacked_bars(table).axes[0]
    assert sum(patch.get_width() for patch in axes.patches) == pytest.approx(1)


def test_slopes_need_one_name_per_line():
    wide = figures.slopes([0.1, 0.2], [0.3, 0.1], ["a", "b"], ("x", "y"), "score").axes[0]
    drawn = [line.get_ydata() for line in wide.lines if line.get_marker() == "o" and len(line.get_ydata())]
    assert len(drawn) == 2 and wide.get_ylim()[0] < 0 < 1 < wide.get_ylim()[1]
    near = figures.slopes([0.5, 0.51], [0.5, 0.49], ["a", "b"], ("x", "y"), "score").axes[0]
    assert 0.45 < near.get_ylim()[0] < 0.49 and "restricted" in near.get_ylabel()
    apart, close = (
        figures.slopes([0.1, 0.2], ends, ["a", "b"], ("x", "y"), "score").axes[0] for ends in ([0.3, 0.1], [0.3, 0.31])
    )
    assert [text.get_text() for text in apart.texts] == ["a", "b"] == [text.get_text() for text in close.texts]
    low, high = (text.xy[1] for text in close.texts)
    assert low == pytest.approx(0.3) and high - low > 0.04  # names that would overlap are moved apart
    with pytest.raises(InputError, match="1, 1 and 3"):
        figures.slopes([0.1], [0.2], NAMES, ("x", "y"), "score")


def test_a_wide_matrix_names_no_columns_and_a_narrow_one_writes_its_values():
    wide = pd.DataFrame(0.5, ["a", "b"], range(31))
    axes = figures.matrix(wide, "p", ends=(0, 1), xlabel="31 questions").axes[0]
    assert not axes.texts and not len(axes.get_xticks()) and axes.get_xlabel() == "31 questions"
    assert axes.collections[0].get_clim() == (0, 1)
    named = figures.matrix(wide.iloc[:, :30], "p").axes[0]
    assert not named.texts and len(named.get_xticks()) == 30
    assert len(figures.matrix(wide.iloc[:, : figures.MOST_WRITTEN], "p").axes[0].texts) == 2 * figures.MOST_WRITTEN
