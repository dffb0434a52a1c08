"""Execute one planned notebook under a lease, in a staging folder, and publish the folder with its record.

The functions are in the order in which `execute` calls them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    says_full,
    sha256_of,
    written_whole,
)
from workbench.runs import remote
from workbench.runs.folder import read_notes
from workbench.runs.listing import finished, newest
from workbench.runs.parameters import open_notebook
from workbench.runs.record import (
    EXPLAINED,
    Cell,
    Counts,
    Failure,
    Run,
    Source,
    Status,
    changes_of,
    host,
    kernel_version,
    source_of,
)
from workbench.runs.staging import (
    BALLAST,
    BALLAST_BYTES,
    LOG,
    NOTEBOOK,
    OTHER_OUTPUTS,
    PATCH,
    PROGRESS,
    Lease,
    OnCell,
    OnWait,
    leased,
    make_staging,
    notebook_folder,
    sweep,
    write_progress,
    writing,
)
from workbench.runs.studies import PlannedRun

if TYPE_CHECKING:
    from workbench.runs.kernel import Kernel, KernelStats

ANSWERS_KEPT = "computed answers are kept"
TRACEBACK_LINES = 50
TRACEBACK_CHARACTERS = 20_000
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
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
    run = None
    while run is None:  # repeated only after the lease was lost to another machine
        with leased(folder, planned.key, on_wait) as lease:
            sweep(folder, own=planned.key)
            if lease.waited or not again:
                run = _existing_run(planned, folder, outputs, begun if lease.waited else None)
            if run is None:
                run = _run_under(lease, planned, make_staging(folder, planned.run_id), timeout, on_cell, kernel)
    if gallery:
        with suppress(OSError):  # `workbench gallery` writes it later
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


def _run_under(
    lease: Lease, planned: PlannedRun, staging: Path, timeout: float | None, on_cell: OnCell, kernel: Kernel | None
) -> Run | None:
    """Execute and publish; None, with nothing published, if another machine took the lease meanwhile."""
    try:
        run = _run(planned, staging, timeout, on_cell, kernel)
        if lease.valid:
            return publish(run, staging)
    except (OSError, InputError):  # the lease's new holder has removed the staging folder
        if lease.valid:
            raise
    shutil.rmtree(staging, ignore_errors=True)
    warnings.warn(
        f"{planned.name}: this machine or its disk stalled until its lease expired, and another process took over; "
        "this attempt is discarded and the other process's result is used.",
        stacklevel=3,
    )
    return None


def _run(planned: PlannedRun, staging: Path, timeout: float | None, on_cell: OnCell, kernel: Kernel | None) -> Run:
    """Execute the notebook in the staging folder, and return its record."""
    from workbench.runs.kernel import KernelStats

    def report(done: int, total: int) -> None:
        with suppress(OSError):
            write_progress(staging, done, total)
        on_cell(done, total)

    started, stats = datetime.now(UTC), KernelStats()
    source, patch = source_of(planned.path), changes_of(planned.path.parent)
    with writing(staging):
        shutil.copyfile(planned.path, staging / NOTEBOOK)  # until the engine saves it for the first time
    status, failure = _attempt(lambda: _papermill(planned, staging, timeout, report, stats, kernel), staging, timeout)
    if status == "ok" and (file := _changed_file(planned)):
        message = f"{file} changed after the run was planned, so results may be of either version; run it again."
        status, failure = "failed", failure_in(staging, "InputError", message)
    notes = read_notes(staging)
    with suppress(OSError):  # on a full disk the record matters more
        if patch:
            (staging / PATCH).write_text(patch, encoding="utf-8")
    return record(
        planned,
        status,
        failure,
        started,
        source,
        exit_reason=exit_reason(status, stats),
        kernel=kernel_version(stats.runs),
        seeds=seeds_in(planned.values | notes["facts"]),
        counts=counts_in(notes["facts"]),
        cells=cells_in(staging),
        peak_memory=stats.peak_memory,
        **notes,
    )


def _attempt(
    execute_notebook: Callable[[], None], staging: Path, timeout: float | None
) -> tuple[Status, Failure | None]:
    """Return how the execution ended, and why if it ended early."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    try:
        execute_notebook()
    except CellExecutionError as error:
        return "failed", failure_in(staging, error.ename, named_if_full(error.ename, error.evalue, staging))
    except CellTimeoutError:
        return "timed_out", failure_in(staging, "TimeoutError", f"The notebook took longer than its {timeout:.0f} s.")
    except KeyboardInterrupt:
        return "cancelled", failure_in(staging, "KeyboardInterrupt", "Stopped by hand.")
    except OSError as error:
        full = full_disk(error.__cause__ or error, staging.parent, ANSWERS_KEPT, instead=OTHER_OUTPUTS)
        message = str(full or f"Cannot save the notebook: {error.strerror}.")
        return "failed", failure_in(staging, type(error).__name__, message)
    except RuntimeError as error:  # nbclient's DeadKernelError, and its errors when a kernel does not start
        return "died", failure_in(staging, type(error).__name__, f"{error}: killed, out of memory, or it crashed.")
    return "ok", None


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
        str(planned.path).replace("{", "{{").replace("}", "}}"),  # papermill formats paths
        None,  # the engine saves
        planned.parameters_given,
        engine_name="workbench",
        kernel_name="python3",
        language="python",
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
        with suppress(OSError):
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


