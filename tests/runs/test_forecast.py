from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from toys import lease_elsewhere

from workbench.runs import Run, plan
from workbench.runs.listing import forecast
from workbench.runs.record import Counts

Execute = Callable[..., Run]
OUTPUTS = Path("outputs")


def told(n: int) -> str:
    return str(forecast(plan("toy", given={"n": n})[0], OUTPUTS))


def test_nothing_is_known_before_the_first_run(toy_folder: Path) -> None:
    assert told(1) == "to run; time unknown; tokens to compute unknown"


def test_a_finished_run_is_named_and_lends_its_time_to_others(quick: Execute) -> None:
    run = quick({"n": 1})
    assert told(1) == f"done: {run.run_id}"
    assert told(2) == "to run; time about 0 s (last run with the same model); tokens to compute unknown"


def test_answers_of_the_same_parameters_are_in_the_store(quick: Execute, toy_folder: Path) -> None:
    run = quick({"n": 1})
    assert run.folder is not None
    counted = run.model_copy(update={"counts": Counts(computed=5, cached=0, tokens=70), "seconds": 41.0})
    (run.folder / "run.json").write_text(counted.sealed())
    notebook = toy_folder / "notebooks/toy/fine.ipynb"
    notebook.write_text(notebook.read_text().replace("A title", "Another"))  # another key, the same parameters
    expected = "time about 41 s (last run with the same parameters); tokens to compute 0 (answers are in the store)"
    assert told(1) == f"to run; {expected}"


def test_a_run_under_way_is_seen(toy_folder: Path) -> None:
    planned = plan("toy", given={"n": 1})[0]
    lease_elsewhere(OUTPUTS / "toy/fine", planned.key)
    assert told(1).startswith("running; ")
