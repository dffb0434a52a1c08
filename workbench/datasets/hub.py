"""Benchmarks from the Hugging Face hub, each pinned to a commit, and the adapters of their schemas."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workbench.datasets.items import Benchmark, Item, Record, choices, keyed, references
from workbench.datasets.row_formats import number
from workbench.datasets.rows import read_rows
from workbench.errors import InputError
from workbench.questions import Option


@dataclass(frozen=True, slots=True)
class Hub:
    """A split of a data set on the hub."""

    id: str
    """Its id."""
    revision: str
    """The commit that is read; empty where none was checked, so that whoever reads names one."""
    split: str
    """The split that is asked."""
    config: str = ""
    """The configuration; `{subset}` stands for the subset."""
    file: str = ""
    """The one file of the repository that is read, a CSV without a header; empty: what the configuration names."""
    columns: tuple[str, ...] = ()
    """The columns of that file, each read as text."""

    def read(self, benchmark: str, subset: str, revision: str | None) -> tuple[Iterable[Record], str]:
        """The records, and the id and commit they come from; remote code is never run.

        Raises:
            InputError: No commit is known, the hub cannot be reached, or it does not give the data set.
        """
        revision = revision or self.revision
        if not revision:
            raise InputError(f"No commit of {self.id} was checked for {benchmark!r}; pass revision=<its full commit>.")
        try:
            records = self._rows(revision) if self.file else self._split(subset, revision)
        except Exception as error:  # the hub's client raises many kinds, its HTTP library's among them
            raise InputError(self._why(benchmark, revision, error)) from error
        return records, f"{self.id}@{revision}"

    def _split(self, subset: str, revision: str) -> Iterable[Record]:
        from datasets import load_dataset

        name = self.config.format(subset=subset) or None
        records: Iterable[Record] = load_dataset(self.id, name, split=self.split, revision=revision)
        return records

    def _rows(self, revision: str) -> Iterable[Record]:
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(self.id, self.file, repo_type="dataset", revision=revision)
        return read_rows(Path(path), header=self.columns)

    def _why(self, benchmark: str, revision: str, error: Exception) -> str:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        way_out = "check the network and the revision, or take an embedded benchmark (`datasets.names()`)"
        if "gated" in str(error).lower():
            way_out = "accept its terms on the hub, then log in with `hf auth login`"
        return f"{benchmark!r} could not be read from the hub ({self.id}@{revision[:12]}: {first}); {way_out}."


def truthful_qa(record: Record) -> Item:
    """All true and all false reference answers of a question; a list that ends in ";" has an empty one."""
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
    """A sentence to finish, without the fact that helps."""
    return Item(record["question_stem"], _by_label(record), form="continuation")


def hellaswag(record: Record) -> Item:
    """A scene to go on with; marks of the how-to source in square brackets are taken out."""
    scene = f"{record['activity_label']}: {record['ctx_a']} {record['ctx_b'].capitalize()}"
    options = keyed([_without_marks(ending) for ending in record["endings"]], index(record["label"]))
    tags = {"subject": record["activity_label"]}
    return Item(_without_marks(scene), options, form="continuation", tags=tags)


def piqa(record: Record) -> Item:
    """Two ways to reach a goal."""
    return Item(record["goal"], keyed([record["sol1"], record["sol2"]], index(record["label"])))


def winogrande(record: Record) -> Item:
    """A sentence with a gap: each option is what fills it and the rest of the sentence."""
    before, _, after = record["sentence"].partition("_")
    texts = [record[key] + after for key in ("option1", "option2")]
    return Item(before.strip(), keyed(texts, index(record["answer"]) - 1), form="continuation")


def sciq(record: Record) -> Item:
    """A science question, asked without the passage that holds the answer."""
    wrong = [record[f"distractor{i}"] for i in (1, 2, 3)]
    return Item(record["question"], choices([record["correct_answer"]], wrong), ordered=False)


def copa(record: Record) -> Item:
    """The cause or the effect of a premise."""
    link = {"cause": "because", "effect": "therefore"}[record["question"]]
    stem = f"{record['premise'].strip().rstrip('.')} {link}"
    texts = [_continued(text) for text in (record["choice1"], record["choice2"])]
    return Item(stem, keyed(texts, index(record["label"])), form="continuation", tags={"subject": record["question"]})


def gpqa(record: Record) -> Item:
    """A question experts wrote to withstand a web search."""
    wrong = [record[f"Incorrect Answer {i}"] for i in (1, 2, 3)]
    options = choices([record["Correct Answer"]], wrong)
    return Item(record["Question"], options, tags={"subject": record["High-level domain"]}, ordered=False)


def winogender(record: Record) -> Item:
    """Whom a pronoun refers to: the occupation or the other participant; the pronoun's gender should not matter."""
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
    """A label as a whole number (1, "1", "1.0"); -1, as in hidden test splits, where it is empty or none."""
    found = number(str(label))
    return int(found) if found is not None and found.is_integer() else -1


