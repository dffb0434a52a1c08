"""Annotations for the `parameters` cell of a notebook.

    from typing import Optional

    from workbench import FilePath, ModelName, Style

    model: ModelName = "smollm2-135m-instruct"
    data: Optional[FilePath] = None
    style: Style = "cloze"

Plain papermill reads these too, but neither `X | None` nor `Literal[...]`. Names and files are `str` to Python:
`workbench.runs` checks them before a run starts, makes relative paths absolute, and hashes the files that a run depends
on. Use plain `str` for other text.
"""

from typing import Literal

ModelName = str
"""A model for `load_model`: a name, hub id, folder or GGUF file, optionally with #ADAPTER, or an address."""
QuestionSource = str
"""Questions for `load_questions`: the name of a benchmark, or a .csv or .jsonl file."""
CaseSource = str
"""Cases for `judges.sources.load_cases`: the name of a set, or a .csv, .jsonl or .json file."""
ChoiceSource = str
"""A benchmark for `cultural_alignment.benchmarks.load_choices`: name, name@COMMIT or name=PATH."""
OpinionSource = str
"""Opinions for `cultural_alignment.opinions.load_opinions`: a name, subpop:ATTRIBUTE or FOLDER:ATTRIBUTE."""
TrainingSource = str
"""Training rows for `value_drift.texts.training_rows`: the name of a set, a .jsonl file, or a stance."""
Template = str
"""A judge's template for `judges.prompts.load_template`: a name or a file."""
FileOrName = str
"""A user's file, or the name of a built-in set (`wbc24`, `written`, a task of tables)."""
RunName = str
"""A run for `compare`: its folder, STUDY/NOTEBOOK/RUN-ID, or STUDY/NOTEBOOK for the latest successful one."""
FilePath = str
"""A user's file, or a folder of which all files are read."""
AlgorithmName = str
"""A training algorithm for `training.algorithms.policy_algorithm`, optionally with settings."""

Style = Literal["cloze", "letters"]
"""How a multiple-choice question is put: option texts are scored, or the letters of listed options."""
Normalisation = Literal["none", "tokens", "chars", "bytes"]
"""How the log-probabilities of options are compared: as they are, or divided by their length."""
SurfaceForms = Literal["sum", "max"]
"""How the probabilities of several spellings of one answer are combined."""

NAMES = tuple(name for name, value in globals().copy().items() if value is str)
CHOICES = {"Style": Style, "Normalisation": Normalisation, "SurfaceForms": SurfaceForms}
