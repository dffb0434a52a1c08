"""Training as data: TRL trainers configured from a table, the checkpoints they leave, and what is read of them."""

from workbench.training.algorithms import (
    ALGORITHMS,
    Algorithm,
    algorithm_named,
    checked_rows,
    policy_algorithm,
    rows_for,
    valid_parameters,
)
from workbench.training.exchanges import as_prompt
from workbench.training.judged import JudgeTrial, generated_stances, judge_trial, judged_gaps, judged_stances
from workbench.training.probes import ches_scores, fitting_rows, gradients, next_token, response_states, response_tokens
from workbench.training.rewards import brevity, combined_reward, reward_function, reward_scores
from workbench.training.series import Checkpoint, CheckpointSeries, train
from workbench.training.trainers import make_trainer

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Checkpoint",
    "CheckpointSeries",
    "JudgeTrial",
    "algorithm_named",
    "as_prompt",
    "brevity",
    "checked_rows",
    "ches_scores",
    "combined_reward",
    "fitting_rows",
    "generated_stances",
    "gradients",
    "judge_trial",
    "judged_gaps",
    "judged_stances",
    "make_trainer",
    "next_token",
    "policy_algorithm",
    "response_states",
    "response_tokens",
    "reward_function",
    "reward_scores",
    "rows_for",
    "train",
    "valid_parameters",
]
