from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import leftovers
import pytest


def test_an_orphan_of_the_session_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE", 0.5)
    own = os.environ[leftovers.MARK]
    mark = leftovers.marked_environment()
    try:
        child = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1).pid)"
        parent = subprocess.Popen(
            [sys.executable, "-c", child + "; input()"], stdin=subprocess.PIPE, stdout=-1, text=True
        )
        assert parent.stdout is not None
        pid = parent.stdout.readline().strip()
        assert any(line.startswith(f"{pid}: ") for line in leftovers.processes(mark))
        parent.communicate("\n", timeout=20)
        monkeypatch.setattr(leftovers, "GRACE", 20.0)
        assert leftovers.processes(mark) == []
    finally:
        os.environ[leftovers.MARK] = own


def test_files_are_noticed_and_caches_of_tools_are_not(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/x.pyc").touch()
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config/left").touch()
    assert leftovers.files(tmp_path) == {".config/left"}


def test_the_session_has_a_home_and_a_temporary_folder_of_its_own() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"], stdout=-1, text=True, check=True
    )
    for folder in (str(Path.home()), tempfile.gettempdir(), child.stdout):
        assert "pytest" in folder
