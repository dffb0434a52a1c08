"""Single questions of an answers table, as a reader explores them: prompt, options, probabilities and flags."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.answers import FLAGS, block_starts, outcomes, probabilities, tag_columns
from workbench.digits import number
from workbench.errors import InputError, unknown
from workbench.questions import Message, Question

SCRIPT = Path(__file__).parent / "reports" / "browse.js"
"""Sorts and filters the questions; a report has it too, since scripts of outputs do not run there."""
METRICS = {
    "p_correct": "p(correct)",
    "p_wrong": "p(wrong)",
    "p_abstain": "p(abstain)",
    "choice_p": "p of the most probable",
    "mass": "mass of the options",
}
"""Columns of `outcomes` by which questions are sorted."""
BAR = 24
"""Characters of a bar of probability 1."""
LONGEST, LONGEST_PROMPT = 110, 20_000
"""Characters of a question in its heading, and of a prompt."""
ASKING = re.compile(r"(question|q)\s*:\s*", re.IGNORECASE)
TECHNICAL = {"order", "style", "instruction"}
"""Tags that state how a question was put."""
STYLE = """<style>
.single table { width: 100%; font-variant-numeric: tabular-nums } .single td, .single th { text-align: left }
.single pre { white-space: pre-wrap; max-width: 100% } .single .bar { white-space: pre; color: #0072b2 }
.single .num { text-align: right }
</style>"""


@dataclass(frozen=True, slots=True, repr=False)
class ShownAnswers:
    """Questions with their answers, one folded section each."""

    sections: list[str]
    """HTML of each question."""
    total: int
    """Number of questions of the table."""
    lines: list[str]
    """One line of text for each question."""

    def __repr__(self) -> str:
        return "\n".join([self._count(), *self.lines])

    def _count(self) -> str:
        shown = len(self.sections)
        return f"{shown} questions" if shown == self.total else f"The first {shown} of {self.total} questions"

    def _repr_html_(self) -> str:
        body = "".join(self.sections)
        name = "single-" + hashlib.sha256(body.encode()).hexdigest()[:8]
        script = f"(() => {{{SCRIPT.read_text(encoding='utf-8')}browse(document.getElementById('{name}'));}})();"
        return f'{STYLE}<div class="single" id="{name}"><p>{self._count()}</p>{body}</div><script>{script}</script>'


def show(
    answers: pd.DataFrame | Sequence[pd.DataFrame],
    questions: Iterable[Question | Iterable[Question]] = (),
    scores: pd.DataFrame | None = None,
    sort: str = "",
    most: int = 50,
) -> ShownAnswers:
    """Return the single questions of an answers table for display: prompt, options as bars, mass, flags and tags.

    In JupyterLab and in a report they can be searched, sorted by any metric and filtered by any tag; without scripts,
    as in a notebook that is not trusted, each can be opened.

    Args:
        answers: Returned by `ask` or `probabilities`, or several such tables.
        questions: The questions, of one set or several; without them, prompts are not shown.
        scores: One row per question with `question_id` and metrics, such as `distributional_correctness.scores(p)`.
        sort: Metric whose smallest values come first; empty for the order of the table.
        most: Number of questions shown.

    Raises:
        InputError: `sort` is not a metric, `most` is not positive, or `scores` has another number of rows.
    """
    if most < 1:
        raise InputError(f"most must be at least 1, not {most}.")
    parts = [answers] if isinstance(answers, pd.DataFrame) else [*answers]
    p = pd.concat([part if "p" in part.columns else probabilities(part) for part in parts], ignore_index=True)
    results = outcomes(p)
    numbers = results.rename(columns=METRICS)[list(METRICS.values())]
    if scores is not None:
        if len(scores) != len(results) or list(scores["question_id"]) != list(results["question_id"]):
            raise InputError("scores must have one row per question of the answers, in their order.")
        names = [str(name) for name in scores.select_dtypes("number") if name not in results]
        numbers = numbers.assign(**{name: scores[name].to_numpy() for name in names})
    if sort and sort not in numbers:
        raise unknown("metric", sort, list(map(str, numbers)))
    order = numbers[sort].argsort(kind="stable") if sort else range(len(results))
    starts = [*block_starts(p), len(p)]
    every = (q for each in questions for q in ([each] if isinstance(each, Question) else each))
    prompts = {(q.id, str(q.tags.get("benchmark", ""))): q for q in every}
    sections, lines = [], []
    for at in list(order)[:most]:
        rows, result = p.iloc[starts[at] : starts[at + 1]], results.iloc[at]
        question = prompts.get((result["question_id"], str(rows.iloc[0].get("benchmark", ""))))
        section, line = _section(at + 1, rows, result, dict(zip(map(str, numbers), numbers.iloc[at])), question)
        sections.append(section)
        lines.append(line)
    return ShownAnswers(sections, len(results), lines)


def _section(
    position: int, rows: pd.DataFrame, result: Any, numbers: dict[str, float], question: Question | None
) -> tuple[str, str]:
    """HTML and text of one question."""
    best = rows.iloc[int(result["choice"])]
    prompt = _prompt(question) if question else ""
    heading = _shortened(_question_in(prompt) or str(result["question_id"]))
    chosen = f"{_shortened(best['text'])!s} ({best['role']}, {number(result['choice_p'])})"
    flags = [name.replace("_", " ") for name in FLAGS if name in rows and rows[name].any()]
    flags += ["low mass"] * bool(result["low_mass"]) + ["tie"] * bool(result["tie"])
    tags = {name: result[name] for name in tag_columns(rows) if name in result.index and name not in TECHNICAL}
    body = "".join(
        f"<tr><td>{html.escape(str(row['text']).strip())}</td><td>{html.escape(str(row['role']))}</td>"
        f'<td class="bar">{"█" * round(BAR * row["p"])}</td><td class="num">{_probability(row["p"])}</td></tr>'
        for _, row in rows.iterrows()
    )
    head = '<th scope="col">option</th><th scope="col">role</th><th scope="col"></th><th scope="col">probability</th>'
    parts = [
        f"<summary><b>{position}</b> {html.escape(heading)} <small>{html.escape(chosen)}</small></summary>",
        f"<pre>{html.escape(prompt[:LONGEST_PROMPT])}</pre>" if prompt else "",
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        _listed("metrics", ((name, number(value, 3)) for name, value in numbers.items())),
        _listed("flags", (("flag", flag) for flag in flags)) if flags else "",
        _listed("tags", [("most probable", best["role"]), *tags.items()]),
    ]
    return f"<details>{''.join(parts)}</details>", f"{position}. {heading}: {chosen}"


def _probability(p: float) -> str:
    return "&lt;0.001" if 0 < p < 0.0005 else number(p, 3)


def _listed(kind: str, facts: Iterable[tuple[str, Any]]) -> str:
    """Facts in one paragraph, each as `<span><i>name</i> value</span>`, which the script reads."""
    spans = (f"<span><i>{html.escape(name)}</i> {html.escape(str(value))}</span>" for name, value in facts)
    return f'<p class="{kind}"><small>{" · ".join(spans)}</small></p>'


def _prompt(question: Question) -> str:
    """The prompt as text, of a chat with the role of each message."""
    if isinstance(question.prompt, str):
        return question.prompt
    return "\n\n".join(
        f"[{each.role}]\n{each.content}" if isinstance(each, Message) else str(each) for each in question.prompt
    )


def _question_in(prompt: str) -> str:
    """The line of a prompt that is most likely the question: the last that ends with a question mark, else the last."""
    lines = [ASKING.sub("", line.strip()) for line in prompt.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.endswith("?")), lines[-1] if lines else "")


def _shortened(text: object) -> str:
    plain = " ".join(str(text).split())
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 2]} …"
