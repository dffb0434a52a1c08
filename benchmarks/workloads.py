"""Four workloads: cloze, letters, a judge and a survey, from fetched data and from texts written for this project."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice, product, zip_longest
from pathlib import Path

import yaml

import workbench as wb
from workbench.datasets.adapters import big_bench
from workbench.datasets.items import Record
from workbench.datasets.rendering import Style, question, rendering
from workbench.datasets.sources import Source
from workbench.questions import Option, Question

TEXTS = yaml.safe_load(Path(__file__).with_name("texts.yaml").read_text("utf-8"))
CLOZE = {"truthful_qa_mc": 140, "general_knowledge": 70, "known_unknowns": 46}
SOCIAL_IQA = 44
SCORES = [f" {n}" for n in range(1, 11)]
VERDICTS = [" A", " B", " tie"]
LIKERT = ["Strongly agree", "Agree", "Neither agree nor disagree", "Disagree", "Strongly disagree"]
ORDERS = [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3), (3, 1, 0, 4, 2)]


def cloze(style: Style = "cloze") -> list[Question]:
    """300 multiple-choice items of four tasks, interleaved so that any first part of them is a mixture."""
    sources = [list(wb.load_questions(name, n, style=style)) for name, n in CLOZE.items()]
    how = rendering(style, False, None, None, True, 0)
    sources.append([question(big_bench(record), how) for record in islice(_records("social_iqa"), SOCIAL_IQA)])
    return [q for some in zip_longest(*sources) for q in some if q is not None]


def judge() -> list[Question]:
    """40 replies to be scored from 1 to 10 and 20 pairs to be compared, two to one, all under one rubric."""
    tasks = ("hhh_alignment/helpful", "hhh_alignment/honest", "hhh_alignment/other")
    items = [big_bench(record) for task in tasks for record in _records(task)]
    short = {i.stem: i for i in items if len(i.options) == 2 and sum(len(option.text) for option in i.options) < 600}
    single, pairs = [], []
    for item in islice(short.values(), 40):
        ask = f"{TEXTS['rubric']}\n\nRequest:\n{item.stem.strip()}\n\n"
        a, b = (option.text for option in item.options)
        single.append(Question(f"{ask}Reply:\n{a}\n\nScore from 1 to 10:", _options(SCORES)))
        pairs.append(Question(f"{ask}Reply A:\n{a}\n\nReply B:\n{b}\n\nBetter reply (A, B, tie):", _options(VERDICTS)))
    return list(chain.from_iterable(zip(single[::2], single[1::2], pairs)))


def survey() -> list[Question]:
    """40 statements for 6 personas in 4 orders of the answers, whose full texts are scored."""
    questions = []
    for statement, persona, order in product(TEXTS["statements"], TEXTS["personas"], ORDERS):
        prompt = f"{TEXTS['survey']}\n\n{persona}\n\nStatement: {statement}\nPossible answers:\n"
        prompt += "".join(f"- {LIKERT[i]}\n" for i in order) + "Your answer:"
        questions.append(Question(prompt, _options([f" {text}" for text in LIKERT])))
    return questions


WORKLOADS: dict[str, tuple[Callable[[], list[Question]], int | None]] = {
    "w1": (cloze, None),
    "w1s": (cloze, 100),
    "w1l": (lambda: cloze("letters"), None),
    "w1ls": (lambda: cloze("letters"), 80),
    "w2": (judge, None),
    "w2s": (judge, 24),
    "w3": (survey, None),
    "w3s": (survey, 192),
    "w3t": (survey, 96),
}
"""What is asked, and how much of it."""
SUBSETS = ("w1s", "w1ls", "w2s", "w3t", "w3s")
TARGETS = {"w1": (2.5, 4.2), "w1l": (1.2, 1.9), "w2": (5.0, 9.5), "w3": (10.0, 19.0)}
"""How many times faster than the peer we must be, and aim to be."""


def load(name: str, items: int | None = None) -> list[Question]:
    """The questions of a workload, or the first of them."""
    make, n = WORKLOADS[name]
    return make()[: items or n]


def _records(task: str) -> Iterable[Record]:
    return Source(task, "questions", "", "", package="bigbench", file=f"{task}/task.json").read()[0]


def _options(texts: list[str]) -> tuple[Option, ...]:
    return tuple(Option(text) for text in texts)
