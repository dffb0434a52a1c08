"""No reader of users' files ends in anything but a sentence, whatever is done to the file."""

import io
import json
from random import Random

import pandas as pd
import pytest

from workbench.cultural_alignment.benchmarks import load_choices
from workbench.cultural_alignment.instruments import country_scores, load_instrument, load_ipip, load_personas
from workbench.cultural_alignment.opinions import load_opinion_qa
from workbench.cultural_alignment.populations import load_microdata, load_shares, load_values_survey
from workbench.datasets import load_questions
from workbench.errors import InputError
from workbench.hallucination import tables
from workbench.judges.prompts import load_template
from workbench.judges.sources import load_cases
from workbench.training.algorithms import ANSWER
from workbench.value_drift.texts import labelled_sentences, training_rows, value_prompts

ITEMS = "id,text,scale,key,positions\nq,How often?,Never|Some\\|times|Always,1,1|2|3\nr,Why?,None|NA|x,-1,\n"
QUESTIONS = 'question,correct,wrong,abstain,subject\n"Who, if any?",Ann|Bea,Cleo,None,x\nWhy?,"So\nso",No|NA,,\n'
ANSWERS = [
    {"question": f"Q{k}", "answer": a, "score": s, "checklist": ["x"]} for k, a, s in ((1, "a", 4), (2, 7, None))
]
LLMBAR = [
    {"input": "Which is it, in the end?", "output_1": "One of the two", "output_2": "The other one", "label": 2},
    {"input": "j", "output_1": "w", "output_2": "z", "label": 1},
]
TRUST = {"question": "q", "answers": [{"score": 1.5, "text": ["x", "y"]}, {"score": 5, "text": ["z"]}]}
SCORES = "ctr;country;pdi;idv;mas;uai;ltowvs;ivr\nSWE;Sweden;31;71;5;29;53;78\nNIG;Nigeria;#NULL!;1;2;3;4;5\n"
MICRO = "COUNTRY,S003,S017,Q1,F063\nA,752,1,1,3\nB,716,.5,2.0,4\nB,,1, ,-1\n"
PACIFAIST = (
    "# note\nprompt,subcategory,task_type,choice_a,choice_b,correct_choice\np?,s,multiple_choice,x,y,A\nr?,s,open,,,\n"
)
DICTIONARY = """columns:
  years: {says: age, unit: years}
  job: {says: work, values: {1: baker, 02: pilot}, missing: none}
tasks:
  sleep:
    {describe: A person., features: [years, job], target: {column: hours, positive: [8, x]}, question: 'Long?',
     choices: [No, Yes], ask_probability: 'How probable?', group: job, keep: {years: [18, null]}}
"""
INFO = """,key,question,references,option_ordinal\n0,Q_W1,How?,"['a', 'b', 'Refused']","[2.0, 1.0]"\n"""
TEMPLATE = "kind: pairwise\nlabels: {one: 1, two: -1}\n---\n{answer_a} or {answer_b}?\n---\nI"
INSTRUMENT = load_instrument()


def lines(rows):
    return "\n".join(map(json.dumps, rows))


def parquet(rows):
    file = io.BytesIO()
    pd.read_csv(io.StringIO(rows)).to_parquet(file)
    return file.getvalue()


def table(path):
    rows, columns = path.with_name("rows.csv"), path.with_name("columns.yaml")
    for file, text in ((rows, "years,job,hours\n30,1,8\n41.5,2.0,6\n52,,x\n"), (columns, DICTIONARY)):
        if file != path:
            file.write_text(text)
    tables.row_questions(tables.load_table(rows, columns))


def wave(path):
    folder = path.parent / "American_Trends_Panel_W1"
    folder.mkdir(exist_ok=True)
    for name, text in (("info.csv", INFO), ("responses.csv", "Q_W1,POLPARTY,WEIGHT_W1\na,L,1\nb,R,.5\n")):
        (folder / name).write_bytes(path.read_bytes() if path.name == name else text.encode())
    load_opinion_qa(path.parent)


def shares(path):
    load_shares(path, INSTRUMENT, renormalise=True)


