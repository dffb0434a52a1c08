import warnings

import numpy as np
import pandas as pd
import pytest

from workbench.answers import outcomes, probabilities
from workbench.errors import InputError
from workbench.hallucination import distributional_correctness as dc

WORKED = {
    "O_11": ((0.31, 0.27, 0.40, 0.01, 0.01), -0.1881, 0.10395, 0.2079),
    "O_12": ((0.15, 0.05, 0.40, 0.01, 0.39), 0.1159, 0.17995, 0.3599),
    "O_13": ((0.25, 0.24, 0.26, 0.24, 0.01), -0.4653, -0.10395, -0.2079),
    "O_14": ((0.01, 0.01, 0.96, 0.01, 0.01), 0.9207, 0.93555, 1.8711),
}
ROLES = ["wrong", "wrong", "correct", "wrong", "abstain"]


def table(p, roles=ROLES, abstention=" ?", question_id="q", **columns):
    texts = [abstention if role == "abstain" else f" {letter}" for role, letter in zip(roles, "ABCDEFGHIJKL")]
    texts = [f" {place}{text}" if text in texts[:place] else text for place, text in enumerate(texts)]
    frame = {"question_id": question_id, "option": range(len(p)), "text": texts, "role": roles, "logprob": np.log(p)}
    return pd.DataFrame({**frame, **columns})


def score(p, roles=ROLES, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dc.scores(probabilities(table(p, roles)), **arguments).iloc[0]


def scored(p_correct, p_wrong, p_abstain, lc=1.0, lw=1.0):
    """The scores of questions with one option per role."""
    p = np.stack(np.broadcast_arrays(p_correct, p_wrong, p_abstain), axis=-1).reshape(-1, 3)
    rows = {"question_id": np.repeat(np.arange(len(p)).astype(str), 3), "option": [0, 1, 2] * len(p)}
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore")
        columns = {"text": ["a", "b", "?"] * len(p), "role": DEFAULT * len(p), "logprob": np.log(p).ravel()}
        return dc.scores(probabilities(pd.DataFrame(rows | columns)), lc=lc, lw=lw)


def dcs(*parts):
    return scored(*parts)["dcs"].to_numpy()


def uniform_baseline(k, n_correct=1, lc=1.0, lw=1.0, n_abstain=1):
    """The baseline of k options and so many abstentions."""
    roles = ["correct"] * n_correct + ["wrong"] * (k - n_correct) + ["abstain"] * n_abstain
    return score(np.full(len(roles), 1 / len(roles)), roles, lc=lc, lw=lw)["uniform"]


DEFAULT = ["correct", "wrong", "abstain"]
POINTS = np.vstack(
    [np.eye(3), [[0.5, 0.5, 0], [0, 0.3, 0.7], [0.3, 0, 0.7]], np.random.default_rng(0).dirichlet(np.ones(3), 300)]
)
CORRECT, WRONG, ABSTAIN = POINTS.T
LOADINGS = [(1.0, 1.0), (2.0, 1.0), (1.0, 0.0), (0.3, 0.25), (5.0, 0.1)]


@pytest.mark.parametrize(("m", "expected"), [(0, 0), (0.25, 0.025), (0.5, 0.1), (0.75, 0.225), (1, 0.4)])
def test_O_06_expected_score_of_an_uncertain_answer(m, expected):
    q = 0.7
    assert q * dcs(m, 0, 1 - m) + (1 - q) * dcs(0, m, 1 - m) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((1, 0, 0), 1),
        ((0.8, 0, 0.2), 0.64),
        ((0.8, 0.2, 0), 0.60),
        ((0.2, 0, 0.8), 0.04),
        ((0, 0, 1), 0),
        ((0, 0.2, 0.8), -0.04),
        ((0.2, 0.8, 0), -0.60),
        ((0, 1, 0), -1),
    ],
)
def test_O_07_ordering(point, expected):
    assert dcs(*point) == pytest.approx(expected, abs=1e-6)


def test_O_08_unequal_loadings_break_the_ordering():
    assert dcs(0.8, 0.2, 0, 2, 1) == pytest.approx(1.40)
    assert dcs(0.8, 0, 0.2, 2, 1) == pytest.approx(1.28)


