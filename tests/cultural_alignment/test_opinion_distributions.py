"""The notebook opinion_distributions, on respondents that answer as a group, uniformly, or by position."""

import numpy as np
import pandas as pd
import pytest

from workbench import planted, probabilities
from workbench.answers import averaged, levels
from workbench.cultural_alignment import alignment, instruments, opinion_distributions, surveys, worldviews
from workbench.cultural_alignment.opinions import WEST
from workbench.cultural_alignment.surveys import Instrument, SurveyItem
from workbench.errors import InputError

COUNTRIES = ["U.S.A.", "China", "Japan", "Sweden"]
ITEMS = instruments.load_instrument().head(2)
FORMATS = surveys.formats("likert5", answer=["label"])
BLANK = surveys.content_free(ITEMS)


def like(shares, group):
    """A respondent that answers every item as this group, or its persona's group, does; uniformly without content."""
    shares_of = {key: part["share"].to_numpy() for key, part in shares.sort_values("level").groupby(["item", "group"])}

    def answer(question):
        _, place = planted._scale(question)
        who = question.tags.get("persona", "none")
        p = shares_of[question.tags["item"], group if who == "none" else who]
        return planted._on_options(np.full(len(p), 1 / len(p)) if "N/A" in question.prompt_text else p, place)

    return answer


def all_questions(who):
    return [
        *surveys.survey_questions(ITEMS, FORMATS, [surveys.NO_PERSONA, *who]),
        *surveys.survey_questions(BLANK, FORMATS),
    ]


@pytest.fixture(scope="module")
def people():
    return opinion_distributions.people(ITEMS, None, COUNTRIES, None)


@pytest.fixture(scope="module")
def read(people):
    shares, who = people
    return opinion_distributions.survey(planted.planted_answers(all_questions(who), like(shares, "Japan")), BLANK)


@pytest.fixture(scope="module")
def aligned(people, read):
    return opinion_distributions.by_reading(read, people[0])


def test_people_of_a_file_keep_the_personas_that_are_groups(tmp_path, people):
    assert [persona.name for persona in people[1]] == COUNTRIES and set(people[0]["group"]) == set(COUNTRIES)
    rows = [(item.id, group, k, 0.2) for item in ITEMS for group in ("Japan", "Women") for k in range(1, 6)]
    pd.DataFrame(rows, columns=["item", "group", "option", "share"]).to_csv(tmp_path / "s.csv", index=False)
    shares, who = opinion_distributions.people(ITEMS, tmp_path / "s.csv", COUNTRIES, None)
    assert [persona.name for persona in who] == ["Japan"] and set(shares["group"]) == {"Japan", "Women"}


def test_answers_are_read_in_one_order_averaged_and_without_content(read):
    assert set(read.one_order["format"]) == {FORMATS[0].id} and len(read.one_order) == len(read.default) == 12 * 5
    assert read.blind["p"].to_numpy() == pytest.approx(0.2) and len(read.blank) == 12 * 5
    masses = opinion_distributions.masses(read)
    assert masses["mass"].to_numpy() == pytest.approx(1) and (masses["n"] == 12 * 5).all() and len(masses) == 4


def test_a_respondent_that_answers_as_a_group_is_aligned_with_it(people, read, aligned):
    shares, _ = people
    readings = ["one order", "orders averaged", "position only (no content)", "uniform"]
    assert list(dict.fromkeys(aligned["reading"])) == readings
    mean = opinion_distributions.by_group(aligned).set_index(["kind", "reading", "group"])["mean"]
    assert mean["js", "orders averaged", "Japan"] == pytest.approx(1)
    assert mean["wasserstein", "one order", "Japan"] == pytest.approx(1)
    assert mean["js", "uniform", "China"] == pytest.approx(mean["js", "position only (no content)", "China"])
    overall = opinion_distributions.overall(aligned, shares)
    best = opinion_distributions.best(overall)
    each = [mean["js", "orders averaged", group] for group in COUNTRIES]
    assert best["mean"] == pytest.approx(np.mean(each)) and best["n_clusters"] == 12
    pairs = alignment.human_to_human(shares).query("group != other")["similarity"]
    assert best["people with people"] == pytest.approx(pairs.mean())
    said = opinion_distributions.against_uniform(aligned).set_index("group")["against uniform"]
    assert said["Japan"].startswith("above uniform answers")
    assert "people with people" in opinion_distributions.draw_overall(overall, 4, 12).get_label()
    assert len(opinion_distributions.draw_answers(read, shares, 12).axes[0].get_yticklabels()) == 4


