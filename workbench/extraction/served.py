"""Reading a model behind a completions server: which requests to send, and what their answers say.

vLLM gives the log-probabilities of exactly the ids asked for (`logprob_token_ids`), which serves options of one token
and leaves its prefix cache on, and those of a whole prompt (`prompt_logprobs`), which serves longer options. Any other
server shows its most probable tokens: each token of an option is then read after the ones before it, exact where it is
shown, and otherwise known to be no more probable than what is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError
from workbench.extraction.replies import (
    Names,
    Read,
    Wrong,
    check_lengths,
    choice_of,
    plausible,
    shown_in,
    texts_of,
    values_of,
)
from workbench.extraction.tokens import Batch, Request
from workbench.models import Model
from workbench.models.server import Server

VERSION = "server 1"
"""Part of every key of the answer store, in the place of the engine's version."""
LABELS_AT_ONCE = 20
"""Ids in one request: as many as vLLM gives without `--max-logprobs`, whichever of its versions counts them."""
PLAIN = {"temperature": 1.0, "top_p": 1.0}
"""Sampling that leaves the distribution as it is, should a server report it after sampling's changes."""
PLAIN_VLLM = PLAIN | {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}


@dataclass(frozen=True, slots=True)
class Reply:
    """What one answer finished."""

    tokens: int
    """Tokens sent."""
    terms: dict[int, NDArray[np.float64]]
    """Request -> log-probability of each token (nats), NaN where the server did not show it."""
    high: dict[int, float]
    """Request with such a token -> the most its log-likelihood can be."""


def plan(requests: Sequence[Request], exact: bool) -> list[Read]:
    """The HTTP requests that score these: one a context for labels, one for each longer option.

    Args:
        requests: What to score.
        exact: Whether the server gives what is asked for; otherwise every token is a label after what is before it.
    """
    reads: list[Read] = []
    labels: dict[tuple[int, ...], dict[int, list[tuple[int, int]]]] = {}
    for i, request in enumerate(requests):
        if exact and len(request.continuation) > 1:
            reads.append(Read(request.context + request.continuation, i, n_last=len(request.continuation)))
            continue
        for place, token in enumerate(request.continuation):
            before = request.context + request.continuation[:place]
            labels.setdefault(before, {}).setdefault(token, []).append((i, place))
    for prompt, wanted in labels.items():
        ids = list(wanted)
        most = LABELS_AT_ONCE if exact else len(ids)
        for start in range(0, len(ids), most):
            part = {token: wanted[token] for token in ids[start : start + most]}
            reads.append(Read(prompt, next(iter(part.values()))[0][0], part))
    return sorted(reads, key=lambda read: read.prompt)


def read(
    model: Model,
    requests: Sequence[Request],
    names: Sequence[str],
    reads: Sequence[Read] | None = None,
    at_once: int = 0,
) -> Iterator[Reply]:
    """Scores requests, an answer at a time, as they come.

    Before an answer is given out the server is asked whether it still serves the model it had at first. When one
    request fails, those under way are waited for and given out, then the error is raised.

    Args:
        model: Whose numbers; it is behind a server.
        requests: What to score.
        names: What each is called in messages.
        reads: Their plan, where the caller has it.
        at_once: Most HTTP requests at once; 0 for what the address says.

    Raises:
        InputError: If the server fails, changes its model, or gives something that is no log-probability.
    """
    server, names_here = _server(model), names_of(model)
    texts = None if server.address.exact else texts_of(model.tokenizer)
    sums = _Sums(requests)
    for each, answer in _answers(server, plan(requests, server.address.exact) if reads is None else reads, at_once):
        with _named(server, names[each.first]):
            values, highest = values_of(each, answer, server.address.exact, texts, names_here)
        terms, high = sums.filled(each, values, highest)
        yield Reply(len(each.prompt), terms, high)


def score(model: Model, requests: Sequence[Request]) -> Iterator[Batch]:
    """Log-likelihoods as the engine gives them: tokens, finished requests, log-probabilities of their tokens.

    Raises:
        InputError: As `read`, or if the server shows only its most probable tokens.
    """
    needs_exact(model, "Texts token by token")
    for reply in read(model, requests, [f"text {i}" for i in range(len(requests))]):
        yield reply.tokens, list(reply.terms), list(reply.terms.values())


def sample(
    model: Model, contexts: Sequence[tuple[int, ...]], settings: dict[str, Any], seed: int
) -> list[tuple[list[int], bool]]:
    """Emitted ids of each context, and whether an end token was among them; context n draws with seed + n.

    Args:
        model: Who speaks.
        contexts: Token ids of each prompt.
        settings: As `transformers` names them: `max_new_tokens`, and `temperature` and `top_p` unless it is greedy.
        seed: Of the sampling.
    """
    needs_exact(model, "Generated text")
    server = _server(model)

    drawing = {"temperature": 0.0} | {name: settings[name] for name in ("temperature", "top_p") if name in settings}
    drawing["max_tokens"] = settings["max_new_tokens"]

    def one(n: int) -> tuple[list[int], bool]:
        body = PLAIN_VLLM | drawing | {"prompt": list(contexts[n]), "seed": seed + n}
        choice: dict[str, Any] = (server.complete(body).get("choices") or [{}])[0]
        ids = choice.get("token_ids")
        if choice.get("prompt_token_ids") != list(contexts[n]) or not ids:
            raise InputError(f"The server at {server.address.base} does not return the token ids of what it wrote.")
        with _named(server, f"prompt {n}"):
            names_of(model).check([int(token) for token in ids], choice.get("text"))
        return [int(token) for token in ids], choice.get("finish_reason") == "stop"

    with ThreadPoolExecutor(server.address.concurrency) as pool:
        found = list(pool.map(one, range(len(contexts))))
    server.confirm()
    return found


