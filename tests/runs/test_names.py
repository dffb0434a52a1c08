from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import write_notebook, write_study

from workbench.errors import InputError
from workbench.runs import plan
from workbench.runs.names import BENCHMARKS, MODELS

CELL = """\
model: str = "smollm2-135m-instruct"
others: list[str] = []
benchmarks: list[str] = ["piqa"]
algorithms: list[str] = ["dpo"]
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    write_study(tmp_path, {"first": ["print(1)"]})
    write_notebook(tmp_path / "notebooks/toy/first.ipynb", "print(1)", parameters=CELL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "smollm2-135m-instrukt"}, ["Unknown model 'smollm2-135m-instrukt'. Did you mean 'smollm2-135m-ins"]),
        ({"model": "./nowhere"}, ["There is no model folder './nowhere'"]),
        ({"model": "none.gguf"}, ["There is no GGUF file 'none.gguf'"]),
        ({"others": ["org/one", "two"], "model": ""}, ["Unknown model 'two'", "The model has no name"]),
        ({"benchmarks": "piqa,piqua"}, ["Unknown benchmark 'piqua'. Did you mean 'piqa'?"]),
        ({"algorithms": "dpo,ppo"}, ["TRL has no PPO"]),
        ({"algorithms": ["reward", "dop"]}, ["trains no policy", "Did you mean 'dpo'"]),
        ({"algorithms": "dpo:"}, ["'' is no setting of 'dpo'"]),
        ({"benchmarks": ["gone.csv"], "model": "x"}, ["There is no file 'gone.csv'", "Unknown model 'x'"]),
    ],
)
def test_unknown_models_and_benchmarks_are_refused_by_the_plan(
    toy: Path, given: dict[str, object], said: list[str]
) -> None:
    with pytest.raises(InputError) as refused:
        plan("toy", given=given)
    assert [sentence for sentence in said if sentence not in str(refused.value)] == []


def test_names_that_may_be_right_pass_and_the_hub_is_not_asked(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    (toy / "mine.csv").touch()
    (toy / "model.gguf").touch()
    (toy / "folder").mkdir()
    for model in ("org/name", "org/name@main", "./folder", "folder", "model.gguf", "folder#adapter", "vllm://host:1/m"):
        plan("toy", given={"model": model, "benchmarks": ["hub:arc_easy", "arc_easy", "mine.csv"]})
    (toy / "sub").mkdir()
    (toy / "sub/other.csv").touch()
    plan("toy", given={"benchmarks": "other.csv"}, here=toy / "sub")


def test_a_parameter_that_means_something_else_is_let_be(toy: Path) -> None:
    write_notebook(toy / "notebooks/toy/first.ipynb", "print(1)", parameters='model: str = "linear"\nn: int = 1')
    plan("toy", given={"model": "quadratic"})


def test_the_command_line_says_it_once(call: Callable[..., int], toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "toy", "-p", "model=smol") == call("run", "toy", "-p", "model=smol") == 2
    captured = capsys.readouterr()
    assert captured.err.count("Unknown model 'smol'") == captured.err.count("\n") == 2 and captured.out == ""


@pytest.mark.parametrize("address", ["https://user:sk-secret@host/v1/N", "http://host/v1/N?api_key=sk-secret"])
def test_a_key_in_an_address_of_any_scheme_is_refused_by_the_plan_and_not_repeated(toy: Path, address: str) -> None:
    with pytest.raises(InputError) as refused:
        plan("toy", given={"model": address})
    assert "address" in str(refused.value) and "sk-secret" not in str(refused.value)


def test_every_parameter_that_names_a_model_or_benchmark_is_checked() -> None:
    """Every name a notebook of the project gives to load_model or load_questions."""
    root = Path(__file__).parents[2]
    source = "".join(path.read_text("utf-8") for path in root.glob("notebooks/*/*.ipynb"))
    models = set(re.findall(r"load_model\((\w+)[,)]", source))
    benchmarks = set(re.findall(r"load_questions\((\w+)[,)]", source))
    declared = set(re.findall(r'"(\w+): (?:str|list\[str\])', source))
    assert models & declared <= {*MODELS} and benchmarks & declared <= {*BENCHMARKS}
    assert "judge" in MODELS and "benchmark" in BENCHMARKS
