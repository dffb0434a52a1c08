"""What other systems lack, taken away here: links, sockets, /proc, signals, encodings, names, float64 on a GPU."""

from __future__ import annotations

import ast
import builtins
import errno
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from records import write_runs
from toys import write_study

from workbench.datasets import sources
from workbench.errors import InputError
from workbench.files import CHECKOUT, RUN_FOLDER, moved, sha256_of_text, titles, written_whole
from workbench.runs import execute, kernel, plan, studies
from workbench.runs import inputs as inputs_module
from workbench.runs.checkout import changes_of
from workbench.runs.execution import ending
from workbench.runs.folder import current_run
from workbench.runs.kernel import KernelStats
from workbench.runs.listing import find_run
from workbench.runs.record import host

ENGINE = ("trie", "tree", "rows", "alone")
SOURCE = sorted((CHECKOUT / "workbench").rglob("*.py"))


def refused(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "A required privilege is not held by the client")


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "symlink", refused)
    monkeypatch.setattr(os, "link", refused)


def no_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "socket", SimpleNamespace(socket=socket.socket))


def no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: object, *args: object, **more: object) -> object:
        if str(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file", str(path))
        return real(path, *args, **more)  # type: ignore[call-overload]

    real = io.open
    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(builtins, "open", opened)


def nothing_of_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((os, "sched_getaffinity"), (os, "geteuid"), (os, "O_NONBLOCK"), (signal, "SIGHUP")):
        monkeypatch.delattr(module, name)


def renames_refused_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows does while a search index or a virus scanner has the file open."""
    seen: set[str] = set()

    def replace(source: object, target: object) -> None:
        if str(source) not in seen:
            seen.add(str(source))
            refused()
        real(source, target)  # type: ignore[arg-type]

    real = os.replace
    monkeypatch.setattr(os, "replace", replace)


LACKS = [no_links, no_unix_sockets, no_proc, nothing_of_posix, renames_refused_at_first]


def test_a_run_is_complete_and_found_without_any_of_them(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = "import pandas as pd, workbench as wb\nwb.current_run().table('a', pd.DataFrame({'x': [1]}))"
    write_study(tmp_path, {"fine": ["# A title", kept]})
    monkeypatch.chdir(tmp_path)
    for take_away in LACKS:
        take_away(monkeypatch)
    run = execute(plan("toy")[0])
    assert (run.status, run.peak_memory, run.host.cpus > 0) == ("ok", None, True)
    assert run.frame("a")["x"].tolist() == [1]
    assert find_run("toy/fine", Path("outputs")).run_id == run.run_id
    assert [path.name for path in (tmp_path / "outputs/toy/fine").iterdir()] == [run.run_id]


@pytest.mark.parametrize("take_away", LACKS, ids=lambda function: function.__name__)
def test_runs_are_listed_and_compared_without(
    take_away: Callable[[pytest.MonkeyPatch], None], call: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_runs(Path("outputs"), 4)
    take_away(monkeypatch)
    newest = find_run("hallucination/calibration", Path("outputs"))
    codes = [call(command, "--outputs", "outputs") for command in ("status", "gallery", "clean")]
    assert (codes, host().cpus > 0) == ([0, 0, 0], True)
    assert newest.run_id.endswith("-00000002")


def test_a_link_that_cannot_be_replaced_does_not_stay_at_an_older_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.runs.execution import publish
    from workbench.runs.record import Run

    def published(run: Run) -> None:
        staging = tmp_path / "judges/bias" / f".staging-{run.run_id}"
        staging.mkdir(parents=True)
        nbformat.write(new_notebook(), staging / "notebook.ipynb")
        publish(run, staging)

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == "latest" and Path(target).is_symlink():
            refused()
        real(source, target)

    real = os.replace
    monkeypatch.setattr(os, "replace", replace)
    first, second = (run for run in write_runs(tmp_path / "made", 7) if run.notebook == "bias" and run.status == "ok")
    for run in (first, second):
        published(run)
        assert find_run("judges/bias", tmp_path).run_id == run.run_id
    assert sorted(path.name for path in (tmp_path / "judges/bias").iterdir()) == [first.run_id, second.run_id]


def test_a_copy_of_a_run_in_place_of_the_link_is_neither_read_nor_removed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As results have it that were copied from a system with links to one without."""
    from workbench.runs.execution import publish

    runs = [run for run in write_runs(tmp_path, 7) if run.notebook == "bias" and run.status == "ok"]
    folder = tmp_path / "judges/bias"
    shutil.copytree(folder / runs[0].run_id, folder / "latest")
    assert find_run("judges/bias", tmp_path).run_id == runs[1].run_id
    staging = folder / f".staging-{runs[1].run_id}"
    (folder / runs[1].run_id).rename(staging)
    nbformat.write(new_notebook(), staging / "notebook.ipynb")
    publish(runs[1], staging)
    assert (folder / "latest/run.json").is_file() and not list(folder.glob(".*"))


@pytest.mark.parametrize(("refusals", "error"), [(0, None), (1, None), (5, None), (99, PermissionError)])
def test_a_rename_that_is_refused_for_a_while_is_repeated(
    refusals: int, error: type[OSError] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, real, waited = [refused] * refusals, os.replace, []
    monkeypatch.setattr(os, "replace", lambda *paths: (left.pop() if left else real)(*paths))
    monkeypatch.setattr(time, "sleep", waited.append)
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    if error:
        with pytest.raises(error):
            moved(tmp_path / "a", tmp_path / "b")
    else:
        moved(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").read_text() == "new"
    assert len(waited) == min(refusals, 5) and sum(waited) < 2
    with pytest.raises(FileNotFoundError):  # not repeated
        monkeypatch.setattr(os, "replace", real)
        moved(tmp_path / "none", tmp_path / "b")


def test_sockets_are_made_only_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel._takes_sockets("/tmp" if len(str(tmp_path)) > 80 else str(tmp_path))
    long = tmp_path / ("x" * 100)
    long.mkdir()
    assert not kernel._takes_sockets(str(long)) and not kernel._takes_sockets(str(tmp_path / "none"))
    no_unix_sockets(monkeypatch)
    assert not kernel._takes_sockets("/tmp")


@pytest.mark.parametrize("number", [1, 9, 15, 33, 35, 63, 65])
def test_every_signal_can_end_a_kernel(number: int) -> None:
    """Some numbers have no name here, and others none elsewhere."""
    assert ending(KernelStats(exit_code=-number)).count("It was ended by") == 1
    assert "3221225477" in ending(KernelStats(exit_code=0xC0000005))


NOT_NAMES = ["con", "aux", "nul", "prn", "com1", "lpt9", "A", "a.", "a ", "a:b", "a/b", "..", "", "a" * 101, "é"]


@pytest.mark.parametrize("name", NOT_NAMES)
def test_a_name_that_some_system_cannot_have_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    monkeypatch.setenv(RUN_FOLDER, str(tmp_path))
    with pytest.raises(InputError, match="every system"):
        current_run().table(name, pd.DataFrame({"x": [1]}))
    current_run().table("console", pd.DataFrame({"x": [1]}))


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "🙂" * 63])
def test_a_file_of_the_longest_name_is_written(name: str, tmp_path: Path) -> None:
    with written_whole(tmp_path / name) as path:
        path.write_text("x")
    assert [each.name for each in tmp_path.iterdir()] == [name]


class Windows(PureWindowsPath):
    """A path as on Windows."""

    def expanduser(self) -> Windows:
        return self


def test_paths_of_windows_are_read_as_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "Path", Windows)
    monkeypatch.setattr(sources, "user_path", Windows)
    assert sources.parse(r"C:\data\items.csv", "questions").path == Windows(r"C:\data\items.csv")
    assert sources.parse(r"c:items.csv", "cases").path == Windows("c:items.csv")
    named = sources.parse(r"C:\data\human_resp:POLPARTY", "opinions")
    assert (named.path, named.part) == (Windows(r"C:\data\human_resp"), "POLPARTY")
    with pytest.raises(InputError, match="FOLDER:PART"):
        sources.parse(r"C:\data\human_resp", "opinions")
    monkeypatch.setattr(os, "sep", "\\")
    assert titles([r"C:\m\a\final", "C:\\m\\b\\final\\"]) == ["a/final", "b/final"]
    (tmp_path / r"folder\items").write_text("")
    with pytest.raises(InputError, match="which is a path"):
        inputs_module._refuse_path("name", r"folder\items", tmp_path)


