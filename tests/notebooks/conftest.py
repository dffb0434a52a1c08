"""One process runs the notebooks of one model, as in `workbench run`; another model's notebook, or one that trains,
gets a new one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workbench.runs.kernel import Kernel


@pytest.fixture(scope="session")
def kernel() -> Iterator[Kernel]:
    with Kernel(stays=True) as one:
        yield one
