"""Stability of survey answers over formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import planted
from workbench.answers import Forms, Normalisation, levels
from workbench.cultural_alignment import instruments, populations, surveys
from workbench.cultural_alignment.surveys import OWN, Format, Instrument, Persona, scores
from workbench.errors import InputError, unknown
from workbench.figures import described, intervals, slopes, stacked_shares
from workbench.files import titles
from workbench.questions import Question
from workbench.statistics import Finding, adjusted, bootstrap, finding, interval, sign_flip_p, summarise
from workbench.statistics.comparisons import icc
from workbench.statistics.distances import Floats, tv
from workbench.statistics.findings import no_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTRY_SD = 0.114
"""Mean over items of the sd across countries of human answers on a 0-1 scale, in the paper's survey data."""
DRAWS = 10_000


def shift(after: ArrayLike, before: ArrayLike, country_sd: float = COUNTRY_SD, seed: int = 0) -> dict[str, Any]:
    """How far a change of format moves the same items.

    Args:
        after: Oriented 0-1 scores under the second level of a factor, `[items]`; NaN where an item was not asked.
        before: The same items under the first level.
        country_sd: What the shift is compared with: sd between countries on the same scale.
        seed: Of the random sign patterns (beyond 16 items that differ).

    Returns:
        `mean` of d = after - before with `low`, `high`; `mean_abs` with `abs_low`, `abs_high`; `d_z` = mean / sd; `p`
        (sign-flip); `ratio` = mean |d| / country_sd with its interval; `n`, `n_dropped`.
    """
    one, two = np.asarray(after, np.float64), np.asarray(before, np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise InputError(f"The two levels have shapes {one.shape} and {two.shape}; give one score per item each.")
    if not country_sd > 0:
        raise InputError(f"country_sd must be positive, not {country_sd!r}.")
    d = one - two
    used = d[~np.isnan(d)]
    signed, size = _interval(used, (-1.0, 1.0)), _interval(np.abs(used), (0.0, 1.0))
    spread = float(used.std(ddof=1)) if len(used) > 1 else np.nan
    found: dict[str, Any] = {name: signed[name] for name in ("mean", "low", "high", "n", "note")}
    found |= {"mean_abs": size["mean"], "abs_low": size["low"], "abs_high": size["high"]}
    found["d_z"] = found["mean"] / spread if spread > 0 else np.nan
    found["p"] = sign_flip_p(used, draws=DRAWS, seed=seed)
    for name, part in (("ratio", "mean_abs"), ("ratio_low", "abs_low"), ("ratio_high", "abs_high")):
        found[name] = found[part] / country_sd
    return {**found, "n_dropped": int(np.isnan(d).sum())}


def stability(
    responses: pd.DataFrame,
    factors: Mapping[str, Sequence[Any]] | Sequence[str],
    country_sd: float = COUNTRY_SD,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per format factor and contrast: what changing it alone does to the answers.

    Only questions that differ in nothing but the factor are compared (the tag `format_*` of the rest must agree),
    then averaged per item, so an incomplete design cannot mix two factors.

    Args:
        responses: Made by `workbench.levels`, with the tags `item` and the factors.
        factors: Names of the factors, or name -> levels of which the first is compared with each other one.
        country_sd: See `shift`.
        seed: See `shift`.

    Returns:
        `factor`, `level_0`, `level_1`, the columns of `shift`, `flip_rate` (share of answer pairs whose most probable
        option changes, with n_pairs), `tvd` (mean total variation; both NaN between scales of different size), and
        for agreement before it is turned by the key `mean_raw` and `p_raw`: with balanced keys a pull towards agreeing
        or towards a slot cancels in `mean` and shows here only. Both p are adjusted by Holm over all rows.
    """
    found = scores(responses)
    wide = responses.pivot(index="question_id", columns="level", values="p")
    named = factors if isinstance(factors, Mapping) else {name: [] for name in factors}
    rows = []
    for factor, places in named.items():
        if factor not in found.columns:
            raise unknown("factor", factor, [str(name) for name in found.columns])
        places = list(places) or list(dict.fromkeys(found[factor]))
        for level in places[1:]:
            both = _matched(found, factor, places[0], level, list(named))
            moved = both.groupby("item")[["x_0", "x_1", "x_raw_0", "x_raw_1"]].mean()
            about = {"factor": factor, "level_0": places[0], "level_1": level}
            agree = shift(moved["x_raw_1"], moved["x_raw_0"], country_sd, seed)
            raw = {"mean_raw": agree["mean"], "p_raw": agree["p"]}
            about |= shift(moved["x_1"], moved["x_0"], country_sd, seed) | raw
            rows.append({**about, **_changes(both, wide)})
    return with_holm(pd.DataFrame(rows))


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `stability` rows with `p_holm` and `p_raw_holm`, each adjusted over all its rows."""
    return table.assign(p_holm=adjusted(table["p"]), p_raw_holm=adjusted(table["p_raw"])) if len(table) else table


@dataclass(frozen=True, slots=True)
class VarianceShares:
    """Two-way decomposition of scores `[countries, formats]` without replication."""

    country: float
    """Share of the sum of squares between countries."""
    format: float
    """Share between formats."""
    rest: float
    """What remains: countries that change place with the format, and noise."""
    icc_agreement: float
    """ICC(2,1): one format stands for another, levels included; may be negative."""
    icc_consistency: float
    """ICC(3,1): the same, order only."""
    n_countries: int
    """Rows used."""
    n_formats: int
    """Columns."""
    n_dropped: int
    """Rows left out because a format was missing."""
    note: str = ""
    """Why the numbers are NaN, if they are."""


def variance_shares(scores_by_format: ArrayLike) -> VarianceShares:
    """How much of the variation of `[countries, formats]` belongs to countries, and how much to the format.

    Rows with a missing format are left out and counted. Fewer than two rows or columns, or no variation, give NaN.
    """
    y = np.asarray(scores_by_format, np.float64)
    if y.ndim != 2:
        raise InputError(f"Scores have shape {y.shape}; give one row per country and one column per format.")
    whole = ~np.isnan(y).any(axis=1)
    y = y[whole]
    (n, k), lost = y.shape, int((~whole).sum())
    if n < 2 or k < 2:
        return _no_shares(n, k, lost, "needs two countries and two formats")
    if np.ptp(y) == 0:
        return _no_shares(n, k, lost, "no variance")
    found = icc(y)
    targets, raters, rest = (found[name] for name in ("targets", "raters", "rest"))
    return VarianceShares(targets, raters, rest, found["agreement"], found["consistency"], n, k, lost)


def choice_preference(trials: pd.DataFrame, k: int) -> pd.DataFrame:
    """How strongly each of a set is preferred, from ratings of ordered pairs (1: the first, k: the second).

    A rating v counts k + 1 - v for the first and v for the second; the mean m becomes (m - 1) / (k - 1).

    Args:
        trials: Columns `first`, `second`, `rating` (a number or an expectation between 1 and k).
        k: Points of the scale; odd ones have a neutral middle.

    Returns:
        One row per name: `preference` (0.5 is neutral), `n`, and `unbalanced` where a pair lacks its reverse.
    """
    if k < 2:
        raise InputError(f"A scale needs at least two points, not {k}.")
    if (same := trials["first"] == trials["second"]).any():
        raise InputError(f"{trials.loc[same, 'first'].iloc[0]!r} is paired with itself; leave that row out.")
    rating = trials["rating"].to_numpy(np.float64)
    if not ((rating >= 1) & (rating <= k)).all():
        raise InputError(f"Ratings must lie between 1 and {k}; undo any reordering and drop missing ones first.")
    pairs = set(zip(trials["first"], trials["second"]))
    lonely = {name for a, b in pairs if (b, a) not in pairs for name in (a, b)}
    sides = [
        pd.DataFrame({"name": trials["first"], "points": k + 1 - rating}),
        pd.DataFrame({"name": trials["second"], "points": rating}),
    ]
    points = pd.concat(sides).groupby("name", sort=False)["points"].agg(["mean", "size"]).reset_index()
    points["preference"] = (points["mean"] - 1) / (k - 1)
    points["unbalanced"] = points["name"].isin(lonely)
    return points.rename(columns={"size": "n"})[["name", "preference", "n", "unbalanced"]]


def _interval(values: Floats, bounds: tuple[float, float]) -> dict[str, Any]:
    """A t interval in its range; none where nothing varies, as a shift is no share that Wilson's would fit."""
    found = interval(values, bounds=bounds)
    return found if found["method"] != "wilson" else {**found, "low": np.nan, "high": np.nan, "note": "no variation"}


def _no_shares(n: int, k: int, lost: int, note: str) -> VarianceShares:
    return VarianceShares(np.nan, np.nan, np.nan, np.nan, np.nan, n, k, lost, note)


def _matched(found: pd.DataFrame, factor: str, first: Any, second: Any, factors: list[str]) -> pd.DataFrame:
    """Pairs of questions that differ in the factor alone."""
    keys = [name for name in ("item", "persona", *factors) if name in found.columns and name != factor]
    kept = ["question_id", "x", "x_raw", "modal", "n_levels"]
    sides = [found.loc[found[factor] == level, [*keys, *kept]] for level in (first, second)]
    for level, side in zip((first, second), sides):
        if side.empty:
            raise unknown("level", level, [str(name) for name in dict.fromkeys(found[factor])], f" of {factor}")
    both = sides[0].merge(sides[1], on=keys, suffixes=("_0", "_1"))
    if both.empty:
        raise InputError(f"No two questions differ in {factor!r} alone ({first!r} and {second!r}); ask such pairs.")
    return both


def _changes(both: pd.DataFrame, wide: pd.DataFrame) -> dict[str, float]:
    """Flip rate and total variation of matched questions on scales of one size."""
    alike = both[both["n_levels_0"] == both["n_levels_1"]]
    if alike.empty:
        return {"flip_rate": np.nan, "tvd": np.nan, "n_pairs": 0}
    one, two = (np.nan_to_num(wide.loc[alike[f"question_id_{i}"]].to_numpy()) for i in (0, 1))
    flips = (alike["modal_0"] != alike["modal_1"]).mean()
    return {"flip_rate": float(flips), "tvd": float(tv(one, two).mean()), "n_pairs": len(alike)}


FACTORS = ["labels", "direction", "answer"]
"""Format factors of the eight formats."""


@dataclass(frozen=True, slots=True)
class Study:
    """What is asked, as whom, and the people it is compared with."""

    items: Instrument
    """The instrument."""
    scale: str
    """The scale its items are asked on."""
    people: list[Persona]
    """The personas."""
    typical: list[Persona]
    """The same personas in a second wording; none where the user brought theirs."""
    population: pd.DataFrame
    """Columns item, group, level, share; no rows, with a reason, where nobody's answers are known."""
    synthetic: bool
    """Whether the population is synthetic."""

    @property
    def names(self) -> list[str]:
        """Names of the personas."""
        return [persona.name for persona in self.people]

    @property
    def base(self) -> Format:
        """The format in which wordings of the persona are compared."""
        return Format(self.scale)

    @property
    def blank(self) -> Instrument:
        """The items without content."""
        return surveys.content_free(self.items)


def study(
    instrument: str | Path,
    per_dimension: int | None,
    shares: str | Path | None,
    countries: Sequence[str],
    personas_file: str | Path | None,
    seed: int = 0,
) -> Study:
    """Load the items, the personas and people's answers; without shares synthetic ones where country scores allow it.

    Raises:
        InputError: A file cannot be read, or a persona is no group of the shares.
    """
    items = instruments.load_instrument(instrument).head(per_dimension)
    scale = instruments.own_format(items)
    own = personas_file is not None
    people = instruments.load_personas(personas_file) if personas_file else instruments.personas(countries)
    names = [persona.name for persona in people]
    if shares:
        population = populations.load_shares(shares, items)
    elif {item.dimension for item in items} <= set(instruments.DIMENSIONS) and not own:
        population = populations.synthetic_shares(items, instruments.country_scores().loc[names], seed=seed)
    else:
        population = no_rows("Steering needs people: give shares=, a CSV with item, group, option and share.")
    if len(population):
        populations.check_personas(names, population)
    typical = [] if own else instruments.personas(countries, "typical")
    return Study(items, scale, people, typical, population, not shares)


def eight_formats(study: Study, chat: bool = True) -> list[Question]:
    """The items in the eight formats, without a persona."""
    return list(surveys.survey_questions(study.items, surveys.formats(study.scale), chat=chat))


def questions(study: Study, more_scales: bool, chat: bool = True) -> list[Question]:
    """Items in eight formats without and with every persona, without content, in a second wording, on other scales.

    Args:
        study: Items and personas.
        more_scales: Whether statements with an opposite are also asked on binary and 4-, 6- and 7-point scales.
        chat: Prompts become a user's message.
    """
    how = surveys.formats(study.scale)
    asked = list(surveys.survey_questions(study.items, how, [surveys.NOBODY, *study.people], chat))
    asked += surveys.survey_questions(study.blank, how, chat=chat)
    if study.typical:
        asked += surveys.survey_questions(study.items, study.base, study.typical, chat)
    if more_scales and study.scale != OWN and all(item.opposite for item in study.items):
        scales = ["binary", "likert4", "likert6", "likert7"]
        others = surveys.formats(scales, ["numbers"], answer=["label"])
        asked += surveys.survey_questions(study.items, others, chat=chat)
    return asked


@dataclass(frozen=True, slots=True)
class Read:
    """The answers of one model, as distributions over the places of a scale."""

    responses: pd.DataFrame
    """Of the items: one row per question and place, made by `workbench.levels`."""
    blank: pd.DataFrame
    """Of the items without content."""
    scores: pd.DataFrame
    """Of the items: one row per question, made by `surveys.scores`."""
    scale: str
    """The scale of the eight formats."""

    @property
    def main(self) -> pd.DataFrame:
        """The responses in the eight formats, with the first wording of the personas."""
        r = self.responses
        return r[(r["scale"] == self.scale) & (r["wording"] != "typical")]

    @property
    def alone(self) -> pd.DataFrame:
        """The scores in the eight formats without a persona."""
        return self.scores[(self.scores["persona"] == "none") & (self.scores["scale"] == self.scale)]

    @property
    def as_personas(self) -> pd.DataFrame:
        """The scores in the eight formats as personas in their first wording."""
        s = self.scores
        return s[(s["persona"] != "none") & (s["scale"] == self.scale) & (s["wording"] != "typical")]

    @property
    def wordings(self) -> pd.DataFrame:
        """The responses as personas in the one format that every wording is asked in."""
        r = self.responses
        return r[(r["persona"] != "none") & (r["format"] == Format(self.scale).id)]


def read_labels_and_words(
    answers: pd.DataFrame, alias: Forms = "sum", text_normalisation: Normalisation = "none"
) -> pd.DataFrame:
    """`workbench.levels` of answers by label, then of answers in words, which alone are normalised."""
    words = answers["answer"] == "text"
    parts = [
        levels(answers[~words], forms=alias, nested="keep"),
        levels(answers[words], forms=alias, normalisation=text_normalisation, nested="keep"),
    ]
    return pd.concat(parts, ignore_index=True)


def read(study: Study, answers: pd.DataFrame, alias: Forms = "sum", text_normalisation: Normalisation = "none") -> Read:
    """Read the answers to `questions`."""
    found = read_labels_and_words(answers, alias, text_normalisation)
    empty = found["instrument"] == study.blank.name
    return Read(found[~empty], found[empty], scores(found[~empty]), study.scale)


def answer_table(read: Read) -> pd.DataFrame:
    """One row per item, persona and format."""
    who = ["question_id", "wording", "format", "persona", "item", "dimension"]
    return read.scores[[*who, "x", "x_raw", "p_max", "p_first", "entropy", "mass"]]


def by_format(read: Read) -> pd.DataFrame:
    """Means over items by format, without a persona: agreement, probability of the first and best option, mass."""
    parts = read.scores[read.scores["persona"] == "none"].groupby("format", sort=False)
    found = parts[["x_raw", "p_first", "p_max", "entropy", "mass"]].mean()
    found.insert(0, "n", parts.size())
    return found


def other_contrasts(read: Read, seed: int = 0) -> pd.DataFrame:
    """`stability` over scales without a persona, and over wordings of the personas, where there are several."""
    r, parts = read.responses, []
    lone = r[(r["persona"] == "none") & (r["labels"] == "numbers") & (r["answer"] == "label")]
    if lone["scale"].nunique() > 1:
        parts.append(stability(lone, {"scale": list(dict.fromkeys(lone["scale"]))}, seed=seed))
    if read.wordings["wording"].nunique() > 1:
        parts.append(stability(read.wordings, ["wording"], seed=seed))
    return pd.concat(parts) if parts else pd.DataFrame()


def planted_stability(study: Study, chat: bool = True, seed: int = 0) -> dict[str, pd.DataFrame]:
    """`stability` of two planted respondents: one that holds opinions, one that takes the first slot."""
    n = len(study.items)
    opinion = {item.id: 0.2 + 0.6 * i / max(n - 1, 1) for i, item in enumerate(study.items)}
    respondents = {
        "planted: holds opinions": planted.holds_opinion(planted.by_item(opinion)),
        "planted: first slot": planted.takes_position(0),
    }
    asked = eight_formats(study, chat)
    told = {name: planted.planted_answers(asked, each) for name, each in respondents.items()}
    return {name: stability(levels(each, nested="keep"), FACTORS, seed=seed) for name, each in told.items()}


STABILITY = [
    *("respondent", "contrast", "mean_abs", "ratio", "mean_raw", "p_raw_holm", "p_holm"),
    *("flip_rate", "tvd", "n"),
]
"""What is shown of a table of stability."""


def joined(own: pd.DataFrame, more: pd.DataFrame, planted: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The model's contrasts, then those of the planted respondents; p adjusted over the rows of a respondent."""
    named = {"model": pd.concat([own, more]) if len(more) else own, **planted}
    parts = [with_holm(part).assign(respondent=name) for name, part in named.items()]
    found = pd.concat(parts, ignore_index=True)
    levels = found["level_0"].astype(str) + " to " + found["level_1"].astype(str)
    return found.assign(contrast=found["factor"] + ": " + levels)


def draw_stability(stability: pd.DataFrame, n_items: int) -> Figure:
    """The model's mean absolute shift under each contrast, beside the spread between countries."""
    figure = intervals(
        stability[stability["respondent"] == "model"],
        "contrast",
        "mean_abs",
        "abs_low",
        "abs_high",
        baseline=COUNTRY_SD,
        baseline_name=f"sd of people between countries ({COUNTRY_SD})",
        xlabel=f"mean |shift| of an item, scale 0 to 1 ({n_items} items)",
    )
    return described(
        figure,
        "Mean absolute shift of an item under each change of format with its 95% interval, beside the spread of people "
        "between countries.",
    )


def _turned_round(read: Read) -> pd.DataFrame:
    """Agreement without a persona, items by direction of the list."""
    return read.alone.pivot_table(index="item", columns="direction", values="x_raw")


def items(read: Read) -> pd.DataFrame:
    """One row per item without a persona: x, p_first and entropy, mean over formats, and shift when the list turns."""
    ends = _turned_round(read)
    means = read.alone.groupby("item")[["x", "p_first", "entropy"]].mean()
    return means.assign(shift=(ends["ascending"] - ends["descending"]).abs())


def draw_slopes(read: Read) -> Figure:
    """Agreement with every item, listed in either direction."""
    ends = _turned_round(read)
    figure = slopes(
        ends["ascending"],
        ends["descending"],
        list(ends.index),
        ("lowest option first", "highest option first"),
        "agreement (0 to 1)",
        f"The same {len(ends)} items, listed the other way round",
    )
    return described(
        figure,
        "One line per item from its agreement with options listed ascending to descending; level lines would mean "
        "stability.",
    )


def direction(stability: pd.DataFrame) -> dict[str, float]:
    """The model's mean absolute shift when the list is turned round: mean, low, high, n."""
    row = stability[(stability["respondent"] == "model") & (stability["factor"] == "direction")].iloc[0]
    return dict(zip(("mean", "low", "high", "n"), row[["mean_abs", "abs_low", "abs_high", "n"]]))


def model_effects(
    model: str,
    read: Read,
    others: Mapping[str, pd.DataFrame],
    alias: Forms = "sum",
    text_normalisation: Normalisation = "none",
    seed: int = 0,
) -> pd.DataFrame:
    """`stability` without a persona of this model and of others; no rows without others.

    Args:
        model: Name of this model.
        read: Its answers.
        others: Name of another model -> its answers to `eight_formats`.
        alias: See `workbench.levels`.
        text_normalisation: Of answers in words.
        seed: See `stability`.
    """
    if not others:
        return no_rows("No other model was named (other_models=).")
    told = [read.main[read.main["persona"] == "none"]]
    told += [read_labels_and_words(each, alias, text_normalisation) for each in others.values()]
    named = zip(titles([model, *others]), told)
    parts = [stability(each, FACTORS, seed=seed).assign(model=name) for name, each in named]
    shift = ["mean_raw", "p_raw_holm", "mean_abs", "abs_low", "abs_high", "flip_rate", "n"]
    return pd.concat(parts, ignore_index=True)[["model", "factor", "level_0", "level_1", *shift]]


def same_signs(effects: pd.DataFrame) -> pd.DataFrame:
    """Pairs of models by factor: 1 where agreement moves the same way.

    Args:
        effects: Made by `model_effects`.
    """
    if effects.empty:
        return effects
    rows = [
        {"factor": factor, "same sign": float((part.iloc[i] > 0) == (part.iloc[j] > 0))}
        for factor, part in effects.groupby("factor")["mean_raw"]
        for i in range(len(part))
        for j in range(i)
    ]
    return pd.DataFrame(rows)


def position(read: Read) -> pd.DataFrame:
    """Mean preference and position bias of binary items read in both orders, in logits; no rows without such items."""
    pair = read.scores[read.scores["scale"] == "binary"]
    if pair.empty:
        return no_rows("No item was shown as two statements (more_scales=, with an opposite for every item).")
    wide = pair.pivot(index="item", columns="direction", values="p_first")
    preference, bias = surveys.position_effects(wide["descending"], wide["ascending"], eps=1e-6)
    effects = pd.DataFrame({"preference": preference, "|preference|": abs(preference), "position bias": bias})
    return summarise(effects)


def label_against_words(read: Read) -> pd.DataFrame:
    """`surveys.agreement` of answers by label with answers in words, without a persona, as one row."""
    alone = read.main[read.main["persona"] == "none"]
    keys = ["item", "labels", "direction", "level"]
    wide = alone.pivot_table(index=keys, columns="answer", values="p").unstack("level")
    return pd.DataFrame([surveys.agreement(wide["label"].to_numpy(), wide["text"].to_numpy())])


def variance(read: Read) -> pd.DataFrame:
    """`variance_shares` of every dimension's scores, personas by formats: one row per dimension."""
    s = read.scores
    each = instruments.dimension_scores(s[(s["persona"] != "none") & (s["wording"] != "typical")])
    parts = {
        name: variance_shares(part.pivot(index="persona", columns="format", values="score"))
        for name, part in each.groupby("dimension", sort=False)
    }
    columns = [name for name in VarianceShares.__slots__ if name != "note"]
    rows = {name: {k: getattr(part, k) for k in columns} for name, part in parts.items()}
    return pd.DataFrame(rows).T.astype(float)


def draw_variance(variance: pd.DataFrame) -> Figure:
    """The proportions of variance of `variance`, one bar per dimension."""
    countries, formats = (int(variance[name].max()) for name in ("n_countries", "n_formats"))
    figure = stacked_shares(variance[["country", "format", "rest"]], title=f"{countries} personas x {formats} formats")
    return described(
        figure,
        "Stacked bars: proportion of variance of each dimension between personas, between formats and the rest.",
    )


def choices(forced: pd.DataFrame, neutral: pd.DataFrame, alias: Forms = "sum") -> tuple[pd.DataFrame, str]:
    """Preference for every country on the forced and on the neutral scale, and a sentence on spread and mass.

    Args:
        forced: Answers to `instruments.choice_questions` on four points.
        neutral: Answers on five, with a neutral middle.
        alias: See `workbench.levels`.

    Returns:
        Columns `forced` and `neutral` by country (0.5 is none), and the sd of either with the mean probability of the
        neutral option.
    """
    found, middle = {}, np.nan
    for name, answers, k in (("forced", forced, 4), ("neutral", neutral, 5)):
        ratings = levels(answers, forms=alias, nested="keep")
        rated = ratings.assign(rating=ratings["p"] * ratings["value"])
        keys = ["question_id", "first", "second"]
        trials = rated.groupby(keys, sort=False)["rating"].sum().reset_index()
        found[name] = choice_preference(trials, k).set_index("name")["preference"]
        middle = ratings[ratings["value"] == 3]["p"].mean()
    table = pd.DataFrame(found).rename_axis("country")
    spread = table.std()
    note = f"sd forced {spread['forced']:.3f}, neutral {spread['neutral']:.3f}; mass on neutral {middle:.2f}"
    return table, note


def draw_choices(preferences: pd.DataFrame) -> Figure:
    """Preference for each country without and with a neutral option, from `choices`."""
    n = len(preferences)
    figure = slopes(
        preferences["forced"],
        preferences["neutral"],
        list(preferences.index),
        ("forced, 4 points", "with a neutral middle"),
        "preference (0.5 is none)",
        f"Who should be helped first? {n * (n - 1) // 2} pairs in both orders",
    )
    return described(
        figure,
        "Preference for each country on the forced scale and on the scale with a neutral option; one half is no "
        "preference.",
    )


KHAN = "Khan et al. 2025"


def stability_findings(stability: pd.DataFrame, n_items: int) -> list[Finding]:
    """Claims on the direction of the list: of the model, and of the planted respondent that holds opinions."""
    opinions = stability[stability["respondent"].str.contains("opinions")]["mean_abs"].max()
    control = {"mean": opinions, "low": opinions, "high": opinions, "n": n_items}
    claim = f"Reversing the scale moves answers more than countries differ ({COUNTRY_SD})"
    still = "A respondent that holds opinions does not move at all (planted)"
    return [
        finding(claim, KHAN, direction(stability), "above", COUNTRY_SD),
        finding(still, "control", control, "below", 0.001),
    ]


def model_findings(signs: pd.DataFrame, n_models: int) -> list[Finding]:
    """Whether changes of format move models the same way; none without other models.

    Args:
        signs: Made by `same_signs`.
        n_models: Models compared.
    """
    if signs.empty:
        return []
    claim = (
        f"Changes of format move {n_models} models the same way in more than half of the cases (pairs of models and "
        "factors; there they do not)"
    )
    return [finding(claim, KHAN, interval(signs["same sign"].to_numpy(), method="wilson"), "above", 0.5)]


def choice_finding(preferences: pd.DataFrame, seed: int = 0) -> Finding:
    """Whether the forced scale spreads countries more than the scale with a neutral option."""

    def gap(forced: Floats, neutral: Floats) -> float:
        return float(forced.std() - neutral.std())

    row = bootstrap(gap, preferences["forced"], preferences["neutral"], seed=seed)
    claim = "The forced scale spreads countries more than the scale with a neutral option"
    return finding(claim, KHAN, row, "above")
