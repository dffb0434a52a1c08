"""Models behind a completions server: scoring, and the contract test that precedes the first question.

Servers that cache prompts have returned stale numbers that depended on earlier requests (vllm-project/vllm issue
42019), which no single reply shows. The contract test therefore sends eight items twice and once in reverse order, one
request at a time, and compares them with a local model if the address names one.

Prompts are sent as ids, so the wrong tokenizer would give repeatable numbers of other texts. vLLM returns the text of
each token; other servers are also sent each item as text, and must give the same numbers.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from math import inf, nan
from typing import Any, TypeVar

import numpy as np

from workbench.errors import InputError
from workbench.extraction import replies
from workbench.extraction.backend import Facts, Ids, Number, TokenBackend, TokenReader
from workbench.extraction.replies import Floats, InvalidReply, Read, TokenNames
from workbench.extraction.tokens import Batch, Encoder, Request
from workbench.models import Model, load_model
from workbench.models.server import Server
from workbench.questions import Option, Question
from workbench.reading import printable

VERSION = "server 1"
"""Part of every key of the answer store, in place of the engine's version."""
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
"""Tolerance in nats for repeated requests; in half precision a shared cache moves a number by less."""
LOCAL = 0.5
"""Tolerance in nats between two engines, as between two ways to batch in half precision."""
ROUNDING, HALF = 0.01, 2.0
"""Nats between two engines in float32; multiples of a model's own difference in bfloat16 that rounding explains."""
T = TypeVar("T")
Shown = dict[tuple[int, str], float]
"""(request, token name) -> log-probability; one number under "" per request where the server is exact."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The differences measured by a contract test that passed."""

    repeated: float
    """Largest difference between two equal requests, in nats."""
    reordered: float
    """Largest difference when all requests were sent in reverse order, in nats."""
    local: float | None
    """Largest difference from the local model, in nats; None if the address names none."""
    against: str
    """The local model, and what half precision explains of the difference."""
    otherwise: float | None = 0.0
    """Largest difference from the server's other interface (a label as the end of a prompt; where only the most
    probable tokens are shown, a prompt as text), in nats; None for a chat endpoint, which has no other."""
    items: int = len(ITEMS)
    """Number of items."""

    def __str__(self) -> str:
        local = "no local model named" if self.local is None else f"{self.local:.2g} nat from {self.against}"
        other = "" if self.otherwise is None else f"{self.otherwise:.2g} nat through the other interface, "
        return (
            f"passed on {self.items} items: {self.repeated:.2g} nat when repeated, {self.reordered:.2g} nat in "
            f"reverse order, {other}{local}"
        )

    @property
    def gap(self) -> float:
        """The largest of the differences, in nats."""
        return max(self.repeated, self.reordered, self.otherwise or 0.0, self.local or 0.0)


@dataclass(frozen=True, slots=True)
class Reply:
    """The requests that one reply completed."""

    tokens: int
    """Tokens sent."""
    terms: dict[int, Floats]
    """Request -> log-probability of each token (nats), NaN where the server did not show it."""
    high: dict[int, float]
    """Request with such a token -> upper bound of its log-likelihood."""

    def numbers(self) -> dict[int, Number]:
        """Return request -> its log-likelihood or bound."""
        return {i: Number(float(terms.sum()), self.high.get(i, nan)) for i, terms in self.terms.items()}


