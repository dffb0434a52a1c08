"""`Backend`: how questions are put to what reads a model, and their numbers come back.

The unit is the question, since not everything that answers one has tokens. The engine on this machine and completions
servers do; they share the encoding here, and what whole texts need (`TokenBackend`).
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


@dataclass(frozen=True, slots=True)
class Number:
    """What is known of the log-likelihood of one option."""

    logprob: float
    """Nats; NaN where only a bound is known."""
    high: float = nan
    """The most it can be, where that is all that is known."""


Numbers = Iterator[tuple[int, Mapping[bytes, Number]]]
"""Tokens computed or sent, and the numbers they gave, by key; a part at a time."""


class Backend(Protocol):
    """All that `ask` knows of what reads a model. One is made for every call."""

    label: str
    """What a progress bar says while it is at work."""
    bounded: bool
    """Whether some of its numbers are known as an interval only."""

    def keys(self, question: Question, truncate: Truncate) -> list[bytes]:
        """A key for each option, of everything that decides its number; reads no weights and no tokenizer."""

    def prepare(self, questions: Sequence[Question], truncate: Truncate) -> list[list[Reading]]:
        """Get questions ready; nothing is computed or sent.

        Returns:
            For each option of each question the key of its number, and what is known of its tokens.

        Raises:
            InputError: If one cannot be asked.
        """

    def run(self, keys: Sequence[bytes]) -> tuple[int, Numbers]:
        """Tokens to compute or send for these keys of what was prepared, and the numbers as they come."""

    def check_unchanged(self) -> None:
        """Refuse numbers just given if the model was changed while they were computed.

        Raises:
            InputError: If it was.
        """

    def facts(self) -> dict[str, str | int | float]:
        """How its numbers were computed and what they took; empty as long as none were."""


@runtime_checkable
class TokenBackend(Backend, Protocol):
    """A backend that reads tokens: whole texts can be scored, and continuations sampled."""

    def check_vocabulary(self, texts: Sequence[Sequence[int]], names: Sequence[str]) -> None:
        """Refuse token ids that the model does not know.

        Args:
            texts: Token ids of each text.
            names: What each is called in messages.

        Raises:
            InputError: If there is one.
        """

    def score(self, requests: Sequence[Request]) -> tuple[int, Iterator[Batch]]:
        """Tokens to compute or send for these requests, and their log-probabilities (nats) as they come."""

    def sample(self, contexts: Sequence[Ids], settings: Mapping[str, Any], seed: int) -> list[tuple[list[int], bool]]:
        """Sampled continuations of some prompts.

        Args:
            contexts: Token ids of each prompt.
            settings: As `transformers` names them: `do_sample`, `max_new_tokens`, and `temperature`, `top_p` and
                `top_k` unless it is greedy.
            seed: Of the sampling.

        Returns:
            Ids of each continuation up to and with the first end token, and whether there was one.
        """


class TokenReader:
    """What backends that read tokens have in common."""

    def __init__(self, model: Model, tier: str) -> None:
        """Take a model to read.

        Args:
            model: Whose numbers.
            tier: What decides a number beside the model's fingerprint and the token ids: a part of every key.
        """
        self.model, self.tier = model, tier
        self._requests: dict[bytes, tuple[Request, str]] = {}

    def keys(self, question: Question, truncate: Truncate) -> list[bytes]:
        """See `Backend`."""
        return text_keys(self.model.fingerprint, self.tier, truncate, question)

    def prepare(self, questions: Sequence[Question], truncate: Truncate) -> list[list[Reading]]:
        """See `Backend`."""
        encoder = Encoder(self.model.tokenizer, self.model.context_length, truncate)
        made = [encoder.encode(question) for question in questions]
        return [[self._reading(each, q.id) for each in requests] for q, requests in zip(questions, made)]

    def _reading(self, request: Request, name: str) -> Reading:
        key = request_key(self.model.fingerprint, self.tier, request)
        self._requests.setdefault(key, (request, name))
        return Reading(key, len(request.continuation), request.boundary_merged, request.truncated)

    def run(self, keys: Sequence[bytes]) -> tuple[int, Numbers]:
        """See `Backend`."""
        requests, names = zip(*(self._requests[key] for key in keys))
        total, found = self.numbers(requests, names)
        return total, ((tokens, {keys[i]: number for i, number in part.items()}) for tokens, part in found)

    def numbers(
        self, requests: Sequence[Request], names: Sequence[str]
    ) -> tuple[int, Iterator[tuple[int, dict[int, Number]]]]:
        """Tokens to compute or send for these requests, and the numbers of each by its place, as they come.

        Args:
            requests: What to score.
            names: The question of each, for messages.
        """
        raise NotImplementedError
