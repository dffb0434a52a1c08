"""The process that runs notebooks, and a papermill engine whose cell states in the saved notebook are true.

papermill's own engine marks every cell completed when the kernel dies or a cell times out. This engine leaves cells
that never ran `pending`, and raises nbclient's exceptions, from which the caller learns the cause.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import tempfile
import time
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from nbclient.client import CellExecutionComplete
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbformat.v4 import new_output
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from workbench.errors import InputError
from workbench.files import cache_folder, owned, remove_tree, root, written_whole
from workbench.reading import printable
from workbench.runs.staging import BALLAST, SCRATCH, OnCell, stops_deferred, sweep_scratch

SECONDS_TO_RESET = 60.0
WIDGET = "application/vnd.jupyter.widget-view+json"
BAR = re.compile(r"^.*\d+%\|.*\|.*$|^\s*\d+(\.\d+)?k?(it|tok)? \[\d\d:\d\d, .*\]\s*$")
QUIET = logging.getLogger("workbench.kernel")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters that its own reader cannot parse


class _CellStates(NotebookExecutionManager):  # type: ignore[misc]  # papermill is untyped
    """Writes cell states into the saved notebook; cells that never ran stay pending."""

    def notebook_complete(self, **kwargs: Any) -> None:
        marks = self.nb.metadata.papermill
        self.end_time = self.now()
        marks["end_time"] = self.end_time.isoformat()
        marks["duration"] = (self.end_time - self.start_time).total_seconds()
        for cell in self.nb.cells:
            if cell.metadata.papermill.status == "running":  # stopped in between
                cell.metadata.papermill.status = "failed"
        with suppress(Exception):  # paths of this machine stay in what is odd
            tidy(self.nb)
        remove_tree(Path(self.output_path).parent / BALLAST)
        try:
            self.save()
        except OSError:  # a full disk that has no room for the old and the new file together
            remove_tree(Path(self.output_path))
            self.save()

    def save(self, **_: Any) -> None:
        """Save the whole notebook or nothing: on a full disk the last saved state stays."""
        save_notebook(self.nb, Path(self.output_path))


def save_notebook(nb: Any, place: Path) -> None:
    """Write a notebook, also where a cell has put a folder in its place."""
    import nbformat

    if place.is_dir() and not place.is_symlink():
        remove_tree(place)
    with written_whole(place) as path:
        nbformat.write(nb, path)


class WorkbenchEngine(Engine):  # type: ignore[misc]
    """Runs a notebook's code cells in order until one fails."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        *,
        name: str,
        save_to: Path,
        stats: KernelStats,
        kernel: Kernel,
        setup: Setup,
        timeout: float | None,
        on_cell: OnCell,
        **_: Any,
    ) -> Any:
        """Execute a notebook with its parameters, saved after every cell; called by papermill.

        `timeout` limits the whole notebook, in seconds. `stats` is filled with measurements of the kernel's process.
        """
        states = _CellStates(nb, output_path=str(save_to), progress_bar=False)
        nb.metadata.papermill |= {"input_path": name, "output_path": save_to.name}
        stats.notebook = nb
        states.notebook_start()
        cells = [(i, c) for i, c in enumerate(nb.cells) if c.cell_type == "code" and c.source.strip()]
        try:
            with kernel.client(nb, setup, stats) as client:
                if timeout:
                    deadline = time.monotonic() + timeout
                    client.timeout_func = lambda cell: max(deadline - time.monotonic(), 0.1)
                for done, (index, cell) in enumerate(cells):
                    on_cell(done, len(cells))
                    _run_cell(client, states, index, cell)
                    stats.update(client.km)
                    if client.quit or stats.exit_code is not None:
                        cell.metadata.papermill.status = "failed"
                        if client.quit:
                            raise InputError("The cell ended its kernel with quit() or exit(); remove that call.")
                        raise DeadKernelError("Kernel died")
                on_cell(len(cells), len(cells))
            if stats.exit_code is not None:  # after its last cell, as a thread can
                raise DeadKernelError("Kernel died")
        finally:
            states.notebook_complete()
        return nb


papermill_engines.register("workbench", WorkbenchEngine)


def _run_cell(client: NotebookClient, states: NotebookExecutionManager, index: int, cell: Any) -> None:
    states.cell_start(cell, index)
    try:
        client.execute_cell(cell, index)
        states.cell_complete(cell, index)
    except BaseException as stopped:  # the cell's error, a dead kernel, a signal, or a disk too full to save
        if isinstance(stopped, KeyboardInterrupt):
            ensure_event_loop().set_exception_handler(_ignore_dead_kernel)
        states.cell_exception(cell, index)
        with suppress(OSError):
            states.cell_complete(cell, index)
        raise


