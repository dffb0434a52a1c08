from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from toys import write_study

from workbench.errors import InputError
from workbench.runs import Run, execute, load_run, plan
from workbench.runs import execution as execution_module

FINE = [
    "# A title",
    """\
import sys, pandas as pd
from workbench.runs import current_run
run = current_run()
run.table("given", pd.DataFrame({"n": [n], "name": [name], "executable": [sys.executable]}))
run.note(seed=1)
run.headline("Score", {"mean": 0.5, "low": 0.4, "high": 0.6, "n": n})""",
]
CELLS = {
    "fine": FINE,
    "fails": ["from workbench.runs import current_run; current_run().note(reached=True); 1 / 0", "print(2)"],
    "cancelled": ["print(1)", "print(2)"],
}
Execute = Callable[..., Run]


def interrupt_second(done: int, total: int) -> None:
    if done == 1:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("toy{1}")  # braces in a path are nothing special
    write_study(root, CELLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("HOME", str(root / "home"))
        patch.setenv("WORKBENCH_CACHE", str(root / "cache"))
        yield root


@pytest.fixture(scope="module")
def runs(toy: Path) -> dict[str, Run]:
    """Every toy notebook executed once."""
    special = {"cancelled": {"on_cell": interrupt_second}}
    planned = plan("toy", given={"n": "7", "name": "007"})
    return {p.notebook: execute(p, Path("outputs"), **special.get(p.notebook, {})) for p in planned}  # type: ignore[arg-type]


def states(run: Run) -> list[str]:
    assert run.folder is not None
    cells = nbformat.read(run.folder / "notebook.ipynb", as_version=4).cells
    return [cell.metadata.papermill.status for cell in cells if cell.cell_type == "code"]


@pytest.mark.notebook
def test_a_run_that_goes_well_leaves_everything(runs: dict[str, Run], toy: Path) -> None:
    run = runs["fine"]
    assert run.folder == toy / "outputs/toy/fine" / run.run_id
    names = {path.name for path in run.folder.iterdir()}
    assert names == {"run.json", "report.html", "notebook.ipynb", "tables"}  # no checkout here, so no changes.patch
    assert load_run(run.folder) == run
    assert (run.status, run.failure) == ("ok", None)
    assert (run.parameters_given, run.parameters_default) == ({"n": 7, "name": "007"}, {"how": "a", "data": None})
    assert run.facts == {"seed": 1}
    assert run.headline is not None and str(run.headline) == "Score: 0.50 [0.40, 0.60], n = 7"
    assert len(run.source.notebook_sha256) == 64
    assert run.finished > run.started and run.seconds > 0
    assert "A title" in (run.folder / "report.html").read_text()


@pytest.mark.notebook
def test_parameters_reach_the_kernel_typed_and_it_is_this_interpreter(runs: dict[str, Run]) -> None:
    import sys

    expected = pd.DataFrame({"n": [7], "name": ["007"], "executable": [sys.executable]})
    pd.testing.assert_frame_equal(runs["fine"].frame("given"), expected)


@pytest.mark.notebook
def test_latest_points_to_the_run_that_went_well(runs: dict[str, Run], toy: Path) -> None:
    assert os.readlink(toy / "outputs/toy/fine/latest") == runs["fine"].run_id
    assert not (toy / "outputs/toy/fails/latest").exists()


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("name", "status", "cell", "error", "said"),
    [
        ("fails", "failed", 3, "ZeroDivisionError", "division by zero"),
        ("cancelled", "cancelled", None, "KeyboardInterrupt", "by hand"),
    ],
)
def test_a_run_that_ends_early_says_so(
    runs: dict[str, Run], name: str, status: str, cell: int | None, error: str, said: str
) -> None:
    run = runs[name]
    assert run.status == status
    assert run.failure is not None
    assert (run.failure.cell, run.failure.name) == (cell, error)
    assert said in run.failure.message
    ran = ["completed", "pending", "pending"] if cell is None else ["completed", "completed", "failed"]
    assert states(run) == [*ran, "pending"]
    assert run.folder is not None
    assert run.failure.message.split(".")[0][:20] in (run.folder / "report.html").read_text()


@pytest.mark.notebook
def test_what_was_noted_before_a_failure_is_kept(runs: dict[str, Run]) -> None:
    assert runs["fails"].facts == {"reached": True}
    assert runs["fails"].failure is not None
    assert "ZeroDivisionError" in runs["fails"].failure.traceback
    assert "\x1b" not in runs["fails"].failure.traceback


@pytest.mark.notebook
def test_nothing_is_left_in_home_or_half_done(runs: dict[str, Run], toy: Path) -> None:
    assert not (toy / "home").exists()
    assert [path for path in (toy / "outputs").rglob(".*")] == []


def test_a_run_appears_whole_by_one_rename(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = []

    def rename(source: Path, target: Path) -> None:
        if Path(source).is_dir() and not Path(source).is_symlink():
            renamed.append((Path(source).parent == Path(target).parent, sorted(p.name for p in Path(source).iterdir())))
            assert not Path(target).exists()
        real(source, target)

    real = os.replace
    monkeypatch.setattr(os, "replace", rename)
    quick()
    assert renamed == [(True, ["notebook.ipynb", "report.html", "run.json"])]


def test_a_report_that_cannot_be_made_loses_no_run(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path) -> None:
        raise RuntimeError("no report")

    monkeypatch.setattr("workbench.reports.html.write_report", broken)
    run = quick()
    assert run.status == "ok" and run.folder is not None and run == load_run(run.folder)
    assert "It has no report yet (no report); `workbench report` writes one." in run.exit_reason


def test_a_missing_kernel_is_one_sentence(quick: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution_module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="ipykernel is not installed; pip install ipykernel"):
        quick()
    assert not Path("outputs").exists()
