"""Log-likelihoods agree with lm-evaluation-harness on the same pairs of context and continuation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import own_items
import pytest

import workbench as wb
from workbench.extraction import engine
from workbench.extraction.tokens import Encoder, Request
from workbench.models import packaged
from workbench.questions import Question

pytestmark = pytest.mark.model
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def harness():
    lm_eval = pytest.importorskip("lm_eval.models.huggingface", reason="the extra `peer` is not installed")
    folder = str(packaged.MODELS[packaged.EMBEDDED].located())
    return lm_eval.HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=8)


@pytest.fixture(scope="module")
def model():
    return wb.load_model(packaged.EMBEDDED, device="cpu")


def differences(harness, model, questions: Iterable[Question]) -> np.ndarray:
    """Ours minus theirs, of every option, in nats."""
    from lm_eval.api.instance import Instance

    items = list(questions)
    pairs = [(question.prompt_text, option.text) for question in items for option in question.options]
    theirs = harness.loglikelihood([Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)])
    ours = wb.ask(model, items, store=False)
    assert not ours["boundary_merged"].any()
    return ours["logprob"].to_numpy() - [value for value, _ in theirs]


def test_a_few_questions_agree_with_the_harness(harness, model):
    assert np.abs(differences(harness, model, own_items.cloze())).max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["letters", "judge", "survey"])
def test_other_kinds_of_questions_agree_with_the_harness(harness, model, kind):
    assert np.abs(differences(harness, model, getattr(own_items, kind)())).max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("style", ["cloze", "letters"])
def test_a_hundred_questions_agree_with_the_harness(harness, model, style):
    questions = [
        *wb.load_questions("truthful_qa", 50, style=style, abstain=True),
        *wb.load_questions("general_knowledge", 50, style=style, abstain=True),
    ]
    assert np.abs(differences(harness, model, questions)).max() < TOLERANCE


def test_a_chat_header_keeps_its_newline_where_the_harness_scores_it(harness, model):
    """The harness moves the newline that ends a chat header into every option, so its sums hold log P(newline) too."""
    from lm_eval.api.instance import Instance

    options = (wb.Option("Cork"), wb.Option("Lead"))
    question = Question((wb.Message("user", "Which of these floats on water?"),), options)
    requests = Encoder(model.tokenizer, model.context_length).encode(question)
    header = model.tokenizer.decode(requests[0].context)
    assert header.endswith("assistant\n")
    pairs = [Instance("loglikelihood", {}, (header, option.text), i) for i, option in enumerate(options)]
    theirs = np.array([value for value, _ in harness.loglikelihood(pairs)])
    ours = wb.ask(model, [question], store=False)["logprob"].to_numpy()
    *before, newline = requests[0].context
    ((_, _, (terms,)),) = engine.score(model, [Request(tuple(before), (newline,))])
    assert terms[0] < -1e-5
    assert theirs - ours == pytest.approx(terms[0], abs=1e-4)
