"""Rankings and rewards from ratings, comparisons and the model's own probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from workbench import figures
from workbench.answers import Floats, require_shown
from workbench.errors import InputError
from workbench.figures import described
from workbench.judges.cases import Cases
from workbench.judges.consistency import conflict_ratio, cyclic_proportion
from workbench.judges.readings import Judgement, Variant, by_candidate, in_words, of_first_judge
from workbench.judges.relations import Method, aggregate, differences, right_pairs, sgn, upper
from workbench.statistics import Finding, finding, interval, rows_by, unless, versus
from workbench.statistics.comparisons import correlation
from workbench.statistics.distances import js
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {1.0: "first better", 0.0: "equal", -1.0: "second better"}
REWARDS = {
    "P(Yes)": "probability of Yes",
    "likelihood": "likelihood of the answer",
    "pmi": "pointwise mutual information",
    "follow-up": "likelihood of follow-ups",
    "dpo": "implicit reward (DPO)",
}
"""Names of rewards in figures."""
CLIP = 1e-12


def rating_ranking_table(difference: ArrayLike, relation: ArrayLike) -> pd.DataFrame:
    """Return the number of pairs by relation of the ratings and by comparison, `[3, 3]`; missing pairs are left out.

    Differences of ratings and relations (1, 0, -1) are `[pairs]`. The diagonal agrees; the rest is the conflict ratio
    at tolerance 0 (Peering Through Preferences, arXiv 2308.15812).
    """
    implied, compared = sgn(difference), np.asarray(relation, np.float64)
    if implied.shape != compared.shape or implied.ndim != 1:
        raise InputError("Rating differences and relations must be two columns of the same length.")
    known = ~np.isnan(implied + compared)
    rows, columns = (
        pd.Categorical([NAMES[sign] for sign in signs[known]], list(NAMES.values())) for signs in (implied, compared)
    )
    return pd.crosstab(rows, columns, dropna=False).rename_axis(index="ratings", columns="comparison")


def bradley_terry(relations: ArrayLike, alpha: float = 0.01) -> Floats:
    """Return log-strengths `[n]` of candidates from signs `[cases, n, n]`; a tie is half a win for each, NaN missing.

    The regularisation `alpha` is required if a candidate never loses.
    """
    import choix

    c = np.asarray(relations, np.float64)
    wins = [(int(i), int(j)) for _, i, j in np.argwhere(c == 1)] * 2
    wins += [(int(i), int(j)) for _, i, j in np.argwhere(c == 0) if i != j]
    if not wins:
        return np.full(c.shape[-1], np.nan)
    return np.asarray(choix.ilsr_pairwise(c.shape[-1], wins, alpha=alpha), np.float64)


def general_preference(v: ArrayLike, tau: float = 0.1) -> tuple[Floats, Floats]:
    """Return preference scores and probabilities `[n, n]` of embeddings in one or more planes (GPM, arXiv 2410.02197).

    s(i, j) = <R v_i, v_j> with R of quarter turns [[0, -1], [1, 0]]: skew-symmetric, so cycles are represented exactly.
    Embeddings are `[n, 2 k]`, and P = sigmoid(s / tau).
    """
    x = np.asarray(v, np.float64)
    if x.ndim != 2 or x.shape[1] % 2:
        raise InputError(f"Embeddings must be [n, 2 k], not {list(x.shape)}.")
    turned = np.stack([-x[:, 1::2], x[:, ::2]], axis=-1).reshape(x.shape)
    s = turned @ x.T
    return s, expit(s / tau)


def followup_rewards(answers: pd.DataFrame | None, order: Sequence[str]) -> dict[str, Floats]:
    """Return the follow-up reward of every answer, `[cases, candidates]`, from the answers to `follow_up_questions`.

    None for no reward.
    """
    if answers is None:
        return {}
    if not {"case", "candidate", "value"} <= set(answers.columns):
        raise InputError("The answers lack the tags 'case' and 'candidate'; ask the questions of follow_up_questions.")
    require_shown(answers)
    mean = answers["logprob"] / answers["n_tokens"]
    by_side = mean.groupby([answers["question_id"], answers["value"]], sort=False).mean().unstack()
    keys = answers.drop_duplicates("question_id")[["question_id", "case", "candidate"]].reset_index(drop=True)
    gap = (by_side[1.0] - by_side[0.0]).reindex(keys["question_id"]).to_numpy()
    return {"follow-up": by_candidate(keys, gap, order)}


def symmetric_kl(p: ArrayLike, q: ArrayLike) -> Floats:
    """Return (KL(p || q) + KL(q || p)) / 2 of two-way choices, in nats; probabilities are clipped at 1e-12."""
    a, b = (np.clip(np.asarray(x, np.float64), CLIP, 1 - CLIP) for x in (p, q))
    return (a - b) * (np.log(a / (1 - a)) - np.log(b / (1 - b))) / 2


def internal_agreement(heads: Mapping[str, ArrayLike], clusters: ArrayLike | None = None) -> pd.DataFrame:
    """Return the agreement of the rewards inside one model, one row per pair of rewards (SCIR, arXiv 2502.08922).

    Args:
        heads: Reward (a judge prompt, an implicit reward, a likelihood) -> P(first answer preferred), `[pairs]`, NaN
            missing.
        clusters: Cluster of each pair for the bootstrap, `[pairs]`.

    Returns:
        head, other, `agree` (proportion of decided pairs on the same side of 1/2) with `low`, `high` and `chance`
        (unrelated rewards that prefer the first answer as often), `n`, `n_undecided` (one of them exactly 1/2),
        `n_clipped` (0 or 1 under the logarithm), `symmetric_kl`, `js` (nats), `spearman` of the probabilities.
    """
    p = {name: np.asarray(values, np.float64) for name, values in heads.items()}
    if len({len(x) for x in p.values()}) != 1:
        raise InputError("Every reward needs one probability per pair, for the same pairs.")
    for name, x in p.items():
        if ((x < 0) | (x > 1)).any():
            raise InputError(f"Reward {name!r} has a number outside [0, 1]; give probabilities.")
    groups = np.arange(len(next(iter(p.values())))) if clusters is None else np.asarray(clusters)
    return pd.DataFrame([{"head": a, "other": b, **_compared(p[a], p[b], groups)} for a, b in combinations(p, 2)])


def _compared(a: Floats, b: Floats, groups: NDArray[Any]) -> dict[str, float]:
    known = ~np.isnan(a + b)
    a, b = a[known], b[known]
    side = np.sign(a - 0.5) * np.sign(b - 0.5)
    decided = side != 0
    same = interval(side[decided] > 0, groups[known][decided], "bootstrap", draws=499)
    prefer_first = np.array([(x[decided] > 0.5).mean() if decided.any() else np.nan for x in (a, b)])
    both = (np.stack([x, 1 - x], axis=-1) for x in (a, b))
    return {
        "agree": same["mean"],
        "low": same["low"],
        "high": same["high"],
        "chance": float(np.prod(prefer_first) + np.prod(1 - prefer_first)),
        "n": same["n"],
        "n_undecided": int((~decided).sum()),
        "n_clipped": int((np.isin(a, (0, 1)) | np.isin(b, (0, 1))).sum()),
        "symmetric_kl": float(symmetric_kl(a, b).mean()) if len(a) else np.nan,
        "js": float(js(*both).mean()) if len(a) else np.nan,
        "spearman": correlation(a, b, fewest=3),
    }


def preference_regression(x: ArrayLike, y: ArrayLike, prior_scale: float = 0.1) -> Floats:
    """Return the most probable coefficients of properties under a Laplace prior, `[properties]` (arXiv 2402.11296).

    logit P(A preferred) = x . coefficients, without an intercept; sigmoid of a coefficient is the win rate if only that
    property differs. NaN for a property that never differs.

    Args:
        x: Property of A minus that of B, `[pairs, properties]`, in {-1, 0, 1}.
        y: 1 if A is preferred, else 0, `[pairs]`.
        prior_scale: Scale of the Laplace prior.
    """
    from sklearn.linear_model import LogisticRegression

    features, preferred = np.asarray(x, np.float64), np.asarray(y)
    if features.ndim != 2 or preferred.shape != features.shape[:1]:
        raise InputError("x must be [pairs, properties] and y one number per pair.")
    if len(features) < 5 * features.shape[1]:
        warnings.warn(f"{len(features)} pairs are few for {features.shape[1]} properties.", stacklevel=2)
    varies = features.any(axis=0)
    mirrored = np.concatenate([features, -features])  # equivalent pairs, so that both classes occur
    outcome, weight = np.concatenate([preferred, 1 - preferred]), np.full(2 * len(features), 0.5)
    fit = LogisticRegression(
        l1_ratio=1.0, C=prior_scale, fit_intercept=False, solver="liblinear", max_iter=20000, tol=1e-8, random_state=0
    )
    fit.fit(mirrored[:, varies], outcome, sample_weight=weight)
    coefficients = np.full(features.shape[1], np.nan)
    coefficients[varies] = fit.coef_[0]
    return coefficients


def apc(relevant: ArrayLike, entails: ArrayLike, contradicts: ArrayLike) -> float:
    """Faithfulness to the statements of a persona: sum of g e + (1 - g)(1 - c) (APC, arXiv 2405.07726).

    g = P(the statement is relevant to the query), e and c = P(the answer entails, contradicts it). Divide by the number
    of statements to compare personas; NaN without any.
    """
    g, e, c = (np.asarray(x, np.float64) for x in (relevant, entails, contradicts))
    if ((np.stack([g, e, c]) < 0).any()) or (g > 1).any() or (e + c > 1 + 1e-9).any():
        raise InputError("APC needs probabilities, with entailment plus contradiction at most 1.")
    return float(np.sum(g * e + (1 - g) * (1 - c))) if g.size else float("nan")


READINGS: tuple[tuple[Variant, Method], ...] = (
    ("argmax", "two_pass"),
    ("expected", "two_pass"),
    ("expected", "likelihood"),
)
"""Scoring and aggregation methods whose consistency is compared."""


def nine_cells(judge: Judgement, score: str, pair: str) -> pd.DataFrame:
    """Return the number of pairs by most probable rating (rows) and two-pass comparison (columns)."""
    relation = upper(aggregate(judge.pairs(pair), "two_pass").sign)
    return rating_ranking_table(differences(judge.scores(score, "argmax")).ravel(), relation.ravel()).reset_index()


def consistency_table(judges: Sequence[Judgement], score: str, pair: str) -> pd.DataFrame:
    """Return the proportion of pairs on which ratings and comparisons agree, one row per judge and method.

    This is 1 minus the conflict ratio at tolerance 0; `chance` is that of unrelated ones with as many ties.
    """
    rows = []
    for judge, (variant, method) in product(judges, READINGS):
        row = conflict_ratio(judge.scores(score, variant), aggregate(judge.pairs(pair), method).sign)
        rows.append({"judge": judge.judge, "reading": f"{variant}, {method}", **row})
    table = pd.DataFrame(rows)
    table[["mean", "low", "high", "chance"]] = 1 - table[["mean", "high", "low", "chance"]].to_numpy()
    columns = ["judge", "reading", "mean", "low", "high", "n", "n_clusters", "chance", "tie_rate", "score_tie_rate"]
    return table[columns]


def implicit_rewards(
    likely: pd.DataFrame | None, base: pd.DataFrame | None, beta: float, order: Sequence[str]
) -> dict[str, Floats]:
    """Return the implicit rewards of a model relative to its reference model; empty if one of them is None.

    `likely` and `base` have the answers of both to `prompts.likelihood`; beta is the reward per nat.
    """
    if likely is None or base is None:
        return {}
    gap = likely["logprob"] - base["logprob"]
    rewards = {"implicit (DPO)": beta * gap, "density ratio, per token": gap / likely["n_tokens"]}
    return {name: by_candidate(likely, reward, order, "option") for name, reward in rewards.items()}


def preference_probabilities(rewards: Mapping[str, Floats], margin: Floats) -> dict[str, Floats]:
    """Return P(the first answer is better) by every reward and by comparison, `[pairs]` each.

    P is the sigmoid of the difference of rewards, with the standard deviation of the reward as temperature.
    """
    p = {name: expit(differences(reward) / (float(np.nanstd(reward)) or 1.0)) for name, reward in rewards.items()}
    return {**{name: x.ravel() for name, x in p.items()}, "comparison": (1 + upper(margin).ravel()) / 2}


def correct_pairs(rewards: Mapping[str, Floats], margin: Floats, cases: Cases) -> dict[str, pd.DataFrame]:
    """Return `right_pairs` of every reward, and of the scores that fit the comparisons best (least squares)."""
    everything = {**rewards, "comparison": cyclic_proportion(margin)[1]}
    return {name: right_pairs(differences(reward), cases.scores) for name, reward in everything.items()}


def items(right: Mapping[str, pd.DataFrame], cases: Cases) -> pd.DataFrame:
    """Return which pairs each reward orders correctly, with the ids of their cases."""
    table = pd.concat([each.rename(columns={"right": name}) for name, each in right.items()])
    return table.drop(columns="case").assign(question_id=np.array(cases.ids)[table["case"]])


def accuracy(right: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the proportion of pairs each reward orders correctly, in descending order, with intervals over cases."""
    rows = [
        {"reward": name, **interval(each["right"], each["case"], "bootstrap", bounds=SHARE)}
        for name, each in right.items()
    ]
    table = pd.DataFrame(rows).sort_values("mean", ascending=False)
    table["against chance"] = [versus(row, 0.5) for _, row in table.iterrows()]
    return table


