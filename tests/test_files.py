"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from workbench.errors import DiskFull, InputError
from workbench.files import (
    CACHE_VARIABLE,
    NOTES,
    cache_folder,
    digests,
    full_disk,
    note_down,
    sha256_of,
    titles,
    written_whole,
)


def test_a_file_appears_whole_and_readable_by_others(tmp_path):
    target = tmp_path / "new" / "a.txt"
    before = os.umask(0o022)
    with written_whole(target) as partial:
        partial.write_text("done")
        assert not target.exists()
    os.umask(before)
    assert target.read_text() == "done"
    assert target.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), written_whole(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_cache_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_note_the_disk_has_no_room_for_leaves_no_half_of_itself(tmp_path, monkeypatch):
    note_down(tmp_path, "facts", {"n": 1})
    whole, real = (tmp_path / NOTES).read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda handle, line: real(handle, line[:10]))
    with pytest.raises(OSError, match="No space left"):
        note_down(tmp_path, "facts", {"n": 2})
    assert (tmp_path / NOTES).read_bytes() == whole


def test_models_are_named_by_their_last_part_unless_ambiguous():
    assert titles(["org/Model-1.5", "smollm2-135m-instruct"]) == ["Model-1.5", "smollm2-135m-instruct"]
    assert titles(["/data/a/final", "/data/b/final/"]) == ["a/final", "b/final"]
    assert titles(["/data/base#/runs/adapter"]) == ["base#adapter"]
    assert titles(["same", "same"]) == ["same", "same"]


def test_a_file_written_twice_within_a_tick_is_read_again(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    path, real = tmp_path / "a", os.stat
    path.write_text("one")
    frozen = real(path)
    monkeypatch.setattr(type(path), "stat", lambda *_, **__: frozen)
    (first,) = digests([path]).values()
    with open(path, "w") as file:
        file.write("two")
    (second,) = digests([path]).values()
    assert first != second == sha256_of(path)


def test_a_digest_is_looked_up_where_a_file_is_long_unchanged(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("workbench.files.SETTLED", -1.0)
    path = tmp_path / "a"
    path.write_text("one")
    (first,) = digests([path]).values()
    monkeypatch.setattr("workbench.files.sha256_of", lambda _: pytest.fail("the file was read again"))
    assert digests([path]) == {path: first}


FULL = [
    OSError(errno.ENOSPC, "x"),
    OSError(errno.EDQUOT, "x"),
    RuntimeError("I/O error: No space left on device (os error 28)"),
    RuntimeError("database or disk is full"),
]


@pytest.mark.parametrize("error", FULL, ids=str)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_is_named_with_its_folder_by_whatever_library_says_it(tmp_path, error, wrapped, monkeypatch):
    def write(error):
        if wrapped:
            raise RuntimeError("PytorchStreamWriter failed writing file") from error
        raise error

    monkeypatch.setenv("WORKBENCH_RUN_FOLDER", str(tmp_path))
    sentence = r"No space left for files in .* \([\d.,]+ MB free on the disk\)"
    with pytest.raises(DiskFull, match=sentence) as raised, written_whole(tmp_path / "tables/x.csv") as path:
        path.write_text("half")
        write(error)
    assert "name another folder with --outputs, and run again" in str(raised.value)
    assert isinstance(raised.value, OSError) and list((tmp_path / "tables").iterdir()) == []


def test_an_error_without_a_reason_is_a_full_disk_if_there_is_no_room(tmp_path, monkeypatch):
    error = RuntimeError("unexpected pos 576 vs 534")
    assert full_disk(error, tmp_path) is None and full_disk(InputError("disk is full"), tmp_path) is None
    monkeypatch.setattr("workbench.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EDQUOT, "quota")))
    assert "7.5 MB needed): nothing is lost; free some there" in str(
        full_disk(error, tmp_path / "a/b", "nothing is lost", needed=7_500_000)
    )
    assert str(full_disk(error, cache_folder() / "models")).endswith(
        "to another disk and set WORKBENCH_CACHE to the copy, and run again."
    )


def test_a_home_that_is_unknown_is_one_sentence(monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", "~no-such-user/cache")
    with pytest.raises(InputError, match=r"The cache folder is unknown \(.*\); set WORKBENCH_CACHE to a folder"):
        cache_folder()
