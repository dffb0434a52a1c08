from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from toys import write_notebook, write_study

from workbench.errors import InputError
from workbench.files import user_path
from workbench.runs import studies
from workbench.runs.studies import load_study, plan

PROFILES = {"default": {}, "quick": {"n": 1, "second": {"n": 2, "how": "b"}}}


@pytest.fixture(autouse=True)
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_study(tmp_path, {"first": ["print(n)"], "second": ["print(n)"]}, PROFILES)
    write_notebook(tmp_path / "notebooks/toy/third.ipynb", parameters="seed: int = 0")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "studies" / "toy.yaml"


def test_a_profile_sets_what_a_notebook_declares_and_the_user_overrides_it() -> None:
    first, second = plan("toy", "quick", {"name": "007"})
    assert first.parameters_given == {"n": 1, "name": "007"}
    assert first.parameters_default == {"how": "a", "data": None}
    assert second.parameters_given == {"n": 2, "how": "b", "name": "007"}
    assert plan("toy", "quick", {"n": "9"}, "second")[0].parameters_given["n"] == 9
    assert [p.name for p in plan("all")] == ["toy/first", "toy/second"]


def test_all_studies_begin_with_their_first_notebooks(study: Path) -> None:
    study.with_name("zoo.yaml").write_text("notebooks: [toy/third]\nprofiles: {default: }\n")
    assert [p.name for p in plan("all")] == ["toy/first", "toy/third", "toy/second"]


def test_a_given_value_goes_to_the_notebooks_that_declare_it(study: Path) -> None:
    study.write_text("notebooks: [first, third]\nprofiles: {default: }\n")
    first, third = plan("toy", given={"seed": "4"})
    assert (first.parameters_given, third.parameters_given) == ({}, {"seed": 4})
    with pytest.raises(InputError, match="Unknown parameter 'seed'"):
        plan("toy", given={"seed": "4"}, notebook="first")


def test_the_key_tells_computations_apart_and_the_id_sorts_by_time() -> None:
    one, again, other = (plan("toy", given={"n": n}, notebook="first")[0] for n in (1, 1, 2))
    assert [each.name for each in plan("toy/first")] == ["toy/first"]
    with pytest.raises(InputError, match="Unknown notebook 'frist'"):
        plan("toy/frist")
    assert one.key == again.key != other.key
    assert one.run_id.endswith(f"Z-{one.key}")
    assert one.run_id[:20] <= other.run_id[:20]
    write_notebook(one.path, "print(n + 1)")
    assert plan("toy", given={"n": 1}, notebook="first")[0].key != one.key


