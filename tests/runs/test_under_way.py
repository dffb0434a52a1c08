"""`status` tells of half-done runs, whoever makes them and whatever becomes of them meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.runs import leases, progress


def half_done(place: Path, key: str) -> Path:
    """A staging folder whose lease another machine holds and has long not touched."""
    staging = place / f".staging-20260101T000000.000Z-{key}"
    staging.mkdir(parents=True)
    lease = place / f".lease-{key}"
    content = {"host": "far", "pid": 1, "started": 0.0, "token": key, "machine": "far", "birth": "1"}
    lease.write_text(json.dumps(content))
    os.utime(lease, (time.time() - 600,) * 2)
    return staging


def test_silent_leases_are_watched_at_the_same_time(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "WATCH", 1.0)
    for key in "abcd":
        half_done(tmp_path / "outputs/toy/fine", key)
    begun = time.monotonic()
    assert call("status", "--outputs", "outputs") == 0
    assert capsys.readouterr().out.count("abandoned   toy/fine/2026") == 4
    assert 1 <= time.monotonic() - begun < 2.5


def test_a_run_published_meanwhile_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "WATCH", 0.1)
    folders = [half_done(tmp_path / "toy/fine", key) for key in "ab"]
    folders[0].rename(tmp_path / "published")
    assert [told.name.rpartition("-")[2] for told in progress.under_way(folders)] == ["b"]
