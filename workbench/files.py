"""Where things lie on disk, and writing them so that nobody ever sees half a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from workbench.errors import InputError

CACHE_VARIABLE = "WORKBENCH_CACHE"
RUN_FOLDER = "WORKBENCH_RUN_FOLDER"
"""Variable that tells a notebook in which folder its run is made."""
NOTES = ".notes.jsonl"
"""File of that folder with a line for everything that is to stand in the run's record."""
INSIDE_CELL = ".inside-cell"
"""File of that folder with a line on how far the present cell is."""

CHECKOUT = Path(__file__).resolve().parents[1]
SETTLED = 2.0
"""Seconds after which a file's times tell a later write from this one."""


def cache_folder() -> Path:
    """The folder of fetched models, data and stored answers; `WORKBENCH_CACHE` moves it."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("workbench", appauthor=False)).expanduser()


def root() -> Path:
    """The folder that holds `studies/` and `notebooks/`: the current one, else the checkout this package lies in."""
    here = Path.cwd()
    return here if (here / "studies").is_dir() else CHECKOUT


def titles(sources: Sequence[str], suffixes: Collection[str] | None = None) -> list[str]:
    """Return what to call each of several sources in tables and reports, in their order.

    A file is called by its stem, and by its name and as many of its folders as it takes where two would be called the
    same, so that no report shows where a user keeps a file. Anything else keeps its name, without "hub:".

    Args:
        sources: Names and paths.
        suffixes: Endings, in lower case, by which a source is known to be a file; None where the sources are models, of
            which hub ids and folders are called by their last part ("base#adapter" by both).
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
    """Names for one source, from the shortest to the most exact."""
    path = Path(source)
    if suffixes is None:
        parts = [part.rstrip("/").split("/") for part in source.split("#")]
        return [*("#".join("/".join(part[-k:]) for part in parts) for k in range(1, max(map(len, parts)))), source]
    if path.suffix.lower() not in suffixes:
        return [source.removeprefix("hub:"), source]
    folders = range(2, len(path.parts) + 1)
    return [path.stem, path.name, *("/".join(path.parts[-k:]).replace("//", "/") for k in folders), source]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it there at the end; on an error nothing is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def note_down(folder: Path, kind: str, content: Mapping[str, Any], **more: Any) -> None:
    """Adds a line to a run's notes, written in one call so that a crash leaves no half of it.

    Raises:
        OSError: If the disk has no room for the whole line; then nothing of it is left.
    """
    line = (json.dumps({"kind": kind, "content": content, **more}) + "\n").encode()
    notes = os.open(folder / NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if (written := os.write(notes, line)) < len(line):
            os.ftruncate(notes, os.fstat(notes).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(notes)


def opened(place: str) -> tuple[Any, str]:
    """The fsspec file system a folder or a URL is in, and the path there.

    Raises:
        InputError: If there is no such kind of store, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        files, top = url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise InputError(f"Cannot open {place}: {error}.") from error
    return files, top.rstrip("/")


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """The SHA-256 of each file, looked up where the file is unchanged.

    A file written in the last seconds is always read: one that is written twice within a tick of the clock looks
    unchanged.
    """
    known, found, fresh = _read_digests(), {}, False
    for path in sorted(set(paths)):
        state = path.stat()
        key = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}"
        if key in known:
            found[path] = known[key]
            continue
        found[path] = sha256_of(path)
        if time.time() - max(state.st_mtime, state.st_ctime) > SETTLED:
            known[key], fresh = found[path], True
    if fresh:
        with suppress(OSError), written_whole(_known_digests()) as partial:
            partial.write_text(json.dumps(known))
    return found


def _known_digests() -> Path:
    return cache_folder() / "digests.json"


def _read_digests() -> dict[str, str]:
    try:
        known = json.loads(_known_digests().read_text())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in known.items() if os.path.exists(k.split("|")[0])}
