"""Ratings of replies in counselling by people and by a judge model: MentalAlign (arXiv 2510.19032).

The schema is that of the repository abeerbadawi/MentalBench-Align: one row a conversation (`ConvID`), one column
`human_response_<source>` or `judge_response_<source>` a reply, each cell a JSON object of seven attributes, 1 to 5.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from workbench.datasets.formats import number
from workbench.datasets.rows import columns_of, read_rows
from workbench.errors import InputError

ATTRIBUTES = ("Guidance", "Informativeness", "Relevance", "Safety", "Empathy", "Helpfulness", "Understanding")
PREFIX = {"human": "human_response_", "judge": "judge_response_"}


def load_ratings(
    judge: str | os.PathLike[str], people: str | os.PathLike[str] | None = None, *, zeros: bool = False
) -> pd.DataFrame:
    """Every rating of people beside the judge's, averaged over conversations for `agreement.icc_report`.

    The scale runs from 1 to 5, but people gave 33 of the published replies 0 on all seven attributes, and the published
    ICCs count these zeros. `zeros=True` reproduces the published table; without it agreement differs by up to .11.

    Args:
        judge: The judge's table, .csv or .xlsx.
        people: The people's table; None where both stand in one file.
        zeros: Whether 0 is a rating; by default it is none.

    Returns:
        One row per conversation, source and attribute: `conversation`, `source` (`original` is the reply people wrote),
        `attribute`, `human`, `judge`; NaN where a cell holds no such rating.

    Raises:
        InputError: A file that cannot be read, or holds no such columns.
    """
    lowest = 0 if zeros else 1
    own = _long(Path(judge).expanduser(), "judge", lowest)
    theirs = _long(Path(people or judge).expanduser(), "human", lowest)
    return theirs.merge(own, on=["conversation", "source", "attribute"], how="outer", validate="one_to_one")


def _long(path: Path, who: str, lowest: int) -> pd.DataFrame:
    columns = [name for name in columns_of(path) if name.startswith(PREFIX[who])]
    if not columns:
        raise InputError(f"{path.name} needs the column 'ConvID' and columns that begin with {PREFIX[who]!r}.")
    rows: list[dict[str, object]] = []
    seen: set[str] = set()
    for row in read_rows(path, ["ConvID", *columns], (), what="ratings"):
        if (conversation := row.needed("ConvID")) in seen:
            raise row.wrong(f"the conversation {conversation!r} stands a second time; keep one of its rows.")
        seen.add(conversation)
        for column in columns:
            about = {"conversation": conversation, "source": column.removeprefix(PREFIX[who])}
            marks = _marks(row.text(column), lowest)
            rows += [{**about, "attribute": attribute, who: mark} for attribute, mark in marks.items()]
    return pd.DataFrame(rows)


def _marks(cell: str, lowest: int) -> dict[str, float]:
    """The seven ratings of one cell, between marks of a code block or not; NaN where it says nothing readable."""
    text = re.sub(r"^```(json)?|```$", "", cell.strip())
    try:
        found = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        found = None
    given = found if isinstance(found, dict) else {}
    return {name: _mark(given.get(name), lowest) for name in ATTRIBUTES}


def _mark(value: object, lowest: int) -> float:
    mark = number(value)
    return mark if mark is not None and (mark == lowest or 1 <= mark <= 5) else np.nan
