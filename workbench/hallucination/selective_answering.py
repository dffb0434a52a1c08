"""Selective answering: releasing answers, bounds and label sets, self-consistency, repeated sampling.

The guarantees are in `conformal`, risk from weak sources in `weak_supervision`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures, statistics
from workbench.answers import Normalisation, block_starts, outcomes, probabilities
from workbench.errors import InputError
from workbench.hallucination import conformal
from workbench.statistics import Finding
from workbench.statistics.calibration import auroc
from workbench.statistics.distances import Bools, Floats, distributions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Readings = Mapping[str, pd.DataFrame]
"""Normalisation -> the probabilities of all options, see `readings`."""
NORMALISATIONS: tuple[Normalisation, ...] = ("none", "tokens", "chars")
CHOICES: tuple[conformal.Choice, ...] = ("split", "optimised", "trained")
SCORES = (*(f"confidence ({name})" for name in NORMALISATIONS), "certainty")
"""Columns of `items` that may decide what is released."""
HERE = "this notebook, after"
MOST_LABELS = 8
"""Questions with more options are left out of the label sets."""
MOST_SHOWN = 20
"""Attempts to draw."""


def readings(answers: Sequence[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the probabilities of all answers under each normalisation."""
    together = pd.concat(answers, ignore_index=True)
    return {name: probabilities(together, name) for name in NORMALISATIONS}


def blocks(reading: pd.DataFrame) -> list[np.ndarray]:
    """Return the positions of the options of each question."""
    return np.split(np.arange(len(reading)), block_starts(reading)[1:])


def items(readings: Readings) -> pd.DataFrame:
    """Return one row per question: whether its best option is `correct`, and its `SCORES`.

    The certainty is minus the entropy of the options compared whole.
    """
    found = {name: outcomes(reading) for name, reading in readings.items()}
    whole = found["none"]
    table = whole[["benchmark", "question_id", "n_options"]].assign(
        correct=(whole["answer_correct"] == 1).astype(float)
    )
    table["question_id"] = table["benchmark"] + " " + table["question_id"]
    for name, each in found.items():
        table[f"confidence ({name})"] = each["answer_confidence"].to_numpy()
    p = readings["none"]["p"].to_numpy()
    table["certainty"] = np.add.reduceat(p * np.log(p.clip(1e-300)), block_starts(readings["none"]))
    return table


def releases(items: pd.DataFrame, levels: Sequence[float], splits: int, seed: int) -> pd.DataFrame:
    """Return what each split releases at each bound `q`, under each `choice` of a score."""
    return pd.concat(
        [
            conformal.release_repeatedly(items, q, SCORES, how, splits=splits, seed=seed).assign(q=q, choice=how)
            for q in levels
            for how in CHOICES
        ]
    )


def released(runs: pd.DataFrame) -> pd.DataFrame:
    """Return means of `releases` over splits, one row per bound, choice and metric."""
    bounds = {"false_share": (0.0, 1.0), "power": (0.0, 1.0)}
    return statistics.summarise(runs, ["false_share", "power", "n_released"], by=["q", "choice"], bounds=bounds)


