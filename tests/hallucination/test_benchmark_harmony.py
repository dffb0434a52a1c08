import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from workbench.errors import InputError
from workbench.hallucination import benchmark_harmony as bh
from workbench.planted import planted_answers
from workbench.questions import Option, Question
from workbench.statistics import interval

EQUAL = [1, 1, 1, 1]
UNEVEN = [0.7, 0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("accuracy", "sizes", "none", "narrow", "wide", "variance"),
    [
        pytest.param([0.8] * 4, EQUAL, 1, 1, 1, 0, id="O-50"),
        pytest.param([0.9, 0.9, 0.9, 0.1], EQUAL, 0.875321, 0.792482, 0.857223, 0.12, id="O-51"),
        pytest.param([0.9, 0.5, 0.4, 0.3], UNEVEN, 0.441522, 0.073305, 0.448257, 0.0545, id="O-52"),
        pytest.param([1, 0], [1, 1], 0, 1, 1, 0.25, id="O-53"),
    ],
)
def test_O_50_to_O_53_harmony(accuracy, sizes, none, narrow, wide, variance):
    assert bh.harmony(accuracy, sizes, "none").harmony == pytest.approx(none, abs=1e-6)
    assert bh.harmony(accuracy, sizes, bandwidth=0.1).harmony == pytest.approx(narrow, abs=1e-6)
    found = bh.harmony(accuracy, sizes, bandwidth=0.25)
    assert found.harmony == pytest.approx(wide, abs=1e-6)
    assert found.weighted_variance == pytest.approx(variance, abs=1e-6)


def test_O_52_without_weights():
    assert bh.harmony([0.9, 0.5, 0.4, 0.3], UNEVEN, "none", weighted=False).harmony == pytest.approx(0.936781, abs=1e-6)


def test_O_53_a_kernel_on_absolute_deviations_is_blind_to_opposite_halves():
    found = bh.harmony([1, 0], [50, 50])
    assert found.harmony == pytest.approx(1)
    assert (found.worst, found.weighted_variance) == (0, 0.25)


def test_uneven_sizes_alone_lower_it_and_the_ceiling_says_so():
    found = bh.harmony([0.8] * 4, UNEVEN)
    assert found.harmony == pytest.approx(found.ceiling)
    assert found.ceiling < 0.7


def test_O_54_similarity():
    p = [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]]
    assert bh.jeffreys(p)[0, 1] == pytest.approx(0.177156, abs=1e-6)
    assert bh.similarity(p)[0, 1] == pytest.approx(0.915232, abs=1e-6)
    one, two = np.array(p)
    assert (one * np.log(one / two)).sum() == pytest.approx(0.085123, abs=1e-6)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.data(),
    st.sampled_from(bh.KERNELS),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_harmony_lies_between_0_and_1_and_ignores_order(accuracy, data, kernel, weighted):
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=len(accuracy), max_size=len(accuracy)))
    found = bh.harmony(accuracy, sizes, kernel, weighted=weighted)
    back = bh.harmony(accuracy[::-1], sizes[::-1], kernel, weighted=weighted)
    if np.isnan(found.harmony):
        assert kernel == "none" and max(accuracy) == 0
        return
    assert -1e-9 <= found.harmony <= 1 + 1e-9
    assert found.harmony == pytest.approx(back.harmony, abs=1e-9)
    assert found.worst <= found.mean + 1e-9


def test_planted_subdomains_are_recovered():
    rng = np.random.default_rng(0)
    centres = np.array([[0.85, 0.05, 0.05, 0.05], [0.05, 0.05, 0.85, 0.05], [0.25, 0.25, 0.25, 0.25]])
    truth = np.repeat([0, 1, 2], 30)
    p = np.stack([rng.dirichlet(60 * centres[each]) for each in truth])
    found = bh.partition_items(p, range(2, 7))
    assert found.k == 3
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert found.silhouettes.set_index("k")["silhouette"].idxmax() == 3


