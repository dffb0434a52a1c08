"""Checks of answer stores, and new stores from what can be read of damaged ones."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.extraction.rows import TABLES, Scan, missing_rows, rows_in, undamaged
from workbench.extraction.store import (
    FAULTS,
    LOCKED,
    NOT_A_STORE,
    SCHEMA,
    AnswerStore,
    code_of,
    fault_of,
    opened_to_read,
    stores,
    stores_folder,
)
from workbench.files import full_disk_named
from workbench.reading import opened_file

ASIDE = ".damaged-"
"""Between a store's name and the time in the name of a damaged file that was set aside."""
LOGS = ("", "-wal")
"""Endings of the files that contain a store's rows."""
MANY = 50_000
LOCKED_BYTES = (0x40000002, 510)
"""Start and number of the bytes that SQLite locks while a store is open, https://sqlite.org/fileformat.html#lockbyte."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The state of one store."""

    path: Path
    """Its file."""
    models: str
    """Names of its models; "" if none is noted."""
    answers: int
    """Undamaged answers."""
    texts: int
    """Undamaged rows of texts."""
    damaged: int
    """Rows that do not match their checksum; of a file whose structure is damaged, about how many rows are missing."""
    bytes: int
    """Size of the file and its write-ahead log."""
    schema: int | None
    """Version of its tables; None if it cannot be read."""
    fault: str = ""
    """What SQLite reports of the file's structure; "" if it is sound."""

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not (self.damaged or self.fault)

    def __str__(self) -> str:
        schema = f"schema {SCHEMA if self.schema == 0 else self.schema or 'unknown'}"
        counts = f"{self.answers:,} answers, {self.texts:,} texts, {self.bytes / 1e6:,.1f} MB, {schema}"
        model = f" ({self.models})" if self.models else ""
        state = "sound"
        if self.fault:
            command = f"workbench store salvage {shlex.quote(str(self.path))}"
            state = f"DAMAGED ({self.fault}), about {self.damaged:,} rows are missing; `{command}` keeps the others"
        elif self.damaged:
            state = f"{self.damaged:,} damaged rows, which are computed again when they are needed"
        return f"{self.path}{model}: {counts}; {state}"


@dataclass(frozen=True, slots=True)
class Salvaged:
    """The result of salvaging a store."""

    path: Path
    """The new store, under the name of the damaged one."""
    aside: Path
    """The damaged file."""
    answers: int
    """Answers saved."""
    texts: int
    """Rows of texts saved."""
    missing: int
    """About how many rows could not be saved."""

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.answers:,} answers and {self.texts:,} texts saved; about {self.missing:,} rows could "
            f"not be saved and are computed again when they are needed. The damaged file is kept as {self.aside}."
        )


def check(place: str | None = None) -> list[Checked]:
    """Check one store, or all of this machine; no file is changed.

    Args:
        place: Path of a store, or its name in the cache folder; None for all stores.

    Raises:
        InputError: There is no such store, or it is locked, of another database or of a newer version.
    """
    return [_checked(path) for path in (stores() if place is None else [located(place)])]


def located(place: str) -> Path:
    """Return the path of a store given by path or by its name in the cache folder."""
    for path in (Path(place), stores_folder() / place):
        if path.is_file():
            with opened_file(path):  # not a file of /proc
                return path
    raise InputError(f"There is no answer store {place}; `workbench store check` lists those of this machine.")


def _checked(path: Path) -> Checked:
    size, code = sum(file.stat().st_size for file in _files(path)), None
    try:
        with closing(opened_to_read(path)) as database:
            sound, damaged = dict.fromkeys(TABLES, 0), 0
            for table, columns in TABLES.items():
                cursor = database.execute(f"SELECT {columns} FROM {table}")
                while batch := cursor.fetchmany(MANY):
                    whole = len(undamaged(table, batch))
                    sound[table], damaged = sound[table] + whole, damaged + len(batch) - whole
            models = ", ".join(name.decode(errors="replace") for (name,) in database.execute("SELECT name FROM models"))
            schema = database.execute("PRAGMA user_version").fetchone()[0]
            fault = database.execute("PRAGMA integrity_check(1)").fetchone()[0].decode()
            tables = {name.decode() for (name,) in database.execute("SELECT name FROM main.sqlite_master")}
            if fault == "ok" and not (fault := _unseen(path, database, tables)):
                return Checked(path, models, sound["numbers"], sound["texts"], damaged, size, schema)
    except FAULTS as error:
        code = code_of(error)
        reported = fault_of(path, error)
        if code in LOCKED:
            raise reported from error
        fault = str(error) or type(error).__name__
    scan = Scan()
    keys: dict[str, set[bytes]] = {table: set() for table in TABLES}
    for table, rows in _rows(path, scan):
        keys[table] |= {row[0] for row in rows}
    if code in NOT_A_STORE and not any(keys.values()):
        raise reported
    return Checked(path, "", len(keys["numbers"]), len(keys["texts"]), missing_rows(path, scan), size, None, fault)


