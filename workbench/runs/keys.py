"""The key of a computation: equal keys are the same notebook, parameters, input files and code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from workbench.files import sha256_of
from workbench.models import split_adapter
from workbench.models.server import is_address, paths_in, with_paths

PACKAGE = Path(__file__).resolve().parents[1]
NOT_COMPUTING = ("runs", "reports", "cli")
"""Rooms of the package that show results and do not change them."""
LARGEST_HASHED = 64_000_000
"""Bytes up to which an input file is told by its content; beyond, by its size and time."""


def key_of(notebook: Path, name: str, values: dict[str, Any], folder: Path) -> str:
    """A short hash of all that decides a run's result, as far as this machine can know it.

    Args:
        notebook: Its file.
        name: `<study>/<notebook>`.
        values: All its parameters; files and folders among them count with their content.
        folder: What relative paths among them start from.

    Raises:
        InputError: If a parameter is the address of a server and is wrong, or holds a key.
    """
    files = [_state(folder / text) for text in input_paths(values, folder)]
    content = json.dumps([sha256_of(notebook), name, values, files, code_digest()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


@cache
def code_digest() -> str:
    """SHA-256 over the source of the package's rooms that compute."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0]
        if room not in NOT_COMPUTING:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def input_paths(values: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """The files and folders that parameters name, as they name them; relative ones start from `folder`."""
    return tuple(text for text in _texts(values) if _is_path(folder, text))


def from_here(value: Any, here: Path) -> Any:
    """A value with the relative paths in it made absolute, where they name something in the user's folder.

    Those in the options of a server's address among them.
    """
    if isinstance(value, list):
        return [from_here(item, here) for item in value]
    if not isinstance(value, str):
        return value
    if is_address(value):
        return with_paths(value, lambda path: from_here(path, here))
    base, adapter = split_adapter(value, here)
    if not (_is_path(here, value) or (adapter and _exists(here, adapter))):
        return value
    parts = [base] if base == value else [base, adapter]
    return "#".join(str((here / Path(part).expanduser()).resolve()) if _exists(here, part) else part for part in parts)


def _is_path(folder: Path, text: str) -> bool:
    """Whether text names something that is there, and looks like a path rather than a name."""
    base = split_adapter(text, folder)[0]
    return ("/" in text or bool(Path(base).suffix) or text.startswith((".", "~"))) and _exists(folder, base)


def _exists(folder: Path, text: str) -> bool:
    try:
        return bool(text) and (folder / Path(text).expanduser()).exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from [value] if not is_address(value) else paths_in(value)
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _state(path: Path) -> list[Any]:
    """What tells a file's or a folder's content apart from an earlier one."""
    path = Path(str(path).partition("#")[0]).expanduser()
    if path.is_dir():
        return [[p.relative_to(path).as_posix(), *_state(p)] for p in sorted(path.rglob("*")) if p.is_file()]
    stat = path.stat()
    return [stat.st_size, sha256_of(path) if stat.st_size <= LARGEST_HASHED else stat.st_mtime_ns]
