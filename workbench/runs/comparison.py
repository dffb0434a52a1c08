"""Keep a comparison like a run: a folder with record, tables, figure and report, shown in the gallery."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.reports.comparing import Comparison
from workbench.reports.gallery import write_gallery
from workbench.runs.checkout import source_of
from workbench.runs.execution import publish, record
from workbench.runs.folder import keep_figure, keep_headline, keep_table, read_notes
from workbench.runs.listing import COMPARISONS
from workbench.runs.record import Run
from workbench.runs.staging import NOTEBOOK, make_staging, notebook_folder
from workbench.runs.studies import PlannedRun, run_id_of

if TYPE_CHECKING:
    from workbench.runs.folder import ShownFigure
    from workbench.tables import ShownTable

METHOD = (
    "Each difference is run minus baseline on the same questions. Intervals are Student's *t* over questions, or over "
    "clusters where the notebook names them, at 95 %. *p* is from the exact McNemar test for 0/1 metrics of "
    "independent questions, else from a sign-flip permutation test; `p_holm` is adjusted over all rows. "
    "Interval and test can disagree near the threshold when there are few questions; the test is then more reliable."
)


def keep_comparison(comparison: Comparison, outputs: Path) -> Run:
    """Write `outputs/comparisons/<notebook>/<run-id>/` with a report, and the gallery.

    Raises:
        InputError: If `outputs` cannot be written.
    """
    started, first = datetime.now(UTC), comparison.runs[0]
    names = [f"{run.name}/{run.run_id}" for run in comparison.runs]
    key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    run_id = run_id_of(key)
    staging = make_staging(notebook_folder(outputs, COMPARISONS, first.notebook), run_id)
    given = {"runs": list(comparison.labels)}
    planned = PlannedRun(COMPARISONS, first.notebook, staging / NOTEBOOK, first.profile, given, {}, key, run_id)
    _write_notebook(comparison, staging, names)
    source, notes = source_of(planned.path), read_notes(staging)
    published = publish(record(planned, "ok", None, started, source, refers_to=names, **notes), staging)
    write_gallery(outputs)
    return published


def _write_notebook(comparison: Comparison, staging: Path, names: list[str]) -> None:
    """Write the comparison as an executed notebook, from which the report is made as for any run."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    def table(name: str, caption: str) -> list[Any]:
        return [_output(keep_table(staging, name, tables[name], caption))]

    tables = {"runs": comparison.changed, "differences": comparison.differences_shown, "flips": comparison.flips_shown}
    row = comparison.differences.iloc[0]
    label = f"{row['metric']}, {row['run']} minus {comparison.labels[0]}"
    keep_headline(staging, label, row.rename({"difference": "mean"}))
    call = f"import workbench as wb\n\ncomparison = wb.compare({', '.join(map(repr, names))})\ncomparison.changed"
    changed = table("runs", "The runs, baseline first, and the parameters in which they differ")
    differences = table("differences", "Run minus baseline, paired by question")
    cells = [
        new_markdown_cell(f"# {_literal(comparison.name)}\n\n{METHOD}\n\n## Compared runs"),
        new_code_cell(call, outputs=changed),
        new_markdown_cell("## Differences"),
        new_code_cell("comparison.differences", outputs=differences),
        new_markdown_cell("## Flipped questions"),
        new_code_cell("comparison.flips", outputs=table("flips", comparison.flipped)),
    ]
    if (figure := comparison.draw()) is not None:
        alt = f"Differences of each metric with their 95% intervals: {comparison.name}."
        drawn = _output(keep_figure(staging, "differences", figure, alt))
        cells.insert(4, new_code_cell("comparison.draw()", outputs=[drawn]))
    for cell in cells:
        cell.metadata["papermill"] = {"status": "completed"}
    nbformat.write(new_notebook(cells=cells), staging / NOTEBOOK)


def _literal(text: str) -> str:
    """Text with markdown's characters escaped."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+-.!|~$" else c for c in text)


def _output(shown: ShownTable | ShownFigure) -> Any:
    from nbformat.v4 import new_output

    if hasattr(shown, "_repr_mimebundle_"):
        data, metadata = shown._repr_mimebundle_()
        return new_output("display_data", data=data, metadata=metadata)
    return new_output("display_data", data={"text/html": shown._repr_html_(), "text/plain": repr(shown)})
