"""Closed questions on the world, and the moral items a user brings."""

import pytest

from workbench.cultural_alignment.instruments import PLACEMENT, SIDES, country_scores, load_foundations, personas
from workbench.cultural_alignment.surveys import formats, survey_questions
from workbench.cultural_alignment.worldviews import TOPICS, world_questions, world_regions
from workbench.errors import InputError


def test_every_topic_is_asked_in_every_condition_and_by_every_persona():
    asked = world_questions(2, personas(["Japan", "Brazil"]))
    assert len(asked) == 2 * (3 + 2) == len({q.id for q in asked})
    assert {q.tags["condition"] for q in asked} == {"plain", "plural", "listed", "agents"}
    names = set(world_regions())
    assert all({option.text for option in q.options} == names for q in asked)
    by = {q.tags["condition"]: q.prompt_text for q in asked if q.tags["item"] == TOPICS[0]}
    assert "Great Britain" in by["listed"] and "Great Britain" not in by["plain"] + by["plural"]
    assert by["plural"].endswith(by["plain"][-40:]) and len(by["plural"]) > len(by["plain"])
    with pytest.raises(InputError, match="one topic"):
        world_questions(0)


def test_regions_are_those_of_the_country_table():
    assert len(world_regions()) == 24
    assert set(world_regions().values()) == set(country_scores()["region"])


def test_plain_prompts_end_in_a_cue():
    asked = world_questions(1, chat=False)
    assert all(q.prompt_text.endswith("Answer:") and q.options[0].text.startswith(" ") for q in asked)


def test_moral_items_need_six_options_and_a_foundation(tmp_path):
    path, scale = tmp_path / "mine.csv", "none|hardly|little|some|much|most"
    path.write_text(f"id,text,dimension,scale\ncare1,Whether somebody was hurt.,care,{scale}\n", "utf-8")
    bank = load_foundations(path)
    asked = survey_questions(bank, formats("own", ["numbers"], answer=["label"]), SIDES)
    assert len(asked) == 4 and {o.value for q in asked for o in q.options} == set(map(float, range(6)))
    path.write_text("id,text,dimension\ncare1,Whether somebody was hurt.,care\n", "utf-8")
    with pytest.raises(InputError, match="six options"):
        load_foundations(path)


def test_the_sides_of_a_placement_are_balanced():
    (item,) = PLACEMENT
    assert (
        len(item.scale) % 2
        and [text.split()[-1].lower() for text in item.scale] == ["left"] * 3 + ["middle"] + ["right"] * 3
    )
