"""Templates, cases, questions, adapters of published schemas, and a user's own judge."""

import json
import math
import re
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from workbench.datasets.items import Unusable
from workbench.datasets.sources import Source, find, names_of, packages, registry
from workbench.errors import InputError
from workbench.judges import adapters
from workbench.judges.cases import Case
from workbench.judges.prompts import (
    after_reasoning,
    can_fill,
    checklist,
    likelihood,
    load_template,
    pairwise,
    pointwise,
    reasoning_prompts,
)
from workbench.judges.sources import PUBLISHED, load_cases
from workbench.questions import Message

CASE = Case("Which?", ("one", "three words here", "two"), (1.0, 3.0, 2.0), "three", "1: bad", ("Is it short?",) * 2)


def test_written_set_has_thirty_questions_with_five_levels():
    cases = load_cases("graded_answers")
    assert len(cases) == 30 and cases.scores.shape == (30, 5)
    assert (np.sort(cases.scores, axis=1) == np.arange(1, 6)).all()
    assert len({answer for case in cases for answer in case.answers}) == 150
    assert {case.tags["topic"] for case in cases} >= {"science", "arithmetic", "health"}


def test_written_answers_are_not_ordered_by_length():
    cases = load_cases("graded_answers")
    i, j = np.triu_indices(5, 1)
    better = np.sign(cases.scores[:, i] - cases.scores[:, j])
    longer = np.sign(cases.chars[:, i] - cases.chars[:, j])
    assert 0.4 < (better == longer).mean() < 0.65


def test_answers_are_shuffled_by_case():
    cases = load_cases("graded_answers")
    assert len({tuple(case.scores) for case in cases}) > 20
    again = load_cases("graded_answers")
    assert [case.answers for case in cases] == [case.answers for case in again]
    assert {c.id for c in load_cases("graded_answers", n=7)} <= {c.id for c in load_cases("graded_answers", n=9)}


@pytest.mark.parametrize("name", names_of("templates"))
def test_every_written_template_makes_questions(name):
    template = load_template(name)
    make = {"pointwise": pointwise, "pairwise": pairwise, "checklist": checklist}[template.kind]
    questions = make([CASE], template)
    assert len(questions) == {"pointwise": 3, "pairwise": 6, "checklist": 3}[template.kind]
    assert len({q.id for q in questions}) == len(questions)
    assert "{" not in questions[0].prompt_text
    assert {q.tags["case"] for q in questions} == {CASE.id}


def test_one_template_on_two_scales_shares_all_but_its_end():
    five, hundred = (pointwise([CASE], load_template("score", scale=(1, top)))[0] for top in (5, 100))
    assert len(five.options) == 5 and len(hundred.options) == 100
    a, b = five.prompt_text, hundred.prompt_text
    shared = next(k for k, (x, y) in enumerate(zip(a, b)) if x != y)
    assert shared > len(a) - 60


def test_both_orders_are_shown_with_their_answers():
    questions = pairwise([CASE], load_template("pair"))
    assert [(q.tags["first"], q.tags["second"]) for q in questions] == list(permutations(range(3), 2))
    q = next(q for q in questions if (q.tags["first"], q.tags["second"]) == (1, 0))
    assert "Answer A: three words here" in q.prompt_text and "Answer B: one" in q.prompt_text
    assert (q.tags["human_first"], q.tags["human_second"]) == (3.0, 1.0)


def test_text_in_answers_is_never_filled_in():
    case = Case("Q {answer_b}?", ("{question} {answer_b}", "plain"))
    text = pairwise([case], load_template("pair"))[0].prompt_text
    assert "Question: Q {answer_b}?" in text and "Answer A: {question} {answer_b}" in text


def test_blank_answers_are_graded_and_not_compared():
    case = Case("Q?", ("", "a", "b"))
    assert len(pointwise([case], load_template("score"))) == 3
    assert len(pairwise([case], load_template("pair"))) == 2


