from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from records import START, a_run
from scipy.stats import binomtest

from workbench.errors import InputError
from workbench.reports import compare, standings
from workbench.reports.comparing import chosen, flips, flips_caption
from workbench.runs import Run, execute, load_run
from workbench.runs.folder import CurrentRun, read_notes
from workbench.runs.listing import removable
from workbench.runs.studies import plan_comparison

N = 60


def items(seed: int, n: int = N) -> pd.DataFrame:
    """A 0/1 metric, a score and columns that belong to the item."""
    draw = np.random.default_rng(seed)
    names = [f"q{i:03}" for i in range(n)]
    right = draw.random(n) < 0.4 + 0.2 * seed
    return pd.DataFrame({"benchmark": "piqa", "question_id": names, "right": right, "score": draw.normal(seed, 1, n),
                         "chance": 0.5})  # fmt: skip


def kept(outputs: Path, number: int, table: pd.DataFrame | None, **changes: Any) -> Run:
    """A run of `toy/first` in its folder, with these items."""
    run = a_run(**{
        "run_id": f"2026010{number + 1}T000000.000Z-{number:08x}",
        "parameters_given": {"model": f"org/m{number}"},
        "parameters_default": {},
        "started": START + timedelta(hours=number),
        **changes,
    })  # fmt: skip
    folder = outputs / run.name / run.run_id
    folder.mkdir(parents=True)
    if table is not None:
        CurrentRun(folder).table("items", table)
    notes = read_notes(folder)["tables"]
    (folder / "run.json").write_text(Run(**{**run.model_dump(), "tables": notes}).sealed())
    return load_run(folder)


def test_differences_are_paired_by_question_whatever_the_order(tmp_path: Path) -> None:
    one, two = items(0), items(1)
    found = compare(kept(tmp_path, 0, one), kept(tmp_path, 1, two.sample(frac=1, random_state=0)))
    rows = standings.metrics(found, "m0", "m1").set_index("metric")
    assert list(rows.index) == ["right", "score"] and found.title == "toy/first: 2 runs" and found.metric == "right"
    difference = two["score"] - one["score"]
    assert rows.loc["score", "mean"] == pytest.approx(difference.mean())
    half = 2.001 * difference.std() / np.sqrt(N)
    assert rows.loc["score", "high"] - rows.loc["score", "mean"] == pytest.approx(half, rel=1e-3)
    better, worse = int((two.right & ~one.right).sum()), int((one.right & ~two.right).sum())
    exact = binomtest(min(better, worse), better + worse).pvalue
    assert rows.loc["right", "p"] == pytest.approx(exact, rel=0.2)
    smaller, larger = sorted(rows["p"])
    assert sorted(rows["p_holm"]) == pytest.approx(sorted([min(1, 2 * smaller), max(larger, min(1, 2 * smaller))]))
    assert standings.pairs(compare(*found.runs, metric="score")).loc[0, "mean"] == pytest.approx(difference.mean())


def test_flipped_questions_are_listed_with_their_texts_and_counted(tmp_path: Path) -> None:
    one = items(0).assign(other=1)
    one["question"] = ["Why is " + "very " * 99 + name for name in one["question_id"]]
    flipped = one["question_id"].isin(["q001", "q007"])
    two = one.assign(right=one["right"] ^ flipped, other=[0, *[1] * (N - 1)]).sample(frac=1, random_state=1)
    found = compare(kept(tmp_path, 0, one), kept(tmp_path, 1, two))
    table = flips(found, "m0", "m1")
    assert table["id"].tolist() == ["q001", "q007", "q000"] and table["metric"].tolist()[2] == "other"
    assert (table["m0"] + table["m1"]).tolist() == [1, 1, 1] and table["question"].str.len().max() <= 200
    assert "other 0 gained, 1 lost" in flips_caption(found, table, "m0", "m1")
    same = compare(kept(tmp_path, 2, one), kept(tmp_path, 3, one.assign(score=0.5)))
    assert flips(same, "m2", "m3").attrs["reason"] == "m2 and m3 agree on every question"


def test_the_notebook_states_the_main_metric_and_which_values_are_better(tmp_path: Path) -> None:
    stated = {"main_metric": {"name": "accuracy", "better": "higher"}}
    runs = [kept(tmp_path, number, items(number), facts=stated) for number in (0, 1)]
    found = compare(*runs)
    assert (found.quantity, found.better, found.best) == ("accuracy", "higher", "best")
    other = compare(*runs, metric="score")
    assert (other.quantity, other.better, other.best) == ("score", "", "highest")
    assert compare(*runs, metric="score", better="lower").best == "best"
    assert "accuracy" in repr(found) and "★" in repr(found) and "<table" in found._repr_html_()
    for wrong in ({"metric": "rihgt"}, {"better": "up"}):
        with pytest.raises(InputError, match="Unknown"):
            compare(*runs, **wrong)


