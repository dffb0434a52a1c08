"""The runs that lie in an outputs folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from workbench.errors import InputError
from workbench.runs.place import STAGING
from workbench.runs.record import Run, load_run

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
