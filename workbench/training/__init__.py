"""TRL trainers configured from a table of algorithms, and the series of checkpoints they save."""

from workbench.training.algorithms import ALGORITHMS as ALGORITHMS
from workbench.training.algorithms import Algorithm as Algorithm
from workbench.training.algorithms import algorithm_named as algorithm_named
from workbench.training.algorithms import constant_rate as constant_rate
from workbench.training.algorithms import policy_algorithm as policy_algorithm
from workbench.training.algorithms import valid_parameters as valid_parameters
from workbench.training.rows import as_prompt as as_prompt
from workbench.training.rows import checked_rows as checked_rows
from workbench.training.rows import rows_for as rows_for
from workbench.training.series import Checkpoint as Checkpoint
from workbench.training.series import CheckpointSeries as CheckpointSeries
from workbench.training.series import train as train
from workbench.training.trainers import make_trainer as make_trainer
