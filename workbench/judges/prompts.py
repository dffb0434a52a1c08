"""Templates of judge prompts, and the questions they make of a case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.datasets.formats import number, user_settings, user_text
from workbench.datasets.rendering import plain
from workbench.errors import InputError, unknown
from workbench.judges.cases import Case
from workbench.questions import Message, Option, Question, Tag

if TYPE_CHECKING:
    from workbench.models import Model

Kind = Literal["pointwise", "pairwise", "checklist"]
WRITTEN = Path(__file__).parent / "written"
PLACEHOLDERS = ("question", "answer", "answer_a", "answer_b", "reference", "rubric", "item", "low", "high")
SETTINGS = ("kind", "scale", "labels")
NEEDED: dict[Kind, tuple[str, ...]] = {
    "pointwise": ("answer",),
    "pairwise": ("answer_a", "answer_b"),
    "checklist": ("answer", "item"),
}


@dataclass(frozen=True, slots=True)
class Template:
    """How a judge is asked."""

    name: str
    """The file's name."""
    kind: Kind
    """One answer, two answers, or one answer and one requirement."""
    prompt: str
    """What is asked, with the placeholders `PLACEHOLDERS` in braces."""
    cue: str
    """How the judge's reply begins; the label is read right behind it."""
    labels: Mapping[str, float]
    """Label -> what it stands for. Pairwise: 1 the first is better, -1 the second, 0 neither."""
    scale: tuple[int, int] | None = None
    """Lowest and highest score, where the labels are a scale."""

    @property
    def span(self) -> str:
        """The scale or the labels in short: "1-5", "A/B/C"."""
        return "-".join(map(str, self.scale)) if self.scale else "/".join(self.labels)

    @property
    def key(self) -> str:
        """What its readings are called: "score 1-5"."""
        return f"{self.name} {self.span}"

    def options(self) -> tuple[Option, ...]:
        """The labels as they are scored.

        Numbers of a scale stand behind a space. Other labels come in several forms, whose probabilities add up: with
        and without the space, words of two letters and more also in other cases (Yes, YES, yes).
        """
        if self.scale:
            return tuple(Option(f" {label}", "none", value) for label, value in self.labels.items())
        return tuple(Option(form, "none", v) for label, v in self.labels.items() for form in _forms(label))


def load_template(source: str | Path, scale: tuple[int, int] | None = None, **labels: float) -> Template:
    """A judge's template: one of `template_names()`, or a user's file.

    A file has three parts between lines of `---`: settings (`kind: pointwise`, and `scale: [1, 5]` or
    `labels: {A: 1, B: -1, C: 0}`), the prompt, and how the reply begins.

    Args:
        source: Name or path.
        scale: Another scale than the file's.
        labels: Other labels than the file's, each with its value.

    Raises:
        InputError: There is no such template, or a part, a placeholder or the labels are wrong.
    """
    path = WRITTEN / f"{source}.txt" if str(source) in template_names() else Path(source).expanduser()
    if not path.is_file():
        raise unknown("judge template", str(source), [*template_names(), "or the path of a file"])
    parts = re.split(r"^---\s*$\n?", user_text(path), flags=re.MULTILINE)
    settings = user_settings(parts[0], path.name) if len(parts) == 3 else None
    if not isinstance(settings, dict) or settings.get("kind") not in get_args(Kind):
        raise InputError(
            f"{path.name} needs three parts between lines of ---: settings with a kind ({', '.join(get_args(Kind))}), "
            "the prompt, the cue."
        )
    if strange := [str(key) for key in settings if key not in SETTINGS]:
        raise unknown("setting", strange[0], list(SETTINGS), f" of {path.name}")
    if "scale" in settings and "labels" in settings:
        raise InputError(f"{path.name} has a scale and labels; keep one of them.")
    scale = scale or (_ends(settings["scale"]) if "scale" in settings and not labels else None)
    found = _scale_labels(scale) if scale else _valued(labels or settings.get("labels"), path.name)
    template = Template(path.stem, settings["kind"], parts[1].strip(), parts[2].strip(), found, scale)
    _check(template)
    return template


def template_names() -> list[str]:
    """The templates written for this project."""
    return sorted(path.stem for path in WRITTEN.glob("*.txt"))


def _forms(label: str) -> list[str]:
    words = [label]
    if len(label) > 1 and label.isalpha():
        words = list(dict.fromkeys((label, label.capitalize(), label.upper(), label.lower())))
    return [space + word for word in words for space in (" ", "")]


def _ends(scale: Any) -> tuple[Any, ...]:
    return tuple(scale) if isinstance(scale, list) else (scale,)


