"""Leases and staging folders: one process at a time makes a run, in a hidden folder beside the published ones."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from workbench.errors import InputError
from workbench.files import full_disk, note_down, owned, remove_tree, sweep_remains, written_whole
from workbench.reading import field, read_json

LEASE_SECONDS = 60.0
"""Seconds without a heartbeat after which a lease expires; the same on every machine."""
POLL = 0.25
LARGEST_LEASE = 10_000
LEASE = ".lease-"
STAGING = ".staging-"
REMOVED = ".removed-"
NOTEBOOK = "notebook.ipynb"
RECORD = "run.json"
REPORT = "report.html"
PATCH = "changes.patch"
LOG = ".kernel.log"
PROGRESS = ".progress.json"
SCRATCH = "workbench-"
"""Start of the names of folders for temporary files, in the system's folder for them."""
STOPS = [each for name in ("SIGINT", "SIGTERM", "SIGHUP") if (each := getattr(signal, name, None))]
BALLAST = ".ballast"
"""File that reserves disk space for the record of a run that fills the disk."""
BALLAST_BYTES = 2_000_000
OTHER_OUTPUTS = "name another folder with --outputs"
OnCell = Callable[[int, int], None]
"""Called with the number of finished code cells and their total."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a lease."""

    pid: int
    """Process id; 0 until the process has written it."""
    host: str
    """Name of its machine."""
    silence: float
    """Seconds since its last heartbeat, by the clocks of both machines."""

    @property
    def silent(self) -> bool:
        """Whether the heartbeat is overdue or the two clocks disagree, so that only watching it can decide."""
        return not -1 < self.silence < LEASE_SECONDS


