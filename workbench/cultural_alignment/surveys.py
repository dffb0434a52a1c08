"""Survey items, formats and personas, and the distributions of answers to them."""

from __future__ import annotations

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
from workbench.statistics.distances import entropy, settled, tv

Labels = Literal["numbers", "letters"]
Direction = Literal["ascending", "descending"]
Answer = Literal["label", "text"]
SCALES: dict[str, tuple[str, ...]] = {
    "likert4": ("Strongly disagree", "Disagree", "Agree", "Strongly agree"),
    "likert5": ("Strongly disagree", "Disagree", "Neither agree nor disagree", "Agree", "Strongly agree"),
    "likert6": (
        "Strongly disagree",
        "Disagree",
        "Somewhat disagree",
        "Somewhat agree",
        "Agree",
        "Strongly agree",
    ),
    "likert7": (
        "Strongly disagree",
        "Disagree",
        "Somewhat disagree",
        "Neither agree nor disagree",
        "Somewhat agree",
        "Agree",
        "Strongly agree",
    ),
}
"""Agreement scales, from the lowest place to the highest; 4 and 6 have no neutral middle."""
BINARY, OWN = "binary", "own"
REFUSAL = "I prefer not to answer"


@dataclass(frozen=True, slots=True)
class SurveyItem:
    """One thing that is asked."""

    id: str
    """Name within the instrument."""
    text: str
    """The statement to agree with, or the question to answer on the item's own scale."""
    dimension: str = "all"
    """What it is meant to measure."""
    key: int = 1
    """+1 if agreeing counts towards the dimension, -1 if against it."""
    opposite: str = ""
    """The statement of the other pole, for the binary format."""
    scale: tuple[str, ...] = ()
    """The item's own options from the lowest place to the highest; empty for a statement asked on agreement scales."""
    positions: tuple[float, ...] = ()
    """Their places, where they are not evenly spaced."""
    ordinal: bool = True
    """False if the options have no order; then only their distribution is compared."""

    def __post_init__(self) -> None:
        if self.key not in (1, -1):
            raise InputError(f"Item {self.id!r} has key {self.key!r}; a key is 1 or -1.")
        if not self.text.strip():
            raise InputError(f"Item {self.id!r} has no text; write what is asked.")
        if self.scale and len(self.scale) < 2:
            raise InputError(f"Item {self.id!r} has one option only; a scale needs two.")
        if len(set(self.scale)) < len(self.scale):
            raise InputError(f"Item {self.id!r} lists an option twice; keep one of them.")
        rising = all(a < b for a, b in zip(self.positions, self.positions[1:]))
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
        """Return the first n items of each dimension; all for None."""
        place = Counter[str]()
        kept = []
        for item in self:
            place[item.dimension] += 1
            kept += [item] if n is None or place[item.dimension] <= n else []
        return self._with(kept)


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
    """What stands before the options."""
    direction: Direction = "ascending"
    """Whether the lowest place or the highest is listed first."""
    answer: Answer = "label"
    """Whether the label is scored or the words of the option."""
    refusal: bool = False
    """Whether declining is listed last, as an abstention."""

    def __post_init__(self) -> None:
        if self.scale not in (known := [BINARY, OWN, *SCALES]):
            raise unknown("scale", self.scale, known)
        for value, kind in ((self.labels, Labels), (self.direction, Direction), (self.answer, Answer)):
            if value not in get_args(kind):
                raise unknown("format", value, list(get_args(kind)))

    @property
    def id(self) -> str:
        """Its name in tables."""
        return "-".join([self.scale, self.labels, self.direction, self.answer, *["refusal"] * self.refusal])


ORDERS = ("format", "labels", "direction", "answer")
"""Tags of a format that are averaged out so that order effects cancel; its scale is not one of them."""


@dataclass(frozen=True, slots=True)
class Persona:
    """Whom the model is asked to answer as."""

    name: str
    """The country, or "none"."""
    text: str = ""
    """What is said before the item."""
    wording: str = "none"
    """Which wording of the instruction it is."""


NOBODY = Persona("none")


def formats(
    scale: str | Sequence[str] = "likert5",
    labels: Sequence[Labels] = ("numbers", "letters"),
    direction: Sequence[Direction] = ("ascending", "descending"),
    answer: Sequence[Answer] = ("label", "text"),
) -> list[Format]:
    """Every combination of these levels; the default is the eight variants of the stability test."""
    scales = [scale] if isinstance(scale, str) else list(scale)
    return [Format(*levels) for levels in product(scales, labels, direction, answer)]


