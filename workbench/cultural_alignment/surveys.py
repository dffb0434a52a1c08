"""Survey items, formats and personas as questions, and the distributions of answers to them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import product
from string import ascii_uppercase
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench.answers import Bools, Floats, added, expected
from workbench.datasets.formats import number
from workbench.datasets.referring import referring
from workbench.errors import InputError, unknown
from workbench.questions import Items, Message, Option, Origin, Question, Questions, Tag
from workbench.statistics.distances import SLACK, tv

Labels = Literal["numbers", "letters"]
Direction = Literal["ascending", "descending"]
Answer = Literal["label", "text"]
DISAGREE, NEITHER, AGREE = ("Strongly disagree", "Disagree"), "Neither agree nor disagree", ("Agree", "Strongly agree")
SCALES: dict[str, tuple[str, ...]] = {
    "likert4": (*DISAGREE, *AGREE),
    "likert5": (*DISAGREE, NEITHER, *AGREE),
    "likert6": (*DISAGREE, "Somewhat disagree", "Somewhat agree", *AGREE),
    "likert7": (*DISAGREE, "Somewhat disagree", NEITHER, "Somewhat agree", *AGREE),
}
"""Agreement scales, lowest position first; 4 and 6 points have no neutral middle."""
BINARY, OWN = "binary", "own"
REFUSAL = "I prefer not to answer"


@dataclass(frozen=True, slots=True)
class SurveyItem:
    """One survey item."""

    id: str
    """Name within the instrument."""
    text: str
    """Statement to agree with, or question to answer on the item's own scale."""
    dimension: str = "all"
    """Construct the item measures."""
    key: int = 1
    """+1 if agreement counts towards the dimension, -1 if it counts against it."""
    opposite: str = ""
    """Statement of the other pole, for the binary format."""
    scale: tuple[str, ...] = ()
    """The item's own options, lowest position first; empty for a statement on agreement scales."""
    positions: tuple[float, ...] = ()
    """Numeric positions of the options, if they are not evenly spaced."""
    ordinal: bool = True
    """False if the options have no order; then only their distribution is compared."""

    def __post_init__(self) -> None:
        if self.key not in (1, -1):
            raise InputError(f"Item {self.id!r} has key {self.key!r}; a key is 1 or -1.")
        if not self.text.strip():
            raise InputError(f"Item {self.id!r} has no text; add the statement or question.")
        if self.text == self.opposite != "N/A":
            raise InputError(f"Item {self.id!r} has its own text as the opposite statement; write the opposite.")
        if self.scale and len(self.scale) < 2:
            raise InputError(f"Item {self.id!r} has one option only; a scale needs two.")
        if len(set(self.scale)) < len(self.scale):
            raise InputError(f"Item {self.id!r} lists an option twice; keep one of them.")
        rising = all(-math.inf < a < b < math.inf for a, b in zip(self.positions, self.positions[1:]))
        if self.positions and (len(self.positions) != len(self.scale) or not rising):
            raise InputError(f"Item {self.id!r} needs one position per option, rising from the lowest to the highest.")


class Instrument(Items[SurveyItem]):
    """The items of a questionnaire, with its licence and a note on its scores."""

    def __init__(
        self,
        name: str,
        items: Iterable[SurveyItem],
        licence: str = "the user's own",
        note: str = "",
        dropped: Mapping[str, int] | None = None,
    ) -> None:
        """Store the items.

        Args:
            name: Name of the instrument.
            items: The items.
            licence: Licence or terms as far as known.
            note: What to print beside its scores.
            dropped: Reason -> number of records left out.

        Raises:
            InputError: There is no item, or an id occurs twice.
        """
        super().__init__(items, Origin(name, licence=licence), dropped)
        self.note = note
        self.left_out: frozenset[str] = frozenset()
        if twice := [name for name, n in Counter(self.ids).items() if n > 1]:
            raise InputError(f"Instrument {self.name!r} has an id twice, {twice[0]!r}; give each item its own id.")
        if not self:
            raise InputError(f"Instrument {self.name!r} has no items; give it one.")

    @property
    def name(self) -> str:
        """Name of the instrument."""
        return self.origin.name

    def facts(self) -> dict[str, Any]:
        """Return the facts of `Items`, and the note."""
        return super().facts() | {"note": self.note}

    def head(self, n: int | None) -> Instrument:
        """Return the first n items of each dimension; all for None. `left_out` are the ids of the others."""
        place = Counter[str]()
        kept = []
        for item in self:
            place[item.dimension] += 1
            kept += [item] if n is None or place[item.dimension] <= n else []
        first = self._with(kept)
        first.left_out = self.left_out.union(self.ids).difference(first.ids)
        return first


