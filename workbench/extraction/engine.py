"""Select the fastest scoring method that reproduces the plain forward pass on this network.

The methods are `trie` (all requests packed, nothing computed twice), `tree` (one prompt and its options per row),
`rows` (length-sorted rows) and `alone` (one unpadded row at a time: the plain forward pass).
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

from workbench.errors import InputError
from workbench.extraction import packed
from workbench.extraction import trie as tries
from workbench.extraction.backend import Facts, Ids, Number, TokenReader
from workbench.extraction.tokens import Batch, Request, Unsupported
from workbench.models import Model, proof, state
from workbench.models.model import positions_before

Step = Literal["trie", "tree", "rows", "alone"]
STEPS: tuple[Step, ...] = ("trie", "tree", "rows", "alone")
VERSION = "2"
"""Part of every key of the answer store; increased when numbers may change."""
HALF = ("bfloat16", "float16")
TOLERANCE = {"float64": 1e-4, "float32": 1e-4}
HALF_TOLERANCE = 0.5
"""Nats; in half precision two correct ways to batch differ by this much."""
FUTURE = 1e-2
"""Causality tolerance in nats: how far the score of a prefix may move when a token is appended."""
BUDGET = {"cpu": 1024, "mps": 4096}
ACCELERATOR_BUDGET = 16384
MEMORY_FRACTION = 0.25
"""Fraction of an accelerator's free memory that one forward pass may take."""
ROUNDED = 1e-3
"""Nats above 0 to which rounding may lift a log-probability."""
PROBE_BUDGET = 64
"""Tokens per forward pass while probing: fewer than the probes have, so that they cross pack boundaries."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The scoring method selected for a network."""

    step: Step
    """The method."""
    gap: float
    """Largest difference from the plain forward pass on the probes, in nats."""
    passed_over: str
    """Faster methods that were rejected, each with the reason; empty if none."""
    half_gap: float | None = None
    """Largest difference of half precision from float32 on the probes with the same weights, in nats; NaN if it cannot
    be measured, None in float32."""
    device_gap: float | None = None
    """Largest difference of an Apple GPU from the CPU on the probes in float32, in nats; NaN if it cannot be measured,
    None on other devices and in half precision."""


_choices: WeakKeyDictionary[Any, list[tuple[state.State, Choice]]] = WeakKeyDictionary()


def choose(model: Model) -> Choice:
    """Return the fastest method that reproduces the plain forward pass; probed once per structure of a network.

    Raises:
        InputError: The network is in training mode, or is not causal.
    """
    network = model.network
    model.check_evaluating()
    with state.computing:
        now, choices = state.structure(network), _choices.setdefault(network, [])
        choice = next((each for structure, each in choices if structure == now), None)
        if choice is None:
            before = state.of_network(network)
            choice = _probe(network, model.dtype, model.context_length)
            state.learn(network, before)
            choices += [(structure, choice) for structure in (now, state.structure(network))]
            if choice.passed_over:
                warnings.warn(f"{model.name} is read by {choice.step!r} ({choice.passed_over})", stacklevel=2)
            if choice.half_gap is not None:
                gap = f"sums of a few probes are up to {choice.half_gap:.2g} nat from float32"
                gap = "its difference from float32 cannot be measured" if np.isnan(choice.half_gap) else gap
                warnings.warn(f"{model.name} is read in {model.dtype}: {gap}", stacklevel=2)
            if choice.device_gap is not None and not choice.device_gap <= TOLERANCE["float32"]:
                gap = f"sums of a few probes are up to {choice.device_gap:.2g} nat from the CPU's"
                gap = "its difference from the CPU cannot be measured" if np.isnan(choice.device_gap) else gap
                warnings.warn(
                    f"{model.name} is read on an Apple GPU: {gap}; use device='cpu' to avoid it", stacklevel=2
                )
    return choice


def tier(model: Model) -> str:
    """Return the part of every store key that is neither the model's fingerprint nor token ids.

    In float32 CPUs, CUDA devices and all methods agree to 1e-4 nat, which Apple's GPUs were not tested for. In half
    precision they differ by tenths, and so may two versions of torch or transformers, which together with the
    fingerprint decide the method.
    """
    parts = [VERSION]
    accelerator = "mps" if sys.platform == "darwin" else "cuda"
    device = model.device.partition(":")[0].replace("auto", accelerator)
    if device == "mps" and model.dtype not in HALF:
        parts.append("on mps")
    if model.dtype in HALF:
        parts.append("on " + model.device.partition(":")[0])
        parts += [f"{name} {version(name)}" for name in ("torch", "transformers")]
    if (torch := sys.modules.get("torch")) is not None:
        if (precision := torch.get_float32_matmul_precision()) != "highest":
            parts.append(f"products in {precision} precision")
        if torch.is_autocast_enabled(device):
            parts.append(f"autocast {torch.get_autocast_dtype(device)}")
        if (default := torch.get_default_dtype()) != torch.float32:
            parts.append(f"made in {default}")
    return " ".join(parts)


