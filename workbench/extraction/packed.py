"""The packed forward pass: a trie computed pack by pack on an unmodified transformers network.

Each pack is one unpadded row for the linear layers. Attention goes through transformers' registry to `_attend`, in
which every node attends to its path: keys carried from earlier packs and keys of this one, gathered tile by tile. The
language-model head runs only at nodes whose logits are needed, in chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from workbench.extraction.tokens import Unsupported
from workbench.extraction.trie import TILE, Pack, Tile, Trie, ancestors, packs
from workbench.models.state import computing

NAME = "workbench_trie"
HEAD_ROWS = 256
"""Rows of logits computed at once."""
GATHER_BYTES = 64 << 20
"""Maximum memory for the gathered keys of one group of tiles."""
LONG = 256
"""Path length from which an unbranched segment reads its keys in place."""


@dataclass
class _Group:
    """Tiles whose gathered keys have the same padded length."""

    queries: Any
    """Query rows `[tiles * TILE]`, padded by repetition."""
    keys: Any
    """Key rows `[tiles * length]`, or a slice if they are contiguous."""
    mask: Any
    """Attention mask `[tiles, 1, TILE, length]`."""
    distance: Any
    """Query position minus key position, for windows, in the same shape."""
    out: Any
    """Output row of each padded query `[tiles * TILE]`: a row of the pack, or one extra row for padding."""


@dataclass
class _State:
    """What the attention function needs to know of the current pack."""

    groups: dict[Any, list[_Group]] = field(default_factory=dict)
    """Groups of tiles by device; created on the first, copied to another when a layer is there."""
    carried: Any = None
    """Rows of the last pack's keys that this pack starts from."""
    keys: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """Keys and values of the last pack by layer, `[rows, heads, width]`."""
    masks: dict[tuple[Any, int, int], Any] = field(default_factory=dict)
    """Masks by (device, group, window), computed once per pack."""

    def groups_on(self, device: Any) -> list[_Group]:
        """Return the groups of tiles on a device."""
        if device not in self.groups:
            first = next(iter(self.groups.values()))
            self.groups[device] = [
                replace(group, **{name: part.to(device) for name, part in vars(group).items() if hasattr(part, "to")})
                for group in first
            ]
        return self.groups[device]


_active: _State | None = None


def score(network: Any, trie: Trie, budget: int) -> Iterator[tuple[int, np.ndarray]]:
    """Compute the log-probabilities of all terms of a trie.

    Args:
        network: A transformers causal model whose attention goes through the attention registry.
        trie: The requests.
        budget: Maximum number of nodes per forward pass.

    Yields:
        Nodes computed, and `[terms, 2]`: term indices and their log-probabilities (nats), one pack at a time.

    Raises:
        Unsupported: A layer needs attention that is not implemented here.
    """
    import torch

    by_node = np.argsort(trie.term_node, kind="stable")
    sorted_nodes = trie.term_node[by_node]
    state = _State()
    device = network.get_input_embeddings().weight.device
    for pack in packs(trie, budget):
        low, high = np.searchsorted(sorted_nodes, [pack.start, pack.stop])
        terms = by_node[low:high]
        state.carried = torch.from_numpy(pack.carried).to(device)
        state.groups = {device: list(_groups(trie, pack, device, _row_bytes(network)))}
        state.masks = {}
        rows, row_of_term = np.unique(sorted_nodes[low:high] - pack.start, return_inverse=True)
        with torch.inference_mode():
            with _registered(network, state):
                hidden = _hidden(network, trie, pack, device)
            hidden = hidden[torch.from_numpy(rows).to(hidden.device)]
            values = _term_values(network, hidden, row_of_term, trie.term_target[terms])
        yield pack.stop - pack.start, np.column_stack([terms, values])


def _hidden(network: Any, trie: Trie, pack: Pack, device: Any) -> Any:
    """The last hidden states `[nodes, width]` of a pack."""
    import torch

    ids = torch.from_numpy(trie.tokens[pack.start : pack.stop]).to(device)[None]
    positions = torch.from_numpy(trie.depth[pack.start : pack.stop]).to(device)[None]
    return network.base_model(input_ids=ids, position_ids=positions, use_cache=False).last_hidden_state[0]


