"""Calibration, selective prediction and recalibration of a model's confidence (arXiv 2309.12236)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench import figures, statistics
from workbench.answers import Normalisation, outcomes, probabilities
from workbench.called import NORMALISED, RECALIBRATED
from workbench.errors import InputError
from workbench.questions import Questions
from workbench.statistics import Finding
from workbench.statistics import calibration as metrics_of
from workbench.statistics.calibration import CalibrationReport, RiskCoverage
from workbench.statistics.distances import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Readings = Mapping[str, pd.DataFrame]
"""Normalisation -> one row per question, see `readings`."""
NAMED = NORMALISED | RECALIBRATED
CALIBRATED = "calibrated model (mean of 999 draws)"


def readings(answers: Sequence[pd.DataFrame], normalisations: Sequence[Normalisation]) -> dict[str, pd.DataFrame]:
    """Return `outcomes` of all answers under each normalisation, with the columns `cluster` and `chance`."""
    together = pd.concat(answers, ignore_index=True)
    tables = {name: outcomes(probabilities(together, name)) for name in normalisations}
    return {
        name: table.assign(cluster=statistics.clusters(table), chance=table["n_correct"] / table["n_options"])
        for name, table in tables.items()
    }


def items(main: pd.DataFrame, questions: Iterable[Questions]) -> pd.DataFrame:
    """Return text, cluster, correctness, confidence and chance, one row per question, for comparing runs."""
    texts = {question.id: question.prompt_text for benchmark in questions for question in benchmark}
    table = main[["benchmark", "question_id", "cluster", "answer_correct", "answer_confidence", "chance"]]
    return table.assign(question=main["question_id"].map(texts))


def accuracy(main: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy (Wilson interval), mean confidence and chance of each benchmark."""
    by: dict[str, Any] = {"by": "benchmark", "cluster": "cluster"}
    correct = statistics.summarise(main, "answer_correct", method="wilson", **by)
    table = pd.concat([correct, statistics.summarise(main, "answer_confidence", bounds=(0, 1), **by)])
    table["chance"] = table["benchmark"].map(main.groupby("benchmark")["chance"].mean())
    return table[["benchmark", "metric", "mean", "low", "high", "chance", "n", "n_clusters"]]


def reports(readings: Readings, bins: int) -> dict[str, CalibrationReport]:
    """Return the calibration report of each normalisation, over all benchmarks together."""
    return {
        name: metrics_of.calibration_report(table["answer_confidence"], table["answer_correct"], bins)
        for name, table in readings.items()
    }


def metrics(reports: Mapping[str, CalibrationReport], label: str = "normalisation") -> pd.DataFrame:
    """Return the metrics of each report, one row per report, in an index named `label`."""
    return pd.DataFrame({name: report.metrics() for name, report in reports.items()}).T.rename_axis(label)


def noise(main: pd.DataFrame, bins: int, draw: np.random.Generator) -> Floats:
    """Return the ECE of 999 samples in which each answer is correct with exactly its confidence, `[999]`."""
    confidence = main["answer_confidence"].to_numpy()
    return np.array([metrics_of.ece(confidence, draw.random(len(confidence)) < confidence, bins) for _ in range(999)])


def intervals(main: pd.DataFrame, noise: Floats, bins: int, seed: int) -> pd.DataFrame:
    """Return ECE, AUROC and AURC with centred bootstrap intervals over clusters, indexed by statistic.

    Column `chance alone` is the statistic of a confidence equal to the proportion of correct options. AUROC among
    questions of equal chance has the baseline 0.5: questions with fewer options have higher confidence and accuracy
    under a uniform guess too.
    """
    c, y, chance = (main[name].to_numpy() for name in ("answer_confidence", "answer_correct", "chance"))
    how: dict[str, Any] = {"clusters": main["cluster"].to_numpy(), "seed": seed, "centred": True, "bounds": (0, 1)}
    rows = {
        "ECE": (statistics.bootstrap(lambda a, b: metrics_of.ece(a, b, bins), c, y, **how), np.nan),
        "AUROC": (statistics.bootstrap(metrics_of.auroc, c, y, **how), metrics_of.auroc(chance, y)),
        "AUROC, equal chance": (statistics.bootstrap(metrics_of.auroc, c, y, chance, **how), 0.5),
        "AURC": (statistics.bootstrap(metrics_of.aurc, c, y, **how), metrics_of.aurc(chance, y)),
    }
    given = {name: {**row, "chance alone": alone} for name, (row, alone) in rows.items()}
    table = pd.DataFrame.from_dict(given, orient="index").rename_axis("statistic")
    table[CALIBRATED] = pd.Series({"ECE": noise.mean()})
    return table


