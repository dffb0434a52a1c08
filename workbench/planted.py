"""Respondents whose answers are known, answering through the same table as a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError
from workbench.questions import Question

if TYPE_CHECKING:
    import pandas as pd


Floats = NDArray[np.float64]
Respondent = Callable[[Question], Floats]
"""Question -> probability of each option, in shown order."""


def planted_answers(questions: Sequence[Question], respondent: Respondent) -> pd.DataFrame:
    """The answers table that `ask` would give if the model were this respondent."""
    import pandas as pd

    rows = []
    for question in questions:
        p = np.asarray(respondent(question), np.float64)
        if p.shape != (len(question.options),) or abs(p.sum() - 1) > 1e-6 or (p < 0).any():
            raise InputError(f"The respondent gives no distribution over the options of question {question.id!r}.")
        for i, option in enumerate(question.options):
            bare = option.text.lstrip()
            record = {"question_id": question.id, "option": i, "text": option.text, "role": option.role}
            record["value"] = np.nan if option.value is None else option.value
            record |= dict(question.tags) | {"logprob": float(np.log(p[i])) if p[i] > 0 else -np.inf, "n_tokens": 1}
            record |= {"n_chars": len(bare), "n_bytes": len(bare.encode()), "logprob_unconditional": np.nan}
            record |= {"boundary_merged": False, "truncated": False, "duplicate": False}
            rows.append(record)
    return pd.DataFrame(rows)


def holds_opinion(x: Callable[[Question], float]) -> Respondent:
    """Answers with expectation x (oriented, 0 to 1), put on the two nearest places of whatever scale is shown."""

    def answer(question: Question) -> Floats:
        values, place = _places(question)
        aim = float(x(question))
        if not 0 <= aim <= 1:
            raise InputError(f"The planted opinion on {question.tags['item']!r} is {aim:g}; it lies between 0 and 1.")
        aim = aim if question.tags.get("key", 1) == 1 else 1 - aim
        at = values[0] + aim * (values[-1] - values[0])
        weights = np.maximum(1 - np.abs(np.interp(at, values, np.arange(len(values))) - np.arange(len(values))), 0)
        return _spread(weights, place)

    return answer


def takes_position(position: int = 0) -> Respondent:
    """Return a respondent that always chooses the option shown at this position."""

    def answer(question: Question) -> Floats:
        values, place = _places(question)
        shown = list(dict.fromkeys(int(p) for p in place if p >= 0))
        weights = np.zeros(len(values))
        weights[shown[position]] = 1
        return _spread(weights, place)

    return answer


def by_item(values: Mapping[str, float]) -> Callable[[Question], float]:
    """The opinion an item's id stands for."""
    return lambda question: values[str(question.tags["item"])]


def _places(question: Question) -> tuple[Floats, NDArray[np.int64]]:
    """The different values in order, and for each option the index of its value (-1 for an abstention)."""
    values = sorted({option.value for option in question.options if option.value is not None})
    place = [-1 if option.value is None else values.index(option.value) for option in question.options]
    return np.array(values), np.array(place)


def _spread(weights: Floats, place: NDArray[np.int64]) -> Floats:
    """Probability per option: all of a place's weight on the first of its surface forms."""
    p = np.zeros(len(place))
    for level, weight in enumerate(weights):
        p[int((place == level).argmax())] = weight
    return p / p.sum()
