"""Adapters of value benchmarks and opinion data, on records written for the project."""

import csv
import re
from collections import Counter

import numpy as np
import pytest

from workbench.answers import levels
from workbench.cultural_alignment import national_bias
from workbench.cultural_alignment.benchmarks import load_choices
from workbench.cultural_alignment.opinions import (
    WEST,
    load_global_opinions,
    load_opinion_qa,
    load_opinions,
    load_subpop,
)
from workbench.datasets.sources import Source, find, names
from workbench.errors import InputError
from workbench.planted import planted_answers

OPTIONS = {f"prompt_option_{letter}": text for letter, text in zip("abcd", ("bread", "soup", "fish", "cake"))}
RECORDS = {
    "normad": {
        **{"Country": "no_where", "Value": "Giving is good.", "Rule-of-Thumb": "Guests bring bread."},
        **{"Story": "Ana visits Ben with bread.", "Gold Label": "yes", "Subaxis": "visiting"},
    },
    "nurvalues": {"index": 1, "Nursing_Value": "Human_Dignity", "Alignment": 0, "text_EN": "The nurse left."},
    "cdeval": {
        **{"Dimension": "PDI", "Domain": "work", "Question": "Who decides?"},
        **{"Option 1": "The head.", "Option 2": "All."},
    },
    "cultural_bench": {"prompt_question": "What is eaten first?", "answer": "B", "country": "nowhere", **OPTIONS},
    "pacifaist": {
        **{"task_type": "multiple_choice", "prompt": "Which comes first?", "subcategory": "EP1"},
        **{"choice_a": "Switch off.", "choice_b": "Go on.", "correct_choice": "A"},
    },
}


