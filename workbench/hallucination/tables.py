"""Rows of tables with an outcome, and the dictionaries that put their columns into words."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from workbench.datasets.formats import number
from workbench.datasets.referring import referring
from workbench.datasets.rows import TYPED, as_text, check_names, folded, numbers, read_columns, seen
from workbench.datasets.sources import find, names_of
from workbench.errors import InputError, unknown
from workbench.files import sha256_of, user_path
from workbench.questions import Message, Option, Origin, Question, Questions, Tag, sample
from workbench.reading import read_yaml

WRITTEN = Path(__file__).parent / "written"
DICTIONARIES = ("anes96", "fair", "acs")
TEXTS = ("describe", "question", "ask_probability")
NEEDED = (*TEXTS, "features", "target", "choices")
OPTIONAL = ("group", "keep", "rows")
COLUMN_KEYS = ("says", "unit", "values", "missing")
WHOLE = r"(?<=\d)\.0$"
"""The ".0" that pandas writes after whole numbers in a column with gaps."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column and its description in words."""

    name: str
    """Its name in the file."""
    says: str
    """Its description."""
    unit: str = ""
    """Unit of a number."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Code -> text of each category; empty for numbers and free text."""
    missing: str = ""
    """Text for an empty cell; empty if a value is required."""
    known: Mapping[tuple[str, str], str] = field(init=False, repr=False, compare=False)
    """The codes, see `by_code`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", by_code(self.values))

    def text(self, value: str, where: str = "") -> str:
        """Return the text of a cell: that of its code, else the cell as in the file ("02138", "15000000000").

        The ".0" of a whole number with a unit is left out.

        Raises:
            InputError: The cell is empty, unknown or not a number; `where` names it.
        """
        if not (cell := value.strip()):
            if self.missing:
                return self.missing
            raise InputError(f"Column {self.name!r} has no value{where}; fill it in, or set `missing`.")
        if self.values:
            if (key := find_code(cell, self.known)) is None:
                raise InputError(
                    f"Column {self.name!r} contains {cell!r}{where}, which its dictionary does not explain; add it to "
                    f"`values` (known: {', '.join(self.values)})."
                )
            return self.values[key]
        if self.unit and number(cell) is None:
            raise InputError(
                f"Column {self.name!r} contains {cell!r}{where}, not a number of {self.unit}; correct the cell."
            )
        return f"{re.sub(WHOLE, '', cell)} {self.unit}" if self.unit else cell


@dataclass(frozen=True, slots=True)
class Task:
    """An outcome to predict from the columns of a table."""

    name: str
    """Its name."""
    columns: tuple[Column, ...]
    """The columns shown, in order."""
    settings: Mapping[str, Any]
    """The task's entry in the dictionary."""

    @property
    def needed(self) -> list[str]:
        """The columns a table must have."""
        group = self.settings.get("group")
        grouped = [str(group["column"] if isinstance(group, Mapping) else group)] if group else []
        target = str(self.settings["target"]["column"])
        return list(dict.fromkeys([*(c.name for c in self.columns), target, *self.settings.get("keep", {}), *grouped]))


def read_task(source: str | os.PathLike[str], dictionary: str | os.PathLike[str] | None, name: str | None) -> Task:
    """Return the task of a dictionary by name, or its only task."""
    given = str(dictionary if dictionary is not None else source)
    if Path(given).suffix.lower() in (".yaml", ".yml"):
        content, where = _read(user_path(given)), Path(given).name
    elif dictionary is None and Path(given).suffix:
        raise InputError(f"{Path(given).name} needs a column dictionary; give dictionary='columns.yaml' or a task.")
    else:
        content = next((c for f in DICTIONARIES if given in (c := _read(WRITTEN / f"{f}.yaml"))["tasks"]), {})
        if not content:
            raise unknown("table task", given, [*names_of("tables"), "or the path of a .yaml dictionary"])
        name, where = given, given
    if name is None and len(content["tasks"]) > 1:
        raise InputError(f"{where} contains the tasks {', '.join(content['tasks'])}; name one with task=.")
    name = name or next(iter(content["tasks"]))
    if name not in content["tasks"]:
        raise unknown("task", name, list(content["tasks"]), f" of {where}")
    settings = content["tasks"][name]
    _check_task(settings, f"Task {name!r} of {where}")
    return Task(name, tuple(_column(each, content["columns"], where) for each in settings["features"]), settings)