def content_free(instrument: Instrument) -> Instrument:
    """Return the items without content: their responses show the prior of positions and words alone."""
    items = (replace(item, text="N/A", opposite="N/A") for item in instrument)
    return Instrument(f"{instrument.name}-blank", items, instrument.origin.licence, instrument.note)


@dataclass(frozen=True, slots=True)
class Format:
    """How an item is shown and answered."""

    scale: str = "likert5"
    """`binary` (both statements), an agreement scale of `SCALES`, or `own` for the item's options."""
    labels: Labels = "numbers"
    """Labels before the options."""
    direction: Direction = "ascending"
    """Whether the lowest or the highest position is listed first."""
    answer: Answer = "label"
    """Whether the label or the words of the option are scored."""
    refusal: bool = False
    """Whether a refusal is listed last, as an abstention."""

    def __post_init__(self) -> None:
        if self.scale not in (known := [BINARY, OWN, *SCALES]):
            raise unknown("scale", self.scale, known)
        for value, kind in ((self.labels, Labels), (self.direction, Direction), (self.answer, Answer)):
            if value not in get_args(kind):
                raise unknown("format", value, list(get_args(kind)))

    @property
    def id(self) -> str:
        """Name in tables."""
        return "-".join([self.scale, self.labels, self.direction, self.answer, *["refusal"] * self.refusal])


ORDERS = ("format", "labels", "direction", "answer")
"""Tags of a format that are averaged out so that order effects cancel; its scale is not one of them."""


@dataclass(frozen=True, slots=True)
class Persona:
    """Persona the model answers as."""

    name: str
    """Country or group, or "none"."""
    text: str = ""
    """Instruction before the item."""
    wording: str = "none"
    """Name of the wording of the instruction."""


NO_PERSONA = Persona("none")


def formats(
    scale: str | Sequence[str] = "likert5",
    labels: Sequence[Labels] = ("numbers", "letters"),
    direction: Sequence[Direction] = ("ascending", "descending"),
    answer: Sequence[Answer] = ("label", "text"),
) -> list[Format]:
    """Return every combination of these levels; the default is the eight variants of the stability test."""
    scales = [scale] if isinstance(scale, str) else list(scale)
    return [Format(*levels) for levels in product(scales, labels, direction, answer)]


def survey_questions(
    instrument: Instrument,
    how: Iterable[Format] | Format = Format(),
    personas: Sequence[Persona] = (NO_PERSONA,),
    chat: bool = True,
) -> Questions:
    """Return every item in every format with every persona.

    Prompts begin with persona and scale and end with the item, so that shared prefixes are computed once.

    Args:
        instrument: The items.
        how: Formats.
        personas: Personas; `NO_PERSONA` is the model itself.
        chat: Prompts are user messages for the model's template; otherwise plain text that ends in "Answer:".

    Returns:
        Questions with the tags item, dimension, key, ordinal, persona, wording, format, scale, labels, direction,
        answer, instrument. Options are in shown order; surface forms of one label share a `value`. Options that are
        all numbers (or all letters) are their own labels in a format of that kind.

    Raises:
        InputError: An item lacks what a format needs (the opposite statement, an own scale, fewer options), or the text
            of an option is the label of another.
    """
    variants = [how] if isinstance(how, Format) else list(how)
    if not variants or not personas:
        raise InputError("A survey needs at least one format and one persona (NO_PERSONA for the model itself).")
    questions = [
        _question(item, form, persona, instrument.name, chat)
        for persona in personas
        for form in variants
        for item in instrument
    ]
    return Questions(questions, Origin(instrument.name, f"{len(instrument)} items", instrument.origin.licence))