def names_of(model: Model) -> Names:
    """What the model's tokenizer calls each token; kept with its server."""
    server = _server(model)
    if server.names is None:
        server.names = Names(model.tokenizer)
    return server.names


def needs_exact(model: Model, what: str) -> None:
    """Refuse what the most probable tokens alone cannot give."""
    if not _server(model).address.exact:
        raise InputError(
            f"{what} cannot be read from {model.name!r}, which shows its most probable tokens only; use a vLLM server "
            "(vllm://...) or a model on this machine."
        )


def once(model: Model, each: Read, text: str = "") -> dict[str, float]:
    """One request sent by itself: the sum of what was asked for under "", or what a server shows by token name.

    Args:
        model: Whose numbers; it is behind a server.
        each: What is asked.
        text: The prompt's text, sent instead of its ids; the server encodes it then.
    """
    server = _server(model)
    body = _body(each, server)
    answer = server.complete(body | {"prompt": text} if text else body)
    with _named(server, f"of {len(each.prompt)} tokens"):
        if server.address.exact:
            return {"": float(values_of(each, answer, True, None, names_of(model))[0].sum())}
        check_lengths(each, answer)
        return {name: plausible(value) for name, value in shown_in(choice_of(answer)).items()}


@contextmanager
def _named(server: Server, question: str) -> Iterator[None]:
    """Says which server gave a wrong answer, and to which question."""
    try:
        yield
    except (Wrong, AttributeError, KeyError, TypeError, ValueError) as error:
        trouble = str(error) if isinstance(error, Wrong) else "answers in a form of its own"
        raise InputError(
            f"The server at {server.address.base} {trouble} (question {question!r}); this number is not taken."
        ) from None


class _Sums:
    """The terms of requests, filled place by place."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.terms = [np.full(len(request.continuation), np.nan) for request in requests]
        self.highest = [terms.copy() for terms in self.terms]
        self.missing = [len(terms) for terms in self.terms]

    def filled(
        self, each: Read, values: NDArray[np.float64], highest: NDArray[np.float64]
    ) -> tuple[dict[int, NDArray[np.float64]], dict[int, float]]:
        """Puts in what an answer gives; returns terms and bounds of the requests it finished."""
        last = [[(each.first, place)] for place in range(each.n_last)]
        touched = set()
        for places, value, bound in zip(each.labels.values() if each.labels else last, values, highest):
            for i, place in places:
                self.terms[i][place], self.highest[i][place] = value, bound
                self.missing[i] -= 1
                touched.add(i)
        terms = {i: self.terms[i] for i in sorted(touched) if not self.missing[i]}
        return terms, {i: float(self.highest[i].sum()) for i, found in terms.items() if np.isnan(found).any()}


def _server(model: Model) -> Server:
    if model.server is None:
        raise InputError(f"{model.name!r} is not behind a server.")
    return model.server


def _answers(server: Server, reads: Sequence[Read], at_once: int) -> Iterator[tuple[Read, dict[str, Any]]]:
    """Answers as they come, given out when the server has said once more that its model is the same.

    It is asked that whenever an answer is there, but no more than a fifth of the time; meanwhile answers are held.
    """
    waiting, next_check = iter(reads), 0.0
    held: list[tuple[Read, dict[str, Any]]] = []
    failure: BaseException | None = None
    under_way: dict[Future[dict[str, Any]], Read] = {}
    pool = ThreadPoolExecutor(at_once or server.address.concurrency)
    try:
        while True:
            while failure is None and len(under_way) < (at_once or server.address.concurrency):
                if (each := next(waiting, None)) is None:
                    break
                under_way[pool.submit(server.complete, _body(each, server))] = each
            if not under_way and not held:
                break
            pause = max(0.0, next_check - time.monotonic()) if held else None
            done, _ = wait(under_way, timeout=pause, return_when=FIRST_COMPLETED)
            failure = failure or next((error for one in done if (error := one.exception())), None)
            ended = [(under_way.pop(one), one) for one in done]
            held += [(each, one.result()) for each, one in ended if not one.exception()]
            if held and (not under_way or time.monotonic() >= next_check):
                start = time.monotonic()
                server.confirm()
                next_check = time.monotonic() + 4 * (time.monotonic() - start)
                yield from held
                held = []
        if failure:
            raise failure
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _body(each: Read, server: Server) -> dict[str, Any]:
    """The JSON of one request."""
    body: dict[str, Any] = {"prompt": list(each.prompt), "max_tokens": 1}
    if not server.address.exact:
        return body | PLAIN | {"logprobs": server.address.top_k}
    if not each.labels:
        return body | PLAIN_VLLM | {"prompt_logprobs": 1}
    ids = list(each.labels)
    named = {"logprobs": len(ids), "logprob_token_ids": ids, "return_tokens_as_token_ids": True}
    return body | PLAIN_VLLM | named
