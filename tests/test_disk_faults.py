"""After any fault of the disk nothing finished is lost, nothing half is visible, and a restart gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import faults_of_disk as disk
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from test_packages import FILES, archive_bytes, make_package
from toys import write_study

from workbench import packages
from workbench.extraction import store
from workbench.files import NOTES, digests, note_down, written_whole
from workbench.models import fetched, fingerprint
from workbench.runs import Run, execute, load_run, plan
from workbench.runs import execution as execution_module
from workbench.runs import folder as folder_module
from workbench.runs.checkout import Changes
from workbench.training import folders

EVERY = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 4])
"""With 1 each kind of fault meets each call, with 4 one kind."""
Action = Callable[[Path], object]


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", "cache")  # of the folder an action runs in
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)


def restarted(action: Action, folder: Path, whole: dict[str, bytes], fault: str) -> None:
    """Check that the same action, run again, leaves what a run without faults leaves, and no more."""
    again = disk.run(action, folder)
    assert again.text == "ok", (fault, again)
    assert disk.content(folder) == whole, fault


def whole_of(prepare: Action, action: Action, top: Path) -> dict[str, bytes]:
    """What an action without faults leaves."""
    top.mkdir()
    prepare(top)
    assert disk.run(action, top).text == "ok"
    return disk.content(top)


@EVERY
def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path, every: int) -> None:
    def write(folder: Path) -> None:
        with written_whole(folder / "a.txt") as partial:
            partial.write_text("new" * 10_000)

    def old(folder: Path) -> None:
        (folder / "a.txt").write_text("old")

    whole = whole_of(old, write, tmp_path / "whole")
    for folder, fault, outcome in disk.exhaust(old, write, tmp_path, every):
        assert (folder / "a.txt").read_text() in ("old", "new" * 10_000), fault
        assert outcome.sentence or "OSError" in outcome.text or "PermissionError" in outcome.text, outcome
        assert outcome.text == "killed" or len(list(folder.iterdir())) == 1, (fault, outcome)
        restarted(write, folder, whole, fault)


@EVERY
def test_notes_before_a_fault_stay_whole(tmp_path: Path, every: int) -> None:
    def note(folder: Path) -> None:
        note_down(folder, "facts", {"text": "x" * 100}, gpu=None)

    for folder, fault, outcome in disk.exhaust(note, note, tmp_path, every):
        lines = (folder / NOTES).read_bytes().splitlines(keepends=True)
        assert json.loads(lines[0])["content"] == {"text": "x" * 100}
        assert outcome.text == "killed" or all(line.endswith(b"\n") for line in lines), (fault, outcome)


@EVERY
def test_digests_are_true_whatever_happens_to_their_cache(tmp_path: Path, every: int) -> None:
    def files(folder: Path) -> None:
        for name in "ab":
            (folder / name).write_text(name)
            os.utime(folder / name, (1, 1))

    def read(folder: Path) -> None:
        now = time.time
        time.time = lambda: now() + 60  # type: ignore[assignment]
        found = [digest[:8] for digest in digests([folder / "a", folder / "b"]).values()]
        assert found == ["ca978112", "3e23e816"]

    for folder, fault, outcome in disk.exhaust(files, read, tmp_path, every):
        assert "Assertion" not in outcome.text, (fault, outcome)
        assert disk.run(read, folder).text == "ok", fault
        assert len(json.loads((folder / "cache/digests.json").read_text())) == 2


@EVERY
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_fetch_is_whole_or_absent(tmp_path: Path, every: int, kind: str) -> None:
    archive = archive_bytes(kind, FILES)
    package = make_package(kind, archive)

    def bring(folder: Path) -> None:
        (folder / "in").mkdir()
        (folder / "in" / package.filename).write_bytes(archive)
        if kind == "wheel":  # over a damaged one
            (folder / "cache/packages/Pa_ck-1.0").mkdir(parents=True)
            (folder / "cache/packages/Pa_ck-1.0/SOURCE.json").write_text("{}")

    def fetch(folder: Path) -> None:
        packages.fetch(package, folder / "in")

    whole = without_caches(whole_of(bring, fetch, tmp_path / "whole"))
    for folder, fault, outcome in disk.exhaust(bring, fetch, tmp_path, every):
        assert outcome.sentence, (fault, outcome)
        assert disk.run(fetch, folder).text == "ok", fault
        assert without_caches(disk.content(folder)) == whole, fault


def without_caches(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: body for name, body in files.items() if not name.endswith((".lock", "digests.json"))}


@EVERY
def test_a_converted_model_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    def convert(parts: list[Path], target: Path, dtype: str) -> None:
        target.mkdir(parents=True)
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(parts[0].read_bytes() * 2)

    monkeypatch.setattr(fetched, "_convert", convert)

    def source(folder: Path) -> None:
        (folder / "a.gguf").write_bytes(b"x" * 1000)
        (folder / "cache/models/a").mkdir(parents=True)
        (folder / "cache/models/a/model.safetensors").write_bytes(b"damaged")

    def converted(folder: Path) -> None:
        part = folder / "a.gguf"
        fetched._converted_once(folder / "cache/models/a", [part], [digests([part])[part]])

    whole = without_caches(whole_of(source, converted, tmp_path / "whole"))
    for folder, fault, outcome in disk.exhaust(source, converted, tmp_path, every):
        assert outcome.sentence or "digests" in outcome.text, (fault, outcome)
        target = folder / "cache/models/a"
        if fingerprint.sealed(target):
            assert (target / "model.safetensors").read_bytes() == b"x" * 2000
        assert disk.run(converted, folder).text == "ok", fault
        assert without_caches(disk.content(folder)) == whole, fault


@EVERY
def test_complete_checkpoints_stay(tmp_path: Path, every: int) -> None:
    def series(folder: Path) -> None:
        for step, mark in ((1, "{}"), (2, "")):
            (folder / f"checkpoint-{step}").mkdir()
            for name in ("model.safetensors", "optimizer.pt", "config.json"):
                (folder / f"checkpoint-{step}" / name).write_text("x" * 100)
            (folder / f"checkpoint-{step}" / folders.TRAINED_FROM).write_text(mark)
        folders.write_record(folder, {"key": "old"})

    def restart(folder: Path) -> None:
        with folders.full_disk_reported(folder):
            folders.remove_incomplete(folder)
            folders.write_record(folder, {"key": "new"})

    whole = whole_of(series, restart, tmp_path / "whole")
    for folder, fault, outcome in disk.exhaust(series, restart, tmp_path, every):
        assert folders.complete_steps(folder) == [1], (fault, outcome)
        assert json.loads((folder / folders.RECORD).read_text())["key"] in ("old", "new")
        restarted(restart, folder, whole, fault)


CONNECT = sqlite3.connect
OLD = {bytes([n]) * 20: -float(n) for n in range(1, 40)}
NEW = {bytes([n]) * 20: -float(n) for n in range(100, 140)}


def answers(path: Path) -> dict[bytes, float]:
    with store.AnswerStore(path) as opened:
        return opened.get([*OLD, *NEW])


def counted(*arguments: object, **more: object) -> sqlite3.Connection:
    """A connection each of whose steps, 300 at a time, is a call that can fail."""
    database: sqlite3.Connection = CONNECT(*arguments, **more)  # type: ignore[arg-type]

    def stepped() -> int:
        disk.step("sqlite")
        return 0

    database.set_progress_handler(stepped, 300)
    return database


def filled(folder: Path) -> None:
    for name, values in (("a", OLD), ("other/b", NEW | dict([*OLD.items()][:9]))):
        with store.AnswerStore(folder / f"cache/answers/{name}.sqlite") as opened:
            opened.put(values)


def put(folder: Path) -> None:
    with store.AnswerStore(folder / "cache/answers/a.sqlite") as opened:
        opened.put(NEW)


def merged(folder: Path) -> None:
    store.merge(folder / "cache/answers/other/b.sqlite", folder / "cache/answers/a.sqlite")


@EVERY
@pytest.mark.parametrize("action", [put, merged])
def test_stored_answers_stay_and_new_ones_come_all_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, action: Action
) -> None:
    monkeypatch.setattr(sqlite3, "connect", counted)
    for folder, fault, outcome in disk.exhaust(filled, action, tmp_path, every):
        assert outcome.sentence, (fault, outcome)
        kept = answers(folder / "cache/answers/a.sqlite")
        assert kept in (OLD, OLD | NEW), (fault, outcome)
        assert disk.run(action, folder).text == "ok", fault
        assert answers(folder / "cache/answers/a.sqlite") == OLD | NEW, fault


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 101])
@pytest.mark.parametrize("action", [put, merged, lambda folder: store.export_stores("out")])
def test_no_answer_is_lost_by_a_fault_of_one_of_the_system_calls_of_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, action: Action
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.05)

    def faulty(folder: Path) -> None:
        disk.count_sqlite()
        action(folder)

    for folder, fault, outcome in disk.exhaust(filled, faulty, tmp_path, every):
        assert outcome.sentence, (fault, outcome)
        assert answers(folder / "cache/answers/a.sqlite") in (OLD, OLD | NEW), (fault, outcome)
        assert disk.run(action, folder).text == "ok", fault
        assert all(answers(path) == OLD for path in (folder / "out").rglob("*.sqlite")), fault


@pytest.mark.parametrize("action", [put, merged])
def test_a_store_that_cannot_grow_keeps_its_answers(tmp_path: Path, action: Action) -> None:
    filled(tmp_path)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.sqlite")]
    ended = set()
    for largest in range(1024, 3 * max(sizes), 4096):
        outcome = disk.run(action, tmp_path, largest=largest)
        assert outcome.sentence, outcome
        ended.add(outcome.text == "ok")
        assert answers(tmp_path / "cache/answers/a.sqlite") in (OLD, OLD | NEW)
    assert True in ended
    assert answers(tmp_path / "cache/answers/a.sqlite") == OLD | NEW


@EVERY
def test_an_export_is_whole_or_absent(tmp_path: Path, every: int) -> None:
    for folder, fault, outcome in disk.exhaust(filled, lambda folder: store.export_stores("out"), tmp_path, every):
        assert outcome.sentence, (fault, outcome)
        for path in (folder / "out").rglob("*.sqlite"):
            assert answers(path) == OLD, fault
        assert disk.run(lambda folder: store.export_stores("out"), folder).text == "ok", fault
        files = [path.name for path in (folder / "out").rglob("*") if path.is_file()]
        assert [name for name in files if not name.endswith(("-wal", "-shm"))] == ["a.sqlite"], (fault, files)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 24])
def test_a_run_is_published_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    def notebook(planned, staging, *_):  # type: ignore[no-untyped-def]
        shutil.copy(planned.path, staging / "notebook.ipynb")
        run = folder_module.CurrentRun(staging)
        folder_module.keep_table(staging, "t", pd.DataFrame({"a": [1.0, 2.0]}), "A table")
        folder_module.keep_figure(staging, "f", plt.figure(), "A figure")
        folder_module.keep_headline(staging, "A number", {"mean": 0.5, "n": 3})
        run.note(seed=1)

    def report(folder: Path) -> None:
        with written_whole(folder / "report.html") as partial:
            partial.write_text("report" * 1000)

    source = execution_module.source_of(Path(__file__))
    monkeypatch.setattr(execution_module, "source_of", lambda path: source)  # saves processes of git
    monkeypatch.setattr(execution_module, "changes_of", lambda path: Changes())
    monkeypatch.setattr(execution_module, "_papermill", notebook)
    monkeypatch.setattr("workbench.reports.html.write_report", report)
    monkeypatch.setattr(folder_module, "draw", lambda figure, alt: folder_module.ShownFigure("<svg/>", b"png", alt))
    made = tmp_path / "made"
    made.mkdir()
    write_study(made, {"fine": ["# A title"]})

    def started(folder: Path) -> None:
        shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)

    def execute_one(folder: Path) -> None:
        run = execute(plan("toy", given={"n": 4})[0])
        assert run.status == "ok", f"recorded: {run.failure}"

    monkeypatch.chdir(made)
    assert execute(plan("toy")[0]).status == "ok"  # here, so that each process has all modules
    whole = named(whole_of(started, execute_one, tmp_path / "whole"))
    for folder, fault, outcome in disk.exhaust(started, execute_one, tmp_path, every):
        assert outcome.sentence or "AssertionError: recorded: " in outcome.text, (fault, outcome)
        assert outcome.text != "ok" or "report.html" in str([*folder.rglob("*")]) or "ENOSPC" in fault
        runs = [load_run(path.parent) for path in folder.glob("outputs/toy/fine/2*/run.json")]
        assert [run.status for run in runs].count("ok") in (1, 2), fault
        for run in runs:
            assert all(hashes(run.folder)[name] == digest for name, digest in run.files.items()), fault
            assert run.status != "ok" or {"tables/t.parquet", "tables/t.csv", "figures/f.svg"} <= set(run.files), fault
        again = disk.run(execute_one, folder)
        assert again.text == "ok", (fault, again)
        left = [path.name for path in folder.glob("outputs/toy/fine/.*")]
        assert left == [], (fault, left)
        succeeded = [run for run in runs_of(folder) if run.status == "ok"]
        tables = {name: body for name, body in disk.content(succeeded[-1].folder).items() if name.startswith("tables")}
        assert len(succeeded) == 2, fault
        assert tables == {name: body for name, body in whole.items() if name.startswith("tables")}


def runs_of(folder: Path) -> list[Run]:
    return [load_run(path.parent) for path in sorted(folder.glob("outputs/toy/fine/2*/run.json"))]


def hashes(folder: Path | None) -> dict[str, str]:
    assert folder is not None
    return {name: hashlib.sha256(body).hexdigest() for name, body in disk.content(folder).items()}


def named(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the newest run, by their names in its folder."""
    newest = max(name.split("/")[3] for name in files if name.startswith("outputs/toy/fine/2"))
    return {name.split(newest + "/")[1]: body for name, body in files.items() if f"/{newest}/" in name}
