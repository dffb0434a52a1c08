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
from workbench.statistics import Finding, adjusted, finding, interval, summarise, unless
from workbench.statistics.distances import Floats
from workbench.statistics.findings import Direction
from workbench.training.algorithms import ANSWER, PAIR, Reward, Row, algorithm_named, constant_rate, rows_for
from workbench.training.series import Checkpoint, CheckpointSeries, train
from workbench.value_drift.probes import fitting_rows, gradients
from workbench.value_drift.rewards import explicit_rewards, implicit_rewards, joint_reward, margin_accuracy
from workbench.value_drift.stances import (
    PARTS,
    check_stances,
    judged_gaps,
    prompt_means,
    value_gap,
    value_vectors,
)
from workbench.value_drift.texts import STANCES, Stance, labels_of, preference_rows, sft_rows, training_rows, vendi

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rule = Literal["ci", "fraction"]
RULES: tuple[Rule, ...] = ("ci", "fraction")
Z = 1.959963984540054
FRACTION = 0.95
"""Share of the whole drift after which the rule `fraction` calls it done."""


def drift_time(
    steps: ArrayLike, values: ArrayLike, se: ArrayLike, rule: Rule = "ci", level_z: float = 1.96
) -> dict[str, Any]:
    """When a stance arrived at its extremum (Value Drifts, arXiv 2510.26707; the interval is over prompts).

    The extremum is the value farthest from the first. Rule `ci`: the first step whose value lies within
    `level_z` standard errors of it. Rule `fraction`: the first step after 95% of the way.

    Args:
        steps: Training steps, strictly increasing, `[T]`.
        values: Probability of the stance at each, `[T]`.
        se: Standard error of each, clustered by prompt, `[T]`.
        rule: See above.
        level_z: Half-width of the interval in standard errors.

    Returns:
        `eta` (share of all steps, in [0, 1]; NaN with a `reason` where nothing drifted), `step`, `extremum`,
        `low`, `high` (interval of the extremum), `spacing` (steps before the answer; eta is no finer than this).

    Raises:
        InputError: Steps do not increase, or a value is not finite.
    """
    t, v, s = (np.asarray(x, np.float64) for x in (steps, values, se))
    if rule not in RULES:
        raise unknown("rule of drift time", rule, list(RULES))
    if not t.size or t.shape != v.shape or t.shape != s.shape or not np.isfinite(v).all():
        raise InputError("Drift time needs one finite value and one standard error per step.")
    if (np.diff(t) <= 0).any():
        raise InputError(f"The steps {t.tolist()} are not strictly increasing; sort the checkpoints.")
    nothing = {"eta": np.nan, "step": np.nan, "extremum": np.nan, "low": np.nan, "high": np.nan, "spacing": np.nan}
    if len(t) < 2:
        return {**nothing, "reason": "one checkpoint"}
    peak, first = (int(found[0]) for found in _arrivals(v[:, None], s[:, None], rule, level_z))
    if first < 0:
        return {**nothing, "reason": "no drift"}
    half = level_z * float(np.nan_to_num(s[peak]))
    return {
        "eta": float((t[first] - t[0]) / (t[-1] - t[0])),
        "step": float(t[first]),
        "extremum": float(v[peak]),
        "low": float(v[peak] - half),
        "high": float(v[peak] + half),
        "spacing": float(t[first] - t[max(first - 1, 0)]),
        "reason": "",
    }


def _arrivals(v: Floats, se: Floats, rule: Rule, level_z: float = 1.96) -> tuple[Any, Any]:
    """Of each series in `[T, series]`, the index of its extremum and of its arrival there; -1 where nothing drifted."""
    s, way = np.nan_to_num(se), v - v[0]
    peak = np.abs(way).argmax(axis=0)
    series = np.arange(v.shape[1])
    whole = way[peak, series]
    drifted = np.abs(whole) > level_z * s[0] + 1e-12
    if rule == "ci":
        inside = np.abs(way - whole) <= level_z * s[peak, series] + 1e-12
    else:
        inside = way / np.where(drifted, whole, 1.0) >= FRACTION - 1e-12
    return peak, np.where(drifted, inside.argmax(axis=0), -1)


