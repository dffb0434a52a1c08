"""Instruments, formats and personas become questions; users' files are read or refused in a sentence."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from workbench.answers import levels
from workbench.cultural_alignment import alignment, robustness, surveys
from workbench.cultural_alignment.instruments import (
    asking_scale,
    country_scores,
    load_instrument,
    load_ipip,
    load_personas,
    personas,
)
from workbench.cultural_alignment.populations import (
    check_personas,
    load_microdata,
    load_shares,
    load_values_survey,
    synthetic_shares,
)
from workbench.cultural_alignment.surveys import (
    NO_PERSONA,
    Format,
    SurveyItem,
    formats,
    prompt_digest,
    survey_questions,
)
from workbench.errors import InputError
from workbench.planted import holds_opinion, planted_answers

INSTRUMENT = load_instrument()
OWN_SURVEY = """id,text,scale,key,dimension,opposite
a,How often do you help a stranger?,Never|Sometimes|Always,1,help,
b,How often do you look away?,Never|Sometimes|Always,-1,help,
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_the_written_instrument_is_balanced():
    assert len(INSTRUMENT) == 24
    keys = Counter((item.dimension, item.key) for item in INSTRUMENT)
    assert set(keys.values()) == {2} and len(keys) == 12
    texts = [text for item in INSTRUMENT for text in (item.text, item.opposite)]
    assert len(set(texts)) == 48 and max(map(len, texts)) < 90


def test_the_small_run_has_1728_prompts():
    who = [NO_PERSONA, *personas()]
    questions = survey_questions(INSTRUMENT, formats(), who)
    assert len(questions) == len({q.id for q in questions}) == 24 * 9 * 8 == 1728


@pytest.mark.parametrize("form", [*formats(["binary", *surveys.SCALES]), Format(refusal=True)], ids=lambda f: f.id)
def test_values_follow_the_scale_whatever_is_shown(form):
    question = survey_questions(INSTRUMENT, form)[2]
    item = INSTRUMENT[2]
    base = surveys.SCALES.get(form.scale, (item.opposite, item.text))
    listed = [line.split(". ", 1) for line in question.prompt_text.splitlines() if line[1:3] == ". "]
    by_label = {label: text for label, text in listed}
    for option in question.options:
        text = option.text.strip()
        shown = by_label[text] if form.answer == "label" else text
        assert shown == (surveys.REFUSAL if option.value is None else base[int(option.value)])
    listed_places = [base.index(text) for _, text in listed if text in base]
    assert listed_places == sorted(listed_places, reverse=form.direction == "descending")


def test_the_digest_of_prompts_changes_with_anything_that_is_shown():
    items = load_instrument().head(1)
    base = prompt_digest(survey_questions(items))
    assert base == prompt_digest(survey_questions(items)) and len(base) == 64
    others = [survey_questions(items, Format(direction="descending")), survey_questions(items, chat=False)]
    others += [survey_questions(items, personas=personas(["Japan"])), list(survey_questions(items))[::-1]]
    assert base not in {prompt_digest(each) for each in others}


def test_prompts_share_their_beginning():
    questions = survey_questions(INSTRUMENT, Format(), personas(["Japan"]))
    heads = {q.prompt_text.split("Statement:")[0] for q in questions}
    assert len(heads) == 1 and "Japan" in heads.pop()


def test_plain_prompts_end_in_a_cue_and_options_bring_their_space():
    question = survey_questions(INSTRUMENT, Format(answer="text"), chat=False)[0]
    assert question.prompt.endswith("\nAnswer:")
    assert all(option.text.startswith(" ") for option in question.options)


def test_country_table_has_24_cited_rows():
    table = country_scores()
    assert len(table) == 24 and table.loc["U.S.A.", "IDV"] == 91
    assert table.notna().all().all()


