"""The report of a run: one self-contained page, also as PDF, that opens from disk and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from workbench import digits
from workbench.called import called
from workbench.errors import InputError
from workbench.files import written_whole
from workbench.reports.strips import KINDS, strip
from workbench.runs.parameters import open_notebook, read_parameters
from workbench.runs.record import EXPLAINED, Figure, Run, load_run
from workbench.runs.studies import COMPARISONS, study_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbformat import NotebookNode

    from workbench.reports.markup import Markdown
    from workbench.runs.parameters import Parameter

HERE = Path(__file__).parent
MOST_OUTPUTS = 50
"""Outputs of one cell in the report: the first half and the last."""
LONGEST_TEXT, LONGEST_ERROR = 100_000, 20_000
"""Characters of text of one cell in the report, and of an error even if the text before it took them all."""
FORMATS = {
    "image/svg+xml": "figure",
    "image/png": "figure",
    "image/jpeg": "figure",
    "text/html": "html",
    "text/markdown": "html",
    "text/latex": "html",
}
"""Formats that a report shows, the first that an output has, and the class of the element around it."""
DRAWN = re.compile(r'<img alt="[^"<>]*" src="data:image/svg\+xml;base64,([A-Za-z0-9+/]+={0,2})">')
"""A figure that `run.figure` shows; a report has its drawing in the page, so that its text can be searched."""

QUESTION = re.compile(r"\s*<p><em>((?:(?!</?(?:p|em)>).)+)</em></p>", re.DOTALL)
"""The question below the title, as the markdown renderer writes it."""
ARXIV = re.compile(r"(?:arXiv )?\b(\d{4}\.\d{5})\b")
COUNTED = {"questions": "questions", "cases": "cases", "instrument": "items"}
"""Facts that describe the items put to the model, and what they are."""


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run's folder, from its record and notebook.

    Raises:
        InputError: If the folder has no record, or its notebook cannot be read.
    """
    page = render(load_run(folder), open_notebook(folder / "notebook.ipynb"))
    with written_whole(folder / "report.html") as path:
        path.write_text(page, encoding="utf-8")
    return folder / "report.html"


def render(run: Run, notebook: NotebookNode) -> str:
    """Return the page as HTML."""
    from workbench.reports.markup import Markdown, short

    markdown, room = Markdown(), _Room()
    markdown.tables = {table.name.replace("_", "-") for table in run.tables}
    blocks = _blocks(notebook, markdown, room, _anchors(run))
    question = ""
    if blocks and blocks[0]["kind"] == "text" and (match := QUESTION.match(blocks[0]["html"])):
        question, blocks[0]["html"] = match[1], blocks[0]["html"][match.end() :]
    source, declared = script("browse", "report"), _declared(run)
    title = markdown.title or html.escape(run.notebook.replace("_", " "))
    return filled(
        "run",
        {
            "capital": capital,
            "cited": cited,
            "duration": duration,
            "sentence": sentence,
            "short": short,
            "size": size,
            "strip": lambda finding: Markup(strip(finding)),
        },
        run=run,
        explained=EXPLAINED[run.status],
        title=title,
        plain_title=html.unescape(re.sub(r"<[^>]+>", "", title)),
        question=question,
        items=_items(run.facts),
        headline=_headline(run),
        kinds=KINDS,
        leading=_leading(run, markdown, room, blocks),
        cost=_cost(run),
        declared=declared,
        changed=[name for name, value in run.parameters_given.items() if not _default(declared.get(name), value)],
        again=_again(run),
        headings=[(level, anchor, text) for level, anchor, text in markdown.headings if level <= 3],
        blocks=blocks,
        style=_style(),
        script=source,
        policy=policy(source),
    )


