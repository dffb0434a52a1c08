"""Adapters from the records of benchmarks to items, one function per schema; `sources.yaml` assigns them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from workbench.datasets.formats import number
from workbench.datasets.items import Item, Record, Unusable, choices, keyed, references
from workbench.datasets.sources import read_records
from workbench.questions import Option, Role, Tag


def read_pairs(path: Path) -> list[Record]:
    """Return records that come in pairs, with the number of the pair as template."""
    return [{**record, "template": f"known_unknowns-{i // 2}"} for i, record in enumerate(read_records(path))]


def read_with_categories(path: Path) -> list[Record]:
    """Return the multiple-choice form of TruthfulQA, with the categories of its open form."""
    categories = {r["Question"]: r["Category"] for r in read_records(path.with_name("questions.json"))}
    return [{**record, "Category": categories.get(record["input"])} for record in read_records(path)]


def true_and_false(record: Record) -> Item:
    """All true and all false reference answers of a question."""
    tags = {"subject": record["Category"], "category": record["Category"]}
    return Item(record["Question"], references(record, "True answers", "False answers"), tags=tags, ordered=False)


def truthful_qa_mc(record: Record) -> Item:
    """The best answer among some false ones."""
    tags = {"subject": record["Category"], "category": record["Category"]}
    return Item(record["input"], scored(record), tags=tags)


def big_bench(record: Record) -> Item:
    """A multiple-choice task; the file's own display format is ignored."""
    return Item(record["input"], scored(record))


def known_unknowns(record: Record) -> Item:
    """An unanswerable question, where "Unknown" is correct, or its answerable twin, where "Unknown" abstains."""
    options = abstaining(scored(record), {"Unknown"})
    return Item(record["input"], options, tags={"answerable": _answerable(record), "template": record["template"]})


def disambiguation_qa(record: Record) -> Item:
    """Pronoun resolution; three wordings of one sentence share a template."""
    family, _, number = record["_id"].split("_")
    tags: dict[str, Tag] = {"answerable": _answerable(record), "template": f"disambiguation_qa-{family}-{number}"}
    options = abstaining(scored(record), {"Ambiguous"})
    return Item("To whom or what does the pronoun refer?", options, context=record["input"], tags=tags)


def bbq(record: Record) -> Item:
    """A question about two people: "unknown" is correct in the ambiguous context and abstains in the other.

    The tag `target` is the option that names the stereotyped group, `region` the region of that group.
    """
    ambiguous = record["context_condition"] == "ambig"
    groups = set(record["additional_metadata"]["stereotyped_groups"])
    options, targets = [], []
    for i in range(3):
        info, text = record["answer_info"][f"ans{i}"], record[f"ans{i}"].strip()
        other: Role = "abstain" if info[1] == "unknown" else "wrong"
        options.append(Option(text, "correct" if i == record["label"] else other))
        if groups & set(info):
            targets.append((text, info[1]))
    target, region = targets[0] if len(targets) == 1 else (None, None)
    tags = {
        "subject": record["category"],
        "condition": "ambiguous" if ambiguous else "disambiguated",
        "polarity": "negative" if record["question_polarity"] == "neg" else "non-negative",
        "region": region if record["category"] == "Nationality" else None,
        "target": target,
        "template": f"bbq-{record['category']}-{record['question_index']}",
        "answerable": not ambiguous,
    }
    return Item(record["question"], tuple(options), context=record["context"], tags=tags)


def scored(record: Record) -> tuple[Option, ...]:
    """Return the options of `target_scores`: 1 is correct (possibly several), 0 is wrong."""
    scores = record["target_scores"]
    if not set(scores.values()) <= {0, 1}:
        raise Unusable("graded scores")
    return tuple(Option(text.strip(), "correct" if score == 1 else "wrong") for text, score in scores.items())


def abstaining(options: Iterable[Option], texts: set[str]) -> tuple[Option, ...]:
    """Return the options with the role abstain for these texts, unless they are correct."""
    return tuple(Option(o.text, "abstain") if o.text in texts and o.role == "wrong" else o for o in options)


def _answerable(record: Record) -> bool:
    return not any(score == 1 and text in ("Unknown", "Ambiguous") for text, score in record["target_scores"].items())


def lettered(record: Record) -> Item:
    """A question with all options in one text, "A. ...", and the answer as "B. ..."."""
    letters, texts = split_letters(record["options"])
    letter, _, answer = record["answer"].partition(". ")
    if letter not in letters or texts[letters.index(letter)] != answer.strip():
        raise Unusable("the answer's letter and text disagree")
    return Item(record["question"].strip(), keyed(texts, letters.index(letter)))


def lettered_continuation(record: Record) -> Item:
    """As `lettered`, with options that continue the text."""
    item = lettered(record)
    return Item(item.stem, item.options, form="continuation")


def nq_human(record: Record) -> Item:
    """A search query with reference answers, and model answers rated correct or wrong by people."""
    if not record.get("def_incorrect_predictions"):
        raise Unusable("no answer rated wrong")
    correct = _distinct([*record["answer"], *record.get("def_correct_predictions", [])])
    wrong = _distinct(record["def_incorrect_predictions"])
    if correct.keys() & wrong.keys():
        raise Unusable("an answer rated both correct and wrong")
    return Item(record["question"], choices(correct.values(), wrong.values()), ordered=False)


