"""One distribution over labels for all studies: what four readers of their own computed, kept here as oracles."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.answers import LEVELS, added, averaged, expected, levels, wide
from workbench.errors import InputError


def table(readings, n_tokens=None, **tags):
    """Answers from a list of {text: (value, p)}; a value of None is an abstention."""
    rows = []
    for number, reading in enumerate(readings):
        for option, (text, (value, p)) in enumerate(reading.items()):
            role = "abstain" if value is None else "none"
            row = {"question_id": f"q{number}", "option": option, "text": text, "role": role, "value": value}
            with np.errstate(divide="ignore"):
                row |= {"logprob": float(np.log(p)), "n_tokens": (n_tokens or {}).get(text, 1), "n_chars": len(text)}
            rows.append(row | {name: values[number] for name, values in tags.items()})
    return pd.DataFrame(rows).astype({"value": float})


@st.composite
def answered(draw):
    """Several questions on scales of their own, in any order, each label with one or two forms, some abstaining."""
    readings = []
    for _ in range(draw(st.integers(1, 4))):
        forms = ("", " ")[: draw(st.integers(1, 2))]
        shown = draw(st.permutations(range(draw(st.integers(2, 5)))))
        options = [(form + str(v), float(v)) for v in shown for form in forms] + [("none", None)] * draw(st.booleans())
        p = draw(st.lists(st.floats(1e-9, 1 / len(options)), min_size=len(options), max_size=len(options)))
        readings.append({text: (value, x) for (text, value), x in zip(options, p)})
    answers = table(readings)
    return answers.assign(duplicate=[draw(st.booleans()) and t.startswith(" ") for t in answers["text"]])


def of_surveys(part, forms, normalisation):
    """A question's distribution as the surveys read it: forms added up or the best, abstentions apart."""
    score = part["logprob"] / (part["n_chars"] if normalisation == "chars" else 1)
    part = part.assign(w=np.exp(score) * ~part["duplicate"], raw=np.exp(part["logprob"]) * ~part["duplicate"])
    listed = part[part["role"] != "abstain"].groupby("value")
    weight = listed["w"].sum() if forms == "sum" else listed["w"].max()
    gone = part.loc[part["role"] == "abstain", "raw"].sum()
    mass = listed["raw"].sum().sum()
    return (weight / weight.sum()).tolist(), mass, gone / (gone + mass), listed["option"].min().tolist()


@settings(deadline=None, max_examples=60)
@given(answered(), st.sampled_from(["sum", "max"]), st.sampled_from(["none", "chars"]))
def test_surveys(answers, forms, normalisation):
    result = levels(answers, forms=forms, normalisation=normalisation)
    for name, part in answers.groupby("question_id", sort=False):
        p, mass, abstain, position = of_surveys(part, forms, normalisation)
        own = result[result["question_id"] == name]
        assert own["p"].tolist() == pytest.approx(p, rel=1e-12)
        assert own["mass"].tolist() == pytest.approx([mass] * len(p)) and own["position"].tolist() == position
        assert own["abstain"].tolist() == pytest.approx([abstain] * len(p))
        assert own["level"].tolist() == list(range(len(p))) and own["value"].is_monotonic_increasing


@settings(deadline=None, max_examples=60)
@given(answered())
def test_risk_scores_and_stances(answers):
    """The way of writing that holds most; and without forms a plain softmax over the options."""
    listed = answers[(answers["role"] != "abstain")].assign(
        p=lambda t: np.exp(t["logprob"]) * ~t["duplicate"], way=lambda t: t["text"].str.startswith(" ")
    )
    mass_of_way = listed.groupby(["question_id", "way"])["p"].sum()
    said = listed.assign(e=listed["p"] * listed["value"]).groupby(["question_id", "way"])["e"].sum() / mass_of_way
    best = mass_of_way.groupby("question_id").idxmax()
    result = expected(levels(answers, forms="best")).set_index("question_id")
    assert result["mean"].tolist() == pytest.approx(said[best].tolist())
    assert result["mass"].tolist() == pytest.approx(mass_of_way[best].tolist())


def test_one_way_of_writing_is_the_first_at_ties():
    result = levels(table([{" A": (1, 0.2), " B": (0, 0.2), "A": (1, 0.1), "B": (0, 0.3)}]), forms="best")
    assert result["p"].tolist() == pytest.approx([0.75, 0.25]) and result["position"].tolist() == [3, 2]


DIGITS = {"8": 0.6, "85": 0.42, "80": 0.12, "9": 0.3, "90": 0.15, "95": 0.15, "7": 0.1, "75": 0.1}
TRIE = {str(s): (s, DIGITS.get(str(s), 0.0)) for s in range(1, 101)}


