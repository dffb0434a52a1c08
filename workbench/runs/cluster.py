"""Run cells of a matrix on the workers of a Dask scheduler.

A worker publishes each run itself; only its `CellResult` returns to the client. Dask sends the cells, retries errors,
accounts for GPUs, and makes equal keys of two clients one task. The client chooses the cell a worker gets: of the model
it had last, then of a model that no other worker has.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from workbench.errors import InputError
from workbench.files import digests, root, sha256_of_text, written_whole
from workbench.reading import printable
from workbench.runs import remote
from workbench.runs.checkout import source_of
from workbench.runs.execution import execute, publish, record
from workbench.runs.listing import finished
from workbench.runs.record import Failure, Run, Status, load_run
from workbench.runs.staging import NOTEBOOK, leased, make_staging, notebook_folder, writing
from workbench.runs.studies import PlannedRun, code_digest, run_id_of

MARK = ".workbench-outputs"
"""File in the outputs folder that shows a worker that it sees the client's folder."""
CONNECT = 8.0
"""Seconds in which a scheduler must answer."""
LOOK = 1.0
"""Seconds between two checks of the workers."""
PATIENCE = 10.0
"""Seconds after which a client gives up if every worker differs from it."""
RETRIES = 2
"""Retries of a cell after its worker died, or after an error outside the notebook."""
COMPARED = ("workbench", "torch", "transformers", "numpy", "pandas")
"""Packages whose versions must be the client's."""


@dataclass(frozen=True, slots=True)
class Task:
    """A cell as it is sent to a worker."""

    planned: PlannedRun
    """The notebook and its parameters, without a run id, so that equal cells of two clients are equal."""
    notebook: str
    """SHA-256 of the notebook."""
    code: str
    """Digest of the package's source."""
    outputs: str
    """The outputs folder, or an fsspec URL."""
    mark: str
    """Content of the folder's mark; empty for a URL."""
    timeout: float | None
    """Limit in seconds."""
    again: bool
    """Whether to run even if a successful run exists."""


@dataclass(frozen=True, slots=True)
class CellResult:
    """How a cell ended."""

    name: str
    """`<study>/<notebook>`."""
    status: Status
    """Status of the run."""
    run_id: str
    """The run; empty if none was recorded."""
    folder: str
    """Folder of the run; empty if none was recorded."""
    host: str
    """The machine it ran on."""
    seconds: float
    """How long it took."""
    reused: bool = False
    """Whether the run existed before."""
    failure: Failure | None = None
    """Where and how it ended early."""
    unsuitable: bool = False
    """Whether this worker lacks something that another worker may have."""


def tasks(
    planned: list[PlannedRun], outputs: Path | str, timeout: float | None = None, again: bool = False
) -> list[Task]:
    """Return the cells as they are sent to workers; marks the outputs folder."""
    folder = Path(outputs).resolve()
    where, mark = (str(outputs), "") if remote.is_url(outputs) else (str(folder), _mark(folder))
    hashes = {path: sha256_of_text(path) for path in {run.path.resolve() for run in planned}}
    bare = [replace(run, path=run.path.resolve(), run_id="") for run in planned]
    return [Task(run, hashes[run.path], code_digest(), where, mark, timeout, again) for run in bare]


def _mark(outputs: Path) -> str:
    """The mark of the outputs folder; written if there is none and no other client writes one meanwhile."""
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


def run_cell(task: Task) -> CellResult:
    """Run a cell on this machine; called on the worker."""
    prepared = False
    try:
        planned = _local(task, platform.node())
        prepared = True
        return _result(execute(planned, task.outputs, task.timeout, again=task.again, gallery=False), task.outputs)
    except InputError as error:
        failure = Failure(name="InputError", message=" ".join(str(error).split()))
        return _not_recorded(task.planned, "failed", failure, unsuitable=not prepared)


def _result(run: Run, outputs: str) -> CellResult:
    failure = run.failure.model_copy(update={"traceback": ""}) if run.failure else None
    folder = f"{outputs}/{run.name}/{run.run_id}"
    return CellResult(run.name, run.status, run.run_id, folder, run.host.name, run.seconds, run.reused, failure)


def _not_recorded(planned: PlannedRun, status: Status, failure: Failure, unsuitable: bool = False) -> CellResult:
    return CellResult(planned.name, status, "", "", platform.node(), 0.0, failure=failure, unsuitable=unsuitable)


