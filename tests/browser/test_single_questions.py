"""Single questions in a report: searched, sorted and filtered, by mouse and keyboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chromium import Page
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from records import a_run

import workbench as wb
from workbench.browse import show
from workbench.errors import InputError
from workbench.planted import planted_answers
from workbench.questions import Message, Option, Question, Questions
from workbench.reports.html import render

ROLES = ("correct", "wrong", "abstain")
QUESTIONS = Questions(
    Question(
        f"Some <b>context</b> {k}.\nQ: What is {k}?\nA:" if k else (Message("user", "What is 0?"),),
        tuple(Option(f" {role} {k}", role) for role in ROLES),
        {"subject": f"s{k % 3}", "benchmark": "own"},
        id=f"q{k}",
    )
    for k in range(12)
)
SHOWN = "[...document.querySelectorAll('.single > details:not([hidden]) summary b')].map(b => b.textContent)"


@pytest.fixture(scope="module")
def answers() -> pd.DataFrame:
    masses = [np.array([k + 1, 12 - k, 2 if k == 5 else 0.5]) for k in range(12)]
    return planted_answers(QUESTIONS, lambda question: (m := masses[int(question.id[1:])]) / m.sum())


def choose(page: Page, label: str, value: str) -> None:
    page.run(f"""(() => {{ const select = document.querySelector('[aria-label="{label}"]');
        select.value = {value!r}; select.dispatchEvent(new Event("input")); }})()""")


def test_questions_are_searched_sorted_and_filtered(page: Page, answers: pd.DataFrame, tmp_path: Path) -> None:
    html = wb.show(answers, QUESTIONS, sort="p(correct)")._repr_html_()
    output = new_output("display_data", data={"text/html": html})
    cells = [new_markdown_cell("# T"), new_code_cell("wb.show(answers)", outputs=[output])]
    (tmp_path / "page.html").write_text(render(a_run(), new_notebook(cells=cells)))
    page.open((tmp_path / "page.html").as_uri())
    assert page.run(SHOWN) == [str(k + 1) for k in range(12)]
    choose(page, "Sort by", "-p(correct)")
    assert page.run(SHOWN)[:2] == ["12", "11"]
    choose(page, "subject", "=s1")
    assert page.run(SHOWN) == ["11", "8", "5", "2"]
    choose(page, "Search the questions", "what is 4?")
    assert page.run(SHOWN) == ["5"] and page.run("document.querySelector('.single output').value") == "1 of 12"
    choose(page, "Search the questions", "")
    page.run("document.querySelector('.single > details:not([hidden]) summary').focus()")
    for key, code, text in (("ArrowDown", 40, {}), ("Enter", 13, {"text": "\r"})):
        for kind in ("rawKeyDown", "char", "keyUp"):
            more = text if kind == "char" else {}
            page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)
    opened = page.run("[...document.querySelectorAll('.single > details[open]')].map(each => each.innerText)")
    assert len(opened) == 1 and "Some <b>context</b> 7." in opened[0] and "correct 7" in opened[0]
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    assert page.run("document.documentElement.scrollWidth <= 390")


def test_a_question_shows_what_was_asked_and_what_is_flagged(answers: pd.DataFrame) -> None:
    shown = show([answers], [QUESTIONS], most=1)
    text = shown._repr_html_()
    assert repr(shown).splitlines() == ["The first 1 of 12 questions", "1. What is 0?: wrong 0 (wrong, 0.89)"]
    assert "[user]\nWhat is 0?" in text and text.count('<td class="bar">') == 3 and "subject" in text
    scores = pd.DataFrame({"question_id": [q.id for q in QUESTIONS], "mine": np.arange(12.0)[::-1]})
    assert show(answers, scores=scores, sort="mine").lines[0].startswith("12. q11")
    for wrong in ({"sort": "mine"}, {"most": 0}, {"scores": scores[1:]}):
        with pytest.raises(InputError):
            show(answers, **wrong)
