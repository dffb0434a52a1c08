"""What a record of any source becomes before it is a question: the `Item`, and the id that sets it apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

from workbench.questions import Option, Tag, content_id

Record = Mapping[str, Any]


class Unusable(Exception):
    """A record no question can be made of; the message is the reason counted in `Questions.dropped`."""


class Unlisted(Unusable):
    """An item that makes a question where its options are listed, and none where they are not."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a source, before any prompt is written around it."""

    stem: str
    """The question, or the text to be continued."""
    options: tuple[Option, ...]
    """The candidate answers as the source gives them, without leading space, in the source's order."""
    context: str = ""
    """A passage to read first."""
    form: Literal["question", "continuation"] = "question"
    """Whether an option answers the stem or goes on with it."""
    tags: Mapping[str, Tag] = field(default_factory=dict)
    """Columns that travel with the answers: subject, and what the source knows besides."""
    abstain: tuple[str, ...] = ()
    """Abstentions to score beside the options; never shown in a list of letters, and no part of the id."""
    apart: str = ""
    """End of the id that sets the item apart from another with the same normalised content (see `set_apart`)."""
    ordered: bool = True
    """Whether the options stand as the source lists them; False if it gives them by role, right and wrong apart."""

    @property
    def id(self) -> str:
        """The stable id: it depends on context, stem and own options, not on order, style or added abstentions."""
        content = content_id(f"{self.context}\n{self.stem}".strip(), [option.text for option in self.options])
        return f"{content}-{self.apart}" if self.apart else content

    @property
    def exact(self) -> str:
        """All its texts, exactly, in one, whatever the order of its options."""
        return repr((self.context, self.stem, sorted(option.text for option in self.options)))


class Apart(Protocol):
    """What has an id of its own by its content: an item, or a case to judge."""

    @property
    def id(self) -> str:
        """The id, which folds case and compatibility forms."""
        ...

    @property
    def exact(self) -> str:
        """All its texts, exactly, in one."""
        ...

    @property
    def tags(self) -> Mapping[str, Tag]:
        """Its tags."""
        ...


Named = TypeVar("Named", bound=Apart)


def set_apart(item: Named, seen: dict[str, str], where: str = "", by: str = "") -> Named | None:
    """The item or case under an id of its own, or None where the same texts, compared exactly, were seen before.

    Ids fold case and compatibility forms (2³ and 23), so the second of two items that differ in these alone gets an id
    that ends in a hash of its exact texts. The same texts under another value of the tag `by` are kept too, so that
    results by subject or country leave nothing out: there the id ends in that value.

    Args:
        item: The next one of a source.
        seen: What was seen so far: exact texts and ids -> where; begins empty.
        where: Where it stands, for errors.
        by: The tag by which results are grouped.
    """
    texts, group = item.exact, str(item.tags.get(by) or "")
    both = repr((group, texts))
    if both in seen:
        return None
    if item.id in seen:
        item = _ending(item, group if group and texts in seen else hashlib.sha256(texts.encode()).hexdigest()[:6])
    if item.id in seen:
        item = _ending(item, hashlib.sha256(both.encode()).hexdigest()[:6])
    seen |= {both: where, texts: where, item.id: where}
    return item


def _ending(item: Named, apart: str) -> Named:
    made: Named = replace(item, apart=apart)  # type: ignore[type-var]
    return made


def references(record: Record, correct: str, wrong: str) -> tuple[Option, ...]:
    """Options from two fields of reference answers: empty ones skipped, repeats within a field merged.

    Raises:
        Unusable: A text is a reference of both kinds.
    """
    right, not_right = (
        dict.fromkeys(text.strip() for text in record[name] if text.strip()) for name in (correct, wrong)
    )
    if right.keys() & not_right.keys():
        raise Unusable("an answer listed as right and as wrong")
    return choices(right, not_right)


def choices(correct: Iterable[str], wrong: Iterable[str], abstain: Iterable[str] = ()) -> tuple[Option, ...]:
    """Options from texts by role."""
    by_role = (("correct", correct), ("wrong", wrong), ("abstain", abstain))
    return tuple(Option(text.strip(), role) for role, texts in by_role for text in texts)  # type: ignore[arg-type]


def keyed(texts: Sequence[str], gold: int) -> tuple[Option, ...]:
    """Options from texts in the source's order, one of them correct."""
    if not 0 <= gold < len(texts):
        raise Unusable("no answer key")
    return tuple(Option(text.strip(), "correct" if i == gold else "wrong") for i, text in enumerate(texts))


def counted(dropped: Mapping[str, int]) -> str:
    """What was left out, for a sentence."""
    return ", ".join(f"{n} times {reason}" for reason, n in dropped.items()) or "there is none"


def check(item: Item) -> Item:
    """The item itself, if a question can be made of it.

    Raises:
        Unusable: It has no stem, fewer than two options, no correct one, an empty one, or the same one twice.
    """
    texts = [option.text for option in item.options]
    if not item.stem.strip():
        raise Unusable("no question")
    if any(not text.strip() for text in texts):
        raise Unusable("an empty option")
    if len(set(texts)) < len(texts):
        raise Unusable("the same option twice")
    if len(texts) < 2:
        raise Unusable("fewer than two options")
    if not any(option.role == "correct" for option in item.options):
        raise Unusable("no correct option")
    return item
