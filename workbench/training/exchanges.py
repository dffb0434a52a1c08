"""How a prompt and its answer are put to a model, alike when it is trained and when it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from workbench.datasets.rendering import plain
from workbench.models import Model
from workbench.questions import Message

ANSWERS = ("completion", "chosen", "rejected")
Asked = str | Sequence[Mapping[str, str]]
"""What is asked: a text, or a dialogue, as messages with role and content of which the last is the user's."""


def as_messages(asked: Asked) -> tuple[Message, ...]:
    """What is asked as messages."""
    turns = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    return tuple(Message(turn["role"], turn["content"].strip()) for turn in turns)  # type: ignore[arg-type]


def as_prompt(model: Model, asked: Asked, chat: bool | None = None) -> str | tuple[Message, ...]:
    """A text or a dialogue as the model is asked it.

    Args:
        model: Who is asked.
        asked: What is asked.
        chat: True for a chat, False for a text as it stands; by default a chat where the model has a template, and
            else `Question: ... Answer:`.
    """
    if chat or (chat is None and model.tokenizer.chat_template):
        return as_messages(asked)
    return asked if chat is False and isinstance(asked, str) else plain(as_messages(asked))


def as_answer(model: Model, text: str, chat: bool | None = None) -> str:
    """A response as it follows `as_prompt`."""
    if chat is False:
        return text
    return text.strip() if chat or model.tokenizer.chat_template else " " + text.strip()


def as_trained(tokenizer: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of training data in the same form: messages where there is a template, else texts."""
    if not tokenizer.chat_template:
        texts = {name: " " + row[name].strip() for name in ANSWERS if name in row}
        return {**row, "prompt": plain(as_messages(row["prompt"])), **texts}
    chats = {name: [{"role": "assistant", "content": row[name].strip()}] for name in ANSWERS if name in row}
    return {**row, "prompt": [asdict(message) for message in as_messages(row["prompt"])], **chats}
