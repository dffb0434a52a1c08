"""One progress bar, with the time left: in a terminal or a live notebook, and gone from what is saved."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

QUIET_VARIABLE = "WORKBENCH_QUIET"


@contextmanager
def bar(total: int, label: str, shown: bool = True, unit: str = "tok") -> Iterator[Any]:
    """Yields a function that takes how much was just done.

    Args:
        total: Tokens in all, or whatever `unit` is.
        label: What is being done.
        shown: False for no bar. There is none either when the output is not watched: a file, a pipe, or a notebook
            executed in batch.
        unit: What is counted.
    """
    if not (shown and total and _watched()):
        yield lambda n: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, unit=unit, unit_scale=True, leave=False, dynamic_ncols=True) as progress:
        yield progress.update


def _watched() -> bool:
    if os.environ.get(QUIET_VARIABLE) or os.environ.get("WORKBENCH_RUN_FOLDER"):
        return False
    kernel = sys.modules.get("ipykernel")
    if kernel is not None and "PAPERMILL_RUN" not in os.environ:
        return True
    return sys.stderr.isatty()
