"""Models behind a chat endpoint: options of one token, read from the most probable first tokens of the answer.

The endpoint takes messages, renders them with its own template, and names tokens by their text (`top_logprobs` of chat
completions). An option's number is the log-probability of the most probable listed token that spells it, with or
without a space before it. If none is listed, it has an upper bound: what the list leaves, and the probability of a
listed token that the option begins with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import exp, inf, log
from typing import Any

from workbench.errors import InputError
from workbench.extraction import replies
from workbench.extraction.backend import Backend, Number, Numbers
from workbench.extraction.replies import SENTINEL, InvalidReply
from workbench.extraction.served import LOCAL, Contract, Served, compared, thrice, within
from workbench.extraction.store import Reading
from workbench.extraction.tokens import Truncate
from workbench.models import Model
from workbench.questions import Message, Option, Question
from workbench.reading import printable

VERSION = "chat 1"
"""Part of every key of the answer store, in place of the engine's version."""
LONGEST = 24
"""Characters of an option that may be one token."""
THOUGHTS = ("<think", "<|channel", "[THINK", "<thought", "<seed:think", "<|begin_of_thought")
"""Beginnings of tokens that open a chain of thought."""
CONTINUE = 'Write only what comes directly after "{}".'
"""Line that asks for the rest of an answer whose beginning was given, since endpoints begin a new one."""
COMPARED = log(0.01)
"""Tokens below this log-probability are not compared in the contract test."""
ITEMS = tuple(
    Question((Message("user", text),), (Option(answer),))
    for text, answer in (
        ("What is the capital of France? Reply with one word.", "Paris"),
        ("Is ice colder than steam? Reply Yes or No.", "Yes"),
        ("What is 2 + 2? Reply with one digit.", "4"),
        ("Which is heavier, A: a feather, or B: a brick? Reply A or B.", "B"),
    )
)
Shown = dict[str, float]
"""Text of a token, without white space before it -> log-probability of the most probable token with this text."""


class Chats(Served):
    """Backend for a chat endpoint that shows the most probable tokens of its answer."""

    bounded = True

    def __init__(self, model: Model, local: Callable[[Model], Backend]) -> None:
        """Send nothing yet.

        Args:
            model: A model behind a chat endpoint.
            local: Makes the backend of a local model, for the contract test.
        """
        super().__init__(model)
        self.model, self.local = model, local
        self._options: dict[bytes, tuple[Question, str]] = {}

    def keys(self, question: Question, truncate: Truncate) -> list[bytes]:
        """See `Backend`; options that differ in white space before them have one key."""
        stem = f"{self.model.fingerprint}|{VERSION}|{messages_of(question)!r}|"
        texts = [f"{stem}{option.text.lstrip()}" for option in question.options]
        return [hashlib.blake2b(text.encode(), digest_size=20).digest() for text in texts]

    def prepare(self, questions: Sequence[Question], truncate: Truncate) -> list[list[Reading]]:
        """See `Backend`."""
        for question in questions:
            for key, option in zip(self.keys(question, truncate), question.options):
                text = option.text.lstrip()
                if len(text.split()) > 1 or len(text) > LONGEST:
                    raise InputError(
                        f"A chat endpoint shows the first token of an answer, and the option {printable(text)!r} of "
                        f"question {question.id!r} is not one; ask for letters or single words, or use a completions "
                        "server (vllm://..., openai+http://...)."
                    )
                self._options.setdefault(key, (question, text))
        return [[Reading(key, None, False, False) for key in self.keys(q, truncate)] for q in questions]

    def run(self, keys: Sequence[bytes]) -> tuple[int, Numbers]:
        """See `Backend`; the tokens are those that the server counts in its prompts."""
        check(self)
        self.used = True
        groups: dict[str, list[bytes]] = {}
        for key in keys:
            groups.setdefault(repr(messages_of(self._options[key][0])), []).append(key)
        prompts = list(groups.values())
        questions = [self._options[group[0]][0] for group in prompts]
        return len(prompts), self._numbers(prompts, questions)

    def _numbers(self, groups: Sequence[list[bytes]], questions: Sequence[Question]) -> Numbers:
        names = [question.id for question in questions]
        for index, reply in self.received([self.body(question) for question in questions], names):
            with self.naming(names[index]):
                shown, hidden = shown_in(reply)
            tokens = (reply.get("usage") or {}).get("prompt_tokens") or 0
            yield tokens, {key: number(self._options[key][1], shown, hidden) for key in groups[index]}

    def body(self, question: Question) -> dict[str, Any]:
        """Return the request for the first token of an answer."""
        settings = replies.PLAIN | {"max_tokens": 1, "logprobs": True, "top_logprobs": self.server.address.top_k}
        return settings | {"messages": messages_of(question)}

    def once(self, question: Question) -> Shown:
        """Return the tokens listed for one question that is sent by itself."""
        reply = self.server.complete(self.body(question), " (the contract test)")
        with self.naming("the contract test"):
            return shown_in(reply)[0]


