"""Every worked number of the study's definitions, by name."""

import numpy as np
import pandas as pd
import pytest

from workbench.answers import levels
from workbench.cultural_alignment import (
    alignment,
    cultural_map,
    extrapolability,
    instruments,
    national_bias,
    opinion_distributions,
    robustness,
    surveys,
    worldviews,
)
from workbench.errors import InputError

NAN = float("nan")
WBC_ROWS = [(0.1, 0.2, 0.3, 0.3, 0.1), (0.3, 0.3, 0.2, 0.1, 0.1), (0, 0.1, 0.2, 0.3, 0.4), (0.2, 0.2, 0.2, 0.2, 0.2)]


def response_rows(rows, keys=None, dimension="d", **tags):
    """Responses made by hand, one item per row."""
    parts = []
    for i, p in enumerate(rows):
        about = {"question_id": f"q{i}", "item": f"i{i}", "dimension": dimension, "key": (keys or [1] * len(rows))[i]}
        for level, value in enumerate(p):
            shown = {"level": level, "value": float(level), "position": level, "p": value, "mass": 0.5, "abstain": 0.0}
            parts.append({**about, **tags, **shown})
    return pd.DataFrame(parts)


FORMS = [[-2, -1], [-3, -1.5], [-4, -2.5]]


def read_forms(forms="sum"):
    rows = [{"value": i + 1.0, "logprob": x} for i, option in enumerate(FORMS) for x in option]
    asked = pd.DataFrame(rows).assign(question_id="q", option=range(6), text=list("abcdef"), role="none")
    return levels(asked, forms=forms)


def test_option_distribution_adds_aliases_up():
    table = read_forms()
    assert table["p"].tolist() == pytest.approx([0.574097, 0.311360, 0.114543], abs=1e-6)
    assert table["mass"].tolist() == pytest.approx([0.8765326] * 3, abs=1e-6)
    assert table["p"] @ table["value"] == pytest.approx(1.540446, abs=1e-6)
    assert surveys.scores(table)["x_raw"][0] == pytest.approx(0.270223, abs=1e-6)
    assert read_forms("max")["p"].tolist() == pytest.approx([0.546549, 0.331499, 0.121952], abs=1e-6)


def test_position_preference_against_position_bias():
    preference, bias = surveys.position_effects(0.7, 0.6)
    assert float(preference) == pytest.approx(0.220916, abs=1e-6)
    assert 1 / (1 + np.exp(-preference)) == pytest.approx(0.555006, abs=1e-6)
    assert float(bias) == pytest.approx(0.626381, abs=1e-6)
    assert pytest.approx(0.55) == (0.7 + 1 - 0.6) / 2


def test_leakage_of_a_refusal():
    rows = [(0.8, 0.1, 0.1), (0.8, 0.1, 0.1), (0.75, 0.15, 0.1)]
    assert worldviews.leakage([True, False, True], rows).tolist() == [True, False, False]


def test_wbc24_scoring_and_acquiescence():
    found = surveys.scores(response_rows(WBC_ROWS, [1, -1, 1, -1], persona="none"))
    assert found["x_raw"].tolist() == pytest.approx([0.525, 0.35, 0.75, 0.5])
    assert found["x"].tolist() == pytest.approx([0.525, 0.65, 0.75, 0.5])
    scores = instruments.dimension_scores(found, by="persona").iloc[0]
    assert (scores["score"], scores["acquiescence"]) == pytest.approx((60.625, 0.53125))
    assert not scores["acquiescence_confounded"]


def test_stability_exact_sign_flip():
    found = robustness.shift([0.8, 0.6, 0.7, 0.9], [0.5, 0.6, 0.4, 0.7])
    assert (found["mean"], found["mean_abs"], found["p"]) == pytest.approx((0.2, 0.2, 0.25))
    assert found["d_z"] == pytest.approx(1.414214, abs=1e-6)
    assert found["ratio"] == pytest.approx(0.2 / 0.114)
    still = robustness.shift([1.0, 1.0], [0.0, 0.0])
    assert still["note"] == "no variation" and np.isnan([still["low"], still["high"], still["d_z"]]).all()


