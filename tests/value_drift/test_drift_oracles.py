"""Oracles of the drift metrics, computed apart in float64."""

from __future__ import annotations

import numpy as np
import oracle_losses
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from workbench.errors import InputError
from workbench.statistics import interval
from workbench.statistics.distances import bin_of
from workbench.training import trainers
from workbench.value_drift import alignment_geometry as geometry
from workbench.value_drift import likelihood_displacement as displacement
from workbench.value_drift import objectives, post_training, probes, released_checkpoints, rewards, stances

STEPS = np.arange(0, 800, 100)
SUPPORT = np.array([0.20, 0.35, 0.52, 0.58, 0.60, 0.59, 0.61, 0.60])
SE = np.sqrt(SUPPORT * (1 - SUPPORT) / 550)


def close(a, b, **more):
    assert np.asarray(a) == pytest.approx(np.asarray(b), **({"rel": 1e-6, "abs": 1e-9} | more))


def test_value_vector_of_a_judge():
    logits = [[[2, 1, 0], [1, 1, 1]], [[0, 0, 2], [3, 0, 0]]]
    p = softmax(logits, axis=-1)
    close(p.mean(axis=1), [[0.499287, 0.289031, 0.211682], [0.507975, 0.075893, 0.416132]], abs=1e-6)
    keys = {"run": "r", "phase": "sft", "step": 0, "topic": "t", "prompt_id": list("aabb"), "sample": [0, 1, 0, 1]}
    answers = pd.DataFrame(p.reshape(4, 3), columns=stances.PARTS).assign(**keys, mass=1.0)
    vectors = stances.value_vectors(answers).set_index("stance")["mean"]
    close(vectors[list(stances.STANCES)], [0.503631, 0.182462, 0.313907], abs=1e-6)


def test_drift_time_by_both_rules():
    ci = post_training.drift_time(STEPS, SUPPORT, SE, "ci")
    close([ci["extremum"], ci["low"], ci["high"]], [0.61, 0.569236, 0.650764], abs=1e-6)
    assert (ci["step"], ci["spacing"]) == (300, 100)
    close(ci["eta"], 3 / 7)
    fraction = post_training.drift_time(STEPS, SUPPORT, SE, "fraction")
    assert fraction["step"] == 400
    close(fraction["eta"], 4 / 7)


def test_no_drift_is_undefined_not_zero():
    flat = post_training.drift_time(STEPS, np.full(8, 0.3), SE, "ci")
    assert np.isnan(flat["eta"]) and flat["reason"] == "no drift"
    small = post_training.drift_time([0, 1], [0.30, 0.31], [0.02, 0.02])
    assert np.isnan(small["eta"]) and small["reason"] == "no drift"
    assert post_training.drift_time([0], [0.3], [0.1])["reason"] == "one checkpoint"


def test_profile_distance():
    stages = pd.DataFrame([[0.2, 0.6, 0.2], [0.6, 0.3, 0.1]], columns=stances.PARTS)
    row = released_checkpoints.distances(stages.assign(phase=["base", "sft"], prompt_id="a")).iloc[0]
    close([row["tv"], row["js"]], [0.4, 0.0863046217])


def test_prompt_clustered_half_width():
    p = np.random.default_rng(0).normal(size=550)
    close(interval(0.5 + 0.3 * (p - p.mean()) / p.std(ddof=1))["se"] * 1.96, 0.025072, abs=1e-6)


def test_value_gap():
    gaps = stances.value_gap([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1]], [[0.75, 0.15, 0.1], [0.1, 0.2, 0.7]])
    close(gaps["tv"], [0.05, 0.60])
    close(gaps["tv"].mean(), 0.325)
    close(gaps["gap_support"], [0.05, 0.60])


def test_monotonicity():
    signs = np.sign(np.subtract.outer(SUPPORT, SUPPORT))[np.tril_indices(len(SUPPORT), -1)]
    close(signs.mean(), 0.821429, abs=1e-6)  # tau-a, which keeps ties in the denominator
    close(post_training.monotonicity(SUPPORT), 0.836502, abs=1e-6)
    assert np.isnan(post_training.monotonicity([0.5] * 5))


def test_ches_and_its_normalised_form():
    high, low = [[1, 0], [0, 1], [1, 1]], [[1, 0], [2, 1]]
    assert probes.ches(high, low) == 0
    close(probes.ches(high, low, length_normalise=True), 4 / 9)
    assert probes.ches(high, high) == probes.ches(high, high, length_normalise=True) == 0


