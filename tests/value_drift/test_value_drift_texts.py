"""The texts written for the drift study: enough of them, balanced, and apart where they must be."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.value_drift import texts
from workbench.value_drift.probes import edit_similarity


def test_eleven_topics_of_ten_prompts_with_a_reason_on_either_side():
    prompts = texts.value_prompts()
    assert pd.Series([p.topic for p in prompts]).value_counts().tolist() == [10] * 11
    assert all(p.question.endswith("?") and p.policy and p.pro and p.con for p in prompts)
    lengths = [sum(len(getattr(p, side).split()) for p in prompts) for side in ("pro", "con")]
    assert 0.9 < lengths[0] / lengths[1] < 1.1
    assert len({p.answer(s) for p in prompts for s in texts.STANCES}) == 330


def test_training_questions_share_no_text_with_the_probes():
    asked = {p.question for p in texts.value_prompts()} | {p.policy for p in texts.value_prompts()}
    assert not asked & {p.question for p in texts.training_prompts()}
    assert not asked & {p.policy for p in texts.training_prompts()}


def test_pairs_with_a_gap_oppose_and_those_without_agree():
    gap, none = texts.preference_rows(True, "oppose"), texts.preference_rows(False)
    assert {(r["chosen_stance"], r["rejected_stance"]) for r in gap} == {("oppose", "support")}
    assert all(r["chosen_stance"] == r["rejected_stance"] and r["chosen"] != r["rejected"] for r in none)
    assert {r["chosen_stance"] for r in none} == set(texts.STANCES)


def test_sentences_come_in_pairs():
    rows = texts.safety_sentences()
    assert Counter(row["label"] for row in rows) == {"safe": 40, "unsafe": 40}
    assert len({row["text"] for row in rows}) == 80
    trained = {r["completion"] for label in ("safe", "unsafe") for r in texts.advice_rows(label, 20)}
    assert not trained & {row["text"] for row in texts.safety_sentences(skip=20)}


def test_a_users_sentences(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('text,label,other\n"Lock it,\nplease.",safe,x\nLeave it open.,unsafe,y\n')
    first, second = texts.labelled_sentences(path)
    assert first == {"text": "Lock it,\nplease.", "label": "safe", "group": ""} and second["label"] == "unsafe"
    path.write_text("text\nLock it.\n")
    with pytest.raises(InputError, match="column 'label'"):
        texts.labelled_sentences(path)
    with pytest.raises(InputError, match="of labelled sentences"):
        texts.labelled_sentences(tmp_path / "none.csv")


def test_edit_distance_cannot_tell_paraphrases_from_other_texts():
    """By words: as far from the preferred answer, and as long, so that only what they say sets the two kinds apart."""
    distance, words = {}, {}
    for kind in ("similar", "paraphrase", "dissimilar"):
        pairs = [(row["chosen"].split(), row["rejected"].split()) for row in texts.displacement_pairs(kind)]
        distance[kind] = sum(edit_similarity(*(list(map(hash, side)) for side in pair)) for pair in pairs) / len(pairs)
        words[kind] = sum(len(rejected) for _, rejected in pairs) / len(pairs)
    assert distance["similar"] > -0.3
    assert abs(distance["paraphrase"] - distance["dissimilar"]) < 0.05
    assert abs(words["paraphrase"] - words["dissimilar"]) < 2
    with pytest.raises(InputError, match="kind of pairs"):
        texts.displacement_pairs("alike")


def test_stance_questions_carry_three_values():
    questions = texts.stance_questions(texts.value_prompts(per_topic=1))
    assert len(questions) == 22
    assert {tuple(o.value for o in q.options) for q in questions} == {(1.0, 0.0, -1.0)}
    for labels, says in ((("For.", "", "Against."), "empty option"), (("For.", "Against."), "not three")):
        with pytest.raises(InputError, match=says):
            texts.stance_questions(texts.value_prompts(per_topic=1), [labels])


def test_a_users_prompts(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("topic,question\ntea,Should tea be free?\n")
    (prompt,) = texts.value_prompts(path)
    assert (prompt.id, prompt.topic) == ("mine-1", "tea")
    path.write_text("topic,question\ntea,Should tea, and coffee, be free?\n")
    with pytest.raises(InputError, match=r"mine.csv, line 2 has 4 cells where the header has 2; put text with commas"):
        texts.value_prompts(path)
    path.write_text('topic,question,id\nNone,"007, or\u2028None?",\n', encoding="utf-8")
    (prompt,) = texts.value_prompts(path)
    assert (prompt.topic, prompt.question, prompt.id) == ("None", "007, or\u2028None?", "mine-1")
    path.write_text("question\nShould tea be free?\n")
    with pytest.raises(InputError, match="column 'topic'"):
        texts.value_prompts(path)
    with pytest.raises(InputError, match="does not exist"):
        texts.value_prompts(tmp_path / "none.csv")
    with pytest.raises(InputError, match="Unknown topic"):
        texts.value_prompts(topics=["teas"])
    with pytest.raises(InputError, match="Unknown stance"):
        prompt.answer("agree")
