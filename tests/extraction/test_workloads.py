"""Exact counts and exactness of cloze, letters, judge and survey workloads on the embedded model."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import own_items
import pytest
import torch

import workbench as wb
from benchmarks import workloads
from workbench.extraction import engine, trie
from workbench.extraction.tokens import Encoder, Request
from workbench.models import packaged
from workbench.questions import Question

pytestmark = pytest.mark.model
OWN = {
    "cloze": (own_items.cloze, (36, 463, 134, 39)),
    "letters": (own_items.letters, (36, 981, 294, 12)),
    "judge": (own_items.judge, (120, 5732, 221, 36)),
    "survey": (own_items.survey, (96, 4520, 695, 96)),
}
"""Requests, tokens if each were computed alone, tokens that have to be computed, rows the head has to run on."""
WHOLE = {
    "w1": (1345, 30504, 9854, 5979),
    "w1l": (1350, 87817, 17223, 300),
    "w2": (460, 161672, 6794, 140),
    "w3": (4800, 535920, 33150, 6720),
}


@pytest.fixture(scope="module")
def model() -> wb.Model:
    return wb.load_model(packaged.EMBEDDED, device="cpu")


@pytest.fixture(scope="module")
def exact(model) -> torch.nn.Module:
    return copy.deepcopy(model.network).double()


def encoded(model: wb.Model, questions: Sequence[Question]) -> list[Request]:
    encoder = Encoder(model.tokenizer, 8192)
    return [request for question in questions for request in encoder.encode(question)]


def counts(requests: Sequence[Request]) -> tuple[int, int, int, int]:
    plan = trie.build(requests)
    alone = sum(len(r.context) + len(r.continuation) - 1 for r in requests)
    return len(requests), alone, len(plan.tokens), plan.head_rows


@pytest.mark.parametrize("name", WHOLE)
def test_counts_of_the_whole_workloads(model, name):
    """What the benchmark times is fixed to the token."""
    assert counts(encoded(model, workloads.load(name))) == WHOLE[name]


@pytest.mark.parametrize("name", OWN)
def test_tokens_and_rows_at_the_network_are_those_needed(model, name):
    """Counted where tokens enter the body and rows enter the head, against sets of prefixes computed by brute force."""
    make, expected = OWN[name]
    requests = encoded(model, make())
    assert counts(requests) == expected
    sequences = {r.context + r.continuation[:-1] for r in requests}
    prefixes = {s[:n] for s in sequences for n in range(1, len(s) + 1)}
    needed = {s[:n] for r in requests for s in [r.context + r.continuation] for n in range(len(r.context), len(s))}
    assert (len(prefixes), len(needed)) == expected[2:]
    tokens, rows = [], []
    hooks = [
        model.network.model.register_forward_pre_hook(
            lambda _, args, kwargs: tokens.append(kwargs["input_ids"].numel()), with_kwargs=True
        ),
        model.network.lm_head.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[:-1].numel())),
    ]
    engine.choose(model)
    tokens.clear(), rows.clear()
    for _ in engine.score(model, requests + requests):
        pass
    for hook in hooks:
        hook.remove()
    assert (sum(tokens), sum(rows)) == expected[2:]


FEW = [("w1", 2), ("w1l", 2), ("w2", 1), ("w3", 1)]
MORE = [pytest.param(name, 12, marks=pytest.mark.slow) for name, _ in FEW]


@pytest.mark.parametrize(("name", "items"), [*FEW, *MORE])
def test_every_workload_agrees_with_float64(model, exact, name, items):
    """The gate: less than 1e-4 nat from a float64 forward of each sequence alone."""
    requests = encoded(model, workloads.load(name, items))
    assert scored(model, requests) == pytest.approx(reference(exact, requests), abs=1e-4)


def scored(model: wb.Model, requests: Sequence[Request]) -> np.ndarray:
    values = np.full(len(requests), np.nan)
    for _, indices, terms in engine.score(model, requests):
        values[indices] = [part.sum() for part in terms]
    return values


def reference(exact: torch.nn.Module, requests: Sequence[Request]) -> np.ndarray:
    """Sums over full float64 log-softmaxes, one forward for each distinct sequence."""
    forwards: dict[tuple[int, ...], torch.Tensor] = {}
    values = []
    with torch.inference_mode():
        for request in requests:
            sequence, n = request.context + request.continuation[:-1], len(request.continuation)
            if sequence not in forwards:
                logits = exact(input_ids=torch.tensor([sequence]), use_cache=False, logits_to_keep=n).logits[0]
                forwards[sequence] = logits.log_softmax(-1)
            values.append(float(forwards[sequence][torch.arange(n), list(request.continuation)].sum()))
    return np.array(values)
