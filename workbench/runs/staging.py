"""The folder in which a run is made, hidden beside its place until it is complete."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import InputError
from workbench.files import written_whole
from workbench.runs.leases import STAGING

NOTEBOOK = "notebook.ipynb"
PATCH = "changes.patch"
LOG = ".kernel.log"
PROGRESS = ".progress.json"
BALLAST = ".ballast"
"""A file that only keeps room on the disk, for recording a run that fills it."""
BALLAST_BYTES = 2_000_000
OnCell = Callable[[int, int], None]
"""Told of code cells done and their total."""


@contextmanager
def writing(outputs: Path | str) -> Iterator[None]:
    """Turns a failure to write results into the user's sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        where = f"{error.filename}: " if error.filename else ""
        raise InputError(
            f"Cannot write results to {outputs}: {where}{reason}; name another folder with --outputs."
        ) from error


def place_of(outputs: Path, study: str, notebook: str) -> Path:
    """The folder of a notebook's runs, made if need be and found writable."""
    place = outputs.resolve() / study / notebook
    with writing(outputs):
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, prefix=".probe-", buffering=0) as probe:
            probe.write(bytes(4096))  # an empty file fits on a full disk, a lease does not
    return place


def staging_of(place: Path, run_id: str) -> Path:
    """Where a run is made, among the runs of its notebook."""
    return place / f"{STAGING}{run_id}"


def make_staging(place: Path, run_id: str) -> Path:
    """A new staging folder, with room to record a disk that fills up."""
    staging = staging_of(place, run_id)
    with writing(place):
        staging.mkdir()
        (staging / BALLAST).write_bytes(bytes(BALLAST_BYTES))
    return staging


def write_progress(staging: Path, done: int, total: int) -> None:
    """Says how many code cells are done, for whoever looks from outside."""
    with written_whole(staging / PROGRESS) as path:
        path.write_text(json.dumps({"done": done, "total": total}), encoding="utf-8")


def read_progress(staging: Path) -> tuple[int, int]:
    """Code cells done and their total; zeros where nothing is known yet."""
    try:
        content = json.loads((staging / PROGRESS).read_text(encoding="utf-8"))
        return content["done"], content["total"]
    except (OSError, ValueError, KeyError):
        return 0, 0
