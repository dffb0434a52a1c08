"""Leases of several machines on one folder: clocks that jump, holders that stand still or are killed, full disks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toys import lease_elsewhere

from workbench.runs import Run, execute, plan, staging
from workbench.runs import execution as execution_module
from workbench.runs.staging import Holder, holder, leased, sweep

Execute = Callable[..., Run]
YEAR = 365 * 86400.0


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(staging, "POLL", 0.1)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process on this machine that has the lease `k`, and prints on request whether it still does."""
    code = (
        "import sys; from pathlib import Path; from workbench.runs import staging; staging.LEASE_SECONDS = 0.6\n"
        f"with staging.leased(Path({str(tmp_path)!r}), 'k') as lease:\n"
        "    print('taken', flush=True), input(), print(lease.valid)"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)  # type: ignore[call-overload]
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_lease_of_a_killed_process_is_taken_at_once(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert (who := holder(tmp_path, "k")) and who.pid == other.pid and not who.silent
    other.kill()
    other.wait()
    begun = time.monotonic()
    with leased(tmp_path, "k") as lease:
        assert lease.valid and not lease.waited and time.monotonic() - begun < 0.3
    assert names(tmp_path) == []


def test_a_number_that_another_process_got_since_holds_nothing(tmp_path: Path) -> None:
    with leased(tmp_path, "k") as lease:
        text = lease.path.read_text()
    lease.path.write_text(text.replace("start=", "start=1"))
    assert holder(tmp_path, "k") is None and names(tmp_path) == []


def test_the_lease_of_a_process_that_stands_still_is_taken_after_its_time_and_it_learns_that(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    other.send_signal(signal.SIGSTOP)
    begun, seen = time.monotonic(), list[Holder]()
    with leased(tmp_path, "k", seen.append) as lease:
        assert lease.valid and lease.waited and [who.pid for who in seen] == [other.pid]
        assert 0.5 < time.monotonic() - begun < 5
        other.send_signal(signal.SIGCONT)
        assert other.communicate("go on\n", timeout=20)[0] == "False\n"
        assert lease.valid
    assert names(tmp_path) == []


@pytest.mark.parametrize("age", [YEAR, -YEAR])
def test_a_clock_that_jumps_takes_no_lease_from_a_holder_that_beats(tmp_path: Path, age: float) -> None:
    path, stop = lease_elsewhere(tmp_path, age=age), threading.Event()

    def beats() -> None:  # by a clock that is a year off
        while not stop.wait(0.1):
            os.utime(path, (time.time() - age,) * 2)

    heart = threading.Thread(target=beats)
    heart.start()
    try:
        (tmp_path / ".staging-a-k").mkdir()
        assert sweep(tmp_path, patient=True) == [] and (who := holder(tmp_path, "k")) and who.silent
    finally:
        stop.set()
        heart.join()
    assert sweep(tmp_path) == []  # now that nothing beats, it has to be watched
    assert sweep(tmp_path, patient=True) == [tmp_path / ".staging-a-k"] and names(tmp_path) == []


@pytest.mark.parametrize("age", [YEAR, -YEAR])
def test_an_abandoned_lease_is_taken_whatever_the_clock_says(tmp_path: Path, age: float) -> None:
    lease_elsewhere(tmp_path, age=age)
    seen, begun = list[Holder](), time.monotonic()
    with leased(tmp_path, "k", seen.append) as lease:
        assert lease.valid and lease.waited and [who.host for who in seen] == ["elsewhere"]
    assert 0.5 < time.monotonic() - begun < 5


def test_a_lease_file_that_was_never_written_is_somebodys_for_a_while(tmp_path: Path) -> None:
    (tmp_path / ".lease-k").touch()
    begun = time.monotonic()
    assert holder(tmp_path, "k") is not None
    with leased(tmp_path, "k") as lease:
        assert lease.valid and 0.5 < time.monotonic() - begun < 5


def test_a_lease_beats_while_it_is_kept(tmp_path: Path) -> None:
    with leased(tmp_path, "k") as lease:
        os.utime(lease.path, (1, 1))
        time.sleep(0.5)
        assert lease.path.stat().st_mtime > 1


def test_a_lease_is_given_back_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with leased(tmp_path, "k"):
        monkeypatch.setattr(os, "write", full)
    assert names(tmp_path) == []
    with pytest.raises(OSError, match="No space left"), leased(tmp_path, "k"):
        pass
    assert names(tmp_path) == []


def test_only_one_of_many_takes_an_abandoned_lease(tmp_path: Path) -> None:
    lease_elsewhere(tmp_path, age=YEAR)
    inside, most = [0], [0]

    def run() -> None:
        with leased(tmp_path, "k"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.01)
            inside[0] -= 1

    threads = [threading.Thread(target=run, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    assert most == [1] and names(tmp_path) == []


def test_an_expired_lease_publishes_nothing_and_the_others_run_counts(
    quick: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process stands still while it runs; another one takes over, runs it and publishes."""
    folder, real, runs = Path("outputs/toy/fine").resolve(), execution_module._papermill, []

    def stalls(planned: object, staging: Path, *more: object) -> None:
        if not runs:
            next(folder.glob(".lease-*")).unlink()
            runs.append(None)
            runs.append(in_thread(lambda: execute(plan("toy")[0])))
        real(planned, staging, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(execution_module, "_papermill", stalls)
    with pytest.warns(UserWarning, match="toy/fine: this machine or its disk stalled until its lease expired"):
        run = quick()
    assert run.reused and run.run_id == runs[1].run_id and run.status == "ok"
    assert [path.name for path in folder.iterdir() if not path.is_symlink()] == [run.run_id]


def in_thread(work: Callable[[], Run]) -> Run:
    """What another process would do."""
    done: list[Run] = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join()
    return done[0]
