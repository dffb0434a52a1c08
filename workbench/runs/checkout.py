"""What a run was made with: the commit of the checkout, what differs from it, and the versions of packages."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench import DISTRIBUTION, __version__
from workbench.files import sha256_of
from workbench.runs.record import Source

LARGEST_PATCH = 2_000_000
"""Characters of a patch."""
SECONDS = 20
"""Time that one call of git may take."""
FORMAT = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--binary", "--full-index")
BREAK = re.compile(r"^(?=diff --git )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between a checkout and its commit."""

    patch: str = ""
    """For `git apply`; bytes that are not UTF-8 are surrogates (`errors="surrogateescape"`)."""
    left_out: tuple[str, ...] = ()
    """What the patch does not contain: outputs of notebooks, and the names of files with too many changes."""


def source_of(notebook: Path) -> Source:
    """Return the notebook's hash, this package's version and commit, and the versions of its dependencies."""
    commit = _line(notebook.parent, "rev-parse", "HEAD")
    changes = _git(notebook.parent, "status", "--porcelain")
    return Source(
        notebook_sha256=sha256_of(notebook),
        workbench=__version__,
        commit=commit,
        branch=_line(notebook.parent, "rev-parse", "--abbrev-ref", "HEAD") if commit else None,
        dirty=bool(changes) if commit and changes is not None else None,
        added=[line[3:] for line in (changes or "").splitlines() if line.startswith("??")][:100],
        packages=package_versions(),
    )


def changes_of(folder: Path) -> Changes:
    """Return the difference between the checkout of a folder and its commit, without outputs of notebooks."""
    top = Path(_line(folder, "rev-parse", "--show-toplevel") or folder)
    names = (_git(top, "diff", "HEAD", "--name-only", "-z", "--no-renames") or "").split("\0")
    notebooks = [name for name in names if name.endswith(".ipynb") and (top / name).is_file()]
    others = _git(top, "diff", "HEAD", *FORMAT, "--", ".", *(f":(exclude,literal){name}" for name in notebooks))
    if others is None:
        return Changes() if not any(names) else Changes(left_out=("all changes: git did not list them",))
    cleaned, without = _notebook_changes(top, notebooks)
    parts = [part for part in BREAK.split(others + cleaned) if part]
    room, kept = LARGEST_PATCH, set()
    for at in sorted(range(len(parts)), key=lambda at: len(parts[at])):
        room -= len(parts[at])
        if room >= 0:
            kept.add(at)
    large = [_file_of(part) for at, part in enumerate(parts) if at not in kept]
    return Changes("".join(part for at, part in enumerate(parts) if at in kept), (*without, *large))


def _notebook_changes(top: Path, names: list[str]) -> tuple[str, list[str]]:
    """The changes of notebooks with the outputs of the commit, and which notebooks have others."""
    without = []
    with tempfile.TemporaryDirectory(prefix="workbench-", ignore_cleanup_errors=True) as home:
        for name in names:
            before, now = _git(top, "show", f"HEAD:{name}"), (top / name).read_bytes().decode(errors="surrogateescape")
            cleaned = _with_outputs_of(before, now)
            if cleaned != now:
                without.append(f"outputs of {name}")
            for side, text in (("a", before), ("b", cleaned)):
                if text is not None:
                    file = Path(home, side, name)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(text.encode(errors="surrogateescape"))
        for side in ("a", "b"):
            Path(home, side).mkdir(exist_ok=True)
        return _git(Path(home), "diff", "--no-index", "--no-prefix", *FORMAT, "a", "b") or "", without


def _with_outputs_of(before: str | None, now: str) -> str:
    """A notebook's text with the outputs and counts of an earlier version; unchanged if it is no notebook."""

    def cells(text: str) -> tuple[Any, list[dict[str, Any]]]:
        notebook = json.loads(text)
        return notebook, [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]

    try:
        notebook, code = cells(now)
        earlier = cells(before)[1] if before else []
        known = {cell.get("id", at): cell for at, cell in enumerate(earlier)}
        for at, cell in enumerate(code):
            old = known.get(cell.get("id", at), {})
            cell |= {"outputs": old.get("outputs", []), "execution_count": old.get("execution_count")}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return now
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n" * now.endswith("\n")


def _file_of(part: str) -> str:
    """The file of one part of a patch, which begins `diff --git a/NAME b/NAME`."""
    both = part.partition("\n")[0].removeprefix("diff --git ")
    return both[: len(both) // 2].strip('"')[2:]


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that workbench depends on directly."""
    required = [line for line in metadata.requires(DISTRIBUTION) or [] if "extra ==" not in line]
    versions = {}
    for name in sorted(re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in required):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _line(folder: Path, *command: str) -> str | None:
    """The output of git without space around it; None without git, checkout or commit."""
    text = _git(folder, *command)
    return None if text is None else text.strip()


def _git(folder: Path, *command: str) -> str | None:
    """The output of git; None without git, checkout or commit. Bytes that are not UTF-8 are surrogates."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    failed = done.returncode not in ((0, 1) if "--no-index" in command else (0,))
    return None if failed else done.stdout.decode("utf-8", "surrogateescape")
