"""Notebooks of one model run one after the other in one process, each as if it were alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import tiny
from toys import write_notebook

from workbench.runs import Run, execute, plan
from workbench.runs.kernel import Kernel, KernelStats
from workbench.runs.listing import find_run

pytestmark = [pytest.mark.model, pytest.mark.notebook]
COUNT_LOADS = """\
from workbench.models import loading
if not hasattr(loading, "counted"):
    loading.counted = loading.read_network
    def read_network(model, real=loading.read_network):
        open("loads", "a").write("x")
        return real(model)
    loading.read_network = read_network
    del read_network"""
ASK = """\
import os, pandas as pd, workbench as wb
run = wb.current_run()
subject = wb.load_model(model)
options = (wb.Option(" yes"), wb.Option(" not at all"))
questions = [wb.Question(f"Is {word} {i} the largest planet?", options) for i in range(9)]
run.table("answers", wb.ask(subject, questions))
run.note(pid=os.getpid())"""
PID = "import os; from workbench.runs import current_run; current_run().note(pid=os.getpid())"
COUNTED = "run.note(loads=len(open('loads').read()))"
LITTER = """\
import os, random, sys, warnings, numpy as np, matplotlib, torch
from matplotlib import pyplot as plt
secret = 42
os.chdir("/"); os.environ["LEFT"] = "over"; os.environ.pop("HOME"); sys.path.insert(0, "/left")
warnings.filterwarnings("error", message="left over")
random.seed(1); np.random.seed(1); torch.manual_seed(1); torch.set_default_dtype(torch.float64)
np.seterr(all="raise"); pd.set_option("display.precision", 2); matplotlib.rcParams["lines.linewidth"] = 9
plt.plot([1, 2]); torch.set_grad_enabled(False)"""
LOOK = """\
names = sorted(globals())
import os, random, sys, warnings, numpy as np, matplotlib, torch
from matplotlib import pyplot as plt
seen = {
    "names": names, "count": get_ipython().execution_count, "folder": os.getcwd(), "path": sys.path,
    "environment": sorted(item for item in os.environ.items() if not item[0].startswith(("JUP", "JPY", "IPY", "WORK"))),
    "filters": [str(f) for f in warnings.filters if f[0] == "error"], "figures": plt.get_fignums(),
    "width": matplotlib.rcParams["lines.linewidth"], "errors": np.geterr(),
    "precision": pd.get_option("display.precision"),
    "torch": (torch.get_default_dtype(), torch.is_grad_enabled()),
}
run.table("seen", pd.DataFrame({"what": list(seen), "value": [repr(value) for value in seen.values()]}))"""
DRAW = "run.note(drawn=[random.random(), float(np.random.rand()), float(torch.rand(1))])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model in it, under two names."""
    folder = tmp_path_factory.mktemp("resident")
    for name in ("tiny", "other"):
        tiny.network(seed=len(name)).save_pretrained(folder / name)
        tiny.byte_tokenizer().save_pretrained(folder / name)
    return folder


