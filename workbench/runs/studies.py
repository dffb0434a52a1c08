"""Study files, the matrix of their parameters, and the plan of checked runs, each with its key."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import InputError, shown, unknown
from workbench.files import CHECKOUT, root, sha256_of_text, user_path
from workbench.reading import read_yaml
from workbench.runs import inputs
from workbench.runs.parameters import Parameter, check, open_notebook, read_parameters

if TYPE_CHECKING:
    from workbench.runs.record import Run

RESERVED = ("include", "exclude")
COMPARISONS = "comparisons"
"""The study under which comparisons of runs are kept."""
PACKAGE = Path(__file__).resolve().parents[1]
SLICES = ("cultural_alignment", "hallucination", "judges", "value_drift")
"""Subpackages that each belong to one study."""
NOT_COMPUTING = ("runs", "reports", "cli", "progress")
"""Modules that show results and do not change them."""
MOST_CELLS = 5_000
"""Most cells of a matrix, unless the study file sets `most_cells`."""
NOTEBOOK = re.compile(r'(?:[^\W_][^\x00-\x1f\x7f/\\:*?"<>|]{0,99}/)?[^\W_][^\x00-\x1f\x7f/\\:*?"<>|]{0,99}')
"""Name of a notebook, with or without its study."""
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
"""Names that are no files on Windows."""


@dataclass(frozen=True, slots=True)
class Study:
    """A file `studies/<name>.yaml`, or a user's study file."""

    name: str
    """The file's name without its ending."""
    notebooks: dict[str, Path]
    """Notebook as the file names it, `name` or `study/name` -> its file, in the order they run."""
    profiles: dict[str, dict[str, Any]]
    """Profile -> parameter -> value, for every notebook that declares it; under a notebook's name, for that one."""
    matrices: dict[str, Matrix]
    """Profile -> its own matrix, else the study's, else an empty one."""
    gpus: dict[str, float] = field(default_factory=dict)
    """Notebook -> GPUs that a cell of it needs, where the file states it."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One notebook with checked parameters, ready to execute."""

    study: str
    """The study the notebook belongs to."""
    notebook: str
    """Name of the notebook."""
    path: Path
    """The notebook's file."""
    profile: str
    """The study's parameter set."""
    parameters_given: dict[str, Any]
    """Values from the profile, the matrix and the user, injected into the notebook."""
    parameters_default: dict[str, Any]
    """Values the notebook sets itself and no one overrides."""
    key: str
    """Short hash of notebook, parameters, input files and code: equal keys are the same computation."""
    run_id: str
    """UTC time of planning and the key; sorts by time."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every file that is read because of a parameter, by its path from `folder`."""
    cell: dict[str, Any] = field(default_factory=dict)
    """Its cell of the matrix: axis -> value."""
    gpus: float = 0
    """GPUs it needs on a worker of a cluster."""

    @property
    def folder(self) -> Path:
        """The folder with `studies/` and `notebooks/`, its working directory."""
        folders = self.path.parents
        return folders[2] if len(folders) > 2 and (folders[2] / "studies").is_dir() else root()

    @property
    def name(self) -> str:
        """`<study>/<notebook>`."""
        return f"{self.study}/{self.notebook}"

    @property
    def values(self) -> dict[str, Any]:
        """All parameters with their values."""
        return self.parameters_default | self.parameters_given


@dataclass(frozen=True, slots=True)
class Matrix:
    """Axes of parameters; a matrix without axes has one empty cell."""

    axes: dict[str, list[Any]]
    """Parameter -> its values."""
    include: tuple[dict[str, Any], ...] = ()
    """Additional cells."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Partial cells; every cell that agrees with one of them is left out."""
    most: int = MOST_CELLS
    """Most cells it may have."""

    @property
    def names(self) -> list[str]:
        """Every parameter in the matrix."""
        parts = [self.axes, *self.include, *self.exclude]
        return list(dict.fromkeys(name for part in parts for name in part))

    def cells(self, fixed: set[str]) -> list[dict[str, Any]]:
        """Return its cells, those of one model together, without the parameters in `fixed`, which the user set.

        Raises:
            InputError: If there are more than `most`, counted before they are made.
        """

        def comparable(cell: dict[str, Any]) -> frozenset[tuple[str, str]]:
            return frozenset((name, repr(value)) for name, value in cell.items())  # 0 is not False

        if (count := math.prod(map(len, self.axes.values())) + len(self.include)) > self.most:
            raise InputError(
                f"The matrix has {shown(count)} cells, more than {self.most:,}; take values out of "
                f"{', '.join(self.axes)}, or write most_cells: {shown(count)} into the study file to run all of them."
            )
        names = sorted(self.axes, key=lambda name: name != "model")
        full = (dict(zip(names, values)) for values in product(*(self.axes[name] for name in names)))
        excluded = {comparable(part) for part in self.exclude}
        shapes = {frozenset(part) for part in self.exclude}

        def kept(cell: dict[str, Any]) -> bool:
            parts = ({name: cell[name] for name in shape} for shape in shapes if shape <= cell.keys())
            return excluded.isdisjoint(map(comparable, parts))

        cells = [cell for cell in full if kept(cell)] if self.axes or not self.include else []
        free = [{name: value for name, value in cell.items() if name not in fixed} for cell in [*cells, *self.include]]
        return list({comparable(cell): cell for cell in free}.values())