def _valued(labels: Any, name: str) -> dict[str, float]:
    """Labels with their values."""
    found = {str(label): number(value) for label, value in (labels.items() if isinstance(labels, Mapping) else ())}
    if not found or None in found.values():
        raise InputError(f"{name} needs a `scale: [1, 5]`, or `labels:` with a number each, as in {{A: 1, B: -1}}.")
    return {label: value for label, value in found.items() if value is not None}


def _scale_labels(scale: Sequence[Any]) -> dict[str, float]:
    if len(scale) != 2 or not all(isinstance(end, int) for end in scale) or scale[0] >= scale[1]:
        raise InputError(f"A scale is two whole numbers, the lower first, not {list(scale)}.")
    return {str(level): float(level) for level in range(scale[0], scale[1] + 1)}


def _check(template: Template) -> None:
    """Refuse placeholders that are missing or unknown, and labels that say nothing."""
    found = re.findall(r"\{(\w+)\}", template.prompt)
    own = {name for names in NEEDED.values() for name in names} - set(NEEDED[template.kind])
    empty = own if template.scale else {*own, "low", "high"}
    for mark, name in re.findall(r"(\{[{\s]*(\w+)[\s}]*\})", template.prompt):
        if name in PLACEHOLDERS and mark != f"{{{name}}}":
            raise InputError(f"Template {template.name!r} has {mark!r} where {{{name}}} is meant; write it so.")
        if name in empty:
            why = "has no scale" if name in ("low", "high") else f"is {template.kind}"
            raise InputError(f"Template {template.name!r} {why}, and nothing fills {{{name}}}; take it out.")
    if filled := [name for name in re.findall(r"\{\W*(\w+)\W*\}", template.cue) if name in PLACEHOLDERS]:
        raise InputError(f"Template {template.name!r} has {{{filled[0]}}} in its cue; put it into the prompt.")
    for name in found:
        if name not in PLACEHOLDERS:
            raise unknown("placeholder", name, list(PLACEHOLDERS), f" in template {template.name!r}")
    for name in NEEDED[template.kind]:
        if name not in found:
            raise InputError(f"Template {template.name!r} is {template.kind} and needs the placeholder {{{name}}}.")
    forms: dict[str, str] = {}
    for label in () if template.scale else template.labels:
        for form in _forms(label):
            if form in forms:
                raise InputError(
                    f"Labels {forms[form]!r} and {label!r} of template {template.name!r} are one; rename one."
                )
            forms[form] = label
    values = set(template.labels.values())
    if len(values) < 2:
        raise InputError(f"Template {template.name!r} needs at least two labels of different value.")
    if template.kind == "pairwise" and not {1.0, -1.0} <= values <= {1.0, -1.0, 0.0}:
        raise InputError(f"Labels of the pairwise template {template.name!r} are 1, -1 and 0, not {sorted(values)}.")


THINK = "Before you decide, say in two or three sentences what speaks for and against."


def questions(cases: Iterable[Case], templates: Iterable[Template], chat: bool = True) -> list[Question]:
    """Return the questions of several templates about the same cases, one template after the other."""
    made, asks = list(cases), {"pointwise": pointwise, "pairwise": pairwise, "checklist": checklist}
    return [question for template in templates for question in asks[template.kind](made, template, chat)]