def test_folders_of_a_windows_machine_leave_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "root", lambda: PureWindowsPath(r"C:\data\workbench"))
    texts = (r"C:\data\workbench\x", repr(r"C:\data\workbench\x"), "C:/data/workbench/x")
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[new_output("stream", text=t) for t in texts])])
    kernel.tidy(notebook)
    assert [output.text.strip("'").lstrip(".") for output in notebook.cells[0].outputs] == ["\\x", "\\\\x", "/x"]


TEMPLATE = "kind: pointwise\nscale: [1, 3]\n---\nRate it.\n\n{question}\n{answer}\n---\nScore:"
STUDY = "notebooks: [a]\nprofiles:\n  default:\n    n: 3\n"


def _questions(path: Path) -> object:
    import workbench as wb

    return [(q.prompt, [o.text for o in q.options]) for q in wb.load_questions(path)]


def _template(path: Path) -> object:
    from workbench.judges.prompts import load_template

    return load_template(path)


def _code(path: Path) -> object:
    return sha256_of_text(path)


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("t.txt", TEMPLATE, _template),
        ("s.yaml", STUDY, studies._study_file),
        ("p.yaml", "text: |\n  two\n  lines\n", studies.read_yaml),
        ("q.csv", "question,correct,wrong\nOne?,a,b|c\nTwo?,d,e\n", _questions),
        ("q.jsonl", '{"question": "One?", "correct": ["a"], "wrong": ["b"]}\n', _questions),
        ("n.ipynb", '{\n "cells": []\n}\n', _code),
    ],
)
def test_line_ends_of_windows_change_nothing(
    name: str, text: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    values = []
    for folder, ends in (("a", b"\n"), ("b", b"\r\n")):
        path = tmp_path / folder / name
        path.parent.mkdir()
        path.write_bytes(text.encode().replace(b"\n", ends))
        values.append(repr(read(path)).replace(str(path.parent), ""))
    assert values[0] == values[1]


def test_the_key_of_a_notebook_does_not_depend_on_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, {"fine": ["1"]})
    monkeypatch.chdir(tmp_path)
    notebook = tmp_path / "notebooks/toy/fine.ipynb"
    key = plan("toy")[0].key
    notebook.write_bytes(notebook.read_bytes().replace(b"\n", b"\r\n"))
    assert plan("toy")[0].key == key


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_the_command_line_prints_what_a_code_page_lacks(
    encoding: str, call: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.runs.record import Headline

    write_runs(Path("outputs"), 2, headline=Headline(text="精度 − √n 🙂", value=0.5))
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding=encoding, errors="strict"))
    assert call("status", "--outputs", "outputs") == 0
    sys.stdout.flush()
    assert b"\\u7cbe" in shown.getvalue() and b"\\U0001f642" in shown.getvalue()


