"""Drift of values along checkpoints: magnitude, time, trend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.statistics import adjusted, interval
from workbench.statistics.distances import Floats
from workbench.value_drift.stances import STANCES, check_stances, prompt_means

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
