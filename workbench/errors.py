"""`InputError`, the one error for what a user can correct; `DiskFull`, a kind of it; text from outside as one line."""

import errno
import re
import sys

MANY = 40
"""Largest number of known names that are listed beside a suggestion."""
LONGEST_NAME = 200
"""Characters of an unknown name that are compared with known ones."""
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])")
"""Escape sequences of terminals: colours, cursor, titles, links."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
"""Control characters, marks of text direction, and halves of characters."""
LONGEST = 4000
"""Characters of an error's message; of a longer one the middle is left out."""


def one_line(text: object, longest: int = LONGEST) -> str:
    """Return text on one line of at most this many characters, safe for a terminal and UTF-8, with its spaces.

    Escape sequences are removed; other control characters and line ends become spaces.
    """
    shown = UNPRINTABLE.sub(" ", ESCAPES.sub("", str(text)[: 20 * longest]))
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def shown(value: object, longest: int = 100) -> str:
    """Return a value for a message, as Python writes it, shortened."""
    try:
        return one_line(repr(value), longest)
    except (RecursionError, ValueError):  # deep, or a number of thousands of digits
        return f"a {type(value).__name__} that is too large to show"


class InputError(ValueError):
    """An error in the user's input; its message is one sentence: what is wrong, where, and how to correct it.

    The message may quote files, records and servers: it is brought to one safe line here, for every place that shows
    it. The command line prints it and exits with code 2; in a notebook IPython shows it without a traceback.
    """

    def __init__(self, message: object = "") -> None:
        text = one_line(message, sys.maxsize)
        super().__init__(text if len(text) <= LONGEST else f"{text[: LONGEST - 300]} … {text[-290:]}")  # the way out

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class DiskFull(InputError, OSError):
    """A disk or quota is full; also an `OSError`, so that code that can go on without writing goes on."""

    errno = errno.ENOSPC

    @property
    def strerror(self) -> str:  # type: ignore[override]
        """The whole sentence."""
        return str(self)


def unknown(kind: str, name: object, known: list[str], where: str = "") -> InputError:
    """Return the error for an unknown name, with the nearest known one; `where` continues it, as in " of x.csv"."""
    from difflib import get_close_matches

    known = list(map(str, known))
    short = [each for each in known[:10_000] if len(each) <= LONGEST_NAME]  # the time is the square of the length
    near = get_close_matches(str(name)[:LONGEST_NAME], short, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = "" if near and len(known) > MANY else f" Known: {', '.join(known)}."
    return InputError(f"Unknown {kind} {shown(name)}{where}.{hint}{listed}")
