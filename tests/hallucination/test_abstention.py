import numpy as np
import pandas as pd
import pytest

from workbench.answers import outcomes, probabilities
from workbench.errors import InputError
from workbench.hallucination import distributional_correctness

CONFIDENCE = (0.95, 0.9, 0.85, 0.8, 0.7, 0.65, 0.6, 0.55, 0.4, 0.3)
CORRECT = (1, 1, 0, 1, 1, 0, 1, 0, 0, 0)


def test_O_18_outcome_rates():
    found = distributional_correctness.outcome_rates(5, 3, 2).set_index("metric")["mean"]
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
    scores = distributional_correctness.confidence_target_score(CONFIDENCE, CORRECT, t)
    assert np.count_nonzero(np.asarray(CONFIDENCE) > t) == answered
    assert scores.shape == (10,)
    assert scores.mean() == pytest.approx(mean, abs=1e-6)
    never = np.zeros(10, bool)
    assert distributional_correctness.confidence_target_score(CONFIDENCE, CORRECT, t, never).mean() == pytest.approx(
        forced, abs=1e-6
    )


def test_several_targets_give_their_means():
    found = distributional_correctness.confidence_target_score(CONFIDENCE, CORRECT, [0, 0.5, 0.75, 0.9])
    assert found == pytest.approx([0.5, 0.2, 0.0, 0.1])


@pytest.mark.parametrize("q", [0.1, 0.5, 0.8])
def test_answering_at_belief_q_is_worth_q_minus_t_over_one_minus_t(q):
    t = 0.5
    assert distributional_correctness.confidence_target_score([q], [q], t, [False])[0] == pytest.approx(
        (q - t) / (1 - t)
    )


def test_O_20_abstention_precision_recall():
    found = distributional_correctness.abstention_prf(np.asarray(CONFIDENCE) <= 0.5, CORRECT).set_index("metric")[
        "mean"
    ]
    assert found.to_dict() == pytest.approx({"precision": 1, "recall": 0.4, "f1": 0.571429}, abs=1e-6)


def test_no_abstentions():
    found = distributional_correctness.abstention_prf([0, 0, 0], [1, 0, 0]).set_index("metric")
    assert np.isnan(found["mean"]["precision"])
    assert found["note"]["precision"] == "its base is empty"
    assert found["mean"]["recall"] == 0
    assert found["mean"]["f1"] == 0


def test_O_21_wilson_interval():
    row = distributional_correctness.outcome_rates(5, 3, 2).set_index("metric").loc["accuracy"]
    assert (row["low"], row["high"]) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    assert row["method"] == "wilson"


def test_rates_of_attempts_are_undefined_without_attempts():
    found = distributional_correctness.outcome_rates(0, 0, 4).set_index("metric")
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
    kept = distributional_correctness.keep_abstentions(phrased(), phrases, ADDED)
    assert outcomes(probabilities(kept))["p_abstain"].tolist() == pytest.approx([p_abstain] * 2)
    assert kept["role"].tolist().count("wrong") == 2


def test_an_abstention_phrase_that_is_no_option_is_refused():
    with pytest.raises(InputError, match="Did you mean 'I do not know"):
        distributional_correctness.keep_abstentions(phrased(), "I don't know", ADDED)
    with pytest.raises(InputError, match="abstention phrase 'Pass'"):
        distributional_correctness.keep_abstentions(phrased(), "Pass", ["Pass"])


def test_a_questions_own_abstention_stays():
    """As "Cannot be determined" of bbq_lite: listed in the prompt, so it may not vanish from the softmax."""
    own = phrased().replace({"text": {" I do not know.": " Cannot be determined"}})
    kept = distributional_correctness.keep_abstentions(own, [], ["I do not know"])
    assert kept["text"].tolist() == [" A", " Cannot be determined", " B"] * 2
    assert outcomes(probabilities(kept))["p_abstain"].tolist() == pytest.approx([2 / 7] * 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: distributional_correctness.confidence_target_score([0.5], [1], 1.0),
            "t must be at least 0 and below 1",
        ),
        (lambda: distributional_correctness.confidence_target_score([0.5], [1], -0.1), "t must be"),
        (lambda: distributional_correctness.confidence_target_score([0.5, 0.6], [1], 0.5), "correct has shape"),
        (lambda: distributional_correctness.confidence_target_score([], [], 0.5), "confidence is empty"),
        (lambda: distributional_correctness.confidence_target_score([1.5], [1], 0.5), "confidence must lie between"),
        (lambda: distributional_correctness.confidence_target_score([0.5], [1], 0.5, [2]), "abstained must hold"),
        (lambda: distributional_correctness.outcome_rates(0, 0, 0), "not all of them 0"),
        (lambda: distributional_correctness.outcome_rates(-1, 0, 3), "at least 0"),
        (lambda: distributional_correctness.outcome_rates(float("nan"), 0, 3), "at least 0"),
        (lambda: distributional_correctness.abstention_prf([], []), "empty"),
        (lambda: distributional_correctness.abstention_prf([0, 1], [1]), "forced_correct must hold 2"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
