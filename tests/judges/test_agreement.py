"""Agreement notebook: planted judges and made-up marks."""

import numpy as np
import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.judges import agreement, planted
from workbench.judges.cases import Case, Cases
from workbench.judges.prompts import load_template, pointwise
from workbench.judges.sources import load_cases

GRADED = load_cases("graded_answers", n=8)
PAIRS = Cases([Case(f"Q{k}?", ("right", "wrong, and longer"), (1.0, 0.0)) for k in range(8)], marks="my choices")
PAIR = load_template("pair")


def study_of(cases=GRADED, panel=("score", "correct"), scale=None, sets=None):
    panel = map(load_template, panel)
    return agreement.study("model", cases, sets or {"pairs": PAIRS}, panel, PAIR, scale, True)


def answered(study, name):
    """Answers of one planted judge to all questions; each set has its own scale."""
    parts = [(study.marking(), study.scale)]
    parts += [(study.comparing(k) + study.yes(k), cases.ends) for k, cases in study.sets.items()]
    return pd.concat([planted.answers(planted.judge(name, human=ends), questions) for questions, ends in parts])


def likely(study, gain):
    return {
        name: pd.DataFrame(
            [
                {"question_id": q.id, "case": q.tags["case"], "option": i, "logprob": gain * option.value}
                for q in questions
                for i, option in enumerate(q.options)
            ]
        ).assign(logprob_unconditional=0.0, n_tokens=1)
        for name, questions in study.likely().items()
    }


@pytest.fixture(scope="module")
def oracle():
    study = study_of()
    answers = answered(study, "oracle")
    return study, answers, agreement.panels(study, answers)


def test_a_panel_is_of_templates_the_cases_can_fill():
    panel, bare = ["score", "rubric", "reference"], Cases([Case("Q?", ("a", "b"), (1.0, 2.0))])
    assert [form.name for form in study_of(panel=panel).forms] == panel
    assert [form.name for form in study_of(bare, panel).forms] == ["score"]


def test_marks_beyond_their_scale_and_no_marks_are_refused():
    with pytest.raises(InputError, match=r"range from 1 to 5, beyond scale=\[0, 3\]"):
        study_of(scale=[0, 3])
    with pytest.raises(InputError, match="has no scores"):
        study_of(Cases([Case("Q?", ("a", "b"))]))
    assert study_of(scale=[7, 0]).scale == (0, 7) and study_of(scale=[0, 7]).span == "scale 0 to 7"
    assert study_of().scale == (1, 5) and "lowest and highest mark" in study_of().span


def test_marks_of_every_prompt_are_on_the_scale_of_the_given_ones(oracle):
    study, answers, panels = oracle
    assert list(panels) == ["model", "oracle", "longer"] and list(panels["oracle"]) == [agreement.PANEL]
    marks = panels["model"]
    assert list(marks) == ["correct Yes/No", "score 1-5", "checklist", agreement.PANEL]
    assert marks["score 1-5"] == pytest.approx(GRADED.scores, abs=0.05)
    assert marks[agreement.PANEL] == pytest.approx(np.mean([marks[k] for k in list(marks)[:3]], axis=0))
    assert set(agreement.marking(study, answers).prompts) == {"correct Yes/No", "score 1-5", "checklist Yes/No"}
    items = agreement.mark_errors(study, panels)
    assert items["absolute error"].max() < 0.3 and set(items["question_id"]) == set(GRADED.ids)


def test_an_oracle_agrees_and_length_does_not(oracle):
    study, _, panels = oracle
    marks = agreement.mark_agreement(study, panels, seed=0, draws=9)
    means, main = (
        marks.set_index(["judge", "prompt", "measure"])["mean"].sort_index(),
        agreement.main_mark(study, marks),
    )
    assert means["model", "score 1-5"].to_numpy() == pytest.approx([1, 1, 1, 1], abs=0.01)
    assert means["longer", agreement.PANEL, "Spearman"] < means["model", agreement.PANEL, "Spearman"] == main["mean"]
    assert main["n_clusters"] == len(GRADED)


def test_levels_are_sources_if_every_case_has_them(oracle):
    study, _, panels = oracle
    levels = agreement.icc_by_level(study, panels, seed=0, draws=9).set_index(["judge", "prompt", "statistic"])
    assert levels.loc[("model", "score 1-5", "ICC(A,1)"), "mean"] == pytest.approx(1, abs=0.01)
    assert levels.loc[("model", "score 1-5", "bias"), "mean"] == pytest.approx(0, abs=0.02)
    assert agreement.draw_levels(levels.reset_index()).get_label()
    uneven = study_of(Cases([Case("Q?", ("a", "b"), (1.0, 2.0)), Case("R?", ("a", "b"), (1.0, 3.0))]))
    none = agreement.icc_by_level(uneven, agreement.panels(uneven, answered(uneven, "oracle")), seed=0, draws=9)
    assert none.empty and "each level" in none.attrs["reason"] and agreement.draw_levels(none) is None


