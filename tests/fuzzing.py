"""Inputs that attack a reader: any bytes, and changes to the structure of a valid file.

A reader of what comes from outside is a function of a path. To attack one, add its valid example to `READERS`, or give
both to `attacks`:

    @given(attacks("config.json", EXAMPLE))
    def test_...(content):
        attack(read, path, content)

`attack` lets only a value or an `InputError` of one printable sentence pass, within a time.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import resource
import signal
import threading
import zipfile
from collections import Counter
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import yaml
from hypothesis import strategies as st
from numpy import ones
from safetensors.numpy import save

from workbench.cultural_alignment.benchmarks import load_choices
from workbench.cultural_alignment.instruments import country_scores, load_instrument, load_ipip, load_personas
from workbench.cultural_alignment.opinions import load_global_opinions, load_opinion_qa, load_subpop
from workbench.cultural_alignment.populations import load_microdata, load_shares, load_values_survey
from workbench.cultural_alignment.surveys import Format, survey_questions
from workbench.datasets import load_questions
from workbench.datasets.adapters import big_bench
from workbench.datasets.items import read_items
from workbench.datasets.sources import adapted, find, read_records
from workbench.errors import LONGEST, UNPRINTABLE, InputError
from workbench.hallucination import tables
from workbench.judges import prompts
from workbench.judges.cases import Case
from workbench.judges.prompts import load_template
from workbench.judges.sources import load_cases, load_ratings
from workbench.models import weights as model_files
from workbench.models.sources import _names_code as names_code
from workbench.models.tokenizers import _read as read_tokenizer
from workbench.reading import read_yaml
from workbench.runs.parameters import read_parameters
from workbench.runs.studies import load_study
from workbench.training.algorithms import ANSWER
from workbench.training.folders import read_record
from workbench.training.rows import checked_rows
from workbench.value_drift.texts import labelled_sentences, training_rows, value_prompts

SECONDS = 5.0
"""Longest time of one example, of which all are small."""
DEEP, LONG = 5_000, 60_000
RAW = {
    "@deep list": "[" * DEEP + "]" * DEEP,
    "@deep object": '{"a":' * DEEP + "1" + "}" * DEEP,
    "@level 90": "[" * 90 + "]" * 90,
    "@NaN": "NaN",
    "@infinity": "-Infinity",
    "@huge": "9" * DEEP,
    "@large": "1" + "0" * 400,
    "@float": "1e999",
    "@surrogate": '"\\ud800"',
    "@escape": '"\\u001b]0;x\\u0007\\u001b[2J\\u202e\\u0000"',
    "@cycle": "&a [*a]",
    "@aliases": "[&a [x,x,x,x,x,x,x,x,x], &b [*a,*a,*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b,*b], [*c,*c,*c]]",
}
"""Placeholder -> the JSON or YAML text that stands for it, where the value itself cannot be written by a library."""
PLAIN = [None, True, 0, -1, 2, 7.5, 2**63, "", " ", "x", "None", "NaN", "1e5", "A", "a|b", "\\|", [], {}, [[]], [None]]
TREE = [*PLAIN, ["a", "a"], {"a": None}, {"": ""}, *RAW]
TEXTS = [
    *("", " ", "x", '"', '""', "|", "\\|", "a|a", "a||b", "1e999", "nan", "-1", "9" * 400, "1_0", "٣", "½", "true"),
    *("\x1b[2J\x1b]0;x\x07", "\u202e", "\ufeff", "\x85", "\u2028", "\t", "\r", "\n", "\0", "[]", "{", "[1", "['a']"),
    *("None", "{question}", "{0}", "%s", "---", "*" * 9, "[" * 300, "-" * 9000 + "1", "1" + "+1" * 9000, "f'{x}'"),
    *("\\" * LONG, "1" * LONG + "x", "{" * LONG, "(old" * (LONG // 4), " " * LONG + "x", "\t" * LONG + '"', "b" * LONG),
]  # fmt: skip
"""Cells: what libraries treat in a special way, and texts that make careless patterns slow."""
PIECES = [text.encode() for text in TEXTS[:-7]] + [
    *(b",", b";", b"\xe9", b"\xff\xfe", b"\xef\xbb\xbf", b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b":", b"- ", b"null"),
    *(b"&a ", b"*a", b"!!python/name:os.system ", b"!!int ", b"? ", b'"a":', b"\\ud800", b"}", b"]", b"#", b"  "),
]  # fmt: skip
READERS = {}
"""Name of a file, whose suffix names its format -> function of its path, and a valid example as text or bytes."""


class Hang(BaseException):
    """An example took too long; no `Exception`, so that no reader catches it."""


@contextmanager
def within(seconds=SECONDS):
    """Raise `Hang` in what takes more seconds of a processor, or is ten times as long; only in the main thread."""

    def stop(*_):
        raise Hang(f"more than {seconds:g} s")

    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return
    before = [signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGPROF, before[0])
        signal.signal(signal.SIGALRM, before[1])


def limit_memory(more=10**9):
    """Let this process have this many bytes beyond its present address space."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.RLIM_INFINITY))


