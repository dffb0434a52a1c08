"""Execute one planned notebook under a lease, in a staging folder, and publish the folder with its record.

The functions are in the order in which `execute` calls them.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import warnings
from asyncio import CancelledError
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from traceback import format_exc
from typing import TYPE_CHECKING, Any

from workbench import __version__
from workbench.errors import InputError
from workbench.files import (
    INSIDE_CELL,
    NOTES,
    PROBE,
    RUN_FOLDER,
    cache_folder,
    digests,
    free,
    full_disk,
    moved,
    no_room,
    no_space,
    owned,
    remove_tree,
    says_full,
    sha256_of,
    written_whole,
)
from workbench.reading import printable, read_bytes
from workbench.runs import remote
from workbench.runs.checkout import changes_of, source_of
from workbench.runs.folder import read_notes
from workbench.runs.listing import finished, newest
from workbench.runs.parameters import open_notebook, title_of
from workbench.runs.record import (
    EXPLAINED,
    Cell,
    Counts,
    Failure,
    Run,
    Source,
    Status,
    host,
    kernel_version,
)
from workbench.runs.staging import (
    BALLAST,
    BALLAST_BYTES,
    LOG,
    NOTEBOOK,
    OTHER_OUTPUTS,
    PATCH,
    PROGRESS,
    RECORD,
    REPORT,
    STAGING,
    Lease,
    OnCell,
    OnWait,
    Stops,
    leased,
    make_staging,
    notebook_folder,
    stops_deferred,
    sweep,
    write_progress,
    writing,
)
from workbench.runs.studies import PlannedRun, run_id_of

if TYPE_CHECKING:
    from workbench.runs.kernel import Kernel, KernelStats

ANSWERS_KEPT = "computed answers are kept"
TRACEBACK_LINES = 50
TRACEBACK_CHARACTERS = 20_000
LONGEST_LINE = 2_000
LARGEST_LOG = 1 << 26
DEEPEST_FOLDER = 50
OUTSIDE = "The run failed outside the code of its cells; the cells after that did not run."
AFTERWARDS = "Every cell completed, but the run does not count, for the reason given."
COUNTED = {"computed": "requests_computed", "cached": "requests_stored", "tokens": "tokens_computed"}


def execute(
    planned: PlannedRun,
    outputs: Path | str = "outputs",
    timeout: float | None = None,
    on_cell: OnCell = lambda done, total: None,
    again: bool = False,
    on_wait: OnWait = lambda holder: None,
    kernel: Kernel | None = None,
    gallery: bool = True,
) -> Run:
    """Run one notebook and publish `outputs/<study>/<notebook>/<run-id>/`, whatever its status.

    A successful run with the same key is returned instead, with `reused` set. If another process is making this run,
    its result is waited for and returned.

    Args:
        planned: The notebook and its checked parameters.
        outputs: Folder of all results, or an fsspec URL to which complete runs are copied.
        timeout: Limit for the whole notebook in seconds.
        on_cell: Called with the number of finished code cells and their total.
        again: Whether to run even if a successful run with the same key exists.
        on_wait: Called once with the process that is waited for.
        kernel: A kernel that may have run other notebooks; None starts a new one.
        gallery: Whether to rewrite the gallery, which reads every record in `outputs`.

    Raises:
        InputError: If `outputs` cannot be written, or ipykernel is not installed.
    """
    from workbench.reports.gallery import write_gallery

    if find_spec("ipykernel") is None:
        raise InputError("Notebooks need a kernel, and ipykernel is not installed; pip install ipykernel.")
    home = remote.working_copy(outputs)
    folder = notebook_folder(home, planned.study, planned.notebook)
    begun = datetime.now(UTC)
    run, attempts = None, 0
    while run is None:  # repeated once, after the lease was lost to another machine
        attempts += 1
        with writing(outputs), leased(folder, planned.key, on_wait) as lease:
            sweep(folder, own=planned.key)
            if lease.waited or not again:
                run = _existing_run(planned, folder, outputs, begun if lease.waited else None)
            if run is None:
                run = _run_under(lease, planned, folder, timeout, on_cell, kernel, final=attempts > 1)
    if gallery:
        with suppress(Exception):  # `workbench gallery` writes it later, or says why not
            write_gallery(home)
    if remote.is_url(outputs):
        remote.push(run, home, str(outputs), gallery)
    return run


def _existing_run(planned: PlannedRun, folder: Path, outputs: Path | str, waited_since: datetime | None) -> Run | None:
    """A successful run with this key, or the run that was just waited for, whatever its status."""
    run = finished(folder, planned.key)
    if run is None and remote.is_url(outputs):
        run = remote.pull(folder, planned.key, str(outputs))
    if run is None and waited_since and (last := newest(folder, planned.key)) and last.finished >= waited_since:
        run = last if last.status in ("failed", "timed_out") else None
    return run.model_copy(update={"reused": True}) if run else None


@dataclass(slots=True)
class _Attempt:
    """One execution of a notebook."""

    planned: PlannedRun
    """The notebook and its parameters."""
    staging: Path
    """The folder it writes to."""
    stats: KernelStats
    """Measurements of its process, and the executed notebook."""
    started: datetime
    """Start (UTC)."""
    source: Source
    """Versions of notebook and code."""
    patch: str = ""
    """Difference between the checkout and its commit."""
    status: Status = "ok"
    """How it ended."""
    failure: Failure | None = None
    """Why it ended early."""
    reason: str = EXPLAINED["ok"]
    """How it ended, as a sentence."""

    def end(self, status: Status, name: str, message: str, reason: str = "", traceback: str = "") -> None:
        """State how it ended early."""
        self.status, self.reason = status, reason or EXPLAINED[status]
        self.failure = failure_in(self.stats.notebook, self.staging / LOG, name, message, traceback)


def _run_under(
    lease: Lease,
    planned: PlannedRun,
    folder: Path,
    timeout: float | None,
    on_cell: OnCell,
    kernel: Kernel | None,
    final: bool,
) -> Run | None:
    """Execute and publish; None, with nothing published, if another machine took the lease and this is not `final`."""
    from workbench.runs.kernel import KernelStats

    with stops_deferred() as stops:
        staging, source = make_staging(folder, planned.run_id), Source(notebook_sha256="", workbench=__version__)
        attempt = _Attempt(planned, staging, KernelStats(), datetime.now(UTC), source)
        _execute(attempt, timeout, on_cell, kernel, stops)
        other = None if lease.valid else newest(folder, planned.key)
        if not final and (lease.taken or (other and other.finished > attempt.started)):
            remove_tree(staging)
            warnings.warn(
                f"{planned.name}: this machine or its disk stalled until its lease expired, and another process took "
                "over; this attempt is discarded and the other process's result is used.",
                stacklevel=3,
            )
            return None
        if attempt.status == "ok" and not lease.valid:
            message = (
                f"Its lease {lease.path} was removed or replaced, so another process may have worked on it at the same "
                "time. Run it again, and leave that file alone."
            )
            attempt.end("failed", "InputError", message, AFTERWARDS)
        return _publish(attempt, stops)


def _execute(attempt: _Attempt, timeout: float | None, on_cell: OnCell, kernel: Kernel | None, stops: Stops) -> None:
    """Execute the notebook, whatever comes of it."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    planned, staging, stats = attempt.planned, attempt.staging, attempt.stats

    def report(done: int, total: int) -> None:
        with suppress(OSError):
            write_progress(staging, done, total)
        on_cell(done, total)

    try:
        with stops.allowed():
            source, changes = source_of(planned.path), changes_of(planned.path.parent)
            attempt.source = source.model_copy(update={"left_out": [*map(printable, changes.left_out)]})
            attempt.patch = changes.patch
            with writing(staging):
                shutil.copyfile(planned.path, staging / NOTEBOOK)  # until the engine saves it for the first time
            _papermill(planned, staging, timeout, report, stats, kernel)
            if file := _changed_file(planned):
                message = (
                    f"{file} changed after the run was planned, so results may be of either version; run it again."
                )
                attempt.end("failed", "InputError", message, AFTERWARDS)
    except CellExecutionError as error:
        attempt.end("failed", error.ename, named_if_full(error.ename, error.evalue, staging))
    except CellTimeoutError:
        attempt.end("timed_out", "TimeoutError", f"The notebook took longer than its {timeout:.0f} s.")
    except KeyboardInterrupt:
        attempt.end("cancelled", "KeyboardInterrupt", "Stopped by hand.")
    except DeadKernelError as error:
        attempt.end("died", "DeadKernelError", f"{error}.{ending(stats)}", EXPLAINED["died"] + ending(stats))
    except OSError as error:
        full = full_disk(error.__cause__ or error, staging.parent, ANSWERS_KEPT, instead=OTHER_OUTPUTS)
        where = f" ({error.filename})" if error.filename else ""
        message = str(full or f"{error.strerror or error}{where}.")
        attempt.end("failed", type(error).__name__, message, OUTSIDE, "" if full else format_exc())
    except InputError as error:
        attempt.end("failed", "InputError", str(error), OUTSIDE)
    except (Exception, CancelledError) as error:  # of papermill, nbclient or zmq
        attempt.end("failed", type(error).__name__, str(error), OUTSIDE, format_exc())


