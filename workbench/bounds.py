"""Bounds on outcomes where the probability of some options is only bounded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.answers import Floats, block_starts, bounded, logprob_ends, tag_columns
from workbench.errors import InputError
from workbench.questions import ROLES


def probability_bounds(answers: pd.DataFrame) -> pd.DataFrame:
    """The interval of each option's probability among the options of its question.

    With the option's own probability in [l, h] and those of the others adding up to [L, H], its share is in
    [l / (l + H), h / (h + L)]. Both ends can be reached as far as the bounds of the options hold independently.

    Args:
        answers: The answers table; rows that are not flagged `bounded` are exact.

    Returns:
        A copy with `p_low` and `p_high`, and `mass_low` and `mass_high`, the interval of what all options hold.

    Raises:
        InputError: If a log-probability is neither known nor bounded.
    """
    starts = block_starts(answers)
    low, high = _ends(answers)
    sizes = np.diff(starts, append=len(answers))
    low_sum, high_sum = (np.repeat(np.add.reduceat(x, starts), sizes) for x in (low, high))
    return answers.assign(
        p_low=_share(low, high_sum - high), p_high=_share(high, low_sum - low), mass_low=low_sum, mass_high=high_sum
    )


def outcome_bounds(answers: pd.DataFrame) -> pd.DataFrame:
    """The intervals of what a question's options add up to by role, and whether the most probable one is certain.

    Args:
        answers: The answers table, as for `probability_bounds`.

    Returns:
        One row a question: `question_id`, tags, `n_bounded`, `p_correct_low`, `p_correct_high`, and so for `wrong`,
        `abstain` and `none`; `mass_low` and `mass_high`; `choice`, the option that is most probable whatever the hidden
        ones are, NaN where that cannot be said.
    """
    bounds = probability_bounds(answers)
    starts = block_starts(answers)
    sizes = np.diff(starts, append=len(answers))
    low, high = _ends(answers)
    first = bounds.iloc[starts]
    table = first[["question_id", *tag_columns(answers)]].reset_index(drop=True)
    table["n_bounded"] = np.add.reduceat(bounded(answers).astype(np.int64), starts)
    role = answers["role"].to_numpy()
    low_sum, high_sum = (np.add.reduceat(x, starts) for x in (low, high))
    for name in ROLES:
        own_low, own_high = (np.add.reduceat(np.where(role == name, x, 0.0), starts) for x in (low, high))
        table[f"p_{name}_low"] = _share(own_low, high_sum - own_high)
        table[f"p_{name}_high"] = _share(own_high, low_sum - own_low)
    table["mass_low"], table["mass_high"] = low_sum, high_sum
    table["choice"] = [
        _certain(low[start : start + size], high[start : start + size]) for start, size in zip(starts, sizes)
    ]
    return table


def _ends(answers: pd.DataFrame) -> tuple[Floats, Floats]:
    """The least and the most each option's probability can be, `[rows]` each."""
    low, high = logprob_ends(answers)
    unknown = np.isnan(low) | np.isnan(high) | (high > 1e-6)
    if unknown.any():
        name = answers["question_id"].iloc[int(unknown.argmax())]
        raise InputError(f"A log-probability of question {name!r} is neither known nor bounded; ask it again.")
    return np.exp(low), np.exp(high)


def _share(own: Floats, others: Floats) -> Floats:
    """The share of `own` in `own + others`, NaN where both are 0."""
    whole = own + np.maximum(others, 0.0)
    return np.divide(own, whole, out=np.full_like(own, np.nan), where=whole > 0)


def _certain(low: Floats, high: Floats) -> float:
    """The option whose least is above what every other can be at most; NaN if there is none."""
    best = int(low.argmax())
    return float(best) if low[best] > np.delete(high, best).max(initial=0.0) else np.nan