def _read(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise InputError(f"There is no column dictionary {path}; give the path of a .yaml file.")
    content = read_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in ("columns", "tasks")):
        raise InputError(f"{path.name} needs the two parts `columns` and `tasks`.")
    if not content["tasks"]:
        raise InputError(f"{path.name} contains no task; describe one under `tasks`.")
    return content


def _check_task(settings: Any, which: str) -> None:
    """Raise an `InputError` for the first problem in a task's settings."""
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
    if not features or len(set(features)) < len(features):
        raise InputError(f"{which} needs one column or more as `features`, each of them once.")
    if no_text := [key for key in TEXTS if not isinstance(settings[key], str)]:
        raise InputError(f"{which} needs a text as {no_text[0]!r}, not {settings[no_text[0]]!r:.60}.")
    if not isinstance(target, dict) or "column" not in target or len({"positive", "above"} & set(target)) != 1:
        raise InputError(f"{which} needs a target with a `column` and either `positive` or `above`.")
    if target["column"] in features:
        raise InputError(f"{which} has the target {target['column']!r} among its `features`; remove it there.")
    if number(target.get("above", 0)) is None:
        raise InputError(f"{which}: `above` of the target is {target['above']!r}; write a number.")
    if None in _listed(target.get("positive", "")):
        raise InputError(f"{which} has null as `positive`; write it in quotes, or set `missing: positive`.")
    if "negative" in target and ("above" in target or None in _listed(target["negative"])):
        raise InputError(f"{which}: `negative` of the target needs `positive`, and contains no null.")
    if both := set(outcome_codes(target, "positive")) & set(outcome_codes(target, "negative")):
        raise InputError(f"{which} has {min(both)!r} as `positive` and as `negative`; leave one out.")
    if target.get("missing", "negative") not in ("negative", "positive"):
        raise InputError(f"{which}: `missing` of the target must be negative or positive.")
    if not _two_texts(choices):
        raise InputError(f"{which} needs two choices of different text, the negative one first.")
    if any(referring([str(choice) for choice in choices])):
        raise InputError(f"{which}: a choice refers to the other one, but both orders are used; write it out.")
    if not isinstance(keep, dict) or not all(isinstance(ends, list) and len(ends) == 2 for ends in keep.values()):
        raise InputError(f"{which}: `keep` needs the least and the greatest value of each column, as in [18, null].")
    if wrong := [end for ends in keep.values() for end in ends if end is not None and number(end) is None]:
        raise InputError(f"{which}: `keep` contains {wrong[0]!r}; write a number, or null for no limit.")
    names, edge = (group.get("says"), group.get("above")) if isinstance(group, dict) else ([], 0)
    divides = (not isinstance(group, dict) or _two_texts(names)) and number(edge) is not None
    if not isinstance(group, dict | str | None) or not divides or (isinstance(group, dict) and "column" not in group):
        raise InputError(f"{which}: a `group` that divides a column needs `column`, `above` and two texts in `says`.")
    if target["column"] == (group.get("column") if isinstance(group, dict) else group):
        raise InputError(f"{which} has the target {target['column']!r} as its `group`; name another column.")


def _two_texts(values: Any) -> bool:
    """Whether a value is a list of two different texts or numbers."""
    if not isinstance(values, list) or not all(isinstance(each, str | int | float) for each in values):
        return False
    return len(values) == len({folded(str(each)) for each in values}) == 2


def outcome_codes(target: Mapping[str, Any], key: str) -> list[str]:
    """Return the values that a target lists as `positive` or `negative`, as texts."""
    return list(map(str, _listed(target.get(key, []))))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _column(name: str, columns: Mapping[str, Any], where: str) -> Column:
    if name not in columns:
        raise unknown("column", name, list(columns), f" of {where}")
    settings = columns[name]
    if not isinstance(settings, dict) or not isinstance(settings.get("values", {}), dict):
        raise InputError(f"Column {name!r} of {where} needs keys of {', '.join(COLUMN_KEYS)}; `values` is code: text.")
    if strange := sorted(map(str, set(settings) - set(COLUMN_KEYS))):
        raise unknown("key", strange[0], list(COLUMN_KEYS), f" of column {name!r} in {where}")
    if no_text := [key for key in ("says", "unit", "missing") if isinstance(settings.get(key), dict | list)]:
        raise InputError(f"Column {name!r} of {where} needs a text as {no_text[0]!r}.")
    if any(part is None for pair in settings.get("values", {}).items() for part in pair):
        raise InputError(f'Column {name!r} of {where} has a null among its `values`; write it in quotes: "null".')
    unit, missing = ("" if settings.get(key) is None else str(settings[key]) for key in ("unit", "missing"))
    values = {str(key): str(text) for key, text in settings.get("values", {}).items()}
    return Column(name, str(settings.get("says", name)), unit, values, missing)