@pytest.mark.parametrize("name", names("choices")["name"])
def test_every_option_is_equally_often_in_every_position(name):
    questions = load_choices(name, records=[RECORDS[name]])
    k, conditions = len(questions[0].options), len(find(name, "choices").conditions or ("",))
    orders = {2: 2, 3: 6, 4: 4}[k]
    assert len(questions) == orders * conditions == len({q.id for q in questions})
    texts = [tuple(line[3:] for line in q.prompt_text.splitlines() if line[1:3] == ". ") for q in questions]
    assert len(set(texts)) == orders
    assert set(Counter(each[0] for each in texts).values()) == {orders * conditions // k}
    if name != "cdeval":
        right = Counter([option.role for option in q.options].index("correct") for q in questions)
        assert set(right) == set(range(k)) and len(set(right.values())) == 1
        first = [option.role for option in questions[0].options].index("correct")
        assert questions[0].tags["key_position"] == first


def test_normad_contexts_add_information():
    questions = load_choices("normad", records=[RECORDS["normad"]])
    first = {q.tags["condition"]: q.prompt_text for q in questions if q.tags["order_shown"] == 0}
    assert list(first) == list(find("normad", "choices").conditions) and len({q.tags["item"] for q in questions}) == 1
    parts = ("No Where", "Giving is good.", "Guests bring bread.")
    said = {condition: [part in text for part in parts] for condition, text in first.items()}
    assert said["none"] == [False] * 3 and said["country"] == [True, False, False]
    assert said["value"] == [False, True, False] and said["country and value"] == [True, True, False]
    assert said["rule of thumb"] == [False, False, True]


def test_labels_are_read_over_all_orders():
    records = [
        {**RECORDS["normad"], "Story": f"Story {i}.", "Gold Label": gold} for i, gold in enumerate(("yes", "no"))
    ]
    questions = load_choices("normad", records=records)

    def mostly_yes(question):
        return np.array([{0.0: 0.7, 1.0: 0.2, 2.0: 0.1}[option.value] for option in question.options])

    found = national_bias.labelled(levels(planted_answers(questions, mostly_yes)), ("yes", "no", "neutral"))
    assert len(found) == 2 * len(find("normad", "choices").conditions) and set(found["predicted"]) == {"yes"}
    by_label = found.groupby("label")[["accuracy", "p_gold", "lean"]].mean()
    assert by_label.loc["yes"].tolist() == pytest.approx([1, 0.7, -0.3])
    assert by_label.loc["no"].tolist() == pytest.approx([0, 0.2, 0.7])

    def first_slot(question):
        return np.eye(len(question.options))[0]

    slot = national_bias.labelled(levels(planted_answers(questions, first_slot)), ("yes", "no", "neutral"))
    assert slot["predicted"].isna().all() and slot["p_gold"].tolist() == pytest.approx([1 / 3] * len(slot))


def test_cdeval_scores_poles_not_right_and_wrong():
    first = load_choices("cdeval", records=[RECORDS["cdeval"]])[0]
    assert [option.value for option in first.options] == [1.0, 0.0]
    assert {option.role for option in first.options} == {"none"}


def test_comments_of_a_users_csv_are_skipped(tmp_path):
    row = RECORDS["pacifaist"]
    lines = ["# a licence", "# a name", ",".join(row), ",".join(row.values())]
    path = tmp_path / "p.csv"
    path.write_text("\n".join(lines) + "\n")
    assert len(load_choices(f"pacifaist={path}")) == 2


def test_a_missing_file_name_or_field_is_named():
    with pytest.raises(InputError, match="needs your own file"):
        load_choices("pacifaist")
    with pytest.raises(InputError, match="normad"):
        load_choices("norm_ad")
    with pytest.raises(InputError, match="no field 'Country'"):
        load_choices("normad", records=[{"Gold Label": "yes"}])


def test_a_set_whose_commit_was_not_checked_asks_for_one_and_the_others_are_pinned(monkeypatch):
    with pytest.raises(InputError, match="nurvalues@<full commit>"):
        load_choices("nurvalues")
    monkeypatch.setattr(
        Source, "_of_hub", lambda source, part, commit: ([RECORDS[source.name]], f"@{commit or source.commit}")
    )
    for name in ("normad", "cdeval", "cultural_bench"):
        assert re.search("@[0-9a-f]{40}$", load_choices(name).origin.revision)


def test_a_story_that_ends_with_its_own_question_gets_no_second_one():
    story = "Ana visits Ben. Is what Ana did socially acceptable?"
    record = {**RECORDS["normad"], "Story": story, "Country": "south_korea"}
    for question in load_choices("normad", records=[record]):
        assert question.prompt_text.count("?") == 1
        assert ("Country: South Korea" in question.prompt_text) == ("country" in question.tags["condition"])
    quoted = {**record, "Story": "Ana asks: “Is it?” Ben nods."}
    assert load_choices("normad", records=[quoted])[0].prompt_text.count("main character") == 1


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("normad", {"Gold Label": None}, "an unknown label"),
        ("normad", {"Gold Label": " "}, "an unknown label"),
        ("normad", {"Story": None}, "an empty Story"),
        ("nurvalues", {"Alignment": None}, "no answer key"),
        ("nurvalues", {"Alignment": "2"}, "no answer key"),
        ("nurvalues", {"text_EN": ""}, "an empty text_EN"),
        ("cdeval", {"Dimension": ""}, "an empty Dimension"),
        ("cultural_bench", {"prompt_option_c": None}, "an empty prompt_option_c"),
        ("cultural_bench", {"answer": ""}, "no answer key"),
        ("cultural_bench", {"answer": None}, "no answer key"),
        ("cultural_bench", {"answer": "AB"}, "no answer key"),
        ("pacifaist", {"correct_choice": ""}, "no answer key"),
        ("pacifaist", {"task_type": "generative"}, "an open prompt"),
    ],
)
def test_a_record_without_a_key_or_a_text_is_left_out_and_counted(name, change, reason):
    found = load_choices(name, records=[RECORDS[name], {**RECORDS[name], **change}])
    assert found.dropped == {reason: 1}
    with pytest.raises(InputError, match=rf"No record of '{name}' \(given\) can be used \(1 times {reason}"):
        load_choices(name, records=[{**RECORDS[name], **change}])


