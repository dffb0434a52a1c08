"""The notebook robustness, on planted respondents: fixed opinions, position bias, and people themselves."""

import numpy as np
import pandas as pd
import pytest

from workbench import planted
from workbench.answers import averaged as averages
from workbench.cultural_alignment import alignment, extrapolability, instruments, robustness, surveys

COUNTRIES = ["U.S.A.", "China", "Japan", "Sweden"]
CITED = instruments.country_scores()
NAMES = list(instruments.DIMENSIONS)


def opinion(question):
    """The published score of the persona's country; the model itself agrees with nothing much."""
    who, dimension = question.tags["persona"], question.tags["dimension"]
    return 0.4 if who == "none" else CITED.loc[who, dimension] / 100


@pytest.fixture(scope="module")
def study():
    return robustness.study("wbc24", 2, None, COUNTRIES, None)


@pytest.fixture(scope="module")
def read(study):
    questions = robustness.questions(study, more_scales=True)
    return robustness.survey(study, planted.planted_answers(questions, planted.holds_opinion(opinion)))


@pytest.fixture(scope="module")
def stability(study, read):
    own = robustness.stability(read.main, robustness.FACTORS)
    return robustness.joined(own, robustness.other_contrasts(read), robustness.planted_stability(study))


@pytest.fixture(scope="module")
def aligned(study, read):
    averaged, blank = (averages(each, surveys.ORDERS) for each in (read.main, read.blank))
    return alignment.of_personas(averaged, blank, study.population, study.names, study.names)


def test_a_design_asks_what_is_compared(study):
    questions = robustness.questions(study, more_scales=True)
    table = pd.DataFrame([dict(question.tags) for question in questions])
    groups = table.groupby(["instrument", "scale", "wording"]).size()
    assert groups["wbc24", "likert5", "none"] == 12 * 8 and groups["wbc24", "likert5", "native"] == 4 * 12 * 8
    assert groups["wbc24", "likert5", "typical"] == 4 * 12 and groups["wbc24-blank", "likert5", "none"] == 12 * 8
    assert groups["wbc24", "binary", "none"] == groups["wbc24", "likert7", "none"] == 12 * 2
    assert len(robustness.questions(study, more_scales=False)) == len(questions) - 4 * 12 * 2
    assert len(robustness.eight_formats(study)) == 12 * 8


def test_without_people_there_is_a_reason_and_no_table(tmp_path):
    (tmp_path / "own.csv").write_text("text,dimension,opposite\nMore is better.,thrift,Less is better.\n")
    (tmp_path / "who.csv").write_text("name,text\nNorth,You live in the north.\n")
    bare = robustness.study(tmp_path / "own.csv", None, None, COUNTRIES, tmp_path / "who.csv")
    assert bare.names == ["North"] and not bare.typical and "shares=" in bare.population.attrs["reason"]
    none = alignment.of_personas(pd.DataFrame(), pd.DataFrame(), bare.population, bare.names, bare.names)
    steered = alignment.steering(none, pd.DataFrame(), bare.population, bare.items)
    empty = [none.shown, steered.personas, steered.summary, alignment.split_half(none, bare.names)]
    empty.append(alignment.wordings(pd.DataFrame(), bare.population, bare.names))
    assert all("shares=" in table.attrs["reason"] and table.empty for table in empty)
    assert alignment.findings(steered) == [] and alignment.draw_personas(none, 1, True) is None


def test_answers_are_read_apart_from_those_without_content(study, read):
    assert set(read.blank["instrument"]) == {"wbc24-blank"} and set(read.responses["instrument"]) == {"wbc24"}
    assert set(read.main["scale"]) == {"likert5"} and "typical" not in set(read.main["wording"])
    assert set(read.wordings["wording"]) == {"native", "typical"} and read.wordings["format"].nunique() == 1
    assert len(read.persona_scores) == 4 * 12 * 8 and len(read.default_scores) == 12 * 8
    table = robustness.answer_table(read)
    assert len(table) == len(read.scores) and table["mass"].to_numpy() == pytest.approx(1)
    means = robustness.by_format(read)
    assert (means["n"] == 12).all() and means["x_raw"].to_numpy() == pytest.approx(0.5)
    assert len(means) == 8 + 8  # and the other scales
    items = robustness.items(read)
    assert items["x"].to_numpy() == pytest.approx(0.4) and items["shift"].to_numpy() == pytest.approx(0, abs=1e-9)
    words = robustness.label_against_words(read).iloc[0]
    assert (words["same_choice"], words["tvd"], words["n_used"]) == pytest.approx((1, 0, 48))


