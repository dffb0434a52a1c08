"""Finished answers are kept, never served to another model, and those of several machines become one store."""

from __future__ import annotations

import multiprocessing
import os
import platform
import random
import signal
import sqlite3
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from workbench.errors import InputError
from workbench.extraction.rows import checksums
from workbench.extraction.store import (
    AnswerStore,
    Reading,
    export_stores,
    merge,
    merge_stores,
    request_key,
    text_keys,
)
from workbench.extraction.tokens import Request
from workbench.questions import Message, Option, Question

KEYS = [bytes([i]) * 20 for i in range(6)]


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
    with pytest.raises(InputError, match=r"s\.sqlite is damaged .*salvage"):
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
                    result, texts = store.get(list(values)), store.get_readings(list(values))
            except InputError:
                missing += 1
                continue
        assert result.items() <= values.items() and texts.items() <= readings.items()
        missing += len(result) < len(values) or len(texts) < len(readings)
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
    with pytest.raises(InputError, match=r"s\.sqlite is damaged"):
        AnswerStore(tmp_path / "s.sqlite")


def kept(path: Path, values: dict[bytes, float]) -> Path:
    with AnswerStore(path) as made:
        made.put(values)
        made.put_readings({key: Reading(key, 3, True, False) for key in values})
    return path


def test_a_merge_is_a_union_that_keeps_what_is_there(tmp_path: Path) -> None:
    here = kept(tmp_path / "here.sqlite", {KEYS[0]: -1.0, KEYS[1]: -2.0, KEYS[5]: -1e5})
    there = kept(tmp_path / "there.sqlite", {KEYS[1]: -2.5, KEYS[2]: -3.0, KEYS[5]: -1e5})
    merged = merge(there, here)
    assert (merged.new, merged.present, merged.largest_difference) == (1, 2, 0.5)
    assert str(merged) == "here.sqlite: 1 new answers, 2 already present, which differ by up to 5.0e-01 nat"
    with AnswerStore(here) as result:
        assert result.get(KEYS) == {KEYS[0]: -1.0, KEYS[1]: -2.0, KEYS[2]: -3.0, KEYS[5]: -1e5}
        assert result.get_readings(KEYS)[KEYS[2]] == Reading(KEYS[2], 3, True, False)
    again = merge(there, here)
    assert (again.new, again.present) == (0, 3)
    with AnswerStore(there) as other:
        assert len(other) == 3


def test_damaged_rows_are_left_out_counted_and_replaced(tmp_path: Path) -> None:
    here = kept(tmp_path / "here.sqlite", {KEYS[0]: -1.0, KEYS[1]: -2.0})
    there = kept(tmp_path / "there.sqlite", {key: -3.0 for key in KEYS[:5]})
    with closing(sqlite3.connect(here)) as database:
        database.execute("UPDATE numbers SET logprob = -9.0 WHERE key = ?", KEYS[:1])
        database.commit()
    with closing(sqlite3.connect(there)) as database:
        for key, value in ((KEYS[1], 5.0), (KEYS[2], None), (KEYS[3], b"text")):
            database.execute("UPDATE numbers SET logprob = ? WHERE key = ?", (value, key))
        database.execute("UPDATE texts SET n_tokens = 4 WHERE text = ?", KEYS[4:5])
        database.commit()
    merged = merge(there, here)
    assert (merged.new, merged.present, merged.damaged) == (2, 0, 4)
    assert str(merged) == "here.sqlite: 2 new answers, 0 already present; 4 damaged rows left out"
    with AnswerStore(here) as result:
        assert result.get(KEYS) == {KEYS[0]: -3.0, KEYS[1]: -2.0, KEYS[4]: -3.0}
        assert set(result.get_readings(KEYS)) == set(KEYS[:4])


def test_a_store_of_an_earlier_version_is_neither_read_nor_merged(tmp_path: Path) -> None:
    old = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(old)) as database:
        database.execute("CREATE TABLE answers (key BLOB PRIMARY KEY, logprob REAL) WITHOUT ROWID")
        database.execute("INSERT INTO answers VALUES (?, -1.0)", KEYS[:1])
        database.commit()
    with pytest.raises(InputError, match=r"old\.sqlite was written by an earlier version, whose rows have no checksum"):
        merge(old, tmp_path / "here.sqlite")
    with AnswerStore(old) as opened:
        assert opened.get(KEYS) == {} and len(opened) == 0


def test_a_store_in_use_is_merged_with_what_is_committed(tmp_path: Path) -> None:
    other = AnswerStore(tmp_path / "there.sqlite")
    other.put({KEYS[0]: -1.0})  # still in the write-ahead log
    assert merge(tmp_path / "there.sqlite", tmp_path / "here.sqlite").new == 1
    other.close()


@pytest.mark.parametrize("place", ["memory://lab/answers", "folder"])
def test_answers_travel_by_a_folder_or_a_url(
    call: Callable[..., int], tmp_path: Path, cache: Path, place: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    target = place if "://" in place else str(tmp_path / place)
    for machine, key in (("one", KEYS[0]), ("two", KEYS[1])):
        monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / machine))
        kept(tmp_path / machine / "answers/abc.sqlite", {key: -1.0})
        with monkeypatch.context() as patch:
            patch.setattr(platform, "node", lambda machine=machine: machine)
            assert [name.rpartition("answers/")[2][-14:] for name in export_stores(target)] == [f"{machine}/abc.sqlite"]
    assert platform.node() not in ("one", "two")
    monkeypatch.setenv("WORKBENCH_CACHE", str(cache))
    assert call("store", "merge", target) == 0
    assert capsys.readouterr().out == "abc.sqlite: 1 new answers, 0 already present\n" * 2
    with AnswerStore(cache / "answers/abc.sqlite") as result:
        assert len(result) == 2


def test_what_is_no_store_is_named_and_nothing_is_merged(tmp_path: Path, cache: Path) -> None:
    here = kept(tmp_path / "here.sqlite", {KEYS[0]: -1.0})
    (tmp_path / "bad.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(
        InputError,
        match=r"Cannot merge .*bad\.sqlite into .*: The answer store .*bad\.sqlite is damaged",
    ):
        merge(tmp_path / "bad.sqlite", here)
    with pytest.raises(InputError, match=r"There is no answer store .*none\.sqlite"):
        merge(tmp_path / "none.sqlite", here)
    with pytest.raises(InputError, match="There is no answer store in memory://nothing"):
        list(merge_stores("memory://nothing"))
    with pytest.raises(InputError, match="Cannot open nostore://x"):
        list(merge_stores("nostore://x"))
    with pytest.raises(InputError, match="There are no answers in"):
        export_stores(str(tmp_path / "out"))
    with AnswerStore(here) as result:
        assert len(result) == 1
