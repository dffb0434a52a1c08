"""Rewards in Python: columns and parameters of every algorithm, a trained reward model, rewards joined into one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.model
pytest.importorskip("trl")

import tiny  # noqa: E402

import workbench as wb  # noqa: E402
from workbench.errors import InputError  # noqa: E402
from workbench.training import train  # noqa: E402
from workbench.training.algorithms import ALGORITHMS, algorithm_named, valid_parameters  # noqa: E402
from workbench.training.rows import rows_for  # noqa: E402
from workbench.value_drift.rewards import (  # noqa: E402
    accuracy_report,
    brevity,
    combined_reward,
    evaluation_sets,
    explicit_rewards,
    joined_with_brevity,
    joint_reward,
    reward_function,
    scored_sets,
)

PAIRS = [{"prompt": f"Is {i} best?", "chosen": "I agree.", "rejected": "No, never again."} for i in range(2)]


@pytest.fixture(scope="module")
def model():
    return wb.wrap_model(tiny.network(), tiny.byte_tokenizer())


@pytest.fixture(scope="module")
def explicit(model, tmp_path_factory):
    settings = {"per_device_train_batch_size": 2, "learning_rate": 1e-2}
    return train("reward", model, PAIRS, settings, save_at=[1, 2], lora=2, folder=tmp_path_factory.mktemp("reward"))


def fixed(*values):
    def reward(**_):
        return list(values)

    reward.__qualname__ = f"fixed{values}"
    return reward


def test_pairs_take_the_columns_of_an_algorithm():
    assert rows_for("simpo", PAIRS) == PAIRS
    assert [(r["completion"], r["label"]) for r in rows_for("kto", PAIRS[:1])] == [
        ("I agree.", True),
        ("No, never again.", False),
    ]
    assert rows_for("rloo", PAIRS[:1]) == [{"prompt": "Is 0 best?"}]
    assert rows_for("sft", PAIRS[:1]) == [{"prompt": "Is 0 best?", "completion": "I agree."}]
    with pytest.raises(InputError, match="trains no policy"):
        rows_for("reward", PAIRS)
    with pytest.raises(InputError, match="Did you mean 'dpo'"):
        rows_for("dop", PAIRS)
    with pytest.raises(InputError, match="Row 0 lacks the column 'rejected'"):
        rows_for("kto", [{"prompt": "a", "chosen": "b"}])


def test_valid_parameters_are_listed():
    assert {"beta", "learning_rate", "sft_weight", "eta"} <= set(valid_parameters("dpo_sft"))
    assert "sft_weight" not in valid_parameters("dpo")


def test_an_algorithms_name_carries_settings():
    made = algorithm_named("simpo:simpo_gamma=2.5:loss_type=simpo")
    assert made.settings == {**ALGORITHMS["simpo"].settings, "simpo_gamma": 2.5}
    assert algorithm_named("dpo").settings == {"beta": 0.1, "loss_type": "sigmoid"}
    assert rows_for("kto:beta=0.2", PAIRS) == rows_for("kto", PAIRS)
    for name, error in {
        "simpo:gamma=2": "Unknown parameter 'gamma' of 'simpo'. Did you mean 'simpo_gamma'",
        "dpo:beta": "'beta' is not a setting of 'dpo'; write dpo:NAME=VALUE",
        "dpo:": "'' is not a setting",
        "dop:beta=1": "Did you mean 'dpo'",
        "dpo:beta=abc": "'beta' of 'dpo' must be a number, not 'abc'",
        "dpo:beta=NaN": "must be a number",
        "dpo_sft:eta=x": "'eta' of 'dpo_sft' must be a number",
        "dpo:beta=1:beta=2": "sets a parameter twice",
    }.items():
        with pytest.raises(InputError, match=error):
            algorithm_named(name)
    with pytest.raises(InputError, match="trains no policy"):
        rows_for("reward:seed=1", PAIRS)


def test_a_long_list_of_names_gives_way_to_the_nearest():
    with pytest.raises(InputError) as refused:
        algorithm_named("simpo:gamma=2")
    assert str(refused.value) == "Unknown parameter 'gamma' of 'simpo'. Did you mean 'simpo_gamma'?"
    with pytest.raises(InputError, match="learning_rate, "):
        algorithm_named("simpo:qqqqqq=2")


def test_a_combined_reward_is_the_sum_of_log_sigmoids():
    both = combined_reward([fixed(2.0, 0.0), fixed(-1.0, -800.0)], [0.5, 0.5])
    first, second = both(prompts=["a", "b"], completions=["c", "d"])
    assert first == pytest.approx(-1.902827, abs=1e-6) and np.exp(first) == pytest.approx(0.149146, abs=1e-6)
    assert second == pytest.approx(-0.974077 - 800.5, abs=1e-6)
    assert both.__qualname__ != combined_reward([fixed(2.0, 0.0), fixed(-1.0, -800.0)], [0.5, 0.6]).__qualname__
    with pytest.raises(InputError, match="one reference each"):
        combined_reward([brevity], [])


def test_brevity_counts_words_of_texts_and_chats():
    assert brevity(["one two", [{"role": "assistant", "content": "one"}]]) == [-2.0, -1.0]


def test_a_reward_model_scores_what_is_sampled(model, explicit, tmp_path):
    reward = reward_function(explicit, 2)
    chats = {
        "prompts": [[{"role": "user", "content": row["prompt"]}] for row in PAIRS],
        "completions": [[{"role": "assistant", "content": row["rejected"]}] for row in PAIRS],
    }
    assert reward(**chats) == pytest.approx(explicit_rewards(explicit, 2, PAIRS)[1])
    assert reward.__qualname__ != reward_function(explicit, 1).__qualname__
    both = combined_reward([reward, brevity], [0.0, -2.0])
    settings = {"per_device_train_batch_size": 2, "num_generations": 2, "max_completion_length": 4}
    series = train("rloo", model, rows_for("rloo", PAIRS), settings, save_at=[1], lora=2, folder=tmp_path, reward=both)
    assert series.record["reward"] == both.__qualname__ and np.isfinite(series.log["reward"]).all()


def test_pairs_to_try_are_as_many_of_other_topics():
    sets = evaluation_sets([{"id": i, **PAIRS[0]} for i in range(20)], "oppose")
    assert [len(rows) for rows in sets.values()] == [11, 11] and len(
        {row["id"] for rows in sets.values() for row in rows}
    ) == 22
    assert all(row["chosen"].startswith("I oppose") for row in sets["other topics"])
    assert all(row["chosen"].startswith("I support") for row in evaluation_sets([], "support")["other topics"])


def test_rewards_are_split_into_their_sets_and_joined_with_brevity():
    sets = {
        "a": [{"chosen": "one two", "rejected": "one"}] * 2,
        "b": [{"chosen": "one", "rejected": "one two three"}] * 3,
        "tied": [{"chosen": "one", "rejected": "two"}],
    }
    scored = scored_sets(sets, {"planted": lambda rows: np.array([[1.0, 1, 0, 1, 1, 2], [0.0, 0, 1, 0, 0, 2]])})
    assert scored["planted", "a"].tolist() == [[1, 1], [0, 0]] and scored["planted", "b"].tolist() == [
        [0, 1, 1],
        [1, 0, 0],
    ]
    accuracy = accuracy_report(scored).set_index("pairs")
    assert accuracy["mean"].to_dict() == {"a": 1.0, "b": pytest.approx(2 / 3), "tied": 0} and set(
        accuracy["baseline"]
    ) == {0.5}
    assert accuracy.loc["a", "ece"] == pytest.approx(1 - 1 / (1 + np.exp(-1)))
    joined = joined_with_brevity(scored, sets).set_index(["reward", "pairs"])["mean"]
    assert joined["brevity alone", "a"] == 0 and joined["brevity alone", "b"] == 1
    assert joined["planted and brevity", "b"] == 1  # two words more weigh more than one unit of reward
    assert joined["brevity alone", "tied"] == joined["planted and brevity", "tied"] == 0.5
    nothing = accuracy_report({}), joined_with_brevity({}, sets)
    assert all(table.empty and "no reward model" in table.attrs["reason"] for table in nothing)


def test_the_joint_reward_is_good_from_the_median_preferred_answer_on(explicit):
    rows = [{"prompt": "Is it?", "chosen": text} for text in ("a", "a b c", "a b")]
    reward = joint_reward(explicit, 2, rows)
    assert reward.__qualname__.endswith("_and_brevity_from_-2")
    both = reward_function(explicit, 2), brevity
    scores = [each(prompts=["Is it?"] * 3, completions=[row["chosen"] for row in rows]) for each in both]
    by_hand = combined_reward(both, [sorted(each)[1] for each in scores])
    given = {"prompts": ["Is it?"], "completions": ["b c"]}
    assert reward(**given) == pytest.approx(by_hand(**given))


def test_implicit_rewards_are_beta_times_the_changes(monkeypatch):
    from workbench.value_drift import rewards

    def tokens(step, pairs):
        signs = {"chosen": 1.0, "rejected": -2.0}
        rows = [(row["id"], side, 0, "x", -9 + step * sign) for row in pairs for side, sign in signs.items()]
        return pd.DataFrame(rows, columns=["pair_id", "response", "position", "token", "logprob"])

    monkeypatch.setattr(rewards, "response_tokens", tokens)
    series = type("Series", (), {"load": lambda self, step: step})()
    found = rewards.implicit_rewards(series, 3, 0.5, [{"id": "a"}, {"id": "b"}])
    assert found.tolist() == [[1.5, 1.5], [-3.0, -3.0]]