def test_edit_similarity_is_minus_the_normalised_distance():
    close(probes.edit_similarity([1, 2, 3, 4], [1, 3, 4, 5, 6]), -0.6)


W = np.array([[1.0, 0], [2, -1], [0, 3]])
H = np.array([0.8, 0.3])


def test_unembedding_terms():
    found = displacement.unembedding_terms(W, H, 0, 1)
    close(found["p"], [0.2664, 0.4392, 0.2944], abs=5e-5)
    close(found["hidden_part"], -0.299220402297)
    close(found["weight_part"], 0.856153470530)
    close(found["paper_term"], 2.883220, abs=1e-6)
    assert int(np.argmax(found["gains"])) == 2


@pytest.mark.model
def test_unembedding_terms_are_the_gradient():
    """A gradient step on the preference moves ln pi(+) by the inner product of the two gradients."""
    import torch

    w, h = (torch.tensor(x, requires_grad=True) for x in (W, H))
    log_p = torch.log_softmax(w @ h, 0)
    up = torch.autograd.grad(log_p[0], (w, h), retain_graph=True)
    margin = torch.autograd.grad(log_p[0] - log_p[1], (w, h))
    found = displacement.unembedding_terms(W, H, 0, 1)
    close(float((up[1] * margin[1]).sum()), found["hidden_part"])
    close(float((up[0] * margin[0]).sum()), found["weight_part"])


def test_percentile_subsets_lie_around_their_percentiles():
    subsets, scores = displacement.percentile_subsets, np.arange(20)[::-1] * 10.0  # position 0 has the highest
    assert scores[subsets(scores, [0, 25, 50, 75, 100], 4)].ravel().tolist() == sorted(scores)
    windows = scores[subsets(scores, [0, 50, 100], 3)]
    assert windows.tolist() == [[0, 10, 20], [80, 90, 100], [170, 180, 190]]
    mixed = np.random.default_rng(0).permutation(1001)
    assert mixed[subsets(mixed, [0, 50, 100], 11)].mean(axis=1).tolist() == [5, 500, 995]


def test_a_slope_over_subsets_has_the_interval_of_least_squares():
    found = displacement.slope_over_percentiles([0, 25, 50, 75, 100], [4.0, 3.5, 1.5, 1.5, -1.0])
    x, y = np.linspace(0, 1, 5), np.array([4.0, 3.5, 1.5, 1.5, -1.0])
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    assert found["mean"] == pytest.approx(fit.params[1]) and found["n"] == 5
    assert (found["low"], found["high"]) == pytest.approx(tuple(fit.conf_int()[1]))
    assert found["spearman"] == pytest.approx(-0.9746794345)
    assert np.isnan(displacement.slope_over_percentiles([0, 50, 100], [1, 1, 1])["spearman"])
    two = displacement.slope_over_percentiles([0, 100], [1, 2])
    assert two["mean"] == 1 and np.isnan([two["low"], two["high"]]).all()
    assert np.isnan(displacement.slope_over_percentiles([50], [1])["mean"])


def test_a_slope_over_subsets_of_noise_is_rarely_significant():
    """Subsets that differ only by their own noise: 5 % of intervals exclude 0, whatever the number of pairs."""
    noise = np.random.default_rng(0).normal(size=(2000, 6))
    found = [displacement.slope_over_percentiles(range(0, 120, 20), row) for row in noise]
    assert np.mean([row["low"] > 0 or row["high"] < 0 for row in found]) == pytest.approx(0.05, abs=0.015)


def test_three_token_toy_is_catastrophic_with_frozen_weights():
    path = displacement.three_token_toy(W, H, 0, 1)
    expected = [[0.2664, 0.4392, 0.2944], [0.1062, 0.0660, 0.8278], [0.0195, 0.0048, 0.9757], [0.0034, 0.0003, 0.9963]]
    close(path[[0, 20, 40, 60]], expected, abs=5e-5, rel=0)
    free = displacement.three_token_toy(W, H, 0, 1, train_weights=True)
    close(free[60, [0, 2]], [0.0283, 0.9717], abs=5e-5, rel=0)


