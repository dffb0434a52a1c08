"""Agreement of a judge with human marks: kappa, alpha, ICC, soft labels, panels and juries."""

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
from workbench.judges.prompts import Template, can_fill, likelihood, load_template, pairwise, pointwise, questions
from workbench.judges.readings import (
    Judgement,
    answers_to,
    by_candidate,
    checklist_scores,
    in_words,
    judgement,
    label_probabilities,
    likelihood_rewards,
    rescale,
)
from workbench.judges.relations import (
    against_chance,
    aggregate,
    differences,
    order_tables,
    pair_accuracy,
    right_pairs,
)
from workbench.questions import Question
from workbench.statistics import Finding, bootstrap, finding, interval, rows_by, summarise, unless, versus
from workbench.statistics.comparisons import correlation, icc
from workbench.statistics.distances import kl, w1
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Weights = Literal["linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
Pooling = Literal["mean", "logit", "vote"]


def kappa(a: ArrayLike, b: ArrayLike, weights: Weights | None = None) -> float:
    """Cohen's kappa of two raters; NaN if both use one and the same label only, or share no items.

    Labels are `[items]`; items with a missing label (NaN, None) are left out. Levels may have weights, names may not.
    """
    from sklearn.metrics import cohen_kappa_score

    left, right = np.asarray(a).tolist(), np.asarray(b).tolist()
    if len(left) != len(right):
        raise InputError(f"Two raters need the same items; they have {len(left)} and {len(right)}.")
    pairs = [pair for pair in zip(left, right) if not any(map(pd.isna, pair))]
    if any(isinstance(label, float) and not label.is_integer() for pair in pairs for label in pair):
        raise InputError("Kappa needs labels or whole levels; round expected scores first.")
    ours, theirs = (
        ([int(x) if isinstance(x, float) else x for x in side] for side in zip(*pairs)) if pairs else ([], [])
    )
    labels = sorted({*ours, *theirs})
    if len(labels) < 2:
        return float("nan")
    return float(cohen_kappa_score(ours, theirs, labels=labels, weights=weights))


def alpha(ratings: ArrayLike, level: Level = "ordinal") -> float:
    """Krippendorff's alpha of `[raters, items]`; NaN with one value only or without an item rated by two raters."""
    import krippendorff

    r = np.asarray(ratings, np.float64)
    if r.ndim != 2:
        raise InputError(f"Ratings must be [raters, items], not {list(r.shape)}.")
    pairable = r[:, (~np.isnan(r)).sum(axis=0) > 1]
    if len(np.unique(pairable[~np.isnan(pairable)])) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=r, level_of_measurement=level))


