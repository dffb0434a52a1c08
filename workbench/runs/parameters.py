"""The typed parameters of a notebook, read from its `parameters` cell without running it, and a form for them."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import tokenize
import types
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from workbench import kinds
from workbench.errors import InputError, one_line, shown, unknown
from workbench.files import root
from workbench.reading import parse_json, parse_yaml, printable, read_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

SIMPLE: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, **dict.fromkeys(kinds.NAMES, str)}
LONGEST_CELL = 100_000
"""Characters of a parameters cell."""
TITLE = re.compile(r"\s*# (.+)(?:\n\s*\n\*([^*].*[^*])\*[ \t]*(?:\n\s*\n|\s*\Z))?")
"""Title of a notebook and its question."""
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One `name: annotation = default  # help` line of the parameters cell."""

    name: str
    """Name in the notebook."""
    annotation: str
    """The declared type, as written: `int`, `FilePath | None`, `list[ModelName]`, `Literal['a', 'b']` ..."""
    default: Any
    """Default value."""
    help: str = ""
    """The comment at the end of the line."""

    @property
    def kind(self) -> str:
        """How its text is read, a name of `workbench.kinds`; "" for plain text and for other types."""
        names = (node.id for node in ast.walk(ast.parse(self.annotation)) if isinstance(node, ast.Name))
        return next((name for name in names if name in kinds.NAMES), "")


def read_parameters(notebook: Path) -> list[Parameter]:
    """Return the parameters that a notebook declares, in order.

    Raises:
        InputError: If the file is not a Python notebook, has not exactly one cell tagged `parameters`, or this cell
            contains anything but annotated assignments of literals.
    """
    opened, where = open_notebook(notebook), f"The parameters cell of {notebook}"
    kernel = opened.metadata.get("kernelspec", {})
    language = kernel.get("language") or opened.metadata.get("language_info", {}).get("name") or "python"
    if str(language).lower() != "python":  # a Python kernel of any name is run by this interpreter
        raise InputError(
            f"{notebook} is for the kernel {shown(kernel.get('name'))}, which runs {language}; only Python can be run."
        )
    cells = [c for c in opened.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise InputError(f"{notebook} has {len(cells) or 'no'} cells tagged 'parameters'; tag exactly one.")
    source = cells[0].source
    if len(source) > LONGEST_CELL:
        raise InputError(f"{where} has more than {LONGEST_CELL:,} characters; leave only the parameters in it.")
    try:
        tree, comments = ast.parse(source), _comments(source)
        declared = [node for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))]
        parameters = [_parameter(node, comments, where) for node in declared]
    except InputError:
        raise
    except (SyntaxError, tokenize.TokenError, ValueError) as error:
        raise InputError(f"{where} is not Python: {error}.") from error
    except (RecursionError, MemoryError):  # what Python's parser raises for deeply nested expressions
        raise InputError(
            f"{where} contains an expression that is nested too deeply; write it as one literal."
        ) from None
    if twice := [name for name, n in Counter(p.name for p in parameters).items() if n > 1]:
        raise InputError(f"{where} declares {', '.join(twice)} twice; keep one.")
    return parameters


def open_notebook(path: Path) -> NotebookNode:
    """Return the notebook in a file, in the current format.

    What the format requires, other tools leave out, and no run needs is filled in, or left out where it is malformed.

    Raises:
        InputError: If there is no such file, or it is not a notebook.
    """
    import nbformat

    if not os.path.exists(path):
        raise InputError(f"There is no notebook {path}; check the name.")
    text = read_text(path)
    parse_json(text, str(path), strict=False)
    try:
        opened = nbformat.convert(_completed(nbformat.reader.reads(text)), to_version=4)
        with warnings.catch_warnings(action="ignore"):  # of missing and repeated ids of cells, which it replaces
            _, opened = nbformat.validator.normalize(opened, relax_add_props=True, strip_invalid_metadata=True)
        nbformat.validate(opened, relax_add_props=True)
        return opened
    except Exception as error:  # nbformat's errors have no common base
        raise InputError(
            f"{path} is not a Jupyter notebook ({one_line(error, 200)}); open it in JupyterLab and save it again."
        ) from None


