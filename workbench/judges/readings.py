"""Scores and verdicts of a judge, computed from the probabilities of its labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import Bools, Floats, averaged, block_starts, bounded, faint, levels, tag_columns, wide
from workbench.errors import InputError, unknown
from workbench.questions import Question

FIRST, SECOND, TIE = 1.0, -1.0, 0.0
"""Values of the labels of a pairwise verdict: the first answer shown is better, the second is, or neither."""
MIN_MASS = 0.05
"""Responses with less probability mass on their labels are flagged as unreliable."""
HIDDEN = 0.05
"""A response is undecided if labels that were not shown may have more than this proportion of the labels' mass."""
IN_WORDS = {
    "judge": {
        "oracle": "oracle (planted: always right)",
        "first": "planted: always the first",
        "longer": "planted: the longer answer",
        "coin": "planted: undecided",
        "cyclic": "planted: levels in a circle",
        "position_biased": "planted: prefers the first",
    },
    "aggregation": {
        "two_pass": "both orders must agree",
        "likelihood": "mean of both orders",
        "debiased_logit": "log-odds without position",
        "ppl": "order of lower perplexity",
        "single_order": "one order",
    },
    "scoring": {"argmax": "most probable level", "expected": "expected score", "geval": "G-Eval score"},
}
"""Names of planted judges and methods in figures, by column."""


@dataclass(frozen=True, slots=True)
class LabelProbabilities:
    """Probabilities of the labels of one judge prompt, one row per response."""

    keys: pd.DataFrame = field(repr=False)
    """question_id and tags, `[responses]`."""
    values: Floats
    """Numeric value of each label, ascending, `[labels]`."""
    raw: Floats = field(repr=False)
    """Probability of each label, `[responses, labels]`; a lower bound where the source did not show the label."""
    top_k: Bools = field(repr=False)
    """Whether the source left out a label because it shows its top tokens only, `[responses]`."""
    high: Floats | None = field(default=None, repr=False)
    """Upper bound of each probability, `[responses, labels]`; None if every label was shown."""

    @property
    def mass(self) -> Floats:
        """Probability mass on all labels, `[responses]`."""
        return self.raw.sum(axis=1)

    @property
    def p(self) -> Floats:
        """Probabilities normalised over the labels, `[responses, labels]`; NaN if undecided or without mass."""
        mass = self.mass[:, None]
        return np.divide(self.decided, mass, out=np.full_like(self.raw, np.nan), where=mass > 0)

    @property
    def decided(self) -> Floats:
        """`raw`, NaN for undecided responses, `[responses, labels]`."""
        return np.where(self.undecided[:, None], np.nan, self.raw)

    @property
    def undecided(self) -> Bools:
        """Responses whose most probable label, or more than `HIDDEN` of the mass, depends on hidden labels."""
        if self.high is None:
            return np.zeros(len(self.raw), bool)
        top = np.arange(self.raw.shape[1]) == self.raw.argmax(axis=1)[:, None]
        rival = np.where(top, 0.0, self.high).max(axis=1)
        hidden = (self.high - self.raw).sum(axis=1)
        return np.asarray((self.raw.max(axis=1) < rival) | (hidden > HIDDEN * self.high.sum(axis=1)), bool)

    @property
    def p_bounds(self) -> tuple[Floats, Floats]:
        """Lower and upper bound of `p`; equal where every label was shown."""
        high = self.raw if self.high is None else self.high
        ends = []
        for one, others in ((self.raw, high), (high, self.raw)):
            whole = one + others.sum(axis=1, keepdims=True) - others
            ends.append(np.divide(one, whole, out=np.full_like(one, np.nan), where=whole > 0))
        return ends[0], ends[1]

    @property
    def low_mass(self) -> Bools:
        """Responses with a mass below `MIN_MASS` or below a quarter of the median mass, `[responses]`."""
        return np.asarray((self.mass < MIN_MASS) | faint(self.mass), bool)

    def counts(self) -> dict[str, int]:
        """Return n_total, n_unparsed, n_low_mass, n_top_k and n_undecided (of those with mass)."""
        return {
            "n_total": len(self.raw),
            "n_unparsed": int((self.mass <= 0).sum()),
            "n_low_mass": int(self.low_mass.sum()),
            "n_top_k": int(self.top_k.sum()),
            "n_undecided": int((self.undecided & (self.mass > 0)).sum()),
        }


