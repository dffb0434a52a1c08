"""Safe HTML from notebooks: markdown, formulas, code, drawings and outputs of cells."""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from typing import Any
from xml.etree import ElementTree

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MATHML = _names(
    "math mrow mi mn mo ms mtext mspace msub msup msubsup munder mover munderover mfrac msqrt mroot mtable mtr mtd "
    "mpadded mphantom mstyle mmultiscripts mprescripts none menclose merror"
)
SVG = _names(
    "svg g path use defs clipPath rect circle ellipse line polyline polygon text tspan image linearGradient "
    "radialGradient stop pattern marker title desc"
)
HTML = _names(
    "table caption thead tbody tfoot tr th td div span p br hr b strong i em u s small sub sup code pre kbd samp "
    "h2 h3 h4 h5 h6 ul ol li dl dt dd blockquote figure figcaption details summary a img"
)
STYLES = ("color", "background", "background-color", "font-weight", "font-style", "text-align", "white-space")
NAMED = re.compile(r"(<mi>(?:log|ln|exp|sin|cos|max|min|arg)</mi>)(?=<m(?!o))")
"""A function's name before its argument; the converter sets no space between them."""
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*")


class Markdown(IPythonRenderer):  # type: ignore[misc]  # nbconvert is untyped
    """Renders the markdown cells of one notebook, and collects its title and headings."""

    def __init__(self) -> None:
        """Show raw HTML as text, let links run no script, and embed or name images."""
        super().__init__(escape=True, allow_harmful_protocols=False)
        self.title = ""
        self.headings: list[tuple[int, str, str]] = []

    def render(self, text: str, attachments: dict[str, Any] | None = None) -> str:
        """Return one cell as HTML; the notebook's first top-level heading becomes `title` and is left out."""
        self.attachments = attachments or {}
        return scrolling(MarkdownWithMath(self).render(text))

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        """Return a heading with an anchor."""
        if level == 1 and not self.title:
            self.title = text
            return ""
        anchor = f"section-{len(self.headings) + 1}"
        self.headings.append((level, anchor, re.sub(r"</?a\b[^>]*>", "", text)))
        level = max(level, 2)
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Return an attached picture; of any other, which would be fetched, only the description."""
        for kind, data in self.attachments.get(url.removeprefix("attachment:"), {}).items():
            if PICTURE.fullmatch(source := f"data:{kind};base64,{data}"):
                return f'<img src="{source}" alt="{html.escape(text)}">'
        return f"<em>[{html.escape(text)}]</em>"

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
        mathml = clean_xml(convert(tex.strip(), display=display), MATHML)
    except Exception:  # the converter raises many kinds of errors, and none should stop the report
        return f"<code>{html.escape(tex)}</code>"
    return NAMED.sub(r'\1<mspace width="0.167em" />', mathml)


def clean_xml(text: str, allowed: Collection[str], prefix: str = "") -> str:
    """Return SVG or MathML with the allowed elements only, without scripts, handlers and outside references.

    Args:
        text: One well-formed element.
        allowed: Local names of the elements that stay.
        prefix: Prefix of every id that is referred to, so that ids of two drawings differ; other ids are removed.
    """
    root = ElementTree.fromstring(text)
    used = set(re.findall(r"(?:url\(|href=[\"'])#([^)\"']+)", text))
    _clean(root, allowed, {name: f"{prefix}{name}" for name in used})
    root.tail = None
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, allowed: Collection[str], ids: dict[str, str]) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    for name, value in attributes.items():
        if name == "id":
            value = ids.get(value, "")
        value = re.sub(r"(^|url\()#([^)]+)", lambda m: m[1] + "#" + ids.get(m[2], m[2]), value)
        outside = re.search(r"url\((?!#)|javascript:|expression\(", value, re.IGNORECASE)
        strange = name == "href" and not value.startswith("#") and not PICTURE.fullmatch(value)
        if value and not (name.lower().startswith("on") or outside or strange):
            element.set(name, value)
    for child in list(element):
        if isinstance(child.tag, str) and _local(child.tag) in allowed:
            _clean(child, allowed, ids)
        else:
            element.remove(child)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def clean_html(text: str) -> str:
    """Return a cell's HTML output without scripts, styles, handlers and anything that is fetched."""
    from bleach import Cleaner
    from bleach.css_sanitizer import CSSSanitizer

    text = re.sub(r"<(style|script)\b.*?(</\1\s*>|$)", "", text, flags=re.IGNORECASE | re.DOTALL)
    cleaner = Cleaner(
        tags=HTML,
        attributes=_allowed,
        protocols=["http", "https", "data"],
        strip=True,
        css_sanitizer=CSSSanitizer(allowed_css_properties=STYLES),
    )
    return scrolling(cleaner.clean(text))


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and PICTURE.fullmatch(value) is not None
    if name == "href":
        return tag == "a" and re.match(r"https?://|#", value) is not None
    if name == "style":
        return re.search(r"url|\\", value, re.IGNORECASE) is None
    return name in ("alt", "class", "colspan", "open", "rowspan", "scope", "title")


def scrolling(text: str) -> str:
    """Put each table in a box that scrolls sideways, and mark plain numbers and long texts."""
    text = re.sub(r"<td>(\s*[-−+]?[\d.,]+(?:[eE][-+]?\d+)?%?\s*)</td>", r'<td class="num">\1</td>', text)
    text = re.sub(r"<td>([^<]{40,})</td>", r'<td class="long">\1</td>', text)
    text = re.sub(r"<table\b", '<div class="scroll" tabindex="0"><table', text)
    return text.replace("</table>", "</table></div>")


def plain(text: str) -> str:
    """Return text without terminal colours, escaped."""
    return html.escape(ANSI.sub("", text))


def short(value: object) -> str:
    """Return a value as text, floats to six digits and long digests shortened."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b", r"\1…", str(value))


def code(source: str) -> str:
    """Return Python with its syntax highlighted."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter(nowrap=True))
