import time
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from workbench.answers import faint, outcomes, probabilities, tag_columns
from workbench.errors import InputError

ROLES = ["correct", "wrong", "wrong", "wrong", "abstain"]


def table(logprobs, roles, texts=None, question_id="q", **columns):
    n = len(logprobs)
    return pd.DataFrame(
        {
            "question_id": question_id,
            "option": range(n),
            "text": texts or [f" {letter}" for letter in "ABCDEFGHIJ"[:n]],
            "role": roles,
            "logprob": np.asarray(logprobs, float),
            **columns,
        }
    )


def dcs_of(p):
    result = outcomes(p).iloc[0]
    return (result["p_correct"] - result["p_wrong"]) * (1 - result["p_abstain"])


O_04 = table([-18, -24, -26, -14, -12], ROLES, n_chars=[41, 42, 43, 14, 15], n_tokens=[9, 9, 8, 4, 5])
BELIEFS = np.log([0.15, 0.05, 0.40, 0.01, 0.39])
C_CORRECT = ["wrong", "wrong", "correct", "wrong", "abstain"]


def test_O_01_sequence_logprob():
    """The logits at position t - 1 score token t."""
    logits, ids, start = np.array([[2.0, 1, 0], [0, 3, 1], [9, 9, 9]]), [2, 0, 1], 1
    terms = log_softmax(logits, axis=1)[np.arange(start - 1, 2), ids[start:]]
    total = terms.sum()
    assert terms == pytest.approx([-0.4076060, -0.1698460], abs=1e-6)
    assert total == pytest.approx(-0.5774520, abs=1e-6)


@pytest.mark.parametrize(
    ("tau", "p", "dcs"),
    [
        (1.0, (0.15, 0.05, 0.40, 0.01, 0.39), 0.1159),
        (2.0, (0.1968, 0.1136, 0.3214, 0.0508, 0.3173), -0.0272),
        (4.0, (0.2077, 0.1578, 0.2654, 0.1055, 0.2637), -0.1514),
    ],
)
def test_O_02_a_common_length_is_a_temperature_and_flips_the_sign(tau, p, dcs):
    answers = table(BELIEFS, C_CORRECT, n_chars=int(tau))
    heated, divided = probabilities(answers, temperature=tau), probabilities(answers, "chars")
    np.testing.assert_allclose(heated["p"], p, atol=5e-5)
    np.testing.assert_allclose(heated["p"], divided["p"], atol=1e-12)
    assert dcs_of(heated) == pytest.approx(dcs, abs=5e-5)


@pytest.mark.parametrize(
    ("residual", "dcs"),
    [("renormalise", 0.1159), ("as_wrong", -0.033024), ("as_abstain", 0.074176), ("drop", 0.104576)],
)
def test_O_03_residual_policies(residual, dcs):
    p = probabilities(table(np.log([0.12, 0.04, 0.32, 0.008, 0.312]), C_CORRECT), residual=residual)
    result = outcomes(p).iloc[0]
    assert dcs_of(p) == pytest.approx(dcs, abs=1e-6)
    assert result["mass"] == pytest.approx(0.8)
    assert result[["p_correct", "p_wrong", "p_abstain", "p_none"]].sum() == pytest.approx(1)
    assert result["normalisation"] == ("none" if residual == "renormalise" else f"none, {residual}")


@pytest.mark.parametrize(
    ("normalisation", "p", "dcs", "choice"),
    [
        ("none", (0.0022, 0.0000, 0.0000, 0.1189, 0.8789), -0.0141, 4),
        ("tokens", (0.3713, 0.1906, 0.1064, 0.0828, 0.2489), -0.0064, 0),
        ("chars", (0.2506, 0.2195, 0.2123, 0.1430, 0.1746), -0.2676, 0),
    ],
)
def test_O_04_normalisations(normalisation, p, dcs, choice):
    read = probabilities(O_04, normalisation)
    np.testing.assert_allclose(read["p"], p, atol=5e-5)
    assert dcs_of(read) == pytest.approx(dcs, abs=5e-5)
    result = outcomes(read).iloc[0]
    assert result["choice"] == choice
    assert result["choice_role"] == ROLES[choice]
    assert result["mass"] == pytest.approx(6.99e-6, abs=5e-9)
    assert result["low_mass"]


