from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from chromium import Page
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from toys import write_study

from workbench.reports.html import print_pdf
from workbench.runs import Run, execute, plan
from workbench.runs import execution as execution_module
from workbench.tables import ShownTable

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<svg onload=window.hacked=1><a href='javascript:window.hacked=1'>x</a></svg>",
    "[click](javascript:window.hacked=1) ![](https://example.invalid/a.png)",
    "</script></style></title><script>window.hacked = 1</script>",
    "\x1b[31mred\x1b[0m \x07 \u202e bidi",
    '"><iframe src="https://example.invalid"></iframe>',
    "{{ 7 * 7 }} $x$ &lt;b&gt;",
]
NUMBERS = pd.DataFrame({"word": ["b", "a", "c"], "x": [10.0, -2.5, float("nan")], "n": [3, 20, 100]})
ORDER = "[...document.querySelectorAll('main table')[0].tBodies[0].rows].map(row => row.cells[0].textContent).join('')"


def notebook() -> nbformat.NotebookNode:
    frame = pd.DataFrame({"question": HOSTILE})
    outputs = [new_output("display_data", data={"text/html": ShownTable(t)._repr_html_()}) for t in (NUMBERS, frame)]
    outputs += [new_output("display_data", data={"text/html": text, "text/plain": text}) for text in HOSTILE]
    outputs += [new_output("display_data", data={"text/plain": text}) for text in HOSTILE]
    outputs += [new_output("display_data", data={"text/markdown": text}) for text in HOSTILE]
    outputs += [new_output("stream", name="stdout", text=text) for text in HOSTILE]
    cells = [new_markdown_cell(f"# Title {HOSTILE[0]}"), new_markdown_cell("## One\n\n" + "\n\n".join(HOSTILE))]
    cells += [new_markdown_cell("## Two"), new_code_cell(f"x = {HOSTILE[0]!r}", outputs=outputs)]
    return new_notebook(cells=cells)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Run:
    """A run whose every text is hostile."""
    write_study(tmp_path, {"fine": ["# A title"]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        execution_module,
        "_papermill",
        lambda planned, staging, *_: nbformat.write(notebook(), staging / "notebook.ipynb"),
    )
    return execute(plan("toy", given={"name": HOSTILE[0]})[0])


def address(run: Run) -> str:
    assert run.folder is not None
    return (run.folder / "report.html").as_uri()


def test_it_fetches_nothing_runs_nothing_strange_and_complains_of_nothing(page: Page, run: Run) -> None:
    page.open(address(run))
    assert page.requests == [address(run)]
    assert page.complaints == []
    assert page.run("window.hacked === undefined")
    text = page.run("document.body.innerText")
    assert HOSTILE[0] in text and HOSTILE[1] in text and "{{ 7 * 7 }}" in text
    assert page.run("document.querySelectorAll('[onerror], [onload], iframe, a[href^=javascript]').length") == 0
    assert page.run("document.title").startswith("Title <script>")


def test_a_page_that_does_fetch_and_run_would_be_noticed(page: Page, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<img src='missing.png'><script>window.hacked = 1; throw Error('x')</script>")
    page.open((tmp_path / "bad.html").as_uri())
    assert len(page.requests) == 2 and page.complaints and page.run("window.hacked") == 1


def test_tables_sort_by_a_click_and_back(page: Page, run: Run) -> None:
    page.open(address(run))
    orders = []
    for column in (0, 0, 0, 1, 1, 2):
        page.run(f"document.querySelectorAll('main table')[0].querySelectorAll('th button')[{column}].click()")
        orders.append(page.run(ORDER))
    assert orders == ["abc", "cba", "bac", "abc", "bac", "bac"]  # undefined numbers stay last
    assert page.run("document.querySelector('[aria-sort]').textContent") == "n"
    assert page.complaints == []


def test_light_dark_and_print(page: Page, run: Run) -> None:
    page.open(address(run))
    colours = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.call("Emulation.setEmulatedMedia", features=features)
        colours[scheme] = page.run("getComputedStyle(document.body).backgroundColor")
    page.call("Emulation.setEmulatedMedia", media="print", features=[])
    assert page.run("getComputedStyle(document.querySelector('.source')).display") == "none"
    page.call("Emulation.setEmulatedMedia", media="", features=[])
    assert colours == {"light": "rgb(253, 252, 250)", "dark": "rgb(22, 23, 26)"}


@pytest.mark.parametrize("width", [360, 800, 1000, 1200, 1600, 2400])
def test_a_wide_table_takes_the_margin_and_the_page_never_scrolls_sideways(page: Page, run: Run, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    try:
        page.open(address(run))
        right = "document.querySelector({}).getBoundingClientRect().right"
        table, text = (page.run(right.format(repr(name))) for name in (".scroll", "header"))
        whole = page.run("document.body.scrollWidth")
        assert whole <= width and table <= width
        assert table > text + 50 if width >= 1000 else table == pytest.approx(text, abs=50)
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")


def test_it_is_printed_as_pdf(run: Run) -> None:
    assert run.folder is not None
    content = print_pdf(run.folder / "report.html").read_bytes()
    assert content.startswith(b"%PDF") and len(content) > 10_000


def test_without_a_browser_a_pdf_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.errors import InputError

    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="A PDF needs Chromium or Chrome"):
        print_pdf(Path("report.html"))
