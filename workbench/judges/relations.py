"""Verdicts on pairs from two orders, and whether a judge is better than chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import Floats
from workbench.errors import InputError, unknown
from workbench.judges.readings import Judgement
from workbench.statistics import interval

Method = Literal["likelihood", "two_pass", "ppl", "debiased_logit", "single_order"]
SLACK = 1e-12


@dataclass(frozen=True, slots=True)
class Relations:
    """What a judge makes of every pair of candidates."""

    sign: Floats = field(repr=False)
    """Antisymmetric, `[cases, n, n]`: +1, 0, -1, and NaN where a pair was not read in the orders needed."""
    margin: Floats = field(repr=False)
    """How strongly, antisymmetric, `[cases, n, n]`: a difference of probabilities (of log-odds for debiased_logit)."""
    method: str
    """How the two orders were put together."""

    @property
    def tie_rate(self) -> float:
        """Proportion of the readable pairs that tie; NaN without any."""
        sign = upper(self.sign)
        known = sign[~np.isnan(sign)]
        return float(np.mean(known == 0)) if known.size else float("nan")


def aggregate(
    pairs: ArrayLike, method: Method = "likelihood", delta: float = 0.0, perplexity: ArrayLike | None = None
) -> Relations:
    """One relation a pair.

    `two_pass`: the verdicts of both orders agree once un-swapped, else tie. `likelihood`: the most probable verdict
    of the mean of both distributions; tie if it leads by at most delta. `ppl`: the verdict of the order with the
    lower perplexity; tie if they differ by at most delta. `debiased_logit`: sign of the quality half of the log-odds,
    d = (l1 - l2) / 2, the slot's half being left out; tie if |d| <= delta. `single_order`: the verdict with the lower
    candidate shown first.

    Args:
        pairs: Probabilities `[cases, n, n, 3]` of (FIRST, SECOND, TIE); `[q, i, j]` has i shown first.
        method: See above.
        delta: Tolerance, at least 0.
        perplexity: For `ppl`, of each order's whole output, `[cases, n, n]`; by default that of the verdict alone.

    Raises:
        InputError: Shapes, a negative tolerance, an unknown method, probabilities off the simplex.
    """
    if method not in get_args(Method):
        raise unknown("aggregation method", method, list(get_args(Method)))
    p = checked_pairs(pairs)
    tolerance(delta)
    swapped = un_swapped(p)
    if method == "likelihood":
        mean = (p + swapped) / 2
        sign, margin = _verdict(mean, delta), mean[..., 0] - mean[..., 1]
    elif method == "two_pass":
        one, two = _verdict(p), _verdict(swapped)
        sign, margin = np.where(one == two, one, 0.0) + 0 * (one + two), (_lead(p) + _lead(swapped)) / 2
    elif method == "debiased_logit":
        quality, _ = logit_split(p)
        sign, margin = _sign(quality, delta), quality
    elif method == "single_order":
        low_first = np.triu(np.ones(p.shape[1:3]), 1).astype(bool)
        sign = np.where(low_first, _verdict(p), -np.swapaxes(_verdict(p), 1, 2))
        margin = np.where(low_first, _lead(p), -np.swapaxes(_lead(p), 1, 2))
    else:
        sign, margin = _by_perplexity(p, swapped, delta, perplexity)
    off = ~np.eye(p.shape[1], dtype=bool)
    return Relations(np.where(off, sign, np.nan), np.where(off, margin, np.nan), method)


def logit_split(pairs: ArrayLike) -> tuple[Floats, Floats]:
    """The log-odds of "first" against "second" as quality and slot bias, `[cases, n, n]` each, in nats.

    With l1 read in order (i, j) and l2 in order (j, i): quality d = (l1 - l2) / 2, which changes sign with the pair,
    and slot bias b = (l1 + l2) / 2, which does not; l1 = d + b exactly.
    """
    p = checked_pairs(pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_odds = np.log(p[..., 0]) - np.log(p[..., 1])
        other = np.swapaxes(log_odds, 1, 2)
        return (log_odds - other) / 2, (log_odds + other) / 2


def sgn(difference: ArrayLike, delta: float = 0.0, scale: ArrayLike = 1.0) -> Floats:
    """The sign of a difference, 0 within `delta`; 3.8 and 3.7 tie at 0.1, whatever their floats."""
    tolerance(delta)
    return _sign(np.asarray(difference, np.float64), delta, np.maximum(1.0, np.abs(np.asarray(scale, np.float64))))


def un_swapped(p: Floats) -> Floats:
    """The verdicts of the other order, told of the same candidates: FIRST and SECOND change places."""
    return np.swapaxes(p, 1, 2)[..., [1, 0, 2]]


def upper(matrix: Floats) -> Floats:
    """The entries of each unordered pair once, `[cases, n (n - 1) / 2]`."""
    i, j = np.triu_indices(matrix.shape[1], 1)
    return matrix[:, i, j]


def checked_pairs(pairs: ArrayLike) -> Floats:
    """Pairwise probabilities of the right shape and between 0 and 1."""
    p = np.asarray(pairs, np.float64)
    if p.ndim != 4 or p.shape[1] != p.shape[2] or p.shape[3] != 3:
        raise InputError(f"Pairwise verdicts must be [cases, n, n, 3], not {list(p.shape)}.")
    if (p < 0).any() or (np.nansum(p, axis=-1) > 1 + 1e-6).any():
        raise InputError("Pairwise verdicts must be probabilities: none below 0, and each three at most 1 in all.")
    return p


def tolerance(delta: float) -> None:
    """Refuse a tolerance below 0 or NaN."""
    if not delta >= 0:
        raise InputError(f"delta={delta} is no tolerance; give 0 or more.")


def _sign(x: Floats, delta: float, scale: Floats | float = 1.0) -> Floats:
    return np.where(np.abs(x) <= delta + SLACK * scale, 0.0, np.sign(x)) + 0 * x


def _lead(p: Floats) -> Floats:
    return p[..., 0] - p[..., 1]


def _verdict(p: Floats, delta: float = 0.0) -> Floats:
    """The most probable verdict; a tie where the two best are within delta."""
    best = np.sort(p, axis=-1)
    sign = np.array([1.0, -1.0, 0.0])[np.argmax(np.nan_to_num(p), axis=-1)]
    close = best[..., 2] - best[..., 1] <= delta + SLACK
    return np.where(close, 0.0, sign) + 0 * p.sum(axis=-1)


def _by_perplexity(p: Floats, swapped: Floats, delta: float, given: ArrayLike | None) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore"):
        own = 1 / p.max(axis=-1) if given is None else np.asarray(given, np.float64)
    if own.shape != p.shape[:3]:
        raise InputError(f"Perplexities must be [cases, n, n] like the verdicts, not {list(own.shape)}.")
    other = np.swapaxes(own, 1, 2)
    surer = np.where((own < other)[..., None], p, swapped)
    sign = np.where(np.abs(own - other) <= delta + SLACK, 0.0, _verdict(surer)) + 0 * (own + other)
    margin = np.where(own == other, (_lead(p) + _lead(swapped)) / 2, _lead(surer))
    return sign, margin + 0 * sign


def order_table(pairs: ArrayLike, human: ArrayLike | None = None, chars: ArrayLike | None = None) -> pd.DataFrame:
    """How each pair is judged in both orders, one row a pair whose both orders were read.

    Args:
        pairs: Probabilities `[cases, n, n, 3]` of (FIRST, SECOND, TIE).
        human: What people give each candidate, `[cases, n]`, larger is better; NaN unknown.
        chars: Length of each candidate, `[cases, n]`.

    Returns:
        case (index), i, j, where i is the better one if people tell them apart;
        `first`: proportion of the two verdicts that name slot 1; `ties`: that tie; `slot_margin`: p(first) - p(second);
        `agree`: both orders come to the same verdict on the candidates; `repeat`: probability that two sampled
        verdicts on the same order agree; `flip`: that a sampled verdict is not the most probable one;
        where people tell them apart (else NaN): `right_first`, `right_second` (the better one wins when shown first,
        second; a tie is half), `both` (it wins both times), `random` = their mean, `position` = their difference,
        `p_right` = mean probability of the right verdict among those that are no ties;
        with `chars`: `better_longer`, and `longer`: proportion of the verdicts for the longer one (a tie is half; NaN
        at equal length).
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


