"""Distributional Correctness Score (arXiv 2510.04302), abstention and confidence targets (arXiv 2509.04664)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures, statistics
from workbench.answers import Normalisation, added, block_starts, outcomes, probabilities, tag_columns
from workbench.called import NORMALISED
from workbench.errors import InputError, unknown
from workbench.questions import Questions
from workbench.statistics import Finding, calibration, wilson
from workbench.statistics.distances import Floats, fractions, mask, settled, threshold
from workbench.statistics.intervals import SHARE
from workbench.tables import headed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mode = Literal["paper", "eval_framework_0_9"]
PARTS = ("p_correct", "p_wrong", "p_abstain", "p_none")
OUTCOMES = (
    *("n_options", "n_correct", "n_abstain", "normalisation", "mass", "low_mass", "no_abstain", "tie"),
    *("answer_correct", *PARTS),
)
"""Columns of `workbench.answers.outcomes` in the table of scores."""
HERE, PAPER = "this notebook", "Burns 2025, arXiv 2510.04302"
JUDGED = ("forced", "chance", "accuracy", "ternary", "CWA", "dcs", "uniform", "skill")
PROBABILITIES = ("p_correct", "p_wrong", "p_abstain", "mass")
RATES = ("forced", "accuracy")
RANGES = dict.fromkeys([*PROBABILITIES, *RATES, "CWA"], SHARE) | dict.fromkeys(["dcs", "ternary"], (-1.0, 1.0))
"""Range of each bounded score."""


def scores(
    p: pd.DataFrame,
    lc: float = 1.0,
    lw: float = 1.0,
    strict_loadings: bool = True,
    mode: Mode = "paper",
) -> pd.DataFrame:
    """Return every score of the paper, one row per question.

    Mode "eval_framework_0_9" reproduces that package, which looks abstention up under its stripped lower-case text and
    therefore omits every other phrase (such as "I don't know.") from the factor 1 - p_abstain. Its default
    normalisation counts the leading space as a character. The mode does not merge equal texts, as the package does.

    Args:
        p: A table returned by `workbench.probabilities`.
        lc: Loading of the probability of correct options.
        lw: Loading of the probability of wrong options.
        strict_loadings: Refuse lw > lc.
        mode: The paper's definition, or that of eval-framework 0.9.

    Returns:
        question_id, tags, `OUTCOMES`, and `accuracy` (proportion at ties), `ternary` (+lc if the choice is correct, -lw
        if wrong, 0 for abstention), `confidence_weighted_accuracy` (probability of the choice if correct, else 0),
        `dcs`, `uniform` (DCS of a uniform guess), `skill` and `hedging_gradient`.

    Raises:
        InputError: A question has no correct option, or a loading is out of bounds.
    """
    _check_loadings(lc, lw, strict_loadings)
    if mode not in get_args(Mode):
        raise unknown("mode", mode, list(get_args(Mode)))
    table, starts = outcomes(p), block_starts(p)
    if (none := table["n_correct"] == 0).any():
        name, size = table.loc[none, "question_id"].iloc[0], int(none.sum())
        raise InputError(f"{size} questions have no correct option, so no DCS (the first is {name!r}); leave them out.")
    correct, wrong, abstain, n_correct, n_abstain = (
        table[name].to_numpy(np.float64) for name in ("p_correct", "p_wrong", "p_abstain", "n_correct", "n_abstain")
    )
    n_wrong, n = np.add.reduceat((p["role"] == "wrong").to_numpy(int), starts), np.diff(starts, append=len(p))
    if mode != "paper":
        text = p["text"].astype(str)
        matched = ((p["role"] == "abstain") & (text == text.str.strip().str.lower())).to_numpy(int)
        abstain, n_abstain = np.add.reduceat(matched * p["p"].to_numpy(), starts), np.add.reduceat(matched, starts)
    dcs = (lc * correct - lw * wrong) * (1 - abstain)
    uniform = (lc * n_correct - lw * n_wrong) / n * (1 - n_abstain / n)
    gradient = hedging_gradient(correct, wrong, lc, lw)
    if lc != lw:
        warnings.warn(
            f"With lc={lc:g}, lw={lw:g} moving probability from wrong to abstention lowers the DCS of "
            f"{np.mean(gradient < 0):.1%} of the questions; only equal loadings rule that out.",
            stacklevel=2,
        )
    return added(
        table[["question_id", *tag_columns(p), *OUTCOMES]],
        accuracy=table["chosen_correct"],
        ternary=lc * table["chosen_correct"] - lw * table["chosen_wrong"],
        confidence_weighted_accuracy=table["choice_p"] * table["chosen_correct"],
        dcs=dcs,
        uniform=uniform,
        skill=dcs_skill(dcs, uniform, lc),
        hedging_gradient=gradient,
    )


def dcs_skill(score: ArrayLike, baseline: ArrayLike, lc: float = 1.0) -> Floats:
    """Return (score - baseline) / (lc - baseline): 0 at the baseline, 1 at the best score; NaN where both are equal."""
    s, u = np.asarray(score, np.float64), np.asarray(baseline, np.float64)
    room = lc - u
    return (s - u) / np.where(room > 0, room, np.nan)


def guess_threshold(lc: float = 1.0, lw: float = 1.0) -> float:
    """Return the belief above which answering beats abstaining: lw / (lc + lw)."""
    _check_loadings(lc, lw, strict=False)
    return lw / (lc + lw)


def hedging_gradient(p_correct: ArrayLike, p_wrong: ArrayLike, lc: float = 1.0, lw: float = 1.0) -> Floats:
    """Return the change of the DCS per unit of probability moved from wrong to abstention, `[N]`.

    Never negative with lc = lw; with lc > lw it can be, and the score then rewards errors over abstention.
    """
    return 2 * lw * np.asarray(p_wrong, np.float64) - (lc - lw) * np.asarray(p_correct, np.float64)


def _check_loadings(lc: float, lw: float, strict: bool) -> None:
    if not (np.isfinite([lc, lw]).all() and lc >= 0 and lw >= 0 and lc + lw > 0):
        raise InputError(f"Loadings must be at least 0 and not both 0; these are lc={lc!r}, lw={lw!r}.")
    if strict and lc < lw:
        raise InputError(f"lw={lw!r} exceeds lc={lc!r}; pass strict_loadings=False for thresholds above one half.")


def confidence_target_score(
    confidence: ArrayLike, correct: ArrayLike, t: ArrayLike, abstained: ArrayLike | None = None
) -> Floats:
    """Return the score of answering only above confidence `t` (Kalai et al. 2025, arXiv 2509.04664).

    A correct answer scores 1, a wrong one -t / (1 - t), an abstention 0: answering pays if P(correct) > t. By default
    the respondent abstains where confidence <= t. `correct` is that of the (forced) answer, a proportion at ties.

    Returns:
        `[N]` scores for one target, `[G]` mean scores for several.
    """
    conf, right = fractions(confidence=confidence, correct=correct)
    targets = threshold("t", t, closed=False)
    penalty = targets / (1 - targets)
    unsure = settled(conf) <= settled(targets)[..., None]
    abstains = unsure if abstained is None else mask("abstained", abstained, len(conf))
    scores = np.where(abstains, 0.0, right - (1 - right) * penalty[..., None])
    return scores if targets.ndim == 0 else scores.mean(axis=-1)


def outcome_rates(correct: float, incorrect: float, abstained: float, level: float = 0.95) -> pd.DataFrame:
    """Return rates of correct, incorrect and abstained answers with Wilson intervals, from their counts.

    The names of the three hallucination rates give their base. The SimpleQA F score is the harmonic mean of accuracy
    and accuracy given attempted; the omniscience index is 100 (C - I) / N. Neither is a rate, so neither has an
    interval here.

    Returns:
        One row per metric: metric, mean, low, high, n, method, note; a rate with an empty base is NaN.
    """
    counts = np.array([correct, incorrect, abstained], np.float64)
    if not np.isfinite(counts).all() or (counts < 0).any() or not counts.sum():
        raise InputError("outcome_rates needs counts that are at least 0, not all of them 0.")
    right, wrong, abstentions = (float(count) for count in counts)
    n, attempted = float(counts.sum()), right + wrong
    rates = {
        "coverage": (attempted, n),
        "abstention_rate": (abstentions, n),
        "accuracy": (right, n),
        "accuracy_given_attempted": (right, attempted),
        "hallucination_per_total": (wrong, n),
        "hallucination_per_attempt": (wrong, attempted),
        "hallucination_per_non_correct": (wrong, wrong + abstentions),
    }
    indices = {"simpleqa_f": 2 * right / (n + attempted), "omniscience_index": 100 * (right - wrong) / n}
    rows = [_rate(name, *parts, level) for name, parts in rates.items()]
    rows += [_no_rate(name, value, n, "not a rate: bootstrap it for an interval") for name, value in indices.items()]
    return pd.DataFrame(rows)


def abstention_prf(abstained: ArrayLike, forced_correct: ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """Return precision, recall and F1 of abstaining where the forced answer would have been wrong, from `[N]` flags.

    Returns:
        Columns metric, mean, low, high, n, method, note. Precision is NaN without abstentions, recall if no forced
        answer is wrong, F1 if neither occurs.
    """
    size = np.asarray(abstained).size
    abstains, right = mask("abstained", abstained, size), mask("forced_correct", forced_correct, size)
    if not size:
        raise InputError("abstained is empty; a metric needs at least one item.")
    hits, predicted, actual = float((abstains & ~right).sum()), float(abstains.sum()), float((~right).sum())
    f1 = 2 * hits / (predicted + actual) if predicted + actual else np.nan
    rows = [_rate("precision", hits, predicted, level), _rate("recall", hits, actual, level)]
    return pd.DataFrame([*rows, _no_rate("f1", f1, float(size), "not a rate")])


def _rate(metric: str, count: float, base: float, level: float) -> dict[str, object]:
    low, high = map(float, wilson(count, base, level))
    mean, note = (count / base, "") if base else (np.nan, "its base is empty")
    return {"metric": metric, "mean": mean, "low": low, "high": high, "n": base, "method": "wilson", "note": note}


def _no_rate(metric: str, mean: float, n: float, note: str) -> dict[str, object]:
    return {"metric": metric, "mean": mean, "low": np.nan, "high": np.nan, "n": n, "method": "", "note": note}


def keep_abstentions(answers: pd.DataFrame, phrases: str | Sequence[str], among: Sequence[str]) -> pd.DataFrame:
    """Return the answers with only some of the added abstention phrases as options; with none for an empty list.

    Phrases scored together can thus be compared one by one. Of those `among` which they were added, as given to
    `load_questions(abstain=...)`, all but `phrases` are removed. Abstentions that a question itself lists, such as
    "Cannot be determined", stay.

    Raises:
        InputError: A phrase is not among those added, or an added phrase is not an option.
    """
    candidates = [phrase.strip() for phrase in among]
    wanted = [phrase.strip() for phrase in ([phrases] if isinstance(phrases, str) else phrases)]
    starts, abstains = block_starts(answers), (answers["role"] == "abstain").to_numpy()
    text = answers["text"].astype(str).str.strip()
    options = set(text[abstains])
    for names, known in ((wanted, candidates), (candidates, sorted(options))):
        if missing := [phrase for phrase in names if phrase not in known]:
            raise unknown("abstention phrase", missing[0], known)
    left_out = abstains & text.isin(set(candidates) - set(wanted)).to_numpy()
    block = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(answers)))[~left_out]
    return answers[~left_out].assign(option=pd.Series(block).groupby(block).cumcount().to_numpy())


def by_phrase(
    instructed: Sequence[pd.DataFrame], plain: Sequence[pd.DataFrame], phrases: Sequence[str]
) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the answers with each added abstention phrase alone: (phrase, "instruction" or "none") -> answers."""
    tables = {name: pd.concat(each, ignore_index=True) for name, each in (("instruction", instructed), ("none", plain))}
    return {
        (phrase, name): keep_abstentions(table, phrase, phrases) for phrase in phrases for name, table in tables.items()
    }