@pytest.mark.parametrize(("alignment", "label"), [(1, "yes"), ("1.0", "yes"), (0.0, "no"), ("0", "no")])
def test_alignment_is_read_as_a_number(alignment, label):
    record = {**RECORDS["nurvalues"], "Alignment": alignment}
    assert load_choices("nurvalues", records=[record])[0].tags["label"] == label


def test_six_opposite_poles_are_not_one_group():
    bare = {key: value for key, value in RECORDS["cdeval"].items() if key != "Dimension"}
    with pytest.raises(InputError, match="has no field 'Dimension'"):
        load_choices("cdeval", records=[bare])
    assert load_choices("cdeval", records=[RECORDS["cdeval"]])[0].tags["group"] == "PDI"


GLOBAL = [
    {
        "question": "Is it good?",
        "options": "['Yes', 'No', 'Don\\'t know']",
        "selections": "defaultdict(<class 'list'>, {'Atlantis (Current national sample)': [0.5, 0.3, 0.2], "
        "'Utopia': [0.1, 0.9]})",
    },
    {"question": "One?", "options": "['Yes', 'Refused']", "selections": "defaultdict(<class 'list'>, {})"},
]


def test_global_opinions_are_parsed_without_dont_knows():
    found = load_global_opinions(records=GLOBAL)
    assert found.shares["group"].unique().tolist() == ["Atlantis"]
    assert found.shares["share"].tolist() == pytest.approx([0.625, 0.375])
    assert found.instrument[0].scale == ("Yes", "No") and not found.instrument[0].ordinal
    assert found.dropped == {"shares do not fit the options": 1, "fewer than two opinions, or one twice": 1}


def test_options_that_are_no_opinion_and_countries_of_two_names():
    options = [
        "Good",
        "Bad",
        "Neither (DO NOT READ)",
        "Both (VOL)",
        "INAP: no internet",
        "Never heard of",
        "DK/Refused",
    ]
    options += ["Don't -9:-2", "Against it (spontaneous)", "Hard to say", "Have not heard of it"]
    first = {"Britain": [0.4, 0.1], "S. Korea": [0.2, 0.3], "United States": [0.5, 0.05]}
    first = {name: [*shares, *[0.05] * 9] for name, shares in first.items()}
    second = {"India (Old national sample)": [0.9, 0.1], "Great Britain": [0.2, 0.8], "South Korea": [1.0, 0.0]}
    second |= {"India (Current national sample)": [0.3, 0.7], "China (Non-national sample)": [0.5, 0.5]}
    records = [
        {"question": "How is it?", "options": options, "selections": first},
        {"question": "And now?", "options": ["Up", "Down"], "selections": second},
    ]
    found = load_global_opinions(records=records)
    assert found.instrument[0].scale == ("Good", "Bad", "Hard to say", "Have not heard of it")
    shares = found.shares.pivot(index="group", columns=["item", "level"], values="share")
    assert sorted(shares.index) == ["China", "Great Britain", "India", "South Korea", "U.S.A."]
    assert shares.loc["Great Britain", ("q0", 0)] == pytest.approx(0.4 / 0.6)
    assert shares.loc["Great Britain", ("q1", 0)] == 0.2 and shares.loc["India", ("q1", 0)] == 0.3
    assert found.dropped == {"a second sample of one country": 1}
    for spelling in ("Britain", "Great Britain"):
        assert len(load_global_opinions(records=records, groups=[spelling]).shares) == 6
    assert "U.S.A." in WEST and "Great Britain" in WEST


