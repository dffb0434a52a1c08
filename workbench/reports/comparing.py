"""Compare runs of one notebook on the questions that all of them have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.errors import InputError, unknown
from workbench.files import titles
from workbench.runs.folder import ITEMS, MAIN_METRIC, NO_ITEMS
from workbench.runs.record import Run

if TYPE_CHECKING:
    import pandas as pd

Better = Literal["", "higher", "lower"]
KEYS = ("benchmark", "question_id")
NO_METRICS = ("cluster", "chance", "uniform")
"""Columns that describe the item, not the model."""
TEXT = "question"
"""Column with the item's text, if the notebook keeps it."""
LONGEST_TEXT = 200
LONGEST_LABEL = 40
MOST_RUNS = 30
"""Most runs in one comparison: above 31, Holm's method over all pairs of 9,999 sign patterns can reject nothing."""
EVERYTHING = "all questions"
"""Name of the only group where items have no benchmark."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Runs of one notebook on their common questions; `workbench.reports.standings` computes its tables."""

    runs: tuple[Run, ...]
    """The runs."""
    labels: tuple[str, ...]
    """Label of each run: its model, the parameters that differ, or its id."""
    metric: str
    """Column of the chosen metric."""
    quantity: str
    """The chosen metric in words."""
    better: Better
    """Which values of it are better; "" if neither."""
    items: pd.DataFrame
    """The common questions: `benchmark`, `question_id` and, where kept, `cluster` and `question`."""
    values: dict[str, pd.DataFrame]
    """Metric -> its values, `[questions, runs]`, a row for each row of `items`; undefined ones are NaN."""
    coverage: pd.DataFrame
    """One row per run: `run`, its `questions`, how many it `lacks` of those that another has, how many of its own are
    `left out`, where prompts differ how many are `other prompts` than in the first run, and the parameters and commits
    that differ."""

    @property
    def title(self) -> str:
        """The name of the notebook and the number of runs."""
        return f"{self.runs[0].name}: {len(self.runs)} runs"

    @property
    def left_out(self) -> int:
        """Number of questions that a run lacks."""
        return int((self.coverage["questions"] + self.coverage["lacks"]).max()) - len(self.items)

    @property
    def reduced(self) -> str:
        """How many questions the comparison uses, how many it leaves out, and how many have several prompts."""
        n, every = len(self.items), len(self.items) + self.left_out
        others = int(self.coverage["other prompts"].max()) if "other prompts" in self.coverage else 0
        worded = f" {others:,} of them have other prompts in other runs, so prompts are compared too." * bool(others)
        if n == every:
            return f"All {n:,} questions are in all {len(self.runs)} runs.{worded}"
        worst = self.coverage.iloc[int(self.coverage["lacks"].argmax())]
        return (
            f"{n:,} of {every:,} questions are in all {len(self.runs)} runs and are compared; {every - n:,} are left "
            f"out ({worst['run']} lacks most, {worst['lacks']:,}).{worded}"
        )

    def facts(self) -> dict[str, Any]:
        """Return what the record of a comparison notes of it: what was compared, and on which questions."""
        counts = self.items["benchmark"].value_counts(sort=False)
        sets = [{"name": str(name), "n": int(n)} for name, n in counts.items()]
        model = {"model": f"{len(self.runs)} runs of {self.runs[0].name}", "metric": self.quantity}
        return {"model": model, "questions": sets, "compared": self.reduced}

    @property
    def best(self) -> str:
        """The word for the run that leads: `best`, or `highest` where no direction is better."""
        return "best" if self.better else "highest"

    def __repr__(self) -> str:
        from workbench.reports import standings

        return f"{self.title}. {self.reduced}\n{self.quantity}\n{standings.wide(standings.matrix(self)).to_string()}"

    def _repr_html_(self) -> str:
        from workbench.reports import standings
        from workbench.tables import ShownTable

        shown = standings.wide(standings.matrix(self))
        return ShownTable(shown, standings.matrix_caption(self))._repr_html_()