def sentence(text: str) -> str:
    """Return text with a full stop, unless it ends with a mark."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def capital(text: str) -> str:
    """Return text with a capital first letter."""
    return text[:1].upper() + text[1:]


def cited(source: str) -> Markup:
    """Return a source with its arXiv numbers as links."""
    link = r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>'
    return Markup(ARXIV.sub(link, html.escape(source)))


def _anchors(run: Run) -> list[tuple[Figure, str]]:
    """Each kept figure and its id in the page; a table of the same name has the shorter id."""
    tables = {table.name for table in run.tables}
    return [(f, f.name.replace("_", "-") + ("-figure" if f.name in tables else "")) for f in run.figures]


def _items(facts: Mapping[str, Any]) -> str:
    """The number of items of the data that the notebook noted, and their names."""
    for key, word in COUNTED.items():
        noted = facts.get(key)
        sets = [each for each in (noted if isinstance(noted, list) else [noted]) if isinstance(each, dict)]
        counts = [each["n"] for each in sets if isinstance(each.get("n"), int)]
        if counts and len(counts) == len(sets):
            names = list(dict.fromkeys(called(str(each.get("name", ""))) for each in sets))
            listed = ", ".join(names) if len(names) <= 2 else f"{len(names)} data sets"
            return f"{sum(counts):,} {word} ({listed})"
    return ""


def _headline(run: Run) -> tuple[str, str] | None:
    """The main number and its interval, unless a finding has the same estimate."""
    main = run.headline
    if main is None or any(main.value == each.estimate for each in run.findings):
        return None
    return digits.interval(main.value, main.low, main.high)


def _leading(run: Run, markdown: Markdown, room: _Room, blocks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The figure that the page begins with; none if its files are gone."""
    figure = run.leading_figure
    if figure is None or not (drawn := _drawn(run, figure, markdown, room)):
        return None
    shown = [each for block in blocks for each in block.get("outputs", ()) if each["name"] == figure.name]
    return {"figure": figure, "html": drawn, "anchor": shown[0]["anchor"] if shown else ""}


def _drawn(run: Run, figure: Figure, markdown: Markdown, room: _Room) -> str:
    """A kept figure as safe HTML; empty if its files are gone, too large or no picture."""
    for kind, ending in (("image/svg+xml", "svg"), ("image/png", "png")) if run.folder else ():
        with suppress(Exception):
            content = ((run.folder or Path()) / "figures" / f"{figure.name}.{ending}").read_bytes()
            text = content.decode() if ending == "svg" else base64.b64encode(content).decode()
            return _written(kind, text, {kind: {"alt": figure.alt}}, markdown, "lead-", room)
    return ""


def write_figure(folder: Path, name: str) -> Path:
    """Write `figure-<name>.html` beside a run's report: one figure with its caption and data, for a paper or slides.

    The data are in the file: the kept table of the figure's name, or all kept tables if there is none.

    Raises:
        InputError: If the run has no such figure, or its files are gone.
    """
    from workbench.reports.markup import Markdown

    run = load_run(folder)
    figure = next((each for each in run.figures if each.name == name), None)
    if figure is None:
        names = ", ".join(each.name for each in run.figures) or "none"
        raise InputError(f"The run {run.run_id} has no figure {name!r}; its figures: {names}.")
    if not (drawn := _drawn(run, figure, Markdown(), _Room())):
        raise InputError(f"The files of figure {name!r} in {folder} cannot be read; run the notebook again.")
    kept = [each.name for each in run.tables]
    files = [folder / "tables" / f"{each}.csv" for each in ([name] if name in kept else kept)]
    page = filled(
        "figure",
        {"sentence": sentence},
        run=run,
        figure=figure,
        drawn=drawn,
        files=[(each.name, base64.b64encode(each.read_bytes()).decode()) for each in files if each.is_file()],
        policy=policy(""),
    )
    with written_whole(folder / f"figure-{name}.html") as path:
        path.write_text(page, encoding="utf-8")
    return folder / f"figure-{name}.html"


def _cost(run: Run) -> list[str]:
    """What the run took, as phrases."""
    counts, threads = run.counts, run.host.threads or run.host.cpus
    parts = [f"{counts.tokens:,} tokens computed"] if counts.tokens is not None else []
    if counts.computed is not None or counts.cached is not None:
        parts.append(f"{counts.computed or 0:,} answers computed and {counts.cached or 0:,} read from the store")
    speed = f" at {run.host.gflops:,.0f} GFLOP/s" if run.host.gflops else ""
    parts.append(f"{duration(run.seconds)} on {run.host.gpu or f'{threads} CPU thread' + 's' * (threads != 1) + speed}")
    return [*parts, f"{size(run.peak_memory)} peak memory"] if run.peak_memory else parts


def _declared(run: Run) -> dict[str, Parameter]:
    """The parameters as the notebook declares them, by name; none if they cannot be read."""
    with suppress(InputError):
        return {each.name: each for each in read_parameters((run.folder or Path()) / "notebook.ipynb")}
    return {}


def _default(parameter: Parameter | None, value: Any) -> bool:
    """Whether a value is the parameter's default."""
    return parameter is not None and parameter.default == value


