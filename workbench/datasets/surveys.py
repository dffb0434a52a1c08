"""Surveys: an instrument's items, asked in many formats and by many personas, as questions.

An option's `value` is its place on the item's scale, whatever the order, labels and answer style shown: whoever reads
the answers sorts by value and never has to undo a presentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from string import ascii_uppercase
from typing import Literal, get_args

from workbench.datasets.referring import referring
from workbench.datasets.row_formats import number
from workbench.errors import InputError, unknown
from workbench.questions import Message, Option, Origin, Question, Questions, Tag

Labels = Literal["numbers", "letters"]
Direction = Literal["ascending", "descending"]
Answer = Literal["label", "text"]
SCALES: dict[str, tuple[str, ...]] = {
    "likert4": ("Strongly disagree", "Disagree", "Agree", "Strongly agree"),
    "likert5": ("Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree"),
    "likert6": (
        "Strongly disagree",
        "Disagree",
        "Somewhat disagree",
        "Somewhat agree",
        "Agree",
        "Strongly agree",
    ),
    "likert7": (
        "Strongly disagree",
        "Disagree",
        "Somewhat disagree",
        "Neither agree nor disagree",
        "Somewhat agree",
        "Agree",
        "Strongly agree",
    ),
}
"""Agreement scales, from the lowest place to the highest; 4 and 6 have no neutral middle."""
BINARY, OWN = "binary", "own"
REFUSAL = "I prefer not to answer"


@dataclass(frozen=True, slots=True)
class SurveyItem:
    """One thing that is asked."""

    id: str
    """Name within the instrument."""
    text: str
    """The statement to agree with, or the question to answer on the item's own scale."""
    dimension: str = "all"
    """What it is meant to measure."""
    key: int = 1
    """+1 if agreeing counts towards the dimension, -1 if against it."""
    opposite: str = ""
    """The statement of the other pole, for the binary format."""
    scale: tuple[str, ...] = ()
    """The item's own options from the lowest place to the highest; empty for a statement asked on agreement scales."""
    positions: tuple[float, ...] = ()
    """Their places, where they are not evenly spaced."""
    ordinal: bool = True
    """False if the options have no order; then only their distribution is compared."""

    def __post_init__(self) -> None:
        if self.key not in (1, -1):
            raise InputError(f"Item {self.id!r} has key {self.key!r}; a key is 1 or -1.")
        if not self.text.strip():
            raise InputError(f"Item {self.id!r} has no text; write what is asked.")
        if self.scale and len(self.scale) < 2:
            raise InputError(f"Item {self.id!r} has one option only; a scale needs two.")
        if len(set(self.scale)) < len(self.scale):
            raise InputError(f"Item {self.id!r} lists an option twice; keep one of them.")
        rising = all(a < b for a, b in zip(self.positions, self.positions[1:]))
        if self.positions and (len(self.positions) != len(self.scale) or not rising):
            raise InputError(f"Item {self.id!r} needs one position per option, rising from the lowest to the highest.")


@dataclass(frozen=True, slots=True)
class Instrument:
    """A set of items."""

    name: str
    """Its name."""
    items: tuple[SurveyItem, ...]
    """What is asked."""
    licence: str = "the user's own"
    """Licence or terms as far as known."""
    note: str = ""
    """What to print beside its scores."""

    def __post_init__(self) -> None:
        ids = [item.id for item in self.items]
        if twice := [name for name in ids if ids.count(name) > 1]:
            raise InputError(f"Instrument {self.name!r} has an id twice, {twice[0]!r}; give each item its own id.")
        if not ids:
            raise InputError(f"Instrument {self.name!r} has no items; give it one.")

    def __len__(self) -> int:
        return len(self.items)

    def head(self, n: int | None) -> Instrument:
        """The instrument with its first n items per dimension; all for None."""
        if n is None:
            return self
        seen: dict[str, int] = {}
        kept = []
        for item in self.items:
            seen[item.dimension] = seen.get(item.dimension, 0) + 1
            kept += [item] if seen[item.dimension] <= n else []
        return replace(self, items=tuple(kept))


