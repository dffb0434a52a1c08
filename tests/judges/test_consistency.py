"""Consistency notebook: planted judges."""

import pytest

from workbench.judges import consistency, planted, relations
from workbench.judges.prompts import load_template, questions, reasoned
from workbench.judges.sources import load_cases

CASES = load_cases("graded_answers", n=8)
PAIR = load_template("pair")
SCALES = [load_template("score", scale=(1, end)) for end in (5, 100)]
KEYS = [scale.key for scale in SCALES]
QUESTIONS = questions(CASES, [PAIR, *SCALES])
SIZES = consistency.sizes(CASES)


@pytest.fixture(scope="module")
def tables():
    judges = planted.judged(["dice", "oracle", "cyclic"], QUESTIONS, CASES)
    conflicts = consistency.conflict_table(judges, KEYS, PAIR.key)
    return judges, conflicts, consistency.transitivity_table(judges, PAIR.key, ks=SIZES)


def test_questions_follow_their_templates():
    assert [q.tags["template"] for q in QUESTIONS[:: len(CASES) * 20]][:1] == ["pair"]
    assert len(QUESTIONS) == len(CASES) * (20 + 5 + 5) and SIZES == [3, 4, 5]


def test_planted_judges_are_recovered_and_the_model_is_left_out(tables):
    _, conflicts, rates = tables
    found = consistency.planted_rates(conflicts, rates).set_index(["judge", "metric"])["mean"]
    assert set(found.index.get_level_values("judge")) == {"oracle", "cyclic"}
    assert found["oracle", "CR"] == found["oracle", "NTR5"] == 0 and found["cyclic", "NTR5"] == 1
    oracle = conflicts[(conflicts["judge"] == "oracle") & (conflicts["scoring"] == "expected")]
    assert oracle["mean"].eq(0).all() and set(oracle["aggregation"]) == {"two_pass", "likelihood"}
    alone = consistency.planted_rates(conflicts.head(1), rates.head(0))
    assert alone.empty and "planted" in alone.attrs["reason"]


def test_tables_of_the_model_are_of_the_first_judge_and_add_up(tables):
    _, conflicts, rates = tables
    ours = consistency.model_conflicts(conflicts)
    assert len(ours) == 2 * 3 * 2 and "trustjudge_repo" not in set(ours["scoring"])
    parts = ours["reversal"] + ours["score tie"] + ours["pair tie"]
    assert ours["mean"].to_numpy() == pytest.approx(parts.to_numpy())
    last = consistency.model_rates(rates)
    assert set(last["k"]) == {5} and list(last["aggregation"]) == list(consistency.METHODS)
    best = consistency.main_ratio(conflicts)
    assert (best["judge"], best["scale"], best["aggregation"]) == ("dice", KEYS[-1], "two_pass")


@pytest.mark.parametrize(
    ("name", "conflict", "right"), [("dice", "cannot tell", "cannot tell"), ("oracle", "holds", "holds")]
)
def test_findings_follow_what_was_planted(name, conflict, right):
    (judge,) = planted.judged([name], QUESTIONS, CASES)
    conflicts = consistency.conflict_table([judge], KEYS, PAIR.key)
    orders = relations.order_tables([judge], PAIR.key, CASES.scores, CASES.chars)
    contrasts = consistency.contrasts(judge, KEYS, PAIR.key, 5)
    found = consistency.findings(conflicts, contrasts, orders)
    assert len(found) == len(consistency.CLAIMS) + 3
    assert [each.verdict for each in found[-2:]] == [conflict, right]
    assert not any(each.verdict == "holds" for each in found[:-2])


