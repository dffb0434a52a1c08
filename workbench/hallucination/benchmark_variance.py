"""Variance of benchmark scores over seeds, and item analysis (arXiv 2406.10229)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures, statistics
from workbench.answers import outcomes, probabilities
from workbench.datasets import load_questions
from workbench.errors import InputError
from workbench.questions import Question
from workbench.statistics import Finding, jackknife
from workbench.statistics.distances import Floats, Ints, fractions
from workbench.statistics.findings import no_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE, PAPER = "this notebook", "Madaan et al. 2024, arXiv 2406.10229"
DIGITS = "digits, networks"
"""Name of the items of the small networks, beside the names of benchmarks."""
ROUNDING = 1e-9
"""Standard deviations below this proportion of the scores are rounding errors."""


@dataclass(frozen=True, slots=True)
class Learners:
    """Networks trained on scikit-learn's digits, by seed and checkpoint, evaluated on the same held-out items."""

    correct: Floats
    """Correctness of each item, `[seeds, checkpoints, items]`."""
    p_gold: Floats
    """Probability of the right class, `[seeds, checkpoints, items]`."""
    chance: float
    """Accuracy of guessing."""

    @property
    def scores(self) -> dict[str, Floats]:
        """The discrete and the continuous score, `[seeds, checkpoints, items]`."""
        return {"discrete: accuracy": self.correct, "continuous: p of the right class": self.p_gold}

    @property
    def answers(self) -> Floats:
        """Correctness of each network at each checkpoint, `[seeds x checkpoints, items]`."""
        return self.correct.reshape(-1, self.correct.shape[-1])


def digit_learners(seeds: int = 5, checkpoints: int = 8, items: int = 200, noise: float = 6.0) -> Learners:
    """Train one small network per seed and evaluate it on held-out items after each pass over the data.

    `noise` is the standard deviation of noise on the pixels (0 to 16), which makes the task harder.
    """
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    if seeds < 1 or checkpoints < 1 or not 1 <= items <= 800:
        raise InputError("Learners need at least one seed and checkpoint, and 1 to 800 items.")
    x, y = load_digits(return_X_y=True)
    x = (x + np.random.default_rng(0).normal(0, noise, x.shape)) / 16
    order = np.random.default_rng(1).permutation(len(x))
    test, train = order[:items], order[800:]
    correct, p_gold = np.empty((2, seeds, checkpoints, items))
    for seed in range(seeds):
        model = MLPClassifier((16,), batch_size=64, random_state=seed, learning_rate_init=2e-3)
        shuffled = np.random.default_rng(seed).permutation(train)
        for checkpoint in range(checkpoints):
            with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
                model.partial_fit(x[shuffled], y[shuffled], classes=np.arange(10))
            p = model.predict_proba(x[test])
            correct[seed, checkpoint] = p.argmax(axis=1) == y[test]
            p_gold[seed, checkpoint] = p[np.arange(items), y[test]]
    return Learners(correct, p_gold, 0.1)


@dataclass(frozen=True, slots=True)
class SeedReport:
    """Variance, monotonicity and signal-to-noise ratio of a score."""

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
    """Number of seeds, or of whatever replaces them."""
    checkpoints: int
    """Number of checkpoints."""
    sd_by_checkpoint: Floats = field(repr=False)
    """Standard deviation over seeds, `[checkpoints]`."""
    tau_by_seed: Floats = field(repr=False)
    """Kendall's tau-b, `[seeds]`; NaN where all scores of a seed are equal."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Why a number is NaN."""


def seed_report(scores: ArrayLike, chance: float = 0.0) -> SeedReport:
    """Return seed variance, monotonicity and signal-to-noise ratio of scores `[seeds, checkpoints in order]`."""
    table = _table("scores", scores)
    seeds, checkpoints = table.shape
    notes = {}
    if seeds == 1:
        sd, notes["seed_sd"] = np.full(checkpoints, np.nan), "one seed has no spread"
    else:
        sd = table.std(axis=0, ddof=1)
        sd[sd <= ROUNDING * np.abs(table).max(axis=0)] = 0.0
    if sd[-1] == 0:
        notes["snr"] = "all seeds have the same score: no noise to compare with"
    tau = np.array([statistics.correlation(np.arange(checkpoints), row, "kendall") for row in table])
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
    """Return half the width of the normal interval of a rate: z sqrt(p (1 - p) / n)."""
    from scipy.special import ndtri

    (p,) = fractions(accuracy=[accuracy])
    if n < 1:
        raise InputError(f"n must be at least 1, not {n}.")
    return float(ndtri((1 + level) / 2) * np.sqrt(p[0] * (1 - p[0]) / n))


