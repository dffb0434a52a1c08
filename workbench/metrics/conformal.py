"""Answering with guarantees that hold for any model, as long as calibration and test items are exchangeable.

Conformal selection (Jin & Candes 2023) releases answers with a bounded share of wrong ones; batch quantile bounds
(after Lee et al. 2024, 2409.13990) bound a quantile of a whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.metrics.checks import Floats, mask, threshold
from workbench.statistics import adjusted

SLACK = 1e-12
"""Scores closer than this are equal."""


def conformal_p_values(calibration: ArrayLike, correct: ArrayLike, test: ArrayLike) -> Floats:
    """p-values of "this test answer is wrong", `[M]`.

    p_j = (1 + number of wrong calibration answers at least as confident as j) / (n + 1).

    Args:
        calibration: Scores of the calibration answers, higher for better ones, `[n]`.
        correct: Whether those answers are right, `[n]`.
        test: Scores of the test answers, `[M]`.
    """
    scores, new = finite("calibration", calibration), finite("test", test)
    right = mask("correct", correct, len(scores))
    wrong = np.sort(scores[~right])
    above = len(wrong) - np.searchsorted(wrong, new - SLACK, side="left")
    return (1 + above) / (len(scores) + 1)


def conformal_select(calibration: ArrayLike, correct: ArrayLike, test: ArrayLike, q: float) -> pd.DataFrame:
    """Which test answers to release, so that on average at most the share `q` of the released ones is wrong.

    Benjamini-Hochberg on `conformal_p_values`.

    Args:
        calibration: Scores of the calibration answers, `[n]`.
        correct: Whether they are right, `[n]`.
        test: Scores of the test answers, `[M]`.
        q: Bound on the false discovery rate.

    Returns:
        One row per test answer: `p`, `p_adjusted`, `selected`. `attrs["note"]` says so where nothing could be
        selected whatever the scores.
    """
    level = float(threshold("q", q))
    p = conformal_p_values(calibration, correct, test)
    after = adjusted(p, "fdr_bh")
    table = pd.DataFrame({"p": p, "p_adjusted": after, "selected": after <= level + SLACK})
    if note := too_few(np.size(calibration), len(p), level):
        table.attrs["note"] = note
    return table


def too_few(n: int, m: int, q: float) -> str:
    """What n calibration answers cannot do for m test answers at q, whatever the scores; empty if nothing."""
    smallest = 1 / (n + 1)
    if smallest > q + SLACK:
        return f"no p-value can be below {smallest:.3g}, so nothing can be released at q = {q:g}"
    if smallest * m > q + SLACK:
        fewest = int(np.ceil(smallest * m / q - SLACK))
        return f"no p-value can be below {smallest:.3g}: fewer than {fewest} answers are never released"
    return ""


@dataclass(frozen=True, slots=True)
class BatchBound:
    """An upper bound on an order statistic of a batch of new scores."""

    bound: float
    """The bound; infinity where the calibration scores are too few."""
    k: int
    """It is the k-th smallest calibration score; one more than there are for infinity."""
    coverage: float
    """Probability that the bound holds (at least, with ties)."""


def batch_quantile_bound(calibration: ArrayLike, m: int, rank: int, alpha: float = 0.1) -> BatchBound:
    """The least calibration score that bounds the rank-th smallest of m new scores with probability >= 1 - alpha.

    Args:
        calibration: Scores exchangeable with the new ones, `[n]`.
        m: New scores in the batch.
        rank: Which of them, counted from the smallest: m for the worst, (m + 1) // 2 for the median.
        alpha: Probability that the bound may fail.
    """
    scores = np.sort(finite("calibration", calibration))
    _check_batch(m, rank)
    wanted = 1 - float(threshold("alpha", alpha))
    n = len(scores)
    coverage = _batch_coverages(n, m, rank)
    enough = np.flatnonzero(coverage >= wanted - SLACK)
    if not len(enough):
        return BatchBound(float("inf"), n + 1, 1.0)
    k = int(enough[0])
    return BatchBound(float(scores[k]), k + 1, float(coverage[k]))


def _batch_coverages(n: int, m: int, rank: int) -> Floats:
    """P(the rank-th smallest of m new scores <= the k-th smallest of n) for k = 1 ... n."""
    from scipy.stats import nhypergeom

    return np.cumsum(nhypergeom(n + m, n, rank).pmf(np.arange(n)))


def batch_bounds_repeatedly(
    scores: ArrayLike, m: int, rank: int, alpha: float = 0.1, splits: int = 200, seed: int = 0
) -> pd.DataFrame:
    """`batch_quantile_bound` over random splits into one batch of m and the rest: `split`, `bound`, `value`, `held`."""
    values = finite("scores", scores)
    if not 1 <= m < len(values):
        raise InputError(f"m must lie between 1 and {len(values) - 1}, so that calibration scores are left.")
    rng = np.random.default_rng(seed)
    rows = []
    for split in range(splits):
        mixed = rng.permutation(values)
        bound = batch_quantile_bound(mixed[m:], m, rank, alpha).bound
        value = float(np.sort(mixed[:m])[rank - 1])
        rows.append({"split": split, "bound": bound, "value": value, "held": value <= bound + SLACK})
    return pd.DataFrame(rows)


def finite(name: str, values: ArrayLike) -> Floats:
    """The values as `[N]` finite floats."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise InputError(f"{name} must hold at least one finite number per item.")
    return array


def _check_batch(m: int, rank: int) -> None:
    if not 1 <= rank <= m:
        raise InputError(f"rank must lie between 1 and the {m} scores of the batch, not {rank!r}.")
