"""Planted judges with a reference: one that knows, one that always says YES, one that only the question fools."""

import pytest

from workbench.judges import master_keys, planted
from workbench.judges.cases import Case
from workbench.judges.prompts import load_template

CASES = [
    Case(f"Q{k}?", ("a",), reference=name) for k, name in enumerate(("Paris", "Rome", "Oslo", "Bern", "Riga", "Lima"))
]
FORM = load_template("reference")
QUESTIONS = [q for hide in (False, True) for q in master_keys.key_questions(CASES, FORM, hide_question=hide)]


def verdicts(worth, questions=QUESTIONS):
    judge = planted.PlantedJudge("planted", lambda tags: 0.0, worth, spread=0.3)
    oracle = planted.answers(planted.judge("oracle"), questions)
    return master_keys.verdicts({"planted": planted.answers(judge, questions), "oracle": oracle})


def knows(tags):
    """Right in every case, and less sure in some: without any variation there is no interval."""
    sure = 1 - 0.02 * [case.id for case in CASES].index(tags["case"])
    return sure if tags["human"] else 1 - sure


def fooled_by_the_question(tags):
    return 1.0 if tags["question"] == master_keys.SHOWN else tags["human"]


def test_a_judge_that_knows_is_fooled_by_no_key():
    table = verdicts(knows)
    rates = master_keys.rates(table).set_index(["judge", "key"])["mean"]
    assert rates["planted", "the reference"] == rates["planted", "opener + reference"] == 1
    assert rates["planted"].drop(["the reference", "opener + reference"]).eq(0).all()
    controls = master_keys.controls(table)
    own = controls[controls["judge"] == "planted"].set_index("metric")["mean"]
    assert own["reference − keys"] == pytest.approx(1, abs=0.05)
    assert own["opener + reference − reference"] == pytest.approx(0, abs=1e-6)
    assert master_keys.fooled(table)["mean"] == 0 and master_keys.fooled(table)["n"] == 10 * len(CASES)
    assert "tells right answers from wrong ones" in master_keys.standing(table, controls)["finding"][0]
    found = [each.verdict for each in master_keys.findings(table, controls)]
    assert found == [
        "cannot tell",
        "does not hold",
        "holds",
        "holds",
        "cannot tell",
    ]  # six cases: 0 of them, at most 39 %


def test_a_judge_that_always_says_yes_has_a_habit_and_no_finding():
    table = verdicts(lambda tags: 1.0)
    controls = master_keys.controls(table)
    judges, _, habit = master_keys.standing(table, controls)["finding"]
    assert judges.startswith("does not judge") and habit.startswith("YES in 100%")
    assert master_keys.fooled(table)["mean"] == 1
    found = master_keys.findings(table, controls)
    assert all(each.verdict.startswith("cannot tell") for each in found)
    assert "does not tell the reference from another question's" in found[0].verdict


def test_hiding_the_question_is_seen_and_without_it_there_is_no_such_claim():
    table = verdicts(fooled_by_the_question)
    hidden = master_keys.without_question(table).set_index(["kind", "asked with", "metric"])["mean"]
    assert hidden["key", master_keys.SHOWN, "yes"] == 1 and hidden["key", "question hidden", "yes"] == 0
    items = master_keys.items(table)
    assert items.groupby("case")["keys called right"].mean().eq(1).all() and "judge" not in items
    assert len(master_keys.findings(table, master_keys.controls(table))) == 5
    shown = verdicts(fooled_by_the_question, QUESTIONS[: len(QUESTIONS) // 2])
    assert len(master_keys.findings(shown, master_keys.controls(shown))) == 4


def test_figures_show_every_key_of_the_model():
    table = verdicts(knows)
    figure = master_keys.draw_heat_map(table)
    axes = figure.axes[0]
    assert len(axes.get_yticks()) == len(QUESTIONS) / 2 / len(CASES)
    assert axes.get_xlabel() == f"{len(CASES)} questions"
    for drawn in (
        master_keys.draw_rates(master_keys.rates(table)),
        master_keys.draw_soft_rates(table),
        master_keys.draw_controls(master_keys.controls(table)),
    ):
        assert drawn.axes and drawn.get_label().endswith(".")
