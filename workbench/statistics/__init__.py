"""Intervals, paired comparisons and verdicts, over scipy and statsmodels."""

from workbench.statistics.comparisons import adjusted, correlation, icc, mcnemar_p, paired, sign_flip_p
from workbench.statistics.findings import (
    Finding,
    compact,
    estimate,
    finding,
    findings_table,
    rows_by,
    units,
    unless,
    verdict,
    versus,
)
from workbench.statistics.intervals import clusters, interval, summarise, wilson
from workbench.statistics.resampling import bootstrap, generator, jackknife, middle

__all__ = [
    "Finding",
    "adjusted",
    "bootstrap",
    "clusters",
    "compact",
    "correlation",
    "estimate",
    "finding",
    "findings_table",
    "generator",
    "icc",
    "interval",
    "jackknife",
    "mcnemar_p",
    "middle",
    "paired",
    "rows_by",
    "sign_flip_p",
    "summarise",
    "units",
    "unless",
    "verdict",
    "versus",
    "wilson",
]