def test_missing_scores_of_a_full_matrix_stay_missing(tmp_path):
    text = "ctr;country;pdi;idv;mas;uai;ltowvs;ivr\n"
    text += "NIG;Nigeria;#NULL!;#NULL!;#NULL!;#NULL!;13;84\nSWE;Sweden;31;71;5;29;53;78\n"
    table = country_scores(write(tmp_path / "matrix.csv", text))
    assert np.isnan(table.loc["Nigeria", "PDI"]) and table.loc["Sweden", "LTO"] == 53
    with pytest.raises(InputError, match="Nigeria has no PDI"):
        synthetic_shares(INSTRUMENT, table)


def test_a_users_survey_runs_through_every_step(tmp_path):
    instrument = load_instrument(write(tmp_path / "mine.csv", OWN_SURVEY))
    shares_csv = "item,group,option,share\n" + "".join(
        f"{item},{group},{option},{share}\n"
        for item in "ab"
        for group, values in (("North", (0.2, 0.3, 0.5)), ("South", (0.6, 0.3, 0.1)))
        for option, share in zip(("Never", "2", "Always"), values)
    )
    shares = load_shares(write(tmp_path / "shares.csv", shares_csv), instrument)
    questions = survey_questions(instrument, formats(asking_scale(instrument)))
    table = levels(planted_answers(questions, holds_opinion(lambda q: 0.75)), nested="keep")
    found = surveys.scores(table)
    assert found["x"].to_numpy() == pytest.approx(0.75)
    assert robustness.stability(table, robustness.FACTORS)["mean_abs"].max() == pytest.approx(0, abs=1e-12)
    aligned = alignment.alignments(alignment.paired_shares(table, shares), "wasserstein")
    means = aligned[aligned["item"] == "a"].groupby("group")["similarity"].mean()
    assert means["North"] > means["South"]


def test_microdata_counts_missing_codes_and_weighs(tmp_path):
    frame = pd.DataFrame({"COUNTRY": ["A"] * 4 + ["B"], "Q1": [1, 2, 2, -1, 2], "W": [1, 1, 2, 5, 1]})
    frame.to_csv(tmp_path / "wvs.csv", index=False)
    found = load_microdata(tmp_path / "wvs.csv", {"Q1": [1, 2]}, weight="W")
    assert found[found.group == "A"]["share"].tolist() == [0.25, 0.75]
    assert found[found.group == "A"][["n_used", "n_dropped"]].iloc[0].tolist() == [3, 1]


def test_values_surveys_keep_their_one_negative_code(tmp_path):
    frame = pd.DataFrame({"S003": [752, 716], "S017": [1.0, 0.5], "F063": [-1, 10], "Y003": [-2, -5]})
    frame.to_csv(tmp_path / "ivs.csv", index=False)
    found = load_values_survey(tmp_path / "ivs.csv", ["F063", "Y003"])
    assert found["F063"].isna().tolist() == [True, False] and found["Y003"].tolist()[0] == -2
    assert np.isnan(found["Y003"][1]) and found["country"].tolist() == ["Sweden", "Zimbabwe"]
    with pytest.raises(InputError, match="'A008'"):
        load_values_survey(tmp_path / "ivs.csv", ["A008"])


def test_blank_cells_of_an_export_are_missing_and_counted(tmp_path):
    rows = "S003,S017,A008,Y003\n752,1.5, ,-2\n716, ,2,1\n ,1,2,1\n840,0.5,-1,\nAtlantis,1,4,0\n"
    found = load_values_survey(write(tmp_path / "ivs.csv", rows), ["A008", "Y003"])
    assert found["country"].tolist() == ["Sweden", "U.S.A.", "Atlantis"] and found["weight"].tolist() == [1.5, 0.5, 1]
    missing = found[["A008", "Y003"]].isna().to_numpy().T.tolist()
    assert missing == [[True, True, False], [False, True, False]]
    assert found.attrs == {"n_without_country": 1, "n_without_weight": 1, "unknown_countries": {}}
    shares = load_microdata(tmp_path / "ivs.csv", {"A008": [2, 4]}, "S003", "S017")  # a blank made the column text
    assert shares[shares.group == "Atlantis"]["share"].tolist() == [0, 1]
    assert shares["group"].unique().tolist() == ["Atlantis"]


