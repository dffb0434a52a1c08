"""Runs under way, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.files import INSIDE_CELL
from workbench.runs.leases import LEASE, STAGING, Lease, read_lease
from workbench.runs.staging import read_progress


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
    leases = [read_lease(staging.parent / f"{LEASE}{staging.name.rpartition('-')[2]}") for staging in folders]
    for staging, lease in zip(folders, leases):  # all were read before, so silent ones are watched at the same time
        try:
            told = _told(staging, lease)
        except FileNotFoundError:
            continue
        yield told


def _told(staging: Path, lease: Lease | None) -> UnderWay:
    run_id = staging.name.removeprefix(STAGING)
    done, total = read_progress(staging)
    live = lease is not None and lease.live
    touched = staging.stat().st_mtime
    who = f"process {lease.pid} on {lease.host}" if lease and live else ""
    name = f"{staging.parent.parent.name}/{staging.parent.name}/{run_id}"
    started = lease.started if lease and live else touched
    return UnderWay(name, done, total, time.time() - started, who, inside_cell(staging))


def inside_cell(staging: Path) -> str:
    """The line in which a long cell says how far it is; empty where there is none."""
    try:
        return (staging / INSIDE_CELL).read_text(encoding="utf-8")
    except OSError:
        return ""
