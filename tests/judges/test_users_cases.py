"""Cases in users' files: missing values never become texts or numbers."""

import json
import math

import pytest

from workbench.errors import InputError
from workbench.judges.prompts import load_template, pointwise
from workbench.judges.sources import load_cases


def lines(tmp_path, *rows):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def by_answer(case):
    return dict(zip(case.answers, case.scores))


@pytest.mark.parametrize("nothing", [{}, {"reference": None, "rubric": None}, {"reference": "", "rubric": ""}])
def test_a_reference_that_is_not_there_reaches_no_prompt(tmp_path, nothing):
    full = {"question": "Q1", "answer": "a", "score": 1, "reference": "Paris", "rubric": "1: no", "topic": "x"}
    one, two = load_cases(lines(tmp_path, full, {"question": "Q2", "answer": "b"} | nothing))
    assert (one.reference, one.rubric, two.reference, two.rubric) == ("Paris", "1: no", "", "")
    assert one.tags == {"topic": "x"} and two.tags == {} and math.isnan(two.scores[0])
    with pytest.raises(InputError, match="needs a reference"):
        pointwise([two], load_template("reference"))
    assert "nan" not in pointwise([two], load_template("score"))[0].prompt_text.lower()


def test_texts_are_those_of_the_file(tmp_path):
    texts = [42, 42.0, 1e5, "None", "nan", "NA", "", "007"]
    cases = load_cases(lines(tmp_path, *({"question": "Q", "answer": text} for text in texts)))
    assert sorted(cases[0].answers) == sorted(["42", "42.0", "100000.0", "None", "nan", "NA", "", "007"])
    for wrong in (None, True, ["a"], {"a": 1}):
        with pytest.raises(InputError, match=r"a.jsonl, line 2: answer is"):
            load_cases(lines(tmp_path, {"question": "Q", "answer": "a"}, {"question": "Q", "answer": wrong}))
    with pytest.raises(InputError, match=r'line 2: answer is missing; write it, or "" for an empty answer'):
        load_cases(lines(tmp_path, {"question": "Q", "answer": "a"}, {"question": "Q"}))
    with pytest.raises(InputError, match="line 1: question is empty"):
        load_cases(lines(tmp_path, {"question": None, "answer": "a"}))


def test_rows_without_a_case_are_cases_by_their_question(tmp_path):
    rows = [{"case": "x", "question": "Q1", "answer": "a"}, {"question": "Q2", "answer": "b"}]
    rows += [{"case": None, "question": "Q3", "answer": "c"}, {"case": "x", "question": "Q1", "answer": "d"}]
    cases = load_cases(lines(tmp_path, *rows, {"case": "Q2", "question": "Q4", "answer": "e"}))
    assert [(case.question, sorted(case.answers)) for case in cases] == [
        *(("Q1", ["a", "d"]), ("Q2", ["b"]), ("Q3", ["c"]), ("Q4", ["e"]))
    ]
    with pytest.raises(InputError, match="line 2: case '1' has another question than line 1"):
        load_cases(lines(tmp_path, *({"case": 1, "question": q, "answer": "a"} for q in ("Q1", "Q2"))))
    with pytest.raises(
        InputError, match="line 2: case 'Q' has another question than line 1; write the same question, letter"
    ):
        load_cases(lines(tmp_path, *({"question": q, "answer": "a"} for q in ("Q", "Q "))))


def test_what_belongs_to_a_case_is_written_once_or_the_same_in_all_rows(tmp_path):
    rows = [{"question": "Q", "answer": "a", "model": "x", "topic": 1}, {"question": "Q", "answer": "b", "topic": 1}]
    rows[1] |= {"checklist": ["Is it?", "!Is it not?"], "reference": "r"}
    (case,) = load_cases(lines(tmp_path, *rows))
    assert case.checklist == ("Is it?", "!Is it not?") and case.reference == "r" and case.tags == {"topic": 1}
    rows[0]["reference"] = "s"
    with pytest.raises(InputError, match="line 2: reference differs from line 1"):
        load_cases(lines(tmp_path, *rows))


def test_a_missing_preference_is_unknown(tmp_path):
    pair = {"question": "Q", "answer_a": "x", "answer_b": "y"}
    cases = load_cases(
        lines(tmp_path, *(pair | {"question": f"Q{k}", "preferred": p} for k, p in enumerate([None, "", "b"])))
    )
    assert [math.isnan(case.scores[0]) for case in cases] == [True, True, False]
    assert by_answer(cases[2]) == {"x": 0.0, "y": 1.0}
    assert math.isnan(load_cases(lines(tmp_path, pair))[0].scores[0])
    for wrong, says in (("C", "preferred is 'C'; write A, B, tie, or nothing"), (1, "preferred is '1'")):
        with pytest.raises(InputError, match=f"line 1: {says}"):
            load_cases(lines(tmp_path, pair | {"preferred": wrong}))
    with pytest.raises(InputError, match="line 1: answer_b is missing"):
        load_cases(lines(tmp_path, pair | {"answer_b": None}))
    with pytest.raises(InputError, match="both `answer` and `answer_a`, `answer_b`"):
        load_cases(lines(tmp_path, pair | {"answer": "x"}))


