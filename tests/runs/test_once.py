"""Equal runs are reused: leases, remains of dead processes, and finished runs."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from toys import lease_elsewhere, start_cli, write_notebook, write_study

from workbench.errors import InputError
from workbench.runs import Run, execute, load_run, plan
from workbench.runs import execution as execution_module
from workbench.runs.listing import find_run
from workbench.runs.staging import leased, sweep

Execute = Callable[..., Run]
DEAD = 2**22 - 3  # no process has this id here


def lease_file(place: Path, key: str, pid: int) -> Path:
    """A lease of a process on this machine."""
    place.mkdir(parents=True, exist_ok=True)
    with leased(place, key) as lease:
        text = lease.path.read_text()
    lease.path.write_text(re.sub(r"pid=\d+", f"pid={pid}", text))
    return lease.path


def test_a_run_that_went_well_is_not_repeated_unless_asked(quick: Execute) -> None:
    first, second, third = quick(), quick(), quick(again=True)
    assert (first.reused, second.reused, third.reused) == (False, True, False)
    assert second.run_id == first.run_id and second.folder == first.folder
    assert third.run_id > first.run_id and first.folder and first.folder.exists()
    assert quick().run_id == third.run_id


def test_other_parameters_another_notebook_and_a_failed_run_are_run(
    quick: Execute, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = quick()
    assert not quick({"n": 4}).reused
    write_notebook(toy_folder / "notebooks/toy/fine.ipynb", "n + 1")
    assert not quick().reused
    monkeypatch.setattr(execution_module, "_execute", lambda attempt, *_: attempt.end("died", "E", "e"))
    failed = quick({"n": 9})
    assert (failed.status, quick({"n": 9}).reused) == ("died", False)
    assert load_run(first.folder).status == "ok"  # type: ignore[arg-type]


def test_an_input_file_that_changes_and_changed_code_are_another_computation(
    quick: Execute, toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy_folder / "items.csv").write_text("a")
    assert not quick({"data": "items.csv"}).reused
    assert quick({"data": "items.csv"}).reused
    (toy_folder / "items.csv").write_text("b")
    assert not quick({"data": "items.csv"}).reused
    monkeypatch.setattr("workbench.runs.studies.code_digest", lambda slices: "another")
    assert not quick({"data": "items.csv"}).reused


@pytest.mark.parametrize("meddle", [lambda path: path.write_text("b"), lambda path: path.unlink()])
def test_a_file_that_changes_while_the_run_is_under_way_fails_it(
    quick: Execute, toy_folder: Path, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Path], object]
) -> None:
    (toy_folder / "items.csv").write_text("a")
    real = execution_module._papermill
    monkeypatch.setattr(execution_module, "_papermill", lambda *a: (real(*a), meddle(toy_folder / "items.csv"))[0])
    run = quick({"data": "items.csv"})
    assert run.status == "failed" and run.failure
    assert run.failure.message.startswith("items.csv changed after the run was planned")
    monkeypatch.setattr(execution_module, "_papermill", real)
    (toy_folder / "items.csv").write_text("a")
    assert not quick({"data": "items.csv"}).reused


def test_started_twice_at_once_it_runs_once(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, waited, runs = [], [], []
    real = execution_module._papermill

    def slow(*arguments: object) -> None:
        calls.append(1)
        time.sleep(0.6)
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(execution_module, "_papermill", slow)
    threads = [threading.Thread(target=lambda: runs.append(quick(on_wait=waited.append))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len({run.run_id for run in runs}) == 1
    assert sorted(run.reused for run in runs) == [False, True, True]
    assert [who.pid for who in waited] == [os.getpid()] * 2
    assert list(Path("outputs/toy/fine").glob(".*")) == []


@pytest.mark.notebook
def test_two_processes_run_it_once_and_the_second_says_so(tmp_path: Path) -> None:
    write_study(tmp_path, {"slow": ["open('ran', 'a').write('x'); import time; time.sleep(2)"]})
    processes = [start_cli(tmp_path, "run", "toy") for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert (tmp_path / "ran").read_text() == "x"
    assert sum("is running it; waiting for that" in text and "ok already in" in text for text in said) == 1


def test_a_live_lease_is_waited_for(tmp_path: Path) -> None:
    path, seen = lease_elsewhere(tmp_path, pid=1), []
    threading.Timer(0.8, path.unlink).start()
    with leased(tmp_path, "k", seen.append) as lease:
        assert lease.waited and lease.valid and [(who.host, who.pid) for who in seen] == [("elsewhere", 1)]
    assert not path.exists()


def test_what_dead_processes_left_is_swept_and_the_rest_stays(quick: Execute) -> None:
    place = Path("outputs/toy/fine")
    lease_file(place, "dead", DEAD)
    lease_elsewhere(place, "live")
    for name in ("a-dead", "b-live", "c-none"):
        (place / f".staging-{name}").mkdir()
    assert {path.name for path in sweep(place, remove=False)} == {".staging-a-dead", ".staging-c-none"}
    quick()
    assert {path.name for path in place.glob(".*")} == {".lease-live", ".staging-b-live"}


def test_latest_is_the_good_run_that_ended_last(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan("toy")[0]
    quick(again=True)
    last = execute(planned, again=True)  # planned first, run last
    monkeypatch.setattr(execution_module, "_execute", lambda attempt, *_: attempt.end("failed", "E", "e"))
    quick(again=True)
    assert os.readlink("outputs/toy/fine/latest") == last.run_id


def test_names_with_spaces_and_unicode(
    quick: Execute, toy_folder: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook(toy_folder / "notebooks/Größe 1/A & B #2 %.ipynb", "# Ein Titel")
    (toy_folder / "studies/Größe 1.yaml").write_text('notebooks: ["A & B #2 %"]\nprofiles: {default: }\n')
    run = execute(plan("Größe 1", given={"name": "naïve «x»"})[0])
    assert find_run("Größe 1/A & B #2 %", Path("outputs")).parameters_given == {"name": "naïve «x»"}
    links = re.findall(r'<a href="([^"]+)"', Path("outputs/index.html").read_text(encoding="utf-8"))
    assert [Path("outputs", unquote(link)).resolve() for link in links] == [run.folder / "report.html"]  # type: ignore[operator]
    assert call("status") == call("report", "Größe 1/A & B #2 %") == call("plan", "Größe 1") == call("clean") == 0
    assert capsys.readouterr().err == ""


def test_a_run_is_found_by_name_folder_or_id(quick: Execute) -> None:
    run = quick()
    assert run.folder is not None
    for name in ("toy/fine", f"toy/fine/{run.run_id}", str(run.folder), run.folder):
        assert find_run(name, Path("outputs")).run_id == run.run_id
    with pytest.raises(InputError, match="There is no run 'toy/none'; name a run's folder"):
        find_run("toy/none", Path("outputs"))
