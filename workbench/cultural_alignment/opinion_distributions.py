"""Whether one answer is favoured, in one order and in all."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.cultural_alignment.surveys import distributions
from workbench.errors import InputError
from workbench.statistics import adjusted, interval, sign_flip_p
from workbench.statistics.distances import Floats, entropy, settled


def correct_answer(
    p: ArrayLike, human: ArrayLike | None = None, tau: float = 0.99, spread: float = 0.9
) -> pd.DataFrame:
    """Items that people disagree on and the model answers as if they had one right answer (2302.07267).

    Returns:
        One row per item: `p_max`, `entropy` (over log K), `effective` (exp of the entropy in nats), `simpson`
        (1 - sum p^2), `human_max`, and `one_answer` = p_max >= tau and human_max <= spread (without people p_max
        alone).
    """
    rows = distributions("p", p)
    known = ~np.isnan(rows)
    filled = np.nan_to_num(rows)
    missing = ~known.any(axis=1)
    h = entropy(filled)
    found = pd.DataFrame({"p_max": filled.max(axis=1), "entropy": h / np.log(np.maximum(known.sum(axis=1), 2))})
    found["effective"], found["simpson"] = np.exp(h), 1 - (filled**2).sum(axis=1)
    found["human_max"] = np.nan if human is None else np.nanmax(distributions("human", human), axis=1)
    split = True if human is None else settled(found["human_max"]) <= spread
    found["one_answer"] = (settled(found["p_max"]) >= tau) & split
    return found.mask(pd.Series(missing)).astype(float) if missing.any() else found.astype({"one_answer": float})


def order_flip(forward: ArrayLike, reverse: ArrayLike) -> Floats:
    """|P(content | one order) - P(content | reversed)| of each item; with p for the same content in both."""
    one, two = np.asarray(forward, np.float64), np.asarray(reverse, np.float64)
    if one.shape != two.shape or not (((one >= 0) & (one <= 1)).all() and ((two >= 0) & (two <= 1)).all()):
        raise InputError("Give one probability per item and order, between 0 and 1.")
    return np.abs(one - two)


def order_robust(p: ArrayLike) -> Floats:
    """Whether an item's favoured content is the same in all orders, `[items]`: 1, 0, or NaN where one is missing.

    Args:
        p: Distributions in base order, `[orders, items, options]`. A favourite shared by several options is none.
    """
    orders = np.asarray(p, np.float64)
    if orders.ndim != 3 or len(orders) < 2:
        raise InputError(f"p has shape {orders.shape}; give two orders at least, [orders, items, options].")
    rows = distributions("p", orders.reshape(-1, orders.shape[2])).reshape(orders.shape)
    best = np.nan_to_num(rows).argmax(axis=2)
    tied = (rows >= np.nanmax(rows, axis=2, initial=0.0)[..., None] - 1e-12).sum(axis=2) != 1
    same = (best == best[0]).all(axis=0) & ~tied.any(axis=0)
    return np.where(np.isnan(rows).all(axis=2).any(axis=0), np.nan, same.astype(float))


def self_placement(responses: pd.DataFrame) -> pd.DataFrame:
    """Which side a respondent places itself on, by the order in which the sides were listed.

    Args:
        responses: Made by `reads.responses` on a question whose scale runs from left to right, with the tag
            `direction`, in both directions.

    Returns:
        One row per direction and one for their mean: probability of `left`, `middle` and `right`, `mass`, and
        `order_flip` = change of `right` when the list is turned.
    """
    middle = responses.groupby("question_id")["value"].transform(lambda v: (v.min() + v.max()) / 2)
    side = np.select([responses["value"] < middle, responses["value"] > middle], ["left", "right"], "middle")
    wide = responses.assign(side=side).pivot_table(index="direction", columns="side", values="p", aggfunc="sum")
    if set(wide.index) != {"ascending", "descending"}:
        raise InputError("A self-placement is read in both directions; ask it ascending and descending.")
    found = wide.reindex(columns=["left", "middle", "right"], fill_value=0.0)
    found["mass"] = responses.groupby("direction")["mass"].first()
    flip = float(abs(found["right"].loc[["ascending", "descending"]].diff().iloc[-1]))
    return pd.concat([found, found.mean().to_frame("mean of both").T]).rename_axis("direction").assign(order_flip=flip)


def profile_difference(scores: pd.DataFrame, left: str, right: str, points: float = 5.0) -> pd.DataFrame:
    """Moral foundations of two sides, and how far apart they are: one row per foundation.

    Args:
        scores: Made by `reads.scores` for both personas, with the tags `persona`, `item` and `dimension` (the
            foundation).
        left: Persona of one side.
        right: Persona of the other.
        points: Highest place of the scale, which starts at 0.

    Returns:
        `dimension`, `mean_left`, `mean_right`, `difference` (right less left) with `low`, `high` and a paired t over
        items, sign-flip `p`, `p_holm`, `n`, and `note` = "degenerate" where the items do not differ in it, so that no t
        is defined (NaN).
    """
    rows = []
    for dimension, part in scores.groupby("dimension", sort=False):
        wide = points * part.pivot_table(index="item", columns="persona", values="x_raw")
        if missing := {left, right} - set(wide.columns):
            raise InputError(f"No answers of {sorted(missing)[0]!r} on {dimension!r}; ask both sides.")
        d = (wide[right] - wide[left]).dropna()
        flat = len(d) < 2 or float(np.ptp(d)) < 1e-12
        found = interval(d.to_numpy())
        means = {"mean_left": wide.loc[d.index, left].mean(), "mean_right": wide.loc[d.index, right].mean()}
        ends = dict.fromkeys(("low", "high", "t"), np.nan) if flat else {k: found[k] for k in ("low", "high")}
        if not flat:
            ends["t"] = found["mean"] / found["se"]
        rows.append({"dimension": dimension, **means, "difference": found["mean"], **ends, "n": len(d)})
        rows[-1] |= {"p": np.nan if flat else sign_flip_p(d.to_numpy()), "note": "degenerate" if flat else ""}
    table = pd.DataFrame(rows)
    return table.assign(p_holm=adjusted(table["p"]))