def test_effect_does_not_depend_on_group_size_or_origin():
    one, two = np.full(100, 0.5), np.full(100, 0.5)
    assert robustness.shift(one, two)["mean"] == 0
    gap = robustness.shift([0.4, 0.5], [0.6, 0.7])["mean"]
    assert robustness.shift(np.add([0.4, 0.5], 1), np.add([0.6, 0.7], 1))["mean"] == pytest.approx(gap)
    snapshot = abs(100 / 160 * 2.5 - 60 / 160 * 2.5)
    assert snapshot == pytest.approx(0.625)  # what the published code calls an effect between equal means


def test_variance_shares_and_icc():
    found = robustness.variance_proportions([[0.2, 0.4, 0.3], [0.5, 0.7, 0.6], [0.4, 0.8, 0.9]])
    expected = {"country": 0.590909, "format": 0.287879, "rest": 0.121212}
    expected |= {"icc_agreement": 0.564516, "icc_consistency": 0.744681}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_ari_curve_of_noise_rises_by_itself():
    means = extrapolability.noise_curves(65, 6, draws=20).mean()
    assert means.tolist() == pytest.approx([0.095, 0.181, 0.259, 0.352, 0.426], abs=0.06)
    assert (np.diff(means) > 0).all()


def test_permutation_p_is_never_zero():
    d = np.full(20, 0.3) + np.arange(20) / 100  # 2 of 2^20 patterns are as far, so no draw is likely to be
    assert robustness.shift(d, np.zeros(20))["p"] == pytest.approx(2 * (0 + 1) / (10_000 + 1))  # either side doubled
    perfect = np.eye(8) + np.arange(8) / 100  # a shuffle that keeps all eight is one in 40,320
    assert alignment.steer(perfect, draws=50)["p_top1"] == pytest.approx(0.019608, abs=1e-6)  # (0 + 1) / (50 + 1)


def test_steering_gain_margin_top1():
    a = [[0.80, 0.70, 0.75], [0.72, 0.78, 0.70], [0.74, 0.71, 0.73]]
    found = alignment.steer(a, [0.76, 0.74, 0.71], draws=200)
    assert found["personas"]["gain"].tolist() == pytest.approx([0.04, 0.04, 0.02])
    assert found["personas"]["margin"].tolist() == pytest.approx([0.075, 0.07, 0.005])
    assert (found["top1"], found["erratic"], found["mrr"]) == pytest.approx((2 / 3, 0, (1 + 1 + 1 / 2) / 3))


def test_ties_share_the_nearest_country():
    found = alignment.steer(np.full((4, 4), 0.5), draws=20)
    assert found["top1"] == found["chance"] == 0.25 and found["p_top1"] == 1
    half = alignment.steer([[0.8, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]], draws=20)
    assert half["top1"] == pytest.approx((1 / 2 + 1) / 3) and half["personas"]["rank"].tolist() == [1.5, 1, 2.5]


def test_collapse_beside_ranks():
    humans, personas = [(0, 0), (1, 0), (0, 1)], [(0.5, 0.5), (0.6, 0.5), (0.5, 0.6)]
    assert alignment.collapse(personas, humans) == pytest.approx(0.1)


def test_forced_against_neutral_choice():
    def trials(rows):
        return pd.DataFrame(rows, columns=["first", "second", "rating"])

    five = [("X", "Y", 3), ("Y", "X", 3), ("X", "Z", 3), ("Z", "X", 3), ("Y", "Z", 3), ("Z", "Y", 2)]
    four = [("X", "Y", 2), ("Y", "X", 3), ("X", "Z", 1), ("Z", "X", 4), ("Y", "Z", 2), ("Z", "Y", 2)]
    neutral = robustness.choice_preference(trials(five), 5).set_index("name")["preference"]
    forced = robustness.choice_preference(trials(four), 4).set_index("name")["preference"]
    assert neutral[["X", "Y", "Z"]].tolist() == pytest.approx([0.5, 0.4375, 0.5625])
    assert forced[["X", "Y", "Z"]].tolist() == pytest.approx([0.833333, 0.416667, 0.25], abs=1e-6)


