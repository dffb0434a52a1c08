"""Golden example, oracles and properties of scoring, aggregation, conflict ratio and non-transitivity."""

from itertools import combinations, product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.errors import InputError
from workbench.judges.consistency import (
    chance_nontransitivity,
    chance_tied,
    conflict_ratio,
    conflicts,
    cyclic_proportion,
    nontransitivity,
    triple_classes,
)
from workbench.judges.readings import rescale, score
from workbench.judges.relations import aggregate, logit_split, order_table, sgn, upper

GOLDEN = {
    (0, 1): ((0.70, 0.20, 0.10), (0.25, 0.60, 0.15)),
    (0, 2): ((0.45, 0.20, 0.35), (0.50, 0.40, 0.10)),
    (0, 3): ((0.40, 0.55, 0.05), (0.70, 0.20, 0.10)),
    (1, 2): ((0.60, 0.30, 0.10), (0.35, 0.55, 0.10)),
    (1, 3): ((0.30, 0.20, 0.50), (0.20, 0.35, 0.45)),
    (2, 3): ((0.52, 0.38, 0.10), (0.33, 0.52, 0.15)),
}
LOGPROBS = dict(zip(GOLDEN, [(-12, -15), (-20, -10), (-9, -8), (-14, -12), (-11, -13), (-10, -16)]))
SCORES = [{4: 0.6, 3: 0.3, 5: 0.1}, {4: 0.5, 3: 0.4, 5: 0.1}, {3: 0.7, 4: 0.2, 2: 0.1}, {3: 0.55, 4: 0.45}]


def golden():
    pairs, ppl = np.full((1, 4, 4, 3), np.nan), np.full((1, 4, 4), np.nan)
    for (i, j), (one, two) in GOLDEN.items():
        pairs[0, i, j], pairs[0, j, i] = one, two
        ppl[0, i, j], ppl[0, j, i] = (np.exp(-x / 10) for x in LOGPROBS[i, j])
    return pairs, ppl


def scale(distributions):
    return np.array([[d.get(level, 0.0) for level in range(1, 6)] for d in distributions])


@pytest.mark.parametrize(
    ("method", "signs", "ntr3", "classes"),
    [
        ("two_pass", [1, 0, -1, 1, 0, 1], 1.0, {"ok": 0, "cycle": 0, "mixed": 4, "equiv": 0}),
        ("likelihood", [1, 1, -1, 1, 0, 1], 0.75, {"ok": 1, "cycle": 1, "mixed": 2, "equiv": 0}),
        ("ppl", [1, -1, -1, 1, 0, 1], 0.75, {"ok": 1, "cycle": 1, "mixed": 2, "equiv": 0}),
    ],
)
def test_oracle_golden_example(method, signs, ntr3, classes):
    pairs, ppl = golden()
    relations = aggregate(pairs, method, perplexity=ppl if method == "ppl" else None)
    assert upper(relations.sign)[0].tolist() == signs
    assert nontransitivity(relations.sign, 3)["mean"] == ntr3
    assert nontransitivity(relations.sign, 4)["mean"] == 1
    assert triple_classes(relations.sign) == classes


@pytest.mark.parametrize("delta", [0.1, 0.2])
def test_oracle_a_larger_tolerance_can_make_it_worse(delta):
    assert nontransitivity(aggregate(golden()[0], "likelihood", delta).sign, 3)["mean"] == 1


def test_oracle_golden_conflicts():
    c = aggregate(golden()[0], "two_pass").sign
    assert conflicts([[4.0, 3.0, 2.0, 1.0]], c)[["i", "j"]].to_numpy().tolist() == [
        *map(list, combinations(range(4), 2))
    ]
    variants = ("argmax", "geval", "expected", "trustjudge_repo")
    scores = {variant: score(scale(SCORES), range(1, 6), variant) for variant in variants}
    found = [conflict_ratio(scores[variant][None], c)["mean"] for variant in variants]
    assert found == pytest.approx([5 / 6, 4 / 6, 4 / 6, 4 / 6])
    assert scores["expected"] == pytest.approx([3.8, 3.7, 3.1, 3.45])
    assert scores["trustjudge_repo"] == pytest.approx([3.9981, 3.8837, 3.0, 3.1185], abs=1e-4)
    assert conflict_ratio(scores["expected"][None], c, delta=0.1)["mean"] == pytest.approx(5 / 6)
    assert order_table(golden()[0])["position_margin"].mean() == pytest.approx(0.0708, abs=5e-5)


