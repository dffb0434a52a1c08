"""Runs under way, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workbench.files import INSIDE_CELL
from workbench.runs.place import BALLAST, STAGING, holder, read_progress


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A run that is being executed, or was when its process was killed."""

    name: str
    """`<study>/<notebook>/<run-id>`."""
    done: int
    """Code cells done."""
    total: int
    """Code cells in all."""
    seconds: float
    """Since it was started."""
    who: str
    """Process and machine that execute it; empty if they are gone."""
    inside: str = ""
    """How far the present cell is, where it says so."""

    def __str__(self) -> str:
        if not self.who:
            return f"abandoned   {self.name}  after {self.done} of {self.total} cells; the next run sweeps it"
        inside = f", {self.inside}" if self.inside else ""
        return f"running     {self.name}  {self.done} of {self.total} cells{inside}; {self.seconds:.0f} s, {self.who}"


def under_way(folders: Sequence[Path]) -> Iterator[UnderWay]:
    """What can be told of staging folders; one whose run is published meanwhile is left out."""
    for staging in folders:
        with suppress(FileNotFoundError):
            yield _told(staging)


def _told(staging: Path) -> UnderWay:
    run_id = staging.name.removeprefix(STAGING)
    done, total = read_progress(staging)
    at_work = holder(staging.parent, run_id.rpartition("-")[2])
    begun = (staging / BALLAST if (staging / BALLAST).exists() else staging).stat().st_mtime
    who = f"process {at_work.pid} on {at_work.host}" if at_work else ""
    if at_work and at_work.silent:
        who += f", which has shown no sign of life for {at_work.silence:.0f} s"
    name = f"{staging.parent.parent.name}/{staging.parent.name}/{run_id}"
    return UnderWay(name, done, total, time.time() - begun, who, inside_cell(staging))


def inside_cell(staging: Path) -> str:
    """The line in which a long cell says how far it is; empty where there is none."""
    try:
        return (staging / INSIDE_CELL).read_text(encoding="utf-8")
    except OSError:
        return ""
