"""Text formats of users' files: CSV cells, JSON lines, JSON arrays and YAML settings, with line numbers.

A line ends at a line feed, a carriage return or both, as in an editor, and at no other character.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
import sys
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from workbench.errors import InputError
from workbench.reading import LARGEST, check_depth, opened_file, printable, read_text, text_lines, too_deep

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MOST_CELLS = 50_000_000
"""Cells of a Parquet file or a sheet that are read."""
MOST_LINES = 1 << 20
"""Lines of a sheet."""
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
BLANK = re.compile(r"[ \t\r\n]*")
SPACED_QUOTE = {
    mark: re.compile(rf'(?:^|{re.escape(mark)})[ {"" if mark == chr(9) else chr(9)}]+"(?![",;\t\r\n]|$)')
    for mark in SEPARATORS
}
"""Separator -> a blank before the opening quote of a cell."""


class Written(float):
    """A float that keeps the spelling of the file."""

    def __new__(cls, text: str) -> Written:
        """Parse a JSON number."""
        made = super().__new__(cls, text)
        if math.isinf(made):
            raise ValueError(f"{text} is too large for a number; put it in quotes")
        made.text = text
        return made

    text: str

    def __str__(self) -> str:
        return self.text


def number(value: object) -> float | None:
    """Return a finite number, parsed from text if need be; None for anything else ("nan", "1_0", True)."""
    if isinstance(value, str):
        value = float(value) if NUMBER.fullmatch(value := value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def python_value(text: str) -> Any:
    """Return the value of a Python literal, as data sets write lists.

    Raises:
        ValueError: The text is not a literal.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.literal_eval(text)
    except Exception:  # MemoryError and RecursionError among them
        raise ValueError(f"{text[:60]!r} is not a Python literal") from None


