"""Cases of a named set or of a user's file, and published ratings of replies."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from workbench.datasets.benchmarks import labels
from workbench.datasets.formats import number
from workbench.datasets.items import Record, Unusable, counted, set_apart
from workbench.datasets.rows import Row, bare, check_names, columns_of, divided, read_rows
from workbench.datasets.sources import Source, adapted, fitting, parse
from workbench.errors import InputError, unknown
from workbench.files import sha256_of, user_path
from workbench.judges.adapters import llmbar, trustjudge
from workbench.judges.cases import Case, Cases
from workbench.questions import Origin
from workbench.reading import parse_json

COLUMNS = ("question", "answer", "score", "answer_a", "answer_b", "preferred", "reference", "rubric", "checklist")
MEANT = {
    "score": re.compile(r"(human|expert|mean|overall)?(rating|mark|grade|score|stars?|points?)s?"),
    "preferred": re.compile(r"winner|preference|better|best|label|vote|choice|chosen"),
}
"""Column -> other names of its content, by `bare`."""
KINDS = {"score": "answer", "preferred": "pair"}
PREFERRED = {"a": (1.0, 0.0), "b": (0.0, 1.0), "tie": (1.0, 1.0), "": (math.nan, math.nan)}
PUBLISHED: dict[str, Callable[[Record], Case]] = {"trustjudge": trustjudge, "llmbar": llmbar}
"""Published file formats: `load_cases("answers.jsonl", format="trustjudge")`."""
Scale = tuple[float, float] | None


def load_cases(
    source: str | os.PathLike[str],
    n: int | None = None,
    seed: int = 0,
    *,
    subset: str | None = None,
    revision: str | None = None,
    format: str | None = None,
    scale: Scale = None,
    max_chars: int | None = None,
) -> Cases:
    """Return the cases of a named set or of a user's file.

    The answers of each case are shuffled, since several sources list the better answer first.

    Args:
        source: A name of `datasets.names("cases")`, or a .csv, .jsonl or .json file: one answer per row (`question`,
            `answer`, and optionally `score` (of several raters between bars: 4|5|4), `reference`, `rubric`,
            `checklist`), or one pair (`question`, `answer_a`, `answer_b`, `preferred`: A, B, tie or nothing). Answers
            with the same `case`, or without one with the same question, form one case. Other columns are tags if all
            rows of the case agree.
        n: Number of cases; None for all.
        seed: Seed of the sample and of the order of answers.
        subset: A part, if `names` lists several; `all` for all of them.
        revision: Another commit on the hub than the pinned one.
        format: Format of a published file: `trustjudge` or `llmbar`.
        scale: Allowed range of the scores in a user's file.
        max_chars: Longest question and answers together; longer cases are left out.

    Raises:
        InputError: Unknown source or subset, missing data, an invalid row.
    """
    dropped: Counter[str] = Counter()
    if scale and not scale[0] < scale[1]:
        raise InputError(f"A scale from {scale[0]:g} to {scale[1]:g} has no length; give its lower end first.")
    named = parse(os.fspath(source), "cases")
    if named.source is None and (path := named.path):
        cases = file_cases(path, format, scale, dropped)
        origin, marks = Origin(path.name, f"sha256:{sha256_of(path)}", "the user's own"), f"the marks in {path.name}"
    elif named.source:
        part, commit = subset or named.part, revision or named.commit
        cases, origin, marks = _source_cases(named.source, part, commit, dropped)
    kept = []
    for case in cases:
        if max_chars and len(case.question) + sum(map(len, case.answers)) > max_chars:
            dropped[f"longer than {max_chars} characters"] += 1
        else:
            order = list(range(len(case.answers)))
            Random(f"{seed}:{case.id}").shuffle(order)
            kept.append(case.reordered(order))
    return Cases(kept, origin, +dropped, marks).sample(n, seed)


def load_sets(
    data: Sequence[str], n: int | None = None, seed: int = 0, *, subset: str | None = None, max_chars: int | None = None
) -> dict[str, Cases]:
    """Return several sets of cases by label; see `load_cases`. `subset` applies to sets with several parts."""
    sets = {}
    for label, name in labels(data).items():
        source = parse(name, "cases").source
        part = subset if source and len(source.parts) > 1 else None
        sets[label] = load_cases(name, n, seed, subset=part, max_chars=max_chars)
    return sets


def overview(sets: Mapping[str, Cases]) -> pd.DataFrame:
    """Return the number of cases and of dropped records, and the licence of every set."""
    rows = [
        {"data": name, "cases": len(cases), "dropped": sum(cases.dropped.values()), "licence": cases.origin.licence}
        for name, cases in sets.items()
    ]
    return pd.DataFrame(rows)


def _source_cases(source: Source, subset: str, commit: str, dropped: Counter[str]) -> tuple[list[Case], Origin, str]:
    parts = source.parts if subset == "all" else (source.part(subset),)
    cases: list[Case] = []
    seen: dict[str, str] = {}
    digests = []
    for part in parts:

        def case(record: Record, part: str = part) -> Case:
            made: Case = source.adapter(record)
            return replace(made, tags={"source": source.name, "subset": part, **made.tags})

        records = source.read(part, commit)
        digests.append(records[1])
        cases += [each for each, _ in adapted(source, case, records, dropped, ("section", "subset"), seen)]
    if not cases:
        raise InputError(f"{source.name!r} ({'; '.join(digests)}) has no usable record: {counted(dropped)}.")
    shown = source.name if len(parts) > 1 or not parts[0] else f"{source.name} ({parts[0]})"
    marks = [source.marks if isinstance(source.marks, str) else source.marks[part] for part in parts]
    return cases, Origin(shown, "; ".join(digests), source.licence), " and ".join(dict.fromkeys(marks))


def file_cases(path: Path, format: str | None, scale: Scale, dropped: Counter[str]) -> list[Case]:
    """Return the cases of a user's file; see `load_cases`. Unusable records of a published format are counted.

    Raises:
        InputError: The first error, with its line.
    """
    if format is not None and format not in PUBLISHED:
        raise unknown("file format", format, list(PUBLISHED))
    if format:
        made = [(row, case) for row in read_rows(path) if (case := _published(row, format, dropped))]
        if not made:
            raise InputError(f"{path.name} has no usable record ({counted(dropped)}); check the format.")
        return _with_ids(made, dropped)
    rows = read_rows(path, ("question",), what="cases", known=(*COLUMNS, "case"))
    columns = dict.fromkeys(name for row in rows for name in row)
    pairs = {"answer_a", "answer_b"} <= set(columns)
    if pairs == ("answer" in columns):
        given = "both `answer` and `answer_a`, `answer_b`" if pairs else f"the columns {', '.join(columns)}"
        raise InputError(f"{path.name} has {given}; use `answer` for one answer per row, or `answer_a` and `answer_b`.")
    _check_scores(path.name, list(columns), *(("preferred", "score") if pairs else ("score", "preferred")))
    if pairs:
        return _with_ids([(row, _pair(row)) for row in rows])
    groups: dict[tuple[bool, str], list[Row]] = {}
    for row in rows:
        name = row.text("case").strip()
        groups.setdefault((bool(name), name or row.needed("question")), []).append(row)
    check_names((name for named, name in groups if named), f"{path.name}: a case")
    return _with_ids([(group[0], _group(group, scale)) for group in groups.values()])


def _check_scores(name: str, columns: Sequence[str], read: str, other: str) -> None:
    """Refuse scores that would not be read: those of the other kind of file, or under another name."""
    if other in columns:
        raise InputError(
            f"{name} has the column {other!r}, which is not read with one {KINDS[read]} per row; delete it."
        )
    meant = [column for column in columns if column not in COLUMNS and MEANT[read].fullmatch(bare(column))]
    if read not in columns and meant:
        raise InputError(f"{name} has a column {meant[0]!r}, which is not read; name it {read}, or delete it.")


def _with_ids(cases: Sequence[tuple[Row, Case]], dropped: Counter[str] | None = None) -> list[Case]:
    """Return the cases with unique ids; repeated cases are counted, or refused with their first row."""
    seen: dict[str, str] = {}
    unique = []
    for row, case in cases:
        if (renamed := set_apart(case, seen, row.where)) is not None:
            unique.append(renamed)
        elif dropped is not None:
            dropped["the same case again"] += 1
        else:
            raise row.wrong(f"the same question and answers as in {_line(seen[case.exact])}; delete one.")
    return unique


def _published(row: Row, format: str, dropped: Counter[str]) -> Case | None:
    try:
        with fitting(row, f"the format {format!r}"):
            return PUBLISHED[format](row)
    except Unusable as reason:
        dropped[str(reason)] += 1
    return None


def _pair(row: Row) -> Case:
    preferred = row.text("preferred")
    if (key := preferred.strip().lower()) not in PREFERRED:
        raise row.wrong(f"preferred is {preferred!r}; write A, B, tie, or nothing.")
    answers = (_answer(row, "answer_a"), _answer(row, "answer_b"))
    if answers[0] == answers[1]:
        raise row.wrong("answer_a and answer_b are the same text; delete the row.")
    return Case(_question(row), answers, PREFERRED[key], **_extras([row]))


def _group(rows: Sequence[Row], scale: Scale) -> Case:
    """Return the case of several rows, which must have the same question and different answers."""
    answers = tuple(_answer(row, "answer") for row in rows)
    first: dict[str, Row] = {}
    for answer, row in zip(answers, rows):
        if _question(row) != _question(rows[0]):
            raise row.wrong(
                f"case {row.text('case').strip() or row.needed('question')!r} has another question than "
                f"{_line(rows[0].where)}; write the same question, letter by letter, in every row of a case."
            )
        if first.setdefault(answer, row) is not row:
            raise row.wrong(
                f"the same question and answer as in {_line(first[answer].where)}; delete one, and write the marks of "
                "several raters in one row."
            )
    return Case(_question(rows[0]), answers, ratings=tuple(_marks(row, scale) for row in rows), **_extras(rows))


def _question(row: Row) -> str:
    row.needed("question")
    return row.text("question")


def _answer(row: Row, column: str) -> str:
    if row.get(column) is None:
        raise row.wrong(f'{column} is missing; write it, or "" for an empty answer.')
    return row.text(column)


def _marks(row: Row, scale: Scale) -> tuple[float, ...]:
    """Return the marks of one answer: a number, several between bars or in a list, or none."""
    cell = row.get("score")
    cells = divided(cell) if row.bars and isinstance(cell, str) else cell if isinstance(cell, list) else [cell]
    given = [Row({"score": each}, row.where).number("score") for each in cells]
    marks = tuple(mark for mark in given if mark is not None)
    for mark in marks:
        if scale and not scale[0] <= mark <= scale[1]:
            raise row.wrong(f"the score {mark:g} is outside {scale[0]:g} to {scale[1]:g}.")
    return marks


def _extras(rows: Sequence[Row]) -> dict[str, Any]:
    """Return reference, rubric, checklist and tags: given in one row of a case, or the same in several."""
    for row in rows:
        if any(not text.removeprefix("!").strip() for text in row.texts("checklist")):
            raise row.wrong("checklist has a `!` without a requirement; write the requirement after it.")
    tags = {
        name: rows[0].tag(name)
        for name, value in rows[0].items()
        if name not in (*COLUMNS, "case") and not isinstance(value, list | dict)
    }
    return {
        "reference": _shared(rows, "reference", Row.text) or "",
        "rubric": _shared(rows, "rubric", Row.text) or "",
        "checklist": tuple(_shared(rows, "checklist", Row.texts) or ()),
        "tags": {name: tag for name, tag in tags.items() if all(row.get(name) == rows[0][name] for row in rows)},
    }


def _shared(rows: Sequence[Row], name: str, read: Callable[[Row, str], Any]) -> Any:
    """Return the value of a column in the rows of a case; None if it is empty in all of them."""
    values = [(row, value) for row in rows if (value := read(row, name))]
    for row, value in values[1:]:
        if value != values[0][1]:
            raise row.wrong(f"{name} differs from {_line(values[0][0].where)}, a row of the same case; write it once.")
    return values[0][1] if values else None


def _line(where: str) -> str:
    return where.rpartition(", ")[2]


ATTRIBUTES = ("Guidance", "Informativeness", "Relevance", "Safety", "Empathy", "Helpfulness", "Understanding")
PREFIX = {"human": "human_response_", "judge": "judge_response_"}


def load_ratings(
    judge: str | os.PathLike[str], people: str | os.PathLike[str] | None = None, *, zeros: bool = False
) -> pd.DataFrame:
    """Return the human and judge ratings of replies in counselling of MentalAlign (arXiv 2510.19032).

    The schema is that of the repository abeerbadawi/MentalBench-Align: one row per conversation (`ConvID`), one column
    `human_response_<source>` or `judge_response_<source>` per reply, each cell a JSON object of seven ratings, 1 to 5.
    In the published files, 33 replies have human ratings of 0 on all seven attributes, and the published ICCs include
    these zeros.

    Args:
        judge: File of the judge's ratings, .csv or .xlsx.
        people: File of the human ratings; None if one file has both.
        zeros: Whether 0 is a rating. True reproduces the published table; False changes agreement by up to .11.

    Returns:
        One row per conversation, source and attribute: `conversation`, `source` (`original` is the human reply),
        `attribute`, `human`, `judge`; NaN where a cell has no valid rating. Average over conversations for
        `agreement.icc_report`.

    Raises:
        InputError: A file that cannot be read or lacks these columns.
    """
    lowest = 0 if zeros else 1
    given, human = _ratings(user_path(judge), "judge", lowest), people or judge
    table = _ratings(user_path(human), "human", lowest).join(given, how="outer").sort_index()
    return table.rename_axis(["conversation", "source", "attribute"]).reset_index()


def _ratings(path: Path, rater: str, lowest: int) -> pd.DataFrame:
    columns = [name for name in columns_of(path) if name.startswith(PREFIX[rater])]
    if not columns:
        raise InputError(f"{path.name} needs the column 'ConvID' and columns that begin with {PREFIX[rater]!r}.")
    by_conversation: dict[str, dict[tuple[str, str], float]] = {}
    for row in read_rows(path, ["ConvID", *columns], (), what="ratings"):
        if (conversation := row.needed("ConvID")) in by_conversation:
            raise row.wrong(f"the conversation {conversation!r} is repeated; keep one of its rows.")
        cells = {column.removeprefix(PREFIX[rater]): row.text(column) for column in columns}
        by_conversation[conversation] = {
            (source, name): rating for source, cell in cells.items() for name, rating in _parsed(cell, lowest).items()
        }
    ratings = {(name, *key): rating for name, part in by_conversation.items() for key, rating in part.items()}
    return pd.DataFrame({rater: pd.Series(ratings, dtype=float)})


def _parsed(cell: str, lowest: int) -> dict[str, float]:
    """Return the seven ratings of a cell, with or without a Markdown code fence; NaN where there is no valid rating."""
    try:
        content = parse_json(re.sub(r"^```(json)?|```$", "", cell.strip()), "", strict=False)
    except InputError:
        content = None
    values = {name: number(content.get(name)) if isinstance(content, dict) else None for name in ATTRIBUTES}
    return {k: math.nan if x is None or not (x == lowest or 1 <= x <= 5) else x for k, x in values.items()}
