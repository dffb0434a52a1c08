"""Locations on disk, atomic writes, and hashes of files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from workbench.errors import DiskFull, InputError
from workbench.reading import opened_file, printable, read_bytes, read_json

CACHE_VARIABLE = "WORKBENCH_CACHE"
RUN_FOLDER = "WORKBENCH_RUN_FOLDER"
"""Environment variable with the folder of the current notebook's run."""
NOTES = ".notes.jsonl"
"""File of that folder with a line for each entry of the run's record."""
INSIDE_CELL = ".inside-cell"
"""File of that folder with the progress of the present cell."""
LARGEST_NOTE = 10_000_000
CHECKOUT = Path(__file__).resolve().parents[1]
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
FULL_TEXT = re.compile(
    r"no space left on device|dis[ck] quota exceeded|disk is full|not enough space on the disk|os error (28|112|122)\b",
    re.IGNORECASE,
)
"""How systems and libraries name a full disk in the text of an error."""
PROBE = 65_536
SETTLED = 2.0
"""Seconds after which a file's times distinguish a later write from this one."""
LARGEST = 10**12
"""Bytes of a file that is hashed."""


def cache_folder() -> Path:
    """Return the folder of fetched models, data and stored answers; `WORKBENCH_CACHE` moves it."""
    try:
        return Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("workbench", appauthor=False)).expanduser()
    except RuntimeError as error:  # no HOME, or ~ of an unknown user
        raise InputError(f"The cache folder is unknown ({error}); set {CACHE_VARIABLE} to a folder.") from error


def root() -> Path:
    """Return the folder of `studies/` and `notebooks/`: the current one, else the checkout of this package."""
    here = Path.cwd()
    return here if (here / "studies").is_dir() else CHECKOUT


def user_path(source: str | os.PathLike[str], here: Path | None = None) -> Path:
    """Return the path of a user's file or folder: in the current folder, or if it is not there in the checkout.

    `workbench run`, papermill and JupyterLab start notebooks in different folders, and this is the rule of all three.

    Args:
        source: As the user wrote it; ~ is the home folder, where there is one.
        here: Where relative paths start from; None for the current folder.

    Returns:
        The path as written, if nothing is there.

    Raises:
        InputError: If both folders have it.
    """
    path = Path(source)
    with suppress(RuntimeError, ValueError):
        path = path.expanduser()
    here = here or Path()
    try:
        near, far = here / path, root() / path
        if near == far or not far.exists():
            return near
        if not near.exists():
            return far
        if near.samefile(far):
            return near
    except (OSError, ValueError):  # what cannot be looked up is refused by what opens it
        return here / path
    raise InputError(
        f"{str(source)!r} is both in {str(here.resolve())!r} and in {str(root())!r}; write the one you mean in full."
    )


def titles(sources: Sequence[str], suffixes: Collection[str] | None = None) -> list[str]:
    """Return names of several sources for tables and reports, in their order.

    A file is named by its stem; where two would have the same name, by its file name and as many of its folders as
    needed, so that reports do not show where a user keeps files. Other sources keep their name, without "hub:".

    Args:
        sources: Names and paths.
        suffixes: Lower-case suffixes by which a source is known to be a file; None if the sources are models, whose hub
            ids and folders are named by their last part ("base#adapter" by both).
    """
    ladders = [_titles(source, suffixes) for source in sources]
    steps = [0] * len(ladders)
    while True:
        names = [ladder[step] for ladder, step in zip(ladders, steps)]
        alike = [i for i, name in enumerate(names) if names.count(name) > 1 and steps[i] + 1 < len(ladders[i])]
        if not alike:
            return names
        for i in alike:
            steps[i] += 1


def _titles(source: str, suffixes: Collection[str] | None) -> list[str]:
    """Return names for one source, from the shortest to the most exact."""
    path = Path(source)
    if suffixes is None:
        parts = [part.replace(os.sep, "/").rstrip("/").split("/") for part in source.split("#")]
        return [*("#".join("/".join(part[-k:]) for part in parts) for k in range(1, max(map(len, parts)))), source]
    if path.suffix.lower() not in suffixes:
        return [source.removeprefix("hub:"), source]
    folders = range(2, len(path.parts) + 1)
    return [path.stem, path.name, *("/".join(path.parts[-k:]).replace("//", "/") for k in folders), source]


