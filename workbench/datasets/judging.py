"""Judge prompts as questions: cases to judge, templates in files, and the questions they make together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.datasets.dialogues import plain
from workbench.datasets.judge_templates import Kind, Template
from workbench.errors import InputError
from workbench.questions import Message, Option, Origin, Question, Tag, content_id

THINK = "Before you decide, say in two or three sentences what speaks for and against."


@dataclass(frozen=True, slots=True)
class Case:
    """A question, the answers to be judged, and what people think of them."""

    question: str
    """What was asked, with any text it is about."""
    answers: tuple[str, ...]
    """The candidates."""
    scores: tuple[float, ...] = ()
    """What people give each, larger is better; NaN unknown. Empty: nothing known."""
    reference: str = ""
    """A right answer to judge by."""
    rubric: str = ""
    """What each level means, for rubric judging."""
    checklist: tuple[str, ...] = ()
    """Yes-or-no requirements, for checklist judging; one that begins with "!" is met by No."""
    tags: Mapping[str, Tag] = field(default_factory=dict)
    """Columns that travel with every reading: topic, subset ..."""
    ratings: tuple[tuple[float, ...], ...] = ()
    """The marks of single people, one row an answer; rater k of one answer need not be rater k of another."""
    messages: tuple[Message, ...] = ()
    """Where the question is a dialogue (in `question` as a transcript), its turns; the last is the user's."""
    apart: str = ""
    """End of the id that sets the case apart from another with the same normalised texts (see `items.set_apart`)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", tuple(self.answers))
        object.__setattr__(self, "ratings", tuple(map(tuple, self.ratings)))
        object.__setattr__(self, "scores", tuple(self.scores) or self._means() or (float("nan"),) * len(self.answers))
        if not all(isinstance(text, str) for text in (self.question, *self.answers)):
            raise InputError(f"The question and the answers of the case {self.question!r:.60} must be texts.")
        if not self.question.strip() or not self.answers:
            raise InputError(f"The case {self.question[:40]!r} needs a question and at least one answer.")
        if len(self.scores) != len(self.answers) or len(self.ratings) not in (0, len(self.answers)):
            raise InputError(f"The case {self.question[:40]!r} has {len(self.answers)} answers but other scores.")

    def _means(self) -> tuple[float, ...]:
        return tuple(sum(marks) / len(marks) if marks else float("nan") for marks in self.ratings)

    @property
    def id(self) -> str:
        """Stable name from question and answers, whatever their order."""
        content = content_id(self.question, self.answers)
        return f"{content}-{self.apart}" if self.apart else content

    @property
    def exact(self) -> str:
        """All its texts, exactly, in one, whatever the order of its answers."""
        return repr((self.question, sorted(self.answers)))

    def reordered(self, order: Sequence[int]) -> Case:
        """The same case with its answers in another order."""
        answers, scores = [self.answers[i] for i in order], [self.scores[i] for i in order]
        ratings = tuple(self.ratings[i] for i in order if self.ratings)
        return replace(self, answers=tuple(answers), scores=tuple(scores), ratings=ratings)


class Cases(Sequence[Case]):
    """An immutable list of cases that remembers its origin and what was dropped on the way."""

    def __init__(
        self,
        items: Iterable[Case],
        origin: Origin | None = None,
        dropped: Mapping[str, int] | None = None,
        marks: str = "the marks given",
    ):
        """Keep the cases.

        Args:
            items: The cases.
            origin: Where they came from.
            dropped: Reason -> number of records left out for it.
            marks: Whose the scores are, in words that follow "agreement with": "people's marks", "GPT-4's votes".
        """
        self._items = tuple(items)
        self.origin = origin or Origin("in memory")
        self.dropped = dict(dropped or {})
        self.marks = marks

    def __getitem__(self, index: Any) -> Any:
        """One case, or a slice that keeps the origin."""
        found = self._items[index]
        return Cases(found, self.origin, self.dropped, self.marks) if isinstance(index, slice) else found

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Case]:
        return iter(self._items)

    def __repr__(self) -> str:
        answers = sum(len(case.answers) for case in self)
        dropped = "".join(f"; {n} dropped: {reason}" for reason, n in self.dropped.items())
        return f"<Cases: {len(self)} with {answers} answers from {self.origin.name}{dropped}>"

    @property
    def ids(self) -> list[str]:
        """The names of the cases, the order of every matrix about them."""
        return [case.id for case in self]

    @property
    def scores(self) -> NDArray[np.float64]:
        """The score of each answer, of people or of whom `marks` names, `[cases, answers]`, NaN unknown or absent."""
        return self._matrix([case.scores for case in self])

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest score people give; 0 and 1 where they give none or all the same."""
        known = self.scores[~np.isnan(self.scores)]
        return (float(known.min()), float(known.max())) if np.unique(known).size > 1 else (0.0, 1.0)

    @property
    def ratings(self) -> NDArray[np.float64]:
        """The marks of single people, `[raters, cases, answers]`, NaN where there are fewer."""
        most = max((len(marks) for case in self for marks in case.ratings), default=0)
        found = np.full((most, *self.scores.shape), np.nan)
        for i, case in enumerate(self):
            for j, marks in enumerate(case.ratings):
                found[: len(marks), i, j] = marks
        return found

    @property
    def chars(self) -> NDArray[np.float64]:
        """Length of each answer in characters, `[cases, answers]`, NaN absent."""
        return self._matrix([[float(len(answer)) for answer in case.answers] for case in self])

    def _matrix(self, rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        found = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
        for line, row in zip(found, rows):
            line[: len(row)] = row
        return found


def pointwise(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """One question per answer, tagged `case`, `candidate`, `template`, `human` and `chars`."""
    _kind(template, "pointwise")
    return [
        _question(template, case, chat, f"{i}", _facts(case, i) | {"candidate": i}, answer=answer)
        for case in cases
        for i, answer in enumerate(case.answers)
    ]


def pairwise(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """One question per ordered pair of answers, so each pair in both orders; empty answers are left out.

    Tags: `case`, `first`, `second` (indices), `template`, and `human` and `chars` of both with `_first`, `_second`.
    """
    _kind(template, "pairwise")
    questions = []
    for case in cases:
        there = [i for i, answer in enumerate(case.answers) if answer.strip()]
        for i, j in permutations(there, 2):
            tags = _facts(case, i, "_first") | _facts(case, j, "_second") | {"first": i, "second": j}
            texts = {"answer_a": case.answers[i], "answer_b": case.answers[j]}
            questions.append(_question(template, case, chat, f"{i}-{j}", tags, **texts))
    return questions


def checklist(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """One question per answer and distinct requirement, tagged `case`, `candidate`, `item` and `polarity`.

    Polarity is 1, and -1 where the answer should be No (requirements that begin with "!").
    """
    _kind(template, "checklist")
    questions = []
    for case in cases:
        for i, answer in enumerate(case.answers):
            for k, item in enumerate(dict.fromkeys(case.checklist)):
                tags = _facts(case, i) | {"candidate": i, "item": k, "polarity": -1 if item.startswith("!") else 1}
                texts = {"answer": answer, "item": item.removeprefix("!").strip()}
                questions.append(_question(template, case, chat, f"{i}.{k}", tags, **texts))
    return questions


def likelihood(cases: Iterable[Case], chat: bool = False) -> list[Question]:
    """One question per case whose options are the answers themselves, for judging by their likelihood.

    Plain text unless `chat`, and then behind "Answer:", after which the same answers can be scored without a question.
    """
    questions = []
    for case in cases:
        asked = case.messages or (Message("user", case.question),)
        prompt = asked if chat else plain(asked)
        space = "" if chat else " "
        options = tuple(Option(space + answer, "none", score) for answer, score in zip(case.answers, case.scores))
        questions.append(Question(prompt, options, {**case.tags, "case": case.id}, f"likelihood:{case.id}"))
    return questions


def after_reasoning(questions: Sequence[Question], thoughts: Any) -> list[Question]:
    """The same questions asked after chains of thought, one per sample, tagged `sample`; the cue follows the thought.

    Args:
        questions: Judge prompts in chat form.
        thoughts: The table of `generate` for the prompts of `reasoning_prompts(questions)`.
    """
    found = []
    for index, sample, text in zip(thoughts["prompt"], thoughts["sample"], thoughts["text"]):
        question = questions[int(index)]
        *asked, cue = _messages(question)
        prompt = (*asked, Message("assistant", f"{text.strip()}\n{cue.content}"))
        tags = {**question.tags, "sample": int(sample)}
        found.append(replace(question, prompt=prompt, tags=tags, id=f"{question.id}:{sample}"))
    return found


def reasoning_prompts(questions: Sequence[Question]) -> list[tuple[Message, ...]]:
    """The prompts without the beginning of the reply, for the judge to think first."""
    return [
        tuple(Message(m.role, f"{m.content}\n\n{THINK}") for m in _messages(question)[:-1]) for question in questions
    ]


def _messages(question: Question) -> tuple[Message, ...]:
    if isinstance(question.prompt, str):
        raise InputError("Thinking before a verdict needs chat prompts; build the questions with chat=True.")
    return question.prompt


def _question(template: Template, case: Case, chat: bool, place: str, tags: Mapping[str, Tag], **own: str) -> Question:
    low, high = template.scale or ("", "")
    texts = {"question": case.question, "reference": case.reference, "rubric": case.rubric, **own}
    texts |= {"low": str(low), "high": str(high)}
    if missing := _missing(template, case):
        raise InputError(f"Template {template.name!r} needs a {missing}; the case {case.question[:40]!r} has none.")
    text = re.sub(r"\{(\w+)\}", lambda match: texts.get(match[1], match[0]), template.prompt)
    prompt = (Message("user", text), Message("assistant", template.cue)) if chat else f"{text}\n{template.cue}"
    name = f"{template.name}:{template.span}:{case.id}:{place}"
    about: dict[str, Tag] = {"case": case.id, "template": template.name, "labels": template.span}
    return Question(prompt, template.options(), {**case.tags, **about, **tags}, name)


def can_fill(template: Template, case: Case) -> bool:
    """Whether a case has the reference and the rubric that a template asks for."""
    return not _missing(template, case)


def _missing(template: Template, case: Case) -> str:
    given = {"reference": case.reference, "rubric": case.rubric}
    return next((name for name, text in given.items() if f"{{{name}}}" in template.prompt and not text.strip()), "")


def _facts(case: Case, i: int, suffix: str = "") -> dict[str, Tag]:
    return {f"human{suffix}": case.scores[i], f"chars{suffix}": len(case.answers[i])}


def _kind(template: Template, kind: Kind) -> None:
    if template.kind != kind:
        raise InputError(f"Template {template.name!r} is {template.kind}, not {kind}.")