def by_code(codes: Iterable[str]) -> dict[tuple[str, str], str]:
    """Return codes by their text, and those whose value no other code has by their value."""
    values: dict[str, set[str]] = {}
    for each in codes:
        values.setdefault(code(each), set()).add(each)
    exact = {("text", each): each for same in values.values() for each in same}
    return exact | {("value", value): next(iter(same)) for value, same in values.items() if len(same) == 1}


def find_code(cell: str, known: Mapping[tuple[str, str], str]) -> str | None:
    """Return the code equal to a cell as text, else the only code of the same value (1, 01, 1.0; true, TRUE)."""
    return known.get(("text", cell)) or known.get(("value", code(cell)))


def code(value: object) -> str:
    """Return a code by its value: 1, 1.0, "01" and "1" are the same, and so are True and "true"."""
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.capitalize()
    parsed = number(text)
    return text if parsed is None or abs(parsed) >= 2**53 else as_text(parsed)


Style = Literal["choices", "numeric"]
ORDERS = ((0, 1), (1, 0))
"""Orders in which the choices are shown; 1 is the positive one."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a table with the outcome of each."""

    task: Task
    """The outcome and the columns shown."""
    rows: pd.DataFrame
    """Cells as texts, as in the file ("" is missing); rows numbered from 0."""
    labels: np.ndarray
    """Outcome of each row, 0 or 1, `[rows]`."""
    origin: Origin
    """Source of the rows."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason -> number of rows left out."""

    def groups(self) -> list[str]:
        """Return the group of each row, for fairness."""
        group = self.task.settings.get("group")
        if not group:
            raise InputError(f"Task {self.task.name!r} names no `group`; add one to its dictionary.")
        if isinstance(group, Mapping):
            values = _numbers(self.rows[str(group["column"])], "to divide groups")
            return [group["says"][int(each)] for each in values > float(group["above"])]
        column = next((column for column in self.task.columns if column.name == group), Column(str(group), str(group)))
        check_names(self.rows[group].str.strip().unique() if not column.values else (), f"A group in {group!r}")
        return [
            column.text(value, f" in data row {row + 1} of those used") for row, value in enumerate(self.rows[group])
        ]

    def features(self) -> pd.DataFrame:
        """Return the features for a supervised model.

        Numbers, and codes that are numbers, stay numbers; a missing number is 0 and marked in a separate column.
        Everything else is text.
        """
        features: dict[str, Any] = {}
        for column in self.task.columns:
            cells = self.rows[column.name]
            values, missing = cells.map(number).astype(float), cells.str.strip().eq("")
            if values[~missing].notna().all() and not (column.values and missing.any()):
                features[column.name] = values.fillna(0.0)
                features |= {f"{column.name} is missing": missing.astype(float)} if missing.any() else {}
            else:
                features[column.name] = cells.map(column.text)
        return pd.DataFrame(features)


def load_table(
    source: str | os.PathLike[str],
    dictionary: str | os.PathLike[str] | None = None,
    task: str | None = None,
    n: int | None = None,
    seed: int = 0,
) -> Table:
    """Load rows with an outcome: `anes96`, `fair`, or a CSV file with a dictionary.

    The dictionary is a name of `datasets.names("tables")` or the path of a YAML file, of which `task` names one task.
    `n` rows are sampled at random; None loads all.

    Raises:
        InputError: The file, a column or a value is missing or unknown; the message names it.
    """
    chosen = read_task(source, dictionary, task)
    rows, origin = _rows(source, chosen)
    rows, dropped = _within_limits(rows, chosen, origin.name)
    for column in chosen.columns:
        for line, value in rows[column.name].drop_duplicates().items():
            column.text(value, f" in {rows.index.name} {line}")
    target = chosen.settings["target"]
    labels = _labels(rows[target["column"]], target)
    for cell, count in rows[target["column"]][labels < 0].str.strip().value_counts().items():
        dropped[f"{target['column']!r} is {cell!r}, which is neither outcome"] = int(count)
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    drawn = sample(range(len(rows)), n, seed, lambda row: str(rows.index[row]))
    return Table(chosen, rows.iloc[drawn].reset_index(drop=True), labels[drawn], origin, dropped)


