"""Where questions come from: sources by name, packaged or on the hub, and files a user writes."""

from workbench.datasets.catalogue import labels, load_questions
from workbench.datasets.sources import names

__all__ = ["labels", "load_questions", "names"]