def test_texts_that_are_not_utf8_lose_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(stdout=b"diff --git a/x b/x\n-caf\xe9\x81\n+x\n", returncode=0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert done.stdout in changes_of(tmp_path).patch.encode(errors="surrogateescape")


def test_every_file_and_child_has_its_encoding_named() -> None:
    """Without it, Windows reads and writes in the code page of its language."""
    unnamed = []
    for path in SOURCE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            given = {each.arg for each in node.keywords}
            texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
            as_text = {"read_text": 1, "write_text": 2}.get(name, 99) > len(node.args)
            if isinstance(node.func, ast.Attribute) and name in ("read_text", "write_text"):
                wrong = as_text and "encoding" not in given
            elif name == "open" and ast.unparse(node.func) in ("open", "path.open", "file.open"):
                wrong = not any("b" in str(each) for each in texts) and "encoding" not in given
            else:
                wrong = bool({"text", "universal_newlines"} & given) and "encoding" not in given and "run" in name
            unnamed += [f"{path.name}:{node.lineno}"] if wrong else []
    assert unnamed == []


@pytest.mark.parametrize(
    ("platform", "driver", "device"),
    [("win32", "", "cuda"), ("linux", "/dev/dxg", "cuda"), ("linux", "/dev/kfd", "cuda"), ("linux", "", "cpu")],
)
def test_an_accelerator_is_looked_for_on_every_system(
    platform: str, driver: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.models import sources as names

    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True))
    real = builtins.__import__
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(builtins, "__import__", lambda name, *more: torch if name == "torch" else real(name, *more))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os.path, "exists", lambda path: path == driver)
    assert names._best_device() == device


@pytest.mark.parametrize(("platform", "started"), [("linux", "execv"), ("win32", "call")])
@pytest.mark.parametrize(("user", "words", "advised"), [(0, [], True), (0, ["--allow-root"], False), (1, [], False)])
def test_jupyterlab_is_started_as_the_system_does_it(
    platform: str,
    started: str,
    user: int,
    words: list[str],
    advised: bool,
    call: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran: list[str] = []

    def start(*command: object) -> int:
        ran.append(str(command[-1]))
        raise SystemExit(0)

    Path("notebooks").mkdir()
    Path("studies").mkdir()
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os if started == "execv" else subprocess, started, start)
    assert call("lab", *words) == 0
    assert len(ran) == 1 and "jupyterlab" in ran[0]
    assert ("workbench lab --allow-root" in capsys.readouterr().err) == advised