def test_clusters_are_kept_together(tmp_path: Path) -> None:
    clustered = [items(seed).assign(cluster=np.arange(N) // 4) for seed in range(3)]
    found = compare(*(kept(tmp_path, number, table) for number, table in enumerate(clustered)))
    assert set(standings.matrix(found)["n_clusters"]) == {N / 4} and list(found.values) == ["right", "score"]
    assert found.facts()["questions"] == [{"name": "piqa", "n": N}]


def test_runs_with_other_items_are_reduced_to_the_common_ones_aloud(tmp_path: Path) -> None:
    whole, part = items(0), items(1).iloc[:50]
    undefined = items(2)
    undefined.loc[:4, "score"] = np.nan
    runs = [kept(tmp_path, number, table) for number, table in enumerate((whole, part, undefined))]
    found = compare(*runs)
    assert (
        found.reduced == "50 of 60 questions are in all 3 runs and are compared; 10 are left out (m1 lacks most, 10)."
    )
    assert found.coverage[["questions", "lacks", "left out"]].to_numpy().tolist() == [
        [60, 0, 10],
        [50, 10, 0],
        [60, 0, 10],
    ]
    assert set(standings.matrix(found)["n"]) == {50}
    assert "10 questions that a run lacks are left out" in standings.matrix_caption(found)
    scores = compare(*runs, metric="score")
    assert set(standings.matrix(scores)["n"]) == {45} and "5 questions undefined" in standings.matrix_caption(scores)
    with pytest.raises(InputError, match=r"Only 50 of 60 questions are in all 3 runs, fewer than 90% \(m1 lacks most"):
        compare(*runs, least_common=0.9)


def test_runs_that_cannot_be_compared_are_refused_with_the_reason(tmp_path: Path) -> None:
    base = kept(tmp_path, 0, items(0))
    others = {
        "Only 0 of 120 questions": kept(tmp_path, 2, items(1).assign(benchmark="other")),
        "kept no table 'items'": kept(tmp_path, 3, None),
        r"did not succeed \(died\)": kept(tmp_path, 4, items(1), status="died"),
        "different notebooks": kept(tmp_path, 5, items(1), notebook="second"),
        "no metric of the same questions": kept(tmp_path, 6, items(1)[["benchmark", "question_id"]].assign(y=1)),
        "undefined on every common question": kept(tmp_path, 7, items(1).assign(right=np.nan)),
        "more than once": kept(tmp_path, 9, items(1).replace("q001", "q000")),
        "named twice": base,
    }
    for said, other in others.items():
        with pytest.raises(InputError, match=said):
            compare(base, other)
    with pytest.raises(InputError, match="one run only"):
        compare(base)
    without = kept(tmp_path, 8, None, facts={"no_items": "it is one number"})
    with pytest.raises(InputError, match="toy/first cannot be compared question by question: it is one number"):
        compare(without, base)


def test_questions_of_one_name_and_two_texts_are_refused(tmp_path: Path) -> None:
    one = items(0).assign(question="Why?")
    with pytest.raises(InputError, match=r"60 questions have the same id and different texts.*'q000'"):
        compare(kept(tmp_path, 0, one), kept(tmp_path, 1, one.assign(question="Who?")))


def test_prompts_may_differ_on_the_same_questions_of_the_same_file(tmp_path: Path) -> None:
    """A style of prompt is compared like a model; an edited file is another sample."""
    one, file = items(0).assign(question="Why?"), {"name": "mine", "revision": "sha256:1"}
    other = one.assign(question=["Why?"] * 20 + ["A. Why?"] * 40)
    first = kept(tmp_path, 0, one, facts={"questions": [file]})
    both = compare(first, kept(tmp_path, 1, other, facts={"questions": [file]}))
    assert both.coverage["other prompts"].tolist() == [0, 40]
    assert "40 of them have other prompts in other runs" in both.reduced
    edited = kept(tmp_path, 2, other, facts={"questions": [file | {"revision": "sha256:2"}]})
    with pytest.raises(InputError, match="same id and different texts"):
        compare(first, edited)


def test_runs_are_chosen_by_name_or_from_a_study(tmp_path: Path) -> None:
    runs = [kept(tmp_path, number, items(number)) for number in range(3)]
    again = kept(tmp_path, 3, items(0), parameters_given=runs[0].parameters_given)
    kept(tmp_path, 4, items(4), status="died")
    names = [f"toy/first/{runs[1].run_id}", str(runs[0].folder)]
    assert chosen(names, outputs=tmp_path) == [runs[1], runs[0]]
    assert chosen((), "toy", "first", outputs=tmp_path) == [runs[1], runs[2], again]
    assert chosen((), "toy", "first", ["org/m0", "org/m2"], tmp_path) == [runs[2], again]
    with pytest.raises(InputError, match=r"There are 1 successful runs of toy/first of org/m0"):
        chosen((), "toy", "first", ["org/m0"], tmp_path)
    with pytest.raises(InputError, match="a study and a notebook"):
        chosen((), "toy", outputs=tmp_path)


@pytest.mark.notebook
def test_the_notebook_keeps_a_comparison_with_report_and_place_in_the_gallery(tmp_path: Path) -> None:
    names = ["<b>bold", "*m*", "plain"]
    tables = [items(number).assign(question="Is 1 < 2 & <i>3</i>?") for number in range(3)]
    runs = [
        kept(tmp_path, number, table, parameters_given={"model": name, "seed": 1})
        for number, (name, table) in enumerate(zip(names, tables))
    ]
    newer = kept(tmp_path, 3, tables[0], parameters_given=runs[0].parameters_given)
    planned = plan_comparison(runs, tmp_path, {"draws": 99})
    assert [name.rsplit("/", 2)[-2:] for name in planned.files] == [[run.run_id, "run.json"] for run in runs]
    found = execute(planned, tmp_path)
    assert (found.status, found.name, found.failure) == ("ok", "comparisons/first", None)
    assert found.refers_to == [f"toy/first/{run.run_id}" for run in runs] and newer.run_id not in str(found.refers_to)
    assert {"matrix", "scores", "runs", "pairs", "metrics", "flips", "ranks"} <= {table.name for table in found.tables}
    assert found.figures[0].name == "matrix" and found.headline is not None
    assert found.folder is not None
    page = (found.folder / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;bold" in page and "<b>bold" not in page and "*m*" in page
    assert "comparisons" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert {removal.path.name for removal in removable(tmp_path)} == set()  # the first is replaced, and referred to
    assert execute(plan_comparison(runs, tmp_path, {"draws": 99}), tmp_path).reused
    assert plan_comparison(runs[:2], tmp_path, {"draws": 99}).key != found.key
