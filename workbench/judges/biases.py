"""Position, length and label biases of a judge, and accuracy corrected for the noise of sampled verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures
from workbench.answers import Floats
from workbench.errors import InputError
from workbench.figures import described
from workbench.judges import planted
from workbench.judges.cases import Case, Cases
from workbench.judges.prompts import Template, pairwise, questions
from workbench.judges.readings import Judgement, answers_to, in_words, judgement, reading_table
from workbench.judges.relations import above_chance, against_chance, logit_split, order_tables
from workbench.questions import Question
from workbench.statistics import Finding, bootstrap, finding, interval, summarise, unless
from workbench.statistics.calibration import calibration_report
from workbench.statistics.intervals import SHARE, Interval
from workbench.tables import headed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Noise = Literal["flip_model", "wei2024_code"]


def length_bias(table: pd.DataFrame, draws: int = 499, seed: int = 0) -> dict[str, Any]:
    """Return accuracy in both orders where the better answer is longer, minus accuracy where it is not.

    The bootstrap is over the cases of an `order_table` with lengths. NaN if one of the two groups is empty, no interval
    if neither varies.
    """
    used = table[table["both"].notna()]
    if used.empty:
        return dict.fromkeys(("mean", "se", "low", "high"), np.nan) | {"n": 0, "note": "no pair with different scores"}

    def difference(both: Floats, longer: Floats) -> float:
        if longer.all() or not longer.any():
            return float("nan")
        return float(both[longer == 1].mean() - both[longer == 0].mean())

    return bootstrap(difference, used["both"], used["better_longer"], clusters=used["case"], draws=draws, seed=seed)


def position_shift(table: pd.DataFrame, one: str, other: str) -> dict[str, Any]:
    """Return the absolute change of position bias between two prompts, with a bootstrap over cases.

    Rows of `order_table` name their prompt in the column `labels`. The difference is by pair, with the sign that makes
    its mean at least 0.
    """
    pairs = table.pivot_table(index=["case", "i", "j"], columns="labels", values="position")
    moved = (pairs[one] - pairs[other]) if {one, other} <= set(pairs) else pd.Series(np.nan, pairs.index)
    turned = moved if not moved.mean() < 0 else -moved
    return interval(turned, turned.index.get_level_values("case"), "bootstrap", bounds=(-2, 2))


def denoise(accuracy: ArrayLike, q: ArrayLike) -> Floats:
    """Return the accuracy of the true decisions if each observed decision is flipped with probability q.

    observed = a (1 - q) + (1 - a) q, so a = (observed - q) / (1 - 2 q). Results outside [0, 1] are not clipped: the
    noise model does not fit. NaN at q = 1/2, where the accuracy is not identified.
    """
    a, flip = np.asarray(accuracy, np.float64), np.asarray(q, np.float64)
    if ((flip < 0) | (flip > 1)).any():
        raise InputError("q must be a probability between 0 and 1.")
    left = 1 - 2 * flip
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(left) < 1e-6, np.nan, (a - flip) / left)


def flip_rate_of(agreement: ArrayLike, noise: Noise = "flip_model") -> Floats:
    """Return the flipping probability that explains the agreement of two repeats of a verdict.

    Two repeats agree with probability 1 - 2 q (1 - q), so q = (1 - sqrt(2 agreement - 1)) / 2; NaN below 1/2. The
    published code (`wei2024_code`) uses q = 1 - agreement, about twice that.
    """
    a = np.asarray(agreement, np.float64)
    if noise == "wei2024_code":
        return 1 - a
    with np.errstate(invalid="ignore"):
        return (1 - np.sqrt(2 * a - 1)) / 2


def without_noise(votes: ArrayLike, case: ArrayLike, noise: Noise = "flip_model", draws: int = 499) -> dict[str, Any]:
    """Return accuracy corrected for the flipping noise of repeated verdicts, with a bootstrap over cases.

    Votes are `[pairs, runs]`: 1 correct, 0 wrong, NaN missing; `case` is that of each pair. `outside` is whether the
    estimate is outside [0, 1], so that the noise model does not fit.
    """
    runs = np.asarray(votes, np.float64)

    def corrected(right: Floats, agreement: Floats) -> float:
        return float(denoise(np.nanmean(right), flip_rate_of(np.nanmean(agreement), noise)))

    row = bootstrap(corrected, np.nanmean(runs, axis=1), repeated_agreement(runs), clusters=case, draws=draws)
    return {**row, "outside": bool(row["mean"] < 0 or row["mean"] > 1)}


def repeated_agreement(votes: ArrayLike) -> Floats:
    """Return the probability that two runs drawn without replacement agree, `[items]`; NaN with fewer than two runs.

    Votes are `[items, runs]`, NaN missing.
    """
    runs = np.asarray(votes, np.float64)
    if runs.ndim != 2:
        raise InputError(f"votes must be [items, runs], not {list(runs.shape)}.")
    n = (~np.isnan(runs)).sum(axis=1)
    same = sum((count := (runs == label).sum(axis=1)) * (count - 1) for label in np.unique(runs[~np.isnan(runs)]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 1, same / (n * (n - 1)), np.nan)


PADDING = " I hope that this answer is helpful to you, and please let me know if there is anything else."
"""A sentence without content."""
RATES = {
    "both": ("correct in both orders (coin: 0.25)", SHARE),
    "random": ("correct in one order (coin: 0.5)", SHARE),
    "position": ("accuracy with the better answer first minus second (0: no bias)", (-1.0, 1.0)),
    "agree": ("both orders agree (coin: 0.5)", SHARE),
    "first": ("verdicts for the first answer (0.5)", SHARE),
    "ties": ("verdicts that tie", SHARE),
    "longer": ("verdicts for the longer answer (0.5)", SHARE),
    "position_margin": ("p(first) − p(second) (0)", (-1.0, 1.0)),
    "repeat": ("two sampled verdicts agree", SHARE),
    "flip": ("a sampled verdict is not the most probable", SHARE),
}
NAMES = {
    "both": "correct in both orders",
    "random": "correct in one order",
    "position": "position bias",
    "agree": "orders agree",
    "first": "first answer",
    "longer": "longer answer",
    "repeat": "samples agree",
    "flip": "samples differ from the mode",
}
"""Rates as tables name them."""
"""Column of an `order_table` -> meaning of its mean (in brackets, without any preference), and its range."""
FLIPS = (0.05, 0.1, 0.2, 0.3)
"""Flipping probabilities of the planted noisy judges."""


@dataclass(frozen=True, slots=True)
class Study:
    """The cases and templates of one run, and their questions."""

    judge: str
    """Name of the judge."""
    sets: Mapping[str, Cases]
    """Label -> cases; label words and noise are tested on the first set."""
    probes: Mapping[str, Cases]
    """`padded`, `identical` -> cases with the same answer twice."""
    forms: Sequence[Template]
    """Pairwise templates, the main template first."""
    chat: bool
    """Whether questions use the chat template."""

    @property
    def first(self) -> str:
        """Label of the first set."""
        return next(iter(self.sets))

    @property
    def key(self) -> str:
        """Name of the responses to the main template."""
        return self.forms[0].key

    def pairs(self, name: str) -> list[Question]:
        """Return the questions of the main template about a set or a probe."""
        return pairwise({**self.sets, **self.probes}[name], self.forms[0], self.chat)

    def reworded(self) -> list[Question]:
        """Return the questions of the other templates about the first set."""
        return questions(self.sets[self.first], self.forms[1:], self.chat)

    def questions(self) -> list[Question]:
        """Return all questions, each once."""
        pairs = [question for name in (*self.sets, *self.probes) for question in self.pairs(name)]
        return list({question.id: question for question in (*pairs, *self.reworded())}.values())


def study(judge: str, sets: Mapping[str, Cases], forms: Sequence[Template], n: int | None, chat: bool) -> Study:
    """Return the study of a judge; each probe has at most n (100) cases made from single answers of the sets."""
    answers = [(case.question, case.answers[0]) for cases in sets.values() for case in cases][: n or 100]
    padded = Cases([Case(question, (answer, answer + PADDING)) for question, answer in answers])
    identical = Cases([Case(question, (answer, answer)) for question, answer in answers])
    return Study(judge, sets, {"padded": padded, "identical": identical}, forms, chat)


def judgements(study: Study, answers: pd.DataFrame, controls: Sequence[str]) -> dict[tuple[str, str], Judgement]:
    """Return the responses of the judge and of planted judges by judge and set; to the probes, of the judge alone.

    `answers` are the judge's, to `study.questions()`; `controls` are names of `planted.judge`.
    """
    judged: dict[tuple[str, str], Judgement] = {}
    for name, cases in {**study.sets, **study.probes}.items():
        pairs = study.pairs(name)
        everything = [*pairs, *study.reworded()] if name == study.first else pairs
        judged[study.judge, name] = judgement(study.judge, answers_to(answers, everything), cases.ids)
        if name in study.sets:
            judged |= {(each.judge, name): each for each in planted.judged(controls, pairs, cases)}
    return judged


def orders(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return `order_table` of every judge on every set, with the columns `judge`, `data` and `cluster`."""
    table = pd.concat(
        [
            order_tables([each], study.key, study.sets[name].scores, study.sets[name].chars).assign(data=name)
            for (_, name), each in judged.items()
            if name in study.sets
        ]
    )
    return table.assign(cluster=table["data"] + table["case"].astype(str))


