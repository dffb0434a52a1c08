"""The notebooks in a real JupyterLab, on the loopback."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import nbformat
import pytest
from chromium import Page, until
from matplotlib import pyplot
from nbformat.v4 import new_code_cell, new_notebook, new_output

from workbench.files import CHECKOUT, cache_folder
from workbench.runs.folder import draw

NOTEBOOKS = sorted(path.relative_to(CHECKOUT).as_posix() for path in CHECKOUT.glob("notebooks/*/*.ipynb"))
SMALL = "notebooks/hallucination/calibration.ipynb"
SMALLER = {"n": "12", "benchmarks": '["piqa"]'}
HOURS = 2.0
"""A notebook may take this long at its own parameters, on one slow core."""
UNCHANGED = [
    pytest.param(path, {}, marks=[pytest.mark.slow, pytest.mark.timeout(HOURS * 3600)], id=path) for path in NOTEBOOKS
]
MACHINE = re.compile(r"(?<![\w.~>/-])/(?:tmp|home|root|Users|var|opt|usr)/")
"""The beginning of a path of a machine; not one under `.`, `~` or `<python>`, which stand for its folders."""
DEBRIS = re.compile(r"widget-view|\d(?:it|tok)/s|\d%\||reading answers \d")
CELLS = "opened.content.model.cells"
RESTORED = """typeof jupyterapp !== 'undefined'
  && (jupyterapp.restored.then(() => { window.wasRestored = true; }), window.wasRestored === true)"""
"""No promise is waited for: one of a page that loads itself anew would never come."""
LONG = """\
import time
from workbench import progress
print("before")
with progress.bar(10, "reading answers") as advance:
    for _ in range(10):
        time.sleep(0.5)
        advance(1)
