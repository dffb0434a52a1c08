"""Whole texts: their log-probability token by token, their hidden states, and sampled continuations re-scored."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench import progress
from workbench.errors import InputError
from workbench.extraction import engine
from workbench.extraction.ask import tokens_of
from workbench.extraction.backend import TokenBackend
from workbench.extraction.tokens import Encoder, Request, spans
from workbench.models import Model
from workbench.questions import Message, Option, Question

Prompt = str | tuple[Message, ...]


def score_texts(
    model: Model, texts: Iterable[str], *, stride: int | None = None, show_progress: bool = True
) -> pd.DataFrame:
    """The log-probability of whole texts.

    The first token is conditioned on BOS (EOS where a tokenizer has no BOS), so every token counts.

    Args:
        model: Whose numbers.
        texts: What to score; shared beginnings are computed once.
        stride: How a text beyond the model's context length L is read: in windows of L tokens that move on by so many,
            so that each token is scored once, after at least L - stride others. None for an error instead.
        show_progress: Whether a bar in tokens is shown when someone watches.

    Returns:
        One row per text: `text`, `logprob` (nats), `n_tokens`, and lists with an entry a token: `tokens` (the
        characters it covers), `token_logprobs` (nats), `start` and `end` (half-open, characters of the text). Tokens
        that share a character, such as the bytes of an emoji, each cover it; the distinct spans joined give the text.
        `start` and `end` are None where a Python tokenizer changes the text so that tokens cannot be placed.

    Raises:
        InputError: If there are no texts, one is empty or too long, or the network gives a number that is not finite.
    """
    backend, length = tokens_of(model, "Texts token by token"), model.context_length
    if stride is not None and not 1 <= stride <= length:
        raise InputError(f"stride={stride!r} has to be from 1 to {length}, the model's context length.")
    encoder = Encoder(model.tokenizer, length if stride is None else sys.maxsize)
    texts = _some(texts)
    if empty := [i for i, text in enumerate(texts) if not str(text).strip()]:
        raise InputError(f"Text {empty[0]} is empty; leave it out.")
    whole = [encoder.encode(Question("", (Option(text),)))[0] for text in texts]
    read = [request.context + request.continuation for request in whole]
    backend.check_vocabulary(read, [f"Text {text[:40]!r}" for text in texts])
    windows = [_windows(request, length, stride or length) for request in whole]
    found = iter(_terms(backend, [part for parts in windows for part in parts], "reading texts", show_progress))
    scores = [np.concatenate([next(found) for _ in parts]) for parts in windows]
    for text, part in zip(texts, scores):
        _check_finite(part, f"text {text[:40]!r}")
    placed = [spans(model.tokenizer, text, request.continuation) for text, request in zip(texts, whole)]
    return pd.DataFrame(
        {
            "text": texts,
            "logprob": [float(part.sum()) for part in scores],
            "n_tokens": [len(part) for part in scores],
            "tokens": [
                [text[start:end] for start, end in found]
                if found
                else [model.tokenizer.decode([i]) for i in request.continuation]
                for text, request, found in zip(texts, whole, placed)
            ],
            "token_logprobs": [part.tolist() for part in scores],
            "start": [None if found is None else [start for start, _ in found] for found in placed],
            "end": [None if found is None else [end for _, end in found] for found in placed],
        }
    )


def hidden_states(
    model: Model,
    texts: Iterable[str],
    *,
    layers: Sequence[int] = (-1,),
    pool: Literal["mean", "last", "none"] = "mean",
    batch_tokens: int = 2048,
    show_progress: bool = True,
) -> NDArray[np.float32] | list[NDArray[np.float32]]:
    """Hidden states of texts at chosen layers.

    Args:
        model: Whose states.
        texts: Encoded as plain text, BOS first where the tokenizer wants one.
        layers: 0 is the embedding, 1 the output of the first layer, -1 that of the last (after the final norm).
        pool: Mean over a text's tokens, its last token, or every token.
        batch_tokens: Most padded tokens in one forward.
        show_progress: Whether a bar is shown when someone watches.

    Returns:
        `[texts, layers, width]` float32; with `pool="none"` a list of `[tokens, layers, width]`.

    Raises:
        InputError: If there are no texts, one is empty or too long, a layer does not exist, a state is not finite,
            or the network is in training mode.
    """
    if pool not in ("mean", "last", "none"):
        raise InputError(f"pool={pool!r} is not known; use 'mean', 'last' or 'none'.")
    if isinstance(layers, int):
        raise InputError(f"layers={layers} has to be a list: [{layers}].")
    model.check_evaluating()
    depth = model.network.config.get_text_config().num_hidden_layers + 1
    if any(not -depth <= layer < depth for layer in layers):
        raise InputError(f"Layers {list(layers)} are not all there; {model.name!r} has 0 to {depth - 1}.")
    texts = _some(texts)
    encoded = Encoder(model.tokenizer, model.context_length).encode_texts(texts)
    for text, ids in zip(texts, encoded):
        if not 0 < len(ids) <= model.context_length:
            raise InputError(f"Text {text[:40]!r} has {len(ids)} tokens; the model takes 1 to {model.context_length}.")
    engine.Local(model).check_vocabulary(encoded, [f"Text {text[:40]!r}" for text in texts])
    states: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)
    with progress.bar(sum(map(len, encoded)), "reading hidden states", show_progress) as advance:
        while order:
            size = max(1, batch_tokens // len(encoded[order[0]]))
            batch, order = order[:size], order[size:]
            for i, state in zip(batch, _states(model.network, [encoded[i] for i in batch], layers, pool)):
                _check_finite(state, f"text {texts[i][:40]!r}")
                states[i] = state
            advance(sum(len(encoded[i]) for i in batch))
    return states if pool == "none" else np.stack(states)


def generate(
    model: Model,
    prompts: Iterable[Prompt],
    *,
    max_new_tokens: int = 64,
    samples: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch_size: int = 8,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Sampled continuations, each re-scored by a forward pass of its own.

    The log-probability is the model's own, before temperature and top-p: what was sampled from is not what is scored.
    Settings shipped with the model (a repetition penalty, suppressed tokens) are left aside, but for its end tokens.

    Args:
        model: Who speaks.
        prompts: Plain texts, or tuples of messages rendered by the model's chat template.
        max_new_tokens: Most tokens of a continuation.
        samples: Continuations per prompt.
        temperature: 0 for greedy decoding.
        top_p: Smallest set of tokens with this much probability is sampled from.
        seed: Of the sampling; each batch draws from a stream of its own, so results depend on `batch_size`.
        batch_size: Continuations in one forward.
        show_progress: Whether a bar is shown when someone watches.

    Returns:
        One row per continuation: `prompt` (index), `sample`, `text`, `n_tokens`, `logprob` (nats, of the emitted
        tokens, the end token included), `finished` (an end token was emitted).

    Raises:
        InputError: If there are no prompts, a setting is out of range, or the network gives a number that is not
            finite.
    """
    if temperature < 0 or not 0 < top_p <= 1 or min(samples, max_new_tokens, batch_size) < 1:
        raise InputError(
            "Sampling needs temperature >= 0, 0 < top_p <= 1, and samples, max_new_tokens and batch_size of at least 1."
        )
    if max_new_tokens >= model.context_length:
        raise InputError(
            f"max_new_tokens={max_new_tokens} leaves no room for a prompt; the model takes {model.context_length}."
        )
    model.check_evaluating()
    backend = tokens_of(model, "Generated text")
    encoder = Encoder(model.tokenizer, model.context_length - max_new_tokens)
    contexts = [encoder.context(prompt) for prompt in _some(prompts)]
    backend.check_vocabulary(contexts, [f"Prompt {i}" for i in range(len(contexts))])
    jobs = [(i, s) for i in range(len(contexts)) for s in range(samples)]
    settings = {"temperature": temperature, "top_p": top_p, "top_k": 0} if temperature else {}
    settings |= {"do_sample": bool(temperature), "max_new_tokens": max_new_tokens}
    emitted: list[list[int]] = []
    finished: list[bool] = []
    with progress.bar(len(jobs), "generating", show_progress, unit="texts") as advance:
        for start in range(0, len(jobs), batch_size):
            numbers = [i for i, _ in jobs[start : start + batch_size]]
            try:
                sampled = backend.sample([contexts[i] for i in numbers], settings, seed + start)
            except RuntimeError as error:
                if "probability tensor" in str(error):
                    _check_finite(np.nan, f"one of the prompts {numbers[0]} to {numbers[-1]}")
                raise
            emitted += [ids for ids, _ in sampled]
            finished += [ended for _, ended in sampled]
            advance(len(numbers))
    requests = [Request(contexts[i], tuple(ids)) for (i, _), ids in zip(jobs, emitted)]
    logprob = np.array([part.sum() for part in _terms(backend, requests, "scoring", show_progress)])
    for (i, _), value in zip(jobs, logprob):
        _check_finite(value, f"prompt {i}")
    return pd.DataFrame(
        {
            "prompt": [i for i, _ in jobs],
            "sample": [s for _, s in jobs],
            "text": [model.tokenizer.decode(ids, skip_special_tokens=True) for ids in emitted],
            "n_tokens": [len(ids) for ids in emitted],
            "logprob": logprob,
            "finished": finished,
        }
    )