def survey_questions(
    instrument: Instrument,
    how: Iterable[Format] | Format = Format(),
    personas: Sequence[Persona] = (NOBODY,),
    chat: bool = True,
) -> Questions:
    """Every item in every format, asked as every persona.

    Prompts begin with persona and scale and end with the item, so that what they share is computed once.

    Args:
        instrument: What is asked.
        how: Formats.
        personas: Whom the model answers as; `NOBODY` is the model itself.
        chat: Prompts become a user's message for the model's template; otherwise plain text that ends in "Answer:".

    Returns:
        Questions with the tags item, dimension, key, ordinal, persona, wording, format, scale, labels, direction,
        answer, instrument. Options are in shown order; surface forms of one label share a `value`. Options that are
        all numbers (or all letters) are their own labels in a format of that kind.

    Raises:
        InputError: A format needs what an item lacks: the opposite statement, an own scale, or fewer options; or an
            option's text is the label of another.
    """
    variants = [how] if isinstance(how, Format) else list(how)
    if not variants or not personas:
        raise InputError("A survey needs at least one format and one persona (NOBODY for the model itself).")
    asked = [
        _question(item, form, persona, instrument.name, chat)
        for persona in personas
        for form in variants
        for item in instrument
    ]
    return Questions(asked, Origin(instrument.name, f"{len(instrument)} items", instrument.origin.licence))


def prompts(questions: Sequence[Question], chat: bool) -> dict[str, Any]:
    """What a run's record keeps of its prompts: their number `n`, their digest `sha256`, and `chat`."""
    return {"n": len(questions), "sha256": prompt_digest(questions), "chat": chat}


def prompt_digest(questions: Iterable[Question]) -> str:
    """SHA-256 of every prompt and option in the order asked."""
    digest = sha256()
    for question in questions:
        parts = [question.prompt_text, *(f"{option.text}\x1f{option.value}" for option in question.options)]
        digest.update("\x1e".join(parts).encode() + b"\x1d")
    return digest.hexdigest()


def _question(item: SurveyItem, form: Format, persona: Persona, instrument: str, chat: bool) -> Question:
    base = _options(item, form)
    places = item.positions if form.scale == OWN and item.positions else tuple(map(float, range(len(base))))
    shown = list(zip(base, places))
    if form.direction == "descending":
        shown = _turned(shown)
    listed = [text for text, _ in shown] + [REFUSAL] * form.refusal
    marks = _labels(item, form, listed)
    lines = "\n".join(f"{mark}. {text}" for mark, text in zip(marks, listed))
    parts = [persona.text, *_ask(item, form, lines)]
    prompt = "\n\n".join(part for part in parts if part)
    options = []
    for i, text in enumerate(listed):
        place = shown[i][1] if i < len(shown) else None
        forms = [text] if form.answer == "text" else [marks[i]]
        spaced = [("" if chat else " ") + each for each in forms]
        if form.answer == "label":
            spaced.append((" " if chat else "") + marks[i])
        options += [Option(each, "none" if place is not None else "abstain", place) for each in spaced]
    tags: dict[str, Tag] = {"item": item.id, "dimension": item.dimension, "key": item.key, "ordinal": item.ordinal}
    tags |= {"persona": persona.name, "wording": persona.wording, "format": form.id, "scale": form.scale}
    tags |= {"labels": form.labels, "direction": form.direction, "answer": form.answer, "instrument": instrument}
    name = f"{instrument}/{item.id}/{persona.name}/{persona.wording}/{form.id}"
    return Question((Message("user", prompt),) if chat else f"{prompt}\nAnswer:", tuple(options), tags, name)


