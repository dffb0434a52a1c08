"""Agreement of a judge with people: kappa, alpha, ICC, soft labels, panels and juries."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from workbench import figures
from workbench.answers import Floats
from workbench.errors import InputError, unknown
from workbench.figures import described
from workbench.judges import planted
from workbench.judges.cases import Cases
from workbench.judges.master_keys import checklist_scores
from workbench.judges.prompts import Template, can_fill, likelihood, load_template, pairwise, pointwise, questions
from workbench.judges.readings import (
    Judgement,
    answers_to,
    by_candidate,
    judgement,
    label_reads,
    likelihood_reward,
    rescale,
    right_pairs,
)
from workbench.judges.relations import aggregate, order_tables, sign_accuracy, standings
from workbench.questions import Question
from workbench.statistics import Finding, bootstrap, finding, interval, rows_by, summarise, unless, versus
from workbench.statistics.comparisons import correlation, icc
from workbench.statistics.distances import kl, w1
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Weights = Literal["linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
Kind = Literal["spearman", "kendall", "pearson"]


def kappa(a: ArrayLike, b: ArrayLike, weights: Weights | None = None) -> float:
    """Cohen's kappa of two raters; NaN where both always say the same one thing, or there is nothing to compare.

    Args:
        a: Labels of one rater, `[items]`; missing ones (NaN, None) leave the item out.
        b: Of the other.
        weights: None for names, `linear` or `quadratic` for levels.
    """
    from sklearn.metrics import cohen_kappa_score

    table = _both(a, b)
    labels = sorted(set(table["a"]) | set(table["b"]))
    if len(labels) < 2:
        return float("nan")
    return float(cohen_kappa_score(table["a"], table["b"], labels=labels, weights=weights))


def alpha(ratings: ArrayLike, level: Level = "ordinal") -> float:
    """Krippendorff's alpha of `[raters, items]`, NaN unread; NaN with one value only or no item rated twice."""
    import krippendorff

    r = np.asarray(ratings, np.float64)
    pairable = r[:, (~np.isnan(r)).sum(axis=0) > 1] if r.ndim == 2 else r
    if r.ndim != 2:
        raise InputError(f"Ratings must be [raters, items], not {list(r.shape)}.")
    if len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=r, level_of_measurement=level))


def icc_report(human: ArrayLike, judge: ArrayLike, draws: int = 999, seed: int = 0) -> pd.DataFrame:
    """Consistency, agreement and bias of a judge with people over sources (models), as MentalAlign reports them.

    Args:
        human: Mean rating of each source by people, `[sources]`.
        judge: By the judge.
        draws: Bootstrap samples of the sources.
        seed: Of the bootstrap.

    Returns:
        Rows ICC(C,1), ICC(A,1), bias (judge - human): keys of `statistics.bootstrap`, then `loo_low` and `loo_high`:
        how far leaving one source out moves it. NaN below three sources.
    """
    y = np.column_stack([np.asarray(human, np.float64), np.asarray(judge, np.float64)])
    y = y[~np.isnan(y).any(axis=1)]
    statistics: dict[str, Callable[[Floats, Floats], float]] = {
        "ICC(C,1)": lambda a, b: icc(np.column_stack([a, b]))["consistency"],
        "ICC(A,1)": lambda a, b: icc(np.column_stack([a, b]))["agreement"],
        "bias": lambda a, b: float(np.mean(b - a)),
    }
    rows = []
    for name, statistic in statistics.items():
        if len(y) < 3:
            rows.append({"statistic": name, "mean": np.nan, "n": len(y), "note": "fewer than three sources"})
            continue
        left = [statistic(*np.delete(y, source, axis=0).T) for source in range(len(y))]
        found = bootstrap(statistic, y[:, 0], y[:, 1], draws=draws, seed=seed)
        rows.append({"statistic": name, **found, "loo_low": min(left), "loo_high": max(left)})
    return pd.DataFrame(rows)


