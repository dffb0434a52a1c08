"""The documentation as a site, `make docs`: README.md, docs/, and the docstrings as a reference.

Each build writes pages to `docs/reference/`, and copies the newest reports of the studies from `outputs/`.
"""

import ast
import inspect
import json
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from myst_parser.parsers.sphinx_ import MystParser

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"
STUDIES = ("hallucination", "judges", "cultural_alignment", "value_drift")
ROOMS = ("datasets", "models", "extraction", "statistics", "training", "runs", "reports")
"""Rooms of which the names that their `__init__` exports are public."""
MODULES = ("answers", "questions", "figures", "planted", "statistics.calibration", "statistics.distances")
"""Modules all of whose names are public, beside those of the studies."""
BESIDE = {"runs": ["workbench.runs.folder.CurrentRun"]}

project = "workbench"
copyright = "its authors, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "docs/**"]
exclude_patterns = [".*", "site", "outputs", "mutants", "docs/images"]
source_suffix = {".md": "markdown", ".ipynb": "notebook", ".rst": "restructuredtext"}
myst_heading_anchors = 4
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_use_type_comments = False
napoleon_use_ivar = True
default_role = "literal"
pygments_style = "default"
suppress_warnings = ["ref.python"]  # words of a return value, such as `mean`, that are also names of fields
html_theme = "furo"
html_title = "workbench"
html_copy_source = False
html_show_search_summary = False  # a page opened from disk may not read the other pages
TREE = """
```{toctree}
:hidden:
:caption: %s

%s
```
"""
PAGES = {
    "First steps": ["docs/five_minutes", "docs/reference/example_reports"],
    "Studies": ["docs/hallucination", "docs/risk_scores", *(f"docs/{name}" for name in STUDIES[1:])],
    "Guides": [f"docs/{name}" for name in ("data", "runs", "servers", "cluster", "scale", "platforms", "security")],
    "Reference": ["docs/reference/index"],
    "Method and development": [
        *(f"docs/{name}" for name in ("engine", "comparison", "traps", "errata", "house", "extending")),
        "CHANGELOG",
    ],
}


class NotebookParser(MystParser):
    """A notebook as a page: its text and its code; the outputs are in its report."""

    supported = ("notebook",)

    def parse(self, inputstring, document):
        cells = json.loads(inputstring)["cells"]
        texts = (("".join(cell["source"]), cell["cell_type"]) for cell in cells)
        blocks = (f"```python\n{text}\n```" if kind == "code" else text for text, kind in texts)
        super().parse("\n\n".join(blocks), document)


def module_names(name):
    """Names of the modules of a study."""
    module = import_module(f"workbench.{name}")
    return [each.name for each in iter_modules(module.__path__) if not each.ispkg]


def page(title, text, *lines):
    return "\n".join([title, "=" * len(title), "", text, "", *lines, ""])


def entry(name):
    """The directive that documents an object."""
    home, _, last = name.rpartition(".")
    thing = getattr(import_module(home), last)
    if inspect.isclass(thing) and thing.__module__.startswith("workbench"):
        return f".. autoclass:: {name}\n   :members:\n"
    if inspect.isroutine(thing):
        return f".. autofunction:: {name}\n"
    return f".. autodata:: {name}\n   :no-value:\n"


def write_reference(app):
    """Write one page for the names of `workbench`, one for each room, and one for each module of a study."""
    import workbench
    from workbench.kinds import CHOICES, NAMES

    pages = {}
    top = [name for name in workbench.__all__ if name not in workbench._ROOMS]
    kinds = [f".. autodata:: workbench.kinds.{name}\n   :no-value:\n" for name in (*NAMES, *CHOICES)]
    first = [entry(f"workbench.{name}") for name in top if name not in (*NAMES, *CHOICES)]
    text = "Names of ``import workbench as wb``; annotations for ``parameters`` cells of notebooks are at the end."
    pages["workbench"] = page("workbench", text, *first, *kinds)
    for room in ROOMS:
        module = import_module(f"workbench.{room}")
        names = [name for name in exported(module) if name not in top]
        known = [f":py:obj:`workbench.{name}`" for name in exported(module) if name in top]
        lines = [f"Also {', '.join(known)}.\n"] if known else []
        lines += [entry(name) for name in [*(f"workbench.{room}.{name}" for name in names), *BESIDE.get(room, ())]]
        pages[room] = page(f"workbench.{room}", module.__doc__ or "", *lines)
    for study in STUDIES:
        modules = [f"{study}.{name}" for name in module_names(study)]
        tree = [".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in modules)]
        pages[study] = page(f"workbench.{study}", import_module(f"workbench.{study}").__doc__ or "", *tree)
        pages |= {name: automodule(name) for name in modules}
    pages |= {name: automodule(name) for name in MODULES}
    listed = [name for name in pages if name.partition(".")[0] not in STUDIES or "." not in name]
    tree = [".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in listed)]
    text = "Signatures, shapes, units and errors, from the docstrings; a module of a study names its paper."
    pages["index"] = page("Reference of the package", text, *tree)
    REFERENCE.mkdir(exist_ok=True)
    pages = {f"{name}.rst": text for name, text in pages.items()} | {"example_reports.md": reports_page()}
    for path in REFERENCE.iterdir():
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")


def exported(module):
    """Names that a room's `__init__` exports."""
    imports = (node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ImportFrom))
    return sorted(each.asname for node in imports for each in node.names if each.asname)


def automodule(name):
    """A page with the functions and classes that a module defines."""
    body = ast.parse(inspect.getsource(import_module(f"workbench.{name}"))).body
    names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    return page(f"workbench.{name}", "", f".. automodule:: workbench.{name}\n   :members: {', '.join(names)}\n")


def escape_bars(app, what, name, thing, options, lines):
    """Show |x| in docstrings as it is; to reStructuredText it is a substitution."""
    for at, line in enumerate(lines):
        parts = re.split(r"(`[^`]*`)", line)
        lines[at] = "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in parts)


def latest_runs():
    """The newest successful run of each notebook in `outputs/`."""
    found = (ROOT / "outputs").glob("*/*/latest/report.html")
    return sorted(path.parent.resolve() for path in found if path.parent.parent.parent.name in (*STUDIES, "docs"))