def title_of(notebook: NotebookNode) -> tuple[str, str]:
    """Return a notebook's title and the question below it, a paragraph in italics, as plain text; "" where none is."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    match = TITLE.match(next(texts, ""))
    return (printable(match[1].strip(), 300), printable((match[2] or "").strip(), 600)) if match else ("", "")


def _completed(notebook: NotebookNode) -> NotebookNode:
    metadata = notebook.setdefault("metadata", {})
    if "kernelspec" in metadata:
        kernel = metadata["kernelspec"] or {}
        metadata["kernelspec"] = {"name": "python3", "display_name": kernel.get("name", "Python 3"), **kernel}
    for cell in notebook.get("cells", []):
        cell.setdefault("metadata", {})
        if cell.get("cell_type") == "code":
            cell.setdefault("outputs", [])
            cell.setdefault("execution_count", None)
    return notebook


def check(parameters: list[Parameter], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values, strictly checked against the declared types.

    Text is read as on the command line: `"10"` as an `int`, `"a,b"` as a `list[str]`.

    Args:
        parameters: The notebook's parameters.
        values: Name -> value, of any subset of the parameters.
        where: Source of the values, named in the error.

    Raises:
        InputError: Naming every unknown parameter and every unfit value.
    """
    declared = {p.name: p for p in parameters}
    checked, wrong = {}, []
    for name, value in values.items():
        if name not in declared:
            wrong.append(str(unknown("parameter", name, list(declared))).removesuffix("."))
            continue
        try:
            kind = type_of(declared[name].annotation)
            checked[name] = _strict(kind, _read(kind, value) if isinstance(value, str) else value)
        except ValueError:
            wrong.append(f"Parameter {name!r} must be {described(declared[name].annotation)}, not {shown(value)}")
    if wrong:
        raise InputError(f"In {where}: " + "; ".join(wrong) + ".")
    return checked


def check_declared(names: Mapping[str, Any]) -> None:
    """Refuse values of annotated names that are not of the annotated type, where it is one that a parameter can have.

    Args:
        names: The namespace of a notebook.

    Raises:
        InputError: Naming every unfit value.
    """
    wrong = []
    lazy = names.get("__annotate__")  # of Python 3.14: a function of the last cell with annotations
    for name, kind in (names.get("__annotations__") or (lazy(1) if lazy else {})).items():
        if name in names and _is_declarable(kind):
            try:
                _strict(kind, names[name])
            except ValueError:
                origin: Any = get_origin(kind)
                shape = kind.__name__ if origin is None and isinstance(kind, type) else kind
                hint = f"; write [{names[name]!r}]" if origin is list and not isinstance(names[name], list) else ""
                wrong.append(f"Parameter {name!r} must be {shape}, not {shown(names[name])}{hint}.")
    if wrong:
        raise InputError(" ".join(wrong).replace("typing.", ""))


def _is_declarable(kind: Any) -> bool:
    """Whether a parameter can be of this type."""
    if get_origin(kind) in (Union, types.UnionType, list):
        return all(map(_is_declarable, get_args(kind)))
    return get_origin(kind) is Literal or kind in (bool, int, float, str, types.NoneType)


def _strict(kind: Any, value: Any) -> Any:
    """`value`, if it is of this type and can be written as JSON; only an int is converted, to a float."""
    checked = _adapter(kind).validate_python(value)
    try:
        json.dumps(checked, ensure_ascii=False).encode()  # halves of characters, and thousands of digits
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return checked


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


def _read(kind: Any, text: str | list[Any]) -> Any:
    """Text read as the declared type: `007` stays text for `str`, `none` is None, `a,b` a list."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        for member in sorted(get_args(kind), key=lambda k: (k is not types.NoneType, k is str)):  # plain text last
            with suppress(ValueError):
                return _strict(member, _read(member, text))
        return text
    if origin is list:
        return [_read(get_args(kind)[0], item) for item in (_items(text) if isinstance(text, str) else text)]
    if not isinstance(text, str):
        return text
    if origin is Literal:
        return next((choice for choice in get_args(kind) if str(choice) == text), text)
    if kind is bool:
        return TRUTH.get(text.strip().lower(), text)
    if kind is types.NoneType and text.strip().lower() in ("none", "null"):
        return None
    return kind(text) if kind in (int, float) else text


def _items(text: str) -> list[Any]:
    """The items of a list written as `[a, b]`, possibly nested, or `a, b`; each stays text."""
    if not text.strip().startswith("["):
        return [item.strip() for item in text.split(",")] if text.strip() else []
    items = parse_yaml(text, "the list", texts=True)
    if not isinstance(items, list):
        raise ValueError(f"{text!r} is not a list")
    return items


def _comments(source: str) -> dict[int, str]:
    """Line number -> comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").rstrip() for t in tokens if t.type == tokenize.COMMENT}


def _parameter(node: ast.stmt, comments: dict[int, str], where: str) -> Parameter:
    """One statement of the cell as a parameter."""
    if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
        raise InputError(f"{where} contains {ast.unparse(node)[:80]!r}; write it as 'name: type = default  # help'.")
    name, annotation = node.target.id, ast.unparse(node.annotation)
    try:
        default = ast.literal_eval(node.value)
        _strict(type_of(annotation), default)
    except TypeError as error:
        raise InputError(f"{where} declares {name!r} as {annotation}, which {error}.") from None
    except ValueError:
        value = ast.unparse(node.value)
        raise InputError(f"{where} gives {name!r} the default {value}, which is not a literal {annotation}.") from None
    lines = (node.end_lineno, node.value.end_lineno, node.lineno)  # brackets around the value add lines
    help_text = next((comments[line] for line in lines if line in comments), "")
    return Parameter(name, annotation, default, help_text)