def sd_of_means(correct: ArrayLike) -> float:
    """Return the standard deviation (ddof 1) over variants of their means, for `[variants, questions]`."""
    return float(_table("correct", correct).mean(axis=1).std(ddof=1))


def half_width_gap(correct: ArrayLike) -> float:
    """Return 1.96 `sd_of_means` minus the normal half width of the first variant's mean."""
    table = _table("correct", correct)
    return 1.96 * sd_of_means(table) - analytic_half_width(float(table[0].mean()), table.shape[1])


def pairing_gain(correct: ArrayLike) -> float:
    """Return the standard error of the difference of the first two variants, paired minus unpaired."""
    a, b = _table("correct", correct)[:2]
    paired, unpaired = (a - b).std(ddof=1), np.hypot(a.std(ddof=1), b.std(ddof=1))
    return float((paired - unpaired) / np.sqrt(len(a)))


def over_questions(items: pd.DataFrame, of: Callable[[dict[str, Floats]], float]) -> dict[str, Any]:
    """Return a statistic of each benchmark's `items`, averaged over benchmarks, with an interval over questions.

    The statistic `of` takes the scores `right` as style -> `[variants, questions]`.

    Returns:
        Keys of `statistics.jackknife`, which leaves out one question at a time in all styles of its benchmark.
        Questions missing under a variant are excluded and counted in `n_undefined`.
    """
    complete = items.pivot(index=["style", "variant"], columns=["benchmark", "question_id"], values="right")
    wide = complete.dropna(axis="columns")
    tables = {str(name): wide.loc[name].to_numpy(np.float64) for name in dict.fromkeys(wide.index.get_level_values(0))}
    codes = pd.factorize(wide.columns.get_level_values("benchmark"))[0]

    def mean(columns: Floats) -> float:
        chosen = columns.astype(int)
        parts = [chosen[codes[chosen] == code] for code in range(codes.max() + 1)]
        return float(np.mean([of({name: table[:, part] for name, table in tables.items()}) for part in parts]))

    return {**jackknife(mean, np.arange(len(codes))), "n_undefined": complete.shape[1] - len(codes)}


def item_analysis(correct: ArrayLike) -> pd.DataFrame:
    """Return difficulty and discrimination of items from correctness `[respondents, items]` (classical test theory).

    Returns:
        One row per item: `difficulty` (mean over respondents), and the correlation with the total score (`item_total`,
        which contains the item itself) and with the score on the other items (`item_rest`, preferred). NaN where all
        respondents agree on the item or have the same score.
    """
    table = _table("correct", correct)
    total = table.sum(axis=1)[:, None]
    return pd.DataFrame(
        {
            "difficulty": table.mean(axis=0),
            "item_total": _correlations(table, total),
            "item_rest": _correlations(table, total - table),
        }
    )


def _correlations(one: Floats, two: Floats) -> Floats:
    """Return the correlation of each pair of columns; NaN for fewer than three values or a constant column."""
    columns = np.broadcast_shapes(one.shape, two.shape)[1]
    if len(one) < 3:
        return np.full(columns, np.nan)
    a, b = one - one.mean(axis=0), two - two.mean(axis=0)
    varied = (np.ptp(one, axis=0) >= 1e-12) & (np.ptp(two, axis=0) >= 1e-12)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide((a * b).sum(axis=0), size, out=np.full(columns, np.nan), where=varied)


def item_curve(ability: ArrayLike, a: ArrayLike, b: ArrayLike, c: ArrayLike = 0.0) -> Floats:
    """Return the probability of a correct answer by item response theory: c + (1 - c) / (1 + exp(-a (ability - b))).

    `a` is the discrimination of the item, `b` its difficulty on the scale of the ability, and `c` the probability of
    guessing right, 0 in the two-parameter model.
    """
    from scipy.special import expit

    guess = np.asarray(c, np.float64)
    if (guess < 0).any() or (guess >= 1).any():
        raise InputError(f"c must be a probability of guessing right, at least 0 and below 1, not {c!r}.")
    slope, distance = np.asarray(a, np.float64), np.asarray(ability, np.float64) - np.asarray(b, np.float64)
    return guess + (1 - guess) * expit(slope * distance)


