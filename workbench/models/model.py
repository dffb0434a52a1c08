"""`Model`: a network, its tokenizer, and a fingerprint that identifies their numbers."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.files import titles
from workbench.models import fingerprint as fingerprints
from workbench.models import state
from workbench.models.server import Server

STATE_OF: dict[str, Callable[[Any], state.State]] = {"network": state.of_network, "tokenizer": state.of_tokenizer}
"""Part of a model -> function that returns its state."""


def positions_before(network: Any) -> int:
    """Return the number of positions before that of the first token; not 0 in the RoBERTa family alone.

    These networks count positions from the padding id on and skip tokens of that id.
    """
    for module in network.modules():
        if hasattr(module, "create_position_ids_from_input_ids") and hasattr(module, "position_embeddings"):
            return int(module.padding_idx) + 1
    return 0


@dataclass(frozen=True)
class Model:
    """A causal language model; network and tokenizer are loaded on first use.

    Created by `load_model`, or by `wrap_model` from a network in memory.
    """

    name: str
    """The name it was loaded by."""
    folder: Path | None
    """Folder of the model's files; None for a network from memory."""
    adapter: Path | None
    """Folder of a PEFT adapter, if any."""
    device: str
    """cpu, cuda, cuda:1, mps, or auto for layers spread over devices."""
    dtype: str
    """Type of weights and activations: float32, bfloat16, float16 or float64."""
    fingerprint: str
    """SHA-256 over weights, configuration, tokenizer, chat template, adapter and dtype."""
    revision: str = ""
    """Hub commit or package version that pins the files."""
    note: str = ""
    """Remarks on the files for the record, such as contents that are not used."""
    trust_remote_code: bool = False
    """Whether code shipped beside the weights may run."""
    allow_pickle: bool = False
    """Whether weights may come from pickle files."""
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)
    """The files behind the fingerprint, for models read from files."""
    server: Server | None = field(default=None, repr=False, compare=False)
    """The server of the model; None for a network on this machine."""
    loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Network and tokenizer if they were in memory from the start, by name."""
    states: dict[str, state.State] = field(default_factory=dict, init=False, repr=False, compare=False)
    """States of network and tokenizer that belong to the fingerprint, by name."""

    def __post_init__(self) -> None:
        self.states.update({name: STATE_OF[name](part) for name, part in self.loaded.items()})

    @property
    def title(self) -> str:
        """Short name for tables: the last part of a hub id or folder, of a served model of its name on the server."""
        return titles([self.server.address.name if self.server else self.name])[0]

    def require_network(self) -> None:
        """Refuse a served model."""
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
        """Return the network or the tokenizer; if it is read from files, check these and record its state."""
        if name in self.loaded:
            return self.loaded[name]
        part = self._read(name)
        try:
            same = not self.files or fingerprints.of_files(self.files, self.dtype) == self.fingerprint
        except (OSError, InputError):
            same = False
        if not same:
            raise InputError(f"The files of {self.name!r} were changed after load_model; call load_model again.")
        self.states[name] = STATE_OF[name](part)
        return part

    def _read(self, name: str) -> Any:
        """Read the network or the tokenizer from files."""
        raise NotImplementedError

    @cached_property
    def context_length(self) -> int:
        """Largest number of tokens in one forward.

        Raises:
            InputError: If the configuration does not state it.
        """
        if self.server is not None:
            return self.server.context_length
        return context_length_of(self.network.config, self.name) - positions_before(self.network)

    def add_note(self, text: str) -> None:
        """Append a remark to `note`, once."""
        if text and text not in self.note:
            object.__setattr__(self, "note", f"{self.note}; {text}" if self.note else text)

    def check_unchanged(self) -> None:
        """Refuse a network or tokenizer that no longer belongs to the fingerprint.

        Raises:
            InputError: If weights, modules, hooks, attributes, configuration, template or tokens have changed since
                loading, or the network is in training mode.
        """
        self.check_evaluating()
        for name, part in (self.loaded | vars(self)).items():
            path = state.changed(part, self.states[name], STATE_OF[name]) if name in self.states else ""
            if path:
                raise InputError(
                    f"The {name} of {self.name!r} was changed after it was loaded ({path}), so its stored answers are "
                    "no longer valid; undo the change, use wrap_model(model.network, model.tokenizer) for the changed "
                    "model, or pass store=False."
                )

    def check_evaluating(self) -> None:
        """Refuse a loaded network in training mode."""
        network = (self.loaded | vars(self)).get("network")
        if network is not None and (module := state.in_training(network)):
            raise InputError(
                f"The network of {self.name!r} is in training mode ({module}), in which dropout changes its numbers; "
                "call network.eval() first."
            )

    def facts(self) -> dict[str, str]:
        """Return what a run records of this model."""
        facts = {"model": self.name, "revision": self.revision, "fingerprint": self.fingerprint}
        facts |= {"device": self.device, "dtype": self.dtype}
        facts |= {"adapter": self.adapter.name if self.adapter else "", "note": self.note}
        network = (self.loaded | vars(self)).get("network")
        facts |= {"parameters": str(sum(each.numel() for each in network.parameters()))} if network is not None else {}
        return facts | (self.server.facts() if self.server is not None else {})

    def __repr__(self) -> str:
        return f"<Model {self.name} ({self.dtype} on {self.device}, {self.fingerprint[:12]})>"

    def _repr_html_(self) -> str:
        cell = "<td style='text-align: left'>"
        rows = "".join(f"<tr><th>{k}</th>{cell}{html.escape(v)}</td></tr>" for k, v in self.facts().items() if v)
        return f"<table>{rows}</table>"


def context_length_of(config: Any, name: str) -> int:
    """Return the largest number of tokens in one forward, from a network's configuration."""
    config = config.get_text_config()
    for setting in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        length = getattr(config, setting, None)
        if isinstance(length, int) and 0 < length < 10**8:
            return length
    if getattr(config, "state_size", None) or config.model_type in ("bloom", "rwkv", "recurrent_gemma", "xlstm"):
        return 10**8  # a recurrent state or ALiBi: no limit
    raise InputError(f"The configuration of {name!r} states no context length; set max_position_embeddings.")
