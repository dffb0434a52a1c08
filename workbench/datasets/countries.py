"""One name per country: ISO 3166 numbers, and the spellings of the surveys that are read here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from workbench.datasets.row_formats import number
from workbench.datasets.rows import as_text, read_rows

TABLE = Path(__file__).parent / "written" / "cultural_alignment" / "iso_3166.csv"
"""Columns number, name (as in `countries.csv`) and other spellings; 197, 909 and 915 are the surveys' own numbers."""


def country(spelling: str) -> str:
    """The name used here of a country in any known spelling; a text that names none comes back as it is."""
    return _names()[0].get(spelling.strip().casefold(), spelling.strip())


def country_of_number(code: str) -> str:
    """The name of a country by its ISO 3166 number, such as 752 or 752.0, or by its name; "" for any other number."""
    if any(letter.isalpha() for letter in code):
        return country(code)
    return _names()[1].get(as_text(number(code)), "")


@cache
def _names() -> tuple[dict[str, str], dict[str, str]]:
    rows = read_rows(TABLE)
    spellings = {s.casefold(): row["name"] for row in rows for s in (row["name"], *row["also"].split("|")) if s}
    return spellings, {row["number"]: row["name"] for row in rows}
