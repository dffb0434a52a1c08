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

from workbench.errors import InputError

ATTRIBUTES = ("Guidance", "Informativeness", "Relevance", "Safety", "Empathy", "Helpfulness", "Understanding")
PREFIX = {"human": "human_response_", "judge": "judge_response_"}


def load_ratings(
    judge: str | os.PathLike[str], people: str | os.PathLike[str] | None = None, *, zeros: bool = False
) -> pd.DataFrame:
    """Every rating of people beside the judge's, for `metrics.judging.icc_by`.

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
    own = _long(_table(judge), "judge", Path(judge).name, lowest)
    theirs = _long(_table(people or judge), "human", Path(people or judge).name, lowest)
    return theirs.merge(own, on=["conversation", "source", "attribute"], how="outer", validate="one_to_one")


def _table(file: str | os.PathLike[str]) -> pd.DataFrame:
    path = Path(file).expanduser()
    try:
        found = pd.read_excel(path, dtype=str) if path.suffix.lower() == ".xlsx" else pd.read_csv(path, dtype=str)
    except ImportError:
        raise InputError(f"{path.name} needs openpyxl to be read: install it, or save the sheet as CSV.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a .csv or .xlsx of MentalAlign.") from None
    return found.rename(columns=str.strip)


def _long(table: pd.DataFrame, who: str, name: str, lowest: int) -> pd.DataFrame:
    sources = [column for column in table.columns if column.startswith(PREFIX[who])]
    if not sources or "ConvID" not in table:
        raise InputError(f"{name} needs the column 'ConvID' and columns that begin with {PREFIX[who]!r}.")
    rows = [
        {"conversation": conversation, "source": column.removeprefix(PREFIX[who]), "attribute": attribute, who: mark}
        for column in sources
        for conversation, cell in zip(table["ConvID"], table[column])
        for attribute, mark in _marks(cell, lowest).items()
    ]
    return pd.DataFrame(rows)


def _marks(cell: object, lowest: int) -> dict[str, float]:
    """The seven ratings of one cell, between marks of a code block or not; NaN where it says nothing readable."""
    text = re.sub(r"^```(json)?|```$", "", str(cell).strip())
    try:
        found = json.loads(text, strict=False)
    except ValueError:
        found = None
    given = found if isinstance(found, dict) else {}
    return {name: _mark(given.get(name), lowest) for name in ATTRIBUTES}


def _mark(value: object, lowest: int) -> float:
    try:
        mark = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return np.nan
    return mark if mark == lowest or 1 <= mark <= 5 else np.nan
