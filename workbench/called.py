"""Names of data sets and settings as papers print them, for figures, tables and sentences; files keep the code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from workbench.reading import read_yaml

NORMALISED = {
    "none": "log-probability of the answer",
    "tokens": "log-probability per token",
    "chars": "log-probability per character",
    "bytes": "log-probability per byte",
}
RECALIBRATED = {
    "as it is": "without recalibration",
    "temperature": "temperature scaling",
    "isotonic": "isotonic regression",
    "platt": "Platt scaling",
}
DIMENSION_NAMES = {
    "PDI": "power distance (PDI)",
    "IDV": "individualism (IDV)",
    "MAS": "masculinity (MAS)",
    "UAI": "uncertainty avoidance (UAI)",
    "LTO": "long-term orientation (LTO)",
    "IVR": "indulgence (IVR)",
}
VALUES = {"normalisation": NORMALISED, "method": RECALIBRATED, "dimension": DIMENSION_NAMES}
"""Names of settings in a column of this name."""
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


def setting(column: str, text: str) -> str:
    """Return a setting in words: a normalisation, a dimension, a format such as "likert5-letters-ascending-label"."""
    if column == "region":
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    if column == "format" and (parts := re.fullmatch(r"(\w+)-(\w+)-(\w+ending)-(label|text)(-refusal)?", text)):
        scale, refusal = re.sub(r"likert(\d+)", r"\1-point", parts[1]), ", with a refusal" if parts[5] else ""
        return f"{scale} {parts[2]}, {parts[3]}, by {parts[4]}{refusal}"
    return VALUES.get(column, {}).get(text, text)


def called_in(sentence: str) -> str:
    """Return a sentence with the names of data sets in place of their codes."""
    return re.sub(r"(?<![\w/.-])(?:hub:)?(\w+)(?![\w/-])", lambda word: names().get(word[1], word[0]), sentence)
