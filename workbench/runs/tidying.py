"""What a saved notebook should not carry: progress bars, widgets nobody can open, paths of this machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

WIDGET = "application/vnd.jupyter.widget-view+json"
BAR = re.compile(r"^.*\d+%\|.*\|.*$|^\s*\d+(\.\d+)?k?(it|tok)? \[\d\d:\d\d, .*\]\s*$")


def tidy(notebook: Any) -> None:
    """Removes progress debris, widget states and this machine's paths from a notebook's outputs, in place."""
    notebook.metadata.pop("widgets", None)
    places = _places()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _worth_keeping(output)]
            for output in cell.outputs:
                _rename_places(output, places)


def _worth_keeping(output: Any) -> bool:
    """Whether anything of an output is left once its progress bars are gone; a stream's text is cleaned."""
    if output.output_type == "stream":
        output.text = without_bars(output.text)
        return bool(output.text)
    data = output.get("data", {"text/plain": "an error"})
    return WIDGET not in data and any(data.values())


def without_bars(text: str) -> str:
    """Printed text as a terminal would show it at the end, without progress bars."""
    lines = (line.removesuffix("\r").rpartition("\r")[2] for line in text.split("\n"))
    drawn = "\r" in text or "%|" in text
    return "\n".join(line for line in lines if not BAR.match(line)).lstrip("\n" if drawn else "")


def _places() -> dict[str, str]:
    """Folder of this machine -> what stands for it, the longest first."""
    from workbench.runs.studies import root

    found = {str(root()): ".", sys.prefix: "<python>", str(Path.home()): "~"}
    return {k: found[k] for k in sorted(found, key=len, reverse=True) if len(k) > 3}


def _rename_places(output: Any, places: dict[str, str]) -> None:
    for folder, name in places.items():
        if output.output_type == "stream":
            output.text = output.text.replace(folder, name)
        elif output.output_type == "error":
            output.traceback = [line.replace(folder, name) for line in output.traceback]
        for kind, data in output.get("data", {}).items():
            if isinstance(data, str) and (kind.startswith("text/")):
                output.data[kind] = data.replace(folder, name)


def before_saving(model: dict[str, Any], **_: Any) -> None:
    """The hook by which JupyterLab, opened with `workbench lab`, saves notebooks tidied."""
    if model.get("type") == "notebook" and model.get("content"):
        from nbformat import from_dict

        model["content"] = from_dict(model["content"])
        tidy(model["content"])
