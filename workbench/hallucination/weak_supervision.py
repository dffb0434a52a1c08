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
"""Joins losses `[N, sources]`: values `[N]` that grow in each of them, and the gradient `[N, sources]`."""
ABSTAINS = -1
"""The label of a source that says nothing of an item."""


def linear(losses: Floats) -> tuple[Floats, Floats]:
    """Sum of the losses, `[N]`, and its gradient, `[N, sources]`."""
    return losses.sum(axis=1), np.ones_like(losses)


def quadratic(losses: Floats) -> tuple[Floats, Floats]:
    """Square of the sum of the losses."""
    total = losses.sum(axis=1)
    return total**2, np.repeat(2 * total[:, None], losses.shape[1], axis=1)


def chebyshev(losses: Floats) -> tuple[Floats, Floats]:
    """The largest loss."""
    at = losses.argmax(axis=1)
    gradient = np.zeros_like(losses)
    gradient[np.arange(len(losses)), at] = 1.0
    return losses.max(axis=1), gradient


def norm(losses: Floats) -> tuple[Floats, Floats]:
    """Euclidean norm of the losses."""
    length = np.sqrt((losses**2).sum(axis=1))
    return length, losses / np.where(length > 0, length, 1.0)[:, None]


SCALARISERS: dict[str, Scalariser] = {"linear": linear, "quadratic": quadratic, "norm": norm, "chebyshev": chebyshev}


