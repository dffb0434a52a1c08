"""CSS of cells, judged token by token: nothing is fetched, nothing leaves its place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import tinycss2


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


PROPERTIES = words(
    "color background background-color opacity display visibility width max-width white-space vertical-align "
    "font font-family font-size font-stretch font-style font-variant font-weight "
    "text-align text-anchor text-decoration text-transform caption-side list-style-type "
    "padding padding-top padding-right padding-bottom padding-left border border-top border-right border-bottom "
    "border-left border-color border-style border-width border-collapse border-spacing border-radius "
    "border-top-color border-right-color border-bottom-color border-left-color "
    "fill fill-opacity fill-rule stroke stroke-width stroke-opacity stroke-linecap stroke-linejoin stroke-miterlimit "
    "stroke-dasharray stroke-dashoffset clip-path clip-rule paint-order "
    "stop-color stop-opacity dominant-baseline alignment-baseline shape-rendering text-rendering image-rendering"
)
COLOURS = words("rgb rgba hsl hsla")
FUNCTIONS = COLOURS | {"linear-gradient"}
REFERRING = words("fill stroke clip-path")
"""Properties whose value can be `url(#id)` of the same drawing."""
UNITS = words("px pt pc em rem ex ch cm mm in deg")
PSEUDO = words("hover not is where nth-child first-child last-child even odd empty")
KNOWN_CLASSES = words("dataframe num long single bar metrics flags tags")
"""Classes that the page's own style and scripts know."""
NAME = re.compile(r"[A-Za-z0-9_-]+")
PLAIN = re.compile(r"[\w\s#%.,()/'+-]+")
MOST_LENGTH = 2_000.0
"""Largest number in a style of HTML; drawings are clipped to their box, so theirs have no limit."""
LEAST_DASH = 0.5
"""Smallest sum of a dash pattern: shorter dashes take a browser minutes to draw."""
LONGEST_STYLE, LONGEST_SHEETS, LONGEST_SELECTOR = 5_000, 100_000, 40


@lru_cache(maxsize=4096)
def declarations(text: str, prefix: str, drawing: bool = False) -> str:
    """Return the allowed declarations of a `style` attribute, ids with the prefix; of a drawing or of HTML."""
    return _declared(text, prefix, drawing) if len(text) <= LONGEST_STYLE else ""


@lru_cache(maxsize=4096)
def presentation(name: str, text: str, prefix: str) -> str:
    """Return the value of a drawing's attribute that is also a property, such as `fill`; empty if not allowed."""
    return declarations(f"{name}: {text}", prefix, drawing=True).partition(": ")[2]


def stylesheet(text: str, prefix: str) -> str:
    """Return the allowed rules of a `<style>`, for elements within the id `prefix` only."""
    rules = []
    for rule in tinycss2.parse_stylesheet(text[:LONGEST_SHEETS], skip_comments=True, skip_whitespace=True):
        if rule.type == "qualified-rule" and (kept := _declared(rule.content, prefix, drawing=False)):
            selectors = filter(None, (_selector(part, prefix) for part in _split(rule.prelude)))
            if within := ", ".join(f"#{prefix} {selector}" for selector in selectors):
                rules.append(f"{within} {{{kept}}}")
    return "\n".join(rules)


def renamed(name: str, prefix: str) -> str:
    """Return a class name of a cell as the page has it."""
    return name if name in KNOWN_CLASSES else prefix + name


def _declared(content: str | list[Any], prefix: str, drawing: bool) -> str:
    kept_values = []
    for part in tinycss2.parse_declaration_list(content, skip_comments=True, skip_whitespace=True):
        if part.type == "declaration" and part.lower_name in PROPERTIES:
            value = _value(part.lower_name, part.value, prefix, drawing).strip()
            if PLAIN.fullmatch(value) and "\0" not in value:
                kept_values.append(f"{part.lower_name}: {value}")
    return "; ".join(kept_values)


def _value(name: str, tokens: Iterable[Any], prefix: str, drawing: bool, functions: frozenset[str] = FUNCTIONS) -> str:
    """The tokens of a value as text; a NUL stands for those that are not allowed."""
    parts, dashes = [], 0.0
    for token in tokens:
        match token.type:
            case "whitespace":
                parts.append(" ")
            case "ident":
                parts.append(token.value)
            case "hash":
                parts.append(f"#{token.value}")
            case "number" | "percentage" | "dimension" if _measured(name, token, drawing):
                parts.append(token.serialize())
                dashes += token.value
            case "string" if name in ("font", "font-family"):
                parts.append(f"'{token.value.replace(chr(39), chr(0))}'")
            case "literal" if token.value == "," or (token.value == "/" and functions is not FUNCTIONS):
                parts.append(token.value)
            case "url":
                parts.append(_local(name, token.value, prefix, drawing))
            case "function" if token.lower_name == "url":
                parts.append(_local(name, "".join(getattr(t, "value", "\0") for t in token.arguments), prefix, drawing))
            case "function" if token.lower_name in functions:
                inner = COLOURS if functions is FUNCTIONS else frozenset[str]()
                inside = _value(name, token.arguments, prefix, drawing, inner)
                parts.append(f"{token.lower_name}({inside})")
            case "comment":
                pass
            case _:
                return "\0"
    if name == "stroke-dasharray" and any(t.type != "ident" for t in tokens) and dashes < LEAST_DASH:
        return "\0"
    return "".join(parts)


def _measured(name: str, token: Any, drawing: bool) -> bool:
    """Whether a number is allowed there: of a known unit, and in HTML neither negative nor huge."""
    if token.type == "dimension" and token.lower_unit not in UNITS:
        return False
    if name == "stroke-dasharray" and (token.type == "percentage" or getattr(token, "lower_unit", "px") != "px"):
        return False  # of an unknown size
    return name != "text-decoration" and (drawing or 0 <= token.value <= MOST_LENGTH)


def _local(name: str, address: str, prefix: str, drawing: bool) -> str:
    """`url(#id)` in a drawing, with the prefix."""
    local = drawing and name in REFERRING and address.startswith("#") and NAME.fullmatch(address[1:])
    return f"url(#{prefix}{address[1:]})" if local else "\0"


def _split(tokens: list[Any]) -> list[list[Any]]:
    """Tokens between commas."""
    parts: list[list[Any]] = [[]]
    for token in tokens:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _selector(tokens: list[Any], prefix: str) -> str:
    """A selector with the prefix in its ids and classes; empty if a part is not allowed."""
    parts, before = [], ""
    if len(tokens) > LONGEST_SELECTOR:
        return ""
    for token in tokens:
        match token.type:
            case "whitespace" | "comment":
                parts.append(" ")
            case "literal" if token.value in (".", ":", ">", "+", "*", ",") and (token.value, before) != (":", ":"):
                parts.append(token.value)
            case "ident" if NAME.fullmatch(token.value):
                if before == ":" and token.lower_value not in PSEUDO:
                    return ""
                parts.append(renamed(token.value, prefix) if before == "." else token.value)
            case "hash" if NAME.fullmatch(token.value):
                parts.append(f"#{prefix}{token.value}")
            case "number" | "dimension":
                parts.append(token.serialize())
            case "function" if before == ":" and token.lower_name in PSEUDO:
                if not (inside := _selector(token.arguments, prefix)):
                    return ""
                parts.append(f"{token.lower_name}({inside})")
            case _:
                return ""
        before = token.value if token.type == "literal" else ""
    return "".join(parts).strip()