def test_contrasts_are_joined_by_respondent(study, stability):
    sizes = {"model": 8, "planted: fixed opinions": 3, "planted: first position": 3}
    assert stability.groupby("respondent", sort=False).size().to_dict() == sizes
    contrasts = stability.loc[stability["respondent"] == "model", "contrast"].tolist()
    formats = ["labels: numbers to letters", "direction: ascending to descending", "answer: label to text"]
    assert (
        contrasts[:3] == formats
        and contrasts[3] == "scale: likert5 to binary"
        and contrasts[-1] == "wording: native to typical"
    )
    slot = stability.iloc[-2]
    assert slot["mean_abs"] == 1 and slot["tvd"] == 1 and (stability["mean_abs"][:11] < 1e-9).all()
    assert set(robustness.STABILITY) <= set(stability.columns)
    again = robustness.with_holm(stability[stability["respondent"] == "model"])
    assert again["p_raw_holm"].tolist() == stability["p_raw_holm"][:8].tolist()
    assert robustness.direction(stability)["mean"] == pytest.approx(0, abs=1e-9)
    moves, still = robustness.stability_findings(stability, len(study.items))
    assert moves.verdict == "cannot tell" and (still.verdict, still.n) == ("holds", 12)
    assert "Mean absolute shift" in robustness.draw_stability(stability, 12).get_label()


@pytest.mark.filterwarnings("ignore:The keys of dimension")
def test_a_position_biased_respondent_is_moved_by_the_direction():
    study = robustness.study("wbc24", 1, None, COUNTRIES[:2], None)
    questions = robustness.questions(study, more_scales=False)
    read = robustness.survey(study, planted.planted_answers(questions, planted.takes_position(0)))
    own = robustness.stability(read.main, robustness.FACTORS)
    assert robustness.other_contrasts(read)["factor"].tolist() == ["wording"]
    table = robustness.joined(own, robustness.other_contrasts(read), {"planted: fixed opinions": own})
    row = robustness.direction(table)
    assert (row["mean"], row["n"]) == (1, 6)
    assert robustness.items(read)["shift"].to_numpy() == pytest.approx(1)
    assert robustness.position(read).attrs["reason"]
    assert robustness.variance(read)["format"].to_numpy() == pytest.approx(1)  # one item a dimension: no key cancels it
    assert "stability" in robustness.draw_slopes(read).get_label()


def test_models_are_compared_factor_by_factor(study, read):
    none = robustness.model_effects("one", read, {})
    assert none.attrs["reason"] and robustness.same_signs(none) is none and robustness.model_findings(none, 1) == []
    others = {"two": planted.planted_answers(robustness.eight_formats(study), planted.takes_position(0))}
    effects = robustness.model_effects("one", read, others)
    assert effects["model"].tolist() == ["one"] * 3 + ["two"] * 3
    slot = effects[(effects.model == "two") & (effects.factor == "direction")].iloc[0]
    assert slot["mean_raw"] == pytest.approx(1) and slot["flip_rate"] == 1
    signs = robustness.same_signs(effects)
    assert signs.set_index("factor")["same sign"].to_dict() == {"answer": 1, "direction": 0, "labels": 1}
    (claim,) = robustness.model_findings(signs, 2)
    assert claim.estimate == pytest.approx(2 / 3) and "move 2 models" in claim.claim and claim.n == 3


def test_preference_and_variance_are_those_planted(read):
    table = robustness.position(read).set_index("metric")["mean"]
    signed = np.log(0.6 / 0.4)
    assert table["|preference|"] == pytest.approx(signed) and table["position bias"] == pytest.approx(0, abs=1e-9)
    assert table["preference"] == pytest.approx(0, abs=1e-9)  # keys are balanced
    variance = robustness.variance(read)
    assert variance.index.tolist() == [item for item in dict.fromkeys(read.scores["dimension"])]
    assert variance[["country", "icc_agreement"]].to_numpy() == pytest.approx(1)
    assert (variance["n_countries"] == 4).all() and (variance["n_formats"] == 8).all()
    figure = robustness.draw_variance(variance)
    assert "4 personas, 8 formats" in figure.get_label()


