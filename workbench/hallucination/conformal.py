"""Conformal selection of answers, bounds for batches, and label sets."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, unknown
from workbench.statistics import adjusted
from workbench.statistics.distances import Bools, Floats, Ints, fractions, mask, threshold

TIE = 1e-12
"""Absolute difference below which two scores, or a p-value and its level, are equal."""
BLOCK = 4_000_000
"""Most pairs of test answers in memory at once."""
PARTS = ("tune", "calibrate", "test")
Choice = Literal["split", "optimised", "trained"]


def conformal_p_values(calibration: ArrayLike, correct: ArrayLike, test: ArrayLike) -> Floats:
    """Return p-values of "this test answer is wrong", `[M]`, from scores that are higher for better answers.

    p_j = (1 + number of wrong calibration answers with a score of at least that of j) / (n + 1), with scores and
    correctness of the calibration answers `[n]`, and scores of the test answers `[M]`.
    """
    scores, new = _finite("calibration", calibration), _finite("test", test)
    wrong = np.sort(scores[~mask("correct", correct, len(scores))])
    return (1 + _at_least(wrong, new)) / (len(scores) + 1)


def conformal_select(calibration: ArrayLike, correct: ArrayLike, test: ArrayLike, q: float) -> pd.DataFrame:
    """Select test answers with a false discovery rate of at most `q` (expected proportion of wrong selected answers).

    Benjamini-Hochberg on `conformal_p_values`, whose arguments these are.

    Returns:
        One row per test answer: `p`, `p_adjusted`, `selected`. `attrs["note"]` states what no scores could release.
    """
    level = float(threshold("q", q))
    p = conformal_p_values(calibration, correct, test)
    after = adjusted(p, "fdr_bh")
    table = pd.DataFrame({"p": p, "p_adjusted": after, "selected": after <= level + TIE})
    return _with_note(table, np.size(calibration), level)


def _at_least(ordered: Floats, values: Floats | float) -> Ints:
    """Return how many of the ordered numbers are at least each value."""
    return np.asarray(len(ordered) - np.searchsorted(ordered, values - TIE, side="left"))


def _with_note(table: pd.DataFrame, n: int, q: float) -> pd.DataFrame:
    """Return the table with a note on what n calibration answers cannot release at q under any scores."""
    smallest, m = 1 / (n + 1), len(table)
    if smallest > q + TIE:
        table.attrs["note"] = f"no p-value can be below {smallest:.3g}, so nothing can be released at q = {q:g}"
    elif smallest * m > q + TIE:
        fewest = int(np.ceil(smallest * m / q - TIE))
        table.attrs["note"] = f"no p-value can be below {smallest:.3g}: fewer than {fewest} answers are never released"
    return table


def _finite(name: str, values: ArrayLike) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise InputError(f"{name} must contain at least one finite number per item.")
    return array


@dataclass(frozen=True, slots=True)
class BatchBound:
    """An upper bound on an order statistic of a batch of new scores."""

    bound: float
    """The bound; infinity with too few calibration scores."""
    k: int
    """Rank of the bound among the n calibration scores; n + 1 for infinity."""
    coverage: float
    """Probability that the order statistic is within the bound (at least, with ties)."""


def batch_quantile_bound(calibration: ArrayLike, m: int, rank: int, alpha: float = 0.1) -> BatchBound:
    """Return the least calibration score that bounds an order statistic of m new scores with probability >= 1 - alpha.

    Scores are exchangeable; `rank` in the batch counts from the smallest: m for the worst, (m + 1) // 2 for the median.
    """
    from scipy.stats import nhypergeom

    scores = np.sort(_finite("calibration", calibration))
    if not 1 <= rank <= m:
        raise InputError(f"rank must lie between 1 and the {m} scores of the batch, not {rank!r}.")
    wanted, n = 1 - float(threshold("alpha", alpha)), len(scores)
    coverage = np.cumsum(nhypergeom(n + m, n, rank).pmf(np.arange(n)))  # of the k-th smallest score, k = 1 ... n
    enough = np.flatnonzero(coverage >= wanted - TIE)
    if not len(enough):
        return BatchBound(float("inf"), n + 1, 1.0)
    k = int(enough[0])
    return BatchBound(float(scores[k]), k + 1, float(coverage[k]))


def batch_bounds_repeatedly(
    scores: ArrayLike, m: int, rank: int, alpha: float = 0.1, splits: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Return `batch_quantile_bound` over random splits into a batch of m and calibration scores.

    Returns:
        `split`, `bound`, `value` (the order statistic) and `covered` (whether it is within the bound).
    """
    values = _finite("scores", scores)
    if not 1 <= m < len(values):
        raise InputError(f"m must lie between 1 and {len(values) - 1}, so that calibration scores are left, not {m}.")
    rng = np.random.default_rng(seed)
    rows = []
    for split in range(splits):
        mixed = rng.permutation(values)
        bound = batch_quantile_bound(mixed[m:], m, rank, alpha).bound
        value = float(np.sort(mixed[:m])[rank - 1])
        rows.append({"split": split, "bound": bound, "value": value, "covered": value <= bound + TIE})
    return pd.DataFrame(rows)