def test_oracle_likelihood_and_debiased_logit():
    pairs = golden()[0][:, :2, :2]
    mean = (pairs[0, 0, 1] + pairs[0, 1, 0][[1, 0, 2]]) / 2
    assert mean == pytest.approx([0.65, 0.225, 0.125])
    quality, position = logit_split(pairs)
    assert quality[0, 0, 1] == pytest.approx(1.064116, abs=1e-6)
    assert position[0, 0, 1] == pytest.approx(0.188647, abs=1e-6)
    assert quality[0, 0, 1] + position[0, 0, 1] == pytest.approx(1.252763, abs=1e-6)
    assert 1 / (1 + np.exp(-quality[0, 0, 1])) == pytest.approx(0.743476, abs=1e-6)
    assert aggregate(pairs, "debiased_logit").sign[0, 0, 1] == 1


def test_oracle_scoring_variants():
    p = scale([{4: 0.5, 3: 0.3, 5: 0.15, 2: 0.03}])[0]
    found = {v: score(p, range(1, 6), v) for v in ("geval", "expected", "trustjudge_repo", "argmax")}
    oracle = {"geval": 3.71, "expected": 3.785714, "trustjudge_repo": 3.985919, "argmax": 4}
    assert found == {name: pytest.approx(x, abs=1e-6) for name, x in oracle.items()}
    softmax_of_p = np.where(p > 0, np.exp(p), 0)  # the formula as printed weighs levels nearly equally
    assert softmax_of_p @ np.arange(1, 6) / softmax_of_p.sum() == pytest.approx(3.566752, abs=1e-6)


def test_oracle_a_certain_judge_is_not_dropped():
    for d, repo in (({5: 1.0, 1: 2.06e-9}, 1.0), ({5: 1.0}, 0.0)):
        p = scale([d])[0]
        assert score(p, range(1, 6)) == pytest.approx(5.0, abs=1e-7)
        assert score(p, range(1, 6), "trustjudge_repo") == pytest.approx(repo)


def test_oracle_rescale_reaches_both_ends():
    assert rescale([1, 50.5, 100], (1, 100), (1, 5)) == pytest.approx([1, 3, 5])
    published = np.array([1, 50, 100]) * 4 / 99
    assert published == pytest.approx([0.0404, 2.0202, 4.0404], abs=1e-4)
    assert rescale(24.75 + 1, (1, 100), (1, 5)) == pytest.approx(2)
    with pytest.raises(InputError, match="no length"):
        rescale(1, (5, 5), (1, 5))


def test_oracle_the_expectation_separates_what_the_mode_does_not_and_not_everything():
    p = scale([{3: 0.1, 4: 0.8, 5: 0.1}, {3: 0.05, 4: 0.5, 5: 0.45}, {3: 0.3, 4: 0.4, 5: 0.3}])
    assert score(p, range(1, 6), "argmax").tolist() == [4, 4, 4]
    assert score(p, range(1, 6)) == pytest.approx([4.0, 4.4, 4.0])
    assert scipy.stats.entropy(p, base=2, axis=-1)[:2] == pytest.approx([0.9219, 1.2345], abs=1e-4)


def test_bad_distributions_are_refused_and_no_mass_is_nan():
    assert np.isnan(score([[0.0, 0.0]], [1, 2])).all()
    for p in ([[-0.1, 0.5]], [[0.9, 0.5]], [[0.2, 0.2, 0.2]]):
        with pytest.raises(InputError):
            score(p, [1, 2])
    with pytest.raises(InputError, match="Did you mean 'expected'"):
        score([[0.5, 0.5]], [1, 2], "expect")  # type: ignore[arg-type]


def test_oracle_thirteen_of_27_sign_patterns_are_weak_orders():
    weak = {tuple(np.sign([a - b, b - c, a - c])) for a, b, c in product(range(3), repeat=3)}
    assert len(weak) == 13
    counts = dict.fromkeys(("ok", "cycle", "mixed", "equiv"), 0)
    for x, y, z in product((-1, 0, 1), repeat=3):
        found = triple_classes(matrix([x, z, y], 3)[None])
        assert (found["ok"] == 1) == ((x, y, z) in weak)
        counts = {name: counts[name] + found[name] for name in counts}
    assert counts == {"ok": 13, "cycle": 2, "mixed": 6, "equiv": 6}


def matrix(signs, n):
    c = np.full((n, n), np.nan)
    for (i, j), sign in zip(combinations(range(n), 2), signs):
        c[i, j], c[j, i] = sign, -sign
    return c