def test_profiles_of_personas_that_answer_as_published_cluster_as_published(read, study):
    profiles = extrapolability.profiles(read.persona_scores, study.names)
    mine, published = profiles.values()
    assert mine[NAMES].loc[COUNTRIES].to_numpy() == pytest.approx(published.to_numpy(float))
    curves, impact = extrapolability.subset_curves(profiles, 19)
    sides = curves.pivot(index="size", columns="profile", values="ari")
    assert sides[extrapolability.MINE].tolist() == pytest.approx(sides[extrapolability.PUBLISHED].tolist())
    assert (curves["draws"] == 19).all() and impact.index.tolist() == sorted(NAMES) and len(impact.columns) == 5
    (claim,) = extrapolability.findings(curves, profiles)
    half = curves[(curves["size"] == 3) & (curves["profile"] == extrapolability.MINE)].iloc[0]
    assert (claim.estimate, claim.low) == (half["excess"], half["excess_low"])
    assert f"p = {half['p']:.3f}, 19 draws" in claim.claim
    assert "independent noise" in extrapolability.draw_curves(curves, 4).get_label()
    held = extrapolability.held_out(profiles, draws=19)
    rho = extrapolability.mantel_splits(mine)["rho"].mean()
    assert held["mean rho"].tolist() == pytest.approx([rho, rho]) and (held["n"] == 4).all()


def test_too_few_dimensions_or_personas_give_a_reason(read):
    few = read.persona_scores[read.persona_scores["persona"].isin(COUNTRIES[:3])]
    assert extrapolability.profiles(few, COUNTRIES[:3]) == {}
    curves, impact = extrapolability.subset_curves({}, 19)
    assert curves.attrs["reason"] and impact.empty and extrapolability.held_out({}).attrs["reason"]
    assert extrapolability.findings(curves, {}) == [] and extrapolability.draw_curves(curves, 3) is None


def test_personas_are_aligned_with_their_own_group(read, study, aligned):
    assert aligned.shown.index.tolist()[0] == "no persona" and aligned.shown.index.tolist()[1:5] == COUNTRIES
    by_hand = alignment.alignments(alignment.paired_shares(averages(read.main, surveys.ORDERS), study.population))
    assert set(by_hand["kind"]) == {"js"} and set(by_hand["base"]) == {"2"}
    cell = by_hand[(by_hand["persona"] == "Japan") & (by_hand["group"] == "China")]["similarity"].mean()
    assert aligned.shown.loc["Japan", "China"] == pytest.approx(cell)
    assert aligned.human == pytest.approx(aligned.shown.loc["people with people"].mean())
    steered = alignment.steering(aligned, read.persona_scores, study.population, study.items)
    assert (steered.personas["rank"] == 1).all() and (steered.personas["margin"] > 0).all()
    measures = steered.summary["value"]
    assert measures["top-1"] == 1 and measures["top-1 at chance"] == 0.25
    assert measures["mean margin"] == pytest.approx(steered.personas["margin"].mean())
    assert measures.iloc[-1] == pytest.approx(steered.spread["mean"]) and steered.spread["n"] == 12
    near, own, close = alignment.findings(steered)
    assert near.estimate == pytest.approx(steered.personas["margin"].mean()) and near.n == own.n == 4
    assert close.verdict == "cannot tell: personas are no nearer to their own group than to others"
    assert "own group framed" in alignment.draw_personas(aligned, 12, True).get_label()


def test_wordings_and_halves_of_the_items(read, study, aligned):
    table = alignment.wordings(read.wordings, study.population, study.names)
    assert table.index.tolist() == ["native", "typical"] and table.columns.tolist() == ["selection half", "test half"]
    assert table.loc["native"].tolist() == pytest.approx(table.loc["typical"].tolist())  # the same answers
    assert alignment.split_half(aligned, study.names)["n_countries"][0] == 4
    assert "two groups" in alignment.split_half(aligned, study.names[:2]).attrs["reason"]


def test_a_neutral_option_takes_what_has_no_preference():
    names = ["A", "B", "C"]

    def prefers_a(question):
        k = max(option.value for option in question.options)
        place = {question.tags["first"]: 1.0, question.tags["second"]: k}.get("A", (1 + k) / 2)
        near = np.array([abs(option.value - place) for option in question.options])
        return (near == near.min()) / (near == near.min()).sum()

    asked = [instruments.choice_questions(names, middle) for middle in (False, True)]
    table, note = robustness.choices(*(planted.planted_answers(each, prefers_a) for each in asked))
    assert table.loc["A"].tolist() == [1, 1] and table.loc["B"].tolist() == pytest.approx([0.25, 0.25])
    assert note.endswith("mass on neutral 0.33")
    claim = robustness.choice_finding(table)
    assert claim.estimate == pytest.approx(0, abs=1e-9) and claim.claim.startswith("The forced scale")
    assert "3 pairs" in robustness.draw_choices(table).axes[0].get_ylabel()
