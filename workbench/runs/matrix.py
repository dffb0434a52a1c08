"""A study's matrix: axes of parameter values, and the cells they span."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from workbench.errors import InputError

RESERVED = ("include", "exclude")


@dataclass(frozen=True, slots=True)
class Matrix:
    """Axes of parameters; without any, one empty cell."""

    axes: dict[str, list[Any]]
    """Parameter -> its values."""
    include: tuple[dict[str, Any], ...] = ()
    """More cells."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Cells left out: all that agree with one of these."""

    @property
    def names(self) -> list[str]:
        """Every parameter the matrix speaks of."""
        parts = [self.axes, *self.include, *self.exclude]
        return list(dict.fromkeys(name for part in parts for name in part))

    def cells(self, fixed: set[str]) -> list[dict[str, Any]]:
        """Its cells, those of one model together.

        Args:
            fixed: Parameters the user set, which vary no more.
        """
        names = sorted(self.axes, key=lambda name: name != "model")
        full = [dict(zip(names, values)) for values in product(*(self.axes[name] for name in names))]
        left_out = [_told_apart(part).items() for part in self.exclude]
        kept = [cell for cell in full if not any(part <= _told_apart(cell).items() for part in left_out)]
        if not self.axes and self.include:
            kept = []
        made: list[dict[str, Any]] = []
        for cell in [*kept, *self.include]:
            free = {name: value for name, value in cell.items() if name not in fixed}
            if free not in made:
                made.append(free)
        return made


def _told_apart(cell: dict[str, Any]) -> dict[str, str]:
    """Values as text that tells them apart, so that cells can be compared as sets."""
    return {name: repr(value) for name, value in cell.items()}


def read_matrix(content: Any, path: Path) -> Matrix:
    """A matrix from a study's file.

    Raises:
        InputError: If it is not a mapping of parameters to lists of values, with `include` and `exclude` lists of
            mappings.
    """
    if not isinstance(content, dict):
        raise InputError(f"{path}: 'matrix' must be a mapping of parameters to lists of values.")
    for name, values in content.items():
        if not isinstance(values, list) or not values:
            what, entry = ("cells", "{parameter: value}") if name in RESERVED else ("values", "value")
            raise InputError(f"{path}: the matrix gives {name!r} no list of {what}; write {name}: [{entry}, ...].")
        if name in RESERVED and not all(isinstance(cell, dict) and cell for cell in values):
            raise InputError(f"{path}: {name!r} of the matrix must be a list of mappings of parameters to values.")
    axes = {str(name): values for name, values in content.items() if name not in RESERVED}
    return Matrix(axes, tuple(content.get("include", ())), tuple(content.get("exclude", ())))
