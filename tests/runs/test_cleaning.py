from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.runs import Run
from workbench.runs import execution as execution_module
from workbench.runs.listing import removable, remove

Execute = Callable[..., Run]
OUTPUTS = Path("outputs")


def names() -> set[str]:
    return {removal.path.name for removal in removable(OUTPUTS)}


def test_only_what_a_newer_run_replaces_goes(quick: Execute) -> None:
    first, second, other = quick(), quick(again=True), quick({"n": 9})
    assert names() == {first.run_id}
    remove(removable(OUTPUTS))
    left = {path.name for path in (OUTPUTS / "toy/fine").iterdir()}
    assert left == {second.run_id, other.run_id, "latest"}
    assert removable(OUTPUTS) == []


def test_the_good_run_stays_when_a_later_one_fails(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    good = quick()
    monkeypatch.setattr(execution_module, "_attempt", lambda *_: ("failed", None))
    first_failure = quick(again=True)
    assert names() == {first_failure.run_id} and good.run_id not in names()


def test_the_newest_failure_stays_where_nothing_went_well(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_module, "_attempt", lambda *_: ("failed", None))
    first, _ = quick(), quick()
    assert names() == {first.run_id}


def test_a_run_that_another_refers_to_stays(quick: Execute) -> None:
    first, second = quick(), quick(again=True)
    assert second.folder is not None
    record = second.folder / "run.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"refers_to": [f"toy/fine/{first.run_id}"]}))
    assert names() == set()


def test_unreadable_folders_stay_and_dead_processes_remains_go(quick: Execute) -> None:
    quick()
    for name in ("20000101T000000.000Z-aaaa", ".staging-20000101T000000.000Z-bbbb"):
        (OUTPUTS / "toy/fine" / name).mkdir()
    (OUTPUTS / "toy/fine/20000101T000000.000Z-aaaa/run.json").write_text("{")
    assert names() == {".staging-20000101T000000.000Z-bbbb"}
