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
import math
import platform
import sqlite3
import struct
import warnings
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workbench.errors import InputError
from workbench.extraction.tokens import RULES, Request
from workbench.files import cache_folder, opened
from workbench.questions import Question

TABLES = {
    "numbers": "key, logprob, checksum",
    "texts": "text, key, n_tokens, merged, truncated, checksum",
}
"""Table -> its columns, the key first."""
FORMS = {"numbers": struct.Struct("<20sd"), "texts": struct.Struct("<20s20sqqq")}
"""Table -> layout of the bytes that are hashed for the checksum of a row."""
FAULTS = (sqlite3.Error, MemoryError, UnicodeDecodeError)
"""Exceptions of sqlite3 for a file it cannot read or write; the last two come from damaged text and lengths."""
ENDING = ".sqlite"


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


def checksums(table: str, rows: Sequence[tuple[Any, ...]]) -> list[int]:
    """Return the checksum of each row of a table: 8 bytes of a keyed hash (SipHash) of its other columns.

    Raises:
        struct.error: A value has the wrong type.
    """
    import numpy as np
    import pandas as pd

    packed = np.empty(len(rows), object)
    packed[:] = [FORMS[table].pack(*row) for row in rows]
    hashes: list[int] = pd.util.hash_array(packed, categorize=False).view(np.int64).tolist()
    return hashes


def undamaged(table: str, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the rows that match their checksum (the last column) and whose number can be a log-likelihood."""
    try:
        expected = checksums(table, [row[:-1] for row in rows])
    except struct.error:
        return [row for one in rows for row in (undamaged(table, [one]) if len(rows) > 1 else [])]
    sound = [row for row, checksum in zip(rows, expected) if row[-1] == checksum]
    return [row for row in sound if _is_logprob(row[1])] if table == "numbers" else sound


def _is_logprob(value: Any) -> bool:
    return isinstance(value, float) and -math.inf < value <= 0


class AnswerStore:
    """A SQLite file of log-likelihoods. Each `put` is one transaction; several processes may share the file."""

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises:
            InputError: The file cannot be opened, or is not an answer store.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._database.text_factory = bytes  # a damaged row may have text that is not UTF-8
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            for table, columns in TABLES.items():
                key, _, others = columns.partition(", ")
                others = others.replace("logprob", "logprob REAL")
                self._database.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} ({key} BLOB PRIMARY KEY, {others}) WITHOUT ROWID"
                )
        except (*FAULTS, OSError) as error:
            raise InputError(
                f"The answer store {path} cannot be used ({error}); delete it, or move the cache."
            ) from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """Return the stored log-likelihoods of some keys; damaged rows are left out, with a warning."""
        return {key: logprob for key, logprob, _ in self._rows("numbers", keys)}

    def put(self, values: Mapping[bytes, float]) -> None:
        """Store log-likelihoods in one transaction.

        Raises:
            InputError: A value is not finite or above 0, or the file cannot be written.
        """
        rows = [(key, float(value) + 0.0) for key, value in values.items()]  # SQLite does not keep the sign of -0.0
        if wrong := [value for _, value in rows if not _is_logprob(value)]:
            raise InputError(
                f"{wrong[0]} is not a log-likelihood, so the answer store {self.path} refuses it; give a finite number "
                "that is at most 0."
            )
        self._write("numbers", rows)

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
        self._write("texts", rows)

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
            raise InputError(
                f"The answer store {self.path} cannot be read ({error}); delete it and run again."
            ) from error
        sound = undamaged(table, rows)
        if damaged := len(rows) - len(sound):
            warnings.warn(
                f"{damaged} rows of the answer store {self.path} are damaged (checksum mismatch); they are computed "
                "again and replaced.",
                stacklevel=3,
            )
        return sound

    def _write(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        checked = [(*row, checksum) for row, checksum in zip(rows, checksums(table, rows))]
        marks = ",".join("?" * len(TABLES[table].split(",")))
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", checked)
            self._database.execute("COMMIT")
        except FAULTS as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            broken = type(error) is sqlite3.DatabaseError  # what SQLite raises for pages it cannot read
            remedy = "delete it" if broken else "free some disk space (finished answers are kept)"
            raise InputError(
                f"The answer store {self.path} cannot be written ({error}); {remedy} and run again."
            ) from error

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM numbers").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> AnswerStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def store_of(fingerprint: str) -> AnswerStore:
    """Return the store of one model in the cache folder."""
    return AnswerStore(cache_folder() / "answers" / f"{fingerprint[:32]}{ENDING}")


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
        source: File of a store, or a folder with stores at any depth; a path or an fsspec URL.

    Yields:
        The result for each store.

    Raises:
        InputError: There is no store, or one cannot be read.
    """
    files, top = opened(source)
    try:
        names = [top] if top.endswith(ENDING) else sorted(files.glob(f"{top}/**/*{ENDING}"))
    except Exception as error:  # file systems have no common base class of exceptions
        raise InputError(f"Cannot read {source}: {_reason(error)}.") from error
    if not names:
        raise InputError(f"There is no answer store in {source}; `workbench store export {source}` writes some there.")
    for name in names:
        with _local_copy(files, name) as path:
            yield merge(path, cache_folder() / "answers" / path.name)


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
    AnswerStore(target).close()
    try:
        with closing(sqlite3.connect(target, timeout=60, isolation_level=None, uri=True)) as database:
            database.text_factory = bytes  # a damaged row may have text that is not UTF-8
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
    """Copy the undamaged rows of `other` to a temporary table, and delete damaged rows of `main` that they replace.

    Returns:
        The number of damaged rows in `other`.
    """
    columns = TABLES[table]
    key, marks = columns.partition(",")[0], ",".join("?" * len(columns.split(",")))
    database.execute(f"CREATE TEMP TABLE sound_{table} AS SELECT {columns} FROM main.{table} LIMIT 0")
    rows = database.execute(f"SELECT {columns} FROM other.{table}").fetchall()
    sound = undamaged(table, rows)
    database.executemany(f"INSERT INTO sound_{table} VALUES ({marks})", sound)
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
