"""Models behind a completions server: reading them, and the contract test that comes before the first question.

Servers that keep what they computed for a prompt have given stale numbers that depended on what was asked before
(vllm-project/vllm issue 42019), which no single answer shows. So eight items are asked twice and once backwards, one
request at a time, and compared with a model on this machine where the address names one.

Prompts are sent as ids, so a wrong tokenizer gets numbers of other texts, and gets them reliably. vLLM says which text
each token is; other servers are sent each item as text too, and must give the same numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError
from workbench.extraction.backend import Ids, Number, TokenBackend, TokenReader
from workbench.extraction.replies import (
    PLAIN_VLLM,
    Names,
    Read,
    Wrong,
    body_of,
    check_lengths,
    choice_of,
    plan,
    plausible,
    shown_in,
    texts_of,
    token_of,
    values_of,
)
from workbench.extraction.tokens import Batch, Encoder, Request
from workbench.models import Model, load_model
from workbench.models.server import Server
from workbench.questions import Option, Question

VERSION = "server 1"
"""Part of every key of the answer store, in the place of the engine's version."""
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


@dataclass(frozen=True, slots=True)
class Reply:
    """What one answer finished."""

    tokens: int
    """Tokens sent."""
    terms: dict[int, NDArray[np.float64]]
    """Request -> log-probability of each token (nats), NaN where the server did not show it."""
    high: dict[int, float]
    """Request with such a token -> the most its log-likelihood can be."""

    def numbers(self) -> dict[int, Number]:
        """Request -> what is known of its log-likelihood."""
        return {i: Number(float(terms.sum()), self.high.get(i, np.nan)) for i, terms in self.terms.items()}


