"""The gallery: one static page with all runs, failures first, that opens from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.files import written_whole
from workbench.reports.html import HERE, filled, policy, script
from workbench.runs.listing import run_folders
from workbench.runs.record import Headline, Run, load_run


def write_gallery(outputs: Path) -> Path:
    """Write `index.html` into the outputs folder; the same runs give the same bytes.

    Runs that did not succeed come first, unless a later run with the same parameters did, then the newest. A folder
    whose record cannot be read is listed with the reason.
    """
    cards = sorted((_card(folder) for folder in run_folders(outputs)), key=lambda card: card["run_id"], reverse=True)
    succeeded: dict[str, str] = {}
    for card in cards:
        if card["status"] == "ok":
            succeeded.setdefault(card["same"], card["run_id"])
    for card in cards:
        card["replaced"] = card["run_id"] < succeeded.get(card["same"], "")
    cards.sort(key=lambda card: card["status"] == "ok" or card["replaced"])
    page = _render(cards)
    outputs.mkdir(parents=True, exist_ok=True)
    with written_whole(outputs / "index.html") as path:
        path.write_text(page, encoding="utf-8")
    return outputs / "index.html"


def _render(cards: list[dict[str, Any]]) -> str:
    source = script("gallery")
    return filled(
        "gallery",
        {},
        cards=cards,
        studies=sorted({card["study"] for card in cards}),
        models=sorted({card["model"] for card in cards if card["model"]}),
        statuses=sorted({card["status"] for card in cards}),
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
        "headline": None,
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
    figure = run.figures[0] if run.figures else None
    return {
        "study": run.study,
        "notebook": run.notebook,
        "status": run.status,
        "same": json.dumps([path.rpartition("/")[0], run.values], sort_keys=True),
        "date": f"{run.started:%Y-%m-%d %H:%M}",
        "model": str(model or ""),
        "headline": _headline(run.headline),
        "figure": {"path": f"{path}/figures/{figure.name}.svg", "alt": figure.alt} if figure else None,
        "parameters": ", ".join(f"{k}={_short(v)}" for k, v in run.parameters_given.items() if k != "model"),
        "problem": f"{cell}{run.failure.name}: {run.failure.message}"[:300] if run.failure else "",
    }


def _headline(headline: Headline | None) -> dict[str, str] | None:
    """The main number and its interval as text."""
    if headline is None:
        return None
    low, high, value = headline.low, headline.high, headline.value
    interval = f"[{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    n = f", n = {headline.n}" if headline.n is not None else ""
    shown = "undefined" if value is None else f"{value:.3f}"
    return {"value": shown.replace("-", "−"), "interval": interval.replace("-", "−"), "text": headline.text + n}


def _short(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