def test_scores_are_numbers_or_nothing(tmp_path):
    rows = [{"question": f"Q{k}", "answer": "a", "score": s} for k, s in enumerate([4, "4.5", [4, None, 5], None, ""])]
    cases = load_cases(lines(tmp_path, *rows))
    assert [case.ratings[0] for case in cases] == [(4,), (4.5,), (4, 5), (), ()]
    for wrong in ("nan", "None", "4|5", True):
        with pytest.raises(InputError, match=r"line 1: .* in column .score. is not a number"):
            load_cases(lines(tmp_path, {"question": "Q", "answer": "a", "score": wrong}))


def test_a_row_longer_than_the_header_does_not_shift_the_answer(tmp_path):
    (tmp_path / "a.csv").write_text("question,answer,score\nWhat is it?,Paris,5,\n")
    with pytest.raises(InputError, match=r"a.csv, line 2 has 4 cells where the header has 3"):
        load_cases(tmp_path / "a.csv")


def test_a_record_of_another_format_is_named(tmp_path):
    path = lines(tmp_path, {"input": "i", "output_1": "x", "output_2": "y", "label": 2}, {"input": "i", "label": 1})
    with pytest.raises(
        InputError, match=r"a.jsonl, line 2: there is no column 'output_1', which the format 'llmbar' needs"
    ):
        load_cases(path, format="llmbar")
    path = lines(tmp_path, {"input": "i", "output_1": "x", "output_2": "y", "label": 2}, {"input": "i", "label": None})
    assert load_cases(path, format="llmbar").dropped == {"no label": 1}
    with pytest.raises(InputError, match=r"line 1 has another shape than the format 'trustjudge' needs"):
        load_cases(lines(tmp_path, {"question": "q", "answers": ["x"]}), format="trustjudge")
    with pytest.raises(InputError, match=r"line 1: The question and the answers of the case 'q' must be strings"):
        load_cases(lines(tmp_path, {"question": "q", "answers": [{"score": 1, "text": [1, "x"]}]}), format="trustjudge")


def test_cases_that_differ_in_case_alone_are_two_with_ids_of_their_own(tmp_path):
    rows = [
        {"question": q, "answer": a}
        for q, a in (("polish it?", "yes"), ("Polish it?", "yes"), ("2³?", "8"), ("23?", "8"))
    ]
    cases = load_cases(lines(tmp_path, *rows), n=3)
    assert len(cases) == 3 and len(load_cases(lines(tmp_path, *rows))) == 4
    ids = [load_cases(lines(tmp_path, row))[0].id for row in rows[:2]]
    every = load_cases(lines(tmp_path, *rows)).ids
    assert len(set(every)) == 4 and ids[0] == ids[1] == every[0] and every[1].startswith(f"{ids[0]}-")
    pair = {"question": "Q", "answer_a": "x", "answer_b": "y", "preferred": "a"}
    with pytest.raises(InputError, match=r"line 2: the same question and answers as in line 1; delete one"):
        load_cases(lines(tmp_path, pair, pair | {"preferred": "b"}))
    record = {"input": "i", "output_1": "x", "output_2": "y", "label": 2}
    assert load_cases(lines(tmp_path, record, record), format="llmbar").dropped == {"the same case again": 1}


def test_labels_of_a_template_are_words(tmp_path):
    body = "\n---\n{question} {answer}\n---\nSo:"
    (tmp_path / "t.txt").write_text("kind: pointwise\nlabels: {Yes: 1, No: 0, 010: 0.5}" + body)
    assert load_template(tmp_path / "t.txt").labels == {"Yes": 1, "No": 0, "010": 0.5}
    for labels, says in (("{a: 1, a: 0}", "the key 'a' occurs twice"), ("{a: 1, b: x}", "with a number each")):
        (tmp_path / "t.txt").write_text(f"kind: pointwise\nlabels: {labels}" + body)
        with pytest.raises(InputError, match=says):
            load_template(tmp_path / "t.txt")
    (tmp_path / "t.txt").write_bytes(b"kind: caf\xe9\n---\n---\n")
    with pytest.raises(InputError, match=r"t.txt, line 1, contains the byte 0xE9"):
        load_template(tmp_path / "t.txt")
