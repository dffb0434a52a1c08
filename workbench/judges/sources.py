"""Cases of a named set, or of a user's file."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from workbench.datasets.benchmarks import labels
from workbench.datasets.items import Record, Unusable, counted, set_apart
from workbench.datasets.rows import Row, divided, read_rows
from workbench.datasets.sources import Source, adapted, parse
from workbench.errors import InputError, unknown
from workbench.files import sha256_of
from workbench.judges.adapters import llmbar, trustjudge
from workbench.judges.cases import Case, Cases
from workbench.questions import Origin

COLUMNS = ("question", "answer", "score", "answer_a", "answer_b", "preferred", "reference", "rubric", "checklist")
PREFERRED = {"a": (1.0, 0.0), "b": (0.0, 1.0), "tie": (1.0, 1.0), "": (math.nan, math.nan)}
PUBLISHED: dict[str, Callable[[Record], Case]] = {"trustjudge": trustjudge, "llmbar": llmbar}
"""Published file formats: `load_cases("answers.jsonl", format="trustjudge")`."""


def file_cases(path: Path, format: str | None, scale: tuple[float, float] | None, dropped: Counter[str]) -> list[Case]:
    """The cases of a user's file; see `load_cases`. Records of a published format that make none are counted.

    Raises:
        InputError: The first thing that is wrong, with its line.
    """
    if format is not None and format not in PUBLISHED:
        raise unknown("file format", format, list(PUBLISHED))
    if format:
        made = [(row, case) for row in read_rows(path) if (case := _published(row, format, dropped))]
        return _apart(made, dropped)
    rows = read_rows(path, ("question",), what="cases", known=(*COLUMNS, "case"))
    columns = dict.fromkeys(name for row in rows for name in row)
    pairs = {"answer_a", "answer_b"} <= set(columns)
    if pairs == ("answer" in columns):
        held = "both `answer` and `answer_a`, `answer_b`" if pairs else f"the columns {', '.join(columns)}"
        raise InputError(f"{path.name} has {held}; write `answer` in a row an answer, or `answer_a` and `answer_b`.")
    if pairs:
        return _apart([(row, _pair(row)) for row in rows])
    groups: dict[tuple[bool, str], list[Row]] = {}
    for row in rows:
        name = row.text("case").strip()
        groups.setdefault((bool(name), name or row.needed("question")), []).append(row)
    return _apart([(group[0], _group(group, scale)) for group in groups.values()])


def _apart(cases: Sequence[tuple[Row, Case]], dropped: Counter[str] | None = None) -> list[Case]:
    """The cases, each under an id of its own; each comes with its first row. Repeats are refused, or counted."""
    seen: dict[str, str] = {}
    found = []
    for row, case in cases:
        if (own := set_apart(case, seen, row.where)) is not None:
            found.append(own)
        elif dropped is not None:
            dropped["the same case again"] += 1
        else:
            raise row.wrong(f"the same question and answers as in {seen[case.exact].rpartition(', ')[2]}; delete one.")
    return found


def _published(row: Row, format: str, dropped: Counter[str]) -> Case | None:
    try:
        return PUBLISHED[format](row)
    except Unusable as reason:
        dropped[str(reason)] += 1
    except KeyError as field:
        raise row.wrong(f"the format {format!r} has a field {field}, which is not there.") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise row.wrong(f"this is no record of the format {format!r} ({error}).") from None
    return None


def _pair(row: Row) -> Case:
    preferred = row.text("preferred")
    if (key := preferred.strip().lower()) not in PREFERRED:
        raise row.wrong(f"preferred is {preferred!r}; write A, B, tie, or nothing.")
    answers = (_answer(row, "answer_a"), _answer(row, "answer_b"))
    if answers[0] == answers[1]:
        raise row.wrong("answer_a and answer_b are the same text; delete the row.")
    return Case(_question(row), answers, PREFERRED[key], **_extras([row]))


def _group(rows: Sequence[Row], scale: tuple[float, float] | None) -> Case:
    """The answers of one case, which share their question and all that belongs to it."""
    for row in rows[1:]:
        if _question(row) != _question(rows[0]):
            raise row.wrong(
                f"case {row.text('case').strip() or row.needed('question')!r} has another question than "
                f"{_place(rows[0])}; write the same, letter by letter, in every row of a case."
            )
    ratings = tuple(_marks(row, scale) for row in rows)
    answers = tuple(_answer(row, "answer") for row in rows)
    for i, row in enumerate(rows):
        if (first := answers.index(answers[i])) < i:
            raise row.wrong(
                f"the same question and answer as in {_place(rows[first])}; delete one, and write marks of several "
                "people in one row."
            )
    return Case(_question(rows[0]), answers, ratings=ratings, **_extras(rows))


def _question(row: Row) -> str:
    row.needed("question")
    return row.text("question")


def _answer(row: Row, column: str) -> str:
    if row.get(column) is None:
        raise row.wrong(f'{column} is missing; write it, or "" for an empty answer.')
    return row.text(column)


def _marks(row: Row, scale: tuple[float, float] | None) -> tuple[float, ...]:
    """The marks of one answer: a number, several between bars or in a list, or nothing."""
    given = row.get("score")
    each = divided(given) if row.bars and isinstance(given, str) else given if isinstance(given, list) else [given]
    marks = []
    for value in each:
        mark = Row({"score": value}, row.where).number("score")
        if mark is not None and scale and not scale[0] <= mark <= scale[1]:
            raise row.wrong(f"the score {mark:g} is outside {scale[0]:g} to {scale[1]:g}.")
        marks += [] if mark is None else [mark]
    return tuple(marks)


def _extras(rows: Sequence[Row]) -> dict[str, Any]:
    """What belongs to a case: written in one of its rows or in all, and tags that are the same in all."""
    for row in rows:
        if any(not text.removeprefix("!").strip() for text in row.texts("checklist")):
            raise row.wrong("checklist holds a `!` without a requirement; write one behind it.")
    tags = {
        name: row.tag(name)
        for row in rows[:1]
        for name, value in row.items()
        if name not in (*COLUMNS, "case") and not isinstance(value, list | dict)
    }
    return {
        "reference": _shared(rows, "reference", Row.text) or "",
        "rubric": _shared(rows, "rubric", Row.text) or "",
        "checklist": tuple(_shared(rows, "checklist", Row.texts) or ()),
        "tags": {name: tag for name, tag in tags.items() if all(row.get(name) == rows[0][name] for row in rows)},
    }


def _shared(rows: Sequence[Row], name: str, read: Callable[[Row, str], Any]) -> Any:
    """What the rows of a case say in a column, if they say it."""
    said = [(row, found) for row in rows if (found := read(row, name))]
    for row, found in said[1:]:
        if found != said[0][1]:
            raise row.wrong(f"{name} is another than in {_place(said[0][0])}, a row of the same case; write it once.")
    return said[0][1] if said else None


def _place(row: Row) -> str:
    return row.where.rpartition(", ")[2]


def part_of(source: str, subset: str | None) -> str | None:
    """Return `subset` for a set that has several parts, None for one that has none or is a user's file."""
    found = parse(source, "cases").source
    return subset if found and len(found.parts) > 1 else None


