import numpy as np
import pytest

from workbench.errors import InputError
from workbench.hallucination.benchmark_variance import digit_learners


def test_learners_learn_and_differ_by_seed():
    found = digit_learners(seeds=2, checkpoints=5, items=100)
    assert found.correct.shape == found.p_gold.shape == (2, 5, 100)
    assert found.correct[:, -1].mean() > found.correct[:, 0].mean() + 0.1
    assert not np.array_equal(found.p_gold[0], found.p_gold[1])
    assert ((found.p_gold >= 0) & (found.p_gold <= 1)).all()
    assert np.array_equal(found.p_gold[0], digit_learners(1, 5, 100).p_gold[0])


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="at least one seed"):
        digit_learners(seeds=0)
