"""Sources of questions: registered benchmarks, packaged or on the hub, and users' files."""

from workbench.datasets.benchmarks import labels as labels
from workbench.datasets.benchmarks import load_benchmarks as load_benchmarks
from workbench.datasets.benchmarks import load_questions as load_questions
from workbench.datasets.sources import names as names
