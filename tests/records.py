"""Records of made-up runs."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from legible import CODE, faults

from workbench.runs.checkout import package_versions
from workbench.runs.record import Failure, Figure, Finding, Headline, Run, Source, host

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="9" height="9"/></svg>'


def a_finding(verdict: Any = "holds", **changes: Any) -> Finding:
    """A finding of 60 answers by 48 respondents, against chance."""
    usual = {"estimate": 0.36, "low": 0.29, "high": 0.44, "n": 60, "units": 48, "baseline": 0.25, "source": "a paper"}
    words = {"claim": "It is right more often than chance", "quantity": "accuracy", "baseline_name": "chance"}
    return Finding(**{**usual, **words, "verdict": verdict, **changes})


def a_run(**changes: Any) -> Run:
    """The record of a successful run of `toy/first`, with these changes."""
    usual: dict[str, Any] = {
        "study": "toy",
        "notebook": "first",
        "profile": "quick",
        "run_id": "20260101T120000.000Z-abcd1234",
        "key": "abcd1234",
        "status": "ok",
        "parameters_given": {"n": 3},
        "parameters_default": {"name": None},
        "started": START,
        "finished": START,
        "seconds": 1.0,
        "source": Source(notebook_sha256="0" * 64, workbench="0"),
        "host": host(),
    }
    return Run(**{**usual, **changes})


def write_runs(outputs: Path, count: int, figures: bool = True, **changes: Any) -> list[Run]:
    """Write runs of two studies and models; every tenth has died."""
    machine, source = host(), Source(notebook_sha256="0" * 64, workbench="0", packages=package_versions())
    return [_write(outputs, i, figures, {"host": machine, "source": source} | changes) for i in range(count)]


def _write(outputs: Path, number: int, figures: bool, changes: dict[str, Any]) -> Run:
    started, died = START + timedelta(days=number % 365, seconds=number), number % 10 == 3
    study, notebook = ("judges", "bias") if number % 3 == 0 else ("hallucination", "calibration")
    run = a_run(**{
        "study": study,
        "notebook": notebook,
        "run_id": f"{started:%Y%m%dT%H%M%S}.000Z-{number:08x}",
        "key": f"{number:08x}",
        "status": "died" if died else "ok",
        "failure": Failure(cell=3, name="DeadKernelError", message="Kernel died") if died else None,
        "parameters_given": {"model": "org/one" if number % 2 else "org/two", "seed": number, "x": "<b>é"},
        "parameters_default": {},
        "started": started,
        "finished": started,
        "figures": [Figure(name="key", alt="A <key> figure")] if figures else [],
        "title": "A title of some length",
        "question": "Is the model as right as it seems?",
        "findings": [] if died else [a_finding(), a_finding("cannot tell", reason="only 4 units"), a_finding()],
        "headline": None if died else Headline(text="DCS", value=-0.1 + number / 1e6, low=-0.2, high=0.1, n=40),
        **changes,
    })  # fmt: skip
    folder = outputs / study / notebook / run.run_id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(run.sealed())
    if figures:
        (folder / "figures").mkdir()
        (folder / "figures/key.svg").write_text(SVG)
    return run


def assert_comparable(run: Run) -> None:
    """The run keeps one row per question, no metric empty, or notes why not; findings in words, figures legible."""
    assert run.title and run.question and all(each.quantity and each.baseline_name for each in run.findings)
    for figure in run.figures:
        found = faults((run.folder / "figures" / f"{figure.name}.svg").read_text(encoding="utf-8"), figure.alt)
        assert not found, (figure.name, found)
    notebook = html.unescape((run.folder / "notebook.ipynb").read_text(encoding="utf-8"))
    for written in re.findall(r"<(?:th scope=\\\"col\\\"|figcaption|summary)[^>]*>(.*?)(?:<small>|</)", notebook):
        assert not CODE.search(re.sub("[“'].*?[”']", "", written)), f"{written!r} is a code"
    if "no_items" not in run.facts:
        items = run.frame("items")
        keys = [name for name in ("benchmark", "question_id") if name in items]
        metrics = items.drop(columns=[*keys, "cluster"], errors="ignore").select_dtypes("number")
        assert len(items) > 1 and not items.duplicated(keys).any() and items[keys].notna().all(axis=None)
        assert len(metrics.columns) and metrics.notna().any().any()
