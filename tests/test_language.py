"""Plain technical English: words with which the project once wrote around the field's terms stay out of it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = re.compile(
    r"(?<![a-z])(told|found|asked|held|mend(?:s|ed|ing)?|errands?|loans?|whom|nobody"
    r"|stands? twice|is no number of|lays? over|lets? go)(?![a-z])",
    re.IGNORECASE,
)
TERMS = re.compile(r"\b(?:not|be) found\b|(?<![a-z])held[-_ ]out(?![a-z])", re.IGNORECASE)
"""Uses that are the field's own."""
TEST_NAMES = re.compile(r"`[^`]*\btest_\w+[^`]*`")
DATA = (
    "To whom or what does the pronoun refer?",
    "Whom should the doctor see?",
    "It is about the question that was asked.",
    "That is not what I asked.",
    "not (?:asked|applicable)",
)
"""Texts of prompts and of data, which cannot change without changing numbers."""
FILES = [
    *sorted((ROOT / "workbench").rglob("*.py")),
    *sorted((ROOT / "workbench").glob("*/sources.yaml")),
    *sorted((ROOT / "studies").glob("*.yaml")),
    *sorted((ROOT / "notebooks").rglob("*.ipynb")),
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
]


def text_of(path: Path) -> str:
    if path.suffix == ".ipynb":
        return "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"])
    return path.read_text("utf-8")


def excluded(text: str) -> list[str]:
    for sentence in DATA:
        text = text.replace(sentence, "")
    lines = TEST_NAMES.sub("", TERMS.sub("", text)).splitlines()
    return [f"{match[0]}: {line.strip()[:100]}" for line in lines for match in WORDS.finditer(line)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_excluded_words_are_not_used(path: Path) -> None:
    assert excluded(text_of(path)) == []


def test_the_search_sees_names_and_prose() -> None:
    assert excluded("held_out: the file was not found") == []
    assert len(excluded("def _told(found): ...  # what stands twice, nobody asked")) == 5


def test_sources_of_findings_name_authors_or_method_beside_the_number() -> None:
    bare = []
    for path in (ROOT / "workbench").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
        prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        texts = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in prose]
        numbered = [text for text in texts if isinstance(text, str) and re.search(r"\b\d{4}\.\d{5}\b", text)]
        bare += [f"{path.name}: {text}" for text in numbered if not re.search(r"[A-Z].*, arXiv \d{4}\.", text)]
    assert bare == []