def prompt_facts(questions: Sequence[Question], chat: bool) -> dict[str, Any]:
    """Return the facts on prompts in a run's record: their number `n`, their digest `sha256`, and `chat`."""
    return {"n": len(questions), "sha256": prompt_digest(questions), "chat": chat}


def prompt_digest(questions: Iterable[Question]) -> str:
    """Return the SHA-256 of all prompts and options, in order."""
    digest = sha256()
    for question in questions:
        parts = [question.prompt_text, *(f"{option.text}\x1f{option.value}" for option in question.options)]
        digest.update("\x1e".join(parts).encode() + b"\x1d")
    return digest.hexdigest()


def _question(item: SurveyItem, form: Format, persona: Persona, instrument: str, chat: bool) -> Question:
    texts = _options(item, form)
    positions = item.positions if form.scale == OWN and item.positions else tuple(map(float, range(len(texts))))
    shown: list[tuple[str, float | None]] = list(zip(texts, positions))
    if form.direction == "descending":
        shown = _reversed(shown)
    shown += [(REFUSAL, None)] * form.refusal
    marks = _labels(item, form, [text for text, _ in shown])
    lines = "\n".join(f"{mark}. {text}" for mark, (text, _) in zip(marks, shown))
    prompt = "\n\n".join(part for part in (persona.text, *_request(item, form, lines)) if part)
    first, second = ("", " ") if chat else (" ", "")
    options = []
    for mark, (text, value) in zip(marks, shown):
        forms = [first + text] if form.answer == "text" else [first + mark, second + mark]
        options += [Option(each, "abstain" if value is None else "none", value) for each in forms]
    tags: dict[str, Tag] = {"item": item.id, "dimension": item.dimension, "key": item.key, "ordinal": item.ordinal}
    tags |= {"persona": persona.name, "wording": persona.wording, "format": form.id, "scale": form.scale}
    tags |= {"labels": form.labels, "direction": form.direction, "answer": form.answer, "instrument": instrument}
    name = f"{instrument}/{item.id}/{persona.name}/{persona.wording}/{form.id}"
    return Question(prompt_of(prompt, chat), tuple(options), tags, name)


def prompt_of(text: str, chat: bool) -> str | tuple[Message, ...]:
    """Return a text as a user message for the model's template, or as plain text that ends in "Answer:"."""
    return (Message("user", text),) if chat else f"{text}\nAnswer:"


def _reversed(shown: list[tuple[str, float | None]]) -> list[tuple[str, float | None]]:
    """Return options in reverse order; options at the end that refer to the others stay there."""
    kinds = referring([text for text, _ in shown])
    if "place" in kinds:
        return shown
    end = next((i for i in range(len(shown), 0, -1) if not kinds[i - 1]), len(shown))
    return shown[:end][::-1] + shown[end:]


def _options(item: SurveyItem, form: Format) -> tuple[str, ...]:
    """Return the options, lowest position first, in terms of the item's statement."""
    if form.scale == BINARY:
        if not item.opposite:
            raise InputError(f"Item {item.id!r} has no opposite statement, which the binary format needs.")
        return (item.opposite, item.text)
    if form.scale == OWN:
        if not item.scale:
            raise InputError(f"Item {item.id!r} has no scale of its own; ask it on an agreement scale such as likert5.")
        return item.scale
    if item.scale:
        raise InputError(f"Item {item.id!r} has its own scale; ask it in Format(scale='own').")
    return SCALES[form.scale]


