"""Cells handed to the workers of a Dask scheduler, and what a worker does with one.

Results are on disk, or on the store, when a cell ends; what goes back to the client is a few words. Dask carries the
cells, watches workers, collapses equal keys of two clients and keeps track of resources. What is decided here is which
cell a worker gets: one of the model it had last, then of a model no other worker has.
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
from workbench.files import digests, root, sha256_of, written_whole
from workbench.runs import remote
from workbench.runs.execution import execute, publish
from workbench.runs.listing import finished
from workbench.runs.place import NOTEBOOK, held, make_staging, place_of, writing
from workbench.runs.record import Failure, Run, Status, host, source_of
from workbench.runs.studies import PlannedRun, code_digest, run_id_of

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
        source=source_of(planned.path),
        host=host(),
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


CONNECT = 8.0
"""Seconds a scheduler has to answer."""
LOOK = 1.0
"""Seconds between two looks at which workers there are."""
PATIENCE = 10.0
"""Seconds after which a client gives up that has met only workers that do not fit."""
RETRIES = 2
"""How often a cell is tried again after its worker died, or after an error that is not the notebook's."""
COMPARED = ("workbench", "torch", "transformers", "numpy", "pandas")
Say = Callable[[str], None]


@dataclass(slots=True, eq=False)
class _Cell:
    """A cell that has not ended."""

    planned: PlannedRun
    """As it was planned here."""
    errand: Errand
    """As it goes to a worker."""
    gpus: float
    """GPUs it needs."""
    tries: int = 0
    """How many workers died of it."""
    missing: int = 0
    """At how many looks in a row no worker had it."""
    refused_by: set[str] = field(default_factory=set)
    """Workers that lack something it needs."""

    @property
    def group(self) -> str:
        """Cells of one model belong together; without a model, those of one notebook."""
        values = self.planned.parameters_given | self.planned.parameters_default
        return str(values.get("model") or self.planned.name)

    @property
    def key(self) -> str:
        """The same for the same cell of another client."""
        way = f"{self.errand.outputs} {self.errand.timeout} {self.errand.again}"
        digest = hashlib.sha256(way.encode()).hexdigest()[:8]
        return f"{self.planned.name}-{self.planned.key}-{digest}-{self.tries}-{len(self.refused_by)}"


@dataclass(slots=True)
class _Worker:
    """A worker that has what this client has."""

    slots: int
    """Cells it runs at once."""
    gpus: float
    """GPUs it offers."""
    group: str = ""
    """What its last cell belonged to."""
    cells: list[_Cell] = field(default_factory=list)
    """Cells it is running."""


def run_on(
    address: str,
    planned: list[PlannedRun],
    outputs: Path | str = "outputs",
    timeout: float | None = None,
    again: bool = False,
    gpus: float | None = None,
    say: Say = print,
) -> Iterator[tuple[PlannedRun, Ended]]:
    """Runs cells on the workers of a Dask scheduler; what went well before is not run again.

    Args:
        address: The scheduler's, such as `tcp://host:8786`.
        planned: The cells.
        outputs: A folder all workers see, or an fsspec URL.
        timeout: Seconds a cell may take.
        again: Whether to run also what went well before.
        gpus: GPUs each cell needs, over what its study says.
        say: Told in a sentence who is refused, who died and what is waited for.

    Yields:
        Each cell and how it ended, as they end.

    Raises:
        InputError: If Dask is not installed, no scheduler answers or it goes away, or no worker fits this client.
    """
    with _connected(address) as client:
        cells = [
            _Cell(one, errand, one.gpus if gpus is None else gpus)
            for one, errand in zip(planned, errands(planned, outputs, timeout, again))
        ]
        yield from _Dispatch(client, address, cells, say).ends()


def _connected(address: str) -> Any:
    """A client of the scheduler at this address."""
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("--on needs Dask; install it with: pip install 'workbench[cluster]'.") from error
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they would say is said here, in a sentence
    try:
        return Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address}; start one with `dask scheduler` and give the address it prints, "
            "or leave out --on to run here."
        ) from error


