"""The answer store: log-likelihoods under a hash of everything that decides them.

Table `numbers` has the log-likelihood of each request, keyed by model fingerprint, engine version and token ids. Table
`texts` has the request of each text, so a repeated run needs neither tokenizer nor torch. Every row ends in its
checksum. A row that does not match it, or whose number cannot be a log-likelihood, counts as absent: a flipped bit
costs one computation and never changes a number. Stores of earlier versions have the tables `answers` and `readings`,
whose rows cannot be verified; they are neither read nor deleted.

SQLite's locks and write-ahead log are unreliable on network file systems. Each machine therefore has its own store,
exports copies of it, and merges those of other machines; equal keys are equal answers, so merging is a union.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sqlite3
import warnings
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workbench.errors import DiskFull, InputError
from workbench.extraction.rows import TABLES, Scan, checksums, is_logprob, rows_in, undamaged
from workbench.extraction.tokens import RULES, Request
from workbench.files import CACHE_VARIABLE, cache_folder, full_disk, no_space, opened, titles
from workbench.questions import Question

FAULTS = (sqlite3.Error, MemoryError, UnicodeDecodeError)
"""Exceptions of sqlite3 for a file it cannot read or write; the last two come from damaged text and lengths."""
DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, None}
NOT_A_STORE = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_SCHEMA}
LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
NO_WRITING = {*READ_ONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
"""SQLite's codes for a file it cannot write; it may still be read."""
LOCAL_CACHE = f"set {CACHE_VARIABLE} to a folder on a local disk"
ENDING = ".sqlite"
DEEPEST = 4
"""Levels of folders that are searched for stores."""
SCHEMA = 1
"""Version of the tables, SQLite's `user_version`; 0 in files of before there were versions."""
PATIENCE = 60.0
"""Seconds for which another process may keep the file locked."""
LONGEST_PATH, LONGEST_NAME = 500, 250
"""Bytes of a path, of which SQLite opens none of more than 512, and of a name in it; the log's ending is included."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One option of one question, encoded."""

    key: bytes
    """Key of its request."""
    n_tokens: int | None
    """Number of tokens scored; None if the backend has no tokens."""
    boundary_merged: bool
    """Prompt and option were tokenised separately."""
    truncated: bool
    """The middle of the prompt was cut out."""


def request_key(fingerprint: str, engine: str, request: Request) -> bytes:
    """Return the 20-byte key of a request: model fingerprint, engine version, context ids and continuation ids."""
    digest = hashlib.blake2b(f"{fingerprint}|{engine}|{len(request.context)}|".encode(), digest_size=20)
    digest.update(array("q", request.context).tobytes())
    digest.update(array("q", request.continuation).tobytes())
    return digest.digest()


def bound_key(key: bytes) -> bytes:
    """Return the key of a request's upper bound, stored if its number could not be read."""
    return hashlib.blake2b(key + b"at most", digest_size=20).digest()


def text_keys(fingerprint: str, engine: str, truncate: str, question: Question) -> list[bytes]:
    """Return a 20-byte key per option: fingerprint, engine version, encoding rules, prompt and option text."""
    prompt = question.prompt
    turns = [("", prompt)] if isinstance(prompt, str) else [(m.role, m.content) for m in prompt]
    stem = hashlib.blake2b(f"{fingerprint}|{engine}|{RULES}|{truncate}|{turns!r}|".encode(), digest_size=20)
    keys = []
    for option in question.options:
        digest = stem.copy()
        digest.update(option.text.encode())
        keys.append(digest.digest())
    return keys