def _publish(attempt: _Attempt, stops: Stops) -> Run:
    """Publish what came of it; where the whole record cannot be built, with the parts of it that can."""
    planned, stats, staging = attempt.planned, attempt.stats, attempt.staging
    notebook = stats.notebook
    if notebook is None:  # it did not get so far
        with suppress(InputError):
            notebook = open_notebook(planned.path)
    notes = read_notes(staging, planned.run_id)
    damage, kept = notes.pop("damage"), notes.pop("files")
    if damage and attempt.status == "ok":
        message = f"The record of what the notebook kept is damaged ({damage}), and may lack some of it"
        attempt.end("failed", "InputError", f"{message}; its cells must leave their folder alone.", AFTERWARDS)
    if attempt.patch:
        with suppress(OSError), written_whole(staging / PATCH) as path:  # on a full disk the record matters more
            path.write_text(attempt.patch, encoding="utf-8", errors="surrogateescape")
    try:
        title, question = title_of(notebook) if notebook is not None else ("", "")
        run = record(
            planned,
            attempt.status,
            attempt.failure,
            attempt.started,
            attempt.source,
            exit_reason=attempt.reason,
            kernel=kernel_version(stats.runs),
            seeds=seeds_in(planned.values | notes["facts"]),
            counts=counts_in(notes["facts"]),
            cells=cells_in(notebook),
            peak_memory=stats.peak_memory,
            title=title,
            question=question,
            **notes,
        )
        run.sealed()
    except Exception as error:  # whatever it is
        if attempt.failure is None:
            message = f"Its record cannot be built in full: {printable(error)}"
            attempt.end("failed", type(error).__name__, message, AFTERWARDS, format_exc())
        planned = replace(
            planned,
            parameters_given={name: printable(value) for name, value in planned.parameters_given.items()},
            parameters_default={name: printable(value) for name, value in planned.parameters_default.items()},
        )
        source = Source(notebook_sha256=attempt.source.notebook_sha256, workbench=__version__)
        run = record(planned, attempt.status, attempt.failure, attempt.started, source, exit_reason=attempt.reason)
    return publish(run, staging, notebook, kept, stops)


