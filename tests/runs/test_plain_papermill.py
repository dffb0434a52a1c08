"""The notebooks under papermill itself, without our command line and engine."""

# ruff: noqa: UP045
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import nbformat
import pytest
from papermill.translators import PythonTranslator

from workbench import Style
from workbench.errors import InputError
from workbench.files import CHECKOUT, cache_folder
from workbench.runs.parameters import check_declared, read_parameters

NOTEBOOKS = sorted([*CHECKOUT.glob("notebooks/**/*.ipynb"), *CHECKOUT.glob("docs/*.ipynb")])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_names_the_kernel_everyone_has_and_carries_no_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_papermill_reads_every_parameter_as_the_workbench_does(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else it warns of an unknown parameter, as it does of a misspelt one."""
    cells = nbformat.read(path, as_version=4).cells
    (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    theirs = [(each.name, each.inferred_type_name, each.help) for each in PythonTranslator.inspect(cell)]
    assert theirs == [(each.name, each.annotation, each.help) for each in read_parameters(path)] and not caplog.records


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("piqa", list[str], "must be list[str], not 'piqa'; write ['piqa']"),
        (["a", 3], list[str], "must be list[str], not ['a', 3]"),
        ("10", Optional[int], "must be Optional[int], not '10'"),
        ("letter", Style, "must be Literal['cloze', 'letters'], not 'letter'"),
        (True, int, "must be int, not True"),
        (3, float, ""),
        (None, Optional[list[float]], ""),
        ("x", Path, ""),
    ],
)
def test_a_notebook_refuses_a_value_that_papermill_lets_through(value: Any, kind: Any, said: str) -> None:
    names = {"name": value, "__annotations__": {"name": kind, "gone": int}}
    if not said:
        return check_declared(names)
    with pytest.raises(InputError, match=re.escape(f"Parameter 'name' {said}.")):
        check_declared(names)


def test_annotations_that_a_namespace_computes_lazily_are_read() -> None:
    """Python 3.14 keeps a function in place of the dictionary."""
    with pytest.raises(InputError, match="Parameter 'n' must be int, not 'four'"):
        check_declared({"n": "four", "__annotate__": lambda form: {"n": int}})


@pytest.mark.notebook
@pytest.mark.model
def test_papermill_runs_a_notebook_and_nothing_is_kept_aside(tmp_path: Path) -> None:
    if not (cache_folder() / "models").exists():
        pytest.skip("needs the embedded model: workbench fetch")
    (tmp_path / "cache").mkdir()
    for name in ("models", "packages", "digests.json"):
        if (cache_folder() / name).exists():
            (tmp_path / "cache" / name).symlink_to(cache_folder() / name)
    environment = {**os.environ, "WORKBENCH_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path / "home")}
    environment.pop("WORKBENCH_RUN_FOLDER", None)
    words = ["-p", "n", "4", "-y", "{benchmarks: [piqa], model: smollm2-135m-instruct}", "--no-progress-bar"]
    source = CHECKOUT / "notebooks/hallucination/calibration.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "papermill", str(source), "out.ipynb", *words],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert {cell.metadata.papermill.status for cell in notebook.cells} == {"completed"}
    assert sum("text/html" in out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", [])) > 5
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {"out.ipynb", "cache"}
