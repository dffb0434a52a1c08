"""Pictures of findings: intervals beside their baselines, coloured by verdict."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from textwrap import wrap

from workbench import digits
from workbench.runs.record import Finding

KINDS = {"holds": "holds", "does not hold": "fails", "cannot tell": "open"}
"""Class of each verdict in the stylesheets."""
WIDTH = 132
"""Width of the picture of one finding, in pixels."""
ROW, HEAD = 30, 18
"""Heights of a row of `forest` and of the line above it."""
MOST_ROWS, LONGEST_LABEL = 4, 27
"""Rows of `forest`, and characters of each of the two lines of their labels."""


def strip(finding: Finding) -> str:
    """Return one interval beside its baseline, on a scale of its own, as SVG; "" if the estimate is undefined."""
    ends = [finding.low, finding.high, finding.estimate, finding.baseline]
    known = [value for value in ends if value is not None and math.isfinite(value)]
    if finding.estimate is None or finding.baseline is None or len(known) < 4:
        return ""
    first = min(known)
    scale = (WIDTH - 12) / (max(known) - first or 1.0)
    low, high, mean, base = (f"{6 + (value - first) * scale:.0f}" for value in known)
    anchor = "start" if int(base) < 40 else "end" if int(base) > WIDTH - 40 else "middle"
    edge = {"start": max(int(base) - 6, 0), "end": min(int(base) + 6, WIDTH), "middle": base}[anchor]
    return (
        f'<svg class="strip {KINDS[finding.verdict]}" viewBox="0 0 {WIDTH} 30" width="{WIDTH}" height="30" '
        f'aria-hidden="true"><path class="base" d="M{base} 0V17"/><path d="M{low} 8H{high}"/>'
        f'<circle cx="{mean}" cy="8" r="3.5"/>'
        f'<text x="{edge}" y="28" text-anchor="{anchor}">{digits.plain(finding.baseline)}</text></svg>'
    )


def forest(findings: Sequence[Finding]) -> str:
    """Return the first findings as a picture for a card, a row each: right of the line is as claimed.

    The script of the gallery draws it when the card is seen, from its attribute `data-rows`: verdict, label, and the
    ends and the estimate on a scale of the row's own, from -1 to 1 around the baseline.
    """
    shown = findings[:MOST_ROWS]
    rows = html.escape(json.dumps([_row(each) for each in shown], ensure_ascii=False, separators=(",", ":")))
    box = f'viewBox="0 0 280 {ROW * len(shown) + HEAD}"'
    return f'<svg class="forest" {box} role="img" aria-label="{html.escape(tally(findings))}" data-rows="{rows}"></svg>'


def _row(finding: Finding) -> list[str | float]:
    label = finding.quantity or finding.claim
    label = "\n".join(wrap(label[:1].upper() + label[1:], LONGEST_LABEL, max_lines=2, placeholder="…"))
    sign, base = 1 if finding.expected == "above" else -1, finding.baseline or 0.0
    ends = [finding.low, finding.high, finding.estimate]
    offsets = [sign * (end - base) for end in ends if end is not None and math.isfinite(end)]
    largest = max(map(abs, offsets), default=0.0) or 1.0
    drawn = [round(offset / largest, 2) for offset in offsets] if len(offsets) == len(ends) else []
    return [KINDS[finding.verdict], label, *drawn]


def tally(findings: Sequence[Finding]) -> str:
    """Return how many findings have each verdict: "4 findings: 3 hold, 1 cannot tell"."""
    verdicts: list[str] = [each.verdict for each in findings]
    many = {"holds": "hold", "does not hold": "do not hold"}
    counts = {name: verdicts.count(name) for name in KINDS}
    parts = [f"{n} {name if n == 1 else many.get(name, name)}" for name, n in counts.items() if n]
    return f"{len(verdicts)} finding{'s' * (len(verdicts) != 1)}: {', '.join(parts)}"
