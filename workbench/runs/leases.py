"""One process at a time on one computation, on any machine that shares the folder: a lease file with a heartbeat.

The file is made with `O_EXCL`, so one process gets it, and removed by one process at a time, whoever it belonged to.
Whether a holder on this machine works is asked of the system, by process and start of it. Of one elsewhere only the
heartbeat tells. Its age is taken by the clock of the file system, and as clocks jump, a lease that looks too old, or
younger than now, is also watched for some beats by a clock that cannot be set.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

LIFETIME = 60.0
"""Seconds without a heartbeat after which a lease on another machine is silent."""
BEAT = 5.0
WATCH = 3 * BEAT
"""Seconds a silent lease is watched before it counts as abandoned."""
POLL = 0.25
STAGING = ".staging-"
LEASE = ".lease-"
_seen: dict[Path, tuple[str, float, float]] = {}
"""Lease file -> the token and the beat last seen, and when this process first saw them, by its monotonic clock."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who is at work on a computation."""

    path: Path
    """The lease file."""
    host: str
    """Name of the machine; empty while its holder is writing the file."""
    pid: int
    """The process on it."""
    started: float
    """When it began, in seconds since 1970."""
    token: str
    """Tells this lease from every other one."""
    machine: str
    """Tells machines of one name apart, and the same one before and after a start."""
    birth: str
    """When the process started, in the system's terms: numbers of processes are used again."""
    beat: float
    """The last heartbeat, by the clock of the file system."""
    seen: float
    """When this process first saw that heartbeat, by its monotonic clock."""

    def look(self) -> Literal["works", "silent", "gone"]:
        """What its holder does, as far as can be told now; one that is silent has to be watched a while longer."""
        if self.machine == _machine():
            return "works" if _birth(self.pid) == self.birth else "gone"
        if -1 < _now(self.path.parent) - self.beat < LIFETIME:
            return "works"
        return "gone" if time.monotonic() - self.seen >= WATCH else "silent"

    @property
    def live(self) -> bool:
        """Whether its holder still works; a silent one is watched for that, for up to 15 seconds."""
        lease: Lease | None = self
        while lease and lease.token == self.token and lease.look() == "silent":
            time.sleep(min(POLL, WATCH / 4))
            lease = read_lease(self.path)
        return lease is not None and lease.token == self.token and lease.look() == "works"


OnWait = Callable[[Lease], None]


@dataclass(frozen=True, slots=True)
class Hold:
    """A lease this process took."""

    path: Path
    """The lease file."""
    token: str
    """The lease's token."""
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
def held(place: Path, key: str, on_wait: OnWait = lambda lease: None) -> Iterator[Hold]:
    """Holds the lease on one computation; waits for whoever holds it already.

    Args:
        place: The folder of the notebook's runs.
        key: The computation's key.
        on_wait: Told once who is waited for.
    """
    path, token, waited, told = place / f"{LEASE}{key}", uuid.uuid4().hex, False, False
    while (other := _take(path, token)) is not None:
        if other.host and not told:  # not while it is still being written
            on_wait(other)
            told = True
        waited = True
        time.sleep(POLL if other.machine == _machine() else 4 * POLL)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, token, stop), daemon=True)
    heart.start()
    try:
        yield Hold(path, token, waited)
    finally:
        stop.set()
        heart.join()
        while (lease := read_lease(path)) and lease.token == token:  # once, unless another one is about to
            _bury(path, token)


def read_lease(path: Path) -> Lease | None:
    """The lease in a file; None where there is none. Of a torn one only its heartbeat is known."""
    try:
        with path.open(encoding="utf-8") as file:  # opened, as network file systems are only then up to date
            text, beat = file.read(), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    try:
        content = json.loads(text)
        host, pid, started = content["host"], content["pid"], content["started"]
        token, machine, birth = content["token"], content["machine"], content["birth"]
    except (ValueError, KeyError, TypeError):
        host, pid, started, token, machine, birth = "", 0, beat, "", "", ""
    before, last, since = _seen.get(path, ("", 0.0, 0.0))
    if (before, last) != (token, beat) or not since:
        since = time.monotonic()
        _seen[path] = (token, beat, since)
    return Lease(path, host, pid, started, token, machine, birth, beat, since)


