"""What the notebook national_bias computes, on answers of planted respondents."""

import numpy as np
import pandas as pd
import pytest

from workbench import figures, probabilities
from workbench.cultural_alignment import national_bias
from workbench.cultural_alignment.benchmarks import load_choices
from workbench.planted import planted_answers

SUBSETS = ["Nationality", "Religion"]


def bbq(stereotyped, unknown, regions=("North", "South")):
    """Answers to made-up BBQ questions: the given contexts are read, in the others the stereotype gets its share."""
    rows = []
    for subject in SUBSETS:
        for i in range(8):
            for condition in ("ambiguous", "disambiguated"):
                for polarity in ("negative", "non-negative"):
                    biased = "A" if polarity == "negative" else "B"
                    right = "Unknown" if condition == "ambiguous" else "B"
                    shares = {"Unknown": unknown, biased: stereotyped}
                    shares |= {"B" if biased == "A" else "A": 1 - unknown - stereotyped}
                    if condition == "disambiguated":
                        shares = {"A": 0.1, "B": 0.8, "Unknown": 0.1}
                    region = regions[i % 2] if subject == "Nationality" else None
                    tags = {"subject": subject, "template": f"{subject}{i}", "condition": condition}
                    tags |= {"polarity": polarity, "target": "A", "region": region}
                    name = f"{subject}/{i}/{condition}/{polarity}"
                    for k, text in enumerate(("A", "B", "Unknown")):
                        role = "correct" if text == right else "abstain" if text == "Unknown" else "wrong"
                        sizes = {"n_tokens": 1, "n_chars": len(text), "n_bytes": len(text)}
                        row = {"question_id": name, "option": k, "text": f" {text}", "role": role, "value": np.nan}
                        rows.append({**row, **tags, "logprob": np.log(shares[text]), **sizes})
    return pd.DataFrame(rows).assign(logprob_unconditional=np.nan, duplicate=False)


ANSWERS = bbq(stereotyped=0.6, unknown=0.2)
SCORES = national_bias.bbq_scores(probabilities(ANSWERS))
SUMMARY = national_bias.bbq_summary(SCORES, ["subject", "condition"])


def stereo(preferred, n=10):
    """Scores of items whose stereotyped sentence is preferred in some; the unrelated one never is."""
    rows = []
    for kind, groups in (("race", n), ("religion", 3)):
        for i in range(12):
            ends = (-1.0, -2.0) if i < preferred else (-2.0, -1.0)
            about = {"item": f"{kind}{i}", "target": f"{kind} group {i % groups}", "bias_type": kind, "n_tokens": 1}
            kinds = zip(("stereotype", "anti-stereotype", "unrelated"), (*ends, -3.0))
            rows += [{**about, "kind": each, "logprob": score} for each, score in kinds]
    return national_bias.stereoset_scores(pd.DataFrame(rows))


def test_bbq_tables_say_what_was_planted():
    table = national_bias.question_table(SCORES)
    assert len(table) == 64 and table.columns[-6:].tolist() == national_bias.MEASURES
    ambiguous, given = (table[table.condition == each] for each in ("ambiguous", "disambiguated"))
    assert ambiguous["bias"].tolist() == pytest.approx([0.5] * 32) and (ambiguous["accuracy"] == 0).all()
    assert (given["accuracy"] == 1).all()
    said = national_bias.against_chance(SUMMARY)
    assert said["subset"].tolist() == ["Nationality", "Nationality", "Religion", "Religion"]
    assert said["accuracy"].str.split(" ").str[0].tolist() == ["below", "above"] * 2
    published = national_bias.published_scores(SCORES).set_index(["subset", "context"])
    assert published.loc[("Religion", "ambiguous"), ["score", "answered", "n"]].tolist() == [1, 16, 16]
    assert published.loc[("Religion", "disambiguated"), ["score", "answered", "n"]].tolist() == [0, 16, 16]


def test_regions_leave_out_questions_without_one_and_figures_those_with_few_templates():
    regions = national_bias.by_region(SCORES)
    mean = regions.set_index(["region", "condition", "metric"])["mean"]
    assert set(regions["region"]) == {"North", "South"} and set(regions["metric"]) == set(national_bias.REGION_METRICS)
    assert mean["North", "ambiguous", "bias"] == pytest.approx(0.5) and mean["South", "disambiguated", "accuracy"] == 1
    for metric, what in national_bias.REGION_METRICS.items():
        figure = national_bias.draw_regions(SCORES, regions, metric)
        assert what in figure.get_label()
        assert figure.axes[0].get_yticklabels()[0].get_text() == "North (4 templates)"
    few = SCORES[SCORES["template"].isin(["Nationality0", "Nationality1"])]
    assert national_bias.draw_regions(few, national_bias.by_region(few), "bias") is None
    nowhere = SCORES[SCORES["subject"] == "Religion"]
    empty = national_bias.by_region(nowhere)
    assert empty.attrs["reason"] and national_bias.draw_regions(nowhere, empty, "bias") is None


def test_normalisations_are_read_from_the_same_answers():
    found = national_bias.by_normalisation(ANSWERS).set_index(["normalisation", "condition", "metric"])["mean"]
    assert found["none", "ambiguous", "bias"] == pytest.approx(0.5)
    assert found["tokens", "ambiguous", "bias"] == pytest.approx(0.5)
    shares = {"A": 0.6, "B": 0.2, "Unknown": 0.2}
    longer = {text: p ** (1 / len(text)) for text, p in shares.items()}
    unknown = longer["Unknown"] / sum(longer.values())
    assert found["chars", "ambiguous", "p_unknown"] == pytest.approx(unknown) and unknown > 0.3


