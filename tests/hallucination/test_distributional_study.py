"""What the notebook on distributional correctness computes, on respondents whose beliefs are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.hallucination import distributional_correctness as dc
from workbench.planted import planted_answers
from workbench.questions import Option, Question, Questions

PHRASES = ["I don't know.", "Unsure"]
BENCHMARKS = ("one", "two")
N = 8


def questions(benchmark: str) -> Questions:
    """Eight questions with four options and both abstention phrases; in `two` pairs come from one template."""
    made = []
    for i in range(N):
        options = [Option(" right", "correct"), *(Option(f" wrong {k}", "wrong") for k in range(3))]
        options += [Option(f" {phrase}", "abstain") for phrase in PHRASES]
        tags = {"benchmark": benchmark, "template": f"t{i // 2}" if benchmark == "two" else None}
        made.append(Question(f"{benchmark}, question {i}?", tuple(options), tags, id=f"{benchmark} {i}"))
    return Questions(made)


def answers(correct, wrong, phrases=(0.1, 0.1), vary=0.0) -> list[pd.DataFrame]:
    """One table per benchmark: probability of the correct option, of the wrong ones together, of each phrase.

    Where they vary, they do so from question to question, and the last question of each benchmark is answered wrongly.
    """

    def respond(question: Question) -> np.ndarray:
        number = int(question.id.split()[1])
        shift = vary * (number % 3 - 1)
        p = np.array([correct + shift, *[(wrong - shift) / 3] * 3, phrases[0] * (1 + shift), phrases[1]])
        if vary and number == N - 1:
            p[[0, 1]] = p[[1, 0]]
        return p / p.sum()

    return [planted_answers(questions(name), respond) for name in BENCHMARKS]


def test_each_phrase_is_read_alone_with_and_without_the_instruction():
    found = dc.by_phrase(answers(0.6, 0.2), answers(0.7, 0.1, (0.2, 0.0001)), PHRASES)
    assert list(found) == [(phrase, how) for phrase in PHRASES for how in ("instruction", "none")]
    assert {len(table) for table in found.values()} == {2 * N * 5}
    scored = dc.read(found[PHRASES[0], "instruction"])
    assert scored["p_abstain"].to_numpy() == pytest.approx(0.1 / 0.9)
    table = dc.phrases(found).set_index(["metric", "phrase", "instructed"])["mean"]
    assert table["p_abstain", PHRASES[0], "none"] == pytest.approx(0.2)
    assert table["p_abstain", PHRASES[1], "none"] == pytest.approx(0.0001 / 0.8001)


def test_scores_of_a_known_belief():
    scored = dc.read(dc.by_phrase(answers(0.6, 0.2), answers(0.6, 0.2), PHRASES)[PHRASES[0], "instruction"])
    right, wrong, silent = 6 / 9, 2 / 9, 1 / 9
    assert scored["dcs"].to_numpy() == pytest.approx((right - wrong) * (1 - silent))
    assert scored["CWA"].to_numpy() == pytest.approx(right)
    assert (scored["forced"] == 1).all() and (scored["chance"] == 0.25).all()
    assert scored["cluster"].nunique() == N + N // 2
    means = dc.means(scored)
    assert list(means.columns) == ["n", *dc.JUDGED] and means.index.tolist() == list(BENCHMARKS)
    assert means.loc["one", "uniform"] == pytest.approx((1 - 3) / 5 * 4 / 5)
    items = dc.items(scored, [questions(name) for name in BENCHMARKS])
    metrics = items.select_dtypes("number").columns
    assert list(metrics)[:2] == ["dcs", "forced"] and items["question"].iloc[0] == "one, question 0?"
    mass = dc.probability(scored)
    assert mass["mass"].to_numpy() == pytest.approx(0.9) and (mass["low_mass"] == 0).all()


def test_certain_abstention_scores_0_exactly():
    (table,) = (pd.concat(answers(0.0, 3e-17, (1.0, 0.0))),)
    scored = dc.read(dc.keep_abstentions(table.reset_index(drop=True), PHRASES[0], PHRASES))
    assert (scored["dcs"] == 0).all()


def test_one_number_has_one_interval():
    main = dc.by_phrase(answers(0.5, 0.3, vary=0.1), answers(0.5, 0.3), PHRASES)[PHRASES[0], "instruction"]
    scored = dc.read(main)
    summary = dc.summary(scored).set_index(["benchmark", "metric"])
    assert summary.loc[("one", "accuracy"), "method"] == summary.loc[("one", "forced"), "method"] == "wilson"
    by_normalisation = dc.conventions(main).query("normalisation == 'none'").set_index(["benchmark", "metric"])
    ends = ["mean", "low", "high"]
    for metric in ("accuracy", "dcs", "skill"):
        key = ("two", metric)
        assert by_normalisation.loc[key, ends].tolist() == pytest.approx(summary.loc[key, ends].tolist())
    assert summary.loc[("two", "dcs"), "n_clusters"] == N // 2
    curve = dc.conventions(main).query("metric == 'skill' and benchmark == 'one'").set_index("normalisation")["mean"]
    assert curve["none"] == pytest.approx(curve["tokens"])  # one token an option
    assert curve["chars"] < curve["none"]  # a high temperature


def run(instructed, plain):
    readings = dc.by_phrase(instructed, plain, PHRASES)
    scored = dc.read(readings[PHRASES[0], "instruction"])
    overall = dc.overall(scored)
    effect = dc.instruction_effect(scored, dc.read(readings[PHRASES[0], "none"]))
    claims = dc.findings(scored, overall, effect)
    return scored, overall, effect, [None if claim is None else claim.verdict.split(":")[0] for claim in claims]


def test_a_knowing_respondent_is_distinguished_from_chance_and_abstention():
    scored, overall, effect, verdicts = run(
        answers(0.7, 0.1, (0.2, 0.1), vary=0.05), answers(0.7, 0.1, (0.02, 0.1), vary=0.05)
    )
    assert verdicts[0] == verdicts[1] == verdicts[2] == verdicts[5] == "holds"
    assert verdicts[4] == "does not hold"
    assert overall.loc["above_chance", "mean"] == pytest.approx(7 / 8 - 1 / 4)
    assert overall.loc["above_trivial", "mean"] == overall.loc["dcs", "mean"]  # a uniform guess is below silence
    change = effect.set_index("metric").loc["p_abstain"]
    assert change["with"] == pytest.approx(0.2, abs=0.01) and change["difference"] == pytest.approx(
        change["with"] - change["without"]
    )
    said = dc.against_chance(dc.summary(scored), dc.means(scored))
    assert said.index.tolist() == list(BENCHMARKS) and "only 4 units" in said.loc["two", "DCS against abstention"]
    assert said["forced accuracy against chance"].str.startswith("above chance").tolist() == [True, False]


def test_what_a_coin_does_wrong_is_no_finding():
    """A uniform guess is below 0 on every benchmark: the claims about models stay undecided, with the reason."""
    coin = answers(0.2, 0.6, (0.2, 0.2))
    verdicts = run(coin, coin)[3]
    assert verdicts[3] == verdicts[4] == "cannot tell"


def test_without_four_options_one_claim_is_not_tested():
    scored, overall, effect, _ = run(answers(0.7, 0.1, vary=0.05), answers(0.7, 0.1))
    assert dc.findings(scored.assign(n_options=3), overall, effect)[4] is None


def test_confidence_targets_and_loadings():
    main = dc.by_phrase(answers(0.6, 0.2), answers(0.6, 0.2), PHRASES)[PHRASES[0], "instruction"]
    forced = dc.forced_answers(main)
    assert forced["answer_confidence"].to_numpy() == pytest.approx(0.75)
    targets = dc.confidence_targets(forced).set_index("t")["mean"]
    assert targets.tolist() == [1, 1, 1, 0, 0]  # silent where the target is not exceeded
    sweep = dc.loadings(main).set_index(["metric", "loading"])["mean"]
    assert sweep["dcs", 0.5] == pytest.approx((6 / 9 - 0.5 * 2 / 9) * 8 / 9)
    assert sweep["abstention_is_penalised", 0.25] == 1 and sweep["abstention_is_penalised", 1.0] == 0


def test_figures_say_what_they_show():
    instructed = answers(0.5, 0.3, vary=0.1)
    readings = dc.by_phrase(instructed, instructed, PHRASES)
    main = readings[PHRASES[0], "instruction"]
    scored, forced = dc.read(main), dc.forced_answers(main)
    drawn = [
        dc.draw_by_benchmark(dc.summary(scored), dc.means(scored)),
        dc.draw_simplex(scored),
        dc.draw_conventions(dc.conventions(main)),
        dc.draw_phrases(dc.phrases(readings)),
        dc.draw_confidence_targets(dc.confidence_targets(forced)),
        dc.draw_loadings(dc.loadings(main)),
        dc.draw_risk_coverage(forced),
        dc.draw_reliability(forced),
    ]
    assert all(len(figure.get_label()) > 40 for figure in drawn)
