"""Templates of judge prompts, and the questions made from them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from string import whitespace
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.datasets.formats import number
from workbench.datasets.rendering import plain
from workbench.datasets.sources import names_of
from workbench.errors import InputError, unknown
from workbench.files import user_path
from workbench.judges.cases import Case
from workbench.questions import Message, Option, Question, Tag
from workbench.reading import parse_yaml, read_text

if TYPE_CHECKING:
    import pandas as pd

    from workbench.models import Model

Kind = Literal["pointwise", "pairwise", "checklist"]
WRITTEN = Path(__file__).parent / "written"
PLACEHOLDERS = ("question", "answer", "answer_a", "answer_b", "reference", "rubric", "item", "low", "high")
SETTINGS = ("kind", "scale", "labels")
BRACES = "{}" + whitespace
MOST_LABELS = 1000
NEEDED: dict[Kind, tuple[str, ...]] = {
    "pointwise": ("answer",),
    "pairwise": ("answer_a", "answer_b"),
    "checklist": ("answer", "item"),
}


@dataclass(frozen=True, slots=True)
class Template:
    """A judge prompt with placeholders, and its labels."""

    name: str
    """Name of the file."""
    kind: Kind
    """Whether it takes one answer, two answers, or one answer and one requirement."""
    prompt: str
    """The prompt, with `PLACEHOLDERS` in braces."""
    prefix: str
    """Prefix of the judge's reply. The label is scored directly after it."""
    labels: Mapping[str, float]
    """Label -> value. Pairwise: 1 the first answer is better, -1 the second, 0 neither."""
    scale: tuple[int, int] | None = None
    """Lowest and highest score, if the labels are a scale."""

    @property
    def span(self) -> str:
        """The scale or the labels in short: "1-5", "A/B/C"."""
        return "-".join(map(str, self.scale)) if self.scale else "/".join(self.labels)

    @property
    def key(self) -> str:
        """Name of its responses in a `Judgement`: "score 1-5"."""
        return f"{self.name} {self.span}"

    def options(self) -> tuple[Option, ...]:
        """Return the labels as options.

        Numbers of a scale follow a space. Other labels have several surface forms, whose probabilities are added: with
        and without the space, and words of two or more letters also in other cases (Yes, YES, yes).
        """
        if self.scale:
            return tuple(Option(f" {label}", "none", value) for label, value in self.labels.items())
        return tuple(Option(form, "none", v) for label, v in self.labels.items() for form in _forms(label))


def load_template(source: str | Path, scale: tuple[int, int] | None = None, **labels: float) -> Template:
    """Return a judge template: a name of `datasets.names("templates")`, or a user's file.

    A file has three parts between lines of `---`: settings (`kind: pointwise`, and `scale: [1, 5]` or
    `labels: {A: 1, B: -1, C: 0}`), the prompt, and the prefix of the reply.

    Args:
        source: Name or path.
        scale: Replaces the scale of the file.
        labels: Replace the labels of the file, each with its value.

    Raises:
        InputError: An unknown template, or an invalid part, placeholder or label.
    """
    path = WRITTEN / f"{source}.txt" if str(source) in names_of("templates") else user_path(source)
    if not os.path.lexists(path):
        raise unknown("judge template", str(source), [*names_of("templates"), "or the path of a file"])
    parts = re.split(r"^---\s*$\n?", read_text(path), flags=re.MULTILINE)
    settings = parse_yaml(parts[0], path.name) if len(parts) == 3 else None
    if not isinstance(settings, dict) or settings.get("kind") not in get_args(Kind):
        raise InputError(
            f"{path.name} needs three parts between lines of ---: settings with a kind ({', '.join(get_args(Kind))}), "
            "the prompt, the prefix of the reply."
        )
    if strange := [str(key) for key in settings if key not in SETTINGS]:
        raise unknown("setting", strange[0], list(SETTINGS), f" of {path.name}")
    if "scale" in settings and "labels" in settings:
        raise InputError(f"{path.name} has a scale and labels; keep one of them.")
    if scale is None and "scale" in settings and not labels:
        ends = settings["scale"]
        scale = tuple(ends if isinstance(ends, list) else [ends])
    if scale:
        if len(scale) != 2 or not all(isinstance(end, int) for end in scale) or scale[0] >= scale[1]:
            raise InputError(f"A scale is two whole numbers, the lower first, not {list(scale)}.")
        levels = range(scale[0], min(scale[1], scale[0] + MOST_LABELS) + 1)
        values: dict[str, float | None] = {str(level): float(level) for level in levels}
    else:
        named = labels or settings.get("labels")
        values = {str(k): number(v) for k, v in (named.items() if isinstance(named, Mapping) else ())}
    valued = {label: value for label, value in values.items() if value is not None}
    if not valued or len(valued) < len(values):
        raise InputError(f"{path.name} needs a `scale: [1, 5]`, or `labels:` with a number each: {{A: 1, B: -1}}.")
    template = Template(path.stem, settings["kind"], parts[1].strip(), parts[2].strip(), valued, scale)
    _check(template)
    return template