def _continued(sentence: str) -> str:
    """A sentence as it goes on after another word: its first letter is small, unless it is the word I."""
    return sentence if re.match(r"I\b", sentence) else sentence[:1].lower() + sentence[1:]


def _without_marks(text: str) -> str:
    sentences = re.sub(r"\s*\[title\]", ". ", text)
    return " ".join(re.sub(r"\[.*?\]", " ", sentences).split())


BENCHMARKS = (
    Benchmark(
        "truthful_qa",
        "common misconceptions, all reference answers, 38 categories",
        815,
        "Apache-2.0",
        Hub("truthfulqa/truthful_qa", "741b8276f2d1982aa3d5b832d3ee81ed3b896490", "validation", "generation"),
        truthful_qa,
    ),
    Benchmark(
        "mmlu",
        "exam questions from 57 subjects",
        14005,
        "MIT",
        Hub("cais/mmlu", "c30699e8356da336a370243923dbaf21066bb9fe", "test", "all"),
        mmlu,
    ),
    Benchmark(
        "mmlu_pro",
        "harder exam questions from 14 subjects, up to 10 options",
        12032,
        "MIT",
        Hub("TIGER-Lab/MMLU-Pro", "b189ec765aa7ed75c8acfea42df31fdae71f97be", "test"),
        mmlu_pro,
    ),
    Benchmark(
        "arc_easy",
        "school science, the easier part",
        2376,
        "CC-BY-SA-4.0",
        Hub("allenai/ai2_arc", "210d026faf9955653af8916fad021475a3f00453", "test", "ARC-Easy"),
        labelled,
    ),
    Benchmark(
        "arc_challenge",
        "school science, the harder part",
        1172,
        "CC-BY-SA-4.0",
        Hub("allenai/ai2_arc", "210d026faf9955653af8916fad021475a3f00453", "test", "ARC-Challenge"),
        labelled,
    ),
    Benchmark(
        "hellaswag",
        "what happens next",
        10042,
        "MIT",
        Hub("Rowan/hellaswag", "218ec52e09a7e7462a5400043bb9a69a41d06b76", "validation"),
        hellaswag,
    ),
    Benchmark(
        "openbookqa",
        "elementary science as sentences to finish",
        500,
        "not stated",
        Hub("allenai/openbookqa", "388097ea7776314e93a529163e0fea805b8a6454", "test", "main"),
        openbookqa,
    ),
    Benchmark(
        "piqa",
        "how to do everyday things, 2 options",
        1838,
        "not stated",
        Hub("baber/piqa", "142f6d7367fd9877f0fb3b5734ea6a545f54cdd1", "validation"),
        piqa,
    ),
    Benchmark(
        "winogrande",
        "which of two nouns fills the gap",
        1267,
        "CC-BY",
        Hub("allenai/winogrande", "01e74176c63542e6b0bcb004dcdea22d94fb67b5", "validation", "winogrande_xl"),
        winogrande,
    ),
    Benchmark(
        "sciq",
        "science exam questions, without the passage",
        1000,
        "CC-BY-NC-3.0",
        Hub("allenai/sciq", "2c94ad3e1aafab77146f384e23536f97a4849815", "validation"),
        sciq,
    ),
    Benchmark(
        "copa",
        "cause or effect of an everyday event, 2 options",
        100,
        "terms of SuperGLUE",
        Hub("aps/super_glue", "3de24cf8022e94f4ee4b9d55a6f539891524d646", "validation", "copa"),
        copa,
    ),
    Benchmark(
        "gpqa",
        "graduate questions that a web search does not answer (gated)",
        546,
        "CC-BY-4.0; do not publish items",
        Hub("Idavidrein/gpqa", "633f5ee89ab8ad4522a9f850766b73f62147ffdd", "train", "{subset}"),
        gpqa,
        ("gpqa_extended", "gpqa_main", "gpqa_diamond"),
    ),
    Benchmark(
        "winogender",
        "pronouns and occupations, in three genders",
        720,
        "MIT",
        Hub("oskarvanderwal/winogender", "d1cdb5b708800c151d09c5d8817290d3f6ced9f4", "test", "all"),
        winogender,
    ),
    Benchmark(
        "commonsense_qa",
        "everyday knowledge, 5 options",
        1197,
        "MIT",
        Hub("tau/commonsense_qa", "94630fe30dad47192a8546eb75f094926d47e155", "validation"),
        labelled,
    ),
)
