from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from toys import write_notebook, write_study

from workbench.errors import InputError
from workbench.runs import parameters_form, plan
from workbench.runs.parameters import Parameter, check, open_notebook, read_parameters, title_of

CELL = """\
from typing import Literal

model: str = "a#b = c"  # a name, a hub id
ids: list[str] = [
    "x",  # inner
    "y",
]  # of items
folder: str | None = (
    None  # in brackets, as a formatter breaks the line
)
grid: list[list[int]] = [[1, 2], [3]]
limit: int | None = None
share: float = -0.5
label: "str | None" = None
how: Literal["none", "tokens"] = "none"
chat: bool = True
"""
FORM_CELL = """\
from typing import Literal
n: int | None = 3  # how many
seed: int = 0
share: float = 0.5
names: list[str] = ["a", "b, c"]
grid: list[list[int]] = [[1, 2]]
label: str | None = None
how: Literal["a", "b"] = "a"
chat: bool = False
"""


def read(tmp_path: Path, cell: str | None) -> list[Parameter]:
    return read_parameters(write_notebook(tmp_path / "n.ipynb", "print(1)", parameters=cell))


def test_reads_names_types_defaults_and_help(tmp_path: Path) -> None:
    declared = {p.name: p for p in read(tmp_path, CELL)}
    assert declared["model"] == Parameter("model", "str", "a#b = c", "a name, a hub id")
    assert declared["ids"] == Parameter("ids", "list[str]", ["x", "y"], "of items")
    assert declared["grid"].default == [[1, 2], [3]]
    assert (declared["share"].default, declared["chat"].default) == (-0.5, True)
    assert declared["folder"].help == "in brackets, as a formatter breaks the line"
    assert list(declared) == ["model", "ids", "folder", "grid", "limit", "share", "label", "how", "chat"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("model", "007", "007"),
        ("model", "true", "true"),
        ("label", "none", None),
        ("label", "None!", "None!"),
        ("limit", "none", None),
        ("limit", "12", 12),
        ("share", "1", 1.0),
        ("share", "1e-3", 0.001),
        ("chat", "no", False),
        ("how", "tokens", "tokens"),
        ("how", "none", "none"),
        ("ids", "007, b", ["007", "b"]),
        ("ids", "[007, 'b, c', org/model@main]", ["007", "b, c", "org/model@main"]),
        ("ids", "", []),
        ("grid", "[[1, 2], []]", [[1, 2], []]),
    ],
)
def test_text_is_read_by_the_declared_type(tmp_path: Path, name: str, text: str, value: object) -> None:
    read_value = check(read(tmp_path, CELL), {name: text}, "here")[name]
    assert read_value == value
    assert type(read_value) is type(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "1.5"),
        ("limit", 1.0),
        ("limit", True),
        ("share", "nan"),
        ("share", float("inf")),
        ("chat", "maybe"),
        ("chat", 1),
        ("how", "chars"),
        ("ids", ["a", 1]),
        ("ids", "[a"),
        ("grid", "[[a]]"),
        ("model", None),
    ],
)
def test_an_unfit_value_is_refused(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"Parameter '{name}' must be"):
        check(read(tmp_path, CELL), {name: value}, "here")


def test_all_violations_come_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        check(read(tmp_path, CELL), {"modle": "x", "limit": "x", "chat": 3}, "the profile")
    message = str(caught.value)
    assert "Did you mean 'model'?" in message
    assert "'limit' must be int | None, not 'x'" in message
    assert "'chat' must be bool" in message
    assert message.startswith("In the profile: ")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, "no cells tagged 'parameters'"),
        ("n = 3", "write it as 'name: type = default"),
        ("n: int = 2 + x", "which is not a literal int"),
        ("n: int = '3'", "which is not a literal int"),
        ("n: complex = 3", "which is none of"),
        ("n: dict[str, int] = {}", "which is none of"),
        ("n: int = 1\nn: int = 2", "declares n twice"),
        ("%matplotlib inline", "is not Python"),
        ("n: int = (", "is not Python"),
        ("for i in []: pass", "write it as"),
    ],
)
def test_a_parameters_cell_that_cannot_be_read(tmp_path: Path, cell: str | None, said: str) -> None:
    with pytest.raises(InputError, match=r"n\.ipynb") as caught:
        read(tmp_path, cell)
    assert said in str(caught.value)


