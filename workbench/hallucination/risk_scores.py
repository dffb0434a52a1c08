"""Risk scores of rows of a table, and their calibration (folktexts, arXiv 2407.14614)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures, statistics
from workbench.answers import averaged, expected, levels, wide
from workbench.errors import InputError, unknown
from workbench.hallucination.tables import Table, load_table, split_examples
from workbench.questions import Questions
from workbench.statistics import Finding, bootstrap, wilson
from workbench.statistics.calibration import adaptive_ece, auroc, bin_table, brier, calibration_report, ece
from workbench.statistics.distances import Bools, Floats, fractions, mask, settled
from workbench.statistics.findings import no_rows
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Reading = Literal["expectation", "midpoint", "argmax"]
LETTERS, NUMBER = "letters, both orders", "number"
HERE, PAPER = "this notebook", "Cruz et al. 2024, arXiv 2407.14614"
SUPERVISED = {
    "base rate": "base_rate",
    "logistic regression": "logistic_regression",
    "gradient boosting": "gradient_boosting",
}
"""Baseline -> its column of `supervised_scores`."""
BRIEF = (
    *("task", "score", "group", "n", "threshold", "base_rate", "mean_score"),
    *("positive_rate", "positive_rate_low", "positive_rate_high"),
)
"""Columns of the first table of rates by group."""
COMPARED = (
    ("the letters' score ranks people worse than gradient boosting", "score_letters", "gradient_boosting", "auroc"),
    ("the number is better calibrated than the letters", "score_number", "score_letters", "ece"),
    ("the number ranks worse than the letters", "score_number", "score_letters", "auroc"),
)
"""Claim, two columns, and the metric that is claimed to be lower for the first."""
STATEMENTS = (
    (re.compile(r"probability\s*(?:is|of|:)?\s*(?:about\s*)?(\d+(?:\.\d+)?)\s*%", re.IGNORECASE), 100.0),
    (re.compile(r"(\d+(?:\.\d+)?)\s*%"), 100.0),
    (re.compile(r"(?<![\d.])(0?\.\d+|[01](?:\.0+)?)(?![\d%])"), 1.0),
)
"""Patterns of a stated probability with their scales, most specific first."""


def parsed_probability(text: str) -> float:
    """Return the last probability a text states: "Probability: 30%", else any percentage, else 0.3; NaN without one."""
    for pattern, scale in STATEMENTS:
        if numbers := pattern.findall(text):
            value = float(numbers[-1]) / scale
            return value if 0 <= value <= 1 else float("nan")
    return float("nan")


def choice_scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Return multiple-choice scores of answers whose options are letters, with and without a space before them.

    The `value` of an option is 1 for the positive outcome and 0 for the negative one, or a number between.

    Returns:
        One row per question: `question_id`, tags, `score` (expected value under the form, with or without the space,
        that has most probability) and `mass` (probability of its letters).
    """
    return _scored(_choice_levels(answers))


def scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Return `choice_scores` averaged over the tag `order`, with `order_gap` (largest difference between orders)."""
    read = _choice_levels(answers)
    table = _scored(averaged(read, ["order"]))
    tags = [name for name in table if name not in ("question_id", "score", "mass")]
    groups = _scored(read).groupby(tags, sort=False, dropna=False)["score"]
    if groups.size().nunique() > 1:
        raise InputError("Some rows have answers in fewer orders than others; query each row in all orders.")
    return table.assign(order_gap=(groups.max() - groups.min()).to_numpy())


def _choice_levels(answers: pd.DataFrame) -> pd.DataFrame:
    if not answers["value"].between(0, 1).all():
        raise InputError("Every choice needs a value from 0 to 1: 1 for the positive outcome.")
    return levels(answers, forms="best")


def _scored(read: pd.DataFrame) -> pd.DataFrame:
    """Return question_id, tags, the expected value of each distribution as `score`, and `mass`."""
    table = expected(read).rename(columns={"mean": "score"})
    return table.drop(columns=["entropy", "mode", "tie", "p_max", "n_levels", "abstain"])


def numeric_scores(answers: pd.DataFrame, how: Reading = "expectation") -> pd.DataFrame:
    """Return numeric scores of answers whose options are the one or two digits after "0.", one row per question.

    The score is the `expectation` of the number, or of its `midpoint` (d + 0.5), or greedy `argmax`, digit by digit.
    """
    if how not in get_args(Reading):
        raise unknown("reading", how, list(get_args(Reading)))
    text = answers["text"].astype(str).str.strip()
    if not text.str.fullmatch(r"\d{1,2}").all():
        raise InputError("Numeric scores need options of one or two digits; use style='numeric'.")
    read = levels(answers.assign(value=text))
    keys, names, p = wide(read)
    unit = 10.0 ** -len(names[0])
    number = names.astype(int) * unit
    if how == "argmax":
        first = np.array([name[0] for name in names])
        digits = np.array(sorted(set(first)))
        best = digits[np.stack([p[:, first == digit].sum(axis=1) for digit in digits]).argmax(axis=0)]
        score = number[np.where(first == best[:, None], p, -1.0).argmax(axis=1)]
    else:
        score = p @ (number + (unit / 2 if how == "midpoint" else 0.0))
    return keys.assign(score=score, mass=read.loc[read["level"] == 0, "mass"].to_numpy())


def risk_bias(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Return the confidence bias: above 0 for scores that are too extreme (overconfident), below 0 for underconfident.

    Mean over bins, weighted by size, of mean label - mean score where the mean score is below one half, else of the
    reverse difference.
    """
    s, y = fractions(scores=scores, labels=labels)
    table = bin_table(s, y, bins).dropna(subset=["gap"])
    signed = np.where(settled(table["confidence"]) < 0.5, table["gap"], -table["gap"])
    return float(signed @ table["n"] / table["n"].sum())