def _rows(source: str | os.PathLike[str], task: Task) -> tuple[pd.DataFrame, Origin]:
    """Return the rows of a packaged table or of a CSV file."""
    packaged = task.settings.get("rows")
    if packaged and str(source) == packaged:
        import statsmodels
        from statsmodels import datasets as packages

        rows = getattr(packages, packaged).load_pandas().data[task.needed]
        rows = rows.map(as_text).rename_axis("row")
        return rows, Origin(packaged, f"statsmodels {statsmodels.__version__}", find(packaged, "tables").licence)
    path = user_path(source)
    if path.suffix.lower() not in (".csv", *TYPED):
        raise InputError(f"Task {task.name!r} needs rows; give the path of a .csv file as source, not {str(source)!r}.")
    rows = read_columns(path, task.needed, f"rows for the task {task.name!r}")
    return rows, Origin(path.name, f"sha256:{sha256_of(path)}", "the user's own")


def _within_limits(rows: pd.DataFrame, task: Task, file: str) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows within the task's limits, and the number of rows left out by reason."""
    dropped: Counter[str] = Counter()
    for name, (least, most) in task.settings.get("keep", {}).items():
        values = numbers(rows[name], file)
        inside = values.between(-np.inf if least is None else float(least), np.inf if most is None else float(most))
        dropped[f"no value in {name!r}, which the task limits"] += int(values.isna().sum())
        dropped[f"{name!r} outside the task's limits"] += int((~inside & values.notna()).sum())
        rows = rows[inside]
    if rows.empty:
        raise InputError(f"No row is left for task {task.name!r} within its `keep` limits.")
    return rows, dict(+dropped)


def _labels(values: pd.Series, target: Mapping[str, Any]) -> np.ndarray:
    """Return the outcome of each row, `[rows]`: 1 or 0, the value of `missing` for empty cells, -1 for neither outcome.

    Without a list of negative values, one value besides the positive ones is negative; several are ambiguous.
    """
    where, empty = f"Target column {target['column']!r}", values.str.strip().eq("").to_numpy()
    if empty.any() and "missing" not in target:
        line = f"{values.index.name} {values.index[empty][0]}"
        raise InputError(f"{where} has no value in {line}; leave such rows out, or set `missing` in `target`.")
    labels = np.full(len(values), int(target.get("missing") == "positive"))
    cells = values[~empty].str.strip()
    if "above" in target:
        labels[~empty] = _numbers(cells, "to be `above`") > float(target["above"])
        return labels
    codes = {key: outcome_codes(target, key) for key in ("positive", "negative")}
    by_outcome = map(by_code, codes.values())
    positive, negative = (
        {cell for cell in cells.unique() if find_code(cell, known) is not None} for known in by_outcome
    )
    wanted = ", ".join(codes["positive"])
    folded = {seen(each).casefold() for each in (*codes["positive"], *codes["negative"], *positive, *negative)}
    others = [cell for cell in cells.unique() if cell not in positive | negative]
    if alike := [cell for cell in others if seen(cell).casefold() in folded]:
        known = ", ".join((*codes["positive"], *codes["negative"]))
        raise InputError(f"{where} contains {alike[0]!r}, which is not {known} as written; correct it or list it.")
    if not positive:
        raise InputError(f"{where} never contains {wanted}; it contains {', '.join(sorted(set(cells))[:8])}.")
    if len(others) > 1 and not codes["negative"]:
        raise InputError(
            f"{where} contains {', '.join(map(repr, others[:8]))} besides {wanted}; list the values of the other "
            "outcome as `negative` in `target`; rows with any other value are left out and counted."
        )
    labels[~empty] = np.where(cells.isin(positive), 1, -1 if codes["negative"] else 0)
    labels[~empty] = np.where(cells.isin(negative), 0, labels[~empty])
    return labels


def _numbers(values: pd.Series, use: str) -> np.ndarray:
    """Return a column as numbers."""
    parsed = values.map(number).astype(float)
    if parsed.isna().any():
        line, bad = next(values[parsed.isna()].items())
        where = f"{values.index.name or 'data row'} {line}"
        raise InputError(f"Column {values.name!r} contains {bad!r} in {where}, which is not a number {use}.")
    return parsed.to_numpy(np.float64)


