"""Every causal type of transformers is read as a plain forward reads it, or refused in one sentence."""

from __future__ import annotations

import architectures
import numpy as np
import pytest
import tiny
import torch
import transformers

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import engine
from workbench.extraction.tokens import Request

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]
REFUSED = {
    "cpmant": "states no context length",
    "xlnet": "states no context length",
    "whisper": "states no context length",
    "got_ocr2": "cannot be scored by any method",
    "reformer": "cannot be scored by any method",
    "prophetnet": "changes by .* nat when others follow it",
}
"""Types that are no causal language model on token ids alone, and what is said of them."""
NOT_BUILT = {"blt", "dots3_note", "dots3_note_text", "gemma3n", "gemma4_assistant", "gemma4_unified_assistant"}
NOT_BUILT |= {"musicgen", "musicgen_melody"}
"""Types whose configuration cannot be made small, or that need a library which is not installed: not tested."""
IN_EVERY_RUN = {"mamba2", "zamba2", "gemma4", "llama4", "recurrent_gemma", "deepseek_v3", "prophetnet"}
KINDS = [
    pytest.param(kind, marks=() if kind in IN_EVERY_RUN else pytest.mark.slow)
    for kind in architectures.NAMES
    if kind not in NOT_BUILT
]


def requests() -> list[Request]:
    """Requests that share prefixes of several lengths."""
    draw, made = np.random.default_rng(0), []
    base = tuple(draw.integers(5, 400, 60).tolist())
    for _ in range(6):
        context = base[: draw.integers(1, 60)] + tuple(draw.integers(5, 9, draw.integers(0, 12)).tolist())
        made += [Request(context, tuple(draw.integers(5, 400, draw.integers(1, 5)).tolist())) for _ in range(3)]
    return made


def plain(network, asked: list[Request]) -> list[float]:
    """The log-probability of each continuation from one forward over the whole text."""
    values = []
    with torch.inference_mode():
        for request in asked:
            ids = torch.tensor([request.context + request.continuation])
            logp = network(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
            at = range(len(request.context) - 1, ids.shape[1] - 1)
            values.append(sum(logp[t, ids[0, t + 1]].item() for t in at))
    return values


@pytest.mark.parametrize("kind", KINDS)
def test_a_type_is_read_as_a_plain_forward_reads_it_or_is_refused(kind):
    network, texts = architectures.built(kind), requests()
    if kind in REFUSED:
        with pytest.raises(InputError, match=REFUSED[kind]):
            engine.choose(wb.wrap_model(network, tiny.byte_tokenizer(), kind))
        return
    subject = wb.wrap_model(network, tiny.byte_tokenizer(), kind)
    values = np.full(len(texts), np.nan)
    for _, indices, terms in engine.score(subject, texts):
        values[indices] = [each.sum() for each in terms]
    expected = plain(network, texts)
    assert np.std(expected) > 0.1, "a network that tells nothing apart tests nothing"
    assert values == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_types_that_are_not_built_are_those_of_the_installed_transformers():
    """A new release of transformers that builds one of them, or brings another, changes the table in docs/engine.md."""
    failed = set()
    for kind in architectures.NAMES:
        try:
            architectures.built(kind)
        except LookupError:
            failed.add(kind)
    assert failed == NOT_BUILT, transformers.__version__
