"""Sources of questions: registered benchmarks, packaged or on the hub, and users' files."""

from workbench.datasets.benchmarks import labels, load_questions
from workbench.datasets.sources import names

__all__ = ["labels", "load_questions", "names"]