OnWait = Callable[[Holder], None]


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease this process took."""

    path: Path
    """The lease file."""
    token: str
    """Identifies this lease in its file."""
    waited: bool
    """Whether another process had the lease first."""

    @property
    def valid(self) -> bool:
        """Whether this process still has it; another one takes it if this machine or its disk stalls for too long."""
        return self._token in (self.token, None)

    @property
    def taken(self) -> bool:
        """Whether another process has it."""
        return self._token not in (self.token, "", None)

    @property
    def _token(self) -> str | None:
        """The token in the file; "" if it has none or is gone, None while the disk is away, which proves nothing."""
        try:
            if not stat.S_ISREG(os.lstat(self.path).st_mode):
                return ""
            with self.path.open("rb") as file:
                match = re.search(rb"^token=(\w+)$", file.read(LARGEST_LEASE), re.MULTILINE)
        except OSError as error:
            return "" if isinstance(error, FileNotFoundError) else None
        return match[1].decode() if match else ""


@contextmanager
def leased(folder: Path, key: str, on_wait: OnWait = lambda holder: None) -> Iterator[Lease]:
    """Take the lease on one run, after waiting for the process that has it.

    A process on this machine that no longer runs loses its lease at once. Any other process loses it after
    `LEASE_SECONDS` without a heartbeat, measured with this process's monotonic clock: a clock that jumps ends no lease.

    Args:
        folder: The folder of the notebook's runs.
        key: The run's key.
        on_wait: Called once with the holder that is waited for.
    """
    lease, waited = _lease(folder, key), False
    _clear(folder / f"{LEASE}{key}")
    while not _taken(lease, LEASE_SECONDS if waited else 2 * POLL):  # the first look lasts longer than `holder` takes
        if not waited and (other := _holder(lease)):
            on_wait(other)
        waited = True
    try:
        yield Lease(folder / f"{LEASE}{key}", str(lease.token), waited)
    finally:
        lease.release()
        _clear(folder / f"{LEASE}{key}")


def _clear(lease: Path) -> None:
    """Remove what is in the place of a lease and is no file, and would be waited for without end."""
    with suppress(OSError):
        if not stat.S_ISREG(os.lstat(lease).st_mode):
            remove_tree(lease)


def holder(folder: Path, key: str) -> Holder | None:
    """Return the process that has the lease on a run, or None; the lease of a process that ended is removed."""
    lease = _lease(folder, key)
    return _holder(lease) if not _freed(lease) else None


def sweep(folder: Path, own: str = "", remove: bool = True, patient: bool = False) -> list[Path]:
    """Remove leases, staging folders and temporary files of processes that have ended.

    Args:
        folder: The folder of a notebook's runs.
        own: Key whose lease the caller has just taken; its older staging folders are abandoned.
        remove: False to list staging folders without removing them.
        patient: Whether to watch silent holders until their leases expire; otherwise they stay.

    Returns:
        The abandoned staging folders.
    """
    if remove:
        for place in (folder, *folder.parents[:2]):
            sweep_remains(place)
    with os.scandir(folder) as entries:  # only the hidden ones: thousands of runs can lie there
        hidden = sorted(entry.name for entry in entries if entry.name.startswith((LEASE, STAGING, REMOVED)))
    _remove([folder / name for name in hidden if name.startswith(REMOVED)] if remove else [])
    leases = {
        key: _lease(folder, key) for name in hidden if (key := _key(name)) != own and not name.startswith(REMOVED)
    }
    staging: defaultdict[str, list[Path]] = defaultdict(list)
    for name in hidden:
        if name.startswith(STAGING):
            staging[_key(name)].append(folder / name)
    abandoned = [*staging[own]]
    until = time.monotonic() + (LEASE_SECONDS + POLL if patient else 0)
    while leases:
        for key in [key for key, lease in leases.items() if _freed(lease, staging[key] if remove else [])]:
            abandoned += staging[key]
            del leases[key]
        leases = {key: lease for key, lease in leases.items() if (other := _holder(lease)) is None or other.silent}
        if not leases or time.monotonic() >= until:
            break
        time.sleep(POLL)
    _remove(abandoned if remove else [])
    return sorted(abandoned)


def _lease(folder: Path, key: str) -> SoftFileLease:
    return SoftFileLease(folder / f"{LEASE}{key}", lease_duration=LEASE_SECONDS)


def _key(name: str) -> str:
    return name.rpartition("-")[2]


def _taken(lease: SoftFileLease, seconds: float) -> bool:
    """Take a lease if it is free or becomes free within this time."""
    empty = _empty(lease)
    with suppress(Timeout, LeaseSettingsMismatch):
        lease.acquire(timeout=seconds, poll_interval=min(POLL, LEASE_SECONDS / 8))
        return True
    if empty and seconds >= LEASE_SECONDS and empty == _empty(lease):  # its process died before it wrote the file
        lease.break_lock()
    return False


def _empty(lease: SoftFileLease) -> tuple[int, float] | None:
    """Inode and time of an empty lease file; None if there is none."""
    with suppress(OSError):
        state = os.stat(lease.lock_file)
        return (state.st_ino, state.st_mtime) if state.st_size == 0 else None
    return None


def _freed(lease: SoftFileLease, abandoned: list[Path] | None = None) -> bool:
    """Whether no process has the lease; if so, these folders are removed under it."""
    if not os.path.exists(lease.lock_file) and not abandoned:
        return True
    try:
        with lease.acquire(timeout=0):
            _remove(abandoned or [])
            return True
    except (Timeout, OSError, LeaseSettingsMismatch):
        return False


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        remove_tree(folder)


def _holder(lease: SoftFileLease) -> Holder | None:
    """The process a lease file names; None if there is no file."""
    try:
        silence = time.time() - os.stat(lease.lock_file).st_mtime
    except OSError:
        return None
    owner = lease.owner
    return Holder(owner.pid, owner.hostname.partition("?")[0], silence) if owner else Holder(0, "", silence)


@contextmanager
def writing(outputs: Path | str) -> Iterator[None]:
    """Raise InputError where results cannot be written to this folder."""
    try:
        yield
    except OSError as error:
        if full := full_disk(error.__cause__ or error, Path(outputs), instead=OTHER_OUTPUTS):
            raise full from error
        reason = error.strerror or type(error).__name__
        where = f"{error.filename}: " if error.filename else ""
        raise InputError(f"Cannot write results to {outputs}: {where}{reason}; {OTHER_OUTPUTS}.") from error


def notebook_folder(outputs: Path, study: str, notebook: str) -> Path:
    """Return the folder of a notebook's runs, created if needed and checked to be writable."""
    folder = outputs.resolve() / study / notebook
    with writing(outputs):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=owned(".probe-"), buffering=0) as probe:
            probe.write(bytes(4096))  # a full disk still takes an empty file, but no lease
    return folder