def described(annotation: str) -> str:
    """Return an annotation for a message, with the choices that a name stands for."""
    names = {node.id for node in ast.walk(ast.parse(annotation)) if isinstance(node, ast.Name)} & kinds.CHOICES.keys()
    return annotation + "".join(f" ({', '.join(map(repr, get_args(kinds.CHOICES[name])))})" for name in sorted(names))


def type_of(annotation: str) -> Any:
    """Return the type an annotation names, without evaluating it."""
    return _resolve(ast.parse(annotation, mode="eval").body)


def _resolve(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name) if name in SIMPLE:
            return SIMPLE[name]
        case ast.Name(id=name) if name in kinds.CHOICES:
            return kinds.CHOICES[name]
        case ast.Subscript(value=ast.Name(id="Optional"), slice=item):
            return Union[_resolve(item), None]  # noqa: UP007 - built at run time
        case ast.Constant(value=None):
            return types.NoneType
        case ast.Constant(value=str(quoted)):
            return type_of(quoted)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_resolve(left), _resolve(right)]  # noqa: UP007 - built at run time
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_resolve(item)]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            values = ast.literal_eval(choices)
            values = values if isinstance(values, tuple) else (values,)
            if values and all(isinstance(value, str | int | None) for value in values):
                return Literal[values]
    names = ", ".join([*kinds.NAMES, *kinds.CHOICES])
    known = f"bool, int, float, str, None, list[...], Optional[...], Literal[...], {names} and their unions"
    raise TypeError(f"is none of {known}")


class ParametersForm:
    """A form with a field for every parameter; `values` are checked as on the command line."""

    def __init__(self, parameters: list[Parameter], name: str) -> None:
        """Build the fields; `name` is the notebook's, for errors."""
        import ipywidgets as widgets

        self.parameters = parameters
        self.name = name
        self.fields = {parameter.name: _field(parameter) for parameter in parameters}
        helps = [widgets.Label(parameter.help) for parameter in parameters]
        self.box = widgets.VBox([widgets.HBox(row) for row in zip(self.fields.values(), helps)])

    @property
    def values(self) -> dict[str, Any]:
        """The values that differ from the defaults, checked.

        Raises:
            InputError: Naming every field with an unfit value.
        """
        given = {name: field.value for name, field in self.fields.items()}
        checked = check(self.parameters, given, f"the form of {self.name}")
        return {p.name: checked[p.name] for p in self.parameters if checked[p.name] != p.default}

    def __repr__(self) -> str:
        lines = (f"  {p.name}: {p.annotation} = {p.default!r}" for p in self.parameters)
        return "\n".join([f"Parameters of {self.name}", *lines])

    def _repr_mimebundle_(self, **more: Any) -> Any:
        return self.box._repr_mimebundle_(**more)


def parameters_form(notebook: str | Path) -> ParametersForm:
    """Return a form for the parameters of a notebook.

        form = wb.parameters_form("hallucination/calibration")
        form            # fill it in
        form.values     # then: workbench.runs.plan("hallucination", given=form.values, notebook="calibration")

    Args:
        notebook: `<study>/<notebook>`, or a notebook's file.

    Raises:
        InputError: If there is no such notebook, or ipywidgets is not installed.
    """
    if find_spec("ipywidgets") is None:
        raise InputError("A form needs ipywidgets, which is not installed; pip install ipywidgets.")
    named = root() / "notebooks" / f"{notebook}.ipynb"
    path = named if named.is_file() else Path(notebook)
    return ParametersForm(read_parameters(path), path.stem)


def _field(parameter: Parameter) -> Any:
    """The widget for a parameter's type; a text field, read as on the command line, where there is none."""
    import ipywidgets as widgets

    kind, look = type_of(parameter.annotation), {"description": parameter.name, "style": {"description_width": "10em"}}
    wide = {**look, "layout": widgets.Layout(width="40em")}
    if kind is bool:
        return widgets.Checkbox(value=parameter.default, **look)
    if get_origin(kind) is Literal:
        return widgets.Dropdown(options=list(get_args(kind)), value=parameter.default, **look)
    if kind is int:
        return widgets.IntText(value=parameter.default, **look)
    default = parameter.default
    text = default if isinstance(default, str) else "none" if default is None else json.dumps(default)
    return widgets.Text(value=text, placeholder=parameter.annotation, **wide)
