"""Cases to judge: a question with several answers and their human scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError
from workbench.questions import Items, Message, Origin, Tag, content_id


@dataclass(frozen=True, slots=True)
class Case:
    """A question, the answers to be judged, and their human scores."""

    question: str
    """The question, with any text it refers to."""
    answers: tuple[str, ...]
    """The candidates."""
    scores: tuple[float, ...] = ()
    """Human score of each answer, larger is better; NaN unknown. Empty: the means of `ratings`, or unknown."""
    reference: str = ""
    """A correct answer."""
    rubric: str = ""
    """Description of each level of the scale."""
    checklist: tuple[str, ...] = ()
    """Yes-or-no requirements; No meets a requirement that begins with "!"."""
    tags: Mapping[str, Tag] = field(default_factory=dict)
    """Columns added to every answer: topic, subset ..."""
    ratings: tuple[tuple[float, ...], ...] = ()
    """Ratings of single raters, one row per answer; rater k may differ between answers."""
    messages: tuple[Message, ...] = ()
    """Turns of a dialogue, whose transcript is `question`; the last turn is the user's."""
    apart: str = ""
    """End of the id that distinguishes cases with the same normalised texts (see `items.set_apart`)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", tuple(self.answers))
        object.__setattr__(self, "ratings", tuple(map(tuple, self.ratings)))
        means = tuple(sum(marks) / len(marks) if marks else float("nan") for marks in self.ratings)
        object.__setattr__(self, "scores", tuple(self.scores) or means or (float("nan"),) * len(self.answers))
        if not all(isinstance(text, str) for text in (self.question, *self.answers)):
            raise InputError(f"The question and the answers of the case {self.question!r:.60} must be strings.")
        if any(map(math.isinf, self.scores)):
            raise InputError(f"The case {self.question[:40]!r} has an infinite score; write a number.")
        if not self.question.strip() or not self.answers:
            raise InputError(f"The case {self.question[:40]!r} needs a question and at least one answer.")
        if len(self.scores) != len(self.answers) or len(self.ratings) not in (0, len(self.answers)):
            raise InputError(f"The case {self.question[:40]!r} needs one score per answer ({len(self.answers)}).")

    @property
    def id(self) -> str:
        """Stable id of the question and the answers in any order."""
        content = content_id(self.question, self.answers)
        return f"{content}-{self.apart}" if self.apart else content

    @property
    def exact(self) -> str:
        """All texts verbatim in one string, with the answers in any order."""
        return repr((self.question, sorted(self.answers)))

    def reordered(self, order: Sequence[int]) -> Case:
        """Return the case with its answers in another order."""
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
        """Score of each answer by the source named in `marks`, `[cases, answers]`, NaN unknown or absent."""
        return self._matrix([case.scores for case in self])

    @property
    def known(self) -> bool:
        """Whether any answer has a score."""
        return not bool(np.isnan(self.scores).all())

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest score; 0 and 1 without scores or if all are equal."""
        known = self.scores[~np.isnan(self.scores)]
        return (float(known.min()), float(known.max())) if np.unique(known).size > 1 else (0.0, 1.0)

    @property
    def ratings(self) -> NDArray[np.float64]:
        """Ratings of single raters, `[raters, cases, answers]`, NaN where there are fewer."""
        most = max((len(marks) for case in self for marks in case.ratings), default=0)
        ratings = np.full((most, *self.scores.shape), np.nan)
        for i, case in enumerate(self):
            for j, marks in enumerate(case.ratings):
                ratings[: len(marks), i, j] = marks
        return ratings

    @property
    def chars(self) -> NDArray[np.float64]:
        """Length of each answer in characters, `[cases, answers]`, NaN absent."""
        return self._matrix([[float(len(answer)) for answer in case.answers] for case in self])

    def _matrix(self, rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        matrix = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
        for line, row in zip(matrix, rows):
            line[: len(row)] = row
        return matrix