def read(answers: pd.DataFrame, normalisation: Normalisation = "none", lw: float = 1.0) -> pd.DataFrame:
    """Return `scores` of the answers, with the forced answer's correctness `forced`, `chance` and `cluster`.

    `confidence_weighted_accuracy` is called `CWA`. DCS and skill are rounded to 12 digits, so that certain abstention
    scores exactly 0.
    """
    names = {"confidence_weighted_accuracy": "CWA", "answer_correct": "forced"}
    table = scores(probabilities(answers, normalisation), lw=lw).rename(columns=names)
    table[["dcs", "skill"]] = table[["dcs", "skill"]].round(12)
    return table.assign(chance=table["n_correct"] / table["n_options"], cluster=statistics.clusters(table))


def items(table: pd.DataFrame, questions: Iterable[Questions]) -> pd.DataFrame:
    """Return text, scores (DCS first) and probabilities, one row per question, for comparing runs."""
    texts = {question.id: question.prompt_text for benchmark in questions for question in benchmark}
    others = [name for name in JUDGED if name != "dcs"]
    columns = ["benchmark", "question_id", "cluster", "dcs", *others, *PROBABILITIES]
    return table[columns].assign(question=table["question_id"].map(texts))


NAMES = {
    "forced": "accuracy, forced",
    "ternary": "ternary score",
    "CWA": "confidence-weighted accuracy",
    "uniform": "DCS of a uniform guess",
    "skill": "skill",
    "abstention_is_penalised": "abstaining lowers the score",
}
"""Scores as tables name them."""


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of every score by benchmark, `n` first."""
    return headed(_by_benchmark(table, JUDGED), NAMES)


def probability(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean probabilities by benchmark, and the mass of the options before the softmax."""
    groups = table.groupby("benchmark")
    low = {"mass_5th": groups["mass"].quantile(0.05), "low_mass": groups["low_mass"].mean()}
    return _by_benchmark(table, PROBABILITIES).assign(**low)


