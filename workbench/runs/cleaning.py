"""Removing runs that newer ones replace, never one that another refers to."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import InputError
from workbench.runs.listing import run_folders
from workbench.runs.place import sweep
from workbench.runs.record import Run, load_run


@dataclass(frozen=True, slots=True)
class Removal:
    """Something `workbench clean` would remove."""

    path: Path
    """The folder or file."""
    reason: str
    """Why it is not needed."""


def removable(outputs: Path) -> list[Removal]:
    """What can go: runs replaced by a newer one of the same notebook and parameters, and what dead processes left.

    Kept are, for every notebook and set of parameters, the newest good run (or the newest, if none is good), every run
    that another refers to, whatever `latest` points at, comparisons, and folders whose record cannot be read.
    """
    runs: list[Run] = []
    referred: set[str] = set()
    for folder in run_folders(outputs):
        try:
            runs.append(run := load_run(folder))
            referred.update(run.refers_to)
        except InputError:  # whatever it is, it is not ours to judge
            referred |= _references(folder)
    kept = _newest_good(runs) | referred
    found = [Removal(r.folder, "a newer run replaces it") for r in runs if r.folder and _name(r.folder) not in kept]
    places = sorted(p for p in outputs.glob("*/*") if p.is_dir() and not p.name.startswith("."))
    left = [
        Removal(path, "a process that is gone left it") for p in places for path in sweep(p, remove=False, patient=True)
    ]
    return sorted([*found, *left], key=lambda removal: removal.path)


def remove(removals: list[Removal]) -> None:
    """Removes these, each hidden by one rename first, so that nobody sees half a run.

    Raises:
        InputError: If one cannot be removed.
    """
    for removal in removals:
        hidden = removal.path.with_name(f".removed-{removal.path.name}")
        try:
            os.rename(removal.path, hidden)
            shutil.rmtree(hidden) if hidden.is_dir() else hidden.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InputError(f"Cannot remove {removal.path}: {error.strerror}.") from error


def _newest_good(runs: list[Run]) -> set[str]:
    """For every notebook and its parameters the run to keep, and what `latest` points at."""
    best: dict[str, Run] = {}
    places = {run.folder.parent for run in runs if run.folder}
    kept = {_name(latest.resolve()) for place in places if (latest := place / "latest").exists()}
    for run in sorted(runs, key=lambda run: run.run_id):
        values = run.parameters_given | run.parameters_default
        group = json.dumps([run.study, run.notebook, values], sort_keys=True)
        if group not in best or run.status == "ok" or best[group].status != "ok":
            best[group] = run
    return kept | {_name(run.folder) for run in best.values() if run.folder}


def _references(folder: Path) -> set[str]:
    """The runs a record refers to, read leniently: a record that is damaged elsewhere still protects them."""
    try:
        return set(json.loads((folder / "run.json").read_text(encoding="utf-8")).get("refers_to", []))
    except (OSError, ValueError, AttributeError, TypeError):
        return set()


def _name(folder: Path) -> str:
    return "/".join(folder.parts[-3:])