def test_O_09_positive_score_at_accuracy_zero():
    found = score((0.4, 0.1, 0.5), ["correct", "wrong", "abstain"])
    assert found["dcs"] == pytest.approx(0.15)
    assert found["ternary"] == 0
    assert found["accuracy"] == 0


@pytest.mark.parametrize(
    ("k", "with_abstention", "without"), [(2, 0, 0), (3, -0.1875, -1 / 3), (4, -0.32, -0.5), (5, -0.4167, -0.6)]
)
def test_O_10_uniform_baseline(k, with_abstention, without):
    assert uniform_baseline(k) == pytest.approx(with_abstention, abs=5e-5)
    assert uniform_baseline(k, n_abstain=0) == pytest.approx(without, abs=1e-6)
    found = score(np.full(k + 1, 0.1), ["correct", *["wrong"] * (k - 1), "abstain"])
    assert found["uniform"] == pytest.approx(float(uniform_baseline(k)))
    assert found["dcs"] == pytest.approx(found["uniform"])
    assert found["skill"] == pytest.approx(0)


def test_O_10_ten_options_and_skill():
    assert [uniform_baseline(10, n_abstain=n) for n in (1, 0)] == pytest.approx([-0.6612, -0.8], abs=5e-5)
    assert dc.dcs_skill(0.1159, np.array([uniform_baseline(4), uniform_baseline(2)])) == pytest.approx(
        [0.330227, 0.1159], abs=1e-6
    )


@pytest.mark.parametrize("oracle", WORKED)
def test_O_11_to_O_14_worked_distributions(oracle):
    p, plain, half, double = WORKED[oracle]
    assert score(p)["dcs"] == pytest.approx(plain, abs=1e-6)
    assert score(p, lc=1, lw=0.5)["dcs"] == pytest.approx(half, abs=1e-6)
    assert score(p, lc=2, lw=1)["dcs"] == pytest.approx(double, abs=1e-6)


def test_O_15_mean_and_standard_error():
    from workbench.statistics import summarise

    answers = pd.concat([table(p, question_id=name) for name, (p, *_) in WORKED.items()], ignore_index=True)
    row = summarise(dc.scores(probabilities(answers)), "dcs").iloc[0]
    assert row["mean"] == pytest.approx(0.095800, abs=1e-6)
    assert row["se"] == pytest.approx(0.299485, abs=1e-6)


def test_O_16_several_correct_options():
    found = score((0.30, 0.25, 0.20, 0.15, 0.10), ["correct", "correct", "wrong", "wrong", "abstain"])
    assert found["p_correct"] == pytest.approx(0.55)
    assert found["dcs"] == pytest.approx(0.18)


@pytest.mark.parametrize(
    ("normalisation", "abstention", "expected"),
    [("chars", " ?", -0.0398654), ("none", " ?", 0.19), ("none", "?", 0.1159)],
)
def test_O_17_abstention_factor_lost_in_eval_framework(normalisation, abstention, expected):
    """That package looks abstention up under a stripped lower-case key; it also counts the leading space."""
    answers = table(WORKED["O_12"][0], abstention=abstention, n_chars=2)
    p = probabilities(answers, normalisation)
    found = dc.scores(p, mode="eval_framework_0_9").iloc[0]
    assert found["dcs"] == pytest.approx(expected, abs=1e-6)


def test_abstention_factor_is_kept_whatever_the_phrase():
    for phrase in (" ?", "?", " I do not know.", " IDK"):
        p = probabilities(table(WORKED["O_12"][0], abstention=phrase))
        assert dc.scores(p)["dcs"][0] == pytest.approx(0.1159, abs=1e-6)


@pytest.mark.parametrize(("k", "expected"), [(4, -0.4), (10, -0.7273)])
def test_uniform_baseline_of_eval_framework(k, expected):
    found = score(np.full(k + 1, 0.05), ["correct", *["wrong"] * (k - 1), "abstain"], mode="eval_framework_0_9")
    assert found["uniform"] == pytest.approx(expected, abs=5e-5)
    assert found["dcs"] == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("lc", "lw"), LOADINGS)
def test_P1_range_and_ends(lc, lw):
    found = dcs(*POINTS.T, lc, lw)
    assert found.min() >= -lw - 1e-9 and found.max() <= lc + 1e-9 and found[:3].tolist() == [lc, -lw, 0]


