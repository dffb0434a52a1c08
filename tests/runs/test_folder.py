from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from nbformat.v4 import new_code_cell, new_notebook, new_output
from records import a_run

from workbench.errors import InputError
from workbench.figures import described
from workbench.questions import Option, Origin, Question, Questions
from workbench.reports.html import render
from workbench.runs.folder import (
    RUN_FOLDER,
    CurrentRun,
    ShownFigure,
    _for_spreadsheets,
    current_run,
    read_notes,
)
from workbench.statistics import finding

FRAME = pd.DataFrame({"id": ["<b>", "y"], "n": [1, 1200], "x": [-0.5, float("nan")]})


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a notebook is shown, in order."""
    seen: list[Any] = []
    monkeypatch.setattr("IPython.display.display", seen.append)
    return seen


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CurrentRun:
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path))
    return current_run()


def line(values: list[float]) -> pyplot.Figure:
    figure, axes = pyplot.subplots(figsize=(4, 3))
    axes.plot(values)
    axes.set(xlabel="steps", ylabel="loss in nats")
    return figure


def test_a_table_is_kept_and_shown(run: CurrentRun, shown: list[Any], tmp_path: Path) -> None:
    assert run.table("scores", FRAME, "What & why") is None
    page = shown.pop()._repr_html_()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "tables/scores.parquet"), FRAME)
    assert (tmp_path / "tables/scores.csv").read_text().splitlines()[0] == "id,n,x"
    assert (
        '<figure id="scores" style="margin: 0"><figcaption>What &amp; why <small><a href="tables/scores.csv">CSV</a>'
        in page
    )
    for cell in (">&lt;b&gt;</th>", '<td class="num">1,200</td>', '<td class="num">−0.5</td>', ">–</td>"):
        assert cell in page
    assert read_notes(tmp_path)["tables"] == [{"name": "scores", "caption": "What & why", "rows": 2}]


def test_an_index_with_a_name_or_words_is_kept_a_row_number_is_not(run: CurrentRun, tmp_path: Path) -> None:
    run.table("named", FRAME.set_index("id"))
    run.table("sorted", FRAME.sort_values("x"))
    run.table("words", FRAME.describe())
    heads = {n: (tmp_path / f"tables/{n}.csv").read_text().splitlines()[0] for n in ("named", "sorted", "words")}
    assert heads == {"named": "id,n,x", "sorted": "id,n,x", "words": ",n,x"}


FORMULAS = [
    "=1+1",
    "+SUM(A1)",
    "-2+3",
    "@x",
    "\t=1",
    "\r=1",
    "=",
    "＝1+1",
    "-1e",
    "+",
    "-x",
    "=HYPERLINK('a')",
    "-1\n=2",
]
NO_FORMULAS = ["-1", "+0.5", "-.5e-3", "'=1", " =1", "a=1", "", "−1", "1-1", '"=1"']


def test_texts_that_a_spreadsheet_would_run_are_guarded_in_csv_and_exact_in_parquet(
    run: CurrentRun, shown: list[Any], tmp_path: Path
) -> None:
    texts = [*FORMULAS, *NO_FORMULAS]
    frame = pd.DataFrame({"=name": texts, "n": -1.5, "mixed": [-1, None, True] + ["-a"] * (len(texts) - 3)})
    frame = frame.assign(kind=frame["=name"].astype("category"), index=-2, both=0).astype({"mixed": "string"})
    run.table("texts", frame.set_index(pd.Index(texts, name="@key")), "texts")
    kept = pd.read_csv(tmp_path / "tables/texts.csv", keep_default_na=False, dtype={"'=name": str}, lineterminator="\n")
    wanted = [f"'{text}" for text in FORMULAS] + NO_FORMULAS
    assert (
        [text.replace("\r\n", "\n") for text in kept["'=name"]] == wanted == list(kept["'@key"]) == list(kept["kind"])
    )
    assert list(kept["n"]) == [-1.5] * len(texts) and list(kept["mixed"][:4]) == ["-1", "", "True", "'-a"]
    exact = pd.read_parquet(tmp_path / "tables/texts.parquet")
    assert list(exact["=name"]) == texts == list(exact.index)
    unchanged = pd.DataFrame(
        {"a": ["x", None], "b": [1, None], "c": pd.to_datetime(["2026-01-01", None]), "d": [[1], {}]}
    )
    unchanged.columns = pd.MultiIndex.from_tuples([("a", "b"), ("a", "c"), ("b", "d"), ("b", "d")])
    assert _for_spreadsheets(unchanged).to_csv() == unchanged.to_csv()


def test_a_figure_is_kept_as_the_same_svg_every_time_and_closed(
    run: CurrentRun, shown: list[Any], tmp_path: Path
) -> None:
    run.figure("line", line([1, 2]), 'A line "up" <b>, no intervals')
    run.figure("again", described(line([1, 2]), 'A line "up" <b>, no intervals'))
    assert pyplot.get_fignums() == []
    first, second = ((tmp_path / f"figures/{n}.svg").read_bytes() for n in ("line", "again"))
    assert first == second
    root = ElementTree.fromstring(first)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'A line "up" <b>, no intervals')
    assert (tmp_path / "figures/line.png").read_bytes()[24:26] == b"\x08\x03"  # a palette: a third of the bytes
    data, _ = shown[0]._repr_mimebundle_()
    drawn = 'src="data:image/svg+xml;base64,' + b64encode(first).decode()
    assert drawn in data["text/html"] and 'alt="A line &quot;up&quot; &lt;b&gt;, no intervals"' in data["text/html"]
    assert data["image/png"] and "image/svg+xml" not in data  # stored once
    output = new_output("display_data", data=data)
    page = render(a_run(), new_notebook(cells=[new_code_cell("1", outputs=[output])]))
    assert "<svg" in page and "base64" not in page  # its text can be searched
    assert not re.search(r"\d{4}-\d\d-\d\dT", first.decode())


def test_a_huge_drawing_shows_as_pixels_with_its_alt_text() -> None:
    data, metadata = ShownFigure("<svg>" + "x" * 800_000, b"png", "Many dots")._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert metadata["image/png"]["alt"] == "Many dots"


def test_notes_take_numbers_models_and_questions(run: CurrentRun, tmp_path: Path) -> None:
    class Model:
        def facts(self) -> dict[str, object]:
            return {"fingerprint": "abc", "layers": np.int64(3)}

    questions = Questions([Question("q", (Option("a"),))], Origin("set", "v1", "MIT"), {"empty": 2})
    ordered = Questions(questions, questions.origin, {}, {"in order": 1})
    run.note(model=Model(), data={"set": questions, "ordered": ordered}, undefined=float("nan"), sizes=np.array([1, 2]))
    run.note(seed=1)
    run.note(seed=2)
    facts = read_notes(tmp_path)["facts"]
    assert facts["model"] == {"fingerprint": "abc", "layers": 3}
    assert facts["data"]["set"] == {"name": "set", "revision": "v1", "licence": "MIT", "n": 1, "dropped": {"empty": 2}}
    assert facts["data"]["ordered"]["noted"] == {"in order": 1}
    assert (facts["undefined"], facts["sizes"], facts["seed"]) == (None, [1, 2], 2)
    with pytest.raises(InputError, match="Cannot keep note: odd: a object"):
        run.note(odd=object())


def test_nothing_is_kept_of_what_has_no_rows_and_its_reason_is_shown(
    run: CurrentRun, shown: list[Any], tmp_path: Path
) -> None:
    none = FRAME.head(0)
    none.attrs["reason"] = "one model <only>"
    run.table("signs", none, "Pairs of models")
    run.table("other", FRAME.head(0))
    run.table("missing", None, "No table")
    run.figure("missing", None, "No figure")
    run.headline("No number", None)
    run.findings([None])
    assert [str(each) for each in shown] == [
        "Pairs of models: one model <only>",
        "no rows",
        "Findings tested on this run: no claim could be tested on this run",
    ]
    assert shown[0]._repr_html_() == "<p>Pairs of models: one model &lt;only&gt;</p>"
    assert list(tmp_path.iterdir()) == []


def test_findings_are_a_table_and_claims_that_were_not_tested_are_left_out(
    run: CurrentRun, shown: list[Any], tmp_path: Path
) -> None:
    row = {"mean": 0.7, "low": 0.6, "high": 0.8, "n": 30, "n_clusters": 10}
    words = {"quantity": "accuracy", "baseline_name": "chance"}
    right = finding("Right more often than wrong", "control", row, "above", 0.5, **words)
    run.findings([right, None, finding("Better", "a paper", row, "above", 0.65)])
    kept = pd.read_parquet(tmp_path / "tables/what_holds.parquet")
    assert kept["verdict"].tolist() == ["holds", "cannot tell"] and list(kept)[:3] == ["claim", "source", "verdict"]
    assert shown[0].caption == "Findings tested on this run"
    assert shown[0].frame.iloc[0].tolist() == [
        *(
            "Right more often than wrong",
            "holds",
            "accuracy",
            "0.70 [0.60, 0.80]",
            "0.5 (chance)",
            "30 (10)",
            "control",
        ),
    ]
    noted = read_notes(tmp_path)["findings"]
    assert [each["reason"] for each in noted] == ["", "the interval contains 0.65"] and noted[0]["units"] == 10
    assert noted[0].items() >= {**words, "estimate": 0.7, "baseline": 0.5, "expected": "above"}.items()


def test_a_figure_can_lead_the_report(run: CurrentRun, shown: list[Any], tmp_path: Path) -> None:
    run.figure("first", line([1]), "One")
    run.figure("second", line([1]), "Two", leading=True)
    figures = read_notes(tmp_path)["figures"]
    assert a_run(figures=figures).leading_figure.name == "second"
    assert a_run(figures=figures[:1]).leading_figure.name == "first" and a_run().leading_figure is None


def test_a_headline_with_an_undefined_number(run: CurrentRun, shown: list[Any], tmp_path: Path) -> None:
    run.headline("Score", {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 10})
    run.headline("Score", pd.Series({"mean": 0.5, "n": 10.0, "n_clusters": 4.0}), "n_clusters")
    run.headline("Score", {"mean": float("nan")})
    assert [*map(str, shown)] == ["Score: 0.50 [0.25, 0.75], n = 10", "Score: 0.50, n = 4", "Score: undefined"]
    assert json.loads(json.dumps(read_notes(tmp_path)["headline"]))["value"] is None


def test_bad_names_second_names_and_missing_alt_text(run: CurrentRun) -> None:
    with pytest.raises(InputError, match="cannot name a file"):
        run.table("../up", FRAME)
    run.table("one", FRAME)
    with pytest.raises(InputError, match="already has 'one' in its tables"):
        run.table("one", FRAME)
    with pytest.raises(InputError, match="has no alt text"):
        run.figure("f", line([1]), " ")
    pyplot.close("all")


def test_outside_a_run_all_is_shown_and_nothing_written(
    tmp_path: Path, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    run = current_run()
    assert run.folder is None
    run.table("t", FRAME)
    run.figure("f", line([1]), "A dot")
    run.note(seed=1)
    run.headline("Score", {"mean": 1.0})
    assert "<table" in shown[0]._repr_html_() and shown[1].svg.startswith('<svg role="img"') and len(shown) == 3
    assert list(tmp_path.iterdir()) == []


def test_items_are_one_row_a_question_whatever_they_come_from(
    run: CurrentRun, shown: list[Any], tmp_path: Path
) -> None:
    frame = pd.DataFrame(
        {"case": ["a", "a", "b"], "pair": [1, 2, 1], "right": [True, False, True], "x": [1, np.nan, 3]}
    )
    run.items(
        frame.assign(question=["A?", "A?", "B?"], cluster=[7, 7, 8]), ["right", "x"], "case", "accuracy", "higher"
    )
    assert read_notes(tmp_path)["facts"]["main_metric"] == {"name": "accuracy", "better": "higher"}
    kept = shown.pop().frame
    wanted = {
        "question_id": ["a", "b"],
        "cluster": [7, 8],
        "question": ["A?", "B?"],
        "right": [0.5, 1.0],
        "x": [1, 3.0],
    }
    assert kept.to_dict("list") == wanted and read_notes(tmp_path)["tables"][0]["name"] == "items"
    outside = CurrentRun(None)
    outside.items(frame.assign(benchmark="toy"), name=["case", "pair"])
    named = shown.pop().frame
    assert list(named) == ["benchmark", "question_id", "right", "x"] and list(named["question_id"])[1] == "a · 2"
    indexed = pd.DataFrame({"y": [1.0]}, pd.Index(["p"], name="item"))
    outside.items(indexed, name="item")
    assert list(shown.pop().frame) == ["question_id", "y"]
    with pytest.raises(InputError, match=r"Unknown column 'rihgt'.*right"):
        outside.items(frame, ["rihgt"], "case")
    with pytest.raises(InputError, match="A metric of the items is not numeric"):
        outside.items(frame, ["case"], "pair")


def test_why_there_are_no_items_is_a_fact(run: CurrentRun, tmp_path: Path) -> None:
    run.no_items("it is one number")
    assert read_notes(tmp_path)["facts"]["no_items"] == "it is one number"
