"""The network kept for the next notebook: used once a notebook, and only if it is unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

import workbench as wb
from workbench import training
from workbench.errors import InputError
from workbench.hallucination import steering
from workbench.models import fingerprint as fingerprints
from workbench.models import loading, state
from workbench.questions import Option, Question

pytestmark = pytest.mark.model


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the models that were read from disk; no network is kept before."""
    names: list[str] = []
    real = loading.read_network

    def counted(model: wb.Model) -> Any:
        names.append(model.name)
        return real(model)

    monkeypatch.setattr(loading, "read_network", counted)
    monkeypatch.setattr(loading, "_kept", loading._Kept())
    yield names


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    for seed in (0, 1):
        tiny.network(seed=seed).save_pretrained(tmp_path / str(seed))
        tiny.byte_tokenizer().save_pretrained(tmp_path / str(seed))
    return [str(tmp_path / "0"), str(tmp_path / "1")]


def test_no_network_is_kept_outside_kernels_of_runs(reads: list[str], folders: list[str]) -> None:
    first, second = (wb.load_model(folders[0]).network for _ in range(2))
    assert first is not second and len(reads) == 2 and loading._kept.network is None


def test_a_kept_network_is_used_once_a_notebook_and_for_its_model_alone(reads: list[str], folders: list[str]) -> None:
    loading.begin_notebook()
    first, again = (wb.load_model(folders[0]).network for _ in range(2))
    assert first is not again and len(reads) == 2  # in one notebook every model has a network of its own
    loading.begin_notebook()
    assert wb.load_model(folders[0]).network is first and len(reads) == 2
    loading.begin_notebook()
    other = wb.load_model(folders[1]).network
    assert other is not first and len(reads) == 3 and loading._kept.network is other
    loading.begin_notebook()
    assert wb.load_model(folders[0], dtype="float64").network.dtype == torch.float64


def edit(network: Any) -> None:
    with torch.no_grad():
        network.model.layers[1].mlp.up_proj.weight[3, 5] += 1


def train_a_little(network: Any) -> None:
    network.requires_grad_(True)
    network(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    network.requires_grad_(False)


def write_past_the_count(network: Any) -> None:
    network.model.layers[0].self_attn.q_proj.weight.data.mul_(1.01)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "an edit": edit,
    "training": train_a_little,
    "data": write_past_the_count,
    "another tensor": lambda network: setattr(
        network.lm_head, "weight", torch.nn.Parameter(network.lm_head.weight * 2)
    ),
    "gradients": lambda network: network.requires_grad_(True),
    "training mode": lambda network: network.train(),
    "a hook": lambda network: network.model.layers[0].register_forward_hook(lambda *_: None),
    "another forward": lambda network: setattr(network.model.norm, "forward", lambda states: states),
    "a layer": lambda network: setattr(network.model.layers[0], "mlp", torch.nn.Identity()),
    "a setting": lambda network: setattr(network.config, "rms_norm_eps", 1.0),
    "generation": lambda network: setattr(network.generation_config, "max_length", 3),
    "the type": lambda network: network.double(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_network_that_was_changed_is_read_again(
    reads: list[str], folders: list[str], change: Callable[[Any], Any]
) -> None:
    loading.begin_notebook()
    change(wb.load_model(folders[0]).network)
    loading.begin_notebook()
    wb.load_model(folders[0]).network  # noqa: B018
    assert len(reads) == 2


def test_a_changed_kept_network_is_not_given_stored_answers(folders: list[str], cache: Path) -> None:
    question = [Question("The capital of France is", [Option(" Paris", "correct"), Option(" Berlin", "wrong")])]
    loading.begin_notebook()
    wb.ask(wb.load_model(folders[0]), question)
    loading.begin_notebook()
    model = wb.load_model(folders[0])
    edit(model.network)
    with pytest.raises(InputError, match="was changed after it was loaded"):
        wb.ask(model, question)


def test_hidden_states_do_not_count_as_a_change(folders: list[str], cache: Path) -> None:
    model = wb.load_model(folders[0])
    wb.hidden_states(model, ["What is the largest planet?"])
    model.check_unchanged()


def test_reading_steering_and_training_leave_it_as_it_was(reads: list[str], folders: list[str], cache: Path) -> None:
    loading.begin_notebook()
    model = wb.load_model(folders[0])
    before = state.of_network(model.network), fingerprints.of_network(model.network, model.tokenizer, "float32")
    options = (Option(" Paris", "correct"), Option(" Berlin", "wrong"))
    questions = [Question(f"The capital of {name} is", options) for name in ("France", "Germany")]
    wb.ask(model, questions)
    wb.hidden_states(model, ["Question: What is the largest planet?"])
    wb.generate(model, ["The capital of France is"], max_new_tokens=2)
    attributions = steering.attribute(model, questions, steps=2)
    with steering.steered(model, steering.steering_vectors(model, attributions, [0]), 1.0) as steered:
        wb.ask(steered, questions)
    rows = [{"prompt": "The capital of France is", "completion": " Paris"}] * 2
    series = training.train("sft", model, rows, {"max_steps": 1}, save_at=[1], lora=2)
    wb.ask(series.load(1), questions)
    assert state.of_network(model.network) == before[0]
    assert fingerprints.of_network(model.network, model.tokenizer, "float32") == before[1]
    loading.begin_notebook()
    assert wb.load_model(folders[0]).network is model.network and reads == [folders[0]]
