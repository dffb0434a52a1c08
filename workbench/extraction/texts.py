"""Whole texts: log-probability token by token, hidden states, and sampled continuations."""

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
    """Return the log-probability of whole texts, in total and token by token.

    The first token is conditioned on BOS (EOS if the tokenizer has no BOS), so every token is scored.

    Args:
        model: A local model, or one behind a vLLM server.
        texts: Texts to score; shared prefixes are computed once.
        stride: For texts longer than the context length L: windows of L tokens advance by `stride`, so each token is
            scored once, after at least L - stride others. None raises an error instead.
        show_progress: Whether to show a progress bar in interactive sessions.

    Returns:
        One row per text: `text`, `logprob` (nats), `n_tokens`, and lists with one entry per token: `tokens` (the
        characters it covers), `token_logprobs` (nats), `start` and `end` (half-open, in characters). Tokens that share
        a character, such as the bytes of an emoji, each cover all of it; the distinct spans joined give the text.
        `start` and `end` are None if a Python tokenizer changes the text so that tokens cannot be located.

    Raises:
        InputError: There are no texts, one is empty or too long, or the network returns a number that is not finite.
    """
    backend, length = tokens_of(model, "Texts token by token"), model.context_length
    if stride is not None and not 1 <= stride <= length:
        raise InputError(f"stride must be from 1 to {length}, the model's context length, not {stride!r}.")
    encoder = Encoder(model.tokenizer, length if stride is None else sys.maxsize)
    texts = _checked(texts)
    if empty := [i for i, text in enumerate(texts) if not str(text).strip()]:
        raise InputError(f"Text {empty[0]} is empty; leave it out.")
    requests = [encoder.encode(Question("", (Option(text),)))[0] for text in texts]
    names = [f"Text {text[:40]!r}" for text in texts]
    backend.check_vocabulary([request.context + request.continuation for request in requests], names)
    windows = [_windows(request, length, stride or length) for request in requests]
    terms = iter(_terms(backend, [part for parts in windows for part in parts], "reading texts", show_progress))
    scores = [np.concatenate([next(terms) for _ in parts]) for parts in windows]
    for name, part in zip(names, scores):
        _check_finite(part, name)
    places = [spans(model.tokenizer, text, request.continuation) for text, request in zip(texts, requests)]
    return pd.DataFrame(
        {
            "text": texts,
            "logprob": [float(part.sum()) for part in scores],
            "n_tokens": [len(part) for part in scores],
            "tokens": [
                [text[start:end] for start, end in place]
                if place
                else [model.tokenizer.decode([i]) for i in request.continuation]
                for text, request, place in zip(texts, requests, places)
            ],
            "token_logprobs": [part.tolist() for part in scores],
            "start": [None if place is None else [start for start, _ in place] for place in places],
            "end": [None if place is None else [end for _, end in place] for place in places],
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
    """Return hidden states of texts at some layers.

    Args:
        model: A local model.
        texts: Plain texts, encoded with BOS if the tokenizer adds it.
        layers: 0 is the embedding, 1 the output of the first layer, -1 that of the last (after the final norm).
        pool: Mean over the tokens of a text, its last token, or every token.
        batch_tokens: Maximum number of padded tokens per forward pass.
        show_progress: Whether to show a progress bar in interactive sessions.

    Returns:
        `[texts, layers, width]` float32; with `pool="none"` a list of `[tokens, layers, width]`.

    Raises:
        InputError: There are no texts, one is empty or too long, a layer does not exist, a state is not finite, or the
            network is in training mode.
    """
    if pool not in ("mean", "last", "none"):
        raise InputError(f"pool must be 'mean', 'last' or 'none', not {pool!r}.")
    if isinstance(layers, int):
        raise InputError(f"layers must be a list of layer indices, e.g. layers=[{layers}], not {layers}.")
    model.check_evaluating()
    depth = model.network.config.get_text_config().num_hidden_layers + 1
    if any(not -depth <= layer < depth for layer in layers):
        raise InputError(f"layers={list(layers)} has an unknown index; {model.name!r} has layers 0 to {depth - 1}.")
    texts = _checked(texts)
    names = [f"Text {text[:40]!r}" for text in texts]
    encoded = Encoder(model.tokenizer, model.context_length).encode_texts(texts)
    for name, ids in zip(names, encoded):
        if not 0 < len(ids) <= model.context_length:
            raise InputError(f"{name} has {len(ids)} tokens; the model takes 1 to {model.context_length}.")
    engine.Local(model).check_vocabulary(encoded, names)
    states: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)
    with progress.bar(sum(map(len, encoded)), "reading hidden states", show_progress) as advance:
        while order:
            size = max(1, batch_tokens // len(encoded[order[0]]))
            batch, order = order[:size], order[size:]
            for i, state in zip(batch, _states(model.network, [encoded[i] for i in batch], layers, pool)):
                _check_finite(state, names[i])
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
    """Return sampled continuations, each re-scored by a separate forward pass.

    The log-probability is the model's own, before temperature and top-p. Generation settings shipped with the model
    (repetition penalty, suppressed tokens) are ignored, except for its end tokens.

    Args:
        model: A local model, or one behind a vLLM server.
        prompts: Plain texts, or tuples of messages rendered by the model's chat template.
        max_new_tokens: Maximum length of a continuation.
        samples: Continuations per prompt.
        temperature: 0 for greedy decoding.
        top_p: Nucleus sampling: sample from the smallest set of tokens with this probability.
        seed: Each batch has a random stream of its own, so results depend on `batch_size`.
        batch_size: Continuations per forward pass.
        show_progress: Whether to show a progress bar in interactive sessions.

    Returns:
        One row per continuation: `prompt` (index), `sample`, `text`, `n_tokens`, `logprob` (nats, of all emitted
        tokens, including the end token), `finished` (an end token was emitted).

    Raises:
        InputError: There are no prompts, a setting is out of range, or the network returns a number that is not finite.
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
    contexts = [encoder.context(prompt) for prompt in _checked(prompts)]
    backend.check_vocabulary(contexts, [f"Prompt {i}" for i in range(len(contexts))])
    jobs = [(i, s) for i in range(len(contexts)) for s in range(samples)]
    settings = {"temperature": temperature, "top_p": top_p, "top_k": 0} if temperature else {}
    settings |= {"do_sample": bool(temperature), "max_new_tokens": max_new_tokens}
    emitted: list[tuple[list[int], bool]] = []
    with progress.bar(len(jobs), "generating", show_progress, unit="texts") as advance:
        for start in range(0, len(jobs), batch_size):
            numbers = [i for i, _ in jobs[start : start + batch_size]]
            try:
                emitted += backend.sample([contexts[i] for i in numbers], settings, seed + start)
            except RuntimeError as error:
                if "probability tensor" in str(error):
                    _check_finite(np.nan, f"Prompts {numbers[0]} to {numbers[-1]}")
                raise
            advance(len(numbers))
    requests = [Request(contexts[i], tuple(ids)) for (i, _), (ids, _) in zip(jobs, emitted)]
    logprob = np.array([part.sum() for part in _terms(backend, requests, "scoring", show_progress)])
    for (i, _), value in zip(jobs, logprob):
        _check_finite(value, f"Prompt {i}")
    return pd.DataFrame(
        {
            "prompt": [i for i, _ in jobs],
            "sample": [s for _, s in jobs],
            "text": [model.tokenizer.decode(ids, skip_special_tokens=True) for ids, _ in emitted],
            "n_tokens": [len(ids) for ids, _ in emitted],
            "logprob": logprob,
            "finished": [finished for _, finished in emitted],
        }
    )


def _windows(request: Request, length: int, stride: int) -> list[Request]:
    """Requests that score each token of a text once, each after as many of the tokens before it as fit."""
    ids, start = request.context + request.continuation, len(request.context)
    windows: list[Request] = []
    while start < len(ids):
        stop = min(len(ids), start + stride if windows else length + 1)
        windows.append(Request(ids[max(0, stop - 1 - length) : start], ids[start:stop]))
        start = stop
    return windows


def _terms(backend: TokenBackend, requests: Sequence[Request], label: str, shown: bool) -> list[NDArray[np.float64]]:
    """The log-probabilities of each request's tokens, nats."""
    parts: list[NDArray[np.float64]] = [np.empty(0)] * len(requests)
    total, batches = backend.score(requests)
    with progress.bar(total, label, shown) as advance:
        for tokens, indices, terms in batches:
            for i, part in zip(indices, terms):
                parts[i] = part
            advance(tokens)
    return parts


def _check_finite(values: Any, name: str) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            f"The network returns numbers that are not finite ({name}); check its weights and dtype (try "
            "dtype='float32')."
        )


def _checked(texts: Iterable[Any]) -> list[Any]:
    """Texts or prompts as a list, for instance from a column of a table."""
    given = [] if isinstance(texts, str) else list(texts)
    if not given:
        raise InputError("Pass a list of at least one text.")
    for text in given:
        if not isinstance(text, (str, tuple, list)):
            raise InputError(f"{text!r} is not a text; pass strings or tuples of messages.")
    return given


def _states(network: Any, batch: list[list[int]], layers: Sequence[int], pool: str) -> list[NDArray[np.float32]]:
    """Pooled states of some texts in one right-padded forward pass."""
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