def polar_risk(harmonised: ArrayLike, answers: ArrayLike) -> Floats:
    """Risk 1 - h[answer] of each answer, `[N]`; NaN where the model abstains (-1).

    Args:
        harmonised: The harmoniser's distributions, `[N, K]`.
        answers: The model's classes 0 ... K - 1, or -1, `[N]`.
    """
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
    """The harmoniser's distributions `[N, K]`: a logistic model of the features fitted to all sources, no gold label.

    Args:
        features: Of the items (hidden states, sentence embeddings), `[N, D]`; standardised here.
        sources: Class each source gives each item, the model's answer among them, `[N, sources]`; -1 abstains.
        classes: Number of classes K.
        scalariser: How the losses of an item's sources are joined, by name (`SCALARISERS`) or a function of your own;
            sources that abstain drop out.
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
    given = np.asarray(sources)
    votes = np.stack([_labels("sources", column, len(x), classes) for column in given.T], axis=1)
    if (votes == ABSTAINS).all():
        raise InputError("Every source abstains on every item; there is nothing to agree with.")
    spread = x.std(axis=0)
    x = np.column_stack([(x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.ones(len(x))])
    says = votes != ABSTAINS
    target = np.eye(classes)[np.maximum(votes, 0)] * says[..., None]

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(x.shape[1], classes)
        logs = log_softmax(x @ weights, axis=1)
        losses = -(target * logs[:, None, :]).sum(axis=2)
        value, slope = join(losses)
        slope = slope * says
        toward = (slope[..., None] * target).sum(axis=1)
        gradient = x.T @ (slope.sum(axis=1, keepdims=True) * np.exp(logs) - toward) / len(x)
        penalised = weights[:-1]
        gradient[:-1] += 2 * ridge * penalised
        return float(value.mean() + ridge * (penalised**2).sum()), gradient.ravel()

    start = np.zeros(x.shape[1] * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return np.exp(log_softmax(x @ found.x.reshape(x.shape[1], classes), axis=1))


def contradiction(answers: ArrayLike, rules: ArrayLike) -> Floats:
    """Share of the rules that contradict each answer, `[N]`: the risk as it is without a harmoniser.

    Args:
        answers: The model's classes, `[N]`; NaN where it abstains (-1).
        rules: Class each rule gives each item, `[N, rules]`; -1 abstains and contradicts nothing.
    """
    said, told = np.asarray(answers), np.asarray(rules)
    if told.ndim != 2 or said.shape != told.shape[:1] or not told.shape[1]:
        raise InputError("Give one answer per item, and a table [items, rules] with one rule at least.")
    against = ((told != said[:, None]) & (told != ABSTAINS)).mean(axis=1)
    return np.where(said == ABSTAINS, np.nan, against)


def risk_against_trivial(
    features: ArrayLike,
    answers: ArrayLike,
    rules: ArrayLike,
    truth: ArrayLike,
    classes: int = 2,
    scalariser: str | Scalariser = "quadratic",
    coins: int = 20,
    draws: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """How well POLAR's risk finds a model's wrong answers, beside what it finds without the model.

    The harmoniser agrees with the rules, so its risk finds the wrong answers of a respondent that knows nothing: they
    are those that the rules contradict. What it says of a model is therefore held against two risks that need none: the
    share of rules that contradict the answer, and POLAR with trivial answers (coins, a constant) in the model's place.

    Args:
        features: Of the items, `[N, D]`.
        answers: The model's classes, `[N]`.
        rules: Class each rule gives each item, `[N, rules]`, the model's answer not among them.
        truth: The right class of each item, `[N]`.
        classes: Number of classes.
        scalariser: See `harmonise`.
        coins: How many sets of random answers are drawn; each constant answer is one more trivial set.
        draws: Bootstrap samples of items; each is given one of the trivial sets.
        seed: Of both.

    Returns:
        AUROC of finding wrong answers, one row per `risk`: `model`, `rules alone`, `trivial answers`, and the paired
        differences `model - rules alone` and `model - trivial answers`, with percentile intervals over items (and over
        trivial sets, so that no single set of coins is told from the others).
    """
    told, right, rng = np.asarray(rules), np.asarray(truth), np.random.default_rng(seed)
    flips = rng.integers(classes, size=(coins, len(right)))
    sets = [np.asarray(answers), *flips, *(np.full(len(right), k) for k in range(classes))]
    risk = [polar_risk(harmonise(features, np.column_stack([a, told]), classes, scalariser), a) for a in sets]
    wrong = [(a != right).astype(np.float64) for a in sets]
    count = contradiction(sets[0], told)

    def found(rows: np.ndarray, trivial: range) -> list[float]:
        own, alone = (auroc(each[rows], wrong[0][rows]) for each in (risk[0], count))
        other = float(np.mean([auroc(risk[k][rows], wrong[k][rows]) for k in trivial]))
        return [own, alone, other, own - alone, own - other]

    n, picks = len(right), rng.integers(1, len(sets), size=draws)
    samples = np.array([found(rng.integers(n, size=n), range(k, k + 1)) for k in picks])
    estimates = found(np.arange(n), range(1, len(sets)))
    names = ("model", "rules alone", "trivial answers", "model - rules alone", "model - trivial answers")
    low, high = (
        np.nanquantile(samples, [0.025, 0.975], axis=0) if np.isfinite(estimates).all() else np.full((2, 5), np.nan)
    )
    return pd.DataFrame({"risk": names, "mean": estimates, "low": low, "high": high, "n": n})


def risk_agreement(risk: ArrayLike, wrong: ArrayLike, bins: int = 10) -> dict[str, float]:
    """How well risks foretell errors: ECE, and R^2 of the error rate by the mean risk over bins of equal numbers.

    Args:
        risk: Of each answer, `[N]`; NaN (abstained) is left out and counted.
        wrong: Whether it is wrong, `[N]`.
        bins: Of both.

    Returns:
        `ece`, `r2` (NaN where the error rate is the same in all bins), `n`, `n_abstained`.
    """
    risks, errors = np.asarray(risk, np.float64), np.asarray(wrong, np.float64)
    known = ~np.isnan(risks)
    if not known.any():
        raise InputError("All risks are NaN: the model abstained everywhere.")
    r, e = fractions(risk=risks[known], wrong=errors[known])
    parts = [part for part in np.array_split(np.argsort(r, kind="stable"), bins) if len(part)]
    mean = np.array([[r[part].mean(), e[part].mean()] for part in parts])
    spread = ((mean[:, 1] - mean[:, 1].mean()) ** 2).sum()
    r2 = 1 - ((mean[:, 1] - mean[:, 0]) ** 2).sum() / spread if spread > 0 else float("nan")
    return {"ece": ece(r, e, bins), "r2": float(r2), "n": float(len(r)), "n_abstained": float((~known).sum())}


def spoken(scores: pd.Series) -> Ints:
    """Return the outcome, 0 or 1, whose score is at least one half, `[N]`."""
    return (scores.round(12) >= 0.5).to_numpy().astype(np.int64)


def voter_rules(features: pd.DataFrame) -> Ints:
    """Return what party, self-placement and income say of a voter of 1996, `[N, 3]`: 0, 1, or nothing in between."""
    columns: list[Ints] = []
    for name, low, high in (("PID", 3, 3), ("selfLR", 4, 4), ("income", 12, 20)):
        value = features[name].to_numpy()
        columns.append(np.where(value < low, 0, np.where(value > high, 1, ABSTAINS)).astype(np.int64))
    return np.column_stack(columns)


def polar(features: ArrayLike, answers: ArrayLike, rules: ArrayLike, truth: ArrayLike, seed: int = 0) -> pd.DataFrame:
    """Return how well POLAR's risk finds a model's wrong answers, one row per scalariser.

    Args:
        features: Of the items, `[N, D]`.
        answers: The model's classes 0 or 1, `[N]`.
        rules: Class each rule gives each item, `[N, rules]`.
        truth: The right class of each item, `[N]`.
        seed: Of the bootstrap.
    """
    said = np.asarray(answers)
    wrong = (said != np.asarray(truth)).astype(np.float64)
    rows = []
    for name in SCALARISERS:
        risk = polar_risk(harmonise(features, np.column_stack([said, rules]), 2, name), said)
        found = statistics.bootstrap(auroc, risk, wrong, draws=200, seed=seed)
        row = {"scalariser": name, **risk_agreement(risk, wrong), "auroc": found["mean"]}
        row |= {each: found[each] for each in ("low", "high", "note")}
        rows.append(row | {"error_rate": wrong.mean(), "says 1": said.mean()})
    return pd.DataFrame(rows)


def _labels(name: str, values: ArrayLike, n: int, classes: int) -> np.ndarray:
    labels = np.asarray(values)
    if labels.shape != (n,) or not np.isin(labels, np.arange(ABSTAINS, classes)).all():
        raise InputError(f"{name} must hold a class from 0 to {classes - 1}, or -1 for none, for each of {n} items.")
    return labels.astype(np.int64)
