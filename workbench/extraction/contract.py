"""The contract test of a served model: the same request, asked again and in another order, must get the same number.

Servers that keep what they computed for a prompt have given stale numbers that depended on what was asked before
(vllm-project/vllm issue 42019), which no single answer shows. So before the first question eight items are asked twice
and once backwards, one request at a time, and compared with a model on this machine where the address names one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.errors import InputError
from workbench.extraction import served
from workbench.extraction.tokens import Encoder, Request
from workbench.models import Model, load_model
from workbench.models.server import Server
from workbench.questions import Option, Question

ITEMS = (
    ("The capital of France is", " Paris, on the Seine"),
    ("Water boils at a temperature of", " one hundred degrees"),
    ("Question: What is 2 + 2?\nAnswer:", " 4, of course"),
    ("The opposite of hot is", " cold, not warm"),
    ("Once upon a time there was", " an old king"),
    ("Question: Do you agree?\nA. Yes\nB. No\nAnswer:", " A. Yes"),
    ("The sun rises in the", " east every morning"),
    ("A triangle has three", " sides and three angles"),
)
REPEATED = 0.1
"""Nats within which a request must agree with itself; in half precision a shared cache moves a number by less."""
LOCAL = 0.5
"""Nats within which two engines must agree, as between two ways to batch in half precision."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What the test found; it passed, or an error was raised."""

    repeated: float
    """Largest difference of a number asked twice, in nats."""
    reordered: float
    """Largest difference when all were asked in the opposite order, in nats."""
    local: float | None
    """Largest difference from the model on this machine, in nats; None if the address names none."""
    against: str
    """That model."""

    def __str__(self) -> str:
        beside = "no local model named" if self.local is None else f"{self.local:.2g} nat from {self.against}"
        return (
            f"passed on {len(ITEMS)} items: {self.repeated:.2g} nat when asked twice, {self.reordered:.2g} nat in the "
            f"opposite order, {beside}"
        )

    @property
    def gap(self) -> float:
        """The largest of the differences, in nats."""
        return max(self.repeated, self.reordered, self.local or 0.0)


def check(model: Model) -> Contract:
    """The contract of a served model, tested once.

    Raises:
        InputError: If the server breaks it.
    """
    server = model.server
    assert server is not None
    if server.contract is None:
        requests = _requests(model)
        order = list(range(len(requests)))
        first, again, backwards = (_asked(model, requests, way) for way in (order, order, order[::-1]))
        if len(set(first.values())) == 1:
            raise InputError(f"The server at {server.address.base} gives every token the same log-probability.")
        repeated = _within(server, _gap(first, again), REPEATED, "asked the same twice")
        reordered = _within(server, _gap(first, backwards), REPEATED, "asked the same in another order")
        local, against = None, server.address.check_against
        if against:
            local = _within(server, _local_gap(against, model, requests), LOCAL, f"compared with {against!r}")
        server.contract = Contract(repeated, reordered, local, against)
    return server.contract


def _requests(model: Model) -> list[Request]:
    """Of each item the option's first token and, where the server reads longer options in another way, all of it."""
    encoder = Encoder(model.tokenizer, model.context_length)
    whole = [encoder.encode(Question(prompt, (Option(text),)))[0] for prompt, text in ITEMS]
    single = [Request(request.context, request.continuation[:1]) for request in whole]
    exact = model.server is not None and model.server.address.exact
    return [request for pair in zip(single, whole) for request in pair] if exact else single


def _asked(model: Model, requests: list[Request], order: list[int]) -> dict[tuple[int, str], float]:
    """The numbers a server shows for requests that are sent one after the other, in this order."""
    found: dict[tuple[int, str], float] = {}
    for i in order:
        if model.server is not None and model.server.address.exact:
            (reply,) = served.read(model, [requests[i]], [f"{i} of the contract test"], at_once=1)
            found[i, ""] = float(reply.terms[0].sum())
        else:
            found |= {(i, name): value for name, value in served.most_probable(model, requests[i].context).items()}
    return found


def _gap(one: dict[tuple[int, str], float], other: dict[tuple[int, str], float]) -> float:
    """Largest difference of the numbers that both have, in nats; infinite if they have none."""
    return max((abs(one[name] - other[name]) for name in one.keys() & other.keys()), default=float("inf"))


def _local_gap(source: str, model: Model, requests: list[Request]) -> float:
    """Largest difference from a model on this machine; of a bound, by how much its number is above it."""
    from workbench.extraction import engine

    expected = np.full(len(requests), np.nan)
    for _, indices, terms in engine.score(load_model(source), requests):
        expected[indices] = [part.sum() for part in terms]
    gaps = []
    for reply in served.read(model, requests, [f"{i} of the contract test" for i in range(len(requests))]):
        for i, terms in reply.terms.items():
            gap = float(expected[i] - reply.high.get(i, terms.sum()))
            gaps.append(max(gap, 0.0) if i in reply.high else abs(gap))
    return max(gaps)


def _within(server: Server, gap: float, allowed: float, when: str) -> float:
    address = server.address
    allowed = address.tolerance or allowed
    if gap > allowed:
        raise InputError(
            f"The server at {address.base} breaks the contract: {when}, a number differs by {gap:.2g} nat "
            f"({allowed:g} are allowed); nothing is taken from it. Mend the server, or allow more with ?tolerance= in "
            "the model's address."
        )
    return gap