print("after")"""
SHUT_DOWN = "jupyterapp.serviceManager.sessions.shutdownAll().then(() => 0)"
SHOWN = "[...opened.node.querySelectorAll('.jp-OutputArea-output')].map(node => node.innerText).join(' ')"
STATE = f"""(() => {{
  const cells = [...{CELLS}].map(cell => cell.toJSON()).filter(cell => cell.cell_type === "code");
  return {{
    ran: cells.filter(cell => cell.execution_count).length, all: cells.length,
    errors: cells.flatMap(cell => cell.outputs).filter(out => out.output_type === "error").map(out => out.evalue),
  }};
}})()"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout's notebooks and studies; models and data come from the cache, answers are asked anew."""
    place = tmp_path_factory.mktemp("lab")
    for part in ("notebooks", "studies"):
        shutil.copytree(CHECKOUT / part, place / part, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (place / "cache").mkdir()
    for name in ("models", "packages", "data"):
        if (cache_folder() / name).exists():
            (place / "cache" / name).symlink_to(cache_folder() / name)
    return place


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """`workbench lab` on that copy."""
    home = place / "home"
    folders = {name: str(home / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    environment = {**os.environ, **folders, "HOME": str(home), "JUPYTERLAB_SETTINGS_DIR": str(home / "settings")}
    environment |= {"JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "WORKBENCH_CACHE": str(place / "cache")}
    environment |= {"JUPYTER_DATA_DIR": str(home / "data"), "MPLCONFIGDIR": str(home / "matplotlib")}
    program = "from workbench.cli import main; main()"
    words = ["lab", "--no-browser", "--ServerApp.port=0", "--expose-app-in-browser", "--ServerApp.allow_root=True"]
    server = subprocess.Popen(
        [sys.executable, "-c", program, *words, "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"],
        cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=(place / "log").open("w"),
    )  # fmt: skip
    runtime = Path(folders["JUPYTER_RUNTIME_DIR"])
    try:
        until(lambda: server.poll() is not None or list(runtime.glob("jpserver-*.json")))
        assert server.poll() is None, (place / "log").read_text()
        url = json.loads(next(runtime.glob("jpserver-*.json")).read_text())["url"]
        until(lambda: _answers(f"{url}api/status"))
        yield url
    finally:
        server.terminate()
        server.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        return urlopen(url, timeout=5).status == 200
    except OSError:
        return False


@pytest.fixture
def lab(page: Page, address: str) -> Iterator[Page]:
    page.open(f"{address}lab/tree/notebooks?reset")
    until(lambda: page.run(RESTORED))
    yield page
    page.run(SHUT_DOWN)


def opened(page: Page, path: str) -> None:
    open_it = f"jupyterapp.commands.execute('docmanager:open', {{path: {path!r}}})"
    page.run(f"{open_it}.then(widget => {{ window.opened = widget; return widget.context.ready; }}).then(() => 0)")
    page.run("jupyterapp.shell.activateById(opened.id)")


def test_it_opens_on_the_notebooks(page: Page, address: str) -> None:
    page.open(address)
    until(lambda: "/lab/tree/notebooks" in page.run("location.href"))
    until(lambda: page.run(RESTORED))
    until(lambda: "hallucination" in page.run("document.querySelector('.jp-DirListing-content').innerText"))


def test_every_notebook_opens(lab: Page) -> None:
    """One after the other in one page, since loading it costs as much as opening ten of them."""
    for path in NOTEBOOKS:
        opened(lab, path)
        assert lab.run(f"[...{CELLS}].length") == len(nbformat.read(CHECKOUT / path, as_version=4).cells), path
        assert lab.run("document.querySelectorAll('.jp-Dialog').length") == 0, path
        lab.run("void opened.close()")
        lab.run(SHUT_DOWN)


def test_progress_shows_while_a_cell_runs_and_is_gone_afterwards(lab: Page, place: Path) -> None:
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell(LONG)], metadata={"kernelspec": spec})
    nbformat.write(notebook, place / "notebooks/long.ipynb")
    opened(lab, "notebooks/long.ipynb")
    until(lambda: lab.run("opened.sessionContext.session?.kernel?.status === 'idle'"), 120)
    lab.run("void jupyterapp.commands.execute('notebook:run-all-cells')")
    until(lambda: re.search(r"reading answers \d+ % \(\d+ of 10 tokens\), \d+ s left", lab.run(SHOWN)), 60)
    until(lambda: lab.run(STATE)["ran"] == 1, 60)
    assert lab.run(STATE)["errors"] == [] and lab.run(SHOWN).split() == ["before", "after"]
    outputs = lab.run(f"[...{CELLS}].flatMap(cell => cell.toJSON().outputs)")  # as plain JupyterLab would save them
    assert [out["data"] for out in outputs if "data" in out] == [{"text/html": ""}]
    lab.run("opened.context.save().then(() => 0)")
    saved = nbformat.read(place / "notebooks/long.ipynb", as_version=4).cells[0].outputs
    assert [out.output_type for out in saved] == ["stream", "stream"]


def test_an_untrusted_notebook_shows_its_figures_and_wraps_long_code(lab: Page, place: Path) -> None:
    """As a run's notebook that a colleague opens."""
    figure = pyplot.figure()
    figure.text(0.1, 0.5, "drawn")
    data, about = draw(figure, 'A "line"')._repr_mimebundle_()
    pyplot.close(figure)
    cell = new_code_cell("x = 1  # " + "long " * 100, outputs=[new_output("display_data", data, metadata=about)])
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": spec}), place / "notebooks/sent.ipynb")
    opened(lab, "notebooks/sent.ipynb")
    picture = "document.querySelector('.jp-OutputArea-output img')"
    until(lambda: lab.run(f"{picture}?.naturalWidth > 0"), 60)
    assert not lab.run(f"{CELLS}.get(0).trusted")
    assert lab.run(f"[{picture}.alt, {picture}.src.slice(0, 18)]") == ['A "line"', "data:image/svg+xml"]
    assert "image/svg" not in lab.run(SHOWN) and lab.run("document.querySelector('.jp-Cell .cm-lineWrapping') !== null")


def set_parameters(path: Path, changes: dict[str, str]) -> None:
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    lines, done = cell.source.splitlines(), set()
    for node in reversed(ast.parse(cell.source).body):
        if isinstance(node, ast.AnnAssign) and (name := ast.unparse(node.target)) in changes:
            assert node.value is not None and node.end_lineno is not None
            before, after = lines[node.lineno - 1][: node.value.col_offset], lines[node.end_lineno - 1]
            lines[node.lineno - 1 : node.end_lineno] = [before + changes[name] + after[node.value.end_col_offset :]]
            done.add(name)
    assert done == set(changes)
    cell.source = "\n".join(lines)
    nbformat.write(notebook, path)


@pytest.mark.model
@pytest.mark.parametrize(("path", "changes"), [pytest.param(SMALL, SMALLER, id="small"), *UNCHANGED])
def test_run_all_finishes_and_what_is_saved_is_clean(
    lab: Page, place: Path, path: str, changes: dict[str, str]
) -> None:
    """Small parameters for one notebook; beside it, slowly, every notebook as it stands."""
    if not (cache_folder() / "models").exists():
        pytest.skip("needs the embedded model: workbench fetch")
    if changes:
        shutil.copy(place / path, place / (path := path.replace(".ipynb", "-small.ipynb")))
        set_parameters(place / path, changes)
    opened(lab, path)
    until(lambda: lab.run("opened.sessionContext.session?.kernel?.status === 'idle'"), 120)
    lab.run("void jupyterapp.commands.execute('notebook:run-all-cells')")
    most = 240 if changes else HOURS * 3600
    until(lambda: (state := lab.run(STATE))["errors"] or state["ran"] == state["all"], most)
    assert lab.run(STATE)["errors"] == []
    assert lab.run("document.querySelectorAll('.jp-OutputArea-output table, .jp-OutputArea-output img').length") > 0
    shown = json.dumps(lab.run(f"[...{CELLS}].flatMap(cell => cell.toJSON().outputs ?? [])"))
    assert DEBRIS.findall(shown) == []  # so plain JupyterLab would save none either
    lab.run("opened.context.save().then(() => 0)")
    outputs = [out for cell in nbformat.read(place / path, as_version=4).cells for out in cell.get("outputs", [])]
    for output in outputs:
        output.get("data", {}).pop("image/png", None)
    text = re.sub("base64,[A-Za-z0-9+/=]*", "", json.dumps(outputs))
    assert "<table" in text and DEBRIS.findall(text) == []
    assert [text[found.start() : found.end() + 60] for found in MACHINE.finditer(text)] == []
    assert str(place) not in text and str(cache_folder()) not in text and sys.prefix not in text
