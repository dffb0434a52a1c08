"""Options that speak of other options keep an order in which they are true, wherever options are ordered."""

import csv
import json

import pytest

from workbench.cultural_alignment.benchmarks import load_choices
from workbench.cultural_alignment.surveys import Format, Instrument, SurveyItem, survey_questions
from workbench.datasets import adapters, load_questions
from workbench.datasets.items import Item, Unlisted, Unusable, check, choices, keyed
from workbench.datasets.referring import KEPT, NO_ORDER, UNLISTED, arranged, referring
from workbench.datasets.rendering import Rendering, question
from workbench.datasets.sources import find
from workbench.errors import InputError

GROUP = """All of the above|none of the above.|None of above|All the above|the above|Any of the above.
Both of these|ALL of these.|Neither of these.|All of these options.|All of these questions|none of those
All of them|Either of these|Both|Neither|All three|Any 2 of the above values|Two of the above
more than one of the above|Only one of these|At least two of these are right
All of the options given are correct|None of the options given is correct.|None of the choices|Both answers
All answers are correct|None of the answers is right|Both of the statements are correct|All are correct
None is correct|Both are true|Only one is correct|No correct answer|None of the other options
None of the preceding options|None of the following|Neither of the above|All of the above, because water boils
None of the above are appropriate.|To achieve all the functions listed above|Alle der oben genannten
Keine der Antworten|Todas las anteriores|Ninguna de las respuestas|Aucune de ces réponses
Toutes les réponses ci-dessus|Nenhuma das alternativas|Tutte le precedenti|Nessuna delle risposte
Все вышеперечисленное|以上都是|以上皆非"""
PLACE = """Both A and B|both a and b|A and C|A, B and C|A B and C.|A and B only|neither A nor B
Neither (a) nor (b).|either A or B.|Options A and B|a. and b. above|Both A & C|Only A and B|A and/or B|A or B
(A) and (B)|A, but not B|Both A and B are correct|Neither option A nor option B|All except C
All of the above except D|All but A|A only|Only B|Only (c)|same as A|Options 1 and 2|answers 1 and 3 are correct
the first two|Both the first and second option|all of below.|Sowohl A als auch B|A y B|A和B"""
NEITHER = """None|none because it sinks.|I and II only|1 and 2 only|1 and 2|both (1) and (2)|II only|I only|A|B
AB|A > B|A+B|A and X|P(A and B)|Vitamins A and C|Both SRAM and DRAM|Neither agree nor disagree
Neither accurate nor precise|Not at all|All right|the same|above|below|Other|Another|above ground
passes into the air above|First|Second|Two|True|False|Correct|not correct|No answer|He has no answer.|Option A
Answer B|All barriers to entry|Both adopt a liberal ideology.|accept one choice|Multiple choice|All day
E and F are both independent|Both equally good|All of it|always the same|The other|the latter|No|A implies B
Some|Most of the time|I don't know|no more than one"""


def written(lines):
    return [text for line in lines.splitlines() for text in line.split("|")]


@pytest.mark.parametrize(
    ("texts", "kind"), [(GROUP, "group"), (PLACE, "place"), (NEITHER, "")], ids=["group", "place", "none"]
)
def test_written_forms_are_told_apart(texts, kind):
    found = {text: referring(["cork", "lead", "tin", "wool", text])[-1] for text in written(texts)}
    assert {text: kind for text in found} == found


def test_letters_beyond_the_list_or_of_the_option_itself_name_something_else():
    assert referring(["the head", "all"]) == ("", "") != referring(["the head", "all of the above"])
    assert referring(["x", "y", "A and D"]) == ("", "", "")
    assert referring(["A and C", "B6 and B12", "B6 and D", "B12 and E"]) == ("", "", "", "")
    assert referring(["cork", "tin", "A and B", "B and A"]) == ("", "", "place", "place")


TEXTS = ("a tin boat", "a cork boat", "an iron boat")


@pytest.mark.parametrize("last", ["All of the above", "Both A and B", "None of these"])
def test_listed_options_keep_the_order_of_the_source_and_are_not_asked_in_cloze(last):
    item = check(Item("Which of these floats?", keyed((*TEXTS, last), 3)))
    for seed in range(6):
        made = question(item, Rendering("letters", seed=seed, abstain=("?",), examples=(item,)))
        assert made.tags["order"] == "0-1-2-3"
        assert [(o.text, o.role) for o in made.options[3:]] == [(" D", "correct"), (" ?", "abstain")]
        assert made.prompt.count(f"C. {TEXTS[2]}\nD. {last}\nAnswer:") == 2 and "Answer: D\n\n" in made.prompt
    with pytest.raises(Unlisted, match=UNLISTED):
        question(item, Rendering())
    plain = Item(item.stem, keyed((*TEXTS, "a wooden boat"), 3))
    assert {question(plain, Rendering("letters", seed=seed)).tags["order"][-1] for seed in range(20)} == set("0123")


