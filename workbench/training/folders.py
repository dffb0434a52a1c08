"""Folders of training runs: one per checkpoint, marked when complete, the record of the run, and digests of rewards."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from workbench import reading
from workbench.errors import InputError
from workbench.files import full_disk, written_whole
from workbench.models import TRAINED_FROM

RECORD = "series.json"
FIELDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("key", "name", "algorithm", "parent"), str),
    **{"complete": bool, "save_at": list, "lora": (int, type(None))},
}
"""Fields that every record has, and their types."""
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Return the folder of a checkpoint."""
    return folder / f"checkpoint-{step}"


def complete_steps(folder: Path) -> list[int]:
    """Return the steps of complete checkpoints, which have the mark that is written last."""
    marks = [path for path in folder.glob(f"checkpoint-*/{TRAINED_FROM}") if path.stat().st_size]
    return sorted(int(n) for path in marks if (n := path.parent.name.partition("-")[2]).isascii() and n.isdecimal())


def remove_incomplete(folder: Path) -> None:
    """Delete checkpoints that were not written completely."""
    for path in {*folder.glob("checkpoint-*")} - {checkpoint_folder(folder, step) for step in complete_steps(folder)}:
        shutil.rmtree(path)


def resume_step(folder: Path, saves: list[int]) -> int:
    """Return the newest complete checkpoint from which training can resume; 0 if an earlier one is missing."""
    complete = set(complete_steps(folder))
    newest = max(complete, default=0)
    missing = {step for step in saves if step <= newest} - complete
    return 0 if missing or not (checkpoint_folder(folder, newest) / "optimizer.pt").is_file() else newest


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint that determine its outputs: adapter or weights, and configuration."""
    adapter = [folder / name for name in ADAPTER]
    if any(path.is_file() for path in adapter) or not (folder / "config.json").is_file():
        for path in adapter:
            if not path.is_file():
                raise InputError(f"Checkpoint {folder} lacks {path.name}; delete the folder and train again.")
        return adapter
    weights = [*folder.glob("model*.safetensors")]
    if not weights:
        raise InputError(f"Checkpoint {folder} has no weights (model.safetensors); delete the folder and train again.")
    return [*weights, folder / "config.json"]


def is_complete(folder: Path, key: str) -> bool:
    """Return whether a folder contains the whole run of a key; the folder of another run is an error."""
    if not (folder / RECORD).is_file():
        return False
    record = read_record(folder / RECORD)
    if record["key"] != key:
        raise InputError(f"{folder} contains another training run ({record['name']!r}); choose another folder.")
    return bool(record["complete"]) and set(record["save_at"]) <= set(complete_steps(folder))


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a run; a missing one of `FIELDS` is an error."""
    try:
        record = reading.read_json(path, strict=False)
        for name, kind in FIELDS.items():
            reading.field(record, name, kind, path.name)
        for step in record["save_at"]:
            reading.field({"save_at": step}, "save_at", int, path.name)
        for row in reading.field({"log": []} | record, "log", list, path.name):
            if not isinstance(row, dict):
                raise InputError(f"{path.name}: the field 'log' must be a list of objects {{...}}.")
    except InputError as error:
        raise InputError(
            f"{path} is not the record of a training run ({str(error).rstrip('.')}); delete the folder and train again."
        ) from error
    return dict(record)


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a run atomically."""
    with written_whole(folder / RECORD) as partial:
        partial.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")


@contextmanager
def full_disk_reported(folder: Path) -> Iterator[None]:
    """Turn any library's error on a full disk into an `InputError`, and delete the incomplete checkpoint."""
    try:
        yield
    except Exception as error:
        steps = ", ".join(map(str, complete_steps(folder))) or "none"
        if full := full_disk(error, folder, f"finished checkpoints ({steps}) are kept"):
            remove_incomplete(folder)
            raise full from error
        raise


def reward_digest(reward: Any) -> str:
    """Return the digest of a reward function: name, bytecode, constants, names, defaults and closure.

    Functions in the closure are digested likewise. Functions called by a global name are not, and of a closed-over
    object other than a number, text, array or collection of these only the type counts. `datasets.fingerprint.Hasher`
    would digest an importable function by its name only, so an edited one would reuse its old checkpoints.

    Raises:
        InputError: The reward is not a Python function, so it has no code to digest.
    """
    require_function(reward)
    return hashlib.sha256(repr(_identity(reward, ())).encode()).hexdigest()


def require_function(reward: Any) -> None:
    """Refuse a partial, a method or another callable, whose settings would be missing from the key."""
    if not inspect.isfunction(reward):
        raise InputError(
            f"The reward is a {type(reward).__name__!r}, which cannot identify a run; give a named function (def)."
        )


def _identity(value: Any, outer: tuple[Any, ...]) -> Any:
    """Return what identifies a value; `outer` are the enclosing functions, which are not digested again."""
    if isinstance(value, CodeType):
        names = value.co_names, value.co_varnames, value.co_freevars
        return value.co_code, names, _identity(value.co_consts, outer)
    if inspect.isfunction(value):
        if any(value is each for each in outer):
            return value.__qualname__
        inner = inspect.getclosurevars(value).nonlocals, value.__defaults__, value.__kwdefaults__
        return value.__qualname__, _identity(value.__code__, ()), _identity(inner, (*outer, value))
    if isinstance(value, dict):
        return "dict", _identity(list(value.items()), outer)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [_identity(each, outer) for each in value]
    if isinstance(value, (set, frozenset)):
        return "set", sorted(map(repr, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    plain = value is None or isinstance(value, (bool, int, float, complex, str, bytes, type(...)))
    return value if plain else f"a {type(value).__module__}.{type(value).__qualname__}"
