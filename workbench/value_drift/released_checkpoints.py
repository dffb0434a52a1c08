"""Stages of a released model's post-training, and which of them moved its stances (after arXiv 2510.26707)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures
from workbench.errors import InputError
from workbench.models import Model, load_model
from workbench.statistics import Finding, finding, interval
from workbench.statistics.distances import SLACK, js, tv
from workbench.training.algorithms import constant_rate
from workbench.training.series import train
from workbench.value_drift.stances import PARTS, prompt_means
from workbench.value_drift.texts import sft_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLANTED_RATE = 1e-3
"""Learning rate of the planted fine-tune, that of `post_training`, so that both notebooks train it once."""


def released(names: Sequence[str], device: str | None = None) -> dict[str, Model]:
    """Stages by number and short name, in their order: "1: OLMo-2-1124-7B-SFT@1de02c0"."""
    return {f"{i}: {_short(name)}": load_model(name, device=device) for i, name in enumerate(names)}


def planted(model: Model, strengths: Sequence[float], saves: Sequence[int], batch: int, seed: int) -> dict[str, Model]:
    """Stages whose order is known: one supportive fine-tune laid over a model in growing strength."""
    settings = constant_rate(PLANTED_RATE, batch)
    series = train("sft", model, sft_rows("support"), settings, save_at=saves, seed=seed, name="sft support")
    return {f"{i}: adapter x{x:g}": series.load(max(saves), scale=x) for i, x in enumerate(strengths)}


def read(stages: Mapping[str, Model], readout: Callable[[Model], pd.DataFrame]) -> pd.DataFrame:
    """One stance table of all stages: `phase` is the stage's name, `step` its number."""
    tables = [readout(model).assign(run="stages", phase=name, step=i) for i, (name, model) in enumerate(stages.items())]
    return pd.concat(tables, ignore_index=True)


def profile_distance(a: ArrayLike, b: ArrayLike) -> dict[str, float]:
    """Total variation and Jensen-Shannon divergence (nats) between two stance profiles."""
    one, two = np.asarray(a, np.float64), np.asarray(b, np.float64)
    for p in (one, two):
        if p.shape != (3,) or (p < -SLACK).any() or abs(p.sum() - 1) > SLACK:
            raise InputError(f"A stance profile is three probabilities that add up to 1, not {p.tolist()}.")
    return {"tv": float(tv(one, two)), "js": float(js(one, two))}


def distances(table: pd.DataFrame) -> pd.DataFrame:
    """Distance between the mean profiles of neighbouring stages; no row, with the reason, for one stage."""
    means = table.groupby("phase", sort=False)[list(PARTS)].mean()
    pairs = zip(means.index, means.index[1:])
    rows = [{"from": a, "to": b, **profile_distance(means.loc[a], means.loc[b])} for a, b in pairs]
    found = pd.DataFrame(rows).assign(n=table["prompt_id"].nunique())
    found.attrs["reason"] = "one stage only"
    return found


def headline(overall: pd.DataFrame, trusted: bool = True) -> tuple[str, pd.Series | None]:
    """The largest of the three drifts over all topics: text and row; no row for one stage, or without trust."""
    if not trusted or overall["mean"].isna().all():
        return "largest of three drifts over the stages", None
    row = overall.iloc[int(np.nanargmax(overall["mean"].abs()))]
    return f"largest of three drifts over the stages: {row['stance']}", row


def findings(table: pd.DataFrame, overall: pd.DataFrame, undecided: str = "") -> list[Finding]:
    """Claims on released stages; none for one stage.

    Args:
        table: Stances of all stages.
        overall: Drift by stance over all topics.
        undecided: Why no claim can be decided, if none can.
    """
    n = table["step"].nunique()
    if n < 2:
        return []
    neutral, row = prompt_means(table.assign(topic="all"), "neutral"), overall[overall["stance"] == "neutral"].iloc[0]
    claim = "Post-training raises neutral, by 0.01 and more"
    found = [finding(claim, "this notebook", row, "above", 0.01, undecided)]
    if n > 2:
        first, second, last = neutral.iloc[0], neutral.iloc[1], neutral.iloc[-1]
        early = interval((second - first).abs() - (last - second).abs(), bounds=(-1, 1))
        claim = "The first stage moves neutral more than all later ones together, by 0.01 and more"
        found.append(finding(claim, "Value Drifts, arXiv 2510.26707", early, "above", 0.01, undecided))
    return found


def planted_findings(report: pd.DataFrame, overall: pd.DataFrame, undecided: str = "") -> list[Finding]:
    """Claims on the planted stages: that the known shift is found, in its direction and order; none for one stage."""
    if overall["mean"].isna().all():
        return []
    row = overall[overall["stance"] == "support"].iloc[0]
    steady = interval(report.loc[report["stance"] == "support", "tau"], bounds=(-1, 1))
    grows = "Support grows with the adapter's strength (Kendall's tau, mean over topics)"
    return [
        finding("The planted shift towards support is found", "control", row, "above", 0.0, undecided),
        finding(grows, "control", steady, "above", 0.0, undecided),
    ]


def draw_profiles(profiles: pd.DataFrame) -> Figure:
    """Probability of each stance at every stage."""
    table = profiles[profiles["metric"] != "mass"]
    figure = figures.intervals(table.assign(stance=table["metric"].str[2:]), "phase", by="stance", xlabel="probability")
    alt = "Probability of support, neutral and oppose at every stage, with 95% intervals clustered by prompt."
    return figures.described(figure, alt)


def draw_drift(report: pd.DataFrame) -> Figure | None:
    """Drift of each stance by topic; None where there is one stage only."""
    if report["mean"].isna().all():
        return None
    xlabel = "drift from the first stage to the last, M"
    figure = figures.intervals(report, "topic", by="stance", baseline=0.0, baseline_name="no drift", xlabel=xlabel)
    alt = "Drift of support, neutral and oppose in each topic from the first to the last stage, with 95% intervals."
    return figures.described(figure, alt)


def _short(name: str) -> str:
    """Folders by their last part, revisions by seven digits."""
    place, _, revision = name.partition("@")
    return "#".join(Path(part).name for part in place.split("#")) + (f"@{revision[:7]}" if revision else "")
