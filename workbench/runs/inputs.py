"""Inputs that parameters name: check names, make paths absolute, and hash the files that are read.

Each parameter's annotation determines how its text is read (`workbench.kinds`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, one_line, shown, unknown
from workbench.files import LARGEST, root, user_path
from workbench.files import digests as digests_of
from workbench.runs.parameters import Parameter

if TYPE_CHECKING:
    from workbench.datasets.sources import Kind

MOST_FILES = 10_000
"""Most files of a folder that are hashed."""
LARGEST_DATA = 1 << 34
"""Bytes of a file that is hashed and is not a model's."""


def _all_files(path: Path) -> list[Path]:
    """A file itself, or all files below a folder."""
    if not path.is_dir():
        return [path]

    def refuse(error: OSError) -> None:
        raise InputError(f"The folder {error.filename} cannot be read ({error.strerror}); change its permissions.")

    def walked() -> Iterator[Path]:
        for folder, folders, names in os.walk(path, onerror=refuse, followlinks=True):  # links are read through
            above = [each for each in Path(folder).parents if each.is_relative_to(path)]
            if os.path.islink(folder) and any(os.path.samefile(folder, each) for each in above):  # a loop
                folders.clear()
                continue
            yield from (Path(folder, name) for name in names)

    files = list(islice(walked(), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise InputError(f"The folder {path} contains more than {MOST_FILES:,} files; name the folder of what is read.")
    return files


@dataclass(frozen=True, slots=True)
class Reader:
    """How text of one kind is read; paths are relative to the folder that is the second argument."""

    parts: Callable[[str, Path], list[str]] = lambda text, here: ["", text]
    """Splits the text; every second part, starting with the second, is a path."""
    check: Callable[[str, Path], object] = lambda text, here: None
    """Raises InputError for an unknown name; that paths exist is checked separately."""
    files: Callable[[Path], list[Path]] = _all_files
    """The files that are read from one of its paths."""
    largest: int = LARGEST_DATA
    """Bytes that each of them may have."""


def _model() -> Reader:
    from workbench import models

    return Reader(models.paths_in, models.check_name, models.files_of, LARGEST)


def _source(kind: Kind) -> Callable[[], Reader]:
    """Names of sources, split as `datasets.sources.parse` does."""

    def parts(text: str, here: Path) -> list[str]:
        from workbench.datasets.sources import parse

        if (named := parse(text, kind)).path is None:
            return [text]
        before, equals, path = text.partition("=")
        if named.source and equals:
            return [before + equals, path]
        return ["", text.rpartition(":")[0], f":{named.part}"] if named.part else ["", text]

    def files(path: Path) -> list[Path]:
        if kind != "opinions":
            return _all_files(path)
        from workbench.cultural_alignment.opinions import files_of

        return files_of(path)

    return lambda: Reader(parts, parts, files)


def _file_or(kind: str, *kinds: Kind, also: tuple[str, ...] = ()) -> Callable[[], Reader]:
    """The path of a file, or a name of the registry; `kind` is for errors."""

    def reader() -> Reader:
        from workbench.datasets.sources import names_of

        names = [*also, *(name for each in kinds for name in names_of(each))]

        def check(text: str, here: Path) -> None:
            if text not in names and not _at(here, text).exists():
                raise unknown(kind, text, [*names, "the path of a file"])

        return Reader(lambda text, here: [text] if text in names else ["", text], check)

    return reader


def _run_parts(text: str, here: Path) -> list[str]:
    """The folder of a run that is named by its path, or by its name in `outputs`."""
    inside = _at(here, "outputs") / text
    folders = (_at(here, text), inside / "latest", inside)
    return next((["", str(folder)] for folder in folders if (folder / "run.json").is_file()), ["", text])


def _algorithm() -> Reader:
    from workbench.training.algorithms import policy_algorithm

    return Reader(lambda text, here: [text], lambda text, here: policy_algorithm(text))


READERS: dict[str, Callable[[], Reader]] = {
    "ModelName": _model,
    "QuestionSource": _source("questions"),
    "CaseSource": _source("cases"),
    "ChoiceSource": _source("choices"),
    "OpinionSource": _source("opinions"),
    "TrainingSource": _source("rows"),
    "Template": _file_or("judge template", "templates"),
    "FileOrName": _file_or("name", "tables", "instruments", also=("written",)),
    "FilePath": Reader,
    "RunName": lambda: Reader(_run_parts, files=lambda folder: [folder / "run.json"]),
    "AlgorithmName": _algorithm,
}
"""Annotation -> function that returns its reader; modules are imported when a parameter needs them."""


def check_inputs(parameters: list[Parameter], values: Mapping[str, Any], folder: Path) -> None:
    """Refuse unknown names, missing files, and paths in parameters whose annotation is plain `str`.

    Args:
        parameters: The notebook's parameters.
        values: Name -> checked value, defaults included.
        folder: Folder that relative paths start from.

    Raises:
        InputError: Naming every one of them.
    """
    wrong = []
    for name, reader, text in _texts(parameters, values):
        try:
            if reader is None:
                _refuse_path(name, text, folder)
                continue
            reader.check(text, folder)
            for path in reader.parts(text, folder)[1::2]:
                if not path or not _at(folder, path).exists():
                    where = "" if Path(path).is_absolute() else ", in the current folder or in the checkout"
                    wrong.append(f"There is no file {shown(path)}, which parameter {name!r} names{where}; check it.")
        except InputError as error:
            wrong.append(str(error))
        except (OSError, ValueError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            wrong.append(
                f"Parameter {name!r} names {shown(text)}, which is no path ({one_line(reason, 100)}); check it."
            )
    for name, value in values.items() if wrong else ():
        pairs = pairwise(value) if isinstance(value, list) else ()
        wholes = [mark.join(pair) for pair in pairs for mark in (", ", ",") if all(isinstance(x, str) for x in pair)]
        wrong += [
            f"{whole!r} is one file, and commas divide the list {name!r}: write -p {name}=\"['{whole}']\"."
            for whole in wholes
            if _at(folder, whole).is_file()
        ]
    if wrong:
        raise InputError(" ".join(dict.fromkeys(wrong)))


def absolute(parameters: list[Parameter], values: Mapping[str, Any], here: Path) -> dict[str, Any]:
    """Return the values with those relative paths made absolute that exist in the user's folder."""

    def moved(reader: Reader, value: Any) -> Any:
        if isinstance(value, list):
            return [moved(reader, item) for item in value]
        if not isinstance(value, str):
            return value
        parts = reader.parts(value, here)
        for at in range(1, len(parts), 2):
            there = _at(here, parts[at])
            if there.exists() and there != root() / parts[at]:
                parts[at] = str(there.resolve())
        return "".join(parts)

    kinds = {parameter.name: parameter.kind for parameter in parameters}
    return {n: moved(READERS[kinds[n]](), value) if kinds.get(n) else value for n, value in values.items()}


def digests(parameters: list[Parameter], values: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that is read because of a parameter, by its path, relative below `folder`.

    Raises:
        InputError: If one is not a regular file, or cannot be read.
    """
    hashes: dict[str, str] = {}
    for name, reader, text in _texts(parameters, values):
        if reader is None:
            continue
        for path in reader.parts(text, folder)[1::2]:
            for file in reader.files(_at(folder, path)):
                try:
                    (digest,) = digests_of([file], reader.largest).values()
                except InputError as error:
                    raise InputError(f"Parameter {name!r}: {error}") from None
                hashes[(file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()] = digest
    return hashes


def commits(parameters: list[Parameter], values: Mapping[str, Any]) -> dict[str, str]:
    """Return the commit of each hub model among the values, as in this machine's cache; "" if not fetched yet."""
    from workbench.models import cached_commit

    names = [t for p in parameters if p.kind == "ModelName" for _, _, t in _texts([p], values)]
    return {name: commit for name in names if (commit := cached_commit(name)) is not None}


def _texts(parameters: list[Parameter], values: Mapping[str, Any]) -> Iterator[tuple[str, Reader | None, str]]:
    """Parameter, its reader (None for plain text) and each text in its value."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for item in value:
                yield from texts(item)

    for parameter in parameters:
        every = list(texts(values.get(parameter.name)))
        reader = READERS[parameter.kind]() if every and parameter.kind else None
        yield from ((parameter.name, reader, text) for text in every)


def _refuse_path(name: str, text: str, folder: Path) -> None:
    """Refuse plain text that is the path of an existing file: its content would not be part of the run's key."""
    for piece in map(str.strip, (text, *re.split("[#=:;,]", text))):
        try:
            is_path = bool(piece.strip("./ ")) and _names_file(piece, _at(folder, piece))
        except (OSError, ValueError, RuntimeError):
            continue
        if is_path:
            raise InputError(
                f"Parameter {name!r} is plain text and contains {piece!r}, which is a path; declare it as FilePath, "
                "ModelName or another kind of workbench.kinds in the notebook's parameters cell, so that changes of "
                "the file are noticed."
            )


def _names_file(text: str, path: Path) -> bool:
    """Whether text is written as a path and exists, or names the folder of a model or an adapter."""
    written = "/" in text or os.sep in text or bool(Path(text).suffix) or text.startswith((".", "~"))
    return (written and path.exists()) or any((path / f).is_file() for f in ("config.json", "adapter_config.json"))


def _at(folder: Path, path: str) -> Path:
    return user_path(path, folder)
