"""The reward side: accuracy of implicit rewards, calibration, combining rewards, best of n, watermark detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit, softmax

from workbench.errors import InputError
from workbench.metrics.checks import Floats, bin_of
from workbench.statistics import interval

Ties = Literal["wrong", "half"]


def margin_accuracy(margins: ArrayLike, ties: Ties = "wrong") -> Floats:
    """Per pair, whether the preferred response has the higher reward (arXiv 2409.03650); a tie is wrong, or half."""
    m = np.asarray(margins, np.float64)
    if not m.size or not np.isfinite(m).all():
        raise InputError("Reward accuracy needs at least one margin, all finite.")
    if ties not in ("wrong", "half"):
        raise InputError(f"ties={ties!r} is not known; use 'wrong' or 'half'.")
    return np.where(m > 0, 1.0, np.where(m == 0, 0.5 if ties == "half" else 0.0, 0.0))


def accuracy_table(rewards: Mapping[tuple[str, str], ArrayLike], ties: Ties = "wrong") -> pd.DataFrame:
    """Reward accuracy with intervals, one row per (reward, set of pairs in or out of distribution).

    Args:
        rewards: Of each, the rewards of the preferred and of the other responses, `[2, pairs]`.
        ties: As `margin_accuracy` takes them.
    """
    rows = []
    for (reward, name), values in rewards.items():
        chosen, rejected = np.asarray(values, np.float64)
        found = interval(margin_accuracy(chosen - rejected, ties), method="wilson")
        rows.append({"reward": reward, "pairs": name, **{k: found[k] for k in ("mean", "low", "high", "n")}})
    return pd.DataFrame(rows)


def reward_ece(q: ArrayLike, labels: ArrayLike, bins: int = 10, both_orders: bool = False) -> float:
    """Calibration error of a reward model (arXiv 2312.07401): sum over bins of |sum q - sum labels| / N.

    Args:
        q: sigmoid of the reward difference, first response minus second, `[pairs]`.
        labels: 1 where the first response is preferred.
        bins: Bins of equal width, closed on the right, so that an edge belongs to the lower bin.
        both_orders: Feed every pair in both orders too.
    """
    p, y = np.asarray(q, np.float64), np.asarray(labels, np.float64)
    if not p.size or p.shape != y.shape or ((p < 0) | (p > 1)).any() or not np.isin(y, (0, 1)).all():
        raise InputError("Reward calibration needs probabilities in [0, 1] and labels 0 or 1, one each per pair.")
    if both_orders:
        p, y = np.concatenate([p, 1 - p]), np.concatenate([y, 1 - y])
    codes = bin_of(p, bins, closed="right")
    gaps = np.bincount(codes, p, bins) - np.bincount(codes, y, bins)
    return float(np.abs(gaps).sum() / len(p))


def log_sigmoid_combination(rewards: ArrayLike, references: ArrayLike) -> Floats:
    """U = ln sigmoid(r - r_ref) per property (arXiv 2402.00742); summed over properties it is the logical and."""
    return np.asarray(log_expit(np.asarray(rewards, np.float64) - np.asarray(references, np.float64)), np.float64)


def min_norm_weights(gradients: ArrayLike) -> Floats:
    """Weights on the simplex that make the weighted sum of gradients `[sets, parameters]` shortest (2312.07401)."""
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
    sums_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start = np.full(len(g), 1 / len(g))
    found = minimize(
        lambda w: w @ gram @ w,
        start,
        jac=lambda w: 2 * gram @ w,
        bounds=[(0, 1)] * len(g),
        constraints=sums_to_one,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return np.asarray(found.x, np.float64)


def best_of_n(rewards: Sequence[float]) -> tuple[int, bool]:
    """Index of the best response (the first at ties), and whether all rewards are the same."""
    r = np.asarray(rewards, np.float64)
    if not r.size or not np.isfinite(r).all():
        raise InputError("Best of n needs at least one finite reward.")
    return int(r.argmax()), bool(np.ptp(r) == 0)


def best_of_n_gain(n: int, sigma: float = 1.0) -> dict[str, float]:
    """Expected gain of the best of n normal rewards, its lower bound sigma sqrt(ln n / (pi ln 2)), and the KL paid."""
    from scipy.integrate import quad
    from scipy.stats import norm

    if n < 1:
        raise InputError(f"Best of n needs n of at least 1, not {n}.")
    exact = quad(lambda x: x * n * norm.pdf(x) * norm.cdf(x) ** (n - 1), -12, 12)[0]
    bound = sigma * np.sqrt(np.log(n) / (np.pi * np.log(2)))
    return {"exact": sigma * exact, "bound": float(bound), "kl": float(np.log(n) - (n - 1) / n)}


def n_to_recover(loss: float, sigma: float = 1.0) -> float:
    """How many samples the bound asks for to win back a loss of reward (arXiv 2506.04462)."""
    return float(np.exp((loss / sigma) ** 2 * np.pi * np.log(2)))


def green_list_z(n_green: int, n: int, fraction: float) -> float:
    """Detection score of a green-list watermark: z of `n_green` green tokens among n."""
    if n < 1 or not 0 < fraction < 1:
        raise InputError(
            "Detecting a watermark needs at least one token and a green fraction strictly between 0 and 1."
        )
    return float((n_green - fraction * n) / np.sqrt(n * fraction * (1 - fraction)))


def green_list_probabilities(logits: ArrayLike, green: Sequence[int], delta: float) -> Floats:
    """Next-token probabilities `[V]` after a watermark adds delta to the logits of its green tokens."""
    z = np.array(logits, np.float64)
    z[list(green)] += delta
    return np.asarray(softmax(z), np.float64)


def preference_probability(chosen: ArrayLike, rejected: ArrayLike) -> Any:
    """Sigmoid of the reward difference: what `reward_ece` judges."""
    return expit(np.asarray(chosen, np.float64) - np.asarray(rejected, np.float64))