def selective(readings: Readings) -> tuple[dict[str, RiskCoverage], pd.DataFrame]:
    """Return the risk-coverage curve of each normalisation, and a table of its summary statistics."""
    pairs = {name: (table["answer_confidence"], table["answer_correct"]) for name, table in readings.items()}
    curves = {name: metrics_of.risk_coverage(*pair) for name, pair in pairs.items()}
    rows = {
        name: {
            "AURC (mean over k)": curve.aurc,
            "excess AURC": curve.e_aurc,
            "AUGRC": curve.augrc,
            "accuracy at coverage 0.3": metrics_of.selective_accuracy(*pairs[name], 0.3),
            "coverage at risk 0.25": metrics_of.coverage_at_risk(*pairs[name], 0.25),
        }
        for name, curve in curves.items()
    }
    return curves, pd.DataFrame(rows).T.rename_axis("normalisation")


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """Held-out answers before and after recalibration."""

    reports: Mapping[str, CalibrationReport]
    """Method ("as it is" first) -> report on the held-out questions; empty without held-out questions."""
    errors: pd.DataFrame
    """Squared error of each method's confidence, one row per held-out question, with `question_id` and `cluster`."""
    note: str
    """Number of held-out questions, and the reason if nothing was fitted."""

    @property
    def shown(self) -> dict[str, CalibrationReport]:
        """The reports to draw."""
        return {name: self.reports[name] for name in ("as it is", "temperature", "isotonic") if name in self.reports}


def recalibrate(main: pd.DataFrame, held_out: float, bins: int, draw: np.random.Generator) -> Recalibrated:
    """Fit temperature scaling, Platt scaling and isotonic regression on one part and evaluate them on the other.

    `held_out` is the proportion of the clusters to evaluate on; clusters are never divided.

    Raises:
        InputError: `held_out` leaves one part empty.
    """
    if not 0 < held_out < 1:
        raise InputError(f"held_out={held_out} leaves one part empty; give a proportion between 0 and 1.")
    c, y, clusters = (main[name].to_numpy() for name in ("answer_confidence", "answer_correct", "cluster"))
    names = np.unique(clusters)
    fit = np.isin(clusters, draw.permutation(names)[round(held_out * len(names)) :])
    rest = y[~fit]
    can_fit = len(rest) > 0 and 0 < y[fit].sum() < fit.sum()
    confidence = {"as it is": c[~fit]} if len(rest) else {}
    if can_fit:
        confidence |= {name: metrics_of.recalibrate(c, y, fit, method=name) for name in metrics_of.METHODS}
    squares = pd.DataFrame({name: (each - rest) ** 2 for name, each in confidence.items()})
    note = f"On the {len(rest)} held-out questions; fitted on the other {int(fit.sum())}"
    return Recalibrated(
        {name: metrics_of.calibration_report(each, rest, bins) for name, each in confidence.items()},
        squares.assign(question_id=range(len(rest)), cluster=clusters[~fit]),
        note if can_fit else f"{note}: too few correct or wrong answers to fit on",
    )


def findings(main: pd.DataFrame, intervals: pd.DataFrame, noise: Floats, after: Recalibrated) -> list[Finding | None]:
    """Return the claims of the notebook, tested on this run."""
    ece, low, high = intervals.loc["ECE"], np.quantile(noise, 0.025), np.quantile(noise, 0.975)
    excess = {"mean": ece["mean"] - noise.mean(), "low": ece["mean"] - high, "high": ece["mean"] - low}
    excess |= {"n": len(main), "n_clusters": ece["n_clusters"]}
    signed = main.assign(bias=main["answer_confidence"] - main["answer_correct"])
    bias = statistics.summarise(signed, ["bias"], cluster="cluster", bounds=(-1, 1)).iloc[0]
    more = "The ECE exceeds that of a calibrated model with the same confidences"
    ranks = "Among questions of equal chance, confidence ranks correct answers above wrong ones"
    claims: list[tuple[str, Any, float, str, str]] = [
        ("The model is overconfident", bias, 0.0, "confidence minus accuracy", "calibrated"),
        (more, excess, 0.0, "ECE minus that of a calibrated model", "calibrated"),
        (ranks, intervals.loc["AUROC, equal chance"], 0.5, "AUROC", "chance"),
    ]
    if "temperature" in after.errors:
        before, scaled = (after.errors.assign(brier=after.errors[name]) for name in ("as it is", "temperature"))
        lower = statistics.paired(before, scaled, "brier", cluster="cluster").iloc[0]
        scaling = "Temperature scaling lowers the Brier score of held-out answers"
        claims.append((scaling, lower, 0.0, "Brier score before minus after scaling", "no change"))
    return [
        statistics.finding(claim, "this notebook", row, "above", baseline, "", *words)
        for claim, row, baseline, *words in claims
    ]


def draw_reliability(reports: Mapping[str, CalibrationReport]) -> Figure:
    """Draw the reliability diagram of each report."""
    named = {NAMED.get(name, name): report for name, report in reports.items()}
    alt = f"Reliability diagrams ({', '.join(named)}): accuracy against confidence, beside the diagonal of calibration."
    return figures.described(figures.reliability(named), alt)


def draw_risk_coverage(curves: Mapping[str, RiskCoverage]) -> Figure:
    """Draw the risk-coverage curve of each normalisation."""
    named = {NAMED.get(name, name): curve for name, curve in curves.items()}
    alt = "Error rate among the most confident answers against coverage, one curve per normalisation."
    return figures.described(figures.risk_coverage(named), alt)
