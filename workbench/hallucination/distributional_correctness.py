"""Distributional Correctness Score (arXiv 2510.04302), abstention and confidence targets (arXiv 2509.04664)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures, statistics
from workbench.answers import Normalisation, added, block_starts, outcomes, probabilities, tag_columns
from workbench.errors import InputError, unknown
from workbench.questions import Questions
from workbench.statistics import Finding, calibration, wilson
from workbench.statistics.distances import Floats, fractions, mask, settled, threshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mode = Literal["paper", "eval_framework_0_9"]
MODES = ("paper", "eval_framework_0_9")
KEPT = ("n_options", "n_correct", "n_abstain", "normalisation", "mass", "low_mass", "no_abstain", "tie")
PARTS = ("p_correct", "p_wrong", "p_abstain", "p_none")
HERE, PAPER = "this notebook", "arXiv 2510.04302"
JUDGED = ("forced", "chance", "accuracy", "ternary", "CWA", "dcs", "uniform", "skill")
PROBABILITIES = ("p_correct", "p_wrong", "p_abstain", "mass")
RATES = ("forced", "accuracy")
RANGES: dict[str, tuple[float, float]] = dict.fromkeys([*PROBABILITIES, *RATES, "CWA"], (0.0, 1.0)) | dict.fromkeys(
    ["dcs", "ternary"], (-1.0, 1.0)
)
"""Range of each score that has one."""


def scores(
    p: pd.DataFrame,
    lc: float = 1.0,
    lw: float = 1.0,
    strict_loadings: bool = True,
    mode: Mode = "paper",
) -> pd.DataFrame:
    """Return every score of the paper, one row per question.

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
    gradient = hedging_gradient(correct, wrong, lc, lw)
    _warn_of_perverse_hedging(gradient, lc, lw)
    return added(
        found[["question_id", *tag_columns(p), *KEPT, *PARTS]],
        accuracy=found["chosen_correct"],
        ternary=ternary(found["chosen_correct"], found["chosen_wrong"], lc, lw),
        confidence_weighted_accuracy=confidence_weighted_accuracy(found["choice_p"], found["chosen_correct"]),
        dcs=score,
        uniform=uniform,
        skill=dcs_skill(score, uniform, lc),
        hedging_gradient=gradient,
    )


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


def by_phrase(
    told: Sequence[pd.DataFrame], plain: Sequence[pd.DataFrame], phrases: Sequence[str]
) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the answers with each abstention phrase alone: (phrase, "instruction" or "none") -> answers.

    Args:
        told: Answers under the instruction, one table per benchmark.
        plain: Answers without it.
        phrases: Every phrase that was added to the options.
    """
    together = {name: pd.concat(each, ignore_index=True) for name, each in (("instruction", told), ("none", plain))}
    return {
        (phrase, name): keep_abstentions(table, phrase, phrases)
        for phrase in phrases
        for name, table in together.items()
    }


def read(answers: pd.DataFrame, normalisation: Normalisation = "none", lw: float = 1.0) -> pd.DataFrame:
    """Return `scores` of the answers, with the forced answer's correctness, `chance` and `cluster`.

    `confidence_weighted_accuracy` is called `CWA`. DCS and skill are rounded to 12 digits: 0 where the model abstains
    with certainty.
    """
    p = probabilities(answers, normalisation)
    table = scores(p, lw=lw).rename(columns={"confidence_weighted_accuracy": "CWA"})
    table[["dcs", "skill"]] = table[["dcs", "skill"]].round(12)
    return table.assign(
        forced=outcomes(p)["answer_correct"].to_numpy(),
        chance=table["n_correct"] / table["n_options"],
        cluster=statistics.clusters(table),
    )


def items(table: pd.DataFrame, questions: Iterable[Questions]) -> pd.DataFrame:
    """Return the rows to compare runs by, a question each: its text, DCS first, the other scores, probabilities."""
    texts = {question.id: question.prompt_text for asked in questions for question in asked}
    others = [name for name in JUDGED if name != "dcs"]
    kept = table[["benchmark", "question_id", "cluster", "dcs", *others, *PROBABILITIES]]
    return kept.assign(question=table["question_id"].map(texts))


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every score by benchmark, `n` first."""
    return _by_benchmark(table, JUDGED)


