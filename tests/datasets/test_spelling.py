"""Columns, groups, answers and placeholders spelled in another way are refused, and never left out without a word."""

import json

import pytest

from workbench.cultural_alignment.instruments import load_instrument, load_ipip, load_personas
from workbench.cultural_alignment.populations import load_microdata, load_shares
from workbench.datasets import load_questions
from workbench.datasets.rows import bare, check_names, seen
from workbench.errors import InputError
from workbench.hallucination.tables import load_table
from workbench.judges.prompts import load_template
from workbench.judges.sources import load_cases
from workbench.training.algorithms import PAIR
from workbench.value_drift.texts import labelled_sentences, training_rows, value_prompts

ITEMS = "id,text,key,scale\na,Help.,1,no|maybe|yes\nb,Rest.,-1,no|maybe|yes\n"
DICTIONARY = """columns: {AGE: {says: age}}
tasks:
  t:
    describe: A person.
    features: [AGE]
    target: {column: OUT, positive: yes}
    question: Out?
    choices: ["No", "Yes"]
    ask_probability: How likely?
    group: G
"""
TEMPLATE = "kind: pairwise\nlabels: {A: 1, B: -1}\n---\n{question}\nA: {answer_a}\nB: {answer_b}\n---\nBetter:"


@pytest.fixture
def write(tmp_path):
    def write(text, name="a.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_names_are_compared_as_a_reader_sees_them():
    assert seen(" Rene\u0301\u00a0B\u200b ") == "Ren\u00e9 B" and seen("2\u00b3") != seen("23")
    assert bare("Answer A") == bare("answer_a\u200b") != bare("answer_b")
    check_names(["Women", "Men", "1", "2", "NA", "", "Women"], "A group")
    for two in (("Women", "women"), ("1", "1.0"), ("New  York", "New\u00a0York")):
        with pytest.raises(InputError, match="A group is spelled in two ways"):
            check_names(two, "A group")


@pytest.mark.parametrize(
    ("read", "text", "column"),
    [
        (load_questions, "question,correct,wrong,Context\nWho?,Ann,Bob,She did.\n", "context"),
        (load_questions, "question,correct,wrong,ABSTAIN\nWho?,Ann,Bob,No idea.\n", "abstain"),
        (load_cases, "question,answer,Score\nQ,a,5\n", "score"),
        (load_cases, "question,answer_a,answer_b,Preferred\nQ,a,b,A\n", "preferred"),
        (load_cases, "Case,question,answer\n1,Q,a\n", "case"),
        (load_instrument, ITEMS.replace("key", "Key"), "key"),
        (load_instrument, ITEMS.replace("scale", "Scale"), "scale"),
        (load_ipip, "text,KEY,label\nAm sad,-1,N\n", "key"),
        (value_prompts, "topic,question,Pro\ntax,Up?,x\n", "pro"),
    ],
)
def test_a_column_in_other_letters_is_not_left_out(write, read, text, column):
    with pytest.raises(InputError, match=f"a.csv has a column '(?i:{column})' instead of '{column}'; rename"):
        read(write(text))


def test_a_key_in_other_letters_is_not_left_out_of_json(write):
    row = {"question": "Q", "answer": "a", "Rubric": "r"}
    with pytest.raises(InputError, match=r"a.jsonl, line 1 has a column 'Rubric' instead of 'rubric'"):
        load_cases(write(json.dumps(row), "a.jsonl"))


@pytest.mark.parametrize("name", ["keyed", "reverse", "Reverse-scored", "direction"])
def test_a_column_that_turns_items_round_is_read_or_refused(write, name):
    with pytest.raises(InputError, match=f"a.csv has a column '{name}', which is not read; name it key"):
        load_instrument(write(ITEMS.replace("key", name)))
    keyed = load_instrument(write(ITEMS.replace("scale", "scale,alpha").replace("yes", "yes,")))
    assert [item.key for item in keyed] == [1, -1]


def test_a_header_that_stands_again_is_no_row(write):
    text = "question,correct,wrong\nWho?,Ann,Bob\n"
    with pytest.raises(InputError, match=r"a.csv, line 3 repeats the header; delete it"):
        load_questions(write(text * 2))
    with pytest.raises(InputError, match="begins with a line 'sep=' for a spreadsheet; delete it"):
        load_questions(write("sep=,\n" + text))


def test_a_json_array_of_questions_is_read(write):
    path = write('[{"question": "Who?", "correct": "Ann", "wrong": ["Bob", "Cy"]}]', "a.json")
    assert len(load_questions(path)[0].options) == 3


@pytest.mark.parametrize("twin", ["Ann\u00a0Le\u00e9", "Ann Lee\u0301", "Ann Le\u00e9\u200b"])
def test_answers_that_look_the_same_are_not_right_and_wrong(write, twin):
    with pytest.raises(InputError, match=r"line 2: .* is listed both as correct and as wrong"):
        load_questions(write(f"question,correct,wrong\nWho?,Ann Le\u00e9,Bob|{twin}\n"))
    assert len(load_questions(write("question,correct,wrong\nWho?,2\u00b3,23|polish|Polish\n"))[0].options) == 4


def test_tags_and_subjects_are_one_group_however_they_are_spaced(write):
    head = "question,correct,wrong,subject,level\n"
    found = load_questions(write(head + "Who?,Ann,Bob,maths, easy\nWhy?,So,No, maths ,easy \n"))
    assert {(q.tags["subject"], q.tags["level"]) for q in found} == {("maths", "easy")}
    with pytest.raises(InputError, match=r"a.csv: a subject is spelled in two ways, 'maths' and 'Maths'"):
        load_questions(write(head + "Who?,Ann,Bob,maths,\nWhy?,So,No,Maths,\n"))


def test_an_answer_is_judged_once(write):
    with pytest.raises(InputError, match="line 3: the same question and answer as in line 2; delete one"):
        load_cases(write("question,answer,score\nQ,a,1\nQ,a,5\n"))
    with pytest.raises(InputError, match="line 2: answer_a and answer_b are the same text"):
        load_cases(write("question,answer_a,answer_b,preferred\nQ,a,a,A\n"))
    with pytest.raises(InputError, match="line 2: checklist has a `!` without a requirement"):
        load_cases(write("question,answer,checklist\nQ,a,Is it short?|!\n"))
    pair = json.dumps({"prompt": "p", "chosen": "a", "rejected": "a"})
    with pytest.raises(InputError, match="line 1: chosen and rejected are the same text"):
        training_rows(str(write(pair, "a.jsonl")), columns=PAIR)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{question}", "{{question}}", "'{{question}}' in template 't' must be {question}"),
        ("{question}", "{ question }", "'{ question }' in template 't' must be {question}"),
        ("{question}", "{answer}", "{answer} has no value in template"),
        ("{question}", "{low}", "{low} has no value in template"),
        ("Better:", "Of {question}:", "{question} is in the prefix of the reply of template"),
        ("labels", "scale: [1, 5]\nlabels", "has a scale and labels"),
        ("labels", "name: x\nlabels", "Unknown setting 'name' of t.txt"),
    ],
)
def test_a_template_says_what_it_shows(write, old, new, says):
    assert load_template(write(TEMPLATE.replace("{question}", '{question} {"a": 1}'), "t.txt")).labels
    with pytest.raises(InputError) as error:
        load_template(write(TEMPLATE.replace(old, new, 1), "t.txt"))
    assert says in str(error.value)


