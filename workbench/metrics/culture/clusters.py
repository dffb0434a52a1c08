"""k-means and the adjusted Rand index for thousands of small data sets at once, as a test against noise needs.

A library clusters one data set a call, which costs more than the arithmetic where a set has a few dozen points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.metrics.culture.checks import Floats

Ints = NDArray[np.int64]
STEPS = 100
"""Most steps of Lloyd's algorithm."""
TRIALS = 3
"""Points tried for every further start (greedy k-means++, as scikit-learn's for three clusters)."""


def many_kmeans(points: Floats, k: int, n_init: int = 10, seed: int = 0) -> Ints:
    """Labels `[sets, n]` of the best of several k-means runs (k-means++ starts, then Lloyd's steps) on every set.

    Args:
        points: `[sets, n, d]`.
        k: Clusters, the same for all.
        n_init: Starts per set; the one with the least squared distance within clusters is kept.
        seed: Of the starts.
    """
    sets, n, _ = points.shape
    x = np.repeat(points, n_init, axis=0)
    centres = _spread_starts(x, k, np.random.default_rng(seed))
    labels, moving = np.full(x.shape[:2], -1), np.arange(len(x))
    for _ in range(STEPS):
        new = _distances(x[moving], centres[moving]).argmin(axis=2)
        changed = (new != labels[moving]).any(axis=1)
        moving, new = moving[changed], new[changed]
        if not len(moving):
            break
        labels[moving] = new
        members = _members(new, k)
        size = members.sum(axis=1)[..., None]
        means = members.transpose(0, 2, 1) @ x[moving] / np.maximum(size, 1)
        centres[moving] = np.where(size > 0, means, centres[moving])
    within = _distances(x, centres).min(axis=2).sum(axis=1).reshape(sets, n_init)
    return labels.reshape(sets, n_init, n)[np.arange(sets), within.argmin(axis=1)]


def many_ari(a: Ints, b: Ints) -> Floats:
    """Adjusted Rand index of each row of labels `[sets, n]` with the same row of the other table, `[sets]`."""
    both = _members(a, int(a.max()) + 1).transpose(0, 2, 1) @ _members(b, int(b.max()) + 1)
    pairs = [(c * (c - 1) / 2).sum(axis=-1) for c in (both.reshape(len(a), -1), both.sum(axis=2), both.sum(axis=1))]
    together, one, two = pairs
    by_chance = one * two / (a.shape[1] * (a.shape[1] - 1) / 2)
    room = (one + two) / 2 - by_chance
    return np.where(room > 0, (together - by_chance) / np.where(room > 0, room, 1.0), 1.0)


def _members(labels: Ints, k: int) -> Floats:
    """Whether each point is in each cluster, `[sets, n, k]` of 0 and 1."""
    return (labels[..., None] == np.arange(k)).astype(np.float64)


def _distances(x: Floats, centres: Floats) -> Floats:
    """Squared distance of every point to every centre, `[sets, n, k]`."""
    return ((x[:, :, None, :] - centres[:, None, :, :]) ** 2).sum(axis=3)


def _spread_starts(x: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Starts of each set, `[sets, k, d]`: the best of a few points drawn in proportion to the squared distance left."""
    sets, n, d = x.shape
    chosen, rows = np.empty((sets, k, d)), np.arange(sets)[:, None]
    left = np.ones((sets, n))
    for i in range(k):
        far = np.where(left.sum(axis=1, keepdims=True) > 0, left, 1.0).cumsum(axis=1)
        draws = rng.random((sets, TRIALS if i else 1, 1)) * far[:, None, -1:]
        tried = x[rows, np.minimum((far[:, None, :] <= draws).sum(axis=2), n - 1)]
        after = _distances(x, tried) if i == 0 else np.minimum(_distances(x, tried), left[..., None])
        best = after.sum(axis=1).argmin(axis=1)[:, None]
        chosen[:, i], left = tried[rows, best][:, 0], after[rows, np.arange(n), best]
    return chosen