def test_claims_need_content_beside_the_prior(people, aligned):
    gaps = {"uniform answers": _row(0.1), "position-only answers": _row(-0.1)}
    one, both, uniform, guess = opinion_distributions.alignment_findings(aligned, gaps)
    assert one.claim.startswith("In one order") and both.claim.startswith("In all orders")
    assert one.n == both.n == 12  # items, not items times groups
    assert (uniform.verdict, guess.verdict) == ("holds", "does not hold")
    shares = people[0]
    blind = opinion_distributions.survey(
        planted.planted_answers(all_questions([]), lambda q: np.full(len(q.options), 1 / len(q.options))), BLANK
    )
    flat = opinion_distributions.by_reading(blind, shares)
    said = opinion_distributions.alignment_findings(flat, gaps)[0].verdict
    assert said == "cannot tell: no nearer than the same prompts without content"
    swapped = aligned.replace({"reading": {"one order": "uniform", "uniform": "one order"}})
    farther = opinion_distributions.alignment_findings(swapped, gaps)[0]
    assert farther.high < 0 and farther.verdict == "does not hold"  # an interval on the other side refutes the claim


def _row(mean):
    return pd.Series({"mean": mean, "low": mean - 0.05, "high": mean + 0.05, "n": 20, "n_clusters": np.nan})


def test_emotions_are_compared_with_the_list_without_an_emoji():
    scale = ("joy", "fear", "anger")
    items = tuple(SurveyItem(f"e{i}", f"Which? {i}", scale=scale, ordinal=False) for i in range(6))
    rows = [(item.id, "people", k, 0.8 if k == i % 3 else 0.1) for i, item in enumerate(items) for k in range(3)]
    shares = pd.DataFrame(rows, columns=["item", "group", "level", "share"])
    bank = opinion_distributions.with_blank(Instrument("emotions", items))
    assert [item.id for item in bank] == [*(item.id for item in items), "content-free"]

    def reads(question):
        _, place = planted._scale(question)
        i = int(question.tags["item"][1:]) % 3 if question.tags["item"] != "content-free" else None
        return planted._on_options(np.full(3, 1 / 3) if i is None else np.where(np.arange(3) == i, 0.8, 0.1), place)

    questions = surveys.survey_questions(bank, surveys.formats("own", ["numbers"], answer=["text"]))
    felt = levels(planted.planted_answers(questions, reads), nested="keep")
    real = opinion_distributions.emotion_alignment(felt, shares)
    means = opinion_distributions.emotion_means(real).set_index("reading")["mean"]
    assert means["one order"] == means["orders averaged"] == pytest.approx(1)
    assert means["uniform"] == pytest.approx(means["position only, one order"])
    gaps = opinion_distributions.emotion_gaps(real)
    assert [row["mean"] for row in gaps.values()] == pytest.approx([1 - means["uniform"]] * 2)
    spectrum = opinion_distributions.spectrum(felt, shares).set_index("metric")["mean"]
    assert spectrum["coverage"] == spectrum["mode_match"] == 1 and spectrum["kl"] == pytest.approx(0, abs=1e-6)
    drawn = opinion_distributions.draw_emotions(opinion_distributions.emotion_means(real), 6)
    assert "6 emojis" in drawn.axes[0].get_xlabel().replace("\n", " ")