@pytest.fixture
def place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """A folder of the test's own, with the models; the current one."""
    for name in ("tiny", "other"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(place: Path, **notebooks: list[str]) -> None:
    """Notebooks of one study, asking about words of their own."""
    for name, cells in notebooks.items():
        parameters = f'from workbench import ModelName\nmodel: ModelName = "./tiny"\nword: str = "{name}"\n'
        write_notebook(place / f"notebooks/toy/{name}.ipynb", *cells, parameters=parameters)
    (place / "studies").mkdir(exist_ok=True)
    content = {"notebooks": list(notebooks), "profiles": {"default": {}}}
    (place / "studies/toy.yaml").write_text(json.dumps(content))


def run_all(kernel: Kernel | None = None, **given: str) -> dict[str, Run]:
    return {p.notebook: execute(p, kernel=kernel, again=True) for p in plan("toy", given=given)}


def loads(place: Path) -> int:
    """How often a network was read from disk since the last call."""
    count = len((place / "loads").read_text()) if (place / "loads").exists() else 0
    (place / "loads").unlink(missing_ok=True)
    return count


def tables(run: Run) -> dict[str, str]:
    return {name: digest for name, digest in run.files.items() if name.startswith("tables/")}


def test_the_network_is_read_once_unless_it_was_changed_and_each_notebook_is_as_if_alone(
    place: Path, cache: Path
) -> None:
    change = "with torch.no_grad(): subject.network.lm_head.weight[5] = 0"
    first, second = [COUNT_LOADS, ASK, LITTER, DRAW], [COUNT_LOADS, ASK, LOOK, DRAW, COUNTED, change]
    study(place, first=first, second=second, third=[ASK, LOOK, DRAW])
    with Kernel(stays=True) as kernel:
        together = run_all(kernel)
    assert [run.status for run in together.values()] == ["ok"] * 3
    assert len({run.facts["pid"] for run in together.values()}) == 1
    assert together["second"].facts["loads"] == 1 and loads(place) == 2
    assert [run.kernel.partition(", ")[2] for run in together.values()] == ["", *(
        f"notebook {n} of one process" for n in (2, 3))]  # fmt: skip
    shutil.rmtree(cache)  # nothing is answered from the store
    alone = run_all()
    assert len({run.facts["pid"] for run in alone.values()}) == 3 and loads(place) == 2  # the third one does not count
    for name, run in together.items():
        assert tables(run) == tables(alone[name]) and len(tables(run)) >= 2
    drawn = [run.facts["drawn"] for run in together.values()]
    assert drawn[0] == alone["first"].facts["drawn"]  # it sets seeds
    assert all(len({*numbers}) == 3 for numbers in zip(*drawn, strict=True))  # the others draw anew


@pytest.mark.parametrize(
    ("end", "status"),
    [("import os; os._exit(9)", "died"), ("1 / 0", "failed"), ("import time; time.sleep(60)", "timed_out")],
)
def test_what_does_not_end_well_ends_its_process(place: Path, end: str, status: str) -> None:
    study(place, bad=[PID, "secret = 1", end], good=[PID, "assert 'secret' not in globals()"])
    first, second = plan("toy")
    with Kernel(stays=True) as kernel:
        bad = execute(first, kernel=kernel, timeout=5.0 if status == "timed_out" else None)
        assert not psutil.pid_exists(bad.facts["pid"])
        good = execute(second, kernel=kernel)
    assert (bad.status, good.status) == (status, "ok") and "of one process" not in good.kernel


def test_another_model_gets_another_process_and_the_first_one_ends(place: Path) -> None:
    study(place, one=[PID])
    with Kernel(stays=True) as kernel:
        runs = [execute(plan("toy", given={"model": name})[0], kernel=kernel) for name in ("./tiny", "./other")]
        pids = [run.facts["pid"] for run in runs]
        assert [psutil.pid_exists(pid) for pid in pids] == [False, True]
    assert not psutil.pid_exists(pids[1])


def test_a_process_in_which_something_was_trained_or_that_was_killed_is_not_used_again(place: Path) -> None:
    study(place, train=[PID, "import sys, types; sys.modules['trl'] = types.ModuleType('trl')"], next=[PID], last=[PID])
    runs = []
    with Kernel(stays=True) as kernel:
        for planned in plan("toy"):
            runs.append(execute(planned, kernel=kernel))
            if planned.notebook == "next":
                os.kill(runs[-1].facts["pid"], signal.SIGKILL)
    assert [run.status for run in runs] == ["ok"] * 3
    assert len({run.facts["pid"] for run in runs}) == 3


def test_the_most_memory_is_that_of_each_notebook(place: Path) -> None:
    study(place, large=["block = b'x' * 400_000_000"], small=["print(1)"])
    with Kernel(stays=True) as kernel:
        runs = run_all(kernel)
    large, small = (run.peak_memory or 0 for run in runs.values())
    assert small > 2e7 and large - small > 3e8


def test_peak_memory_is_left_out_where_it_would_be_another_notebooks(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: KernelStats, manager: object) -> None:
        self.peak_known = False

    monkeypatch.setattr(KernelStats, "reset_peak", refused)
    study(place, one=["print(1)"], two=["print(2)"])
    with Kernel(stays=True) as kernel:
        runs = run_all(kernel)
    assert runs["one"].peak_memory is not None and runs["two"].peak_memory is None


def test_the_command_line_keeps_the_process_unless_asked_not_to(place: Path, call: Callable[..., int]) -> None:
    study(place, one=[PID], two=[PID])

    def pids(*words: str) -> list[int]:
        assert call("run", "toy", "--again", *words) == 0
        return [find_run(f"toy/{name}", place / "outputs").facts["pid"] for name in ("one", "two")]

    assert len(set(pids())) == 1 and len(set(pids("--fresh"))) == 2