def test_requirements_have_a_polarity_and_repeated_ones_count_once():
    case = Case("Q?", ("a",), checklist=("Is it short?", "!Does it hold a mistake?", "Is it short?"))
    questions = checklist([case], load_template("checklist"))
    assert [q.tags["polarity"] for q in questions] == [1, -1]
    assert "Requirement: Does it hold" in questions[1].prompt_text


def test_a_template_needs_the_rubric_of_the_case():
    assert can_fill(load_template("rubric"), CASE) and not can_fill(load_template("rubric"), Case("Q", ("a",)))


def test_thoughts_come_before_the_cue():
    questions = pairwise([CASE], load_template("pair"))[:2]
    assert all(message.role == "user" for prompt in reasoning_prompts(questions) for message in prompt)
    thoughts = pd.DataFrame({"prompt": [0, 0, 1], "sample": [0, 1, 0], "text": [" First. ", "Second.", "Third."]})
    extended = after_reasoning(questions, thoughts)
    assert [q.tags["sample"] for q in extended] == [0, 1, 0] and len({q.id for q in extended}) == 3
    assert extended[1].prompt[-1] == Message("assistant", "Second.\nVerdict:")
    with pytest.raises(InputError, match="chat=True"):
        reasoning_prompts(pairwise([CASE], load_template("pair"), chat=False))


def test_a_users_own_template(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("kind: pairwise\nlabels: {one: 1, two: -1}\n---\n{answer_a} or {answer_b}?\n---\nI say")
    template = load_template(file)
    forms = [o.text for o in template.options() if o.value == 1]
    assert forms == [" one", "one", " One", "One", " ONE", "ONE"]
    assert [o.text for o in load_template("pair").options()] == [" A", "A", " B", "B", " C", "C"]
    assert load_template("pair", **{"1": 1.0, "2": -1.0}).labels == {"1": 1.0, "2": -1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: pairwise\n---\n{answer_a}", "three parts"),
        ("kind: duel\n---\nx\n---\ny", "three parts"),
        ("kind: pointwise\nscale: [1, 5]\n---\n{reply}\n---\ny", "placeholder"),
        ("kind: pointwise\nscale: [1, 5]\n---\n{question}\n---\ny", "needs the placeholder {answer}"),
        ("kind: pointwise\nscale: [5, 1]\n---\n{answer}\n---\ny", "lower first"),
        ("kind: pointwise\nscale: [1, 4.5]\n---\n{answer}\n---\ny", "whole numbers"),
        ("kind: pointwise\nlabels: {Yes: 1}\n---\n{answer}\n---\ny", "at least two labels"),
        ("kind: pairwise\nlabels: {A: 2, B: 1}\n---\n{answer_a}{answer_b}\n---\ny", "1, -1 and 0"),
        ("kind: pointwise\nlabels: {Good: 1, good: 0}\n---\n{answer}\n---\ny", "'Good' and 'good'"),
    ],
)
def test_errors_of_templates(tmp_path, text, message):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        load_template(tmp_path / "t.txt")


def test_errors_of_cases():
    for make, message in (
        (lambda: Case("Q", ()), "at least one answer"),
        (lambda: Case("Q", ("a",), (1.0, 2.0)), "one score per answer"),
        (lambda: load_template("pairs"), "Did you mean 'pair'"),
        (lambda: pointwise([CASE], load_template("pair")), "is pairwise, not pointwise"),
        (lambda: pointwise([Case("Q", ("a",))], load_template("reference")), "needs a reference"),
        (lambda: load_cases("graded_answer"), "Did you mean 'graded_answers'"),
        (lambda: load_cases("graded_answers", n=0), "not 0"),
        (lambda: load_cases("graded_answers", scale=(5, 1)), "no length"),
    ):
        with pytest.raises(InputError, match=message):
            make()


