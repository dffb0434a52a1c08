"""Tokens, hidden states and gradients of responses: CHES (arXiv 2410.08847) and G-Vendi (arXiv 2505.20161)."""

from __future__ import annotations

import copy
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from workbench import progress
from workbench.errors import InputError
from workbench.extraction.ask import tokens_of
from workbench.extraction.tokens import Encoder, Request
from workbench.models import Model
from workbench.questions import Option, Question
from workbench.statistics.distances import Floats, entropy
from workbench.training.algorithms import MAX_LENGTH, Row
from workbench.training.rows import as_answer, as_prompt

SIDES = ("chosen", "rejected")
TOGETHER = 64
"""Pairs whose hidden states are in memory at the same time."""
DIMENSIONS, RANK = 256, 4
"""Of the projected gradients, and of the adapters whose gradients they are."""
States = NDArray[np.float32]


def response_tokens(model: Model, pairs: Sequence[Row], *, chat: bool | None = None, eos: bool = True) -> pd.DataFrame:
    """Return the log-probability of every token of every response.

    Args:
        model: Any local model.
        pairs: Rows with prompt, chosen and rejected, or with prompt and completion; `id` is optional.
        chat: See `as_prompt`.
        eos: Include the end token, as training does.

    Returns:
        One row per token: `pair_id`, `response` (chosen, rejected, completion), `position`, `token`, `logprob` (nats).
    """
    keys, requests = _requests(model, pairs, eos, chat)
    parts: dict[int, Floats] = {}
    _, batches = tokens_of(model, "Tokens of responses").score(requests)
    for _, indices, terms in batches:
        parts.update(zip(indices, terms))
    if not all(np.isfinite(terms).all() for terms in parts.values()):
        raise InputError(
            f"Training diverged: {model.name!r} returned a log-probability that is not finite. Lower the learning rate "
            "or the number of steps."
        )
    decode = model.tokenizer.decode
    rows = [
        (pair_id, side, position, decode([token]), logprob)
        for i, ((pair_id, side), request) in enumerate(zip(keys, requests))
        for position, (token, logprob) in enumerate(zip(request.continuation, parts[i]))
    ]
    return pd.DataFrame(rows, columns=["pair_id", "response", "position", "token", "logprob"])


def fitting_rows(model: Model, rows: Sequence[Row], most: int = MAX_LENGTH) -> list[Row]:
    """Return the rows that training reads whole, of at most `most` tokens; warns with the number of other rows."""
    limit = min(most, model.context_length)
    requests = [[_request(model, row, side, True) for side in _sides(i, row)] for i, row in enumerate(rows)]
    lengths = [max(len(one.context) + len(one.continuation) for one in each) for each in requests]
    fitting = [row for row, length in zip(rows, lengths) if length <= limit]
    if not fitting:
        raise InputError(f"None of {len(rows)} rows fits into {limit} tokens; give shorter ones.")
    if len(fitting) < len(rows):
        warnings.warn(f"{len(rows) - len(fitting)} of {len(rows)} rows are longer than {limit} tokens.", stacklevel=2)
    return fitting


def response_states(model: Model, pairs: Sequence[Row], *, eos: bool = True, batch: int = 8) -> list[dict[str, Any]]:
    """Return the last-layer states, after the final norm, that predict each token of both responses.

    Returns:
        Per pair `id`, and for chosen and rejected the states `[tokens, width]` float32 and the token ids
        (`chosen_ids`, `rejected_ids`). States are those of the last prompt token and of all response tokens but the
        last; padding is excluded.
    """
    keys, requests = _requests(model, pairs, eos)
    inputs = [(*request.context, *request.continuation[:-1]) for request in requests]
    order = sorted(set(inputs), key=lambda tokens: (-len(tokens), tokens))  # identical texts are read once
    states: dict[tuple[int, ...], States] = {}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        states.update(zip(part, _last_states(model.network, part)))
    by_pair: dict[str, dict[str, Any]] = {}
    for (pair_id, side), tokens, request in zip(keys, inputs, requests):
        predicting = states[tokens][len(request.context) - 1 :].copy()  # a view would keep the prompt's states too
        by_pair.setdefault(pair_id, {"id": pair_id}).update({side: predicting, f"{side}_ids": request.continuation})
    return list(by_pair.values())