def _labels(item: SurveyItem, form: Format, listed: Sequence[str]) -> list[str]:
    """Return the labels of the listed options; options that are all numbers, or all letters, are their own labels."""
    n, texts, numbered = len(listed), list(listed[: len(listed) - form.refusal]), form.labels == "numbers"
    if n > len(ascii_uppercase):
        raise InputError(f"Item {item.id!r} has {n} options, more than there are letters.")
    if numbered and all(number(text) is not None for text in texts):
        marks = texts + [str(int(max(map(float, texts))) + 1)] * form.refusal
    elif not numbered and all(text in ascii_uppercase and len(text) == 1 for text in texts):
        marks = texts + [letter for letter in ascii_uppercase if letter not in texts][: form.refusal]
    else:
        marks = [str(i + 1) for i in range(n)] if numbered else list(ascii_uppercase[:n])
    nested = [(a, b) for a in marks for b in marks if a != b and b.startswith(a)]
    if nested and form.answer == "label":
        raise InputError(
            f"Item {item.id!r} has {n} options, and label {nested[0][0]} begins label {nested[0][1]}; use "
            "labels='letters'."
        )
    for mark, text in zip(marks, listed):
        if (bare := text.strip(" .):").casefold()) in [other.casefold() for other in marks if other != mark]:
            raise InputError(
                f"Item {item.id!r} in the format {form.id}: option {text!r} has the label {mark}, and {bare} is the "
                f"label of another option; use labels={'letters' if numbered else 'numbers'!r}."
            )
    return marks


def _request(item: SurveyItem, form: Format, lines: str) -> list[str]:
    """Return the paragraphs of the prompt after the persona."""
    what = {"numbers": "number", "letters": "letter"}[form.labels]
    reply = f"Reply with the {what} alone." if form.answer == "label" else "Reply with the words of your choice alone."
    if form.scale == BINARY:
        return [f"Which of these two statements do you agree with more?\n{lines}", reply]
    if form.scale == OWN:
        return [reply, f"{item.text}\n{lines}"]
    return [f"How far do you agree with the statement below? {reply}\n{lines}", f"Statement: {item.text}"]


def padded_distributions(name: str, rows: ArrayLike, renormalise: bool = False) -> Floats:
    """Return distributions `[items, options]`; a row can be padded with NaN at its end, or be all NaN (missing).

    Raises:
        InputError: A probability is negative or infinite, a row has fewer than two options, is all zero, or does not
            add up to 1 within 1e-6 (unless `renormalise`).
    """
    try:
        p = np.atleast_2d(np.array(rows, np.float64))
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a table of numbers; pad shorter rows with NaN.") from None
    if p.ndim != 2 or p.shape[1] < 2:
        raise InputError(f"{name} has shape {p.shape}; give rows of at least two options.")
    known = ~np.isnan(p)
    if (p[known] < 0).any() or np.isinf(p).any():
        raise InputError(f"{name} has a negative or infinite probability; correct the row.")
    present = np.asarray(known.any(axis=1))
    if present.any() and (known[present].sum(axis=1) < 2).any():
        raise InputError(f"{name} has a row with one option only; a distribution needs two.")
    total = np.nansum(p, axis=1)
    if (total[present] == 0).any():
        raise InputError(f"{name} has a row that is all zero; leave it out or mark it missing with NaN.")
    if not renormalise and (np.abs(total[present] - 1) > SLACK).any():
        off = total[present][np.abs(total[present] - 1).argmax()]
        raise InputError(f"A row of {name} adds up to {off:.6g}; pass renormalise=True to divide rows by their sum.")
    return np.where(present[:, None], p / np.where(present, total, 1.0)[:, None], np.nan)


def paired_distributions(p: ArrayLike, h: ArrayLike) -> tuple[Floats, Floats, Bools]:
    """Return two tables of distributions over the same options, and the rows that neither misses, `[items]`.

    Raises:
        InputError: The tables differ in shape, or a row in its number of options.
    """
    a, b = padded_distributions("p", p), padded_distributions("h", h)
    if a.shape != b.shape:
        raise InputError(f"p has shape {a.shape}, h {b.shape}; give both the same items and options.")
    both: Bools = np.asarray(~(np.isnan(a).all(axis=1) | np.isnan(b).all(axis=1)))
    if (np.isnan(a[both]) != np.isnan(b[both])).any():
        raise InputError("An item has a different number of options in p and in h; bring both to one scale.")
    return a, b, both


def scale_positions(pos: ArrayLike | None, k: int) -> Floats:
    """Return the positions of a scale `[k]`, 0 to k - 1 by default.

    Raises:
        InputError: There are not k finite positions, or all are equal.
    """
    positions = np.arange(k, dtype=np.float64) if pos is None else np.asarray(pos, np.float64)
    if positions.shape != (k,) or not np.isfinite(positions).all():
        raise InputError(f"pos must be {k} finite numbers, one per option.")
    if np.ptp(positions) == 0:
        raise InputError("All positions in pos are equal, so the scale has no ends; give different ones.")
    return positions


