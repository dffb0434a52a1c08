"""Adapters of the hub's schemas, each on three rows written for the project."""

import csv
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from workbench.datasets import adapters, load_questions
from workbench.datasets.items import Unusable, check
from workbench.datasets.sources import find, registry
from workbench.errors import InputError

LABELS = ["A", "B", "C"]


def labelled(question, texts, key, labels=None):
    choices = {"text": texts, "label": labels or LABELS[: len(texts)]}
    return {"id": "1", "question": question, "question_stem": question, "choices": choices, "answerKey": key}


ROWS = {
    "truthful_qa": [
        {"question": f"Q{i}?", "category": "Animals", "best_answer": "Yes", "correct_answers": ["Yes"], **wrong}
        for i, wrong in enumerate(({"incorrect_answers": ["No"]}, {"incorrect_answers": ["No", "Never"]}) * 2)
    ][:3],
    "mmlu": [
        {"question": f"{i} + 1?", "subject": "sums", "choices": [str(i + k) for k in range(4)], "answer": 1}
        for i in range(3)
    ],
    "mmlu_pro": [
        {
            "question": f"{i} + 9?",
            "options": [str(i + k) for k in range(10)],
            "answer": "J",
            "answer_index": 9,
            "category": "maths",
        }
        for i in range(3)
    ],
    "arc_easy": [
        labelled("Ice is?", ["cold", "hot"], "A"),
        labelled("Fire is?", ["cold", "hot"], "2", ["1", "2"]),
        labelled("Snow is?", ["black", "blue", "white"], "C"),
    ],
    "hellaswag": [
        {
            "activity_label": "Baking bread",
            "ctx_a": "[header] How to bake [title] Mix the dough.",
            "ctx_b": "then the baker",
            "endings": ["kneads it.", "[step] eats  the bowl."],
            "label": label,
        }
        for label in ("0", "1", "0")
    ],
    "openbookqa": [
        labelled("Bees make", ["honey", "milk"], "A"),
        labelled("Cows give", ["honey", "milk"], "B"),
        labelled("Sheep give", ["wool", "silk", "milk"], "A"),
    ],
    "piqa": [{"goal": f"Open jar {i}", "sol1": "Turn the lid.", "sol2": "Sing.", "label": 0} for i in range(3)],
    "winogrande": [
        {"sentence": "The vase fell off the shelf as the _ was narrow.", "option1": "vase", "option2": "shelf"}
        | {"answer": "2"},
        {"sentence": "Ann thanked Bea, because _ had helped.", "option1": "Ann", "option2": "Bea", "answer": "2"},
        {"sentence": "The cat left the mouse to the _.", "option1": "dog", "option2": "owl", "answer": "1"},
    ],
    "sciq": [
        {"question": f"Which gas {i}?", "correct_answer": "oxygen", "support": "It is oxygen."}
        | {f"distractor{k}": f"gas {k}" for k in (1, 2, 3)}
        for i in range(3)
    ],
    "copa": [
        {"premise": "The glass broke.", "choice1": "It fell.", "choice2": "It sang.", "question": "cause", "label": 0},
        {"premise": "It rained.", "choice1": "He sang.", "choice2": "We got wet.", "question": "effect", "label": 1},
        {"premise": "She won. ", "choice1": "She trained.", "choice2": "It snowed.", "question": "cause", "label": 0},
    ],
    "gpqa": [
        {"Question": f"Hard {i}?", "Correct Answer": "yes\n", "High-level domain": "Physics", "Subdomain": "Optics"}
        | {f"Incorrect Answer {k}": f"no {k}" for k in (1, 2, 3)}
        for i in range(3)
    ],
    "winogender": [
        {
            "sentid": f"baker.guest.{label}.{gender}.txt",
            "sentence": f"The baker told the guest that {pronoun} could pay later.",
            "pronoun": pronoun,
            "occupation": "baker",
            "participant": participant,
            "gender": gender,
            "target": "guest",
            "label": label,
        }
        for pronoun, gender, participant, label in (
            ("she", "female", "guest", "1"),
            ("he", "male", "guest", 1),
            ("they", "neutral", "someone", 1),
        )
    ],
}
ROWS["arc_challenge"] = ROWS["commonsense_qa"] = ROWS["arc_easy"]
FIRST = {
    "truthful_qa": ("Q0?", {"Yes": "correct", "No": "wrong"}),
    "mmlu": ("0 + 1?", {"0": "wrong", "1": "correct", "2": "wrong", "3": "wrong"}),
    "mmlu_pro": ("0 + 9?", {str(k): "wrong" for k in range(9)} | {"9": "correct"}),
    "arc_easy": ("Ice is?", {"cold": "correct", "hot": "wrong"}),
    "arc_challenge": ("Ice is?", {"cold": "correct", "hot": "wrong"}),
    "commonsense_qa": ("Ice is?", {"cold": "correct", "hot": "wrong"}),
    "hellaswag": (
        "Baking bread: How to bake. Mix the dough. Then the baker",
        {"kneads it.": "correct", "eats the bowl.": "wrong"},
    ),
    "openbookqa": ("Bees make", {"honey": "correct", "milk": "wrong"}),
    "piqa": ("Open jar 0", {"Turn the lid.": "correct", "Sing.": "wrong"}),
    "winogrande": (
        "The vase fell off the shelf as the",
        {"vase was narrow.": "wrong", "shelf was narrow.": "correct"},
    ),
    "sciq": ("Which gas 0?", {"oxygen": "correct", "gas 1": "wrong", "gas 2": "wrong", "gas 3": "wrong"}),
    "copa": ("The glass broke because", {"it fell.": "correct", "it sang.": "wrong"}),
    "gpqa": ("Hard 0?", {"yes": "correct", "no 1": "wrong", "no 2": "wrong", "no 3": "wrong"}),
    "winogender": (
        "The baker told the guest that she could pay later. “She” refers to",
        {"the baker": "wrong", "the guest": "correct"},
    ),
}


