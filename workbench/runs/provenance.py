"""What was run and where: commit, packages, host."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from workbench.files import sha256_of
from workbench.runs.record import Host, Source

LARGEST_PATCH = 2_000_000


def source_of(notebook: Path) -> Source:
    """The notebook's hash, this package's version and commit, and the versions of what it depends on."""
    commit = _git(notebook.parent, "rev-parse", "HEAD")
    changes = _git(notebook.parent, "status", "--porcelain")
    return Source(
        notebook_sha256=sha256_of(notebook),
        workbench=metadata.version("workbench"),
        commit=commit,
        branch=_git(notebook.parent, "rev-parse", "--abbrev-ref", "HEAD") if commit else None,
        dirty=bool(changes) if commit and changes is not None else None,
        added=[line[3:] for line in (changes or "").splitlines() if line.startswith("??")][:100],
        packages=package_versions(),
    )


def changes_of(folder: Path) -> str:
    """What differs from the commit in the checkout a folder lies in, as a patch; empty where nothing does."""
    patch = _git(folder, "diff", "HEAD", "--no-color", "--no-ext-diff") or ""
    return f"{patch[:LARGEST_PATCH]}\n" if patch else ""


def kernel_version(runs: int = 1) -> str:
    """The kernel every run uses, its version, and where it has run others before, how many."""
    before = f", notebook {runs} of one process" if runs > 1 else ""
    return f"python3 (ipykernel {metadata.version('ipykernel')}){before}"


def package_versions() -> dict[str, str]:
    """Name -> version of the packages the workbench depends on directly, as far as they are installed."""
    names = [
        re.split(r"[^\w.-]", line, maxsplit=1)[0]
        for line in metadata.requires("workbench") or []
        if "extra ==" not in line
    ]
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def host() -> Host:
    """This machine."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return Host(
        name=platform.node(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=int(threads) if threads.isdigit() else None,
        driver=_driver(),
    )


def _driver() -> str | None:
    """Version of the NVIDIA driver, if one is loaded."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return found[1] if found else None


def _git(folder: Path, *command: str) -> str | None:
    """What git prints, or None where there is no git, no checkout, or no commit yet."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
