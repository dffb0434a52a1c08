"""Answers of several machines become one store, and no number that is there is changed."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from workbench.errors import InputError
from workbench.extraction import merging
from workbench.extraction.merging import export_stores, merge, merge_stores
from workbench.extraction.store import AnswerStore, Reading

KEYS = [bytes([i]) * 20 for i in range(6)]


def store(path: Path, values: dict[bytes, float]) -> Path:
    with AnswerStore(path) as made:
        made.put(values)
        made.put_readings({key: Reading(key, 3, True, False) for key in values})
    return path


def test_a_merge_is_a_union_that_keeps_what_is_there(tmp_path: Path) -> None:
    here = store(tmp_path / "here.sqlite", {KEYS[0]: -1.0, KEYS[1]: -2.0, KEYS[5]: -1e5})
    there = store(tmp_path / "there.sqlite", {KEYS[1]: -2.5, KEYS[2]: -3.0, KEYS[5]: -1e5})
    merged = merge(there, here)
    assert (merged.new, merged.present, merged.largest_difference) == (1, 2, 0.5)
    assert str(merged) == "here.sqlite: 1 new answers, 2 there before, which differ by up to 5.0e-01 nat"
    with AnswerStore(here) as found:
        assert found.get(KEYS) == {KEYS[0]: -1.0, KEYS[1]: -2.0, KEYS[2]: -3.0, KEYS[5]: -1e5}
        assert found.get_readings(KEYS)[KEYS[2]] == Reading(KEYS[2], 3, True, False)
    again = merge(there, here)
    assert (again.new, again.present) == (0, 3)
    with AnswerStore(there) as other:
        assert len(other) == 3


def test_damaged_rows_are_left_out_counted_and_replaced(tmp_path: Path) -> None:
    here = store(tmp_path / "here.sqlite", {KEYS[0]: -1.0, KEYS[1]: -2.0})
    there = store(tmp_path / "there.sqlite", {key: -3.0 for key in KEYS[:5]})
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
    assert str(merged) == "here.sqlite: 2 new answers, 0 there before; 4 damaged rows left out"
    with AnswerStore(here) as found:
        assert found.get(KEYS) == {KEYS[0]: -3.0, KEYS[1]: -2.0, KEYS[4]: -3.0}
        assert set(found.get_readings(KEYS)) == set(KEYS[:4])


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
        store(tmp_path / machine / "answers/abc.sqlite", {key: -1.0})
        with monkeypatch.context() as patch:
            patch.setattr(merging.platform, "node", lambda machine=machine: machine)
            assert [name.rpartition("answers/")[2][-14:] for name in export_stores(target)] == [f"{machine}/abc.sqlite"]
    assert platform.node() not in ("one", "two")
    monkeypatch.setenv("WORKBENCH_CACHE", str(cache))
    assert call("store", "merge", target) == 0
    assert capsys.readouterr().out == "abc.sqlite: 1 new answers, 0 there before\n" * 2
    with AnswerStore(cache / "answers/abc.sqlite") as found:
        assert len(found) == 2


def test_what_is_no_store_is_named_and_nothing_is_merged(tmp_path: Path, cache: Path) -> None:
    here = store(tmp_path / "here.sqlite", {KEYS[0]: -1.0})
    (tmp_path / "bad.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=r"Cannot merge .*bad\.sqlite into .*nothing of it was merged"):
        merge(tmp_path / "bad.sqlite", here)
    with pytest.raises(InputError, match=r"There is no answer store .*none\.sqlite"):
        merge(tmp_path / "none.sqlite", here)
    with pytest.raises(InputError, match="There is no answer store in memory://nothing"):
        list(merge_stores("memory://nothing"))
    with pytest.raises(InputError, match="Cannot open nostore://x"):
        list(merge_stores("nostore://x"))
    with pytest.raises(InputError, match="There are no answers in"):
        export_stores(str(tmp_path / "out"))
    with AnswerStore(here) as found:
        assert len(found) == 1
