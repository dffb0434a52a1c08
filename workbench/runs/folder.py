"""Keep and show the tables, figures and facts of a notebook in the folder of its run."""

from __future__ import annotations

import html
import math
import os
import re
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import ValidationError

from workbench.called import called_in
from workbench.errors import InputError, unknown
from workbench.files import NOTES, RUN_FOLDER, note_down, sha256_of, written_whole
from workbench.reading import field, parse_json, printable, read_bytes
from workbench.runs import record
from workbench.runs.parameters import check_declared
from workbench.runs.record import FILE_NAME, Figure, Headline, Table
from workbench.tables import ShownTable, headed, with_index

if TYPE_CHECKING:
    import pandas as pd

    from workbench.runs.record import Run
    from workbench.statistics.findings import Finding

    Row = Mapping[str, Any] | pd.Series[Any]

Part = TypeVar("Part", Table, Figure, Headline, record.Finding)
ITEMS = "items"
"""Table of one row per question, with which runs of a notebook are compared."""
NO_ITEMS = "no_items"
"""Fact that states why a run has no such table."""
MAIN_METRIC = "main_metric"
"""Fact with the name of its first metric in words, and which values are better."""
FINDINGS = "what_holds"
"""Table of findings."""
LARGEST_SVG = 700_000
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d")
"""Names that Windows reserves for devices, with any ending."""
DEEPEST = 50
"""Most levels of nesting of a fact."""
LARGEST_BITS = 4096
"""Most bits of an integer among the facts."""
NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that no XML file can have, and the name of a model can."""
FORMULA = re.compile(r"(?![+-](\d+\.?\d*|\.\d+)(e[+-]?\d+)?\Z)[=+@\t\r＝＋－＠-]", re.IGNORECASE)
"""Text that a spreadsheet runs as a formula; a number with its sign is none."""


def current_run() -> CurrentRun:
    """Return the run that executes this notebook; in JupyterLab, a run that shows everything and keeps nothing.

    Raises:
        InputError: If a parameter of the notebook has a value that its annotation does not allow, such as a text in
            place of a list, which `workbench run` refuses and papermill does not.
    """
    if shell := getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)():
        check_declared(shell.user_ns)
    folder = os.environ.get(RUN_FOLDER)
    return CurrentRun(Path(folder) if folder else None)


@dataclass(frozen=True, slots=True)
class CurrentRun:
    """The run a notebook writes to while it is executed."""

    folder: Path | None
    """Its folder, or None outside a run."""

    def table(self, name: str, frame: pd.DataFrame | None, caption: str = "", columns: str = "") -> None:
        """Keep a table as `tables/<name>.parquet` and `.csv`, and show it as `ShownTable` does.

        Args:
            name: File name, unique in the run: lower-case letters, digits, `_` and `-`.
            frame: The table; a named index is kept as a column. A table without rows is not kept, and its
                `frame.attrs["reason"]` is shown instead; None neither keeps nor shows anything. Headers are the names
                of the columns in words, unless `frame.attrs["headers"]` has others; an empty one hides its column.
            caption: What it shows.
            columns: Column, such as `metric`, whose values become columns in the shown table; the kept one stays long.
        """
        if frame is not None:
            kept = keep_table(self.folder, name, frame, caption) if len(frame) else ShownTable(frame, caption)
            _show(replace(kept, columns=columns))

    def items(
        self,
        frame: pd.DataFrame,
        metrics: Sequence[str] | None = None,
        name: str | Sequence[str] = "question_id",
        main: str = "",
        better: Literal["", "higher", "lower"] = "",
    ) -> None:
        """Keep and show the table `items`, one row per question, with which `compare` pairs runs of this notebook.

        Args:
            frame: One or several rows per question; several are averaged. Its columns `benchmark`, `cluster` (of
                dependent questions) and `question` (the text) are kept if present.
            metrics: Numeric or boolean columns; None for every such column that is none of the others.
            name: Columns that together identify a question, beside `benchmark`.
            main: The first metric in words, for comparisons of runs; by default its column's name.
            better: Which values of the first metric are better; "" if neither.

        Raises:
            InputError: If a column is missing, or a metric is not numeric.
        """
        items = item_table(with_index(frame), None if metrics is None else list(metrics), name)
        if "question" in items:
            items = headed(items, {"question_id": "", "cluster": ""})
        self.note(**{MAIN_METRIC: {"name": main, "better": better}})
        self.table(ITEMS, items, "One row per question, for comparing runs")

    def no_items(self, why: str) -> None:
        """Note why runs of this notebook cannot be compared by question; `compare` reports it."""
        self.note(**{NO_ITEMS: why})

    def figure(self, name: str, figure: Any, alt: str = "", leading: bool = False) -> None:
        """Keep a figure as `figures/<name>.svg` and `.png`, show it, and close it.

        Args:
            name: File name, as for `table`.
            figure: A matplotlib figure, or an object with a `.figure`; None keeps nothing.
            alt: Alternative text; by default the figure's own, set by `figures.described`.
            leading: Whether the report begins with it; by default it begins with the first figure.
        """
        if figure is not None:
            figure = getattr(figure, "figure", figure)
            _show(keep_figure(self.folder, name, figure, alt or figure.get_label(), leading))

    def findings(self, claims: Iterable[Finding | None], caption: str = "Findings tested on this run") -> None:
        """Keep and show the table `what_holds`, one row per finding, and the findings in the run's record.

        Args:
            claims: The findings; None, an untestable claim, is skipped.
            caption: Caption of the table.
        """
        from workbench.statistics.findings import findings_table, no_rows

        tested = [replace(each, claim=called_in(each.claim)) for each in claims if each is not None]
        if not tested:
            return self.table(FINDINGS, no_rows("no claim could be tested on this run"), caption)
        noted = [_finding(claim) for claim in tested]
        shown = keep_table(self.folder, FINDINGS, findings_table(tested), caption)
        if self.folder is not None:
            for each in noted:
                note_down(self.folder, "finding", each.model_dump())
        _show(replace(shown, frame=readable(noted)))

    def note(self, **facts: Any) -> None:
        """Keep facts about the run: model, data, seeds, counts.

        Args:
            facts: Name -> numbers, text, lists or mappings of them, an object with a `facts()` method (a model) or
                with an `origin` (questions).
        """
        if self.folder is not None:
            note_down(self.folder, "facts", _plain(facts, "note"), gpu=_gpu())

    def refers(self, runs: Iterable[Run]) -> None:
        """Note the runs that this one was made from; `workbench clean` keeps them."""
        if self.folder is not None:
            note_down(self.folder, "refers_to", {"runs": [f"{run.name}/{run.run_id}" for run in runs]})

    def headline(self, text: str, row: Row | None, n: str = "n") -> None:
        """Keep and show the run's main number with its interval, for the report and the gallery.

        Args:
            text: Name of the quantity.
            row: `mean` and, if present, `low`, `high` and the count; None keeps nothing.
            n: Name of the count in `row`.
        """
        if row is not None:
            _show(keep_headline(self.folder, text, row, n))


def keep_table(folder: Path | None, name: str, frame: pd.DataFrame, caption: str) -> ShownTable:
    """Write a table to the run's folder, if there is one, and return it as it is shown."""
    parquet = _file(folder, "tables", name, ".parquet")
    table = _checked(Table, f"table {name!r}", name=name, caption=caption, rows=len(frame))
    if parquet:
        writers: dict[str, Callable[[Path], object]] = {
            ".parquet": lambda path: frame.to_parquet(path),
            ".csv": lambda path: _for_spreadsheets(with_index(frame)).to_csv(path, index=False),
        }
        _keep(parquet, table, writers)
    return ShownTable(frame, table.caption, f"tables/{name}.csv" if parquet else "")


