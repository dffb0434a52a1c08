"""Scores of answering or abstaining: confidence targets, outcome rates, precision and recall of abstention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import block_starts
from workbench.errors import InputError, unknown
from workbench.metrics.checks import Floats, fractions, mask, settled, threshold
from workbench.statistics import wilson


def confidence_target_score(
    confidence: ArrayLike, correct: ArrayLike, t: ArrayLike, abstained: ArrayLike | None = None
) -> Floats:
    """The score of answering only when more than `t` confident (Kalai et al. 2025, arXiv 2509.04664).

    A correct answer earns 1, a wrong one -t / (1 - t), abstention 0: answering pays if it is right with P > t.

    Args:
        confidence: In the answer, `[N]`.
        correct: Whether the (forced) answer is right, `[N]`, shares at ties.
        t: One target below 1, or several `[G]`.
        abstained: Who abstained, `[N]`; by default those with confidence <= t.

    Returns:
        `[N]` scores for one target, `[G]` mean scores for several.
    """
    conf, right = fractions(confidence=confidence, correct=correct)
    targets = threshold("t", t, closed=False)
    penalty = targets / (1 - targets)
    unsure = settled(conf) <= settled(targets)[..., None]
    silent = unsure if abstained is None else mask("abstained", abstained, len(conf))
    scores = np.where(silent, 0.0, right - (1 - right) * penalty[..., None])
    return scores if targets.ndim == 0 else scores.mean(axis=-1)


def outcome_rates(correct: float, incorrect: float, abstained: float, level: float = 0.95) -> pd.DataFrame:
    """Rates of correct, incorrect and abstained answers with Wilson intervals, one row per metric.

    The three hallucination rates name their base. The SimpleQA F score is the harmonic mean of accuracy and accuracy
    given attempted; the omniscience index is 100 (C - I) / N; neither is a rate, so they have no interval here.

    Args:
        correct: How many answers were right.
        incorrect: How many were wrong.
        abstained: How many times the model abstained.
        level: Coverage of the intervals.

    Returns:
        Columns metric, mean, low, high, n, method, note; a rate with an empty base is NaN.
    """
    counts = np.array([correct, incorrect, abstained], np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any() or not counts.sum():
        raise InputError("outcome_rates needs counts that are at least 0, not all of them 0.")
    right, wrong, silent = (float(count) for count in counts)
    n, tried = float(counts.sum()), right + wrong
    rows = [
        _rate("coverage", tried, n, level),
        _rate("abstention_rate", silent, n, level),
        _rate("accuracy", right, n, level),
        _rate("accuracy_given_attempted", right, tried, level),
        _rate("hallucination_per_total", wrong, n, level),
        _rate("hallucination_per_attempt", wrong, tried, level),
        _rate("hallucination_per_non_correct", wrong, wrong + silent, level),
    ]
    table = pd.DataFrame(rows)
    indices = {"simpleqa_f": 2 * right / (n + tried), "omniscience_index": 100 * (right - wrong) / n}
    note = "no rate: bootstrap it for an interval"
    extra = [{"metric": name, "mean": value, "n": n, "method": "", "note": note} for name, value in indices.items()]
    return pd.concat([table, pd.DataFrame(extra)], ignore_index=True)


def abstention_prf(abstained: ArrayLike, forced_correct: ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """Precision, recall and F1 of abstaining, where the forced answer would have been wrong.

    Args:
        abstained: Who abstained, `[N]`.
        forced_correct: Whether the answer given when forced is right, `[N]`.
        level: Coverage of the Wilson intervals (precision and recall).

    Returns:
        Columns metric, mean, low, high, n, method, note. Precision is NaN when nobody abstained, recall when no
        forced answer is wrong, F1 when neither occurs.
    """
    size = np.asarray(abstained).size
    silent, right = mask("abstained", abstained, size), mask("forced_correct", forced_correct, size)
    if not size:
        raise InputError("abstained is empty; a metric needs at least one item.")
    hits, called, should = float((silent & ~right).sum()), float(silent.sum()), float((~right).sum())
    rows = [_rate("precision", hits, called, level), _rate("recall", hits, should, level)]
    f1 = 2 * hits / (called + should) if called + should else np.nan
    rows.append({"metric": "f1", "mean": f1, "n": float(size), "method": "", "note": "no rate"})
    return pd.DataFrame(rows)


def keep_abstentions(answers: pd.DataFrame, phrases: str | Sequence[str], among: Sequence[str]) -> pd.DataFrame:
    """The answers as if only some of the added abstention phrases had been asked; none with an empty list.

    Several phrasings asked at once can thus be compared: each alone, some together, and none. What a question itself
    offers as a way to abstain ("Cannot be determined") stays.

    Args:
        answers: The answers table.
        phrases: What to keep, compared without the white space around it.
        among: Every phrase that was added, as given to `load_questions(abstain=...)`.

    Raises:
        InputError: A phrase is none of those added, or an added one was not asked.
    """
    added = [phrase.strip() for phrase in among]
    wanted = [phrase.strip() for phrase in ([phrases] if isinstance(phrases, str) else phrases)]
    for phrase in wanted:
        if phrase not in added:
            raise unknown("abstention phrase", phrase, added)
    starts, abstains = block_starts(answers), (answers["role"] == "abstain").to_numpy()
    text = answers["text"].astype(str).str.strip()
    for phrase in added:
        if not (abstains & (text == phrase)).any():
            raise unknown("abstention phrase", phrase, sorted(set(text[abstains])))
    left_out = abstains & text.isin(set(added) - set(wanted)).to_numpy()
    block = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(answers)))[~left_out]
    return answers[~left_out].assign(option=pd.Series(block).groupby(block).cumcount().to_numpy())


def _rate(metric: str, count: float, base: float, level: float) -> dict[str, object]:
    low, high = wilson(count, base, level)
    mean, note = (count / base, "") if base else (np.nan, "its base is empty")
    return {
        "metric": metric,
        "mean": mean,
        "low": float(low),
        "high": float(high),
        "n": base,
        "method": "wilson",
        "note": note,
    }
