"""A file that would load and mean something else than its author meant is refused in one sentence."""

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from workbench.cultural_alignment.instruments import country_scores, load_instrument, load_personas
from workbench.cultural_alignment.opinions import load_global_opinions, load_opinion_qa
from workbench.cultural_alignment.populations import load_microdata
from workbench.datasets import formats, load_questions, rows
from workbench.datasets.adapters import _without_marks
from workbench.datasets.rows import is_list, read_rows
from workbench.errors import InputError
from workbench.hallucination.tables import load_table
from workbench.judges.sources import load_cases
from workbench.value_drift.texts import labelled_sentences, training_rows, value_prompts

DICTIONARY = """
columns: {age: {says: age}, job: {says: job}}
tasks: {t: {describe: d, question: q, ask_probability: a, features: [age], choices: [No, Yes],
  target: {column: y, positive: 1}}}
"""


def table(path: Path) -> object:
    (path.parent / "rows.csv").write_text("age,job,y\n30,cook,1\n40,baker,0\n")
    return load_table(path.parent / "rows.csv", path)


def trustjudge(path: Path) -> object:
    return load_cases(path, format="trustjudge")


def pairs(path: Path) -> object:
    return training_rows(str(path), None, ("prompt", "chosen", "rejected"))


def respondents(path: Path) -> object:
    return load_microdata(path, {"Q1": [1, 2]}, "G", "w")


def answers(*groups: object) -> str:
    return json.dumps({"question": "q", "answers": [{"score": score, "text": text} for score, text in groups]})