def test_the_last_option_of_an_item_is_not_taken_as_nobody(write):
    items = load_instrument(write(ITEMS))
    head = "item,group,option,share\na,W,no,.4\na,W,maybe,.6\n"
    with pytest.raises(
        InputError, match=r"Item 'a' lacks an option for group 'W': it has .*write 0 for an option that was not chosen"
    ):
        load_shares(write(head), items)
    assert load_shares(write(f"{head}a,W,yes,0\n"), items)["share"].tolist() == [0.4, 0.6, 0]
    free = load_instrument(write("id,text\na,Help.\n"))
    with pytest.raises(InputError, match="lacks an option for group 'W'"):
        load_shares(write("item,group,option,share\na,W,1,.4\na,W,2,.6\na,M,1,1\n"), free)


def test_a_group_is_spelled_in_one_way(write):
    items = load_instrument(write("id,text,scale\na,Help.,no|yes\nb,Rest.,no|yes\n"))
    shares = "item,group,option,share\na,Women,1,.4\na,Women,2,.6\nb,women,1,1\nb,women,2,0\n"
    with pytest.raises(InputError, match=r"a.csv: A group is spelled in two ways, 'Women' and 'women'"):
        load_shares(write(shares), items)
    with pytest.raises(InputError, match="A persona is spelled in two ways"):
        load_personas(write("name,text\nMen,You.\nmen,He.\n"))
    with pytest.raises(InputError, match="a group in 'COUNTRY' is spelled in two ways, 'US' and 'us'"):
        load_microdata(write("COUNTRY,Q\nUS,1\nus,1\n"), {"Q": [1, 2]})
    found = load_microdata(write("COUNTRY,Q\nUS,Agree\nUS , Agree\nUS,No\nUS,No\n"), {"Q": ["No", "Agree"]})
    assert found["share"].tolist() == [0.5, 0.5] and found["n_dropped"].tolist() == [0, 0]
    with pytest.raises(InputError, match="A topic is spelled in two ways"):
        value_prompts(write("topic,question\ntax,Up?\nTax,Down?\n"))
    with pytest.raises(InputError, match="a dimension is spelled in two ways"):
        load_instrument(write("text,dimension\nHelp.,care\nRest.,Care\n"))


def test_labels_and_groups_of_sentences_are_those_that_are_read(write):
    with pytest.raises(InputError, match="line 3: the label is 'Safe'; write safe or unsafe"):
        labelled_sentences(write("text,label\nHelp.,unsafe\nRest.,Safe\n"))
    with pytest.raises(InputError, match="A group of sentences is spelled in two ways"):
        labelled_sentences(write("text,label,group\nHelp.,unsafe,x\nRest.,safe,X\n"))


def test_an_outcome_in_other_letters_is_not_negative(write):
    columns = write(DICTIONARY, "a.yaml")
    table = load_table(write("AGE,OUT,G\n20,yes,N\n30,no,S\n40, yes,N \n"), columns)
    assert table.labels.tolist() == [1, 0, 1] and table.groups() == ["N", "S", "N"]
    with pytest.raises(InputError, match="'OUT' contains 'Yes', which is not yes as written; correct it or list it"):
        load_table(write("AGE,OUT,G\n20,yes,N\n30,Yes,S\n"), columns)
    with pytest.raises(InputError, match="A group in 'G' is spelled in two ways, 'N' and 'n'"):
        load_table(write("AGE,OUT,G\n20,yes,N\n30,no,n\n"), columns).groups()
