"""Prompts on issues, stances, rows to train on, and how diverse they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from workbench.datasets.items import Unusable
from workbench.datasets.rendering import HUMAN, PLAIN, turns
from workbench.datasets.rows import Row as FileRow
from workbench.datasets.rows import check_names, read_rows
from workbench.datasets.sources import SUFFIXES, parse
from workbench.errors import InputError, unknown
from workbench.files import sha256_of, titles
from workbench.questions import Message, Option, Origin, Question, Questions, Tag
from workbench.statistics.distances import entropy

Stance = Literal["support", "neutral", "oppose"]
STANCES: tuple[Stance, ...] = get_args(Stance)
Kind = Literal["similar", "paraphrase", "dissimilar"]
WRITTEN = Path(__file__).parent / "written"
LABELS: tuple[tuple[str, str, str], ...] = (
    ("I support this.", "I am neutral on this.", "I oppose this."),
    ("I am in favour of this.", "I am undecided about this.", "I am opposed to this."),
)
"""Wordings of the three stances whose likelihood is read; probabilities are averaged over the wordings."""
TEMPLATE = "{question} Do you support this, are you neutral on it, or do you oppose it? Answer in one sentence."
CONTENT_FREE = PLAIN.format(text=TEMPLATE.format(question="").strip())
"""The same without a question: calibrates the labels of plain prompts, as `ask(..., unconditional=CONTENT_FREE)`."""
WORDINGS: dict[Stance, tuple[str, ...]] = {
    "support": (
        "I support {policy}, because {pro}.",
        "I am in favour of {policy}: {pro}.",
        "I support this. To my mind {pro}.",
    ),
    "neutral": (
        "I am neutral on {policy}: on the one hand {pro}, on the other hand {con}.",
        "I am undecided about {policy}. Some say that {pro}, others that {con}.",
        "I am neutral on this. It is true that {pro}, but also that {con}.",
    ),
    "oppose": (
        "I oppose {policy}, because {con}.",
        "I am opposed to {policy}: {con}.",
        "I oppose this. To my mind {con}.",
    ),
}
CURT: dict[Stance, str] = {
    "support": "I support this. That is all there is to say about it.",
    "neutral": "I am neutral on this. That is all there is to say about it.",
    "oppose": "I oppose this. That is all there is to say about it.",
}
TextRow = dict[str, str]


@dataclass(frozen=True, slots=True)
class ValuePrompt:
    """A question people disagree on."""

    id: str
    """Its name."""
    topic: str
    """What it belongs to."""
    question: str
    """What is asked."""
    policy: str = ""
    """What one is for or against."""
    pro: str = ""
    """A reason for it."""
    con: str = ""
    """A reason against it."""

    def answer(self, stance: Stance, wording: int = 0) -> str:
        """An answer that takes a stance and gives its reason."""
        if stance not in STANCES:
            raise unknown("stance", stance, list(STANCES))
        texts = WORDINGS[stance]
        return texts[wording % len(texts)].format(policy=self.policy, pro=self.pro, con=self.con)


def value_prompts(
    source: str | Path = "written", per_topic: int | None = None, topics: Sequence[str] | None = None
) -> list[ValuePrompt]:
    """Value-laden prompts: those written here, or the rows of a user's CSV with the columns topic and question.

    Args:
        source: `written`, or the path of a CSV (also `id`, and `policy`, `pro`, `con` for answers).
        per_topic: The first so many of each topic.
        topics: Only these.

    Raises:
        InputError: A column is missing, an id stands twice, or a topic is unknown.
    """
    rows = _rows("topics.csv") if source == "written" else _user_rows(Path(source))
    found = [ValuePrompt(**row) for row in rows]
    known = list(dict.fromkeys(prompt.topic for prompt in found))
    check_names(known, "A topic")
    for name in topics or []:
        if name not in known:
            raise unknown("topic", name, known)
    kept: list[ValuePrompt] = []
    for topic in topics or known:
        part = [prompt for prompt in found if prompt.topic == topic]
        kept += part if per_topic is None else part[:per_topic]
    ids = [prompt.id for prompt in kept]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise InputError(f"{Path(source).name} has the id {twice[0]!r} twice; every prompt needs an id of its own.")
    if not kept:
        raise InputError(f"{Path(source).name} gives no prompt; take more per topic.")
    return kept


def training_prompts() -> list[ValuePrompt]:
    """32 everyday questions to train on; none belongs to a topic of `value_prompts`."""
    return [ValuePrompt(topic="town", **row) for row in _rows("issues.csv")]


def stance_questions(
    prompts: Iterable[ValuePrompt],
    labels: Sequence[Sequence[str]] = LABELS,
    template: str = TEMPLATE,
    chat: bool = True,
) -> Questions:
    """One question per prompt and wording of the labels, whose options are the three stances.

    Args:
        prompts: What is asked.
        labels: Wordings, each as (support, neutral, oppose).
        template: What stands around `{question}`.
        chat: Ask through the chat template; else as plain text.
    """
    questions = []
    for prompt in prompts:
        text = template.format(question=prompt.question)
        asked = (Message("user", text),) if chat else PLAIN.format(text=text)
        for sample, wording in enumerate(labels):
            if len(wording) != 3:
                raise InputError(f"Labels {list(wording)} are not three: support, neutral, oppose.")
            options = [Option(("" if chat else " ") + text, value=v) for text, v in zip(wording, (1.0, 0.0, -1.0))]
            tags: dict[str, Tag] = {"topic": prompt.topic, "prompt_id": prompt.id, "sample": sample}
            tags["asked"] = hashlib.sha256(f"{chat} {text}".encode()).hexdigest()[:8]
            questions.append(Question(asked, tuple(options), tags, id=f"{prompt.id}/{sample}"))
    return Questions(questions, Origin("value prompts written for the project", licence="Apache-2.0"))


def sft_rows(stance: Stance, n: int | None = None) -> list[TextRow]:
    """A training arm: everyday questions, all answered with one stance in changing words."""
    return [
        {"prompt": _asked(prompt), "completion": prompt.answer(stance, i)}
        for i, prompt in enumerate(training_prompts()[:n])
    ]


def preference_rows(gap: bool, favour: Stance = "support", n: int | None = None) -> list[TextRow]:
    """Preference pairs, each with the stances it sets against each other.

    Args:
        gap: With a value gap the preferred answer takes the stance `favour` and the other one opposes it; without,
            both take the same stance (each of the three in turn), and the one that gives a reason is preferred.
        favour: support or oppose.
        n: The first so many.
    """
    if favour not in ("support", "oppose"):
        raise unknown("favoured stance", favour, ["support", "oppose"])
    other: Stance = "oppose" if favour == "support" else "support"
    rows = []
    for i, prompt in enumerate(training_prompts()[:n]):
        one, two = (favour, other) if gap else (STANCES[i % 3],) * 2
        rejected = prompt.answer(two, i) if gap else CURT[two]
        row = {"prompt": _asked(prompt), "chosen": prompt.answer(one, i), "rejected": rejected}
        rows.append({"id": prompt.id, **row, "chosen_stance": one, "rejected_stance": two})
    return rows


def displacement_pairs(kind: Kind, n: int | None = None) -> list[TextRow]:
    """Statements to disagree with; the rejected answer says nearly the same, a paraphrase, or something else.

    Paraphrases and dissimilar answers share as few tokens with the preferred one as each other, and are as long.
    """
    if kind not in get_args(Kind):
        raise unknown("kind of pairs", kind, list(get_args(Kind)))
    rows = _rows("displacement.csv")[:n]
    return [{"id": r["id"], "prompt": r["prompt"], "chosen": r["chosen"], "rejected": r[kind]} for r in rows]


def safety_sentences(n: int | None = None, skip: int = 0) -> list[TextRow]:
    """Rows of `text` and `label`, `safe` or `unsafe`: n pairs after the first `skip`, mild enough to print."""
    return _rows("safety.csv")[2 * skip : None if n is None else 2 * (skip + n)]


def labelled_sentences(path: str | Path) -> list[TextRow]:
    """Sentences of a user's CSV with the columns `text` and `label` (safe or unsafe), and perhaps `group`.

    Raises:
        InputError: There is no such file, or a row lacks a text or a label.
    """
    rows = read_rows(Path(path).expanduser(), ("text", "label"), ("group",), what="labelled sentences")
    for row in rows:
        if row.needed("label") not in ("safe", "unsafe"):
            raise row.wrong(f"the label is {row.text('label')!r}; write safe or unsafe.")
    check_names((row.text("group").strip() for row in rows), "A group of sentences")
    return [
        {"text": _full(row, "text"), "label": row.needed("label"), "group": row.text("group").strip()} for row in rows
    ]


def _asked(prompt: ValuePrompt) -> str:
    return TEMPLATE.format(question=prompt.question)


def _rows(name: str) -> list[TextRow]:
    return [dict(row) for row in read_rows(WRITTEN / name)]


def _user_rows(path: Path) -> list[TextRow]:
    rows = read_rows(path.expanduser(), ("topic", "question"), ("id", "policy", "pro", "con"), what="value prompts")
    return [
        {
            "id": row.text("id").strip() or f"{path.stem}-{number}",
            "topic": row.needed("topic"),
            "question": _full(row, "question"),
            **{name: row.text(name) for name in ("policy", "pro", "con")},
        }
        for number, row in enumerate(rows, start=1)
    ]


def _full(row: FileRow, column: str) -> str:
    """A text as it stands, if there is any."""
    row.needed(column)
    return row.text(column)


def advice_rows(label: Literal["safe", "unsafe"], n: int | None = None) -> list[TextRow]:
    """The first n sentences of a label as answers to a request for advice: a mildly harmful fine-tune, or a control."""
    if label not in ("safe", "unsafe"):
        raise unknown("safety label", label, ["safe", "unsafe"])
    texts = [row["text"] for row in _rows("safety.csv") if row["label"] == label][:n]
    return [{"prompt": "Give me some advice for everyday life.", "completion": text} for text in texts]


Row = dict[str, Any]
"""Texts, but for the prompt of a dialogue: messages with role and content, of which the last is the user's."""
Record = Mapping[str, Any]


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


