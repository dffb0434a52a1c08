"""What the machine can do, and whether it was ours alone while a process ran."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from math import nan
from pathlib import Path
from statistics import median
from time import perf_counter

FOREIGN = 0.1
"""CPUs used by others, or stolen, above which a run is marked as disturbed."""
GEMM = """
import sys, time, torch
device, dtype = sys.argv[1], getattr(torch, sys.argv[2])
side = 2048 if device == "cpu" else 8192
for m, k, n in [(side, side, side), (1024, 576, 1536), (1024, 1536, 576), (256, 576, 49152)]:
    a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(n, k, device=device, dtype=dtype)
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        (a @ b.T)[0, 0].item()
        seconds.append(time.perf_counter() - start)
    print(f"{m}x{k}x{n}", 2e-9 * m * k * n / sorted(seconds)[6])
"""
START_UP = {
    "Python alone": ["-c", "pass"],
    "`import workbench`": ["-c", "import workbench"],
    "`workbench --help`": ["-c", "from workbench.cli import main; main()", "--help"],
}


def run(arguments: list[str], threads: int) -> tuple[str, dict[str, float]]:
    """Run a Python process with so many threads, pinned to as many CPUs, and watch the machine meanwhile.

    Returns:
        What it printed; its `wall` seconds, the load average `before` and `after`, and how many CPUs `others` used and
        other virtual machines had `stolen` meanwhile (NaN where the system does not tell).
    """
    env = os.environ | {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    env |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "WORKBENCH_QUIET": "1"}
    before, (used, stolen), own, start = os.getloadavg()[0], _ticks(), _own(), perf_counter()
    ended = subprocess.run([*_pinned(threads), sys.executable, *arguments], env=env, capture_output=True, text=True)
    wall, (used_after, stolen_after) = perf_counter() - start, _ticks()
    if ended.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    others = (used_after - used - (_own() - own)) / wall
    stolen = (stolen_after - stolen) / wall
    return ended.stdout, dict(wall=wall, before=before, after=os.getloadavg()[0], others=others, stolen=stolen)


def gemm(device: str, dtype: str, threads: int) -> dict[str, float]:
    """Median GFLOP/s of matrix products by shape, the square one first."""
    lines = run(["-c", GEMM, device, dtype], threads)[0].splitlines()
    return {shape: float(rate) for shape, rate in map(str.split, lines)}


def start_up(threads: int) -> dict[str, float]:
    """Median seconds of what a user waits for before anything is computed, the start of Python included."""
    return {name: median(run(what, threads)[1]["wall"] for _ in range(5)) for name, what in START_UP.items()}


def description(device: str) -> str:
    """The class of machine."""
    if device != "cpu":
        import torch

        return str(torch.cuda.get_device_name())
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {os.cpu_count()} CPUs, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GB"


def _pinned(threads: int) -> list[str]:
    """What to put before a command to pin it to the last CPUs we may use."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(os.sched_getaffinity(0))[-threads:]))]


def _ticks() -> tuple[float, float]:
    """CPU seconds since the machine started that were used, and that were stolen."""
    if not Path("/proc/stat").exists():
        return nan, nan
    user, nice, system, _, _, irq, soft, stolen = map(int, Path("/proc/stat").read_text("utf-8").split(maxsplit=9)[1:9])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK"), stolen / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
