from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from records import a_run

from workbench.errors import InputError
from workbench.files import sha256_of
from workbench.runs.checkout import Changes, changes_of, package_versions, source_of
from workbench.runs.execution import counts_in, seeds_in
from workbench.runs.record import (
    Counts,
    Failure,
    Run,
    Table,
    load_run,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    failure = Failure(cell=3, name="ValueError", message="<b> is not bold")
    run = a_run(status="failed", failure=failure, tables=[Table(name="scores", rows=1)])
    (tmp_path / "run.json").write_text(run.sealed())
    return run


def test_a_record_comes_back_as_it_was_written(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path, str(tmp_path / "run.json")):
        assert load_run(path) == run.model_copy(update={"folder": tmp_path})


def test_it_shows_its_status_escaped(run: Run) -> None:
    shown = run._repr_html_()
    assert "toy/first" in shown
    assert "failed. &lt;b&gt; is not bold" in shown


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "has layout 2, and this workbench reads up to 1; update it"),
        ({"status": "perfect"}, "is damaged: status"),
        ({"schema_version": None}, "is damaged: schema_version"),
    ],
)
def test_a_record_that_cannot_be_read_is_one_sentence(
    run: Run, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(json.loads(run.model_dump_json()) | change))
    with pytest.raises(InputError, match=said):
        load_run(tmp_path)


def test_no_record_and_a_torn_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not the folder of a run: it has no run\.json"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"schema_version": 1, "stu')
    with pytest.raises(InputError, match="is damaged"):
        load_run(tmp_path)


def test_provenance_names_commit_and_packages(tmp_path: Path) -> None:
    source = source_of(Path(__file__))
    assert source.commit is None or len(source.commit) == 40
    assert source.packages == package_versions()
    assert source.packages["pandas"] == metadata.version("pandas")
    assert "pytest" not in source.packages
    (tmp_path / "n.ipynb").touch()
    assert source_of(tmp_path / "n.ipynb").commit is None


def test_a_record_edited_by_hand_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(run.sealed())
    assert load_run(tmp_path) == run.model_copy(update={"folder": tmp_path})
    content = json.loads(run.sealed())
    (tmp_path / "run.json").write_text(json.dumps(content))  # other spacing is no other content
    assert load_run(tmp_path).key == run.key
    (tmp_path / "run.json").write_text(json.dumps(content | {"status": "ok"}))
    with pytest.raises(InputError, match=r"was edited after the run; restore it, or run the notebook again"):
        load_run(tmp_path)


def test_a_kept_table_is_read_unless_it_was_changed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "tables/scores.parquet"
    path.parent.mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(path)
    with pytest.raises(InputError, match="Did you mean 'scores'"):
        load_run(tmp_path).frame("score")
    sealed = load_run(tmp_path).model_copy(update={"files": {"tables/scores.parquet": sha256_of(path)}})
    assert load_run(tmp_path).frame("scores")["x"].tolist() == sealed.frame("scores")["x"].tolist() == [1]
    pd.DataFrame({"x": [2]}).to_parquet(path)
    with pytest.raises(InputError, match=r"scores\.parquet is not what the run wrote"):
        sealed.frame("scores")


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[..., None]:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x", *words], check=True)

    git("init", "-q")
    return git


def test_the_changes_since_the_commit_are_a_patch(checkout: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.bin").write_bytes(b"\0\1")
    checkout("add", ".")
    checkout("commit", "-qm", "first")
    assert (changes_of(tmp_path), source_of(tmp_path / "a.txt").dirty) == (Changes(), False)
    (tmp_path / "a.txt").write_text("two\n \n")
    (tmp_path / "b.bin").write_bytes(b"\0\2")
    (tmp_path / "new.txt").write_text("x")
    source = source_of(tmp_path / "a.txt")
    assert (source.dirty, source.added) == (True, ["new.txt"])
    (tmp_path / "changes.patch").write_text(changes_of(tmp_path).patch)
    checkout("checkout", "-q", "a.txt", "b.bin")
    checkout("apply", "changes.patch")
    assert (tmp_path / "a.txt").read_text() == "two\n \n" and (tmp_path / "b.bin").read_bytes() == b"\0\2"


def test_outputs_of_notebooks_push_no_edit_out_of_the_patch(checkout: Callable[..., None], tmp_path: Path) -> None:
    def notebook(source: str, output: str) -> str:
        outputs = [nbformat.v4.new_output("stream", text=output)] if output else []
        cells = [nbformat.v4.new_code_cell("1", id="b"), nbformat.v4.new_code_cell(source, id="a", outputs=outputs)]
        return nbformat.writes(nbformat.v4.new_notebook(cells=cells))

    names = ["study/a.ipynb", "study/b c.ipynb"]
    (tmp_path / "study").mkdir()
    for name in (*names, "study/outputs only.ipynb"):
        (tmp_path / name).write_text(notebook("x", "" if name == names[0] else "was here"))
    (tmp_path / "module.py").write_text("one\n")
    (tmp_path / "large.csv").write_text("")
    checkout("add", ".")
    checkout("commit", "-qm", "first")
    for name in (*names, "study/outputs only.ipynb"):
        (tmp_path / name).write_text(notebook("x" if "only" in name else "edited", "new" * 1_000_000))
    (tmp_path / "module.py").write_text("two\n")
    (tmp_path / "large.csv").write_text("x" * 2_100_000)
    changes = changes_of(tmp_path / "study")
    outputs = [f"outputs of {name}" for name in (*names, "study/outputs only.ipynb")]
    assert [*changes.left_out] == [*outputs, "large.csv"] and len(changes.patch) < 5_000
    checkout("checkout", "-q", ".")
    (tmp_path / "changes.patch").write_text(changes.patch)
    checkout("apply", "changes.patch")
    assert (tmp_path / "module.py").read_text() == "two\n"
    assert (tmp_path / names[0]).read_text() == notebook("edited", "")
    assert (tmp_path / names[1]).read_text() == notebook("edited", "was here")


def test_seeds_and_counts_are_found_among_parameters_and_facts() -> None:
    values = {"seed": 3, "data_seed": 4, "seeds": [1], "split_seed": True, "n": 9}
    assert seeds_in(values) == {"seed": 3, "data_seed": 4}
    assert counts_in({"requests_computed": 2, "requests_stored": 8, "tokens_computed": 70, "x": 1}) == Counts(
        computed=2, cached=8, tokens=70
    )
    assert counts_in({"requests_computed": "many"}) == Counts()
