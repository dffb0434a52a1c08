"""Plan, execute and record notebooks of a study; each run is a folder that is published whole."""

import sys

from workbench.runs.execution import execute as execute
from workbench.runs.folder import current_run as current_run
from workbench.runs.parameters import parameters_form as parameters_form
from workbench.runs.record import Run as Run
from workbench.runs.record import load_run as load_run
from workbench.runs.studies import PlannedRun as PlannedRun
from workbench.runs.studies import plan as plan

# nbformat imports jsonschema, which would build a grammar of IRIs for 2 s; no notebook has an IRI to check.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