def _turned(shown: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Options from the highest place to the lowest; those at the end that speak of the others stay there."""
    kinds = referring([text for text, _ in shown])
    if "place" in kinds:
        return shown
    end = next((i for i in range(len(shown), 0, -1) if not kinds[i - 1]), len(shown))
    return shown[:end][::-1] + shown[end:]


def _options(item: SurveyItem, form: Format) -> tuple[str, ...]:
    """The options from the lowest place to the highest, in terms of the item's statement."""
    if form.scale == BINARY:
        if not item.opposite:
            raise InputError(f"Item {item.id!r} has no opposite statement, which the binary format shows.")
        return (item.opposite, item.text)
    if form.scale == OWN:
        if not item.scale:
            raise InputError(f"Item {item.id!r} has no scale of its own; ask it on an agreement scale such as likert5.")
        return item.scale
    if item.scale:
        raise InputError(f"Item {item.id!r} has its own scale; ask it in Format(scale='own').")
    return SCALES[form.scale]


def _labels(item: SurveyItem, form: Format, listed: Sequence[str]) -> list[str]:
    """The labels of the options as listed; options that are all numbers, or all letters, are their own labels."""
    n, own, numbered = len(listed), list(listed[: len(listed) - form.refusal]), form.labels == "numbers"
    if n > len(ascii_uppercase):
        raise InputError(f"Item {item.id!r} has {n} options, more than there are letters.")
    if numbered and all(number(text) is not None for text in own):
        marks = own + [str(int(max(map(float, own))) + 1)] * form.refusal
    elif not numbered and all(text in ascii_uppercase and len(text) == 1 for text in own):
        marks = own + [letter for letter in ascii_uppercase if letter not in own][: form.refusal]
    else:
        marks = [str(i + 1) for i in range(n)] if numbered else list(ascii_uppercase[:n])
    begun = [(a, b) for a in marks for b in marks if a != b and b.startswith(a)]
    if begun and form.answer == "label":
        raise InputError(
            f"Item {item.id!r} has {n} options, and label {begun[0][0]} begins label {begun[0][1]}; use "
            "labels='letters'."
        )
    for mark, text in zip(marks, listed):
        if (said := text.strip(" .):").casefold()) in [other.casefold() for other in marks if other != mark]:
            raise InputError(
                f"Item {item.id!r} in the format {form.id}: the option {text!r} has the label {mark}, and {said} is "
                f"the label of another; use labels={'letters' if numbered else 'numbers'!r}."
            )
    return marks


def _ask(item: SurveyItem, form: Format, lines: str) -> list[str]:
    what = {"numbers": "number", "letters": "letter"}[form.labels]
    reply = f"Reply with the {what} alone." if form.answer == "label" else "Reply with the words of your choice alone."
    if form.scale == BINARY:
        return [f"Which of these two statements do you agree with more?\n{lines}", reply]
    if form.scale == OWN:
        return [f"{reply}", f"{item.text}\n{lines}"]
    return [f"How far do you agree with the statement below? {reply}\n{lines}", f"Statement: {item.text}"]


SLACK = 1e-6


def distributions(name: str, rows: ArrayLike, renormalise: bool = False) -> Floats:
    """Answer distributions `[items, options]`; a row may be padded with NaN at its end, or be NaN altogether.

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
        raise InputError(f"{name} holds a negative or infinite probability; mend the row, it is not clipped.")
    present = np.asarray(known.any(axis=1))
    if present.any() and (known[present].sum(axis=1) < 2).any():
        raise InputError(f"{name} has a row with one option only; a distribution needs two.")
    total = np.nansum(p, axis=1)
    if (total[present] == 0).any():
        raise InputError(f"{name} has a row that is all zero; leave it out or mark it missing with NaN.")
    if not renormalise and (np.abs(total[present] - 1) > SLACK).any():
        off = total[present][np.abs(total[present] - 1).argmax()]
        raise InputError(f"A row of {name} adds up to {off:.6g}; pass renormalise=True if that is meant.")
    return np.where(present[:, None], p / np.where(present, total, 1.0)[:, None], np.nan)


def pair(p: ArrayLike, h: ArrayLike, renormalise: bool = False) -> tuple[Floats, Floats, Bools]:
    """Two tables of distributions over the same options, and which rows both have.

    Raises:
        InputError: The tables differ in shape, or a row in its number of options.
    """
    a, b = distributions("p", p, renormalise), distributions("h", h, renormalise)
    if a.shape != b.shape:
        raise InputError(f"p has shape {a.shape}, h {b.shape}; give both the same items and options.")
    both: Bools = np.asarray(~(np.isnan(a).all(axis=1) | np.isnan(b).all(axis=1)))
    if (np.isnan(a[both]) != np.isnan(b[both])).any():
        raise InputError("An item has another number of options in p than in h; bring both to one scale.")
    return a, b, both


def scale_positions(pos: ArrayLike | None, k: int) -> Floats:
    """Ordinal positions `[k]`; 0 to k - 1 by default.

    Raises:
        InputError: There are not k finite positions, or all are equal.
    """
    found = np.arange(k, dtype=np.float64) if pos is None else np.asarray(pos, np.float64)
    if found.shape != (k,) or not np.isfinite(found).all():
        raise InputError(f"pos must hold {k} finite numbers, one per option.")
    if np.ptp(found) == 0:
        raise InputError("All positions in pos are equal, so the scale has no ends; give different ones.")
    return found


def table(name: str, values: ArrayLike, rows: int = 1, columns: int = 1) -> Floats:
    """A matrix of finite numbers with at least so many rows and columns."""
    found = np.asarray(values, np.float64)
    if found.ndim != 2 or found.shape[0] < rows or found.shape[1] < columns:
        raise InputError(f"{name} has shape {found.shape}; it needs at least {rows} rows and {columns} columns.")
    if not np.isfinite(found).all():
        raise InputError(f"{name} holds a number that is not finite; leave that row out first.")
    return found


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """What each answer says, one row per question.

    Args:
        table: Made by `workbench.levels`; tags `key` (+1, or -1 for an item whose statement names the low pole) and
            `ordinal` (False for an item without order) are used if there.

    Returns:
        question_id, tags, `x_raw` (expected place between the ends, 0 to 1), `x` (the same, turned by the key),
        `modal` (level; the first at ties), `tie`, `p_max`, `p_first` (probability of the option shown first), `entropy`
        (divided by log K), `n_levels`, `mass` and `abstain`.
    """
    if table["p"].isna().any():
        name = table.loc[table["p"].isna(), "question_id"].iloc[0]
        raise InputError(f"Question {name!r} cannot be read: none of its options has any probability; leave it out.")
    found = expected(table)
    grouped = table.groupby((table["level"] == 0).cumsum(), sort=False)
    low, high = grouped["value"].min().to_numpy(), grouped["value"].max().to_numpy()
    x = (found.pop("mean").to_numpy() - low) / (high - low)
    if "ordinal" in found:
        x = np.where(found["ordinal"].astype(bool), x, np.nan)
    key = found["key"].to_numpy(np.float64) if "key" in found else np.ones(len(found))
    if not np.isin(key, (-1, 1)).all():
        raise InputError(f"A key must be 1 or -1, not {key[~np.isin(key, (-1, 1))][0]:g}.")
    shown_first = table["position"] == grouped["position"].transform("min")
    p_first = table["p"].where(shown_first).groupby((table["level"] == 0).cumsum()).sum(min_count=1)
    found["entropy"] /= np.log(found["n_levels"])
    found = found.rename(columns={"mode": "modal"}).astype({"modal": int})
    return added(found, x_raw=x, x=np.where(key > 0, x, 1 - x), p_first=p_first.to_numpy())


def position_effects(p_first: ArrayLike, p_second: ArrayLike, eps: float | None = None) -> tuple[Floats, Floats]:
    """Preference and position bias of a binary item read in both orders, in logits.

    With p_first = P(first slot | X stands first) and p_second = P(first slot | X stands second): preference for X =
    (logit p_first - logit p_second) / 2, bias to the first slot = their mean. Probabilities 0 and 1 give infinities
    unless `eps` says how far to stay away from them.
    """
    from scipy.special import logit

    one, two = (np.asarray(p, np.float64) for p in (p_first, p_second))
    if not all(((p >= 0) & (p <= 1)).all() for p in (one, two)):
        raise InputError("Probabilities of a slot must lie between 0 and 1.")
    if eps is not None:
        one, two = one.clip(eps, 1 - eps), two.clip(eps, 1 - eps)
    with np.errstate(invalid="ignore"):
        return (logit(one) - logit(two)) / 2, (logit(one) + logit(two)) / 2


def agreement(p: ArrayLike, q: ArrayLike) -> dict[str, float]:
    """How far two readings of the same items agree: share with the same first choice, and mean total variation."""
    a, b, both = pair(p, q)
    if not both.any():
        return {"same_choice": np.nan, "tvd": np.nan, "n_used": 0, "n_dropped": len(both)}
    a, b = np.nan_to_num(a[both]), np.nan_to_num(b[both])
    same = a.argmax(axis=1) == b.argmax(axis=1)
    counts = {"n_used": int(both.sum()), "n_dropped": int((~both).sum())}
    return {"same_choice": float(same.mean()), "tvd": float(tv(a, b).mean()), **counts}


def leakage(refused: ArrayLike, p: ArrayLike, tau: float = 0.75) -> tuple[Bools, Floats]:
    """Whether a refusal in words hides one confident option (MENAValues), and the entropy of each row over log K.

    Args:
        refused: Whether the text is a refusal, `[items]`.
        p: Answer distributions read from the logits, `[items, options]`.
        tau: Probability from which one option counts as confident (exclusive).
    """
    rows = distributions("p", p)
    said_no = np.asarray(refused)
    if said_no.shape != (len(rows),) or not np.isin(said_no, (0, 1)).all():
        raise InputError(f"refused must hold {len(rows)} values that are true or false.")
    known = ~np.isnan(rows)
    spread = np.where(known.any(axis=1), entropy(rows) / np.log(np.maximum(known.sum(axis=1), 2)), np.nan)
    return said_no.astype(bool) & (settled(np.nan_to_num(rows).max(axis=1)) > tau), spread
