"""Pictures of findings: intervals beside their baselines, coloured by verdict."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from workbench import digits
from workbench.runs.record import Finding

KINDS = {"holds": "holds", "does not hold": "fails", "cannot tell": "open"}
"""Class of each verdict in the stylesheets."""
WIDTH = 132
"""Width of the picture of one finding, in pixels."""
ROW, MIDDLE, BAR = 18, 230, 46
"""Height of a row of `forest`, place of its line, and the longest bar beside it."""
MOST_ROWS, LONGEST_LABEL = 4, 30
"""Rows of `forest`, and characters of their labels."""


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
    edge = {"start": 0, "end": WIDTH, "middle": base}[anchor]
    return (
        f'<svg class="strip {KINDS[finding.verdict]}" viewBox="0 0 {WIDTH} 30" width="{WIDTH}" height="30" '
        f'aria-hidden="true"><path class="base" d="M{base} 0V17"/><path d="M{low} 8H{high}"/>'
        f'<circle cx="{mean}" cy="8" r="3.5"/>'
        f'<text x="{edge}" y="28" text-anchor="{anchor}">{digits.plain(finding.baseline)}</text></svg>'
    )


def forest(findings: Sequence[Finding]) -> str:
    """Return the first findings as one picture for a card, a row each: right of the line is as claimed.

    Each row has a scale of its own, on which its baseline is the line in the middle.
    """
    shown = findings[:MOST_ROWS]
    rows = "".join(_row(each, ROW * (at + 1)) for at, each in enumerate(shown))
    height = ROW * (len(shown) + 1)
    return (
        f'<svg class="forest" viewBox="0 0 280 {height}" role="img" aria-label="{html.escape(tally(findings))}">'
        f'<path class="base" d="M{MIDDLE} 15V{height}"/><text x="280" y="10" class="s">as claimed →</text>{rows}</svg>'
    )


def _row(finding: Finding, top: int) -> str:
    label = finding.quantity or finding.claim
    label = label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1].rstrip()}…"
    text = f'<text y="{top + 13}">{html.escape(label[:1].upper() + label[1:])}</text>'
    sign = 1 if finding.expected == "above" else -1
    ends = [finding.low, finding.high, finding.estimate]
    offsets = [sign * (end - (finding.baseline or 0.0)) for end in ends if end is not None and math.isfinite(end)]
    if len(offsets) < 3:
        return text
    scale = BAR / (max(map(abs, offsets)) or 1.0)
    low, high, mean = (f"{MIDDLE + offset * scale:.0f}" for offset in offsets)
    bar = f'<path d="M{low} {top + 9}H{high}"/><circle cx="{mean}" cy="{top + 9}" r="3"/>'
    return f'<g class="{KINDS[finding.verdict]}">{text}{bar}</g>'


def tally(findings: Sequence[Finding]) -> str:
    """Return how many findings have each verdict: "4 findings: 3 hold, 1 cannot tell"."""
    verdicts: list[str] = [each.verdict for each in findings]
    many = {"holds": "hold", "does not hold": "do not hold"}
    counts = {name: verdicts.count(name) for name in KINDS}
    parts = [f"{n} {name if n == 1 else many.get(name, name)}" for name, n in counts.items() if n]
    return f"{len(verdicts)} finding{'s' * (len(verdicts) != 1)}: {', '.join(parts)}"
