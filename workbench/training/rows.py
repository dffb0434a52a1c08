"""Rows to train on: the columns of each algorithm, and one form of prompt and response for training and scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from workbench.datasets.rendering import plain
from workbench.errors import InputError
from workbench.models import Model
from workbench.questions import Message
from workbench.training.algorithms import PAIR, Row, algorithm_named, policy_algorithm

RESPONSES = ("completion", "chosen", "rejected")
Prompt = str | Sequence[Mapping[str, str]]
"""A text, or a dialogue: messages with role and content, the last from the user."""


def checked_rows(algorithm: str, data: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the algorithm's columns of every row; none may be missing or empty."""
    columns = algorithm_named(algorithm).columns
    if not len(data):
        raise InputError(f"There are no rows to train {algorithm!r} on; give at least one row.")
    for number, row in enumerate(data):
        for name in columns:
            if name not in row:
                raise InputError(f"Row {number} lacks the column {name!r}; {algorithm!r} needs {', '.join(columns)}.")
            if isinstance(row[name], str) and not row[name].strip():
                raise InputError(f"Row {number} has an empty {name!r}; leave the row out.")
    return [{name: row[name] for name in columns} for row in data]


def rows_for(algorithm: str, pairs: Sequence[Row]) -> list[dict[str, Any]]:
    """Return preference pairs in the columns of an algorithm.

    Algorithms for pairs take them unchanged; kto takes each response with its label, rloo and grpo the prompts only,
    and sft, as a control, the preferred responses.
    """
    columns = policy_algorithm(algorithm).columns
    rows = checked_rows("dpo", pairs)
    if columns == PAIR:
        return rows
    sides = PAIR[1:] if "label" in columns else ("chosen",)
    responses = [{**row, "completion": row[side], "label": side == "chosen"} for row in rows for side in sides]
    return [{name: row[name] for name in columns} for row in responses]


def as_messages(prompt: Prompt) -> tuple[Message, ...]:
    """Return a prompt as messages, without white space at the ends of each."""
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return tuple(Message(turn["role"], turn["content"].strip()) for turn in turns)  # type: ignore[arg-type]


def as_prompt(model: Model, prompt: Prompt, chat: bool | None = None) -> str | tuple[Message, ...]:
    """Return a text or a dialogue in the form in which the model is queried.

    `chat` is True for chat messages, False for the text unchanged; by default chat messages if the tokenizer has a
    template, else `Question: ... Answer:`.
    """
    if chat or (chat is None and model.tokenizer.chat_template):
        return as_messages(prompt)
    return prompt if chat is False and isinstance(prompt, str) else plain(as_messages(prompt))


def as_answer(model: Model, text: str, chat: bool | None = None) -> str:
    """Return a response in the form in which it follows `as_prompt`."""
    if chat is False:
        return text
    return text.strip() if chat or model.tokenizer.chat_template else " " + text.strip()


def as_trained(tokenizer: Any, row: Row) -> dict[str, Any]:
    """Return a row in the same form for TRL: messages if the tokenizer has a template, else texts."""
    if not tokenizer.chat_template:
        texts = {name: " " + row[name].strip() for name in RESPONSES if name in row}
        return {**row, "prompt": plain(as_messages(row["prompt"])), **texts}
    chats = {name: [{"role": "assistant", "content": row[name].strip()}] for name in RESPONSES if name in row}
    return {**row, "prompt": [asdict(message) for message in as_messages(row["prompt"])], **chats}
