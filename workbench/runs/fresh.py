"""What a kernel does before each notebook it runs: it becomes what it was before the first one.

This module runs in the kernel, called by `workbench.runs.kernel`.
"""

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
"""Packages whose use changes more of a process than can be put back."""


@dataclass(frozen=True, slots=True)
class _Start:
    """What a process was like before its first notebook."""

    environment: dict[str, str]
    """Its environment variables."""
    path: list[str]
    """Where it looks for modules."""
    filters: list[Any]
    """Which warnings it shows."""
    names: dict[str, Any]
    """Names in the namespace that IPython's own reset would not bring back."""


_start: _Start | None = None


def begin(folder: str, environment: dict[str, str]) -> None:
    """Empties the namespace and puts the process back, so that the next notebook finds what the first one found.

    Args:
        folder: The working directory.
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
    _put_back_libraries()
    loading.begin_notebook()
    gc.collect()


def _put_back_libraries() -> None:
    """Random numbers start anew, and settings of libraries are as after their import."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
        numpy.seterr(divide="warn", over="warn", under="ignore", invalid="warn")
    if pandas := sys.modules.get("pandas"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of options it will drop
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
