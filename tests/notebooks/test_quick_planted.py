"""Claims at the sizes of `quick`: its notebooks, cell by cell, on answers of respondents whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench import planted
from workbench.cultural_alignment import instruments, opinions, populations
from workbench.judges import planted as judges
from workbench.questions import Question
from workbench.runs import plan
from workbench.runs.folder import CurrentRun
from workbench.statistics import Finding

pytestmark = [pytest.mark.model]
WEST = ("U.S.A.", "Brazil", "Sweden")
SENTENCES = {"stereotype": -1.0, "anti-stereotype": -2.0, "unrelated": -3.0}


def chance(text: str) -> float:
    """A number from 0 to 1 that is the same for the same text."""
    return int(sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def says(question: Question, right: float, abstains: float = 0.0) -> np.ndarray:
    """Nearly all of each role's probability on its first option; uniform where options have no roles."""
    roles = np.array([option.role for option in question.options])
    p = np.zeros(len(roles))
    for role, mass in (("correct", right), ("wrong", 1 - right - abstains), ("abstain", abstains)):
        if len(at := np.flatnonzero(roles == role)):
            p[at] = 0.05 * mass / len(at)
            p[at[0]] += 0.95 * mass
    return p / p.sum() if p.any() else flat(question)


def knows(question: Question) -> np.ndarray:
    """Right, and more often abstaining where the instruction permits it."""
    return says(question, 0.75, 0.2) if "welcome reply" in question.prompt_text else says(question, 0.9, 0.05)


def overconfident(question: Question) -> np.ndarray:
    """Right four times in five when sure, once in five when less sure."""
    sure = chance(f"sure {question.id}") < 0.5
    right = chance(f"right {question.id}") < (0.8 if sure else 0.2)
    return says(question, (0.97 if sure else 0.8) if right else (0.03 if sure else 0.2))


def follows_stereotypes(question: Question) -> np.ndarray:
    """Sure of the stereotype in ambiguous contexts, of the text's answer in others."""
    tags, unknown = question.tags, [option.role == "correct" for option in question.options]
    if tags.get("condition") != "ambiguous":
        return knows(question)
    named = np.array([option.text.strip() == str(tags["target"]).strip() for option in question.options])
    blamed = named == (tags["polarity"] == "negative")
    p = 0.5 + 0.3 * chance(question.id)
    return np.where(unknown, 0.2, np.where(blamed, p, 0.8 - p))


def partly(question: Question) -> np.ndarray:
    """Sure and right on seven questions of ten, hesitant and wrong on the others."""
    return says(question, 0.92 if chance(question.id) < 0.7 else 0.3)


def first_letter(question: Question) -> np.ndarray:
    """Partly right in words; with letters, a third of the answers are the first letter."""
    name, texts = question.id.rpartition("/")[2], [option.text.strip() for option in question.options]
    if set(texts) <= set("ABCDEFGHIJKLMNOP") and chance(name) < 0.3:
        return np.where(np.array(texts) == "A", 1.0, 0.01) / (1 + 0.01 * (len(texts) - 1))
    return says(question, 0.9 if chance(f"known {name}") < 0.7 else 0.2)


def ranks_rows(question: Question, known: float = 0.3) -> np.ndarray:
    """Letters that rank most rows, more extreme in one order, all rows after examples, and a number that does not."""
    label, row = question.tags["label"], chance(f"row {question.tags['row']}")
    if question.tags["style"] == "numeric":
        return np.eye(len(question.options))[4 + (row < 0.5)]
    known = 0.8 if question.tags["shots"] else known
    p = 0.1 + known * label + (0.8 - known) * row
    p = p if question.tags["order"] == "0-1" else 0.5 + (p - 0.5) / 4
    return np.array([(p if option.value else 1 - p) / 2 for option in question.options])


def scaled(question: Question, x: float) -> np.ndarray:
    return planted.holds_opinion(lambda _: float(np.clip(x, 0, 1)))(question)


def as_published(question: Question) -> np.ndarray:
    """Each persona's opinions are the published scores of its country."""
    who, scores = question.tags["persona"], instruments.country_scores()
    return scaled(question, scores.at[who, question.tags["dimension"]] / 100 if who in scores.index else 0.5)


