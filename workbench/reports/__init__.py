"""What people read: one self-contained page a run, a gallery of all, and comparisons; they open from disk."""

from workbench.reports.comparing import Comparison as Comparison
from workbench.reports.comparing import compare as compare
from workbench.reports.gallery import write_gallery as write_gallery
from workbench.reports.html import write_report as write_report
