"""The contract test of a served model: the same request, asked again and in another order, must get the same number.

Servers that keep what they computed for a prompt have given stale numbers that depended on what was asked before
(vllm-project/vllm issue 42019), which no single answer shows. So before the first question eight items are asked twice
and once backwards, one request at a time, and compared with a model on this machine where the address names one.

Prompts are sent as ids, so a wrong tokenizer gets numbers of other texts, and gets them reliably. vLLM says which text
each token is; other servers are sent each item as text too, and must give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from workbench.errors import InputError
from workbench.extraction import replies, served
from workbench.extraction.replies import Read
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
    otherwise: float = 0.0
    """Largest difference when the items were read in the server's other way: a label as the end of a prompt, or, where
    only the most probable tokens are shown, a prompt as text; in nats."""

    def __str__(self) -> str:
        beside = "no local model named" if self.local is None else f"{self.local:.2g} nat from {self.against}"
        return (
            f"passed on {len(ITEMS)} items: {self.repeated:.2g} nat when asked twice, {self.reordered:.2g} nat in the "
            f"opposite order, {self.otherwise:.2g} nat when read otherwise, {beside}"
        )

    @property
    def gap(self) -> float:
        """The largest of the differences, in nats."""
        return max(self.repeated, self.reordered, self.otherwise, self.local or 0.0)


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
        if len({value for (i, _), value in first.items() if len(requests[i].continuation) == 1}) == 1:
            raise InputError(f"The server at {server.address.base} gives every token the same log-probability.")
        repeated = _within(server, _gap(first, again), REPEATED, "asked the same twice")
        reordered = _within(server, _gap(first, backwards), REPEATED, "asked the same in another order")
        singles = {i: request for i, request in enumerate(requests) if len(request.continuation) == 1}
        otherwise = _otherwise(model, server, singles, first)
        local, against = None, server.address.check_against
        if against:
            local = _within(server, _local_gap(against, model, requests, first), LOCAL, f"compared with {against!r}")
        server.contract = Contract(repeated, reordered, local, against, otherwise)
        server.witness = lambda: _witness(model, server, requests[0], first)
    return server.contract


def _otherwise(model: Model, server: Server, singles: dict[int, Request], first: dict[tuple[int, str], float]) -> float:
    """Largest difference when the items are read in the server's other way, which shows wrong tokens and places.

    Raises:
        InputError: It is too large, or the server does not say what text its tokens are.
    """
    exact = server.address.exact
    found: dict[tuple[int, str], float] = {}
    for (i, request), (text, _) in zip(singles.items(), ITEMS, strict=True):
        sent = request.context + request.continuation if exact else request.context
        each = Read(sent, 0, n_last=1) if exact else Read(sent, 0, {0: []})
        try:
            shown = served.once(model, each, "" if exact else text)
        except InputError as error:
            raise InputError(f"{str(error)[:-1]} (the contract test, tokenizer {server.tokenizer!r}).") from error
        found |= {(i, name): value for name, value in shown.items()}
    if exact and not served.names_of(model).compared:
        raise InputError(
            f"The server at {server.address.base} does not say what text its tokens are, so nothing shows that "
            f"{server.tokenizer!r} is the model's tokenizer; use a vLLM that returns decoded_token."
        )
    way = "a label as the end of a prompt" if exact else f"as text, not as ids of the tokenizer {server.tokenizer!r}"
    return _within(server, _gap({key: first[key] for key in first if key[0] in singles}, found), LOCAL, f"read {way}")


def _witness(model: Model, server: Server, request: Request, first: dict[tuple[int, str], float]) -> None:
    """Ask one item of the test again.

    Raises:
        InputError: The server gives another number for it than when it was tested.
    """
    shown = served.once(model, _read(request, server))
    now = {(0, name): value for name, value in shown.items()}
    _within(server, _gap({key: first[key] for key in first if key[0] == 0}, now), REPEATED, "asked again later")


def _read(request: Request, server: Server) -> Read:
    """How a request is asked by itself."""
    exact = server.address.exact
    return served.plan([request], exact)[0] if exact else Read(request.context, 0, {0: []})


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
    assert model.server is not None
    for i in order:
        shown = served.once(model, _read(requests[i], model.server))
        found |= {(i, name): value for name, value in shown.items()}
    return found


def _gap(one: dict[tuple[int, str], float], other: dict[tuple[int, str], float]) -> float:
    """Largest difference of the numbers that both have, in nats; infinite if they have none."""
    return max((abs(one[name] - other[name]) for name in one.keys() & other.keys()), default=float("inf"))


def _local_gap(source: str, model: Model, requests: list[Request], first: dict[tuple[int, str], float]) -> float:
    """Largest difference of a server's numbers from those of a model on this machine.

    Where only the most probable tokens are shown, the most probable of each item that has a known id is compared.
    """
    from workbench.extraction import engine

    shown: dict[int, tuple[Request, float]] = {}
    for (i, name), value in sorted(first.items(), key=lambda entry: -entry[1]):
        token = replies.token_of(model.tokenizer, name) if name else None
        request = requests[i] if not name else Request(requests[i].context, (token,)) if token is not None else None
        if request is not None:
            shown.setdefault(i, (request, value))
    asked = list(shown.values())
    gaps = [float("inf")] * (not asked)
    for _, indices, terms in engine.score(load_model(source), [request for request, _ in asked]):
        gaps += [abs(float(part.sum()) - asked[i][1]) for i, part in zip(indices, terms)]
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
