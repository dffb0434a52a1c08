"""Every noun shows richly in JupyterLab and plainly in a terminal, with what others wrote escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from records import write_runs

from workbench.models import Model
from workbench.questions import Option, Question, Questions
from workbench.reports import Comparison

BAD = "<script>alert(1)</script>"
QUESTION = Question(f"Prompt {BAD}", (Option(f" {BAD}", "correct"), Option(" b", "wrong")), {"subject": BAD})


def nouns(folder: Path) -> dict[str, Any]:
    run = write_runs(folder, 1, figures=False, notebook=BAD.replace("/", ""))[0]
    items = pd.DataFrame({"benchmark": BAD, "question_id": ["a", "b"]})
    values = {"right": pd.DataFrame({BAD: [0.0, 1.0], "b": [1.0, 1.0]})}
    coverage = pd.DataFrame({"run": [BAD, "b"], "questions": 2, "lacks": 0, "left out": 0})
    labels = (BAD, "b")
    return {
        "question": QUESTION,
        "questions": Questions([QUESTION]),
        "model": Model(BAD, None, None, "cpu", "float32", "f" * 64),
        "run": run,
        "headline": run.headline,
        "answers": pd.DataFrame({"question_id": [BAD], "logprob": [-1.0]}),
        "comparison": Comparison((run, run), labels, "right", BAD, "", items, values, coverage),
    }


@pytest.mark.parametrize("name", ["question", "questions", "model", "run", "headline", "answers", "comparison"])
def test_it_shows_richly_and_plainly_and_escaped(tmp_path: Path, name: str) -> None:
    thing = nouns(tmp_path)[name]
    data, _ = DisplayFormatter().format(thing)
    assert "<script>" not in data["text/html"] and data["text/html"].count("<") > 2
    assert name == "headline" or "&lt;script&gt;" in data["text/html"]
    assert data["text/plain"].strip() and "<table" not in data["text/plain"]
