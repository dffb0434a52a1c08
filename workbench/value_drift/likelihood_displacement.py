"""Likelihood displacement and CHES (arXiv 2410.08847)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, softmax
from scipy.stats import linregress
from scipy.stats import t as student

from workbench import figures
from workbench.errors import InputError
from workbench.extraction import generate
from workbench.models import Model
from workbench.statistics import Finding, bootstrap, correlation, finding, interval, summarise
from workbench.statistics.distances import Bools, Floats
from workbench.statistics.findings import Direction, no_rows
from workbench.training.algorithms import PAIR
from workbench.training.rows import as_prompt, rows_for
from workbench.training.series import CheckpointSeries, train
from workbench.value_drift import probes
from workbench.value_drift.probes import SIDES
from workbench.value_drift.texts import Kind, Row, displacement_pairs, labelled, training_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of written pairs, by what the rejected response says."""
REPAIRED = "similar + likelihood"
"""The run on similar pairs with a likelihood term in the loss."""
MEASURES, NAMES = ("chosen_change", "margin", "displaced"), ("run", "pair_id")
"""Measures of a pair in `reports`, and the columns that identify it."""
SCORES = ("ches", "ln_ches", "edit_similarity", "last_hidden_product")
SCORES_IN_WORDS = {
    "ches": "CHES",
    "ln_ches": "CHES, length-normalised",
    "last_hidden_product": "product of last hidden states",
}
UNEMBEDDING, STATE, TOKENS = ((1, 0), (2, -1), (0, 3)), (0.8, 0.3), ("No (preferred)", "Never (rejected)", "Yes")
"""Three tokens and one hidden state for which displacement is catastrophic with a frozen unembedding."""
PAPER = "Razin et al. 2024, arXiv 2410.08847"
NO_PAIRS = "no preference set of your own in this run: set `more_pairs`"


def unembedding_terms(weights: ArrayLike, hidden: ArrayLike, positive: int, negative: int) -> dict[str, Any]:
    """Return the derivative of the preferred token's log-probability under one preference step, by what is trained.

    d/dt ln pi(+) = m (hidden_part + weight_part), m > 0: `hidden_part` = <W+ - sum_z pi_z W_z, W+ - W->, and
    `weight_part` = |h|^2 (1 - pi+ + pi-) >= 0, which vanishes when the unembedding is frozen, as under LoRA.

    Args:
        weights: The unembedding, `[V, width]`.
        hidden: The last hidden state, `[width]`.
        positive: Preferred token.
        negative: Rejected token.

    Returns:
        Both parts, `paper_term` (theorem 1; the larger, the faster the fall), `p` `[V]`, and `gains` `[V]`,
        <W_z, W+ - W->: the tokens that gain the mass (theorem 2).
    """
    w, h = np.asarray(weights, np.float64), np.asarray(hidden, np.float64)
    p = softmax(w @ h)
    gains = w @ (w[positive] - w[negative])
    others = [z for z in range(len(w)) if z not in (positive, negative)]
    return {
        "hidden_part": float(gains[positive] - p @ gains),
        "weight_part": float(h @ h * (1 - p[positive] + p[negative])),
        "paper_term": float(w[positive] @ w[negative] + (p * gains)[others].sum()),
        "p": p,
        "gains": gains,
    }


def toy_terms() -> pd.DataFrame:
    """Return `unembedding_terms` of the three tokens before the first step, one row."""
    terms = unembedding_terms(UNEMBEDDING, STATE, 0, 1)
    return pd.DataFrame([{name: terms[name] for name in ("hidden_part", "weight_part", "paper_term")}])


def three_token_toy(
    weights: ArrayLike,
    hidden: ArrayLike,
    positive: int,
    negative: int,
    steps: int = 60,
    rate: float = 0.5,
    beta: float = 0.1,
    train_weights: bool = False,
) -> Floats:
    """Return the probabilities under DPO on one prompt by plain gradient descent, `[steps + 1, V]`.

    With frozen weights displacement is catastrophic if the two tokens are alike and a third is opposite to the rejected
    one.
    """
    w, h = np.array(weights, np.float64), np.array(hidden, np.float64)
    reference = float((w[positive] - w[negative]) @ h)
    path = []
    for _ in range(steps + 1):
        path.append(softmax(w @ h))
        pull = rate * beta * expit(-beta * ((w[positive] - w[negative]) @ h - reference))
        difference, state = w[positive] - w[negative], h.copy()
        h = h + pull * difference
        if train_weights:
            w[positive] += pull * state
            w[negative] -= pull * state
    return np.array(path)


