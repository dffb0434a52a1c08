"""Risk scores of rows of a table, and how they are calibrated (folktexts, arXiv 2407.14614)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import answers as core
from workbench import figures, statistics
from workbench.answers import expected, levels, wide
from workbench.errors import InputError, unknown
from workbench.hallucination.tables import Table, load_table, split_examples
from workbench.questions import Questions
from workbench.statistics import Finding, bootstrap, wilson
from workbench.statistics.calibration import adaptive_ece, auroc, bin_table, brier, calibration_report, ece
from workbench.statistics.distances import Floats, fractions, mask, settled
from workbench.statistics.findings import no_rows
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Reading = Literal["expectation", "midpoint", "argmax"]
READINGS = ("expectation", "midpoint", "argmax")
LETTERS, NUMBER = "letters, both orders", "number"
HERE, PAPER = "this notebook", "arXiv 2407.14614"
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
"""Columns of the rates by group that are shown first."""
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_STATED = re.compile(r"probability\s*(?:is|of|:)?\s*(?:about\s*)?(\d+(?:\.\d+)?)\s*%", re.IGNORECASE)
_FRACTION = re.compile(r"(?<![\d.])(0?\.\d+|[01](?:\.0+)?)(?![\d%])")


def parsed_probability(text: str) -> float:
    """The last probability a text states: "Probability: 30%", else any percentage, else 0.3; NaN without one."""
    for pattern, scale in ((_STATED, 100.0), (_PERCENT, 100.0), (_FRACTION, 1.0)):
        found = pattern.findall(text)
        if found:
            value = float(found[-1]) / scale
            return value if 0 <= value <= 1 else float("nan")
    return float("nan")


def choice_scores(answers: pd.DataFrame) -> pd.DataFrame:
    """Multiple-choice scores of an answers table whose options are letters, with and without a space before.

    Args:
        answers: `value` holds what a choice stands for, 0 or 1 (or anything between).

    Returns:
        One row per question: `question_id`, tags, `score` (expected value under the way of writing that holds most
        probability) and `mass` (what its letters hold).
    """
    return _scored(_read_choices(answers))


def numeric_scores(answers: pd.DataFrame, how: Reading = "expectation") -> pd.DataFrame:
    """Numeric scores of an answers table whose options are the digits after "0.", one row per question.

    Args:
        answers: Options "0" ... "9", or "00" ... "99" for two digits.
        how: `expectation` of the number, of its `midpoint` (d + 0.5), or greedy `argmax`, digit by digit.
    """
    if how not in READINGS:
        raise unknown("reading", how, list(READINGS))
    text = answers["text"].astype(str).str.strip()
    if not text.str.fullmatch(r"\d{1,2}").all():
        raise InputError("Numeric scores need options of one or two digits; ask with style='numeric'.")
    read = levels(answers.assign(value=text))
    keys, names, p = wide(read)
    unit = 10.0 ** -len(names[0])
    number = names.astype(int) * unit
    if how == "argmax":
        first = np.array([name[0] for name in names])
        held = np.stack([p[:, first == digit].sum(axis=1) for digit in sorted(set(first))], axis=1)
        best = np.array(sorted(set(first)))[held.argmax(axis=1)]
        score = number[np.where(first == best[:, None], p, -1.0).argmax(axis=1)]
    else:
        score = p @ (number + (unit / 2 if how == "midpoint" else 0.0))
    return keys.assign(score=score, mass=read.loc[read["level"] == 0, "mass"].to_numpy())


def averaged(answers: pd.DataFrame) -> pd.DataFrame:
    """Multiple-choice scores averaged over the orders of the choices, one row per combination of the other tags.

    Args:
        answers: As for `choice_scores`, with the tag `order`.

    Returns:
        As `choice_scores`, with mean `score` and `mass` and `order_gap` (largest difference between orders).
    """
    read = _read_choices(answers)
    table = _scored(core.averaged(read, ["order"]))
    tags = [name for name in table if name not in ("question_id", "score", "mass")]
    groups = _scored(read).groupby(tags, sort=False, dropna=False)["score"]
    if groups.size().nunique() > 1:
        raise InputError("Some rows were asked in fewer orders than others; ask each in all of them.")
    return table.assign(order_gap=(groups.max() - groups.min()).to_numpy())


def risk_bias(scores: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Confidence bias: above 0 the scores are too extreme (overconfident), below 0 too timid.

    Per bin, mean label - mean score where the mean score is below one half, else the reverse; weighted by size.
    """
    s, y = fractions(scores=scores, labels=labels)
    table = bin_table(s, y, bins).dropna(subset=["gap"])
    signed = np.where(settled(table["confidence"]) < 0.5, table["gap"], -table["gap"])
    return float(signed @ table["n"] / table["n"].sum())