def monotonicity(values: ArrayLike, variant: Literal["a", "b"] = "b") -> float:
    """Kendall's tau of a series with its index; NaN for a constant one. Variant a leaves ties in the denominator."""
    from scipy.stats import kendalltau

    v = np.asarray(values, np.float64)
    if len(v) < 2 or np.ptp(v) == 0 or not np.isfinite(v).all():
        return float("nan")
    if variant == "b":
        return float(kendalltau(np.arange(len(v)), v).statistic)
    signs = np.sign(v[None, :] - v[:, None])[np.triu_indices(len(v), 1)]
    return float(signs.sum() / len(signs))


def seed_variance(table: pd.DataFrame, value: str = "mean", step: str = "step", seed: str = "seed") -> dict[str, float]:
    """How much of a series is signal (after arXiv 2406.10229): one row per step and seed.

    Returns:
        `tau` (mean over seeds), `seed_sd` (mean over steps of the deviation between seeds; NaN for one seed),
        `signal_to_noise` (range of the mean series / seed_sd).
    """
    wide = table.pivot(index=step, columns=seed, values=value).sort_index()
    taus = [monotonicity(wide[name]) for name in wide]
    sd = float(wide.std(axis=1, ddof=1).mean()) if wide.shape[1] > 1 else np.nan
    reach = float(np.ptp(wide.mean(axis=1)))
    tau = float(np.nanmean(taus)) if np.isfinite(taus).any() else np.nan
    return {"tau": tau, "seed_sd": sd, "signal_to_noise": reach / sd if sd > 0 else np.nan, "seeds": wide.shape[1]}