def reports_page():
    """A page that links to the copied reports."""
    from workbench.runs import load_run

    lines = ["# Example reports", ""]
    runs = [load_run(folder) for folder in latest_runs()]
    if not runs:
        lines += ["`make studies` runs the studies; a site that is built after it contains their reports.", ""]
    else:
        lines += ['All of them in <a href="../../outputs/index.html">the gallery</a>.', ""]
    for run in runs:
        link = f'<a href="../../outputs/{run.name}/{run.run_id}/report.html">{run.title or run.notebook}</a>'
        lines.append(f"- {link}: {run.question}")
    return "\n".join([*lines, ""])


def add_trees(app, name, content):
    """Add the tables of contents that the site needs, and a code host does not."""
    if name == root_doc:
        content[0] += "".join(TREE % (caption, "\n".join(pages)) for caption, pages in PAGES.items())


def finish(app, error):
    """Copy reports, and make the first page the one that a folder opens with."""
    if error:
        return
    from workbench.reports import write_gallery

    site = Path(app.outdir)
    shutil.copyfile(site / f"{root_doc}.html", site / "index.html")
    shutil.rmtree(site / "outputs", ignore_errors=True)
    for folder in latest_runs():
        shutil.copytree(folder, site / "outputs" / folder.relative_to((ROOT / "outputs").resolve()))
    if (site / "outputs").is_dir():
        write_gallery(site / "outputs")


def setup(app):
    sys.path.insert(0, str(ROOT))
    app.add_source_parser(NotebookParser)
    app.connect("builder-inited", write_reference)
    app.connect("source-read", add_trees)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("build-finished", finish)
