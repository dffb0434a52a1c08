"""Verdicts: comparing an interval with a baseline, and with a published claim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench import digits
from workbench.errors import InputError
from workbench.statistics.intervals import ROUNDING

Verdict = Literal["holds", "does not hold", "cannot tell"]
Direction = Literal["above", "below"]
FEWEST_UNITS = 6
"""Minimum number of independent units: with five, a two-sided sign test cannot reach 0.05 (2 / 2^5 = 0.06)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim tested on this run."""

    claim: str
    """The published result, in one sentence."""
    source: str
    """Paper or page of the claim."""
    verdict: str
    """A `Verdict`, or "cannot tell" with a reason, such as "cannot tell: only 3 units"."""
    estimate: float
    """The estimate that the verdict is based on."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""
    n: int
    """Number of items."""
    units: int
    """Number of independent units: clusters if there are any, else items."""
    rule: str
    """Condition under which the claim holds."""
    quantity: str = ""
    """What was estimated, in words: "confidence minus accuracy"."""
    baseline: float = 0.0
    """Value that the interval is compared with."""
    baseline_name: str = ""
    """What has this value, in words: "chance", "no difference"."""
    expected: str = "above"
    """Side of the baseline on which the claim places the estimate, a `Direction`."""
    reason: str = ""
    """Why the verdict is "cannot tell"; empty for other verdicts."""


def finding(
    claim: str,
    source: str,
    row: Mapping[str, Any] | pd.Series,
    expected: Direction,
    baseline: float = 0.0,
    undecided: str = "",
    quantity: str = "",
    baseline_name: str = "",
) -> Finding:
    """Return the verdict on a claim that a mean lies above or below a baseline.

    Args:
        claim: The published result, in one sentence.
        source: Paper or page of the claim.
        row: A row of `summarise` or `paired`: mean, low, high, n and, with clusters, n_clusters.
        expected: Side of the baseline on which the claim places the mean.
        baseline: Value that the interval must exclude.
        undecided: Reason why no interval can decide the claim, for instance because a respondent that ignores the
            question (a coin, a constant) would satisfy it too; empty if there is none. See `unless`.
        quantity: What the mean measures, in words of a reader.
        baseline_name: What has the value `baseline`, in words: "chance"; by default "no difference" for 0.
    """
    mean, low, high = float(row["mean"]), float(row["low"]), float(row["high"])
    n = int(units(row))
    reason = _few(n) if n < FEWEST_UNITS else undecided
    text = f"cannot tell: {reason}" if reason else verdict(low, high, expected, baseline)
    rule = f"interval {expected} {digits.plain(baseline)}, at least {FEWEST_UNITS} units"
    name = baseline_name or ("" if baseline else "no difference")
    if text == "cannot tell":
        contained = f"the interval contains {digits.plain(baseline)}" + (f" ({name})" if name else "")
        reason = "the estimate is undefined" if math.isnan(mean) else contained
        reason = "there is no interval" if math.isnan(low + high) and not math.isnan(mean) else reason
    return Finding(
        claim, source, text, mean, low, high, int(row["n"]), n, rule, quantity, float(baseline), name, expected, reason
    )


def unless(row: Mapping[str, Any] | pd.Series, expected: Direction, baseline: float, reason: str) -> str:
    """Return the reason, or "" if a row's interval lies on the expected side of a baseline.

    For `finding(undecided=)`: errors of a judge that does not differ from a coin are not a finding about judges.
    """
    holds = units(row) >= FEWEST_UNITS and verdict(float(row["low"]), float(row["high"]), expected, baseline) == "holds"
    return "" if holds else reason


def units(row: Mapping[str, Any] | pd.Series) -> float:
    """Return the number of independent units of a row of `summarise`: its clusters if there are any, else items."""
    clusters = row.get("n_clusters", np.nan)
    return float(row.get("n", np.nan)) if clusters is None or np.isnan(clusters) else float(clusters)


def verdict(low: float, high: float, expected: Direction, baseline: float = 0.0) -> Verdict:
    """Return whether an interval lies on the expected side of a baseline ("holds"), on the other, or on neither."""
    if expected not in ("above", "below"):
        raise InputError(f"expected must be 'above' or 'below', not {expected!r}.")
    side = _side(low, high, baseline)
    if side is None:
        return "cannot tell"
    return "holds" if side == expected else "does not hold"


def versus(row: Mapping[str, Any] | pd.Series, baseline: float, name: str = "chance") -> str:
    """Return a comparison of a mean with a baseline, as "above chance (0.43 [0.35, 0.51] against 0.25)".

    Args:
        row: A row of `summarise`: mean, low, high, and n and n_clusters if present.
        baseline: The value to compare with.
        name: Name of the baseline.
    """
    side, n = _side(float(row["low"]), float(row["high"]), baseline), units(row)
    text = f"{side} {name}" if side and n >= FEWEST_UNITS else f"not distinguishable from {name}"
    few = f": {_few(int(n))}" if n < FEWEST_UNITS else ""
    return f"{text}{few} ({estimate(row)} against {digits.plain(baseline)})"


def estimate(row: Mapping[str, Any] | pd.Series) -> str:
    """Return a mean with its interval as text: "0.43 [0.35, 0.51]", "0.43 no interval", or "undefined"."""
    if math.isnan(float(row["mean"])):
        return "undefined"
    ends = (
        "no interval" if math.isnan(float(row["low"])) else f"[{digits.plain(row['low'])}, {digits.plain(row['high'])}]"
    )
    return f"{digits.plain(row['mean'])} {ends}"


def compact(table: pd.DataFrame, drop: Iterable[str] = ("n_undefined",), clusters: str = "questions") -> pd.DataFrame:
    """Return a table of means for display.

    Args:
        table: Returned by `summarise`, or rows of `interval`.
        drop: Columns to drop, in addition to the standard error and the method.
        clusters: New name of `n_clusters`.
    """
    spare = {"se", "method", *drop}
    return table.drop(columns=[name for name in table if name in spare]).rename(columns={"n_clusters": clusters})


def rows_by(table: pd.DataFrame, column: str) -> dict[Any, pd.Series[Any]]:
    """Return the rows of a table by their value in a column, for `finding` and `versus`."""
    return {row[column]: row for _, row in table.iterrows()}


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """Return one row per finding, with the columns of `Finding`."""
    return pd.DataFrame([asdict(each) for each in findings], columns=[field.name for field in fields(Finding)])


def no_rows(reason: str) -> pd.DataFrame:
    """Return an empty table; `run.table` shows the reason and saves nothing."""
    table = pd.DataFrame()
    table.attrs["reason"] = reason
    return table


def _few(n: int) -> str:
    return f"only {n} unit{'s' * (n != 1)}"


def _side(low: float, high: float, baseline: float) -> Direction | None:
    if low > baseline + ROUNDING:
        return "above"
    if high < baseline - ROUNDING:
        return "below"
    return None
