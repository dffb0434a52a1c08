"""Planted judges, whose verdicts have known properties."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.answers import Floats
from workbench.errors import InputError, unknown
from workbench.judges.cases import Cases
from workbench.judges.readings import Judgement, judgement
from workbench.planted import planted_answers
from workbench.questions import Question

if TYPE_CHECKING:
    import pandas as pd

Tags = Mapping[str, Any]
FLOOR = 1e-9
"""Probability of a label that a planted judge never chooses."""


@dataclass(frozen=True, slots=True)
class PlantedJudge:
    """A judge of known behaviour."""

    name: str
    """Its name."""
    lead: Callable[[Tags], float]
    """Log-odds that the first answer is better, from the tags of a pairwise question."""
    worth: Callable[[Tags], float]
    """Quality of an answer between 0 and 1, from the tags of a pointwise question."""
    spread: float = 0.08
    """Standard deviation of its scores, as a proportion of the scale."""
    tie: float = 0.02
    """Probability of a tie, if there is a label for it."""


def answers(judge: PlantedJudge, questions: Iterable[Question]) -> pd.DataFrame:
    """Return the answers of a planted judge to judge prompts in the form of `workbench.ask`.

    Forms of one label have equal probability, and every label is one token.
    """

    def distribution(question: Question) -> Floats:
        values = [option.value for option in question.options if option.value is not None]
        if len(values) < len(question.options):
            raise InputError(f"Question {question.id!r} is not a judge prompt: its options have no values.")
        of = _pairwise if "first" in question.tags else _scale
        return of(judge, question.tags, np.array(values))

    return planted_answers(list(questions), distribution)


def judged(names: Iterable[str], questions: Sequence[Question], cases: Cases, **how: float) -> list[Judgement]:
    """Return the responses of planted judges to questions about cases; `how` has further arguments of `judge`."""
    judges = [judge(name, human=cases.ends, **how) for name in names]  # type: ignore[arg-type]
    return [judgement(each.name, answers(each, questions), cases.ids) for each in judges]


def judge(
    name: str,
    human: tuple[float, float] = (0.0, 1.0),
    strength: float = 8.0,
    position: float = 1.5,
    accuracy: float = 0.8,
    q: float = 0.1,
    n: int = 5,
) -> PlantedJudge:
    """Return a planted judge by name.

    Args:
        name: `oracle` (as the human scores), `first` (always the first position), `longer`, `coin` (undecided on pairs,
            random scores), `dice` (random on every prompt), `yes` (undecided on pairs, the highest label for every
            answer), `cyclic` (each level beats the next ones on a circle), `position_biased` (human order plus
            a position bias), `noisy` (right on a proportion of the pairs, each verdict flipped with probability q).
        human: Lowest and highest human score.
        strength: Log-odds of a confident judge.
        position: Log-odds that `position_biased` adds for the first position, in nats.
        accuracy: Proportion of pairs on which `noisy` is right before flipping.
        q: Flipping probability of `noisy`.
        n: Levels on the circle of `cyclic`, an odd number.
    """
    if not human[0] < human[1]:
        raise InputError(f"A planted judge needs the lowest and highest human score, not {human}.")
    judges: dict[str, tuple[Callable[[Tags], float], Callable[[Tags], float]]] = {
        "oracle": (lambda t: strength * _better(t, "human"), lambda t: _level(t, human)),
        "first": (lambda t: strength, lambda t: 0.5),
        "longer": (lambda t: strength * _better(t, "chars"), lambda t: min(t["chars"] / 200, 1.0)),
        "coin": (lambda t: 0.0, lambda t: _hash(t["case"], t.get("candidate"))),
        "dice": (lambda t: strength * _random_lead(t), lambda t: _hash(t["case"], t.get("candidate"))),
        "cyclic": (lambda t: strength * _circle(t, n), lambda t: 0.5),
        "yes": (lambda t: 0.0, lambda t: 1.0),
        "position_biased": (lambda t: position + strength / 8 * _better(t, "human"), lambda t: _level(t, human)),
        "noisy": (lambda t: log((1 - q) / q) * _partly_right(t, accuracy), lambda t: _level(t, human)),
    }
    if name not in judges:
        raise unknown("planted judge", name, list(judges))
    lead, worth = judges[name]
    return PlantedJudge(name, lead, worth, tie=0.0 if name in ("noisy", "position_biased") else 0.02)


def _pairwise(judge: PlantedJudge, tags: Tags, values: Floats) -> Floats:
    first = 1 / (1 + exp(-judge.lead(tags)))
    tie = judge.tie if 0.0 in values else 0.0
    verdict = {1.0: (1 - tie) * first, -1.0: (1 - tie) * (1 - first), 0.0: tie}
    return np.array([max(verdict[v] / (values == v).sum(), FLOOR) * (1 - 10 * FLOOR) for v in values])


def _scale(judge: PlantedJudge, tags: Tags, values: Floats) -> Floats:
    place = (values - values.min()) / np.ptp(values)
    worth = judge.worth(tags) if tags.get("polarity", 1) > 0 else 1 - judge.worth(tags)
    weight = np.exp(-0.5 * ((place - worth) / judge.spread) ** 2) + FLOOR
    return weight / weight.sum() * (1 - 1e-8)


def _better(tags: Tags, what: str) -> float:
    """Return 1 if the first answer has more of it, -1 if the second has, 0 if equal or unknown."""
    return float(np.nan_to_num(np.sign(tags[f"{what}_first"] - tags[f"{what}_second"])))


def _level(tags: Tags, human: tuple[float, float]) -> float:
    """Return the human score between 0 and 1; 0.5 if unknown."""
    return float(np.nan_to_num((float(tags["human"]) - human[0]) / (human[1] - human[0]), nan=0.5))


def _circle(tags: Tags, n: int) -> float:
    gap = int(np.nan_to_num(tags["human_first"] - tags["human_second"])) % n
    return 0.0 if gap == 0 else 1.0 if gap <= n // 2 else -1.0


def _partly_right(tags: Tags, accuracy: float) -> float:
    """Return the better answer on a fixed proportion of the pairs, selected by a hash of the pair."""
    low, high = sorted((tags["first"], tags["second"]))
    return _better(tags, "human") * (1.0 if _hash(tags["case"], low, high) < accuracy else -1.0)


def _random_lead(tags: Tags) -> float:
    """Return a number between -1 and 1, from a hash of the pair and its order."""
    return 2 * _hash(tags["case"], tags["first"], tags["second"]) - 1


def _hash(*parts: object) -> float:
    """Return a number in [0, 1) that depends on the parts alone."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16) / 16**12
