"""Dialogues of data sets as messages."""

from __future__ import annotations

import re
from collections.abc import Sequence

from workbench.datasets.items import Unusable
from workbench.questions import Message, Speaker

PLAIN = "Question: {text}\nAnswer:"
"""What stands around a prompt where a model has no chat template; an answer follows after a space."""
HUMAN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
"""Markers of hh-rlhf, each after a blank line."""
EXTRA_ID = re.compile(r"(?:^|\n)<extra_id_1>(User|Assistant)\n")
"""Markers of HelpSteer2, each on a line of its own; the first turn has none."""
ROLES: dict[str, Speaker] = {"Human": "user", "User": "user", "Assistant": "assistant"}


def turns(text: str, marker: re.Pattern[str]) -> tuple[Message, ...]:
    """The turns of a dialogue, user and assistant by turns; a text without markers is one turn of the user.

    A marker counts only where the data set would write one: quoted within a line, it is text.

    Raises:
        Unusable: A turn is empty, or two turns in a row have one speaker: a marker is quoted, or a turn is missing.
    """
    first, *rest = marker.split(text)
    said = [(ROLES[name], content.strip()) for name, content in zip(rest[::2], rest[1::2])]
    if first.strip() or not said:
        said.insert(0, ("user", first.strip()))
    wanted: tuple[Speaker, Speaker] = ("user", "assistant")
    if any(not content or role != wanted[number % 2] for number, (role, content) in enumerate(said)):
        raise Unusable("turns that cannot be told apart")
    return tuple(Message(role, content) for role, content in said)


def plain(dialogue: Sequence[Message]) -> str:
    """A dialogue for a model without chat template: `Question: ... Answer: ...` turn by turn, the answer to come."""
    said = (PLAIN.format(text=m.content) if m.role == "user" else f" {m.content}\n\n" for m in dialogue)
    return "".join(said)


def transcript(dialogue: Sequence[Message]) -> str:
    """A dialogue as a text for somebody else to read; a single turn as it stands."""
    if len(dialogue) == 1:
        return dialogue[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in dialogue)