def _ignore_dead_kernel(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log no error about the kernel of a cell that was stopped by hand."""
    if not isinstance(context.get("exception"), DeadKernelError):
        loop.default_exception_handler(context)


class _Client(NotebookClient):  # type: ignore[misc]  # nbclient is untyped
    """A client that goes on after an output it cannot read, and notices a cell that ends its kernel."""

    quit = False

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        """Put an output into its cell, or a sentence in its place."""
        try:
            return super().process_message(msg, cell, cell_index)
        except CellExecutionComplete:
            raise
        except Exception as error:  # nbformat's, or of a message without the usual fields
            reason = printable(str(error).split("\n\n")[0])
            text = f"An output is left out, because no notebook can contain it: {reason}\n"
            cell.outputs.append(new_output("stream", name="stderr", text=text))
            return None

    async def async_execute_cell(self, *arguments: Any, **more: Any) -> Any:
        """Execute a cell."""

        def look(execute_reply: Any, **_: Any) -> None:
            payload = execute_reply["content"].get("payload") or []
            self.quit = self.quit or any(each.get("source") == "ask_exit" for each in payload)

        self.on_cell_executed = look
        return await super().async_execute_cell(*arguments, **more)

    execute_cell = run_sync(async_execute_cell)


class _ThisInterpreter(KernelSpecManager):
    """Lists one kernel, this interpreter, whatever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


@dataclass(frozen=True, slots=True)
class Setup:
    """State of the kernel in which a notebook starts."""

    model: str
    """The model it loads, "" for none; only notebooks of one model share a process."""
    folder: Path
    """Working directory."""
    environment: dict[str, str]
    """Environment variables of this run alone."""
    log: Path
    """File for the output of the process itself."""


class Kernel:
    """A process that runs notebooks, started by the first of them."""

    def __init__(self, stays: bool = False) -> None:
        """Create a kernel without a process.

        Args:
            stays: Whether the process is kept for the next notebook of the same model after a successful run.
        """
        self.stays = stays
        self._manager: Any = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._model = ""
        self._runs = 0
        self._logged = 0

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @contextmanager
    def client(self, nb: Any, setup: Setup, stats: KernelStats) -> Iterator[_Client]:
        """Yield a client for one notebook; the process ends with the block unless the kernel stays."""
        client, success = None, False
        try:
            client = self._reused(nb, setup, stats) or self._started(nb, setup)
            self._runs += 1
            stats.runs = self._runs
            yield client
            success = True
        finally:
            if self._manager is not None:
                stats.update(self._manager)
                self._copy_log(setup.log)
            _stop(client)
            if not (success and self._model):
                self.end()

    def end(self) -> None:
        """End the process, if there is one, and remove its files."""
        manager, self._manager, self._model = self._manager, None, ""
        if manager is None:
            return
        process = getattr(manager.provisioner, "process", None)
        with stops_deferred():
            with suppress(Exception):  # whatever state a notebook left it in
                if run_sync(manager.is_alive)():
                    run_sync(manager.shutdown_kernel)()
            with suppress(Exception):
                run_sync(manager.cleanup_resources)()
            if process is not None and hasattr(os, "killpg"):
                with suppress(OSError):  # what the notebook has started goes with it
                    os.killpg(process.pid, signal.SIGKILL)
            assert self._scratch is not None
            self._scratch.cleanup()

    def _reused(self, nb: Any, setup: Setup, stats: KernelStats) -> _Client | None:
        """A client of the running process, reset for this notebook; None if there is none that fits."""
        if self._manager is None:
            return None
        client = None
        with suppress(RuntimeError, TimeoutError):  # it died meanwhile, or something was trained in it
            if self._model == setup.model and run_sync(self._manager.is_alive)():
                client = self._client(nb)
                self._reset(client, setup)
                stats.reset_peak(self._manager)
                return client
        _stop(client)
        self.end()
        return None

    def _started(self, nb: Any, setup: Setup) -> _Client:
        """A client of a new process.

        Raises:
            DeadKernelError: If the process does not start, or ends at once.
        """
        sweep_scratch()
        self._scratch = tempfile.TemporaryDirectory(prefix=owned(SCRATCH), ignore_cleanup_errors=True)
        scratch = self._scratch.name
        self._manager = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=_ThisInterpreter(),
            connection_file=f"{scratch}/kernel.json",
            transport="ipc" if _takes_sockets(scratch) else "tcp",
            log=QUIET,
        )
        self._runs = self._logged = 0
        isolated = {  # from the user's settings of Jupyter, IPython and matplotlib
            "IPYTHONDIR": f"{scratch}/ipython",
            "JUPYTER_CONFIG_DIR": f"{scratch}/config",
            "JUPYTER_DATA_DIR": f"{scratch}/data",
            "JUPYTER_RUNTIME_DIR": f"{scratch}/runtime",
            "MPLCONFIGDIR": str(cache_folder() / "matplotlib"),
        }
        try:
            with (Path(scratch) / "log").open("wb") as log:
                run_sync(self._manager.start_kernel)(
                    extra_arguments=["--HistoryManager.hist_file=:memory:"],
                    cwd=str(setup.folder),
                    env={**os.environ, **isolated, **setup.environment},
                    stdout=log,
                    stderr=log,
                )
            client = self._client(nb)
        except Exception as error:  # of the system, of zmq, or of nbclient
            said = (Path(scratch) / "log").read_text("utf-8", "replace").split("\n") if os.path.exists(scratch) else []
            reason = next(filter(None, map(printable, reversed(said))), printable(error))
            raise DeadKernelError(f"The kernel did not start: {reason}") from error
        if self.stays and setup.model:
            with suppress(RuntimeError, TimeoutError):  # then it serves this notebook alone
                self._reset(client, setup)
                self._model = setup.model
        return client

    def _client(self, nb: Any) -> _Client:
        client = _Client(nb, km=self._manager, log=QUIET, iopub_timeout=60)
        client.start_new_kernel_client()
        return client

    def _reset(self, client: NotebookClient, setup: Setup) -> None:
        """Call `fresh.reset` in the kernel.

        Raises:
            RuntimeError: If it cannot be used for another notebook.
            TimeoutError: If it does not answer.
        """
        code = f"from workbench.runs.fresh import reset; reset({str(setup.folder)!r}, {setup.environment!r})"
        assert client.kc is not None
        reply = run_sync(client.kc.execute_interactive)(
            code, silent=True, store_history=False, timeout=SECONDS_TO_RESET, output_hook=lambda message: None
        )
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"].get("evalue", "no answer"))

    def _copy_log(self, log: Path) -> None:
        """Copy the output of the process since the last notebook."""
        assert self._scratch is not None
        with suppress(OSError), (Path(self._scratch.name) / "log").open("rb") as file:
            file.seek(self._logged)
            output = file.read()
            self._logged += len(output)
            with written_whole(log) as path:
                path.write_bytes(output)


