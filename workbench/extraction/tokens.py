"""From questions to token ids: what is conditioned on, what is scored, where one ends and the other begins.

And back, from tokens to the characters of a text, so that tokens can be joined to words again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError
from workbench.extraction.templates import ChatTemplate, ControlTokens, Rendered, thought_opened
from workbench.questions import Message, Option, Question, Speaker

Span = tuple[int, int]
Truncate = Literal["error", "middle"]
RULES = "3"
"""Version of the rules below; changes when a text may come to other tokens."""
FINAL = ("<|channel|>", "final", "<|message|>")
"""What a model with channels writes before its answer; some templates leave it to the model."""
TURNS: tuple[tuple[Speaker, ...], ...] = (("user",), ("system", "user"), ("user", "assistant", "user"))
"""Chats that show what a template writes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One log-likelihood to compute: of the continuation's tokens after the context's."""

    context: tuple[int, ...]
    """Token ids conditioned on, at least one."""
    continuation: tuple[int, ...]
    """Token ids scored, at least one."""
    boundary_merged: bool = False
    """The tokenizer would merge across the join, so the two were encoded apart."""
    truncated: bool = False
    """The middle of the context was cut out to fit the model's context length."""


Batch = tuple[int, list[int], list[NDArray[np.float64]]]
"""What scoring yields: tokens computed, indices of finished requests, and log-probabilities of each one's tokens."""


class Unsupported(Exception):
    """A way to score asks for something this network does not do; the message says what."""


