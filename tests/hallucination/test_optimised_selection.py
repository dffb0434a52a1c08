import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from workbench.errors import InputError
from workbench.hallucination import conformal
from workbench.hallucination.conformal import SLACK, conformal_p_values, conformal_select

TENTHS = st.integers(0, 10).map(lambda k: k / 10)


@given(st.lists(st.tuples(TENTHS, st.booleans()), min_size=1, max_size=25), st.lists(TENTHS, min_size=1, max_size=12))
@settings(max_examples=120, deadline=None)
def test_one_score_is_plain_conformal_selection(calibration, test):
    score, right = (np.array(each, float) for each in zip(*calibration))
    for q in (0.1, 0.3, 0.6):
        plain = conformal_select(score, right, test, q)
        found = conformal.optimised_select(score[:, None], right, np.array(test)[:, None], q)
        assert found["p"].tolist() == pytest.approx(plain["p"].tolist())
        assert found["selected"].tolist() == plain["selected"].tolist()


def test_against_the_definition_one_answer_at_a_time():
    """Auxiliary p-values as the paper's code takes them: answer j's own is 0, and j counts as one more wrong one."""
    rng = np.random.default_rng(0)
    known, right, new, q = rng.random((20, 3)), rng.random(20) < 0.5, rng.random((6, 3)), 0.5
    found = conformal.optimised_select(known, right, new, q)
    for j in range(6):
        sizes = []
        for k in range(3):
            wrong = np.append(known[~right, k], new[j, k])
            p = np.array([0 if i == j else (wrong >= new[i, k]).sum() / 21 for i in range(6)])
            sizes.append(max([r for r in range(1, 7) if (p <= q * r / 6).sum() >= r], default=0))
        best = int(np.argmax(sizes))
        assert (found["chosen"][j], found["size"][j]) == (best, sizes[best])
        assert found["p"][j] == pytest.approx(conformal_p_values(known[:, best], right, new[:, best])[j])
        passes = found["p"][j] <= q * sizes[best] / 6 + SLACK
        assert found["e"][j] == pytest.approx(6 / (q * sizes[best]) if passes else 0)


def noise(seed, n=40, m=30, scores=60):
    """Scores that know nothing, so every released answer is wrong as often as any: half of the time."""
    rng = np.random.default_rng(seed)
    return rng.random((n, scores)), rng.random(n) < 0.5, rng.random((m, scores)), rng.random(m) < 0.5


def test_the_guarantee_survives_a_choice_that_breaks_it_elsewhere():
    q, naive, ours = 0.3, [], []
    for seed in range(200):
        known, right, new, truth = noise(seed)
        each = [conformal_select(known[:, k], right, new[:, k], q)["selected"].to_numpy() for k in range(60)]
        best = max(each, key=sum)
        chosen = conformal.optimised_select(known, right, new, q, seed=seed)["selected"].to_numpy()
        for found, shares in ((best, naive), (chosen, ours)):
            shares.append((found & ~truth).sum() / max(found.sum(), 1))
    error = np.std(ours) / np.sqrt(200)
    assert np.mean(ours) <= q + 3 * error
    assert np.mean(naive) > q + 3 * np.std(naive) / np.sqrt(200)


def test_the_guarantee_survives_training_on_the_calibration_answers():
    q, shares = 0.3, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(80, 8))
        truth = rng.random(80) < 1 / (1 + np.exp(-2 * x[:, 0]))
        found = conformal.trained_select(x[:50], truth[:50], x[50:], q, penalties=(0.1, 10.0))
        given = found["selected"].to_numpy()
        shares.append((given & ~truth[50:]).sum() / max(given.sum(), 1))
    assert 0.02 < np.mean(shares) <= q + 3 * np.std(shares) / np.sqrt(200)


def test_leave_one_out_scores_are_those_of_refitted_regressions():
    rng = np.random.default_rng(0)
    known, new, right = rng.normal(size=(12, 3)), rng.normal(size=(4, 3)), rng.random(12) < 0.5
    own, at, others = conformal.leave_one_out(known, right, new, 2.0)
    rows = np.vstack([known, new])
    x = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    for j in range(4):
        seen, y = np.vstack([x[:12], x[12 + j]]), np.append(right, 0).astype(float)
        for i in range(13):
            fitted = Ridge(2.0, solver="cholesky").fit(np.delete(seen, i, 0), np.delete(y, i))
            assert fitted.predict(seen[[i]])[0] == pytest.approx(own[j, i] if i < 12 else at[j])
        whole = Ridge(2.0, solver="cholesky").fit(seen, y).predict(x[12:])
        assert np.delete(whole, j) == pytest.approx(np.delete(others[j], j))


def test_a_uniform_number_shared_by_all_releases_no_less():
    more = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth = rng.random(120) < 0.5
        scores = np.column_stack([truth + rng.normal(0, spread, 120) for spread in (0.7, 0.8)])
        parts = (scores[:60], truth[:60], scores[60:], 0.2)
        plain, pruned = (conformal.optimised_select(*parts, seed=s)["selected"] for s in (None, seed))
        assert (plain <= pruned).all()
        more += pruned.sum() - plain.sum()
    assert more > 0


def test_ties_count_against_an_answer():
    """Without them, as in the paper's simulations, answers that all look alike would all be released."""
    same = np.full((30, 2), 0.5)
    found = conformal.optimised_select(same, np.arange(30) % 2, same[:10], 0.4)
    assert not found["selected"].any()
    assert found["p"].tolist() == pytest.approx([16 / 31] * 10)


def test_impossible_selections_say_so():
    known, right, new, _ = noise(0)
    assert "nothing can be released" in conformal.optimised_select(known, right, new, 0.01).attrs["note"]
    assert "fewer than" in conformal.trained_select(known[:, :4], right, new[:, :4], 0.1).attrs["note"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal.optimised_select([[0.1]], [1, 0], [[0.1]], 0.1), "correct must hold 1"),
        (lambda: conformal.optimised_select([[0.1]], [1], [[0.1, 0.2]], 0.1), "1 columns and test 2"),
        (lambda: conformal.optimised_select([[np.nan]], [1], [[0.1]], 0.1), "calibration must be a table"),
        (lambda: conformal.optimised_select([[0.1]], [1], [[0.1]], 2), "q must be"),
        (lambda: conformal.trained_select([[0.1]], [1], [[0.1]], 0.1, penalties=[0]), "penalties must"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
