"""The gallery: one static page with all runs by study, that opens from disk."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from markupsafe import Markup

from workbench import digits
from workbench.errors import InputError
from workbench.files import written_whole
from workbench.reports.html import HERE, capital, filled, policy, script, sentence
from workbench.reports.strips import KINDS, forest
from workbench.runs.listing import run_folders
from workbench.runs.record import Headline, Run, load_run
from workbench.runs.studies import COMPARISONS, load_study, study_names


def write_gallery(outputs: Path) -> Path:
    """Write `index.html` into the outputs folder; the same runs give the same bytes.

    Runs are grouped by study: first the newest of its first notebook, the one to begin with, then the others from the
    newest on, then those that did not succeed. Runs that a later success
    with the same parameters replaces are folded. A folder whose record cannot be read is listed with the reason.
    """
    cards = sorted((_card(folder) for folder in run_folders(outputs)), key=lambda card: card["run_id"], reverse=True)
    succeeded: dict[str, str] = {}
    for card in cards:
        if card["status"] == "ok":
            succeeded.setdefault(card["same"], card["run_id"])
    for card in cards:
        card["replaced"] = card["run_id"] < succeeded.get(card["same"], "")
    cards.sort(key=lambda card: card["status"] != "ok")
    for study, notebook in _first_notebooks().items():
        named = (at for at, card in enumerate(cards) if (card["study"], card["notebook"]) == (study, notebook))
        if (at := next(named, None)) is not None and cards[at]["status"] == "ok":
            cards.insert(0, cards.pop(at))
    page = _render(cards)
    outputs.mkdir(parents=True, exist_ok=True)
    with written_whole(outputs / "index.html") as path:
        path.write_text(page, encoding="utf-8")
    return outputs / "index.html"


def _first_notebooks() -> dict[str, str]:
    """The first notebook of each of the project's studies."""
    first = {}
    for name in study_names():
        with suppress(InputError):
            first[name] = next(iter(load_study(name).notebooks.values())).stem
    return first


def _render(cards: list[dict[str, Any]]) -> str:
    source = script("gallery")
    studies = sorted({card["study"] for card in cards}, key=lambda name: (name == COMPARISONS, name))
    groups: dict[str, tuple[list[dict[str, Any]], ...]] = {name: ([], []) for name in studies}
    for card in cards:
        groups[card["study"]][card["replaced"]].append(card)
    return filled(
        "gallery",
        {"sentence": sentence, "capital": capital},
        groups=groups,
        studies=studies,
        models=sorted({card["model"] for card in cards if card["model"]}),
        statuses=sorted({card["status"] for card in cards}),
        failed=sum(card["status"] != "ok" and not card["replaced"] for card in cards),
        kinds=KINDS,
        style=(HERE / "gallery.css").read_text(encoding="utf-8"),
        script=source,
        policy=policy(source, pictures="'self' file: data:"),
    )


def _card(folder: Path) -> dict[str, Any]:
    """What the gallery shows of a run, or why its record cannot be read."""
    path = f"{folder.parent.parent.name}/{folder.parent.name}/{folder.name}"
    card: dict[str, Any] = {
        "study": folder.parent.parent.name,
        "notebook": folder.parent.name,
        "run_id": folder.name,
        "status": "unreadable",
        "same": path,
        "path": path,
        "date": "",
        "model": "",
        "title": folder.parent.name.replace("_", " "),
        "question": "",
        "headline": None,
        "findings": [],
        "picture": "",
        "figure": None,
        "parameters": "",
        "problem": "",
    }
    try:
        return card | _content(load_run(folder), path)
    except InputError as error:
        return card | {"problem": str(error).replace(str(folder), path)}


def _content(run: Run, path: str) -> dict[str, Any]:
    noted = run.facts.get("model")
    model = noted.get("model") if isinstance(noted, dict) else noted or run.values.get("model")
    cell = f"Cell {run.failure.cell}: " if run.failure and run.failure.cell else ""
    figure = None if run.findings else run.leading_figure
    return {
        "study": run.study,
        "notebook": run.notebook,
        "status": run.status,
        "same": json.dumps([path.rpartition("/")[0], run.values], sort_keys=True),
        "date": f"{run.started:%Y-%m-%d %H:%M}",
        "model": str(model or ""),
        "title": _plain(run.title) or run.notebook.replace("_", " "),
        "question": _plain(run.question),
        "headline": None if run.findings else _headline(run.headline),
        "findings": run.findings,
        "picture": Markup(forest(run.findings)) if run.findings else "",
        "figure": {"path": f"{path}/figures/{figure.name}.svg", "alt": figure.alt} if figure else None,
        "parameters": ", ".join(f"{k}={_short(v)}" for k, v in run.parameters_given.items() if k != "model"),
        "problem": f"{cell}{run.failure.name}: {run.failure.message}"[:300] if run.failure else "",
    }


def _plain(markdown: str) -> str:
    """Text of a title without the marks of emphasis and code."""
    return re.sub(r"[*`]", "", markdown)


def _headline(headline: Headline | None) -> dict[str, str] | None:
    """The main number and its interval as text."""
    if headline is None:
        return None
    value, interval = digits.interval(headline.value, headline.low, headline.high)
    n = f", n = {headline.n:,}" if headline.n is not None else ""
    return {"value": value, "interval": interval, "text": headline.text + n}


def _short(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
