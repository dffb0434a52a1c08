"""Rows of users' files: CSV, JSON lines, JSON array, Parquet or an Excel sheet.

Text is kept exactly ("02138", "1e5", "None", "NA"); `number` parses a number only where one is expected. Rows whose
cells are all empty are skipped.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.datasets.formats import (
    SEPARATORS,
    csv_cells,
    json_array,
    json_lines,
    number,
    parquet_columns,
    sheet_cells,
)
from workbench.errors import InputError, unknown
from workbench.questions import Tag

if TYPE_CHECKING:
    import pandas as pd

TYPED = (".parquet", ".xlsx", ".jsonl", ".json")
"""Suffixes of files that are not CSV."""
UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Invisible characters: soft hyphen, zero-width space, word joiner, zero-width no-break space."""
MOST_CELLS = 10_000_000
"""Cells of a file whose rows are read as a whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Row(Mapping[str, Any]):
    """One row: column -> value, text in a CSV and JSON's own types otherwise, with its location.

    A missing column is absent (`"x" not in row`), a JSON null is None, an empty cell is "".
    """

    cells: Mapping[str, Any]
    """Column -> value."""
    where: str
    """File and line, for errors."""
    bars: bool = False
    """Whether a cell separates several texts by bars (CSV); JSON uses a list."""

    def __getitem__(self, column: str) -> Any:
        return self.cells[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def wrong(self, what: str) -> InputError:
        """Return an error that begins with the location of the row."""
        return InputError(f"{self.where}: {what}")

    def text(self, column: str) -> str:
        """Return a column's text, unchanged; "" if absent or null.

        Raises:
            InputError: The value is a list, an object or a Boolean.
        """
        value = self.cells.get(column)
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, bool | list | dict):
            raise self.wrong(f"{column} is {json.dumps(value)[:60]}, not a text; put it in quotes.")
        return str(value)

    def needed(self, column: str) -> str:
        """Return a column's text, stripped; refuse a blank one."""
        if not (text := self.text(column).strip()):
            raise self.wrong(f"{column} is empty; fill it in or delete the row.")
        return text

    def texts(self, column: str) -> list[str]:
        r"""Return the texts of a column, stripped: a JSON list, or a CSV cell divided by bars.

        In a CSV, `\|` is a bar inside a text and `\\|` a backslash at its end; other backslashes are literal.

        Raises:
            InputError: A text is empty, or not a text; or the cell is the text of a list, as pandas writes lists.
        """
        value = self.cells.get(column)
        if value is None or value == "" or value == []:
            return []
        if isinstance(value, str) and is_list(value):
            raise self.wrong(
                f"{column} is the text of a list, {value[:60]!r}; "
                + ("divide its texts by bars, as in a|b." if self.bars else "write the list itself, without quotes.")
            )
        if self.bars and isinstance(value, str):
            parts = divided(value) if value.strip() else []
        else:
            given = value if isinstance(value, list) else [value]
            parts = [Row({column: each}, self.where).text(column) for each in given]
        if not all(part.strip() for part in parts):
            raise self.wrong(f"{column} contains an empty text; delete it, or the bar or comma beside it.")
        return [part.strip() for part in parts]

    def number(self, column: str) -> float | None:
        """Return a column's number; None if absent, null or blank.

        Raises:
            InputError: The value is not a number.
        """
        value = self.cells.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if (parsed := number(value)) is None:
            raise self.wrong(f"{value!r} in column {column!r} is not a number; write one like 2.5, or leave it empty.")
        return parsed

    def tag(self, column: str) -> Tag:
        """Return a column's value as a tag of a question: text, number, Boolean or None.

        Raises:
            InputError: The value is a list or an object.
        """
        value = self.cells.get(column)
        if isinstance(value, str):
            return value.strip() or None
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return float(value)
        raise self.wrong(f"{column} is a {type(value).__name__}; write one text or number.")


def is_list(text: str) -> bool:
    """Whether a text is a list of texts as Python, JSON or numpy writes it; [1, 2] is not."""
    quoted = r"""('([^'\\]|\\.)*+'|"([^"\\]|\\.)*+")"""
    return re.fullmatch(rf"\s*+[\[(]\s*+{quoted}([,\s]++{quoted})*+,?\s*+[\])]\s*+", text) is not None


def seen(text: str) -> str:
    """Return the text as displayed: composed letters, one kind of space, no invisible characters."""
    return re.sub(r"\s", " ", UNSEEN.sub("", unicodedata.normalize("NFC", text))).strip()


def bare(name: str) -> str:
    """Return letters and digits of a name, case folded: "Answer A" and "answer_a" are equal."""
    return re.sub(r"[\W_]", "", seen(name)).casefold()


def folded(text: str) -> str:
    """Return the text with case folded and spaces collapsed."""
    return " ".join(seen(text).casefold().split())


