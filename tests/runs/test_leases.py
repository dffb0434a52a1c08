"""Leases of several machines on one folder: clocks that jump, holders that stand still, disks that go away."""

from __future__ import annotations

import errno
import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.runs import Run, execute, leases, plan
from workbench.runs import execution as execution_module
from workbench.runs.leases import Lease, held, read_lease, sweep

Execute = Callable[..., Run]
YEAR = 365 * 86400.0


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.1)
    monkeypatch.setattr(leases, "WATCH", 0.5)


def elsewhere(place: Path, key: str = "k", age: float = 0.0) -> Path:
    """The lease of a process on another machine, its last beat so many seconds ago."""
    place.mkdir(parents=True, exist_ok=True)
    path = place / f".lease-{key}"
    content = {"host": "elsewhere", "pid": 7, "started": time.time(), "token": "theirs", "machine": "m", "birth": "1"}
    path.write_text(json.dumps(content))
    os.utime(path, (time.time() - age,) * 2)
    return path


def lease_in(path: Path) -> Lease:
    lease = read_lease(path)
    assert lease is not None
    return lease


@pytest.mark.parametrize("age", [YEAR, -YEAR])
def test_a_clock_that_jumps_takes_no_lease_from_a_holder_that_beats(tmp_path: Path, age: float) -> None:
    path, stop = elsewhere(tmp_path, age=age), threading.Event()

    def beats() -> None:  # by a clock that is a year off
        while not stop.wait(0.1):
            os.utime(path, (time.time() - age,) * 2)

    heart = threading.Thread(target=beats)
    heart.start()
    try:
        for _ in range(20):
            assert lease_in(path).look() == "silent"
            time.sleep(0.05)
        assert sweep(tmp_path, remove=False) == []
    finally:
        stop.set()
        heart.join()
    assert lease_in(path).live is False  # now that nothing beats


@pytest.mark.parametrize("age", [YEAR, -YEAR])
def test_an_abandoned_lease_is_taken_whatever_the_clock_says(tmp_path: Path, age: float) -> None:
    elsewhere(tmp_path, age=age)
    seen: list[Lease] = []
    begun = time.monotonic()
    with held(tmp_path, "k", seen.append) as hold:
        assert hold.ours and hold.waited and [lease.host for lease in seen] == ["elsewhere"]
    assert 0.4 < time.monotonic() - begun < 5


def test_here_the_process_tells_and_no_clock(tmp_path: Path) -> None:
    with held(tmp_path, "k") as hold:
        os.utime(hold.path, (1, 1))
        assert lease_in(hold.path).look() == "works"
        content = json.loads(hold.path.read_text())
        hold.path.write_text(json.dumps(content | {"birth": "before this process"}))
        assert lease_in(hold.path).look() == "gone"  # the number was used again


def test_a_lease_that_is_being_written_is_somebodys(tmp_path: Path) -> None:
    path = tmp_path / ".lease-k"
    path.touch()
    assert lease_in(path).look() == "works"
    os.utime(path, (1, 1))
    assert lease_in(path).live is False


def test_a_lease_taken_in_the_meantime_is_not_removed(tmp_path: Path) -> None:
    """Also not for a moment, in which a third one could take the name."""
    path = elsewhere(tmp_path, age=YEAR)
    found = lease_in(path)
    os.utime(path)
    leases._bury(path, "theirs", found.beat)  # it beat again
    assert path.exists()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"token": "another's"}))
    inode = path.stat().st_ino
    leases._bury(path, "theirs", found.beat)
    assert lease_in(path).token == "another's" and path.stat().st_ino == inode
    assert [p.name for p in tmp_path.iterdir()] == [".lease-k"]


def test_who_dies_while_removing_a_lease_leaves_it_to_the_next(tmp_path: Path) -> None:
    elsewhere(tmp_path, age=YEAR)
    elsewhere(tmp_path, "k.theirs", age=YEAR)  # what it held on the removal
    with held(tmp_path, "k") as hold:
        assert hold.ours
    assert list(tmp_path.iterdir()) == []


def test_while_one_removes_a_lease_the_others_wait(tmp_path: Path) -> None:
    path, guard = elsewhere(tmp_path, age=YEAR), elsewhere(tmp_path, "k.theirs")
    for beat in (None, lease_in(path).beat):
        leases._bury(path, "theirs", beat)
        assert path.exists() and guard.exists()


def test_a_lease_is_given_back_though_another_one_was_about_to_remove_it(tmp_path: Path) -> None:
    with held(tmp_path, "k") as hold:
        guard = elsewhere(tmp_path, f"k.{hold.token[:8]}")
        threading.Timer(0.3, guard.unlink).start()
    assert list(tmp_path.iterdir()) == []


def test_a_lease_is_given_back_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with held(tmp_path, "k"):
        monkeypatch.setattr(os, "write", full)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(5))
def test_only_one_of_many_takes_an_abandoned_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    elsewhere(tmp_path, age=YEAR)
    inside, most, real, chance = [0], [0], read_lease, random.Random(seed)

    def slowly(path: Path) -> Lease | None:
        """Much happens between a look and what follows from it."""
        lease = real(path)
        time.sleep(chance.random() * 0.03)
        return lease

    def run() -> None:
        with held(tmp_path, "k"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            inside[0] -= 1

    monkeypatch.setattr(leases, "read_lease", slowly)
    threads = [threading.Thread(target=run, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    assert most == [1] and list(tmp_path.iterdir()) == []


def test_an_expired_lease_publishes_nothing_and_the_others_run_counts(
    quick: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process stands still while it runs; another one takes over, runs it and publishes."""
    place, real, runs = Path("outputs/toy/fine").resolve(), execution_module._papermill, []

    def stands_still(planned: object, staging: Path, *more: object) -> None:
        if not runs:
            lease = next(place.glob(".lease-*"))
            lease.unlink()
            runs.append(None)
            runs.append(execute(plan("toy")[0]))
        real(planned, staging, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(execution_module, "_papermill", stands_still)
    with pytest.warns(UserWarning, match="toy/fine: this machine or its disk stood still until its lease expired"):
        run = quick()
    assert run.reused and run.run_id == runs[1].run_id and run.status == "ok"
    assert [path.name for path in place.iterdir() if not path.is_symlink()] == [run.run_id]


def test_a_heartbeat_goes_on_after_a_disk_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, away = os.utime, [3]

    def utime(*arguments: object) -> None:
        away[0] -= 1
        if away[0] >= 0:
            raise OSError(5, "Input/output error")
        real(*arguments)  # type: ignore[call-overload]

    with held(tmp_path, "k") as hold:
        real(hold.path, (1, 1))
        monkeypatch.setattr(leases.os, "utime", utime)
        time.sleep(1.0)
        assert hold.path.stat().st_mtime > 1


def test_what_another_machine_left_is_swept_once_it_was_watched(tmp_path: Path) -> None:
    elsewhere(tmp_path, age=YEAR)
    (tmp_path / ".staging-a-k").mkdir()
    assert sweep(tmp_path) == []
    assert [path.name for path in sweep(tmp_path, patient=True)] == [".lease-k", ".staging-a-k"]
    assert list(tmp_path.iterdir()) == []
