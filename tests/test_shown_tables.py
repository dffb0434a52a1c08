"""Tables as they are shown: no digit that the file does not have, no count lost, nothing that is not text."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.tables import BLANK, FIRST_ROWS, HEADERS, ShownTable, displayed, words

NUMBERS = st.floats(-1e6, 1e6) | st.floats(-2, 2) | st.floats(-1e-6, 1e-6) | st.integers(-3, 3).map(float)
FRAME = pd.DataFrame(
    {
        "benchmark": ["piqa", "piqa", "mmlu", "mmlu"],
        "metric": ["dcs", "p_abstain"] * 2,
        "mean": [0.1234, 0.5, -0.2, 1.0],
        "se": 0.1,
        "low": [0.0234, 0.41, -0.4, np.nan],
        "high": [0.2234, 0.59, 0.0, np.nan],
        "n": 1028,
        "n_clusters": [20, 21, 20, 21],
        "n_undefined": 0,
        "method": "t",
        "p_holm": [0.034, 0.0001, 1.0, np.nan],
        "note": ["", "", "", "no variation: no interval"],
    }
)


def shown(frame: pd.DataFrame, columns: str = "") -> dict[str, list[str]]:
    return {cells.header: [" ".join(text.split()) for text in cells.texts] for cells in displayed(frame, columns)[0]}


def is_rounded(text: str, number: float) -> bool:
    """Whether a text is the number, rounded to as many decimals or digits as the text has."""
    value = float(text.replace("−", "-").replace(",", ""))
    if "e" in text:
        return value == float(f"{number:.1e}")
    return abs(value - number) <= 0.5 * 10 ** -len(text.partition(".")[2]) * (1 + 1e-9)


def test_an_estimate_and_its_interval_are_one_cell_and_equal_counts_are_in_the_caption() -> None:
    assert displayed(FRAME)[1] == "n\u00a0=\u00a01,028 each"
    assert shown(FRAME) == {
        "benchmark": ["PIQA", "PIQA", "MMLU", "MMLU"],
        "metric": ["DCS", "p(abstain)", "DCS", "p(abstain)"],
        "mean [low,\u00a0high]": ["0.12 [0.02, 0.22]", "0.50 [0.41, 0.59]", "−0.20 [−0.40, 0.00]", "1.00"],
        "clusters": ["20", "21", "20", "21"],
        "p (Holm)": ["0.034", "<0.001", "1", BLANK],
        "note": ["", "", "", "no variation: no interval"],
    }


def test_a_column_is_spread_over_columns_for_display_only() -> None:
    assert shown(FRAME, "metric") == {
        "benchmark": ["PIQA", "MMLU"],
        "DCS": ["0.12 [0.02, 0.22]", "−0.20 [−0.40, 0.00]"],
        "p(abstain)": ["0.50 [0.41, 0.59], 21 clusters", "1.00, 21 clusters"],
        "clusters": ["20", "20"],
    }
    twice = FRAME.assign(benchmark="piqa")
    assert shown(twice, "metric") == shown(twice)


def test_a_header_can_be_given_and_a_column_hidden() -> None:
    named = FRAME.copy()
    named.attrs[HEADERS] = {"mean": "score", "n_clusters": "", "dcs": "correctness"}
    columns = shown(named)
    assert "score [low,\u00a0high]" in columns and "clusters" not in columns and columns["metric"][0] == "correctness"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *[("n_clusters", "clusters"), ("n_dropped", "dropped"), ("p_holm", "p (Holm)"), ("p_correct", "p(correct)")],
        *[("ece_equal_mass", "ECE equal mass"), ("n", "n"), ("p", "p"), ("chance alone", "chance alone")],
    ],
)
def test_names_in_words(name: str, said: str) -> None:
    assert words(name) == said


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBERS | st.just(math.nan), min_size=1, max_size=8))
def test_a_number_is_shown_as_its_rounding(numbers: list[float]) -> None:
    for text, number in zip(shown(pd.DataFrame({"y": numbers}))["y"], numbers):
        assert text == BLANK if math.isnan(number) else is_rounded(text, number)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS).map(sorted), min_size=1, max_size=6), st.lists(st.integers(0, 5)))
def test_ends_are_rounded_and_stay_in_order(rows: list[list[float]], holes: list[int]) -> None:
    low, mean, high = (np.array(part) for part in zip(*rows))
    for at in holes:
        low[at % len(low)] = np.nan
    for name, (first, second) in {"mean": ("low", "high"), "x": ("x_low", "x_high")}.items():
        (texts,) = shown(pd.DataFrame({name: mean, first: low, second: high})).values()
        for text, *numbers in zip(texts, mean, low, high):
            parts = re.findall(r"[^\s\[\],]+(?:,\d{3}[^\s\[\],]*)*", text)
            assert len(parts) == (1 if math.isnan(numbers[1]) else 3)
            assert all(map(is_rounded, parts, numbers))
            ends = [float(part.replace("−", "-").replace(",", "")) for part in parts[1:]]
            assert ends == sorted(ends)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(1, 3000)), min_size=1, max_size=9))
def test_no_count_is_lost(rows: list[tuple[str, str, int]]) -> None:
    frame = pd.DataFrame(rows, columns=["benchmark", "metric", "n"])
    frame = frame.assign(mean=0.5, low=0.4, high=0.6)[["benchmark", "metric", "mean", "low", "high", "n"]]
    for columns in ("", "metric"):
        cells, facts = displayed(frame, columns)
        said = " ".join([facts, *(text for each in cells for text in each.texts)]).replace(",", "")
        assert all(str(count) in re.findall(r"\d+", said) for count in frame["n"])


def test_long_tables_are_folded_and_cut_and_say_where_the_rest_is() -> None:
    for rows, said in ((15, "<figure id="), (16, "(16 rows)"), (9000, f"(the first {FIRST_ROWS} of 9,000 rows)")):
        frame = pd.DataFrame({"x": np.arange(rows) / 7, "y": "text"})
        page = ShownTable(frame, "A <b>", "tables/a_b.csv")._repr_html_()
        assert said in page and 'id="a-b"' in page and '<a href="tables/a_b.csv">CSV</a>' in page
        assert "A &lt;b&gt;" in page and page.count("<tr>") == min(rows, FIRST_ROWS if rows > 1250 else rows) + 1
        assert page.startswith("<details") == (rows > 15)


def test_a_group_is_named_in_its_first_row_and_a_long_text_is_cut_with_the_whole_in_its_title() -> None:
    long = "<i>" + "word " * 100
    frame = pd.DataFrame({"data": ["a", "a", "b"], "judge": ["x", "y", "x"], "text": [long, "–", "short"]})
    page = ShownTable(frame)._repr_html_()
    assert [re.sub("<[^>]*>", "", cell) for cell in re.findall("<th[^>]*transparent[^>]*>.*?</th>", page)] == ["a"]
    assert "…</td>" in page and f'title="&lt;i&gt;{long[3:]}"' in page and "<i>" not in page
