"""The budget of `quick`: tokens that each notebook computes from an empty answer store, on the embedded model."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from workbench.files import CACHE_VARIABLE, cache_folder
from workbench.runs import execute, plan
from workbench.runs.studies import study_names

pytestmark = [pytest.mark.notebook, pytest.mark.model]
FOLDER = Path(__file__).parents[2] / "studies"
TEXTS = {name: (FOLDER / f"{name}.yaml").read_text(encoding="utf-8") for name in study_names()}
NAMES = sorted(f"{study}/{name}" for study, text in TEXTS.items() for name in yaml.safe_load(text)["notebooks"])
TRAINS = {f"value_drift/{name}" for name in ("post_training", "likelihood_displacement", "alignment_geometry")}
BUDGET = 4_000
"""Most tokens of a notebook that only reads."""
ABOVE = {
    "cultural_alignment/robustness": 18_500,  # six personas, two items per dimension, eight formats
    "cultural_alignment/cultural_map": 15_900,  # the same
    "hallucination/risk_scores": 4_600,  # fourteen rows in five prompts, with worked examples
    "judges/consistency": 6_300,  # six questions, twenty ordered pairs of answers each
    "judges/ratings_and_rankings": 9_700,  # the same, with likelihoods and follow-ups
    "judges/agreement": 7_700,  # six questions with a checklist, and twelve pairs
}
"""Most tokens of the notebooks whose claims cannot be decided within the budget; the study file states the reason."""
MOST_DRAWN = 1_000_000
"""Bytes of a notebook that code hosts still draw."""
BY_VIOLATIONS = "Triples that two-pass aggregation violates"
"""A claim on the questions whose triples are violated: how many depends on the judge."""
CHEAP = "cultural_alignment/national_bias"


def test_the_study_files_state_what_exceeds_the_budget():
    assert ABOVE.keys() | TRAINS <= set(NAMES) and min(ABOVE.values()) > BUDGET
    stated = {name: f"{most:,} tokens" in TEXTS[name.partition("/")[0]] for name, most in ABOVE.items()}
    assert all(stated.values()), stated


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=() if each == CHEAP else pytest.mark.slow) for each in NAMES if each not in TRAINS],
)
def test_quick_comes_within_the_budget_and_no_claim_has_too_few_units(name, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    for folder in ("models", "packages"):
        (tmp_path / "cache" / folder).symlink_to(cache_folder() / folder)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    study, _, notebook = name.partition("/")
    (planned,) = plan(study, "quick", notebook=notebook)
    run = execute(planned, tmp_path / "outputs", gallery=False)
    assert run.status == "ok", run.failure
    assert 0 < run.counts.tokens <= ABOVE.get(name, BUDGET)
    assert run.folder is not None
    assert (run.folder / "notebook.ipynb").stat().st_size < MOST_DRAWN
    forced = [each.claim for each in run.findings if each.reason.startswith("only ")]
    assert run.findings and [claim for claim in forced if not claim.startswith(BY_VIOLATIONS)] == []