def work(model: Model, requests: Sequence[Request], trie: tries.Trie) -> int:
    """Return how many tokens `score` computes for these requests."""
    step = choose(model).step
    if step == "trie":
        return len(trie.tokens)
    if step == "tree":
        groups = by_context(requests).values()
        return sum(len(tries.build([requests[i] for i in group]).tokens) for group in groups)
    return sum(map(len, {request.context + request.continuation[:-1] for request in requests}))


def score(
    model: Model, requests: Sequence[Request], budget: int | None = None, trie: tries.Trie | None = None
) -> Iterator[Batch]:
    """Score requests by the selected method.

    Args:
        model: A local model.
        requests: What to score.
        budget: Maximum number of tokens per forward pass; by default chosen for the device and its free memory. It is
            halved whenever the device runs out of memory.
        trie: The requests' trie, if it is built already.

    Yields:
        Tokens computed, indices of completed requests, and the log-probabilities of their tokens (nats).

    Raises:
        InputError: The device has too little memory for a few tokens.
    """
    import torch

    step = choose(model).step
    budget = budget or token_budget(model)
    left = list(range(len(requests)))
    while left:
        done: set[int] = set()
        try:
            whole = trie if len(left) == len(requests) else None
            for tokens, indices, values in _by(step, model.network, [requests[i] for i in left], budget, whole):
                done.update(indices)
                yield tokens, [left[i] for i in indices], values
        except torch.OutOfMemoryError as error:
            if budget <= tries.TILE:
                raise InputError(
                    f"Device {model.device!r} has too little memory to read {budget} tokens with {model.name!r}; use "
                    "dtype='bfloat16', device='auto' or a smaller model (finished answers are kept)."
                ) from error
            budget //= 2
        left = [i for position, i in enumerate(left) if position not in done]
        if left:  # out of memory; the tensors of the failed forward pass can be freed only here
            torch.cuda.empty_cache()