def test_an_all_neutral_country_scores_one_half():
    rows = {"first": ["X", "Y"], "second": ["Y", "X"], "rating": [3, 3]}
    found = robustness.choice_preference(pd.DataFrame(rows), 5)
    assert found["preference"].tolist() == [0.5, 0.5]  # 0.625 in the published code's second scorer
    assert not found["unbalanced"].any()


REVERSED = [(0.5, 0.3, 0.2)], [(0.2, 0.3, 0.5)]
FALLING = [(0.1, 0.2, 0.3, 0.4)], [(0.4, 0.3, 0.2, 0.1)]
SOFT = [(0, 0.4, 0.6, 0, 0)], [(0, 0.4, 0.1, 0.5, 0)]  # expectations 2.6 and 3.1


@pytest.mark.parametrize(
    ("pair", "how", "expected"),
    [
        (REVERSED, {}, 0.690459),
        (REVERSED, {"base": "e"}, 0.742290),
        (FALLING, {"kind": "wasserstein"}, 0.666667),
        (FALLING, {"kind": "wasserstein", "pos": (1, 2, 4, 5)}, 0.65),
        (SOFT, {"kind": "soft"}, 0.875),
        (SOFT, {"kind": "hard"}, 0),
    ],
)
def test_similarities(pair, how, expected):
    assert alignment.similarity(*pair, **how)[0] == pytest.approx(expected, abs=1e-6)


def test_js_similarity_of_disjoint_answers():
    assert alignment.similarity([(1, 0)], [(0, 1)])[0] == pytest.approx(0, abs=1e-12)
    assert alignment.similarity([(1, 0)], [(0, 1)], base="e")[0] == pytest.approx(0.167445, abs=1e-6)


def test_uniform_answers_beat_the_right_single_answer():
    human, uniform, single = [(0.1, 0.2, 0.4, 0.3)], [(0.25,) * 4], [(0, 0, 1, 0)]
    kinds = ("js", "wasserstein")
    values = [alignment.similarity(each, human, kind)[0] for each in (uniform, single) for kind in kinds]
    assert values == pytest.approx([0.799497, 0.866667, 0.370861, 0.766667], abs=1e-6)


def test_spectrum_alignment_in_nats():
    found = alignment.spectrum_alignment((0.5, 0.3, 0.2), (0.30, 0.15, 0.05))
    assert found["coverage"] == pytest.approx(0.5)
    expected = {"js": 0.0107707, "kl": 0.0474682, "reverse_kl": 0.0400779, "cross_entropy": 1.0771217, "mode_match": 1}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-6)


def test_spectrum_valid_outputs():
    found = alignment.valid_outputs(["a", "a", "b", "c", "x", "b", "a", "d", "", "c"], set("abcde"))
    expected = {"validity": 0.8, "diversity": 0.5, "yield": 4, "coverage": 0.8, "collision": 5 / 28}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert np.isnan(alignment.valid_outputs(["a", "x"], {"a"})["collision"])


def test_expected_yield_and_collision_from_probabilities():
    q = np.array([0.9, 0.05, 0.03, 0.01, 0.01])
    assert alignment.expected_yield(q, 100) == pytest.approx(4.214462, abs=1e-6)
    assert (q**2).sum() == pytest.approx(0.8136)


def test_total_variation_of_open_and_closed_answers():
    assert worldviews.open_closed_disparity([(0.7, 0.2, 0.1)], [(0.4, 0.5, 0.1)])[0] == pytest.approx(0.3)
    assert alignment.similarity([(0.7, 0.2, 0.1)], [(0.4, 0.5, 0.1)], "tvd")[0] == pytest.approx(0.7)


VSM = "2.1 1.8 2.4 1.9 2.2 1.7 2.6 2.5 2.3 2.0 2.2 3.0 1.9 2.7 3.1 2.0 3.4 2.3 1.6 3.2 2.9 2.1 2.5 3.0"
MEANS = np.array([float(m) for m in VSM.split()])