def test_one_right_answer_must_survive_the_order(people):
    shares, _ = people
    certain = lambda question: planted._on_options(np.eye(5)[3], planted._scale(question)[1])  # noqa: E731
    surest = planted.planted_answers(all_questions([]), certain)
    slot = planted.planted_answers(all_questions([]), planted.takes_position(0))
    peaks = {}
    for name, told in (("content", surest), ("slot", slot)):
        found = opinion_distributions.peaked(opinion_distributions.survey(told, BLANK), shares, 0.99)
        means = opinion_distributions.peaked_means(found)
        peaks[name] = means.set_index("metric")["mean"]
        robust, flip = opinion_distributions.peaked_findings(means)
        verdicts = {"content": ["holds", "cannot tell"], "slot": ["cannot tell", "holds"]}  # none of 12: at most 0.24
        assert [robust.verdict, flip.verdict] == verdicts[name]
    assert (peaks["content"]["one_answer"], peaks["content"]["one_robust_answer"]) == (1, 1)
    assert (peaks["slot"]["one_answer"], peaks["slot"]["one_robust_answer"]) == (1, 0)
    assert (peaks["content"]["order_flip"], peaks["slot"]["order_flip"]) == (0, 1)
    humans = shares.groupby(["item", "level"])["share"].mean()
    assert peaks["slot"]["human_max"] == pytest.approx(humans.groupby("item").max().mean())


def test_personas_that_answer_as_their_groups_are_as_diverse(people, read):
    found = opinion_distributions.diversity(read, people[0]).iloc[0]
    assert found["mean"] == pytest.approx(1) and found["n"] == 12
    alone = opinion_distributions.survey(planted.planted_answers(all_questions([]), planted.takes_position(0)), BLANK)
    assert opinion_distributions.diversity(alone, people[0]).attrs["reason"]


def test_foundations_are_on_their_scale_and_need_items():
    assert opinion_distributions.morals(None).attrs["reason"]
    for empty in (opinion_distributions.foundations, opinion_distributions.foundations_gap):
        assert empty(opinion_distributions.morals(None)).empty
    scale = ("none", "hardly", "little", "some", "much", "most")
    items = tuple(SurveyItem(f"{f}{i}", f"{f} {i}", f, scale=scale) for f in ("care", "loyalty") for i in range(3))
    sides = [surveys.NO_PERSONA, *instruments.SIDES]
    turned = surveys.formats("own", ["numbers"], answer=["label"])
    questions = surveys.survey_questions(Instrument("mfq", items), turned, sides)

    def side(question):
        return {"left": 0.8, "right": 0.4, "none": 0.6}[question.tags["persona"]]

    morals = opinion_distributions.morals(planted.planted_answers(questions, planted.holds_opinion(side)))
    table = opinion_distributions.foundations(morals).set_index(["persona", "dimension"])["mean"]
    assert table.to_dict() == pytest.approx(
        {(who, f): 5 * x for who, x in (("none", 0.6), ("left", 0.8), ("right", 0.4)) for f in ("care", "loyalty")}
    )


def test_western_groups_are_compared_with_others_beyond_uniform_answers():
    items = tuple(SurveyItem(f"q{i}", f"Question {i}?", scale=("a", "b", "c")) for i in range(8))
    names = ["Germany", "France", "Kenya", "Japan"]
    sides = {g: (0.8, 0.1, 0.1) if g in WEST else (0.1, 0.1, 0.8) for g in names}
    rows = [(item.id, g, k, p) for item in items for g in names for k, p in enumerate(sides[g])]
    shares = pd.DataFrame(rows, columns=["item", "group", "level", "share"])
    panel = Instrument("panel", items)
    letters = surveys.formats("own", ["numbers"], answer=["label"])

    def western(question):
        _, place = planted._scale(question)
        p = np.full(3, 1 / 3) if "N/A" in question.prompt_text else np.array([0.8, 0.1, 0.1])
        return planted._on_options(p, place)

    given, empty = (
        averaged(levels(planted.planted_answers(surveys.survey_questions(each, letters), western)), surveys.ORDERS)
        for each in (panel, surveys.content_free(panel))
    )
    found = opinion_distributions.groups(given, empty, shares)
    assert found.table["mean"].tolist()[:2] == pytest.approx([1, 1]) and found.table["mean"].is_monotonic_decreasing
    assert found.table["uniform"].tolist() == pytest.approx(found.table["position only"].tolist())
    assert found.note == "; North America and Western Europe: France, Germany; others: Japan, Kenya" or (
        "Germany, France" in found.note
    )
    (claim,) = opinion_distributions.west_findings(found, "panel")
    far = alignment.similarity([(0.8, 0.1, 0.1)], [(0.1, 0.1, 0.8)])[0]
    assert claim.estimate == pytest.approx(1 - far) and claim.n == 8  # uniform answers are as near to either side
    one = opinion_distributions.groups(given, empty, shares[shares["group"].isin(WEST)])
    assert one.note == "" and opinion_distributions.west_findings(one, "panel") == []


