"""How a notebook's parameter is read: annotations for its `parameters` cell.

    from workbench import FilePath, ModelName

    model: ModelName = "smollm2-135m-instruct"
    data: FilePath | None = None

Each is plain text to Python. `workbench.runs` knows from them which names to check before a run starts, which relative
paths to make absolute, and which files decide whether an earlier run still holds. Text that is none of these is `str`.
"""

ModelName = str
"""A model as `load_model` takes it: a name, hub id, folder, GGUF file, each perhaps with #ADAPTER, or an address."""
QuestionSource = str
"""Questions as `load_questions` takes them: a benchmark's name, or a .csv or .jsonl file."""
CaseSource = str
"""Cases as `judges.sources.load_cases` takes them: the name of a set, or a .csv, .jsonl or .json file."""
ChoiceSource = str
"""A benchmark as `cultural_alignment.benchmarks.load_choices` takes it: name, name@COMMIT or name=PATH."""
OpinionSource = str
"""Opinions as `cultural_alignment.opinions.load_opinions` takes them: a name, subpop:ATTRIBUTE or FOLDER:ATTRIBUTE."""
TrainingSource = str
"""Rows to train on as `value_drift.texts.training_rows` takes them: a set's name or a .jsonl file; or a stance."""
Template = str
"""A judge's template as `judges.prompts.load_template` takes it: a name, or a file."""
FileOrName = str
"""A user's file, or the name of what the project brings in its place (`wbc24`, `written`, a task of tables)."""
FilePath = str
"""A user's file, or a folder all of whose files are read."""
AlgorithmName = str
"""A training algorithm, perhaps with settings, as `training.algorithms.policy_algorithm` takes it."""

NAMES = tuple(name for name, value in globals().copy().items() if value is str)
"""All of them."""
