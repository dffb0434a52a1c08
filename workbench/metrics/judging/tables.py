"""The tables of the study: one judge or several, every scoring and aggregation side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import tag_columns
from workbench.errors import InputError, unknown
from workbench.metrics.judging.biases import order_table
from workbench.metrics.judging.consistency import conflict_ratio, cyclic_share, nontransitivity, triple_classes
from workbench.metrics.judging.reads import Floats, LabelReads, by_candidate, label_reads, pair_reads
from workbench.metrics.judging.relations import Method, Relations, aggregate
from workbench.metrics.judging.scoring import Variant, rescale, score
from workbench.statistics import interval

METHODS: tuple[Method, ...] = ("two_pass", "likelihood", "debiased_logit", "ppl", "single_order")
SCORINGS: tuple[Variant, ...] = ("argmax", "expected", "geval", "trustjudge_repo")
WIDE = 0.4
"""A 95% interval around one half that is wider, of some 20 independent pairs or fewer, is too few to call it a coin."""


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


def judgement(judge: str, answers: pd.DataFrame, order: Sequence[str]) -> Judgement:
    """What a judge says, by prompt: its answers to questions of several templates and scales in one table.

    Args:
        judge: Its name.
        answers: Made by `ask` or `ask_planted`, with the tags `template` and `labels`.
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


def consistency_table(
    judgements: Iterable[Judgement],
    scales: Sequence[str],
    pair: str,
    variants: Sequence[Variant] = SCORINGS,
    methods: Sequence[Method] = ("two_pass", "likelihood"),
    delta: float = 0.0,
) -> pd.DataFrame:
    """The conflict ratio of every judge, scale, scoring and aggregation, one row each.

    Args:
        judgements: The judges.
        scales: Prompts that score one answer, as "score 1-5"; all scores are carried to 1 ... 5.
        pair: The prompt that compares two.
        variants: Ways of scoring.
        methods: Ways of putting both orders together.
        delta: Scores within it tie, on the scale 1 ... 5; comparisons at their own tolerance 0.
    """
    rows = []
    for j in judgements:
        relations = {method: aggregate(j.pairs(pair), method).sign for method in methods}
        for scale in scales:
            ends = (float(j.of(scale).values.min()), float(j.of(scale).values.max()))
            for variant in variants:
                scores = rescale(j.scores(scale, variant), ends, (1, 5))
                for method, sign in relations.items():
                    found = conflict_ratio(scores, sign, delta)
                    about = {
                        "judge": j.judge,
                        "scale": scale,
                        "scoring": variant,
                        "aggregation": method,
                        "delta": delta,
                    }
                    rows.append(about | {"metric": "CR", **found})
    return pd.DataFrame(rows)


def transitivity_table(
    judgements: Iterable[Judgement],
    pair: str,
    methods: Sequence[Method] = METHODS,
    ks: Sequence[int] = (3, 4, 5),
    delta: float = 0.0,
) -> pd.DataFrame:
    """NTR_k, the classes of violations and the cyclic share of every judge and aggregation."""
    rows = []
    for j in judgements:
        for method in methods:
            relations = aggregate(j.pairs(pair), method, delta)
            shares = cyclic_share(relations.margin)[0]
            classes = triple_classes(relations.sign)
            for k in ks:
                about = {"judge": j.judge, "aggregation": method, "delta": delta, "k": k, "metric": f"NTR{k}"}
                found = nontransitivity(relations.sign, k)
                rows.append({**about, **found, **classes, "cyclic_share": _mean(shares)})
    return pd.DataFrame(rows)