def _windows(request: Request, length: int, stride: int) -> list[Request]:
    """Requests that score each token of a text once, each after as many of the ones before it as fit."""
    ids, start = request.context + request.continuation, len(request.context)
    made: list[Request] = []
    while start < len(ids):
        stop = min(len(ids), start + stride if made else length + 1)
        made.append(Request(ids[max(0, stop - 1 - length) : start], ids[start:stop]))
        start = stop
    return made


def _terms(backend: TokenBackend, requests: Sequence[Request], label: str, shown: bool) -> list[NDArray[np.float64]]:
    """Log-probabilities of each request's tokens, nats."""
    parts: list[NDArray[np.float64]] = [np.empty(0)] * len(requests)
    total, batches = backend.score(requests)
    with progress.bar(total, label, shown) as advance:
        for tokens, indices, terms in batches:
            for i, part in zip(indices, terms):
                parts[i] = part
            advance(tokens)
    return parts


def _check_finite(values: Any, of: str) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            f"The network gives numbers that are not finite on {of}; its weights or its dtype are at fault (try "
            "dtype='float32')."
        )


def _some(things: Iterable[Any]) -> list[Any]:
    """Texts as a list, also those of a table's column."""
    given = [] if isinstance(things, str) else list(things)
    if not given:
        raise InputError("Give a list of at least one text.")
    for thing in given:
        if not isinstance(thing, (str, tuple, list)):
            raise InputError(f"{thing!r} is no text.")
    return given


def _states(network: Any, batch: list[list[int]], layers: Sequence[int], pool: str) -> list[NDArray[np.float32]]:
    """Pooled states of some texts in one right-padded forward."""
    import torch

    device = network.get_input_embeddings().weight.device
    ids, mask = engine.padded(batch)
    with torch.inference_mode():
        outputs = network.base_model(
            input_ids=ids.to(device), attention_mask=mask.to(device), output_hidden_states=True, use_cache=False
        )
    chosen = torch.stack([outputs.hidden_states[layer].cpu() for layer in layers], dim=2).float()
    rows = [chosen[row, : len(text)] for row, text in enumerate(batch)]
    if pool == "mean":
        return [row.double().mean(dim=0).float().numpy() for row in rows]
    return [(row[-1] if pool == "last" else row).numpy() for row in rows]
