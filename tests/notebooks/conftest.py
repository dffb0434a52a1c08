"""What the notebooks run on: a random network of two layers, or, one notebook or two of each study, the embedded model.

One process runs the notebooks of one model, as in `workbench run`; a notebook that trains ends it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tiny

from workbench.runs.kernel import Kernel


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a random network of two layers: chance, and fast."""
    folder = tmp_path_factory.mktemp("tiny_model")
    tiny.network(context=8192).save_pretrained(folder)
    tiny.byte_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def kernel() -> Iterator[Kernel]:
    """The process of the notebooks on the random network."""
    with Kernel(stays=True) as one:
        yield one


@pytest.fixture(scope="session")
def embedded_kernel() -> Iterator[Kernel]:
    """The process of the notebooks on the embedded model."""
    with Kernel(stays=True) as one:
        yield one