def fit_item_curves(correct: ArrayLike) -> pd.DataFrame:
    """Fit two-parameter item curves to the standardised score on the other items, used as ability.

    Each item of `[respondents, items]` is a logistic regression with a light ridge penalty (C = 1), not a joint fit.

    Returns:
        One row per item: discrimination `a`, difficulty `b` (NaN where a is 0); both NaN where all respondents agree.
    """
    from sklearn.linear_model import LogisticRegression

    table = _table("correct", correct)
    if not np.isin(table, (0, 1)).all():
        raise InputError("correct must contain 0 and 1 only; round proportions at ties first.")
    rows = []
    for column in table.T:
        rest = table.sum(axis=1) - column
        if np.ptp(column) == 0 or np.ptp(rest) == 0:
            rows.append({"a": np.nan, "b": np.nan})
            continue
        fitted = LogisticRegression().fit(((rest - rest.mean()) / rest.std())[:, None], column)
        a, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        rows.append({"a": a, "b": -intercept / a if abs(a) > 1e-9 else np.nan})
    return pd.DataFrame(rows)


def split_stability(correct: ArrayLike, draws: int = 200, seed: int = 0) -> dict[str, float]:
    """Compare item discrimination between the weaker and the stronger half of at least six `[respondents, items]`.

    Returns:
        `weak_strong`: Spearman correlation over items of the item-rest discrimination in the two halves; `random`,
        `random_low`, `random_high`: the same for random halves (mean and middle 95%); `items`: number of items with a
        discrimination in both halves.
    """
    table = _table("correct", correct)
    if len(table) < 6:
        raise InputError(f"{len(table)} respondents cannot be split; each half needs at least three.")
    half, rng = len(table) // 2, np.random.default_rng(seed)

    def compare(order: Ints) -> tuple[float, int]:
        one, two = (item_analysis(table[part])["item_rest"] for part in (order[:half], order[half:]))
        both = one.notna() & two.notna()
        return statistics.correlation(one[both], two[both], fewest=3), int(both.sum())

    weak_strong, items = compare(np.argsort(table.sum(axis=1), kind="stable"))
    random = statistics.middle([compare(rng.permutation(len(table)))[0] for _ in range(draws)])
    ends = {f"random_{end}": random[end] for end in ("low", "high")}
    return {"weak_strong": weak_strong, "random": random["mean"], **ends, "items": items}


def subset_ranking(correct: ArrayLike, size: int, draws: int = 200, seed: int = 0) -> pd.DataFrame:
    """Return how well a subset of `size` items of `[respondents, items]` ranks the respondents as all items do.

    Returns:
        One row per way of choosing (`random`, or `most discriminating` by item-rest correlation on the same
        respondents): Kendall's `tau` with the ranking by all items, with the middle 95% of the random subsets.
    """
    table = _table("correct", correct)
    if not 1 <= size <= table.shape[1]:
        raise InputError(f"A subset of {size} items cannot be taken from {table.shape[1]}.")

    def tau(subset: Ints) -> float:
        return statistics.correlation(table[:, subset].mean(axis=1), table.mean(axis=1), "kendall")

    rng = np.random.default_rng(seed)
    random = statistics.middle([tau(rng.choice(table.shape[1], size, replace=False)) for _ in range(draws)])
    rest = item_analysis(table)["item_rest"].fillna(-1).to_numpy()
    best = {"tau": tau(np.argsort(-rest, kind="stable")[:size]), "low": np.nan, "high": np.nan, "n": 1}
    rows = {"random": {"tau": random.pop("mean"), **random}, "most discriminating": best}
    return pd.DataFrame([{"subset": name, **row, "size": size} for name, row in rows.items()])


def _table(name: str, values: ArrayLike) -> Floats:
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not table.size:
        raise InputError(f"{name} must be a table of two dimensions that is not empty, not of shape {table.shape}.")
    if not np.isfinite(table).all():
        raise InputError(f"{name} contains a missing or infinite number; leave that row or column out.")
    return table