def attack(read, path, content=None, seconds=SECONDS):
    """Read a file with this content; return the sentence if it is refused."""
    if content is not None:
        path.write_bytes(content)
    try:
        with within(seconds):
            read(path)
    except InputError as error:
        text = str(error)
        assert "Traceback" not in text and 10 < len(text) <= LONGEST and not UNPRINTABLE.search(text), text
        return text
    return ""


def as_bytes(example):
    """Return an example as bytes."""
    return example if isinstance(example, bytes) else example.encode()


def attacks(name, example):
    """Return a strategy for the content of a file: any bytes, or a valid file with other pieces or structure."""
    content = as_bytes(example)
    changed = st.integers(0, 2**64).map(lambda seed: _changed(name, content, Random(seed)))
    return st.one_of(st.binary(max_size=60), *[changed] * 9)


def _changed(name, content, random):
    pieces = random.random() < 0.4
    if not pieces:
        try:
            content = CHANGES.get(Path(name).suffix, _lines)(content, random)
        except (pa.ArrowException, csv.Error, IndexError, ValueError, OverflowError):  # what this format cannot hold
            pieces = True
    return _pieces(content, random) if pieces or random.random() < 0.2 else content


def _pieces(content, random):
    for _ in range(random.randint(1, 3)):
        start = random.randint(0, len(content))
        end = min(len(content), start + random.choice([0, 0, 1, 1, 2, 5, 30]))
        content = content[:start] + random.choice(PIECES) + content[end:]
    return content[: random.randint(0, len(content))] if random.random() < 0.1 else content


def _lines(content, random):
    """Drop, repeat, swap or indent lines, or replace a word by a hostile text."""
    lines = content.decode().split("\n")
    for _ in range(random.randint(1, 3)):
        i, j = random.randrange(len(lines)), random.randrange(len(lines))
        how = random.randrange(5)
        if how == 0:
            lines[i : i + 1] = [lines[i]] * random.randint(0, 2)
        elif how == 1:
            lines[i], lines[j] = lines[j], lines[i]
        elif how == 2:
            lines[i] = random.choice([" ", "  ", "- ", "\t", "? ", "# "]) + lines[i]
        elif words := lines[i].split(" "):
            words[random.randrange(len(words))] = random.choice([*TEXTS, *RAW.values()])
            lines[i] = " ".join(words)
    return "\n".join(lines).encode()


