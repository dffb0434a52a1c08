"""What a notebook uses to keep and show its tables, figures and facts with the run it belongs to."""

from __future__ import annotations

import html
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, unknown
from workbench.files import NOTES, RUN_FOLDER, note_down, written_whole

if TYPE_CHECKING:
    import pandas as pd

    from workbench.runs.record import Headline
    from workbench.statistics.findings import Finding

    Row = Mapping[str, Any] | pd.Series[Any]

ITEMS = "items"
"""Name of the table by which runs of a notebook are compared."""
NO_ITEMS = "no_items"
"""Name of the fact that says why there is none."""
FINDINGS = "what_holds"
"""Name of the table of findings."""


def current_run() -> CurrentRun:
    """The run this notebook is executed in; in JupyterLab one that shows everything and keeps nothing."""
    folder = os.environ.get(RUN_FOLDER)
    return CurrentRun(Path(folder) if folder else None)


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """The run a notebook writes to while it is executed."""

    folder: Path | None
    """Its folder, or None outside a run."""

    def table(self, name: str, frame: pd.DataFrame | None, caption: str = "") -> None:
        """Keeps a table as `tables/<name>.parquet` and `.csv`, and shows it.

        Args:
            name: File name: lower-case letters, digits, `_` and `-`; once a run.
            frame: The table; a named index is kept as a column. One without rows is not kept, and what shows is the
                reason in `frame.attrs["reason"]`; None neither keeps nor shows anything.
            caption: What it shows.
        """
        if frame is not None:
            _show(keep_table(self.folder, name, frame, caption) if len(frame) else NoRows.of(frame, caption))

    def items(
        self, frame: pd.DataFrame, metrics: Sequence[str] | None = None, name: str | Sequence[str] = "question_id"
    ) -> None:
        """Keeps and shows the table `items`, by which `compare` pairs runs of this notebook: one row a question.

        Args:
            frame: One row a question, or several, which are averaged. Its columns `benchmark`, `cluster` (of questions
                that belong together) and `question` (the text) are kept where there are any.
            metrics: Columns of numbers or truths; None for every one that is none of the others.
            name: Columns that name a question together, beside `benchmark`.

        Raises:
            InputError: If a column is missing, or a metric is no number.
        """
        kept = item_table(with_index(frame), None if metrics is None else list(metrics), name)
        self.table(ITEMS, kept, "One row a question, for comparing runs")

    def no_items(self, why: str) -> None:
        """Says why runs of this notebook cannot be compared question by question; `compare` says it on."""
        self.note(**{NO_ITEMS: why})

    def figure(self, name: str, figure: Any, alt: str = "") -> None:
        """Keeps a figure as `figures/<name>.svg` and `.png`, shows it, and closes it.

        Args:
            name: File name, as for `table`.
            figure: A matplotlib figure, or anything with a `.figure`; None where there is nothing to draw.
            alt: What it shows, in words, for those who cannot see it; by default the figure's own, set by
                `figures.described`.
        """
        if figure is not None:
            figure = getattr(figure, "figure", figure)
            _show(keep_figure(self.folder, name, figure, alt or figure.get_label()))

    def findings(self, claims: Iterable[Finding | None], caption: str = "Findings tested on this run") -> None:
        """Keeps and shows the table `what_holds`, one row a finding; None, a claim this run cannot test, is skipped."""
        from workbench.statistics.findings import findings_table

        table = findings_table(claim for claim in claims if claim is not None)
        table.attrs["reason"] = "no claim could be tested on this run"
        self.table(FINDINGS, table, caption)

    def note(self, **facts: Any) -> None:
        """Keeps facts about the run: model, data, seeds, counts.

        Args:
            facts: Name -> numbers, text, lists or mappings of them; or anything with a `facts()` method (a model),
                or an `origin` (questions).
        """
        self._append("facts", _plain(facts, "note"), gpu=_gpu())

    def headline(self, text: str, row: Row | None, n: str = "n") -> None:
        """Keeps and shows the run's main number with its interval, as it stands in reports and the gallery.

        Args:
            text: What the number is.
            row: `mean` and, where there are any, `low`, `high` and the count; None where there is no such number.
            n: The name of the count in `row`.
        """
        if row is not None:
            _show(keep_headline(self.folder, text, row, n))

    def _append(self, kind: str, content: dict[str, Any], **more: Any) -> None:
        if self.folder is not None:
            note_down(self.folder, kind, content, **more)


def keep_table(folder: Path | None, name: str, frame: pd.DataFrame, caption: str) -> ShownTable:
    """Writes a table of a run to its folder, if it has one."""
    if parquet := _file(folder, "tables", name, ".parquet"):
        with written_whole(parquet) as path:
            frame.to_parquet(path)
        with written_whole(parquet.with_suffix(".csv")) as path:
            with_index(frame).to_csv(path, index=False)
        note_down(parquet.parents[1], "table", {"name": name, "caption": caption, "rows": len(frame)})
    return ShownTable(frame, caption, f"tables/{name}.csv" if parquet else "")


