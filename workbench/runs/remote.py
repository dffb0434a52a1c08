"""Results on a remote store: made in a working copy on this machine, copied to the store when complete.

A run's `run.json` is copied last, so readers of the store never see half a run. The working copy lies in the cache
folder; its leases keep two processes of this machine from making the same run.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.files import cache_folder, moved, opened
from workbench.runs.record import Run, load_run, read_run


def is_url(outputs: Path | str) -> bool:
    """Whether results go to a store named by an fsspec URL such as `s3://bucket/results`."""
    return isinstance(outputs, str) and re.match(r"[a-z][a-z0-9+.-]+://", outputs) is not None


def working_copy(outputs: Path | str) -> Path:
    """Return the folder on this machine in which results are made."""
    if not is_url(outputs):
        return Path(outputs)
    opened(str(outputs))
    return cache_folder() / "outputs" / hashlib.sha256(str(outputs).encode(errors="surrogatepass")).hexdigest()[:16]


def push(run: Run, home: Path, url: str, gallery: bool) -> None:
    """Copy a complete run to the store unless it is there, its record last, then `latest` and the gallery."""
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
    except Exception as error:  # the errors of stores have no common base
        raise InputError(
            f"Cannot copy the run to {url}: {str(error) or type(error).__name__}; it is complete in {run.folder}, "
            "and the same command copies it later."
        ) from error


def pull(folder: Path, key: str, url: str) -> Run | None:
    """Copy a successful run with this key from the store into the working copy; None if there is none."""
    store, records = _records(url, f"{folder.parent.name}/{folder.name}/*-{key}")
    for record in records:
        source = record.rpartition("/")[0]
        target = folder / source.rpartition("/")[2]
        if target.exists():
            continue
        partial = target.with_name(f".staging-{target.name}")
        store.get(source, str(partial), recursive=True)
        run = load_run(partial)
        if run.status == "ok":
            moved(partial, target)
            return run.model_copy(update={"folder": target})
        shutil.rmtree(partial)
    return None


def newest(url: str, count: int) -> list[tuple[str, Run | InputError]]:
    """Return name and record of the last runs on the store, newest first; an unreadable record is its error."""
    store, records = _records(url, "*/*/*")
    runs: list[tuple[str, Run | InputError]] = []
    for record in records[:count]:
        folder = record.rpartition("/")[0]
        name = "/".join(folder.split("/")[-3:])
        try:
            runs.append((name, read_run(store.cat_file(record), folder)))
        except InputError as error:
            runs.append((name, error))
        except Exception as error:
            raise InputError(f"Cannot read {url}: {str(error) or type(error).__name__}.") from error
    return runs


def _records(url: str, folders: str) -> tuple[Any, list[str]]:
    """The store, and the paths of the records in these folders, newest first."""
    store, top = opened(url)
    try:
        return store, sorted(
            store.glob(f"{top}/{folders}/run.json"), key=lambda path: path.split("/")[-2], reverse=True
        )
    except Exception as error:
        raise InputError(f"Cannot read {url}: {str(error) or type(error).__name__}.") from error