def replace_rater(ratings: ArrayLike, judge: ArrayLike, level: Level = "ordinal") -> pd.DataFrame:
    """Krippendorff's alpha of people, with each of them replaced by the judge, and with the judge added (ACORN).

    Args:
        ratings: `[raters, items]` of people.
        judge: `[items]`.
        level: Of measurement.

    Returns:
        One row per setting: `replaced` (index of the rater; -1 none, -2 the judge added), `alpha`, and `change`
        against the people alone.
    """
    r, j = np.asarray(ratings, np.float64), np.asarray(judge, np.float64)
    if r.ndim != 2 or j.shape != r.shape[1:]:
        raise InputError("ratings must be [raters, items] and judge one number per item.")
    rows = [{"replaced": -1, "alpha": alpha(r, level)}]
    for rater in range(len(r)):
        rows.append({"replaced": rater, "alpha": alpha(np.vstack([np.delete(r, rater, axis=0), j]), level)})
    rows.append({"replaced": -2, "alpha": alpha(np.vstack([r, j]), level)})
    return pd.DataFrame(rows).assign(change=lambda t: t["alpha"] - t["alpha"].iloc[0])


def _both(a: ArrayLike, b: ArrayLike) -> pd.DataFrame:
    left, right = pd.Series(np.asarray(a)), pd.Series(np.asarray(b))
    if len(left) != len(right):
        raise InputError(f"Two raters need the same items; they have {len(left)} and {len(right)}.")
    table = pd.DataFrame({"a": left, "b": right}).dropna()
    if table.map(lambda x: isinstance(x, float) and not float(x).is_integer()).to_numpy().any():
        raise InputError("Kappa is about labels or whole levels; round expected scores first.")
    return table.map(lambda x: int(x) if isinstance(x, float) else x)


How = Literal["mean", "logit", "vote"]


def jury(p: ArrayLike, how: How = "mean") -> Floats:
    """The verdict distribution of a panel, `[items, labels]`.

    Args:
        p: Distributions of each judge, `[judges, items, labels]`; a judge's NaN rows are left out.
        how: `mean` of the probabilities, `logit` (normalised geometric mean), or `vote`: proportion of judges for
            whom it is the most probable label, split at ties.
    """
    if how not in get_args(How):
        raise unknown("way of putting judges together", how, list(get_args(How)))
    x = np.asarray(p, np.float64)
    if x.ndim != 3:
        raise InputError(f"A jury needs [judges, items, labels], not {list(x.shape)}.")
    if how == "vote":
        best = x >= x.max(axis=-1, keepdims=True)
        x = np.where(np.isnan(x), np.nan, best / best.sum(axis=-1, keepdims=True).clip(1))
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # items no judge has read
        if how != "logit":
            return np.asarray(np.nanmean(x, axis=0), np.float64)
        logs = np.nanmean(np.log(x), axis=0)
        weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float64)


def peer_matrix(scores: ArrayLike) -> dict[str, Any]:
    """Models that review each other: agreement without their own marks, and how much they favour themselves.

    Own marks are masked: the diagonal is replaced by the additive fit of the rest, and the error loses that many
    degrees of freedom.

    Args:
        scores: `[models, models]`, reviewer by author.

    Returns:
        `author_mean` (without own marks), `self_preference` (own mark minus what the reviewer's leniency and the
        author's standing, fitted to the marks of others, lead one to expect), and `icc_consistency_k`
        = ICC(C,k), `icc_agreement_1` = ICC(A,1) of the masked matrix.
    """
    s = np.asarray(scores, np.float64)
    n = len(s)
    if s.shape != (n, n) or n < 3 or np.isnan(s).any():
        raise InputError("A peer matrix must be square, at least 3 x 3, and complete.")
    off = ~np.eye(n, dtype=bool)
    others = np.where(off, s, 0).sum(axis=0) / (n - 1)
    expected = _additive(s, off)
    found = icc(np.where(off, s, expected).T, estimated=n)
    return {
        "author_mean": others,
        "self_preference": np.diag(s - expected),
        "icc_consistency_k": found["consistency_k"],
        "icc_agreement_1": found["agreement"],
    }


def _additive(s: Floats, known: np.ndarray) -> Floats:
    """Row plus column effects fitted to the known cells."""
    n = len(s)
    i, j = np.nonzero(known)
    design = np.zeros((len(i), 2 * n))
    design[np.arange(len(i)), i] = design[np.arange(len(i)), n + j] = 1
    effects = np.linalg.lstsq(design, s[i, j], rcond=None)[0]
    return effects[:n, None] + effects[None, n:]


