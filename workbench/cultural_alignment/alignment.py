"""Similarity of a respondent with groups of people, and what personas change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import LEVELS, Floats
from workbench.cultural_alignment import extrapolability
from workbench.cultural_alignment.surveys import (
    Instrument,
    distributions,
    pair,
    scale_positions,
    scores,
    table,
)
from workbench.errors import InputError, unknown
from workbench.figures import described, matrix
from workbench.statistics import Finding, bootstrap, finding, interval, unless
from workbench.statistics.distances import js, kl, tv, w1
from workbench.statistics.findings import no_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Kind = Literal["js", "wasserstein", "soft", "hard", "tvd"]
Base = float | Literal["e"]


def similarity(
    p: ArrayLike,
    h: ArrayLike,
    kind: Kind = "js",
    base: Base = 2,
    pos: ArrayLike | None = None,
    renormalise: bool = False,
) -> Floats:
    """Similarity of each item's two distributions, 1 where they are equal.

    `js` = 1 - Jensen-Shannon distance (Durmus et al., 2306.16388), blind to order; base 2, where disjoint answers
    score 0 (with natural logarithms they score 0.167). `wasserstein` = 1 - distance / range of the positions
    (Santurkar et al., 2303.17548). `soft` = 1 - |difference of expectations| / range, `hard` = same mode (AlKhamissi
    et al., 2402.13231; shared at ties), `tvd` = 1 - total variation.

    Args:
        p: Distributions of the model, `[items, options]`; NaN pads shorter items, or marks an item missing.
        h: Distributions of people, alike.
        kind: Which.
        base: Base of the logarithm of `js`; "e" to compare with tables that use natural logarithms.
        pos: Places of the options for `wasserstein` and `soft`: `[options]`, from the item, not from the list.
        renormalise: Divide rows by their sum instead of refusing those that do not add up to 1.

    Returns:
        `[items]`; NaN where either side is missing.
    """
    if kind not in get_args(Kind):
        raise unknown("similarity", kind, list(get_args(Kind)))
    a, b, both = pair(p, h, renormalise)
    found = np.full(len(a), np.nan)
    sizes = (~np.isnan(a)).sum(axis=1)
    for k in np.unique(sizes[both]):
        rows = both & (sizes == k)
        places = scale_positions(None if pos is None else np.asarray(pos, np.float64)[:k], int(k))
        found[rows] = _rows(a[rows, :k], b[rows, :k], kind, base, np.tile(places, (int(rows.sum()), 1)))
    return found


def spectrum_alignment(target: ArrayLike, raw: ArrayLike, eps: float = 1e-6) -> dict[str, float]:
    """Alignment with a target distribution as in Spectrum Tuning (2510.06084), in nats.

    Args:
        target: The target distribution, `[K]`.
        raw: Probabilities of the same outputs before they are divided by their sum, `[K]`.
        eps: Added to both sides.

    Returns:
        `coverage` (sum of raw), `js` (divergence, not distance), `kl` (target to model), `reverse_kl`,
        `cross_entropy`, `mode_match`.
    """
    coverage = float(np.sum(np.asarray(raw, np.float64)))
    if not 0 < coverage <= 1 + 1e-6:
        raise InputError(f"Raw probabilities add up to {coverage:.6g}; they must lie above 0 and at most at 1.")
    t, p = distributions("target", target)[0], distributions("raw", raw, renormalise=True)[0]
    t, p = (t + eps) / (t + eps).sum(), (p + eps) / (p + eps).sum()
    return {
        "coverage": min(coverage, 1.0),
        "js": float(js(t, p)),
        "kl": float(kl(t, p)),
        "reverse_kl": float(kl(p, t)),
        "cross_entropy": float(-np.sum(t * np.log(p))),
        "mode_match": float(t.argmax() == p.argmax()),
    }


def valid_outputs(samples: list[str], valid: set[str]) -> dict[str, float]:
    """Sampled outputs of a task with many right answers: validity, diversity, yield, coverage, collisions.

    Collision is the share of pairs of valid outputs that are equal; NaN with fewer than two.
    """
    if not samples or not valid:
        raise InputError("valid_outputs needs at least one sample and one valid output.")
    hits = pd.Series([text for text in samples if text in valid], dtype=object)
    n, counts = len(hits), hits.value_counts()
    return {
        "validity": n / len(samples),
        "diversity": len(counts) / n if n else np.nan,
        "yield": float(len(counts)),
        "coverage": len(counts) / len(valid),
        "collision": float((counts * (counts - 1)).sum() / (n * (n - 1))) if n > 1 else np.nan,
        "n": len(samples),
    }


def expected_yield(q: ArrayLike, n: int) -> float:
    """Distinct outputs expected among n draws from probabilities q: sum of 1 - (1 - q)^n."""
    return float(np.sum(1 - (1 - distributions("q", q)[0]) ** n))


def paired_shares(responses: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Answers beside the answers of every group of people: one row per question, group and level.

    Args:
        responses: Made by `workbench.levels`, with a tag `item`.
        shares: Columns `item`, `group`, `level`, `share`.

    Returns:
        The responses repeated per group, with `group` and `share`; only where a group was asked the item on a scale
        of the same size (`attrs["n_dropped"]` counts pairs of question and group that were not).
    """
    need = {"item", "group", "level", "share"}
    if missing := need - set(shares.columns):
        raise InputError(f"The shares lack the column {sorted(missing)[0]!r}; they need item, group, level and share.")
    sizes = shares.groupby(["item", "group"])["level"].size().rename("k").reset_index()
    asked = responses.groupby("question_id", sort=False).agg(item=("item", "first"), size=("level", "size"))
    pairs = asked.reset_index().merge(sizes, on="item")
    kept = pairs[pairs["size"] == pairs["k"]]
    if kept.empty:
        raise InputError("People and model share no item on a scale of the same size; ask the scale the shares are of.")
    table = responses.merge(kept[["question_id", "group"]], on="question_id").merge(
        shares[[*need]], on=["item", "group", "level"]
    )
    table.attrs["n_dropped"] = len(asked) * shares["group"].nunique() - len(kept)
    return table


