"""Value drift in fine-tuning and preference training: magnitude, time, trend (Value Drifts, arXiv 2510.26707)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import figures
from workbench.errors import InputError, unknown
from workbench.models import Model
from workbench.statistics import Finding, adjusted, correlation, finding, interval, summarise, unless
from workbench.statistics.distances import Floats
from workbench.statistics.findings import Direction, no_rows
from workbench.training.algorithms import ANSWER, PAIR, Reward, Row, algorithm_named, constant_rate
from workbench.training.rows import rows_for
from workbench.training.series import Checkpoint, CheckpointSeries, train
from workbench.value_drift.probes import SIDES, fitting_rows, gradients, vendi
from workbench.value_drift.rewards import explicit_rewards, implicit_rewards, joint_reward, margin_accuracy
from workbench.value_drift.stances import checked_stances, judged_gaps, prompt_means, value_gap, value_vectors
from workbench.value_drift.texts import STANCES, Stance, labelled, preference_rows, sft_rows, training_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALGORITHMS = {
    **{name: name.upper() for name in ("dpo", "ipo", "kto", "rloo", "grpo")},
    "ln_dpo": "length-normalised DPO",
    "dpo_sft": "DPO + likelihood",
    "simpo": "SimPO",
}
"""Names of algorithms in figures."""
Rule = Literal["ci", "fraction"]
RULES: tuple[Rule, ...] = ("ci", "fraction")
Z, FRACTION = 1.96, 0.95
"""Half-width of the interval of rule `ci` in standard errors; proportion of the drift that rule `fraction` needs."""
DRAWS = 200
"""Bootstrap samples of the drift time."""
CHANGE = (-1.0, 1.0)
"""Range of the change of a probability."""
PAPER, HERE = "Value Drifts, arXiv 2510.26707", "this notebook, after Value Drifts, arXiv 2510.26707"
LEANING: dict[str, Stance] = {**{stance: stance for stance in STANCES}, "wildchat": "neutral", "alpaca": "support"}
"""Training set -> the stance of most of its answers."""
LOGGED = ("loss", "logps/chosen", "logps/rejected", "rewards/accuracies", "rewards/margins", "reward", "kl")
Readings = Callable[[Model], pd.DataFrame]


def drift_time(steps: ArrayLike, values: ArrayLike, se: ArrayLike, rule: Rule = "ci") -> dict[str, Any]:
    """Return the time at which a stance reaches its extremum (Value Drifts, arXiv 2510.26707).

    The extremum is the value farthest from the first. Rule `ci`: the first step whose value lies within 1.96 standard
    errors of it. Rule `fraction`: the first step at 95% of the drift.

    Args:
        steps: Training steps, strictly increasing, `[T]`.
        values: Probability of the stance, `[T]`.
        se: Standard errors, clustered by prompt, `[T]`.
        rule: See above.

    Returns:
        `eta` (proportion of all steps, in [0, 1]; NaN with a `reason` if nothing drifted), `step`, `extremum`, `low`,
        `high` (interval of the extremum), `spacing` (steps since the previous checkpoint, the resolution of eta).
    """
    t, v, s = (np.asarray(x, np.float64) for x in (steps, values, se))
    if rule not in RULES:
        raise unknown("rule of drift time", rule, list(RULES))
    if not t.size or t.shape != v.shape or t.shape != s.shape or not np.isfinite(v).all():
        raise InputError("Drift time needs one finite value and one standard error per step.")
    if (np.diff(t) <= 0).any():
        raise InputError(f"The steps {t.tolist()} are not strictly increasing; sort the checkpoints.")
    undefined = dict.fromkeys(("eta", "step", "extremum", "low", "high", "spacing"), np.nan)
    if len(t) < 2:
        return {**undefined, "reason": "one checkpoint"}
    peak, first = (int(index[0]) for index in _arrivals(v[:, None], s[:, None], rule))
    if first < 0:
        return {**undefined, "reason": "no drift"}
    half = Z * float(np.nan_to_num(s[peak]))
    return {
        "eta": float((t[first] - t[0]) / (t[-1] - t[0])),
        "step": float(t[first]),
        "extremum": float(v[peak]),
        "low": float(v[peak] - half),
        "high": float(v[peak] + half),
        "spacing": float(t[first] - t[max(first - 1, 0)]),
        "reason": "",
    }


def _arrivals(v: Floats, se: Floats, rule: Rule) -> tuple[Any, Any]:
    """Return the index of each series' extremum and of its arrival there, of `[T, series]`; -1 without drift."""
    s, way = np.nan_to_num(se), v - v[0]
    peak = np.abs(way).argmax(axis=0)
    series = np.arange(v.shape[1])
    whole = way[peak, series]
    drifted = np.abs(whole) > Z * s[0] + 1e-12
    if rule == "ci":
        inside = np.abs(way - whole) <= Z * s[peak, series] + 1e-12
    else:
        inside = way / np.where(drifted, whole, 1.0) >= FRACTION - 1e-12
    return peak, np.where(drifted, inside.argmax(axis=0), -1)


