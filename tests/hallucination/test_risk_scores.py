import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import InputError
from workbench.hallucination import risk_scores

SCORES = [0.1, 0.15, 0.35, 0.45, 0.55, 0.62, 0.71, 0.88, 0.93, 0.97]
LABELS = [0, 0, 1, 0, 1, 0, 1, 1, 1, 1]
CHOICES = {"A": 1.0, "B": 0.0}


def table(*questions):
    """Answers from {text: (p, value)} per question, with a row and an order."""
    rows = []
    for number, options in enumerate(questions):
        for option, (text, (p, value)) in enumerate(options.items()):
            row = {"question_id": f"q{number}", "option": option, "text": text, "role": "none"}
            with np.errstate(divide="ignore"):
                row |= {"logprob": np.log(p), "value": value, "row": number // 2, "order": str(number % 2)}
            rows.append(row)
    return pd.DataFrame(rows)


def risk_score_mc(probabilities, values):
    """Of the ways to write a letter the one that holds most is taken, and its letters are renormalised."""
    ways = [[probabilities.get(prefix + letter, 0.0) for letter in values] for prefix in ("", " ", "_", "▁", "Ġ", "Ċ")]
    best = max(ways, key=sum)
    return np.dot(best, list(values.values())) / sum(best), sum(best)


def risk_score_numeric(passes, how="expectation"):
    """After "0.": greedy digits pass by pass, as folktexts decodes, or the mean over the digits of the first pass."""
    if how == "argmax":
        return float("0." + "".join(max(filter(str.isdigit, each), key=each.get) for each in passes))
    weight = np.array([passes[0].get(str(digit), 0.0) for digit in range(10)])
    return weight @ (np.arange(10) + (0.5 if how == "midpoint" else 0.0)) / weight.sum() / 10


def test_O_70_one_way_of_writing_the_letters_is_taken():
    p = {"A": 0.02, "B": 0.01, " A": 0.30, " B": 0.10}
    score, mass = risk_score_mc(p, CHOICES)
    assert (score, mass) == (pytest.approx(0.75), pytest.approx(0.4))
    options = {text: (q, CHOICES[text.strip()]) for text, q in p.items()}
    found = risk_scores.choice_scores(table(options)).iloc[0]
    assert (found["score"], found["mass"]) == (pytest.approx(0.75), pytest.approx(0.4))


def test_O_71_orders_are_averaged():
    one = {" A": (0.75, 1), " B": (0.25, 0)}
    two = {" A": (0.65, 0), " B": (0.35, 1)}
    found = risk_scores.scores(table(one, two))
    assert found["score"].tolist() == pytest.approx([0.55])
    assert found["order_gap"].tolist() == pytest.approx([0.4])
    with pytest.raises(InputError, match="fewer orders"):
        risk_scores.scores(table(one, two, one))


DIGITS = [0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.3, 0.05, 0.05]


def test_O_72_numeric_score():
    p = {str(digit): q for digit, q in enumerate(DIGITS)}
    answers = table({digit: (q, 0.5) for digit, q in p.items()})
    for how, expected in (("argmax", 0.7), ("expectation", 0.5), ("midpoint", 0.55)):
        assert risk_score_numeric([p], how) == pytest.approx(expected), how
        assert risk_scores.numeric_scores(answers, how)["score"][0] == pytest.approx(expected), how


def test_two_digits_are_decoded_digit_by_digit():
    options = {f"{number:02d}": (0.001, 0.5) for number in range(100)}
    options |= {"73": (0.05, 0.5), "70": (0.06, 0.5), "40": (0.1, 0.5)}
    answers = table(options)
    assert risk_scores.numeric_scores(answers, "argmax")["score"][0] == pytest.approx(0.70)
    assert risk_score_numeric([{"7": 0.2, "4": 0.1}, {"0": 0.06, "3": 0.05, ".": 0.9}], "argmax") == 0.7


def test_O_73_bias_and_calibration():
    assert risk_scores.risk_bias(SCORES, LABELS) == pytest.approx(-0.039)
    assert risk_scores.score_bias(SCORES, LABELS) == pytest.approx(-0.029)
    found = risk_scores.risk_report(SCORES, LABELS, draws=50).set_index("metric")["mean"]
    assert found["ece"] == pytest.approx(0.293)
    assert found["brier"] == pytest.approx(0.13487)
    assert found["auroc"] == pytest.approx(0.875)
    assert found["risk_bias"] == pytest.approx(-0.039)


def test_O_74_constant_scores():
    labels = np.repeat([1.0, 0.0], [61233, 166450 - 61233])
    found = {name: metric(np.zeros(len(labels)), labels) for name, metric in risk_scores.METRICS.items()}
    assert found["ece"] == pytest.approx(0.367876, abs=1e-6)
    assert found["brier"] == pytest.approx(0.367876, abs=1e-6)
    assert (found["accuracy"], found["auroc"]) == (pytest.approx(0.632124, abs=1e-6), 0.5)
    base = np.full(len(labels), labels.mean())
    assert risk_scores.METRICS["ece"](base, labels) == pytest.approx(0, abs=1e-9)
    assert risk_scores.METRICS["brier"](base, labels) == pytest.approx(0.232543, abs=1e-6)


def test_half_precision_would_lose_small_probabilities():
    p = {" A": 3e-8, " B": 1e-8}
    halved = {text: float(np.float16(q)) for text, q in p.items()}
    assert risk_score_mc(p, CHOICES)[0] == pytest.approx(0.75)
    assert risk_score_mc(halved, CHOICES)[0] != pytest.approx(0.75, abs=0.2)
    answers = table({text: (q, CHOICES[text.strip()]) for text, q in p.items()})
    assert risk_scores.choice_scores(answers)["score"][0] == pytest.approx(0.75)


def test_released_rows_without_debiasing_keep_the_bias_of_the_letter():
    """A reader that always prefers A scores 0.8 or 0.2 by order alone, and one half when both are averaged."""
    always_a = ({" A": (0.8, 1), " B": (0.2, 0)}, {" A": (0.8, 0), " B": (0.2, 1)})
    single = risk_scores.choice_scores(table(*always_a))
    assert single["score"].tolist() == pytest.approx([0.8, 0.2])
    assert risk_scores.scores(table(*always_a))["score"].tolist() == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Between 10% and 30%. Probability: 25%", 0.25),
        ("I would say 40 %.", 0.4),
        ("about 0.35", 0.35),
        ("no idea", np.nan),
        ("Probability: 400%", np.nan),
    ],
)
def test_stated_probabilities_are_read_or_counted_as_unread(text, expected):
    assert risk_scores.parsed_probability(text) == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_risk_bias_never_exceeds_ece_and_turns_with_the_classes(rows):
    s, y = (np.array(each, float) for each in zip(*rows))
    bias = risk_scores.risk_bias(s, y)
    assert abs(bias) <= risk_scores.METRICS["ece"](s, y) + 1e-9
    if not np.isin(np.round(s * 10, 9), range(11)).any():
        assert risk_scores.risk_bias(1 - s, 1 - y) == pytest.approx(bias, abs=1e-9)