def split_examples(table: Table, shots: int, seed: int = 0) -> tuple[Table, Table]:
    """Return worked examples from a table, equally many of each outcome and in a random order, and the other rows.

    Of an odd number of `shots`, one more is positive.
    """
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for outcome, wanted in ((1, (shots + 1) // 2), (0, shots // 2)):
        rows = np.flatnonzero(table.labels == outcome)
        if wanted and len(rows) <= wanted:
            raise InputError(f"{shots} examples leave no row of one outcome among {len(table.rows)}; take fewer.")
        chosen += rng.permutation(rows)[:wanted].tolist()
    order = rng.permutation(np.array(chosen, int))
    rest = np.setdiff1d(np.arange(len(table.rows)), order)
    examples, others = (
        replace(table, rows=table.rows.iloc[i].reset_index(drop=True), labels=table.labels[i]) for i in (order, rest)
    )
    return examples, others


def row_questions(
    table: Table, style: Style = "choices", chat: bool = False, digits: int = 1, examples: Table | None = None
) -> Questions:
    """Return a table's rows as questions, with a user's message as prompt if `chat`.

    Style `choices` scores the letters of the two outcomes, with and without a space, in both orders of the choices,
    after the `examples` and their outcomes (see `split_examples`). Style `numeric` scores one or two digits after "0.".
    `risk_scores.choice_scores` and `risk_scores.numeric_scores` read the answers.

    Returns:
        Questions tagged `task`, `row`, `label`, `group` (if the task names one), `style`, `order` and `shots`.
    """
    if style not in get_args(Style):
        raise unknown("style", style, list(get_args(Style)))
    if digits not in (1, 2):
        raise InputError(f"digits must be 1 or 2, not {digits!r}.")
    if examples is not None and style == "numeric":
        raise InputError("Worked examples show outcomes, not probabilities; use style='choices'.")
    groups = table.groups() if table.task.settings.get("group") else None
    shots = len(examples.rows) if examples is not None else 0
    head = _worked(examples, chat)
    questions = []
    for row, label in enumerate(table.labels):
        tags: dict[str, Tag] = {"task": table.task.name, "row": row, "label": int(label), "style": style}
        tags |= {"shots": shots} | ({"group": groups[row]} if groups else {})
        for order in ORDERS if style == "choices" else ORDERS[:1]:
            made = _choices(table, row, order, chat) if style == "choices" else _digits(table, row, chat, digits)
            name = f"{table.task.name}-{row}-{style}-{order[0]}{order[1]}{'-chat' if chat else ''}"
            name += f"-{shots}-shots" if shots else ""
            prompt: Any = head + made[0]
            questions.append(Question(prompt, made[1], tags | {"order": f"{order[0]}-{order[1]}"}, name))
    return Questions(questions, table.origin, table.dropped)


def _worked(examples: Table | None, chat: bool) -> Any:
    """Return the worked examples with the letters of their outcomes, as the beginning of each prompt.

    Their choices alternate between both orders, so that no letter is associated with an outcome.
    """
    shown: Any = () if chat else ""
    for row, label in enumerate(examples.labels if examples is not None else ()):
        order = ORDERS[row % 2]
        prompt, _ = _choices(examples, row, order, chat)  # type: ignore[arg-type]
        letter = "AB"[order.index(int(label))]
        shown += (*prompt, Message("assistant", letter)) if chat else f"{prompt} {letter}\n\n"
    return shown


def _facts(table: Table, row: int) -> str:
    """Return the description of a row, as the beginning of a prompt."""
    values = table.rows.iloc[row]
    facts = "\n".join(f"- {c.says}: {c.text(values[c.name])}" for c in table.task.columns)
    return f"{table.task.settings['describe']}\nInformation:\n{facts}\n\n"


def _choices(table: Table, row: int, order: tuple[int, int], chat: bool) -> tuple[Any, tuple[Option, ...]]:
    """Return prompt and options of a multiple-choice question; `order` lists the choices (1 is positive) as shown."""
    settings = table.task.settings
    shown = "\n".join(f"{letter}. {settings['choices'][i]}" for letter, i in zip("AB", order))
    text = f"{_facts(table, row)}Question: {settings['question']}\n{shown}"
    options = tuple(
        Option(space + letter, "correct" if i == table.labels[row] else "wrong", float(i))
        for space in (" ", "")
        for letter, i in zip("AB", order)
    )
    if chat:
        return (Message("user", f"{text}\nReply with the letter alone."),), options
    return f"{text}\nAnswer:", options


def _digits(table: Table, row: int, chat: bool, digits: int) -> tuple[Any, tuple[Option, ...]]:
    """Return a prompt that ends in "0.", and the digits that can follow."""
    text = f"{_facts(table, row)}Question: {table.task.settings['ask_probability']}"
    options = tuple(Option(f"{number:0{digits}d}", "none", (number + 0.5) / 10**digits) for number in range(10**digits))
    if chat:
        request = Message("user", f"{text}\nReply with a number between 0 and 1 alone.")
        return (request, Message("assistant", "0.")), options
    return f"{text}\nAnswer (between 0 and 1): 0.", options
