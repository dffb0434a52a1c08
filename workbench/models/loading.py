"""Reading networks and tokenizers from disk with transformers and PEFT.

The network a process read first for a notebook is kept for the notebook that runs after it in the same process. That is
off unless a process asks for it: the kernels of `workbench run` do, in which notebooks of one model follow each other.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.models import proof, state, tokenizers
from workbench.models.adapters import with_adapter, with_tokenizer
from workbench.models.fetched import first_sentence
from workbench.models.model import Model
from workbench.models.weights import headers, read_json, weight_files


class StoredModel(Model):
    """A model whose network and tokenizer are read from files when they are first used."""

    def _read(self, name: str) -> Any:
        return _kept_or_read(self) if name == "network" else read_tokenizer(self)


def read_network(model: Model) -> Any:
    """The network of a model folder, on its device, in evaluation mode.

    Raises:
        InputError: If the files are incomplete, not safetensors, or of an architecture that is no causal model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": getattr(torch, model.dtype), "trust_remote_code": model.trust_remote_code}
    if not model.allow_pickle:
        options["use_safetensors"] = True
    if model.device == "auto":
        options["device_map"] = "auto"
    assert model.folder is not None
    stored = headers(weight_files(model.folder, model.name, model.allow_pickle))
    with _quiet(), proof.nothing_unsaid():
        try:
            network, found = AutoModelForCausalLM.from_pretrained(
                str(model.folder), output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            raise _unloaded(repr(model.name), model.folder, error) from error
    network.config.return_dict = network.config.get_text_config().return_dict = True
    written = read_json(model.folder / "config.json")
    said = proof.check_network(network, found, stored, written, model.name)
    network.workbench_note = "; ".join(filter(None, (said, proof.check_settings(network, written, model.name))))
    if model.device != "auto":
        try:
            network = network.to(model.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"Device {model.device!r} cannot be used here ({first_sentence(error)[:-1]}); use device='cpu'."
            ) from error
    if model.adapter:
        network = with_adapter(network, model)
    return network.eval().requires_grad_(False)


def read_tokenizer(model: Model) -> Any:
    """The tokenizer of a model folder, which reads text as its `tokenizer.json` says.

    Raises:
        InputError: If its files cannot be read, or contradict one another.
    """
    from transformers import AutoTokenizer

    def read(folder: Path) -> Any:
        with _quiet():
            try:
                tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=model.trust_remote_code)
            except MemoryError:
                raise
            except Exception as error:
                raise _unloaded(f"the tokenizer of {str(folder)!r}", folder, error) from error
        model.add_note(tokenizers.proved(tokenizer, folder))
        return tokenizer

    assert model.folder is not None
    tokenizer = read(model.folder)
    if model.adapter:
        tokenizer = with_tokenizer(tokenizer, model, read)
    return tokenizer


def _unloaded(what: str, folder: Path, error: Exception) -> InputError:
    """A refusal by what transformers says, which blames config.json where that alone cannot be read either."""
    from transformers import AutoConfig

    if (folder / "config.json").is_file() and not isinstance(error, InputError):
        try:
            AutoConfig.from_pretrained(str(folder))
        except Exception as cause:
            if first_sentence(cause) == first_sentence(error):
                what = f"the config.json of {str(folder)!r}"
    return InputError(f"Cannot load {what}: {first_sentence(error)}")


@dataclass(slots=True)
class _Slot:
    """Room for one network."""

    asked: bool = True
    """Whether the present notebook has had its turn; True also where nothing is to be kept."""
    key: tuple[Any, ...] = ()
    """What it was read as."""
    network: Any = None
    """The network."""
    before: tuple[Any, ...] = ()
    """Its state when it was read, and what is beside it."""


_slot = _Slot()


def begin_notebook() -> None:
    """Lets the next notebook have the kept network, or keep the first one it reads."""
    _slot.asked = False


def _kept_or_read(model: Model) -> Any:
    """A model's network: the kept one on a notebook's first call, if it is this model's and unchanged; else read.

    A notebook that loads one model twice gets two networks, as in a process of its own.
    """
    if _slot.asked:
        return read_network(model)
    _slot.asked = True
    key = (model.fingerprint, model.device, model.trust_remote_code, model.allow_pickle)
    if _slot.key != key or not _unchanged(_slot.network):
        _slot.key, _slot.network = (), None
        gc.collect()  # two networks may not fit
        _slot.network = read_network(model)
        _slot.key, _slot.before = key, (state.of_network(_slot.network), _beside(_slot.network))
    return _slot.network


def _unchanged(network: Any) -> bool:
    """Whether the kept network is as it was when it was read."""
    was, beside = _slot.before
    return not state.changed(network, was, state.of_network) and beside == _beside(network)


def _beside(network: Any) -> tuple[str, list[bool]]:
    """What a notebook may change that decides no stored number: how texts are generated, and which weights train."""
    return repr(getattr(network, "generation_config", None)), [p.requires_grad for p in network.parameters()]


@contextmanager
def _quiet(bars: bool = False) -> Iterator[None]:
    """Silences transformers' advice and progress bars; with `bars`, every bar where nobody watches."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(StringIO()) if bars and not sys.stderr.isatty() else nullcontext():
            yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