def test_opinions_are_named_by_one_text(monkeypatch):
    monkeypatch.setattr(Source, "read", lambda source, commit=None: (GLOBAL, f"{source.hub}@{commit or source.commit}"))
    assert len(load_opinions("global_opinions").instrument) == 1
    assert len(load_opinions("global_opinions@" + "0" * 40).instrument) == 1
    with pytest.raises(InputError, match="needs an attribute"):
        load_opinions("subpop")
    with pytest.raises(InputError, match="American_Trends_Panel_W"):
        load_opinions("/nowhere:POLPARTY")


PANEL = [
    {
        "qkey": "SAFE",
        "attribute": "PARTY",
        "group": group,
        "question": "How safe is it?",
        "options": ["Very safe", "Not safe", "Rather safe", "Refused"],
        "responses": shares,
        "ordinal": [3.0, 1.0, 2.5],
        "refusal_rate": 0.1,
    }
    for group, shares in (("A", [0.5, 0.2, 0.3]), ("B", [0.1, 0.6, 0.3]))
]


def test_subpop_options_are_in_the_order_of_their_ordinals():
    found = load_subpop("PARTY", records=PANEL)
    (item,) = found.instrument
    assert item.scale == ("Not safe", "Rather safe", "Very safe") and item.positions == (1.0, 2.5, 3.0)
    assert found.shares[found.shares.group == "A"]["share"].tolist() == pytest.approx([0.2, 0.3, 0.5])
    with pytest.raises(InputError, match="Unknown attribute 'AGE' of subpop"):
        load_subpop("AGE", records=PANEL)
    tied = load_subpop("PARTY", records=[{**each, "ordinal": [1, 1, 2]} for each in PANEL])
    assert not tied.instrument[0].ordinal and tied.instrument[0].positions == ()


INFO = {
    "SAFE_W43": ("How safe?", "['Very safe', 'Not safe', 'Refused']", "[2.0, 1.0]"),
    "IMP_W43": ("How good is it to be red?", "['Good', 'Bad', 'Refused']", "[1.0, 2.0]"),
}


