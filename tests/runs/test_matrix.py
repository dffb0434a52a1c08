from __future__ import annotations

import os
from pathlib import Path

import pytest
from toys import write_notebook, write_study

from workbench.errors import InputError
from workbench.runs.keys import from_here, key_of
from workbench.runs.matrix import Matrix
from workbench.runs.studies import load_study, plan

HEAD = "notebooks: [first, second]\nprofiles: {default: {}, quick: {n: 1, matrix: {n: [7]}}}\n"


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_study(tmp_path, {"first": ["print(n)"]})
    write_notebook(tmp_path / "notebooks/toy/second.ipynb", parameters='model: str = "m"\nseed: int = 0')
    monkeypatch.chdir(tmp_path)
    return tmp_path / "studies" / "toy.yaml"


def cells(profile: str = "default", **given: object) -> list[tuple[str, dict[str, object]]]:
    return [(planned.notebook, planned.cell) for planned in plan("toy", profile, given)]


def test_axes_multiply_what_declares_them_one_model_together(study: Path) -> None:
    study.write_text(HEAD + "matrix: {seed: [0, 1], model: [a, b], n: [3, 4]}\n")
    found = cells()
    assert [cell for name, cell in found if name == "first"] == [{"n": 3}, {"n": 4}]
    models = [cell["model"] for name, cell in found if name == "second"]
    assert models == ["a", "a", "b", "b"]
    assert len({planned.key for planned in plan("toy")}) == 6


def test_include_adds_and_exclude_leaves_out(study: Path) -> None:
    study.write_text(
        HEAD + "matrix: {model: [a, b], seed: [0, 1], exclude: [{model: a, seed: 1}, {model: b}],"
        " include: [{model: c, seed: 5, how: b}]}\n"
    )
    assert cells() == [("first", {}), ("second", {"model": "a", "seed": 0}), ("first", {"how": "b"}),
                       ("second", {"model": "c", "seed": 5})]  # fmt: skip
    assert plan("toy")[-1].parameters_given == {"model": "c", "seed": 5}


def test_a_profile_has_a_matrix_of_its_own_and_values_under_it(study: Path) -> None:
    study.write_text(HEAD + "matrix: {seed: [0, 1]}\n")
    assert ("first", {"n": 7}) in cells("quick") and len(cells("quick")) == 2
    assert plan("toy", "quick")[0].parameters_given == {"n": 7}


def test_what_the_user_sets_varies_no_more(study: Path) -> None:
    study.write_text(HEAD + "matrix: {seed: [0, 1], model: [a, b]}\n")
    assert [cell for name, cell in cells(seed="9") if name == "second"] == [{"model": "a"}, {"model": "b"}]


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ("[a]", "'matrix' must be a mapping"),
        ("{seed: 3}", "the matrix gives 'seed' no list of values; write seed: [value, ...]"),
        ("{seed: []}", "no list of values"),
        ("{exclude: 3}", "no list of cells; write exclude: [{parameter: value}, ...]"),
        ("{include: [3]}", "'include' of the matrix must be a list of mappings"),
        ("{sed: [1]}", "Unknown parameter 'sed' in the matrix of study 'toy'. Did you mean 'seed'?"),
        ("{seed: [x]}", "Parameter 'seed' must be int, not 'x'"),
        ("{seed: [1], exclude: [{seed: 1}]}", "excludes all its cells"),
    ],
)
def test_a_malformed_matrix_is_one_sentence(study: Path, matrix: str, said: str) -> None:
    study.write_text(HEAD + f"matrix: {matrix}\n")
    with pytest.raises(InputError) as caught:
        plan("toy")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_numbers_and_truth_are_told_apart_in_exclude() -> None:
    matrix = Matrix({"x": [0, False, 1]}, exclude=({"x": False},))
    assert [repr(cell["x"]) for cell in matrix.cells(set())] == ["0", "1"]


def test_a_study_that_is_not_text_is_one_sentence(study: Path) -> None:
    study.write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(InputError, match="is not YAML"):
        load_study("toy")


def test_relative_paths_start_from_the_users_folder(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "elsewhere"
    (here / "data").mkdir(parents=True)
    (here / "items.csv").touch()
    (here / "plain").touch()
    named = {"items.csv": str(here / "items.csv"), "data/": str(here / "data"), "plain": "plain"}
    named |= {"org/name": "org/name", "./data#adapter": f"{here / 'data'}#adapter", "none.csv": "none.csv"}
    assert {text: from_here(text, here) for text in named} == named
    assert from_here(["items.csv", 3], here) == [str(here / "items.csv"), 3]
    planned = plan("toy", given={"name": "items.csv"}, notebook="first", here=here)[0]
    assert planned.parameters_given == {"name": str(here / "items.csv")}
    assert plan("toy", given={"name": "items.csv"}, notebook="first", here=tmp_path)[0].parameters_given == {
        "name": "items.csv"
    }
    assert not os.path.isabs(str(plan("toy", given={"name": "plain"}, here=here)[0].parameters_given["name"]))


def test_the_address_of_a_server_survives_with_its_paths_made_absolute(tmp_path):
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text("{}")
    address = "vllm://127.0.0.1:8000/a/b?tokenizer=./tok&check_against=./tok#./gone&timeout=3"
    absolute = from_here(address, tmp_path)
    assert (
        absolute == f"vllm://127.0.0.1:8000/a/b?tokenizer={tmp_path}/tok&check_against={tmp_path}/tok#./gone&timeout=3"
    )
    assert from_here("vllm://h:1/n?tokenizer=owner/name", tmp_path) == "vllm://h:1/n?tokenizer=owner/name"
    notebook = write_notebook(tmp_path / "n.ipynb", "pass")
    before = key_of(notebook, "s/n", {"model": absolute}, tmp_path)
    assert before == key_of(notebook, "s/n", {"model": absolute}, tmp_path)
    (tmp_path / "tok" / "tokenizer.json").write_text("{ }")
    assert before != key_of(notebook, "s/n", {"model": absolute}, tmp_path)


def test_a_key_in_an_address_is_refused_before_anything_is_written(tmp_path):
    notebook = write_notebook(tmp_path / "n.ipynb", "pass")
    with pytest.raises(InputError, match="holds no user or key") as caught:
        key_of(notebook, "s/n", {"models": ["vllm://secret@h/n"]}, tmp_path)
    assert "secret" not in str(caught.value)
