"""Adapters of sets to train on, on records written here in each schema."""

from __future__ import annotations

import re

import pytest

from workbench.datasets.sources import Source, registry
from workbench.errors import InputError
from workbench.training import algorithms
from workbench.value_drift import texts

RECORDS = {
    "wildchat": [
        {"conversation": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]},
        {"conversation": [{"role": "user", "content": "Hola"}] * 2, "language": "Spanish"},
    ],
    "alpaca": [{"instruction": "Sort.", "input": "b a", "output": "a b"}],
    "ultrafeedback": [{"prompt": "Q", "chosen": [{"content": "good"}], "rejected": [{"content": "bad"}]}],
    "hh_rlhf": [
        {"chosen": "\n\nHuman: Q\n\nAssistant: good", "rejected": "\n\nHuman: Q\n\nAssistant: bad"},
        {"chosen": "\n\nHuman: A\n\nAssistant: x", "rejected": "\n\nHuman: B\n\nAssistant: y"},
    ],
    "safe_rlhf": [{"prompt": "Q", "response_0": "bad", "response_1": "good", "safer_response_id": 1}],
}  # fmt: skip
EXPECTED = {
    "wildchat": {"prompt": "Hi?", "completion": "Hello."},
    "alpaca": {"prompt": "Sort.\n\nb a", "completion": "a b"},
} | {name: {"prompt": "Q", "chosen": "good", "rejected": "bad"} for name in ("ultrafeedback", "hh_rlhf", "safe_rlhf")}


def human(*texts):
    return "".join(f"\n\n{'Human' if i % 2 == 0 else 'Assistant'}: {text}" for i, text in enumerate(texts))


def test_turns_behind_markers_are_messages(monkeypatch):
    dialogue = human("Is it legal?", "No.\nHuman: is not a turn here, nor is Assistant: there.", "Why?", "")
    records = [
        {"chosen": dialogue + "It harms.", "rejected": dialogue + "Who knows."},
        {"chosen": human("Q", "a", "b", "c"), "rejected": human("Q", "a", "b", "c\n\nAssistant: quoted")},
        {"chosen": human("Q", "a", "b"), "rejected": human("Q", "a", "c")},  # ends with the person
        {"chosen": human("Q", "a"), "rejected": human("Q", "")},
        {side: human("Q", "a\n\nAssistant: again", "b", side) for side in ("chosen", "rejected")},
        {"chosen": human("Q", "a", "b", "c"), "rejected": human("Q", "other", "b", "c")},
    ]
    monkeypatch.setattr(Source, "read", lambda self, **_: (records, "here"))
    (row,) = texts.training_rows("hh_rlhf", columns=algorithms.PAIR)
    assert row["prompt"] == [
        {"role": "user", "content": "Is it legal?"},
        {"role": "assistant", "content": "No.\nHuman: is not a turn here, nor is Assistant: there."},
        {"role": "user", "content": "Why?"},
    ]
    assert (row["chosen"], row["rejected"]) == ("It harms.", "Who knows.")


def test_a_dialogue_of_ultrafeedback_keeps_its_turns(monkeypatch):
    before = [{"role": r, "content": t} for r, t in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    good, bad = ({"role": "assistant", "content": text} for text in ("good", "bad"))
    records = [
        {"prompt": "a", "chosen": [*before, good], "rejected": [*before, bad]},
        {"prompt": "a", "chosen": [*before, good], "rejected": [before[0], bad]},
    ]
    monkeypatch.setattr(Source, "read", lambda self, **_: (records, "here"))
    assert texts.training_rows("ultrafeedback") == [{"prompt": before, "chosen": "good", "rejected": "bad"}]


SETS = {source.name: source for source in registry() if source.kind == "rows" and source.hub}


@pytest.mark.parametrize("name", SETS)
def test_records_come_to_one_schema(name, monkeypatch):
    monkeypatch.setattr(Source, "read", lambda self, **_: (RECORDS[name], "here"))
    assert texts.training_rows(name) == [EXPECTED[name]]


def test_every_set_is_pinned_to_a_commit():
    for source in SETS.values():
        assert re.fullmatch("[0-9a-f]{40}", source.commit), source.name
    alpaca = SETS["alpaca"]
    assert texts.origin_of("alpaca") == f"tatsu-lab/alpaca@{alpaca.commit}, {alpaca.licence}"
    assert texts.training_rows("support", columns=algorithms.ANSWER) == texts.sft_rows("support")


def test_a_record_of_another_shape_names_its_field(monkeypatch):
    monkeypatch.setattr(Source, "read", lambda self, **_: ([{"question": "Q"}], "tatsu-lab/alpaca@0123"))
    with pytest.raises(InputError, match=r"alpaca@0123\) has no field 'instruction'"):
        texts.training_rows("alpaca")


def test_a_users_lines(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n')
    assert texts.training_rows(str(path)) == [{"prompt": "a", "completion": "b"}]
    assert re.fullmatch(r"mine.jsonl sha256:[0-9a-f]{64}", texts.origin_of(str(path)))
    path.write_text('\n{"prompt": "a\u2028", "chosen": "b", "rejected": ""}\n')
    assert texts.training_rows(str(path))[0]["prompt"] == "a\u2028"
    for columns, says in (
        (algorithms.ANSWER, "line 2 lacks the column 'comp"),
        (algorithms.PAIR, "line 2: rejected is empty"),
    ):
        with pytest.raises(InputError, match=says):
            texts.training_rows(str(path), columns=columns)
    path.write_text('{"prompt": 42, "completion": "None"}\n')
    assert texts.training_rows(str(path), columns=algorithms.ANSWER) == [{"prompt": "42", "completion": "None"}]
    path.write_text('{"prompt": "a", "completion": ["b"]}\n')
    with pytest.raises(InputError, match=r'mine.jsonl, line 1: completion is \["b"\], not a text'):
        texts.training_rows(str(path), columns=algorithms.ANSWER)
    path.write_text("\n")
    with pytest.raises(InputError, match=r"mine.jsonl has no rows"):
        texts.training_rows(str(path))
    path.write_text("oops\n")
    with pytest.raises(InputError, match="line 1 is not JSON"):
        texts.training_rows(str(path))
    with pytest.raises(InputError, match="Did you mean 'alpaca'"):
        texts.training_rows("alpacca")
    with pytest.raises(InputError, match="no file"):
        texts.training_rows(str(tmp_path / "none.jsonl"))


def test_a_set_of_another_kind_is_told(monkeypatch):
    monkeypatch.setattr(Source, "read", lambda self, **_: ([{"instruction": "a", "input": "", "output": "b"}], "here"))
    assert texts.training_rows("alpaca", columns=algorithms.ANSWER) == [{"prompt": "a", "completion": "b"}]
    with pytest.raises(InputError, match="'alpaca' has no 'chosen'"):
        texts.training_rows("alpaca", columns=algorithms.PAIR)


def test_files_are_called_by_their_stem_unless_two_are_alike():
    assert list(texts.labelled(["a/one.jsonl", "ultrafeedback"])) == ["one", "ultrafeedback"]
    assert list(texts.labelled(["a/one.jsonl", "b/one.jsonl"])) == ["a/one.jsonl", "b/one.jsonl"]
