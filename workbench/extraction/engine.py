"""Choosing how to score: the fastest step of the ladder that agrees with the plain forward on this very network.

The steps are `trie` (all requests of a run packed, nothing computed twice), `tree` (a prompt and its options in one
row), `rows` (length-sorted rows) and `alone` (one unpadded row at a time, which is the plain way itself).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from workbench.errors import InputError
from workbench.extraction import contract, packed, rows, served, tree
from workbench.extraction import trie as tries
from workbench.extraction.tokens import Batch, Request, Unsupported
from workbench.models import Model, proof, state
from workbench.models.model import positions_before

Step = Literal["trie", "tree", "rows", "alone"]
STEPS: tuple[Step, ...] = ("trie", "tree", "rows", "alone")
VERSION = "2"
"""Part of every key of the answer store; changes when the numbers may."""
HALF = ("bfloat16", "float16")
TOLERANCE = {"float64": 1e-4, "float32": 1e-4}
HALF_TOLERANCE = 0.5
"""Nats; half precision differs this much between two correct ways to batch."""
FUTURE = 1e-2
"""Nats that a sequence alone and the same sequence with a token behind it may differ by in a causal network."""
BUDGET = {"cpu": 1024, "mps": 4096}
ACCELERATOR_BUDGET = 16384
SHARE = 0.25
"""Of an accelerator's free memory that a forward may take."""
PROBE_BUDGET = 64
"""Tokens in a forward while probing: less than the probes have, so that they cross from one pack to the next."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The step taken for a network, and why."""

    step: Step
    """The step that agrees with the plain forward."""
    gap: float
    """Largest difference from the plain forward on the probes, in nats."""
    passed_over: str
    """Faster steps that were not taken, each with its reason; empty if none."""
    half_gap: float | None = None
    """Largest difference of half precision from float32 on the probes, in nats, the weights the same; NaN where it
    cannot be measured, None in float32."""


_choices: WeakKeyDictionary[Any, list[tuple[state.State, Choice]]] = WeakKeyDictionary()


def choose(model: Model) -> Choice:
    """The fastest step that agrees with the plain forward on a few probes; found once for each structure of a network.

    Raises:
        InputError: If the network is in training mode, or is not causal.
    """
    network = model.network
    model.check_evaluating()
    with state.computing:
        now, found = state.structure(network), _choices.setdefault(network, [])
        choice = next((each for structure, each in found if structure == now), None)
        if choice is None:
            before = state.of_network(network)
            choice = _probe(network, model.dtype, model.context_length)
            state.learn(network, before)
            found += [(structure, choice) for structure in (now, state.structure(network))]
            if choice.passed_over:
                warnings.warn(f"{model.name} is read by {choice.step!r} ({choice.passed_over})", stacklevel=2)
            if choice.half_gap is not None:
                gap = f"sums of a few probes are {choice.half_gap:.2g} nat from float32 at most"
                gap = "how far from float32 cannot be measured" if np.isnan(choice.half_gap) else gap
                warnings.warn(f"{model.name} is read in {model.dtype}: {gap}", stacklevel=2)
    return choice


def tier(model: Model) -> str:
    """What decides a number beside the model's fingerprint and the token ids: a part of every key of the store.

    In float32 every device and step gives the same to 1e-4 nat. In half precision they differ by tenths, and so may
    two versions of torch or transformers, from which, with the fingerprint, the step follows.
    """
    if model.server is not None:
        return served.VERSION
    parts = [VERSION]
    if model.dtype in HALF:
        parts.append("on " + model.device.partition(":")[0])
        parts += [f"{name} {version(name)}" for name in ("torch", "transformers")]
    if (torch := sys.modules.get("torch")) is not None:
        if (precision := torch.get_float32_matmul_precision()) != "highest":
            parts.append(f"products in {precision} precision")
        device = model.device.partition(":")[0].replace("auto", "cuda")
        if torch.is_autocast_enabled(device):
            parts.append(f"autocast {torch.get_autocast_dtype(device)}")
        if (default := torch.get_default_dtype()) != torch.float32:
            parts.append(f"made in {default}")
    return " ".join(parts)


def work(model: Model, requests: Sequence[Request], trie: tries.Trie) -> int:
    """Tokens to compute for these requests, as `score` counts them."""
    if model.server is not None:
        return sum(len(read.prompt) for read in served.plan(requests, model.server.address.exact))
    step = choose(model).step
    if step == "trie":
        return len(trie.tokens)
    if step == "tree":
        return sum(len(tries.build([requests[i] for i in some]).tokens) for some in tree.by_context(requests).values())
    return sum(map(len, {request.context + request.continuation[:-1] for request in requests}))