def split_letters(text: str) -> tuple[list[str], list[str]]:
    """Split options listed as "A. ...", one per line, into letters and texts; the letters must be A, B, C ..."""
    parts = re.split(r"(?:^|\n)([A-Z])\. ", text)
    letters, texts = parts[1::2], [part.strip() for part in parts[2::2]]
    if not letters or letters != [chr(ord("A") + i) for i in range(len(letters))]:
        raise Unusable("options that cannot be separated")
    return letters, texts


def _distinct(texts: Iterable[str]) -> dict[str, str]:
    """Return key without case and punctuation -> first text; literal Unicode escapes become characters."""
    distinct: dict[str, str] = {}
    for raw in texts:
        text = re.sub(r"(?<!\\)\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), raw)
        distinct.setdefault(re.sub(r"[\W_]+", "", text.casefold()) or text, text)
    return distinct


def truthful_qa(record: Record) -> Item:
    """All true and all false reference answers of a question; a list ending in ";" has an empty answer."""
    tags = {"subject": record["category"], "category": record["category"]}
    options = references(record, "correct_answers", "incorrect_answers")
    return Item(record["question"], options, tags=tags, ordered=False)


def mmlu(record: Record) -> Item:
    """An exam question with four options."""
    return Item(
        record["question"], keyed(record["choices"], index(record["answer"])), tags={"subject": record["subject"]}
    )


def mmlu_pro(record: Record) -> Item:
    """An exam question with up to ten options."""
    options = keyed(record["options"], index(record["answer_index"]))
    return Item(record["question"], options, tags={"subject": record["category"]})


def labelled(record: Record) -> Item:
    """A question whose options carry labels (letters or digits), one of them the key."""
    return Item(record["question"], _by_label(record))


def openbookqa(record: Record) -> Item:
    """A sentence to complete, without the supporting fact."""
    return Item(record["question_stem"], _by_label(record), form="continuation")


def hellaswag(record: Record) -> Item:
    """A scene to continue; markup of the source in square brackets is removed."""
    scene = f"{record['activity_label']}: {record['ctx_a']} {record['ctx_b'].capitalize()}"
    options = keyed([_without_marks(ending) for ending in record["endings"]], index(record["label"]))
    tags = {"subject": record["activity_label"]}
    return Item(_without_marks(scene), options, form="continuation", tags=tags)


def piqa(record: Record) -> Item:
    """Two procedures for a goal."""
    return Item(record["goal"], keyed([record["sol1"], record["sol2"]], index(record["label"])))


def winogrande(record: Record) -> Item:
    """A sentence with a gap: each option is a filler and the rest of the sentence."""
    before, _, after = record["sentence"].partition("_")
    texts = [record[key] + after for key in ("option1", "option2")]
    return Item(before.strip(), keyed(texts, index(record["answer"]) - 1), form="continuation")


def sciq(record: Record) -> Item:
    """A science question without its supporting passage."""
    wrong = [record[f"distractor{i}"] for i in (1, 2, 3)]
    return Item(record["question"], choices([record["correct_answer"]], wrong), ordered=False)


def copa(record: Record) -> Item:
    """The cause or the effect of a premise."""
    link = {"cause": "because", "effect": "therefore"}[record["question"]]
    stem = f"{record['premise'].strip().rstrip('.')} {link}"
    texts = [_continued(text) for text in (record["choice1"], record["choice2"])]
    return Item(stem, keyed(texts, index(record["label"])), form="continuation", tags={"subject": record["question"]})


def gpqa(record: Record) -> Item:
    """An expert question designed to resist web search."""
    wrong = [record[f"Incorrect Answer {i}"] for i in (1, 2, 3)]
    options = choices([record["Correct Answer"]], wrong)
    return Item(record["Question"], options, tags={"subject": record["High-level domain"]}, ordered=False)


def winogender(record: Record) -> Item:
    """Pronoun resolution to an occupation or another participant, for three genders of the pronoun."""
    pronoun = record["pronoun"].capitalize()
    texts = [who if who == "someone" else f"the {who}" for who in (record["occupation"], record["participant"])]
    tags = {"subject": record["gender"], "occupation": record["occupation"], "gender": record["gender"]}
    tags["template"] = f"winogender-{record['sentid'].rsplit('.', 2)[0]}"
    stem = f"{record['sentence']} “{pronoun}” refers to"
    return Item(stem, keyed(texts, index(record["label"])), form="continuation", tags=tags)


def _by_label(record: Record) -> tuple[Option, ...]:
    labels, texts = list(record["choices"]["label"]), list(record["choices"]["text"])
    return keyed(texts, labels.index(record["answerKey"]) if record["answerKey"] in labels else -1)


def index(label: object) -> int:
    """Return a label as integer (1, "1", "1.0"); -1 if empty or not a number, as in hidden test splits."""
    value = number(str(label))
    return int(value) if value is not None and value.is_integer() else -1


def _continued(sentence: str) -> str:
    """Return a sentence as a continuation: first letter lower case, except for the word I."""
    return sentence if re.match(r"I\b", sentence) else sentence[:1].lower() + sentence[1:]


def _without_marks(text: str) -> str:
    """Return a text without [marks], in time linear in its length."""
    *titles, last = text.split("[title]")
    sentences = ". ".join([*(title.rstrip() for title in titles), last])
    lines = (line.rpartition("]") for line in sentences.split("\n"))
    return " ".join(" ".join(re.sub(r"\[.*?\]", " ", marked + end) + rest for marked, end, rest in lines).split())