def _csv(content, random):
    """Change cells, columns, rows, quotes, the separator, line ends or the beginning of a CSV."""
    text = content.decode()
    separator = ";" if text.partition("\n")[0].count(";") > 2 else ","
    rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    for _ in range(random.randint(1, 3)):
        row, other = random.choice(rows), random.randrange(len(rows))
        at, how = random.randrange(len(row) or 1), random.randrange(9)
        if how < 4 and row:
            row[at] = random.choice(TEXTS)
        elif how == 4:
            row[at : at + 1] = row[at : at + 1] * random.choice([0, 2])
        elif how == 5:
            for each in rows:  # a column removed, doubled or moved
                each[at : at + 1] = each[at : at + 1] * random.choice([0, 2]) if random.random() < 0.7 else []
        elif how == 6:
            rows.insert(other, list(row))
        elif how == 7 and len(rows) > 1:
            del rows[other]
        elif row:
            row[at], row[0] = row[0], row[at]
    file = io.StringIO()
    style = {"delimiter": random.choice([separator] * 8 + [";", "\t", "|", " "]), "escapechar": "\\"}
    quoting = random.choice([csv.QUOTE_MINIMAL] * 6 + [csv.QUOTE_ALL, csv.QUOTE_NONE])
    csv.writer(
        file, lineterminator=random.choice(["\n"] * 6 + ["\r\n", "\r", "\n\n", "\n\r"]), quoting=quoting, **style
    ).writerows(rows)
    return (
        random.choice(["", "", "", "\ufeff", "\ufeff\ufeff", "sep=;\n", "#\n", "\n"]).encode()
        + file.getvalue().encode()
    )


def _places(value):
    """Return (container, key) of every value inside a value."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [place for key, child in pairs for place in ((value, key), *_places(child))]


def changed_tree(value, random):
    """Return a value of JSON or YAML in which values are replaced, removed, renamed, wrapped or moved."""
    value = json.loads(json.dumps(value))
    for _ in range(random.randint(1, 3)):
        places = _places(value)
        if not places or random.random() < 0.03:
            value = copy.deepcopy(random.choice(TREE))
            continue
        inside, key = random.choice(places)
        how = random.randrange(8)
        if how < 4:
            inside[key] = copy.deepcopy(random.choice([*TREE, *TEXTS]))
        elif how == 4:
            del inside[key]
        elif how == 5:
            inside[key] = random.choice([[inside[key]], {"a": inside[key]}, str(inside[key]), [inside[key], "x"]])
        elif how == 6:
            other, at = random.choice(places)
            inside[key] = copy.deepcopy(other[at])
        elif isinstance(inside, dict):
            inside[random.choice([key.upper(), key + " ", "", "\u202e", "9", "x" * 300])] = inside.pop(key)
    return value


def _raw(text, random):
    """Put the texts of `RAW` in place of their names, and sometimes a name twice into an object."""
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw).replace(f"'{name}'", raw)
    if random.random() < 0.1 and (at := text.find("{", random.randrange(len(text) + 1))) >= 0:
        text = text[: at + 1] + text[at + 1 :].partition(",")[0].rstrip("}]\n") + "," + text[at + 1 :]
    return text.encode("utf-8", "surrogatepass")


def _json(content, random):
    return _raw(json.dumps(changed_tree(json.loads(content), random), ensure_ascii=random.random() < 0.5), random)


def _json_lines(content, random):
    rows = changed_tree([json.loads(line) for line in content.decode().splitlines()], random)
    return b"\n".join(_raw(json.dumps(row), random) for row in (rows if isinstance(rows, list) else [rows]))


def _yaml(content, random):
    if random.random() < 0.4:
        return _lines(content, random)
    tree = changed_tree(yaml.load(content, yaml.BaseLoader), random)
    return _raw(yaml.safe_dump(tree) if random.random() < 0.5 else json.dumps(tree), random)


def _columns(n):
    """Return columns of every type of Parquet, with values at its ends."""
    ends = [-(2**63), 2**63 - 1] * n
    invalid = pa.py_buffer(b"\xff" * n)
    offsets = pa.array(range(n + 1), pa.int32()).buffers()[1]
    return [
        pa.array([None] * n),
        pa.array([b"\xff"] * n),
        pa.array([[1]] * n),
        pa.array([{"a": 1}] * n),
        pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int8())),
        pa.array(["x"] * n).dictionary_encode(),
        pa.array([True] * n),
        pa.array([float("nan")] * n),
        pa.array([float("-inf")] * n, pa.float32()),
        pa.array([1.5] * n, pa.float16()),
        *(pa.array(ends[:n], pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
        pa.array(ends[:n], pa.timestamp("ns", "Europe/Berlin")),
        pa.array(ends[:n], pa.duration("s")),
        pa.array([2**31 - 1] * n, pa.date32()),
        pa.array(ends[:n], pa.time64("ns")),
        pa.array([1] * n).cast(pa.decimal256(60, 2)),
        pa.array([2**64 - 1] * n, pa.uint64()),
        pa.array(TEXTS[-1:] * n),
        pa.StringArray.from_buffers(n, offsets, invalid),
    ]


def _parquet(content, random):
    """Change types, names, number and values of columns, or bytes of the footer."""
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    names, columns = list(table.column_names), list(table.columns)
    for _ in range(random.randint(0, 2)):
        at, how = random.randrange(len(names)), random.randrange(6)
        if how < 3:
            columns[at] = random.choice(_columns(len(table)))
        elif how == 3:
            columns[at] = pa.array([random.choice(TEXTS) for _ in range(len(table))])
        elif how == 4:
            names[at] = random.choice([*names, "", "x", "\x1b[2J", names[at].lower()])
        elif len(names) > 1:
            del names[at], columns[at]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_arrays(columns, names), file, use_dictionary=random.random() < 0.7)
    content = bytearray(file.getvalue())
    for _ in range(random.choice([0, 0, 1, 1, 3, 9])):
        place = len(content) - random.randrange(1, random.choice([8, 400, len(content)]))
        content[place] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
    return bytes(content)


def _workbook(content, random):
    """Change lines of a part of a workbook, or leave a part out."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        chosen = random.choice(old.namelist())
        for name in old.namelist():
            part = old.read(name)
            if name == chosen and random.random() < 0.1:
                continue
            if name == chosen:
                part = b">".join(_pieces(b"\n".join(part.split(b">")), random).split(b"\n"))
            new.writestr(name, part)
    return file.getvalue()


