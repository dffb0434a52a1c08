"""Standings of several runs: scores by group, the runs that no test separates from the best, ranks, and findings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench import figures
from workbench.errors import InputError, unknown
from workbench.reports.comparing import Comparison
from workbench.reports.html import capital
from workbench.statistics import (
    Finding,
    adjusted,
    finding,
    holm_pairs,
    interval,
    kendall_w,
    pairwise_p,
    resampled_means,
)
from workbench.statistics.findings import no_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from workbench.statistics.intervals import Floats, Interval

LEVEL = 0.05
"""Level of the tests, all pairs of runs in a row together."""
FEWEST_MODELS = 4
"""Fewest runs for a correlation over runs: Fisher's interval needs four."""
MOST_CELLS = 6
"""Most runs with intervals in the cells of the heat map."""
NULL_DRAWS = 9999
"""Random orders under the null of Kendall's W."""
MOST_COLUMNS = 8
"""Most runs side by side; more are below each other."""
BEST, LIKE_BEST = "★", "≈"


class _Sample:
    """One metric on the questions where it is defined in all runs."""

    def __init__(self, comparison: Comparison, metric: str = "") -> None:
        values = comparison.values[metric or comparison.metric]
        defined = values.notna().all(axis=1).to_numpy()
        self.labels = list(comparison.labels)
        self.x: Floats = values.to_numpy(np.float64)[defined]
        self.undefined = int((~defined).sum())
        items = comparison.items[defined]
        self.benchmark = items["benchmark"].to_numpy()
        self.groups = list(dict.fromkeys(self.benchmark))
        self.cluster = None
        if "cluster" in items and items["cluster"].duplicated().any():
            self.cluster = items["cluster"].astype(str).to_numpy()

    @property
    def overall(self) -> str:
        """Name of the row of the mean over groups, each of equal weight."""
        return f"mean of {len(self.groups)} benchmarks"

    def rows(self) -> list[tuple[str, Floats, Any]]:
        """Name, values and clusters of each group and, with several, of the mean of all.

        In that mean, a value is weighted by the inverse size of its group.
        """
        parts = [
            (str(g), self.x[here], self._clusters(here)) for g in self.groups if (here := self.benchmark == g).any()
        ]
        return parts if len(self.groups) < 2 else [*parts, (self.overall, self.x * self._weight[:, None], self.cluster)]

    @property
    def _weight(self) -> Floats:
        sizes = pd.Series(self.benchmark).map(pd.Series(self.benchmark).value_counts()).to_numpy(np.float64)
        return np.asarray(len(self.x) / (len(self.groups) * sizes))

    def _clusters(self, here: Any) -> Any:
        return None if self.cluster is None else self.cluster[here]

    def mean(self, values: Floats, name: str, clusters: Any) -> Interval:
        """The mean of one column of a row with its interval; within-group spread only where groups are averaged."""
        if name == self.overall and len(self.groups) > 1:
            centre = pd.Series(values).groupby(self.benchmark).transform("mean").to_numpy()
            return interval(values - centre + values.mean(), clusters)
        binary = np.isin(values, [0.0, 1.0]).all()
        return interval(values.astype(bool) if binary else values, clusters)


def matrix(comparison: Comparison) -> pd.DataFrame:
    """Return the chosen metric by group and run, with the runs that no test separates from the best of their group.

    The best run of a group is chosen on the same questions, so a test of it against each other run alone would reject
    too often. All pairs of runs of a group are tested (sign flips) and adjusted together by Holm's method: with equal
    runs, all are marked in at least 95 % of groups, whichever is best.

    Returns:
        One row per group and run, with several groups also for their mean: `group`, `run`, `mean`, `low`, `high`, `n`,
        `n_clusters`, `p_holm` (against the best of the group) and `mark` (`★` best, `≈` not distinguishable from it).
    """
    sample, sign, rows = _Sample(comparison), _sign(comparison), []
    for name, x, clusters in sample.rows():
        p = holm_pairs(pairwise_p(x, clusters))
        best = int(np.argmax(sign * x.mean(axis=0)))
        for number, label in enumerate(sample.labels):
            row = sample.mean(x[:, number], name, clusters)
            mark = BEST if number == best else LIKE_BEST if p[number, best] > LEVEL else ""
            kept = {key: row[key] for key in ("mean", "low", "high", "n", "n_clusters")}
            rows.append({"group": name, "run": label, **kept, "p_holm": p[number, best], "mark": mark})
    return pd.DataFrame(rows)