HUB = {source.name: source for source in registry() if source.kind == "questions" and source.hub}


@pytest.mark.parametrize("benchmark", HUB.values(), ids=HUB)
def test_each_schema_gives_its_item(benchmark):
    items = [check(benchmark.adapter(row)) for row in ROWS[benchmark.name]]
    stem, roles = FIRST[benchmark.name]
    assert (items[0].stem, {option.text: option.role for option in items[0].options}) == (stem, roles)
    assert all(sum(option.role == "correct" for option in item.options) == 1 for item in items)
    sentence_tasks = {"hellaswag", "openbookqa", "winogrande", "copa", "winogender"}
    assert {item.form for item in items} == {"continuation" if benchmark.name in sentence_tasks else "question"}


def gold(name, row):
    return next(option.text for option in HUB[name].adapter(ROWS[name][row]).options if option.role == "correct")


def test_details_of_the_other_rows():
    assert gold("arc_easy", 1) == "hot"
    assert gold("hellaswag", 1) == "eats the bowl."
    assert gold("winogrande", 2) == "dog."
    assert gold("copa", 1) == "we got wet."
    first_person = adapters.copa(ROWS["copa"][0] | {"choice1": "I dropped it.", "choice2": "It's old.", "label": "1.0"})
    assert [(o.text, o.role) for o in first_person.options] == [("I dropped it.", "wrong"), ("it's old.", "correct")]
    assert adapters.copa(ROWS["copa"][1]).stem == "It rained therefore"
    assert adapters.copa(ROWS["copa"][2]).stem == "She won because"
    neutral = adapters.winogender(ROWS["winogender"][2])
    assert neutral.options[1].text == "someone"
    assert neutral.tags == {
        "subject": "neutral",
        "gender": "neutral",
        "occupation": "baker",
        "template": "winogender-baker.guest.1",
    }
    assert adapters.gpqa(ROWS["gpqa"][0]).tags == {"subject": "Physics"}