LEVELS = np.arange(1.0, 6.0)


def soft_levels(mean: float, sd: float, low: float = 1.0, high: float = 5.0) -> Floats:
    """A distribution over five levels with the mean and spread of human ratings (DeQA, arXiv 2501.11561).

    p(l) = Phi(l + 1/2) - Phi(l - 1/2), made to keep the mean by a p + b, clipped at 0 and renormalised; where that
    misses the mean by 0.1, or the spread is below 0.2, the mean is split between the two neighbouring levels.

    Args:
        mean: Of the ratings, on their scale.
        sd: Their standard deviation.
        low: Lower end of the scale.
        high: Upper end.

    Returns:
        Probabilities of the levels 1 ... 5, `[5]`.
    """
    if not (low < high and low <= mean <= high and sd >= 0):
        raise InputError(f"mean={mean}, sd={sd} do not fit a scale from {low} to {high}.")
    mu, spread = 4 * (mean - low) / (high - low) + 1, 4 * sd / (high - low)
    if spread >= 0.2:
        p = np.maximum(adjusted_levels(mu, spread), 0)
        p /= p.sum()
        if abs(p @ LEVELS - mu) <= 0.1:
            return p
    below = min(int(np.floor(mu)), 4)
    return np.interp(LEVELS, [below - 1, below, below + 1, below + 2], [0, below + 1 - mu, mu - below, 0])


def adjusted_levels(mu: float, spread: float) -> Floats:
    """The linear step of `soft_levels`, before clipping; without it at the middle of the scale, where it is 0 / 0."""
    p = np.asarray(ndtr((LEVELS + 0.5 - mu) / spread) - ndtr((LEVELS - 0.5 - mu) / spread), np.float64)
    total, moment = p.sum(), p @ LEVELS
    if abs(mu - 3) <= 1e-6:
        return p + (1 - total) / 5
    alpha = (mu - 3) / (moment - 3 * total)
    return alpha * p + (1 - alpha * total) / 5


def level_distance(p: ArrayLike, mean: ArrayLike, sd: ArrayLike, low: float = 1.0, high: float = 5.0) -> pd.DataFrame:
    """How far a judge's distribution over five levels is from people's soft label, one row an answer.

    Args:
        p: The judge's distributions over the levels 1 ... 5, `[answers, 5]`; NaN unread.
        mean: Of people's ratings of each answer, on their scale.
        sd: Their standard deviation.
        low: Lower end of people's scale.
        high: Upper end.

    Returns:
        `w1` (Wasserstein-1, in levels), `kl` (people against judge, nats, clipped at 1e-12), and `w1_uniform`, the
        first for a judge without opinion; NaN where one is unknown.
    """
    judge = np.asarray(p, np.float64)
    rows: list[dict[str, float]] = []
    if judge.ndim != 2 or judge.shape[1] != len(LEVELS):
        raise InputError(f"Distributions must be [answers, 5], not {list(judge.shape)}.")
    for own, mu, spread in zip(judge, np.asarray(mean, np.float64), np.asarray(sd, np.float64)):
        if np.isnan([*own, mu, spread]).any():
            rows.append(dict.fromkeys(("w1", "kl", "w1_uniform"), np.nan))
            continue
        people = soft_levels(mu, spread, low, high)
        moved = {"w1": own, "w1_uniform": np.full(len(LEVELS), 0.2)}
        far = {name: float(w1(people, q, LEVELS)) for name, q in moved.items()}
        rows.append({"w1": far["w1"], "kl": float(kl(people, own.clip(1e-12))), "w1_uniform": far["w1_uniform"]})
    return pd.DataFrame(rows)


