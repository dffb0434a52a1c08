"""The middle way to score: one prompt and the trie of its options in a row, under a dense mask.

For networks whose attention does not go through the registry but takes a mask of four dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from workbench.extraction import trie as tries
from workbench.extraction.tokens import Batch, Request, Unsupported


def score(network: Any, requests: Sequence[Request]) -> Iterator[Batch]:
    """Log-likelihoods of continuations, the prompt computed once for all its options.

    Args:
        network: A transformers causal model.
        requests: What to score.

    Yields:
        Tokens computed, request indices and the log-probabilities of each one's tokens (nats), a prompt at a time.
    """
    import inspect

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
        logits = _logits(network, trie, torch.from_numpy(rows)).float()
        picked = logits[torch.from_numpy(row_of_term), torch.from_numpy(trie.term_target)]
        terms = picked - torch.logsumexp(logits, dim=-1)[torch.from_numpy(row_of_term)]
        yield len(trie.tokens), indices, tries.by_request(trie, terms.double().cpu().numpy(), range(len(indices)))


def by_context(requests: Sequence[Request]) -> dict[tuple[int, ...], list[int]]:
    """Indices of requests that have a context in common."""
    found: dict[tuple[int, ...], list[int]] = {}
    for i, request in enumerate(requests):
        found.setdefault(request.context, []).append(i)
    return found


def _logits(network: Any, trie: tries.Trie, rows: Any) -> Any:
    """Logits `[rows, vocabulary]` at some nodes of a one-row tree."""
    import torch

    device = network.get_input_embeddings().weight.device
    keep = torch.zeros(1, len(trie.tokens), dtype=torch.bool)
    keep[0, rows] = True
    with torch.inference_mode():
        logits = network(
            input_ids=torch.from_numpy(trie.tokens)[None].to(device),
            position_ids=torch.from_numpy(trie.depth)[None].to(device),
            attention_mask=_masks(network, trie, device),
            logits_to_keep=keep.to(device),
            use_cache=False,
        ).logits
    return logits.reshape(-1, logits.shape[-1]).cpu()


def _masks(network: Any, trie: tries.Trie, device: Any) -> Any:
    """The additive tree mask `[1, 1, nodes, nodes]`, or one per kind of layer where the network mixes them."""
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
