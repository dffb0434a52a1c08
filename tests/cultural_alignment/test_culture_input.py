"""What is undefined is NaN with its count; what is wrong is refused in a sentence; nothing is clipped or filled in."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

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

HALF = [(0.5, 0.5)]


@pytest.mark.parametrize(
    ("p", "says"),
    [
        ([(0.5, -0.1, 0.6)], "negative"),
        ([(0.5, 0.4)], "adds up to 0.9"),
        ([(0.0, 0.0)], "all zero"),
        ([(1.0,)], "two options"),
        ([(1.0, np.nan)], "one option"),
        ([(np.inf, 0)], "infinite"),
    ],
)
def test_no_distribution(p, says):
    with pytest.raises(InputError, match=says):
        opinion_distributions.correct_answer(p)


def test_missing_items_stay_missing_and_are_counted():
    p, h = [(0.5, 0.5), (np.nan, np.nan), (1, 0)], [(0.5, 0.5), (0.5, 0.5), (1, 0)]
    assert alignment.similarity(p, h) == pytest.approx([1, np.nan, 1], nan_ok=True)
    found = surveys.agreement(p, h)
    assert (found["n_used"], found["n_dropped"]) == (2, 1)
    found = robustness.shift([0.5, np.nan, 0.7], [0.4, 0.5, 0.6])
    assert (found["n"], found["n_dropped"]) == (2, 1)


def test_js_of_near_equals_is_one_where_scipy_returns_nan():
    p = np.random.default_rng(0).dirichlet(np.ones(5), 3000)
    q = np.exp(np.log(p))
    q = q / q.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(jensenshannon(p, q, axis=1)).any()
    assert alignment.similarity(p, q) == pytest.approx(1, abs=1e-6)


def test_similarities_agree_with_scipy():
    rng = np.random.default_rng(0)
    p, h, pos = rng.dirichlet(np.ones(5), 20), rng.dirichlet(np.ones(5), 20), (4, 1, 2, 7, 5)
    theirs = [1 - wasserstein_distance(pos, pos, a, b) / 6 for a, b in zip(p, h)]
    assert alignment.similarity(p, h, "wasserstein", pos=pos) == pytest.approx(theirs)
    assert alignment.similarity(p, h) == pytest.approx([1 - jensenshannon(a, b, base=2) for a, b in zip(p, h)])


def test_other_scales_are_refused():
    with pytest.raises(InputError, match="number of options"):
        alignment.similarity([(0.5, 0.5, np.nan)], [(0.2, 0.3, 0.5)])
    with pytest.raises(InputError, match="positions"):
        alignment.similarity(HALF, HALF, "wasserstein", pos=(1, 1))


def test_undefined_statistics_are_nan():
    constant = robustness.variance_proportions([[0.5, 0.5], [0.5, 0.5]])
    assert np.isnan(constant["country"]) and constant["note"] == "no variance"
    assert np.isnan(robustness.variance_proportions([[0.5], [0.7]])["icc_agreement"])
    assert np.isnan(cultural_map.rank_agreement([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])["tau"])
    assert np.isnan(alignment.collapse([(0, 0), (1, 1)], [(0, 0), (0, 0)]))
    assert np.isnan(worldviews.perspective_diversity({}, ["a", "b"]))


def test_a_negative_icc_is_not_clipped():
    assert robustness.variance_proportions([[0, 1], [1, 0], [0.5, 0.5]])["icc_agreement"] < 0


def test_clusters_need_more_rows_than_clusters():
    with pytest.raises(InputError, match="3 clusters"):
        extrapolability.ari_curve(np.eye(3))
    x = np.random.default_rng(0).normal(size=(8, 3))
    x[0, 0] = np.nan
    assert extrapolability.ari_curve(x)["n_dropped"].unique().tolist() == [1]


@pytest.fixture
def wbc_scores():
    from test_culture_oracles import WBC_ROWS, response_rows

    return lambda keys: surveys.scores(response_rows(WBC_ROWS, keys, persona="none"))


def test_unbalanced_keys_give_a_warning(wbc_scores):
    with pytest.warns(UserWarning, match="not balanced"):
        scores = instruments.dimension_scores(wbc_scores([1, 1, 1, -1]), by="persona")
    assert scores["acquiescence_confounded"].all()


def test_a_dimension_needs_three_quarters_of_its_items(wbc_scores):
    scores = wbc_scores([1, -1, 1, -1])
    scores.loc[[0, 1], "x"] = np.nan
    found = instruments.dimension_scores(scores, by="persona").iloc[0]
    assert np.isnan(found["score"]) and found["n_dropped"] == 2
    scores.loc[1, "x"] = 0.65
    assert np.isfinite(instruments.dimension_scores(scores, by="persona")["score"][0])


def test_a_pair_with_itself_is_refused_and_a_lonely_pair_is_marked():
    with pytest.raises(InputError, match="paired with itself"):
        robustness.choice_preference(pd.DataFrame({"first": ["X"], "second": ["X"], "rating": [3]}), 5)
    lonely = robustness.choice_preference(pd.DataFrame({"first": ["X"], "second": ["Y"], "rating": [3]}), 5)
    assert lonely["unbalanced"].all()


def test_vsm_with_a_missing_mean_is_nan_in_its_dimension_only():
    means = np.full(24, 3.0)
    means[6] = np.nan
    found = instruments.vsm13(means)
    assert np.isnan(found["PDI"]) and found["IDV"] == 0
    with pytest.raises(InputError, match="m01 is 0"):
        instruments.vsm13(np.r_[0.0, np.full(23, 3.0)])


def test_refusals_are_no_answers():
    table = pd.DataFrame(
        {"question_id": "q", "option": [0, 1, 2], "text": list("abc"), "role": ["none"] * 2 + ["abstain"]}
    )
    table["value"], table["logprob"] = [0.0, 1.0, np.nan], np.log([0.1, 0.3, 0.4])
    found = levels(table)
    assert found["p"].tolist() == pytest.approx([0.25, 0.75])
    assert found["mass"].tolist() == pytest.approx([0.4, 0.4])
    assert found["abstain"].tolist() == pytest.approx([0.5, 0.5])


def test_shown_order_never_matters_twice():
    table = pd.DataFrame({"question_id": ["q"] * 3, "option": [0, 1, 2], "text": list("abc"), "role": "none"})
    table["value"], table["logprob"] = [2.0, 1.0, 0.0], np.log([0.5, 0.3, 0.2])
    found = levels(table)
    assert found["p"].tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert surveys.scores(found)["modal"][0] == 2
    assert surveys.scores(found)["p_first"][0] == pytest.approx(0.5)


def test_map_is_oriented_and_places_new_points():
    rng = np.random.default_rng(0)
    x = rng.normal(50, 10, (30, 6))
    x[:, 1] = -x[:, 0] + rng.normal(0, 3, 30)
    found = cultural_map.culture_map(x)
    assert found.loadings[0, 1] > 0 and found.loadings[1, 4] > 0
    turned = cultural_map.culture_map(100 - x)  # the same axes, whichever way the decomposition finds them
    assert turned.loadings == pytest.approx(found.loadings)
    order = np.random.default_rng(1).permutation(30)
    for some in (x[order[:20]], x[order[10:]], x * [1, 1, 3, 1, 1, 1], -x[order[:15]]):
        each = cultural_map.culture_map(some)
        assert each.loadings[0, 1] > 0 and each.loadings[1, 4] > 0
    assert cultural_map.culture_map(x, up=(0, 4)).loadings[0, 1] < 0  # another pole, another direction
    assert found.explained.sum() == pytest.approx(1)
    assert found.place(x).mean(axis=0) == pytest.approx([0, 0], abs=1e-9)


def test_values_map_finds_planted_axes_with_missing_answers():
    rng = np.random.default_rng(1)
    secular, self_expression = rng.normal(size=(2, 600))
    load = {"A008": (0, -1), "A165": (0, -1), "E018": (1, 0), "E025": (0, -1), "F063": (-1, 0)}
    load |= {"F118": (0, 1), "F120": (1, 0.5), "G006": (1, 0), "Y002": (0, 1), "Y003": (1, 0)}
    columns = []
    for name, (a, b) in load.items():
        low, high = cultural_map.RANGES[name]
        z = a * secular + b * self_expression + rng.normal(0, 0.6, 600)
        columns.append(np.clip((low + high) / 2 + z * (high - low) / 6, low, high))
    x = np.array(columns).T
    holes = x.copy()
    holes[rng.random(x.shape) < 0.1] = np.nan
    found = cultural_map.fit_values_map(holes)
    xy = found.place(x)
    assert np.corrcoef(xy[:, 0], self_expression)[0, 1] > 0.85
    assert np.corrcoef(xy[:, 1], secular)[0, 1] > 0.85
    assert found.n + found.n_dropped == 600


def test_split_half_tells_a_profile_from_noise():
    rng = np.random.default_rng(0)
    profile = rng.normal(size=8)
    stable = extrapolability.split_half(profile + rng.normal(0, 0.3, (24, 8)))
    noise = extrapolability.split_half(rng.normal(size=(24, 8)))
    assert stable["rho"] > 0.8 and noise["rho"] < 0.3
    r = stable["rho"]
    assert stable["spearman_brown"] == pytest.approx(2 * r / (1 + r))
    against = extrapolability.split_half([[1, 2, 3], [3, 2, 1]])
    assert against["rho"] == -1 and np.isnan(against["spearman_brown"])


def test_many_clusterings_are_those_of_the_library():
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    many_ari, many_kmeans = extrapolability.many_ari, extrapolability.many_kmeans
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 3, (40, 9)), rng.integers(0, 4, (40, 9))
    assert many_ari(one, two) == pytest.approx([adjusted_rand_score(a, b) for a, b in zip(one, two)])
    assert many_ari(one[:1] * 0, one[:1] * 0).tolist() == [1.0]
    scores = instruments.country_scores()[instruments.DIMENSIONS].to_numpy()
    z = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    sets = z.reshape(3, 8, 6)
    theirs = [KMeans(3, n_init=50, random_state=0).fit_predict(points) for points in sets]
    assert many_ari(many_kmeans(sets, 3, n_init=50), np.array(theirs)).tolist() == [1.0] * 3
    assert set(many_kmeans(np.zeros((1, 5, 2)), 3)[0]) == {0}  # five times one point


def test_clusters_are_tested_against_noise_of_their_shape():
    rng = np.random.default_rng(1)
    noise = extrapolability.noise_curves(8, 6, draws=200)
    linked = np.repeat([[0.0], [4.0], [9.0], [9.1]], 2, axis=0) + rng.normal(0, 0.1, (8, 6))
    found, loose = (
        extrapolability.against_noise(extrapolability.ari_curve(x), noise) for x in (linked, rng.normal(size=(8, 6)))
    )
    assert (found["p"] == 1 / 201).all() and (found["excess_low"] > 0).all()
    assert (loose["p"] > 0.05).all() and (loose["excess_low"] < 0).all()
    assert found["excess"].tolist() == pytest.approx((found["ari"] - found["mean"]).tolist())
    ps = [
        extrapolability.against_noise(extrapolability.ari_curve(rng.normal(size=(8, 6))), noise)["p"].iloc[2]
        for _ in range(40)
    ]
    assert 0.3 < np.mean(ps) < 0.7  # under the null p is even
    with pytest.raises(InputError, match="same shape as the curve"):
        extrapolability.against_noise(extrapolability.ari_curve(linked), extrapolability.noise_curves(8, 4, draws=2))


def test_mantel_splits_of_one_factor_agree():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(30, 1))
    linked, loose = factor + rng.normal(0, 0.3, (30, 6)), rng.normal(size=(30, 6))
    assert extrapolability.mantel_splits(linked)["rho"].mean() > 0.7
    assert abs(extrapolability.mantel_splits(loose)["rho"].mean()) < 0.25
    assert len(extrapolability.mantel_splits(linked)) == 10
    assert np.percentile(extrapolability.mantel_null(loose, 20), 97.5) < 0.3


def test_bbq_scores_from_probabilities():
    rows = []
    for i, (polarity, p) in enumerate([("negative", (0.6, 0.2, 0.2)), ("non-negative", (0.1, 0.7, 0.2))]):
        for k, (text, role) in enumerate([(" A", "wrong"), (" B", "wrong"), (" Unknown", "correct")]):
            tags = {"condition": "ambiguous", "polarity": polarity, "target": "A"}
            row = {"question_id": f"q{i}", "option": k, "text": text, "role": role, "p": p[k], "logprob": np.log(p[k])}
            rows.append({**row, **tags})
    found = national_bias.bbq_scores(pd.DataFrame(rows))
    assert found["bias"].tolist() == pytest.approx([0.5, 0.75])
    assert found["chosen_bias"].tolist() == [1, 1]
    assert found["accuracy"].tolist() == [0, 0]
    assert found["p_unknown"].tolist() == pytest.approx([0.2, 0.2])


def test_bbq_by_region_tells_accuracy_abstention_and_bias_apart():
    right = {"ambiguous": [1.0, 0.0, 0.0, 0.0], "disambiguated": [1.0, 1.0, 1.0, 0.0]}
    unknown = {"ambiguous": [1.0, 0.0, 0.0, 0.0], "disambiguated": [0.0, 0.0, 0.0, 1.0]}
    rows = [
        {
            **{"region": region, "condition": each, "template": f"t{i}", "p_correct": 0.5, "p_unknown": 0.1},
            **{"accuracy": right[each][i], "abstains": unknown[each][i], "bias": sign * (0.1 + i / 100)},
            "chosen_bias": np.nan if unknown[each][i] else sign,
        }
        for region, sign in (("North", 1.0), ("South", -1.0))
        for each in right
        for i in range(4)
    ]
    keys = ["region", "condition", "metric"]
    found = national_bias.bbq_summary(pd.DataFrame(rows), keys[:2]).set_index(keys)
    mean = found["mean"].unstack("metric")
    assert mean.loc[("North", "ambiguous"), ["accuracy", "abstains"]].tolist() == [0.25, 0.25]
    assert mean.loc[("North", "disambiguated"), ["accuracy", "abstains"]].tolist() == [0.75, 0.25]
    assert mean.loc["South", "bias"].tolist() == pytest.approx([-0.115, -0.115])
    shares = found[found.index.get_level_values("metric").isin(["accuracy", "abstains"])]
    assert (shares["low"] > 0).all() and (shares["high"] < 1).all() and (shares["n_clusters"] == 4).all()
    assert found.loc[("North", "ambiguous", "chosen_bias"), ["n", "n_undefined"]].tolist() == [3, 1]
    with pytest.raises(InputError, match="'condition' among the groups"):
        national_bias.bbq_summary(pd.DataFrame(rows), ["region"])


def test_stereoset_scores():
    rows = [("i0", -1.0, -2.0, -3.0), ("i1", -2.0, -2.0, -1.0), ("i2", -1.0, -3.0, -2.0)]
    kinds = ("stereotype", "anti-stereotype", "unrelated")
    cells = [{"item": item, "kind": kind, "logprob": x} for item, *xs in rows for kind, x in zip(kinds, xs)]
    found = national_bias.stereoset_scores(pd.DataFrame(cells).assign(n_tokens=1, target="x"))
    assert found["stereotype"].tolist() == [1, 0.5, 1]
    assert found["related"].tolist() == [1, 0, 0.5]  # either meaningful sentence counts against the unrelated one
    assert national_bias.icat(1, 0.5) == 1 and national_bias.icat(1, 1) == 0


def test_an_unparsed_label_is_wrong_and_no_label():
    found = national_bias.label_scores(["yes", "no"], [None, "no"])
    assert (found["accuracy"], found["n_unparsed"], found["recall_yes"]) == (0.5, 1, 0)


def test_mean_tau_agrees_with_rank_agreement_and_shuffles():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(8, 6))
    found = cultural_map.mean_tau_test(reference + rng.normal(0, 0.2, (8, 6)), reference)
    assert found["p"] < 0.01 and found["null_low"] < 0 < found["null_high"] < found["mean_tau"]
    assert cultural_map.mean_tau_test(reference, reference, draws=99)["p"] == 1 / 100  # never 0
    model = np.round(rng.normal(size=(8, 6)))  # with ties
    taus = [cultural_map.rank_agreement(model[:, d], reference[:, d])["tau"] for d in range(6)]
    assert cultural_map.mean_tau_test(model, reference, draws=9)["mean_tau"] == pytest.approx(np.mean(taus))


def test_refusals_in_words_are_detected():
    texts = ["As an AI, I do not judge.", "I\u2019m sorry, no.", "I don't have personal opinions."]
    assert worldviews.refusals([*texts, "People can't agree.", ""]).tolist() == [True, True, True, False, False]


def test_labels_need_all_their_probabilities():
    about = {"item": "a", "condition": "", "group": "g", "label": "yes", "order_shown": 0, "question_id": "q"}
    asked = pd.DataFrame({**about, "option": [0, 1], "text": ["A", "B"], "role": "none", "value": [0.0, 1.0]})
    table = levels(asked.assign(logprob=np.log(0.4)))
    found = national_bias.labelled(table, ("yes", "no")).iloc[0]
    assert found["predicted"] is None and found["accuracy"] == 0.5
    with pytest.raises(InputError, match="needs one of yes, no, neutral"):
        national_bias.labelled(table, ("yes", "no", "neutral"))


def test_shares_of_another_scale_are_refused():
    from test_culture_oracles import response_rows

    four = pd.DataFrame({"item": "i0", "group": "g", "level": range(4), "share": 0.25})
    with pytest.raises(InputError, match="scale of the same size"):
        alignment.paired_shares(response_rows([(0.2,) * 5]), four)


def test_a_text_takes_the_side_that_is_most_probable_and_none_at_ties():
    p = [(0.2, 0.5, 0.3), (0.5, 0.3, 0.2), (0.1, 0.4, 0.5), (0.4, 0.2, 0.4), (0.4, 0.4, 0.2)]
    assert worldviews.stances(p).tolist() == ["neither", "disagrees", "agrees", "neither", "neither"]
    with pytest.raises(InputError, match="disagree, neither and agree"):
        worldviews.stances([(0.5, 0.5)])


@pytest.mark.parametrize("kind", ["js", "wasserstein"])
def test_similarities_lie_between_0_and_1_on_any_scale(kind):
    rng = np.random.default_rng(0)
    p, h = (rng.dirichlet([0.05] * 4, 500) for _ in range(2))
    p[0], h[0] = (1, 0, 0, 0), (0, 0, 0, 1)
    found = alignment.similarity(p, h, kind, pos=[1, 2, 4, 9])
    assert found.min() == pytest.approx(0, abs=1e-12) and found[0] == found.min() and found.max() <= 1 + 1e-12


def test_intervals_of_shifts_stay_on_the_scale():
    found = robustness.shift([1, 1, 1, 0.1], [0, 0, 0, 0])
    assert 0 < found["abs_low"] < found["mean_abs"] < found["abs_high"] <= 1 and found["high"] <= 1
