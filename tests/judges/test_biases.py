"""Biases notebook: planted judges."""

import numpy as np
import pytest

from workbench.judges import biases, planted
from workbench.judges.cases import Case, Cases
from workbench.judges.prompts import load_template
from workbench.judges.sources import load_cases, load_sets, overview

FORMS = [load_template("pair"), load_template("pair_words")]
SETS = {"graded": load_cases("graded_answers", n=8), "again": load_cases("graded_answers", n=6, seed=1)}


def study_of(name, sets=SETS, controls=("oracle",)):
    study = biases.study("model", sets, FORMS, 4, True)
    answers = planted.answers(planted.judge(name, human=(1.0, 5.0)), study.questions())
    judged = biases.judgements(study, answers, controls)
    return study, judged, biases.orders(study, judged)


@pytest.fixture(scope="module")
def position_biased():
    return study_of("position_biased")


def test_questions_are_unique_and_probes_differ_by_a_sentence():
    study = biases.study("model", SETS, FORMS, 4, True)
    questions = study.questions()
    assert len({q.id for q in questions}) == len(questions)
    assert len(study.probes["padded"]) == 4 == len(study.probes["identical"])
    one, other = study.probes["padded"][0].answers
    assert other == one + biases.PADDING and study.first == "graded"
    assert {q.tags["case"] for q in study.reworded()} == set(SETS["graded"].ids)


def test_only_the_model_answers_label_words_and_probes(position_biased):
    study, judged, orders = position_biased
    assert set(judged) == {(j, d) for j in ("model", "oracle") for d in SETS} | {("model", p) for p in study.probes}
    assert set(judged["model", "graded"].prompts) == {form.key for form in FORMS}
    assert set(judged["oracle", "graded"].prompts) == {FORMS[0].key} == set(judged["model", "again"].prompts)
    assert orders["judge"].iloc[0] == "model" and list(dict.fromkeys(orders["data"])) == list(SETS)
    assert orders["cluster"].nunique() == sum(map(len, SETS.values()))
    mass = biases.mass_by_prompt(study, judged)
    assert list(mass["data"]) == ["graded", "graded", "again"] and mass["mass"].min() > 0.99


def test_rates_are_what_was_planted(position_biased):
    study, judged, orders = position_biased
    rates = biases.rates(orders).set_index(["judge", "data", "metric"])["mean"]
    assert rates["oracle", "graded", "both"] == 1 and rates["oracle", "graded", "position"] == 0
    assert rates["model", "graded", "position"] > 0.2
    pooled = biases.pooled_rates(study, orders)
    assert pooled.loc["position", "n"] == orders.query("judge == 'model'")["position"].notna().sum()
    assert pooled["meaning"].notna().all() and list(pooled.index) == list(biases.RATES)
    assert biases.rate(study, orders, "position")["mean"] == pytest.approx(pooled.loc["position", "mean"])
    sizes = biases.log_odds(study, judged).set_index(["part", "metric"])["mean"]
    assert sizes["position", "log_odds"] == pytest.approx(1.5, abs=1e-3)
    assert sizes["quality", "size"] == pytest.approx(1, abs=1e-3) and ("quality", "log_odds") not in sizes


def test_chance_is_tested_for_the_model_on_all_sets_and_for_planted_judges_on_the_first(position_biased):
    study, _, orders = position_biased
    found = biases.chance_by_set(study, orders)
    assert list(zip(found["judge"], found["data"])) == [("model", "graded"), ("oracle", "graded"), ("model", "again")]


def test_items_name_the_case_and_the_set(position_biased):
    study, _, orders = position_biased
    items = biases.items(study, orders)
    assert set(items[items["benchmark"] == "again"]["question_id"]) == set(SETS["again"].ids)
    assert len(items) == (orders["judge"] == "model").sum()


def test_probes_show_position_alone():
    study, judged, _ = study_of("first")
    probes = biases.probe_rates(study, judged).set_index(["probe", "metric"])["mean"]
    assert probes["identical", "first"] == probes["padded", "first"] == 1 and probes["identical", "agree"] == 0
    assert ("identical", "longer") not in probes  # equal lengths
    study, judged, _ = study_of("longer")
    assert biases.probe_rates(study, judged).set_index(["probe", "metric"])["mean"]["padded", "longer"] == 1


def test_length_bias_has_a_row_per_judge_and_set(position_biased):
    found = biases.length_biases(position_biased[2], seed=0)
    assert len(found) == 4 and found.set_index(["judge", "data"])["mean"]["oracle", "graded"] == 0


def test_noise_is_corrected_by_the_flip_model():
    study, _, _ = study_of("oracle")
    table = biases.noise_correction(study, repeats=2000, seed=0).set_index(["by", "q planted"])
    ours = table.loc["flip_model"]
    assert ours["q estimated"].to_numpy() == pytest.approx(ours.index.to_numpy(), abs=0.02)
    assert ours["mean"].to_numpy() == pytest.approx(ours["true"].to_numpy(), abs=0.03)
    assert (table.loc["wei2024_code", "mean"] > ours["mean"])[[0.1, 0.2]].all()


def test_findings_know_a_position_bias_from_none(position_biased):
    study, judged, orders = position_biased
    verdicts = [each.verdict for each in biases.findings(study, orders, biases.orders_by_words(study, judged), seed=0)]
    assert verdicts[1] == "holds" and verdicts[2] == verdicts[5] == "cannot tell"
    study, judged, orders = study_of("coin")
    found = biases.findings(study, orders, biases.orders_by_words(study, judged), seed=0)
    assert "at chance" in found[0].verdict and found[1].verdict != "holds"
    assert found[4].estimate == 0  # two ties select no answer


def test_without_scores_there_is_neither_noise_nor_a_reliability_figure():
    sets = {"mine": Cases([Case(f"Q{k}?", ("one", "the other")) for k in range(4)])}
    study, judged, orders = study_of("first", sets)
    noise = biases.noise_correction(study, repeats=10, seed=0)
    assert noise.empty and "no marks" in noise.attrs["reason"] and "q estimated" in noise
    assert biases.draw_reliability(study, orders) is None
    assert biases.chance_by_set(study, orders)["against chance"].str.contains("no marks").all()
    assert (
        biases.findings(study, orders, biases.orders_by_words(study, judged), 0)[5].verdict
        == "cannot tell: only 0 units"
    )


def test_figures_have_an_alt_text(position_biased):
    study, judged, orders = position_biased
    rates, words = biases.rates(orders), biases.word_rates(biases.orders_by_words(study, judged))
    drawn = [biases.draw_position(rates), biases.draw_length(rates), biases.draw_words(words)]
    drawn += [biases.draw_margins(study, orders), biases.draw_reliability(study, orders)]
    assert all(figure.get_label().endswith(".") for figure in drawn)
    heights = [bar.get_height() for bar in drawn[3].axes[0].patches]
    assert sum(heights) == len(biases.of_judge(study, orders))


def test_a_part_is_taken_where_a_set_has_several():
    sets = load_sets(["hhh_alignment", "graded_answers"], n=3, subset="honest")
    assert {case.tags["subset"] for case in sets["hhh_alignment"]} == {"honest"}
    table = overview(sets)
    assert table["cases"].tolist() == [3, 3] and not table["licence"].eq("").any()
    assert np.isfinite(sets["graded_answers"].scores).all()
