"""Runs of real notebooks held against each other, question by question."""

from __future__ import annotations

import json
import re

import pytest

from workbench.files import CHECKOUT
from workbench.reports import compare, standings
from workbench.runs import execute, plan
from workbench.runs.studies import plan_comparison

NOTEBOOKS = sorted(CHECKOUT.glob("notebooks/*/*.ipynb"))
FEW = {"n": 4, "benchmarks": ["general_knowledge", "piqa"]}
COUNTRIES = ["U.S.A.", "China", "Japan", "Sweden"]
TRAINED = {"per_topic": 1, "sft_saves": [0, 1], "batch": 2}
PAIRS = {
    "hallucination/calibration": (FEW, {"normalisations": ["tokens"]}),
    "judges/master_keys": ({"n": 2, "hide_questions": False}, {"chat": False}),
    "cultural_alignment/cultural_map": ({"per_dimension": 1, "countries": COUNTRIES}, {"chat": False}),
    "value_drift/released_checkpoints": ({**TRAINED, "strengths": [0.0, 1.0]}, {"strengths": [0.0, 0.5]}),
}
"""Notebook -> small parameters, and what the second run has otherwise."""
FIRST, *OTHERS = PAIRS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_keeps_items_or_says_why_not(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code")
    assert len(re.findall(r"\brun\.(?:items|no_items)\(", code)) == 1
    assert 'run.table("items"' not in code


@pytest.mark.notebook
@pytest.mark.model
@pytest.mark.parametrize("name", [FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_two_runs_of_a_notebook_are_compared(name, tmp_path, embedded_kernel):
    (study, notebook), (given, otherwise) = name.split("/"), PAIRS[name]
    runs = [
        execute(plan(study, "quick", values, notebook=notebook)[0], tmp_path, kernel=embedded_kernel)
        for values in (given, given | otherwise)
    ]
    assert [run.failure for run in runs] == [None, None]
    found = compare(*runs)
    differences = standings.metrics(found, *found.labels)
    assert differences["n"].max() == len(runs[0].frame("items")) > 1
    defined = differences.dropna(subset=["low", "high"])
    assert (defined["low"] <= defined["mean"]).all() and (defined["mean"] <= defined["high"]).all()
    assert (differences["mean"].abs() > 0).any() and set(otherwise) <= set(found.coverage)
    page = execute(plan_comparison(runs, tmp_path, {"draws": 99}), tmp_path, kernel=embedded_kernel)
    assert (page.failure, page.name) == (None, f"comparisons/{notebook}")
