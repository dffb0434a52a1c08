"""Processes killed at random moments: no finished answer is lost, and the restart gives the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from toys import start_cli, write_study

from workbench.extraction.store import store_of
from workbench.files import sha256_of

pytestmark = pytest.mark.notebook
ANSWERS = 150
KEYS = [number.to_bytes(20, "big") for number in range(ANSWERS)]
CELL = f"""\
import os, time, pandas as pd
from workbench.extraction.store import store_of
from workbench.runs import current_run
open("pid", "w").write(str(os.getpid()))
keys = [number.to_bytes(20, "big") for number in range({ANSWERS})]
with store_of("killed") as store:
    current_run().note(stored=len(store.get(keys)))
    for number, key in enumerate(keys):
        if not store.get([key]):
            time.sleep(0.02)
            store.put({{key: -number / 7}})
    answers = store.get(keys)
current_run().table("answers", pd.DataFrame({{"logprob": [answers[key] for key in keys]}}))"""
KINDS = [("runner", signal.SIGKILL), ("kernel", signal.SIGKILL), ("runner", signal.SIGTERM), ("runner", signal.SIGHUP)]


def stored() -> int:
    with store_of("killed") as store:
        return len(store.get(KEYS))


def records(folder: Path) -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("outputs/toy/slow/2*/run.json")}


def kill(folder: Path, who: str, number: int, inside: bool, delay: float) -> None:
    """Start the run, kill it some time after its start or, if `inside`, after that of its cell; check what is left."""
    (folder / "pid").unlink(missing_ok=True)
    known, least = records(folder), stored()
    process = start_cli(folder, "run", "toy", stderr=subprocess.PIPE)
    pid = folder / "pid"
    while process.poll() is None and (inside or who == "kernel") and not (pid.exists() and pid.read_text()):
        time.sleep(0.01)
    time.sleep(delay)
    before = stored()
    with suppress(ProcessLookupError):  # it has just ended
        if process.poll() is None:
            os.kill(process.pid if who == "runner" else int(pid.read_text()), number)
    out, said = process.communicate(timeout=120)
    after, new = stored(), {name: record for name, record in records(folder).items() if name not in known}
    print(
        f"{who} {signal.Signals(number).name} after {delay:.2f} s: {before} answers before, {after} after, {new.keys()}"
    )
    assert least <= before <= after and "Traceback" not in said
    statuses = [record["status"] for record in new.values()]
    if process.returncode == 0:
        assert statuses in (["ok"], [])
    elif number == signal.SIGKILL and who == "runner":
        assert statuses == [] and process.returncode == -number
    elif process.returncode == -number:
        assert statuses == []  # before it was ready to handle signals
    else:
        assert (statuses, process.returncode) in ((["died"], 137), (["cancelled"], 130), ([], 130), (["ok"], 130)), out


def killed_and_restarted(folder: Path, kills: list[tuple[str, int]], seed: int, longest: float) -> None:
    print(f"seed {seed}")
    draw = random.Random(seed)
    write_study(folder, {"slow": [CELL]})
    for who, number in kills:
        kill(folder, who, number, draw.random() < 0.7, draw.uniform(0.1, longest))
    process = start_cli(folder, "run", "toy")
    assert "toy/slow: ok" in process.communicate(timeout=120)[0] and process.returncode == 0
    (ended,) = [record for record in records(folder).values() if record["status"] == "ok"]
    expected = pd.DataFrame({"logprob": [-number / 7 for number in range(ANSWERS)]})
    expected.to_parquet(folder / "expected.parquet")
    assert ended["files"]["tables/answers.parquet"] == sha256_of(folder / "expected.parquet")  # type: ignore[index]
    assert stored() == ANSWERS
    assert [path.name for path in folder.glob("outputs/toy/slow/.*")] == []
    assert [path.name for path in Path(tempfile.gettempdir()).glob("workbench-*")] == []


@pytest.fixture
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a cache and a folder for temporary files."""
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_one_kill_of_each_kind_loses_no_answer_and_the_restart_gives_the_same_bytes(place: Path) -> None:
    killed_and_restarted(place, KINDS, seed=3, longest=3.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_twenty_random_kills_lose_no_answer_and_the_restart_gives_the_same_bytes(place: Path, seed: int) -> None:
    seed += int(os.environ.get("WORKBENCH_SEED", "1000"))
    kinds = random.Random(seed).sample(KINDS, k=4)
    killed_and_restarted(place, kinds, seed, longest=4.0)