@given(st.lists(st.floats(1e-6, 1), min_size=11, max_size=11), st.lists(st.integers(1, 2), min_size=11, max_size=11))
def test_judges(weights, lengths):
    """Of numbers in digits the shorter one loses what the longer ones of one more token hold."""
    texts = [*map(str, range(1, 11)), "100"]
    p, n_tokens = np.array(weights) / sum(weights), dict(zip(texts, lengths))
    result = levels(table([dict(zip(texts, zip(map(float, texts), p)))], n_tokens), nested="split")["prob_low"]
    exact = dict(zip(texts, p))
    exact["1"] -= exact["10"] * (n_tokens["10"] > n_tokens["1"])
    exact["10"] -= exact["100"] * (n_tokens["100"] > n_tokens["10"])
    assert result.tolist() == pytest.approx(np.maximum(list(exact.values()), 0).tolist(), abs=1e-12)


def test_oracle_digit_trie():
    n_tokens = {text: len(text) for text in TRIE}
    whole, kept = (levels(table([TRIE], n_tokens), nested=how) for how in ("split", "keep"))
    exact = dict(zip(whole["value"], whole["prob_low"]))
    expected_p = {85: 0.42, 80: 0.12, 8: 0.06, 90: 0.15, 95: 0.15, 75: 0.10}
    assert {s: exact[s] for s in expected_p} == {s: pytest.approx(p) for s, p in expected_p.items()}
    result = expected(whole).iloc[0]
    assert [result[name] for name in ("mass", "mean", "p_max")] == pytest.approx([1, 81.03, 0.42])
    assert whole["value"][int(result["mode"])] == 85 and whole["unseen"].sum() == 92
    assert kept["mass"][0] == pytest.approx(1.94)


def test_reading_only_the_first_digit_would_say_something_else():
    first = {str(s): (s, DIGITS.get(str(s), 0.0)) for s in range(1, 10)}
    assert expected(levels(table([first])))["mean"][0] == pytest.approx(8.2)


def test_hidden_labels_have_ends():
    answers = table([{"A": (0, 0.5), "B": (1, 0.2), "C": (2, 0.1)}])
    ends = {"logprob_low": [np.nan, np.nan, -np.inf], "logprob_high": [np.nan, np.nan, np.log(0.1)]}
    answers = answers.assign(**ends, bounded=[False, False, True])
    with pytest.raises(InputError, match="not shown by the server"):
        levels(answers)
    result = levels(answers, hidden="bounds")
    assert result["prob_low"].tolist() == pytest.approx([0.5, 0.2, 0])
    assert result["prob_high"].tolist() == pytest.approx([0.5, 0.2, 0.1])
    assert result["p"].tolist() == pytest.approx([5 / 7, 2 / 7, 0]) and result["unseen"].tolist() == [0, 0, 1]


def test_labels_can_be_any_column():
    answers = table([{"Rome": (0, 0.2), "Oslo": (1, 0.3), "Lima": (2, 0.1)}], item=["i"])
    result = levels(answers.assign(region=["Europe", "Europe", "America"]), by="region")
    assert result["value"].tolist() == ["America", "Europe"] and result["p"].tolist() == pytest.approx([1 / 6, 5 / 6])
    assert "region" not in result and result["item"].tolist() == ["i", "i"]


def test_orders_are_averaged_with_equal_weight_and_samples_by_their_mass():
    readings = [{"A": (0, 0.6), "B": (1, 0.2)}, {"B": (1, 0.1), "A": (0, 0.1)}]
    result = levels(table(readings, order=[0, 1], item=["i", "i"]))
    mean = averaged(result, ["order"])
    assert mean["p"].tolist() == pytest.approx([0.625, 0.375]) and mean["mass"].tolist() == pytest.approx([0.5, 0.5])
    assert mean["position"].isna().all() and "order" not in mean and mean["item"].tolist() == ["i", "i"]
    assert averaged(result, ["order"], "mass")["p"].tolist() == pytest.approx([0.7, 0.3])
    assert averaged(result[result["order"] == 1], ["order"])["position"].tolist() == [1, 0]


def test_a_reading_without_mass_is_nan_and_so_is_its_average():
    result = levels(table([{"A": (0, 0.6), "B": (1, 0.2)}, {"A": (0, 0.0), "B": (1, 0.0)}], order=[0, 1]))
    assert result["p"].isna().tolist() == [False, False, True, True] and result["mass"].tolist()[2:] == [0, 0]
    assert averaged(result, ["order"])["p"].isna().all() and expected(result)["mode"].isna().tolist() == [False, True]
    assert averaged(result, ["order"], "mass")["p"].tolist() == pytest.approx([0.75, 0.25])


