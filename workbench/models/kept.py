"""The network a process read first for a notebook, kept for the notebook that runs after it in the same process.

Off unless a process asks for it: the kernels of `workbench run` do, in which notebooks of one model follow each other.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.models import state
from workbench.models.model import Model


@dataclass(slots=True)
class _Slot:
    """Room for one network."""

    asked: bool = True
    """Whether the present notebook has had its turn; True also where nothing is to be kept."""
    key: tuple[Any, ...] = ()
    """What it was read as."""
    network: Any = None
    """The network."""
    before: tuple[Any, ...] = ()
    """Its state when it was read, and what is beside it."""


_slot = _Slot()


def begin_notebook() -> None:
    """Lets the next notebook have the kept network, or keep the first one it reads."""
    _slot.asked = False


def network_of(model: Model, read: Callable[[Model], Any]) -> Any:
    """A model's network: the kept one on a notebook's first call, if it is this model's and unchanged; else read.

    A notebook that loads one model twice gets two networks, as in a process of its own.
    """
    if _slot.asked:
        return read(model)
    _slot.asked = True
    key = (model.fingerprint, model.device, model.trust_remote_code, model.allow_pickle)
    if _slot.key != key or not _unchanged(_slot.network):
        _slot.key, _slot.network = (), None
        gc.collect()  # two networks may not fit
        _slot.network = read(model)
        _slot.key, _slot.before = key, (state.of_network(_slot.network), _beside(_slot.network))
    return _slot.network


def _unchanged(network: Any) -> bool:
    """Whether the kept network is as it was when it was read."""
    was, beside = _slot.before
    return not state.changed(network, was, state.of_network) and beside == _beside(network)


def _beside(network: Any) -> tuple[str, list[bool]]:
    """What a notebook may change that decides no stored number: how texts are generated, and which weights train."""
    return repr(getattr(network, "generation_config", None)), [p.requires_grad for p in network.parameters()]
