"""Selective answering: released answers, batch bounds, label sets, self-consistency and repeated sampling.

The guarantees are in `conformal`, risk from weak sources in `weak_supervision`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from workbench.statistics.distances import Bools, Floats, Ints, distributions, entropy
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Readings = Mapping[str, pd.DataFrame]
"""Normalisation -> the probabilities of all options, see `readings`."""
NORMALISATIONS: tuple[Normalisation, ...] = ("none", "tokens", "chars")
CHOICES: tuple[conformal.Choice, ...] = ("split", "optimised", "trained")
CHOSEN = {
    "split": "chosen on a third",
    "optimised": "chosen and calibrated on all",
    "trained": "regression on all scores",
}
"""What each choice of a score does with the checked answers, in figures."""
SCORES = (*(f"confidence ({name})" for name in NORMALISATIONS), "certainty")
"""Columns of `items` that can decide what is released."""
AFTER = "this notebook, after"
BAI, DISCREPANCY = "Bai and Jin 2024, arXiv 2411.17983", "Zhao and Chen 2025, arXiv 2509.13262"
MOST_LABELS = 8
"""Questions with more options are left out of the label sets."""
MOST_SHOWN = 20
"""Most attempts in the figure."""


def readings(answers: Sequence[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the probabilities of all answers under each normalisation."""
    together = pd.concat(answers, ignore_index=True)
    return {name: probabilities(together, name) for name in NORMALISATIONS}


def blocks(reading: pd.DataFrame) -> list[Ints]:
    """Return the row positions of the options of each question."""
    return np.split(np.arange(len(reading)), block_starts(reading)[1:])


def items(readings: Readings) -> pd.DataFrame:
    """Return one row per question: whether its best option is `correct`, and its `SCORES`.

    The certainty is minus the entropy of the options under normalisation `none`.
    """
    tables = {name: outcomes(reading) for name, reading in readings.items()}
    table = tables["none"][["benchmark", "question_id", "n_options"]]
    table = table.assign(
        correct=(tables["none"]["answer_correct"] == 1).astype(float),
        question_id=table["benchmark"] + " " + table["question_id"],
    )
    for name, each in tables.items():
        table[f"confidence ({name})"] = each["answer_confidence"].to_numpy()
    p = readings["none"]["p"].to_numpy()
    table["certainty"] = np.add.reduceat(p * np.log(p.clip(1e-300)), block_starts(readings["none"]))
    return table


def releases(items: pd.DataFrame, levels: Sequence[float], splits: int, seed: int) -> pd.DataFrame:
    """Return `conformal.release_repeatedly` at each bound `q` and under each `choice` of a score."""
    return pd.concat(
        [
            conformal.release_repeatedly(items, q, SCORES, how, splits, seed).assign(q=q, choice=how)
            for q in levels
            for how in CHOICES
        ]
    )


def released(runs: pd.DataFrame) -> pd.DataFrame:
    """Return means of `releases` over splits, one row per bound, choice and metric."""
    bounds = {"error_rate": SHARE, "power": SHARE}
    return statistics.summarise(runs, ["error_rate", "power", "n_released"], by=["q", "choice"], bounds=bounds)


