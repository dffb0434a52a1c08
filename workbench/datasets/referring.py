"""Options that refer to other options: "All of the above", "Both A and B", "None of these".

These options are valid for one order of the options and need the list in the prompt, so every order of options goes
through `arranged`. In English, an option refers to others if it consists only of the vocabulary of such references; in
other languages, if it matches a usual phrase.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Literal

Reference = Literal["", "group", "place"]
NO_ORDER = "options that refer to others by letter or place, in a source without an order"
UNLISTED = "options that refer to other options, in a prompt without a list of options"
KEPT = "with options that refer to others, shown in an order that keeps them valid"


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


PAIRS = _set("all both neither either")
WHOLE = PAIRS | {"none", "any"}
COUNTS = _set("two three four five several 2 3 4 5")
NOUNS = _set("option choice answer alternative response statement options choices answers alternatives responses")
NOUNS |= {"statements"}
SHOWN = _set("above these those them other others rest following given listed mentioned foregoing")
PLACES = _set("first second third fourth fifth last previous preceding below")
TRUE = _set("correct right true wrong incorrect false possible valid accurate appropriate applicable")
IS = _set("is are was were may can could be apply applies")
LIMITS = _set("only except but same alone")
LINKS = IS | _set("of the and or nor as also equally together")
WORDS = WHOLE | COUNTS | NOUNS | SHOWN | PLACES | TRUE | LIMITS | LINKS | _set("no not one more than a")
JOINTS = WORDS | _set("und et y e en og oraz и 和 与 及 と sowohl als auch weder noch")
SOME = "|".join(sorted(WHOLE | COUNTS)) + "|one|some|most|more than one|at least one|at least two"
LETTER = re.compile(r"(?<![A-Za-z0-9_'])[A-Za-z](?![A-Za-z0-9_'])")
PHRASES = tuple(
    re.compile(phrase)
    for phrase in (
        r"\bof (the )?(above|foregoing|aforementioned|preceding)\b",
        r"\b(listed|mentioned|given|described|stated|named|shown) above$",
        rf"^(only |exactly |not )?({SOME}) of (these|those|them)( \w+){{0,3}}$",
        r"^(alle|keine[rs]?|beides?) .*(genannten?|obigen?|oben|aufgeführten|antworten|aussagen|optionen)\b",
        r"^(toutes|tous|aucune?|les deux) .*(ci-dessus|réponses?|propositions?|options?|précédent)",
        r"^(tod[ao]s|ningun[oa]|ninguna?|nenhuma?|amb[ao]s) .*(anterior|acima|opciones|opções|alternativas|respuestas)",
        r"^(tutte|nessuna|entrambe) .*(precedenti|risposte|opzioni)",
        r"^(все|ни од|ничего|оба|обе) ?.*(перечисленн|вариант|ответ)",
        r"^(以上(?!海)|上述|上記)",
    )
)
"""Forms with further words, and forms of other languages."""


def referring(texts: Sequence[str], ordered: bool = True) -> tuple[Reference, ...]:
    """Return the reference of each option: none (""), the options as a `group`, or some by letter or `place`.

    Letters count as places only if they are within the list and no option names its own letter (blood groups and
    vitamins are also called A and B). Numbers ("1 and 2 only", "I and III") refer to statements in the question, unless
    the option calls them options.

    Args:
        texts: The options in the source's order.
        ordered: Whether the source has an order; without one, no option has a letter.
    """
    named = [_named(text, len(texts)) for text in texts]
    own = ordered and any(i in places for i, places in enumerate(named))
    return tuple("place" if places and not own else _spoken(text, len(texts)) for text, places in zip(texts, named))


def arranged(texts: Sequence[str], order: Sequence[int], ordered: bool = True) -> list[int] | None:
    """Return an order of options in which references to other options stay valid.

    Args:
        texts: The options as the source gives them.
        order: Requested order, returned if no option refers to others.
        ordered: Whether the source has an order, which is then kept if an option refers to others; without one, options
            that refer to all others come last.

    Returns:
        Indices of `texts`; None if options refer to letters or places and the source has no order.
    """
    kinds = referring(texts, ordered)
    if not any(kinds):
        return list(order)
    if ordered:
        return list(range(len(texts)))
    if "place" in kinds:
        return None
    return [i for i in order if not kinds[i]] + [i for i, kind in enumerate(kinds) if kind]


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'-]+", text.casefold().replace("&", " and ").replace("except for", "except"))


def _named(text: str, n: int) -> set[int]:
    """Return the places that a text names by letter, or by number if it calls them options."""
    words, marks = _words(LETTER.sub(r" \g<0> ", text)), LETTER.findall(text)
    large = [mark for mark in marks if mark.isupper()]
    marks = large if len(large) > 1 else marks
    letters = {ascii_uppercase.index(mark.upper()) for mark in marks}
    numbers = {int(word) - 1 for word in words if word.isdecimal() and len(word) < 9} if NOUNS & set(words) else set()
    places = letters if len(letters) > 1 else numbers
    named = set(marks)
    rest = [word for word in words if not {word.upper(), word} & named and not word.isdecimal()]
    if len(letters) == 1 and LIMITS & set(rest) and (marks[0].isupper() or f"({marks[0]})" in text):
        places = letters
    elif len(places) < 2 or not (rest or "," in text):
        return set()
    plain = not re.search(r"[^\w\s.,;:()&'\"/-]", text) and set(rest) <= JOINTS
    return places if plain and max(places) < n else set()


def _spoken(text: str, n: int) -> Reference:
    """Return the reference of a text without letters; "Both" or "All" alone count among three options or more."""
    words = set(_words(text))
    plain = " ".join(_words(text))
    if any(phrase.search(plain) for phrase in PHRASES) or plain in ("the above", "as above"):
        return "group"
    if not words <= WORDS or plain == "all right":
        return ""
    if words & PLACES and words & (WHOLE | COUNTS | NOUNS):
        return "place"
    of_shown = words & SHOWN and words & (WHOLE | COUNTS | NOUNS | {"one"})
    of_nouns = words & NOUNS and (words & (WHOLE | COUNTS) or (words & TRUE and "no" in words))
    judged = words & IS and words & TRUE and words & (WHOLE | COUNTS | {"one"})
    bare = n > 2 and words & PAIRS and words <= WHOLE | COUNTS | LINKS | TRUE
    return "group" if of_shown or of_nouns or judged or bare else ""
