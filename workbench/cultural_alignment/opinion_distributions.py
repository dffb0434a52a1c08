"""Whether one answer is favoured, in one order and in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import averaged, levels
from workbench.cultural_alignment import alignment, instruments, populations, surveys
from workbench.cultural_alignment.alignment import alignments, paired_shares
from workbench.cultural_alignment.opinions import WEST
from workbench.cultural_alignment.surveys import ORDERS, Instrument, Persona, SurveyItem, distributions
from workbench.errors import InputError
from workbench.figures import described, intervals, stacked_shares
from workbench.statistics import Finding, adjusted, finding, interval, paired, sign_flip_p, summarise, unless, versus
from workbench.statistics.distances import Floats, entropy, settled
from workbench.statistics.findings import no_rows
from workbench.statistics.intervals import SHARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        responses: Made by `workbench.levels` on a question whose scale runs from left to right, with the tag
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
        scores: Made by `surveys.scores` for both personas, with the tags `persona`, `item` and `dimension` (the
            foundation).
        left: Persona of one side.
        right: Persona of the other.
        points: Highest place of the scale, which starts at 0.

    Returns:
        `dimension`, `mean_left`, `mean_right`, `difference` (right less left) with `low`, `high` and a paired t over
        items, sign-flip `p`, `p_holm`, `n`, and `note` = "degenerate" where the items do not differ in it, so that no t
        is defined (NaN).
    """
    if scores.empty:
        return scores
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


def people(
    items: Instrument,
    shares: str | Path | None,
    countries: Sequence[str],
    personas_file: str | Path | None,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[Persona]]:
    """People's answers, synthetic without a file, and the personas that have a group among them.

    Raises:
        InputError: A file cannot be read, there are no country scores to make people from, or a persona of the user's
            file is no group.
    """
    who = instruments.load_personas(personas_file) if personas_file else instruments.personas(countries)
    if shares:
        found = populations.load_shares(shares, items)
    else:
        found = populations.synthetic_shares(items, instruments.country_scores().loc[list(countries)], seed=seed)
    if personas_file:
        populations.check_personas([persona.name for persona in who], found)
    return found, [persona for persona in who if persona.name in set(found["group"])]


@dataclass(frozen=True, slots=True)
class Read:
    """The answers of one model in several formats, as distributions over the places of a scale."""

    responses: pd.DataFrame
    """Of the items, in every format: made by `workbench.levels`."""
    ordered: pd.DataFrame
    """The same averaged over formats."""
    blank: pd.DataFrame
    """Of the items without content, averaged over formats."""

    @property
    def single(self) -> pd.DataFrame:
        """The responses in the first format."""
        return self.responses[self.responses["format"] == self.responses["format"].iloc[0]]

    @property
    def one_order(self) -> pd.DataFrame:
        """The responses in the first format without a persona."""
        return self.single[self.single["persona"] == "none"]

    @property
    def mine(self) -> pd.DataFrame:
        """The averaged responses without a persona."""
        return self.ordered[self.ordered["persona"] == "none"]

    @property
    def blind(self) -> pd.DataFrame:
        """The averaged responses without a persona, with the probabilities of the items without content."""
        return self.mine.drop(columns="p").merge(self.blank[["item", "level", "p"]], on=["item", "level"])


def read(answers: pd.DataFrame, blank: Instrument) -> Read:
    """Read the answers to items and, under the instrument `blank`, to the same items without content."""
    found = levels(answers, nested="keep")
    empty = found["instrument"] == blank.name
    return Read(found[~empty], averaged(found[~empty], ORDERS), averaged(found[empty], ORDERS))


def masses(read: Read) -> pd.DataFrame:
    """Mean mass and abstention by format, and the number of questions."""
    parts = read.responses.groupby("format")
    return parts[["mass", "abstain"]].mean().assign(n=parts["question_id"].nunique())


UNIFORM, BLIND = "uniform", "position only (no content)"
KINDS: tuple[alignment.Kind, ...] = ("js", "wasserstein")
READINGS = ["one order", "orders averaged"]


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """The same questions answered uniformly."""
    return table.assign(p=1 / table.groupby("question_id")["level"].transform("size"))