def _again(run: Run) -> str:
    """Commands that repeat the run."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    given = dict(run.parameters_given)
    if run.study == COMPARISONS:
        command = ["workbench", "compare", *given.pop("runs", [])]
    elif run.study in study_names():
        command = ["workbench", "run", run.study, "--notebook", run.notebook, "--profile", run.profile]
    else:  # a notebook by its path, of which the record has the last two names
        command = ["workbench", "run", f"{run.name}.ipynb"]
    command += ["--again", *(word for name, value in given.items() for word in ("-p", f"{name}={text(value)}"))]
    lines = [f"git checkout {run.source.commit}"] if run.source.commit else []
    lines += ["git apply changes.patch  # of this run's folder"] if "changes.patch" in run.files else []
    return "\n".join([*lines, shlex.join(command)])


def filled(name: str, filters: dict[str, Any], **values: Any) -> str:
    """Return the page of a template, `run` or `gallery`; control characters are shown, whatever text had them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from workbench.reports.markup import visible

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    return visible(environment.get_template(f"{name}.html.j2").render(values))


def duration(seconds: float) -> str:
    """Format seconds: `41 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int) -> str:
    """Format bytes: `412 MB` or `1.3 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _style() -> str:
    """The stylesheet, with colours of code for light and dark."""
    from pygments.formatters import HtmlFormatter

    def colours(name: str) -> str:
        rules: str = HtmlFormatter(style=name).get_style_defs("pre.code")
        return "\n".join(line for line in rules.splitlines() if line.startswith("pre.code ."))

    return (
        (HERE / "style.css").read_text(encoding="utf-8")
        + colours("default")
        + "@media (prefers-color-scheme: dark) {\n"
        + colours("github-dark")
        + "\n}\n@media print {\npre.code span { color: inherit; }\n}"
    )


@dataclass(slots=True)
class _Room:
    """What the page still has room for."""

    markup: int = 10_000_000
    """Characters of drawings and HTML, of all cells."""
    pictures: int = 50_000_000
    """Characters of pictures, of all cells."""
    outputs: int = 0
    """Outputs that it has so far."""
    text: int = LONGEST_TEXT
    """Characters of text, of this cell."""
    cut: bool = False
    """Whether something of this cell is left out."""

    def take(self, text: str) -> str:
        """Return a text, the middle left out if there is no room for it."""
        half = self.text // 2
        if len(text) > self.text:
            self.cut = True
            left_out = f"\n… {len(text) - 2 * half:,} characters …\n"
            text = text[:half] + left_out + text[len(text) - half :]
        self.text = max(0, self.text - len(text))
        return text


def _blocks(
    notebook: NotebookNode, markdown: Markdown, room: _Room, anchors: list[tuple[Figure, str]]
) -> list[dict[str, Any]]:
    """The cells in order: rendered text, or code with its outputs; kept figures have their anchors."""
    from workbench.reports import markup

    blocks: list[dict[str, Any]] = []
    number, pending = 0, list(anchors)
    for at, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            try:
                text = markdown.render(cell.source, f"t{at}-", cell.get("attachments"))
            except Exception:  # whatever a cell holds, the report is written
                text = f"<pre>{markup.plain(cell.source)}</pre>"
            blocks.append({"kind": "text", "html": text})
        elif cell.cell_type == "code" and cell.source.strip():
            number += 1
            room.text, room.cut = LONGEST_TEXT, len(cell.outputs) > MOST_OUTPUTS
            half = MOST_OUTPUTS // 2
            kept = [*cell.outputs[:half], *cell.outputs[-half:]] if room.cut else cell.outputs
            outputs = [_output(output, markdown, room) | _anchor(output, pending) for output in kept]
            state = cell.metadata.get("papermill", {}).get("status", "completed")
            block = {"kind": "code", "number": number, "state": state, "source": markup.code(cell.source)}
            blocks.append(block | {"outputs": outputs, "cut": room.cut})
    return blocks


def _anchor(output: NotebookNode, pending: list[tuple[Figure, str]]) -> dict[str, str]:
    """The name and anchor of the kept figure that an output shows, known by its alternative text."""
    about = output.get("metadata")
    about = about.get("image/png") if isinstance(about, dict) else None
    alt = about.get("alt") if isinstance(about, dict) else None
    for at, (figure, anchor) in enumerate(pending):
        if figure.alt == alt:
            del pending[at]
            return {"name": figure.name, "anchor": anchor}
    return {"name": "", "anchor": ""}


def _output(output: NotebookNode, markdown: Markdown, room: _Room) -> dict[str, str]:
    """Kind, id and safe HTML of one output, in the richest format that the page can show and has room for."""
    from workbench.reports import markup

    room.outputs += 1
    prefix = f"d{room.outputs}-"
    data = output.get("data") if isinstance(output.get("data"), dict) else {}
    if drawn := DRAWN.fullmatch(_joined(data.get("text/html", ""))):
        with suppress(ValueError):
            data = {"image/svg+xml": base64.b64decode(drawn[1]).decode()} | data
    for kind in filter(data.__contains__, FORMATS):
        try:
            written = _written(kind, _joined(data[kind]), output.get("metadata"), markdown, prefix, room)
            return {"kind": FORMATS[kind], "id": prefix, "html": written}
        except Exception:  # whatever a cell displays, the report is written: the next format, at last plain text
            room.cut = True
    if output.get("output_type") == "error":
        room.text = max(room.text, LONGEST_ERROR)
        traceback = (
            "\n".join(map(str, output.get("traceback") or [])) or f"{output.get('ename')}: {output.get('evalue')}"
        )
        kind, text = "text error", traceback
    elif output.get("output_type") == "stream":
        kind, text = f"text {output.get('name')}", _joined(output.get("text", ""))
    else:
        kind, text = "text", _joined(data.get("text/plain", ""))
    return {"kind": kind, "id": prefix, "html": f"<pre>{markup.plain(room.take(text))}</pre>"}


def _written(kind: str, content: str, about: Any, markdown: Markdown, prefix: str, room: _Room) -> str:
    """One format of an output as HTML.

    Raises:
        ValueError: If it is no picture, or there is no room for it.
    """
    from workbench.reports import markup

    if kind.startswith("image/") and kind != "image/svg+xml":
        source = f"data:{kind};base64,{''.join(content.split())}"
        if len(source) > room.pictures or not markup.PICTURE.fullmatch(source):
            raise ValueError
        room.pictures -= len(source)
        alt = about[kind].get("alt", "figure") if about and kind in about else "figure"
        return markup.clean(f'<img src="{source}" alt="{html.escape(str(alt))}">', prefix, budget=markdown.budget)
    written = kind in ("text/markdown", "text/latex")
    if len(content) > (LONGEST_TEXT if written else room.markup):
        raise ValueError
    room.markup -= len(content)
    if written:
        return markdown.render(content, prefix)
    page = markup.clean(content, prefix, frozenset(markdown.tables), markdown.budget)
    markdown.tables -= {anchor for anchor in markdown.tables if f' id="{anchor}"' in page}
    return page


def _joined(content: object) -> str:
    """Text of a notebook, which may be a list of lines."""
    return "".join(map(str, content)) if isinstance(content, list) else str(content)


def script(*names: str) -> str:
    """Return scripts: `report` sorts tables, `browse` single questions, `gallery` searches and filters."""
    return "".join((HERE / f"{name}.js").read_text(encoding="utf-8") for name in names)


def policy(source: str, pictures: str = "data:") -> str:
    """Return a content security policy: the page runs this script, shows these pictures and fetches nothing."""
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src {pictures}; script-src 'sha256-{digest}'"


BROWSERS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge"),
    *(f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Google Chrome", "Chromium", "Microsoft Edge")),
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
"""Commands of browsers, and the files they are where no command leads to them."""
PRINT_SECONDS = 120


def find_browser() -> str | None:
    """Return the installed Chromium or Chrome, or the browser that `WORKBENCH_BROWSER` names."""
    return os.environ.get("WORKBENCH_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


def headless(browser: str, profile: Path) -> list[str]:
    """Return a command line that starts the browser headless, with this profile and no background traffic."""
    flags = ["--headless=new", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    flags += ["--no-first-run", "--no-default-browser-check", "--disable-sync", "--disable-extensions"]
    flags += ["--disable-dev-shm-usage", "--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return [browser, *flags, f"--user-data-dir={profile}"]


def print_pdf(report: Path) -> Path:
    """Print a report to `report.pdf` beside it.

    Raises:
        InputError: If no browser is installed, or printing fails.
    """
    browser = find_browser()
    if browser is None:
        raise InputError("A PDF needs Chromium or Chrome, and neither is installed; open the report and print it.")
    target = report.with_suffix(".pdf")
    with tempfile.TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True) as home:
        partial = Path(home) / "report.pdf"
        command = [*headless(browser, Path(home) / "profile"), "--no-pdf-header-footer"]
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
        try:
            subprocess.run(
                [*command, f"--print-to-pdf={partial}", report.resolve().as_uri()],
                check=True,
                capture_output=True,
                timeout=PRINT_SECONDS,
                env=environment,
            )
            content = partial.read_bytes()
        except (OSError, subprocess.SubprocessError) as error:
            raise InputError(f"{browser} could not print {report}: {error}.") from error
    target.write_bytes(content)
    return target