def study_names() -> list[str]:
    """Return the names of the project's studies."""
    return sorted(path.stem for path in (root() / "studies").glob("*.yaml"))


def load_study(name: str) -> Study:
    """Return a study by its name, or by its file, which can lie anywhere and combine notebooks of several studies.

    A notebook's file is a study of this notebook alone, named after its folder.

    Raises:
        InputError: If there is no such study, or its file is malformed.
    """
    if name.endswith(".ipynb"):
        path = _own_notebook(name, Path())
        return Study(path.parent.name, {path.stem: path}, {"default": {}}, {"default": Matrix({})})
    if name not in study_names() and not name.endswith((".yaml", ".yml")):
        raise unknown("study", name, [*study_names(), "all", "a .yaml or .ipynb file of your own"])
    path = Path(name) if name not in study_names() else root() / "studies" / f"{name}.yaml"
    content = _study_file(path)
    notebooks: list[str] = content["notebooks"]
    profiles = {str(profile): dict(values or {}) for profile, values in content["profiles"].items()}
    gpus = content.get("gpus", 0)
    needs = gpus if isinstance(gpus, dict) else dict.fromkeys(notebooks, gpus)
    if set(needs) - set(notebooks) or not all(type(n) in (int, float) and 0 <= n < 1e9 for n in needs.values()):
        raise InputError(f"{path}: 'gpus' must be a number, or a mapping of notebooks to numbers.")
    most = content.get("most_cells", MOST_CELLS)
    if type(most) is not int or most < 1:
        raise InputError(f"{path}: 'most_cells' must be a whole number above 0, not {shown(most)}.")
    home = root() / "notebooks"
    files = {
        n: _own_notebook(n, path.parent)
        if n.endswith(".ipynb")
        else home / (f"{n}.ipynb" if "/" in n else f"{path.stem}/{n}.ipynb")
        for n in notebooks
    }
    shared = read_matrix(content.get("matrix", {}), path, most)
    own = {profile: values.pop("matrix", None) for profile, values in profiles.items()}
    matrices = {profile: read_matrix(m, path, most) if m is not None else shared for profile, m in own.items()}
    return Study(path.stem, files, profiles, matrices, needs)


def _own_notebook(name: str, here: Path) -> Path:
    """The file of a notebook anywhere, whose runs are named after its folder and itself."""
    path = user_path(name, here).absolute()
    if not path.is_file():
        raise InputError(f"There is no notebook {shown(name)}, in {str(here.absolute())!r} or the checkout; check it.")
    _check_name(f"{path.parent.name}/{path.stem}", str(path))
    if path.parent.name in study_names() and path.parent != root() / "notebooks" / path.parent.name:
        raise InputError(
            f"Runs of {path} would be mixed with those of the study {path.parent.name}; rename its folder."
        )
    return path


def _check_name(name: str, where: str) -> None:
    """Refuse a name under which no run can be kept on every system."""
    if not NOTEBOOK.fullmatch(name) or any(map(DEVICES.match, name.split("/"))):
        raise InputError(
            f"{where}: {shown(name)} cannot name a notebook; write NAME or STUDY/NAME, each of at most 100 "
            'characters other than \\ : * ? " < > |, the first a letter or digit.'
        )


def _study_file(path: Path) -> dict[str, Any]:
    """The content of a study file, its shape checked."""
    if not os.path.exists(path):
        raise InputError(f"There is no study file {path}; check the path, or name one of {', '.join(study_names())}.")
    content = read_yaml(path, typed=True)
    if not isinstance(content, dict) or set(content) - {"matrix", "gpus", "most_cells"} != {"notebooks", "profiles"}:
        raise InputError(
            f"{path} must be a mapping of 'notebooks' and 'profiles', optionally 'matrix', 'gpus' and 'most_cells', "
            "and of nothing else."
        )
    notebooks, profiles = content["notebooks"], content["profiles"]
    if not isinstance(notebooks, list) or not notebooks or not all(isinstance(n, str) for n in notebooks):
        raise InputError(f"{path} needs 'notebooks', a list of notebook names.")
    for name in notebooks:
        if not name.endswith(".ipynb"):
            _check_name(name, str(path))
    if not isinstance(profiles, dict) or not all(isinstance(p, dict | None) for p in profiles.values()):
        raise InputError(f"{path} needs 'profiles', each a mapping of parameters to values.")
    if wrong := [n for n in notebooks for p in profiles.values() if not isinstance((p or {}).get(n, {}), dict)]:
        raise InputError(f"{path}: notebook {wrong[0]!r} of a profile must be a mapping of parameters to values.")
    return content