def outcome(planned: PlannedRun, home: Path, error: BaseException) -> Run | CellResult:
    """Return what became of a cell whose execution here ended with an error: its run, if it was recorded before."""
    with suppress(InputError):
        run = load_run(home / planned.name / planned.run_id)
        if not isinstance(error, InputError):
            return run
        failure = Failure(name="InputError", message=printable(error, 1000))  # it is here, and not where it should be
        return run.model_copy(update={"status": "failed", "failure": failure})
    stopped = isinstance(error, KeyboardInterrupt)
    message = "Stopped by hand before its notebook was started" if stopped else printable(error, 1000)
    failure = Failure(name=type(error).__name__, message=message)
    return _not_recorded(planned, "cancelled" if stopped else "failed", failure)


def _local(task: Task, machine: str) -> PlannedRun:
    """The planned run with this machine's copy of the notebook.

    Raises:
        InputError: If the machine lacks the notebook or an input or has another version, has other code, or sees
            another outputs folder.
    """
    planned, worker = task.planned, f"The worker on {machine}"
    if code_digest() != task.code:
        raise InputError(f"{worker} has other source of workbench than the client; install the same.")
    mark = ""
    with suppress(OSError):
        mark = (Path(task.outputs) / MARK).read_text(encoding="utf-8") if task.mark else ""
    if mark != task.mark:
        raise InputError(
            f"{worker} does not see the outputs folder {task.outputs}; share it between the machines, or name an "
            "fsspec URL with --outputs."
        )
    copies = (planned.path, root() / "notebooks" / planned.study / planned.path.name)
    path = next((path for path in copies if path.is_file() and sha256_of_text(path) == task.notebook), None)
    if path is None:
        raise InputError(
            f"{worker} has no notebook {planned.name} like the client's; share its folder, or start the worker in a "
            "copy of it."
        )
    here = replace(planned, path=path, run_id=run_id_of(planned.key))
    for name, digest in planned.files.items():
        file = here.folder / name
        if not file.is_file():
            raise InputError(
                f"{worker} lacks {name}, which the parameters of {planned.name} name; copy it there, or put it on a "
                "shared folder."
            )
        if digests([file])[file] != digest:
            raise InputError(
                f"{name}, which the parameters of {planned.name} name, differs on the worker on {machine} from the "
                "client's; copy it there, or put it on a shared folder."
            )
    return here


def record_failure(planned: PlannedRun, outputs: str, failure: Failure, again: bool = False) -> CellResult:
    """Record a cell that no worker could start or complete.

    If it succeeded nevertheless, on a worker that was only unreachable, that run is returned.

    Args:
        planned: The cell.
        outputs: The outputs folder, or an fsspec URL.
        failure: The failure.
        again: Whether only a run made after the cell was planned counts.
    """
    started, url = datetime.now(UTC), remote.is_url(outputs)
    status: Status = "died" if failure.name == "KilledWorker" else "failed"
    try:
        home = remote.working_copy(outputs)
        folder = notebook_folder(home, planned.study, planned.notebook)
        with leased(folder, planned.key):
            done = finished(folder, planned.key) or (remote.pull(folder, planned.key, outputs) if url else None)
            if done is None or (again and done.run_id < planned.run_id):
                now = replace(planned, run_id=run_id_of(planned.key))
                staging = make_staging(folder, now.run_id)
                shutil.copyfile(planned.path, staging / NOTEBOOK)
                reason, source = "No worker completed it.", source_of(planned.path)
                done = publish(record(now, status, failure, started, source, exit_reason=reason), staging)
        if url:
            remote.push(done, home, outputs, gallery=False)
    except Exception:  # whatever a disk or a store does, the client goes on
        return _not_recorded(planned, status, failure)
    return _result(done, outputs)


@dataclass(slots=True, eq=False)
class _Cell:
    """A cell without a result."""

    planned: PlannedRun
    """As it was planned here."""
    task: Task
    """As it is sent to a worker."""
    deaths: int = 0
    """Workers that died while they ran it."""
    missing: int = 0
    """Checks in a row at which no worker had it."""
    unsuitable: set[str] = field(default_factory=set)
    """Workers that lack something it needs."""

    @property
    def group(self) -> str:
        """Its model, or its notebook if it has none; cells of one group stay together."""
        return str(self.planned.values.get("model") or self.planned.name)

    @property
    def key(self) -> str:
        """Dask's key, the same for the same cell of another client."""
        options = f"{self.task.outputs} {self.task.timeout} {self.task.again}"
        digest = hashlib.sha256(options.encode()).hexdigest()[:8]
        return f"{self.planned.name}-{self.planned.key}-{digest}-{self.deaths}-{len(self.unsuitable)}"