def variants(
    source: str, label: str, n: int | None, seed: int, wordings: Sequence[str], orders: int, shots: Sequence[int]
) -> list[tuple[str, str, list[Question]]]:
    """Return the prompt variants of a benchmark, tagged with its label: (style, variant, questions).

    Style `cloze` scores option texts after each wording, `letters` the letters of options listed in several orders,
    `examples` option texts after worked examples. All variants have the same questions, none of which is an example.
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
    return [
        (style, variant, [q.tagged(benchmark=label) for q in questions if q.id in ids])
        for style, variant, questions in loaded
    ]


def read(answers: Iterable[tuple[str, str, pd.DataFrame]]) -> pd.DataFrame:
    """Return `scored` answers of all variants, one row per question, with `style` and `variant`."""
    tables = [scored(table).assign(style=style, variant=variant) for style, variant, table in answers]
    return pd.concat(tables, ignore_index=True)


def scored(answers: pd.DataFrame) -> pd.DataFrame:
    """Return `outcomes` with a discrete score `right`, a continuous one `p_right`, and `chance`, without abstention."""
    table = outcomes(probabilities(answers))
    return table.assign(
        right=table["answer_correct"],
        p_right=table["p_correct"] / (1 - table["p_abstain"]),
        chance=table["n_correct"] / table["n_options"],
    )


def accuracy(items: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of each variant with its Wilson interval, chance, and a verdict in words."""
    table = statistics.summarise(items, ["right"], by=["benchmark", "style", "variant"], method="wilson")
    table["chance"] = table["benchmark"].map(items.groupby("benchmark")["chance"].mean())
    table["verdict"] = [statistics.versus(row, row["chance"]) for _, row in table.iterrows()]
    return table[["benchmark", "style", "variant", "mean", "low", "high", "n", "chance", "verdict"]]


def _by_style(items: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Any, float]]:
    """Yield each benchmark and style with `right` and `p_right`, `[variants, questions]` each, and chance."""
    for (benchmark, style), part in items.groupby(["benchmark", "style"], sort=False):
        wide = part.pivot(index="variant", columns="question_id", values=["right", "p_right"])
        yield {"benchmark": benchmark, "style": style}, wide, part["chance"].mean()


