"""The record of one executed notebook, `run.json`, with the versions of code and machine."""

from __future__ import annotations

import hashlib
import html
import json
import os
import platform
import re
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench import digits
from workbench.errors import InputError, unknown
from workbench.files import sha256_of
from workbench.reading import parse_json, printable, read_bytes

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
FILE_NAME = "^[a-z0-9][a-z0-9_-]{0,99}$"
"""Pattern of the names of kept tables and figures."""
Status = Literal["ok", "failed", "died", "timed_out", "cancelled"]
EXPLAINED: dict[Status, str] = {
    "ok": "Every cell completed.",
    "failed": "A cell raised an error; the cells after it did not run.",
    "died": "The kernel died: killed, out of memory, or it crashed. The cells after that did not run.",
    "timed_out": "The time limit was reached; the cells after that did not run.",
    "cancelled": "Stopped by hand; the cells after that did not run.",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Failure(_Part):
    """Where and how a run ended early."""

    cell: int | None = None
    """Number of the code cell, as in `In [cell]`."""
    name: str
    """Name of the exception."""
    message: str
    """Its message, on one line."""
    traceback: str = ""
    """The end of the traceback, without colours."""


class Table(_Part):
    """A kept table, `tables/<name>.parquet` and `.csv`."""

    name: str = Field(pattern=FILE_NAME)
    """File name without its ending."""
    caption: str = ""
    """Its caption."""
    rows: int
    """Number of rows."""


class Figure(_Part):
    """A kept figure, `figures/<name>.svg` and `.png`."""

    name: str = Field(pattern=FILE_NAME)
    """File name without its ending."""
    alt: str
    """Alternative text."""
    leading: bool = False
    """Whether it leads the report."""


class Finding(_Part):
    """A claim tested on the run, as `workbench.statistics.Finding` has it; undefined numbers are None."""

    claim: str
    """The claim, in one sentence."""
    verdict: Literal["holds", "does not hold", "cannot tell"]
    """The verdict."""
    reason: str = ""
    """Why it is "cannot tell"."""
    quantity: str = ""
    """What was estimated."""
    estimate: float | None
    """The estimate."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end of its interval."""
    n: int
    """Number of items."""
    units: int
    """Number of independent units."""
    baseline: float | None = None
    """Value that the interval is compared with."""
    baseline_name: str = ""
    """What has this value."""
    expected: Literal["above", "below"] = "above"
    """Side of the baseline on which the claim places the estimate."""
    rule: str = ""
    """Condition under which the claim holds."""
    source: str = ""
    """Paper or page of the claim."""

    @property
    def numbers(self) -> tuple[str, str]:
        """The estimate and its interval as text."""
        return digits.interval(self.estimate, self.low, self.high, self.baseline)

    @property
    def counted(self) -> str:
        """The number of items, and of independent units if there are fewer: "168 (166 independent)"."""
        return f"{self.n:,}" + (f" ({self.units:,} independent)" if self.units < self.n else "")

    @property
    def against(self) -> str:
        """The baseline with its name: "0.5 (chance)"."""
        if self.baseline is None:
            return "–"
        return digits.plain(self.baseline) + (f" ({self.baseline_name})" if self.baseline_name else "")


class Headline(_Part):
    """The run's main number with its interval."""

    text: str
    """Name of the quantity."""
    value: float | None
    """The number; None where it is undefined."""
    low: float | None = None
    """Lower end of the interval."""
    high: float | None = None
    """Upper end of the interval."""
    n: int | None = None
    """Number of items."""

    def __str__(self) -> str:
        value, interval = digits.interval(self.value, self.low, self.high)
        interval = f" {interval}" if interval.startswith("[") else ""
        return f"{self.text}: {value}{interval}" + (f", n = {self.n:,}" if self.n is not None else "")

    def _repr_html_(self) -> str:
        return f"<p><strong>{html.escape(str(self))}</strong></p>"


class Source(_Part):
    """Versions of the notebook and of the code it ran with."""

    notebook_sha256: str
    """SHA-256 of the notebook's file."""
    workbench: str
    """Version of this package."""
    commit: str | None = None
    """Git commit of the checkout, if it is one."""
    branch: str | None = None
    """Git branch."""
    dirty: bool | None = None
    """Whether files differ from the commit; the differences are in `changes.patch` beside the record."""
    added: list[str] = []
    """At most 100 files that git does not track, from the top of the checkout."""
    left_out: list[str] = []
    """What `changes.patch` does not contain: outputs of notebooks, and the names of files with too many changes."""
    packages: dict[str, str] = {}
    """Versions of the packages that workbench depends on directly."""


class Host(_Part):
    """The machine."""

    name: str
    """Network name."""
    platform: str
    """Operating system and processor kind."""
    python: str
    """Version of Python."""
    cpus: int
    """Processors the run may use."""
    threads: int | None = None
    """Limit on threads, if `OMP_NUM_THREADS` sets one."""
    gpu: str | None = None
    """The accelerator the notebook used, if any."""
    driver: str | None = None
    """Version of the NVIDIA driver."""
    gflops: float | None = None
    """Speed of the processors: 10^9 float32 operations a second in a matrix product, on the threads of this process."""


class Cell(_Part):
    """One code cell of the notebook."""

    number: int
    """Its number, as in `In [number]`."""
    state: Literal["completed", "failed", "pending"]
    """How it ended; pending cells never ran."""
    seconds: float | None = None
    """How long it ran."""


class Counts(_Part):
    """Answers and tokens of all calls of `ask`; None if there was none."""

    computed: int | None = None
    """Answers computed in this run."""
    cached: int | None = None
    """Answers read from the answer store."""
    tokens: int | None = None
    """Tokens that went through the network."""


class Run(_Part):
    """One executed notebook: its parameters, how it ended, what it kept, and all that is needed to repeat it."""

    schema_version: int = SCHEMA_VERSION
    """Version of the record's layout."""
    study: str
    """Name of the study."""
    notebook: str
    """Name of the notebook."""
    profile: str
    """The study's parameter set."""
    run_id: str
    """Name of the run's folder."""
    key: str
    """Short hash of all that decides the result: notebook, parameters, input files and code."""
    status: Status
    """How it ended."""
    exit_reason: str = ""
    """How it ended, as a sentence."""
    failure: Failure | None = None
    """Where and how it ended early."""
    parameters_given: dict[str, Any]
    """Values injected into the notebook."""
    parameters_default: dict[str, Any]
    """Values the notebook set itself."""
    started: datetime
    """Start (UTC)."""
    finished: datetime
    """End (UTC)."""
    seconds: float
    """Time between start and end."""
    source: Source
    """Versions of notebook and code."""
    host: Host
    """The machine."""
    kernel: str = ""
    """The kernel and its version."""
    seeds: dict[str, int] = {}
    """Seeds among the parameters and the facts."""
    counts: Counts = Counts()
    """Answers computed and read from the store."""
    cells: list[Cell] = []
    """The code cells in order, with their times."""
    peak_memory: int | None = None
    """Peak main memory of the kernel in bytes, where the system reports it."""
    facts: dict[str, Any] = {}
    """Facts the notebook noted: model fingerprint, origins of the data, seeds, token counts ..."""
    tables: list[Table] = []
    """Kept tables, in order."""
    figures: list[Figure] = []
    """Kept figures, in order."""
    headline: Headline | None = None
    """The main number, if the notebook names one."""
    findings: list[Finding] = []
    """Claims tested on the run, in order."""
    title: str = ""
    """The notebook's title."""
    question: str = ""
    """The question below its title."""
    refers_to: list[str] = []
    """Runs this one was made from, as `<study>/<notebook>/<run-id>`; `workbench clean` keeps them."""
    files: dict[str, str] = {}
    """SHA-256 of the files beside the record, except the report."""
    folder: Path | None = Field(default=None, exclude=True)
    """The run's folder; not part of the record."""
    reused: bool = Field(default=False, exclude=True)
    """Whether it existed before it was requested; not part of the record."""

    @property
    def name(self) -> str:
        """`<study>/<notebook>`."""
        return f"{self.study}/{self.notebook}"

    @property
    def values(self) -> dict[str, Any]:
        """All parameters with their values."""
        return self.parameters_default | self.parameters_given

    @property
    def leading_figure(self) -> Figure | None:
        """The figure that leads the report: the one kept with `leading=True`, else the first."""
        return next((each for each in self.figures if each.leading), self.figures[0] if self.figures else None)

    def frame(self, name: str) -> pd.DataFrame:
        """Return a kept table.

        Raises:
            InputError: If the run kept no table of this name, or its file was changed since.
        """
        import pandas as pd

        if self.folder is None or name not in [t.name for t in self.tables]:
            raise unknown("table", name, [t.name for t in self.tables], f" of run {self.run_id}")
        file = self.folder / "tables" / f"{name}.parquet"
        expected = self.files.get(f"tables/{name}.parquet")
        if not file.exists() or (expected and sha256_of(file) != expected):
            raise InputError(f"{file} is not what the run wrote: changed or removed since; run it again.")
        try:
            return pd.read_parquet(file)
        except Exception as error:  # pyarrow's errors have no common base
            raise InputError(f"{file} cannot be read: {printable(error)}; run it again.") from error

    def sealed(self) -> str:
        """Return the text of `run.json`: the record with its digest, by which later edits are detected."""
        content = self.model_dump(mode="json")
        return json.dumps({**content, "digest": digest_of(content)}, indent=2, ensure_ascii=False) + "\n"

    def _repr_html_(self) -> str:
        lines = {
            "status": f"{self.status}. {self.failure.message if self.failure else ''}",
            "headline": self.headline,
            "started": f"{self.started:%Y-%m-%d %H:%M} UTC, {self.seconds:.0f} s",
            "given": ", ".join(f"{k}={v!r}" for k, v in self.parameters_given.items()),
            "tables": ", ".join(t.name for t in self.tables),
            "figures": ", ".join(f.name for f in self.figures),
            "folder": self.folder,
        }
        cell = "<td style='text-align: left'>"
        rows = "".join(f"<tr><th>{k}</th>{cell}{html.escape(str(v))}</td></tr>" for k, v in lines.items() if v)
        return f"<p><b>{html.escape(self.name)}</b> {html.escape(self.run_id)}</p><table>{rows}</table>"


def load_run(path: str | Path) -> Run:
    """Return the record of the run in a folder (or of its `run.json`).

    Raises:
        InputError: If there is no record, it is damaged or was edited, or a newer workbench wrote it.
    """
    folder = Path(path).parent if Path(path).name == "run.json" else Path(path)
    if not os.path.lexists(folder / "run.json"):
        raise InputError(f"{printable(folder)} is not the folder of a run: it has no run.json.")
    content = read_bytes(folder / "run.json")
    return read_run(content, str(folder)).model_copy(update={"folder": folder.resolve()})


def read_run(content: bytes, folder: str) -> Run:
    """Return the record in the bytes of a `run.json`; `folder` is named in errors.

    Raises:
        InputError: If it is damaged or was edited, or a newer workbench wrote it.
    """
    name = f"{printable(folder)}/run.json"
    try:
        record = parse_json(content.decode("utf-8"), "the record")
        version = record.get("schema_version") if isinstance(record, dict) else None
        if not isinstance(version, int) or version <= SCHEMA_VERSION:
            run = Run.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = printable(".".join(map(str, first["loc"])), 80) or "the file"
        raise InputError(f"{name} is damaged: {where}: {printable(first['msg'])}.") from None
    except ValueError as error:  # InputError and UnicodeDecodeError among them
        raise InputError(f"{name} is damaged: {printable(error)}") from None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InputError(f"{name} has layout {version}, and this workbench reads up to {SCHEMA_VERSION}; update it.")
    if not intact(record):
        raise InputError(f"{name} was edited after the run; restore it, or run the notebook again.")
    return run


def intact(content: dict[str, Any]) -> bool:
    """Whether a record's content matches its digest."""
    rest = dict(content)
    return rest.pop("digest", None) == digest_of(rest)


def digest_of(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's content, independent of order and spacing."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def kernel_version(runs: int) -> str:
    """Return the kernel and its version, and how many notebooks its process has run if it was not the first."""
    before = f", notebook {runs} of one process" if runs > 1 else ""
    return f"python3 (ipykernel {metadata.version('ipykernel')}){before}"


def host(gpu: str | None = None) -> Host:
    """Return this machine; `gpu` is the accelerator the notebook used."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return Host(
        name=platform.node(),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=int(threads) if threads.isdigit() else None,
        gpu=gpu,
        driver=_driver(),
        gflops=gflops(),
    )


@cache
def gflops() -> float:
    """Return the speed of a float32 matrix product here, in 10^9 operations a second: the best of five."""
    import numpy as np

    size = 1024
    matrix = np.ones((size, size), np.float32)
    seconds = []
    for _ in range(5):
        start = perf_counter()
        matrix @ matrix
        seconds.append(perf_counter() - start)
    return round(2 * size**3 / min(seconds) / 1e9, 1)


def _driver() -> str | None:
    """Version of the NVIDIA driver, if one is loaded."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    version = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return version[1] if version else None