def load_sets(
    data: Sequence[str], n: int | None = None, seed: int = 0, *, subset: str | None = None, max_chars: int | None = None
) -> dict[str, Cases]:
    """Return several sets of cases by label, as `load_cases` loads each.

    Args:
        data: Names or files.
        n: Cases per set; None for all.
        seed: Chooses the samples and the orders of answers.
        subset: A part of those sets that have several.
        max_chars: Leaves out cases whose question and answers are longer together.
    """
    return {
        label: load_cases(source, n, seed, subset=part_of(source, subset), max_chars=max_chars)
        for label, source in labels(data).items()
    }


def overview(sets: Mapping[str, Cases]) -> pd.DataFrame:
    """Return the number of cases, of those dropped, and the licence of every set."""
    rows = [
        {"data": name, "cases": len(cases), "dropped": sum(cases.dropped.values()), "licence": cases.origin.licence}
        for name, cases in sets.items()
    ]
    return pd.DataFrame(rows)


def load_cases(
    source: str | os.PathLike[str],
    n: int | None = None,
    seed: int = 0,
    *,
    subset: str | None = None,
    revision: str | None = None,
    format: str | None = None,
    scale: tuple[float, float] | None = None,
    max_chars: int | None = None,
) -> Cases:
    """Cases of a named set or of a user's file.

    The answers of every case are put in an order of its own: several sources list the better one first.

    Args:
        source: A name of `datasets.names("cases")`, or a .csv, .jsonl or .json file: one answer a row (`question`,
            `answer`, and if wanted `score` (of several people between bars: 4|5|4), `reference`, `rubric`,
            `checklist`), or one pair (`question`, `answer_a`, `answer_b`, `preferred`: A, B, tie or nothing). Answers
            with the same `case`, or without one with the same question, are of one case; other columns are tags where
            they agree in all of it.
        n: How many cases; None for all.
        seed: Chooses the sample and the orders.
        subset: A part, where `names` lists some; `all` for all of them.
        revision: Another commit on the hub than the pinned one.
        format: Of a published file: `trustjudge` or `llmbar`.
        scale: The scores of a user's file must lie in it.
        max_chars: Leaves out cases whose question and answers are longer together.

    Raises:
        InputError: Unknown source or subset, data that is not there, a row that is wrong.
    """
    dropped: Counter[str] = Counter()
    if scale and not scale[0] < scale[1]:
        raise InputError(f"A scale from {scale[0]:g} to {scale[1]:g} has no length; give its lower end first.")
    named = parse(os.fspath(source), "cases")
    if named.source is None and (path := named.path):
        cases, origin = file_cases(path, format, scale, dropped), Origin(path.name, "", "the user's own")
        origin, marks = replace(origin, revision=f"sha256:{sha256_of(path)}"), f"the marks in {path.name}"
    elif named.source:
        how = (subset or named.part, revision or named.commit)
        cases, origin, marks = _source_cases(named.source, *how, dropped)
    kept = []
    for case in cases:
        if max_chars and len(case.question) + sum(map(len, case.answers)) > max_chars:
            dropped[f"longer than {max_chars} characters"] += 1
        else:
            kept.append(case)
    return Cases((_shuffled(case, seed) for case in kept), origin, +dropped, marks).sample(n, seed)


def _source_cases(source: Source, subset: str, commit: str, dropped: Counter[str]) -> tuple[list[Case], Origin, str]:
    parts = source.parts if subset == "all" else (source.part(subset),)
    found: list[Case] = []
    seen: dict[str, str] = {}
    digests = []
    for part in parts:

        def case(record: Record, part: str = part) -> Case:
            made: Case = source.adapter(record)
            return replace(made, tags={"source": source.name, "subset": part, **made.tags})

        given = source.read(part, commit)
        digests.append(given[1])
        found += [each for each, _ in adapted(source, case, given, dropped, ("section", "subset"), seen)]
    if not found:
        raise InputError(f"No record of {source.name!r} ({'; '.join(digests)}) is a case to judge: {counted(dropped)}.")
    shown = source.name if len(parts) > 1 or not parts[0] else f"{source.name} ({parts[0]})"
    marks = [source.marks if isinstance(source.marks, str) else source.marks[part] for part in parts]
    return found, Origin(shown, "; ".join(digests), source.licence), " and ".join(dict.fromkeys(marks))


def _shuffled(case: Case, seed: int) -> Case:
    order = list(range(len(case.answers)))
    Random(f"{seed}:{case.id}").shuffle(order)
    return case.reordered(order)
