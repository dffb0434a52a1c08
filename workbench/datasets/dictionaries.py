"""Column dictionaries: what the columns of a table say, and what is asked of its rows.

A dictionary is a YAML file with two parts. `columns` says of each column what it `says`, and its `unit` or the text of
each of its `values` (and of `missing` ones). `tasks` holds one or more tasks: `describe` (the first sentence),
`features` (columns shown, in order), `target` (`column` with `positive`, a value or a list of them, or with `above`;
and perhaps `negative` beside `positive`, the values of the other outcome, where rows with any other value are left out,
and `missing`, the outcome of an empty cell, negative or positive), `question`, `choices` (negative, positive),
`ask_probability`, and if wanted `group` (a column for fairness, or `{column, above, says: [at most, above]}`), `keep`
(column: [least, most]) and `rows` (a packaged table).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.datasets.referring import referring
from workbench.datasets.row_formats import number
from workbench.datasets.rows import as_text
from workbench.datasets.settings import user_settings, user_text
from workbench.errors import InputError, unknown

WRITTEN = Path(__file__).parent / "written" / "hallucination"
DICTIONARIES = ("anes96", "fair", "acs")
OPTIONAL = ("group", "keep", "rows")
WHOLE = r"(?<=\d)\.0$"
TEXTS = ("describe", "question", "ask_probability")
NEEDED = (*TEXTS, "features", "target", "choices")


@dataclass(frozen=True, slots=True)
class Column:
    """What one column says."""

    name: str
    """Its name in the file."""
    says: str
    """What it is, in words."""
    unit: str = ""
    """Unit of a number."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Code -> text of each category; empty for numbers and for text that speaks for itself."""
    missing: str = ""
    """What to say where there is no value; empty if there must be one."""

    def text(self, value: str, where: str = "") -> str:
        """What a cell says: the text of its code, else the cell as the file has it ("02138", "15000000000").

        Of a number with a unit the ".0" is left out that pandas writes behind whole numbers in a column with gaps.

        Raises:
            InputError: The cell is empty or has no text, and which it is.
        """
        if not (cell := value.strip()):
            if self.missing:
                return self.missing
            raise InputError(f"Column {self.name!r} has no value{where}; fill it in, or say what `missing` means.")
        if self.values:
            if (key := find_code(cell, self.values)) is None:
                raise InputError(
                    f"Column {self.name!r} holds {cell!r}{where}, which its dictionary does not explain; add it to "
                    f"`values` (known: {', '.join(self.values)})."
                )
            return self.values[key]
        if self.unit and number(cell) is None:
            raise InputError(f"Column {self.name!r} holds {cell!r}{where}, which is no number of {self.unit}; mend it.")
        return f"{re.sub(WHOLE, '', cell)} {self.unit}" if self.unit else cell


@dataclass(frozen=True, slots=True)
class Task:
    """An outcome to foretell from the columns of a table."""

    name: str
    """Its name."""
    columns: tuple[Column, ...]
    """The columns shown, in order."""
    settings: Mapping[str, Any]
    """The task as the dictionary writes it."""

    @property
    def needed(self) -> list[str]:
        """The columns a table must have."""
        group = self.settings.get("group")
        grouped = [str(group["column"] if isinstance(group, Mapping) else group)] if group else []
        target = str(self.settings["target"]["column"])
        return [*(column.name for column in self.columns), target, *self.settings.get("keep", {}), *grouped]


def tasks() -> list[str]:
    """Tasks with a dictionary of their own: `anes96` and `fair` bring their rows, the others take a CSV."""
    return [name for file in DICTIONARIES for name in _read(WRITTEN / f"{file}.yaml")["tasks"]]


def read_task(source: str | os.PathLike[str], dictionary: str | os.PathLike[str] | None, name: str | None) -> Task:
    """The task of a dictionary by name, or its only one."""
    asked = str(dictionary if dictionary is not None else source)
    if Path(asked).suffix.lower() in (".yaml", ".yml"):
        content, where = _read(Path(asked).expanduser()), Path(asked).name
    elif dictionary is None and Path(asked).suffix:
        raise InputError(f"{Path(asked).name} needs a column dictionary; give dictionary='columns.yaml' or a task.")
    else:
        content = next((c for f in DICTIONARIES if asked in (c := _read(WRITTEN / f"{f}.yaml"))["tasks"]), {})
        if not content:
            raise unknown("table task", asked, [*tasks(), "or the path of a .yaml dictionary"])
        name, where = asked, asked
    if name is None and len(content["tasks"]) > 1:
        raise InputError(f"{where} holds the tasks {', '.join(content['tasks'])}; name one with task=.")
    name = name or next(iter(content["tasks"]))
    if name not in content["tasks"]:
        raise unknown("task", name, list(content["tasks"]), f" of {where}")
    settings = content["tasks"][name]
    _check_task(settings, f"Task {name!r} of {where}")
    return Task(name, tuple(_column(each, content["columns"], where) for each in settings["features"]), settings)


