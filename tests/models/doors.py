"""The table of faults between a user's files and a network: what `test_doors.py` runs, and how a row is added.

A row is a function that makes the fault in an empty folder and gives what is loaded, and what must come of it:

    @row("folder", refused="model.safetensors")     # the sentence names the thing
    def an_index_beside_a_whole_file(place):
        ...
        return place                                # a model's name, or a Model

    @row("adapter")                                  # no refusal: the numbers of the network that is given too
    def an_adapter_beside_the_model(place):
        ...
        return f"{base}#{adapter}", network, tokenizer

Rows stand in `doors_<theme>.py`, which `test_doors.py` imports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny
import torch

import workbench as wb

DOORS = ("folder", "gguf", "adapter", "wrap_model", "name")
OPTIONS = (" Jupiter", " 10", " I don't know.")
PROMPT = "Question: What is the largest planet? Answer:"


@dataclass(frozen=True)
class Row:
    """One fault through one door."""

    name: str
    door: str
    make: Callable[[Path], Any]
    """Makes the fault in a folder; gives a model or its name, and for a right value the network and tokenizer too."""
    refused: str
    """What the refusal must name, a regular expression; empty where the right value must come."""
    options: dict[str, Any]
    """Options of `load_model`."""


ROWS: list[Row] = []


def row(
    door: str, refused: str = "", name: str = "", **options: Any
) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    """Adds a fault to the table, by the function's name or another; what else is given goes to `load_model`."""
    assert door in DOORS

    def add(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
        ROWS.append(Row(name or make.__name__, door, make, refused, options))
        return make

    return add


def opened(source: Any, **options: Any) -> wb.Model:
    """The model of a name, a folder or a `Model`, on the CPU."""
    return source if isinstance(source, wb.Model) else wb.load_model(source, device="cpu", **options)


def read(model: wb.Model) -> list[float]:
    """What the workbench reads: log-probabilities of a few options, in nats."""
    question = wb.Question(PROMPT, tuple(wb.Option(text) for text in OPTIONS))
    return [float(value) for value in wb.ask(model, [question], store=False)["logprob"]]


def expected(network: Any, tokenizer: Any) -> list[float]:
    """The same by one plain forward an option, in float64."""
    network = network.double().eval()
    start = tokenizer(PROMPT).input_ids
    sums = []
    for text in OPTIONS:
        ids = tokenizer(PROMPT + text).input_ids
        with torch.no_grad():
            logp = network(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        sums.append(sum(float(logp[at - 1, ids[at]]) for at in range(len(start), len(ids))))
    return sums


def saved(place: Path, network: Any = None, tokenizer: Any = None, **options: Any) -> Any:
    """Saves a tiny model in a folder; gives its network."""
    network = tiny.network() if network is None else network
    network.save_pretrained(place, **options)
    (tokenizer or tiny.byte_tokenizer()).save_pretrained(place)
    return network
