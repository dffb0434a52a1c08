"""Variance of benchmark scores over seeds, and items that carry the signal (arXiv 2406.10229)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench import figures, statistics
from workbench.answers import outcomes, probabilities
from workbench.datasets import load_questions
from workbench.errors import InputError
from workbench.questions import Question
from workbench.statistics import Finding, jackknife
from workbench.statistics.distances import Floats, fractions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIGITS = "digits, networks"
"""What the items of the small networks are called beside those of benchmarks."""


@dataclass(frozen=True, slots=True)
class Learners:
    """Networks on scikit-learn's digits, by seed and checkpoint, read on the same held-out items."""

    correct: NDArray[np.float64]
    """Whether each item is right, `[seeds, checkpoints, items]`."""
    p_gold: NDArray[np.float64]
    """Probability of the right class, `[seeds, checkpoints, items]`."""
    chance: float
    """Accuracy of guessing."""

    @property
    def scores(self) -> dict[str, Floats]:
        """The discrete and the continuous score, `[seeds, checkpoints, items]`."""
        return {"discrete: accuracy": self.correct, "continuous: p of the right class": self.p_gold}

    @property
    def answers(self) -> Floats:
        """Whether each seed and checkpoint answers each item, `[seeds x checkpoints, items]`."""
        return self.correct.reshape(-1, self.correct.shape[-1])


def digit_learners(seeds: int = 5, checkpoints: int = 8, items: int = 200, noise: float = 6.0) -> Learners:
    """Train one small network per seed and read it after each pass over the data.

    Args:
        seeds: Of initial weights and order of the data.
        checkpoints: Passes over the training half.
        items: Held-out items.
        noise: Standard deviation of noise on the pixels (0 to 16), so that the task is not trivial.
    """
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    if seeds < 1 or checkpoints < 1 or not 1 <= items <= 800:
        raise InputError("Learners need at least one seed and checkpoint, and 1 to 800 items.")
    x, y = load_digits(return_X_y=True)
    x = (x + np.random.default_rng(0).normal(0, noise, x.shape)) / 16
    order = np.random.default_rng(1).permutation(len(x))
    held, train = order[:items], order[800:]
    correct, p_gold = np.empty((2, seeds, checkpoints, items))
    for seed in range(seeds):
        model = MLPClassifier((16,), batch_size=64, random_state=seed, learning_rate_init=2e-3)
        shuffled = np.random.default_rng(seed).permutation(train)
        for checkpoint in range(checkpoints):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.partial_fit(x[shuffled], y[shuffled], classes=np.arange(10))
            p = model.predict_proba(x[held])
            correct[seed, checkpoint] = p.argmax(axis=1) == y[held]
            p_gold[seed, checkpoint] = p[np.arange(items), y[held]]
    return Learners(correct, p_gold, 0.1)


ROUNDING = 1e-9
"""A spread smaller than this share of the scores is none: equal means that were added up in another order."""


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What seeds and checkpoints say of a score."""

    mean: float
    """Mean over seeds at the last checkpoint."""
    seed_sd: float
    """Standard deviation over seeds at the last checkpoint, ddof 1."""
    seed_sd_mean: float
    """Mean over checkpoints of that standard deviation."""
    monotonicity: float
    """Mean over seeds of Kendall's tau-b between checkpoint and score."""
    snr: float
    """Signal-to-noise ratio: mean / seed_sd."""
    snr_above_chance: float
    """(mean - chance) / seed_sd."""
    seeds: int
    """Seeds, or whatever stands in their place."""
    checkpoints: int
    """Checkpoints."""
    sd_by_checkpoint: Floats = field(repr=False)
    """`[checkpoints]`."""
    tau_by_seed: Floats = field(repr=False)
    """`[seeds]`, NaN where all scores of a seed are equal."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a number is NaN."""


