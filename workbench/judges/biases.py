"""Position, length and label biases of a judge, with its noise taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures
from workbench.answers import Floats
from workbench.errors import InputError, unknown
from workbench.figures import described
from workbench.judges import planted
from workbench.judges.cases import Case, Cases
from workbench.judges.prompts import Template, pairwise, questions
from workbench.judges.readings import Judgement, answers_to, judgement, reading_table
from workbench.judges.relations import logit_split, order_tables, standings
from workbench.questions import Question
from workbench.statistics import Finding, bootstrap, finding, interval, summarise, unless
from workbench.statistics.calibration import calibration_report
from workbench.statistics.intervals import SHARE, Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Noise = Literal["flip_model", "wei2024_code"]


def length_bias(table: pd.DataFrame, q: float = 0.0, draws: int = 499, seed: int = 0) -> dict[str, Any]:
    """LB: accuracy in both orders where the better answer is longer, minus where it is not; bootstrap over cases.

    Args:
        table: Made by `order_table` with lengths.
        q: Flipping noise to take out first.
        draws: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        Keys of `statistics.interval`; NaN where a stratum is empty, no interval where neither varies.
    """
    used = table[table["both"].notna()]
    if used.empty:
        return dict.fromkeys(("mean", "se", "low", "high"), np.nan) | {"n": 0, "note": "no pair people tell apart"}

    def difference(both: Floats, longer: Floats) -> float:
        if longer.all() or not longer.any():
            return float("nan")
        return float(denoise(both[longer == 1].mean(), q) - denoise(both[longer == 0].mean(), q))

    return bootstrap(difference, used["both"], used["better_longer"], clusters=used["case"], draws=draws, seed=seed)


def position_shift(table: pd.DataFrame, one: str, other: str) -> dict[str, Any]:
    """How far the position bias moves from one prompt to another, in whichever direction; bootstrap over cases.

    Args:
        table: Rows of `order_table` under both prompts, with their names in the column `labels`.
        one: A prompt.
        other: Another.

    Returns:
        Keys of `statistics.interval` of the difference by pair, turned so that its mean is not below 0.
    """
    pairs = table.pivot_table(index=["case", "i", "j"], columns="labels", values="position")
    moved = (pairs[one] - pairs[other]) if {one, other} <= set(pairs) else pd.Series(np.nan, pairs.index)
    turned = moved if not moved.mean() < 0 else -moved
    return interval(turned, turned.index.get_level_values("case"), "bootstrap", bounds=(-2, 2))


def denoise(accuracy: ArrayLike, q: ArrayLike, noise: Noise = "flip_model") -> Floats:
    """Accuracy of the true decisions when each observed one is flipped with probability q.

    observed = a (1 - q) + (1 - a) q, so a = (observed - q) / (1 - 2 q); results outside [0, 1] are left as they are,
    they say that the model of the noise does not fit. NaN where q is 1/2 and nothing can be known.

    Args:
        accuracy: Observed, in [0, 1].
        q: Flipping probability; see `flip_rate_of`.
        noise: The formula is the same in both; `wei2024_code` goes with a q that is about twice too large.
    """
    if noise not in get_args(Noise):
        raise unknown("noise model", noise, list(get_args(Noise)))
    a, flip = np.asarray(accuracy, np.float64), np.asarray(q, np.float64)
    if ((flip < 0) | (flip > 1)).any():
        raise InputError("q must be a probability between 0 and 1.")
    left = 1 - 2 * flip
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(left) < 1e-6, np.nan, (a - flip) / left)


def flip_rate_of(agreement: ArrayLike, noise: Noise = "flip_model") -> Floats:
    """The flipping probability behind the agreement of two repeats of a verdict.

    Two repeats agree with probability 1 - 2 q (1 - q), so q = (1 - sqrt(2 agreement - 1)) / 2; NaN below 1/2. The
    published code (`wei2024_code`) takes q = 1 - agreement, about twice that.
    """
    if noise not in get_args(Noise):
        raise unknown("noise model", noise, list(get_args(Noise)))
    a = np.asarray(agreement, np.float64)
    if noise == "wei2024_code":
        return 1 - a
    with np.errstate(invalid="ignore"):
        return (1 - np.sqrt(2 * a - 1)) / 2


def without_noise(votes: ArrayLike, case: ArrayLike, noise: Noise = "flip_model", draws: int = 499) -> dict[str, Any]:
    """Accuracy with the flipping noise of repeated verdicts taken out, with a bootstrap over cases.

    Args:
        votes: 1 where a run is right, 0 where not, `[pairs, runs]`; NaN unread.
        case: What each pair belongs to, `[pairs]`.
        noise: Model of the noise.
        draws: Bootstrap samples.

    Returns:
        Keys of `statistics.bootstrap`, and `outside`: the estimate lies outside [0, 1], the model does not fit.
    """
    runs = np.asarray(votes, np.float64)

    def cleaned(right: Floats, agreement: Floats) -> float:
        return float(denoise(np.nanmean(right), flip_rate_of(np.nanmean(agreement), noise), noise))

    found = bootstrap(cleaned, np.nanmean(runs, axis=1), repeated_agreement(runs), clusters=case, draws=draws)
    return {**found, "outside": bool(found["mean"] < 0 or found["mean"] > 1)}


def repeated_agreement(votes: ArrayLike) -> Floats:
    """Probability that two runs drawn without replacement agree, per item: `[items]`.

    Args:
        votes: Verdicts of K runs, `[items, K]`; NaN unread, those are left out. NaN with fewer than two runs.
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
    "both": ("right in both orders (coin: 0.25)", SHARE),
    "random": ("right in one order (coin: 0.5)", SHARE),
    "position": ("right when first minus right when second (0: no bias)", (-1.0, 1.0)),
    "agree": ("both orders agree (coin: 0.5)", SHARE),
    "first": ("verdicts for the first answer (0.5)", SHARE),
    "ties": ("verdicts that tie", SHARE),
    "longer": ("verdicts for the longer answer (0.5)", SHARE),
    "slot_margin": ("p(first) − p(second) (0)", (-1.0, 1.0)),
    "repeat": ("two sampled verdicts would agree", SHARE),
    "flip": ("a sampled verdict is not the likeliest", SHARE),
}
"""Column of an `order_table` -> what its mean is (in brackets, without any preference), and its range."""
FLIPS = (0.05, 0.1, 0.2, 0.3)
"""Flipping probabilities of the planted noisy judges."""


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked of one judge, and of planted ones beside it."""

    judge: str
    """Name of the judge."""
    sets: Mapping[str, Cases]
    """Label -> cases; the first is the set that label words and noise are tried on."""
    probes: Mapping[str, Cases]
    """`padded`, `identical` -> cases of one answer twice."""
    forms: Sequence[Template]
    """Pairwise templates; the first is the main one."""
    chat: bool
    """Through the chat template."""

    @property
    def first(self) -> str:
        """Label of the first set."""
        return next(iter(self.sets))

    def cases(self) -> list[Cases]:
        """The cases of all sets and probes."""
        return [*self.sets.values(), *self.probes.values()]

    def asked(self, name: str) -> list[Question]:
        """The questions of the main template about a set or a probe."""
        return pairwise({**self.sets, **self.probes}[name], self.forms[0], self.chat)

    def worded(self) -> list[Question]:
        """The questions of the other templates about the first set."""
        return questions(self.sets[self.first], self.forms[1:], self.chat)

    def questions(self) -> list[Question]:
        """All of them, each once."""
        asked = [question for name in (*self.sets, *self.probes) for question in self.asked(name)]
        return list({question.id: question for question in (*asked, *self.worded())}.values())


def study(judge: str, sets: Mapping[str, Cases], forms: Sequence[Template], n: int | None, chat: bool) -> Study:
    """Return what to ask about sets of cases, and about at most n (100) of their answers against themselves.

    Args:
        judge: Name of the judge.
        sets: Label -> cases.
        forms: Pairwise templates; the first is the main one.
        n: Cases of each probe.
        chat: Through the chat template.
    """
    whose = [(case.question, case.answers[0]) for cases in sets.values() for case in cases][: n or 100]
    padded = Cases([Case(question, (answer, answer + PADDING)) for question, answer in whose])
    identical = Cases([Case(question, (answer, answer)) for question, answer in whose])
    return Study(judge, sets, {"padded": padded, "identical": identical}, forms, chat)


def judgements(study: Study, answers: pd.DataFrame, controls: Sequence[str]) -> dict[tuple[str, str], Judgement]:
    """Return what the judge and the planted ones say of every set, by judge and set; of the probes, the judge alone.

    Args:
        study: What was asked.
        answers: The judge's, to `study.questions()`.
        controls: Names of `planted.judge`.
    """
    found: dict[tuple[str, str], Judgement] = {}
    for name, cases in study.sets.items():
        asked = study.asked(name)
        words = study.worded() if name == study.first else []
        found[study.judge, name] = judgement(study.judge, answers_to(answers, [*asked, *words]), cases.ids)
        found |= {(each.judge, name): each for each in planted.judged(controls, asked, cases)}
    for name, cases in study.probes.items():
        found[study.judge, name] = judgement(study.judge, answers_to(answers, study.asked(name)), cases.ids)
    return found


def orders(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return `order_table` of every judge on every set, with the columns `judge`, `data` and `cluster`."""
    main = study.forms[0].key
    table = pd.concat(
        [
            order_tables([each], main, study.sets[name].scores, study.sets[name].chars).assign(data=name)
            for (_, name), each in judged.items()
            if name in study.sets
        ]
    )
    return table.assign(cluster=table["data"] + table["case"].astype(str))


