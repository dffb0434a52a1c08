"""What a reader sees before the first section of a report, and what a screen reader is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from chromium import Page
from matplotlib import pyplot
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from records import a_finding, a_run, write_runs

from workbench.reports import write_gallery, write_report
from workbench.runs.folder import draw
from workbench.runs.record import Counts, Figure, Table
from workbench.tables import ShownTable

LONG = "A claim of many words about questions with_a_long_name_that_no_line_can_break_anywhere_not_even_here "
FINDINGS = [
    a_finding(claim=LONG * 2, quantity="a quantity that takes a good many words to name, and then some more words"),
    a_finding("cannot tell", estimate=0.28, low=0.21, high=0.35, reason="the interval contains 0.25 (chance)"),
    a_finding("does not hold", estimate=-18.34, low=-20.0, high=-16.67, baseline=0.0, baseline_name="no change"),
    a_finding("cannot tell", estimate=None, low=None, high=None, reason="the estimate is undefined"),
] * 2
ABOVE = """(() => {
  const limit = document.querySelector("main h2").getBoundingClientRect().top;
  const within = (e) => { const r = e.getBoundingClientRect();
    return r.width > 0 && r.height > 0 && r.left >= 0 && r.right <= innerWidth && r.bottom <= limit };
  return [...document.querySelectorAll(".findings li")].map((item) =>
    [".claim", ".numbers b", ".interval", ".n", ".against", ".verdict"].map((name) => {
      const part = item.querySelector(name);
      return within(part) || name === ".interval" && !part.textContent ? part.textContent.trim() : "not seen: " + name;
    }));
})()"""
FIGURE = "document.querySelector('.leading svg').getBoundingClientRect()"
HEADINGS = "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => Number(h.tagName[1]))"
UNNAMED = """[...document.querySelectorAll("img, svg")].filter((e) => !e.closest("[aria-hidden]")
  && !e.getAttribute("alt") && !e.getAttribute("aria-label")).length"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    figure, axes = pyplot.subplots(figsize=(7.5, 3))
    axes.plot([1, 2])
    drawn = draw(figure, "A line")
    pyplot.close(figure)
    (folder / "figures").mkdir()
    (folder / "figures/line.svg").write_text(drawn.svg)
    run = a_run(
        findings=FINDINGS,
        facts={"model": {"model": "a/model-of-some-name"}, "questions": [{"name": "one", "n": 60}]},
        figures=[Figure(name="line", alt="A line")],
        tables=[Table(name="wide", rows=2)],
        counts=Counts(computed=60, cached=0, tokens=1234),
    )
    table = ShownTable(pd.DataFrame({f"a column of a long name {n}": [0.5, "text"] for n in range(12)}), "Wide")
    outputs = [new_output("display_data", data={"text/html": table._repr_html_()})]
    data, metadata = drawn._repr_mimebundle_()
    outputs.append(new_output("display_data", data=data, metadata=metadata))
    first = new_markdown_cell("# A title\n\n*What is found here?*\n\nText.\n\n## First section\n\n### Part")
    cells = [first, new_code_cell("1", outputs=outputs), new_markdown_cell("## Last section")]
    nbformat.write(new_notebook(cells=cells), folder / "notebook.ipynb")
    (folder / "run.json").write_text(run.sealed(), encoding="utf-8")
    return write_report(folder)


@contextmanager
def as_wide_as(page: Page, width: int) -> Iterator[None]:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    page.call("Emulation.setScrollbarsHidden", hidden=True)
    try:
        yield
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("width", [390, 1280])
def test_every_finding_and_the_leading_figure_stand_above_the_first_section(
    page: Page, report: Path, width: int
) -> None:
    with as_wide_as(page, width):
        page.open(report.as_uri())
        seen = page.run(ABOVE)
        assert [parts[5] for parts in seen] == [each.verdict for each in FINDINGS]
        for parts, each in zip(seen, FINDINGS):
            assert parts[0].startswith(each.claim.strip()) and parts[1:3] == [*each.numbers]
            assert each.counted in parts[3] and parts[4] == f"against {each.against}"
        figure = page.run(f"(() => {{ const r = {FIGURE}; return [r.width, r.bottom]; }})()")
        assert figure[0] > 300 and figure[1] < page.run("document.querySelector('main h2').getBoundingClientRect().top")
        assert page.run("document.documentElement.scrollWidth") == width
        assert page.run("document.querySelector('header').textContent").count("What is found here?") == 1
        assert page.complaints == []


def test_a_screen_reader_is_given_headings_in_order_names_of_pictures_and_headers_of_tables(
    page: Page, report: Path, tmp_path: Path
) -> None:
    write_runs(tmp_path, 12)
    for address in (report.as_uri(), write_gallery(tmp_path).as_uri()):
        page.open(address)
        levels = page.run(HEADINGS)
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert page.run(UNNAMED) == 0
        assert page.run("[...document.querySelectorAll('table')].every(t => t.tHead && t.tHead.querySelector('th'))")
        ids = page.run("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("width", [390, 1280])
def test_pictures_on_cards_are_legible(page: Page, tmp_path: Path, width: int) -> None:
    write_runs(tmp_path, 6, findings=FINDINGS)
    with as_wide_as(page, width):
        page.open(write_gallery(tmp_path).as_uri())
        heights = page.run("[...document.querySelectorAll('.forest text')].map(t => t.getBoundingClientRect().height)")
        assert len(heights) >= 2 * 5 and min(heights) > 11  # of the cards that are seen
        assert page.run("document.querySelectorAll('.forest .holds path').length") >= 2
        assert page.run("document.documentElement.scrollWidth") == width
