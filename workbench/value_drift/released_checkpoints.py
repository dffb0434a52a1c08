"""Stance drift over the stages of a released model's post-training (after arXiv 2510.26707)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench import figures
from workbench.files import titles
from workbench.models import Model, load_model
from workbench.statistics import Finding, finding, interval, rows_by
from workbench.statistics.distances import js, tv
from workbench.statistics.findings import no_rows
from workbench.training.algorithms import constant_rate
from workbench.training.series import train
from workbench.value_drift.post_training import CHANGE, PAPER, draw_drifts
from workbench.value_drift.stances import PARTS, prompt_means
from workbench.value_drift.texts import sft_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLANTED_RATE = 1e-3
"""Learning rate of the planted fine-tune; that of `post_training`, so that the run is shared."""


def released(names: Sequence[str], device: str | None = None) -> dict[str, Model]:
    """Return the stages in order, by number and short name: "1: OLMo-2-1124-7B-SFT@1de02c0"."""
    labels = [re.sub("(@.{7}).*", r"\1", title) for title in titles(names)]
    return {f"{i}: {label}": load_model(name, device=device) for i, (label, name) in enumerate(zip(labels, names))}


def planted(model: Model, strengths: Sequence[float], saves: Sequence[int], batch: int, seed: int) -> dict[str, Model]:
    """Return stages of known order: a model with one supportive adapter of increasing strength."""
    settings = constant_rate(PLANTED_RATE, batch)
    series = train("sft", model, sft_rows("support"), settings, save_at=saves, seed=seed, name="sft support")
    return {f"{i}: adapter x{x:g}": series.load(max(saves), scale=x) for i, x in enumerate(strengths)}


def stage_table(stages: Mapping[str, Model], readout: Callable[[Model], pd.DataFrame]) -> pd.DataFrame:
    """Return one stance table of all stages: `phase` is the name of the stage, `step` its number."""
    tables = [readout(model).assign(run="stages", phase=name, step=i) for i, (name, model) in enumerate(stages.items())]
    return pd.concat(tables, ignore_index=True)


def distances(table: pd.DataFrame) -> pd.DataFrame:
    """Return total variation and Jensen-Shannon divergence (nats) of neighbouring stages' profiles; empty for one."""
    means = table.groupby("phase", sort=False)[list(PARTS)].mean()
    if len(means) < 2:
        return no_rows("one stage only")
    one, two = means.to_numpy()[:-1], means.to_numpy()[1:]
    stages = {"from": means.index[:-1], "to": means.index[1:]}
    return pd.DataFrame({**stages, "tv": tv(one, two), "js": js(one, two), "n": table["prompt_id"].nunique()})


def headline(overall: pd.DataFrame, trusted: bool = True) -> tuple[str, pd.Series | None]:
    """Return text and row of the largest of the three drifts over all topics; None for one stage or without trust."""
    if not trusted or overall["mean"].isna().all():
        return "largest of three drifts over the stages", None
    row = overall.iloc[int(np.nanargmax(overall["mean"].abs()))]
    return f"largest of three drifts over the stages: {row['stance']}", row


def findings(table: pd.DataFrame, overall: pd.DataFrame, undecided: str = "") -> list[Finding]:
    """Return the claims on released stages; none for one stage.

    Args:
        table: Stances of all stages.
        overall: `overall_drift` of the table.
        undecided: Why no claim can be decided; empty if claims can.
    """
    n = table["step"].nunique()
    if n < 2:
        return []
    neutral, row = prompt_means(table.assign(topic="all"))["p_neutral"], rows_by(overall, "stance")["neutral"]
    raises, limit = "Post-training raises neutral by at least 0.01", "the least change that counts"
    claims: list[tuple[str, str, Any, str]] = [(raises, "this notebook", row, "change of the probability of neutral")]
    if n > 2:
        first, second, last = neutral.iloc[0], neutral.iloc[1], neutral.iloc[-1]
        early = interval((second - first).abs() - (last - second).abs(), bounds=CHANGE)
        claim = "The first stage moves neutral more than all later ones together, by at least 0.01"
        claims.append((claim, PAPER, early, "change in the first stage minus that in later ones"))
    return [finding(claim, source, each, "above", 0.01, undecided, what, limit) for claim, source, each, what in claims]


def planted_findings(report: pd.DataFrame, overall: pd.DataFrame, undecided: str = "") -> list[Finding]:
    """Return the claims on planted stages: the known shift is recovered in direction and order; none for one stage."""
    if overall["mean"].isna().all():
        return []
    row = rows_by(overall, "stance")["support"]
    steady = interval(report.loc[report["stance"] == "support", "tau"], bounds=CHANGE)
    grows = "Support grows with the adapter's strength"
    rises, tau = "change of the probability of support", "Kendall's tau, mean over topics"
    return [
        finding(
            "The planted shift towards support is recovered",
            "control",
            row,
            "above",
            0.0,
            undecided,
            rises,
            "no change",
        ),
        finding(grows, "control", steady, "above", 0.0, undecided, tau, "no association"),
    ]


def draw_profiles(profiles: pd.DataFrame) -> Figure:
    """Plot the probability of each stance at every stage."""
    table = profiles[profiles["metric"] != "mass"].assign(stance=lambda rows: rows["metric"].str[2:])
    how: dict[str, Any] = {"baseline": 1 / 3, "baseline_name": "uniform", "of": "prompts"}
    return figures.described(
        figures.intervals(table, "phase", by="stance", xlabel="probability of the stance, by stage", **how),
        "Probability of support, neutral and oppose at every stage, beside uniform.",
    )


def draw_drift(report: pd.DataFrame) -> Figure | None:
    """Plot the drift of each stance by topic; None for one stage."""
    if report["mean"].isna().all():
        return None
    alt = "Drift of support, neutral and oppose in each topic from the first to the last stage, beside no drift."
    return draw_drifts(report, "topic", "stance", "drift from first to last stage: change of probability", alt)
