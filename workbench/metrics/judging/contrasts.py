"""What a way of reading one judge changes: conflicts and violations of transitivity, one reading against another.

A reading that ties more, or less, conflicts less by counting alone. So beside every difference stands the one that ties
explain: of unrelated comparisons with as many ties. A judge that answers at random differs by that and no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from workbench.metrics.judging.consistency import (
    chance_conflict,
    chance_nontransitivity,
    chance_tied,
    conflicts,
    subsets,
    triple_classes,
)
from workbench.metrics.judging.relations import Method, aggregate
from workbench.metrics.judging.scoring import Variant
from workbench.metrics.judging.tables import Judgement
from workbench.statistics import interval
from workbench.statistics.intervals import SHARE

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