class Served:
    """What the backends of all servers share: their counts, errors, and replies as they arrive."""

    label = "querying the server"

    def __init__(self, model: Model) -> None:
        """Send nothing yet."""
        assert model.server is not None
        self.server: Server = model.server
        self.used = False
        self.spent_before = self.server.spent()

    def check_unchanged(self) -> None:
        """See `Backend`; the server's model was checked before its replies were returned."""

    def facts(self) -> Facts:
        """See `Backend`."""
        if not self.used:
            return {}
        contract = self.server.contract
        facts = {"engine_step": "server", "engine_gap_nats": contract.gap, "engine_passed_over": ""}
        spent = {f"server_{name}": value - self.spent_before[name] for name, value in self.server.spent().items()}
        return facts | {"engine_contract": str(contract)} | spent

    @contextmanager
    def naming(self, question: str) -> Iterator[None]:
        """Turn whatever is wrong with a reply into an InputError that names the server and the question."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            problem = str(error) if isinstance(error, InvalidReply) else "answers in an unknown format"
            raise InputError(
                f"The server at {self.server.address.base} {problem}{about(question)}; this number is not used."
            ) from None

    def received(self, bodies: Sequence[dict[str, Any]], names: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Return (index of the request, reply) as replies arrive, once the server has confirmed its model.

        Confirmation takes at most a fifth of the time; replies wait for the next one. If a request fails, those in
        flight are completed and returned before the error is raised.

        Args:
            bodies: Requests.
            names: The question of each, in errors.
        """
        waiting, next_check = iter(range(len(bodies))), 0.0
        ready: list[tuple[int, dict[str, Any]]] = []
        failure: BaseException | None = None
        in_flight: dict[Future[dict[str, Any]], int] = {}
        at_once = self.server.address.concurrency
        pool = ThreadPoolExecutor(at_once)
        try:
            while True:
                while failure is None and len(in_flight) < at_once:
                    if (index := next(waiting, None)) is None:
                        break
                    in_flight[pool.submit(self.server.complete, bodies[index], about(names[index]))] = index
                if not in_flight and not ready:
                    break
                pause = max(0.0, next_check - time.monotonic()) if ready else None
                done, _ = wait(in_flight, timeout=pause, return_when=FIRST_COMPLETED)
                failure = failure or next((error for one in done if (error := one.exception())), None)
                ended = [(in_flight.pop(one), one) for one in done]
                ready += [(index, one.result()) for index, one in ended if not one.exception()]
                if ready and (not in_flight or time.monotonic() >= next_check):
                    start = time.monotonic()
                    self.server.confirm()
                    next_check = time.monotonic() + 4 * (time.monotonic() - start)
                    yield from ready
                    ready = []
            if failure:
                raise failure
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class Completions(Served, TokenReader):
    """Backend for a completions server that shows its most probable tokens."""

    def __init__(self, model: Model, local: Callable[[Model], TokenBackend]) -> None:
        """Send nothing yet.

        Args:
            model: A model behind a server.
            local: Makes the backend of a local model, for the contract test.
        """
        Served.__init__(self, model)
        TokenReader.__init__(self, model, VERSION)
        self.exact = self.server.address.exact
        self.bounded = not self.exact
        self.local = local

    @cached_property
    def names(self) -> TokenNames:
        """Token names of the local tokenizer."""
        return TokenNames(self.model.tokenizer)

    def numbers(
        self, requests: Sequence[Request], names: Sequence[str]
    ) -> tuple[int, Iterator[tuple[int, dict[int, Number]]]]:
        """See `TokenReader`."""
        total, received = self.read(requests, names)
        self.used = True
        return total, ((reply.tokens, reply.numbers()) for reply in received)

    def read(self, requests: Sequence[Request], names: Sequence[str]) -> tuple[int, Iterator[Reply]]:
        """Return the number of tokens to send for some requests, and their scores reply by reply.

        Runs the contract test first, once per server. Before replies are returned, the server confirms that it serves
        the same model.

        Args:
            requests: What to score.
            names: The name of each request in error messages.

        Raises:
            InputError: The server fails, breaks its contract, changes its model, or returns an invalid
                log-probability.
        """
        check(self)
        reads = replies.plan(requests, self.exact)
        return sum(len(read.prompt) for read in reads), self._replies(requests, names, reads)

    def _replies(self, requests: Sequence[Request], names: Sequence[str], reads: Sequence[Read]) -> Iterator[Reply]:
        text_of = None if self.exact else replies.texts_of(self.model.tokenizer)
        sums = _Sums(requests)
        bodies = [replies.body_of(read, self.server.address) for read in reads]
        for index, reply in self.received(bodies, [names[read.first] for read in reads]):
            read = reads[index]
            with self.naming(names[read.first]):
                values, highest = replies.values_of(read, reply, self.exact, text_of, self.names)
            terms, high = sums.filled(read, values, highest)
            yield Reply(len(read.prompt), terms, high)

    def once(self, read: Read, text: str = "") -> dict[str, float]:
        """Send one request by itself; return the sum of its terms under "", or the shown tokens by name.

        Args:
            read: The request.
            text: The prompt as text, sent instead of its ids.
        """
        body = replies.body_of(read, self.server.address)
        question = f"of {len(read.prompt)} tokens"
        reply = self.server.complete(body | {"prompt": text} if text else body, about(question))
        with self.naming(question):
            if self.exact:
                return {"": float(replies.values_of(read, reply, True, None, self.names)[0].sum())}
            replies.check_lengths(read, reply)
            shown = replies.shown_in(replies.with_ids(replies.choice_of(reply), self.names))
            return {name: replies.plausible(value) for name, value in shown.items()}


def about(question: str) -> str:
    """Return the end of an error that names a question."""
    return f" (question {printable(question)!r})"