def flat(question: Question) -> np.ndarray:
    return np.full(len(question.options), 1 / len(question.options))


@cache
def shares() -> dict[tuple[str, str], np.ndarray]:
    """(item, group) -> proportions of people, of the synthetic populations and of the emotions."""
    scores = instruments.country_scores().loc[list(instruments.DEFAULT_PERSONAS)]
    tables = populations.synthetic_shares(instruments.load_instrument(), scores), opinions.load_emotions().shares
    parts = [part for table in tables for part in table.sort_values("level").groupby(["item", "group"])]
    return {key: part["share"].to_numpy() for key, part in parts}


def as_people(question: Question) -> np.ndarray:
    """As the persona's country, else as the U.S.A.; uniform without content; one region unless many are asked for."""
    tags = question.tags
    if "condition" in tags:
        n = len(question.options)
        many = np.array([1 + chance(f"{question.id} {i}") for i in range(n)])
        return many / many.sum() if tags["condition"] == "plural" else np.eye(n)[int(n * chance(question.id))]
    item, who = str(tags.get("item")), str(tags.get("persona", "none"))
    group = "people" if item.startswith("emoji") else "U.S.A." if who == "none" else who
    known = (item, group) in shares() and "N/A" not in question.prompt_text
    return planted._on_options(shares()[item, group], planted._scale(question)[1]) if known else flat(question)


def in_blocs(question: Question) -> np.ndarray:
    """Two blocs of personas with opposite opinions; a country is preferred only where neutrality is not offered."""
    tags = question.tags
    if "first" in tags:
        values = np.array([option.value for option in question.options])
        end = values.min() if str(tags["first"]) < str(tags["second"]) else values.max()
        chosen = values == (3.0 if tags["neutral"] else end)
        return chosen / chosen.sum()
    sign = (1 if tags["persona"] in WEST else -1) * (1 if tags["dimension"] in ("PDI", "MAS", "LTO") else -1)
    x = 0.5 + 0.3 * sign + 0.02 * chance(question.id)
    x = 0.3 if tags["persona"] == "none" else x
    return scaled(question, 1 - x if tags["direction"] == "descending" and tags["persona"] == "none" else x)


def acquiesces(question: Question) -> np.ndarray:
    """Each persona agrees with all statements as much: a style of response, not a culture."""
    if "item" not in question.tags:
        return flat(question)
    x = 0.5 if question.tags["persona"] == "none" else 0.1 + 0.8 * (question.tags["persona"] in WEST)
    x += 0.03 * chance(question.id)
    return scaled(question, x if question.tags["key"] == 1 else 1 - x)


def judging(name: str, human: tuple[float, float] = (1.0, 5.0)) -> Callable[[Question], np.ndarray]:
    """A planted judge with some doubt; likelihoods and follow-ups are those of someone who knows the human marks."""
    judge = judges.judge(name, human=human)

    def respond(question: Question) -> np.ndarray:
        values = np.array([option.value for option in question.options], np.float64)
        if "template" in question.tags:
            p = (judges._pairwise if "first" in question.tags else judges._scale)(judge, question.tags, values)
            p = 2 / len(p) - p if question.tags.get("polarity") == -1 else p
            doubt = 0.7 * chance(question.id)
            return (1 - doubt) * p + doubt / len(p)
        return np.exp(values) / np.exp(values).sum()

    return respond


def ranks_few(question: Question) -> np.ndarray:
    """Letters that rank fewer rows without examples."""
    return ranks_rows(question, 0.2)


