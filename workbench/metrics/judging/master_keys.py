"""Verdicts YES and NO: answers that say nothing ("One Token to Fool LLM-as-a-Judge", arXiv 2507.08794), checklists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench.errors import InputError
from workbench.metrics.judging.reads import Floats, LabelReads, by_candidate
from workbench.metrics.judging.scoring import pass_rate
from workbench.statistics import wilson


def key_table(reads: LabelReads) -> pd.DataFrame:
    """One row per answer judged YES (value 1) or NO (value 0) against a reference.

    Returns:
        The keys of the readings, `yes` (the verdict; 1/2 at a tie, NaN unread), `p_yes` = p(YES) / (p(YES) + p(NO)),
        `margin` = ln p(YES) - ln p(NO), `mass`, `low_mass`.
    """
    if set(reads.values) != {0.0, 1.0}:
        raise InputError(f"Labels {reads.values.tolist()} are no YES (1) and NO (0).")
    p = reads.p
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.log(p[:, 1]) - np.log(p[:, 0])
    yes = np.where(np.isnan(p[:, 1]), np.nan, (1 + np.sign(p[:, 1] - 0.5)) / 2)
    columns = {"yes": yes, "p_yes": p[:, 1], "margin": margin, "mass": reads.mass, "low_mass": reads.low_mass}
    return reads.keys.assign(**columns)


def checklist_scores(reads: LabelReads, order: Sequence[str] | None = None) -> Floats:
    """Share of its requirements each answer meets: the mean probability of YES, `[cases, candidates]` (TICK).

    A requirement of polarity -1 is met by NO.

    Args:
        reads: Of questions made by `datasets.judging.checklist`, with the tags `case`, `candidate` and `polarity`.
        order: The names of the cases in the order wanted.
    """
    table = key_table(reads)
    met = table["p_yes"].where(table["polarity"] > 0, 1 - table["p_yes"])
    rates = table.assign(met=met).groupby(["case", "candidate"], sort=False)["met"].agg(pass_rate).reset_index()
    return by_candidate(rates, rates["met"], order)


def false_positive_rates(table: pd.DataFrame, by: str = "key") -> pd.DataFrame:
    """The share of YES for each key and control, with Wilson intervals.

    Returns:
        `by`, `kind`, `mean` (hard: share of verdicts YES), low, high, `soft` (mean p_yes), `margin` (mean, nats),
        n, n_unparsed, n_low_mass, `mass` (mean).
    """
    rows = []
    for name, part in table.groupby(by, sort=False):
        known = part["yes"].dropna()
        low, high = wilson(known.sum(), len(known))
        row = {by: name, "kind": part["kind"].iloc[0], "mean": known.mean(), "low": float(low), "high": float(high)}
        row |= {"soft": part["p_yes"].mean(), "margin": part["margin"].mean(), "n": len(known)}
        row |= {"n_unparsed": len(part) - len(known), "n_low_mass": int(part["low_mass"].sum())}
        rows.append(row | {"mass": part["mass"].mean()})
    return pd.DataFrame(rows)
