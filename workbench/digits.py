"""Numbers as text for readers, with as many decimals as their interval supports."""

import math

MOST_PLACES = 4
"""Most decimals; smaller numbers are written with a power of ten."""


def number(value: float | None, places: int = 2) -> str:
    """Return a number with this many decimals and a typographic minus: "−0.25", "12,345.6"; undefined as "–"."""
    if value is None or math.isnan(value):
        return "–"
    if 0 < abs(value) < 0.5 * 10**-MOST_PLACES:
        return f"{value:.1e}".replace("-", "−")
    return f"{round(value, places) + 0.0:,.{places}f}".replace("-", "−")


def interval(
    mean: float | None, low: float | None, high: float | None, baseline: float | None = None
) -> tuple[str, str]:
    """Return an estimate and its interval as text: ("0.36", "[0.29, 0.44]").

    Args:
        mean: The estimate; None or NaN gives "undefined".
        low: Lower end; None or NaN gives "no interval".
        high: Upper end.
        baseline: Value from which the ends must remain distinguishable in print.
    """
    if mean is None or math.isnan(mean):
        return "undefined", ""
    if low is None or high is None or math.isnan(low + high):
        return number(mean, _least(mean)), "no interval"
    digits = places(low, high, baseline)
    return estimate(mean, low, high, digits), f"[{number(low, digits)}, {number(high, digits)}]"


def estimate(mean: float, low: float, high: float, places: int) -> str:
    """Return an estimate beside its interval; one that is nothing at the interval's decimals is 0, as 0.000."""
    nothing = round(mean, places) == 0 and high - low > 10**-places
    return number(0.0 if nothing else mean, places)


def places(low: float, high: float, baseline: float | None = None) -> int:
    """Return the decimals of an interval: one significant digit of its half width, and two for numbers below 10."""
    half = (high - low) / 2
    digits = max(_least(low, high), -math.floor(math.log10(half)) if 0 < half < math.inf else 0)
    if baseline is not None:
        ends = [end for end in (low, high) if end != baseline]
        while digits < MOST_PLACES and any(round(end, digits) == round(baseline, digits) for end in ends):
            digits += 1
    return min(digits, MOST_PLACES)


def plain(value: float) -> str:
    """Return a number with at most three decimals, without zeros at its end: "0.5", "0"."""
    return f"{round(float(value), 3) + 0.0:g}".replace("-", "−")


def _least(*values: float) -> int:
    size = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 2 if size < 10 else 1 if size < 100 else 0