def messages_of(question: Question) -> list[dict[str, str]]:
    """Return the messages of a question; the beginning of an answer becomes a line of the last message before it.

    Raises:
        InputError: The prompt is plain text, or nothing precedes the beginning of the answer.
    """
    if isinstance(question.prompt, str):
        raise InputError(
            f"Question {question.id!r} is plain text, and a chat endpoint takes messages; pass chat=True "
            "(-p chat=true), or use a completions server."
        )
    turns = [{"role": message.role, "content": message.content} for message in question.prompt]
    if turns and turns[-1]["role"] == "assistant":
        begun = turns.pop()["content"]
        if not turns or turns[-1]["role"] != "user":
            raise InputError(f"Question {question.id!r} begins an answer to nothing; add a message of the user.")
        turns[-1]["content"] += f"\n\n{CONTINUE.format(begun)}"
    return turns


def shown_in(reply: dict[str, Any]) -> tuple[Shown, float]:
    """Return the listed tokens, and an upper bound of the probability of any other.

    The token that was drawn can be in the list whatever its rank, so it does not count as the least probable one.

    Raises:
        InvalidReply: The reply has no log-probabilities or impossible ones, or begins with a chain of thought.
    """
    choice = replies.choice_of(reply)
    message, content = choice.get("message") or {}, (choice.get("logprobs") or {}).get("content")
    shown: Shown = {}
    listed, ranked, thoughts = [], [], 0.0
    drawn = (content or [{}])[0]
    for token in drawn.get("top_logprobs") or ():
        if isinstance(token.get("logprob"), float) and token["logprob"] <= SENTINEL:
            continue
        value, text = replies.plausible(token.get("logprob")), text_of(token)
        listed.append(value)
        thoughts += exp(value) * text.startswith(THOUGHTS)
        ranked += [value] if token.get("token") != drawn.get("token") else []
        shown[text] = max(value, shown.get(text, -inf))
    if message.get("reasoning_content") or message.get("reasoning") or thoughts > 0.5:
        raise InvalidReply(
            "writes a chain of thought before its answer, so that no first token is the answer's; add ?thinking=off to "
            "the address if the model's template has that switch, or use a completions server"
        )
    if not shown:
        raise InvalidReply("gives no log-probabilities; it needs to support top_logprobs of chat completions")
    return shown, replies.unlisted(listed, ranked)


def text_of(token: dict[str, Any]) -> str:
    """Return the text of a listed token without white space before it; its bytes, if stated, decide."""
    written = token.get("bytes")
    text = bytes(written).decode("utf-8", "replace") if written else str(token.get("token") or "")
    return text.replace("▁", " ").replace("Ġ", " ").lstrip()


def number(option: str, shown: Shown, hidden: float) -> Number:
    """Return the log-probability of an option, or its upper bound where no listed token spells it."""
    if option in shown:
        return Number(shown[option])
    begun = [value for text, value in shown.items() if option.startswith(text)]
    return Number(float("nan"), max([*begun, log(hidden)]))


def check(reader: Chats) -> Contract:
    """Return the contract of a chat endpoint, tested at the first call.

    Raises:
        InputError: The endpoint breaks it.
    """
    server = reader.server
    if server.contract is None:
        first, repeated, reordered = thrice(server, partial(_shown, reader), len(ITEMS), _gap, LOCAL)
        local, against = compared(reader, lambda model: _locally(reader, model, first), first, _gap)
        server.contract = Contract(repeated, reordered, local, against, None, len(ITEMS))
        server.witness = lambda: _repeat_one(reader, first)
    return server.contract


def _shown(reader: Chats, order: Sequence[int]) -> dict[int, Shown]:
    """The tokens listed for the items, sent one after the other in this order."""
    return {i: reader.once(ITEMS[i]) for i in order}


def _repeat_one(reader: Chats, first: Mapping[int, Shown]) -> None:
    """Send one item of the test again.

    Raises:
        InputError: Its numbers differ from those of the test.
    """
    within(reader.server, _gap({0: first[0]}, _shown(reader, [0])), LOCAL, "when a request is repeated later")


def _gap(one: Mapping[int, Shown], other: Mapping[int, Shown]) -> float:
    """Largest difference of the probable tokens that both list, in nats; infinite if an item has none in common."""
    gaps = [
        max((abs(a[text] - other[i][text]) for text in a.keys() & other[i].keys() if a[text] > COMPARED), default=inf)
        for i, a in one.items()
    ]
    return max(gaps)


def _locally(reader: Chats, model: Model, first: Mapping[int, Shown]) -> dict[int, Shown]:
    """The numbers of a local model for the probable tokens of each item."""
    backend = reader.local(model)
    listed = [
        [t for t in shown if t and shown[t] > COMPARED] or [max(shown, key=lambda t: shown[t])]
        for _, shown in sorted(first.items())
    ]
    forms = [[space + text for text in texts for space in ("", " ")] for texts in listed]
    items = [Question(item.prompt, tuple(map(Option, each))) for item, each in zip(ITEMS, forms)]
    readings = backend.prepare(items, "error")
    _, batches = backend.run(list(dict.fromkeys(reading.key for each in readings for reading in each)))
    known = {key: each.logprob for _, numbers in batches for key, each in numbers.items()}
    local: dict[int, Shown] = {i: {} for i in range(len(ITEMS))}
    for shown, texts, each in zip(local.values(), forms, readings):
        for text, reading in zip(texts, each):
            if reading.n_tokens == 1:
                shown[text.lstrip()] = max(known[reading.key], shown.get(text.lstrip(), -inf))
    return local
