from __future__ import annotations

import re

from workbench.files import CHECKOUT
from workbench.runs.record import Run


def test_every_test_the_comparison_names_is_there() -> None:
    text = (CHECKOUT / "docs/comparison.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests/)?[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 15
    for file, test in named:
        path = CHECKOUT / file if file.startswith("tests/") else CHECKOUT / "tests/runs" / file
        assert path.is_file(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), test
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(row.split("|")[-2].strip() == "-" or ".py" in row.split("|")[-2] for row in rows[1:])


def test_every_field_of_the_record_is_described() -> None:
    text = (CHECKOUT / "docs/runs.md").read_text(encoding="utf-8")
    table = text.partition("## The record")[2]
    missing = [name for name in Run.model_fields if f"`{name}`" not in table and name not in ("folder", "reused")]
    assert missing == []