def _fitting(name: str, values: ArrayLike, p: Floats) -> Floats:
    found = np.asarray(values, np.float64)
    if found.shape != p.shape[:2]:
        raise InputError(f"{name} must be [cases, n] = {list(p.shape[:2])}, not {list(found.shape)}.")
    return found


WIDE = 0.4
"""A 95% interval around one half that is wider, of some 20 independent pairs or fewer, is too few to call it a coin."""


def order_tables(
    judgements: Iterable[Judgement], pair: str, human: ArrayLike | None = None, chars: ArrayLike | None = None
) -> pd.DataFrame:
    """`order_table` of several judges on the same cases, with the column `judge`."""
    return pd.concat(
        [order_table(j.pairs(pair), human, chars).assign(judge=j.judge) for j in judgements], ignore_index=True
    )


def sign_accuracy(relations: Relations, human: ArrayLike) -> dict[str, object]:
    """Proportion of pairs people tell apart on which the judge agrees (a tie is half), with an interval over cases."""
    h = np.asarray(human, np.float64)
    i, j = np.triu_indices(h.shape[1], 1)
    truth, said = np.sign(h[:, i] - h[:, j]), relations.sign[:, i, j]
    case, pair = np.nonzero(~np.isnan(said) & (np.abs(truth) == 1))
    return interval((1 + said[case, pair] * truth[case, pair]) / 2, case, "bootstrap", draws=499, bounds=(0, 1))


