"""How a prompt and its answer are put to a model, alike when it is trained and when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.datasets.value_drift import PLAIN
from workbench.models import Model
from workbench.questions import Message

ANSWERS = ("completion", "chosen", "rejected")


def as_prompt(model: Model, text: str, chat: bool | None = None) -> str | tuple[Message, ...]:
    """A text as the model is asked it.

    Args:
        model: Who is asked.
        text: What is asked.
        chat: True for a chat, False for the text as it stands; by default a chat where the model has a template, and
            else `Question: ... Answer:`.
    """
    text = text if chat is False else text.strip()
    if chat or (chat is None and model.tokenizer.chat_template):
        return (Message("user", text),)
    return text if chat is False else PLAIN.format(text=text)


def as_answer(model: Model, text: str, chat: bool | None = None) -> str:
    """A response as it follows `as_prompt`."""
    if chat is False:
        return text
    return text.strip() if chat or model.tokenizer.chat_template else " " + text.strip()


def as_trained(tokenizer: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of training data in the same form: messages where there is a template, else texts."""
    if not tokenizer.chat_template:
        plain = {name: " " + row[name].strip() for name in ANSWERS if name in row}
        return {**row, "prompt": PLAIN.format(text=row["prompt"].strip()), **plain}
    chats = {name: [{"role": "assistant", "content": row[name].strip()}] for name in ANSWERS if name in row}
    return {**row, "prompt": [{"role": "user", "content": row["prompt"].strip()}], **chats}