def own(study: Study, orders: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that are about the judge."""
    return orders[orders["judge"] == study.judge]


def mass(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return the probability on the labels and the number of flagged readings, by set and prompt."""
    tables = [reading_table([judged[study.judge, name]]).assign(data=name) for name in study.sets]
    table = pd.concat(tables, ignore_index=True)
    return table[["data", "prompt", "mass", "n_total", "n_unparsed", "n_low_mass", "n_top_k", "n_undecided"]]


def standing(study: Study, orders: pd.DataFrame) -> pd.DataFrame:
    """Return the `standings` of the judge on every set, and of the planted ones on the first."""
    shown = orders[(orders["judge"] == study.judge) | (orders["data"] == study.first)]
    return standings(shown, ["judge", "data"])


def items(study: Study, orders: pd.DataFrame) -> pd.DataFrame:
    """Return the judge's rates by pair, with the set, the id of its case and its cluster."""
    mine = own(study, orders)
    names = {(name, i): case for name, cases in study.sets.items() for i, case in enumerate(cases.ids)}
    ids = [names[at] for at in zip(mine["data"], mine["case"])]
    shown = mine[["random", "both", "position", "agree", "first", "longer", "slot_margin", "cluster"]]
    return shown.rename(columns={"random": "right"}).assign(question_id=ids, benchmark=mine["data"])


def rates(orders: pd.DataFrame, by: Sequence[str] = ("judge", "data")) -> pd.DataFrame:
    """Return the mean of every rate with its interval over questions, one row per group and metric."""
    return _rates(orders, list(RATES), by, "cluster")


def pooled_rates(study: Study, orders: pd.DataFrame) -> pd.DataFrame:
    """Return the judge's rates over all sets, and what each of them is."""
    table = rates(own(study, orders), by=()).set_index("metric")
    table.insert(0, "what", [RATES[name][0] for name in table.index])
    return table


def log_odds(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return the size of quality and of position in the log-odds of "first", in nats, on the first set."""
    quality, slot = logit_split(judged[study.judge, study.first].pairs(study.forms[0].key))
    up = np.triu(np.ones(quality.shape[1:], bool), 1) & np.isfinite(quality)
    columns = {
        "part": np.repeat(["quality", "slot"], up.sum()),
        "case": np.tile(np.nonzero(up)[0], 2),
        "size": np.abs([quality[up], slot[up]]).ravel(),
        "log_odds": np.r_[np.full(up.sum(), np.nan), slot[up]],
    }
    found = summarise(pd.DataFrame(columns), ["log_odds", "size"], by="part", cluster="case")
    return found.dropna(subset=["mean"])


def length_biases(orders: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the `length_bias` of every judge on every set."""
    groups = orders.groupby(["judge", "data"], sort=False)
    table = pd.DataFrame([{"judge": j, "data": d, **length_bias(part, seed=seed)} for (j, d), part in groups])
    return table.reindex(columns=["judge", "data", "mean", "low", "high", "n", "n_clusters", "note"])


def probe_rates(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return the judge's rates on an answer against itself, and against itself with an empty sentence behind."""
    tables = []
    for name in ("identical", "padded"):
        each = order_tables([judged[study.judge, name]], study.forms[0].key, None, study.probes[name].chars)
        tables.append(each.assign(probe=name))
    found = _rates(pd.concat(tables), ["first", "ties", "agree", "longer", "slot_margin"], ["probe"], "case")
    return found[found["n"] > 0]


def by_words(study: Study, judged: Mapping[tuple[str, str], Judgement]) -> pd.DataFrame:
    """Return `order_table` of the judge on the first set under every template, named in the column `labels`."""
    mine, scores = judged[study.judge, study.first], study.sets[study.first].scores
    return pd.concat([order_tables([mine], prompt, scores).assign(labels=prompt) for prompt in mine.reads])


def word_rates(worded: pd.DataFrame) -> pd.DataFrame:
    """Return the rates of a table of `by_words`, by template."""
    return _rates(worded, ["both", "random", "position", "first", "agree"], ["labels"], "case")


def noise(study: Study, repeats: int, seed: int) -> pd.DataFrame:
    """Return the accuracy of noisy judges with the noise taken out, by its model and as the published code does.

    Args:
        study: Its first set is asked.
        repeats: Verdicts drawn per reading.
        seed: Of the draws.

    Returns:
        Columns `q planted`, `q found`, `true`, `observed`, `by`, the estimate with its interval, and `outside`; empty
        where nobody says which answers are better.
    """
    cases, asked, rows = study.sets[study.first], study.asked(study.first), []
    for q in FLIPS:
        (noisy,) = planted.judged(["noisy"], asked, cases, q=q)
        table = order_tables([noisy], study.forms[0].key, cases.scores).dropna(subset=["p_right"])
        if table.empty:
            continue
        draws = np.random.default_rng(seed).random((len(table), repeats))
        votes = (draws < table["p_right"].to_numpy()[:, None]) * 1.0
        found = float(flip_rate_of(repeated_agreement(votes).mean()))
        about = {"q planted": q, "q found": found, "true": table["random"].mean(), "observed": votes.mean()}
        rows += [{**about, "by": by, **without_noise(votes, table["case"], by)} for by in get_args(Noise)]
    columns = ["q planted", "q found", "true", "observed", "by", "mean", "low", "high", "n", "outside"]
    table = pd.DataFrame(rows, columns=columns)
    table.attrs["reason"] = "nobody says which answers are better"
    return table


def own_rate(study: Study, orders: pd.DataFrame, metric: str) -> Interval:
    """Return a rate of the judge over all sets, with its interval over questions."""
    mine = own(study, orders)
    return interval(mine[metric], mine["cluster"], "bootstrap", bounds=RATES[metric][1])


def findings(study: Study, orders: pd.DataFrame, worded: pd.DataFrame, seed: int) -> list[Finding]:
    """Return the claims of Wei et al. and of this notebook, tested on the judge.

    Args:
        study: What was asked.
        orders: Made by `orders`.
        worded: Made by `by_words`.
        seed: Of the bootstrap of the length bias.
    """
    source, here, mine = "Wei et al., arXiv 2408.13006", "this notebook", own(study, orders)
    same = interval(mine["agree"] * (mine["ties"] == 0), mine["cluster"], "bootstrap", bounds=SHARE)  # no two ties
    both, position, right = (own_rate(study, orders, name) for name in ("both", "position", "random"))
    blind = unless(right, "above", 0.5, "the judge cannot be told from a coin")
    shift = position_shift(worded, study.forms[0].key, study.forms[-1].key)
    length = length_bias(mine.assign(case=mine["cluster"]), seed=seed)
    seventy = "The judge is right in both orders on less than 70% of the pairs (best there 67 %)"
    another = f"With the label words of {study.forms[-1].name} its position bias is another by more than 0.05"
    longer = "Longer good answers are judged more accurately (GPT-4o: by 0.08 to 0.37)"
    return [
        finding(seventy, source, both, "below", 0.7, blind),
        finding("The judge favours the first slot", here, position, "above"),
        finding(f"{another} (there both signs occur)", source, shift, "above", 0.05),
        finding(longer, source, length, "above"),
        finding("Both orders name the same answer more often than not", here, same, "above", 0.5),
        finding("The judge is right more often than chance", here, right, "above", 0.5),
    ]


def draw_position(rates: pd.DataFrame) -> Figure:
    """Draw the position bias of every judge on every set."""
    look: dict[str, Any] = {"baseline": 0.0, "baseline_name": "no bias"}
    label = "position bias (+1 always the first, −1 always the second)"
    drawn = figures.intervals(rates[rates["metric"] == "position"], "judge", by="data", xlabel=label, **look)
    return described(drawn, "Position bias of the model and the planted judges on each data set.")


def draw_slots(study: Study, orders: pd.DataFrame) -> Figure:
    """Draw how far each pair is pulled to a position, as a histogram."""
    label = "p(first) − p(second), mean of both orders"
    drawn = figures.distribution(own(study, orders)["slot_margin"], (-1, 1), label, "pairs")
    return described(drawn, "Histogram over pairs of the probability of the first answer minus that of the second.")


def draw_length(rates: pd.DataFrame) -> Figure:
    """Draw how often every judge names the longer answer."""
    look: dict[str, Any] = {"baseline": 0.5, "baseline_name": "no preference"}
    label = "proportion of verdicts for the longer answer"
    drawn = figures.intervals(rates[rates["metric"] == "longer"], "judge", by="data", xlabel=label, **look)
    return described(drawn, "How often each judge names the longer answer.")


def draw_words(rates: pd.DataFrame) -> Figure:
    """Draw accuracy and preference for the first answer by label words."""
    shown = rates[rates["metric"].isin(["first", "random"])]
    label = "proportion of verdicts: right (random), and for the first answer (first)"
    drawn = figures.intervals(shown, "labels", by="metric", baseline=0.5, xlabel=label)
    return described(drawn, "Proportion of verdicts that name the first answer, and accuracy, by label words.")


def draw_reliability(study: Study, orders: pd.DataFrame) -> Figure | None:
    """Draw the accuracy of the verdict averaged over both orders against its probability; None without any scores."""
    known = own(study, orders).dropna(subset=["p_right"])["p_right"]
    if known.empty:
        return None
    report = calibration_report(np.maximum(known, 1 - known), (known > 0.5).astype(float))
    return described(figures.reliability(report), "Accuracy of the order-averaged verdict against its probability.")


def _rates(table: pd.DataFrame, columns: list[str], by: Sequence[str], cluster: str) -> pd.DataFrame:
    bounds = {name: RATES[name][1] for name in columns}
    return summarise(table, columns, by=list(by), cluster=cluster, method="bootstrap", draws=500, bounds=bounds)
