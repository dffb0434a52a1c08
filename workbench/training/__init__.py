"""TRL trainers configured from a table of algorithms, and the series of checkpoints they save."""

from workbench.training.algorithms import ALGORITHMS as ALGORITHMS
from workbench.training.algorithms import constant_rate as constant_rate
from workbench.training.algorithms import policy_algorithm as policy_algorithm
from workbench.training.rows import as_prompt as as_prompt
from workbench.training.rows import rows_for as rows_for
from workbench.training.series import CheckpointSeries as CheckpointSeries
from workbench.training.series import train as train
