"""Published files as their authors give them, where they lie beside the checkout: counts and keys."""

import json
from pathlib import Path

import pytest

from workbench.judges.sources import load_cases

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not beside the checkout (../shared/data)")


@pytest.mark.parametrize("part", ["Natural", "GPTOut", "Manual", "Neighbor"])
def test_llmbar_gives_every_pair_with_its_key(part):
    path = DATA / f"llmbar_{part}.json"
    records, expected = json.loads(path.read_text("utf-8")), json.loads((DATA / "expected.json").read_text())
    cases = load_cases(path, format="llmbar")
    assert len(cases) == len(records) == expected["llmbar"][part]
    better = {(r["input"], r[f"output_{r['label']}"]) for r in records}
    assert {(case.question, case.answers[case.scores.index(1.0)]) for case in cases} == better


def test_trustjudge_gives_ten_answers_of_five_levels_a_question():
    for name in ("trustjudge_answers", "trustjudge_answers_with_category"):
        cases = load_cases(DATA / f"{name}.jsonl", format="trustjudge")
        assert [(len(case.answers), sorted(set(case.scores))) for case in cases] == [(10, [1, 2, 3, 4, 5])] * 2


def test_cdeval_has_six_dimensions():
    counts = json.loads((DATA / "cdeval_counts.json").read_text())
    published = json.loads((DATA / "expected.json").read_text())["cdeval"]
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text("utf-8")
    each = {name: n for name, n in published.items() if name != "rows"}
    assert sum(each.values()) == published["rows"] == 2953 and "Dimension" in counts["columns"]
    assert ", ".join(f"{name} {n}" for name, n in each.items()) in page