def _rows(path: Path, scan: Scan, more: Iterable[Path] = ()) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """The undamaged rows of a store's file, its log and other files; `scan` is that of its file."""
    for file in (*more, *_files(path)):
        yield from rows_in(file, scan if file == path else Scan())


def _unseen(path: Path, database: sqlite3.Connection, tables: set[str]) -> str:
    """What SQLite does not see although the file's structure is sound; "" for nothing."""
    if unknown := tables - {*TABLES, "models", "answers", "readings"}:
        return f"unknown table {min(unknown)!r}"
    log = {table: set[bytes]() for table in TABLES}
    for file in _files(path)[1:]:
        for table, rows in rows_in(file, Scan()):
            log[table] |= {row[0] for row in rows}
    unseen = 0
    for table, keys in log.items():
        query = f"SELECT count(*) FROM {table} WHERE {TABLES[table].partition(',')[0]} = ?"
        unseen += sum(not database.execute(query, (key,)).fetchone()[0] for key in keys)
    return f"{unseen:,} rows of the write-ahead log are not read" if unseen else ""


def salvage(place: str) -> Salvaged:
    """Replace a damaged store by a new one with every undamaged row, and set the damaged file aside.

    Rows are read from the bytes of the file and its write-ahead log, so that neither header nor pages need to be
    intact; files that an interrupted call set aside are read too. Until the new store is complete, nothing is changed.

    Raises:
        InputError: There is no such store, it is sound, in use, or has no undamaged row, or the disk is full.
    """
    path = located(place)
    _refuse_in_use(path)
    state, earlier = _checked(path), _set_aside(path)
    if state.sound and not earlier:
        raise InputError(f"The answer store {path} is sound ({state.answers:,} answers); there is nothing to salvage.")
    fresh, scan = path.with_name(f".{path.name}.salvaged"), Scan()
    try:
        with full_disk_named(path.parent, "nothing was changed", state.bytes):
            _remove(fresh)
            with AnswerStore(fresh) as store:
                for table, rows in _rows(path, scan, earlier):
                    store.write(table, [row[:-1] for row in rows])
            saved = _checked(fresh)
        if not saved.answers + saved.texts:
            raise InputError(
                f"{path} has no answer that can be read, so nothing was changed; if it was an answer store, nothing of "
                "it can be saved: delete it, and its answers are computed again."
            )
        _refuse_in_use(path)
        aside = path.with_name(f"{path.name}{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
        _replace(path, fresh, aside)
    finally:
        _remove(fresh)
    return Salvaged(path, aside, saved.answers, saved.texts, missing_rows(aside, scan))


def _files(path: Path) -> list[Path]:
    """The files with rows of a store."""
    return [file for ending in LOGS if (file := path.with_name(f"{path.name}{ending}")).is_file()]


def _set_aside(path: Path) -> list[Path]:
    """Files of this store that were set aside earlier."""
    return sorted(file for file in path.parent.iterdir() if file.name.startswith(f"{path.name}{ASIDE}"))


def _remove(path: Path) -> None:
    for ending in (*LOGS, "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)


def _replace(path: Path, fresh: Path, aside: Path) -> None:
    """Give the new store the name of the damaged one; at every moment there is a file of this name.

    The log goes first: SQLite would apply it to the new store. A call that is interrupted leaves the parts that it set
    aside, which the next one reads.
    """
    try:
        os.link(path, aside)
    except OSError:  # a file system without hard links
        path.rename(aside)
    log = path.with_name(f"{path.name}-wal")
    if log.is_file():
        log.rename(aside.with_name(f"{aside.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    fresh.replace(path)


def _refuse_in_use(path: Path) -> None:
    """Raise InputError if another process has the store open."""
    try:
        import fcntl
    except ImportError:  # Windows refuses to rename an open file
        return
    if not os.access(path, os.W_OK):
        return
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, LOCKED_BYTES[1], LOCKED_BYTES[0])
        except OSError as error:
            raise InputError(
                f"The answer store {path} is in use; end the runs that use it, and salvage it then."
            ) from error