def seed_report(scores: ArrayLike, chance: float = 0.0) -> SeedReport:
    """Seed variance, monotonicity and signal-to-noise ratio of a score.

    Args:
        scores: One row per seed, one column per checkpoint in order of training, `[seeds, checkpoints]`.
        chance: What knowing nothing scores.
    """
    table = _table("scores", scores)
    seeds, checkpoints = table.shape
    notes = {}
    if seeds > 1:
        sd = table.std(axis=0, ddof=1)
    else:
        sd, notes["seed_sd"] = np.full(checkpoints, np.nan), "one seed has no spread"
    if seeds > 1:
        sd[sd <= ROUNDING * np.abs(table).max(axis=0)] = 0.0
    if seeds > 1 and sd[-1] == 0:
        notes["snr"] = "the seeds agree exactly: no noise to compare with"
    tau = np.array([_tau(row) for row in table])
    if np.isnan(tau).all():
        notes["monotonicity"] = "one checkpoint" if checkpoints < 2 else "the score never changes"
    mean, last = float(table[:, -1].mean()), float(sd[-1])
    noise = last if last > 0 else float("nan")
    return SeedReport(
        mean=mean,
        seed_sd=last,
        seed_sd_mean=float(sd.mean()),
        monotonicity=float(np.nanmean(tau)) if np.isfinite(tau).any() else float("nan"),
        snr=mean / noise,
        snr_above_chance=(mean - chance) / noise,
        seeds=seeds,
        checkpoints=checkpoints,
        sd_by_checkpoint=sd,
        tau_by_seed=tau,
        notes=notes,
    )


def analytic_half_width(accuracy: float, n: int, level: float = 0.95) -> float:
    """Half the width of the normal interval of a rate: z sqrt(p (1 - p) / n)."""
    from scipy.special import ndtri

    (p,) = fractions(accuracy=[accuracy])
    if n < 1:
        raise InputError("n must be at least 1.")
    return float(ndtri((1 + level) / 2) * np.sqrt(p[0] * (1 - p[0]) / n))


def reader_sd(right: ArrayLike) -> float:
    """Standard deviation over readers (ddof 1) of their means over questions, `[readers, questions]`."""
    return float(_table("right", right).mean(axis=1).std(ddof=1))


def half_width_gap(right: ArrayLike) -> float:
    """1.96 standard deviations over readers less the normal half width of the first reader's mean."""
    table = _table("right", right)
    return 1.96 * reader_sd(table) - analytic_half_width(float(table[0].mean()), table.shape[1])


def pairing_gain(right: ArrayLike) -> float:
    """Standard error of the difference of the first two readers: paired by question, less that of two samples."""
    a, b = _table("right", right)[:2]
    paired, alone = (a - b).std(ddof=1), np.hypot(a.std(ddof=1), b.std(ddof=1))
    return float((paired - alone) / np.sqrt(len(a)))


def over_questions(
    items: pd.DataFrame, of: Callable[[dict[str, Floats]], float], column: str = "right"
) -> dict[str, Any]:
    """A number of each benchmark's readings, averaged over benchmarks, with an interval over their questions.

    Args:
        items: One row per benchmark, reading, reader and question, with the columns of these names, question_id, and
            the score.
        of: The number, from the scores `[readers, questions]` of each reading.
        column: The score.

    Returns:
        Keys of `statistics.jackknife`: one question is left out at a time, from all readings of its benchmark.
        Questions that a reader or a reading lacks are left out altogether and counted in `n_undefined`.
    """
    wide = items.pivot(index=["reading", "reader"], columns=["benchmark", "question_id"], values=column)
    asked, wide = wide.shape[1], wide.dropna(axis="columns")
    tables = {str(name): wide.loc[name].to_numpy(np.float64) for name in dict.fromkeys(wide.index.get_level_values(0))}
    codes = pd.factorize(wide.columns.get_level_values("benchmark"))[0]

    def mean(kept: Floats) -> float:
        rows = [kept[codes[kept.astype(int)] == code].astype(int) for code in range(codes.max() + 1)]
        return float(np.mean([of({name: table[:, part] for name, table in tables.items()}) for part in rows]))

    return {**jackknife(mean, np.arange(len(codes))), "n_undefined": asked - len(codes)}


def item_analysis(correct: ArrayLike) -> pd.DataFrame:
    """Classical item analysis.

    Args:
        correct: Whether each reader (model, seed, prompt) answers each item, `[readers, items]`, 0 to 1.

    Returns:
        One row per item: `difficulty` (mean correct over readers), and discrimination as the correlation with the
        total score (`item_total`, which holds the item itself) and with the rest of it (`item_rest`, preferred). NaN
        where all readers agree on the item or the score.
    """
    table = _table("correct", correct)
    total = table.sum(axis=1)
    return pd.DataFrame(
        {
            "difficulty": table.mean(axis=0),
            "item_total": _correlations(table, total[:, None]),
            "item_rest": _correlations(table, total[:, None] - table),
        }
    )