def wide(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the table of `matrix` as text, groups by runs: "0.43 ★ [0.35, 0.51]"."""
    texts = [_cell(row, " ") for _, row in scores.iterrows()]
    table = scores.assign(text=texts).pivot(index="group", columns="run", values="text")
    table = table.loc[scores["group"].unique(), scores["run"].unique()]
    return table.assign(n=scores.groupby("group")["n"].first()).rename_axis(columns=None)


def matrix_caption(comparison: Comparison) -> str:
    """Return the caption of the matrix, with its marks and method."""
    undefined, missing = _Sample(comparison).undefined, comparison.left_out
    lost = f"; {missing:,} questions that a run lacks are left out" if missing else ""
    lost += f"; {undefined:,} questions undefined in a run are left out" if undefined else ""
    best = comparison.best
    return (
        f"{capital(comparison.quantity)} with 95 % intervals. {BEST} {best} · {LIKE_BEST} not distinguishable from "
        f"the {best} (paired sign-flip tests of all pairs in a row, Holm){lost}"
    )


def pairs(comparison: Comparison) -> pd.DataFrame:
    """Return the differences of all pairs of runs, the better run first, averaged over groups of equal weight.

    Returns:
        One row per pair: `run`, `other`, `mean` (run minus other), `low`, `high`, `n`, `n_clusters`, `p`
        (sign flips of questions or clusters) and `p_holm`, adjusted over all pairs.
    """
    sample = _Sample(comparison)
    name, x, clusters = sample.rows()[-1]
    p = pairwise_p(x, clusters)
    holm, order = holm_pairs(p), ordered(comparison)
    rows = []
    for one, two in combinations(order, 2):
        a, b = sample.labels.index(one), sample.labels.index(two)
        row = _difference(sample, x[:, a] - x[:, b], name, clusters)
        rows.append({"run": one, "other": two, **row, "p": p[a, b], "p_holm": holm[a, b]})
    return pd.DataFrame(rows)


def ordered(comparison: Comparison) -> list[str]:
    """Return the labels of the runs, best first."""
    sample = _Sample(comparison)
    means = _sign(comparison) * sample.rows()[-1][1].mean(axis=0)
    return [sample.labels[i] for i in np.argsort(-means, kind="stable")]


def two(comparison: Comparison, pair: Sequence[str] = ()) -> tuple[str, str]:
    """Return the labels of the two runs of `pair`, by default of the two leading runs in the order they were named.

    Raises:
        InputError: If `pair` is not two labels.
    """
    names = list(pair) or sorted(ordered(comparison)[:2], key=comparison.labels.index)
    if wrong := [name for name in names if name not in comparison.labels]:
        raise unknown("run", wrong[0], list(comparison.labels))
    if len(set(names)) != 2:
        raise InputError(f"pair must name two runs, not {len(names)}: {', '.join(comparison.labels)}.")
    return names[0], names[1]


def metrics(comparison: Comparison, one: str, two: str) -> pd.DataFrame:
    """Return the difference `two` minus `one` of every metric, with p adjusted by Holm's method over the metrics."""
    rows = []
    for metric in comparison.values:
        sample = _Sample(comparison, metric)
        if not len(sample.x):
            continue
        name, x, clusters = sample.rows()[-1]
        x = x[:, [sample.labels.index(one), sample.labels.index(two)]]
        row = _difference(sample, x[:, 1] - x[:, 0], name, clusters)
        values = dict(zip((one, two), x.mean(axis=0)))
        rows.append({"metric": metric, **values, **row, "p": pairwise_p(x, clusters)[0, 1]})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=adjusted(table["p"])) if len(table) else no_rows("no metric is defined in both runs")