def test_a_number_is_a_country_in_the_iso_column_alone(tmp_path):
    rows = "S003,COW,S017,F063\n380,380,1,3\n840,United States,1,4\n"  # 380 is Italy in ISO 3166, Sweden in COW
    path = write(tmp_path / "ivs.csv", rows)
    assert load_values_survey(path, ["F063"])["country"].tolist() == ["Italy", "U.S.A."]
    assert load_values_survey(path, ["F063"], country="COW")["country"].tolist() == ["380", "U.S.A."]


def test_a_number_of_no_country_is_left_out_and_named(tmp_path):
    rows = 'S003,S017,F063\n752.0,1,3\n9999,1,4\n"1,000",1,5\n-4,1,6\n-4,1,6\n0036,1,7\n'
    path = write(tmp_path / "ivs.csv", rows)
    found = load_values_survey(path, ["F063"])
    assert found["country"].tolist() == ["Sweden", "Australia"] and found["F063"].tolist() == [3, 7]
    assert found.attrs["unknown_countries"] == {"-4": 2, "9999": 1, "1,000": 1}
    with pytest.raises(InputError, match=r"ivs.csv: '9999' in 'S003' is not an ISO 3166 number of a country"):
        load_values_survey(write(path, "S003,S017,F063\n9999,1,3\n"), ["F063"])


def test_a_reply_means_one_option(tmp_path):
    def labels(scale, form):
        question = survey_questions(surveys.Instrument("mine", (SurveyItem("a", "How much?", scale=scale),)), form)[0]
        lines = [line.split(". ", 1) for line in question.prompt_text.splitlines() if line[1:3] == ". "]
        if form.answer == "label":
            meant = {option.text.strip(): option.value for option in question.options}
            assert meant == {mark: None if text == surveys.REFUSAL else scale.index(text) for mark, text in lines}
        return dict(lines)

    points = tuple("012345")
    for form in formats("own", ["numbers"]):
        assert labels(points, form) == {text: text for text in points}
        assert labels(tuple("AB"), Format("own", "letters", form.direction, form.answer)) == {"A": "A", "B": "B"}
    assert labels(points, Format("own", "letters", "descending"))["A"] == "5"
    assert labels(points, Format("own", refusal=True))["6"] == surveys.REFUSAL
    assert labels(tuple("AC"), Format("own", "letters", refusal=True))["B"] == surveys.REFUSAL
    assert labels(("1", "Many"), Format("own")) == {"1": "1", "2": "Many"}
    for scale, form in (
        (("Never", "2", "1.", "Always"), Format("own")),
        (("Never", "2", "1.", "Always"), Format("own", answer="text")),
        (("Never", "a", "B"), Format("own", "letters")),
        (("1", "Many"), Format("own", direction="descending")),
        (("0", "1", "10"), Format("own")),
    ):
        with pytest.raises(InputError, match=r"Item 'a' .*label.*; use labels='(letters|numbers)'"):
            labels(scale, form)


def test_shares_of_statements_have_the_options_of_the_scale(tmp_path):
    items = load_instrument(write(tmp_path / "items.csv", "id,text\ns,Rules help.\n"))

    def shares(options, **how):
        rows = "".join(f"s,{group},{option},{1 / len(options)!r}\n" for group in "NS" for option in options)
        return load_shares(write(tmp_path / "s.csv", f"item,group,option,share\n{rows}"), items, **how)

    assert len(shares([1, 2, 3, 4, 5])) == 10 and len(shares(range(1, 8), scale="likert7")) == 14
    assert shares(list(surveys.SCALES["likert5"])).equals(shares([1, 2, 3, 4, 5]))
    with pytest.raises(InputError, match=r"s.csv: Item 's' lacks an option for group 'N': it has 5, Strongly"):
        shares([1, 2, 3])
    with pytest.raises(InputError, match=r"s.csv, line 7: '6' is not an option of item 's'.*`scale`"):
        shares(range(1, 8))
    with pytest.raises(InputError, match="Unknown scale 'likert8'"):
        shares([1, 2, 3], scale="likert8")