def test_references_are_the_distinct_texts_that_are_there(served):
    row = ROWS["truthful_qa"][0]
    served.rows = [
        {**row, "correct_answers": ["Yes", " ", "Yes "], "incorrect_answers": ["No", "", "No", "Never"]},
        {**row, "question": "Who?", "correct_answers": ["Unknown"], "incorrect_answers": ["Unknown", "Ann"]},
        {**row, "question": "When?", "correct_answers": ["", ""]},
    ]
    questions = load_questions("hub:truthful_qa", shuffle=False)
    assert [[option.text for option in q.options] for q in questions] == [[" Yes", " No", " Never"]]
    assert questions.dropped == {"an answer listed as right and as wrong": 1, "fewer than two options": 1}


def test_a_question_of_two_subjects_counts_in_both_and_is_no_example_of_itself(served):
    first, second = ROWS["mmlu"][:2]
    served.rows = [first, first, {**first, "subject": "tables"}, {**first, "subject": "tables"}, second]
    questions = load_questions("hub:mmlu")
    assert [q.tags["subject"] for q in questions] == ["sums", "tables", "sums"]
    assert questions.dropped == {"the same again": 2}
    plain = adapters.mmlu(first).id
    assert [q.id for q in questions] == [plain, f"{plain}-tables", adapters.mmlu(second).id]
    for seed in range(8):
        shown = load_questions("hub:mmlu", shots=1, seed=seed)
        assert not any(q.prompt_text.count("0 + 1?") > 1 for q in shown)


DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not beside the checkout (../shared/data)")
PUBLISHED = json.loads((DATA / "expected.json").read_text()) if DATA.is_dir() else {}


@needs_data
def test_truthful_qa_loses_two_of_its_817_questions(served):
    with (DATA / "truthfulqa_27_rows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {"correct_answers": "Correct Answers", "incorrect_answers": "Incorrect Answers"}
    served.rows = [
        {"question": row["Question"], "category": row["Category"]}
        | {field: row[column].split(";") for field, column in names.items()}
        for row in rows
    ]
    questions = load_questions("hub:truthful_qa")
    assert (len(questions), questions.dropped) == (25, {"an answer listed as right and as wrong": 2})
    assert PUBLISHED["truthful_qa"]["product"] + len(questions) == HUB["truthful_qa"].n == 815


@needs_data
def test_mmlu_keeps_every_question_of_college_medicine(served):
    with (DATA / "mmlu_repeats.csv").open(encoding="utf-8") as file:
        repeats = list(csv.DictReader(file))
    places = [(r["first_subject"], r["first_row"]) * 2 for r in repeats]
    places += [(r["subject"], r["row"], r["first_subject"], r["first_row"]) for r in repeats]
    blank = {"choices": ["1", "2", "3", "4"], "answer": 0}
    served.rows = [
        {"subject": subject, "question": f"{first} {number}?", **blank}
        for subject, _, first, number in dict.fromkeys(places)
    ]
    with (DATA / "mmlu_same_option_twice.csv").open(encoding="utf-8") as file:
        served.rows += [
            {**row, "choices": [row[k] for k in "ABCD"], "answer": int(row["answer"])} for row in csv.DictReader(file)
        ]
    questions = load_questions("hub:mmlu")
    assert questions.dropped == {"the same again": 28, "the same option twice": 9}
    assert sum(q.tags["subject"] == "college_medicine" for q in questions) == 78  # and 95 that stand nowhere else
    assert HUB["mmlu"].n == PUBLISHED["mmlu"]["published"] - 28 - 9 == 14005


@needs_data
def test_commonsense_qa_lists_an_option_twice_24_times(served):
    lines = (DATA / "commonsense_qa_24_rows.jsonl").read_text("utf-8").splitlines()
    nested = [json.loads(line) for line in lines if line.strip()]
    served.rows = [labelled("Kept?", ["yes", "no"], "A")] + [
        {"question": r["question"]["stem"], "answerKey": r["answerKey"]}
        | {"choices": {k: [each[k] for each in r["question"]["choices"]] for k in ("label", "text")}}
        for r in nested
    ]
    questions = load_questions("hub:commonsense_qa")
    assert questions.dropped == {"the same option twice": 24}
    assert HUB["commonsense_qa"].n == PUBLISHED["commonsense_qa"]["published"] - 24 == 1197


@needs_data
def test_winogender_is_read_whole(served):
    with (DATA / "winogender_all_sentences.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    served.rows = []
    for row in rows:
        occupation, participant, label, gender, _ = row["sentid"].split(".")
        pronoun = re.search(r"\b(he|she|they|his|her|their|him|them)\b", row["sentence"])[0]
        about = {"occupation": occupation, "participant": participant, "label": label, "gender": gender}
        served.rows.append({**row, **about, "pronoun": pronoun})
    questions = load_questions("winogender")
    assert len(questions) == find("winogender", "questions").n == 720 and not questions.dropped
    assert len({q.tags["template"] for q in questions}) == 240


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("hellaswag", ROWS["hellaswag"][0] | {"label": ""}),
        ("piqa", ROWS["piqa"][0] | {"label": -1}),
        ("piqa", ROWS["piqa"][0] | {"label": None}),
        ("mmlu", ROWS["mmlu"][0] | {"answer": None}),
        ("copa", ROWS["copa"][0] | {"label": ""}),
        ("winogrande", ROWS["winogrande"][0] | {"answer": ""}),
        ("arc_easy", labelled("Q", ["a", "b"], "")),
    ],
)
def test_hidden_keys_are_unusable(name, row):
    with pytest.raises(Unusable, match="no answer key"):
        check(HUB[name].adapter(row))


