"""Oracles of biases, master keys, rankings, rewards, agreement and preferences."""

from pathlib import Path

import numpy as np
import pandas as pd
import pingouin
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from workbench.errors import InputError
from workbench.judges import agreement, biases, consistency, master_keys, ratings_and_rankings, readings, relations
from workbench.judges.agreement import adjusted_levels
from workbench.statistics import correlation

NAN = np.nan
DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2, 0.3])
def test_oracle_noise_is_inverted(noise):
    observed = 0.8 * (1 - noise) + 0.2 * noise
    repeats_agree = 1 - 2 * noise * (1 - noise)
    assert biases.denoise(observed, biases.flip_rate_of(repeats_agree)) == pytest.approx(0.8)
    published = biases.denoise(observed, biases.flip_rate_of(repeats_agree, "wei2024_code"))
    assert published == pytest.approx({0.05: 0.8333, 0.1: 0.875, 0.2: 1.0, 0.3: 1.25}[noise], abs=5e-5)


@given(st.floats(0, 1), st.floats(0, 0.49))
def test_denoising_undoes_flipping(accuracy, q):
    observed = accuracy * (1 - q) + (1 - accuracy) * q
    assert biases.denoise(observed, q) == pytest.approx(accuracy, abs=1e-6)
    assert biases.flip_rate_of(1 - 2 * q * (1 - q)) == pytest.approx(q, abs=1e-6)


def test_noise_without_information_is_undefined():
    assert np.isnan(biases.denoise(0.5, 0.5)) and np.isnan(biases.flip_rate_of(0.4))
    with pytest.raises(InputError, match="probability"):
        biases.denoise(0.5, 1.5)


def test_oracle_agreement_of_five_runs():
    votes = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 0, NAN, NAN, NAN], [1, NAN, NAN, NAN, NAN]]
    assert biases.repeated_agreement(votes) == pytest.approx([1.0, 0.6, 0.4, 0.0, NAN], nan_ok=True)


