from __future__ import annotations

import html
import json
import random
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from records import a_finding, a_run, write_runs

from workbench.reports import write_gallery
from workbench.reports.html import policy, script
from workbench.runs.record import digest_of


def test_runs_stand_by_study_the_newest_first_and_failures_last_with_text_escaped(tmp_path: Path) -> None:
    write_runs(tmp_path, 12)
    page = write_gallery(tmp_path).read_text(encoding="utf-8")
    cards = re.findall(r'<article data-study="(\w+)" [^>]*data-status="(\w+)"', page)
    assert cards == [("hallucination", "ok")] * 8 + [("judges", "ok")] * 3 + [("judges", "died")]
    assert "Cell 3: DeadKernelError: Kernel died" in page and "1 run did not complete" in page
    assert page.index("seed=11,") < page.index("seed=2,")
    assert "x=&lt;b&gt;é" in page and "<b>é" not in page
    assert policy(script("gallery"), "'self' file: data:").replace("'", "&#39;") in page


def test_a_study_begins_with_its_first_notebook(tmp_path: Path) -> None:
    for number, notebook in enumerate(("calibration", "steering", "calibration", "steering")):
        run = a_run(study="hallucination", notebook=notebook, run_id=f"2026010{number + 1}T000000.000Z-k")
        folder = tmp_path / run.name / run.run_id
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(run.sealed(), encoding="utf-8")
    page = write_gallery(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r"hallucination/(\w+)/2026010(\d)[^\"]*/report.html", page)[:1] == [("calibration", "3")]


def test_a_card_shows_title_question_the_first_finding_and_a_picture_of_all(
    tmp_path: Path,
) -> None:
    first = a_finding("cannot tell", claim="It is <right>", quantity="<accuracy>", reason="only 4 units")
    long = a_finding("holds", quantity="mean absolute shift of an item on a scale of 0 to 1")
    write_runs(tmp_path, 1, findings=[first, a_finding("does not hold", low=None, high=None), long])
    page = write_gallery(tmp_path).read_text(encoding="utf-8")
    assert ">A title of some length</a></h3>" in page and '<p class="question">Is the model as right' in page
    assert '<p class="open">It is &lt;right&gt;. <b class="verdict">cannot tell</b></p>' in page
    assert "&lt;accuracy&gt; <b>0.36</b> [0.29, 0.44] against 0.25 (chance), n = 60 (48 independent)</p>" in page
    assert 'aria-label="3 findings: 1 holds, 1 does not hold, 1 cannot tell"' in page
    rows = json.loads(html.unescape(re.search(r'data-rows="([^"]*)"', page)[1]))
    assert rows[:2] == [["open", "<accuracy>", 0.21, 1.0, 0.58], ["fails", "Accuracy"]]
    assert rows[2][1] == "Mean absolute shift of an\nitem on a scale of 0 to 1"
    assert "<img" not in page and "−0.1" not in page  # neither a figure that is too small nor a second number


def test_a_run_without_findings_shows_its_number_and_figure(tmp_path: Path) -> None:
    write_runs(tmp_path, 1, findings=[])
    page = write_gallery(tmp_path).read_text(encoding="utf-8")
    assert "<b>−0.10</b> [−0.20, 0.10] <em>DCS, n = 40</em>" in page
    assert 'src="judges/bias/20260101T120000.000Z-00000000/figures/key.svg" alt="A &lt;key&gt; figure"' in page


def test_runs_that_a_later_success_replaces_are_folded(tmp_path: Path) -> None:
    write_runs(tmp_path, 34, parameters_given={"seed": 1})
    page = write_gallery(tmp_path).read_text(encoding="utf-8")
    parts = re.findall(r"(<details>|data-status=\"\w+\")", page)
    assert parts[:2] == ['data-status="ok"', "<details>"]  # of 22 runs of `hallucination/calibration`
    assert parts[-13:-10] == [
        'data-status="ok"',
        'data-status="died"',
        "<details>",
    ]  # `judges/bias`
    assert "21 earlier runs" in page and "10 earlier runs" in page


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    write_runs(tmp_path / "one", 20)
    first = write_gallery(tmp_path / "one").read_bytes()
    assert write_gallery(tmp_path / "one").read_bytes() == first
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two/index.html").unlink()
    assert write_gallery(tmp_path / "two").read_bytes() == first


def test_a_thousand_runs_are_light(tmp_path: Path) -> None:
    write_runs(tmp_path, 1000)
    start = time.process_time()
    page = write_gallery(tmp_path)
    assert time.process_time() - start < 5
    assert page.stat().st_size < 1_500_000


def test_folders_that_cannot_be_read_are_listed_with_the_reason(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, 4, figures=False, status="ok", failure=None)
    files = [tmp_path / run.study / run.notebook / run.run_id / "run.json" for run in runs]
    content = json.loads(files[0].read_text())
    files[0].write_text("{")
    files[1].write_text(json.dumps(content | {"schema_version": 99}))
    files[2].write_text(json.dumps(content | {"status": "failed"}))
    page = write_gallery(tmp_path).read_text(encoding="utf-8")
    assert page.count('data-status="unreadable"') == 3 and page.count('data-status="ok"') == 1
    for said in ("run.json is damaged: ", "this workbench reads up to 1; update it", "edited after the run"):
        assert said in page


ODD: list[Any] = [None, 5, float("nan"), True, "<script>", "\u202e\ud800", [], {}, [[1]], {"a": 1}]
ODD += [[{"name": "../../x", "alt": "a"}], {"text": 1, "value": "x", "n": {}}, {"model": {"model": []}}]


def test_fields_of_another_type_take_no_other_run_out_of_the_gallery(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, 60, figures=False)
    for number, run in enumerate(runs[1:]):
        file = tmp_path / run.study / run.notebook / run.run_id / "run.json"
        content = json.loads(file.read_text())
        draw = random.Random(number)
        content |= {name: draw.choice(ODD) for name in draw.sample(sorted(content), 1 + number % 3)}
        content.pop("digest")
        with suppress(ValueError):  # a digest covers text that UTF-8 has
            content["digest"] = digest_of(content)
        file.write_text(json.dumps(content))
    page = write_gallery(tmp_path).read_text(encoding="utf-8")
    assert page.count("<article") == 60 and page.count("<script>") == 1 and "../" not in page
    assert page.count('data-status="unreadable"') == len(re.findall(r'<p class="problem">[^<]*\S+/\S+/\S+ ', page)) > 20


def test_no_runs_is_a_page_too(tmp_path: Path) -> None:
    assert "No runs yet." in write_gallery(tmp_path / "none").read_text()
