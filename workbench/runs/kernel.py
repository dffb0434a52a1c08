"""The process notebooks run in, and a papermill engine whose marks in the saved notebook are true.

papermill's own engine marks every cell of a notebook completed when its kernel dies or a cell times out; this one
leaves cells that never ran `pending`. It lets nbclient's exceptions through, so that the caller knows the cause.
"""

from __future__ import annotations

import logging
import os
import re
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
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from workbench.files import cache_folder, written_whole
from workbench.runs.place import BALLAST, OnCell

logging.getLogger("papermill").setLevel(logging.ERROR)  # it warns of parameters its own reader cannot parse


class _TrueMarks(NotebookExecutionManager):  # type: ignore[misc]  # papermill is untyped
    """Writes cell states into the saved notebook; what never ran stays pending."""

    input_path = ""

    def notebook_complete(self, **kwargs: Any) -> None:
        marks = self.nb.metadata.papermill
        self.end_time = self.now()
        marks["end_time"] = self.end_time.isoformat()
        marks["duration"] = (self.end_time - self.start_time).total_seconds()
        marks["input_path"], marks["output_path"] = Path(self.input_path).name, Path(self.output_path).name
        for cell in self.nb.cells:
            if cell.metadata.papermill.status == "running":  # stopped in between
                cell.metadata.papermill.status = "failed"
        tidy(self.nb)
        (Path(self.output_path).parent / BALLAST).unlink(missing_ok=True)
        try:
            self.save()
        except OSError:  # a full disk, on which old and new do not fit together
            Path(self.output_path).unlink(missing_ok=True)
            self.save()

    def save(self, **_: Any) -> None:
        """Saves the notebook whole: a disk that fills up leaves the last state that fitted."""
        import nbformat

        with written_whole(Path(self.output_path)) as path:
            nbformat.write(self.nb, path)


class HonestEngine(Engine):  # type: ignore[misc]
    """Runs a notebook's code cells one after the other until one fails."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        *,
        save_to: Path,
        input_path: str,
        vitals: Vitals,
        kernel: Kernel,
        loan: Loan,
        timeout: float | None,
        on_cell: OnCell,
        **_: Any,
    ) -> Any:
        """Called by papermill.

        Args:
            nb: The notebook, parameters injected.
            kernel_name: Not used: the kernel is the running interpreter.
            save_to: Where the notebook is saved as it goes.
            input_path: Where it was read from.
            vitals: Filled with what is seen of the kernel's process.
            kernel: The process to run it in.
            loan: What the notebook wants of that.
            timeout: Seconds for the whole notebook.
            on_cell: Told of code cells done and their total.
        """
        marks = _TrueMarks(nb, output_path=str(save_to), progress_bar=False)
        marks.input_path = input_path
        marks.notebook_start()
        cells = [(i, c) for i, c in enumerate(nb.cells) if c.cell_type == "code" and c.source.strip()]
        try:
            with kernel.lent(nb, loan, vitals) as client:
                if timeout:
                    deadline = time.monotonic() + timeout
                    client.timeout_func = lambda cell: max(deadline - time.monotonic(), 0.1)
                for done, (index, cell) in enumerate(cells):
                    on_cell(done, len(cells))
                    _run_cell(client, marks, index, cell)
                    vitals.look(client.km)
                on_cell(len(cells), len(cells))
        finally:
            marks.notebook_complete()
        return nb


papermill_engines.register("workbench", HonestEngine)


def _run_cell(client: NotebookClient, marks: NotebookExecutionManager, index: int, cell: Any) -> None:
    marks.cell_start(cell, index)
    try:
        client.execute_cell(cell, index)
        marks.cell_complete(cell, index)
    except BaseException as stopped:  # its own error, the kernel's end, a signal, or a disk too full to save it
        if isinstance(stopped, KeyboardInterrupt):
            ensure_event_loop().set_exception_handler(_unless_dead)
        marks.cell_exception(cell, index)
        with suppress(OSError):
            marks.cell_complete(cell, index)
        raise


def _unless_dead(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leaves unsaid what nobody waits for any more: that the kernel of a stopped cell has ended."""
    if not isinstance(context.get("exception"), DeadKernelError):
        loop.default_exception_handler(context)


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


@dataclass(slots=True)
class Vitals:
    """What is seen of the kernel's process from outside."""

    peak_memory: int | None = None
    """Most bytes of main memory it held at once, where the system tells."""
    exit_code: int | None = None
    """How it ended, if it ended by itself; negative for a signal."""
    runs: int = 1
    """How many notebooks it has run, this one included."""
    peak_is_own: bool = True
    """Whether the system can tell the most memory since this notebook began."""

    def forget_peak(self, manager: Any) -> None:
        """Has the system count the most memory from now on."""
        try:
            Path(f"/proc/{manager.provisioner.process.pid}/clear_refs").write_text("5", encoding="utf-8")
        except OSError:
            self.peak_is_own = False

    def look(self, manager: Any) -> None:
        """Reads both once more; of a process that is gone the last number stays."""
        process = getattr(manager.provisioner, "process", None)
        if process is None:
            return
        with suppress(OSError, ValueError, IndexError):
            if not self.peak_is_own:
                raise OSError
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            self.peak_memory = next((int(x.split()[1]) * 1024 for x in lines if "VmHWM" in x), self.peak_memory)
        self.exit_code = process.poll()


WIDGET = "application/vnd.jupyter.widget-view+json"
BAR = re.compile(r"^.*\d+%\|.*\|.*$|^\s*\d+(\.\d+)?k?(it|tok)? \[\d\d:\d\d, .*\]\s*$")


def tidy(notebook: Any) -> None:
    """Removes progress debris, widget states and this machine's paths from a notebook's outputs, in place."""
    notebook.metadata.pop("widgets", None)
    places = _places()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _worth_keeping(output)]
            for output in cell.outputs:
                _rename_places(output, places)


def _worth_keeping(output: Any) -> bool:
    """Whether anything of an output is left once its progress bars are gone; a stream's text is cleaned."""
    if output.output_type == "stream":
        output.text = without_bars(output.text)
        return bool(output.text)
    data = output.get("data", {"text/plain": "an error"})
    return WIDGET not in data and any(data.values())


def without_bars(text: str) -> str:
    """Printed text as a terminal would show it at the end, without progress bars."""
    lines = (line.removesuffix("\r").rpartition("\r")[2] for line in text.split("\n"))
    drawn = "\r" in text or "%|" in text
    return "\n".join(line for line in lines if not BAR.match(line)).lstrip("\n" if drawn else "")


def _places() -> dict[str, str]:
    """Folder of this machine -> what stands for it, the longest first."""
    from workbench.files import root

    found = {str(root()): ".", sys.prefix: "<python>", str(Path.home()): "~"}
    return {k: found[k] for k in sorted(found, key=len, reverse=True) if len(k) > 3}


def _rename_places(output: Any, places: dict[str, str]) -> None:
    for folder, name in places.items():
        if output.output_type == "stream":
            output.text = output.text.replace(folder, name)
        elif output.output_type == "error":
            output.traceback = [line.replace(folder, name) for line in output.traceback]
        for kind, data in output.get("data", {}).items():
            if isinstance(data, str) and (kind.startswith("text/")):
                output.data[kind] = data.replace(folder, name)


def before_saving(model: dict[str, Any], **_: Any) -> None:
    """The hook by which JupyterLab, opened with `workbench lab`, saves notebooks tidied."""
    if model.get("type") == "notebook" and model.get("content"):
        from nbformat import from_dict

        model["content"] = from_dict(model["content"])
        tidy(model["content"])
