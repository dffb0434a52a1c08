"""The answer store: log-likelihoods kept under a hash of everything that decides them.

Two tables. `numbers` holds the log-likelihood of each request: model fingerprint, engine version, token ids.
`texts` holds the request of each text, so a run that was answered before needs neither tokenizer nor torch.
Every row ends in a checksum of itself. A row that does not match it, or whose number cannot be a log-likelihood, is
treated as absent: a disk or a copy that flips a bit costs a computation and never gives another number. Stores of
earlier versions have the tables `answers` and `readings`, whose rows cannot be verified; they are neither read nor
deleted.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
import struct
import warnings
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.extraction.tokens import RULES, Request
from workbench.files import cache_folder
from workbench.questions import Question

TABLES = {
    "numbers": "key, logprob, checksum",
    "texts": "text, key, n_tokens, merged, truncated, checksum",
}
"""Table -> its columns, the key first."""
FORMS = {"numbers": struct.Struct("<20sd"), "texts": struct.Struct("<20s20sqqq")}
"""Table -> the bytes of a row that its checksum is made of."""
FAULTS = (sqlite3.Error, MemoryError, UnicodeDecodeError)
"""What sqlite3 raises for a file it cannot read or write; the last two come from damaged text and lengths."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one option of one question came to in tokens."""

    key: bytes
    """Key of its request."""
    n_tokens: int
    """Tokens scored."""
    boundary_merged: bool
    """Prompt and option were encoded apart."""
    truncated: bool
    """The middle of the prompt was cut out."""


def request_key(fingerprint: str, engine: str, request: Request) -> bytes:
    """The 20-byte key of a request: model fingerprint, engine version, context ids and continuation ids."""
    digest = hashlib.blake2b(f"{fingerprint}|{engine}|{len(request.context)}|".encode(), digest_size=20)
    digest.update(array("q", request.context).tobytes())
    digest.update(array("q", request.continuation).tobytes())
    return digest.digest()


def bound_key(key: bytes) -> bytes:
    """The key under which the most a request can be is kept, where its number could not be read."""
    return hashlib.blake2b(key + b"at most", digest_size=20).digest()


def text_keys(fingerprint: str, engine: str, truncate: str, question: Question) -> list[bytes]:
    """A 20-byte key for each option of a question: fingerprint, engine and encoding rules, prompt and option text."""
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
    """The checksum of each row of a table, a keyed hash (SipHash) of 8 bytes over its other columns.

    Raises:
        struct.error: If a row holds something of another type.
    """
    import numpy as np
    import pandas as pd

    packed = np.empty(len(rows), object)
    packed[:] = [FORMS[table].pack(*row) for row in rows]
    found: list[int] = pd.util.hash_array(packed, categorize=False).view(np.int64).tolist()
    return found


def undamaged(table: str, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows that match their checksum, the last column, and whose number can be a log-likelihood."""
    try:
        expected = checksums(table, [row[:-1] for row in rows])
    except struct.error:
        return [row for one in rows for row in (undamaged(table, [one]) if len(rows) > 1 else [])]
    sound = [row for row, checksum in zip(rows, expected) if row[-1] == checksum]
    return [row for row in sound if _is_logprob(row[1])] if table == "numbers" else sound


def _is_logprob(value: Any) -> bool:
    """Whether a value is a real number, finite and at most 0, as a server's answer must be."""
    return isinstance(value, float) and -math.inf < value <= 0


class AnswerStore:
    """A SQLite file of log-likelihoods; each `put` is whole or absent, and several processes may share the file."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            InputError: If the file cannot be opened, or is no answer store.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._database.text_factory = bytes  # a damaged row may hold text that is not UTF-8
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
        """The stored log-likelihoods among these keys; damaged rows are left out, with a warning."""
        return {key: logprob for key, logprob, _ in self._rows("numbers", keys)}

    def put(self, values: Mapping[bytes, float]) -> None:
        """Keep these log-likelihoods, in one transaction.

        Raises:
            InputError: If a value is not a real number, finite and at most 0, or the file cannot be written.
        """
        rows = [(key, float(value) + 0.0) for key, value in values.items()]  # SQLite does not keep the sign of -0.0
        if wrong := [value for _, value in rows if not _is_logprob(value)]:
            raise InputError(
                f"{wrong[0]} is not a log-likelihood, so the answer store {self.path} does not take it; give a finite "
                "number that is at most 0."
            )
        self._write("numbers", rows)

    def get_readings(self, keys: Sequence[bytes]) -> dict[bytes, Reading]:
        """What is known of these texts; damaged rows are left out, with a warning."""
        rows = self._rows("texts", keys)
        return {text: Reading(key, n, bool(merged), bool(cut)) for text, key, n, merged, cut, _ in rows}

    def put_readings(self, readings: Mapping[bytes, Reading]) -> None:
        """Remember what these texts came to, in one transaction."""
        rows = [(text, r.key, r.n_tokens, r.boundary_merged, r.truncated) for text, r in readings.items()]
        self._write("texts", rows)

    def _rows(self, table: str, keys: Sequence[bytes]) -> list[tuple[Any, ...]]:
        """The undamaged rows of a table with these keys."""
        key = TABLES[table].partition(",")[0]
        rows: list[tuple[Any, ...]] = []
        try:
            for start in range(0, len(keys), 500):
                part = list(keys[start : start + 500])
                places = ",".join("?" * len(part))
                rows += self._database.execute(f"SELECT {TABLES[table]} FROM {table} WHERE {key} IN ({places})", part)
        except FAULTS as error:
            raise InputError(
                f"The answer store {self.path} cannot be read ({error}); delete it and run again."
            ) from error
        sound = undamaged(table, rows)
        if damaged := len(rows) - len(sound):
            warnings.warn(
                f"{damaged} rows of the answer store {self.path} are damaged (they do not match their checksum); they "
                "are computed again and replaced.",
                stacklevel=3,
            )
        return sound

    def _write(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        checked = [(*row, checksum) for row, checksum in zip(rows, checksums(table, rows))]
        places = ",".join("?" * len(TABLES[table].split(",")))
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({places})", checked)
            self._database.execute("COMMIT")
        except FAULTS as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            broken = type(error) is sqlite3.DatabaseError  # what SQLite raises for pages it cannot read
            mend = (
                "delete it and run again" if broken else "free some disk space and run again, what was finished is kept"
            )
            raise InputError(f"The answer store {self.path} cannot be written ({error}); {mend}.") from error

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
    """The store of one model in the cache folder."""
    return AnswerStore(cache_folder() / "answers" / f"{fingerprint[:32]}.sqlite")
