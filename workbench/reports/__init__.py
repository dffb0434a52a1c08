"""Reports: one self-contained page per run, a gallery of all runs, and comparisons; all open from disk."""

from workbench.reports.comparing import Comparison as Comparison
from workbench.reports.comparing import compare as compare
from workbench.reports.gallery import write_gallery as write_gallery
from workbench.reports.html import write_report as write_report
