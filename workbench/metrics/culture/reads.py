"""Reading a survey answer: one distribution over the scale per question, whatever order and labels were shown.

An option's `value` is its place on the item's own scale. Rows of a question with one value are surface forms of one
answer and add up, those with the same tokens once, so a distribution is in the item's base order by construction and
nothing is ever flipped back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import LENGTHS, Normalisation, block_starts, require_shown, tag_columns
from workbench.errors import InputError, unknown
from workbench.metrics.checks import settled
from workbench.metrics.culture.checks import Bools, Floats, distributions, pair

Alias = Literal["sum", "max"]


def responses(answers: pd.DataFrame, alias: Alias = "sum", normalisation: Normalisation = "none") -> pd.DataFrame:
    """Answer distributions of a survey, one row per question and place on its scale.

    Args:
        answers: An answers table whose options carry a `value`; abstentions need none.
        alias: How surface forms of one value join.
        normalisation: What a log-probability is divided by: none, tokens, chars or bytes. `mass` never is.

    Returns:
        question_id, tags, `level` (0 for the lowest value), `value`, `slot` (where it was shown first), `p`, and
        repeated for each level `mass` (of the scale's options) and `refusal` (share of the abstentions in all mass).

    Raises:
        InputError: An option that is no abstention has no value, or a question has fewer than two values.
    """
    starts = block_starts(answers)
    require_shown(answers)
    block = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(answers)))
    refuses = (answers["role"] == "abstain").to_numpy()
    value = answers["value"].to_numpy(np.float64)
    if (bad := ~refuses & np.isnan(value)).any():
        name = answers["question_id"].iloc[int(bad.argmax())]
        raise InputError(f"Question {name!r} has an option without a value, so no place on a scale; give it one.")
    raw = answers["logprob"].to_numpy(np.float64)
    if "duplicate" in answers:  # a form with the tokens of an earlier one is that form
        raw = np.where(answers["duplicate"].to_numpy(bool), -np.inf, raw)
    frame = pd.DataFrame({"block": block, "value": value, "slot": answers["option"].to_numpy(), "raw": np.exp(raw)})
    frame["weight"] = np.exp(_scores(answers, raw, normalisation, starts))
    refused = frame[refuses].groupby("block")["raw"].sum().reindex(range(len(starts)), fill_value=0.0).to_numpy()
    how = {"weight": alias, "raw": "sum", "slot": "first"}
    if alias not in get_args(Alias):
        raise unknown("alias rule", alias, list(get_args(Alias)))
    levels = frame[~refuses].groupby(["block", "value"], as_index=False).agg(how)
    sizes = levels.groupby("block")["value"].transform("size")
    if (sizes < 2).any() or levels["block"].nunique() < len(starts):
        raise InputError("A question has fewer than two places on its scale; give its options different values.")
    levels["level"] = levels.groupby("block").cumcount()
    levels["p"] = levels["weight"] / levels.groupby("block")["weight"].transform("sum")
    levels["mass"] = levels.groupby("block")["raw"].transform("sum")
    gone = refused[levels["block"]]
    levels["refusal"] = gone / (gone + levels["mass"])
    tags = answers.iloc[starts][["question_id", *tag_columns(answers)]].reset_index(drop=True)
    kept = ["level", "value", "slot", "p", "mass", "refusal"]
    return pd.concat([tags.iloc[levels["block"]].reset_index(drop=True), levels[kept]], axis=1)


def averaged(table: pd.DataFrame, over: Sequence[str] = ("format", "labels", "direction", "answer")) -> pd.DataFrame:
    """Distributions averaged over formats, as one question per item, persona and wording: order effects cancel.

    Args:
        table: Made by `responses`, with scales of one size per item.
        over: Tags that are averaged out.
    """
    keys = [name for name in ("item", "persona", "wording") if name in table.columns]
    gone = {*over, "question_id", "slot", "p", "mass", "refusal", *keys, "level"}
    kept = {name: (name, "first") for name in table.columns if name not in gone}
    numbers = {name: (name, "mean") for name in ("p", "mass", "refusal")}
    found = table.groupby([*keys, "level"], sort=False).agg(**kept, **numbers).reset_index()
    total = found.groupby(keys, sort=False)["p"].transform("sum")
    if (abs(total - 1) > 1e-6).any():
        raise InputError("Formats with scales of different size cannot be averaged; keep one scale.")
    found.insert(0, "question_id", found[keys].astype(str).agg("/".join, axis=1))
    return found.assign(slot=found["level"])


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """What each answer says, one row per question.

    Args:
        table: Made by `responses`; tags `key` (+1, or -1 for an item whose statement names the low pole) and
            `ordinal` (False for an item without order) are used if there.

    Returns:
        question_id, tags, `x_raw` (expected place between the ends, 0 to 1), `x` (the same, turned by the key),
        `modal` (level; the first at ties), `tie`, `p_max`, `p_first` (probability of the slot shown first), `entropy`
        (divided by log K), `n_levels`, `mass` and `refusal`.
    """
    grouped = table.groupby("question_id", sort=False)
    weighted = table.assign(
        expected=table["p"] * table["value"],
        surprise=-table["p"] * np.log(table["p"].where(table["p"] > 0, 1.0)),
        shown_first=table["p"].where(table["slot"] == grouped["slot"].transform("min"), 0.0),
        best=table["p"] >= grouped["p"].transform("max") * (1 - 1e-12),
    ).groupby("question_id", sort=False)
    added = {"level", "value", "slot", "p"}
    found = table[grouped.cumcount() == 0].drop(columns=list(added)).reset_index(drop=True)
    low, high = grouped["value"].min().to_numpy(), grouped["value"].max().to_numpy()
    x = (weighted["expected"].sum().to_numpy() - low) / (high - low)
    if "ordinal" in found:
        x = np.where(found["ordinal"].astype(bool), x, np.nan)
    key = found["key"].to_numpy(np.float64) if "key" in found else np.ones(len(found))
    if not np.isin(key, (-1, 1)).all():
        raise InputError(f"A key must be 1 or -1, not {key[~np.isin(key, (-1, 1))][0]:g}.")
    found["x_raw"], found["x"] = x, np.where(key > 0, x, 1 - x)
    best = weighted["best"]
    found["modal"], found["tie"] = (
        best.apply(lambda b: int(b.to_numpy().argmax())).to_numpy(),
        best.sum().to_numpy() > 1,
    )
    found["p_max"], found["p_first"] = grouped["p"].max().to_numpy(), weighted["shown_first"].sum().to_numpy()
    found["n_levels"] = grouped.size().to_numpy()
    found["entropy"] = weighted["surprise"].sum().to_numpy() / np.log(found["n_levels"])
    return found


def position_effects(p_first: ArrayLike, p_second: ArrayLike, eps: float | None = None) -> tuple[Floats, Floats]:
    """Preference and position bias of a binary item read in both orders, in logits.

    With p_first = P(first slot | X stands first) and p_second = P(first slot | X stands second): preference for X =
    (logit p_first - logit p_second) / 2, bias to the first slot = their mean. Probabilities 0 and 1 give infinities
    unless `eps` says how far to stay away from them.
    """
    from scipy.special import logit

    one, two = (np.asarray(p, np.float64) for p in (p_first, p_second))
    if not all(((p >= 0) & (p <= 1)).all() for p in (one, two)):
        raise InputError("Probabilities of a slot must lie between 0 and 1.")
    if eps is not None:
        one, two = one.clip(eps, 1 - eps), two.clip(eps, 1 - eps)
    with np.errstate(invalid="ignore"):
        return (logit(one) - logit(two)) / 2, (logit(one) + logit(two)) / 2


def agreement(p: ArrayLike, q: ArrayLike) -> dict[str, float]:
    """How far two readings of the same items agree: share with the same first choice, and mean total variation."""
    a, b, both = pair(p, q)
    if not both.any():
        return {"same_choice": np.nan, "tvd": np.nan, "n_used": 0, "n_dropped": len(both)}
    a, b = np.nan_to_num(a[both]), np.nan_to_num(b[both])
    same = a.argmax(axis=1) == b.argmax(axis=1)
    counts = {"n_used": int(both.sum()), "n_dropped": int((~both).sum())}
    return {"same_choice": float(same.mean()), "tvd": float(np.abs(a - b).sum(axis=1).mean() / 2), **counts}


def leakage(refused: ArrayLike, p: ArrayLike, tau: float = 0.75) -> tuple[Bools, Floats]:
    """Whether a refusal in words hides one confident option (MENAValues), and the entropy of each row over log K.

    Args:
        refused: Whether the text is a refusal, `[items]`.
        p: Answer distributions read from the logits, `[items, options]`.
        tau: Probability from which one option counts as confident (exclusive).
    """
    rows = distributions("p", p)
    said_no = np.asarray(refused)
    if said_no.shape != (len(rows),) or not np.isin(said_no, (0, 1)).all():
        raise InputError(f"refused must hold {len(rows)} values that are true or false.")
    known = ~np.isnan(rows)
    spread = -np.nansum(np.where(rows > 0, rows * np.log(np.where(rows > 0, rows, 1.0)), 0.0), axis=1)
    entropy = np.where(known.any(axis=1), spread / np.log(np.maximum(known.sum(axis=1), 2)), np.nan)
    return said_no.astype(bool) & (settled(np.nan_to_num(rows).max(axis=1)) > tau), entropy


def _scores(answers: pd.DataFrame, raw: Floats, normalisation: str, starts: np.ndarray) -> Floats:
    """Scores less each question's best, `[rows]`."""
    lengths = {name.removeprefix("n_"): name for name in LENGTHS}
    if normalisation != "none" and normalisation not in lengths:
        raise unknown("normalisation of a survey", normalisation, ["none", *lengths])
    if np.isnan(raw).any() or (raw > 1e-6).any():
        raise InputError("A log-probability is NaN or above 0; ask the question again.")
    score = raw if normalisation == "none" else raw / answers[lengths[normalisation]].to_numpy(np.float64)
    best = np.maximum.reduceat(score, starts)
    if (best == -np.inf).any():
        name = answers["question_id"].iloc[int(starts[int((best == -np.inf).argmax())])]
        raise InputError(f"Question {name!r} cannot be read: every option has log-probability -inf; leave it out.")
    return score - np.repeat(best, np.diff(starts, append=len(score)))