def compare(
    *runs: Run | str | Path,
    metric: str = "",
    better: Better = "",
    least_common: float = 0.5,
    outputs: Path | None = None,
) -> Comparison:
    """Return a comparison of runs of one notebook, on the questions that all of them have.

    Args:
        runs: From 2 to 30 runs: records, their folders, `<study>/<notebook>/<run-id>`, or `<study>/<notebook>` for the
            latest successful one.
        metric: Column of the table `items` to compare; by default its first, the notebook's main metric.
        better: Which values of it are better; by default what the notebook states of its main metric.
        least_common: Least proportion of all questions that all runs must have.
        outputs: Folder of the runs given by name; None for the checkout's `outputs`.

    Raises:
        InputError: If a run is missing, failed, named twice, of another notebook or without a table `items`; if fewer
            questions than `least_common` are in all runs; or if one id stands for different texts.
    """
    from workbench.files import root
    from workbench.runs.listing import find_run

    home = outputs or root() / "outputs"
    records = [run if isinstance(run, Run) else find_run(run, home) for run in runs]
    _check(records)
    tables = [_items(run) for run in records]
    metrics = _metrics(tables, records)
    if metric and metric not in metrics:
        raise unknown("metric", metric, metrics)
    if better not in get_args(Better):
        raise unknown("direction", better, [each for each in get_args(Better) if each])
    stated = records[0].facts.get(MAIN_METRIC)
    main = stated if isinstance(stated, dict) and metric in ("", metrics[0]) else {}
    labels = _labels(records)
    items, values, coverage = _common(tables, metrics, labels, records, least_common)
    coverage = coverage.join(_changed(records))
    column = metric or metrics[0]
    if not len(values[column].dropna()):
        raise InputError(f"Metric {column!r} is undefined on every common question; name another with metric.")
    quantity, direction = str(main.get("name") or column), better or main.get("better") or ""
    return Comparison(tuple(records), tuple(labels), column, quantity, direction, items, values, coverage)


def chosen(
    runs: Sequence[str] = (),
    study: str = "",
    notebook: str = "",
    models: Sequence[str] = (),
    outputs: Path | None = None,
) -> list[Run]:
    """Return the runs that a user names, or those of a study's notebook.

    Args:
        runs: Runs as for `compare`; with none, the newest successful run of every set of parameters of `notebook`.
        study: The study, if no runs are named.
        notebook: Its notebook.
        models: Only runs with one of these models.
        outputs: Folder of all results; None for the checkout's `outputs`.

    Raises:
        InputError: If there is no such run, or neither runs nor a notebook are named.
    """
    import json

    from workbench.files import root
    from workbench.runs.listing import find_run, readable

    home = outputs or root() / "outputs"
    if runs:
        return [find_run(run, home) for run in runs]
    if not study or not notebook:
        raise InputError("Name the runs to compare, or a study and a notebook.")
    newest: dict[str, Run] = {}
    for run in readable(home / study / notebook):
        if run.status == "ok" and (not models or run.values.get("model") in models):
            newest.setdefault(json.dumps(run.values, sort_keys=True), run)
    if len(newest) < 2:
        of = f" of {', '.join(models)}" if models else ""
        raise InputError(
            f"There are {len(newest) or 'no'} successful runs of {study}/{notebook}{of} in {home}; run at least two."
        )
    return list(newest.values())[::-1]


def kept(comparison: Comparison, name: str) -> pd.DataFrame | None:
    """Return one kept table of all runs, the label of each as column `configuration`; None unless all kept it."""
    import pandas as pd

    if not all(name in [table.name for table in run.tables] for run in comparison.runs):
        return None
    frames = (run.frame(name).assign(configuration=label) for label, run in zip(comparison.labels, comparison.runs))
    return pd.concat(frames, ignore_index=True)


def _check(runs: list[Run]) -> None:
    """Refuse runs that cannot be compared."""
    if not 2 <= len(runs) <= MOST_RUNS:
        what = {0: "There is no run", 1: "There is one run only"}.get(len(runs), f"There are {len(runs)} runs")
        raise InputError(f"{what}; name at least two to compare, and at most {MOST_RUNS}.")
    if twice := [name for name, n in Counter(run.run_id for run in runs).items() if n > 1]:
        raise InputError(f"Run {twice[0]} is named twice; name different ones.")
    if len(names := {run.name for run in runs}) > 1:
        raise InputError(f"The runs are of different notebooks ({', '.join(sorted(names))}); compare runs of one.")
    for run in runs:
        if run.status != "ok":
            raise InputError(f"Run {run.run_id} did not succeed ({run.status}); compare runs that did.")
        if why := run.facts.get(NO_ITEMS):
            raise InputError(f"Runs of {run.name} cannot be compared question by question: {why}.")
        if ITEMS not in [table.name for table in run.tables]:
            raise InputError(
                f"Run {run.run_id} kept no table {ITEMS!r}, one row per question; call run.items in its notebook."
            )


