"""The gallery: one static page with all runs, failures first, that opens from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.files import written_whole
from workbench.reports.html import HERE, filled, policy, script
from workbench.runs.listing import run_folders
from workbench.runs.record import SCHEMA_VERSION, intact


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
    """What the gallery shows of a run; fields are not validated, so that thousands take seconds."""
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
        content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if content["schema_version"] > SCHEMA_VERSION:
            return card | {"problem": "A newer workbench wrote this run; update this one."}
        if not intact(content):
            return card | {"problem": "Its run.json was edited after the run."}
        return card | _content(content, path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return card | {"problem": f"Its run.json cannot be read ({type(error).__name__})."}


def _content(content: dict[str, Any], path: str) -> dict[str, Any]:
    failure, figures = content["failure"], content["figures"]
    values = content["parameters_default"] | content["parameters_given"]
    noted = content.get("facts", {}).get("model")
    model = noted.get("model") if isinstance(noted, dict) else noted or values.get("model")
    cell = f"Cell {failure['cell']}: " if failure and failure["cell"] else ""
    return {
        "study": content["study"],
        "notebook": content["notebook"],
        "status": content["status"],
        "same": json.dumps([path.rpartition("/")[0], values], sort_keys=True),
        "date": content["started"][:16].replace("T", " "),
        "model": str(model or ""),
        "headline": _headline(content["headline"]),
        "figure": {"path": f"{path}/figures/{figures[0]['name']}.svg", "alt": figures[0]["alt"]} if figures else None,
        "parameters": ", ".join(f"{k}={_short(v)}" for k, v in content["parameters_given"].items() if k != "model"),
        "problem": f"{cell}{failure['name']}: {failure['message']}"[:300] if failure else "",
    }


def _headline(headline: dict[str, Any] | None) -> dict[str, str] | None:
    """The main number and its interval as text."""
    if headline is None:
        return None
    low, high, value = headline["low"], headline["high"], headline["value"]
    interval = f"[{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    n = f", n = {headline['n']}" if headline["n"] is not None else ""
    shown = "undefined" if value is None else f"{value:.3f}"
    return {"value": shown.replace("-", "−"), "interval": interval.replace("-", "−"), "text": headline["text"] + n}


def _short(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