def test_P2_difference_of_squares():
    found = dcs(*POINTS.T)
    assert found == pytest.approx(CORRECT**2 - WRONG**2, abs=1e-9)
    assert (np.sign(found) == np.sign(CORRECT - WRONG)).all()


@pytest.mark.parametrize(("lc", "lw"), LOADINGS)
def test_P3_P4_guess_only_above_the_threshold_of_at_most_one_half(lc, lw):
    assert dc.guess_threshold(lc, lw) <= 0.5
    q, m = np.meshgrid(np.linspace(0.0013, 0.9987, 40), [0.01, 0.4, 1.0])
    expected = q * dcs(m, 0, 1 - m, lc, lw).reshape(q.shape) + (1 - q) * dcs(0, m, 1 - m, lc, lw).reshape(q.shape)
    assert expected == pytest.approx(m**2 * (q * (lc + lw) - lw), abs=1e-9)
    assert ((expected > 0) == (q > dc.guess_threshold(lc, lw))).all()


def test_P3_thresholds():
    assert dc.guess_threshold() == 0.5
    assert dc.guess_threshold(1, 0.5) == pytest.approx(1 / 3)
    assert dc.guess_threshold(1, 1 / 3) == pytest.approx(1 / 4)


def test_P4_higher_thresholds_need_the_strict_rule_lifted():
    with pytest.raises(InputError, match="strict_loadings=False"):
        score((0.5, 0.5), ["correct", "wrong"], lc=1, lw=3)
    assert score((0.5, 0.5), ["correct", "wrong"], lc=1, lw=3, strict_loadings=False)["dcs"] == pytest.approx(-1)
    assert dc.guess_threshold(1, 3) == 0.75


@pytest.mark.parametrize("proportion", [0.01, 0.5, 1.0])
def test_P5_abstaining_instead_of_erring_never_hurts(proportion):
    found = dcs(*POINTS.T)
    assert (dcs(CORRECT, WRONG * (1 - proportion), ABSTAIN + WRONG * proportion) >= found - 1e-9).all()
    assert (dcs(CORRECT * (1 - proportion), WRONG, ABSTAIN + CORRECT * proportion) <= found + 1e-9).all()


@pytest.mark.parametrize("pair", LOADINGS)
def test_P6_hedging_gradient(pair):
    step, (correct, wrong, abstain) = 1e-6, POINTS[6:].T
    ahead, back = (dcs(correct, wrong - d, abstain + d, *pair) for d in (step, -step))
    found = dc.hedging_gradient(correct, wrong, *pair)
    assert (ahead - back) / (2 * step) == pytest.approx(found, abs=1e-4)
    assert (dc.hedging_gradient(correct, wrong) == dc.hedging_gradient(correct, wrong, 1, 1)).all()