def ches_scores(model: Model, pairs: Sequence[Row]) -> pd.DataFrame:
    """Return CHES of every pair under a model, and its baselines.

    Returns:
        pair_id, `ches`, `ln_ches`, `edit_similarity`, `last_hidden_product` (of the two last states), `n_chosen`,
        `n_rejected` (tokens), `identical`.
    """
    named = [{**row, "id": str(row.get("id", number))} for number, row in enumerate(pairs)]
    _check_unique([row["id"] for row in named])
    rows = []
    with progress.bar(len(named), "hidden states of pairs", True, unit="pairs") as advance:
        for start in range(0, len(named), TOGETHER):  # the states of a whole set would not fit in memory
            part = named[start : start + TOGETHER]
            for pair in response_states(model, part):
                h, g, a, b = (pair[name] for name in ("chosen", "rejected", "chosen_ids", "rejected_ids"))
                scores = {"ches": ches(h, g), "ln_ches": ches(h, g, length_normalise=True)}
                scores |= {
                    "edit_similarity": edit_similarity(a, b),
                    "last_hidden_product": float(h[-1].astype(float) @ g[-1]),
                }
                lengths = {"n_chosen": len(a), "n_rejected": len(b), "identical": a == b}
                rows.append({"pair_id": pair["id"], **scores, **lengths})
            advance(len(part))
    return pd.DataFrame(rows)


def ches(chosen: ArrayLike, rejected: ArrayLike, length_normalise: bool = False) -> float:
    """Return the centred hidden embedding similarity (CHES) of a pair; higher values predict more displacement.

    With a and b the sums of the last-layer states over each response: <a, b> - |a|^2, or, normalised by lengths,
    <a, b> / (|y+| |y-|) - |a|^2 / |y+|^2. Only the ranking of pairs is meaningful.

    Args:
        chosen: States that predict each token of the preferred response, `[tokens, width]`.
        rejected: States of the rejected response.
        length_normalise: Use the second form, which does not increase with the length of the rejected response.
    """
    h, g = np.asarray(chosen, np.float64), np.asarray(rejected, np.float64)
    for states in (h, g):
        if states.ndim != 2 or not len(states):
            raise InputError("A response is empty; CHES needs the states of at least one token, [tokens, width].")
    if h.shape[1] != g.shape[1] or not (np.isfinite(h).all() and np.isfinite(g).all()):
        raise InputError("CHES needs finite states of one width for both responses.")
    a, b = h.sum(axis=0), g.sum(axis=0)
    if length_normalise:
        a, b = a / len(h), b / len(g)
    return float(a @ b - a @ a)


def edit_similarity(chosen: Sequence[int], rejected: Sequence[int]) -> float:
    """Return minus the edit distance of token ids over the longer length, a baseline of CHES."""
    from rapidfuzz.distance import Levenshtein

    if not len(chosen) or not len(rejected):
        raise InputError("A response is empty; an edit distance needs at least one token each.")
    return -float(Levenshtein.normalized_distance(chosen, rejected))


def next_token(model: Model, prompt: str) -> Floats:
    """Return the log-probabilities of the vocabulary after a prompt, `[V]`, nats."""
    import torch

    context = Encoder(model.tokenizer, model.context_length).context(as_prompt(model, prompt))
    with torch.inference_mode():
        logits = model.network(input_ids=torch.tensor([context], device=model.network.device)).logits[0, -1]
    return np.asarray(torch.log_softmax(logits.cpu().double(), -1).numpy(), np.float64)


def gradients(model: Model, rows: Sequence[Row]) -> Floats:
    """Return the randomly projected loss gradients of new adapters, one per row, `[rows, 256]`, each of length 1.

    The gradient of a pair is that of chosen minus rejected.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    network = get_peft_model(copy.deepcopy(model.network), config)
    weights = [w for name, w in network.named_parameters() if "lora_B" in name and w.requires_grad]
    keys, requests = _requests(model, rows, True)
    projected: dict[str, Any] = {}
    for (pair_id, side), request in zip(keys, requests):
        ids = torch.tensor([[*request.context, *request.continuation]], device=model.network.device)
        labels = ids.clone()
        labels[0, : len(request.context)] = -100
        by_weight = torch.autograd.grad(network(input_ids=ids, labels=labels).loss, weights)
        flat = sum(_projection(gradient, i) for i, gradient in enumerate(by_weight))
        projected[pair_id] = projected.get(pair_id, 0) + (-flat if side == "rejected" else flat)
    return _directions(torch.stack(list(projected.values())).cpu().double().numpy(), list(projected))


def _projection(gradient: Any, index: int) -> Any:
    """Return a seeded count sketch of one weight's gradient (random sign and position), drawn anew to save memory."""
    import torch

    flat = gradient.reshape(-1).float().cpu()
    generator = torch.Generator().manual_seed(index)
    positions = torch.randint(0, DIMENSIONS, (len(flat),), generator=generator)
    signs = 2.0 * torch.randint(0, 2, (len(flat),), generator=generator) - 1
    return torch.zeros(DIMENSIONS).index_add_(0, positions, flat * signs)


