"""Probabilities of labels: surface forms added, samples averaged, both orders kept."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.judges.readings import by_candidate, label_probabilities, pair_probabilities


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


def test_oracle_key_merging():
    from workbench.judges.readings import score

    forms = {"4": (4, 0.3), "４": (4, 0.3), "2": (2, 0.4)}
    reads = label_probabilities(table([forms]))
    assert score(reads.raw[0], reads.values, "trustjudge_repo") == pytest.approx(3.9659, abs=1e-4)
    assert score([0.4, 0.3, 0.3], [2, 4, 4], "trustjudge_repo") == pytest.approx(2.3601, abs=1e-4)


def test_samples_are_averaged_as_probabilities():
    readings = [{"A": (1, 0.9), "B": (-1, 0.1)}, {"A": (1, 0.1), "B": (-1, 0.3)}]
    reads = label_probabilities(table(readings, sample=[0, 1], case=["c", "c"]))
    assert reads.raw.tolist() == [pytest.approx([0.2, 0.5])]


def test_unread_and_low_mass_are_counted():
    readings = [{"A": (1, 0.9), "B": (-1, 0.1)}, {"A": (1, 0.0), "B": (-1, 0.0)}, {"A": (1, 0.01), "B": (-1, 0.0)}]
    reads = label_probabilities(table(readings))
    assert reads.counts() == {"n_total": 3, "n_unparsed": 1, "n_low_mass": 2, "n_top_k": 2, "n_undecided": 0}
    assert np.isnan(reads.p[1]).all()
    assert reads.low_mass.tolist() == [False, True, True]
    odd = label_probabilities(table([{"A": (1, mass), "B": (-1, 0.0)} for mass in (0.9, 0.8, 0.9, 0.19)]))
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
def test_invalid_labels_are_refused(readings, message):
    with pytest.raises(InputError, match=message):
        label_probabilities(table(readings))


def test_pairs_keep_both_orders_and_absent_ties_are_impossible():
    readings = [{"A": (1, 0.7), "B": (-1, 0.3)}, {"A": (1, 0.4), "B": (-1, 0.4)}]
    reads = label_probabilities(table(readings, case=["c", "c"], first=[0, 1], second=[1, 0]))
    p = pair_probabilities(reads)
    assert p[0, 0, 1] == pytest.approx([0.7, 0.3, 0])
    assert p[0, 1, 0] == pytest.approx([0.5, 0.5, 0])
    assert np.isnan(p[0, 0, 0]).all()


def test_a_source_that_shows_one_label_alone_is_flagged_and_read():
    reading = {"A": (1, 0.9), "B": (-1, 0.0), "C": (0, 0.0)}
    reads = label_probabilities(table([reading] * 2, case=["c", "c"], first=[0, 1], second=[1, 0]))
    assert reads.top_k.all() and reads.counts()["n_top_k"] == 2
    assert pair_probabilities(reads)[0, 0, 1].tolist() == [1, 0, 0]


def test_wrong_pairs_are_refused():
    reading = {"A": (1, 0.7), "B": (-1, 0.3)}
    with pytest.raises(InputError, match="with itself"):
        pair_probabilities(label_probabilities(table([reading], case=["c"], first=[0], second=[0])))
    with pytest.raises(InputError, match="repeat a case"):
        pair_probabilities(label_probabilities(table([reading] * 2, case=["c", "c"], first=[0, 0], second=[1, 1])))
    with pytest.raises(InputError, match="values 1, -1 and 0"):
        scale = {"1": (1, 0.7), "2": (2, 0.3)}
        pair_probabilities(label_probabilities(table([scale], case=["c"], first=[0], second=[1])))


def test_candidates_are_placed_and_missing_ones_are_nan():
    keys = pd.DataFrame({"case": ["a", "a", "b"], "candidate": [0, 1, 1]})
    found = by_candidate(keys, [1.0, 2.0, 3.0])
    assert found[0].tolist() == [1, 2]
    assert np.isnan(found[1, 0]) and found[1, 1] == 3