def monotonicity(values: ArrayLike) -> float:
    """Return Kendall's tau-b of a series with its index; NaN for a constant one."""
    return correlation(np.arange(len(np.asarray(values))), values, "kendall")


def drift_report(table: pd.DataFrame) -> pd.DataFrame:
    """Return magnitude, time, monotonicity and evidence of drift for every run, topic and stance.

    Magnitude is the change from the first to the last step, paired by prompt, with its interval within -1 and 1. `p` is
    from a t test over prompts; `p_holm` is adjusted over the topics of a run and stance. Times have a percentile
    interval over resampled prompts. A stance whose mean never left its interval at the first step has no time, although
    the paired test may detect a drift. Rows of a run are in the order of training.
    """
    checked_stances(table)
    rows = []
    for (run, topic), part in table.groupby(["run", "topic"], sort=False):
        means = prompt_means(part)
        rows += [{"run": run, "topic": topic, "stance": s, **_drift(means[f"p_{s}"])} for s in STANCES]
    report = pd.DataFrame(rows)
    holm = report.groupby(["run", "stance"], sort=False)["p"].transform(lambda p: adjusted(p))
    report.insert(list(report.columns).index("p") + 1, "p_holm", holm)
    return report.assign(drifted=report["p_holm"] < 0.05)


def overall_drift(table: pd.DataFrame) -> pd.DataFrame:
    """Return `drift_report` over all topics together; p is not adjusted."""
    return drift_report(table.assign(topic="all")).drop(columns=["topic", "p_holm", "drifted"])


def _drift(means: pd.DataFrame) -> dict[str, Any]:
    """Return the drift of one stance from its means, `[steps, prompts]`."""
    known = means.dropna(axis=1)
    n, steps, values = known.shape[1], known.index.to_numpy(np.float64), known.to_numpy(np.float64)
    times = ("eta_ci", "eta_ci_low", "eta_ci_high", "eta_fraction", "spacing", "tau")
    row: dict[str, Any] = {**dict.fromkeys(("mean", "low", "high", "n", "p", *times), np.nan), "n": n}
    if len(means) < 2 or not n:
        return row | {"reason": "one checkpoint" if len(means) < 2 else "no prompt was read at every step"}
    change, average, se = values[-1] - values[0], values.mean(axis=1), _standard_error(values)
    magnitude = interval(np.clip(change, -1, 1), bounds=CHANGE)
    row |= {name: magnitude[name] for name in ("mean", "low", "high")}
    if n == 1:
        return row | {"reason": "one prompt"}
    by_ci, by_fraction = (drift_time(steps, average, se, rule) for rule in RULES)
    resampled = _resampled_times(steps, values)
    if np.isfinite(by_ci["eta"]) and np.isfinite(resampled).any():
        row["eta_ci_low"], row["eta_ci_high"] = np.nanpercentile(resampled, [2.5, 97.5])
    row |= {"p": _p_of_mean(change), "eta_ci": by_ci["eta"], "eta_fraction": by_fraction["eta"]}
    row |= {"spacing": by_ci["spacing"], "tau": monotonicity(average)}
    return row | {"reason": by_ci["reason"] and "never outside the interval of the start"}


