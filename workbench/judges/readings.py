"""Verdicts and scores of a judge, read from the probabilities of its labels."""

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
"""What the labels of a pairwise verdict are worth: the answer shown first is better, the second, neither."""
MIN_MASS = 0.05
"""Below this probability on all labels together a reading is flagged: the judge wanted to say something else."""
HIDDEN = 0.05
"""A reading is undecided where labels that were not shown may hold more than this proportion of all labels' mass."""


@dataclass(frozen=True, slots=True)
class LabelReads:
    """Distributions over the labels of one judge prompt, one row a reading."""

    keys: pd.DataFrame = field(repr=False)
    """question_id and the tags of each reading, `[reads]`."""
    values: Floats
    """What the labels stand for, rising, `[labels]`."""
    raw: Floats = field(repr=False)
    """The probability of each label as the judge gives it; rows add up to `mass`, `[reads, labels]`. Of a label that
    the source did not show it is the least it can be."""
    top_k: Bools = field(repr=False)
    """A label had no probability at all: the source shows its top tokens only, `[reads]`."""
    high: Floats | None = field(default=None, repr=False)
    """The most each label's probability can be, `[reads, labels]`; None where every label was shown."""

    @property
    def mass(self) -> Floats:
        """The probability all labels hold together, `[reads]`."""
        return self.raw.sum(axis=1)

    @property
    def p(self) -> Floats:
        """The distributions normalised over the labels, `[reads, labels]`; NaN if undecided or without any mass."""
        mass = self.mass[:, None]
        return np.divide(self.decided, mass, out=np.full_like(self.raw, np.nan), where=mass > 0)

    @property
    def decided(self) -> Floats:
        """`raw`, and NaN where the reading is undecided, `[reads, labels]`."""
        return np.where(self.undecided[:, None], np.nan, self.raw)

    @property
    def undecided(self) -> Bools:
        """Readings that what the source did not show could change, `[reads]`.

        Another label may be the most probable one, or more than `HIDDEN` of the labels' probability is not known.
        """
        if self.high is None:
            return np.zeros(len(self.raw), bool)
        own = np.arange(self.raw.shape[1]) == self.raw.argmax(axis=1)[:, None]
        rival = np.where(own, 0.0, self.high).max(axis=1)
        hidden = (self.high - self.raw).sum(axis=1)
        return np.asarray((self.raw.max(axis=1) < rival) | (hidden > HIDDEN * self.high.sum(axis=1)), bool)

    @property
    def p_bounds(self) -> tuple[Floats, Floats]:
        """The least and the most `p` can be, given what was not shown; equal to it where all was."""
        high = self.raw if self.high is None else self.high
        return _share(self.raw, high), _share(high, self.raw)

    @property
    def low_mass(self) -> Bools:
        """Readings whose labels hold less than `MIN_MASS`, or under a quarter of the median of all, `[reads]`."""
        return np.asarray((self.mass < MIN_MASS) | faint(self.mass), bool)

    def counts(self) -> dict[str, int]:
        """What every result carries: n_total, n_unparsed, n_low_mass, n_top_k, n_undecided (of those with mass)."""
        return {
            "n_total": len(self.raw),
            "n_unparsed": int((self.mass <= 0).sum()),
            "n_low_mass": int(self.low_mass.sum()),
            "n_top_k": int(self.top_k.sum()),
            "n_undecided": int((self.undecided & (self.mass > 0)).sum()),
        }

    def where(self, **tags: object) -> LabelReads:
        """The readings with these tags."""
        kept = np.ones(len(self.keys), bool)
        for name, value in tags.items():
            kept &= (self.keys[name] == value).to_numpy()
        if not kept.any():
            raise InputError(f"No reading has {', '.join(f'{k}={v!r}' for k, v in tags.items())}.")
        high = None if self.high is None else self.high[kept]
        return LabelReads(self.keys[kept].reset_index(drop=True), self.values, self.raw[kept], self.top_k[kept], high)


