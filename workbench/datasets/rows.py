"""The one reader of users' files: CSV, JSON lines, a JSON array, Parquet or an Excel sheet, row by row.

Text stays as the file has it ("02138", "1e5", "None", "NA"); a number is read where a number is wanted, by `number`.
A row ends at a line feed, a carriage return or both, and at no other character. A row of empty cells is no row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from workbench.datasets.row_formats import (
    SEPARATORS,
    csv_cells,
    json_array,
    json_lines,
    not_utf8,
    number,
    parquet_values,
)
from workbench.datasets.spelling import bare
from workbench.errors import InputError, unknown
from workbench.questions import Tag

if TYPE_CHECKING:
    import pandas as pd

TYPED = (".parquet", ".xlsx", ".jsonl", ".json")
"""Ends of the names of files that are no CSV."""


@dataclass(frozen=True, slots=True, eq=False)
class Row(Mapping[str, Any]):
    """One row: its values by column (text in a CSV, JSON's own types else), and where it stands.

    A column that is not there is absent (`"x" not in row`), a JSON null is None, and an empty cell is "".
    """

    cells: Mapping[str, Any]
    """Column -> value."""
    where: str
    """File and line, as errors name them."""
    bars: bool = False
    """Whether several texts in one cell are divided by bars, as in a CSV; in JSON they are a list."""

    def __getitem__(self, column: str) -> Any:
        return self.cells[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def wrong(self, what: str) -> InputError:
        """An error about this row."""
        return InputError(f"{self.where}: {what}")

    def text(self, column: str) -> str:
        """The text of a column exactly as the file has it, "" where it is absent or null.

        Raises:
            InputError: It is a list, an object, or true or false, which have no one text.
        """
        value = self.cells.get(column)
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, bool | list | dict):
            raise self.wrong(f"{column} is {json.dumps(value)[:60]}, where one text is needed; put it in quotes.")
        return str(value)

    def needed(self, column: str) -> str:
        """The text of a column that must not be blank, without white space at its ends."""
        if not (text := self.text(column).strip()):
            raise self.wrong(f"{column} is empty; fill it in or delete the row.")
        return text

    def texts(self, column: str) -> list[str]:
        r"""The texts of a column, each without white space at its ends: a list in JSON, divided by bars in a CSV.

        In a CSV `\|` is a bar within a text, and `\\|` a backslash at the end of one; other backslashes are as they
        stand.

        Raises:
            InputError: One of them is empty or no text.
        """
        value = self.cells.get(column)
        if value is None or value == "" or value == []:
            return []
        if self.bars and isinstance(value, str):
            parts = divided(value) if value.strip() else []
        else:
            given = value if isinstance(value, list) else [value]
            parts = [Row({column: each}, self.where).text(column) for each in given]
        if not all(part.strip() for part in parts):
            raise self.wrong(f"{column} holds an empty text; delete it, or the bar or comma beside it.")
        return [part.strip() for part in parts]

    def number(self, column: str) -> float | None:
        """The number in a column; None where there is none (absent, null or blank).

        Raises:
            InputError: The column holds something else.
        """
        value = self.cells.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if (found := number(value)) is None:
            raise self.wrong(f"{value!r} in column {column!r} is no number; write one as in 2.5, or leave it empty.")
        return found

    def tag(self, column: str) -> Tag:
        """A value that travels with every answer: a text, a number, true or false, or None where there is none.

        Raises:
            InputError: It is a list or an object.
        """
        value = self.cells.get(column)
        if isinstance(value, str):
            return value.strip() or None
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return float(value)
        raise self.wrong(f"{column} holds {type(value).__name__}; a tag is one text or number.")


def as_text(value: object) -> str:
    """A value that has a type, such as those of Parquet, as text: "" where it is missing, "752" for 752.0."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def divided(cell: str) -> list[str]:
    r"""The texts of a cell that are divided by bars: `a|b` are two, `a\|b` is one, `a\\|b` are `a\` and `b`."""
    parts = [""]
    for piece in re.split(r"(\\*\|)", cell):
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
    """The rows of a file; see `iterate`.

    Raises:
        InputError: As there, or the file holds no row.
    """
    how: dict[str, Any] = {"what": what, "separator": separator, "comments": comments, "header": header, "known": known}
    found = list(iterate(path, needed, optional, **how))
    if not found:
        columns = f", with the columns {', '.join(needed)}" if needed else ""
        raise InputError(f"{path.name} holds no rows; write one{columns} for each{f' of the {what}' if what else ''}.")
    return found


def read_columns(path: Path, columns: Sequence[str], what: str = "", separator: str = ",") -> pd.DataFrame:
    """Columns of a file as texts ("" is missing), indexed by line (Parquet: row); for files of many rows.

    Raises:
        InputError: As for `read_rows`, or a column is not there.
    """
    import pandas as pd

    lines: list[int] = []
    mark = "line"
    found: dict[str, list[str]] = {name: [] for name in columns}
    for row in iterate(path, columns, (), what=what, separator=separator):
        *_, mark, count = row.where.split(" ")
        lines.append(int(count))
        for name, cells in found.items():
            cells.append(row.text(name))
    if not lines:
        raise InputError(f"{path.name} holds no rows.")
    return pd.DataFrame(found, index=pd.Index(lines, name=mark), dtype=object)


def numbers(column: pd.Series, name: str) -> pd.Series:
    """A column of `read_columns` as numbers, NaN where it is blank; `name` is that of the file.

    Raises:
        InputError: Another text is no number, with its line.
    """
    known = {text: number(text) for text in column.unique()}
    found = column.map(known).astype(float)
    if (bad := found.isna() & column.str.strip().ne("")).any():
        line, text = next(column[bad].items())
        where = f"{name}, {column.index.name} {line}"
        raise InputError(f"{where}: {text!r} in column {column.name!r} is no number; mend it, or leave it empty.")
    return found


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
    """The rows of a file, one by one.

    Args:
        path: JSON lines (.jsonl), a JSON array (.json), .parquet, .xlsx (the first sheet), or else a CSV in UTF-8.
        needed: Columns that must be there, in JSON in every object.
        optional: Other columns to take; None takes all, and then each must have a name of its own.
        what: What the file should hold, for errors.
        separator: Between the cells of a CSV.
        comments: Whether lines of a CSV that begin with # are skipped.
        header: Names of the columns of a CSV that has no header.
        known: Columns that have a meaning, of those that are taken with None.

    Raises:
        InputError: The file cannot be read, is no UTF-8, or a row is not well formed or has more or fewer cells than
            the header; with file and line.
    """
    kind = path.suffix.lower()
    wanted = None if optional is None else {*needed, *optional}
    meant = {*needed, *(optional or ()), *known}
    with _readable(path, what):
        if kind == ".parquet":
            yield from _parquet(path, needed, wanted, meant)
        elif kind == ".xlsx":
            yield from _sheet(path, needed, meant)
        elif kind in (".jsonl", ".json"):
            yield from _objects(path, needed, meant, kind == ".json")
        else:
            yield from _csv(path, needed, wanted, meant, separator, comments, header)


def columns_of(path: Path) -> list[str]:
    """The names of a file's columns, of JSON those of the first object.

    Raises:
        InputError: The file cannot be read.
    """
    if path.suffix.lower() in TYPED:
        return list(next(iterate(path), {}))
    with _readable(path):
        _, cells = next(csv_cells(path, ",", False), (0, []))
    return [name.strip() for name in cells]


@contextmanager
def _readable(path: Path, what: str = "") -> Iterator[None]:
    """Says in a sentence that a file cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a file{f' of {what}' if what else ''}.") from None
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check the path.") from None


def _csv(
    path: Path,
    needed: Sequence[str],
    wanted: Collection[str] | None,
    meant: Collection[str],
    separator: str,
    comments: bool,
    header: Sequence[str] | None,
) -> Iterator[Row]:
    rows = csv_cells(path, separator, comments)
    if named := header is None:
        _, cells = next(rows, (0, []))
        header = [name.strip() for name in cells]
        _check_header(path.name, header, needed, wanted, meant, separator)
    taken = [(i, name) for i, name in enumerate(header) if wanted is None or name in wanted]
    for line, cells in rows:
        if len(cells) != len(header):
            counted = f"{len(cells)} cell{'s' * (len(cells) > 1)} where the header has {len(header)}"
            raise InputError(
                f"{path.name}, line {line} has {counted}; put text with {SEPARATORS[separator]} in double quotes, and "
                "write an empty cell for what is missing."
            )
        if named and len(header) > 1 and [cell.strip() for cell in cells] == header:
            raise InputError(f"{path.name}, line {line} is the header again; delete it.")
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
    for other, said in SEPARATORS.items():
        if len(header) == 1 and other != separator and other in header[0]:
            raise InputError(
                f"{name} is divided by {said}: its header is {header[0][:80]!r}; save it with {SEPARATORS[separator]} "
                "between the cells."
            )
    _check_needed(name, header, needed, meant)
    for i, column in enumerate(header):
        if not column and (wanted is None or i == len(header) - 1):
            raise InputError(f"{name} has no name for column {i + 1}; name it in the header, or delete it in all rows.")
        if header.count(column) > 1 and (wanted is None or column in wanted):
            raise InputError(f"{name} has the column {column!r} twice; rename one.")


def _check_needed(where: str, columns: Sequence[str], needed: Sequence[str], meant: Collection[str]) -> None:
    if missing := [repr(name) for name in needed if name not in columns]:
        if len(columns) > 40:
            raise unknown("column", next(name for name in needed if name not in columns), list(columns), f" of {where}")
        held = ", ".join(name if name.isprintable() else repr(name) for name in columns) or "none"
        raise InputError(f"{where} lacks the column {' and '.join(missing)}; it has {held}.")
    absent = {bare(name): name for name in meant if name not in columns}
    for column in columns:
        if (name := absent.get(bare(column))) is not None:
            raise InputError(f"{where} has a column {column!r} where {name!r} would be read; rename it.")


def _objects(path: Path, needed: Sequence[str], meant: Collection[str], array: bool) -> Iterator[Row]:
    found = json_array(path) if array else json_lines(path)
    for line, value in found:
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
    """Rows of a Parquet file, numbered from 1, as texts."""
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_needed(path.name, names, needed, meant)
            taken = [name for name in names if wanted is None or name in wanted]
            read = file.read(taken)
            table = {name: parquet_values(path.name, name, read[name]) for name in taken}
    except ArrowException as error:
        raise InputError(f"{path.name} cannot be read ({str(error).splitlines()[0][:120]}).") from None
    for count, cells in enumerate(zip(*table.values()), start=1):
        yield Row(dict(zip(table, map(as_text, cells))), f"{path.name}, row {count}", bars=True)


def _sheet(path: Path, needed: Sequence[str], meant: Collection[str]) -> Iterator[Row]:
    """Rows of the first sheet of a workbook, as texts."""
    import pandas as pd

    try:
        table = pd.read_excel(path, dtype=str, keep_default_na=False, na_filter=False)
    except ImportError:
        raise InputError(f"{path.name} needs openpyxl to be read: install it, or save the sheet as CSV.") from None
    except (ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{path.name} cannot be read ({error}); save the sheet as CSV.") from None
    table.columns = table.columns.map(str).str.strip()
    _check_needed(path.name, list(table.columns), needed, meant)
    for line, cells in enumerate(table.itertuples(index=False), start=2):
        yield Row(dict(zip(table.columns, cells)), f"{path.name}, line {line}", bars=True)