def publish(run: Run, staging: Path) -> Run:
    """Write record and report, rename the staging folder to the run's own name, and point `latest` at a success.

    Raises:
        InputError: If the disk has no room even for the record.
    """
    from workbench.reports.html import write_report

    folder = staging.with_name(run.run_id)
    for temporary in (NOTES, LOG, PROGRESS, INSIDE_CELL, BALLAST):
        (staging / temporary).unlink(missing_ok=True)
    files = sorted(path for path in staging.rglob("*") if path.is_file())
    run = run.model_copy(update={"files": {p.relative_to(staging).as_posix(): sha256_of(p) for p in files}})
    try:
        with written_whole(staging / "run.json") as path:
            path.write_text(run.sealed(), encoding="utf-8")
    except OSError as error:
        if full := full_disk(error.__cause__ or error, staging.parent, ANSWERS_KEPT, instead=OTHER_OUTPUTS):
            raise full from error
        raise InputError(
            f"Cannot record {run.name} in {staging}: {error.strerror}; run it again, computed answers are kept."
        ) from error
    try:
        with suppress(OSError):  # a full disk; `workbench report` writes it later
            write_report(staging)
    finally:  # a report can be written again, a run cannot
        moved(staging, folder)
    if run.status == "ok":
        pointer, latest = folder.with_name(f".latest-{folder.name}"), folder.with_name("latest")
        try:
            pointer.symlink_to(folder.name)
            os.replace(pointer, latest)
        except OSError:  # a system without links; `find_run` then reads the records
            for link in (pointer, latest):
                with suppress(OSError):
                    link.unlink()
    return run.model_copy(update={"folder": folder})


def exit_reason(status: Status, stats: KernelStats) -> str:
    """Return how a run ended as a sentence, with the signal or exit code of a kernel that died."""
    if status != "died" or stats.exit_code is None:
        return EXPLAINED[status]
    if stats.exit_code >= 0:
        return f"{EXPLAINED[status]} Its exit code was {stats.exit_code}."
    number = -stats.exit_code
    name = next((each.name for each in signal.Signals if each == number), f"signal {number}")
    hint = ", which a system that runs out of memory sends" if name == "SIGKILL" else ""
    return f"{EXPLAINED[status]} It was ended by {name}{hint}."


def failure_in(staging: Path, name: str, message: str) -> Failure:
    """Return the failure with its cell and the end of the traceback, or of the kernel's output if there is none."""
    number, traceback = None, (staging / LOG).read_text("utf-8", "replace") if (staging / LOG).exists() else ""
    for count, cell in enumerate(_code_cells(staging), start=1):
        if cell.metadata.get("papermill", {}).get("status") in ("failed", "running"):
            number = count
            errors = [output for output in cell.outputs if output.output_type == "error"]
            printed = [output.text for output in cell.outputs if output.output_type == "stream"]
            traceback = "\n".join(errors[-1].traceback) if errors else "".join(printed) + traceback
    tail = ANSI.sub("", traceback[-TRACEBACK_CHARACTERS:]).splitlines()[-TRACEBACK_LINES:]
    return Failure(cell=number, name=name, message=" ".join(message.split()), traceback="\n".join(tail))


def named_if_full(name: str, message: str, staging: Path) -> str:
    """Return the message of an error in the kernel, with the folders that have no room if there are any."""
    if name in ("InputError", "DiskFull"):
        return message
    temporary = Path(os.environ.get("TMPDIR") or "/tmp")
    places = {staging.parent: (OTHER_OUTPUTS, BALLAST_BYTES), cache_folder(): ("", 0), temporary: ("", 0)}
    full = [place for place, (_, released) in places.items() if no_room(place, PROBE + released)]
    if not full:
        now = ", ".join(f"{place}: {free(place)}" for place in places)
        return f"No space was left for a file of this cell ({message}); now {now}." if says_full(message) else message
    sentences = " ".join(str(full_disk(message, place, ANSWERS_KEPT, instead=places[place][0])) for place in full)
    return f"{sentences} The error was {name}: {message}" if says_full(message) else f"{message} {sentences}"


def cells_in(staging: Path) -> list[Cell]:
    """Return the code cells of the executed notebook with their states and times."""
    cells = []
    for number, cell in enumerate(_code_cells(staging), start=1):
        marks = cell.metadata.get("papermill", {})
        state = marks.get("status", "pending")
        cells.append(
            Cell(number=number, state="failed" if state == "running" else state, seconds=marks.get("duration"))
        )
    return cells


def _code_cells(staging: Path) -> list[Any]:
    path = staging / NOTEBOOK
    cells = open_notebook(path).cells if path.exists() else []
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
