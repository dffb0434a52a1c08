"""What notebooks, reports and docs say of the papers they follow: the paper, not how it was read."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READING = re.compile(
    r"second[- ]?hand|unverified|not verified|could not be verified|expected direction|details of the|\bours\b|"
    r"commits?[^.;\n]{0,40} could be checked|papers? is said to|\(summary\)|abstract, reviews|\bour own\b|"
    r"(?:paper|text|tables?|kernel|bandwidth|recipe|formula)s?[^.;\n]{0,60} could not be read",
    re.I,
)
"""Words by which a text speaks of the authors' reading, and not of the paper or of this notebook."""
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
PACKAGE = sorted((ROOT / "workbench").rglob("*.py"))


def cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"]]


def texts(path: Path) -> Iterator[str]:
    """Docstrings and messages of a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def spoken(text: str) -> list[str]:
    return [match.group() for match in READING.finditer(text)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_speaks_of_how_a_paper_was_read(path):
    assert [found for cell in cells(path) for found in spoken(cell)] == []


def test_no_message_or_table_of_the_package_speaks_of_how_a_paper_was_read():
    assert [(path.name, found) for path in PACKAGE for text in texts(path) if (found := spoken(text))] == []


def test_docs_speak_of_it_in_one_section_alone():
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / "studies").glob("*.yaml")]
    outside = {}
    for page in pages:
        text = re.sub(r"^## Not known of the papers$.*?(?=^## |\Z)", "", page.read_text("utf-8"), flags=re.M | re.S)
        outside[page.name] = spoken(text)
    assert {name: found for name, found in outside.items() if found} == {}


def test_the_words_are_found():
    said = "directions second-hand, as its tables could not be read; the kernel could not be read (summary), unverified"
    assert len(spoken(said)) == 5
    assert spoken("A row whose score could not be read has none; hours of ours_are.") == []
