"""Training as data: TRL trainers configured from a table, the checkpoints they leave, and what is read of them."""

from workbench.training.algorithms import ALGORITHMS, Algorithm, make_trainer, valid_parameters
from workbench.training.probes import (
    ches_scores,
    generated_stances,
    gradients,
    judged_stances,
    next_token,
    response_states,
    response_tokens,
)
from workbench.training.rewards import reward_scores
from workbench.training.series import Checkpoint, CheckpointSeries, train

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Checkpoint",
    "CheckpointSeries",
    "ches_scores",
    "generated_stances",
    "gradients",
    "judged_stances",
    "make_trainer",
    "next_token",
    "response_states",
    "response_tokens",
    "reward_scores",
    "train",
    "valid_parameters",
]