def _check_task(settings: Any, which: str) -> None:
    """Say what is wrong with a task's settings."""
    if not isinstance(settings, dict):
        raise InputError(f"{which} needs the keys {', '.join(NEEDED)}.")
    if strange := sorted(map(str, set(settings) - {*NEEDED, *OPTIONAL})):
        raise unknown("key", strange[0], [*NEEDED, *OPTIONAL], f" of {which[0].lower() + which[1:]}")
    if missing := [key for key in NEEDED if key not in settings]:
        raise InputError(f"{which} lacks {', '.join(missing)}.")
    target, choices, group = settings["target"], settings["choices"], settings.get("group")
    keep, features = settings.get("keep", {}), settings["features"]
    if not isinstance(features, list) or not all(isinstance(each, str) for each in features):
        raise InputError(f"{which} needs a list of columns as `features`.")
    if silent := [key for key in TEXTS if not isinstance(settings[key], str)]:
        raise InputError(f"{which} needs a text as {silent[0]!r}, not {settings[silent[0]]!r:.60}.")
    if not isinstance(target, dict) or "column" not in target or len({"positive", "above"} & set(target)) != 1:
        raise InputError(f"{which} needs a target with a `column` and either `positive` or `above`.")
    if number(target.get("above", 0)) is None:
        raise InputError(f"{which}: `above` of the target is {target['above']!r}; write a number.")
    if None in _listed(target.get("positive", "")):
        raise InputError(f"{which} has null as `positive`; write it in quotes, or say `missing: positive`.")
    if "negative" in target and ("above" in target or None in _listed(target["negative"])):
        raise InputError(f"{which}: `negative` of the target stands beside `positive`, and holds no null.")
    if both := set(outcome_codes(target, "positive")) & set(outcome_codes(target, "negative")):
        raise InputError(f"{which} has {min(both)!r} as `positive` and as `negative`; leave one out.")
    if target.get("missing", "negative") not in ("negative", "positive"):
        raise InputError(f"{which}: `missing` of the target must be negative or positive.")
    if not isinstance(choices, list) or len(choices) != 2 or None in choices:
        raise InputError(f"{which} needs two choices, the negative one first.")
    if any(referring([str(choice) for choice in choices])):
        raise InputError(f"{which}: a choice refers to the other one, and both orders are asked; write it out.")
    if not isinstance(keep, dict) or not all(isinstance(ends, list) and len(ends) == 2 for ends in keep.values()):
        raise InputError(f"{which}: `keep` needs the least and the greatest value of each column, as in [18, null].")
    if wrong := [end for ends in keep.values() for end in ends if end is not None and number(end) is None]:
        raise InputError(f"{which}: `keep` holds {wrong[0]!r}; write a number, or null for no limit.")
    if not isinstance(group, dict | str | None) or (isinstance(group, dict) and not _divides(group)):
        raise InputError(f"{which}: a `group` that divides a column needs `column`, `above` and two texts in `says`.")


def outcome_codes(target: Mapping[str, Any], key: str) -> list[str]:
    """The values that a target lists as `positive` or `negative`, as texts."""
    return list(map(str, _listed(target.get(key, []))))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _divides(group: Mapping[Any, Any]) -> bool:
    """Whether settings divide a column into two groups."""
    said = group.get("says")
    return number(group.get("above")) is not None and "column" in group and isinstance(said, list) and len(said) == 2


def _column(name: str, columns: Mapping[str, Any], where: str) -> Column:
    if name not in columns:
        raise unknown("column", name, list(columns), f" of {where}")
    keys, said = ["says", "unit", "values", "missing"], columns[name]
    if not isinstance(said, dict) or not isinstance(said.get("values", {}), dict):
        raise InputError(f"Column {name!r} of {where} needs keys of {', '.join(keys)}; `values` is code: text.")
    if strange := sorted(map(str, set(said) - set(keys))):
        raise unknown("key", strange[0], keys, f" of column {name!r} in {where}")
    said = dict(said)
    if silent := [key for key in ("says", "unit", "missing") if isinstance(said.get(key), dict | list)]:
        raise InputError(f"Column {name!r} of {where} needs a text as {silent[0]!r}.")
    said |= {key: str(said[key]) if said[key] is not None else "" for key in ("unit", "missing") if key in said}
    if any(part is None for pair in said.get("values", {}).items() for part in pair):
        raise InputError(f'Column {name!r} of {where} has a null among its `values`; write it in quotes: "null".')
    values = {str(key): str(text) for key, text in said.pop("values", {}).items()}
    return Column(name, str(said.pop("says", name)), values=values, **said)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"There is no column dictionary {path}; give the path of a .yaml file.")
    content = user_settings(user_text(path), path.name)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in ("columns", "tasks")):
        raise InputError(f"{path.name} needs the two parts `columns` and `tasks`.")
    if not content["tasks"]:
        raise InputError(f"{path.name} holds no task; describe one under `tasks`.")
    return content


def find_code(cell: str, codes: Iterable[str]) -> str | None:
    """The code that a cell writes: the same text, else the only one of the same value (1, 01, 1.0; true, TRUE)."""
    listed = list(codes)
    if cell in listed:
        return cell
    alike = [each for each in listed if code(each) == code(cell)]
    return alike[0] if len(alike) == 1 else None


def code(value: object) -> str:
    """A code by its value: 1, 1.0, "01" and "1" are the same, and so are True and "true"."""
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.capitalize()
    found = number(text)
    return text if found is None or abs(found) >= 2**53 else as_text(found)
