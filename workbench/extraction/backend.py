"""The interface between `ask` and what reads a model.

Its unit is the question, since decision endpoints have no tokens. The local engine and completions servers have; they
share the encoding here (`TokenReader`) and can score whole texts (`TokenBackend`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Protocol, runtime_checkable

from workbench.extraction.store import Reading, request_key, text_keys
from workbench.extraction.tokens import Batch, Encoder, Request, Truncate
from workbench.models import Model
from workbench.questions import Question

Ids = tuple[int, ...]
Facts = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Number:
    """The log-likelihood of one option, or its upper bound."""

    logprob: float
    """Nats; NaN if only a bound is known."""
    high: float = nan
    """Upper bound, if only that is known."""


Numbers = Iterator[tuple[int, Mapping[bytes, Number]]]
"""Batches of (tokens computed or sent, numbers by key)."""


class Backend(Protocol):
    """Reads one model for one call of `ask`."""

    label: str
    """Label of the progress bar."""
    bounded: bool
    """Whether some numbers can be bounds only."""

    def keys(self, question: Question, truncate: Truncate) -> list[bytes]:
        """Return a key for each option, of all that decides its number, without loading weights or tokenizer."""

    def prepare(self, questions: Sequence[Question], truncate: Truncate) -> list[list[Reading]]:
        """Encode questions; return the key of each option's number, with its token counts and flags.

        Raises:
            InputError: A question cannot be encoded.
        """

    def run(self, keys: Sequence[bytes]) -> tuple[int, Numbers]:
        """Return how many tokens prepared keys need, and an iterator that computes their numbers."""

    def check_unchanged(self) -> None:
        """Raise InputError if the model changed while the last numbers were computed."""

    def facts(self) -> Facts:
        """Return how the numbers were computed and what they cost; empty if none were computed."""


@runtime_checkable
class TokenBackend(Backend, Protocol):
    """A backend that can score whole texts and sample continuations."""

    def check_vocabulary(self, texts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
        """Raise InputError if a text has a token id unknown to the model; `names` are for the message."""

    def score(self, requests: Sequence[Request]) -> tuple[int, Iterator[Batch]]:
        """Return how many tokens these requests need, and an iterator over their log-probabilities (nats)."""

    def sample(self, contexts: Sequence[Ids], settings: Mapping[str, Any], seed: int) -> list[tuple[list[int], bool]]:
        """Sample one continuation of each prompt.

        Args:
            contexts: Token ids of each prompt.
            settings: As in `transformers`: `do_sample`, `max_new_tokens`, and `temperature`, `top_p` and `top_k` unless
                decoding is greedy.
            seed: Seed of the sampling.

        Returns:
            The ids of each continuation up to and including the first end token, and whether there was one.
        """


class TokenReader:
    """Encoding and keys shared by backends that read tokens."""

    def __init__(self, model: Model, tier: str) -> None:
        """Load nothing yet.

        Args:
            model: The model to read.
            tier: Part of every key: what decides a number beside the model's fingerprint and the token ids.
        """
        self.model, self.tier = model, tier
        self._requests: dict[bytes, tuple[Request, str]] = {}

    def keys(self, question: Question, truncate: Truncate) -> list[bytes]:
        """See `Backend`."""
        return text_keys(self.model.fingerprint, self.tier, truncate, question)

    def prepare(self, questions: Sequence[Question], truncate: Truncate) -> list[list[Reading]]:
        """See `Backend`."""
        encoder = Encoder(self.model.tokenizer, self.model.context_length, truncate)
        encoded = [encoder.encode(question) for question in questions]
        return [[self._reading(each, q.id) for each in requests] for q, requests in zip(questions, encoded)]

    def _reading(self, request: Request, name: str) -> Reading:
        key = request_key(self.model.fingerprint, self.tier, request)
        self._requests.setdefault(key, (request, name))
        return Reading(key, len(request.continuation), request.boundary_merged, request.truncated)

    def run(self, keys: Sequence[bytes]) -> tuple[int, Numbers]:
        """See `Backend`."""
        requests, names = zip(*(self._requests[key] for key in keys))
        total, batches = self.numbers(requests, names)
        return total, ((tokens, {keys[i]: number for i, number in part.items()}) for tokens, part in batches)

    def numbers(
        self, requests: Sequence[Request], names: Sequence[str]
    ) -> tuple[int, Iterator[tuple[int, dict[int, Number]]]]:
        """As `run`, for requests; numbers are by index of the request, `names` are questions, for messages."""
        raise NotImplementedError
