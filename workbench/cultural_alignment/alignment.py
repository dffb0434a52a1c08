"""Similarity of a respondent with groups of people, and the effect of personas on it."""

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
    finite_matrix,
    padded_distributions,
    paired_distributions,
    scale_positions,
    scores,
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
SLACK = 1e-12
"""Difference of two alignments up to which they count as a tie."""


def similarity(p: ArrayLike, h: ArrayLike, kind: Kind = "js", base: Base = 2, pos: ArrayLike | None = None) -> Floats:
    """Return the similarity of two distributions for each item, `[items]`: 1 if equal, NaN if either is missing.

    `js` = 1 - Jensen-Shannon distance (Durmus et al., 2306.16388), blind to order; in base 2 disjoint answers score 0
    (with natural logarithms, base "e", 0.167). `wasserstein` = 1 - distance / range of the positions (Santurkar et al.,
    2303.17548). `soft` = 1 - |difference of expectations| / range, `hard` = same mode (AlKhamissi et al., 2402.13231;
    divided at ties), `tvd` = 1 - total variation.

    Args:
        p: Distributions of the model, `[items, options]`; NaN pads shorter items or marks an item as missing.
        h: Distributions of people, alike.
        kind: Measure.
        base: Base of the logarithm of `js`.
        pos: Positions of the options for `wasserstein` and `soft`, `[options]`; default 0, 1, 2 ...
    """
    a, b, both = paired_distributions(p, h)
    result = np.full(len(a), np.nan)
    sizes = (~np.isnan(a)).sum(axis=1)
    for k in np.unique(sizes[both]):
        rows = both & (sizes == k)
        positions = scale_positions(None if pos is None else np.asarray(pos, np.float64)[:k], int(k))
        result[rows] = _rows(a[rows, :k], b[rows, :k], kind, base, np.tile(positions, (int(rows.sum()), 1)))
    return result


def spectrum_alignment(target: ArrayLike, raw: ArrayLike, eps: float = 1e-6) -> dict[str, float]:
    """Return the alignment with a target distribution `[K]` as in Spectrum Tuning (2510.06084), in nats.

    `raw` are the probabilities of the same outputs before normalisation, `[K]`; `eps` is added to both sides.

    Returns:
        `coverage` (sum of raw), `js` (divergence, not distance), `kl` (target to model), `reverse_kl`,
        `cross_entropy`, `mode_match`.
    """
    coverage = float(np.sum(np.asarray(raw, np.float64)))
    if not 0 < coverage <= 1 + 1e-6:
        raise InputError(f"Raw probabilities add up to {coverage:.6g}; the sum must be above 0 and at most 1.")
    t, p = padded_distributions("target", target)[0], padded_distributions("raw", raw, renormalise=True)[0]
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
    """Return validity, diversity, yield, coverage and collision of sampled outputs with many correct answers.

    Collision is the proportion of pairs of valid outputs that are equal; NaN with fewer than two.
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
    """Return the expected number of distinct outputs among n draws from probabilities q: sum of 1 - (1 - q)^n."""
    return float(np.sum(1 - (1 - padded_distributions("q", q)[0]) ** n))


def paired_shares(responses: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Return answers beside the answers of every group of people, one row per question, group and level.

    `responses` are from `workbench.levels`, with a tag `item`; `shares` has the columns item, group, level and share.
    Only groups that answered the item on a scale of the same size are paired (`attrs["n_dropped"]` counts the other
    pairs of question and group).
    """
    columns = ["item", "group", "level", "share"]
    if missing := set(columns) - set(shares.columns):
        raise InputError(f"The shares lack the column {sorted(missing)[0]!r}; they need item, group, level and share.")
    sizes = shares.groupby(["item", "group"])["level"].size().rename("k").reset_index()
    questions = responses.groupby("question_id", sort=False).agg(item=("item", "first"), size=("level", "size"))
    pairs = questions.reset_index().merge(sizes, on="item")
    pairs = pairs[pairs["size"] == pairs["k"]]
    if pairs.empty:
        raise InputError("No item has a scale of the same size for people and model; use the scale of the shares.")
    table = responses.merge(pairs[["question_id", "group"]], on="question_id")
    table = table.merge(shares[columns], on=["item", "group", "level"])
    table.attrs["n_dropped"] = len(questions) * shares["group"].nunique() - len(pairs)
    return table


