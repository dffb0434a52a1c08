"""One side of a comparison in a process of its own: scores a workload and prints what it took, as JSON."""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import workbench as wb
from benchmarks import workloads
from workbench.models import Model, packaged
from workbench.questions import Question

SHAPES = {"1b": (2048, 8192, 16), "8b": (4096, 14336, 32)}
"""Llama shapes: width, width of the MLP, layers; all with 32 heads, 8 key heads and 128,256 tokens."""


def ours(model: Model, questions: list[Question], store: Path) -> dict[str, Any]:
    """Seconds of `ask`; the first call with a store also counts what it had to compute, the second finds all there."""
    warm = store.is_file()
    if not warm:
        from workbench.extraction import engine

        engine.choose(model)
    start = perf_counter()
    table = wb.ask(model, questions, store=wb.AnswerStore(store))
    found = {"seconds": perf_counter() - start, "values": table["logprob"].tolist()}
    if warm:
        return found | {"note": "with torch" if "torch" in sys.modules else "without torch", "counting": 0.0}
    start = perf_counter()
    found |= _counts(model, questions) | {"note": table.attrs["engine_step"]}
    return found | {"counting": perf_counter() - start}


def _counts(model: Model, questions: list[Question]) -> dict[str, float]:
    """Exact counts of a run, the floating-point operations it cannot do without, and seconds of planning."""
    import torch

    from workbench.extraction import engine, trie
    from workbench.extraction.tokens import Encoder

    encoder = Encoder(model.tokenizer, model.context_length)
    requests = [request for question in questions for request in encoder.encode(question)]
    start = perf_counter()
    plan = trie.build(requests)
    list(trie.packs(plan, engine.BUDGET["cpu"]))
    planning = perf_counter() - start
    network, config = model.network, model.network.config
    body = sum(m.weight.numel() for m in network.base_model.modules() if isinstance(m, torch.nn.Linear))
    flop = 2 * body * len(plan.tokens) + 2 * network.get_output_embeddings().weight.numel() * plan.head_rows
    flop += 4 * int((plan.depth + 1).sum()) * config.num_hidden_layers * config.hidden_size
    alone = sum(len(r.context) + len(r.continuation) - 1 for r in requests)
    counts = {"prompts": len(questions), "requests": len(requests), "alone": alone, "unique": len(plan.tokens)}
    return counts | {"head_rows": plan.head_rows, "planning": planning, "flop": flop}


def peer(model: Model, questions: list[Question]) -> dict[str, Any]:
    """Seconds of lm-evaluation-harness on the same pairs of context and continuation, at batch size 8."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    source = {"pretrained": str(model.folder), "device": model.device, "dtype": model.dtype}
    if model.loaded:
        source = {"pretrained": model.network, "tokenizer": model.tokenizer}
    harness = HFLM(**source, batch_size=8)
    pairs = [(question.prompt_text, option.text) for question in questions for option in question.options]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    start = perf_counter()
    values = harness.loglikelihood(requests, disable_tqdm=True)
    return {"seconds": perf_counter() - start, "values": [value for value, _ in values], "note": "", "counting": 0.0}


def load_model(device: str, dtype: str, random: str) -> Model:
    """The embedded model, or a network of a Llama shape with random weights and the embedded tokenizer."""
    described = wb.load_model(packaged.EMBEDDED, device=device, dtype=dtype)
    if not random:
        return described
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    width, mlp, layers = SHAPES[random]
    shape = {"hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": layers, "vocab_size": 128256}
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192}
    torch.manual_seed(0)
    with torch.device(device):
        network = AutoModelForCausalLM.from_config(LlamaConfig(**shape, **heads), dtype=getattr(torch, dtype)).eval()
    loaded = {"network": network, "tokenizer": described.tokenizer}
    return Model(f"random {random}", None, None, device, dtype, f"random {random} {dtype}", loaded=loaded)


def main() -> None:
    """Run the side that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["ours", "peer"])
    parser.add_argument("workload")
    parser.add_argument("--items", type=int)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--random")
    given = parser.parse_args()
    model = load_model(given.device, given.dtype, given.random)
    questions = workloads.load(given.workload, given.items)
    found = ours(model, questions, given.store) if given.side == "ours" else peer(model, questions)
    print(json.dumps(found | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))


if __name__ == "__main__":
    main()
