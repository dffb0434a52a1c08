"""The judges notebooks, end to end: two on the embedded model, the others on a random network of two layers."""

from __future__ import annotations

from html import unescape

import pytest
from fake_server import FakeServer
from records import assert_comparable

import workbench as wb
from workbench.runs import execute, plan

pytestmark = [pytest.mark.notebook, pytest.mark.model]
SMALL = {
    "consistency": {"n": 2, "top": [5], "controls": ["oracle"]},
    "biases": {"n": 3, "data": ["nq_human"], "templates": ["pair", "pair_words"], "controls": ["oracle", "first"]},
    "master_keys": {"n": 2, "hide_questions": False},
    "ratings_and_rankings": {"n": 2},
    "agreement": {"n": 2, "n_pairs": 3, "pairs": ["nq_human"], "panel": ["score"]},
}
EMBEDDED = ("master_keys", "ratings_and_rankings")


@pytest.mark.parametrize("notebook", SMALL)
def test_the_judges_notebook_runs_and_leaves_a_report(notebook, tmp_path, tiny_model, kernel, embedded_kernel):
    given = SMALL[notebook] | ({} if notebook in EMBEDDED else {"model": tiny_model})
    (planned,) = plan("judges", "quick", given, notebook=notebook)
    run = execute(planned, tmp_path, kernel=embedded_kernel if notebook in EMBEDDED else kernel)
    assert run.status == "ok", run.failure
    assert_comparable(run)
    report = (run.folder / "report.html").read_text()
    assert len(report) < 3_000_000
    assert "<figcaption>Findings tested on this run" in report
    assert any(words in report for words in ("at chance", "better than chance", "too few pairs", "discriminate"))
    assert run.headline.value == run.headline.value
    assert set(run.frame("what_holds")["verdict"].str.split(":").str[0]) <= {"holds", "does not hold", "cannot tell"}
    if notebook == "consistency":
        table = run.frame("conflict_ratio").set_index(["judge", "scoring", "aggregation"])
        assert table.loc[("oracle", "expected", "likelihood"), "mean"] == 0
        parts = table["reversal"] + table["score_tie_only"] + table["pair_tie_only"]
        assert table["mean"].to_numpy() == pytest.approx(parts.to_numpy())
    if notebook == "biases":
        rates = run.frame("rates").set_index(["judge", "metric"])["mean"]
        assert rates["first", "position"] == 1 and rates["oracle", "both"] == 1
        probes = run.frame("probes").set_index(["probe", "metric"])["mean"]
        assert probes["identical", "agree"] in (0, 1) or 0 < probes["identical", "ties"] < 1
    if notebook == "agreement":
        assert set(run.frame("readings")["prompt"]) == {"score 1-5", "checklist Yes/No"}
        assert (run.frame("doubt")["n"] == 10).all()
        swapped = run.frame("replaced_mean").set_index("judge")
        assert (swapped["n"] == 10).all() and (swapped["low"] < swapped["high"]).all()
        claims = run.frame("what_holds").set_index("claim")["source"]
        assert claims["Replacing a planted rater by the judge lowers agreement"].endswith("here planted")
        assert "The judge's marks are higher than the intended quality levels" in claims
        choices = "Pairwise comparison agrees with people's marks on NQ-open (rated answers) more often than chance"
        assert choices in claims
        assert "the intended quality levels" in run.headline.text and "people" not in run.headline.text
    if notebook == "master_keys":
        rates = run.frame("rates").set_index(["judge", "key"])["mean"]
        assert rates["oracle", "the reference"] == 1 and rates["oracle", "empty"] == 0