def full_disk(
    error: BaseException | str, folder: Path, kept: str = "", needed: int = 0, instead: str = ""
) -> DiskFull | None:
    """Return the error to raise if another one, or its text, comes from a full disk or quota; otherwise None.

    Libraries often hide the system's reason. If no error of the chain gives one, a file of `PROBE` bytes in the folder
    decides. An `InputError` has its own reason.

    Args:
        error: The error, or type and text of one in another process.
        folder: Where something was written.
        kept: What is not lost.
        needed: Bytes that are needed there, if known.
        instead: The way out other than free space; by default how to move the folder.
    """
    if isinstance(error, InputError) or not (says_full(error) or no_room(folder)):
        return error if isinstance(error, DiskFull) else None
    return no_space(folder, kept, needed, instead)


def no_space(folder: Path, kept: str = "", needed: int = 0, instead: str = "") -> DiskFull:
    """Return the error for a full disk; arguments as of `full_disk`."""
    if (run := os.environ.get(RUN_FOLDER)) and folder.is_relative_to(run):
        folder = Path(run).parent  # the run's own folder is not there afterwards
    need = f", {needed / 1e6:,.1f} MB needed" if needed else ""
    kept, way = f" {kept};" if kept else "", instead or _other_place(folder)
    return DiskFull(
        f"No space left for files in {folder} ({free(folder)}{need}):{kept} free some there{way and ', or ' + way}, "
        "and run again."
    )


@contextmanager
def full_disk_named(folder: Path, kept: str = "", needed: int = 0) -> Iterator[None]:
    """Raise `full_disk` for any library's error on a full disk."""
    try:
        yield
    except Exception as error:
        if full := full_disk(error, folder, kept, needed):
            raise full from error
        raise


def no_room(folder: Path, size: int = PROBE) -> bool:
    """Whether a disk or quota has no room for this many more bytes, tested by writing them."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder), buffering=0) as file:
            for start in range(0, size, PROBE):
                if file.write(bytes(min(PROBE, size - start))) < min(PROBE, size - start):
                    return True
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in FULL
    return False


def says_full(error: BaseException | str) -> bool:
    """Whether an error, one that caused it, or the text of one names a full disk."""
    seen: list[BaseException] = []
    while isinstance(error, BaseException):
        if getattr(error, "errno", None) in FULL or FULL_TEXT.search(str(error)):
            return True
        seen.append(error)
        earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if earlier is None or earlier in seen:
            return False
        error = earlier
    return bool(FULL_TEXT.search(error))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((place for place in (folder, *folder.absolute().parents) if os.path.isdir(place)), Path.cwd())


def free(folder: Path) -> str:
    """Return what is free on the disk of a folder, as text."""
    place = _existing(folder)
    state = os.statvfs(place) if hasattr(os, "statvfs") else None
    if state and state.f_files and not state.f_favail:
        return "no further file is possible, whatever its size"
    return f"{shutil.disk_usage(place).free / 1e6:,.1f} MB free on the disk"


def _other_place(folder: Path) -> str:
    """How to move what is written to a folder."""
    run, temporary = os.environ.get(RUN_FOLDER), os.environ.get("TMPDIR") or "/tmp"
    if run and folder.is_relative_to(Path(run).parent):
        return "name another folder with --outputs"
    if folder.is_relative_to(cache_folder()):
        return f"copy {cache_folder()} to another disk and set {CACHE_VARIABLE} to the copy"
    return "set TMPDIR to a folder on another disk" if folder == Path(temporary) else ""


def owned(prefix: str) -> str:
    """Return a prefix for the name of a temporary file, by which `sweep_remains` recognises its process."""
    return f"{prefix}@{_place()}-{os.getpid()}-"


@cache
def _place() -> str:
    """Return a digest of where process ids have a meaning: the machine, or the container."""
    name = platform.node()
    with suppress(OSError):
        name += os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def sweep_remains(folder: Path) -> list[Path]:
    """Remove the temporary files and folders in a folder whose process was killed, and return them.

    Those of other machines stay. Where the system cannot say whether a process runs, all stay.
    """
    removed = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            owner = re.search(rf"@{_place()}-(\d+)-", entry.name)
            if owner and not _runs(int(owner[1])):
                removed.append(Path(entry.path))
                remove_tree(removed[-1])
    return removed


def _runs(process: int) -> bool:
    if os.name != "posix":  # where signal 0 is none
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def remove_tree(path: Path) -> None:
    """Remove a file, link or folder as far as the system allows."""
    with suppress(OSError, RecursionError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` at the end; an error leaves nothing.

    What killed processes left in the folder is removed.

    Raises:
        DiskFull: The disk is full, whatever error the block raises for it.
    """
    with full_disk_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_remains(path.parent)
        prefix = owned(f".{path.name[:40]}.")  # the whole of a long name would leave no room for the rest
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".part")
        os.close(handle)
    partial = Path(name)
    try:
        with full_disk_named(path.parent):
            yield partial
            mask = os.umask(0o077)  # which can only be read by setting it
            os.umask(mask)
            partial.chmod(0o666 & ~mask)
            moved(partial, path)
    finally:
        with suppress(OSError):  # what went wrong before it matters more
            partial.unlink(missing_ok=True)


