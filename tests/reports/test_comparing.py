from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from records import START, a_run
from scipy.stats import binomtest

from workbench.errors import InputError
from workbench.reports import compare
from workbench.runs import Run, load_run
from workbench.runs.comparison import keep_comparison
from workbench.runs.folder import CurrentRun, read_notes
from workbench.runs.listing import removable
from workbench.statistics import sign_flip_p

N = 60


def items(seed: int, n: int = N) -> pd.DataFrame:
    """A 0/1 metric, a score and columns that belong to the item."""
    draw = np.random.default_rng(seed)
    names = [f"q{i:03}" for i in range(n)]
    right = draw.random(n) < 0.4 + 0.2 * seed
    return pd.DataFrame({"benchmark": "piqa", "question_id": names, "right": right, "score": draw.normal(seed, 1, n),
                         "chance": 0.5})  # fmt: skip


def kept(outputs: Path, number: int, table: pd.DataFrame | None, **changes: Any) -> Run:
    """A run of `toy/first` in its folder, with this table of items."""
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
    comparison = compare(kept(tmp_path, 0, one), kept(tmp_path, 1, two.sample(frac=1, random_state=0)))
    rows = comparison.differences.set_index("metric")
    assert list(rows.index) == ["right", "score"] and comparison.name == "org/m1 against org/m0"
    difference = two["score"] - one["score"]
    assert rows.loc["score", "difference"] == pytest.approx(difference.mean())
    half = 2.001 * difference.std() / np.sqrt(N)
    assert rows.loc["score", "high"] - rows.loc["score", "difference"] == pytest.approx(half, rel=1e-3)
    assert rows.loc["score", ["test", "p"]].tolist() == ["paired permutation", sign_flip_p(difference)]
    better, worse = int((two.right & ~one.right).sum()), int((one.right & ~two.right).sum())
    exact = binomtest(min(better, worse), better + worse).pvalue
    assert rows.loc["right", "test"] == "exact McNemar" and rows.loc["right", "p"] == pytest.approx(exact)
    smaller, larger = sorted(rows["p"])
    assert sorted(rows["p_holm"]) == pytest.approx(sorted([min(1, 2 * smaller), max(larger, min(1, 2 * smaller))]))


def test_flipped_questions_are_listed(tmp_path: Path) -> None:
    one = items(0)
    two = one.assign(right=one["right"] ^ one["question_id"].isin(["q001", "q007"]))
    comparison = compare(kept(tmp_path, 0, one), kept(tmp_path, 1, two))
    assert comparison.flips["question_id"].tolist() == ["q001", "q007"] and "question" not in comparison.flips
    assert (comparison.flips["baseline_value"] + comparison.flips["run_value"]).tolist() == [1, 1]
    assert "2 answers flipped" in repr(comparison) and "2 answers flipped" in comparison._repr_html_()


def test_flips_come_with_the_question_where_the_notebook_keeps_it(tmp_path: Path) -> None:
    one = items(0)
    one["question"] = ["Why is " + "very " * 99 + name for name in one["question_id"]]
    two = one.assign(right=one["right"] ^ (one["question_id"] == "q007")).sample(frac=1, random_state=1)
    comparison = compare(kept(tmp_path, 0, one), kept(tmp_path, 1, two))
    assert len(comparison.flips) == 1 and comparison.flips["question"][0].startswith("Why is very very")
    assert len(comparison.flips["question"][0]) <= 200 and "question" not in set(comparison.differences["metric"])


def test_flips_are_counted_for_each_metric(tmp_path: Path) -> None:
    one = items(0).assign(other=1)
    two = one.assign(right=~one["right"], other=[0, 0, *[1] * (N - 2)])
    assert compare(kept(tmp_path, 0, one), kept(tmp_path, 1, two)).flipped == "62 answers flipped (right 60, other 2)"


def test_clusters_are_kept_together_and_three_runs_share_a_baseline(tmp_path: Path) -> None:
    clustered = [items(seed).assign(cluster=np.arange(N) // 4) for seed in range(3)]
    runs = [kept(tmp_path, number, table) for number, table in enumerate(clustered)]
    comparison = compare(*runs)
    assert comparison.differences["run"].tolist() == ["org/m1", "org/m1", "org/m2", "org/m2"]
    assert set(comparison.differences["test"]) == {"paired permutation"}
    assert "cluster" not in set(comparison.differences["metric"])


def test_runs_that_cannot_be_compared_are_refused_with_the_reason(tmp_path: Path) -> None:
    base = kept(tmp_path, 0, items(0))
    others = {
        "differ in 1 items": kept(tmp_path, 1, items(1, N + 1)),
        "differ in 2 items": kept(tmp_path, 2, items(1).replace("q001", "other")),
        "kept no table 'items'": kept(tmp_path, 3, None),
        r"did not succeed \(died\)": kept(tmp_path, 4, items(1), status="died"),
        "different notebooks": kept(tmp_path, 5, items(1), notebook="second"),
        "no metric of the same questions": kept(tmp_path, 6, items(1)[["benchmark", "question_id"]].assign(y=1)),
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


def test_it_is_kept_like_a_run_with_report_and_place_in_the_gallery(tmp_path: Path) -> None:
    first = kept(tmp_path, 0, items(0), parameters_given={"model": "<b>bold</b>", "seed": 1})
    second = kept(tmp_path, 1, items(1), parameters_given={"model": "*m*", "seed": 1})
    third = kept(tmp_path, 2, items(2), parameters_given={"model": "<b>bold</b>", "seed": 1})
    comparison = keep_comparison(compare(first, second), tmp_path)
    assert comparison.folder is not None and load_run(comparison.folder) == comparison
    assert comparison.name == "comparisons/first" and comparison.refers_to == [
        f"toy/first/{r.run_id}" for r in (first, second)
    ]
    assert [table.name for table in comparison.tables] == ["runs", "differences", "flips"]
    page = (comparison.folder / "report.html").read_text(encoding="utf-8")
    code = re.findall(r'<pre class="code">(.*?)</pre>', page, re.DOTALL)
    assert [re.sub("<.*?>", "", text).split()[-1] for text in code] == [
        "comparison.changed", "comparison.differences", "comparison.draw()", "comparison.flips"]  # fmt: skip
    assert "*m* against &lt;b&gt;bold&lt;/b&gt;" in page and "<svg" in page and "Flipped questions" in page
    assert "right, *m* minus &lt;b&gt;bold&lt;/b&gt;" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert {removal.path.name for removal in removable(tmp_path)} == set()  # the first is replaced, and referred to
    assert third.folder is not None
    assert compare("toy/first/" + first.run_id, comparison.refers_to[1], outputs=tmp_path).labels == (
        "<b>bold</b>",
        "*m*",
    )
