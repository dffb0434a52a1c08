"""Planted truth goes the way a model's answers go: each test finds what was planted."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import planted
from workbench.answers import averaged, levels
from workbench.cultural_alignment import (
    alignment,
    cultural_map,
    instruments,
    national_bias,
    populations,
    robustness,
    surveys,
)
from workbench.cultural_alignment.instruments import DEFAULT_PERSONAS, country_scores, load_instrument, personas
from workbench.cultural_alignment.surveys import NO_PERSONA, Format, formats, survey_questions
from workbench.statistics import interval

INSTRUMENT = load_instrument()
RNG = np.random.default_rng(3)
OPINIONS = {item.id: float(RNG.uniform(0.2, 0.75)) for item in INSTRUMENT}


def answered(respondent, how=None, who=(NO_PERSONA,)):
    questions = survey_questions(INSTRUMENT, how or formats(), who)
    return levels(planted.planted_answers(questions, respondent), nested="keep")


@pytest.fixture(scope="module")
def shares():
    return populations.synthetic_shares(INSTRUMENT, country_scores().loc[list(DEFAULT_PERSONAS)])


def test_stable_respondent_is_stable():
    found = robustness.stability(answered(planted.holds_opinion(planted.by_item(OPINIONS))), robustness.FACTORS)
    assert found["mean_abs"].to_numpy() == pytest.approx(0, abs=1e-12)  # 0.3333 in the published code
    assert found["flip_rate"].tolist() == [0, 0, 0]
    assert found["tvd"].to_numpy() == pytest.approx(0, abs=1e-12)


def test_stable_respondent_is_stable_across_scales():
    how = formats(["likert5", "likert7", "likert4", "binary"], ["numbers"], ["ascending"], ["label"])
    found = robustness.stability(answered(planted.holds_opinion(planted.by_item(OPINIONS)), how), ["scale"])
    assert found["mean_abs"].to_numpy() == pytest.approx(0, abs=1e-12)
    assert found["flip_rate"].isna().all()  # scales of different size have no common option


def test_a_position_biased_respondent_is_detected():
    how = formats("binary", ["numbers"], answer=["label"])
    table = answered(planted.takes_position(0), how)
    found = robustness.stability(table, ["direction"]).iloc[0]
    assert (found["flip_rate"], found["mean_abs"]) == (1, 1)
    assert found["ratio"] > 5
    assert found["mean"] == pytest.approx(0) and found["p"] > 0.9  # balanced keys hide the slot ...
    assert abs(found["mean_raw"]) == pytest.approx(1) and found["p_raw"] < 0.001  # ... and agreement shows it
    assert averaged(table, surveys.ORDERS)["p"].to_numpy() == pytest.approx(0.5)


def test_persona_ignoring_respondent_gains_nothing(shares):
    who = [NO_PERSONA, *personas(DEFAULT_PERSONAS)]
    table = answered(planted.holds_opinion(planted.by_item(OPINIONS)), Format(), who)
    a, without = alignment_matrix(table, shares)
    found = alignment.steer(a, without, draws=500)
    assert found["personas"]["gain"].to_numpy() == pytest.approx(0, abs=1e-12)
    assert found["top1"] == pytest.approx(found["chance"]) and found["p_margin"] > 0.9
    points = surveys.scores(table).query("persona != 'none'").pivot(index="persona", columns="item", values="x")
    people = surveys.scores(shares_as_responses(shares)).pivot(index="persona", columns="item", values="x")
    assert alignment.collapse(points.to_numpy(), people.to_numpy()) == pytest.approx(0, abs=1e-9)


def test_country_oracle_is_perfectly_aligned(shares):
    default = planted.holds_opinion(planted.by_item(OPINIONS))
    held = {key: part["share"].to_numpy() for key, part in shares.sort_values("level").groupby(["item", "group"])}

    def like_its_country(question):
        p = held.get((question.tags["item"], question.tags["persona"]))
        return default(question) if p is None else planted._on_options(p, planted._scale(question)[1])

    table = answered(like_its_country, Format(), [NO_PERSONA, *personas(DEFAULT_PERSONAS)])
    a, without = alignment_matrix(table, shares)
    assert np.diag(a) == pytest.approx(1, abs=1e-7)
    found = alignment.steer(a, without, draws=500)
    assert (found["top1"], found["mrr"], found["erratic"]) == (1, 1, 0)
    assert found["personas"]["margin"].min() > 0 and found["p_top1"] < 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = instruments.profiles(surveys.scores(table))
    truth = instruments.dimension_scores(surveys.scores(shares_as_responses(shares)), by="persona")
    for dimension, part in truth.groupby("dimension"):
        ours = scores.loc[part["persona"], dimension]
        assert cultural_map.rank_agreement(ours, part["score"])["tau"] == pytest.approx(1)


def test_planted_format_effect_is_recovered():
    noise = {item: float(RNG.normal(0, 0.02)) for item in OPINIONS}

    def opinion(question):
        tags = question.tags
        return OPINIONS[tags["item"]] + (0.2 + noise[tags["item"]]) * (tags["direction"] == "descending")

    found = robustness.stability(answered(planted.holds_opinion(opinion)), robustness.FACTORS).set_index("factor")
    effect = found.loc["direction"]
    assert effect["low"] <= 0.2 <= effect["high"]
    assert effect["p_holm"] < 0.001
    assert found.loc[["labels", "answer"], "mean_abs"].max() == pytest.approx(0, abs=1e-12)


def test_format_effects_beat_countries_in_the_variance_shares():
    def opinion(question):
        return 0.3 + 0.4 * (question.tags["direction"] == "descending")

    table = surveys.scores(answered(planted.holds_opinion(opinion), None, personas(DEFAULT_PERSONAS)))
    wide = table.pivot_table(index="persona", columns="format", values="x")
    found = robustness.variance_proportions(wide.to_numpy())
    assert (found["country"], found["format"]) == pytest.approx((0, 1))


def test_the_three_baselines_stand_beside_an_alignment(shares):
    opinion = averaged(answered(planted.holds_opinion(planted.by_item(OPINIONS))), surveys.ORDERS)
    blank = opinion.assign(p=opinion["level"] == 0).astype({"p": float})
    found = alignment.baselines(opinion, blank, shares)
    aligned = alignment.alignments(alignment.paired_shares(opinion, shares))
    assert found.loc["uniform answers", "Japan"] == pytest.approx(aligned.query("group == 'Japan'")["uniform"].mean())
    assert (found.loc["position only"] < found.loc["uniform answers"]).all()
    assert found.loc["people with people"].between(0.3, 1).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(0.001, 1), min_size=4, max_size=4), min_size=1, max_size=5), st.data())
def test_similarities_are_one_for_equals_and_bounded(rows, data):
    p = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    h = p[data.draw(st.permutations(range(len(p))))]
    for kind in ("js", "wasserstein", "soft", "tvd", "hard"):
        assert alignment.similarity(p, p, kind) == pytest.approx(1, abs=1e-6)
        assert ((alignment.similarity(p, h, kind) > -1e-9) & (alignment.similarity(p, h, kind) < 1 + 1e-9)).all()
        if kind != "hard":  # the first choice may be shared on one side
            assert alignment.similarity(p, h, kind) == pytest.approx(alignment.similarity(h, p, kind), abs=1e-9)


def alignment_matrix(table, shares):
    paired = alignment.alignments(alignment.paired_shares(table, shares))
    wide = paired.pivot_table(index="persona", columns="group", values="similarity")
    names = list(DEFAULT_PERSONAS)
    return wide.loc[names, names].to_numpy(), wide.loc["none", names].to_numpy()


def shares_as_responses(shares):
    """People's shares in the form of responses, so that they are scored by the same code."""
    return alignment.people_as_responses(shares, INSTRUMENT_TAGS)