CHANGES = {
    ".csv": _csv,
    ".json": _json,
    ".ipynb": _json,
    ".jsonl": _json_lines,
    ".yaml": _yaml,
    ".parquet": _parquet,
    ".xlsx": _workbook,
}
"""Suffix of a file -> function that changes its structure; other files are changed by lines."""


def hostile_places(folder, suffix):
    """Return what is not a file that can be read, in place of one: description -> path with the suffix."""
    places = {name: folder / f"{name}{suffix}" for name in ("missing", "fifo", "folder", "loop", "dangling")}
    os.mkfifo(places["fifo"])
    places["folder"].mkdir()
    places["loop"].symlink_to(places["loop"])
    places["dangling"].symlink_to(folder / "nowhere")
    for name, target in {"device": "/dev/zero", "memory": "/proc/self/mem", "pages": "/proc/self/pagemap"}.items():
        places[name] = folder / f"{name}{suffix}"
        places[name].symlink_to(target)
    names = {
        "long": "x" * 300,
        "NUL": "a\0b",
        "surrogate": "a\ud800b",
        "bytes": os.fsdecode(b"a\xff"),
        "escapes": "a\x1b[2J\nb",
    }
    places |= {name: folder / f"{text}{suffix}" for name, text in names.items()}
    sparse = places["sparse"] = folder / f"sparse{suffix}"
    with sparse.open("wb") as file:
        file.truncate(10 * 2**30)
    return places | {
        "below a file": places["sparse"] / f"x{suffix}",
        "nobody": Path(f"~nobody-has-this-name/x{suffix}"),
    }


