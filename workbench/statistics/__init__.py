"""Intervals, paired comparisons and verdicts, over scipy and statsmodels."""

from workbench.statistics.comparisons import adjusted as adjusted
from workbench.statistics.comparisons import correlation as correlation
from workbench.statistics.comparisons import icc as icc
from workbench.statistics.comparisons import mcnemar_p as mcnemar_p
from workbench.statistics.comparisons import paired as paired
from workbench.statistics.comparisons import sign_flip_p as sign_flip_p
from workbench.statistics.findings import Finding as Finding
from workbench.statistics.findings import compact as compact
from workbench.statistics.findings import estimate as estimate
from workbench.statistics.findings import finding as finding
from workbench.statistics.findings import findings_table as findings_table
from workbench.statistics.findings import rows_by as rows_by
from workbench.statistics.findings import units as units
from workbench.statistics.findings import unless as unless
from workbench.statistics.findings import verdict as verdict
from workbench.statistics.findings import versus as versus
from workbench.statistics.intervals import clusters as clusters
from workbench.statistics.intervals import interval as interval
from workbench.statistics.intervals import summarise as summarise
from workbench.statistics.intervals import wilson as wilson
from workbench.statistics.resampling import bootstrap as bootstrap
from workbench.statistics.resampling import generator as generator
from workbench.statistics.resampling import jackknife as jackknife
from workbench.statistics.resampling import middle as middle