def test_a_base_model_is_compared_item_by_item(people, read):
    shares, _ = people
    none = opinion_distributions.twins({}, read, shares, True)
    assert none == {} and opinion_distributions.twin_findings(none) == []
    assert opinion_distributions.twin_means(none).attrs["reason"]
    plain = surveys.survey_questions(ITEMS, FORMATS, chat=False)
    told = {"before": planted.planted_answers(plain, like(shares, "Japan"))}
    told["after"] = planted.planted_answers(plain, planted.takes_position(0))
    found = opinion_distributions.twins(told, read, shares, True)
    names = [f"{when}, {how}" for when in ("before", "after") for how in opinion_distributions.READINGS]
    assert list(found) == [*names, *(f"after, chat template, {how}" for how in opinion_distributions.READINGS)]
    assert len(opinion_distributions.twins(told, read, shares, False)) == 4
    means = opinion_distributions.twin_means(found).set_index(["reading", "metric"])["mean"]
    assert means["before, one order", "similarity"] > means["after, one order", "similarity"]
    assert means["after, one order", "p_max"] == 1 and means["before, one order", "mass"] == pytest.approx(1)
    nearer, mass = opinion_distributions.twin_findings(found)
    gap = means["before, orders averaged", "similarity"] - means["after, orders averaged", "similarity"]
    assert nearer.estimate == pytest.approx(gap) and nearer.n == 12 and mass.estimate == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def worlds(people):
    home = worldviews.world_regions()
    regions = sorted(set(home.values()))

    def names(question):
        texts = [home[option.text.strip()] for option in question.options]
        if question.tags["condition"] == "plural":
            wanted = regions
        elif question.tags["condition"] == "agents":
            wanted = [regions[COUNTRIES.index(question.tags["persona"])]]
        else:
            wanted = regions[:1]
        p = np.array([(text in wanted) / texts.count(text) for text in texts])
        return p / p.sum()

    questions = worldviews.world_questions(8, people[1])
    return worldviews.worlds(probabilities(planted.planted_answers(questions, names)))


def test_worlds_are_as_diverse_as_planted(worlds):
    means = worldviews.world_means(worlds)
    mean = means.set_index(["condition", "metric"])["mean"]
    assert mean["plain", "diversity"] == mean["agents", "diversity"] == 0 and mean["plural", "diversity"] == 1
    pooled = np.log(4) / np.log(len(set(worldviews.world_regions().values())))
    assert mean[worldviews.POOLED, "diversity"] == pytest.approx(pooled) and mean["plain", "top_share"] == 1
    assert means["uniform"].dropna().unique() == pytest.approx(list(worldviews.uniform_world().values()))
    plural, pool = worldviews.plural_finding(worlds), worldviews.pooled_finding(worlds)
    assert plural.estimate == 1 and pool.estimate == pytest.approx(pooled) and pool.n == 8
    assert worldviews.pooled_finding(worlds[worlds["condition"] != worldviews.POOLED]) is None
    assert "8 topics" in worldviews.draw_worlds(means, 8).axes[0].get_xlabel().replace("\n", " ")


