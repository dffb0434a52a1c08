"""A notebook, unchanged, on a model behind a server, by the command line."""

from __future__ import annotations

import pytest
import tiny
from fake_server import FakeServer

from workbench.models.server import KEY_VARIABLE
from workbench.runs.record import load_run

pytestmark = [pytest.mark.notebook, pytest.mark.model]
KEY = "wb-very-secret-1234567890"


def test_the_notebook_runs_on_a_served_model_and_keeps_no_key(call, tmp_path, monkeypatch, capsys):
    tiny.byte_tokenizer().save_pretrained(tmp_path / "tok")
    (tmp_path / "mine.csv").write_text(
        "question,correct,wrong\nWhich metal is liquid?,Mercury,Iron|Zinc\nHow many legs has a spider?,Eight,Six|Ten\n"
        "What is frozen water?,Ice,Steam|Sand\nWhat is 2 + 2?,4,5|6\n"
    )
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    monkeypatch.setenv("WORKBENCH_OUTPUTS", str(tmp_path / "out"))
    words = ["hallucination", "--notebook", "distributional_correctness", "--outputs", str(tmp_path / "out")]
    words += ["-p", "benchmarks=mine.csv", "-p", "n=none"]
    with FakeServer(tiny.network(context=1024), tiny.byte_tokenizer(), limit=1024) as fake:
        fake.key = KEY
        address = f"vllm://{fake.host}/tiny?tokenizer=./tok&timeout=60"
        assert call("run", *words, "-p", f"model={address}") == 0
        refused = call("run", *words, "-p", f"model=vllm://{KEY}@{fake.host}/tiny")
    (path,) = {path.resolve() for path in (tmp_path / "out").glob("*/*/*/run.json")}
    run = load_run(path)
    assert run.status == "ok", run.failure
    assert run.parameters_given["model"] == address.replace("./tok", str(tmp_path / "tok"))
    assert run.facts["model"]["contract"].startswith("passed on 8 items")
    assert run.facts["server_calls"] == len(fake.bodies) and run.facts["engine_step"] == "server"
    assert run.facts["server_prompt_tokens"] == sum(len(body["prompt"]) for body in fake.bodies)
    assert run.headline.n == 4
    assert refused == 2
    assert KEY not in capsys.readouterr().err
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert not [file for file in written if KEY.encode() in file.read_bytes()]
