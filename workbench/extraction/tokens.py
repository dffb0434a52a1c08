"""From questions to token ids: what is conditioned on, what is scored, and where one ends and the other begins."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workbench.errors import InputError
from workbench.questions import Message, Option, Question

Truncate = Literal["error", "middle"]
RULES = "1"
"""Version of the rules below; changes when a text may come to other tokens."""
TEMPLATE_DATE = date(2025, 1, 1)
"""The date that templates asking for today are given, so that a reading does not change overnight."""
THOUGHTS = ("<think>", "[THINK]", "<seed:think>")
"""What opens a chain of thought in the families that have one."""


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
        self._special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]

    def encode(self, question: Question) -> list[Request]:
        """One request per option, in order, all with the same context ids.

        Raises:
            InputError: If the prompt is too long, its template opens a chain of thought, or an option has no tokens of
                its own.
        """
        context, anchor, tail = self._context(question)
        if not isinstance(question.prompt, str) and question.prompt[-1].role != "assistant":
            _check_no_thought(anchor + tail, question.id)
        texts = [option.text for option in question.options]
        tail_ids, *joint = self._behind(anchor, [tail, *(tail + text for text in texts)])
        if context[len(context) - len(tail_ids) :] != tail_ids:
            raise InputError(
                f"The chat template of this model ends in text that its tokenizer does not give back (question "
                f"{question.id!r}); ask with a plain-text prompt instead."
            )
        context = context or self._start(question.id)
        requests = []
        for text, ids in zip(texts, joint):
            apart = ids[: len(tail_ids)] != tail_ids or len(ids) == len(tail_ids)
            apart = apart or (bool(anchor) and self._holds_control_token(text))
            continuation = self._alone(text) if apart else ids[len(tail_ids) :]
            if not continuation:
                raise InputError(f"Option {text!r} of question {question.id!r} has no tokens; give it visible text.")
            fitted = self._fitted(context, len(continuation), question.id)
            requests.append(Request(tuple(fitted), tuple(continuation), apart, len(fitted) < len(context)))
        return requests

    def context(self, prompt: str | tuple[Message, ...]) -> tuple[int, ...]:
        """Ids of a prompt alone, for generation."""
        question = Question(prompt, (Option("x"),))
        ids = self._context(question)[0] or self._start(question.id)
        return tuple(self._fitted(ids, 1, question.id))

    def encode_texts(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of plain texts, BOS first where the tokenizer wants one."""
        return [self.lead + ids for ids in self._plain(list(texts))]

    def _context(self, question: Question) -> tuple[list[int], str, str]:
        """Context ids, the last control token among them, and the text behind it, which options are encoded with."""
        if isinstance(question.prompt, str):
            return self.lead + self._plain([question.prompt])[0], "", question.prompt
        ids, rendered = self._rendered(question.prompt, question.id)
        ends = {rendered.rfind(token) + len(token): token for token in self._special if token in rendered}
        end = max(ends, default=0)
        return ids, ends.get(end, ""), rendered[end:]

    def _rendered(self, messages: tuple[Message, ...], question_id: str) -> tuple[list[int], str]:
        """A chat rendered by the model's own template, as ids and as text."""
        if not self.tokenizer.chat_template:
            raise InputError("This model has no chat template; load the questions with chat=False.")
        prefill = messages[-1].role == "assistant"
        options: dict[str, Any] = {
            "add_generation_prompt": not prefill,
            "continue_final_message": prefill,
            "enable_thinking": False,
            "date_string": TEMPLATE_DATE.strftime("%d %b %Y"),
            "chat_template": _dated(self.tokenizer.get_chat_template()),
        }
        chat = [{"role": message.role, "content": message.content} for message in messages]
        try:
            rendered = self.tokenizer.apply_chat_template(chat, tokenize=False, **options)
            if any(self._holds_control_token(message.content) for message in messages):
                options |= {"tokenize": True, "return_dict": True, "sanitize_control_tokens": True}
                ids = self.tokenizer.apply_chat_template(chat, **options)["input_ids"]
            else:
                ids = self.tokenizer(rendered, add_special_tokens=False, split_special_tokens=False)["input_ids"]
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("jinja2", "builtins"):
                raise
            raise InputError(
                f"The chat template refuses question {question_id!r} ({error}); change its messages, for instance move "
                "the system text into the user's, or ask with a plain-text prompt."
            ) from error
        if prefill and not rendered.endswith(messages[-1].content):
            raise InputError(f"The chat template changes the prefilled answer of question {question_id!r}.")
        return list(ids), rendered

    def _holds_control_token(self, text: str) -> bool:
        return any(token in text for token in self._special)

    def _behind(self, anchor: str, texts: list[str]) -> list[list[int]]:
        """Ids of texts as they are encoded behind a control token; with no anchor, as plain text."""
        if not anchor:
            return self._plain(texts)
        batch = self.tokenizer([anchor + text for text in texts], add_special_tokens=False, split_special_tokens=False)
        return [list(ids[1:]) for ids in batch["input_ids"]]

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts with no special token added or recognised."""
        batch = self.tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True)
        return [list(ids) for ids in batch["input_ids"]]

    def _alone(self, text: str) -> list[int]:
        """Ids of an option encoded apart from its prompt, without a space of the tokenizer's own in front."""
        newline, joint = self._plain(["\n", "\n" + text])
        return joint[len(newline) :] if joint[: len(newline)] == newline else self._plain([text])[0]

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


def _check_no_thought(end: str, question_id: str) -> None:
    """Refuse a chat whose header already opens a chain of thought: what follows it is a thought, not an answer."""
    if end.rstrip().endswith(THOUGHTS):
        raise InputError(
            f"The chat template opens a chain of thought before question {question_id!r} is answered, so its options "
            "would be scored as thoughts; ask with a plain-text prompt (chat=False)."
        )


def _dated(template: str) -> str:
    """A chat template whose calls for today's date are answered with the fixed one."""
    return re.sub(r"strftime_now\((['\"])(.*?)\1\)", lambda call: repr(TEMPLATE_DATE.strftime(call[2])), template)


def _leading_special_ids(tokenizer: Any) -> list[int]:
    """The special ids the tokenizer itself puts before plain text; ids it puts behind are never wanted."""
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    full = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start]
    raise InputError("This tokenizer changes plain text when it adds special tokens; it cannot be used for scoring.")