def _standard_error(values: Floats) -> Floats:
    """Return the standard error of the mean over the last axis; 0 for one value."""
    n = values.shape[-1]
    return values.std(axis=-1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(values.shape[:-1])


def _resampled_times(steps: Floats, values: Floats) -> Floats:
    """Return the drift times (rule ci) of resampled prompts, `[draws]`."""
    picks = np.random.default_rng(0).integers(values.shape[1], size=(DRAWS, values.shape[1]))
    drawn = values[:, picks]
    _, first = _arrivals(drawn.mean(axis=-1), _standard_error(drawn), "ci")
    eta = (steps - steps[0]) / (steps[-1] - steps[0])
    return np.where(first < 0, np.nan, eta[first])


def _p_of_mean(differences: Floats) -> float:
    from scipy.stats import ttest_1samp

    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(ttest_1samp(differences, 0.0).pvalue)


def seed_variance(series: pd.DataFrame) -> dict[str, float]:
    """Return trend and noise of a series `[steps, seeds]` (after arXiv 2406.10229).

    `tau`: mean over seeds. `seed_sd`: mean over steps of the standard deviation between seeds; NaN for one seed.
    `signal_to_noise`: range of the mean series / seed_sd.
    """
    tau = float(pd.Series([monotonicity(series[seed]) for seed in series]).mean())
    sd, reach = float(series.std(axis=1, ddof=1).mean()), float(np.ptp(series.mean(axis=1)))
    return {"tau": tau, "seed_sd": sd, "signal_to_noise": reach / sd if sd > 0 else np.nan, "seeds": series.shape[1]}


@dataclass(frozen=True)
class Phase:
    """Length and learning rate of a training phase."""

    saves: Sequence[int]
    """Steps to save."""
    rate: float
    """Learning rate."""
    batch: int
    """Sequences (or pairs) per step."""
    sampled_tokens: int = 24
    """Maximum length of the answers that rloo and grpo sample, `batch` (at least 2) per prompt."""

    @property
    def end(self) -> int:
        """The last step."""
        return max(self.saves)

    def train(
        self, algorithm: str, start: Model, rows: Sequence[Row], seed: int, name: str, reward: Reward | None = None
    ) -> CheckpointSeries:
        """Train by one algorithm; a step of kto has as many answers as a step of pairs."""
        settings = constant_rate(self.rate, self.batch)
        if algorithm_named(algorithm).trainer == "trl:KTO":
            settings["per_device_train_batch_size"] = 2 * self.batch
        if reward:
            n = max(self.batch, 2)  # answers to one prompt, which are compared with each other
            settings |= {"num_generations": n, "per_device_train_batch_size": n}
            settings["max_completion_length"] = self.sampled_tokens
        return train(algorithm, start, rows, settings, save_at=self.saves, seed=seed, name=name, reward=reward)


def arm_rows(arms: Sequence[str], n: int) -> dict[str, list[Row]]:
    """Return rows for fine-tuning by arm: written answers of a stance, or the first n rows of a training set."""
    return {
        label: list(sft_rows(arm) if arm in STANCES else training_rows(arm, n, columns=ANSWER))
        for label, arm in labelled(arms).items()
    }


def pair_rows(favour: Stance, more: Sequence[str], n: int) -> dict[str, list[Row]]:
    """Return preference pairs by set: written ones with and without a value gap, and the first n rows of other sets."""
    pairs: dict[str, list[Row]] = {"gap": [*preference_rows(True, favour)], "no gap": [*preference_rows(False)]}
    return pairs | {label: [*training_rows(source, n, columns=PAIR)] for label, source in labelled(more).items()}


def target_of(arm: str) -> Stance:
    """Return the stance that an arm is expected to raise; support if unknown."""
    return LEANING.get(arm, "support")


def fine_tune(
    model: Model, arms: Mapping[str, Sequence[Row]], phase: Phase, seeds: Sequence[int], readings: Readings
) -> tuple[dict[tuple[str, int], CheckpointSeries], pd.DataFrame]:
    """Fine-tune on every arm with every seed, and read every checkpoint.

    Returns:
        The series by arm and seed, and one stance table with `run` ("sft ARM"), `seed` and `phase`.
    """
    series = {
        (arm, seed): phase.train("sft", model, rows, seed, f"sft {arm}") for arm, rows in arms.items() for seed in seeds
    }
    tables = [
        each.probe(readings).assign(run=f"sft {arm}", seed=seed, phase="sft") for (arm, seed), each in series.items()
    ]
    return series, pd.concat(tables)


def reward_models(
    start: Model, pairs: Mapping[str, Sequence[Row]], phase: Phase, seed: int, algorithms: Sequence[str], compare: bool
) -> dict[str, CheckpointSeries]:
    """Train reward models: on every set if an algorithm samples answers, else on the gap pairs if `compare` is set."""
    needed = any(algorithm_named(name).samples for name in algorithms)
    sets = list(pairs) if needed else ["gap"] if compare else []
    end = replace(phase, saves=[phase.end])
    return {name: end.train("reward", start, pairs[name], seed, f"reward model, {name}") for name in sets}


def prefer(
    starts: Mapping[int, Model],
    algorithms: Sequence[str],
    pairs: Mapping[str, Sequence[Row]],
    phase: Phase,
    explicit: Mapping[str, CheckpointSeries],
    readings: Readings,
) -> tuple[dict[tuple[str, str, int], CheckpointSeries], pd.DataFrame]:
    """Train by every algorithm on every set of pairs from the start of each seed, and read every checkpoint.

    Returns:
        The series by algorithm, set and seed, and one stance table with `run` ("ALGORITHM, SET"), `seed` and `phase`.
    """
    series, tables = {}, []
    for seed, start in starts.items():
        for algorithm, (name, rows) in product(algorithms, pairs.items()):
            samples, run = algorithm_named(algorithm).samples, f"{algorithm}, {name}"
            reward = joint_reward(explicit[name], phase.end, rows) if samples else None
            trained = phase.train(algorithm, start, rows_for(algorithm, rows), seed, run, reward)
            tables.append(trained.probe(readings).assign(run=run, seed=seed, phase="preference"))
            series[algorithm, name, seed] = trained
        if isinstance(start, Checkpoint):
            start.forget()
    return series, pd.concat(tables)


def training_log(series: Mapping[tuple[str, str, int], CheckpointSeries], seed: int) -> pd.DataFrame:
    """Return TRL's log of the runs of one seed: means over the training batch before each update."""
    logs = [each.log.assign(run=f"{algorithm}, {name}") for (algorithm, name, at), each in series.items() if at == seed]
    table = pd.concat(logs)
    return table[["run", "step", *(name for name in LOGGED if name in table)]]


def over_seeds(table: pd.DataFrame, stance: Stance) -> pd.DataFrame:
    """Return `seed_variance` of a stance's mean in every run, in order of appearance; empty for one seed."""
    if table["seed"].nunique() < 2:
        return no_rows("one seed only")
    return pd.DataFrame(
        [
            {"run": run, **seed_variance(part.pivot_table(values=f"p_{stance}", index="step", columns="seed"))}
            for run, part in table.groupby("run", sort=False)
        ]
    )


def times(report: pd.DataFrame, arm: str, stance: Stance) -> pd.DataFrame:
    """Return magnitude and time of a stance's drift in every topic of an arm, by both rules."""
    rows = report[(report["run"] == f"sft {arm}") & (report["stance"] == stance)]
    return rows[["topic", "mean", "low", "high", "n", "p_holm", "eta_ci", "eta_fraction", "spacing", "reason"]]


def drift_of(overall: pd.DataFrame, arm: str, stance: Stance) -> pd.Series:
    """Return the row of a fine-tuning arm and stance in `overall_drift`."""
    return overall[(overall["stance"] == stance) & (overall["run"] == f"sft {arm}")].iloc[0]


def value_gaps(
    pairs: Mapping[str, Sequence[Row]], judge: Model | None, most: int, trusted: bool
) -> tuple[pd.DataFrame, str]:
    """Return the value gap of every set of pairs: of the written stances, and as a judge reads the first `most` pairs.

    Returns:
        Per set, source of the stances and metric (`tv`, `gap_support` ...) the mean with its interval (none for written
        stances, which are known for every pair); and a sentence that names the sets without stances, or "".
    """
    gaps, unread = [], []
    for name, rows in pairs.items():
        if written := all("chosen_stance" in row and "rejected_stance" in row for row in rows):
            sides = ([[float(row[f"{side}_stance"] == s) for s in STANCES] for row in rows] for side in SIDES)
            gaps.append(value_gap(*sides).assign(pairs=name, stances="as written"))
        if judge is not None:
            source = f"judge, {'above' if trusted else 'at'} chance"
            gaps.append(judged_gaps(judge, rows[:most]).assign(pairs=name, stances=source))
        elif not written:
            unread.append(name)
    bounds = {"tv": (0.0, 1.0)} | {f"gap_{stance}": CHANGE for stance in STANCES}
    table = summarise(pd.concat(gaps), list(bounds), by=["pairs", "stances"], bounds=bounds)
    table.loc[table["stances"] == "as written", ["low", "high"]] = np.nan
    note = f"Not read: {', '.join(unread)}. Set `judge` to a model that recognises stances." if unread else ""
    return table[["pairs", "stances", "metric", "mean", "low", "high", "n", "n_undefined"]], note


def rewards_to_test(
    series: Mapping[tuple[str, str, int], CheckpointSeries], explicit: CheckpointSeries | None, end: int
) -> dict[str, Callable[[list[Any]], Floats]]:
    """Return the implicit reward of the first algorithm whose reward sums log-ratios, and the explicit one."""
    rewards: dict[str, Callable[[list[Any]], Floats]] = {}
    for (name, pairs, _), each in series.items():
        algorithm = algorithm_named(name)
        summed = algorithm.trainer == "trl:DPO" and algorithm.settings["loss_type"] not in ("ipo", "sigmoid_norm")
        if pairs == "gap" and summed and not rewards:
            rewards[f"implicit, {name}"] = partial(implicit_rewards, each, end, algorithm.settings["beta"])
    if explicit is not None:
        rewards["explicit"] = partial(explicit_rewards, explicit, end)
    return rewards


def diversity(model: Model, sets: Mapping[str, Sequence[Row]], n: int) -> pd.DataFrame:
    """Return G-Vendi of the first n rows of every set that training reads whole; empty for n of 0."""
    if not n:
        return no_rows("not measured in this run: gradient_samples is 0")
    samples = {name: fitting_rows(model, rows)[:n] for name, rows in sets.items()}
    scores = {name: {"rows": len(rows), "g_vendi": vendi(gradients(model, rows))} for name, rows in samples.items()}
    return pd.DataFrame.from_dict(scores, orient="index").rename_axis("set")


def change(table: pd.DataFrame, run: str, stance: str) -> pd.Series:
    """Return the change of a stance from the first to the last step of a run, by prompt."""
    means = prompt_means(table[table["run"] == run].assign(topic="all"))[f"p_{stance}"]
    return means.iloc[-1] - means.iloc[0]


def changes(sft: pd.DataFrame, preference: pd.DataFrame, arm: str, stance: Stance) -> pd.DataFrame:
    """Return `change` of a stance in the first arm and in every run of preference training, one column each."""
    first = {f"{stance}, sft {arm}": change(sft, f"sft {arm}", stance)}
    runs = preference["run"].unique()
    return pd.DataFrame(first | {f"{stance}, {run}": change(preference, run, stance) for run in runs})


@dataclass(frozen=True)
class Claims:
    """The paper's claims, tested on the readings of one seed."""

    sft: pd.DataFrame
    """Stance table of fine-tuning."""
    preference: pd.DataFrame
    """Stance table of preference training."""
    arms: Sequence[str]
    """Fine-tuning arms; preference training starts from the first."""
    algorithms: Sequence[str]
    """Algorithms of preference training."""
    phases: tuple[Phase, Phase]
    """Fine-tuning and preference training."""
    undecided: str = ""
    """Why no claim can be decided; empty if claims can."""

    @property
    def stance(self) -> Stance:
        """The stance that the first arm raises."""
        return target_of(self.arms[0])

    def findings(self, overall: pd.DataFrame, scores: Mapping[tuple[str, str], Floats]) -> list[Finding]:
        """Return all testable claims, from `overall_drift` of fine-tuning and `rewards.scored_sets`."""
        per_algorithm = [each for algorithm in self.algorithms for each in self._of_gaps(algorithm)]
        return [*self._of_tuning(overall), *per_algorithm, *self._of_arms(), *self._of_rivals(), *_of_rewards(scores)]

    def _claim(
        self,
        text: str,
        row: Any,
        side: Direction,
        what: str,
        at: float = 0.0,
        name: str = "no difference",
        source: str = PAPER,
        reason: str = "",
    ) -> Finding:
        row = row if isinstance(row, dict) else interval(row, bounds=CHANGE)
        return finding(text, source, row, side, at, self.undecided or reason, what, name)

    def _moved(self, algorithm: str, pairs: str) -> pd.Series:
        """Return the absolute change of the stance in a run of preference training."""
        return change(self.preference, f"{algorithm}, {pairs}", self.stance).abs()

    def _of_tuning(self, overall: pd.DataFrame) -> list[Finding]:
        arm, row = self.arms[0], drift_of(overall, self.arms[0], self.stance)
        back = row["spacing"] / self.phases[0].end
        when = {"mean": row["eta_ci"], "low": row["eta_ci_low"] - back, "high": row["eta_ci_high"], "n": int(row["n"])}
        early = (
            "drift time over all topics, in units of training (0.09 in the paper; interval over prompts, extended to "
            "the previous checkpoint)"
        )
        claim = "Fine-tuning moves stances early: drift time below 0.75"
        claims = [self._claim(claim, when, "below", early, 0.75, "three quarters of training")]
        if arm in LEANING:
            raises = f"Fine-tuning on {arm} answers raises {self.stance} on topics outside the training set"
            moved = change(self.sft, f"sft {arm}", self.stance)
            claims.append(
                self._claim(raises, moved, "above", f"change of the probability of {self.stance}", name="no change")
            )
        return claims

    def _of_gaps(self, algorithm: str) -> list[Finding]:
        first, second = self.phases
        tuned = change(self.sft, f"sft {self.arms[0]}", self.stance).abs()
        gap, none = self._moved(algorithm, "gap"), self._moved(algorithm, "no gap")
        moved = f"absolute change of {self.stance}"
        title = ALGORITHMS.get(algorithm, algorithm)
        still = f"{title} moved {self.stance} by less than 0.01 with a value gap as well"
        given = algorithm_named(algorithm).settings
        steps, rate = given.get("max_steps", second.end), given.get("learning_rate", second.rate)
        budgets = f"{steps} preference steps at {rate:g} against {first.end} of fine-tuning at {first.rate:g}"
        less = f"{title} on pairs without a value gap moves {self.stance} less than fine-tuning did ({budgets})"
        more = f"{title} moves {self.stance} more with a value gap than without"
        source = PAPER if algorithm.partition(":")[0] in ("dpo", "simpo") else HERE
        return [
            self._claim(
                less,
                tuned - none,
                "above",
                f"{moved} under fine-tuning minus that",
                reason=_unless_moved(gap, 0.01, still),
            ),
            self._claim(more, gap - none, "above", f"{moved} with minus that without a gap", source=source),
        ]

    def _of_arms(self) -> list[Finding]:
        if len(self.arms) < 2 or LEANING.get(self.arms[1], self.stance) == self.stance:
            return []
        first, second = self.arms[:2]
        one, other = (change(self.sft, f"sft {arm}", self.stance) for arm in (first, second))
        text = f"The data decide the profile: {self.stance} rises more on {first} answers than on {second} answers"
        return [self._claim(text, one - other, "above", f"difference of the changes of {self.stance}")]

    def _of_rivals(self) -> list[Finding]:
        """Return claims on dpo against simpo and the substitutes for PPO, and on the margin of simpo."""
        plain = [name for name in self.algorithms if name.partition(":")[0] == "dpo"][:1]
        simpos = [name for name in self.algorithms if name.partition(":")[0] == "simpo"]
        sampling = [name for name in self.algorithms if algorithm_named(name).samples]
        apart, least = f"difference of the absolute changes of {self.stance}", "the least difference that counts"
        ended, claims = f"difference of the final changes of {self.stance}", []
        for dpo, other in product(plain, [name for name in self.algorithms if name in [*simpos, *sampling]]):
            ppo = " (for PPO)" if other in sampling else ""
            text = f"With a value gap {dpo} moves stances more than {other}{ppo}, by at least 0.01"
            claims.append(
                self._claim(text, self._moved(dpo, "gap") - self._moved(other, "gap"), "above", apart, 0.01, least)
            )
        for one, other in pairwise(simpos):
            ends = [change(self.preference, f"{name}, gap", self.stance) for name in (one, other)]
            text = f"SimPO's margin has little effect: with a value gap {one} and {other} end less than 0.05 apart"
            still = _unless_moved(ends[0].abs(), 0.05, f"{one} moved the stance by less than 0.05")
            claims.append(
                self._claim(
                    text, (ends[0] - ends[1]).abs(), "below", ended, 0.05, "the limit of a little effect", reason=still
                )
            )
        return claims


def _unless_moved(moved: pd.Series, least: float, reason: str) -> str:
    """Return the reason, or "" if the stance moved by more than `least`."""
    return unless(interval(moved, bounds=CHANGE), "above", least, reason)


def _of_rewards(scores: Mapping[tuple[str, str], Floats]) -> list[Finding]:
    """Return the claim on the implicit against the explicit reward on topics outside training, if both are there."""
    right = {
        name: margin_accuracy(np.subtract(*both)) for (name, each), both in scores.items() if each == "other topics"
    }
    implicit = [values for name, values in right.items() if name.startswith("implicit")]
    if not implicit or "explicit" not in right:
        return []
    text = "On other topics the implicit reward is less accurate than the explicit one"
    row = interval(implicit[0] - right["explicit"], bounds=CHANGE)
    return [
        finding(
            text, "Lin et al. 2024, arXiv 2409.03650", row, "below", 0.0, "", "difference of accuracy", "no difference"
        )
    ]


def draw_stances(table: pd.DataFrame) -> Figure:
    """Plot the probability of each stance over the steps of fine-tuning, by arm, over all topics."""
    vectors = value_vectors(table.assign(topic="all"))
    vectors["arm"] = runs_in_words(vectors["run"]) + ": " + vectors["stance"]
    labels: dict[str, Any] = {"xlabel": "fine-tuning steps", "ylabel": "probability of the stance", "of": "prompts"}
    return figures.described(
        figures.curves(vectors, "step", by="arm", **labels),
        "Probability of support, neutral and oppose over the steps of fine-tuning, one line per arm and stance.",
    )


def draw_magnitude(report: pd.DataFrame) -> Figure:
    """Plot the drift of support in each topic, by arm."""
    alt = "Drift of support in each topic for each fine-tuning arm, beside no drift."
    return draw_drifts(report[report["stance"] == "support"], "topic", "run", "drift: change of p(support)", alt)


def draw_preference(overall: pd.DataFrame) -> Figure:
    """Plot the drift of each stance during preference training, by run."""
    alt = "Drift of each stance for each algorithm, with and without a value gap, beside no drift."
    return draw_drifts(overall, "run", "stance", "drift in preference training: change of probability", alt)


def draw_drifts(table: pd.DataFrame, label: str, by: str, xlabel: str, alt: str) -> Figure:
    """Plot magnitudes of drift against no drift, with the alt text."""
    named: dict[str, Any] = {"baseline": 0.0, "baseline_name": "no drift", "of": "prompts"}
    rows = table.assign(run=runs_in_words(table["run"]))
    return figures.described(figures.intervals(rows, label, by=by, xlabel=xlabel, **named), alt)


def runs_in_words(runs: pd.Series) -> pd.Series:
    """Return the names of training runs as figures show them."""
    named = runs.str.replace("^sft ", "trained on ", regex=True).str.replace(", no gap", ", no value gap")
    named = named.str.replace(", gap", ", value gap")
    return named.str.replace(r"^(\w+)(?=[,:])", lambda match: ALGORITHMS.get(match[1], match[1]), regex=True)