def probability(table: pd.DataFrame) -> pd.DataFrame:
    """Return where the probability lies by benchmark: mean parts, and the mass of the options before the softmax."""
    groups = table.groupby("benchmark")
    low = {"mass_5th": groups["mass"].quantile(0.05), "low_mass": groups["low_mass"].mean()}
    return _by_benchmark(table, PROBABILITIES).assign(**low)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return every score and probability of each benchmark with its standard error and interval."""
    found = _summarised(table, [*RATES, *JUDGED[3:], *PROBABILITIES], by="benchmark")
    return found[["benchmark", "metric", "mean", "se", "low", "high", "n", "n_clusters", "method"]]


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Return means of benchmarks, indexed by metric: DCS, and what lies above silence, a uniform guess and chance."""
    above = table.assign(
        above_chance=table["forced"] - table["chance"], above_trivial=table["dcs"] - table["uniform"].clip(lower=0)
    )
    bounds = RANGES | {"above_chance": (-1.0, 1.0), "above_trivial": (-2.0, 1.0)}
    names = ["dcs", "above_trivial", "above_chance"]
    found = statistics.summarise(above, names, cluster="cluster", macro="benchmark", bounds=bounds)
    return found.set_index("metric")


def against_chance(summary: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """Return in words which results of each benchmark are distinguishable from chance, silence and a uniform guess."""
    forced, dcs = (
        dict(summary[summary["metric"] == name].set_index("benchmark").iterrows()) for name in ("forced", "dcs")
    )
    rows = {
        name: {
            "forced accuracy against chance": statistics.versus(forced[name], row["chance"]),
            "DCS against silence": statistics.versus(dcs[name], 0.0, "silence"),
            "DCS against a uniform guess": statistics.versus(dcs[name], row["uniform"], "a uniform guess"),
        }
        for name, row in means.iterrows()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("benchmark")


def conventions(answers: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy, DCS, skill and probability of abstaining of each benchmark under four normalisations."""
    names: tuple[Normalisation, ...] = ("none", "tokens", "chars", "bytes")
    tables = [read(answers, name).assign(normalisation=name) for name in names]
    columns = ["accuracy", "dcs", "skill", "p_abstain"]
    found = _summarised(pd.concat(tables), columns, by=["benchmark", "normalisation"])
    return found[["benchmark", "normalisation", "metric", "mean", "low", "high", "n", "n_clusters", "method"]]


def phrases(readings: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Return probability of abstaining and DCS by phrase and instruction, mean of benchmarks; see `by_phrase`."""
    tables = [read(answers).assign(phrase=phrase, instructed=name) for (phrase, name), answers in readings.items()]
    found = _macro(pd.concat(tables), ["p_abstain", "dcs"], by=["phrase", "instructed"])
    return found[["phrase", "instructed", "metric", "mean", "low", "high", "n", "n_clusters"]]


def instruction_effect(told: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    """Return the change of p_abstain and DCS under the instruction, paired by question; see `read`."""
    on = ["benchmark", "question_id"]
    found = statistics.paired(told, plain, ["p_abstain", "dcs"], cluster="cluster", on=on, bounds=RANGES)
    names = {"mean_a": "with", "mean_b": "without", "mean": "difference", "p_permutation": "p (sign flips)"}
    shown = ["metric", "with", "without", "difference", "low", "high", "n", "n_clusters", "p (sign flips)"]
    return found.rename(columns=names)[shown]


def forced_answers(answers: pd.DataFrame) -> pd.DataFrame:
    """Return `outcomes` of the answers with their `cluster`: correctness and confidence with abstentions left out."""
    table = outcomes(probabilities(answers))
    return table.assign(cluster=statistics.clusters(table))


def confidence_targets(forced: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score at five confidence targets, mean of benchmarks; see `confidence_target_score`."""
    confidence, correct = forced["answer_confidence"], forced["answer_correct"]
    tables = [
        forced.assign(t=t, score=confidence_target_score(confidence, correct, t)) for t in (0.0, 0.25, 0.5, 0.75, 0.9)
    ]
    found = statistics.summarise(pd.concat(tables), ["score"], by=["t"], cluster="cluster", macro="benchmark")
    return found[["t", "mean", "low", "high", "n", "n_clusters"]]


def loadings(answers: pd.DataFrame) -> pd.DataFrame:
    """Return DCS, its uniform baseline and skill by the loading of errors, and how often silence lowers the score."""
    with warnings.catch_warnings(action="ignore"):  # of unequal loadings, which the table shows
        tables = [
            read(answers, lw=lw).assign(loading=lw, threshold=guess_threshold(1.0, lw)) for lw in (0.25, 0.5, 0.75, 1.0)
        ]
    table = pd.concat(tables)
    table["silence_is_punished"] = table["hedging_gradient"] < 0
    found = _macro(table, ["dcs", "uniform", "skill", "silence_is_punished"], by=["loading", "threshold"])
    return found[["loading", "threshold", "metric", "mean", "low", "high", "n", "n_clusters"]]


def findings(table: pd.DataFrame, overall: pd.DataFrame, effect: pd.DataFrame) -> list[Finding | None]:
    """Return the paper's directions and the controls of the notebook, tested on this run."""
    above: Any = overall.loc["above_chance"]
    coin = statistics.unless(
        above,
        "above",
        0.0,
        "forced to answer, the model cannot be distinguished from chance, whose DCS is below 0 too",
    )
    by_benchmark = table.groupby("benchmark")
    negative = statistics.interval(by_benchmark["dcs"].mean() < 0, method="wilson")
    uniform = int((by_benchmark["uniform"].mean() < 0).sum())
    below = f"DCS is below 0 on at least half of the benchmarks (a uniform guess: on {uniform} of {negative['n']})"
    many = table[table["n_options"] >= 4]
    gap = many.assign(gap=many["dcs"] - many["uniform"])
    abstains = effect.set_index("metric").loc["p_abstain"].rename({"difference": "mean"})
    claims: list[tuple[Any, ...] | None] = [
        ("Forced to answer, the model beats chance", HERE, above, "above"),
        ("The model does better than constant abstention (DCS above 0)", HERE, overall.loc["dcs"], "above"),
        (
            "The model does better than the better of abstention and a uniform guess",
            HERE,
            overall.loc["above_trivial"],
            "above",
        ),
        (below, PAPER, negative, "above", 0.5, coin),
        (
            "On questions with four or more options the model scores below a uniform guess",
            HERE,
            statistics.summarise(gap, ["gap"], cluster="cluster", bounds=(-2, 2)).iloc[0],
            "below",
            0.0,
            coin,
        )
        if len(many)
        else None,
        ("Under the instruction, which also names the phrase, the model abstains more", HERE, abstains, "above"),
    ]
    return [None if claim is None else statistics.finding(*claim) for claim in claims]


def draw_by_benchmark(summary: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """Draw the DCS of each benchmark beside that of a uniform guess."""
    dcs = summary[summary["metric"] == "dcs"].merge(means[["uniform"]].reset_index(), on="benchmark")
    label = "DCS (−1 certain and wrong, 0 abstains, +1 certain and correct)"
    how: dict[str, Any] = {"baseline": "uniform", "baseline_name": "uniform guess", "xlabel": label}
    alt = "Mean DCS of each benchmark with its 95% interval, beside the DCS of a uniform guess."
    return figures.described(figures.intervals(dcs, "benchmark", **how), alt)


def draw_simplex(table: pd.DataFrame) -> Figure:
    """Draw each question between correct, wrong and abstention, over lines of equal DCS."""
    alt = (
        "Triangle of correct, wrong and abstaining probability: a mark per question, a large one per benchmark's mean."
    )
    title = "Correct, wrong, abstaining: one mark per question"
    return figures.described(figures.simplex(table, by="benchmark", title=title), alt)


def draw_conventions(conventions: pd.DataFrame) -> Figure:
    """Draw the skill of each benchmark under each normalisation."""
    skill = conventions[conventions["metric"] == "skill"]
    how: dict[str, Any] = {"by": "normalisation", "baseline": 0.0, "baseline_name": "uniform guess"}
    alt = "Skill of each benchmark under the normalisations none, tokens, chars and bytes, with 95% intervals."
    label = "skill (0 a uniform guess, 1 perfect)"
    return figures.described(figures.intervals(skill, "benchmark", xlabel=label, **how), alt)


def draw_phrases(phrases: pd.DataFrame) -> Figure:
    """Draw the probability of abstaining by phrase, with and without the instruction."""
    abstaining = phrases[phrases["metric"] == "p_abstain"]
    label = "probability of abstaining, mean of benchmarks"
    alt = "Mean probability of abstaining for each phrase, with and without the instruction."
    return figures.described(figures.intervals(abstaining, "phrase", by="instructed", xlabel=label), alt)


def draw_confidence_targets(targets: pd.DataFrame) -> Figure:
    """Draw the score against the confidence target."""
    how: dict[str, Any] = {"xlabel": "confidence target t", "ylabel": "score per question"}
    alt = "Mean score against the confidence target t, with the zero of a model that never answers."
    drawn = figures.curves(targets, "t", baseline=0.0, baseline_name="always silent", **how)
    return figures.described(drawn, alt)


def draw_loadings(loadings: pd.DataFrame) -> Figure:
    """Draw DCS and its uniform baseline against the loading of errors."""
    shown = loadings[loadings["metric"].isin(["dcs", "uniform"])]
    how: dict[str, Any] = {"xlabel": "loading of errors (loading of correct answers is 1)"}
    alt = "Mean DCS and that of a uniform guess against the loading of errors."
    drawn = figures.curves(shown, "loading", by="metric", ylabel="DCS, mean of benchmarks", **how)
    return figures.described(drawn, alt)


def draw_risk_coverage(forced: pd.DataFrame) -> Figure:
    """Draw the risk-coverage curve of the forced answers."""
    alt = "Error rate among the most confident answers against the proportion of questions answered."
    curve = calibration.risk_coverage(forced["answer_confidence"], forced["answer_correct"])
    return figures.described(figures.risk_coverage(curve), alt)


def draw_reliability(forced: pd.DataFrame) -> Figure:
    """Draw the reliability diagram of the forced answers."""
    alt = "Accuracy against confidence in ten bins, with 95% intervals and the number of answers in each."
    report = calibration.calibration_report(forced["answer_confidence"], forced["answer_correct"])
    return figures.described(figures.reliability(report), alt)


def _by_benchmark(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    groups = table.groupby("benchmark", sort=False)
    found = groups[list(columns)].mean()
    found.insert(0, "n", groups.size())
    return found


def _summarised(table: pd.DataFrame, columns: Sequence[str], by: str | list[str]) -> pd.DataFrame:
    """Means over clusters: rates with Wilson intervals first, then the other columns."""
    rates, others = ([name for name in columns if (name in RATES) == wanted] for wanted in (True, False))
    how: dict[str, Any] = {"by": by, "cluster": "cluster"}
    found = [statistics.summarise(table, rates, method="wilson", **how)]
    return pd.concat([*found, statistics.summarise(table, others, bounds=RANGES, **how)], ignore_index=True)


def _macro(table: pd.DataFrame, columns: Sequence[str], by: list[str]) -> pd.DataFrame:
    return statistics.summarise(table, columns, by=by, cluster="cluster", macro="benchmark", bounds=RANGES)


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
