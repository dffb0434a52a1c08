"""Calibration: does a confidence of 0.8 come true four times in five?

Bins are [a, b) of equal width, with 1.0 in the last one. That is why they are counted here: MAPIE takes a number of
bin edges and closes bins on the right, torchmetrics gives a confidence of exactly 1.0 a bin of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.metrics.checks import Floats, bin_of, checked_bins, fractions, settled
from workbench.metrics.selective import tied_means
from workbench.statistics import wilson

CONVENTION = "bins [a, b) of equal width, 1.0 in the last"


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """How confidence and correctness agree over one set of answers."""

    bins: pd.DataFrame = field(repr=False)
    """Per bin: low, high, n, confidence (mean), accuracy with accuracy_low, accuracy_high (Wilson), gap."""
    n: int
    """Items."""
    confidence: float
    """Mean confidence."""
    accuracy: float
    """Share correct."""
    bias: float
    """Mean confidence minus accuracy: above 0 is overconfident."""
    ece: float
    """Expected calibration error: mean |gap| over bins, weighted by their items."""
    mce: float
    """Maximum calibration error: the largest |gap|."""
    rmsce: float
    """Root mean square calibration error over bins."""
    adaptive_ece: float
    """Expected calibration error over bins of equal numbers of items."""
    smooth_ece: float
    """Smooth calibration error (Blasiok & Nakkiran 2023), kernel instead of bins; by relplot."""
    brier: float
    """Mean squared difference of confidence and correctness, 0 to 1."""
    nll: float
    """Mean negative log-likelihood of correctness, nats; confidences of 0 and 1 are clipped at machine precision."""
    auroc: float
    """Probability that a correct answer is more confident than a wrong one, ties half; NaN with one class."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a metric is NaN."""

    def metrics(self) -> pd.Series:
        """The numbers, by name."""
        names = [each.name for each in fields(self) if each.name not in ("bins", "notes")]
        return pd.Series({name: getattr(self, name) for name in names}, dtype=np.float64)


def calibration_report(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 10, level: float = 0.95
) -> CalibrationReport:
    """Bin table and calibration metrics.

    Args:
        confidence: In each answer, `[N]`.
        correct: Whether it is right, `[N]`; a share at ties counts as that share of a right and of a wrong item.
        bins: Number of bins.
        level: Coverage of the Wilson intervals of the bins.
    """
    conf, right = fractions(confidence=confidence, correct=correct)
    table = bin_table(conf, right, bins, level)
    weight, gap = table["n"].to_numpy() / len(conf), table["gap"].abs().fillna(0.0).to_numpy()
    both = 0 < right.mean() < 1
    return CalibrationReport(
        bins=table,
        n=len(conf),
        confidence=float(conf.mean()),
        accuracy=float(right.mean()),
        bias=float((conf - right).mean()),
        ece=float(weight @ gap),
        mce=float(gap.max()),
        rmsce=float(np.sqrt(weight @ gap**2)),
        adaptive_ece=adaptive_ece(conf, right, bins),
        smooth_ece=smooth_ece(conf, right),
        brier=brier(conf, right),
        nll=nll(conf, right),
        auroc=auroc(conf, right),
        notes={} if both else {"auroc": "all answers are " + ("correct" if right.all() else "wrong")},
    )