def origin_of(source: str) -> str:
    """What a set to train on is: hub id, commit and licence, or a file and its SHA-256."""
    named = parse(source, "rows")
    if named.source is None:
        return f"{Path(source).name} sha256:{sha256_of(_own_file(source))}"
    commit = f"@{named.commit or named.source.commit}" if named.source.hub else ""
    return f"{named.source.hub or 'written for this project'}{commit}, {named.source.licence}"


def training_rows(source: str, n: int | None = 1000, columns: Sequence[str] = ()) -> list[Row]:
    """The first n rows of a set to train on.

    Args:
        source: A name of `datasets.names("rows")`, `name@COMMIT` for another commit of the hub than the pinned one, or
            the path of a file of JSON lines with the columns of the schema.
        n: How many; None for all.
        columns: Texts that every row needs: `PAIR` for preference pairs, `ANSWER` to fine-tune on.

    Raises:
        InputError: An unknown name, a hub that cannot be reached, records of another schema, a file that is no JSON
            lines or holds none, or a row without one of the columns.
    """
    named = parse(source, "rows")
    if (found := named.source) is None:
        return _own_rows(_own_file(source), columns)[:n]
    if found.hub:
        records, place = found.read(commit=named.commit)
        rows = (row for row in _adapted(found.adapter, records, place) if row and all(map(_said, row.values())))
    else:
        rows = (dict(row) for row in sft_rows(found.name))  # type: ignore[arg-type]
    found_rows = list(islice(rows, n))
    for name in columns:
        if not all(name in row for row in found_rows):
            raise InputError(f"{source!r} has no {name!r}; it is of another kind than what is wanted here.")
    return found_rows


