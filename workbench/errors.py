"""The one error a user's mistake raises."""

MANY = 40
"""Names beyond which they are not listed beside the nearest one."""


class InputError(ValueError):
    """A mistake the user can mend: one sentence that names the thing and the way out.

    The command line prints the sentence and exits with code 2; in a notebook IPython shows it without a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


def unknown(kind: str, name: object, known: list[str], where: str = "") -> InputError:
    """An `InputError` for a name nobody knows, with the nearest known one; `where` goes on as " of x.csv" does."""
    from difflib import get_close_matches

    near = get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = "" if near and len(known) > MANY else f" Known: {', '.join(known)}."
    return InputError(f"Unknown {kind} {name!r}{where}.{hint}{listed}")
