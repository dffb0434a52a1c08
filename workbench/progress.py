"""One line of progress: in a terminal, in a live notebook, or in the run's folder for `workbench status`.

The line is removed at the end; a notebook keeps at most an empty output.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.files import INSIDE_CELL, RUN_FOLDER, written_whole
from workbench.reading import printable, read_text

QUIET_VARIABLE = "WORKBENCH_QUIET"
INTERVAL = 1.0
"""Seconds between two lines, and before the first."""
Advance = Callable[[int], Any]


@contextmanager
def bar(total: int, label: str, shown: bool = True, unit: str = "tokens") -> Iterator[Advance]:
    """Yield a function that takes the number of units just finished.

    Args:
        total: Number of units in all.
        label: Name of the activity.
        shown: False to show nothing. Nothing is shown either in a file, a pipe or a notebook executed in batch.
        unit: Name of the unit.
    """
    watched = shown and not os.environ.get(QUIET_VARIABLE)
    if total and (folder := os.environ.get(RUN_FOLDER)):
        with _in_file(Path(folder) / INSIDE_CELL) as write, _lines(total, label, unit, write) as advance:
            yield advance
    elif total and watched and "ipykernel" in sys.modules:
        with _in_cell() as write, _lines(total, label, unit, write) as advance:
            yield advance
    elif total and watched and sys.stderr.isatty():
        with _in_terminal() as write, _lines(total, label, unit, write) as advance:
            yield advance
    else:
        yield lambda n: None


@contextmanager
def cells(name: str, folder: Path) -> Iterator[Callable[[int, int], None]]:
    """Show the cells of a run, and the progress within the current one, in a terminal.

    Args:
        name: Name of the run.
        folder: Its staging folder.

    Yields:
        A function that takes the number of finished cells and their total.
    """
    from rich import progress
    from rich.markup import escape
    from rich.text import Text

    class Inside(progress.ProgressColumn):
        max_refresh = INTERVAL

        def render(self, task: progress.Task) -> Text:
            return Text(inside(folder), style="dim")

    columns: list[Any] = [progress.TextColumn("{task.description}"), progress.BarColumn(20)]
    columns += [progress.MofNCompleteColumn(), progress.TextColumn("cells"), progress.TimeElapsedColumn(), Inside()]
    with _bars(*columns, transient=True) as drawn:
        task = drawn.add_task(escape(printable(name)), total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)


@contextmanager
def downloads() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes a download, its bytes so far and their total: a bar, or a line at its start."""
    from rich import progress

    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.DownloadColumn())
    seen: dict[str, Any] = {}
    with _bars(*columns, progress.TransferSpeedColumn(), progress.TimeRemainingColumn()) as drawn:

        def show(label: str, done: int, total: int) -> None:
            if label not in seen:
                seen[label] = drawn.add_task(label, total=total)
                if drawn.disable:
                    print(f"Fetching {label}, {total / 1e6:.0f} MB", flush=True)
            drawn.update(seen[label], completed=done)

        yield show


def inside(folder: Path) -> str:
    """Return the progress within the current cell of the run in this folder; "" if there is none."""
    try:
        return printable(read_text(folder / INSIDE_CELL, largest=10_000))
    except InputError:
        return ""


def line(label: str, done: int, total: int, unit: str, seconds: float) -> str:
    """Return progress and time left at this pace: `reading answers 41 % (12k of 30k tokens), 2 min left`."""
    left = f", {_duration(seconds * (total - done) / done)} left" if done else ""
    return f"{label} {100 * done / total:.0f} % ({_short(done)} of {_short(total)} {unit}){left}"


@contextmanager
def _lines(total: int, label: str, unit: str, write: Callable[[str], None]) -> Iterator[Advance]:
    """Write a line once per `INTERVAL`."""
    begun = last = time.monotonic()
    done = 0

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        if (now := time.monotonic()) - last >= INTERVAL:
            last = now
            write(line(label, done, total, unit, now - begun))

    yield advance


@contextmanager
def _in_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Write lines to a file that is removed afterwards; errors are ignored."""

    def write(text: str) -> None:
        with suppress(OSError), written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")

    try:
        yield write
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def _in_cell() -> Iterator[Callable[[str], None]]:
    """Show lines in one output of the cell, emptied afterwards."""
    from IPython.display import display

    shown: list[Any] = []

    def write(text: str) -> None:
        data = {"text/plain": text}
        if shown:
            shown[0].update(data, raw=True)
        else:
            shown.append(display(data, raw=True, display_id=True))  # type: ignore[no-untyped-call]

    try:
        yield write
    finally:
        for handle in shown:
            handle.update({"text/html": ""}, raw=True)


@contextmanager
def _in_terminal() -> Iterator[Callable[[str], None]]:
    """Show each line in place of the last one in the terminal, cleared afterwards."""
    last = ""

    def write(text: str) -> None:
        nonlocal last
        blank = " " * (len(last) - len(text))  # not every terminal knows the sequence that clears a line
        sys.stderr.write(f"\r{text}{blank}" if text else f"\r{blank}\r")
        sys.stderr.flush()
        last = text

    try:
        yield write
    finally:
        write("")


def _bars(*columns: Any, transient: bool = False) -> Any:
    """Bars in a terminal; disabled elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=transient, disable=not console.is_terminal)


def _short(n: int) -> str:
    return str(n) if n < 10_000 else f"{n / 1e3:.0f}k" if n < 10_000_000 else f"{n / 1e6:.0f}M"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