def test_the_lines_of_the_set_up_are_those_of_make(call: Callable[..., int]) -> None:
    make = (CHECKOUT / "Makefile").read_text("utf-8")
    for page in ("README.md", "docs/platforms.md"):
        lines = (CHECKOUT / page).read_text("utf-8").replace(".venv\\Scripts\\", ".venv/bin/").splitlines()
        unix = lines.index("    python3 -m venv .venv")
        assert lines[unix + 1 : unix + 4] == lines[unix + 6 : unix + 9] or page.startswith("docs")
        assert [lines.count(line) for line in lines[unix + 1 : unix + 4]] == [2, 2, 2]
        assert lines[unix + 1] == "    .venv/bin/python -m pip install -c constraints.txt -e ."
        for line in lines[unix + 2 : unix + 4]:
            command = line.split()[1:]
            assert f"$(BIN)/workbench {' '.join(command)}" in make.replace("$(PROFILE)", "quick")
            assert call(*command, "--help") == 0


@pytest.fixture
def apple() -> Any:
    """A network whose tensors, and all that is computed from them, refuse float64 and numpy until `.cpu()`."""
    import tiny
    import torch

    class Apple(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function: Any, kinds: Any, args: Any = (), named: Any = None) -> Any:
            if function is torch.Tensor.numpy:
                raise TypeError("can't convert mps:0 device type tensor to numpy.")
            made = super().__torch_function__(function, kinds, args, named or {})
            if function is torch.Tensor.cpu:
                return made.as_subclass(torch.Tensor)
            if isinstance(made, torch.Tensor) and made.dtype == torch.float64:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype as MPS doesn't support float64.")
            return made

    network = tiny.network()
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = torch.nn.Parameter(weight.detach().as_subclass(Apple), False)
    return network


def test_everything_is_read_from_a_gpu_without_float64(apple: Any, cache: Path) -> None:
    import tiny

    import workbench as wb
    from workbench.extraction import engine
    from workbench.hallucination import steering
    from workbench.value_drift import likelihood_displacement, probes

    model, same = (wb.wrap_model(network, tiny.byte_tokenizer()) for network in (apple, tiny.network()))
    questions = [
        wb.Question(text, (wb.Option(" yes", "correct"), wb.Option(" no", "wrong"), wb.Option(" I", "abstain")))
        for text in ("A", "B")
    ]
    pairs = [{"id": "1", "prompt": "A", "chosen": "yes", "rejected": "no"}]

    def read(model: wb.Model) -> list[Any]:
        requests = engine.proof.probes(model.network.config.vocab_size, 64)
        steps = [list(engine._by(step, model.network, [engine.Request(*r) for r in requests], 64)) for step in ENGINE]
        return [
            *(np.concatenate([value for _, _, values in batches for value in values]) for batches in steps),
            wb.ask(model, questions)["logprob"],
            wb.hidden_states(model, ["a text", "another"], layers=[0, 1]),
            probes.next_token(model, "A"),
            likelihood_displacement.scores(model, {"similar": pairs})["ches"],
            likelihood_displacement.one_token(model, 2).select_dtypes("number"),
            steering.attribute(model, questions[:1], steps=2)[0].scores,
        ]

    for found, expected in zip(read(model), read(same), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_gap_of_an_apple_gpu_is_measured_and_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiny
    import torch

    import workbench as wb
    from workbench.extraction import engine

    network = tiny.network()
    network.save_pretrained(tmp_path / "m")
    tiny.byte_tokenizer().save_pretrained(tmp_path / "m")

    tiers = set()
    for shift, named in ((0.0, False), (1e-2, True)):

        def to(network: torch.nn.Module, device: str, shift: float = shift) -> torch.nn.Module:
            assert device == "mps"
            for weight in network.parameters():
                weight.data *= 1 + shift
            return network

        monkeypatch.setattr(type(network), "to", to)
        model = wb.load_model(tmp_path / "m", device="mps")
        with pytest.warns(UserWarning) as caught:
            choice = engine.choose(model)
            assert choice.device_gap is not None and (choice.device_gap > 1e-4) == named
            engine.warnings.warn("at least one")
        assert any("nat from the CPU's" in str(warning.message) for warning in caught) == named
        tiers.add(engine.tier(model))
    assert tiers.isdisjoint({engine.tier(wb.load_model(tmp_path / "m", device="cpu"))})
    monkeypatch.setattr(type(network), "to", lambda *_: (_ for _ in ()).throw(TypeError("no float64 on MPS")))
    with pytest.raises(InputError, match="no float64 on MPS"):
        _ = wb.load_model(tmp_path / "m", device="mps", dtype="float64").network
