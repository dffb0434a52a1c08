"""Where a run is made: under a lease on its computation, in a hidden folder among the runs of its notebook."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import SoftFileLease, Timeout

from workbench.errors import InputError
from workbench.files import written_whole

LEASE_SECONDS = 60.0
"""A lease whose holder has shown no sign of life for so long goes to who waits for it; the same on every machine."""
POLL = 0.25
LEASE = ".lease-"
STAGING = ".staging-"
NOTEBOOK = "notebook.ipynb"
PATCH = "changes.patch"
LOG = ".kernel.log"
PROGRESS = ".progress.json"
BALLAST = ".ballast"
"""A file that only keeps room on the disk, for recording a run that fills it."""
BALLAST_BYTES = 2_000_000
OnCell = Callable[[int, int], None]
"""Told of code cells done and their total."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who is at work on a computation."""

    pid: int
    """The process; 0 while it is still writing that."""
    host: str
    """The machine."""
    silence: float
    """Seconds since its last sign of life, by the clocks of that machine and of this one."""

    @property
    def silent(self) -> bool:
        """Whether it has to be watched before anything can be said: it shows no sign of life, or clocks differ."""
        return not -1 < self.silence < LEASE_SECONDS


OnWait = Callable[[Holder], None]


@dataclass(frozen=True, slots=True)
class Hold:
    """A lease this process took."""

    path: Path
    """The lease file."""
    token: str
    """Tells this hold from every other one."""
    waited: bool
    """Whether another process had to be waited for."""

    @property
    def ours(self) -> bool:
        """Whether it still is: after this machine or its disk stood still for too long, another one takes it over."""
        try:
            return self.token in self.path.read_text(encoding="utf-8")
        except OSError as error:  # a disk that is away for a while says nothing
            return not isinstance(error, FileNotFoundError)


@contextmanager
def held(place: Path, key: str, on_wait: OnWait = lambda holder: None) -> Iterator[Hold]:
    """Holds the lease on one computation; waits for whoever holds it already.

    Whether a holder on this machine runs is asked of the system. Else, and where it stands still, its heartbeats are
    watched by a clock that nobody can set, so a clock that jumps takes no lease from a run.

    Args:
        place: The folder of the notebook's runs.
        key: The computation's key.
        on_wait: Told once who is waited for.
    """
    lease, path, waited = _lease(place, key), place / f"{LEASE}{key}", False
    while not _taken(lease, LEASE_SECONDS if waited else 2 * POLL):  # longer than `holder` looks
        if not waited and (other := _holder(lease)):
            on_wait(other)
        waited = True
    try:
        yield Hold(path, str(lease.token), waited)
    finally:
        lease.release()


def holder(place: Path, key: str) -> Holder | None:
    """Who holds the lease on a computation; None where nobody does. The lease of a process that is gone is removed."""
    lease = _lease(place, key)
    return _holder(lease) if not _freed(lease) else None


def sweep(place: Path, own: str = "", remove: bool = True, patient: bool = False) -> list[Path]:
    """Removes what processes that are gone left: their leases and half-done runs.

    Args:
        place: The folder of a notebook's runs.
        own: Key whose lease the caller holds and has not used yet: what lies there of it is a dead process's.
        remove: False only to list half-done runs.
        patient: Whether to watch silent holders for as long as their leases last; without that they stay.

    Returns:
        The half-done runs that were, or would be, removed.
    """
    with os.scandir(place) as entries:  # thousands of runs lie there too
        hidden = sorted(entry.name for entry in entries if entry.name.startswith((LEASE, STAGING)))
    leases = {key: _lease(place, key) for name in hidden if (key := _key(name)) != own}
    folders = [place / name for name in hidden if name.startswith(STAGING)]
    left = {key: [folder for folder in folders if _key(folder.name) == key] for key in leases}
    stale = [folder for folder in folders if _key(folder.name) == own]
    until = time.monotonic() + (LEASE_SECONDS + POLL if patient else 0)
    while leases:
        for key in [key for key, lease in leases.items() if _freed(lease, left[key] if remove else [])]:
            stale += left[key]
            del leases[key]
        leases = {key: lease for key, lease in leases.items() if (who := _holder(lease)) is None or who.silent}
        if not leases or time.monotonic() >= until:
            break
        time.sleep(POLL)
    _remove(stale if remove else [])
    return sorted(stale)