def test_where_a_source_gives_no_order_the_whole_group_is_named_last_and_letters_are_refused():
    item = Item("Which floats?", choices(["All of the above"], TEXTS), ordered=False)
    orders = {question(item, Rendering("letters", seed=seed)).tags["order"] for seed in range(30)}
    assert len(orders) == 6 and all(order.endswith("-0") for order in orders)
    assert question(item, Rendering("letters", shuffle=False)).tags["order"] == "1-2-3-0"
    both = Item("Which floats?", choices(["Both A and B"], TEXTS), ordered=False)
    with pytest.raises(Unusable, match=NO_ORDER):
        question(both, Rendering("letters", shuffle=False))
    assert arranged(["x", "both of these", "y", "none of these"], [3, 2, 1, 0], ordered=False) == [2, 0, 1, 3]


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("sciq", {"correct_answer": "all of the above", "question": "q"}
         | {f"distractor{i}": f"d{i}" for i in (1, 2, 3)}),
        ("truthful_qa", {"question": "q", "category": "", "correct_answers": ["none of these"]}
         | {"incorrect_answers": ["a", "b"]}),
        ("gpqa", {"Question": "q", "High-level domain": "", "Correct Answer": "none of the above"}
         | {f"Incorrect Answer {i}": f"d{i}" for i in (1, 2, 3)}),
    ],
)  # fmt: skip
def test_sources_that_give_options_by_role_list_such_an_option_last(name, record):
    item = find(f"hub:{name}", "questions").adapter(record)
    assert question(item, Rendering("letters")).tags["order"].endswith("-0")
    listed = adapters.mmlu({"question": "q", "choices": ["all of these", "a", "b"], "answer": 0, "subject": "s"})
    assert question(listed, Rendering("letters")).tags["order"] == "0-1-2"


def test_a_users_items_are_left_out_of_cloze_counted_and_ordered(tmp_path):
    rows = [("Which floats?", "Both of these", "Cork|Pumice"), ("Which sinks?", "Lead", "Cork|Wood")]
    with (tmp_path / "own.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("question", "correct", "wrong"), *rows])
    cloze = load_questions(tmp_path / "own.csv")
    assert len(cloze) == 1 and cloze.dropped == {UNLISTED: 1} and not cloze.noted
    letters = load_questions(tmp_path / "own.csv", style="letters", abstain=True)
    assert letters.noted == letters[:1].noted == letters.tagged(x=1).noted == {KEPT: 1} and not letters.dropped
    assert f"1 {KEPT}" in repr(letters) and letters[0].prompt.endswith("C. Both of these\nAnswer:")
    assert [option.role for option in letters[0].options] == ["wrong", "wrong", "correct", "abstain"]


def test_a_users_item_that_names_letters_or_leaves_nothing_to_ask_is_an_error(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"question": "Which floats?", "correct": "Both A and B", "wrong": ["Cork", "Tin"]}))
    with pytest.raises(
        InputError, match=r"own.jsonl: 'Which floats\?' cannot become a question \(options that refer to others"
    ):
        load_questions(path, style="letters")
    with pytest.raises(InputError, match=r"own.jsonl has no question in style='cloze' \(1 options that refer"):
        load_questions(path)


def test_choice_benchmarks_ask_such_an_item_in_one_order():
    record = {"prompt_question": "What is eaten?", "answer": "D", "country": "nowhere"}
    texts = {
        f"prompt_option_{letter}": text for letter, text in zip("abcd", ("bread", "soup", "fish", "All of the above"))
    }
    asked = load_choices("cultural_bench", records=[record | texts])
    assert len(asked) == 1 and asked.noted == {KEPT: 1} and asked[0].tags["order_shown"] == 0
    assert asked[0].options[3].role == "correct" and "D. All of the above" in asked[0].prompt_text


@pytest.mark.parametrize(
    ("scale", "turned"),
    [
        (("Yes", "No", "Neither of these"), ["No", "Yes", "Neither of these"]),
        (("Agree", "Neither", "Disagree"), ["Disagree", "Neither", "Agree"]),
        (("Tea", "Milk", "Both A and B", "Water"), ["Tea", "Milk", "Both A and B", "Water"]),
        (("Strongly agree", "Neither agree nor disagree"), ["Neither agree nor disagree", "Strongly agree"]),
    ],
)
def test_turned_survey_scales_leave_such_options_at_the_end(scale, turned):
    survey = Instrument("own", (SurveyItem("q", "Which?", scale=scale),))
    (asked,) = survey_questions(survey, Format("own", "letters", "descending"))
    listed = [line[3:] for line in asked.prompt_text.splitlines() if line[1:3] == ". "]
    assert listed == turned
    assert [scale[int(o.value)] for o in asked.options if not o.text.startswith(" ")] == turned


def test_an_adapter_of_letters_keeps_them():
    record = {"question": "How?", "options": "A. B and D\nB. fur\nC. cold blood\nD. small ears", "answer": "A. B and D"}
    made = question(adapters.lettered(record), Rendering("letters", seed=1))
    assert made.prompt.endswith("A. B and D\nB. fur\nC. cold blood\nD. small ears\nAnswer:")