def score_bias(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean score minus base rate: above 0 the outcome is foretold too often."""
    s, y = fractions(scores=scores, labels=labels)
    return float((s - y).mean())


def _read_choices(answers: pd.DataFrame) -> pd.DataFrame:
    if not answers["value"].between(0, 1).all():
        raise InputError("Every choice needs a value from 0 to 1: 1 for the positive outcome.")
    return levels(answers, forms="best")


def _scored(read: pd.DataFrame) -> pd.DataFrame:
    """question_id, tags, the expected value of each distribution as `score`, and `mass`."""
    table = expected(read).rename(columns={"mean": "score"})
    return table.drop(columns=["entropy", "mode", "tie", "p_max", "n_levels", "abstain"])


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
"""Of scores and labels; accuracy at 0.5."""
ROUNDING = 1e-12
"""What sums of rounding errors may leave of a bias of 0."""
RESAMPLED_UPWARDS = ("ece", "ece_equal_mass")
"""Metrics that resampling pushes upwards; their intervals are centred on the estimate and cut at 0 and 1."""


def risk_report(
    scores: ArrayLike, labels: ArrayLike, names: Sequence[str] = tuple(METRICS), draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Metrics of scores against outcomes with bootstrap intervals, one row per metric.

    Args:
        scores: Of each row, `[N]`.
        labels: Whether the outcome came, `[N]`.
        names: Of `METRICS`.
        draws: Bootstrap samples.
        seed: Of them.

    Returns:
        metric, mean, se, low, high, n, note (AUROC is NaN with one outcome only and for a constant score), and
        `baseline`: chance for the AUROC, the constant base rate for Brier score and accuracy, 0 for biases and spread,
        and for calibration errors the mean of `draws` samples of outcomes that come exactly as often as the scores say.
    """
    s, y = fractions(scores=scores, labels=labels)
    rate = y.mean()
    baselines = {"auroc": 0.5, "brier": rate * (1 - rate), "accuracy": max(rate, 1 - rate)}
    coins = np.random.default_rng(seed).random((draws, len(s))) < s
    rows = []
    for name in names:
        upwards = name in RESAMPLED_UPWARDS
        found = bootstrap(
            METRICS[name], s, y, draws=draws, seed=seed, centred=upwards, bounds=SHARE if upwards else None
        )
        if abs(found["mean"]) < ROUNDING:
            found["mean"] = 0.0
        note = "one outcome only" if name == "auroc" and not 0 < rate < 1 else found["note"]
        if name == "auroc" and np.ptp(s) == 0:
            found |= dict.fromkeys(("mean", "se", "low", "high"), np.nan)
            note = "a constant score ranks nobody"
        honest = [METRICS[name](s, coin) for coin in coins.astype(float)] if upwards else [baselines.get(name, 0.0)]
        rows.append({"metric": name, **found, "note": note, "baseline": float(np.mean(honest))})
    return pd.DataFrame(rows)


def fitted_threshold(
    scores: ArrayLike, labels: ArrayLike, fit: ArrayLike, false_positive: float = 1.0, false_negative: float = 1.0
) -> float:
    """The threshold with the least cost-weighted sum of false positive and false negative rate on part of the rows.

    Args:
        scores: `[N]`.
        labels: `[N]`.
        fit: Which rows may be seen, `[N]`; do not count accuracy on them.
        false_positive: Cost of a false positive.
        false_negative: Cost of a false negative.
    """
    from sklearn.metrics import roc_curve

    s, y = fractions(scores=scores, labels=labels)
    seen = mask("fit", fit, len(s))
    if not 0 < y[seen].sum() < seen.sum():
        raise InputError("A threshold is fitted on rows of both outcomes; mark more rows.")
    fpr, tpr, at = roc_curve(y[seen], s[seen])
    return float(at[np.argmin(false_positive * fpr + false_negative * (1 - tpr))])


def group_report(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike, threshold: float = 0.5) -> pd.DataFrame:
    """Rates of each group at one threshold, one row per group.

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
        part = codes == code
        gs, gy = s[part], y[part]
        row = {"group": name, "n": len(gs), "base_rate": gy.mean(), "mean_score": gs.mean()}
        row |= {"score_bias": score_bias(gs, gy), "ece": ece(gs, gy), "auroc": auroc(gs, gy)}
        said = settled(gs) >= settled(threshold)
        for rate, base in (("positive", gy >= 0), ("true_positive", gy == 1), ("false_positive", gy == 0)):
            hits, n = float((said & base).sum()), float(base.sum())
            low, high = wilson(hits, n)
            row[f"{rate}_rate"] = hits / n if n else np.nan
            row |= {f"{rate}_rate_low": float(low), f"{rate}_rate_high": float(high)}
        rows.append(row)
    return pd.DataFrame(rows)


def group_gaps(
    scores: ArrayLike, labels: ArrayLike, groups: ArrayLike, threshold: float = 0.5, draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Largest differences between groups, with bootstrap intervals.

    Returns:
        metric, mean, low, high, n: `demographic_parity` (positive rates), `equalised_odds` (the larger difference of
        true and false positive rates) and `score_bias` (how differently the groups are over-foretold). A largest
        difference is never below 0, so its interval is not one of a test: groups that do not differ have one too.
    """
    s, y = fractions(scores=scores, labels=labels)
    codes = pd.factorize(np.asarray(groups))[0].astype(np.float64)

    def spread(values: list[float]) -> float:
        return float(np.ptp(values)) if len(values) > 1 and not np.isnan(values).any() else float("nan")

    def gap(name: str) -> Callable[..., float]:
        def of(a: Floats, b: Floats, c: Floats) -> float:
            said, parts = settled(a) >= settled(threshold), [c == code for code in np.unique(c)]
            if name == "demographic_parity":
                return spread([said[part].mean() for part in parts])
            if name == "score_bias":
                return spread([(a[part] - b[part]).mean() for part in parts])
            rates = [[_rate(said, part & (b == outcome)) for part in parts] for outcome in (0, 1)]
            return max(spread(rates[0]), spread(rates[1]))

        return of

    names = ("demographic_parity", "equalised_odds", "score_bias")
    return pd.DataFrame(
        [{"metric": name, **bootstrap(gap(name), s, y, codes, draws=draws, seed=seed)} for name in names]
    )


def supervised_scores(features: pd.DataFrame, labels: ArrayLike, folds: int = 5, seed: int = 0) -> pd.DataFrame:
    """Out-of-fold scores of supervised baselines on the same rows, and the base rate of all of them.

    The base rate is one constant: rates of the folds' training rows would differ, each lower where its own fold is
    higher, and so rank the rows the wrong way round.

    Args:
        features: One row per item; columns of text are categories.
        labels: Whether the outcome came, `[N]`.
        folds: Of the cross-validation; no row is scored by a model that saw it.
        seed: Of the folds.

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
    numbers = make_column_selector(dtype_include="number")
    others = make_column_selector(dtype_exclude="number")
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    models = {
        "logistic_regression": (StandardScaler(), LogisticRegression(max_iter=1000)),
        "gradient_boosting": (
            "passthrough",
            HistGradientBoostingClassifier(
                max_iter=50, min_samples_leaf=int(np.clip(len(y) // 20, 2, 20)), random_state=seed
            ),
        ),
    }
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    found = {"base_rate": np.full(len(y), y.mean())}
    for name, (scaler, model) in models.items():
        columns = make_column_transformer((scaler, numbers), (categories, others))
        fitted = cross_val_predict(make_pipeline(columns, model), features, y, cv=split, method="predict_proba")
        found[name] = fitted[:, 1]
    return pd.DataFrame(found)


def _rate(said: np.ndarray, base: np.ndarray) -> float:
    return float(said[base].mean()) if base.any() else float("nan")


def loaded(sources: Mapping[str, str | None], n: int | None, shots: int, seed: int) -> list[tuple[Table, Table]]:
    """Return the worked examples and the other rows of each table.

    Args:
        sources: Name or CSV file -> column dictionary, see `load_table`.
        n: Rows of each table beside the examples; None for all.
        shots: Worked examples of each table.
        seed: Chooses both.
    """
    wanted = None if n is None else n + shots
    return [
        split_examples(load_table(name, words, n=wanted, seed=seed), shots, seed) for name, words in sources.items()
    ]


def read(asked: pd.DataFrame) -> pd.DataFrame:
    """Return every score of the model, one row per row of a table, with `order_gap` and the masses.

    Args:
        asked: Answers in both styles, with and without worked examples.

    Returns:
        `score_letters` (mean of both orders), `score_one_order`, `score_examples` and `score_number`, NaN where a row
        was not asked so, `mass_...` likewise, and the tags of the rows.
    """
    choices = asked[asked["style"] == "choices"]
    numbers, letters, both = (
        numeric_scores(asked[asked["style"] == "numeric"]),
        choice_scores(choices),
        averaged(choices),
    )
    one_order = letters[(letters["order"] == "0-1") & (letters["shots"] == 0)]
    scores = both[both["shots"] == 0].rename(columns={"score": "score_letters", "mass": "mass_letters"})
    for name, part in (("number", numbers), ("one_order", one_order), ("examples", both[both["shots"] > 0])):
        renamed = part[["task", "row", "score", "mass"]].rename(
            columns={"score": f"score_{name}", "mass": f"mass_{name}"}
        )
        scores = scores.merge(renamed, on=["task", "row"], how="left")
    return scores


def baselines(tables: Sequence[Table], folds: int, seed: int) -> pd.DataFrame:
    """Return `supervised_scores` of the rows of all tables, by `task` and `row`."""
    return pd.concat(
        supervised_scores(table.features(), table.labels, folds, seed).assign(
            task=table.task.name, row=range(len(table.rows))
        )
        for table in tables
    )


def missing_numbers(tables: Sequence[Table]) -> str:
    """Return in words how many numbers of each table the supervised baselines get as 0."""
    filled = {table.task.name: int(table.features().filter(regex=" is missing$").to_numpy().sum()) for table in tables}
    each = ", ".join(f"{n} of {task}" for task, n in filled.items())
    return f"Missing numbers that the supervised baselines get as 0, each marked in a column of its own: {each}."


def columns_of(scores: pd.DataFrame, shots: int) -> dict[str, str]:
    """Return the readings that gave any score, name -> column."""
    all_of_them = {
        LETTERS: "score_letters",
        "letters, one order": "score_one_order",
        f"letters, {shots} examples": "score_examples",
        NUMBER: "score_number",
    }
    return {name: column for name, column in (all_of_them | SUPERVISED).items() if scores[column].notna().any()}


def every_score(scores: pd.DataFrame, readings: Mapping[str, str]) -> pd.DataFrame:
    """Return the scores of the readings, one row per row of a table, with its outcome and group."""
    about = [name for name in ("task", "question_id", "row", "label", "group") if name in scores]
    return scores[[*about, *readings.values()]]


def items(scores: pd.DataFrame, readings: Mapping[str, str], questions: Iterable[Questions]) -> pd.DataFrame:
    """Return the rows to compare runs by: the Brier score of each of the model's readings, and `order_gap`."""
    texts = {(asked.tags["task"], asked.tags["row"]): asked.prompt_text for part in questions for asked in part}
    own = {name: column for name, column in readings.items() if name not in SUPERVISED}
    worth = {f"Brier score of the {name}": (scores[column] - scores["label"]) ** 2 for name, column in own.items()}
    said = pd.Series(zip(scores["task"], scores["row"])).map(texts)
    return pd.DataFrame(
        {"row": scores["row"], "question": said, "benchmark": scores["task"], **worth, "order_gap": scores["order_gap"]}
    )


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Return mean scores and masses, the effect of the order of choices, and the base rate (Wilson) by task."""
    columns = ["order_gap", "mass_letters", "mass_number", "score_letters", "score_number"]
    means = statistics.summarise(scores, columns, by="task", bounds=(0, 1))
    rates = statistics.summarise(scores, ["label"], by="task", method="wilson")
    return pd.concat([means, rates], ignore_index=True)[["task", "metric", "mean", "low", "high", "n"]]


def reports(scores: pd.DataFrame, readings: Mapping[str, str], draws: int, seed: int) -> pd.DataFrame:
    """Return `risk_report` of each reading of each table; `n_unread` rows had no score and are left out."""
    tables = []
    for task, part in scores.groupby("task", sort=False):
        for name, column in readings.items():
            if len(scored := part.dropna(subset=[column])):
                found = risk_report(scored[column], scored["label"], draws=draws, seed=seed)
                tables.append(found.assign(task=task, score=name, n_unread=len(part) - len(scored)))
    columns = ["task", "score", "metric", "mean", "low", "high", "baseline", "n", "n_unread", "note"]
    return pd.concat(tables, ignore_index=True)[columns]


def worth(report: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics side by side, in words, one row per reading of a table; see `reports`."""
    said = report.assign(shown=[statistics.estimate(row) for _, row in report.iterrows()])
    index = ["task", "score", "n", "n_unread"]
    table = said.pivot(index=index, columns="metric", values="shown").reset_index()
    return table[["task", "score", "auroc", "brier", "ece", "risk_bias", "score_bias", "n", "n_unread"]]


def rankings(report: pd.DataFrame) -> pd.DataFrame:
    """Return the AUROC of the letters and of the number on each table, with a `verdict` in words."""
    rows = report[(report["metric"] == "auroc") & report["score"].isin([LETTERS, NUMBER])]
    return rows.assign(verdict=[statistics.versus(row, 0.5) for _, row in rows.iterrows()])


def by_group(scores: pd.DataFrame, draws: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rates of each group, and the largest differences between groups beside those of shuffled groups.

    The threshold is fitted on a third of the rows, the rates are counted on the rest. `shuffled` is the mean of 100
    shuffles, `shuffled_high` their 97.5th percentile. Both tables are empty where no task names a group.
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
            found = group_report(rest[column], rest["label"], rest["group"], at)
            rates.append(found.assign(**about, threshold=at))
            gap = group_gaps(rest[column], rest["label"], rest["group"], at, draws, seed)
            none = _shuffled_gaps(rest, column, at, seed)
            high = np.quantile(none, 0.975, axis=0)
            shown = gap[["metric", "mean", "low", "high", "n", "note"]]
            gaps.append(shown.assign(**about, shuffled=none.mean(axis=0), shuffled_high=high))
    nothing = no_rows("no task names a group")
    return (pd.concat(rates), pd.concat(gaps)) if rates else (nothing, nothing)


def _shuffled_gaps(rows: pd.DataFrame, column: str, threshold: float, seed: int) -> Floats:
    """The means of `group_gaps` under 100 shuffles of the groups, `[100, metrics]`."""
    shuffles = [rows["group"].sample(frac=1, random_state=seed + i).to_numpy() for i in range(100)]
    found = [group_gaps(rows[column], rows["label"], groups, threshold, 2, seed)["mean"] for groups in shuffles]
    return np.array(found)


def difference(part: pd.DataFrame, one: str, two: str, metric: str, draws: int, seed: int) -> dict[str, Any]:
    """Return a metric of one column of scores minus that of another, on rows that have both, with its interval."""
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
    """Return the claims of the notebook, tested on each table of this run.

    Args:
        scores: See `read`, with the columns of `baselines`.
        report: See `reports`.
        summary: See the function of that name.
        shots: Worked examples; with none nothing is claimed about them.
        draws: Bootstrap samples.
        seed: Of them.
    """
    claims: list[Finding] = []
    for task, part in scores.groupby("task", sort=False):
        letters = statistics.rows_by(report[(report["task"] == task) & (report["score"] == LETTERS)], "metric")
        gap = statistics.rows_by(summary[summary["task"] == task], "metric")["order_gap"]
        half = abs(part["label"].mean() - 0.5)
        blind = statistics.unless(letters["auroc"], "above", 0.5, "the letters cannot be told from chance")
        rows: list[tuple[Any, ...]] = [
            ("the letters rank people better than chance (AUROC)", HERE, letters["auroc"], "above", 0.5)
        ]
        for claim, one, two, metric in _COMPARED:
            rows.append((claim, PAPER, difference(part, one, two, metric, draws, seed), "below", 0.0, blind))
        extreme = "the letters are overconfident (R_bias, above what scores of one half can have)"
        rows.append((extreme, PAPER, letters["risk_bias"], "above", half))
        rows.append(("the order of the choices moves the score (gap above 0.05)", HERE, gap, "above", 0.05))
        if shots:
            found = difference(part, "score_examples", "score_letters", "auroc", draws, seed)
            rows.append(("worked examples improve the ranking (AUROC)", HERE, found, "above"))
        claims += [statistics.finding(f"{task}: {claim}", *rest) for claim, *rest in rows]
    return claims


_COMPARED = (
    (
        "the letters' score ranks people worse than gradient boosting",
        "score_letters",
        "gradient_boosting",
        "auroc",
    ),
    ("the number is better calibrated than the letters (ECE)", "score_number", "score_letters", "ece"),
    ("the number ranks worse than the letters (AUROC)", "score_number", "score_letters", "auroc"),
)
"""Claim, two columns and the metric that the first has less of."""


def draw_auroc(report: pd.DataFrame) -> Figure:
    """Draw the AUROC of each reading on each table, where it has one."""
    rows = report[(report["metric"] == "auroc") & report["mean"].notna()]
    figure = figures.intervals(rows, ["task", "score"], baseline=0.5, xlabel="AUROC (0.5: chance)")
    return figures.described(figure, "AUROC of each score on each table with 95% bootstrap intervals, and chance.")


def draw_ece(report: pd.DataFrame) -> Figure:
    """Draw the calibration error of each reading on each table beside that of a calibrated score."""
    figure = figures.intervals(
        report[report["metric"] == "ece"],
        ["task", "score"],
        baseline="baseline",
        baseline_name="a calibrated score of the same spread",
        xlabel="expected calibration error, ten bins",
    )
    return figures.described(
        figure,
        "Expected calibration error of each score on each table with 95% bootstrap intervals, and what a calibrated "
        "score of the same spread would show.",
    )


def draw_reliability(scores: pd.DataFrame, readings: Mapping[str, str]) -> Figure:
    """Draw the reliability of the letters, the number and logistic regression on the first table."""
    part = scores[scores["task"] == scores["task"].iloc[0]]
    diagrams = {
        name: calibration_report(part[column].dropna(), part["label"][part[column].notna()])
        for name, column in readings.items()
        if name in (LETTERS, NUMBER, "logistic regression") and part[column].notna().any()
    }
    return figures.described(
        figures.reliability(diagrams),
        "Outcome rate against score for the letters, the number and logistic regression, with 95% intervals.",
    )
