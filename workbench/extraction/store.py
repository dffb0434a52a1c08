"""The answer store: log-likelihoods kept under a hash of everything that decides them.

Two tables. `answers` holds a number for each request: model fingerprint, engine version, token ids.
`readings` remembers which request a text came to, so a run that was answered before needs neither tokenizer nor torch.
"""

from __future__ import annotations

import hashlib
import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.extraction.tokens import RULES, Request
from workbench.files import cache_folder
from workbench.questions import Question

TABLES = (
    "answers (key BLOB PRIMARY KEY, logprob REAL)",
    "readings (text BLOB PRIMARY KEY, key BLOB, n_tokens INTEGER, merged INTEGER, truncated INTEGER)",
)


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
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            for table in TABLES:
                self._database.execute(f"CREATE TABLE IF NOT EXISTS {table} WITHOUT ROWID")
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"The answer store {path} cannot be used ({error}); delete it, or move the cache."
            ) from error

    def get(self, keys: Sequence[bytes]) -> dict[bytes, float]:
        """The stored log-likelihoods among these keys."""
        return dict(self._rows("SELECT key, logprob FROM answers WHERE key IN", keys))

    def put(self, values: Mapping[bytes, float]) -> None:
        """Keep these log-likelihoods, in one transaction."""
        self._write("INSERT OR REPLACE INTO answers VALUES (?, ?)", values.items())

    def get_readings(self, keys: Sequence[bytes]) -> dict[bytes, Reading]:
        """What is known of these texts."""
        rows = self._rows("SELECT text, key, n_tokens, merged, truncated FROM readings WHERE text IN", keys)
        return {text: Reading(key, n, bool(merged), bool(cut)) for text, key, n, merged, cut in rows}

    def put_readings(self, readings: Mapping[bytes, Reading]) -> None:
        """Remember what these texts came to, in one transaction."""
        rows = ((text, r.key, r.n_tokens, r.boundary_merged, r.truncated) for text, r in readings.items())
        self._write("INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?, ?)", rows)

    def _rows(self, query: str, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        try:
            for start in range(0, len(keys), 500):
                part = list(keys[start : start + 500])
                yield from self._database.execute(f"{query} ({','.join('?' * len(part))})", part)
        except sqlite3.Error as error:
            raise InputError(
                f"The answer store {self.path} cannot be read ({error}); delete it and run again."
            ) from error

    def _write(self, query: str, rows: Iterable[tuple[Any, ...]]) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(query, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise InputError(
                f"The answer store {self.path} cannot be written ({error}); free some disk space and run again, "
                "what was finished before is kept."
            ) from error

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM answers").fetchone()[0])

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