def test_character_normalisation_flips_signs():
    answers = table(BELIEFS, C_CORRECT, n_chars=2)
    assert dcs_of(probabilities(answers, "none")) > 0 > dcs_of(probabilities(answers, "chars"))


def test_O_05_abstention_phrases_add_up():
    texts = [" A", " I don't know", " not sure", " no idea"]
    p = probabilities(table(np.log([0.73, 0.20, 0.05, 0.02]), ["correct"] + ["abstain"] * 3, texts))
    result = outcomes(p).iloc[0]
    assert result["p_abstain"] == pytest.approx(0.27)
    assert result["n_abstain"] == 3
    assert result["n_options"] == 1


def test_abstention_phrases_are_chosen_together():
    p = probabilities(table(np.log([0.4, 0.3, 0.3]), ["correct", "abstain", "abstain"], [" A", " dunno", " pass"]))
    result = outcomes(p).iloc[0]
    assert result["choice_role"] == "abstain"
    assert result["choice_p"] == pytest.approx(0.6)
    assert result["chosen_correct"] == 0
    assert result["answer_correct"] == 1
    assert result["answer_confidence"] == pytest.approx(1)
    assert result["joint_confidence"] == pytest.approx(0.4)


def test_pmi_and_bytes():
    answers = table([-2.0, -3.0], ["correct", "wrong"], n_bytes=[2, 4], logprob_unconditional=[-1.0, -4.0])
    odds = probabilities(answers, "pmi")["p"]
    assert np.log(odds[0] / odds[1]) == pytest.approx(-2)
    odds = probabilities(answers, "bytes")["p"]
    assert np.log(odds[0] / odds[1]) == pytest.approx(-0.25)


def test_minus_infinity_is_an_option_the_model_cannot_give():
    p = probabilities(table([-1.0, -np.inf], ["correct", "wrong"]))
    assert p["p"].tolist() == [1.0, 0.0]


def test_ties_split_the_credit():
    result = outcomes(
        probabilities(table(np.log([0.3, 0.3, 0.1, 0.3]), ["correct", "wrong", "wrong", "abstain"]))
    ).iloc[0]
    assert result["tie"]
    shares = result[["chosen_correct", "chosen_wrong", "chosen_abstain"]].astype(float)
    np.testing.assert_allclose(shares, 1 / 3)
    assert result["answer_correct"] == 0.5
    assert result["answer_confidence"] == pytest.approx(3 / 7)


def test_no_abstention_is_flagged_and_holds_no_probability():
    result = outcomes(probabilities(table([-1.0, -2.0], ["correct", "wrong"]))).iloc[0]
    assert result["no_abstain"]
    assert result["p_abstain"] == 0
    wrong = outcomes(probabilities(table([-2.0, -1.0], ["correct", "wrong"]))).iloc[0]
    assert (result["answer_correct"], wrong["answer_correct"], wrong["chosen_wrong"]) == (1, 0, 1)


def test_a_question_of_abstentions_alone_has_no_forced_answer():
    result = outcomes(probabilities(table([-1.0, -2.0], ["abstain", "abstain"]))).iloc[0]
    assert result["chosen_abstain"] == 1
    assert np.isnan(result["answer_correct"])
    assert np.isnan(result["answer_confidence"])