def score(
    model: Model, requests: Sequence[Request], budget: int | None = None, trie: tries.Trie | None = None
) -> Iterator[Batch]:
    """Log-likelihoods of requests by the chosen step.

    Args:
        model: Whose numbers.
        requests: What to score.
        budget: Most tokens in one forward; by default what suits the device and its free memory. When the device runs
            out of memory it is halved and the rest goes on.
        trie: The requests' trie, where the caller has built it.

    Yields:
        Tokens computed, indices of requests now finished, and the log-probabilities of each one's tokens (nats), a pack
        at a time.

    Raises:
        InputError: If the device has not the memory for a few tokens.
    """
    if model.server is not None:
        contract.check(model)
        yield from served.score(model, requests)
        return
    import torch

    step = choose(model).step
    budget = budget or token_budget(model)
    left = list(range(len(requests)))
    while len(left):
        done: set[int] = set()
        try:
            whole = trie if len(left) == len(requests) else None
            for tokens, indices, values in _by(step, model.network, [requests[i] for i in left], budget, whole):
                done.update(indices)
                yield tokens, [left[i] for i in indices], values
        except torch.OutOfMemoryError as error:
            if budget <= tries.TILE:
                raise InputError(
                    f"Device {model.device!r} has not the memory to read {budget} tokens with {model.name!r}; use "
                    "dtype='bfloat16', device='auto' or a smaller model (what was finished is kept)."
                ) from error
            budget //= 2
        left = [i for place, i in enumerate(left) if place not in done]
        if left:  # out of memory, and only now is what the failed forward held free to go
            torch.cuda.empty_cache()


def check_vocabulary(model: Model, texts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    """Refuse ids the network has no embedding for.

    Args:
        model: Whose network; what lies behind a server is not known.
        texts: Token ids of each text.
        names: What each is called in messages.

    Raises:
        InputError: If there is one.
    """
    if model.server is not None:
        return
    size = len(model.network.get_input_embeddings().weight)
    for ids, name in zip(texts, names):
        if max(ids) >= size:
            raise InputError(
                f"{name} has a token the network of {model.name!r} does not know (it knows {size} tokens); its "
                "tokenizer belongs to another model."
            )


def token_budget(model: Model) -> int:
    """Most tokens in one forward: what suits the device, less where a share of its free memory holds less."""
    most = BUDGET.get(model.device.partition(":")[0], ACCELERATOR_BUDGET)
    fit = SHARE * _free_memory(model) / packed.bytes_per_token(model.network)
    return max(tries.TILE, int(min(most, fit)))


def _free_memory(model: Model) -> float:
    """Bytes free on the fullest accelerator the network lies on; infinite on a CPU, whose budget is small."""
    import torch

    devices = {parameter.device for parameter in model.network.parameters() if parameter.device.type == "cuda"}
    return min((float(torch.cuda.mem_get_info(device)[0]) for device in devices), default=np.inf)


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

    pairs = proof.probes(network.config.get_text_config().vocab_size, context_length)
    probes = [Request(*pair) for pair in pairs]
    expected = proof.plain(network, pairs)
    half_gap = _half_gap(network, expected, pairs) if dtype in HALF else None
    refused: list[str] = []
    for step in STEPS:
        try:
            if step != "alone" and _positions_depend_on_company(network):
                raise Unsupported("its rotary embedding depends on the longest text in a forward")
            if step in ("trie", "tree") and positions_before(network):
                raise Unsupported("it counts positions from the padding id on")
            values = np.full(len(probes), np.nan)
            for _, indices, found in _by(step, network, probes, PROBE_BUDGET):
                values[indices] = [terms.sum() for terms in found]
            gap = float(np.abs(values - expected).max())
        except Unsupported as error:
            refused.append(f"{step}: {error}")
            continue
        except torch.OutOfMemoryError:
            raise
        except proof.FAILURES as error:
            refused.append(f"{step}: {str(error).partition(chr(10))[0] or type(error).__name__}")
            continue
        if step == "alone" and gap > max(FUTURE, TOLERANCE.get(dtype, HALF_TOLERANCE)):
            raise InputError(
                f"This network gives a token another probability when others follow it ({gap:.2g} nat), so it is no "
                "causal language model; use one that is."
            )
        if gap <= TOLERANCE.get(dtype, HALF_TOLERANCE) or step == "alone":
            return Choice(step, gap, "; ".join(refused), half_gap)
        refused.append(f"{step}: differs by {gap:.2g} nat")
    raise InputError(
        f"A {type(network).__name__} cannot be read in any way ({'; '.join(refused)}); give a causal language model."
    )


def _positions_depend_on_company(network: Any) -> bool:
    """Whether rotary factors are chosen by the largest position in a forward, as in long RoPE and dynamic scaling."""
    config = network.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    return any(kind.get("rope_type", kind.get("type")) in ("longrope", "dynamic") for kind in kinds)


def _half_gap(network: Any, found: np.ndarray, probes: list[proof.Probe]) -> float:
    """Largest difference of these sums from those of a float32 forward, in nats.

    The weights are the same; a merged adapter counts as base plus adapter, so that the rounding of the merge is seen.
    """
    if network in proof.exact_sums:
        return float(np.abs(proof.exact_sums[network] - found).max())
    try:
        with proof.computing_in_float32(network):
            return float(np.abs(proof.plain(network, probes) - found).max())
    except (*proof.FAILURES, InputError):
        return float("nan")
