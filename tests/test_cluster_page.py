"""The recipes of docs/cluster.md, taken from the page and run with stand-ins for what they call."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs/cluster.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
STUB = '#!/bin/bash\necho "$(basename "$0") CUDA=$CUDA_VISIBLE_DEVICES $*" >> "$LOG"\n'


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with an environment of stand-ins that note how they were called."""
    for name in ("bin/dask", "bin/sbatch", ".venv/bin/dask", ".venv/bin/workbench"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STUB)
        path.chmod(0o755)
    (tmp_path / "bin/ssh").write_text(f'{STUB}test "$1" = -n && exec bash -c "$3"\n')
    (tmp_path / "bin/ssh").chmod(0o755)
    return tmp_path


def run(lab: Path, *command: str, **more: str) -> list[str]:
    """Runs a command there; gives what the stand-ins noted."""
    log = lab / "log"
    environment = {**os.environ, "PATH": f"{lab}/bin:{os.environ['PATH']}", "LOG": str(log), "USER": "x", **more}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(command, cwd=lab, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    subprocess.run(["sleep", "0.5"], check=True)  # workers are started in the background
    return sorted(log.read_text().splitlines())


def test_every_recipe_is_valid_and_about_ten_lines() -> None:
    assert [kind for kind, _ in RECIPES] == ["bash", "bash", "python"]
    for kind, text in RECIPES:
        assert len(text.splitlines()) <= 12
        if kind == "bash":
            subprocess.run(["bash", "-n"], input=text, text=True, check=True)
        else:
            compile(text, "recipe", "exec")


def test_ssh_starts_a_worker_for_each_gpu_of_each_machine(lab: Path) -> None:
    (lab / "ssh.sh").write_text(RECIPES[0][1])
    (lab / "hosts").write_text("one\ntwo\n")
    noted = run(lab, "bash", "ssh.sh", GPUS="2")
    assert sum(line.startswith("dask CUDA= scheduler --host") for line in noted) == 1
    workers = [line for line in noted if line.startswith("dask") and " worker tcp://" in line]
    assert [line.split()[1] for line in workers] == ["CUDA=0", "CUDA=0", "CUDA=1", "CUDA=1"]
    assert all(line.endswith(":8786 --nthreads 1 --resources GPU=1") for line in workers)
    assert sorted(path.name for path in lab.glob("worker-*")) == [
        f"worker-{h}-{g}.log" for h in ("one", "two") for g in "01"
    ]


def test_slurm_fetches_and_starts_one_worker(lab: Path) -> None:
    (lab / "slurm.sh").write_text(RECIPES[1][1])
    submitted = run(lab, "sbatch", "--array=0-7", "slurm.sh", "tcp://head:8786")
    assert submitted == ["sbatch CUDA= --array=0-7 slurm.sh tcp://head:8786"]
    set_by_slurm = {"SLURM_SUBMIT_DIR": str(lab), "SLURM_CPUS_PER_TASK": "8"}
    noted = run(lab, "bash", "slurm.sh", "tcp://head:8786", **set_by_slurm)
    assert any(line == "workbench CUDA= fetch" for line in noted)
    assert any(line.startswith("dask CUDA= worker tcp://head:8786 --nthreads 1 --resources GPU=1") for line in noted)


def test_submitit_maps_the_worker_over_an_array(lab: Path) -> None:
    (lab / "submitit.py").write_text(
        "class AutoExecutor:\n"
        "    def __init__(self, folder): pass\n"
        "    def update_parameters(self, **named): self.named = named\n"
        "    def map_array(self, function, commands):\n"
        "        assert self.named['gpus_per_node'] == 1\n"
        "        [function(command) for command in commands]\n"
        "        return []\n"
    )
    (lab / "start.py").write_text(RECIPES[2][1])
    noted = run(lab, sys.executable, "start.py", "tcp://head:8786")
    assert noted == ["dask CUDA= worker tcp://head:8786 --nthreads 1 --resources GPU=1"] * 8