@dataclass(slots=True)
class _Worker:
    """A worker with the client's versions."""

    slots: int
    """Cells it runs at once."""
    gpus: float
    """GPUs it offers."""
    group: str = ""
    """Group of its last cell."""


def run_on(
    address: str,
    planned: list[PlannedRun],
    outputs: Path | str = "outputs",
    timeout: float | None = None,
    again: bool = False,
    gpus: float | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[tuple[PlannedRun, CellResult]]:
    """Run cells on the workers of a Dask scheduler; successful runs are reused.

    Args:
        address: The scheduler's address, such as `tcp://host:8786`.
        planned: The cells.
        outputs: A folder that all workers see, or an fsspec URL.
        timeout: Limit for each cell in seconds.
        again: Whether to run cells even if a successful run exists.
        gpus: GPUs each cell needs, instead of what its study states.
        say: Called with a sentence for every worker that is refused or dies, and when cells wait.

    Yields:
        Each cell and how it ended, in the order in which they end.

    Raises:
        InputError: If Dask is not installed, the scheduler does not answer or stops, or every worker is refused.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("--on needs Dask; install it with: pip install distributed.") from error
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the same is reported here, in a sentence
    try:
        connected = Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address}; start one with `dask scheduler` and give the address it prints, "
            "or leave out --on to run here."
        ) from error
    if gpus is not None:
        planned = [replace(run, gpus=gpus) for run in planned]
    with connected as client:
        cells = list(map(_Cell, planned, tasks(planned, outputs, timeout, again)))
        yield from _Dispatch(client, address, cells, say).results()


def difference(here: dict[str, Any], there: dict[str, Any]) -> str:
    """Return the compared packages of which a worker has another version, as text; "" if there are none."""

    def versions(packages: dict[str, Any]) -> dict[str, str]:
        python = ".".join(str(packages.get("python")).split(".")[:2])
        return {"python": python, **{name: str(packages.get(name) or "missing") for name in COMPARED}}

    own, other = versions(here), versions(there)
    return ", ".join(f"{name} {other[name]} there and {own[name]} here" for name in own if own[name] != other[name])


class _Dispatch:
    """State of one call: waiting cells, the workers, and the cells they run."""

    def __init__(self, client: Any, address: str, cells: list[_Cell], say: Callable[[str], None]) -> None:
        self.client, self.address, self.total, self.say = client, address, len(cells), say
        self.waiting: dict[str, deque[_Cell]] = {}
        for cell in cells:
            self.waiting.setdefault(cell.group, deque()).append(cell)
        self.workers: dict[str, _Worker] = {}
        self.refused: dict[str, str] = {}
        self.futures: dict[Any, tuple[_Cell, str]] = {}
        self.done: Queue[Any] = Queue()
        self.failed: deque[tuple[_Cell, Failure]] = deque()
        self.said, self.count = set[str](), 0
        self.fitted, self.unfit_since = False, time.monotonic()

    def results(self) -> Iterator[tuple[PlannedRun, CellResult]]:
        """Yield each cell and how it ended."""
        checked = -LOOK
        while self.waiting or self.futures or self.failed:
            if time.monotonic() - checked >= LOOK:
                self._check_workers()
                checked = time.monotonic()
            self._submit()
            result = None
            if self.failed:
                cell, failure = self.failed.popleft()
                result = cell.planned, record_failure(cell.planned, cell.task.outputs, failure, cell.task.again)
            else:
                with suppress(Empty):
                    result = self._result(self.done.get(timeout=LOOK))
            if result is not None:
                self.count += 1
                yield result

    def _result(self, future: Any) -> tuple[PlannedRun, CellResult] | None:
        """The result of a future; None if the cell is tried again, has failed, or was given to another worker."""
        cell, address = self.futures.pop(future, (None, ""))
        if cell is None:
            return None
        if future.status == "cancelled":
            raise self._stopped()
        if future.status == "error":
            error = future.exception()
            message = f"The worker {address} failed: {' '.join(str(error).split())}"
            self.failed.append((cell, Failure(name=type(error).__name__, message=message)))
            return None
        result: CellResult = future.result()
        future.release()
        if result.run_id or not result.failure:
            return cell.planned, result
        if result.unsuitable:
            cell.unsuitable.add(address)
            self._say_once(result.failure.message)
        if result.unsuitable and set(self.workers) - cell.unsuitable:
            self._retry(cell)
        else:
            self.failed.append((cell, result.failure))
        return None

    def _check_workers(self) -> None:
        """Add new workers, refuse those with other versions, and retry the cells of those that died."""
        if self.client.status != "running":
            raise self._stopped()
        try:
            present, processing = self.client.scheduler_info()["workers"], self.client.processing()
            new = set(present) - set(self.workers) - set(self.refused)
            versions = self.client.get_versions(packages=list(COMPARED)) if new else {}
        except (OSError, RuntimeError, TimeoutError) as error:
            raise self._stopped() from error
        self.workers = {address: worker for address, worker in self.workers.items() if address in present}
        self.refused = {address: text for address, text in self.refused.items() if address in present}
        self._locate({key: address for address, keys in processing.items() for key in keys})
        for address in new & set(versions.get("workers", {})):
            packages = versions["workers"][address]["packages"]
            if text := difference(versions["client"]["packages"], packages):
                self.refused[address] = f"Worker {address} is refused: {text}."
                self._say_once(self.refused[address])
            else:
                worker = present[address]
                self.workers[address] = _Worker(worker["nthreads"], worker["resources"].get("GPU", 0))
        self.fitted = self.fitted or bool(self.workers)
        if self.workers or not self.refused:
            self.unfit_since = time.monotonic()
        elif not self.fitted and time.monotonic() - self.unfit_since >= PATIENCE:  # others may still be starting
            raise InputError(f"No worker at {self.address} fits. {next(iter(self.refused.values()))}")
        if not self.workers:
            which = "that fits " if self.refused else ""
            self._say_once(
                f"There is no worker {which}at {self.address} yet; waiting for one (`dask worker {self.address}`)."
            )

    def _locate(self, addresses: dict[Any, str]) -> None:
        """Note which worker runs each cell, as another client may have submitted it, and retry lost cells.

        Args:
            addresses: Key -> address of its worker. A key that no worker has at two checks was lost with its worker.
        """
        for future, (cell, address) in list(self.futures.items()):
            actual = addresses.get(future.key)
            if actual in self.workers:
                self.futures[future] = (cell, actual)
            cell.missing = 0 if actual or future.done() else cell.missing + 1
            if cell.missing > 1:
                del self.futures[future]
                future.cancel()
                self._lost(cell, address)

    def _lost(self, cell: _Cell, address: str) -> None:
        """Retry the cell of a worker that died, or fail it after too many."""
        cell.deaths, cell.missing = cell.deaths + 1, 0
        if cell.deaths > RETRIES:
            message = f"{cell.deaths} workers died while they ran it, the last {address}; look at their memory."
            self.failed.append((cell, Failure(name="KilledWorker", message=message)))
        else:
            self.say(f"Worker {address} is gone; {cell.planned.name} is run again elsewhere.")
            self._retry(cell)

    def _submit(self) -> None:
        """Give every free worker a cell."""
        running = Counter(address for _, address in self.futures.values())
        for address, worker in self.workers.items():
            while running[address] < worker.slots and (cell := self._next(address, worker)):
                worker.group = cell.group
                running[address] += 1
                future = self.client.submit(
                    run_cell,
                    cell.task,
                    key=cell.key,
                    workers=[address],
                    resources={"GPU": cell.planned.gpus} if cell.planned.gpus else None,
                    retries=RETRIES,
                    pure=False,
                )
                self.futures[future] = (cell, address)
                future.add_done_callback(self.done.put)
        if self.waiting and self.workers and not self.futures:
            cells = [cell for queue in self.waiting.values() for cell in queue]
            most = f"GPU={max(cell.planned.gpus for cell in cells):g}"
            need = f"offers {most}; start one with --resources {most}." if most != "GPU=0" else "has what they need."
            self._say_once(f"{len(cells)} cells wait for a worker that {need}")

    def _next(self, address: str, worker: _Worker) -> _Cell | None:
        """The next cell for a worker: of its last group, of a group no worker has, of the group with most cells."""
        shared = Counter(other.group for other in self.workers.values())
        for group in sorted(self.waiting, key=lambda g: (g != worker.group, shared[g] > 0, -len(self.waiting[g]))):
            queue = self.waiting[group]
            for cell in queue:
                if cell.planned.gpus <= worker.gpus and address not in cell.unsuitable:
                    queue.remove(cell)
                    if not queue:
                        del self.waiting[group]
                    return cell
        return None

    def _retry(self, cell: _Cell) -> None:
        self.waiting.setdefault(cell.group, deque()).appendleft(cell)

    def _say_once(self, sentence: str) -> None:
        if sentence not in self.said:
            self.said.add(sentence)
            self.say(sentence)

    def _stopped(self) -> InputError:
        return InputError(
            f"The scheduler at {self.address} is gone; {self.count} of {self.total} cells are done and kept. Start it "
            "and its workers again and repeat the command: only what is missing is run."
        )