def content_free(instrument: Instrument) -> Instrument:
    """The same items without content: what is answered then is the prior of positions and words alone."""
    items = tuple(replace(item, text="N/A", opposite="N/A") for item in instrument.items)
    return replace(instrument, name=f"{instrument.name}-blank", items=items)


@dataclass(frozen=True, slots=True)
class Format:
    """How an item is shown and answered."""

    scale: str = "likert5"
    """`binary` (both statements), an agreement scale of `SCALES`, or `own` for the item's options."""
    labels: Labels = "numbers"
    """What stands before the options."""
    direction: Direction = "ascending"
    """Whether the lowest place or the highest is listed first."""
    answer: Answer = "label"
    """Whether the label is scored or the words of the option."""
    refusal: bool = False
    """Whether declining is listed last, as an abstention."""

    def __post_init__(self) -> None:
        if self.scale not in (known := [BINARY, OWN, *SCALES]):
            raise unknown("scale", self.scale, known)
        for value, kind in ((self.labels, Labels), (self.direction, Direction), (self.answer, Answer)):
            if value not in get_args(kind):
                raise unknown("format", value, list(get_args(kind)))

    @property
    def id(self) -> str:
        """Its name in tables."""
        return "-".join([self.scale, self.labels, self.direction, self.answer, *["refusal"] * self.refusal])


@dataclass(frozen=True, slots=True)
class Persona:
    """Whom the model is asked to answer as."""

    name: str
    """The country, or "none"."""
    text: str = ""
    """What is said before the item."""
    wording: str = "none"
    """Which wording of the instruction it is."""


NOBODY = Persona("none")


def formats(
    scale: str | Sequence[str] = "likert5",
    labels: Sequence[Labels] = ("numbers", "letters"),
    direction: Sequence[Direction] = ("ascending", "descending"),
    answer: Sequence[Answer] = ("label", "text"),
) -> list[Format]:
    """Every combination of these levels; the default is the eight variants of the stability test."""
    scales = [scale] if isinstance(scale, str) else list(scale)
    return [Format(*levels) for levels in product(scales, labels, direction, answer)]


def survey_questions(
    instrument: Instrument,
    how: Iterable[Format] | Format = Format(),
    personas: Sequence[Persona] = (NOBODY,),
    chat: bool = True,
) -> Questions:
    """Every item in every format, asked as every persona.

    Prompts begin with persona and scale and end with the item, so that what they share is computed once.

    Args:
        instrument: What is asked.
        how: Formats.
        personas: Whom the model answers as; `NOBODY` is the model itself.
        chat: Prompts become a user's message for the model's template; otherwise plain text that ends in "Answer:".

    Returns:
        Questions with the tags item, dimension, key, ordinal, persona, wording, format, scale, labels, direction,
        answer, instrument. Options are in shown order; surface forms of one label share a `value`. Options that are
        all numbers (or all letters) are their own labels in a format of that kind.

    Raises:
        InputError: A format needs what an item lacks: the opposite statement, an own scale, or fewer options; or an
            option's text is the label of another.
    """
    variants = [how] if isinstance(how, Format) else list(how)
    if not variants or not personas:
        raise InputError("A survey needs at least one format and one persona (NOBODY for the model itself).")
    asked = [
        _question(item, form, persona, instrument.name, chat)
        for persona in personas
        for form in variants
        for item in instrument.items
    ]
    return Questions(asked, Origin(instrument.name, f"{len(instrument)} items", instrument.licence))


def prompt_digest(questions: Iterable[Question]) -> str:
    """SHA-256 of every prompt and option in the order asked: what a run's record keeps beside its numbers."""
    digest = sha256()
    for question in questions:
        parts = [question.prompt_text, *(f"{option.text}\x1f{option.value}" for option in question.options)]
        digest.update("\x1e".join(parts).encode() + b"\x1d")
    return digest.hexdigest()


