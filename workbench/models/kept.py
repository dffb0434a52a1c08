"""The network a process read first for a notebook, kept for the notebook that runs after it in the same process.

Off unless a process asks for it: the kernels of `workbench run` do, in which notebooks of one model follow each other.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workbench.models import fingerprint as fingerprints
from workbench.models.model import Model

SAMPLED = 16
"""Numbers of each tensor that a mark looks at."""


@dataclass(slots=True)
class _Slot:
    """Room for one network."""

    asked: bool = True
    """Whether the present notebook has had its turn; True also where nothing is to be kept."""
    key: tuple[Any, ...] = ()
    """What it was read as."""
    network: Any = None
    """The network."""
    mark: str = ""
    """Its mark when it was read."""


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
    if _slot.key != key or _slot.mark != mark(_slot.network):
        _slot.key, _slot.network = (), None
        gc.collect()  # two networks may not fit
        _slot.network = read(model)
        _slot.key, _slot.mark = key, mark(_slot.network)
    model.states["network"] = fingerprints.state_of_network(_slot.network)
    return _slot.network


def mark(network: Any) -> str:
    """What tells a network from what it was: settings, layers, hooks, and how often each tensor was written to.

    A few numbers of every tensor are read too, for what writes past the count (`tensor.data`); the others are not, so
    it takes next to no time whatever the size.
    """
    import torch

    settings = [network.config.to_dict(), getattr(network, "generation_config", None)]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, module in network.named_modules():
        state = (
            name,
            type(module).__qualname__,
            module.training,
            fingerprints.hooks_of(module),
            "forward" in vars(module),
        )
        digest.update(repr(state).encode())
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        written = None if tensor.is_inference() else tensor._version
        digest.update(repr((name, tensor.shape, tensor.dtype, tensor.device, tensor.requires_grad, written)).encode())
        if tensor.numel() and not tensor.is_meta:
            flat = tensor.detach().reshape(-1)
            some = flat[:: max(1, len(flat) // SAMPLED)].cpu().contiguous()
            digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