PANEL = "panel (mean)"
"""Name of the mean over the prompts of a panel."""
MEASURES: dict[str, Callable[[Floats, Floats], float]] = {
    "weighted kappa": lambda given, own: kappa(given.round(), own.round(), "quadratic"),
    "alpha": lambda given, own: alpha(np.stack([given, own]).round()),
    "Spearman": lambda given, own: correlation(given, own, fewest=3),
    "Kendall": lambda given, own: correlation(given, own, "kendall", fewest=3),
}
"""Agreement of two columns of marks."""
Panels = Mapping[str, Mapping[str, Floats]]
"""Judge -> prompt -> mark of every answer on the scale of the given marks, `[cases, candidates]`."""


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked of one judge, and of planted ones beside it."""

    judge: str
    """Name of the judge."""
    cases: Cases
    """Answers with marks."""
    sets: Mapping[str, Cases]
    """Label -> cases with a better and a worse answer."""
    forms: Sequence[Template]
    """Pointwise templates of the panel that the cases can fill."""
    pair: Template
    """The pairwise template."""
    scale: tuple[float, float]
    """The lowest and the highest mark."""
    span: str
    """The scale in words."""
    chat: bool
    """Through the chat template."""

    @property
    def first(self) -> str:
        """Label of the first set."""
        return next(iter(self.sets))

    def marking(self) -> list[Question]:
        """The panel's questions about the marked cases, and a checklist's."""
        return questions(self.cases, [*self.forms, load_template("checklist")], self.chat)

    def comparing(self, name: str) -> list[Question]:
        """The comparisons in a set, in both orders."""
        return pairwise(self.sets[name], self.pair, self.chat)

    def yes(self, name: str) -> list[Question]:
        """Whether each answer of a set is right."""
        return pointwise(self.sets[name], load_template("correct"), self.chat)

    def questions(self) -> list[Question]:
        """All of these."""
        pairs = [question for ask in (self.comparing, self.yes) for name in self.sets for question in ask(name)]
        return [*self.marking(), *pairs]

    def likely(self) -> dict[str, list[Question]]:
        """Label -> questions whose options are the answers themselves."""
        return {name: likelihood(cases) for name, cases in self.sets.items()}


def study(
    judge: str,
    cases: Cases,
    sets: Mapping[str, Cases],
    panel: Iterable[Template],
    pair: Template,
    scale: Sequence[float] | None,
    chat: bool,
) -> Study:
    """Return what to ask about marked answers and about pairs.

    Args:
        judge: Name of the judge.
        cases: Answers with marks.
        sets: Label -> cases with a better and a worse answer.
        panel: Pointwise templates; those that the cases cannot fill are left out.
        pair: A pairwise template.
        scale: The lowest and the highest mark; by default those of the cases.
        chat: Through the chat template.

    Raises:
        InputError: There are no marks, or some lie outside the scale.
    """
    if not cases.known:
        raise InputError(f"{cases.origin.name} holds no scores to agree with; add the column score.")
    low, high = (min(scale), max(scale)) if scale else cases.ends
    least, most = np.nanmin(cases.scores), np.nanmax(cases.scores)
    if not low <= least or not most <= high:
        raise InputError(
            f"The marks go from {least:g} to {most:g}, beyond scale={scale}; give the ends of their scale."
        )
    own = "" if scale else ", the lowest and highest mark of these cases; where it goes further, give `scale`"
    forms = [form for form in panel if all(can_fill(form, case) for case in cases)]
    return Study(judge, cases, sets, forms, pair, (low, high), f"their scale {low:g} to {high:g}{own}", chat)


def marking(study: Study, answers: pd.DataFrame) -> Judgement:
    """Return what the judge says of the marked cases."""
    return judgement(study.judge, answers_to(answers, study.marking()), study.cases.ids)


def panels(study: Study, answers: pd.DataFrame) -> Panels:
    """Return the marks of the judge by prompt and as their mean, and the means of two planted judges."""
    asked = study.marking()
    found = {study.judge: _with_mean(_marks(study, answers))}
    for name in ("oracle", "longer"):
        table = planted.answers(planted.judge(name, human=study.scale), asked)
        found[name] = {PANEL: _with_mean(_marks(study, table))[PANEL]}
    return found


def differences(study: Study, panels: Panels) -> pd.DataFrame:
    """Return the judge's mark minus the given one, and its size, as proportions of the scale, one row an answer."""
    low, high = study.scale
    gap = (panels[study.judge][PANEL] - study.cases.scores).ravel() / (high - low)
    ids = np.array(study.cases.ids)[_cases(study)]
    return pd.DataFrame({"question_id": ids, "mark minus the given one": gap, "size of that": np.abs(gap)})


