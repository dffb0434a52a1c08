"""The cultural alignment notebooks, end to end with a few items on a tiny random model: chance, and fast."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import tiny
import yaml
from records import assert_comparable

from workbench.runs import execute, plan
from workbench.statistics.findings import FEWEST_UNITS

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.notebook, pytest.mark.model]
COUNTRIES = ["U.S.A.", "China", "Japan", "Sweden"]
SMALL = {
    "robustness": {"per_dimension": 2, "countries": COUNTRIES, "more_scales": False},
    "opinion_distributions": {
        "per_dimension": 2,
        "countries": COUNTRIES,
        "n_emotions": 6,
        "open_items": 2,
        "topics": 2,
    },
    "national_bias": {"n": 12, "n_sentences": 12},
    "cultural_map": {"per_dimension": 2, "countries": COUNTRIES},
}
ITEMS = "id,text,key,dimension,opposite\n" + "".join(
    f"{d}{i},{text},{key},{d},{other}\n"
    for d in ("thrift", "trust")
    for i, (text, key, other) in enumerate(
        [(f"More {d} is better.", 1, f"Less {d} is better."), (f"Less {d} does no harm.", -1, f"Less {d} does harm.")]
    )
)


@pytest.fixture(scope="module")
def executed(tmp_path_factory, tiny_model, kernel):
    done, few = {}, {"robustness": {"noise_draws": 99}}

    def run(notebook, given=None):
        key = (notebook, str(given))
        if key not in done:
            (planned,) = plan(
                "cultural_alignment",
                "quick",
                {"model": tiny_model} | few.get(notebook, {}) | (given or SMALL[notebook]),
                notebook=notebook,
            )
            done[key] = execute(planned, tmp_path_factory.mktemp("outputs"), kernel=kernel)
        return done[key]

    return run


@pytest.mark.parametrize("notebook", SMALL)
def test_the_notebook_runs_and_gives_verdicts(executed, notebook):
    run = executed(notebook)
    assert run.status == "ok", run.failure
    assert_comparable(run)
    verdicts = run.frame("what_holds")["verdict"].str.split(":").str[0]
    assert len(verdicts) >= 4 and set(verdicts) <= {"holds", "does not hold", "cannot tell"}
    assert run.headline.n > 0


def test_topics_of_a_profile_are_enough_for_a_verdict():
    profiles = yaml.safe_load((ROOT / "studies/cultural_alignment.yaml").read_text())["profiles"]
    assert profiles["quick"]["opinion_distributions"]["topics"] >= FEWEST_UNITS


def test_shares_have_intervals_within_their_range(executed):
    run = executed("opinion_distributions")
    for name in ("alignment", "baselines", "emotions", "open_mean"):
        table = run.frame(name).set_index("mean")
        assert table["low"].dropna().between(0, 1).all() and table["high"].dropna().between(0, 1).all()
    never = run.frame("open_mean").set_index("metric").loc["refused"]
    assert (never["mean"], never["low"], never["n"]) == (0, 0, 2) and 0 < never["high"] < 1
    one = run.frame("one_answer").set_index("metric").loc["one_answer"]
    assert 0 <= one["low"] < one["high"] <= 1
    bbq = executed("national_bias").frame("bbq")
    ends = bbq[["low", "high"]].abs().to_numpy()
    assert ends[~pd.isna(ends)].max() <= 1


def test_alignment_is_compared_with_uniform_answers_item_by_item(executed):
    run = executed("opinion_distributions")
    found = run.frame("alignment").query("kind == 'js'").pivot(index="group", columns="reading", values="mean")
    gap = (found["orders averaged"] - found["uniform"]).round(3)
    said = run.frame("against_uniform").set_index("group")["against uniform"]
    for group, value in gap.items():
        assert f"({value + 0.0:g} ".replace("-", "\u2212") in said[group] and said[group].endswith("against 0)")


def test_answers_without_content_are_the_baseline_of_the_worlds(executed):
    table = executed("opinion_distributions").frame("worlds").drop_duplicates("metric").set_index("metric")
    assert table.loc["diversity", "uniform"] == pytest.approx(0.976, abs=5e-4)
    assert 1 / 9 < table.loc["top_share", "uniform"] < 1 / 3


def test_thresholds_and_controls_of_our_own_are_no_papers_statement(executed):
    found = executed("opinion_distributions").frame("what_holds").set_index("claim")["source"]
    for start in ("The favoured answer", "Opinion items", "Asking for many worldviews", "Free text and"):
        assert found[found.index.str.startswith(start)].str.startswith("this notebook").any(), start
    assert found[found.index.str.startswith("Pooled over")].str.endswith("by construction").all()


def test_the_survey_in_the_docs_runs(executed, tmp_path):
    page = (ROOT / "docs/cultural_alignment.md").read_text()
    blocks = {b.split(",")[0] + str(b.count("share")): b for b in re.findall(r"(?m)(?:^    [^\n]*,[^\n]*\n)+", page)}
    for name, start in (("items", "    id0"), ("shares", "    item1"), ("personas_file", "    name0")):
        (tmp_path / f"{name}.csv").write_text(re.sub(r"(?m)^    ", "", blocks[start]), encoding="utf-8")
    given = {"instrument": str(tmp_path / "items.csv"), "shares": str(tmp_path / "shares.csv")}
    run = executed("robustness", {**given, "personas_file": str(tmp_path / "personas_file.csv")})
    assert run.status == "ok", run.failure
    assert list(run.frame("personas")["persona"]) == ["Women", "Men"]
    run = executed("opinion_distributions", {**given, "n_emotions": 6, "open_items": 0, "topics": 1})
    assert run.status == "ok", run.failure


def test_planted_respondents_are_recovered_in_the_notebook(executed):
    table = executed("robustness").frame("stability")
    planted = table[table["respondent"].str.startswith("planted")].set_index(["respondent", "contrast"])["mean_abs"]
    assert planted["planted: fixed opinions"].max() == pytest.approx(0, abs=1e-12)
    assert planted["planted: first position"]["direction: ascending to descending"] == pytest.approx(1)


def test_other_models_are_compared_with_the_first(executed, tmp_path):
    other = tmp_path / "other"
    tiny.network(context=4096, seed=1).save_pretrained(other)
    tiny.byte_tokenizer().save_pretrained(other)
    run = executed("robustness", {**SMALL["robustness"], "more_scales": True, "other_models": [str(other)]})
    assert run.status == "ok", run.failure
    noted = run.facts["other_models"]
    assert set(noted) == {str(other)} and noted[str(other)] != run.facts["model"]
    assert run.frame("models")["model"].nunique() == 2 and len(run.frame("signs")) == 3
    (claim,) = run.frame("what_holds").query("claim.str.contains('same direction')").to_dict("records")
    assert claim["n"] == 3 and 0 <= claim["low"] <= claim["high"] <= 1


def test_clusters_are_tested_against_noise_in_the_notebook(executed):
    run = executed("robustness")
    found = run.frame("ari_curve")
    assert set(found["size"]) == {1, 2, 3, 4, 5} and (found["draws"] == 99).all() and (found["p"] >= 1 / 100).all()
    claim = run.frame("what_holds").query("claim.str.startswith('Half of the dimensions')").iloc[0]
    half = found[(found["size"] == 3) & (found["profile"] == "the model's personas")].iloc[0]
    assert f"p = {half['p']:.3f}" in claim["claim"] and claim["low"] == pytest.approx(half["excess_low"])


def test_a_map_needs_the_six_dimensions(executed, tmp_path):
    run = executed(
        "cultural_map", {"instrument": write_survey(tmp_path, COUNTRIES)["instrument"], "countries": COUNTRIES}
    )
    assert run.status == "failed" and "the map needs items on PDI" in run.failure.message


def write_survey(tmp_path, groups):
    items = tmp_path / "mine.csv"
    items.write_text(ITEMS, encoding="utf-8")
    ids = [line.split(",")[0] for line in ITEMS.splitlines()[1:]]
    rows = [
        {"item": item, "group": group, "option": k + 1, "share": share}
        for item in ids
        for n, group in enumerate(groups)
        for k, share in enumerate((0.1, 0.2, 0.4, 0.2, 0.1) if n % 2 else (0.4, 0.3, 0.1, 0.1, 0.1))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "shares.csv", index=False)
    return {"instrument": str(items), "shares": str(tmp_path / "shares.csv"), "per_dimension": None}


def test_a_users_survey_with_peoples_answers_runs(executed, tmp_path):
    given = {**write_survey(tmp_path, COUNTRIES), "countries": COUNTRIES, "more_scales": False}
    run = executed("robustness", given)
    assert run.status == "ok", run.failure
    assert run.facts["instrument"]["name"] == "mine"
    assert run.facts["prompts"]["chat"] and len(run.facts["prompts"]["sha256"]) == 64
    assert set(run.frame("variance")["n_countries"]) == {4}


@pytest.mark.parametrize(("notebook", "more"), [("robustness", {"more_scales": False}), ("opinion_distributions", {})])
def test_a_users_groups_have_personas_of_their_own(executed, tmp_path, notebook, more):
    groups = ["North", "South", "West", "Women"]
    texts = "".join(f"{group},You belong to the group {group}.\n" for group in groups)
    (tmp_path / "personas.csv").write_text(f"name,text\n{texts}", encoding="utf-8")
    given = {**write_survey(tmp_path, groups), "personas_file": str(tmp_path / "personas.csv"), **more}
    if notebook == "opinion_distributions":
        given |= {"n_emotions": 6, "open_items": 0, "topics": 1}
    run = executed(notebook, given)
    assert run.status == "ok", run.failure
    table = run.frame("alignment" if notebook == "robustness" else "personas")
    assert list(table.index) == ["no persona", *groups, "position only", "uniform answers", "people with people"]
    assert table[groups].notna().all(axis=None)


def test_a_base_model_and_moral_items_have_their_tables(executed, tmp_path):
    scale = "none|hardly|little|some|much|most"
    rows = "".join(f"{f}{i},Whether {f} counts {i}.,{f},{scale}\n" for f in ("care", "loyalty") for i in (1, 2))
    (tmp_path / "morals.csv").write_text(f"id,text,dimension,scale\n{rows}", encoding="utf-8")
    base = tmp_path / "base"
    tiny.network(context=4096, seed=1).save_pretrained(base)
    tiny.byte_tokenizer().save_pretrained(base)
    given = {
        **SMALL["opinion_distributions"],
        "open_items": 0,
        "base_model": str(base),
        "mfq": str(tmp_path / "morals.csv"),
    }
    run = executed("opinion_distributions", given)
    assert run.status == "ok", run.failure
    twins = run.frame("twins")
    assert set(twins["metric"]) == {"similarity", "mass", "p_max"}
    plain = {f"{when}, {how}" for when in ("before", "after") for how in ("one order", "orders averaged")}
    assert plain < set(twins["reading"]) and "after, chat template, orders averaged" in set(twins["reading"])
    mean = twins[twins["metric"] == "similarity"].set_index("reading")["mean"]
    gap = run.frame("what_holds").query("claim.str.contains('alignment with people is higher')")["estimate"]
    assert gap.item() == pytest.approx(mean["before, orders averaged"] - mean["after, orders averaged"])
    assert run.facts["base_model"] and run.facts["base_model"] != run.facts["model"]
    assert run.frame("what_holds")["claim"].str.startswith("Before post-training").sum() == 2
    assert set(run.frame("foundations")["persona"]) == {"none", "left", "right"}
    assert set(run.frame("foundations_gap")["dimension"]) == {"care", "loyalty"}
    assert run.frame("self_placement").loc["mean of both", ["left", "middle", "right"]].sum() == pytest.approx(1)
    worlds = run.frame("worlds")
    assert set(worlds["condition"]) == {"plain", "plural", "listed", "agents", "agents, pooled"}
    assert worlds[worlds["metric"] == "diversity"]["mean"].between(0, 1).all()


def test_a_survey_of_two_groups_runs(executed, tmp_path):
    groups = ["Women", "Men"]
    (tmp_path / "personas.csv").write_text("name,text\nWomen,You are a woman.\nMen,You are a man.\n", encoding="utf-8")
    given = {**write_survey(tmp_path, groups), "personas_file": str(tmp_path / "personas.csv"), "more_scales": False}
    run = executed("robustness", given)
    assert run.status == "ok", run.failure
    assert len(run.frame("personas")) == 2


def test_real_people_of_several_countries_are_compared_with_the_west(executed, tmp_path):
    wave = tmp_path / "human_resp" / "American_Trends_Panel_W1"
    wave.mkdir(parents=True)
    keys, options = [f"Q{i}_W1" for i in range(3)], ["Good", "Fair", "Bad", "Refused"]
    info = [
        {"key": k, "question": f"How is {k}?", "references": str(options), "option_ordinal": "[3, 2, 1]"} for k in keys
    ]
    pd.DataFrame(info).to_csv(wave / "info.csv")
    people = [
        {"COUNTRY": group, "WEIGHT_W1": 1.0, **{k: options[(person + i) % 4] for i, k in enumerate(keys)}}
        for group in ("Germany", "Greece", "Japan", "Kenya")
        for person in range(8)
    ]
    pd.DataFrame(people).to_csv(wave / "responses.csv", index=False)
    given = {**SMALL["opinion_distributions"], "open_items": 0, "topics": 1, "opinion_sets": [f"{tmp_path}:COUNTRY"]}
    run = executed("opinion_distributions", given)
    assert run.status == "ok", run.failure
    assert set(run.frame("groups").index) == {"Germany", "Greece", "Japan", "Kenya"}
    (caption,) = [each.caption for each in run.tables if each.name == "groups"]
    assert "Western Europe: Germany, Greece; others: Japan, Kenya" in caption
    (claim,) = run.frame("what_holds").query("claim.str.startswith('North America')").to_dict("records")
    assert claim["source"].startswith("this notebook") and claim["n"] == 3
    assert claim["estimate"] == pytest.approx(0)  # all countries answered alike


def test_groups_without_personas_still_have_an_alignment(executed, tmp_path):
    given = {**write_survey(tmp_path, ["North", "South"]), "n_emotions": 6, "open_items": 0, "topics": 1}
    run = executed("opinion_distributions", given)
    assert run.status == "ok", run.failure
    assert list(run.frame("personas").index) == ["no persona", "position only", "uniform answers", "people with people"]


def test_a_survey_without_people_is_tested_for_stability(executed, tmp_path):
    given = {**write_survey(tmp_path, COUNTRIES), "shares": None, "countries": COUNTRIES, "more_scales": False}
    run = executed("robustness", given)
    assert run.status == "ok", run.failure
    assert len(run.frame("stability")) and not run.frame("what_holds")["claim"].str.contains("own group").any()


def test_groups_without_personas_are_refused_before_the_first_question(executed, tmp_path):
    run = executed("robustness", {**write_survey(tmp_path, ["North", "South"]), "more_scales": False})
    assert run.status == "failed" and "personas_file=" in run.failure.message


def test_every_value_benchmark_of_a_user_runs(executed, tmp_path):
    labels, values = ("yes", "no", "neutral"), ("Altruism", "Justice")
    records = {
        "normad": [
            {"Country": "x", "Value": f"V {i}.", "Rule-of-Thumb": f"R {i}.", "Story": f"S {i}.", "Gold Label": label}
            for i, label in enumerate(labels)
        ],
        "nurvalues": [{"Nursing_Value": v, "Alignment": i, "text_EN": f"Nurse {i}."} for i, v in enumerate(values)],
        "cdeval": [
            {"Dimension": d, "Domain": "work", "Question": f"Who, {d}?", "Option 1": "One.", "Option 2": "All."}
            for d in ("PDI", "IDV")
        ],
        "cultural_bench": [
            {
                "prompt_question": f"What {k}?",
                "answer": k,
                "country": "x",
                **{f"prompt_option_{o}": o * 3 for o in "abcd"},
            }
            for k in "AB"
        ],
        "pacifaist": [
            {
                "task_type": "multiple_choice",
                "prompt": f"Which {k}?",
                "choice_a": "Off.",
                "choice_b": "On.",
                "correct_choice": k,
                "subcategory": "EP1",
            }
            for k in "AB"
        ],
    }
    for name, rows in records.items():
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    choices = [f"{name}={tmp_path / name}.csv" for name in records]
    run = executed("national_bias", {"n": 12, "n_sentences": 12, "choices": choices})
    assert run.status == "ok", run.failure
    assert len(run.frame("normad_labels")) == 5 and set(run.frame("normad_labels")["n"]) == {3}
    assert any("normad" in claim for claim in run.frame("what_holds")["claim"])
    for name in records:
        assert run.frame(name)["mean"].between(0, 1).all()
    assert run.frame("pacifaist_constant")["best_constant"].unique().tolist() == [0.5]
    assert set(run.frame("cdeval_groups")["group"]) == {"PDI", "IDV"}


def test_a_hub_set_is_read_at_the_commit_that_is_named_before_anything_else(executed, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = executed("national_bias", {"n": 12, "n_sentences": 12, "choices": ["cdeval@" + "a" * 40]})
    assert run.status == "failed" and "Rykeryuhang/CDEval@aaaaaaaaaaaa" in run.failure.message
    run = executed("national_bias", {"n": 12, "n_sentences": 12, "choices": ["cdeval"]})
    assert run.status == "failed" and "Rykeryuhang/CDEval@17035f584e96" in run.failure.message  # the pinned commit
    assert not run.tables


def test_regions_show_accuracy_abstention_and_bias(executed):
    regions = executed("national_bias").frame("regions")
    assert set(regions["metric"]) == {"accuracy", "abstains", "bias"}
    assert set(regions["condition"]) <= {"ambiguous", "disambiguated"} and (regions["n"] > 0).all()