def test_users_answers_are_grouped_by_question(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("question,answer,score,model\nQ1,a,4,x\nQ1,b,,y\nQ2,c,1,x\n")
    cases = load_cases(file, scale=(1, 5))
    assert [len(case.answers) for case in cases] == [2, 1]
    assert sorted(cases[0].scores, key=math.isnan)[0] == 4
    assert cases.origin.revision.startswith("sha256:")


def test_marks_of_several_raters_are_between_bars(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("question,answer,score\nQ1,a,4|5|3\nQ1,b,2|1\nQ2,c,\n")
    cases = load_cases(file, scale=(1, 5))
    assert cases.ratings.shape == (3, 2, 2)
    by_answer = {a: (s, cases.ratings[:, 0, k]) for k, (a, s) in enumerate(zip(cases[0].answers, cases[0].scores))}
    assert by_answer["a"][0] == 4 and sorted(by_answer["a"][1]) == [3, 4, 5]
    assert by_answer["b"][0] == 1.5 and np.isnan(by_answer["b"][1][2])
    assert np.isnan(cases.scores[1]).all() and cases.ends == (1.5, 4.0)
    for wrong in ("4|x", "inf"):
        file.write_text(f"question,answer,score\nQ1,a,{wrong}\n")
        with pytest.raises(InputError, match=r"line 2: '(x|inf)' in column 'score' is not a number"):
            load_cases(file)


def test_users_pairs_and_bad_rows(tmp_path):
    file = tmp_path / "pairs.jsonl"
    row = {"question": "Q", "answer_a": "x", "answer_b": "y", "preferred": "B", "reference": "y"}
    file.write_text(json.dumps(row))
    case = load_cases(file)[0]
    assert dict(zip(case.answers, case.scores)) == {"x": 0.0, "y": 1.0} and case.reference == "y"
    other = tmp_path / "mine.csv"
    for text, message in (
        ("question,answer,score\nQ,a,7\n", "outside 1 to 5"),
        ("question,reply\nQ,a\n", "has the columns question, reply; use `answer`"),
    ):
        other.write_text(text)
        with pytest.raises(InputError, match=message):
            load_cases(other, scale=(1, 5))
    with pytest.raises(InputError, match="does not exist"):
        load_cases(tmp_path / "none.csv")


TURNS = [
    {"role": r, "content": t} for r, t in (("user", "u1"), ("assistant", "a1"), ("user", "u2"), ("assistant", "a2"))
]
OTHER = [{"role": m["role"], "content": m["content"].replace("a", "b")} for m in TURNS]
VOTE = {"question_id": 81, "turn": 2, "model_a": "m", "model_b": "n", "conversation_a": TURNS, "conversation_b": OTHER}
FLIPPED = VOTE | {"model_a": "n", "model_b": "m", "conversation_a": OTHER, "conversation_b": TURNS}
RECORDS = {
    "reward_bench": ({"prompt": "p", "chosen": "c", "rejected": "r", "subset": "chat"}, ("c", "r"), (1.0, 0.0)),
    "reward_bench_2": (
        {"id": "1", "prompt": "p", "chosen": ["c"], "rejected": ["r", "s", "t"], "num_correct": 1, "subset": "Math"},
        ("c", "r", "s", "t"),
        (1.0, 0.0, 0.0, 0.0),
    ),
    "judge_bench": (
        {"pair_id": "1", "question": "q", "response_A": "x", "response_B": "y", "label": "B>A", "source": "s"},
        ("x", "y"),
        (0.0, 1.0),
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_adapters_of_hub_pairs(name):
    record, answers, scores = RECORDS[name]
    case = find(name, "cases").adapter(record)
    assert (case.answers, case.scores) == (answers, scores)


def test_ties_of_reward_bench_2_are_left_out_and_say_why():
    record = {"prompt": "p", "chosen": ["c", "d"], "rejected": ["r"], "subset": "Ties"}
    with pytest.raises(Unusable, match="part Ties"):
        find("reward_bench_2", "cases").adapter(record)


@pytest.mark.parametrize("chat", [True, False])
def test_turns_of_helpsteer_are_a_dialogue(chat):
    prompt = "What is a fjord?\n<extra_id_1>Assistant\nA sea inlet, says <extra_id_1>User.\n<extra_id_1>User\nWhere?"
    rows = [{"prompt": prompt, "response": text, "helpfulness": k} for k, text in enumerate(("Norway.", "Chile."))]
    case = find("helpsteer2", "cases").adapter({"rows": rows})
    said = "What is a fjord?", "A sea inlet, says <extra_id_1>User.", "Where?"
    assert case.question == f"User: {said[0]}\n\nAssistant: {said[1]}\n\nUser: {said[2]}"
    (question,) = likelihood([case], chat=chat)
    if chat:
        assert [(m.role, m.content) for m in question.prompt] == list(zip(("user", "assistant", "user"), said))
    else:
        assert question.prompt == f"Question: {said[0]}\nAnswer: {said[1]}\n\nQuestion: {said[2]}\nAnswer:"
    alone = find("helpsteer2", "cases").adapter({"rows": [{**row, "prompt": "<extra_id_1> is what?"} for row in rows]})
    assert (alone.question, alone.messages) == ("<extra_id_1> is what?", ())
    assert likelihood([alone])[0].prompt == "Question: <extra_id_1> is what?\nAnswer:"
    for bad in ("a\n<extra_id_1>User\nb", "a\n<extra_id_1>Assistant\nb"):
        with pytest.raises(Unusable):
            find("helpsteer2", "cases").adapter({"rows": [{**row, "prompt": bad} for row in rows]})


def test_a_case_of_two_sections_counts_in_both(monkeypatch):
    record = RECORDS["reward_bench"][0]
    rows = [record, record, record | {"subset": "safety"}]
    monkeypatch.setattr(Source, "read", lambda source, part, commit: (rows, "pinned"))
    cases = load_cases("reward_bench")
    assert [case.tags["section"] for case in cases] == ["chat", "safety"] and len(set(cases.ids)) == 2
    assert cases.dropped == {"the same again": 1} and cases.ids[1] == f"{cases.ids[0]}-safety"


def test_every_hub_set_is_pinned_to_a_commit():
    of_hub = [source for source in registry() if source.kind == "cases" and source.hub]
    assert len(of_hub) == 7
    assert all(re.fullmatch("[0-9a-f]{40}", source.commit) for source in of_hub)


def test_a_csv_without_header_is_read_at_its_commit(tmp_path, monkeypatch):
    file, requested = tmp_path / "scores.csv", {}
    file.write_text('Sort,"b, a","a, b",6\nSort,"b, a",b,2\nSay hi,,"hi\nthere",7\nSay hi,,ho,\n')

    def download(repository, name, **named):
        requested.update(named, repository=repository, name=name)
        return str(file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    cases = load_cases("sparse_feedback")
    assert requested == {
        "repository": "hbXNov/sparse_feedback",
        "name": "absolute_gpt_3.5_turbo_score.csv",
        "repo_type": "dataset",
        "revision": find("sparse_feedback", "cases").commit,
    }
    assert [case.question for case in cases] == ["Sort\n\nb, a", "Say hi"]
    assert dict(zip(cases[0].answers, cases[0].scores)) == {"a, b": 6.0, "b": 2.0}
    said = dict(zip(cases[1].answers, cases[1].scores))
    assert said["hi\nthere"] == 7.0 and math.isnan(said["ho"])


def test_adapter_of_mt_bench_counts_votes_for_models_and_not_for_positions():
    winners = ("model_a", "tie", "error")
    records = [VOTE | {"winner": winner} for winner in winners] + [FLIPPED | {"winner": "model_b"}]
    case = adapters.mt_bench(next(iter(adapters.votes(records))))
    assert case.question == "u1\n\nu2"
    assert case.answers == ("a1\n\na2", "b1\n\nb2") and case.scores == pytest.approx((2.5 / 3, 0.5 / 3))


def test_adapters_of_sources_with_a_row_per_answer():
    rows = [{"prompt": "p", "response": r, "helpfulness": h} for r, h in (("x", 4), ("y", 1))]
    assert adapters.helpsteer(next(iter(adapters.by_prompt(rows)))).scores == (4.0, 1.0)
    marks = (("x", "6"), ("x", "2"), ("y", None))
    rows = [{"instruction": "i", "input": None, "output": r, "rating": k} for r, k in marks]
    case = adapters.sparse_feedback(next(iter(adapters.by_instruction(rows))))
    assert case.answers == ("x", "y") and case.scores[0] == 6.0 and math.isnan(case.scores[1])
    for wrong in ("8", "rating"):
        with pytest.raises(Unusable, match="a rating"):
            adapters.sparse_feedback({"rows": [rows[0] | {"rating": wrong}]})
    ratings = {"w1": {"overall": 4}, "w2": {"overall": 2}, "rater of another row": None}
    rows = [{"question": "q", "choices": ["a", "b"], "label": 1, "explanation": "e", "worker_ratings": ratings}]
    case = adapters.acorn(next(iter(adapters.by_question(rows))))
    assert case.scores == (3.0,) and case.ratings == ((4.0, 2.0),) and case.question.endswith("answer is: b")


def test_adapters_of_published_files():
    record = {
        "question": "q",
        "category": "Writing",
        "answers": [{"score": 1, "text": ["x", "y"], "judgement": []}, {"score": 5, "text": ["z"], "judgement": []}],
    }
    assert PUBLISHED["trustjudge"](record).scores == (1.0, 1.0, 5.0)
    case = PUBLISHED["llmbar"]({"input": "i", "output_1": "x", "output_2": "y", "label": 2})
    assert case.scores == (0.0, 1.0)


def test_llmbar_labels_are_one_and_two():
    """Published kappas map predictions to numbers only when they are "0" or "1": a perfect judge comes out at 0."""
    from workbench.judges.agreement import kappa

    gold, said = [1, 2, 1, 2, 2, 1], ["1", "2", "1", "2", "2", "1"]
    theirs = [int(x) if x in {"0", "1"} else 0 for x in said]
    assert kappa(gold, theirs) < 0.5
    assert kappa(gold, [int(x) for x in said]) == 1


@pytest.mark.model
def test_better_reply_is_first_in_every_record_of_hhh_and_longer_in_139():
    from workbench.packages import require

    try:
        require(packages()["bigbench"], "This test")
    except InputError:
        pytest.skip("BIG-bench is not fetched")
    source = find("hhh_alignment", "cases")
    records = [r for part in source.parts for r in source.read(part)[0]]
    files = [list(r["target_scores"].values()) for r in records]
    assert len(files) == 221 and all(scores[0] > scores[1] for scores in files)
    cases = load_cases("hhh_alignment", subset="all")
    longer = sum(len(c.answers[k]) > len(c.answers[1 - k]) for c in cases for k in [int(np.argmax(c.scores))])
    assert longer == 139
    first = np.mean([c.scores[0] > c.scores[1] for c in cases])
    assert 0.4 < first < 0.6


def test_master_keys_reach_the_prompt_as_they_are():
    from workbench.judges.master_keys import KEYS, NEAR_KEYS, key_questions

    cases = [Case("Q1?", ("a",), reference="Paris"), Case("Q2?", ("a",), reference="Rome")]
    questions = key_questions(cases, load_template("reference"))
    assert len(KEYS) == 10 and len(questions) == 2 * (len(KEYS) + len(NEAR_KEYS) + 4)
    by_key = {q.tags["key"]: q for q in questions if q.tags["case"] == cases[0].id}
    assert "Given answer:  \n" in by_key["space"].prompt_text
    assert "Given answer: Rome" in by_key["another reference"].prompt_text
    assert [by_key[k].tags["human"] for k in ("the reference", "empty", "full stop")] == [1.0, 0.0, 0.0]
    hidden = key_questions(cases, load_template("reference"), hide_question=True)
    assert "Q1?" not in hidden[0].prompt_text
    assert not {q.id for q in hidden} & {q.id for q in questions}
    with pytest.raises(InputError, match="reference"):
        key_questions([CASE, Case("Q", ("a",))], load_template("reference"))