def read_matrix(content: Any, path: Path, most: int = MOST_CELLS) -> Matrix:
    """Return a matrix from the content of a study file.

    Raises:
        InputError: If it is not a mapping of parameters to lists of values, with `include` and `exclude` lists of
            mappings.
    """
    if not isinstance(content, dict):
        raise InputError(f"{path}: 'matrix' must be a mapping of parameters to lists of values.")
    for name, values in content.items():
        if not isinstance(values, list) or not values:
            what, entry = ("cells", "{parameter: value}") if name in RESERVED else ("values", "value")
            raise InputError(f"{path}: {name!r} of the matrix must be a list of {what}; write {name}: [{entry}, ...].")
        if name in RESERVED and not all(isinstance(cell, dict) and cell for cell in values):
            raise InputError(f"{path}: {name!r} of the matrix must be a list of mappings of parameters to values.")
    axes = {str(name): values for name, values in content.items() if name not in RESERVED}
    return Matrix(axes, tuple(content.get("include", ())), tuple(content.get("exclude", ())), most)


def plan(
    study: str,
    profile: str = "default",
    given: Mapping[str, Any] | None = None,
    notebook: str | None = None,
    here: Path | None = None,
) -> list[PlannedRun]:
    """Return the runs of a study with every parameter checked; no kernel starts.

    Args:
        study: A study's name, `<study>/<notebook>`, a study file, a notebook's file, or `all`.
        profile: One of the study's parameter sets.
        given: Parameter -> value, overriding profile and matrix in every chosen notebook that declares it; text is
            read by the declared type, as on the command line.
        notebook: Only this notebook, named with or without its study.
        here: Folder that relative paths in `given` start from; None for the checkout.

    Returns:
        One run for every notebook and every distinct cell of its matrix, those of one model together; of `all`, the
        first notebook of each study before the others.

    Raises:
        InputError: For an unknown study, profile, notebook or parameter, or unfit values; names all of them.
    """
    parts = study.split("/")
    if len(parts) == 2 and parts[0] in study_names() and not parts[1].endswith((".ipynb", ".yaml", ".yml")):
        study, notebook = parts[0], notebook or parts[1]
    studies = [load_study(name) for name in (study_names() if study == "all" else [study])]
    chosen = [(s, name) for s in studies for name in s.notebooks if notebook in (None, name, name.rpartition("/")[2])]
    if not chosen:
        raise unknown("notebook", notebook, [name for s in studies for name in s.notebooks])
    declared = {s.name: {n: read_parameters(path) for n, path in s.notebooks.items()} for s in studies}
    known = sorted({p.name for s, name in chosen for p in declared[s.name][name]})
    wrong = [str(unknown("parameter", name, known)) for name in given or {} if name not in known]
    planned: dict[str, PlannedRun] = {}
    for s in studies:
        try:
            cells = _cells(s, profile, set(given or {}), declared[s.name])
        except InputError as error:
            wrong.append(str(error))
            continue
        for cell, name in [(cell, name) for cell in cells for t, name in chosen if t is s]:
            try:
                run = _planned(s, name, profile, cell, dict(given or {}), declared[s.name], here)
                planned.setdefault(run.key, run)
            except InputError as error:
                wrong.append(str(error))
    if wrong:
        raise InputError(" ".join(dict.fromkeys(wrong)))
    first = {next(iter(s.notebooks.values())) for s in studies}
    return sorted(planned.values(), key=lambda run: run.path not in first) if study == "all" else [*planned.values()]


def _cells(study: Study, profile: str, given: set[str], declared: dict[str, list[Parameter]]) -> list[dict[str, Any]]:
    """The cells of a profile's matrix; names in profile and matrix are checked."""
    if profile not in study.profiles:
        raise unknown("profile", profile, list(study.profiles), f" of study {study.name!r}")
    matrix = study.matrices[profile]
    known = sorted({p.name for parameters in declared.values() for p in parameters})
    for name in matrix.names:
        if name not in known:
            raise unknown("parameter", name, known, f" in the matrix of study {study.name!r}")
    for name in study.profiles[profile]:
        if name not in known and name not in study.notebooks:
            raise unknown("parameter", name, known, f" in profile {profile!r} of study {study.name!r}")
    if not (cells := matrix.cells(given)):
        raise InputError(f"The matrix of study {study.name!r} excludes all its cells; leave one.")
    return cells


