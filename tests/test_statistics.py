import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from workbench.errors import InputError
from workbench.statistics import (
    Finding,
    adjusted,
    bootstrap,
    estimate,
    finding,
    findings_table,
    interval,
    mcnemar_p,
    paired,
    sign_flip_p,
    summarise,
    unless,
    verdict,
    versus,
    wilson,
)

RNG = np.random.default_rng(0)
X = RNG.normal(0.3, 1, 40)
CLUSTERS = np.repeat(np.arange(8), 5)
TABLE = pd.DataFrame({"x": X, "ok": X > 0, "g": ["a", "b"] * 20, "c": CLUSTERS, "n": 1, "name": "z"})


def test_t_interval_agrees_with_scipy():
    result = interval(X)
    expected = stats.ttest_1samp(X, 0).confidence_interval()
    assert (result["low"], result["high"]) == pytest.approx((expected.low, expected.high))
    assert result["se"] == pytest.approx(stats.sem(X))


def test_clustered_interval_agrees_with_statsmodels():
    fit = sm.OLS(X, np.ones(40)).fit(cov_type="cluster", cov_kwds={"groups": CLUSTERS}, use_t=True)
    result = interval(X, CLUSTERS)
    assert result["se"] == pytest.approx(fit.bse[0])
    assert (result["low"], result["high"]) == pytest.approx(tuple(fit.conf_int()[0]))
    assert result["n_clusters"] == 8


def test_copies_of_an_item_add_nothing_once_they_are_clustered():
    many = interval(np.repeat(X, 10), np.repeat(np.arange(40), 10))
    assert many["se"] == pytest.approx(interval(X)["se"])
    boot = interval(np.repeat(X, 10), np.repeat(np.arange(40), 10), "bootstrap")
    assert boot["se"] == pytest.approx(interval(X)["se"], rel=0.1)


def test_bootstrap_is_close_to_t_and_seeded():
    one, again, other = (interval(X, method="bootstrap", seed=seed) for seed in (0, 0, 1))
    assert one == pytest.approx(again, nan_ok=True)
    assert one["low"] != other["low"]
    t = interval(X)
    assert (one["low"], one["high"]) == pytest.approx((t["low"], t["high"]), abs=0.06)


def test_the_stated_coverage_is_reached():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        result = interval(
            rng.normal(0, 1, 24) + np.repeat(rng.normal(0, 1, 6), 4), np.repeat(np.arange(6), 4), level=0.9
        )
        inside.append(result["low"] < 0 < result["high"])
    assert 0.86 < np.mean(inside) < 0.95


