"""What the notebook cultural_map computes, on personas that answer as the published scores of their country say."""

import numpy as np
import pandas as pd
import pytest

from workbench import planted
from workbench.answers import averaged, levels
from workbench.cultural_alignment import cultural_map, instruments, surveys
from workbench.cultural_alignment.instruments import DEFAULT_PERSONAS, country_scores, load_instrument
from workbench.cultural_alignment.surveys import NO_PERSONA, SurveyItem, survey_questions

COUNTRIES = list(DEFAULT_PERSONAS)
NAMES = instruments.DIMENSIONS
CITED = country_scores()[NAMES]
MEANS = CITED.loc[COUNTRIES].mean()
WHO = [NO_PERSONA, *instruments.personas(COUNTRIES)]


def answered(turned=False):
    """Scores of personas at the published score of their country, or at 100 less that; the model at the mean of all."""

    def opinion(question):
        persona, dimension = question.tags["persona"], question.tags["dimension"]
        at = (MEANS if persona == "none" else CITED.loc[persona])[dimension] / 100
        return 1 - at if turned else at

    asked = survey_questions(load_instrument(), surveys.formats(), WHO)
    found = levels(planted.planted_answers(asked, planted.holds_opinion(opinion)), nested="keep")
    profile = instruments.profiles(surveys.scores(averaged(found, surveys.ORDERS)))[NAMES]
    return profile, instruments.dimension_scores(surveys.scores(found))


@pytest.fixture(scope="module")
def truth():
    profile, by_format = answered()
    return profile, by_format, cultural_map.places(CITED, profile, by_format, COUNTRIES)


def test_published_scores_come_back_and_rank_as_published(truth):
    profile, by_format, _ = truth
    assert profile.loc[COUNTRIES].to_numpy() == pytest.approx(CITED.loc[COUNTRIES].to_numpy())
    ranks = cultural_map.ranks(profile, COUNTRIES)
    assert ranks["dimension"].tolist() == NAMES and ranks["tau"].to_numpy() == pytest.approx(1, abs=0.05)
    assert (ranks["p_holm"] >= ranks["p"]).all() and (ranks["n"] == 8).all()
    tau = cultural_map.mean_tau(profile, COUNTRIES).iloc[0]
    assert tau["mean_tau"] == pytest.approx(1) and tau["p"] == 1 / 1000
    assert tau["verdict"] == "above shuffled countries"
    each = cultural_map.tau_by_format(by_format, COUNTRIES)
    assert len(each) == 8 and each["mean_tau"].to_numpy() == pytest.approx(1) and (each["n"] == 8).all()


def test_a_model_at_the_mean_is_there_in_every_format(truth):
    profile, by_format, _ = truth
    means = cultural_map.format_means(by_format)
    assert means[means.metric == "score"].set_index("dimension")["mean"].to_dict() == pytest.approx(MEANS.to_dict())
    assert (means["n"] == 8).all()
    assert means.loc[means.metric == "acquiescence", "mean"].to_numpy() == pytest.approx(0.5)
    near = cultural_map.distances(profile, CITED)
    assert near["model"].is_monotonic_increasing and len(near) == 24
    for name, mine in (("model", MEANS), ("uniform answers", 50)):
        by_hand = ((mine - CITED.loc["Japan"]) ** 2 / CITED.var(ddof=1)).mean()
        assert near.at["Japan", name] == pytest.approx(by_hand)
    figure = cultural_map.draw_dimensions(means, COUNTRIES[:3], 24)
    assert "published scores of three countries" in figure.get_label()


