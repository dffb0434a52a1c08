"""Records of made-up runs, written as the workbench writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workbench.runs.record import Failure, Figure, Headline, Run, Source, host, package_versions

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="9" height="9"/></svg>'


def write_runs(outputs: Path, count: int, figures: bool = True, **changes: Any) -> list[Run]:
    """Runs of two studies and models; every tenth has died."""
    machine, packages = host(), package_versions()
    return [_write(outputs, number, machine, packages, figures, changes) for number in range(count)]


def _write(outputs: Path, number: int, machine: Any, packages: Any, figures: bool, changes: dict[str, Any]) -> Run:
    started = START + timedelta(days=number % 365, seconds=number)
    study, notebook = ("judges", "bias") if number % 3 == 0 else ("hallucination", "calibration")
    died = number % 10 == 3
    run = Run(**{
        "study": study,
        "notebook": notebook,
        "profile": "quick",
        "run_id": f"{started:%Y%m%dT%H%M%S}.000Z-{number:08x}",
        "key": f"{number:08x}",
        "status": "died" if died else "ok",
        "failure": Failure(cell=3, name="DeadKernelError", message="Kernel died") if died else None,
        "parameters_given": {"model": "org/one" if number % 2 else "org/two", "seed": number, "x": "<b>é"},
        "parameters_default": {},
        "started": started,
        "finished": started,
        "seconds": 1.0,
        "source": Source(notebook_sha256="0" * 64, workbench="0", packages=packages),
        "host": machine,
        "figures": [Figure(name="key", alt="A <key> figure")] if figures else [],
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
    """The run keeps one row a question, none of its metrics empty; or its notebook says why not."""
    if "no_items" not in run.facts:
        items = run.frame("items")
        keys = [name for name in ("benchmark", "question_id") if name in items]
        metrics = items.drop(columns=[*keys, "cluster"], errors="ignore").select_dtypes("number")
        assert len(items) > 1 and not items.duplicated(keys).any() and items[keys].notna().all(axis=None)
        assert len(metrics.columns) and metrics.notna().any().any()
