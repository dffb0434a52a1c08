"""What sways a judge besides quality: the place of an answer, its length; and the noise of sampled verdicts.

Source: Wei et al. 2024, arXiv 2408.13006; the inversion of flipping noise is corrected here.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.metrics.judging.reads import Floats
from workbench.metrics.judging.relations import _lead, _verdict, checked_pairs, un_swapped
from workbench.statistics import bootstrap, interval

Noise = Literal["flip_model", "wei2024_code"]


def order_table(pairs: ArrayLike, human: ArrayLike | None = None, chars: ArrayLike | None = None) -> pd.DataFrame:
    """How each pair is judged in both orders, one row a pair whose both orders were read.

    Args:
        pairs: Probabilities `[cases, n, n, 3]` of (FIRST, SECOND, TIE).
        human: What people give each candidate, `[cases, n]`, larger is better; NaN unknown.
        chars: Length of each candidate, `[cases, n]`.

    Returns:
        case (index), i, j, where i is the better one if people tell them apart;
        `first`: share of the two verdicts that name slot 1; `ties`: that tie; `slot_margin`: p(first) - p(second);
        `agree`: both orders come to the same verdict on the candidates; `repeat`: probability that two sampled
        verdicts on the same order agree; `flip`: that a sampled verdict is not the most probable one;
        where people tell them apart (else NaN): `right_first`, `right_second` (the better one wins when shown first,
        second; a tie is half), `both` (it wins both times), `random` = their mean, `position` = their difference,
        `p_right` = mean probability of the right verdict among those that are no ties;
        with `chars`: `better_longer`, and `longer`: share of the verdicts for the longer one (a tie is half, NaN at
        equal length).
    """
    p = checked_pairs(pairs)
    swapped, n = un_swapped(p), p.shape[1]
    worth = np.full(p.shape[:2], np.nan) if human is None else _fitting("human", human, p)
    case, i, j = np.nonzero(np.triu(np.ones((n, n), bool), 1)[None] & ~np.isnan(p + swapped).any(axis=-1))
    turn = worth[case, j] > worth[case, i]
    i, j = np.where(turn, j, i), np.where(turn, i, j)
    one, two = p[case, i, j], swapped[case, i, j]
    v1, v2 = _verdict(one), _verdict(two)
    strict = np.where(worth[case, i] > worth[case, j], 1.0, np.nan)
    a1, a2 = (1 + v1) / 2 * strict, (1 + v2) / 2 * strict
    table = pd.DataFrame({"case": case, "i": i, "j": j})
    table["first"] = ((v1 == 1) * 1.0 + (v2 == -1)) / 2
    table["ties"] = ((v1 == 0) * 1.0 + (v2 == 0)) / 2
    table["slot_margin"] = (_lead(one) - _lead(two)) / 2
    table["agree"] = (v1 == v2) * 1.0
    table["repeat"] = (np.sum(one**2, axis=-1) + np.sum(two**2, axis=-1)) / 2
    table["flip"] = 1 - (one.max(axis=-1) + two.max(axis=-1)) / 2
    table = table.assign(
        right_first=a1, right_second=a2, both=((a1 == 1) & (a2 == 1)) * strict, random=(a1 + a2) / 2, position=a1 - a2
    )
    for_either = (one + two)[:, :2]
    with np.errstate(invalid="ignore"):
        table["p_right"] = for_either[:, 0] / for_either.sum(axis=1) * strict
    if chars is not None:
        gap = np.sign((size := _fitting("chars", chars, p))[case, i] - size[case, j])
        table["better_longer"] = np.where(np.isnan(strict), np.nan, gap > 0)
        table["longer"] = np.where(gap == 0, np.nan, (1 + (v1 + v2) / 2 * gap) / 2)
    return table


def length_bias(table: pd.DataFrame, q: float = 0.0, draws: int = 499, seed: int = 0) -> dict[str, Any]:
    """LB: accuracy in both orders where the better answer is longer, minus where it is not; bootstrap over cases.

    Args:
        table: Made by `order_table` with lengths.
        q: Flipping noise to take out first.
        draws: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        Keys of `statistics.interval`; NaN where a stratum is empty, no interval where neither varies.
    """
    used = table[table["both"].notna()]
    if used.empty:
        return dict.fromkeys(("mean", "se", "low", "high"), np.nan) | {"n": 0, "note": "no pair people tell apart"}

    def difference(both: Floats, longer: Floats) -> float:
        if longer.all() or not longer.any():
            return float("nan")
        return float(denoise(both[longer == 1].mean(), q) - denoise(both[longer == 0].mean(), q))

    return bootstrap(difference, used["both"], used["better_longer"], clusters=used["case"], draws=draws, seed=seed)


def position_shift(table: pd.DataFrame, one: str, other: str) -> dict[str, Any]:
    """How far the position bias moves from one prompt to another, in whichever direction; bootstrap over cases.

    Args:
        table: Rows of `order_table` under both prompts, with their names in the column `labels`.
        one: A prompt.
        other: Another.

    Returns:
        Keys of `statistics.interval` of the difference by pair, turned so that its mean is not below 0.
    """
    pairs = table.pivot_table(index=["case", "i", "j"], columns="labels", values="position")
    moved = (pairs[one] - pairs[other]) if {one, other} <= set(pairs) else pd.Series(np.nan, pairs.index)
    turned = moved if not moved.mean() < 0 else -moved
    return interval(turned, turned.index.get_level_values("case"), "bootstrap", bounds=(-2, 2))


def denoise(accuracy: ArrayLike, q: ArrayLike, noise: Noise = "flip_model") -> Floats:
    """Accuracy of the true decisions when each observed one is flipped with probability q.

    observed = a (1 - q) + (1 - a) q, so a = (observed - q) / (1 - 2 q); results outside [0, 1] are left as they are,
    they say that the model of the noise does not fit. NaN where q is 1/2 and nothing can be known.

    Args:
        accuracy: Observed, in [0, 1].
        q: Flipping probability; see `flip_rate_of`.
        noise: The formula is the same in both; `wei2024_code` goes with a q that is about twice too large.
    """
    if noise not in get_args(Noise):
        raise unknown("noise model", noise, list(get_args(Noise)))
    a, flip = np.asarray(accuracy, np.float64), np.asarray(q, np.float64)
    if ((flip < 0) | (flip > 1)).any():
        raise InputError("q must be a probability between 0 and 1.")
    left = 1 - 2 * flip
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(left) < 1e-6, np.nan, (a - flip) / left)


def flip_rate_of(agreement: ArrayLike, noise: Noise = "flip_model") -> Floats:
    """The flipping probability behind the agreement of two repeats of a verdict.

    Two repeats agree with probability 1 - 2 q (1 - q), so q = (1 - sqrt(2 agreement - 1)) / 2; NaN below 1/2. The
    published code (`wei2024_code`) takes q = 1 - agreement, about twice that.
    """
    if noise not in get_args(Noise):
        raise unknown("noise model", noise, list(get_args(Noise)))
    a = np.asarray(agreement, np.float64)
    if noise == "wei2024_code":
        return 1 - a
    with np.errstate(invalid="ignore"):
        return (1 - np.sqrt(2 * a - 1)) / 2


def without_noise(votes: ArrayLike, case: ArrayLike, noise: Noise = "flip_model", draws: int = 499) -> dict[str, Any]:
    """Accuracy with the flipping noise of repeated verdicts taken out, with a bootstrap over cases.

    Args:
        votes: 1 where a run is right, 0 where not, `[pairs, runs]`; NaN unread.
        case: What each pair belongs to, `[pairs]`.
        noise: Model of the noise.
        draws: Bootstrap samples.

    Returns:
        Keys of `statistics.bootstrap`, and `outside`: the estimate lies outside [0, 1], the model does not fit.
    """
    runs = np.asarray(votes, np.float64)

    def cleaned(right: Floats, agreement: Floats) -> float:
        return float(denoise(np.nanmean(right), flip_rate_of(np.nanmean(agreement), noise), noise))

    found = bootstrap(cleaned, np.nanmean(runs, axis=1), repeated_agreement(runs), clusters=case, draws=draws)
    return {**found, "outside": bool(found["mean"] < 0 or found["mean"] > 1)}


def repeated_agreement(votes: ArrayLike) -> Floats:
    """Probability that two runs drawn without replacement agree, per item: `[items]`.

    Args:
        votes: Verdicts of K runs, `[items, K]`; NaN unread, those are left out. NaN with fewer than two runs.
    """
    runs = np.asarray(votes, np.float64)
    if runs.ndim != 2:
        raise InputError(f"votes must be [items, runs], not {list(runs.shape)}.")
    n = (~np.isnan(runs)).sum(axis=1)
    same = sum((count := (runs == label).sum(axis=1)) * (count - 1) for label in np.unique(runs[~np.isnan(runs)]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, same / (n * (n - 1)), np.nan)


def _fitting(name: str, values: ArrayLike, p: Floats) -> Floats:
    found = np.asarray(values, np.float64)
    if found.shape != p.shape[:2]:
        raise InputError(f"{name} must be [cases, n] = {list(p.shape[:2])}, not {list(found.shape)}.")
    return found