def people_as_responses(shares: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """People's answers in the form of `workbench.levels`, with the group as persona: scored by the same code.

    Args:
        shares: Columns `item`, `group`, `level`, `share`; places are evenly spaced.
        items: Columns `item`, `dimension`, `key`, and other tags if wanted.
    """
    table = shares[["item", "group", "level", "share"]].merge(items, on="item").rename(columns={"share": "p"})
    table.insert(0, "question_id", table["item"] + "/" + table["group"])
    added = {"persona": table["group"], "value": table["level"].astype(float), "position": table["level"]}
    return table.drop(columns="group").assign(**added, mass=1.0, abstain=0.0)


def alignments(paired: pd.DataFrame, kind: Kind = "js", base: Base = 2) -> pd.DataFrame:
    """Similarity of every question's answer with every group's, one row per question and group.

    Args:
        paired: Made by `paired_shares`.
        kind: See `similarity`; positions are the column `value`.
        base: See `similarity`.

    Returns:
        question_id, group, tags, and `similarity` with that of `uniform` answers to the same item and group, `kind`
        and `base`.
    """
    if kind not in get_args(Kind):
        raise unknown("similarity", kind, list(get_args(Kind)))
    keys = ["question_id", "group"]
    ordered = paired.sort_values([*keys, "level"], kind="stable")
    sizes = ordered.groupby(keys, sort=False)["level"].transform("size")
    inner = {*LEVELS, "share"}
    parts = []
    for k in sorted(sizes.unique()):
        part = ordered[sizes == k]
        p, h, pos = (part[name].to_numpy(np.float64).reshape(-1, k) for name in ("p", "share", "value"))
        h, flat = distributions("share", h), np.full_like(p, 1 / k)
        rows = part.iloc[::k].drop(columns=[name for name in inner if name in part])
        parts.append(rows.assign(similarity=_rows(p, h, kind, base, pos), uniform=_rows(flat, h, kind, base, pos)))
    return pd.concat(parts, ignore_index=True).assign(kind=kind, base=str(base) if kind == "js" else "")


def alignment_matrix(aligned: pd.DataFrame, value: str = "similarity") -> pd.DataFrame:
    """Mean alignment of each persona with each group, equal weight per item: personas by groups."""
    items = aligned.groupby(["persona", "group", "item"], sort=False)[value].mean()
    return items.groupby(["persona", "group"], sort=False).mean().unstack("group")


def human_to_human(shares: pd.DataFrame, kind: Kind = "js", base: Base = 2) -> pd.DataFrame:
    """The ceiling: similarity of every two groups of people over the items both were asked.

    Returns:
        One row per ordered pair: `group`, `other`, `similarity` (mean over items), `n_items`.
    """
    if shares.empty:
        raise InputError("There are no shares to compare; give columns item, group, level and share.")
    levels = range(int(shares["level"].max()) + 1)
    tables = {
        name: part.pivot(index="item", columns="level", values="share").reindex(columns=levels)
        for name, part in shares.groupby("group")
    }
    rows = []
    for (a, p), (b, h) in product(tables.items(), repeat=2):
        both = p.index.intersection(h.index)
        found = similarity(p.loc[both], h.loc[both], kind, base) if len(both) else np.empty(0)
        value = float(found.mean()) if len(found) else np.nan
        rows.append({"group": a, "other": b, "similarity": value, "n_items": len(found)})
    return pd.DataFrame(rows)


def baselines(
    averaged: pd.DataFrame, blank: pd.DataFrame, shares: pd.DataFrame, kind: Kind = "js", base: Base = 2
) -> pd.DataFrame:
    """What every alignment stands beside, baselines by groups: position only, uniform answers, people with people.

    Args:
        averaged: The model's answers without a persona, made by `workbench.averaged`.
        blank: Its answers to the same items without content, alike.
        shares: Columns `item`, `group`, `level`, `share`.
        kind: See `similarity`.
        base: See `similarity`.
    """
    blind = averaged.drop(columns="p").merge(blank[["item", "level", "p"]], on=["item", "level"])
    prior = alignments(paired_shares(blind, shares), kind, base).groupby("group")[["similarity", "uniform"]].mean()
    people = human_to_human(shares, kind, base).query("group != other").groupby("group")["similarity"].mean()
    rows = {"position only": prior["similarity"], "uniform answers": prior["uniform"], "people with people": people}
    return pd.DataFrame(rows).T


def _rows(p: Floats, h: Floats, kind: Kind, base: Base, pos: Floats) -> Floats:
    """Similarity of checked distributions over the same places, `[items]`; everything is `[items, options]`."""
    reach = pos.max(axis=1) - pos.min(axis=1)
    if kind == "js":
        return 1 - np.sqrt(js(p, h) / (1.0 if base == "e" else math.log(base)))
    if kind == "wasserstein":
        return 1 - w1(p, h, pos) / reach
    if kind == "soft":
        return 1 - np.abs(((p - h) * pos).sum(axis=1)) / reach
    if kind == "tvd":
        return 1 - tv(p, h)
    top_p, top_h = (x >= x.max(axis=1, keepdims=True) - 1e-12 for x in (p, h))
    return (top_p & top_h).sum(axis=1) / top_p.sum(axis=1)


@dataclass(frozen=True, slots=True)
class Steering:
    """What personas do, with the null that targets are interchangeable."""

    personas: pd.DataFrame
    """One row per persona: `persona`, `gain`, `margin`, `rank` of its own country (1 is nearest; means at ties)."""
    top1: float
    """Share of personas nearest to their own country (ties shared)."""
    mrr: float
    """Mean of 1 / rank."""
    erratic: float
    """Share of personas that move away from their country (gain < 0)."""
    gain: dict[str, Any]
    """Mean gain with its interval over personas; all NaN without answers of no persona."""
    own_gain: dict[str, Any]
    """Mean gain less a persona's mean gain with the other countries: flatter answers bring it nearer to all of them."""
    margin: dict[str, Any]
    """Mean margin with its interval over personas."""
    p_top1: float
    """Share of label shuffles with a top1 as high, (b + 1) / (m + 1)."""
    p_margin: float
    """The same for the mean margin."""
    chance: float
    """Top1 when targets are interchangeable: 1 / countries."""
    n: int
    """Personas."""


def steer(
    alignment: ArrayLike,
    without: ArrayLike | None = None,
    names: list[str] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> Steering:
    """Gain, margin and rank of every persona's own country.

    Args:
        alignment: Alignment of persona i's answers with country j, `[C, C]`.
        without: Alignment of the answers without a persona, `[C]`.
        names: Names of the countries.
        draws: Shuffles of the target labels.
        seed: Of the shuffles.
    """
    a = table("alignment", alignment, 2, 2)
    c = len(a)
    if a.shape != (c, c):
        raise InputError(f"alignment has shape {a.shape}; give one row and one column per country.")
    none = np.full(c, np.nan) if without is None else np.asarray(without, np.float64)
    if none.shape != (c,):
        raise InputError(f"without has shape {none.shape}; give one number per country, {c} in all.")
    own = np.arange(c)
    rng = np.random.default_rng(seed)
    shuffles = rng.permuted(np.tile(own, (draws, 1)), axis=1)
    gain, margin, rank = np.diag(a) - none, _margin(a, own), _rank(a, own)
    top1, null_top1 = float(_top1(a, own)), _top1(a, shuffles)
    null_margin = _margin(a, shuffles).mean(axis=1)
    slack = 1e-12
    return Steering(
        personas=pd.DataFrame(
            {"persona": names or [str(i) for i in range(c)], "gain": gain, "margin": margin, "rank": rank}
        ),
        top1=top1,
        mrr=float((1 / rank).mean()),
        erratic=float((gain < 0).mean()) if without is not None else np.nan,
        gain=interval(gain),
        own_gain=interval(gain - ((a - none).sum(axis=1) - gain) / (c - 1)),
        margin=interval(margin),
        p_top1=float((1 + (null_top1 >= top1 - slack).sum()) / (1 + draws)),
        p_margin=float((1 + (null_margin >= margin.mean() - slack).sum()) / (1 + draws)),
        chance=1 / c,
        n=c,
    )


def collapse(personas: ArrayLike, humans: ArrayLike) -> float:
    """Mean distance between personas over mean distance between the humans they stand for; below 1: too alike.

    NaN where all humans are the same.

    Args:
        personas: `[personas, features]`, on the same 0-1 scales as the humans.
        humans: `[countries, features]`.
    """
    from scipy.spatial.distance import pdist

    one, two = pdist(table("personas", personas, 2)), pdist(table("humans", humans, 2))
    return float(one.mean() / two.mean()) if two.mean() > 0 else np.nan


def _margin(a: Floats, target: np.ndarray) -> Floats:
    """Alignment with the target less the mean of the others, per persona; targets may be many rows."""
    own = a[np.arange(len(a)), target]
    return own - (a.sum(axis=1) - own) / (len(a) - 1)


def _rank(a: Floats, target: np.ndarray) -> Floats:
    own = a[np.arange(len(a)), target][:, None]
    return (a > own + 1e-12).sum(axis=1) + (np.abs(a - own) <= 1e-12).sum(axis=1) / 2 + 0.5


def _top1(a: Floats, target: np.ndarray) -> Floats:
    """Share of personas whose target is nearest, per row of targets; a tie of m counts 1 / m."""
    best = a >= a.max(axis=1, keepdims=True) - 1e-12
    return np.asarray((best[np.arange(len(a)), target] / best.sum(axis=1)).mean(axis=-1))


@dataclass(frozen=True, slots=True)
class Aligned:
    """Alignment of every persona's answers, and of the baselines, with groups of people."""

    by_item: pd.DataFrame
    """One row per question and group, made by `alignments`; no rows without people."""
    shown: pd.DataFrame
    """`no persona`, the personas and three baselines by groups; no rows without people."""
    human: float
    """Mean alignment of people with people."""

    def of(self, names: Sequence[str]) -> pd.DataFrame:
        """Alignment of these personas with the groups of the same names, `[personas, groups]`."""
        return self.shown.loc[list(names), list(names)]


def of_personas(
    averaged: pd.DataFrame, blank: pd.DataFrame, shares: pd.DataFrame, names: Sequence[str], groups: Sequence[str]
) -> Aligned:
    """Alignment (1 - JS distance, base 2) of answers without a persona and as each persona with each group.

    Args:
        averaged: Answers made by `workbench.averaged`, without and with personas.
        blank: Those to the same items without content.
        shares: Columns item, group, level and share; without rows there is nothing to align, and the reason is kept.
        names: Personas, the rows.
        groups: Groups, the columns.
    """
    if shares.empty:
        return Aligned(shares, shares, np.nan)
    by_item = alignments(paired_shares(averaged, shares))
    mine = alignment_matrix(by_item).loc[["none", *names], list(groups)]
    beside = baselines(averaged[averaged["persona"] == "none"], blank, shares)[list(groups)]
    shown = pd.concat([mine.rename({"none": "no persona"}), beside]).rename_axis("persona")
    return Aligned(by_item, shown, float(np.nanmean(beside.loc["people with people"].to_numpy())))


def draw_personas(aligned: Aligned, n_items: int, synthetic: bool) -> Figure | None:
    """The table of `of_personas`, coloured around people with people; None without people."""
    if aligned.shown.empty:
        return None
    title = (
        f"Personas against {'synthetic populations' if synthetic else 'people'} ({n_items} items); white is people "
        f"with people ({aligned.human:.2f})"
    )
    label = "alignment (1 - JS distance, base 2)"
    figure = matrix(aligned.shown, label, centre=aligned.human, mark_diagonal=True, title=title)
    return described(
        figure,
        "Alignment of each persona's answers with each group's, the own group framed; below it position-only answers, "
        "uniform answers, and people with people.",
    )


@dataclass(frozen=True, slots=True)
class Steered:
    """Whether personas steer answers towards their own group."""

    found: Steering | None
    """Gain, margin and ranks; None without people."""
    spread: dict[str, Any]
    """Spread of the personas over that of the people they stand for, with its interval over items."""
    personas: pd.DataFrame
    """One row per persona."""
    summary: pd.DataFrame
    """One row per measure."""


def steering(
    aligned: Aligned, scores_of_personas: pd.DataFrame, shares: pd.DataFrame, items: Instrument, seed: int = 0
) -> Steered:
    """`steer` and `collapse` of personas that are named like the groups of people.

    Args:
        aligned: Made by `of_personas`.
        scores_of_personas: Made by `surveys.scores`, in all formats.
        shares: Columns item, group, level and share.
        items: What was asked.
        seed: Of the shuffles and the bootstrap.
    """
    if aligned.shown.empty:
        return Steered(None, {}, aligned.shown, aligned.shown)
    names = list(aligned.shown.columns)
    found = steer(aligned.of(names), aligned.shown.loc["no persona", names], names, seed=seed)
    tags = pd.DataFrame([{"item": i.id, "dimension": i.dimension, "key": i.key} for i in items])
    mine = scores_of_personas.pivot_table(index="persona", columns="item", values="x").loc[names]
    people = scores(people_as_responses(shares, tags)).pivot(index="persona", columns="item", values="x")
    theirs = people.loc[names, mine.columns]

    def ratio(a: Floats, b: Floats) -> float:
        return collapse(a.T, b.T)

    spread = bootstrap(ratio, mine.to_numpy().T, theirs.to_numpy().T, draws=999, seed=seed)
    summary = {
        "top-1": found.top1,
        "top-1 by chance": found.chance,
        "p (top-1)": found.p_top1,
        "mean reciprocal rank": found.mrr,
        "mean gain": found.gain["mean"],
        "mean margin": found.margin["mean"],
        "p (margin)": found.p_margin,
        "erratic proportion": found.erratic,
        "collapse (spread of personas / of people)": collapse(mine, theirs),
    }
    return Steered(found, spread, found.personas, pd.DataFrame({"value": summary}).rename_axis("measure"))


def wordings(responses: pd.DataFrame, shares: pd.DataFrame, names: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Mean margin by wording of the persona on either half of the items: chosen on one, tested on the other.

    Args:
        responses: As personas in one format, with the tag `wording`.
        shares: Columns item, group, level and share.
        names: Of the personas.
        seed: See `steer`.
    """
    if shares.empty:
        return shares
    odd, rows = sorted(set(responses["item"]))[::2], []
    for wording, part in responses.groupby("wording"):
        each = alignments(paired_shares(part, shares))
        inside = each["item"].isin(odd)
        for half, kept in (("chosen on", inside), ("tested on", ~inside)):
            a = alignment_matrix(each[kept]).loc[list(names), list(names)]
            margin = steer(a, draws=99, seed=seed).margin["mean"]
            rows.append({"wording": wording, "half": half, "mean margin": margin})
    return pd.DataFrame(rows).pivot(index="wording", columns="half", values="mean margin")


def split_half(aligned: Aligned, names: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """`extrapolability.split_half` of the model's profile over groups, as one row; no rows for fewer than three."""
    if aligned.by_item.empty:
        return aligned.by_item
    if len(names) < 3:
        return no_rows("A profile over two groups has no ranks to compare.")
    alone = aligned.by_item[aligned.by_item["persona"] == "none"]
    profiles = alone.pivot_table(index="item", columns="group", values="similarity")
    return pd.DataFrame([extrapolability.split_half(profiles[list(names)], seed=seed)])


def findings(steered: Steered) -> list[Finding]:
    """Claims on personas and their own groups; none without people."""
    found = steered.found
    if found is None:
        return []
    idle = unless(found.margin, "above", 0.0, "personas are no nearer to their own group than to others")
    own = "this notebook"
    closer = "Personas lie closer together than the people they stand for (spread ratio below 1)"
    return [
        finding("Personas are nearer to their own group than to others", own, found.margin, "above"),
        finding("A persona brings the model nearer to its group than to the others", own, found.own_gain, "above"),
        finding(closer, own, steered.spread, "below", 1.0, idle),
    ]
