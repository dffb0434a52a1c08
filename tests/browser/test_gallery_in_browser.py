from __future__ import annotations

from pathlib import Path

from chromium import Page
from records import write_runs

from workbench.reports import write_gallery

SHOWN = "[...document.querySelectorAll('article')].filter(a => !a.hidden).map(a => a.querySelector('h3').textContent)"


def choose(page: Page, name: str, value: str) -> list[str]:
    """The notebooks shown once a control has this value and all others none."""
    page.run("document.forms[0].reset()")
    page.run(
        f"(() => {{ const control = document.forms[0].elements[{name!r}]; control.value = {value!r};"
        " control.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    return list(page.run(SHOWN))


def test_it_opens_from_disk_shows_failures_last_searches_and_filters(page: Page, tmp_path: Path) -> None:
    write_runs(tmp_path, 30, findings=[])
    page.open(write_gallery(tmp_path).as_uri())
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("file://", "data:"))] == []
    states = page.run("[...document.querySelectorAll('article')].map(a => a.dataset.status !== 'ok')")
    assert [states[:18], states[18:20]] == [[False] * 18, [True] * 2] and states[20:] == [False] * 9 + [True]
    assert page.run("document.querySelector('output').textContent") == "30 of 30 runs"
    page.run("document.querySelectorAll('img').forEach(img => img.loading = 'eager')")
    page.run("Promise.all([...document.images].map(img => img.decode()))")
    assert page.run("[...document.images].every(img => img.naturalWidth > 0)")
    assert choose(page, "study", "judges") == ["A title of some length"] * 10
    assert page.run("[...document.querySelectorAll('main section')].filter(part => !part.hidden).length") == 1
    assert len(choose(page, "model", "org/one")) == 15
    assert len(choose(page, "status", "died")) == 3
    assert len(choose(page, "search", "seed=7")) == 1
    assert choose(page, "search", "nothing has these words") == []
    assert len(choose(page, "from", "2026-01-20")) + len(choose(page, "to", "2026-01-19")) == 30
    assert page.complaints == []


def test_a_search_opens_the_runs_that_are_folded(page: Page, tmp_path: Path) -> None:
    write_runs(tmp_path, 12, parameters_given={"seed": 1})
    page.open(write_gallery(tmp_path).as_uri())
    visible = "[...document.querySelectorAll('article')].filter(a => a.checkVisibility()).length"
    assert page.run(visible) == 2
    assert len(choose(page, "study", "judges")) == 4 and page.run(visible) == 4


def test_ten_thousand_runs_still_work(page: Page, tmp_path: Path) -> None:
    write_runs(tmp_path, 10_000, figures=False)
    page.open(write_gallery(tmp_path).as_uri())
    assert page.run("document.querySelectorAll('article').length") == 10_000
    assert page.run("performance.now()") < 20_000
    start = "performance.now()"
    before = page.run(start)
    assert len(choose(page, "search", "seed=77 ")) >= 1
    assert page.run(start) - before < 3_000
