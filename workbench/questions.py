"""The nouns of an evaluation: `Option`, `Message`, `Question`, and `Items`, a sequence with its origin."""

from __future__ import annotations

import copy
import hashlib
import html
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, Self, TypeVar, get_args, overload

from workbench.errors import InputError, unknown

Role = Literal["correct", "wrong", "abstain", "none"]
Speaker = Literal["system", "user", "assistant"]
Tag = str | int | float | bool | None
T = TypeVar("T")
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Option:
    """One continuation whose probability is scored."""

    text: str
    """Text scored after the prompt, exactly, including a leading space where needed."""
    role: Role = "none"
    """Meaning of this choice: correct, wrong, abstain, or none of these."""
    value: float | None = None
    """Ordinal value or score, if any."""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(f"The text of an option must be a string, not {self.text!r}: Option({str(self.text)!r}).")
        if self.role not in ROLES:
            raise unknown("option role", self.role, list(ROLES))


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat prompt."""

    role: Speaker
    """Speaker."""
    content: str
    """Text; control tokens inside are scored as plain text."""

    def __post_init__(self) -> None:
        if self.role not in get_args(Speaker):
            raise unknown("speaker", self.role, list(get_args(Speaker)))
        if not isinstance(self.content, str):
            raise InputError(f"The content of a message must be a string, not {self.content!r}.")


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and the options whose distribution is read."""

    prompt: str | tuple[Message, ...]
    """Plain text, or chat messages rendered by the model's template."""
    options: tuple[Option, ...]
    """Options, in the order shown or scored."""
    tags: Mapping[str, Tag] = field(default_factory=dict)
    """Columns of the answers table: benchmark, subject, country, persona, order ..."""
    id: str = ""
    """Stable name; by default made from prompt and options by `content_id`."""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) and isinstance(self.prompt, Iterable):
            object.__setattr__(self, "prompt", tuple(self.prompt))
        object.__setattr__(self, "options", tuple(self.options))
        _check_parts(self)
        if not self.id:
            object.__setattr__(self, "id", content_id(self.prompt_text, [o.text for o in self.options]))
        if not self.options:
            raise InputError(f"Question {self.id!r} has no options; give it at least one.")
        roles: dict[str, Role] = {}
        for option in self.options:
            if not option.text.strip():
                raise InputError(f"Question {self.id!r} has an empty option; every option needs text to score.")
            if roles.setdefault(option.text, option.role) != option.role:
                raise InputError(
                    f"Question {self.id!r} lists option {option.text!r} both as {roles[option.text]} and as "
                    f"{option.role}; keep one of them."
                )

    @property
    def prompt_text(self) -> str:
        """Prompt as plain text, chat messages joined by blank lines."""
        if isinstance(self.prompt, str):
            return self.prompt
        return "\n\n".join(message.content for message in self.prompt)

    def tagged(self, **tags: Tag) -> Question:
        """Return the question with these tags added or replaced."""
        return replace(self, tags={**self.tags, **tags})

    def _repr_html_(self) -> str:
        left = "<td style='text-align: left'>"
        rows = "".join(
            f"<tr><td>{i}</td>{left}<code>{html.escape(o.text)}</code></td><td>{html.escape(str(o.role))}</td></tr>"
            for i, o in enumerate(self.options)
        )
        return (
            f"<p><b>Question</b> <code>{html.escape(self.id)}</code></p>"
            f"<pre style='white-space:pre-wrap'>{html.escape(self.prompt_text)}</pre>"
            f"<table><tr><th></th><th>option</th><th>role</th></tr>{rows}</table>"
        )


def _check_parts(question: Question) -> None:
    """Refuse prompts and options of another type, and text that is not valid Unicode."""
    prompt = question.prompt
    if not isinstance(prompt, str) and not (prompt and all(isinstance(turn, Message) for turn in prompt)):
        raise InputError("A prompt must be text, or Message objects such as Message('user', 'Hello').")
    for option in question.options:
        if not isinstance(option, Option):
            raise InputError(f"Option {option!r} must be an Option object: Option({str(option)!r}).")
    try:
        "".join([question.prompt_text, *(option.text for option in question.options)]).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"Question {question.prompt_text[:60]!r} contains an invalid character ({error.object[error.start]!r}); "
            "correct the file it was read from."
        ) from error


@dataclass(frozen=True, slots=True)
class Origin:
    """Source of items."""

    name: str
    """Name of the data set or file."""
    revision: str = ""
    """Version, commit or SHA-256 of the content."""
    licence: str = ""
    """Licence or terms as far as known."""


