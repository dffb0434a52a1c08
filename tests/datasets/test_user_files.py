import json

import pytest

from workbench.datasets import load_questions
from workbench.errors import InputError


@pytest.fixture
def write(tmp_path):
    def write(text, name="items.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_a_csv_becomes_questions_with_tags(write):
    path = write(
        "question,correct,wrong,abstain,subject,context,level\n"
        '"Who, if anyone?",Ann|Bea,Cleo,I pass.,people,They met.,easy\n'
        "\n"
        "Why?,Because,So|Thus,,,,hard\n",
        encoding="utf-8-sig",
    )
    questions = load_questions(path, shuffle=False)
    first, second = questions
    assert first.prompt == "They met.\nQuestion: Who, if anyone?\nAnswer:"
    assert [(o.text, o.role) for o in first.options] == [
        (" Ann", "correct"),
        (" Bea", "correct"),
        (" Cleo", "wrong"),
        (" I pass.", "abstain"),
    ]
    assert (first.tags["benchmark"], first.tags["subject"], first.tags["level"]) == ("items", "people", "easy")
    assert [o.role for o in second.options] == ["correct", "wrong", "wrong"]
    assert second.tags["subject"] is None
    assert questions.origin.name == "items.csv" and questions.origin.revision.startswith("sha256:")


def test_json_lines_take_lists_and_numbers(write):
    rows = [
        {"question": "Q1", "correct": "a", "wrong": ["b", "c"], "level": 3, "checked": True},
        {"question": "Q2", "correct": ["a|b"], "wrong": "c", "level": 4, "checked": None},
    ]
    path = write("\n".join(map(json.dumps, rows)) + "\n", "mine.jsonl")
    one, two = load_questions(str(path), shuffle=False)
    assert (one.tags["level"], one.tags["checked"], two.tags["checked"]) == (3, True, None)
    assert two.options[0].text == " a|b"


def test_ids_are_those_of_any_source_and_letters_work(write):
    path = write("question,correct,wrong,abstain\nQ?,yes,no,I pass.\n")
    cloze, letters = (load_questions(path, style=style)[0] for style in ("cloze", "letters"))
    assert cloze.id == letters.id
    assert letters.options[-1].text == " I pass." and "pass" not in letters.prompt


HEADER = "question,correct,wrong,abstain\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("question,correct\na,b\n", "lacks the column 'wrong'; it has question, correct"),
        ("question;correct;wrong\na;b;c\n", "is divided by semicolons"),
        ("", "is empty; write a header with the columns question, correct, wrong"),
        (HEADER, "has no rows; write one, with the columns question, correct, wrong"),
        (HEADER + "a,b,c,\nd,,e,\n", "line 3: correct is empty"),
        (HEADER + " ,b,c,\n", "line 2: question is empty"),
        (HEADER + "a,b,,\n", "line 2: wrong is empty"),
        (HEADER + "a,b||c,d,\n", "line 2: correct contains an empty text"),
        (HEADER + "a,b,c,b\n", "line 2: 'b' is listed both as correct and as abstain"),
        (HEADER + "a,b,b,\n", "line 2: 'b' is listed both as correct and as wrong"),
        (HEADER + "a,b,c|c,\n", "line 2: wrong lists the same text twice"),
        (HEADER + "a,b,c,\na,b,c,\n", "line 3: the same question and options as line 2"),
        (HEADER + "a,b,c\n", "line 2 has 3 cells where the header has 4"),
        (HEADER + 'a,"b"x,c,\n', "not a well-formed CSV row"),
        (HEADER + f"a,b,{'c' * 131_073},\n", "line 2: a cell has more than 131,072 characters.*JSON lines"),
        (HEADER + 'a,"b,c,\n' + "d,e,f,\n" * 30_000, "a cell has more than 131,072 characters; close its double"),
        ("question,correct,wrong,p\na,b,c,1\n", "column name 'p' is reserved"),
        ("question,correct,wrong,style\na,b,c,1\n", "column name 'style'"),
        ("question,correct,wrong,wrong\na,b,c,d\n", "'wrong' twice"),
    ],
)
def test_a_wrong_csv_is_one_sentence_with_its_row(write, text, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        load_questions(write(text))
    assert "items.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"question": "a"', "line 1 is not JSON"),
        ("[1]", "line 1 is a JSON array; write one object a line"),
        ("1", "line 1 is not a JSON object"),
        ('\n{"question": "a", "correct": "b"}', "line 2 lacks the column 'wrong'"),
        ('{"question": "a", "correct": [""], "wrong": "c"}', "correct contains an empty text"),
        ('{"question": "a", "correct": true, "wrong": "c"}', "line 1: correct is true, not a text"),
        ('{"question": "a", "correct": [["x"]], "wrong": "c"}', r'correct is \["x"\], not a text'),
        ('{"question": "a", "correct": [null], "wrong": "c"}', "correct contains an empty text"),
        ('{"question": "a", "correct": "b", "wrong": []}', "wrong is empty"),
        ('{"question": null, "correct": "b", "wrong": "c"}', "question is empty"),
        ('{"question": "a", "correct": "b", "wrong": "c", "x": {"y": 1}}', "x is a dict; write one text"),
    ],
)
def test_wrong_json_lines_are_one_sentence_with_their_line(write, text, sentence):
    with pytest.raises(InputError, match=sentence):
        load_questions(write(text, "items.jsonl"))


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_questions(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="line 2, contains the byte 0xE9"):
        load_questions(write("question,correct,wrong\né,b,c\n", encoding="latin-1"))
    with pytest.raises(InputError, match="apply to benchmarks"):
        load_questions(write(HEADER + "a,b,c,\n"), subset="x")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("question,correct,wrong\nWhat is it?,I don't know.,No\n", "a.csv", "'What is it\\?' cannot become a question"),
        (
            '{"question": ["a", "b"], "correct": "c", "wrong": "d"}\n',
            "a.jsonl",
            "question is .* not a text",
        ),
        ('{"question": "\\ud800", "correct": "c", "wrong": "d"}\n', "a.jsonl", "lone surrogate"),
        ("[" * 100_000, "a.jsonl", "more than 100 levels deep"),
        ("question,correct,wrong,cluster\nQ,a,b,1\n", "a.csv", "column name 'cluster'"),
    ],
)
def test_what_would_break_later_is_named_at_once(write, text, name, message):
    with pytest.raises(InputError, match=message):
        load_questions(write(text, name), abstain="I don't know.")


