"""Distributional Correctness Score, abstention and confidence targets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import block_starts, outcomes, tag_columns
from workbench.errors import InputError, unknown
from workbench.statistics import wilson
from workbench.statistics.distances import Floats, fractions, mask, settled, threshold

Mode = Literal["paper", "eval_framework_0_9"]


MODES = ("paper", "eval_framework_0_9")


KEPT = ("n_options", "n_correct", "n_abstain", "normalisation", "mass", "low_mass", "no_abstain", "tie")


PARTS = ("p_correct", "p_wrong", "p_abstain", "p_none")


def distributional_correctness(
    p: pd.DataFrame,
    lc: float = 1.0,
    lw: float = 1.0,
    strict_loadings: bool = True,
    mode: Mode = "paper",
) -> pd.DataFrame:
    """Every score of the paper, one row per question.

    Mode "eval_framework_0_9" gives what that package computes: abstention is looked up under its stripped lower-case
    text, so any other phrase ("I don't know." too) is lost from the factor 1 - p_abstain. (Its default normalisation
    counts the leading space as a character; its collapse of equal texts is not imitated.)

    Args:
        p: A table made by `workbench.probabilities`.
        lc: Loading of correct mass.
        lw: Loading of wrong mass.
        strict_loadings: Refuse lw > lc.
        mode: The definition, or what a widely used implementation makes of it.

    Returns:
        question_id, tags, what `workbench.answers.outcomes` says of the reading, the four parts, and `accuracy` (split
        at ties), `ternary`, `confidence_weighted_accuracy`, `dcs`, `uniform` (the DCS of a uniform guess), `skill` and
        `hedging_gradient` (change of the DCS per unit of mass moved from wrong to abstention).

    Raises:
        InputError: A question has no correct option, or a loading is out of bounds.
    """
    _check_loadings(lc, lw, strict_loadings)
    if mode not in MODES:
        raise unknown("mode", mode, list(MODES))
    found = outcomes(p)
    if (none := found["n_correct"] == 0).any():
        name = found.loc[none, "question_id"].iloc[0]
        raise InputError(
            f"Question {name!r} and {int(none.sum()) - 1} others have no correct option, so no DCS; leave them out."
        )
    correct, wrong, abstain, _ = (found[part].to_numpy(np.float64) for part in PARTS)
    seen = abstain if mode == "paper" else _found_by_eval_framework(p, p["p"])
    score = (lc * correct - lw * wrong) * (1 - seen)
    uniform = _uniform(p, lc, lw, mode)
    table = found[["question_id", *tag_columns(p), *KEPT, *PARTS]].copy()
    table["accuracy"] = found["chosen_correct"]
    table["ternary"] = ternary(found["chosen_correct"], found["chosen_wrong"], lc, lw)
    table["confidence_weighted_accuracy"] = confidence_weighted_accuracy(found["choice_p"], found["chosen_correct"])
    table["dcs"] = score
    table["uniform"] = uniform
    table["skill"] = dcs_skill(score, uniform, lc)
    table["hedging_gradient"] = hedging_gradient(correct, wrong, lc, lw)
    _warn_of_perverse_hedging(table["hedging_gradient"].to_numpy(), lc, lw)
    return table


def ternary(chosen_correct: ArrayLike, chosen_wrong: ArrayLike, lc: float = 1.0, lw: float = 1.0) -> Floats:
    """+lc if the choice is correct, -lw if wrong, 0 if it abstains; shares at ties, `[N]`."""
    _check_loadings(lc, lw, strict=False)
    correct, wrong = fractions(chosen_correct=chosen_correct, chosen_wrong=chosen_wrong)
    if (correct + wrong > 1 + 1e-6).any():
        raise InputError("chosen_correct and chosen_wrong add up to more than 1; a choice is one or the other.")
    return lc * correct - lw * wrong


def confidence_weighted_accuracy(choice_p: ArrayLike, chosen_correct: ArrayLike) -> Floats:
    """The probability of the choice if it is correct, else 0, `[N]`."""
    p, correct = fractions(choice_p=choice_p, chosen_correct=chosen_correct)
    return p * correct


def dcs_skill(score: ArrayLike, baseline: ArrayLike, lc: float = 1.0) -> Floats:
    """How far a score lies from its uniform baseline (0) towards the best possible (1); NaN where both coincide."""
    s, u = np.asarray(score, np.float64), np.asarray(baseline, np.float64)
    room = lc - u
    return (s - u) / np.where(room > 0, room, np.nan)


def guess_threshold(lc: float = 1.0, lw: float = 1.0) -> float:
    """The belief above which answering beats abstaining: lw / (lc + lw)."""
    _check_loadings(lc, lw, strict=False)
    return lw / (lc + lw)


def hedging_gradient(p_correct: ArrayLike, p_wrong: ArrayLike, lc: float = 1.0, lw: float = 1.0) -> Floats:
    """Change of the DCS per unit of probability moved from wrong to abstention, `[N]`.

    Never negative with lc = lw; with lc > lw it can be, and then the score rewards errors over abstention.
    """
    correct, wrong = np.asarray(p_correct, np.float64), np.asarray(p_wrong, np.float64)
    return 2 * lw * wrong - (lc - lw) * correct


def _check_loadings(lc: float, lw: float, strict: bool) -> None:
    if not (np.isfinite([lc, lw]).all() and lc >= 0 and lw >= 0 and lc + lw > 0):
        raise InputError(f"Loadings must be at least 0 and not both 0; these are lc={lc!r}, lw={lw!r}.")
    if strict and lc < lw:
        raise InputError(f"lw={lw!r} exceeds lc={lc!r}; pass strict_loadings=False for thresholds above one half.")


def _warn_of_perverse_hedging(gradient: Floats, lc: float, lw: float) -> None:
    if lc != lw:
        share = float(np.mean(gradient < 0))
        warnings.warn(
            f"With lc={lc:g}, lw={lw:g} moving probability from wrong to abstention lowers the DCS of {share:.1%} "
            "of the questions; only equal loadings rule that out.",
            stacklevel=3,
        )


def _uniform(p: pd.DataFrame, lc: float, lw: float, mode: Mode) -> Floats:
    """The DCS of equal probability on every row of a question."""
    starts = block_starts(p)
    share = pd.Series(1 / np.repeat(size := np.diff(starts, append=len(p)), size), index=p.index)
    correct, wrong, abstain = (
        np.add.reduceat(np.where(p["role"] == role, share, 0.0), starts) for role in ("correct", "wrong", "abstain")
    )
    seen = abstain if mode == "paper" else _found_by_eval_framework(p, share)
    return (lc * correct - lw * wrong) * (1 - seen)


def _found_by_eval_framework(p: pd.DataFrame, share: pd.Series) -> Floats:
    """What the abstentions hold whose raw text is already stripped and in lower case."""
    text = p["text"].astype(str)
    found = (p["role"] == "abstain") & (text == text.str.strip().str.lower())
    return np.add.reduceat(np.where(found, share, 0.0), block_starts(p))


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
