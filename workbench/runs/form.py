"""The parameters of a notebook as a form in JupyterLab, made from the same annotations that check them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from workbench.errors import InputError
from workbench.runs.parameters import Parameter, check, read_parameters, type_of

TEXT_WIDTH = "40em"
"""Of a field for text: lists of names are long."""


class ParametersForm:
    """A form with a field for every parameter; `values` reads it, checked like the command line."""

    def __init__(self, parameters: list[Parameter], name: str) -> None:
        """Build the fields.

        Args:
            parameters: What the notebook declares.
            name: The notebook, as errors name it.
        """
        import ipywidgets as widgets

        self.parameters = parameters
        self.name = name
        self.fields = {parameter.name: _field(parameter) for parameter in parameters}
        rows = [
            widgets.HBox([field, widgets.Label(parameter.help)])
            for parameter, field in zip(parameters, self.fields.values())
        ]
        self.box = widgets.VBox(rows)

    @property
    def values(self) -> dict[str, Any]:
        """The values that differ from the notebook's own, checked.

        Raises:
            InputError: Naming every field that does not fit.
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
    """A form for the parameters of a notebook.

        form = wb.parameters_form("hallucination/calibration")
        form            # fill it in
        form.values     # then: workbench.runs.plan("hallucination", given=form.values, notebook="calibration")

    Args:
        notebook: `<study>/<notebook>`, or a notebook's file.

    Raises:
        InputError: If there is no such notebook, or ipywidgets is not installed.
    """
    from importlib.util import find_spec

    from workbench.runs.studies import root

    if find_spec("ipywidgets") is None:
        raise InputError("A form needs ipywidgets, which is not installed; pip install ipywidgets.")
    named = root() / "notebooks" / f"{notebook}.ipynb"
    path = named if named.is_file() else Path(notebook)
    return ParametersForm(read_parameters(path), path.stem)


def _field(parameter: Parameter) -> Any:
    """The widget that suits a parameter's type; text, read as on the command line, where none is special."""
    import ipywidgets as widgets

    kind, look = type_of(parameter.annotation), {"description": parameter.name, "style": {"description_width": "10em"}}
    wide = {**look, "layout": widgets.Layout(width=TEXT_WIDTH)}
    if kind is bool:
        return widgets.Checkbox(value=parameter.default, **look)
    if get_origin(kind) is Literal:
        return widgets.Dropdown(options=list(get_args(kind)), value=parameter.default, **look)
    if kind is int:
        return widgets.IntText(value=parameter.default, **look)
    default = parameter.default
    text = default if isinstance(default, str) else "none" if default is None else json.dumps(default)
    return widgets.Text(value=text, placeholder=parameter.annotation, **wide)