def test_personas_lie_on_their_countries_and_the_claims_say_so(truth):
    profile, by_format, places = truth
    assert places.personas.index.tolist() == ["none", *COUNTRIES]
    mine, theirs = (table.loc[COUNTRIES, ["x", "y"]].to_numpy() for table in (places.personas, places.countries))
    assert mine == pytest.approx(theirs) and places.personas[["dx", "dy"]].to_numpy() == pytest.approx(0, abs=1e-9)
    towards = cultural_map.arrows(places)
    row = towards.iloc[0]
    assert (row["mean"], row["n"]) == (1, 8) and row["spread"] == pytest.approx(1)
    assert row["format_sd"] == pytest.approx(0, abs=1e-9)
    assert cultural_map.loadings(places.axes).index.tolist() == NAMES
    assert cultural_map.loadings(places.axes).to_numpy() == pytest.approx(places.axes.loadings.T)
    found = cultural_map.findings(cultural_map.mean_tau(profile, COUNTRIES), by_format, places, towards)
    assert [each.verdict for each in found] == ["holds", "holds", "holds", "does not hold"]
    assert found[0].estimate == pytest.approx(1) and found[0].n == 8
    assert "arrow to each persona" in cultural_map.draw_map(places).get_label()


def test_personas_opposite_to_their_countries_are_seen():
    profile, by_format = answered(turned=True)
    tau = cultural_map.mean_tau(profile, COUNTRIES)
    assert tau["mean_tau"][0] == pytest.approx(-1)
    assert tau["verdict"][0] == "not distinguishable from shuffled countries"
    places = cultural_map.places(CITED, profile, by_format, COUNTRIES)
    towards = cultural_map.arrows(places)
    assert towards["mean"][0] == 0
    found = cultural_map.findings(tau, by_format, places, towards)
    assert [each.verdict for each in found] == ["does not hold"] * 4


def test_vsm_indices_are_those_of_the_expected_answers():
    assert cultural_map.vsm_indices(None).attrs["reason"].startswith("No VSM")
    scale = ("utmost", "very", "moderate", "little", "no importance")
    items = tuple(SurveyItem(f"m{i:02d}", f"Question {i}?", scale=scale) for i in range(1, 25))
    place = {item.id: i % 5 / 4 for i, item in enumerate(items)}
    asked = survey_questions(surveys.Instrument("vsm", items), surveys.formats("own", answer=["label"]))
    answers = planted.planted_answers(asked, planted.holds_opinion(planted.by_item(place)))
    expected = instruments.vsm13([1 + 4 * x for x in place.values()])
    assert cultural_map.vsm_indices(answers).loc["none"].to_dict() == pytest.approx(expected)


def test_countries_of_a_values_survey_are_means_of_their_respondents(tmp_path):
    empty, said = cultural_map.values_points(None)
    assert len(empty) == 0 and empty.attrs["reason"] and said == ""
    rng = np.random.default_rng(0)
    n, places = 400, {}
    axes = rng.normal(size=(n, 2)) + np.repeat([[0, 0], [1, -1]], n // 2, axis=0)
    for name, (low, high) in cultural_map.RANGES.items():
        on = 0 if name in ("F118", "F120", "Y002", "A165", "E025") else 1
        sign = -1 if name == "F063" else 1
        raw = sign * axes[:, on] + rng.normal(0, 0.5, n)
        places[name] = low + (high - low) / (1 + np.exp(-raw))
    data = pd.DataFrame(places).assign(S003=np.repeat([752, 392], n // 2), S017=1.0)
    data.loc[0, "A008"], data.loc[1, "S003"] = -2, np.nan
    data.to_csv(tmp_path / "values.csv", index=False)
    found, said = cultural_map.values_points(tmp_path / "values.csv")
    assert said.startswith("399 respondents used, 0 dropped, 398 complete ones averaged; 1 without a country")
    assert "axes not checked" in said and found.index.tolist() == ["Sweden", "Japan"]
    items = data[list(cultural_map.RANGES)].copy()
    items.loc[0, "A008"] = np.nan
    fitted = cultural_map.fit_values_map(items.drop(index=1).to_numpy())
    japan = fitted.place(items[n // 2 :].to_numpy()).mean(axis=0)
    assert found.loc["Japan"].to_numpy() == pytest.approx(japan)
