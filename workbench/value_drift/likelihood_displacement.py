"""Likelihood displacement and CHES (arXiv 2410.08847)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import linregress
from scipy.stats import t as student

from workbench import figures
from workbench.errors import InputError
from workbench.extraction import generate
from workbench.models import Model
from workbench.statistics import Finding, bootstrap, correlation, finding, interval, summarise
from workbench.statistics.distances import Floats
from workbench.statistics.findings import Direction
from workbench.training.algorithms import PAIR, rows_for
from workbench.training.exchanges import as_prompt
from workbench.training.series import CheckpointSeries, train
from workbench.value_drift import probes
from workbench.value_drift.probes import SIDES
from workbench.value_drift.texts import Kind, Row, displacement_pairs, labels_of, training_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of written pairs: what the rejected answer says."""
REPAIRED = "similar + likelihood"
"""The run on similar pairs whose loss has a likelihood term."""
SCORES = ("ches", "ln_ches", "edit_similarity", "last_hidden_product")
UNEMBEDDING, STATE, TOKENS = ((1, 0), (2, -1), (0, 3)), (0.8, 0.3), ("No (preferred)", "Never (rejected)", "Yes")
"""Three tokens and one hidden state in which displacement is catastrophic with a frozen unembedding."""
PAPER = "arXiv 2410.08847"


def toy_terms() -> pd.DataFrame:
    """The first step's pull on the preferred of the three tokens, split by what is trained: one row."""
    terms = unembedding_terms(UNEMBEDDING, STATE, 0, 1)
    return pd.DataFrame([{name: terms[name] for name in ("hidden_part", "weight_part", "paper_term")}])


def draw_toy(path: Floats) -> Figure:
    """Probabilities of the three tokens over gradient steps, `path` `[steps, 3]`."""
    table = pd.DataFrame(path, columns=list(TOKENS)).rename_axis("step").reset_index()
    table = table.melt("step", var_name="token", value_name="mean")
    table = table.assign(low=table["mean"], high=table["mean"])
    figure = figures.curves(table, "step", by="token", xlabel="gradient steps", ylabel="probability")
    return figures.described(
        figure,
        "Probabilities of the three tokens over gradient steps with a frozen unembedding: Yes rises to nearly 1 while "
        "the preferred No falls.",
    )


def one_token(model: Model, n: int | None) -> pd.DataFrame:
    """The pull on No, preferred over Never, after each of the first n statements: mean of either part."""
    unembedding = model.network.get_output_embeddings().weight.detach().double().cpu().numpy()
    asked = [row | {"chosen": "No", "rejected": "Never"} for row in displacement_pairs("similar", n)]
    terms = [
        unembedding_terms(unembedding, pair["chosen"][0], pair["chosen_ids"][0], pair["rejected_ids"][0])
        for pair in probes.response_states(model, asked, eos=False)
    ]
    parts = ["hidden_part", "weight_part"]
    return summarise(pd.DataFrame(terms)[parts], parts)[["metric", "mean", "low", "high", "n"]]