def test_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(["a", "b"], 300)
    labels = (rng.random(600) < 0.5).astype(float)
    scores = np.clip(0.3 + 0.3 * labels + np.where(groups == "b", 0.3, 0.0), 0, 1)
    found = risk_scores.group_report(scores, labels, groups).set_index("group")
    assert found.loc["a", "false_positive_rate"] == 0
    assert found.loc["b", "false_positive_rate"] == 1
    assert found.loc["b", "score_bias"] - found.loc["a", "score_bias"] == pytest.approx(0.3, abs=0.1)
    gaps = risk_scores.group_gaps(scores, labels, groups, draws=50).set_index("metric")
    assert gaps.loc["equalised_odds", "mean"] == 1
    assert gaps.loc["demographic_parity", "low"] > 0.3
    fair = risk_scores.group_gaps(scores, labels, np.resize(["a", "b"], 600), draws=50).set_index("metric")
    assert fair.loc["demographic_parity", "mean"] < 0.15


def test_supervised_baselines_know_what_can_be_known():
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"number": rng.normal(size=300), "kind": rng.choice(["x", "y"], 300)})
    y = ((x["number"] + (x["kind"] == "y") + rng.normal(0, 0.5, 300)) > 0.5).astype(float)
    assert risk_scores.supervised_scores(x[:40], y[:40])["gradient_boosting"].nunique() > 5
    found = risk_scores.supervised_scores(x, y)
    assert risk_scores.METRICS["auroc"](found["logistic_regression"], y) > 0.9
    assert risk_scores.METRICS["auroc"](found["gradient_boosting"], y) > 0.85
    assert found["base_rate"].to_numpy() == pytest.approx(np.full(300, y.mean()))
    report = risk_scores.risk_report(found["base_rate"], y, ["auroc", "ece"], draws=20).set_index("metric")
    assert np.isnan(report.loc["auroc", "mean"]) and report.loc["auroc", "note"] == "a constant score has no ranking"
    assert report.loc["ece", "mean"] == 0 and report.loc["ece", "low"] == 0


