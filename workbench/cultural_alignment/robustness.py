"""Stability of survey answers across formats (Khan et al. 2025, arXiv 2503.08688)."""

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
from workbench.called import DIMENSION_NAMES
from workbench.cultural_alignment import instruments, populations, surveys
from workbench.cultural_alignment.surveys import OWN, Format, Instrument, Persona, scores
from workbench.errors import InputError, unknown
from workbench.figures import described, intervals, slopes, stacked_bars
from workbench.files import titles
from workbench.questions import Question
from workbench.statistics import Finding, adjusted, bootstrap, finding, interval, sign_flip_p, summarise
from workbench.statistics.comparisons import icc
from workbench.statistics.distances import Floats, tv
from workbench.statistics.findings import no_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COUNTRY_SD = 0.114
"""Standard deviation of human answers across countries on a 0-1 scale, mean over the items of Khan et al. 2025."""
DRAWS = 10_000
"""Random sign patterns of the sign-flip test when more than 16 items differ."""
FACTORS = ["labels", "direction", "answer"]
"""Format factors of the eight formats."""
KHAN = "Khan et al. 2025"


def shift(after: ArrayLike, before: ArrayLike, seed: int = 0) -> dict[str, Any]:
    """Return the shift of item scores between two levels of a format factor.

    Both are oriented 0-1 scores of the same items, `[items]`; NaN where an item has no answer.

    Returns:
        `mean` of d = after - before with `low`, `high`; `mean_abs` with `abs_low`, `abs_high`; `d_z` = mean / sd; `p`
        (sign-flip); `ratio` = mean |d| / `COUNTRY_SD` with its interval; `n`, `n_dropped`.
    """
    one, two = np.asarray(after, np.float64), np.asarray(before, np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise InputError(f"The two levels have shapes {one.shape} and {two.shape}; give one score per item each.")
    d = (one - two)[~np.isnan(one - two)]
    signed, size = _interval(d, (-1.0, 1.0)), _interval(np.abs(d), (0.0, 1.0))
    sd = float(d.std(ddof=1)) if len(d) > 1 else np.nan
    ends = {"mean_abs": size["mean"], "abs_low": size["low"], "abs_high": size["high"]}
    return {
        **{name: signed[name] for name in ("mean", "low", "high", "n", "note")},
        **ends,
        "d_z": signed["mean"] / sd if sd > 0 else np.nan,
        "p": sign_flip_p(d, draws=DRAWS, seed=seed),
        **{name: end / COUNTRY_SD for name, end in zip(("ratio", "ratio_low", "ratio_high"), ends.values())},
        "n_dropped": len(one) - len(d),
    }


def stability(
    responses: pd.DataFrame, factors: Mapping[str, Sequence[Any]] | Sequence[str], seed: int = 0
) -> pd.DataFrame:
    """Return the effect of each format factor on the answers, one row per factor and contrast.

    Only questions that differ in the factor alone are compared, then averaged per item, so an incomplete design cannot
    confound two factors. `factors` are names, or name -> levels, the first of which is compared with each other level.

    Returns:
        `factor`, `level_0`, `level_1`, the columns of `shift`, `flip_rate` (proportion of answer pairs whose most
        probable option changes, over `n_pairs`), `tvd` (mean total variation; both NaN between scales of different
        size), and `mean_raw` and `p_raw` for agreement before it is oriented by the key: with balanced keys,
        acquiescence and position bias cancel in `mean` and show only here. `p_holm` and `p_raw_holm` are adjusted over
        all rows.
    """
    table = scores(responses)
    wide = responses.pivot(index="question_id", columns="level", values="p")
    levels_of = factors if isinstance(factors, Mapping) else {name: [] for name in factors}
    rows = []
    for factor, listed in levels_of.items():
        if factor not in table.columns:
            raise unknown("factor", factor, [str(name) for name in table.columns])
        first, *others = list(listed) or list(dict.fromkeys(table[factor]))
        for level in others:
            pairs = _matched(table, factor, first, level, list(levels_of))
            items = pairs.groupby("item")[["x_0", "x_1", "x_raw_0", "x_raw_1"]].mean()
            raw = shift(items["x_raw_1"], items["x_raw_0"], seed)
            row = {"factor": factor, "level_0": first, "level_1": level, **shift(items["x_1"], items["x_0"], seed)}
            rows.append({**row, "mean_raw": raw["mean"], "p_raw": raw["p"], **_changes(pairs, wide)})
    return with_holm(pd.DataFrame(rows))


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `stability` rows with `p_holm` and `p_raw_holm`, each adjusted over all rows."""
    return table.assign(p_holm=adjusted(table["p"]), p_raw_holm=adjusted(table["p_raw"])) if len(table) else table


def variance_proportions(scores_by_format: ArrayLike) -> dict[str, Any]:
    """Return the two-way variance decomposition of scores `[countries, formats]` without replication.

    Returns:
        Proportions of the sum of squares: `country`, `format`, and `rest` (interaction and noise); `icc_agreement`
        (ICC(2,1); can be negative) and `icc_consistency` (ICC(3,1)); `n_countries`, `n_formats`, `n_dropped` (rows with
        a missing format); `note`, the reason if the numbers are NaN: fewer than two rows or columns, or no variance.
    """
    y = np.asarray(scores_by_format, np.float64)
    if y.ndim != 2:
        raise InputError(f"Scores have shape {y.shape}; give one row per country and one column per format.")
    complete = ~np.isnan(y).any(axis=1)
    y = y[complete]
    n, k = y.shape
    note = "needs two countries and two formats" if n < 2 or k < 2 else "" if np.ptp(y) else "no variance"
    parts = icc(y) if not note else dict.fromkeys(("targets", "raters", "rest", "agreement", "consistency"), np.nan)
    return {
        **{"country": parts["targets"], "format": parts["raters"], "rest": parts["rest"]},
        **{"icc_agreement": parts["agreement"], "icc_consistency": parts["consistency"]},
        **{"n_countries": n, "n_formats": k, "n_dropped": int((~complete).sum()), "note": note},
    }


def choice_preference(trials: pd.DataFrame, k: int) -> pd.DataFrame:
    """Return the preference for each name, from ratings of ordered pairs on k points (1: the first, k: the second).

    A rating v counts k + 1 - v for the first and v for the second; the mean m becomes (m - 1) / (k - 1).

    Returns:
        One row per name: `preference` (0.5 is neutral), `n`, and `unbalanced` where a pair lacks its reverse.
    """
    if (same := trials["first"] == trials["second"]).any():
        raise InputError(f"{trials.loc[same, 'first'].iloc[0]!r} is paired with itself; leave that row out.")
    rating = trials["rating"].to_numpy(np.float64)
    if not ((rating >= 1) & (rating <= k)).all():
        raise InputError(f"Ratings must lie between 1 and {k}; undo any reordering and drop missing ratings first.")
    pairs = set(zip(trials["first"], trials["second"]))
    unreversed = {name for a, b in pairs if (b, a) not in pairs for name in (a, b)}
    sides = [
        pd.DataFrame({"name": trials["first"], "points": k + 1 - rating}),
        pd.DataFrame({"name": trials["second"], "points": rating}),
    ]
    points = pd.concat(sides).groupby("name", sort=False)["points"].agg(["mean", "size"]).reset_index()
    points["preference"] = (points["mean"] - 1) / (k - 1)
    points["unbalanced"] = points["name"].isin(unreversed)
    return points.rename(columns={"size": "n"})[["name", "preference", "n", "unbalanced"]]


def _interval(values: Floats, bounds: tuple[float, float]) -> dict[str, Any]:
    """Return a t interval in its range; none where nothing varies, as Wilson's does not fit a shift."""
    row = interval(values, bounds=bounds)
    return row if row["method"] != "wilson" else {**row, "low": np.nan, "high": np.nan, "note": "no variation"}


def _matched(table: pd.DataFrame, factor: str, first: Any, second: Any, factors: list[str]) -> pd.DataFrame:
    """Return pairs of questions that differ in the factor alone."""
    keys = [name for name in ("item", "persona", *factors) if name in table.columns and name != factor]
    columns = [*keys, "question_id", "x", "x_raw", "modal", "n_levels"]
    sides = [table.loc[table[factor] == level, columns] for level in (first, second)]
    for level, side in zip((first, second), sides):
        if side.empty:
            raise unknown("level", level, [str(name) for name in dict.fromkeys(table[factor])], f" of {factor}")
    pairs = sides[0].merge(sides[1], on=keys, suffixes=("_0", "_1"))
    if pairs.empty:
        raise InputError(f"No two questions differ in {factor!r} alone ({first!r} and {second!r}); ask such pairs.")
    return pairs


def _changes(pairs: pd.DataFrame, wide: pd.DataFrame) -> dict[str, float]:
    """Return flip rate and total variation of matched questions on scales of the same size."""
    same = pairs[pairs["n_levels_0"] == pairs["n_levels_1"]]
    if same.empty:
        return {"flip_rate": np.nan, "tvd": np.nan, "n_pairs": 0}
    one, two = (np.nan_to_num(wide.loc[same[f"question_id_{i}"]].to_numpy()) for i in (0, 1))
    flips = (same["modal_0"] != same["modal_1"]).mean()
    return {"flip_rate": float(flips), "tvd": float(tv(one, two).mean()), "n_pairs": len(same)}


@dataclass(frozen=True, slots=True)
class Study:
    """Instrument, personas and population of a run."""

    items: Instrument
    scale: str
    """Scale of the eight formats."""
    people: list[Persona]
    """Personas in their first wording."""
    typical: list[Persona]
    """The same personas in a second wording; empty for personas of the user's file."""
    population: pd.DataFrame
    """Columns item, group, level, share; without rows, and with a reason, if the population's answers are unknown."""
    synthetic: bool
    """Whether the population is synthetic."""

    @property
    def names(self) -> list[str]:
        """Names of the personas."""
        return [persona.name for persona in self.people]

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
    """Load items, personas and population; without shares the population is synthetic where country scores allow it."""
    items = instruments.load_instrument(instrument).head(per_dimension)
    people = instruments.load_personas(personas_file) if personas_file else instruments.personas(countries)
    names = [persona.name for persona in people]
    if shares:
        population = populations.load_shares(shares, items)
    elif {item.dimension for item in items} <= set(instruments.DIMENSIONS) and not personas_file:
        population = populations.synthetic_shares(items, instruments.country_scores().loc[names], seed=seed)
    else:
        population = no_rows("Steering needs a population: give shares=, a CSV with item, group, option and share.")
    if len(population):
        populations.check_personas(names, population)
    typical = [] if personas_file else instruments.personas(countries, "typical")
    return Study(items, instruments.asking_scale(items), people, typical, population, not shares)


def eight_formats(study: Study, chat: bool = True) -> list[Question]:
    """Return the items in the eight formats, without a persona."""
    return list(surveys.survey_questions(study.items, surveys.formats(study.scale), chat=chat))


def questions(study: Study, more_scales: bool, chat: bool = True) -> list[Question]:
    """Return all questions: items in eight formats without and with every persona, and without content.

    A second wording of the personas is added and, with `more_scales`, binary and 4-, 6- and 7-point scales for
    statements that have an opposite.
    """
    formats = surveys.formats(study.scale)
    listed = list(surveys.survey_questions(study.items, formats, [surveys.NO_PERSONA, *study.people], chat))
    listed += surveys.survey_questions(study.blank, formats, chat=chat)
    if study.typical:
        listed += surveys.survey_questions(study.items, Format(study.scale), study.typical, chat)
    if more_scales and study.scale != OWN and all(item.opposite for item in study.items):
        others = surveys.formats(["binary", "likert4", "likert6", "likert7"], ["numbers"], answer=["label"])
        listed += surveys.survey_questions(study.items, others, chat=chat)
    return listed


@dataclass(frozen=True, slots=True)
class Survey:
    """Answers of one model, as distributions over the positions of a scale."""

    responses: pd.DataFrame
    """Result of `workbench.levels` for the items: one row per question and scale position."""
    blank: pd.DataFrame
    """The same for the items without content."""
    scores: pd.DataFrame
    """Result of `surveys.scores` for the items: one row per question."""
    scale: str
    """Scale of the eight formats."""

    @property
    def main(self) -> pd.DataFrame:
        """Responses in the eight formats, with the first wording of the personas."""
        return self.responses[(self.responses["scale"] == self.scale) & (self.responses["wording"] != "typical")]

    @property
    def default(self) -> pd.DataFrame:
        """Responses in the eight formats without a persona."""
        return self.main[self.main["persona"] == "none"]

    @property
    def default_scores(self) -> pd.DataFrame:
        """Scores in the eight formats without a persona."""
        return self.scores[(self.scores["persona"] == "none") & (self.scores["scale"] == self.scale)]

    @property
    def persona_scores(self) -> pd.DataFrame:
        """Scores in the eight formats with a persona, first wording."""
        s = self.scores
        return s[(s["persona"] != "none") & (s["scale"] == self.scale) & (s["wording"] != "typical")]

    @property
    def wordings(self) -> pd.DataFrame:
        """Responses as personas in the one format of all wordings."""
        r = self.responses
        return r[(r["persona"] != "none") & (r["format"] == Format(self.scale).id)]


def responses_of(
    answers: pd.DataFrame, alias: Forms = "sum", text_normalisation: Normalisation = "none"
) -> pd.DataFrame:
    """Return `workbench.levels` of answers by label and of answers in words; only the latter are normalised."""
    words = answers["answer"] == "text"
    parts = [
        levels(answers[~words], forms=alias, nested="keep"),
        levels(answers[words], forms=alias, normalisation=text_normalisation, nested="keep"),
    ]
    return pd.concat(parts, ignore_index=True)


def survey(
    study: Study, answers: pd.DataFrame, alias: Forms = "sum", text_normalisation: Normalisation = "none"
) -> Survey:
    """Return the answers to `questions` as distributions and scores.

    `alias` are the `forms` of `workbench.levels`; only answers in words are normalised.
    """
    responses = responses_of(answers, alias, text_normalisation)
    blank = responses["instrument"] == study.blank.name
    return Survey(responses[~blank], responses[blank], scores(responses[~blank]), study.scale)


def answer_table(survey: Survey) -> pd.DataFrame:
    """Return one row per item, persona and format."""
    tags = ["question_id", "wording", "format", "persona", "item", "dimension"]
    return survey.scores[[*tags, "x", "x_raw", "p_max", "p_first", "entropy", "mass"]]


def by_format(survey: Survey) -> pd.DataFrame:
    """Return means over items by format, without a persona: `x_raw`, `p_first`, `p_max`, `entropy`, `mass`."""
    parts = survey.scores[survey.scores["persona"] == "none"].groupby("format", sort=False)
    means = parts[["x_raw", "p_first", "p_max", "entropy", "mass"]].mean()
    means.insert(0, "n", parts.size())
    return means


def other_contrasts(survey: Survey, seed: int = 0) -> pd.DataFrame:
    """Return `stability` across scales without a persona, and across wordings of the personas, where there are any."""
    r, parts = survey.responses, []
    default = r[(r["persona"] == "none") & (r["labels"] == "numbers") & (r["answer"] == "label")]
    if default["scale"].nunique() > 1:
        parts.append(stability(default, {"scale": list(dict.fromkeys(default["scale"]))}, seed=seed))
    if survey.wordings["wording"].nunique() > 1:
        parts.append(stability(survey.wordings, ["wording"], seed=seed))
    return pd.concat(parts) if parts else pd.DataFrame()


def planted_stability(study: Study, chat: bool = True, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Return `stability` of two planted respondents: one with fixed opinions, one that takes the first position."""
    n = len(study.items)
    opinion = {item.id: 0.2 + 0.6 * i / max(n - 1, 1) for i, item in enumerate(study.items)}
    respondents = {
        "planted: fixed opinions": planted.holds_opinion(planted.by_item(opinion)),
        "planted: first position": planted.takes_position(0),
    }
    listed = eight_formats(study, chat)
    answers = {name: planted.planted_answers(listed, each) for name, each in respondents.items()}
    return {name: stability(levels(each, nested="keep"), FACTORS, seed=seed) for name, each in answers.items()}


STABILITY = [
    *("respondent", "contrast", "mean_abs", "ratio", "mean_raw", "p_raw_holm", "p_holm"),
    *("flip_rate", "tvd", "n"),
]
"""Columns of the compact table of stability."""


def joined(own: pd.DataFrame, more: pd.DataFrame, planted: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the model's contrasts, then those of the planted respondents; p adjusted within each respondent."""
    respondents = {"model": pd.concat([own, more]) if len(more) else own, **planted}
    parts = [with_holm(part).assign(respondent=name) for name, part in respondents.items()]
    table = pd.concat(parts, ignore_index=True)
    contrast = table["factor"] + ": " + table["level_0"].astype(str) + " to " + table["level_1"].astype(str)
    return table.assign(contrast=contrast)


def draw_stability(stability: pd.DataFrame, n_items: int) -> Figure:
    """Plot the model's mean absolute shift per contrast beside the standard deviation between countries."""
    rows = stability[stability["respondent"] == "model"]
    named = rows["contrast"].str.replace(r"likert(\d+)", r"\1 points", regex=True).str.replace("binary", "2 points")
    figure = intervals(
        rows.assign(contrast=named),
        "contrast",
        "mean_abs",
        "abs_low",
        "abs_high",
        baseline=COUNTRY_SD,
        baseline_name=f"standard deviation between countries ({COUNTRY_SD})",
        xlabel=f"mean absolute shift of an item, scale 0 to 1 ({n_items} items)",
        of="items",
    )
    return described(figure, "Mean absolute shift of an item by change of format, beside the spread between countries.")


def _by_direction(survey: Survey) -> pd.DataFrame:
    """Return agreement without a persona, items by direction of the option list."""
    return survey.default_scores.pivot_table(index="item", columns="direction", values="x_raw")


def items(survey: Survey) -> pd.DataFrame:
    """Return x, p_first, entropy (means over formats) and the shift on reversal of each item, without a persona."""
    ends = _by_direction(survey)
    means = survey.default_scores.groupby("item")[["x", "p_first", "entropy"]].mean()
    return means.assign(shift=(ends["ascending"] - ends["descending"]).abs())


def draw_slopes(survey: Survey) -> Figure:
    """Plot agreement with every item in either direction of the option list."""
    ends = _by_direction(survey)
    names, labels = list(ends.index), ("lowest option first", "highest option first")
    how = {"ylabel": "agreement (0 to 1)", "middle": "neutral", "of": "item"}
    figure = slopes(ends["ascending"], ends["descending"], names, labels, **how)
    return described(figure, "Agreement with each item, options ascending and descending; level lines: stability.")


def direction(stability: pd.DataFrame) -> dict[str, float]:
    """Return the model's mean absolute shift on reversing the option list: mean, low, high, n."""
    row = stability[(stability["respondent"] == "model") & (stability["factor"] == "direction")].iloc[0]
    return dict(zip(("mean", "low", "high", "n"), row[["mean_abs", "abs_low", "abs_high", "n"]]))


def model_effects(
    model: str,
    survey: Survey,
    others: Mapping[str, pd.DataFrame],
    alias: Forms = "sum",
    text_normalisation: Normalisation = "none",
    seed: int = 0,
) -> pd.DataFrame:
    """Return `stability` without a persona for this model and others; no rows without others.

    `others` is the name of another model -> its answers to `eight_formats`; `alias` and `text_normalisation` as in
    `survey`.
    """
    if not others:
        return no_rows("No other model was given (other_models=).")
    tables = [survey.default, *(responses_of(each, alias, text_normalisation) for each in others.values())]
    models = zip(titles([model, *others]), tables)
    parts = [stability(each, FACTORS, seed=seed).assign(model=name) for name, each in models]
    columns = ["mean_raw", "p_raw_holm", "mean_abs", "abs_low", "abs_high", "flip_rate", "n"]
    return pd.concat(parts, ignore_index=True)[["model", "factor", "level_0", "level_1", *columns]]


def same_signs(effects: pd.DataFrame) -> pd.DataFrame:
    """Return pairs of models by factor, 1 where agreement moves in the same direction, from `model_effects`."""
    if effects.empty:
        return effects
    rows = [
        {"factor": factor, "same sign": float((part.iloc[i] > 0) == (part.iloc[j] > 0))}
        for factor, part in effects.groupby("factor")["mean_raw"]
        for i in range(len(part))
        for j in range(i)
    ]
    return pd.DataFrame(rows)


def position(survey: Survey) -> pd.DataFrame:
    """Return mean preference and position bias of binary items in both orders, in logits; no rows without any."""
    binary = survey.scores[survey.scores["scale"] == "binary"]
    if binary.empty:
        return no_rows("No item was shown as two statements (more_scales=, with an opposite for every item).")
    wide = binary.pivot(index="item", columns="direction", values="p_first")
    preference, bias = surveys.position_effects(wide["descending"], wide["ascending"], eps=1e-6)
    effects = pd.DataFrame({"preference": preference, "|preference|": abs(preference), "position bias": bias})
    return summarise(effects)


def label_against_words(survey: Survey) -> pd.DataFrame:
    """Return `surveys.agreement` of answers by label with answers in words, without a persona, as one row."""
    keys = ["item", "labels", "direction", "level"]
    wide = survey.default.pivot_table(index=keys, columns="answer", values="p").unstack("level")
    return pd.DataFrame([surveys.agreement(wide["label"].to_numpy(), wide["text"].to_numpy())])


def variance(survey: Survey) -> pd.DataFrame:
    """Return `variance_proportions` of the scores, personas by formats, one row per dimension."""
    s = survey.scores
    table = instruments.dimension_scores(s[(s["persona"] != "none") & (s["wording"] != "typical")])
    rows = {
        name: variance_proportions(part.pivot(index="persona", columns="format", values="score"))
        for name, part in table.groupby("dimension", sort=False)
    }
    return pd.DataFrame(rows).T.drop(columns="note").astype(float)


def draw_variance(variance: pd.DataFrame) -> Figure:
    """Plot the proportions of `variance`, one bar per dimension."""
    countries, formats = (int(variance[name].max()) for name in ("n_countries", "n_formats"))
    parts = {"country": "between personas", "format": "between formats", "rest": "rest"}
    shown = variance[list(parts)].rename(columns=parts, index=DIMENSION_NAMES)
    figure = stacked_bars(shown, note=f"{countries} personas, {formats} formats; proportions without intervals.")
    return described(
        figure, "Proportion of variance of each dimension between personas, between formats, and the rest."
    )


def choices(forced: pd.DataFrame, neutral: pd.DataFrame, alias: Forms = "sum") -> tuple[pd.DataFrame, str]:
    """Return the preference for every country without and with a neutral option, and a caption with their spread.

    `forced` and `neutral` are answers to `instruments.choice_questions`. The columns have the same names (0.5 is no
    preference).
    """
    preferences, middle = {}, np.nan
    for name, answers, k in (("forced", forced, 4), ("neutral", neutral, 5)):
        ratings = levels(answers, forms=alias, nested="keep")
        rated = ratings.assign(rating=ratings["p"] * ratings["value"])
        trials = rated.groupby(["question_id", "first", "second"], sort=False)["rating"].sum().reset_index()
        preferences[name] = choice_preference(trials, k).set_index("name")["preference"]
        middle = ratings[ratings["value"] == 3]["p"].mean()
    table = pd.DataFrame(preferences).rename_axis("country")
    sd = table.std()
    return table, f"sd forced {sd['forced']:.3f}, neutral {sd['neutral']:.3f}; mass on neutral {middle:.2f}"


def draw_choices(preferences: pd.DataFrame) -> Figure:
    """Plot the preference for each country without and with a neutral option, from `choices`."""
    n, ends = len(preferences), ("forced, 4 points", "with a neutral middle")
    how = {"ylabel": f"preference for a country ({n * (n - 1) // 2} pairs)", "middle": "no preference", "of": "country"}
    figure = slopes(preferences["forced"], preferences["neutral"], list(preferences.index), ends, **how)
    return described(figure, "Preference for each country without and with a neutral option; 0.5 is no preference.")


def stability_findings(stability: pd.DataFrame, n_items: int) -> list[Finding]:
    """Return claims on reversing the list: for the model, and for the planted respondent with fixed opinions."""
    control = stability[stability["respondent"].str.contains("opinions")]["mean_abs"].max()
    row = {**dict.fromkeys(("mean", "low", "high"), control), "n": n_items}
    claim = "Reversing the scale moves answers more than countries differ"
    shift = "mean absolute shift of an item on a scale from 0 to 1"
    fixed = "A planted respondent with fixed opinions does not move"
    return [
        finding(
            claim, KHAN, direction(stability), "above", COUNTRY_SD, "", shift, "standard deviation between countries"
        ),
        finding(fixed, "control", row, "below", 0.001, "", shift, "rounding"),
    ]


def model_findings(signs: pd.DataFrame, n_models: int) -> list[Finding]:
    """Return the claim that changes of format move models in the same direction, from `same_signs`; none without it."""
    if signs.empty:
        return []
    claim = (
        f"Changes of format move {n_models} models in the same direction in more than half of the cases (the paper "
        "reports different directions)"
    )
    row, what = interval(signs["same sign"].to_numpy(), method="wilson"), "proportion of pairs of models and factors"
    return [finding(claim, KHAN, row, "above", 0.5, "", what, "half of the cases")]


def choice_finding(preferences: pd.DataFrame, seed: int = 0) -> Finding:
    """Return the claim that the forced scale spreads countries more than the scale with a neutral option."""

    def gap(forced: Floats, neutral: Floats) -> float:
        return float(forced.std() - neutral.std())

    row = bootstrap(gap, preferences["forced"], preferences["neutral"], seed=seed)
    claim = "The forced scale spreads countries more than the scale with a neutral option"
    return finding(claim, KHAN, row, "above", 0.0, "", "difference of the standard deviations", "no difference")
