"""Tokens, hidden states and gradients of responses along training, and CHES of their pairs (arXiv 2410.08847)."""

from __future__ import annotations

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
from workbench.training.algorithms import MAX_LENGTH, Row
from workbench.training.exchanges import as_answer, as_prompt

SIDES = ("chosen", "rejected")
TOGETHER = 64
"""Pairs whose states are held at once."""
States = NDArray[np.float32]


def response_tokens(model: Model, pairs: Sequence[Row], *, chat: bool | None = None, eos: bool = True) -> pd.DataFrame:
    """The log-probability of every token of preferred and other responses.

    Args:
        model: Whose numbers.
        pairs: Rows with prompt, chosen, rejected (or completion), and perhaps an `id`.
        chat: Through the chat template; by default where there is one.
        eos: Score the end token too, as training does.

    Returns:
        One row per token: `pair_id`, `response` (chosen, rejected, completion), `position`, `token`, `logprob` (nats).
    """
    keys, requests = _requests(model, pairs, chat, eos)
    parts: dict[int, NDArray[np.float64]] = {}
    _, batches = tokens_of(model, "Tokens of responses").score(requests)
    for _, indices, terms in batches:
        parts.update(zip(indices, terms))
    if not all(np.isfinite(terms).all() for terms in parts.values()):
        raise InputError(f"{model.name!r} gives a log-probability that is not finite; train it more gently.")
    rows = []
    for i, ((pair_id, side), request) in enumerate(zip(keys, requests)):
        for position, (token, value) in enumerate(zip(request.continuation, parts[i])):
            text = model.tokenizer.decode([token])
            rows.append({"pair_id": pair_id, "response": side, "position": position, "token": text, "logprob": value})
    return pd.DataFrame(rows)


def fitting_rows(model: Model, rows: Sequence[Row], most: int = MAX_LENGTH) -> list[Row]:
    """Rows whose every response, with its prompt, has at most so many tokens, so that training reads the whole of it.

    How many others there are is said in a warning.

    Raises:
        InputError: No row is left.
    """
    limit = min(most, model.context_length)
    requests = [[_request(model, row, side, None, True) for side in _sides(i, row)] for i, row in enumerate(rows)]
    lengths = [max(len(one.context) + len(one.continuation) for one in each) for each in requests]
    kept = [row for row, length in zip(rows, lengths) if length <= limit]
    if not kept:
        raise InputError(f"None of {len(rows)} rows fits into {limit} tokens; give shorter ones.")
    if len(kept) < len(rows):
        warnings.warn(f"{len(rows) - len(kept)} of {len(rows)} rows are longer than {limit} tokens.", stacklevel=2)
    return kept


def response_states(
    model: Model, pairs: Sequence[Row], *, chat: bool | None = None, eos: bool = True, batch: int = 8
) -> list[dict[str, Any]]:
    """Last-layer states that predict each token of both responses, after the final norm.

    Returns:
        Per pair `id`, and for chosen and rejected the states `[tokens, width]` float32 and the token ids
        (`chosen_ids`, `rejected_ids`). The states are those at the last prompt token and at all response tokens but the
        last; padding never enters.
    """
    keys, requests = _requests(model, pairs, chat, eos)
    fed = [(*request.context, *request.continuation[:-1]) for request in requests]
    order = sorted(set(fed), key=lambda tokens: (-len(tokens), tokens))  # a text that stands twice is read once
    states: dict[tuple[int, ...], States] = {}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        states.update(zip(part, _last_states(model.network, part)))
    found: dict[str, dict[str, Any]] = {}
    for (pair_id, side), tokens, request in zip(keys, fed, requests):
        predicting = states[tokens][len(request.context) - 1 :].copy()  # a view would keep the prompt's states too
        found.setdefault(pair_id, {"id": pair_id}).update({side: predicting, f"{side}_ids": request.continuation})
    return list(found.values())


