"""The key of a computation: equal keys are the same notebook, parameters, input files and code."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from workbench.files import sha256_of

PACKAGE = Path(__file__).resolve().parents[1]
NOT_COMPUTING = ("runs", "reports", "cli")
"""Rooms of the package that show results and do not change them."""


def key_of(notebook: Path, name: str, values: dict[str, Any], read: dict[str, str]) -> str:
    """A short hash of all that decides a run's result, as far as this machine can know it.

    Args:
        notebook: Its file.
        name: `<study>/<notebook>`.
        values: All its parameters.
        read: What is read because of them: file -> SHA-256, hub model -> commit.
    """
    content = json.dumps([sha256_of(notebook), name, values, read, code_digest()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


@cache
def code_digest() -> str:
    """SHA-256 over the package's rooms that compute: their source, and the texts and tables that lie with it."""
    digest = hashlib.sha256()
    for path in sorted(path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        room = path.relative_to(PACKAGE).parts[0]
        if room not in NOT_COMPUTING:
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
