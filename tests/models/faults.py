"""The table of faults between a user's files and a network, which `test_faults.py` runs, and how to add one.

A fault is a function that creates it in an empty folder and returns what is loaded and what the result must be:

    @fault("folder", refused="model.safetensors")    # an error whose message matches this
    def an_index_beside_a_whole_file(place):
        ...
        return place                                 # a model's name, or a Model

    @fault("adapter")                                # no error: the numbers of this network
    def an_adapter_beside_the_model(place):
        ...
        return f"{base}#{adapter}", network          # and its tokenizer, if not `tiny.byte_tokenizer()`

Faults are in `faults_<theme>.py`, which `test_faults.py` imports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
import torch

import workbench as wb

SOURCES = ("folder", "gguf", "adapter", "wrap_model", "name")
OPTIONS = (" Jupiter", " 10", " I don't know.")
PROMPT = "Question: What is the largest planet? Answer:"


@dataclass(frozen=True)
class Fault:
    """One fault in one kind of source."""

    name: str
    source: str
    make: Callable[[Path], Any]
    """Creates the fault in a folder; returns a model or its name, and without an error also network and tokenizer."""
    refused: str
    """Regular expression for the error's message; empty if the right numbers are expected."""
    options: dict[str, Any]
    """Options of `load_model`."""


FAULTS: list[Fault] = []


def fault(
    source: str, refused: str = "", name: str = "", **options: Any
) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    """Add a fault to the table, under the function's name or another; other options are those of `load_model`."""
    assert source in SOURCES

    def add(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
        FAULTS.append(Fault(name or make.__name__, source, make, refused, options))
        return make

    return add


def opened(source: Any, **options: Any) -> wb.Model:
    """The model of a name, a folder or a `Model`, on the CPU."""
    return source if isinstance(source, wb.Model) else wb.load_model(source, device="cpu", **options)


def read(model: wb.Model) -> list[float]:
    """Log-probabilities of a few options, in nats, by `ask`."""
    question = wb.Question(PROMPT, tuple(wb.Option(text) for text in OPTIONS))
    return [float(value) for value in wb.ask(model, [question], store=False)["logprob"]]


def expected(network: Any, tokenizer: Any = None) -> list[float]:
    """The same by one plain forward per option, in float64."""
    network, tokenizer = network.double().eval(), tokenizer or tiny.byte_tokenizer()
    start = tokenizer(PROMPT).input_ids
    sums = []
    for text in OPTIONS:
        ids = tokenizer(PROMPT + text).input_ids
        with torch.no_grad():
            logp = network(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        sums.append(sum(float(logp[at - 1, ids[at]]) for at in range(len(start), len(ids))))
    return sums


def saved(place: Path, network: Any = None, tokenizer: Any = None, **options: Any) -> Any:
    """Save a tiny model in a folder and return its network."""
    network = tiny.network() if network is None else network
    network.save_pretrained(place, **options)
    (tokenizer or tiny.byte_tokenizer()).save_pretrained(place)
    return network
