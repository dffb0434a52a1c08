"""Cases to judge: one question with several answers; and sets of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError
from workbench.questions import Items, Message, Origin, Tag, content_id


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


class Cases(Items[Case]):
    """Cases with their origin, the records left out, and the source of their scores."""

    def __init__(
        self,
        items: Iterable[Case],
        origin: Origin | None = None,
        dropped: Mapping[str, int] | None = None,
        marks: str = "the marks given",
    ):
        """Store the cases.

        Args:
            items: The cases.
            origin: Where they came from.
            dropped: Reason -> number of records left out.
            marks: Source of the scores, as it follows "agreement with": "people's marks", "GPT-4's votes".
        """
        super().__init__(items, origin, dropped)
        self.marks = marks

    @property
    def scores(self) -> NDArray[np.float64]:
        """The score of each answer, of people or of whom `marks` names, `[cases, answers]`, NaN unknown or absent."""
        return self._matrix([case.scores for case in self])

    @property
    def known(self) -> bool:
        """Whether any answer has a score."""
        return not bool(np.isnan(self.scores).all())

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
