"""Where data come from: one registry for all studies, read from `sources.yaml` of each room, and one grammar of names.

An entry names a data set of the hub (pinned to a commit), a file of a fetched package, or a file written for the
project, and the adapter that turns one of its records into an item. Users name a source in one way everywhere:
`[hub:]name[:part][@commit]`, `name=path`, or `path[:part]`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.datasets.items import Named, Record, Unusable, set_apart
from workbench.datasets.rows import Row, read_rows
from workbench.datasets.settings import user_settings, user_text
from workbench.errors import InputError, unknown
from workbench.files import sha256_of
from workbench.packages import SOURCE, Package, require

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["questions", "cases", "choices", "opinions", "sentences", "rows"]
ROOMS = Path(__file__).parents[1]
SUFFIXES: dict[str, tuple[str, ...]] = dict.fromkeys(get_args(Kind), (".csv", ".jsonl", ".json")) | {
    "rows": (".jsonl",),
    "opinions": (),
    "choices": (),
}
"""Kind -> endings of a user's own files that are named by their path alone."""
FOLDERS = ("opinions",)
"""Kinds that are read from a user's folder, followed by `:part`."""


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of a `sources.yaml`."""

    name: str
    """Its name."""
    kind: Kind
    """What its records become."""
    title: str
    """What it holds, in a few words."""
    licence: str
    """Licence or terms as far as known."""
    item: str = ""
    """Adapter of one record, `module:function` below `workbench`; it raises `Unusable` for a record it leaves out."""
    hub: str = ""
    """Id of the data set on the hub."""
    commit: str = ""
    """The commit of the hub that is read; empty where none was checked, so that the user names one."""
    split: str = ""
    """Split on the hub; may hold `{part}`, as may `config` and `file`."""
    config: str = ""
    """Configuration on the hub."""
    package: str = ""
    """Name of a fetched package."""
    file: str = ""
    """File of the package, of the data set on the hub (a CSV without a header), or of the room's folder `written`."""
    columns: tuple[str, ...] = ()
    """Columns of a hub's file, each read as text."""
    reader: str = ""
    """Function of a package's file that gives its records, where `read_records` does not."""
    group: str = ""
    """Function of all records that joins those of one item."""
    parts: tuple[str, ...] = ("",)
    """Parts that are loaded by name; the first is the default."""
    conditions: tuple[str, ...] = ()
    """Ways in which every record is asked."""
    labels: tuple[str, ...] = ()
    """Labels that an answer can give, in the order of their values."""
    marks: str | dict[str, str] = ""
    """Whose the scores of cases are, in all parts or part by part."""
    n: int | None = None
    """Items the loader gives (of the first part)."""
    home: Path = field(default=ROOMS, repr=False)
    """Folder of the room."""

    @property
    def place(self) -> str:
        """Where it is: `hub:ID`, `package:NAME`, `written`, or `yours`, for a file that the user brings."""
        if self.hub:
            return f"hub:{self.hub}"
        return f"package:{self.package}" if self.package else "written" if self.file else "yours"

    @property
    def adapter(self) -> Callable[..., Any]:
        """The function that turns a record into an item."""
        return _function(self.item)

    def part(self, wanted: str | None) -> str:
        """The part of this name, or the first.

        Raises:
            InputError: There is no such part.
        """
        if (part := wanted or self.parts[0]) not in self.parts:
            raise unknown("subset", part, [each or "None" for each in self.parts], f" of {self.name!r}")
        return part

    def read(self, part: str = "", commit: str | None = None) -> tuple[Iterable[Record], str]:
        """The records, joined where the source has several of one item, and what pins them.

        Args:
            part: One of `parts`.
            commit: Another commit of the hub than the pinned one.

        Raises:
            InputError: The package is not fetched or was changed, no commit is known, or the hub gives no data set.
        """
        if self.hub:
            records, digest = self._of_hub(part, commit or self.commit)
        elif commit:
            raise InputError(f"{self.name!r} is not read from the hub ({self.place}); leave the commit out.")
        elif self.package:
            records, digest = self._of_package(part)
        elif self.file:
            path = self.home / "written" / self.file
            records, digest = read_rows(path), f"sha256:{sha256_of(path)}"
        else:
            raise InputError(f"{self.name!r} is not on the hub; bring your own file: {self.name}=PATH.")
        return (_function(self.group)(records) if self.group else records), digest

    def _of_package(self, part: str) -> tuple[Iterable[Record], str]:
        package = packages()[self.package]
        folder = require(package, f"The source {self.name!r}")
        name = package.root + self.file.format(part=part)
        digest = json.loads((folder / SOURCE).read_text("utf-8"))["files"][name]["sha256"]
        read = _function(self.reader) if self.reader else read_records
        return read(folder / name), f"{package}, sha256:{digest}"

    def _of_hub(self, part: str, commit: str) -> tuple[Iterable[Record], str]:
        if not commit:
            raise InputError(f"No commit of {self.hub} was checked; name one: {self.name}@<its full commit>.")
        try:
            if self.file:
                from huggingface_hub import hf_hub_download

                path = Path(hf_hub_download(self.hub, self.file, repo_type="dataset", revision=commit))
                records: Iterable[Record] = read_rows(path, header=self.columns)
            else:
                from datasets import load_dataset

                name = self.config.format(part=part) or None
                records = load_dataset(self.hub, name, split=self.split.format(part=part), revision=commit)
        except Exception as error:  # the hub's client raises many kinds, its HTTP library's among them
            raise InputError(self._why(commit, error)) from error
        return records, f"{self.hub}@{commit}"

    def _why(self, commit: str, error: Exception) -> str:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        way_out = "check the network and the commit, or take a packaged source (`datasets.names()`)"
        if "gated" in str(error).lower():
            way_out = "accept its terms on the hub, then log in with `hf auth login`"
        return f"{self.name!r} could not be read from the hub ({self.hub}@{commit[:12]}: {first}); {way_out}."


