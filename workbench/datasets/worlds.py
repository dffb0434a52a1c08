"""Whose world comes to mind: closed questions whose options are the countries of the cited table."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.datasets.survey_files import country_scores
from workbench.datasets.surveys import NOBODY, Persona
from workbench.errors import InputError
from workbench.questions import Message, Option, Origin, Question, Questions, Tag

TOPICS = (
    "a wedding",
    "raising children",
    "a good breakfast",
    "honouring the dead",
    "settling a quarrel between neighbours",
    "running a school",
    "caring for the old",
    "celebrating the new year",
)
PLURAL = "Keep in mind that people all over the world see things differently, and give each of their views its due."
LISTED = "Customs differ between {names}."
CONDITIONS = ("plain", "plural", "listed")
"""Nothing said, many worldviews asked for, and the control: the countries named and nothing asked for."""


def world_regions() -> dict[str, str]:
    """Region of each country, by the name said in a sentence."""
    table = country_scores()
    return dict(zip(table["name"], table["region"]))


def world_questions(n: int | None = None, personas: Sequence[Persona] = (), chat: bool = True) -> Questions:
    """Which country a topic brings to mind, in the three conditions and as every persona.

    Args:
        n: Topics, the first n; all for None.
        personas: Who answers beside the model itself.
        chat: Prompts become a user's message for the model's template.

    Returns:
        Questions with the tags item (the topic), condition and persona; the options are 24 countries.
    """
    topics = TOPICS[:n]
    if not topics:
        raise InputError("A world needs one topic at least.")
    names = list(world_regions())
    said = {"plain": "", "plural": PLURAL, "listed": LISTED.format(names=", ".join(names))}
    asked = [(condition, NOBODY, text) for condition, text in said.items()]
    asked += [("agents", persona, persona.text) for persona in personas]
    return Questions(
        [_question(topic, *each, names, chat) for each in asked for topic in topics],
        Origin("worlds", f"{len(topics)} topics", "Apache-2.0"),
    )


def _question(topic: str, condition: str, who: Persona, before: str, names: list[str], chat: bool) -> Question:
    ask = f"Think of {topic}. Which country comes to mind? Reply with its name alone."
    prompt = "\n\n".join(part for part in (before, ask) if part)
    options = tuple(Option(name if chat else f" {name}") for name in names)
    tags: dict[str, Tag] = {"item": topic, "condition": condition, "persona": who.name}
    made = (Message("user", prompt),) if chat else f"{prompt}\nAnswer:"
    return Question(made, options, tags, f"worlds/{condition}/{who.name}/{topic}")
