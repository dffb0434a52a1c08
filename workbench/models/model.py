"""`Model`: a network, its tokenizer, and a fingerprint that says exactly which numbers they give."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.models import fingerprint as fingerprints
from workbench.models import state
from workbench.models.server import Server

STATE_OF: dict[str, Callable[[Any], state.State]] = {"network": state.of_network, "tokenizer": state.of_tokenizer}
"""Part of a model -> what takes its state."""


def check_evaluating(network: Any, name: str) -> None:
    """Refuse a network in training mode; `name` is what it is called in the error.

    Raises:
        InputError: If a module is in training mode.
    """
    if module := state.in_training(network):
        raise InputError(
            f"The network of {name!r} is in training mode ({module}), in which dropout changes its numbers; call "
            "network.eval() first."
        )


def positions_before(network: Any) -> int:
    """How many positions a network has before that of the first token; not 0 in the RoBERTa family alone.

    Its networks count positions from the padding id on, and leave out tokens of that id.
    """
    for module in network.modules():
        if hasattr(module, "create_position_ids_from_input_ids") and hasattr(module, "position_embeddings"):
            return int(module.padding_idx) + 1
    return 0


@dataclass(frozen=True)
class Model:
    """A causal language model; network and tokenizer are loaded when first used.

    Make one with `load_model`, or with `wrap_model` from a network already in memory.
    """

    name: str
    """What the user asked for."""
    folder: Path | None
    """Folder of the model's files; None for a network wrapped from memory."""
    adapter: Path | None
    """Folder of a PEFT adapter laid over it, if any."""
    device: str
    """Where it runs: cpu, cuda, cuda:1, mps, or auto for layers spread over devices."""
    dtype: str
    """Type of weights and activations: float32, bfloat16, float16 or float64."""
    fingerprint: str
    """SHA-256 over weights, configuration, tokenizer, chat template, adapter and dtype."""
    revision: str = ""
    """Hub commit or package version that pins the files."""
    note: str = ""
    """What a reader must know about these weights."""
    trust_remote_code: bool = False
    """Whether code shipped beside the weights may run."""
    allow_pickle: bool = False
    """Whether weights may come from pickle files."""
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)
    """The files that the fingerprint is made of, where they are read for the network and the tokenizer."""
    server: Server | None = field(default=None, repr=False, compare=False)
    """The server that reads it; None for a network on this machine."""
    loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """A network and tokenizer already in memory, by name."""
    states: dict[str, state.State] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The states of network and tokenizer when the fingerprint was theirs, by name."""

    def __post_init__(self) -> None:
        self.states.update({name: STATE_OF[name](part) for name, part in self.loaded.items()})

    def require_network(self) -> None:
        """Refuse a model that is not on this machine.

        Raises:
            InputError: If it is behind a server.
        """
        if self.server is not None:
            raise InputError(
                f"{self.name!r} is behind a server, which gives log-probabilities alone; hidden states, steering, "
                "training and weights need the model itself: load it from a folder or the hub."
            )

    @cached_property
    def network(self) -> Any:
        """The `transformers` causal model, in evaluation mode; see `require_network`."""
        self.require_network()
        network = self._part("network")
        self.add_note(getattr(network, "workbench_note", ""))
        return network

    @cached_property
    def tokenizer(self) -> Any:
        """The `transformers` tokenizer."""
        return self._part("tokenizer")

    def _part(self, name: str) -> Any:
        """The network or the tokenizer; the state of one that is read is taken here."""
        if name in self.loaded:
            return self.loaded[name]
        part = self._read(name)
        self._check_files()
        self.states[name] = STATE_OF[name](part)
        return part

    def _read(self, name: str) -> Any:
        """The network or the tokenizer of a model that is not in memory."""
        raise NotImplementedError

    @cached_property
    def context_length(self) -> int:
        """Most tokens the network takes at once, from its configuration.

        Raises:
            InputError: If the configuration names no believable length.
        """
        if self.server is not None:
            return self.server.context_length
        return context_length_of(self.network.config, self.name) - positions_before(self.network)

    def add_note(self, text: str) -> None:
        """Add what a reader must know that only showed when the files were read."""
        if text and text not in self.note:
            object.__setattr__(self, "note", f"{self.note}; {text}" if self.note else text)

    def _check_files(self) -> None:
        """Refuse files that are no longer those of the fingerprint: what was read of them may be of either."""
        try:
            same = not self.files or fingerprints.of_files(self.files, self.dtype) == self.fingerprint
        except OSError:
            same = False
        if not same:
            raise InputError(
                f"The files of {self.name!r} were changed after load_model had looked at them; call load_model again."
            )

    def check_unchanged(self) -> None:
        """Refuse numbers of a network or tokenizer that was changed after it was loaded as those of the fingerprint.

        Raises:
            InputError: If weights, modules, hooks, attributes, configuration, template or tokens are no longer as they
                were, or the network is in training mode.
        """
        self.check_evaluating()
        for name, part in (self.loaded | vars(self)).items():
            what = state.changed(part, self.states[name], STATE_OF[name]) if name in self.states else ""
            if what:
                raise InputError(
                    f"The {name} of {self.name!r} was changed after it was loaded ({what}), so stored answers are not "
                    "its own; undo the change, use wrap_model(model.network, model.tokenizer) for the model it is now, "
                    "or pass store=False."
                )

    def check_evaluating(self) -> None:
        """Refuse a network in training mode, in which dropout makes every number another one.

        Raises:
            InputError: If a module of the network is in training mode.
        """
        network = (self.loaded | vars(self)).get("network")
        if network is not None:
            check_evaluating(network, self.name)

    def facts(self) -> dict[str, str]:
        """What a run records of this model."""
        facts = {
            "model": self.name,
            "revision": self.revision,
            "fingerprint": self.fingerprint,
            "device": self.device,
            "dtype": self.dtype,
            "adapter": self.adapter.name if self.adapter else "",
            "note": self.note,
        }
        return facts | (self.server.facts() if self.server is not None else {})

    def __repr__(self) -> str:
        return f"<Model {self.name} ({self.dtype} on {self.device}, {self.fingerprint[:12]})>"

    def _repr_html_(self) -> str:
        cell = "<td style='text-align: left'>"
        rows = "".join(f"<tr><th>{k}</th>{cell}{html.escape(v)}</td></tr>" for k, v in self.facts().items() if v)
        return f"<table>{rows}</table>"


def context_length_of(config: Any, name: str) -> int:
    """Most tokens a network takes at once, from its configuration.

    Raises:
        InputError: If the configuration names no believable length.
    """
    config = config.get_text_config()
    for setting in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        length = getattr(config, setting, None)
        if isinstance(length, int) and 0 < length < 10**8:
            return length
    if getattr(config, "state_size", None) or config.model_type in ("bloom", "rwkv"):
        return 10**8  # a recurrent state or ALiBi: no limit of its own
    raise InputError(f"The configuration of {name!r} names no context length; set max_position_embeddings.")