def label_reads(answers: pd.DataFrame) -> LabelReads:
    """The distribution over labels of every reading.

    Options of one `value` are surface forms of one label: their probabilities add up, and forms that come to the same
    tokens count once. Of numbers in digits, "8" holds all that begins with it wherever "85" is spelt with one more
    token; what "85" takes is taken out of "8". Readings that differ in the tag `sample` only (several chains of
    thought before one verdict) are averaged as probabilities. A label that the source did not show has the least it
    can be, with the most beside it in `high`.

    Args:
        answers: Rows of judge prompts that share one set of labels, each option with its `value`.

    Raises:
        InputError: Options without a value, several label sets in one table, fewer than two labels, log-probabilities
            above 0 or NaN.
    """
    size = len(answers) // len(block_starts(answers))
    texts = answers["text"].to_numpy().astype(str)
    if len(answers) % size or (texts.reshape(-1, size) != texts[:size]).any():
        raise InputError("The readings have different labels; read one template and scale at a time.")
    table = levels(answers, nested="split", hidden="bounds")
    if "sample" in table and table["sample"].notna().any():
        table = averaged(table, ["sample"], weigh="mass")
    keys, values, raw = wide(table, "prob_low")
    high = wide(table, "prob_high")[2] if bounded(answers).any() else None
    top_k = np.asarray(wide(table, "unseen")[2].any(axis=1), bool)
    return LabelReads(keys, values.astype(np.float64), raw, top_k, high)


def by_candidate(keys: pd.DataFrame, x: ArrayLike, order: Sequence[str] | None = None) -> Floats:
    """Numbers per reading as `[cases, candidates]`, NaN where a case has fewer candidates.

    Args:
        keys: Readings with the tags `case` and `candidate`.
        x: A number each, `[reads]`.
        order: The names of the cases in the order wanted (`Cases.ids`); by default as they come.
    """
    return _placed(keys, ["candidate"], np.asarray(x, np.float64), order)


def likelihood_reward(likely: pd.DataFrame, x: ArrayLike, order: Sequence[str]) -> Floats:
    """Return a number per answer as `[cases, candidates]`.

    Args:
        likely: Answers to `prompts.likelihood`, whose options are the candidates.
        x: A number each, `[answers]`.
        order: The names of the cases.
    """
    return by_candidate(likely.assign(candidate=likely["option"]), x, order)


def pair_reads(reads: LabelReads, order: Sequence[str] | None = None) -> Floats:
    """Pairwise verdicts as probabilities `[cases, n, n, 3]` of (FIRST, SECOND, TIE), NaN on the diagonal.

    Entry `[q, i, j]` is the reading with i shown first and j second, normalised over the labels. A template without
    a label for ties gives TIE probability 0.

    Args:
        reads: Readings with the tags `case`, `first` and `second`.
        order: The names of the cases in the order wanted (`Cases.ids`); by default as they come.

    Raises:
        InputError: Labels that are no verdict on pairs, an answer compared with itself, a pair read twice.
    """
    if not {FIRST, SECOND} <= set(reads.values) <= {FIRST, SECOND, TIE}:
        raise InputError(f"Labels {reads.values.tolist()} are no verdict on pairs; those are 1, -1 and 0 for a tie.")
    if (self_pair := (reads.keys["first"] == reads.keys["second"]).to_numpy()).any():
        name = reads.keys["question_id"][int(self_pair.argmax())]
        raise InputError(f"Reading {name!r} compares an answer with itself; compare two.")
    p = np.zeros((len(reads.raw), 3))
    for k, label in enumerate((FIRST, SECOND, TIE)):
        if label in reads.values:
            p[:, k] = reads.p[:, int(np.flatnonzero(reads.values == label)[0])]
    return _placed(reads.keys, ["first", "second"], p, order)


