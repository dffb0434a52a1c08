"""Running notebooks: their parameters, the plan, the execution with an honest status, and the record it leaves."""

from workbench.runs.execution import execute
from workbench.runs.folder import CurrentRun, current_run
from workbench.runs.parameters import ParametersForm, parameters_form
from workbench.runs.record import Run, load_run
from workbench.runs.studies import PlannedRun, plan, study_names

__all__ = [
    "CurrentRun",
    "ParametersForm",
    "PlannedRun",
    "Run",
    "current_run",
    "execute",
    "load_run",
    "parameters_form",
    "plan",
    "study_names",
]
