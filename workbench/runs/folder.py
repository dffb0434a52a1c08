"""Keep and show the tables, figures and facts of a notebook in the folder of its run."""

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
"""Table of one row per question, with which runs of a notebook are compared."""
NO_ITEMS = "no_items"
"""Fact that states why a run has no such table."""
FINDINGS = "what_holds"
"""Table of findings."""
SHOWN_ROWS = 50
OPEN_ROWS = 15
"""Longer tables are folded behind their captions."""
LARGEST_SVG = 700_000
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d")
"""Names that Windows reserves for devices, with any ending."""
LEFT = "<style>table.words :is(td, th):not(.num) { text-align: left }</style>"
"""JupyterLab aligns every cell to the right; reports do not."""
FORMULA = re.compile(r"(?![+-](\d+\.?\d*|\.\d+)(e[+-]?\d+)?\Z)[=+@\t\r＝＋－＠-]", re.IGNORECASE)
"""Text that a spreadsheet runs as a formula; a number with its sign is none."""


def current_run() -> CurrentRun:
    """Return the run that executes this notebook; in JupyterLab, a run that shows everything and keeps nothing."""
    folder = os.environ.get(RUN_FOLDER)
    return CurrentRun(Path(folder) if folder else None)


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """The run a notebook writes to while it is executed."""

    folder: Path | None
    """Its folder, or None outside a run."""

    def table(self, name: str, frame: pd.DataFrame | None, caption: str = "") -> None:
        """Keep a table as `tables/<name>.parquet` and `.csv`, and show it.

        Args:
            name: File name, unique in the run: lower-case letters, digits, `_` and `-`.
            frame: The table; a named index is kept as a column. A table without rows is not kept, and its
                `frame.attrs["reason"]` is shown instead; None neither keeps nor shows anything.
            caption: What it shows.
        """
        if frame is not None:
            _show(keep_table(self.folder, name, frame, caption) if len(frame) else ShownTable(frame, caption))

    def items(
        self, frame: pd.DataFrame, metrics: Sequence[str] | None = None, name: str | Sequence[str] = "question_id"
    ) -> None:
        """Keep and show the table `items`, one row per question, with which `compare` pairs runs of this notebook.

        Args:
            frame: One or several rows per question; several are averaged. Its columns `benchmark`, `cluster` (of
                dependent questions) and `question` (the text) are kept if present.
            metrics: Numeric or boolean columns; None for every such column that is none of the others.
            name: Columns that together identify a question, beside `benchmark`.

        Raises:
            InputError: If a column is missing, or a metric is not numeric.
        """
        items = item_table(with_index(frame), None if metrics is None else list(metrics), name)
        self.table(ITEMS, items, "One row per question, for comparing runs")

    def no_items(self, why: str) -> None:
        """Note why runs of this notebook cannot be compared by question; `compare` reports it."""
        self.note(**{NO_ITEMS: why})

    def figure(self, name: str, figure: Any, alt: str = "") -> None:
        """Keep a figure as `figures/<name>.svg` and `.png`, show it, and close it.

        Args:
            name: File name, as for `table`.
            figure: A matplotlib figure, or an object with a `.figure`; None keeps nothing.
            alt: Alternative text; by default the figure's own, set by `figures.described`.
        """
        if figure is not None:
            figure = getattr(figure, "figure", figure)
            _show(keep_figure(self.folder, name, figure, alt or figure.get_label()))

    def findings(self, claims: Iterable[Finding | None], caption: str = "Findings tested on this run") -> None:
        """Keep and show the table `what_holds`, one row per finding; None, an untestable claim, is skipped."""
        from workbench.statistics.findings import findings_table

        table = findings_table(claim for claim in claims if claim is not None)
        table.attrs["reason"] = "no claim could be tested on this run"
        self.table(FINDINGS, table, caption)

    def note(self, **facts: Any) -> None:
        """Keep facts about the run: model, data, seeds, counts.

        Args:
            facts: Name -> numbers, text, lists or mappings of them, an object with a `facts()` method (a model) or
                with an `origin` (questions).
        """
        if self.folder is not None:
            note_down(self.folder, "facts", _plain(facts, "note"), gpu=_gpu())

    def headline(self, text: str, row: Row | None, n: str = "n") -> None:
        """Keep and show the run's main number with its interval, for the report and the gallery.

        Args:
            text: Name of the quantity.
            row: `mean` and, if present, `low`, `high` and the count; None keeps nothing.
            n: Name of the count in `row`.
        """
        if row is not None:
            _show(keep_headline(self.folder, text, row, n))


