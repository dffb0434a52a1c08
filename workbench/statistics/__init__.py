"""Intervals, paired comparisons and verdicts, over scipy and statsmodels."""

from workbench.statistics.comparisons import adjusted, mcnemar_p, paired, sign_flip_p
from workbench.statistics.findings import Finding, estimate, finding, findings_table, verdict, versus
from workbench.statistics.intervals import bootstrap, clusters, interval, summarise, wilson

__all__ = [
    "Finding",
    "adjusted",
    "bootstrap",
    "clusters",
    "estimate",
    "finding",
    "findings_table",
    "interval",
    "mcnemar_p",
    "paired",
    "sign_flip_p",
    "summarise",
    "verdict",
    "versus",
    "wilson",
]