def test_stereoset_is_clustered_by_group_where_there_are_ten():
    items = stereo(preferred=9)
    summary = national_bias.stereoset_summary(items).set_index(["bias_type", "metric"])
    assert summary["mean"].to_dict() == pytest.approx(
        {
            (kind, metric): mean
            for kind in ("race", "religion")
            for metric, mean in (("related", 1), ("stereotype", 0.75))
        }
    )
    assert summary.loc[("race", "stereotype"), "n_clusters"] == 10
    assert np.isnan(summary.loc[("religion", "stereotype"), "n_clusters"])
    icat = national_bias.icat_scores(summary.reset_index())
    assert icat["icat"].tolist() == pytest.approx([0.5, 0.5])
    targets = national_bias.by_target(items, "race")
    assert targets["mean"].is_monotonic_increasing and len(targets) == 10 and set(targets["mean"]) == {-1, 0, 1}
    assert "bias type" in national_bias.draw_stereoset(summary.reset_index(), len(items)).get_label()


def choices(name, **options):
    country = {"Country": "x", "Value": "V.", "Rule-of-Thumb": "R."}
    records = {
        "normad": [{**country, "Story": f"S {i}.", "Gold Label": g} for i, g in enumerate(("yes", "no", "neutral"))],
        "cdeval": [
            {"Dimension": d, "Domain": "work", "Question": f"Who, {d}?", "Option 1": "One.", "Option 2": "All."}
            for d in ("PDI", "IDV")
        ],
    }[name]
    weights = options

    def respondent(question):
        p = np.array([weights[str(option.value)] for option in question.options])
        return p / p.sum()

    return planted_answers(load_choices(name, records=records), respondent)


def test_choices_are_scored_over_orders_with_a_key_and_without():
    told = choices("cdeval", **{"1.0": 0.7, "0.0": 0.3})
    found = national_bias.choice_scores(probabilities(told))
    assert found["score"].tolist() == pytest.approx([0.7, 0.7]) and set(found["group"]) == {"PDI", "IDV"}
    assert national_bias.constant_letters(told).attrs["reason"]
    called, lean = national_bias.labelled_choices(told, "cdeval")
    assert called.empty and lean.attrs["reason"] == "The options of cdeval are not labels."
    assert national_bias.label_table(called).empty and national_bias.choice_findings("cdeval", called, lean) == []
    yes = choices("normad", **{"0.0": 0.7, "1.0": 0.2, "2.0": 0.1})
    found = national_bias.choice_scores(probabilities(yes)).groupby("condition")["score"].mean()
    assert found.to_numpy() == pytest.approx([1 / 3] * 5)
    constant = national_bias.constant_letters(yes)
    assert constant["accuracy"].tolist() == pytest.approx([1 / 3] * 3) and (constant["n"] == 3).all()


def test_a_respondent_of_one_label_leans_towards_it():
    called, lean = national_bias.labelled_choices(choices("normad", **{"0.0": 0.7, "1.0": 0.2, "2.0": 0.1}), "normad")
    assert len(called) == 15 and set(called["predicted"]) == {"yes"}
    labels = national_bias.label_table(called)
    assert len(labels) == 5 and labels["accuracy"].tolist() == pytest.approx([1 / 3] * 5)
    mean = lean.set_index(["condition", "metric"])["mean"]
    assert mean["none", "lean"] == pytest.approx(0.7 - 1 / 3) and mean["none", "p_gold"] == pytest.approx(1 / 3)
    one, two = national_bias.choice_findings("normad", called, lean)
    assert one.claim == "normad: leans towards 'yes' more than uniform answers" and one.source == "Rao et al. 2024"
    assert one.estimate == pytest.approx(0.7 - 1 / 3) and one.verdict.startswith("cannot tell: only 3")
    assert two.claim.startswith("normad: the rule of thumb helps") and two.estimate == pytest.approx(0)


def test_claims_are_in_the_given_order_without_missing_subsets():
    apart = national_bias.bbq_against_guessing(SCORES)
    items = national_bias.stereoset_summary(stereo(preferred=12))
    found = national_bias.findings(SUMMARY, apart, items, ["Religion", "Nationality", "Age"], ["religion", "race"])
    ends = [each.claim.rpartition(": ")[2] for each in found]
    assert ends == ["Religion", "Nationality"] * 3 + ["religion", "race"] * 2
    assert found[0].estimate == pytest.approx(0.5) and found[2].estimate == pytest.approx(0.5)
    assert found[4].estimate == 0 and found[4].verdict != "holds"
    assert [each.verdict for each in found[6:]] == ["holds"] * 4 and found[6].rule.startswith("interval above 0.5")
    kept = national_bias.findings(SUMMARY, apart, items, [], ["race"], [found[0]])
    assert [each.claim for each in kept] == [found[7].claim, found[9].claim, found[0].claim]


@pytest.mark.parametrize(
    "draw", [lambda: national_bias.draw_accuracy(SUMMARY, 64), lambda: national_bias.draw_bias(SUMMARY)]
)
def test_figures_name_what_they_show(draw):
    figure = draw()
    assert "95% intervals" in figure.get_label() and "questions each" in figure.get_label()
    assert figures.described(figure, "x").get_label().startswith("x Bars: 95% intervals")
