"""Names of data sets as papers print them, for figures, tables and sentences; files and parameters keep the code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from workbench.reading import read_yaml

CODE = re.compile(r"(?:hub:)?(\w+)((?: \(|[:@]).*)?", re.DOTALL)


@cache
def names() -> dict[str, str]:
    """Return code -> name of the data sets whose entry in a `sources.yaml` states how they are called."""
    rooms = sorted(Path(__file__).parent.glob("*/sources.yaml"))
    entries = [entry for path in rooms for entry in read_yaml(path)["sources"]]
    return {entry["name"]: entry["called"] for entry in entries if "called" in entry}


def called(text: str) -> str:
    """Return the name of a data set for its code, alone or before its part; other text as it is.

    `bbq_lite (Age)` becomes "BBQ Lite (Age)".
    """
    known = CODE.fullmatch(text)
    return names()[known[1]] + (known[2] or "") if known and known[1] in names() else text


def called_in(sentence: str) -> str:
    """Return a sentence with the names of data sets in place of their codes."""
    return " ".join(map(called, sentence.split(" ")))