def test_vsm13_indices():
    expected = {"PDI": 45.5, "IDV": 14.0, "MAS": 10.5, "UAI": -34.5, "LTO": -44.5, "IVR": 84.0}
    assert instruments.vsm13(MEANS) == pytest.approx(expected)
    assert instruments.vsm13(MEANS, mas_weight=25)["MAS"] == pytest.approx(5.5)


def test_vsm13_invariances():
    moved, mirrored = instruments.vsm13(MEANS + 0.3), instruments.vsm13(6 - MEANS)
    assert moved == pytest.approx(instruments.vsm13(MEANS))
    assert mirrored == pytest.approx({name: -value for name, value in instruments.vsm13(MEANS).items()})


@pytest.mark.parametrize(
    ("row", "tau"),
    [
        ((40, 80, 80), -0.816497),  # PDI of the U.S.A., China and the Arab countries; IDV ... as published
        ((91, 20, 38), 1.0),
        ((62, 66, 53), -0.333333),
        ((46, 30, 68), 0.333333),
        ((26, 87, 23), -0.333333),
        ((68, 24, 34), 1.0),
    ],
)
def test_cultural_alignment_test_tau(row, tau):
    test = cultural_map.rank_agreement([60, 30, 50], row)
    assert test["tau"] == pytest.approx(tau, abs=1e-6) and np.isnan(test["p"])  # three are never significant


SDS = np.array([20.45, 23.47, 19.84, 22.72, 23.21, 22.25])
COUNTRIES = {
    "U.S.A.": (40, 91, 62, 46, 26, 68),
    "Great Britain": (35, 89, 66, 35, 51, 69),
    "China": (80, 20, 66, 30, 87, 24),
    "Japan": (54, 46, 95, 92, 88, 42),
    "Denmark": (18, 74, 16, 23, 35, 70),
    "Sweden": (31, 71, 5, 29, 53, 78),
}


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("U.S.A.", "Great Britain", 0.2508),
        ("U.S.A.", "China", 4.0561),
        ("U.S.A.", "Japan", 3.2527),
        ("Denmark", "Sweden", 0.2548),
        ("China", "Japan", 2.1808),
    ],
)
def test_kogut_singh_on_the_full_reference(a, b, distance):  # sds are published to two decimals
    assert cultural_map.kogut_singh(COUNTRIES[a], COUNTRIES[b], SDS**2) == pytest.approx(distance, rel=1e-3)


def test_kogut_singh_takes_the_sample_variance_of_its_reference():
    halves = zip(instruments.DIMENSIONS, [(0.0, 2.0)] * 3 + [(10.0, 30.0)] * 3)  # sample variances 2 and 200
    reference = pd.DataFrame(dict(halves), ["A", "B"])
    near = cultural_map.distances(reference.rename({"A": "none"}), reference)
    assert near["model"].tolist() == pytest.approx([0, (4 / 2 + 400 / 200) / 2])


def test_inglehart_welzel_constants():
    assert cultural_map.rescale((1, 1))[0] == pytest.approx([1.848, 1.51])
    assert cultural_map.rescale((1, 1), "tao_2024")[0] == pytest.approx([2.19, 1.60])


def test_inglehart_welzel_public_file_has_its_sign_reversed():
    names = ["Sweden", "Norway", "U.S.A.", "Zimbabwe", "Japan"]
    axes = np.array([(-3.11, 0.6), (-3.04, 1.0), (-1.21, -0.4), (1.93, -0.4), (-1.4, 1.7)])  # the file's, and a second
    with pytest.raises(InputError, match="multiply by -1"):
        cultural_map.check_orientation(axes, names)
    assert cultural_map.check_orientation(axes * (-1, 1), names) == "axes checked against 4 published countries"


