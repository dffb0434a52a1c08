"""Questions a user writes: a .csv, .jsonl or .json file with the columns `question`, `correct` and `wrong`."""

from __future__ import annotations

from pathlib import Path

from workbench.datasets.items import Item, choices, set_apart
from workbench.datasets.rows import Row, read_rows
from workbench.datasets.spelling import check_names, seen

NEEDED = ("question", "correct", "wrong")
LISTS = ("correct", "wrong", "abstain")
KNOWN = (*NEEDED, "abstain", "subject", "context")


def read_items(path: Path) -> list[Item]:
    r"""The items of a user's file; everything in a column that is not known here becomes a tag.

    Args:
        path: CSV (several texts in one cell are divided by `|`, and `\|` is a bar) or JSON lines (several texts are a
            list).

    Raises:
        InputError: The first thing that is wrong, with its line and how to mend it.
    """
    items: list[Item] = []
    earlier: dict[str, str] = {}
    for row in read_rows(path, NEEDED, what="questions", known=KNOWN):
        _check_columns(row)
        made = _item(row)
        if (item := set_apart(made, earlier, row.where)) is None:
            raise row.wrong(f"the same question and options as {earlier[made.exact].rpartition(', ')[2]}; delete one.")
        items.append(item)
    check_names((str(item.tags["subject"]) for item in items if item.tags.get("subject")), f"{path.name}: a subject")
    return items


def _check_columns(row: Row) -> None:
    from workbench.answers import RESERVED

    for name in row:
        if not name.strip():
            raise row.wrong("a column has no name; give it one.")
        if name in {*RESERVED, "benchmark", "order", "style", "instruction"}:
            raise row.wrong(f"the column {name!r} has a name that the answers table uses itself; rename it.")


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
