"""Releasing answers of a table: parts that are kept apart, and what random splits say of the promise (2411.17983)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.errors import InputError, unknown
from workbench.metrics.checks import Bools, Floats, mask
from workbench.metrics.conformal import conformal_select
from workbench.metrics.optimised_selection import optimised_select, trained_select

PARTS = ("tune", "calibrate", "test")
Choice = Literal["split", "optimised", "trained"]


def split_parts(n: int, shares: Sequence[float] = (0.2, 0.4, 0.4), seed: int = 0) -> NDArray[np.str_]:
    """A random part for each of n items: `tune` chooses the score, `calibrate` calibrates it, `test` is answered."""
    weights = np.asarray(shares, np.float64)
    if weights.shape != (3,) or (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise InputError(f"shares must be three numbers that add up to 1 (tune, calibrate, test), not {shares!r}.")
    edges = np.round(np.cumsum(weights) * n).astype(int)
    part = np.searchsorted(edges, np.arange(n), side="right")
    return np.array(PARTS)[np.random.default_rng(seed).permutation(part)]


def best_score(scores: Floats, right: Bools) -> int:
    """Which of the scores `[items, scores]` separates right from wrong best (AUROC); the first at ties."""
    from scipy.stats import rankdata

    if not np.isfinite(scores).all():
        raise InputError("A score of a tuning answer is missing or infinite; leave its column or its item out.")
    return int(rankdata(scores, axis=0)[right].sum(axis=0).argmax()) if len(scores) else 0


def release(
    table: pd.DataFrame,
    q: float,
    scores: str | Sequence[str],
    how: Choice = "split",
    correct: str = "correct",
    part: str = "part",
    item: str = "question_id",
) -> pd.DataFrame:
    """The test answers of a table with those released marked.

    Args:
        table: One row per answer.
        q: Bound on the false discovery rate.
        scores: Columns to choose from.
        how: `split` chooses the score on the tuning part alone, which one column does not need; `optimised` chooses it
            on all checked answers, and `trained` makes a score of the columns by ridge regression on all of them.
        correct: Column that says whether an answer is right (of tuning and calibration items).
        part: Column that holds `tune`, `calibrate` or `test`.
        item: Column that names the item.

    Returns:
        The test rows with `chosen`, `p`, `selected` and what `conformal_select` or `optimised_select` says besides;
        `attrs` holds perhaps a `note`.

    Raises:
        InputError: An item stands in two parts (a calibration item used for tuning breaks the guarantee), a part is
            empty or unknown.
    """
    names = [scores] if isinstance(scores, str) else list(scores)
    if how not in get_args(Choice):
        raise unknown("way to choose a score", how, list(get_args(Choice)))
    _check_parts(table, part, item)
    parts = table[part].to_numpy()
    if not {"calibrate", "test"} <= set(parts) or (how == "split" and len(names) > 1 and "tune" not in parts):
        raise InputError("Selection needs calibration and test items, and tuning items to choose among scores.")
    known = parts != "test"
    right = np.zeros(len(table), bool)
    right[known] = mask(correct, table.loc[known, correct], int(known.sum()))
    found = _found(table[names].to_numpy(np.float64), right, parts, q, how)
    found["chosen"] = "ridge regression" if how == "trained" else np.array(names)[found["chosen"]]
    result = table[~known].assign(**{str(name): found[name].to_numpy() for name in found})
    result.attrs = dict(found.attrs)
    return result


def release_repeatedly(
    table: pd.DataFrame,
    q: float,
    scores: str | Sequence[str],
    how: Choice = "split",
    correct: str = "correct",
    item: str = "question_id",
    shares: Sequence[float] = (0.2, 0.4, 0.4),
    splits: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """`release` over random splits, one row each.

    Returns:
        `split`, `chosen` (most often), `n_test`, `n_released`, `false_share` (wrong among the released; 0 where none
        is, as the false discovery rate counts it), `power` (released among the right; NaN where none is right).
    """
    names = [scores] if isinstance(scores, str) else list(scores)
    right, values = mask(correct, table[correct], len(table)), table[names].to_numpy(np.float64)
    if table[item].duplicated().any():
        raise InputError(f"Item {table.loc[table[item].duplicated(), item].iloc[0]!r} stands twice; give each once.")
    rows = []
    for split in range(splits):
        parts = split_parts(len(table), shares, seed + split)
        found, truth = _found(values, right, parts, q, how), right[parts == "test"]
        given = found["selected"].to_numpy()
        rows.append(
            {
                "split": split,
                "chosen": "ridge regression" if how == "trained" else names[int(found["chosen"].mode()[0])],
                "n_test": len(found),
                "n_released": int(given.sum()),
                "false_share": float((given & ~truth).sum() / given.sum()) if given.any() else 0.0,
                "power": float(given[truth].mean()) if truth.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _found(values: Floats, right: Bools, parts: NDArray[np.str_], q: float, how: Choice) -> pd.DataFrame:
    """What the selection says of the test items; `chosen` is the number of the score."""
    test, known = parts == "test", parts != "test"
    if how == "optimised":
        return optimised_select(values[known], right[known], values[test], q)
    if how == "trained":
        return trained_select(values[known], right[known], values[test], q)
    tune, calibrate = parts == "tune", parts == "calibrate"
    k = best_score(values[tune], right[tune]) if values.shape[1] > 1 else 0
    return conformal_select(values[calibrate, k], right[calibrate], values[test, k], q).assign(chosen=k)


def _check_parts(table: pd.DataFrame, part: str, item: str) -> None:
    """Refuse unknown parts, and items that serve twice."""
    if strange := sorted(set(table[part]) - set(PARTS)):
        raise InputError(f"Column {part!r} holds {strange[0]!r}; it may hold {', '.join(PARTS)}.")
    parts_of = table.groupby(item)[part].nunique()
    if (parts_of > 1).any():
        raise InputError(
            f"Item {parts_of.index[parts_of > 1][0]!r} stands in more than one part; calibration items must not be "
            "used for tuning or testing."
        )
