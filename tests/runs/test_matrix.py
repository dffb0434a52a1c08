from __future__ import annotations

import re
from pathlib import Path

import pytest
from toys import write_notebook, write_study

from workbench.errors import InputError
from workbench.runs.studies import Matrix, load_study, plan

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
    planned = cells()
    assert [cell for name, cell in planned if name == "first"] == [{"n": 3}, {"n": 4}]
    models = [cell["model"] for name, cell in planned if name == "second"]
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
        ("{seed: 3}", "'seed' of the matrix must be a list of values; write seed: [value, ...]"),
        ("{seed: []}", "must be a list of values"),
        ("{exclude: 3}", "'exclude' of the matrix must be a list of cells; write exclude: [{parameter: value}, ...]"),
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
    with pytest.raises(InputError, match="is UTF-16 text; save it as UTF-8"):
        load_study("toy")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "matrix: {n: [%s], name: [%s]}",
            "has 9000000 cells, more than 5,000; take values out of n, name, or write mo",
        ),
        ("matrix: {n: [%s], name: [x]}\nmost_cells: 2", "has 3000 cells, more than 2"),
        ("most_cells: x", "'most_cells' must be a whole number above 0"),
        ("matrix: {n: &a [1, 2], name: *b}", "line 3, is not well-formed YAML"),
    ],
)
def test_cells_are_counted_before_they_are_made(study: Path, more: str, said: str) -> None:
    values = ",".join(map(str, range(3000)))
    lines = "notebooks: [first]\nprofiles: {default: {}}\n" + more.replace("%s", values)
    study.write_text(lines)
    with pytest.raises(InputError, match=re.escape(said)):
        plan("toy")


@pytest.mark.parametrize(
    "name", ["..", "../x", "/etc/x", "a/b/c", "con", "toy/NUL.x", "", "a\\x00b", "\\x1b[2J", "x" * 101]
)
def test_a_notebook_is_named_by_a_plain_name(study: Path, name: str) -> None:
    study.write_text(f'notebooks: ["{name}"]\nprofiles: {{default: {{}}}}')
    with pytest.raises(InputError, match="cannot name a notebook; write NAME or STUDY/NAME"):
        plan("toy")