def test_raters_are_human_if_there_are_several(oracle):
    study, _, panels = oracle
    made = agreement.raters(study, seed=0)
    assert made.marks.shape == (5, GRADED.scores.size) and made.one == "a planted rater"
    assert made.marks.min() >= 1 and made.marks.max() <= 5
    two = Cases([Case(f"Q{k}?", ("a", "b"), ratings=((4.0, 5.0), (1.0, 2.0))) for k in range(3)])
    human = agreement.raters(study_of(two), seed=0)
    assert human.name == "2 raters" and human.marks.tolist() == [[4, 1] * 3, [5, 2] * 3]
    replaced = agreement.replacements(panels, made)
    assert len(replaced) == 3 * 7 and (replaced["n"] == GRADED.scores.size).all()
    changes = agreement.mean_changes(study, panels, made, seed=0, draws=9).set_index("judge")
    assert changes.loc["longer", "mean"] < -0.1 < changes.loc["oracle", "mean"]
    longer = replaced[(replaced["judge"] == "longer") & replaced["replaced"].str.startswith("rater ")]
    assert changes.loc["longer", "mean"] == pytest.approx(longer["change"].mean())


def test_doubt_is_of_prompts_with_five_levels(oracle):
    study, answers, _ = oracle
    raters = agreement.raters(study, seed=0)
    doubt = agreement.uncertainty(study, agreement.marking(study, answers), raters).set_index(["prompt", "metric"])
    assert set(doubt.index.get_level_values(0)) == {"score 1-5"}
    assert doubt.loc[("score 1-5", "gain"), "mean"] > 0.5
    gain = doubt["mean"]["score 1-5", "w1_uniform"] - doubt["mean"]["score 1-5", "w1"]
    assert doubt["mean"]["score 1-5", "gain"] == pytest.approx(gain)
    bare = study_of(panel=("correct",))
    none = agreement.uncertainty(bare, agreement.marking(bare, answered(bare, "oracle")), raters)
    assert none.empty and "five levels" in none.attrs["reason"]
    assert set(none.columns) <= {*doubt.columns, *doubt.index.names}


def test_the_better_answer_is_selected_by_each_scorer(oracle, monkeypatch):
    study, answers, _ = oracle
    assert study.yes("pairs") == pointwise(PAIRS, load_template("correct"), True)
    compared = agreement.comparisons(study, answers)
    better = agreement.selection_accuracy(study, answers, compared, likely(study, -1.0)).set_index("judge")
    assert better["mean"].to_dict() == {"comparison": 1, "P(Yes)": 1, "pmi": 0, "longer": 0}
    assert better.loc["pmi", "against chance"].startswith("below chance")
    assert agreement.chance_by_set(study, compared)["against chance"].iloc[0].startswith("better than chance")
    pooled, jury = [], agreement.jury
    monkeypatch.setattr(agreement, "jury", lambda p, how: pooled.append((how, p.shape)) or jury(p, how))
    jury = agreement.jury_table(study, compared).set_index("judge")["mean"]
    assert pooled == [(how, (4, len(PAIRS) * 2 * 2, 3)) for how in ("mean", "logit", "vote")]
    assert list(jury.index[:4]) == ["model", "noisy", "longer", "first"]
    assert list(jury.index[4:]) == ["jury (mean)", "jury (logit)", "jury (vote)"]
    assert jury["model"] == 1 and jury["longer"] == 0 and jury["first"] == 0.5


@pytest.mark.parametrize(
    ("spread", "ranks", "replaces"), [(2.0, "holds", "holds"), (50.0, "cannot tell", "do not correlate")]
)
def test_findings_are_undecided_for_a_judge_that_does_not_rank(spread, ranks, replaces, oracle):
    study, answers, _ = oracle
    noise = np.random.default_rng(0).normal(0, spread, GRADED.scores.shape)
    panels, raters = {"model": {agreement.PANEL: GRADED.scores + noise}}, agreement.raters(study, seed=0)
    marks, errors = agreement.mark_agreement(study, panels, 0, 49), agreement.mark_errors(study, panels)
    better = agreement.selection_accuracy(study, answers, agreement.comparisons(study, answers), likely(study, 1.0))
    changes = agreement.mean_changes(study, panels, raters, 0, 19)
    found = agreement.findings(study, marks, errors, changes, better, raters)
    assert len(found) == 5 and found[0].verdict.startswith(ranks) and replaces in found[1].verdict
    assert found[1].source.endswith("here planted") and found[4].claim.startswith(
        "Pairwise comparison agrees with my choices"
    )
    lenient = agreement.findings(study, marks, errors.assign(error=errors["error"] + 0.9), changes, better, raters)
    assert lenient[2].verdict.startswith(ranks) and found[2].verdict.startswith("cannot tell")
    assert lenient[2].n == GRADED.scores.size
    for drawn in (agreement.draw_marks(study, marks), agreement.draw_changes(changes), agreement.draw_better(better)):
        assert drawn.get_label()
