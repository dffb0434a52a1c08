"""Stores that are damaged, full, read-only or locked: no stored answer is lost, and the error has the right way out."""

from __future__ import annotations

import errno
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import workbench.extraction.store as store_module
from workbench.errors import DiskFull, InputError
from workbench.extraction.rows import Scan, rows_in
from workbench.extraction.salvage import check, salvage
from workbench.extraction.store import AnswerStore, Reading, merge

DRAW = random.Random(0)
KEYS = [DRAW.randbytes(20) for _ in range(600)]
VALUES = {key: -DRAW.random() * 20 if i % 3 else -float(DRAW.randrange(5000)) for i, key in enumerate(KEYS)}
READINGS = {
    key: Reading(DRAW.randbytes(20), [None, 1, 300, 70000][i % 4], i % 2 == 0, False) for i, key in enumerate(KEYS)
}
PAGE = 4096


def written(path: Path, keys: list[bytes], close: bool = True) -> Path:
    """A store with these answers; without `close` the log is left as a kill leaves it."""
    path.parent.mkdir(exist_ok=True)
    store = AnswerStore(path, "toy")
    store.put({key: VALUES[key] for key in keys})
    store.put_readings({key: READINGS[key] for key in keys})
    if not close:
        kept = {file: file.read_bytes() for file in path.parent.glob(f"{path.name}*") if not file.name.endswith("-shm")}
    store.close()
    if not close:
        for file, content in kept.items():
            file.write_bytes(content)
    return path


def logged(path: Path, least: int = 0) -> Path:
    """A store of which half is in a log that SQLite ignores, since it is damaged from this byte on."""
    written(path, KEYS[:300])
    written(path, KEYS[300:], close=False)
    log = path.with_name(f"{path.name}-wal")
    content = log.read_bytes()
    log.write_bytes(content[:least] + flipped(content[least : least + 24]) + content[least + 24 :])
    return path


def rows(path: Path) -> tuple[dict[bytes, float], dict[bytes, Reading]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with AnswerStore(path) as store:
            return store.get(KEYS), store.get_readings(KEYS)


def flipped(data: bytes, n: int = 1, least: int = 0) -> bytes:
    changed = bytearray(data)
    for _ in range(n):
        changed[DRAW.randrange(least, len(data))] ^= 1 << DRAW.randrange(8)
    return bytes(changed)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "header": (lambda data: os.urandom(100) + data[100:], 0),
    "first page": (lambda data: bytes(PAGE) + data[PAGE:], 0),
    "schema": (lambda data: data.replace(b"CREATE TABLE numbers", b"CREATE TABLE mumbers"), 0),
    "inner pages": (lambda data: data[:PAGE] + bytes(2 * PAGE) + data[3 * PAGE :], 240),
    "one page": (lambda data: data[: 5 * PAGE] + os.urandom(PAGE) + data[6 * PAGE :], 120),
    "twenty bits": (lambda data: flipped(data, 20), 20),
    "the end": (lambda data: data[: -3 * PAGE - 1000], 480),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_row_outside_the_damage_is_salvaged(tmp_path: Path, damage: str) -> None:
    path = written(tmp_path / "s.sqlite", KEYS)
    harm, most_lost = DAMAGE[damage]
    before = path.read_bytes()
    path.write_bytes(harm(before))
    assert path.read_bytes() != before
    (state,) = check(str(path))
    done = salvage(str(path))
    answers, texts = rows(path)
    assert answers.items() <= VALUES.items() and texts.items() <= READINGS.items()
    assert (state.answers, state.texts) == (done.answers, done.texts) == (len(answers), len(texts))
    lost = 2 * len(KEYS) - len(answers) - len(texts)
    assert lost <= most_lost and lost * 0.6 - 20 <= done.missing <= most_lost + 20
    assert done.aside.read_bytes() == harm(before) or damage in ("header", "one page", "twenty bits")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.sqlite", done.aside.name]
    assert check(str(path))[0].sound


@pytest.mark.parametrize("least", [0, 32], ids=["head", "frame"])
def test_answers_that_are_only_in_a_bad_log_are_salvaged(tmp_path: Path, least: int) -> None:
    path = logged(tmp_path / "s.sqlite", least)
    assert check(str(path))[0].fault == "600 rows of the write-ahead log are not read"
    salvage(str(path))
    answers, texts = rows(path)
    assert len(answers) + len(texts) >= 2 * len(KEYS) - 1


def test_sectors_the_disk_does_not_return_cost_their_rows_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "s.sqlite", KEYS)

    class Broken:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def read(self, size):
            if self.file.tell() < 6 * PAGE and self.file.tell() + size > 5 * PAGE:
                raise OSError(errno.EIO, "Input/output error")
            return self.file.read(size)

    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *mode, **more: Broken(real(self, *mode, **more)))
    scan = Scan()
    saved = {row[0] for table, some in rows_in(path, scan) for row in some if table == "numbers"}
    assert scan.unreadable == PAGE and len(KEYS) - 150 < len(saved) <= len(KEYS)


