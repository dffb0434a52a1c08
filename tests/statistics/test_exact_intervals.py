"""Intervals against the same numbers computed another way: every key, both ends, levels, clusters and notes."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

from workbench.errors import InputError
from workbench.statistics import adjusted, bootstrap, interval, jackknife, paired, summarise, wilson
from workbench.statistics import calibration as calibration_

RNG = np.random.default_rng(3)
X = RNG.beta(2, 3, 60)
CLUSTER = np.repeat(np.arange(20), 3)
NOISE = np.repeat(RNG.random(20), 3)


def agree(result, **expected):
    """Whether a result has all these keys with these numbers or texts."""
    for name, value in expected.items():
        same = result[name] == value if isinstance(value, str) else result[name] == pytest.approx(value, nan_ok=True)
        assert same, (name, result[name], value)


def clustered_error(x, codes):
    """The square root of sum(u_g^2) G / (G - 1) / n^2, with the sums of residuals of each cluster."""
    sums = pd.Series(x - x.mean()).groupby(np.asarray(codes)).sum()
    return np.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(x)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("bounds", [None, (-1.0, 3.0)])
def test_a_macro_mean_is_welchs_mean_of_group_means(clustered, bounds):
    group = np.repeat(["a", "b", None], [30, 18, 12])
    table = pd.DataFrame({"x": 2 * X, "g": group, "c": CLUSTER}, index=range(100, 160))
    table.loc[[103, 140], "x"] = np.nan
    parts = [part.dropna(subset="x") for _, part in table.groupby("g", dropna=False, sort=False)]
    errors = [clustered_error(p["x"].to_numpy(), p["c"] if clustered else range(len(p))) for p in parts]
    freedom = [(p["c"].nunique() if clustered else len(p)) - 1 for p in parts]
    mean, se = np.mean([p["x"].mean() for p in parts]), np.linalg.norm(errors) / 3
    df = np.sum(np.square(errors)) ** 2 / sum(e**4 / f for e, f in zip(errors, freedom))
    half = stats.t.ppf(0.95, df) * se
    ends = (mean - half, mean + half)
    if bounds:
        rate = (mean + 1) / 4
        ends = [-1 + 4 * special.expit(special.logit(rate) + s * half / 4 / rate / (1 - rate)) for s in (-1, 1)]
    result = summarise(table, "x", macro="g", cluster="c" if clustered else None, level=0.9, bounds=bounds).iloc[0]
    n_clusters = sum(freedom) + 3 if clustered else np.nan
    agree(result, mean=mean, se=se, low=ends[0], high=ends[1], n=58, n_undefined=2, n_clusters=n_clusters)
    agree(result, method="logit-t" if bounds else "t", note="mean over 3 groups")


def test_a_macro_mean_of_nothing_or_with_a_shared_cluster_says_so():
    empty = summarise(pd.DataFrame({"x": [np.nan, np.nan], "g": ["a", "b"]}), "x", macro="g").iloc[0]
    nothing = dict.fromkeys(("mean", "se", "low", "high", "n_clusters"), np.nan)
    agree(empty, **nothing, n=0, n_undefined=2)
    shared = pd.DataFrame({"x": [0.1, 0.2, 0.3, 0.5], "g": list("aabb"), "c": [1, 2, 2, 3]})
    with pytest.raises(InputError, match=r"^A cluster occurs in several groups of the macro mean; use different names"):
        summarise(shared, "x", macro="g", cluster="c")
    outside = pd.DataFrame({"x": [0.1, 0.2, 0.3, 1.5], "g": list("aabb")})
    with pytest.raises(InputError, match="not between 0 and 1"):
        summarise(outside, "x", macro="g", bounds=(0, 1))


@pytest.mark.parametrize("codes", [None, CLUSTER])
def test_wilsons_interval_scales_with_the_range(codes):
    one = interval((X + NOISE) / 2, codes, "wilson", level=0.8, bounds=(0, 1))
    other = interval(4 * (X + NOISE) / 2 - 1, codes, "wilson", level=0.8, bounds=(-1, 3))
    for name in ("mean", "low", "high"):
        assert other[name] == pytest.approx(4 * one[name] - 1)
    assert other["se"] == pytest.approx(4 * one["se"]) and other["method"] == "wilson"
    n, rate = 60, one["mean"]
    if codes is not None:
        n = np.clip(rate * (1 - rate) / clustered_error((X + NOISE) / 2, codes) ** 2, 1, 60)
    low, high = wilson(rate * n, n, 0.8)
    agree(one, low=float(low), high=float(high), se=np.sqrt(rate * (1 - rate) / n))


def test_the_effective_number_of_items_is_at_most_all():
    alike = interval([0.0, 1.0, 0.01, 1.0, 0.0, 0.99], [1, 1, 2, 2, 3, 3], "wilson")  # more than all items
    agree(alike, low=float(wilson(3, 6)[0]), high=float(wilson(3, 6)[1]))
    same = interval([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], [1, 1, 2, 2, 3, 3], "wilson")  # equal means: the clusters
    agree(same, low=float(wilson(1.5, 3)[0]), high=float(wilson(1.5, 3)[1]))


def resampled(values, codes, draws, seed):
    """Means over resampled clusters, drawn as `bootstrap` draws them."""
    rng, groups = np.random.default_rng(seed), [np.flatnonzero(codes == code) for code in pd.unique(codes)]
    chosen = [np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))]) for _ in range(draws)]
    return np.array([values[rows].mean() for rows in chosen])


@pytest.mark.parametrize("centred", [False, True])
def test_a_bootstrap_interval_is_the_quantiles_of_its_draws(centred):
    result = bootstrap(np.mean, X, clusters=CLUSTER, level=0.8, draws=200, seed=5, centred=centred)
    means = resampled(X, CLUSTER, 200, 5)
    low, high = np.quantile(means, [0.1, 0.9]) + (X.mean() - means.mean()) * centred
    agree(result, mean=X.mean(), se=means.std(ddof=1), low=low, high=high, n=60, n_undefined=0, n_clusters=20)
    agree(result, method="bootstrap", note="")


def test_a_bootstrap_says_at_which_end_it_was_cut():
    wide = bootstrap(np.mean, X, draws=99)
    inside = (wide["low"] + 0.01, wide["high"] - 0.01)
    agree(bootstrap(np.mean, X, draws=99, bounds=(inside[0], 1)), low=inside[0], high=wide["high"])
    low_note = f"low end cut at {inside[0]:g}, the end of the range"
    high_note = f"high end cut at {inside[1]:g}, the end of the range"
    agree(bootstrap(np.mean, X, draws=99, bounds=(inside[0], 1)), note=low_note)
    agree(bootstrap(np.mean, X, draws=99, bounds=(0, inside[1])), note=high_note, high=inside[1])
    agree(bootstrap(np.mean, X, draws=99, bounds=inside), note=f"{low_note}; {high_note}")
    exact = bootstrap(np.mean, X, draws=99, bounds=(wide["low"], wide["high"]))
    agree(exact, note="", low=wide["low"], high=wide["high"])


def test_why_a_bootstrap_has_no_interval():
    agree(bootstrap(np.mean, [0.5]), low=np.nan, se=np.nan, note="one value: no interval")
    agree(bootstrap(np.mean, [0.5, 0.6], clusters=[1, 1]), note="one cluster: no interval", n_clusters=1)
    agree(bootstrap(np.mean, [0.5, 0.5 + 1e-14, 0.5]), note="no variation: no interval", high=np.nan)
    agree(bootstrap(np.mean, [1e-14, 0, 0]), note="no variation: no interval")
    assert bootstrap(np.mean, [0.5, 0.5 + 1e-9, 0.5])["note"] == ""
    few = iter([*range(19), np.nan, 9.0])  # the estimate comes last
    agree(bootstrap(lambda x: next(few), X, draws=20), note="undefined in 1 of 20 draws", low=0.45)
    odd = itertools.cycle([1.0, 2.0, 3.0, np.nan])
    agree(bootstrap(lambda x: next(odd), X, draws=40), note="undefined in 10 of 40 draws; too many: no interval")
    outside = bootstrap(lambda x: float(len(np.unique(x))), X, draws=50)
    agree(outside, note="the estimate lies outside its percentile interval: no interval", low=np.nan, se=np.nan)
    edge = iter([*[1.0] * 19, 3.0, 1.0])
    agree(bootstrap(lambda x: next(edge), X, draws=20, level=0.99), low=1.0)


@pytest.mark.parametrize(("codes", "n"), [(None, 60), (CLUSTER, 20)])
def test_the_jackknife_of_a_mean_is_students_interval(codes, n):
    result, expected = jackknife(np.mean, X, clusters=codes, level=0.9), interval(X, codes, level=0.9)
    for name in ("mean", "se", "low", "high"):
        assert result[name] == pytest.approx(expected[name])  # exact, since the clusters are of one size
    agree(result, n=60, n_undefined=0, n_clusters=np.nan if codes is None else n, method="jackknife", note="")


def test_the_jackknife_on_a_scale_is_transformed_back():
    def ratio(x, y):
        return float(5 * np.mean(x) / np.mean(y))

    without = [np.arcsinh(ratio(np.delete(X, k), np.delete(NOISE, k))) for k in range(60)]
    se = np.sqrt(59 / 60 * np.sum((without - np.mean(without)) ** 2))
    half, centre = stats.t.ppf(0.975, 59) * se, np.arcsinh(ratio(X, NOISE))
    result = jackknife(ratio, X, NOISE, link="asinh")
    agree(result, low=np.sinh(centre - half), high=np.sinh(centre + half), se=np.nan, mean=ratio(X, NOISE))
    plain = jackknife(ratio, X, NOISE)
    assert plain["high"] - plain["mean"] == pytest.approx(plain["mean"] - plain["low"]) and plain["se"] > 0


def test_why_a_jackknife_has_no_interval():
    with pytest.raises(InputError, match=r"Unknown link 'logit'\. Known: identity, asinh"):
        jackknife(np.mean, X, link="logit")
    nothing = dict.fromkeys(("se", "low", "high"), np.nan)
    agree(jackknife(np.mean, [0.5]), **nothing, note="one value: no interval", n_clusters=np.nan)
    agree(jackknife(np.mean, [0.5, 0.6], clusters=[1, 1]), **nothing, note="one cluster: no interval", n_clusters=1)
    agree(jackknife(lambda x: np.nan, X), **nothing, note="undefined: no interval")
    agree(jackknife(np.mean, [0.5, 0.5]), **nothing, note="no variation: no interval")
    agree(jackknife(lambda x: 1e6 + 1e-9 * x.mean(), X), **nothing, note="no variation: no interval")

    def log(x):
        return np.log(x.sum()) if x.sum() else np.nan

    agree(jackknife(log, [1, 0]), **nothing, note="undefined without 1 of 2 items: no interval")
    agree(jackknife(log, [1, 0], clusters=[4, 5]), note="undefined without 1 of 2 clusters: no interval")
    agree(
        jackknife(lambda x: 1e3 * x.sum() ** 3, [-9, 0, 9.1], link="asinh"),
        **nothing,
        note="single items change it by whole factors: no interval",
    )


def test_equal_answers_are_bounded_by_the_clusters_that_could_differ():
    table = pd.DataFrame({"question_id": range(12), "x": X[:12], "c": np.repeat(np.arange(4), 3)})
    for cluster, n in ((None, 12), ("c", 4)):
        most = 3 * float(wilson(0, n, 0.9)[1])
        result = paired(table, table, "x", cluster=cluster, bounds=(-1, 2), level=0.9).iloc[0]
        agree(result, mean=0, low=-most, high=most, method="wilson")
        agree(result, note="no item differs: Wilson interval of 0 of n")


def test_settings_of_a_summary_reach_every_interval():
    uneven = np.repeat(np.arange(20), [1, 5] * 10)
    table = pd.DataFrame({"x": X, "c": uneven.astype(float), "g": 1.0})
    result = summarise(table, cluster="c", macro=None, method="bootstrap", draws=50, seed=7, level=0.7)
    assert set(result["metric"]) == {"x", "g"}
    expected = stats.bootstrap(
        (np.bincount(uneven, X), np.bincount(uneven)),
        lambda s, c, axis: s.sum(axis) / c.sum(axis),
        paired=True,
        n_resamples=50,
        confidence_level=0.7,
        method="percentile",
        rng=7,
    )
    agree(result.iloc[0], low=expected.confidence_interval.low, high=expected.confidence_interval.high)
    agree(result.iloc[0], se=expected.standard_error)
    for missing in ({"cluster": "none"}, {"macro": "none"}):
        with pytest.raises(InputError, match="Unknown column 'none'"):
            summarise(table, "x", **missing)
    assert set(summarise(table, macro="g")["metric"]) == {"x", "c"}


def test_adjusted_p_values_name_the_methods():
    with pytest.raises(InputError, match=r"Unknown adjustment 'sidak'\. Known: holm, fdr_bh"):
        adjusted([0.1], "sidak")
    np.testing.assert_allclose(adjusted([None, 0.01, 0.04]), [np.nan, 0.02, 0.04])


def odds_ratio_fit(confidence, correct, shifted):
    """Slope and shift of the log-odds with the smallest mean negative log-likelihood, by a general optimiser."""
    odds = special.logit(confidence)

    def loss(beta):
        z = beta[0] * odds + (beta[1] if shifted else 0.0)
        return np.mean(np.logaddexp(0, z) - correct * z)

    return optimize.minimize(loss, [1.0, 0.0], method="BFGS", tol=1e-10).x * [1, shifted]


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_recalibration_maximises_the_likelihood_of_its_family(method):
    true = RNG.random(300)
    correct = (RNG.random(300) < special.expit(0.5 * special.logit(true) + 0.8)).astype(float)
    fit = np.arange(300) % 3 > 0
    slope, shift = odds_ratio_fit(true[fit], correct[fit], method == "platt")
    expected = special.expit(slope * special.logit(true[~fit]) + shift)
    np.testing.assert_allclose(calibration_.recalibrate(true, correct, fit, method), expected, atol=2e-4)


def test_recalibration_needs_both_kinds_of_items_to_fit_on():
    fit = np.array([True, True, False])
    for correct in ([0, 0, 1], [1, 1, 0]):
        with pytest.raises(InputError, match=r"^Recalibration needs correct and wrong items to fit on"):
            calibration_.recalibrate([0.2, 0.7, 0.5], correct, fit)
    calibration_.recalibrate([0.2, 0.7, 0.5], [0, 1, 1], fit)  # one of each is enough
    with pytest.raises(InputError, match="Unknown recalibration method 'beta'"):
        calibration_.recalibrate([0.2, 0.7, 0.5], [0, 1, 1], fit, "beta")
    isotonic = calibration_.recalibrate([0.2, 0.7, 0.1, 0.9, 0.45], [0, 1, 1, 1, 0], [1, 1, 0, 0, 0], "isotonic")
    np.testing.assert_allclose(isotonic, [0, 1, 0.5])
