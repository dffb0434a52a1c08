"""Resampling until a verifier accepts: how many attempts pay off? (Stroebl, Kapoor & Narayanan 2024, 2411.17501).

A task of type t is solved with rate r_t; the verifier accepts a right answer with probability c (completeness) and
rejects a wrong one with probability s (soundness). An accepted right answer earns 1, an accepted wrong one V <= 0, none
earns 0. Types are weighted by their prior once: weighting accepted answers by the posterior again, as a notebook that
came with the paper does, counts the verifier's evidence twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.metrics.checks import Floats


@dataclass(frozen=True, slots=True)
class Attempts:
    """The number of attempts with the highest expected value."""

    k: int
    """Attempts; 0 where not answering at all is best."""
    value: float
    """Expected value with k attempts."""
    curve: pd.DataFrame = field(repr=False)
    """Columns `k` and `value`, from 0 attempts on."""


def sampled_values(accepted: ArrayLike, right: ArrayLike, cost: float) -> Floats:
    """Expected value of each item for at most 0 ... S attempts, `[items, S + 1]`, over all orders of its S samples.

    In a random order each accepted sample is equally likely the first, so no order needs to be drawn.

    Args:
        accepted: Whether the verifier accepts each sample, `[items, S]`.
        right: Whether each sample is right, `[items, S]`.
        cost: Value of an accepted wrong answer, at most 0.
    """
    _check_cost(cost)
    yes, good = np.asarray(accepted, bool), np.asarray(right, bool)
    if yes.ndim != 2 or not yes.size or yes.shape != good.shape:
        raise InputError("accepted and right must be tables [items, samples] of the same shape.")
    samples = yes.shape[1]
    count = yes.sum(axis=1)
    total = (yes & good).sum(axis=1) + cost * (yes & ~good).sum(axis=1)
    gain = np.divide(total, count, out=np.zeros(len(count)), where=count > 0)
    none_left = np.ones((len(count), samples + 1))
    for k in range(1, samples + 1):
        none_left[:, k] = none_left[:, k - 1] * np.maximum(samples - count - k + 1, 0) / (samples - k + 1)
    return gain[:, None] * (1 - none_left)


def optimal_k_sampled(accepted: ArrayLike, right: ArrayLike, cost: float) -> Attempts:
    """The best number of attempts on sampled answers; see `sampled_values`. Chosen and valued on the same items."""
    curve = sampled_values(accepted, right, cost).mean(axis=0)
    return _best(np.arange(len(curve)), curve)


def _best(k: np.ndarray, value: Floats) -> Attempts:
    """The fewest attempts whose value is the highest within rounding."""
    at = int(np.flatnonzero(value >= value.max() - 1e-12)[0])
    return Attempts(int(k[at]), float(value[at]), pd.DataFrame({"k": k, "value": value}))


def _check_cost(cost: float) -> None:
    if not cost <= 0:
        raise InputError(f"cost must be at most 0, not {cost!r}: it is what an accepted wrong answer earns.")
