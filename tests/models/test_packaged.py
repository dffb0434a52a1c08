"""The optional packaged model, where it is fetched: it is read whole, and does what it is offered for."""

from __future__ import annotations

import numpy as np
import pytest

import workbench as wb
from workbench.errors import InputError
from workbench.models import packaged

NAME = "qwen2.5-coder-1.5b-instruct"


def test_the_table_of_names_tells_what_each_model_needs() -> None:
    table = wb.models.names()
    assert [*table.index] == [packaged.EMBEDDED, NAME]
    assert table.float32_gb[NAME] == 7.1 and table.download_mb[NAME] == 1117
    package = packaged.MODELS[NAME].package
    assert len(package.parts) == 22 and sum(part.size for part in package.parts) < package.size
    assert package.sha256 == packaged.MODELS[NAME].gguf_sha256


@pytest.mark.slow
@pytest.mark.model
def test_the_second_model_answers_by_letter_above_chance() -> None:
    try:
        model = wb.load_model(NAME, device="cpu", dtype="float32")
    except InputError as error:
        pytest.skip(str(error))
    questions = wb.load_questions("general_knowledge", n=30, seed=0, style="letters", chat=True)
    answers = wb.ask(model, questions, store=False)
    p = wb.probabilities(answers, normalisation="none")
    outcomes = wb.outcomes(p)
    right, chance = (outcomes.choice_role == "correct").mean(), (1 / p.groupby("question_id").size()).mean()
    assert right > 0.45 > 2 * chance
    assert outcomes.mass.median() > 0.5
    assert np.isfinite(answers.logprob).all()
