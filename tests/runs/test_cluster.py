"""Cells on a Dask cluster whose scheduler and workers live in this process; no kernel starts."""

from __future__ import annotations

import builtins
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import fsspec
import pytest
from toys import write_notebook, write_study

from workbench.errors import InputError
from workbench.files import written_whole
from workbench.runs import PlannedRun, Run, cluster, load_run, plan
from workbench.runs.cluster import CellResult, difference, run_cell, run_on, tasks
from workbench.runs.record import Failure
from workbench.runs.remote import working_copy

distributed = pytest.importorskip("distributed")
Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a scheduler and workers, each with its own resources."""
    made: list[Any] = []
    monkeypatch.setattr(cluster, "LOOK", 0.1)

    def started(*resources: dict[str, float]) -> Any:
        workers = {str(i): worker(tmp_path, offered) for i, offered in enumerate(resources)}
        options = {"dashboard_address": ":0", "host": "127.0.0.1", "port": 0}
        scheduler = {"cls": distributed.Scheduler, "options": options}
        made.append(distributed.SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50))
        return made[-1]

    yield started
    for each in made:
        each.close()


def worker(folder: Path, resources: dict[str, float]) -> dict[str, Any]:
    options = {"nthreads": 1, "resources": resources, "dashboard_address": ":0"}
    return {"cls": distributed.Worker, "options": options | {"local_directory": str(folder / "dask")}}


def add_late(made: Any, folder: Path, **resources: float) -> None:
    """Start another worker, `late`, of a cluster."""

    async def add(made: Any) -> None:
        made.worker_spec["late"] = worker(folder, resources)
        await made._correct_state()

    made.sync(add, made)


def differ(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool] = lambda: True) -> None:
    """Let workers report another version of transformers."""
    real = distributed.Client.get_versions

    def other(self: Any, **more: Any) -> Any:
        versions = real(self, **more)
        for each in versions["workers"].values() if when() else ():
            each["packages"]["transformers"] = "1.0"
        return versions

    monkeypatch.setattr(distributed.Client, "get_versions", other)


def matrix(folder: Path, **axes: list[Any]) -> list[PlannedRun]:
    """The study `toy` of one notebook that is never opened by a kernel, over these axes."""
    write_study(folder, {"fine": ["# A title"]}, {"default": {"matrix": axes}})
    parameters = "model: str = 'm'\nn: int = 3\nname: str | None = None"
    write_notebook(folder / "notebooks/toy/fine.ipynb", "# A title", parameters=parameters)
    return plan("toy")


def noted(task: cluster.Task) -> CellResult:
    """Stands in for a cell: says which worker it was on, and in what order."""
    time.sleep(0.05)
    worker = distributed.get_worker()
    return CellResult(task.planned.name, "ok", "id", "", f"{worker.name} {time.monotonic()}", 0.0)


def test_every_cell_is_recorded_and_what_went_well_is_not_run_again(
    quick: Callable[..., Run], toy_folder: Path, start: Start
) -> None:
    planned, made = matrix(toy_folder, n=[1, 2, 3, 4]), start({}, {})
    first = list(run_on(made.scheduler_address, planned))
    assert sorted(one.parameters_given["n"] for one, _ in first) == [1, 2, 3, 4]
    assert all(load_run(done.folder).run_id == done.run_id and done.status == "ok" for _, done in first)
    again = [done for _, done in run_on(made.scheduler_address, planned)]
    assert all(done.reused for done in again) and {d.run_id for d in again} == {d.run_id for _, d in first}
    assert list(Path("outputs/toy/fine").glob(".*")) == []


def test_cells_of_a_model_stay_on_its_worker(toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = matrix(toy_folder, model=["a", "b"], n=[1, 2, 3, 4, 5])
    planned = planned[::2] + planned[1::2]  # mixed
    monkeypatch.setattr(cluster, "run_cell", noted)
    ends = [(p.parameters_given["model"], done.host.split()) for p, done in run_on(address(start({}, {})), planned)]
    at = {model: [worker for its, (worker, _) in ends if its == model] for model in "ab"}
    assert sorted(map(len, at.values())) == [5, 5]
    turns = [order(ends, worker) for worker in "01"]
    changes = sum(a != b for models in turns for a, b in pairwise(models))
    assert changes <= 1 and {at["a"][0], at["b"][0]} == {"0", "1"}


def address(made: Any) -> str:
    return str(made.scheduler_address)


def order(ends: list[Any], worker: str) -> list[str]:
    return [model for model, (name, _) in sorted(ends, key=lambda end: float(end[1][1])) if name == worker]


def test_gpus_are_a_resource_and_what_nobody_offers_is_said(
    toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = [replace(one, gpus=float(one.parameters_given["n"])) for one in matrix(toy_folder, n=[0, 1, 2])]
    monkeypatch.setattr(cluster, "run_cell", noted)
    said: list[str] = []
    made, ends = start({}, {"GPU": 1}), {}

    def say(sentence: str) -> None:
        said.append(sentence)
        add_late(made, toy_folder, GPU=2)

    for one, done in run_on(address(made), planned, say=say):
        ends[one.parameters_given["n"]] = done.host.split()[0]
    assert (ends[1], ends[2]) == ("1", "late")
    assert said == ["1 cells wait for a worker that offers GPU=2; start one with --resources GPU=2."]


def test_a_study_says_what_its_cells_need(toy_folder: Path) -> None:
    study = toy_folder / "studies/toy.yaml"
    study.write_text('{"notebooks": ["fine"], "profiles": {"default": {}}, "gpus": {"fine": 2}}')
    assert plan("toy")[0].gpus == 2
    for wrong in ('"two"', "-1", '{"other": 1}', "true"):
        study.write_text(f'{{"notebooks": ["fine"], "profiles": {{"default": {{}}}}, "gpus": {wrong}}}')
        with pytest.raises(InputError, match="'gpus' must be a number, or a mapping of notebooks to numbers"):
            plan("toy")


def test_a_worker_with_other_packages_is_refused_with_the_difference(
    toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"python": "3.11.4.final.0", "torch": "2.13.0", "numpy": "2.1"}
    assert difference(mine, mine | {"python": "3.11.9.final.0", "dask": "1"}) == ""
    assert difference(mine, mine | {"python": "3.12.0.final.0", "torch": None}) == (
        "python 3.12 there and 3.11 here, torch missing there and 2.13.0 here"
    )
    differ(monkeypatch)
    monkeypatch.setattr(cluster, "PATIENCE", 0.3)
    said: list[str] = []
    with pytest.raises(InputError, match=r"No worker at tcp.* fits\. Worker tcp.* transformers 1\.0 there and \d"):
        list(run_on(address(start({})), plan("toy"), say=said.append))
    assert said[0].startswith("Worker tcp://127.0.0.1:") and "is refused: transformers 1.0 there" in said[0]


def test_a_worker_that_fits_may_come_after_one_that_does_not(
    quick: Callable[..., Run], toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, said = start({}), list[str]()
    differ(monkeypatch, lambda: not said)

    def say(sentence: str) -> None:
        said.append(sentence)
        if "that fits" in sentence:
            add_late(made, toy_folder)

    assert [done.status for _, done in run_on(address(made), plan("toy"), say=say)] == ["ok"]
    assert len(said) == 2 and "is refused" in said[0] and said[1].startswith("There is no worker that fits at tcp://")


def test_a_worker_that_came_back_under_its_address_does_not_have_its_cell(toy_folder: Path) -> None:
    (planned,) = plan("toy")
    cell = cluster._Cell(planned, tasks([planned], "outputs")[0])
    ended = CellResult("toy/fine", "ok", "id", "", "there", 1.0)
    future = Mock(status="finished", key="k")
    future.done.return_value, future.result.return_value = False, ended
    state = cluster._Dispatch(None, "tcp://there", [], print)
    state.workers, state.futures = {"a": cluster._Worker(1, 0), "b": cluster._Worker(1, 0)}, {future: (cell, "a")}
    state._locate({"k": "b"})
    assert state.futures == {future: (cell, "b")}
    assert state._result(future) == (planned, ended) and state.futures == {}


def test_a_cell_whose_workers_die_is_recorded_and_the_others_go_on(
    quick: Callable[..., Run], toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = matrix(toy_folder, n=[1, 2, 3])
    real = distributed.Client.processing

    def lost(self: Any) -> dict[str, list[str]]:
        """As if whoever has the second cell dies."""
        return {worker: [key for key in keys if planned[1].key not in key] for worker, keys in real(self).items()}

    monkeypatch.setattr(distributed.Client, "processing", lost)

    def slow(task: cluster.Task) -> CellResult | None:
        time.sleep(0.5)
        return run_cell(task) if task.planned.key != planned[1].key else None

    monkeypatch.setattr(cluster, "run_cell", slow)
    said: list[str] = []
    ends = {one.parameters_given["n"]: done for one, done in run_on(address(start({})), planned, say=said.append)}
    assert sum("is gone; toy/fine is run again elsewhere." in text for text in said) == cluster.RETRIES
    assert [ends[n].status for n in (1, 2, 3)] == ["ok", "died", "ok"]
    record = load_run(ends[2].folder)
    assert record.failure and "3 workers died while they ran it, the last tcp://" in record.failure.message
    assert (Path(ends[2].folder) / "report.html").exists()


def test_a_cell_that_went_well_on_a_worker_out_of_reach_is_not_recorded_as_died(quick: Callable[..., Run]) -> None:
    (planned,), failure = plan("toy"), Failure(name="KilledWorker", message="gone")
    done = quick()
    late = cluster.record_failure(planned, "outputs", failure)
    assert (late.status, late.run_id, late.failure) == ("ok", done.run_id, None)
    (planned,) = plan("toy")
    assert cluster.record_failure(planned, "outputs", failure, again=True).status == "died"
    assert sorted(load_run(path).status for path in Path("outputs/toy/fine").glob("2*")) == ["died", "ok"]


def test_an_error_that_is_not_the_notebooks_is_tried_again_then_recorded(
    toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = toy_folder / "tries"

    def broken(task: cluster.Task) -> CellResult:
        with tries.open("a") as file:
            file.write("x")
        raise RuntimeError("no such device")

    monkeypatch.setattr(cluster, "run_cell", broken)
    ((_, done),) = run_on(address(start({})), plan("toy"))
    assert done.status == "failed" and done.failure and "failed: no such device" in done.failure.message
    assert load_run(done.folder).failure == done.failure and tries.read_text() == "xxx"


@pytest.mark.parametrize("place", ["tcp://127.0.0.1:9", "nonsense", "tcp://no.such.host.invalid:8786"])
def test_no_scheduler_is_one_sentence_soon(toy_folder: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.CONNECT <= 10
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    begun = time.monotonic()
    with pytest.raises(InputError, match=f"No Dask scheduler answers at {place}; start one with `dask scheduler`"):
        list(run_on(place, plan("toy")))
    assert time.monotonic() - begun < 5


def test_without_the_extra_it_says_what_to_install(
    call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, {"fine": ["# A title"]})
    real = builtins.__import__

    def absent(name: str, *more: Any, **named: Any) -> Any:
        if name.partition(".")[0] in ("distributed", "dask"):
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert call("run", "toy", "--on", "tcp://127.0.0.1:9") == 2
    assert "--on needs Dask; install it with: pip install distributed" in capsys.readouterr().err


def test_what_is_under_way_outlives_a_client_that_is_stopped(
    call: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any) -> Iterator[Any]:
        yield plan("toy")[0], CellResult("toy/fine", "ok", "id", "outputs/toy/fine/id", "there", 2.0)
        raise KeyboardInterrupt

    write_study(tmp_path, {"fine": ["# A title"]})
    monkeypatch.setattr(cluster, "run_on", stopped)
    assert call("run", "toy", "--on", "tcp://127.0.0.1:9") == 130
    said = capsys.readouterr()
    assert said.out.startswith("[1 of 1] toy/fine: ok after 2 s\n    outputs/toy/fine/id has no report yet")
    assert said.err.startswith("Stopped; the workers finish the cells they have") and (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gpus", "1"), "--gpus applies to clusters only; name the scheduler with --on"),
        (("--fresh", "--on", "tcp://127.0.0.1:9"), "--fresh changes nothing with --on"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    toy_folder: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert call("run", "toy", *words) == 2
    assert said in capsys.readouterr().err and not (toy_folder / "outputs").exists()


def test_of_a_cell_that_could_not_be_recorded_no_path_is_shown(
    toy_folder: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (planned,) = plan("toy")
    (toy_folder / "file").touch()
    lost = cluster.record_failure(planned, "file", Failure(name="KilledWorker", message="gone"))
    monkeypatch.setattr(cluster, "run_on", lambda *_: iter([(planned, lost)]))
    assert call("run", "toy", "--on", "tcp://127.0.0.1:9") == 137
    said = capsys.readouterr().out
    assert "toy/fine: died after 0 s" in said and "\n    not recorded\n" in said and "report.html" not in said


def test_what_a_worker_lacks_is_one_sentence(quick: Callable[..., Run], toy_folder: Path) -> None:
    (toy_folder / "items.csv").write_text("a")
    planned = plan("toy", given={"data": "items.csv"})
    (task,) = tasks(planned, "outputs")
    assert run_cell(task).status == "ok"
    other = replace(task, code="0")
    assert "has other source of workbench than the client" in message(other)
    (toy_folder / "elsewhere").mkdir()
    assert "does not see the outputs folder" in message(replace(task, outputs=str(toy_folder / "elsewhere")))
    (toy_folder / "items.csv").write_text("older")
    assert "items.csv, which the parameters of toy/fine name, differs on the worker on" in message(task)
    (toy_folder / "items.csv").unlink()
    assert "lacks items.csv, which the parameters of toy/fine name" in message(task)
    (toy_folder / "notebooks/toy/fine.ipynb").write_text("changed")
    assert "has no notebook toy/fine like the client's" in message(task)


def test_two_clients_that_start_at_once_agree_on_the_mark(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: Path) -> Any:
        (toy_folder / "outputs" / cluster.MARK).write_text("the other client's")
        return written_whole(path)

    (toy_folder / "outputs").mkdir()
    monkeypatch.setattr(cluster, "written_whole", slow)
    assert [task.mark for task in tasks(plan("toy"), "outputs")] == ["the other client's"]
    assert os.listdir(toy_folder / "outputs") == [cluster.MARK]


def message(task: cluster.Task) -> str:
    done = run_cell(task)
    assert done.status == "failed" and done.unsuitable and not done.run_id and done.failure
    return done.failure.message


def test_a_cell_no_worker_can_start_is_recorded_and_the_others_go_on(
    quick: Callable[..., Run], toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toy_folder / "items.csv").write_text("a")
    planned = [*plan("toy", given={"data": "items.csv"}), *plan("toy")]
    cells, said, outcomes = tasks(planned, "outputs"), [], {}
    assert [list(task.planned.files) for task in cells] == [["items.csv"], []]
    monkeypatch.setattr(cluster, "tasks", lambda *_: cells)
    (toy_folder / "items.csv").unlink()
    for one, done in run_on(address(start({}, {})), planned, say=said.append):
        outcomes[one.parameters_given.get("data")] = done
    assert outcomes[None].status == "ok"
    record = load_run(outcomes["items.csv"].folder)
    assert record.status == "failed" and record.failure and "lacks items.csv" in record.failure.message
    assert len([text for text in said if "waiting for one" not in text]) == 1
    assert (Path(outcomes["items.csv"].folder) / "notebook.ipynb").exists()


def test_a_worker_with_its_own_disk_writes_to_a_store(
    quick: Callable[..., Run], toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{toy_folder}/far/results"
    planned = matrix(toy_folder, n=[1, 2])
    ends = [done for _, done in run_on(address(start({})), planned, url)]
    assert [done.folder for done in ends] == [f"{url}/toy/fine/{done.run_id}" for done in ends]
    for done in ends:
        assert load_run(done.folder.removeprefix("file://")).status == "ok"
    shutil.rmtree(os.environ["WORKBENCH_CACHE"])  # another machine
    assert [done.reused for _, done in run_on(address(start({})), planned, url)] == [True, True]


def test_no_gallery_is_shown_or_copied_that_lacks_the_workers_runs(
    quick: Callable[..., Run], start: Start, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    url = "memory://galleries/results"
    store, top = fsspec.core.url_to_fs(url)
    stale = working_copy(url) / "index.html"
    stale.parent.mkdir(parents=True)
    stale.write_text("of last month")
    assert call("run", "toy", "--on", address(start({})), "--outputs", url) == 0
    assert len(store.glob(f"{top}/toy/fine/*/run.json")) == 1 and not store.exists(f"{top}/index.html")
    assert "Gallery" not in capsys.readouterr().out and stale.read_text() == "of last month"


def test_a_full_remote_disk_is_one_sentence_and_the_run_is_kept(
    quick: Callable[..., Run], toy_folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "memory://full/results"
    store, top = fsspec.core.url_to_fs(url)
    planned = matrix(toy_folder, n=[1, 2])
    real = type(store).put_file
    stored: list[str] = []

    def put(self: Any, source: str, target: str, **more: Any) -> None:
        if len(stored) > 3:
            raise OSError(28, "No space left on device")
        stored.append(target)
        real(self, source, target, **more)

    monkeypatch.setattr(type(store), "put_file", put)
    ends = sorted((done for _, done in run_on(address(start({})), planned, url)), key=lambda done: done.status)
    assert [done.status for done in ends] == ["failed", "ok"]
    failure = ends[0].failure
    assert failure and "No space left on device; it is complete in" in failure.message
    assert len(store.glob(f"{top}/toy/fine/*/run.json")) == 1
    stored.clear()
    assert [done.status for _, done in run_on(address(start({})), planned, url)] == ["ok", "ok"]
    assert len(store.glob(f"{top}/toy/fine/*/run.json")) == 2
