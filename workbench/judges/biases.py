"""Position, length and label biases of a judge, with its noise taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import Floats
from workbench.errors import InputError, unknown
from workbench.judges.consistency import (
    chance_conflict,
    chance_nontransitivity,
    chance_tied,
    conflicts,
    subsets,
    triple_classes,
)
from workbench.judges.readings import Judgement, Variant
from workbench.judges.relations import Method, aggregate
from workbench.statistics import bootstrap, interval
from workbench.statistics.intervals import SHARE

Noise = Literal["flip_model", "wei2024_code"]


def length_bias(table: pd.DataFrame, q: float = 0.0, draws: int = 499, seed: int = 0) -> dict[str, Any]:
    """LB: accuracy in both orders where the better answer is longer, minus where it is not; bootstrap over cases.

    Args:
        table: Made by `order_table` with lengths.
        q: Flipping noise to take out first.
        draws: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        Keys of `statistics.interval`; NaN where a stratum is empty, no interval where neither varies.
    """
    used = table[table["both"].notna()]
    if used.empty:
        return dict.fromkeys(("mean", "se", "low", "high"), np.nan) | {"n": 0, "note": "no pair people tell apart"}

    def difference(both: Floats, longer: Floats) -> float:
        if longer.all() or not longer.any():
            return float("nan")
        return float(denoise(both[longer == 1].mean(), q) - denoise(both[longer == 0].mean(), q))

    return bootstrap(difference, used["both"], used["better_longer"], clusters=used["case"], draws=draws, seed=seed)


def position_shift(table: pd.DataFrame, one: str, other: str) -> dict[str, Any]:
    """How far the position bias moves from one prompt to another, in whichever direction; bootstrap over cases.

    Args:
        table: Rows of `order_table` under both prompts, with their names in the column `labels`.
        one: A prompt.
        other: Another.

    Returns:
        Keys of `statistics.interval` of the difference by pair, turned so that its mean is not below 0.
    """
    pairs = table.pivot_table(index=["case", "i", "j"], columns="labels", values="position")
    moved = (pairs[one] - pairs[other]) if {one, other} <= set(pairs) else pd.Series(np.nan, pairs.index)
    turned = moved if not moved.mean() < 0 else -moved
    return interval(turned, turned.index.get_level_values("case"), "bootstrap", bounds=(-2, 2))


def denoise(accuracy: ArrayLike, q: ArrayLike, noise: Noise = "flip_model") -> Floats:
    """Accuracy of the true decisions when each observed one is flipped with probability q.

    observed = a (1 - q) + (1 - a) q, so a = (observed - q) / (1 - 2 q); results outside [0, 1] are left as they are,
    they say that the model of the noise does not fit. NaN where q is 1/2 and nothing can be known.

    Args:
        accuracy: Observed, in [0, 1].
        q: Flipping probability; see `flip_rate_of`.
        noise: The formula is the same in both; `wei2024_code` goes with a q that is about twice too large.
    """
    if noise not in get_args(Noise):
        raise unknown("noise model", noise, list(get_args(Noise)))
    a, flip = np.asarray(accuracy, np.float64), np.asarray(q, np.float64)
    if ((flip < 0) | (flip > 1)).any():
        raise InputError("q must be a probability between 0 and 1.")
    left = 1 - 2 * flip
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(left) < 1e-6, np.nan, (a - flip) / left)


def flip_rate_of(agreement: ArrayLike, noise: Noise = "flip_model") -> Floats:
    """The flipping probability behind the agreement of two repeats of a verdict.

    Two repeats agree with probability 1 - 2 q (1 - q), so q = (1 - sqrt(2 agreement - 1)) / 2; NaN below 1/2. The
    published code (`wei2024_code`) takes q = 1 - agreement, about twice that.
    """
    if noise not in get_args(Noise):
        raise unknown("noise model", noise, list(get_args(Noise)))
    a = np.asarray(agreement, np.float64)
    if noise == "wei2024_code":
        return 1 - a
    with np.errstate(invalid="ignore"):
        return (1 - np.sqrt(2 * a - 1)) / 2


def without_noise(votes: ArrayLike, case: ArrayLike, noise: Noise = "flip_model", draws: int = 499) -> dict[str, Any]:
    """Accuracy with the flipping noise of repeated verdicts taken out, with a bootstrap over cases.

    Args:
        votes: 1 where a run is right, 0 where not, `[pairs, runs]`; NaN unread.
        case: What each pair belongs to, `[pairs]`.
        noise: Model of the noise.
        draws: Bootstrap samples.

    Returns:
        Keys of `statistics.bootstrap`, and `outside`: the estimate lies outside [0, 1], the model does not fit.
    """
    runs = np.asarray(votes, np.float64)

    def cleaned(right: Floats, agreement: Floats) -> float:
        return float(denoise(np.nanmean(right), flip_rate_of(np.nanmean(agreement), noise), noise))

    found = bootstrap(cleaned, np.nanmean(runs, axis=1), repeated_agreement(runs), clusters=case, draws=draws)
    return {**found, "outside": bool(found["mean"] < 0 or found["mean"] > 1)}


def repeated_agreement(votes: ArrayLike) -> Floats:
    """Probability that two runs drawn without replacement agree, per item: `[items]`.

    Args:
        votes: Verdicts of K runs, `[items, K]`; NaN unread, those are left out. NaN with fewer than two runs.
    """
    runs = np.asarray(votes, np.float64)
    if runs.ndim != 2:
        raise InputError(f"votes must be [items, runs], not {list(runs.shape)}.")
    n = (~np.isnan(runs)).sum(axis=1)
    same = sum((count := (runs == label).sum(axis=1)) * (count - 1) for label in np.unique(runs[~np.isnan(runs)]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, same / (n * (n - 1)), np.nan)


METHODS: tuple[Method, ...] = ("two_pass", "likelihood")


READINGS: tuple[tuple[str, Variant], ...] = (("fine", "argmax"), ("scale", "expected"))
"""What expected scores on the finest scale are held against, on the coarsest."""


def reading_contrasts(judge: Judgement, scales: Sequence[str], pair: str, k: int = 5) -> pd.DataFrame:
    """Differences between readings of one judge, paired by pair or subset of answers and clustered by case.

    Args:
        judge: All it says of the same cases.
        scales: Prompts that score one answer, from the coarsest scale to the finest.
        pair: The prompt that compares two.
        k: Answers in a subset, 3 to 5.

    Returns:
        Indexed by `contrast`, with the keys of `statistics.interval`, and `explained`, what ties alone make of it:

        - `fine, two_pass`: conflict ratio of expected scores on the finest scale less that of the most probable level
          on the coarsest, both against agreement of two verdicts, as in TrustJudge; `fine, likelihood` against the
          more probable verdict over both orders.
        - `scale, two_pass`, `scale, likelihood`: the same of expected scores on both scales.
        - `aggregation`: conflict ratio of expected scores on the finest scale against likelihood aggregation less that
          against agreement of two.
        - `transitivity`: rate of k-subsets no ranking fits, likelihood aggregation less agreement of two.
        - `tied`: share of the triples that agreement of two violates which hold a tie; `tied, above chance`: less the
          share in random relations with as many ties.
    """
    told = {method: aggregate(judge.pairs(pair), method) for method in METHODS}
    found: dict[str, dict[str, object]] = {}
    of, broken, by_chance = {}, {}, {}
    for method, relations in told.items():
        of[method] = fine = conflicts(judge.scores(scales[-1]), relations.sign)
        for name, variant in READINGS:
            other = conflicts(judge.scores(scales[0], variant), relations.sign)
            found[f"{name}, {method}"] = _less(fine, other, chance_conflict(fine) - chance_conflict(other))
        broken[method] = subsets(relations.sign, k).rename(columns={"violates": "conflict"})
        known = not np.isnan(relations.tie_rate)
        by_chance[method] = chance_nontransitivity(k, relations.tie_rate) if known else np.nan
    explained = chance_conflict(of["likelihood"]) - chance_conflict(of["two_pass"])
    found["aggregation"] = _less(of["likelihood"], of["two_pass"], explained)
    explained = by_chance["likelihood"] - by_chance["two_pass"]
    found["transitivity"] = _less(broken["likelihood"], broken["two_pass"], explained)
    kinds = [triple_classes(sign[None]) for sign in told["two_pass"].sign]
    tied = [np.repeat([1.0, 0.0], [each["mixed"] + each["equiv"], each["cycle"]]) for each in kinds]
    cases = np.repeat(np.arange(len(tied)), [len(each) for each in tied])
    share, chance = (
        interval(np.concatenate(tied), cases, "bootstrap", bounds=SHARE),
        chance_tied(told["two_pass"].tie_rate),
    )
    found["tied"] = {**share, "explained": chance}
    found["tied, above chance"] = share | {name: share[name] - chance for name in ("mean", "low", "high")}
    found["tied, above chance"]["explained"] = 0.0
    return pd.DataFrame(found).T.rename_axis("contrast").infer_objects()


def _less(one: pd.DataFrame, other: pd.DataFrame, explained: float) -> dict[str, object]:
    difference = one["conflict"].to_numpy() - other["conflict"].to_numpy()
    return {**interval(difference, one["case"], "bootstrap", bounds=(-1, 1)), "explained": explained}