@pytest.mark.parametrize("step", ["link", "rename", "replace"])
@pytest.mark.parametrize("stop", [OSError(errno.EIO, "stop"), KeyboardInterrupt()], ids=["error", "stop"])
def test_an_interrupted_salvage_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, stop: BaseException
) -> None:
    path = logged(tmp_path / "s.sqlite")

    def fail(*_: object) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "link", fail) if step == "link" else (Path, step, fail)))
        if step != "link" or isinstance(stop, KeyboardInterrupt):
            with pytest.raises(type(stop)):
                salvage(str(path))
            assert path.exists()
    salvage(str(path))
    assert rows(path) == (VALUES, READINGS)


def test_what_cannot_be_salvaged_is_left_alone(tmp_path: Path) -> None:
    sound = written(tmp_path / "s.sqlite", KEYS[:5])
    with pytest.raises(InputError, match=r"s\.sqlite is sound \(5 answers\); there is nothing to salvage"):
        salvage(str(sound))
    (tmp_path / "text.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(InputError, match="has no answer that can be read, so nothing was changed"):
        salvage(str(tmp_path / "text.sqlite"))
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as database:
        database.execute("CREATE TABLE numbers (a, b)")
        database.commit()
    with pytest.raises(InputError, match="is not an answer store but another database"):
        salvage(str(tmp_path / "other.sqlite"))
    with pytest.raises(InputError, match="There is no answer store gone"):
        salvage("gone.sqlite")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.sqlite", "s.sqlite", "text.sqlite"]
    assert (tmp_path / "text.sqlite").read_bytes() == b"no database" * 1000


def test_a_store_in_use_is_not_salvaged(tmp_path: Path) -> None:
    path = written(tmp_path / "s.sqlite", KEYS)
    code = (
        "import sys, sqlite3; d = sqlite3.connect(sys.argv[1]); d.execute('SELECT * FROM numbers'); print(1); input()"
    )
    user = subprocess.Popen(
        [sys.executable, "-u", "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout and user.stdout.readline()
    with pytest.raises(InputError, match="is in use; end the runs that use it"):
        salvage(str(path))
    user.communicate("\n")


def test_the_commands_check_and_salvage(
    call: Callable[..., int], cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("store", "check") == 0
    (cache / "answers").mkdir(parents=True)
    written(cache / "answers/a.sqlite", KEYS[:7])
    path = written(cache / "answers/b.sqlite", KEYS)
    assert call("store", "check") == 0
    assert "a.sqlite (toy): 7 answers, 7 texts, 0.1 MB, schema 1; sound\n" in capsys.readouterr().out.replace(
        "0.0", "0.1"
    )
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE numbers SET logprob = -9.0 WHERE key = ?", KEYS[:1])
        database.commit()
    assert call("store", "check", "b.sqlite") == 1
    assert "1 damaged rows, which are computed again when they are needed" in capsys.readouterr().out
    path.write_bytes(bytes(PAGE) + path.read_bytes()[PAGE:])
    assert call("store", "check") == 1
    assert f"DAMAGED (file is not a database), about 1 rows are missing; `workbench store salvage {path}`" in (
        capsys.readouterr().out
    )
    assert call("store", "salvage", "b.sqlite") == 0
    assert "b.sqlite: 599 answers and 600 texts saved; about 1 rows could not be saved" in capsys.readouterr().out
    assert call("store", "check") == 0


@pytest.fixture
def readable(tmp_path: Path) -> Iterator[Path]:
    """A folder in which other users may read; everything is removed at the end."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        os.chmod(folder, 0o755)


@pytest.fixture
def unprivileged() -> Iterator[Callable[[], None]]:
    """Gives up root's right to write everywhere, until the end."""
    yield lambda: os.seteuid(65534) if os.geteuid() == 0 else None
    if os.getuid() == 0:
        os.seteuid(0)


@pytest.mark.parametrize("log", ["closed", "log", "log without index"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_store_that_cannot_be_written_is_read(
    readable: Path, unprivileged: Callable[[], None], log: str, what: str
) -> None:
    path = written(readable / "s.sqlite", KEYS[:300])
    if log != "closed":
        written(path, KEYS[300:], close=False)
    present = KEYS[:300] if log == "closed" else KEYS
    if log == "log":
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            database.execute("SELECT count(*) FROM numbers")
    for file in readable.iterdir():
        file.chmod(0o444)
    readable.chmod(0o555 if what == "folder" else 0o777)
    content = path.read_bytes()
    unprivileged()
    with warnings.catch_warnings(record=True) as told, AnswerStore(path) as store:
        warnings.simplefilter("always")
        assert store.get(KEYS) == {key: VALUES[key] for key in present}
        assert set(store.get_readings(KEYS)) == set(present)
        assert store.put({b"new" * 6 + b"ab": -1.0}) is False
        assert store.put({b"new" * 6 + b"cd": -1.0}) is False
    assert [("cannot be written" in str(w.message), "delete" in str(w.message)) for w in told] == [(True, False)]
    assert path.read_bytes() == content


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Mounts a disk of 4 MB, where root may."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file:
        for block in (PAGE, 1):
            try:
                while file.write(bytes(block)):
                    pass
            except OSError:
                pass


@pytest.mark.parametrize("log", [False, True])
def test_a_full_disk_costs_no_stored_answer_and_is_named_when_a_new_one_comes(small_disk: Path, log: bool) -> None:
    path = written(small_disk / "s.sqlite", KEYS[:300])
    if log:
        written(path, KEYS[300:], close=False)
    fill(small_disk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with AnswerStore(path) as store:
            assert len(store.get(KEYS)) == len(store.get_readings(KEYS)) == (600 if log else 300)
            with pytest.raises(DiskFull, match=r"No space left for files in .*its answers are kept") as told:
                store.put({DRAW.randbytes(20): -1.0 for _ in range(9000)})
    assert "delete" not in str(told.value)
    assert len(rows(path)[0]) == (600 if log else 300)


NETWORK = "network file system, set WORKBENCH_CACHE to a folder on a local disk"


def fault(name: str, text: str = "x") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (fault("SQLITE_BUSY", "database is locked"), f"is locked .*for 60 s.*{NETWORK}"),
        (fault("SQLITE_PROTOCOL", "locking protocol"), f"is locked .*{NETWORK}"),
        (fault("SQLITE_IOERR_LOCK"), f"is locked .*{NETWORK}"),
        (fault("SQLITE_IOERR_READ"), f"reports an error .*{NETWORK}"),
        (fault("SQLITE_FULL", "database or disk is full"), "No space left for files in .* its answers are kept"),
        (fault("SQLITE_READONLY_DBMOVED"), "cannot be written .*: make it and its folder writable, or copy"),
        (fault("SQLITE_CORRUPT_VTAB"), r"is damaged .*salvage '/a b/s\.sqlite'`.*if you delete the file instead, all"),
        (fault("SQLITE_NOTADB"), "is damaged .*: run `workbench store salvage"),
        (MemoryError(), r"is damaged \(MemoryError\): run `workbench store salvage"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be written .*Permission denied"),
    ],
    ids=str,
)
def test_each_fault_has_its_own_way_out(error: Exception, sentence: str) -> None:
    told = str(store_module.fault_of(Path("/a b/s.sqlite"), error))
    assert re.search(sentence, told)
    assert ("delete" in told) == ("is damaged" in told)


def test_permissions_are_not_blamed_where_they_allow_writing(tmp_path: Path) -> None:
    path = written(tmp_path / "s.sqlite", KEYS[:3])
    told = str(store_module.fault_of(path, fault("SQLITE_CANTOPEN")))
    assert "raise the limit of open files" in told and "writable" not in told


def test_a_locked_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PATIENCE", 0.1)
    path = written(tmp_path / "s.sqlite", KEYS[:3])
    with closing(sqlite3.connect(path, isolation_level=None)) as other, AnswerStore(path) as store:
        other.execute("BEGIN IMMEDIATE")
        assert len(store.get(KEYS)) == 3
        with pytest.raises(InputError, match=r"s\.sqlite is locked \(database is locked\)"):
            store.put({KEYS[5]: -1.0})


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path.mkdir(), "is a folder; move that elsewhere"),
        (os.mkfifo, "is not a regular file; move that elsewhere"),
        (lambda path: path.symlink_to("gone/s"), "is a link to nothing"),
        (
            lambda path: path.parent.rmdir() or path.parent.write_text(""),
            "answers is not a folder; move that elsewhere",
        ),
        (lambda path: path.parent.rmdir() or path.parent.symlink_to("gone"), "answers is a link to nothing"),
        (lambda path: sqlite3.connect(path).execute("PRAGMA user_version=2"), r"newer version.*\(schema 2, not 1\)"),
    ],
)
def test_what_is_at_the_place_of_a_store_is_named(
    tmp_path: Path, make: Callable[[Path], object], sentence: str
) -> None:
    path = tmp_path / "answers/s.sqlite"
    path.parent.mkdir()
    make(path)
    with pytest.raises(InputError, match=sentence):
        AnswerStore(path)


@pytest.mark.parametrize("folder", ["n" * 300, "/".join(["n" * 100] * 6)])
def test_a_path_that_is_too_long_is_named(tmp_path: Path, folder: str) -> None:
    with pytest.raises(InputError, match=r"path of the answer store is too long .*WORKBENCH_CACHE .*shorter path"):
        AnswerStore(tmp_path / folder / "s.sqlite")


def test_a_merge_reads_a_store_on_a_read_only_disk_and_names_the_file_at_fault(
    readable: Path, unprivileged: Callable[[], None]
) -> None:
    source = written(readable / "s.sqlite", KEYS[:9])
    target = readable / "t/s.sqlite"
    target.parent.mkdir()
    target.parent.chmod(0o777)
    readable.chmod(0o555)
    unprivileged()
    assert merge(source, target).new == 9
    target.write_bytes(os.urandom(9000))
    with pytest.raises(InputError, match=r"^The answer store .*t/s\.sqlite is damaged"):
        merge(source, target)


def test_an_export_names_the_disk_of_its_temporary_copy(
    small_disk: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "answers").mkdir(parents=True)
    written(cache / "answers/s.sqlite", KEYS[:300])
    fill(small_disk)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(DiskFull, match=rf"No space left for files in {small_disk} .*0\.\d MB needed"):
        store_module.export_stores(str(cache / "out"))
