"""The runs that lie in an outputs folder: those that have ended, those under way, what may go, and what is to come."""

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
from typing import Any, Literal

from workbench import progress
from workbench.errors import InputError
from workbench.runs.place import BALLAST, STAGING, holder, read_progress, sweep
from workbench.runs.record import Run, load_run
from workbench.runs.studies import PlannedRun

COMPARISONS = "comparisons"
"""The study under which comparisons of runs are kept."""


def run_folders(outputs: Path) -> list[Path]:
    """The folders of all published runs, `outputs/<study>/<notebook>/<run-id>`, in order of their names."""
    return [run for study in _folders(outputs) for notebook in _folders(study) for run in _runs(notebook)]


def newest_first(place: Path) -> Iterator[Run]:
    """The runs of one notebook that can be read, each read when it is its turn."""
    return _readable(place, "")


def newest(place: Path, key: str) -> Run | None:
    """The last run with this key, whatever its status; None if there is none that can be read."""
    return next(_readable(place, key), None)


def finished(place: Path, key: str) -> Run | None:
    """The last run with this key that went well."""
    return next((run for run in _readable(place, key) if run.status == "ok"), None)


def half_done(outputs: Path) -> list[Path]:
    """The staging folders of runs under way, or of processes that are gone."""
    places = [place for study in _folders(outputs) for place in _folders(study)]
    return [path for place in places for path in sorted(place.glob(f"{STAGING}*"))]


def find_run(name: str | Path, outputs: Path) -> Run:
    """The run a user names.

    Args:
        name: A run's folder, `STUDY/NOTEBOOK` for its latest good run, or `STUDY/NOTEBOOK/RUN-ID`.
        outputs: Folder of all results.

    Raises:
        InputError: If there is no such run, or it cannot be read.
    """
    for folder in (outputs / name / "latest", outputs / name, Path(name)):
        if (folder / "run.json").is_file():
            return load_run(folder.resolve())
    raise InputError(
        f"There is no run {str(name)!r}; name a run's folder, or STUDY/NOTEBOOK once a run of it went well."
    )


def _readable(place: Path, key: str) -> Iterator[Run]:
    for folder in reversed(_folders(place, f"-{key}" if key else "")):
        with suppress(InputError):
            yield load_run(folder)


def _runs(place: Path) -> list[Path]:
    return [folder for folder in _folders(place) if (folder / "run.json").exists()]


def _folders(folder: Path, ending: str = "") -> list[Path]:
    """The visible folders in a folder whose names end so; links such as `latest` are none."""
    try:
        with os.scandir(folder) as entries:
            seen = (e for e in entries if not e.name.startswith(".") and e.name.endswith(ending))
            names = sorted(e.name for e in seen if e.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [folder / name for name in names]


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
    return UnderWay(name, done, total, time.time() - begun, who, progress.inside(staging))


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