def fault_of(path: Path, error: BaseException) -> InputError:
    """Return the error to raise for one of SQLite or the system: its cause, by its code, and the way out."""
    code, salvage = code_of(error), f"workbench store salvage {shlex.quote(str(path))}"
    if not isinstance(error, OSError) and code in DAMAGED:
        return InputError(
            f"The answer store {path} is damaged ({str(error) or type(error).__name__}): run `{salvage}`, which copies "
            "every answer that can still be read to a new store and keeps the damaged file; if you delete the file "
            "instead, all its answers are lost and computed again."
        )
    if code in LOCKED or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_LOCK:
        return InputError(
            f"The answer store {path} is locked ({error}): another process has been writing to it for {PATIENCE:.0f} "
            "s, or its file system has no locks; wait for that process or end it, or, on a network file system, "
            f"{LOCAL_CACHE}."
        )
    if code in NOT_A_STORE:
        return InputError(
            f"{path} is not an answer store but another database ({error}): move it elsewhere, or, if it was a store, "
            f"run `{salvage}`."
        )
    if full := full_disk(error, path.parent, "its answers are kept"):
        return full
    if code == sqlite3.SQLITE_IOERR:
        return InputError(
            f"The disk or file system of the answer store {path} reports an error ({error}): check the disk; on a "
            f"network file system, {LOCAL_CACHE}."
        )
    allowed = code == sqlite3.SQLITE_CANTOPEN and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    way = (
        "raise the limit of open files (`ulimit -n`), check the disk" if allowed else "make it and its folder writable"
    )
    return InputError(
        f"The answer store {path} cannot be written ({error}): {way}, or copy the cache folder and set "
        f"{CACHE_VARIABLE} to the copy."
    )


