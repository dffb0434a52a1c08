"""Safe HTML from notebooks: markdown, formulas, code, drawings and outputs of cells.

Everything passes `clean`: a tokenizer that takes any text, a tree of allowed elements and attributes, and a writer that
escapes the rest. Nothing that was not allowed by name is written, whatever the text was.
"""

from __future__ import annotations

import html
import math
import re
import warnings
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from workbench.errors import ESCAPES
from workbench.reports import styles
from workbench.reports.styles import words


def _lists(text: str) -> dict[str, frozenset[str]]:
    """Element -> its attributes, from lines `elements: attributes`."""
    lines = (line.partition(":") for line in text.strip().splitlines())
    return {name: words(attributes) for names, _, attributes in lines for name in names.split()}


SHARED = words("id class role style aria-label")
HTML = _lists("""
table caption thead tbody tfoot tr div span p br hr b strong i em u s del small sub sup code pre kbd samp mark:
h2 h3 h4 h5 h6 ul li dl dt dd blockquote figure figcaption summary: title
ol: start
details: open
td th: colspan rowspan scope title
a: href title
img: src alt title
""")
SVG = _lists("""
svg: viewBox width height preserveAspectRatio
g text tspan defs a: transform x y dx dy rotate
title desc style:
use: href x y width height transform
path: d transform
rect: x y width height rx ry transform
circle ellipse: cx cy r rx ry transform
line: x1 y1 x2 y2 transform
polyline polygon: points transform
image: href x y width height preserveAspectRatio transform
clipPath: clipPathUnits transform
linearGradient radialGradient: href x1 y1 x2 y2 cx cy r fx fy gradientUnits gradientTransform spreadMethod
stop: offset
pattern: href x y width height patternUnits patternContentUnits patternTransform viewBox
""")
MATHML = _lists("""
math: display
mrow msub msup msubsup munder mover munderover mmultiscripts mprescripts none merror mphantom: accent accentunder
mi mn ms mtext: mathvariant
mo: fence form largeop lspace maxsize minsize movablelimits rspace separator stretchy symmetric mathvariant
mspace mpadded: width height depth
mfrac: linethickness numalign denomalign
msqrt mroot:
mstyle: displaystyle scriptlevel mathcolor mathvariant
mtable mtr mtd: columnalign rowalign columnlines rowlines columnspacing rowspacing displaystyle
menclose: notation
""")
LOWERED = {name.lower(): name for name in {*SVG, *(name for names in SVG.values() for name in names)}}
"""Names of SVG as a tokenizer of HTML sees them, and as they are written."""
INSIDE = {"html": HTML | {"svg": SVG["svg"], "math": MATHML["math"]}, "svg": SVG, "math": MATHML}
RAW = words("script style title textarea xmp iframe noembed noframes noscript plaintext")
"""Elements whose content is not markup."""
GONE = RAW | words("applet audio canvas datalist embed frameset head map object select template video")
"""Elements that go with their content; of others that are not allowed, the content stays."""
VOID = words("area base br col embed frame hr img input link meta param source track wbr")
REPEATED = words("dd dt li p td th tr")
"""Elements that end where the next of their name begins."""
TEXT_ONLY = words("title desc mi mn mo ms mtext")
LONGEST_VALUE = 2_000
"""Characters of a parameter or fact; `run.json` has it whole."""
DEEPEST = 100
LONGEST_MARKDOWN, ALL_MARKDOWN = 100_000, 2_000_000
"""Characters of one text in markdown, and of all of a page."""
MOST_ENVIRONMENTS = 300
r"""Uses of `\begin` in one text: the search for the end of each goes through all of it."""
PATH = 16
"""Characters of a path that count as an element."""
MATCHES = 100
"""Elements that a rule of a style is compared with, for each part of its selector, that count as an element."""
MOST_DASHES = 300_000
"""Dashes of one output, at most; more take a browser many seconds, so that its lines are drawn without."""
MOST_ELEMENTS = 50_000
"""Elements of one output, every use of a symbol or pattern counted."""
TOKEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<!\[CDATA\[(?P<cdata>.*?)(?:\]\]>|\Z)|<[!?][^>]*(?:>|\Z)"
    r"|<(?P<end>/?)(?P<name>[a-zA-Z][^\s/>]*+)(?P<attributes>(?:[\s/]++|[^\s/>=][^\s/>=]*+"
    r"(?:\s*+=\s*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^\s>\"'][^\s>]*+)?+)?+|=)*+)(?:>|\Z)",
    re.DOTALL,
)
ATTRIBUTE = re.compile(r"([^\s/>=]++)(?:\s*+=\s*+(?:\"([^\"]*+)\"?|'([^']*+)'?|([^\s>]*+)))?+")
PIXELS, CHARACTERS = 2_000, 20
"""Pixels of a picture, and characters of text, that count as an element."""
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*")
LINK = re.compile(r"(?:https?://|mailto:)[^\s\x00-\x1f]+|#[\w.:-]+|[\w.][\w./%~-]*(?:#[\w.-]+)?", re.IGNORECASE)
"""Addresses of links: of the web, of mail, of this page, and of files beside it."""
DASHES = re.compile(r"stroke-dasharray: ([\d. ,eE+px-]*);?")
COORDINATE = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
OWN_ANCHOR = re.compile(r"#(section|cell)-\d+")
MEASURE = re.compile(r"[-+\w\s.,%()]*")
SHORT = re.compile(r"(?!.*-\s*([2-9]|\d\d))(?!.*\d{3})[-\w\s.%]{0,30}")
"""A value of MathML: no length beyond two digits, and none that moves text back by more than one unit."""
VALUES = {"html": re.compile(r"\d{0,3}|row|col|rowgroup|colgroup"), "svg": MEASURE, "math": SHORT}
"""What attributes of each kind can be, if they are neither text nor styles nor addresses."""
REFERENCE = re.compile(r"(?<!&)#([\w-]+)")
NUMBER = re.compile(r"\s*[-−+]?[\d.,]+(?:[eE][-+]?\d+)?%?\s*")
NAMED = re.compile(r"(<mi>(?:log|ln|exp|sin|cos|max|min|arg)</mi>)(?=<m(?!o))")
"""A function's name before its argument; the converter sets no space between them."""
HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters, overrides of text direction, and halves of characters."""


class TooLarge(ValueError):
    """An output of more elements than a page can show."""


@dataclass(slots=True)
class Budget:
    """What a page can still show."""

    elements: int = 4 * MOST_ELEMENTS
    """Elements of all outputs."""
    markdown: int = ALL_MARKDOWN
    """Characters of markdown."""


class Markdown(IPythonRenderer):  # type: ignore[misc]  # nbconvert is untyped
    """Renders the markdown cells of one notebook, and collects its title and headings."""

    def __init__(self) -> None:
        """Show raw HTML as text, and embed or name images."""
        super().__init__(escape=True)
        self.title = ""
        self.headings: list[tuple[int, str, str]] = []
        self.budget = Budget()
        self.tables: set[str] = set()
        """Anchors of kept tables that are not in the page yet."""

    def render(self, text: str, prefix: str, attachments: Any = None) -> str:
        """Return one cell as HTML; the notebook's first top-level heading becomes `title` and is left out.

        Raises:
            TooLarge: If there is no room for the text.
        """
        many = text.count("\\begin{") > MOST_ENVIRONMENTS
        if many or len(text) > min(LONGEST_MARKDOWN, self.budget.markdown):
            raise TooLarge
        self.budget.markdown -= len(text)
        self.attachments = attachments if isinstance(attachments, dict) else {}
        known = len(self.headings)
        content = MarkdownWithMath(self).render(text)
        return clean(content, prefix, frozenset(anchor for _, anchor, _ in self.headings[known:]), self.budget)

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        """Return a heading with an anchor."""
        text = clean(text, "h-")
        if level == 1 and not self.title:
            self.title = text
            return ""
        anchor = f"section-{len(self.headings) + 1}"
        self.headings.append((level, anchor, re.sub(r"</?a\b[^>]*>", "", text)))
        level = max(level, 2)
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Return an attached picture; of any other, which would be fetched, only the description."""
        attached = self.attachments.get(url.removeprefix("attachment:"))
        for kind, data in attached.items() if isinstance(attached, dict) else ():
            if PICTURE.fullmatch(source := f"data:{kind};base64,{data}"):
                return f'<img src="{source}" alt="{html.escape(text)}">'
        return f"<em>[{html.escape(text)}]</em>"

    def block_mermaidjs(self, code: str) -> str:
        """Return a diagram as its source."""
        return self.block_code(code)

    def inline_math(self, body: str) -> str:
        """Return an inline formula."""
        return formula(body, "inline")

    def block_math(self, body: str) -> str:
        """Return a displayed formula."""
        return formula(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        r"""Return a `\begin{...} ... \end{...}` outside of dollars."""
        return formula(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")


def formula(tex: str, display: str) -> str:
    """Return TeX as MathML, which browsers show natively; as code if it cannot be converted."""
    from latex2mathml.converter import convert

    try:
        mathml: str = convert(tex.strip(), display=display)
    except Exception:  # the converter raises many kinds of errors, and none should stop the report
        return f"<code>{html.escape(tex)}</code>"
    return NAMED.sub(r'\1<mspace width="0.167em" />', mathml)


@dataclass(slots=True)
class _Open:
    """An element that has begun."""

    name: str
    inside: str
    """`html`, `svg`, `math`, or `gone` if its content is left out."""
    element: Element
    """Where its content is written: itself, or what is around it."""


@dataclass(slots=True)
class _Cleaner:
    """One output on its way into the page."""

    prefix: str
    """Prefix of its ids and classes, and the id within which its styles hold."""
    anchors: frozenset[str] = frozenset()
    """Ids that stay as they are."""
    root: Element = field(default_factory=lambda: Element("div"))
    most: int = MOST_ELEMENTS
    """Elements that there is room for."""
    sheets: list[str] = field(default_factory=list)
    opened: list[_Open] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Ids that something refers to."""
    count: int = 0
    room: int = styles.LONGEST_SHEETS
    """Characters of styles that are read."""
    into: Element | None = None
    """The element whose text is in `texts`: each of many pieces added to the tree would copy all before it."""
    texts: list[str] = field(default_factory=list)

    def read(self, text: str) -> None:
        """Build the tree of allowed elements; every position of the text is read once."""
        self.opened.append(_Open("", "html", self.root))
        position = 0
        while token := TOKEN.search(text, position):
            self.write(html.unescape(text[position : token.start()]))
            position = token.end()
            if token["cdata"]:
                self.write(token["cdata"])
            elif name := _local(token["name"] or ""):
                position = self.close(name, position) if token["end"] else self.open(name, token, position)
        self.write(html.unescape(text[position:]))
        self.flush()

    def spend(self, elements: int) -> None:
        """Count elements.

        Raises:
            TooLarge: If there is no room for them.
        """
        self.count += elements
        if self.count > self.most:
            raise TooLarge

    def write(self, text: str) -> None:
        """Add text to the open element."""
        top = self.opened[-1]
        if text and top.inside != "gone":
            if top.element is not self.into:
                self.flush()
            self.into = top.element
            self.texts.append(text)

    def flush(self) -> None:
        """Add the text that was written to the tree."""
        if self.into is not None:
            text = "".join(self.texts)
            self.spend(len(text) // CHARACTERS)
            if len(self.into):
                self.into[-1].tail = (self.into[-1].tail or "") + text
            else:
                self.into.text = (self.into.text or "") + text
            self.into, self.texts = None, []

    def add(self, parent: Element, name: str, attributes: dict[str, str]) -> Element:
        """Add an element behind what was written."""
        self.flush()
        return SubElement(parent, name, attributes)

    def close(self, name: str, position: int) -> int:
        """End the innermost element of this name, and those in it; if there is none, do nothing."""
        at = next((at for at in range(len(self.opened) - 1, 0, -1) if self.opened[at].name == name), None)
        if at:
            del self.opened[at:]
        return position

    def open(self, name: str, token: re.Match[str], position: int) -> int:
        """Begin an element, and return the position where the text goes on."""
        self.spend(1)
        if name in REPEATED and self.opened[-1].name == name:
            self.opened.pop()
        top = self.opened[-1]
        alone = name in VOID or (top.inside != "html" and token["attributes"].endswith("/"))
        if name in RAW and not alone:
            return self.raw(name, token.string, position)
        if len(self.opened) > DEEPEST:
            return position
        written = LOWERED.get(name, name) if top.inside == "svg" else name
        inside, element = top.inside, top.element
        if written in INSIDE.get(top.inside, ()) and top.name not in TEXT_ONLY:
            inside = written if written in ("svg", "math") else inside
            element = self.add(top.element, written, self.attributes(written, inside, token["attributes"]))
        elif name == "input" and top.inside == "html" and "checkbox" in token["attributes"]:
            self.write("☑ " if "checked" in token["attributes"] else "☐ ")
        elif top.inside != "html" or name in GONE:
            inside = "gone"
        if not alone:
            self.opened.append(_Open(name, inside, element))
        return position

    def raw(self, name: str, text: str, position: int) -> int:
        """Read an element whose content is not markup: styles are kept for this output, and titles of drawings."""
        ending = re.compile(rf"</(?:\w+:)?{name}(?=[\s/>])[^>]*>?", re.IGNORECASE).search(text, position)
        content = text[position : ending.start() if ending else len(text)]
        top = self.opened[-1]
        if name == "style" and top.inside in ("html", "svg"):
            self.sheets.append(styles.stylesheet(re.sub(r"<!\[CDATA\[|\]\]>", "", content[: self.room]), self.prefix))
            self.room = max(0, self.room - len(content))
        elif name == "title" and top.inside == "svg":
            self.add(top.element, "title", {}).text = html.unescape(content)
        return ending.end() if ending else len(text)

    def attributes(self, name: str, inside: str, text: str) -> dict[str, str]:
        """The allowed attributes of an element."""
        kept: dict[str, str] = {}
        for key, *values in ATTRIBUTE.findall(text):
            key = LOWERED.get(_local(key), _local(key)) if inside == "svg" else _local(key)
            value = self.attribute(name, inside, key, html.unescape("".join(values)))
            if key not in kept and (value or key in ("alt", "open")):
                kept[key] = value
                self.used.update(REFERENCE.findall(value) if inside == "svg" else ())
        return kept

    def attribute(self, name: str, inside: str, key: str, value: str) -> str:
        """An attribute's value as it is written; empty if it is not allowed."""
        allowed = key in SHARED or key in INSIDE[inside][name]
        match key:
            case _ if not allowed and (inside != "svg" or key not in styles.PROPERTIES):
                return ""
            case "id":
                return value if value in self.anchors else self.prefix + value if styles.NAME.fullmatch(value) else ""
            case "class":
                return " ".join(styles.renamed(each, self.prefix) for each in value.split())
            case "style":
                return styles.declarations(value, self.prefix, inside == "svg")
            case "aria-label" | "title" | "alt":
                return value
            case "src" | "href" if name in ("img", "image"):
                if not PICTURE.fullmatch(value):
                    return ""
                self.spend(_pixels(value) // PIXELS)
                return value
            case "href" if name == "a":
                local = value.startswith("#") and not OWN_ANCHOR.fullmatch(value)
                return (f"#{self.prefix}{value[1:]}" if local else value) if LINK.fullmatch(value) else ""
            case "href":
                return f"#{self.prefix}{value[1:]}" if value[:1] == "#" and styles.NAME.fullmatch(value[1:]) else ""
            case _ if not allowed:
                return styles.presentation(key, value, self.prefix)
        return value if VALUES[inside].fullmatch(value) else ""

    def match(self) -> None:
        """Count what a browser compares: every rule with the elements that its last part can be.

        Raises:
            TooLarge: If there is no room for them.
        """
        counts = Counter(f"{mark}{name}" for e in self.root.iter() for mark, name in _names(e))
        for rule in filter(None, "\n".join(self.sheets).split("\n")):
            for selector in rule.partition(" {")[0].split(f", #{self.prefix} "):
                *_, last = parts = re.split(r"[\s>+~]+", selector)
                names = [] if "(" in selector else re.findall(r"[.#][\w-]+|^[\w-]+", last)
                self.spend(min((counts[name] for name in names), default=counts["*"]) * len(parts) // MATCHES)

    def without_many_dashes(self, sheet: str) -> str:
        """Remove the dashes of lines that have too many; return the sheet."""
        values = [(e, key, e.get(key, "")) for e in self.root.iter() for key in ("stroke-dasharray", "style")]
        given = [
            sheet,
            *(value if key == "style" else f"stroke-dasharray: {value}" for _, key, value in values if value),
        ]
        sums = [sum(map(float, COORDINATE.findall(match[1]))) for text in given for match in DASHES.finditer(text)]
        if not (least := min(filter(None, sums), default=0.0)):
            return sheet
        given_by = [element for element, key, value in values if value and (key != "style" or "dash" in value)]
        dashed = _reached(self.root, [self.root] if "dash" in sheet else given_by)
        length = _weight(self.root, math.inf, lambda element: _length(element) if element in dashed else 0)
        if length <= MOST_DASHES * least:
            return sheet
        for element, key, value in values:
            if key == "style" and value:
                element.set(key, DASHES.sub("", value))
            elif value:
                del element.attrib[key]
        return DASHES.sub("", sheet)

    def finish(self) -> str:
        """Return the tree as HTML: ids that something refers to, tables in boxes that scroll, numbers marked."""
        sheet = self.without_many_dashes("\n".join(filter(None, self.sheets)))
        self.used.update(REFERENCE.findall(sheet), self.anchors)
        styled = styles.KNOWN_CLASSES.union(re.findall(r"\.([\w-]+)", sheet))
        for element in list(self.root.iter()):
            if element.get("id", "") not in self.used:
                element.attrib.pop("id", None)
            if kept := " ".join(filter(styled.__contains__, element.attrib.pop("class", "").split())):
                element.set("class", kept)
            if element.tag == "td" and not element.attrib and not len(element):
                _mark(element)
            for at, child in enumerate(element):
                if child.tag == "table":
                    element[at] = box = Element("div", {"class": "scroll", "tabindex": "0"})
                    box.append(child)
                    box.tail, child.tail = child.tail, None
        written = (tostring(child, encoding="unicode", method="html") for child in self.root)
        text = html.escape(self.root.text or "", quote=False) + "".join(written)
        return f"<style>{sheet}</style>{text}" if sheet else text


def clean(text: str, prefix: str, anchors: frozenset[str] = frozenset(), budget: Budget | None = None) -> str:
    """Return HTML or a drawing with allowed elements, attributes and styles only.

    Args:
        text: Any text.
        prefix: Prefix of its ids and classes, different for each output; styles hold within the element of this id.
        anchors: Ids that keep their names.
        budget: What its page can still show, from which it is taken.

    Raises:
        TooLarge: If it would have more than `MOST_ELEMENTS` elements, or than the page has room for.
    """
    budget = budget or Budget()
    cleaner = _Cleaner(prefix, anchors, most=min(MOST_ELEMENTS, budget.elements))
    cleaner.read(text)
    cleaner.spend(int(_weight(cleaner.root, cleaner.most)))
    cleaner.match()
    budget.elements -= cleaner.count
    return cleaner.finish()


def _reached(root: Element, start: list[Element]) -> set[Element]:
    """Elements that have the style of one of these: those inside of it, and those that it refers to."""
    named = {element.get("id"): element for element in root.iter()}
    reached: set[Element] = set()
    while start:
        if (element := start.pop()) not in reached:
            reached.add(element)
            names = [name for value in element.attrib.values() for name in REFERENCE.findall(value)]
            start += [*element, *(named[name] for name in names if name in named)]
    return reached


def _size(element: Element) -> float:
    """What an element without its children counts, by the length of its path."""
    return 1 + (len(element.get("d", "")) + len(element.get("points", ""))) // PATH


def _weight(root: Element, most: float, own: Callable[[Element], float] = _size) -> float:
    """Number of elements, or the sum of another number, when every symbol and pattern is drawn where it is used.

    Raises:
        TooLarge: If symbols name each other in a circle, or there are more than `most`.
    """
    named = {element.get("id"): element for element in root.iter() if element.get("id")}
    known: dict[Element, float] = {}

    def weight(element: Element, depth: int) -> float:
        if depth > 3 * DEEPEST:
            raise TooLarge
        if element not in known:
            total = own(element) + sum(weight(child, depth + 1) for child in element)
            for name in [name for value in element.attrib.values() for name in REFERENCE.findall(value)]:
                if name in named and element.tag != "a":
                    total += weight(named[name], depth + 1)
            known[element] = total
            if total > most:
                raise TooLarge
        return known[element]

    return weight(root, 0)


def _names(element: Element) -> list[tuple[str, str]]:
    """What a selector can name an element by, with its mark."""
    names = [("", element.tag), ("", "*"), ("#", element.get("id", ""))]
    return names + [(".", name) for name in element.get("class", "").split()]


def _length(element: Element) -> float:
    """Length of the lines of an element of a drawing, at most."""
    path = element.get("d", "")
    if re.fullmatch(r"[MLQCZz\d\s.,eE+-]*", path) and path:  # the polygon of the points is longer than the curve
        numbers = list(map(float, COORDINATE.findall(path)))
        points = list(zip(numbers[::2], numbers[1::2]))
        return 2 * sum(math.hypot(a - c, b - d) for (a, b), (c, d) in pairwise(points))
    sizes = (
        element.get(key, "") for key in ("d", "points", "r", "rx", "ry", "width", "height", "x1", "x2", "y1", "y2")
    )
    total = sum(abs(float(number)) for text in sizes for number in COORDINATE.findall(text))
    return 7 * total * (len(path) if re.search("[SsTt]", path) else 1)  # reflected points go further and further


def _pixels(picture: str) -> int:
    """Number of pixels of a picture, as its first bytes state it; 0 if it is none."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            width, height = Image.open(BytesIO(b64decode(picture.partition(",")[2]))).size
        return width * height
    except Image.DecompressionBombError:
        raise TooLarge from None
    except Exception:  # the decoders raise many kinds of errors
        return 0


def _mark(cell: Element) -> None:
    """Give the cell of a table the class of plain numbers or of long texts."""
    text = cell.text or ""
    if NUMBER.fullmatch(text):
        cell.set("class", "num")
    elif len(text) >= 40:
        cell.set("class", "long")


def _local(name: str) -> str:
    """A name without its namespace, in lower case as HTML has it."""
    return name.rpartition(":")[2].lower()


def visible(page: str) -> str:
    """Return text whose control characters can be seen and do nothing, as Python writes them."""
    page = page.replace("\r\n", "\n").replace("\r", "\n")
    return HIDDEN.sub(lambda match: ascii(match[0])[1:-1], page)


def plain(text: str) -> str:
    """Return text without terminal colours, escaped."""
    return html.escape(ESCAPES.sub("", text))


def short(value: object) -> str:
    """Return a value as text, floats to six digits, long digests and very long texts shortened."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    text = text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b", r"\1…", text)


def code(source: str) -> str:
    """Return Python with its syntax highlighted."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter(nowrap=True))