def test_accuracy_without_noise_has_an_interval_that_covers_what_was_planted():
    rng = np.random.default_rng(3)
    decided = rng.random(300) < 0.8
    votes = np.where(rng.random((300, 30)) < 0.2, ~decided[:, None], decided[:, None]) * 1.0
    found = biases.without_noise(votes, np.arange(300) // 3, draws=99)
    assert found["low"] < 0.8 < found["high"] and found["n"] == 300 and not found["outside"]
    published = biases.without_noise(votes, np.arange(300) // 3, "wei2024_code", draws=99)
    assert published["low"] > 0.85
    alike = np.ones((20, 10)) * (np.arange(10) < 8)
    assert biases.without_noise(alike, np.arange(20), "wei2024_code", draws=9)["outside"]


def test_oracle_accuracy_of_sampled_verdicts():
    gold = np.array([0.9, 0.6, 0.55, 0.2])
    p = np.stack([gold, 1 - gold], axis=1)
    assert np.mean(gold > 0.5) == 0.75
    assert gold.mean() == pytest.approx(0.5625)
    assert (p**2).sum(axis=1).mean() == pytest.approx(0.63125)
    assert np.mean((gold - [1, 1, 0, 0]) ** 2) == pytest.approx(0.128125)


def reads(p_yes, p_no, **keys):
    raw = np.stack([p_no, p_yes], axis=1).astype(float)
    return readings.LabelProbabilities(pd.DataFrame(keys), np.array([0.0, 1.0]), raw, np.zeros(len(raw), bool))


def test_oracle_soft_false_positive_rate():
    table = readings.key_table(reads([0.35, 0.0], [0.25, 0.0], key=[":", ":"], kind=["key", "key"]))
    assert table["p_yes"][0] == pytest.approx(0.5833, abs=5e-5)
    assert table["mass"][0] == pytest.approx(0.6)
    found = master_keys.false_positive_rates(table).iloc[0]
    assert (found["n"], found["n_unparsed"], found["n_low_mass"], found["mean"]) == (1, 1, 1, 1.0)


@pytest.mark.parametrize(("yes", "low", "high"), [(0, 0.0, 0.0713), (17, 0.2244, 0.4785)])
def test_oracle_wilson_of_fifty_keys(yes, low, high):
    p = np.array([0.9] * yes + [0.1] * (50 - yes))
    table = readings.key_table(reads(p, 1 - p, key=["x"] * 50, kind=["key"] * 50))
    found = master_keys.false_positive_rates(table).iloc[0]
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_requirements_met_by_no_count_the_other_way():
    keys = {"case": ["c"] * 4, "candidate": [0, 0, 1, 1], "polarity": [1, -1, 1, -1]}
    found = readings.checklist_scores(reads([0.9, 0.2, 0.4, 0.4], [0.1, 0.8, 0.1, 0.4], **keys))
    assert found[0] == pytest.approx([0.85, 0.65])


def test_oracle_checklist():
    p = np.array([0.93, 0.88, 0.21, 0.74, 0.55])
    keys = {"case": ["c"] * 5, "candidate": [0] * 5, "polarity": [1] * 5}
    assert readings.checklist_scores(reads(p, 1 - p, **keys))[0] == pytest.approx([0.662])
    p[0] = np.nan
    assert np.isnan(readings.checklist_scores(reads(p, 1 - p, **keys))).all()


def test_scale_labels_are_not_yes_and_no():
    scale = readings.LabelProbabilities(pd.DataFrame({"key": "x"}, [0]), np.array([1.0, 2.0]), np.ones((1, 2)), NAN)
    with pytest.raises(InputError, match="must be YES"):
        readings.key_table(scale)


def test_ratings_against_rankings_is_the_conflict_ratio():
    rng = np.random.default_rng(1)
    scores = rng.integers(1, 8, (20, 3)).astype(float)
    c = np.full((20, 3, 3), NAN)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        c[:, i, j] = rng.choice([-1.0, 0.0, 1.0], 20)
        c[:, j, i] = -c[:, i, j]
    i, j = np.triu_indices(3, 1)
    table = ratings_and_rankings.rating_ranking_table((scores[:, i] - scores[:, j]).ravel(), relations.upper(c).ravel())
    assert table.to_numpy().sum() == 60
    assert 1 - np.trace(table.to_numpy()) / 60 == pytest.approx(consistency.conflict_ratio(scores, c)["mean"])
    assert ratings_and_rankings.rating_ranking_table([1.0, NAN], [1, 1]).loc["first better", "first better"] == 1


def test_oracle_reward_of_follow_ups():
    pleased, displeased = [[-1.2, -0.8, -0.5], [-2, -1, -0.6]], [[-3, -1.5, -0.9], [-2.5, -2, -1.2]]
    rows = [(sum(turn), len(turn), value) for value, turns in ((1.0, pleased), (0.0, displeased)) for turn in turns]
    asked = pd.DataFrame(rows, columns=["logprob", "n_tokens", "value"])
    asked = asked.assign(question_id="q", case="c", candidate=0, option=range(4))
    assert ratings_and_rankings.followup_rewards(asked, ["c"])["follow-up"][0, 0] == pytest.approx(0.833333, abs=1e-6)


def test_raw_logits_are_no_log_probabilities():
    """A scorer that sums un-shifted raw logits ranks follow-ups by what is constant in them."""
    rng = np.random.default_rng(0)
    logits, ids = rng.normal(size=(5, 7)), np.array([1, 3, 2, 5, 4])
    scored = lambda rows: log_softmax(rows, axis=1)[np.arange(2, 4), ids[3:]].sum()  # noqa: E731
    ours = scored(logits)
    theirs = logits[np.arange(3, 5), ids[3:]].sum()
    assert scored(logits + 100) == pytest.approx(ours)
    assert (logits + 100)[np.arange(3, 5), ids[3:]].sum() == pytest.approx(theirs + 200)


def test_oracle_internal_agreement():
    heads = {"judge": [0.65, 0.5, 0.2], "implicit": [0.610639, 0.9, 0.9], "ratio": [1.0, 0.9, 0.1]}
    found = ratings_and_rankings.internal_agreement(heads).set_index(["head", "other"])
    assert ratings_and_rankings.symmetric_kl(0.65, 0.610639) == pytest.approx(0.00332676, abs=1e-7)
    assert found.loc[("judge", "implicit"), "agree"] == 0.5
    assert found.loc[("judge", "implicit"), "n_undecided"] == 1
    assert found.loc[("judge", "ratio"), "n_clipped"] == 1
    assert np.isfinite(found["symmetric_kl"]).all()
    assert found.loc[("judge", "implicit"), "chance"] == pytest.approx(0.5)
    with pytest.raises(InputError, match="outside"):
        ratings_and_rankings.internal_agreement({"a": [1.2], "b": [0.1]})


def test_heads_that_both_say_first_agree_by_chance():
    p = np.r_[np.full(90, 0.9), np.full(10, 0.1)]
    found = ratings_and_rankings.internal_agreement({"a": p, "b": np.roll(p, 50)}, np.arange(100) // 4).iloc[0]
    assert (found["agree"], found["chance"]) == (pytest.approx(0.8), pytest.approx(0.82))
    assert found["low"] < 0.8 < found["high"]


def test_oracle_general_preference_holds_a_cycle():
    angle = np.radians([0, 120, 240])
    v = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    s, p = ratings_and_rankings.general_preference(v, tau=1.0)
    assert np.abs([s[0, 1], s[1, 2], s[2, 0]]) == pytest.approx([0.866025] * 3, abs=1e-6)
    assert np.sign(s[0, 1]) == np.sign(s[1, 2]) == np.sign(s[2, 0]) and np.allclose(s, -s.T)
    assert p.max() == pytest.approx(0.703918, abs=1e-6)
    assert ratings_and_rankings.general_preference(v)[1].max() == pytest.approx(0.999827, abs=1e-6)


A, B = list("AABCABBCAB"), list("ABBCABACCB")
X, Y = [float(c) for c in "1234534251"], [float(c) for c in "1334425252"]


def test_oracle_kappas():
    assert agreement.kappa(A, B) == pytest.approx(0.545455, abs=1e-6)
    found = [agreement.kappa(X, Y, weights) for weights in (None, "linear", "quadratic")]
    assert found == pytest.approx([0.375, 0.675325, 0.864865], abs=1e-6)


def test_kappa_at_its_edges():
    assert np.isnan(agreement.kappa(["A", "A"], ["A", "A"]))
    assert agreement.kappa(["A", "A", "A"], ["A", "B", "A"]) == 0.0
    assert agreement.kappa([1, NAN, 2, 1], [1, 2, 2, NAN]) == 1
    with pytest.raises(InputError, match="round"):
        agreement.kappa([1.5, 2], [1, 2])
    with pytest.raises(InputError, match="same items"):
        agreement.kappa([1, 2], [1])


def test_oracle_krippendorff():
    r = [[1, 2, 3, 3, 2, NAN], [1, 2, 3, 3, 2, 4], [NAN, 3, 3, 3, 2, 4]]
    found = [agreement.alpha(r, level) for level in ("nominal", "ordinal", "interval")]
    assert found == pytest.approx([0.827586, 0.887874, 0.921466], abs=1e-6)
    assert np.isnan(agreement.alpha([[3, 3], [3, 3]]))
    assert np.isnan(agreement.alpha([[1, NAN], [NAN, 2]]))


def test_oracle_correlations():
    found = [correlation(X, Y, kind) for kind in ("spearman", "kendall", "pearson")]
    assert found == pytest.approx([0.867942, 0.759555, 0.870285], abs=1e-6)
    assert np.isnan(correlation([1, 1, 1], [1, 2, 3]))


def test_oracle_icc_report():
    human, judge = [4.1, 3.5, 2.8, 4.6, 3.9], [4.6, 4.2, 3.9, 4.8, 4.5]
    found = agreement.icc_report(human, judge, draws=200).set_index("statistic")
    assert found["mean"].tolist() == pytest.approx([0.816151, 0.502646, 0.62], abs=1e-6)
    long = pd.DataFrame({"target": [*range(5)] * 2, "rater": [0] * 5 + [1] * 5, "rating": human + judge})
    library = pingouin.intraclass_corr(long, "target", "rater", "rating").set_index("Type")["ICC"]
    assert library[["ICC(C,1)", "ICC(A,1)"]].tolist() == pytest.approx([0.816151, 0.502646], abs=1e-6)
    assert (found["loo_low"] <= found["mean"]).all() and (found["mean"] <= found["loo_high"]).all()
    assert agreement.icc_report([1, 2], [1, 2])["mean"].isna().all()


@pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not beside the checkout (../shared/data)")
def test_the_published_iccs_count_zeros():
    """MentalAlign's 28 published rows, from the mean ratings of its sources without each judge's own model."""
    own = {"Claude-3.7-Sonnet": "claude", "GPT-4o": "gpt4o", "Gemini-2.5-Flash": "gemini", "o4-mini": "gpt4omini"}
    means, published = (pd.read_csv(DATA / f"mentalalign_{name}.csv") for name in ("means", "published_icc"))
    apart = []
    for people, judge in (("people", "judge_mean"), ("people_without_zeros", "judge_without_zeros")):
        rows = []
        for row in published.to_dict("records"):
            part = means[(means.judge == row["judge"]) & (means.attribute == row["attribute"])]
            part = part[part.source != own[row["judge"]]]
            found = agreement.icc_report(part[people], part[judge], draws=0)["mean"]
            rows.append([abs(found[k] - row[name]) for k, name in enumerate(("icc_c", "icc_a", "bias"))])
        apart.append(np.array(rows).max(axis=0))
    assert len(published) == 28 and (apart[0] <= (0.004, 0.003, 0.002)).all()
    assert apart[1] == pytest.approx([0.111, 0.080, 0.010], abs=0.002)
    cells = pd.read_csv(DATA / "mentalalign_zero_cells.csv")
    marks = ["Guidance", "Informativeness", "Relevance", "Safety", "Empathy", "Helpfulness", "Understanding"]
    assert len(cells) == 33 and (cells[marks] == 0).all(axis=None)


def test_oracle_concordance():
    """Lin's concordance has population moments throughout."""
    a, b = np.array([4.1, 3.5, 2.8, 4.6, 3.9]), np.array([4.6, 4.2, 3.9, 4.8, 4.5])
    shared = 2 * np.mean((a - a.mean()) * (b - b.mean()))
    found = [shared / (a.var(ddof=d) + b.var(ddof=d) + (a.mean() - b.mean()) ** 2) for d in (0, 1)]
    assert found[0] == pytest.approx(0.447059, abs=1e-6) and found[1] < found[0]


def test_an_interval_of_icc_may_reach_below_zero():
    """Leaving out draws outside [0, 1], as published code does, would lift the lower end."""
    rng = np.random.default_rng(1)
    found = agreement.icc_report(rng.normal(size=9), rng.normal(size=9), draws=300).set_index("statistic")
    assert found.loc["ICC(C,1)", "low"] < 0 and found.loc["ICC(A,1)", "low"] < 0


def test_constant_marks_of_one_rater():
    found = agreement.icc_report([1, 2, 3, 4], [3] * 4, draws=0).set_index("statistic")["mean"]
    assert found["ICC(C,1)"] == pytest.approx(0) and found["ICC(A,1)"] == pytest.approx(0)


def test_oracle_rater_replacement():
    people = [[float(c) for c in row] for row in ("34251432", "35241432", "24252431", "34351532", "44251422")]
    found = agreement.replace_rater(people, [float(c) for c in "33343433"])
    replaced = [0.731243, 0.755596, 0.773673, 0.746923, 0.782823]
    assert found["alpha"].tolist() == pytest.approx([0.862542, *replaced, 0.776943], abs=1e-6)
    assert found["replaced"].tolist() == ["none", *(f"rater {k}" for k in range(1, 6)), "judge added"]
    assert found["change"][1:6].mean() == pytest.approx(-0.104491, abs=1e-6)


def test_oracle_bradley_terry():
    wins = np.full((30, 3, 3), NAN)
    for (i, j), (won, lost) in {(0, 1): (7, 3), (1, 2): (6, 4), (0, 2): (8, 2)}.items():
        wins[: won + lost, i, j] = [1.0] * won + [-1.0] * lost
        wins[:, j, i] = -wins[:, i, j]
    strengths = ratings_and_rankings.bradley_terry(wins, alpha=0.0)
    assert strengths == pytest.approx([0.740570, -0.149102, -0.591468], abs=1e-5)
    assert np.isnan(ratings_and_rankings.bradley_terry(np.full((1, 2, 2), NAN))).all()
    always = np.array([[[NAN, 1.0], [-1.0, NAN]]])
    assert ratings_and_rankings.bradley_terry(always)[0] > 0


def test_jury_and_peers():
    p = np.array([[[0.9, 0.1]], [[0.4, 0.6]], [[0.45, 0.55]]])
    assert agreement.jury(p)[0] == pytest.approx([0.583333, 0.416667], abs=1e-6)
    assert agreement.jury(p, "vote")[0] == pytest.approx([1 / 3, 2 / 3])
    assert agreement.jury(p, "logit")[0, 0] == pytest.approx((0.162 ** (1 / 3)) / (0.162 ** (1 / 3) + 0.033 ** (1 / 3)))
    assert agreement.jury(np.array([[[NAN, NAN]], [[0.4, 0.6]]]))[0] == pytest.approx([0.4, 0.6])


def test_self_scores_are_masked():
    rng = np.random.default_rng(0)
    s = rng.normal(size=(6, 6)) * 0.3 + np.arange(6)
    boasting = s + 5 * np.eye(6)
    modest, proud = agreement.peer_matrix(s), agreement.peer_matrix(boasting)
    for name in ("icc_consistency_k", "icc_agreement_1"):
        assert modest[name] == pytest.approx(proud[name])
        assert modest[name] > 0.8
    assert proud["self_preference"] - modest["self_preference"] == pytest.approx(5)
    assert proud["author_mean"] == pytest.approx(modest["author_mean"])


@pytest.mark.parametrize("own", [0.0, 0.8, [0.8, 0.0, -0.5, 0.2]])
def test_self_preference_is_free_of_leniency_and_standing(own):
    rng = np.random.default_rng(1)
    for _ in range(20):  # reviewers are lenient and authors good in any pattern
        leniency, standing = 3 * rng.normal(size=(4, 1)), rng.normal(size=4)
        found = agreement.peer_matrix(leniency + standing + np.diag(np.broadcast_to(own, 4)))
        assert found["self_preference"] == pytest.approx(np.broadcast_to(own, 4), abs=1e-9)


def test_oracle_soft_labels():
    raw_adjusted = adjusted_levels(3.6, 0.7)[::-1]
    assert raw_adjusted[:4] == pytest.approx([0.09487, 0.46255, 0.38896, 0.05495], abs=2e-5)
    found = agreement.soft_levels(3.6, 0.7)
    assert found.sum() == pytest.approx(1)
    assert found @ np.arange(1, 6) == pytest.approx(3.6, abs=5e-3)


def test_soft_labels_at_mid_scale():
    middle, beside = agreement.soft_levels(3.0, 0.7), agreement.soft_levels(3.0001, 0.7)
    assert middle == pytest.approx(beside, abs=3e-3)
    assert np.sqrt(middle @ (np.arange(1, 6) - 3.0) ** 2) == pytest.approx(0.75, abs=0.02)


@given(st.floats(1, 5), st.floats(0, 1.5))
def test_soft_labels_keep_the_mean(mean, sd):
    found = agreement.soft_levels(mean, sd)
    assert found.sum() == pytest.approx(1) and (found >= 0).all()
    assert found @ np.arange(1, 6) == pytest.approx(mean, abs=0.1 + 1e-9)


def test_distance_from_people_is_zero_for_their_own_spread():
    people, sure = agreement.soft_levels(3.6, 0.7), np.array([0, 0, 0, 1.0, 0])
    found = agreement.level_distance([people, sure, np.full(5, 0.2), sure], [3.6, 3.6, 3.6, np.nan], [0.7] * 4)
    assert found["w1"][0] == pytest.approx(0, abs=1e-9) and found["kl"][0] == pytest.approx(0, abs=1e-9)
    assert found["w1"][1] == pytest.approx(np.abs(np.arange(1, 6) - 4.0) @ people)
    assert found["w1"][2] == pytest.approx(found["w1_uniform"][2])
    assert found.iloc[3].isna().all()
    carried = agreement.level_distance([people], [2.6], [0.7], low=0, high=4)
    assert carried["w1"][0] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="answers, 5"):
        agreement.level_distance([[0.5, 0.5]], [1], [1])


def test_oracle_preference_regression():
    found = ratings_and_rankings.preference_regression(np.ones((100, 1)), [1] * 70 + [0] * 30)
    assert found[0] == pytest.approx(0.405465, abs=1e-3)
    with pytest.warns(UserWarning, match="few"):
        assert np.isnan(ratings_and_rankings.preference_regression(np.array([[1, 0], [1, 0], [-1, 0]]), [1, 1, 0])[1])


def test_oracle_apc():
    g, e, c = (0.9, 0.1, 0.5), (0.8, 0.2, 0.1), (0.05, 0.3, 0.6)
    assert ratings_and_rankings.apc(g, e, c) == pytest.approx(1.715)
    assert np.isnan(ratings_and_rankings.apc([], [], []))
    with pytest.raises(InputError, match="at most 1"):
        ratings_and_rankings.apc([0.5], [0.7], [0.7])
