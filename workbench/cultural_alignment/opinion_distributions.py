"""Alignment of answer distributions with groups of people, and opinion items answered as if one answer were correct."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import averaged, levels
from workbench.cultural_alignment import alignment, instruments, populations, surveys
from workbench.cultural_alignment.alignment import alignments, paired_shares
from workbench.cultural_alignment.opinions import WEST
from workbench.cultural_alignment.surveys import ORDERS, Instrument, Persona, SurveyItem, padded_distributions
from workbench.errors import InputError
from workbench.figures import described, intervals, stacked_bars
from workbench.statistics import (
    Finding,
    adjusted,
    finding,
    interval,
    paired,
    rows_by,
    sign_flip_p,
    summarise,
    unless,
    verdict,
    versus,
)
from workbench.statistics.distances import Floats, entropy, fractions, settled
from workbench.statistics.findings import no_rows
from workbench.statistics.intervals import SHARE
from workbench.tables import headed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNIFORM, BLIND = "uniform", "position only (no content)"
READINGS = ["one order", "orders averaged"]
KINDS: tuple[alignment.Kind, ...] = ("js", "wasserstein")
SIMILARITIES = {"kind": "similarity", "js": "1 − JS distance", "wasserstein": "1 − Wasserstein distance"}
"""Headers of their tables."""
AGREED = 0.9
"""Human proportion of one option above which people count as agreeing on an item."""
HERE = "this notebook"


def correct_answer(p: ArrayLike, human: ArrayLike | None = None, tau: float = 0.99) -> pd.DataFrame:
    """Return how peaked each item's answer is, and whether it looks like one correct answer (arXiv 2302.07267).

    Both tables are distributions `[items, options]`.

    Returns:
        One row per item: `p_max`, `entropy` (over log K), `effective` (exp of the entropy in nats), `simpson`
        (1 - sum p^2), `human_max`, and `one_answer` = p_max >= tau and human_max <= 0.9 (without human distributions,
        p_max alone).
    """
    rows = padded_distributions("p", p)
    known = ~np.isnan(rows)
    filled = np.nan_to_num(rows)
    h = entropy(filled)
    table = pd.DataFrame({"p_max": filled.max(axis=1), "entropy": h / np.log(np.maximum(known.sum(axis=1), 2))})
    table["effective"], table["simpson"] = np.exp(h), 1 - (filled**2).sum(axis=1)
    table["human_max"] = np.nan if human is None else np.nanmax(padded_distributions("human", human), axis=1)
    divided = True if human is None else settled(table["human_max"]) <= AGREED
    table["one_answer"] = (settled(table["p_max"]) >= tau) & divided
    table = table.astype(float)
    table[~known.any(axis=1)] = np.nan
    return table


def order_flip(forward: ArrayLike, reverse: ArrayLike) -> Floats:
    """Return |P(content | one order) - P(content | reversed)| of each item, `[items]`."""
    return np.abs(np.subtract(*fractions(forward=forward, reverse=reverse)))


def order_robust(p: ArrayLike) -> Floats:
    """Return whether an item's favoured content is the same in all orders, `[items]`: 1, 0, or NaN if one is missing.

    `p` are distributions in base order, `[orders, items, options]`. A tie is not a favourite.
    """
    orders = np.asarray(p, np.float64)
    if orders.ndim != 3 or len(orders) < 2:
        raise InputError(f"p has shape {orders.shape}; give two orders at least, [orders, items, options].")
    rows = padded_distributions("p", orders.reshape(-1, orders.shape[2])).reshape(orders.shape)
    best = np.nan_to_num(rows).argmax(axis=2)
    tied = (rows >= np.nanmax(rows, axis=2, initial=0.0)[..., None] - 1e-12).sum(axis=2) != 1
    same = (best == best[0]).all(axis=0) & ~tied.any(axis=0)
    return np.where(np.isnan(rows).all(axis=2).any(axis=0), np.nan, same.astype(float))


def self_placement(responses: pd.DataFrame) -> pd.DataFrame:
    """Return the side a respondent places itself on, by the order in which the sides were listed.

    `responses` are to a question whose scale runs from left to right, in both directions (tag `direction`).

    Returns:
        One row per direction and one for their mean: probability of `left`, `middle` and `right`, `mass`, and
        `order_flip`, the change of `right` when the list is reversed.
    """
    middle = responses.groupby("question_id")["value"].transform(lambda v: (v.min() + v.max()) / 2)
    side = np.select([responses["value"] < middle, responses["value"] > middle], ["left", "right"], "middle")
    wide = responses.assign(side=side).pivot_table(index="direction", columns="side", values="p", aggfunc="sum")
    if set(wide.index) != {"ascending", "descending"}:
        raise InputError("A self-placement needs both directions; ask it ascending and descending.")
    table = wide.reindex(columns=["left", "middle", "right"], fill_value=0.0)
    table["mass"] = responses.groupby("direction")["mass"].first()
    flip = float(table["right"].loc[["ascending", "descending"]].diff().abs().iloc[-1])
    return pd.concat([table, table.mean().to_frame("mean of both").T]).rename_axis("direction").assign(order_flip=flip)


def morals(answers: pd.DataFrame | None) -> pd.DataFrame:
    """Return scores of moral foundations items, orders averaged; no rows without answers."""
    if answers is None:
        return no_rows("No moral foundations items were given (mfq=).")
    return surveys.scores(averaged(levels(answers, nested="keep"), ORDERS))


def foundations(morals: pd.DataFrame) -> pd.DataFrame:
    """Return the foundations, 0 to 5, by persona, with intervals over items."""
    if morals.empty:
        return morals
    top = instruments.POINTS - 1
    items = morals.assign(foundation=top * morals["x_raw"])
    by = ["persona", "dimension"]
    return summarise(items, ["foundation"], by=by, bounds=(0.0, float(top))).drop(columns="metric")


def foundations_gap(morals: pd.DataFrame) -> pd.DataFrame:
    """Return the difference of the moral foundations of the right and the left, one row per foundation.

    Returns:
        `dimension`, `mean_left`, `mean_right`, `difference` (right less left) with `low`, `high` and a paired `t` over
        items, sign-flip `p`, `p_holm`, `n`, and `note`: "degenerate" where the difference is the same for all items, so
        that t, p and the interval are NaN.
    """
    if morals.empty:
        return morals
    left, right = (side.name for side in instruments.SIDES)
    rows = []
    for dimension, part in morals.groupby("dimension", sort=False):
        wide = (instruments.POINTS - 1) * part.pivot_table(index="item", columns="persona", values="x_raw")
        if missing := {left, right} - set(wide.columns):
            raise InputError(f"No answers of {sorted(missing)[0]!r} on {dimension!r}; ask both sides.")
        d = (wide[right] - wide[left]).dropna()
        row, means = interval(d.to_numpy()), wide.loc[d.index].mean()
        varies = row["se"] > 0
        rows.append(
            {
                **{"dimension": dimension, "mean_left": means[left], "mean_right": means[right]},
                **{"difference": row["mean"], "low": row["low"], "high": row["high"]},
                **{"t": row["mean"] / row["se"] if varies else np.nan, "n": len(d)},
                **{"p": sign_flip_p(d.to_numpy()) if varies else np.nan, "note": "" if varies else "degenerate"},
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=adjusted(table["p"]))


def people(
    items: Instrument,
    shares: str | Path | None,
    countries: Sequence[str],
    personas_file: str | Path | None,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[Persona]]:
    """Return people's answers, synthetic without a file, and the personas that are groups of these people."""
    personas = instruments.load_personas(personas_file) if personas_file else instruments.personas(countries)
    if shares:
        table = populations.load_shares(shares, items)
    else:
        table = populations.synthetic_shares(items, instruments.country_scores().loc[list(countries)], seed=seed)
    if personas_file:
        populations.check_personas([persona.name for persona in personas], table)
    return table, [persona for persona in personas if persona.name in set(table["group"])]


