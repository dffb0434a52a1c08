"""What a planned run will take, as far as earlier runs tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from workbench.runs.listing import finished, newest_first
from workbench.runs.place import holder
from workbench.runs.record import Run
from workbench.runs.studies import PlannedRun

LOOKED_BACK = 500
"""Most runs of a notebook that are looked at."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is known of a planned run before it starts."""

    state: Literal["done", "running", "to run"]
    """Whether it has gone well before, is under way, or has to be run."""
    run_id: str = ""
    """The run that is there already."""
    seconds: float | None = None
    """Time of the last run with the same parameters, else with the same model; None if there is none."""
    like: Literal["same parameters", "same model", ""] = ""
    """Which earlier run the time is from."""
    tokens: int | None = None
    """Tokens to compute: 0 if an earlier run with the same parameters left its answers in the store."""

    def __str__(self) -> str:
        if self.state == "done":
            return f"done: {self.run_id}"
        time = "unknown" if self.seconds is None else f"about {self.seconds:.0f} s (last run with the {self.like})"
        tokens = "unknown" if self.tokens is None else f"{self.tokens} (answers are in the store)"
        return f"{self.state}; time {time}; tokens to compute {tokens}"


def recent(place: Path) -> list[Run]:
    """The last runs of a notebook, newest first."""
    return list(islice(newest_first(place), LOOKED_BACK))


def forecast(planned: PlannedRun, outputs: Path, runs: Callable[[Path], list[Run]] = recent) -> Forecast:
    """Looks for earlier runs of the same notebook.

    Tokens cannot be known before the notebook has built its questions, so they are told only where an earlier run
    with the same parameters noted its counts of answers and those are kept.

    Args:
        planned: What would be run.
        outputs: Folder of all results.
        runs: Gives the last runs of a notebook, newest first; one that remembers saves reading them for every cell.
    """
    place = outputs / planned.study / planned.notebook
    if (run := finished(place, planned.key)) is not None:
        return Forecast("done", run.run_id)
    state: Literal["running", "to run"] = "running" if holder(place, planned.key) else "to run"
    values = planned.parameters_given | planned.parameters_default
    same_model = None
    for earlier in runs(place):
        if earlier.status == "ok" and _values(earlier) == values:
            counted = earlier.counts.tokens is not None or earlier.counts.computed is not None
            return Forecast(state, "", earlier.seconds, "same parameters", 0 if counted else None)
        if earlier.status == "ok" and _model(_values(earlier)) == _model(values):
            same_model = same_model or earlier
    return Forecast(state, "", same_model.seconds, "same model") if same_model else Forecast(state)


def _values(run: Run) -> dict[str, Any]:
    return run.parameters_given | run.parameters_default


def _model(values: dict[str, Any]) -> Any:
    return values.get("model")
