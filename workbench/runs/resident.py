"""The process notebooks run in: one for each, or one that stays for the next notebook of the same model."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.util import run_sync

from workbench.files import cache_folder
from workbench.runs.outcome import Vitals

LONGEST_SOCKET_FOLDER = 80
SECONDS_TO_BEGIN = 60.0
QUIET = logging.getLogger("workbench.kernel")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


class _ThisInterpreter(KernelSpecManager):
    """Knows one kernel: the Python this process runs on, whatever is installed for the user."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


@dataclass(frozen=True, slots=True)
class Loan:
    """What a notebook wants of its kernel."""

    model: str
    """The model it loads; only notebooks of one model share a process, and those that name none do not."""
    folder: Path
    """Its working directory."""
    environment: dict[str, str]
    """Environment variables of this run alone."""
    log: Path
    """File for what the process itself prints meanwhile."""


class Kernel:
    """A process that runs notebooks, started when one needs it."""

    def __init__(self, stays: bool = False) -> None:
        """Nothing is started yet.

        Args:
            stays: Whether it is kept for the next notebook of the same model; it is only after a run that went well.
        """
        self.stays = stays
        self._manager: Any = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._model = ""
        self._runs = 0
        self._read = 0

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @contextmanager
    def lent(self, nb: Any, loan: Loan, vitals: Vitals) -> Iterator[NotebookClient]:
        """A client for one notebook; unless the kernel stays, nothing of it outlives the block.

        Args:
            nb: The notebook.
            loan: What it wants.
            vitals: Filled with what is seen of the process.
        """
        client, well = None, False
        try:
            client = self._again(nb, loan, vitals) or self._anew(nb, loan)
            self._runs += 1
            vitals.runs = self._runs
            yield client
            well = True
        finally:
            if self._manager is not None:
                vitals.look(self._manager)
                self._keep_words(loan.log)
            _stop(client)
            if not (well and self._model):
                self.end()

    def end(self) -> None:
        """Ends the process, if there is one, and removes its files."""
        manager, self._manager, self._model = self._manager, None, ""
        if manager is None:
            return
        try:
            if run_sync(manager.is_alive)():
                run_sync(manager.shutdown_kernel)()
        finally:
            run_sync(manager.cleanup_resources)()
            assert self._scratch is not None
            self._scratch.cleanup()

    def _again(self, nb: Any, loan: Loan, vitals: Vitals) -> NotebookClient | None:
        """A client of the process that is there, made new for this notebook; None if there is none that fits."""
        if self._manager is None:
            return None
        client = None
        with suppress(RuntimeError, TimeoutError):  # it died meanwhile, or something was trained in it
            if self._model == loan.model and run_sync(self._manager.is_alive)():
                client = self._client(nb)
                self._begin(client, loan)
                vitals.forget_peak(self._manager)
                return client
        _stop(client)
        self.end()
        return None

    def _anew(self, nb: Any, loan: Loan) -> NotebookClient:
        """Starts a process, and gives a client of it."""
        self._scratch = tempfile.TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True)
        scratch = self._scratch.name
        local = os.name == "posix" and len(scratch) < LONGEST_SOCKET_FOLDER
        self._manager = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=_ThisInterpreter(),
            connection_file=f"{scratch}/kernel.json",
            transport="ipc" if local else "tcp",
            log=QUIET,
        )
        self._runs = self._read = 0
        env = {**os.environ, **_homeless(scratch), **loan.environment}
        with (Path(scratch) / "log").open("wb") as log:
            run_sync(self._manager.start_kernel)(
                extra_arguments=["--HistoryManager.hist_file=:memory:"],
                cwd=str(loan.folder),
                env=env,
                stdout=log,
                stderr=log,
            )
        client = self._client(nb)
        if self.stays and loan.model:
            with suppress(RuntimeError, TimeoutError):  # then it serves this notebook alone
                self._begin(client, loan)
                self._model = loan.model
        return client

    def _client(self, nb: Any) -> NotebookClient:
        client = NotebookClient(nb, km=self._manager, log=QUIET, iopub_timeout=60)
        client.start_new_kernel_client()
        return client

    def _begin(self, client: NotebookClient, loan: Loan) -> None:
        """Has the kernel put itself back.

        Raises:
            RuntimeError: If it cannot be used for another notebook.
            TimeoutError: If it does not answer.
        """
        code = f"from workbench.runs.fresh import begin; begin({str(loan.folder)!r}, {loan.environment!r})"
        assert client.kc is not None
        reply = run_sync(client.kc.execute_interactive)(
            code, silent=True, store_history=False, timeout=SECONDS_TO_BEGIN, output_hook=lambda message: None
        )
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"].get("evalue", "no answer"))

    def _keep_words(self, log: Path) -> None:
        """Copies what the process printed since the last notebook."""
        assert self._scratch is not None
        with suppress(OSError), (Path(self._scratch.name) / "log").open("rb") as file:
            file.seek(self._read)
            words = file.read()
            self._read += len(words)
            log.write_bytes(words)


def _stop(client: NotebookClient | None) -> None:
    """Closes a client's channels; the process stays."""
    if client is not None and client.kc is not None:
        client.kc.stop_channels()


def _homeless(scratch: str) -> dict[str, str]:
    """Variables that keep the kernel from reading or writing the user's Jupyter, IPython and matplotlib settings."""
    return {
        "IPYTHONDIR": f"{scratch}/ipython",
        "JUPYTER_CONFIG_DIR": f"{scratch}/config",
        "JUPYTER_DATA_DIR": f"{scratch}/data",
        "JUPYTER_RUNTIME_DIR": f"{scratch}/runtime",
        "MPLCONFIGDIR": str(cache_folder() / "matplotlib"),
    }
