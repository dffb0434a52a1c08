from __future__ import annotations

import base64
import hashlib
import html
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from records import a_finding, a_run

from workbench.errors import InputError
from workbench.reports import write_report
from workbench.reports.html import duration, render, script, write_figure
from workbench.runs.record import Counts, Failure, Figure, Headline, Source

SCRIPT = "<script>alert(1)</script>"
SVG = "http://www.w3.org/2000/svg"
PIXEL = base64.b64encode(b"\x89PNG").decode()


class Page(HTMLParser):
    """Elements and attributes as a browser's parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.styles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.styles.extend(value or "" for name, value in attrs if name == "style")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.styles.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def shown(*outputs: nbformat.NotebookNode, **changes: Any) -> str:
    notebook = new_notebook(cells=[new_code_cell("1 < 2")])
    notebook.cells[0].outputs = list(outputs)  # as a kernel sent them, not validated
    return render(a_run(**changes), notebook)


def display(**data: str) -> nbformat.NotebookNode:
    return new_output(
        "display_data", data={name.replace("__", "/").replace("_xml", "+xml"): v for name, v in data.items()}
    )


def text(*markdown: str, **attachments: Any) -> str:
    cells = [new_markdown_cell(m) for m in markdown]
    if attachments:
        cells[0]["attachments"] = attachments
    return render(a_run(), new_notebook(cells=cells))


def assert_harmless(page: str) -> None:
    """Nothing is fetched and nothing can run."""
    parsed = Page(page)
    source = page.rpartition("<script>")[2].partition("</script>")[0]
    assert source == script("browse", "report") and parsed.named("script") == [{}]
    assert parsed.named("link") == parsed.named("iframe") == parsed.named("base") == []
    for tag, attributes in parsed.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert "javascript:" not in (value or "").lower(), (tag, name, value)
            if name in ("src", "srcset", "data", "poster", "action") or (name.endswith("href") and tag != "a"):
                assert re.match(r"data:image/|#", value or ""), (tag, name, value)
    assert len(parsed.named("style")) == 1
    assert not re.search(r"@import|url\((?!#)", "\n".join(parsed.styles))
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    allowed = f"style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    assert parsed.named("meta")[2]["content"] == f"default-src 'none'; {allowed}"


HOSTILE = f"""<b onclick="alert(1)">bold</b>{SCRIPT}<img src=x onerror=alert(1)><a href="javascript:alert(1)">a</a>
<img src="https://e.example/a.png"><style>@import url(https://e.example)</style><iframe src="//e.example"></iframe>
<p style="background: url(https://e.example); color: red">x</p><svg onload=alert(1)></svg><link href="//e.example">
<a href="data:text/html,<script>1</script>">b</a><form action="//e.example"><input></form><base href="//e.example">"""


@pytest.mark.parametrize(
    "output",
    [
        display(text__html=HOSTILE),
        display(text__markdown=HOSTILE + "[a](javascript:alert(1)) ![b](https://e.example/b.png)"),
        display(text__latex=rf"$\text{{{SCRIPT}}} \href{{javascript:alert(1)}}{{x}}$"),
        display(text__plain=HOSTILE),
        display(application__javascript="alert(1)", text__plain=SCRIPT),
        display(image__svg_xml=f'<svg xmlns="{SVG}" onload="alert(1)">{SCRIPT}'
                '<image href="https://e.example/a.png"/><a href="javascript:alert(1)"><text>t</text></a>'
                '<rect style="fill: url(https://e.example)"/><foreignObject><iframe src="//e"/></foreignObject></svg>'),
        display(image__svg_xml="<svg><g></svg>", text__plain=SCRIPT),
        display(image__png='"><script>alert(1)</script>'),
        new_output("stream", name="stdout", text=f"\x1b[31mred\x1b[0m {SCRIPT}"),
        new_output("error", ename=SCRIPT, evalue=SCRIPT, traceback=[f"\x1b[31m{SCRIPT}\x1b[0m"]),
        new_output("error", ename=SCRIPT, evalue=SCRIPT, traceback=[]),
    ],
)  # fmt: skip
def test_hostile_output_is_shown_harmless(output: nbformat.NotebookNode) -> None:
    page = shown(output)
    assert_harmless(page)
    assert "\x1b" not in page


def test_hostile_text_in_record_and_markdown_is_escaped() -> None:
    run = a_run(
        status="failed",
        failure=Failure(cell=1, name="E", message=SCRIPT, traceback=SCRIPT),
        parameters_given={SCRIPT: [SCRIPT]},
        facts={SCRIPT: {SCRIPT: {SCRIPT: SCRIPT}}},
        headline=Headline(text=SCRIPT, value=None),
    )
    cells = [
        new_markdown_cell(f"# Title {SCRIPT}\n\n## Head {SCRIPT}\n\n## Two\n\n{HOSTILE}\n\n```html\n{SCRIPT}\n```")
    ]
    page = render(run, new_notebook(cells=cells))
    assert_harmless(page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_the_first_screen_has_title_question_facts_findings_figure_and_cost(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/key_figure.svg").write_text(f'<svg xmlns="{SVG}"><text>drawn</text></svg>')
    run = a_run(
        seconds=75,
        headline=Headline(text="score", value=-0.5, low=-0.6, high=-0.4, n=9),
        facts={"model": {"model": "m"}, "questions": [{"name": name, "n": 30} for name in "abc"]},
        counts=Counts(computed=9, cached=1200, tokens=3456),
        peak_memory=2 * 10**9,
        figures=[Figure(name="other", alt="Other"), Figure(name="key_figure", alt="The key", leading=True)],
        findings=[
            a_finding(source="after arXiv 2510.04302", claim=f"It is {SCRIPT}"),
            a_finding("cannot tell", reason="the interval contains 0.25 (chance)", low=0.2, units=60),
            a_finding("does not hold", estimate=None, low=None, high=None),
        ],
    ).model_copy(update={"folder": tmp_path})
    cell = new_code_cell("1", outputs=[display(image__png=PIXEL)])
    cell.outputs[0].metadata = {"image/png": {"alt": "The key"}}
    first = new_markdown_cell("# The *title*\n\n*Is it `so`?*\n\nLead.")
    page = render(run, new_notebook(cells=[first, new_markdown_cell("## A\n\n## B"), cell]))
    assert_harmless(page)
    top, _, rest = page.partition("<main>")
    plain = " ".join(re.sub(r"<[^>]+>", " ", top.partition("<header>")[2]).split())
    assert "<h1>The <em>title</em></h1>" in top and page.count("<h1") == 1 and "<title>The title – toy</title>" in top
    assert '<p class="question">Is it <code>so</code>?</p>' in top and "Is it" not in rest
    assert "m 90 questions (3 data sets) 1 January 2026 complete 1 min 15 s" in plain
    assert "Accuracy 0.36 [0.29, 0.44] against 0.25 (chance) , n = 60 (48 independent)" in plain
    assert '<a href="https://arxiv.org/abs/2510.04302">arXiv 2510.04302</a>' in top
    assert "cannot tell Accuracy 0.36 [0.20, 0.44]" in plain and "Cannot tell: the interval contains 0.25" in plain
    assert "does not hold Accuracy undefined" in plain and top.count('<svg class="strip') == 2
    assert "Score: −0.50 [−0.60, −0.40], n = 9" in plain
    assert "drawn" in top and "The key" in plain and '<a href="#key-figure">in its section</a>' in top
    assert '<figure id="key-figure">' in rest and 'href="figures/key_figure.png"' in rest
    assert "3,456 tokens computed, 9 answers computed and 1,200 read from the store, 1 min 15 s on" in plain
    assert "2.0 GB peak memory" in plain and re.search(r"CPU threads? at [\d,]+ GFLOP/s, 2.0 GB", plain)
    for anchor, name in (("section-1", "A"), ("section-2", "B")):
        assert f'<a href="#{anchor}">{name}</a>' in top and f'<h2 id="{anchor}">{name}</h2>' in rest


def test_a_headline_that_repeats_a_finding_is_not_shown() -> None:
    headline = Headline(text="Accuracy over questions", value=0.36, low=0.29, high=0.44, n=60)
    assert "Accuracy over questions" in shown(headline=headline)
    assert "Accuracy over questions" not in shown(headline=headline, findings=[a_finding()])


def test_the_run_is_described_at_the_end_complete_and_folded(tmp_path: Path) -> None:
    given, source = (
        {"n": 3, "names": ["a b", "c"]},
        Source(notebook_sha256="0" * 64, workbench="0", commit="c0ffee" * 6),
    )
    run = a_run(
        study="judges", parameters_given=given, facts={"kept": "a fact"}, source=source, files={"changes.patch": "0"}
    )
    declared = new_code_cell("n: int = 300  # questions\nnames: list[str] = []\nname: str | None = None")
    declared.metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=[declared]), tmp_path / "notebook.ipynb")
    page = render(run.model_copy(update={"folder": tmp_path}), new_notebook(cells=[new_markdown_cell("## A")]))
    end = page.partition("</main>")[2]
    assert end.count("<details>") == 5 and "open" not in "".join(re.findall("<details[^>]*>", end))
    assert "Parameters (2 of 3 changed)" in end and "Model and data" in end and "a fact" in end
    words = " ".join(re.sub("<[^>]+>", " ", end).split())
    assert "n 3 (default 300) questions" in words
    again = html.unescape(end.partition("<pre>")[2].partition("</pre>")[0]).splitlines()
    assert again[0] == f"git checkout {'c0ffee' * 6}" and again[1].startswith("git apply changes.patch")
    command = shlex.split(again[2])
    assert command[:3] == ["workbench", "run", "judges"] and command[-3:] == ["n=3", "-p", 'names=["a b", "c"]']
    assert run.run_id in end.partition("How to cite")[2]


@pytest.mark.parametrize("nothing", [[], {}])
def test_nothing_is_said_to_be_none(nothing: Any) -> None:
    assert "<dt>sets</dt><dd><i>none</i></dd>" in "".join(shown(facts={"sets": nothing}).split("\n"))


def test_a_failure_has_a_banner_that_leads_to_its_cell() -> None:
    page = shown(status="died", failure=Failure(cell=1, name="DeadKernelError", message="Kernel died"))
    assert "The kernel died" in page
    assert '<a href="#cell-1">Cell 1</a>: DeadKernelError: Kernel died' in page
    assert 'id="cell-1"' in page


def test_cells_that_never_ran_are_marked() -> None:
    cells = [new_code_cell("1", metadata={"papermill": {"status": s}}) for s in ("completed", "failed", "pending")]
    page = render(a_run(), new_notebook(cells=cells))
    assert page.count("did not run") == 1 and page.count("stopped here") == 1


def test_code_is_folded_and_escaped() -> None:
    page = shown()
    assert '<details class="source"><summary>Code' in page
    assert "open" not in Page(page).named("details")[-1]
    assert "&lt;" in page


def test_formulas_become_mathml_and_broken_ones_code() -> None:
    page = text("$p_c^2$ and $a < b$\n\n$$\\frac{1}{2}$$\n\n\\begin{align}x &= 1\\end{align}\n\n$\\frac{$ costs \\$5")
    assert page.count("<math") >= 4
    assert "<mfrac>" in page and 'display="block"' in page and "<msubsup>" in page
    assert "$$" not in page and "costs $5" in page
    assert_harmless(page)


def test_a_figure_is_inline_svg_with_alt_text_and_ids_of_its_own() -> None:
    svg = (
        '<?xml version="1.0"?>'
        f'<svg xmlns="{SVG}" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        'aria-label="A &lt;line&gt;" viewBox="0 0 1 1"><defs><clipPath id="c"><rect/></clipPath><path id="m"/></defs>'
        '<g id="axes_1" clip-path="url(#c)"><use xlink:href="#m"/></g></svg>'
    )
    page = shown(display(image__svg_xml=svg, text__html="<p>not this</p>"), display(image__svg_xml=svg))
    drawings = Page(page).named("svg")
    assert [(d["role"], d["aria-label"]) for d in drawings] == [("img", "A <line>")] * 2
    assert {u["href"] for u in Page(page).named("use")} == {"#d1-m", "#d2-m"}
    assert 'clip-path="url(#d1-c)"' in page and 'id="d1-c"' in page
    assert "axes_1" not in page and "not this" not in page and "viewBox" in page


def test_pixels_keep_their_alt_text() -> None:
    output = display(image__png=PIXEL)
    output.metadata = {"image/png": {"alt": 'Many "dots"'}}
    assert Page(shown(output)).named("img") == [{"src": f"data:image/png;base64,{PIXEL}", "alt": 'Many "dots"'}]


def test_tables_scroll_and_numbers_stand_right() -> None:
    page = shown(display(text__html="<style>x</style><table><tr><th>a</th><td>−0.5</td><td>b</td></tr></table>"))
    assert '<div class="scroll" tabindex="0"><table>' in page
    assert '<td class="num">−0.5</td><td>b</td>' in page
    assert '<div class="scroll" tabindex="0"><table>' in text("| a |\n|---|\n| 1 |")


def test_attached_pictures_are_embedded_and_others_named() -> None:
    page = text("![dots](attachment:a.png) ![far](https://x.example/a.png)", **{"a.png": {"image/png": PIXEL}})
    assert Page(page).named("img") == [{"src": f"data:image/png;base64,{PIXEL}", "alt": "dots"}]
    assert "<em>[far]</em>" in page


def test_light_and_dark_and_print_are_styled() -> None:
    page = shown()
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    assert len(page) < 60_000


def test_it_is_written_beside_the_record(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(a_run().sealed(), encoding="utf-8")
    with pytest.raises(InputError, match="There is no notebook"):
        write_report(tmp_path)
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Ü")]), tmp_path / "notebook.ipynb")
    assert "<h1>Ü</h1>" in write_report(tmp_path).read_text(encoding="utf-8")
    assert {p.name for p in tmp_path.iterdir()} == {"run.json", "notebook.ipynb", "report.html"}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.26, "0.3 s"), (41.4, "41 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_styled_table_keeps_its_look_and_its_styles_stay_in_their_cell() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["<x>", "y"]})
    styled = frame.style.set_table_styles([{"selector": "th.col_heading", "props": "color: navy; position: fixed"}])
    pages = [shown(display(text__html=styled.bar(subset=["a"]).highlight_max(color="gold").to_html()))] * 2
    parsed = Page(pages[0])
    rules = parsed.styles[-1]
    assert "color: navy" in rules and "background-color: gold" in rules and "linear-gradient(90deg" in rules
    assert "fixed" not in rules and all(line.startswith("#d1- ") for line in rules.splitlines())
    named = {found[1] for found in re.finditer(r"#(d1-T_\w+row\w+)", rules)}
    assert named and named == {cell["id"] for cell in parsed.named("td") if "id" in cell}
    assert {cell["class"] for cell in parsed.named("th") if "class" in cell} == {"d1-col_heading"}


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ([new_output("stream", name="stdout", text="START" + "x" * 5_000_000 + "END")], ["START", "END</pre>"]),
        ([new_output("stream", name="stdout", text=f"line {i}\n" * 3_000) for i in range(40)], ["line 0"]),
        ([display(text__plain=f"output {i}") for i in range(500)], ["output 0", "output 499"]),
        ([display(text__html="<p>START</p>" * 200_000, text__plain="as text")], ["as text"]),
        ([display(image__png="AAAA" * 13_000_000, text__plain="as text")], ["as text"]),
        ([display(text__markdown="*a* " * 100_000, text__plain="as text")], ["as text"]),
        (
            [
                new_output("stream", name="stderr", text="x" * 200_000),
                new_output("error", ename="E", evalue="why", traceback=["T" * 200_000, "E: why"]),
            ],
            ["TTT", "E: why"],
        ),
    ],
)  # fmt: skip
def test_much_output_is_cut_with_a_link_to_all_of_it(outputs: list[nbformat.NotebookNode], said: list[str]) -> None:
    page = shown(*outputs)
    assert len(page) < 300_000 and all(text in page for text in said)
    assert page.count('<a href="notebook.ipynb">notebook.ipynb</a> has all of it.') == 1
    assert "has all of it" not in shown(new_output("stream", name="stdout", text="x" * 90_000))


@pytest.mark.parametrize("value", [5, None, [], ["a", 1], {"a": 1}, True, "\ud800", "\x00", [["<b>"]]])
def test_an_output_of_any_type_is_no_obstacle(value: Any) -> None:
    kinds = ["text/html", "image/svg+xml", "image/png", "text/markdown", "text/latex", "text/plain"]
    outputs = [
        {"output_type": "display_data", "data": {kind: value}, "metadata": metadata}
        for kind in kinds
        for metadata in ({}, {kind: value}, {kind: {"alt": value}})
    ]
    outputs += [{"output_type": kind} for kind in ("display_data", "stream", "error", "x")]
    outputs += [{"output_type": "stream", "name": value, "text": value}, {"output_type": "display_data", "data": value}]
    page = shown(*map(nbformat.from_dict, outputs), display(text__plain="the next"))
    assert_harmless(page)
    assert "the next" in page and page.encode()


def test_control_characters_can_be_seen_wherever_they_stand() -> None:
    hidden = "a\x00\x08\x1b[31m\x7f\x9b\u202e\u2066\ud800\u2029b"
    run = a_run(facts={hidden: hidden}, headline=Headline(text=hidden, value=None), parameters_given={"x": hidden})
    cells = [new_markdown_cell(f"# {hidden}\n\n{hidden} `{hidden}`")]
    cells += [
        new_code_cell(f"'{hidden}'", outputs=[display(**{kind: hidden}) for kind in ("text__html", "text__plain")])
    ]
    page = render(run, new_notebook(cells=cells))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)
    assert page.count(r"\u202e\u2066\ud800") >= 8
    assert "\U0001f469\u200d\U0001f52c \u200f\u05d0" in shown(
        display(text__plain="\U0001f469\u200d\U0001f52c \u200f\u05d0")
    )


def test_a_figure_alone_is_one_file_with_its_caption_and_its_data(tmp_path: Path) -> None:
    from workbench.runs.record import Table

    for name, text in (
        ("figures/bars.svg", f'<svg xmlns="{SVG}">{SCRIPT}<text>up</text></svg>'),
        ("tables/bars.csv", "a\n1\n"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    run = a_run(
        figures=[Figure(name="bars", alt="Bars <b>")], tables=[Table(name="bars", caption="", rows=1, columns=["a"])]
    )
    (tmp_path / "run.json").write_text(run.sealed(), encoding="utf-8")
    text = write_figure(tmp_path, "bars").read_text(encoding="utf-8")
    page = Page(text)
    assert "up" in text and "Bars &lt;b&gt;." in text and not page.named("script") and not page.named("b")
    assert [base64.b64decode(str(each["href"]).partition(",")[2]) for each in page.named("a")] == [b"a\n1\n"]
    with pytest.raises(InputError, match="no figure 'nothing'; its figures: bars"):
        write_figure(tmp_path, "nothing")


def test_links_of_gallery_and_report_stay_in_the_folder(tmp_path: Path) -> None:
    """A folder of outputs can be moved, or put on a host of static files."""
    from records import write_runs

    from workbench.reports import write_gallery

    write_runs(tmp_path / "outputs", 4)
    folder = next((tmp_path / "outputs").glob("*/*/*/run.json")).parent
    nbformat.write(new_notebook(cells=[]), folder / "notebook.ipynb")
    write_report(folder)
    write_gallery(tmp_path / "outputs")
    (tmp_path / "outputs").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / folder.relative_to(tmp_path / "outputs")
    checked = 0
    for file in (tmp_path / "moved/index.html", moved / "report.html"):
        for link in (str(each["href"]) for each in Page(file.read_text(encoding="utf-8")).named("a")):
            if link.startswith(("#", "https://")):
                continue
            assert not re.match(r"/|\w+:", link) and (file.parent / link).resolve().is_relative_to(tmp_path / "moved")
            checked += 1
    assert checked > 3
