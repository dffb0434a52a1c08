"""Shared fixtures. Tests never write into the user's cache or home."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

sys.path.insert(0, str(Path(__file__).parent))
import leftovers

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.register_profile("search")
KEPT = DirectoryBasedExampleDatabase(Path(__file__).parents[1] / ".hypothesis" / "kept")
MANY = int(os.environ.get("EXAMPLES", "10000"))
settings.register_profile("fuzz", max_examples=MANY, database=KEPT, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers the long tests come first, so that none is left alone with them at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("notebook") is None)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Callable[..., int]:
    """Runs the command line in an empty folder; gives its exit code."""
    from workbench import cli

    monkeypatch.chdir(tmp_path)

    def called(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["workbench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0)

    return called


@pytest.fixture(scope="session", autouse=True)
def _figures_are_legible() -> Iterator[None]:
    """Checks every figure that a slice draws, when it gets its alt text."""
    with pytest.MonkeyPatch.context() as patch:
        if "workbench.figures" in sys.modules:
            from legible import checked
            from matplotlib.figure import Figure

            patch.setattr(Figure, "set_label", checked(Figure.set_label))
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gives the session a home and a folder for what is temporary; fails if files are left elsewhere, or processes."""
    from workbench.files import CACHE_VARIABLE, cache_folder

    home = tmp_path_factory.mktemp("home")
    fetched, own = cache_folder(), tmp_path_factory.mktemp("cache")  # the first before the home is another
    for name in ("models", "packages"):
        if (fetched / name).is_dir():
            (own / name).symlink_to(fetched / name)
    os.environ[CACHE_VARIABLE] = str(own)
    os.environ |= {"HOME": str(home), "MPLCONFIGDIR": str(tmp_path_factory.mktemp("matplotlib"))}
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("t"))  # a killed process cannot remove what it put there
    tempfile.tempdir = None
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        os.environ.pop(name, None)
    before, mark = leftovers.repository_files(), leftovers.marked_environment()
    yield
    assert leftovers.processes(mark) == []
    assert sorted(leftovers.files(home)) == []
    assert sorted(leftovers.repository_files() - before) == []
