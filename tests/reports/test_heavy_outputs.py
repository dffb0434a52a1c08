"""Outputs that would keep a browser, or the writing of the report, busy for minutes are left out or made lighter."""

import time
from contextlib import suppress

import pytest

from workbench.reports.markup import Markdown, TooLarge, clean

CELLS = "<table>" + "<tr>" + "<td class='x'>1</td>" * 8_000 + "</table>"
LINE = "<svg viewBox='0 0 9 9'><path d='M0 0{}' stroke='red' {}/></svg>"
SHAKY = "L9 9 0 9" * 20_000


@pytest.mark.parametrize("rule", ["* *", "* * * * * * * *", "* * * .x", ":not(a) *", "td", ":is(*, .rare)", "tr > td"])
def test_rules_times_elements_are_bounded(rule):
    with pytest.raises(TooLarge):
        clean(f"<style>{f'{rule}{{color:red}}' * 3000}</style>{CELLS}", "d-")


def test_the_styles_of_a_large_table_are_kept():
    rules = "".join(f"#T_{i} {{color: red}} " for i in range(3000))
    cells = "".join(f"<td id='T_{i}'>1</td>" for i in range(9000))
    page = clean(f"<style>th, td {{color: blue}} {rules}</style><table><tr>{cells}</tr></table>", "d-")
    assert "#d- #d-T_2999 {color: red}" in page


@pytest.mark.parametrize(
    "style", ["stroke-dasharray='0.5 0.1'", "style='fill: none; stroke-dasharray: 0.6px; opacity: 1'", "class='y'"]
)
def test_dashes_are_drawn_unless_they_are_too_many(style):
    sheet = "<style>.y {stroke-dasharray: 0.5; fill: none}</style>"
    assert "stroke-dasharray" in clean(sheet + LINE.format("L9 9", style), "d-")
    letters = LINE.format(SHAKY, "").removeprefix("<svg viewBox='0 0 9 9'>").removesuffix("</svg>")
    assert "stroke-dasharray: 0.6" in clean(
        f"<svg><path d='M0 0L9 9' style='stroke-dasharray: 0.6'/>{letters}</svg>", "d-"
    )
    heavy = clean(sheet + LINE.format(SHAKY, style), "d-")
    assert "stroke-dasharray" not in heavy and SHAKY in heavy and ("fill: none" in heavy or "=" in style)


@pytest.mark.parametrize(
    "shape",
    [
        "<g stroke-dasharray='0.5'>" + "<circle r='99'/>" * 2000 + "</g>",
        "<g stroke-dasharray='5'><g id='a'>"
        + "<path d='M0 0L900 900'/>" * 20
        + "</g>"
        + "<use href='#a'/>" * 900
        + "</g>",
        f"<path stroke-dasharray='5' d='M0 0Q1 1 2 0{'T0 0T2 0' * 900}'/>",
    ],
)
def test_dashes_are_counted_wherever_they_are(shape):
    assert "stroke-dasharray" not in clean(f"<svg>{shape}</svg>", "d-")


def test_long_paths_are_bounded_wherever_they_are_drawn():
    pattern = f"<pattern id='p'><path d='M0 0{SHAKY[:50_000]}'/></pattern>"
    for lines in (f"<path d='M0 0{SHAKY * 6}'/>", f"<polygon points='{'9 9 ' * 250_000}'/>"):
        with pytest.raises(TooLarge):
            clean(f"<svg>{lines}</svg>", "d-")
    use = "<rect fill='url(#p)'/>"
    assert "d-p" in clean(f"<svg>{pattern}{use}</svg>", "d-")
    with pytest.raises(TooLarge):
        clean(f"<svg>{pattern}{use * 50}</svg>", "d-")


@pytest.mark.parametrize("length", ["1em", "90%", "1mm"])
def test_dashes_of_an_unknown_length_are_removed(length):
    assert "dasharray" not in clean(LINE.format("L9 9", f"font-size='0.0001' stroke-dasharray='{length}'"), "d-")


@pytest.mark.parametrize("text", ["<!-->a", "</x>a", "<x>a</x>", "<style>a</style>b", "<?x>a"])
def test_text_in_pieces_takes_linear_time(text):
    start = time.process_time()
    with suppress(TooLarge):
        clean(text * (1_000_000 // len(text)), "d-")
    assert time.process_time() - start < 2


def test_markdown_of_many_environments_or_of_great_length_is_not_rendered():
    for text in (r"\begin{a}" * 5000, "x" * 200_000):
        with pytest.raises(TooLarge):
            Markdown().render(text, "t-")
    assert "<math" in Markdown().render(r"\begin{matrix}a\end{matrix}" * 20, "t-")
