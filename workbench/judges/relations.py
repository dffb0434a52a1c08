"""Verdicts on pairs, aggregated over both orders, and accuracy of a judge against chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import Floats
from workbench.errors import InputError, unknown
from workbench.judges.readings import Judgement
from workbench.statistics import Finding, finding, interval
from workbench.statistics.intervals import SHARE, Interval

Method = Literal["likelihood", "two_pass", "ppl", "debiased_logit", "single_order"]
TIE_TOLERANCE = 1e-12
"""Absolute difference below which two probabilities, or a difference and its tolerance, are equal."""


@dataclass(frozen=True, slots=True)
class Relations:
    """Relations between all candidates of each case, according to one judge."""

    sign: Floats = field(repr=False)
    """Antisymmetric, `[cases, n, n]`: +1, 0 or -1, NaN where a required order is missing."""
    margin: Floats = field(repr=False)
    """Antisymmetric, `[cases, n, n]`: difference of probabilities (of log-odds for debiased_logit)."""


def aggregate(
    pairs: ArrayLike, method: Method = "likelihood", delta: float = 0.0, perplexity: ArrayLike | None = None
) -> Relations:
    """Return one relation per pair from the verdicts on both orders.

    `two_pass`: the verdict if both orders give the same one for the candidates, else a tie. `likelihood`: the most
    probable verdict of the mean distribution; a tie if its lead is at most delta. `ppl`: the verdict of the order with
    the lower perplexity; a tie if they differ by at most delta. `debiased_logit`: sign of the quality part of the
    log-odds, d = (l1 - l2) / 2, without the position part; a tie if |d| <= delta. `single_order`: the verdict with the
    candidate of lower index shown first.

    Pairs are probabilities `[cases, n, n, 3]` of (FIRST, SECOND, TIE), where `[q, i, j]` has i shown first.
    Perplexities are of the whole output of each order, `[cases, n, n]`, by default of the verdict alone.

    Raises:
        InputError: A wrong shape, a negative tolerance, an unknown method, values that are not probabilities.
    """
    if method not in get_args(Method):
        raise unknown("aggregation method", method, list(get_args(Method)))
    p = checked_pairs(pairs)
    check_tolerance(delta)
    swapped = un_swapped(p)
    if method == "likelihood":
        mean = (p + swapped) / 2
        sign, margin = _verdict(mean, delta), mean[..., 0] - mean[..., 1]
    elif method == "two_pass":
        one, two = _verdict(p), _verdict(swapped)
        sign, margin = np.where(one == two, one, 0.0) + 0 * (one + two), (_lead(p) + _lead(swapped)) / 2
    elif method == "debiased_logit":
        quality, _ = logit_split(p)
        sign, margin = sgn(quality, delta), quality
    elif method == "single_order":
        low_first = np.triu(np.ones(p.shape[1:3]), 1).astype(bool)
        sign, margin = (np.where(low_first, x, -np.swapaxes(x, 1, 2)) for x in (_verdict(p), _lead(p)))
    else:
        sign, margin = _by_perplexity(p, swapped, delta, perplexity)
    off = ~np.eye(p.shape[1], dtype=bool)
    return Relations(np.where(off, sign, np.nan), np.where(off, margin, np.nan))


def tie_rate(sign: Floats) -> float:
    """Return the proportion of ties among the known pairs of `[cases, n, n]`; NaN without any."""
    known = upper(sign)[~np.isnan(upper(sign))]
    return float(np.mean(known == 0)) if known.size else float("nan")


def logit_split(pairs: ArrayLike) -> tuple[Floats, Floats]:
    """Return the quality part and the position part of the log-odds of FIRST, `[cases, n, n]` each, in nats.

    With l1 for order (i, j) and l2 for order (j, i): quality d = (l1 - l2) / 2 changes sign with the pair, position
    bias b = (l1 + l2) / 2 does not, and l1 = d + b exactly.
    """
    p = checked_pairs(pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_odds = np.log(p[..., 0]) - np.log(p[..., 1])
        other = np.swapaxes(log_odds, 1, 2)
        return (log_odds - other) / 2, (log_odds + other) / 2


def sgn(difference: ArrayLike, delta: float = 0.0, scale: ArrayLike = 1.0) -> Floats:
    """Return the sign of a difference, 0 within `delta`, with room for rounding: 3.8 and 3.7 tie at 0.1."""
    check_tolerance(delta)
    x, size = np.asarray(difference, np.float64), np.maximum(1.0, np.abs(np.asarray(scale, np.float64)))
    return np.where(np.abs(x) <= delta + TIE_TOLERANCE * size, 0.0, np.sign(x)) + 0 * x


def un_swapped(p: Floats) -> Floats:
    """Return the verdicts on the reversed order, expressed for the same candidates: FIRST and SECOND exchanged."""
    return np.swapaxes(p, 1, 2)[..., [1, 0, 2]]


def upper(matrix: Floats) -> Floats:
    """Return the entries above the diagonal, one per unordered pair, `[cases, n (n - 1) / 2]`."""
    i, j = np.triu_indices(matrix.shape[1], 1)
    return matrix[:, i, j]


def differences(scores: ArrayLike) -> Floats:
    """Return the score of the first candidate minus that of the second for every pair, `[cases, pairs]`."""
    s = np.asarray(scores, np.float64)
    return upper(s[:, :, None] - s[:, None, :])


def checked_pairs(pairs: ArrayLike) -> Floats:
    """Return pairwise probabilities, checked for shape and range."""
    p = np.asarray(pairs, np.float64)
    if p.ndim != 4 or p.shape[1] != p.shape[2] or p.shape[3] != 3:
        raise InputError(f"Pairwise verdicts must be [cases, n, n, 3], not {list(p.shape)}.")
    if (p < 0).any() or (np.nansum(p, axis=-1) > 1 + 1e-6).any():
        raise InputError("Pairwise verdicts must be probabilities: none below 0, and at most 1 for each pair.")
    return p


def check_tolerance(delta: float) -> None:
    """Refuse a tolerance that is negative or NaN."""
    if not delta >= 0:
        raise InputError(f"delta must be at least 0, not {delta}.")


def _lead(p: Floats) -> Floats:
    return p[..., 0] - p[..., 1]


def _verdict(p: Floats, delta: float = 0.0) -> Floats:
    """Return the most probable verdict; a tie if the two most probable are within delta."""
    best = np.sort(p, axis=-1)
    sign = np.array([1.0, -1.0, 0.0])[np.argmax(np.nan_to_num(p), axis=-1)]
    close = best[..., 2] - best[..., 1] <= delta + TIE_TOLERANCE
    return np.where(close, 0.0, sign) + 0 * p.sum(axis=-1)


def _by_perplexity(p: Floats, swapped: Floats, delta: float, perplexity: ArrayLike | None) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore"):
        one = 1 / p.max(axis=-1) if perplexity is None else np.asarray(perplexity, np.float64)
    if one.shape != p.shape[:3]:
        raise InputError(f"Perplexities must be [cases, n, n] like the verdicts, not {list(one.shape)}.")
    other = np.swapaxes(one, 1, 2)
    surer = np.where((one < other)[..., None], p, swapped)
    sign = np.where(np.abs(one - other) <= delta + TIE_TOLERANCE, 0.0, _verdict(surer)) + 0 * (one + other)
    margin = np.where(one == other, (_lead(p) + _lead(swapped)) / 2, _lead(surer))
    return sign, margin + 0 * sign


def order_table(pairs: ArrayLike, human: ArrayLike | None = None, chars: ArrayLike | None = None) -> pd.DataFrame:
    """Return the verdicts `[cases, n, n, 3]` on each pair in both orders, one row per pair with both orders.

    Human scores and lengths are `[cases, n]`, larger is better; NaN unknown.

    Returns:
        case (index), i, j, where i is the better answer if the human scores differ;
        `first`: proportion of the two verdicts that name the first position; `ties`: that tie; `position_margin`:
        p(first) - p(second); `agree`: both orders give the same verdict on the candidates; `repeat`: probability that
        two sampled verdicts on the same order agree; `flip`: that a sampled verdict is not the most probable one;
        if the human scores differ (else NaN): `right_first`, `right_second` (the better answer wins when shown first,
        second; a tie counts half), `both` (it wins in both orders), `random` = their mean, `position` = their
        difference, `p_right` = mean probability of the correct verdict among verdicts other than ties;
        with `chars`: `better_longer`, and `longer`: proportion of verdicts for the longer answer (a tie counts half;
        NaN at equal length).
    """
    p = checked_pairs(pairs)
    for name, values in (("human", human), ("chars", chars)):
        if values is not None and np.shape(values) != p.shape[:2]:
            raise InputError(f"{name} must be [cases, n] = {list(p.shape[:2])}, not {list(np.shape(values))}.")
    swapped, n = un_swapped(p), p.shape[1]
    worth = np.full(p.shape[:2], np.nan) if human is None else np.asarray(human, np.float64)
    case, i, j = np.nonzero(np.triu(np.ones((n, n), bool), 1)[None] & ~np.isnan(p + swapped).any(axis=-1))
    turn = worth[case, j] > worth[case, i]
    i, j = np.where(turn, j, i), np.where(turn, i, j)
    one, two = p[case, i, j], swapped[case, i, j]
    v1, v2 = _verdict(one), _verdict(two)
    strict = np.where(worth[case, i] > worth[case, j], 1.0, np.nan)
    a1, a2 = (1 + v1) / 2 * strict, (1 + v2) / 2 * strict
    for_either = (one + two)[:, :2]
    with np.errstate(invalid="ignore"):
        p_right = for_either[:, 0] / for_either.sum(axis=1) * strict
    columns = {
        "case": case,
        "i": i,
        "j": j,
        "first": ((v1 == 1) * 1.0 + (v2 == -1)) / 2,
        "ties": ((v1 == 0) * 1.0 + (v2 == 0)) / 2,
        "position_margin": (_lead(one) - _lead(two)) / 2,
        "agree": (v1 == v2) * 1.0,
        "repeat": (np.sum(one**2, axis=-1) + np.sum(two**2, axis=-1)) / 2,
        "flip": 1 - (one.max(axis=-1) + two.max(axis=-1)) / 2,
        "right_first": a1,
        "right_second": a2,
        "both": ((a1 == 1) & (a2 == 1)) * strict,
        "random": (a1 + a2) / 2,
        "position": a1 - a2,
        "p_right": p_right,
    }
    if chars is not None:
        size = np.asarray(chars, np.float64)
        gap = np.sign(size[case, i] - size[case, j])
        columns["better_longer"] = np.where(np.isnan(strict), np.nan, gap > 0)
        columns["longer"] = np.where(gap == 0, np.nan, (1 + (v1 + v2) / 2 * gap) / 2)
    return pd.DataFrame(columns)


def order_tables(
    judgements: Iterable[Judgement], pair: str, human: ArrayLike | None = None, chars: ArrayLike | None = None
) -> pd.DataFrame:
    """Return `order_table` of several judges on the same cases, with the column `judge`."""
    return pd.concat(
        [order_table(j.pairs(pair), human, chars).assign(judge=j.judge) for j in judgements], ignore_index=True
    )


def right_pairs(difference: ArrayLike, human: ArrayLike) -> pd.DataFrame:
    """Return whether a judge orders each pair as the human scores do: case (index) and `right`, 1/2 for a tie.

    Preferences for the first candidate (signs or differences of scores) are `[cases, pairs]`, human scores `[cases,
    n]`. Pairs with equal human scores are left out.
    """
    sign, truth = np.sign(np.asarray(difference, np.float64)), np.sign(differences(human))
    case, pair = np.nonzero(~np.isnan(sign) & (np.abs(truth) == 1))
    return pd.DataFrame({"case": case, "right": (1 + sign[case, pair] * truth[case, pair]) / 2})


def pair_accuracy(relations: Relations, human: ArrayLike) -> dict[str, object]:
    """Return the proportion of pairs that a judge orders as the human scores do, with an interval over cases."""
    table = right_pairs(upper(relations.sign), human)
    return interval(table["right"], table["case"], "bootstrap", draws=499, bounds=SHARE)


WIDE = 0.4
"""A wider 95% interval around 0.5 (about 20 independent pairs or fewer) does not show that a judge is at chance."""


def against_chance(orders: pd.DataFrame, by: Sequence[str] = ("judge",)) -> pd.DataFrame:
    """Return whether each group of an `order_table` is better than chance: the columns `by`, and `against chance`."""
    groups = orders.groupby(list(by), sort=False)
    return pd.DataFrame([{**dict(zip(by, key)), "against chance": chance_verdict(part)} for key, part in groups])


def above_chance(right: Interval, source: str) -> Finding:
    """Return the claim that a judge of pairs is right more often than chance, from the proportion it is right."""
    claim = "The judge is right more often than chance"
    return finding(claim, source, right, "above", 0.5, "", "proportion of correct verdicts", "chance")


def chance_verdict(table: pd.DataFrame) -> str:
    """Return one sentence on whether a judge is better than chance, with Wilson intervals clustered by case."""
    right, first, second, ties = (
        interval(column, table["case"], "wilson")
        for column in (table["random"], table["first"], 1 - table["first"] - table["ties"], table["ties"])
    )
    positions = f"first in {_rate(first)}, second in {_rate(second)}, tie in {ties['mean']:.0%} of {ties['n']} pairs"
    if not right["n"]:
        return f"unknown: no marks say which answers are better ({positions})"
    rates = f"right in {_rate(right)} of {right['n']} pairs; {positions}"
    if right["low"] > 0.5:
        return f"better than chance ({rates})"
    for position, rate in (("first", first), ("second", second)):
        if rate["mean"] > 0.95:
            return f"at chance: picks the {position} answer almost always ({rates})"
    if right["high"] < 0.5:
        return f"worse than chance ({rates})"
    for position, rate in (("first", first), ("second", second)):
        if rate["low"] > 0.5:
            return f"at chance: prefers the {position} answer ({rates})"
    if right["high"] - right["low"] > WIDE:
        return f"unknown: too few pairs ({rates})"
    return f"at chance ({rates})"


def _rate(row: dict[str, Any]) -> str:
    ends = "" if np.isnan(row["low"]) else f" [{row['low']:.0%}, {row['high']:.0%}]"
    return f"{row['mean']:.0%}{ends}"
