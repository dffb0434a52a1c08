"""Conformal selection of answers, batch bounds and label sets."""

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
from workbench.statistics.distances import Bools, Floats, fractions, mask, threshold

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


@dataclass(frozen=True, slots=True)
class LabelSets:
    """The label sets that cannot be ruled out, best first."""

    sets: pd.DataFrame = field(repr=False)
    """One row per set with p > epsilon: `labels` (tuple of 0 and 1), `nonconformity`, `p`."""
    point: tuple[int, ...]
    """The set with the largest p."""
    credibility: float
    """The largest p."""
    confidence: float
    """1 - the second largest p."""


def label_nonconformity(labels: ArrayLike, probabilities: ArrayLike, d: float = 1.0) -> Floats:
    """Sum over labels of |y - o|^d, `[...]` for labels and probabilities `[..., L]`."""
    y, o = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    return (np.abs(y - o) ** d).sum(axis=-1)


def label_powerset_sets(
    calibration: ArrayLike, probabilities: ArrayLike, epsilon: float = 0.1, d: float = 1.0, limit: int = 100_000
) -> LabelSets:
    """The sets of labels that conform with calibration, found best first without listing all 2^L.

    p(Y) = (1 + number of calibration scores >= that of Y) / (n + 1); the true set is among those with p > epsilon with
    probability at least 1 - epsilon.

    Args:
        calibration: `label_nonconformity` of the true sets of the calibration items, `[n]`.
        probabilities: Of each label for the new item, `[L]`.
        epsilon: Error level.
        d: Exponent of the nonconformity.
        limit: Most sets to list; beyond it an error asks for a larger epsilon.
    """
    scores = np.sort(finite("calibration", calibration))
    (o,) = fractions(probabilities=probabilities)
    level = float(threshold("epsilon", epsilon))
    rows: list[dict[str, object]] = []
    first: list[float] = []
    for labels, alpha in best_first(o, d):
        p = (1 + len(scores) - int(np.searchsorted(scores, alpha - SLACK, side="left"))) / (len(scores) + 1)
        first.append(p)
        if p > level + SLACK:
            rows.append({"labels": labels, "nonconformity": alpha, "p": p})
        elif len(first) > 1:
            break
        if len(rows) > limit:
            raise InputError(f"More than {limit} label sets conform at epsilon={level:g}; take a larger one.")
    best = tuple(int(y) for y in o > 0.5) if not rows else rows[0]["labels"]
    table = pd.DataFrame(rows, columns=["labels", "nonconformity", "p"])
    return LabelSets(table, best, first[0], 1 - first[1])  # type: ignore[arg-type]


def best_first(o: Floats, d: float) -> Iterator[tuple[tuple[int, ...], float]]:
    """All label sets in order of nonconformity, from the one where every label takes its likelier side."""
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