@pytest.mark.parametrize(("k", "strict", "three_way"), [(3, 0.25, 0.5185), (4, 0.625, 0.8971), (5, 0.8828, 0.9908)])
def test_oracle_chance_lines(k, strict, three_way):
    assert chance_nontransitivity(k) == pytest.approx(strict, abs=5e-5)
    assert chance_nontransitivity(k, 1 / 3) == pytest.approx(three_way, abs=5e-5)


def test_oracle_chance_of_ties_among_violations():
    """Of the 27 patterns 14 violate transitivity: 2 cycles, 6 with one tie, 6 with two."""
    assert chance_tied(1 / 3) == pytest.approx(12 / 14) and chance_tied(0) == 0 and np.isnan(chance_tied(1))


def test_chance_is_stated_beside_each_rate_as_far_as_it_is_known():
    found = nontransitivity(matrix([1, 1, 1, 1, 0, 1], 4)[None])
    assert found["tie_rate"] == pytest.approx(1 / 6) and found["n_total"] == 1
    assert found["chance"] == pytest.approx(chance_nontransitivity(4, 1 / 6)) and found["chance_strict"] == 0.625
    large = nontransitivity(matrix([1] * 15, 6)[None], 6)
    assert large["mean"] == 0 and np.isnan(large["chance"]) and np.isnan(large["chance_strict"])


def test_equal_perplexities_average_both_orders():
    pairs = np.full((1, 2, 2, 3), np.nan)
    pairs[0, 0, 1], pairs[0, 1, 0] = [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]
    assert aggregate(pairs, "ppl").margin[0, 0, 1] == pytest.approx(0.5)


def test_oracle_semiorder_of_scores_within_a_tolerance():
    s = np.array([0, 0.6, 1.2])
    c = sgn(s[:, None] - s[None, :], 1.0)
    np.fill_diagonal(c, np.nan)
    assert triple_classes(c[None])["equiv"] == 1


def test_float_boundary_ties_at_the_tolerance():
    assert sgn(3.8 - 3.7, 0.1) == 0
    assert sgn(3.8 - 3.7, 0.09) == 1


relation_sets = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=15, max_size=15).map(lambda x: matrix(x, 6))
score_sets = arrays(np.float64, 6, elements=st.integers(-3, 3).map(float))


@given(relation_sets, st.permutations(range(6)))
@settings(max_examples=40, deadline=None)
def test_nontransitivity_is_hereditary_and_blind_to_names(c, order):
    rates = [nontransitivity(c[None], k)["mean"] for k in (3, 4, 5)]
    assert rates == sorted(rates)
    shuffled = c[np.ix_(order, order)][None]
    assert rates == pytest.approx([nontransitivity(shuffled, k)["mean"] for k in (3, 4, 5)])
    assert triple_classes(shuffled) == triple_classes(c[None])


@given(score_sets)
@settings(max_examples=50)
def test_scores_make_no_violation(s):
    c = np.sign(s[:, None] - s[None, :])
    np.fill_diagonal(c, np.nan)
    assert nontransitivity(c[None], 5)["mean"] == 0
    assert conflict_ratio(s[None], c[None])["mean"] == 0


@given(score_sets, relation_sets, st.permutations(range(6)))
@settings(max_examples=50, deadline=None)
def test_conflicts_split_and_do_not_depend_on_units_or_names(s, c, order):
    found = conflict_ratio(s[None], c[None])
    parts = found["reversal"] + found["score_tie_only"] + found["pair_tie_only"]
    assert found["mean"] == pytest.approx(parts)
    assert conflict_ratio(np.exp(s)[None] * 7 - 3, c[None])["mean"] == found["mean"]
    assert conflict_ratio(s[order][None], c[np.ix_(order, order)][None])["mean"] == pytest.approx(found["mean"])
    assert conflict_ratio(s[None], c[None], delta=np.inf)["mean"] == pytest.approx(1 - found["tie_rate"])
    if len(set(s)) == len(s):
        assert found["mean"] >= found["tie_rate"] - 1e-12


pair_sets = arrays(np.float64, (1, 4, 4, 3), elements=st.floats(0.01, 1)).map(lambda x: x / x.sum(-1, keepdims=True))


@given(pair_sets, st.sampled_from(["two_pass", "likelihood", "ppl", "debiased_logit", "single_order"]))
def test_relations_and_margins_are_antisymmetric(pairs, method):
    found = aggregate(pairs, method)  # type: ignore[arg-type]
    for x in (found.sign, found.margin):
        assert np.nan_to_num(x + np.swapaxes(x, 1, 2)) == pytest.approx(0)
        assert np.isnan(x).sum() == 4