def test_the_same_question_under_two_tags_stays_two_rows():
    one = table([-1.0, -2.0], ["correct", "wrong"], instruction=True)
    two = table([-2.0, -1.0], ["correct", "wrong"], instruction=False)
    result = outcomes(probabilities(pd.concat([one, two], ignore_index=True)))
    assert result["instruction"].tolist() == [True, False]
    assert result["chosen_correct"].tolist() == [1, 0]


def test_any_unknown_column_is_a_tag():
    p = probabilities(table([-1.0], ["correct"], subject="law", n_tokens=1, duplicate=False))
    assert tag_columns(p) == ["subject"]
    assert outcomes(p)["subject"].tolist() == ["law"]


def test_duplicate_texts_stay_separate_rows():
    p = probabilities(table(np.log([0.2, 0.2, 0.4]), ["wrong", "wrong", "correct"], [" A", " A", " B"]))
    np.testing.assert_allclose(p["p"], [0.25, 0.25, 0.5])


def test_the_given_table_is_left_alone():
    answers = table([-1.0, -2.0], ["correct", "wrong"])
    before = answers.copy()
    probabilities(answers)
    pd.testing.assert_frame_equal(answers, before)


@st.composite
def any_table(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    logprob = st.floats(-800, 0)
    roles = st.sampled_from(["correct", "wrong", "abstain", "none"])
    parts = [
        table(
            draw(st.lists(logprob, min_size=n, max_size=n)),
            draw(st.lists(roles, min_size=n, max_size=n)),
            question_id=f"q{i}",
            n_chars=draw(st.lists(st.integers(1, 90), min_size=n, max_size=n)),
        )
        for i, n in enumerate(sizes)
    ]
    return pd.concat(parts, ignore_index=True)


@given(any_table(), st.sampled_from(["none", "chars"]), st.floats(0.05, 50))
@settings(max_examples=60, deadline=None)
def test_probabilities_add_up_and_blocks_do_not_mix(answers, normalisation, temperature):
    p = probabilities(answers, normalisation, temperature)
    result = outcomes(p)
    np.testing.assert_allclose(p.groupby("question_id")["p"].sum(), 1)
    np.testing.assert_allclose(result[["p_correct", "p_wrong", "p_abstain", "p_none"]].sum(axis=1), 1)
    alone = [outcomes(probabilities(part, normalisation, temperature)) for _, part in answers.groupby("question_id")]
    beside = ["low_mass"]  # the one column that depends on the other questions
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True).drop(columns=beside), result.drop(columns=beside))


GOOD = table([-1.0, -2.0], ["correct", "wrong"], n_tokens=1, n_chars=1, n_bytes=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logprob": [np.nan, -1.0]}, "'q' is NaN"),
        ({"logprob": [0.5, -1.0]}, "'q' is above 0"),
        ({"logprob": [np.inf, -1.0]}, "'q' is above 0"),
        ({"logprob": [-np.inf, -np.inf]}, "'q' cannot be scored"),
        ({"n_tokens": [0, 1]}, "n_tokens .* 'q' is below 1"),
        ({"option": [0, 2]}, "'q' are not numbered"),
        ({"option": [1, 2]}, "'q' are not numbered"),
        ({"question_id": ["q", "r"]}, "'r' are not numbered"),
        ({"role": ["correct", "rong"]}, "Did you mean 'wrong'"),
        ({"text": [" A", " A"]}, "option ' A' under two roles"),
    ],
)
def test_bad_tables_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        probabilities(GOOD.assign(**change))


