"""Questions a user writes: a .csv or .jsonl file with the columns `question`, `correct` and `wrong`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.datasets.items import Item, choices
from workbench.errors import InputError
from workbench.questions import Tag

SUFFIXES = (".csv", ".jsonl")
NEEDED = ("question", "correct", "wrong")
LISTS = ("correct", "wrong", "abstain")
KNOWN = (*NEEDED, "abstain", "subject", "context")


def read_items(path: Path) -> list[Item]:
    """The items of a user's file; everything in a column that is not known here becomes a tag.

    Args:
        path: CSV (several texts in one cell are divided by `|`) or JSON lines (several texts are a list).

    Raises:
        InputError: The first thing that is wrong, with its row and how to mend it.
    """
    items: list[Item] = []
    seen: dict[str, str] = {}
    for where, row in _rows(path):
        item = _item(row, f"{path.name}, {where}")
        if item.id in seen:
            raise InputError(f"{path.name}, {where}: the same question and options as {seen[item.id]}; delete one.")
        seen[item.id] = where
        items.append(item)
    if not items:
        raise InputError(f"{path} holds no questions; write one per row, with the columns {', '.join(NEEDED)}.")
    return items


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Pairs (row as an editor counts it, its columns)."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a .csv or .jsonl file.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the path of a .csv or .jsonl file.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    if path.suffix.lower() == ".csv":
        yield from _csv_rows(path, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path.name}, line {number} is not JSON ({error}); write one object a line."
                ) from None
            if not isinstance(row, dict):
                raise InputError(f"{path.name}, line {number} is not a JSON object; write {{...}} with the columns.")
            _check_columns(f"{path.name}, line {number}", list(row))
            yield f"line {number}", row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    table = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = [name.strip() for name in next(table, [])]
        _check_columns(path.name, header)
        for number, cells in enumerate(table, start=2):
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{path.name}, row {number} has {len(cells)} cells, the header has {len(header)}; put texts with "
                    "commas in double quotes."
                )
            row: dict[str, Any] = dict(zip(header, cells, strict=True))
            yield f"row {number}", row | {name: row[name].split("|") for name in LISTS if row.get(name, "").strip()}
    except csv.Error as error:
        if "field limit" in str(error):
            raise InputError(
                f"{path.name}, line {table.line_num} ends a cell of more than {csv.field_size_limit():,} characters; "
                "close its double quotes, or write texts that are so long as JSON lines (.jsonl)."
            ) from None
        raise InputError(f"{path.name} is not a well-formed CSV file ({error}); check its double quotes.") from None


def _check_columns(where: str, columns: list[str]) -> None:
    from workbench.answers import RESERVED

    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise InputError(
            f"{where} lacks the column {' and '.join(missing)}; it has {', '.join(columns) or 'none'} "
            f"(needed: {', '.join(NEEDED)}; commas divide the columns of a CSV)."
        )
    for name in columns:
        if columns.count(name) > 1 or not name:
            raise InputError(f"{where} has the column {name!r} twice or a column without a name; rename it.")
        if name in {*RESERVED, "benchmark", "order", "style", "instruction"}:
            raise InputError(f"{where} has a column {name!r}, a name the answers table uses itself; rename it.")


def _item(row: dict[str, Any], where: str) -> Item:
    texts = {name: _texts(row.get(name), name, where) for name in LISTS}
    for name in ("question", "context"):
        if not isinstance(row.get(name) or "", str):
            raise InputError(f"{where}: {name} holds {type(row[name]).__name__}; it must be one text.")
    if any("\ud800" <= letter <= "\udfff" for letter in json.dumps(row, ensure_ascii=False)):
        raise InputError(f"{where} holds half a character (a lone surrogate); write the character itself.")
    for name in ("question", "correct", "wrong"):
        if not (texts.get(name) or (name == "question" and str(row[name] or "").strip())):
            raise InputError(f"{where}: {name} is empty; fill it in or delete the row.")
    roles: dict[str, str] = {}
    for name, values in texts.items():
        for text in values:
            if roles.setdefault(text, name) != name:
                raise InputError(f"{where}: {text!r} is listed both as {roles[text]} and as {name}; keep one of them.")
        if len(set(values)) < len(values):
            raise InputError(f"{where}: {name} lists the same text twice; keep one of them.")
    tags = {name: _tag(value, name, where) for name, value in row.items() if name not in KNOWN or name == "subject"}
    return Item(
        str(row["question"]).strip(),
        choices(texts["correct"], texts["wrong"]),
        context=str(row.get("context") or "").strip(),
        tags=tags,
        abstain=tuple(texts["abstain"]),
    )


def _texts(value: object, name: str, where: str) -> list[str]:
    if value is None or value == "":
        return []
    values = value if isinstance(value, list) else [value]
    texts = [text.strip() for text in values if isinstance(text, str)]
    if len(texts) < len(values) or not all(texts):
        raise InputError(f"{where}: {name} holds an empty text or something that is no text; mend it.")
    return texts


def _tag(value: object, name: str, where: str) -> Tag:
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float | bool):
        return str(value) if name == "subject" else value
    raise InputError(f"{where}: {name} holds {type(value).__name__}; a tag is one text or number.")
