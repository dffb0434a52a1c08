from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.hallucination import benchmark_variance as bv
from workbench.planted import planted_answers
from workbench.questions import Option, Question
from workbench.statistics import interval

SCORES = [[30, 34, 33, 38, 41], [29, 33, 36, 37, 43], [31, 32, 35, 39, 40]]
ITEMS = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]]


def test_O_60_seed_report():
    found = bv.seed_report(SCORES)
    assert found.mean == pytest.approx(41.333333, abs=1e-6)
    assert found.seed_sd == pytest.approx(1.527525, abs=1e-6)
    assert found.sd_by_checkpoint == pytest.approx([1, 1, 1.527525, 1, 1.527525], abs=1e-6)
    assert found.seed_sd_mean == pytest.approx(1.211010, abs=1e-6)
    assert found.tau_by_seed == pytest.approx([0.8, 1, 1])
    assert found.monotonicity == pytest.approx(0.933333, abs=1e-6)
    assert found.snr == pytest.approx(27.059019, abs=1e-6)
    assert bv.seed_report(SCORES, chance=25).snr_above_chance == pytest.approx((41 + 1 / 3 - 25) / 1.527525, 1e-6)


def test_a_spread_of_rounding_errors_is_none():
    found = bv.seed_report([[0.1 + 0.2], [0.3], [0.3]], chance=0.25)
    assert found.seed_sd == 0 and np.isnan(found.snr_above_chance) and "the same score" in found.notes["snr"]


def test_numbers_of_readings_have_intervals_over_questions():
    """Two benchmarks of 20 questions, read in two ways by three readers each: 40 units, however many rows."""
    rng = np.random.default_rng(0)
    rows = [
        {"benchmark": b, "style": kind, "variant": f"{kind} {r}", "question_id": f"q{q}", "right": right}
        for b in "ab"
        for kind, shift in (("cloze", 0.0), ("letters", 0.35))
        for r in range(3)
        for q, right in enumerate((rng.random(20) < 0.3 + shift * (r - 0.5)).astype(float))
    ]
    items = pd.DataFrame(rows)
    found = bv.over_questions(items, lambda t: bv.sd_of_means(t["letters"]) - bv.sd_of_means(t["cloze"]))
    means = items.groupby(["benchmark", "style", "variant"])["right"].mean()
    spread = means.groupby(["benchmark", "style"]).std().unstack()
    assert found["mean"] == pytest.approx((spread["letters"] - spread["cloze"]).mean())
    assert found["n"] == 40 and found["low"] < found["mean"] < found["high"]


def test_the_gain_of_pairing_is_that_of_the_paired_error():
    a, b = np.array([[1, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0]], float)
    errors = [interval(a - b)["se"], np.hypot(interval(a)["se"], interval(b)["se"])]
    assert bv.pairing_gain([a, b]) == pytest.approx(errors[0] - errors[1]) and errors[0] < errors[1]
    assert bv.half_width_gap([a, b]) == pytest.approx(
        1.96 * np.std([0.5, 1 / 3], ddof=1) - 1.96 * 0.5 / 6**0.5, abs=1e-4
    )


def test_O_61_analytic_and_bootstrap_intervals():
    assert bv.analytic_half_width(0.62, 100) == pytest.approx(0.095136, abs=3e-6)  # with 1.96 for 1.959964
    items = np.repeat([1.0, 0.0], [62, 38])
    found = interval(items, method="bootstrap", draws=10_000, seed=0)
    assert (found["low"], found["high"]) == pytest.approx((0.52, 0.71), abs=0.0101)
    assert interval(items)["se"] == pytest.approx(0.048783, abs=1e-6)


def test_O_62_item_analysis():
    found = bv.item_analysis(ITEMS)
    assert found["difficulty"].tolist() == pytest.approx([0.8333, 0.5, 0.5, 0.3333], abs=1e-4)
    assert found["item_total"].tolist() == pytest.approx([0.4889, 0.7809, 0.7809, 0.2209], abs=1e-4)
    assert found["item_rest"].tolist() == pytest.approx([0.1581, 0.4472, 0.4472, -0.2209], abs=1e-4)


