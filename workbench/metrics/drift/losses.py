"""Preference losses on paper, one formula each: what the settings of a trainer must amount to.

Log-ratios are u = ln pi(y|x) - ln ref(y|x), summed over the response. Nothing here trains: TRL does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit, log_softmax, softmax

from workbench.errors import InputError, unknown
from workbench.metrics.checks import Floats


@dataclass(frozen=True, slots=True)
class Pair:
    """The numbers of one preference pair, in nats."""

    chosen: float
    """ln pi of the preferred response."""
    rejected: float
    """ln pi of the other."""
    ref_chosen: float
    """ln ref of the preferred response."""
    ref_rejected: float
    """ln ref of the other."""
    n_chosen: int = 1
    """Its tokens."""
    n_rejected: int = 1
    """The other's tokens."""

    @property
    def ratios(self) -> tuple[float, float]:
        """Log-ratios of the preferred and the other response."""
        return self.chosen - self.ref_chosen, self.rejected - self.ref_rejected

    @property
    def delta(self) -> float:
        """Their difference."""
        return self.ratios[0] - self.ratios[1]

    @property
    def mean_delta(self) -> float:
        """Their difference, each divided by its length."""
        return self.ratios[0] / self.n_chosen - self.ratios[1] / self.n_rejected


def _ls(x: float) -> float:
    return float(-log_expit(x))


LOSSES: dict[str, Callable[[Pair, float], float]] = {
    "sigmoid": lambda p, b: _ls(b * p.delta),
    "hinge": lambda p, b: max(0.0, 1 - b * p.delta),
    "ipo": lambda p, b: (p.mean_delta - 1 / (2 * b)) ** 2,
    "ipo_sum": lambda p, b: (p.delta - 1 / (2 * b)) ** 2,
    "sigmoid_norm": lambda p, b: _ls(b * p.mean_delta),
    "nca_pair": lambda p, b: _ls(b * p.ratios[0]) + 0.5 * _ls(-b * p.ratios[0]) + 0.5 * _ls(-b * p.ratios[1]),
    "bco_pair": lambda p, b: _ls(b * p.ratios[0]) + _ls(-b * p.ratios[1]),
    "apo_zero": lambda p, b: 1 - float(expit(b * p.ratios[0])) + float(expit(b * p.ratios[1])),
    "apo_down": lambda p, b: float(expit(b * p.ratios[0])) + 1 - float(expit(b * p.delta)),
    "sppo_hard": lambda p, b: (p.ratios[0] - 0.5 / b) ** 2 + (p.ratios[1] + 0.5 / b) ** 2,
    "forward_kl": lambda p, b: _ls(b * (np.exp(-p.ratios[1]) - np.exp(-p.ratios[0]))),
    "js": lambda p, b: _ls(b * (float(log_expit(p.ratios[0])) - float(log_expit(p.ratios[1])))),
}


def preference_loss(name: str, pair: Pair, beta: float = 0.1) -> float:
    """A loss of `LOSSES` on one pair, as TRL 1.16 has it.

    `ipo_sum` is the original, not divided by lengths; `bco_pair` is its first step, where the running mean is 0.
    """
    if name not in LOSSES:
        raise unknown("preference loss", name, sorted(LOSSES))
    return float(LOSSES[name](pair, beta))


def robust_loss(pair: Pair, beta: float = 0.1, smoothing: float = 0.1) -> float:
    """DPO made unbiased under labels flipped with probability `smoothing`."""
    up, down = _ls(beta * pair.delta), _ls(-beta * pair.delta)
    return ((1 - smoothing) * up - smoothing * down) / (1 - 2 * smoothing)


def alpha_loss(pair: Pair, beta: float = 0.1, alpha: float = 0.5) -> float:
    """DPO with log-ratios put through the alpha divergence."""
    one, two = ((np.exp((alpha - 1) * u) - 1) / (alpha - 1) for u in pair.ratios)
    return _ls(beta * (one - two))


def simpo_loss(pair: Pair, beta: float = 2.0, gamma: float = 1.0) -> float:
    """SimPO: no reference, log-probabilities divided by length, a margin gamma."""
    return _ls(beta * (pair.chosen / pair.n_chosen - pair.rejected / pair.n_rejected) - gamma)


