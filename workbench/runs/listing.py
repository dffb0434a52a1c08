"""Runs in an outputs folder: finished ones, running ones, removable ones, and a forecast for planned ones."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from workbench import progress
from workbench.errors import InputError
from workbench.reading import field, printable, read_json
from workbench.runs.record import Run, load_run
from workbench.runs.staging import BALLAST, REMOVED, STAGING, holder, read_progress, sweep
from workbench.runs.studies import PlannedRun

MOST_RUNS = 500
"""Most earlier runs of a notebook that a forecast reads."""


def run_folders(outputs: Path) -> list[Path]:
    """Return the folders of all published runs, `outputs/<study>/<notebook>/<run-id>`, sorted by name."""
    folders = [run for notebook in _notebook_folders(outputs) for run in _folders(notebook)]
    return [folder for folder in folders if (folder / "run.json").exists()]


def readable(folder: Path, key: str = "") -> Iterator[Run]:
    """Yield the readable runs of one notebook, newest first, optionally those with this key only."""
    for run in reversed(_folders(folder, f"-{key}" if key else "")):
        with suppress(InputError):
            yield load_run(run)


def newest(folder: Path, key: str) -> Run | None:
    """Return the newest run with this key, whatever its status."""
    return next(readable(folder, key), None)


def finished(folder: Path, key: str) -> Run | None:
    """Return the newest successful run with this key."""
    return next((run for run in readable(folder, key) if run.status == "ok"), None)


def last_runs(outputs: Path, count: int) -> list[tuple[str, Run | InputError]]:
    """Return name and record of the last runs, newest first; an unreadable record is its error."""
    runs: list[tuple[str, Run | InputError]] = []
    for folder in sorted(run_folders(outputs), key=lambda folder: folder.name, reverse=True)[:count]:
        try:
            runs.append((_name(folder), load_run(folder)))
        except InputError as error:
            runs.append((_name(folder), error))
    return runs


def find_run(name: str | Path, outputs: Path) -> Run:
    """Return the run that a user names.

    Args:
        name: A run's folder, `STUDY/NOTEBOOK` for its latest successful run, or `STUDY/NOTEBOOK/RUN-ID`.
        outputs: Folder of all results.

    Raises:
        InputError: If there is no such run, or it cannot be read.
    """
    for folder in (*filter(Path.is_symlink, [outputs / name / "latest"]), outputs / name, Path(name)):
        if (folder / "run.json").is_file():
            return load_run(folder.resolve())
    if successful := [run for run in recent(outputs / name) if run.status == "ok"]:  # a system without links
        return max(successful, key=lambda run: run.finished)
    raise InputError(
        f"There is no run {str(name)!r}; name a run's folder, or STUDY/NOTEBOOK for its latest successful run."
    )


def _folders(folder: Path, ending: str = "") -> list[Path]:
    """The visible folders in a folder with this ending, without links such as `latest`."""
    try:
        with os.scandir(folder) as entries:
            visible = (e for e in entries if not e.name.startswith(".") and e.name.endswith(ending))
            names = sorted(e.name for e in visible if e.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [folder / name for name in names]


def _notebook_folders(outputs: Path) -> list[Path]:
    return [notebook for study in _folders(outputs) for notebook in _folders(study)]


@dataclass(frozen=True, slots=True)
class Running:
    """A run that is being executed, or whose process ended without publishing it."""

    name: str
    """`<study>/<notebook>/<run-id>`."""
    done: int
    """Finished code cells."""
    total: int
    """Code cells in all."""
    seconds: float
    """Time since its start."""
    who: str
    """Process and machine that execute it; empty if the process has ended."""
    inside: str = ""
    """Progress within the current cell, if it reports any."""

    def __str__(self) -> str:
        if not self.who:
            return f"abandoned   {self.name}  after {self.done} of {self.total} cells; the next run removes it"
        inside = f", {self.inside}" if self.inside else ""
        return f"running     {self.name}  {self.done} of {self.total} cells{inside}; {self.seconds:.0f} s, {self.who}"


def staging_folders(outputs: Path) -> list[Path]:
    """Return the staging folders of running and abandoned runs."""
    return [path for folder in _notebook_folders(outputs) for path in sorted(folder.glob(f"{STAGING}*"))]


def running(folders: Sequence[Path]) -> Iterator[Running]:
    """Yield the state of each staging folder; a run that was published meanwhile is left out."""
    for staging in folders:
        run_id = staging.name.removeprefix(STAGING)
        done, total = read_progress(staging)
        process = holder(staging.parent, run_id.rpartition("-")[2])
        who = f"process {process.pid} on {process.host}" if process else ""
        if process and process.silent:
            who += f", which has shown no sign of life for {process.silence:.0f} s"
        name = printable(f"{staging.parent.parent.name}/{staging.parent.name}/{run_id}")
        with suppress(FileNotFoundError):
            begun = (staging / BALLAST if (staging / BALLAST).exists() else staging).stat().st_mtime
            yield Running(name, done, total, time.time() - begun, printable(who), progress.inside(staging))


@dataclass(frozen=True, slots=True)
class Removal:
    """What `workbench clean` would remove."""

    path: Path
    """The folder."""
    reason: str
    """Why it is not needed."""


def removable(outputs: Path) -> list[Removal]:
    """Return runs replaced by a newer one of the same notebook and parameters, and what ended processes left.

    Kept are, for every notebook and set of parameters, the newest successful run (or the newest, if none succeeded),
    every run that another refers to, the target of `latest`, comparisons, and folders whose record cannot be read.
    """
    runs: dict[str, Run] = {}
    kept: set[str] = set()
    for folder in run_folders(outputs):
        try:
            run = runs[_name(folder)] = load_run(folder)
            kept.update(run.refers_to)
        except InputError:
            kept |= _references(folder)
    best: dict[str, str] = {}
    for name, run in sorted(runs.items(), key=lambda item: item[1].run_id):
        group = json.dumps([run.study, run.notebook, run.values], sort_keys=True)
        if group not in best or run.status == "ok" or runs[best[group]].status != "ok":
            best[group] = name
    folders = _notebook_folders(outputs)
    kept |= {*best.values(), *(_name(link.resolve()) for folder in folders if (link := folder / "latest").exists())}
    replaced = [Removal(outputs / name, "a newer run replaces it") for name in runs if name not in kept]
    abandoned = [path for folder in folders for path in sweep(folder, remove=False, patient=True)]
    left = [Removal(path, "a process that is gone left it") for path in abandoned]
    return sorted([*replaced, *left], key=lambda removal: removal.path)


def remove(removals: list[Removal]) -> None:
    """Remove these folders, each hidden by a rename first, so that no reader sees half a run.

    Raises:
        InputError: If one cannot be removed.
    """
    for removal in removals:
        hidden = removal.path.with_name(f"{REMOVED}{removal.path.name}")
        try:
            os.rename(removal.path, hidden)
            shutil.rmtree(hidden)
        except FileNotFoundError:
            continue
        except (OSError, RecursionError) as error:
            raise InputError(f"Cannot remove {removal.path}: {printable(error)}.") from error


def _references(folder: Path) -> set[str]:
    """The runs a record refers to, also where the rest of the record is damaged."""
    try:
        names = field(read_json(folder / "run.json", strict=False), "refers_to", list, "the record")
        return {name for name in names if isinstance(name, str)}
    except InputError:
        return set()


def _name(folder: Path) -> str:
    return "/".join(folder.parts[-3:])


@dataclass(frozen=True, slots=True)
class Forecast:
    """What earlier runs predict for a planned run."""

    state: Literal["done", "running", "to run"]
    """Whether it has succeeded before, is running, or has to be run."""
    run_id: str = ""
    """The successful run."""
    seconds: float | None = None
    """Time of the newest run with the same parameters, else with the same model."""
    like: Literal["same parameters", "same model", ""] = ""
    """What that earlier run has in common with this one."""
    tokens: int | None = None
    """Tokens to compute: 0 if an earlier run with the same parameters left its answers in the store, else unknown."""

    def __str__(self) -> str:
        if self.state == "done":
            return f"done: {self.run_id}"
        time = "unknown" if self.seconds is None else f"about {self.seconds:.0f} s (last run with the {self.like})"
        tokens = "unknown" if self.tokens is None else f"{self.tokens} (answers are in the store)"
        return f"{self.state}; time {time}; tokens to compute {tokens}"


def recent(folder: Path) -> list[Run]:
    """Return the last runs of a notebook, newest first."""
    return list(islice(readable(folder), MOST_RUNS))


def forecast(planned: PlannedRun, outputs: Path, runs: Callable[[Path], list[Run]] = recent) -> Forecast:
    """Return what earlier runs of the same notebook predict.

    Args:
        planned: The planned run.
        outputs: Folder of all results.
        runs: Returns the last runs of a notebook, newest first; a cached function reads them once for all cells.
    """
    folder = outputs / planned.study / planned.notebook
    if (run := finished(folder, planned.key)) is not None:
        return Forecast("done", run.run_id)
    state: Literal["running", "to run"] = "running" if holder(folder, planned.key) else "to run"
    successful = [run for run in runs(folder) if run.status == "ok"]
    for earlier in successful:
        if earlier.values == planned.values:
            counted = earlier.counts.tokens is not None or earlier.counts.computed is not None
            return Forecast(state, "", earlier.seconds, "same parameters", 0 if counted else None)
    for earlier in successful:
        if earlier.values.get("model") == planned.values.get("model"):
            return Forecast(state, "", earlier.seconds, "same model")
    return Forecast(state)