def test_averages_keep_the_order_of_questions_and_tags_that_are_missing():
    readings = [{"A": (0, 0.6), "B": (1, 0.2)}] * 4
    tags = {"order": [0, 1, 0, 1], "item": ["z", "z", "a", "a"], "topic": [None, None, "t", "t"]}
    result = averaged(levels(table(readings, **tags)).assign(unseen=range(8)), ["order"])
    assert result["item"].tolist() == ["z", "z", "a", "a"] and result["question_id"].tolist() == [
        "q0",
        "q0",
        "q2",
        "q2",
    ]
    assert result["topic"].isna().tolist() == [True, True, False, False]
    assert result["unseen"].tolist() == [2, 4, 10, 12] and result["value"].tolist() == [0, 1, 0, 1]


def test_an_average_by_mass_without_mass_is_nan():
    nothing = {"A": (0, 0.0), "B": (1, 0.0)}
    tags = {"order": [0, 1, 0, 1], "item": ["a", "a", "b", "b"]}
    result = averaged(levels(table([nothing, nothing, PLAIN, PLAIN], **tags)), ["order"], "mass")
    assert result["p"].tolist() == pytest.approx([np.nan, np.nan, 5 / 7, 2 / 7], nan_ok=True)


def test_what_a_distribution_says():
    result = expected(levels(table([{"A": (1, 0.2), "B": (2, 0.1), "C": (5, 0.2)}], item=["i"]))).iloc[0]
    assert result["mean"] == pytest.approx(2.8) and result["tie"] and result["mode"] == 0 and result["n_levels"] == 3
    assert result["entropy"] == pytest.approx(-(0.8 * np.log(0.4) + 0.2 * np.log(0.2))) and result["item"] == "i"


def test_readings_become_a_matrix():
    readings = [{"A": (1, 0.3), "B": (0, 0.1)}, {"B": (0, 0.2), "A": (1, 0.2)}]
    keys, values, p = wide(levels(table(readings, case=["c", "d"])))
    assert (
        list(keys.columns) == ["question_id", "case"]
        and keys["case"].tolist() == ["c", "d"]
        and values.tolist() == [0, 1]
    )
    assert p.tolist() == [pytest.approx([0.25, 0.75]), pytest.approx([0.5, 0.5])]
    with pytest.raises(InputError, match=r"^The questions have different labels; pass one scale at a time\."):
        wide(levels(table([*readings, {"A": (1, 0.3), "B": (2, 0.1)}])))


PLAIN = {"A": (0, 0.5), "B": (1, 0.2)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: levels(table([{"A": (0, 0.5), "B": (np.nan, 0.2)}])), "'B' of question 'q0' has no value"),
        (lambda: levels(table([{"A": (0, 0.5), "B": (0, 0.2)}])), "at least two labels"),
        (lambda: levels(table([{"A": (0, 0.5), "B": (None, 0.2)}])), "at least two labels"),
        (lambda: levels(table([{"A": (0, 0.5), "B": (1, 1.2)}])), "above 0"),
        (lambda: levels(table([{"A": (0, 0.5), "B": (1, np.nan)}])), "NaN"),
        (lambda: levels(table([{"Yes": (0, 0.5), "Yes, but": (1, 0.2)}])), "begins with"),
        (lambda: levels(table([{"Yes": (0, 0.5), "Yes, but": (1, 0.2)}]), nested="split"), "begins with"),
        (lambda: levels(table([{"1": (0, 0.5), "10": (1, 0.2)}])), "begins with"),
        (lambda: levels(table([PLAIN]), forms="mean"), "Unknown way of joining forms"),
        (lambda: levels(table([PLAIN]), nested="join"), "Unknown rule for nested labels"),
        (lambda: levels(table([PLAIN]), normalisation="words"), "Unknown normalisation"),
        (lambda: levels(table([PLAIN], level=[3])), "has a column 'level' already"),
        (lambda: averaged(levels(table([PLAIN])), ["order"]), "Unknown tag 'order'"),
        (
            lambda: averaged(levels(table([PLAIN, {**PLAIN, "C": (2, 0.1)}], order=[0, 1])), ["order"]),
            "Question 'q1' was read on scales of different size",
        ),
        (lambda: averaged(levels(table([PLAIN], case=["c"])), ["order"]), r"Known: question_id, case\."),
        (lambda: added(table([PLAIN]), text="x"), "has a column 'text' already"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_columns_are_those_named():
    assert list(levels(table([PLAIN], case=["c"])).columns) == ["question_id", "case", *LEVELS]
