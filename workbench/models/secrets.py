"""The key of a served model, and the texts of a server in which it may be repeated.

A server's text is compared in every spelling that it decodes to: escapes of JSON and of programming languages,
percent-encoding and HTML entities to any depth; base64 (either alphabet, any offset), hexadecimal and decimal codes to
two levels; in UTF-8, 16 or 32; without regard to case, white space, punctuation, tags and accents. Runs of the key
count as the key, so a part of it, or a key split over texts, is recognised too.
"""

from __future__ import annotations

import base64
import html
import re
import unicodedata
from collections.abc import Iterator

from workbench import errors

SHORTEST = 8
"""Characters of the shortest key that is accepted; a shorter one occurs in ordinary words."""
RUN = 6
"""Characters of the key in a row that are removed from a text; half the key, if that is fewer."""
RUN_OF_TOKENS = 8
"""The same for the texts of tokens, where six characters can be a word of the prompt."""
RUN_OF_ADDRESS = 16
"""The same for the address, whose host or model may have given the key its name."""
REMOVED = "[key]"
ROUNDS = 20
"""Largest number of times that a text is unescaped; a text with more escapes inside escapes counts as the key."""
MOST_FORMS = 2000
"""The same for the number of spellings that a text decodes to."""
GAP = "\x7f"
"""Stands for removed text; never a character of a key, or of a text that is shown."""
ESCAPES = re.compile(
    r"(?:\\[ux]|\\N\{U\+)\{?([0-9a-f]{1,6})\}|\\U([0-9a-f]{8})|[\\%]u([0-9a-f]{4})|(?:\\x|%)([0-9a-f]{2})|"
    r"\\([0-3][0-7]{2})|\\([bfnrt])|\\(.)", re.I | re.S
)  # fmt: skip
TAGS = re.compile(r"<[^<>]*>")
CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1b]")
BASE64 = re.compile(r"[A-Za-z0-9+/]{6,}")
URLSAFE = str.maketrans("-_", "+/")
HEX = re.compile(r"[0-9a-f]{4,}", re.I)
ASCII = bytes(range(128)) + 128 * GAP.encode()
DECIMALS = re.compile(r"(?:\b\d{2,3}\b\D{1,3}){3,}\d{2,3}\b")


class Secret:
    """The key of a served model; "" for none. Its representation does not show it."""

    def __init__(self, key: str) -> None:
        """Prepare the comparison."""
        self._key = key
        self._runs = {run: _runs(key, run) for run in (RUN, RUN_OF_TOKENS, RUN_OF_ADDRESS)} if key else {}

    def __repr__(self) -> str:
        return f"Secret({REMOVED if self._key else ''})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not copied or pickled")

    def headers(self) -> dict[str, str]:
        """Return the header that sends the key."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def within(self, text: str, run: int = RUN) -> bool:
        """Whether a text has so many characters of the key in a row, in any spelling; `run` is one of `RUN...`."""
        if not self._key or not text:
            return False
        plain, words = self._runs[run]
        for form in _forms(text, 2 if len(text) < 2000 else 1):
            if form is None:
                return True
            view = _plain(form)
            if any(part in view for part in plain):
                return True
            view = _letters(view)
            if any(part in view for part in words):
                return True
        return False

    def removed(self, *texts: str) -> list[str]:
        """Return texts that are shown together, with `REMOVED` in place of what repeats the key.

        The words that contain it are replaced; a whole text if only several words together do; and all texts if only
        several texts together do.
        """
        kept = [text.replace(GAP, "") for text in texts]
        for n, text in enumerate(kept):
            if self.within(text):
                words = [GAP if self.within(word) else word for word in re.split(r"(\s+)", text)]
                kept[n] = GAP if self.within("".join(words)) else "".join(words)
        if self.within("".join(kept)):
            kept = [GAP] * len(kept)
        return [text.replace(GAP, REMOVED) for text in kept]


def _runs(key: str, run: int) -> tuple[list[str], list[str]]:
    """Return the runs of characters that give a key away, with and without punctuation."""
    plain, words = set(), set()
    for form in (key, *_unescaped(key)):
        view = _plain(form or key)
        plain |= _pieces(view, run)
        if len(_letters(view)) >= SHORTEST:
            words |= _pieces(_letters(view), run)
    return sorted(plain), sorted(words)


def _pieces(view: str, run: int) -> set[str]:
    n = min(run, (len(view) + 1) // 2 if run == RUN else len(view))
    return {view[i : i + n] for i in range(len(view) - n + 1)} - {""}


def _plain(text: str) -> str:
    """A text in lower case without white space and invisible characters."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn"))
    return "".join(CONTROLS.sub("", text).lower().split())


def _letters(view: str) -> str:
    """The letters and digits of a text, and its gaps."""
    return re.sub(rf"[^a-z0-9{GAP}]", "", view)


def _forms(text: str, levels: int) -> Iterator[str | None]:
    """Yield the spellings that a text decodes to; None if there are too many."""
    todo: list[tuple[str, int]] = [(text, levels)]
    seen: set[str] = set()
    while todo:
        text, left = todo.pop()
        for form in (text, *_unescaped(text)):
            if left and form is not None and (tagless := TAGS.sub("", form)) != form:
                todo.append((tagless, left))
            if form in seen:
                continue
            yield form
            if form is None or len(seen) == MOST_FORMS:
                yield None
                return
            seen.add(form)
            todo += [(decoded, left - 1) for decoded in _decoded(form)] if left else []


def _unescaped(text: str) -> Iterator[str | None]:
    """Yield a text with its escapes replaced, once, twice and so on; None if there is no end of it."""
    for _ in range(ROUNDS):
        if (simpler := html.unescape(ESCAPES.sub(_character, errors.ESCAPES.sub("", text)))) == text:
            return
        yield (text := simpler)
    yield None


def _character(match: re.Match[str]) -> str:
    *codes, octal, space, literal = match.groups()
    code = int(octal, 8) if octal else next((int(code, 16) for code in codes if code), None)
    return " " if space else str(literal) if code is None else chr(code) if code < 0x110000 else ""


def _decoded(text: str) -> list[str]:
    """The texts that runs of base64, of hexadecimal digits and of decimal codes may stand for, at every offset."""
    joined = "".join(text.split()).translate(URLSAFE)
    letters, digits = BASE64.findall(joined), HEX.findall(re.sub(r"0x|[^0-9a-z]", "", joined, flags=re.I))
    whole = re.sub(r"[^A-Za-z0-9+/]", "", joined)  # as where punctuation separates pieces of base64
    ways = [b"".join(_of_base64(run[offset:]) for run in letters) for offset in range(4)]
    ways += [_of_base64(whole[offset:]) for offset in range(4) if letters != [whole]]
    ways += [b"".join(bytes.fromhex(run[offset:][: (len(run) - offset) & ~1]) for run in digits) for offset in (0, 1)]
    ways += [bytes(int(n) % 256 for n in re.findall(r"\d+", run)) for run in DECIMALS.findall(text)]
    return [way.translate(ASCII, b"\0").decode("ascii") for way in ways if way]


def _of_base64(run: str) -> bytes:
    run = run[:-1] if len(run) % 4 == 1 else run
    return base64.b64decode(run + "=" * (-len(run) % 4))
