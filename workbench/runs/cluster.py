"""What a worker of a Dask cluster does with a cell: make sure it has what the client has, and run it as here.

Results are on disk, or on the store, when a cell ends; what goes back to the client is a few words. The client's side
is in `dispatch`.
"""

from __future__ import annotations

import os
import platform
import shutil
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from workbench.errors import InputError
from workbench.files import digests, sha256_of, written_whole
from workbench.runs import provenance, remote
from workbench.runs.execution import execute, publish
from workbench.runs.keys import code_digest
from workbench.runs.listing import finished
from workbench.runs.place import NOTEBOOK, held, make_staging, place_of, writing
from workbench.runs.record import Failure, Run, Status
from workbench.runs.studies import PlannedRun, root, run_id_of

MARK = ".workbench-outputs"
"""A file in the outputs folder by which a worker knows that it sees the same folder as the client."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A cell as it goes to a worker."""

    planned: PlannedRun
    """The notebook and its parameters; the worker stamps the run's id when it starts."""
    notebook: str
    """SHA-256 of the notebook."""
    code: str
    """Digest of the package's source."""
    outputs: str
    """The outputs folder, or an fsspec URL."""
    mark: str
    """What the folder's mark says; empty for a URL."""
    timeout: float | None
    """Seconds it may take."""
    again: bool
    """Whether to run it although it went well before."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a cell."""

    name: str
    """`<study>/<notebook>`."""
    status: Status
    """How it ended."""
    run_id: str
    """The run; empty where nothing was recorded."""
    folder: str
    """Where it lies; empty where nothing was recorded."""
    host: str
    """The machine it ran on."""
    seconds: float
    """How long it took."""
    reused: bool = False
    """Whether it had been there already."""
    failure: Failure | None = None
    """Where and how it ended early."""
    lacking: bool = False
    """Whether this worker could not even start it, and another one may."""


def errands(
    planned: list[PlannedRun], outputs: Path | str, timeout: float | None = None, again: bool = False
) -> list[Errand]:
    """These cells, made ready to travel."""
    far = remote.is_url(outputs)
    where, mark = (str(outputs), "") if far else (str(Path(outputs).resolve()), _mark(Path(outputs).resolve()))
    hashes = {path: sha256_of(path) for path in {one.path for one in planned}}
    made = []
    for one in planned:
        bare = replace(one, path=one.path.resolve(), run_id="")  # equal cells of two clients are equal
        made.append(Errand(bare, hashes[one.path], code_digest(), where, mark, timeout, again))
    return made


def run_cell(errand: Errand) -> Ended:
    """Runs a cell on the machine this is called on."""
    name, host = errand.planned.name, platform.node()
    try:
        planned = _at_hand(errand, host)
    except InputError as error:
        return Ended(name, "failed", "", "", host, 0.0, failure=_failure(error), lacking=True)
    try:
        outputs = errand.outputs if remote.is_url(errand.outputs) else Path(errand.outputs)
        run = execute(planned, outputs, errand.timeout, again=errand.again, gallery=False)
    except InputError as error:
        return Ended(name, "failed", "", "", host, 0.0, failure=_failure(error))
    return _ended(run, errand.outputs)


def _ended(run: Run, outputs: str) -> Ended:
    """A run in a few words."""
    failure = run.failure.model_copy(update={"traceback": ""}) if run.failure else None
    folder = f"{outputs}/{run.name}/{run.run_id}"
    return Ended(run.name, run.status, run.run_id, folder, run.host.name, run.seconds, run.reused, failure)


def record_failure(planned: PlannedRun, outputs: str, failure: Failure, again: bool = False) -> Ended:
    """Records a cell that no worker could start or survive; where not even that is possible, says so.

    Where the cell went well all the same, as its worker was only out of reach, that run counts.

    Args:
        planned: The cell.
        outputs: The outputs folder, or an fsspec URL.
        failure: What stood in the way.
        again: Whether only a run made since the cell was planned counts.
    """
    now, run_id = datetime.now(UTC), run_id_of(planned.key)
    run = Run(
        study=planned.study,
        notebook=planned.notebook,
        profile=planned.profile,
        run_id=run_id,
        key=planned.key,
        status="died" if failure.name == "KilledWorker" else "failed",
        exit_reason="No worker brought it to an end.",
        failure=failure,
        parameters_given=planned.parameters_given,
        parameters_default=planned.parameters_default,
        started=now,
        finished=now,
        seconds=0.0,
        source=provenance.source_of(planned.path),
        host=provenance.host(),
    )
    far = remote.is_url(outputs)
    try:
        home = remote.working_copy(outputs) if far else Path(outputs)
        place = place_of(home, planned.study, planned.notebook)
        with held(place, planned.key):
            done = finished(place, planned.key) or (remote.pull(place, planned.key, outputs) if far else None)
            if done is None or (again and done.run_id < planned.run_id):
                staging = make_staging(place, run_id)
                shutil.copyfile(planned.path, staging / NOTEBOOK)
                done = publish(run, staging)
        if far:
            remote.push(done, home, outputs, gallery=False)
    except (InputError, OSError):
        return Ended(planned.name, run.status, "", "", run.host.name, 0.0, failure=failure)
    return _ended(done, outputs)


def _at_hand(errand: Errand, host: str) -> PlannedRun:
    """The cell with the notebook as this machine has it.

    Raises:
        InputError: If the machine lacks the notebook or an input or has another one, has other code, or sees another
            outputs folder.
    """
    planned = errand.planned
    if code_digest() != errand.code:
        raise InputError(f"The worker on {host} has other source of workbench than the client; install the same.")
    if errand.mark and _read_mark(Path(errand.outputs)) != errand.mark:
        raise InputError(
            f"The worker on {host} does not see the outputs folder {errand.outputs}; share it between the machines, "
            "or name an fsspec URL with --outputs."
        )
    places = [planned.path, root() / "notebooks" / planned.study / planned.path.name]
    found = [path for path in places if path.is_file() and sha256_of(path) == errand.notebook]
    if not found:
        raise InputError(
            f"The worker on {host} has no notebook {planned.name} like the client's; share the folder it lies in, or "
            "start the worker in a copy of it."
        )
    here = replace(planned, path=found[0], run_id=run_id_of(planned.key))
    for text, digest in planned.files.items():
        if not (path := here.folder / text).is_file():
            raise InputError(
                f"The worker on {host} lacks {text}, which the parameters of {planned.name} name; put it there or on a "
                "shared folder."
            )
        if digests([path])[path] != digest:
            raise InputError(
                f"{text}, which the parameters of {planned.name} name, differs on the worker on {host} from the "
                "client's; copy it there, or put it on a shared folder."
            )
    return here


def _mark(outputs: Path) -> str:
    """What the outputs folder's mark says; makes one where there is none, and where another client did not just now."""
    word = uuid.uuid4().hex
    mark, own = outputs / MARK, outputs / f"{MARK}.{word}"
    with writing(outputs):
        if not mark.exists():
            with written_whole(own) as path:
                path.write_text(word, encoding="utf-8")
            try:
                os.link(own, mark)
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                os.replace(own, mark)
            own.unlink(missing_ok=True)
        return mark.read_text(encoding="utf-8")


def _read_mark(outputs: Path) -> str:
    try:
        return (outputs / MARK).read_text(encoding="utf-8")
    except OSError:
        return ""


def _failure(error: Exception) -> Failure:
    return Failure(name=type(error).__name__, message=" ".join(str(error).split()))
