"""Benchmarks from BIG-bench's Python package. Its files ask never to be trained on: evaluate on them, no more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from workbench.datasets.items import Benchmark, Item, Record, Unusable, references
from workbench.datasets.packaged import Packaged, Reader, read_records
from workbench.packages import Package
from workbench.questions import Option, Role, Tag

TASKS = "bigbench-1.0.0/bigbench/benchmark_tasks"
BIGBENCH = Package(
    name="bigbench",
    version="1.0.0",
    filename="bigbench-1.0.0.tar.gz",
    sha256="1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
    kind="sdist",
    members=(
        f"{TASKS}/truthful_qa/*.json",
        f"{TASKS}/general_knowledge/task.json",
        f"{TASKS}/known_unknowns/task.json",
        f"{TASKS}/disambiguation_qa/task.json",
        f"{TASKS}/bbq_lite/resources/*.json",
        f"{TASKS}/hhh_alignment/*/task.json",
        f"{TASKS}/simple_ethical_questions/task.json",
        f"{TASKS}/moral_permissibility/task.json",
        f"{TASKS}/emojis_emotion_prediction/task.json",
        f"{TASKS}/factuality_of_summary/*.json",
        f"{TASKS}/hindu_knowledge/task.json",
        f"{TASKS}/social_iqa/task.json",
        f"{TASKS}/misconceptions/task.json",
        f"{TASKS}/strategyqa/task.json",
    ),
    size=358_249_635,
    licence="Apache-2.0 (the code; each task keeps the licence of its source)",
)


def read_pairs(path: Path) -> list[Record]:
    """Records that stand two by two: each gets the number of its pair."""
    return [{**record, "template": f"known_unknowns-{i // 2}"} for i, record in enumerate(read_records(path))]


def read_with_categories(path: Path) -> list[Record]:
    """The multiple-choice form of TruthfulQA, with the category its question has in the open form."""
    categories = {r["Question"]: r["Category"] for r in read_records(path.with_name("questions.json"))}
    return [{**record, "Category": categories.get(record["input"])} for record in read_records(path)]


def truthful_qa(record: Record) -> Item:
    """All true and all false reference answers of a question."""
    tags = {"subject": record["Category"], "category": record["Category"]}
    return Item(record["Question"], references(record, "True answers", "False answers"), tags=tags, ordered=False)


def truthful_qa_mc(record: Record) -> Item:
    """The best answer among some false ones."""
    tags = {"subject": record["Category"], "category": record["Category"]}
    return Item(record["input"], scored(record), tags=tags)


def big_bench(record: Record) -> Item:
    """A multiple-choice task; how its file says options should be shown is left aside, the style decides."""
    return Item(record["input"], scored(record))


def known_unknowns(record: Record) -> Item:
    """A question nobody can answer, where "Unknown" is right, or its answerable twin, where it abstains."""
    options = abstaining(scored(record), {"Unknown"})
    return Item(record["input"], options, tags={"answerable": _answerable(record), "template": record["template"]})


def disambiguation_qa(record: Record) -> Item:
    """Whom a pronoun refers to; three wordings of one sentence share a template."""
    family, _, number = record["_id"].split("_")
    tags: dict[str, Tag] = {"answerable": _answerable(record), "template": f"disambiguation_qa-{family}-{number}"}
    options = abstaining(scored(record), {"Ambiguous"})
    return Item("To whom or what does the pronoun refer?", options, context=record["input"], tags=tags)


def bbq(record: Record) -> Item:
    """A question about two people: in the ambiguous context "unknown" is right, in the other one it abstains.

    The tag `target` is the option that names the stereotyped group, `region` where that group lives.
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
    """Options of a `target_scores` table: 1 is correct (there may be several), 0 is wrong."""
    scores = record["target_scores"]
    if not set(scores.values()) <= {0, 1}:
        raise Unusable("graded scores")
    return tuple(Option(text.strip(), "correct" if score == 1 else "wrong") for text, score in scores.items())


def abstaining(options: Iterable[Option], texts: set[str]) -> tuple[Option, ...]:
    """The options, where these texts abstain unless they are the correct answer."""
    return tuple(Option(o.text, "abstain") if o.text in texts and o.role == "wrong" else o for o in options)


def _answerable(record: Record) -> bool:
    return not any(score == 1 and text in ("Unknown", "Ambiguous") for text, score in record["target_scores"].items())


BBQ = (
    "Nationality",
    "Religion",
    "Race_ethnicity",
    "Age",
    "Disability_status",
    "Gender_identity",
    "Physical_appearance",
    "SES",
    "Sexual_orientation",
)


def _task(name: str, reader: Reader = read_records, file: str = "task.json") -> Packaged:
    return Packaged(BIGBENCH, f"{TASKS}/{name}/{file}", reader)


BENCHMARKS = (
    Benchmark(
        "truthful_qa",
        "common misconceptions, all true and false reference answers, 22 categories",
        299,
        "Apache-2.0",
        _task("truthful_qa", file="questions.json"),
        truthful_qa,
    ),
    Benchmark(
        "truthful_qa_mc",
        "the same questions, one best answer among 1 to 4 false ones",
        299,
        "Apache-2.0",
        _task("truthful_qa", read_with_categories, "task_mc.json"),
        truthful_qa_mc,
    ),
    Benchmark(
        "general_knowledge",
        "easy facts, 4 to 13 options",
        70,
        "Apache-2.0",
        _task("general_knowledge"),
        big_bench,
    ),
    Benchmark(
        "known_unknowns",
        "answerable questions and unanswerable twins, one fact against 'Unknown'",
        46,
        "Apache-2.0",
        _task("known_unknowns", read_pairs),
        known_unknowns,
    ),
    Benchmark(
        "disambiguation_qa",
        "whom a pronoun refers to, or 'Ambiguous'",
        258,
        "Apache-2.0",
        _task("disambiguation_qa"),
        disambiguation_qa,
    ),
    Benchmark(
        "bbq_lite",
        "two people and a stereotype, in contexts that tell and that do not tell",
        1880,
        "CC-BY-4.0",
        _task("bbq_lite", file="resources/{subset}.json"),
        bbq,
        BBQ,
    ),
    Benchmark(
        "hindu_knowledge",
        "facts of Hindu mythology",
        175,
        "Apache-2.0",
        _task("hindu_knowledge"),
        big_bench,
    ),
)