class Local(TokenReader):
    """Backend for a model on this machine."""

    label, bounded = "reading answers", False

    def __init__(self, model: Model) -> None:
        """Load nothing yet."""
        super().__init__(model, tier(model))
        self._choice: Choice | None = None

    def numbers(
        self, requests: Sequence[Request], names: Sequence[str]
    ) -> tuple[int, Iterator[tuple[int, dict[int, Number]]]]:
        """See `TokenReader`."""
        texts = [request.context + request.continuation for request in requests]
        self.check_vocabulary(texts, [f"Question {name!r}" for name in names])
        self._choice = choose(self.model)
        total, batches = self.score(requests)
        return total, ((tokens, _summed(indices, terms, names)) for tokens, indices, terms in batches)

    def check_unchanged(self) -> None:
        """See `Backend`."""
        self.model.check_unchanged()

    def facts(self) -> Facts:
        """See `Backend`."""
        if (choice := self._choice) is None:
            return {}
        facts: Facts = {"engine_step": choice.step, "engine_gap_nats": choice.gap}
        facts["engine_passed_over"] = choice.passed_over
        gaps = {"engine_half_precision_gap_nats": choice.half_gap, "engine_device_gap_nats": choice.device_gap}
        return facts | {name: gap for name, gap in gaps.items() if gap is not None}

    def check_vocabulary(self, texts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
        """See `TokenBackend`."""
        size = len(self.model.network.get_input_embeddings().weight)
        for ids, name in zip(texts, names):
            if max(ids) >= size:
                raise InputError(
                    f"{name} has a token id of {max(ids)}, but the network of {self.model.name!r} knows {size} tokens; "
                    "its tokenizer belongs to another model."
                )

    def score(self, requests: Sequence[Request]) -> tuple[int, Iterator[Batch]]:
        """See `TokenBackend`."""
        trie = tries.build(requests)
        return work(self.model, requests, trie), score(self.model, requests, trie=trie)

    def sample(self, contexts: Sequence[Ids], settings: Mapping[str, Any], seed: int) -> list[tuple[list[int], bool]]:
        """See `TokenBackend`."""
        import torch
        from transformers import GenerationConfig

        if positions_before(self.model.network):
            raise InputError(
                f"{self.model.name!r} counts positions from its padding id on, which transformers does not do when it "
                "generates; use a model of another family to generate text."
            )
        network, ends = self.model.network, _end_ids(self.model)
        device = network.get_input_embeddings().weight.device
        ids, mask = padded(contexts, left=True)
        shipped = network.generation_config
        network.generation_config = GenerationConfig(eos_token_id=sorted(ends) or None)
        try:
            with torch.random.fork_rng(), torch.inference_mode():
                torch.manual_seed(seed)
                full = network.generate(
                    input_ids=ids.to(device), attention_mask=mask.to(device), pad_token_id=0, **settings
                )
        finally:
            network.generation_config = shipped
        emitted = []
        for row in full[:, ids.shape[1] :].tolist():
            stop = next((n + 1 for n, token in enumerate(row) if token in ends), len(row))
            emitted.append((row[:stop], row[stop - 1] in ends))
        return emitted


def _summed(indices: Sequence[int], terms: Sequence[np.ndarray], names: Sequence[str]) -> dict[int, Number]:
    """The log-likelihoods of some requests; terms that cannot be log-probabilities are refused."""
    for i, part in zip(indices, terms):
        if not (np.isfinite(part) & (part <= ROUNDED)).all():
            raise InputError(
                f"The network gives a log-likelihood of {part.sum()} on question {names[i]!r}; check its weights and "
                "dtype (try dtype='float32')."
            )
    return {i: Number(float(np.minimum(part, 0.0).sum())) for i, part in zip(indices, terms)}


def token_budget(model: Model) -> int:
    """Return the maximum number of tokens per forward pass, from the kind of device and its free memory."""
    most = BUDGET.get(model.device.partition(":")[0], ACCELERATOR_BUDGET)
    fit = MEMORY_FRACTION * _free_memory(model) / packed.bytes_per_token(model.network)
    return max(tries.TILE, int(min(most, fit)))


def _free_memory(model: Model) -> float:
    """Bytes free on the fullest of the network's accelerators; infinite on a CPU, whose budget is small."""
    import torch

    devices = {parameter.device for parameter in model.network.parameters() if parameter.device.type == "cuda"}
    return min((float(torch.cuda.mem_get_info(device)[0]) for device in devices), default=np.inf)


def _by(
    step: Step, network: Any, requests: Sequence[Request], budget: int, trie: tries.Trie | None = None
) -> Iterator[Batch]:
    """Scores by one method."""
    if step == "trie":
        yield from _score_trie(network, requests, budget, trie or tries.build(requests))
    elif step == "tree":
        yield from score_trees(network, requests)
    else:
        yield from score_rows(network, requests, budget if step == "rows" else 1)


def _score_trie(network: Any, requests: Sequence[Request], budget: int, trie: tries.Trie) -> Iterator[Batch]:
    """Collect the terms of the packed forward pass; a request is complete with its last term."""
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
    """Try the methods in turn against the plain forward pass."""
    import torch

    pairs = proof.probes(network.config.get_text_config().vocab_size, context_length)
    probes = [Request(*pair) for pair in pairs]
    expected = proof.plain(network, pairs)
    half_gap = _half_gap(network, expected, pairs) if dtype in HALF else None
    device_gap = _device_gap(network, expected) if dtype not in HALF else None
    tolerance = TOLERANCE.get(dtype, HALF_TOLERANCE)
    refused: list[str] = []
    for step in STEPS:
        try:
            if step != "alone" and _has_length_dependent_rope(network):
                raise Unsupported("its rotary embedding depends on the longest text in a forward")
            if step in ("trie", "tree") and positions_before(network):
                raise Unsupported("it counts positions from the padding id on")
            values = np.full(len(probes), np.nan)
            for _, indices, terms in _by(step, network, probes, PROBE_BUDGET):
                values[indices] = [part.sum() for part in terms]
            gap = float(np.abs(values - expected).max())
        except Unsupported as error:
            refused.append(f"{step}: {error}")
            continue
        except torch.OutOfMemoryError:
            raise
        except proof.FAILURES as error:
            refused.append(f"{step}: {str(error).partition(chr(10))[0] or type(error).__name__}")
            continue
        if step == "alone" and gap > max(FUTURE, tolerance):
            raise InputError(
                f"The probability of a token changes by {gap:.2g} nat when others follow it, so this network is not "
                "a causal language model; use one that is."
            )
        if gap <= tolerance or step == "alone":
            return Choice(step, gap, "; ".join(refused), half_gap, device_gap)
        refused.append(f"{step}: differs by {gap:.2g} nat")
    raise InputError(
        f"A {type(network).__name__} cannot be scored by any method ({'; '.join(refused)}); give a causal language "
        "model."
    )


def _has_length_dependent_rope(network: Any) -> bool:
    """Whether rotary factors depend on the largest position in a forward pass, as in long RoPE and dynamic scaling."""
    config = network.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    return any(kind.get("rope_type", kind.get("type")) in ("longrope", "dynamic") for kind in kinds)


def _half_gap(network: Any, sums: np.ndarray, probes: list[proof.Probe]) -> float:
    """Largest difference of these sums from those of a float32 forward pass with the same weights, in nats.

    A merged adapter counts as base plus adapter, so that rounding by the merge is included.
    """
    if network in proof.exact_sums:
        return float(np.abs(proof.exact_sums[network] - sums).max())
    try:
        with proof.computing_in_float32(network):
            return float(np.abs(proof.plain(network, probes) - sums).max())
    except (*proof.FAILURES, InputError):
        return float("nan")


def _device_gap(network: Any, sums: np.ndarray) -> float | None:
    """Largest difference of these sums from those of the CPU, in nats; NaN on an Apple GPU if they are not known."""
    if network in proof.cpu_sums:
        return float(np.abs(proof.cpu_sums[network] - sums).max())
    return float("nan") if network.get_input_embeddings().weight.device.type == "mps" else None


def score_trees(network: Any, requests: Sequence[Request]) -> Iterator[Batch]:
    """Score one prompt and the trie of its options per row, under a dense mask.

    For networks whose attention bypasses transformers' registry but takes a four-dimensional mask.

    Args:
        network: A transformers causal model.
        requests: What to score.

    Yields:
        As `score`, one prompt at a time.
    """
    import torch

    if not {"position_ids", "attention_mask"} <= set(inspect.signature(network.forward).parameters):
        raise Unsupported("it takes no positions and mask of its own")
    config = network.config.get_text_config()
    kinds = {str(kind) for kind in getattr(config, "layer_types", None) or ()}
    unlike = any("chunk" in kind or "linear" in kind for kind in kinds)
    if unlike or any(getattr(config, name, None) for name in ("attention_chunk_size", "window_size")):
        raise Unsupported("it has layers that no mask of four dimensions describes")
    for indices in by_context(requests).values():
        trie = tries.build([requests[i] for i in indices])
        rows, row_of_term = np.unique(trie.term_node, return_inverse=True)
        logits = _tree_logits(network, trie, torch.from_numpy(rows)).float()
        picked = logits[torch.from_numpy(row_of_term), torch.from_numpy(trie.term_target)]
        terms = picked - torch.logsumexp(logits, dim=-1)[torch.from_numpy(row_of_term)]
        yield len(trie.tokens), indices, tries.by_request(trie, terms.cpu().double().numpy(), range(len(indices)))


def by_context(requests: Sequence[Request]) -> dict[tuple[int, ...], list[int]]:
    """Return context -> indices of the requests that have it."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, request in enumerate(requests):
        groups.setdefault(request.context, []).append(i)
    return groups


def _tree_logits(network: Any, trie: tries.Trie, rows: Any) -> Any:
    """Logits `[rows, vocabulary]` at some nodes of a one-row tree."""
    import torch

    device = network.get_input_embeddings().weight.device
    keep = torch.zeros(1, len(trie.tokens), dtype=torch.bool)
    keep[0, rows] = True
    with torch.inference_mode():
        logits = network(
            input_ids=torch.from_numpy(trie.tokens)[None].to(device),
            position_ids=torch.from_numpy(trie.depth)[None].to(device),
            attention_mask=_tree_masks(network, trie, device),
            logits_to_keep=keep.to(device),
            use_cache=False,
        ).logits
    return logits.reshape(-1, logits.shape[-1]).cpu()


def _tree_masks(network: Any, trie: tries.Trie, device: Any) -> Any:
    """The additive tree mask `[1, 1, nodes, nodes]`, or one per kind of layer if the network mixes them."""
    import torch

    config = network.config.get_text_config()
    seen = tries.ancestors(trie.depth)[1]
    window = getattr(config, "sliding_window", None)
    near = seen & (trie.depth[:, None] - trie.depth[None] < window) if window else seen

    def additive(allowed: np.ndarray) -> Any:
        mask = torch.full(allowed.shape, torch.finfo(network.dtype).min, dtype=network.dtype)
        return mask.masked_fill(torch.from_numpy(allowed), 0)[None, None].to(device)

    kinds = set(getattr(config, "layer_types", None) or [])
    if len(kinds) > 1:
        return {kind: additive(near if "sliding" in kind else seen) for kind in kinds}
    return additive(near)


def score_rows(network: Any, requests: Sequence[Request], batch_tokens: int) -> Iterator[Batch]:
    """Score length-sorted, right-padded rows, with the head only where a number is needed.

    The reference of the other methods and, one row at a time, the last of them.

    Args:
        network: A transformers causal model.
        requests: What to score; equal sequences share one row.
        batch_tokens: Maximum number of padded tokens per forward pass.

    Yields:
        As `score`, one forward pass at a time; padding does not count as tokens.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for i, request in enumerate(requests):
        rows.setdefault(request.context + request.continuation[:-1], []).append(i)
    sequences, start = sorted(rows, key=len, reverse=True), 0
    while start < len(sequences):
        batch = sequences[start : start + max(1, batch_tokens // len(sequences[start]))]
        yield _score_batch(network, batch, [rows[sequence] for sequence in batch], requests)
        start += len(batch)


def _score_batch(
    network: Any, batch: list[tuple[int, ...]], owners: list[list[int]], requests: Sequence[Request]
) -> Batch:
    """The scores of one forward pass; `owners` are the requests of each row."""
    import torch

    ids, mask = padded(batch)
    keep = torch.zeros(ids.shape, dtype=torch.bool)
    for row, sequence in enumerate(batch):
        for i in owners[row]:
            keep[row, len(requests[i].context) - 1 : len(sequence)] = True
    logits = needed_logits(network, ids, mask, keep).float()
    normaliser = torch.logsumexp(logits, dim=-1)
    row_ends = np.cumsum(keep.sum(dim=1).numpy())
    indices = [i for row in owners for i in row]
    sizes = [len(requests[i].continuation) for i in indices]
    ends = [end for end, row in zip(row_ends, owners) for _ in row]
    at = torch.tensor([position for end, n in zip(ends, sizes) for position in range(end - n, end)])
    targets = torch.tensor([token for i in indices for token in requests[i].continuation])
    at, targets = at.to(logits.device), targets.to(logits.device)
    terms = (logits[at, targets] - normaliser[at]).cpu().double().numpy()
    return sum(map(len, batch)), indices, np.split(terms, np.cumsum(sizes[:-1]))


def needed_logits(network: Any, ids: Any, mask: Any, keep: Any) -> Any:
    """Return logits `[kept, vocabulary]` at the kept positions of right-padded rows, in row order.

    Positions are passed if the network takes them and counts from 0. Networks that cannot restrict their head return
    all positions, from which the kept ones are selected.
    """
    import torch

    accepted = inspect.signature(network.forward).parameters
    device = next(network.parameters()).device
    inputs: dict[str, Any] = {"input_ids": ids.to(device), "attention_mask": mask.to(device), "use_cache": False}
    if "position_ids" in accepted and not positions_before(network):
        inputs["position_ids"] = torch.arange(ids.shape[1], device=device).expand_as(ids)
    if "logits_to_keep" in accepted:
        inputs["logits_to_keep"] = keep.to(device)
    with torch.inference_mode():
        logits = network(**inputs).logits
    if logits.shape[:2] == ids.shape and logits.ndim == 3:
        return logits[keep.to(logits.device)]
    return logits.reshape(-1, logits.shape[-1])


def padded(sequences: Sequence[Sequence[int]], left: bool = False) -> tuple[Any, Any]:
    """Return ids and mask `[rows, longest]`, padded on the right, or on the left."""
    import torch

    width = max(map(len, sequences))
    ids, mask = torch.zeros(2, len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        at = slice(width - len(sequence), None) if left else slice(len(sequence))
        ids[row, at] = torch.tensor(sequence)
        mask[row, at] = 1
    return ids, mask


def _end_ids(model: Model) -> set[int]:
    """The ids that end a continuation."""
    ends = model.network.generation_config.eos_token_id
    ends = model.tokenizer.eos_token_id if ends is None else ends
    return set(ends if isinstance(ends, list) else [ends]) - {None}