def icc_report(human: ArrayLike, judge: ArrayLike, draws: int = 999, seed: int = 0) -> pd.DataFrame:
    """Return consistency, agreement and bias of a judge over sources, as MentalAlign reports them (arXiv 2510.19032).

    Mean ratings of each source (model) are `[sources]`; the bootstrap is over sources.

    Returns:
        Rows ICC(C,1), ICC(A,1) and bias (judge - human): keys of `statistics.bootstrap`, then `loo_low` and
        `loo_high`, the range when one source is left out. NaN below three sources.
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
        row = bootstrap(statistic, y[:, 0], y[:, 1], draws=draws, seed=seed)
        rows.append({"statistic": name, **row, "loo_low": min(left), "loo_high": max(left)})
    return pd.DataFrame(rows)


def replace_rater(ratings: ArrayLike, judge: ArrayLike) -> pd.DataFrame:
    """Return ordinal alpha of raters, with each of them replaced by a judge, and with the judge added (ACORN).

    Ratings are `[raters, items]`, those of the judge `[items]`. Columns: `replaced` ("none", "rater 1" …, "judge
    added"), `alpha`, and `change` from the alpha of the raters alone (arXiv 2405.04818).
    """
    r, j = np.asarray(ratings, np.float64), np.asarray(judge, np.float64)
    if r.ndim != 2 or j.shape != r.shape[1:]:
        raise InputError(f"ratings must be [raters, items] and judge [items], not {list(r.shape)} and {list(j.shape)}.")
    panels = {"none": r, **{f"rater {k + 1}": np.vstack([np.delete(r, k, axis=0), j]) for k in range(len(r))}}
    panels["judge added"] = np.vstack([r, j])
    table = pd.DataFrame({"replaced": list(panels), "alpha": [alpha(panel) for panel in panels.values()]})
    return table.assign(change=table["alpha"] - table["alpha"].iloc[0])


def jury(p: ArrayLike, how: Pooling = "mean") -> Floats:
    """Return the pooled distributions `[items, labels]` of `[judges, items, labels]`, without rows of NaN.

    `mean` is that of the probabilities, `logit` the normalised geometric mean, `vote` the proportion of judges whose
    most probable label it is, split at ties.
    """
    if how not in get_args(Pooling):
        raise unknown("pooling method", how, list(get_args(Pooling)))
    x = np.asarray(p, np.float64)
    if x.ndim != 3:
        raise InputError(f"A jury needs [judges, items, labels], not {list(x.shape)}.")
    if how == "vote":
        best = x >= x.max(axis=-1, keepdims=True)
        x = np.where(np.isnan(x), np.nan, best / best.sum(axis=-1, keepdims=True).clip(1))
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # items without any verdict
        if how != "logit":
            return np.asarray(np.nanmean(x, axis=0), np.float64)
        logs = np.nanmean(np.log(x), axis=0)
        weights = np.exp(logs - logs.max(axis=-1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=-1, keepdims=True), np.float64)


def peer_matrix(scores: ArrayLike) -> dict[str, Any]:
    """Return agreement and self-preference of models that score each other, `[models, models]`, reviewer by author.

    Scores of a model for itself are masked: the additive fit of the other scores replaces the diagonal, and the error
    loses one degree of freedom per model.

    Returns:
        `author_mean` (without self-scores), `self_preference` (self-score minus the sum of reviewer and author effects
        fitted to the other scores), and `icc_consistency_k` = ICC(C,k), `icc_agreement_1` = ICC(A,1) of the masked
        matrix.
    """
    s = np.asarray(scores, np.float64)
    n = len(s)
    if s.shape != (n, n) or n < 3 or np.isnan(s).any():
        raise InputError(f"A peer matrix must be square, at least 3 x 3 and without NaN, not {list(s.shape)}.")
    off = ~np.eye(n, dtype=bool)
    i, j = np.nonzero(off)
    design = np.zeros((len(i), 2 * n))
    design[np.arange(len(i)), i] = design[np.arange(len(i)), n + j] = 1
    effects = np.linalg.lstsq(design, s[i, j], rcond=None)[0]
    expected = effects[:n, None] + effects[None, n:]
    masked = icc(np.where(off, s, expected).T, estimated=n)
    return {
        "author_mean": np.where(off, s, 0).sum(axis=0) / (n - 1),
        "self_preference": np.diag(s - expected),
        "icc_consistency_k": masked["consistency_k"],
        "icc_agreement_1": masked["agreement"],
    }


LEVELS = np.arange(1.0, 6.0)


def soft_levels(mean: float, sd: float, low: float = 1.0, high: float = 5.0) -> Floats:
    """Return a distribution over five levels with the mean and spread of human ratings (DeQA, arXiv 2501.11561).

    p(l) = Phi(l + 1/2) - Phi(l - 1/2), adjusted to a p + b with the same mean, clipped at 0 and renormalised. If that
    misses the mean by 0.1, or the spread is below 0.2, the probability is split between the two neighbouring levels.
    Mean and standard deviation are on the scale from low to high of the ratings.
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
    """Return the linear adjustment of `soft_levels` before clipping; at mid-scale, where it is 0 / 0, a shift only."""
    p = np.asarray(ndtr((LEVELS + 0.5 - mu) / spread) - ndtr((LEVELS - 0.5 - mu) / spread), np.float64)
    total, moment = p.sum(), p @ LEVELS
    slope = 1.0 if abs(mu - 3) <= 1e-6 else (mu - 3) / (moment - 3 * total)
    return slope * p + (1 - slope * total) / 5


def level_distance(p: ArrayLike, mean: ArrayLike, sd: ArrayLike, low: float = 1.0, high: float = 5.0) -> pd.DataFrame:
    """Return the distance of a judge's distribution over five levels from the human soft label, one row per answer.

    Distributions over the levels 1 ... 5 are `[answers, 5]`, NaN without a verdict. Means and standard deviations of
    the human ratings are on the scale from low to high, `[answers]`.

    Returns:
        `w1` (Wasserstein-1, in levels), `kl` (human against judge, nats, clipped at 1e-12), and `w1_uniform`, the
        Wasserstein-1 distance of a uniform judge; NaN if an input is NaN.
    """
    judge = np.asarray(p, np.float64)
    if judge.ndim != 2 or judge.shape[1] != len(LEVELS):
        raise InputError(f"Distributions must be [answers, 5], not {list(judge.shape)}.")
    rows = np.full((len(judge), 3), np.nan)
    for row, q, mu, spread in zip(rows, judge, np.asarray(mean, np.float64), np.asarray(sd, np.float64)):
        if not np.isnan([*q, mu, spread]).any():
            human = soft_levels(mu, spread, low, high)
            row[:] = w1(human, q, LEVELS), kl(human, q.clip(1e-12)), w1(human, np.full(len(LEVELS), 0.2), LEVELS)
    return pd.DataFrame(rows, columns=["w1", "kl", "w1_uniform"])


PANEL = "panel (mean)"
"""Name of the mean over the prompts of a panel."""
MEASURES: dict[str, Callable[[Floats, Floats], float]] = {
    "weighted kappa": lambda human, judge: kappa(human.round(), judge.round(), "quadratic"),
    "alpha": lambda human, judge: alpha(np.stack([human, judge]).round()),
    "Spearman": lambda human, judge: correlation(human, judge, fewest=3),
    "Kendall": lambda human, judge: correlation(human, judge, "kendall", fewest=3),
}
"""Agreement of two columns of marks."""
Panels = Mapping[str, Mapping[str, Floats]]
"""Judge -> prompt -> mark of every answer on the scale of the data, `[cases, candidates]`."""


@dataclass(frozen=True, slots=True)
class Study:
    """The cases and templates of one run, and their questions."""

    judge: str
    """Name of the judge."""
    cases: Cases
    """Cases with marks."""
    sets: Mapping[str, Cases]
    """Label -> cases with a better and a worse answer."""
    forms: Sequence[Template]
    """Pointwise templates of the panel that the cases can fill."""
    pair: Template
    """Pairwise template."""
    scale: tuple[float, float]
    """Lowest and highest mark."""
    span: str
    """Description of the scale."""
    chat: bool
    """Whether questions use the chat template."""

    @property
    def first(self) -> str:
        """Label of the first set."""
        return next(iter(self.sets))

    @property
    def case_of_answer(self) -> NDArray[np.intp]:
        """Index of the case of every answer, `[answers]`."""
        return np.repeat(np.arange(len(self.cases)), self.cases.scores.shape[1])

    def marking(self) -> list[Question]:
        """Return the questions of the panel and of a checklist about the cases with marks."""
        return questions(self.cases, [*self.forms, load_template("checklist")], self.chat)

    def comparing(self, name: str) -> list[Question]:
        """Return the pairwise questions about a set, in both orders."""
        return pairwise(self.sets[name], self.pair, self.chat)

    def yes(self, name: str) -> list[Question]:
        """Return the yes-or-no questions about the answers of a set."""
        return pointwise(self.sets[name], load_template("correct"), self.chat)

    def questions(self) -> list[Question]:
        """Return all questions with labels as options."""
        pairs = [question for make in (self.comparing, self.yes) for name in self.sets for question in make(name)]
        return [*self.marking(), *pairs]

    def likely(self) -> dict[str, list[Question]]:
        """Return by set the questions whose options are the answers themselves."""
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
    """Return the study of a judge; see `Study`.

    Templates of the panel that the cases cannot fill are left out. The default scale is that of the marks.

    Raises:
        InputError: The cases have no marks, or marks outside the scale.
    """
    if not cases.known:
        raise InputError(f"{cases.origin.name} has no scores to agree with; add the column score.")
    low, high = (min(scale), max(scale)) if scale else cases.ends
    least, most = np.nanmin(cases.scores), np.nanmax(cases.scores)
    if not low <= least or not most <= high:
        raise InputError(f"The marks range from {least:g} to {most:g}, beyond scale={scale}; give the whole scale.")
    origin = "" if scale else ", the lowest and highest mark of these cases; set `scale` if it extends further"
    forms = [form for form in panel if all(can_fill(form, case) for case in cases)]
    return Study(judge, cases, sets, forms, pair, (low, high), f"scale {low:g} to {high:g}{origin}", chat)


def marking(study: Study, answers: pd.DataFrame) -> Judgement:
    """Return the judge's responses to the panel."""
    return judgement(study.judge, answers_to(answers, study.marking()), study.cases.ids)


def panels(study: Study, answers: pd.DataFrame) -> Panels:
    """Return the marks of the judge by prompt and their mean, and the mean marks of two planted judges."""
    judges = {study.judge: _marks(study, answers)}
    for name in ("oracle", "longer"):
        table = planted.answers(planted.judge(name, human=study.scale), study.marking())
        judges[name] = {PANEL: _marks(study, table)[PANEL]}
    return judges


def mark_errors(study: Study, panels: Panels) -> pd.DataFrame:
    """Return the judge's mark minus the given mark and its size, as proportions of the scale, one row per answer."""
    low, high = study.scale
    error = (panels[study.judge][PANEL] - study.cases.scores).ravel() / (high - low)
    ids = np.array(study.cases.ids)[study.case_of_answer]
    return pd.DataFrame({"question_id": ids, "error": error, "absolute error": np.abs(error)})


def mark_agreement(study: Study, panels: Panels, seed: int, draws: int = 199) -> pd.DataFrame:
    """Return the agreement with the given marks by judge, prompt and measure."""
    human = study.cases.scores.ravel()
    rows = [
        {"judge": judge, "prompt": prompt, "measure": name}
        | bootstrap(measure, human, scores.ravel(), clusters=study.case_of_answer, draws=draws, seed=seed)
        for judge, prompts in panels.items()
        for prompt, scores in prompts.items()
        for name, measure in MEASURES.items()
    ]
    return pd.DataFrame(rows)


def icc_by_level(study: Study, panels: Panels, seed: int, draws: int = 299) -> pd.DataFrame:
    """Return `icc_report` by judge and prompt over levels of quality; empty if a case lacks a level."""
    human, reports = study.cases.scores, []
    levels = np.unique(human[~np.isnan(human)])
    if all(set(row[~np.isnan(row)]) == set(levels) for row in human):
        for judge, prompts in panels.items():
            for prompt, scores in prompts.items():
                means = [scores[human == level].mean() for level in levels]
                reports.append(icc_report(levels, means, draws, seed).assign(judge=judge, prompt=prompt))
    columns = ["judge", "prompt", "statistic", "mean", "low", "high", "loo_low", "loo_high", "n", "note"]
    table = pd.concat(reports, ignore_index=True) if reports else pd.DataFrame()
    table = table.reindex(columns=columns)
    table.attrs["reason"] = "not every case has an answer at each level"
    return table


@dataclass(frozen=True, slots=True)
class Raters:
    """Human or planted raters that the judge replaces one by one."""

    marks: Floats
    """Their marks, `[raters, answers]`, NaN unknown."""
    name: str
    """Description of all of them."""
    one: str
    """Description of one of them."""


def raters(study: Study, seed: int) -> Raters:
    """Return the raters of the marked cases; with fewer than two, five planted raters: the given marks plus noise."""
    human = study.cases.scores.ravel()
    marks = study.cases.ratings.reshape(len(study.cases.ratings), human.size)
    if len(marks) > 1:
        return Raters(marks, f"{len(marks)} raters", "a rater")
    noise = np.random.default_rng(seed).normal(0, 0.6, (5, human.size))
    return Raters(np.clip(np.round(human + noise), *study.scale), "5 planted raters", "a planted rater")


def replacements(panels: Panels, raters: Raters) -> pd.DataFrame:
    """Return `replace_rater` for the panel of every judge, with the number of answers n."""
    tables = [
        replace_rater(raters.marks, prompts[PANEL].ravel().round()).assign(judge=judge, n=raters.marks.shape[1])
        for judge, prompts in panels.items()
    ]
    return pd.concat(tables)


def mean_changes(study: Study, panels: Panels, raters: Raters, seed: int, draws: int = 199) -> pd.DataFrame:
    """Return the mean change of alpha when each judge replaces one rater, with an interval over questions."""

    def change(*marks: Floats) -> float:
        table = replace_rater(np.stack(marks[:-1]), marks[-1])
        return float(table.loc[table["replaced"].str.startswith("rater "), "change"].mean())

    rows = []
    for judge, prompts in panels.items():
        columns = (*raters.marks, prompts[PANEL].ravel().round())
        row = bootstrap(change, *columns, clusters=study.case_of_answer, draws=draws, seed=seed)
        rows.append({"judge": judge, **row})
    return pd.DataFrame(rows)


def uncertainty(study: Study, judge: Judgement, raters: Raters) -> pd.DataFrame:
    """Return `level_distance` from the soft labels of the raters by prompt, and `gain` = w1_uniform - w1."""
    mean, sd = np.nanmean(raters.marks, axis=0), np.nanstd(raters.marks, axis=0)
    tables = []
    for prompt, labels in judge.prompts.items():
        if len(labels.values) == len(LEVELS):
            p = by_candidate(labels.keys, labels.p, study.cases.ids).reshape(-1, len(LEVELS))
            distance = level_distance(p, mean, sd, *study.scale)
            gain = distance["w1_uniform"] - distance["w1"]
            tables.append(distance.assign(prompt=prompt, case=study.case_of_answer, gain=gain))
    if tables:
        return summarise(pd.concat(tables), ["w1", "w1_uniform", "gain", "kl"], by="prompt", cluster="case")
    none = pd.DataFrame(columns=["prompt", "metric", "mean", "low", "high", "n", "n_clusters"])
    none.attrs["reason"] = "no prompt of the panel has five levels"
    return none


def comparisons(study: Study, answers: pd.DataFrame) -> dict[str, Judgement]:
    """Return the judge's pairwise responses by set."""
    return {
        name: judgement(study.judge, answers_to(answers, study.comparing(name)), cases.ids)
        for name, cases in study.sets.items()
    }


def chance_by_set(study: Study, compared: Mapping[str, Judgement]) -> pd.DataFrame:
    """Return whether the judge is better than chance, by set."""
    key = study.pair.key
    tables = [order_tables([each], key, study.sets[name].scores).assign(data=name) for name, each in compared.items()]
    return against_chance(pd.concat(tables), ["data"])


def selection_accuracy(
    study: Study, answers: pd.DataFrame, compared: Mapping[str, Judgement], likely: Mapping[str, pd.DataFrame | None]
) -> pd.DataFrame:
    """Return how often comparison, P(Yes), mutual information and length select the better answer, by set.

    `likely` has by set the answers to `study.likely()`, with their unconditional log-probability, or None.
    """
    rows: list[dict[str, Any]] = []
    for name, cases in study.sets.items():
        relations = aggregate(compared[name].pairs(study.pair.key), "likelihood")
        rows.append({"data": name, "judge": "comparison", **pair_accuracy(relations, cases.scores)})
        yes = label_probabilities(answers_to(answers, study.yes(name)))
        scorers = {
            "P(Yes)": by_candidate(yes.keys, yes.p[:, 1], cases.ids),
            **likelihood_rewards(likely[name], cases.ids),
            "longer": cases.chars,
        }
        scorers.pop("likelihood", None)
        for scorer, scores in scorers.items():
            right = right_pairs(differences(scores), cases.scores)
            row = interval(right["right"], right["case"], "bootstrap", bounds=SHARE)
            rows.append({"data": name, "judge": scorer, **row})
    table = pd.DataFrame(rows)
    return table.assign(**{"against chance": [versus(row, 0.5) for _, row in table.iterrows()]})


def jury_table(study: Study, compared: Mapping[str, Judgement]) -> pd.DataFrame:
    """Return the accuracy of the judge, of three planted judges and of juries of all four, on the first set."""
    cases, pairs = study.sets[study.first], study.comparing(study.first)
    bench = planted.judged(("noisy", "longer", "first"), pairs, cases, q=0.2)
    verdicts = {each.judge: each.pairs(study.pair.key) for each in (compared[study.first], *bench)}
    stack = np.stack(list(verdicts.values()))
    for how in get_args(Pooling):
        verdicts[f"jury ({how})"] = jury(stack.reshape(len(stack), -1, 3), how).reshape(stack.shape[1:])
    rows = [{"judge": each, **pair_accuracy(aggregate(p, "likelihood"), cases.scores)} for each, p in verdicts.items()]
    return pd.DataFrame(rows)


def main_mark(study: Study, marks: pd.DataFrame) -> pd.Series[Any]:
    """Return the row of the headline: rank correlation of the panel's marks with the given marks."""
    rows = marks[(marks["judge"] == study.judge) & (marks["prompt"] == PANEL)]
    return rows_by(rows, "measure")["Spearman"]


def findings(
    study: Study,
    marks: pd.DataFrame,
    errors: pd.DataFrame,
    changes: pd.DataFrame,
    better: pd.DataFrame,
    raters: Raters,
) -> list[Finding]:
    """Return the claims of the papers and of this notebook, tested on the judge with the tables made above.

    The bias is the mean of `errors` (`mark_errors`), clustered by question: five levels are too few units.
    """
    here, source, spearman = "this notebook", study.cases.marks, main_mark(study, marks)
    undecided = unless(spearman, "above", 0.0, "the marks of the panel do not correlate with the given marks")
    acorn = "ACORN v1, arXiv 2405.04818 (v2: not with larger models)"
    acorn += "" if raters.one == "a rater" else "; its raters are people, here planted"
    change = rows_by(changes, "judge")[study.judge]
    bias = interval(errors["error"], errors["question_id"], "bootstrap")
    mental, apart = "MentalAlign, arXiv 2510.19032", "mean difference of the marks, as a proportion of the scale"
    higher = f"The judge's marks are higher than {source}"
    claims = [
        finding(
            f"The panel's marks correlate with {source}",
            here,
            spearman,
            "above",
            0.0,
            "",
            "rank correlation",
            "unrelated",
        ),
        finding(
            f"Replacing {raters.one} by the judge lowers agreement",
            acorn,
            change,
            "below",
            0.0,
            undecided,
            "change of Krippendorff's alpha",
            "no change",
        ),
        finding(higher, mental, bias, "above", 0.0, undecided, apart, "equal"),
    ]
    for scorer, subject in (("P(Yes)", "P(Yes)"), ("comparison", "Pairwise comparison")):
        for name, row in rows_by(better[better["judge"] == scorer], "data").items():
            claim = f"{subject} agrees with {study.sets[name].marks} on {name} more often than chance"
            claims.append(finding(claim, here, row, "above", 0.5, "", "proportion of pairs in agreement", "chance"))
    return claims


def draw_marks(study: Study, marks: pd.DataFrame) -> Figure:
    """Draw the rank correlation of every judge's marks with the given marks, by prompt."""
    rows, label = in_words(marks[marks["measure"] == "Spearman"]), f"Spearman correlation with {study.cases.marks}"
    named: dict[str, Any] = {"baseline": 0.0, "baseline_name": "no correlation", "of": "answers"}
    drawn = figures.intervals(rows, "prompt", by="judge", xlabel=label, **named)
    return described(drawn, f"Rank correlation of each prompt's marks with {study.cases.marks}, by judge.")


def draw_levels(levels: pd.DataFrame) -> Figure | None:
    """Draw ICC(A,1) with its range when one level is left out; None if the table is empty."""
    if levels.empty:
        return None
    rows, label = in_words(levels[levels["statistic"] == "ICC(A,1)"]), "agreement with the levels, ICC(A,1)"
    zero: dict[str, Any] = {"baseline": 0.0, "baseline_name": "no agreement"}
    ends = {"low": "loo_low", "high": "loo_high", "bars": "range if one level is left out", "of": "levels"}
    drawn = figures.intervals(rows, "prompt", by="judge", xlabel=label, **zero, **ends)
    return described(drawn, "Intraclass correlation of each prompt's marks with the levels of quality, by judge.")


def draw_changes(changes: pd.DataFrame) -> Figure:
    """Draw the mean change of alpha when each judge replaces a rater."""
    label = "change of Krippendorff's alpha when the judge replaces a rater"
    zero: dict[str, Any] = {"baseline": 0.0, "baseline_name": "as good as a rater", "of": "answers"}
    drawn = figures.intervals(in_words(changes), "judge", xlabel=label, **zero)
    return described(drawn, "Change of Krippendorff's alpha when one rater is replaced by each judge.")


def draw_better(better: pd.DataFrame) -> Figure:
    """Draw how often each scorer selects the better answer, by set."""
    label = "proportion of pairs whose better answer is selected"
    rows = better.replace({"judge": {"pmi": "pointwise mutual information", "longer": "the longer answer"}})
    drawn = figures.intervals(rows, "data", by="judge", baseline=0.5, xlabel=label, of="pairs")
    return described(drawn, "Proportion of pairs whose better answer is selected, by data set and scorer, and chance.")


def _marks(study: Study, answers: pd.DataFrame) -> dict[str, Floats]:
    """Return the mark of every answer by every prompt and their mean, on the scale of the given marks."""
    panel, ids = answers_to(answers, study.marking()), study.cases.ids
    checks = panel["template"] == "checklist"
    judged = judgement(study.judge, panel[~checks], ids)
    marks = {prompt: judged.scores(prompt, scale=study.scale) for prompt in judged.prompts}
    if checks.any():
        marks["checklist"] = rescale(checklist_scores(label_probabilities(panel[checks]), ids), (0, 1), study.scale)
    return {**marks, PANEL: np.mean(list(marks.values()), axis=0)}
