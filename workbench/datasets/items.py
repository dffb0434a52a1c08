"""Items: the questions of a source before a prompt is written, their ids, and the reader of a user's questions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from workbench.datasets.rows import Row, bare, check_names, read_rows, seen
from workbench.errors import InputError
from workbench.questions import Named, Option, Tag, content_id

Record = Mapping[str, Any]
NEEDED = ("question", "correct", "wrong")
LISTS = ("correct", "wrong", "abstain")
KNOWN = (*NEEDED, "abstain", "subject", "context")
KEYED = re.compile(r"(answer)?(choices?|options?)|(correct|answer|option|choice)+(key|index|idx|letter|number)")
"""Names, by `bare`, of columns of options and of their key, which `read_items` does not read."""


class Unusable(Exception):
    """A record that cannot become a question; the message is the reason counted in `Questions.dropped`."""


class Unlisted(Unusable):
    """An item that can only be a question whose prompt lists the options."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a source, before a prompt is written."""

    stem: str
    """The question, or the text to be continued."""
    options: tuple[Option, ...]
    """Candidate answers without leading space, in the order of the source."""
    context: str = ""
    """Passage shown before the question."""
    form: Literal["question", "continuation"] = "question"
    """Whether an option answers the stem or continues it."""
    tags: Mapping[str, Tag] = field(default_factory=dict)
    """Columns of the answers table: subject and further fields of the source."""
    abstain: tuple[str, ...] = ()
    """Abstentions scored beside the options; not listed with letters and not part of the id."""
    apart: str = ""
    """Suffix of the id, for items with the same normalised content (see `set_apart`)."""
    ordered: bool = True
    """Whether the source lists the options in one order; False if it gives correct and wrong ones separately."""

    def __post_init__(self) -> None:
        if not isinstance(self.stem, str) or not isinstance(self.context, str):
            raise InputError(f"The question {self.stem!r:.60} and its context must be texts.")

    @property
    def id(self) -> str:
        """Stable id from context, stem and options; independent of order, style and added abstentions."""
        content = content_id(f"{self.context}\n{self.stem}".strip(), [option.text for option in self.options])
        return f"{content}-{self.apart}" if self.apart else content

    @property
    def exact(self) -> str:
        """All texts, not normalised, with the options sorted."""
        return repr((self.context, self.stem, sorted(option.text for option in self.options)))


class Distinct(Named, Protocol):
    """An item or a case: its id, made from its content, folds case and compatibility forms."""

    @property
    def exact(self) -> str:
        """All texts, not normalised."""
        ...

    @property
    def tags(self) -> Mapping[str, Tag]:
        """Tags."""
        ...


D = TypeVar("D", bound=Distinct)


def set_apart(item: D, known: dict[str, str], where: str = "", by: str = "") -> D | None:
    """Return the item or case with a unique id, or None if its exact texts occurred before.

    Ids fold case and compatibility forms (2³ and 23), so the second of two items that differ only in these gets an id
    that ends in a hash of its exact texts. The same texts with another value of the tag `by` are kept, so that results
    by subject or country are complete; their id ends in that value.

    Args:
        item: The next item of a source.
        known: Exact texts and ids so far -> location; initially empty, extended here.
        where: Location, for errors.
        by: Tag by which results are grouped.
    """
    texts, group = item.exact, str(item.tags.get(by) or "")
    both = repr((group, texts))
    if both in known:
        return None
    if item.id in known:
        item = _ending(item, group if group and texts in known else hashlib.sha256(texts.encode()).hexdigest()[:6])
    if item.id in known:
        item = _ending(item, hashlib.sha256(both.encode()).hexdigest()[:6])
    known |= {both: where, texts: where, item.id: where}
    return item


def _ending(item: D, apart: str) -> D:
    made: D = replace(item, apart=apart)  # type: ignore[type-var]
    return made


def references(record: Record, correct: str, wrong: str) -> tuple[Option, ...]:
    """Return options from two fields of reference answers; empty texts and repeats within a field are skipped.

    Raises:
        Unusable: A text occurs in both fields.
    """
    right, not_right = (
        dict.fromkeys(text.strip() for text in record[name] if text.strip()) for name in (correct, wrong)
    )
    if right.keys() & not_right.keys():
        raise Unusable("an answer listed as right and as wrong")
    return choices(right, not_right)


