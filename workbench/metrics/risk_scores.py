"""Language models as risk scores: the probability they give to an outcome (Cruz et al. 2024, 2407.14614, folktexts).

A multiple-choice score is the probability of the positive choice among the choices; a numeric score is read from the
digits after "0.". Everything stays in float64: half precision loses small probabilities.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import block_starts, require_shown, tag_columns
from workbench.errors import InputError, unknown
from workbench.metrics.calibration import bin_table
from workbench.metrics.checks import fractions, settled

Reading = Literal["expectation", "midpoint", "argmax"]
READINGS = ("expectation", "midpoint", "argmax")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_STATED = re.compile(r"probability\s*(?:is|of|:)?\s*(?:about\s*)?(\d+(?:\.\d+)?)\s*%", re.IGNORECASE)
_FRACTION = re.compile(r"(?<![\d.])(0?\.\d+|[01](?:\.0+)?)(?![\d%])")


def parsed_probability(text: str) -> float:
    """The last probability a text states: "Probability: 30%", else any percentage, else 0.3; NaN without one."""
    for pattern, scale in ((_STATED, 100.0), (_PERCENT, 100.0), (_FRACTION, 1.0)):
        found = pattern.findall(text)
        if found:
            value = float(found[-1]) / scale
            return value if 0 <= value <= 1 else float("nan")
    return float("nan")


def choice_scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Multiple-choice scores of an answers table whose options are letters, with and without a space before.

    Args:
        answers: `value` holds what a choice stands for, 0 or 1 (or anything between).

    Returns:
        One row per question: `question_id`, tags, `score` (expected value under the way of writing that holds most
        probability), `mass` (what its letters hold), `spaced` (whether they were written after a space).
    """
    starts = block_starts(answers)
    require_shown(answers)
    text = answers["text"].astype(str)
    frame = pd.DataFrame(
        {
            "block": np.repeat(np.arange(len(starts)), np.diff(starts, append=len(answers))),
            "spaced": text.str.startswith(" ").to_numpy(),
            "p": np.exp(answers["logprob"].to_numpy(np.float64)),
            "value": _values(answers),
        }
    )
    frame["weighted"] = frame["p"] * frame["value"]
    ways = frame.groupby(["block", "spaced"])[["p", "weighted"]].sum().reset_index()
    best = ways.loc[ways.groupby("block")["p"].idxmax()]
    table = answers.iloc[starts][["question_id", *tag_columns(answers)]].reset_index(drop=True)
    with np.errstate(invalid="ignore"):
        score = best["weighted"].to_numpy() / best["p"].to_numpy()
    return table.assign(score=score, mass=best["p"].to_numpy(), spaced=best["spaced"].to_numpy())


def numeric_scores(answers: pd.DataFrame, how: Reading = "expectation") -> pd.DataFrame:
    """Numeric scores of an answers table whose options are the digits after "0.", one row per question.

    Args:
        answers: Options "0" ... "9", or "00" ... "99" for two digits.
        how: `expectation` of the number, of its `midpoint` (d + 0.5), or greedy `argmax`, digit by digit.
    """
    if how not in READINGS:
        raise unknown("reading", how, list(READINGS))
    starts = block_starts(answers)
    require_shown(answers)
    text = answers["text"].astype(str).str.strip()
    if not text.str.fullmatch(r"\d{1,2}").all():
        raise InputError("Numeric scores need options of one or two digits; ask with style='numeric'.")
    table = answers.iloc[starts][["question_id", *tag_columns(answers)]].reset_index(drop=True)
    scores, masses = [], []
    for logs, names in zip(_parts(answers["logprob"], starts), _parts(text, starts)):
        p = np.exp(logs.to_numpy(np.float64))
        scores.append(_numeric(p, list(names), how))
        masses.append(p.sum())
    return table.assign(score=scores, mass=masses)


def averaged(scores: pd.DataFrame, by: str = "row", over: str = "order") -> pd.DataFrame:
    """Scores averaged over the orders of the choices, one row per `by`; each is cut to [0, 1] first.

    Returns:
        The first row of each group with its mean `score` and `mass`, `order_gap` (largest difference between orders)
        and without the column `over`.
    """
    if scores.groupby(by)[over].nunique().nunique() > 1:
        raise InputError(f"Some {by!r} were asked in fewer orders than others; ask each in all of them.")
    cut = scores.assign(score=scores["score"].clip(0, 1))
    groups = cut.groupby(by, sort=False)
    first = groups.first().drop(columns=[over])
    gap = groups["score"].max() - groups["score"].min()
    return first.assign(score=groups["score"].mean(), mass=groups["mass"].mean(), order_gap=gap).reset_index()


def risk_bias(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Confidence bias: above 0 the scores are too extreme (overconfident), below 0 too timid.

    Per bin, mean label - mean score where the mean score is below one half, else the reverse; weighted by size.
    """
    s, y = fractions(scores=scores, labels=labels)
    table = bin_table(s, y, bins).dropna(subset=["gap"])
    signed = np.where(settled(table["confidence"]) < 0.5, table["gap"], -table["gap"])
    return float(signed @ table["n"] / table["n"].sum())


def score_bias(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean score minus base rate: above 0 the outcome is foretold too often."""
    s, y = fractions(scores=scores, labels=labels)
    return float((s - y).mean())


def _numeric(p: np.ndarray, names: list[str], how: Reading) -> float:
    if not p.sum():
        return float("nan")
    scale = 10.0 ** len(names[0])
    number = np.array([int(name) for name in names])
    if how == "argmax":
        first = pd.Series(p).groupby([name[0] for name in names]).sum().idxmax()
        within = np.array([name[0] == first for name in names])
        return float(number[within][p[within].argmax()] / scale)
    return float(p @ (number + (0.5 if how == "midpoint" else 0.0)) / p.sum() / scale)


def _parts(column: pd.Series, starts: np.ndarray) -> list[pd.Series]:
    ends = [*starts[1:], len(column)]
    return [column.iloc[start:end] for start, end in zip(starts, ends)]


def _values(answers: pd.DataFrame) -> np.ndarray:
    values = answers["value"].to_numpy(np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError("Every choice needs a value from 0 to 1: 1 for the positive outcome.")
    return values
