"""Cases a user writes: a .csv, .jsonl or .json file with an answer or a pair of answers a row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.datasets import judging_adapters as adapters
from workbench.datasets.items import Record
from workbench.datasets.judging import Case
from workbench.errors import InputError, unknown

COLUMNS = ("question", "answer", "score", "answer_a", "answer_b", "preferred", "reference", "rubric", "checklist")
FILES: dict[str, Callable[[Record], Case]] = {"trustjudge": adapters.trustjudge, "llmbar": adapters.llmbar}
"""Published file formats: `load_cases("answers.jsonl", format="trustjudge")`."""


def file_cases(path: Path, format: str | None, scale: tuple[float, float] | None) -> list[Case]:
    """The cases of a user's file; see `load_cases`.

    Raises:
        InputError: The first thing that is wrong, with its record.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of a .csv or .jsonl file.")
    try:
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, keep_default_na=False, dtype=str)
        else:
            table = pd.read_json(path, lines=path.suffix.lower() == ".jsonl", dtype=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read ({error}); write one record a row.") from None
    rows: list[Record] = table.to_dict("records")  # type: ignore[assignment]
    if format:
        if format not in FILES:
            raise unknown("file format", format, list(FILES))
        return [FILES[format](row) for row in rows]
    pairs = {"answer_a", "answer_b"} <= set(table.columns)
    missing = [name for name in ("question", *(() if pairs else ("answer",))) if name not in table.columns]
    if missing:
        raise InputError(f"{path.name} lacks the column {missing[0]!r}; it has {', '.join(table.columns) or 'none'}.")
    if pairs:
        return [_pair_row(row, f"{path.name}, record {i + 1}") for i, row in enumerate(rows)]
    groups: dict[str, list[tuple[int, Record]]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(str(row.get("case") or row["question"]), []).append((i + 1, row))
    return [_grouped_rows(group, path.name, scale) for group in groups.values()]


def _pair_row(row: Record, where: str) -> Case:
    preferred = str(row.get("preferred", "")).strip().lower()
    known = {"a": (1.0, 0.0), "b": (0.0, 1.0), "tie": (1.0, 1.0), "": (math.nan, math.nan)}
    if preferred not in known:
        raise InputError(f"{where}: preferred is {row['preferred']!r}; write A, B, tie, or nothing.")
    return Case(str(row["question"]), (str(row["answer_a"]), str(row["answer_b"])), known[preferred], **_extras(row))


def _grouped_rows(group: Sequence[tuple[int, Record]], name: str, scale: tuple[float, float] | None) -> Case:
    ratings = tuple(_marks(row, f"{name}, record {number}", scale) for number, row in group)
    answers = tuple(str(row["answer"]) for _, row in group)
    return Case(str(group[0][1]["question"]), answers, ratings=ratings, **_extras(group[0][1]))


def _marks(row: Record, where: str, scale: tuple[float, float] | None) -> tuple[float, ...]:
    """The marks of one answer: a number, several between bars, or nothing."""
    given = row.get("score")
    texts = given if isinstance(given, list) else str("" if given is None else given).split("|")
    marks = []
    for text in (str(each).strip() for each in texts):
        if text in ("", "nan", "None"):
            continue
        try:
            mark = float(text)
        except ValueError:
            raise InputError(f"{where}: the score {given!r} is no number; several stand between bars: 4|5.") from None
        if not math.isfinite(mark) or (scale and not scale[0] <= mark <= scale[1]):
            bounds = f"outside {scale[0]:g} to {scale[1]:g}" if scale else "not finite"
            raise InputError(f"{where}: the score {mark:g} is {bounds}.")
        marks.append(mark)
    return tuple(marks)


def _extras(row: Record) -> dict[str, Any]:
    checks = row.get("checklist") or ()
    tags = {k: v for k, v in row.items() if k not in (*COLUMNS, "case") and isinstance(v, str | int | float | bool)}
    return {
        "reference": str(row.get("reference") or ""),
        "rubric": str(row.get("rubric") or ""),
        "checklist": tuple(checks.split("|") if isinstance(checks, str) else checks),
        "tags": tags,
    }