def test_normad_scores():
    found = national_bias.label_scores(list("yynnuuynuy"), list("yyynyuyynu"))
    expected = {"accuracy": 0.5, "macro_f1": 0.466667, "weighted_f1": 0.48, "kappa": 0.21875}
    expected |= {"recall_y": 0.75, "recall_n": 1 / 3, "recall_u": 1 / 3}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_perspective_diversity_over_all_regions():
    regions = list("abcdefg")
    assert worldviews.perspective_diversity({"a": 8, "b": 1, "c": 1}, regions) == pytest.approx(0.328397, abs=1e-6)
    assert worldviews.perspective_diversity(dict.fromkeys(regions, 2), regions) == pytest.approx(1)
    assert worldviews.perspective_diversity({"a": 4}, regions) == 0
    two = ["a", "b"]
    answers = [worldviews.perspective_diversity({name: 1}, two) for name in two]
    assert np.mean(answers) == 0
    assert worldviews.perspective_diversity({"a": 1, "b": 1}, two) == pytest.approx(1)  # pooled: the other extreme


def test_tropes_and_their_overlap():
    vectors = [(1, 0), (0.995, 0.0999), (0.98, 0.199), (0, 1), (0.1, 0.995)]
    assert worldviews.tropes(vectors, 0.15, 2).tolist() == [0, 0, 0, 1, 1]
    assert worldviews.tropes(vectors, 0.15, 3).tolist() == [0, 0, 0, -1, -1]
    assert worldviews.tropes(vectors, 0.004, 2).tolist() == [-1] * 5
    assert worldviews.jaccard({1, 2, 3}, {2, 3, 4}) == 0.5
    assert np.isnan(worldviews.jaccard(set(), set()))


def test_correct_answer_effect():
    found = opinion_distributions.correct_answer([(0.995, 0.003, 0.001, 0.001)]).iloc[0]
    expected = {"p_max": 0.995, "entropy": 0.026135, "effective": 1.036895, "simpson": 0.009964, "one_answer": 1}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    people_agree = opinion_distributions.correct_answer([(0.995, 0.003, 0.001, 0.001)], [(0.91, 0.03, 0.03, 0.03)])
    assert people_agree["one_answer"].tolist() == [0]  # no effect where people are of one mind too


def test_order_flip_of_a_self_placement():
    assert opinion_distributions.order_flip([0.996], [0.007])[0] == pytest.approx(0.989)
    sides = {"ascending": (0.002, 0.002, 0.996), "descending": (0.9, 0.093, 0.007)}
    rows = [
        {"question_id": each, "direction": each, "level": k, "value": float(k), "p": p, "mass": 0.8}
        for each, row in sides.items()
        for k, p in enumerate(row)
    ]
    found = opinion_distributions.self_placement(pd.DataFrame(rows))
    assert found.loc["mean of both", ["right", "order_flip"]].tolist() == pytest.approx([0.5015, 0.989])
    assert found.loc["descending", ["left", "middle"]].tolist() == pytest.approx([0.9, 0.093])
    with pytest.raises(InputError, match="both directions"):
        opinion_distributions.self_placement(pd.DataFrame(rows[:3]))


def test_foundations_that_do_not_differ_are_degenerate():
    scores = {"care": ((0.2, 0.4, 0.5), (0.4, 0.5, 0.8)), "loyalty": ((0.4, 0.4, 0.6), (0.6, 0.6, 0.8))}
    rows = [
        {"persona": who, "item": f"{name}{i}", "dimension": name, "x_raw": x}
        for name, both in scores.items()
        for who, values in zip(("left", "right"), both)
        for i, x in enumerate(values)
    ]
    gap = opinion_distributions.foundations_gap(pd.DataFrame(rows)).set_index("dimension")
    assert gap.loc["care", ["mean_left", "difference"]].tolist() == pytest.approx([5 * 1.1 / 3, 1.0])
    assert gap.at["care", "t"] == pytest.approx(1 / (0.5 / np.sqrt(3)))
    assert gap.at["loyalty", "difference"] == pytest.approx(1.0)
    assert gap.at["loyalty", "note"] == "degenerate" and gap.loc["loyalty", ["t", "p", "low"]].isna().all()