def _items(run: Run) -> pd.DataFrame:
    items = run.frame(ITEMS)
    return items.astype({name: float for name in items.select_dtypes("bool")})


def _keys(items: pd.DataFrame) -> list[str]:
    return [name for name in KEYS if name in items]


def _metrics(tables: list[pd.DataFrame], runs: list[Run]) -> list[str]:
    """The metrics in all tables."""
    first = tables[0]
    numeric = [str(name) for name in first.select_dtypes("number") if name not in (*KEYS, *NO_METRICS)]
    for table, run in zip(tables, runs):
        numeric = [name for name in numeric if name in table and table[name].dtype.kind in "iuf"]
        if not numeric or _keys(first) != _keys(table) or "question_id" not in table:
            raise InputError(
                f"Runs {runs[0].run_id} and {run.run_id} have no metric of the same questions in common; compare runs "
                "with equal settings."
            )
    return numeric


def _common(
    tables: list[pd.DataFrame], metrics: list[str], labels: list[str], runs: list[Run], least: float
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], pd.DataFrame]:
    """The questions in all tables, the metrics on them, and how many each run has and lacks."""
    import pandas as pd

    keys = _keys(tables[0])
    for table, run in zip(tables, runs):
        if (repeated := table.duplicated(keys)).any():
            item = tuple(table.loc[repeated, keys].iloc[0])
            raise InputError(
                f"Run {run.run_id} has item {item} more than once; its table {ITEMS!r} needs distinct ids."
            )
    indexed = [table.set_index(keys) for table in tables]
    every, common = indexed[0].index, indexed[0].index
    for table in indexed[1:]:
        every, common = every.union(table.index, sort=False), common.intersection(table.index, sort=False)
    coverage = pd.DataFrame({
        "run": labels,
        "questions": [len(table) for table in tables],
        "lacks": [len(every) - len(table) for table in tables],
        "left out": [len(table) - len(common) for table in tables],
    })  # fmt: skip
    if len(common) < max(least * len(every), 1):
        worst = coverage.iloc[int(coverage["lacks"].argmax())]
        raise InputError(
            f"Only {len(common):,} of {len(every):,} questions are in all {len(runs)} runs, fewer than {least:.0%} "
            f"({worst['run']} lacks most, {worst['lacks']:,}); compare runs on the same sample, leave that run out, or "
            "lower least_common."
        )
    aligned = [table.loc[common] for table in indexed]
    if any(others := _other_texts(aligned, runs)):
        coverage["other prompts"] = others
    about = [name for name in ("cluster", TEXT) if name in aligned[0]]
    items = aligned[0][about].reset_index()
    if "benchmark" not in items:
        items.insert(0, "benchmark", EVERYTHING)
    columns = {
        name: pd.DataFrame({label: table[name].to_numpy(float) for label, table in zip(labels, aligned)})
        for name in metrics
    }
    return items, columns, coverage


def _other_texts(aligned: list[pd.DataFrame], runs: list[Run]) -> list[int]:
    """Return how many questions of each run have another text than in the first, as in another style of prompt.

    Raises:
        InputError: If they do and the runs did not read the same files, as from another sample or an edited file.
    """
    first, counts = aligned[0], [0]
    if any(TEXT not in table for table in aligned):
        return counts
    for table, run in zip(aligned[1:], runs[1:]):
        other = first[TEXT].to_numpy() != table[TEXT].to_numpy()
        if other.any() and not (_files_of(run) and _files_of(run) == _files_of(runs[0])):
            raise InputError(
                f"Runs {run.run_id} and {runs[0].run_id} cannot be compared: {other.sum()} questions have the same id "
                f"and different texts, {first.index[other][0]!r} among them; compare runs on the same sample."
            )
        counts.append(int(other.sum()))
    return counts