def standings(orders: pd.DataFrame, by: Sequence[str] = ("judge",)) -> pd.DataFrame:
    """Return the `standing` of every group of an `order_table`, one row each with the columns `by`."""
    groups = orders.groupby(list(by), sort=False)
    return pd.DataFrame([{**dict(zip(by, key)), "standing": standing(part)} for key, part in groups])


def standing(table: pd.DataFrame) -> str:
    """One sentence on whether a judge judges at all, from its `order_table`; Wilson intervals, clustered by case."""
    right, first, second, ties = (
        interval(column, table["case"], "wilson")
        for column in (table["random"], table["first"], 1 - table["first"] - table["ties"], table["ties"])
    )
    slots = f"first in {_shown(first)}, second in {_shown(second)}, tie in {ties['mean']:.0%} of {ties['n']} pairs"
    if not right["n"]:
        return f"nobody says which answers are better, so whether it judges cannot be said ({slots})"
    shown = f"right in {_shown(right)} of {right['n']} pairs; {slots}"
    if right["low"] > 0.5:
        return f"judges better than chance ({shown})"
    for slot, named in (("first", first), ("second", second)):
        if named["mean"] > 0.95:
            return f"does not judge: cannot be told from always-{slot} ({shown})"
    if right["high"] < 0.5:
        return f"does not judge: is wrong more often than a coin ({shown})"
    for slot, named in (("first", first), ("second", second)):
        if named["low"] > 0.5:
            return f"does not judge: leans to the {slot} answer and is right no more often than a coin ({shown})"
    if right["high"] - right["low"] > WIDE:
        return f"too few pairs to say whether it judges ({shown})"
    return f"does not judge: cannot be told from a coin ({shown})"


def _shown(found: Mapping[str, Any]) -> str:
    ends = "" if np.isnan(found["low"]) else f" [{found['low']:.0%}, {found['high']:.0%}]"
    return f"{found['mean']:.0%}{ends}"
