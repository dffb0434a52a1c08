"""A toy study that runs without a kernel, so that everything around the kernel can be tested in milliseconds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import write_study

from workbench.runs import Run, execute, plan
from workbench.runs import execution as execution_module


@pytest.fixture
def toy_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """A folder with the study `toy` of one notebook, `fine`; the current one."""
    write_study(tmp_path, {"fine": ["# A title"]})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Executes without a kernel; `given` are its parameters, the rest goes to `execute`."""

    def copied(planned, staging, *_):  # type: ignore[no-untyped-def]
        shutil.copy(planned.path, staging / "notebook.ipynb")

    monkeypatch.setattr(execution_module, "_papermill", copied)
    return lambda given=None, **more: execute(plan("toy", given=given)[0], **more)
