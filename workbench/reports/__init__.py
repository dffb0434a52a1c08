"""What people read: one self-contained page a run, a gallery of all, and comparisons; they open from disk."""

from workbench.reports.comparing import Comparison, compare
from workbench.reports.gallery import write_gallery
from workbench.reports.html import write_report

__all__ = ["Comparison", "compare", "write_gallery", "write_report"]