def test_cluster_indices_of_two_squares():
    square = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    found = geometry.cluster_indices(np.vstack([square, square + 4]), [0] * 4 + [1] * 4)
    close([found["dbs"], found["di"], found["xb"], found["chi"]], [0.25, 3, 0.015625, 96])
    close(found["silhouette"], 0.798804, abs=1e-6)
    close(geometry.aqi(found, "A"), 0.775)
    close(geometry.aqi(found, "D"), 0.987153, abs=1e-6)


def test_cluster_indices_are_those_of_scikit_learn():
    """Three groups of unequal size, so that no index may take two or equal groups for granted."""
    from sklearn import metrics

    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c"], [4, 9, 7])
    x = rng.normal(size=(20, 6)) + (y == "b")[:, None] * 2.0
    found = geometry.cluster_indices(x, y)
    theirs = (metrics.davies_bouldin_score, metrics.calinski_harabasz_score, metrics.silhouette_score)
    close([found["dbs"], found["chi"], found["silhouette"]], [score(x, y) for score in theirs])


def test_the_index_of_a_vendored_page_is_not_its_own_formula():
    close(geometry.aqi({"silhouette": 0.4523, "chi": 123.45}, "C"), 0.9123, abs=1e-4)


def test_implicit_reward_accuracy():
    margins = [1, -0.2, 0.3, 0]
    assert rewards.margin_accuracy(margins).mean() == 0.5
    assert rewards.margin_accuracy(margins, "half").mean() == 0.625
    row = rewards.accuracy_table(
        {("implicit", "other topics"): np.array([[1.0] * 8 + [0.0] * 3, [0.0] * 8 + [1.0] * 3])}
    ).iloc[0]
    close([row["mean"], row["low"], row["high"]], [8 / 11, 0.4344, 0.9025], abs=5e-4)  # Wilson: never beyond 1


def test_reward_calibration():
    q, label = [0.55, 0.65, 0.75, 0.85, 0.95, 0.6], [1, 0, 1, 1, 1, 0]
    close(rewards.reward_ece(q, label, 5), 0.125)


def test_the_other_order_of_a_pair_falls_into_the_bin_of_its_number():
    q, label = [0.55, 0.6, 0.6, 0.7, 0.85, 0.95], [1, 0, 1, 1, 1, 1]
    close(rewards.reward_ece(q, label), 0.125)
    close(rewards.reward_ece(q, label, both_orders=True), 0.158333, abs=1e-6)  # 0.125 where 1 - 0.7 is no 0.3
    for bins in (5, 10, 20):
        for k in range(1, bins):  # two floats of one number, one preferred and one not: one bin, and one in the mirror
            close(rewards.reward_ece([k / bins, 1 - (bins - k) / bins], [1, 0], bins, True), abs(k / bins - 0.5))


def test_a_number_at_an_edge_falls_where_the_edge_says_whatever_its_float():
    for bins in (2, 3, 5, 7, 10, 15, 20):
        edge = np.arange(bins + 1) / bins
        for exact in (edge, 1 - edge[::-1], np.linspace(0, 1, bins + 1), np.cumsum([0, *[1 / bins] * bins])):
            assert list(bin_of(exact, bins)) == [*range(bins), bins - 1]
            assert list(bin_of(exact, bins, closed="right")) == [0, *range(bins)]