def _placed(keys: pd.DataFrame, axes: list[str], x: Floats, order: Sequence[str] | None) -> Floats:
    if (twice := keys.duplicated(["case", *axes]).to_numpy()).any():
        name = keys["question_id"].iloc[int(twice.argmax())] if "question_id" in keys else keys["case"].iloc[0]
        raise InputError(
            f"{int(twice.sum())} readings stand twice for the same case and answers, {name!r} first; "
            "read one template at a time."
        )
    names = list(dict.fromkeys(keys["case"]) if order is None else order)
    rows = pd.Index(names).get_indexer(pd.Index(keys["case"]))
    if (rows < 0).any():
        raise InputError(f"Case {keys['case'].iloc[int((rows < 0).argmax())]!r} is not in the order given.")
    index = [keys[name].to_numpy(np.int64) for name in axes]
    n = int(max(column.max() for column in index)) + 1
    placed = np.full((len(names), *[n] * len(axes), *x.shape[1:]), np.nan)
    placed[(rows, *index)] = x
    return placed


def _share(own: Floats, others: Floats) -> Floats:
    """Each label's own end of its interval beside the other end of the other labels', `[reads, labels]`."""
    whole = own + others.sum(axis=1, keepdims=True) - others
    return np.divide(own, whole, out=np.full_like(own, np.nan), where=whole > 0)


Variant = Literal["expected", "geval", "argmax", "sampled", "literal_softmax", "trustjudge_repo"]


def score(p: ArrayLike, values: ArrayLike, variant: Variant = "expected", seed: int = 0) -> Floats:
    """A score per distribution.

    `expected` = sum s p(s) / sum p(s) (TrustJudge, arXiv 2509.21117); `geval` = sum s p(s), which probability lost to
    other tokens pulls down; `argmax` the most probable level (the mean of several that tie); `sampled` one draw;
    `literal_softmax` weighs by a softmax of the probabilities themselves, nearly uniform; `trustjudge_repo` is what
    that paper's code computes: weights softmax(log-odds / 0.2) over 0 < p < 1, and 0 where nothing is left.

    Args:
        p: Probabilities, raw or normalised, `[..., levels]`; levels a source does not show are 0,
            undecided distributions NaN.
        values: What the levels stand for, `[levels]`.
        variant: See above; the last two are for audits.
        seed: Of `sampled`.

    Returns:
        `[...]`, NaN where p is NaN or no level has any probability.

    Raises:
        InputError: Negative probabilities, or above 1; shapes that do not fit; an unknown variant.
    """
    if variant not in get_args(Variant):
        raise unknown("scoring variant", variant, list(get_args(Variant)))
    prob, levels = np.asarray(p, np.float64), np.asarray(values, np.float64)
    if levels.ndim != 1 or prob.shape[-1:] != levels.shape:
        raise InputError(f"p has shape {prob.shape} and values {levels.shape}; the last axis is the scale.")
    if (prob < 0).any() or (prob.sum(axis=-1) > 1 + 1e-6).any():
        raise InputError("p must be probabilities: none below 0, and each distribution at most 1 in all.")
    mass = prob.sum(axis=-1)
    weights = _weights(prob, variant, seed)
    total = weights.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.sum(weights * levels, axis=-1) / (1.0 if variant == "geval" else total)
    if variant == "trustjudge_repo":
        found = np.where(total > 0, found, 0.0)
    return np.where(mass > 0, found, np.nan)


def rescale(scores: ArrayLike, scale: tuple[float, float], to: tuple[float, float]) -> Floats:
    """Scores carried linearly from one scale to another, ends to ends.

    The published formula multiplies by the ratio of the ranges without an offset, so 100 becomes 4.04 of 5.

    Raises:
        InputError: A scale whose lower end is not below its upper end.
    """
    for low, high in (scale, to):
        if not low < high:
            raise InputError(f"A scale from {low:g} to {high:g} has no length; give its lower end first.")
    share = (np.asarray(scores, np.float64) - scale[0]) / (scale[1] - scale[0])
    return to[0] + share * (to[1] - to[0])


def pass_rate(p_yes: ArrayLike) -> float:
    """Proportion of a checklist that holds: the mean over its distinct items, of verdicts or of probabilities of YES.

    NaN for a checklist without items (TICK, arXiv 2410.03608).
    """
    items = np.asarray(p_yes, np.float64)
    return float(items.mean()) if items.size else float("nan")