def test_O_21_wilson():
    assert wilson(5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    result = interval([1] * 5 + [0] * 5, method="wilson")
    assert (result["low"], result["high"]) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    low, high = wilson([0, 1], [0, 4])
    assert np.isnan([low[0], high[0]]).all()


def test_summarise_is_tidy():
    result = summarise(TABLE, by="g")
    assert result[["g", "metric"]].to_numpy().tolist() == [["a", "x"], ["a", "ok"], ["b", "x"], ["b", "ok"]]
    assert list(result.columns[2:]) == ["mean", "se", "low", "high", "n", "n_undefined", "n_clusters", "method", "note"]
    assert result["n"].tolist() == [20] * 4
    assert result["mean"][0] == pytest.approx(X[::2].mean())


def test_groups_keep_their_order_and_missing_labels():
    result = summarise(TABLE.assign(g=["z"] * 20 + ["a"] * 10 + [None] * 10), "x", by="g")
    assert result["g"][:2].tolist() == ["z", "a"]
    assert result["n"].tolist() == [20, 10, 10]


def test_undefined_values_are_left_out_and_counted():
    row = summarise(pd.DataFrame({"x": [1.0, np.nan, 3.0]})).iloc[0]
    assert (row["mean"], row["n"], row["n_undefined"]) == (2, 2, 1)


@pytest.mark.parametrize(
    ("values", "clusters", "note"),
    [
        ([], None, "no defined value"),
        ([np.nan], None, "no defined value"),
        ([0.3], None, "one value: no interval"),
        ([0.3, 0.4], ["a", "a"], "one cluster: no interval"),
        ([0.3, 0.3], None, "no variation: no interval"),
    ],
)
@pytest.mark.parametrize("method", ["t", "bootstrap"])
def test_no_interval_says_why(values, clusters, note, method):
    result = interval(values, clusters, method)
    assert np.isnan(result["low"])
    assert np.isnan(result["high"])
    assert result["note"] == note


def test_all_right_is_not_certainty():
    for result in (interval([True] * 4), interval([1, 1, 1, 1], bounds=(0, 1)), interval([1] * 4, method="wilson")):
        assert result["method"] == "wilson"
        assert result["low"] == pytest.approx(float(wilson(4, 4)[0]))
    clustered = interval([0, 0, 0, 0], ["a", "a", "b", "b"], bounds=(0, 1))
    assert clustered["high"] == pytest.approx(float(wilson(0, 2)[1]))


def test_macro_mean_weighs_groups_alike():
    values = pd.DataFrame({"x": [0.0, 1, 0, 1, 0, 1, 3, 5], "subject": ["big"] * 6 + ["small"] * 2})
    row = summarise(values, "x", macro="subject").iloc[0]
    assert row["mean"] == pytest.approx((0.5 + 4) / 2)
    assert row["se"] == pytest.approx(np.hypot(stats.sem([0, 1] * 3), stats.sem([3, 5])) / 2)
    assert summarise(values, "x")["mean"][0] == pytest.approx(values["x"].mean())


def test_macro_interval_of_two_groups_is_welchs():
    a, b = RNG.normal(0, 1, 12), RNG.normal(1, 3, 30)
    values = pd.DataFrame({"x": np.concatenate([a, b]), "subject": ["a"] * 12 + ["b"] * 30})
    row = summarise(values, "x", macro="subject").iloc[0]
    welch = stats.ttest_ind(a, -b, equal_var=False).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((welch.low / 2, welch.high / 2))


def test_a_group_of_one_leaves_the_macro_mean_without_interval():
    row = summarise(pd.DataFrame({"x": [0.0, 1, 5], "s": ["a", "a", "b"]}), "x", macro="s").iloc[0]
    assert row["mean"] == pytest.approx(2.75)
    assert np.isnan(row["low"])
    assert "single value" in row["note"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: summarise(TABLE, "y"), "Unknown column 'y'"),
        (lambda: summarise(TABLE, "name"), "'name' is not numeric"),
        (lambda: summarise(TABLE.iloc[:0], "x"), "empty"),
        (lambda: summarise(TABLE[["name"]]), "no column of floats"),
        (lambda: summarise(TABLE, "x", method="wilson"), "between 0 and 1"),
        (lambda: summarise(TABLE, "x", method="tt"), "Unknown method"),
        (lambda: summarise(TABLE, "x", level=95), "level must lie"),
        (lambda: summarise(TABLE, "x", macro="g", method="bootstrap"), "t interval only"),
        (lambda: interval([1.0, np.inf]), "finite"),
        (lambda: interval([1.0, 2.0], ["a", None]), "cluster label is missing"),
        (lambda: bootstrap(np.mean, [1, 2], [1]), "same length"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_bootstrap_of_any_statistic():
    result = bootstrap(np.median, X, draws=500)
    assert result["mean"] == np.median(X)
    assert result["low"] < np.median(X) < result["high"]
    assert result == bootstrap(np.median, X, draws=500) | {"n_clusters": result["n_clusters"]}
    wide = bootstrap(np.mean, np.repeat(X[:8], 5), clusters=CLUSTERS)
    narrow = bootstrap(np.mean, np.repeat(X[:8], 5))
    assert wide["se"] > 1.5 * narrow["se"]


def test_bootstrap_counts_undefined_draws():
    def ratio(x):
        return float(x.sum() / x.sum()) if x.any() else float("nan")

    assert "undefined in" in bootstrap(ratio, [0, 0, 1], draws=200)["note"]


def two_models(n=12):
    rng = np.random.default_rng(3)
    ids = [f"q{i}" for i in range(n)]
    a = pd.DataFrame(
        {"question_id": ids, "score": rng.normal(0.5, 1, n), "ok": rng.random(n) < 0.8, "g": ["x", "y"] * (n // 2)}
    )
    b = a.assign(score=a["score"] - rng.normal(0.4, 0.3, n), ok=rng.random(n) < 0.4)
    return a, b.sample(frac=1, random_state=0)


def test_paired_difference_agrees_with_scipy():
    a, b = two_models()
    row = paired(a, b, "score").iloc[0]
    other = b.set_index("question_id").loc[a["question_id"], "score"].to_numpy()
    expected = stats.ttest_rel(a["score"], other).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["mean_a"] - row["mean_b"] == pytest.approx(row["mean"])
    assert row["high"] - row["low"] < interval(a["score"])["high"] - interval(a["score"])["low"]


def test_paired_by_groups_and_metrics():
    a, b = two_models()
    result = paired(a, b, ["score", "ok"], by="g", method="bootstrap", draws=200)
    assert result[["g", "metric"]].to_numpy().tolist() == [["x", "score"], ["x", "ok"], ["y", "score"], ["y", "ok"]]
    assert result["p_mcnemar"].isna().tolist() == [True, False, True, False]


def test_an_item_undefined_in_one_model_is_left_out_of_both():
    a, b = two_models()
    row = paired(a.assign(score=a["score"].where(a.index > 0)), b, "score").iloc[0]
    assert (row["n"], row["n_undefined"]) == (11, 1)
    assert row["mean_a"] == pytest.approx(a["score"][1:].mean())


def test_items_that_never_differ_leave_room_on_both_sides():
    table = pd.DataFrame({"question_id": list("abcdefgh"), "right": [0.0, 1.0] * 4})
    row = paired(table, table, "right").iloc[0]
    assert row["mean"] == 0 and row["low"] == -row["high"] < 0


def test_paired_refuses_other_items_and_repeated_ones():
    a, b = two_models()
    with pytest.raises(InputError, match=r"differ in 2 items, \('q0',\)"):
        paired(a[1:], b[b["question_id"] != "q5"], "score")
    with pytest.raises(InputError, match=r"second table has item .* more than once"):
        paired(a, pd.concat([b, b]), "score")


def test_sign_flip_is_exact_for_few_pairs():
    d = np.array([0.3, 0.8, -0.1, 0.5, 0.9, 0.2])
    sums = [np.dot(signs, d) for signs in itertools.product([1, -1], repeat=6)]
    assert sign_flip_p(d) == pytest.approx(np.mean(np.abs(sums) >= abs(d.sum()) - 1e-12))
    assert sign_flip_p([1, 1, 1, 1, 1]) == pytest.approx(2 / 32)
    assert sign_flip_p(np.arange(1, 15)) == pytest.approx(2 / 2**14)  # more patterns than draws, and all of them


def test_sign_flip_is_seeded_for_many_pairs():
    d = RNG.normal(0.35, 1, 60)
    assert sign_flip_p(d, seed=1) == sign_flip_p(d, seed=1)
    assert sign_flip_p(d, draws=20000) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.01)


def test_sign_flip_moves_clusters_together():
    d = np.repeat([0.3, 0.8, -0.1, 0.5], 20)
    assert sign_flip_p(d) < 0.001
    assert sign_flip_p(d, np.repeat(np.arange(4), 20)) == sign_flip_p([0.3, 0.8, -0.1, 0.5])


def test_no_difference_has_p_one():
    assert sign_flip_p([0, 0, 0]) == 1
    assert sign_flip_p([0.5]) == 1
    assert np.isnan(sign_flip_p([]))


def test_mcnemar_is_a_binomial_test_of_the_discordant_pairs():
    a, b = [1] * 9 + [0] * 2 + [1] * 5, [0] * 9 + [1] * 2 + [1] * 5
    assert mcnemar_p(a, b) == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert np.isnan(mcnemar_p([0.5], [1]))


def test_adjusted_p_values():
    assert adjusted([0.01, 0.04, np.nan, 0.03])[[0, 1, 3]] == pytest.approx([0.03, 0.06, 0.06])
    assert adjusted([0.05, 0.05, 0.05, 0.10, 0.25], "fdr_bh") == pytest.approx([0.083333] * 3 + [0.125, 0.25], abs=1e-6)
    with pytest.raises(InputError, match="Unknown adjustment"):
        adjusted([0.1], "bonferoni")
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).random(200).round(2) ** 4  # with ties
    assert adjusted(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-15)
    assert adjusted([]).size == 0 and np.isnan(adjusted([np.nan])).all()


ROW = {"mean": 0.43, "low": 0.35, "high": 0.51, "n": 100}


def test_versus_chance():
    assert versus(ROW, 0.25) == "above chance (0.43 [0.35, 0.51] against 0.25)"
    assert versus(ROW, 0.6, "the baseline").startswith("below the baseline")
    assert versus(ROW, 0.4).startswith("not distinguishable from chance (0.43")
    assert (
        versus({**ROW, "low": np.nan, "high": np.nan}, 0.0)
        == "not distinguishable from chance (0.43 no interval against 0)"
    )


def test_verdicts():
    assert verdict(0.1, 0.3, "above") == "holds"
    assert verdict(0.1, 0.3, "below") == "does not hold"
    assert verdict(-0.1, 0.3, "above") == "cannot tell"
    assert verdict(0.0, 0.3, "above") == "cannot tell"
    assert verdict(np.nan, np.nan, "below") == "cannot tell"
    with pytest.raises(InputError, match="'above' or 'below'"):
        verdict(0, 1, "up")


def test_a_claim_that_a_coin_would_satisfy_is_undecided_for_one():
    row = {"mean": 0.2, "low": 0.1, "high": 0.3, "n": 20}
    judges = unless({"mean": 0.5, "low": 0.4, "high": 0.6, "n": 20}, "above", 0.5, "the judge is a coin")
    assert judges == "the judge is a coin"
    assert (
        finding("It is wrong", "x", row, "below", 0.5, undecided=judges).verdict == "cannot tell: the judge is a coin"
    )
    assert unless({"mean": 0.7, "low": 0.6, "high": 0.8, "n": 20}, "above", 0.5, "the judge is a coin") == ""
    assert unless({"mean": 0.7, "low": 0.6, "high": 0.8, "n": 5}, "above", 0.5, "too few") == "too few"
    assert unless({"mean": 0.7, "low": np.nan, "high": np.nan, "n": 20}, "above", 0.5, "no interval") == "no interval"
    assert finding("It is wrong", "x", row, "below", 0.5).verdict == "holds"


def test_findings_table():
    one = finding("Scores are negative", "A paper", pd.Series(ROW), "below", 0.25)
    numbers = (0.43, 0.35, 0.51, 100, 100, one.rule)
    assert one == Finding("Scores are negative", "A paper", "does not hold", *numbers, baseline=0.25, expected="below")
    assert one.rule == "interval below 0.25, at least 6 units"
    assert findings_table([one])["verdict"].tolist() == ["does not hold"]
    assert list(findings_table([]).columns)[:3] == ["claim", "source", "verdict"]


def test_a_centred_interval_of_a_calibration_error_holds_its_estimate():
    from workbench.statistics.calibration import ece

    draw = np.random.default_rng(0)
    confidence = draw.uniform(0.5, 1, 400)
    right = draw.random(400) < confidence
    plain = bootstrap(ece, confidence, right, draws=200)
    centred = bootstrap(ece, confidence, right, draws=200, centred=True)
    assert plain["mean"] == centred["mean"]
    assert np.isnan(plain["low"]) and "outside its percentile interval" in plain["note"]
    assert centred["low"] < centred["mean"] < centred["high"]


def test_a_cluster_across_the_groups_of_a_macro_mean_is_refused():
    table = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "group": list("aabb"), "cluster": list("uvuv")})
    with pytest.raises(InputError, match="several groups"):
        summarise(table, "x", macro="group", cluster="cluster")