def choices(correct: Iterable[str], wrong: Iterable[str], abstain: Iterable[str] = ()) -> tuple[Option, ...]:
    """Return options from texts by role."""
    by_role = (("correct", correct), ("wrong", wrong), ("abstain", abstain))
    return tuple(Option(text.strip(), role) for role, texts in by_role for text in texts)  # type: ignore[arg-type]


def keyed(texts: Sequence[str], gold: int) -> tuple[Option, ...]:
    """Return options in the order of the source, of which number `gold` is correct."""
    if not 0 <= gold < len(texts):
        raise Unusable("no answer key")
    return tuple(Option(text.strip(), "correct" if i == gold else "wrong") for i, text in enumerate(texts))


def counted(dropped: Mapping[str, int]) -> str:
    """Return counts of dropped records as a phrase."""
    return ", ".join(f"{n} times {reason}" for reason, n in dropped.items()) or "there is none"


def check(item: Item) -> Item:
    """Return the item if it can become a question.

    Raises:
        Unusable: No stem, fewer than two options, no correct option, an empty option, or a repeated one.
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


def read_items(path: Path) -> list[Item]:
    r"""Return the items of a user's file; columns without a meaning of their own become tags.

    Args:
        path: CSV (`|` separates several texts in a cell, `\|` is a bar) or JSON lines (several texts are a list).

    Raises:
        InputError: The first problem, with its line.
    """
    items: list[Item] = []
    earlier: dict[str, str] = {}
    rows = read_rows(path, NEEDED, what="questions", known=KNOWN)
    _check_marks(rows, path.name)
    for row in rows:
        _check_columns(row)
        made = _item(row)
        if (item := set_apart(made, earlier, row.where)) is None:
            raise row.wrong(
                f"the same question and options as {earlier[made.exact].rpartition(', ')[2]}; delete one of them."
            )
        items.append(item)
    check_names((str(item.tags["subject"]) for item in items if item.tags.get("subject")), f"{path.name}: a subject")
    return items


def _check_columns(row: Row) -> None:
    from workbench.answers import RESERVED

    for name in row:
        if not name.strip():
            raise row.wrong("a column has no name; give it one.")
        if name in {*RESERVED, "benchmark", "order", "style", "instruction"}:
            raise row.wrong(f"the column name {name!r} is reserved for the answers table; rename the column.")
        if KEYED.fullmatch(bare(name)):
            raise row.wrong(
                f"the column {name!r} is not read; write the text of the right answer in correct, the other options in "
                "wrong, and delete the column."
            )
        if name not in KNOWN and row.texts("correct") == [name]:
            raise row.wrong(f"correct is {name!r}, the name of a column; write the text of the answer, not its key.")


def _check_marks(rows: Sequence[Row], file: str) -> None:
    """Refuse a CSV whose lists of texts are divided by semicolons, as in TruthfulQA's own file."""
    if any("|" in row.text(name) for row in rows for name in LISTS if row.bars):
        return
    if 2 * sum(row.bars and bool(re.search(r";\s*\S", row.text("wrong"))) for row in rows) > len(rows):
        raise InputError(
            f"{file} divides texts by semicolons ({rows[0].text('wrong')[:60]!r}); divide them by bars, or, if the "
            "semicolons belong to the texts, save the file as JSON lines."
        )


def _item(row: Row) -> Item:
    question = row.needed("question")
    texts = {name: row.texts(name) for name in LISTS}
    roles: dict[str, str] = {}
    for name, values in texts.items():
        if not values and name in NEEDED:
            raise row.wrong(f"{name} is empty; fill it in or delete the row.")
        for text in values:
            if roles.setdefault(seen(text), name) != name:
                raise row.wrong(f"{text!r} is listed both as {roles[seen(text)]} and as {name}; keep one of them.")
        if len(set(map(seen, values))) < len(values):
            raise row.wrong(f"{name} lists the same text twice; keep one of them.")
    return Item(
        question,
        choices(texts["correct"], texts["wrong"]),
        context=row.text("context").strip(),
        tags={
            name: row.tag(name) if name != "subject" else row.text(name).strip() or None
            for name in row
            if name not in KNOWN or name == "subject"
        },
        abstain=tuple(texts["abstain"]),
        ordered=False,
    )
