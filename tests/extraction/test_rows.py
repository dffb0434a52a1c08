"""The plain forward agrees with a float64 forward of each request alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import tiny
import torch

from workbench.extraction import engine
from workbench.extraction.tokens import Request

pytestmark = pytest.mark.model


def random_requests(n: int, seed: int = 0) -> list[Request]:
    draw = np.random.default_rng(seed)
    contexts = [tuple(draw.integers(5, 400, draw.integers(1, 40)).tolist()) for _ in range(n)]
    return [
        Request(context, tuple(draw.integers(5, 400, draw.integers(1, 6)).tolist()))
        for context in contexts
        for _ in range(3)
    ]


def reference(network, requests) -> np.ndarray:
    """Each request alone, in float64, with full logits."""
    exact = copy.deepcopy(network).double()
    values = []
    with torch.inference_mode():
        for request in requests:
            ids = torch.tensor([request.context + request.continuation])
            logp = exact(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
            at = range(len(request.context) - 1, ids.shape[1] - 1)
            values.append(sum(logp[t, ids[0, t + 1]].item() for t in at))
    return np.array(values)


def scored(network, requests, batch_tokens=256) -> np.ndarray:
    values = np.full(len(requests), np.nan)
    for _, indices, batch in engine.score_rows(network, requests, batch_tokens):
        values[indices] = [terms.sum() for terms in batch]
    return values


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_agrees_with_a_float64_forward(family, batch_tokens):
    """Learned and rotary positions, batched and alone."""
    network, requests = tiny.network(family), random_requests(12)
    assert scored(network, requests, batch_tokens) == pytest.approx(reference(network, requests), abs=1e-4)


def test_does_not_depend_on_order_or_company():
    network, requests = tiny.network(), random_requests(10)
    together = scored(network, requests)
    assert scored(network, requests[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    assert scored(network, requests[:4]) == pytest.approx(together[:4], abs=1e-5)


def test_the_end_token_inside_a_text_is_not_taken_for_padding():
    """Padding is masked by length: an end token, whose id is also the pad id, is scored like any other."""
    network = tiny.network()
    requests = [Request((7, 2, 9), (2, 11)), Request(tuple(range(20, 40)), (2,))]
    assert scored(network, requests) == pytest.approx(reference(network, requests), abs=1e-4)


def test_equal_sequences_share_a_forward():
    network = tiny.network()
    seen = []
    network.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True)
    context = tuple(range(5, 25))
    scored(network, [Request(context, (i,)) for i in range(5, 10)])
    assert seen == [(1, 20)]


def test_the_head_runs_only_where_a_number_is_needed():
    network = tiny.network()
    seen = []
    network.lm_head.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-1].numel()))
    requests = random_requests(6)
    scored(network, requests, 4096)
    unique = {r.context + r.continuation[:-1]: len(r.continuation) for r in requests}
    assert sum(seen) == sum(unique.values())


def test_half_precision_logits_are_raised_before_the_softmax():
    network = tiny.network().bfloat16()
    requests = random_requests(3)
    values = scored(network, requests)
    assert not np.allclose(values, np.round(values * 32) / 32)


def test_oracle_of_the_shift():
    """Position t-1 scores token t: logits [[2,1,0],[0,3,1]] score tokens 0, 1 as -0.4076060 and -0.1698460."""

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, attention_mask, use_cache):
            table = {5: [2.0, 1.0, 0.0], 0: [0.0, 3.0, 1.0]}
            logits = torch.tensor([[table.get(i, [0.0, 0.0, 0.0]) for i in row] for row in input_ids.tolist()])
            return type("Output", (), {"logits": logits})

    assert scored(Fixed(), [Request((5,), (0, 1))]) == pytest.approx([-0.5774520], abs=1e-6)
