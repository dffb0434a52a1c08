"""Text formats of users' files: CSV cells, JSON lines, JSON arrays and YAML settings, with line numbers.

A line ends at a line feed, a carriage return or both, as in an editor, and at no other character.
"""

from __future__ import annotations

import csv
import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.reading import text_lines

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
BLANK = re.compile(r"[ \t\r\n]*")
SPACED_QUOTE = re.compile(r'(^|[,;\t])[ \t]+"(?![",;\t\r\n]|$)')


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
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        parsed = float(value) if NUMBER.fullmatch(value := value.strip()) else math.nan
    elif isinstance(value, int | float):
        parsed = float(value)
    else:
        return None
    return parsed if math.isfinite(parsed) else None


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

    table = csv.reader(feed(), strict=True, delimiter=separator)
    while True:
        first = 0
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(_ill_formed(path.name, first, count, str(error))) from None
        spaced = '"' in raw and SPACED_QUOTE.search(raw)
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
    text = "".join(text_lines(path))
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


def parquet_values(file: str, name: str, column: Any) -> list[Any]:
    """Return the values of a Parquet column; float16 and float32 as their shortest decimal.

    Raises:
        InputError: The cells are lists, structs or bytes.
    """
    import numpy as np
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if types.is_nested(kind) or "binary" in str(kind):
        raise InputError(f"{file}: column {name!r} has type {kind}; save the column as text or numbers, or remove it.")
    if types.is_float16(kind) or types.is_float32(kind):
        exact = np.float16 if types.is_float16(kind) else np.float32
        return [None if value is None else float(str(exact(value))) for value in column.to_pylist()]
    return list(column.to_pylist())


def _parsed(where: str, text: str, at: int) -> tuple[Any, int]:
    """Return the JSON value at a position of a text, and the position after it."""
    try:
        value, end = DECODER.raw_decode(text, at)
        if "\\u" in text[at:end]:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} contains half a character (a lone surrogate); write the character itself.") from None
    except json.JSONDecodeError as error:
        raise _no_json(where, f"{error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:
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
