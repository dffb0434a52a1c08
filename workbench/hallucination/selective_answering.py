"""Value of answering, self-consistency, and weak supervision of error risk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.statistics.calibration import auroc, ece
from workbench.statistics.distances import Floats, distributions, fractions


@dataclass(frozen=True, slots=True)
class Attempts:
    """The number of attempts with the highest expected value."""

    k: int
    """Attempts; 0 where not answering at all is best."""
    value: float
    """Expected value with k attempts."""
    curve: pd.DataFrame = field(repr=False)
    """Columns `k` and `value`, from 0 attempts on."""


def sampled_values(accepted: ArrayLike, right: ArrayLike, cost: float) -> Floats:
    """Expected value of each item for at most 0 ... S attempts, `[items, S + 1]`, over all orders of its S samples.

    In a random order each accepted sample is equally likely the first, so no order needs to be drawn.

    Args:
        accepted: Whether the verifier accepts each sample, `[items, S]`.
        right: Whether each sample is right, `[items, S]`.
        cost: Value of an accepted wrong answer, at most 0.
    """
    _check_cost(cost)
    yes, good = np.asarray(accepted, bool), np.asarray(right, bool)
    if yes.ndim != 2 or not yes.size or yes.shape != good.shape:
        raise InputError("accepted and right must be tables [items, samples] of the same shape.")
    samples = yes.shape[1]
    count = yes.sum(axis=1)
    total = (yes & good).sum(axis=1) + cost * (yes & ~good).sum(axis=1)
    gain = np.divide(total, count, out=np.zeros(len(count)), where=count > 0)
    none_left = np.ones((len(count), samples + 1))
    for k in range(1, samples + 1):
        none_left[:, k] = none_left[:, k - 1] * np.maximum(samples - count - k + 1, 0) / (samples - k + 1)
    return gain[:, None] * (1 - none_left)


def optimal_k_sampled(accepted: ArrayLike, right: ArrayLike, cost: float) -> Attempts:
    """The best number of attempts on sampled answers; see `sampled_values`. Chosen and valued on the same items."""
    curve = sampled_values(accepted, right, cost).mean(axis=0)
    return _best(np.arange(len(curve)), curve)


def _best(k: np.ndarray, value: Floats) -> Attempts:
    """The fewest attempts whose value is the highest within rounding."""
    at = int(np.flatnonzero(value >= value.max() - 1e-12)[0])
    return Attempts(int(k[at]), float(value[at]), pd.DataFrame({"k": k, "value": value}))


def _check_cost(cost: float) -> None:
    if not cost <= 0:
        raise InputError(f"cost must be at most 0, not {cost!r}: it is what an accepted wrong answer earns.")


def spc_mar(p: ArrayLike) -> Floats:
    """The MAR of each class that a true distribution has: 2 p (1 - p), `[N, K]`."""
    return 2 * (rows := distributions("p", p)) * (1 - rows)


def spc_sds(p: ArrayLike, mar: ArrayLike) -> Floats:
    """Self-consistency discrepancy of class probabilities and a learnt MAR, `[N]`: sum of |2 p (1 - p) - MAR|.

    Args:
        p: Distributions over classes, `[N, K]`.
        mar: Learnt E|1{y = k} - p_k| of each class, `[N, K]`.
    """
    learnt = np.asarray(mar, np.float64)
    ideal = spc_mar(p)
    if learnt.shape != ideal.shape or not np.isfinite(learnt).all():
        raise InputError(f"mar has shape {learnt.shape}, p {ideal.shape}; give one finite number per class.")
    return np.abs(ideal - learnt).sum(axis=1)


def spc_correct(p: ArrayLike, up: ArrayLike, down: ArrayLike, mar: ArrayLike, tolerance: float = 0.05) -> Floats:
    """Probabilities corrected by learnt halves, where these agree with a learnt MAR, `[N]` or `[N, K]`.

    The correction is the least of u - d, MAR - 2 d and 2 u - MAR, as in the authors' code, applied where
    |u + d - MAR| < tolerance. Unlike there, the result is clipped, and rows of `[N, K]` are renormalised.
    """
    stated, u, d, m = (np.asarray(each, np.float64) for each in (p, up, down, mar))
    if not stated.shape == u.shape == d.shape == m.shape or not np.isfinite([u, d, m]).all():
        raise InputError("p, up, down and mar must be finite and of one shape.")
    shift = np.minimum(np.minimum(u - d, m - 2 * d), 2 * u - m)
    found = np.clip(stated + np.where(np.abs(u + d - m) < tolerance, shift, 0.0), 0.0, 1.0)
    if found.ndim == 1:
        return found
    total = found.sum(axis=1, keepdims=True)
    return np.where(total > 0, found / np.where(total > 0, total, 1.0), stated)


def fit_mar(features: ArrayLike, p: ArrayLike, gold: ArrayLike, fit: ArrayLike, ridge: float = 10.0) -> Floats:
    """A ridge regression of |1{y = k} - p_k| on features, fitted on part of the items, predicted for all, `[N, K]`.

    Args:
        features: `[N, D]`; standardised here.
        p: Distributions, `[N, K]`.
        gold: Class of each item, `[N]`; only those of the fitted part are used.
        fit: Which items the fit may see, `[N]`.
        ridge: Penalty.
    """
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, seen = distributions("p", p), np.asarray(fit, bool)
    if seen.shape != (len(rows),) or seen.sum() < 2:
        raise InputError("fit must mark at least two of the items.")
    x = np.asarray(features, np.float64)
    target = np.abs(np.eye(rows.shape[1])[np.asarray(gold)[seen].astype(int)] - rows[seen])
    model = make_pipeline(StandardScaler(), Ridge(ridge)).fit(x[seen], target)
    return np.clip(np.asarray(model.predict(x), np.float64).reshape(rows.shape), 0.0, 1.0)


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


def _labels(name: str, values: ArrayLike, n: int, classes: int) -> np.ndarray:
    labels = np.asarray(values)
    if labels.shape != (n,) or not np.isin(labels, np.arange(ABSTAINS, classes)).all():
        raise InputError(f"{name} must hold a class from 0 to {classes - 1}, or -1 for none, for each of {n} items.")
    return labels.astype(np.int64)