def _term_values(network: Any, hidden: Any, row_of_term: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The log-probabilities `[terms]` of target tokens at rows of hidden states, with the head run in chunks."""
    import torch

    values = np.empty(len(targets))
    order = np.argsort(row_of_term, kind="stable")
    edges = np.searchsorted(row_of_term[order], range(0, len(hidden) + HEAD_ROWS, HEAD_ROWS))
    for chunk, (low, high) in enumerate(pairwise(edges)):
        first = chunk * HEAD_ROWS
        logits = head(network, hidden[first : first + HEAD_ROWS])
        at = order[low:high]
        row = torch.from_numpy(row_of_term[at] - first).to(logits.device)
        picked = logits[row, torch.from_numpy(targets[at]).to(logits.device)]
        terms = picked - torch.logsumexp(logits, dim=-1)[row]
        values[at] = terms.cpu().double().numpy()
    return values


def head(network: Any, hidden: Any) -> Any:
    """Return float32 logits `[rows, vocabulary]`, with the scaling and soft-capping of the configuration."""
    import torch

    config = network.config.get_text_config()
    projection = network.get_output_embeddings()
    logits = projection(hidden.to(projection.weight.device)).float()
    if (scale := getattr(config, "logit_scale", None)) is not None:
        logits = logits * scale
    if (divisor := getattr(config, "logits_scaling", None)) is not None:
        logits = logits / divisor
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        logits = torch.tanh(logits / cap) * cap
    return logits


@contextmanager
def _registered(network: Any, state: _State) -> Iterator[None]:
    """Route the network's attention to `_attend` during one forward pass."""
    global _active
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    with computing:  # the attention function has one state for all threads
        ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
        before = network.config._attn_implementation
        network.set_attn_implementation(NAME)
        if network.config._attn_implementation != NAME:
            raise Unsupported("its attention does not go through transformers' registry")
        _active = state
        try:
            yield
        finally:
            _active = None
            network.set_attn_implementation(before)


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Any, None]:
    """Attention of one layer over the current pack, with the signature of transformers' registry.

    Args:
        module: The attention layer; its `layer_idx` is the key of its keys and values.
        query: `[1, heads, nodes, width]`.
        key: `[1, key heads, nodes, width]`, positions applied.
        value: `[1, key heads, nodes, width]`.
        attention_mask: Must be None; masks made by a layer are refused.
        scaling: Factor on the scores.
        sliding_window: Number of positions a query sees, itself included; None for all.
        **options: Further arguments of the layer.
    """
    import torch

    if any(options.get(name) is not None for name in ("softcap", "s_aux", "position_bias", "head_mask", "alibi")):
        raise Unsupported("its attention has soft-capping, sinks or a position bias")
    if sliding_window is None and _is_windowed(module):
        raise Unsupported("its attention has a window or chunks that only its mask describes")
    if attention_mask is not None:
        raise Unsupported("its layers make masks of their own")
    if _active is None or query.shape[0] != 1 or not getattr(module, "is_causal", True):
        raise Unsupported("its attention is not causal self-attention over one row")
    state = _active
    keys, values = key[0].transpose(0, 1), value[0].transpose(0, 1)
    if len(state.carried):
        old_keys, old_values = state.keys[module.layer_idx]
        carried = state.carried.to(old_keys.device)
        keys = torch.cat([old_keys[carried], keys])
        values = torch.cat([old_values[carried], values])
    state.keys[module.layer_idx] = (keys, values)
    queries = query[0].transpose(0, 1)
    n, heads, _ = queries.shape
    out = queries.new_empty(n + 1, heads, values.shape[-1])
    for i, group in enumerate(state.groups_on(queries.device)):
        mask = _mask(state, queries.device, i, heads // keys.shape[1], sliding_window)
        out[group.out] = _attend_group(queries, keys, values, group, mask, scaling)
    return out[None, :n], None


def _is_windowed(module: Any) -> bool:
    """Whether the configuration gives this layer a window or chunks."""
    config = module.config
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return kinds[module.layer_idx] not in ("full_attention", "attention")
    return bool(getattr(config, "sliding_window", None)) and getattr(config, "use_sliding_window", True)


def _mask(state: _State, device: Any, i: int, shared: int, window: int | None) -> Any:
    """The mask of a group, repeated for query heads that share a key head; computed once per pack and window."""
    key = (device, i, window or 0)
    if key not in state.masks:
        group = state.groups_on(device)[i]
        mask = group.mask if window is None else group.mask & (group.distance < window)
        state.masks[key] = mask.repeat(1, 1, shared, 1)
    return state.masks[key]


def _attend_group(queries: Any, keys: Any, values: Any, group: _Group, mask: Any, scaling: float | None) -> Any:
    """Attention of a group of tiles; query heads that share a key head are folded into the query rows."""
    from torch.nn.functional import scaled_dot_product_attention

    tiles, _, _, length = group.mask.shape
    key_heads = keys.shape[1]
    shared = queries.shape[1] // key_heads
    q = queries[group.queries].view(tiles, TILE, key_heads, shared, -1)
    q = q.permute(0, 2, 3, 1, 4).reshape(tiles, key_heads, shared * TILE, -1)
    k = keys[group.keys].view(tiles, length, key_heads, -1).transpose(1, 2)
    v = values[group.keys].view(tiles, length, key_heads, -1).transpose(1, 2)
    o = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    o = o.view(tiles, key_heads, shared, TILE, -1).permute(0, 3, 1, 2, 4)
    return o.reshape(tiles * TILE, key_heads * shared, -1)


def _groups(trie: Trie, pack: Pack, device: Any, row_bytes: int) -> Iterator[_Group]:
    """The tiles of a pack, grouped by padded path length."""
    by_length: dict[int, list[Tile]] = {}
    for tile in pack.tiles:
        if _is_contiguous(tile, len(pack.carried)):
            yield replace(_group(trie, pack, [tile], len(tile.path), device), keys=slice(len(tile.path) + TILE))
        else:
            by_length.setdefault(_padded(len(tile.path)), []).append(tile)
    for length, tiles in by_length.items():
        most = max(1, GATHER_BYTES // ((length + TILE) * row_bytes))
        for start in range(0, len(tiles), most):
            yield _group(trie, pack, tiles[start : start + most], length, device)


def _is_contiguous(tile: Tile, n_carried: int) -> bool:
    """Whether the keys of a full tile are the first rows in order, as in a long unbranched segment."""
    n = len(tile.path)
    return n >= LONG and tile.stop - tile.start == TILE and n == n_carried + tile.start and tile.path[-1] == n - 1


def _padded(length: int) -> int:
    """A path length rounded up to a multiple of 32 or, above 256, of an eighth of its power of two."""
    step = max(32, 1 << max(0, (length - 1).bit_length() - 3))
    return -(-length // step) * step


def _group(trie: Trie, pack: Pack, tiles: list[Tile], length: int, device: Any) -> _Group:
    """Index and mask tensors of some tiles; padded keys are masked, padded queries attend to themselves."""
    import torch

    n_nodes, n_carried = pack.stop - pack.start, len(pack.carried)
    starts = np.array([tile.start for tile in tiles])[:, None]
    stops = np.array([tile.stop for tile in tiles])[:, None]
    nodes = np.minimum(starts + np.arange(TILE), stops - 1)
    depth = trie.depth[pack.start + nodes]
    on_path, within = ancestors(depth)
    padding = starts + np.arange(TILE) >= stops
    within[padding] = np.eye(TILE, dtype=bool)[np.nonzero(padding)[1]]
    paths = np.zeros((len(tiles), length), dtype=np.int64)
    for row, tile in zip(paths, tiles):
        row[: len(tile.path)] = tile.path
    mask = np.concatenate([np.arange(length) < on_path[:, :, None], within], axis=2)
    mask[padding, :length] = False
    positions = np.concatenate([np.broadcast_to(np.arange(length), (len(tiles), length)), depth], axis=1)
    put = torch.from_numpy
    return _Group(
        queries=put(nodes.ravel()).to(device),
        keys=put(np.concatenate([paths, n_carried + nodes], axis=1).ravel()).to(device),
        mask=put(mask[:, None]).to(device),
        distance=put(depth[:, None, :, None] - positions[:, None, None, :]).to(device),
        out=put(np.where(padding, n_nodes, nodes).ravel()).to(device),
    )


def bytes_per_token(network: Any) -> float:
    """Return about how much memory a token takes: keys and values of two packs in all layers, activations of one."""
    config = network.config.get_text_config()
    width = getattr(config, "hidden_size", None) or network.get_input_embeddings().weight.shape[1]
    inner = getattr(config, "intermediate_size", None) or 4 * width
    layers = getattr(config, "num_hidden_layers", None) or 1
    inner = max(inner) if isinstance(inner, (list, tuple)) else inner
    return float(network.dtype.itemsize * (4 * layers * width + 8 * width + 3 * inner))


def _row_bytes(network: Any) -> int:
    """Maximum bytes of one position's keys and values in one layer."""
    config = network.config.get_text_config()
    layers = config.per_layer_config if getattr(config, "is_heterogeneous", False) else [config]
    return int(max(map(_row_width, layers)) * network.dtype.itemsize)


def _row_width(config: Any) -> int:
    """Count of numbers in one position's keys and values."""
    queries = getattr(config, "num_attention_heads", None)
    if not isinstance(queries, int):
        raise Unsupported("its configuration names no attention heads")
    heads = getattr(config, "num_key_value_heads", None) or queries
    width = getattr(config, "head_dim", None) or config.hidden_size // queries
    return int(2 * heads * width)
