import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import InputError
from workbench.hallucination import steering
from workbench.questions import Message, Option, Question

pytestmark = pytest.mark.model
OPTIONS = (Option(" Paris", "correct"), Option(" Berlin", "wrong"), Option(" I don't know", "abstain"))
QUESTION = Question("Question: The capital of France is what? Answer:", OPTIONS)
OTHER = Question(
    "Question: What is the largest planet? Answer:", (Option(" Jupiter", "correct"), Option(" A", "wrong"))
)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = tiny.network("llama").requires_grad_(False)
    torch.nn.init.normal_(network.get_input_embeddings().weight, std=0.5)  # padding would be 0, where norms jump
    return wb.wrap_model(network, tiny.byte_tokenizer(), "tiny")


def test_O_90_steering_keeps_the_norm():
    found = steering.apply_steering(np.array([3.0, 4.0]), np.array([1.0, 0.0]), 5)
    assert found == pytest.approx([4.472136, 2.236068], abs=1e-6)
    assert np.linalg.norm(found) == pytest.approx(5)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.floats(-3, 3))
@settings(max_examples=40, deadline=None)
def test_the_norm_is_that_of_each_state_not_of_time_or_batch(batch, time, width, alpha):
    rng = np.random.default_rng(0)
    states, vector = rng.normal(size=(batch, time, width)), rng.normal(size=width)
    moved = steering.apply_steering(states, vector, alpha)
    assert np.linalg.norm(moved, axis=-1) == pytest.approx(np.linalg.norm(states, axis=-1))
    tensor = steering.apply_steering(torch.tensor(states), torch.tensor(vector), alpha)
    assert tensor.numpy() == pytest.approx(moved)


def test_attributions_add_up(model):
    for baseline, steps in (("half", 20), ("mean", 300)):
        for found in steering.attribute(model, [QUESTION, OTHER], steps=steps, baseline=baseline):
            assert found.gap < 0.01, baseline
            assert len(found.tokens) == len(found.scores) == len(found.ids)


def test_twenty_steps_from_zero_do_not_add_up(model):
    found = steering.attribute(model, [QUESTION, OTHER], steps=20, baseline="zero")
    assert max(each.gap for each in found) > 0.05


def test_log_probabilities_are_read_one_step_before_each_token(model):
    answers = wb.ask(model, [QUESTION], store=False).set_index("text")["logprob"]
    found = steering.attribute(model, [QUESTION], steps=2)[0]
    assert found.preference == pytest.approx(answers[" Paris"] - answers[" Berlin"], abs=1e-4)


def test_the_likeliest_wrong_option_is_the_other_side(model):
    wrong = [Option(" Paris Paris Paris", "wrong"), Option(" the", "wrong")]
    question = Question(QUESTION.prompt, (Option(" is", "correct"), *wrong))
    logprob = wb.ask(model, [question], store=False)["logprob"].to_numpy()
    found = steering.attribute(model, [question], steps=2)[0]
    assert found.preference == pytest.approx(logprob[0] - logprob[1:].max(), abs=1e-4)


def test_control_tokens_and_the_last_one_are_never_ablated(model):
    chat = Question(
        (Message("user", "The capital of France?"),), (Option("Paris", "correct"), Option("Berlin", "wrong"))
    )
    found = steering.attribute(model, [chat], steps=4)[0]
    assert found.special.any()
    for sign in (1, -1):
        top = found.top(100, sign)
        assert not found.special[top].any()
        assert len(found.ids) - 1 not in top
        assert (sign * found.scores[top] > 0).all()


def test_the_token_whose_state_is_read_stays(model):
    found = steering.attribute(model, [OTHER], steps=4)[0]
    last = len(found.ids) - 1
    assert found.scores[last] != 0
    assert last not in found.top(100, 1) + found.top(100, -1)


def test_principal_direction_has_a_fixed_sign():
    rng = np.random.default_rng(0)
    truth = np.array([1.0, -2.0, 0.5])
    full = rng.normal(size=(40, 1)) * 0.1 * truth + truth + rng.normal(0, 0.01, (40, 3))
    mean, pca = (steering.steering_vector(full, np.zeros_like(full), how) for how in ("mean", "pca"))
    assert mean @ pca > 0
    assert pca == pytest.approx(mean, abs=0.05)
    assert steering.steering_vector(-full, np.zeros_like(full), "pca") == pytest.approx(-pca)


def test_steering_raises_the_preference_it_learnt_from_and_leaves_the_model_as_it_was(model):
    learnt = steering.attribute(model, [QUESTION], steps=50)
    vectors = steering.steering_vectors(model, learnt, [0, 1], k=5)
    plain = wb.ask(model, [QUESTION], store=False)["logprob"].to_numpy()
    gains = []
    for alpha in (0.0, 0.1):
        with steering.steered(model, vectors, alpha) as other:
            assert (other.fingerprint == model.fingerprint) == (alpha == 0)
            moved = wb.ask(other, [QUESTION], store=False)["logprob"].to_numpy()
        gains.append((moved[0] - moved[1]) - (plain[0] - plain[1]))
    assert gains[0] == pytest.approx(0, abs=1e-4)
    assert abs(gains[1]) > 1e-3
    assert wb.ask(model, [QUESTION], store=False)["logprob"].to_numpy() == pytest.approx(plain, abs=1e-9)


def test_hooks_are_removed_after_an_error(model):
    plain = wb.ask(model, [OTHER], store=False)["logprob"].to_numpy()
    with pytest.raises(RuntimeError), steering.steered(model, {0: np.ones(32)}, 1.0):
        raise RuntimeError
    assert wb.ask(model, [OTHER], store=False)["logprob"].to_numpy() == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("family", ["gpt2", "neox", "gemma3"])
def test_other_families_have_layers_too(family):
    other = wb.wrap_model(tiny.network(family).requires_grad_(False), tiny.byte_tokenizer(), family)
    vectors = steering.steering_vectors(other, steering.attribute(other, [OTHER], steps=4), [1], k=3)
    assert vectors[1].shape == (32,)


def test_bad_input_is_refused(model):
    found = steering.attribute(model, [OTHER], steps=2)
    with pytest.raises(InputError, match="does not exist"):
        steering.steering_vectors(model, found, [2])
    with pytest.raises(InputError, match="does not exist"), steering.steered(model, {2: np.ones(32)}, 1.0):
        pass
    with pytest.raises(InputError, match="no attributions"):
        steering.steering_vectors(model, [], [0])
    with pytest.raises(InputError, match="no wrong option"):
        steering.attribute(model, [Question("x", (Option(" a", "correct"), Option(" b", "abstain")))])
    with pytest.raises(InputError, match="Unknown baseline"):
        steering.attribute(model, [OTHER], baseline="noise")
    with pytest.raises(InputError, match="Unknown way"):
        steering.steering_vector([[1.0]], [[0.0]], "sum")
    with pytest.raises(InputError, match="finite numbers"):
        steering.steering_vector([[np.nan]], [[0.0]])