@dataclass(frozen=True, slots=True)
class Survey:
    """Answers of one model in several formats, as distributions over the positions of a scale."""

    responses: pd.DataFrame
    """Result of `workbench.levels` for the items in every format."""
    ordered: pd.DataFrame
    """The same averaged over formats."""
    blank: pd.DataFrame
    """Answers to the items without content, averaged over formats."""

    @property
    def one_order(self) -> pd.DataFrame:
        """Responses in the first format without a persona."""
        first = self.responses["format"] == self.responses["format"].iloc[0]
        return self.responses[first & (self.responses["persona"] == "none")]

    @property
    def default(self) -> pd.DataFrame:
        """Averaged responses without a persona."""
        return self.ordered[self.ordered["persona"] == "none"]

    @property
    def blind(self) -> pd.DataFrame:
        """Averaged responses without a persona, with the probabilities of the items without content."""
        return self.default.drop(columns="p").merge(self.blank[["item", "level", "p"]], on=["item", "level"])


def survey(answers: pd.DataFrame, blank: Instrument) -> Survey:
    """Return the answers to items and, under the instrument `blank`, to the same items without content."""
    responses = levels(answers, nested="keep")
    empty = responses["instrument"] == blank.name
    return Survey(responses[~empty], averaged(responses[~empty], ORDERS), averaged(responses[empty], ORDERS))


