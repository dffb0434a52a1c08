"""The hallucination notebooks, end to end through papermill on the embedded model."""

from __future__ import annotations

import pytest
from records import assert_comparable

from workbench.runs import execute, plan

pytestmark = [pytest.mark.notebook, pytest.mark.model]
NOTEBOOKS = ("distributional_correctness", "calibration")
SMALL = {"n": 6, "benchmarks": ["general_knowledge", "piqa"]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, embedded_kernel):
    outputs = tmp_path_factory.mktemp("outputs")
    planned = [plan("hallucination", "quick", SMALL, notebook=name)[0] for name in NOTEBOOKS]
    return {each.notebook: execute(each, outputs, kernel=embedded_kernel) for each in planned}


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_notebook_runs_and_leaves_a_report(runs, notebook):
    run = runs[notebook]
    assert run.status == "ok", run.failure
    assert_comparable(run)
    assert run.facts["model"]["model"] == "smollm2-135m-instruct"
    assert (run.folder / "report.html").stat().st_size < 2_000_000
    assert run.headline.n == 12 and run.headline.low < run.headline.value < run.headline.high
    assert set(run.frame("what_holds")["verdict"].str.split(":").str[0]) <= {"holds", "does not hold", "cannot tell"}


def test_the_scores_are_those_of_the_answers(runs):
    """Item-level DCS follows from the parts beside it, and no probability is lost."""
    items = runs["distributional_correctness"].frame("items")
    assert len(items) == 12
    parts = items["p_correct"] + items["p_wrong"] + items["p_abstain"]
    assert parts.to_numpy() == pytest.approx(1)
    assert items["dcs"].to_numpy() == pytest.approx(items["p_correct"] ** 2 - items["p_wrong"] ** 2)


def test_one_number_has_one_interval_inside_its_range(runs):
    run = runs["distributional_correctness"]
    one = run.frame("scores_with_intervals").query("metric == 'accuracy'").set_index("benchmark")
    two = run.frame("normalisations").query("metric == 'accuracy' and normalisation == 'none'").set_index("benchmark")
    ends = ["mean", "low", "high"]
    assert one[ends].to_numpy() == pytest.approx(two.loc[one.index, ends].to_numpy())
    assert set(one["method"]) == set(two["method"]) == {"wilson"}
    shares = run.frame("scores_with_intervals").query("metric in ['p_correct', 'p_wrong', 'p_abstain', 'mass']")
    assert (shares["low"] >= 0).all() and (shares["high"] <= 1).all()


def test_a_users_own_file_is_a_benchmark(tmp_path, embedded_kernel):
    mine = tmp_path / "my items.csv"
    mine.write_text(
        "question,correct,wrong,topic\n"
        "Which metal is liquid at room temperature?,Mercury,Iron|Copper|Zinc,chemistry\n"
        "How many legs has a spider?,Eight,Six|Ten,animals\n"
        "What is frozen water called?,Ice,Steam|Sand,physics\n"
    )
    given = {"benchmarks": [str(mine)], "n": None}
    (planned,) = plan("hallucination", "quick", given, notebook="distributional_correctness")
    run = execute(planned, tmp_path / "out", kernel=embedded_kernel)
    assert run.status == "ok", run.failure
    assert run.facts["questions"][0]["name"] == "my items.csv"
