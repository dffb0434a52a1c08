"""The value drift notebooks, end to end through papermill on the embedded model, with a step or two of training."""

from __future__ import annotations

import pytest

from workbench.runs import execute, plan

pytestmark = [pytest.mark.notebook, pytest.mark.model]
SMALL = {
    "post_training": {
        "per_topic": 1,
        "arms": ["support"],
        "optimisers": ["dpo"],
        "sft_saves": [0, 1],
        "preference_saves": [0, 1],
        "batch": 1,
        "gradient_samples": 0,
        "reward_model": True,
    },
    "likelihood_displacement": {"n": 3, "saves": [0, 1], "batch": 1},
    "alignment_geometry": {"saves": [0, 1], "batch": 1, "draws": 10, "layers": [-1], "n_train": 34},
    "released_checkpoints": {"per_topic": 1, "stages": ["smollm2-135m-instruct"]},
}


@pytest.mark.parametrize("notebook", list(SMALL))
def test_the_notebook_runs_and_leaves_a_report(notebook, tmp_path):
    (planned,) = plan("value_drift", "quick", SMALL[notebook], notebook=notebook)
    run = execute(planned, tmp_path)
    assert run.status == "ok", run.failure
    assert (run.folder / "report.html").stat().st_size < 2_000_000
    assert set(run.table("what_holds")["verdict"].str.split(":").str[0]) <= {"holds", "does not hold", "cannot tell"}
    assert (run.headline is None) == (notebook == "released_checkpoints")