def drift_report(
    table: pd.DataFrame, stances: Sequence[str] = STANCES, draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Magnitude, time, monotonicity and evidence of drift for every run, topic and stance.

    Magnitude is the change from the first to the last step, paired by prompt, its interval within -1 and 1. p is of
    a t test over prompts; `p_holm` adjusts it over the topics of a run and stance. Times carry a percentile interval
    over resampled prompts; where the mean never left its interval at the first step there is none, though the test,
    which is paired by prompt, may tell a drift.

    Args:
        table: A stance table; rows of a run in the order of training.
        stances: Which of the three.
        draws: Bootstrap samples of the drift time.
        seed: Of the bootstrap.
    """
    check_stances(table)
    rows = []
    for (run, topic), part in table.groupby(["run", "topic"], sort=False):
        for stance in stances:
            rows.append(
                {"run": run, "topic": topic, "stance": stance, **_drift(prompt_means(part, stance), draws, seed)}
            )
    report = pd.DataFrame(rows)
    holm = report.groupby(["run", "stance"], sort=False)["p"].transform(lambda p: adjusted(p))
    report.insert(list(report.columns).index("p") + 1, "p_holm", holm)
    return report.assign(drifted=report["p_holm"] < 0.05)


def overall_drift(table: pd.DataFrame) -> pd.DataFrame:
    """The report of every run and stance over all topics together; p is not adjusted."""
    return drift_report(table.assign(topic="all")).drop(columns=["topic", "p_holm", "drifted"])


def _drift(wide: pd.DataFrame, draws: int, seed: int) -> dict[str, Any]:
    """The drift of one stance, `wide` `[steps, prompts]`."""
    known = wide.dropna(axis=1)
    times = dict.fromkeys(("eta_ci", "eta_ci_low", "eta_ci_high", "eta_fraction", "spacing", "tau"), np.nan)
    if len(wide) < 2 or known.shape[1] == 0:
        reason = "one checkpoint" if len(wide) < 2 else "no prompt was read at every step"
        empty = dict.fromkeys(("mean", "low", "high"), np.nan)
        return {**empty, "n": known.shape[1], "p": np.nan, **times, "reason": reason}
    values = known.to_numpy(np.float64)
    moved = _mean_change(values[-1] - values[0])
    if known.shape[1] == 1:
        return {
            **{name: moved[name] for name in ("mean", "low", "high", "n")},
            "p": np.nan,
            **times,
            "reason": "one prompt",
        }
    steps = known.index.to_numpy(np.float64)
    by_ci, by_fraction = (_time(steps, values, rule) for rule in RULES)
    resampled = _resampled_times(steps, values, draws, seed)
    timed = np.isfinite(by_ci["eta"]) and np.isfinite(resampled).any()
    low, high = np.nanpercentile(resampled, [2.5, 97.5]) if timed else (np.nan, np.nan)
    return {
        **{name: moved[name] for name in ("mean", "low", "high", "n")},
        "p": _p_of_mean(values[-1] - values[0]),
        "eta_ci": by_ci["eta"],
        "eta_ci_low": low,
        "eta_ci_high": high,
        "eta_fraction": by_fraction["eta"],
        "spacing": by_ci["spacing"],
        "tau": monotonicity(values.mean(axis=1)),
        "reason": by_ci["reason"] and "never outside the interval of the start",
    }


def _mean_change(changes: Floats) -> dict[str, Any]:
    """Mean change of a probability with its interval, which stays within -1 and 1."""
    return dict(interval(np.clip(changes, -1, 1), bounds=(-1, 1)))


def _time(steps: Floats, values: Floats, rule: Rule) -> dict[str, Any]:
    return drift_time(steps, values.mean(axis=1), _standard_error(values), rule)


def _standard_error(values: Floats) -> Floats:
    n = values.shape[-1]
    return values.std(axis=-1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(values.shape[:-1])


def _resampled_times(steps: Floats, values: Floats, draws: int, seed: int) -> Floats:
    """Drift times (rule ci) of resampled prompts, `[draws]`."""
    picks = np.random.default_rng(seed).integers(values.shape[1], size=(draws, values.shape[1]))
    drawn = values[:, picks]
    _, first = _arrivals(drawn.mean(axis=-1), _standard_error(drawn), "ci")
    share = (steps - steps[0]) / (steps[-1] - steps[0])
    return np.where(first < 0, np.nan, share[first])


def _p_of_mean(differences: Floats) -> float:
    from scipy.stats import ttest_1samp

    if len(differences) < 2:
        return float("nan")
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(ttest_1samp(differences, 0.0).pvalue)


PAPER, HERE = "Value Drifts, arXiv 2510.26707", "this notebook, after arXiv 2510.26707"
LEANING: dict[str, Stance] = {**{stance: stance for stance in STANCES}, "wildchat": "neutral", "alpaca": "support"}
"""The stance that answers of a training set mostly take."""
LOGGED = ("loss", "logps/chosen", "logps/rejected", "rewards/accuracies", "rewards/margins", "reward", "kl")
Readings = Callable[[Model], pd.DataFrame]


@dataclass(frozen=True)
class Phase:
    """How long and how fast a phase trains."""

    saves: Sequence[int]
    """Steps that are kept."""
    rate: float
    """Learning rate."""
    batch: int
    """Sequences (or pairs) in a step."""
    sampled_tokens: int = 24
    """Most tokens of answers that rloo and grpo sample, `batch` (2 at least) to a prompt."""

    @property
    def end(self) -> int:
        """The last step."""
        return max(self.saves)

    def train(
        self, algorithm: str, start: Model, rows: Sequence[Row], seed: int, name: str, reward: Reward | None = None
    ) -> CheckpointSeries:
        """Train once by an algorithm; kto sees as many answers in a step as there are in a step of pairs."""
        settings = constant_rate(self.rate, self.batch)
        if algorithm_named(algorithm).trainer == "trl:KTO":
            settings["per_device_train_batch_size"] = 2 * self.batch
        if reward:
            together = max(self.batch, 2)  # answers to one prompt, which are compared with each other
            settings |= {"num_generations": together, "per_device_train_batch_size": together}
            settings["max_completion_length"] = self.sampled_tokens
        return train(algorithm, start, rows, settings, save_at=self.saves, seed=seed, name=name, reward=reward)


def arm_rows(arms: Sequence[str], n: int) -> dict[str, list[Row]]:
    """Rows to fine-tune on by arm: written answers of a stance, or the first n rows of a training set."""
    return {
        label: list(sft_rows(name) if name in STANCES else training_rows(name, n, columns=ANSWER))
        for label, name in zip(labels_of(arms), arms)
    }


def pair_rows(favour: Stance, more: Sequence[str], n: int) -> dict[str, list[Row]]:
    """Preference pairs by set: written ones with and without a value gap, and the first n rows of further sets."""
    found: dict[str, list[Row]] = {"gap": [*preference_rows(True, favour)], "no gap": [*preference_rows(False)]}
    return found | {label: [*training_rows(name, n, columns=PAIR)] for label, name in zip(labels_of(more), more)}


def target_of(arm: str) -> Stance:
    """The stance that an arm is expected to raise; support where it is not known."""
    return LEANING.get(arm, "support")


def fine_tune(
    model: Model, arms: Mapping[str, Sequence[Row]], phase: Phase, seeds: Sequence[int], readings: Readings
) -> tuple[dict[tuple[str, int], CheckpointSeries], pd.DataFrame]:
    """Fine-tune on every arm under every seed, and read every checkpoint.

    Returns:
        The series by arm and seed; and one stance table with `run` ("sft ARM"), `seed` and `phase`.
    """
    series = {
        (arm, seed): phase.train("sft", model, rows, seed, f"sft {arm}") for arm, rows in arms.items() for seed in seeds
    }
    tables = [
        each.probe(readings).assign(run=f"sft {arm}", seed=seed, phase="sft") for (arm, seed), each in series.items()
    ]
    return series, pd.concat(tables)


def samples_answers(algorithm: str) -> bool:
    """Whether an algorithm samples answers and is given a reward, as rloo and grpo are."""
    return algorithm_named(algorithm).columns == ("prompt",)


def reward_models(
    start: Model, pairs: Mapping[str, Sequence[Row]], phase: Phase, seed: int, algorithms: Sequence[str], compare: bool
) -> dict[str, CheckpointSeries]:
    """Reward models of every set where an algorithm samples answers, else of the gap pairs alone, to `compare`."""
    wanted = list(pairs) if any(map(samples_answers, algorithms)) else ["gap"] if compare else []
    end = replace(phase, saves=[phase.end])
    return {name: end.train("reward", start, pairs[name], seed, f"reward model, {name}") for name in wanted}


def prefer(
    starts: Mapping[int, Model],
    algorithms: Sequence[str],
    pairs: Mapping[str, Sequence[Row]],
    phase: Phase,
    explicit: Mapping[str, CheckpointSeries],
    readings: Readings,
) -> tuple[dict[tuple[str, str, int], CheckpointSeries], pd.DataFrame]:
    """Train by every algorithm on every set of pairs, from the start of each seed, and read every checkpoint.

    Returns:
        The series by algorithm, set and seed; and one stance table with `run` ("ALGORITHM, SET"), `seed` and `phase`.
    """
    series, tables = {}, []
    for seed, start in starts.items():
        for algorithm, (name, rows) in product(algorithms, pairs.items()):
            reward = joint_reward(explicit[name], phase.end, rows) if samples_answers(algorithm) else None
            run = f"{algorithm}, {name}"
            trained = phase.train(algorithm, start, rows_for(algorithm, rows), seed, run, reward)
            tables.append(trained.probe(readings).assign(run=run, seed=seed, phase="preference"))
            series[algorithm, name, seed] = trained
        if isinstance(start, Checkpoint):
            start.forget()
    return series, pd.concat(tables)


def training_log(series: Mapping[tuple[str, str, int], CheckpointSeries], seed: int) -> pd.DataFrame:
    """What TRL logged under one seed: means over the training batch before the update."""
    logs = [each.log.assign(run=f"{algorithm}, {name}") for (algorithm, name, at), each in series.items() if at == seed]
    table = pd.concat(logs)
    return table[["run", "step", *(name for name in LOGGED if name in table)]]


def over_seeds(table: pd.DataFrame, stance: Stance) -> pd.DataFrame:
    """`seed_variance` of a stance's mean in every run, in order of appearance; no row for one seed."""
    if table["seed"].nunique() < 2:
        return _nothing("one seed only")
    rows = []
    for run, part in table.groupby("run", sort=False):
        means = part.groupby(["seed", "step"], as_index=False)[list(PARTS)].mean()
        rows.append({"run": run, **seed_variance(means, f"p_{stance}")})
    return pd.DataFrame(rows)


def times(report: pd.DataFrame, arm: str, stance: Stance) -> pd.DataFrame:
    """Magnitude of a stance's drift in every topic of an arm, and its time by both rules."""
    first = report[(report["run"] == f"sft {arm}") & (report["stance"] == stance)]
    kept = ["topic", "mean", "low", "high", "n", "p_holm", "eta_ci", "eta_fraction", "spacing", "reason"]
    return first[kept]


def drift_of(overall: pd.DataFrame, arm: str, stance: Stance) -> pd.Series:
    """The row of a fine-tuning arm and stance in `overall_drift`."""
    return overall[(overall["stance"] == stance) & (overall["run"] == f"sft {arm}")].iloc[0]


def value_gaps(
    pairs: Mapping[str, Sequence[Row]], judge: Model | None, most: int, trusted: bool
) -> tuple[pd.DataFrame, str]:
    """Value gap of every set of pairs: as written, and as a judge reads the first `most`.

    Returns:
        Per set, source of the stances and metric (`tv`, `gap_support` ...) the mean with its interval, which gaps as
        written, known of every pair, have not; and a sentence on the sets whose stances were not read, or "".
    """
    gaps, unread = [], []
    for name, rows in pairs.items():
        if written := all("chosen_stance" in row and "rejected_stance" in row for row in rows):
            sides = ([[float(row[f"{side}_stance"] == s) for s in STANCES] for row in rows] for side in PAIR[1:])
            gaps.append(value_gap(*sides).assign(pairs=name, stances="as written"))
        if judge is not None:
            said = f"judge, {'above chance' if trusted else 'not told from chance'}"
            gaps.append(judged_gaps(judge, rows[:most]).assign(pairs=name, stances=said))
        elif not written:
            unread.append(name)
    bounds = {"tv": (0.0, 1.0)} | {f"gap_{stance}": (-1.0, 1.0) for stance in STANCES}
    table = summarise(pd.concat(gaps), list(bounds), by=["pairs", "stances"], bounds=bounds)
    table.loc[table["stances"] == "as written", ["low", "high"]] = np.nan
    note = f"Not read: {', '.join(unread)}. Set `judge` to a model that can tell stances." if unread else ""
    return table[["pairs", "stances", "metric", "mean", "low", "high", "n", "n_undefined"]], note


def rewards_to_try(
    series: Mapping[tuple[str, str, int], CheckpointSeries], explicit: CheckpointSeries | None, end: int
) -> dict[str, Callable[[list[Any]], Floats]]:
    """The implicit reward of the first algorithm whose reward is a sum of log-ratios, and the explicit one."""
    found: dict[str, Callable[[list[Any]], Floats]] = {}
    for (algorithm, name, _), each in series.items():
        made = algorithm_named(algorithm)
        summed = made.trainer == "trl:DPO" and made.settings["loss_type"] not in ("ipo", "sigmoid_norm")
        if name == "gap" and summed and not found:
            found[f"implicit, {algorithm}"] = partial(implicit_rewards, each, end, made.settings["beta"])
    if explicit is not None:
        found["explicit"] = partial(explicit_rewards, explicit, end)
    return found


def diversity(model: Model, sets: Mapping[str, Sequence[Row]], n: int) -> pd.DataFrame:
    """G-Vendi of the first n rows of every set that training reads whole; no row for n of 0."""
    if not n:
        return _nothing("not measured in this run: gradient_samples is 0")
    kept = {name: fitting_rows(model, rows)[:n] for name, rows in sets.items()}
    found = {name: {"rows": len(rows), "g_vendi": vendi(gradients(model, rows))} for name, rows in kept.items()}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("set")


def change(table: pd.DataFrame, run: str, stance: str) -> pd.Series:
    """Change of a stance from the first to the last step of a run, by prompt."""
    wide = prompt_means(table[table["run"] == run].assign(topic="all"), stance)
    return wide.iloc[-1] - wide.iloc[0]


def changes(sft: pd.DataFrame, preference: pd.DataFrame, arm: str, stance: Stance) -> pd.DataFrame:
    """`change` of a stance in the first arm and in every run of preference training, a column each."""
    found = {f"{stance}, sft {arm}": change(sft, f"sft {arm}", stance)}
    return pd.DataFrame(
        found | {f"{stance}, {run}": change(preference, run, stance) for run in preference["run"].unique()}
    )


@dataclass(frozen=True)
class Claims:
    """Claims of the paper on one seed's readings."""

    sft: pd.DataFrame
    """Stance table of fine-tuning."""
    preference: pd.DataFrame
    """Stance table of preference training."""
    arms: Sequence[str]
    """Of fine-tuning; preference training follows the first."""
    algorithms: Sequence[str]
    """Of preference training."""
    phases: tuple[Phase, Phase]
    """Of fine-tuning and of preference training."""
    undecided: str = ""
    """Why nothing can be decided, if nothing can."""

    @property
    def stance(self) -> Stance:
        """The stance that is followed."""
        return target_of(self.arms[0])

    def findings(self, overall: pd.DataFrame, scored: Mapping[tuple[str, str], Floats]) -> list[Finding]:
        """All claims that these readings and rewards can test.

        Args:
            overall: `overall_drift` of fine-tuning.
            scored: Rewards, as `rewards.tried` returns them.
        """
        per_algorithm = [each for algorithm in self.algorithms for each in self._of_gaps(algorithm)]
        return [*self._of_tuning(overall), *per_algorithm, *self._of_arms(), *self._of_rivals(), *_of_rewards(scored)]

    def _claim(
        self, text: str, row: Any, side: Direction, at: float = 0.0, source: str = PAPER, unless: str = ""
    ) -> Finding:
        row = row if isinstance(row, dict) else interval(row, bounds=(-1, 1))
        return finding(text, source, row, side, at, self.undecided or unless)

    def _moved(self, algorithm: str, pairs: str) -> pd.Series:
        """Size of the stance's change in a run of preference training."""
        return change(self.preference, f"{algorithm}, {pairs}", self.stance).abs()

    def _still(self, moved: pd.Series, least: float, reason: str) -> str:
        """The reason, unless the stance moved by more than that."""
        return unless(interval(moved, bounds=(-1, 1)), "above", least, reason)

    def _of_tuning(self, overall: pd.DataFrame) -> list[Finding]:
        arm, row = self.arms[0], drift_of(overall, self.arms[0], self.stance)
        back = row["spacing"] / self.phases[0].end
        when = {"mean": row["eta_ci"], "low": row["eta_ci_low"] - back, "high": row["eta_ci_high"], "n": int(row["n"])}
        early = (
            "Fine-tuning moves stances early: drift time over all topics below 0.75 (interval over prompts, and back "
            "to the checkpoint before; there 0.09)"
        )
        found = [self._claim(early, when, "below", 0.75)]
        if arm in LEANING:
            raises = f"Fine-tuning on {arm} answers raises {self.stance} on topics it never saw"
            found.append(self._claim(raises, change(self.sft, f"sft {arm}", self.stance), "above"))
        return found

    def _of_gaps(self, algorithm: str) -> list[Finding]:
        first, second = self.phases
        tuned = change(self.sft, f"sft {self.arms[0]}", self.stance).abs()
        gap, none = self._moved(algorithm, "gap"), self._moved(algorithm, "no gap")
        still = f"{algorithm} moved {self.stance} by less than 0.01 with a value gap as well"
        given = algorithm_named(algorithm).settings
        steps, rate = given.get("max_steps", second.end), given.get("learning_rate", second.rate)
        budgets = f"{steps} preference steps at {rate:g} against {first.end} of fine-tuning at {first.rate:g}"
        less = f"{algorithm} on pairs without a value gap moves {self.stance} less than fine-tuning did ({budgets})"
        more = f"{algorithm} moves {self.stance} more with a value gap than without"
        source = PAPER if algorithm.partition(":")[0] in ("dpo", "simpo") else HERE
        return [
            self._claim(less, tuned - none, "above", unless=self._still(gap, 0.01, still)),
            self._claim(more, gap - none, "above", source=source),
        ]

    def _of_arms(self) -> list[Finding]:
        if len(self.arms) < 2 or LEANING.get(self.arms[1], self.stance) == self.stance:
            return []
        one, other = (change(self.sft, f"sft {arm}", self.stance) for arm in self.arms[:2])
        first, second = self.arms[:2]
        text = f"The data decide the profile: {self.stance} rises more on {first} answers than on {second} ones"
        return [self._claim(text, one - other, "above")]

    def _of_rivals(self) -> list[Finding]:
        """Dpo against simpo and what stands for PPO; simpo under several margins."""
        plain = [name for name in self.algorithms if name.partition(":")[0] == "dpo"][:1]
        simpos = [name for name in self.algorithms if name.partition(":")[0] == "simpo"]
        found = []
        for dpo, other in product(plain, self.algorithms):
            if other in simpos or samples_answers(other):
                ppo = " (for PPO)" if samples_answers(other) else ""
                text = f"With a value gap {dpo} moves stances more than {other}{ppo}, by 0.01 and more"
                found.append(self._claim(text, self._moved(dpo, "gap") - self._moved(other, "gap"), "above", 0.01))
        for one, other in pairwise(simpos):
            ends = [change(self.preference, f"{name}, gap", self.stance) for name in (one, other)]
            text = f"SimPO's margin hardly matters: with a value gap {one} and {other} end less than 0.05 apart"
            still = self._still(ends[0].abs(), 0.05, f"{one} moved the stance by less than 0.05")
            found.append(self._claim(text, (ends[0] - ends[1]).abs(), "below", 0.05, unless=still))
        return found


def _of_rewards(scored: Mapping[tuple[str, str], Floats]) -> list[Finding]:
    """The implicit reward against the explicit one on topics neither was trained on, where there are both."""
    right = {
        name: margin_accuracy(np.subtract(*both)) for (name, each), both in scored.items() if each == "other topics"
    }
    implicit = [values for name, values in right.items() if name.startswith("implicit")]
    if not implicit or "explicit" not in right:
        return []
    text = "On other topics the implicit reward is less accurate than the explicit one"
    return [finding(text, "arXiv 2409.03650", interval(implicit[0] - right["explicit"], bounds=(-1, 1)), "below")]


def draw_stances(table: pd.DataFrame) -> Figure:
    """Probability of each stance over the steps of fine-tuning, by arm, over all topics."""
    vectors = value_vectors(table.assign(topic="all"))
    vectors["arm: stance"] = vectors["run"] + ": " + vectors["stance"]
    ylabel = "probability of the stance"
    figure = figures.curves(vectors, "step", by="arm: stance", xlabel="fine-tuning steps", ylabel=ylabel)
    return figures.described(
        figure,
        "Probability of support, neutral and oppose over the steps of fine-tuning, one line per arm and stance, with "
        "95% bands.",
    )


def draw_magnitude(report: pd.DataFrame) -> Figure:
    """Drift of support in each topic, by arm."""
    alt = "Drift of support in each topic for each fine-tuning arm, with 95% intervals."
    return _drifts(report[report["stance"] == "support"], "topic", "run", "drift of support, M", alt)


def draw_preference(overall: pd.DataFrame) -> Figure:
    """Drift of each stance during preference training, by run."""
    alt = "Drift of each stance for each algorithm, with and without a value gap, with 95% intervals."
    return _drifts(overall, "run", "stance", "drift during preference training, M", alt)


def _drifts(table: pd.DataFrame, label: str, by: str, xlabel: str, alt: str) -> Figure:
    """Magnitudes of drift around none, with the alt text."""
    figure = figures.intervals(table, label, by=by, baseline=0.0, baseline_name="no drift", xlabel=xlabel)
    return figures.described(figure, alt)


def _nothing(reason: str) -> pd.DataFrame:
    """A table without rows, and why."""
    table = pd.DataFrame()
    table.attrs["reason"] = reason
    return table