def test_every_source_is_pinned_to_a_commit():
    for benchmark in HUB.values():
        assert re.fullmatch(r"[0-9a-f]{40}", benchmark.commit)


@pytest.fixture
def served(monkeypatch):
    """Stands in for the hub's client; `served.calls` holds what was asked, `served.error` what it answers."""
    module = ModuleType("datasets")
    module.calls, module.error, module.rows = [], None, ROWS["gpqa"]

    def load_dataset(*arguments, **named):
        module.calls.append((arguments, named))
        if module.error:
            raise module.error
        return module.rows

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_a_load_asks_for_the_pinned_commit_and_never_for_remote_code(served):
    questions = load_questions("gpqa", subset="gpqa_diamond")
    assert len(questions) == 3 and questions[0].tags["benchmark"] == "gpqa"
    ((arguments, named),) = served.calls
    revision = HUB["gpqa"].commit
    assert arguments == ("Idavidrein/gpqa", "gpqa_diamond")
    assert named == {"split": "train", "revision": revision}
    assert questions.origin.revision == f"Idavidrein/gpqa@{revision}"
    assert load_questions("gpqa", revision="other").origin.revision == "Idavidrein/gpqa@other"


def test_hub_chooses_the_full_set_where_a_part_is_embedded(served):
    served.rows = ROWS["piqa"]
    questions = load_questions("hub:piqa")
    assert len(questions) == 3 and served.calls[0][0] == ("baber/piqa", None)
    assert questions.origin.name == "hub:piqa" and questions[0].tags["benchmark"] == "piqa"


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (ConnectionError("Couldn't reach it.\nlong trace"), "Couldn't reach it); check the network"),
        (FileNotFoundError("It is a gated dataset. Log in."), "accept the terms on the hub"),
    ],
)
def test_no_network_and_closed_gates_are_one_sentence(served, error, way_out):
    served.error = error
    with pytest.raises(InputError) as caught:
        load_questions("gpqa")
    assert way_out in str(caught.value) and "\n" not in str(caught.value)


def test_a_set_of_which_nothing_can_be_asked_is_refused(served):
    served.rows = [row | {"label": ""} for row in ROWS["piqa"]]
    with pytest.raises(InputError, match=r"'hub:piqa' .* has no usable record \(3 times no answer key\)"):
        load_questions("hub:piqa")


def test_another_schema_is_named(served):
    served.rows = [{"prompt": "?"}]
    with pytest.raises(InputError, match="has no field 'Incorrect Answer 1'"):
        load_questions("gpqa", revision="abc")
    served.rows = [ROWS["hellaswag"][0] | {"ctx_b": None}]
    with pytest.raises(InputError, match=r"A record of 'hellaswag' .* has another shape than 'hellaswag' needs .*null"):
        load_questions("hellaswag")