def bin_table(confidence: ArrayLike, correct: ArrayLike, bins: int = 10, level: float = 0.95) -> pd.DataFrame:
    """Mean confidence and accuracy in bins [a, b) of equal width; empty bins are NaN."""
    conf, right = fractions(confidence=confidence, correct=correct)
    index, edges = bin_of(conf, bins), np.arange(bins + 1) / bins
    n = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean, accuracy = (np.bincount(index, each, minlength=bins) / n for each in (conf, right))
    low, high = wilson(np.bincount(index, right, minlength=bins), n, level)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "n": n,
            "confidence": mean,
            "accuracy": accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "gap": accuracy - mean,
        }
    )


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error over bins [a, b) of equal width."""
    conf, right = fractions(confidence=confidence, correct=correct)
    return float(np.abs(np.bincount(bin_of(conf, bins), conf - right)).sum() / len(conf))


def adaptive_ece(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error over bins of (nearly) equal numbers of items; items of equal confidence share."""
    conf, right = fractions(confidence=confidence, correct=correct)
    order = np.argsort(conf, kind="stable")
    gap = (conf - tied_means(conf, right))[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, checked_bins(bins))) / len(conf))


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Smooth calibration error, by relplot."""
    from relplot.metrics import smECE

    conf, right = fractions(confidence=confidence, correct=correct)
    return float(smECE(np.clip(conf, 0, 1), right))


def brier(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Brier score: of confidences `[N]` against correctness (0 to 1), or of distributions `[N, K]` (0 to 2).

    Args:
        probabilities: Confidences `[N]`, or one distribution per item `[N, K]`.
        gold: Correctness `[N]`, or the index of the right class `[N]`.
    """
    from sklearn.metrics import brier_score_loss

    p = np.asarray(probabilities, np.float64)
    if p.ndim == 1:
        conf, right, weight = _as_two_classes(p, gold)
        return float(brier_score_loss(right, conf, sample_weight=weight))
    classes = _check_distributions(p, gold)
    return float(np.mean(np.sum((p - np.eye(p.shape[1])[classes]) ** 2, axis=1)))


def nll(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Mean negative log-likelihood in nats, of confidences `[N]` or of distributions `[N, K]`; see `brier`."""
    from sklearn.metrics import log_loss

    p = np.asarray(probabilities, np.float64)
    if p.ndim == 1:
        conf, right, weight = _as_two_classes(p, gold)
        return float(log_loss(right, conf, sample_weight=weight, labels=[0, 1]))
    classes = _check_distributions(p, gold)
    return float(log_loss(classes, p, labels=list(range(p.shape[1]))))


def auroc(confidence: ArrayLike, correct: ArrayLike, strata: ArrayLike | None = None) -> float:
    """Probability that a correct answer has more confidence than a wrong one; NaN with one class.

    Confidences that are equal to 12 digits tie, which counts half.

    Args:
        confidence: In each answer, `[N]`.
        correct: Whether it is right, `[N]`, shares at ties.
        strata: Only answers of one stratum are compared, `[N]`, as those to questions of equal chance: a uniform guess
            is surer and more often right where there are fewer options, and ranks its answers above chance by that.
    """
    if strata is not None:
        score, share = fractions(confidence=confidence, correct=correct)
        codes = pd.factorize(np.asarray(strata))[0]
        parts = [(score[codes == code], share[codes == code]) for code in np.unique(codes)]
        pairs = np.array([y.sum() * (1 - y).sum() for _, y in parts])
        areas = np.array([auroc(*part) for part in parts])
        return float(areas[pairs > 0] @ pairs[pairs > 0] / pairs.sum()) if pairs.any() else float("nan")
    from sklearn.metrics import roc_auc_score

    conf, right, weight = _as_two_classes(np.asarray(confidence, np.float64), correct)
    if not (right @ weight and (1 - right) @ weight):
        return float("nan")
    return float(roc_auc_score(right, settled(conf), sample_weight=weight))


def _as_two_classes(confidence: Floats, correct: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Confidences, classes 0/1 and weights: an item right by the share y is y of a right one and 1 - y of a wrong."""
    conf, right = fractions(confidence=confidence, correct=correct)
    weight = np.concatenate([right, 1 - right])
    used = weight > 0
    both = np.concatenate([np.ones(len(conf)), np.zeros(len(conf))])
    return np.clip(np.tile(conf, 2), 0, 1)[used], both[used], weight[used]


def _check_distributions(p: Floats, gold: ArrayLike) -> np.ndarray:
    classes = np.asarray(gold)
    if p.ndim != 2 or not p.size or classes.shape != p.shape[:1]:
        raise InputError(f"Give probabilities [N, K] and gold [N]; these have shapes {p.shape} and {classes.shape}.")
    if not np.isfinite(p).all() or (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-6).any():
        raise InputError("Every row of probabilities must be at least 0 and add up to 1.")
    if not np.isin(classes, np.arange(p.shape[1])).all():
        raise InputError(f"gold must hold class numbers from 0 to {p.shape[1] - 1}.")
    return classes.astype(np.int64)
