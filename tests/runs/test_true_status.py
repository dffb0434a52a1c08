"""Every way a run can end is shown in the record, the notebook, the report and the gallery."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from toys import start_cli, write_study

from workbench.errors import InputError
from workbench.runs import Run, execute, load_run, plan
from workbench.runs import execution as execution_module
from workbench.runs import staging as staging_module

pytestmark = pytest.mark.notebook
CELLS = {
    "killed": [
        "print('last words')\nimport os, signal, time; time.sleep(0.5)  # words travel by another thread\n"
        "os.kill(os.getpid(), signal.SIGKILL)",
        "print(2)",
    ],
    "quit": ["import os; os._exit(0)", "print(2)"],
    "segfault": ["import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "print(2)"],
    "memory": [
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (n * 2**20,) * 2)",
        "block = bytearray(2 * n * 2**20)",
        "print(3)",
    ],
    "exits": ["print('going'); import sys; sys.exit(0)", "print(2)"],
    "slow": ["print('waiting', flush=True); import time; time.sleep(60)", "print(2)"],
    "fills": [
        "import os, pathlib\nfrom workbench.runs import folder\n"
        "with open(pathlib.Path(os.environ[folder.RUN_FOLDER]) / 'large', 'wb') as file:\n"
        "    while True:\n        file.write(bytes(100_000)); file.flush()",
        "print(2)",
    ],
    "prints": ["print('x' * 3_400_000)", "print(2)"],
}
EXPECTED = [
    ("killed", "died", 3, "DeadKernelError", "Kernel died", "SIGKILL"),
    ("quit", "died", 3, "DeadKernelError", "Kernel died", "exit code was 0"),
    ("segfault", "died", 3, "DeadKernelError", "Kernel died", "SIGSEGV"),
    ("memory", "failed", 4, "MemoryError", "", "A cell raised an error"),
    ("exits", "failed", 3, "SystemExit", "0", "A cell raised an error"),
    ("slow", "timed_out", 3, "TimeoutError", "longer than its 3 s", "time limit"),
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("Läufe mit Raum")
    write_study(root, CELLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("WORKBENCH_CACHE", str(root / "cache"))
        yield root


def run_one(name: str, **more: object) -> Run:
    planned = plan("toy", given={"n": "2000"}, notebook=name)[0]
    return execute(planned, timeout=3.0 if name == "slow" else 60.0, **more)  # type: ignore[arg-type]


def states(run: Run) -> list[str]:
    assert run.folder is not None
    cells = nbformat.read(run.folder / "notebook.ipynb", as_version=4).cells
    return [cell.metadata.papermill.status for cell in cells if cell.cell_type == "code"]


@pytest.mark.parametrize(("name", "status", "cell", "error", "said", "reason"), EXPECTED)
def test_however_a_kernel_ends_it_is_reported_everywhere(
    toy: Path, name: str, status: str, cell: int, error: str, said: str, reason: str
) -> None:
    run = run_one(name)
    assert run.folder is not None and load_run(run.folder) == run
    assert run.failure is not None and said in run.failure.message
    assert (run.status, run.failure.cell, run.failure.name) == (status, cell, error)
    assert reason in run.exit_reason
    marks = states(run)
    assert marks[cell - 1] == "failed" and marks[-1] == "pending" and "completed" not in marks[cell:]
    assert [c.state for c in run.cells] == marks
    assert all((c.seconds is None) == (c.state == "pending") for c in run.cells)
    page = (run.folder / "report.html").read_text()
    assert f'<span class="status {status}">' in page and 'class="banner"' in page
    assert reason in page and page.count("did not run") >= 1
    gallery = (toy / "outputs/index.html").read_text()
    assert f'data-status="{status}"' in gallery and f"Cell {cell}: {error}" in gallery
    assert not (run.folder.parent / "latest").exists()


def test_the_last_output_is_kept(toy: Path) -> None:
    for name, said in (("killed", "last words"), ("slow", "waiting")):
        run = run_one(name, again=True)
        assert run.failure is not None and said in run.failure.traceback


def test_peak_memory_and_times_are_recorded(toy: Path) -> None:
    run = run_one("exits", again=True)
    assert run.peak_memory is not None and 2e7 < run.peak_memory < 2e9
    assert sum(c.seconds or 0 for c in run.cells) <= run.seconds
    assert run.kernel.startswith("python3 (ipykernel ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_hand_it_is_cancelled_and_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    write_study(tmp_path, {"slow": ["import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"]})
    process = start_cli(tmp_path, "run", "toy", stderr=subprocess.PIPE)
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    out, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "toy/slow: cancelled" in out and "Traceback" not in said
    record = json.loads(next(tmp_path.glob("outputs/toy/slow/2*/run.json")).read_text())
    assert (record["status"], record["failure"]["cell"]) == ("cancelled", 2)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()
    assert [path.name for path in tmp_path.glob("outputs/toy/slow/*/report.html")] == ["report.html"]
    assert list(tmp_path.glob("outputs/toy/slow/.*")) == []


def test_a_killed_workbench_leaves_what_the_next_run_sweeps(tmp_path: Path) -> None:
    long_cell = (
        "import os, time\nfrom workbench import progress\nif not os.path.exists('pid'):\n"
        "    with progress.bar(30_000, 'reading answers') as advance:\n        time.sleep(1.1); advance(12_000)\n"
        "        open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    )
    write_study(tmp_path, {"slow": [long_cell]})
    process = start_cli(tmp_path, "run", "toy")
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        time.sleep(0.05)

    def call(*words: str) -> str:
        process = start_cli(tmp_path, *words)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == 0
        return output

    said = call("status")
    assert "running     toy/slow/" in said
    assert "1 of 2 cells, reading answers 40 % (12k of 30k tokens), 2 s left; " in said
    process.kill()
    process.communicate()
    assert "abandoned   toy/slow/" in call("status")
    assert "a process that is gone left it" in call("clean")
    assert "toy/slow: ok after" in call("run", "toy")
    assert "abandoned" not in call("status") and call("clean") == "Nothing to remove.\n"
    with pytest.raises(ProcessLookupError):  # the orphaned kernel notices that its parent is gone
        for _ in range(100):
            os.kill(int((tmp_path / "pid").read_text()), 0)
            time.sleep(0.1)


@pytest.fixture
def small_disk(toy: Path, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a disk of 6 MB, where root may."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a small disk needs root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["fills", "prints"])
def test_a_disk_that_fills_up_is_a_failed_run(small_disk: Callable[[str], Path], name: str) -> None:
    run = run_one(name, outputs=small_disk("size=5m"))
    assert run.folder is not None and load_run(run.folder) == run
    assert run.status == "failed" and run.failure is not None
    assert re.match(
        r"No space left for files in \S+/toy/\w+ \(\d\.\d MB free on the disk\): computed", run.failure.message
    )
    assert "or name another folder with --outputs, and run again." in run.failure.message
    assert states(run)[-1] == "pending" and "failed" in states(run)


def test_a_read_only_folder_is_one_sentence_before_a_kernel_starts(
    small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_module, "_papermill", lambda *_: pytest.fail("a kernel would start"))
    with pytest.raises(InputError, match=r"Cannot write results to .*: Read-only file system; name another folder"):
        run_one("exits", outputs=small_disk("ro,size=1m"))


def test_a_full_disk_is_one_sentence_before_a_kernel_starts(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    monkeypatch.setattr(staging_module.Path, "write_bytes", full)
    with pytest.raises(
        InputError, match=r"No space left for files in .* or name another folder with --outputs, and run"
    ):
        run_one("exits", outputs=toy / "full")


@pytest.mark.parametrize("says", [True, False])
def test_an_error_in_a_cell_names_the_folder_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: bool
) -> None:
    message = "[Errno 28] No space left on device" if says else "unexpected pos 576 vs 534"
    name = execution_module.named_if_full
    told = name("OSError", message, tmp_path / "staging")
    assert told.startswith("No space was left for a file of this cell (") if says else told == message
    monkeypatch.setattr(execution_module, "no_room", lambda place, size: place == tmp_path)
    assert re.search(
        rf"No space left for files in {tmp_path} \([\d.,]+ MB free on the disk\): computed answers are kept; free some "
        r"there, or name another folder with --outputs, and run again\.",
        named := name("RuntimeError", message, tmp_path / "staging"),
    )
    assert message in named and name("InputError", "x", tmp_path / "staging") == "x"