def test_items_answered_in_unconnected_ways_are_said_to_be():
    apart = np.repeat(np.eye(2), 6, axis=0)
    found = bh.partition_items(apart, range(2, 5))
    assert found.k == 2 and "2 unconnected parts" in found.note


def test_a_random_partition_is_distinguished_from_a_real_one():
    rng = np.random.default_rng(1)
    labels = np.repeat(list("abcd"), 60)
    even = rng.random(240) < 0.6
    uneven = rng.random(240) < np.repeat([0.95, 0.9, 0.9, 0.1], 60)
    assert bh.harmony_test(uneven, labels, draws=199)["p_random"] <= 0.01
    found = bh.harmony_test(even, labels, draws=199)
    assert found["p_random"] > 0.05
    assert found["random_low"] <= found["random_mean"] <= found["random_high"] <= found["ceiling"]


def test_ragged_options_are_compared_by_their_sorted_probabilities():
    p = pd.DataFrame(
        {
            "question_id": ["a", "a", "b", "b", "b"],
            "option": [0, 1, 0, 1, 2],
            "text": list("abcde"),
            "role": ["correct"] + ["wrong"] * 4,
            "logprob": -1.0,
            "p": [0.2, 0.8, 0.5, 0.1, 0.4],
        }
    )
    assert bh.sorted_probabilities(p) == pytest.approx(np.array([[0.8, 0.2, 0], [0.5, 0.4, 0.1]]))


def test_mean_variance_plane():
    table = pd.DataFrame({"benchmark": ["a", "a", "b"], "configuration": ["x", "y", "x"], "harmony": [0.8, 1.0, 0.5]})
    found = bh.plane(table, draws=9, seed=0).set_index("benchmark")
    assert found.loc["a", ["mean", "variance", "n"]].tolist() == pytest.approx([0.9, 0.02, 2])
    assert np.isnan(found.loc["b", "variance"])