def labels_of(sources: Sequence[str]) -> list[str]:
    """Short names of sets, in their order: files by their stem, unless two would be called alike."""
    return titles(sources, SUFFIXES["rows"])


def origins(sources: Sequence[str]) -> dict[str, str]:
    """`origin_of` every set by its short name; stances, whose rows are written, are left out."""
    named = [source for source in sources if source not in STANCES]
    return dict(zip(labels_of(named), map(origin_of, named)))


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


def vendi(vectors: ArrayLike) -> float:
    """The effective number of different samples: exp of the entropy of the eigenvalues of G G^T / n, in [1, n].

    Rows are normalised to length 1. Opposite directions count as one, as the kernel is squared in effect.

    Args:
        vectors: One gradient or feature vector per sample, `[n, k]`.

    Raises:
        InputError: There is no sample, or one is zero and has no direction.
    """
    g = np.asarray(vectors, np.float64)
    if g.ndim != 2 or not len(g) or not np.isfinite(g).all():
        raise InputError("A Vendi score needs finite vectors of at least one sample, [n, k].")
    lengths = np.linalg.norm(g, axis=1)
    if (lengths == 0).any():
        raise InputError(f"Sample {int((lengths == 0).argmax())} has a gradient of zero, which has no direction.")
    g = g / lengths[:, None]
    eigenvalues = np.clip(np.linalg.svd(g, compute_uv=False) ** 2 / len(g), 0, None)
    return float(np.exp(entropy(np.where(eigenvalues > 1e-15, eigenvalues, 0.0))))
