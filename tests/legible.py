"""What a reader would stumble over in a figure: checks of the SVG as it is kept."""

from __future__ import annotations

import io
import re
from functools import cache
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

WIDEST = 5.35 * 72
"""Width in points: the figure and its margin."""
SMALLEST = 8.4
STATED = re.compile(r"interval|range|region|counts", re.IGNORECASE)
"""What an alt text says of the bars and bands, or that there are none."""
CODE = re.compile(r"\w_\w|\w_$|^_\w")
COLUMNS = {"mean", "low", "high", "se", "n", "metric", "value", "judge", "scoring", "kind", "run", "dcs", "js", "pmi"}
"""Names of columns that are no words for a reader."""
SVG = "{http://www.w3.org/2000/svg}"


def svg_of(figure) -> str:
    """The SVG of a figure, as it is kept."""
    kept = io.StringIO()
    figure.savefig(kept, format="svg", bbox_inches="tight")
    return kept.getvalue()[kept.getvalue().index("<svg") :]


def texts(svg: str) -> list[tuple[str, float, NDArray[np.float64]]]:
    """Each line of text with its size in points and the four corners of its box.

    Matplotlib draws the glyphs of a line in one group, behind a comment with its characters.
    """
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    found = []
    for group in ElementTree.fromstring(svg, parser).iter(f"{SVG}g"):
        line = ""
        for child in group:
            if child.tag is ElementTree.Comment:
                line = child.text.strip()
            elif line and child.get("transform"):
                turn = _transform(child.get("transform"))
                weight = "bold" if "Bold" in ElementTree.tostring(child, "unicode") else "normal"
                width, height, below = _measured(line, weight)
                corners = [(0, -below), (width, -below), (width, height - below), (0, height - below)]
                size = 100 * float(np.sqrt(abs(np.linalg.det(turn[:2, :2]))))
                found.append((line, size, np.array([(turn @ (*corner, 1.0))[:2] for corner in corners])))
                line = ""
    return found


@cache
def _measured(line: str, weight: str) -> tuple[float, float, float]:
    """Width, height and descent of a line of 100 points."""
    return text_to_path.get_text_width_height_descent(line, FontProperties(size=100, weight=weight), ismath=False)


def _transform(text: str) -> NDArray[np.float64]:
    whole = np.eye(3)
    for name, numbers in re.findall(r"(\w+)\(([^)]*)\)", text):
        given = [float(number) for number in re.split(r"[ ,]+", numbers.strip())]
        step = np.eye(3)
        if name == "translate":
            step[:2, 2] = (*given, 0.0)[:2]
        elif name == "scale":
            step[0, 0], step[1, 1] = given[0], given[-1]
        elif name == "rotate":
            turn = np.radians(given[0])
            step[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        else:
            raise AssertionError(f"unknown transform {name}")
        whole = whole @ step
    return whole


def overlap(one: NDArray[np.float64], two: NDArray[np.float64]) -> bool:
    """Whether two turned rectangles share more than half a point along every axis of either."""
    for box in (one, two):
        for start, end in pairwise(box[:3]):
            axis = (end - start) / (np.linalg.norm(end - start) or 1.0)
            first, second = one @ axis, two @ axis
            if min(first.max(), second.max()) - max(first.min(), second.min()) < 0.5:
                return False
    return True


def faults(svg: str, alt: str) -> list[str]:
    """What is wrong with a figure."""
    root = ElementTree.fromstring(svg)
    width, height = (float(root.get(name).removesuffix("pt")) for name in ("width", "height"))
    found = [] if width <= WIDEST else [f"{width:.0f} points wide"]
    if len(alt.split()) < 5 or not STATED.search(alt):
        found.append(f"the alt text {alt!r} does not state intervals")
    written = texts(svg)
    for text, size, box in written:
        if size < SMALLEST:
            found.append(f"{text!r} is of {size} points")
        if (CODE.search(text) and not re.search(r"[/\\“”]", text)) or text in COLUMNS:
            found.append(f"{text!r} is a code")
        if box.min() < 0 or box[:, 0].max() > width or box[:, 1].max() > height:
            found.append(f"{text!r} is outside")
    if not written:
        return [*found, "no text"]
    return [*found, *(f"{one!r} overlaps {two!r}" for one, two in overlapping(written))]


def overlapping(written: list[tuple[str, float, NDArray[np.float64]]]) -> list[tuple[str, str]]:
    """Pairs of texts that overlap."""
    low, high = (np.array([end(box, axis=0) for *_, box in written]) for end in (np.min, np.max))
    near = ((low[:, None] < high) & (low < high[:, None])).all(axis=-1)
    pairs = [(written[i], written[j]) for i, j in np.argwhere(np.triu(near, 1))]
    return [(one, two) for (one, _, a), (two, _, b) in pairs if overlap(a, b)]


def unlabelled(figure) -> list[str]:
    """Axes with ticks and without a name for what they count."""
    shared = bool(figure.get_supxlabel())
    found = []
    for axes in figure.axes:
        if not axes.axison or not axes.get_visible() or axes.get_label() == "<colorbar>":
            continue
        numbers = [
            any(tick.get_text().strip("−.0123456789") == "" and tick.get_text() for tick in ticks)
            for ticks in (axes.get_xticklabels(), axes.get_yticklabels())
        ]
        for name, number, label in zip("xy", numbers, (axes.get_xlabel(), axes.get_ylabel())):
            if number and not label and not (name == "x" and shared):
                found.append(f"the {name} axis has no label")
    return found


def checked(described):
    """`Figure.set_label` that refuses a figure with faults."""

    def set_label(figure, alt) -> None:
        described(figure, alt)
        found = [*faults(svg_of(figure), alt), *unlabelled(figure)]
        assert not found, found

    return set_label
