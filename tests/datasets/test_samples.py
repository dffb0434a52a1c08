"""One seeded sample under all loaders."""

from __future__ import annotations

import pytest

from workbench.cultural_alignment.benchmarks import load_stereoset
from workbench.cultural_alignment.opinions import load_emotions
from workbench.cultural_alignment.surveys import Instrument, SurveyItem
from workbench.datasets.benchmarks import load_questions
from workbench.errors import InputError
from workbench.hallucination.tables import load_table
from workbench.judges.cases import Case, Cases
from workbench.judges.sources import load_cases
from workbench.questions import Option, Origin, Question, Questions, sample

LOADERS = {
    "benchmark": lambda n, seed: [each.id for each in load_questions("piqa", n, seed)],
    "cases": lambda n, seed: [each.id for each in load_cases("nq_human", n, seed)],
    "emotions": lambda n, seed: [each.id for each in load_emotions(n, seed).instrument],
    "stereoset": lambda n, seed: list(dict.fromkeys(each.tags["item"] for each in load_stereoset(n, seed))),
    "table": lambda n, seed: load_table("anes96", n=n, seed=seed).rows.agg("|".join, axis=1).tolist(),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_the_first_of_a_seed_are_among_more_and_keep_their_order(loader):
    load = LOADERS[loader]
    few, more, everything = load(10, 0), load(20, 0), load(None, 0)
    assert (len(few), len(more)) == (10, 20)
    left = iter(more)
    assert all(each in left for each in few)
    left = iter(everything)
    assert all(each in left for each in more)
    assert load(10, 1) != few
    with pytest.raises(InputError, match="n must be a whole number above 0"):
        load(0, 0)


def test_a_row_more_in_a_file_moves_one_item_of_a_sample_at_most():
    names = [f"item {i}" for i in range(100)]
    before, after = (set(sample(each, 20, 3, str)) for each in (names, [*names, "another"]))
    assert len(before - after) <= 1


def test_no_truth_value_is_a_number_of_items():
    with pytest.raises(InputError, match="not True"):
        sample(["one"], True, 0, str)


def test_every_kind_of_items_keeps_its_origin_and_counts_in_a_sample():
    questions = Questions(
        [Question("Q?", (Option(f" {k}"),)) for k in range(9)], Origin("mine"), {"twice": 1}, {"cut": 2}
    )
    cases = Cases([Case(f"Q{k}?", ("a", "b")) for k in range(9)], Origin("mine"), {"twice": 1}, marks="votes")
    survey = Instrument("mine", [SurveyItem(f"i{k}", "A statement.") for k in range(9)], note="n", dropped={"twice": 1})
    for items in (questions, cases, survey):
        drawn = items.sample(3, seed=1)
        assert type(drawn) is type(items) and len(drawn) == 3 and items.sample(None).ids == items.ids
        assert drawn.facts() == items.facts() | {"n": 3} and drawn.facts()["dropped"] == {"twice": 1}
        assert set(drawn.ids) <= set(items.sample(5, seed=1).ids)
    assert questions[:2].noted == {"cut": 2} and cases[:2].marks == "votes" and survey.sample(2).note == "n"