@dataclass(frozen=True, slots=True)
class LabelSets:
    """The label sets with p > epsilon, best first."""

    sets: pd.DataFrame = field(repr=False)
    """One row per set: `labels` (tuple of 0 and 1), `nonconformity`, `p`."""
    point: tuple[int, ...]
    """The set with the largest p."""
    credibility: float
    """The largest p."""
    confidence: float
    """1 - the second largest p."""


def label_nonconformity(labels: ArrayLike, probabilities: ArrayLike, d: float = 1.0) -> Floats:
    """Return the sum over labels of |y - o|^d, `[...]`, for labels and probabilities `[..., L]`."""
    y, o = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    return (np.abs(y - o) ** d).sum(axis=-1)


def label_powerset_sets(
    calibration: ArrayLike, probabilities: ArrayLike, epsilon: float = 0.1, d: float = 1.0, limit: int = 100_000
) -> LabelSets:
    """Return the label sets that conform with calibration, best first and without enumerating all 2^L.

    p(Y) = (1 + number of calibration scores >= that of Y) / (n + 1). The true set is among those with p > epsilon with
    probability at least 1 - epsilon. Calibration scores are the `label_nonconformity` of the true sets, `[n]`;
    `probabilities` are those of each label for the new item, `[L]`.

    Raises:
        InputError: More than `limit` sets conform.
    """
    scores = np.sort(_finite("calibration", calibration))
    (o,) = fractions(probabilities=probabilities)
    level = float(threshold("epsilon", epsilon))
    rows: list[tuple[tuple[int, ...], float, float]] = []
    largest: list[float] = []
    for labels, alpha in best_first(o, d):
        p = (1 + int(_at_least(scores, alpha))) / (len(scores) + 1)
        largest.append(p)
        if p > level + TIE:
            rows.append((labels, alpha, p))
        elif len(largest) > 1:
            break
        if len(rows) > limit:
            raise InputError(f"More than {limit} label sets conform at epsilon={level:g}; take a larger one.")
    point = rows[0][0] if rows else tuple((o > 0.5).astype(int).tolist())
    table = pd.DataFrame(rows, columns=["labels", "nonconformity", "p"])
    return LabelSets(table, point, largest[0], 1 - largest[1])


def best_first(o: Floats, d: float) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yield all label sets with their nonconformity in rising order, from the set of every label's likelier value."""
    best = (o > 0.5).astype(int)
    base = float(label_nonconformity(best, o, d))
    extra = np.abs(1 - best - o) ** d - np.abs(best - o) ** d
    order = np.argsort(extra, kind="stable")
    yield tuple(best.tolist()), base
    heap: list[tuple[float, tuple[int, ...]]] = [(float(extra[order[0]]), (0,))]
    while heap:
        cost, flipped = heapq.heappop(heap)
        labels = best.copy()
        labels[order[list(flipped)]] ^= 1
        yield tuple(labels.tolist()), base + cost
        last = flipped[-1]
        if last + 1 < len(o):
            step = float(extra[order[last + 1]])
            heapq.heappush(heap, (cost + step, (*flipped, last + 1)))
            heapq.heappush(heap, (cost + step - float(extra[order[last]]), (*flipped[:-1], last + 1)))


def optimised_select(
    calibration: ArrayLike, correct: ArrayLike, test: ArrayLike, q: float, seed: int | None = None
) -> pd.DataFrame:
    """Select test answers under the best of several scores, without separate items for choosing the score (OptCS).

    Scores are `[n, scores]` for calibration and `[M, scores]` for test answers. Each test answer uses the score under
    which most test answers would be released. A `seed` divides all e-values by one uniform number, which releases more
    at the same bound (homogeneous pruning); None does not (deterministic pruning).

    Returns:
        One row per test answer: `p`, `chosen` (index of the score), `size` (answers that would be released with it),
        `e`, `selected`. `attrs["note"]` is that of `conformal_select`.
    """
    known, new = _tables(calibration, test)
    right, level = mask("correct", correct, len(known)), float(threshold("q", q))
    columns = range(known.shape[1])
    sizes = np.stack([_sizes(known[~right, k], new[:, k], len(known), level) for k in columns], axis=1)
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
    """Select test answers under a ridge regression trained on all calibration answers.

    Features are `[n, D]` for calibration and `[M, D]` for test answers, and standardised here over all answers. The
    score of a calibration answer comes from the other calibration answers (leave one out). Of several ridge penalties
    above 0, the best is chosen as in `optimised_select`, whose other arguments and results these are.
    """
    known, new = _tables(calibration, test)
    right, level = mask("correct", correct, len(known)), float(threshold("q", q))
    if not len(penalties) or any(not penalty > 0 for penalty in penalties):
        raise InputError(f"penalties must be numbers above 0, not {list(penalties)!r}.")
    p, sizes = np.empty((len(new), len(penalties))), np.empty((len(new), len(penalties)), np.int64)
    for k, penalty in enumerate(penalties):
        checked, at, others = leave_one_out(known, right, new, penalty)
        p[:, k] = (1 + (checked[:, ~right] >= at[:, None] - TIE).sum(axis=1)) / (len(known) + 1)
        for j in range(len(new)):
            counts = _at_least(np.sort(np.append(checked[j, ~right], at[j])), others[j])
            counts[j] = 0
            sizes[j, k] = _rejections(counts[None], len(known), level)[0]
    return _released(p, sizes, len(known), level, seed)