def moved(source: Path, target: Path) -> None:
    """Rename a file or folder and replace a file at `target`.

    Windows refuses while another process has one of them open, so a refused rename is repeated for about a second.

    Raises:
        OSError: If it is still refused, or fails otherwise.
    """
    for pause in (0.02, 0.05, 0.1, 0.3, 0.6):
        with suppress(PermissionError):
            return os.replace(source, target)
        time.sleep(pause)
    os.replace(source, target)


_NOTING = threading.Lock()
_NOTED: dict[tuple[int, str], int] = {}
"""Lines of notes by process and folder."""


def note_down(folder: Path, kind: str, content: Mapping[str, Any], **more: Any) -> None:
    """Append a line to a run's notes in one system call, so that a crash leaves no partial line.

    Each process numbers its lines, so that a line that is missing or there twice is noticed.

    Raises:
        InputError: If the line is too large for a record.
        DiskFull: If the disk has no room for the whole line, which then is removed again.
    """
    with _NOTING:
        writer = (os.getpid(), str(folder))
        number = _NOTED.get(writer, 0) + 1
        _append(folder, {"kind": kind, "content": content, "by": writer[0], "number": number, **more})
        _NOTED[writer] = number


def _append(folder: Path, entry: dict[str, Any]) -> None:
    line, kind = (json.dumps(entry) + "\n").encode(), entry["kind"]
    if len(line) > LARGEST_NOTE:
        raise InputError(
            f"Cannot keep {kind} of {len(line):,} bytes in a run's record, which takes {LARGEST_NOTE:,}; use a table."
        )
    flags = getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # no line ends of Windows; no wait for a pipe
    with full_disk_named(folder, needed=len(line)):
        notes = os.open(folder / NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT | flags, 0o644)
        try:
            if (written := os.write(notes, line)) < len(line):
                os.ftruncate(notes, os.fstat(notes).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(notes)


def opened(place: str) -> tuple[Any, str]:
    """Return the fsspec file system of a folder or URL, and the path in it.

    Raises:
        InputError: If the kind of store is unknown, its package is not installed, or it is not reached.
    """
    from fsspec.core import url_to_fs

    try:
        files, top = url_to_fs(place)
    except Exception as error:  # each kind of store has its own
        raise InputError(f"Cannot open {place}: {printable(error)}; check the address.") from error
    return files, top.rstrip("/")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal.

    Raises:
        InputError: If it is a folder, pipe or device, or cannot be read.
    """
    with opened_file(path, LARGEST) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_text(path: Path) -> str:
    """Return the SHA-256 of a text file whose lines end in line feeds, so that it is the same on every system."""
    return hashlib.sha256(read_bytes(path).replace(b"\r\n", b"\n")).hexdigest()


def digests(paths: Iterable[Path], largest: int = LARGEST) -> dict[Path, str]:
    """Return the SHA-256 of each file, looked up in the cache for unchanged files.

    A file written in the last seconds is always read, since a second write within a tick of the clock leaves its times
    unchanged.

    Raises:
        InputError: If one is not a regular file, has more than `largest` bytes, or cannot be read.
    """
    cache = cache_folder() / "digests.json"
    known, hashes, added = _read_digests(cache), {}, False
    for path in sorted(set(paths)):
        with opened_file(path, largest) as file:
            state = os.fstat(file.fileno())
        key = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}"
        hashes[path] = known.get(key) or sha256_of(path)
        if key not in known and time.time() - max(state.st_mtime, state.st_ctime) > SETTLED:
            known[key], added = hashes[path], True
    if added:
        with suppress(OSError), written_whole(cache) as partial:
            partial.write_text(json.dumps(known), encoding="utf-8")
    return hashes


def _read_digests(cache: Path) -> dict[str, str]:
    """Return the cached hashes of files that still exist."""
    try:
        known = read_json(cache)
    except InputError:
        return {}
    texts = {k: v for k, v in known.items() if isinstance(v, str)} if isinstance(known, dict) else {}
    return {k: v for k, v in texts.items() if "\0" not in k and os.path.exists(k.split("|")[0])}
