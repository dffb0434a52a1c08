"""Metrics on arrays and on tables of probabilities: pure functions, no torch, no files."""

from workbench.metrics.abstention import abstention_prf, confidence_target_score, keep_abstentions, outcome_rates
from workbench.metrics.bounds import outcome_bounds, probability_bounds
from workbench.metrics.calibration import (
    CalibrationReport,
    adaptive_ece,
    auroc,
    bin_table,
    brier,
    calibration_report,
    ece,
    nll,
    smooth_ece,
)
from workbench.metrics.distributional import (
    confidence_weighted_accuracy,
    dcs_skill,
    distributional_correctness,
    guess_threshold,
    hedging_gradient,
    ternary,
)
from workbench.metrics.recalibration import recalibrate
from workbench.metrics.selective import RiskCoverage, aurc, coverage_at_risk, risk_coverage, selective_accuracy

__all__ = [
    "CalibrationReport",
    "RiskCoverage",
    "abstention_prf",
    "adaptive_ece",
    "aurc",
    "auroc",
    "bin_table",
    "brier",
    "calibration_report",
    "confidence_target_score",
    "confidence_weighted_accuracy",
    "coverage_at_risk",
    "dcs_skill",
    "distributional_correctness",
    "ece",
    "guess_threshold",
    "hedging_gradient",
    "keep_abstentions",
    "nll",
    "outcome_bounds",
    "outcome_rates",
    "probability_bounds",
    "recalibrate",
    "risk_coverage",
    "selective_accuracy",
    "smooth_ece",
    "ternary",
]