def test_favourites_are_robust_only_with_one_content_in_all_orders():
    one = [(0.7, 0.2, 0.1), (0.7, 0.2, 0.1), (0.5, 0.5, 0.0), (0.9, 0.1, NAN)]
    two = [(0.4, 0.3, 0.3), (0.1, 0.2, 0.7), (0.6, 0.4, 0.0), (NAN, NAN, NAN)]
    found = opinion_distributions.order_robust([one, two])
    assert found[:3].tolist() == [1, 0, 0] and np.isnan(found[3])
    with pytest.raises(InputError, match="two orders"):
        opinion_distributions.order_robust([one])


def test_recurring_arguments_are_clustered_with_their_speakers():
    same, other = "Sharing makes a village strong.", "Nobody should be told what to think."
    said = [("a", "agrees", same), ("b", "agrees", same), ("c", "disagrees", same), ("c", "disagrees", "Yes.")]
    said += [("d", "disagrees", other), ("e", "disagrees", other)]
    said += [(f"f{i}", "agrees", f"Quite another {word} sentence {i}.") for i, word in enumerate(("long", "odd"))]
    found = worldviews.recurring(pd.DataFrame(said, columns=["item", "stance", "text"]), "stance")
    assert found["trope"].tolist() == [same, other] and found["n"].tolist() == [3, 2]
    assert found["speakers"].tolist() == ["agrees, disagrees", "disagrees"]
    assert (found.attrs["n"], found.attrs["n_short"]) == (7, 1)
    assert worldviews.trope_overlap(found, "agrees", "disagrees") == 0.5
    phrase = pd.DataFrame([(i, "agrees", same) for i in "abcd"], columns=["item", "stance", "text"])
    assert worldviews.recurring(phrase, "stance").empty  # said everywhere: a phrase, not an argument


def test_regions_that_are_never_named_count():
    regions = {f"C{i}": f"R{i}" for i in range(7)} | {"C0b": "R0"}
    p = {"C0": 0.5, "C0b": 0.3, "C1": 0.1, "C2": 0.1, **dict.fromkeys(("C3", "C4", "C5", "C6"), 0.0)}
    rows = [
        {"question_id": "q", "item": "i", "condition": "plain", "persona": "none", "text": f" {c}", "p": v, "mass": 0.4}
        for c, v in p.items()
    ]
    found = worldviews.region_diversity(pd.DataFrame(rows), regions).iloc[0]
    assert found["diversity"] == pytest.approx(0.328397, abs=1e-6)
    assert (found["top_region"], found["top_share"], found["mass"]) == ("R0", pytest.approx(0.8), 0.4)
    with pytest.raises(InputError, match="no region"):
        worldviews.region_diversity(pd.DataFrame(rows), {"C0": "R0"})


def test_expected_rating_keeps_the_rank_the_mode_loses():
    rows = [(0.1, 0.1, 0.2, 0.3, 0.3), (0.5, 0.3, 0.1, 0.05, 0.05), (0.2,) * 5, (0.05, 0.05, 0.1, 0.3, 0.5)]
    found = np.array(rows) @ np.arange(1, 6)
    assert found == pytest.approx([3.6, 1.85, 3.0, 4.15])
    human = [3.9, 1.5, 2.2, 4.8]
    assert np.corrcoef(found, human)[0, 1] == pytest.approx(0.953218, abs=1e-6)
    assert cultural_map.rank_agreement(found, human)["tau"] == pytest.approx(1)


def test_constant_letter_earns_most_of_pacifaist():
    groups = [[0] * first + [1] * (n - first) for n, first in ((126, 123), (125, 123), (100, 82))]  # EP1 to EP3
    right = [key for part in groups for key in part]
    always_a = national_bias.constant_answers(right, 2).set_index("position").at[0, "accuracy"]
    assert always_a == pytest.approx(0.9345, abs=1e-4)  # the best model of the paper reports 0.9031
    parts = [national_bias.constant_answers(part, 2)["accuracy"][0] for part in groups]
    assert parts == pytest.approx([0.9762, 0.984, 0.82], abs=1e-4)


def test_bbq_bias_published_form():
    assert national_bias.bbq_bias(30, 50) == pytest.approx(0.2)
    assert national_bias.bbq_bias(30, 50, accuracy=0.5) == pytest.approx(0.1)
    assert np.isnan(national_bias.bbq_bias(0, 0))
