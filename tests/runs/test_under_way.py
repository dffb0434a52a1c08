"""`status` tells of half-done runs, whoever makes them and whatever becomes of them meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import lease_elsewhere

from workbench.runs import listing


def half_done(place: Path, key: str, age: float = 600) -> Path:
    """A staging folder whose lease another machine holds and has long not touched."""
    staging = place / f".staging-20260101T000000.000Z-{key}"
    staging.mkdir(parents=True)
    lease_elsewhere(place, key, age=age)
    return staging


def test_a_holder_without_a_sign_of_life_is_named_at_once(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    half_done(tmp_path / "outputs/toy/fine", "a")
    half_done(tmp_path / "outputs/toy/fine", "b", age=0)
    begun = time.monotonic()
    assert call("status", "--outputs", "outputs") == 0
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first.startswith("running     toy/fine/2026") and second.endswith("process 7 on elsewhere")
    assert first.endswith("process 7 on elsewhere, which has shown no sign of life for 600 s")
    assert time.monotonic() - begun < 5


def test_a_run_published_meanwhile_is_left_out(tmp_path: Path) -> None:
    folders = [half_done(tmp_path / "toy/fine", key) for key in "ab"]
    folders[0].rename(tmp_path / "published")
    assert [run.name.rpartition("-")[2] for run in listing.running(folders)] == ["b"]
