"""Training as data: TRL trainers configured from a table, and the checkpoints they leave."""

from workbench.training.algorithms import (
    ALGORITHMS,
    Algorithm,
    algorithm_named,
    checked_rows,
    constant_rate,
    policy_algorithm,
    rows_for,
    valid_parameters,
)
from workbench.training.exchanges import as_prompt
from workbench.training.series import Checkpoint, CheckpointSeries, train
from workbench.training.trainers import make_trainer

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Checkpoint",
    "CheckpointSeries",
    "algorithm_named",
    "as_prompt",
    "checked_rows",
    "constant_rate",
    "make_trainer",
    "policy_algorithm",
    "rows_for",
    "train",
    "valid_parameters",
]