def _planned(
    study: Study,
    notebook: str,
    profile: str,
    cell: dict[str, Any],
    given: dict[str, Any],
    declared: dict[str, list[Parameter]],
    here: Path | None,
) -> PlannedRun:
    """One notebook's run; the user's values override the cell's, these the profile's, these the defaults."""
    path, parameters = study.notebooks[notebook], declared[notebook]
    home, stem = path.parent.name, path.stem
    names = {p.name for p in parameters}

    def own(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name in names}

    shared = study.profiles[profile]
    values = own(shared) | (shared.get(notebook) or {}) | own(cell) | own(given)
    checked = check(parameters, values, f"notebook {home}/{stem}")
    if here is not None and here.resolve() != root().resolve():
        checked |= inputs.absolute(parameters, {name: checked[name] for name in own(given)}, here)
    default = {p.name: p.default for p in parameters if p.name not in checked}
    values = checked | default
    inputs.check_inputs(parameters, values, root())
    files = inputs.digests(parameters, values, root())
    key = key_of(path, f"{home}/{stem}", values, files | inputs.commits(parameters, values))
    gpus = study.gpus.get(notebook, 0)
    return PlannedRun(home, stem, path, profile, checked, default, key, run_id_of(key), files, own(cell), gpus)


def plan_comparison(runs: Sequence[Run], outputs: Path, given: Mapping[str, Any] | None = None) -> PlannedRun:
    """Return the run of `notebooks/comparison.ipynb` that compares these runs, kept under `comparisons`.

    Args:
        runs: Published runs of one notebook.
        outputs: The folder they are in.
        given: Other parameters of the notebook.

    Raises:
        InputError: For unknown parameters or unfit values.
    """
    own = root() / "notebooks" / "comparison.ipynb"
    path = own if own.is_file() else CHECKOUT / "notebooks" / "comparison.ipynb"
    parameters, here = read_parameters(path), outputs.resolve() == (root() / "outputs").resolve()
    names = [f"{run.name}/{run.run_id}" if here else str(run.folder) for run in runs]
    checked = check(parameters, {**(given or {}), "runs": names}, "notebook comparison")
    default = {p.name: p.default for p in parameters if p.name not in checked}
    files = inputs.digests(parameters, checked, root())
    name, profile = runs[0].notebook, runs[0].profile
    key = key_of(path, f"{COMPARISONS}/{name}", checked | default, files)
    return PlannedRun(COMPARISONS, name, path, profile, checked, default, key, run_id_of(key), files)


def run_id_of(key: str) -> str:
    """Return a run's id: the time now (UTC) and its key."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + f"Z-{key}"


def key_of(notebook: Path, name: str, values: dict[str, Any], read: dict[str, str]) -> str:
    """Return a short hash of all that decides a run's result, as far as this machine can know it.

    Args:
        notebook: Its file, of which only the code is executed.
        name: `<study>/<notebook>`.
        values: All its parameters.
        read: Inputs named by parameters: file -> SHA-256, hub model -> commit.
    """
    cells = _executed(notebook, sha256_of_text(notebook))
    text = "\n".join(cells)
    code = code_digest(frozenset(name for name in (*SLICES, "workbench.reports") if re.search(rf"\b{name}\b", text)))
    content = json.dumps([cells, name, values, read, code], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


@cache
def _executed(notebook: Path, digest: str) -> list[str]:
    """The sources of a notebook's code cells, whatever its outputs, ids, metadata and line ends are.

    `digest` is the file's, so that a changed file is read again.
    """
    cells = [cell.source for cell in open_notebook(notebook).cells if cell.cell_type == "code"]
    return [source for cell in cells if (source := cell.replace("\r\n", "\n").strip("\n").rstrip())]


@cache
def code_digest(slices: frozenset[str] = frozenset(SLICES)) -> str:
    """Return a SHA-256 over the source, texts and tables of the core and of these slices (or `workbench.reports`).

    No slice imports another and the core imports none, so a change in one study leaves the others' results valid.
    """
    ignored = {*NOT_COMPUTING, *SLICES} - {name.removeprefix("workbench.") for name in slices}
    digest = hashlib.sha256()
    for path in sorted(path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0].removesuffix(".py") not in ignored:
            digest.update(f"{relative.as_posix()}\0{sha256_of_text(path)}".encode())
    return digest.hexdigest()