def test_min_norm_weights():
    g = np.array([[1, 0], [-0.5, 1]])
    w = objectives.min_norm_weights(g)
    close(w, [7 / 13, 6 / 13])
    close(g @ (w @ g), [0.307692] * 2, abs=1e-6)
    close(objectives.min_norm_weights([[1, 0], [3, 0]]), [1, 0])
    close(objectives.min_norm_weights([[3, 0], [1, 0]]), [0, 1])
    three = objectives.min_norm_weights(np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    close(three, [1 / 3] * 3, abs=1e-5)


def test_log_sigmoid_combination():
    u = rewards.log_sigmoid_combination([2, 0, -1], 0.5)
    close(u, [-0.201413, -0.974077, -1.701413], abs=1e-6)
    close([u[0] + u[2], np.exp(u[0] + u[2])], [-1.902827, 0.149146], abs=1e-6)
    close(rewards.log_sigmoid_combination(-800, 0.0), -800.0)


def test_best_of_n():
    gains = [objectives.best_of_n_gain(n) for n in (2, 4, 8, 16)]
    close([g["exact"] for g in gains], [0.5642, 1.0294, 1.4237, 1.7661], abs=5e-4)
    close([g["bound"] for g in gains], [0.5642, 0.7979, 0.9772, 1.1284], abs=5e-5)
    close(gains[1]["kl"], 0.636294, abs=1e-6)
    close(objectives.n_to_recover(0.5), 1.72, abs=5e-3)
    assert objectives.best_of_n([1, 1]) == (0, True)


def test_green_list_watermark():
    close(objectives.green_list_z(36, 100, 0.25), 2.540341, abs=1e-6)
    close(objectives.green_list_probabilities([2, 1, 0, -1], [], 2), [0.6439, 0.2369, 0.0871, 0.0321], abs=5e-5)
    close(objectives.green_list_probabilities([2, 1, 0, -1], [1, 2], 2), [0.2097, 0.5701, 0.2097, 0.0104], abs=5e-5)


@pytest.mark.parametrize(
    ("vectors", "expected"),
    [
        (np.eye(3), 3),
        ([[1, 0], [1, 0], [0, 1]], 1.889882),
        ([[1, 2]] * 4, 1),
        ([[1, 0], [-1, 0]], 1),
        ([[1, 0], [0, 1], [1, 1], [1, -1]], 2),
    ],
)
def test_vendi(vectors, expected):
    close(probes.vendi(vectors), expected, abs=1e-6)


PAIR = oracle_losses.Pair(-10, -12, -11, -11.5, 5, 8)


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "sigmoid": 0.6209570478,
        "hinge": 0.85,
        "ipo": 22.44390625,
        "ipo_sum": 12.25,
        "sigmoid_norm": 0.6801083109,
        "nca_pair": 1.3508248141,
        "bco_pair": 1.3128563081,
        "apo_zero": 0.9625234160,
        "apo_down": 0.9875493421,
        "sppo_hard": 36.25,
        "forward_kl": 0.6311543836,
        "js": 0.6606521625,
    }.items(),
)
def test_preference_losses(name, expected):
    close(oracle_losses.preference_loss(name, PAIR), expected, rel=1e-9)


def test_preference_losses_with_settings():
    close(oracle_losses.preference_loss("sigmoid_norm", PAIR, 2.0), 0.4647117547)
    close(oracle_losses.robust_loss(PAIR), 0.6022070478)
    close(oracle_losses.alpha_loss(PAIR), 0.6276909471)
    close(oracle_losses.simpo_loss(PAIR), 2.1269280110)
    close(objectives.d2o_loss([-10, -9], [-11, -9.5], -12, -11.5, 0.1, 0.1), 0.6325990353)


def test_sft_weight_turns_the_token_mean_into_the_sum():
    """RPO sums over the response where TRL's term is a mean over tokens: 0.67, not 2.62, for the same words."""
    close(oracle_losses.dpo_with_sft(PAIR, weight=0.005, form="sum"), 0.6709570478)
    close(oracle_losses.dpo_with_sft(PAIR, weight=1.0, form="mean"), 2.6209570478)
    close(oracle_losses.dpo_with_sft(PAIR, weight=trainers.sft_weight(0.05, 0.1, 5)), 0.6709570478)


def test_align_distil():
    found = objectives.align_distil([2, 0, 0], [0, 1, 0], [1, 0.5, 0])
    close([found["l1"], found["weight"], found["loss"]], [1.1500889691, 1.7261334536, 0.1277947046])
    close(found["teacher"], [0.994976, 0.000759, 0.004265], abs=1e-6)
    mixed = 1.5 * np.array([2.0, 0, 0]) - 0.5 * np.array([1, 0.5, 0])
    close(softmax(mixed), [0.872591, 0.055783, 0.071627], abs=1e-6)


@pytest.mark.parametrize(
    ("divergence", "expected"),
    {
        "kl_target_policy": [-0.16175, -0.094841, 0.25659],
        "kl_policy_target": [-0.188597, -0.112169, 0.300767],
        "js": [-0.084503, -0.049932, 0.134435],
        "tv": [-0.154442, -0.093674, 0.248116],
    }.items(),
)
def test_f_dpg_gradients(divergence, expected):
    logits, target = np.array([0.2, -0.3, 0.5]), np.array([0.5, 0.3, 0.2])
    found = objectives.f_dpg_gradient(logits, target, divergence)
    close(found, expected, abs=1e-6)
    pi, sampler = np.exp(logits) / np.exp(logits).sum(), np.array([0.2, 0.3, 0.5])
    t = pi / target
    slope = {
        "kl_target_policy": -1 / t,
        "kl_policy_target": np.log(t) + 1,
        "js": np.log(2 * t / (1 + t)),
        "tv": np.sign(t - 1) / 2,
    }[divergence]
    score = np.eye(3) - pi  # row y: the gradient of ln pi(y)
    close(found, sum(sampler[y] * pi[y] / sampler[y] * slope[y] * score[y] for y in range(3)), rel=1e-12, abs=1e-12)