def test_a_notebook_anywhere_runs_by_its_path(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "thesis" / "my notebook.ipynb"
    mine.parent.mkdir()
    mine.write_bytes(Path("notebooks/toy/first.ipynb").read_bytes())
    (one,) = plan(str(mine), given={"n": 3})
    assert (one.name, one.values["n"], one.folder) == ("thesis/my notebook", 3, Path.cwd())
    (mine.parent / "own.yaml").write_text("notebooks: [my notebook.ipynb]\nprofiles: {default: {n: 3}}\n")
    assert [run.key for run in plan(str(mine.parent / "own.yaml"))] == [one.key]
    with pytest.raises(InputError, match=r"There is no notebook 'gone\.ipynb', in "):
        plan("gone.ipynb")
    (other := tmp_path / "thesis" / "toy" / "mine.ipynb").parent.mkdir()
    other.write_bytes(mine.read_bytes())
    with pytest.raises(InputError, match="would be mixed with those of the study toy; rename its folder"):
        plan(str(other))


def test_a_relative_path_is_looked_for_here_and_in_the_checkout(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "far.csv").write_text("")
    (here := tmp_path / "notebooks" / "toy").mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr("workbench.files.CHECKOUT", tmp_path)
    monkeypatch.chdir(here)
    (here / "near.csv").write_text("")
    assert user_path("near.csv") == Path("near.csv") and user_path("far.csv") == tmp_path / "far.csv"
    assert user_path("none.csv") == Path("none.csv")
    (here / "far.csv").write_text("another")
    with pytest.raises(InputError, match=r"is both in .* and in .*; write the one you mean in full"):
        user_path("far.csv")


def test_only_what_is_executed_decides_the_key() -> None:
    """Opening and saving a notebook in JupyterLab, pairing it, or editing its prose makes no run again."""
    one = plan("toy", given={"n": 1}, notebook="first")[0]
    notebook = nbformat.read(one.path, 4)
    for number, cell in enumerate(notebook.cells):
        cell |= {"id": f"saved-{number}", "metadata": cell.metadata | {"jupyter": {"source_hidden": True}}}
        cell.source = cell.source.replace("\n", "\r\n") + "\n"
        if cell.cell_type == "code":
            cell |= {"outputs": [nbformat.v4.new_output("stream", text="1")], "execution_count": 3}
    notebook.cells += [nbformat.v4.new_markdown_cell("More prose."), nbformat.v4.new_code_cell("")]
    notebook.metadata |= {"language_info": {"name": "python", "version": "3.13.1"}, "jupytext": {"formats": "ipynb,py"}}
    one.path.write_text(nbformat.writes(notebook))
    assert plan("toy", given={"n": 1}, notebook="first")[0].key == one.key
    notebook.cells.insert(2, nbformat.v4.new_code_cell("n += 1"))
    one.path.write_text(nbformat.writes(notebook))
    assert plan("toy", given={"n": 1}, notebook="first")[0].key != one.key


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("toi",), "Unknown study 'toi'. Did you mean 'toy'?"),
        (("toy", "quik"), "Unknown profile 'quik' of study 'toy'. Did you mean 'quick'?"),
        (("toy", "quick", {"nam": "x"}), "Unknown parameter 'nam'. Did you mean 'name'?"),
        (("toy", "quick", None, "frst"), "Unknown notebook 'frst'. Did you mean 'first'?"),
    ],
)
def test_unknown_names_come_with_the_nearest(call: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as caught:
        plan(*call)  # type: ignore[arg-type]
    assert str(caught.value).startswith(said)


def test_a_study_of_ones_own_takes_notebooks_of_others(study: Path, tmp_path: Path) -> None:
    """Its runs are the notebooks' own, so what they have computed is not computed again."""
    own = tmp_path / "elsewhere" / "mine.yaml"
    own.parent.mkdir()
    own.write_text(
        "notebooks: [toy/first, toy/third]\nprofiles: {default: {toy/first: {n: 1}}}\nmatrix: {seed: [0, 1]}\n"
    )
    planned = plan(str(own))
    assert [(p.name, p.cell) for p in planned] == [
        ("toy/first", {}),
        ("toy/third", {"seed": 0}),
        ("toy/third", {"seed": 1}),
    ]
    assert planned[0].key == plan("toy", given={"n": 1}, notebook="first")[0].key
    assert plan(str(own), notebook="toy/first")[0].key == plan(str(own), notebook="first")[0].key == planned[0].key
    assert load_study("studies/toy.yaml") == load_study("toy")
    with pytest.raises(
        InputError, match=r"There is no study file elsewhere/his.yaml; check the path, or name one of toy"
    ):
        plan("elsewhere/his.yaml")
    own.write_text("notebooks: [toi/first]\nprofiles: {default: }\n")
    with pytest.raises(InputError, match=r"There is no notebook .*toi/first.ipynb"):
        plan(str(own))


def test_every_violation_of_every_notebook_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        plan("toy", given={"n": "x", "how": "c", "nmae": "y"})
    for part in ("'nmae'", "toy/first: Parameter 'n'", "toy/second", "Parameter 'how'"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("notebooks: [first\nprofiles: {}\n", r"toy.yaml, line 2, is not well-formed YAML"),
        ("", "must be a mapping of 'notebooks' and 'profiles'"),
        ("notebooks: [first]\nprofiles: {}\nmatrices: {}\n", "and of nothing else"),
        ("notebooks: first\nprofiles: {}\n", "needs 'notebooks'"),
        ("notebooks: [first]\nprofiles: [a]\n", "needs 'profiles'"),
        ("notebooks: [first]\nprofiles: {default: {first: 3}}\n", "notebook 'first' of a profile must be a mapping"),
    ],
)
def test_a_malformed_study_is_one_sentence(study: Path, content: str, said: str) -> None:
    study.write_text(content)
    with pytest.raises(InputError, match=said):
        load_study("toy")


def test_a_profile_cannot_name_what_no_notebook_declares(study: Path) -> None:
    study.write_text("notebooks: [first]\nprofiles: {default: {nn: 3}}\n")
    with pytest.raises(InputError, match="Unknown parameter 'nn' in profile 'default' of study 'toy'"):
        plan("toy")


def test_a_change_in_one_study_is_no_other_computation_in_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path, {"own": ["from workbench.judges import agreement"], "core": ["# judges are not used"]})
    for name in ("answers.py", "judges/agreement.py", "value_drift/written/a.csv", "runs/staging.py", "cli.py"):
        (tmp_path / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "package" / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "PACKAGE", tmp_path / "package")

    def changed(file: str) -> set[str]:
        studies.code_digest.cache_clear()
        before = {one.notebook: one.key for one in plan("toy")}
        (tmp_path / "package" / file).write_text("changed")
        studies.code_digest.cache_clear()
        return {one.notebook for one in plan("toy") if before[one.notebook] != one.key}

    assert changed("judges/agreement.py") == {"own"}
    assert changed("value_drift/written/a.csv") == changed("runs/staging.py") == changed("cli.py") == set()
    assert changed("answers.py") == {"own", "core"}
    studies.code_digest.cache_clear()
