"""The key of a reward function: told apart by code, constants, defaults and what is enclosed; else refused."""

from __future__ import annotations

import importlib
import sys
from functools import partial

import numpy as np
import pytest

from workbench.errors import InputError
from workbench.training.folders import reward_digest
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


def test_an_edited_function_of_an_importable_module_is_another(tmp_path, monkeypatch):
    """A pickle, and so `datasets.fingerprint.Hasher`, would hold its name only."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    digests = []
    for value in ("1.0", "2.0"):
        (tmp_path / "own_reward.py").write_text(f"def reward(completions, **_):\n    return [{value}]\n")
        monkeypatch.delitem(sys.modules, "own_reward", raising=False)
        module = importlib.import_module("own_reward")
        digests += [reward_digest(module.reward), reward_digest(combined_reward([module.reward], [0.5]))]
    assert len(set(digests)) == 4


@pytest.mark.parametrize(
    "one, other", [([1, 2], (1, 2)), ({"a": 1}, {"a": 2}), ({1, 2}, {1}), (np.ones(2), np.ones(3))]
)
def test_collections_that_are_enclosed_are_told_apart(one, other):
    assert reward_digest(scaled(one)) == reward_digest(scaled(one)) != reward_digest(scaled(other))


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
