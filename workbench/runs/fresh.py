"""Reset a kernel between notebooks to its state before the first; called in the kernel by `workbench.runs.kernel`."""

from __future__ import annotations

import gc
import os
import random
import sys
import warnings
from dataclasses import dataclass
from typing import Any

from workbench.models import loading

TRAINERS = ("trl",)
"""Packages that change more of a process than can be reset."""


@dataclass(frozen=True, slots=True)
class _Start:
    """State of a process before its first notebook."""

    environment: dict[str, str]
    """Environment variables."""
    path: list[str]
    """Module search path."""
    filters: list[Any]
    """Warnings filters."""
    names: dict[str, Any]
    """Names in the namespace that IPython's own reset does not restore."""


_start: _Start | None = None


def reset(folder: str, environment: dict[str, str]) -> None:
    """Empty the namespace and restore the process, so that the next notebook starts as the first one did.

    Args:
        folder: Working directory.
        environment: Variables of this run alone.

    Raises:
        RuntimeError: If something was trained in this process.
    """
    from IPython import get_ipython

    global _start
    if trained := [name for name in TRAINERS if name in sys.modules]:
        raise RuntimeError(f"{', '.join(trained)} was used in this process")
    shell: Any = get_ipython()
    if _start is None:
        names = {name: value for name, value in shell.user_ns.items() if name.startswith("__") or name == "_"}
        _start = _Start(dict(os.environ), sys.path[:], list(warnings.filters), names)
    shell.reset(new_session=True)
    shell.user_ns.update(_start.names)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(_start.environment | environment)
    sys.path[:] = _start.path
    warnings.resetwarnings()
    warnings.filters[:] = _start.filters  # type: ignore[index]
    _reset_libraries()
    loading.begin_notebook()
    gc.collect()


def _reset_libraries() -> None:
    """Reseed random generators, and restore the default settings of libraries."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
        numpy.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
    if pandas := sys.modules.get("pandas"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of deprecated options
            pandas.reset_option("all")
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
        sys.modules["matplotlib"].rc_file_defaults()
    if torch := sys.modules.get("torch"):
        torch.seed()
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
    if widgets := sys.modules.get("ipywidgets"):
        widgets.Widget.close_all()
