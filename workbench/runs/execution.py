"""Executing a planned run: once, staged aside, recorded however it ends, published by one rename."""

from __future__ import annotations

import os
import re
import shutil
import signal
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.files import INSIDE_CELL, NOTES, RUN_FOLDER, digests, sha256_of, written_whole
from workbench.runs import remote
from workbench.runs.folder import read_notes
from workbench.runs.listing import finished, newest
from workbench.runs.parameters import open_notebook
from workbench.runs.place import (
    BALLAST,
    LOG,
    NOTEBOOK,
    PATCH,
    PROGRESS,
    Hold,
    OnCell,
    OnWait,
    held,
    make_staging,
    place_of,
    sweep,
    write_progress,
    writing,
)
from workbench.runs.record import (
    EXPLAINED,
    Cell,
    Counts,
    Failure,
    Run,
    Status,
    changes_of,
    host,
    kernel_version,
    source_of,
)
from workbench.runs.studies import PlannedRun

if TYPE_CHECKING:
    from workbench.runs.kernel import Kernel, Vitals


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
    """Runs one notebook and publishes `outputs/<study>/<notebook>/<run-id>/`, whatever the status it ends with.

    A run of the same notebook with the same parameters that went well is not repeated, and one that another process
    is executing is waited for: its record comes back, with `reused` set.

    Args:
        planned: The notebook and its checked parameters.
        outputs: Folder of all results, or an fsspec URL, to which results are copied when they are complete.
        timeout: Seconds the whole notebook may take; None for no limit.
        on_cell: Called with the number of code cells done and their total.
        again: Whether to run what was run before once more.
        on_wait: Told who is waited for.
        kernel: The process to run it in, which may have run other notebooks; None for one of its own.
        gallery: Whether to write the gallery anew; it reads every record in `outputs`.

    Raises:
        InputError: If `outputs` cannot be written, or no kernel is installed.
    """
    from workbench.reports.gallery import write_gallery

    if find_spec("ipykernel") is None:
        raise InputError("Notebooks need a kernel, and ipykernel is not installed; pip install ipykernel.")
    home = remote.working_copy(outputs)
    place = place_of(home, planned.study, planned.notebook)
    begun = datetime.now(UTC)
    run = None
    while run is None:  # a second time only where a lease was lost to another machine
        with held(place, planned.key, on_wait) as hold:
            sweep(place, own=planned.key)
            waited_since = begun if hold.waited else None
            if (waited_since or not again) and (found := _found(planned, place, outputs, waited_since)):
                run = found.model_copy(update={"reused": True})
            else:
                run = _kept(planned, make_staging(place, planned.run_id), timeout, on_cell, hold, kernel)
    if gallery:
        with suppress(OSError):  # it can be made again
            write_gallery(home)
    if remote.is_url(outputs):
        remote.push(run, home, str(outputs), gallery)
    return run


def _found(planned: PlannedRun, place: Path, outputs: Path | str, waited_since: datetime | None) -> Run | None:
    """The run that makes this one unnecessary: one that went well, or the one that was just waited for."""
    run = finished(place, planned.key)
    if run is None and remote.is_url(outputs):
        run = remote.pull(place, planned.key, str(outputs))
    if run is None and waited_since and (last := newest(place, planned.key)) and last.finished >= waited_since:
        run = last if last.status in ("failed", "timed_out") else None
    return run


def _kept(
    planned: PlannedRun, staging: Path, timeout: float | None, on_cell: OnCell, hold: Hold, kernel: Kernel | None
) -> Run | None:
    """Runs it; None if another machine took the lease over meanwhile, in which case nothing is published."""
    try:
        if (run := _run(planned, staging, timeout, on_cell, hold, kernel)) is not None:
            return run
    except (OSError, InputError):  # whoever took the lease over has swept the folder
        if hold.ours:
            raise
    shutil.rmtree(staging, ignore_errors=True)
    warnings.warn(
        f"{planned.name}: this machine or its disk stood still until its lease expired, and another process took the "
        "run over; nothing of this attempt is kept, the other's result counts.",
        stacklevel=3,
    )
    return None


