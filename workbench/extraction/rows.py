"""The plain way to score: length-sorted, right-padded rows, and the head only where a number is needed.

It is the reference the packed engine is checked against, and the last step of its fallback ladder.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from workbench.extraction.tokens import Batch, Request
from workbench.models.model import positions_before


def score(network: Any, requests: Sequence[Request], batch_tokens: int) -> Iterator[Batch]:
    """Log-likelihoods of continuations given their contexts.

    Args:
        network: A transformers causal model.
        requests: What to score; equal sequences share one forward.
        batch_tokens: Most padded tokens in one forward.

    Yields:
        Tokens computed, padding left out, request indices, and the log-probabilities of each one's tokens (nats), a
        batch at a time.
    """
    rows: dict[tuple[int, ...], list[int]] = {}
    for i, request in enumerate(requests):
        rows.setdefault(request.context + request.continuation[:-1], []).append(i)
    for batch in _batches(sorted(rows, key=len, reverse=True), batch_tokens):
        owners = [rows[sequence] for sequence in batch]
        yield from _score_batch(network, batch, owners, requests)


def _batches(sequences: list[tuple[int, ...]], batch_tokens: int) -> Iterator[list[tuple[int, ...]]]:
    start = 0
    while start < len(sequences):
        size = max(1, batch_tokens // len(sequences[start]))
        yield sequences[start : start + size]
        start += size


def _score_batch(
    network: Any, batch: list[tuple[int, ...]], owners: list[list[int]], requests: Sequence[Request]
) -> Iterator[Batch]:
    import torch

    width = len(batch[0])
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    keep = torch.zeros(len(batch), width, dtype=torch.bool)
    for row, sequence in enumerate(batch):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
        for i in owners[row]:
            keep[row, len(requests[i].context) - 1 : len(sequence)] = True
    logits = needed_logits(network, ids, mask, keep).float()
    normaliser = torch.logsumexp(logits, dim=-1)
    start_of_row = np.concatenate([[0], np.cumsum(keep.sum(dim=1).numpy())])
    indices: list[int] = []
    targets: list[int] = []
    kept: list[int] = []
    sizes: list[int] = []
    for row, owned in enumerate(owners):
        for i in owned:
            n = len(requests[i].continuation)
            last = start_of_row[row + 1]
            indices.append(i)
            targets.extend(requests[i].continuation)
            kept.extend(range(last - n, last))
            sizes.append(n)
    at = torch.tensor(kept, device=logits.device)
    terms = logits[at, torch.tensor(targets, device=logits.device)] - normaliser[at]
    yield sum(map(len, batch)), indices, np.split(terms.double().cpu().numpy(), np.cumsum(sizes[:-1]))


def needed_logits(network: Any, ids: Any, mask: Any, keep: Any) -> Any:
    """Logits `[kept, vocabulary]` of the kept positions of right-padded rows, in row order.

    Positions are passed explicitly where the network takes them and counts from 0. Networks that cannot restrict their
    head return all positions, which are then picked from.
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