def people_as_responses(shares: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Return people's answers in the form of `workbench.levels`, with the group as persona and even positions.

    `items` has the columns item, dimension and key, and other tags if wanted.
    """
    table = shares[["item", "group", "level", "share"]].merge(items, on="item").rename(columns={"share": "p"})
    table.insert(0, "question_id", table["item"] + "/" + table["group"])
    added = {"persona": table["group"], "value": table["level"].astype(float), "position": table["level"]}
    return table.drop(columns="group").assign(**added, mass=1.0, abstain=0.0)


def alignments(paired: pd.DataFrame, kind: Kind = "js") -> pd.DataFrame:
    """Return the similarity of every question's answer with every group's, one row per question and group.

    Positions are the column `value` of `paired_shares`. Columns: question_id, group, tags, `similarity`, that of
    `uniform` answers to the same item and group, `kind` and `base`.
    """
    keys = ["question_id", "group"]
    ordered = paired.sort_values([*keys, "level"], kind="stable")
    sizes = ordered.groupby(keys, sort=False)["level"].transform("size")
    inner = [name for name in (*LEVELS, "share") if name in ordered]
    parts = []
    for k in sorted(sizes.unique()):
        part = ordered[sizes == k]
        p, h, pos = (part[name].to_numpy(np.float64).reshape(-1, k) for name in ("p", "share", "value"))
        h, flat = padded_distributions("share", h), np.full_like(p, 1 / k)
        similarities = {"similarity": _rows(p, h, kind, 2, pos), "uniform": _rows(flat, h, kind, 2, pos)}
        parts.append(part.iloc[::k].drop(columns=inner).assign(**similarities))
    return pd.concat(parts, ignore_index=True).assign(kind=kind, base="2" if kind == "js" else "")


def alignment_matrix(aligned: pd.DataFrame) -> pd.DataFrame:
    """Return the mean alignment of each persona with each group, equal weight per item: personas by groups."""
    items = aligned.groupby(["persona", "group", "item"], sort=False)["similarity"].mean()
    return items.groupby(["persona", "group"], sort=False).mean().unstack("group")


def human_to_human(shares: pd.DataFrame, kind: Kind = "js") -> pd.DataFrame:
    """Return the similarity of every ordered pair of groups: group, other, similarity (mean over items), n_items."""
    if shares.empty:
        raise InputError("The shares are empty; give columns item, group, level and share.")
    levels = range(int(shares["level"].max()) + 1)
    tables = {
        name: part.pivot(index="item", columns="level", values="share").reindex(columns=levels)
        for name, part in shares.groupby("group")
    }
    rows = []
    for (a, p), (b, h) in product(tables.items(), repeat=2):
        both = p.index.intersection(h.index)
        mean = float(similarity(p.loc[both], h.loc[both], kind).mean()) if len(both) else np.nan
        rows.append({"group": a, "other": b, "similarity": mean, "n_items": len(both)})
    return pd.DataFrame(rows)


def baselines(averaged: pd.DataFrame, blank: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Return the alignment of position-only answers, uniform answers, and people with people: baselines by groups.

    `averaged` are the model's answers without a persona and `blank` those without content, both from
    `workbench.averaged`.
    """
    blind = averaged.drop(columns="p").merge(blank[["item", "level", "p"]], on=["item", "level"])
    prior = alignments(paired_shares(blind, shares)).groupby("group")[["similarity", "uniform"]].mean()
    people = human_to_human(shares).query("group != other").groupby("group")["similarity"].mean()
    rows = {"position only": prior["similarity"], "uniform answers": prior["uniform"], "people with people": people}
    return pd.DataFrame(rows).T


def _rows(p: Floats, h: Floats, kind: Kind, base: Base, pos: Floats) -> Floats:
    """Return the similarity of checked distributions, `[items]`; all arguments are `[items, options]`."""
    if kind not in get_args(Kind):
        raise unknown("similarity", kind, list(get_args(Kind)))
    reach = pos.max(axis=1) - pos.min(axis=1)
    if kind == "js":
        return 1 - np.sqrt(js(p, h) / (1.0 if base == "e" else math.log(base)))
    if kind == "wasserstein":
        return 1 - w1(p, h, pos) / reach
    if kind == "soft":
        return 1 - np.abs(((p - h) * pos).sum(axis=1)) / reach
    if kind == "tvd":
        return 1 - tv(p, h)
    top_p, top_h = (x >= x.max(axis=1, keepdims=True) - SLACK for x in (p, h))
    return (top_p & top_h).sum(axis=1) / top_p.sum(axis=1)


def steer(
    alignment: ArrayLike,
    without: ArrayLike | None = None,
    names: list[str] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return gain, margin and rank of every persona's own country, tested against shuffled countries.

    Args:
        alignment: Alignment of persona i's answers with country j, `[C, C]`.
        without: Alignment of the answers without a persona, `[C]`.
        names: Names of the countries.
        draws: Shuffles of the countries.
        seed: Seed of the shuffles.

    Returns:
        `personas` (one row each: `persona`, `gain`, `margin`, `rank` of its own country, 1 is nearest, means at ties),
        `top1` (proportion nearest to their own country, divided at ties), `mrr` (mean of 1 / rank), `erratic`
        (proportion with gain < 0), intervals over personas of `gain`, `own_gain` (gain less the mean gain with the
        other countries, as flatter answers are nearer to all) and `margin`, `p_top1` and `p_margin` = (b + 1) / (draws
        + 1), and `chance` of `top1`, 1 / C.
    """
    a = finite_matrix("alignment", alignment, 2, 2)
    c = len(a)
    if a.shape != (c, c):
        raise InputError(f"alignment has shape {a.shape}; give one row and one column per country.")
    none = np.full(c, np.nan) if without is None else np.asarray(without, np.float64)
    if none.shape != (c,):
        raise InputError(f"without has shape {none.shape}; give one number per country, {c} in all.")
    own = np.arange(c)
    shuffles = np.random.default_rng(seed).permuted(np.tile(own, (draws, 1)), axis=1)
    gain, margin, rank = np.diag(a) - none, _margin(a, own), _rank(a)
    top1, null_top1 = float(_top1(a, own)), _top1(a, shuffles)
    null_margin = _margin(a, shuffles).mean(axis=1)
    personas = {"persona": names or [str(i) for i in range(c)], "gain": gain, "margin": margin, "rank": rank}
    return {
        "personas": pd.DataFrame(personas),
        "top1": top1,
        "mrr": float((1 / rank).mean()),
        "erratic": float((gain < 0).mean()) if without is not None else np.nan,
        "gain": interval(gain),
        "own_gain": interval(gain - ((a - none).sum(axis=1) - gain) / (c - 1)),
        "margin": interval(margin),
        "p_top1": float((1 + (null_top1 >= top1 - SLACK).sum()) / (1 + draws)),
        "p_margin": float((1 + (null_margin >= margin.mean() - SLACK).sum()) / (1 + draws)),
        "chance": 1 / c,
    }


def collapse(personas: ArrayLike, humans: ArrayLike) -> float:
    """Return the mean distance between personas / that between their populations; NaN if all humans are the same.

    Both are `[countries, features]`, on the same 0-1 scales.
    """
    from scipy.spatial.distance import pdist

    one, two = pdist(finite_matrix("personas", personas, 2)), pdist(finite_matrix("humans", humans, 2))
    return float(one.mean() / two.mean()) if two.mean() > 0 else np.nan


def _margin(a: Floats, target: np.ndarray) -> Floats:
    """Return alignment with the target less the mean of the others, `[..., personas]` for targets of that shape."""
    own = a[np.arange(len(a)), target]
    return own - (a.sum(axis=1) - own) / (len(a) - 1)


def _rank(a: Floats) -> Floats:
    """Return the rank of each persona's own country, means at ties, `[personas]`."""
    own = np.diag(a)[:, None]
    return (a > own + SLACK).sum(axis=1) + (np.abs(a - own) <= SLACK).sum(axis=1) / 2 + 0.5


def _top1(a: Floats, target: np.ndarray) -> Floats:
    """Return the proportion of personas whose target is nearest, per row of targets; a tie of m counts 1 / m."""
    best = a >= a.max(axis=1, keepdims=True) - SLACK
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


def of_personas(
    averaged: pd.DataFrame, blank: pd.DataFrame, shares: pd.DataFrame, names: Sequence[str], groups: Sequence[str]
) -> Aligned:
    """Return the alignment (1 - JS distance, base 2) of answers without a persona and with each persona.

    `averaged` are answers without and with personas, `blank` those to the items without content. `names` are the rows,
    `groups` the columns. Without rows in `shares` nothing is aligned, and their reason is passed on.
    """
    if shares.empty:
        return Aligned(shares, shares, np.nan)
    by_item = alignments(paired_shares(averaged, shares))
    mine = alignment_matrix(by_item).loc[["none", *names], list(groups)]
    beside = baselines(averaged[averaged["persona"] == "none"], blank, shares)[list(groups)]
    shown = pd.concat([mine.rename({"none": "no persona"}), beside]).rename_axis("persona")
    return Aligned(by_item, shown, float(np.nanmean(beside.loc["people with people"].to_numpy())))


def draw_personas(aligned: Aligned, n_items: int, synthetic: bool) -> Figure | None:
    """Plot the table of `of_personas`, colours centred on people with people; None without people."""
    if aligned.shown.empty:
        return None
    who = "synthetic populations" if synthetic else "groups of people"
    figure = matrix(
        aligned.shown,
        "alignment (1 − JS distance, base 2)",
        centre=aligned.human,
        mark_diagonal=True,
        xlabel=f"{who}, in the order of the personas",
        centre_name="people with people",
        note=f"Frames: the persona's own group. Means of {n_items} items, without intervals.",
    )
    return described(figure, "Alignment of each persona with each group, the own group framed, above three baselines.")


@dataclass(frozen=True, slots=True)
class Steered:
    """Whether personas steer answers towards their own group; empty without people."""

    tests: dict[str, Any]
    """Result of `steer`."""
    spread: dict[str, Any]
    """Spread of the personas / that of the people they represent, with its interval over items."""
    personas: pd.DataFrame
    """One row per persona."""
    summary: pd.DataFrame
    """One row per measure."""


def steering(
    aligned: Aligned, persona_scores: pd.DataFrame, shares: pd.DataFrame, items: Instrument, seed: int = 0
) -> Steered:
    """Return `steer` and `collapse` of personas named like the groups; `persona_scores` cover all formats."""
    if aligned.shown.empty:
        return Steered({}, {}, aligned.shown, aligned.shown)
    names = list(aligned.shown.columns)
    tests = steer(aligned.shown.loc[names, names], aligned.shown.loc["no persona", names], names, seed=seed)
    tags = pd.DataFrame([{"item": item.id, "dimension": item.dimension, "key": item.key} for item in items])
    mine = persona_scores.pivot_table(index="persona", columns="item", values="x").loc[names]
    people = scores(people_as_responses(shares, tags)).pivot(index="persona", columns="item", values="x")
    theirs = people.loc[names, mine.columns]

    def ratio(a: Floats, b: Floats) -> float:
        return collapse(a.T, b.T)

    spread = bootstrap(ratio, mine.to_numpy().T, theirs.to_numpy().T, draws=999, seed=seed)
    summary = {
        "top-1": tests["top1"],
        "top-1 at chance": tests["chance"],
        "p (top-1)": tests["p_top1"],
        "mean reciprocal rank": tests["mrr"],
        "mean gain": tests["gain"]["mean"],
        "mean margin": tests["margin"]["mean"],
        "p (margin)": tests["p_margin"],
        "erratic proportion": tests["erratic"],
        "collapse (spread of personas / of people)": collapse(mine, theirs),
    }
    return Steered(tests, spread, tests["personas"], pd.DataFrame({"value": summary}).rename_axis("measure"))


def wordings(responses: pd.DataFrame, shares: pd.DataFrame, names: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Return the mean margin by wording of the persona on either half of the items: selection and test half."""
    if shares.empty:
        return shares
    odd, rows = sorted(set(responses["item"]))[::2], []
    for wording, part in responses.groupby("wording"):
        aligned = alignments(paired_shares(part, shares))
        inside = aligned["item"].isin(odd)
        for half, chosen in (("selection half", inside), ("test half", ~inside)):
            a = alignment_matrix(aligned[chosen]).loc[list(names), list(names)]
            margin = steer(a, draws=99, seed=seed)["margin"]["mean"]
            rows.append({"wording": wording, "half": half, "mean margin": margin})
    return pd.DataFrame(rows).pivot(index="wording", columns="half", values="mean margin")


def split_half(aligned: Aligned, names: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Return `extrapolability.split_half` of the model's profile over groups as one row; none below three groups."""
    if aligned.by_item.empty:
        return aligned.by_item
    if len(names) < 3:
        return no_rows("A profile over two groups has no ranks to compare.")
    default = aligned.by_item[aligned.by_item["persona"] == "none"]
    profiles = default.pivot_table(index="item", columns="group", values="similarity")
    return pd.DataFrame([extrapolability.split_half(profiles[list(names)], seed=seed)])


def findings(steered: Steered) -> list[Finding]:
    """Return claims on personas and their own groups; none without people."""
    tests, here, same = steered.tests, "this notebook", "no difference"
    if not tests:
        return []
    undecided = unless(tests["margin"], "above", 0.0, "personas are no nearer to their own group than to others")
    nearer = "A persona brings the model nearer to its group than to the others"
    closer = "Personas lie closer together than the people they represent"
    return [
        finding(
            "Personas are nearer to their own group than to others",
            here,
            tests["margin"],
            "above",
            0.0,
            "",
            "alignment with the own minus with other groups",
            same,
        ),
        finding(nearer, here, tests["own_gain"], "above", 0.0, "", "gain for the own minus for other groups", same),
        finding(
            closer,
            here,
            steered.spread,
            "below",
            1.0,
            undecided,
            "spread of personas relative to people",
            "the spread of people",
        ),
    ]
