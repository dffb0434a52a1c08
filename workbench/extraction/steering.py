"""Steering: hidden states moved along a direction at inference, their norms kept (GrAInS, 2507.18043)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError
from workbench.models import Model


def apply_steering(states: Any, vector: Any, alpha: float) -> Any:
    """States moved along a vector and brought back to their norm: (h + alpha v) ||h|| / ||h + alpha v||.

    The norm is that of each state, over the last axis, for arrays and tensors alike.

    Args:
        states: `[..., width]`.
        vector: `[width]`.
        alpha: How far.
    """
    moved = states + alpha * vector
    before = (states**2).sum(-1, keepdims=True) ** 0.5
    after = (moved**2).sum(-1, keepdims=True) ** 0.5
    return moved * (before / (after + (after == 0)))


@contextmanager
def steered(model: Model, vectors: Mapping[int, ArrayLike], alpha: float) -> Iterator[Model]:
    """The model with its layers' outputs steered at every position, to be asked like any other inside the block.

    Its fingerprint is its own, so answers are kept apart from the plain model's.

    Args:
        model: The plain model; it must not be used inside the block.
        vectors: Layer -> vector, `[width]`.
        alpha: How far; 0 changes nothing, and is the plain model.
    """
    import torch

    if not alpha:
        yield model
        return
    parts = {"network": model.network, "tokenizer": model.tokenizer}
    model.check_unchanged()
    digest = hashlib.sha256(f"{model.fingerprint} {alpha!r}".encode())
    hooks = {}
    for layer, vector in sorted(vectors.items()):
        values = np.ascontiguousarray(vector, np.float64)
        digest.update(f" {layer} ".encode() + values.tobytes())
        hooks[layer] = _hook(torch.from_numpy(values), alpha)
    with layer_hooks(model.network, hooks):
        yield replace(model, name=f"{model.name} steered", fingerprint=digest.hexdigest(), loaded=parts)


@contextmanager
def layer_hooks(network: Any, hooks: Mapping[int, Callable[..., Any]]) -> Iterator[None]:
    """Forward hooks on decoder layers, numbered from 0, that are removed after the block.

    Raises:
        InputError: The model has no such layer.
    """
    layers = decoder_layers(network)
    if any(not 0 <= layer < len(layers) for layer in hooks):
        raise InputError(f"Layers {list(hooks)} are not all there; this model has 0 to {len(layers) - 1}.")
    with ExitStack() as stack:
        for layer, hook in hooks.items():
            stack.callback(layers[layer].register_forward_hook(hook).remove)
        yield


def decoder_layers(network: Any) -> Any:
    """The list of decoder layers, whatever a family calls it."""
    import torch

    depth = network.config.get_text_config().num_hidden_layers
    for module in network.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise InputError(f"The layers of {type(network).__name__} cannot be found; steering needs a list of layers.")


def _hook(vector: Any, alpha: float) -> Any:
    """A forward hook that steers a decoder layer's output."""

    def hook(module: Any, given: Any, out: Any) -> Any:
        states = out[0] if isinstance(out, tuple) else out
        moved = apply_steering(states, vector.to(states.device, states.dtype), alpha)
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    return hook