def delta_sweep(j: Judgement, scale: str, pair: str, deltas: Sequence[float], k: int = 4) -> pd.DataFrame:
    """CR, NTR_k and the rate of ties as the tolerance grows, long form: delta, metric, mean, low, high.

    One tolerance serves scores (on 1 ... 5) and the lead of the likelihood method alike.
    """
    rows: list[dict[str, object]] = []
    reads = j.of(scale)
    scores = rescale(j.scores(scale), (float(reads.values.min()), float(reads.values.max())), (1, 5))
    for delta in deltas:
        relations = aggregate(j.pairs(pair), "likelihood", delta)
        ties: dict[str, object] = {"mean": relations.tie_rate, "low": np.nan, "high": np.nan}
        results: dict[str, dict[str, object]] = {
            "conflict ratio": conflict_ratio(scores, relations.sign, delta),
            f"NTR{k}": nontransitivity(relations.sign, k),
            "ties among comparisons": ties,
        }
        rows += [{"delta": delta, "metric": name, **found} for name, found in results.items()]
    return pd.DataFrame(rows)


def order_tables(
    judgements: Iterable[Judgement], pair: str, human: ArrayLike | None = None, chars: ArrayLike | None = None
) -> pd.DataFrame:
    """`order_table` of several judges on the same cases, with the column `judge`."""
    return pd.concat(
        [order_table(j.pairs(pair), human, chars).assign(judge=j.judge) for j in judgements], ignore_index=True
    )


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


def right_pairs(scores: ArrayLike, human: ArrayLike) -> pd.DataFrame:
    """Whether scores order pairs as people do: case, `right` (1/2 at a tie), pairs people tell apart only."""
    s, h = np.asarray(scores, np.float64), np.asarray(human, np.float64)
    i, j = np.triu_indices(h.shape[1], 1)
    gap, truth = s[:, i] - s[:, j], np.sign(h[:, i] - h[:, j])
    case, pair = np.nonzero(~np.isnan(gap) & (np.abs(truth) == 1))
    right = (1 + np.sign(gap[case, pair]) * truth[case, pair]) / 2
    return pd.DataFrame({"case": case, "right": right})


def sign_accuracy(relations: Relations, human: ArrayLike) -> dict[str, object]:
    """Share of pairs people tell apart on which the judge agrees (a tie is half), with an interval over cases."""
    h = np.asarray(human, np.float64)
    i, j = np.triu_indices(h.shape[1], 1)
    truth, said = np.sign(h[:, i] - h[:, j]), relations.sign[:, i, j]
    case, pair = np.nonzero(~np.isnan(said) & (np.abs(truth) == 1))
    return interval((1 + said[case, pair] * truth[case, pair]) / 2, case, "bootstrap", draws=499, bounds=(0, 1))


def standing(table: pd.DataFrame) -> str:
    """One sentence on whether a judge judges at all, from its `order_table`; Wilson intervals, clustered by case."""
    right, first, second, ties = (
        interval(column, table["case"], "wilson")
        for column in (table["random"], table["first"], 1 - table["first"] - table["ties"], table["ties"])
    )
    slots = f"first in {_shown(first)}, second in {_shown(second)}, tie in {ties['mean']:.0%} of {ties['n']} pairs"
    if not right["n"]:
        return f"nobody says which answers are better, so whether it judges cannot be said ({slots})"
    shown = f"right in {_shown(right)} of {right['n']} pairs; {slots}"
    if right["low"] > 0.5:
        return f"judges better than chance ({shown})"
    for slot, named in (("first", first), ("second", second)):
        if named["mean"] > 0.95:
            return f"does not judge: cannot be told from always-{slot} ({shown})"
    if right["high"] < 0.5:
        return f"does not judge: is wrong more often than a coin ({shown})"
    for slot, named in (("first", first), ("second", second)):
        if named["low"] > 0.5:
            return f"does not judge: leans to the {slot} answer and is right no more often than a coin ({shown})"
    if right["high"] - right["low"] > WIDE:
        return f"too few pairs to say whether it judges ({shown})"
    return f"does not judge: cannot be told from a coin ({shown})"


def _shown(found: Mapping[str, Any]) -> str:
    ends = "" if np.isnan(found["low"]) else f" [{found['low']:.0%}, {found['high']:.0%}]"
    return f"{found['mean']:.0%}{ends}"


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