@given(pair_sets)
def test_log_odds_split_exactly(pairs):
    quality, position = logit_split(pairs)
    assert quality + position == pytest.approx(np.log(pairs[..., 0] / pairs[..., 1]))
    assert position == pytest.approx(np.swapaxes(position, 1, 2))


def test_mutation_forgetting_to_un_swap_shows():
    """A judge who sees quality alone: forgetting to un-swap turns every pair to a tie."""
    quality = np.array([3.0, 2.0, 1.0])
    p = 1 / (1 + np.exp(quality[None, :] - quality[:, None]))
    pairs = np.stack([p, 1 - p, 0 * p], axis=-1)[None]
    for method in ("two_pass", "likelihood", "debiased_logit", "single_order", "ppl"):
        found = upper(aggregate(pairs, method).sign)[0].tolist()  # type: ignore[arg-type]
        assert found == ([0, 0, 0] if method == "ppl" else [1, 1, 1])


def test_mutation_dropping_an_order_shows():
    """A judge who always says first: both orders tie, one order alone makes a ranking out of nothing."""
    pairs = np.tile([0.9, 0.1, 0.0], (1, 3, 3, 1))
    for method in ("two_pass", "likelihood", "debiased_logit"):
        assert upper(aggregate(pairs, method).sign)[0].tolist() == [0, 0, 0]  # type: ignore[arg-type]
    assert upper(aggregate(pairs, "single_order").sign)[0].tolist() == [1, 1, 1]


def test_exact_ties_do_not_depend_on_hashes():
    pairs = np.zeros((1, 2, 2, 3))
    pairs[0, 0, 1], pairs[0, 1, 0] = (0.45, 0.45, 0.1), (0.45, 0.45, 0.1)
    assert aggregate(pairs).sign[0, 0, 1] == 0


def test_missing_pairs_are_counted_and_left_out():
    pairs = golden()[0].copy()
    pairs[0, 3, 2] = np.nan
    assert np.isnan(aggregate(pairs).sign[0, 2, 3]) and aggregate(pairs, "single_order").sign[0, 2, 3] == 1
    c = matrix([1, 1, np.nan, 1, 1, 1], 4)[None]
    found, triples = conflict_ratio(np.array([[4.0, 3.0, 2.0, 1.0]]), c), nontransitivity(c, 3)
    assert (found["n"], found["n_total"], found["n_undefined"], found["mean"]) == (5, 6, 1, 0.0)
    assert (triples["n"], triples["n_total"]) == (2, 4)
    nothing = conflict_ratio(np.array([[1.0]]), np.full((1, 1, 1), np.nan))
    assert np.isnan(nothing["mean"]) and nothing["n"] == 0
    assert np.isnan(nontransitivity(matrix([1, 1, 1], 3)[None], 4)["mean"])


def test_bad_relations_are_refused():
    c = matrix([1, 1, 1], 3)[None]
    for refused, message in (
        (lambda: nontransitivity(c, 2), "k=2"),
        (lambda: nontransitivity(np.zeros((1, 31, 31)), 3), "at most 30"),
        (lambda: nontransitivity(np.abs(c), 3), "antisymmetric"),
        (lambda: conflicts([[1, 2, 3]], c, delta=-1), "delta"),
        (lambda: aggregate(golden()[0], delta=np.nan), "delta"),
        (lambda: conflicts([[1, 2]], c), "same candidates"),
        (lambda: aggregate(golden()[0] - 0.5), "none below 0"),
    ):
        with pytest.raises(InputError, match=message):
            refused()


def test_oracle_cyclic_proportion():
    proportion, potentials = cyclic_proportion(aggregate(golden()[0], "likelihood").margin)
    assert proportion[0] == pytest.approx(0.962269, abs=1e-6)
    assert potentials[0] == pytest.approx([0.04375, -0.0125, -0.04, 0.00875])
    assert cyclic_proportion(matrix([1, -1, 1], 3)[None])[0][0] == pytest.approx(1)
    assert cyclic_proportion(matrix([1, 2, 1], 3)[None])[0][0] == pytest.approx(0)
    assert np.isnan(cyclic_proportion(matrix([0, 0, 0], 3)[None])[0][0])


def test_potentials_are_centred_where_comparisons_connect():
    """Two islands of candidates: 0 against 1, and 2, 3, 4 among each other."""
    margin = matrix([2, *[np.nan] * 6, 1, 2, 1], 5)
    proportion, potentials = cyclic_proportion(margin[None])
    assert proportion[0] == pytest.approx(0)
    assert potentials[0] == pytest.approx([1, -1, 1, 0, -1])