ITEMS = "id,text,scale,key,positions\nq,How often?,Never|Some\\|times|Always,1,1|2|3\nr,Why?,None|NA|x,-1,\n"
QUESTIONS = 'question,correct,wrong,abstain,subject\n"Who, if any?",Ann|Bea,Cleo,None,x\nWhy?,"So\nso",No|NA,,\n'
QUESTION_ROWS = [{"question": q, "correct": ["a", 1.5], "wrong": "b", "subject": None} for q in "QR"]
ANSWERS = [
    {"question": f"Q{k}", "answer": a, "score": s, "checklist": ["x"]} for k, a, s in ((1, "a", 4), (2, 7, None))
]
LLMBAR = [
    {"input": "Which is it, in the end?", "output_1": "One of the two", "output_2": "The other one", "label": 2},
    {"input": "j", "output_1": "w", "output_2": "z", "label": 1},
]
TRUST = {"question": "q", "answers": [{"score": 1.5, "text": ["x", "y"]}, {"score": 5, "text": ["z"]}], "category": "c"}
SCORES = "ctr;country;pdi;idv;mas;uai;ltowvs;ivr\nSWE;Sweden;31;71;5;29;53;78\nNIG;Nigeria;#NULL!;1;2;3;4;5\n"
MICRO = "COUNTRY,S003,S017,Q1,F063\nA,752,1,1,3\nB,716,.5,2.0,4\nB,,1, ,-1\n"
PACIFAIST = (
    "# note\nprompt,subcategory,task_type,choice_a,choice_b,correct_choice\np?,s,multiple_choice,x,y,A\nr?,s,open,,,\n"
)
NORMAD = {
    "Gold Label": "yes",
    "Country": "south_korea",
    "Value": "v",
    "Rule-of-Thumb": "r",
    "Story": "s",
    "Subaxis": "t",
}
CDEVAL = {"Question": "q", "Option 1": "a", "Option 2": "b", "Dimension": "d", "Domain": "e"}
CULTURAL = {f"prompt_option_{letter}": letter * 3 for letter in "abcd"} | {
    "prompt_question": "q",
    "answer": "B",
    "country": "c",
}
NURSING = {"Nursing_Value": "a_b", "Alignment": 1, "text_EN": "t"}
DICTIONARY = """columns:
  years: {says: age, unit: years}
  job: {says: work, values: {1: baker, 02: pilot}, missing: none}
tasks:
  sleep:
    {describe: A person., features: [years, job], target: {column: hours, positive: [8, x]}, question: 'Long?',
     choices: [No, Yes], ask_probability: 'How probable?', group: job, keep: {years: [18, null]}}
"""
ROWS = "years,job,hours\n30,1,8\n41.5,2.0,6\n52,,x\n"
INFO = """,key,question,references,option_ordinal\n0,Q_W1,How?,"['a', 'b', 'Refused']","[2.0, 1.0]"\n"""
RESPONSES = "Q_W1,POLPARTY,WEIGHT_W1\na,L,1\nb,R,.5\n,,\n"
GROUPS = """key,options\nPOLPARTY,"['L', 'R']"\n"""
GLOBAL = {
    "question": "How?",
    "options": "['a', 'b', 'Refused']",
    "selections": "x {'Spain (Current national sample)': [.5, .4, .1]}",
}
SUBPOP = {
    "attribute": "POLPARTY",
    "options": ["a", "b"],
    "responses": [0.4, 0.6],
    "qkey": "k",
    "question": "q",
    "ordinal": [1, 2],
}
RATED = '{""Guidance"": 5, ""Safety"": 4.5}'
RATINGS = f'ConvID,human_response_original,judge_response_original\n1,"{RATED}","```json\n{RATED}```"\n2,,x\n'
TEMPLATE = "kind: pairwise\nlabels: {one: 1, two: -1}\n---\n{answer_a} or {answer_b}?\n---\nI"
SCALE = "kind: pointwise\nscale: [1, 5]\n---\n{question} {answer} {low}\n---\nI"
EXAMPLES = {
    "examples": [{"input": "a", "target_scores": {"x": 1, "y": 0}}, {"input": "b", "target_scores": {"x": 1, "z": 0}}]
}
OWN_SCALE = {"id": "q", "text": "t", "scale": ["a", "b"], "ordinal": True, "positions": [1, 2.5], "key": 1}
INSTRUMENT = load_instrument()
ITEM = INSTRUMENT[0].id
SHARES = "item,group,option,share\n" + "".join(f"{ITEM},{who},{i},.2\n" for who in ("N", "NA") for i in range(1, 6))