class ExactCompletions(Completions):
    """Backend for a server that returns every requested log-probability."""

    def check_vocabulary(self, texts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
        """See `TokenBackend`; the server refuses such ids itself."""

    def score(self, requests: Sequence[Request]) -> tuple[int, Iterator[Batch]]:
        """See `TokenBackend`."""
        total, received = self.read(requests, [f"text {i}" for i in range(len(requests))])
        return total, ((reply.tokens, list(reply.terms), list(reply.terms.values())) for reply in received)

    def sample(self, contexts: Sequence[Ids], settings: Mapping[str, Any], seed: int) -> list[tuple[list[int], bool]]:
        """See `TokenBackend`; context n is sampled with seed + n."""
        sampling = {"temperature": 0.0} | {n: settings[n] for n in ("temperature", "top_p") if n in settings}
        sampling["max_tokens"] = settings["max_new_tokens"]

        def one(n: int) -> tuple[list[int], bool]:
            body = replies.PLAIN_VLLM | sampling | {"prompt": list(contexts[n]), "seed": seed + n}
            reply = self.server.complete(body, about(f"prompt {n}"))
            with self.naming(f"prompt {n}"):
                choice = replies.choice_of(reply)
                ids: list[int] = choice.get("token_ids") or []
                if choice.get("prompt_token_ids") != list(contexts[n]) or not ids:
                    raise InvalidReply("does not return the token ids of what it wrote")
                if len(ids) > settings["max_new_tokens"]:
                    raise InvalidReply(f"writes {len(ids)} tokens where {body['max_tokens']} were wanted")
                self.names.check(ids, choice.get("text"))
                self.server.refuse_key(str(self.model.tokenizer.decode(ids)), about(f"prompt {n}"))
            return ids, choice.get("finish_reason") == "stop"

        with ThreadPoolExecutor(self.server.address.concurrency) as pool:
            samples = list(pool.map(one, range(len(contexts))))
        self.server.confirm()
        return samples


class _Sums:
    """The terms of requests, filled position by position."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.terms = [np.full(len(request.continuation), np.nan) for request in requests]
        self.highest = [terms.copy() for terms in self.terms]
        self.missing = [len(terms) for terms in self.terms]

    def filled(self, read: Read, values: Floats, highest: Floats) -> tuple[dict[int, Floats], dict[int, float]]:
        """Fill in the values of a reply; return terms and bounds of the requests it completed."""
        last = [[(read.first, position)] for position in range(read.n_last)]
        touched = set()
        for places, value, bound in zip(read.labels.values() if read.labels else last, values, highest):
            for i, position in places:
                self.terms[i][position], self.highest[i][position] = value, bound
                self.missing[i] -= 1
                touched.add(i)
        terms = {i: self.terms[i] for i in sorted(touched) if not self.missing[i]}
        return terms, {i: float(self.highest[i].sum()) for i, part in terms.items() if np.isnan(part).any()}


def check(reader: Completions) -> Contract:
    """Return the contract of a served model, tested at the first call.

    Raises:
        InputError: The server breaks it.
    """
    server = reader.server
    if server.contract is None:
        requests = _requests(reader)
        shown = partial(_shown, reader, requests)
        first, repeated, reordered = thrice(server, shown, len(requests), _gap, REPEATED)
        if len({value for (i, _), value in first.items() if len(requests[i].continuation) == 1}) == 1:
            raise InputError(f"The server at {server.address.base} gives every token the same log-probability.")
        singles = {i: request for i, request in enumerate(requests) if len(request.continuation) == 1}
        otherwise = _other_interface(reader, singles, first)
        local, against = compared(reader, lambda model: _locally(reader, model, requests, first), first, _gap)
        server.contract = Contract(repeated, reordered, local, against, otherwise)
        server.witness = lambda: _repeat_one(reader, requests[0], first)
    return server.contract


def thrice(
    server: Server, read: Callable[[Sequence[int]], T], n: int, gap: Callable[[T, T], float], allowed: float
) -> tuple[T, float, float]:
    """Return the numbers of n items, and their largest differences (nats) when repeated and in reverse order.

    Args:
        server: The server.
        read: Sends items one after the other in the given order, and returns their numbers.
        n: Number of items.
        gap: Largest difference of two such results.
        allowed: Largest difference that is allowed.

    Raises:
        InputError: A difference is larger.
    """
    first, again, backwards = (read(order) for order in (range(n), range(n), range(n)[::-1]))
    repeated = within(server, gap(first, again), allowed, "when requests are repeated")
    return first, repeated, within(server, gap(first, backwards), allowed, "when requests are sent in reverse order")


def compared(
    reader: Completions | Any, numbers: Callable[[Model], T], first: T, gap: Callable[[T, T], float]
) -> tuple[float | None, str]:
    """Return the largest difference from the local model that the address names, and that model in words.

    Where the numbers differ by more than float32 does, the local model is read in bfloat16 too: a server in half
    precision differs about as much from float32 as the local model then does from itself.

    Args:
        reader: The server's backend.
        numbers: The numbers of the items by a local model.
        first: Those of the server.
        gap: Largest difference of two such results, in nats.

    Raises:
        InputError: The difference is larger than `LOCAL` and than half precision explains, or than the tolerance.
    """
    source = reader.server.address.check_against
    if not source:
        return None, ""
    model = load_model(source)
    exact = numbers(model)
    apart, allowed, against = gap(first, exact), LOCAL, f"{source} in {model.dtype}"
    if apart > ROUNDING and model.dtype == "float32":
        del model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of half precision, which is what is measured
            half = gap(numbers(load_model(source, dtype="bfloat16")), exact)
        explained = apart <= HALF * half
        allowed = max(LOCAL, HALF * half) if explained else LOCAL
        against += f", which differs by {half:.2g} nat from itself in bfloat16: half precision "
        against += "explains it" if explained else "does not explain it (another file, template or quantisation may)"
    return within(reader.server, apart, allowed, f"compared with {against}"), against


def _other_interface(reader: Completions, singles: dict[int, Request], first: Shown) -> float:
    """Largest difference from the server's other interface, which shows wrong tokens and positions.

    Raises:
        InputError: It is too large, or the server does not return the text of its tokens.
    """
    server, exact = reader.server, reader.exact
    values: Shown = {}
    for (i, request), (text, _) in zip(singles.items(), ITEMS, strict=True):
        sent = request.context + request.continuation if exact else request.context
        read = Read(sent, 0, n_last=1) if exact else Read(sent, 0, {0: []})
        try:
            shown = reader.once(read, "" if exact else text)
        except InputError as error:
            raise InputError(f"{str(error)[:-1]} (the contract test, tokenizer {server.tokenizer!r}).") from error
        values |= {(i, name): value for name, value in shown.items()}
    if exact and not reader.names.compared:
        raise InputError(
            f"The server at {server.address.base} does not return the text of its tokens, so {server.tokenizer!r} "
            "cannot be verified as the model's tokenizer; use a vLLM that returns decoded_token."
        )
    way = "a label as the end of a prompt" if exact else f"as text, not as ids of the tokenizer {server.tokenizer!r}"
    return within(server, _gap({key: first[key] for key in first if key[0] in singles}, values), LOCAL, f"read {way}")


def _repeat_one(reader: Completions, request: Request, first: Shown) -> None:
    """Send one item of the test again.

    Raises:
        InputError: Its number differs from that of the test.
    """
    now = _shown(reader, [request], [0])
    gap = _gap({key: first[key] for key in first if key[0] == 0}, now)
    within(reader.server, gap, REPEATED, "when a request is repeated later")


def _requests(reader: Completions) -> list[Request]:
    """The first token of each item's option and, where the server reads longer options otherwise, all of it."""
    encoder = Encoder(reader.model.tokenizer, reader.model.context_length)
    whole = [encoder.encode(Question(prompt, (Option(text),)))[0] for prompt, text in ITEMS]
    single = [Request(request.context, request.continuation[:1]) for request in whole]
    return [request for pair in zip(single, whole) for request in pair] if reader.exact else single


def _shown(reader: Completions, requests: Sequence[Request], order: Sequence[int]) -> Shown:
    """The numbers of requests that are sent one after the other, in this order."""
    values: Shown = {}
    for i in order:
        read = replies.plan([requests[i]], True)[0] if reader.exact else Read(requests[i].context, 0, {0: []})
        values |= {(i, name): value for name, value in reader.once(read).items()}
    return values


def _gap(one: Shown, other: Shown) -> float:
    """Largest difference of the numbers that both have, in nats; infinite if they have none in common."""
    return max((abs(one[name] - other[name]) for name in one.keys() & other.keys()), default=inf)


def _locally(reader: Completions, model: Model, requests: list[Request], first: Shown) -> Shown:
    """A local model's numbers; of the tokens that a server lists, for the most probable one with a known id."""
    chosen: dict[int, tuple[str, Request]] = {}
    for i, name in sorted(first, key=lambda key: -first[key]):
        token = replies.token_of(reader.model.tokenizer, name) if name else None
        request = requests[i] if not name else Request(requests[i].context, (token,)) if token is not None else None
        if request is not None:
            chosen.setdefault(i, (name, request))
    keys = [(i, name) for i, (name, _) in chosen.items()]
    _, batches = reader.local(model).score([request for _, request in chosen.values()])
    return {keys[at]: float(part.sum()) for _, indices, terms in batches for at, part in zip(indices, terms)}


def within(server: Server, gap: float, allowed: float, when: str) -> float:
    """Return a difference (nats) of the contract test if it is allowed.

    Raises:
        InputError: It is larger than `allowed` or the tolerance of the address.
    """
    allowed = server.address.tolerance or allowed
    if gap > allowed:
        raise InputError(
            f"The server at {server.address.base} breaks the contract: {when}, a number differs by {gap:.2g} nat "
            f"({allowed:g} are allowed); none of its numbers are used. Correct the server, or allow more with "
            "?tolerance= in the model's address."
        )
    return gap