def sweep(place: Path, own: str = "", remove: bool = True, patient: bool = False) -> list[Path]:
    """Removes what processes that are gone left: their leases and half-done runs.

    Args:
        place: The folder of a notebook's runs.
        own: Key whose lease the caller holds and has not used yet: what lies there of it is a dead process's.
        remove: False only to list them.
        patient: Whether to watch silent leases until it is clear; without that they stay.

    Returns:
        What was, or would be, removed.
    """
    with os.scandir(place) as entries:  # thousands of runs lie there too
        hidden = sorted(entry.name for entry in entries if entry.name.startswith("."))
    leases = [read_lease(place / name) for name in hidden if name.startswith(LEASE)]
    stale: list[Path] = []
    for path in [place / name for name in hidden if name.startswith(STAGING)]:
        key = path.name.rpartition("-")[2]
        lease = read_lease(place / f"{LEASE}{key}")
        if key == own or lease is None or _over(lease, patient):
            stale.append(path)
            shutil.rmtree(path, ignore_errors=True) if remove else None
    gone = [lease for lease in leases if lease and _over(lease, patient)]
    for lease in gone if remove else []:
        _bury(lease.path, lease.token, lease.beat)
    return sorted([*stale, *(lease.path for lease in gone)])


def _over(lease: Lease, patient: bool) -> bool:
    return not lease.live if patient else lease.look() == "gone"


def _take(path: Path, token: str) -> Lease | None:
    """Takes a lease that is free or abandoned; else says who holds it."""
    content = {"host": platform.node(), "pid": os.getpid(), "started": time.time(), "token": token}
    content |= {"machine": _machine(), "birth": _birth(os.getpid())}
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if (other := read_lease(path)) is None:
                continue
            if other.look() != "gone":
                return other
            _bury(path, other.token, other.beat)
            continue
        try:
            os.write(handle, json.dumps(content).encode())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return None


def _bury(path: Path, token: str, beat: float | None = None) -> None:
    """Removes one lease, and no other that somebody took in the meantime.

    Whoever removes it holds a lease on that, `<lease>.<token>`: so between the look and the removal nobody else does,
    and nobody can take the name. Its holder may die too; then it is abandoned as any other one.

    Args:
        path: The lease file.
        token: The lease's token.
        beat: For a lease that was found abandoned, its last heartbeat: if it beats again, it stays.
    """
    guard, guarded = path.with_name(f"{path.name}.{token[:8]}"), True
    try:
        if _take(guard, uuid.uuid4().hex) is not None:
            time.sleep(POLL / 10)
            return
    except OSError:  # a full disk: its own lease a process gives back without that
        if beat is not None:
            raise
        guarded = False
    lease = read_lease(path)
    if lease and lease.token == token and beat in (None, lease.beat):
        path.unlink(missing_ok=True)
    if guarded:
        guard.unlink(missing_ok=True)
    for gone in (path, guard):
        _seen.pop(gone, None)


def _beat(path: Path, token: str, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        with suppress(OSError):  # a disk that is away for a while
            if (lease := read_lease(path)) and lease.token == token:
                os.utime(path)


def _now(folder: Path) -> float:
    """The time by the clock of the folder's file system, which stamps the heartbeats too."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".now-") as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


@cache
def _machine() -> str:
    """This machine since it was started, and within it the container whose numbers of processes are meant."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _birth(pid: int) -> str:
    """When a process started; `runs` where the system tells no more than that, and nothing if it does not run."""
    with suppress(OSError, IndexError):
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return "" if state[0] in "ZX" else state[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        return "runs"
    return "runs"
