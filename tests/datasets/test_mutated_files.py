"""No reader of users' files ends in anything but a value or a sentence, whatever is done to the file."""

import os
from pathlib import Path

import pytest
from fuzzing import DICTIONARY, ITEM, READERS, as_bytes, attack, attacks, hostile_places, limit_memory, lines
from hypothesis import HealthCheck, given, settings

TOGETHER = {"info.csv", "responses.csv", "metadata.csv", "rows.csv", "columns.yaml"}
"""Files that are read with others beside them."""
FUZZ = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"
EXAMPLES = settings(settings() if FUZZ else settings(max_examples=200), suppress_health_check=list(HealthCheck))
if FUZZ:
    limit_memory()


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_done_to_a_file_it_is_read_or_refused_in_a_sentence(tmp_path, name):
    read, example = READERS[name]
    path, refused = tmp_path / name, set()
    path.write_bytes(as_bytes(example))
    read(path)

    @EXAMPLES
    @given(attacks(name, example))
    def each(content):
        if sentence := attack(read, path, content):
            refused.add(sentence)

    each()
    assert len(refused) > 5


@pytest.mark.parametrize("name", sorted(set(READERS) - TOGETHER))
def test_what_is_no_file_is_refused_in_a_sentence(tmp_path, name):
    for what, path in hostile_places(tmp_path, Path(name).suffix).items():
        assert attack(READERS[name][0], path), what


MANY = 20_000
WIDE = ",".join(f"c{k}" for k in range(MANY))
CODES = ", ".join(f"{k}: v{k}" for k in range(5_000))
LARGE = {
    "questions.csv": "question,correct,wrong\n" + f"Q,{'|'.join(map(str, range(MANY)))},w\n",
    "cases.csv": "question,answer\n" + "".join(f"Q,a{k}\n" for k in range(MANY)),
    "personas.csv": f"name,text,{WIDE}\nN,t,{',' * (MANY - 1)}\n",
    "shares.csv": "item,group,option,share\n" + "".join(f"{ITEM},g{k},x,1\n" for k in range(MANY)),
    "prompts.csv": "topic,question\n" + "".join(f"t{k},q\n" for k in range(MANY)),
    "micro.csv": "COUNTRY,S017,Q1\n" + f"{'x' * 60_000},1,1\n" + "".join(f"g{k},1,{k}\n" for k in range(MANY)),
    "rows.csv": "years,job,hours\n" + "".join(f"{k},1,{k}\n" for k in range(MANY)),
    "columns.yaml": DICTIONARY.replace("1: baker, 02: pilot", CODES).replace("[8, x]", str(list(range(5_000)))),
    "metadata.csv": f'key,options\nPOLPARTY,"{[str(k) for k in range(10_000)]}"\n',
    "template.txt": "kind: pointwise\nscale: [1, 1000000000]\n---\n" + "{ " * 50_000 + "answer}\n---\nI",
    "questions.jsonl": lines({"question": "q", "correct": "A and " * MANY, "wrong": "a 1 " * MANY}),
    "trust.jsonl": lines({"question": "q", "answers": [{"score": 1, "text": [f"a{k}" for k in range(MANY)]}]}),
}  # fmt: skip
"""Files with many rows, columns or options: name of a reader -> content."""


@pytest.mark.parametrize("name", LARGE)
def test_many_rows_columns_and_options_take_seconds(tmp_path, name):
    attack(READERS[name][0], tmp_path / name, LARGE[name].encode(), seconds=4)