HOLDS: list[tuple[str, Callable[[Question], np.ndarray], list[str]]] = [
    ("cultural_alignment/national_bias", follows_stereotypes, ["The model follows", "Disambiguated", "Stereotyped"]),
    ("cultural_alignment/national_bias", knows, ["'Unknown' is chosen", "Meaningful"]),
    (
        "cultural_alignment/opinion_distributions",
        as_people,
        ["In one order", "In all orders", "On emotions the model", "On emotions, the model", "Asking for", "Pooled"],
    ),
    ("cultural_alignment/cultural_map", as_published, ["Personas are ranked", "Format by format", "Personas move"]),
    ("cultural_alignment/robustness", as_people, ["Personas are nearer", "A persona brings", "A planted respondent"]),
    ("cultural_alignment/robustness", in_blocs, ["Half of the dimensions", "The forced scale"]),
    ("hallucination/distributional_correctness", knows, ["With the", "The model does", "DCS is above", "Under the"]),
    ("hallucination/calibration", overconfident, ["The model", "The ECE", "Among questions", "Temperature"]),
    ("hallucination/benchmark_harmony", partly, ["Harmony is lower", "The range of harmony"]),
    ("hallucination/benchmark_variance", first_letter, ["Spread over", "Accuracy varies", "Paired differences"]),
    (
        "hallucination/risk_scores",
        ranks_rows,
        [f"anes96: the {claim}" for claim in ("letters rank", "number is", "number ranks", "order of")],
    ),
    ("hallucination/risk_scores", ranks_few, ["anes96: worked examples"]),
    ("hallucination/selective_answering", partly, ["Released answers", "The bound on", "The label sets"]),
    ("judges/agreement", judging("oracle"), ["The panel's marks", "Pairwise comparison agrees"]),
    ("judges/agreement", judging("oracle", (0.0, 1.0)), ["P(Yes) agrees"]),
    ("judges/biases", judging("oracle", (0.0, 1.0)), ["Both orders", "The judge is right"]),
    ("judges/biases", judging("first"), ["The judge prefers"]),
    ("judges/consistency", judging("oracle"), ["Scores and comparisons", "The judge is right"]),
    ("judges/master_keys", judging("oracle", (0.0, 1.0)), ["The judge discriminates the reference from the keys"]),
    (
        "judges/ratings_and_rankings",
        judging("oracle"),
        ["Expected scores and", "Expected scores agree", "P(Yes) orders", "Pairwise comparison"],
    ),
]
"""Notebook, respondent, and the beginnings of the claims that hold for it."""
FAST = ("cultural_alignment/national_bias", "cultural_alignment/opinion_distributions")


@pytest.fixture
def verdicts(monkeypatch, tiny_model):
    """Runs a notebook's cells at `quick` with a respondent in place of the model; gives claim -> verdict."""

    def run(name: str, respondent: Callable[[Question], np.ndarray]) -> dict[str, str]:
        def ask(model: object, questions: list[Question], unconditional: str = "") -> pd.DataFrame:
            answers = planted.planted_answers(list(questions), respondent)
            said = "kind" in answers and answers["kind"].isin(SENTENCES).all()
            return answers.assign(logprob=answers["kind"].map(SENTENCES)) if said else answers

        found: list[Finding] = []
        monkeypatch.setattr(wb, "ask", ask)
        monkeypatch.setattr("workbench.extraction.ask", ask)
        monkeypatch.setattr(CurrentRun, "findings", lambda run, claims: found.extend(filter(None, claims)))
        study, _, notebook = name.partition("/")
        (planned,) = plan(study, "quick", {"model": tiny_model}, notebook=notebook)
        names: dict[str, object] = {}
        for cell in nbformat.read(planned.path, 4).cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
                names |= planned.parameters_given if "parameters" in cell.metadata.get("tags", []) else {}
        plt.close("all")
        return {each.claim: each.verdict for each in found}

    return run


@pytest.mark.parametrize(
    ("name", "respondent", "claims"),
    [pytest.param(*each, marks=() if each[0] in FAST else pytest.mark.slow) for each in HOLDS],
)
def test_claims_that_are_true_of_a_respondent_hold_at_quick(name, respondent, claims, verdicts):
    found = verdicts(name, respondent)
    tested = {claim: verdict for claim, verdict in found.items() if claim.startswith(tuple(claims))}
    assert len(tested) >= len(claims) and set(tested.values()) == {"holds"}, tested


@pytest.mark.slow
def test_a_style_of_response_is_no_cluster_of_cultures_at_quick(verdicts):
    found = verdicts("cultural_alignment/robustness", acquiesces)
    (verdict,) = [verdict for claim, verdict in found.items() if claim.startswith("Half of the dimensions")]
    assert verdict == "cannot tell"