def _forms(label: str) -> list[str]:
    words = [label]
    if len(label) > 1 and label.isalpha():
        words = list(dict.fromkeys((label, label.capitalize(), label.upper(), label.lower())))
    return [space + word for word in words for space in (" ", "")]


def _words(text: str) -> Iterable[tuple[str, str, str]]:
    """Return the words of a text, each with what is between it and its neighbours."""
    parts = re.split(r"(\w+)", text)
    return zip(parts[::2], parts[1::2], parts[2::2])


def _check(template: Template) -> None:
    """Refuse missing or unknown placeholders, and ambiguous labels."""
    at, used = f"template {template.name!r}", re.findall(r"\{(\w+)\}", template.prompt)
    if len(template.labels) > MOST_LABELS:
        raise InputError(f"The {at} has {len(template.labels):,} labels, more than {MOST_LABELS:,}; use fewer.")
    unfilled = {name for names in NEEDED.values() for name in names} - set(NEEDED[template.kind])
    unfilled |= set() if template.scale else {"low", "high"}
    for before, name, after in _words(template.prompt):
        left, right = before[len(before.rstrip(BRACES)) :], after[: len(after) - len(after.lstrip(BRACES))]
        if name not in (*PLACEHOLDERS, *unfilled) or "{" not in left or "}" not in right:
            continue
        mark = left[left.index("{") :] + name + right[: right.rindex("}") + 1]
        if mark != f"{{{name}}}":
            raise InputError(f"{mark!r} in {at} must be {{{name}}}, in single braces without spaces.")
        if name in unfilled:
            why = "has no scale" if name in ("low", "high") else f"is {template.kind}"
            raise InputError(f"{{{name}}} has no value in {at}, which {why}; remove it.")
    if filled := [
        n for left, n, right in _words(template.prefix) if n in PLACEHOLDERS and "{" in left and "}" in right
    ]:
        raise InputError(f"{{{filled[0]}}} is in the prefix of the reply of {at}; move it to the prompt.")
    for name in used:
        if name not in PLACEHOLDERS:
            raise unknown("placeholder", name, list(PLACEHOLDERS), f" in {at}")
    for name in NEEDED[template.kind]:
        if name not in used:
            raise InputError(f"The {template.kind} {at} needs the placeholder {{{name}}}.")
    forms: dict[str, str] = {}
    for label in () if template.scale else template.labels:
        for form in _forms(label):
            if forms.setdefault(form, label) != label:
                raise InputError(f"Labels {forms[form]!r} and {label!r} of {at} have the same forms; rename one.")
    values = set(template.labels.values())
    if len(values) < 2:
        raise InputError(f"The {at} needs at least two labels of different value.")
    if template.kind == "pairwise" and not {1.0, -1.0} <= values <= {1.0, -1.0, 0.0}:
        raise InputError(f"Labels of the pairwise {at} must have the values 1, -1 and 0, not {sorted(values)}.")


THINK = "Before you decide, say in two or three sentences what speaks for and against."


def questions(cases: Iterable[Case], templates: Iterable[Template], chat: bool = True) -> list[Question]:
    """Return the questions of several templates about the same cases, one template after the other."""
    cases, make = list(cases), {"pointwise": pointwise, "pairwise": pairwise, "checklist": checklist}
    return [question for template in templates for question in make[template.kind](cases, template, chat)]