def keep_table(folder: Path | None, name: str, frame: pd.DataFrame, caption: str) -> ShownTable:
    """Write a table to the run's folder, if there is one, and return it as it is shown."""
    if parquet := _file(folder, "tables", name, ".parquet"):
        with written_whole(parquet) as path:
            frame.to_parquet(path)
        with written_whole(parquet.with_suffix(".csv")) as path:
            _for_spreadsheets(with_index(frame)).to_csv(path, index=False)
        note_down(parquet.parents[1], "table", {"name": name, "caption": caption, "rows": len(frame)})
    return ShownTable(frame, caption, f"tables/{name}.csv" if parquet else "")


def _for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text, names of columns included, that a spreadsheet would run."""
    import pandas as pd

    def guarded(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value

    columns = {
        at: column if column.dtype.kind in "biufcmM" else pd.Series(list(map(guarded, column)), column.index, object)
        for at, (_, column) in enumerate(frame.items())
    }
    return pd.DataFrame(columns, frame.index).set_axis(frame.columns.map(guarded), axis=1)


def keep_figure(folder: Path | None, name: str, figure: Any, alt: str) -> ShownFigure:
    """Write a figure to the run's folder, if there is one, close it, and return it as it is shown."""
    from matplotlib import pyplot

    if not alt.strip():
        raise InputError(f"Figure {name!r} has no alt text; describe in one sentence what it shows.")
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
    """Note the main number in the run's folder, if there is one, and return it as it is shown."""
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
    """The file to write, or None outside a run."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{,99}", name) or RESERVED.fullmatch(name):
        raise InputError(
            f"{name[:120]!r} cannot name a file in {kind} on every system; use at most 100 lower-case letters, digits, "
            "'_' and '-', and no name that Windows reserves."
        )
    if folder is None:
        return None
    path = folder / kind / f"{name}{ending}"
    if path.exists():
        raise InputError(f"This run already has {name!r} in its {kind}; use another name.")
    return path


def item_table(frame: pd.DataFrame, metrics: list[str] | None, name: str | Sequence[str]) -> pd.DataFrame:
    """Return the table that `CurrentRun.items` keeps."""
    names, about = [name] if isinstance(name, str) else list(name), ("cluster", "question")
    for column in [*names, *(metrics or [])]:
        if column not in frame:
            raise unknown("column", column, [str(each) for each in frame.columns])
    numeric = frame.select_dtypes(["number", "bool"]).columns
    metrics = metrics or [str(column) for column in numeric if column not in {"benchmark", *names, *about}]
    keys = ["benchmark"] if "benchmark" in frame else []
    if keys and frame["benchmark"].isna().any():
        raise InputError("A row of the items has no benchmark; fill the column, or drop it.")
    rows = frame.assign(question_id=frame[names].astype(str).agg(" · ".join, axis=1))
    try:
        rows = rows.astype(dict.fromkeys(metrics, float))
    except (TypeError, ValueError) as error:
        raise InputError(f"A metric of the items is not numeric: {error}.") from error
    how = {column: "first" for column in about if column in rows} | dict.fromkeys(metrics, "mean")
    return rows.groupby([*keys, "question_id"], sort=False).agg(how).reset_index()


def read_notes(folder: Path) -> dict[str, Any]:
    """Return what a notebook kept: `facts` with the counts of all calls of `ask`, `gpu`, `tables` and so on."""
    counts: dict[str, Any] = {}
    notes: dict[str, Any] = {"facts": {}, "gpu": None, "tables": [], "figures": [], "headline": None}
    path = folder / NOTES
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        entry = json.loads(line)
        match entry["kind"]:
            case "facts":
                notes["facts"] |= entry["content"]
                notes["gpu"] = entry["gpu"] or notes["gpu"]
            case "ask":
                counts = _added(counts, entry["content"])
            case "headline":
                notes["headline"] = entry["content"]
            case kind:
                notes[f"{kind}s"].append(entry["content"])
    notes["facts"] |= _plain(counts, "ask")
    return notes


def _added(before: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    """Counts of several calls of `ask`: integers and a server's numbers are added, the rest is of the last call."""
    adds = {name for name, value in call.items() if isinstance(value, int) or name.startswith("server_")}
    return before | {name: value + before.get(name, 0) if name in adds else value for name, value in call.items()}