def release_table(released: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return `released` with the numbers of splits and items behind it."""
    columns = ["q", "choice", "metric", "mean", "low", "high", "splits", "method"]
    return released.rename(columns={"n": "splits"})[columns].assign(items=len(items))


def release_summary(released: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return `released` in words, one row per bound and choice."""
    names = {
        "false_share": "mistakes among released",
        "power": "share of the right answers that is released",
        "n_released": "answers released",
    }
    shown = released.assign(shown=[statistics.estimate(row) for _, row in released.iterrows()])
    wide = shown.pivot(index=["q", "choice"], columns="metric", values="shown").reset_index().rename(columns=names)
    return wide.assign(splits=int(released["n"].max()), items=len(items))


def one_split(parted: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """Return what is released on one split, and why nothing is.

    Args:
        parted: `items` with the column `part`.
        levels: Bounds on the share of mistakes.
    """
    rows = []
    for q in levels:
        for how in CHOICES[:2]:
            test = conformal.release(parted, q, SCORES, how)
            given = test["selected"]
            row = {"q": q, "choice": how, "score": test["chosen"].mode()[0], "answers": len(test)}
            row |= {"released": int(given.sum()), "mistakes": int((test.loc[given, "correct"] == 0).sum())}
            rows.append(row | {"smallest_p": test["p"].min(), "note": test.attrs.get("note", "")})
    return pd.DataFrame(rows)


def mistakes_at(released: pd.DataFrame, q: float) -> pd.Series[Any]:
    """Return the row of the share of mistakes at one bound, the score chosen on all checked answers."""
    here = (released["metric"] == "false_share") & (released["q"] == q) & (released["choice"] == "optimised")
    return released[here].iloc[0]


def batch_bounds(reading: pd.DataFrame, batch: int, alpha: float, splits: int, seed: int) -> pd.DataFrame:
    """Return bounds on the errors of a batch (1 less the probability of the right answer), and how often they held."""
    found = outcomes(reading)
    errors = 1 - (found["p_correct"] / (1 - found["p_abstain"])).to_numpy()
    rows = []
    for what, rank in (("median", (batch + 1) // 2), ("worst", batch)):
        held = conformal.batch_bounds_repeatedly(errors, batch, rank, alpha, splits, seed)
        rate = statistics.interval(held["held"].astype(float), method="wilson")
        row = {"of the batch": what, "bound": held["bound"].mean(), "promised": 1 - alpha, "held": rate["mean"]}
        rows.append(row | {"low": rate["low"], "high": rate["high"], "splits": splits, "items": len(errors)})
    return pd.DataFrame(rows)


def label_sets(reading: pd.DataFrame, alpha: float, splits: int, seed: int) -> pd.DataFrame:
    """Return how often the set of right options is kept, and how many of all sets are.

    Each split answers one question and calibrates on the others. The probability of an option relative to the best one
    counts as its probability of being right; nonconformity is compared per option.

    Args:
        reading: Probabilities of questions with several right options.
        alpha: How often the true set may be missing.
        splits: Number of splits.
        seed: Source of the splits.
    """
    parts = [part for part in blocks(reading) if len(part) <= MOST_LABELS]
    p, right = reading["p"].to_numpy(), (reading["role"] == "correct").to_numpy().astype(int)
    truth, share = [right[part] for part in parts], [p[part] / p[part].max() for part in parts]
    scores = np.array([conformal.label_nonconformity(y, o) / len(y) for y, o in zip(truth, share)])
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(splits):
        *calibrate, test = draw.permutation(len(parts))
        size = len(share[test])
        sets = conformal.label_powerset_sets(scores[calibrate] * size, share[test], alpha).sets
        covered = float(tuple(truth[test]) in set(sets["labels"]))
        rows.append({"covered": covered, "sets": len(sets), "share_of_all": len(sets) / 2**size})
    each = pd.DataFrame(rows)
    sizes = statistics.summarise(each, ["sets", "share_of_all"], bounds={"share_of_all": (0, 1)})
    table = pd.concat([statistics.summarise(each, ["covered"], method="wilson"), sizes])
    columns = ["metric", "mean", "low", "high", "splits"]
    return table.rename(columns={"n": "splits"})[columns].assign(items=len(parts))


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


@dataclass(frozen=True, slots=True)
class FourOptions:
    """Questions with four options, one of them right; the options of each in order of probability."""

    p: Floats
    """Their probabilities, `[N, 4]`."""
    right: Bools
    """Which option is right, `[N, 4]`."""
    features: Floats
    """Log-probabilities, lengths in tokens and log-likelihoods, `[N, 12]`."""


def four_options(reading: pd.DataFrame) -> FourOptions:
    """Return the questions of a reading with four options of which one is right."""
    share, role = reading["p"].to_numpy(), reading["role"].to_numpy()
    parts = [part for part in blocks(reading) if len(part) == 4 and (role[part] == "correct").sum() == 1]
    order = np.array([part[np.argsort(-share[part], kind="stable")] for part in parts], np.int64)
    order = order.reshape(-1, 4)
    p = share[order] / share[order].sum(axis=1, keepdims=True)
    features = [np.log(p.clip(1e-12)), *(reading[name].to_numpy()[order] for name in ("n_tokens", "logprob"))]
    return FourOptions(p, role[order] == "correct", np.column_stack(features))


def consistency(asked: FourOptions, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return how well each uncertainty finds wrong answers, and by how much the discrepancy beats the entropy (AUROC).

    The residuals are learnt on one half of the items; both results are of the other.
    """
    fit = np.random.default_rng(seed).permutation(len(asked.p)) < len(asked.p) / 2
    mar = fit_mar(asked.features, asked.p, asked.right.argmax(axis=1), fit, ridge=100.0)
    wrong = (~asked.right[:, 0]).astype(float)[~fit]
    uncertainty = {
        "discrepancy (SDS)": spc_sds(asked.p, mar)[~fit] / 2,
        "learnt residual": mar[~fit].mean(axis=1),
        "entropy": -(asked.p * np.log(asked.p.clip(1e-300))).sum(axis=1)[~fit] / np.log(4),
    }
    values = {name: np.clip(each, 0, 1) for name, each in uncertainty.items()}
    how: dict[str, Any] = {"draws": 200, "seed": seed}
    table = pd.DataFrame(
        [{"uncertainty": name, **statistics.bootstrap(auroc, u, wrong, **how)} for name, u in values.items()]
    )
    table["verdict"] = [statistics.versus(row, 0.5) for _, row in table.iterrows()]
    both = values["discrepancy (SDS)"], values["entropy"]
    more = statistics.bootstrap(lambda a, b, w: auroc(a, w) - auroc(b, w), *both, wrong, **how)
    return table[["uncertainty", "mean", "low", "high", "n", "verdict", "note"]], dict(more)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Answers sampled from a model's distribution over the options of each question."""

    accepted: Bools
    """Whether the verifier accepts them, `[questions, samples]`."""
    right: Bools
    """Whether they are right, `[questions, samples]`."""


def sampled(readings: Readings, samples: int, seed: int) -> Sampled:
    """Return answers sampled from reading `none`; accepted is what has more than the uniform share per token."""
    p, verifier = (readings[name]["p"].to_numpy() for name in ("none", "tokens"))
    parts, draw = blocks(readings["none"]), np.random.default_rng(seed)
    drawn = np.array([draw.choice(part, samples, p=p[part] / p[part].sum()) for part in parts])
    sizes = np.array([len(part) for part in parts])[:, None]
    right = (readings["none"]["role"] == "correct").to_numpy()
    return Sampled(verifier[drawn] > 1 / sizes, right[drawn])


def verifier(sampled: Sampled) -> pd.DataFrame:
    """Return how well the verifier tells right from wrong, in one row."""
    right, accepted = sampled.right, sampled.accepted
    rates = {
        "completeness": accepted[right].mean(),
        "soundness": (~accepted[~right]).mean(),
        "right without verifier": right.mean(),
        "right among accepted": right[accepted].mean(),
    }
    return pd.DataFrame([rates])


def attempts(sampled: Sampled, costs: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the best number of attempts for each cost, and the value of every number of attempts.

    The best number is chosen on every second question, and its value is that of the other ones.
    """
    best, curves = [], []
    for cost in costs:
        values = sampled_values(sampled.accepted, sampled.right, cost)
        for k in range(min(values.shape[1], MOST_SHOWN + 1)):
            curves.append({"k": k, "V": f"V = {cost:g}", **statistics.interval(values[:, k])})
        half = np.arange(len(values)) % 2 == 0
        chosen = optimal_k_sampled(sampled.accepted[half], sampled.right[half], cost).k
        held = statistics.interval(values[~half, chosen])
        row = {"cost": cost, "attempts": chosen, "value": held["mean"]}
        best.append(row | {"low": held["low"], "high": held["high"], "n": held["n"]})
    return pd.DataFrame(best), pd.DataFrame(curves)


def release_findings(runs: pd.DataFrame, released: pd.DataFrame, q: float) -> list[Finding]:
    """Return the claims about releasing: mistakes stay below every bound; more is released at bound `q`."""
    mistakes = released[released["metric"] == "false_share"]
    found = []
    for how in CHOICES:
        part = mistakes[mistakes["choice"] == how]
        worst = part.iloc[int((part["mean"] - part["q"]).to_numpy().argmax())]
        claim = f"Mistakes stay below every q on average ({how}; nearest to it at q = {worst['q']:g})"
        found.append(statistics.finding(claim, "guarantee (2411.17983)", worst, "below", worst["q"]))
    here = runs[runs["q"] == q]
    optimised, split = (here[here["choice"] == how] for how in ("optimised", "split"))
    more = statistics.paired(optimised, split, ["power"], on="split", bounds=(0, 1)).iloc[0]
    claim = (
        "Choosing on all checked answers releases a larger share of the right ones than a part kept apart "
        f"(q = {q:g}; of the method, whatever the model)"
    )
    return [*found, statistics.finding(claim, "2411.17983", more, "above")]


def guarantee_findings(batches: pd.DataFrame, sets: pd.DataFrame, alpha: float) -> list[Finding]:
    """Return the claims about `batch_bounds` and `label_sets`: they hold as often as promised, up to 3 errors."""
    splits = int(batches["splits"].iloc[0])
    least = 1 - alpha - 3 * np.sqrt(alpha * (1 - alpha) / splits)
    name = "The bound on the {} of a batch does not fail more often than promised (3 errors below)"
    rows = [
        (name.format(row["of the batch"]), "guarantee (counting)", row.rename({"held": "mean", "splits": "n"}))
        for _, row in batches.iterrows()
    ]
    covered = sets[sets["metric"] == "covered"].iloc[0].rename({"splits": "n"})
    claim = "The true label set is kept as often as promised (3 errors below)"
    rows.append((claim, "guarantee (2312.09304)", covered))
    return [statistics.finding(claim, source, row, "above", least) for claim, source, row in rows]


def error_findings(trivial: pd.DataFrame, consistency: pd.DataFrame, more: Mapping[str, Any]) -> list[Finding]:
    """Return the claims about risks that find wrong answers.

    Args:
        trivial: What `weak_supervision.risk_against_trivial` returns.
        consistency: See `consistency`.
        more: Difference between discrepancy and entropy, see `consistency`.
    """
    smaller = trivial.iloc[3:].sort_values("low").iloc[0]
    better = (
        "POLAR's risk finds the model's wrong answers better than the rules alone and than with trivial answers in its "
        "place (AUROC; the smaller difference)"
    )
    than_entropy = "The discrepancy finds them better than the entropy of the same answers (AUROC)"
    return [
        statistics.finding(better, f"{HERE} 2306.16564", smaller, "above"),
        statistics.finding(
            "The discrepancy finds wrong answers (AUROC)", "2509.13262", consistency.iloc[0], "above", 0.5
        ),
        statistics.finding(than_entropy, f"{HERE} 2509.13262", more, "above"),
    ]


def draw_mistakes(released: pd.DataFrame, over: str) -> Figure:
    """Draw the share of mistakes among released answers against the bound; `over` says what the means are over."""
    rows = released[released["metric"] == "false_share"]
    labels: dict[str, Any] = {"xlabel": "bound q on the share of mistakes", "ylabel": "mistakes among the released"}
    labels["title"] = f"Means over {over}, 95% intervals over splits; dotted: the bound"
    figure = figures.curves(rows, "q", by="choice", **labels)
    levels = rows["q"].unique()
    figure.axes[0].plot(levels, levels, color="black", linestyle=":")
    alt = (
        "Share of mistakes among released answers against the bound q, for three ways to choose the score; all should "
        "lie below the diagonal."
    )
    return figures.described(figure, alt)


def draw_power(released: pd.DataFrame) -> Figure:
    """Draw the share of right answers that is released against the bound."""
    rows = released[released["metric"] == "power"]
    labels: dict[str, Any] = {"xlabel": "bound q on the share of mistakes", "ylabel": "share of right answers released"}
    alt = "Share of right answers released against the bound q, for three ways to choose the score."
    return figures.described(figures.curves(rows, "q", by="choice", **labels), alt)


def draw_attempts(curves: pd.DataFrame) -> Figure:
    """Draw the value per question against the number of attempts."""
    how: dict[str, Any] = {"baseline": 0.0, "baseline_name": "always silent", "by": "V"}
    alt = "Value per question against the number of attempts, one line for each cost of a wrong answer."
    figure = figures.curves(curves, "k", xlabel="attempts at most", ylabel="value per question", **how)
    return figures.described(figure, alt)