def test_two_tagged_cells(tmp_path: Path) -> None:
    cells = [new_code_cell("n: int = 1", metadata={"tags": ["parameters"]}) for _ in range(2)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    with pytest.raises(InputError, match="2 cells tagged 'parameters'; tag exactly one"):
        read_parameters(tmp_path / "n.ipynb")


@pytest.mark.parametrize("content", ["", "not json", "{}", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5}'])
def test_a_malformed_notebook_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "n.ipynb").write_text(content)
    with pytest.raises(InputError, match=r"n\.ipynb(, line 1,)? is not (JSON|a Jupyter notebook)"):
        read_parameters(tmp_path / "n.ipynb")


def test_a_missing_notebook(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no notebook"):
        read_parameters(tmp_path / "n.ipynb")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}, "is for the kernel 'ir', which runs R"),
        ({"language_info": {"name": "julia"}}, "is for the kernel None, which runs julia; only Python can be run"),
        ({"kernelspec": {"name": "my-env", "display_name": "My environment"}}, ""),
    ],
)
def test_a_notebook_of_another_language(tmp_path: Path, metadata: dict[str, dict[str, str]], said: str) -> None:
    cell = new_code_cell("n: int = 1", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell], metadata=metadata), tmp_path / "n.ipynb")
    if said:
        with pytest.raises(InputError, match=said):
            read_parameters(tmp_path / "n.ipynb")
    else:  # whatever its kernel is called, this interpreter runs it
        assert [p.name for p in read_parameters(tmp_path / "n.ipynb")] == ["n"]


def test_an_untouched_form_gives_nothing_and_a_filled_one_checked_values(tmp_path: Path) -> None:
    form = parameters_form(write_notebook(tmp_path / "n.ipynb", parameters=FORM_CELL))
    assert form.values == {}
    changes = {"n": "none", "seed": 7, "share": "1e-3", "names": "007, x", "label": "007", "how": "b", "chat": True}
    for name, value in changes.items():
        form.fields[name].value = value
    assert form.values == {"n": None, "seed": 7, "share": 0.001, "names": ["007", "x"], "label": "007", "how": "b",
                           "chat": True}  # fmt: skip
    form.fields["grid"].value, form.fields["n"].value = "[[x]]", "many"
    with pytest.raises(InputError, match=r"In the form of n: Parameter 'n' must be .*; Parameter 'grid' must be"):
        form.values  # noqa: B018


def test_it_shows_as_widgets_in_lab_and_as_text_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, {"first": ["print(n)"]})
    monkeypatch.chdir(tmp_path)
    form = parameters_form("toy/first")
    assert "application/vnd.jupyter.widget-view+json" in form._repr_mimebundle_()
    assert repr(form).splitlines()[:2] == ["Parameters of first", "  n: int = 3"]
    form.fields["n"].value = 9
    assert plan("toy", given=form.values)[0].parameters_given == {"n": 9}


@pytest.mark.parametrize(
    "line",
    [
        "n: int = " + "(" * 500 + "1" + ")" * 500,
        "n: str = " + "'a' + " * 2000 + "'b'",
        "n: " + "int | " * 800 + "int = 1",
        "n: Literal[()] = 1",
        "n: Literal[1.5] = 1.5",
        "n: int = 0x" + "f" * 5000,
        "n: str = '\\ud800'",
        "n: int = {[]: 1}",
        "n: int = 1\x00",
        "n: int = 1" + " " * 200_000,
    ],
    ids=lambda line: line[:20],
)
def test_odd_python_in_the_parameters_is_one_sentence(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match=r"The parameters cell of .*n\.ipynb"):
        read_parameters(write_notebook(tmp_path / "n.ipynb", parameters=line))


@pytest.mark.parametrize(
    ("source", "title", "question"),
    [
        ("# A *title*\n\n*Is it so?*\n\nText *in* italics.", "A *title*", "Is it so?"),
        ("# A title\n\nText *in italics*", "A title", ""),
        ("# A title\n\n**Bold**", "A title", ""),
        ("No title\n\n# Later", "", ""),
    ],
)
def test_the_title_and_the_question_of_a_notebook(source: str, title: str, question: str) -> None:
    cells = [new_code_cell("1"), new_markdown_cell(source)]
    assert title_of(new_notebook(cells=cells)) == (title, question)


@pytest.mark.parametrize(
    "metadata",
    [{}, {"kernelspec": {"name": "python3"}}, {"kernelspec": {}}, {"kernelspec": None}, {"language_info": {}}],
    ids=str,
)
def test_a_notebook_of_another_tool_may_lack_what_no_run_needs(
    tmp_path: Path, metadata: dict[str, object], recwarn: pytest.WarningsRecorder
) -> None:
    """Without names for people, ids of cells, outputs and counts, as converters and scripts write it."""
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "n: int = 3"}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": [cell, {**cell, "metadata": {}}]}
    (tmp_path / "n.ipynb").write_text(json.dumps(content))
    assert read_parameters(tmp_path / "n.ipynb") == [Parameter("n", "int", 3)]
    assert nbformat.validate(open_notebook(tmp_path / "n.ipynb")) is None and not recwarn