def draw_toy(path: Floats) -> Figure:
    """Plot the probabilities of the three tokens over gradient steps, `path` `[steps, 3]`."""
    table = pd.DataFrame(path, columns=list(TOKENS)).rename_axis("step").reset_index()
    table = table.melt("step", var_name="token", value_name="mean")
    labels: dict[str, Any] = {
        "xlabel": "gradient steps",
        "ylabel": "probability of the token",
        "why": "exact probabilities",
    }
    return figures.described(
        figures.curves(table, "step", low=None, high=None, by="token", **labels),
        "Probabilities of the three tokens over gradient steps with a frozen unembedding: Yes rises to nearly 1 while "
        "the preferred No falls.",
    )


def one_token(model: Model, n: int | None) -> pd.DataFrame:
    """Return the mean parts of `unembedding_terms` for No preferred over Never, after the first n statements."""
    unembedding = model.network.get_output_embeddings().weight.detach().cpu().double().numpy()
    pairs = [row | {"chosen": "No", "rejected": "Never"} for row in displacement_pairs("similar", n)]
    terms = [
        unembedding_terms(unembedding, pair["chosen"][0], pair["chosen_ids"][0], pair["rejected_ids"][0])
        for pair in probes.response_states(model, pairs, eos=False)
    ]
    parts = ["hidden_part", "weight_part"]
    return summarise(pd.DataFrame(terms)[parts], parts)[["metric", "mean", "low", "high", "n"]]