def _papermill(
    planned: PlannedRun,
    staging: Path,
    timeout: float | None,
    on_cell: OnCell,
    stats: KernelStats,
    kernel: Kernel | None,
) -> None:
    """Execute the notebook with the engine of `workbench.runs.kernel`, which saves it after every cell."""
    import papermill

    from workbench.runs.kernel import Kernel, Setup

    papermill.execute_notebook(
        open_notebook(planned.path),
        None,  # the engine saves
        planned.parameters_given,
        engine_name="workbench",
        kernel_name="python3",
        language="python",
        name=planned.path.name,
        save_to=staging / NOTEBOOK,
        stats=stats,
        kernel=kernel or Kernel(),
        setup=Setup(str(planned.values.get("model") or ""), planned.folder, {RUN_FOLDER: str(staging)}, staging / LOG),
        timeout=timeout,
        on_cell=on_cell,
    )


def _changed_file(planned: PlannedRun) -> str:
    """The first file named by a parameter that changed since the run was planned; "" if none did."""
    for name, digest in planned.files.items():
        path = planned.folder / name
        with suppress(OSError, InputError):
            if digests([path])[path] == digest:
                continue
        return name
    return ""


def record(
    planned: PlannedRun,
    status: Status,
    failure: Failure | None,
    started: datetime,
    source: Source,
    gpu: str | None = None,
    **more: Any,
) -> Run:
    """Return the record of a run that ends now; `more` are its other fields."""
    now = datetime.now(UTC)
    return Run(
        study=planned.study,
        notebook=planned.notebook,
        profile=planned.profile,
        run_id=planned.run_id,
        key=planned.key,
        status=status,
        failure=failure,
        parameters_given=planned.parameters_given,
        parameters_default=planned.parameters_default,
        started=started,
        finished=now,
        seconds=(now - started).total_seconds(),
        source=source,
        host=host(gpu),
        **{"exit_reason": EXPLAINED[status], **more},
    )


