"""Names of data sets in figures, tables and sentences."""

import pandas as pd
import pytest

from workbench import drawing, tables
from workbench.called import called, called_in, names, setting
from workbench.datasets.sources import registry
from workbench.reports.html import _items


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("piqa", "PIQA"),
        ("hub:arc_easy", "ARC-Easy"),
        ("bbq_lite (Age)", "BBQ Lite (Age)"),
        ("mmlu:biology", "MMLU:biology"),
        ("piqa_tuned", "piqa_tuned"),
        ("my items", "my items"),
        ("piqa is hard", "piqa is hard"),
    ],
)
def test_the_code_of_a_data_set_is_called_by_its_name(text: str, name: str) -> None:
    assert called(text) == name


def test_sentences_name_data_sets() -> None:
    assert called_in("anes96: the letters rank people") == "ANES 1996: the letters rank people"
    assert called_in("harmony of openbookqa over its clusters") == "harmony of OpenBookQA over its clusters"


def test_names_are_those_of_sources_and_every_benchmark_has_one() -> None:
    codes = {source.name for source in registry()}
    assert names().keys() <= codes
    assert {source.name for source in registry() if source.kind == "questions"} <= names().keys()


def test_figures_tables_and_the_line_of_facts_show_the_name_and_files_keep_the_code() -> None:
    table = pd.DataFrame({"benchmark": ["piqa", "nq_human"], "mean": [0.5, 0.4], "low": [0.3, 0.2], "high": [0.7, 0.6]})
    shown = tables.ShownTable(table)._repr_html_()
    assert "PIQA" in shown and "NQ-open" in shown and "nq_human" not in shown
    assert "PIQA" in repr(tables.ShownTable(table.rename(columns={"benchmark": "group"})))  # of a comparison
    assert table["benchmark"].tolist() == ["piqa", "nq_human"]
    assert drawing.words("openbookqa") == "OpenBookQA" and drawing.words("my_items") == "my items"
    assert _items({"questions": [{"name": "piqa", "n": 20}]}) == "20 questions (PIQA)"


def test_settings_are_shown_in_words():
    frame = pd.DataFrame({"normalisation": ["none", "chars"], "x": [1.5, 2.0]})
    assert "log-probability per character" in repr(tables.ShownTable(frame, "Scores on nq_human: one row each"))
    assert "NQ-open (rated answers): one row" in repr(tables.ShownTable(frame, "Scores on nq_human: one row each"))
    assert setting("format", "likert5-letters-descending-text") == "5-point letters, descending, by text"
    assert setting("region", "MiddleEast") == "Middle East"
    assert setting("steering", "none") == "none"
