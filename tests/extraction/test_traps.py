"""Traps of `docs/traps.md` that have no test elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from test_engine import random_requests, reference
from torch.utils._python_dispatch import TorchDispatchMode

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import engine, packed
from workbench.extraction.tokens import Encoder, Request
from workbench.questions import Message, Option, Question

pytestmark = pytest.mark.model


def model(network: torch.nn.Module | None = None, tokenizer=None) -> wb.Model:
    return wb.wrap_model(network or tiny.network(), tokenizer or tiny.byte_tokenizer(), "tiny")


def scored(items: wb.Model, requests: list[Request]) -> np.ndarray:
    values = np.full(len(requests), np.nan)
    for _, indices, terms in engine.score(items, requests):
        values[indices] = [part.sum() for part in terms]
    return values


class Largest(TorchDispatchMode):
    """Remembers the most elements any tensor had."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def largest_tensor(items: wb.Model, requests: list[Request]) -> int:
    engine.choose(items)
    with Largest() as seen:
        scored(items, requests)
    return seen.elements


def test_the_largest_tensor_does_not_grow_with_the_run():
    """Twenty times the questions need no larger tensor, and none comes near [batch, sequence, vocabulary]."""
    items = model(tiny.network(vocab_size=5000))
    few, many = largest_tensor(items, random_requests(60)), largest_tensor(items, random_requests(1200))
    assert many <= 1.1 * few
    assert few <= packed.HEAD_ROWS * 5000


def test_memory_grows_no_faster_than_a_prompt_does():
    """No mask of tokens by tokens: four times the prompt, about four times the largest tensor."""
    items = model(tiny.network(context=8192))
    ids = tuple(np.random.default_rng(0).integers(5, 400, 4096).tolist())
    short, long = (largest_tensor(items, [Request(ids[:n], (7, 8)), Request(ids[:n], (9,))]) for n in (1024, 4096))
    assert long <= 4.5 * short
    assert long < 4096 * 4096


def test_a_length_that_cannot_be_believed_is_refused():
    items = model(tiny.network(max_position_embeddings=10**30))
    with pytest.raises(InputError, match="no context length"):
        wb.ask(items, [Question("The capital is", (Option(" Paris"),))], store=False)


def test_the_tokenizers_own_maximum_length_is_ignored():
    tokenizer = tiny.byte_tokenizer()
    tokenizer.model_max_length = 10**30
    assert model(tokenizer=tokenizer).context_length == 512


def test_labels_that_share_their_first_token_are_distinguished():
    items = model()
    options = tuple(Option(f" {text}") for text in ("Strongly agree", "Strongly disagree"))
    requests = Encoder(items.tokenizer, 512).encode(Question("Do you agree? Answer:", options))
    assert requests[0].continuation[0] == requests[1].continuation[0]
    values = scored(items, requests)
    assert values == pytest.approx(reference(items.network, requests), abs=1e-4)
    assert abs(values[0] - values[1]) > 1e-3


def test_a_label_that_begins_another_holds_its_probability_until_its_end_is_written():
    items = model()
    options = tuple(Option(text) for text in (" agree", " agree strongly", " agree\n", " agree strongly\n"))
    answers = wb.ask(items, [Question("Do you agree? Answer:", options)], store=False)
    open_short, open_long, short, long = np.exp(answers["logprob"])
    assert open_short >= open_long + short
    assert open_long >= long > 0


def test_rows_of_the_head_without_a_token_count_as_probability():
    """A head wider than the tokenizer: the softmax runs over all its rows, as the model was trained."""
    items = model()
    assert len(items.tokenizer) < items.network.config.vocab_size
    requests = [Request((5, 6, 7), (i,)) for i in range(items.network.config.vocab_size)]
    assert np.exp(scored(items, requests)).sum() == pytest.approx(1, abs=1e-5)


def test_settings_for_sampling_do_not_touch_what_is_read():
    items, requests = model(), random_requests(4)
    before = scored(items, requests)
    items.network.generation_config.update(temperature=0.1, top_k=1, suppress_tokens=[7], do_sample=True)
    assert scored(items, requests).tolist() == before.tolist()


def test_a_thinking_template_is_rendered_without_thinking():
    thinking = tiny.TEMPLATE + "{% if enable_thinking is not defined or enable_thinking %}Think first.{% endif %}"
    tokenizer = tiny.byte_tokenizer(template=thinking)
    (request,) = Encoder(tokenizer, 512).encode(Question((Message("user", "Hi"),), (Option("Paris"),)))
    assert tokenizer.decode(request.context).endswith("assistant\n")


def test_a_mixture_of_experts_gives_each_question_its_own_numbers():
    """In float32 nothing depends on what else is in the batch, routing included."""
    items, requests = model(tiny.network("mixtral")), random_requests(12)
    assert engine.choose(items).step == "trie"
    assert scored(items, requests) == pytest.approx(reference(items.network, requests), abs=1e-4)
    assert scored(items, requests[:3]) == pytest.approx(scored(items, requests)[:3], abs=2e-5)