def ranks(comparison: Comparison, draws: int = 1999, seed: int = 0) -> pd.DataFrame:
    """Return the rank of each run, best first, with two intervals.

    `low` and `high` are the middle 95 % of ranks when questions (or clusters) are resampled, jointly over runs;
    `possible ranks` are those that the tests of `pairs` leave open: a run is behind those that are significantly
    better, and ahead of those significantly worse (simultaneous over runs). `proportion first` is that of the draws in
    which the run is first; runs that tie share it.
    """
    sample, sign = _Sample(comparison), _sign(comparison)
    drawn = np.nanmean(resampled_means(sample.x, sample.benchmark, sample.cluster, draws, seed), axis=1)
    from scipy.stats import rankdata

    drawn = rankdata(-sign * drawn.round(12), axis=1)
    lead = drawn == drawn.min(axis=1, keepdims=True)
    first = (lead / lead.sum(axis=1, keepdims=True)).mean(axis=0)
    tested, order = pairs(comparison), ordered(comparison)
    sure = tested[tested["p_holm"] <= LEVEL]
    rows = []
    for rank, label in enumerate(order, start=1):
        number = sample.labels.index(label)
        low, high = np.quantile(drawn[:, number], [0.025, 0.975])
        ahead, behind = int((sure["other"] == label).sum()), int((sure["run"] == label).sum())
        start, end = 1 + ahead, len(order) - behind
        possible = f"{start}" if start == end else f"{start} to {end}"
        row = {"run": label, "rank": float(rank), "low": low, "high": high}
        rows.append(row | {"possible ranks": possible, "proportion first": first[number]})
    return pd.DataFrame(rows)


def correlations(comparison: Comparison) -> pd.DataFrame:
    """Return Pearson's correlation of each two groups over the runs, with Fisher's interval; n counts the runs."""
    from scipy.stats import pearsonr

    sample = _Sample(comparison)
    if len(sample.groups) < 2:
        return no_rows("the questions form one group")
    if len(sample.labels) < FEWEST_MODELS:
        return no_rows(f"{len(sample.labels)} runs are too few for a correlation over runs; it needs {FEWEST_MODELS}")
    means = {name: x.mean(axis=0) for name, x, _ in sample.rows()[:-1]}
    rows = []
    for one, two in combinations(means, 2):
        row = dict.fromkeys(("mean", "low", "high"), float("nan"))
        if min(np.ptp(means[one]), np.ptp(means[two])) > 1e-12:
            result = pearsonr(means[one], means[two])
            low, high = result.confidence_interval()
            row = {"mean": float(result.statistic), "low": float(low), "high": float(high)}
        rows.append({"group": one, "other": two, **row, "n": len(sample.labels)})
    return pd.DataFrame(rows)


def concordance(comparison: Comparison, draws: int = 1999, seed: int = 0) -> dict[str, Any] | None:
    """Return Kendall's W of the groups' orders of the runs; None with fewer than two groups or three runs.

    Returns:
        Keys mean (W), low and high (questions or clusters resampled), n, n_clusters, `null` (mean W of groups that
        order the runs independently, one over their number) and p (orders permuted within each group).
    """
    sample = _Sample(comparison)
    if len(sample.groups) < 2 or len(sample.labels) < 3:
        return None
    means = np.array([x.mean(axis=0) for _, x, _ in sample.rows()[:-1]]).round(12)
    w = float(kendall_w(means))
    drawn = kendall_w(resampled_means(sample.x, sample.benchmark, sample.cluster, draws, seed).round(12))
    rng = np.random.default_rng(seed)
    null = kendall_w(rng.permuted(np.broadcast_to(means, (NULL_DRAWS, *means.shape)), axis=2))
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    n_clusters = np.nan if sample.cluster is None else len(set(sample.cluster))
    p = (1 + int((null >= w - 1e-9).sum())) / (1 + NULL_DRAWS) if np.isfinite(w) else np.nan
    return {"mean": w, "low": float(min(low, w)), "high": float(max(high, w)), "n": len(sample.x),
            "n_clusters": n_clusters, "null": 1 / len(sample.groups), "p": p}  # fmt: skip