def _run(
    planned: PlannedRun, staging: Path, timeout: float | None, on_cell: OnCell, hold: Hold, kernel: Kernel | None
) -> Run | None:
    """Executes in the staging folder, and publishes it with its record."""

    def told(done: int, total: int) -> None:
        with suppress(OSError):
            write_progress(staging, done, total)
        on_cell(done, total)

    from workbench.runs.kernel import Vitals

    started, vitals = datetime.now(UTC), Vitals()
    source, patch = source_of(planned.path), changes_of(planned.path.parent)
    with writing(staging):
        shutil.copyfile(planned.path, staging / NOTEBOOK)  # until the engine saves it for the first time
    status, failure = _attempt(planned, staging, timeout, told, vitals, kernel)
    if status == "ok" and (changed := _changed(planned)):
        message = f"{changed} was changed after the run was planned, so its results may be of either; run it again."
        status, failure = "failed", failure_in(staging, "InputError", message)
    done, notes = datetime.now(UTC), read_notes(staging)
    run = Run(
        study=planned.study,
        notebook=planned.notebook,
        profile=planned.profile,
        run_id=planned.run_id,
        key=planned.key,
        status=status,
        exit_reason=exit_reason(status, vitals),
        failure=failure,
        parameters_given=planned.parameters_given,
        parameters_default=planned.parameters_default,
        started=started,
        finished=done,
        seconds=(done - started).total_seconds(),
        source=source,
        host=host().model_copy(update={"gpu": notes.pop("gpu")}),
        kernel=kernel_version(vitals.runs),
        seeds=seeds_in(planned.parameters_given | planned.parameters_default | notes["facts"]),
        counts=counts_in(notes["facts"]),
        cells=cells_in(staging),
        peak_memory=vitals.peak_memory,
        **notes,
    )
    with suppress(OSError):  # a full disk: the record matters more
        if patch:
            (staging / PATCH).write_text(patch, encoding="utf-8")
    return publish(run, staging) if hold.ours else None


def _changed(planned: PlannedRun) -> str:
    """The first file a parameter names that is no longer as it was when the run was planned; "" if all are."""
    for text, digest in planned.files.items():
        path = planned.folder / text
        try:
            if digests([path])[path] != digest:
                return text
        except OSError:
            return text
    return ""


