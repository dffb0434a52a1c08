"""Directions in hidden states that attributed tokens carry (GrAInS, Nguyen et al. 2025, arXiv 2507.18043).

The state of a prompt less its state without the tokens that move the preference most is what these tokens carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from workbench.errors import InputError, unknown
from workbench.extraction.attribution import Attribution, Floats
from workbench.extraction.steering import layer_hooks
from workbench.models import Model

Join = Literal["mean", "pca"]


def steering_vector(full: ArrayLike, ablated: ArrayLike, how: Join = "mean") -> Floats:
    """The direction from states without some tokens to states with them, `[width]`.

    Args:
        full: Hidden states of whole prompts, `[n, width]`.
        ablated: The same prompts with tokens taken out, `[n, width]`.
        how: `mean` difference, or the first principal direction of the differences (not centred) with the length of
            the mean difference; its sign is fixed so that the differences point along it on average.
    """
    difference = np.asarray(full, np.float64) - np.asarray(ablated, np.float64)
    if difference.ndim != 2 or not difference.size or not np.isfinite(difference).all():
        raise InputError("full and ablated must be tables [prompts, width] of finite numbers, of one shape.")
    mean: Floats = difference.mean(axis=0)
    if how not in get_args(Join):
        raise unknown("way to join differences", how, list(get_args(Join)))
    if how == "mean":
        return mean
    direction: Floats = np.linalg.svd(difference, full_matrices=False)[2][0]
    sign = 1.0 if (difference @ direction).mean() >= 0 else -1.0
    return sign * direction * float(np.linalg.norm(mean))


def steering_vectors(
    model: Model,
    attributions: Sequence[Attribution],
    layers: Sequence[int],
    k: int = 10,
    how: Join = "mean",
) -> dict[int, Floats]:
    """Vectors of layers: what the tokens that help carry, less what the tokens that harm carry.

    Args:
        model: Whose states.
        attributions: Of the prompts to learn from.
        layers: Numbered from 0, the first decoder layer.
        k: Most tokens ablated on each side; they are replaced by the end token.
        how: See `steering_vector`.

    Returns:
        Layer -> vector `[width]`.
    """
    if not attributions or not layers:
        raise InputError("There are no attributions to learn from, or no layers; give at least one of each.")
    end = _end_id(model)
    states = []
    for each in attributions:
        rows = [list(each.ids) for _ in range(3)]
        for row, sign in ((1, 1), (2, -1)):
            for position in each.top(k, 1 if sign > 0 else -1):
                rows[row][position] = end
        states.append(_last_states(model, rows, layers))
    whole, without_help, without_harm = np.stack(states, axis=1)
    return {
        layer: steering_vector(whole[:, i], without_help[:, i], how)
        - steering_vector(whole[:, i], without_harm[:, i], how)
        for i, layer in enumerate(layers)
    }


def _last_states(model: Model, rows: list[list[int]], layers: Sequence[int]) -> Floats:
    """Hidden states behind the chosen layers at the last position, `[rows, layers, width]`; rows of one length."""
    import torch

    device = model.network.get_input_embeddings().weight.device
    kept: dict[int, Any] = {}

    def keep(layer: int) -> Any:
        def hook(module: Any, given: Any, out: Any) -> None:
            kept[layer] = (out[0] if isinstance(out, tuple) else out)[:, -1]

        return hook

    with layer_hooks(model.network, {layer: keep(layer) for layer in layers}), torch.inference_mode():
        model.network.base_model(input_ids=torch.tensor(rows, device=device), use_cache=False)
    stacked: Floats = torch.stack([kept[layer] for layer in layers], dim=1).double().cpu().numpy()
    return stacked


def _end_id(model: Model) -> int:
    """The id that stands in for an ablated token: end of text, else padding, else unknown."""
    tokenizer = model.tokenizer
    for token in (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id):
        if token is not None:
            return int(token)
    raise InputError("This tokenizer has no end, padding or unknown token to put in the place of an ablated one.")
