"""Prompts of several turns: trained, read and judged as the dialogue they are."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny

import workbench as wb
from workbench.training import as_prompt
from workbench.training.rows import as_trained
from workbench.training.trainers import make_trainer
from workbench.value_drift import probes, rewards

DIALOGUE = [
    {"role": "user", "content": "Is it safe? "},
    {"role": "assistant", "content": "No."},
    {"role": "user", "content": "Why?"},
]
PLAIN = "Question: Is it safe?\nAnswer: No.\n\nQuestion: Why?\nAnswer:"


@pytest.fixture(scope="module", params=["chat", "plain"])
def model(request):
    template = {} if request.param == "chat" else {"template": None}
    return wb.wrap_model(tiny.network(), tiny.byte_tokenizer(**template))


def test_a_dialogue_is_asked_turn_by_turn(model):
    asked = as_prompt(model, DIALOGUE)
    if model.tokenizer.chat_template:
        assert [(m.role, m.content) for m in asked] == [(m["role"], m["content"].strip()) for m in DIALOGUE]
    else:
        assert asked == PLAIN
    assert as_prompt(model, DIALOGUE, chat=False) == PLAIN


def test_what_is_trained_on_a_dialogue_is_what_is_read(model, tmp_path):
    row = {"prompt": DIALOGUE, "completion": "It burns."}
    settings = {"per_device_train_batch_size": 1}
    trainer = make_trainer("sft", model, [row], settings, folder=tmp_path, lora=2)
    read = probes._request(model, row, "completion", eos=False)
    ids = [*read.context, *read.continuation]
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"][0, : len(ids)].tolist() == ids
    assert (batch["labels"][0, : len(ids)] != -100).tolist() == [i >= len(read.context) for i in range(len(ids))]


def test_a_reward_model_reads_the_dialogue_that_was_sampled_from(model):
    trained = as_trained(model.tokenizer, {"prompt": DIALOGUE})["prompt"]
    given = rewards._ids(model.tokenizer, rewards._without_frame(trained), "It burns.")
    assert given == rewards._ids(model.tokenizer, DIALOGUE, "It burns.")
    assert "Is it safe?" in model.tokenizer.decode(given)