def release_table(released: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return `released` with the numbers of splits and items."""
    columns = ["q", "choice", "metric", "mean", "low", "high", "splits", "method"]
    return released.rename(columns={"n": "splits"})[columns].assign(items=len(items))


def release_summary(released: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return `released` as text, one row per bound and choice."""
    names = {
        "error_rate": "error rate among released answers",
        "power": "proportion of correct answers released",
        "n_released": "answers released",
    }
    text = released.assign(text=[statistics.estimate(row) for _, row in released.iterrows()])
    wide = text.pivot(index=["q", "choice"], columns="metric", values="text").reset_index().rename(columns=names)
    return wide.assign(splits=int(released["n"].max()), items=len(items))


def one_split(parted: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """Return the answers released at each bound on one split (column `part`), with a note where none can be."""
    rows = []
    for q in levels:
        for how in CHOICES[:2]:
            test = conformal.release(parted, q, SCORES, how)
            given = test["selected"]
            row = {"q": q, "choice": how, "score": test["chosen"].mode()[0], "answers": len(test)}
            row |= {"released": int(given.sum()), "errors": int((test.loc[given, "correct"] == 0).sum())}
            rows.append(row | {"smallest_p": test["p"].min(), "note": test.attrs.get("note", "")})
    return pd.DataFrame(rows)


def error_rate_at(released: pd.DataFrame, q: float) -> pd.Series[Any]:
    """Return the row of the error rate at one bound, with the score chosen on all checked answers."""
    here = (released["metric"] == "error_rate") & (released["q"] == q) & (released["choice"] == "optimised")
    return released[here].iloc[0]


def batch_bounds(reading: pd.DataFrame, batch: int, alpha: float, splits: int, seed: int) -> pd.DataFrame:
    """Return bounds on the error scores (1 - probability of the right answer) of a batch, and their coverage."""
    table = outcomes(reading)
    errors = 1 - (table["p_correct"] / (1 - table["p_abstain"])).to_numpy()
    rows = []
    for statistic, rank in (("median", (batch + 1) // 2), ("worst", batch)):
        runs = conformal.batch_bounds_repeatedly(errors, batch, rank, alpha, splits, seed)
        rate = statistics.interval(runs["covered"].astype(float), method="wilson")
        row = {"of the batch": statistic, "bound": runs["bound"].mean(), "nominal": 1 - alpha, "covered": rate["mean"]}
        rows.append(row | {"low": rate["low"], "high": rate["high"], "splits": splits, "items": len(errors)})
    return pd.DataFrame(rows)


def label_sets(reading: pd.DataFrame, alpha: float, splits: int, seed: int) -> pd.DataFrame:
    """Return how often the set of correct options is retained at error level `alpha`, and how many of all sets are.

    Each split tests one question and calibrates on the others. The probability of an option relative to the best one is
    used as its probability of being correct; nonconformity is compared per option.
    """
    parts = [part for part in blocks(reading) if len(part) <= MOST_LABELS]
    p, right = reading["p"].to_numpy(), (reading["role"] == "correct").to_numpy().astype(int)
    truth, relative = [right[part] for part in parts], [p[part] / p[part].max() for part in parts]
    scores = np.array([conformal.label_nonconformity(y, o) / len(y) for y, o in zip(truth, relative)])
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(splits):
        *calibrate, test = draw.permutation(len(parts))
        size = len(relative[test])
        sets = conformal.label_powerset_sets(scores[calibrate] * size, relative[test], alpha).sets
        covered = float(tuple(truth[test]) in set(sets["labels"]))
        rows.append({"covered": covered, "sets": len(sets), "share_of_all": len(sets) / 2**size})
    runs = pd.DataFrame(rows)
    sizes = statistics.summarise(runs, ["sets", "share_of_all"], bounds={"share_of_all": SHARE})
    table = pd.concat([statistics.summarise(runs, ["covered"], method="wilson"), sizes])
    columns = ["metric", "mean", "low", "high", "splits"]
    return table.rename(columns={"n": "splits"})[columns].assign(items=len(parts))


def spc_mar(p: ArrayLike) -> Floats:
    """Return the mean absolute residual 2 p (1 - p) of each class under a true distribution, `[N, K]`."""
    return 2 * (rows := distributions("p", p)) * (1 - rows)


def spc_sds(p: ArrayLike, mar: ArrayLike) -> Floats:
    """Return the self-consistency discrepancy of class probabilities `[N, K]`: sum of |2 p (1 - p) - MAR|, `[N]`.

    MAR is the learnt mean absolute residual E|1{y = k} - p_k| of each class, `[N, K]`.
    """
    learnt, ideal = np.asarray(mar, np.float64), spc_mar(p)
    if learnt.shape != ideal.shape or not np.isfinite(learnt).all():
        raise InputError(f"mar has shape {learnt.shape}, p {ideal.shape}; give one finite number per class.")
    return np.abs(ideal - learnt).sum(axis=1)


def spc_correct(p: ArrayLike, up: ArrayLike, down: ArrayLike, mar: ArrayLike, tolerance: float = 0.05) -> Floats:
    """Return probabilities corrected by learnt halves, where these agree with a learnt MAR, `[N]` or `[N, K]`.

    The correction is the least of u - d, MAR - 2 d and 2 u - MAR, as in the authors' code, applied where
    |u + d - MAR| < tolerance. Unlike there, the result is clipped, and rows of `[N, K]` are renormalised.
    """
    stated, u, d, m = (np.asarray(each, np.float64) for each in (p, up, down, mar))
    if not stated.shape == u.shape == d.shape == m.shape or not np.isfinite([u, d, m]).all():
        raise InputError("p, up, down and mar must be finite and of one shape.")
    shift = np.minimum(np.minimum(u - d, m - 2 * d), 2 * u - m)
    corrected = np.clip(stated + np.where(np.abs(u + d - m) < tolerance, shift, 0.0), 0.0, 1.0)
    if corrected.ndim == 1:
        return corrected
    total = corrected.sum(axis=1, keepdims=True)
    return np.where(total > 0, corrected / np.where(total > 0, total, 1.0), stated)


def fit_mar(features: ArrayLike, p: ArrayLike, gold: ArrayLike, fit: ArrayLike, ridge: float = 10.0) -> Floats:
    """Fit |1{y = k} - p_k| on features `[N, D]` by ridge regression and return its prediction for all items, `[N, K]`.

    Features are standardised here. Only the items marked in `fit`, `[N]`, are fitted and need a gold class.
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
    """Questions with four options, one of them correct, with the options of each in order of probability."""

    p: Floats
    """Probabilities, `[N, 4]`."""
    right: Bools
    """Which option is correct, `[N, 4]`."""
    features: Floats
    """Log-probabilities, lengths in tokens and log-likelihoods, `[N, 12]`."""


def four_options(reading: pd.DataFrame) -> FourOptions:
    """Return the questions of a reading with four options, of which one is correct."""
    prob, role = reading["p"].to_numpy(), reading["role"].to_numpy()
    parts = [part for part in blocks(reading) if len(part) == 4 and (role[part] == "correct").sum() == 1]
    order = np.array([part[np.argsort(-prob[part], kind="stable")] for part in parts], np.int64).reshape(-1, 4)
    p = prob[order] / prob[order].sum(axis=1, keepdims=True)
    features = [np.log(p.clip(1e-12)), *(reading[name].to_numpy()[order] for name in ("n_tokens", "logprob"))]
    return FourOptions(p, role[order] == "correct", np.column_stack(features))


def consistency(four: FourOptions, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the AUROC of three uncertainties for wrong answers, and the discrepancy's advantage over the entropy.

    The residuals are learnt on one half of the items; both results are of the other half.
    """
    fit = np.random.default_rng(seed).permutation(len(four.p)) < len(four.p) / 2
    mar = fit_mar(four.features, four.p, four.right.argmax(axis=1), fit, ridge=100.0)
    wrong = (~four.right[:, 0]).astype(float)[~fit]
    uncertainty = {
        "discrepancy (SDS)": spc_sds(four.p, mar)[~fit] / 2,
        "learnt residual": mar[~fit].mean(axis=1),
        "entropy": entropy(four.p)[~fit] / np.log(4),
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
    """Whether the verifier accepts each sample, `[questions, samples]`."""
    right: Bools
    """Whether each sample is correct, `[questions, samples]`."""


def sampled(readings: Readings, samples: int, seed: int) -> Sampled:
    """Return answers sampled under normalisation `none`.

    The verifier accepts an option whose probability under normalisation `tokens` exceeds 1 / number of options.
    """
    p, verifier = (readings[name]["p"].to_numpy() for name in ("none", "tokens"))
    parts, draw = blocks(readings["none"]), np.random.default_rng(seed)
    drawn = np.array([draw.choice(part, samples, p=p[part] / p[part].sum()) for part in parts])
    sizes = np.array([len(part) for part in parts])[:, None]
    right = (readings["none"]["role"] == "correct").to_numpy()
    return Sampled(verifier[drawn] > 1 / sizes, right[drawn])


def verifier(sampled: Sampled) -> pd.DataFrame:
    """Return how well the verifier separates correct from wrong answers, in one row."""
    right, accepted = sampled.right, sampled.accepted
    rates = {
        "completeness": accepted[right].mean(),
        "soundness": (~accepted[~right]).mean(),
        "right without verifier": right.mean(),
        "right among accepted": right[accepted].mean(),
    }
    return pd.DataFrame([rates])


def sampled_values(accepted: ArrayLike, right: ArrayLike, cost: float) -> Floats:
    """Return the expected value of each item for at most 0 ... S attempts, `[items, S + 1]`, over orders of S samples.

    In a random order each accepted sample is equally likely to be the first, so the expectation is exact. An accepted
    right answer has value 1, an accepted wrong one `cost`, at most 0.
    """
    if not cost <= 0:
        raise InputError(f"cost must be at most 0, not {cost!r}: it is the value of an accepted wrong answer.")
    yes, good = np.asarray(accepted, bool), np.asarray(right, bool)
    if yes.ndim != 2 or not yes.size or yes.shape != good.shape:
        raise InputError("accepted and right must be tables [items, samples] of the same shape.")
    samples, count = yes.shape[1], yes.sum(axis=1)
    total = (yes & good).sum(axis=1) + cost * (yes & ~good).sum(axis=1)
    gain = np.divide(total, count, out=np.zeros(len(count)), where=count > 0)
    none_left = np.ones((len(count), samples + 1))
    for k in range(1, samples + 1):
        none_left[:, k] = none_left[:, k - 1] * np.maximum(samples - count - k + 1, 0) / (samples - k + 1)
    return gain[:, None] * (1 - none_left)


def fewest_best(values: Floats) -> int:
    """Return the fewest attempts with the highest value (within rounding), for values of 0, 1, ... attempts."""
    return int(np.flatnonzero(values >= values.max() - 1e-12)[0])


def attempts(sampled: Sampled, costs: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the best number of attempts for each cost, and the value of every number of attempts.

    The best number is chosen on every second question and evaluated on the others.
    """
    best, curves = [], []
    for cost in costs:
        values = sampled_values(sampled.accepted, sampled.right, cost)
        for k in range(min(values.shape[1], MOST_SHOWN + 1)):
            curves.append({"k": k, "V": f"V = {cost:g}", **statistics.interval(values[:, k])})
        half = np.arange(len(values)) % 2 == 0
        chosen = fewest_best(values[half].mean(axis=0))
        others = statistics.interval(values[~half, chosen])
        row = {"cost": cost, "attempts": chosen, "value": others["mean"]}
        best.append(row | {name: others[name] for name in ("low", "high", "n")})
    return pd.DataFrame(best), pd.DataFrame(curves)


def release_findings(runs: pd.DataFrame, released: pd.DataFrame, q: float) -> list[Finding]:
    """Return the claims about releasing: the error rate is below every bound; more is released at bound `q`."""
    errors = released[released["metric"] == "error_rate"]
    findings, what = [], "error rate among released answers"
    for how in CHOICES:
        part = errors[errors["choice"] == how]
        worst = part.iloc[int((part["mean"] - part["q"]).to_numpy().argmax())]
        claim = (
            f"Released answers err less often than every bound q allows ({how} score; nearest at q = {worst['q']:g})"
        )
        findings.append(
            statistics.finding(claim, f"guarantee ({BAI})", worst, "below", worst["q"], "", what, "the bound q")
        )
    optimised, split = (runs[(runs["q"] == q) & (runs["choice"] == how)] for how in ("optimised", "split"))
    more = statistics.paired(optimised, split, ["power"], on="split", bounds=SHARE).iloc[0]
    claim = (
        "Choosing the score on all checked answers releases more correct answers than a separate tuning part "
        f"(q = {q:g}; a property of the method)"
    )
    what = "difference in the proportion of correct answers released"
    return [*findings, statistics.finding(claim, BAI, more, "above", 0.0, "", what, "no difference")]


def guarantee_findings(batches: pd.DataFrame, sets: pd.DataFrame, alpha: float) -> list[Finding]:
    """Return the claims about `batch_bounds` and `label_sets`: coverage is nominal, up to 3 standard errors."""
    least = 1 - alpha - 3 * np.sqrt(alpha * (1 - alpha) / int(batches["splits"].iloc[0]))
    rows = [
        (
            f"The bound on the {row['of the batch']} of a batch has at least nominal coverage",
            "guarantee (counting)",
            row.rename({"covered": "mean", "splits": "n"}),
        )
        for _, row in batches.iterrows()
    ]
    covered = sets[sets["metric"] == "covered"].iloc[0].rename({"splits": "n"})
    claim = "The label sets have at least nominal coverage of the true set"
    rows.append((claim, "guarantee (Maltoudoglou et al. 2023, arXiv 2312.09304)", covered))
    words = ("", "coverage", "nominal coverage less 3 standard errors")
    return [statistics.finding(claim, source, row, "above", least, *words) for claim, source, row in rows]


def error_findings(trivial: pd.DataFrame, consistency: pd.DataFrame, more: Mapping[str, Any]) -> list[Finding]:
    """Return the claims about risks that detect wrong answers, from `risk_against_trivial` and `consistency`."""
    smaller = trivial.iloc[3:].sort_values("low").iloc[0]
    better = (
        "POLAR's risk detects the model's wrong answers better than the rules alone and than with trivial answers in "
        "place of the model's"
    )
    entropy_claim = "The discrepancy detects wrong answers better than the entropy of the same answers"
    first, detects, same = consistency.iloc[0], "The discrepancy detects wrong answers", "no difference"
    return [
        statistics.finding(
            better,
            f"{AFTER} Zhao et al. 2023, arXiv 2306.16564",
            smaller,
            "above",
            0.0,
            "",
            "AUROC difference, the smaller",
            same,
        ),
        statistics.finding(detects, DISCREPANCY, first, "above", 0.5, "", "AUROC", "chance"),
        statistics.finding(
            entropy_claim, f"{AFTER} {DISCREPANCY}", more, "above", 0.0, "", "AUROC minus that of the entropy", same
        ),
    ]


def draw_error_rate(released: pd.DataFrame, over: str) -> Figure:
    """Draw the error rate among released answers against the bound; `over` names what the means are over."""
    rows = released[released["metric"] == "error_rate"].replace({"choice": CHOSEN})
    bound = pd.DataFrame({"q": rows["q"].unique(), "choice": "the bound"})
    rows = pd.concat([rows, bound.assign(mean=bound["q"], low=bound["q"], high=bound["q"])])
    labels: dict[str, Any] = {"xlabel": "bound on the error rate", "ylabel": "error rate of released answers"}
    alt = "Error rate of released answers against the bound, for three choices; all should lie below the diagonal."
    return figures.described(figures.curves(rows, "q", by="choice", bars=f"95% intervals over {over}", **labels), alt)


def draw_power(released: pd.DataFrame) -> Figure:
    """Draw the proportion of correct answers that is released against the bound."""
    rows = released[released["metric"] == "power"].replace({"choice": CHOSEN})
    labels: dict[str, Any] = {
        "xlabel": "bound on the error rate",
        "ylabel": "proportion of correct answers that are released",
    }
    alt = "Proportion of correct answers released against the bound on the error rate, for three choices of the score."
    figure = figures.curves(rows, "q", by="choice", bars="95% intervals over splits", **labels)
    return figures.described(figure, alt)


def draw_attempts(curves: pd.DataFrame) -> Figure:
    """Draw the value per question against the number of attempts."""
    rows = curves.assign(
        V=curves["V"].astype(str).str.replace(r"V = (.*)", r"error: \1 points", regex=True).str.replace("-", "−")
    )
    labels: dict[str, Any] = {
        "xlabel": "largest number of attempts",
        "ylabel": "points per question",
        "of": "questions",
    }
    figure = figures.curves(rows, "k", by="V", baseline=0.0, baseline_name="always abstains", **labels)
    return figures.described(
        figure, "Value per question (points) against the number of attempts, one line for each cost of a wrong answer."
    )