def test_P6_unequal_loadings_warn_with_the_share_of_questions():
    answers = [table(WORKED[name][0], question_id=name) for name in ("O_11", "O_13", "O_14")]
    p = probabilities(pd.concat(answers, ignore_index=True))
    with pytest.warns(UserWarning, match=r"33\.3% of the questions"):
        found = dc.scores(p, lc=2, lw=1)
    assert (found["hedging_gradient"] < 0).tolist() == [False, False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dc.scores(p)


def test_P7_positive_score_without_a_correct_choice_needs_abstention():
    table = scored(*POINTS[6:60].T)
    odd = table[(table["dcs"] > 0) & (table["accuracy"] == 0)]
    assert len(odd) > 3 and (odd["ternary"] == 0).all()
    assert (odd["p_abstain"] == odd[["p_correct", "p_wrong", "p_abstain"]].max(axis=1)).all()


def test_P8_information_bound():
    found = dcs(*POINTS.T)
    correct, found = CORRECT[found > 1e-12], found[found > 1e-12]  # below, 1 - p_abstain itself has lost its digits
    assert (-np.log(correct) <= -0.5 * np.log(found) + 1e-6).all() and (found <= correct**2 + 1e-9).all()


@pytest.mark.parametrize(("k", "m", "n_abstain"), [(1, 1, 0), (4, 1, 1), (9, 4, 3), (6, 6, 2)])
def test_P9_uniform_baseline_is_the_score_of_a_uniform_distribution(k, m, n_abstain):
    n = k + n_abstain
    found = uniform_baseline(k, m, 2.0, 0.5, n_abstain)
    assert found == pytest.approx((2.0 * m - 0.5 * (k - m)) / n * (1 - n_abstain / n), abs=1e-9)


def test_skill_is_undefined_where_nothing_can_be_gained():
    assert np.isnan(dc.dcs_skill(1.0, uniform_baseline(1, n_abstain=0)))
    found = score((1.0,), ["correct"])
    assert found["dcs"] == 1
    assert np.isnan(found["skill"])


def test_ternary_and_confidence_weighted_accuracy():
    found = score(WORKED["O_12"][0])
    assert found["ternary"] == 1
    assert found["confidence_weighted_accuracy"] == pytest.approx(0.40)
    assert score((0.3, 0.3, 0.4), ["correct", "wrong", "abstain"])["confidence_weighted_accuracy"] == 0
    tied = score((0.45, 0.45, 0.1), ["correct", "wrong", "abstain"], lc=2, lw=1)
    assert tied["ternary"] == pytest.approx(0.5)
    assert tied["confidence_weighted_accuracy"] == pytest.approx(0.225)
    assert tied["tie"]


def test_dropped_mass_counts_neither_way():
    answers = table(np.array([0.12, 0.04, 0.32, 0.008, 0.312]))
    found = dc.scores(probabilities(answers, residual="drop")).iloc[0]
    assert found["dcs"] == pytest.approx(0.104576)
    assert found["p_none"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("loadings", "message"), [({"lc": -1}, "at least 0"), ({"lc": 0, "lw": 0}, "not both 0"), ({"lw": 2}, "exceeds lc")]
)
def test_bad_loadings_are_refused(loadings, message):
    with pytest.raises(InputError, match=message):
        score((0.6, 0.4), ["correct", "wrong"], **loadings)


@pytest.mark.parametrize("roles", [["wrong", "wrong", "abstain"], ["abstain", "abstain", "abstain"]])
def test_a_question_without_a_correct_option_is_refused(roles):
    answers = table((0.5, 0.3, 0.2), roles).assign(text=[" A", " B", " C"])
    with pytest.raises(InputError, match=r"1 questions have no correct option, .*the first is 'q'"):
        dc.scores(probabilities(answers))


def test_unknown_mode_is_refused():
    with pytest.raises(InputError, match="Unknown mode"):
        dc.scores(probabilities(table(WORKED["O_12"][0])), mode="papers")


def test_a_tag_with_the_name_of_a_score_is_refused_not_overwritten():
    tagged = probabilities(table([1 / len(ROLES)] * len(ROLES))).assign(dcs=1.0)
    with pytest.raises(InputError, match="has a column 'dcs' already"):
        dc.scores(tagged)


CONFIDENCE = (0.95, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.55, 0.4, 0.3)
ANSWERED = (1, 1, 0, 1, 1, 0, 1, 0, 0, 0)


def test_O_18_outcome_rates():
    found = dc.outcome_rates(5, 3, 2).set_index("metric")["mean"]
    expected = {
        "coverage": 0.8,
        "abstention_rate": 0.2,
        "accuracy": 0.5,
        "accuracy_given_attempted": 0.625,
        "simpleqa_f": 0.555556,
        "hallucination_per_total": 0.3,
        "hallucination_per_attempt": 0.375,
        "hallucination_per_non_correct": 0.6,
        "omniscience_index": 20,
    }
    assert found.to_dict() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("t", "answered", "mean", "forced"), [(0, 10, 0.5, 0.5), (0.5, 8, 0.2, 0), (0.75, 4, 0.0, -1), (0.9, 1, 0.1, -4)]
)
def test_O_19_confidence_targets(t, answered, mean, forced):
    scores = dc.confidence_target_score(CONFIDENCE, ANSWERED, t)
    assert np.count_nonzero(np.asarray(CONFIDENCE) > t) == answered
    assert scores.shape == (10,)
    assert scores.mean() == pytest.approx(mean, abs=1e-6)
    never = np.zeros(10, bool)
    assert dc.confidence_target_score(CONFIDENCE, ANSWERED, t, never).mean() == pytest.approx(forced, abs=1e-6)


