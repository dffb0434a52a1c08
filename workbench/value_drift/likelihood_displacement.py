"""Likelihood displacement and CHES (arXiv 2410.08847)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import linregress, spearmanr
from scipy.stats import t as student

from workbench.errors import InputError
from workbench.statistics import interval
from workbench.statistics.distances import Floats

SIDES = ("chosen", "rejected")


def ches(chosen: ArrayLike, rejected: ArrayLike, length_normalise: bool = False) -> float:
    """Centred hidden embedding similarity of a pair (CHES); higher means more alike, so more displacement.

    With a and b the sums of the last layer's states over the response: <a, b> - |a|^2; normalised by lengths
    <a, b> / (|y+| |y-|) - |a|^2 / |y+|^2. Only the ranking of pairs means something.

    Args:
        chosen: States that predict each token of the preferred response, `[tokens, width]`.
        rejected: The same for the other.
        length_normalise: The second form, which does not favour long rejected responses.

    Raises:
        InputError: A response has no token, widths differ, or a number is not finite.
    """
    h, g = np.asarray(chosen, np.float64), np.asarray(rejected, np.float64)
    for states in (h, g):
        if states.ndim != 2 or not len(states):
            raise InputError("A response is empty; CHES needs the states of at least one token, [tokens, width].")
    if h.shape[1] != g.shape[1] or not (np.isfinite(h).all() and np.isfinite(g).all()):
        raise InputError("CHES needs finite states of one width for both responses.")
    a, b = h.sum(axis=0), g.sum(axis=0)
    if length_normalise:
        a, b = a / len(h), b / len(g)
    return float(a @ b - a @ a)


def last_hidden_product(chosen: ArrayLike, rejected: ArrayLike) -> float:
    """A baseline of CHES: the inner product of the two last states."""
    return float(np.asarray(chosen, np.float64)[-1] @ np.asarray(rejected, np.float64)[-1])


def edit_similarity(chosen: Sequence[int], rejected: Sequence[int]) -> float:
    """A baseline of CHES: minus the edit distance of token ids over the longer length."""
    a, b = list(chosen), list(rejected)
    if not a or not b:
        raise InputError("A response is empty; an edit distance needs at least one token each.")
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return -row[-1] / max(len(a), len(b))


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
    rank = float(spearmanr(x, y).statistic) if np.ptp(y) else float("nan")
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