def test_ipip_items_use_the_accuracy_scale(tmp_path):
    table = write(tmp_path / "ipip.csv", "item,text,key,label\nA1,Like my own items.,-1,Agreeableness\n")
    (item,) = load_ipip(table)
    assert (item.id, item.key, item.dimension, len(item.scale)) == ("A1", -1, "Agreeableness", 6)
    assert item.text.endswith('"Like my own items."') and len(load_ipip(table, 5)[0].scale) == 5
    assert survey_questions(load_ipip(table), Format("own"))[0].options[-1].value == 5
    with pytest.raises(InputError, match="number of points"):
        load_ipip(table, 7)


def test_ipip_items_that_no_scale_is_scored_by_are_left_out_and_counted(tmp_path):
    rows = "instrument,alpha,key,text,label\nVIA,.7,1,Am a brave person.,Bravery\nVIA,.7,0,Know my strengths.,Bravery\n"
    found = load_ipip(write(tmp_path / "ipip.csv", rows + 'NEO,.7,-1,"Often say ""no.""",Grit\n'))
    assert [(item.id, item.key) for item in found] == [("item1", 1), ("item3", -1)]
    assert found.note == "1 items with key 0, which no scale is scored by, are left out."
    assert found[1].text.endswith('"Often say ‘no.’"')
    with pytest.raises(InputError, match=r"ipip.csv: .*no items"):
        load_ipip(write(tmp_path / "ipip.csv", "text,key\nAm calm.,0\n"))
    with pytest.raises(InputError, match=r"ipip.csv, line 2: key is '0'"):
        load_instrument(tmp_path / "ipip.csv")


def test_own_personas_stand_for_the_groups_of_the_shares(tmp_path):
    found = load_personas(write(tmp_path / "p.csv", "name,text\nNorth,You live in the north.\nSouth,You do not.\n"))
    assert [persona.name for persona in found] == ["North", "South"]
    shares = pd.DataFrame({"group": ["North", "South", "West"]})
    check_personas(["North", "South"], shares)
    with pytest.raises(InputError, match=r"'U.S.A.' is not a group of the shares.*personas_file=.*North, South, West"):
        check_personas(["U.S.A.", "North"], shares)
    with pytest.raises(InputError, match="two personas"):
        check_personas(["North"], shares)
    with pytest.raises(InputError, match="line 3: the persona 'North' occurs twice"):
        load_personas(write(tmp_path / "twice.csv", "name,text\nNorth,a\nNorth,b\n"))


def test_without_content_only_the_form_is_left():
    blank = surveys.content_free(INSTRUMENT)
    assert len({q.prompt_text for q in survey_questions(blank)}) == 1 and blank.name != INSTRUMENT.name


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Format("likert9"), "Unknown scale"),
        (lambda: Format(labels="roman"), "Unknown format"),
        (lambda: survey_questions(INSTRUMENT, Format("own")), "no scale of its own"),
        (lambda: survey_questions(INSTRUMENT, []), "at least one format"),
        (lambda: SurveyItem("a", " "), "no text"),
        (lambda: personas(["Japan"], "shouted"), "Unknown wording"),
        (lambda: personas(["Nigeria"]), "'Nigeria'"),
    ],
)
def test_impossible_surveys_are_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_eleven_numbered_options_need_letters():
    item = SurveyItem("a", "How much?", scale=tuple(f"{i} points" for i in range(11)))
    instrument = surveys.Instrument("mine", (item,))
    with pytest.raises(InputError, match="letters"):
        survey_questions(instrument, Format("own"))
    assert len(survey_questions(instrument, Format("own", "letters"))[0].options) == 22