def score_bias(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return mean score minus base rate: above 0 where the outcome is predicted too often."""
    s, y = fractions(scores=scores, labels=labels)
    return float((s - y).mean())


METRICS: dict[str, Callable[[Floats, Floats], float]] = {
    "auroc": auroc,
    "brier": brier,
    "ece": ece,
    "ece_equal_mass": adaptive_ece,
    "accuracy": lambda s, y: float(((settled(s) >= 0.5) == (y == 1)).mean()),
    "risk_bias": risk_bias,
    "score_bias": score_bias,
    "score_sd": lambda s, y: float(s.std()),
}
"""Metrics of scores and labels; accuracy at threshold 0.5."""
ROUNDING = 1e-12
"""Absolute values below this are rounding errors of 0."""
RESAMPLED_UPWARDS = ("ece", "ece_equal_mass")
"""Metrics that resampling increases; their intervals are centred on the estimate and cut at 0 and 1."""


def risk_report(
    scores: ArrayLike, labels: ArrayLike, names: Sequence[str] = tuple(METRICS), draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Return `METRICS` of scores against outcomes (0 or 1), `[N]` each, with bootstrap intervals, one row per metric.

    Returns:
        metric, mean, se, low, high, n, note (AUROC is NaN with one outcome only and for a constant score), and
        `baseline`: chance for the AUROC; the constant base rate for Brier score and accuracy; 0 for biases and spread;
        for calibration errors the mean of `draws` samples of outcomes with exactly the probabilities of the scores.
    """
    s, y = fractions(scores=scores, labels=labels)
    rate = y.mean()
    baselines = {"auroc": 0.5, "brier": rate * (1 - rate), "accuracy": max(rate, 1 - rate)}
    calibrated = (np.random.default_rng(seed).random((draws, len(s))) < s).astype(float)
    rows = []
    for name in names:
        upwards, metric = name in RESAMPLED_UPWARDS, METRICS[name]
        row = bootstrap(metric, s, y, draws=draws, seed=seed, centred=upwards, bounds=SHARE if upwards else None)
        if abs(row["mean"]) < ROUNDING:
            row["mean"] = 0.0
        if name == "auroc" and np.ptp(s) == 0:
            row |= dict.fromkeys(("mean", "se", "low", "high"), np.nan) | {"note": "a constant score has no ranking"}
        elif name == "auroc" and not 0 < rate < 1:
            row["note"] = "one outcome only"
        baseline = np.mean([metric(s, labels) for labels in calibrated]) if upwards else baselines.get(name, 0.0)
        rows.append({"metric": name, **row, "baseline": float(baseline)})
    return pd.DataFrame(rows)


def fitted_threshold(
    scores: ArrayLike, labels: ArrayLike, fit: ArrayLike, false_positive: float = 1.0, false_negative: float = 1.0
) -> float:
    """Return the threshold with the least cost-weighted sum of false positive and false negative rate.

    It is computed on the rows marked in `fit`, `[N]`, so accuracy on them is optimistic.
    """
    from sklearn.metrics import roc_curve

    s, y = fractions(scores=scores, labels=labels)
    seen = mask("fit", fit, len(s))
    if not 0 < y[seen].sum() < seen.sum():
        raise InputError("A threshold is fitted on rows of both outcomes; mark more rows.")
    fpr, tpr, at = roc_curve(y[seen], s[seen])
    return float(at[np.argmin(false_positive * fpr + false_negative * (1 - tpr))])


def group_report(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike, threshold: float = 0.5) -> pd.DataFrame:
    """Return rates of each group at one threshold, one row per group.

    Returns:
        group, n, base_rate, mean_score, score_bias, ece, auroc, and `positive_rate`, `true_positive_rate`,
        `false_positive_rate` with Wilson ends `_low`, `_high`; NaN where a group lacks an outcome.
    """
    s, y = fractions(scores=scores, labels=labels)
    codes, names = pd.factorize(np.asarray(groups))
    if codes.shape != s.shape or (codes < 0).any():
        raise InputError("groups must name a group for every row.")
    rows = []
    for code, name in enumerate(names):
        gs, gy = s[codes == code], y[codes == code]
        row = {"group": name, "n": len(gs), "base_rate": gy.mean(), "mean_score": gs.mean()}
        row |= {"score_bias": score_bias(gs, gy), "ece": ece(gs, gy), "auroc": auroc(gs, gy)}
        positive = settled(gs) >= settled(threshold)
        for rate, base in (("positive", gy >= 0), ("true_positive", gy == 1), ("false_positive", gy == 0)):
            low, high = wilson(float((positive & base).sum()), float(base.sum()))
            row[f"{rate}_rate"] = _rate(positive, base)
            row |= {f"{rate}_rate_low": float(low), f"{rate}_rate_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows)


def group_gaps(
    scores: ArrayLike, labels: ArrayLike, groups: ArrayLike, threshold: float = 0.5, draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Return the largest differences between groups, with bootstrap intervals.

    Returns:
        metric, mean, low, high, n: `demographic_parity` (positive rates), `equalised_odds` (the larger difference of
        true and false positive rates) and `score_bias`. A largest difference is never below 0, and above 0 for equal
        groups too, so the interval is not a test.
    """
    s, y = fractions(scores=scores, labels=labels)
    codes = pd.factorize(np.asarray(groups))[0].astype(np.float64)

    def spread(values: list[float]) -> float:
        return float(np.ptp(values)) if len(values) > 1 and not np.isnan(values).any() else float("nan")

    def gap(name: str, a: Floats, b: Floats, c: Floats) -> float:
        positive, parts = settled(a) >= settled(threshold), [c == code for code in np.unique(c)]
        if name == "demographic_parity":
            return spread([positive[part].mean() for part in parts])
        if name == "score_bias":
            return spread([(a[part] - b[part]).mean() for part in parts])
        rates = [[_rate(positive, part & (b == outcome)) for part in parts] for outcome in (0, 1)]
        return max(spread(rates[0]), spread(rates[1]))

    names = ("demographic_parity", "equalised_odds", "score_bias")
    return pd.DataFrame(
        [{"metric": name, **bootstrap(partial(gap, name), s, y, codes, draws=draws, seed=seed)} for name in names]
    )


def _rate(positive: Bools, base: Bools) -> float:
    return float(positive[base].mean()) if base.any() else float("nan")


def supervised_scores(features: pd.DataFrame, labels: ArrayLike, folds: int = 5, seed: int = 0) -> pd.DataFrame:
    """Return out-of-fold scores of supervised baselines on the same rows, and the base rate of all rows.

    Text columns of the features are categories. The base rate is one constant: base rates of training folds are lower
    where the test fold's is higher, which would reverse the ranking.

    Returns:
        `base_rate`, `logistic_regression` and `gradient_boosting`, `[N]` each.
    """
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    (y,) = fractions(labels=labels)
    if min(y.sum(), (1 - y).sum()) < folds:
        raise InputError(f"Supervised baselines need at least {folds} rows of each outcome; take more rows.")
    numbers, others = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    least = int(np.clip(len(y) // 20, 2, 20))
    boosting = HistGradientBoostingClassifier(max_iter=50, min_samples_leaf=least, random_state=seed)
    models = {
        "logistic_regression": (StandardScaler(), LogisticRegression(max_iter=1000)),
        "gradient_boosting": ("passthrough", boosting),
    }
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scores = {"base_rate": np.full(len(y), y.mean())}
    for name, (scaler, model) in models.items():
        pipeline = make_pipeline(make_column_transformer((scaler, numbers), (categories, others)), model)
        scores[name] = cross_val_predict(pipeline, features, y, cv=split, method="predict_proba")[:, 1]
    return pd.DataFrame(scores)


def loaded(sources: Mapping[str, str | None], n: int | None, shots: int, seed: int) -> list[tuple[Table, Table]]:
    """Return the worked examples and `n` other rows (None for all) of each table.

    `sources` maps a name or CSV file to its column dictionary, see `load_table`.
    """
    total = None if n is None else n + shots
    return [split_examples(load_table(name, words, n=total, seed=seed), shots, seed) for name, words in sources.items()]


def read(answers: pd.DataFrame) -> pd.DataFrame:
    """Return every score of the model from answers in both styles, one row per row of a table.

    Returns:
        `score_letters` (mean of both orders), `score_one_order`, `score_examples` and `score_number`, NaN without
        answers of that kind, `mass_...` likewise, `order_gap`, and the tags of the rows.
    """
    choices = answers[answers["style"] == "choices"]
    numbers = numeric_scores(answers[answers["style"] == "numeric"])
    letters, both = choice_scores(choices), scores(choices)
    one_order = letters[(letters["order"] == "0-1") & (letters["shots"] == 0)]
    table = both[both["shots"] == 0].rename(columns={"score": "score_letters", "mass": "mass_letters"})
    for name, part in (("number", numbers), ("one_order", one_order), ("examples", both[both["shots"] > 0])):
        names = {"score": f"score_{name}", "mass": f"mass_{name}"}
        table = table.merge(part[["task", "row", *names]].rename(columns=names), on=["task", "row"], how="left")
    return table


def baselines(tables: Sequence[Table], folds: int, seed: int) -> pd.DataFrame:
    """Return `supervised_scores` of the rows of all tables, by `task` and `row`."""
    scores = [supervised_scores(table.features(), table.labels, folds, seed) for table in tables]
    return pd.concat(s.assign(task=table.task.name, row=range(len(s))) for s, table in zip(scores, tables))


def missing_numbers(tables: Sequence[Table]) -> str:
    """Return a sentence with the count of missing numbers in each table's features."""
    counts = {table.task.name: int(table.features().filter(regex=" is missing$").to_numpy().sum()) for table in tables}
    each = ", ".join(f"{n} of {task}" for task, n in counts.items())
    return f"Missing numbers are 0 for the supervised baselines and marked in a separate column: {each}."


def columns_of(scores: pd.DataFrame, shots: int) -> dict[str, str]:
    """Return the readings with at least one score, name -> column."""
    readings = {
        LETTERS: "score_letters",
        "letters, one order": "score_one_order",
        f"letters, {shots} examples": "score_examples",
        NUMBER: "score_number",
    }
    return {name: column for name, column in (readings | SUPERVISED).items() if scores[column].notna().any()}


def every_score(scores: pd.DataFrame, readings: Mapping[str, str]) -> pd.DataFrame:
    """Return the scores of the readings, one row per row of a table, with its outcome and group."""
    about = [name for name in ("task", "question_id", "row", "label", "group") if name in scores]
    return scores[[*about, *readings.values()]]


def items(scores: pd.DataFrame, readings: Mapping[str, str], questions: Iterable[Questions]) -> pd.DataFrame:
    """Return the Brier score of each of the model's readings, and `order_gap`, for comparing runs."""
    texts = {(each.tags["task"], each.tags["row"]): each.prompt_text for table in questions for each in table}
    errors = {
        f"Brier score of the {name}": (scores[column] - scores["label"]) ** 2
        for name, column in readings.items()
        if name not in SUPERVISED
    }
    prompt = pd.Series(zip(scores["task"], scores["row"])).map(texts)
    about = {"row": scores["row"], "question": prompt, "benchmark": scores["task"]}
    return pd.DataFrame({**about, **errors, "order_gap": scores["order_gap"]})


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean scores and masses, the effect of the order of choices, and the base rate (Wilson) by task."""
    columns = ["order_gap", "mass_letters", "mass_number", "score_letters", "score_number"]
    means = statistics.summarise(scores, columns, by="task", bounds=(0, 1))
    rates = statistics.summarise(scores, ["label"], by="task", method="wilson")
    return pd.concat([means, rates], ignore_index=True)[["task", "metric", "mean", "low", "high", "n"]]


def reports(scores: pd.DataFrame, readings: Mapping[str, str], draws: int, seed: int) -> pd.DataFrame:
    """Return `risk_report` of each reading of each table; `n_unread` rows without a score are left out."""
    tables = []
    for task, part in scores.groupby("task", sort=False):
        for name, column in readings.items():
            if len(scored := part.dropna(subset=[column])):
                report = risk_report(scored[column], scored["label"], draws=draws, seed=seed)
                tables.append(report.assign(task=task, score=name, n_unread=len(part) - len(scored)))
    columns = ["task", "score", "metric", "mean", "low", "high", "baseline", "n", "n_unread", "note"]
    return pd.concat(tables, ignore_index=True)[columns]


def worth(report: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics side by side with their intervals as text, one row per reading of a table; see `reports`."""
    text = report.assign(text=[statistics.estimate(row) for _, row in report.iterrows()])
    index = ["task", "score", "n", "n_unread"]
    table = text.pivot(index=index, columns="metric", values="text").reset_index()
    return table[["task", "score", "auroc", "brier", "ece", "risk_bias", "score_bias", "n", "n_unread"]]


def rankings(report: pd.DataFrame) -> pd.DataFrame:
    """Return the AUROC of the letters and of the number on each table, with a `verdict` in words."""
    rows = report[(report["metric"] == "auroc") & report["score"].isin([LETTERS, NUMBER])]
    return rows.assign(verdict=[statistics.versus(row, 0.5) for _, row in rows.iterrows()])


def verdicts(rankings: pd.DataFrame) -> pd.DataFrame:
    """Return the verdict of each row of `rankings`."""
    return rankings[["task", "score", "verdict"]]


def by_group(scores: pd.DataFrame, draws: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rates of each group, and the largest differences between groups and between shuffled groups.

    The threshold is fitted on a third of the rows, the rates are those of the rest. `shuffled` is the mean of 100
    shuffles, `shuffled_high` their 97.5th percentile. Both tables are empty if no task names a group.
    """
    rates, gaps = [], []
    for task, part in scores.groupby("task", sort=False):
        if "group" not in part or part["group"].isna().any():
            continue
        fit = np.random.default_rng(seed).permutation(len(part)) < len(part) / 3
        rest = part[~fit]
        for name, column in (("letters", "score_letters"), ("logistic regression", "logistic_regression")):
            about = {"task": task, "score": name}
            at = fitted_threshold(part[column], part["label"], fit)
            rates.append(group_report(rest[column], rest["label"], rest["group"], at).assign(**about, threshold=at))
            gap = group_gaps(rest[column], rest["label"], rest["group"], at, draws, seed)
            shuffles = (rest["group"].sample(frac=1, random_state=seed + i).to_numpy() for i in range(100))
            none = np.array([group_gaps(rest[column], rest["label"], g, at, 2, seed)["mean"] for g in shuffles])
            about |= {"shuffled": none.mean(axis=0), "shuffled_high": np.quantile(none, 0.975, axis=0)}
            gaps.append(gap[["metric", "mean", "low", "high", "n", "note"]].assign(**about))
    empty = no_rows("no task names a group")
    return (pd.concat(rates), pd.concat(gaps)) if rates else (empty, empty)


def difference(part: pd.DataFrame, one: str, two: str, metric: str, draws: int, seed: int) -> dict[str, Any]:
    """Return a metric of one column of scores minus that of another, on rows with both, with its interval."""
    of, both = METRICS[metric], part.dropna(subset=[one, two])
    if both.empty:
        return {"mean": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    return bootstrap(
        lambda a, b, y: of(a, y) - of(b, y),
        *(both[column] for column in (one, two, "label")),
        draws=draws,
        seed=seed,
        centred=metric == "ece",
        bounds=(-1, 1),
    )


def findings(
    scores: pd.DataFrame, report: pd.DataFrame, summary: pd.DataFrame, shots: int, draws: int, seed: int
) -> list[Finding]:
    """Return the claims of the notebook, tested on each table of this run; without `shots` none about worked examples.

    The arguments are the results of `read` with the columns of `baselines`, of `reports`, and of `summary`.
    """
    claims: list[Finding] = []
    for task, part in scores.groupby("task", sort=False):
        letters = statistics.rows_by(report[(report["task"] == task) & (report["score"] == LETTERS)], "metric")
        gap = statistics.rows_by(summary[summary["task"] == task], "metric")["order_gap"]
        half = abs(part["label"].mean() - 0.5)
        blind = statistics.unless(letters["auroc"], "above", 0.5, "the letters cannot be distinguished from chance")
        moves = "the order of the choices moves the score"
        extreme = "the letters are overconfident"
        rows: list[tuple[Any, ...]] = [
            ("the letters rank people better than chance", HERE, letters["auroc"], "above", 0.5, "", "AUROC", "chance"),
            *(
                (
                    claim,
                    PAPER,
                    difference(part, one, two, metric, draws, seed),
                    "below",
                    0.0,
                    blind,
                    f"difference of {metric.upper()}",
                    "no difference",
                )
                for claim, one, two, metric in COMPARED
            ),
            (
                extreme,
                PAPER,
                letters["risk_bias"],
                "above",
                half,
                "",
                "bias of the risk score (R_bias)",
                "the largest value for scores of one half",
            ),
            (
                moves,
                HERE,
                gap,
                "above",
                0.05,
                "",
                "mean difference of the score between orders",
                "the least gap that counts",
            ),
        ]
        if shots:
            change = difference(part, "score_examples", "score_letters", "auroc", draws, seed)
            rows.append(
                ("worked examples improve the ranking", HERE, change, "above", 0.0, "", "change of AUROC", "no change")
            )
        claims += [statistics.finding(f"{task}: {claim}", *rest) for claim, *rest in rows]
    return claims


def draw_auroc(report: pd.DataFrame) -> Figure:
    """Draw the AUROC of each reading on each table, where it is defined."""
    rows = report[(report["metric"] == "auroc") & report["mean"].notna()]
    how = {"bars": "95% bootstrap intervals", "of": "people", "xlabel": "AUROC (proportion of pairs ordered correctly)"}
    figure = figures.intervals(rows, ["task", "score"], baseline=0.5, **how)
    return figures.described(figure, "AUROC of each score on each table, beside chance.")


def draw_ece(report: pd.DataFrame) -> Figure:
    """Draw the calibration error of each reading on each table beside that of a calibrated score."""
    rows, name = report[report["metric"] == "ece"], "calibrated score of the same spread"
    labels = {"baseline_name": name, "xlabel": "expected calibration error (10 equal-width bins)"}
    how = {"baseline": "baseline", "bars": "95% bootstrap intervals", "of": "people"}
    figure = figures.intervals(rows, ["task", "score"], **how, **labels)
    alt = f"Expected calibration error of each score on each table, beside that of a {name}."
    return figures.described(figure, alt)


def draw_reliability(scores: pd.DataFrame, readings: Mapping[str, str]) -> Figure:
    """Draw the reliability of the letters, the number and logistic regression on the first table."""
    part = scores[scores["task"] == scores["task"].iloc[0]]
    diagrams = {
        name: calibration_report(part[column].dropna(), part["label"][part[column].notna()])
        for name, column in readings.items()
        if name in (LETTERS, NUMBER, "logistic regression") and part[column].notna().any()
    }
    alt = "Outcome rate against score for the letters, the number and logistic regression, with 95% intervals."
    return figures.described(figures.reliability(diagrams), alt)
