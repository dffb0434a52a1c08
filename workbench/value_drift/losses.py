"""Losses of preference training as formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_expit, log_softmax, softmax

from workbench.errors import unknown
from workbench.statistics.distances import Floats


def d2o_loss(
    anchors: ArrayLike, anchor_refs: ArrayLike, rejected: float, rejected_ref: float, beta: float, alpha: float
) -> float:
    """D2O (arXiv 2403.03419): self-sampled anchors against one human-labelled negative."""
    kept = np.asarray(anchors, np.float64) - np.asarray(anchor_refs, np.float64)
    return -float(log_expit(beta * float(kept.mean()) - alpha * (rejected - rejected_ref)))


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
