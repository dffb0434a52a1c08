"""`python -m benchmarks.scale cells|store|gallery`: what many cells, answers and runs cost; see docs/scale.md."""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import numpy as np

from benchmarks import machine

REPOSITORY = Path(__file__).parents[1]
NOTEBOOK = "from typing import Literal\nn: int = 0"


def main() -> None:
    """Measure what is asked for and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("what", nargs="+", choices=list(PARTS))
    parser.add_argument("--count", type=int, help="how many cells, answers or runs instead of those of docs/scale.md")
    given = parser.parse_args()
    print(f"{datetime.now():%Y-%m-%d %H:%M}, {machine.description('cpu')}, load {os.getloadavg()[0]:.1f} before\n")
    print("| what | measured |\n|---|---|")
    for part in given.what:
        measure, count = PARTS[part]
        with TemporaryDirectory() as folder:
            os.environ["WORKBENCH_CACHE"] = f"{folder}/cache"
            for name, value in measure(Path(folder), given.count or count):
                print(f"| {name} | {value} |", flush=True)
    print(f"\nload {os.getloadavg()[0]:.1f} after")


def cells(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """Cells through a scheduler and two workers on loopback: first only handed out, then without their kernel."""
    from workbench.runs import cluster, plan

    _study(folder, count)
    os.chdir(folder)
    start = perf_counter()
    planned = plan("toy")
    yield f"planning {count:,} cells", f"{perf_counter() - start:.1f} s"
    with _cluster(folder) as (address, processes):
        for label, function, some in (
            ("handed out, nothing done", no_op, planned),
            ("staged, recorded, reported and published, without a kernel", without_kernel, planned[: count // 5]),
        ):
            cluster.run_cell = function
            start = perf_counter()
            ends = [done for _, done in cluster.run_on(address, some, "outputs")]
            seconds = perf_counter() - start
            assert len(ends) == len(some) and all(done.status == "ok" for done in ends), ends[0]
            yield f"{len(some):,} cells {label}", f"{seconds:.0f} s, {1000 * seconds / len(some):.1f} ms each"
        for name, pid in (("scheduler", processes[0].pid), ("worker", processes[1].pid), ("client", os.getpid())):
            yield f"most memory of the {name}", f"{_peak(pid) / 2**20:.0f} MB"


def no_op(task: Any) -> Any:
    """Stands in for a cell that takes no time and leaves nothing."""
    from workbench.runs.cluster import CellResult

    return CellResult(task.planned.name, "ok", "id", "", "", 0.0)


def without_kernel(task: Any) -> Any:
    """A cell with all that surrounds the kernel."""
    from workbench.runs import execution
    from workbench.runs.cluster import run_cell

    execution._papermill = lambda *_: None
    return run_cell(task)


def store(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """A store of random answers: size, look-up, writing and merging."""
    from workbench.extraction.store import AnswerStore, Reading, merge

    rng = np.random.default_rng(0)
    path, other = folder / "big.sqlite", folder / "small.sqlite"
    seconds = _filled(path, count, rng)
    yield f"{count:,} answers with their readings, written in order", f"{seconds:.0f} s"
    yield "size", f"{path.stat().st_size / 1e6:.0f} MB, {path.stat().st_size / count:.0f} bytes an answer"
    keys = [*_some_keys(path, 1000), *(rng.bytes(20) for _ in range(1000))]
    with AnswerStore(path) as opened:
        yield "look-up of 2,000 answers, half of them absent", _timed(lambda: opened.get(keys))
        yield "the same again", _timed(lambda: opened.get(keys))
        new = {rng.bytes(20): -1.0 for _ in range(1000)}
        yield "keeping 1,000 new answers", _timed(lambda: opened.put(new))
        readings = {key: Reading(key, 2, False, False) for key in new}
        yield "keeping their readings", _timed(lambda: opened.put_readings(readings))
    _filled(other, count // 10, rng)
    yield f"merging {count // 10:,} new answers into them", _timed(lambda: merge(other, path))
    yield "merging the same again", _timed(lambda: merge(other, path))
    yield f"merging the {count:,} into an empty store", _timed(lambda: merge(path, folder / "empty.sqlite"))


def gallery(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """A gallery of made-up runs."""
    from tests.records import write_runs
    from workbench.reports import write_gallery

    write_runs(folder, count)
    yield f"gallery of {count:,} runs, read for the first time", _timed(lambda: write_gallery(folder))
    yield "again", _timed(lambda: write_gallery(folder))
    yield "size of the page", f"{(folder / 'index.html').stat().st_size / 1e6:.1f} MB"


PARTS: dict[str, tuple[Callable[[Path, int], Iterator[tuple[str, str]]], int]] = {
    "cells": (cells, 10_000),
    "store": (store, 10_000_000),
    "gallery": (gallery, 5_000),
}


def _study(folder: Path, count: int) -> None:
    import nbformat
    import yaml
    from nbformat.v4 import new_code_cell, new_notebook

    notebook = folder / "notebooks/toy/nothing.ipynb"
    notebook.parent.mkdir(parents=True)
    cell = new_code_cell(NOTEBOOK, metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell]), notebook)
    (folder / "studies").mkdir()
    content = {"notebooks": ["nothing"], "profiles": {"default": {}}, "matrix": {"n": list(range(count))}}
    (folder / "studies/toy.yaml").write_text(yaml.safe_dump(content))


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers, each a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    worker = ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder)]
    worker += ["--death-timeout", "60"]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    processes = []
    try:
        for words in (scheduler, worker, worker):
            command = [sys.executable, "-m", "dask", *words]
            processes.append(subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.DEVNULL))
        sleep(5)
        yield address, processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _filled(path: Path, count: int, rng: np.random.Generator) -> float:
    """Fills a store with random answers in the order of their keys; gives the seconds it took."""
    from workbench.extraction.store import AnswerStore, Reading

    start = perf_counter()
    heads = np.sort(rng.integers(0, 2**64, count, dtype=np.uint64)).astype(">u8")
    with AnswerStore(path) as opened:
        for first in range(0, count, 100_000):
            part = heads[first : first + 100_000]
            block = np.concatenate(
                [part.view(np.uint8).reshape(-1, 8), rng.integers(0, 256, (len(part), 12), dtype=np.uint8)], axis=1
            ).tobytes()
            keys = [block[i : i + 20] for i in range(0, len(block), 20)]
            opened.put(dict(zip(keys, (-20 * rng.random(len(keys))).tolist())))
            opened.put_readings({key: Reading(key, 2, False, False) for key in keys})
    return perf_counter() - start


def _some_keys(path: Path, count: int) -> list[bytes]:
    """Keys from all over a store."""
    import sqlite3

    query = "SELECT key FROM answers WHERE key > ? ORDER BY key LIMIT 1"
    with closing(sqlite3.connect(path)) as database:
        found = [database.execute(query, (os.urandom(20),)).fetchone() for _ in range(count)]
    return [row[0] for row in found if row]


def _timed(work: Callable[[], object]) -> str:
    start = perf_counter()
    work()
    seconds = perf_counter() - start
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _peak(pid: int) -> int:
    """Most bytes a process held."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
