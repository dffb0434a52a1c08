"""A cluster of real processes on loopback: workers, schedulers and clients that are killed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toys import write_study

pytest.importorskip("distributed")
pytestmark = pytest.mark.notebook
CELL = """\
import os, time
open('log', 'a').write(f'{n} ')
open('kernels', 'a').write(f'{os.getpid()} ')
while not os.path.exists('go'):
    time.sleep(0.05)
open('ended', 'a').write(f'{n} ')
"""
Process = subprocess.Popen[str]


class Cluster:
    """A scheduler, its workers and clients, each a process of its own in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[Process]()
        self.environment = {**os.environ, "WORKBENCH_CACHE": str(folder / "cache")}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"

    def start(self, *words: str, **more: str) -> Process:
        """A Python process."""
        code = "import sys, importlib; importlib.import_module(sys.argv.pop(1)).main()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=self.folder,
            env=self.environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def scheduler(self) -> Process:
        port = self.address.rpartition(":")[2]
        return self.start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")

    def worker(self, **more: str) -> Process:
        words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder / "dask"))
        return self.start("distributed.cli.dask_worker", self.address, *words, **more)

    def client(self) -> Process:
        return self.start("workbench.cli", "run", "toy", "--on", self.address)

    def status(self) -> str:
        return self.start("workbench.cli", "status").communicate(timeout=60)[0]

    def words(self, name: str) -> Counter[str]:
        path = self.folder / name
        return Counter(path.read_text().split() if path.exists() else [])

    def wait(self, reached: Callable[[], object], process: Process | None = None) -> None:
        end = time.monotonic() + 60
        while not reached():
            assert time.monotonic() < end, "it took too long"
            assert process is None or process.poll() is None, process.communicate()[0] if process else ""
            time.sleep(0.05)

    def go(self) -> None:
        """Lets the cells end that wait for it, once the kernels of killed workers are gone."""
        self.wait(lambda: any(not Path(f"/proc/{pid}").exists() for pid in self.words("kernels")))
        (self.folder / "go").touch()

    def runs(self) -> list[str]:
        records = self.folder.glob("outputs/toy/slow/2*/run.json")
        return [json.loads(path.read_text())["parameters_given"]["n"] for path in records]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    write_study(tmp_path, {"slow": [CELL]}, {"default": {"matrix": {"n": [1, 2, 3]}}})
    made = Cluster(tmp_path)
    yield made
    made.close()


def test_two_clients_and_a_killed_worker_run_each_cell_once(cluster: Cluster) -> None:
    odd = cluster.folder / "packages/torch-9.9.dist-info"
    odd.mkdir(parents=True)
    (odd / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    path = os.pathsep.join([str(odd.parent), os.environ.get("PYTHONPATH", "")])
    cluster.scheduler()
    workers = [cluster.worker(), cluster.worker(), cluster.worker(PYTHONPATH=path)]
    clients = [cluster.client(), cluster.client()]
    cluster.wait(lambda: len(cluster.words("kernels")) == 2, clients[0])
    assert cluster.status().count("running     toy/slow/") == 2 and cluster.runs() == []
    workers[0].kill()
    cluster.go()
    printed = [client.communicate(timeout=90)[0] for client in clients]
    assert [client.returncode for client in clients] == [0, 0], printed
    assert all(text.count("toy/slow [n=") == 3 and "is refused: torch 9.9 there and " in text for text in printed), (
        printed
    )
    assert any("is gone; toy/slow is run again elsewhere" in text for text in printed)
    assert cluster.words("ended") == dict.fromkeys("123", 1) and cluster.words("log").total() == 4
    assert sorted(cluster.runs()) == [1, 2, 3]
    said = cluster.status()
    assert said.count("ok  ") == 3 and "running" not in said and "abandoned" not in said
    assert list(cluster.folder.glob("outputs/toy/slow/.*")) == []


def test_a_lost_client_and_a_lost_scheduler_cost_only_what_was_under_way(cluster: Cluster) -> None:
    scheduler, worker, client = cluster.scheduler(), cluster.worker(), cluster.client()
    cluster.wait(lambda: cluster.words("kernels"), client)
    client.kill()
    (cluster.folder / "go").touch()
    cluster.wait(cluster.runs)  # the worker finishes what it had
    (cluster.folder / "go").unlink()
    client = cluster.client()
    cluster.wait(lambda: len(cluster.words("kernels")) == 2, client)
    scheduler.kill()
    text = client.communicate(timeout=30)[0]
    assert client.returncode == 2 and "is gone; 1 of 3 cells are done and kept. Start it" in text, text
    worker.kill()
    worker.communicate()
    said = cluster.status()
    assert (said.count("ok  "), said.count("abandoned   toy/slow/"), said.count("running")) == (1, 1, 0), said
    cluster.scheduler(), cluster.worker()
    cluster.wait(lambda: sum(Path(f"/proc/{pid}").exists() for pid in cluster.words("kernels")) == 0)
    cluster.go()
    client = cluster.client()
    text = client.communicate(timeout=90)[0]
    assert client.returncode == 0 and text.count("ok already in") == 1, text
    assert sorted(cluster.runs()) == [1, 2, 3]
    assert cluster.words("log").total() == 4 and cluster.words("ended") == dict.fromkeys("123", 1)
    assert list(cluster.folder.glob("outputs/toy/slow/.*")) == []