def test_edges():
    assert bh.harmony([0.3], [5]).harmony == 1
    assert "convention" in bh.harmony([0.3], [5]).note
    nothing = bh.harmony([0, 0], [1, 1], "none")
    assert np.isnan(nothing.harmony) and "correct" in nothing.note


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bh.harmony([0.1, 0.2], [1, 0]), "empty subdomains"),
        (lambda: bh.harmony([0.1, 1.2], [1, 1]), "accuracy must lie"),
        (lambda: bh.harmony([0.1], [1], "cubic"), "Unknown kernel"),
        (lambda: bh.harmony([0.1], [1], bandwidth=0), "bandwidth"),
        (lambda: bh.partition_items([[0.5, 0.5]] * 3), "cannot be clustered"),
        (lambda: bh.similarity([[0.5, 0.6]]), "add up to 1"),
        (lambda: bh.harmony_of_items([1, 0], ["a"]), "labels"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def flipped(n, seed, options=(2, 8, 8)):
    """Coin flips on items of several numbers of options: whether each is right, clusters by options, and options."""
    rng = np.random.default_rng(seed)
    k = rng.choice(options, n)
    return (rng.random(n) < 1 / k).astype(float), k * 10 + rng.integers(2, size=n), k


def test_parts_that_differ_in_chance_are_no_finding_about_a_coin():
    blind = [bh.harmony_test(*flipped(200, seed)[:2], draws=99)["p_random"] for seed in range(8)]
    seen = [
        bh.harmony_test(right, parts, draws=99, strata=k)["p_random"]
        for right, parts, k in (flipped(200, seed) for seed in range(8))
    ]
    assert np.mean(np.array(blind) < 0.05) > 0.8  # without strata nearly every coin "knows" some parts better
    assert np.mean(np.array(seen) < 0.05) < 0.4


def test_configurations_that_answer_at_random_differ_by_chance_alone():
    coins = [[flipped(60, 10 * bench + reader) for reader in range(4)] for bench in range(8)]
    found = [bh.harmony_range(each, draws=30) for each in coins]
    assert min(each["range"] for each in found) > 0  # largest less smallest is above 0 for coins
    excess = interval([each["excess"] for each in found])
    assert excess["low"] < 0 < excess["high"]


def test_a_configuration_that_knows_one_part_only_increases_the_range():
    k = np.full(200, 4)
    part = np.arange(200) % 2
    rng = np.random.default_rng(3)
    even = [((rng.random(200) < 0.5).astype(float), part, k) for _ in range(3)]
    uneven = (
        np.where(part == 0, rng.random(200) < 0.98, rng.random(200) < 0.1).astype(float),
        np.arange(200) % 3 * part,
        k,
    )
    assert bh.harmony_range([*even, uneven], draws=60)["excess"] > 0.1


def test_what_is_shuffled_within_strata_stays_there():
    values, strata = np.arange(12.0), np.array(list("abcabcabcabc"))
    found = bh.within(values, strata, np.random.default_rng(0))
    assert all(set(found[strata == name]) == set(values[strata == name]) for name in "abc") and list(found) != list(
        values
    )
    assert sorted(bh.within(values, None, np.random.default_rng(0))) == list(values)


KINDS = {"easy": 0.9, "open": 0.55}
"""Questions of two kinds: the respondent is sure, or not."""


def planted(benchmark: str, n: int = 24, subjects: bool = True) -> pd.DataFrame:
    """Answers to questions of two kinds in turn: the sure ones right, of the others one in two."""
    questions = []
    for i in range(n):
        options = (Option(" yes", "correct"), Option(" no", "wrong"), Option(" perhaps", "wrong"))
        tags = {"benchmark": benchmark, "subject": list(KINDS)[i % 2] if subjects else None}
        questions.append(Question(f"{benchmark} {i}?", options, tags, id=f"{benchmark} {i}"))

    def respond(question: Question) -> np.ndarray:
        number = int(question.id.split()[1])
        p = KINDS[list(KINDS)[number % 2]] + 0.001 * number
        best = [p, (1 - p) * 0.6, (1 - p) * 0.4]
        return np.array(best if number % 4 != 1 else [best[1], best[0], best[2]])

    return planted_answers(questions, respond)


@pytest.fixture(scope="module")
def readings():
    answers = {
        ("org/model", style, shots, name): planted(name, subjects=name == "one")
        for name in ("one", "two")
        for style, shots in (("cloze", 0), ("letters", 0), ("cloze", 2))
    }
    return bh.readings(answers, ["none", "chars"], plain=0)


@pytest.fixture(scope="module")
def parts(readings):
    return bh.partitions(readings, 3, seed=0)


def test_normalisations_are_read_on_plain_texts_alone(readings):
    expected = ["model, cloze, none", "model, cloze, chars", "model, letters, none", "model, cloze, none, 2 examples"]
    assert list(readings.tables) == [(name, reader) for name in ("one", "two") for reader in expected]
    assert readings.names == ["one", "two"] and set(readings.main["configuration"]) == {expected[0]}
    items = bh.items(readings)
    assert len(items) == 48 and items["answer_correct"].mean() == pytest.approx(0.75)


def test_clusters_find_the_sure_answers_and_subjects_count_where_they_are_named(parts):
    assert list(parts.labels) == [("one", "clusters"), ("two", "clusters"), ("one", "subject")]
    assert adjusted_rand_score(parts.labels["one", "clusters"], parts.labels["one", "subject"]) == 1
    assert parts.silhouettes["chosen k"].tolist() == [2, 2] and list(parts.silhouettes) == ["2", "3", "chosen k"]
    assert parts.sizes.loc[parts.sizes["chosen"], "k"].tolist() == [2, 2]


def test_harmony_is_reported_with_its_controls(readings, parts):
    found = bh.against_random(readings, parts, bandwidth=0.25, draws=40, seed=0)
    expected = bh.harmony([1, 0.5], [12, 12]).harmony
    assert found["harmony"].to_numpy() == pytest.approx(expected)
    assert found["worst"].to_numpy() == pytest.approx(0.5) and (found["n"] == 24).all()
    assert (found["p_adjusted"] >= found["p_random"]).all()
    assert (found["verdict"].str.startswith("lower") == (found["p_adjusted"] < 0.05)).all()  # after Holm, over all rows
    assert list(bh.intervals(found)["harmony"]) == list(found["harmony"])
    assert "ceiling" in bh.controls(found)
    assert "random partitions" in bh.draw_harmony(found).get_label()


def test_accuracies_of_subjects_else_of_the_first_clusters(readings, parts):
    found = bh.accuracies(readings, parts)
    assert found[["benchmark", "part", "mean", "n"]].to_numpy().tolist() == [
        ["one", "easy", 1.0, 12],
        ["one", "open", 0.5, 12],
    ]
    bare = bh.Parts({("two", "clusters"): parts.labels["two", "clusters"]}, parts.sizes, parts.sizes)
    assert sorted(bh.accuracies(readings, bare)["mean"]) == [0.5, 1.0]
    assert sorted(bh.accuracies(readings, bare)["part"]) == ["cluster 1", "cluster 2"]
    assert "Wilson" in bh.draw_parts(found).get_label()


def test_kernels_and_weights_change_harmony(readings, parts):
    found = bh.kernels(readings, parts, bandwidth=0.25).iloc[0]
    assert found["no kernel"] == pytest.approx(bh.harmony([1, 0.5], [12, 12], "none").harmony)
    assert found["b = 0.25"] == pytest.approx(bh.harmony([1, 0.5], [12, 12]).harmony)
    assert found["n"] == 24


def test_configurations_and_their_range(readings):
    table, ranges = bh.by_configuration(readings, 3, bandwidth=0.25, draws=9, seed=0)
    assert len(table) == 8 and (table["k"] >= 2).all()
    assert ranges["benchmark"].tolist() == ["one", "two"] and (ranges["configurations"] == 4).all()
    few = bh.plane(table, draws=9, seed=0)
    assert few["mean_low"].isna().all() and few["n"].tolist() == [4, 4]
    many = pd.DataFrame(
        {"benchmark": "one", "configuration": [f"r{k}" for k in range(9)], "harmony": np.linspace(0.2, 0.9, 9)}
    )
    row = bh.plane(many, draws=50, seed=0).iloc[0]
    assert row["mean_low"] < row["mean"] < row["mean_high"] and row["variance_low"] < row["variance_high"]
    assert "configurations" in bh.draw_plane(few).get_label()
    runs = pd.concat([many.assign(partition=kind) for kind in ("clusters", "subject")])
    over = bh.plane_over_runs(runs, draws=50, seed=0)
    assert over.iloc[0].equals(row) and "over runs" in bh.draw_plane(over, "runs").get_label()
    assert bh.plane_over_runs(None, 50, 0) is None and bh.draw_plane(None) is None
    rising = pd.DataFrame({"harmony": np.linspace(0, 1, 9), "k": range(9), "n": 5})
    control = bh.size_control(rising, draws=20, seed=0).set_index("harmony and")["mean"]
    assert control["k"] == pytest.approx(1) and np.isnan(control["n"])


def test_clusters_that_follow_the_subjects_are_a_finding(readings, parts):
    found = bh.agreement(readings, parts, draws=40, seed=0)
    assert found["benchmark"].tolist() == ["one"] and found["mean"].tolist() == [1.0]
    assert abs(found["shuffled"].iloc[0]) < 0.1
    results = bh.against_random(readings, parts, bandwidth=0.25, draws=20, seed=0)
    ranges = pd.DataFrame({"excess": [0.1, 0.2]})
    claims = bh.findings(results, ranges, found)
    assert [claim.verdict for claim in claims[:2]] == ["cannot tell: only 2 units"] * 2
    assert claims[0].estimate == pytest.approx((results["harmony"] - results["random_mean"]).mean())
    assert claims[2].claim.endswith("of one") and claims[2].estimate == 1
    none = bh.Parts({("two", "clusters"): parts.labels["two", "clusters"]}, parts.sizes, parts.sizes)
    empty = bh.agreement(readings, none, draws=5, seed=0)
    assert empty.empty and empty.attrs["reason"] == "none of these benchmarks names subjects"
    assert len(bh.findings(results, ranges, empty)) == 2
