"""Every benchmark in every style ends in a cue that asks for what is scored."""

from dataclasses import replace
from itertools import product
from string import ascii_uppercase

import pytest
from test_embedded import bbq_record
from test_hub import ROWS
from test_value_benchmarks import RECORDS

from workbench.cultural_alignment.benchmarks import load_choices
from workbench.datasets.items import Unusable, check
from workbench.datasets.rendering import Rendering, question, refers
from workbench.datasets.sources import find, names, packages
from workbench.packages import fetch

SCORES = {"input": "Ice is", "target_scores": {"cold": 1, "hot": 0, "Unknown": 0}, "template": "t", "_id": "a_b_1"}
LETTERED = {"question": "Bees make", "options": "A. honey\nB. milk", "answer": "A. honey"}
OPEN = {"Question": "Do fish sleep?", "Category": "Animals", "True answers": ["Yes."], "False answers": ["No."]}
MARKED = {"question": "who wrote it", "answer": ["Ann Lee"], "def_incorrect_predictions": ["Bea"]}
WRITTEN = {
    **{name: SCORES for name in ("general_knowledge", "hindu_knowledge", "known_unknowns", "disambiguation_qa")},
    **{name: LETTERED for name in ("mmlu", "piqa", "openbookqa", "commonsense_qa")},
    **{"truthful_qa": OPEN, "truthful_qa_mc": SCORES | {"Category": "Animals"}},
    **{"nq_human": MARKED, "bbq_lite": bbq_record("disambig", 0)},
    **{f"hub:{name}": rows[0] for name, rows in ROWS.items()},
}
WAYS = list(product(("cloze", "letters"), (False, True), (0, 2), ((), ("?",)), ("", "Be careful.")))


def assert_asked_for(item, made, how):
    """The last words of the prompt ask for the options that are scored."""
    last = made.prompt[-1].content if how.chat else made.prompt
    own = [option.text.strip() for option in made.options[: len(item.options)]]
    if how.style == "letters":
        assert own == list(ascii_uppercase[: len(own)])
        assert last.endswith("\n\nReply with the letter alone." if how.chat else "\nAnswer:")
        listed = last.rsplit("\n\n" if how.chat else "\nAnswer:", 1)[0]
        order = [item.options[int(i)].text for i in made.tags["order"].split("-")]
        assert listed.endswith("\n".join(f"{letter}. {text}" for letter, text in zip(own, order)))
        assert "continuation:" not in last
    else:
        assert sorted(own) == sorted(option.text for option in item.options)
        plain = "\nAnswer:" if item.form == "question" and not how.chat else ""
        assert last.endswith(item.stem + plain)
        assert (how.chat and item.form == "continuation") == ("Continue this text." in last)
    if how.chat:
        assert [message.role for message in made.prompt] == ["user", "assistant"] * len(how.examples) + ["user"]


@pytest.mark.parametrize("name", names("questions")["name"])
def test_every_benchmark_in_every_style_asks_for_what_is_scored(name):
    assert_all_ways(check(find(name, "questions").adapter(WRITTEN[name])))


@pytest.mark.parametrize("name", names("questions").query("source == 'embedded'")["name"])
def test_real_items_in_every_style_ask_for_what_is_scored(name):
    benchmark = find(name, "questions")
    fetch(packages()[benchmark.package])
    records, _ = benchmark.read(benchmark.parts[0])
    for record in records[:300:50]:
        try:
            item = check(benchmark.adapter(record))
        except Unusable:
            continue
        if not refers(item):
            assert_all_ways(item)


def assert_all_ways(item):
    for style, chat, shots, abstain, instruction in WAYS:
        examples = tuple(replace(item, stem=f"{item.stem} {i}") for i in range(shots))
        how = Rendering(style, chat, abstain, instruction, examples=examples)
        assert_asked_for(item, question(item, how), how)


@pytest.mark.parametrize("name", names("choices")["name"])
def test_choice_benchmarks_ask_for_a_letter(name):
    for chat in (True, False):
        for made in load_choices(name, records=[RECORDS[name]], chat=chat):
            last = made.prompt[-1].content if chat else made.prompt
            assert last.endswith("Reply with the letter alone." if chat else "\nAnswer:")
