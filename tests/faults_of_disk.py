"""Let the n-th call of a disk fail, or be the last one before a kill: fault injection as SQLite does it.

An action runs in a forked process in which each open, write, fsync, rename, unlink, mkdir, rmdir, truncate and link
inside one folder is counted. At the n-th one the call fails, or the process is killed, a write after half of its bytes.
SQLite's own calls are counted after `count_sqlite`. Those of other libraries (Arrow) are not seen; `largest` bounds the
size of their files.
"""

from __future__ import annotations

import _sqlite3
import builtins
import ctypes
import errno
import io
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

KILL = "kill"
FAULTS = ("ENOSPC", "EIO", "EACCES", KILL)
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
GROWS = ("open", "write", "os.mkdir", "os.rename", "os.symlink", "os.link")
"""Calls that fail on a full disk, which stays full."""
step: Callable[[str], None] = lambda what: None  # noqa: E731
"""Counts a call that is not seen otherwise, in the process of an action."""
SECONDS = 60
"""After this time an action counts as hanging."""


@dataclass(frozen=True)
class Outcome:
    """How an action ended."""

    text: str
    """`ok`, `killed`, `fault <call>`, or the type of an exception and its text."""
    calls: int
    """Calls that were counted; fewer than n if there was no fault."""

    @property
    def sentence(self) -> bool:
        """Whether it ended well, or in one sentence for the user."""
        kinds = ("ok", "killed", "InputError: ", "DiskFull: ")
        return self.text.startswith(kinds) and "\n" not in self.text.strip()


class _Disk:
    def __init__(self, folder: Path, fault: str, at: int, count: int) -> None:
        self.folder, self.fault, self.at, self.memory = str(folder), fault, at, count
        self.calls, self.busy = 0, False

    def call(self, what: str) -> None:
        """Count a call, and fail or kill if it is its turn."""
        self.calls += 1
        os.pwrite(self.memory, self.calls.to_bytes(8, "little"), 0)
        full = self.fault == "ENOSPC" and 0 < self.at <= self.calls and what in GROWS
        if full or (self.calls == self.at and self.fault != "ENOSPC"):
            if self.fault == KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            code = getattr(errno, self.fault)
            raise OSError(code, os.strerror(code), self.folder)

    def write(self, real: Callable[[bytes], int], block: Any) -> int:
        """Write; the last one before a kill or on a full disk writes half, as the system does."""
        if self.calls + 1 == self.at and self.fault in ("ENOSPC", KILL) and len(block) > 1:
            written = real(bytes(block)[: len(bytes(block)) // 2])
            if self.fault == KILL:
                self.call("write")
            self.calls += 1
            return written
        self.call("write")
        return real(block)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and not self.busy and isinstance(arguments[0], (str, os.PathLike)):
            path = os.fspath(arguments[0])
            if isinstance(path, str) and (path.startswith(self.folder) or not os.path.isabs(path)):
                self.busy = True
                try:
                    writes = event != "open" or (
                        isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_WRONLY)
                    )
                    self.call(event if writes else "read")
                finally:
                    self.busy = False


def _install(disk: _Disk) -> None:
    """Count calls of this process from now on; cannot be undone."""
    real_open, real_write = io.open, os.write

    class Raw(io.FileIO):
        def write(self, block: Any) -> int:
            return disk.write(super().write, block)

    def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
        names = dict(zip(("encoding", "errors", "newline", "closefd", "opener"), rest)) | more
        inside = not isinstance(file, int) and str(file).startswith(disk.folder)
        if not set(mode) & set("wax+") or not inside:
            return real_open(file, mode, buffering, *rest, **more)
        raw = Raw(file, mode.replace("b", "").replace("t", ""), names.pop("closefd", True), names.pop("opener", None))
        if "b" in mode and buffering == 0:
            return raw
        whole = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return whole if "b" in mode else io.TextIOWrapper(whole, **names)

    def write(handle: int, block: bytes) -> int:
        return disk.write(partial(real_write, handle), block) if handle > 2 else real_write(handle, block)

    def synced(real: Callable[[int], None], handle: int) -> None:
        disk.call("fsync")
        real(handle)

    builtins.open = io.open = opened  # type: ignore[assignment]
    os.write = write
    os.fsync, os.fdatasync = partial(synced, os.fsync), partial(synced, os.fdatasync)  # type: ignore[assignment]
    sys.addaudithook(disk.hook)


class _System(ctypes.Structure):
    """SQLite's table of system calls, https://sqlite.org/c3ref/vfs.html."""

    _fields_ = [
        ("numbers", ctypes.c_int * 3),
        ("pointers", ctypes.c_void_p * 16),
        ("set", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)),
        ("get", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)),
    ]