def test_a_users_own_judge_and_items(tmp_path, tiny_model, kernel):
    template = tmp_path / "mine.txt"
    template.write_text(
        "kind: pairwise\nlabels: {left: 1, right: -1}\n---\n{question}\n1. {answer_a}\n2. {answer_b}\n---\nBetter:"
    )
    items = tmp_path / "mine.csv"
    rows = ["question,answer,score"]
    rows += [f"What is {k} and {k}?,{k + k + off},{score}" for k in (1, 2) for off, score in ((0, 3), (1, 2), (5, 1))]
    items.write_text("\n".join(rows))
    scale = tmp_path / "mine_too.txt"
    scale.write_text("kind: pointwise\nlabels: {bad: 1, good: 2}\n---\n{question}\n{answer}\n---\nThis is")
    own = {"pair_template": str(template), "score_template": str(scale), "top": None}
    given = {"model": tiny_model, "data": str(items), "n": None, "controls": ["oracle"], **own}
    (planned,) = plan("judges", "quick", given, notebook="consistency")
    run = execute(planned, tmp_path / "out", kernel=kernel)
    assert run.status == "ok", run.failure
    assert run.facts["cases"]["name"] == "mine.csv"
    assert set(run.frame("readings")["prompt"]) == {"mine left/right", "mine_too bad/good"}
    assert run.frame("conflict_ratio").query("judge == 'oracle' and scoring == 'expected'")["mean"].eq(0).all()


def test_agreement_with_single_raters_on_a_scale_they_do_not_fill(tmp_path, tiny_model, kernel):
    items = tmp_path / "mine.csv"
    rows = [f"What is {k} and {k}?,{k + k + off},{marks}" for k in (1, 2, 3) for off, marks in ((0, "4|3"), (k, "2|3"))]
    items.write_text("\n".join(["question,answer,score", *rows, "What is 4 and 4?,8,4|4", "What is 4 and 4?,9,1|2"]))
    given = {"model": tiny_model, "data": str(items), "n": None, "scale": [1, 7]}
    given |= {"n_pairs": 3, "pairs": ["nq_human"], "panel": ["score"]}
    (planned,) = plan("judges", "quick", given, notebook="agreement")
    run = execute(planned, tmp_path / "out", kernel=kernel)
    assert run.status == "ok", run.failure
    assert not (run.folder / "tables" / "icc.csv").exists()
    claims = set(run.frame("what_holds")["claim"])
    assert "Replacing a rater by the judge lowers agreement" in claims
    assert "The panel's marks correlate with the marks in mine.csv" in claims
    assert any("are higher than" in claim for claim in claims)  # over questions, without common levels
    assert "the marks in mine.csv (scale 1 to 7)" in unescape((run.folder / "report.html").read_text())


def test_items_without_scores_run_and_report_what_is_unknown(tmp_path, tiny_model, kernel):
    items = tmp_path / "mine.jsonl"
    items.write_text(
        "\n".join(f'{{"question": "What is {k} and {k}?", "answer": "{a}"}}' for k in (1, 2) for a in "248")
    )
    given = {"model": tiny_model, "data": [str(items)], "templates": ["pair"]}
    (planned,) = plan("judges", "quick", given, notebook="biases")
    run = execute(planned, tmp_path / "out", kernel=kernel)
    assert run.status == "ok", run.failure
    assert run.frame("standing")["against chance"].str.contains("no marks say which answers are better").all()
    assert set(run.frame("what_holds").query("claim.str.contains('right')", engine="python")["verdict"]) == {
        "cannot tell: only 0 units"
    }


@pytest.mark.parametrize("notebook", ["agreement", "ratings_and_rankings"])
def test_a_judge_behind_a_chat_endpoint_has_no_rewards_of_whole_answers(notebook, tmp_path, tiny_model, kernel):
    served = wb.load_model(tiny_model, device="cpu")
    with FakeServer(served.network, served.tokenizer, vllm=False) as fake:
        given = SMALL[notebook] | {"model": f"chat+http://{fake.host}/v1/tiny?top_k=100"}
        (planned,) = plan("judges", "quick", given, notebook=notebook)
        run = execute(planned, tmp_path, kernel=kernel)
    assert run.status == "ok", run.failure
    table, column, rows = {
        "agreement": ("better", "judge", {"comparison", "P(Yes)", "longer"}),
        "ratings_and_rankings": ("accuracy", "reward", {"rating", "P(Yes)", "length", "comparison"}),
    }[notebook]
    assert set(run.frame(table)[column]) == rows
