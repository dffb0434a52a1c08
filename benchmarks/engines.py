"""`python -m benchmarks.engines`: the numbers of several engines on the same options, as differences of every pair.

Engines that are not installed are left out. llama.cpp and vLLM are served on loopback; llama.cpp's server lists few
options of several tokens, so it has fewer pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

import workbench as wb
from workbench.extraction.tokens import Encoder
from workbench.models import Model, packaged
from workbench.questions import Question

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "models")]
OUTPUTS = Path("outputs/benchmark")
TOP_K = 200
Reading = Callable[[Model, list[Question]], "pd.Series[float]"]


def main() -> None:
    """Read the options with every engine, print the differences, and write them to `outputs/benchmark/`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--model", default=packaged.EMBEDDED, choices=list(packaged.MODELS))
    parser.add_argument("--options", type=int, default=500, help="options to read, half of them letters")
    given = parser.parse_args()
    model = wb.load_model(given.model, device="cpu", dtype="float32")
    questions = options(given.options)
    values: dict[str, pd.Series[float]] = {}
    for name, reading in ENGINES.items():
        with suppress(ImportError, FileNotFoundError, StopIteration):
            print(f"{name} ...", file=sys.stderr)
            values[name] = reading(model, questions)
    table = pd.DataFrame([row(one, two, values) for one, two in combinations(values, 2)])
    heading = f"{given.model}, {len(next(iter(values.values())))} options, {date.today()}: nats between engines"
    text = f"{heading}\n\n{markdown(table)}\n\n{versions()}\n"
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    (OUTPUTS / f"engines-{given.model}.md").write_text(text, encoding="utf-8")
    print(text)


def options(n: int) -> list[Question]:
    """Questions of the packaged data with about n options, half of them letters."""
    chosen: dict[str, Question] = {}
    for style in ("letters", "cloze"):
        counted = 0
        for question in wb.load_questions("general_knowledge", n=None, seed=0, style=style):
            if counted < n // 2 and question.id not in chosen:
                chosen[question.id] = question
                counted += len(question.options)
    return list(chosen.values())


def ours(model: Model, questions: list[Question]) -> pd.Series[float]:
    """The workbench's engine."""
    return wb.ask(model, questions, store=False)["logprob"]


def halved(model: Model, questions: list[Question]) -> pd.Series[float]:
    """The workbench's engine in bfloat16, the default on a GPU."""
    return ours(wb.load_model(model.title, device="cpu", dtype="bfloat16"), questions)


@torch.inference_mode()
def plain(model: Model, questions: list[Question]) -> pd.Series[float]:
    """Transformers alone: one forward over the whole text of each option."""
    encoder, values = Encoder(model.tokenizer, model.context_length), []
    for request in (request for question in questions for request in encoder.encode(question)):
        ids = torch.tensor([request.context + request.continuation])
        logp = model.network(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
        at = range(len(request.context) - 1, ids.shape[1] - 1)
        values.append(sum(float(logp[i, ids[0, i + 1]]) for i in at))
    return pd.Series(values)


def harness(model: Model, questions: list[Question]) -> pd.Series[float]:
    """lm-evaluation-harness at batch size 8."""
    from benchmarks.side import peer

    return pd.Series(peer(model, questions)["values"])


def llama_whole(model: Model, questions: list[Question]) -> pd.Series[float]:
    """llama.cpp on the same weights in a GGUF file in float32."""
    import gguf_files

    if model.title != packaged.EMBEDDED:
        raise FileNotFoundError("only the embedded model is written as GGUF")
    with TemporaryDirectory() as folder:
        words = gguf_files.vocabulary(model.tokenizer, "smollm")
        return llama(gguf_files.write(Path(folder) / "plain.gguf", model.network, words=words), model, questions)


def llama_shipped(model: Model, questions: list[Question]) -> pd.Series[float]:
    """llama.cpp on the packaged file as it is."""
    return llama(next(packaged.MODELS[model.title].package.folder.rglob("*.gguf")), model, questions)


def llama(file: Path, model: Model, questions: list[Question]) -> pd.Series[float]:
    """A GGUF file behind llama.cpp's server; options with an unlisted token are undefined."""
    import llama_server
    import xllamacpp  # noqa: F401

    with llama_server.serving(file) as port:
        where = f"openai+http://127.0.0.1:{port}/v1/{llama_server.NAME}"
        return ours(wb.load_model(f"{where}?tokenizer={model.title}&concurrency=1&top_k={TOP_K}"), questions)


def vllm(dtype: str) -> Reading:
    """Return the reading by vLLM in a type of numbers (`make test-vllm` installs it)."""

    def reading(model: Model, questions: list[Question]) -> pd.Series[float]:
        import vllm_server

        if not vllm_server.COMMAND.exists() or model.folder is None:
            raise FileNotFoundError(vllm_server.COMMAND)
        with vllm_server.serving(model.folder, dtype) as port:
            where = f"vllm://127.0.0.1:{port}/{vllm_server.NAME}"
            return ours(wb.load_model(f"{where}?tokenizer={model.title}&concurrency=4"), questions)

    return reading


ENGINES: dict[str, Reading] = {
    "workbench": ours,
    "transformers": plain,
    "lm-evaluation-harness": harness,
    "vLLM": vllm("float32"),
    "llama.cpp": llama_whole,
    "workbench, bfloat16": halved,
    "vLLM, bfloat16": vllm("bfloat16"),
    "llama.cpp, shipped file": llama_shipped,
}
"""Engines by name; in float32 where nothing else is stated."""


def row(one: str, two: str, values: Mapping[str, pd.Series[float]]) -> dict[str, Any]:
    """Differences of two engines over the options that both read exactly, in nats."""
    gaps = np.abs(values[one].to_numpy() - values[two].to_numpy())
    gaps = gaps[np.isfinite(gaps)]
    median, largest = (f"{function(gaps):.1e}" if len(gaps) else "-" for function in (np.median, np.max))
    return {"engine": one, "and": two, "options": len(gaps), "median": median, "largest": largest}


def markdown(table: pd.DataFrame) -> str:
    """A table in markdown."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versions() -> str:
    """Versions of what was compared."""
    names = ("torch", "transformers", "lm_eval", "xllamacpp")
    return ", ".join(f"{name} {version(name)}" for name in names)


if __name__ == "__main__":
    main()