def test_a_difference_has_to_lie_below_what_ties_explain():
    (judge,) = planted.judged(["dice"], QUESTIONS, CASES)
    contrasts = consistency.contrasts(judge, KEYS, PAIR.key, 5)
    conflicts = consistency.conflict_table([judge], KEYS, PAIR.key)
    orders = relations.order_tables([judge], PAIR.key, CASES.scores)
    moved = contrasts.assign(mean=-0.3, low=-0.4, high=-0.2, explained=-0.1, n_clusters=8)
    assert [f.verdict for f in consistency.findings(conflicts, moved, orders)[:6]] == ["holds"] * 6
    tied = moved.assign(explained=-0.3)
    assert [f.verdict for f in consistency.findings(conflicts, tied, orders)[:6]] == ["cannot tell"] * 6
    assert "below −0.3" in consistency.findings(conflicts, tied, orders)[0].rule


def test_contrasts_are_differences_of_the_rates_in_the_tables(tables):
    judges, conflicts, rates = tables
    found = consistency.contrasts(judges[0], KEYS, PAIR.key, 5).set_index("contrast")
    at = conflicts[conflicts["judge"] == "dice"].set_index(["scale", "scoring", "aggregation"])[["mean", "chance"]]
    last = rates[(rates["judge"] == "dice") & (rates["k"] == 5)].set_index("aggregation")
    coarse, fine = KEYS
    for method in consistency.COMPARED:
        for name, scoring in (("fine", "argmax"), ("scale", "expected")):
            expected = at.loc[fine, "expected", method] - at.loc[coarse, scoring, method]
            row = found.loc[f"{name}, {method}"]
            assert [row["mean"], row["explained"]] == pytest.approx(list(expected))
    expected = at.loc[fine, "expected", "likelihood"] - at.loc[fine, "expected", "two_pass"]
    assert list(found.loc["aggregation", ["mean", "explained"]]) == pytest.approx(list(expected))
    expected = last.loc["likelihood", ["mean", "chance"]] - last.loc["two_pass", ["mean", "chance"]]
    assert list(found.loc["transitivity", ["mean", "explained"]]) == pytest.approx(list(expected))
    ties, cycles = last.loc["two_pass", ["mixed", "equiv"]].sum(), last.loc["two_pass", "cycle"]
    tied, above = found.loc["tied"], found.loc["tied, above chance"]
    assert tied["mean"] == pytest.approx(ties / (ties + cycles)) and tied["n"] == ties + cycles
    assert tied["n_clusters"] == len(CASES) and above["explained"] == 0
    assert list(above[["mean", "low", "high"]] + tied["explained"]) == pytest.approx(
        list(tied[["mean", "low", "high"]])
    )


def test_items_hold_conflicts_and_accuracy_of_every_case():
    (judge,) = planted.judged(["oracle"], QUESTIONS, CASES)
    items = consistency.items(judge, CASES, KEYS[-1], PAIR.key)
    means = items.groupby("question_id").mean()
    assert set(means.index) == set(CASES.ids)
    assert means["right"].eq(1).all() and means["conflict"].eq(0).all() and means["position"].eq(0).all()


def test_a_tolerance_ties_everything_in_the_end():
    (judge,) = planted.judged(["dice"], QUESTIONS, CASES)
    sweep = consistency.tolerance_sweep(judge, KEYS[-1], PAIR.key, [0.0, 10.0], 4)
    sweep = sweep.set_index(["metric", "delta"])["mean"]
    assert sweep["ties among comparisons", 10.0] == 1 and sweep["ties among comparisons", 0.0] < 0.1
    assert sweep["conflict ratio", 10.0] == 0 == sweep["NTR4", 10.0]


def test_figures_have_a_line_each_and_an_alt_text(tables):
    judges, conflicts, rates = tables
    drawn = consistency.draw_conflicts(conflicts)
    assert len(drawn.axes[0].get_yticks()) == 2 * (1 + 3) and "Conflict ratio" in drawn.get_label()
    assert "sets of 5 answers" in consistency.draw_rates(rates).axes[0].get_xlabel()
    sweep = consistency.tolerance_sweep(judges[0], KEYS[-1], PAIR.key, [0.0, 0.1], 4)
    assert consistency.draw_sweep(sweep).get_label()


def test_without_samples_no_thoughts_are_generated():
    assert reasoned(None, QUESTIONS, 0, seed=0) is QUESTIONS
