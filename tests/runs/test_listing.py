"""Finished, running and removable runs in an outputs folder, and the forecast for planned ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from toys import lease_elsewhere

from workbench.runs import Run, listing, plan
from workbench.runs import execution as execution_module
from workbench.runs.listing import forecast, removable, remove
from workbench.runs.record import Counts

Execute = Callable[..., Run]
OUTPUTS = Path("outputs")


def removed_names() -> set[str]:
    return {removal.path.name for removal in removable(OUTPUTS)}


def test_only_what_a_newer_run_replaces_goes(quick: Execute) -> None:
    first, second, other = quick(), quick(again=True), quick({"n": 9})
    assert removed_names() == {first.run_id}
    remove(removable(OUTPUTS))
    left = {path.name for path in (OUTPUTS / "toy/fine").iterdir()}
    assert left == {second.run_id, other.run_id, "latest"}
    assert removable(OUTPUTS) == []


def test_the_good_run_stays_when_a_later_one_fails(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    good = quick()
    monkeypatch.setattr(execution_module, "_execute", lambda attempt, *_: attempt.end("failed", "E", "e"))
    first_failure = quick(again=True)
    assert removed_names() == {first_failure.run_id} and good.run_id not in removed_names()


def test_the_newest_failure_stays_where_nothing_went_well(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_module, "_execute", lambda attempt, *_: attempt.end("failed", "E", "e"))
    first, _ = quick(), quick()
    assert removed_names() == {first.run_id}


def test_a_run_that_another_refers_to_stays(quick: Execute) -> None:
    first, second = quick(), quick(again=True)
    assert second.folder is not None
    record = second.folder / "run.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"refers_to": [f"toy/fine/{first.run_id}"]}))
    assert removed_names() == set()


def test_unreadable_folders_stay_and_dead_processes_remains_go(quick: Execute) -> None:
    quick()
    for name in ("20000101T000000.000Z-aaaa", ".staging-20000101T000000.000Z-bbbb"):
        (OUTPUTS / "toy/fine" / name).mkdir()
    (OUTPUTS / "toy/fine/20000101T000000.000Z-aaaa/run.json").write_text("{")
    assert removed_names() == {".staging-20000101T000000.000Z-bbbb"}


def forecast_of(n: int) -> str:
    return str(forecast(plan("toy", given={"n": n})[0], OUTPUTS))


def test_nothing_is_known_before_the_first_run(toy_folder: Path) -> None:
    assert forecast_of(1) == "to run; time unknown; tokens to compute unknown"


def test_a_finished_run_is_named_and_lends_its_time_to_others(quick: Execute) -> None:
    run = quick({"n": 1})
    assert forecast_of(1) == f"done: {run.run_id}"
    assert forecast_of(2) == "to run; time about 0 s (last run with the same model); tokens to compute unknown"


def test_answers_of_the_same_parameters_are_in_the_store(quick: Execute, toy_folder: Path) -> None:
    run = quick({"n": 1})
    assert run.folder is not None
    counted = run.model_copy(update={"counts": Counts(computed=5, cached=0, tokens=70), "seconds": 41.0})
    (run.folder / "run.json").write_text(counted.sealed())
    notebook = toy_folder / "notebooks/toy/fine.ipynb"
    edited = nbformat.read(notebook, 4)
    edited.cells.append(nbformat.v4.new_code_cell("1"))  # another key, the same parameters
    notebook.write_text(nbformat.writes(edited))
    expected = "time about 41 s (last run with the same parameters); tokens to compute 0 (answers are in the store)"
    assert forecast_of(1) == f"to run; {expected}"


def test_a_run_under_way_is_seen(toy_folder: Path) -> None:
    planned = plan("toy", given={"n": 1})[0]
    lease_elsewhere(OUTPUTS / "toy/fine", planned.key)
    assert forecast_of(1).startswith("running; ")


def half_done(place: Path, key: str, age: float = 600) -> Path:
    """A staging folder whose lease another machine holds and has long not touched."""
    staging = place / f".staging-20260101T000000.000Z-{key}"
    staging.mkdir(parents=True)
    lease_elsewhere(place, key, age=age)
    return staging


def test_a_holder_without_a_sign_of_life_is_named_at_once(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    half_done(tmp_path / "outputs/toy/fine", "a")
    half_done(tmp_path / "outputs/toy/fine", "b", age=0)
    begun = time.monotonic()
    assert call("status", "--outputs", "outputs") == 0
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith("running     toy/fine/2026") and second.endswith("process 7 on elsewhere")
    assert first.endswith("process 7 on elsewhere, which has shown no sign of life for 600 s")
    assert time.monotonic() - begun < 5


def test_a_run_published_meanwhile_is_left_out(tmp_path: Path) -> None:
    folders = [half_done(tmp_path / "toy/fine", key) for key in "ab"]
    folders[0].rename(tmp_path / "published")
    assert [run.name.rpartition("-")[2] for run in listing.running(folders)] == ["b"]