def _question(item: SurveyItem, form: Format, persona: Persona, instrument: str, chat: bool) -> Question:
    base = _options(item, form)
    places = item.positions if form.scale == OWN and item.positions else tuple(map(float, range(len(base))))
    shown = list(zip(base, places))
    if form.direction == "descending":
        shown = _turned(shown)
    listed = [text for text, _ in shown] + [REFUSAL] * form.refusal
    marks = _labels(item, form, listed)
    lines = "\n".join(f"{mark}. {text}" for mark, text in zip(marks, listed))
    parts = [persona.text, *_ask(item, form, lines)]
    prompt = "\n\n".join(part for part in parts if part)
    options = []
    for i, text in enumerate(listed):
        place = shown[i][1] if i < len(shown) else None
        forms = [text] if form.answer == "text" else [marks[i]]
        spaced = [("" if chat else " ") + each for each in forms]
        if form.answer == "label":
            spaced.append((" " if chat else "") + marks[i])
        options += [Option(each, "none" if place is not None else "abstain", place) for each in spaced]
    tags: dict[str, Tag] = {"item": item.id, "dimension": item.dimension, "key": item.key, "ordinal": item.ordinal}
    tags |= {"persona": persona.name, "wording": persona.wording, "format": form.id, "scale": form.scale}
    tags |= {"labels": form.labels, "direction": form.direction, "answer": form.answer, "instrument": instrument}
    name = f"{instrument}/{item.id}/{persona.name}/{persona.wording}/{form.id}"
    return Question((Message("user", prompt),) if chat else f"{prompt}\nAnswer:", tuple(options), tags, name)


def _turned(shown: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Options from the highest place to the lowest; those at the end that speak of the others stay there."""
    kinds = referring([text for text, _ in shown])
    if "place" in kinds:
        return shown
    end = next((i for i in range(len(shown), 0, -1) if not kinds[i - 1]), len(shown))
    return shown[:end][::-1] + shown[end:]


def _options(item: SurveyItem, form: Format) -> tuple[str, ...]:
    """The options from the lowest place to the highest, in terms of the item's statement."""
    if form.scale == BINARY:
        if not item.opposite:
            raise InputError(f"Item {item.id!r} has no opposite statement, which the binary format shows.")
        return (item.opposite, item.text)
    if form.scale == OWN:
        if not item.scale:
            raise InputError(f"Item {item.id!r} has no scale of its own; ask it on an agreement scale such as likert5.")
        return item.scale
    if item.scale:
        raise InputError(f"Item {item.id!r} has its own scale; ask it in Format(scale='own').")
    return SCALES[form.scale]


def _labels(item: SurveyItem, form: Format, listed: Sequence[str]) -> list[str]:
    """The labels of the options as listed; options that are all numbers, or all letters, are their own labels."""
    n, own, numbered = len(listed), list(listed[: len(listed) - form.refusal]), form.labels == "numbers"
    if n > len(ascii_uppercase):
        raise InputError(f"Item {item.id!r} has {n} options, more than there are letters.")
    if numbered and all(number(text) is not None for text in own):
        marks = own + [str(int(max(map(float, own))) + 1)] * form.refusal
    elif not numbered and all(text in ascii_uppercase and len(text) == 1 for text in own):
        marks = own + [letter for letter in ascii_uppercase if letter not in own][: form.refusal]
    else:
        marks = [str(i + 1) for i in range(n)] if numbered else list(ascii_uppercase[:n])
    begun = [(a, b) for a in marks for b in marks if a != b and b.startswith(a)]
    if begun and form.answer == "label":
        raise InputError(
            f"Item {item.id!r} has {n} options, and label {begun[0][0]} begins label {begun[0][1]}; use "
            "labels='letters'."
        )
    for mark, text in zip(marks, listed):
        if (said := text.strip(" .):").casefold()) in [other.casefold() for other in marks if other != mark]:
            raise InputError(
                f"Item {item.id!r} in the format {form.id}: the option {text!r} has the label {mark}, and {said} is "
                f"the label of another; use labels={'letters' if numbered else 'numbers'!r}."
            )
    return marks


def _ask(item: SurveyItem, form: Format, lines: str) -> list[str]:
    what = {"numbers": "number", "letters": "letter"}[form.labels]
    reply = f"Reply with the {what} alone." if form.answer == "label" else "Reply with the words of your choice alone."
    if form.scale == BINARY:
        return [f"Which of these two statements do you agree with more?\n{lines}", reply]
    if form.scale == OWN:
        return [f"{reply}", f"{item.text}\n{lines}"]
    return [f"How far do you agree with the statement below? {reply}\n{lines}", f"Statement: {item.text}"]
