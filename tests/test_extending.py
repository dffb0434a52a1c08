"""The walks of docs/extending.md, made in a copy of the project as the page says, and what they add used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import tiny

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```\w+\n# (append to|new file|replace in) (\S+)\n(.*?)```", re.S)
USE = """
import json
import sys
import numpy as np
import workbench as wb
from pathlib import Path
from workbench.hallucination import first_option
from workbench.planted import planted_answers
from workbench.runs import execute, plan

questions = wb.load_questions("boolq", n=40, style="letters")
first = [planted_answers(questions, lambda question: np.eye(2)[0])]
(planned,) = plan("hallucination", "quick", {"n": 6, "model": sys.argv[1]}, notebook="first_option")
run = execute(planned, Path("outputs"))
print(json.dumps({
    "options": sorted(option.text for option in wb.load_questions("boolq", n=1)[0].options),
    "listed": int((wb.datasets.names()["name"] == "boolq").sum()),
    "planted": first_option.table(first)[["mean", "n", "uniform"]].values.tolist(),
    "status": run.status, "failure": str(run.failure), "n": run.frame("first_option")["n"].tolist(),
}))
"""


def steps() -> list[tuple[str, str, str]]:
    """What the page does to each file: kind of change, path, text."""
    return BLOCK.findall((ROOT / "docs/extending.md").read_text(encoding="utf-8"))


def notebook(cells: str) -> str:
    """A notebook of cells that `# %%` divides."""
    made = []
    for part in cells.split("# %%")[1:]:
        tags, _, code = part.partition("\n")
        made.append(nbformat.v4.new_code_cell(code.strip(), metadata={"tags": tags.split()}))
    return nbformat.writes(nbformat.v4.new_notebook(cells=made))


def follow(kind: str, path: Path, text: str) -> None:
    if kind == "replace in":
        old, new = text.split("---\n")
        assert path.read_text().count(old.rstrip()) == 1
        path.write_text(path.read_text().replace(old.rstrip(), new.rstrip()))
    elif kind == "new file":
        assert not path.exists()
        path.write_text(notebook(text) if path.suffix == ".ipynb" else text)
    else:
        path.write_text(path.read_text().rstrip("\n") + ("\n\n\n" if path.suffix == ".py" else "\n") + text)


def test_each_walk_touches_at_most_two_existing_files() -> None:
    walks = (ROOT / "docs/extending.md").read_text(encoding="utf-8").split("\n## ")[1:]
    assert [walk.partition("\n")[0] for walk in walks] == ["A benchmark", "A metric", "A notebook"]
    for walk in walks:
        found = BLOCK.findall(walk)
        assert found and len({path for kind, path, _ in found if kind != "new file"}) <= 2


@pytest.mark.notebook
@pytest.mark.model
def test_the_walks_lead_where_the_page_says(tmp_path: Path) -> None:
    tiny.network(context=4096).save_pretrained(tmp_path / "tiny")
    tiny.byte_tokenizer().save_pretrained(tmp_path / "tiny")
    for name in ("workbench", "notebooks", "studies"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for kind, path, text in steps():
        follow(kind, tmp_path / path, text)
    said = subprocess.run(
        [sys.executable, "-c", USE, str(tmp_path / "tiny")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout.splitlines()[-1])
    assert found["options"] == [" No", " Yes"] and found["listed"] == 1
    assert found["planted"] == [[1.0, 40, 0.5]]
    assert (found["status"], found["n"]) == ("ok", [6]), found["failure"]