def _attempt(
    planned: PlannedRun,
    staging: Path,
    timeout: float | None,
    on_cell: OnCell,
    vitals: Vitals,
    kernel: Kernel | None,
) -> tuple[Status, Failure | None]:
    """Executes the notebook into the staging folder; says how that ended and why."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    try:
        _papermill(planned, staging, timeout, on_cell, vitals, kernel)
    except CellExecutionError as error:
        return "failed", failure_in(staging, error.ename, error.evalue)
    except CellTimeoutError:
        return "timed_out", failure_in(staging, "TimeoutError", f"The notebook took longer than its {timeout:.0f} s.")
    except KeyboardInterrupt:
        return "cancelled", failure_in(staging, "KeyboardInterrupt", "Stopped by hand.")
    except OSError as error:
        return "failed", failure_in(staging, type(error).__name__, f"Cannot save the notebook: {error.strerror}.")
    except RuntimeError as error:  # nbclient's DeadKernelError, and what it raises when a kernel does not start
        return "died", failure_in(staging, type(error).__name__, f"{error}: killed, out of memory, or it crashed.")
    return "ok", None


def _papermill(
    planned: PlannedRun,
    staging: Path,
    timeout: float | None,
    on_cell: OnCell,
    vitals: Vitals,
    kernel: Kernel | None,
) -> None:
    import papermill

    from workbench.runs.kernel import Kernel, Loan  # which registers the engine

    values = planned.parameters_default | planned.parameters_given
    papermill.execute_notebook(
        str(planned.path).replace("{", "{{").replace("}", "}}"),  # papermill formats paths
        None,  # the engine saves, and never half a notebook
        planned.parameters_given,
        engine_name="workbench",
        kernel_name="python3",
        language="python",
        save_to=staging / NOTEBOOK,
        vitals=vitals,
        kernel=kernel or Kernel(),
        loan=Loan(str(values.get("model") or ""), planned.folder, {RUN_FOLDER: str(staging)}, staging / LOG),
        timeout=timeout,
        on_cell=on_cell,
    )


def publish(run: Run, staging: Path) -> Run:
    """Writes record and report, shows the folder under its own name, and points `latest` at it if all went well.

    Raises:
        InputError: If the disk has no room even for the record.
    """
    from workbench.reports.html import write_report

    folder = staging.with_name(run.run_id)
    for aside in (NOTES, LOG, PROGRESS, INSIDE_CELL, BALLAST):
        (staging / aside).unlink(missing_ok=True)
    files = sorted(path for path in staging.rglob("*") if path.is_file())
    run = run.model_copy(update={"files": {p.relative_to(staging).as_posix(): sha256_of(p) for p in files}})
    try:
        with written_whole(staging / "run.json") as path:
            path.write_text(run.sealed(), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Cannot record {run.name} in {staging}: {error.strerror}; free some room and run it again, answers "
            "that were computed are kept."
        ) from error
    try:
        with suppress(OSError):  # a full disk; `workbench report` makes it later
            write_report(staging)
    finally:  # a report can be made again, a run cannot
        os.rename(staging, folder)
    if run.status == "ok":
        point_latest(folder)
    return run.model_copy(update={"folder": folder})


def point_latest(folder: Path) -> None:
    """Points `latest` beside a run at it, by one rename."""
    pointer = folder.with_name(f".latest-{folder.name}")
    with suppress(OSError):
        pointer.symlink_to(folder.name)
        os.replace(pointer, folder.with_name("latest"))


TRACEBACK_LINES = 50
TRACEBACK_LETTERS = 20_000
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COUNTED = {"computed": "requests_computed", "cached": "requests_stored", "tokens": "tokens_computed"}


def exit_reason(status: Status, vitals: Vitals) -> str:
    """How a run ended, in a sentence; of a kernel that died, by which signal or code."""
    if status != "died" or vitals.exit_code is None:
        return EXPLAINED[status]
    if vitals.exit_code >= 0:
        return f"{EXPLAINED[status]} Its exit code was {vitals.exit_code}."
    name = signal.Signals(-vitals.exit_code).name
    hint = ", which is what a system short of memory sends" if name == "SIGKILL" else ""
    return f"{EXPLAINED[status]} It was ended by {name}{hint}."


def failure_in(staging: Path, name: str, message: str) -> Failure:
    """The failure, with its cell and the end of the traceback, or of what the kernel printed where there is none."""
    number, traceback = None, (staging / LOG).read_text(errors="replace") if (staging / LOG).exists() else ""
    for count, cell in enumerate(_code_cells(staging), start=1):
        if cell.metadata.get("papermill", {}).get("status") in ("failed", "running"):
            number = count
            errors = [output for output in cell.outputs if output.output_type == "error"]
            printed = [output.text for output in cell.outputs if output.output_type == "stream"]
            traceback = "\n".join(errors[-1].traceback) if errors else "".join(printed) + traceback
    tail = ANSI.sub("", traceback[-TRACEBACK_LETTERS:]).splitlines()[-TRACEBACK_LINES:]
    return Failure(cell=number, name=name, message=" ".join(message.split()), traceback="\n".join(tail))


def cells_in(staging: Path) -> list[Cell]:
    """The code cells of the executed notebook, with their times."""
    made = []
    for number, cell in enumerate(_code_cells(staging), start=1):
        marks = cell.metadata.get("papermill", {})
        state = {"running": "failed"}.get(marks.get("status", "pending"), marks.get("status", "pending"))
        made.append(Cell(number=number, state=state, seconds=marks.get("duration")))
    return made


def seeds_in(values: dict[str, Any]) -> dict[str, int]:
    """The seeds among parameters and facts: whole numbers named `seed` or `..._seed`."""
    return {
        name: value
        for name, value in values.items()
        if (name == "seed" or name.endswith("_seed")) and isinstance(value, int) and not isinstance(value, bool)
    }


def counts_in(facts: dict[str, Any]) -> Counts:
    """The counts of answers among a run's facts, under the names `ask` gives them."""
    return Counts(**{field: facts[name] for field, name in COUNTED.items() if isinstance(facts.get(name), int)})


def _code_cells(staging: Path) -> list[Any]:
    path = staging / NOTEBOOK
    cells = open_notebook(path).cells if path.exists() else []
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
