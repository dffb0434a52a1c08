"""The server of llama.cpp, in a process of its own: `python llama_server.py FILE PORT CONTEXT` serves a GGUF file."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "served"
"""Name of the model there."""


@contextmanager
def serving(file: Path, context: int = 1024, port: int = 0) -> Iterator[int]:
    """Serve a file on one thread; yields the port once the server answers."""
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    command = [sys.executable, __file__, str(file), str(port), str(context)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("llama.cpp's server did not start") from None
                time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def main(file: str, port: str, context: str) -> None:
    """Serve until killed."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.model_alias = file, [NAME]
    parameters.port, parameters.n_ctx, parameters.n_parallel = int(port), int(context), 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    print(server.listening_address)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
