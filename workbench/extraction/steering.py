"""Steering by attributed tokens (GrAInS, Nguyen et al. 2025, arXiv 2507.18043).

Integrated gradients say which prompt tokens move F = log p(preferred) - log p(dispreferred) up or down. The hidden
state with the tokens that move it most, less the state without them, is a direction; added to the states at inference,
whose norms are kept, it steers the answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench.errors import InputError, unknown
from workbench.extraction import progress
from workbench.extraction.tokens import Encoder, Request
from workbench.models import Model
from workbench.questions import Question

Floats = NDArray[np.float64]
Baseline = Literal["half", "mean", "zero"]


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each prompt token does for the preference of one option over another."""

    question_id: str
    """The question."""
    tokens: tuple[str, ...]
    """Texts of the prompt's tokens."""
    scores: Floats = field(repr=False)
    """Attribution of each token, nats, `[tokens]`."""
    preference: float
    """F of the prompt, nats."""
    baseline: float
    """F of the baseline, nats; the scores should add up to preference - baseline."""
    ids: tuple[int, ...] = field(repr=False)
    """Ids of the prompt's tokens."""
    special: NDArray[np.bool_] = field(repr=False)
    """Which of them are control tokens; these are never ablated, `[tokens]`."""

    @property
    def gap(self) -> float:
        """How far the scores are from adding up, as a share of what they should add up to."""
        due = self.preference - self.baseline
        return float(abs(self.scores.sum() - due) / abs(due)) if due else float("nan")

    def top(self, k: int, sign: Literal[1, -1]) -> list[int]:
        """Positions of up to k tokens that move the preference most up (1) or down (-1).

        Control tokens and the last token, at which hidden states are read, are left out.
        """
        signed = np.where(self.special, -np.inf, sign * self.scores)
        signed[-1] = -np.inf
        return [int(i) for i in np.argsort(-signed, kind="stable")[:k] if signed[i] > 0]


def attribute(
    model: Model,
    questions: Sequence[Question],
    *,
    steps: int = 20,
    baseline: Baseline = "half",
    batch_size: int = 5,
    show_progress: bool = True,
) -> list[Attribution]:
    """Integrated gradients of log p(correct option) - log p(likeliest wrong option) on the prompt's embeddings.

    Each option's log-probability is that of all its tokens, each read one position before it.

    Args:
        model: An open-weights model; gradients need about three times the memory of a forward pass.
        questions: Each with a correct and a wrong option.
        steps: Points of the integral (Gauss-Legendre).
        baseline: Where the path starts: `half` of each embedding, the `mean` of all embeddings, or `zero` as in the
            paper. Networks that normalise change abruptly near zero, and less so near the mean, where attributions
            need hundreds of steps to add up; between half and whole they do so in a few.
        batch_size: Points in one forward.
        show_progress: Whether a bar is shown when someone watches.
    """
    if baseline not in ("half", "mean", "zero"):
        raise unknown("baseline", baseline, ["half", "mean", "zero"])
    encoder = Encoder(model.tokenizer, model.context_length)
    found = []
    with progress.bar(len(questions), "attributing tokens", show_progress, "questions") as advance:
        for question in questions:
            found.append(_attribution(model, encoder, question, steps, baseline, batch_size))
            advance(1)
    return found


def steering_vector(full: ArrayLike, ablated: ArrayLike, how: Literal["mean", "pca"] = "mean") -> Floats:
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
    if how == "mean":
        return mean
    if how != "pca":
        raise unknown("way to join differences", how, ["mean", "pca"])
    direction: Floats = np.linalg.svd(difference, full_matrices=False)[2][0]
    sign = 1.0 if (difference @ direction).mean() >= 0 else -1.0
    return sign * direction * float(np.linalg.norm(mean))


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


