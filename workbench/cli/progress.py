"""Progress in a terminal; elsewhere next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cell_progress(name: str, inside: Callable[[], str]) -> Iterator[Callable[[int, int], None]]:
    """One line that follows the cells, in a terminal; nothing elsewhere.

    Args:
        name: What is run.
        inside: Tells how far the present cell is.
    """
    from rich import progress
    from rich.console import Console
    from rich.text import Text

    class Inside(progress.ProgressColumn):
        max_refresh = 1.0

        def render(self, task: progress.Task) -> Text:
            return Text(inside(), style="dim")

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns: list[progress.ProgressColumn] = [progress.TextColumn("{task.description}"), progress.BarColumn(20)]
    columns += [progress.MofNCompleteColumn(), progress.TextColumn("cells"), progress.TimeElapsedColumn(), Inside()]
    with progress.Progress(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task(name, total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)


@contextmanager
def download_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each download, in a terminal; elsewhere a line when one starts."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    seen: dict[str, Any] = {}
    if not console.is_terminal:

        def line(label: str, done: int, total: int) -> None:
            if label not in seen:
                seen[label] = print(f"Fetching {label}, {total / 1e6:.0f} MB", flush=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:

        def bar(label: str, done: int, total: int) -> None:
            if label not in seen:
                seen[label] = progress.add_task(label, total=total)
            progress.update(seen[label], completed=done)

        yield bar
