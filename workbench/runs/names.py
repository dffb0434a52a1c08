"""Names of models, benchmarks and algorithms among parameters, told wrong before a kernel starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.runs.parameters import Parameter

MODELS = ("model", "models", "others", "other_models", "base_model", "reference", "judge", "checkpoints", "stages")
BENCHMARKS = ("benchmarks", "benchmark")
ALGORITHMS = ("algorithms",)
"""Parameters that hold such names."""


def check_names(parameters: list[Parameter], values: Mapping[str, Any], folder: Path) -> None:
    """Refuses a model, benchmark or algorithm nobody knows.

    A parameter whose own default is no such name means something else, and is let be.

    Args:
        parameters: What the notebook declares.
        values: Name -> checked value.
        folder: What relative paths among them start from.

    Raises:
        InputError: Naming every one.
    """
    wrong = []
    for parameter in parameters:
        check = _check_of(parameter.name)
        if check is None or _refusals(check, parameter.default, folder):
            continue
        wrong += _refusals(check, values.get(parameter.name), folder)
    if wrong:
        raise InputError(" ".join(dict.fromkeys(wrong)))


def _check_of(name: str) -> Callable[[str, Path], None] | None:
    """What checks the names a parameter holds; None where it holds none."""
    if name in MODELS:
        from workbench.models import check_name

        return check_name
    if name in BENCHMARKS:
        from workbench.datasets import check_source

        return check_source
    if name in ALGORITHMS:
        return lambda algorithm, _: _check_algorithm(algorithm)
    return None


def _check_algorithm(name: str) -> None:
    from workbench.training.algorithms import policy_algorithm

    policy_algorithm(name)


def _refusals(check: Callable[[str, Path], None], value: Any, folder: Path) -> list[str]:
    found = []
    for name in value if isinstance(value, list) else [value]:
        try:
            if isinstance(name, str):
                check(name, folder)
        except InputError as error:
            found.append(str(error))
    return found