SYSTEM_CALL = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 6, use_errno=True)
SQLITE = {"pwrite64": "write", "ftruncate": "write", "unlink": "os.remove", "open": "open"}
SQLITE |= dict.fromkeys(("access", "stat", "fstat", "fcntl", "read", "pread64", "mmap"), "read")
_kept: list[object] = []


def count_sqlite() -> None:
    """Count SQLite's own system calls too, in the process of an action."""
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = ctypes.c_void_p
    system = _System.from_address(library.sqlite3_vfs_find(None))

    def counted(real: Callable[..., int], what: str, *arguments: int) -> int:
        try:
            step(what)
        except OSError as error:
            ctypes.set_errno(error.errno or 0)
            return -1
        return real(*arguments)

    for name, what in SQLITE.items():
        call = SYSTEM_CALL(partial(counted, SYSTEM_CALL(system.get(ctypes.byref(system), name.encode())), what))
        _kept.append(call)
        assert system.set(ctypes.byref(system), name.encode(), ctypes.cast(call, ctypes.c_void_p)) == 0


def run(action: Callable[[Path], object], folder: Path, fault: str = "", at: int = 0, largest: int = 0) -> Outcome:
    """Run an action on a folder in a forked process.

    Args:
        action: What to do.
        folder: Passed to the action; calls on paths inside are counted.
        fault: One of `FAULTS`.
        at: Number of the call that fails; 0 for none.
        largest: Bytes that any file may grow to; 0 for no limit.
    """
    global step
    count = os.memfd_create("calls") if hasattr(os, "memfd_create") else os.open(os.devnull, os.O_RDWR)
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        text = "ok"
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            os.chdir(folder)
            if largest:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            disk = _Disk(folder, fault, at, count)
            _install(disk)
            step = disk.call
            action(folder)
        except BaseException as error:
            known = isinstance(error, ValueError | OSError) and type(error).__name__ in ("InputError", "DiskFull")
            text = f"{type(error).__name__}: {error if known else traceback.format_exc()}"
        finally:
            os.writev(theirs, [text.encode("utf-8", "replace")[:30_000]])
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        text = answer.read().decode()
    _, status = os.waitpid(child, 0)
    calls = int.from_bytes(os.pread(count, 8, 0), "little")
    os.close(count)
    if os.WIFSIGNALED(status):
        text = "killed" if os.WTERMSIG(status) == signal.SIGKILL else f"hung or crashed, signal {os.WTERMSIG(status)}"
    return Outcome(text, calls)


def exhaust(
    prepare: Callable[[Path], object],
    action: Callable[[Path], object],
    top: Path,
    every: int = 1,
    faults: tuple[str, ...] = FAULTS,
) -> Iterator[tuple[Path, str, Outcome]]:
    """Yield (folder, name of the fault, outcome) after each fault of an action, until an execution has none.

    Args:
        prepare: Fills a new folder before each execution.
        action: What is executed.
        top: Folder of the folders.
        every: Faults to skip: each call meets only every so-many-th kind, so that all calls are covered and all kinds.
        faults: The kinds.
    """
    for kind, fault in enumerate(faults):
        at = 1 + kind % every
        while True:
            folder = top / f"{fault}-{at}"
            folder.mkdir(parents=True)
            prepare(folder)
            outcome = run(action, folder, fault, at)
            if outcome.calls < at:
                break
            yield folder, f"{fault} at call {at}", outcome
            at += every


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
