"""A research workbench that evaluates language models from their full answer distributions.

    import workbench as wb
    from workbench.hallucination import distributional_correctness as dc

    model = wb.load_model("smollm2-135m-instruct")
    questions = wb.load_questions("truthful_qa", n=100, abstain="I don't know.")
    answers = wb.ask(model, questions)
    p = wb.probabilities(answers)
    wb.summarise(dc.scores(p), ["dcs"])

Names are imported when first used, so `import workbench` is quick and needs no torch.
"""

import os
from importlib import import_module, metadata
from typing import Any

from workbench.kinds import CHOICES, NAMES

__version__ = "0.1.0"
DISTRIBUTION = "lm-workbench"
"""Name to install by; on the package index, `workbench` is another project."""

# Threads that wait for each other in a spin loop make no progress while another process occupies a core (5 times slower
# here); sleeping threads lose almost nothing. OpenMP reads this variable when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _refuse_other_distribution() -> None:
    """Refuse to import where another project's distribution `workbench` has installed its files over this package."""
    try:
        other = metadata.distribution("workbench")
    except metadata.PackageNotFoundError:
        return
    if any(str(file).startswith("workbench/") for file in other.files or ()):
        raise ImportError(
            f"This environment contains another distribution named workbench ({other.version}), whose files mix with "
            "those of lm-workbench; run `pip uninstall workbench` and install lm-workbench again."
        )


_refuse_other_distribution()

_HOMES = {
    "AnswerStore": "extraction",
    "Finding": "statistics",
    "InputError": "errors",
    "Message": "questions",
    "Model": "models",
    "Option": "questions",
    "Question": "questions",
    "Questions": "questions",
    "Run": "runs",
    "ask": "extraction",
    "averaged": "answers",
    "compare": "reports",
    "current_run": "runs",
    "findings_table": "statistics",
    "generate": "extraction",
    "hidden_states": "extraction",
    "levels": "answers",
    "load_benchmarks": "datasets",
    "load_model": "models",
    "load_questions": "datasets",
    "load_run": "runs",
    "outcomes": "answers",
    "paired": "statistics",
    "parameters_form": "runs",
    "probabilities": "answers",
    "score_texts": "extraction",
    "show": "browse",
    "summarise": "statistics",
    "wrap_model": "models",
} | dict.fromkeys([*NAMES, *CHOICES], "kinds")
_ROOMS = (
    "datasets",
    "extraction",
    "figures",
    "models",
    "planted",
    "reports",
    "runs",
    "statistics",
    "training",
    "hallucination",
    "judges",
    "cultural_alignment",
    "value_drift",
)

__all__ = sorted([*_HOMES, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"workbench.{name}")
    if name in _HOMES:
        return getattr(import_module(f"workbench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
