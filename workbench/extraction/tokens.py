"""From questions to token ids: the context, the scored continuation, and the boundary between them.

And from tokens to the characters they cover (`spans`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
"""Version of the encoding rules; increased when a text may get other tokens."""
FINAL = ("<|channel|>", "final", "<|message|>")
"""What a model with channels writes before its answer; some templates leave it to the model."""
TURNS: tuple[tuple[Speaker, ...], ...] = (("user",), ("system", "user"), ("user", "assistant", "user"))
"""Sequences of roles rendered to see what a template writes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One log-likelihood to compute: of the continuation given the context."""

    context: tuple[int, ...]
    """Token ids conditioned on, at least one."""
    continuation: tuple[int, ...]
    """Token ids scored, at least one."""
    boundary_merged: bool = False
    """Prompt and option were tokenised separately because the tokenizer merges across their boundary."""
    truncated: bool = False
    """The middle of the context was cut out to fit the model's context length."""


Batch = tuple[int, list[int], list[NDArray[np.float64]]]
"""What scoring yields: tokens computed, indices of completed requests, and log-probabilities of each one's tokens."""


class Unsupported(Exception):
    """A scoring method needs something that this network does not have; the message says what."""


class Encoder:
    """Encodes questions with one tokenizer.

    Plain text follows the tokenizer's own rule for a leading BOS; a chat template writes its own special tokens.
    Control tokens inside data are encoded as plain text.
    """

    def __init__(self, tokenizer: Any, context_length: int, truncate: Truncate = "error") -> None:
        """Find out which special tokens the tokenizer adds.

        Args:
            tokenizer: A transformers tokenizer.
            context_length: Maximum number of tokens of the network.
            truncate: For contexts that are too long: raise an error, or cut the middle out and flag it.
        """
        if truncate not in ("error", "middle"):
            raise InputError(f"truncate must be 'error' or 'middle', not {truncate!r}.")
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
        """Return one request per option, in order, all with the same context ids.

        Raises:
            InputError: The prompt is too long, its template drops text or opens a chain of thought, or an option has no
                tokens.
        """
        joined, tail = self._joined(question, scored=True)
        context = self._encoded_prompt(question, joined)
        texts = [option.text for option in question.options]
        self.control.check("".join(texts))
        tail_ids, *joint = self._encoded_after(tail, ["", *texts])
        if context[len(context) - len(tail_ids) :] != tail_ids:
            raise InputError(
                f"The chat template of this model ends in text that its tokenizer does not reproduce (question "
                f"{question.id!r}); ask with a plain-text prompt (chat=False)."
            )
        context = context or self._start(question.id)
        requests = []
        for text, ids in zip(texts, joint):
            merged = ids[: len(tail_ids)] != tail_ids or len(ids) == len(tail_ids)
            continuation = self._encoded_alone(text) if merged else ids[len(tail_ids) :]
            self._check_option(text, continuation, question.id)
            fitted = self._fitted(context, len(continuation), question.id)
            requests.append(Request(tuple(fitted), tuple(continuation), merged, len(fitted) < len(context)))
        _check_distinct(question.options, requests, question.id)
        return requests

    def context(self, prompt: str | tuple[Message, ...]) -> tuple[int, ...]:
        """Return the ids of a prompt alone, for generation."""
        question = Question(prompt, (Option("x"),))
        ids = self._encoded_prompt(question, self._joined(question)[0]) or self._start(question.id)
        return tuple(self._fitted(ids, 1, question.id))

    def encode_texts(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the token ids of plain texts, with BOS if the tokenizer adds it."""
        texts = list(texts)
        self.control.check("".join(texts))
        return [self.lead + ids for ids in self.control.encoded(texts)]

    def _joined(self, question: Question, scored: bool = False) -> tuple[str, str]:
        """The text of the prompt, and its tail from the last control token on, with which options are encoded.

        Control tokens written by a template are replaced by stand-ins (`ControlTokens`).
        """
        self.control.check(question.prompt_text)
        if isinstance(question.prompt, str):
            return question.prompt, question.prompt
        rendered = self._template.rendered(question.prompt, question.id, self.control.hidden)
        start = self._reply_start(rendered, question.id) if scored else ""
        joined = self.control.joined(rendered.text + start)
        return joined, joined[max(self.control.last_in(joined) - 1, 0) :]

    def _reply_start(self, rendered: Rendered, question_id: str) -> str:
        """What the model writes between header and answer: control tokens, such as a final channel's, or a newline.

        Raises:
            InputError: A chain of thought is open, or the start of an answer is unknown.
        """
        start = rendered.more if self.control.first_in(rendered.more) or rendered.more.endswith("\n") else ""
        if rendered.header.rstrip().endswith("<|start|>assistant") and FINAL[0] not in start:
            if {FINAL[0], FINAL[2]} <= set(self.control.texts):
                start = "".join(FINAL)
            elif not start:
                raise InputError(
                    f"The chat template ends question {question_id!r} in <|start|>assistant, after which the model "
                    "writes a channel and not yet an answer; ask with a plain-text prompt (chat=False)."
                )
        if mark := thought_opened(rendered.header) or thought_opened(rendered.header + start):
            raise InputError(
                f"The chat template opens a chain of thought ({mark}) before question {question_id!r} is answered, "
                "so its options would be scored as thoughts; ask with a plain-text prompt (chat=False)."
            )
        return start

    def _written(self) -> str:
        """What the chat template writes around messages."""
        texts = []
        for roles in TURNS:
            try:
                texts.append(self._template.rendered([Message(role, "x") for role in roles], "").text)
            except InputError:
                continue  # some templates take no system message
        return "\n".join(texts)

    def _encoded_prompt(self, question: Question, joined: str) -> list[int]:
        """The ids of a prompt; plain text begins with the tokenizer's special tokens."""
        return (self.lead if isinstance(question.prompt, str) else []) + self.control.encoded([joined])[0]

    def _encoded_after(self, tail: str, texts: list[str]) -> list[list[int]]:
        """The ids of texts that follow the tail of a prompt, without the control token at its start."""
        encoded = self.control.encoded([tail + text for text in texts])
        if not (anchor := self.control.anchor(tail)):
            return encoded
        (first,) = self.control.encoded([anchor])
        return [ids[ids.index(first[-1]) + 1 :] for ids in encoded]

    def _encoded_alone(self, text: str) -> list[int]:
        """The ids of an option encoded without its prompt, and without a leading space added by the tokenizer."""
        newline, joint, alone = self.control.encoded(["\n", "\n" + text, text])
        return joint[len(newline) :] if joint[: len(newline)] == newline else alone

    def _check_option(self, text: str, ids: list[int], question_id: str) -> None:
        if not ids:
            raise InputError(f"Option {text!r} of question {question_id!r} has no tokens; give it visible text.")
        if self.tokenizer.unk_token_id in ids:
            raise InputError(
                f"Option {text!r} of question {question_id!r} has a character that this model's tokenizer does not "
                f"know (it reads {self.tokenizer.unk_token!r}); leave it out, or use a model that knows it."
            )

    def _start(self, question_id: str) -> list[int]:
        """The context of an empty prompt: BOS, else EOS."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return [token]
        raise InputError(
            f"The prompt of question {question_id!r} is empty and the tokenizer has no BOS; add some text."
        )

    def _fitted(self, context: list[int], n_continuation: int, question_id: str) -> list[int]:
        """The context, with its middle cut out if needed and allowed."""
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


def _check_distinct(options: Sequence[Option], requests: Sequence[Request], question_id: str) -> None:
    """Refuse options with different text and equal tokens, whose probability would count twice.

    Surface forms of one label (same role and value) pass: they are flagged, and counted once when levels are read.
    """
    first: dict[tuple[int, ...], Option] = {}
    for option, request in zip(options, requests):
        earlier = first.setdefault(request.continuation, option)
        one_label = option.value is not None and (option.role, option.value) == (earlier.role, earlier.value)
        if earlier.text != option.text and not one_label:
            raise InputError(
                f"Options {earlier.text!r} and {option.text!r} of question {question_id!r} have the same tokens with "
                "this model, so their probability would count twice; keep one of them."
            )


def _leading_special_ids(tokenizer: Any) -> list[int]:
    """The special ids that the tokenizer adds before plain text; those it adds at the end are never used."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start]
    raise InputError("This tokenizer changes plain text when it adds special tokens; it cannot be used for scoring.")


def spans(tokenizer: Any, text: str, ids: Sequence[int]) -> list[Span] | None:
    """Return the characters of a text that each of its tokens covers, as half-open intervals.

    Tokens that share a character, such as the bytes of an emoji, each get all that they cover together. A space belongs
    to the token that contains it; a space added by the tokenizer belongs to none. The distinct spans joined give the
    text.

    Args:
        tokenizer: A transformers tokenizer.
        text: The text that was encoded.
        ids: Its tokens, without special tokens before it.

    Returns:
        One (start, end) per token; None if the tokenizer changes the text so that its tokens cannot be located.
    """
    data = text.encode()
    pieces = tokenizer.convert_ids_to_tokens(list(ids))
    for spelling in (_byte_level, _sentence_piece):
        parts = [piece if isinstance(piece, bytes) else spelling(piece) for piece in pieces]
        joined = b"".join(parts)
        if joined in (data, b" " + data):
            return _merged(_from_bytes(text, parts, len(joined) - len(data)))
    offsets = _from_offsets(tokenizer, text, list(ids))
    return offsets and _merged(offsets)


def _byte_level(piece: str) -> bytes:
    known = _byte_letters()
    return bytes(known[letter] for letter in piece) if known.keys() >= set(piece) else piece.encode()


def _sentence_piece(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes.fromhex(piece[3:5])
    return piece.replace("▁", " ").encode()


@cache
def _byte_letters() -> dict[str, int]:
    """The letter by which GPT-2 and its successors spell each byte."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def _from_bytes(text: str, parts: Sequence[bytes], added: int) -> list[Span]:
    """Spans from the bytes of each token; the first `added` bytes precede the text."""
    owner = [i for i, letter in enumerate(text) for _ in letter.encode()] + [len(text)]
    covered, at = [], -added
    for part in parts:
        first, last = max(at, 0), at + len(part)
        covered.append((owner[first], owner[last - 1] + 1 if last > first else owner[first]))
        at = last
    return covered


def _merged(overlapping: list[Span]) -> list[Span]:
    """The spans, with those that overlap replaced by their union, so that any two are equal or disjoint."""
    unions: list[list[int]] = []
    group: list[int] = []
    for start, end in overlapping:
        if unions and start < unions[-1][1]:
            unions[-1][1] = max(unions[-1][1], end)
        else:
            unions.append([start, end])
        group.append(len(unions) - 1)
    return [(unions[i][0], unions[i][1]) for i in group]


def _from_offsets(tokenizer: Any, text: str, ids: list[int]) -> list[Span] | None:
    """Spans from a fast tokenizer's own offsets, for tokenizers that normalise the text (Unicode forms, case)."""
    if not getattr(tokenizer, "is_fast", False):
        return None
    for before in ("", "\n"):
        encoded = tokenizer(
            before + text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
        )
        skipped = len(encoded["input_ids"]) - len(ids)
        if skipped >= 0 and list(encoded["input_ids"][skipped:]) == ids:
            offsets = [[max(at - len(before), 0) for at in pair] for pair in encoded["offset_mapping"][skipped:]]
            covered, end = [], 0
            for start, stop in offsets:  # gaps are white space trimmed by the offsets, or dropped letters
                start, stop = (min(start, end), max(stop, end)) if stop > start else (end, end)
                covered.append((start, stop))
                end = stop
            if covered:
                covered[-1] = (covered[-1][0], len(text))
            return covered
    return None
