"""Judges whose verdicts are known."""

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
"""What a planted judge leaves to labels it never names."""


@dataclass(frozen=True, slots=True)
class PlantedJudge:
    """A judge of known behaviour."""

    name: str
    """Its name."""
    lead: Callable[[Tags], float]
    """Log-odds that the answer shown first is the better one, from the tags of a pairwise question."""
    worth: Callable[[Tags], float]
    """What an answer is worth between 0 and 1, from the tags of a pointwise question."""
    spread: float = 0.08
    """Standard deviation of its scores, as a proportion of the scale."""
    tie: float = 0.02
    """Probability of a tie, where there is a label for it."""


def answers(judge: PlantedJudge, questions: Iterable[Question]) -> pd.DataFrame:
    """Return the answers of a planted judge, in the form of `workbench.ask`.

    Args:
        judge: The judge.
        questions: Judge prompts made by `pointwise`, `pairwise` or `checklist`.

    Returns:
        The answers table; forms of one label share its probability, and every label is one token.
    """

    def distribution(question: Question) -> Floats:
        values = [option.value for option in question.options]
        if any(value is None for value in values):
            raise InputError(f"Question {question.id!r} is no judge prompt: its options have no values.")
        of = _pairwise if "first" in question.tags else _scale
        return np.array(of(judge, question.tags, values))

    return planted_answers(list(questions), distribution)


def judged(names: Iterable[str], questions: Sequence[Question], cases: Cases, **how: float) -> list[Judgement]:
    """Return what planted judges say of cases.

    Args:
        names: Of `judge`.
        questions: Judge prompts about the cases.
        cases: Give people's lowest and highest score.
        how: Further arguments of `judge`.
    """
    judges = [judge(name, human=cases.ends, **how) for name in names]  # type: ignore[arg-type]
    return [judgement(each.name, answers(each, questions), cases.ids) for each in judges]


def judge(
    name: str,
    human: tuple[float, float] = (0.0, 1.0),
    strength: float = 8.0,
    slot: float = 1.5,
    accuracy: float = 0.8,
    q: float = 0.1,
    n: int = 5,
) -> PlantedJudge:
    """Return a planted judge by name.

    Args:
        name: `oracle` (as people), `first` (always slot 1), `longer`, `coin` (undecided on pairs, scores at random),
            `dice` (at random on every prompt), `yes` (undecided on pairs, the highest label for every answer), `cyclic`
            (each level beats the next ones round a circle), `slot_biased` (people's order plus a slot's log-odds),
            `noisy` (right on a proportion of the pairs, each verdict flipped with probability q).
        human: The lowest and the highest score people give.
        strength: Log-odds of a judge that is sure.
        slot: Of `slot_biased`: what the first slot adds, in nats.
        accuracy: Of `noisy`: proportion of pairs it truly gets right.
        q: Of `noisy`: flipping probability.
        n: Of `cyclic`: levels on the circle, an odd number.
    """
    if not human[0] < human[1]:
        raise InputError(f"A planted judge needs people's lowest and highest score, not {human}.")
    judges: dict[str, tuple[Callable[[Tags], float], Callable[[Tags], float]]] = {
        "oracle": (lambda t: strength * _better(t, "human"), lambda t: _level(t, human)),
        "first": (lambda t: strength, lambda t: 0.5),
        "longer": (lambda t: strength * _better(t, "chars"), lambda t: min(t["chars"] / 200, 1.0)),
        "coin": (lambda t: 0.0, lambda t: _hash(t["case"], t.get("candidate"))),
        "dice": (lambda t: strength * _throw(t), lambda t: _hash(t["case"], t.get("candidate"))),
        "cyclic": (lambda t: strength * _circle(t, n), lambda t: 0.5),
        "yes": (lambda t: 0.0, lambda t: 1.0),
        "slot_biased": (lambda t: slot + strength / 8 * _better(t, "human"), lambda t: _level(t, human)),
        "noisy": (lambda t: log((1 - q) / q) * _truly(t, accuracy), lambda t: _level(t, human)),
    }
    if name not in judges:
        raise unknown("planted judge", name, list(judges))
    lead, worth = judges[name]
    return PlantedJudge(name, lead, worth, tie=0.0 if name in ("noisy", "slot_biased") else 0.02)


def _pairwise(judge: PlantedJudge, tags: Tags, values: list[float | None]) -> list[float]:
    first = 1 / (1 + exp(-judge.lead(tags)))
    tie = judge.tie if 0.0 in values else 0.0
    verdict = {1.0: (1 - tie) * first, -1.0: (1 - tie) * (1 - first), 0.0: tie}
    return [max(verdict[float(v or 0)] / values.count(v), FLOOR) * (1 - 10 * FLOOR) for v in values]


def _scale(judge: PlantedJudge, tags: Tags, values: list[float | None]) -> list[float]:
    at = np.array(values, np.float64)
    place = (at - at.min()) / np.ptp(at)
    worth = judge.worth(tags) if tags.get("polarity", 1) > 0 else 1 - judge.worth(tags)
    weight = np.exp(-0.5 * ((place - worth) / judge.spread) ** 2) + FLOOR
    return [float(x) for x in weight / weight.sum() * (1 - 1e-8)]


def _better(tags: Tags, what: str) -> float:
    """Which answer has more of it: 1 the first, -1 the second, 0 neither or unknown."""
    return float(np.nan_to_num(np.sign(tags[f"{what}_first"] - tags[f"{what}_second"])))


def _level(tags: Tags, human: tuple[float, float]) -> float:
    """People's score between 0 and 1; the middle where it is unknown."""
    return float(np.nan_to_num((float(tags["human"]) - human[0]) / (human[1] - human[0]), nan=0.5))


def _circle(tags: Tags, n: int) -> float:
    gap = int(np.nan_to_num(tags["human_first"] - tags["human_second"])) % n
    return 0.0 if gap == 0 else 1.0 if gap <= n // 2 else -1.0


def _truly(tags: Tags, accuracy: float) -> float:
    """The better answer on a fixed proportion of the pairs, drawn by the pair's name."""
    low, high = sorted((tags["first"], tags["second"]))
    return _better(tags, "human") * (1.0 if _hash(tags["case"], low, high) < accuracy else -1.0)


def _throw(tags: Tags) -> float:
    """A number between -1 and 1, drawn by the prompt: the pair and its order."""
    return 2 * _hash(tags["case"], tags["first"], tags["second"]) - 1


def _hash(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:12], 16) / 16**12
