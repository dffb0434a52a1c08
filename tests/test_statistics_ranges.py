"""Intervals that know the range of their metric, and verdicts that know how many units they rest on."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workbench.errors import InputError
from workbench.statistics import (
    bootstrap,
    finding,
    interval,
    jackknife,
    paired,
    summarise,
    units,
    verdict,
    versus,
    wilson,
)

SKEWED = [0.93, 0.99, 0.99, 0.999, 0.9999, 0.6]


def test_the_interval_of_a_probability_stays_in_its_range():
    plain, ranged = interval(SKEWED), interval(SKEWED, bounds=(0, 1))
    assert plain["high"] > 1 and plain["method"] == "t"
    assert 0 < ranged["low"] < ranged["mean"] < ranged["high"] < 1 and ranged["method"] == "logit-t"
    assert ranged["mean"] == plain["mean"] and ranged["se"] == plain["se"]


def test_the_logit_interval_is_the_delta_methods():
    result, x = interval(SKEWED, bounds=(0, 1)), np.array(SKEWED)
    half = stats.t.ppf(0.975, 5) * stats.sem(x) / (x.mean() * (1 - x.mean()))
    middle = np.log(x.mean() / (1 - x.mean()))
    assert result["low"] == pytest.approx(1 / (1 + np.exp(half - middle)))
    assert result["high"] == pytest.approx(1 / (1 + np.exp(-half - middle)))


@pytest.mark.parametrize(("a", "b"), [(2, 2), (0.5, 0.5), (1, 5), (0.3, 2), (5, 0.5)])
def test_the_interval_of_a_probability_covers_its_mean(a, b):
    """Of 2,000 samples of 20 Beta values; Student's own interval covers 0.91 of (0.3, 2), and leaves the range."""
    samples = np.random.default_rng(1).beta(a, b, (2000, 20))
    result = [interval(x, bounds=(0, 1)) for x in samples]
    assert np.mean([each["low"] <= a / (a + b) <= each["high"] for each in result]) >= 0.93


def test_other_ranges_are_carried_over():
    share, signed = interval(SKEWED, bounds=(0, 1)), interval(2 * np.array(SKEWED) - 1, bounds=(-1, 1))
    assert signed["low"] == pytest.approx(2 * share["low"] - 1) and signed["se"] == pytest.approx(2 * share["se"])
    assert interval([-1.0] * 8, bounds=(-1, 1))["high"] == pytest.approx(2 * float(wilson(0, 8)[1]) - 1)


def test_only_what_is_declared_gets_wilsons_interval():
    for constant in (0.0, 1.0, -0.32):
        result = interval([constant] * 20)
        assert np.isnan(result["low"]) and result["note"] == "no variation: no interval"
    assert interval([0.0] * 20, bounds=(-1, 1))["note"] == "no variation: no interval"
    table = pd.DataFrame({"ternary": [0.0] * 20, "right": [False] * 20, "rate": [1.0] * 20})
    result = summarise(table, bounds={"rate": (0, 1)}).set_index("metric")
    assert result["method"].to_dict() == {"ternary": "t", "right": "wilson", "rate": "wilson"}
    assert np.isnan(result.loc["ternary", "low"]) and result.loc["rate", "low"] == pytest.approx(
        float(wilson(20, 20)[0])
    )


def test_a_value_outside_its_range_is_refused():
    with pytest.raises(InputError, match="not between 0 and 1"):
        interval([0.2, 1.1], bounds=(0, 1))
    with pytest.raises(InputError, match="in order"):
        interval([0.2, 0.1], bounds=(1, 0))


def test_two_similarities_have_an_interval_inside_their_range():
    result = interval([0.37, 0.51], bounds=(0, 1))
    assert interval([0.37, 0.51])["low"] < -0.4 and 0 < result["low"] < 0.44 < result["high"] < 1


def test_macro_means_stay_in_range_too():
    table = pd.DataFrame({"p": [*SKEWED, *SKEWED], "of": ["a"] * 6 + ["b"] * 6})
    row = summarise(table, "p", macro="of", bounds=(0, 1)).iloc[0]
    assert row["mean"] < row["high"] < 1 and row["method"] == "logit-t"


def test_pairs_that_do_not_differ():
    """A rate's difference has the interval of 0 of n to either side, a signed score's none."""
    one = pd.DataFrame({"question_id": range(10), "right": [0.0, 1] * 5, "ternary": [0.0] * 10, "p": [0.5] * 10})
    result = paired(one, one, ["right", "ternary"]).set_index("metric")
    most = float(wilson(0, 10)[1])
    assert tuple(result.loc["right", ["low", "high"]]) == pytest.approx((-most, most))
    assert np.isnan(result.loc["ternary", "low"])
    assert paired(one, one, "p", bounds=(0, 1))["high"][0] == pytest.approx(most)
    far = one.assign(p=[0.0] * 9 + [0.9])
    assert (
        -1
        < paired(far, one.assign(p=0.99), "p", bounds=(0, 1))["low"][0]
        < paired(far, one.assign(p=0.99), "p")["low"][0] + 1
    )


FEW = {"mean": 0.775, "low": 0.66, "high": 0.889}


