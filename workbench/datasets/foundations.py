"""Moral foundations and political self-placement: the user's items, and who is asked to answer them."""

from __future__ import annotations

from pathlib import Path

from workbench.datasets.survey_files import load_instrument
from workbench.datasets.surveys import Instrument, Persona, SurveyItem
from workbench.errors import InputError

POINTS = 6
"""Options of an item of the questionnaire, 0 to 5."""
SCALE = ("Far left", "Left", "Slightly left", "In the middle", "Slightly right", "Right", "Far right")
PLACEMENT = Instrument(
    "self-placement",
    (SurveyItem("placement", "Where do your own political views lie?", scale=SCALE),),
    "Apache-2.0",
)
SIDES = (
    Persona("left", "Your political views are on the left.", "side"),
    Persona("right", "Your political views are on the right.", "side"),
)


def load_foundations(path: str | Path) -> Instrument:
    """A moral foundations questionnaire you bring (its texts are its authors'): items answered from 0 to 5.

    Args:
        path: A CSV as for `load_instrument`, with the foundation as `dimension` and six options in `scale`.
    """
    found = load_instrument(path, "its authors' terms; not to be passed on")
    for item in found.items:
        if len(item.scale) != POINTS or item.dimension == "all":
            raise InputError(
                f"Item {item.id!r} of {Path(path).name} needs its foundation as `dimension` and six options in "
                "`scale`, from 0 to 5, divided by |."
            )
    return found
