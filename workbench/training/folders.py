"""How a training run lies on disk: a folder a checkpoint, marked when it is whole, and the record of the run."""

from __future__ import annotations

import errno
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

from workbench.errors import InputError
from workbench.files import written_whole
from workbench.models import TRAINED_FROM

RECORD = "series.json"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where a step's checkpoint lies."""
    return folder / f"checkpoint-{step}"


def finished(folder: Path) -> list[int]:
    """Steps of the checkpoints that were written whole: the mark comes last."""
    marks = [path for path in folder.glob(f"checkpoint-*/{TRAINED_FROM}") if path.stat().st_size]
    return [int(path.parent.name.partition("-")[2]) for path in marks]


def remove_torn(folder: Path) -> None:
    """Removes checkpoints that were not written whole."""
    for torn in {*folder.glob("checkpoint-*")} - {checkpoint_folder(folder, step) for step in finished(folder)}:
        shutil.rmtree(torn)


def resumed_from(place: Path, saves: list[int]) -> int:
    """The newest whole checkpoint, if none before it is missing and training can go on from it; else 0."""
    whole = set(finished(place))
    newest = max(whole, default=0)
    missing = {step for step in saves if step <= newest} - whole
    return 0 if missing or not (checkpoint_folder(place, newest) / "optimizer.pt").is_file() else newest


def weight_files(folder: Path) -> list[Path]:
    """The files of a checkpoint that decide its numbers."""
    adapter = [folder / name for name in ADAPTER]
    if any(path.is_file() for path in adapter) or not (folder / "config.json").is_file():
        for path in adapter:
            if not path.is_file():
                raise InputError(f"Checkpoint {folder} lacks {path.name}; delete the folder and train again.")
        return adapter
    found = [*folder.glob("model*.safetensors"), folder / "config.json"]
    if len(found) < 2:
        raise InputError(f"Checkpoint {folder} has no weights (model.safetensors); delete the folder and train again.")
    return found


def is_complete(place: Path, key: str) -> bool:
    """Whether the folder holds the whole of this run; another run's folder is an error."""
    if not (place / RECORD).is_file():
        return False
    record = read_record(place / RECORD)
    if record["key"] != key:
        raise InputError(f"{place} holds another training run ({record['name']!r}); give this one its own folder.")
    return bool(record["complete"]) and set(record["save_at"]) <= set(finished(place))


def read_record(path: Path) -> dict[str, Any]:
    """The record of a run, checked for what every one holds."""
    try:
        record = json.loads(path.read_text("utf-8"))
        return {
            name: record[name] for name in ("key", "name", "algorithm", "parent", "complete", "save_at", "lora")
        } | record
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no record of a training run ({error}); delete the folder, train again.") from error


def write_record(place: Path, record: Mapping[str, Any]) -> None:
    """Writes the record of a run, whole or not at all."""
    with written_whole(place / RECORD) as partial:
        partial.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")


@contextmanager
def full_disk_named(place: Path) -> Iterator[None]:
    """Turns what a full disk makes of a save, which each library words its own way, into one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        named = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
        if not named and shutil.disk_usage(place).free >= 2**20:
            raise
        remove_torn(place)
        kept = ", ".join(map(str, sorted(finished(place)))) or "none"
        raise InputError(
            f"The disk is full at {place}; finished checkpoints ({kept}) are kept. Free some space and run this "
            "again to go on from there."
        ) from error


def reward_digest(reward: Any) -> str:
    """Digest of a reward function: its name, bytecode, constants, names, defaults and what it encloses.

    Functions that it encloses are read likewise; those it calls by a global name are not, and of an enclosed object
    other than a number, text, array or collection of these only the type counts. (`datasets.fingerprint.Hasher` takes
    a function that can be imported by its name alone, so that an edited one would keep its old checkpoints.)

    Raises:
        InputError: It is no function written in Python, so that it has no code to tell it by.
    """
    need_function(reward)
    return hashlib.sha256(repr(_facts(reward, ())).encode()).hexdigest()


def need_function(reward: Any) -> None:
    """Refuses a partial, a method or another object that is called: its settings would not be in the key."""
    if not inspect.isfunction(reward):
        raise InputError(
            f"The reward is {type(reward).__name__!r}, which no run can be kept under; give a named function (def)."
        )


def _facts(value: Any, above: tuple[Any, ...]) -> Any:
    """What tells a value from another; `above` are the functions it lies in, which are not read again."""
    if isinstance(value, CodeType):
        names = value.co_names, value.co_varnames, value.co_freevars
        return value.co_code, names, _facts(value.co_consts, above)
    if inspect.isfunction(value):
        if any(value is each for each in above):
            return value.__qualname__
        inner = inspect.getclosurevars(value).nonlocals, value.__defaults__, value.__kwdefaults__
        return value.__qualname__, _facts(value.__code__, ()), _facts(inner, (*above, value))
    if isinstance(value, dict):
        return "dict", _facts(list(value.items()), above)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [_facts(each, above) for each in value]
    if isinstance(value, (set, frozenset)):
        return "set", sorted(map(repr, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    plain = value is None or isinstance(value, (bool, int, float, complex, str, bytes, type(...)))
    return value if plain else f"a {type(value).__module__}.{type(value).__qualname__}"