@dataclass(frozen=True, slots=True)
class Reference:
    """What a user's text names, taken apart; nothing is fetched or opened."""

    source: Source | None
    """The registered source; None for a file or folder alone."""
    path: Path | None = None
    """The user's file or folder."""
    part: str = ""
    """What follows the colon."""
    commit: str = ""
    """What follows the @."""


def parse(text: str, kind: Kind) -> Reference:
    """Take the name of a source apart: `[hub:]name[:part][@commit]`, `name=path`, or `path[:part]`.

    Raises:
        InputError: No source of this kind has that name, and it is no path of a file of this kind.
    """
    name, equals, path = text.partition("=")
    if equals and (source := _named(name, kind)):
        return Reference(source, Path(path).expanduser())
    if Path(text).suffix.lower() in SUFFIXES[kind]:
        return Reference(None, Path(text).expanduser())
    bare = text.removeprefix("hub:")
    base, _, commit = bare.partition("@")
    name, _, part = base.partition(":")
    if source := _named(text[: len(text) - len(bare)] + name, kind):
        return Reference(source, None, part, commit)
    place, colon, part = text.rpartition(":")
    if kind in FOLDERS and colon and place and part:
        return Reference(None, Path(place).expanduser(), part)
    paths = f"the path of a file ({', '.join(SUFFIXES[kind])})" if SUFFIXES[kind] else ""
    forms = [paths or ("FOLDER:PART" if kind in FOLDERS else "NAME=PATH")]
    known = [_shown(each) for each in registry() if each.kind == kind]
    raise unknown(f"source of {kind}", text.partition("=")[0], [*known, *forms])


def find(name: str, kind: Kind) -> Source:
    """The source of a name: a packaged or written one before one of the hub, unless the name begins with `hub:`.

    Raises:
        InputError: There is none.
    """
    if (reference := parse(name, kind)).source is None:
        raise InputError(f"{name!r} is a path, where the name of a source of {kind} is wanted.")
    return reference.source