def keep_figure(folder: Path | None, name: str, figure: Any, alt: str) -> ShownFigure:
    """Writes a figure of a run to its folder, if it has one, and closes it."""
    from matplotlib import pyplot

    if not alt.strip():
        raise InputError(f"Figure {name!r} has no alt text; say in a sentence what it shows.")
    file = _file(folder, "figures", name, ".svg")
    shown = draw(figure, alt)
    pyplot.close(figure)
    if file:
        with written_whole(file) as path:
            path.write_text(shown.svg, encoding="utf-8")
        with written_whole(file.with_suffix(".png")) as path:
            path.write_bytes(shown.png)
        note_down(file.parents[1], "figure", {"name": name, "alt": alt})
    return shown


def keep_headline(folder: Path | None, text: str, row: Row, n: str = "n") -> Headline:
    """Notes the main number of a run in its folder, if it has one."""
    from workbench.runs.record import Headline

    numbers = {"value": row["mean"], "low": row.get("low"), "high": row.get("high"), "n": row.get(n)}
    values = _plain({"text": text} | numbers, "headline")
    if folder is not None:
        note_down(folder, "headline", values)
    return Headline(**values)


def _show(shown: Any) -> None:
    from IPython.display import display

    display(shown)  # type: ignore[no-untyped-call]


def _file(folder: Path | None, kind: str, name: str, ending: str) -> Path | None:
    """Where to write, or None outside a run."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise InputError(f"{name!r} cannot name a file in {kind}; use lower-case letters, digits, '_' and '-'.")
    if folder is None:
        return None
    path = folder / kind / f"{name}{ending}"
    if path.exists():
        raise InputError(f"This run already has {name!r} in its {kind}; give this one another name.")
    return path


def item_table(frame: pd.DataFrame, metrics: list[str] | None, name: str | Sequence[str]) -> pd.DataFrame:
    """The table that `CurrentRun.items` keeps."""
    names, first = [name] if isinstance(name, str) else list(name), ("cluster", "question")
    for column in [*names, *(metrics or [])]:
        if column not in frame:
            raise unknown("column", column, [str(each) for each in frame.columns])
    apart = {"benchmark", *names, *first}
    metrics = metrics or [str(column) for column in frame.select_dtypes(["number", "bool"]) if column not in apart]
    keys = ["benchmark"] if "benchmark" in frame else []
    if keys and frame["benchmark"].isna().any():
        raise InputError("A row of the items has no benchmark; name it, or leave the column out.")
    rows = frame.assign(question_id=frame[names].astype(str).agg(" · ".join, axis=1))
    try:
        rows = rows.astype(dict.fromkeys(metrics, float))
    except (TypeError, ValueError) as error:
        raise InputError(f"A metric of the items is no number: {error}.") from error
    about = {column: "first" for column in first if column in rows}
    groups = rows.groupby([*keys, "question_id"], sort=False)
    return groups.agg(about | dict.fromkeys(metrics, "mean")).reset_index()


def read_notes(folder: Path) -> dict[str, Any]:
    """What a notebook kept: `facts`, `gpu`, `tables`, `figures` and `headline`; facts hold what all its asking took."""
    asked: dict[str, Any] = {}
    notes: dict[str, Any] = {"facts": {}, "gpu": None, "tables": [], "figures": [], "headline": None}
    path = folder / NOTES
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        entry = json.loads(line)
        match entry["kind"]:
            case "facts":
                notes["facts"] |= entry["content"]
                notes["gpu"] = entry["gpu"] or notes["gpu"]
            case "ask":
                asked = _added(asked, entry["content"])
            case "headline":
                notes["headline"] = entry["content"]
            case kind:
                notes[f"{kind}s"].append(entry["content"])
    notes["facts"] |= _plain(asked, "asked")
    return notes


def _added(before: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    """What several calls of `ask` took: counts and what a server was sent add up, how it was read is the last one's."""
    adds = {name for name, value in call.items() if isinstance(value, int) or name.startswith("server_")}
    return before | {name: value + before.get(name, 0) if name in adds else value for name, value in call.items()}


def _plain(value: Any, name: str) -> Any:
    """The value in JSON's terms; numbers that are not finite become None."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}: {key}") for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, name) for item in value]
    if callable(facts := getattr(value, "facts", None)):
        return _plain(facts(), name)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value), name)
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), name)
    if isinstance(value, Path):
        return str(value)
    raise InputError(f"Cannot keep {name}: a {type(value).__name__}; give numbers, text, lists or mappings.")


def _gpu() -> str | None:
    """The accelerator's name, if this process has loaded torch and it sees one."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None