def _for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text, names of columns included, that a spreadsheet would run."""
    import pandas as pd

    def guarded(value: Any) -> Any:
        return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value

    columns = {
        at: column if column.dtype.kind in "biufcmM" else pd.Series(list(map(guarded, column)), column.index, object)
        for at, (_, column) in enumerate(frame.items())
    }
    return pd.DataFrame(columns, frame.index).set_axis(frame.columns.map(guarded), axis=1)


def keep_figure(folder: Path | None, name: str, figure: Any, alt: str, leading: bool = False) -> ShownFigure:
    """Write a figure to the run's folder, if there is one, close it, and return it as it is shown."""
    from matplotlib import pyplot

    file = _file(folder, "figures", name, ".svg")
    kept = _checked(Figure, f"figure {name!r}", name=name, alt=alt, leading=leading)
    if not kept.alt.strip():
        raise InputError(f"Figure {name!r} has no alt text; describe in one sentence what it shows.")
    shown = draw(figure, alt)
    pyplot.close(figure)
    if file:
        writers = {
            ".svg": lambda path: path.write_text(shown.svg, encoding="utf-8"),
            ".png": lambda path: path.write_bytes(shown.png),
        }
        _keep(file, kept, writers)
    return shown


def keep_headline(folder: Path | None, text: str, row: Row, n: str = "n") -> Headline:
    """Note the main number in the run's folder, if there is one, and return it as it is shown."""
    numbers = {"value": row["mean"], "low": row.get("low"), "high": row.get("high"), "n": row.get(n)}
    headline = _checked(Headline, "headline", text=text, **numbers)
    headline = headline.model_copy(update={"text": called_in(headline.text)})
    if folder is not None:
        note_down(folder, "headline", headline.model_dump())
    return headline