def adapted(
    source: Source,
    make: Callable[[Record], Named],
    given: tuple[Iterable[Record], str],
    dropped: Counter[str],
    by: Sequence[str],
    seen: dict[str, str] | None = None,
) -> Iterator[tuple[Named, Record]]:
    """The items of a source, each under an id of its own, with its record.

    Args:
        source: The source.
        make: Turns a record into an item, or raises `Unusable`.
        given: Its records and what pins them.
        dropped: Counts the reasons for which records are left out.
        by: Tags by which results are grouped, the first that an item has counts; see `set_apart`.
        seen: What other parts of the source hold; see `set_apart`.

    Raises:
        InputError: A record lacks a field or has another shape than the adapter expects.
    """
    found, digest = given
    seen = {} if seen is None else seen
    for record in found:
        where = getattr(record, "where", f"A record of {source.name!r} ({digest})")
        try:
            made = make(record)
            item = set_apart(made, seen, by=next((tag for tag in by if made.tags.get(tag)), ""))
        except Unusable as reason:
            dropped[str(reason)] += 1
            continue
        except KeyError as name:
            if isinstance(record, Row):
                raise record.wrong(f"there is no column {name}, which {source.name!r} needs; add it.") from None
            raise InputError(f"{where} has no field {name}; take the pinned commit.") from None
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{where} has another shape than expected ({error}); take the pinned commit.") from None
        if item is None:
            dropped["the same again"] += 1
        else:
            yield item, record


def names(kind: Kind | None = None) -> pd.DataFrame:
    """What can be asked or trained on: one row a source.

    Returns:
        Columns `name` (as loaders take it), `kind`, `title`, `n` (items that are given, where known), `source`
        (`embedded`; `hub`: needs a network the first time; `yours`: bring the file), `parts` and `licence`.
    """
    import pandas as pd

    rows = [
        {
            "name": _shown(source),
            "kind": source.kind,
            "title": source.title,
            "n": source.n,
            "source": "hub" if source.hub else "yours" if source.place == "yours" else "embedded",
            "parts": ", ".join(source.parts),
            "licence": source.licence,
        }
        for source in registry()
        if kind in (None, source.kind)
    ]
    return pd.DataFrame(rows).astype({"n": "Int64"})


@cache
def registry() -> tuple[Source, ...]:
    """All sources, in the order of their files."""
    found = []
    for path in sorted(ROOMS.glob("*/sources.yaml"), key=lambda path: (path.parent.name != "datasets", path)):
        for entry in user_settings(user_text(path), path.name)["sources"]:
            lists = {f.name: tuple(entry[f.name]) for f in fields(Source) if isinstance(entry.get(f.name), list)}
            found.append(Source(**{**entry, **lists, "home": path.parent}))
    return tuple(found)


@cache
def packages() -> dict[str, Packaged]:
    """Packages whose files are sources, by name: what `workbench fetch` brings."""
    path = ROOMS / "datasets/sources.yaml"
    listed = user_settings(user_text(path), path.name)["packages"]
    return {name: Packaged.of(name, **settings) for name, settings in listed.items()}


@dataclass(frozen=True, slots=True)
class Packaged(Package):
    """A package with the folder in which its data lie."""

    root: str = ""
    """Beginning of every path in it that is read."""

    @classmethod
    def of(cls, name: str, members: list[str], root: str, **settings: Any) -> Packaged:
        """A package from its entry."""
        return cls(name=name, members=tuple(root + member for member in members), root=root, **settings)


def read_records(path: Path) -> list[Record]:
    """The records of a task file (`examples`) or of JSON lines, among which comment lines may stand."""
    if path.suffix == ".json" and not path.read_text("utf-8").startswith("#"):
        examples: list[Record] = json.loads(path.read_text("utf-8"))["examples"]
        return examples
    lines = path.read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip() and not line.startswith("#")]


def _named(name: str, kind: Kind) -> Source | None:
    bare = name.removeprefix("hub:")
    found = [each for each in registry() if (each.name, each.kind) == (bare, kind) and (each.hub or bare == name)]
    return min(found, key=lambda source: bool(source.hub), default=None)


def _shown(source: Source) -> str:
    """The name as it is listed: with `hub:` where it is a benchmark's that the network brings."""
    return f"hub:{source.name}" if source.kind == "questions" and source.hub else source.name


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"workbench.{module}"), function)
    return found