def _lease(place: Path, key: str) -> SoftFileLease:
    return SoftFileLease(place / f"{LEASE}{key}", lease_duration=LEASE_SECONDS)


def _key(name: str) -> str:
    return name.rpartition("-")[2]


def _taken(lease: SoftFileLease, seconds: float) -> bool:
    """Takes a lease if it is, or gets, free in this time."""
    torn = _torn(lease)
    with suppress(Timeout):
        lease.acquire(timeout=seconds, poll_interval=min(POLL, LEASE_SECONDS / 8))
        return True
    if torn and seconds >= LEASE_SECONDS and torn == _torn(lease):  # killed between making the file and writing it
        lease.break_lock()
    return False


def _torn(lease: SoftFileLease) -> tuple[int, float] | None:
    """What tells an empty lease file from another one; None if this is none."""
    with suppress(OSError):
        state = os.stat(lease.lock_file)
        return (state.st_ino, state.st_mtime) if state.st_size == 0 else None
    return None


def _freed(lease: SoftFileLease, left: list[Path] | None = None) -> bool:
    """Whether nobody holds it; if so, what was left is removed meanwhile."""
    if not os.path.exists(lease.lock_file) and not left:
        return True
    try:
        with lease.acquire(timeout=0):
            _remove(left or [])
            return True
    except (Timeout, OSError):
        return False


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _holder(lease: SoftFileLease) -> Holder | None:
    """Who a lease file names; None if it is gone."""
    try:
        silence = time.time() - os.stat(lease.lock_file).st_mtime
    except OSError:
        return None
    owner = lease.owner
    return Holder(owner.pid, owner.hostname.partition("?")[0], silence) if owner else Holder(0, "", silence)


@contextmanager
def writing(outputs: Path | str) -> Iterator[None]:
    """Turns a failure to write results into the user's sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        where = f"{error.filename}: " if error.filename else ""
        raise InputError(
            f"Cannot write results to {outputs}: {where}{reason}; name another folder with --outputs."
        ) from error


def place_of(outputs: Path, study: str, notebook: str) -> Path:
    """The folder of a notebook's runs, made if need be and found writable."""
    place = outputs.resolve() / study / notebook
    with writing(outputs):
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, prefix=".probe-", buffering=0) as probe:
            probe.write(bytes(4096))  # an empty file fits on a full disk, a lease does not
    return place


def staging_of(place: Path, run_id: str) -> Path:
    """Where a run is made, among the runs of its notebook."""
    return place / f"{STAGING}{run_id}"


def make_staging(place: Path, run_id: str) -> Path:
    """A new staging folder, with room to record a disk that fills up."""
    staging = staging_of(place, run_id)
    with writing(place):
        staging.mkdir()
        (staging / BALLAST).write_bytes(bytes(BALLAST_BYTES))
    return staging


def write_progress(staging: Path, done: int, total: int) -> None:
    """Says how many code cells are done, for whoever looks from outside."""
    with written_whole(staging / PROGRESS) as path:
        path.write_text(json.dumps({"done": done, "total": total}), encoding="utf-8")


def read_progress(staging: Path) -> tuple[int, int]:
    """Code cells done and their total; zeros where nothing is known yet."""
    try:
        content = json.loads((staging / PROGRESS).read_text(encoding="utf-8"))
        return content["done"], content["total"]
    except (OSError, ValueError, KeyError):
        return 0, 0