def code_of(error: BaseException) -> int | None:
    """Return SQLite's primary code of an error; None if it has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _check_place(path: Path) -> None:
    """Refuse a path at which no file can be."""
    length, longest = len(os.fsencode(path.absolute())), max(len(os.fsencode(part)) for part in path.parts)
    if length > LONGEST_PATH or longest > LONGEST_NAME:
        raise InputError(
            f"The path of the answer store is too long ({length} bytes, at most {LONGEST_PATH}; a name in it "
            f"{longest}, at most {LONGEST_NAME}): set {CACHE_VARIABLE} to a folder with a shorter path than "
            f"{path.parent}."
        )
    place = next((place for place in (path, *path.absolute().parents) if os.path.lexists(place)), path)
    if os.path.lexists(place) and not (place.is_file() if place == path else place.is_dir()):
        what = "is a link to nothing" if not place.exists() else "is a folder" if place.is_dir() else "is not a folder"
        what = "is not a regular file" if what == "is not a folder" and place == path else what
        raise InputError(
            f"The answer store {path} cannot be made, since {place} {what}; move that elsewhere, or set "
            f"{CACHE_VARIABLE} to a folder you can write."
        )


def _opened(path: Path) -> sqlite3.Connection:
    """Open or create a store for writing."""
    with _connected(path) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        if not database.execute("PRAGMA user_version").fetchone()[0]:
            database.execute(f"PRAGMA user_version={SCHEMA}")
        _create(database, "TABLE")
        return database


def opened_to_read(path: Path) -> sqlite3.Connection:
    """Open a store without writing to it, also where SQLite can make no log and no locks beside it.

    Answers in a write-ahead log are read as well.
    """
    log = path.with_name(f"{path.name}-wal")
    unread = log.is_file() and log.stat().st_size > 0
    try:  # closing a connection that may write removes the empty log it made, or writes a full one to the file
        return _to_read(path, "mode=ro" if unread else "mode=rw")
    except sqlite3.Error as error:
        if code_of(error) not in NO_WRITING:
            raise
    if not unread:
        return _to_read(path, "immutable=1")
    database = sqlite3.connect(":memory:", isolation_level=None)
    _create(database, "TABLE")
    for file in (path, log):
        for table, rows in rows_in(file, Scan()):
            database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks_of(table)})", rows)
    return database


def _to_read(path: Path, how: str) -> sqlite3.Connection:
    with _connected(f"{path.absolute().as_uri()}?{how}") as database:
        tables = {name.decode() for (name,) in database.execute("SELECT name FROM sqlite_master")}
        database.execute("PRAGMA temp_store=MEMORY")
        _create(database, "TEMP TABLE", tables)
        return database


@contextmanager
def _connected(place: Path | str) -> Iterator[sqlite3.Connection]:
    """Yield a connection, which an error closes; a database of a newer version is refused."""
    database = sqlite3.connect(place, timeout=PATIENCE, isolation_level=None, uri=isinstance(place, str))
    database.text_factory = bytes  # a damaged row may have text that is not UTF-8
    try:
        if (version := database.execute("PRAGMA user_version").fetchone()[0]) > SCHEMA:
            raise InputError(
                f"The answer store {place} was written by a newer version of the workbench (schema {version}, not "
                f"{SCHEMA}): update this one, or set {CACHE_VARIABLE} to another folder."
            )
        yield database
    except BaseException:
        database.close()
        raise


def _create(database: sqlite3.Connection, what: str, present: Collection[str] = ()) -> None:
    """Create the tables that are not there."""
    columns = {table: names.replace(",", " BLOB PRIMARY KEY,", 1) for table, names in TABLES.items()}
    for table in columns.keys() - present:
        names = columns[table].replace("logprob", "logprob REAL")
        database.execute(f"CREATE {what} IF NOT EXISTS {table} ({names}) WITHOUT ROWID")
    if "models" not in present:
        database.execute(f"CREATE {what} IF NOT EXISTS models (name TEXT)")


def marks_of(table: str) -> str:
    """Return the placeholders for a row of a table."""
    return ",".join("?" * len(TABLES[table].split(",")))


class AnswerStore:
    """A SQLite file of log-likelihoods. Each `put` is one transaction; several processes may share the file."""

    def __init__(self, path: Path, model: str = "") -> None:
        """Open or create the file; one that cannot be written is opened for reading, with a warning.

        Args:
            path: The file.
            model: Name of the model, kept for `workbench store check`.

        Raises:
            InputError: The file cannot be opened, or is not an answer store.
        """
        self.path, self.model = path, model
        self.writable = True
        self.fault: InputError | None = None
        try:
            _check_place(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = _opened(path)
        except (*FAULTS, OSError) as error:
            fault = fault_of(path, error)
            if code_of(error) not in NO_WRITING or not path.is_file():
                raise fault from error
            try:
                self._database = opened_to_read(path)
            except FAULTS as other:
                raise fault_of(path, other) from other
            self._cannot_write(fault)

    def _cannot_write(self, fault: InputError) -> None:
        """Note that the file is only read from now on."""
        self.writable, self.fault = False, fault
        new = "new ones cannot be computed" if isinstance(fault, DiskFull) else "new ones are computed and not kept"
        warnings.warn(f"{fault} Until then stored answers are used, and {new}.", stacklevel=4)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """Return the stored log-likelihoods of some keys; damaged rows are left out, with a warning."""
        return {key: logprob for key, logprob, _ in self._rows("numbers", keys)}

    def put(self, values: Mapping[bytes, float]) -> bool:
        """Store log-likelihoods in one transaction.

        Returns:
            Whether they are kept; False, with a warning, if the file can only be read.

        Raises:
            InputError: A value is not finite or above 0, the disk is full, or the file is locked or damaged.
        """
        rows = [(key, float(value) + 0.0) for key, value in values.items()]  # SQLite does not keep the sign of -0.0
        if wrong := [value for _, value in rows if not is_logprob(value)]:
            raise InputError(
                f"{wrong[0]} is not a log-likelihood, so the answer store {self.path} refuses it; give a finite number "
                "that is at most 0."
            )
        return self.write("numbers", rows)

    def get_readings(self, keys: Sequence[bytes]) -> dict[bytes, Reading]:
        """Return the stored readings of some texts; damaged rows are left out, with a warning."""
        rows = self._rows("texts", keys)
        return {
            text: Reading(key, None if n < 0 else n, bool(merged), bool(cut)) for text, key, n, merged, cut, _ in rows
        }

    def put_readings(self, readings: Mapping[bytes, Reading]) -> None:
        """Store the readings of texts in one transaction."""
        rows = [
            (text, r.key, -1 if r.n_tokens is None else r.n_tokens, r.boundary_merged, r.truncated)
            for text, r in readings.items()
        ]
        self.write("texts", rows)

    def _rows(self, table: str, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """The undamaged rows of a table with these keys."""
        key = TABLES[table].partition(",")[0]
        rows: list[tuple[Any, ...]] = []
        try:
            for start in range(0, len(keys), 500):
                part = list(keys[start : start + 500])
                marks = ",".join("?" * len(part))
                rows += self._database.execute(f"SELECT {TABLES[table]} FROM {table} WHERE {key} IN ({marks})", part)
        except FAULTS as error:
            raise fault_of(self.path, error) from error
        sound = undamaged(table, rows)
        if damaged := len(rows) - len(sound):
            warnings.warn(
                f"{damaged} rows of the answer store {self.path} are damaged (checksum mismatch); they are computed "
                "again and replaced.",
                stacklevel=3,
            )
        return sound

    def write(self, table: str, rows: Sequence[tuple[Any, ...]]) -> bool:
        """Add rows without their checksums to a table; as `put`."""
        checked = [(*row, checksum) for row, checksum in zip(rows, checksums(table, rows))]
        try:
            if self.writable:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks_of(table)})", checked)
                if self.model:
                    query = "INSERT INTO models SELECT ?1 WHERE NOT EXISTS (SELECT * FROM models WHERE name = ?1)"
                    self._database.execute(query, titles([self.model]))
                self._database.execute("COMMIT")
        except FAULTS as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            fault = fault_of(self.path, error)
            if code_of(error) not in READ_ONLY:
                raise fault from error
            self._cannot_write(fault)
        if isinstance(self.fault, DiskFull):
            raise self.fault
        return self.writable

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM numbers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stores_folder() -> Path:
    """Return the folder of this machine's stores."""
    return cache_folder() / "answers"