class Completions(TokenReader):
    """A completions server, as a backend; one that shows its most probable tokens only gives no whole texts."""

    label = "asking the server"

    def __init__(self, model: Model, local: Callable[[Model], TokenBackend]) -> None:
        """Take a model behind a server; nothing is sent yet.

        Args:
            model: The model.
            local: The backend of a model on this machine, for the contract test.
        """
        super().__init__(model, VERSION)
        assert model.server is not None
        self.server: Server = model.server
        self.exact = self.server.address.exact
        self.bounded = not self.exact
        self.local = local
        self.asked = False
        self.before = self.server.spent()
        self._names: Names | None = None

    def numbers(
        self, requests: Sequence[Request], names: Sequence[str]
    ) -> tuple[int, Iterator[tuple[int, dict[int, Number]]]]:
        """See `TokenReader`."""
        total, replies = self.read(requests, names)
        self.asked = True
        return total, ((reply.tokens, reply.numbers()) for reply in replies)

    def check_unchanged(self) -> None:
        """See `Backend`; the server was asked before its answers were given out."""

    def facts(self) -> dict[str, str | int | float]:
        """See `Backend`."""
        if not self.asked:
            return {}
        found = self.server.contract
        facts = {"engine_step": "server", "engine_gap_nats": found.gap, "engine_passed_over": ""}
        spent = {f"server_{name}": value - self.before[name] for name, value in self.server.spent().items()}
        return facts | {"engine_contract": str(found)} | spent

    def read(self, requests: Sequence[Request], names: Sequence[str]) -> tuple[int, Iterator[Reply]]:
        """Tokens to send for these requests, and their scores, an answer at a time, as they come.

        The contract is tested before, if it was not yet. Before an answer is given out the server is asked whether it
        still serves the model it had at first. When one request fails, those under way are waited for and given out,
        then the error is raised.

        Args:
            requests: What to score.
            names: What each is called in messages.

        Raises:
            InputError: If the server fails, breaks its contract, changes its model, or gives something that is no
                log-probability.
        """
        check(self)
        reads = plan(requests, self.exact)
        return sum(len(each.prompt) for each in reads), self._replies(requests, names, reads)

    def _replies(self, requests: Sequence[Request], names: Sequence[str], reads: Sequence[Read]) -> Iterator[Reply]:
        texts = None if self.exact else texts_of(self.model.tokenizer)
        sums = _Sums(requests)
        for each, answer in self._answers(reads):
            with self.naming(names[each.first]):
                values, highest = values_of(each, answer, self.exact, texts, self.names)
            terms, high = sums.filled(each, values, highest)
            yield Reply(len(each.prompt), terms, high)

    def once(self, each: Read, text: str = "") -> dict[str, float]:
        """One request sent by itself: the sum of what was asked for under "", or what is shown by token name.

        Args:
            each: What is asked.
            text: The prompt's text, sent instead of its ids; the server encodes it then.
        """
        body = body_of(each, self.server.address)
        answer = self.server.complete(body | {"prompt": text} if text else body)
        with self.naming(f"of {len(each.prompt)} tokens"):
            if self.exact:
                return {"": float(values_of(each, answer, True, None, self.names)[0].sum())}
            check_lengths(each, answer)
            return {name: plausible(value) for name, value in shown_in(choice_of(answer)).items()}

    @property
    def names(self) -> Names:
        """What the tokenizer here calls each token."""
        self._names = self._names or Names(self.model.tokenizer)
        return self._names

    @contextmanager
    def naming(self, question: str) -> Iterator[None]:
        """Says which server gave a wrong answer, and to which question."""
        try:
            yield
        except (Wrong, AttributeError, KeyError, TypeError, ValueError) as error:
            trouble = str(error) if isinstance(error, Wrong) else "answers in a form of its own"
            raise InputError(
                f"The server at {self.server.address.base} {trouble} (question {question!r}); this number is not taken."
            ) from None

    def _answers(self, reads: Sequence[Read]) -> Iterator[tuple[Read, dict[str, Any]]]:
        """Answers as they come, given out when the server has said once more that its model is the same.

        It is asked that whenever an answer is there, but no more than a fifth of the time; meanwhile answers are held.
        """
        waiting, next_check = iter(reads), 0.0
        held: list[tuple[Read, dict[str, Any]]] = []
        failure: BaseException | None = None
        under_way: dict[Future[dict[str, Any]], Read] = {}
        at_once = self.server.address.concurrency
        pool = ThreadPoolExecutor(at_once)
        try:
            while True:
                while failure is None and len(under_way) < at_once:
                    if (each := next(waiting, None)) is None:
                        break
                    under_way[pool.submit(self.server.complete, body_of(each, self.server.address))] = each
                if not under_way and not held:
                    break
                pause = max(0.0, next_check - time.monotonic()) if held else None
                done, _ = wait(under_way, timeout=pause, return_when=FIRST_COMPLETED)
                failure = failure or next((error for one in done if (error := one.exception())), None)
                ended = [(under_way.pop(one), one) for one in done]
                held += [(each, one.result()) for each, one in ended if not one.exception()]
                if held and (not under_way or time.monotonic() >= next_check):
                    start = time.monotonic()
                    self.server.confirm()
                    next_check = time.monotonic() + 4 * (time.monotonic() - start)
                    yield from held
                    held = []
            if failure:
                raise failure
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class ExactCompletions(Completions):
    """A server that gives every log-probability asked for, as a backend that reads tokens."""

    def check_vocabulary(self, texts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
        """See `TokenBackend`; what lies behind a server is not known, which refuses such ids itself."""

    def score(self, requests: Sequence[Request]) -> tuple[int, Iterator[Batch]]:
        """See `TokenBackend`."""
        total, replies = self.read(requests, [f"text {i}" for i in range(len(requests))])
        return total, ((reply.tokens, list(reply.terms), list(reply.terms.values())) for reply in replies)

    def sample(self, contexts: Sequence[Ids], settings: Mapping[str, Any], seed: int) -> list[tuple[list[int], bool]]:
        """See `TokenBackend`; context n draws with seed + n."""
        drawing = {"temperature": 0.0} | {name: settings[name] for name in ("temperature", "top_p") if name in settings}
        drawing["max_tokens"] = settings["max_new_tokens"]

        def one(n: int) -> tuple[list[int], bool]:
            body = PLAIN_VLLM | drawing | {"prompt": list(contexts[n]), "seed": seed + n}
            choice: dict[str, Any] = (self.server.complete(body).get("choices") or [{}])[0]
            ids = choice.get("token_ids")
            if choice.get("prompt_token_ids") != list(contexts[n]) or not ids:
                raise InputError(
                    f"The server at {self.server.address.base} does not return the token ids of what it wrote."
                )
            with self.naming(f"prompt {n}"):
                self.names.check([int(token) for token in ids], choice.get("text"))
            return [int(token) for token in ids], choice.get("finish_reason") == "stop"

        with ThreadPoolExecutor(self.server.address.concurrency) as pool:
            found = list(pool.map(one, range(len(contexts))))
        self.server.confirm()
        return found


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


def check(reader: Completions) -> Contract:
    """The contract of a served model, tested once.

    Raises:
        InputError: If the server breaks it.
    """
    server = reader.server
    if server.contract is None:
        requests = _requests(reader)
        order = list(range(len(requests)))
        first, again, backwards = (_asked(reader, requests, way) for way in (order, order, order[::-1]))
        if len({value for (i, _), value in first.items() if len(requests[i].continuation) == 1}) == 1:
            raise InputError(f"The server at {server.address.base} gives every token the same log-probability.")
        repeated = _within(server, _gap(first, again), REPEATED, "asked the same twice")
        reordered = _within(server, _gap(first, backwards), REPEATED, "asked the same in another order")
        singles = {i: request for i, request in enumerate(requests) if len(request.continuation) == 1}
        otherwise = _otherwise(reader, singles, first)
        local, against = None, server.address.check_against
        if against:
            local = _within(server, _local_gap(reader, against, requests, first), LOCAL, f"compared with {against!r}")
        server.contract = Contract(repeated, reordered, local, against, otherwise)
        server.witness = lambda: _witness(reader, requests[0], first)
    return server.contract


def _otherwise(reader: Completions, singles: dict[int, Request], first: dict[tuple[int, str], float]) -> float:
    """Largest difference when the items are read in the server's other way, which shows wrong tokens and places.

    Raises:
        InputError: It is too large, or the server does not say what text its tokens are.
    """
    server, exact = reader.server, reader.exact
    found: dict[tuple[int, str], float] = {}
    for (i, request), (text, _) in zip(singles.items(), ITEMS, strict=True):
        sent = request.context + request.continuation if exact else request.context
        each = Read(sent, 0, n_last=1) if exact else Read(sent, 0, {0: []})
        try:
            shown = reader.once(each, "" if exact else text)
        except InputError as error:
            raise InputError(f"{str(error)[:-1]} (the contract test, tokenizer {server.tokenizer!r}).") from error
        found |= {(i, name): value for name, value in shown.items()}
    if exact and not reader.names.compared:
        raise InputError(
            f"The server at {server.address.base} does not say what text its tokens are, so nothing shows that "
            f"{server.tokenizer!r} is the model's tokenizer; use a vLLM that returns decoded_token."
        )
    way = "a label as the end of a prompt" if exact else f"as text, not as ids of the tokenizer {server.tokenizer!r}"
    return _within(server, _gap({key: first[key] for key in first if key[0] in singles}, found), LOCAL, f"read {way}")


def _witness(reader: Completions, request: Request, first: dict[tuple[int, str], float]) -> None:
    """Ask one item of the test again.

    Raises:
        InputError: The server gives another number for it than when it was tested.
    """
    shown = reader.once(_read(request, reader.exact))
    now = {(0, name): value for name, value in shown.items()}
    _within(reader.server, _gap({key: first[key] for key in first if key[0] == 0}, now), REPEATED, "asked again later")


def _read(request: Request, exact: bool) -> Read:
    """How a request is asked by itself."""
    return plan([request], exact)[0] if exact else Read(request.context, 0, {0: []})


def _requests(reader: Completions) -> list[Request]:
    """Of each item the option's first token and, where the server reads longer options in another way, all of it."""
    encoder = Encoder(reader.model.tokenizer, reader.model.context_length)
    whole = [encoder.encode(Question(prompt, (Option(text),)))[0] for prompt, text in ITEMS]
    single = [Request(request.context, request.continuation[:1]) for request in whole]
    return [request for pair in zip(single, whole) for request in pair] if reader.exact else single


def _asked(reader: Completions, requests: list[Request], order: list[int]) -> dict[tuple[int, str], float]:
    """The numbers a server shows for requests that are sent one after the other, in this order."""
    found: dict[tuple[int, str], float] = {}
    for i in order:
        shown = reader.once(_read(requests[i], reader.exact))
        found |= {(i, name): value for name, value in shown.items()}
    return found


def _gap(one: dict[tuple[int, str], float], other: dict[tuple[int, str], float]) -> float:
    """Largest difference of the numbers that both have, in nats; infinite if they have none."""
    return max((abs(one[name] - other[name]) for name in one.keys() & other.keys()), default=float("inf"))


def _local_gap(reader: Completions, source: str, requests: list[Request], first: dict[tuple[int, str], float]) -> float:
    """Largest difference of a server's numbers from those of a model on this machine.

    Where only the most probable tokens are shown, the most probable of each item that has a known id is compared.
    """
    shown: dict[int, tuple[Request, float]] = {}
    for (i, name), value in sorted(first.items(), key=lambda entry: -entry[1]):
        token = token_of(reader.model.tokenizer, name) if name else None
        request = requests[i] if not name else Request(requests[i].context, (token,)) if token is not None else None
        if request is not None:
            shown.setdefault(i, (request, value))
    asked = list(shown.values())
    gaps = [float("inf")] * (not asked)
    _, batches = reader.local(load_model(source)).score([request for request, _ in asked])
    for _, indices, terms in batches:
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