def pointwise(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """One question per answer, tagged `case`, `candidate`, `template`, `human` and `chars`."""
    _kind(template, "pointwise")
    return [
        _question(template, case, chat, f"{i}", _facts(case, i) | {"candidate": i}, answer=answer)
        for case in cases
        for i, answer in enumerate(case.answers)
    ]


def pairwise(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """One question per ordered pair of answers, so each pair in both orders; empty answers are left out.

    Tags: `case`, `first`, `second` (indices), `template`, and `human` and `chars` of both with `_first`, `_second`.
    """
    _kind(template, "pairwise")
    questions = []
    for case in cases:
        there = [i for i, answer in enumerate(case.answers) if answer.strip()]
        for i, j in permutations(there, 2):
            tags = _facts(case, i, "_first") | _facts(case, j, "_second") | {"first": i, "second": j}
            texts = {"answer_a": case.answers[i], "answer_b": case.answers[j]}
            questions.append(_question(template, case, chat, f"{i}-{j}", tags, **texts))
    return questions


def checklist(cases: Iterable[Case], template: Template, chat: bool = True) -> list[Question]:
    """One question per answer and distinct requirement, tagged `case`, `candidate`, `item` and `polarity`.

    Polarity is 1, and -1 where the answer should be No (requirements that begin with "!").
    """
    _kind(template, "checklist")
    questions = []
    for case in cases:
        for i, answer in enumerate(case.answers):
            for k, item in enumerate(dict.fromkeys(case.checklist)):
                tags = _facts(case, i) | {"candidate": i, "item": k, "polarity": -1 if item.startswith("!") else 1}
                texts = {"answer": answer, "item": item.removeprefix("!").strip()}
                questions.append(_question(template, case, chat, f"{i}.{k}", tags, **texts))
    return questions


def likelihood(cases: Iterable[Case], chat: bool = False) -> list[Question]:
    """One question per case whose options are the answers themselves, for judging by their likelihood.

    Plain text unless `chat`, and then behind "Answer:", after which the same answers can be scored without a question.
    """
    questions = []
    for case in cases:
        asked = case.messages or (Message("user", case.question),)
        prompt = asked if chat else plain(asked)
        space = "" if chat else " "
        options = tuple(Option(space + answer, "none", score) for answer, score in zip(case.answers, case.scores))
        questions.append(Question(prompt, options, {**case.tags, "case": case.id}, f"likelihood:{case.id}"))
    return questions


def after_reasoning(questions: Sequence[Question], thoughts: Any) -> list[Question]:
    """The same questions asked after chains of thought, one per sample, tagged `sample`; the cue follows the thought.

    Args:
        questions: Judge prompts in chat form.
        thoughts: The table of `generate` for the prompts of `reasoning_prompts(questions)`.
    """
    found = []
    for index, sample, text in zip(thoughts["prompt"], thoughts["sample"], thoughts["text"]):
        question = questions[int(index)]
        *asked, cue = _messages(question)
        prompt = (*asked, Message("assistant", f"{text.strip()}\n{cue.content}"))
        tags = {**question.tags, "sample": int(sample)}
        found.append(replace(question, prompt=prompt, tags=tags, id=f"{question.id}:{sample}"))
    return found


def reasoned(model: Model, questions: Sequence[Question], samples: int, seed: int) -> Sequence[Question]:
    """Return the questions after `samples` chains of thought each, which the model writes; without any, as they are."""
    from workbench.extraction import generate

    if not samples:
        return questions
    prompts = reasoning_prompts(questions)
    return after_reasoning(questions, generate(model, prompts, samples=samples, max_new_tokens=96, seed=seed))


def reasoning_prompts(questions: Sequence[Question]) -> list[tuple[Message, ...]]:
    """The prompts without the beginning of the reply, for the judge to think first."""
    return [
        tuple(Message(m.role, f"{m.content}\n\n{THINK}") for m in _messages(question)[:-1]) for question in questions
    ]


def _messages(question: Question) -> tuple[Message, ...]:
    if isinstance(question.prompt, str):
        raise InputError("Thinking before a verdict needs chat prompts; build the questions with chat=True.")
    return question.prompt


def _question(template: Template, case: Case, chat: bool, place: str, tags: Mapping[str, Tag], **own: str) -> Question:
    low, high = template.scale or ("", "")
    texts = {"question": case.question, "reference": case.reference, "rubric": case.rubric, **own}
    texts |= {"low": str(low), "high": str(high)}
    if missing := _missing(template, case):
        raise InputError(f"Template {template.name!r} needs a {missing}; the case {case.question[:40]!r} has none.")
    text = re.sub(r"\{(\w+)\}", lambda match: texts.get(match[1], match[0]), template.prompt)
    prompt = (Message("user", text), Message("assistant", template.cue)) if chat else f"{text}\n{template.cue}"
    name = f"{template.name}:{template.span}:{case.id}:{place}"
    about: dict[str, Tag] = {"case": case.id, "template": template.name, "labels": template.span}
    return Question(prompt, template.options(), {**case.tags, **about, **tags}, name)


def can_fill(template: Template, case: Case) -> bool:
    """Whether a case has the reference and the rubric that a template asks for."""
    return not _missing(template, case)


def _missing(template: Template, case: Case) -> str:
    given = {"reference": case.reference, "rubric": case.rubric}
    return next((name for name, text in given.items() if f"{{{name}}}" in template.prompt and not text.strip()), "")


def _facts(case: Case, i: int, suffix: str = "") -> dict[str, Tag]:
    return {f"human{suffix}": case.scores[i], f"chars{suffix}": len(case.answers[i])}


def _kind(template: Template, kind: Kind) -> None:
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
    """One question per answer: the dialogue, and next turns of the user as options (value 1 pleased, 0 displeased).

    The dialogue is written out as plain text, so that the next turn is the user's whatever the chat template.
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
