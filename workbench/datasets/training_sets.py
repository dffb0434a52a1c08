"""Sets to train on: public ones on the hub, brought to one schema, and a user's JSON lines.

Fine-tuning rows have prompt and completion, preference rows prompt, chosen and rejected; a prompt of several turns is a
list of messages. BIG-bench tasks are not among
them and must not be: their files ask never to be trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from workbench.datasets.dialogues import HUMAN, turns
from workbench.datasets.hub import Hub
from workbench.datasets.items import Unusable
from workbench.datasets.rows import read_rows
from workbench.errors import InputError, unknown
from workbench.files import sha256_of, titles

Row = dict[str, Any]
"""Texts, but for the prompt of a dialogue: messages with role and content, of which the last is the user's."""
Record = Mapping[str, Any]
ANSWER = ("prompt", "completion")
PAIR = ("prompt", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A set on the hub."""

    hub: Hub
    """Where it lies, pinned to a commit."""
    adapt: Callable[[Record], Row | None]
    """Brings a record to the schema; None leaves it out."""
    licence: str
    """Licence or terms as far as known."""


def wildchat(record: Record) -> Row | None:
    """The first exchange of an English conversation."""
    turns = record["conversation"]
    if record.get("language", "English") != "English" or len(turns) < 2:
        return None
    return {"prompt": turns[0]["content"], "completion": turns[1]["content"]}


def alpaca(record: Record) -> Row | None:
    """An instruction, with its input below."""
    prompt = "\n\n".join(part for part in (record["instruction"], record["input"]) if part)
    return {"prompt": prompt, "completion": record["output"]}


def ultrafeedback(record: Record) -> Row | None:
    """A prompt with the better and the worse rated answer; dialogues that part earlier are left out."""
    before, other = ([(m["role"], m["content"]) for m in record[side][:-1]] for side in ("chosen", "rejected"))
    if before != other:
        return None
    chosen, rejected = (record[side][-1]["content"] for side in ("chosen", "rejected"))
    prompt = record["prompt"] if len(before) < 2 else [{"role": role, "content": text} for role, text in before]
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def hh_rlhf(record: Record) -> Row | None:
    """The dialogue up to the last turn, and its two endings; left out where it parts earlier or has no clear turns."""
    try:
        (*before, chosen), (*other, rejected) = (turns(record[side], HUMAN) for side in ("chosen", "rejected"))
    except Unusable:
        return None
    if before != other or chosen.role != "assistant":
        return None
    prompt = before[0].content if len(before) == 1 else [asdict(message) for message in before]
    return {"prompt": prompt, "chosen": chosen.content, "rejected": rejected.content}


def safe_rlhf(record: Record) -> Row | None:
    """Two answers, the safer one preferred."""
    safer = int(record["safer_response_id"])
    chosen, rejected = record[f"response_{safer}"], record[f"response_{1 - safer}"]
    return {"prompt": record["prompt"], "chosen": chosen, "rejected": rejected}


SETS: dict[str, TrainingSet] = {
    "wildchat": TrainingSet(
        Hub("allenai/WildChat-1M", "7d6490e462285cf85d91eabea0f9a954fbddcd1f", "train"),
        wildchat,
        "ODC-BY",
    ),
    "alpaca": TrainingSet(
        Hub("tatsu-lab/alpaca", "dce01c9b08f87459cf36a430d809084718273017", "train"),
        alpaca,
        "CC-BY-NC-4.0",
    ),
    "ultrafeedback": TrainingSet(
        Hub("HuggingFaceH4/ultrafeedback_binarized", "3949bf5f8c17c394422ccfab0c31ea9c20bdeb85", "train_prefs"),
        ultrafeedback,
        "MIT (as listed on the card)",
    ),
    "hh_rlhf": TrainingSet(
        Hub("Anthropic/hh-rlhf", "09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa", "train"),
        hh_rlhf,
        "MIT (as listed on the card)",
    ),
    "safe_rlhf": TrainingSet(
        Hub("PKU-Alignment/PKU-SafeRLHF", "9421ffafec3fa40a1f1a7d567b4d525079477ecb", "train"),
        safe_rlhf,
        "CC-BY-NC-4.0",
    ),
}


def origin_of(source: str, revision: str | None = None) -> str:
    """What a set to train on is: hub id, commit and licence, or a file and its SHA-256."""
    if source.endswith(".jsonl"):
        return f"{Path(source).name} sha256:{sha256_of(_own_file(source))}"
    found = _named(source)
    return f"{found.hub.id}@{revision or found.hub.revision}, {found.licence}"


def training_rows(
    source: str, n: int | None = 1000, revision: str | None = None, columns: Sequence[str] = ()
) -> list[Row]:
    """The first n rows of a set to train on.

    Args:
        source: A name of `SETS`, or the path of a file of JSON lines with the columns of the schema.
        n: How many; None for all.
        revision: Another commit of the hub's set than the pinned one.
        columns: Texts that every row needs: `PAIR` for preference pairs, `ANSWER` to fine-tune on.

    Raises:
        InputError: An unknown name, a hub that cannot be reached, records of another schema, a file that is no JSON
            lines or holds none, or a row without one of the columns.
    """
    if source.endswith(".jsonl"):
        return _own_rows(_own_file(source), columns)[:n]
    found = _named(source)
    records, place = found.hub.read(source, "", revision)
    rows = (row for row in _adapted(found.adapt, records, place) if row and all(map(_said, row.values())))
    found_rows = list(islice(rows, n))
    for name in columns:
        if not all(name in row for row in found_rows):
            raise InputError(f"{source!r} has no {name!r}; it is of another kind than what is wanted here.")
    return found_rows


def labels_of(sources: Sequence[str]) -> list[str]:
    """Short names of sets, in their order: files by their stem, unless two would be called alike."""
    return titles(sources, [".jsonl"])


def _adapted(adapt: Callable[[Record], Any], records: Iterable[Record], place: str) -> Iterator[Any]:
    """Records brought to the schema; one of another shape is an error that names the field."""
    for record in records:
        try:
            yield adapt(record)
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(
                f"A record of {place} has another shape than expected ({error}); take the pinned revision."
            ) from error


def _said(value: str | list[dict[str, str]]) -> bool:
    """Whether a text, or every message of a dialogue, says something."""
    return all(text.strip() for text in ([value] if isinstance(value, str) else [m["content"] for m in value]))


def _named(source: str) -> TrainingSet:
    if source not in SETS:
        raise unknown("training set", source, [*SETS, "a path ending in .jsonl"])
    return SETS[source]


def _own_file(source: str) -> Path:
    if not Path(source).is_file():
        raise InputError(f"There is no file {source!r} to train on; give a JSON lines file.")
    return Path(source)


def _own_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    rows = read_rows(path, columns, what="rows to train on")
    for row in rows:
        for name in columns:
            row.needed(name)
        if {"chosen", "rejected"} <= set(columns) and row.text("chosen") == row.text("rejected"):
            raise row.wrong("chosen and rejected are the same text; delete the row.")
    return [{**row, **{name: row.text(name) for name in columns}} for row in rows]
