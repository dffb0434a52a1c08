"""Tables as reports and JupyterLab show them."""

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
LEFT = "<style>table.words :is(td, th):not(.num) { text-align: left }</style>"
"""JupyterLab aligns every cell to the right; reports do not."""


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
