"""Verdicts: what an interval says of a baseline, and of a claim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.statistics.intervals import ROUNDING

Verdict = Literal["holds", "does not hold", "cannot tell"]
Direction = Literal["above", "below"]
FEWEST_UNITS = 6
"""Independent units a verdict needs: with five, a two-sided sign test cannot fall below 0.05 (2 / 2^5 = 0.06)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim tested on this run."""

    claim: str
    """What was found before, in one sentence."""
    source: str
    """Paper or page that claims it."""
    verdict: str
    """What this run says of it: a `Verdict`, or "cannot tell: only 3 units"."""
    estimate: float
    """The number the verdict rests on."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""
    n: int
    """Items behind it."""
    units: int
    """Independent units among them: clusters where items belong together, else the items."""
    rule: str
    """When the claim would hold."""


def finding(
    claim: str,
    source: str,
    row: Mapping[str, Any] | pd.Series,
    expected: Direction,
    baseline: float = 0.0,
    undecided: str = "",
) -> Finding:
    """The verdict on a claim that a mean lies above or below a baseline.

    Args:
        claim: What was found before.
        source: Who claims it.
        row: A row of `summarise` or `paired`: mean, low, high, n and, under clusters, n_clusters.
        expected: On which side of the baseline the claim puts the mean.
        baseline: What the interval must exclude.
        undecided: Why the run cannot decide the claim whatever the interval, because a respondent that does not answer
            the question (a coin, a constant) would satisfy it too; empty where it can. See `unless`.
    """
    mean, low, high = float(row["mean"]), float(row["low"]), float(row["high"])
    said: str = verdict(low, high, expected, baseline)
    n = int(units(row))
    if reason := _few(n) if n < FEWEST_UNITS else undecided:
        said = f"cannot tell: {reason}"
    rule = f"interval {expected} {_shown(baseline)}, at least {FEWEST_UNITS} units"
    return Finding(claim, source, said, mean, low, high, int(row["n"]), n, rule)


def unless(row: Mapping[str, Any] | pd.Series, expected: Direction, baseline: float, reason: str) -> str:
    """The reason, unless a row's interval lies on the expected side of a baseline; then an empty text.

    For `finding(undecided=)`: what a judge that cannot be told from a coin does wrong is no finding about judges.
    """
    holds = units(row) >= FEWEST_UNITS and verdict(float(row["low"]), float(row["high"]), expected, baseline) == "holds"
    return "" if holds else reason


def units(row: Mapping[str, Any] | pd.Series) -> float:
    """How many independent units are behind a row of `summarise`: its clusters, or its items where it has none."""
    clusters = row.get("n_clusters", np.nan)
    return float(row.get("n", np.nan)) if clusters is None or np.isnan(clusters) else float(clusters)


def verdict(low: float, high: float, expected: Direction, baseline: float = 0.0) -> Verdict:
    """Whether an interval lies wholly on the expected side of a baseline, on the other, or on neither."""
    if expected not in ("above", "below"):
        raise InputError(f"expected must be 'above' or 'below', not {expected!r}.")
    side = _side(low, high, baseline)
    if side is None:
        return "cannot tell"
    return "holds" if side == expected else "does not hold"


def versus(row: Mapping[str, Any] | pd.Series, baseline: float, name: str = "chance") -> str:
    """One sentence on a mean and its baseline: "above chance (0.43 [0.35, 0.51] against 0.25)".

    Args:
        row: A row of `summarise`: mean, low, high, and n and n_clusters where it has them.
        baseline: The number to tell it from.
        name: What the baseline is called.
    """
    side, n = _side(float(row["low"]), float(row["high"]), baseline), units(row)
    said = f"{side} {name}" if side else f"cannot be told from {name}"
    if n < FEWEST_UNITS:
        said = f"cannot be told from {name}: {_few(int(n))}"
    return f"{said} ({estimate(row)} against {_shown(baseline)})"


def estimate(row: Mapping[str, Any] | pd.Series) -> str:
    """A number with its interval in words: "0.43 [0.35, 0.51]", "0.43 no interval", or "undefined"."""
    if math.isnan(float(row["mean"])):
        return "undefined"
    ends = "no interval" if math.isnan(float(row["low"])) else f"[{_shown(row['low'])}, {_shown(row['high'])}]"
    return f"{_shown(row['mean'])} {ends}"


def compact(table: pd.DataFrame, drop: Iterable[str] = ("n_undefined",), clusters: str = "questions") -> pd.DataFrame:
    """Return a table of means as a reader needs it.

    Args:
        table: Made by `summarise`, or of rows of `interval`.
        drop: Columns to leave out, beside the standard error and the method.
        clusters: What the clusters are; the new name of `n_clusters`.
    """
    spare = {"se", "method", *drop}
    return table.drop(columns=[name for name in table if name in spare]).rename(columns={"n_clusters": clusters})


def rows_by(table: pd.DataFrame, column: str) -> dict[Any, pd.Series[Any]]:
    """Return the rows of a table, each under its value in a column, for `finding` and `versus`."""
    return {row[column]: row for _, row in table.iterrows()}


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row per finding, with the columns of `Finding`."""
    return pd.DataFrame([asdict(each) for each in findings], columns=[field.name for field in fields(Finding)])


def no_rows(reason: str) -> pd.DataFrame:
    """A table without rows, of which `run.table` keeps nothing and shows the reason."""
    table = pd.DataFrame()
    table.attrs["reason"] = reason
    return table


def _shown(number: float) -> str:
    """Three decimals, none of them without need, and the minus of a typeset table."""
    return f"{round(float(number), 3) + 0.0:g}".replace("-", "−")


def _few(n: int) -> str:
    return f"only {n} unit{'s' * (n != 1)}"


def _side(low: float, high: float, baseline: float) -> Direction | None:
    if low > baseline + ROUNDING:
        return "above"
    if high < baseline - ROUNDING:
        return "below"
    return None