def pointwise(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """Return one question per answer, tagged `case`, `candidate`, `template`, `human` and `chars`."""
    _check_kind(template, "pointwise")
    return [
        _question(template, case, chat, f"{i}", _tags(case, i) | {"candidate": i}, answer=answer)
        for case in cases
        for i, answer in enumerate(case.answers)
    ]


def pairwise(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """Return one question per ordered pair of non-empty answers, so that each pair is shown in both orders.

    Tags: `case`, `first`, `second` (indices), `template`, and `human` and `chars` of both with `_first`, `_second`.
    """
    _check_kind(template, "pairwise")
    questions = []
    for case in cases:
        there = [i for i, answer in enumerate(case.answers) if answer.strip()]
        for i, j in permutations(there, 2):
            tags = _tags(case, i, "_first") | _tags(case, j, "_second") | {"first": i, "second": j}
            texts = {"answer_a": case.answers[i], "answer_b": case.answers[j]}
            questions.append(_question(template, case, chat, f"{i}-{j}", tags, **texts))
    return questions


def checklist(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """Return one question per answer and distinct requirement, tagged `case`, `candidate`, `item` and `polarity`.

    Polarity is -1 if No meets the requirement (requirements that begin with "!"), else 1.
    """
    _check_kind(template, "checklist")
    questions = []
    for case in cases:
        for i, answer in enumerate(case.answers):
            for k, item in enumerate(dict.fromkeys(case.checklist)):
                tags = _tags(case, i) | {"candidate": i, "item": k, "polarity": -1 if item.startswith("!") else 1}
                texts = {"answer": answer, "item": item.removeprefix("!").strip()}
                questions.append(_question(template, case, chat, f"{i}.{k}", tags, **texts))
    return questions


def likelihood(cases: Iterable[Case], chat: bool = False) -> list[Question]:
    """Return one question per case whose options are the answers, for rewards from their likelihood.

    The prompt is plain text that ends in "Answer:" unless `chat`; unconditional scores use "Answer:" alone.
    """
    questions = []
    for case in cases:
        turns = case.messages or (Message("user", case.question),)
        prompt = turns if chat else plain(turns)
        space = "" if chat else " "
        options = tuple(Option(space + answer, "none", score) for answer, score in zip(case.answers, case.scores))
        questions.append(Question(prompt, options, {**case.tags, "case": case.id}, f"likelihood:{case.id}"))
    return questions


def after_reasoning(questions: Sequence[Question], thoughts: Any) -> list[Question]:
    """Return the questions with a chain of thought before the prefix of the reply, one per sample, tagged `sample`.

    `thoughts` is the table of `generate` for `reasoning_prompts(questions)`.
    """
    extended = []
    for index, sample, text in zip(thoughts["prompt"], thoughts["sample"], thoughts["text"]):
        question = questions[int(index)]
        *turns, prefix = _messages(question)
        prompt = (*turns, Message("assistant", f"{text.strip()}\n{prefix.content}"))
        tags = {**question.tags, "sample": int(sample)}
        extended.append(replace(question, prompt=prompt, tags=tags, id=f"{question.id}:{sample}"))
    return extended


def reasoned(model: Model, questions: Sequence[Question], samples: int, seed: int) -> Sequence[Question]:
    """Return the questions after `samples` generated chains of thought each; unchanged if `samples` is 0."""
    from workbench.extraction import generate

    if not samples:
        return questions
    prompts = reasoning_prompts(questions)
    return after_reasoning(questions, generate(model, prompts, samples=samples, max_new_tokens=96, seed=seed))


def whole_answers(model: Model, questions: Sequence[Question], unconditional: str | None = None) -> pd.DataFrame | None:
    """Return the answers to questions whose options are whole texts; None behind a chat endpoint, which has no such."""
    from workbench.extraction import ask

    if model.server is not None and model.server.address.chat:
        return None
    return ask(model, questions, unconditional=unconditional)


def reasoning_prompts(questions: Sequence[Question]) -> list[tuple[Message, ...]]:
    """Return the prompts that ask for a chain of thought, without the prefix of the reply."""
    return [
        tuple(Message(m.role, f"{m.content}\n\n{THINK}") for m in _messages(question)[:-1]) for question in questions
    ]


def _messages(question: Question) -> tuple[Message, ...]:
    if isinstance(question.prompt, str):
        raise InputError("A chain of thought needs chat prompts; build the questions with chat=True.")
    return question.prompt


def _question(
    template: Template, case: Case, chat: bool, place: str, tags: Mapping[str, Tag], **texts: str
) -> Question:
    low, high = template.scale or ("", "")
    values = {"question": case.question, "reference": case.reference, "rubric": case.rubric, **texts}
    values |= {"low": str(low), "high": str(high)}
    if missing := _missing(template, case):
        raise InputError(f"Template {template.name!r} needs a {missing}; the case {case.question[:40]!r} has none.")
    text = re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), template.prompt)
    prompt = (Message("user", text), Message("assistant", template.prefix)) if chat else f"{text}\n{template.prefix}"
    name = f"{template.name}:{template.span}:{case.id}:{place}"
    about: dict[str, Tag] = {"case": case.id, "template": template.name, "labels": template.span}
    return Question(prompt, template.options(), {**case.tags, **about, **tags}, name)


def can_fill(template: Template, case: Case) -> bool:
    """Return whether a case has the reference and the rubric that a template needs."""
    return not _missing(template, case)


def _missing(template: Template, case: Case) -> str:
    texts = {"reference": case.reference, "rubric": case.rubric}
    return next((name for name, text in texts.items() if f"{{{name}}}" in template.prompt and not text.strip()), "")


def _tags(case: Case, i: int, suffix: str = "") -> dict[str, Tag]:
    return {f"human{suffix}": case.scores[i], f"chars{suffix}": len(case.answers[i])}


def _check_kind(template: Template, kind: Kind) -> None:
    if template.kind != kind:
        raise InputError(f"Template {template.name!r} is {template.kind}, not {kind}.")


PLEASED = (
    "Thank you, that is just what I wanted to know.",
    "That is right, and well explained.",
    "Great, now I understand.",
)
DISPLEASED = (
    "That is not what I asked.",
    "I think that is wrong.",
    "That does not help me at all.",
)


def follow_up_questions(cases: Iterable[Case]) -> list[Question]:
    """Return one question per answer whose options are next turns of the user (value 1 pleased, 0 displeased).

    The dialogue is plain text, so that the next turn is the user's with any chat template.
    """
    options = tuple(Option(f" {t}", "none", v) for v, texts in ((1.0, PLEASED), (0.0, DISPLEASED)) for t in texts)
    return [
        Question(
            f"User: {case.question}\n\nAssistant: {answer}\n\nUser:",
            options,
            {**case.tags, "case": case.id, "candidate": i, "human": case.scores[i]},
            f"follow-up:{case.id}:{i}",
        )
        for case in cases
        for i, answer in enumerate(case.answers)
        if answer.strip()
    ]
