"""The plan of a run: all requests in one token trie, cut into packs and tiles. Integers only, no torch.

Sequences sorted by their tokens are the trie in depth-first order: each adds the nodes after the prefix it shares with
the previous one. Two facts keep the rest cheap. Node `j` is an ancestor of a later node `i` exactly if the minimum
depth of the nodes after `j` up to `i` exceeds the depth of `j`. And nodes after a cut in that order reach nodes before
it only through the path to the cut, so only this path has to be carried over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.extraction.tokens import Request

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
TILE = 64
"""Number of queries that share one gathered set of keys."""


@dataclass(frozen=True, slots=True)
class Trie:
    """All requests of a run, nodes in depth-first order."""

    tokens: Ints
    """Token id of each node `[nodes]`."""
    depth: Ints
    """Depth of each node `[nodes]`, equal to its position."""
    starts: Ints
    """First node of each unbranched segment `[segments]`, ascending."""
    term_node: Ints
    """Node whose logits a term needs `[terms]`; the terms of a request are contiguous."""
    term_target: Ints
    """Token id of each term `[terms]`."""
    term_request: Ints
    """Request of each term `[terms]`."""
    first_term: Ints
    """First term of each request `[requests]`."""
    last_term: Ints
    """One past the last term of each request `[requests]`."""

    @property
    def head_rows(self) -> int:
        """Number of nodes at which the language-model head runs."""
        return len(np.unique(self.term_node))


@dataclass(frozen=True, slots=True)
class Tile:
    """Up to `TILE` consecutive nodes, and the path above them."""

    start: int
    """First node, relative to its pack."""
    stop: int
    """One past the last node."""
    path: Ints
    """Key rows of the ancestors of the first node, by depth: rows of the carried path, then of the pack."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Consecutive nodes computed in one forward pass."""

    start: int
    """First node."""
    stop: int
    """One past the last node."""
    carried: Ints
    """Rows of the previous pack's keys (its own carried path, then its nodes) that this pack starts from."""
    tiles: tuple[Tile, ...]
    """The nodes of the pack."""


def build(requests: Sequence[Request]) -> Trie:
    """Return the trie of some requests; linear in their tokens, apart from one sort."""
    by_sequence: dict[bytes, list[int]] = {}
    for i, request in enumerate(requests):
        sequence = np.array(request.context + request.continuation[:-1], dtype=">u4")
        by_sequence.setdefault(sequence.tobytes(), []).append(i)
    ordered = sorted(by_sequence)
    arrays = [np.frombuffer(key, dtype=">u4").astype(np.int64) for key in ordered]
    path = np.zeros(max(map(len, arrays), default=0), dtype=np.int64)
    tokens: list[Ints] = []
    depths: list[Ints] = []
    starts: list[int] = []
    nodes: list[Ints] = []
    targets: list[Ints] = []
    owners: list[Ints] = []
    count = 0
    previous = np.zeros(0, dtype=np.int64)
    for key, sequence in zip(ordered, arrays):
        shared = _shared(previous, sequence)
        added = len(sequence) - shared
        if added:
            starts.append(count)
            tokens.append(sequence[shared:])
            depths.append(np.arange(shared, len(sequence)))
            path[shared : len(sequence)] = np.arange(count, count + added)
            count += added
        for i in by_sequence[key]:
            n = len(requests[i].continuation)
            nodes.append(path[len(sequence) - n : len(sequence)].copy())
            targets.append(np.array(requests[i].continuation))
            owners.append(np.full(n, i))
        previous = sequence
    term_request = _joined(owners)
    first_term = np.zeros(len(requests), dtype=np.int64)
    new = np.flatnonzero(np.diff(term_request, prepend=-1))
    first_term[term_request[new]] = new
    last_term = first_term + np.bincount(term_request, minlength=len(requests))
    where = (_joined(tokens), _joined(depths), np.array(starts))
    return Trie(*where, _joined(nodes), _joined(targets), term_request, first_term, last_term)


def by_request(trie: Trie, values: Floats, requests: Iterable[int]) -> list[Floats]:
    """Return the values of each request's terms, from the values of all terms `[terms]`."""
    return [values[trie.first_term[i] : trie.last_term[i]] for i in requests]


def packs(trie: Trie, budget: int) -> Iterator[Pack]:
    """Yield the trie as packs of at most `budget` nodes, each cut into tiles."""
    path = np.zeros(int(trie.depth.max(initial=-1)) + 1, dtype=np.int64)
    carried_nodes = np.zeros(0, dtype=np.int64)
    last: tuple[int, int] = (0, 0)
    bounds = np.append(trie.starts, len(trie.tokens))
    segment = 0
    for start in range(0, len(trie.tokens), budget):
        stop = min(start + budget, len(trie.tokens))
        tiles = []
        for first in range(start, stop, TILE):
            end = min(first + TILE, stop)
            while bounds[segment + 1] <= first:
                segment = _enter(path, trie, bounds, segment)
            _write(path, trie, bounds, segment, first)
            ancestors = path[: trie.depth[first]].copy()
            if first == start:
                carried_nodes, carried = ancestors, _rows_of(ancestors, *last)
            tiles.append(Tile(first - start, end - start, _rows_of(ancestors, len(carried_nodes), start)))
        yield Pack(start, stop, carried, tuple(tiles))
        last = (len(carried_nodes), start)


def ancestors(depth: Ints) -> tuple[Ints, Bools]:
    """Return which of some consecutive nodes attend to which.

    Args:
        depth: Depths of consecutive nodes in depth-first order `[..., nodes]`.

    Returns:
        For each node, how many nodes on the path to the first node are its ancestors `[..., nodes]`, and whether node
        `j` is node `i` or one of its ancestors `[..., i, j]`.
    """
    n = depth.shape[-1]
    later = np.tril(np.ones((n, n), dtype=bool), -1)  # [i, j]: i comes after j
    between = np.where(later, depth[..., :, None], np.iinfo(np.int64).max)
    least = np.minimum.accumulate(between, axis=-2)  # least depth from j+1 to i
    within = (least > depth[..., None, :]) & (later | np.eye(n, dtype=bool))
    return np.minimum.accumulate(depth, axis=-1), within


def _shared(a: Ints, b: Ints) -> int:
    """Length of the common prefix."""
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    return int(differs.argmax()) if differs.any() else n


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _enter(path: Ints, trie: Trie, bounds: Ints, segment: int) -> int:
    """Write a whole segment to the path and return the next one."""
    _write(path, trie, bounds, segment, int(bounds[segment + 1]))
    return segment + 1


def _write(path: Ints, trie: Trie, bounds: Ints, segment: int, until: int) -> None:
    """Write a segment's nodes before `until` to the path."""
    first = int(bounds[segment])
    top = int(trie.depth[first])
    path[top : top + until - first] = np.arange(first, until)


def _rows_of(ancestors: Ints, n_carried: int, pack_start: int) -> Ints:
    """Key rows of ancestor nodes by depth: a carried node at its depth, a node of the pack after all of those."""
    rows = np.arange(len(ancestors))
    inside = ancestors >= pack_start
    rows[inside] = ancestors[inside] - pack_start + n_carried
    return rows
