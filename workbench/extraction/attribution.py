"""Which prompt tokens move a preference: integrated gradients on embeddings (GrAInS, Nguyen et al. 2025, 2507.18043).

The preference is F = log p(correct option) - log p(likeliest wrong option), each of all its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

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
    if baseline not in get_args(Baseline):
        raise unknown("baseline", baseline, list(get_args(Baseline)))
    encoder = Encoder(model.tokenizer, model.context_length)
    found = []
    with progress.bar(len(questions), "attributing tokens", show_progress) as advance:
        for question in questions:
            found.append(_attribution(model, encoder, question, steps, baseline, batch_size))
            advance(1)
    return found


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
