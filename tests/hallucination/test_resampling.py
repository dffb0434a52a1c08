import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.hallucination import selective_answering

PRIOR, RATE = [0.58, 0.42], [0.87, 0.13]


def expected_value(prior, rate, completeness, soundness, cost, k):
    """Of at most k attempts, when tasks of type t are solved with rate r_t; the prior weighs types once."""
    good, bad = completeness * np.array(rate), (1 - soundness) * (1 - np.array(rate))
    accepted = good + bad
    gain = np.divide(good + cost * bad, accepted, out=np.zeros(len(good)), where=accepted > 0)
    return (np.array(prior) * gain * (1 - (1 - accepted) ** np.asarray(k, float)[..., None])).sum(axis=-1)


def best(prior, rate, completeness, soundness, cost, most=200):
    """The best number of attempts, its value, and the values of 0 to `most` attempts."""
    values = expected_value(prior, rate, completeness, soundness, cost, np.arange(most + 1))
    k = selective_answering.fewest_best(values)
    return k, values[k], values


def first_accepted_value(index, right, cost, most):
    """Mean over items of stopping at the first accepted attempt, for at most 1 ... `most` attempts."""
    reward = np.where(np.array(right) == 1, 1.0, cost)
    return np.where(np.array(index)[:, None] <= np.arange(1, most + 1), reward[:, None], 0.0).mean(axis=0)


@pytest.mark.parametrize(
    ("cost", "k", "value", "other", "value_there"),
    [
        (-0.7, 3, 0.5246, 1, 0.4821),
        (-1, 2, 0.4724, 15, 0.4326),
        (-2, 1, 0.3388, 15, 0.1493),
        (-4, 1, 0.1184, 2, -0.0426),
    ],
)
def test_O_85_optimal_number_of_attempts(cost, k, value, other, value_there):
    best_k, best_value, values = best(PRIOR, RATE, 1, 0.75, cost)
    assert best_k == k
    assert [best_value, values[other]] == pytest.approx([value, value_there], abs=5e-5)


def test_O_85_precision_of_accepting():
    right, wrong = np.array(RATE), 0.25 * (1 - np.array(RATE))
    assert right / (right + wrong) == pytest.approx([0.963989, 0.374101], abs=1e-6)


@pytest.mark.parametrize(("cost", "k", "theirs"), [(-0.7, 3, 0.5541), (-1, 2, 0.4884), (-2, 1, 0.3388)])
def test_the_posterior_is_not_used_twice(cost, k, theirs):
    accepted = np.array(RATE) + 0.25 * (1 - np.array(RATE))
    gain = np.array(RATE) + cost * 0.25 * (1 - np.array(RATE))
    weights, value = np.array(PRIOR), 0.0
    for _ in range(k):
        value += weights @ gain
        weights = weights * (1 - accepted)
    ours = expected_value(PRIOR, RATE, 1, 0.75, cost, k)
    assert ours == pytest.approx(value)
    assert (abs(ours - theirs) > 1e-3) == (k > 1)


def test_O_86_first_accepted():
    index, right = [1, 2, 1, 5, np.nan, 3], [1, 0, 1, 0, 0, 1]
    free = first_accepted_value(index, right, 0, 6)
    dear = first_accepted_value(index, right, -1, 6)
    assert free == pytest.approx([0.3333, 0.3333, 0.5, 0.5, 0.5, 0.5], abs=1e-4)
    assert dear == pytest.approx([0.3333, 0.1667, 0.3333, 0.3333, 0.1667, 0.1667], abs=1e-4)
    assert dear.argmax() + 1 == 1


def test_sampled_values_are_the_mean_over_all_orders():
    accepted, right = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 1, 0]])
    curves = []
    for order in itertools.permutations(range(4)):
        hits = [i for i in range(4) if accepted[0, order[i]]]
        index = hits[0] + 1 if hits else np.nan
        curves.append(first_accepted_value([index], [right[0, order[hits[0]]]], -1.5, 4))
    found = selective_answering.sampled_values(accepted, right, -1.5)[0]
    assert found[0] == 0
    assert found[1:] == pytest.approx(np.mean(curves, axis=0))


def test_sampled_values_come_to_the_expected_value():
    rng = np.random.default_rng(0)
    rate = rng.choice(RATE, 4000, p=PRIOR)[:, None]
    right = rng.random((4000, 12)) < rate
    accepted = right | (rng.random((4000, 12)) < 0.25)
    values = selective_answering.sampled_values(accepted, right, -1).mean(axis=0)
    assert values[:6] == pytest.approx(expected_value(PRIOR, RATE, 1, 0.75, -1, np.arange(6)), abs=0.03)
    assert selective_answering.fewest_best(values) in (1, 2, 3)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(-5, 0), st.floats(-5, 0))
@settings(max_examples=80, deadline=None)
def test_a_costlier_error_never_raises_the_value(rate, completeness, soundness, cost, more):
    cheap, dear = max(cost, more), min(cost, more)
    one, two = (best([1], [rate], completeness, soundness, v, 20)[1] for v in (cheap, dear))
    assert two <= one + 1e-9
    assert one >= 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: selective_answering.sampled_values([[1]], [[1]], 0.5), "cost must be"),
        (lambda: selective_answering.sampled_values([[1]], [[1, 0]], -1), "same shape"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