def _finding(claim: Finding) -> record.Finding:
    """A finding as the record has it."""
    return _checked(record.Finding, "finding", **asdict(claim) | {"verdict": claim.verdict.partition(":")[0]})


def readable(findings: Iterable[record.Finding]) -> pd.DataFrame:
    """Return findings as a table of texts, one row each."""
    import pandas as pd

    rows = [
        {
            "claim": each.claim,
            "verdict": f"{each.verdict}: {each.reason}" if each.reason else each.verdict,
            "quantity": each.quantity,
            "estimate [interval]": " ".join(each.numbers).strip(),
            "compared with": each.against,
            "n (independent)": each.counted.replace(" independent", ""),
            "source": each.source,
        }
        for each in findings
    ]
    return pd.DataFrame(rows)


def _checked(part: type[Part], what: str, **content: Any) -> Part:
    """Return a part of the record, checked in the cell that states it."""
    try:
        return part.model_validate(_plain(content, what))
    except ValidationError as error:
        first = error.errors()[0]
        name, value = ".".join(map(str, first["loc"])), printable(repr(first["input"]), 80)
        raise InputError(f"Cannot keep the {what}: {name} is {value} ({first['msg'].lower()}).") from None


def _keep(file: Path, part: Table | Figure, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Write the files of a table or figure, all or none, and note them with their SHA-256."""
    kind, files = type(part).__name__.lower(), {}
    with ExitStack() as stack:
        partial = {ending: stack.enter_context(written_whole(file.with_suffix(ending))) for ending in writers}
        for ending, write in writers.items():
            try:
                write(partial[ending])
            except (OSError, MemoryError):
                raise
            except Exception as error:  # pandas and pyarrow raise errors of many kinds
                reason = printable(str(error) or type(error).__name__)
                raise InputError(f"Cannot keep {kind} {file.stem!r} as {ending[1:]}: {reason}.") from error
            files[f"{file.parent.name}/{file.stem}{ending}"] = sha256_of(partial[ending])
    note_down(file.parents[1], kind, part.model_dump() | {"files": files})


def _show(shown: Any) -> None:
    from IPython.display import display

    display(shown)  # type: ignore[no-untyped-call]


def _file(folder: Path | None, kind: str, name: str, ending: str) -> Path | None:
    """The file to write, or None outside a run."""
    if not re.fullmatch(FILE_NAME, name) or RESERVED.fullmatch(name):
        raise InputError(
            f"{name[:120]!r} cannot name a file in {kind} on every system; use at most 100 lower-case letters, digits, "
            "'_' and '-', and no name that Windows reserves."
        )
    if folder is None:
        return None
    path = folder / kind / f"{name}{ending}"
    if path.exists():
        raise InputError(f"This run already has {name!r} in its {kind}; use another name.")
    return path


def item_table(frame: pd.DataFrame, metrics: list[str] | None, name: str | Sequence[str]) -> pd.DataFrame:
    """Return the table that `CurrentRun.items` keeps."""
    names, about = [name] if isinstance(name, str) else list(name), ("cluster", "question")
    for column in [*names, *(metrics or [])]:
        if column not in frame:
            raise unknown("column", column, [str(each) for each in frame.columns])
    numeric = frame.select_dtypes(["number", "bool"]).columns
    metrics = metrics or [str(column) for column in numeric if column not in {"benchmark", *names, *about}]
    keys = ["benchmark"] if "benchmark" in frame else []
    if keys and frame["benchmark"].isna().any():
        raise InputError("A row of the items has no benchmark; fill the column, or drop it.")
    rows = frame.assign(question_id=frame[names].astype(str).agg(" · ".join, axis=1))
    try:
        rows = rows.astype(dict.fromkeys(metrics, float))
    except (TypeError, ValueError) as error:
        raise InputError(f"A metric of the items is not numeric: {error}.") from error
    how = {column: "first" for column in about if column in rows} | dict.fromkeys(metrics, "mean")
    return rows.groupby([*keys, "question_id"], sort=False).agg(how).reset_index()


def read_notes(folder: Path, run_id: str = "") -> dict[str, Any]:
    """Return what a notebook kept: `facts` with the counts of all calls of `ask`, `gpu`, `tables` and so on.

    `files` has the SHA-256 of each kept file by its path in the folder, and `damage` states what is wrong with the
    notes: lines that cannot be read are left out, and the first one must name the run `run_id`.
    """
    counts: dict[str, Any] = {}
    notes: dict[str, Any] = {"facts": {}, "gpu": None, "headline": None, "files": {}}
    notes |= {name: [] for name in ("tables", "figures", "findings", "refers_to")}
    begun, damage, numbers = "", list[str](), dict[int, list[int]]()
    try:
        lines = read_bytes(folder / NOTES).splitlines() if run_id or (folder / NOTES).exists() else []
    except InputError as error:
        lines, damage = [], [printable(str(error).replace(f"{folder}/", "")).rstrip(".")]
    for number, line in enumerate(lines, start=1):
        try:
            entry = parse_json(line.decode(), NOTES)
            content = field(entry, "content", dict, NOTES)
            numbers.setdefault(field(entry, "by", int, NOTES), []).append(field(entry, "number", int, NOTES))
            match field(entry, "kind", str, NOTES):
                case "begun":
                    begun = begun or field(content, "run_id", str, NOTES)
                case "facts":
                    notes["facts"] |= content
                    notes["gpu"] = field(entry, "gpu", (str, type(None)), NOTES) or notes["gpu"]
                case "ask":
                    counts = _added(counts, content)
                case "finding":
                    notes["findings"].append(record.Finding.model_validate(content).model_dump())
                case "refers_to":
                    notes["refers_to"] += field(content, "runs", list, NOTES)
                case "headline":
                    notes["headline"] = Headline.model_validate(content).model_dump()
                case "table" | "figure" as kind:
                    part: Table | Figure = (Table if kind == "table" else Figure).model_validate(content)
                    notes["files"] |= field(content, "files", dict, NOTES)
                    notes[f"{kind}s"].append(part.model_dump())
                case kind:
                    raise InputError(f"an unknown kind {kind!r}")
        except Exception as error:  # whatever a damaged line raises
            damage.append(f"line {number}: {printable(error)}")
    if run_id and begun != run_id and not damage:
        damage.append(f"{NOTES} does not begin with this run: it was removed or replaced, or its folder was")
    if any(sorted(each) != [*range(1, len(each) + 1)] for each in numbers.values()):
        damage.append("lines are missing, or there twice")
    there = (path for kind in ("tables", "figures") for path in sorted(folder.glob(f"{kind}/[!.]*")))
    names = (f"{path.parent.name}/{printable(path.name)}" for path in there)
    if run_id and (unknown_file := next((name for name in names if name not in notes["files"]), "")):
        damage.append(f"{unknown_file} is there, and no line names it")
    notes["damage"] = f"{damage[0]}{f' ({len(damage)} such lines)' if len(damage) > 1 else ''}" if damage else ""
    notes["facts"] |= _plain(counts, "ask")
    return notes


def _added(before: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    """Counts of several calls of `ask`: integers and a server's numbers are added, the rest is of the last call."""
    adds = {name for name, value in call.items() if isinstance(value, int) or name.startswith("server_")}
    return before | {name: value + before.get(name, 0) if name in adds else value for name, value in call.items()}


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    """The value in JSON's types; numbers that are not finite become None.

    Raises:
        InputError: If a record could not contain it.
    """
    if depth > DEEPEST:
        raise InputError(f"Cannot keep {name}: it contains itself, or is nested more than {DEEPEST} levels deep.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value.bit_length() > LARGEST_BITS:
            raise InputError(f"Cannot keep {name}: an integer of {value.bit_length()} bits; keep it as text.")
        return int(value)
    if isinstance(value, str):
        return _plain_text(value, name)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        kept: dict[str, Any] = {}
        for key, item in value.items():
            if (text := _plain_text(str(key), name)) in kept:
                raise InputError(f"Cannot keep {name}: two of its keys are {text!r} as text; rename one.")
            kept[text] = _plain(item, f"{name}: {text}" if depth < 5 else name, depth + 1)
        return kept
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, name, depth + 1) for item in value]
    if callable(facts := getattr(value, "facts", None)):
        return _plain(facts(), name, depth + 1)
    if hasattr(value, "origin") and hasattr(value, "dropped"):
        noted = {"noted": value.noted} if getattr(value, "noted", None) else {}
        return _plain({**asdict(value.origin), "n": len(value), "dropped": value.dropped} | noted, name, depth + 1)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({each.name: getattr(value, each.name) for each in fields(value)}, name, depth + 1)
    if hasattr(value, "tolist"):
        return _plain(value.tolist(), name, depth + 1)
    if isinstance(value, Path):
        return _plain_text(str(value), name)
    raise InputError(f"Cannot keep {name}: a {type(value).__name__}; use numbers, text, lists or mappings.")