def leave_one_out(known: Floats, right: Bools, new: Floats, penalty: float) -> tuple[Floats, Floats, Floats]:
    """Return ridge scores where each new answer in turn is added to the calibration answers as a wrong one.

    Features are `[n, D]` and `[M, D]`; the penalty excludes the intercept. The Sherman-Morrison formula replaces
    refitting.

    Returns:
        For each new answer j: scores of the calibration answers, each from the others and j, `[M, n]`; the score of j
        from the calibration answers, `[M]`; scores of the new answers from the calibration answers and j, `[M, M]`.
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
    across, own = leverage[n:], leverage.diagonal()[n:, None]
    moved = fit - across * fit[n:, None] / (1 + own)
    pull = leverage.diagonal()[:n] - across[:, :n] ** 2 / (1 + own)
    return moved[:, :n] - pull / (1 - pull) * (y - moved[:, :n]), fit[n:], moved[:, n:]


def _sizes(wrong: Floats, new: Floats, n: int, q: float) -> Ints:
    """Return how many test answers would be released if test answer j were one more wrong calibration answer, `[M]`."""
    above = _at_least(np.sort(wrong), new)
    sizes = []
    for part in np.array_split(np.arange(len(new)), max(1, len(new) ** 2 // BLOCK)):
        counts = above[None, :] + (new[part, None] >= new[None, :] - TIE)
        counts[np.arange(len(part)), part] = 0
        sizes.append(_rejections(counts, n, q))
    return np.concatenate(sizes)


def _rejections(counts: Ints, n: int, q: float) -> Ints:
    """Return Benjamini-Hochberg rejections among p-values counts / (n + 1), `[rows]` for counts `[rows, M]`."""
    rank = np.arange(1, counts.shape[1] + 1)
    below = np.sort(counts, axis=1) / (n + 1) <= q * rank / len(rank) + TIE
    sizes: Ints = (below * rank).max(axis=1)
    return sizes


def _released(p: Floats, sizes: Ints, n: int, q: float, seed: int | None) -> pd.DataFrame:
    """Return e-values of the best choices and what the Benjamini-Hochberg procedure on them releases."""
    chosen, rows = sizes.argmax(axis=1), np.arange(len(p))
    p_chosen, size = p[rows, chosen], sizes[rows, chosen]
    bar = q * size / len(p)
    e = np.divide(p_chosen <= bar + TIE, bar, out=np.zeros(len(p)), where=bar > 0)
    pruned = e if seed is None else e / np.random.default_rng(seed).uniform()
    falling = np.sort(pruned)[::-1]
    passing = np.flatnonzero(falling * q * (rows + 1) >= len(p) * (1 - TIE))
    least = falling[passing[-1]] if len(passing) else np.inf
    table = pd.DataFrame({"p": p_chosen, "chosen": chosen, "size": size, "e": e, "selected": pruned >= least})
    return _with_note(table, n, q)


def _tables(calibration: ArrayLike, test: ArrayLike) -> tuple[Floats, Floats]:
    known, new = np.asarray(calibration, np.float64), np.asarray(test, np.float64)
    for name, table in (("calibration", known), ("test", new)):
        if table.ndim != 2 or not table.size or not np.isfinite(table).all():
            raise InputError(f"{name} must be a table [answers, columns] of finite numbers that is not empty.")
    if known.shape[1] != new.shape[1]:
        raise InputError(f"calibration has {known.shape[1]} columns and test {new.shape[1]}; give both the same.")
    return known, new


def split_parts(n: int, proportions: Sequence[float] = (0.2, 0.4, 0.4), seed: int = 0) -> NDArray[np.str_]:
    """Return a random part for each of n items: `tune` (choose the score), `calibrate` or `test`."""
    weights = np.asarray(proportions, np.float64)
    if weights.shape != (3,) or (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise InputError(f"proportions must be three numbers that add up to 1, not {proportions!r}.")
    edges = np.round(np.cumsum(weights) * n).astype(int)
    part = np.searchsorted(edges, np.arange(n), side="right")
    return np.array(PARTS)[np.random.default_rng(seed).permutation(part)]


def release(table: pd.DataFrame, q: float, scores: str | Sequence[str], how: Choice = "split") -> pd.DataFrame:
    """Return the test answers of a table with those released marked in `selected`.

    Args:
        table: One row per answer, with `question_id`, `part` (`tune`, `calibrate` or `test`) and `correct`.
        q: Bound on the false discovery rate.
        scores: Columns to choose from.
        how: `split` chooses the score on the tuning part, which a single column does not need; `optimised` chooses on
            all checked answers; `trained` computes a score from the columns by ridge regression on all of them.

    Returns:
        The test rows with `chosen` and the columns and `attrs` of `conformal_select` or `optimised_select`.

    Raises:
        InputError: An item is in two parts (tuning on a calibration item breaks the guarantee), or a part is empty or
            unknown.
    """
    names = [scores] if isinstance(scores, str) else list(scores)
    if how not in get_args(Choice):
        raise unknown("way to choose a score", how, list(get_args(Choice)))
    parts = table["part"].to_numpy()
    if strange := sorted(set(parts) - set(PARTS)):
        raise InputError(f"Column 'part' contains {strange[0]!r}; allowed are {', '.join(PARTS)}.")
    parts_of = table.groupby("question_id")["part"].nunique()
    if (parts_of > 1).any():
        name = parts_of.index[parts_of > 1][0]
        raise InputError(f"Item {name!r} is in more than one part; calibration items must not serve tuning or testing.")
    if not {"calibrate", "test"} <= set(parts) or (how == "split" and len(names) > 1 and "tune" not in parts):
        raise InputError("Selection needs calibration and test items, and tuning items to choose among scores.")
    known, right = parts != "test", np.zeros(len(table), bool)
    right[known] = mask("correct", table.loc[known, "correct"], int(known.sum()))
    result = _select(table[names].to_numpy(np.float64), right, parts, q, how)
    result["chosen"] = "ridge regression" if how == "trained" else np.array(names)[result["chosen"]]
    released = table[~known].assign(**{str(name): result[name].to_numpy() for name in result})
    released.attrs = dict(result.attrs)
    return released


def release_repeatedly(
    table: pd.DataFrame, q: float, scores: str | Sequence[str], how: Choice = "split", splits: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Return `release` over random splits, one row each.

    Returns:
        `split`, `chosen` (most often), `n_test`, `n_released`, `error_rate` (proportion of wrong answers among the
        released; 0 if none is released, as in the false discovery rate), `power` (proportion of correct answers that
        is released; NaN without a correct answer).
    """
    names = [scores] if isinstance(scores, str) else list(scores)
    right, values = mask("correct", table["correct"], len(table)), table[names].to_numpy(np.float64)
    if (twice := table["question_id"].duplicated()).any():
        raise InputError(f"Item {table.loc[twice, 'question_id'].iloc[0]!r} occurs twice; give each item once.")
    rows = []
    for split in range(splits):
        parts = split_parts(len(table), seed=seed + split)
        result, truth = _select(values, right, parts, q, how), right[parts == "test"]
        given = result["selected"].to_numpy()
        rows.append(
            {
                "split": split,
                "chosen": "ridge regression" if how == "trained" else names[int(result["chosen"].mode()[0])],
                "n_test": len(result),
                "n_released": int(given.sum()),
                "error_rate": float((given & ~truth).sum() / given.sum()) if given.any() else 0.0,
                "power": float(given[truth].mean()) if truth.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _select(values: Floats, right: Bools, parts: NDArray[np.str_], q: float, how: Choice) -> pd.DataFrame:
    """Return the selection among the test items; `chosen` is the index of the score."""
    test, known = parts == "test", parts != "test"
    if how != "split":
        select = optimised_select if how == "optimised" else trained_select
        return select(values[known], right[known], values[test], q)
    tune, calibrate = parts == "tune", parts == "calibrate"
    k = best_score(values[tune], right[tune]) if values.shape[1] > 1 else 0
    return conformal_select(values[calibrate, k], right[calibrate], values[test, k], q).assign(chosen=k)


def best_score(scores: Floats, right: Bools) -> int:
    """Return the index of the score `[items, scores]` with the highest AUROC for correctness; the first at ties."""
    from scipy.stats import rankdata

    if not np.isfinite(scores).all():
        raise InputError("A score of a tuning answer is missing or infinite; leave its column or its item out.")
    return int(rankdata(scores, axis=0)[right].sum(axis=0).argmax()) if len(scores) else 0
