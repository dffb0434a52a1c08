"""Compare runs of one notebook on the same items, paired by question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError
from workbench.runs.folder import ITEMS, NO_ITEMS
from workbench.runs.record import Run
from workbench.tables import ShownTable

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("benchmark", "question_id")
NO_METRICS = ("cluster", "chance", "uniform")
"""Columns that describe the item, not the model."""
TEXT = "question"
"""Column with the item's text, if the notebook keeps it."""
LONGEST_TEXT = 200


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Runs compared with the first of them, item by item."""

    runs: tuple[Run, ...]
    """The runs; the first is the baseline."""
    labels: tuple[str, ...]
    """Label of each run: its model, the parameters that differ, or its id."""
    differences: pd.DataFrame
    """One row per run and metric: `run`, `metric`, `baseline_mean`, `run_mean`, `difference` with `low`, `high` and
    `n`, `p` of the `test` named, and `p_holm`, adjusted over all rows."""
    flips: pd.DataFrame
    """One row per question whose 0/1 metric changed: `run`, the keys, `metric`, `baseline_value`, `run_value`, and the
    beginning of the `question`, if the notebook keeps it."""
    changed: pd.DataFrame
    """One row per run, one column per parameter in which the runs differ."""

    @property
    def name(self) -> str:
        """`<run> against <baseline>`."""
        return f"{', '.join(self.labels[1:])} against {self.labels[0]}"

    @property
    def differences_shown(self) -> pd.DataFrame:
        """`differences` for display: without the column `run` if there is only one beside the baseline."""
        return self.differences.drop(columns="run") if len(self.runs) == 2 else self.differences

    @property
    def flips_shown(self) -> pd.DataFrame:
        """`flips` for display: the question first and its id last."""
        names = [TEXT, *(["run"] if len(self.runs) > 2 else []), "benchmark", "metric", "baseline_value", "run_value"]
        return self.flips[[name for name in [*names, "question_id"] if name in self.flips]]

    @property
    def flipped(self) -> str:
        """Number of answers that changed, for each 0/1 metric."""
        counts = self.flips["metric"].value_counts(sort=False)
        parts = ", ".join(f"{metric} {count}" for metric, count in counts.items())
        return f"{len(self.flips)} answers flipped" + (f" ({parts})" if len(counts) > 1 else "")

    def draw(self) -> Any:
        """Draw the differences with their intervals; None if all are undefined."""
        from workbench import figures

        drawn = self.differences.dropna(subset=["difference", "low", "high"])
        if drawn.empty:
            return None
        return figures.intervals(
            drawn, "metric", "difference", by="run", baseline=0.0, baseline_name="no difference", xlabel="difference"
        )

    def __repr__(self) -> str:
        shown = self.differences_shown.to_string(index=False, na_rep="–", float_format="{:.3g}".format)
        return f"{self.name}: run minus baseline, paired by question\n{shown}\n{self.flipped}"

    def _repr_html_(self) -> str:
        differences = ShownTable(self.differences_shown, f"{self.name}: run minus baseline, paired by question")
        return differences._repr_html_() + ShownTable(self.flips_shown, self.flipped)._repr_html_()


def compare(baseline: Run | str | Path, *others: Run | str | Path, outputs: Path | None = None) -> Comparison:
    """Compare runs of one notebook with a baseline, on the same items.

    Differences are paired by question, with Student's t interval over items, or over clusters where the notebook
    names them. p is from McNemar's exact test for 0/1 metrics of independent items, else from a sign-flip permutation
    test, adjusted by Holm's method over all metrics and runs.

    Args:
        baseline: A run, its folder, or `<study>/<notebook>` for the latest successful one.
        others: The runs to compare with it.
        outputs: Folder of the runs given by name; None for the checkout's `outputs`.

    Raises:
        InputError: If there are fewer than two runs, a run did not succeed or is of another notebook, one kept no
            table `items`, or the items differ.
    """
    import pandas as pd

    from workbench.files import root
    from workbench.runs.listing import find_run
    from workbench.statistics import adjusted

    home = outputs or root() / "outputs"
    runs = [run if isinstance(run, Run) else find_run(run, home) for run in (baseline, *others)]
    _check(runs)
    labels = _labels(runs)
    first = _items(runs[0])
    tables, flips = [], []
    for run, label in zip(runs[1:], labels[1:]):
        items = _items(run)
        metrics = _metrics(first, items, runs[0], run)
        tables.append(_differences(items, first, metrics, label, (runs[0], run)))
        flips.append(_flips(items, first, metrics, label))
    differences = pd.concat(tables, ignore_index=True)
    differences["p_holm"] = adjusted(differences["p"])
    changed = _changed(runs, labels)
    return Comparison(tuple(runs), tuple(labels), differences, pd.concat(flips, ignore_index=True), changed)


def _check(runs: list[Run]) -> None:
    """Refuse runs that cannot be compared."""
    if len(runs) < 2:
        raise InputError("There is one run only; name at least two to compare.")
    if len({run.run_id for run in runs}) < len(runs):
        raise InputError("The same run is named twice; name different ones.")
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


def _metrics(a: pd.DataFrame, b: pd.DataFrame, first: Run, second: Run) -> list[str]:
    """The metrics in both tables."""
    numeric = [name for name in a.select_dtypes("number") if name not in (*KEYS, *NO_METRICS)]
    common = [str(name) for name in numeric if name in b]
    if not common or _keys(a) != _keys(b) or "question_id" not in a:
        raise InputError(f"Runs {first.run_id} and {second.run_id} have no metric of the same questions in common.")
    return common


def _differences(
    items: pd.DataFrame, first: pd.DataFrame, metrics: list[str], label: str, runs: tuple[Run, Run]
) -> pd.DataFrame:
    """Run minus baseline for each metric."""
    from workbench.statistics import paired

    _check_texts(items, first, runs)
    cluster = "cluster" if "cluster" in items and items["cluster"].duplicated().any() else None
    try:
        rows = paired(items, first, metrics, on=_keys(items), cluster=cluster)
    except InputError as error:
        raise InputError(f"Runs {runs[1].run_id} and {runs[0].run_id} cannot be compared: {error}") from error
    exact = rows["p_mcnemar"].notna()
    return rows.assign(
        run=label,
        p=rows["p_mcnemar"].where(exact, rows["p_permutation"]),
        test=exact.map({True: "exact McNemar", False: "paired permutation"}),
    ).rename(columns={"mean": "difference", "mean_a": "run_mean", "mean_b": "baseline_mean"})[
        ["run", "metric", "baseline_mean", "run_mean", "difference", "low", "high", "n", "p", "test"]
    ]


def _check_texts(items: pd.DataFrame, first: pd.DataFrame, runs: tuple[Run, Run]) -> None:
    """Refuse questions with the same id and different texts, as from another sample or an edited file."""
    if TEXT in items and TEXT in first:
        keys = _keys(items)
        both = first[[*keys, TEXT]].merge(items[[*keys, TEXT]], on=keys, suffixes=("", " of run"))
        other = both[both[TEXT] != both[f"{TEXT} of run"]]
        if len(other):
            item = tuple(other[keys].iloc[0])
            raise InputError(
                f"Runs {runs[1].run_id} and {runs[0].run_id} cannot be compared: {len(other)} questions have the same "
                f"id and different texts, {item} among them; compare runs on the same sample."
            )


def _flips(items: pd.DataFrame, first: pd.DataFrame, metrics: list[str], label: str) -> pd.DataFrame:
    """Questions on which a 0/1 metric changed."""
    import pandas as pd

    keys = _keys(items)
    both = first[[*keys, *metrics]].merge(items[[*keys, *metrics]], on=keys, suffixes=(" of baseline", " of run"))
    parts = [pd.DataFrame(columns=["run", *keys, "metric", "baseline_value", "run_value"])]
    for name in metrics:
        one, two = both[f"{name} of baseline"], both[f"{name} of run"]
        if one.dropna().isin([0, 1]).all() and two.dropna().isin([0, 1]).all():
            moved = both.loc[one.ne(two) & one.notna() & two.notna()]
            values = {"baseline_value": one[moved.index], "run_value": two[moved.index]}
            parts.append(moved[keys].assign(run=label, metric=name, **values))
    kept = [part for part in parts[1:] if len(part)] or parts[:1]
    flips = pd.concat(kept, ignore_index=True)[list(parts[0].columns)]
    if TEXT not in first:
        return flips
    texts = first[[*keys, TEXT]].assign(**{TEXT: [shorten(str(text), LONGEST_TEXT) for text in first[TEXT]]})
    return flips.merge(texts, on=keys, how="left")


def _differing(runs: list[Run]) -> list[str]:
    names = dict.fromkeys(name for run in runs for name in run.values)
    return [name for name in names if len({repr(run.values.get(name)) for run in runs}) > 1]


def _labels(runs: list[Run]) -> list[str]:
    """The label of each run: its model, else the parameters that differ, else its id."""
    for names in (["model"], _differing(runs)):
        labels = [", ".join(_label(name, run.values.get(name), names) for name in names) for run in runs]
        if len(set(labels)) == len(runs):
            return labels
    return [run.run_id for run in runs]


def _label(name: str, value: Any, names: list[str]) -> str:
    shown = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return shown if names == ["model"] else f"{name}={shown}"


def _changed(runs: list[Run], labels: list[str]) -> pd.DataFrame:
    """The parameters and commits that differ, one row per run."""
    import pandas as pd

    columns = {name: [str(run.values.get(name)) for run in runs] for name in _differing(runs)}
    commits = [(run.source.commit or "")[:12] for run in runs]
    if len(set(commits)) > 1:
        columns["commit"] = commits
    return pd.DataFrame(columns, index=pd.Index(labels, name="run")).assign(run_id=[run.run_id for run in runs])