def lines(*rows):
    return "\n".join(map(json.dumps, rows))


def parquet(rows):
    file = io.BytesIO()
    pd.read_csv(io.StringIO(rows)).to_parquet(file)
    return file.getvalue()


def workbook(rows):
    file = io.BytesIO()
    pd.read_csv(io.StringIO(rows)).to_excel(file, index=False)
    return file.getvalue()


def _table(part):
    def read(path):
        given = {"rows": path.with_name("rows.csv"), "columns": path.with_name("columns.yaml")} | {part: path}
        for name, text in (("rows", ROWS), ("columns", DICTIONARY)):
            if name != part:
                given[name].write_text(text)
        loaded = tables.load_table(given["rows"], given["columns"])
        tables.row_questions(loaded)
        loaded.features()

    return read


def _wave(part):
    def read(path):
        folder = path.parent / "American_Trends_Panel_W1"
        folder.mkdir(exist_ok=True)
        for name, text in (("info", INFO), ("responses", RESPONSES), ("metadata", GROUPS)):
            (folder / f"{name}.csv").write_bytes(path.read_bytes() if name == part else text.encode())
        load_opinion_qa(path.parent)

    return read


def _shares(path):
    load_shares(path, INSTRUMENT, renormalise=True)


def _microdata(path):
    load_microdata(path, {"Q1": [1, 2]}, weight="S017")


def _survey(path):
    survey_questions(load_instrument(path), Format("own"))


def _judged(path):
    case = Case("q", ("a", "b"), reference="r", rubric="s", checklist=("c",))
    prompts.questions([case], [load_template(path)])


def _cases(format):
    return lambda path: load_cases(path, format=format)


def _choices(name):
    return lambda path: load_choices(f"{name}={path}")


def _records(load):
    return lambda path: load(records=read_records(path))


def _tasks(path):
    source = find("general_knowledge", "questions")
    list(adapted(source, big_bench, (read_records(path), ""), Counter(), ("subject",)))


def _trained(path):
    checked_rows("sft", training_rows(str(path), columns=ANSWER))


