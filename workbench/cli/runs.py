"""Commands that plan and execute: `plan`, `run`, `status`, `clean`."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial, wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from workbench.cli.app import Outputs, app, home_of, outputs_of
from workbench.cli.progress import cell_progress
from workbench.errors import InputError

if TYPE_CHECKING:
    from workbench.runs import PlannedRun, Run
    from workbench.runs.cluster import Ended
    from workbench.runs.place import Holder

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
    from workbench.runs.forecast import forecast, recent

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
    from workbench.runs.listing import half_done, run_folders
    from workbench.runs.progress import under_way

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
    from workbench.runs.cleaning import removable, remove
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
    from workbench.runs import execute
    from workbench.runs.place import staging_of
    from workbench.runs.progress import inside_cell
    from workbench.runs.resident import Kernel

    where = outputs_of(outputs)
    with Kernel(stays=not fresh) as kernel:
        for planned in every:
            staging = staging_of(home_of(outputs) / planned.study / planned.notebook, planned.run_id)
            with cell_progress(planned.name, partial(inside_cell, staging)) as told:
                waiting, each = _waiting(planned.name), isinstance(where, str)
                done = execute(planned, where, seconds, told, again, waiting, kernel=kernel, gallery=each)
            yield planned, done
            if done.status == "cancelled":
                break


def _on(
    address: str, every: list[PlannedRun], outputs: str | None, seconds: float | None, again: bool, gpus: float | None
) -> Iterator[tuple[PlannedRun, Ended]]:
    """Runs cells on a cluster; what is under way there is finished even if this is stopped by hand."""
    from workbench.runs.dispatch import run_on

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
