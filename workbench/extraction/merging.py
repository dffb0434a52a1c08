"""Answer stores of several machines made one: equal keys are equal answers, so merging is a union.

SQLite files are for one machine: on a network file system its locks and its write-ahead log cannot be relied on. Each
machine keeps its own store, copies it whole to a folder or a store elsewhere, and is merged from there.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workbench.errors import InputError
from workbench.extraction.store import FAULTS, TABLES, AnswerStore, undamaged
from workbench.files import cache_folder, opened

ENDING = ".sqlite"


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of merging one store into another."""

    name: str
    """The store's file name, which begins with the fingerprint of its model."""
    new: int
    """Answers that were not there before."""
    present: int
    """Answers that were there already; the number here stays."""
    largest_difference: float
    """Most by which two numbers for one key differ (nats); machines that compute alike give 0."""
    damaged: int = 0
    """Rows left out because they do not match their checksum."""

    def __str__(self) -> str:
        differ = f", which differ by up to {self.largest_difference:.1e} nat" if self.largest_difference else ""
        damaged = f"; {self.damaged} damaged rows left out" if self.damaged else ""
        return f"{self.name}: {self.new} new answers, {self.present} there before{differ}{damaged}"


def merge_stores(source: str) -> Iterator[Merged]:
    """Merges answer stores from elsewhere into this machine's.

    Args:
        source: A store's file, or a folder with stores at any depth; a path, or an fsspec URL.

    Yields:
        What came of each store.

    Raises:
        InputError: If there is no store, or one cannot be read.
    """
    files, top = opened(source)
    try:
        names = [top] if top.endswith(ENDING) else sorted(files.glob(f"{top}/**/*{ENDING}"))
    except Exception as error:  # stores have no common base for what they raise
        raise InputError(f"Cannot read {source}: {_reason(error)}.") from error
    if not names:
        raise InputError(f"There is no answer store in {source}; `workbench store export {source}` puts some there.")
    for name in names:
        with _at_hand(files, name) as path:
            yield merge(path, cache_folder() / "answers" / path.name)


def merge(source: Path, target: Path) -> Merged:
    """Merges one store's file into another, whole or not at all; where both have a key, the target's number stays.

    Rows that do not match their checksum are left out and counted; such a row of the target gives way to the source's.

    Raises:
        InputError: If one is no answer store, the source is one of an earlier version, whose rows have no checksum, or
            the target cannot be written.
    """
    if not source.is_file():
        raise InputError(f"There is no answer store {source}.")
    AnswerStore(target).close()
    try:
        with closing(sqlite3.connect(target, timeout=60, isolation_level=None, uri=True)) as database:
            database.text_factory = bytes  # a damaged row may hold text that is not UTF-8
            database.execute("ATTACH DATABASE ? AS other", (f"{source.resolve().as_uri()}?mode=ro",))
            tables = {name.decode() for (name,) in database.execute("SELECT name FROM other.sqlite_master")}
            if "answers" in tables and "numbers" not in tables:
                raise InputError(
                    f"The answer store {source} was written by an earlier version, whose rows have no checksum and "
                    "cannot be verified; compute its answers again."
                )
            database.execute("BEGIN IMMEDIATE")
            damaged = sum(_add_sound(database, table) for table in TABLES)
            query = "SELECT count(*), max(abs(a.logprob - b.logprob)) FROM sound_numbers b JOIN numbers a USING (key)"
            present, difference = database.execute(query).fetchone()
            insert = "INSERT OR IGNORE INTO main.{0} SELECT * FROM sound_{0}"
            new, _ = (database.execute(insert.format(table)).rowcount for table in TABLES)
            database.execute("COMMIT")
    except FAULTS as error:
        raise InputError(f"Cannot merge {source} into {target}: {error}; nothing of it was merged.") from error
    return Merged(target.name, new, present, difference or 0.0, damaged)


def _add_sound(database: sqlite3.Connection, table: str) -> int:
    """Copies the undamaged rows of `other` to a temporary table and drops the damaged rows of `main` that they replace.

    Returns:
        Damaged rows in `other`.
    """
    columns = TABLES[table]
    key, places = columns.partition(",")[0], ",".join("?" * len(columns.split(",")))
    database.execute(f"CREATE TEMP TABLE sound_{table} AS SELECT {columns} FROM main.{table} LIMIT 0")
    rows = database.execute(f"SELECT {columns} FROM other.{table}").fetchall()
    sound = undamaged(table, rows)
    database.executemany(f"INSERT INTO sound_{table} VALUES ({places})", sound)
    query = f"SELECT {columns} FROM main.{table} WHERE {key} IN (SELECT {key} FROM sound_{table})"
    shared = database.execute(query).fetchall()
    kept = {row[0] for row in undamaged(table, shared)}
    database.executemany(f"DELETE FROM main.{table} WHERE {key} = ?", [row[:1] for row in shared if row[0] not in kept])
    return len(rows) - len(sound)


def export_stores(target: str) -> list[str]:
    """Copies this machine's answer stores to `target/<machine>/`, each as it was at one moment.

    Args:
        target: A folder or an fsspec URL.

    Returns:
        Where the copies lie.

    Raises:
        InputError: If there are no stores, or they cannot be copied.
    """
    stores = sorted((cache_folder() / "answers").glob(f"*{ENDING}"))
    if not stores:
        raise InputError(f"There are no answers in {cache_folder()} yet.")
    files, top = opened(target)
    copied = []
    for path in stores:
        name = f"{top}/{platform.node()}/{path.name}"
        with TemporaryDirectory() as folder, closing(sqlite3.connect(path, timeout=60)) as database:
            try:
                database.execute("VACUUM INTO ?", (f"{folder}/copy",))
                files.makedirs(name.rpartition("/")[0], exist_ok=True)
                files.put_file(f"{folder}/copy", f"{name}.part")
                files.mv(f"{name}.part", name)
            except Exception as error:
                raise InputError(f"Cannot copy {path} to {target}: {_reason(error)}.") from error
        copied.append(name)
    return copied


@contextmanager
def _at_hand(files: Any, name: str) -> Iterator[Path]:
    """A store's file on this machine."""
    if "file" in files.protocol:
        yield Path(name)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / name.rpartition("/")[2]
        try:
            files.get_file(name, str(path))
        except Exception as error:
            raise InputError(f"Cannot read {name}: {_reason(error)}.") from error
        yield path


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
