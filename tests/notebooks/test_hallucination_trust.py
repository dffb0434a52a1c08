"""The notebooks on trust in benchmarks and answers, end to end with a few items on a random network of two layers."""

from __future__ import annotations

import pytest
from records import assert_comparable

from workbench.runs import execute, plan

pytestmark = [pytest.mark.notebook, pytest.mark.model]
FEW = {"benchmarks": ["general_knowledge", "piqa"], "n": 12}
SMALL = {
    "benchmark_harmony": {**FEW, "draws": 20, "styles": ["cloze"], "shots": [0, 1], "most_clusters": 4},
    "benchmark_variance": {
        **FEW,
        "n": 6,
        "orders": 2,
        "shots": [1],
        "wordings": ["", "Answer."],
        "seeds": 3,
        "steps": 3,
        "draws": 20,
    },
    "risk_scores": {"tables": ["anes96"], "n": 30, "shots": 2, "draws": 20, "folds": 3},
    "selective_answering": {
        **FEW,
        "benchmarks": ["openbookqa", "piqa"],
        "levels": [0.3, 0.6],
        "splits": 20,
        "voters": 20,
        "samples": 10,
    },
    "steering": {
        **{"n": 4, "n_learn": 1, "steps": 2, "layers": [1], "alphas": [1.0], "n_statements": 6},
    },
}


UNITS = {"benchmark_harmony": 12, "benchmark_variance": 12, "risk_scores": 30, "selective_answering": 24, "steering": 4}
"""Independent units of the headline: questions, rows or items, however many readers, splits or settings read them."""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.mark.parametrize("notebook", SMALL)
def test_the_notebook_runs_and_leaves_a_report(notebook, outputs, tiny_model, kernel):
    (planned,) = plan("hallucination", "quick", {"model": tiny_model, **SMALL[notebook]}, notebook=notebook)
    run = execute(planned, outputs, kernel=kernel)
    assert run.status == "ok", run.failure
    assert_comparable(run)
    assert (run.folder / "report.html").stat().st_size < 2_500_000
    assert run.headline is not None and run.headline.n == UNITS[notebook]
    assert set(run.frame("what_holds")["verdict"].str.split(":").str[0]) <= {"holds", "does not hold", "cannot tell"}
    if notebook == "benchmark_variance":
        ratios = run.frame("snr").dropna(subset=["low"])
        assert ratios["mean"].between(ratios["low"], ratios["high"]).all() and (ratios["high"] < 1e4).all()
    if notebook == "risk_scores":
        constant = run.frame("report").query("score == 'base rate'").set_index("metric")
        assert constant["mean"].isna()["auroc"] and constant.loc["ece", "mean"] == 0
    if notebook == "selective_answering":
        assert {"proportion of correct answers released", "items"} <= set(run.frame("release_summary"))
    if notebook == "steering":
        assert run.frame("tokens")["tokens"].str.len().gt(0).all()


def test_a_users_own_table_gets_risk_scores(tmp_path, tiny_model, kernel):
    rows = "\n".join(f"{20 + i % 50},{1 + i % 2},{i % 3}" for i in range(12))
    (tmp_path / "people.csv").write_text("AGE,JOB,HOURS\n" + rows)
    (tmp_path / "people.yaml").write_text(
        "columns:\n  AGE: {says: age, unit: years}\n  JOB: {says: work, values: {1: baker, 2: pilot}}\n"
        "tasks:\n  sleep:\n    describe: A made-up person.\n    features: [AGE, JOB]\n"
        "    target: {column: HOURS, above: 0}\n    question: Does this person sleep long?\n"
        '    choices: ["No", "Yes"]\n    ask_probability: How probable is long sleep?\n'
    )
    given = {"tables": [], "csv": str(tmp_path / "people.csv"), "dictionary": str(tmp_path / "people.yaml")}
    given |= {"model": tiny_model, "n": None, "shots": 2, "draws": 10, "folds": 2}
    (planned,) = plan("hallucination", "quick", given, notebook="risk_scores")
    run = execute(planned, tmp_path / "out", kernel=kernel)
    assert run.status == "ok", run.failure
    rows = run.frame("rows")
    assert len(rows) == 10 and rows["score_examples"].between(0, 1).all()
