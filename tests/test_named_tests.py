"""Documentation names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"`([\w/]+\.py)?::(\w+)`")
TRAP = re.compile(r"^\*\*(\d+)\. ", re.M)


@cache
def functions(path: str) -> set[str]:
    """Names of the functions of a test file, given by its path or, since base names are unique, by its name alone."""
    files = [ROOT / path] if "/" in path else list((ROOT / "tests").rglob(path))
    assert len(files) == 1 and files[0].is_file(), f"{path} is not there, or there twice"
    return {node.name for node in ast.walk(ast.parse(files[0].read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


def named_tests(page: str) -> list[tuple[str, str]]:
    """File and function of each test a page names; `::name` alone is in the file named last."""
    found, path = [], ""
    for match in NAMED.finditer((ROOT / "docs" / page).read_text("utf-8")):
        path = match[1] or path
        found.append((path, match[2]))
    return found


@pytest.mark.parametrize("page", ["traps.md", "errata.md", "engine.md"])
def test_every_test_a_page_names_exists(page):
    named = named_tests(page)
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in functions(path)] == []


def test_no_test_is_named_in_a_way_that_is_not_checked():
    for page in ("traps.md", "errata.md", "engine.md"):
        text = NAMED.sub("", (ROOT / "docs" / page).read_text("utf-8"))
        assert re.findall(r"::\s*test_\w+|test_\w+\.py", text) == [], page


def test_every_trap_is_there_once_and_has_a_test():
    text = (ROOT / "docs" / "traps.md").read_text("utf-8")
    numbers = list(map(int, TRAP.findall(text)))
    assert len(set(numbers)) == len(numbers) and set(range(1, 31)) <= set(numbers)
    assert [entry.split("\n")[0] for entry in TRAP.split(text)[2::2] if not NAMED.search(entry)] == []
