from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from workbench.errors import InputError
from workbench.runs import Run, load_run
from workbench.runs import remote as remote_module

Execute = Callable[..., Run]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{tmp_path.name}/results" if request.param == "memory" else f"file://{tmp_path}/far away/results"


def test_a_run_is_copied_when_complete_its_record_last(
    quick: Execute, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, top = fsspec.core.url_to_fs(url)
    written = []
    real = type(store).put_file

    def put(self: object, source: str, target: str, **more: object) -> object:
        written.append(target.rpartition("/")[2])
        return real(self, source, target, **more)

    monkeypatch.setattr(type(store), "put_file", put)
    run = quick(outputs=url)
    assert written == ["notebook.ipynb", "report.html", "run.json", "index.html"]
    assert store.cat_file(f"{top}/toy/fine/latest").decode() == run.run_id
    assert not Path("outputs").exists() and not Path("memory:").exists()
    store.get(f"{top}/toy/fine/{run.run_id}", "copy", recursive=True)
    assert load_run("copy").run_id == run.run_id


def test_a_finished_run_on_the_store_is_not_repeated_on_another_machine(quick: Execute, url: str) -> None:
    first = quick(outputs=url)
    shutil.rmtree(remote_module.working_copy(url))
    second = quick(outputs=url)
    assert second.reused and second.run_id == first.run_id
    assert second.folder and (second.folder / "report.html").exists()


def test_a_copy_that_failed_is_no_success_and_is_made_up_for(
    quick: Execute,
    url: str,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, top = fsspec.core.url_to_fs(url)

    def broken(*_: object, **__: object) -> None:
        raise PermissionError("no such right")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "put_file", broken)
        with pytest.raises(InputError, match=r"no such right; it is complete in .*, and the same command copies it"):
            quick(outputs=url)
        assert call("run", "toy", "--again", "--outputs", url) == 2
        assert "the same command copies it later" in capsys.readouterr().out
    run = quick(outputs=url)
    assert run.reused and store.exists(f"{top}/toy/fine/{run.run_id}/run.json")


def test_status_tells_what_is_on_the_store_from_any_machine(
    quick: Execute, url: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("status", "--outputs", f"{url}/none") == 0
    assert capsys.readouterr().out == f"No runs in {url}/none.\n"
    run = quick(outputs=url)
    shutil.rmtree(remote_module.working_copy(url))
    assert call("status", "--outputs", url) == 0
    assert capsys.readouterr().out.startswith(f"ok          toy/fine/{run.run_id}  ")


def test_a_record_on_the_store_that_cannot_be_read_is_a_line_of_status(
    quick: Execute, url: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    store, top = fsspec.core.url_to_fs(url)
    run = quick(outputs=url)
    for name, content in {"9a": b"{", "9b": b'{"schema_version": 99}', "9c": b"\xff"}.items():
        store.makedirs(f"{top}/toy/fine/{name}", exist_ok=True)
        store.pipe_file(f"{top}/toy/fine/{name}/run.json", content)
    assert call("status", "--outputs", url) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in said[:3]] == [f"unreadable  toy/fine/9{x}" for x in "cba"]
    assert "has layout 99, and this workbench reads up to" in said[1] and f"toy/fine/{run.run_id}" in said[3]


@pytest.mark.parametrize("url", ["nostore://x", "zip:///none.zip", "ftp://127.0.0.1:9/x", "reference://x", "dir://x"])
def test_a_store_that_cannot_be_opened_is_one_sentence(quick: Execute, url: str) -> None:
    with pytest.raises(InputError, match=f"^Cannot open {url}: .*; check the address"):
        quick(outputs=url)