def store_of(fingerprint: str, name: str = "") -> AnswerStore:
    """Return the store of one model in the cache folder."""
    return AnswerStore(stores_folder() / f"{fingerprint[:32]}{ENDING}", name)


def stores() -> list[Path]:
    """Return the files of this machine's stores."""
    return sorted(stores_folder().glob(f"*{ENDING}"))


@dataclass(frozen=True, slots=True)
class Merged:
    """The result of merging one store into another."""

    name: str
    """File name of the store, which begins with the model's fingerprint."""
    new: int
    """Answers added."""
    present: int
    """Answers that were present already, and stay."""
    largest_difference: float
    """Largest difference between two numbers for one key (nats); 0 between machines that compute alike."""
    damaged: int = 0
    """Rows left out because they do not match their checksum."""

    def __str__(self) -> str:
        differ = f", which differ by up to {self.largest_difference:.1e} nat" if self.largest_difference else ""
        damaged = f"; {self.damaged} damaged rows left out" if self.damaged else ""
        return f"{self.name}: {self.new} new answers, {self.present} already present{differ}{damaged}"


def merge_stores(source: str) -> Iterator[Merged]:
    """Merge answer stores from elsewhere into this machine's.

    Args:
        source: File of a store, or a folder with stores at most `DEEPEST` levels down; a path or an fsspec URL.

    Yields:
        The result for each store.

    Raises:
        InputError: There is no store, or one cannot be read.
    """
    files, top = opened(source)
    try:
        names = [top] if top.endswith(ENDING) else sorted(files.glob(f"{top}/**/*{ENDING}", maxdepth=DEEPEST))
    except Exception as error:  # file systems have no common base class of exceptions
        raise InputError(f"Cannot read {source}: {_reason(error)}.") from error
    if not names:
        raise InputError(f"There is no answer store in {source}; `workbench store export {source}` writes some there.")
    for name in names:
        with _local_copy(files, name) as path:
            yield merge(path, stores_folder() / path.name)