def test_clusters_stay_with_their_values_when_some_are_undefined():
    x, clusters = [np.nan, 1.0, 1.2, 5.0, 5.2, 9.0, 9.1], list("aabbccc")
    kept = interval(x[1:], clusters[1:])
    assert interval(x, clusters)["se"] == kept["se"]
    assert interval(x, list("abcdefg"))["se"] != kept["se"]


def test_paired_tests_respect_clusters():
    """Signs flip by cluster, and McNemar's test, which knows none, is not given."""
    ids = [f"q{i}" for i in range(12)]
    a = pd.DataFrame({"question_id": ids, "right": [1.0] * 12, "c": ["u"] * 6 + ["v"] * 6})
    b = a.assign(right=0.0)
    alone, together = paired(a, b, "right").iloc[0], paired(a, b, "right", cluster="c").iloc[0]
    assert alone["p_permutation"] == pytest.approx(2 / 2**12, rel=0.2)
    assert together["p_permutation"] == pytest.approx(0.5)
    assert np.isnan(together["p_mcnemar"]) and alone["p_mcnemar"] < 0.01


def test_a_wilson_interval_under_clusters_has_the_clustered_width():
    """Four copies of each item are worth the items alone, and the interval stays within [0, 1]."""
    right, names = [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], list("abcdefgh")
    copied = interval(np.repeat(right, 4), np.repeat(names, 4), method="wilson")
    alone = interval(right, method="wilson")
    assert copied["high"] <= 1 and copied["low"] == pytest.approx(alone["low"], abs=0.06)
    assert interval(np.repeat(right, 4), method="wilson")["low"] > copied["low"] + 0.1


@pytest.mark.parametrize(
    ("values", "why"), [([0.4] * 9, "no variation: no interval"), ([0.4], "one value: no interval")]
)
def test_a_bootstrap_without_variation_has_no_interval_and_says_why(values, why):
    result = bootstrap(np.mean, values, draws=50)
    assert result["note"] == why and np.isnan([result["low"], result["high"], result["se"]]).all()
    assert estimate(result) == "0.4 no interval" and "not distinguishable from chance" in versus(result, 0.25)
    assert estimate(bootstrap(np.mean, [0.0, 1.0], draws=50)) == "0.5 [0, 1]"