def cases_of_pairs(cases: Cases) -> NDArray[np.intp]:
    """Return the index of the case of each pair of candidates, as in `preference_probabilities`, `[pairs]`."""
    candidates = cases.scores.shape[1]
    return np.repeat(np.arange(len(cases)), candidates * (candidates - 1) // 2)


def main_consistency(consistency: pd.DataFrame) -> pd.Series[Any]:
    """Return the row of the headline: first judge, expected scores, likelihood aggregation."""
    return rows_by(of_first_judge(consistency), "reading")["expected, likelihood"]


def findings(consistency: pd.DataFrame, accuracy: pd.DataFrame) -> list[Finding]:
    """Return the claims of the papers and of this notebook, tested on the first judge."""
    here, reason = "this notebook", "they agree no more often than unrelated ones with as many ties"
    rows, reward = rows_by(of_first_judge(consistency), "reading"), rows_by(accuracy, "reward")
    undecided = {name: unless(row, "above", row["chance"], reason) for name, row in rows.items()}
    first, second, last = (f"{variant}, {method}" for variant, method in READINGS)
    disagree = "Ratings and comparisons disagree on more than half of the pairs"
    agree = "Expected scores and two-pass comparisons agree on more than half of the pairs"
    more = "Expected scores agree with comparisons by likelihood more often than unrelated ones"
    agreement, ordered = "proportion of pairs in agreement", "proportion of pairs in the right order"
    better = {
        "P(Yes)": ("P(Yes) orders answers better than chance", here),
        "follow-up": ("The likelihood of follow-ups orders answers better than chance", "FLR, arXiv 2409.13948"),
        "comparison": ("Pairwise comparison orders answers better than chance", here),
    }
    return [
        finding(
            disagree,
            "Peering Through Preferences, arXiv 2308.15812",
            rows[first],
            "below",
            0.5,
            undecided[first],
            agreement,
            "half of the pairs",
        ),
        finding(
            agree,
            "TrustJudge, arXiv 2509.21117",
            rows[second],
            "above",
            0.5,
            undecided[second],
            agreement,
            "half of the pairs",
        ),
        finding(more, here, rows[last], "above", rows[last]["chance"], "", agreement, "unrelated ratings"),
        *[
            finding(claim, source, reward[name], "above", 0.5, "", ordered, "chance")
            for name, (claim, source) in better.items()
            if name in reward
        ],
    ]


def draw_consistency(consistency: pd.DataFrame) -> Figure:
    """Draw how often ratings and comparisons agree, by judge and method."""
    label = "proportion of pairs on which ratings and comparisons agree"
    rows = in_words(consistency)
    parts = rows["reading"].str.split(", ", expand=True).set_axis(["scoring", "aggregation"], axis=1)
    rows["reading"] = in_words(parts).agg("; ".join, axis=1)
    named: dict[str, Any] = {"baseline": "chance", "baseline_name": "unrelated, as many ties", "of": "pairs"}
    drawn = figures.intervals(rows, "judge", by="reading", xlabel=label, **named)
    return described(drawn, "Agreement of ratings and comparisons by judge and method, beside that of unrelated ones.")


def draw_accuracy(accuracy: pd.DataFrame, marks: str) -> Figure:
    """Draw the accuracy of each reward against `marks`, a description of the correct order."""
    label = f"proportion of pairs ordered as by {marks}"
    drawn = figures.intervals(accuracy.replace({"reward": REWARDS}), "reward", baseline=0.5, xlabel=label, of="pairs")
    return described(drawn, "Accuracy of each reward on pairs of answers, beside chance.")


def draw_agreement(agreement: pd.DataFrame) -> Figure:
    """Draw a heat map of the agreement of rewards in a table of `internal_agreement`."""
    table = agreement.replace({"head": REWARDS, "other": REWARDS})
    names = list(dict.fromkeys([*table["head"], *table["other"]]))
    grid = pd.DataFrame(1.0, names, names)
    for head, other, agree in zip(table["head"], table["other"], table["agree"]):
        grid.loc[head, other] = grid.loc[other, head] = agree
    drawn = figures.matrix(grid, "proportion of pairs on which two rewards agree", ends=(0, 1))
    return described(drawn, "Heat map of the proportion of pairs on which two rewards prefer the same answer.")