def test_O_63_item_curves():
    assert bv.item_curve(1, 1.5, 0.2) == pytest.approx(0.768525, abs=1e-6)
    assert bv.item_curve(1, 1.5, 0.2, 0.25) == pytest.approx(0.826394, abs=1e-6)


def test_item_curves_find_the_harder_and_the_sharper_item():
    rng = np.random.default_rng(0)
    ability = rng.normal(size=400)
    a, b = np.array([2.5, 2.5, 0.4, 1.0, 1.0, 1.0]), np.array([-1.0, 1.0, 0.0, 0.0, 0.5, -0.5])
    correct = rng.random((400, 6)) < bv.item_curve(ability[:, None], a, b)
    found = bv.fit_item_curves(correct)
    assert found["b"][0] < found["b"][1]
    assert found["a"][2] < found["a"][0]


def test_one_seed_has_no_spread_and_says_so():
    found = bv.seed_report([[1, 2, 3]])
    assert np.isnan([found.seed_sd, found.snr]).all() and found.monotonicity == 1
    assert "one seed" in found.notes["seed_sd"]
    flat = bv.seed_report([[5, 5], [5, 5]])
    assert np.isnan([flat.monotonicity, flat.snr]).all()
    assert {"snr", "monotonicity"} <= set(flat.notes)


def test_a_constant_item_has_no_discrimination():
    assert np.isnan(bv.item_analysis([[1, 0], [1, 1], [1, 0]])["item_rest"]).all()


def test_stable_items_agree_between_weak_and_strong_respondents():
    rng = np.random.default_rng(0)
    ability = np.sort(rng.normal(size=300))
    a = np.repeat([0.05, 3.0], 20)
    correct = rng.random((300, 40)) < bv.item_curve(ability[:, None], a, rng.normal(0, 0.3, 40))
    found = bv.split_stability(correct, draws=20)
    assert found["weak_strong"] > 0.5
    assert found["items"] == 40
    noise = bv.split_stability(rng.random((30, 40)) < 0.5, draws=20)
    assert abs(noise["random"]) < 0.3


def test_a_subset_of_all_items_ranks_as_they_do():
    rng = np.random.default_rng(0)
    correct = rng.random((8, 30)) < np.linspace(0.2, 0.9, 8)[:, None]
    whole = bv.subset_ranking(correct, 30, draws=5)
    assert whole["tau"].tolist() == pytest.approx([1, 1])
    part = bv.subset_ranking(correct, 5, draws=50)
    assert part["tau"][0] < 1