class Named(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """Stable name."""
        ...


N = TypeVar("N", bound=Named)


class Items(Sequence[N]):
    """An immutable sequence of items with ids, its origin, and the number of records left out, by reason."""

    def __init__(
        self, items: Iterable[N], origin: Origin | None = None, dropped: Mapping[str, int] | None = None
    ) -> None:
        """Store the items.

        Args:
            items: The items.
            origin: Where they came from.
            dropped: Reason -> number of records left out.
        """
        self._items = tuple(items)
        self.origin = origin or Origin("in memory")
        self.dropped = dict(dropped or {})

    def _with(self, items: Iterable[N]) -> Self:
        """Return other items with the same origin and counts."""
        other = copy.copy(self)
        other._items = tuple(items)
        return other

    @overload
    def __getitem__(self, index: int) -> N: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> N | Self:
        """Return one item, or a slice with the same origin."""
        return self._with(self._items[index]) if isinstance(index, slice) else self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[N]:
        return iter(self._items)

    @property
    def ids(self) -> list[str]:
        """The id of every item, in order."""
        return [item.id for item in self]

    def sample(self, n: int | None, seed: int = 0) -> Self:
        """Return n items drawn by `sample`; all for None."""
        return self._with(sample(self._items, n, seed, lambda item: item.id))

    def facts(self) -> dict[str, Any]:
        """Return what a run's record states: origin, number of items, records left out; not the texts."""
        return {**asdict(self.origin), "n": len(self), "dropped": self.dropped}

    def __repr__(self) -> str:
        dropped = "".join(f"; {n} dropped: {reason}" for reason, n in self.dropped.items())
        return f"<{type(self).__name__}: {len(self)} from {self.origin.name}{dropped}>"


class Questions(Items[Question]):
    """Questions with their origin, the records left out, and notes on those that were changed."""

    def __init__(
        self,
        items: Iterable[Question],
        origin: Origin | None = None,
        dropped: Mapping[str, int] | None = None,
        noted: Mapping[str, int] | None = None,
    ) -> None:
        """Store the questions.

        Args:
            items: The questions.
            origin: Where they came from.
            dropped: Reason -> number of records left out.
            noted: Deviation from what was requested -> number of questions with it.
        """
        super().__init__(items, origin, dropped)
        self.noted = dict(noted or {})

    def tagged(self, **tags: Tag) -> Questions:
        """Return the same questions with these tags added to each."""
        return self._with(q.tagged(**tags) for q in self)

    def facts(self) -> dict[str, Any]:
        """Return the facts of `Items`, and `noted` if there is any."""
        return super().facts() | ({"noted": self.noted} if self.noted else {})

    def __repr__(self) -> str:
        return super().__repr__()[:-1] + "".join(f"; {n} {what}" for what, n in self.noted.items()) + ">"

    def _repr_html_(self) -> str:
        shown = "".join(
            f"<tr><td><code>{html.escape(q.id)}</code></td><td>{html.escape(q.prompt_text[-160:])}</td>"
            f"<td>{html.escape(' | '.join(o.text for o in q.options)[:160])}</td></tr>"
            for q in self[:5]
        )
        more = f"<p>and {len(self) - 5} more</p>" if len(self) > 5 else ""
        return (
            f"<p>{html.escape(repr(self))}</p><table><tr><th>id</th><th>prompt (its end)</th><th>options</th></tr>"
            f"{shown}</table>{more}"
        )


def ranked(items: Iterable[T], seed: int, key: Callable[[T], str]) -> list[T]:
    """Return items in an order that depends only on the seed and their ids."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}:{key(item)}".encode()).digest())


def sample(items: Sequence[T], n: int | None, seed: int, key: Callable[[T], str]) -> list[T]:
    """Draw the n items that come first in the seed's permutation of ids, in their given order.

    The first 50 of a seed are among its first 100, also after items are added or removed.

    Args:
        items: The population.
        n: Sample size; None, or more than there are, takes all.
        seed: Of the permutation.
        key: Function from an item to its id.

    Raises:
        InputError: n is not a whole number above 0.
    """
    if n is None:
        return list(items)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"n must be a whole number above 0, or None for all, not {n!r}.")
    chosen = set(map(key, ranked(items, seed, key)[:n]))
    return [item for item in items if key(item) in chosen]


def normalised(text: str) -> str:
    """Return text normalised for an id: Unicode NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def content_id(stem: str, options: Iterable[str]) -> str:
    """Return a stable id `<stem>-<options>` from the normalised content, independent of the order of options.

    The part before the dash hashes the stem alone, so that the same question in two sources can be detected.
    """
    parts = (normalised(stem), "\x1f".join(sorted(normalised(option) for option in options)))
    return "-".join(hashlib.sha256(part.encode()).hexdigest()[:10] for part in parts)
