"""Commands about results: `report`, `compare`, `gallery`, `lab`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from workbench.cli.app import Outputs, app, home_of
from workbench.errors import InputError

RunName = Annotated[
    str, typer.Argument(help="A run's folder, or STUDY/NOTEBOOK for its latest good run.", metavar="RUN")
]


@app.command()
def report(
    run: RunName,
    outputs: Outputs = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print it as report.pdf too, with the installed browser.")] = False,
) -> None:
    """Write a run's report again."""
    from workbench.reports import write_report
    from workbench.runs.listing import find_run
    from workbench.runs.place import writing

    folder = find_run(run, home_of(outputs)).folder
    assert folder is not None
    with writing(folder):
        print(page := write_report(folder))
        if pdf:
            from workbench.reports.browser import print_pdf

            print(print_pdf(page))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two runs or more; the first is the baseline.", metavar="RUN RUN")],
    outputs: Outputs = None,
) -> None:
    """Compare runs of one notebook, paired by question, and keep that as a report."""
    from workbench.reports import compare as compare_runs
    from workbench.reports import keep_comparison
    from workbench.runs.place import writing

    home = home_of(outputs)
    comparison = compare_runs(runs[0], *runs[1:], outputs=home)
    with writing(home):
        kept = keep_comparison(comparison, home)
    print(comparison)
    print(f"\nReport:   {kept.folder}/report.html")


@app.command()
def gallery(outputs: Outputs = None) -> None:
    """Write the gallery of all runs again."""
    from workbench.reports import write_gallery
    from workbench.runs.place import writing

    with writing(home := home_of(outputs)):
        print(write_gallery(home))


@app.command(context_settings={"ignore_unknown_options": True})
def lab(
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to JupyterLab.", metavar="[...]")] = None,
) -> None:
    """Open JupyterLab on the notebooks, with this environment as their kernel."""
    from workbench.runs.studies import root

    notebooks = root() / "notebooks"
    if not notebooks.is_dir():
        raise InputError(f"There is no folder {notebooks}; run this where the notebooks lie.")
    settings = [f"--ServerApp.root_dir={root()}", "--LabApp.default_url=/lab/tree/notebooks"]
    settings += ["--ContentsManager.pre_save_hook=workbench.runs.tidying.before_saving"]
    os.chdir(root())
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *settings, *(arguments or [])])
