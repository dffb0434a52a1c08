"""Every metric recovers the property of a planted judge, through the same code path as a model."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.judges import biases, consistency, planted, ratings_and_rankings, readings
from workbench.judges import relations as relations_
from workbench.judges.cases import Case, Cases
from workbench.judges.prompts import DISPLEASED, follow_up_questions, load_template, pairwise, pointwise
from workbench.judges.sources import load_cases
from workbench.questions import Option, Question

FIVE = load_cases("graded_answers")
PAIR, LEVELS = load_template("pair"), (1.0, 5.0)


def pairs_of(name, cases=FIVE, **how):
    answers = planted.answers(planted.judge(name, human=LEVELS, **how), pairwise(cases, PAIR))
    return readings.pair_probabilities(readings.label_probabilities(answers), cases.ids)


def scores_of(name, scale, cases=FIVE):
    answers = planted.answers(planted.judge(name, human=LEVELS), pointwise(cases, load_template("score", scale=scale)))
    reads = readings.label_probabilities(answers)
    return readings.by_candidate(reads.keys, readings.score(reads.raw, reads.values), cases.ids)


@pytest.mark.parametrize(
    ("name", "both", "position", "random", "agree"),
    [("first", 0.0, 1.0, 0.5, 0.0), ("oracle", 1.0, 0.0, 1.0, 1.0)],
)
def test_oracle_first_position_and_oracle(name, both, position, random, agree):
    table = relations_.order_table(pairs_of(name), FIVE.scores, FIVE.chars)
    means = table[["both", "position", "random", "agree"]].mean()
    assert means.tolist() == [both, position, random, agree]


def test_length_bias_of_the_longer_judge_is_one():
    table = relations_.order_table(pairs_of("longer"), FIVE.scores, FIVE.chars)
    assert table["longer"].mean() == 1
    bias = biases.length_bias(table, draws=50)
    assert bias["mean"] == 1 and np.isnan(bias["low"]) and "no variation" in bias["note"]
    assert table["both"].mean() == pytest.approx(table["better_longer"].mean(), abs=0.01)


def test_coin_agrees_with_itself_half_of_the_time():
    pairs = pairs_of("coin")
    table = relations_.order_table(pairs, FIVE.scores)
    assert table["repeat"].mean() == pytest.approx(2 * 0.49**2 + 0.02**2, abs=1e-6)
    assert (relations_.aggregate(pairs, "two_pass").sign[~np.isnan(relations_.aggregate(pairs).sign)] == 0).all()


def test_oracle_cycles_of_three_are_all_found():
    three = Cases([Case(f"Q{k}", ("a", "b", "c"), (1.0, 2.0, 3.0)) for k in range(4)])
    relations = relations_.aggregate(pairs_of("cyclic", three, n=3))
    assert consistency.nontransitivity(relations.sign, 3)["mean"] == 1
    assert consistency.triple_classes(relations.sign)["cycle"] == 4
    assert consistency.cyclic_proportion(relations.margin)[0] == pytest.approx(1)


def test_five_levels_on_a_circle_hold_five_cycles_in_ten_triples():
    relations = relations_.aggregate(pairs_of("cyclic"))
    assert consistency.nontransitivity(relations.sign, 3)["mean"] == pytest.approx(0.5)
    assert consistency.nontransitivity(relations.sign, 4)["mean"] == 1


def test_position_logit_is_recovered():
    quality, by_position = relations_.logit_split(pairs_of("position_biased", position=1.5, strength=8.0))
    off = ~np.isnan(by_position)
    assert by_position[off] == pytest.approx(1.5)
    assert np.abs(quality[off]) == pytest.approx(1.0)
    table = relations_.order_table(pairs_of("position_biased", position=1.5), FIVE.scores)
    assert table["position"].mean() == 1
    debiased = relations_.aggregate(pairs_of("position_biased", position=1.5), "debiased_logit").sign
    assert consistency.conflict_ratio(FIVE.scores, debiased)["mean"] == 0


@pytest.mark.parametrize("scale", [(1, 5), (1, 100)])
def test_oracle_scores_do_not_conflict_with_oracle_comparisons(scale):
    scores = scores_of("oracle", scale)
    assert consistency.conflict_ratio(scores, relations_.aggregate(pairs_of("oracle")).sign)["mean"] == 0
    assert np.abs(readings.rescale(scores, scale, (1, 5)) - FIVE.scores).max() < 0.3


def test_first_judge_conflicts_with_every_score():
    comparisons = relations_.aggregate(pairs_of("first"), "two_pass").sign
    found = consistency.conflict_ratio(scores_of("oracle", (1, 5)), comparisons)
    assert found["pair_tie_only"] == found["mean"] == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("oracle", "better than chance"), ("first", "at chance: picks the first"), ("coin", "at chance (right in 50%")],
)
def test_planted_judges_are_compared_with_chance(name, said):
    found = relations_.chance_verdict(relations_.order_table(pairs_of(name), FIVE.scores))
    assert found.startswith(said) and "of 300 pairs" in found


def test_a_verdict_on_chance_distinguishes_wrong_from_chance_and_needs_marks_and_pairs():
    coin = pairs_of("coin")
    coin[: len(coin) // 4 * 3, ..., 1] += 0.2
    coin[: len(coin) // 4 * 3, ..., 0] -= 0.2
    four = pd.DataFrame({"case": range(4), "random": [1, 1, 0, 0], "first": [1, 0, 1, 0], "ties": 0})
    many = pd.concat([four.assign(case=lambda t, k=k: t["case"] + 4 * k) for k in range(25)])
    tables = {
        "worse than chance (right in 0% [0%,": relations_.order_table(pairs_of("oracle"), -FIVE.scores),
        "unknown: too few pairs (right in 100% [44%, 100%] of 30 pairs": relations_.order_table(
            pairs_of("oracle", FIVE[:3]), FIVE[:3].scores
        ),
        "unknown: too few pairs (right in 50% [15%, 85%] of 4": four,
        "at chance (right in 50% [40%, 60%] of 100": many,
        "at chance: prefers the second answer": relations_.order_table(coin, FIVE.scores),
        "unknown: no marks say which answers are better": relations_.order_table(pairs_of("first")),
    }
    for verdict, table in tables.items():
        assert relations_.chance_verdict(table).startswith(verdict)


def test_planted_judges_are_undecided_without_scores():
    unknown = Cases([Case("Q", ("a", "bb")), Case("R", ("a", "b"), (1.0, math.nan))])
    (oracle,) = planted.judged(["oracle"], pairwise(unknown, PAIR), unknown)
    pairs = oracle.pairs(PAIR.key)
    assert pairs[:, 0, 1] == pytest.approx(np.array([[0.49, 0.49, 0.02]] * 2), abs=1e-6)
    assert unknown.ends == (0.0, 1.0)
    with pytest.raises(InputError, match="lowest and highest"):
        planted.judge("oracle", human=(3.0, 3.0))


def test_all_prompts_of_a_judge_come_from_one_table():
    questions = pairwise(FIVE, PAIR) + pointwise(FIVE, load_template("score"))
    oracle = readings.judgement("oracle", planted.answers(planted.judge("oracle", human=LEVELS), questions), FIVE.ids)
    assert set(oracle.prompts) == {"pair A/B/C", "score 1-5"}
    table = readings.reading_table([oracle])
    assert (table["n_unparsed"] == 0).all() and table["judge"].eq("oracle").all()
    assert relations_.pair_accuracy(relations_.aggregate(oracle.pairs("pair A/B/C")), FIVE.scores)["mean"] == 1
    more = replace(oracle, order=("unread", *FIVE.ids)).pairs("pair A/B/C")
    assert np.isnan(more[0]).all() and more[1:] == pytest.approx(oracle.pairs("pair A/B/C"), nan_ok=True)
    gaps = relations_.differences(oracle.scores("score 1-5"))
    assert relations_.right_pairs(gaps, FIVE.scores)["right"].mean() == 1
    with pytest.raises(InputError, match="Did you mean 'score 1-5'"):
        oracle.scores("score 1-50")


def test_follow_ups_reward_what_pleases():
    rows = []
    for question in follow_up_questions(FIVE[:2]):
        for k, option in enumerate(question.options):
            pleased = option.text.strip() not in DISPLEASED
            row = {"question_id": question.id, "option": k, "value": option.value, "n_tokens": 2, **question.tags}
            rows.append(row | {"logprob": -2.0 * (1.0 if pleased else question.tags["human"])})
    found = ratings_and_rankings.followup_rewards(pd.DataFrame(rows), FIVE[:2].ids)["follow-up"]
    assert found == pytest.approx(FIVE[:2].scores - 1)


def test_unknown_judges_and_other_questions_are_refused():
    with pytest.raises(InputError, match="Did you mean 'oracle'"):
        planted.judge("oracl")
    with pytest.raises(InputError, match="not a judge prompt"):
        planted.answers(planted.judge("coin"), [Question("x", (Option("a"), Option("b")))])


def contrasts_of(name, **how):
    forms = [load_template("score", scale=(1, end)) for end in (5, 100)]
    questions = pairwise(FIVE, PAIR) + [q for form in forms for q in pointwise(FIVE, form)]
    judge = readings.judgement(name, planted.answers(planted.judge(name, human=LEVELS, **how), questions), FIVE.ids)
    return consistency.contrasts(judge, [form.key for form in forms], PAIR.key).set_index("contrast")


@pytest.mark.parametrize("name", ["dice", "coin", "first"])
def test_no_reading_is_better_for_a_judge_that_does_not_judge(name):
    found = contrasts_of(name)
    gains = found.drop(index=["tied", "tied, above chance"])
    assert [at for at, row in gains.iterrows() if row["high"] < min(0, row["explained"])] == []
    assert not found.loc["tied, above chance", "low"] > 0


def test_ties_explain_what_a_reading_changes_for_dice():
    found = contrasts_of("dice")
    plain = found.loc["transitivity"]
    assert plain["high"] < 0  # the claim as it was: likelihood aggregation is "more transitive" for dice as well
    for at in ("fine, two_pass", "scale, two_pass", "aggregation", "transitivity", "tied"):
        assert found.loc[at, "mean"] == pytest.approx(found.loc[at, "explained"], abs=0.06), at


def test_a_judge_that_ties_nearly_all_violates_triples_as_at_chance():
    """Always the first but for one answer of each case: its violations have ties, as at chance."""
    questions = pairwise(FIVE, PAIR) + pointwise(FIVE, load_template("score", scale=(1, 5)))
    lead = lambda t: 8.0 if 0 not in (t["first"], t["second"]) else 8.0 * np.sign(planted.judge("dice").lead(t))  # noqa: E731
    answers = planted.answers(planted.PlantedJudge("nearly first", lead, lambda t: 0.5), questions)
    judge = readings.judgement("nearly first", answers, FIVE.ids)
    found = consistency.contrasts(judge, ["score 1-5"], PAIR.key).set_index("contrast")
    assert found.loc["tied", "mean"] == 1 and not found.loc["tied, above chance", "low"] > 0


def test_agreement_of_two_verdicts_and_likelihood_are_two_comparisons():
    """Shown first, x wins by (.60, .40); shown second, it loses by (.45, .55): agreement is a tie, likelihood is x."""
    p = np.full((1, 2, 2, 3), np.nan)
    p[0, 0, 1], p[0, 1, 0] = [0.60, 0.40, 0.0], [0.55, 0.45, 0.0]
    conflict = [
        consistency.conflicts([[3.8, 3.6]], relations_.aggregate(p, method).sign)["conflict"].item()
        for method in ("two_pass", "likelihood")
    ]
    assert conflict == [1.0, 0.0]


def test_a_position_bias_that_changes_with_the_label_words_is_detected():
    def shift(one, other):
        prompts = [relations_.order_table(p, FIVE.scores).assign(labels=at) for at, p in (("a", one), ("b", other))]
        return [biases.position_shift(pd.concat(prompts), *at) for at in (("a", "b"), ("b", "a"))]

    turned = shift(pairs_of("first"), pairs_of("first")[..., [1, 0, 2]])
    assert [each["mean"] for each in turned] == [2, 2]
    assert not any(each["low"] > 0.05 for each in shift(pairs_of("coin"), pairs_of("dice")))
