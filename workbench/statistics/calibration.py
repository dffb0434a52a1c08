"""Calibration, selective prediction and recalibration of confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.statistics import wilson
from workbench.statistics.distances import Floats, bin_of, checked_bins, fractions, mask, settled, threshold

Recalibration = Literal["temperature", "platt", "isotonic"]
METHODS: tuple[Recalibration, ...] = get_args(Recalibration)
LOG_TEMPERATURES = (-5.0, 7.0)
"""Range of the log temperature: from 0.007 to 1100."""


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """Calibration metrics of one set of answers."""

    bins: pd.DataFrame = field(repr=False)
    """Per bin: low, high, n, confidence (mean), accuracy with accuracy_low and accuracy_high (Wilson), gap."""
    n: int
    """Number of items."""
    confidence: float
    """Mean confidence."""
    accuracy: float
    """Proportion correct."""
    bias: float
    """Mean confidence minus accuracy; positive if overconfident."""
    ece: float
    """Expected calibration error: mean |gap| over bins, weighted by their number of items."""
    mce: float
    """Maximum calibration error: largest |gap|."""
    rmsce: float
    """Root mean square calibration error over bins."""
    adaptive_ece: float
    """Expected calibration error over bins with equal numbers of items."""
    smooth_ece: float
    """Smooth calibration error, with a kernel instead of bins (Blasiok & Nakkiran 2023; relplot)."""
    brier: float
    """Brier score: mean squared difference of confidence and correctness, 0 to 1."""
    nll: float
    """Mean negative log-likelihood of correctness, nats; confidences of 0 and 1 are clipped at machine precision."""
    auroc: float
    """AUROC of confidence for correctness; ties count one half, NaN if all answers are correct or all are wrong."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a metric is NaN."""

    def metrics(self) -> pd.Series:
        """Return the metrics by name."""
        names = [each.name for each in fields(self) if each.name not in ("bins", "notes")]
        return pd.Series({name: getattr(self, name) for name in names}, dtype=np.float64)


def calibration_report(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> CalibrationReport:
    """Return the bin table and the calibration metrics.

    Args:
        confidence: Confidence of each answer, `[N]`.
        correct: Correctness of each answer, `[N]`, 0 or 1; a fraction y at ties counts as y correct and 1 - y wrong
            items.
        bins: Number of bins.
    """
    conf, right = fractions(confidence=confidence, correct=correct)
    table = bin_table(conf, right, bins)
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


def bin_table(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> pd.DataFrame:
    """Return mean confidence and accuracy in bins [a, b) of equal width, with 95% Wilson intervals; NaN if empty."""
    conf, right = fractions(confidence=confidence, correct=correct)
    index, edges = bin_of(conf, bins), np.arange(bins + 1) / bins
    n = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean, accuracy = (np.bincount(index, each, minlength=bins) / n for each in (conf, right))
    low, high = wilson(np.bincount(index, right, minlength=bins), n)
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n": n, "confidence": mean, "accuracy": accuracy})
    return table.assign(accuracy_low=low, accuracy_high=high, gap=accuracy - mean)


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error over bins [a, b) of equal width."""
    conf, right = fractions(confidence=confidence, correct=correct)
    return float(np.abs(np.bincount(bin_of(conf, bins), conf - right)).sum() / len(conf))


def adaptive_ece(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error over bins with (nearly) equal numbers of items.

    Items with equal confidence get their mean gap, so that their order does not matter.
    """
    conf, right = fractions(confidence=confidence, correct=correct)
    order = np.argsort(conf, kind="stable")
    gap = (conf - tied_means(conf, right))[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, checked_bins(bins))) / len(conf))


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the smooth calibration error (Blasiok & Nakkiran 2023), by relplot."""
    from relplot.metrics import smECE

    conf, right = fractions(confidence=confidence, correct=correct)
    return float(smECE(np.clip(conf, 0, 1), right))


def brier(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Return the Brier score: of confidences `[N]` against correctness (0 to 1), or of distributions `[N, K]` (0 to 2).

    Args:
        probabilities: Confidences `[N]`, or one distribution per item `[N, K]`.
        gold: Correctness `[N]`, or the index of the correct class `[N]`.
    """
    from sklearn.metrics import brier_score_loss

    p = np.asarray(probabilities, np.float64)
    if p.ndim == 1:
        conf, right, weight = _as_two_classes(p, gold)
        return float(brier_score_loss(right, conf, sample_weight=weight))
    classes = _check_distributions(p, gold)
    return float(np.mean(np.sum((p - np.eye(p.shape[1])[classes]) ** 2, axis=1)))