def of_judge(study: Study, orders: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the judge, without those of planted judges."""
    return orders[orders["judge"] == study.judge]


def mass_by_prompt(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return the probability mass on the labels and the number of flagged responses, by set and prompt."""
    tables = [reading_table([judged[study.judge, name]]).assign(data=name) for name in study.sets]
    table = pd.concat(tables, ignore_index=True)
    return table[["data", "prompt", "mass", "n_total", "n_unparsed", "n_low_mass", "n_top_k", "n_undecided"]]


def chance_by_set(study: Study, orders: pd.DataFrame) -> pd.DataFrame:
    """Return whether judges are better than chance: the judge on every set, planted judges on the first."""
    rows = orders[(orders["judge"] == study.judge) | (orders["data"] == study.first)]
    return against_chance(rows, ["judge", "data"])


def items(study: Study, orders: pd.DataFrame) -> pd.DataFrame:
    """Return the judge's rates by pair, with the set, the id of the case and its cluster."""
    table = of_judge(study, orders)
    names = {name: cases.ids for name, cases in study.sets.items()}
    ids = [names[data][case] for data, case in zip(table["data"], table["case"])]
    columns = ["random", "both", "position", "agree", "first", "longer", "position_margin", "cluster"]
    return table[columns].rename(columns={"random": "right"}).assign(question_id=ids, benchmark=table["data"])


def rates(orders: pd.DataFrame, by: Sequence[str] = ("judge", "data")) -> pd.DataFrame:
    """Return the mean of every rate with its interval over questions, one row per group and metric."""
    return _rates(orders, list(RATES), by, "cluster")


def pooled_rates(study: Study, orders: pd.DataFrame) -> pd.DataFrame:
    """Return the judge's rates over all sets, with their meaning in words."""
    table = rates(of_judge(study, orders), by=()).set_index("metric")
    table.insert(0, "meaning", [RATES[name][0] for name in table.index])
    return table


def log_odds(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return the mean size of quality and position in the log-odds of FIRST, in nats, on the first set."""
    quality, position = logit_split(judged[study.judge, study.first].pairs(study.key))
    up = np.triu(np.ones(quality.shape[1:], bool), 1) & np.isfinite(quality)
    columns = {
        "part": np.repeat(["quality", "position"], up.sum()),
        "case": np.tile(np.nonzero(up)[0], 2),
        "size": np.abs([quality[up], position[up]]).ravel(),
        "log_odds": np.r_[np.full(up.sum(), np.nan), position[up]],
    }
    table = summarise(pd.DataFrame(columns), ["log_odds", "size"], by="part", cluster="case")
    return table.dropna(subset=["mean"])


def length_biases(orders: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the `length_bias` of every judge on every set."""
    groups = orders.groupby(["judge", "data"], sort=False)
    table = pd.DataFrame([{"judge": j, "data": d, **length_bias(part, seed=seed)} for (j, d), part in groups])
    return table.reindex(columns=["judge", "data", "mean", "low", "high", "n", "n_clusters", "note"])


def probe_rates(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return the judge's rates on identical answers, and on an answer against itself plus a sentence of padding."""
    tables = []
    for name in ("identical", "padded"):
        table = order_tables([judged[study.judge, name]], study.key, None, study.probes[name].chars)
        tables.append(table.assign(probe=name))
    rates = _rates(pd.concat(tables), ["first", "ties", "agree", "longer", "position_margin"], ["probe"], "case")
    return rates[rates["n"] > 0]


def orders_by_words(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return `order_table` of the judge on the first set for every template, named in the column `labels`."""
    judge, scores = judged[study.judge, study.first], study.sets[study.first].scores
    return pd.concat([order_tables([judge], prompt, scores).assign(labels=prompt) for prompt in judge.prompts])


def word_rates(worded: pd.DataFrame) -> pd.DataFrame:
    """Return the rates of a table from `orders_by_words`, by template."""
    return _rates(worded, ["both", "random", "position", "first", "agree"], ["labels"], "case")


def noise_correction(study: Study, repeats: int, seed: int) -> pd.DataFrame:
    """Return the accuracy of noisy judges on the first set, corrected by the flip model and as in the published code.

    `repeats` verdicts are sampled per question. Columns: `q planted`, `q estimated`, `true`, `observed`, `by`, the
    corrected accuracy with its interval, and `outside`; empty if the set has no scores.
    """
    cases, pairs, rows = study.sets[study.first], study.pairs(study.first), []
    for q in FLIPS:
        table = order_tables(planted.judged(["noisy"], pairs, cases, q=q), study.key, cases.scores)
        table = table.dropna(subset=["p_right"])
        if table.empty:
            continue
        draws = np.random.default_rng(seed).random((len(table), repeats))
        votes = (draws < table["p_right"].to_numpy()[:, None]) * 1.0
        estimated = float(flip_rate_of(repeated_agreement(votes).mean()))
        setting = {"q planted": q, "q estimated": estimated, "true": table["random"].mean(), "observed": votes.mean()}
        rows += [{**setting, "by": by, **without_noise(votes, table["case"], by)} for by in get_args(Noise)]
    columns = ["q planted", "q estimated", "true", "observed", "by", "mean", "low", "high", "n", "outside"]
    table = pd.DataFrame(rows, columns=columns)
    table.attrs["reason"] = "no marks say which answers are better"
    return table


def rate(study: Study, orders: pd.DataFrame, metric: str) -> Interval:
    """Return one rate of the judge over all sets, with its interval over questions."""
    table = of_judge(study, orders)
    return interval(table[metric], table["cluster"], "bootstrap", bounds=RATES[metric][1])


def findings(study: Study, orders: pd.DataFrame, worded: pd.DataFrame, seed: int) -> list[Finding]:
    """Return the claims of Wei et al. and of this notebook, tested on the judge."""
    source, here, table = "Wei et al. 2024, arXiv 2408.13006", "this notebook", of_judge(study, orders)
    same = interval(table["agree"] * (table["ties"] == 0), table["cluster"], "bootstrap", bounds=SHARE)  # without ties
    both, position, right = (rate(study, orders, name) for name in ("both", "position", "random"))
    undecided = unless(right, "above", 0.5, "the judge is at chance")
    shift = position_shift(worded, study.key, study.forms[-1].key)
    length = length_bias(table.assign(case=table["cluster"]), seed=seed)
    words = f"Position bias with the labels {study.forms[-1].span} differs by more than 0.05"
    accuracy = "Accuracy in both orders is below 70 % (best in the paper: 67 %)"
    longer = "Accuracy is higher where the better answer is longer (GPT-4o: by 0.08 to 0.37)"
    prefers = "The judge prefers the first position"
    agree = "Both orders select the same answer on more than half of the pairs"
    return [
        finding(accuracy, source, both, "below", 0.7, undecided, "accuracy in both orders", "the claimed limit"),
        finding(prefers, here, position, "above", 0.0, "", "position bias (1: always the first answer)", "no bias"),
        finding(
            f"{words} (in the paper, with either sign)",
            source,
            shift,
            "above",
            0.05,
            "",
            "difference of position bias",
            "the claimed limit",
        ),
        finding(longer, source, length, "above", 0.0, "", "difference of accuracy", "no difference"),
        finding(agree, here, same, "above", 0.5, "", "proportion of pairs with one answer in both orders", "half"),
        above_chance(right, here),
    ]


def draw_position(rates: pd.DataFrame) -> Figure:
    """Draw the position bias of every judge on every set."""
    label = "position bias (+1 always the first, −1 always the second)"
    rows = in_words(rates[rates["metric"] == "position"])
    named: dict[str, Any] = {"baseline": 0.0, "baseline_name": "no bias", "of": "pairs"}
    drawn = figures.intervals(rows, "judge", by="data", xlabel=label, **named)
    return described(drawn, "Position bias of the model and the planted judges on each data set.")


def draw_margins(study: Study, orders: pd.DataFrame) -> Figure:
    """Draw a histogram over pairs of the preference for the first position."""
    label = "probability of the first minus that of the second answer, mean of both orders"
    named: dict[str, Any] = {"baseline": 0.0, "baseline_name": "no preference"}
    drawn = figures.distribution(of_judge(study, orders)["position_margin"], (-1, 1), label, "pairs", **named)
    return described(drawn, "Histogram over pairs of the probability of the first answer minus that of the second.")


def draw_length(rates: pd.DataFrame) -> Figure:
    """Draw how often every judge prefers the longer answer."""
    label = "proportion of verdicts for the longer answer"
    rows = in_words(rates[rates["metric"] == "longer"])
    named: dict[str, Any] = {"baseline": 0.5, "baseline_name": "no preference", "of": "pairs"}
    drawn = figures.intervals(rows, "judge", by="data", xlabel=label, **named)
    return described(drawn, "Proportion of verdicts for the longer answer, by judge and data set.")


def draw_words(rates: pd.DataFrame) -> Figure:
    """Draw accuracy and preference for the first answer by label words."""
    names = rates["metric"].map({"random": "accuracy", "first": "first answer chosen"})
    labels = ["labels " + str(name).partition(" ")[2].replace("/", ", ") for name in rates["labels"]]
    rows = rates.assign(metric=names, labels=labels).dropna(subset=["metric"])
    drawn = figures.intervals(rows, "labels", by="metric", baseline=0.5, xlabel="proportion of verdicts", of="pairs")
    return described(drawn, "Proportion of verdicts that name the first answer, and accuracy, by label words.")


def draw_reliability(study: Study, orders: pd.DataFrame) -> Figure | None:
    """Draw accuracy of the verdict averaged over both orders against its probability; None without scores."""
    p_right = of_judge(study, orders)["p_right"].dropna()
    if p_right.empty:
        return None
    report = calibration_report(np.maximum(p_right, 1 - p_right), (p_right > 0.5).astype(float))
    return described(figures.reliability(report), "Accuracy of the order-averaged verdict against its probability.")


def _rates(table: pd.DataFrame, columns: list[str], by: Sequence[str], cluster: str) -> pd.DataFrame:
    bounds = {name: RATES[name][1] for name in columns}
    rates = summarise(table, columns, by=list(by), cluster=cluster, method="bootstrap", draws=500, bounds=bounds)
    return headed(rates, NAMES)
