"""Reading records out of fetched Python packages, which are archives of files here: never installed, never run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.datasets.items import Record
from workbench.errors import InputError
from workbench.packages import SOURCE, Package, require

Reader = Callable[[Path], Iterable[Record]]


def read_records(path: Path) -> list[Record]:
    """The records of a task file (`examples`) or of JSON lines, among which comment lines may stand."""
    if path.suffix == ".json" and not path.read_text("utf-8").startswith("#"):
        examples: list[Record] = json.loads(path.read_text("utf-8"))["examples"]
        return examples
    lines = path.read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip() and not line.startswith("#")]


@dataclass(frozen=True, slots=True)
class Packaged:
    """A file of a fetched package."""

    package: Package
    """The package."""
    path: str
    """The file in it; `{subset}` stands for the subset."""
    reader: Reader = read_records
    """Reads the records."""

    def read(self, benchmark: str, subset: str, revision: str | None) -> tuple[Iterable[Record], str]:
        """The records, and package, version and SHA-256 of the file.

        Raises:
            InputError: The package is not fetched or was changed, or another revision is asked for.
        """
        if revision:
            raise InputError(f"{benchmark!r} comes with {self.package}; a revision goes with 'hub:...' alone.")
        folder = require(self.package, f"The benchmark {benchmark!r}")
        name = self.path.format(subset=subset)
        digest = json.loads((folder / SOURCE).read_text("utf-8"))["files"][name]["sha256"]
        return self.reader(folder / name), f"{self.package}, sha256:{digest}"