def noise(items: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the spread over variants as a half width (1.96 sd), and the half width of one variant's interval."""
    rows = []
    for key, wide, _ in _by_style(items):
        right = wide["right"]
        means, n = right.mean(axis=1), right.shape[1]
        boot = statistics.interval(right.iloc[0], method="bootstrap", seed=seed)
        sd, analytic = means.std(ddof=1), analytic_half_width(means.iloc[0], n)
        row = {"mean": means.mean(), "variant_sd": sd, "variant_half_width": 1.96 * sd}
        row |= {"bootstrap_half_width": (boot["high"] - boot["low"]) / 2, "analytic_half_width": analytic}
        rows.append({**key, **row, "variants": len(means), "n": n, "gap": 1.96 * sd - analytic})
    return pd.DataFrame(rows)


def excess(items: pd.DataFrame) -> dict[str, Any]:
    """Return the half width of prompt noise minus that of item noise, with its interval over questions."""
    return over_questions(items, lambda tables: float(np.mean([half_width_gap(table) for table in tables.values()])))


def signal_to_noise(items: pd.DataFrame) -> pd.DataFrame:
    """Return (mean - chance) / sd over variants of the discrete and the continuous score, per benchmark and style.

    Intervals are jackknife intervals over questions of the ratio's asinh; there is none where variants have equal means
    or one question changes the ratio too much.
    """
    rows = []
    for key, wide, chance in _by_style(items):
        for score, column in (("discrete: accuracy", "right"), ("continuous: p of the right answers", "p_right")):
            scores = wide[column].to_numpy()

            def ratio(columns: Floats, scores: Floats = scores, chance: float = chance) -> float:
                return seed_report(scores[:, columns.astype(int)].mean(axis=1)[:, None], chance).snr_above_chance

            interval = jackknife(ratio, np.arange(scores.shape[1]), link="asinh")
            rows.append({**key, "score": score, **interval, "chance": chance, "variants": len(scores)})
    columns = ["benchmark", "style", "score", "mean", "low", "high", "chance", "variants", "n", "note"]
    return pd.DataFrame(rows)[columns]


def differences(items: pd.DataFrame) -> pd.DataFrame:
    """Return the difference of the first two variants, with its paired and its independent standard error."""
    rows = []
    for (benchmark, style), part in items.groupby(["benchmark", "style"], sort=False):
        names = part["variant"].unique()
        if len(names) > 1:
            a, b = (part[part["variant"] == name] for name in names[:2])
            row = statistics.paired(a, b, "right").iloc[0]
            unpaired = np.hypot(*(statistics.interval(each["right"])["se"] for each in (a, b)))
            about = {"benchmark": benchmark, "style": style, "difference": row["mean"]}
            ends = {"low": row["low"], "high": row["high"], "se_paired": row["se"], "se_independent": unpaired}
            rows.append({**about, **ends, "n": row["n"]})
    return pd.DataFrame(rows) if rows else no_rows("no benchmark has two variants of one style")


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
        return no_rows("no checkpoints were given: set `checkpoints` to a list of models in order of training")
    return pd.concat([scored(table).assign(checkpoint=i + 1) for i, table in enumerate(answers)])


def trend(series: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Return both scores by checkpoint with intervals over questions, and the monotonicity of accuracy."""
    if series.empty:
        return series, float("nan")
    means = series.groupby("checkpoint")["right"].mean().to_numpy()[None]
    table = statistics.summarise(series, ["right", "p_right"], by="checkpoint", bounds=(0, 1))
    return table, seed_report(means).monotonicity


def item_sources(items: pd.DataFrame, learners: Learners, series: pd.DataFrame, first: str) -> dict[str, pd.DataFrame]:
    """Return the correctness of each respondent on each item, `[respondents, items]`, by source of items.

    Respondents are the prompt variants of `items` (see `read`), every seed and checkpoint of the small networks, and
    the checkpoints of a language model on the benchmark `first` (see `series`).
    """
    tables = {
        f"{name}, prompts": part.pivot(index=["style", "variant"], columns="question_id", values="right")
        for name, part in items.groupby("benchmark", sort=False)
    }
    tables[DIGITS] = pd.DataFrame(learners.answers)
    if len(series):
        tables[f"{first}, checkpoints"] = series.pivot(index="checkpoint", columns="question_id", values="right")
    return tables


def item_summary(sources: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return means of difficulty and discrimination over the items of each source.

    `all agree` is the proportion of items without discrimination, `below 0` that of items which weaker respondents
    answer correctly more often.
    """
    rows = []
    for name, table in sources.items():
        analysis = item_analysis(table)
        row = {"items of": name, "respondents": len(table), "items": table.shape[1]}
        row["all agree"] = analysis["item_rest"].isna().mean()
        row |= dict(analysis[["difficulty", "item_total", "item_rest"]].mean())
        rows.append({**row, "below 0": (analysis["item_rest"] < 0).mean()})
    return pd.DataFrame(rows)


def digit_items(learners: Learners) -> pd.DataFrame:
    """Return difficulty, discrimination and item curve of each digit; NaN where all networks agree."""
    return item_analysis(learners.answers).join(fit_item_curves(learners.answers)).rename_axis("item")


def stability(sources: Mapping[str, pd.DataFrame], draws: int, seed: int) -> pd.DataFrame:
    """Return `split_stability` of each source with at least six respondents."""
    enough = {name: table for name, table in sources.items() if len(table) >= 6}
    return pd.DataFrame([{"items of": name, **split_stability(t, draws, seed)} for name, t in enough.items()])


def subsets(learners: Learners, draws: int, seed: int) -> pd.DataFrame:
    """Return how well a tenth of the digits ranks the networks as all digits do; see `subset_ranking`."""
    size = max(2, learners.answers.shape[1] // 10)
    return subset_ranking(learners.answers, size, draws=draws, seed=seed)


def findings(
    items: pd.DataFrame, over: Mapping[str, Any], learners: Learners, stability: pd.DataFrame
) -> list[Finding | None]:
    """Return the directions of the paper, tested on this run; `over` is the result of `excess`."""
    letters = over_questions(items, lambda tables: sd_of_means(tables["letters"]) - sd_of_means(tables["cloze"]))
    lettered = items[items["style"] == "letters"]
    name = lettered["benchmark"] + lettered["question_id"]
    above = statistics.interval(lettered["right"] - lettered["chance"], name, bounds=(-1, 1))
    reason = "with letters the model is at chance, and the accuracy of one constant letter varies with the order"
    at_chance = statistics.unless(above, "above", 0.0, reason)
    gain = over_questions(
        items, lambda tables: float(np.mean([pairing_gain(table) for table in tables.values() if len(table) > 1]))
    )
    snr = jackknife(lambda seeds: _log_ratio(learners, seeds.astype(int)), np.arange(len(learners.correct)))
    after, known = f"{HERE}, after {PAPER}", "by construction: shared items"
    widths = "half width of prompt noise minus that of item noise, in accuracy"
    orders = "standard deviation of accuracy over orders minus that over wordings"
    ratios, same = "logarithm of the quotient of both ratios, on digits", "no difference"
    split = "correlation of discriminations minus that of random halves, on digits"
    claims: list[tuple[Any, ...]] = [
        (
            "Spread over seeds, here prompts, is smaller than the interval over items",
            PAPER,
            over,
            "below",
            0.0,
            "",
            widths,
            same,
        ),
        (
            "Accuracy varies more over orders of letters than over wordings",
            PAPER,
            letters,
            "above",
            0.0,
            at_chance,
            orders,
            same,
        ),
        ("Continuous scores have a higher signal-to-noise ratio", after, snr, "above", 0.0, "", ratios, same),
    ]
    for _, row in stability[stability["items of"] == DIGITS].iterrows():
        halves = {"mean": row["weak_strong"] - row["random"], "low": row["weak_strong"] - row["random_high"]}
        halves |= {"high": row["weak_strong"] - row["random_low"], "n": row["items"]}
        agrees = "Discrimination agrees less between weak and strong respondents than between random halves"
        claims.append((agrees, after, halves, "below", 0.0, "", split, same))
    less = "Paired differences have smaller errors than independent ones"
    claims.append(
        (less, known, gain, "below", 0.0, "", "standard error of paired minus that of independent ones", same)
    )
    return [statistics.finding(*claim) for claim in claims]


def _log_ratio(learners: Learners, seeds: Ints) -> float:
    """Return the log of the continuous score's signal-to-noise ratio over that of the discrete one, for these seeds."""
    discrete, continuous = (seed_report(values[seeds].mean(axis=2)).snr for values in learners.scores.values())
    return float(np.log(continuous / discrete))


def draw_variants(accuracy: pd.DataFrame) -> Figure:
    """Draw the accuracy of each variant and chance."""
    number = accuracy.groupby(["benchmark", "style"]).cumcount() + 1
    table = accuracy.assign(variant=[f"variant {k}" for k in number])
    how: dict[str, Any] = {"by": "variant", "baseline": "chance", "bars": "95% Wilson intervals", "of": "questions"}
    figure = figures.intervals(table, ["benchmark", "style"], xlabel="accuracy, abstention left out", **how)
    alt = "Accuracy of each benchmark and style, one mark per prompt variant, beside chance."
    return figures.described(figure, alt)


def draw_course(course: pd.DataFrame) -> Figure:
    """Draw both scores of the small networks against passes over the data."""
    names = {"discrete: accuracy": "accuracy", "continuous: p of the right class": "probability of the right class"}
    how: dict[str, Any] = {"by": "kind", "baseline": 0.1, "baseline_name": "chance", "bars": "95% intervals over seeds"}
    labels: dict[str, Any] = {"xlabel": "passes over the data", "ylabel": "mean over seeds"}
    figure = figures.curves(course.replace({"kind": names}), "checkpoint", **how, **labels)
    alt = "Accuracy and probability of the right class of the networks against passes over the data, beside chance."
    return figures.described(figure, alt)


def draw_item_curves(items: pd.DataFrame) -> Figure:
    """Draw the curves of up to five digits that discriminate, from easy to difficult; see `digit_items`."""
    defined = items[items["a"] > 0.3].sort_values("b")
    picked = defined[defined["b"].between(-2.5, 2.5)].iloc[:: max(1, len(defined) // 5)].head(5)
    ability = np.linspace(-2.5, 2.5, 21)
    curves = [
        pd.DataFrame(
            {
                "ability": ability,
                "p": item_curve(ability, a, b),
                "item": f"digit {i} (a {a:.1f}, b {b:.1f})".replace("-", "−"),
            }
        )
        for i, a, b in zip(picked.index, picked["a"], picked["b"])
    ]
    labels: dict[str, Any] = {
        "xlabel": "ability (standardised score on the other items)",
        "ylabel": "p(correct answer)",
    }
    why = "fitted curves; a: discrimination, b: difficulty"
    figure = figures.curves(pd.concat(curves), "ability", "p", None, None, by="item", why=why, **labels)
    return figures.described(figure, "Item curves of a few digits: probability of a correct answer against ability.")