READERS |= {
    "questions.csv": (load_questions, QUESTIONS),
    "questions.jsonl": (load_questions, lines(*QUESTION_ROWS)),
    "questions.json": (load_questions, json.dumps(QUESTION_ROWS)),
    "items.parquet": (read_items, parquet(QUESTIONS)),
    "tasks.json": (_tasks, json.dumps(EXAMPLES)),
    "tasks.jsonl": (_tasks, lines(*EXAMPLES["examples"])),
    "cases.csv": (load_cases, "question,answer,score,case\nQ1,a,4|5,x\nQ1,b,,x\nQ2,None,1,\n"),
    "pairs.csv": (load_cases, "question,answer_a,answer_b,preferred\nQ1,a,b,A\nQ2,c,d,\n"),
    "cases.jsonl": (load_cases, lines(*ANSWERS)),
    "cases.json": (load_cases, json.dumps(ANSWERS, indent=1)),
    "llmbar.json": (_cases("llmbar"), json.dumps(LLMBAR)),
    "trust.jsonl": (_cases("trustjudge"), lines(TRUST)),
    "ratings.csv": (load_ratings, RATINGS),
    "template.txt": (_judged, TEMPLATE),
    "scale.txt": (_judged, SCALE),
    "items.csv": (_survey, ITEMS),
    "items.jsonl": (_survey, lines(OWN_SCALE)),
    "ipip.csv": (load_ipip, "item,text,key,label\nA1,Like items.,-1,A\nA2,Do not.,1,B\n"),
    "shares.csv": (_shares, SHARES),
    "personas.csv": (load_personas, "name,text\nNorth,You live there.\nSouth,\"You, too.\"\n"),
    "scores.csv": (country_scores, SCORES),
    "micro.csv": (_microdata, MICRO),
    "micro.parquet": (_microdata, parquet(MICRO)),
    "values.csv": (lambda path: load_values_survey(path, ["F063"]), MICRO),
    "info.csv": (_wave("info"), INFO),
    "responses.csv": (_wave("responses"), RESPONSES),
    "metadata.csv": (_wave("metadata"), GROUPS),
    "global.jsonl": (_records(load_global_opinions), lines(GLOBAL)),
    "subpop.jsonl": (_records(load_subpop), lines(*({**SUBPOP, "group": group} for group in "LR"))),
    "rows.csv": (_table("rows"), ROWS),
    "columns.yaml": (_table("columns"), DICTIONARY),
    "prompts.csv": (value_prompts, "topic,question,pro\ntea,\"Should tea, too?\",x\nNA,None?,\n"),
    "sentences.csv": (labelled_sentences, "text,label,group\n\"a,\nb\",safe,x\nc,unsafe,\n"),
    "train.jsonl": (_trained, lines({"prompt": "a", "completion": "b"})),
    "pacifaist.csv": (_choices("pacifaist"), PACIFAIST),
    "normad.jsonl": (_choices("normad"), lines(NORMAD)),
    "cdeval.jsonl": (_choices("cdeval"), lines(CDEVAL)),
    "cultural.jsonl": (_choices("cultural_bench"), lines(CULTURAL)),
    "nursing.jsonl": (_choices("nurvalues"), lines(NURSING)),
}  # fmt: skip
STUDY = """notebooks: [calibration]
profiles: {default: {}, quick: {n: 2, calibration: {seed: 1}, matrix: {seed: [0, 1]}}}
matrix: {n: [1, 2], seed: [0, 1], include: [{n: 7}], exclude: [{n: 1, seed: 0}]}
gpus: {calibration: 1}
"""
CELL = {"cell_type": "code", "id": "a", "metadata": {"tags": ["parameters"]}, "outputs": [], "execution_count": None}
CELL |= {"source": ["from typing import Literal\n", "n: int | None = 1  # how many\n", "how: Literal['a', 'b'] = 'a'"]}
NOTEBOOK = {"cells": [CELL], "metadata": {"kernelspec": {"name": "x", "display_name": "x"}}, "nbformat": 4}
NOTEBOOK |= {"nbformat_minor": 5}
RECORD = {"key": "k", "name": "n", "algorithm": "dpo", "parent": "p", "complete": True, "save_at": [1], "lora": 8}
ADDED = {"id": 2, "content": "</s>", "special": True, "lstrip": False, "rstrip": False, "normalized": False}
ADDED |= {"single_word": False}
WORDS = {"version": "1.0", "added_tokens": [ADDED], "pre_tokenizer": {"type": "Whitespace"}, "normalizer": None}
WORDS |= {"model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "</s>": 2}, "unk_token": "a"}}
SETTINGS = {"model_type": "llama", "vocab_size": 9, "rope_parameters": {"rope_theta": 1e4}, "architectures": ["A"]}


def _study(path):
    study = load_study(str(path))
    for profile in study.profiles:
        study.matrices[profile].cells(set())


READERS |= {
    "study.yaml": (_study, STUDY),
    "parameters.yaml": (lambda path: read_yaml(path, typed=True), "n: 3\nname: [a, b]\nwhen: 2020-01-01\n"),
    "study.ipynb": (read_parameters, json.dumps(NOTEBOOK)),
    "series.json": (read_record, json.dumps(RECORD | {"log": [{"loss": 1.5}]})),
    "config.json": (lambda path: names_code(model_files.read_json(path)), json.dumps(SETTINGS)),
    "tokenizer.json": (read_tokenizer, json.dumps(WORDS)),
    "model.safetensors": (lambda path: model_files.headers([path]), save({"a.weight": ones((2, 3)), "b": ones(1)})),
}
if find_spec("openpyxl"):
    READERS["items.xlsx"] = read_items, workbook(QUESTIONS)