def label_probabilities(answers: pd.DataFrame) -> LabelProbabilities:
    """Return the probability of each label for every response.

    Options with the same `value` are surface forms of one label: their probabilities are added, and forms with the
    same tokens count once. Among numbers, "8" includes everything that starts with it if "85" takes one more token;
    the probability of "85" is subtracted from that of "8". Responses that differ only in the tag `sample` (several
    chains of thought before one verdict) are averaged as probabilities.

    Raises:
        InputError: An option without a value, different labels in one table, fewer than two labels, or
            log-probabilities above 0 or NaN.
    """
    size = len(answers) // len(block_starts(answers))
    texts = answers["text"].to_numpy().astype(str)
    if len(answers) % size or (texts.reshape(-1, size) != texts[:size]).any():
        raise InputError("The responses have different labels; pass the answers to one template and scale at a time.")
    table = levels(answers, nested="split", hidden="bounds")
    if "sample" in table and table["sample"].notna().any():
        table = averaged(table, ["sample"], weigh="mass")
    keys, values, raw = wide(table, "prob_low")
    high = wide(table, "prob_high")[2] if bounded(answers).any() else None
    top_k = np.asarray(wide(table, "unseen")[2].any(axis=1), bool)
    return LabelProbabilities(keys, values.astype(np.float64), raw, top_k, high)


def by_candidate(
    keys: pd.DataFrame, x: ArrayLike, order: Sequence[str] | None = None, candidate: str = "candidate"
) -> Floats:
    """Return one number per row as `[cases, candidates]`, NaN where a case has fewer candidates.

    Rows of `keys` have the columns `case` and `candidate`. The cases are in the given order of ids (`Cases.ids`), by
    default in that of `keys`.
    """
    return _arranged(keys, [candidate], np.asarray(x, np.float64), order)


def likelihood_rewards(likely: pd.DataFrame | None, order: Sequence[str]) -> dict[str, Floats]:
    """Return log-likelihood and pointwise mutual information per token of every answer, `[cases, candidates]` each.

    `likely` has the answers to `prompts.likelihood`, with their unconditional log-probability; None for no rewards.
    """
    if likely is None:
        return {}
    gain = likely["logprob"] - likely["logprob_unconditional"]
    rewards = {"likelihood": likely["logprob"] / likely["n_tokens"], "pmi": gain / likely["n_tokens"]}
    return {name: by_candidate(likely, reward, order, "option") for name, reward in rewards.items()}


def pair_probabilities(labels: LabelProbabilities, order: Sequence[str] | None = None) -> Floats:
    """Return pairwise verdicts as probabilities `[cases, n, n, 3]` of (FIRST, SECOND, TIE), NaN on the diagonal.

    Entry `[q, i, j]` is the verdict with i shown first and j second, normalised over the labels. Without a label for
    ties, the probability of TIE is 0. Responses need the tags `case`, `first` and `second`; see `by_candidate` for the
    order of the cases.

    Raises:
        InputError: Labels that are not pairwise verdicts, an answer compared with itself, a repeated pair.
    """
    if not {FIRST, SECOND} <= set(labels.values) <= {FIRST, SECOND, TIE}:
        raise InputError(f"Labels of pairwise verdicts have the values 1, -1 and 0, not {labels.values.tolist()}.")
    if (same := (labels.keys["first"] == labels.keys["second"]).to_numpy()).any():
        name = labels.keys["question_id"][int(same.argmax())]
        raise InputError(f"Question {name!r} compares an answer with itself; compare two answers.")
    p = np.zeros((len(labels.raw), 3))
    for k, value in enumerate((FIRST, SECOND, TIE)):
        p[:, k] = labels.p[:, labels.values == value].sum(axis=1)
    return _arranged(labels.keys, ["first", "second"], p, order)