def steering_vectors(
    model: Model,
    attributions: Sequence[Attribution],
    layers: Sequence[int],
    k: int = 10,
    how: Literal["mean", "pca"] = "mean",
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
    depth = len(_decoder_layers(model.network))
    if not layers or any(not 0 <= layer < depth for layer in layers):
        raise InputError(f"Layers {list(layers)} are not all there; {model.name!r} has 0 to {depth - 1}.")
    if not attributions:
        raise InputError("There are no attributions to learn from; attribute at least one question.")
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


@contextmanager
def steered(model: Model, vectors: Mapping[int, ArrayLike], alpha: float) -> Iterator[Model]:
    """The model with its layers' outputs steered at every position, to be asked like any other inside the block.

    Its fingerprint is its own, so its answers are kept apart from the plain model's.

    Args:
        model: The plain model; it must not be used inside the block.
        vectors: Layer -> vector, from `steering_vectors`.
        alpha: How far; 0 changes nothing.
    """
    import torch

    network = model.network
    layers = _decoder_layers(network)
    digest = hashlib.sha256(f"{model.fingerprint} {alpha!r}".encode())
    hooks = []
    try:
        for layer, vector in sorted(vectors.items()):
            values = np.ascontiguousarray(vector, np.float64)
            digest.update(f" {layer} ".encode() + values.tobytes())
            hooks.append(layers[layer].register_forward_hook(_hook(torch.from_numpy(values), alpha)))
        parts = {"network": network, "tokenizer": model.tokenizer}
        yield replace(model, name=f"{model.name} steered", fingerprint=digest.hexdigest(), loaded=parts)
    finally:
        for hook in hooks:
            hook.remove()


def _attribution(
    model: Model, encoder: Encoder, question: Question, steps: int, baseline: Baseline, batch_size: int
) -> Attribution:
    """Captum's integrated gradients of one question."""
    import torch
    from captum.attr import IntegratedGradients

    preferred, other = _pair(model, encoder, question)
    embed = model.network.get_input_embeddings()
    ids = torch.tensor([preferred.context], device=embed.weight.device)
    prompt = embed(ids).detach()
    mean = embed.weight.detach().mean(dim=0).expand_as(prompt).contiguous()
    path_start = {"half": prompt / 2, "mean": mean, "zero": torch.zeros_like(prompt)}[baseline]

    def difference(states: Any) -> Any:
        return _logprob(model, states, preferred.continuation) - _logprob(model, states, other.continuation)

    with torch.enable_grad():
        found = IntegratedGradients(difference).attribute(
            prompt, path_start, n_steps=steps, internal_batch_size=batch_size, method="gausslegendre"
        )
    with torch.inference_mode():
        at, from_ = float(difference(prompt)), float(difference(path_start))
    special = set(model.tokenizer.all_special_ids)
    return Attribution(
        question_id=question.id,
        tokens=tuple(model.tokenizer.decode([i]) for i in preferred.context),
        scores=found.sum(-1)[0].double().cpu().numpy(),
        preference=at,
        baseline=from_,
        ids=preferred.context,
        special=np.array([i in special for i in preferred.context]),
    )


def _pair(model: Model, encoder: Encoder, question: Question) -> tuple[Request, Request]:
    """The requests of the likeliest correct and the likeliest wrong option."""
    import torch

    requests = encoder.encode(question)
    embed = model.network.get_input_embeddings()
    with torch.inference_mode():
        prompt = embed(torch.tensor([requests[0].context], device=embed.weight.device))
        scores = [float(_logprob(model, prompt, request.continuation)) for request in requests]
    best = []
    for role in ("correct", "wrong"):
        rows = [i for i, option in enumerate(question.options) if option.role == role]
        if not rows:
            raise InputError(f"Question {question.id!r} has no {role} option; steering needs both sides.")
        best.append(requests[max(rows, key=lambda i: scores[i])])
    return best[0], best[1]


def _logprob(model: Model, prompt: Any, continuation: Sequence[int]) -> Any:
    """Log-probability of a continuation behind prompt embeddings `[B, T, width]`, `[B]`, nats.

    The logits at the prompt's last position score the continuation's first token.
    """
    import torch

    network = model.network
    ids = torch.tensor([list(continuation)], device=prompt.device).expand(len(prompt), -1)
    states = torch.cat([prompt, network.get_input_embeddings()(ids[:, :-1])], dim=1)
    out = network(inputs_embeds=states, use_cache=False, logits_to_keep=ids.shape[1])
    logs = torch.log_softmax(out.logits[:, -ids.shape[1] :].float(), dim=-1)
    return logs.gather(-1, ids[..., None])[..., 0].sum(-1)


def _last_states(model: Model, rows: list[list[int]], layers: Sequence[int]) -> Floats:
    """Hidden states behind the chosen layers at the last position, `[rows, layers, width]`; rows of one length."""
    import torch

    device = model.network.get_input_embeddings().weight.device
    kept: dict[int, Any] = {}
    modules = _decoder_layers(model.network)

    def keep(layer: int) -> Any:
        def hook(module: Any, given: Any, out: Any) -> None:
            kept[layer] = (out[0] if isinstance(out, tuple) else out)[:, -1]

        return hook

    hooks = [modules[layer].register_forward_hook(keep(layer)) for layer in layers]
    try:
        with torch.inference_mode():
            model.network.base_model(input_ids=torch.tensor(rows, device=device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    stacked: Floats = torch.stack([kept[layer] for layer in layers], dim=1).double().cpu().numpy()
    return stacked


def _hook(vector: Any, alpha: float) -> Any:
    """A forward hook that steers a decoder layer's output."""

    def hook(module: Any, given: Any, out: Any) -> Any:
        states = out[0] if isinstance(out, tuple) else out
        moved = apply_steering(states, vector.to(states.device, states.dtype), alpha)
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    return hook


def _decoder_layers(network: Any) -> Any:
    """The list of decoder layers, whatever a family calls it."""
    import torch

    depth = network.config.get_text_config().num_hidden_layers
    for module in network.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return module
    raise InputError(f"The layers of {type(network).__name__} cannot be found; steering needs a list of layers.")


def _end_id(model: Model) -> int:
    """The id that stands in for an ablated token: end of text, else padding, else unknown."""
    tokenizer = model.tokenizer
    for token in (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id):
        if token is not None:
            return int(token)
    raise InputError("This tokenizer has no end, padding or unknown token to put in the place of an ablated one.")