def ches_scores(
    model: Model, pairs: Sequence[Row], *, chat: bool | None = None, eos: bool = True, show_progress: bool = True
) -> pd.DataFrame:
    """CHES of every pair under a model, and the baselines it is compared with.

    Returns:
        pair_id, `ches`, `ln_ches`, `edit_similarity`, `last_hidden_product`, `n_chosen`, `n_rejected`, `identical`.
    """
    named = [{**row, "id": str(row.get("id", number))} for number, row in enumerate(pairs)]
    _check_ids([row["id"] for row in named])
    rows = []
    with progress.bar(len(named), "hidden states of pairs", show_progress, unit="pairs") as advance:
        for start in range(0, len(named), TOGETHER):  # the states of a whole set would not fit in memory
            part = named[start : start + TOGETHER]
            for pair in response_states(model, part, chat=chat, eos=eos):
                h, g, a, b = (pair[name] for name in ("chosen", "rejected", "chosen_ids", "rejected_ids"))
                scores = {"ches": ches(h, g), "ln_ches": ches(h, g, length_normalise=True)}
                scores |= {"edit_similarity": edit_similarity(a, b), "last_hidden_product": last_hidden_product(h, g)}
                lengths = {"n_chosen": len(a), "n_rejected": len(b), "identical": a == b}
                rows.append({"pair_id": pair["id"], **scores, **lengths})
            advance(len(part))
    return pd.DataFrame(rows)


def ches(chosen: ArrayLike, rejected: ArrayLike, length_normalise: bool = False) -> float:
    """Centred hidden embedding similarity of a pair (CHES); higher means more alike, so more displacement.

    With a and b the sums of the last layer's states over the response: <a, b> - |a|^2; normalised by lengths
    <a, b> / (|y+| |y-|) - |a|^2 / |y+|^2. Only the ranking of pairs means something.

    Args:
        chosen: States that predict each token of the preferred response, `[tokens, width]`.
        rejected: The same for the other.
        length_normalise: The second form, which does not favour long rejected responses.

    Raises:
        InputError: A response has no token, widths differ, or a number is not finite.
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


def last_hidden_product(chosen: ArrayLike, rejected: ArrayLike) -> float:
    """A baseline of CHES: the inner product of the two last states."""
    return float(np.asarray(chosen, np.float64)[-1] @ np.asarray(rejected, np.float64)[-1])


def edit_similarity(chosen: Sequence[int], rejected: Sequence[int]) -> float:
    """A baseline of CHES: minus the edit distance of token ids over the longer length."""
    from rapidfuzz.distance import Levenshtein

    if not len(chosen) or not len(rejected):
        raise InputError("A response is empty; an edit distance needs at least one token each.")
    return -float(Levenshtein.normalized_distance(chosen, rejected))


def next_token(model: Model, prompt: str, *, chat: bool | None = None) -> NDArray[np.float64]:
    """Log-probabilities of the vocabulary after a prompt, `[V]`, nats."""
    import torch

    asked = Encoder(model.tokenizer, model.context_length).context(as_prompt(model, prompt, chat))
    ids = torch.tensor([asked], device=model.network.device)
    with torch.inference_mode():
        logits = model.network(input_ids=ids).logits[0, -1]
    return np.asarray(torch.log_softmax(logits.double(), -1).cpu().numpy(), np.float64)


def gradients(
    model: Model, rows: Sequence[Row], *, dim: int = 256, rank: int = 4, seed: int = 0, chat: bool | None = None
) -> NDArray[np.float64]:
    """Loss gradients of adapters per sample, projected at random: what G-Vendi compares (arXiv 2505.20161).

    Args:
        model: A small proxy.
        rows: Rows with prompt and completion, or with prompt, chosen and rejected (gradient of the margin).
        dim: Numbers kept per sample.
        rank: Of the adapters.
        seed: Of adapters and projection.
        chat: Through the chat template; by default where there is one.

    Returns:
        `[rows, dim]`, rows of length 1.
    """
    import copy

    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    network = get_peft_model(copy.deepcopy(model.network), config)
    weights = [w for name, w in network.named_parameters() if "lora_B" in name and w.requires_grad]
    keys, requests = _requests(model, rows, chat, True)
    projected: dict[str, Any] = {}
    for (pair_id, side), request in zip(keys, requests):
        ids = torch.tensor([[*request.context, *request.continuation]], device=model.network.device)
        labels = ids.clone()
        labels[0, : len(request.context)] = -100
        loss = network(input_ids=ids, labels=labels).loss
        found = torch.autograd.grad(loss, weights)
        flat = sum(_projection(g, i, dim, seed) for i, g in enumerate(found))
        projected[pair_id] = projected.get(pair_id, 0) + (-flat if side == "rejected" else flat)
    g = torch.stack(list(projected.values())).double().cpu().numpy()
    lengths = np.linalg.norm(g, axis=1)
    if (lengths == 0).any():
        raise InputError(
            f"Sample {list(projected)[int((lengths == 0).argmax())]!r} has a gradient of zero; leave it out."
        )
    return np.asarray(g / lengths[:, None], np.float64)


def _projection(gradient: Any, index: int, dim: int, seed: int) -> Any:
    """A seeded count sketch of one weight's gradient (random sign, random place), made anew so that none is kept."""
    import torch

    flat = gradient.reshape(-1).float().cpu()
    maker = torch.Generator().manual_seed(seed * 1_000_003 + index)
    signs = torch.randint(0, dim, (len(flat),), generator=maker), torch.randint(0, 2, (len(flat),), generator=maker)
    return torch.zeros(dim).index_add_(0, signs[0], flat * (2.0 * signs[1] - 1))