def item_curve(ability: ArrayLike, a: ArrayLike, b: ArrayLike, c: ArrayLike = 0.0) -> Floats:
    """Probability of a right answer by item response theory: c + (1 - c) / (1 + exp(-a (ability - b))).

    Args:
        ability: Of the reader.
        a: Discrimination of the item.
        b: Difficulty of the item, on the scale of the ability.
        c: Chance of guessing right, 0 (two-parameter model) up to below 1.
    """
    from scipy.special import expit

    guess = np.asarray(c, np.float64)
    if (guess < 0).any() or (guess >= 1).any():
        raise InputError("c must be at least 0 and below 1: it is the chance of guessing right.")
    return guess + (1 - guess) * expit(
        np.asarray(a, np.float64) * (np.asarray(ability, np.float64) - np.asarray(b, np.float64))
    )


def fit_item_curves(correct: ArrayLike) -> pd.DataFrame:
    """Two-parameter item curves, the ability of a reader being its standardised score on the other items.

    A logistic regression per item with a light ridge (C = 1), not a joint fit: enough to draw the curves.

    Args:
        correct: 0 or 1, `[readers, items]`.

    Returns:
        One row per item: `a` (discrimination), `b` (difficulty; NaN where a is 0); NaN where all readers agree.
    """
    from sklearn.linear_model import LogisticRegression

    table = _table("correct", correct)
    if not np.isin(table, (0, 1)).all():
        raise InputError("correct must hold 0 and 1; round shares at ties first.")
    rows = []
    for column in table.T:
        rest = table.sum(axis=1) - column
        if np.ptp(column) == 0 or np.ptp(rest) == 0:
            rows.append({"a": np.nan, "b": np.nan})
            continue
        ability = (rest - rest.mean()) / rest.std()
        fitted = LogisticRegression().fit(ability[:, None], column)
        a, shift = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        rows.append({"a": a, "b": -shift / a if abs(a) > 1e-9 else np.nan})
    return pd.DataFrame(rows)