def masses(survey: Survey) -> pd.DataFrame:
    """Return mean mass and abstention by format, and the number of questions."""
    parts = survey.responses.groupby("format")
    return parts[["mass", "abstain"]].mean().assign(n=parts["question_id"].nunique())


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """Return uniform answers to the same questions."""
    return table.assign(p=1 / table.groupby("question_id")["level"].transform("size"))


def by_reading(survey: Survey, shares: pd.DataFrame) -> pd.DataFrame:
    """Return `alignments` with every group by both measures, without a persona, for each reading and the baselines."""
    tables = [survey.one_order, survey.default, survey.blind, _flat(survey.default)]
    parts = [
        alignments(paired_shares(table, shares), kind).assign(reading=name)
        for name, table in zip([*READINGS, BLIND, UNIFORM], tables)
        for kind in KINDS
    ]
    return pd.concat(parts, ignore_index=True)


def of_reading(aligned: pd.DataFrame, reading: str) -> pd.DataFrame:
    """Return the JS similarities of one reading."""
    return aligned[(aligned["kind"] == "js") & (aligned["reading"] == reading)]


def by_group(aligned: pd.DataFrame) -> pd.DataFrame:
    """Return the mean similarity by measure, reading and group, with intervals over items."""
    table = summarise(aligned, ["similarity"], ["kind", "reading", "group"], bounds=SHARE).drop(columns="metric")
    return headed(table, SIMILARITIES)


