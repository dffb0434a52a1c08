"""What a reward function is to the key of a run: its name and its code, so that an edited one trains anew."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from types import CodeType
from typing import Any

import numpy as np

from workbench.errors import InputError


def reward_digest(reward: Any) -> str:
    """Digest of a reward function: its name, bytecode, constants, names, defaults and what it encloses.

    Functions that it encloses are read likewise; those it calls by a global name are not, and of an enclosed object
    other than a number, text, array or collection of these only the type counts.

    Raises:
        InputError: It is no function written in Python, so that it has no code to tell it by.
    """
    return hashlib.sha256("\n".join(_facts(reward, ())).encode()).hexdigest()


def need_function(reward: Any) -> None:
    """Refuses a partial, a method or another object that is called: its settings would not be in the key."""
    if not inspect.isfunction(reward):
        raise InputError(
            f"The reward is {type(reward).__name__!r}, which no run can be kept under; give a named function (def)."
        )


def _facts(reward: Any, above: tuple[Any, ...]) -> Iterable[str]:
    need_function(reward)
    yield reward.__qualname__
    yield from _code(reward.__code__)
    cells = [cell.cell_contents for cell in reward.__closure__ or () if not _is_empty(cell)]
    for value in (reward.__defaults__, reward.__kwdefaults__, *cells):
        yield from _value(value, (*above, reward))


def _code(code: CodeType) -> Iterable[str]:
    yield from (code.co_code.hex(), repr(code.co_names), repr(code.co_varnames), repr(code.co_freevars))
    for constant in code.co_consts:
        yield from _value(constant, ())


def _value(value: Any, above: tuple[Any, ...]) -> Iterable[str]:
    """A value enclosed, a default or a constant; `above` are the functions it lies in, which are not read again."""
    if isinstance(value, CodeType):
        yield from _code(value)
    elif inspect.isfunction(value):
        yield from (value.__qualname__,) if any(value is each for each in above) else _facts(value, above)
    elif isinstance(value, dict):
        yield from _value(list(value.items()), above)
    elif isinstance(value, (list, tuple)):
        yield f"{type(value).__name__} of {len(value)}"
        for each in value:
            yield from _value(each, above)
    elif isinstance(value, (set, frozenset)):
        yield repr(sorted(map(repr, value)))
    elif isinstance(value, (np.ndarray, np.generic)):
        yield repr(value.tolist())
    else:
        plain = value is None or isinstance(value, (bool, int, float, complex, str, bytes, type(...)))
        yield repr(value) if plain else f"a {type(value).__module__}.{type(value).__qualname__}"


def _is_empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True