def make_staging(folder: Path, run_id: str) -> Path:
    """Create the staging folder of a run, with disk space reserved for its record."""
    staging = folder / f"{STAGING}{run_id}"
    with writing(folder):
        staging.mkdir()
        try:
            note_down(staging, "begun", {"run_id": run_id})  # by which the folder is known again
            (staging / BALLAST).write_bytes(bytes(BALLAST_BYTES))
        except BaseException:
            remove_tree(staging)
            raise
    return staging


def write_progress(staging: Path, done: int, total: int) -> None:
    """Write the number of finished code cells and their total, for `workbench status`."""
    with written_whole(staging / PROGRESS) as path:
        path.write_text(json.dumps({"done": done, "total": total}), encoding="utf-8")


def read_progress(staging: Path) -> tuple[int, int]:
    """Return the number of finished code cells and their total; zeros if none was written."""
    try:
        content = read_json(staging / PROGRESS, largest=LARGEST_LEASE)
        return field(content, "done", int, "progress"), field(content, "total", int, "progress")
    except InputError:
        return 0, 0


class Stops:
    """Signals that stop a run, deferred but for one of them in each block `allowed`."""

    def __init__(self) -> None:
        self.open = self.raised = False
        self.came: list[int] = []
        self.handlers: dict[int, Any] = {}

    def __call__(self, number: int, frame: Any) -> None:
        """Handle a signal."""
        if self.open:
            self.open, self.raised = False, True  # what follows is kept, however often a user presses Ctrl-C
            self.handlers[number](number, frame)
            self.open, self.raised = True, False
        else:
            self.came.append(number)

    @contextmanager
    def allowed(self, earlier: bool = True) -> Iterator[None]:
        """Let the first signal of this block, or of the time before if `earlier`, raise KeyboardInterrupt."""
        self.open = True
        try:
            if self.came and earlier:
                self(self.came.pop(), None)
            yield
        finally:
            self.open = False

    def postpone(self) -> None:
        """Raise the KeyboardInterrupt that was just caught again at the end."""
        self.raised = False
        self.came.append(signal.SIGINT)


@contextmanager
def stops_deferred() -> Iterator[Stops]:
    """Defer SIGINT, SIGTERM and SIGHUP to the end of the block, where this process handles them in Python."""
    stops = Stops()
    if threading.current_thread() is threading.main_thread():  # which alone handles signals
        stops.handlers = {each: handler for each in STOPS if callable(handler := signal.getsignal(each))}
    for number in stops.handlers:
        signal.signal(number, stops)
    try:
        yield stops
    finally:
        for number, handler in stops.handlers.items():
            signal.signal(number, handler)
        if stops.came and not stops.raised:
            stops.handlers[stops.came[0]](stops.came[0], None)


def sweep_scratch() -> None:
    """Remove the temporary folders of killed processes, and end the kernels that have outlived them."""
    removed = [str(path) for path in sweep_remains(Path(tempfile.gettempdir()))]
    for process in Path("/proc").glob("[0-9]*") if removed else ():
        with suppress(OSError, ValueError):
            command = (process / "cmdline").read_text("utf-8", "replace")
            if "ipykernel" in command and any(f"{path}/kernel.json" in command for path in removed):
                os.kill(int(process.name), signal.SIGKILL)