def test_every_metric_has_its_baseline():
    rng = np.random.default_rng(0)
    scores = rng.random(400)
    labels = (rng.random(400) < scores).astype(float)
    found = risk_scores.risk_report(scores, labels, draws=100).set_index("metric")
    assert found.loc["auroc", "baseline"] == 0.5 and found.loc["score_bias", "baseline"] == 0
    rate = labels.mean()
    assert found.loc["brier", "baseline"] == pytest.approx(rate * (1 - rate))
    assert found.loc["accuracy", "baseline"] == max(rate, 1 - rate)
    assert found.loc["ece", "baseline"] > 0.01
    assert found.loc["ece", "low"] < found.loc["ece", "baseline"] < found.loc["ece", "high"]
    flat = risk_scores.risk_report(np.full(40, 0.5), np.arange(40) % 2, ["ece"], draws=50).iloc[0]
    assert flat["mean"] == 0 and flat["low"] == 0
    extreme = risk_scores.risk_report((scores > 0.5).astype(float), labels, ["ece"], draws=100).iloc[0]
    assert extreme["baseline"] == 0 and extreme["low"] > 0.1


def test_threshold_is_fitted_on_part_of_the_rows():
    fit = np.arange(10) < 8
    found = risk_scores.fitted_threshold(SCORES, LABELS, fit)
    assert 0.1 < found <= 0.71
    with pytest.raises(InputError, match="both outcomes"):
        risk_scores.fitted_threshold(SCORES, LABELS, np.arange(10) < 2)


def test_undefined_scores():
    one = risk_scores.risk_report([0.2, 0.3], [1, 1], ["auroc"], draws=20).iloc[0]
    assert np.isnan(one["mean"]) and one["note"] == "one outcome only"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: risk_scores.numeric_scores(table({"1": (0.5, 1)}), "median"), "Unknown reading"),
        (lambda: risk_scores.numeric_scores(table({"A": (0.5, 1)})), "one or two digits"),
        (lambda: risk_scores.choice_scores(table({" A": (0.5, 3)})), "value from 0 to 1"),
        (lambda: risk_scores.risk_bias([0.1, np.nan], [0, 1]), "contains 1 NaN"),
        (lambda: risk_scores.group_report([0.1], [0], [None]), "every row"),
        (lambda: risk_scores.supervised_scores(pd.DataFrame({"x": [1, 2]}), [0, 1]), "at least 5 rows"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