def panel(folder, info=(), answers="", header="SAFE_W43,IMP_W43,POLPARTY,WEIGHT_W43,WEIGHT_W42", metadata=True):
    """A wave as OpinionQA lays it out."""
    wave = folder / "human_resp" / "American_Trends_Panel_W43"
    wave.mkdir(parents=True, exist_ok=True)
    rows = [("", "key", "question", "references", "option_ordinal"), *((i, *row) for i, row in enumerate(info))]
    with (wave / "info.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    default = "Very safe,Good,Left,3,1\nNot safe,Bad,Left,1,9\nNot safe,Good,Refused,1,1\nVery safe,Bad,Right,2,1\n"
    (wave / "responses.csv").write_text(f"{header}\n{answers or default}")
    if metadata:
        (wave / "metadata.csv").write_text(",key,options\n3,POLPARTY,\"['Left', 'Right', 'Other']\"\n")
    else:
        (wave / "metadata.csv").unlink(missing_ok=True)
    return folder


def test_opinion_qa_weighs_and_splits_refusals_off(tmp_path):
    info = [("SAFE_W43", *INFO["SAFE_W43"]), ("GONE_W43", "Never asked?", "['Yes', 'No']", "[1.0, 2.0]")]
    answers = "Very safe,A,3\nNot safe,A,1\nRefused,A,5\n,B,1\nNot safe,B,1\n"
    folder = panel(tmp_path, info, answers, "SAFE_W43,POLPARTY,WEIGHT_W43", metadata=False)
    found = load_opinion_qa(folder, "POLPARTY")
    assert found.instrument[0].scale == ("Not safe", "Very safe")
    assert found.dropped == {"no answers, or fewer than two options": 1}
    a = found.shares[found.shares.group == "A"]
    assert a["share"].tolist() == [0.25, 0.75] and a[["n_used", "n_dropped"]].iloc[0].tolist() == [2, 1]
    with pytest.raises(InputError, match=r"American_Trends_Panel_W43: responses.csv lacks the column 'AGE'"):
        load_opinion_qa(folder, "AGE")


def test_a_repeated_key_of_info_is_counted(tmp_path):
    (question, *rest) = INFO["IMP_W43"]
    again = [("IMP_W43", f"{question[:-1]} or {colour}?", *rest) for colour in ("blue", "green")]
    folder = panel(tmp_path, [(key, *row) for key, row in INFO.items()] + again)
    found = load_opinion_qa(folder)
    assert [item.text for item in found.instrument] == [row[0] for row in INFO.values()]
    assert found.dropped["a key of info.csv again"] == 2


@pytest.mark.parametrize("metadata", [True, False])
def test_those_who_refused_to_say_are_no_party_and_the_weight_is_the_waves(tmp_path, metadata):
    found = load_opinion_qa(panel(tmp_path, [(key, *row) for key, row in INFO.items()], metadata=metadata))
    assert sorted(found.shares["group"].unique()) == ["Left", "Right"]
    left = found.shares[(found.shares.group == "Left") & (found.shares.item == "SAFE_W43")]
    assert left["share"].tolist() == [0.25, 0.75]  # by WEIGHT_W43; by the first column of weights .9 and .1
    silent = {"waves without an answer of the listed group 'Other'": 1} if metadata else {}
    assert found.dropped == {"respondents of groups that are not listed": 1} | silent


def test_answers_and_groups_in_other_letters_are_matched_or_refused(tmp_path):
    answers = "very  safe,Good,Left,3,1\nNot safe ,Bad,Left,1,9\nVery safe,Bad,Right,2,1\n"
    info = [(key, *row) for key, row in INFO.items()]
    found = load_opinion_qa(panel(tmp_path, info, answers))
    left = found.shares[(found.shares.group == "Left") & (found.shares.item == "SAFE_W43")]
    assert left["share"].tolist() == [0.25, 0.75]
    with pytest.raises(InputError, match=r"W43: A group in 'POLPARTY' is spelled in two ways, 'Left' and 'left'"):
        load_opinion_qa(panel(tmp_path, info, answers.replace("Left", "left")))


def test_a_column_missing_from_a_users_file_is_named(tmp_path):
    (tmp_path / "mine.csv").write_text("Country,Background\nx,y\n")
    with pytest.raises(
        InputError, match=r"mine.csv, line 2: there is no column 'Gold Label', which 'normad' needs; add the column"
    ):
        load_choices(f"normad={tmp_path / 'mine.csv'}")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"info": [("SAFE_W43", "How?", "['a', 'b'", "[1, 2]")]}, r"W43: info.csv, line 2: references is not a list"),
        (
            {"info": [("SAFE_W43", "How?", "['a', 'b']", "['x', 'y']")]},
            r"W43: info.csv, line 2: option_ordinal of 'SAFE_W43' is not a list of numbers",
        ),
        ({"header": "SAFE_W43,IMP_W43,POLPARTY,WEIGHT_W42,W"}, r"W43: responses.csv lacks the column 'WEIGHT_W43'"),
        ({"answers": "Very safe,Good,1,3,1\n"}, r"W43: No value of 'POLPARTY' in responses.csv \('1'\) is listed"),
    ],
)
def test_what_is_wrong_in_a_wave_is_named_with_wave_file_and_key(tmp_path, change, says):
    given = {"info": [(key, *row) for key, row in INFO.items()]} | change
    with pytest.raises(InputError, match=says):
        load_opinion_qa(panel(tmp_path, **given))


def test_a_story_of_two_countries_gives_a_question_for_each():
    stories = [RECORDS["normad"], {**RECORDS["normad"], "Country": "elsewhere"}, RECORDS["normad"]]
    found = load_choices("normad", records=stories)
    assert found.dropped == {"the same again": 1} and len({q.id for q in found}) == len(found)
    items = {q.tags["group"]: q.tags["item"] for q in found}
    assert items["elsewhere"] == f"{items['no_where']}-elsewhere"
