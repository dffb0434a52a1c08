"""Conformal selection whose score is chosen or trained on the items that calibrate it (Bai & Jin 2024, 2411.17983).

Choosing the best score on calibration answers and then testing with the same answers breaks the guarantee. It is kept
if the choice for test answer j sees j as one more checked answer, a wrong one: if j is wrong, swapping it with a
calibration answer changes nothing. Each answer has a choice of its own, so the p-values no longer share a calibration;
they become e-values, whose Benjamini-Hochberg procedure asks for no independence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError
from workbench.metrics.checks import Bools, Floats, mask, threshold
from workbench.metrics.conformal import SLACK, conformal_p_values, too_few

Ints = NDArray[np.int64]
BLOCK = 4_000_000
"""Most pairs of test answers held at once."""


def optimised_select(
    calibration: ArrayLike, correct: ArrayLike, test: ArrayLike, q: float, seed: int | None = None
) -> pd.DataFrame:
    """Which test answers to release under the best of several scores, no item being kept apart to choose it.

    For each test answer the score is taken under which most test answers would be released.

    Args:
        calibration: Scores of the calibration answers, higher for better ones, `[n, scores]`.
        correct: Whether those answers are right, `[n]`.
        test: Scores of the test answers, `[M, scores]`.
        q: Bound on the false discovery rate.
        seed: A seed divides all e-values by one uniform number, which releases more at the same bound (homogeneous
            pruning); None does not (deterministic pruning).

    Returns:
        One row per test answer: `p`, `chosen` (number of the score), `size` (answers that would be released with it),
        `e`, `selected`. `attrs["note"]` says so where nothing could be selected whatever the scores.
    """
    known, new = _tables(calibration, test)
    right, level = mask("correct", correct, len(known)), float(threshold("q", q))
    wrong = known[~right]
    columns = range(known.shape[1])
    sizes = np.stack([_sizes_of_column(wrong[:, k], new[:, k], len(known), level) for k in columns], axis=1)
    p = np.stack([conformal_p_values(known[:, k], right, new[:, k]) for k in columns], axis=1)
    return _released(p, sizes, len(known), level, seed)


def trained_select(
    calibration: ArrayLike,
    correct: ArrayLike,
    test: ArrayLike,
    q: float,
    penalties: Sequence[float] = (1.0,),
    seed: int | None = None,
) -> pd.DataFrame:
    """Which test answers to release under a ridge regression trained on all checked answers, none being kept apart.

    The score of a checked answer comes from the other checked answers (leave one out). With several penalties the best
    is chosen as in `optimised_select`.

    Args:
        calibration: Features of the calibration answers, `[n, D]`; standardised here over all answers.
        correct: Whether those answers are right, `[n]`.
        test: Features of the test answers, `[M, D]`.
        q: Bound on the false discovery rate.
        penalties: Ridge penalties to choose from, above 0.
        seed: See `optimised_select`.

    Returns:
        As `optimised_select`; `chosen` numbers the penalties.
    """
    known, new = _tables(calibration, test)
    right, level = mask("correct", correct, len(known)), float(threshold("q", q))
    if not len(penalties) or any(not penalty > 0 for penalty in penalties):
        raise InputError(f"penalties must hold numbers above 0, not {list(penalties)!r}.")
    p, sizes = np.empty((len(new), len(penalties))), np.empty((len(new), len(penalties)), np.int64)
    for k, penalty in enumerate(penalties):
        own, at, others = leave_one_out(known, right, new, penalty)
        p[:, k] = (1 + (own[:, ~right] >= at[:, None] - SLACK).sum(axis=1)) / (len(known) + 1)
        for j in range(len(new)):
            wrong = np.sort(np.append(own[j, ~right], at[j]))
            counts = len(wrong) - np.searchsorted(wrong, others[j] - SLACK, side="left")
            counts[j] = 0
            sizes[j, k] = _rejections(counts[None], len(known), level)[0]
    return _released(p, sizes, len(known), level, seed)


def leave_one_out(known: Floats, right: Bools, new: Floats, penalty: float) -> tuple[Floats, Floats, Floats]:
    """Ridge scores where each new answer in turn joins the checked ones as a wrong one.

    By the Sherman-Morrison formula no regression is fitted twice.

    Args:
        known: `[n, D]`.
        right: `[n]`.
        new: `[M, D]`.
        penalty: On the squared weights; the intercept has none.

    Returns:
        For each new answer j: scores of the checked answers, each from the others and j, `[M, n]`; the score of j from
        the checked ones, `[M]`; scores of the new answers from the checked ones and j, `[M, M]`.
    """
    rows = np.vstack([known, new])
    spread = rows.std(axis=0)
    x = np.column_stack([(rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.ones(len(rows))])
    n, y = len(known), right.astype(np.float64)
    ridge = penalty * np.eye(x.shape[1])
    ridge[-1, -1] = 0.0
    inverse = np.linalg.inv(x[:n].T @ x[:n] + ridge)
    leverage = x @ inverse @ x.T
    fit = x @ inverse @ x[:n].T @ y
    across = leverage[n:]
    own = leverage.diagonal()[n:, None]
    moved = fit - across * fit[n:, None] / (1 + own)
    pull = leverage.diagonal()[:n] - across[:, :n] ** 2 / (1 + own)
    return moved[:, :n] - pull / (1 - pull) * (y - moved[:, :n]), fit[n:], moved[:, n:]


def _sizes_of_column(wrong: Floats, new: Floats, n: int, q: float) -> Ints:
    """How many test answers would be released if test answer j were one more wrong calibration answer, `[M]`."""
    above = len(wrong) - np.searchsorted(np.sort(wrong), new - SLACK, side="left")
    found = []
    for part in np.array_split(np.arange(len(new)), max(1, len(new) ** 2 // BLOCK)):
        counts = above[None, :] + (new[part, None] >= new[None, :] - SLACK)
        counts[np.arange(len(part)), part] = 0
        found.append(_rejections(counts, n, q))
    return np.concatenate(found)


def _rejections(counts: Ints, n: int, q: float) -> Ints:
    """Benjamini-Hochberg rejections among the p-values counts / (n + 1), `[rows]` for counts `[rows, M]`."""
    m = counts.shape[1]
    below = np.sort(counts, axis=1) / (n + 1) <= q * np.arange(1, m + 1) / m + SLACK
    sizes: Ints = (below * np.arange(1, m + 1)).max(axis=1)
    return sizes


def _released(p: Floats, sizes: Ints, n: int, q: float, seed: int | None) -> pd.DataFrame:
    """The e-values of the best choices, and what their Benjamini-Hochberg procedure releases."""
    chosen, rows = sizes.argmax(axis=1), np.arange(len(p))
    p_chosen, size = p[rows, chosen], sizes[rows, chosen]
    bar = q * size / len(p)
    e = np.divide(p_chosen <= bar + SLACK, bar, out=np.zeros(len(p)), where=bar > 0)
    worth = e if seed is None else e / np.random.default_rng(seed).uniform()
    falling = np.sort(worth)[::-1] * q * np.arange(1, len(p) + 1) >= len(p) * (1 - SLACK)
    released = int(falling.nonzero()[0].max()) + 1 if falling.any() else 0
    least = np.sort(worth)[::-1][released - 1] if released else np.inf
    table = pd.DataFrame({"p": p_chosen, "chosen": chosen, "size": size, "e": e, "selected": worth >= least})
    if note := too_few(n, len(p), q):
        table.attrs["note"] = note
    return table


def _tables(calibration: ArrayLike, test: ArrayLike) -> tuple[Floats, Floats]:
    """Both tables as finite floats with the same columns."""
    known, new = np.asarray(calibration, np.float64), np.asarray(test, np.float64)
    for name, table in (("calibration", known), ("test", new)):
        if table.ndim != 2 or not table.size or not np.isfinite(table).all():
            raise InputError(f"{name} must be a table [answers, columns] of finite numbers that is not empty.")
    if known.shape[1] != new.shape[1]:
        raise InputError(f"calibration has {known.shape[1]} columns and test {new.shape[1]}; give both the same.")
    return known, new
