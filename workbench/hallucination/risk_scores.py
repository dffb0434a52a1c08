"""Risk scores of rows of a table, and how they are calibrated (folktexts, arXiv 2407.14614)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import answers as core
from workbench.answers import expected, levels, wide
from workbench.errors import InputError, unknown
from workbench.statistics import bootstrap, wilson
from workbench.statistics.calibration import adaptive_ece, auroc, bin_table, brier, ece
from workbench.statistics.distances import Floats, fractions, mask, settled
from workbench.statistics.intervals import SHARE

Reading = Literal["expectation", "midpoint", "argmax"]


READINGS = ("expectation", "midpoint", "argmax")


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