INSTRUMENT_TAGS = pd.DataFrame([{"item": item.id, "dimension": item.dimension, "key": item.key} for item in INSTRUMENT])


def test_answers_in_any_order_belong_to_their_question():
    questions = survey_questions(INSTRUMENT, formats())
    answers = planted.planted_answers(questions, planted.holds_opinion(planted.by_item(OPINIONS)))
    ids = RNG.permutation(answers["question_id"].unique())
    mixed = answers.set_index("question_id").loc[ids].reset_index()
    one, two = (surveys.scores(levels(t, nested="keep")).set_index("question_id")["x"] for t in (answers, mixed))
    assert two[one.index].to_numpy() == pytest.approx(one.to_numpy())
    assert not mixed["question_id"].equals(answers["question_id"])


def test_answers_that_are_flatter_as_any_persona_are_no_gain_of_its_own():
    nearer_to_all = np.tile([0.6, 0.7, 0.65, 0.5, 0.8, 0.55], (6, 1))
    found = alignment.steer(nearer_to_all, nearer_to_all[0] - 0.2, draws=19)
    assert found["gain"]["mean"] == pytest.approx(0.2) and found["own_gain"]["mean"] == pytest.approx(0)
    own = alignment.steer(nearer_to_all + 0.1 * np.eye(6), nearer_to_all[0] - 0.2, draws=19)
    assert own["own_gain"]["mean"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("respondent", "found", "abstains"),
    [("guesses one of the two", 0.0, 0.0), ("always unknown", 0.0, 0.0), ("uniform", 0.0, 0.0), ("reads", 0.5, 1.0)],
)
def test_bbq_is_compared_with_respondents_that_ignore_the_context(respondent, found, abstains):
    rows = [("Religion", f"t{k}", condition) for k in range(8) for condition in ("ambiguous", "disambiguated")]
    scores = pd.DataFrame(rows, columns=["subject", "template", "condition"])
    hidden = scores["condition"] == "ambiguous"
    unknown = {"guesses one of the two": 0.0, "always unknown": 1.0, "uniform": 1 / 3, "reads": hidden * 1.0}
    scores["abstains"] = unknown[respondent]
    right = 1.0 if respondent == "reads" else (1 - scores["abstains"]) / 2
    scores["accuracy"] = np.where(hidden, scores["abstains"], right)
    table = national_bias.bbq_against_guessing(scores).set_index("metric")["mean"]
    assert [table["above guessing"], table["abstains"]] == pytest.approx([found, abstains])


def test_a_chance_profile_that_every_format_repeats_is_not_ranked_as_countries_are():
    reference, holds, rows = RNG.normal(size=(8, 6)), [], []
    for seed in range(12):
        profile = np.random.default_rng(seed).normal(size=(8, 6))
        looks = [profile + 0.05 * np.random.default_rng([seed, k]).normal(size=(8, 6)) for k in range(8)]
        over = interval([cultural_map.mean_tau_test(look, reference, draws=1)["mean_tau"] for look in looks])
        holds.append(over["low"] > 0 or over["high"] < 0)
        test = cultural_map.mean_tau_test(np.hstack(looks), np.tile(reference, 8), draws=199, seed=seed)
        rows.append(test["null_low"] <= test["mean_tau"] <= test["null_high"])
    assert np.mean(holds) > 0.6  # an interval over formats "finds" an order in most profiles of chance
    assert np.mean(rows) > 0.8