def test_several_targets_give_their_means():
    found = dc.confidence_target_score(CONFIDENCE, ANSWERED, [0, 0.5, 0.75, 0.9])
    assert found == pytest.approx([0.5, 0.2, 0.0, 0.1])


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_answering_at_belief_q_is_worth_q_minus_t_over_one_minus_t(q):
    t = 0.5
    assert dc.confidence_target_score([q], [q], t, [False])[0] == pytest.approx((q - t) / (1 - t))


def test_O_20_abstention_precision_recall():
    found = dc.abstention_prf(np.asarray(CONFIDENCE) <= 0.5, ANSWERED).set_index("metric")["mean"]
    assert found.to_dict() == pytest.approx({"precision": 1, "recall": 0.4, "f1": 0.571429}, abs=1e-6)


def test_no_abstentions():
    found = dc.abstention_prf([0, 0, 0], [1, 0, 0]).set_index("metric")
    assert np.isnan(found["mean"]["precision"])
    assert found["note"]["precision"] == "its base is empty"
    assert found["mean"]["recall"] == 0
    assert found["mean"]["f1"] == 0


def test_O_21_wilson_interval():
    row = dc.outcome_rates(5, 3, 2).set_index("metric").loc["accuracy"]
    assert (row["low"], row["high"]) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    assert row["method"] == "wilson"


def test_rates_of_attempts_are_undefined_without_attempts():
    found = dc.outcome_rates(0, 0, 4).set_index("metric")
    assert found["mean"][["accuracy_given_attempted", "hallucination_per_attempt"]].isna().all()
    assert found["mean"]["simpleqa_f"] == 0
    assert found["mean"]["omniscience_index"] == 0
    assert found["low"]["accuracy_given_attempted"] != 0


ADDED = ["I do not know", "I do not know."]


def phrased():
    texts = [" A", " I do not know", " I do not know.", " B"]
    one = {"option": range(4), "text": texts, "role": ["correct", "abstain", "abstain", "wrong"]}
    odds = np.log([0.4, 0.3, 0.2, 0.1])
    parts = [pd.DataFrame({"question_id": name, **one, "logprob": odds}) for name in "qr"]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("phrases", "p_abstain"), [("I do not know", 3 / 8), ([" I do not know."], 2 / 7), ([], 0)])
def test_abstention_phrases_one_at_a_time(phrases, p_abstain):
    kept = dc.keep_abstentions(phrased(), phrases, ADDED)
    assert outcomes(probabilities(kept))["p_abstain"].tolist() == pytest.approx([p_abstain] * 2)
    assert kept["role"].tolist().count("wrong") == 2


def test_an_abstention_phrase_that_is_no_option_is_refused():
    with pytest.raises(InputError, match="Did you mean 'I do not know"):
        dc.keep_abstentions(phrased(), "I don't know", ADDED)
    with pytest.raises(InputError, match="abstention phrase 'Pass'"):
        dc.keep_abstentions(phrased(), "Pass", ["Pass"])


def test_a_questions_own_abstention_stays():
    """As "Cannot be determined" of bbq_lite: listed in the prompt, so it may not vanish from the softmax."""
    own = phrased().replace({"text": {" I do not know.": " Cannot be determined"}})
    kept = dc.keep_abstentions(own, [], ["I do not know"])
    assert kept["text"].tolist() == [" A", " Cannot be determined", " B"] * 2
    assert outcomes(probabilities(kept))["p_abstain"].tolist() == pytest.approx([2 / 7] * 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: dc.confidence_target_score([0.5], [1], 1.0),
            "t must be at least 0 and below 1",
        ),
        (lambda: dc.confidence_target_score([0.5], [1], -0.1), "t must be"),
        (lambda: dc.confidence_target_score([0.5, 0.6], [1], 0.5), "correct has shape"),
        (lambda: dc.confidence_target_score([], [], 0.5), "confidence is empty"),
        (lambda: dc.confidence_target_score([1.5], [1], 0.5), "confidence must lie between"),
        (lambda: dc.confidence_target_score([0.5], [1], 0.5, [2]), "abstained must contain"),
        (lambda: dc.outcome_rates(0, 0, 0), "not all of them 0"),
        (lambda: dc.outcome_rates(-1, 0, 3), "at least 0"),
        (lambda: dc.outcome_rates(float("nan"), 0, 3), "at least 0"),
        (lambda: dc.abstention_prf([], []), "empty"),
        (lambda: dc.abstention_prf([0, 1], [1]), "forced_correct must contain 2"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
