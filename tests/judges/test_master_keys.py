"""Planted judges with a reference: one is correct, one always says YES, one accepts keys only with the question."""

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
    """Correct in every case, less certain in some: without variation there is no interval."""
    sure = 1 - 0.02 * [case.id for case in CASES].index(tags["case"])
    return sure if tags["human"] else 1 - sure


def fooled_by_the_question(tags):
    return 1.0 if tags["question"] == master_keys.SHOWN else tags["human"]


def test_two_controls_deserve_a_yes_and_two_a_no():
    tags = verdicts(knows).drop_duplicates("key").set_index("key")
    controls = tags[tags["kind"] == "control"]["human"].to_dict()
    assert controls == {"the reference": 1, "opener + reference": 1, "empty": 0, "another reference": 0}
    assert tags.loc[tags["kind"] != "control", "human"].eq(0).all() and len(tags) == 4 + 10 + len(master_keys.NEAR_KEYS)


def test_a_correct_judge_accepts_no_key():
    table = verdicts(knows)
    rates = master_keys.rates(table).set_index(["judge", "key"])["mean"]
    assert rates["planted", "the reference"] == rates["planted", "opener + reference"] == 1
    assert rates["planted"].drop(["the reference", "opener + reference"]).eq(0).all()
    controls = master_keys.controls(table)
    means = controls[controls["judge"] == "planted"].set_index("metric")["mean"]
    assert means["reference − keys"] == pytest.approx(1, abs=0.05)
    assert means["opener + reference − reference"] == pytest.approx(0, abs=1e-6)
    assert master_keys.accepted(table)["mean"] == 0 and master_keys.accepted(table)["n"] == 10 * len(CASES)
    assert master_keys.discrimination(table, controls)["finding"][0].startswith("discriminates the reference")
    verdicts_ = [each.verdict for each in master_keys.findings(table, controls)]  # six cases: 0 of them, at most 39 %
    assert verdicts_ == ["cannot tell", "does not hold", "holds", "holds", "cannot tell"]


def test_a_judge_that_always_says_yes_has_no_finding():
    table = verdicts(lambda tags: 1.0)
    controls = master_keys.controls(table)
    references, _, preferred = master_keys.discrimination(table, controls)["finding"]
    assert references.startswith("does not discriminate") and preferred.startswith("YES in 100%")
    assert master_keys.accepted(table)["mean"] == 1
    found = master_keys.findings(table, controls)
    assert all(each.verdict.startswith("cannot tell") for each in found)
    assert "does not discriminate the reference from another question's" in found[0].verdict


def test_the_effect_of_the_question_is_measured_if_it_is_hidden_too():
    table = verdicts(fooled_by_the_question)
    hidden = master_keys.without_question(table).set_index(["kind", "prompt", "metric"])["mean"]
    assert hidden["key", master_keys.SHOWN, "yes"] == 1 and hidden["key", "question hidden", "yes"] == 0
    items = master_keys.items(table)
    assert items.groupby("case")["keys accepted"].mean().eq(1).all() and "judge" not in items
    assert len(master_keys.findings(table, master_keys.controls(table))) == 5
    shown = verdicts(fooled_by_the_question, QUESTIONS[: len(QUESTIONS) // 2])
    assert len(master_keys.findings(shown, master_keys.controls(shown))) == 4


def test_figures_show_every_key_of_the_model():
    table = verdicts(knows)
    figure = master_keys.draw_heat_map(table)
    axes = figure.axes[0]
    assert len(axes.get_yticks()) == len(QUESTIONS) / 2 / len(CASES)
    assert axes.get_xlabel() == f"question, 1 to {len(CASES)}"
    for drawn in (
        master_keys.draw_rates(master_keys.rates(table)),
        master_keys.draw_soft_rates(table),
        master_keys.draw_controls(master_keys.controls(table)),
    ):
        assert drawn.axes and drawn.get_label().endswith(".")