def _plain_text(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"Cannot keep {name}: character {error.start} of its text is half a character (a lone surrogate); decode "
            "bytes with errors='replace'."
        ) from None
    return str(text)


def _gpu() -> str | None:
    """The accelerator's name, if this process has loaded torch and torch sees one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.backends.mps.is_available():
        return "Apple GPU"
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None


@dataclass(frozen=True, slots=True, repr=False)
class ShownFigure:
    """A figure as SVG, or as PNG if the SVG is too large for a page."""

    svg: str
    """The drawing, an `<svg>` element with its alternative text."""
    png: bytes
    """The same as pixels."""
    alt: str
    """Alternative text."""

    def __repr__(self) -> str:
        return f"<figure: {self.alt}>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """An image in HTML, which JupyterLab shows of untrusted notebooks too, and pixels for LaTeX and others."""
        pixels = {"image/png": b64encode(self.png).decode(), "text/plain": repr(self)}
        if len(self.svg) > LARGEST_SVG:
            return pixels, {"image/png": {"alt": self.alt}}
        source = f"data:image/svg+xml;base64,{b64encode(self.svg.encode()).decode()}"
        image = f'<img alt="{html.escape(self.alt)}" src="{source}">'
        return {"text/html": image} | pixels, {"image/png": {"alt": self.alt}}


def draw(figure: Any, alt: str) -> ShownFigure:
    """Draw a matplotlib figure; the same figure gives the same SVG, byte for byte, and a PNG of 256 colours."""
    import io

    import matplotlib
    from PIL import Image

    vector, pixels = io.StringIO(), io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "workbench"}):
        figure.savefig(vector, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    figure.savefig(pixels, format="png", bbox_inches="tight", dpi=144)
    few, pixels = Image.open(pixels).convert("RGB").quantize(256, dither=Image.Dither.NONE), io.BytesIO()
    few.save(pixels, "png", optimize=True)
    svg = vector.getvalue()
    opening = f'<svg role="img" aria-label="{html.escape(alt)}" '
    svg = NO_XML.sub("\ufffd", svg[svg.index("<svg") :].replace("<svg ", opening, 1))
    return ShownFigure(svg, pixels.getvalue(), alt)
