"""Planted respondents: known response distributions, returned as the same table as a model's answers."""

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
"""Question -> probability of each option, in the order shown."""


def planted_answers(questions: Sequence[Question], respondent: Respondent) -> pd.DataFrame:
    """Return the table that `ask` would return if the model were this respondent."""
    import pandas as pd

    rows = []
    for question in questions:
        p = np.asarray(respondent(question), np.float64)
        if p.shape != (len(question.options),) or abs(p.sum() - 1) > 1e-6 or (p < 0).any():
            raise InputError(
                f"The respondent must return {len(question.options)} probabilities that add up to 1 for question "
                f"{question.id!r}, not {p.tolist()}."
            )
        for i, option in enumerate(question.options):
            visible = option.text.lstrip()
            row = {"question_id": question.id, "option": i, "text": option.text, "role": option.role}
            row |= {"value": np.nan if option.value is None else option.value, **question.tags}
            row |= {"logprob": float(np.log(p[i])) if p[i] > 0 else -np.inf, "n_tokens": 1}
            row |= {"n_chars": len(visible), "n_bytes": len(visible.encode()), "logprob_unconditional": np.nan}
            rows.append(row | dict.fromkeys(("boundary_merged", "truncated", "duplicate"), False))
    return pd.DataFrame(rows)


def holds_opinion(x: Callable[[Question], float]) -> Respondent:
    """Return a respondent with expected response x (oriented, 0 to 1), on the two nearest levels of the scale shown."""

    def answer(question: Question) -> Floats:
        values, level = _scale(question)
        target = float(x(question))
        if not 0 <= target <= 1:
            raise InputError(
                f"The planted opinion on {question.tags['item']!r} must be between 0 and 1, not {target:g}."
            )
        target = target if question.tags.get("key", 1) == 1 else 1 - target
        levels = np.arange(len(values))
        at = np.interp(values[0] + target * (values[-1] - values[0]), values, levels)
        return _on_options(np.maximum(1 - np.abs(at - levels), 0), level)

    return answer


def takes_position(position: int = 0) -> Respondent:
    """Return a respondent that always chooses the option shown at this position."""

    def answer(question: Question) -> Floats:
        values, level = _scale(question)
        shown = list(dict.fromkeys(int(each) for each in level if each >= 0))
        weights = np.zeros(len(values))
        weights[shown[position]] = 1
        return _on_options(weights, level)

    return answer


def by_item(values: Mapping[str, float]) -> Callable[[Question], float]:
    """Return a function from a question to the opinion on its item."""
    return lambda question: values[str(question.tags["item"])]


def _scale(question: Question) -> tuple[Floats, NDArray[np.int64]]:
    """The distinct values in ascending order, and the level of each option (-1 for an abstention)."""
    values = sorted({option.value for option in question.options if option.value is not None})
    level = [-1 if option.value is None else values.index(option.value) for option in question.options]
    return np.array(values), np.array(level)


def _on_options(weights: Floats, level: NDArray[np.int64]) -> Floats:
    """Probability per option: the weight of a level on the first of its surface forms."""
    p = np.zeros(len(level))
    for number, weight in enumerate(weights):
        p[int((level == number).argmax())] = weight
    return p / p.sum()
