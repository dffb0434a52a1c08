import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, nhypergeom
from sklearn.linear_model import Ridge

from workbench.errors import InputError
from workbench.hallucination import conformal
from workbench.hallucination.conformal import TIE, conformal_p_values, conformal_select

CALIBRATION = [
    *(0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4),
    *(0.35, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05),
]
CORRECT = [1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
TEST = [0.97, 0.92, 0.78, 0.55, 0.28]
LABELS = [0.3, 0.5, 0.65, 0.8, 0.95, 1.1, 1.4, 1.6, 2.0]


def batch_coverage(n, m, rank, k):
    """P(the rank-th smallest of m new scores <= the k-th smallest of n calibration scores), without ties."""
    bound = conformal.batch_quantile_bound(range(n), m, rank, alpha=1 - nhypergeom(n + m, n, rank).cdf(k - 1))
    assert bound.k == k
    return bound.coverage


def test_O_87_batch_coverage():
    assert batch_coverage(99, 5, 5, 97) == pytest.approx(0.861316, abs=1e-6)
    assert batch_coverage(99, 5, 3, 60) == pytest.approx(0.679228, abs=1e-6)
    assert batch_coverage(99, 1, 1, 90) == pytest.approx(90 / 100)
    simultaneous = np.prod([(97 + i) / (100 + i) for i in range(5)])
    assert batch_coverage(99, 5, 5, 97) == pytest.approx(simultaneous)


def test_O_87_batch_quantile_bound():
    scores = np.arange(1.0, 100.0)
    worst, median = (conformal.batch_quantile_bound(scores, 5, rank) for rank in (5, 3))
    assert (worst.k, worst.bound, worst.coverage) == (98, 98.0, pytest.approx(0.905713, abs=1e-6))
    assert (median.k, median.coverage) == (76, pytest.approx(0.901703, abs=1e-6))
    assert conformal.batch_quantile_bound([1, 2], 5, 5).bound == np.inf


def test_O_88_label_powerset():
    o = [0.9, 0.6, 0.2]
    everything = conformal.label_powerset_sets(LABELS, o, 0.0).sets
    numbers_of = {labels: [alpha, p] for labels, alpha, p in everything.to_numpy()}
    expected = {"110": (0.7, 0.7), "100": (0.9, 0.6), "111": (1.3, 0.4), "010": (1.5, 0.3), "101": (1.5, 0.3)}
    expected |= {"000": (1.7, 0.2), "011": (2.1, 0.1), "001": (2.3, 0.1)}
    for name, numbers in expected.items():
        assert numbers_of[tuple(map(int, name))] == pytest.approx(numbers), name
    found = conformal.label_powerset_sets(LABELS, o, 0.35)
    assert found.sets["labels"].tolist() == [(1, 1, 0), (1, 0, 0), (1, 1, 1)]
    assert (found.point, found.credibility, found.confidence) == ((1, 1, 0), pytest.approx(0.7), pytest.approx(0.4))


def test_O_89_conformal_selection():
    found = conformal_select(CALIBRATION, CORRECT, TEST, 0.1)
    assert found["p"].tolist() == pytest.approx([0.05, 0.05, 0.05, 0.10, 0.25])
    assert found["p_adjusted"].tolist() == pytest.approx([0.0833, 0.0833, 0.0833, 0.125, 0.25], abs=1e-4)
    assert found["selected"].sum() == 3
    assert conformal_select(CALIBRATION, CORRECT, TEST, 0.2)["selected"].sum() == 4


def test_impossible_selections_say_so():
    nothing = conformal_select(CALIBRATION, CORRECT, TEST, 0.01)
    assert not nothing["selected"].any() and "nothing can be released" in nothing.attrs["note"]
    assert "fewer than 3" in conformal_select(CALIBRATION, CORRECT, TEST, 0.1).attrs["note"]
    known, right, new, _ = noise(0)
    assert "nothing can be released" in conformal.optimised_select(known, right, new, 0.01).attrs["note"]
    assert "fewer than" in conformal.trained_select(known[:, :4], right, new[:, :4], 0.1).attrs["note"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.sampled_from([1.0, 2.0]))
@settings(max_examples=60, deadline=None)
def test_best_first_finds_all_sets_in_order(o, d):
    found = list(conformal.best_first(np.array(o), d))
    assert {labels for labels, _ in found} == set(itertools.product((0, 1), repeat=len(o)))
    assert len(found) == 2 ** len(o)
    alphas = [alpha for _, alpha in found]
    assert (np.diff(alphas) >= -1e-9).all()
    for labels, alpha in found:
        assert alpha == pytest.approx(float(conformal.label_nonconformity(labels, o, d)), abs=1e-9)


def test_a_hundred_labels_are_no_obstacle():
    o = np.where(np.arange(100) % 3 == 0, 0.97, 0.03)
    found = conformal.label_powerset_sets(np.linspace(2.9, 4, 39), o, 0.1)
    assert 1 <= len(found.sets) < 5000


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_batch_bounds_hold_as_often_as_they_say(m, below, seed):
    rank = max(1, m - below)
    rng = np.random.default_rng(seed)
    bound = conformal.batch_quantile_bound(np.arange(1.0, 61.0), m, rank, 0.2)
    covered = []
    for _ in range(400):
        scores = rng.random(60 + m)
        covered.append(np.sort(scores[60:])[rank - 1] <= np.sort(scores[:60])[bound.k - 1])
    assert abs(np.mean(covered) - bound.coverage) < 4 * np.sqrt(0.25 / 400)


def test_batch_bounds_over_200_splits():
    scores = np.random.default_rng(0).exponential(size=300)
    covered = conformal.batch_bounds_repeatedly(scores, 5, 5, 0.1, splits=200)["covered"]
    assert covered.mean() >= 0.9 - 3 * np.sqrt(0.09 / 200)


def test_ties_keep_the_bound():
    scores = np.random.default_rng(0).integers(0, 3, 300).astype(float)
    assert conformal.batch_bounds_repeatedly(scores, 5, 3, 0.1, splits=200)["covered"].mean() >= 0.85


def test_label_sets_cover_the_true_set():
    rng = np.random.default_rng(0)
    o = rng.beta(0.7, 0.7, size=(600, 5))
    truth = (rng.random((600, 5)) < o).astype(int)
    scores = conformal.label_nonconformity(truth, o)
    covered = []
    for split in range(200):
        order = np.random.default_rng(split).permutation(600)
        cal, test = order[:99], order[99]
        found = conformal.label_powerset_sets(scores[cal], o[test], 0.2)
        covered.append(tuple(truth[test]) in set(found.sets["labels"]))
    assert np.mean(covered) >= 0.8 - 3 * np.sqrt(0.16 / 200)


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
        passes = found["p"][j] <= q * sizes[best] / 6 + TIE
        assert found["e"][j] == pytest.approx(6 / (q * sizes[best]) if passes else 0)


def noise(seed, n=40, m=30, scores=60):
    """Scores that know nothing, so every released answer is wrong as often as any: half of the time."""
    rng = np.random.default_rng(seed)
    return rng.random((n, scores)), rng.random(n) < 0.5, rng.random((m, scores)), rng.random(m) < 0.5


def test_the_guarantee_survives_a_choice_that_breaks_it_elsewhere():
    q, naive, ours = 0.3, [], []
    for seed in range(200):
        known, right, new, truth = noise(seed)
        p = np.stack([conformal_p_values(known[:, k], right, new[:, k]) for k in range(60)])
        each = false_discovery_control(p, axis=1) <= q + TIE
        best = each[each.sum(axis=1).argmax()]
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


def items(n=400, seed=0):
    rng = np.random.default_rng(seed)
    strength = rng.random(n)
    right = rng.random(n) < strength
    table = pd.DataFrame({"question_id": [f"q{i}" for i in range(n)], "correct": right.astype(float)})
    return table.assign(good=strength + rng.normal(0, 0.1, n), noise=rng.random(n))


@pytest.mark.parametrize("how", ["split", "optimised", "trained"])
def test_false_discoveries_stay_below_q_over_200_splits(how):
    found = conformal.release_repeatedly(items(), 0.2, ["noise", "good"], how, splits=200)
    error = found["error_rate"].std() / np.sqrt(200)
    assert found["error_rate"].mean() <= 0.2 + 3 * error
    assert (found["chosen"] == ("ridge regression" if how == "trained" else "good")).mean() > 0.9
    assert found["power"].mean() > 0.1


def test_with_few_checked_answers_more_are_released_without_a_tuning_part():
    found = {
        how: conformal.release_repeatedly(items(60), 0.1, ["noise", "good"], how, splits=100)["power"].mean()
        for how in ("split", "optimised")
    }
    assert found["optimised"] > 2 * found["split"]


def test_a_score_of_pure_noise_releases_hardly_anything():
    found = conformal.release_repeatedly(items(), 0.2, "noise", splits=200)
    assert found["power"].mean() < 0.02
    assert found["error_rate"].mean() <= 0.2


def test_calibration_items_used_for_tuning_are_refused():
    table = items(12).assign(part=["tune", "calibrate", "test"] * 4)
    doubled = pd.concat([table, table.iloc[[0]].assign(part="calibrate")])
    with pytest.raises(InputError, match=r"q0.*more than one part"):
        conformal.release(doubled, 0.1, ["good", "noise"])
    assert len(conformal.release(table, 0.1, ["good", "noise"])) == 4


def test_a_missing_tuning_score_is_refused_and_never_chosen():
    table = items(60)
    table.loc[:, "noise"] = np.nan
    with pytest.raises(InputError, match="tuning answer is missing"):
        conformal.release_repeatedly(table, 0.1, ["good", "noise"], splits=1)


def test_parts_are_disjoint_and_seeded():
    part = conformal.split_parts(100, seed=3)
    assert pd.Series(part).value_counts().to_dict() == {"tune": 20, "calibrate": 40, "test": 40}
    assert (part == conformal.split_parts(100, seed=3)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal_select(CALIBRATION, CORRECT[1:], TEST, 0.1), "correct must contain 19"),
        (lambda: conformal_select([], [], TEST, 0.1), "calibration must contain"),
        (lambda: conformal_select(CALIBRATION, CORRECT, [np.nan], 0.1), "test must contain"),
        (lambda: conformal_select(CALIBRATION, CORRECT, TEST, 1.1), "q must be"),
        (lambda: conformal.batch_quantile_bound([1], 2, 3), "rank must"),
        (lambda: conformal.batch_bounds_repeatedly([1, 2], 2, 1), "m must"),
        (lambda: conformal.label_powerset_sets(LABELS, [1.5]), "probabilities must lie"),
        (lambda: conformal.label_powerset_sets([100.0] * 9, [0.5] * 12, 0.01, limit=10), "take a larger one"),
        (lambda: conformal.optimised_select([[0.1]], [1, 0], [[0.1]], 0.1), "correct must contain 1"),
        (lambda: conformal.optimised_select([[0.1]], [1], [[0.1, 0.2]], 0.1), "1 columns and test 2"),
        (lambda: conformal.optimised_select([[np.nan]], [1], [[0.1]], 0.1), "calibration must be a table"),
        (lambda: conformal.optimised_select([[0.1]], [1], [[0.1]], 2), "q must be"),
        (lambda: conformal.trained_select([[0.1]], [1], [[0.1]], 0.1, penalties=[0]), "penalties must"),
        (lambda: conformal.split_parts(10, (0.5, 0.6, 0.1)), "add up to 1"),
        (lambda: conformal.release(items(3).assign(part=["train"] * 3), 0.1, "good"), "'train'"),
        (lambda: conformal.release(items(3).assign(part=["test"] * 3), 0.1, "good"), "calibration and test"),
        (lambda: conformal.release(items(3).assign(part=["test"] * 3), 0.1, "good", "best"), "Unknown way to choose"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
