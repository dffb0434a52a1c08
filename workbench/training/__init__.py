"""Training as data: TRL trainers configured from a table, the checkpoints they leave, and what is read of them."""

from workbench.training.algorithms import ALGORITHMS, Algorithm, make_trainer, rows_for, valid_parameters
from workbench.training.probes import (
    ches_scores,
    generated_stances,
    gradients,
    judged_gaps,
    judged_stances,
    next_token,
    response_states,
    response_tokens,
)
from workbench.training.rewards import brevity, combined_reward, reward_function, reward_scores
from workbench.training.series import Checkpoint, CheckpointSeries, train

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Checkpoint",
    "CheckpointSeries",
    "brevity",
    "ches_scores",
    "combined_reward",
    "generated_stances",
    "gradients",
    "judged_gaps",
    "judged_stances",
    "make_trainer",
    "next_token",
    "response_states",
    "response_tokens",
    "reward_function",
    "reward_scores",
    "rows_for",
    "train",
    "valid_parameters",
]