def reversals(comparison: Comparison) -> pd.DataFrame:
    """Return the pairs of runs that two groups order in opposite ways, both significantly.

    p is adjusted by Holm's method over all pairs and groups.
    """
    sample, sign = _Sample(comparison), _sign(comparison)
    names = list(combinations(range(len(sample.labels)), 2))
    rows = []
    for group, x, clusters in sample.rows()[: len(sample.groups)]:
        p = pairwise_p(x, clusters)
        for a, b in names:
            better = sign * float((x[:, a] - x[:, b]).mean()) > 0
            one, two = (a, b) if better else (b, a)
            rows.append({"group": group, "better": sample.labels[one], "worse": sample.labels[two], "p": p[a, b]})
    table = pd.DataFrame(rows).assign(p_holm=lambda rows: adjusted(rows["p"]))
    sure = table[table["p_holm"] <= LEVEL]
    seen = set(zip(sure["better"], sure["worse"]))
    kept = [(worse, better) in seen for better, worse in zip(sure["better"], sure["worse"])]
    shown = sure[np.array(kept, bool)] if len(sure) else sure
    return shown if len(shown) else no_rows("no two groups order a pair of runs in opposite ways, both significantly")


def sizes(comparison: Comparison) -> pd.DataFrame:
    """Return the score of each run by its model's number of parameters, where the records state it.

    Returns:
        One row per run with a stated number: `run`, `parameters`, `mean`, `low`, `high`; no rows where fewer than two
        models of different size state it.
    """
    known = {
        label: number for label, run in zip(comparison.labels, comparison.runs) if (number := _parameters(run.facts))
    }
    if len(set(known.values())) < 2:
        return no_rows(
            f"{len(known)} of {len(comparison.runs)} records state the number of parameters of their model"
            + (", all the same" if len(known) > 1 else "")
        )
    scores = matrix(comparison)
    rows = scores[scores["group"] == scores["group"].iloc[-1]].set_index("run").loc[list(known)]
    table = rows[["mean", "low", "high"]].reset_index()
    table.insert(1, "parameters", list(known.values()))
    return table.sort_values("parameters", ignore_index=True)


def findings(comparison: Comparison, order: dict[str, Any] | None, seed: int = 0) -> list[Finding]:
    """Return what the comparison shows: a leader, an order that groups share, an effect of size; each with a null."""
    from scipy.stats import pearsonr

    tested, source, sign = pairs(comparison), "this comparison", _sign(comparison)
    first = tested.iloc[0]
    ends = sorted([sign * first["low"], sign * first["high"]])
    row = {**first, "mean": sign * first["mean"], "low": ends[0], "high": ends[1]}
    open_ = "" if first["p_holm"] <= LEVEL else f"p = {first['p_holm']:.2g} after Holm's correction over all pairs"
    more, n = comparison.better or "higher", len(comparison.runs)
    claim = f"{first['run']} has a {more} {comparison.quantity} than {first['other']}, the second of {n} runs"
    what = f"{comparison.quantity}, {'' if sign > 0 else 'advantage of '}{first['run']} over {first['other']}"
    results = [_finding(claim, source, row, 0.0, open_, what, "no difference")]
    if order is not None:
        open_ = "" if order["p"] <= LEVEL else f"random orders agree as much (p = {order['p']:.2g})"
        groups = f"The {len(_Sample(comparison).groups)} benchmarks"
        claim = f"{groups} order the runs alike, more than benchmarks that order them at random"
        results.append(_finding(claim, source, order, order["null"], open_, "Kendall's W", "mean of random orders"))
    size = sizes(comparison)
    if len(size) >= FEWEST_MODELS and np.ptp(size["mean"]) > 1e-12:
        r = pearsonr(np.log(size["parameters"]), sign * size["mean"])
        low, high = r.confidence_interval()
        row = {"mean": float(r.statistic), "low": float(low), "high": float(high), "n": len(size)}
        claim = f"Larger models have a {more} {comparison.quantity}"
        results.append(
            _finding(claim, source, row, 0.0, "", "correlation with the logarithm of size over models", "no relation")
        )
    return results


