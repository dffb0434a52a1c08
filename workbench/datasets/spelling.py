"""Texts that differ in spelling alone: names of columns and groups, and options that look the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from workbench.datasets.row_formats import number
from workbench.errors import InputError

UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Characters that are not seen: soft hyphen, zero-width space and no-break space, word joiner."""


def seen(text: str) -> str:
    """The text as a reader sees it: composed letters, one kind of space, nothing invisible."""
    return re.sub(r"\s", " ", UNSEEN.sub("", unicodedata.normalize("NFC", text))).strip()


def bare(name: str) -> str:
    """The letters and digits of a name, without case: "Answer A" and "answer_a" are one."""
    return re.sub(r"[\W_]", "", seen(name)).casefold()


def folded(text: str) -> str:
    """The text without what case and spaces tell apart."""
    return " ".join(seen(text).casefold().split())


def check_names(names: Iterable[str], what: str) -> None:
    """Refuse names of groups that differ in case or spaces alone, or as numbers do (1, 1.0): each makes a group.

    Raises:
        InputError: Two names are spelled in two ways.
    """
    known: dict[object, str] = {}
    for name in names:
        value = number(name)
        key = folded(name) if value is None else value
        if (other := known.setdefault(key, name)) != name:
            raise InputError(f"{what} is spelled in two ways, {other!r} and {name!r}; write it in one way.")