def nll(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Return the mean negative log-likelihood in nats, with the arguments of `brier`."""
    from sklearn.metrics import log_loss

    p = np.asarray(probabilities, np.float64)
    if p.ndim == 1:
        conf, right, weight = _as_two_classes(p, gold)
        return float(log_loss(right, conf, sample_weight=weight, labels=[0, 1]))
    classes = _check_distributions(p, gold)
    return float(log_loss(classes, p, labels=list(range(p.shape[1]))))


def auroc(confidence: ArrayLike, correct: ArrayLike, strata: ArrayLike | None = None) -> float:
    """Return the AUROC of confidence for correctness; NaN if all answers are correct or all are wrong.

    Ties count one half; confidences that agree to 12 digits are ties.

    Args:
        confidence: Confidence of each answer, `[N]`.
        correct: Correctness of each answer, `[N]`, fractions at ties.
        strata: Compare answers within one stratum only, `[N]`, such as questions with the same number of options: a
            uniform guess is more confident and more often correct with fewer options, so its pooled AUROC is above 0.5.
    """
    if strata is not None:
        conf, right = fractions(confidence=confidence, correct=correct)
        codes = pd.factorize(np.asarray(strata))[0]
        parts = [(conf[codes == code], right[codes == code]) for code in np.unique(codes)]
        pairs = np.array([y.sum() * (1 - y).sum() for _, y in parts])
        areas = np.array([auroc(*part) for part in parts])
        return float(areas[pairs > 0] @ pairs[pairs > 0] / pairs.sum()) if pairs.any() else float("nan")
    conf, right, weight = _as_two_classes(np.asarray(confidence, np.float64), correct)
    if not (right @ weight and (1 - right) @ weight):
        return float("nan")
    values, rank = np.unique(settled(conf), return_inverse=True)  # sklearn checks its input for 80 times as long
    of_right, of_wrong = (np.bincount(rank, part * weight, len(values)) for part in (right, 1 - right))
    below = np.cumsum(of_wrong) - of_wrong / 2
    return float(of_right @ below / (of_right.sum() * of_wrong.sum()))


def _as_two_classes(confidence: Floats, correct: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Confidences, classes 0/1 and weights: an item with correctness y is y correct and 1 - y wrong items."""
    conf, right = fractions(confidence=confidence, correct=correct)
    weight = np.concatenate([right, 1 - right])
    used = weight > 0
    both = np.concatenate([np.ones(len(conf)), np.zeros(len(conf))])
    return np.clip(np.tile(conf, 2), 0, 1)[used], both[used], weight[used]


def _check_distributions(p: Floats, gold: ArrayLike) -> np.ndarray:
    classes = np.asarray(gold)
    if p.ndim != 2 or not p.size or classes.shape != p.shape[:1]:
        raise InputError(f"Pass probabilities [N, K] and gold [N], not arrays of shapes {p.shape} and {classes.shape}.")
    if not np.isfinite(p).all() or (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 1e-6).any():
        raise InputError("Every row of probabilities must be at least 0 and add up to 1.")
    if not np.isin(classes, np.arange(p.shape[1])).all():
        raise InputError(f"gold must be class numbers from 0 to {p.shape[1] - 1}.")
    return classes.astype(np.int64)


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """A risk-coverage curve and the areas under it."""

    curve: pd.DataFrame = field(repr=False)
    """One row per k: coverage k/n, risk with its 95% Wilson interval (low, high), and the k-th highest confidence."""
    n: int
    """Number of items."""
    aurc: float
    """Area under the risk-coverage curve: mean risk over k."""
    e_aurc: float
    """AURC minus that of the best order of the same errors."""
    auarc: float
    """Area under the accuracy-rejection curve: 1 - AURC."""
    augrc: float
    """Area under the generalised risk curve: mean over k of the errors among the k most confident items / n."""


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverage:
    """Return the risk-coverage curve of answers ranked by confidence; arguments as for `calibration_report`."""
    conf, right = fractions(confidence=confidence, correct=correct)
    ranked, errors = _ranked_errors(conf, right)
    n, k = len(conf), np.arange(1, len(conf) + 1)
    risk = errors / k
    best = np.cumsum(np.sort(1 - right)) / k
    low, high = wilson(errors, k)
    curve = pd.DataFrame({"coverage": k / n, "risk": risk, "low": low, "high": high, "confidence": ranked})
    aurc = float(risk.mean())
    return RiskCoverage(curve, n, aurc, aurc - float(best.mean()), 1 - aurc, float(errors.mean() / n))


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Return the area under the risk-coverage curve alone, for resampling."""
    conf, right = fractions(confidence=confidence, correct=correct)
    return float((_ranked_errors(conf, right)[1] / np.arange(1, len(conf) + 1)).mean())


def selective_accuracy(confidence: ArrayLike, correct: ArrayLike, coverage: float) -> float:
    """Return the accuracy of the most confident items, a proportion `coverage` of all, rounded up to a whole item."""
    conf, right = fractions(confidence=confidence, correct=correct)
    k = max(1, int(np.ceil(float(threshold("coverage", coverage)) * len(conf) - 1e-9)))
    return float(1 - _ranked_errors(conf, right)[1][k - 1] / k)


def coverage_at_risk(confidence: ArrayLike, correct: ArrayLike, risk: float) -> float:
    """Return the largest proportion of items, most confident first, with an error rate of at most `risk`."""
    conf, right = fractions(confidence=confidence, correct=correct)
    bound = float(threshold("risk", risk))
    k = np.arange(1, len(conf) + 1)
    allowed = k[_ranked_errors(conf, right)[1] / k <= bound + 1e-12]
    return float(allowed.max() / len(conf)) if len(allowed) else 0.0


def tied_means(confidence: Floats, values: Floats) -> Floats:
    """Return each value replaced by the mean over items of equal confidence: its expectation in a random order."""
    block = np.unique(settled(confidence), return_inverse=True)[1]
    return (np.bincount(block, values) / np.bincount(block))[block]


def _ranked_errors(confidence: Floats, correct: Floats) -> tuple[Floats, Floats]:
    """The confidences in descending order, and the expected number of errors among the first k, `[N]` each."""
    order = np.argsort(-settled(confidence), kind="stable")
    return confidence[order], np.cumsum(tied_means(confidence, 1 - correct)[order])


def recalibrate(
    confidence: ArrayLike,
    correct: ArrayLike,
    calibration: ArrayLike,
    method: Recalibration = "temperature",
) -> Floats:
    """Return recalibrated confidences of the held-out items.

    Temperature scaling divides the log-odds by a number; Platt scaling also shifts them; isotonic regression fits a
    non-decreasing step function.

    Args:
        confidence: Confidence of each answer, `[N]`.
        correct: Correctness of each answer, `[N]`.
        calibration: Mask of the items to fit on, `[N]`; the others are held-out.
        method: The family of functions.

    Returns:
        `[held-out items]`, in order.

    Raises:
        InputError: There are no held-out items, or the items to fit on are all correct or all wrong.
    """
    if method not in METHODS:
        raise unknown("recalibration method", method, list(METHODS))
    conf, right = fractions(confidence=confidence, correct=correct)
    fit = mask("calibration", calibration, len(conf))
    if fit.all() or not 0 < right[fit].sum() < fit.sum():
        raise InputError("Recalibration needs correct and wrong items to fit on, and held-out items; change the split.")
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(conf[fit], right[fit])
        return np.asarray(steps.predict(conf[~fit]), np.float64)
    odds = _log_odds(conf)
    slope, shift = (_temperature if method == "temperature" else _platt)(odds[fit], right[fit])
    return 1 / (1 + np.exp(-(slope * odds[~fit] + shift)))


def _log_odds(confidence: Floats) -> Floats:
    inside = np.clip(confidence, 1e-12, 1 - 1e-12)
    return np.log(inside) - np.log1p(-inside)


def _temperature(odds: Floats, right: Floats) -> tuple[float, float]:
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = odds / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - right * scaled))

    best = minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6}).x
    return float(np.exp(-best)), 0.0


def _platt(odds: Floats, right: Floats) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    both = np.concatenate([np.ones(len(odds)), np.zeros(len(odds))])
    fitted = LogisticRegression(C=np.inf).fit(
        np.tile(odds, 2)[:, None], both, sample_weight=np.concatenate([right, 1 - right])
    )
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
