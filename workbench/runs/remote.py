"""Results on a remote store: made in a working copy on this machine, copied when they are complete.

A run's `run.json` is copied last, so whoever reads the store never sees half a run; then `latest` and the gallery.
The working copy lies in the cache folder; it is also what keeps two processes of this machine from running the same.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from workbench.errors import InputError
from workbench.files import cache_folder, opened
from workbench.runs.record import Run, load_run, read_run


def is_url(outputs: Path | str) -> bool:
    """Whether results go to a store named by an fsspec URL, such as `s3://bucket/results`."""
    return isinstance(outputs, str) and re.match(r"[a-z][a-z0-9+.-]+://", outputs) is not None


def working_copy(outputs: Path | str) -> Path:
    """The folder on this machine where results are made."""
    if not is_url(outputs):
        return Path(outputs)
    opened(str(outputs))
    return cache_folder() / "outputs" / hashlib.sha256(str(outputs).encode()).hexdigest()[:16]


def push(run: Run, home: Path, url: str, gallery: bool) -> None:
    """Copies a complete run to the store unless it is there, its record last; then `latest` and a gallery just made."""
    store, top = opened(url)
    assert run.folder is not None
    target = f"{top}/{run.study}/{run.notebook}"
    files = sorted(path for path in run.folder.rglob("*") if path.is_file() and path.name != "run.json")
    try:
        if store.exists(f"{target}/{run.run_id}/run.json"):
            return
        for path in [*files, run.folder / "run.json"]:
            name = f"{target}/{run.run_id}/{path.relative_to(run.folder).as_posix()}"
            store.makedirs(name.rpartition("/")[0], exist_ok=True)
            store.put_file(str(path), name)
        if run.status == "ok":
            store.pipe_file(f"{target}/latest", run.run_id.encode())
        if gallery and (home / "index.html").exists():
            store.put_file(str(home / "index.html"), f"{top}/index.html")
    except Exception as error:  # stores have no common base for what they raise
        raise InputError(
            f"Cannot copy the run to {url}: {str(error) or type(error).__name__}; it is complete in {run.folder}, "
            "and the same command copies it later."
        ) from error


def pull(place: Path, key: str, url: str) -> Run | None:
    """Brings a run with this key that went well from the store into the working copy; None if it has none."""
    store, top = opened(url)
    study, notebook = place.parent.name, place.name
    try:
        records = sorted(store.glob(f"{top}/{study}/{notebook}/*-{key}/run.json"), reverse=True)
    except Exception as error:
        raise InputError(f"Cannot read {url}: {str(error) or type(error).__name__}.") from error
    for record in records:
        folder = record.rpartition("/")[0]
        target = place / folder.rpartition("/")[2]
        if target.exists():
            continue
        partial = target.with_name(f".staging-{target.name}")
        store.get(folder, str(partial), recursive=True)
        run = load_run(partial)
        if run.status == "ok":
            partial.rename(target)
            return run.model_copy(update={"folder": target})
        shutil.rmtree(partial)
    return None


def newest(url: str, count: int) -> list[tuple[str, Run | InputError]]:
    """The last runs on the store, the newest first: each one's name and its record, or why that cannot be read."""
    store, top = opened(url)
    try:
        records = sorted(store.glob(f"{top}/*/*/*/run.json"), key=lambda name: name.split("/")[-2], reverse=True)
        contents = [(record.rpartition("/")[0], store.cat_file(record)) for record in records[:count]]
    except Exception as error:
        raise InputError(f"Cannot read {url}: {str(error) or type(error).__name__}.") from error
    return [("/".join(folder.split("/")[-3:]), _record(content, folder)) for folder, content in contents]


def _record(content: bytes, folder: str) -> Run | InputError:
    try:
        return read_run(content, folder)
    except InputError as error:
        return error