def marks(study: Study, panels: Panels, seed: int, draws: int = 199) -> pd.DataFrame:
    """Return the agreement of every judge's marks with the given ones, by prompt and measure."""
    given, clusters = study.cases.scores.ravel(), _cases(study)
    rows = [
        {"judge": judge, "prompt": prompt, "measure": name}
        | bootstrap(measure, given, scores.ravel(), clusters=clusters, draws=draws, seed=seed)
        for judge, prompts in panels.items()
        for prompt, scores in prompts.items()
        for name, measure in MEASURES.items()
    ]
    return pd.DataFrame(rows)


def by_level(study: Study, panels: Panels, seed: int, draws: int = 299) -> pd.DataFrame:
    """Return `icc_report` of every judge and prompt over levels of quality; empty where a case lacks a level."""
    given, columns = study.cases.scores, ["mean", "low", "high", "loo_low", "loo_high", "n", "note"]
    levels = np.unique(given[~np.isnan(given)])
    graded = all(set(row[~np.isnan(row)]) == set(levels) for row in given)
    reports = [
        icc_report(levels, [scores[given == level].mean() for level in levels], draws=draws, seed=seed).assign(
            judge=judge, prompt=prompt
        )
        for judge, prompts in panels.items()
        for prompt, scores in prompts.items()
        if graded
    ]
    table = pd.concat(reports, ignore_index=True) if reports else pd.DataFrame()
    table = table.reindex(columns=["judge", "prompt", "statistic", *columns])
    table.attrs["reason"] = "not every case has an answer at each level"
    return table


@dataclass(frozen=True, slots=True)
class Raters:
    """The people, or planted people, one of whom a judge replaces."""

    marks: Floats
    """Their marks, `[raters, answers]`, NaN unknown."""
    name: str
    """What they are called."""
    one: str
    """What one of them is called."""


def raters(study: Study, seed: int) -> Raters:
    """Return the raters of the marked cases; below two of them five planted ones: the given marks with noise."""
    given = study.cases.scores.ravel()
    marks = study.cases.ratings.reshape(len(study.cases.ratings), given.size)
    if len(marks) > 1:
        return Raters(marks, f"{len(marks)} raters", "a rater")
    noise = np.random.default_rng(seed).normal(0, 0.6, (5, given.size))
    return Raters(np.clip(np.round(given + noise), *study.scale), "5 planted raters", "a planted rater")


def replaced(panels: Panels, raters: Raters) -> pd.DataFrame:
    """Return `replace_rater` for every judge's panel, with the number of answers n."""
    tables = [
        replace_rater(raters.marks, prompts[PANEL].ravel().round()).assign(judge=judge, n=raters.marks.shape[1])
        for judge, prompts in panels.items()
    ]
    return pd.concat(tables)


def mean_changes(study: Study, panels: Panels, raters: Raters, seed: int, draws: int = 199) -> pd.DataFrame:
    """Return the mean change of alpha when a rater gives way to each judge, with an interval over questions."""

    def change(*marks: Floats) -> float:
        found = replace_rater(np.stack(marks[:-1]), marks[-1])
        return float(found.loc[found["replaced"] >= 0, "change"].mean())

    rows = []
    for judge, prompts in panels.items():
        columns = (*raters.marks, prompts[PANEL].ravel().round())
        rows.append({"judge": judge, **bootstrap(change, *columns, clusters=_cases(study), draws=draws, seed=seed)})
    return pd.DataFrame(rows)


def doubt(study: Study, judge: Judgement, raters: Raters) -> pd.DataFrame:
    """Return the distance of the judge's five-level distributions from the raters' soft labels, by prompt.

    Returns:
        `w1` (levels), `w1_uniform` (of a judge without opinion), `gain` of the first over the second, `kl` (nats);
        empty where no prompt has five levels.
    """
    mean, sd = np.nanmean(raters.marks, axis=0), np.nanstd(raters.marks, axis=0)
    tables = []
    for prompt, reads in judge.reads.items():
        if len(reads.values) == len(LEVELS):
            own = by_candidate(reads.keys, reads.p, study.cases.ids).reshape(-1, len(LEVELS))
            far = level_distance(own, mean, sd, *study.scale)
            tables.append(far.assign(prompt=prompt, case=_cases(study), gain=far["w1_uniform"] - far["w1"]))
    if tables:
        return summarise(pd.concat(tables), ["w1", "w1_uniform", "gain", "kl"], by="prompt", cluster="case")
    none = pd.DataFrame(columns=["prompt", "metric", "mean", "low", "high", "n", "n_clusters"])
    none.attrs["reason"] = "no prompt of the panel has five levels"
    return none