SHOWN_ROWS = 50
OPEN_ROWS = 15
"""Longer tables are folded behind their captions."""
LARGEST_SVG = 700_000
LEFT = "<style>table.words :is(td, th):not(.num) { text-align: left }</style>"
"""JupyterLab sets every cell to the right; reports have their own style and leave this out."""


@dataclass(frozen=True, slots=True, repr=False)
class ShownTable:
    """A table with its caption; numbers to three decimals, undefined ones as a dash."""

    frame: pd.DataFrame
    """What is shown."""
    caption: str = ""
    """What stands above it."""
    file: str = ""
    """Where the whole of it is kept, if it is."""

    def __repr__(self) -> str:
        return f"{self.caption}\n{self.frame.to_string(max_rows=SHOWN_ROWS)}".strip()

    def _repr_html_(self) -> str:
        frame = with_index(self.frame).head(SHOWN_ROWS)
        head, cells = "", []
        for label, column in frame.items():
            texts = _texts(column)
            if any(texts) or not texts:  # a column of empty words is left out
                mark = ' class="num"' if column.dtype.kind in "iuf" else ""
                name = " · ".join(map(str, label)) if isinstance(label, tuple) else str(label)
                head += f"<th{mark}>{html.escape(name)}</th>"
                cells.append([f"<td{mark}>{text}</td>" for text in texts])
        body = "".join(f"<tr>{''.join(row)}</tr>" for row in zip(*cells))
        hidden = len(self.frame) - len(frame)
        whole = f"; {self.file} has them all" if self.file else ""
        more = f"<p>The first {len(frame)} of {len(self.frame)} rows{whole}.</p>" if hidden else ""
        table = f"{LEFT}<table class='words'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
        caption = html.escape(self.caption)
        if len(frame) > OPEN_ROWS:
            return f"<details><summary>{caption or 'Table'} ({len(self.frame)} rows)</summary>{table}</details>"
        return f"<figure>{f'<figcaption>{caption}</figcaption>' if caption else ''}{table}</figure>"


@dataclass(frozen=True, slots=True, repr=False)
class NoRows:
    """What stands in the place of a table without rows."""

    caption: str
    """Of the table."""
    reason: str
    """Why it has no rows."""

    @staticmethod
    def of(frame: pd.DataFrame, caption: str) -> NoRows:
        """A table without rows, and the reason it carries in `attrs`."""
        return NoRows(caption, str(frame.attrs.get("reason", "no rows")))

    def __repr__(self) -> str:
        return ": ".join(filter(None, (self.caption, self.reason)))

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>"


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its index as columns, if the index says anything: it has a name, or is not a row number."""
    if frame.index.names != [None]:
        return frame.reset_index()
    return frame if frame.index.inferred_type == "integer" else frame.rename_axis("").reset_index()


def _texts(column: pd.Series[Any]) -> list[str]:
    """The cells of a column, escaped."""
    values = column.tolist()
    floats = [v for v in values if isinstance(v, float) and math.isfinite(v)]
    whole = all(v.is_integer() for v in floats)
    return [html.escape(_text(value, whole)) for value in values]


def _text(value: Any, whole: bool) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float) and math.isfinite(value):
        small = 0 < abs(value) < 0.0005
        value = f"{value + 0.0:.0f}" if whole else f"{value:.1e}" if small else f"{value + 0.0:.3f}"
        return value.replace("-", "−", 1) if not small else value
    return str(value)


@dataclass(frozen=True, slots=True, repr=False)
class ShownFigure:
    """A figure as inline SVG, or as PNG where the SVG would be too large to read in a page."""

    svg: str
    """The drawing, an `<svg>` element that carries its alternative text."""
    png: bytes
    """The same as pixels."""
    alt: str
    """What it shows, for those who cannot see it."""

    def __repr__(self) -> str:
        return f"<figure: {self.alt}>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if len(self.svg) > LARGEST_SVG:
            from base64 import b64encode

            pixels = b64encode(self.png).decode()
            return {"image/png": pixels, "text/plain": repr(self)}, {"image/png": {"alt": self.alt}}
        shown = f'<div style="background: #fff">{self.svg}</div>'
        return {"image/svg+xml": self.svg, "text/html": shown, "text/plain": repr(self)}, {}


def draw(figure: Any, alt: str) -> ShownFigure:
    """Draws a matplotlib figure; the same figure gives the same SVG, byte for byte."""
    import io

    import matplotlib

    vector, pixels = io.StringIO(), io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "workbench"}):
        figure.savefig(vector, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    figure.savefig(pixels, format="png", bbox_inches="tight", dpi=160, metadata={"Software": None})
    svg = vector.getvalue()
    opening = f'<svg role="img" aria-label="{html.escape(alt)}" '
    return ShownFigure(svg[svg.index("<svg") :].replace("<svg ", opening, 1), pixels.getvalue(), alt)
