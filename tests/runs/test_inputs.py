"""What parameters name: wrong names are refused before a kernel starts, and a changed file is another computation."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from toys import write_notebook, write_study

from workbench import kinds
from workbench.cultural_alignment import instruments
from workbench.errors import InputError
from workbench.judges import prompts, sources
from workbench.runs import inputs, plan
from workbench.runs.parameters import Parameter, read_parameters
from workbench.value_drift import texts

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*/*.ipynb"))
CELL = f"""\
from workbench import {", ".join(kinds.NAMES)}
model: ModelName = "smollm2-135m-instruct"
others: list[ModelName] = []
benchmarks: list[QuestionSource] = ["piqa"]
algorithms: list[AlgorithmName] = ["dpo"]
cases: CaseSource = "nq_human"
choices: list[ChoiceSource] = []
opinions: list[OpinionSource] = []
rows: list[TrainingSource] = ["support"]
template: Template = "pair"
instrument: FileOrName = "wbc24"
data: FilePath | None = None
name: str = "text"
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    write_study(tmp_path, {"first": ["print(1)"]})
    write_notebook(tmp_path / "notebooks/toy/first.ipynb", "print(1)", parameters=CELL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def key(**given: Any) -> str:
    (planned,) = plan("toy", given=given)
    return planned.key


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "smollm2-135m-instrukt"}, ["Unknown model 'smollm2-135m-instrukt'. Did you mean 'smollm2-135m-ins"]),
        ({"model": "./nowhere"}, ["There is no model folder './nowhere'"]),
        ({"model": "none.gguf"}, ["There is no GGUF file 'none.gguf'"]),
        ({"model": "org/name#gone"}, ["There is no file 'gone', which parameter 'model' names"]),
        ({"others": ["org/one", "two"], "model": ""}, ["Unknown model 'two'", "The model has no name"]),
        ({"benchmarks": "piqa,piqua"}, ["Unknown source of questions 'piqua'. Did you mean 'piqa'?"]),
        ({"algorithms": "dpo,ppo"}, ["TRL has no PPO"]),
        ({"algorithms": ["reward", "dop"]}, ["trains no policy", "Did you mean 'dpo'"]),
        ({"algorithms": "dpo:"}, ["'' is not a setting of 'dpo'"]),
        ({"benchmarks": ["gone.csv"], "model": "x"}, ["There is no file 'gone.csv'", "Unknown model 'x'"]),
        ({"cases": "nq_humans"}, ["Unknown source of cases 'nq_humans'. Did you mean 'nq_human'?"]),
        ({"cases": "cases.txt"}, ["Unknown source of cases 'cases.txt'"]),
        ({"cases": "gone.jsonl"}, ["There is no file 'gone.jsonl', which parameter 'cases' names"]),
        ({"choices": ["cdevil=x.csv"]}, ["Unknown source of choices 'cdevil'"]),
        ({"choices": ["cdeval=x.csv"]}, ["There is no file 'x.csv', which parameter 'choices' names"]),
        ({"opinions": ["nothing"]}, ["Unknown source of opinions 'nothing'"]),
        ({"opinions": ["folder:POLPARTY"]}, ["There is no file 'folder'"]),
        ({"rows": ["opose", "x.jsonl"]}, ["Did you mean 'oppose'?", "There is no file 'x.jsonl'"]),
        ({"template": "pear"}, ["Unknown judge template 'pear'. Did you mean 'pair"]),
        ({"instrument": "wbc25"}, ["Unknown name 'wbc25'. Did you mean 'wbc24'?"]),
        ({"data": "gone"}, ["There is no file 'gone', which parameter 'data' names"]),
        ({"data": "a\0b"}, ["There is no file"]),
        (
            {"name": "./studies"},
            ["Parameter 'name' is plain text and contains './studies', which is a path; declare it as"],
        ),
    ],
)
def test_unknown_names_and_paths_are_refused_by_the_plan(toy: Path, given: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        plan("toy", given=given)
    assert [sentence for sentence in said if sentence not in str(refused.value)] == []


@pytest.mark.parametrize(
    "text", ["tuned", "base#1#adapter", "./x#adapter", "cdeval=mine.csv", "a, mine.csv ", "x:mine.csv"]
)
def test_plain_text_that_names_a_model_or_holds_a_path_is_refused(toy: Path, text: str) -> None:
    everything(toy)
    with pytest.raises(
        InputError, match=r"Parameter 'name' is plain text and contains '.*', which is a path; declare it"
    ):
        key(name=text)
    assert key(name="several") != key(name="a: b, c=d#e; f.g")


def test_folders_behind_links_are_read_too(toy: Path) -> None:
    everything(toy)
    (toy / "several/link").symlink_to(toy / "human_resp")
    before = key(data="several")
    (toy / "human_resp/American_Trends_Panel_W26/info.csv").write_text("b")
    assert key(data="several") != before


def test_names_that_may_be_right_pass_and_the_hub_is_not_asked(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was used"))
    (toy / "mine.csv").touch()
    (toy / "model.gguf").touch()
    for name in ("folder", "adapter"):
        (toy / name).mkdir()
        (toy / name / "config.json").write_text("{}")
    for model in ("org/name", "org/name@main", "./folder", "folder", "model.gguf", "folder#adapter", "vllm://host:1/m"):
        plan("toy", given={"model": model, "benchmarks": ["hub:arc_easy", "arc_easy", "mine.csv"]})
    (toy / "sub").mkdir()
    (toy / "sub/other.csv").touch()
    plan("toy", given={"benchmarks": "other.csv"}, here=toy / "sub")
    plan("toy", given={"name": "a/b and c.d"})


def test_the_command_line_says_it_once(call: Callable[..., int], toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "toy", "-p", "model=smol") == call("run", "toy", "-p", "model=smol") == 2
    captured = capsys.readouterr()
    assert captured.err.count("Unknown model 'smol'") == captured.err.count("\n") == 2 and captured.out == ""


@pytest.mark.parametrize(
    "address", ["https://user:sk-secret@host/v1/N", "http://host/v1/N?api_key=sk-secret", "vllm://sk-secret@h/n"]
)
def test_a_key_in_an_address_of_any_scheme_is_refused_by_the_plan_and_not_repeated(toy: Path, address: str) -> None:
    with pytest.raises(InputError) as refused:
        plan("toy", given={"model": address})
    assert "address" in str(refused.value) and "sk-secret" not in str(refused.value)


def model_folder(folder: Path) -> None:
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        (folder / name).write_text("{}")


def wave(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("info.csv", "responses.csv", "metadata.csv"):
        (folder / name).write_text("a")


def everything(toy: Path) -> None:
    """One of all that a parameter can name."""
    model_folder(toy / "base#1")
    model_folder(toy / "tuned")
    (toy / "adapter").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (toy / "adapter" / name).write_text("{}")
    for part in (1, 2):
        (toy / f"m-0000{part}-of-00002.gguf").write_text("x")
    for name in ("mine.csv", "cases.jsonl", "pairs.jsonl", "own.txt", "survey", "choice.data", "x#y.csv", "plain"):
        (toy / name).write_text("x")
    wave(toy / "human_resp/American_Trends_Panel_W26")
    (toy / "several/deep").mkdir(parents=True)
    (toy / "several/deep/part.bin").write_text("x")


READ: list[tuple[str, Any, str]] = [
    ("model", "tuned", "tuned/model.safetensors"),
    ("model", "tuned", "tuned/chat_template.jinja"),
    ("model", "./tuned", "tuned/generation_config.json"),
    ("model", "base#1", "base#1/tokenizer.json"),
    ("model", "base#1#adapter", "base#1/model.safetensors"),
    ("model", "base#1#adapter", "adapter/adapter_model.safetensors"),
    ("model", "smollm2-135m-instruct#adapter", "adapter/adapter_config.json"),
    ("model", "org/name#adapter", "adapter/adapter_model.safetensors"),
    ("model", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf"),
    ("model", "vllm://h:1/n?tokenizer=tuned&timeout=3", "tuned/tokenizer.json"),
    ("model", "vllm://h:1/n?check_against=base%231%23adapter", "adapter/adapter_model.safetensors"),
    ("others", ["org/name", "tuned"], "tuned/config.json"),
    ("benchmarks", ["piqa", "mine.csv"], "mine.csv"),
    ("benchmarks", ["x#y.csv"], "x#y.csv"),
    ("cases", "cases.jsonl", "cases.jsonl"),
    ("choices", ["cdeval=choice.data"], "choice.data"),
    ("opinions", ["human_resp:POLPARTY"], "human_resp/American_Trends_Panel_W26/responses.csv"),
    ("opinions", ["human_resp:POLPARTY"], "human_resp/American_Trends_Panel_W26/info.csv"),
    ("opinions", ["human_resp:POLPARTY"], "human_resp/American_Trends_Panel_W26/metadata.csv"),
    ("rows", ["support", "pairs.jsonl"], "pairs.jsonl"),
    ("template", "own.txt", "own.txt"),
    ("template", "plain", "plain"),
    ("instrument", "survey", "survey"),
    ("data", "x#y.csv", "x#y.csv"),
    ("data", "plain", "plain"),
    ("data", "several", "several/deep/part.bin"),
]


@pytest.mark.parametrize(("name", "value", "file"), READ, ids=[f"{name}-{file}" for name, _, file in READ])
def test_one_byte_of_any_file_that_is_read_makes_another_key(toy: Path, name: str, value: Any, file: str) -> None:
    everything(toy)
    (toy / "tuned/README.md").write_text("x")
    before = key(**{name: value})
    assert key(**{name: value}) == before
    (toy / "tuned/README.md").write_text("y")
    (toy / "human_resp/notes.txt").write_text("y")
    (toy / "unrelated.csv").write_text("y")
    assert key(**{name: value}) == before
    content = bytearray((toy / file).read_bytes())
    content[0] ^= 1
    (toy / file).write_bytes(content)
    changed = key(**{name: value})
    assert changed != before
    content[0] ^= 1
    (toy / file).write_bytes(content)
    assert key(**{name: value}) == before


def test_a_file_that_is_added_to_what_is_read_makes_another_key(toy: Path) -> None:
    everything(toy)
    given = {"model": "tuned", "data": "several", "opinions": ["human_resp:POLPARTY"]}
    seen = {key(**given)}
    for made in ("tuned/added_tokens.json", "several/more", "human_resp/American_Trends_Panel_W26/metadata.csv"):
        path = toy / made
        path.unlink() if path.exists() else path.write_text("{}")
        seen.add(key(**given))
    assert len(seen) == 4


def test_defaults_and_profiles_count_too(toy: Path) -> None:
    (toy / "d.csv").write_text("1")
    write_notebook(
        toy / "notebooks/toy/first.ipynb",
        parameters='from workbench import FilePath\ndata: FilePath = "d.csv"\nmore: FilePath | None = None',
    )
    (toy / "e.csv").write_text("1")
    (toy / "mine.yaml").write_text(
        "notebooks: [toy/first]\nprofiles: {default: {more: e.csv}}\nmatrix: {data: [d.csv]}"
    )
    keys = []
    for changed in ("", "d.csv", "e.csv"):
        if changed:
            (toy / changed).write_text("2")
        keys.append((key(), plan("mine.yaml")[0].key))
    (one, mine), (two, mine_two), (three, mine_three) = keys
    assert one != two == three and len({mine, mine_two, mine_three}) == 3


def test_a_file_with_a_comma_in_its_name_is_told_how_to_be_written(toy: Path) -> None:
    (toy / "my items, v2.csv").write_text("question\nx\n")
    with pytest.raises(
        InputError, match=r"'my items, v2.csv' is one file, .*: write -p benchmarks=\"\['my items, v2.c"
    ):
        key(benchmarks="my items, v2.csv")
    assert key(benchmarks="['my items, v2.csv']")


def test_a_large_file_is_hashed_whole(toy: Path) -> None:
    path = toy / "large.bin"
    with path.open("wb") as file:
        file.truncate(70_000_000)
    before, stat = key(data="large.bin"), path.stat()
    with path.open("r+b") as file:
        file.seek(69_000_000)
        file.write(b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert key(data="large.bin") != before


def test_what_is_no_regular_file_is_one_sentence(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(toy / "pipe")
    with pytest.raises(InputError, match=r"Parameter 'data': .*pipe is a pipe or a device, not a file"):
        key(data="pipe")
    (toy / "odd").mkdir()
    (toy / "odd/gone").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"Parameter 'data': .*odd/gone does not exist"):
        key(data="odd")
    (toy / "file").touch()
    opened = os.open

    def refused(path: Any, *more: Any) -> int:
        if str(path).endswith("file"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *more)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InputError, match=r"Parameter 'data': .*file cannot be read: this user has no permission"):
        key(data="file")


def test_a_link_to_a_folder_around_it_is_not_followed(toy: Path) -> None:
    (toy / "d").mkdir()
    (toy / "d/x").touch()
    (toy / "d/own").symlink_to(".", target_is_directory=True)
    (toy / "d/e").mkdir()
    (toy / "d/e/up").symlink_to("..", target_is_directory=True)
    assert inputs._all_files(toy / "d") == [toy / "d/x"]


def test_a_folder_too_large_to_look_at_is_refused(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything(toy)
    monkeypatch.setattr(inputs, "MOST_FILES", 2)
    with pytest.raises(InputError, match="contains more than 2 files; name the folder of what is read"):
        key(data=".")


def test_a_hub_name_counts_with_the_commit_in_the_cache(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(toy / "hub"))
    before = key(model="org/name")
    refs = toy / "hub/models--org--name/refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("1" * 40)
    first = key(model="org/name")
    (refs / "main").write_text("2" * 40)
    assert len({before, first, key(model="org/name")}) == 3
    pinned = "org/name@" + "1" * 40
    unmoved = key(model=pinned)
    (refs / "main").write_text("3" * 40)
    assert key(model=pinned) == unmoved


def test_relative_paths_start_from_the_users_folder(toy: Path, tmp_path: Path) -> None:
    here = toy / "elsewhere"
    here.mkdir()
    everything(here)
    given = {
        "model": "base#1#adapter",
        "others": ["tuned", "org/name#adapter", "vllm://h:1/n?tokenizer=./tuned&timeout=3"],
        "choices": ["cdeval=choice.data"],
        "opinions": ["human_resp:POLPARTY", "global_opinions"],
        "template": "plain",
        "data": "x#y.csv",
        "name": "plain",
    }
    (planned,) = plan("toy", given=given, here=here)
    assert planned.parameters_given == {
        "model": f"{here}/base#1#{here}/adapter",
        "others": [f"{here}/tuned", f"org/name#{here}/adapter", f"vllm://h:1/n?tokenizer={here}/tuned&timeout=3"],
        "choices": [f"cdeval={here}/choice.data"],
        "opinions": [f"{here}/human_resp:POLPARTY", "global_opinions"],
        "template": f"{here}/plain",
        "data": f"{here}/x#y.csv",
        "name": "plain",
    }
    assert {name.partition("/")[0] for name in planned.files} == {"elsewhere"}
    everything(toy)
    assert plan("toy", given={"data": "plain"}, here=toy)[0].parameters_given == {"data": "plain"}


def test_a_home_folder_is_followed(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(toy))
    (toy / "mine.csv").write_text("1")
    before = key(data="~/mine.csv")
    (toy / "mine.csv").write_text("2")
    assert key(data="~/mine.csv") != before


def test_two_kinds_in_one_parameter_and_unknown_kinds_are_refused(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "n.ipynb", parameters='a: FilePat = "x"')
    with pytest.raises(InputError, match="FilePath"):
        read_parameters(notebook)
    assert Parameter("a", "list[ModelName] | None", None).kind == "ModelName"
    assert Parameter("a", "Literal['FilePath']", "FilePath").kind == ""


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[set[str]]:
    """The files below `tmp_path` that Python code opens."""
    paths: set[str] = set()
    active = True

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if active and event == "open" and isinstance(given[0], str | Path) and str(given[0]).startswith(str(tmp_path)):
            paths.add(str(given[0]))

    sys.addaudithook(hook)
    yield paths
    active = False


def test_what_is_listed_is_what_is_read(tmp_path: Path, opened: set[str]) -> None:
    """The readers themselves, on files of every kind: what they open is what the key is made of."""
    from workbench.datasets.benchmarks import load_questions

    files = {
        "q.csv": "question,correct,wrong\nWhat is 1 + 1?,2,3\n",
        "cases.csv": "question,answer_a,answer_b,preferred\nQ?,x,y,A\n",
        "rows.jsonl": json.dumps({"prompt": "p", "chosen": "c", "rejected": "r"}) + "\n",
        "own.txt": "kind: pairwise\nlabels: {A: 1, B: -1}\n---\n{question} {answer_a} {answer_b}\n---\nAnswer:\n",
        "items.csv": "text\nI agree.\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    read: dict[str, tuple[Callable[[str], Any], str]] = {
        "q.csv": (load_questions, "QuestionSource"),
        "cases.csv": (sources.load_cases, "CaseSource"),
        "rows.jsonl": (texts.training_rows, "TrainingSource"),
        "own.txt": (prompts.load_template, "Template"),
        "items.csv": (instruments.load_instrument, "FileOrName"),
    }
    for name, (reader, kind) in read.items():
        opened.clear()
        reader(str(tmp_path / name))
        seen = set(opened)
        parameter = Parameter("p", kind, None)
        assert seen == {str(tmp_path / n) for n in inputs.digests([parameter], {"p": str(tmp_path / name)}, tmp_path)}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_every_parameter_that_is_read_as_a_file_or_a_name_says_so(notebook: Path) -> None:
    """Bare text is for what is text: nothing whose help or use speaks of files, models or sets."""
    opened = nbformat.read(notebook, as_version=4)
    code = "\n".join(c.source for c in opened.cells if c.cell_type == "code" and "parameters" not in str(c.metadata))
    for parameter in read_parameters(notebook):
        if parameter.kind or not re.search(r"\bstr\b", parameter.annotation):
            continue
        speaks = re.search(r"\b(paths?|files?|folders?|CSV|JSONL|your own|hub|models?)\b", parameter.help)
        assert not speaks or parameter.name in ("device", "dtype", "subset", "controls"), (
            f"{parameter.name}: {parameter.help}"
        )
        reads = rf"load_\w+\({parameter.name}\b|\b(read_\w+|Path|open)\({parameter.name}\b|in {parameter.name}\]"
        given = [hit[0] for hit in re.finditer(reads, code) if hit[0].startswith(("load_", "read_", "Path", "open"))]
        assert not given, f"{parameter.name} is read by {given}"


def test_every_notebook_can_be_planned_and_its_kinds_hold(cache: Path) -> None:
    planned = [one for profile in ("quick", "default", "paper") for one in plan("all", profile)]
    assert {one.path for one in planned} == set(NOTEBOOKS)
    every = [*NOTEBOOKS, ROOT / "notebooks" / "comparison.ipynb"]
    declared = {parameter.kind for path in every for parameter in read_parameters(path)}
    assert declared - {""} == set(kinds.NAMES) == set(inputs.READERS)