def draw_matrix(comparison: Comparison, scores: pd.DataFrame) -> Figure:
    """Draw the matrix of groups by runs with values and marks; many runs are below each other, best first."""
    few = len(comparison.runs) <= MOST_CELLS
    cells = scores.assign(text=[_cell(row, "\n", few) for _, row in scores.iterrows()])
    groups, runs = list(scores["group"].unique()), list(comparison.labels)
    values, texts = (
        cells.pivot(index="group", columns="run", values=name).loc[groups, runs] for name in ("mean", "text")
    )
    if len(runs) > MOST_COLUMNS:
        values, texts = (table.T.loc[ordered(comparison)] for table in (values, texts))
    drawn = figures.matrix(values, comparison.quantity, texts=texts)
    where = "" if few else "; intervals are in the table"
    return figures.described(drawn, f"{matrix_caption(comparison)}{where}.")


def draw_pairs(comparison: Comparison, tested: pd.DataFrame) -> Figure:
    """Draw the difference of each run from the best one."""
    best = tested["run"].iloc[0]
    rows, label = tested[tested["run"] == best], f"{comparison.quantity}: {best} minus the run named"
    drawn = figures.intervals(rows, "other", baseline=0.0, baseline_name="no difference", xlabel=label)
    return figures.described(drawn, f"Difference of {best} from each other run, with 95 % intervals.")


def draw_ranks(comparison: Comparison, table: pd.DataFrame) -> Figure:
    """Draw the ranks with their bootstrap intervals."""
    from matplotlib.ticker import MaxNLocator

    label = f"rank by {comparison.quantity} (1 = {comparison.best})"
    drawn = figures.intervals(table, "run", "rank", xlabel=label, bars="95% bootstrap intervals")
    drawn.axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figures.described(drawn, "Rank of each run.")


def draw_correlations(table: pd.DataFrame) -> Figure | None:
    """Draw the correlation of groups over runs; None if there is none."""
    if table.empty or table["mean"].isna().all():
        return None
    names = list(dict.fromkeys([*table["group"], *table["other"]]))
    square = pd.DataFrame(np.eye(len(names)), names, names)
    for one, two, r in zip(table["group"], table["other"], table["mean"]):
        square.loc[one, two] = square.loc[two, one] = r
    drawn = figures.matrix(square, "correlation over runs", centre=0.0, centre_name="no correlation")
    return figures.described(
        drawn, "Correlation of the scores of each two groups over runs; intervals are in the table."
    )


def draw_sizes(comparison: Comparison, table: pd.DataFrame) -> Figure | None:
    """Draw the score by number of parameters on a logarithmic axis; None if too few runs state it."""
    if table.empty:
        return None
    named = table.rename(columns={"low": "mean_low", "high": "mean_high"})
    drawn = figures.points(
        named, "parameters", "mean", "run", "parameters of the model", comparison.quantity, logarithmic=True
    )
    return figures.described(drawn, f"{capital(comparison.quantity)} of each run by number of parameters of its model.")


def _finding(
    claim: str, source: str, row: Any, baseline: float, undecided: str, quantity: str, baseline_name: str
) -> Finding:
    return finding(claim, source, row, "above", baseline, undecided, quantity, baseline_name)


def _difference(sample: _Sample, values: Floats, name: str, clusters: Any) -> Interval:
    """Mean, interval and counts of a difference; no binary range, for a difference is none."""
    row = sample.mean(values, name, clusters) if len(sample.groups) > 1 else interval(values, clusters)
    return {key: row[key] for key in ("mean", "low", "high", "n", "n_clusters")}


def _cell(row: Any, between: str, with_interval: bool = True) -> str:
    """A cell of the matrix: "0.43 ★ [0.35, 0.51]"."""
    value, low, high = (f"{round(row[key], 2) + 0.0:.2f}".replace("-", "−") for key in ("mean", "low", "high"))
    mark = f" {row['mark']}" if row["mark"] else ""
    ends = "no interval" if np.isnan(row["low"]) else f"[{low}, {high}]"
    return f"{value}{mark}{between}{ends}" if with_interval else f"{value}{mark}"


def _parameters(facts: dict[str, Any]) -> float | None:
    """Number of parameters of a record's model, if it states one."""
    model = facts.get("model")
    stated = str(model.get("parameters") or "") if isinstance(model, dict) else ""
    return float(stated) if stated.isdigit() and int(stated) else None


def _sign(comparison: Comparison) -> int:
    return -1 if comparison.better == "lower" else 1