def difference(here: dict[str, Any], there: dict[str, Any]) -> str:
    """What a worker's packages have in another version, in words; empty if nothing that matters."""

    def versions(packages: dict[str, Any]) -> dict[str, str]:
        python = ".".join(str(packages.get("python")).split(".")[:2])
        return {"python": python, **{name: str(packages.get(name) or "missing") for name in COMPARED}}

    mine, its = versions(here), versions(there)
    return ", ".join(f"{name} {its[name]} there and {mine[name]} here" for name in mine if mine[name] != its[name])


class _Dispatch:
    """The state of one call: cells that wait, workers and what they run."""

    def __init__(self, client: Any, address: str, cells: list[_Cell], say: Say) -> None:
        self.client, self.address, self.total, self.say = client, address, len(cells), say
        self.waiting: dict[str, deque[_Cell]] = {}
        for cell in cells:
            self.waiting.setdefault(cell.group, deque()).append(cell)
        self.workers: dict[str, _Worker] = {}
        self.refused: dict[str, str] = {}
        self.futures: dict[Any, tuple[_Cell, str]] = {}
        self.done: Queue[Any] = Queue()
        self.failed: deque[tuple[_Cell, Failure]] = deque()
        self.looked, self.said, self.count = -LOOK, set[str](), 0
        self.unfit_since: float | None = None
        self.fitted = False

    def ends(self) -> Iterator[tuple[PlannedRun, Ended]]:
        """Each cell and how it ended."""
        while self.waiting or self.futures or self.failed:
            if time.monotonic() - self.looked >= LOOK:
                self._look()
                self.looked = time.monotonic()
            self._feed()
            while self.failed:
                self.count += 1
                cell, failure = self.failed.popleft()
                yield cell.planned, record_failure(cell.planned, cell.errand.outputs, failure, cell.errand.again)
            with suppress(Empty):
                if (told := self._ended(self.done.get(timeout=LOOK))) is not None:
                    self.count += 1
                    yield told

    def _ended(self, future: Any) -> tuple[PlannedRun, Ended] | None:
        """What a future brought; None if its cell has to be tried again, or is no longer waited for."""
        cell, address = self.futures.pop(future, (None, ""))
        if cell is None:
            return None
        if future.status == "cancelled":
            raise self._gone()
        self._relieve(address, cell)
        if future.status == "error":
            error = future.exception()
            message = f"The worker {address} failed: {' '.join(str(error).split())}"
            self.failed.append((cell, Failure(name=type(error).__name__, message=message)))
            return None
        result: Ended = future.result()
        future.release()
        if result.lacking and result.failure:
            cell.refused_by.add(address)
            self._once(result.failure.message)
            self._again(cell) if set(self.workers) - cell.refused_by else self.failed.append((cell, result.failure))
            return None
        if not result.run_id and result.failure:
            self.failed.append((cell, result.failure))
            return None
        return cell.planned, result

    def _look(self) -> None:
        """Welcomes new workers, refuses those that differ, and takes back the cells of those that are gone."""
        if self.client.status != "running":
            raise self._gone()
        try:
            there, at_work = self.client.scheduler_info()["workers"], self.client.processing()
            new = set(there) - set(self.workers) - set(self.refused)
            versions = self.client.get_versions(packages=list(COMPARED)) if new else {}
        except (OSError, RuntimeError, TimeoutError) as error:
            raise self._gone() from error
        self.workers = {known: worker for known, worker in self.workers.items() if known in there}
        self.refused = {known: words for known, words in self.refused.items() if known in there}
        self._follow({key: address for address, keys in at_work.items() for key in keys})
        for address in new & set(versions.get("workers", {})):
            packages = versions["workers"][address]["packages"]
            if words := difference(versions["client"]["packages"], packages):
                self.refused[address] = f"Worker {address} is refused: {words}."
                self._once(self.refused[address])
            else:
                told = there[address]
                self.workers[address] = _Worker(told["nthreads"], told["resources"].get("GPU", 0))
        self.fitted = self.fitted or bool(self.workers)
        if self.workers or not self.refused:
            self.unfit_since = None
        elif self.unfit_since is None:
            self.unfit_since = time.monotonic()
        elif not self.fitted and time.monotonic() - self.unfit_since >= PATIENCE:  # others may still be starting
            raise InputError(f"No worker at {self.address} fits. {next(iter(self.refused.values()))}")
        if not self.workers:
            which = "that fits " if self.refused else ""
            self._once(
                f"There is no worker {which}at {self.address} yet; waiting for one (`dask worker {self.address}`)."
            )

    def _follow(self, places: dict[Any, str]) -> None:
        """Notes where cells really are, as another client may have placed them, and takes lost ones back.

        Args:
            places: Key -> address of the worker that has it. What no worker has at two looks, its worker died with.
        """
        for future, (cell, address) in list(self.futures.items()):
            place = places.get(future.key)
            if place in self.workers and place != address:
                self._relieve(address, cell)
                self.workers[place].cells.append(cell)
                self.futures[future] = (cell, place)
            cell.missing = 0 if place or future.done() else cell.missing + 1
            if cell.missing > 1:
                del self.futures[future]
                future.cancel()
                self._relieve(address, cell)
                self._lost(cell, address)

    def _relieve(self, address: str, cell: _Cell) -> None:
        """Takes a cell off a worker; one that was away and came back under its old address does not have it."""
        worker = self.workers.get(address)
        if worker and cell in worker.cells:
            worker.cells.remove(cell)

    def _lost(self, cell: _Cell, address: str) -> None:
        """Takes the cell of a worker that is gone back."""
        cell.tries, cell.missing = cell.tries + 1, 0
        if cell.tries > RETRIES:
            message = f"{cell.tries} workers died while they ran it, the last {address}; look at their memory."
            self.failed.append((cell, Failure(name="KilledWorker", message=message)))
        else:
            self.say(f"Worker {address} is gone; {cell.planned.name} is run again elsewhere.")
            self._again(cell)

    def _feed(self) -> None:
        """Gives every free worker a cell."""
        for address, worker in self.workers.items():
            while len(worker.cells) < worker.slots and (cell := self._next(address, worker)):
                worker.group = cell.group
                worker.cells.append(cell)
                needs = {"GPU": cell.gpus} if cell.gpus else None
                future = self.client.submit(
                    run_cell,
                    cell.errand,
                    key=cell.key,
                    workers=[address],
                    resources=needs,
                    retries=RETRIES,
                    pure=False,
                )
                self.futures[future] = (cell, address)
                future.add_done_callback(self.done.put)
        if self.waiting and self.workers and not self.futures:
            cells = [cell for queue in self.waiting.values() for cell in queue]
            most = f"GPU={max(cell.gpus for cell in cells):g}"
            need = f"offers {most}; start one with --resources {most}." if most != "GPU=0" else "has what they need."
            self._once(f"{len(cells)} cells wait for a worker that {need}")

    def _next(self, address: str, worker: _Worker) -> _Cell | None:
        """The next cell for a worker: of its model, of one nobody has, of the one with most cells left."""
        shared = Counter(other.group for other in self.workers.values())
        groups = sorted(self.waiting, key=lambda g: (g != worker.group, shared[g] > 0, -len(self.waiting[g])))
        for group in groups:
            queue = self.waiting[group]
            for cell in queue:
                if cell.gpus <= worker.gpus and address not in cell.refused_by:
                    queue.remove(cell)
                    if not queue:
                        del self.waiting[group]
                    return cell
        return None

    def _again(self, cell: _Cell) -> None:
        self.waiting.setdefault(cell.group, deque()).appendleft(cell)

    def _once(self, sentence: str) -> None:
        if sentence not in self.said:
            self.said.add(sentence)
            self.say(sentence)

    def _gone(self) -> InputError:
        return InputError(
            f"The scheduler at {self.address} is gone; {self.count} of {self.total} cells are done and kept. Start it "
            "and its workers again and repeat the command: only what is missing is run."
        )
