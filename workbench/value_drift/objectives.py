"""Objectives of training and rules of decoding as formulas, for methods that no notebook uses yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_expit, log_softmax, softmax

from workbench.errors import InputError, unknown
from workbench.statistics.distances import Floats


def d2o_loss(
    anchors: ArrayLike, anchor_refs: ArrayLike, rejected: float, rejected_ref: float, beta: float, alpha: float
) -> float:
    """Return the loss of D2O (arXiv 2403.03419): self-sampled anchors against one human-labelled negative."""
    gain = float((np.asarray(anchors, np.float64) - np.asarray(anchor_refs, np.float64)).mean())
    return -float(log_expit(beta * gain - alpha * (rejected - rejected_ref)))


def align_distil(
    dpo: ArrayLike, reverse: ArrayLike, student: ArrayLike, beta2: float = 1.5, beta: float = 0.1
) -> dict[str, float | Floats]:
    """Return AlignDistil's weight, teacher probabilities and loss of one token, from logits (arXiv 2503.02832)."""
    z, r = np.asarray(dpo, np.float64), np.asarray(reverse, np.float64)
    l1 = float(np.abs(softmax(z) - softmax(r)).sum())
    weight = beta2 * l1 + 1e-3
    teacher, policy = log_softmax(z + weight * (z - r)), log_softmax(np.asarray(student, np.float64))
    kl = float((np.exp(policy) * (policy - teacher)).sum())
    return {"l1": l1, "weight": weight, "teacher": np.exp(teacher), "loss": beta / weight * kl}


def f_dpg_gradient(logits: ArrayLike, target: ArrayLike, divergence: str) -> Floats:
    """Return the gradient in the logits of an f-divergence from a target distribution (arXiv 2302.08215), `[V]`."""
    slopes: dict[str, Callable[[Floats], Floats]] = {
        "kl_target_policy": lambda t: -1 / t,
        "kl_policy_target": lambda t: np.log(t) + 1,
        "js": lambda t: np.log(2 * t / (1 + t)),
        "tv": lambda t: np.sign(t - 1) / 2,
    }
    if divergence not in slopes:
        raise unknown("divergence", divergence, list(slopes))
    pi = softmax(np.asarray(logits, np.float64))
    slope = slopes[divergence](pi / np.asarray(target, np.float64))
    return np.asarray(pi * (slope - pi @ slope), np.float64)


def min_norm_weights(gradients: ArrayLike) -> Floats:
    """Return simplex weights that minimise the norm of the weighted gradients `[sets, parameters]` (2312.07401)."""
    from scipy.optimize import minimize

    g = np.asarray(gradients, np.float64)
    if g.ndim != 2 or not len(g) or not np.isfinite(g).all():
        raise InputError("min_norm_weights needs finite gradients [sets, parameters].")
    if len(g) == 2:
        difference = g[0] - g[1]
        length = difference @ difference
        first = 0.5 if length == 0 else float(np.clip(-(g[1] @ difference) / length, 0, 1))
        return np.array([first, 1 - first])
    gram = g @ g.T
    solution = minimize(
        lambda w: w @ gram @ w,
        np.full(len(g), 1 / len(g)),
        jac=lambda w: 2 * gram @ w,
        bounds=[(0, 1)] * len(g),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return np.asarray(solution.x, np.float64)


def best_of_n(rewards: Sequence[float]) -> tuple[int, bool]:
    """Return the index of the best response (the first of ties), and whether all rewards are equal."""
    r = np.asarray(rewards, np.float64)
    if not r.size or not np.isfinite(r).all():
        raise InputError("best_of_n needs at least one reward, all finite.")
    return int(r.argmax()), bool(np.ptp(r) == 0)


def best_of_n_gain(n: int, sigma: float = 1.0) -> dict[str, float]:
    """Return the expected gain of the best of n normal rewards, its bound sigma sqrt(ln n / (pi ln 2)), and the KL."""
    from scipy.integrate import quad
    from scipy.stats import norm

    if n < 1:
        raise InputError(f"best_of_n_gain needs n of at least 1, not {n}.")
    exact = quad(lambda x: x * n * norm.pdf(x) * norm.cdf(x) ** (n - 1), -12, 12)[0]
    bound = sigma * np.sqrt(np.log(n) / (np.pi * np.log(2)))
    return {"exact": sigma * exact, "bound": float(bound), "kl": float(np.log(n) - (n - 1) / n)}


def n_to_recover(loss: float, sigma: float = 1.0) -> float:
    """Return the number of samples whose bound of the gain equals a loss of reward (arXiv 2506.04462)."""
    return float(np.exp((loss / sigma) ** 2 * np.pi * np.log(2)))


def green_list_z(n_green: int, n: int, fraction: float) -> float:
    """Return the detection score of a green-list watermark: z of `n_green` green tokens among n."""
    if n < 1 or not 0 < fraction < 1:
        raise InputError(f"green_list_z needs at least one token and 0 < fraction < 1, not n={n}, fraction={fraction}.")
    return float((n_green - fraction * n) / np.sqrt(n * fraction * (1 - fraction)))


def green_list_probabilities(logits: ArrayLike, green: Sequence[int], delta: float) -> Floats:
    """Return next-token probabilities `[V]` after a watermark adds delta to the logits of its green tokens."""
    z = np.array(logits, np.float64)
    z[list(green)] += delta
    return np.asarray(softmax(z), np.float64)


def resampling_acceptance(
    reward: float, proposed: float, length: int, proposed_length: int, beta: float = 1.0
) -> float:
    """Return the probability that QAlign's chain moves to a resampled response (arXiv 2504.03790)."""
    return float(min(1.0, np.exp((proposed - reward) / beta) * length / proposed_length))


def drift_logits(model: ArrayLike, base: ArrayLike, attributes: ArrayLike, weights: ArrayLike, beta: float) -> Floats:
    """Return the logits of Drift (arXiv 2502.14289): model + sum_i p_i (attribute_i - base) / beta, `[V]`.

    DRIFT (arXiv 2510.02341) is another method.

    Args:
        model: Logits of the model that answers, `[V]`.
        base: Logits of the model under its plain prompt, `[V]`.
        attributes: Logits under the prompt of each attribute, `[attributes, V]`.
        weights: p_i of each attribute, `[attributes]`.
        beta: KL strength; smaller values move the logits further.
    """
    h, b, a = (np.asarray(x, np.float64) for x in (model, base, attributes))
    return np.asarray(h + np.asarray(weights, np.float64) @ (a - b) / beta, np.float64)
