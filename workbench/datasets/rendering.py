"""Prompts: items in cloze or letter style, plain or chat, with worked examples; dialogues as messages or text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase
from typing import get_args

from workbench.datasets.items import Item, Unlisted, Unusable
from workbench.datasets.referring import NO_ORDER, UNLISTED, arranged, referring
from workbench.errors import InputError, unknown
from workbench.kinds import Style
from workbench.questions import Message, Option, Question, Speaker, normalised

DEFAULT_ABSTENTION: dict[Style, str] = {"cloze": "I don't know.", "letters": "?"}
INSTRUCTION = (
    "You score by being right, and every mistake is counted against you. "
    'Whenever you cannot be sure, "{phrase}" is a welcome reply and does not change your score.'
)
PLAIN = "Question: {text}\nAnswer:"
"""Prompt for models without a chat template; the answer follows after a space."""
HUMAN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
"""Speaker markers of hh-rlhf, each after a blank line."""
EXTRA_ID = re.compile(r"(?:^|\n)<extra_id_1>(User|Assistant)\n")
"""Speaker markers of HelpSteer2, each on its own line; the first turn has none."""
ROLES: dict[str, Speaker] = {"Human": "user", "User": "user", "Assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Rendering:
    """Settings by which items become questions."""

    style: Style = "cloze"
    """`cloze` scores the text of each option; `letters` lists them and scores A, B, C ..."""
    chat: bool = False
    """Whether the prompt is a user message for the chat template."""
    abstain: tuple[str, ...] = ()
    """Abstentions added to the options of every item."""
    instruction: str = ""
    """Text before the prompt, followed by a blank line."""
    shuffle: bool = True
    """Whether the options of each item are shuffled."""
    seed: int = 0
    """Seed of the shuffles."""
    examples: tuple[Item, ...] = ()
    """Items shown with their answer before each question."""


def rendering(
    style: Style,
    chat: bool,
    abstain: bool | str | Sequence[str] | None,
    instruction: bool | str | None,
    shuffle: bool,
    seed: int,
) -> Rendering:
    """Return a checked `Rendering`; arguments as in `load_questions`.

    Raises:
        InputError: Unknown style, an empty or repeated abstention, or `{phrase}` in the instruction without one.
    """
    if style not in get_args(Style):
        raise unknown("style", style, list(get_args(Style)))
    if abstain is True:
        abstain = DEFAULT_ABSTENTION[style]
    given = (abstain,) if isinstance(abstain, str) else abstain or ()
    if not isinstance(given, Sequence) or not all(isinstance(phrase, str) for phrase in given):
        raise InputError(f"abstain must be a string, a list of strings, True or None, not {abstain!r}.")
    phrases = tuple(phrase.strip() for phrase in given)
    if not all(phrases) or len(set(phrases)) < len(phrases):
        raise InputError(f"abstain={abstain!r} contains an empty or repeated phrase; give each phrase once.")
    text = INSTRUCTION if instruction is True else (instruction or "")
    if "{phrase}" in text:
        if not phrases:
            raise InputError("The instruction contains {phrase}, but abstain=None; give abstain=True or a phrase.")
        text = text.replace("{phrase}", phrases[0])
    return Rendering(style, chat, phrases, text, shuffle, seed)


def question(item: Item, how: Rendering) -> Question:
    """Return the question of an item; the tag `order` gives the original index of each option, as in "2-0-1".

    Options that refer to other options keep their order, see `workbench.datasets.referring`.

    Raises:
        Unlisted: An option refers to others, which cloze does not list.
        Unusable: More options than letters; an option that refers to letters in a source without an order; or an
            answer that equals an abstention.
    """
    if how.style == "cloze" and refers(item):
        raise Unlisted(UNLISTED)
    if how.style == "letters" and len(item.options) > len(ascii_uppercase):
        raise Unusable("more options than letters")
    order, shown = _shown(item, how)
    prompt = _prompt(item, shown, how)
    space = "" if how.chat else " "
    scored = zip(_scored(shown, how.style), shown, strict=True)
    options = [Option(space + text, option.role, option.value) for text, option in scored]
    abstentions = dict.fromkeys((*item.abstain, *how.abstain))
    if {_bare(option.text) for option in item.options} & {_bare(phrase) for phrase in abstentions}:
        raise Unusable("an answer equals the abstention")
    options += [Option(space + phrase, "abstain") for phrase in abstentions]
    tags = {"subject": None, "answerable": True} | dict(item.tags)
    tags |= {"order": "-".join(map(str, order)), "style": how.style, "instruction": bool(how.instruction)}
    tags |= {"shots": len(how.examples)} if how.examples else {}
    return Question(prompt, tuple(options), tags, item.id)


def _bare(text: str) -> str:
    """Return text as compared with abstentions: normalised, without a final full stop."""
    return normalised(text).rstrip(".")


def refers(item: Item) -> bool:
    """Return whether an option of an item refers to other options."""
    return any(referring([option.text for option in item.options], item.ordered))


def _shown(item: Item, how: Rendering) -> tuple[list[int], list[Option]]:
    """Return the order in which the options are shown, and the options in that order."""
    wanted = list(range(len(item.options)))
    if how.shuffle:
        Random(f"{how.seed}:{item.id}").shuffle(wanted)
    order = arranged([option.text for option in item.options], wanted, item.ordered)
    if order is None:
        raise Unusable(NO_ORDER)
    return order, [item.options[i] for i in order]


def _scored(shown: Sequence[Option], style: Style) -> list[str]:
    """Return the scored text of each option, without leading space."""
    return [ascii_uppercase[i] if style == "letters" else option.text for i, option in enumerate(shown)]


def _prompt(item: Item, shown: Sequence[Option], how: Rendering) -> str | tuple[Message, ...]:
    """Return instruction, worked examples and question."""
    write = _chat_prompt if how.chat else _plain_prompt
    stems, answers = [], []
    for example in how.examples:
        options = _shown(example, how)[1]
        stems.append(write(example, options, how.style))
        correct = next(i for i, option in enumerate(options) if option.role == "correct")
        answers.append(_scored(options, how.style)[correct])
    stems.append(write(item, shown, how.style))
    if how.instruction:
        stems[0] = f"{how.instruction}\n\n{stems[0]}"
    if not how.chat:
        return "\n\n".join([*(f"{text} {answer}" for text, answer in zip(stems, answers)), stems[-1]])
    examples = [(Message("user", text), Message("assistant", answer)) for text, answer in zip(stems, answers)]
    return (*(message for pair in examples for message in pair), Message("user", stems[-1]))


def _plain_prompt(item: Item, shown: Sequence[Option], style: Style) -> str:
    if style == "letters":
        stem = f"Text: {item.stem}" if item.form == "continuation" else f"Question: {item.stem}"
        lines = [item.context, stem, *_listed(shown), "Answer:"]
    elif item.form == "continuation":
        return f"{item.context} {item.stem}".strip()
    else:
        lines = [item.context, f"Question: {item.stem}", "Answer:"]
    return "\n".join(line for line in lines if line)


def _chat_prompt(item: Item, shown: Sequence[Option], style: Style) -> str:
    if item.form == "continuation":
        ask = "Which continuation of this text is best?" if style == "letters" else "Continue this text."
        parts = [ask, item.context, item.stem]
    else:
        parts = [item.context, item.stem]
    if style == "letters":
        parts += ["\n".join(_listed(shown)), "Reply with the letter alone."]
    return "\n\n".join(part for part in parts if part)


def _listed(shown: Sequence[Option]) -> list[str]:
    return [f"{letter}. {option.text}" for letter, option in zip(ascii_uppercase, shown)]


def turns(text: str, marker: re.Pattern[str]) -> tuple[Message, ...]:
    """Split a dialogue into alternating turns of user and assistant; a text without markers is one user turn.

    A marker inside a line is text, not a marker.

    Raises:
        Unusable: A turn is empty, or two consecutive turns have the same speaker (a quoted marker, a missing turn).
    """
    first, *rest = marker.split(text)
    parts = [(ROLES[name], content.strip()) for name, content in zip(rest[::2], rest[1::2])]
    if first.strip() or not parts:
        parts.insert(0, ("user", first.strip()))
    speakers: tuple[Speaker, Speaker] = ("user", "assistant")
    if any(not content or role != speakers[number % 2] for number, (role, content) in enumerate(parts)):
        raise Unusable("turns that do not alternate")
    return tuple(Message(role, content) for role, content in parts)


def plain(dialogue: Sequence[Message]) -> str:
    """Return a dialogue for models without a chat template: `Question: ... Answer: ...` for each turn."""
    return "".join(PLAIN.format(text=m.content) if m.role == "user" else f" {m.content}\n\n" for m in dialogue)


def transcript(dialogue: Sequence[Message]) -> str:
    """Return a dialogue as a transcript; a single turn unchanged."""
    if len(dialogue) == 1:
        return dialogue[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in dialogue)