def test_texts_stay_as_the_file_has_them(write):
    texts = ["None", "NA", "NULL", "nan", "007", "1e5", "1.0", "TRUE", "a\u2028b", "a\x0bb", "a\x85b"]
    for row, text in enumerate(texts):
        path = write(f"question,correct,wrong,tag\n{text} {row}?,{text},other,{text}\n")
        (question,) = load_questions(path, shuffle=False)
        assert question.options[0].text == f" {text}" and question.tags["tag"] == text
    path = write('{"question": "Q?", "correct": 42, "wrong": [1.0, 1e5], "tag": 1.0}', "a.jsonl")
    (question,) = load_questions(path, shuffle=False)
    assert [option.text for option in question.options] == [" 42", " 1.0", " 1e5"] and question.tags["tag"] == 1.0


def test_a_bar_within_a_text_is_written_with_a_backslash(write):
    path = write("question,correct,wrong\nQ?,P(A\\|B),P(A)|C:\\\\|\\alpha\n")
    (question,) = load_questions(path, shuffle=False)
    assert [option.text for option in question.options] == [" P(A|B)", " P(A)", " C:\\", " \\alpha"]


def test_items_that_differ_in_case_or_form_alone_are_two_with_ids_of_their_own(write):
    rows = ["polish shoes?,yes,no", "Polish shoes?,yes,no", "2³?,8,6", "23?,8,6", "Q?,Yes,no", "Q?,yes,no"]
    questions = load_questions(write("question,correct,wrong\n" + "\n".join(rows)))
    assert len(questions) == len({q.id for q in questions}) == 6
    first, second = (load_questions(write(f"question,correct,wrong\n{row}\n"))[0].id for row in rows[:2])
    assert first == second == questions[0].id and questions[1].id.startswith(f"{first}-")
    with pytest.raises(InputError, match="line 4: the same question and options as line 3; delete one"):
        load_questions(write("question,correct,wrong\n" + "\n".join([*rows[:2], "Polish shoes?,yes,no"])))
    assert len(load_questions(write("question,correct,wrong\nQ?,Polish,polish\n"), style="letters")[0].options) > 1


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(InputError, match="is a folder, not a file"):
        load_questions(tmp_path / "dir.csv")