def dpo_with_sft(pair: Pair, beta: float = 0.1, weight: float = 1.0, form: str = "mean") -> float:
    """DPO plus `weight` times the preferred response's negative log-likelihood, a token `mean` or a `sum`."""
    nll = -pair.chosen / (pair.n_chosen if form == "mean" else 1)
    return _ls(beta * pair.delta) + weight * nll


def sft_weight(eta: float, beta: float, mean_tokens: float) -> float:
    """The weight of TRL's `sft` term, a token mean, that imitates RPO's eta * beta * summed log-likelihood."""
    if mean_tokens <= 0:
        raise InputError(f"mean_tokens must be positive, not {mean_tokens!r}.")
    return eta * beta * mean_tokens


def d2o_loss(
    anchors: ArrayLike, anchor_refs: ArrayLike, rejected: float, rejected_ref: float, beta: float, alpha: float
) -> float:
    """D2O (arXiv 2403.03419): self-sampled anchors against one human-labelled negative."""
    kept = np.asarray(anchors, np.float64) - np.asarray(anchor_refs, np.float64)
    return _ls(beta * float(kept.mean()) - alpha * (rejected - rejected_ref))


def align_distil(
    dpo: ArrayLike, reverse: ArrayLike, student: ArrayLike, beta2: float = 1.5, beta: float = 0.1
) -> dict[str, float | Floats]:
    """AlignDistil's teacher for one token (arXiv 2503.02832): weight, teacher probabilities, and the token's loss."""
    z, r = np.asarray(dpo, np.float64), np.asarray(reverse, np.float64)
    l1 = float(np.abs(softmax(z) - softmax(r)).sum())
    weight = beta2 * l1 + 1e-3
    teacher, policy = log_softmax(z + weight * (z - r)), log_softmax(np.asarray(student, np.float64))
    kl = float((np.exp(policy) * (policy - teacher)).sum())
    return {"l1": l1, "weight": weight, "teacher": np.exp(teacher), "loss": beta / weight * kl}


def f_dpg_gradient(logits: ArrayLike, target: ArrayLike, divergence: str) -> Floats:
    """Gradient of an f-divergence from a target distribution with respect to logits (arXiv 2302.08215), `[V]`."""
    slopes: dict[str, Callable[[Floats], Floats]] = {
        "kl_target_policy": lambda t: -1 / t,
        "kl_policy_target": lambda t: np.log(t) + 1,
        "js": lambda t: np.log(2 * t / (1 + t)),
        "tv": lambda t: np.sign(t - 1) / 2,
    }
    if divergence not in slopes:
        raise unknown("divergence", divergence, list(slopes))
    pi, p = softmax(np.asarray(logits, np.float64)), np.asarray(target, np.float64)
    slope = slopes[divergence](pi / p)
    return np.asarray(pi * (slope - pi @ slope), np.float64)


def resampling_acceptance(
    reward: float, proposed: float, length: int, proposed_length: int, beta: float = 1.0
) -> float:
    """Probability that QAlign's chain moves to a resampled answer (arXiv 2504.03790)."""
    return float(min(1.0, np.exp((proposed - reward) / beta) * length / proposed_length))


def drift_logits(model: ArrayLike, base: ArrayLike, attributes: ArrayLike, weights: ArrayLike, beta: float) -> Floats:
    """Logits of Drift (arXiv 2502.14289), decoding under weighted attributes, `[V]`.

    model + sum_i p_i (attribute_i - base) / beta. DRIFT (arXiv 2510.02341) is another method.

    Args:
        model: Logits of the model that answers, `[V]`.
        base: Logits of the model under its plain prompt, `[V]`.
        attributes: Logits under the prompt of each attribute, `[attributes, V]`.
        weights: p_i of each attribute, `[attributes]`.
        beta: Strength of the tie to the model; smaller moves further.
    """
    h, b, a = (np.asarray(x, np.float64) for x in (model, base, attributes))
    return np.asarray(h + np.asarray(weights, np.float64) @ (a - b) / beta, np.float64)