def test_a_verdict_needs_six_units():
    two = finding("A claim", "A paper", {**FEW, "n": 2}, "above", 0.5)
    assert two.verdict == "cannot tell: only 2 units" and (two.n, two.units) == (2, 2)
    clustered = finding("A claim", "A paper", pd.Series({**FEW, "n": 80, "n_clusters": 5}), "above", 0.5)
    assert clustered.verdict == "cannot tell: only 5 units" and (clustered.n, clustered.units) == (80, 5)
    assert finding("A claim", "A paper", {**FEW, "n": 80, "n_clusters": 6.0}, "above", 0.5).verdict == "holds"
    assert finding("A claim", "A paper", {**FEW, "n": 6, "n_clusters": np.nan}, "below", 0.5).verdict == "does not hold"
    assert versus({**FEW, "n": 2}, 0.5).startswith("not distinguishable from chance: only 2 units (0.775 [")
    assert units({"n": 3}) == 3 and units({"n": 9, "n_clusters": 4}) == 4


def test_numbers_in_words_have_one_minus():
    assert versus({"mean": -0.2, "low": -0.3, "high": -0.1, "n": 9}, 0) == "below chance (−0.2 [−0.3, −0.1] against 0)"


def ratio(x):
    spread = x.std(ddof=1)
    return float(x.mean() / spread) if spread > 1e-9 else float("nan")


def test_a_bootstrap_that_is_too_often_undefined_has_no_interval():
    result = bootstrap(ratio, [0.3, 0.3, 0.3, 0.4], draws=200)
    assert np.isnan([result["low"], result["high"]]).all() and "too many: no interval" in result["note"]
    assert "undefined in" in result["note"] and np.isfinite(result["mean"])


def test_an_estimate_outside_its_percentile_interval_has_none():
    distinct = bootstrap(lambda x: float(len(np.unique(x))), np.arange(40.0), draws=200)
    assert np.isnan(distinct["low"]) and "outside its percentile interval" in distinct["note"]


def test_a_centred_interval_with_bounds_is_cut_there_and_says_so():
    def upwards(x):
        return float(abs(x.mean() - 0.5))

    x = np.random.default_rng(4).normal(0.5, 1, 60)
    plain, cut = (bootstrap(upwards, x, draws=400, centred=True, bounds=bounds) for bounds in (None, (0, 1)))
    assert plain["low"] < 0 and cut["low"] == 0 and cut["high"] == plain["high"] < 1
    assert plain["note"] == "" and cut["note"] == "low end cut at 0, the end of the range"


def test_the_jackknife_of_a_mean_is_students():
    x = np.random.default_rng(0).normal(0.3, 1, 30)
    result, known = jackknife(np.mean, x), interval(x)
    assert [result[k] for k in ("mean", "se", "low", "high")] == pytest.approx(
        [known[k] for k in ("mean", "se", "low", "high")]
    )
    groups = np.repeat(range(10), 3)
    assert jackknife(np.mean, x, clusters=groups)["se"] == pytest.approx(interval(x, groups)["se"])


def test_the_jackknife_of_a_ratio_holds_its_estimate_and_covers():
    rng, hits = np.random.default_rng(3), 0
    for _ in range(300):
        result = jackknife(ratio, rng.normal(3, 1, 30), link="asinh")
        assert result["low"] < result["mean"] < result["high"]
        hits += result["low"] <= 3 <= result["high"]
    assert hits >= 0.92 * 300


def test_the_jackknife_says_why_there_is_no_interval():
    assert jackknife(ratio, [0.3, 0.3, 0.4])["note"] == "undefined without 1 of 3 items: no interval"
    ruled = jackknife(ratio, [0.3, 0.3001, 0.2999, 0.3, 0.7], link="asinh")
    assert np.isnan(ruled["low"]) and ruled["note"] == "single items change it by whole factors: no interval"
    assert jackknife(ratio, [0.3, 0.3])["note"] == "undefined: no interval"
    assert jackknife(np.mean, [0.3])["note"] == "one value: no interval"
    assert jackknife(np.mean, [0.3, 0.3])["note"] == "no variation: no interval"
    with pytest.raises(InputError, match="link"):
        jackknife(np.mean, [0.3, 0.4], link="log")


def test_clusters_that_are_all_alike_give_no_certainty():
    """A reader of position alone is right on one of two orders of every template."""
    values, clusters = [1.0, 0.0] * 7, np.repeat(range(7), 2)
    for method in ("t", "bootstrap"):
        result = interval(values, clusters, method)
        assert np.isnan(result["low"]) and result["note"] == "clusters do not vary: no interval"
        assert finding("c", "s", result, "above", 1 / 3).verdict == "cannot tell"
    result = interval(values, clusters, bounds=(0, 1))
    low, high = wilson(3.5, 7)
    assert (result["low"], result["high"]) == (pytest.approx(float(low)), pytest.approx(float(high)))


def test_rounding_is_no_difference():
    x = np.array([0.1 + 0.2, 0.7, 0.3, 0.6, 0.2, 0.9, 0.4])
    result = interval(x - (x + 0.1 - 0.1) + 1e-17)
    assert result["note"] == "no variation: no interval"
    assert verdict(1e-17, 2e-17, "above") == "cannot tell"