def by_reading(read: Read, shares: pd.DataFrame) -> pd.DataFrame:
    """Similarity without a persona and of the baselines with every group, by both measures.

    Returns:
        The rows of `alignments`, with `kind` (js or wasserstein) and `reading` (one order, orders averaged, position
        only, uniform).
    """
    tables = dict(zip([*READINGS, BLIND, UNIFORM], (read.one_order, read.mine, read.blind, _flat(read.mine))))
    parts = [
        alignments(paired_shares(table, shares), kind).assign(reading=name)
        for name, table in tables.items()
        for kind in KINDS
    ]
    return pd.concat(parts, ignore_index=True)


def of_reading(aligned: pd.DataFrame, reading: str) -> pd.DataFrame:
    """The JS similarities of one reading."""
    return aligned[(aligned["kind"] == "js") & (aligned["reading"] == reading)]


def by_group(aligned: pd.DataFrame) -> pd.DataFrame:
    """Mean similarity by measure, reading and group, with intervals over items."""
    by = ["kind", "reading", "group"]
    return summarise(aligned, ["similarity"], by=by, bounds=SHARE).drop(columns="metric")


def overall(aligned: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Mean similarity over groups by measure and reading, beside that of people with people."""
    found = summarise(aligned, ["similarity"], by=["kind", "reading"], cluster="item", bounds=SHARE)
    human = {}
    for kind in KINDS:
        pairs = alignment.human_to_human(shares, kind).query("group != other")
        human[kind] = pairs["similarity"].mean()
    found = found.sort_values("kind", kind="stable").drop(columns="metric")
    return found.assign(**{"people with people": found["kind"].map(human)})


def draw_overall(overall: pd.DataFrame, n_groups: int, n_items: int) -> Figure:
    """The table of `overall`, with people with people as the baseline of every line."""
    figure = intervals(
        overall,
        ["kind", "reading"],
        baseline="people with people",
        baseline_name="people with people",
        xlabel=f"similarity, mean over {n_groups} groups (n = {n_items} items; js in base 2)",
    )
    return described(
        figure,
        "Mean alignment of the model in one order and with orders averaged, of position-only and of uniform answers, "
        "beside that of people with people.",
    )


def best(overall: pd.DataFrame) -> pd.Series:
    """The row of `overall` with orders averaged, by JS distance."""
    return of_reading(overall, "orders averaged").iloc[0]


def against_uniform(aligned: pd.DataFrame) -> pd.DataFrame:
    """Whether the alignment with each group, orders averaged, can be told from that of uniform answers to the items."""
    mine, flat = (of_reading(aligned, name) for name in ("orders averaged", UNIFORM))
    gap = paired(mine, flat, ["similarity"], on=["item", "group"], by="group", bounds=SHARE)
    rows = [{"group": r["group"], "against uniform": versus(r, 0.0, "uniform answers")} for _, r in gap.iterrows()]
    return pd.DataFrame(rows)


def draw_answers(read: Read, shares: pd.DataFrame, n_items: int) -> Figure | None:
    """How answers spread over the scale, beside people; None where items have scales of different size."""
    if read.mine.groupby("item")["level"].size().nunique() != 1:
        return None
    tables = {"model, one order": read.one_order, "model, orders averaged": read.mine, "position only": read.blind}
    wide = pd.DataFrame({name: table.groupby("level")["p"].mean() for name, table in tables.items()})
    levels = wide.assign(people=shares.groupby("level")["share"].mean()).T
    levels.columns = [str(k + 1) for k in range(levels.shape[1])]
    xlabel = f"proportion of answers by place on the scale, lowest first (mean of {n_items} items)"
    return described(
        stacked_shares(levels, xlabel, ordered=True),
        "How answers spread over the scale: the model in one order, with orders averaged, without content, and people.",
    )


def with_blank(emotions: Instrument) -> Instrument:
    """The emotions with one more item without an emoji, whose answers are the position-only baseline."""
    text, scale = "Which emotion does this express most?", emotions[0].scale
    return Instrument("emotions", (*emotions, SurveyItem("content-free", text, scale=scale, ordinal=False)))


def emotion_alignment(responses: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Similarity with people on emotions by reading: one order, orders averaged, each without an emoji, and uniform.

    Args:
        responses: On `with_blank`, in both directions.
        shares: Of people.
    """
    tables = dict(zip(READINGS, (responses[responses["direction"] == "ascending"], averaged(responses, ORDERS))))
    rows = []
    for name, part in tables.items():
        prior = part[part["item"] == "content-free"].set_index("level")["p"]
        pairs = paired_shares(part, shares)
        blind = pairs.assign(p=pairs["level"].map(prior))
        rows += [alignments(pairs).assign(reading=name), alignments(blind).assign(reading=f"position only, {name}")]
    uniform = pairs.assign(p=1 / responses["level"].nunique())
    return pd.concat([*rows, alignments(uniform).assign(reading=UNIFORM)], ignore_index=True)


def emotion_means(real: pd.DataFrame) -> pd.DataFrame:
    """Mean of `emotion_alignment` by reading."""
    return summarise(real, ["similarity"], by="reading", bounds=SHARE).drop(columns="metric")


def draw_emotions(means: pd.DataFrame, n: int) -> Figure:
    """The table of `emotion_means` beside uniform answers, n emojis."""
    figure = intervals(
        means,
        "reading",
        baseline=float(means[means["reading"] == UNIFORM]["mean"].iloc[0]),
        baseline_name="uniform answers",
        xlabel=f"1 - JS distance to people, base 2 (n = {n} emojis)",
    )
    alt = "Alignment with people on emotions by reading, beside uniform and position-only answers."
    return described(figure, alt)


def emotion_gaps(real: pd.DataFrame) -> dict[str, pd.Series]:
    """Orders averaged less uniform answers, and less position-only answers, on the same emojis."""
    parts = dict(tuple(real.groupby("reading")))
    others = {"uniform answers": UNIFORM, "position-only answers": "position only, orders averaged"}
    how: dict[str, Any] = {"on": "item", "bounds": SHARE}
    mine = parts["orders averaged"]
    return {name: paired(mine, parts[each], ["similarity"], **how).iloc[0] for name, each in others.items()}


def spectrum(responses: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Means of `alignment.spectrum_alignment` over the emotions, in one order."""
    pairs = paired_shares(responses[responses["direction"] == "ascending"], shares)
    rows = [
        alignment.spectrum_alignment(part["share"], part["p"] * part["mass"])
        for _, part in pairs.groupby("question_id")
    ]
    found = summarise(pd.DataFrame(rows), bounds={"coverage": SHARE, "mode_match": SHARE})
    return found.drop(columns="n_clusters")


def peaked(read: Read, shares: pd.DataFrame, tau: float) -> pd.DataFrame:
    """How peaked the answers to each item are in one order, and whether the favourite survives other orders.

    Returns:
        The columns of `correct_answer`, with `order_flip`, `order_robust`, `one_robust_answer` (one answer, the same in
        every format) and `entropy_of_people`.
    """
    humans = shares.groupby(["item", "level"])["share"].mean().unstack("level")
    wide = read.one_order.pivot(index="item", columns="level", values="p").loc[humans.index]
    found = correct_answer(wide, humans, tau)
    alone = read.responses[read.responses["persona"] == "none"]
    keys = ["item", "level"]
    turned = alone[alone["labels"] == "numbers"].pivot(index=keys, columns="direction", values="p")
    favourites = np.nan_to_num(wide.to_numpy()).argmax(axis=1)
    top = turned.loc[[(item, int(level)) for item, level in zip(wide.index, favourites)]]
    found["order_flip"] = order_flip(top["ascending"], top["descending"])
    orders = alone.pivot(index=["format", "item"], columns="level", values="p")
    each = [part.droplevel(0).loc[wide.index].to_numpy() for _, part in orders.groupby(level="format")]
    found["order_robust"] = order_robust(np.stack(each))
    found["one_robust_answer"] = found["one_answer"] * found["order_robust"]
    found["entropy_of_people"] = correct_answer(humans, None, tau)["entropy"]
    return found


def peaked_means(peaked: pd.DataFrame) -> pd.DataFrame:
    """Means of `peaked` over items, with intervals."""
    names = ["p_max", "human_max", "entropy", "entropy_of_people", "simpson", "one_answer", "one_robust_answer"]
    names += ["order_flip", "order_robust"]
    found = summarise(peaked, [*names, "effective"], bounds=dict.fromkeys(names, SHARE))
    return found.drop(columns="n_clusters")


def diversity(read: Read, shares: pd.DataFrame) -> pd.DataFrame:
    """Spread of expected answers over personas by that over groups, mean over items; no rows for one persona."""
    personas = read.ordered[read.ordered["persona"] != "none"]
    if personas["persona"].nunique() < 2:
        return no_rows("A spread needs two personas that are groups of people.")
    mine = personas.assign(e=personas["p"] * personas["value"]).groupby(["persona", "item"])["e"].sum()
    crowd = shares.assign(e=shares["share"] * shares["level"]).groupby(["group", "item"])["e"].sum()
    spread, people = (each.unstack("item").std() for each in (mine, crowd))
    ratio = (spread / people.reindex(spread.index)).rename("ratio").reset_index()
    return summarise(ratio, ["ratio"]).drop(columns="n_clusters")


def morals(answers: pd.DataFrame | None) -> pd.DataFrame:
    """Scores of moral foundations items, orders averaged; no rows without answers."""
    if answers is None:
        return no_rows("No moral foundations items were given (mfq=).")
    return surveys.scores(averaged(levels(answers, nested="keep"), ORDERS))


def foundations(morals: pd.DataFrame) -> pd.DataFrame:
    """Foundations on their scale from 0 to 5, by persona, with intervals over items."""
    if morals.empty:
        return morals
    top = instruments.POINTS - 1
    found = morals.assign(foundation=top * morals["x_raw"])
    by = ["persona", "dimension"]
    return summarise(found, ["foundation"], by=by, bounds=(0.0, float(top))).drop(columns="metric")


@dataclass(frozen=True, slots=True)
class Groups:
    """Alignment of a model with real groups of people."""

    table: pd.DataFrame
    """One row per group, nearest first, with the three baselines."""
    sides: pd.DataFrame
    """By item: alignment beyond uniform answers, mean over Western groups (True) and over the others (False)."""
    note: str
    """Which groups are on either side; empty where all are on one."""


def groups(given: pd.DataFrame, blank: pd.DataFrame, shares: pd.DataFrame) -> Groups:
    """Alignment with every group of an opinion set, and the division into the West and the rest.

    Args:
        given: The model's answers, made by `workbench.averaged`.
        blank: Its answers to the same items without content, alike.
        shares: Of people.
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
    shown = table.drop(columns=["metric", "n_clusters"]).sort_values("mean", ascending=False)
    return Groups(shown, sides, note)


def west_findings(found: Groups, name: str) -> list[Finding]:
    """Whether Western groups are nearer than others, beyond what uniform answers are; none with one side only."""
    if not found.note:
        return []
    row = interval((found.sides[True] - found.sides[False]).to_numpy(), bounds=(-2.0, 2.0))
    claim = "North America and Western Europe are nearer than other countries, beyond what uniform answers are"
    return [finding(f"{claim}: {name}", "this notebook, after Durmus et al. 2023", row, "above")]


def twins(
    answers: Mapping[str, pd.DataFrame], read: Read, shares: pd.DataFrame, in_template: bool
) -> dict[str, pd.DataFrame]:
    """Alignment, mass and probability of the favourite by item, before and after post-training; nothing without a base.

    Args:
        answers: `before` and `after` -> answers to the same items as plain text.
        read: The tuned model's answers as asked elsewhere.
        shares: Of people.
        in_template: Whether those were asked through its chat template; then they are shown too.
    """
    tables: dict[str, pd.DataFrame] = {}
    for when, told in answers.items():
        found = levels(told, nested="keep")
        first = found[found["format"] == read.responses["format"].iloc[0]]
        tables |= {f"{when}, one order": first, f"{when}, orders averaged": averaged(found, ORDERS)}
    if tables and in_template:
        tables |= {f"after, chat template, {name}": t for name, t in zip(READINGS, (read.one_order, read.mine))}
    twins = {}
    for name, table in tables.items():
        near = alignments(paired_shares(table, shares)).assign(reading=name)
        about = surveys.scores(table)[["question_id", "mass", "p_max"]]
        both = near.merge(about, on="question_id", suffixes=("_", ""))
        twins[name] = both.assign(mass=both["mass"].clip(upper=1.0))  # a sum of probabilities, but for rounding
    return twins


def twin_means(twins: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Means of `twins` by reading, with intervals over items."""
    if not twins:
        return no_rows("No model before post-training was named (base_model=).")
    names = ["similarity", "mass", "p_max"]
    table = pd.concat(twins.values())
    return summarise(table, names, by="reading", cluster="item", bounds=SHARE).drop(columns="method")


OURS = "this notebook"


def _by_items(row: pd.Series) -> pd.Series:
    """A row of `paired` under clusters whose `n` counts items."""
    return row.drop("n").rename({"n_clusters": "n"})


def alignment_findings(aligned: pd.DataFrame, emotions: Mapping[str, pd.Series]) -> list[Finding]:
    """Claims on populations in either reading, and on emotions.

    Args:
        aligned: Made by `by_reading`.
        emotions: Made by `emotion_gaps`.
    """
    found = []
    how: dict[str, Any] = {"on": ["item", "group"], "cluster": "item", "bounds": SHARE}
    for reading in READINGS:
        flat, blind = (
            _by_items(paired(of_reading(aligned, reading), of_reading(aligned, each), ["similarity"], **how).iloc[0])
            for each in (UNIFORM, BLIND)
        )
        idle = unless(blind, "above", 0.0, "no nearer than the same prompts without content")
        said = reading.replace("orders averaged", "all orders")
        claim = f"Read in {said}, the model is nearer to people than uniform answers are"
        found.append(finding(claim, OURS, flat, "above", 0.0, idle))
    uniform, guess = emotions.values()
    nearer = "On emotions the model is nearer to people than uniform answers are"
    counts = "On emotions content counts: nearer to people than without the emoji"
    return [*found, finding(nearer, OURS, uniform, "above"), finding(counts, OURS, guess, "above")]


def peaked_findings(means: pd.DataFrame) -> tuple[Finding, Finding]:
    """Claims on one right answer, and on the order of the list, from `peaked_means`."""
    robust, moved = (means[means["metric"] == name].iloc[0] for name in ("one_robust_answer", "order_flip"))
    one = "Opinion items are answered as if they had one right answer, the same in every order (more than 5% of items)"
    flip = "The favoured answer depends on the order it is listed in (flip above 0.1)"
    return (
        finding(one, f"{OURS}, after arXiv 2302.07267", robust, "above", 0.05),
        finding(flip, OURS, moved, "above", 0.1),
    )


def twin_findings(twins: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """Claims on alignment and mass before post-training, orders averaged; none without a base model."""
    if not twins:
        return []
    before, after = (twins[f"{when}, orders averaged"] for when in ("before", "after"))
    on = ["item", "group"]
    gap = paired(before, after, ["similarity", "mass"], on=on, cluster="item", bounds=SHARE)
    alike, mass = (_by_items(gap[gap["metric"] == name].iloc[0]) for name in ("similarity", "mass"))
    source = f"{OURS}, after arXiv 2510.06084"
    higher = "Before post-training the alignment with people is higher"
    lower = "Before post-training the probability on the listed answers is lower"
    return [
        finding(higher, source, alike, "above"),
        finding(lower, source, mass, "below"),
    ]
