"""Rewards read from likelihoods, and whether the rewards inside one model agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.answers import require_shown
from workbench.errors import InputError
from workbench.metrics.judging.reads import Floats
from workbench.statistics import interval

CLIP = 1e-12


def followup_matrix(answers: pd.DataFrame, order: Sequence[str]) -> Floats:
    """The follow-up reward of every answer, `[cases, candidates]`; NaN absent.

    Args:
        answers: To questions of `follow_up_questions`: options are next turns, pleased (value 1) and not (value 0).
        order: The names of the cases.
    """
    from workbench.metrics.judging.reads import by_candidate

    if not {"case", "candidate", "value"} <= set(answers.columns):
        raise InputError("These answers are to no follow-ups: they lack the tags case and candidate.")
    require_shown(answers)
    mean = answers["logprob"] / answers["n_tokens"]
    by_side = mean.groupby([answers["question_id"], answers["value"]], sort=False).mean().unstack()
    keys = answers.drop_duplicates("question_id")[["question_id", "case", "candidate"]].reset_index(drop=True)
    gap = (by_side[1.0] - by_side[0.0]).reindex(keys["question_id"]).to_numpy()
    return by_candidate(keys, gap, order)


def symmetric_kl(p: ArrayLike, q: ArrayLike) -> Floats:
    """(KL(p, q) + KL(q, p)) / 2 of two-way choices, clipped at 1e-12, in nats."""
    a, b = (np.clip(np.asarray(x, np.float64), CLIP, 1 - CLIP) for x in (p, q))
    return (a - b) * (np.log(a / (1 - a)) - np.log(b / (1 - b))) / 2


def internal_agreement(heads: Mapping[str, ArrayLike], clusters: ArrayLike | None = None) -> pd.DataFrame:
    """Whether the rewards inside one model agree, one row a pair of heads (SCIR, arXiv 2502.08922).

    Args:
        heads: Name -> P(first answer preferred) per pair, `[pairs]`, NaN unread; a head is a judge prompt, an
            implicit reward, a likelihood ...
        clusters: What pairs are resampled by for the interval, `[pairs]`.

    Returns:
        head, other, `agree` (share of decided pairs on the same side of 1/2) with `low`, `high` and `chance` (heads
        that name the first as often, unrelated), `n`, `n_undecided` (one of them exactly 1/2), `n_clipped` (0 or 1
        under the logarithm), `symmetric_kl`, `js` (nats), `spearman` of the probabilities.
    """
    p = {name: np.asarray(values, np.float64) for name, values in heads.items()}
    if len({len(x) for x in p.values()}) != 1:
        raise InputError("Every head needs one probability per pair, for the same pairs.")
    for name, x in p.items():
        if ((x < 0) | (x > 1)).any():
            raise InputError(f"Head {name!r} holds a number outside [0, 1]; give probabilities.")
    groups = np.arange(len(next(iter(p.values())))) if clusters is None else np.asarray(clusters)
    return pd.DataFrame([{"head": a, "other": b, **_compared(p[a], p[b], groups)} for a, b in combinations(p, 2)])


def _compared(a: Floats, b: Floats, groups: NDArray[Any]) -> dict[str, float]:
    from scipy.spatial.distance import jensenshannon

    from workbench.metrics.judging.agreement import correlation

    known = ~np.isnan(a + b)
    a, b = a[known], b[known]
    side = np.sign(a - 0.5) * np.sign(b - 0.5)
    decided = side != 0
    same = interval(side[decided] > 0, groups[known][decided], "bootstrap", draws=499)
    names_first = [float((x[decided] > 0.5).mean()) if decided.any() else np.nan for x in (a, b)]
    js = [jensenshannon([x, 1 - x], [y, 1 - y]) ** 2 for x, y in zip(a, b)]
    return {
        "agree": same["mean"],
        "low": same["low"],
        "high": same["high"],
        "chance": float(np.prod(names_first) + np.prod(1 - np.array(names_first))),
        "n": same["n"],
        "n_undecided": int((~decided).sum()),
        "n_clipped": int((np.isin(a, (0, 1)) | np.isin(b, (0, 1))).sum()),
        "symmetric_kl": float(symmetric_kl(a, b).mean()) if len(a) else np.nan,
        "js": float(np.mean(js)) if js else np.nan,
        "spearman": correlation(a, b, "spearman"),
    }
