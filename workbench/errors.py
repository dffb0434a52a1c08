"""`InputError`, the one error for what a user can correct, and `DiskFull`, a kind of it."""

import errno

MANY = 40
"""Largest number of known names that are listed beside a suggestion."""


class InputError(ValueError):
    """An error in the user's input; its message is one sentence: what is wrong, where, and how to correct it.

    The command line prints the message and exits with code 2; in a notebook IPython shows it without a traceback.
    """

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

    near = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = "" if near and len(known) > MANY else f" Known: {', '.join(known)}."
    return InputError(f"Unknown {kind} {name!r}{where}.{hint}{listed}")