def comparisons(study: Study, answers: pd.DataFrame) -> dict[str, Judgement]:
    """Return what the judge says when it compares the answers of every set."""
    return {
        name: judgement(study.judge, answers_to(answers, study.comparing(name)), cases.ids)
        for name, cases in study.sets.items()
    }


def standing(study: Study, compared: Mapping[str, Judgement]) -> pd.DataFrame:
    """Return the `standings` of the judge by set."""
    key = study.pair.key
    tables = [order_tables([each], key, study.sets[name].scores).assign(data=name) for name, each in compared.items()]
    return standings(pd.concat(tables), ["data"])


def better(
    study: Study, answers: pd.DataFrame, compared: Mapping[str, Judgement], likely: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return how often comparison, P(Yes), mutual information and length name the better answer, by set.

    Args:
        study: What was asked.
        answers: To `study.questions()`.
        compared: Made by `comparisons`.
        likely: Label -> answers to `study.likely()`, with their unconditional log-probability.
    """
    rows: list[dict[str, Any]] = []
    for name, cases in study.sets.items():
        relations = aggregate(compared[name].pairs(study.pair.key), "likelihood")
        rows.append({"data": name, "judge": "comparison", **sign_accuracy(relations, cases.scores)})
        yes, table = label_reads(answers_to(answers, study.yes(name))), likely[name]
        gain = (table["logprob"] - table["logprob_unconditional"]) / table["n_tokens"]
        heads = {
            "P(Yes)": by_candidate(yes.keys, yes.p[:, 1], cases.ids),
            "pmi": likelihood_reward(table, gain, cases.ids),
            "longer": cases.chars,
        }
        for head, scores in heads.items():
            right = right_pairs(scores, cases.scores)
            found = interval(right["right"], right["case"], "bootstrap", bounds=SHARE)
            rows.append({"data": name, "judge": head, **found})
    table = pd.DataFrame(rows)
    return table.assign(**{"against chance": [versus(row, 0.5) for _, row in table.iterrows()]})


def marks_by_set(study: Study) -> str:
    """Return whose marks say which answer is better, by set."""
    return "; ".join(f"{name}: {cases.marks}" for name, cases in study.sets.items())


def jury_table(study: Study, compared: Mapping[str, Judgement]) -> pd.DataFrame:
    """Return the accuracy of the judge, three planted ones, and juries of them, on the first set."""
    cases, asked = study.sets[study.first], study.comparing(study.first)
    bench = planted.judged(("noisy", "longer", "first"), asked, cases, q=0.2)
    verdicts = {each.judge: each.pairs(study.pair.key) for each in (compared[study.first], *bench)}
    stack = np.stack(list(verdicts.values()))
    for how in get_args(How):
        verdicts[f"jury ({how})"] = jury(stack.reshape(len(stack), -1, 3), how).reshape(stack.shape[1:])
    rows = [{"judge": each, **sign_accuracy(aggregate(p, "likelihood"), cases.scores)} for each, p in verdicts.items()]
    return pd.DataFrame(rows)


def main_mark(study: Study, marks: pd.DataFrame) -> pd.Series[Any]:
    """Return the row of the headline: rank correlation of the judge's panel with the given marks."""
    own = marks[(marks["judge"] == study.judge) & (marks["prompt"] == PANEL)]
    return rows_by(own, "measure")["Spearman"]


def findings(
    study: Study,
    marks: pd.DataFrame,
    levels: pd.DataFrame,
    changes: pd.DataFrame,
    better: pd.DataFrame,
    raters: Raters,
) -> list[Finding]:
    """Return the claims of the papers and of this notebook, tested on the judge.

    Args:
        study: What was asked.
        marks: Made by `marks`.
        levels: Made by `by_level`; without rows there is no claim about bias.
        changes: Made by `mean_changes`.
        better: Made by `better`.
        raters: Made by `raters`.
    """
    here, whose, spearman = "this notebook", study.cases.marks, main_mark(study, marks)
    blind = unless(spearman, "above", 0.0, "the marks of the panel are unrelated to those given")
    acorn = "ACORN v1, arXiv 2405.04818 (v2: not with larger models)"
    acorn += "" if raters.one == "a rater" else "; its raters are people, here planted"
    change = rows_by(changes, "judge")[study.judge]
    own = levels[(levels["judge"] == study.judge) & (levels["prompt"] == PANEL) & (levels["statistic"] == "bias")]
    higher = f"The judge's marks are higher than {whose}"
    found = [
        finding(f"Marks of the panel rank answers as {whose} do", here, spearman, "above"),
        finding(f"Replacing {raters.one} by the judge lowers agreement", acorn, change, "below", 0.0, blind),
        *[finding(higher, "MentalAlign, arXiv 2510.19032", row, "above", 0.0, blind) for _, row in own.iterrows()],
    ]
    for head, says in (("P(Yes)", "P(Yes)"), ("comparison", "Comparing")):
        for name, row in rows_by(better[better["judge"] == head], "data").items():
            claim = f"{says} agrees with {study.sets[name].marks} on {name} more than chance"
            found.append(finding(claim, here, row, "above", 0.5))
    return found


def draw_marks(study: Study, marks: pd.DataFrame) -> Figure:
    """Draw the rank correlation of every judge's marks with the given ones, by prompt."""
    label, shown = f"rank correlation with {study.cases.marks}", marks[marks["measure"] == "Spearman"]
    look: dict[str, Any] = {"baseline": 0.0, "baseline_name": "none"}
    drawn = figures.intervals(shown, "prompt", by="judge", xlabel=label, **look)
    return described(drawn, f"Rank correlation of each prompt's marks with {study.cases.marks}, with intervals.")


def draw_levels(levels: pd.DataFrame) -> Figure | None:
    """Draw ICC(A,1) with the range when one level is left out; None without any report."""
    if levels.empty:
        return None
    label, shown = "ICC(A,1); whiskers: one level left out", levels[levels["statistic"] == "ICC(A,1)"]
    drawn = figures.intervals(shown, "prompt", by="judge", low="loo_low", high="loo_high", xlabel=label)
    return described(drawn, "ICC of each prompt with leave-one-out whiskers.")


def draw_changes(changes: pd.DataFrame) -> Figure:
    """Draw the mean change of alpha when a rater gives way to each judge."""
    look: dict[str, Any] = {"baseline": 0.0, "baseline_name": "as a rater"}
    drawn = figures.intervals(changes, "judge", xlabel="change of alpha when a rater is replaced", **look)
    return described(drawn, "Change of alpha when one rater is replaced by each judge.")


def draw_better(better: pd.DataFrame) -> Figure:
    """Draw how often each judge names the better answer, by set."""
    drawn = figures.intervals(better, "data", by="judge", baseline=0.5, xlabel="names the better answer")
    return described(drawn, "Proportion of pairs on which each judge names the better answer, by data set and judge.")


def _cases(study: Study) -> NDArray[np.intp]:
    """The case of every answer, `[answers]`."""
    return np.repeat(np.arange(len(study.cases)), study.cases.scores.shape[1])


def _marks(study: Study, answers: pd.DataFrame) -> dict[str, Floats]:
    """The mark of every answer by every prompt, carried to the scale of the given marks."""
    asked, ids = answers_to(answers, study.marking()), study.cases.ids
    checks = asked["template"] == "checklist"
    judged = judgement(study.judge, asked[~checks], ids)
    found = {}
    for prompt, reads in judged.reads.items():
        ends = (float(reads.values.min()), float(reads.values.max()))
        found[prompt] = rescale(judged.scores(prompt), ends, study.scale)
    if checks.any():
        found["checklist"] = rescale(checklist_scores(label_reads(asked[checks]), ids), (0, 1), study.scale)
    return found


def _with_mean(marks: dict[str, Floats]) -> dict[str, Floats]:
    return {**marks, PANEL: np.mean(list(marks.values()), axis=0)}