def vendi(vectors: ArrayLike) -> float:
    """Return the effective number of distinct samples: exp of the entropy of the eigenvalues of G G^T / n, in [1, n].

    `vectors` `[n, k]` are normalised to length 1. Opposite directions count as one, because the kernel is effectively
    squared.
    """
    g = np.asarray(vectors, np.float64)
    if g.ndim != 2 or not len(g) or not np.isfinite(g).all():
        raise InputError("A Vendi score needs finite vectors of at least one sample, [n, k].")
    eigenvalues = np.clip(np.linalg.svd(_directions(g, range(len(g))), compute_uv=False) ** 2 / len(g), 0, None)
    return float(np.exp(entropy(np.where(eigenvalues > 1e-15, eigenvalues, 0.0))))


def _directions(vectors: Floats, names: Sequence[Any]) -> Floats:
    """Return the vectors scaled to length 1; a zero vector is an error that names its sample."""
    lengths = np.linalg.norm(vectors, axis=1)
    if (lengths == 0).any():
        name = names[int((lengths == 0).argmax())]
        raise InputError(f"Sample {name!r} has a gradient of zero, which has no direction; leave it out.")
    return np.asarray(vectors / lengths[:, None], np.float64)


def _requests(
    model: Model, rows: Sequence[Row], eos: bool, chat: bool | None = None
) -> tuple[list[tuple[str, str]], list[Request]]:
    """Return (pair id, side) and the request of every response."""
    keys, requests = [], []
    for number, row in enumerate(rows):
        for side in _sides(number, row):
            request = _request(model, row, side, eos, chat)
            if (length := len(request.context) + len(request.continuation)) > model.context_length:
                raise InputError(
                    f"Row {number} has {length} tokens with its {side} response, and the model takes "
                    f"{model.context_length}; leave it out, as `fitting_rows` does."
                )
            requests.append(request)
            keys.append((str(row.get("id", number)), side))
    _check_unique([pair_id for pair_id, side in keys if side != "rejected"])
    if merged := sum(request.boundary_merged for request in requests):
        warnings.warn(
            f"{merged} responses merge with the end of their prompt and were tokenised separately.", stacklevel=3
        )
    return keys, requests


def _sides(number: int, row: Row) -> list[str]:
    """Return the response columns of a row: both of a pair, or the completion."""
    sides = [side for side in (*SIDES, "completion") if side in row]
    if "prompt" not in row or sides not in (list(SIDES), ["completion"]):
        raise InputError(f"Row {number} needs 'prompt' and 'chosen' with 'rejected', or 'completion'.")
    for side in sides:
        if not str(row[side]).strip():
            raise InputError(f"The {side} response of row {number} is empty; leave the pair out.")
    return sides


def _request(model: Model, row: Row, side: str, eos: bool, chat: bool | None = None) -> Request:
    """Return the request of one response, of any length."""
    question = Question(as_prompt(model, row["prompt"], chat), (Option(as_answer(model, row[side], chat)),))
    request = Encoder(model.tokenizer, sys.maxsize).encode(question)[0]
    end = (model.tokenizer.eos_token_id,) if eos and model.tokenizer.eos_token_id is not None else ()
    return replace(request, continuation=request.continuation + end)


def _check_unique(ids: Sequence[str]) -> None:
    if duplicates := [pair_id for pair_id, count in Counter(ids).items() if count > 1]:
        raise InputError(f"The pair id {duplicates[0]!r} is not unique; give every pair its own id, or none.")


def _last_states(network: Any, sequences: Sequence[Sequence[int]]) -> Iterator[States]:
    """Yield the last states `[tokens, width]` of each sequence, read in one batch padded on the right."""
    import torch

    ids, mask = torch.zeros(2, len(sequences), max(map(len, sequences)), dtype=torch.long, device=network.device)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    with torch.inference_mode():
        last = network.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    for row, sequence in enumerate(sequences):
        yield last[row, : len(sequence)].float().cpu().numpy()