def test_an_option_both_correct_and_abstention_is_refused():
    with pytest.raises(InputError, match="two roles"):
        probabilities(table([-1.0, -1.0], ["correct", "abstain"], [" unknown", " unknown"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normalisation": "charss"}, "Did you mean 'chars'"),
        ({"residual": "as_rong"}, "Did you mean 'as_wrong'"),
        ({"temperature": 0}, "positive"),
        ({"temperature": np.nan}, "positive"),
        ({"normalisation": "pmi"}, "unconditional"),
        ({"normalisation": "chars", "residual": "as_wrong"}, "needs normalisation='none'"),
        ({"temperature": 2.0, "residual": "drop"}, "needs normalisation='none'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        probabilities(GOOD, **arguments)


def test_overlapping_options_have_no_rest():
    with pytest.raises(InputError, match=r"a probability of 1\.2 in all"):
        probabilities(table(np.log([0.6, 0.6]), ["correct", "wrong"]), residual="as_wrong")


@pytest.mark.parametrize("name", ["question_id", "option", "text", "role", "logprob"])
def test_missing_columns_are_named(name):
    with pytest.raises(InputError, match=name):
        probabilities(GOOD.drop(columns=name))


def test_empty_and_unread_tables_are_refused():
    with pytest.raises(InputError, match="empty"):
        probabilities(GOOD.iloc[:0])
    with pytest.raises(InputError, match="pass the result of probabilities"):
        outcomes(GOOD)


@pytest.mark.parametrize("phrases", [[" I do not know", " I do not know."], [" ?", " ?"], [" no", " pass", " no idea"]])
def test_nested_abstention_phrases_are_refused(phrases):
    p = probabilities(table([-1.0, *[-2.0] * len(phrases)], ["correct", *["abstain"] * len(phrases)], [" A", *phrases]))
    with pytest.raises(InputError, match="begins with"):
        outcomes(p)


def test_a_hundred_thousand_questions_take_about_half_a_second():
    n = 100_000
    answers = pd.DataFrame(
        {
            "question_id": np.repeat([f"q{i}" for i in range(n)], 5),
            "option": np.tile(range(5), n),
            "text": np.tile([" A", " B", " C", " D", " ?"], n),
            "role": np.tile(C_CORRECT, n),
            "logprob": -np.random.default_rng(0).exponential(5, 5 * n),
        }
    )
    start = time.perf_counter()
    outcomes(probabilities(answers))
    assert time.perf_counter() - start < 3


def masses(**by_benchmark):
    """One question a mass, in style letters unless its benchmark's name says cloze."""
    rows = [
        table(np.log([mass / 2, mass / 2]), ["correct", "wrong"], question_id=f"{name}-{i}", benchmark=name)
        .assign(style="cloze" if "cloze" in name else "letters")
        for name, values in by_benchmark.items()
        for i, mass in enumerate(values)
    ]  # fmt: skip
    return probabilities(pd.concat(rows, ignore_index=True))


def test_an_item_is_low_in_mass_under_a_quarter_of_the_median_of_its_style():
    result = outcomes(masses(exam=[0.8, 0.9, 0.8, 0.21, 0.19], exam_cloze=[0.3, 0.3, 0.11, 0.09]))
    assert result["low_mass"].tolist() == [False] * 4 + [True] + [False] * 3 + [True]


def test_a_benchmark_is_low_in_mass_under_a_quarter_of_the_others_and_a_warning_names_it():
    mixed = masses(a=[0.8, 0.7], b=[0.76, 0.76], sentences=[0.18, 0.3, 0.18], own_cloze=[0.2])
    with pytest.warns(
        UserWarning, match="options of 'sentences' have a median mass of 0.18, those of the other benchmarks 0.7"
    ):
        result = outcomes(mixed)
    assert result["low_mass"].tolist() == [False] * 4 + [True] * 3 + [False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not outcomes(masses(a=[0.8], b=[0.25]))["low_mass"].any()
        assert outcomes(masses(a_cloze=[1e-3, 1e-3], b_cloze=[1e-9]))["low_mass"].all()
    assert faint([], []).tolist() == [] and not faint([0.5, 0.2]).any()
    several = masses(a=[0.8, 0.8, 0.8, 0.1])
    assert outcomes(several)["low_mass"].tolist() == [False] * 3 + [True]
    assert not outcomes(several.assign(model=np.where(several["mass"] < 0.5, "one", "other")))["low_mass"].any()