def scores(model: Model, pairs: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    """Return CHES and its baselines of every pair, with its `kind`; identical texts are read once."""
    together = [{**row, "id": f"{kind}/{row['id']}"} for kind, rows in pairs.items() for row in rows]
    table = probes.ches_scores(model, together)
    table[["kind", "pair_id"]] = table["pair_id"].str.split("/", n=1, expand=True)
    return table


def mean_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each score, and of the tokens of the rejected response, by kind."""
    means = summarise(scores, [*SCORES, "n_rejected"], by="kind")
    return means[["kind", "metric", "mean", "low", "high", "n"]]


def train_kinds(
    model: Model,
    pairs: Mapping[str, Sequence[Row]],
    settings: Mapping[str, Any],
    sft_weight: float,
    saves: Sequence[int],
    seed: int,
) -> dict[str, CheckpointSeries]:
    """Train by DPO on each kind of pairs, and on similar pairs with a likelihood term of weight `sft_weight`."""
    runs = {kind: ("dpo", kind, dict(settings)) for kind in pairs}
    runs[REPAIRED] = ("dpo_sft", "similar", {**settings, "sft_weight": sft_weight})
    return {
        name: train(algorithm, model, pairs[kind], given, save_at=saves, seed=seed, name=f"{name} pairs")
        for name, (algorithm, kind, given) in runs.items()
    }


def token_tables(
    series: Mapping[str, CheckpointSeries], model: Model, pairs: Mapping[str, Sequence[Row]]
) -> dict[tuple[str, int], pd.DataFrame]:
    """Return `response_tokens` of each run's pairs by run and step; step 0 is read once per kind."""
    before = {kind: probes.response_tokens(model, rows) for kind, rows in pairs.items()}
    kinds = {name: "similar" if name == REPAIRED else name for name in series}
    return {
        (name, step): probes.response_tokens(checkpoint, pairs[kinds[name]]) if step else before[kinds[name]]
        for name, each in series.items()
        for step, checkpoint in each
    }


def displacement_report(before: pd.DataFrame, after: pd.DataFrame, beta: float = 0.1) -> pd.DataFrame:
    """Return the change of the log-probabilities of both responses, one row per pair.

    Args:
        before: One row per token: `pair_id`, `response` (chosen, rejected), `position`, `token`, `logprob` (nats).
        after: The same tokens after training.
        beta: Strength of the preference loss, whose reference is `before`.

    Returns:
        pair_id, `chosen_before`, `chosen_after`, `chosen_change`, `rejected_change`, `margin` (chosen minus rejected
        change), `loss_before` (ln 2), `loss_after`, `displaced` (loss and preferred response both down), and
        `n_chosen`, `n_rejected` (tokens).
    """
    merged = token_changes(before, after)
    if missing := set(SIDES) - set(merged["response"]):
        raise InputError(f"The tables have no {missing.pop()} responses; displacement compares chosen with rejected.")
    by_pair = merged.groupby(["pair_id", "response"], sort=False)
    sums = by_pair[["logprob", "logprob_after"]].sum().unstack("response")
    counts = by_pair.size().unstack("response")
    change = {side: sums["logprob_after", side] - sums["logprob", side] for side in SIDES}
    margin = change["chosen"] - change["rejected"]
    loss = -log_expit(beta * margin)
    return pd.DataFrame(
        {
            "chosen_before": sums["logprob", "chosen"],
            "chosen_after": sums["logprob_after", "chosen"],
            "chosen_change": change["chosen"],
            "rejected_change": change["rejected"],
            "margin": margin,
            "loss_before": np.log(2),
            "loss_after": loss,
            "displaced": (loss < np.log(2)) & (change["chosen"] < 0),
            "n_chosen": counts["chosen"],
            "n_rejected": counts["rejected"],
        }
    ).reset_index()


def token_changes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the `change` of every token's log-probability; sums hide the end token that both responses share."""
    keys = ["pair_id", "response", "position"]
    for table in (before, after):
        if missing := [name for name in [*keys, "token", "logprob"] if name not in table]:
            raise InputError(f"A table of token log-probabilities lacks {', '.join(missing)}.")
    merged = before.merge(after[[*keys, "token", "logprob"]], on=keys, how="outer", suffixes=("", "_after"))
    same = merged["token"].eq(merged["token_after"])
    if not same.all():
        raise InputError(f"Pair {merged.loc[~same, 'pair_id'].iloc[0]!r} has other tokens before than after.")
    return merged.drop(columns="token_after").assign(change=merged["logprob_after"] - merged["logprob"])


def reports(tokens: Mapping[tuple[str, int], pd.DataFrame], beta: float) -> pd.DataFrame:
    """Return `displacement_report` of every run and step."""
    parts = [
        displacement_report(tokens[name, 0], table, beta).assign(run=name, step=step)
        for (name, step), table in tokens.items()
    ]
    return pd.concat(parts, ignore_index=True)


def verdicts(reports: pd.DataFrame) -> pd.DataFrame:
    """Return per run the mean `chosen_change`, and whether the set is displaced by definition 1.

    `displaced`: the mean loss and the mean log-probability of preferred responses both decreased. `proportion`: pairs
    that are displaced individually.
    """
    means = reports.groupby("run", sort=False)[["loss_before", "loss_after", "displaced"]].mean()
    table = summarise(reports, "chosen_change", by="run").set_index("run")
    table["displaced"] = (means["loss_after"] < means["loss_before"]) & (table["mean"] < 0)
    table["proportion"] = means["displaced"]
    return table.reset_index()[["run", "displaced", "mean", "low", "high", "n", "proportion"]]


def top_movers(before: ArrayLike, after: ArrayLike, tokens: Sequence[str], k: int = 5) -> pd.DataFrame:
    """Return the k tokens that gained most and the k that lost most probability, from log-probabilities `[V]`."""
    p, q = np.exp(np.asarray(before, np.float64)), np.exp(np.asarray(after, np.float64))
    if p.shape != q.shape or p.ndim != 1 or len(tokens) != len(p):
        raise InputError("top_movers needs the same vocabulary before and after, [V], and a text for each token.")
    order = np.argsort(q - p, kind="stable")
    picked = [*order[::-1][:k], *order[:k][::-1]]
    rows = [{"token": tokens[i], "before": p[i], "after": q[i], "change": q[i] - p[i]} for i in picked]
    return pd.DataFrame(rows).drop_duplicates("token")


def first_token_movers(before: Model, after: Model, prompt: str) -> pd.DataFrame:
    """Return `top_movers` of the first token of the answer."""
    p, q = (probes.next_token(model, prompt) for model in (before, after))
    return top_movers(p, q, [before.tokenizer.decode([i]) for i in range(len(p))])


def greedy_answer(model: Model, prompt: str) -> pd.DataFrame:
    """Return the greedy answer to a prompt and its log-probability, one row."""
    answer = generate(model, [as_prompt(model, prompt)], max_new_tokens=24, temperature=0.0, show_progress=False)
    return answer[["text", "logprob"]].assign(prompt=prompt)


def scored_changes(last: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return the changes of the pairs trained by plain DPO, with their scores before training."""
    plain = last[last["run"] != REPAIRED]
    return plain.merge(scores, left_on=["pair_id", "run"], right_on=["pair_id", "kind"])


def score_correlations(changes: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the rank correlation of each score with the change of ln p(preferred), bootstrapped over statements."""
    rows = [{"score": name, **_over_statements(correlation, changes, [name, "chosen_change"], seed)} for name in SCORES]
    return pd.DataFrame(rows)


def filter_by_ches(scores: ArrayLike, keep_fraction: float) -> Bools:
    """Return per pair whether its score is among the lowest: the pairs to train on without displacement."""
    s = np.asarray(scores, np.float64)
    if not 0 < keep_fraction <= 1:
        raise InputError(f"keep_fraction must be above 0 and at most 1, not {keep_fraction!r}.")
    n = int(np.floor(keep_fraction * len(s) + 1e-9))
    if n < 1:
        raise InputError(f"keep_fraction={keep_fraction:g} of {len(s)} pairs keeps none; raise it.")
    return np.asarray(np.argsort(np.argsort(s, kind="stable")) < n)


def filter_counts(scores: pd.DataFrame, keep_fraction: float) -> pd.DataFrame:
    """Return the number of pairs of each kind, and of those that the filter by LN-CHES keeps."""
    groups = scores.assign(kept=filter_by_ches(scores["ln_ches"], keep_fraction)).groupby("kind", sort=False)["kept"]
    return pd.DataFrame({"kept": groups.sum(), "pairs": groups.size()})


def percentile_subsets(scores: ArrayLike, percentiles: Sequence[float], size: int) -> NDArray[np.intp]:
    """Return the positions of the pairs around percentiles of a score: disjoint sets to train on (arXiv 2410.08847).

    Args:
        scores: One score per pair.
        percentiles: Increasing, from 0 to 100.
        size: Number of pairs in each subset.

    Returns:
        `[percentiles, size]`, each row in the order of the scores.
    """
    s, p = np.asarray(scores, np.float64), np.asarray(percentiles, np.float64)
    if not np.isfinite(s).all():
        raise InputError("A score is not finite; leave its pair out.")
    if not len(p) or (p < 0).any() or (p > 100).any() or (np.diff(p) <= 0).any():
        raise InputError(f"percentiles must increase from 0 to 100 at most, not {list(percentiles)}.")
    starts = np.round(p / 100 * max(len(s) - size, 0)).astype(int)  # a window from the lowest to the highest scores
    if size < 1 or len(s) < size or (np.diff(starts) < size).any():
        raise InputError(f"{len(p)} subsets of {size} overlap in {len(s)} pairs; lower the size, or give more pairs.")
    return np.argsort(s, kind="stable")[starts[:, None] + np.arange(size)]


def user_pairs(
    model: Model, sources: Sequence[str], n: int, percentiles: Sequence[float], size: int
) -> dict[str, list[Row]]:
    """Return the user's preference pairs that training reads whole, by label of their set.

    Raises:
        InputError: A set has too few rows for its subsets.
    """
    sets: dict[str, list[Row]] = {}
    for label, source in labelled(sources).items():
        rows = rows_for("dpo", training_rows(source, n, columns=PAIR))
        sets[label] = [dict(row) for row in probes.fitting_rows(model, rows)]
        percentile_subsets(np.arange(len(sets[label])), percentiles, size)
    return sets


def user_scores(model: Model, sets: Mapping[str, Sequence[Row]], keep_fraction: float) -> pd.DataFrame:
    """Return CHES and its baselines of every pair of each `set`, and whether the filter keeps it."""
    tables = [probes.ches_scores(model, rows).assign(set=name) for name, rows in sets.items()]
    tables = [table.assign(kept=filter_by_ches(table["ln_ches"], keep_fraction)) for table in tables]
    return pd.concat(tables) if tables else no_rows(NO_PAIRS)


def train_subsets(
    model: Model,
    sets: Mapping[str, Sequence[Row]],
    scores: pd.DataFrame,
    percentiles: Sequence[float],
    size: int,
    settings: Mapping[str, Any],
    steps: int,
    seed: int,
) -> pd.DataFrame:
    """Train by DPO on the pairs around each percentile of CHES separately; empty without sets.

    Returns:
        One row per pair: `displacement_report` after `steps`, `set`, `percentile` (its text), `at`, and the scores.
    """
    tables = []
    for name, rows in sets.items():
        of_set = scores[scores["set"] == name]
        for at, positions in zip(percentiles, percentile_subsets(of_set["ches"], percentiles, size)):
            part = [{**rows[i], "id": str(i)} for i in positions]
            title = f"{name}, CHES at {at:g} %"
            trained = train("dpo", model, part, settings, save_at=[steps], seed=seed, name=title).load(steps)
            before, after = (probes.response_tokens(each, part) for each in (model, trained))
            report = displacement_report(before, after, settings["beta"])
            report = report.merge(of_set[["pair_id", *SCORES]], on="pair_id")
            tables.append(report.assign(set=name, percentile=f"{at:g} %", at=at))
    return pd.concat(tables) if tables else no_rows(NO_PAIRS)


def by_percentile(changes: pd.DataFrame) -> pd.DataFrame:
    """Return the mean CHES and change of ln p(preferred) of each subset."""
    if changes.empty:
        return changes
    means = summarise(changes, ["chosen_change", "ches"], by=["set", "percentile"])
    return means[["set", "percentile", "metric", "mean", "low", "high", "n"]]


def slope_over_percentiles(percentiles: ArrayLike, changes: ArrayLike) -> dict[str, float]:
    """Return the slope of the subsets' mean changes of ln p(preferred) over their percentiles, by least squares.

    Pairs of a subset are trained together, so the subset is the unit: Student's interval with subsets - 2 degrees of
    freedom; none for two subsets.

    Returns:
        `mean`, `low`, `high`: nats from percentile 0 to 100; `n`: subsets; `spearman` of both.
    """
    x, y = np.asarray(percentiles, np.float64) / 100, np.asarray(changes, np.float64)
    if not len(x) or x.shape != y.shape:
        raise InputError(f"A slope needs one change per percentile, not {len(y)} for {len(x)}.")
    if len(x) < 2:
        return {**dict.fromkeys(("mean", "low", "high", "spearman"), float("nan")), "n": len(x)}
    line = linregress(x, y)
    half = float(student.ppf(0.975, len(x) - 2)) * line.stderr if len(x) > 2 else float("nan")
    rank = correlation(x, y)
    return {"mean": line.slope, "low": line.slope - half, "high": line.slope + half, "n": len(x), "spearman": rank}


def user_slopes(changes: pd.DataFrame) -> pd.DataFrame:
    """Return `slope_over_percentiles` of each set."""
    if changes.empty:
        return changes
    rows = []
    for name, part in changes.groupby("set", sort=False):
        means = part.groupby("at")["chosen_change"].mean()
        rows.append({"set": name, **slope_over_percentiles(means.index, means)})
    return pd.DataFrame(rows)[["set", "spearman", "mean", "low", "high", "n"]]


def findings(
    last: pd.DataFrame,
    changes: pd.DataFrame,
    one_token: pd.DataFrame,
    correlations: pd.DataFrame,
    slopes: pd.DataFrame,
    seed: int,
) -> list[Finding]:
    """Return the paper's claims, tested on this run.

    Args:
        last: `reports` at the last checkpoint.
        changes: From `scored_changes`.
        one_token: From `one_token`.
        correlations: From `score_correlations`.
        slopes: From `user_slopes`.
        seed: Seed of the bootstrap.
    """
    change = last.set_index(["run", "pair_id"])["chosen_change"]
    of_score: dict[Any, Any] = correlations.set_index("score").to_dict("index")
    unlike = changes[changes["run"] != "similar"].groupby("run")["ches"].mean()
    higher, lower = unlike.sort_values(ascending=False).index
    better = _over_statements(
        lambda c, e, y: correlation(c, y) - correlation(e, y),
        changes,
        ["ches", "edit_similarity", "chosen_change"],
        seed,
    )
    frozen = one_token[one_token["metric"] == "hidden_part"].iloc[0]
    more = _difference(change, "similar", "dissimilar")
    margin = interval(last.loc[last["run"] == "similar", "margin"])
    fall, rank = "change of ln p(preferred)", "rank correlation with the change of ln p(preferred)"
    none, same = "no change", "no difference"
    claims: list[tuple[str, Any, Direction, str, str]] = [
        (
            "With adapters, training No over Never lowers ln p(No)",
            frozen,
            "below",
            "exact derivative of ln p(No)",
            none,
        ),
        (
            "Training on similar pairs makes preferred answers less likely",
            interval(change["similar"]),
            "below",
            fall,
            none,
        ),
        ("Similar pairs are displaced more than dissimilar ones", more, "below", f"difference of the {fall}", same),
        (
            "A likelihood term reduces displacement",
            _difference(change, REPAIRED, "similar"),
            "above",
            f"difference of the {fall}",
            same,
        ),
        ("The margin on similar pairs grows nevertheless", margin, "above", "margin over the reference (nats)", none),
        ("CHES is higher where the preferred answer falls more", of_score["ches"], "below", rank, "unrelated"),
        ("LN-CHES is higher where the preferred answer falls more", of_score["ln_ches"], "below", rank, "unrelated"),
        (
            f"At equal edit distance and length the kind with the higher CHES ({higher}) falls more than the other "
            f"({lower})",
            _difference(change, higher, lower),
            "below",
            f"difference of the {fall}",
            same,
        ),
        (
            "CHES predicts the falls better than edit distance does",
            better,
            "below",
            "difference of rank correlations",
            same,
        ),
    ]
    rises = "The higher the percentile of CHES, the more the preferred answers fall"
    claims += [
        (f"{rises}: {row['set']}", row, "below", "slope over percentiles (nats)", "no slope")
        for row in slopes.to_dict("records")
    ]
    by_construction = "by construction: what DPO trains"
    return [
        finding(text, by_construction if row is margin else PAPER, row, side, 0.0, "", *words)
        for text, row, side, *words in claims
    ]


def draw_preferred(reports: pd.DataFrame) -> Figure:
    """Plot the mean log-probability of the preferred answer over training, by run."""
    path, ylabel = summarise(reports, "chosen_after", by=["run", "step"]), "log-probability of preferred answer (nats)"
    return figures.described(
        figures.curves(path, "step", by="run", xlabel="training steps", ylabel=ylabel, of="pairs"),
        "Mean log-probability of the preferred answer over training for similar pairs, paraphrases, dissimilar pairs, "
        "and similar pairs with a likelihood term.",
    )


def draw_margin(reports: pd.DataFrame) -> Figure:
    """Plot the mean margin over the reference over training, by run."""
    path, ylabel = summarise(reports, "margin", by=["run", "step"]), "margin over the reference model (nats)"
    start: dict[str, Any] = {"baseline": 0.0, "baseline_name": "start", "of": "pairs"}
    return figures.described(
        figures.curves(path, "step", by="run", xlabel="training steps", ylabel=ylabel, **start),
        "Mean margin between preferred and rejected answers over training, by run.",
    )


def draw_tokens(before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Plot the mean change of ln p of each token of the preferred answer, in order."""
    chosen = token_changes(before, after).query("response == 'chosen'")
    named = chosen.assign(token=chosen["position"].astype(str).str.zfill(2) + " “" + chosen["token"] + "”")
    return _draw_changes(
        summarise(named, ["change"], by="token"),
        "token",
        "no change",
        "change of log-probability (nats), by position and token",
        "Mean change of the log-probability of each token of the preferred answer, in order.",
    )


def draw_correlations(correlations: pd.DataFrame) -> Figure:
    """Plot the rank correlation of each score with the change of the preferred answer."""
    return _draw_changes(
        correlations.replace({"score": SCORES_IN_WORDS}),
        "score",
        "no relation",
        "rank correlation with the change of the preferred answer's log-probability",
        "Spearman correlation of CHES, its length-normalised form and two baselines with the change of the preferred "
        "answer.",
    )


def draw_percentiles(by_percentile: pd.DataFrame) -> Figure | None:
    """Plot the change of the preferred answers by percentile of CHES; None without a set."""
    if by_percentile.empty:
        return None
    rows = by_percentile[by_percentile["metric"] == "chosen_change"]
    return _draw_changes(
        rows.assign(percentile=["percentile " + str(each) for each in rows["percentile"]]),
        "percentile",
        "no change",
        "change of the preferred answer's log-probability (nats)",
        "Change of the preferred answers of each set by percentile of CHES.",
        by="set",
    )


def _draw_changes(table: pd.DataFrame, label: str, zero: str, xlabel: str, alt: str, by: str | None = None) -> Figure:
    """Plot intervals around a baseline of 0, with the alt text."""
    figure = figures.intervals(table, label, by=by, baseline=0.0, baseline_name=zero, xlabel=xlabel, of="pairs")
    return figures.described(figure, alt)


def _difference(change: pd.Series, one: str, other: str) -> dict[str, Any]:
    """Return the mean difference of two runs, paired by statement."""
    return interval((change[one] - change[other]).to_numpy())


def _over_statements(statistic: Any, changes: pd.DataFrame, columns: Sequence[str], seed: int) -> dict[str, Any]:
    """Bootstrap a statistic of some columns over statements."""
    samples = [changes[name] for name in columns]
    return bootstrap(statistic, *samples, clusters=changes["pair_id"], draws=300, seed=seed)