def _plain(value: Any, name: str) -> Any:
    """The value in JSON's types; numbers that are not finite become None."""
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
    if hasattr(value, "origin") and hasattr(value, "dropped"):
        noted = {"noted": value.noted} if getattr(value, "noted", None) else {}
        return _plain({**asdict(value.origin), "n": len(value), "dropped": value.dropped} | noted, name)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value), name)
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), name)
    if isinstance(value, Path):
        return str(value)
    raise InputError(f"Cannot keep {name}: a {type(value).__name__}; use numbers, text, lists or mappings.")


def _gpu() -> str | None:
    """The accelerator's name, if this process has loaded torch and torch sees one."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None


@dataclass(frozen=True, slots=True, repr=False)
class ShownTable:
    """A table with its caption; numbers to three decimals, undefined ones as a dash.

    A table without rows shows as its caption and the reason in its `attrs`.
    """

    frame: pd.DataFrame
    """The table."""
    caption: str = ""
    """Text above it."""
    file: str = ""
    """The kept file, if there is one."""

    def __repr__(self) -> str:
        if not len(self.frame):
            return ": ".join(filter(None, (self.caption, self.frame.attrs.get("reason", "no rows"))))
        return f"{self.caption}\n{self.frame.to_string(max_rows=SHOWN_ROWS)}".strip()

    def _repr_html_(self) -> str:
        if not len(self.frame):
            return f"<p>{html.escape(repr(self))}</p>"
        frame = with_index(self.frame).head(SHOWN_ROWS)
        head, cells = "", []
        for label, column in frame.items():
            texts = _texts(column)
            if any(texts):  # a column of empty texts is left out
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


def with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its index as columns, unless the index is an unnamed row number."""
    if frame.index.names != [None]:
        return frame.reset_index()
    return frame if frame.index.inferred_type == "integer" else frame.rename_axis("").reset_index()


def _texts(column: pd.Series[Any]) -> list[str]:
    """The cells of a column as escaped text; a float column of whole numbers has no decimals."""
    values = column.tolist()
    whole = all(v.is_integer() for v in values if isinstance(v, float) and math.isfinite(v))
    return [html.escape(_text(value, whole)) for value in values]


def _text(value: Any, whole: bool) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float) and math.isfinite(value):
        if 0 < abs(value) < 0.0005:
            return f"{value:.1e}"
        return (f"{value + 0.0:.0f}" if whole else f"{value + 0.0:.3f}").replace("-", "−", 1)
    return str(value)


@dataclass(frozen=True, slots=True, repr=False)
class ShownFigure:
    """A figure as inline SVG, or as PNG if the SVG is too large for a page."""

    svg: str
    """The drawing, an `<svg>` element with its alternative text."""
    png: bytes
    """The same as pixels."""
    alt: str
    """Alternative text."""

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
    """Draw a matplotlib figure; the same figure gives the same SVG, byte for byte."""
    import io

    import matplotlib

    vector, pixels = io.StringIO(), io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "workbench"}):
        figure.savefig(vector, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    figure.savefig(pixels, format="png", bbox_inches="tight", dpi=160, metadata={"Software": None})
    svg = vector.getvalue()
    opening = f'<svg role="img" aria-label="{html.escape(alt)}" '
    return ShownFigure(svg[svg.index("<svg") :].replace("<svg ", opening, 1), pixels.getvalue(), alt)