@pytest.mark.parametrize(
    ("read", "content", "sentence"),
    [
        (load_questions, "question,correct,wrong\nq,\"['a', 'b']\",c\n", "correct is the text of a list"),
        (load_questions, 'question,correct,wrong\nq,a,"[""b"", ""c""]"\n', "divide its texts by bars"),
        (load_questions, '{"question":"q","correct":"a","wrong":"[\'b\']"}\n', "write the list itself"),
        (load_questions, "question,correct,wrong\nq,a,b; c\nr,d,e; f\n", "divides texts by semicolons"),
        (load_questions, "question,choices,correct,wrong\nq,a|b|c,1,0|2\n", "the column 'choices' is not read"),
        (load_questions, "question,A,B,correct,wrong\nq,x,y,B,A\n", "correct is 'B', the name of a column"),
        (load_questions, "question,correct,wrong\nq,a,b\n\ufeffquestion,correct,wrong\nr,c,d\n", "repeats the header"),
        (
            load_cases,
            "question,answer_a,answer_b,preferred,score\nq,a,b,A,5\n",
            "the column 'score', which is not read",
        ),
        (load_cases, "question,answer,preferred\nq,a,A\nq,b,\n", "the column 'preferred', which is not read"),
        (load_cases, "question,answer,rating\nq,a,5\nq,b,1\n", "'rating', which is not read; name it score"),
        (load_cases, "question,answer_a,answer_b,winner\nq,a,b,A\n", "'winner', which is not read; name it preferred"),
        (load_cases, "case,question,answer\n1,q,a\n01,q,b\n", "a case is spelled in two ways, '1' and '01'"),
        (trustjudge, answers((1, "bad"), (5, ["good"])), "another shape than the format 'trustjudge'"),
        (trustjudge, answers(("4_5", ["bad"])), "another shape than the format 'trustjudge'"),
        (trustjudge, answers((True, ["bad"])), "another shape than the format 'trustjudge'"),
        (load_instrument, "text,scale\nI do,likert7\n", "statements use likert5"),
        (load_instrument, "text,options\nI do,a|b\n", "'options', which is not read; name it scale"),
        (load_instrument, "text,opposite\nI do,I do\n", "its own text as the opposite statement"),
        (load_personas, "name,text\nnone,You are old.\n", "the name of responses without a persona"),
        (load_personas, "name,text\na,You are old.\nb,You are old.\n", "'a' and 'b' have the same text"),
        (country_scores, "country;pdi;PDI;idv;mas;uai;lto;ivr\nX;1;99;1;1;1;1;1\n", "two columns have the scores"),
        (country_scores, "country;pdi;idv;mas;uai;lto;ltowvs;ivr\nX;1;1;1;1;5;6;1\n", "two columns have the scores"),
        (country_scores, "country;pdi;idv;mas;uai;lto;ivr\nX;1;1;1;1;5;6\nx;1;1;1;1;5;6\n", "spelled in two ways"),
        (respondents, "G,Q1,w\nA,1,1e308\nA,2,1e308\n", "the weight in 'w' is 1e+308"),
        (value_prompts, "topic,question\nt,Why?\nt,why? \n", "the same question as in line 2"),
        (labelled_sentences, "text,label\nYes.,safe\nYes.,unsafe\n", "the same text as in line 2"),
        (pairs, '{"prompt":"p","chosen":"a","rejected":"a "}\n', "chosen and rejected are the same text"),
        (
            table,
            DICTIONARY.replace("[age]", "[age, y]").replace("job: {", "y: {"),
            "the target 'y' among its `features`",
        ),
        (table, DICTIONARY.replace("[age]", "[age, age]"), "each of them once"),
        (table, DICTIONARY.replace("[age]", "[]"), "one column or more"),
        (table, DICTIONARY.replace("[No, Yes]", "[yes, 'Yes ']"), "two choices of different text"),
        (table, DICTIONARY.replace("[No, Yes]", "[[No], Yes]"), "two choices of different text"),
        (table, DICTIONARY.replace("ask_", "group: y, ask_"), "the target 'y' as its `group`"),
        (table, DICTIONARY.replace("job: {says", "1: {}, '1': {says"), "the key '1' occurs twice"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(read, content, sentence, tmp_path):
    kind = {table: "yaml"}.get(read, "jsonl" if content.startswith("{") else "csv")
    (tmp_path / f"file.{kind}").write_text(content)
    with pytest.raises(InputError) as caught:
        read(tmp_path / f"file.{kind}")
    assert sentence in str(caught.value)


def test_the_dictionary_of_these_cases_is_read(tmp_path):
    (tmp_path / "file.yaml").write_text(DICTIONARY)
    assert table(tmp_path / "file.yaml").labels.tolist() == [1, 0]


@pytest.mark.parametrize("text", ["['a']", '["a", "b"]', "('a',)", "['a'\n 'b']", "['it\\'s', \"b\"]"])
def test_lists_are_known_from_texts(text):
    assert is_list(text)
    assert not any(map(is_list, ["[1, 2]", "[a]", "'a', 'b'", "[sic] 'a'", "['a', 1]", "[" * 100_000, "['" * 100_000]))


@pytest.mark.parametrize(
    ("options", "shares"),
    [("{'a', 'b'}", [0.5, 0.5]), ("'ab'", [0.5, 0.5]), (["a", "b"], "12"), (["a", "b"], [True, "1_0"])],
)
def test_only_lists_of_numbers_are_shares(options, shares):
    record = {"question": "q", "options": options, "selections": {"France": shares}}
    with pytest.raises(InputError, match="another shape than 'global_opinions' needs"):
        load_global_opinions(records=[record])


def test_items_whose_lists_do_not_fit_are_counted(tmp_path):
    wave = tmp_path / "American_Trends_Panel_W1"
    wave.mkdir()
    full = "\"['Good', 'Bad', 'Ugly', 'Refused']\""
    info = f'key,question,references,option_ordinal\nQ1,q,{full},"[1.0, 2.0, 3.0]"\nQ2,r,{full},"[1.0, 2.0]"\n'
    (wave / "info.csv").write_text(info)
    (wave / "responses.csv").write_text("Q1,Q2,P,WEIGHT_W1\nGood,Ugly,A,1\nBad,Good,B,1\n")
    opinions = load_opinion_qa(tmp_path, "P")
    assert opinions.instrument.ids == ["Q1"]
    assert Counter(opinions.dropped)["options and option_ordinal of different lengths"] == 1


def test_a_repeated_text_of_parquet_is_kept_once(tmp_path):
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["x" * 1_000_000]))
    parquet.write_table(pa.table({"t": texts}), tmp_path / "a.parquet")
    read = read_rows(tmp_path / "a.parquet", ("t",), ())
    assert len(read) == 2000
    assert len({id(row["t"]) for row in read}) == 1


@pytest.mark.parametrize(("room", "size", "sentence"), [(formats, 100, "unpacks to"), (rows, 5, "cells that are read")])
def test_what_a_file_unpacks_to_is_bounded(room, size, sentence, tmp_path, monkeypatch):
    parquet.write_table(pa.table({"t": ["x" * 1000] * 10}), tmp_path / "a.parquet")
    monkeypatch.setattr(room, "LARGEST" if room is formats else "MOST_CELLS", size)
    with pytest.raises(InputError, match=sentence):
        read_rows(tmp_path / "a.parquet", ("t",))


def test_marks_of_hellaswag_are_removed_in_linear_time():
    assert _without_marks("[header] How to  [title] Do [step] it [a[b]\nthen] go [x") == "How to. Do it then] go [x"
    start = time.process_time()
    _without_marks("[" * 200_000 + " " * 200_000 + "[title" * 50_000)
    assert time.process_time() - start < 2
