"""Writes the prompt around an item: cloze or letters, plain or chat, with or without worked examples before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase
from typing import Literal, get_args

from workbench.datasets.items import Item, Unlisted, Unusable
from workbench.datasets.referring import NO_ORDER, UNLISTED, arranged, referring
from workbench.errors import InputError, unknown
from workbench.questions import Message, Option, Question, normalised

Style = Literal["cloze", "letters"]
DEFAULT_ABSTENTION: dict[Style, str] = {"cloze": "I don't know.", "letters": "?"}
INSTRUCTION = (
    "You score by being right, and every mistake is counted against you. "
    'Whenever you cannot be sure, "{phrase}" is a welcome reply and does not change your score.'
)


@dataclass(frozen=True, slots=True)
class Rendering:
    """How items become questions."""

    style: Style = "cloze"
    """`cloze` scores the text of each option, `letters` lists them and scores A, B, C ..."""
    chat: bool = False
    """Whether the prompt is a user's message for the model's chat template."""
    abstain: tuple[str, ...] = ()
    """Abstentions added to the options of every item."""
    instruction: str = ""
    """What is said first, before a blank line."""
    shuffle: bool = True
    """Whether each item's options are put in a random order of its own."""
    seed: int = 0
    """Seed of those orders."""
    examples: tuple[Item, ...] = ()
    """Worked examples: items shown with their answer before each question."""


def rendering(
    style: Style,
    chat: bool,
    abstain: bool | str | Sequence[str] | None,
    instruction: bool | str | None,
    shuffle: bool,
    seed: int,
) -> Rendering:
    """A checked `Rendering`; `load_questions` explains the arguments.

    Raises:
        InputError: The style is unknown, an abstention is empty, or there is an instruction about none.
    """
    if style not in get_args(Style):
        raise unknown("style", style, list(get_args(Style)))
    if abstain is True:
        abstain = DEFAULT_ABSTENTION[style]
    given = (abstain,) if isinstance(abstain, str) else abstain or ()
    if not isinstance(given, Sequence) or not all(isinstance(phrase, str) for phrase in given):
        raise InputError(f"abstain={abstain!r} is no text; give a phrase, several, True or None.")
    phrases = tuple(phrase.strip() for phrase in given)
    if not all(phrases) or len(set(phrases)) < len(phrases):
        raise InputError(f"abstain={abstain!r} has an empty or repeated phrase; give each way of abstaining once.")
    text = INSTRUCTION if instruction is True else (instruction or "")
    if "{phrase}" in text:
        if not phrases:
            raise InputError("The instruction speaks of abstaining, but abstain=None; give abstain=True or a phrase.")
        text = text.replace("{phrase}", phrases[0])
    return Rendering(style, chat, phrases, text, shuffle, seed)


def question(item: Item, how: Rendering) -> Question:
    """The question an item becomes; the tag `order` holds the original index of each option, as in "2-0-1".

    Options that speak of other options keep their order, see `workbench.datasets.referring`.

    Raises:
        Unlisted: An option speaks of others, which cloze does not list.
        Unusable: More options than letters, letters of others where the source gives no order, or an answer that is
            itself one of the abstentions.
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
        raise Unusable("an answer is itself the abstention")
    options += [Option(space + phrase, "abstain") for phrase in abstentions]
    tags = {"subject": None, "answerable": True} | dict(item.tags)
    tags |= {"order": "-".join(map(str, order)), "style": how.style, "instruction": bool(how.instruction)}
    tags |= {"shots": len(how.examples)} if how.examples else {}
    return Question(prompt, tuple(options), tags, item.id)


def _bare(text: str) -> str:
    """Text as it is compared with abstentions: normalised, without a full stop at the end."""
    return normalised(text).rstrip(".")


def refers(item: Item) -> bool:
    """Whether an option of an item speaks of other options."""
    return any(referring([option.text for option in item.options], item.ordered))


def _shown(item: Item, how: Rendering) -> tuple[list[int], list[Option]]:
    """The order in which an item's options are shown, and the options in it."""
    wanted = list(range(len(item.options)))
    if how.shuffle:
        Random(f"{how.seed}:{item.id}").shuffle(wanted)
    order = arranged([option.text for option in item.options], wanted, item.ordered)
    if order is None:
        raise Unusable(NO_ORDER)
    return order, [item.options[i] for i in order]


def _scored(shown: Sequence[Option], style: Style) -> list[str]:
    """What is scored for each option, without the space before it."""
    return [ascii_uppercase[i] if style == "letters" else option.text for i, option in enumerate(shown)]


def _prompt(item: Item, shown: Sequence[Option], how: Rendering) -> str | tuple[Message, ...]:
    """The prompt: the instruction, the worked examples, and the question itself."""
    write = _chat_prompt if how.chat else _plain_prompt
    asked, answers = [], []
    for example in how.examples:
        options = _shown(example, how)[1]
        asked.append(write(example, options, how.style))
        right = next(i for i, option in enumerate(options) if option.role == "correct")
        answers.append(_scored(options, how.style)[right])
    asked.append(write(item, shown, how.style))
    if how.instruction:
        asked[0] = f"{how.instruction}\n\n{asked[0]}"
    if not how.chat:
        return "\n\n".join([*(f"{text} {answer}" for text, answer in zip(asked, answers)), asked[-1]])
    turns = [(Message("user", text), Message("assistant", answer)) for text, answer in zip(asked, answers)]
    return (*(message for turn in turns for message in turn), Message("user", asked[-1]))


def _plain_prompt(item: Item, shown: Sequence[Option], style: Style) -> str:
    if style == "letters":
        asked = f"Text: {item.stem}" if item.form == "continuation" else f"Question: {item.stem}"
        lines = [item.context, asked, *_listed(shown), "Answer:"]
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