def finite_matrix(name: str, values: ArrayLike, rows: int = 1, columns: int = 1) -> Floats:
    """Return a matrix of finite numbers with at least this many rows and columns."""
    matrix = np.asarray(values, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] < rows or matrix.shape[1] < columns:
        raise InputError(f"{name} has shape {matrix.shape}; it needs at least {rows} rows and {columns} columns.")
    if not np.isfinite(matrix).all():
        raise InputError(f"{name} has a number that is not finite; leave that row out first.")
    return matrix


def scores(levels: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of each answer, one row per question.

    Args:
        levels: Result of `workbench.levels`; the tags `key` (+1, or -1 for an item whose statement is the low pole) and
            `ordinal` (False for an item without order) are used if present.

    Returns:
        question_id, tags, `x_raw` (expected position between the ends, 0 to 1), `x` (the same, oriented by the key),
        `modal` (level; the first at ties), `tie`, `p_max`, `p_first` (probability of the option shown first), `entropy`
        (divided by log K), `n_levels`, `mass` and `abstain`.
    """
    if (bad := levels["p"].isna()).any():
        name = levels.loc[bad, "question_id"].iloc[0]
        raise InputError(f"No option of question {name!r} has any probability; leave the question out.")
    table = expected(levels)
    question = (levels["level"] == 0).cumsum()
    grouped = levels.groupby(question, sort=False)
    low, high = grouped["value"].min().to_numpy(), grouped["value"].max().to_numpy()
    x = (table.pop("mean").to_numpy() - low) / (high - low)
    if "ordinal" in table:
        x = np.where(table["ordinal"].astype(bool), x, np.nan)
    key = table["key"].to_numpy(np.float64) if "key" in table else np.ones(len(table))
    if not np.isin(key, (-1, 1)).all():
        raise InputError(f"A key must be 1 or -1, not {key[~np.isin(key, (-1, 1))][0]:g}.")
    first = levels["position"] == grouped["position"].transform("min")
    p_first = levels["p"].where(first).groupby(question).sum(min_count=1)
    table["entropy"] /= np.log(table["n_levels"])
    table = table.rename(columns={"mode": "modal"}).astype({"modal": int})
    return added(table, x_raw=x, x=np.where(key > 0, x, 1 - x), p_first=p_first.to_numpy())


def position_effects(p_first: ArrayLike, p_second: ArrayLike, eps: float | None = None) -> tuple[Floats, Floats]:
    """Return preference and position bias of a binary item in both orders, in logits.

    With p_first = P(first position | X first) and p_second = P(first position | X second): preference for X =
    (logit p_first - logit p_second) / 2, bias towards the first position = their mean. Probabilities are clipped to
    [eps, 1 - eps]; without `eps`, 0 and 1 give infinities.
    """
    from scipy.special import logit

    one, two = (np.asarray(p, np.float64) for p in (p_first, p_second))
    if not all(((p >= 0) & (p <= 1)).all() for p in (one, two)):
        raise InputError("Probabilities of a position must lie between 0 and 1.")
    if eps is not None:
        one, two = one.clip(eps, 1 - eps), two.clip(eps, 1 - eps)
    with np.errstate(invalid="ignore"):
        return (logit(one) - logit(two)) / 2, (logit(one) + logit(two)) / 2


def agreement(p: ArrayLike, q: ArrayLike) -> dict[str, float]:
    """Return the proportion of items with the same first choice, and the mean total variation, of two readings."""
    a, b, both = paired_distributions(p, q)
    if not both.any():
        return {"same_choice": np.nan, "tvd": np.nan, "n_used": 0, "n_dropped": len(both)}
    a, b = np.nan_to_num(a[both]), np.nan_to_num(b[both])
    same = a.argmax(axis=1) == b.argmax(axis=1)
    counts = {"n_used": int(both.sum()), "n_dropped": int((~both).sum())}
    return {"same_choice": float(same.mean()), "tvd": float(tv(a, b).mean()), **counts}