def check_names(names: Iterable[str], what: str) -> None:
    """Refuse names that differ only in case, spaces or number format (1, 1.0), since each would become a group.

    Raises:
        InputError: A name is spelled in two ways.
    """
    known: dict[object, str] = {}
    for name in names:
        value = number(name)
        key = folded(name) if value is None else value
        if (other := known.setdefault(key, name)) != name:
            raise InputError(f"{what} is spelled in two ways, {other!r} and {name!r}; use one spelling.")


def as_text(value: object) -> str:
    """Return a typed value, such as one of Parquet, as text: "" if missing, "752" for 752.0."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def divided(cell: str) -> list[str]:
    r"""Split a cell at bars: `a|b` is two texts, `a\|b` one, `a\\|b` is `a\` and `b`."""
    parts = [""]
    for piece in re.split(r"((?<!\\)\\*\|)", cell):
        if not piece.endswith("|"):
            parts[-1] += piece
            continue
        parts[-1] += "\\" * (len(piece) // 2) if len(piece) % 2 else "\\" * (len(piece) // 2 - 1) + "|"
        parts += [""] * (len(piece) % 2)
    return parts


def read_rows(
    path: Path,
    needed: Sequence[str] = (),
    optional: Collection[str] | None = None,
    *,
    what: str = "",
    separator: str = ",",
    comments: bool = False,
    header: Sequence[str] | None = None,
    known: Collection[str] = (),
) -> list[Row]:
    """Return the rows of a file; arguments as in `iterate`.

    Raises:
        InputError: As in `iterate`, or the file has no rows or too many cells.
    """
    how: dict[str, Any] = {"what": what, "separator": separator, "comments": comments, "header": header, "known": known}
    rows: list[Row] = []
    count = 0
    for row in iterate(path, needed, optional, **how):
        if (count := count + len(row)) > MOST_CELLS:
            raise InputError(f"{path.name} has more than the {MOST_CELLS:,} cells that are read; leave out some rows.")
        rows.append(row)
    if not rows:
        columns = f", with the columns {', '.join(needed)}" if needed else ""
        raise InputError(f"{path.name} has no rows; write one{columns} for each{f' of the {what}' if what else ''}.")
    return rows


def read_columns(path: Path, columns: Sequence[str], what: str = "", separator: str = ",") -> pd.DataFrame:
    """Return columns of a large file as texts ("" if missing), indexed by line (Parquet: row).

    Raises:
        InputError: As in `read_rows`, or a column is missing.
    """
    import pandas as pd

    lines: list[int] = []
    mark = "line"
    texts: dict[str, list[str]] = {name: [] for name in columns}
    for row in iterate(path, columns, (), what=what, separator=separator):
        *_, mark, count = row.where.split(" ")
        lines.append(int(count))
        for name, cells in texts.items():
            cells.append(row.text(name))
    if not lines:
        raise InputError(f"{path.name} has no rows.")
    return pd.DataFrame(texts, index=pd.Index(lines, name=mark), dtype=object)


def numbers(column: pd.Series, name: str) -> pd.Series:
    """Return a column of `read_columns` as numbers, NaN where blank; `name` is the file's.

    Raises:
        InputError: A text is not a number; with its line.
    """
    known = {text: number(text) for text in column.unique()}
    values = column.map(known).astype(float)
    if (bad := values.isna() & column.str.strip().ne("")).any():
        line, text = next(column[bad].items())
        where = f"{name}, {column.index.name} {line}"
        raise InputError(f"{where}: {text!r} in column {column.name!r} is not a number; correct it, or leave it empty.")
    return values


def iterate(
    path: Path,
    needed: Sequence[str] = (),
    optional: Collection[str] | None = None,
    *,
    what: str = "",
    separator: str = ",",
    comments: bool = False,
    header: Sequence[str] | None = None,
    known: Collection[str] = (),
) -> Iterator[Row]:
    """Yield the rows of a file.

    Args:
        path: JSON lines (.jsonl), a JSON array (.json), .parquet, .xlsx (first sheet), or otherwise a CSV in UTF-8.
        needed: Required columns; in JSON, of every object.
        optional: Other columns to read; None reads all, whose names must then be unique.
        what: Content of the file, for errors.
        separator: Of the cells of a CSV.
        comments: Whether lines of a CSV that begin with # are skipped.
        header: Column names of a CSV without a header.
        known: With `optional=None`, further columns that have a meaning; other spellings of them are refused.

    Raises:
        InputError: The file cannot be read or is not UTF-8, or a row does not parse or has more or fewer cells than
            the header; with file and line.
    """
    kind = path.suffix.lower()
    wanted = None if optional is None else {*needed, *optional}
    meant = {*needed, *(optional or ()), *known}
    if what and not os.path.lexists(path):
        raise InputError(f"{path} does not exist; give the path of a file of {what}.")
    if kind == ".parquet":
        yield from _parquet(path, needed, wanted, meant)
    elif kind in (".jsonl", ".json"):
        yield from _objects(path, needed, meant, kind == ".json")
    elif kind == ".xlsx":
        texts = ((line, list(map(as_text, cells))) for line, cells in sheet_cells(path))
        yield from _cells(path, texts, needed, wanted, meant, ",", None)
    else:
        yield from _cells(path, csv_cells(path, separator, comments), needed, wanted, meant, separator, header)


def columns_of(path: Path) -> list[str]:
    """Return the column names of a file; of JSON, those of the first object.

    Raises:
        InputError: The file cannot be read.
    """
    if path.suffix.lower() in TYPED:
        return list(next(iterate(path), {}))
    _, cells = next(csv_cells(path, ",", False), (0, []))
    return [name.strip() for name in cells]


def _cells(
    path: Path,
    rows: Iterator[tuple[int, list[str]]],
    needed: Sequence[str],
    wanted: Collection[str] | None,
    meant: Collection[str],
    separator: str,
    header: Sequence[str] | None,
) -> Iterator[Row]:
    """Yield the rows of a CSV or a sheet from (line, cells)."""
    if named := header is None:
        _, cells = next(rows, (0, []))
        header = [name.strip() for name in cells]
        _check_header(path.name, header, needed, wanted, meant, separator)
    taken = [(i, name) for i, name in enumerate(header) if wanted is None or name in wanted]
    for line, cells in rows:
        if len(cells) != len(header):
            counts = f"{len(cells)} cell{'s' * (len(cells) > 1)} where the header has {len(header)}"
            raise InputError(
                f"{path.name}, line {line} has {counts}; put text with {SEPARATORS[separator]} in double quotes, and "
                "leave a cell empty for a missing value."
            )
        if named and len(header) > 1 and [seen(cell) for cell in cells] == list(map(seen, header)):
            raise InputError(f"{path.name}, line {line} repeats the header; delete it.")
        yield Row({name: cells[i] for i, name in taken}, f"{path.name}, line {line}", bars=True)


def _check_header(
    name: str,
    header: Sequence[str],
    needed: Sequence[str],
    wanted: Collection[str] | None,
    meant: Collection[str],
    separator: str,
) -> None:
    if not header:
        raise InputError(f"{name} is empty; write a header with the columns {', '.join(needed) or 'it should have'}.")
    if header[0].lower().startswith("sep="):
        raise InputError(
            f"{name} begins with a line {header[0]!r} for a spreadsheet; delete it, and save the file with "
            f"{SEPARATORS[separator]} between the cells."
        )
    for other, marks in SEPARATORS.items():
        if len(header) == 1 and other != separator and other in header[0]:
            raise InputError(
                f"{name} is divided by {marks}: its header is {header[0][:80]!r}; save it with {SEPARATORS[separator]} "
                "between the cells."
            )
    _check_needed(name, header, needed, meant)
    for i, column in enumerate(header):
        if not column and (wanted is None or i == len(header) - 1):
            raise InputError(f"{name} has no name for column {i + 1}; name it in the header, or delete it in all rows.")
    _check_unique(name, header, wanted)


def _check_unique(name: str, header: Sequence[str], wanted: Collection[str] | None) -> None:
    for column, count in Counter(header).items():
        if count > 1 and (wanted is None or column in wanted):
            raise InputError(f"{name} has the column {column!r} twice; rename one.")


def _check_needed(where: str, columns: Sequence[str], needed: Sequence[str], meant: Collection[str]) -> None:
    if missing := [repr(name) for name in needed if name not in columns]:
        if len(columns) > 40:
            raise unknown("column", next(name for name in needed if name not in columns), list(columns), f" of {where}")
        present = ", ".join(name if name.isprintable() else repr(name) for name in columns) or "none"
        raise InputError(f"{where} lacks the column {' and '.join(missing)}; it has {present}.")
    absent = {bare(name): name for name in meant if name not in columns}
    for column in columns:
        if (name := absent.get(bare(column))) is not None:
            raise InputError(f"{where} has a column {column!r} instead of {name!r}; rename it.")


def _objects(path: Path, needed: Sequence[str], meant: Collection[str], array: bool) -> Iterator[Row]:
    for line, value in json_array(path) if array else json_lines(path):
        where = f"{path.name}, line {line}"
        if isinstance(value, list):
            raise InputError(f"{where} is a JSON array; write one object a line, without its brackets and commas.")
        if not isinstance(value, dict):
            raise InputError(f"{where} is not a JSON object; write {{...}} with the columns.")
        _check_needed(where, list(value), needed, meant)
        yield Row(value, where)


def _parquet(
    path: Path, needed: Sequence[str], wanted: Collection[str] | None, meant: Collection[str]
) -> Iterator[Row]:
    """Yield the rows of a Parquet file as texts, numbered from 1."""

    def chosen(names: list[str]) -> list[str]:
        _check_needed(path.name, names, needed, meant)
        _check_unique(path.name, names, wanted)
        return [name for name in names if wanted is None or name in wanted]

    table = parquet_columns(path, chosen)
    for count, cells in enumerate(zip(*table.values()), start=1):
        yield Row(dict(zip(table, map(as_text, cells))), f"{path.name}, row {count}", bars=True)