def overall(aligned: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Return the mean similarity over groups by measure and reading, beside that of people with people."""
    means = summarise(aligned, ["similarity"], by=["kind", "reading"], cluster="item", bounds=SHARE)
    pairs = {kind: alignment.human_to_human(shares, kind).query("group != other") for kind in KINDS}
    human = means["kind"].map({kind: part["similarity"].mean() for kind, part in pairs.items()})
    table = means.assign(**{"people with people": human})
    return headed(table.sort_values("kind", kind="stable").drop(columns="metric"), SIMILARITIES)


def draw_overall(overall: pd.DataFrame, n_groups: int, n_items: int) -> Figure:
    """Plot the table of `overall`, with people with people as baseline."""
    names = {"js": "1 − JS distance (base 2)", "wasserstein": "1 − Wasserstein distance"}
    figure = intervals(
        overall.replace({"kind": names}),
        ["kind", "reading"],
        baseline="people with people",
        baseline_name="people with people",
        xlabel=f"similarity, mean over {n_groups} groups and {n_items} items",
        of="groups × items",
    )
    return described(
        figure, "Mean alignment of the model, position-only and uniform answers, beside people with people."
    )


def best(overall: pd.DataFrame) -> pd.Series:
    """Return the row of `overall` with orders averaged, by JS distance."""
    return of_reading(overall, "orders averaged").iloc[0]


def against_uniform(aligned: pd.DataFrame) -> pd.DataFrame:
    """Return the comparison of each group's alignment, orders averaged, with uniform answers to the same items."""
    mine, flat = (of_reading(aligned, name) for name in ("orders averaged", UNIFORM))
    gaps = rows_by(paired(mine, flat, ["similarity"], on=["item", "group"], by="group", bounds=SHARE), "group")
    rows = [{"group": name, "against uniform": versus(row, 0.0, "uniform answers")} for name, row in gaps.items()]
    return pd.DataFrame(rows)


def draw_answers(survey: Survey, shares: pd.DataFrame, n_items: int) -> Figure | None:
    """Plot the distribution of answers over the scale beside people; None if items have scales of different size."""
    if survey.default.groupby("item")["level"].size().nunique() != 1:
        return None
    names = ("model, one order", "model, orders averaged", "position only")
    tables = (survey.one_order, survey.default, survey.blind)
    means = {name: table.groupby("level")["p"].mean() for name, table in zip(names, tables)}
    wide = pd.DataFrame({**means, "people": shares.groupby("level")["share"].mean()}).T
    ends = {1: "1 (lowest)", wide.shape[1]: f"{wide.shape[1]} (highest)"}
    wide.columns = [ends.get(k, str(k)) for k in range(1, wide.shape[1] + 1)]
    note = f"Position on the scale; means of {n_items} items, without intervals."
    return described(
        stacked_bars(wide, "proportion of answers", ordered=True, note=note),
        "Distribution of answers over the scale: the model in one order, averaged, without content, and people.",
    )


def with_blank(emotions: Instrument) -> Instrument:
    """Return the emotions with one more item without an emoji, whose answers are the position-only baseline."""
    text, scale = "Which emotion does this express most?", emotions[0].scale
    return Instrument("emotions", (*emotions, SurveyItem("content-free", text, scale=scale, ordinal=False)))


def emotion_alignment(responses: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Return the similarity with people on emotions by reading: each order, each without an emoji, and uniform.

    `responses` are those to `with_blank`, in both directions.
    """
    tables = (responses[responses["direction"] == "ascending"], averaged(responses, ORDERS))
    rows = []
    for name, part in zip(READINGS, tables):
        prior = part[part["item"] == "content-free"].set_index("level")["p"]
        pairs = paired_shares(part, shares)
        blind = pairs.assign(p=pairs["level"].map(prior))
        rows += [alignments(pairs).assign(reading=name), alignments(blind).assign(reading=f"position only, {name}")]
    uniform = pairs.assign(p=1 / responses["level"].nunique())
    return pd.concat([*rows, alignments(uniform).assign(reading=UNIFORM)], ignore_index=True)


def emotion_means(real: pd.DataFrame) -> pd.DataFrame:
    """Return the means of `emotion_alignment` by reading."""
    return summarise(real, ["similarity"], by="reading", bounds=SHARE).drop(columns="metric")


def draw_emotions(means: pd.DataFrame, n: int) -> Figure:
    """Plot the table of `emotion_means` beside uniform answers, n emojis."""
    figure = intervals(
        means,
        "reading",
        baseline=float(means[means["reading"] == UNIFORM]["mean"].iloc[0]),
        baseline_name="uniform answers",
        xlabel=f"similarity to people on {n} emojis (1 − JS distance, base 2)",
        of="emojis",
    )
    return described(figure, "Alignment with people on emotions by reading, beside uniform and position-only answers.")


def emotion_gaps(real: pd.DataFrame) -> dict[str, pd.Series]:
    """Return orders averaged less uniform answers, and less position-only answers, on the same emojis."""
    parts = dict(tuple(real.groupby("reading")))
    mine = parts["orders averaged"]
    others = {"uniform answers": UNIFORM, "position-only answers": "position only, orders averaged"}
    return {
        name: paired(mine, parts[reading], ["similarity"], on="item", bounds=SHARE).iloc[0]
        for name, reading in others.items()
    }


def spectrum(responses: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Return the means of `alignment.spectrum_alignment` over the emotions, in one order."""
    pairs = paired_shares(responses[responses["direction"] == "ascending"], shares)
    parts = [part for _, part in pairs.groupby("question_id")]
    rows = [alignment.spectrum_alignment(part["share"], part["p"] * part["mass"]) for part in parts]
    means = summarise(pd.DataFrame(rows), bounds={"coverage": SHARE, "mode_match": SHARE})
    return means.drop(columns="n_clusters")


def peaked(survey: Survey, shares: pd.DataFrame, tau: float) -> pd.DataFrame:
    """Return how peaked the answers to each item are in one order, and whether the favourite is the same in all.

    The columns of `correct_answer`, with `order_flip`, `order_robust`, `one_robust_answer` (one answer, the same in
    every format) and `entropy_of_people`.
    """
    humans = shares.groupby(["item", "level"])["share"].mean().unstack("level")
    wide = survey.one_order.pivot(index="item", columns="level", values="p").loc[humans.index]
    table = correct_answer(wide, humans, tau)
    default = survey.responses[survey.responses["persona"] == "none"]
    numbered = default[default["labels"] == "numbers"]
    ends = numbered.pivot(index=["item", "level"], columns="direction", values="p")
    favourites = np.nan_to_num(wide.to_numpy()).argmax(axis=1)
    top = ends.loc[[(item, int(level)) for item, level in zip(wide.index, favourites)]]
    table["order_flip"] = order_flip(top["ascending"], top["descending"])
    orders = default.pivot(index=["format", "item"], columns="level", values="p")
    each = [part.droplevel(0).loc[wide.index].to_numpy() for _, part in orders.groupby(level="format")]
    table["order_robust"] = order_robust(np.stack(each))
    table["one_robust_answer"] = table["one_answer"] * table["order_robust"]
    table["entropy_of_people"] = correct_answer(humans, None, tau)["entropy"]
    return table


def peaked_means(peaked: pd.DataFrame) -> pd.DataFrame:
    """Return the means of `peaked` over items, with intervals."""
    names = ["p_max", "human_max", "entropy", "entropy_of_people", "simpson", "one_answer", "one_robust_answer"]
    names += ["order_flip", "order_robust"]
    return summarise(peaked, [*names, "effective"], bounds=dict.fromkeys(names, SHARE)).drop(columns="n_clusters")


def diversity(survey: Survey, shares: pd.DataFrame) -> pd.DataFrame:
    """Return the sd of expected answers over personas / over groups, mean over items; no rows for one persona."""
    personas = survey.ordered[survey.ordered["persona"] != "none"]
    if personas["persona"].nunique() < 2:
        return no_rows("A spread needs two personas that are groups of people.")
    mine = personas.assign(e=personas["p"] * personas["value"]).groupby(["persona", "item"])["e"].sum()
    theirs = shares.assign(e=shares["share"] * shares["level"]).groupby(["group", "item"])["e"].sum()
    spread, human = (each.unstack("item").std() for each in (mine, theirs))
    ratio = (spread / human.reindex(spread.index)).rename("ratio").reset_index()
    return summarise(ratio, ["ratio"]).drop(columns="n_clusters")


@dataclass(frozen=True, slots=True)
class Groups:
    """Alignment of a model with real groups of people."""

    table: pd.DataFrame
    """One row per group, nearest first, with the three baselines."""
    sides: pd.DataFrame
    """By item: alignment less that of uniform answers, mean over Western groups (True) and over the others (False)."""
    note: str
    """Groups on either side; empty if all are on one side."""


def groups(given: pd.DataFrame, blank: pd.DataFrame, shares: pd.DataFrame) -> Groups:
    """Return the alignment with every group of an opinion set, and its means over Western and other groups.

    `given` and `blank` are averaged answers to the items and to the same items without content.
    """
    keys = ["item", "group"]
    near = alignments(paired_shares(given, shares))
    table = summarise(near, ["similarity"], by="group", bounds=SHARE).set_index("group")
    table[["position only", "uniform", "people"]] = alignment.baselines(given, blank, shares).T
    flat = alignments(paired_shares(_flat(given), shares)).set_index(keys)["similarity"]
    beyond = near.set_index(keys)["similarity"].sub(flat).rename("beyond").reset_index()
    western = beyond.assign(west=beyond["group"].isin(WEST))
    sides = western.groupby(["item", "west"])["beyond"].mean().unstack("west")
    west, rest = (", ".join(table.index[table.index.isin(WEST) == each]) for each in (True, False))
    note = f"; North America and Western Europe: {west}; others: {rest}" if sides.shape[1] == 2 else ""
    return Groups(table.drop(columns=["metric", "n_clusters"]).sort_values("mean", ascending=False), sides, note)


def west_findings(groups: Groups, name: str) -> list[Finding]:
    """Return the claim that Western groups are nearer than others, less uniform answers; none with one side only."""
    if not groups.note:
        return []
    row = interval((groups.sides[True] - groups.sides[False]).to_numpy(), bounds=(-2.0, 2.0))
    claim = "North America and Western Europe are nearer than other countries"
    what, source = "difference of alignment, less that of uniform answers", "this notebook, after Durmus et al. 2023"
    return [finding(f"{claim}: {name}", source, row, "above", 0.0, "", what, "no difference")]


def twins(
    answers: Mapping[str, pd.DataFrame], survey: Survey, shares: pd.DataFrame, in_template: bool
) -> dict[str, pd.DataFrame]:
    """Return alignment, mass and p_max by item before and after post-training, by reading; empty without a base model.

    `answers` are `before` and `after` -> answers to the same items as plain text. The readings of `survey`, the tuned
    model's other answers, are added if they were given `in_template`.
    """
    tables: dict[str, pd.DataFrame] = {}
    for when, each in answers.items():
        responses = levels(each, nested="keep")
        first = responses[responses["format"] == survey.responses["format"].iloc[0]]
        tables |= {f"{when}, one order": first, f"{when}, orders averaged": averaged(responses, ORDERS)}
    if tables and in_template:
        readings = zip(READINGS, (survey.one_order, survey.default))
        tables |= {f"after, chat template, {name}": table for name, table in readings}
    twins = {}
    for name, table in tables.items():
        near = alignments(paired_shares(table, shares)).assign(reading=name)
        columns = surveys.scores(table)[["question_id", "mass", "p_max"]]
        both = near.merge(columns, on="question_id", suffixes=("_", ""))
        twins[name] = both.assign(mass=both["mass"].clip(upper=1.0))  # the sum can exceed 1 by rounding
    return twins


def twin_means(twins: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the means of `twins` by reading, with intervals over items."""
    if not twins:
        return no_rows("No model before post-training was given (base_model=).")
    names, table = ["similarity", "mass", "p_max"], pd.concat(twins.values())
    return summarise(table, names, by="reading", cluster="item", bounds=SHARE).drop(columns="method")


def _by_items(one: pd.DataFrame, two: pd.DataFrame, columns: Sequence[str]) -> dict[str, pd.Series]:
    """Return the rows of `paired` over items and groups by metric; `n` counts items."""
    table = paired(one, two, columns, on=["item", "group"], cluster="item", bounds=SHARE)
    return rows_by(table.drop(columns="n").rename(columns={"n_clusters": "n"}), "metric")


def alignment_findings(aligned: pd.DataFrame, emotions: Mapping[str, pd.Series]) -> list[Finding]:
    """Return claims on populations in either reading (`by_reading`), and on emotions (`emotion_gaps`)."""
    claims, what, same = [], "alignment minus that", "no difference"
    for reading, name in zip(READINGS, ("one order", "all orders")):
        flat, blind = (
            _by_items(of_reading(aligned, reading), of_reading(aligned, each), ["similarity"])["similarity"]
            for each in (UNIFORM, BLIND)
        )
        position = unless(blind, "above", 0.0, "no nearer than the same prompts without content")
        undecided = "" if verdict(flat["low"], flat["high"], "above") == "does not hold" else position
        claim = f"In {name}, the model is nearer to people than uniform answers are"
        claims.append(finding(claim, HERE, flat, "above", 0.0, undecided, f"{what} of uniform answers", same))
    uniform, prior = emotions.values()
    nearer = "On emotions the model is nearer to people than uniform answers are"
    content = "On emotions, the model is nearer to people with the emoji than without it"
    return [
        *claims,
        finding(nearer, HERE, uniform, "above", 0.0, "", f"{what} of uniform answers", same),
        finding(content, HERE, prior, "above", 0.0, "", f"{what} without the emoji", same),
    ]


def peaked_findings(means: pd.DataFrame) -> tuple[Finding, Finding]:
    """Return claims on one correct answer, and on the order of the list, from `peaked_means`."""
    rows = rows_by(means, "metric")
    one = "Opinion items are answered as if one answer were correct, the same in every order"
    flip = "The favoured answer depends on the order of the list"
    return (
        finding(
            one,
            f"{HERE}, after Park et al. 2023, arXiv 2302.07267",
            rows["one_robust_answer"],
            "above",
            0.05,
            "",
            "proportion of items",
            "the least that counts",
        ),
        finding(flip, HERE, rows["order_flip"], "above", 0.1, "", "change of its probability", "the least that counts"),
    )


def twin_findings(twins: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Return claims on alignment and mass before post-training, orders averaged; none without a base model."""
    if not twins:
        return []
    before, after = (twins[f"{when}, orders averaged"] for when in ("before", "after"))
    gap = _by_items(before, after, ["similarity", "mass"])
    source = f"{HERE}, after Sorensen et al. 2025, arXiv 2510.06084"
    higher = "Before post-training the alignment with people is higher"
    lower = "Before post-training the probability of the listed answers is lower"
    return [
        finding(higher, source, gap["similarity"], "above", 0.0, "", "difference of alignment", "no difference"),
        finding(lower, source, gap["mass"], "below", 0.0, "", "difference of the probability", "no difference"),
    ]
