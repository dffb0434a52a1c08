"""However a run ends, it is recorded with its status and reason, and what it kept is whole."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records import write_runs

from workbench import cli
from workbench.errors import InputError
from workbench.files import owned, sweep_remains
from workbench.reports import write_gallery
from workbench.runs import Run, listing, load_run
from workbench.runs import execution as execution_module
from workbench.runs.checkout import Changes
from workbench.runs.folder import CurrentRun, read_notes
from workbench.runs.record import digest_of
from workbench.runs.staging import make_staging, read_progress, sweep

Execute = Callable[..., Run]
FOLDER = Path("outputs/toy/fine")
FRAME = pd.DataFrame({"x": [1, 2]})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, quick: Execute) -> Callable[..., Run]:
    """Runs with `meddle(staging)` in place of the cells, which has kept a table before."""

    def execute(meddle: Callable[[Path], object], **more: Any) -> Run:
        def cells(planned: Any, staging: Path, *_: object) -> None:
            shutil.copy(planned.path, staging / "notebook.ipynb")
            CurrentRun(staging).table("kept", FRAME)
            meddle(staging)

        monkeypatch.setattr(execution_module, "_papermill", cells)
        return quick(**more)

    return execute


def lease(staging: Path) -> Path:
    return next(staging.parent.glob(".lease-*"))


def append(staging: Path, line: bytes) -> None:
    with (staging / ".notes.jsonl").open("ab") as notes:
        notes.write(line + b"\n")


def edited(staging: Path, edit: Callable[[list[str]], list[str]]) -> None:
    notes = staging / ".notes.jsonl"
    notes.write_text("".join(edit(notes.read_text().splitlines(keepends=True))))


AFTER = ("changes.patch", "run.json", "report.html", "index.html", ".progress.json")
MEDDLING: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder removed": (shutil.rmtree, "does not exist"),
    "folder renamed": (lambda f: f.rename(f.with_name(".away")), "does not exist"),
    "folder made anew": (lambda f: (shutil.rmtree(f), CurrentRun(f).table("next", FRAME)), "does not begin with this"),
    "file in its place": (lambda f: (shutil.rmtree(f), f.write_text("x")), "does not exist"),
    "link in its place": (lambda f: (f.rename(f.with_name(".a")), f.symlink_to(".a")), "were removed or changed"),
    "notes removed": (lambda f: (f / ".notes.jsonl").unlink(), "does not exist"),
    "notes emptied": (lambda f: (f / ".notes.jsonl").write_text(""), "does not begin with this run"),
    "notes a pipe": (lambda f: ((f / ".notes.jsonl").unlink(), os.mkfifo(f / ".notes.jsonl")), "is a pipe"),
    "line not JSON": (lambda f: append(f, b'{"kind": "ta'), "line 3"),
    "line not UTF-8": (lambda f: append(f, b'{"kind": "\xff"}'), "line 3"),
    "line of another kind": (lambda f: append(f, b'{"kind":"x","content":{},"by":1,"number":1}'), "an unknown kind"),
    "line without fields": (lambda f: append(f, b'{"kind": "table", "content": {"name": "a"}}'), "line 3"),
    "line nested deeply": (lambda f: append(f, b"[" * 9999 + b"]" * 9999), "nested more than"),
    "line cut": (lambda f: (CurrentRun(f).note(a=1), edited(f, lambda x: [x[0], x[-1]])), "are missing, or there"),
    "last line cut": (lambda f: edited(f, lambda lines: lines[:-1]), "tables/kept.csv is there, and no line names it"),
    "line twice": (lambda f: edited(f, lambda lines: [*lines, lines[-1]]), "lines are missing, or there twice"),
    "line forged": (lambda f: append(f, b'{"kind": "facts", "content": {}}'), "line 3"),
    "lease removed": (lambda f: lease(f).unlink(), "was removed"),
    "lease a folder": (lambda f: (p := lease(f), p.unlink(), p.mkdir()), "was removed"),
    "lease of another": (lambda f: lease(f).write_text("token=a\npid=1\nhostname=b\n"), "or replaced"),
    "lease a pipe": (lambda f: (p := lease(f), p.unlink(), os.mkfifo(p)), "was removed"),
    "table removed": (lambda f: (f / "tables/kept.parquet").unlink(), "tables/kept.parquet"),
    "table changed": (lambda f: (f / "tables/kept.csv").write_text("x"), "tables/kept.csv"),
    "tables a file": (lambda f: (shutil.rmtree(f / "tables"), (f / "tables").touch()), "tables/kept"),
    "record a folder": (lambda f: (f / "run.json/x").mkdir(parents=True), ""),
    "report a folder": (lambda f: (f / "report.html/x").mkdir(parents=True), ""),
    "links in a circle": (lambda f: ((f / "a").symlink_to("b"), (f / "b").symlink_to("a")), ""),
    "a link to itself": (lambda f: (f / "c").symlink_to("."), ""),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), ""),
    "pipes for what is written after the cells": (lambda f: [os.mkfifo(f / name) for name in AFTER], ""),
    "a name that is not UTF-8": (lambda f: open(os.fsencode(f) + b"/\xff", "w").close(), ""),
    "a folder of the run's name": (lambda f: (f.with_name(f.name[len(".staging-") :]) / "x").mkdir(parents=True), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MEDDLING)
def test_whatever_a_cell_does_to_its_folder_the_run_is_recorded_and_the_next_one_starts(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(execution_module, "changes_of", lambda folder: Changes("a patch"))
    meddle, said = MEDDLING[name]
    ended = run(meddle)
    assert ended.folder is not None and load_run(ended.folder) == ended and (ended.folder / "report.html").is_file()
    assert (ended.status, said in (ended.failure.message if ended.failure else "")) == (
        "failed" if said else "ok",
        True,
    )
    again = run(lambda folder: None)
    assert (again.status, again.reused) == ("ok", not said)
    assert not list(FOLDER.glob(".lease-*")) and not list(FOLDER.glob(".staging-*"))


ERRORS = [
    OSError(5, "Input/output error", "somewhere"),
    RuntimeError("of a library"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    RecursionError("too deep"),
    MemoryError(),
    KeyError("missing"),
    asyncio.CancelledError(),
    InputError("A sentence \x1b[31mwith \ud800 colours."),
]


@pytest.mark.parametrize(
    ("place", "error"),
    [("_papermill", e) for e in ERRORS]
    + [(p, e) for p in ("source_of", "cells_in", "write_report") for e in ERRORS[1:4:2]],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_error_of_any_type_in_any_place_ends_in_a_record(
    run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, error: BaseException, place: str
) -> None:
    def broken(*_: object) -> None:
        raise error

    if place == "_papermill":
        ended = run(broken)
    else:
        monkeypatch.setattr(
            f"workbench.{'reports.html' if place == 'write_report' else 'runs.execution'}.{place}", broken
        )
        if place != "source_of" and isinstance(error, asyncio.CancelledError):
            pytest.skip("only what runs an event loop raises it")
        ended = run(lambda folder: None)
    assert ended.folder is not None and load_run(ended.folder) == ended
    assert ended.status == ("ok" if place == "write_report" else "failed")
    told = ended.exit_reason if place == "write_report" else str(ended.failure)
    assert type(error).__name__ in told or str(error)[:9] in told
    assert "\x1b" not in told and not list(FOLDER.glob(".*"))


@pytest.fixture
def handled() -> Iterator[None]:
    """Signals raise KeyboardInterrupt, as in the command line; a shell ignores SIGINT for its background processes."""
    stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in stops}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


PLACES = ["make_staging", "source_of", "_papermill", "read_notes", "record", "files_in", "_write_record", "moved"]


@pytest.mark.parametrize(
    ("place", "number"),
    [
        *((place, signal.SIGHUP) for place in (*PLACES, "write_report")),
        ("source_of", signal.SIGTERM),
        ("record", signal.SIGINT),
    ],
)
def test_signals_at_any_moment_lose_no_run(
    quick: Execute, handled: None, monkeypatch: pytest.MonkeyPatch, place: str, number: int
) -> None:
    """The signal comes there, and twice more while what follows is cleaned up and recorded."""
    module = "workbench.reports.html" if place == "write_report" else "workbench.runs.execution"
    for name in dict.fromkeys([place, "read_notes", "files_in"]):
        where = importlib.import_module(module if name == place else "workbench.runs.execution")

        def signalled(real: Any, *arguments: Any, **more: Any) -> Any:
            signal.raise_signal(number)
            return real(*arguments, **more)

        monkeypatch.setattr(where, name, partial(signalled, getattr(where, name)))
    early = PLACES.index(place) < 3 if place in PLACES else False
    if early:
        status = quick().status
    else:
        with pytest.raises(KeyboardInterrupt):
            quick()
        status = load_run(next(FOLDER.glob("2*"))).status
    assert status == ("cancelled" if early else "ok")
    assert len(list(FOLDER.glob("2*/run.json"))) == 1 and not list(FOLDER.glob(".*"))
    assert signal.getsignal(number) == signal.default_int_handler


CYCLE: list[object] = []
CYCLE.append(CYCLE)
FACTS = [
    b"bytes",
    10**5000,
    CYCLE,
    "\ud800",
    {"\udcff": 1},
    {1: "a", "1": "b"},
    object(),
    {"x": [{"y": object()}]},
    "x" * 10**7,
]
HEADLINES = [{"mean": 0.5, "n": 10.5}, {"mean": "many"}, {"mean": 0.5, "low": []}, {"mean": 0.5, "n": "ten"}]


@pytest.mark.parametrize(
    "state",
    [
        *(lambda run, fact=fact: run.note(fact=fact) for fact in FACTS),
        *(lambda run, row=row: run.headline("H", row) for row in HEADLINES),
        *(lambda run, text=text: run.headline(text, {"mean": 1.0}) for text in (5, "\ud800")),
        *(lambda run, text=text: run.table("t", FRAME, text) for text in (5, "\ud800", None)),
        lambda run: run.table("t", pd.DataFrame({"x": [1, "a", object()]})),
        lambda run: run.table("t", pd.DataFrame([[1, 2]], columns=["a", "a"])),
        lambda run: run.no_items("\udfff"),
    ],
)
def test_what_a_record_cannot_contain_fails_the_cell_that_states_it(
    tmp_path: Path, state: Callable[[CurrentRun], None]
) -> None:
    folder = make_staging(tmp_path, "20260101T000000.000Z-k")
    CurrentRun(folder).note(before=True)
    with pytest.raises(InputError, match=r"^Cannot keep") as caught:
        state(CurrentRun(folder))
    assert "\n" not in str(caught.value) and str(caught.value).encode()
    notes = read_notes(folder, "20260101T000000.000Z-k")
    assert notes == {"facts": {"before": True}, "gpu": notes["gpu"], "tables": [], "figures": [], "headline": None,
                     "findings": [], "refers_to": [], "files": {}, "damage": ""}  # fmt: skip
    assert list(folder.rglob("*.part")) == [] and not (folder / "tables/t.parquet").exists()


def sealed(content: dict[str, Any], **changes: Any) -> bytes:
    """A record with other fields and the digest that fits them."""
    content = {name: value for name, value in (content | changes).items() if name != "digest"}
    return json.dumps(content | {"digest": digest_of(content)}).encode()


DAMAGED: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "no digest": lambda c: json.dumps({k: v for k, v in c.items() if k != "digest"}).encode(),
    "status a mapping": lambda c: sealed(c, status={}),
    "study a number": lambda c: sealed(c, study=5),
    "date beyond": lambda c: sealed(c, started="99999-01-01T00:00:00Z"),
    "headline text": lambda c: sealed(c, headline={"text": "x", "value": "many"}),
    "figure elsewhere": lambda c: sealed(c, figures=[{"name": "../../x", "alt": "a"}]),
    "not finite": lambda c: sealed(c).replace(b'"seconds": 1.0', b'"seconds": Infinity'),
    "deep": lambda c: b'{"schema_version": 1, "facts": ' + b"[" * 99_999 + b"]" * 99_999 + b"}",
    "deep facts": lambda c: json.dumps(c | {"facts": json.loads("[" * 150 + "]" * 150)}).encode(),
    "name twice": lambda c: b'{"status": "ok",' + sealed(c)[1:],
    "half a character": lambda c: json.dumps(c | {"profile": "\ud800"}).encode(),
    "not UTF-8": lambda c: b"\xff" + sealed(c),
    "a list": lambda c: b"[]",
    "a number too long": lambda c: b'{"schema_version": ' + b"9" * 9999 + b"}",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_record_is_listed_with_its_path_and_takes_nothing_down(
    tmp_path: Path, name: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (run, other) = write_runs(tmp_path / "outputs", 2, figures=False)
    path = tmp_path / "outputs" / run.study / run.notebook / run.run_id / "run.json"
    path.write_bytes(DAMAGED[name](json.loads(path.read_text())))
    with pytest.raises(InputError, match=r"run\.json (is damaged|was edited)") as caught:
        load_run(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert write_gallery(tmp_path / "outputs").read_text("utf-8").count('data-status="unreadable"') == 1
    assert call("status", "--outputs", "outputs") == call("clean", "--outputs", "outputs") == 0
    out = capsys.readouterr().out
    assert "unreadable" in out and f"{run.run_id}/run.json" in out and other.run_id in out
    assert call("report", str(path.parent)) == 2
    assert capsys.readouterr().err.startswith("workbench: ")


def test_temporary_files_of_killed_processes_are_swept_and_those_of_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "outputs/toy/fine"
    folder.mkdir(parents=True)
    mine, dead = owned(".x."), owned(".x.").replace(f"-{os.getpid()}-", f"-{2**22 - 3}-")
    for place in (folder, tmp_path / "outputs"):
        for name in (mine, dead, ".x.@00000000-1-"):
            (place / f"{name}a.part").mkdir()
    (folder / ".removed-20260101T000000.000Z-k").mkdir()
    sweep(folder)
    left = [f"{mine}a.part", ".x.@00000000-1-a.part"]
    assert (
        sorted(p.name for p in folder.iterdir())
        == sorted(p.name for p in (tmp_path / "outputs").glob(".*"))
        == sorted(left)
    )
    assert sweep_remains(tmp_path / "none") == []


@pytest.mark.parametrize("content", [b"[]", b'{"done": "x"}', b"\xff", b"[" * 9999])
def test_damaged_progress_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".progress.json").write_bytes(content)
    assert read_progress(tmp_path) == (0, 0)


def test_a_disk_without_room_for_the_ballast_keeps_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        path.open("wb").write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError):
        make_staging(tmp_path, "a-k")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_be_recorded_does_not_end_the_matrix(
    toy_folder: Path,
    quick: Execute,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (toy_folder / "studies/toy.yaml").write_text("notebooks: [fine]\nprofiles: {default: {}}\nmatrix: {n: [1, 2, 3]}\n")
    real = execution_module.publish

    def publish(run: Run, *more: Any) -> Run:
        if run.values["n"] == 2:
            raise KeyError("of a library")
        return real(run, *more)

    monkeypatch.setattr(execution_module, "publish", publish)
    assert call("run", "toy") == cli.EXIT_CODES["failed"]
    out = capsys.readouterr().out
    assert [f"[n={n}]: {status}" in out for n, status in ((1, "ok"), (2, "failed"), (3, "ok"))] == [True] * 3
    assert out.count("    not recorded\n") == 1 and len(listing.run_folders(toy_folder / "outputs")) == 2