def _requests(
    model: Model, rows: Sequence[Row], chat: bool | None, eos: bool
) -> tuple[list[tuple[str, str]], list[Request]]:
    """(pair id, side) and the request of every response, its end token appended."""
    keys, requests = [], []
    merged = 0
    for number, row in enumerate(rows):
        for side in _sides(number, row):
            request = _request(model, row, side, chat, eos)
            if (length := len(request.context) + len(request.continuation)) > model.context_length:
                raise InputError(
                    f"Row {number} has {length} tokens with its {side} response and the model takes "
                    f"{model.context_length}; leave it out, as `fitting_rows` does."
                )
            merged += request.boundary_merged
            requests.append(request)
            keys.append((str(row.get("id", number)), side))
    _check_ids([pair_id for pair_id, side in keys if side != "rejected"])
    if merged:
        warnings.warn(f"{merged} responses merge with the end of their prompt and were encoded apart.", stacklevel=3)
    return keys, requests


def _sides(number: int, row: Row) -> list[str]:
    """The responses of a row: both of a pair, or one completion."""
    sides = [side for side in (*SIDES, "completion") if side in row]
    if "prompt" not in row or sides not in (list(SIDES), ["completion"]):
        raise InputError(f"Row {number} needs 'prompt' and 'chosen' with 'rejected', or 'completion'.")
    for side in sides:
        if not str(row[side]).strip():
            raise InputError(f"The {side} response of row {number} is empty; leave the pair out.")
    return sides


def _request(model: Model, row: Row, side: str, chat: bool | None, eos: bool) -> Request:
    """The request of one response, of whatever length."""
    question = Question(as_prompt(model, row["prompt"], chat), (Option(as_answer(model, row[side], chat)),))
    request = Encoder(model.tokenizer, sys.maxsize).encode(question)[0]
    end = (model.tokenizer.eos_token_id,) if eos and model.tokenizer.eos_token_id is not None else ()
    return replace(request, continuation=request.continuation + end)


def _check_ids(ids: Sequence[str]) -> None:
    if twice := [pair_id for pair_id, count in Counter(ids).items() if count > 1]:
        raise InputError(f"Pair {twice[0]!r} stands twice; give every pair an id of its own, or none at all.")


def _last_states(network: Any, sequences: Sequence[Sequence[int]]) -> Iterator[States]:
    """Last states `[tokens, width]` of each sequence, padded on the right to be read together."""
    import torch

    ids, mask = torch.zeros(2, len(sequences), max(map(len, sequences)), dtype=torch.long, device=network.device)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
    with torch.inference_mode():
        last = network.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    for row, sequence in enumerate(sequences):
        yield last[row, : len(sequence)].float().cpu().numpy()