def test_resampling_keeps_its_target():
    assert objectives.resampling_acceptance(0, 1.4, 20, 10) == 1.0
    close(objectives.resampling_acceptance(0, -0.4, 10, 20), 0.335160, abs=1e-6)
    letters, reward = {"a": 0.6, "b": 0.4}, {"aa": 0.0, "ab": 1.0, "ba": 0.5, "bb": 2.0}
    words = list(reward)
    target = np.array([letters[w[0]] * letters[w[1]] * np.exp(reward[w]) for w in words])
    target /= target.sum()
    close(target, [0.138978, 0.251855, 0.152758, 0.456409], abs=1e-6)
    kernel = np.zeros((4, 4))
    for i, one in enumerate(words):
        for j, two in enumerate(words):
            for cut in (0, 1):
                if one[:cut] == two[:cut]:
                    proposal = np.prod([letters[x] for x in two[cut:]]) / 2
                    kernel[i, j] += proposal * objectives.resampling_acceptance(reward[one], reward[two], 2, 2)
        kernel[i, i] += 1 - kernel[i].sum()
    close(target @ kernel, target, rel=1e-12)


def test_attribute_decoding():
    logits = objectives.drift_logits([1, 0, -1], [0.5, 0.5, 0], [[2, 0, 0], [0, 1, 0]], [0.3, -0.1], 0.5)
    close(logits, [2, -0.4, -1])
    close(softmax(logits), [0.876805, 0.079542, 0.043654], abs=1e-6)


# --- properties and bad input -----------------------------------------------------------------------------------

unit = st.floats(0.01, 0.99)


@given(st.lists(unit, min_size=2, max_size=12))
def test_times_lie_in_the_phase_and_fraction_never_exceeds_the_peak(values):
    steps = np.arange(len(values))
    for rule in ("ci", "fraction"):
        found = post_training.drift_time(steps, values, np.full(len(values), 0.01), rule)
        assert np.isnan(found["eta"]) or 0 < found["eta"] <= 1


@given(st.lists(st.tuples(unit, unit), min_size=5, max_size=12), st.floats(0.5, 20), st.floats(-5, 5))
def test_bounded_indices_ignore_scale_and_place(points, scale, shift):
    x = np.array(points) + np.arange(len(points))[:, None] * 0.01
    y = np.arange(len(x)) % 2
    x[y == 1] += 3
    before, after = geometry.cluster_indices(x, y), geometry.cluster_indices(x * scale + shift, y)
    for variant in ("A", "C", "D"):
        assert 0 <= geometry.aqi(before, variant) <= 1
        close(geometry.aqi(before, variant), geometry.aqi(after, variant), rel=1e-6)


def test_the_space_of_the_base_model_is_its_pca():
    rng = np.random.default_rng(0)
    base, later = rng.normal(size=(20, 6)), rng.normal(size=(5, 6))
    states = {("safe", 0): base, ("safe", 1): later}
    _, _, axes = np.linalg.svd(base - base.mean(axis=0))
    placed = geometry.in_base_space(states, 2, 0)["safe", 1]
    assert np.abs(placed) == pytest.approx(np.abs((later - base.mean(axis=0)) @ axes[:2].T))
    with pytest.raises(InputError, match="components must be from 1 to 6"):
        geometry.in_base_space(states, 7, 0)


@given(st.integers(2, 8), st.integers(0, 100))
def test_vendi_lies_between_one_and_n(n, seed):
    g = np.random.default_rng(seed).normal(size=(n, 5))
    assert 1 - 1e-9 <= probes.vendi(g) <= min(n, 5) + 1e-9


