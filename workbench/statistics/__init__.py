"""Intervals, paired comparisons and verdicts, over scipy and statsmodels."""

from workbench.statistics.comparisons import adjusted, mcnemar_p, paired, sign_flip_p
from workbench.statistics.findings import Finding, estimate, finding, findings_table, units, unless, verdict, versus
from workbench.statistics.intervals import clusters, interval, summarise, wilson
from workbench.statistics.resampling import bootstrap, generator, jackknife

__all__ = [
    "Finding",
    "adjusted",
    "bootstrap",
    "clusters",
    "estimate",
    "finding",
    "findings_table",
    "generator",
    "interval",
    "jackknife",
    "mcnemar_p",
    "paired",
    "sign_flip_p",
    "summarise",
    "units",
    "unless",
    "verdict",
    "versus",
    "wilson",
]
