"""Choosing how to score: the fastest step of the ladder that agrees with the plain forward on this very network.

The steps are `trie` (all requests of a run packed, nothing computed twice), `tree` (a prompt and its options in one
row), `rows` (length-sorted rows) and `alone` (one unpadded row at a time, which is the plain way itself).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from workbench.extraction import contract, packed, rows, served, tree
from workbench.extraction import trie as tries
from workbench.extraction.tokens import Batch, Request, Unsupported
from workbench.models import Model

Step = Literal["trie", "tree", "rows", "alone"]
STEPS: tuple[Step, ...] = ("trie", "tree", "rows", "alone")
VERSION = "1"
"""Part of every key of the answer store; changes when the numbers may."""
TOLERANCE = {"float64": 1e-4, "float32": 1e-4}
HALF_TOLERANCE = 0.5
"""Nats; half precision differs this much between two correct ways to batch."""
BUDGET = {"cpu": 1024, "mps": 4096}
ACCELERATOR_BUDGET = 16384


@dataclass(frozen=True, slots=True)
class Choice:
    """The step taken for a network, and why."""

    step: Step
    """The step that agrees with the plain forward."""
    gap: float
    """Largest difference from the plain forward on the probes, in nats."""
    passed_over: str
    """Faster steps that were not taken, each with its reason; empty if none."""


_choices: WeakKeyDictionary[Any, Choice] = WeakKeyDictionary()


def choose(model: Model) -> Choice:
    """The fastest step that agrees with the plain forward on a few probes; found once per network."""
    network = model.network
    if network not in _choices:
        choice = _choices[network] = _probe(network, model.dtype, model.context_length)
        if choice.passed_over:
            warnings.warn(f"{model.name} is read by {choice.step!r} ({choice.passed_over})", stacklevel=2)
    return _choices[network]


def score(
    model: Model, requests: Sequence[Request], budget: int | None = None, trie: tries.Trie | None = None
) -> Iterator[Batch]:
    """Log-likelihoods of requests by the chosen step.

    Args:
        model: Whose numbers.
        requests: What to score.
        budget: Most tokens in one forward; by default what suits the device. When the device runs out of memory it
            is halved and the rest goes on.
        trie: The requests' trie, where the caller has built it.

    Yields:
        Tokens computed, indices of requests now finished, and the log-probabilities of each one's tokens (nats), a pack
        at a time.
    """
    if model.server is not None:
        contract.check(model)
        yield from served.score(model, requests)
        return
    import torch

    step = choose(model).step
    budget = budget or BUDGET.get(model.device.partition(":")[0], ACCELERATOR_BUDGET)
    left = list(range(len(requests)))
    while len(left):
        done: set[int] = set()
        try:
            whole = trie if len(left) == len(requests) else None
            for tokens, indices, values in _by(step, model.network, [requests[i] for i in left], budget, whole):
                done.update(indices)
                yield tokens, [left[i] for i in indices], values
        except torch.OutOfMemoryError:
            if budget <= tries.TILE:
                raise
            budget //= 2
            torch.cuda.empty_cache()
        left = [i for place, i in enumerate(left) if place not in done]


def _by(
    step: Step, network: Any, requests: Sequence[Request], budget: int, trie: tries.Trie | None = None
) -> Iterator[Batch]:
    """Scores by one step of the ladder."""
    if step == "trie":
        yield from _by_trie(network, requests, budget, trie or tries.build(requests))
    elif step == "tree":
        yield from tree.score(network, requests)
    else:
        yield from rows.score(network, requests, budget if step == "rows" else 1)


def _by_trie(network: Any, requests: Sequence[Request], budget: int, trie: tries.Trie) -> Iterator[Batch]:
    """Collects the terms of the packed forward; a request is done with its last term."""
    missing = np.array([len(request.continuation) for request in requests])
    values = np.full(len(trie.term_node), np.nan)
    for tokens, terms in packed.score(network, trie, budget):
        at = terms[:, 0].astype(np.int64)
        values[at] = terms[:, 1]
        touched, counts = np.unique(trie.term_request[at], return_counts=True)
        missing[touched] -= counts
        finished = touched[missing[touched] == 0].tolist()
        yield tokens, finished, tries.by_request(trie, values, finished)


def _probe(network: Any, dtype: str, context_length: int) -> Choice:
    """Try the steps in turn against the plain forward."""
    import torch

    probes = _probes(network.config.get_text_config().vocab_size, context_length)
    expected = _plain(network, probes)
    refused: list[str] = []
    for step in STEPS:
        try:
            if step != "alone" and _positions_depend_on_company(network):
                raise Unsupported("its rotary embedding depends on the longest text in a forward")
            values = np.full(len(probes), np.nan)
            for _, indices, found in _by(step, network, probes, budget=96):
                values[indices] = [terms.sum() for terms in found]
            gap = float(np.abs(values - expected).max())
        except Unsupported as error:
            refused.append(f"{step}: {error}")
            continue
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, torch.OutOfMemoryError) or step == "alone":
                raise
            refused.append(f"{step}: {str(error).partition(chr(10))[0]}")
            continue
        if gap <= TOLERANCE.get(dtype, HALF_TOLERANCE) or step == "alone":
            return Choice(step, gap, "; ".join(refused))
        refused.append(f"{step}: differs by {gap:.2g} nat")
    raise AssertionError("the last step is the plain forward itself")


def _positions_depend_on_company(network: Any) -> bool:
    """Whether rotary factors are chosen by the largest position in a forward, as in long RoPE and dynamic scaling."""
    config = network.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    return any(kind.get("rope_type", kind.get("type")) in ("longrope", "dynamic") for kind in kinds)


def _probes(vocabulary: int, context_length: int) -> list[Request]:
    """A few requests that share prefixes, branch, and cross tile and pack borders."""
    draw = np.random.default_rng(0)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(draw.integers(0, vocabulary, n).tolist())

    stem = ids(min(70, context_length // 2))
    fork = stem[: len(stem) // 2] + ids(6)
    return [Request(stem, ids(3)), Request(stem, ids(2)), Request(fork, ids(3)), Request(ids(5), ids(1))]


def _plain(network: Any, requests: Sequence[Request]) -> np.ndarray:
    """Each request alone through the unmodified network, log-softmax in float64."""
    import torch

    device = network.get_input_embeddings().weight.device
    values = []
    with torch.inference_mode():
        for request in requests:
            ids = torch.tensor([request.context + request.continuation], device=device)
            logp = network(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
            at = torch.arange(len(request.context) - 1, ids.shape[1] - 1, device=logp.device)
            values.append(float(logp[at, ids[0, at + 1].to(logp.device)].sum()))
    return np.array(values)