def scores(model: Model, pairs: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    """CHES and its baselines of every pair, with its `kind`; texts that kinds share are read once."""
    together = [row | {"id": f"{kind}/{row['id']}"} for kind, rows in pairs.items() for row in map(dict, rows)]
    found = probes.ches_scores(model, together)
    found[["kind", "pair_id"]] = found["pair_id"].str.split("/", n=1, expand=True)
    return found


def mean_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean scores by kind, and tokens of the rejected answer."""
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
    """DPO on every kind of pairs apart, and with a likelihood term of weight `sft_weight` on the similar ones."""
    runs = {kind: ("dpo", kind, dict(settings)) for kind in pairs}
    runs[REPAIRED] = ("dpo_sft", "similar", {**settings, "sft_weight": sft_weight})
    return {
        name: train(algorithm, model, pairs[kind], given, save_at=saves, seed=seed, name=f"{name} pairs")
        for name, (algorithm, kind, given) in runs.items()
    }


def tokens(
    series: Mapping[str, CheckpointSeries], model: Model, pairs: Mapping[str, Sequence[Row]]
) -> dict[tuple[str, int], pd.DataFrame]:
    """Log-probabilities of every run's own pairs at every checkpoint; those of step 0 are read once a kind."""
    before = {kind: probes.response_tokens(model, rows) for kind, rows in pairs.items()}
    kinds = {name: "similar" if name == REPAIRED else name for name in series}
    return {
        (name, step): probes.response_tokens(checkpoint, pairs[kinds[name]]) if step else before[kinds[name]]
        for name, each in series.items()
        for step, checkpoint in each
    }


def reports(tokens: Mapping[tuple[str, int], pd.DataFrame], beta: float) -> pd.DataFrame:
    """`displacement_report` of every run and step."""
    return pd.concat(
        [
            displacement_report(tokens[name, 0], table, beta).assign(run=name, step=step)
            for (name, step), table in tokens.items()
        ],
        ignore_index=True,
    )


def verdicts(last: pd.DataFrame) -> pd.DataFrame:
    """Of every run at its last checkpoint, whether it is displaced, and the change of ln p(preferred)."""
    rows = [{"run": name, **displacement(part)} for name, part in last.groupby("run", sort=False)]
    return pd.DataFrame(rows)[["run", "displaced", "mean", "low", "high", "n", "share"]]


def movers(before: Model, after: Model, prompt: str) -> pd.DataFrame:
    """First tokens of the answer that gained and that lost most; see `top_movers`."""
    p, q = (probes.next_token(model, prompt) for model in (before, after))
    return top_movers(p, q, [before.tokenizer.decode([i]) for i in range(len(p))])


def spoken(model: Model, prompt: str) -> pd.DataFrame:
    """What a model answers to a prompt, greedily."""
    said = generate(model, [as_prompt(model, prompt)], max_new_tokens=24, temperature=0.0, show_progress=False)
    return said[["text", "logprob"]].assign(prompt=prompt)


def joined(last: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Changes of the pairs trained by plain DPO beside their scores before training."""
    plain = last[last["run"] != REPAIRED]
    return plain.merge(scores, left_on=["pair_id", "run"], right_on=["pair_id", "kind"])


def prediction(joined: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Rank correlation of each score with the change of ln p(preferred), bootstrapped over statements."""
    change, statements = joined["chosen_change"], joined["pair_id"]
    rows = [
        {"score": name, **bootstrap(correlation, joined[name], change, clusters=statements, draws=300, seed=seed)}
        for name in SCORES
    ]
    return pd.DataFrame(rows)


def filtered(scores: pd.DataFrame, keep_fraction: float) -> pd.DataFrame:
    """Pairs of each kind, and how many of them the filter by LN-CHES keeps."""
    kept = _kept(scores, keep_fraction)
    groups = scores.assign(kept=kept).groupby("kind", sort=False)["kept"]
    return pd.DataFrame({"kept": groups.sum(), "pairs": groups.size()})


def own_pairs(
    model: Model, sources: Sequence[str], n: int, percentiles: Sequence[float], size: int
) -> dict[str, list[Row]]:
    """Preference pairs of a user by the name of their set, those that training reads whole.

    Raises:
        InputError: A set has too few rows for its subsets; said before anything is trained.
    """
    found: dict[str, list[Row]] = {}
    for name, source in zip(labels_of(sources), sources):
        rows = rows_for("dpo", training_rows(source, n, columns=PAIR))
        found[name] = [dict(row) for row in probes.fitting_rows(model, rows)]
        percentile_subsets(np.arange(len(found[name])), percentiles, size)
    return found


def own_scores(model: Model, own: Mapping[str, Sequence[Row]], keep_fraction: float) -> pd.DataFrame:
    """CHES and its baselines of every pair of each `set`, and whether the filter keeps it; no row without a set."""
    scored = {name: probes.ches_scores(model, rows) for name, rows in own.items()}
    return _stacked([one.assign(set=name, kept=_kept(one, keep_fraction)) for name, one in scored.items()])


def train_apart(
    model: Model,
    own: Mapping[str, Sequence[Row]],
    scored: pd.DataFrame,
    percentiles: Sequence[float],
    size: int,
    settings: Mapping[str, Any],
    steps: int,
    seed: int,
) -> pd.DataFrame:
    """DPO on the pairs around each percentile of CHES apart; no row without a set.

    Returns:
        One row per pair: `displacement_report` after `steps`, `set`, `percentile` (its text), `at`, and the scores.
    """
    found = []
    for name, rows in own.items():
        scores = scored[scored["set"] == name]
        for at, picked in zip(percentiles, percentile_subsets(scores["ches"], percentiles, size)):
            part = [{**rows[i], "id": str(i)} for i in picked]
            title = f"{name}, CHES at {at:g} %"
            after = train("dpo", model, part, settings, save_at=[steps], seed=seed, name=title).load(steps)
            before, then = (probes.response_tokens(each, part) for each in (model, after))
            moved = displacement_report(before, then, settings["beta"])
            moved = moved.merge(scores[["pair_id", *SCORES]], on="pair_id")
            found.append(moved.assign(set=name, percentile=f"{at:g} %", at=at))
    return _stacked(found)


def by_percentile(apart: pd.DataFrame) -> pd.DataFrame:
    """Mean CHES and change of ln p(preferred) of each subset."""
    if apart.empty:
        return apart
    found = summarise(apart, ["chosen_change", "ches"], by=["set", "percentile"])
    return found[["set", "percentile", "metric", "mean", "low", "high", "n"]]


def own_order(apart: pd.DataFrame) -> pd.DataFrame:
    """`slope_over_percentiles` of each set."""
    if apart.empty:
        return apart
    rows = []
    for name, one in apart.groupby("set", sort=False):
        changes = one.groupby("at")["chosen_change"].mean()
        rows.append({"set": name, **slope_over_percentiles(changes.index, changes)})
    return pd.DataFrame(rows)[["set", "spearman", "mean", "low", "high", "n"]]


def findings(
    last: pd.DataFrame,
    joined: pd.DataFrame,
    one_token: pd.DataFrame,
    predicted: pd.DataFrame,
    order: pd.DataFrame,
    seed: int,
) -> list[Finding]:
    """Claims of the paper on this run.

    Args:
        last: `reports` at the last checkpoint.
        joined: Plain DPO with its scores.
        one_token: Means of `one_token`.
        predicted: Of `prediction`.
        order: Of `own_order`.
        seed: Of the bootstrap.
    """
    change = last.set_index(["run", "pair_id"])["chosen_change"]
    of_score: dict[Any, Any] = predicted.set_index("score").to_dict("index")
    other = joined[joined["run"] != "similar"].groupby("run")["ches"].mean()
    higher, lower = other.sort_values(ascending=False).index
    better = bootstrap(
        lambda c, e, y: correlation(c, y) - correlation(e, y),
        *(joined[name] for name in ("ches", "edit_similarity", "chosen_change")),
        clusters=joined["pair_id"],
        draws=300,
        seed=seed,
    )
    frozen = one_token[one_token["metric"] == "hidden_part"].iloc[0]
    margin = interval(last.loc[last["run"] == "similar", "margin"])
    claims: list[tuple[str, Any, Direction]] = [
        ("Adapters would displace No preferred over Never (exact derivative of its log-probability)", frozen, "below"),
        ("Training on similar pairs makes preferred answers less likely", interval(change["similar"]), "below"),
        ("Similar pairs displace more than dissimilar ones", _difference(change, "similar", "dissimilar"), "below"),
        ("A likelihood term repairs it", _difference(change, REPAIRED, "similar"), "above"),
        ("The margin grows all the same on similar pairs", margin, "above"),
        ("CHES is higher where the preferred answer falls more", of_score["ches"], "below"),
        ("So is LN-CHES", of_score["ln_ches"], "below"),
        (
            f"At equal edit distance and length the kind with the higher CHES ({higher}) falls more than the other "
            f"({lower})",
            _difference(change, higher, lower),
            "below",
        ),
        (
            "CHES orders the falls better than edit distance does (difference of rank correlations)",
            better,
            "below",
        ),
    ]
    rises = "The higher the percentile of CHES, the more the preferred answers fall"
    claims += [(f"{rises}: {row['set']}", row, "below") for row in order.to_dict("records")]
    by_construction = "by construction: what DPO trains"
    return [finding(text, by_construction if row is margin else PAPER, row, side) for text, row, side in claims]


def draw_preferred(reports: pd.DataFrame) -> Figure:
    """Mean log-probability of the preferred answer over training, by run."""
    path = summarise(reports, "chosen_after", by=["run", "step"])
    ylabel = "ln p of the preferred answer (nats)"
    figure = figures.curves(path, "step", by="run", xlabel="training steps", ylabel=ylabel)
    return figures.described(
        figure,
        "Mean log-probability of the preferred answer over training for similar pairs, paraphrases, dissimilar pairs, "
        "and similar pairs with a likelihood term.",
    )


def draw_margin(reports: pd.DataFrame) -> Figure:
    """Mean margin over the reference over training, by run."""
    path = summarise(reports, "margin", by=["run", "step"])
    figure = figures.curves(
        path,
        "step",
        by="run",
        baseline=0.0,
        baseline_name="start",
        xlabel="training steps",
        ylabel="margin over the reference (nats)",
    )
    return figures.described(figure, "Mean margin between preferred and rejected answers over training, by run.")


def draw_tokens(before: pd.DataFrame, after: pd.DataFrame) -> Figure:
    """Mean change of ln p of each token of the preferred answer, in order."""
    changes = token_changes(before, after)
    chosen = changes[changes["response"] == "chosen"]
    named = chosen.assign(token=chosen["position"].astype(str).str.zfill(2) + " " + chosen["token"])
    return _changes(
        summarise(named, ["change"], by="token"),
        "token",
        "no change",
        "change of ln p, by position and token",
        "Mean change of the log-probability of each token of the preferred answer, in order.",
    )


def draw_prediction(predicted: pd.DataFrame) -> Figure:
    """Rank correlation of each score with the change of the preferred answer."""
    return _changes(
        predicted,
        "score",
        "no relation",
        "rank correlation with the change of the preferred answer",
        "Spearman correlation of CHES, its length-normalised form and two baselines with the change of the preferred "
        "answer.",
    )


def draw_percentiles(by_percentile: pd.DataFrame) -> Figure | None:
    """Change of the preferred answers by percentile of CHES; None without a set."""
    if by_percentile.empty:
        return None
    return _changes(
        by_percentile[by_percentile["metric"] == "chosen_change"],
        "percentile",
        "no change",
        "change of ln p(preferred), nats",
        "Change of the preferred answers of each set by percentile of CHES, with 95% intervals.",
        by="set",
    )


def _changes(table: pd.DataFrame, label: str, zero: str, xlabel: str, alt: str, by: str | None = None) -> Figure:
    """Intervals around a baseline of 0, with the alt text."""
    figure = figures.intervals(table, label, by=by, baseline=0.0, baseline_name=zero, xlabel=xlabel)
    return figures.described(figure, alt)


def _difference(change: pd.Series, one: str, other: str) -> dict[str, Any]:
    """Mean difference of two runs, by statement."""
    return interval((change[one] - change[other]).to_numpy())


def _kept(scores: pd.DataFrame, keep_fraction: float) -> Any:
    """Of every pair, whether the filter by LN-CHES keeps it."""
    return np.isin(np.arange(len(scores)), filter_by_ches(scores["ln_ches"], keep_fraction))


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of the user's sets below each other; without any, the reason."""
    found = pd.concat(tables) if tables else pd.DataFrame()
    found.attrs["reason"] = "no pairs of your own in this run: set `more_pairs`"
    return found


def filter_by_ches(scores: ArrayLike, keep_fraction: float) -> Any:
    """Positions of the pairs with the lowest scores, in their order: what to train on to avoid displacement.

    Raises:
        InputError: The fraction is not in (0, 1], or keeps no pair.
    """
    s = np.asarray(scores, np.float64)
    if not 0 < keep_fraction <= 1:
        raise InputError(f"keep_fraction must be above 0 and at most 1, not {keep_fraction!r}.")
    kept = int(np.floor(keep_fraction * len(s) + 1e-9))
    if kept < 1:
        raise InputError(f"keep_fraction {keep_fraction:g} of {len(s)} pairs keeps none; keep more.")
    return np.sort(np.argsort(s, kind="stable")[:kept])


def percentile_subsets(scores: ArrayLike, percentiles: Sequence[float], size: int) -> NDArray[np.intp]:
    """Positions of the pairs whose scores lie around percentiles: the sets that are trained apart (arXiv 2410.08847).

    Args:
        scores: One a pair.
        percentiles: From 0 to 100, increasing.
        size: Pairs around each.

    Returns:
        `[percentiles, size]`, in the order of the scores; no pair stands in two subsets.

    Raises:
        InputError: A score is not finite, percentiles are out of range or order, or there are too few pairs.
    """
    s, p = np.asarray(scores, np.float64), np.asarray(percentiles, np.float64)
    if not np.isfinite(s).all():
        raise InputError("A score is not finite; leave its pair out.")
    if not len(p) or (p < 0).any() or (p > 100).any() or (np.diff(p) <= 0).any():
        raise InputError(f"percentiles must increase from 0 to 100 at most, not {list(percentiles)}.")
    starts = np.round(p / 100 * max(len(s) - size, 0)).astype(int)  # the window slides from the lowest to the highest
    if size < 1 or len(s) < size or (np.diff(starts) < size).any():
        raise InputError(f"{len(p)} subsets of {size} overlap in {len(s)} pairs; take smaller ones, or more pairs.")
    return np.argsort(s, kind="stable")[starts[:, None] + np.arange(size)]


def slope_over_percentiles(percentiles: ArrayLike, changes: ArrayLike) -> dict[str, float]:
    """How a subset's mean change falls or rises with its percentile: a straight line over subsets.

    Pairs of a subset are trained together, so the subset is the unit: Student's interval with subsets - 2 degrees of
    freedom.

    Args:
        percentiles: From 0 to 100, one a subset.
        changes: Mean change of ln p(preferred) of each (nats).

    Returns:
        `mean`, `low`, `high`: nats from the lowest to the highest percentile; `n`: subsets; `spearman` of both. Two
        subsets have no interval, and one has no line.
    """
    x, y = np.asarray(percentiles, np.float64) / 100, np.asarray(changes, np.float64)
    if not len(x) or x.shape != y.shape:
        raise InputError(f"A line needs one change a percentile, not {len(y)} for {len(x)}.")
    if len(x) < 2:
        return {**dict.fromkeys(("mean", "low", "high", "spearman"), float("nan")), "n": len(x)}
    line = linregress(x, y)
    reach = float(student.ppf(0.975, len(x) - 2)) * line.stderr if len(x) > 2 else float("nan")
    rank = correlation(x, y)
    return {"mean": line.slope, "low": line.slope - reach, "high": line.slope + reach, "n": len(x), "spearman": rank}


def displacement_report(before: pd.DataFrame, after: pd.DataFrame, beta: float = 0.1) -> pd.DataFrame:
    """Per pair, how the log-probabilities of both responses moved.

    Args:
        before: One row per token: `pair_id`, `response` (chosen, rejected), `position`, `token`, `logprob` (nats).
        after: The same tokens after training.
        beta: Of the preference loss, whose reference is `before`.

    Returns:
        pair_id, `chosen_before`, `chosen_after`, `chosen_change`, `rejected_change`, `margin` (chosen minus rejected
        change), `loss_before` (ln 2), `loss_after`, `displaced` (loss down and preferred response down), and
        `n_chosen`, `n_rejected` (tokens).

    Raises:
        InputError: The tables do not hold the same tokens.
    """
    merged = _joined(before, after)
    if missing := set(SIDES) - set(merged["response"]):
        raise InputError(f"The tables hold no {missing.pop()} responses; displacement compares chosen with rejected.")
    sums = merged.groupby(["pair_id", "response"], sort=False)[["logprob", "logprob_after"]].sum().unstack("response")
    counts = merged.groupby(["pair_id", "response"], sort=False).size().unstack("response")
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


def displacement(report: pd.DataFrame) -> dict[str, Any]:
    """Definition 1 on a whole set: mean loss down and mean log-probability of preferred responses down."""
    found = interval(report["chosen_change"])
    went_down = report["loss_after"].mean() < report["loss_before"].mean()
    return {**found, "displaced": bool(went_down and found["mean"] < 0), "share": float(report["displaced"].mean())}


def token_changes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """The change of every token's log-probability: sums hide that an end token shared by both sides falls with one."""
    merged = _joined(before, after)
    return merged.assign(change=merged["logprob_after"] - merged["logprob"])


def top_movers(before: ArrayLike, after: ArrayLike, tokens: Sequence[str], k: int = 5) -> pd.DataFrame:
    """The next tokens that gained most and lost most probability.

    Args:
        before: Log-probabilities of the vocabulary before, `[V]`, nats.
        after: The same after.
        tokens: Their texts.
        k: How many of each.
    """
    p, q = np.exp(np.asarray(before, np.float64)), np.exp(np.asarray(after, np.float64))
    if p.shape != q.shape or p.ndim != 1 or len(tokens) != len(p):
        raise InputError("top_movers needs the same vocabulary before and after, [V], and a text for each token.")
    order = np.argsort(q - p, kind="stable")
    picked = [*order[::-1][:k], *order[:k][::-1]]
    rows = [{"token": tokens[i], "before": p[i], "after": q[i], "change": q[i] - p[i]} for i in picked]
    return pd.DataFrame(rows).drop_duplicates("token")


def unembedding_terms(weights: ArrayLike, hidden: ArrayLike, positive: int, negative: int) -> dict[str, Any]:
    """What one preference step does to the preferred token's log-probability, split by what is trained.

    d/dt ln pi(+) = m (hidden_part + weight_part), m > 0: `hidden_part` = <W+ - sum_z pi_z W_z, W+ - W->, and
    `weight_part` = |h|^2 (1 - pi+ + pi-) >= 0, which is lost when the unembedding is frozen, as under LoRA.

    Args:
        weights: The unembedding, `[V, width]`.
        hidden: The last state, `[width]`.
        positive: Token preferred.
        negative: Token dispreferred.

    Returns:
        `hidden_part`, `weight_part`, `paper_term` (theorem 1; the larger, the faster the fall), `p` `[V]`, and `gains`
        `[V]`, <W_z, W+ - W->: who receives the mass (theorem 2).
    """
    w, h = np.asarray(weights, np.float64), np.asarray(hidden, np.float64)
    logits = w @ h
    p = np.exp(logits - logsumexp(logits))
    gains = w @ (w[positive] - w[negative])
    others = [z for z in range(len(w)) if z not in (positive, negative)]
    return {
        "hidden_part": float(gains[positive] - p @ gains),
        "weight_part": float(h @ h * (1 - p[positive] + p[negative])),
        "paper_term": float(w[positive] @ w[negative] + (p * gains)[others].sum()),
        "p": p,
        "gains": gains,
    }


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
    """Preference optimisation of one prompt by gradient descent on paper: probabilities `[steps + 1, V]`.

    Displacement in its smallest form: deterministic, and with the weights frozen catastrophic when the two tokens are
    alike and a third one is opposite to the rejected.
    """
    w, h = np.array(weights, np.float64), np.array(hidden, np.float64)
    reference = float((w[positive] - w[negative]) @ h)
    path = []
    for _ in range(steps + 1):
        logits = w @ h
        path.append(np.exp(logits - logsumexp(logits)))
        pull = rate * beta * expit(-beta * ((w[positive] - w[negative]) @ h - reference))
        difference, state = w[positive] - w[negative], h.copy()
        h = h + pull * difference
        if train_weights:
            w[positive] += pull * state
            w[negative] -= pull * state
    return np.array(path)


def _joined(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    keys = ["pair_id", "response", "position"]
    for table in (before, after):
        if missing := [name for name in [*keys, "token", "logprob"] if name not in table]:
            raise InputError(f"A table of token log-probabilities lacks {', '.join(missing)}.")
    merged = before.merge(after[[*keys, "token", "logprob"]], on=keys, how="outer", suffixes=("", "_after"))
    same = merged["token"].eq(merged["token_after"])
    if not same.all():
        raise InputError(f"Pair {merged.loc[~same, 'pair_id'].iloc[0]!r} has other tokens before than after.")
    return merged.drop(columns="token_after")
