"""Verdict distributions out of the answers table: surface forms merged, digits told apart, both orders kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench.answers import block_starts, bounded, faint, logprob_ends, tag_columns
from workbench.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
FIRST, SECOND, TIE = 1.0, -1.0, 0.0
"""What the labels of a pairwise verdict are worth: the answer shown first is better, the second, neither."""
MIN_MASS = 0.05
"""Below this probability on all labels together a reading is flagged: the judge wanted to say something else."""
HIDDEN = 0.05
"""Where labels that were not shown may hold more than this share of all labels' probability, a reading is undecided."""


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
    starts = block_starts(answers)
    size = len(answers) // len(starts)
    texts = answers["text"].to_numpy().astype(str)
    if len(answers) % len(starts) or (texts.reshape(-1, size) != texts[:size]).any():
        raise InputError("The readings have different labels; read one template and scale at a time.")
    value = answers["value"].to_numpy(np.float64)[:size]
    if np.isnan(value).any():
        raise InputError(f"Label {texts[int(np.isnan(value).argmax())]!r} has no value; judge prompts give each one.")
    low, high = (ends.reshape(-1, size) for ends in logprob_ends(answers))
    bad = np.isnan(low) | np.isnan(high) | (high > 1e-6)
    if bad.any():
        name = answers["question_id"].iloc[int(starts[bad.any(axis=1).argmax()])]
        raise InputError(f"A log-probability of reading {name!r} is NaN or above 0; ask it again.")
    values, column = np.unique(value, return_inverse=True)
    if len(values) < 2:
        raise InputError("A verdict needs at least two labels of different value.")
    lengths = answers["n_tokens"].to_numpy(np.int64).reshape(-1, size).max(axis=0)
    ends = []
    for own, others in ((low, high), (high, low)):
        prob = _told_apart(np.exp(own), np.exp(others), list(texts[:size]), lengths)
        if "duplicate" in answers:
            prob = np.where(answers["duplicate"].to_numpy(bool).reshape(-1, size), 0.0, prob)
        ends.append(np.zeros((len(starts), len(values))))
        np.add.at(ends[-1].T, column, prob.T)
    keys = answers.iloc[starts][["question_id", *tag_columns(answers)]].reset_index(drop=True)
    most = ends[1] if bounded(answers).any() else None
    return _averaged(LabelReads(keys, values, ends[0], (low == -np.inf).any(axis=1), most))


def by_candidate(keys: pd.DataFrame, x: ArrayLike, order: Sequence[str] | None = None) -> Floats:
    """Numbers per reading as `[cases, candidates]`, NaN where a case has fewer candidates.

    Args:
        keys: Readings with the tags `case` and `candidate`.
        x: A number each, `[reads]`.
        order: The names of the cases in the order wanted (`Cases.ids`); by default as they come.
    """
    return _placed(keys, ["candidate"], np.asarray(x, np.float64), order)


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


def cases(keys: pd.DataFrame) -> list[str]:
    """The names of the cases, in the order of the first axis of `by_candidate` and `pair_reads`."""
    return [str(name) for name in dict.fromkeys(keys["case"])]


def _placed(keys: pd.DataFrame, axes: list[str], x: Floats, order: Sequence[str] | None) -> Floats:
    if (twice := keys.duplicated(["case", *axes]).to_numpy()).any():
        name = keys["question_id"].iloc[int(twice.argmax())] if "question_id" in keys else keys["case"].iloc[0]
        raise InputError(
            f"{int(twice.sum())} readings stand twice for the same case and answers, {name!r} first; "
            "read one template at a time."
        )
    names = cases(keys) if order is None else list(order)
    rows = pd.Index(names).get_indexer(pd.Index(keys["case"]))
    if (rows < 0).any():
        raise InputError(f"Case {keys['case'].iloc[int((rows < 0).argmax())]!r} is not in the order given.")
    index = [keys[name].to_numpy(np.int64) for name in axes]
    n = int(max(column.max() for column in index)) + 1
    placed = np.full((len(names), *[n] * len(axes), *x.shape[1:]), np.nan)
    placed[(rows, *index)] = x
    return placed


def _told_apart(prob: Floats, others: Floats, texts: list[str], lengths: NDArray[np.int64]) -> Floats:
    """Numbers in digits as exact events: "8" without what `others` has of "80" ... "89" with one token more."""
    exact = prob.copy()
    for i, short in enumerate(texts):
        for j, long in enumerate(texts):
            if i == j or not long.startswith(short) or long == short:
                continue
            if not (short.strip().isdecimal() and long.strip().isdecimal()):
                raise InputError(f"Label {long!r} begins with {short!r}: saying one says the other; rename one.")
            if len(long) == len(short) + 1 and lengths[j] > lengths[i]:
                exact[:, i] -= others[:, j]
    return np.maximum(exact, 0.0)


def _share(own: Floats, others: Floats) -> Floats:
    """Each label's own end of its interval beside the other end of the other labels', `[reads, labels]`."""
    whole = own + others.sum(axis=1, keepdims=True) - others
    return np.divide(own, whole, out=np.full_like(own, np.nan), where=whole > 0)


def _averaged(reads: LabelReads) -> LabelReads:
    """One reading for all samples of a question: probabilities are averaged, not log-probabilities."""
    if "sample" not in reads.keys or reads.keys["sample"].isna().all():
        return reads
    others = [name for name in reads.keys.columns if name not in ("question_id", "sample")]
    group = reads.keys.groupby(others, sort=False, dropna=False).ngroup().to_numpy()
    n = np.bincount(group)
    raw, *high = (
        np.stack([np.bincount(group, column) for column in ends.T], axis=1) / n[:, None]
        for ends in (reads.raw, reads.high)
        if ends is not None
    )
    first = np.unique(group, return_index=True)[1]
    keys = reads.keys.iloc[first].drop(columns="sample").reset_index(drop=True)
    return LabelReads(keys, reads.values, raw, np.bincount(group, reads.top_k) > 0, *high)