def _arranged(keys: pd.DataFrame, axes: list[str], x: Floats, order: Sequence[str] | None) -> Floats:
    """Return `x` with one axis for the cases and one for each column of `axes`, NaN where there is no row."""
    if (repeated := keys.duplicated(["case", *axes]).to_numpy()).any():
        name = keys["question_id" if "question_id" in keys else "case"].iloc[int(repeated.argmax())]
        raise InputError(
            f"{int(repeated.sum())} responses repeat a case and its answers, the first is {name!r}; pass the answers "
            "to one template at a time."
        )
    names = list(dict.fromkeys(keys["case"]) if order is None else order)
    rows = pd.Index(names).get_indexer(pd.Index(keys["case"]))
    if (rows < 0).any():
        raise InputError(f"Case {keys['case'].iloc[int((rows < 0).argmax())]!r} is missing from the given order.")
    index = [keys[name].to_numpy(np.int64) for name in axes]
    n = int(max(column.max() for column in index)) + 1
    result = np.full((len(names), *[n] * len(axes), *x.shape[1:]), np.nan)
    result[(rows, *index)] = x
    return result


Variant = Literal["expected", "geval", "argmax", "trustjudge_repo"]


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with planted judges and methods as figures name them."""
    return table.replace({column: names for column, names in IN_WORDS.items() if column in table})


def score(p: ArrayLike, values: ArrayLike, variant: Variant = "expected") -> Floats:
    """Return one score per distribution over the levels of a scale.

    `expected`: sum s p(s) / sum p(s) (TrustJudge, arXiv 2509.21117). `geval`: sum s p(s), which is lower if mass is
    lost to other tokens. `argmax`: the most probable level, the mean of those that tie. `trustjudge_repo`: what the
    code of TrustJudge computes, weights softmax(log-odds / 0.2) over 0 < p < 1, and 0 if no level remains.

    Probabilities are raw or normalised, `[..., levels]`, 0 for hidden levels and NaN for undecided responses. The score
    is NaN where they are NaN or all 0.

    Raises:
        InputError: Probabilities below 0 or above 1 in total, shapes that do not match, an unknown variant.
    """
    if variant not in get_args(Variant):
        raise unknown("scoring variant", variant, list(get_args(Variant)))
    prob, scale = np.asarray(p, np.float64), np.asarray(values, np.float64)
    if scale.ndim != 1 or prob.shape[-1:] != scale.shape:
        raise InputError(f"p has the shape {prob.shape} and values {scale.shape}; the last axis must be the scale.")
    mass = prob.sum(axis=-1)
    if (prob < 0).any() or (mass > 1 + 1e-6).any():
        raise InputError("p must be probabilities: none below 0, and at most 1 in total for each distribution.")
    weights = prob
    if variant == "argmax":
        weights = (prob >= prob.max(axis=-1, keepdims=True)).astype(np.float64)
    elif variant == "trustjudge_repo":
        inside = (prob > 0) & (prob < 1)
        odds = np.where(inside, np.log((prob + 1e-8) / (1 - prob + 1e-8)) / 0.2, -np.inf)
        top = odds.max(axis=-1, keepdims=True)
        weights = np.where(inside, np.exp(odds - np.where(np.isfinite(top), top, 0.0)), 0.0)
    total = weights.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.sum(weights * scale, axis=-1) / (1.0 if variant == "geval" else total)
    if variant == "trustjudge_repo":
        scores = np.where(total > 0, scores, 0.0)
    return np.where(mass > 0, scores, np.nan)


def rescale(scores: ArrayLike, scale: tuple[float, float], to: tuple[float, float]) -> Floats:
    """Return scores mapped linearly from one scale to another.

    The published formula multiplies by the ratio of the ranges without an offset, so 100 becomes 4.04 of 5.

    Raises:
        InputError: The lower end of a scale is not below its upper end.
    """
    for low, high in (scale, to):
        if not low < high:
            raise InputError(f"A scale from {low:g} to {high:g} has no length; give its lower end first.")
    position = (np.asarray(scores, np.float64) - scale[0]) / (scale[1] - scale[0])
    return to[0] + position * (to[1] - to[0])


def key_table(labels: LabelProbabilities) -> pd.DataFrame:
    """Return one row per answer judged YES (value 1) or NO (value 0) against a reference.

    Columns: the tags, `yes` (the verdict; 1/2 at a tie, NaN missing), `p_yes` = p(YES) / (p(YES) + p(NO)), `margin` =
    ln p(YES) - ln p(NO), `mass`, `low_mass`.
    """
    if set(labels.values) != {0.0, 1.0}:
        raise InputError(f"The labels must be YES (1) and NO (0), not labels of values {labels.values.tolist()}.")
    p = labels.p
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.log(p[:, 1]) - np.log(p[:, 0])
    yes = np.where(np.isnan(p[:, 1]), np.nan, (1 + np.sign(p[:, 1] - 0.5)) / 2)
    columns = {"yes": yes, "p_yes": p[:, 1], "margin": margin, "mass": labels.mass, "low_mass": labels.low_mass}
    return labels.keys.assign(**columns)


def checklist_scores(labels: LabelProbabilities, order: Sequence[str] | None = None) -> Floats:
    """Return the proportion of requirements that each answer meets, `[cases, candidates]` (TICK, arXiv 2410.03608).

    This is the mean probability of YES, or of NO for requirements of polarity -1, in the responses to
    `prompts.checklist`; NaN if a requirement has no verdict.
    """
    table = key_table(labels)
    table["met"] = table["p_yes"].where(table["polarity"] > 0, 1 - table["p_yes"])
    groups = table.groupby(["case", "candidate"], sort=False)["met"]
    rates = groups.agg(lambda met: met.mean(skipna=False)).reset_index()
    return by_candidate(rates, rates["met"], order)


@dataclass(frozen=True, slots=True)
class Judgement:
    """All responses of one judge to the same cases."""

    judge: str
    """Name of the judge."""
    order: tuple[str, ...] = field(repr=False)
    """Ids of the cases."""
    prompts: dict[str, LabelProbabilities] = field(repr=False)
    """Template and labels, such as "score 1-100" -> responses."""

    def scores(self, prompt: str, variant: Variant = "expected", scale: tuple[float, float] | None = None) -> Floats:
        """Return the scores of all candidates, rescaled to `scale` if given, `[cases, candidates]`."""
        labels = self.labels(prompt)
        scores = by_candidate(labels.keys, score(labels.decided, labels.values, variant), self.order)
        return rescale(scores, (labels.values[0], labels.values[-1]), scale) if scale else scores

    def pairs(self, prompt: str) -> Floats:
        """Return the pairwise verdicts, `[cases, n, n, 3]`; see `pair_probabilities`."""
        return pair_probabilities(self.labels(prompt), self.order)

    def labels(self, prompt: str) -> LabelProbabilities:
        """Return the responses to one judge prompt."""
        if prompt not in self.prompts:
            raise unknown("judge prompt", prompt, list(self.prompts))
        return self.prompts[prompt]


def answers_to(answers: pd.DataFrame, questions: Iterable[Question]) -> pd.DataFrame:
    """Return the rows of the given questions."""
    return answers[answers["question_id"].isin({question.id for question in questions})]


def judgement(judge: str, answers: pd.DataFrame, order: Sequence[str]) -> Judgement:
    """Return the responses of a judge by prompt, from its answers to the questions of one or several templates."""
    if not {"template", "labels"} <= set(answers.columns):
        raise InputError("The answers lack the tags 'template' and 'labels'; ask questions made from a judge template.")
    prompts = answers["template"].astype(str) + " " + answers["labels"].astype(str)
    labels = {}
    for name, part in answers.groupby(prompts):
        of_others = [tag for tag in tag_columns(part) if part[tag].isna().all()]
        labels[str(name)] = label_probabilities(part.drop(columns=of_others))
    return Judgement(judge, tuple(order), labels)


def reading_table(judgements: Iterable[Judgement]) -> pd.DataFrame:
    """Return the mean mass on the labels and the number of flagged responses, one row per judge and prompt."""
    rows = [
        {"judge": each.judge, "prompt": name, "mass": float(labels.mass.mean()), **labels.counts()}
        for each in judgements
        for name, labels in each.prompts.items()
    ]
    return pd.DataFrame(rows)


def of_first_judge(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the judge listed first: the model, ahead of the planted judges."""
    return table[table["judge"] == table["judge"].iloc[0]]