def _files_of(run: Run) -> set[tuple[str, str]]:
    """Name and revision of the data that a run read; empty if it states none, or one without a revision."""
    facts = [each for fact in run.facts.values() for each in (fact if isinstance(fact, list) else [fact])]
    stated = [each for each in facts if isinstance(each, dict) and {"name", "revision"} <= each.keys()]
    files = {(str(each["name"]), str(each["revision"] or "")) for each in stated}
    return set() if any(not revision for _, revision in files) else files


def flips(comparison: Comparison, one: str, two: str) -> pd.DataFrame:
    """Return the questions whose 0/1 metrics differ between two runs, with the beginning of their texts.

    Returns:
        One row per question and metric: `question` (if the notebook keeps it), `benchmark`, `metric`, the two values in
        columns named by the runs, `id`; the chosen metric first.
    """
    import pandas as pd

    from workbench.statistics.findings import no_rows

    parts, binary = [], False
    for name in sorted(comparison.values, key=lambda name: name != comparison.metric):
        pair = comparison.values[name][[one, two]].dropna()
        if pair.isin([0, 1]).all(axis=None):
            binary = True
            moved = pair[pair[one] != pair[two]].astype(int)
            parts.append(
                comparison.items.drop(columns="cluster", errors="ignore").join(moved, how="inner").assign(metric=name)
            )
    if not sum(map(len, parts)):
        return no_rows(
            f"{one} and {two} agree on every question" if binary else "no metric has the values 0 and 1 only"
        )
    table = pd.concat(parts, ignore_index=True)
    if TEXT in table:
        table[TEXT] = [shorten(str(text), LONGEST_TEXT) for text in table[TEXT]]
    if (table["benchmark"] == EVERYTHING).all():
        table = table.drop(columns="benchmark")
    table = table.rename(columns={"question_id": "id"})
    return table[[name for name in (TEXT, "benchmark", "metric", one, two, "id") if name in table]]


def flips_caption(comparison: Comparison, table: pd.DataFrame, one: str, two: str) -> str:
    """Return how many answers changed from run `one` to run `two`, and in which direction."""
    if table.empty:
        return f"Questions on which {one} and {two} differ"
    words = {comparison.metric: comparison.quantity}
    counts = []
    for name, part in table.groupby("metric", sort=False):
        gained, lost = int((part[two] > part[one]).sum()), int((part[two] < part[one]).sum())
        counts.append(f"{words.get(str(name), name)} {gained} gained, {lost} lost")
    return f"Questions that flip from {one} to {two}: {'; '.join(counts)}"


def _differing(runs: list[Run]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in run.values)
    return [name for name in names if len({repr(run.values.get(name)) for run in runs}) > 1]


def _labels(runs: list[Run]) -> list[str]:
    """The label of each run: its model, else the parameters that differ, else its id."""
    models = titles([str(run.values.get("model", "")) for run in runs])
    for names in (["model"], _differing(runs)):
        labels = [
            _cut(", ".join(model if name == "model" else _label(name, run.values.get(name)) for name in names))
            for model, run in zip(models, runs)
        ]
        if len(set(labels)) == len(runs) and all(labels):
            return labels
    return [run.run_id for run in runs]


def _label(name: str, value: Any) -> str:
    return f"{name}={'+'.join(map(str, value)) if isinstance(value, list) else value}"


def _cut(label: str) -> str:
    """A label of at most `LONGEST_LABEL` characters, its middle left out."""
    half = LONGEST_LABEL // 2
    return label if len(label) <= LONGEST_LABEL else f"{label[:half]}…{label[1 - half :]}"


def _changed(runs: list[Run]) -> pd.DataFrame:
    """The parameters and commits that differ, one row per run."""
    import pandas as pd

    columns = {name: [str(run.values.get(name)) for run in runs] for name in _differing(runs)}
    commits = [(run.source.commit or "")[:12] for run in runs]
    if len(set(commits)) > 1:
        columns["commit"] = commits
    taken = {"run", "questions", "lacks", "left out", "other prompts"}
    renamed = {f"parameter {name}" if name in taken else name: values for name, values in columns.items()}
    return pd.DataFrame(renamed, index=range(len(runs))).assign(run_id=[run.run_id for run in runs])
