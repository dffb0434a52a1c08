"""Selective prediction: how the risk falls when only the most confident answers are given.

Convention: risk(k) is the error rate among the k most confident items, and AURC is its mean over k = 1 ... n.
Items of equal confidence are taken in random order, in expectation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.metrics.checks import Floats, fractions, settled, threshold
from workbench.statistics import wilson

CONVENTION = "mean over k of the error rate among the k most confident"


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """A risk-coverage curve and the areas under it."""

    curve: pd.DataFrame = field(repr=False)
    """One row per k: coverage k/n, risk with its Wilson interval (low, high), and the lowest confidence kept."""
    n: int
    """Items."""
    aurc: float
    """Area under the risk-coverage curve: mean over k of the risk."""
    e_aurc: float
    """Its excess over the best ordering of the same errors."""
    auarc: float
    """Area under the accuracy-rejection curve: 1 - AURC in this convention."""
    augrc: float
    """Area under the generalised risk: mean over k of errors among the k most confident / n."""


def risk_coverage(confidence: ArrayLike, correct: ArrayLike, level: float = 0.95) -> RiskCoverage:
    """The risk-coverage curve of answers ordered by confidence.

    Args:
        confidence: In each answer, `[N]`.
        correct: Whether it is right, `[N]`, shares at ties.
        level: Coverage of the pointwise Wilson intervals.
    """
    conf, right = fractions(confidence=confidence, correct=correct)
    ranked, errors = _errors_kept(conf, right)
    n, k = len(conf), np.arange(1, len(conf) + 1)
    risk = errors / k
    best = np.cumsum(np.sort(1 - right)) / k
    low, high = wilson(errors, k, level)
    curve = pd.DataFrame({"coverage": k / n, "risk": risk, "low": low, "high": high, "confidence": ranked})
    aurc = float(risk.mean())
    return RiskCoverage(curve, n, aurc, aurc - float(best.mean()), 1 - aurc, float(errors.mean() / n))


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the risk-coverage curve alone, for resampling."""
    conf, right = fractions(confidence=confidence, correct=correct)
    return float((_errors_kept(conf, right)[1] / np.arange(1, len(conf) + 1)).mean())


def selective_accuracy(confidence: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Accuracy among the share `coverage` of items that are most confident, rounded up to a whole item."""
    conf, right = fractions(confidence=confidence, correct=correct)
    k = max(1, int(np.ceil(float(threshold("coverage", coverage)) * len(conf) - 1e-9)))
    return float(1 - _errors_kept(conf, right)[1][k - 1] / k)


def coverage_at_risk(confidence: ArrayLike, correct: ArrayLike, risk: float) -> float:
    """The largest share of items, most confident first, whose error rate is at most `risk`; 0 if there is none."""
    conf, right = fractions(confidence=confidence, correct=correct)
    bound = float(threshold("risk", risk))
    k = np.arange(1, len(conf) + 1)
    allowed = k[_errors_kept(conf, right)[1] / k <= bound + 1e-12]
    return float(allowed.max() / len(conf)) if len(allowed) else 0.0


def tied_means(confidence: Floats, values: Floats) -> Floats:
    """Each value replaced by the mean over the items of the same confidence: what a random order gives on average."""
    block = np.unique(settled(confidence), return_inverse=True)[1]
    return (np.bincount(block, values) / np.bincount(block))[block]


def _errors_kept(confidence: Floats, correct: Floats) -> tuple[Floats, Floats]:
    """The confidences in falling order, and the expected number of errors among the first k, `[N]` each."""
    order = np.argsort(-settled(confidence), kind="stable")
    return confidence[order], np.cumsum(tied_means(confidence, 1 - correct)[order])
