"""Planted log-probabilities and scores through everything the notebook computes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench.value_drift import likelihood_displacement as displacement
from workbench.value_drift import texts

STATEMENTS = [f"s{i}" for i in range(8)]
FALLS = {"similar": -6.0, "paraphrase": -3.0, "dissimilar": 4.0, displacement.REPAIRED: 2.0}
"""Planted change of ln p(preferred) of each run; that of the other answer is 5 nats lower."""
COLUMNS = ["pair_id", "response", "position", "token", "logprob"]
CHES = {"similar": 30.0, "paraphrase": 20.0, "dissimilar": 10.0}


def tokens(change: float) -> pd.DataFrame:
    """Two tokens of each answer, the first of which carries the change, more of it in later statements."""
    rows = []
    for i, name in enumerate(STATEMENTS):
        for side, lower in (("chosen", 0.0), ("rejected", 5.0)):
            moved = (change - lower) * (1 + 0.02 * i) if change else 0.0
            rows += [(name, side, 0, "I", -2.0 + moved), (name, side, 1, "</s>", -1.0)]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture(scope="module")
def reports() -> pd.DataFrame:
    found = {(run, step): tokens(fall * step / 4) for run, fall in FALLS.items() for step in (0, 4)}
    return displacement.reports(found, beta=0.1)


@pytest.fixture(scope="module")
def last(reports: pd.DataFrame) -> pd.DataFrame:
    return reports[reports.step == 4]


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    rows = []
    for kind, ches in CHES.items():
        for i, name in enumerate(STATEMENTS):
            value = ches + 2.0 * (3 * i % 5 - 2)  # no order within a kind
            row = {"ches": value, "ln_ches": -value, "last_hidden_product": (-1) ** i * 1.0}
            rows.append({"pair_id": name, "kind": kind, "edit_similarity": -0.5, "n_rejected": 3, **row})
    return pd.DataFrame(rows)


def test_the_toy_splits_the_pull_and_draws_three_tokens() -> None:
    terms = displacement.toy_terms().iloc[0]
    full = displacement.unembedding_terms(displacement.UNEMBEDDING, displacement.STATE, 0, 1)
    assert terms.to_dict() == {name: full[name] for name in ("hidden_part", "weight_part", "paper_term")}
    assert terms["hidden_part"] < 0 < terms["weight_part"]
    path = displacement.three_token_toy(displacement.UNEMBEDDING, displacement.STATE, 0, 1, steps=5)
    figure = displacement.draw_toy(path)
    assert "frozen unembedding" in figure.get_label() and len(figure.axes[0].lines) == 3


def test_reports_hold_what_was_planted(reports: pd.DataFrame) -> None:
    means = reports.groupby(["run", "step"])["chosen_change"].mean()
    for run, fall in FALLS.items():
        assert means[run, 0] == 0 and means[run, 4] == pytest.approx(fall * 1.07)
    found = displacement.verdicts(reports[reports.step == 4]).set_index("run")
    assert found["displaced"].to_dict() == {run: fall < 0 for run, fall in FALLS.items()}
    assert found["proportion"].to_dict() == {run: float(fall < 0) for run, fall in FALLS.items()}
    assert found.loc["similar", "mean"] == pytest.approx(-6.42) and found.loc["similar", "n"] == 8


def test_scores_are_joined_with_the_plain_runs_alone(last: pd.DataFrame, scores: pd.DataFrame) -> None:
    joined = displacement.scored_changes(last, scores)
    assert set(joined["run"]) == set(CHES) and len(joined) == 24
    assert (joined["run"] == joined["kind"]).all()
    predicted = displacement.score_correlations(joined, seed=0).set_index("score")
    assert predicted.loc["ches", "mean"] < -0.7 < 0.7 < predicted.loc["ln_ches", "mean"]
    assert np.isnan(predicted.loc["edit_similarity", "mean"])  # constant: no order
    assert predicted.loc["ches", "n"] == 24 and predicted.loc["ches", "n_clusters"] == 8


def test_the_filter_keeps_the_lowest(scores: pd.DataFrame) -> None:
    found = displacement.filter_counts(scores, 1 / 3)
    assert found["kept"].to_dict() == {"similar": 8, "paraphrase": 0, "dissimilar": 0}  # ln_ches is minus ches here
    assert set(found["pairs"]) == {8}
    means = displacement.mean_scores(scores).set_index(["kind", "metric"])
    assert means.loc[("similar", "ches"), "mean"] == pytest.approx(29.5)
    assert means.loc[("similar", "n_rejected"), "mean"] == 3


def own_table(slope: float) -> pd.DataFrame:
    rows = [
        {"set": "mine", "pair_id": f"{at}-{i}", "at": at, "percentile": f"{at:g} %", "ches": at, "chosen_change": x}
        for at in (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)
        for i, x in enumerate(slope * at / 100 + np.array([-0.1, 0.1]))
    ]
    return pd.DataFrame(rows)


def test_own_sets_have_a_line_over_their_subsets() -> None:
    order = displacement.user_slopes(own_table(-8.0))
    assert order.loc[0, ["set", "n"]].tolist() == ["mine", 6]
    assert order.loc[0, ["spearman", "mean"]].tolist() == pytest.approx([-1, -8])
    by_percentile = displacement.by_percentile(own_table(-8.0)).set_index(["percentile", "metric"])
    assert by_percentile.loc[("40 %", "chosen_change"), "mean"] == pytest.approx(-3.2)
    assert by_percentile.loc[("40 %", "ches"), "n"] == 2
    figure = displacement.draw_percentiles(by_percentile.reset_index())
    assert figure is not None and "percentile of CHES" in figure.get_label()


def test_without_own_sets_tables_say_so_and_nothing_is_drawn() -> None:
    for table in (displacement.user_scores(None, {}, 0.5), displacement.train_subsets(None, {}, None, [], 2, {}, 1, 0)):  # type: ignore[arg-type]
        assert table.empty and "more_pairs" in table.attrs["reason"]
    assert displacement.user_slopes(table) is table is displacement.by_percentile(table)
    assert displacement.draw_percentiles(table) is None


def test_claims_follow_what_is_planted(last: pd.DataFrame, scores: pd.DataFrame) -> None:
    joined = displacement.scored_changes(last, scores)
    predicted = displacement.score_correlations(joined, seed=0)
    one = pd.DataFrame([{"metric": "hidden_part", "mean": -0.5, "low": -0.7, "high": -0.3, "n": 8}])
    order = displacement.user_slopes(own_table(-8.0)).assign(low=-9.0, high=-7.0)
    found = displacement.findings(last, joined, one, predicted, order, seed=0)
    by_claim = {each.claim: each.verdict for each in found}
    assert [each.verdict for each in found[:6]] == ["holds"] * 6
    assert (
        by_claim["LN-CHES is higher where the preferred answer falls more"] == "does not hold"
    )  # it was planted the other way round
    assert by_claim["CHES predicts the falls better than edit distance does"] == ("cannot tell")
    matched = next(claim for claim in by_claim if claim.startswith("At equal edit distance"))
    assert "(paraphrase) falls more than the other (dissimilar)" in matched and by_claim[matched] == "holds"
    assert found[-1].claim.endswith("fall: mine") and found[-1].verdict == "holds"
    assert [each.source for each in found if each.source != displacement.PAPER] == ["by construction: what DPO trains"]
    unread = displacement.findings(last, joined, one, predicted, pd.DataFrame(), seed=0)
    assert len(unread) == 9


def test_nothing_that_moves_satisfies_no_claim(scores: pd.DataFrame) -> None:
    still = pd.concat(
        [
            displacement.displacement_report(tokens(0), tokens(0)).assign(run=run, step=4)
            for run in (*CHES, displacement.REPAIRED)
        ]
    )
    joined = displacement.scored_changes(still, scores)
    one = pd.DataFrame([{"metric": "hidden_part", "mean": 0.0, "low": -0.1, "high": 0.1, "n": 8}])
    found = displacement.findings(still, joined, one, displacement.score_correlations(joined, 0), pd.DataFrame(), 0)
    assert {each.verdict for each in found} == {"cannot tell"}


def test_every_run_reads_its_own_pairs_and_step_0_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def response_tokens(model: str, rows: list[str]) -> tuple[str, str]:
        read.append((model, rows[0]))
        return model, rows[0]

    monkeypatch.setattr(displacement.probes, "response_tokens", response_tokens)
    pairs = {kind: [f"{kind} row"] for kind in ("similar", "dissimilar")}
    series = {name: [(0, "base"), (2, f"{name} 2")] for name in (*pairs, displacement.REPAIRED)}
    found = displacement.token_tables(series, "base", pairs)  # type: ignore[arg-type]
    assert found[displacement.REPAIRED, 0] == ("base", "similar row") == found["similar", 0]
    assert found[displacement.REPAIRED, 2] == (f"{displacement.REPAIRED} 2", "similar row")
    assert found["dissimilar", 2] == ("dissimilar 2", "dissimilar row")
    assert len(read) == len(set(read)) == 2 + 3


def test_kinds_are_trained_apart_and_the_likelihood_term_on_similar_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, Any] = {}
    monkeypatch.setattr(
        displacement,
        "train",
        lambda algorithm, model, rows, settings, save_at, seed, name: calls.update(
            {name: (algorithm, rows, settings, save_at, seed)}
        ),
    )
    pairs = {kind: texts.displacement_pairs(kind, 2) for kind in displacement.KINDS}
    displacement.train_kinds(SimpleNamespace(), pairs, {"beta": 0.1}, 2.0, [0, 1], 7)  # type: ignore[arg-type]
    assert calls["paraphrase pairs"] == ("dpo", pairs["paraphrase"], {"beta": 0.1}, [0, 1], 7)
    repaired = calls[f"{displacement.REPAIRED} pairs"]
    assert repaired == ("dpo_sft", pairs["similar"], {"beta": 0.1, "sft_weight": 2.0}, [0, 1], 7) and len(calls) == 4


def test_subsets_of_own_pairs_are_trained_at_their_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each subset is trained by itself under its title, and its changes stand beside its scores."""
    titles = []

    def train(algorithm: str, model: str, rows: list, settings: dict, **more: Any) -> Any:
        titles.append((more["name"], [row["id"] for row in rows]))
        return SimpleNamespace(load=lambda step: ("after", rows))

    def response_tokens(model: Any, rows: list) -> pd.DataFrame:
        rises = 1.0 if isinstance(model, tuple) else 0.0
        values = [(row["id"], -3 + rises * int(row["id"])) for row in rows]
        sides = ("chosen", "rejected")
        return pd.DataFrame([(i, side, 0, "x", value) for i, value in values for side in sides], columns=COLUMNS)

    monkeypatch.setattr(displacement, "train", train)
    monkeypatch.setattr(displacement.probes, "response_tokens", response_tokens)
    own = {"mine": [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 5}
    scored = pd.DataFrame({"pair_id": list("01234"), "set": "mine", "ches": [3.0, 1, 5, 2, 4]})
    scored[["ln_ches", "edit_similarity", "last_hidden_product"]] = 0.0
    apart = displacement.train_subsets("base", own, scored, [0, 100], 2, {"beta": 0.1}, 4, 0)  # type: ignore[arg-type]
    assert titles == [("mine, CHES at 0 %", ["1", "3"]), ("mine, CHES at 100 %", ["4", "2"])]
    assert apart.set_index("pair_id")["chosen_change"].to_dict() == {"1": 1.0, "3": 3.0, "4": 4.0, "2": 2.0}
    assert apart.set_index("pair_id")["ches"].to_dict() == {"1": 1.0, "3": 2.0, "4": 4.0, "2": 5.0}
    assert apart["percentile"].tolist() == ["0 %"] * 2 + ["100 %"] * 2


def test_figures_say_what_they_show(reports: pd.DataFrame, last: pd.DataFrame, scores: pd.DataFrame) -> None:
    assert "preferred answer over training" in displacement.draw_preferred(reports).get_label()
    assert "margin" in displacement.draw_margin(reports).get_label()
    figure = displacement.draw_tokens(tokens(0), tokens(-3.0))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["00 “I”", "01 “</s>”"]
    predicted = displacement.score_correlations(displacement.scored_changes(last, scores), 0)
    assert "two baselines" in displacement.draw_correlations(predicted).get_label()
