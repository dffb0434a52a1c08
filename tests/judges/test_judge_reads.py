"""Labels merged, digits told apart, samples averaged, both orders kept."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.judges.readings import by_candidate, label_reads, pair_reads


def table(readings, n_tokens=None, **tags):
    """An answers table from a list of {text: (value, p)}."""
    rows = []
    for number, reading in enumerate(readings):
        for option, (text, (value, p)) in enumerate(reading.items()):
            with np.errstate(divide="ignore"):
                row = {"question_id": f"q{number}", "option": option, "text": text, "role": "none", "value": value}
                row |= {"logprob": float(np.log(p)), "n_tokens": (n_tokens or {}).get(text, len(text.strip()))}
            rows.append(row | {name: values[number] for name, values in tags.items()})
    return pd.DataFrame(rows)


def trie(reading):
    """The distribution of the digit trie in the specification, as the prefix probabilities that are read."""
    return {str(s): (s, reading.get(str(s), 0.0)) for s in range(1, 101)}


ROOT = {"8": 0.6, "85": 0.42, "80": 0.12, "9": 0.3, "90": 0.15, "95": 0.15, "7": 0.1, "75": 0.1}


def test_oracle_digit_trie():
    reads = label_reads(table([trie(ROOT)]))
    p = dict(zip(reads.values, reads.raw[0]))
    expected = {85: 0.42, 80: 0.12, 8: 0.06, 90: 0.15, 95: 0.15, 75: 0.10}
    assert {s: pytest.approx(x) for s, x in expected.items()} == {s: p[s] for s in expected}
    assert reads.mass[0] == pytest.approx(1)
    assert reads.p[0] @ reads.values == pytest.approx(81.03)
    assert reads.values[reads.p[0].argmax()] == 85


def test_reading_only_the_first_digit_would_say_something_else():
    first = {str(s): (s, ROOT.get(str(s), 0.0)) for s in range(1, 10)}
    reads = label_reads(table([first]))
    assert reads.p[0] @ reads.values == pytest.approx(8.2)


def test_numbers_that_are_one_token_each_are_not_told_apart():
    two_digit = {"8": (8, 0.3), "85": (85, 0.6)}
    assert label_reads(table([two_digit], n_tokens={"8": 1, "85": 1})).raw[0] == pytest.approx([0.3, 0.6])


def test_ten_takes_out_a_hundred_alone():
    reads = label_reads(table([{"1": (1, 0.5), "10": (10, 0.4), "100": (100, 0.3)}]))
    assert reads.raw[0] == pytest.approx([0.1, 0.1, 0.3])


def test_surface_forms_add_up_and_the_best_is_not_enough():
    reads = label_reads(table([{"A": (1, 0.2), " A": (1, 0.2), "B": (-1, 0.3)}]))
    assert reads.values.tolist() == [-1, 1]
    assert reads.raw[0] == pytest.approx([0.3, 0.4])


def test_oracle_key_merging():
    from workbench.judges.readings import score

    forms = {"4": (4, 0.3), "４": (4, 0.3), "2": (2, 0.4)}
    reads = label_reads(table([forms]))
    assert score(reads.raw[0], reads.values, "trustjudge_repo") == pytest.approx(3.9659, abs=1e-4)
    assert score([0.4, 0.3, 0.3], [2, 4, 4], "trustjudge_repo") == pytest.approx(2.3601, abs=1e-4)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.permutations([0, 1, 2]))
def test_merging_is_associative(weights, order):
    p = np.array(weights) / sum(weights)
    forms = [("A", p[0]), (" A", p[1]), ("a", p[2])]
    one = label_reads(table([{t: (1, x * 0.9) for t, x in forms} | {"B": (-1, 0.1)}]))
    two = label_reads(table([{forms[k][0]: (1, forms[k][1] * 0.9) for k in order} | {"B": (-1, 0.1)}]))
    assert one.raw == pytest.approx(two.raw)
    assert one.p.sum() == pytest.approx(1)


def test_same_tokens_count_once():
    rows = table([{"A": (1, 0.4), " A": (1, 0.4), "B": (-1, 0.5)}]).assign(duplicate=[False, True, False])
    assert label_reads(rows).raw[0] == pytest.approx([0.5, 0.4])


def test_samples_are_averaged_as_probabilities():
    readings = [{"A": (1, 0.9), "B": (-1, 0.1)}, {"A": (1, 0.1), "B": (-1, 0.3)}]
    reads = label_reads(table(readings, sample=[0, 1], case=["c", "c"]))
    assert reads.raw.tolist() == [pytest.approx([0.2, 0.5])]


def test_unread_and_low_mass_are_counted():
    readings = [{"A": (1, 0.9), "B": (-1, 0.1)}, {"A": (1, 0.0), "B": (-1, 0.0)}, {"A": (1, 0.01), "B": (-1, 0.0)}]
    reads = label_reads(table(readings))
    assert reads.counts() == {"n_total": 3, "n_unparsed": 1, "n_low_mass": 2, "n_top_k": 2, "n_undecided": 0}
    assert np.isnan(reads.p[1]).all()
    assert reads.low_mass.tolist() == [False, True, True]
    odd = label_reads(table([{"A": (1, mass), "B": (-1, 0.0)} for mass in (0.9, 0.8, 0.9, 0.19)]))
    assert odd.low_mass.tolist() == [False, False, False, True]  # under a quarter of the median


@pytest.mark.parametrize(
    ("readings", "message"),
    [
        ([{"A": (np.nan, 0.5), "B": (1, 0.5)}], "has no value"),
        ([{"A": (1, 0.5), "B": (1, 0.5)}], "at least two labels"),
        ([{"A": (1, 1.5), "B": (0, 0.1)}], "above 0"),
        ([{"A": (1, np.nan), "B": (0, 0.1)}], "NaN"),
        ([{"A": (1, 0.5), "B": (0, 0.1)}, {"A": (1, 0.5), "C": (0, 0.1)}], "different labels"),
        ([{"Yes": (1, 0.5), "Yes, but": (0, 0.1)}], "begins with"),
    ],
)
def test_what_is_no_verdict_is_refused(readings, message):
    with pytest.raises(InputError, match=message):
        label_reads(table(readings))


def test_pairs_keep_both_orders_and_absent_ties_are_impossible():
    readings = [{"A": (1, 0.7), "B": (-1, 0.3)}, {"A": (1, 0.4), "B": (-1, 0.4)}]
    reads = label_reads(table(readings, case=["c", "c"], first=[0, 1], second=[1, 0]))
    p = pair_reads(reads)
    assert p[0, 0, 1] == pytest.approx([0.7, 0.3, 0])
    assert p[0, 1, 0] == pytest.approx([0.5, 0.5, 0])
    assert np.isnan(p[0, 0, 0]).all()


def test_a_source_that_shows_one_label_alone_is_flagged_and_read():
    reading = {"A": (1, 0.9), "B": (-1, 0.0), "C": (0, 0.0)}
    reads = label_reads(table([reading] * 2, case=["c", "c"], first=[0, 1], second=[1, 0]))
    assert reads.top_k.all() and reads.counts()["n_top_k"] == 2
    assert pair_reads(reads)[0, 0, 1].tolist() == [1, 0, 0]


def test_wrong_pairs_are_refused():
    reading = {"A": (1, 0.7), "B": (-1, 0.3)}
    with pytest.raises(InputError, match="with itself"):
        pair_reads(label_reads(table([reading], case=["c"], first=[0], second=[0])))
    with pytest.raises(InputError, match="stand twice"):
        pair_reads(label_reads(table([reading] * 2, case=["c", "c"], first=[0, 0], second=[1, 1])))
    with pytest.raises(InputError, match="no verdict on pairs"):
        scale = {"1": (1, 0.7), "2": (2, 0.3)}
        pair_reads(label_reads(table([scale], case=["c"], first=[0], second=[1])))


def test_candidates_are_placed_and_missing_ones_are_nan():
    keys = pd.DataFrame({"case": ["a", "a", "b"], "candidate": [0, 1, 1]})
    found = by_candidate(keys, [1.0, 2.0, 3.0])
    assert found[0].tolist() == [1, 2]
    assert np.isnan(found[1, 0]) and found[1, 1] == 3
