"""Weak supervision of error risk (POLAR, arXiv 2306.16564)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import statistics
from workbench.errors import InputError, unknown
from workbench.statistics.calibration import auroc, ece
from workbench.statistics.distances import Floats, Ints, distributions, fractions

Scalariser = Callable[[Floats], tuple[Floats, Floats]]
"""Joins losses `[N, sources]`: values `[N]` that increase with each loss, and the gradient `[N, sources]`."""
ABSTAINS = -1
"""The label of a source without a class for an item."""
RISKS = ("model", "rules alone", "trivial answers", "model - rules alone", "model - trivial answers")
"""Rows of `risk_against_trivial`."""


def linear(losses: Floats) -> tuple[Floats, Floats]:
    """Return the sum of the losses, `[N]`, and its gradient, `[N, sources]`."""
    return losses.sum(axis=1), np.ones_like(losses)


def quadratic(losses: Floats) -> tuple[Floats, Floats]:
    """Return the square of the sum of the losses, and its gradient."""
    total = losses.sum(axis=1)
    return total**2, np.repeat(2 * total[:, None], losses.shape[1], axis=1)


def chebyshev(losses: Floats) -> tuple[Floats, Floats]:
    """Return the largest loss, and its gradient."""
    return losses.max(axis=1), np.eye(losses.shape[1])[losses.argmax(axis=1)]


def norm(losses: Floats) -> tuple[Floats, Floats]:
    """Return the Euclidean norm of the losses, and its gradient."""
    length = np.sqrt((losses**2).sum(axis=1))
    return length, losses / np.where(length > 0, length, 1.0)[:, None]


SCALARISERS: dict[str, Scalariser] = {"linear": linear, "quadratic": quadratic, "norm": norm, "chebyshev": chebyshev}


def polar_risk(harmonised: ArrayLike, answers: ArrayLike) -> Floats:
    """Return the risk 1 - h[answer] of each answer, `[N]`, for distributions h `[N, K]`; NaN for an abstention (-1)."""
    h = distributions("harmonised", harmonised)
    labels = _labels("answers", answers, len(h), h.shape[1])
    risk = 1 - h[np.arange(len(h)), np.maximum(labels, 0)]
    return np.where(labels == ABSTAINS, np.nan, risk)


def harmonise(
    features: ArrayLike,
    sources: ArrayLike,
    classes: int,
    scalariser: str | Scalariser = "quadratic",
    ridge: float = 1e-2,
) -> Floats:
    """Fit a logistic model of the features to all sources, without gold labels, and return its distributions `[N, K]`.

    Args:
        features: Features of the items (hidden states, sentence embeddings), `[N, D]`; standardised here.
        sources: Class of each item by each source, one of which is the model, `[N, sources]`; -1 abstains.
        classes: Number of classes K.
        scalariser: Joins the losses of an item's sources that do not abstain: a key of `SCALARISERS`, or a function.
        ridge: Penalty on the squared weights.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    if isinstance(scalariser, str) and scalariser not in SCALARISERS:
        raise unknown("scalariser", scalariser, list(SCALARISERS))
    join = SCALARISERS[scalariser] if isinstance(scalariser, str) else scalariser
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        raise InputError("features must be a table [items, dimensions] of finite numbers.")
    votes = np.stack([_labels("sources", column, len(x), classes) for column in np.asarray(sources).T], axis=1)
    voted = votes != ABSTAINS
    if not voted.any():
        raise InputError("Every source abstains on every item; the harmoniser needs at least one class to fit.")
    spread = x.std(axis=0)
    x = np.column_stack([(x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.ones(len(x))])
    target = np.eye(classes)[np.maximum(votes, 0)] * voted[..., None]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(x.shape[1], classes)
        logs = log_softmax(x @ weights, axis=1)
        value, slope = join(-(target * logs[:, None, :]).sum(axis=2))
        slope = slope * voted
        toward = (slope[..., None] * target).sum(axis=1)
        gradient = x.T @ (slope.sum(axis=1, keepdims=True) * np.exp(logs) - toward) / len(x)
        gradient[:-1] += 2 * ridge * weights[:-1]
        return float(value.mean() + ridge * (weights[:-1] ** 2).sum()), gradient.ravel()

    start = np.zeros(x.shape[1] * classes)
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.exp(log_softmax(x @ fitted.x.reshape(x.shape[1], classes), axis=1))


def contradiction(answers: ArrayLike, rules: ArrayLike) -> Floats:
    """Return the proportion of rules `[N, rules]` that contradict each answer, `[N]`; NaN for an abstention (-1).

    Rules that abstain (-1) contradict nothing.
    """
    given, classes = np.asarray(answers), np.asarray(rules)
    if classes.ndim != 2 or given.shape != classes.shape[:1] or not classes.shape[1]:
        raise InputError("Give one answer per item, and a table [items, rules] with one rule at least.")
    against = ((classes != given[:, None]) & (classes != ABSTAINS)).mean(axis=1)
    return np.where(given == ABSTAINS, np.nan, against)


def risk_against_trivial(
    features: ArrayLike,
    answers: ArrayLike,
    rules: ArrayLike,
    truth: ArrayLike,
    classes: int = 2,
    coins: int = 20,
    draws: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how well POLAR's risk detects a model's wrong answers, compared with two risks that need no model.

    The harmoniser agrees with the rules, so its risk detects the wrong answers of a respondent without knowledge: they
    are those that the rules contradict. The two comparisons are the proportion of rules that contradict the answer, and
    POLAR with trivial answers in place of the model's: `coins` sets of random answers, and each constant answer. Each
    bootstrap sample of items is paired with one trivial set. Features are `[N, D]`, rules `[N, rules]`.

    Returns:
        AUROC of detecting wrong answers, one row per `risk` (see `RISKS`; differences are paired), with percentile
        intervals over items and trivial sets.
    """
    right, rng = np.asarray(truth), np.random.default_rng(seed)
    flips = rng.integers(classes, size=(coins, len(right)))
    sets = [np.asarray(answers), *flips, *(np.full(len(right), k) for k in range(classes))]
    risk = [polar_risk(harmonise(features, np.column_stack([a, rules]), classes), a) for a in sets]
    wrong = [(a != right).astype(np.float64) for a in sets]
    contradicted = contradiction(sets[0], rules)

    def areas(rows: Ints, trivial: range) -> list[float]:
        model, alone = (auroc(each[rows], wrong[0][rows]) for each in (risk[0], contradicted))
        other = float(np.mean([auroc(risk[k][rows], wrong[k][rows]) for k in trivial]))
        return [model, alone, other, model - alone, model - other]

    n, picks = len(right), rng.integers(1, len(sets), size=draws)
    samples = np.array([areas(rng.integers(n, size=n), range(k, k + 1)) for k in picks])
    estimates = areas(np.arange(n), range(1, len(sets)))
    defined = np.isfinite(estimates).all()
    low, high = np.nanquantile(samples, [0.025, 0.975], axis=0) if defined else np.full((2, len(RISKS)), np.nan)
    return pd.DataFrame({"risk": RISKS, "mean": estimates, "low": low, "high": high, "n": n})


def risk_agreement(risk: ArrayLike, wrong: ArrayLike, bins: int = 10) -> dict[str, float]:
    """Return the ECE of risks as error probabilities, and R^2 of the error rate by the mean risk over equal-sized bins.

    Returns:
        `ece`, `r2` (NaN where all bins have the same error rate), `n`, `n_abstained` (NaN risks, which are left out).
    """
    risks, errors = np.asarray(risk, np.float64), np.asarray(wrong, np.float64)
    known = ~np.isnan(risks)
    if not known.any():
        raise InputError("All risks are NaN: the model abstained everywhere.")
    r, e = fractions(risk=risks[known], wrong=errors[known])
    parts = [part for part in np.array_split(np.argsort(r, kind="stable"), bins) if len(part)]
    mean_risk, error_rate = np.array([[r[part].mean(), e[part].mean()] for part in parts]).T
    spread = ((error_rate - error_rate.mean()) ** 2).sum()
    r2 = 1 - ((error_rate - mean_risk) ** 2).sum() / spread if spread > 0 else float("nan")
    return {"ece": ece(r, e, bins), "r2": float(r2), "n": float(len(r)), "n_abstained": float((~known).sum())}


def predicted(scores: pd.Series) -> Ints:
    """Return the outcome, 0 or 1, with a score of at least one half, `[N]`."""
    return (scores.round(12) >= 0.5).to_numpy().astype(np.int64)


def voter_rules(features: pd.DataFrame) -> Ints:
    """Return a voter's outcome by party, self-placement and income in 1996, `[N, 3]`: 0, 1, or -1 for middle values."""
    columns = []
    for name, low, high in (("PID", 3, 3), ("selfLR", 4, 4), ("income", 12, 20)):
        value = features[name].to_numpy()
        columns.append(np.select([value < low, value > high], [0, 1], ABSTAINS))
    return np.column_stack(columns).astype(np.int64)


def polar(features: ArrayLike, answers: ArrayLike, rules: ArrayLike, truth: ArrayLike, seed: int = 0) -> pd.DataFrame:
    """Return how well POLAR's risk detects a model's wrong answers of two classes, one row per scalariser.

    The arguments are those of `risk_against_trivial`.
    """
    given = np.asarray(answers)
    wrong = (given != np.asarray(truth)).astype(np.float64)
    rows = []
    for name in SCALARISERS:
        risk = polar_risk(harmonise(features, np.column_stack([given, rules]), 2, name), given)
        area = statistics.bootstrap(auroc, risk, wrong, draws=200, seed=seed)
        row = {"scalariser": name, **risk_agreement(risk, wrong), "auroc": area["mean"]}
        row |= {each: area[each] for each in ("low", "high", "note")}
        rows.append(row | {"error_rate": wrong.mean(), "predicted 1": given.mean()})
    return pd.DataFrame(rows)


def _labels(name: str, values: ArrayLike, n: int, classes: int) -> Ints:
    labels = np.asarray(values)
    if labels.shape != (n,) or not np.isin(labels, np.arange(ABSTAINS, classes)).all():
        raise InputError(f"{name} must contain a class from 0 to {classes - 1}, or -1 for none, for each of {n} items.")
    return labels.astype(np.int64)