def _by_benchmark(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    groups = table.groupby("benchmark", sort=False)
    means = groups[list(columns)].mean()
    means.insert(0, "n", groups.size())
    return means


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return every score and probability of each benchmark with its standard error and interval."""
    rows = _summarised(table, [*RATES, *JUDGED[3:], *PROBABILITIES], by="benchmark")
    return headed(rows[["benchmark", "metric", "mean", "se", "low", "high", "n", "n_clusters", "method"]], NAMES)


def overall(table: pd.DataFrame) -> pd.DataFrame:
    """Return means of benchmarks, indexed by metric: DCS, and its excess over abstention and a uniform guess."""
    above = table.assign(
        above_chance=table["forced"] - table["chance"], above_trivial=table["dcs"] - table["uniform"].clip(lower=0)
    )
    bounds = RANGES | {"above_chance": (-1.0, 1.0), "above_trivial": (-2.0, 1.0)}
    names = ["dcs", "above_trivial", "above_chance"]
    return statistics.summarise(above, names, cluster="cluster", macro="benchmark", bounds=bounds).set_index("metric")


def against_chance(summary: pd.DataFrame, means: pd.DataFrame) -> pd.DataFrame:
    """Return whether each benchmark's results are distinguishable from chance, abstention and a uniform guess."""
    forced, dcs = (statistics.rows_by(summary[summary["metric"] == name], "benchmark") for name in ("forced", "dcs"))
    rows = {
        name: {
            "forced accuracy against chance": statistics.versus(forced[name], row["chance"]),
            "DCS against abstention": statistics.versus(dcs[name], 0.0, "abstention"),
            "DCS against a uniform guess": statistics.versus(dcs[name], row["uniform"], "a uniform guess"),
        }
        for name, row in means.iterrows()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("benchmark")


def conventions(answers: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy, DCS, skill and probability of abstaining of each benchmark under four normalisations."""
    names: tuple[Normalisation, ...] = ("none", "tokens", "chars", "bytes")
    table = pd.concat([read(answers, name).assign(normalisation=name) for name in names])
    rows = _summarised(table, ["accuracy", "dcs", "skill", "p_abstain"], by=["benchmark", "normalisation"])
    return rows[["benchmark", "normalisation", "metric", "mean", "low", "high", "n", "n_clusters", "method"]]


def phrases(readings: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Return probability of abstaining and DCS by phrase and instruction, mean of benchmarks; see `by_phrase`."""
    tables = [read(answers).assign(phrase=phrase, instructed=name) for (phrase, name), answers in readings.items()]
    return _macro(pd.concat(tables), ["p_abstain", "dcs"], by=["phrase", "instructed"])


def instruction_effect(instructed: pd.DataFrame, plain: pd.DataFrame) -> pd.DataFrame:
    """Return the change of p_abstain and DCS under the instruction, paired by question; see `read`."""
    on = ["benchmark", "question_id"]
    rows = statistics.paired(instructed, plain, ["p_abstain", "dcs"], cluster="cluster", on=on, bounds=RANGES)
    names = {"mean_a": "with", "mean_b": "without", "mean": "difference", "p_permutation": "p (sign flips)"}
    columns = ["metric", "with", "without", "difference", "low", "high", "n", "n_clusters", "p (sign flips)"]
    return rows.rename(columns=names)[columns]


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
    rows = statistics.summarise(pd.concat(tables), ["score"], by=["t"], cluster="cluster", macro="benchmark")
    return rows[["t", "mean", "low", "high", "n", "n_clusters"]]


def loadings(answers: pd.DataFrame) -> pd.DataFrame:
    """Return DCS, uniform baseline and skill by the loading of errors, and how often abstaining lowers the score."""
    with warnings.catch_warnings(action="ignore"):  # about unequal loadings, which the table shows
        tables = [
            read(answers, lw=lw).assign(loading=lw, threshold=guess_threshold(1.0, lw)) for lw in (0.25, 0.5, 0.75, 1.0)
        ]
    table = pd.concat(tables)
    table["abstention_is_penalised"] = table["hedging_gradient"] < 0
    return _macro(table, ["dcs", "uniform", "skill", "abstention_is_penalised"], by=["loading", "threshold"])


def _summarised(table: pd.DataFrame, columns: Sequence[str], by: str | list[str]) -> pd.DataFrame:
    """Return means over clusters: rates with Wilson intervals first, then the other columns."""
    rates, others = ([name for name in columns if (name in RATES) == rate] for rate in (True, False))
    how: dict[str, Any] = {"by": by, "cluster": "cluster"}
    wilson_rows = statistics.summarise(table, rates, method="wilson", **how)
    return pd.concat([wilson_rows, statistics.summarise(table, others, bounds=RANGES, **how)], ignore_index=True)


def _macro(table: pd.DataFrame, columns: Sequence[str], by: list[str]) -> pd.DataFrame:
    """Return unweighted means of benchmarks."""
    rows = statistics.summarise(table, columns, by=by, cluster="cluster", macro="benchmark", bounds=RANGES)
    return headed(rows[[*by, "metric", "mean", "low", "high", "n", "n_clusters"]], NAMES)


def findings(table: pd.DataFrame, overall: pd.DataFrame, effect: pd.DataFrame) -> list[Finding | None]:
    """Return the paper's directions and the controls of the notebook, tested on this run."""
    above: Any = overall.loc["above_chance"]
    reason = "forced answers cannot be distinguished from chance, whose DCS is below 0 too"
    at_chance = statistics.unless(above, "above", 0.0, reason)
    by_benchmark = table.groupby("benchmark")
    negative = statistics.interval(by_benchmark["dcs"].mean() < 0, method="wilson")
    uniform = int((by_benchmark["uniform"].mean() < 0).sum())
    half = f"DCS is below 0 on at least half of the benchmarks (a uniform guess: on {uniform} of {negative['n']})"
    forced = "With the abstention left out, accuracy is above chance"
    better = "The model does better than constant abstention"
    instructed = "Under the instruction, which also names the phrase, the model abstains more"
    trivial = "DCS is above the better of constant abstention and a uniform guess"
    abstains = effect.set_index("metric").loc["p_abstain"].rename({"difference": "mean"})
    claims: list[tuple[Any, ...] | None] = [
        (forced, HERE, above, "above", 0.0, "", "accuracy minus chance", "at chance"),
        (
            better,
            HERE,
            overall.loc["dcs"],
            "above",
            0.0,
            "",
            "distributional correctness score (DCS)",
            "constant abstention",
        ),
        (trivial, HERE, overall.loc["above_trivial"], "above", 0.0, "", "DCS minus that of the better one", "equal"),
        (half, PAPER, negative, "above", 0.5, at_chance, "proportion of benchmarks with a DCS below 0", "half"),
        None,
        (instructed, HERE, abstains, "above", 0.0, "", "change of the probability of abstaining", "no change"),
    ]
    if len(many := table[table["n_options"] >= 4]):
        gap = many.assign(gap=many["dcs"] - many["uniform"])
        row = statistics.summarise(gap, ["gap"], cluster="cluster", bounds=(-2, 2)).iloc[0]
        guess = "On questions with four or more options the model scores below a uniform guess"
        claims[4] = (guess, HERE, row, "below", 0.0, at_chance, "DCS minus that of a uniform guess", "equal")
    return [None if claim is None else statistics.finding(*claim) for claim in claims]


def draw_by_benchmark(summary: pd.DataFrame, means: pd.DataFrame) -> Figure:
    """Draw the DCS of each benchmark beside that of a uniform guess."""
    dcs = summary[summary["metric"] == "dcs"].merge(means[["uniform"]].reset_index(), on="benchmark")
    label = "DCS (−1 certain and wrong, 0 abstains, +1 certain and correct)"
    named = {"baseline": "uniform", "baseline_name": "uniform guess", "of": "questions"}
    figure = figures.intervals(dcs, "benchmark", xlabel=label, **named)
    alt = "Mean distributional correctness score (DCS) of each benchmark, beside that of a uniform guess."
    return figures.described(figure, alt)


def draw_simplex(table: pd.DataFrame) -> Figure:
    """Draw each question by its correct, wrong and abstaining probability, with lines of equal DCS."""
    alt = "Triangle of correct, wrong and abstaining probability, with a mark per question and a large one per mean."
    return figures.described(figures.simplex(table, by="benchmark"), alt)


def draw_conventions(conventions: pd.DataFrame) -> Figure:
    """Draw the skill of each benchmark under each normalisation."""
    skill = conventions[conventions["metric"] == "skill"].replace({"normalisation": NORMALISED})
    how: dict[str, Any] = {"by": "normalisation", "baseline": 0.0, "baseline_name": "uniform guess", "of": "questions"}
    figure = figures.intervals(skill, "benchmark", xlabel="skill (0 a uniform guess, 1 perfect)", **how)
    alt = "Skill of each benchmark by normalisation of the log-probabilities, beside a uniform guess."
    return figures.described(figure, alt)


def draw_phrases(phrases: pd.DataFrame) -> Figure:
    """Draw the probability of abstaining by phrase, with and without the instruction."""
    names = {"instruction": "with the instruction to abstain", "none": "without the instruction"}
    rows = phrases[phrases["metric"] == "p_abstain"].replace({"instructed": names})
    rows["phrase"] = "“" + rows["phrase"].astype(str) + "”"
    label = "probability of abstaining, mean of benchmarks"
    figure = figures.intervals(rows, "phrase", by="instructed", xlabel=label, of="questions")
    return figures.described(
        figure, "Mean probability of abstaining for each phrase, with and without the instruction."
    )


def draw_confidence_targets(targets: pd.DataFrame) -> Figure:
    """Draw the score against the confidence target."""
    labels: dict[str, Any] = {"xlabel": "confidence target t (an error costs t / (1 − t) points)", "of": "questions"}
    named: dict[str, Any] = {"baseline": 0.0, "baseline_name": "always abstains", "ylabel": "points per question"}
    alt = "Mean score against the confidence target t, beside the zero of a model that never answers."
    return figures.described(figures.curves(targets, "t", **labels, **named), alt)


def draw_loadings(loadings: pd.DataFrame) -> Figure:
    """Draw DCS and its uniform baseline against the loading of errors."""
    rows = loadings.replace({"metric": {"dcs": "the model", "uniform": "uniform guess"}})
    rows = rows[rows["metric"].isin(["the model", "uniform guess"])]
    labels: dict[str, Any] = {"xlabel": "loading of errors (correct answers: 1)", "ylabel": "DCS, mean of benchmarks"}
    alt = "Mean DCS of the model and of a uniform guess against the loading of errors."
    return figures.described(figures.curves(rows, "loading", by="metric", of="questions", **labels), alt)


def draw_risk_coverage(forced: pd.DataFrame) -> Figure:
    """Draw the risk-coverage curve of the forced answers."""
    curve = calibration.risk_coverage(forced["answer_confidence"], forced["answer_correct"])
    alt = "Error rate among the most confident answers against the proportion of questions answered."
    return figures.described(figures.risk_coverage(curve), alt)


def draw_reliability(forced: pd.DataFrame) -> Figure:
    """Draw the reliability diagram of the forced answers."""
    report = calibration.calibration_report(forced["answer_confidence"], forced["answer_correct"])
    alt = "Accuracy against confidence in ten bins, with 95% intervals and the number of answers in each."
    return figures.described(figures.reliability(report), alt)
