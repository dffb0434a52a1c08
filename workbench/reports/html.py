"""The report of a run: one self-contained page, also as PDF, that opens from disk and fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.files import written_whole
from workbench.runs.parameters import open_notebook
from workbench.runs.record import EXPLAINED, Run, load_run

if TYPE_CHECKING:
    from jinja2 import Template
    from nbformat import NotebookNode

    from workbench.reports.markup import Markdown

HERE = Path(__file__).parent


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

    markdown = Markdown()
    blocks = _blocks(notebook, markdown)
    source = script("report")
    title = markdown.title or html.escape(run.notebook.replace("_", " "))
    return template("run", duration=duration, short=short, size=size).render(
        run=run,
        explained=EXPLAINED[run.status],
        title=title,
        plain_title=html.unescape(re.sub(r"<[^>]+>", "", title)),
        headings=[(level, anchor, text) for level, anchor, text in markdown.headings if level <= 3],
        blocks=blocks,
        style=_style(),
        script=source,
        policy=policy(source),
    )


def template(name: str, **filters: Any) -> Template:
    """Return the template of a page, `run` or `gallery`, with these filters."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    return environment.get_template(f"{name}.html.j2")


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


def _blocks(notebook: NotebookNode, markdown: Markdown) -> list[dict[str, Any]]:
    """The cells in order: rendered text, or code with its outputs."""
    from workbench.reports import markup

    blocks: list[dict[str, Any]] = []
    number = drawings = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            blocks.append({"kind": "text", "html": markdown.render(cell.source, cell.get("attachments"))})
        elif cell.cell_type == "code" and cell.source.strip():
            number += 1
            state = cell.metadata.get("papermill", {}).get("status", "completed")
            outputs = []
            for output in cell.outputs:
                drawings += 1
                outputs.append(_output(output, markdown, f"d{drawings}-"))
            source = markup.code(cell.source)
            blocks.append({"kind": "code", "number": number, "state": state, "source": source, "outputs": outputs})
    return blocks


def _output(output: NotebookNode, markdown: Markdown, prefix: str) -> dict[str, str]:
    """Kind and safe HTML of one output, in the richest format the page can show."""
    from workbench.reports import markup

    if output.output_type == "stream":
        return {"kind": f"text {output.name}", "html": f"<pre>{markup.plain(output.text)}</pre>"}
    if output.output_type == "error":
        traceback = markup.plain("\n".join(output.traceback) or f"{output.ename}: {output.evalue}")
        return {"kind": "text error", "html": f"<pre>{traceback}</pre>"}
    data = output.data
    if "image/svg+xml" in data:
        try:
            return {"kind": "figure", "html": markup.clean_xml(data["image/svg+xml"], markup.SVG, prefix)}
        except SyntaxError:  # not well formed
            return {"kind": "text", "html": f"<pre>{markup.plain(data.get('text/plain', 'figure'))}</pre>"}
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            alt = html.escape(output.metadata.get(kind, {}).get("alt", "figure"))
            source = html.escape("".join(data[kind].split()))
            return {"kind": "figure", "html": f'<img src="data:{kind};base64,{source}" alt="{alt}">'}
    if "text/html" in data:
        return {"kind": "html", "html": markup.clean_html(data["text/html"])}
    for kind in ("text/markdown", "text/latex"):
        if kind in data:
            return {"kind": "html", "html": markdown.render(data[kind])}
    return {"kind": "text", "html": f"<pre>{markup.plain(data.get('text/plain', ''))}</pre>"}


def script(name: str) -> str:
    """Return the script of a page: `report` sorts tables, `gallery` searches and filters."""
    return (HERE / f"{name}.js").read_text(encoding="utf-8")


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
