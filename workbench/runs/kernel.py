"""A papermill engine whose marks in the saved notebook are true.

papermill's own engine marks every cell of a notebook completed when its kernel dies or a cell times out; this one
leaves cells that never ran `pending`. It lets nbclient's exceptions through, so that the caller knows the cause.
"""

from __future__ import annotations

import logging
import time
from asyncio import AbstractEventLoop
from contextlib import suppress
from pathlib import Path
from typing import Any

from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

from workbench.files import written_whole
from workbench.runs.outcome import Vitals
from workbench.runs.place import BALLAST, OnCell
from workbench.runs.resident import Kernel, Loan
from workbench.runs.tidying import tidy

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
