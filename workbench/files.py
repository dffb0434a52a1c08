"""Locations on disk, atomic writes, and hashes of files."""

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
from workbench.reading import read_json

CACHE_VARIABLE = "WORKBENCH_CACHE"
RUN_FOLDER = "WORKBENCH_RUN_FOLDER"
"""Environment variable with the folder of the current notebook's run."""
NOTES = ".notes.jsonl"
"""File of that folder with a line for each entry of the run's record."""
INSIDE_CELL = ".inside-cell"
"""File of that folder with the progress of the present cell."""
CHECKOUT = Path(__file__).resolve().parents[1]
SETTLED = 2.0
"""Seconds after which a file's times distinguish a later write from this one."""


def cache_folder() -> Path:
    """Return the folder of fetched models, data and stored answers; `WORKBENCH_CACHE` moves it."""
    return Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("workbench", appauthor=False)).expanduser()


def root() -> Path:
    """Return the folder of `studies/` and `notebooks/`: the current one, else the checkout of this package."""
    here = Path.cwd()
    return here if (here / "studies").is_dir() else CHECKOUT


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
        parts = [part.rstrip("/").split("/") for part in source.split("#")]
        return [*("#".join("/".join(part[-k:]) for part in parts) for k in range(1, max(map(len, parts)))), source]
    if path.suffix.lower() not in suffixes:
        return [source.removeprefix("hub:"), source]
    folders = range(2, len(path.parts) + 1)
    return [path.stem, path.name, *("/".join(path.parts[-k:]).replace("//", "/") for k in folders), source]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` at the end; an error leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        mask = os.umask(0o077)  # which can only be read by setting it
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def note_down(folder: Path, kind: str, content: Mapping[str, Any], **more: Any) -> None:
    """Append a line to a run's notes in one system call, so that a crash leaves no partial line.

    Raises:
        OSError: If the disk has no room for the whole line, which then is removed again.
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
    """Return the fsspec file system of a folder or URL, and the path in it.

    Raises:
        InputError: If the kind of store is unknown, or its package is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        files, top = url_to_fs(place)
    except (ImportError, ValueError) as error:
        raise InputError(f"Cannot open {place}: {error}.") from error
    return files, top.rstrip("/")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256 of each file, looked up in the cache for unchanged files.

    A file written in the last seconds is always read, since a second write within a tick of the clock leaves its times
    unchanged.
    """
    cache = cache_folder() / "digests.json"
    known, hashes, added = _read_digests(cache), {}, False
    for path in sorted(set(paths)):
        state = path.stat()
        key = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}"
        hashes[path] = known.get(key) or sha256_of(path)
        if key not in known and time.time() - max(state.st_mtime, state.st_ctime) > SETTLED:
            known[key], added = hashes[path], True
    if added:
        with suppress(OSError), written_whole(cache) as partial:
            partial.write_text(json.dumps(known))
    return hashes


def _read_digests(cache: Path) -> dict[str, str]:
    """Return the cached hashes of files that still exist."""
    try:
        known = read_json(cache)
    except InputError:
        return {}
    texts = {k: v for k, v in known.items() if isinstance(v, str)} if isinstance(known, dict) else {}
    return {k: v for k, v in texts.items() if "\0" not in k and os.path.exists(k.split("|")[0])}