def csv_cells(path: Path, separator: str, comments: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield (line on which the row begins, cells) for each row that has a cell that is not blank."""
    count, first, raw = 0, 0, ""

    def feed() -> Iterator[str]:
        nonlocal count, first, raw
        for line in text_lines(path):
            count += 1
            if not first and comments and line.startswith("#"):
                continue
            first, raw = first or count, raw + line if first else line
            yield line

    table, spaced_quote = csv.reader(feed(), strict=True, delimiter=separator), SPACED_QUOTE[separator]
    while True:
        first = 0
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(_ill_formed(path.name, first, count, str(error))) from None
        spaced = '"' in raw and spaced_quote.search(raw)
        if spaced and any(cell[:1].isspace() and cell.lstrip()[:1] == '"' for cell in cells):
            raise InputError(
                f"{path.name}, line {first} has a space before the opening double quote of a cell, which makes the "
                "quote part of the text; delete the space."
            )
        if any(cell.strip() for cell in cells):
            yield first, cells


def _ill_formed(name: str, first: int, last: int, error: str) -> str:
    """Return the message for a CSV row that does not parse."""
    where = f"{name}, line {first}" if first == last else f"{name}, lines {first} to {last}"
    if "field limit" in error:
        return (
            f"{where}: a cell has more than {csv.field_size_limit():,} characters; close its double quotes, or save "
            "long texts as JSON lines (.jsonl)."
        )
    if "end of data" in error:
        return f"{name}: a double quote is not closed in the row that begins on line {first}; close it."
    return (
        f"{where}: not a well-formed CSV row ({error}); put the whole cell in double quotes, and double the quotes "
        "inside."
    )


def json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line, value) of JSON lines."""
    for count, line in enumerate(text_lines(path), start=1):
        if line := line.strip(" \t\r\n"):
            value, end = _parsed(f"{path.name}, line {count}", line, 0)
            if end < len(line):
                raise _no_json(f"{path.name}, line {count}", f"{line[end : end + 20]!r} after its end")
            yield count, value


def json_array(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield (line, element) of a JSON array."""
    text = read_text(path)
    ends = [match.end() for match in re.finditer(r"\r\n?|\n", text)]

    def where(at: int) -> str:
        return f"{path.name}, line {bisect_right(ends, at) + 1}"

    def after(at: int, marks: str) -> tuple[str, int]:
        """Return the next character that is not blank, one of `marks`, and the position after it."""
        at = BLANK.match(text, at).end()  # type: ignore[union-attr]
        if not (mark := text[at : at + 1]) or mark not in marks:
            raise _no_json(where(at), f"{repr(mark) if mark else 'the end'} where {' or '.join(marks)} is needed")
        return mark, at + 1

    mark, at = after(0, "[")
    while mark != "]":
        at = BLANK.match(text, at).end()  # type: ignore[union-attr]
        if mark == "[" and text[at : at + 1] == "]":
            return
        value, end = _parsed(where(at), text, at)
        yield bisect_right(ends, at) + 1, value
        mark, at = after(end, ",]")
    if rest := text[at:].strip(" \t\r\n"):
        raise _no_json(where(at), f"{rest[:20]!r} after its end")


def parquet_columns(path: Path, choose: Callable[[list[str]], list[str]]) -> dict[str, list[Any]]:
    """Return columns of a Parquet file: name -> values, float16 and float32 as their shortest decimal.

    Args:
        path: The file.
        choose: Function from the names of its columns to those that are read.

    Raises:
        InputError: The file cannot be read, is too large when unpacked, or the cells of a column are lists, structs or
            bytes.
    """
    from pyarrow import parquet, types

    with opened_file(path) as raw:
        with _damaged(path, "write the Parquet file again"):
            file = parquet.ParquetFile(raw)
            schema, about = file.schema_arrow, file.metadata
            places = {about.schema.column(i).path: i for i in range(about.num_columns)}
        chosen = choose(schema.names)
        for name in chosen:
            kind = schema.field(name).type
            kind = kind.value_type if types.is_dictionary(kind) else kind
            if types.is_nested(kind) or "binary" in str(kind):
                what = f"{path.name}: column {name!r} has type {kind}"
                raise InputError(f"{what}; save the column as text or numbers, or remove it.")
        _check_size(path, about.num_rows * len(chosen))
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        size = sum(group.column(places[name]).total_uncompressed_size for group in groups for name in chosen)
        if size > LARGEST:
            what = f"{path.name} unpacks to {size:,} bytes, more than the {LARGEST:,} that are read"
            raise InputError(f"{what}; leave out rows, or save it as CSV.")
        with _damaged(path, "write the Parquet file again"):
            table = parquet.ParquetFile(raw, read_dictionary=chosen).read(chosen)  # a text that recurs is kept once
    return {name: _parquet_values(path.name, name, table[name]) for name in chosen}


def _parquet_values(file: str, name: str, column: Any) -> list[Any]:
    import numpy as np
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    try:
        values = [value for chunk in column.chunks for value in _chunk_values(chunk)]
    except Exception:  # dates outside Python's range, bytes that are not UTF-8
        raise InputError(
            f"{file}: column {name!r} of type {kind} has a value that cannot be written as text; save the column as "
            "text or numbers."
        ) from None
    if not (types.is_float16(kind) or types.is_float32(kind)):
        return values
    exact = np.float16 if types.is_float16(kind) else np.float32
    return [None if value is None else float(str(exact(value))) for value in values]


def _chunk_values(chunk: Any) -> list[Any]:
    from pyarrow import DictionaryArray

    if not isinstance(chunk, DictionaryArray):
        return list(chunk.to_pylist())
    values = chunk.dictionary.to_pylist()
    return [None if place is None else values[place] for place in chunk.indices.to_pylist()]


def sheet_cells(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Yield (line, values) for each row of the first sheet of a workbook that has a cell that is not blank.

    Rows are as wide as the first one, or wider.

    Raises:
        InputError: The workbook cannot be read, or is too large.
    """
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise InputError(
            f"Reading {path.name} needs the package openpyxl; install it, or save the sheet as CSV."
        ) from None
    way_out, width, count = "save the sheet as CSV", 0, 0
    with opened_file(path, LARGEST) as raw:
        with _damaged(path, way_out), ZipFile(raw) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > LARGEST:
            what = f"{path.name} unpacks to {size:,} bytes, more than the {LARGEST:,} that are read"
            raise InputError(f"{what}; {way_out}.")
        with _damaged(path, way_out):
            sheet = load_workbook(raw, read_only=True, data_only=True, keep_links=False).worksheets[0]
            sheet.reset_dimensions()  # which the file states itself
            rows = sheet.iter_rows(values_only=True)
        for line in range(1, MOST_LINES + 2):
            with _damaged(path, way_out):
                row = next(rows, None)
            if row is None:
                return
            if line > MOST_LINES:
                raise InputError(f"{path.name} has rows below line {MOST_LINES:,}, the last of a sheet; {way_out}.")
            count += len(row)
            _check_size(path, count)
            values = list(row)
            while values and (values[-1] is None or not str(values[-1]).strip()):
                values.pop()
            if values:
                width = width or len(values)
                yield line, values + [None] * (width - len(values))


def _check_size(path: Path, cells: int) -> None:
    if cells > MOST_CELLS:
        raise InputError(f"{path.name} has more than the {MOST_CELLS:,} cells that are read; leave out rows.")


@contextmanager
def _damaged(path: Path, way_out: str) -> Iterator[None]:
    """Turn whatever a library raises for the content of a file into an `InputError`; for calls of the library only."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        why = printable(error, 120) or type(error).__name__
        raise InputError(f"{path.name} is damaged, or not a {path.suffix} file ({why}); {way_out}.") from None


def _parsed(where: str, text: str, at: int) -> tuple[Any, int]:
    """Return the JSON value at a position of a text, and the position after it."""
    try:
        value, end = DECODER.raw_decode(text, at)
        check_depth(value, where)
        if "\\u" in text[at:end]:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} contains half a character (a lone surrogate); write the character itself.") from None
    except json.JSONDecodeError as error:
        raise _no_json(where, f"{error.msg} at column {error.colno}") from None
    except RecursionError:
        raise too_deep(where) from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise _no_json(where, str(error)) from None
    return value, end


def _no_json(where: str, why: str) -> InputError:
    return InputError(f"{where} is not JSON ({why}); write each row as one object {{...}} with double quotes.")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"it has {next(name for name in names if names.count(name) > 1)!r} twice")
    return dict(pairs)


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"{text[:24]} is too large for a number; put it in quotes")
    return int(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON; write null where there is no number")


DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=Written, parse_int=_integer, parse_constant=_constant)