def merge(source: Path, target: Path) -> Merged:
    """Merge the file of one store into another in one transaction; for keys in both, the target's number stays.

    Rows that do not match their checksum are left out and counted; such a row of the target is replaced by the
    source's.

    Raises:
        InputError: A file is not an answer store, the source is of an earlier version, whose rows have no checksum, or
            the target cannot be written.
    """
    if not source.is_file():
        raise InputError(f"There is no answer store {source}.")
    at = source
    try:
        with closing(opened_to_read(source)) as other:
            tables = {name for (name,) in other.execute("SELECT name FROM main.sqlite_master")}
            if b"answers" in tables and b"numbers" not in tables:
                raise InputError(
                    f"The answer store {source} was written by an earlier version, whose rows have no checksum and "
                    "cannot be verified; compute its answers again."
                )
            rows = {
                table: other.execute(f"SELECT {columns} FROM {table}").fetchall() for table, columns in TABLES.items()
            }
        at = target
        with AnswerStore(target) as opened:
            if opened.fault:
                raise opened.fault
            database = opened._database
            database.execute("BEGIN IMMEDIATE")
            damaged = sum(_add_sound(database, table, rows[table]) for table in TABLES)
            query = "SELECT count(*), max(abs(a.logprob - b.logprob)) FROM sound_numbers b JOIN numbers a USING (key)"
            present, difference = database.execute(query).fetchone()
            insert = "INSERT OR IGNORE INTO main.{0} SELECT * FROM sound_{0}"
            new, _ = (database.execute(insert.format(table)).rowcount for table in TABLES)
            database.execute("COMMIT")
    except FAULTS as error:
        raise InputError(f"Cannot merge {source} into {target}: {fault_of(at, error)}") from error
    return Merged(target.name, new, present, difference or 0.0, damaged)


def _add_sound(database: sqlite3.Connection, table: str, rows: list[tuple[Any, ...]]) -> int:
    """Copy the undamaged ones of these rows to a temporary table, and delete damaged rows that they replace.

    Returns:
        The number of damaged rows.
    """
    columns = TABLES[table]
    key = columns.partition(",")[0]
    database.execute(f"CREATE TEMP TABLE sound_{table} AS SELECT {columns} FROM main.{table} LIMIT 0")
    sound = undamaged(table, rows)
    database.executemany(f"INSERT INTO sound_{table} VALUES ({marks_of(table)})", sound)
    query = f"SELECT {columns} FROM main.{table} WHERE {key} IN (SELECT {key} FROM sound_{table})"
    shared = database.execute(query).fetchall()
    keys = {row[0] for row in undamaged(table, shared)}
    database.executemany(f"DELETE FROM main.{table} WHERE {key} = ?", [row[:1] for row in shared if row[0] not in keys])
    return len(rows) - len(sound)


def export_stores(target: str) -> list[str]:
    """Copy this machine's answer stores to `target/<machine>/`, each as a consistent snapshot.

    Args:
        target: A folder or an fsspec URL.

    Returns:
        The paths of the copies.

    Raises:
        InputError: There are no stores, or they cannot be copied.
    """
    if not stores():
        raise InputError(f"There are no answers in {cache_folder()} yet.")
    files, top = opened(target)
    copied = []
    for path in stores():
        name = f"{top}/{platform.node()}/{path.name}"
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                with closing(opened_to_read(path)) as database:
                    database.execute("VACUUM main INTO ?", (f"{folder}/copy",))
            except FAULTS as error:
                if code_of(error) == sqlite3.SQLITE_FULL:  # of the copy: the store is only read
                    raise no_space(Path(folder).parent, needed=path.stat().st_size) from error
                raise fault_of(path, error) from error
            try:
                files.makedirs(name.rpartition("/")[0], exist_ok=True)
                files.put_file(f"{folder}/copy", f"{name}.part")
                files.mv(f"{name}.part", name)
            except Exception as error:
                raise InputError(f"Cannot copy {path} to {target}: {_reason(error)}.") from error
        copied.append(name)
    return copied


@contextmanager
def _local_copy(files: Any, name: str) -> Iterator[Path]:
    """Yield the path of a store's file on this machine, downloaded if needed."""
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