COMPLETIONS = pd.DataFrame([{"pair_id": "a", "response": "completion", "position": 0, "token": "x", "logprob": -1.0}])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: post_training.drift_time([0, 2, 1], [0.1] * 3, [0.1] * 3), "strictly increasing"),
        (lambda: post_training.drift_time([0, 1], [0.1, 0.2], [0.1] * 2, "best"), "rule of drift time"),
        (lambda: probes.ches(np.empty((0, 2)), [[1, 2]]), "empty"),
        (lambda: displacement.filter_by_ches([1, 2], 0.0), "keep_fraction"),
        (lambda: displacement.filter_by_ches([1, 2], 0.3), "keeps none"),
        (lambda: displacement.percentile_subsets([1, np.nan], [50], 1), "not finite"),
        (lambda: displacement.percentile_subsets([1, 2], [50, 101], 1), "100 at most"),
        (lambda: displacement.percentile_subsets([1, 2, 3], [50, 50], 1), "must increase"),
        (lambda: displacement.percentile_subsets([1, 2, 3], [0, 100], 2), "2 subsets of 2 overlap in 3 pairs"),
        (lambda: displacement.percentile_subsets([1, 2], [50], 3), "lower the size"),
        (lambda: displacement.percentile_subsets([1, 2], [50], 0), "overlap"),
        (lambda: displacement.slope_over_percentiles([0, 100], [1]), "one change per percentile"),
        (lambda: geometry.aqi_changes(np.eye(10), np.eye(10), [0] * 5 + [1] * 5, 2, 0), "at least 12"),
        (lambda: displacement.displacement_report(COMPLETIONS, COMPLETIONS), "no (chosen|rejected) responses"),
        (lambda: geometry.cluster_indices(np.eye(6), [0] * 6), "label"),
        (lambda: geometry.cluster_indices(np.eye(6), [0] * 5 + [1]), "one text only"),
        (lambda: geometry.cluster_indices(np.eye(4), [0, 0, 1, 1]), "too few"),
        (lambda: geometry.cluster_indices(np.array([[0.0], [1], [0], [1], [2], [2]]), [0, 0, 1, 1, 0, 1]), "coincide"),
        (lambda: geometry.cluster_indices(np.array([[0.0]] * 3 + [[1]] * 3), [0] * 3 + [1] * 3), "no extent"),
        (lambda: geometry.aqi({}, "B"), "AQI variant"),
        (lambda: probes.vendi([[0, 0], [1, 0]]), "no direction"),
        (lambda: probes.vendi(np.empty((0, 3))), "at least one sample"),
        (lambda: objectives.best_of_n_gain(0), "at least 1"),
        (lambda: objectives.green_list_z(1, 0, 0.5), "at least one token"),
        (lambda: objectives.green_list_z(1, 5, 1.0), "0 < fraction < 1"),
        (lambda: stances.value_gap([[0.5, 0.5, 0.5]], [[1, 0, 0]]), "add up to 1"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(InputError, match=says):
        call()


def test_displacement_is_loss_down_and_preferred_down():
    def tokens(chosen, rejected):
        rows = [("a", "chosen", i, f"t{i}", x) for i, x in enumerate(chosen)]
        rows += [("a", "rejected", i, f"u{i}", x) for i, x in enumerate(rejected)]
        return pd.DataFrame(rows, columns=["pair_id", "response", "position", "token", "logprob"])

    before, after = tokens([-1, -2], [-2.0]), tokens([-2, -3], [-9.0])
    report = displacement.displacement_report(before, after)
    row = report.iloc[0]
    assert (row["chosen_change"], row["rejected_change"], row["margin"]) == (-2, -7, 5)
    close([row["loss_before"], row["loss_after"]], [np.log(2), np.log1p(np.exp(-0.5))])
    both = pd.concat([report.assign(run="falls"), displacement.displacement_report(after, before).assign(run="rises")])
    assert row["displaced"] and displacement.verdicts(both)["displaced"].tolist() == [True, False]
    assert set(displacement.token_changes(before, after)["change"]) == {-1, -7}
    with pytest.raises(InputError, match="other tokens"):
        displacement.displacement_report(before, after.iloc[:-1])


def test_top_movers_name_who_gained():
    found = displacement.top_movers(np.log([0.5, 0.3, 0.2]), np.log([0.1, 0.2, 0.7]), ["No", "Never", "Yes"], k=1)
    assert list(found["token"]) == ["Yes", "No"]
    close(found["change"], [0.5, -0.4])
