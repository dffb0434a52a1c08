"""Progress inside a cell: what is said, where, how often, and that nothing of it stays."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from workbench import progress
from workbench.files import INSIDE_CELL, RUN_FOLDER


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; it stands still until a test moves it."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("done", "total", "seconds", "said"),
    [
        (0, 30_000, 0.0, "reading 0 % (0 of 30k tokens)"),
        (12_300, 30_000, 83.0, "reading 41 % (12k of 30k tokens), 2 min left"),
        (9_999, 12_000_000, 60.0, "reading 0 % (9999 of 12M tokens), 20.0 h left"),
        (15, 20, 30.0, "reading 75 % (15 of 20 tokens), 10 s left"),
    ],
)
def test_a_line_says_how_far_it_is_and_how_long_it_takes(done: int, total: int, seconds: float, said: str) -> None:
    assert progress.line("reading", done, total, "tokens", seconds) == said


def test_in_a_run_it_is_written_beside_at_most_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path))
    file, seen = tmp_path / INSIDE_CELL, []
    with progress.bar(10, "training", False, "steps") as advance:
        for _ in range(10):
            clock[0] += 0.4
            advance(1)
            seen.append(file.read_text() if file.exists() else "")
    assert seen[1] == "" and seen[2] == seen[4] == "training 30 % (3 of 10 steps), 3 s left"
    assert len(set(seen)) == 4 and list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv(RUN_FOLDER, str(tmp_path / "taken"))
    with progress.bar(2, "reading") as advance:
        clock[0] += 2
        advance(1)


class Shown:
    """Stands for what IPython shows: one output, replaced again and again."""

    def __init__(self) -> None:
        self.lines: list[dict[str, str]] = []

    def display(self, data: dict[str, str], raw: bool, display_id: bool) -> Shown:
        self.update(data, raw)
        return self

    def update(self, data: dict[str, str], raw: bool) -> None:
        self.lines.append(data)


def test_in_a_live_notebook_one_output_shows_it_and_is_emptied(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    shown = Shown()
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr("IPython.display.display", shown.display)
    with pytest.raises(KeyError), progress.bar(100, "reading") as advance:
        advance(10)
        clock[0] += 1
        advance(10)
        clock[0] += 1
        advance(50)
        raise KeyError  # an error leaves no line behind either
    lines = [data.get("text/plain") for data in shown.lines]
    assert lines == ["reading 20 % (20 of 100 tokens), 4 s left", "reading 70 % (70 of 100 tokens), 1 s left", None]
    assert shown.lines[-1] == {"text/html": ""}
    for quiet in ({"shown": False}, {}):
        shown.lines.clear()
        if not quiet:
            monkeypatch.setenv(progress.QUIET_VARIABLE, "1")
        with progress.bar(100, "reading", **quiet) as advance:  # type: ignore[arg-type]
            clock[0] += 2
            advance(10)
        assert shown.lines == []


def test_quick_work_and_what_nobody_watches_show_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for total in (0, 5):
        with progress.bar(total, "reading") as advance:
            advance(5)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(RUN_FOLDER, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.bar(5, "reading") as advance:
        clock[0] += 2
        advance(2)
        clock[0] += 2
        advance(3)
    line, last = "reading 40 % (2 of 5 tokens), 3 s left", "reading 100 % (5 of 5 tokens), 0 s left"
    assert capsys.readouterr().err == f"\r{line}\r{last}\r{' ' * len(last)}\r"
    with progress._in_terminal() as write:
        write("long")
        write("ab")
    assert capsys.readouterr().err == "\rlong\rab  \r  \r"
