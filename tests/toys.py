"""Toy studies of tiny notebooks, written where a test wants them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = """\
from typing import Literal
from workbench import FilePath
n: int = 3  # how many
name: str | None = None
how: Literal["a", "b"] = "a"
data: FilePath | None = None
"""


def write_notebook(path: Path, *cells: str, parameters: str | None = PARAMETERS) -> Path:
    """A notebook of code cells, and of markdown cells where the text starts with `#`."""
    made = [new_code_cell(parameters, metadata={"tags": ["parameters"]})] if parameters is not None else []
    made += [new_markdown_cell(c) if c.startswith("#") else new_code_cell(c) for c in cells]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=made), path)
    return path


def write_study(root: Path, notebooks: dict[str, list[str]], profiles: dict[str, object] | None = None) -> None:
    """The study `toy` in `root`, its notebooks made of these cells after the usual parameters."""
    for name, cells in notebooks.items():
        write_notebook(root / "notebooks" / "toy" / f"{name}.ipynb", *cells)
    (root / "studies").mkdir(exist_ok=True)
    content = {"notebooks": list(notebooks), "profiles": profiles or {"default": {}}}
    (root / "studies" / "toy.yaml").write_text(json.dumps(content))


def lease_elsewhere(place: Path, key: str = "k", age: float = 0.0, pid: int = 7) -> Path:
    """The lease of a process on another machine whose last beat was so many seconds ago."""
    from workbench.runs import staging as module

    place.mkdir(parents=True, exist_ok=True)
    path = place / f".lease-{key}"
    lines = ["filelock/2", f"pid={pid}", "host=elsewhere", "mode=lease", "token=theirs"]
    path.write_text("\n".join([*lines, f"duration={module.LEASE_SECONDS}", "start=1", ""]))
    os.utime(path, (time.time() - age,) * 2)
    return path


def start_cli(folder: Path, *words: str, **more: Any) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, with its cache in the folder."""
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job ignores it
    command = [sys.executable, "-c", f"{heeds}; from workbench.cli import main; main()", *words]
    environment = {**os.environ, "WORKBENCH_CACHE": str(folder / "cache")}
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment, **more)
