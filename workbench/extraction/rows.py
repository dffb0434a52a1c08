"""Rows of the answer store: columns, checksums, and reading them from the bytes of a file that SQLite cannot read."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLES = {
    "numbers": "key, logprob, checksum",
    "texts": "text, key, n_tokens, merged, truncated, checksum",
}
"""Table -> its columns, the key first."""
FORMS = {"numbers": struct.Struct("<20sd"), "texts": struct.Struct("<20s20sqqq")}
"""Table -> layout of the bytes that are hashed for the checksum of a row."""
INTEGERS = rb"[\x01-\x06\x08\x09]"
HEADS = {  # https://sqlite.org/fileformat.html#record_format: length of the head, then the type of each column
    "numbers": re.compile(rb"(?=\x04\x34[\x01-\x09]" + INTEGERS + rb")"),
    "texts": re.compile(rb"(?=\x07\x34\x34" + INTEGERS * 4 + rb")"),
}
"""Table -> where one of its rows may begin in a file. A key has 20 bytes, and no row is split between pages."""
SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0, 0x34: 20}
"""SQLite's type of a column -> its number of bytes."""
LONGEST_ROW = 128
BLOCK = 2**22
SECTOR = 4096
NODES = {0x02, 0x0A}
"""First byte of the pages that contain rows."""


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
    return [row for row in sound if is_logprob(row[1])] if table == "numbers" else sound


def is_logprob(value: Any) -> bool:
    """Whether a value can be a log-likelihood."""
    return isinstance(value, float) and -math.inf < value <= 0


@dataclass(slots=True)
class Scan:
    """What `rows_in` has seen of a file so far."""

    unreadable: int = 0
    """Bytes the disk does not return."""
    starts: list[int] = field(default_factory=list)
    """Offsets of the rows."""


def rows_in(path: Path, scan: Scan) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Yield (table, undamaged rows) of a store or its write-ahead log, whatever the state of the file.

    Neither the header nor the tree of pages is read: a row is recognised by the types of its columns and by its
    checksum. A row can come several times; rows that were replaced are among them.
    """
    for start, block in _blocks(path, scan):
        for table, head in HEADS.items():
            rows, starts = [], []
            for match in head.finditer(block):
                at = match.start()
                if at < len(block) - LONGEST_ROW and (row := _row(block, at)):
                    rows.append(row)
                    starts.append(start + at)
            sound = set(undamaged(table, rows))
            scan.starts += [at for at, row in zip(starts, rows) if row in sound]
            yield table, [row for row in rows if row in sound]


def _blocks(path: Path, scan: Scan) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of a file; each block ends with the first `LONGEST_ROW` bytes of the next one, or zeros."""
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        for start in range(0, size, BLOCK):
            end = min(start + BLOCK + LONGEST_ROW, size)
            yield start, _read(file, start, end, scan).ljust(BLOCK + LONGEST_ROW, b"\0")


def _read(file: Any, start: int, end: int, scan: Scan) -> bytes:
    """The bytes of a file from start to end, zeros for sectors the disk does not return."""
    try:
        file.seek(start)
        return bytes(file.read(end - start))
    except OSError:
        if end - start > SECTOR:
            parts = [(at, min(at + SECTOR, end)) for at in range(start, end, SECTOR)]
            return b"".join(_read(file, *part, scan).ljust(part[1] - part[0], b"\0") for part in parts)
        scan.unreadable += end - start
        return b""


def _row(block: bytes, at: int) -> tuple[Any, ...]:
    """The row whose record begins here."""
    length = block[at]
    types, at = block[at + 1 : at + length], at + length
    row: list[Any] = []
    for kind in types:
        value = block[at : at + SIZES[kind]]
        at += SIZES[kind]
        if kind == 0x34:
            row.append(value)
        elif kind == 7:
            row.append(struct.unpack(">d", value)[0])
        else:
            row.append(int.from_bytes(value, signed=True) if value else kind - 8)
    if len(row) == 3:
        row[1] = float(row[1])  # SQLite keeps a whole number as an integer
    return tuple(row)


def missing_rows(path: Path, scan: Scan) -> int:
    """Return about how many rows a store has lost, from the heads of its pages and the rows seen on them."""
    import numpy as np

    with path.open("rb", buffering=0) as file:
        size, ignored = file.seek(0, 2), Scan()
        head = _read(file, 0, 100, ignored).ljust(100, b"\0")
        page = {1: 65536}.get(given := int.from_bytes(head[16:18]), given)
        page = page if page in (2**power for power in range(9, 17)) else SECTOR
        pages = -(-size // page)
        heads = [_read(file, at, at + 5, ignored).ljust(5, b"\0") for at in range(page, size, page)]
    on_page = np.bincount(np.array(scan.starts, int) // page, minlength=pages)
    counts = [int.from_bytes(each[3:5]) if each[0] in NODES else 0 for each in heads]
    known = sum(max(0, count - sound) for count, sound in zip(counts, on_page[1:].tolist()) if count < page / 20)
    unknown = sum(count >= page / 20 or each[0] not in (*NODES, 5, 13) for count, each in zip(counts, heads))
    noted = int.from_bytes(head[28:32]) if head.startswith(b"SQLite format 3\0") else 0
    unknown += max(0, noted - pages) if noted < 1000 * pages else 0
    whole = on_page[on_page > 0]
    return known + round(unknown * float(np.median(whole) if len(whole) else 0))
