"""The commands about results, as a user types them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from records import write_runs
from toys import write_study

Call = Callable[..., int]
ITEMS = """\
import numpy as np, pandas as pd
from workbench.runs import current_run
draw = np.random.default_rng(n)
frame = pd.DataFrame({"question_id": [f"q{i}" for i in range(20)], "right": draw.random(20) < 0.5})
current_run().table("items", frame)"""


@pytest.mark.notebook
def test_a_matrix_is_run_once_compared_and_shown(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_study(tmp_path, {"cells": [ITEMS]})
    study = tmp_path / "studies/toy.yaml"
    study.write_text("notebooks: [cells]\nprofiles: {default: {}}\nmatrix: {n: [1, 2]}\n")
    assert call("run", "toy") == 0
    out = capsys.readouterr().out
    assert "toy/cells [n=1]: ok after" in out and "toy/cells [n=2]: ok after" in out
    assert call("run", "toy") == 0
    assert capsys.readouterr().out.count("--again runs it anew") == 2
    assert call("plan", "toy") == 0
    assert "2 cells: 2 done" in capsys.readouterr().out
    folders = sorted((tmp_path / "outputs/toy/cells").glob("2*"), key=lambda path: path.stat().st_mtime)
    first, second = (path.name for path in folders)
    assert call("compare", f"toy/cells/{first}", f"toy/cells/{second}", "-p", "draws=99") == 0
    out = capsys.readouterr().out
    assert "toy/cells: 2 runs. All 20 questions are in all 2 runs." in out
    assert Path(out.splitlines()[-1].split()[-1]).is_file()
    assert "comparisons" in (tmp_path / "outputs/index.html").read_text(encoding="utf-8")
    assert call("compare", "toy/cells", "-p", "draws=99") == 0
    assert "comparisons/cells: ok already in" in capsys.readouterr().out
    assert call("compare", "toy/cells", "-p", "metric=rihgt") == 2
    assert "Unknown metric 'rihgt'" in capsys.readouterr().err
    assert call("compare", f"toy/cells/{first}") == 2
    assert "name at least two to compare" in capsys.readouterr().err


@pytest.mark.notebook
def test_a_matrix_over_models_ends_with_their_comparison(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_study(tmp_path, {"cells": [ITEMS]})
    path = tmp_path / "notebooks/toy/cells.ipynb"
    text = path.read_text(encoding="utf-8").replace("name: str | None = None", 'model: str = \\"none\\"')
    path.write_text(text, encoding="utf-8")
    content = "notebooks: [cells]\nprofiles: {default: {}}\nmatrix: {n: [1, 2], model: [a, b]}\n"
    (tmp_path / "studies/toy.yaml").write_text(content)
    assert call("run", "toy") == 0
    out = capsys.readouterr().out
    pages = [Path(line.split()[-1]) for line in out.splitlines() if line.startswith("Comparison: ")]
    assert len(pages) == 2 and all(page.is_file() for page in pages)
    assert call("run", "toy") == 0
    assert capsys.readouterr().out.count("comparisons/cells: ok already in") == 2


@pytest.mark.notebook
def test_a_failed_cell_does_not_stop_the_others(call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_study(tmp_path, {"cells": ["1 / (n - 1)"]})
    (tmp_path / "studies/toy.yaml").write_text("notebooks: [cells]\nprofiles: {default: {}}\nmatrix: {n: [1, 2]}\n")
    assert call("run", "toy") == 1
    out = capsys.readouterr().out
    assert "[n=1]: failed after" in out and "[n=2]: ok after" in out


def test_parameters_come_from_a_file_too(call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_study(tmp_path, {"first": ["print(n)"]})
    (tmp_path / "given.yaml").write_text('n: 4\nname: "007"\n')
    assert call("plan", "toy", "-f", "given.yaml", "-p", "n=5") == 0
    out = capsys.readouterr().out
    assert "n    = 5\n" in out and "name = '007'\n" in out
    (tmp_path / "given.yaml").write_text("n: [\n")
    assert call("plan", "toy", "-f", "given.yaml") == 2 and call("plan", "toy", "-f", "none.yaml") == 2
    assert call("plan", "toy", "-f", "studies") == 2
    err = capsys.readouterr().err
    assert "given.yaml, line 2, is not well-formed YAML" in err and "none.yaml does not exist" in err
    assert err.count("\n") == 3


def test_the_gallery_and_cleaning_and_status_of_many_runs(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_runs(tmp_path / "many", 12, figures=False, parameters_given={})
    assert call("gallery", "--outputs", "many") == 0
    assert capsys.readouterr().out.strip().endswith("many/index.html")
    assert call("status", "--outputs", "many") == 0
    assert len(capsys.readouterr().out.splitlines()) == 10
    assert call("clean", "--outputs", "many") == 0
    out = capsys.readouterr().out
    assert "10 could be removed; do it with --yes." in out and len(list(Path("many").glob("*/*/2*"))) == 12
    assert call("clean", "--outputs", "many", "--yes") == 0
    assert len(list(Path("many").glob("*/*/2*"))) == 2
    assert call("clean", "--outputs", "many") == 0 and "Nothing to remove." in capsys.readouterr().out
    assert call("status", "--outputs", "nowhere") == 0 and "No runs in nowhere." in capsys.readouterr().out


@pytest.mark.parametrize("command", [["gallery"], ["clean", "--yes"]])
def test_results_that_cannot_be_written_are_one_sentence(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    write_runs(tmp_path / "many", 12, figures=False, parameters_given={})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "many")

    monkeypatch.setattr(os, "replace", full)
    assert call(*command, "--outputs", "many") == 2
    assert "No space left for files in many" in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_a_file_in_place_of_the_outputs_is_one_sentence(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    Path("plain").touch()
    assert call("gallery", "--outputs", "plain") == 2
    assert "Cannot write results to plain: plain: File exists" in capsys.readouterr().err
