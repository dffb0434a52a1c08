from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from chromium import Page, until
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from records import a_run
from toys import write_study

from workbench.reports.html import print_pdf, render
from workbench.runs import Run, execute, plan
from workbench.runs import execution as execution_module
from workbench.runs.record import Table
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


LONG = pd.DataFrame(
    {
        "judge": ["oracle"] * 30 + ["coin"] * 30,
        "note on the prompt": [f"a long text about prompt {number} that wraps" for number in range(60)],
        "mean": [number / 61 - 0.3 for number in range(60)],
        "low": [number / 61 - 0.4 for number in range(60)],
        "high": [number / 61 - 0.2 for number in range(60)],
        "n": 1200,
    }
)
SEEN = "[...document.querySelectorAll('#long-one tbody tr')].filter(row => row.checkVisibility())"


@pytest.fixture
def long_table(tmp_path: Path) -> str:
    """A report with a folded table, that `#long-one` opens."""
    shown = ShownTable(LONG, "Long", "tables/long_one.csv")._repr_html_()
    cell = new_code_cell("x", outputs=[new_output("display_data", data={"text/html": shown})])
    record = a_run(tables=[Table(name="long_one", caption="Long", rows=60)])
    (tmp_path / "report.html").write_text(render(record, new_notebook(cells=[cell])))
    return (tmp_path / "report.html").as_uri()


def test_a_long_table_is_folded_opened_by_its_link_and_searched(page: Page, long_table: str) -> None:
    page.open(long_table)
    assert page.run(f"{SEEN}.length") == 0
    page.open(f"{long_table}#long-one")
    assert page.run(f"{SEEN}.length") == 60
    assert page.run("getComputedStyle(document.querySelectorAll('#long-one tbody th')[1]).color") == "rgba(0, 0, 0, 0)"
    for words, rows, said in (("coin long", 30, "30 of 60 rows"), ("nothing", 0, "0 of 60 rows"), ("", 60, "")):
        page.run("search = document.querySelector('#long-one input')")
        page.run(f"search.value = {words!r}; search.dispatchEvent(new Event('input'))")
        assert page.run(f"{SEEN}.length") == rows and page.run("search.nextSibling.value") == said
        if words == "coin long":  # without its group's first row, a row names its group itself
            assert page.run(f"getComputedStyle({SEEN}[1].cells[0]).color") == page.run(
                "getComputedStyle(document.body).color"
            )
    page.run("document.querySelectorAll('#long-one th button')[2].click()")
    page.run("document.querySelectorAll('#long-one th button')[2].click()")
    assert page.run(f"{SEEN}[0].cells[2].textContent").startswith("0.67") and page.complaints == []


def test_a_link_opens_all_that_folds_its_target(page: Page, long_table: str) -> None:
    page.open(long_table)
    page.run("outer = document.createElement('details'), table = document.getElementById('long-one')")
    page.run("table.before(outer); outer.append(table); location.hash = '#long-one'")
    until(lambda: page.run("outer.open && table.open"))
    assert page.run(f"{SEEN}.length") == 60


def test_the_head_of_a_long_table_stays_and_a_phone_scrolls_it_in_its_box(page: Page, long_table: str) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    try:
        page.open(f"{long_table}#long-one")
        page.run("box = document.querySelector('#long-one .scroll'); box.scrollTo(200, 600)")
        at = "document.querySelector('#long-one {}').getBoundingClientRect().{} - box.getBoundingClientRect().{}"
        assert abs(page.run(at.format("thead th", "top", "top"))) <= 1
        assert abs(page.run(at.format("tbody th", "left", "left"))) <= 1
        assert page.run("box.scrollLeft") > 100 and page.run("document.body.scrollWidth") <= 390
        assert page.run("getComputedStyle(document.querySelector('#long-one td.num')).textAlign") == "right"
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")


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


def test_long_formulas_and_code_stay_within_a_phone(page: Page, tmp_path: Path) -> None:
    sums, word = " + ".join(rf"\frac{{p_{{{n}}}}}{{q_{{{n}}}}}" for n in range(40)), "a_long_name" * 20
    texts = ["# Title", f"Inline ${sums}$ here.", f"$$ {sums} $$", f"`{word}`", f"- in a list ${sums}$"]
    cells = [*map(new_markdown_cell, texts), new_code_cell(f"x = '{word}'")]
    (tmp_path / "report.html").write_text(render(a_run(), new_notebook(cells=cells)), encoding="utf-8")
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    try:
        page.open((tmp_path / "report.html").as_uri())
        assert page.run("document.querySelectorAll('math').length") == 3
        page.run("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.run("document.documentElement.scrollWidth") == 390
        rights = "[...document.querySelectorAll('math, code, pre')].map(each => each.getBoundingClientRect().right)"
        assert max(page.run(rights)) <= 390
        hidden = "[...document.querySelectorAll('math')].filter(each => each.scrollWidth > each.clientWidth).length"
        assert page.run(hidden) == 3, "a long formula scrolls in a box of its own"
    finally:
        page.call("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize(("columns", "across"), [(4, {False}), (12, {True, False})])
def test_it_is_printed_as_pdf_with_wide_tables_across_the_page(tmp_path: Path, columns: int, across: set[bool]) -> None:
    wide = pd.DataFrame({f"column {number}": [number, 2.5] for number in range(columns)})
    outputs = [new_output("display_data", data={"text/html": ShownTable(wide)._repr_html_()})]
    cells = [new_markdown_cell("# Title"), new_code_cell("x", outputs=outputs)]
    (tmp_path / "report.html").write_text(render(a_run(), new_notebook(cells=cells)), encoding="utf-8")
    content = print_pdf(tmp_path / "report.html").read_bytes()
    assert content.startswith(b"%PDF") and len(content) > 10_000
    pages = [list(map(float, box.split())) for box in re.findall(rb"/MediaBox \[([\d. ]+)\]", content)]
    assert {width > height for _, _, width, height in pages} == across


def test_without_a_browser_a_pdf_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.errors import InputError

    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="A PDF needs Chromium or Chrome"):
        print_pdf(Path("report.html"))