def test_open_answers_are_compared_with_their_own_statement(read):
    assert worldviews.statements(ITEMS, 0) == {}
    none = worldviews.open_answers({}, [], None, read.default)
    assert none.attrs["reason"] and worldviews.open_means(none).empty and worldviews.arguments(none)[1] == ""
    assert worldviews.open_finding(none, none) is None
    statements = worldviews.statements(ITEMS, 6)
    assert len(statements) == 6 and list(statements)[1] == ITEMS[2].id
    prompts = worldviews.open_prompts(statements)
    assert prompts[0][0].content.endswith(next(iter(statements.values())))
    texts = ["I am sorry, I cannot say what I think of this at all."] + ["This makes a good life for all people."] * 5
    questions = worldviews.stance_questions(statements, texts)
    assert questions[1].prompt_text.count(texts[1]) == 1 and questions[0].id == f"open/{next(iter(statements))}"
    agrees = planted.planted_answers(questions, lambda q: np.array([0.1, 0.2, 0.7]))
    found = worldviews.open_answers(statements, texts, agrees, read.default)
    sides = read.default[read.default["item"] == found["item"][0]].sort_values("level")["p"].to_numpy()
    closed = np.array([sides[:2].sum(), sides[2], sides[3:].sum()])
    assert found["disparity"][0] == pytest.approx(np.abs(closed - [0.1, 0.2, 0.7]).sum() / 2)
    assert found["unrelated"].to_numpy() == pytest.approx(found["disparity"].to_numpy())  # all texts are read alike
    assert found["refused"].tolist() == [1, 0, 0, 0, 0, 0] and set(found["stance"]) == {"agrees"}
    means = worldviews.open_means(found)
    claim = worldviews.open_finding(found, means)
    assert claim.estimate == pytest.approx(found["disparity"].mean())
    assert claim.verdict.endswith("closed answers are no nearer to the text on their own statement than to others")
    table, note = worldviews.arguments(found)
    assert note.startswith("6 sentences, 0 too short; 0 of 6 replies take no side")
    assert table.empty and table.attrs["reason"].startswith("no sentence recurs")  # five of six: a phrase


def test_every_topic_has_every_condition_and_persona():
    questions = worldviews.world_questions(2, instruments.personas(["Japan", "Brazil"]))
    assert len(questions) == 2 * (3 + 2) == len({q.id for q in questions})
    assert {q.tags["condition"] for q in questions} == {"plain", "plural", "listed", "agents"}
    regions = worldviews.world_regions()
    assert all({option.text for option in q.options} == set(regions) for q in questions)
    assert len(regions) == 24 and set(regions.values()) == set(instruments.country_scores()["region"])
    by = {q.tags["condition"]: q.prompt_text for q in questions if q.tags["item"] == worldviews.TOPICS[0]}
    assert "Great Britain" in by["listed"] and "Great Britain" not in by["plain"] + by["plural"]
    assert by["plural"].endswith(by["plain"][-40:]) and len(by["plural"]) > len(by["plain"])
    plain = worldviews.world_questions(1, chat=False)
    assert all(q.prompt_text.endswith("Answer:") and q.options[0].text.startswith(" ") for q in plain)
    with pytest.raises(InputError, match="one topic"):
        worldviews.world_questions(0)


def test_moral_items_need_six_options_and_a_foundation(tmp_path):
    path, scale = tmp_path / "mine.csv", "none|hardly|little|some|much|most"
    path.write_text(f"id,text,dimension,scale\ncare1,Whether somebody was hurt.,care,{scale}\n", "utf-8")
    formats = surveys.formats("own", ["numbers"], answer=["label"])
    questions = surveys.survey_questions(instruments.load_foundations(path), formats, instruments.SIDES)
    assert len(questions) == 4 and {o.value for q in questions for o in q.options} == set(map(float, range(6)))
    path.write_text("id,text,dimension\ncare1,Whether somebody was hurt.,care\n", "utf-8")
    with pytest.raises(InputError, match="six options"):
        instruments.load_foundations(path)
    words = [text.split()[-1].lower() for text in instruments.PLACEMENT[0].scale]
    assert words == ["left"] * 3 + ["middle"] + ["right"] * 3  # the sides of the self-placement are balanced
