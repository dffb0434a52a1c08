"""Preference losses on paper, one formula each: what the settings of a trainer must amount to.

Log-ratios are u = ln pi(y|x) - ln ref(y|x), summed over the response.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit


@dataclass(frozen=True)
class Pair:
    """ln pi and ln ref of the preferred and the other response, in nats, and their tokens."""

    chosen: float
    rejected: float
    ref_chosen: float
    ref_rejected: float
    n_chosen: int = 1
    n_rejected: int = 1

    @property
    def ratios(self):
        return self.chosen - self.ref_chosen, self.rejected - self.ref_rejected

    @property
    def delta(self):
        return self.ratios[0] - self.ratios[1]

    @property
    def mean_delta(self):
        return self.ratios[0] / self.n_chosen - self.ratios[1] / self.n_rejected


def _ls(x):
    return -log_expit(x)


LOSSES = {
    "sigmoid": lambda p, b: _ls(b * p.delta),
    "hinge": lambda p, b: max(0.0, 1 - b * p.delta),
    "ipo": lambda p, b: (p.mean_delta - 1 / (2 * b)) ** 2,
    "ipo_sum": lambda p, b: (p.delta - 1 / (2 * b)) ** 2,
    "sigmoid_norm": lambda p, b: _ls(b * p.mean_delta),
    "nca_pair": lambda p, b: _ls(b * p.ratios[0]) + 0.5 * _ls(-b * p.ratios[0]) + 0.5 * _ls(-b * p.ratios[1]),
    "bco_pair": lambda p, b: _ls(b * p.ratios[0]) + _ls(-b * p.ratios[1]),
    "apo_zero": lambda p, b: 1 - expit(b * p.ratios[0]) + expit(b * p.ratios[1]),
    "apo_down": lambda p, b: expit(b * p.ratios[0]) + 1 - expit(b * p.delta),
    "sppo_hard": lambda p, b: (p.ratios[0] - 0.5 / b) ** 2 + (p.ratios[1] + 0.5 / b) ** 2,
    "forward_kl": lambda p, b: _ls(b * (np.exp(-p.ratios[1]) - np.exp(-p.ratios[0]))),
    "js": lambda p, b: _ls(b * (log_expit(p.ratios[0]) - log_expit(p.ratios[1]))),
}
"""As TRL 1.16 has them; `ipo_sum` is the original, `bco_pair` its first step, where the running mean is 0."""


def preference_loss(name, pair, beta=0.1):
    return float(LOSSES[name](pair, beta))


def robust_loss(pair, beta=0.1, smoothing=0.1):
    """DPO made unbiased under labels flipped with probability `smoothing`."""
    return ((1 - smoothing) * _ls(beta * pair.delta) - smoothing * _ls(-beta * pair.delta)) / (1 - 2 * smoothing)


def alpha_loss(pair, beta=0.1, alpha=0.5):
    """DPO with log-ratios put through the alpha divergence."""
    one, two = ((np.exp((alpha - 1) * u) - 1) / (alpha - 1) for u in pair.ratios)
    return _ls(beta * (one - two))


def simpo_loss(pair, beta=2.0, gamma=1.0):
    """SimPO: no reference, log-probabilities divided by length, a margin gamma."""
    return _ls(beta * (pair.chosen / pair.n_chosen - pair.rejected / pair.n_rejected) - gamma)


def dpo_with_sft(pair, beta=0.1, weight=1.0, form="mean"):
    """DPO plus `weight` times the preferred response's negative log-likelihood, a token `mean` or a `sum`."""
    return _ls(beta * pair.delta) - weight * pair.chosen / (pair.n_chosen if form == "mean" else 1)