@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_monotonicity_turns_its_sign_with_the_scores(scores):
    one = bv.seed_report(scores).monotonicity
    two = bv.seed_report(-np.array(scores)).monotonicity
    assert (np.isnan(one) and np.isnan(two)) or one == pytest.approx(-two)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bv.seed_report([[1, np.nan]]), "missing or infinite"),
        (lambda: bv.seed_report([1, 2]), "two dimensions"),
        (lambda: bv.item_curve(0, 1, 0, 1), "guessing"),
        (lambda: bv.split_stability(ITEMS[:4]), "cannot be split"),
        (lambda: bv.subset_ranking(ITEMS, 9), "cannot be taken"),
        (lambda: bv.fit_item_curves([[0.5]]), "0 and 1"),
        (lambda: bv.analytic_half_width(0.5, 0), "at least 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_learners_learn_and_differ_by_seed():
    found = bv.digit_learners(seeds=2, checkpoints=5, items=100)
    assert found.correct.shape == found.p_gold.shape == (2, 5, 100)
    assert found.correct[:, -1].mean() > found.correct[:, 0].mean() + 0.1
    assert not np.array_equal(found.p_gold[0], found.p_gold[1])
    assert ((found.p_gold >= 0) & (found.p_gold <= 1)).all()
    assert np.array_equal(found.p_gold[0], bv.digit_learners(1, 5, 100).p_gold[0])


def test_learners_need_a_seed():
    with pytest.raises(InputError, match="at least one seed"):
        bv.digit_learners(seeds=0)


def questions_of(benchmark: str, n: int = 12) -> list[Question]:
    options = (Option(" yes", "correct"), Option(" no", "wrong"))
    return [Question(f"{benchmark} {i}?", options, {"benchmark": benchmark}, id=f"{benchmark} {i}") for i in range(n)]


def answered(benchmark: str, p: Callable[[int], float], n: int = 12) -> pd.DataFrame:
    """Answers to questions of two options, by the probability of the correct one."""
    at = {question.id: p(i) for i, question in enumerate(questions_of(benchmark, n))}
    return planted_answers(
        questions_of(benchmark, n), lambda question: np.array([at[question.id], 1 - at[question.id]])
    )


def read_by(*ps: Callable[[int], float], reading: str = "cloze", benchmark: str = "one") -> pd.DataFrame:
    return bv.read([(reading, f"reader {k}", answered(benchmark, p)) for k, p in enumerate(ps)])


def two_of_three(i: int) -> float:
    return 0.9 if i % 3 else 0.2


def all_but_two(i: int) -> float:
    return 0.8 if i > 1 else 0.3


def test_variants_are_compared_with_chance_and_with_item_noise():
    items = read_by(two_of_three, all_but_two)
    assert items["right"].groupby(items["variant"]).mean().tolist() == pytest.approx([8 / 12, 10 / 12])
    assert items["p_right"].iloc[:2].tolist() == pytest.approx([0.2, 0.9]) and (items["chance"] == 0.5).all()
    table = bv.accuracy(items)
    assert table["mean"].tolist() == pytest.approx([8 / 12, 10 / 12]) and (table["chance"] == 0.5).all()
    assert table["verdict"].iloc[1].startswith("above chance")
    noise = bv.noise(items, seed=0).iloc[0]
    assert noise["mean"] == pytest.approx(9 / 12) and noise["variant_sd"] == pytest.approx(np.sqrt(2) / 12)
    assert noise["gap"] == pytest.approx(1.96 * noise["variant_sd"] - 1.96 * np.sqrt(8 / 12 * 4 / 12 / 12), abs=1e-4)
    over = bv.excess(items)
    assert over["mean"] == pytest.approx(noise["gap"]) and over["n"] == 12


def test_the_ratio_of_each_score_is_that_of_its_variants():
    items = read_by(two_of_three, all_but_two)
    ratios = bv.signal_to_noise(items).set_index("score")["mean"]
    assert ratios["discrete: accuracy"] == pytest.approx((9 / 12 - 0.5) / (np.sqrt(2) / 12))
    one, two = (np.mean([p(i) for i in range(12)]) for p in (two_of_three, all_but_two))
    expected = ((one + two) / 2 - 0.5) / np.std([one, two], ddof=1)
    assert ratios["continuous: p of the right answers"] == pytest.approx(expected)


def test_differences_take_the_first_two_variants():
    found = bv.differences(read_by(two_of_three, all_but_two, two_of_three)).iloc[0]
    assert found["difference"] == pytest.approx(-2 / 12) and found["n"] == 12
    assert found["se_paired"] > 0 and found["se_independent"] > 0
    alone = bv.differences(read_by(two_of_three))
    assert alone.empty and "two variants" in alone.attrs["reason"]


def test_checkpoints_rise():
    answers = [answered("one", lambda i, k=k: 0.9 if i < 4 * k else 0.2) for k in (1, 2, 3)]
    series = bv.series(answers)
    trend, rising = bv.trend(series)
    assert rising == 1 and trend.query("metric == 'right'")["mean"].tolist() == pytest.approx([4 / 12, 8 / 12, 1])
    nothing, undefined = bv.trend(bv.series([]))
    assert nothing.empty and np.isnan(undefined) and "no checkpoints" in nothing.attrs["reason"]


def learners(seeds: int = 4, steps: int = 3, items: int = 20) -> bv.Learners:
    """Networks whose probability of the right class varies less from seed to seed than their accuracy."""
    draw = np.random.default_rng(0)
    level = np.linspace(0.3, 0.7, steps)[None, :, None] + draw.normal(0, 0.12, (seeds, 1, 1))
    correct = (draw.random((seeds, steps, items)) < level).astype(float)
    steady = np.broadcast_to(np.linspace(0.3, 0.7, steps)[None, :, None], correct.shape)
    return bv.Learners(correct, steady + draw.normal(0, 0.01, correct.shape), 0.1)


def test_networks_are_read_by_both_scores():
    found = learners()
    table = bv.seed_table(found)
    assert table.index.tolist() == list(found.scores) and (table["seeds"] == 4).all()
    assert table.loc["continuous: p of the right class", "snr"] > table.loc["discrete: accuracy", "snr"]
    course = bv.course(found).set_index(["kind", "checkpoint"])["mean"]
    assert course["discrete: accuracy", 3] == pytest.approx(found.correct[:, 2].mean())


def test_items_of_every_source_are_analysed():
    items, networks = read_by(two_of_three, all_but_two), learners()
    series = bv.series([answered("one", two_of_three)])
    sources = bv.item_sources(items, networks, series, "one")
    assert list(sources) == ["one, prompts", bv.DIGITS, "one, checkpoints"]
    assert list(bv.item_sources(items, networks, bv.series([]), "one"))[2:] == []
    summary = bv.item_summary(sources).set_index("items of")
    assert summary.loc["one, prompts", "difficulty"] == pytest.approx(9 / 12)
    assert summary.loc["one, checkpoints", "all agree"] == 1  # one reader
    assert summary["respondents"].tolist() == [2, 12, 1] and summary["items"].tolist() == [12, 20, 12]
    stability = bv.stability(sources, draws=5, seed=0)
    assert stability["items of"].tolist() == [bv.DIGITS]  # the others have fewer than six readers
    digits = bv.digit_items(networks)
    assert len(digits) == 20 and {"difficulty", "item_rest", "a", "b"} <= set(digits)
    assert bv.subsets(networks, draws=5, seed=0)["size"].tolist() == [2, 2]


def test_findings_on_planted_variants():
    cloze = read_by(two_of_three, all_but_two)
    letters = read_by(lambda i: 0.9 if i < 3 else 0.2, lambda i: 0.9 if i < 9 else 0.2, reading="letters")
    items, networks = pd.concat([cloze, letters], ignore_index=True), learners()
    sources = bv.item_sources(items, networks, bv.series([]), "one")
    over, stability = bv.excess(items), bv.stability(sources, draws=5, seed=0)
    found = bv.findings(items, over, networks, stability)
    assert len(found) == 5 and found[0].estimate == over["mean"]
    assert found[1].estimate == pytest.approx(6 / 12 / np.sqrt(2) - 2 / 12 / np.sqrt(2))
    assert found[1].verdict.startswith("cannot tell: with letters")  # at chance
    assert found[2].estimate > 0
    row = stability.iloc[0]
    assert found[3].estimate == pytest.approx(row["weak_strong"] - row["random"])
    without = bv.findings(items, over, networks, stability.iloc[:0])
    assert [claim.claim for claim in without] == [found[k].claim for k in (0, 1, 2, 4)]


def test_variants_leave_out_what_is_an_example_to_one_of_them(tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_text("question,correct,wrong\n" + "\n".join(f"Item {i}?,right {i},wrong {i}" for i in range(8)))
    found = bv.variants(str(mine), "mine", 8, 0, ["", "Answer."], 2, [1, 2])
    assert [(reading, reader) for reading, reader, _ in found] == [
        *(("cloze", "wording 0"), ("cloze", "wording 1"), ("letters", "order 0"), ("letters", "order 1")),
        *(("examples", "1 example"), ("examples", "2 examples")),
    ]
    assert {frozenset(q.id for q in questions) for *_, questions in found} == {frozenset(q.id for q in found[5][2])}
    assert len(found[0][2]) == 6 and found[1][2][0].prompt_text.startswith("Answer.")


def test_figures_say_what_they_show():
    items = read_by(two_of_three, all_but_two)
    drawn = bv.draw_variants(bv.accuracy(items))
    assert "chance" in drawn.get_label()
    assert "passes" in bv.draw_course(bv.course(learners())).get_label()
    curves = pd.DataFrame({"a": [1.0, 2.0, 0.1], "b": [0.0, 1.0, 0.0]})
    assert "Item curves" in bv.draw_item_curves(curves).get_label()
