"""Rankings and rewards from ratings, comparisons and the model's own probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.answers import Floats, require_shown
from workbench.errors import InputError
from workbench.judges.readings import by_candidate
from workbench.judges.relations import sgn
from workbench.statistics import interval

NAMES = {1.0: "first better", 0.0: "equal", -1.0: "second better"}


def rating_ranking_table(difference: ArrayLike, relation: ArrayLike, delta: float = 0.0) -> pd.DataFrame:
    """What ratings imply against what comparisons say, as counts of pairs `[3, 3]`; unread pairs are left out.

    Its diagonal is the share that agree; the rest is the conflict ratio at the same tolerance (Peering Through
    Preferences, arXiv 2308.15812).

    Args:
        difference: Rating of the first candidate minus that of the second, `[pairs]`.
        relation: 1, 0 or -1, `[pairs]`.
        delta: Ratings within it tie.
    """
    implied, said = sgn(difference, delta), np.asarray(relation, np.float64)
    if implied.shape != said.shape or implied.ndim != 1:
        raise InputError("Rating differences and relations must be two columns of the same length.")
    order = list(NAMES.values())
    kept = ~np.isnan(implied + said)
    rows = pd.Categorical([NAMES[x] for x in implied[kept]], order)
    columns = pd.Categorical([NAMES[x] for x in said[kept]], order)
    return pd.crosstab(rows, columns, dropna=False).rename_axis(index="ratings", columns="comparison")


def bradley_terry(relations: ArrayLike, alpha: float = 0.01) -> Floats:
    """Log-strengths `[n]` of candidates that meet in several cases; a tie is half a win each way.

    Args:
        relations: Signs `[cases, n, n]`, NaN where unread.
        alpha: Regularisation, needed where someone never loses.
    """
    import choix

    c = np.asarray(relations, np.float64)
    wins = [(int(i), int(j)) for _, i, j in np.argwhere(c == 1)] * 2
    wins += [(int(i), int(j)) for _, i, j in np.argwhere(c == 0) if i != j]
    if not wins:
        return np.full(c.shape[-1], np.nan)
    return np.asarray(choix.ilsr_pairwise(c.shape[-1], wins, alpha=alpha), np.float64)


def general_preference(v: ArrayLike, tau: float = 0.1) -> tuple[Floats, Floats]:
    """Scores and probabilities that i is preferred to j, of embeddings in a plane or several (GPM, arXiv 2410.02197).

    s(i, j) = <R v_i, v_j> with R of quarter turns [[0, -1], [1, 0]]; skew, so a cycle can be stored without loss.

    Args:
        v: Embeddings `[n, 2 k]`.
        tau: Temperature of P = sigmoid(s / tau).

    Returns:
        s and P, `[n, n]` each.
    """
    from scipy.special import expit

    x = np.asarray(v, np.float64)
    if x.ndim != 2 or x.shape[1] % 2:
        raise InputError(f"Embeddings must be [n, 2 k], not {list(x.shape)}.")
    turned = np.stack([-x[:, 1::2], x[:, ::2]], axis=-1).reshape(x.shape)
    s = turned @ x.T
    return s, expit(s / tau)


CLIP = 1e-12


def followup_matrix(answers: pd.DataFrame, order: Sequence[str]) -> Floats:
    """The follow-up reward of every answer, `[cases, candidates]`; NaN absent.

    Args:
        answers: To questions of `follow_up_questions`: options are next turns, pleased (value 1) and not (value 0).
        order: The names of the cases.
    """
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

    from workbench.judges.agreement import correlation

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


def pair_heads(scores: ArrayLike, temperature: float = 1.0) -> Floats:
    """P(the candidate that comes first is better) for every pair, from scores: sigmoid of the difference, `[pairs]`.

    Args:
        scores: `[cases, n]`.
        temperature: Of the differences.
    """
    from scipy.special import expit

    s = np.asarray(scores, np.float64)
    i, j = np.triu_indices(s.shape[1], 1)
    return np.asarray(expit((s[:, i] - s[:, j]) / temperature), np.float64).ravel()
