"""A comparison kept like a run: its own folder with record, tables, figure and report, shown in the gallery."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.reports.comparing import Comparison
from workbench.reports.gallery import write_gallery
from workbench.runs.execution import publish
from workbench.runs.folder import keep_figure, keep_headline, keep_table, read_notes
from workbench.runs.listing import COMPARISONS
from workbench.runs.place import NOTEBOOK, make_staging, place_of
from workbench.runs.record import EXPLAINED, Run, host, source_of

if TYPE_CHECKING:
    from workbench.runs.folder import ShownFigure, ShownTable

METHOD = (
    "Every difference is run minus baseline on the same questions. The interval is Student's *t* over questions, or "
    "over clusters where the notebook names them, at 95 %. *p* is the exact McNemar test for 0/1 metrics of "
    "independent questions, else a sign-flip permutation; `p_holm` is adjusted over all rows. "
    "Where interval and test part at the edge, as they can with few questions, believe the test."
)


def keep_comparison(comparison: Comparison, outputs: Path) -> Run:
    """Writes `outputs/comparisons/<notebook>/<run-id>/` with a report, and the gallery again.

    Raises:
        InputError: If `outputs` cannot be written.
    """
    started = datetime.now(UTC)
    runs = comparison.runs
    names = [f"{run.name}/{run.run_id}" for run in runs]
    key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]
    run_id = f"{started.strftime('%Y%m%dT%H%M%S.%f')[:-3]}Z-{key}"
    staging = make_staging(place_of(outputs, COMPARISONS, runs[0].notebook), run_id)
    _write_notebook(comparison, staging, names)
    made = Run(
        study=COMPARISONS,
        notebook=runs[0].notebook,
        profile=runs[0].profile,
        run_id=run_id,
        key=key,
        status="ok",
        exit_reason=EXPLAINED["ok"],
        parameters_given={"runs": list(comparison.labels)},
        parameters_default={},
        started=started,
        finished=(now := datetime.now(UTC)),
        seconds=(now - started).total_seconds(),
        source=source_of(staging / NOTEBOOK),
        host=host(),
        refers_to=names,
        **{name: value for name, value in read_notes(staging).items() if name != "gpu"},
    )
    published = publish(made, staging)
    write_gallery(outputs)
    return published


def _write_notebook(comparison: Comparison, staging: Path, names: list[str]) -> None:
    """The comparison as an executed notebook, from which the report is made as for any run."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    first = comparison.differences.iloc[0]
    label = f"{first['metric']}, {first['run']} minus {comparison.labels[0]}"
    keep_headline(staging, label, first.rename({"difference": "mean"}))
    call = f"import workbench as wb\n\ncomparison = wb.compare({', '.join(map(repr, names))})\ncomparison.changed"
    cells = [
        new_markdown_cell(f"# {_literal(comparison.name)}\n\n{METHOD}\n\n## What is compared"),
        new_code_cell(call, outputs=[_output(_changed(staging, comparison))]),
        new_markdown_cell("## Differences"),
        new_code_cell("comparison.differences", outputs=[_output(_differences(staging, comparison))]),
        new_markdown_cell("## Flipped questions"),
        new_code_cell(
            "comparison.flips",
            outputs=[_output(keep_table(staging, "flips", comparison.flips_shown, comparison.flipped))],
        ),
    ]
    if (figure := comparison.draw()) is not None:
        alt = f"Differences of each metric with their 95% intervals: {comparison.name}."
        drawn = _output(keep_figure(staging, "differences", figure, alt))
        cells.insert(4, new_code_cell("comparison.draw()", outputs=[drawn]))
    for cell in cells:
        cell.metadata["papermill"] = {"status": "completed"}
    nbformat.write(new_notebook(cells=cells), staging / NOTEBOOK)


def _changed(staging: Path, comparison: Comparison) -> ShownTable:
    caption = "The runs, the baseline first, and the parameters in which they differ"
    return keep_table(staging, "runs", comparison.changed, caption)


def _differences(staging: Path, comparison: Comparison) -> ShownTable:
    return keep_table(staging, "differences", comparison.differences_shown, "Run minus baseline, paired by question")


def _literal(text: str) -> str:
    """Text that markdown shows as it stands."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+-.!|~$" else c for c in text)


def _output(shown: ShownTable | ShownFigure) -> Any:
    from nbformat.v4 import new_output

    if hasattr(shown, "_repr_mimebundle_"):
        data, metadata = shown._repr_mimebundle_()
        return new_output("display_data", data=data, metadata=metadata)
    return new_output("display_data", data={"text/html": shown._repr_html_(), "text/plain": repr(shown)})
