"""Finished answers are kept, whatever happens, and never served to another model."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
import warnings

import pytest

from workbench.errors import InputError
from workbench.extraction.store import AnswerStore, Reading, checksums, request_key, text_keys
from workbench.extraction.tokens import Request
from workbench.questions import Message, Option, Question


def test_keys_tell_apart_everything_that_decides_a_number():
    requests = [Request((1, 2), (3,)), Request((1,), (2, 3)), Request((1, 2), (4,)), Request((1, 3), (3,))]
    keys = {request_key(model, engine, r) for model in "ab" for engine in ("x", "y") for r in requests}
    assert len(keys) == 16


def test_text_keys_tell_apart_everything_that_decides_the_tokens():
    options = (Option(" a"), Option(" b"))
    prompts = ["x", (Message("user", "x"),), (Message("system", "x"),), (Message("user", "x"), Message("user", "y"))]
    keys = [
        key
        for model in "ab"
        for engine in ("1", "2")
        for truncate in ("error", "middle")
        for prompt in prompts
        for key in text_keys(model, engine, truncate, Question(prompt, options))
    ]
    assert len(set(keys)) == len(keys) == 64


def test_a_page_that_is_damaged_is_named(tmp_path):
    path = tmp_path / "s.sqlite"
    store = AnswerStore(path)
    store.put({f"{i:020d}".encode(): -1.0 for i in range(5000)})
    store.close()
    data = bytearray(path.read_bytes())
    data[8192:-4096] = os.urandom(len(data) - 12288)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"s\.sqlite cannot be"):
        AnswerStore(path).get([f"{i:020d}".encode() for i in range(5000)])


def test_values_come_back_bit_for_bit(tmp_path):
    store = AnswerStore(tmp_path / "s.sqlite")
    values = {bytes([i]) * 20: -i / 7 for i in range(1200 % 251)}
    store.put(values)
    assert store.get([*values, b"absent"]) == values
    assert len(store) == len(values)


@pytest.mark.parametrize("value", [5.0, 1e-9, float("inf"), float("-inf"), float("nan")])
def test_what_is_no_log_likelihood_is_not_kept(tmp_path, value):
    store = AnswerStore(tmp_path / "s.sqlite")
    with pytest.raises(InputError, match="is not a log-likelihood"):
        store.put({b"before": -1.0, b"key": value})
    assert store.get([b"before", b"key"]) == {}


@pytest.mark.parametrize("value", [-2.5, 5.0, float("inf"), float("-inf"), None, "-1.0", b"-1.0", b"\xff", 4.6e18, -1])
def test_a_row_that_is_not_as_it_was_written_is_absent_until_it_is_written_again(tmp_path, value):
    store = AnswerStore(tmp_path / "s.sqlite")
    store.put({b"a": -1.0, b"b": 0.0, b"c": -0.0, b"d": -2.0})
    assert store.get([b"a", b"b", b"c"]) == {b"a": -1.0, b"b": 0.0, b"c": 0.0}
    store._database.execute("UPDATE numbers SET logprob = ? WHERE key = ?", (value, b"d"))
    with pytest.warns(UserWarning, match="1 rows of the answer store .* are damaged"):
        assert store.get([b"a", b"d"]) == {b"a": -1.0}
    store.put({b"d": -2.0})
    assert store.get([b"d"]) == {b"d": -2.0}


@pytest.mark.parametrize("value", [5.0, float("inf"), 4.6e18])
def test_a_number_that_cannot_be_one_is_absent_even_with_its_checksum(tmp_path, value):
    store = AnswerStore(tmp_path / "s.sqlite")
    store._database.execute(
        "INSERT INTO numbers VALUES (?, ?, ?)", (b"k", value, *checksums("numbers", [(b"k", value)]))
    )
    with pytest.warns(UserWarning, match="damaged"):
        assert store.get([b"k"]) == {}


def test_the_checksum_is_the_same_on_every_machine():
    assert checksums("numbers", [(b"key", -1.5)]) == [-8460796113395089816]


@pytest.mark.parametrize("column", ["key", "n_tokens", "merged", "truncated"])
@pytest.mark.parametrize("value", [1, None, b"1", "1"])
def test_a_reading_that_is_not_as_it_was_written_is_absent(tmp_path, column, value):
    store = AnswerStore(tmp_path / "s.sqlite")
    store.put_readings({b"text": Reading(b"key", 2, False, False)})
    store._database.execute(f"UPDATE texts SET {column} = ?", (value,))
    with pytest.warns(UserWarning, match="damaged"):
        assert store.get_readings([b"text"]) == {}


def test_a_flipped_bit_never_gives_another_number(tmp_path):
    """Of 600 single bits flipped anywhere in a file, each is refused, warned of, or without effect."""
    values = {bytes([i]) * 20: -i / 7 for i in range(40)}
    readings = {key: Reading(key, 3, i % 2 == 0, False) for i, key in enumerate(values)}
    with AnswerStore(tmp_path / "sound.sqlite") as store:
        store.put(values)
        store.put_readings(readings)
    whole, draw, path = (tmp_path / "sound.sqlite").read_bytes(), random.Random(0), tmp_path / "flipped.sqlite"
    missing = 0
    for _ in range(600):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        for leftover in tmp_path.glob("flipped.sqlite*"):
            leftover.unlink()
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with AnswerStore(path) as store:
                    found, texts = store.get(list(values)), store.get_readings(list(values))
            except InputError:
                missing += 1
                continue
        assert found.items() <= values.items() and texts.items() <= readings.items()
        missing += len(found) < len(values) or len(texts) < len(readings)
    assert missing > 20  # the flips did reach the rows


def _write_forever(path):
    store = AnswerStore(path)
    batch = 0
    while True:
        store.put({f"{batch}-{i}".encode(): -float(batch) for i in range(50)})
        batch += 1


def test_survives_a_kill_with_whole_batches(tmp_path):
    path = tmp_path / "s.sqlite"
    writers = [multiprocessing.get_context("fork").Process(target=_write_forever, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while not path.exists() or len(AnswerStore(path)) < 200:
        time.sleep(0.02)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    store = AnswerStore(path)
    assert len(store) >= 200 and len(store) % 50 == 0
    store.put({b"after": -1.0})
    assert store.get([b"after"]) == {b"after": -1.0}


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "s.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=r"s\.sqlite cannot be used"):
        AnswerStore(tmp_path / "s.sqlite")
