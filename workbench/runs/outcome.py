"""What can be told of an executed notebook: its kernel's end, its cells, where it failed, seeds and counts."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.runs.parameters import open_notebook
from workbench.runs.place import LOG, NOTEBOOK
from workbench.runs.record import EXPLAINED, Cell, Counts, Failure, Status

TRACEBACK_LINES = 50
TRACEBACK_LETTERS = 20_000
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COUNTED = {"computed": "requests_computed", "cached": "requests_stored", "tokens": "tokens_computed"}


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


def exit_reason(status: Status, vitals: Vitals) -> str:
    """How a run ended, in a sentence; of a kernel that died, by which signal or code."""
    if status != "died" or vitals.exit_code is None:
        return EXPLAINED[status]
    if vitals.exit_code >= 0:
        return f"{EXPLAINED[status]} Its exit code was {vitals.exit_code}."
    name = signal.Signals(-vitals.exit_code).name
    hint = ", which is what a system short of memory sends" if name == "SIGKILL" else ""
    return f"{EXPLAINED[status]} It was ended by {name}{hint}."


def failure_in(staging: Path, name: str, message: str) -> Failure:
    """The failure, with its cell and the end of the traceback, or of what the kernel printed where there is none."""
    number, traceback = None, (staging / LOG).read_text(errors="replace") if (staging / LOG).exists() else ""
    for count, cell in enumerate(_code_cells(staging), start=1):
        if cell.metadata.get("papermill", {}).get("status") in ("failed", "running"):
            number = count
            errors = [output for output in cell.outputs if output.output_type == "error"]
            printed = [output.text for output in cell.outputs if output.output_type == "stream"]
            traceback = "\n".join(errors[-1].traceback) if errors else "".join(printed) + traceback
    tail = ANSI.sub("", traceback[-TRACEBACK_LETTERS:]).splitlines()[-TRACEBACK_LINES:]
    return Failure(cell=number, name=name, message=" ".join(message.split()), traceback="\n".join(tail))


def cells_in(staging: Path) -> list[Cell]:
    """The code cells of the executed notebook, with their times."""
    made = []
    for number, cell in enumerate(_code_cells(staging), start=1):
        marks = cell.metadata.get("papermill", {})
        state = {"running": "failed"}.get(marks.get("status", "pending"), marks.get("status", "pending"))
        made.append(Cell(number=number, state=state, seconds=marks.get("duration")))
    return made


def seeds_in(values: dict[str, Any]) -> dict[str, int]:
    """The seeds among parameters and facts: whole numbers named `seed` or `..._seed`."""
    return {
        name: value
        for name, value in values.items()
        if (name == "seed" or name.endswith("_seed")) and isinstance(value, int) and not isinstance(value, bool)
    }


def counts_in(facts: dict[str, Any]) -> Counts:
    """The counts of answers among a run's facts, under the names `ask` gives them."""
    return Counts(**{field: facts[name] for field, name in COUNTED.items() if isinstance(facts.get(name), int)})


def _code_cells(staging: Path) -> list[Any]:
    path = staging / NOTEBOOK
    cells = open_notebook(path).cells if path.exists() else []
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
