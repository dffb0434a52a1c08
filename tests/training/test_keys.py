"""The key of a reward function: told apart by code, constants, defaults and what is enclosed; else refused."""

from __future__ import annotations

from functools import partial

import pytest

from workbench.errors import InputError
from workbench.training.keys import reward_digest
from workbench.value_drift.rewards import brevity, combined_reward


def made(body, **names):
    space = dict(names)
    exec(f"def reward(completions, **_):\n    {body}\n", space)
    return space["reward"]


def scaled(factor):
    def reward(completions, **_):
        return [factor * len(each) for each in completions]

    return reward


def test_the_same_code_has_the_same_digest():
    assert reward_digest(made("return [1.0]")) == reward_digest(made("return [1.0]"))
    assert reward_digest(scaled(2.0)) == reward_digest(scaled(2.0))


@pytest.mark.parametrize(
    "body", ["return [2.0]", "return [1.0, 1.0]", "return [float(len(completions))]", "return [x in {1, 2} for x in _]"]
)
def test_an_edited_function_is_another(body):
    assert reward_digest(made("return [1.0]")) != reward_digest(made(body))


def test_two_lambdas_are_told_apart():
    one, two = (lambda completions, **_: [1.0]), (lambda completions, **_: [2.0])
    assert one.__qualname__ == two.__qualname__ and reward_digest(one) != reward_digest(two)


def test_what_a_function_encloses_counts():
    assert reward_digest(scaled(2.0)) != reward_digest(scaled(3.0))
    assert reward_digest(combined_reward([made("return [1.0]")], [0.0])) != reward_digest(
        combined_reward([made("return [2.0]")], [0.0])
    )


def test_a_function_that_encloses_itself_has_a_digest():
    def reward(completions, deep=True, **_):
        return reward(completions, deep=False) if deep else [1.0]

    assert len(reward_digest(reward)) == 64


@pytest.mark.parametrize("reward", [partial(brevity), "a b".count, len, [].append])
def test_what_has_no_code_is_refused(reward):
    with pytest.raises(InputError, match="give a named function"):
        reward_digest(reward)
    with pytest.raises(InputError, match="give a named function"):
        combined_reward([reward], [0.0])