def publish(
    run: Run, staging: Path, notebook: Any = None, kept: Mapping[str, str] | None = None, stops: Stops | None = None
) -> Run:
    """Write record and report, rename the staging folder to the run's own name, and point `latest` at a success.

    Args:
        run: The record.
        staging: The folder; where it cannot be written, the run is published as failed from another one.
        notebook: The executed notebook, written if the folder has lost it.
        kept: SHA-256 of the files it must have, by their path in it; otherwise the run is failed.
        stops: Signals to which only the making of the report gives way.

    Raises:
        InputError: If the disk has no room even for the record.
    """
    try:
        return _published(run, staging, notebook, kept or {}, stops)
    except OSError as first:
        run = _failed(run, f"Its folder {staging} cannot be written ({first.strerror or first}).")
        fresh = staging.with_name(f"{STAGING}{run_id_of(run.key)}")
        try:
            fresh.mkdir()
            return _published(run, fresh, notebook, {}, stops)
        except OSError as error:
            remove_tree(fresh)
            if full := full_disk(error.__cause__ or error, staging.parent, ANSWERS_KEPT, instead=OTHER_OUTPUTS):
                raise full from error
            raise InputError(
                f"Cannot record {run.name} in {staging}: {error.strerror or error}; run it again, {ANSWERS_KEPT}."
            ) from error


def _published(run: Run, staging: Path, notebook: Any, kept: Mapping[str, str], stops: Stops | None) -> Run:
    """Publish a staging folder, whatever a notebook has made of it."""
    from workbench.reports.html import write_report
    from workbench.runs.kernel import save_notebook

    if staging.is_symlink() or not staging.is_dir():
        remove_tree(staging)
        staging.mkdir(parents=True)
    staging.chmod(staging.stat().st_mode | stat.S_IRWXU)
    for name in (NOTES, LOG, PROGRESS, INSIDE_CELL, BALLAST, RECORD, REPORT):
        remove_tree(staging / name)
    if notebook is not None and not _is_file(staging / NOTEBOOK):
        save_notebook(notebook, staging / NOTEBOOK)
    files = files_in(staging)
    if lost := sorted(name for name in kept if files.get(name) != kept[name]):
        run = _failed(run, f"Files that the notebook kept were removed or changed afterwards: {', '.join(lost[:9])}.")
    run_id = staging.name.removeprefix(STAGING)
    while os.path.lexists(folder := staging.with_name(run_id)):
        run_id = run_id_of(run.key)
    run = run.model_copy(update={"files": files, "run_id": run_id})
    _write_record(run, staging)
    try:
        with stops.allowed(earlier=False) if stops else nullcontext():
            write_report(staging)
    except (Exception, KeyboardInterrupt) as error:  # a report can be written again, a run cannot
        if stops and isinstance(error, KeyboardInterrupt):
            stops.postpone()
        why = f"It has no report yet ({printable(error) or type(error).__name__}); `workbench report` writes one."
        run = run.model_copy(update={"exit_reason": f"{run.exit_reason} {why}"})
        with suppress(OSError):
            _write_record(run, staging)
    moved(staging, folder)
    if run.status == "ok":
        pointer, latest = folder.with_name(f"{owned('.latest-')}{folder.name}"), folder.with_name("latest")
        try:
            pointer.symlink_to(folder.name)
            os.replace(pointer, latest)
        except OSError:  # a system without links; `find_run` then reads the records
            for link in filter(Path.is_symlink, (pointer, latest)):
                remove_tree(link)
    return run.model_copy(update={"folder": folder})


def _write_record(run: Run, staging: Path) -> None:
    with written_whole(staging / RECORD) as path:
        path.write_text(run.sealed(), encoding="utf-8")


def _failed(run: Run, message: str) -> Run:
    """The record of a run that does not count though its cells completed; another failure stays."""
    if run.status != "ok":
        return run
    failure = Failure(name="InputError", message=printable(message, LONGEST_LINE))
    return run.model_copy(update={"status": "failed", "failure": failure, "exit_reason": AFTERWARDS})