def _takes_sockets(folder: str) -> bool:
    """Whether the kernel's sockets can be in this folder: some systems and file systems have none, or shorter paths."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(f"{folder}/kernel-ipc-00")
    except (AttributeError, OSError):
        return False
    return True


def _stop(client: NotebookClient | None) -> None:
    """Close a client's channels; the process stays."""
    if client is not None and client.kc is not None:
        client.kc.stop_channels()


@dataclass(slots=True)
class KernelStats:
    """Measurements of the kernel's process during one notebook."""

    peak_memory: int | None = None
    """Peak main memory in bytes, where the system reports it."""
    exit_code: int | None = None
    """Exit code, if the process ended by itself; negative for a signal."""
    notebook: Any = None
    """The notebook with its outputs and the states of its cells."""
    runs: int = 1
    """Number of notebooks it has run, this one included."""
    peak_known: bool = True
    """Whether the system can report the peak since this notebook began."""

    def reset_peak(self, manager: Any) -> None:
        """Let the system's peak of memory start from now."""
        try:
            Path(f"/proc/{manager.provisioner.process.pid}/clear_refs").write_text("5", encoding="utf-8")
        except OSError:
            self.peak_known = False

    def update(self, manager: Any) -> None:
        """Read memory and exit code again; the memory of a process that ended stays as it was read last."""
        process = getattr(manager.provisioner, "process", None)
        if process is None:
            return
        if self.peak_known:
            with suppress(OSError, ValueError, IndexError):
                lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
                self.peak_memory = next((int(x.split()[1]) * 1024 for x in lines if "VmHWM" in x), self.peak_memory)
        self.exit_code = process.poll()


def tidy(notebook: Any) -> None:
    """Remove progress bars, widget states and this machine's paths from a notebook's outputs, in place."""
    notebook.metadata.pop("widgets", None)
    named = {str(root()): ".", sys.prefix: "<python>", str(Path.home()): "~"}
    named |= {folder.replace(*each): name for folder, name in named.items() for each in (("\\", "\\\\"), ("\\", "/"))}
    folders = {folder: named[folder] for folder in sorted(named, key=len, reverse=True) if len(folder) > 3}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _without_bars(output)]
            for output in cell.outputs:
                _shorten_paths(output, folders)


def _without_bars(output: Any) -> bool:
    """Remove progress bars from an output; False if nothing else is in it."""
    if output.output_type == "stream":
        output.text = without_bars(output.text)
        return bool(output.text)
    data = output.get("data", {"text/plain": "an error"})
    return WIDGET not in data and any(data.values())


def without_bars(text: str) -> str:
    """Return printed text as a terminal shows it at the end, without progress bars."""
    lines = (line.removesuffix("\r").rpartition("\r")[2] for line in text.split("\n"))
    drawn = "\r" in text or "%|" in text
    return "\n".join(line for line in lines if not BAR.match(line)).lstrip("\n" if drawn else "")


def _shorten_paths(output: Any, folders: dict[str, str]) -> None:
    """Replace folders of this machine by short names."""
    for folder, name in folders.items():
        if output.output_type == "stream":
            output.text = output.text.replace(folder, name)
        elif output.output_type == "error":
            output.traceback = [line.replace(folder, name) for line in output.traceback]
        for kind, data in output.get("data", {}).items():
            if isinstance(data, str) and kind.startswith("text/"):
                output.data[kind] = data.replace(folder, name)


def before_saving(model: dict[str, Any], **_: Any) -> None:
    """Tidy a notebook that JupyterLab saves; the hook that `workbench lab` sets."""
    if model.get("type") == "notebook" and model.get("content"):
        from nbformat import from_dict

        model["content"] = from_dict(model["content"])
        tidy(model["content"])