ITEM = INSTRUMENT[0].id
SHARES = "item,group,option,share\n" + "".join(f"{ITEM},{who},{i},.2\n" for who in ("N", "NA") for i in range(1, 6))
READERS = {
    "questions.csv": (load_questions, QUESTIONS),
    "questions.jsonl": (load_questions, lines([{"question": q, "correct": ["a", 1.5], "wrong": "b"} for q in "QR"])),
    "cases.csv": (load_cases, "question,answer,score,case\nQ1,a,4|5,x\nQ1,b,,x\nQ2,None,1,\n"),
    "pairs.csv": (load_cases, "question,answer_a,answer_b,preferred\nQ1,a,b,A\nQ2,c,d,\n"),
    "cases.jsonl": (load_cases, lines(ANSWERS)),
    "cases.json": (load_cases, json.dumps(ANSWERS, indent=1)),
    "llmbar.json": (lambda path: load_cases(path, format="llmbar"), json.dumps(LLMBAR)),
    "trust.jsonl": (lambda path: load_cases(path, format="trustjudge"), lines([TRUST])),
    "items.csv": (load_instrument, ITEMS),
    "ipip.csv": (load_ipip, "item,text,key,label\nA1,Like items.,-1,A\nA2,Do not.,1,B\n"),
    "shares.csv": (shares, SHARES),
    "personas.csv": (load_personas, "name,text\nNorth,You live there.\nSouth,\"You, too.\"\n"),
    "scores.csv": (country_scores, SCORES),
    "micro.csv": (lambda path: load_microdata(path, {"Q1": [1, 2]}, weight="S017"), MICRO),
    "micro.parquet": (lambda path: load_microdata(path, {"Q1": [1, 2]}, weight="S017"), parquet(MICRO)),
    "values.csv": (lambda path: load_values_survey(path, ["F063"]), MICRO),
    "rows.csv": (table, "years,job,hours\n30,1,8\n41.5,2.0,6\n52,,x\n"),
    "columns.yaml": (table, DICTIONARY),
    "prompts.csv": (value_prompts, "topic,question,pro\ntea,\"Should tea, too?\",x\nNA,None?,\n"),
    "sentences.csv": (labelled_sentences, "text,label,group\n\"a,\nb\",safe,x\nc,unsafe,\n"),
    "train.jsonl": (lambda path: training_rows(str(path), columns=ANSWER), lines([{"prompt": "a", "completion": "b"}])),
    "pacifaist.csv": (lambda path: load_choices(f"pacifaist={path}"), PACIFAIST),
    "info.csv": (wave, INFO),
    "responses.csv": (wave, "Q_W1,POLPARTY,WEIGHT_W1\na,L,1\nb,R,.5\n,,\n"),
    "template.txt": (load_template, TEMPLATE),
}  # fmt: skip
PIECES = [
    b",",
    b'"',
    b"\n",
    b"\r",
    b"\0",
    b"\xe9",
    b"\xff\xfe",
    b"|",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"null",
    b"NaN",
]
PIECES += [
    b"true",
    b"None",
    b"1e999",
    b'"a":',
    "\u2028".encode(),
    b" ",
    b"#",
    b"-",
    b"\\ud800",
    b"9" * 30,
    b"",
    b";",
    b"\t",
]


def mutated(content, random):
    for _ in range(random.randint(1, 3)):
        start = random.randint(0, len(content))
        end = min(len(content), start + random.choice([0, 0, 1, 1, 2, 5, 30]))
        content = content[:start] + random.choice(PIECES) + content[end:]
    return content[: random.randint(0, len(content))] if random.random() < 0.1 else content


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_done_to_a_file_it_is_read_or_refused_in_a_sentence(tmp_path, name):
    read, text = READERS[name]
    content = text if isinstance(text, bytes) else text.encode()
    path = tmp_path / name
    path.write_bytes(content)
    read(path)
    random, refused = Random(name), 0
    for _ in range(200):
        path.write_bytes(mutated(content, random))
        try:
            read(path)
        except InputError as error:
            refused += 1
            assert "Traceback" not in str(error) and len(str(error)) < 700
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {path.read_bytes()!r}") from error
    assert 10 < refused < 200
