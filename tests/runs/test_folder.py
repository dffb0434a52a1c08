from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from workbench.errors import InputError
from workbench.questions import Option, Origin, Question, Questions
from workbench.runs.display import ShownFigure
from workbench.runs.folder import RUN_FOLDER, CurrentRun, current_run, read_notes

FRAME = pd.DataFrame({"id": ["<b>", "y"], "n": [1, 1200], "x": [-0.5, float("nan")]})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CurrentRun:
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path))
    return current_run()


def line(values: list[float]) -> pyplot.Figure:
    figure, axes = pyplot.subplots()
    axes.plot(values)
    return figure


def test_a_table_is_kept_and_shown(run: CurrentRun, tmp_path: Path) -> None:
    shown = run.table("scores", FRAME, "What & why")._repr_html_()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "tables/scores.parquet"), FRAME)
    assert (tmp_path / "tables/scores.csv").read_text().splitlines()[0] == "id,n,x"
    assert "<figcaption>What &amp; why</figcaption>" in shown
    for cell in ("<td>&lt;b&gt;</td>", '<td class="num">1200</td>', '<td class="num">−0.500</td>', ">–</td>"):
        assert cell in shown
    assert read_notes(tmp_path)["tables"] == [{"name": "scores", "caption": "What & why", "rows": 2}]


def test_an_index_with_a_name_or_words_is_kept_a_row_number_is_not(run: CurrentRun, tmp_path: Path) -> None:
    run.table("named", FRAME.set_index("id"))
    run.table("sorted", FRAME.sort_values("x"))
    run.table("words", FRAME.describe())
    heads = {n: (tmp_path / f"tables/{n}.csv").read_text().splitlines()[0] for n in ("named", "sorted", "words")}
    assert heads == {"named": "id,n,x", "sorted": "id,n,x", "words": ",n,x"}


def test_a_figure_is_kept_as_the_same_svg_every_time_and_closed(run: CurrentRun, tmp_path: Path) -> None:
    shown = run.figure("line", line([1, 2]), 'A line "up" <b>')
    run.figure("again", line([1, 2]), 'A line "up" <b>')
    assert pyplot.get_fignums() == []
    first, second = ((tmp_path / f"figures/{n}.svg").read_bytes() for n in ("line", "again"))
    assert first == second
    root = ElementTree.fromstring(first)
    assert (root.get("role"), root.get("aria-label")) == ("img", 'A line "up" <b>')
    assert (tmp_path / "figures/line.png").read_bytes().startswith(b"\x89PNG")
    data, _ = shown._repr_mimebundle_()
    assert data["image/svg+xml"] in data["text/html"]
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


def test_a_headline_with_an_undefined_number(run: CurrentRun, tmp_path: Path) -> None:
    assert str(run.headline("Score", 0.5, 0.25, 0.75, 10)) == "Score: 0.500 [0.250, 0.750], n = 10"
    assert str(run.headline("Score", float("nan"))) == "Score: undefined"
    assert json.loads(json.dumps(read_notes(tmp_path)["headline"]))["value"] is None


def test_bad_names_second_names_and_missing_alt_text(run: CurrentRun) -> None:
    with pytest.raises(InputError, match="cannot name a file"):
        run.table("../up", FRAME)
    run.table("one", FRAME)
    with pytest.raises(InputError, match="already has 'one' in its tables"):
        run.table("one", FRAME)
    with pytest.raises(InputError, match="has no alt text"):
        run.figure("f", None, " ")


def test_outside_a_run_all_is_shown_and_nothing_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    run = current_run()
    assert run.folder is None
    assert "<table" in run.table("t", FRAME)._repr_html_()
    assert run.figure("f", line([1]), "A dot").svg.startswith('<svg role="img"')
    run.note(seed=1)
    run.headline("Score", 1.0)
    assert list(tmp_path.iterdir()) == []


def test_items_are_one_row_a_question_whatever_they_come_from(run: CurrentRun, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"case": ["a", "a", "b"], "pair": [1, 2, 1], "right": [True, False, True], "x": [1, np.nan, 3]}
    )
    kept = run.items(frame.assign(question=["A?", "A?", "B?"], cluster=[7, 7, 8]), ["right", "x"], "case").frame
    wanted = {
        "question_id": ["a", "b"],
        "cluster": [7, 8],
        "question": ["A?", "B?"],
        "right": [0.5, 1.0],
        "x": [1, 3.0],
    }
    assert kept.to_dict("list") == wanted and read_notes(tmp_path)["tables"][0]["name"] == "items"
    outside = CurrentRun(None)
    named = outside.items(frame.assign(benchmark="toy"), name=["case", "pair"]).frame
    assert list(named) == ["benchmark", "question_id", "right", "x"] and list(named["question_id"])[1] == "a · 2"
    indexed = pd.DataFrame({"y": [1.0]}, pd.Index(["p"], name="item"))
    assert list(outside.items(indexed, name="item").frame) == ["question_id", "y"]
    with pytest.raises(InputError, match=r"Unknown column 'rihgt'.*right"):
        outside.items(frame, ["rihgt"], "case")
    with pytest.raises(InputError, match="A metric of the items is no number"):
        outside.items(frame, ["case"], "pair")


def test_why_there_are_no_items_is_a_fact(run: CurrentRun, tmp_path: Path) -> None:
    run.no_items("it is one number")
    assert read_notes(tmp_path)["facts"]["no_items"] == "it is one number"
