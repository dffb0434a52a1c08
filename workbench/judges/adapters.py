"""Adapters from a record of a set to a `Case`, one function per schema; `sources.yaml` assigns them to sets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from workbench.datasets.adapters import nq_human as nq_item
from workbench.datasets.formats import number
from workbench.datasets.items import Record, Unusable
from workbench.datasets.rendering import EXTRA_ID, transcript, turns
from workbench.judges.cases import Case

RUBRIC = (
    "1: says nothing about the question\n2: about the question, but its main claim is wrong\n"
    "3: true, but too vague to help\n4: right, but bare\n5: right, explained and specific"
)
CHECKS = (
    "It is about the question that was asked.",
    "It holds no mistake.",
    "It names a definite answer.",
    "It gives a reason or steps.",
)


def graded(record: Record) -> Case:
    """Five answers of ascending quality, levels 1 to 5; the best is the reference."""
    answers = record["answers"]
    levels = tuple(float(level) for level in range(1, len(answers) + 1))
    return Case(record["question"], answers, levels, answers[-1], RUBRIC, CHECKS, {"topic": record["topic"]})


def best_and_worst(record: Record) -> Case:
    """Two replies from a `target_scores` table; the file lists the better reply first in every record."""
    texts = tuple(text.strip() for text in record["target_scores"])
    return _distinct(Case(record["input"].strip(), texts, tuple(map(float, record["target_scores"].values()))))


def nq_human(record: Record) -> Case:
    """One answer marked correct by people (a reference if there is none) and one marked wrong."""
    item = nq_item(record)
    right, wrong = ([o.text for o in item.options if o.role == role] for role in ("correct", "wrong"))
    marked = [text for text in record.get("def_correct_predictions", []) if text in right]
    return Case(f"{item.stem.strip().rstrip('?')}?", ((marked or right)[0], wrong[0]), (1.0, 0.0), right[0])


def summary_pair(record: Record) -> Case:
    """A sentence to summarise, with a faithful and an unfaithful summary."""
    answers = (record["correct_sent"].strip(), record["incorrect_sent"].strip())
    question = f"Summarise this sentence without changing what it says: {record['article_sent'].strip()}"
    return _distinct(Case(question, answers, (1.0, 0.0)))


def votes(records: Iterable[Record]) -> Iterable[Record]:
    """Group the votes on the same two conversations as `wins` of the two models; invalid votes are left out."""
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in records:
        if not re.match("model_[ab]$|tie", str(record["winner"])):
            continue
        pair = (record["model_a"], record["model_b"])
        a, b = pair if pair[0] < pair[1] else pair[::-1]
        key = (record["question_id"], record["turn"], a, b)
        sides = {record["model_a"]: record["conversation_a"], record["model_b"]: record["conversation_b"]}
        entry = groups.setdefault(key, {"sides": (sides[a], sides[b]), "turn": record["turn"], "wins": [0.0, 0.0]})
        winner = {"model_a": record["model_a"], "model_b": record["model_b"]}.get(record["winner"])
        for side, name in enumerate((a, b)):
            entry["wins"][side] += 0.5 if winner is None else float(winner == name)
    return groups.values()


def mt_bench(record: Record) -> Case:
    """Two conversations up to a turn; the score is the proportion of votes for each."""
    turns = [side[: 2 * record["turn"]] for side in record["sides"]]
    question = "\n\n".join(m["content"].strip() for m in turns[0] if m["role"] == "user")
    answers = tuple("\n\n".join(m["content"].strip() for m in side if m["role"] == "assistant") for side in turns)
    scores = tuple(won / sum(record["wins"]) for won in record["wins"])
    return _distinct(Case(question, answers, scores, tags={"turn": record["turn"]}))


def chosen_rejected(record: Record) -> Case:
    """Chosen and rejected replies, one of each or lists; the file lists the chosen replies first."""
    chosen, rejected = (x if isinstance(x, list) else [x] for x in (record["chosen"], record["rejected"]))
    scores = (1.0,) * len(chosen) + (0.0,) * len(rejected)
    return _distinct(Case(record["prompt"], (*chosen, *rejected), scores, tags={"section": record["subset"]}))


def best_of_four(record: Record) -> Case:
    """One chosen and three rejected replies of RewardBench 2, without the part Ties (several correct replies)."""
    if record["subset"] == "Ties":
        raise Unusable("of the part Ties, which is scored in another way")
    return chosen_rejected(record)


def judge_bench(record: Record) -> Case:
    """A correct and a wrong reply, labelled "A>B" or "B>A"."""
    if record["label"] not in ("A>B", "B>A"):
        raise Unusable("no label")
    scores = (1.0, 0.0) if record["label"] == "A>B" else (0.0, 1.0)
    answers = (record["response_A"], record["response_B"])
    return Case(record["question"], answers, scores, tags={"section": record["source"]})


def llmbar(record: Record) -> Case:
    """Two outputs and the number of the better one, from the JSON file; the loading script on the hub is not run."""
    if str(record["label"]) not in ("1", "2"):
        raise Unusable("no label")
    scores = (1.0, 0.0) if str(record["label"]) == "1" else (0.0, 1.0)
    return _distinct(Case(record["input"], (record["output_1"], record["output_2"]), scores))


def trustjudge(record: Record) -> Case:
    """Answers grouped by human score, several texts per score."""
    groups = [(group["text"], number(group["score"])) for group in record["answers"]]
    if not all(isinstance(texts, list) and score is not None for texts, score in groups):
        raise TypeError("a text for each of several, or no number")
    answers, scores = zip(*((text, score) for texts, score in groups for text in texts))
    return Case(record["question"], answers, scores, tags={"topic": record.get("category")})


def _grouped(names: tuple[str, ...], records: Iterable[Record]) -> Iterable[Record]:
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(record.get(name) for name in names), []).append(record)
    return [{"rows": rows} for rows in groups.values()]


by_prompt = partial(_grouped, ("prompt",))
by_instruction = partial(_grouped, ("instruction", "input"))
by_question = partial(_grouped, ("question",))
"""Group rows with the same values in these fields into one record."""


def helpsteer(record: Record) -> Case:
    """Replies with a helpfulness rating from 0 to 4; prompts of several turns are dialogues."""
    rows = record["rows"]
    messages = turns(rows[0]["prompt"], EXTRA_ID)
    if messages[-1].role != "user":
        raise Unusable("a dialogue that does not end with the user")
    answers, scores = tuple(row["response"] for row in rows), tuple(float(row["helpfulness"]) for row in rows)
    return _distinct(Case(transcript(messages), answers, scores, messages=messages if len(messages) > 1 else ()))


def sparse_feedback(record: Record) -> Case:
    """Replies with a rating from 1 to 7, all columns as text; of repeated replies the first rating is kept."""
    rows = list({row["output"]: row for row in reversed(record["rows"])}.values())[::-1]
    question = "\n\n".join(part for part in (rows[0]["instruction"], rows[0]["input"]) if part)
    try:
        scores = tuple(float(row["rating"] or "nan") for row in rows)
    except ValueError:
        raise Unusable("a rating that is not a number") from None
    if any(not 1 <= score <= 7 for score in scores if not math.isnan(score)):
        raise Unusable("a rating outside 1 to 7")
    return Case(question, tuple(row["output"] or "" for row in rows), scores)


def acorn(record: Record) -> Case:
    """Explanations with overall ratings; the answer they explain is part of the question."""
    rows = record["rows"]
    first = rows[0]
    question = f"{first['question']} Explain why the answer is: {first['choices'][int(first['label'])]}"
    ratings = []
    for row in rows:
        rated = [r for r in row["worker_ratings"].values() if r]  # raters of other rows come as None
        ratings.append(tuple(float(r["overall"]) for r in rated if r.get("overall") is not None))
    return Case(question, tuple(row["explanation"] for row in rows), ratings=tuple(ratings))


def _distinct(case: Case) -> Case:
    if len(set(case.answers)) < len(case.answers):
        raise Unusable("the same answer twice")
    return case