def _weights(prob: Floats, variant: Variant, seed: int) -> Floats:
    """What each level counts for, up to a factor."""
    if variant == "argmax":
        return (prob >= prob.max(axis=-1, keepdims=True)).astype(np.float64)
    if variant == "literal_softmax":
        return np.where(prob > 0, np.exp(prob), 0.0)
    if variant == "trustjudge_repo":
        inside = (prob > 0) & (prob < 1)
        odds = np.where(inside, np.log((prob + 1e-8) / (1 - prob + 1e-8)) / 0.2, -np.inf)
        top = odds.max(axis=-1, keepdims=True)
        return np.where(inside, np.exp(odds - np.where(np.isfinite(top), top, 0.0)), 0.0)
    if variant == "sampled":
        draw = np.random.default_rng(seed).random(prob.shape[:-1])[..., None]
        below = np.cumsum(prob, axis=-1) > draw * prob.sum(axis=-1, keepdims=True)
        return (below & (np.cumsum(below, axis=-1) == 1)).astype(np.float64)
    return prob


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that one judge says of the same cases."""

    judge: str
    """Its name."""
    order: tuple[str, ...] = field(repr=False)
    """The names of the cases."""
    reads: dict[str, LabelReads] = field(repr=False)
    """"template labels", as in "score 1-100" -> readings."""

    def scores(self, prompt: str, variant: Variant = "expected") -> Floats:
        """Scores of every candidate, `[cases, candidates]`."""
        reads = self.of(prompt)
        return by_candidate(reads.keys, score(reads.decided, reads.values, variant), self.order)

    def pairs(self, prompt: str) -> Floats:
        """Pairwise verdicts `[cases, n, n, 3]`."""
        return pair_reads(self.of(prompt), self.order)

    def of(self, prompt: str) -> LabelReads:
        """The readings of one judge prompt."""
        if prompt not in self.reads:
            raise unknown("judge prompt", prompt, list(self.reads))
        return self.reads[prompt]


def answers_to(answers: pd.DataFrame, questions: Iterable[Question]) -> pd.DataFrame:
    """Return the rows of answers to these questions."""
    return answers[answers["question_id"].isin({question.id for question in questions})]


def judgement(judge: str, answers: pd.DataFrame, order: Sequence[str]) -> Judgement:
    """What a judge says, by prompt: its answers to questions of several templates and scales in one table.

    Args:
        judge: Its name.
        answers: Made by `ask` or `planted.answers`, with the tags `template` and `labels`.
        order: The names of the cases (`Cases.ids`).
    """
    if not {"template", "labels"} <= set(answers.columns):
        raise InputError("These answers are to no judge prompts: they lack the tags 'template' and 'labels'.")
    prompts = answers["template"].astype(str) + " " + answers["labels"].astype(str)
    reads = {str(name): label_reads(_own_tags(part)) for name, part in answers.groupby(prompts)}
    return Judgement(judge, tuple(order), reads)


def _own_tags(part: pd.DataFrame) -> pd.DataFrame:
    """One prompt's answers without the tags that only other prompts have."""
    return part.drop(columns=[name for name in tag_columns(part) if part[name].isna().all()])


def reading_table(judgements: Iterable[Judgement]) -> pd.DataFrame:
    """How well each judge's labels could be read: one row per judge and prompt, mass and what is flagged."""
    rows = [
        {"judge": j.judge, "prompt": name, "mass": float(reads.mass.mean()), **reads.counts()}
        for j in judgements
        for name, reads in j.reads.items()
    ]
    return pd.DataFrame(rows)


def right_pairs(scores: ArrayLike, human: ArrayLike) -> pd.DataFrame:
    """Whether scores order pairs as people do: case, `right` (1/2 at a tie), pairs people tell apart only."""
    s, h = np.asarray(scores, np.float64), np.asarray(human, np.float64)
    i, j = np.triu_indices(h.shape[1], 1)
    gap, truth = s[:, i] - s[:, j], np.sign(h[:, i] - h[:, j])
    case, pair = np.nonzero(~np.isnan(gap) & (np.abs(truth) == 1))
    right = (1 + np.sign(gap[case, pair]) * truth[case, pair]) / 2
    return pd.DataFrame({"case": case, "right": right})