def split_stability(correct: ArrayLike, draws: int = 200, seed: int = 0) -> dict[str, float]:
    """Whether items tell strong readers apart as they do weak ones.

    Args:
        correct: `[readers, items]`, at least six readers.
        draws: Random halves of the readers, for comparison.
        seed: Of them.

    Returns:
        `weak_strong`: Spearman correlation over items of the item-rest discrimination among the weaker and among the
        stronger half of the readers; `random`, `random_low`, `random_high`: the same between random halves (mean and
        middle 95%); `items`: how many have a discrimination in both halves.
    """
    table = _table("correct", correct)
    if len(table) < 6:
        raise InputError(f"{len(table)} readers cannot be split; each half needs at least three.")
    order = np.argsort(table.sum(axis=1), kind="stable")
    half = len(table) // 2
    found, items = _agreement(table[order[:half]], table[order[half:]])
    rng = np.random.default_rng(seed)
    chance = np.full(draws, np.nan)
    for draw in range(draws):
        mixed = rng.permutation(len(table))
        chance[draw] = _agreement(table[mixed[:half]], table[mixed[half:]])[0]
    known = chance[np.isfinite(chance)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    mean = float(known.mean()) if len(known) else float("nan")
    return {"weak_strong": found, "random": mean, "random_low": float(low), "random_high": float(high), "items": items}


def subset_ranking(correct: ArrayLike, size: int, draws: int = 200, seed: int = 0) -> pd.DataFrame:
    """How well a subset of the items ranks the readers as all items do.

    Args:
        correct: `[readers, items]`.
        size: Items of the subset.
        draws: Random subsets.
        seed: Of them.

    Returns:
        One row per way of choosing (`random`, `most discriminating`, which is chosen by item-rest correlation on the
        same readers): Kendall's `tau` with the ranking by all items, with the middle 95% of the random subsets.
    """
    from scipy.stats import kendalltau

    table = _table("correct", correct)
    if not 1 <= size <= table.shape[1]:
        raise InputError(f"A subset of {size} items cannot be taken from {table.shape[1]}.")
    whole = table.mean(axis=1)
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(table.shape[1], size, replace=False) for _ in range(draws)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        taus = np.array([kendalltau(table[:, part].mean(axis=1), whole).statistic for part in chosen])
        rest = item_analysis(table)["item_rest"].fillna(-1).to_numpy()
        best = float(kendalltau(table[:, np.argsort(-rest, kind="stable")[:size]].mean(axis=1), whole).statistic)
    known = taus[np.isfinite(taus)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    mean = float(known.mean()) if len(known) else np.nan
    return pd.DataFrame(
        [
            {"subset": "random", "tau": mean, "low": float(low), "high": float(high), "size": size, "n": len(known)},
            {"subset": "most discriminating", "tau": best, "low": np.nan, "high": np.nan, "size": size, "n": 1},
        ]
    )


def variants(
    source: str, n: int | None, seed: int, wordings: Sequence[str], orders: int, shots: Sequence[int]
) -> list[tuple[str, str, list[Question]]]:
    """Return the questions of a benchmark as each reader sees them: (reading, reader, questions).

    `cloze` scores option texts after each wording, `letters` the letters of options listed in several orders,
    `examples` option texts after worked examples. All readers see the same questions: none that is an example to one.
    """
    most = load_questions(source, n=n, seed=seed, shots=max(shots, default=0))
    ids = {question.id for question in most}
    loaded = [
        *(
            ("cloze", f"wording {i}", load_questions(source, n=n, seed=seed, instruction=text or None))
            for i, text in enumerate(wordings)
        ),
        *(("letters", f"order {k}", load_questions(source, seed=k, style="letters")) for k in range(orders)),
        *(("examples", f"{k} example{'s' * (k > 1)}", load_questions(source, n=n, seed=seed, shots=k)) for k in shots),
    ]
    return [(reading, reader, [q for q in questions if q.id in ids]) for reading, reader, questions in loaded]


def read(answers: Iterable[tuple[str, str, pd.DataFrame]]) -> pd.DataFrame:
    """Return `scored` answers of all readers, one row per question, with `reading` and `reader`."""
    tables = [scored(table).assign(reading=reading, reader=reader) for reading, reader, table in answers]
    return pd.concat(tables, ignore_index=True)


def scored(answers: pd.DataFrame) -> pd.DataFrame:
    """Return `outcomes` with a discrete score `right`, a continuous one `p_right`, and `chance`, without abstention."""
    found = outcomes(probabilities(answers))
    return found.assign(
        right=found["answer_correct"],
        p_right=found["p_correct"] / (1 - found["p_abstain"]),
        chance=found["n_correct"] / found["n_options"],
    )


def accuracy(items: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each reader with its Wilson interval, beside chance, and a verdict in words."""
    found = statistics.summarise(items, ["right"], by=["benchmark", "reading", "reader"], method="wilson")
    chance = found["benchmark"].map(items.groupby("benchmark")["chance"].mean())
    found = found.assign(chance=chance)
    verdicts = [statistics.versus(row, row["chance"]) for _, row in found.iterrows()]
    shown = ["benchmark", "reading", "reader", "mean", "low", "high", "n", "chance"]
    return found[shown].assign(verdict=verdicts)


def noise(items: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the spread over readers as a half width (1.96 sd), beside the half width of one reader's interval."""
    rows = []
    for key, wide in _scores(items, "right"):
        means, n = wide.mean(axis=1), wide.shape[1]
        boot = statistics.interval(wide.iloc[0], method="bootstrap", seed=seed)
        sd, analytic = means.std(ddof=1), analytic_half_width(means.iloc[0], n)
        row = {"mean": means.mean(), "reader_sd": sd, "reader_half_width": 1.96 * sd}
        row |= {"bootstrap_half_width": (boot["high"] - boot["low"]) / 2, "analytic_half_width": analytic}
        rows.append({**key, **row, "readers": len(means), "n": n, "gap": 1.96 * sd - analytic})
    return pd.DataFrame(rows)


def excess(items: pd.DataFrame) -> dict[str, Any]:
    """Return the half width of prompt noise less that of item noise, with its interval over questions."""
    return over_questions(items, lambda part: float(np.mean([half_width_gap(table) for table in part.values()])))


def signal_to_noise(items: pd.DataFrame) -> pd.DataFrame:
    """Return (mean - chance) / sd over readers of a discrete and of a continuous score, per benchmark and reading.

    Intervals are those of its asinh by the jackknife over questions; none where readers agree exactly, or where one
    question moves the ratio too much.
    """
    rows = []
    for (key, right), (_, p_right) in zip(_scores(items, "right"), _scores(items, "p_right")):
        at = (items["benchmark"] == key["benchmark"]) & (items["reading"] == key["reading"])
        chance = items.loc[at, "chance"].mean()
        for score, wide in (("discrete: accuracy", right), ("continuous: p of the right answers", p_right)):
            found = _ratio_over_questions(wide.to_numpy(), chance)
            rows.append({**key, "score": score, **found, "chance": chance, "readers": len(wide)})
    shown = ["benchmark", "reading", "score", "mean", "low", "high", "chance", "readers", "n", "note"]
    return pd.DataFrame(rows)[shown]


def differences(items: pd.DataFrame) -> pd.DataFrame:
    """Return the difference of the first two readers, with its paired and its independent standard error."""
    rows = []
    for (name, kind), part in items.groupby(["benchmark", "reading"], sort=False):
        readers = part["reader"].unique()
        if len(readers) > 1:
            a, b = (part[part["reader"] == reader] for reader in readers[:2])
            row = statistics.paired(a, b, "right").iloc[0]
            apart = np.hypot(*(statistics.interval(each["right"])["se"] for each in (a, b)))
            found = {"difference": row["mean"], "low": row["low"], "high": row["high"], "se_paired": row["se"]}
            rows.append({"benchmark": name, "reading": kind, **found, "se_independent": apart, "n": row["n"]})
    table = pd.DataFrame(rows)
    table.attrs["reason"] = "no benchmark has two readers of one reading"
    return table


def seed_table(learners: Learners) -> pd.DataFrame:
    """Return seed variance, monotonicity and signal-to-noise ratio of both scores of the small networks."""
    numbers = ["mean", "seed_sd", "seed_sd_mean", "monotonicity", "snr", "snr_above_chance", "seeds", "checkpoints"]
    reports = {name: seed_report(values.mean(axis=2), learners.chance) for name, values in learners.scores.items()}
    rows = {name: {number: getattr(report, number) for number in numbers} for name, report in reports.items()}
    return pd.DataFrame(rows).T.rename_axis("score")


def course(learners: Learners) -> pd.DataFrame:
    """Return both scores of the small networks by checkpoint, with intervals over seeds."""
    seeds, steps, _ = learners.correct.shape
    checkpoint = np.tile(np.arange(1, steps + 1), seeds)
    tables = [
        pd.DataFrame({"checkpoint": checkpoint, "score": values.mean(axis=2).ravel(), "kind": name})
        for name, values in learners.scores.items()
    ]
    return statistics.summarise(pd.concat(tables), ["score"], by=["kind", "checkpoint"], bounds=(0, 1))


def series(answers: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return `scored` answers of models in order of training, numbered in `checkpoint`; empty without models."""
    if not answers:
        return pd.DataFrame({name: [] for name in ("checkpoint", "question_id", "right", "p_right")})
    return pd.concat([scored(table).assign(checkpoint=i + 1) for i, table in enumerate(answers)])


def trend(series: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Return both scores by checkpoint with intervals over questions, and the monotonicity of accuracy."""
    if series.empty:
        nothing = pd.DataFrame()
        nothing.attrs["reason"] = (
            "no checkpoints were given: set `checkpoints` to a list of models in order of training"
        )
        return nothing, float("nan")
    means = series.groupby("checkpoint")["right"].mean().to_numpy()[None]
    found = statistics.summarise(series, ["right", "p_right"], by="checkpoint", bounds=(0, 1))
    return found, seed_report(means).monotonicity


def item_sources(items: pd.DataFrame, learners: Learners, series: pd.DataFrame, first: str) -> dict[str, pd.DataFrame]:
    """Return whether each reader answers each item, `[readers, items]`, by what the items and readers are.

    Args:
        items: See `read`.
        learners: The small networks; every seed and checkpoint is a reader.
        series: Checkpoints of a language model, see `series`.
        first: Benchmark that the checkpoints were read on.
    """
    tables = {
        f"{name}, readers": part.pivot(index=["reading", "reader"], columns="question_id", values="right")
        for name, part in items.groupby("benchmark", sort=False)
    }
    tables[DIGITS] = pd.DataFrame(learners.answers)
    if len(series):
        tables[f"{first}, checkpoints"] = series.pivot(index="checkpoint", columns="question_id", values="right")
    return tables


def item_summary(sources: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return means of difficulty and discrimination over the items of each source.

    `all agree` is the proportion of items without discrimination, `below 0` that of items which weaker readers answer
    correctly more often.
    """
    rows = []
    for name, table in sources.items():
        found = item_analysis(table)
        row = {"items of": name, "readers": len(table), "items": table.shape[1]}
        row["all agree"] = found["item_rest"].isna().mean()
        row |= {column: found[column].mean() for column in ("difficulty", "item_total", "item_rest")}
        rows.append({**row, "below 0": (found["item_rest"] < 0).mean()})
    return pd.DataFrame(rows)


def digit_items(learners: Learners) -> pd.DataFrame:
    """Return difficulty, discrimination and item curve of each digit; NaN where all networks agree."""
    return item_analysis(learners.answers).join(fit_item_curves(learners.answers)).rename_axis("item")


def stability(sources: Mapping[str, pd.DataFrame], draws: int, seed: int) -> pd.DataFrame:
    """Return `split_stability` of each source that has six readers or more."""
    many = {name: table for name, table in sources.items() if len(table) >= 6}
    return pd.DataFrame(
        [{"items of": name, **split_stability(table, draws=draws, seed=seed)} for name, table in many.items()]
    )


def subsets(learners: Learners, draws: int, seed: int) -> pd.DataFrame:
    """Return how well a tenth of the digits ranks the networks as all digits do; see `subset_ranking`."""
    size = max(2, learners.answers.shape[1] // 10)
    return subset_ranking(learners.answers, size, draws=draws, seed=seed)


def findings(
    items: pd.DataFrame, over: Mapping[str, Any], learners: Learners, stability: pd.DataFrame
) -> list[Finding | None]:
    """Return the directions of the paper, tested on this run.

    Args:
        items: See `read`.
        over: See `excess`.
        learners: The small networks.
        stability: See the function `stability`.
    """
    letters = over_questions(items, lambda part: reader_sd(part["letters"]) - reader_sd(part["cloze"]))
    lettered = items[items["reading"] == "letters"]
    name = lettered["benchmark"] + lettered["question_id"]
    above = statistics.interval(lettered["right"] - lettered["chance"], name, bounds=(-1, 1))
    at_chance = statistics.unless(
        above,
        "above",
        0.0,
        "by letters the model cannot be distinguished from chance, and a letter it always names varies with the orders",
    )
    gain = over_questions(
        items, lambda part: float(np.mean([pairing_gain(table) for table in part.values() if len(table) > 1]))
    )
    paper = "arXiv 2406.10229"
    after = f"this notebook, after {paper}"
    snr = statistics.jackknife(lambda rows: _log_ratio(learners, rows.astype(int)), np.arange(len(learners.correct)))
    carries = "Discrimination carries over less from weak to strong readers than between random halves (on digits)"
    found: list[Finding | None] = [
        statistics.finding(
            "Spread over seeds, here prompts, is smaller than the interval over items", paper, over, "below"
        ),
        statistics.finding(
            "Letters vary more from reader to reader than options' texts", paper, letters, "above", 0.0, at_chance
        ),
        statistics.finding(
            "Continuous scores have a higher signal-to-noise ratio (log ratio, on digits)", after, snr, "above"
        ),
    ]
    for _, row in stability[stability["items of"] == DIGITS].iterrows():
        halves = {"mean": row["weak_strong"] - row["random"], "low": row["weak_strong"] - row["random_high"]}
        halves |= {"high": row["weak_strong"] - row["random_low"], "n": row["items"]}
        found.append(statistics.finding(carries, after, halves, "below"))
    known = "by construction: shared items"
    return [
        *found,
        statistics.finding("Paired differences have smaller errors than independent ones", known, gain, "below"),
    ]


def draw_readers(accuracy: pd.DataFrame) -> Figure:
    """Draw the accuracy of each reader beside chance."""
    number = accuracy.groupby(["benchmark", "reading"]).cumcount() + 1
    table = accuracy.assign(variant=[f"reader {k}" for k in number])
    how: dict[str, Any] = {"by": "variant", "baseline": "chance", "xlabel": "accuracy, abstention left out"}
    alt = (
        "Accuracy of each benchmark and reading, one mark per wording or order of options, with 95% Wilson intervals "
        "and chance."
    )
    return figures.described(figures.intervals(table, ["benchmark", "reading"], **how), alt)


def draw_course(course: pd.DataFrame) -> Figure:
    """Draw both scores of the small networks against passes over the data."""
    labels: dict[str, Any] = {"xlabel": "passes over the data", "ylabel": "mean over seeds, 95 % interval"}
    alt = (
        "Accuracy and probability of the right class of the small networks against passes over the data, with "
        "intervals over seeds."
    )
    return figures.described(figures.curves(course, "checkpoint", by="kind", **labels), alt)


def draw_item_curves(items: pd.DataFrame) -> Figure:
    """Draw the curves of up to five digits that discriminate, from easy to difficult; see `digit_items`."""
    defined = items[items["a"] > 0.3].sort_values("b")
    picked = defined[defined["b"].between(-2.5, 2.5)].iloc[:: max(1, len(defined) // 5)].head(5)
    ability = np.linspace(-2.5, 2.5, 21)
    drawn = [
        pd.DataFrame({"ability": ability, "p": item_curve(ability, a, b), "item": f"{i}: a {a:.1f}, b {b:.1f}"})
        for i, a, b in zip(picked.index, picked["a"], picked["b"])
    ]
    labels: dict[str, Any] = {
        "xlabel": "ability (standardised score on the other items)",
        "ylabel": "probability of a correct answer",
    }
    alt = "Item curves of a few digits: probability of a correct answer against ability."
    return figures.described(figures.curves(pd.concat(drawn), "ability", "p", "p", "p", by="item", **labels), alt)


def _scores(items: pd.DataFrame, column: str) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """A score of each benchmark and reading, `[readers, questions]`, in order of appearance."""
    for (name, kind), part in items.groupby(["benchmark", "reading"], sort=False):
        yield (
            {"benchmark": name, "reading": kind},
            part.pivot(index="reader", columns="question_id", values=column),
        )


def _ratio_over_questions(scores: Floats, chance: float) -> dict[str, Any]:
    """Signal-to-noise ratio above chance, `[readers, questions]`, by the jackknife over questions."""

    def ratio(columns: Floats) -> float:
        return seed_report(scores[:, columns.astype(int)].mean(axis=1)[:, None], chance).snr_above_chance

    return jackknife(ratio, np.arange(scores.shape[1]), link="asinh")


def _log_ratio(learners: Learners, seeds: NDArray[np.int64]) -> float:
    """Log of the signal-to-noise ratio of the continuous score over that of the discrete one, of these seeds."""
    continuous, discrete = (
        seed_report(values[seeds].mean(axis=2)).snr for values in (learners.p_gold, learners.correct)
    )
    return float(np.log(continuous / discrete))


def _agreement(one: Floats, two: Floats) -> tuple[float, int]:
    from scipy.stats import rankdata

    a, b = (item_analysis(part)["item_rest"].to_numpy() for part in (one, two))
    both = np.isfinite(a) & np.isfinite(b)
    ranks = [np.asarray(rankdata(each[both]), np.float64)[:, None] for each in (a, b)]
    return float(_correlations(*ranks)[0]), int(both.sum())


def _tau(row: Floats) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(np.arange(len(row)), row).statistic) if len(row) > 1 and np.ptp(row) > 0 else float("nan")


def _correlations(one: Floats, two: Floats) -> Floats:
    """Correlation of each column with its like, `[columns]`; NaN for fewer than three values or a constant."""
    columns = np.broadcast_shapes(one.shape, two.shape)[1]
    if len(one) < 3:
        return np.full(columns, np.nan)
    a, b = one - one.mean(axis=0), two - two.mean(axis=0)
    varied = (np.ptp(one, axis=0) >= 1e-12) & (np.ptp(two, axis=0) >= 1e-12)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide((a * b).sum(axis=0), size, out=np.full(columns, np.nan), where=varied)


def _table(name: str, values: ArrayLike) -> Floats:
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size:
        raise InputError(f"{name} must be a table of two dimensions that is not empty, not of shape {table.shape}.")
    if not np.isfinite(table).all():
        raise InputError(f"{name} holds a missing or infinite number; leave that row or column out.")
    return table
