"""The cultural alignment notebooks, end to end with a few items on a tiny random model: chance, and fast."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.runs import execute, plan

pytestmark = [pytest.mark.notebook, pytest.mark.model]
COUNTRIES = ["U.S.A.", "China", "Japan", "Sweden"]
SMALL = {
    "robustness": {"per_dimension": 2, "countries": COUNTRIES, "more_scales": False},
    "opinion_distributions": {"per_dimension": 2, "countries": COUNTRIES, "n_emotions": 6, "open_items": 1},
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
def executed(tmp_path_factory):
    import tiny

    done, model = {}, tmp_path_factory.mktemp("model")
    tiny.network(context=4096).save_pretrained(model)
    tiny.byte_tokenizer().save_pretrained(model)

    def run(notebook, given=None):
        key = (notebook, str(given))
        if key not in done:
            (planned,) = plan(
                "cultural_alignment", "quick", {"model": str(model), **(given or SMALL[notebook])}, notebook=notebook
            )
            done[key] = execute(planned, tmp_path_factory.mktemp("outputs"))
        return done[key]

    return run


@pytest.mark.parametrize("notebook", SMALL)
def test_the_notebook_runs_and_gives_verdicts(executed, notebook):
    run = executed(notebook)
    assert run.status == "ok", run.failure
    verdicts = run.table("what_holds")["verdict"].str.split(":").str[0]
    assert len(verdicts) >= 4 and set(verdicts) <= {"holds", "does not hold", "cannot tell"}
    assert run.headline.n > 0


def test_planted_respondents_are_found_in_the_notebook(executed):
    table = executed("robustness").table("stability")
    planted = table[table["respondent"].str.startswith("planted")].set_index(["respondent", "contrast"])["mean_abs"]
    assert planted["planted: holds opinions"].max() == pytest.approx(0, abs=1e-12)
    assert planted["planted: first slot"]["direction: ascending to descending"] == pytest.approx(1)


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
    assert set(run.table("variance")["n_countries"]) == {4}


@pytest.mark.parametrize(("notebook", "more"), [("robustness", {"more_scales": False}), ("opinion_distributions", {})])
def test_a_users_groups_have_personas_of_their_own(executed, tmp_path, notebook, more):
    groups = ["North", "South", "West", "Women"]
    texts = "".join(f"{group},You belong to the group {group}.\n" for group in groups)
    (tmp_path / "personas.csv").write_text(f"name,text\n{texts}", encoding="utf-8")
    given = {**write_survey(tmp_path, groups), "personas_file": str(tmp_path / "personas.csv"), **more}
    if notebook == "opinion_distributions":
        given |= {"n_emotions": 6, "open_items": 0}
    run = executed(notebook, given)
    assert run.status == "ok", run.failure
    table = run.table("alignment" if notebook == "robustness" else "personas")
    assert list(table.index) == ["no persona", *groups, "position only", "uniform answers", "people with people"]
    assert table[groups].notna().all(axis=None)


def test_groups_without_personas_still_have_an_alignment(executed, tmp_path):
    given = {**write_survey(tmp_path, ["North", "South"]), "n_emotions": 6, "open_items": 0}
    run = executed("opinion_distributions", given)
    assert run.status == "ok", run.failure
    assert list(run.table("personas").index) == ["no persona", "position only", "uniform answers", "people with people"]


def test_a_survey_without_people_is_tested_for_stability(executed, tmp_path):
    given = {**write_survey(tmp_path, COUNTRIES), "shares": None, "countries": COUNTRIES, "more_scales": False}
    run = executed("robustness", given)
    assert run.status == "ok", run.failure
    assert len(run.table("stability")) and not run.table("what_holds")["claim"].str.contains("own group").any()


def test_groups_without_personas_are_refused_before_anything_is_asked(executed, tmp_path):
    run = executed("robustness", {**write_survey(tmp_path, ["North", "South"]), "more_scales": False})
    assert run.status == "failed" and "personas_file=" in run.failure.message


def test_a_benchmark_a_user_brings_climbs_its_ladder(executed, tmp_path):
    stories = [
        {
            "Country": "nowhere",
            "Value": f"Value {i}.",
            "Rule-of-Thumb": f"Rule {i}.",
            "Story": f"Story {i}.",
            "Gold Label": g,
        }
        for i, g in enumerate(("yes", "no", "neutral"))
    ]
    pd.DataFrame(stories).to_csv(tmp_path / "stories.csv", index=False)
    choices = [f"normad={tmp_path / 'stories.csv'}"]
    run = executed("national_bias", {"n": 12, "n_sentences": 12, "choices": choices})
    assert run.status == "ok", run.failure
    assert len(run.table("normad_labels")) == 5 and set(run.table("normad_labels")["n"]) == {3}
    assert any("normad" in claim for claim in run.table("what_holds")["claim"])