def _is_file(path: Path) -> bool:
    """Whether this is a regular file, and no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def files_in(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the regular files in a folder by their path; links, pipes and sockets are left out."""
    files = {}
    for place, folders, names in os.walk(folder):
        inside = os.path.relpath(place, folder)
        if inside.count(os.sep) > DEEPEST_FOLDER:
            folders.clear()
        for name in names:
            with suppress(OSError):
                if _is_file(path := Path(place, name)):
                    files[printable(path.relative_to(folder).as_posix(), 5000)] = sha256_of(path)
    return dict(sorted(files.items()))


def ending(stats: KernelStats) -> str:
    """Return the signal or the exit code with which a kernel ended, as a sentence; "" if it is not known."""
    if stats.exit_code is None:
        return ""
    if stats.exit_code >= 0:
        return f" Its exit code was {stats.exit_code}."
    number = -stats.exit_code
    name = next((each.name for each in signal.Signals if each == number), f"signal {number}")
    hint = ", which a system that runs out of memory sends" if name == "SIGKILL" else ""
    return f" It was ended by {name}{hint}."


def failure_in(notebook: Any, log: Path, name: str, message: str, traceback: str = "") -> Failure:
    """Return the failure with its cell and the end of the traceback, or of the kernel's output if there is none.

    Args:
        notebook: The executed notebook, if it got so far.
        log: File with the output of the kernel's process.
        name: Name of the exception.
        message: Its message.
        traceback: Its traceback, if no cell has one.
    """
    number, said = None, ""
    with suppress(InputError):
        said = read_bytes(log, largest=LARGEST_LOG).decode(errors="replace") if log.exists() else ""
    said += traceback
    for count, cell in enumerate(_code_cells(notebook), start=1):
        if cell.metadata.get("papermill", {}).get("status") in ("failed", "running"):
            number = count
            errors = [output for output in cell.outputs if output.output_type == "error"]
            printed = [output.text for output in cell.outputs if output.output_type == "stream"]
            said = "\n".join(errors[-1].traceback) if errors else "".join(printed) + said
    tail = [printable(line, LONGEST_LINE) for line in said[-TRACEBACK_CHARACTERS:].splitlines()[-TRACEBACK_LINES:]]
    return Failure(
        cell=number, name=printable(name), message=printable(message, LONGEST_LINE), traceback="\n".join(tail)
    )


def named_if_full(name: str, message: str, staging: Path) -> str:
    """Return the message of an error in the kernel, with the folders that have no room if there are any."""
    if name in ("InputError", "DiskFull"):
        return message
    temporary = Path(os.environ.get("TMPDIR") or "/tmp")
    places = {staging.parent: (OTHER_OUTPUTS, BALLAST_BYTES), cache_folder(): ("", 0), temporary: ("", 0)}
    full = [place for place, (_, released) in places.items() if no_room(place, PROBE + released)]
    if not full:
        now = ", ".join(f"{place} ({free(place)})" for place in places)
        sentence = f"No space was left for a file of this cell ({message}): free some on its disk and run again"
        return f"{sentence}; {ANSWERS_KEPT}; now {now}." if says_full(message) else message
    sentences = " ".join(str(no_space(place, ANSWERS_KEPT, instead=places[place][0])) for place in full)
    return (
        f"{sentences} The error was {name}: {message}" if says_full(message) else f"{message.rstrip('.')}. {sentences}"
    )


def cells_in(notebook: Any) -> list[Cell]:
    """Return the code cells of the executed notebook with their states and times."""
    cells = []
    for number, cell in enumerate(_code_cells(notebook), start=1):
        marks = cell.metadata.get("papermill", {})
        state = marks.get("status", "pending")
        cells.append(
            Cell(number=number, state="failed" if state == "running" else state, seconds=marks.get("duration"))
        )
    return cells


def _code_cells(notebook: Any) -> list[Any]:
    cells = notebook.cells if notebook is not None else []
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def seeds_in(values: dict[str, Any]) -> dict[str, int]:
    """Return the seeds among parameters and facts: integers named `seed` or `..._seed`."""
    return {
        name: value
        for name, value in values.items()
        if (name == "seed" or name.endswith("_seed")) and isinstance(value, int) and not isinstance(value, bool)
    }


def counts_in(facts: dict[str, Any]) -> Counts:
    """Return the counts of answers that `ask` noted among a run's facts."""
    return Counts(**{field: facts[name] for field, name in COUNTED.items() if isinstance(facts.get(name), int)})