class Encoder:
    """Encodes questions with one tokenizer, under one set of rules.

    Plain text follows the tokenizer's own rule for a leading BOS; a chat template writes its own special tokens.
    Control tokens inside data are always encoded as plain text.
    """

    def __init__(self, tokenizer: Any, context_length: int, truncate: Truncate = "error") -> None:
        """Learn the tokenizer's rules.

        Args:
            tokenizer: A transformers tokenizer.
            context_length: Most tokens the network takes.
            truncate: What happens to a context that is too long: an error, or its middle is cut out and flagged.
        """
        if truncate not in ("error", "middle"):
            raise InputError(f"truncate={truncate!r} is not known; use 'error' or 'middle'.")
        self.tokenizer = tokenizer
        self.context_length = context_length
        self.truncate = truncate
        self.lead = _leading_special_ids(tokenizer)
        self._template = ChatTemplate(tokenizer)

    @cached_property
    def control(self) -> ControlTokens:
        """The tokens that a template may write and data may not."""
        return ControlTokens(self.tokenizer, self._written() if self.tokenizer.chat_template else "")

    def encode(self, question: Question) -> list[Request]:
        """One request per option, in order, all with the same context ids.

        Raises:
            InputError: If the prompt is too long, its template drops text or opens a chain of thought, or an option has
                no tokens of its own.
        """
        joined, tail = self._joined(question, scored=True)
        context = self._led(question, joined)
        texts = [option.text for option in question.options]
        self.control.check("".join(texts))
        tail_ids, *joint = self._behind(tail, ["", *texts])
        if context[len(context) - len(tail_ids) :] != tail_ids:
            raise InputError(
                f"The chat template of this model ends in text that its tokenizer does not give back (question "
                f"{question.id!r}); ask with a plain-text prompt instead."
            )
        context = context or self._start(question.id)
        requests = []
        for text, ids in zip(texts, joint):
            apart = ids[: len(tail_ids)] != tail_ids or len(ids) == len(tail_ids)
            continuation = self._alone(text) if apart else ids[len(tail_ids) :]
            self._check_option(text, continuation, question.id)
            fitted = self._fitted(context, len(continuation), question.id)
            requests.append(Request(tuple(fitted), tuple(continuation), apart, len(fitted) < len(context)))
        _check_apart(question.options, requests, question.id)
        return requests

    def context(self, prompt: str | tuple[Message, ...]) -> tuple[int, ...]:
        """Ids of a prompt alone, for generation."""
        question = Question(prompt, (Option("x"),))
        ids = self._led(question, self._joined(question)[0]) or self._start(question.id)
        return tuple(self._fitted(ids, 1, question.id))

    def encode_texts(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of plain texts, BOS first where the tokenizer wants one."""
        texts = list(texts)
        self.control.check("".join(texts))
        return [self.lead + ids for ids in self.control.encoded(texts)]

    def _joined(self, question: Question, scored: bool = False) -> tuple[str, str]:
        """The prompt's text, and what of it options are encoded with: from the last control token on, which is in it.

        Control tokens that a template writes stand in for themselves (`ControlTokens`).
        """
        self.control.check(question.prompt_text)
        if isinstance(question.prompt, str):
            return question.prompt, question.prompt
        rendered = self._template.rendered(question.prompt, question.id, self.control.hidden)
        more = self._reply_begins(rendered, question.id) if scored else ""
        joined = self.control.joined(rendered.text + more)
        return joined, joined[max(self.control.last_in(joined) - 1, 0) :]

    def _reply_begins(self, rendered: Rendered, question_id: str) -> str:
        """What the model writes between header and answer: control tokens, as of a final channel, or a line's end.

        Raises:
            InputError: If a thought is open there, or what begins an answer is not known.
        """
        more = rendered.more if self.control.first_in(rendered.more) or rendered.more.endswith("\n") else ""
        if rendered.header.rstrip().endswith("<|start|>assistant") and FINAL[0] not in more:
            if {FINAL[0], FINAL[2]} <= set(self.control.texts):
                more = "".join(FINAL)
            elif not more:
                raise InputError(
                    f"The chat template ends question {question_id!r} in <|start|>assistant, behind which the model "
                    "writes a channel and not yet an answer; ask with a plain-text prompt (chat=False)."
                )
        if mark := thought_opened(rendered.header) or thought_opened(rendered.header + more):
            raise InputError(
                f"The chat template opens a chain of thought ({mark}) before question {question_id!r} is answered, "
                "so its options would be scored as thoughts; ask with a plain-text prompt (chat=False)."
            )
        return more

    def _written(self) -> str:
        """What the chat template writes around messages."""
        found = []
        for roles in TURNS:
            try:
                found.append(self._template.rendered([Message(role, "x") for role in roles], "").text)
            except InputError:
                continue  # some take no system text
        return "\n".join(found)

    def _led(self, question: Question, joined: str) -> list[int]:
        """Ids of a prompt; plain text begins as the tokenizer begins it."""
        return (self.lead if isinstance(question.prompt, str) else []) + self.control.encoded([joined])[0]

    def _behind(self, tail: str, texts: list[str]) -> list[list[int]]:
        """Ids of texts as they are encoded behind the tail of a prompt, without the control token it begins with."""
        encoded = self.control.encoded([tail + text for text in texts])
        if not (anchor := self.control.anchor(tail)):
            return encoded
        (first,) = self.control.encoded([anchor])
        return [ids[ids.index(first[-1]) + 1 :] for ids in encoded]

    def _alone(self, text: str) -> list[int]:
        """Ids of an option encoded apart from its prompt, without a space of the tokenizer's own in front."""
        newline, joint, alone = self.control.encoded(["\n", "\n" + text, text])
        return joint[len(newline) :] if joint[: len(newline)] == newline else alone

    def _check_option(self, text: str, ids: list[int], question_id: str) -> None:
        if not ids:
            raise InputError(f"Option {text!r} of question {question_id!r} has no tokens; give it visible text.")
        if self.tokenizer.unk_token_id in ids:
            raise InputError(
                f"Option {text!r} of question {question_id!r} has a character that this model's tokenizer does not "
                f"know (it reads {self.tokenizer.unk_token!r}); leave it out, or ask a model that knows it."
            )

    def _start(self, question_id: str) -> list[int]:
        """What an empty prompt is conditioned on: BOS, else EOS."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return [token]
        raise InputError(
            f"The prompt of question {question_id!r} is empty and the tokenizer has no BOS; add some text."
        )

    def _fitted(self, context: list[int], n_continuation: int, question_id: str) -> list[int]:
        """The context, its middle cut out if that is allowed and needed."""
        room = self.context_length - n_continuation + 1
        if len(context) <= room:
            return context
        if self.truncate == "error" or room < 2:
            raise InputError(
                f"Question {question_id!r} needs {len(context) + n_continuation} tokens, but the model takes "
                f"{self.context_length}; shorten it, or pass truncate='middle'."
            )
        head = room // 2
        return context[:head] + context[len(context) - (room - head) :]


def _check_apart(options: Sequence[Option], requests: Sequence[Request], question_id: str) -> None:
    """Refuse options that differ as text and not as tokens: the probability of both would count twice.

    Surface forms of one label (the same role and value) pass: they are flagged, and readers count them once.
    """
    first: dict[tuple[int, ...], Option] = {}
    for option, request in zip(options, requests):
        earlier = first.setdefault(request.continuation, option)
        one_label = option.value is not None and (option.role, option.value) == (earlier.role, earlier.value)
        if earlier.text != option.text and not one_label:
            raise InputError(
                f"Options {earlier.text!r} and {option.text!r} of question {question_id!r} come to the same tokens "
                "with this model, so their probability would count twice; keep one of them."
            )


def _leading_special_ids(tokenizer: Any) -> list[int]:
    """The special ids the tokenizer itself puts before plain text; ids it puts behind are never wanted."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start]
    raise InputError("This tokenizer changes plain text when it adds special tokens; it cannot be used for scoring.")


def spans(tokenizer: Any, text: str, ids: Sequence[int]) -> list[Span] | None:
    """The characters of a text that each of its tokens covers, as half-open intervals.

    Tokens that share a character, such as the bytes of an emoji, each get all that they cover together; a space belongs
    to the token that holds it, and one that the tokenizer invents to none. The distinct spans joined give the text.

    Args:
        tokenizer: A transformers tokenizer.
        text: What was encoded.
        ids: Its tokens, without those put before it.

    Returns:
        One (start, end) a token; None where the tokenizer changes the text so that its tokens cannot be placed.
    """
    data = text.encode()
    for parts in _as_bytes(tokenizer.convert_ids_to_tokens(list(ids))):
        joined = b"".join(parts)
        if joined in (data, b" " + data):
            return _shared(_of_bytes(text, parts, len(joined) - len(data)))
    offsets = _of_offsets(tokenizer, text, list(ids))
    return offsets and _shared(offsets)


def _as_bytes(pieces: Sequence[str | bytes]) -> Iterator[list[bytes]]:
    """The bytes of tokens as byte-level tokenizers write them, then as SentencePiece does."""
    for spelt in (_byte_level, _sentence_piece):
        yield [piece if isinstance(piece, bytes) else spelt(piece) for piece in pieces]


def _byte_level(piece: str) -> bytes:
    known = _letters_of_bytes()
    return bytes(known[letter] for letter in piece) if known.keys() >= set(piece) else piece.encode()


def _sentence_piece(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes.fromhex(piece[3:5])
    return piece.replace("▁", " ").encode()


@cache
def _letters_of_bytes() -> dict[str, int]:
    """The letter by which GPT-2 and its successors write each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def _of_bytes(text: str, parts: Sequence[bytes], invented: int) -> list[Span]:
    """Spans from the bytes of each token; the first `invented` bytes stand before the text."""
    owner = [i for i, letter in enumerate(text) for _ in letter.encode()] + [len(text)]
    found, at = [], -invented
    for part in parts:
        first, last = max(at, 0), at + len(part)
        found.append((owner[first], owner[last - 1] + 1 if last > first else owner[first]))
        at = last
    return found


def _shared(found: list[Span]) -> list[Span]:
    """Spans of which two are the same or have no character in common: those that overlap become one."""
    whole: list[list[int]] = []
    group: list[int] = []
    for start, end in found:
        if whole and start < whole[-1][1]:
            whole[-1][1] = max(whole[-1][1], end)
        else:
            whole.append([start, end])
        group.append(len(whole) - 1)
    return [(whole[i][0], whole[i][1]) for i in group]


def _of_offsets(tokenizer: Any, text: str, ids: list[int]) -> list[Span] | None:
    """Spans from a fast tokenizer's own offsets, where it rewrites the text (Unicode forms, case) first."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    for before in ("", "\n"):
        read = tokenizer(
            before + text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        skipped = len(read["input_ids"]) - len(ids)
        if skipped >= 0 and list(read["input_ids"][skipped:]) == ids:
            offsets = [[max(place - len(before), 0) for place in pair] for pair in read["offset_mapping"][skipped:]]
            found, end = [], 0
            for start, stop in offsets:  # a gap is white space that the offsets trim, or a letter that is dropped
                start, stop = (min(start, end), max(stop, end)) if stop > start else (end, end)
                found.append((start, stop))
                end = stop
            if found:
                found[-1] = (found[-1][0], len(text))
            return found
    return None
