"""How a kept table or figure shows in JupyterLab and in the report."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

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
