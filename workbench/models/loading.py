"""Reading networks and tokenizers from disk with transformers and PEFT.

In the kernels of `workbench run`, in which notebooks of one model follow each other, the first network that a notebook
loads is kept for the next one (`begin_notebook`). Other processes keep none.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.models import proof, quantised, state, tokenizers
from workbench.models.adapters import with_adapter, with_tokenizer
from workbench.models.model import Model, context_length_of, positions_before
from workbench.models.weights import headers, loading, read_json, reason_of, weight_files


class StoredModel(Model):
    """A model whose network and tokenizer are read from files on first use."""

    def _read(self, name: str) -> Any:
        if self.folder is None:
            raise InputError(f"{self.name!r} is a chat endpoint, which shows no token ids; use a completions server.")
        return _shared_network(self) if name == "network" else read_tokenizer(self)


def read_network(model: Model) -> Any:
    """Return the network of a model folder, on its device, in evaluation mode.

    Raises:
        InputError: If the files are incomplete, are not safetensors, or are not those of a causal language model.
    """
    import torch

    assert model.folder is not None
    stored = headers(weight_files(model.folder, model.name, model.allow_pickle))
    written = read_json(model.folder / "config.json")
    with _quiet(), proof.full_loading_report(), _loading(repr(model.name), model.folder):
        form = quantised.form_of(written, stored, model.name)
        proof.check_memory(quantised.numbers_in(stored, form), model.dtype, model.device, model.name)
        if not model.trust_remote_code:
            proof.check_size(model.folder, stored, written, model.name)
        numbers = None
        if form:
            numbers, stored = quantised.dequantised(stored, form, getattr(torch, model.dtype), model.name)
            written.pop("quantization_config")
        network, report = _built(model, numbers)
    network.config.return_dict = network.config.get_text_config().return_dict = True
    with _loading(repr(model.name), model.folder):
        notes = [quantised.note_of(form)] if form else []
        notes.append(proof.check_network(network, report, stored, model.name))
        notes.append(proof.check_settings(network, written, model.name))
    network.workbench_note = "; ".join(filter(None, notes))
    if model.device != "auto":
        if model.device == "mps" and not model.adapter:
            size, length = network.config.get_text_config().vocab_size, context_length_of(network.config, model.name)
            proof.cpu_sums[network] = proof.plain(network, proof.probes(size, length - positions_before(network)))
        try:
            network = network.to(model.device)
        except (RuntimeError, AssertionError, TypeError) as error:  # the last for a dtype that the device lacks
            raise InputError(
                f"Device {model.device!r} cannot be used here ({reason_of(error)}); use device='cpu'."
            ) from error
    if model.adapter:
        with loading(repr(model.name), "the adapter's files"):
            network = with_adapter(network, model)
    return network.eval().requires_grad_(False)


def _built(model: Model, numbers: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
    """Return a network as transformers builds it from a folder, or from the numbers of its weights; and its report."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    own_code = {"trust_remote_code": model.trust_remote_code}
    options: dict[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    options["dtype"] = getattr(torch, model.dtype)
    if not model.allow_pickle:
        options["use_safetensors"] = True
    if model.device == "auto":
        options["device_map"] = "auto"
    if numbers is None:
        return AutoModelForCausalLM.from_pretrained(str(model.folder), **own_code, **options)
    config = AutoConfig.from_pretrained(str(model.folder), **own_code)
    del config.quantization_config
    with torch.device("meta"):
        kind = type(AutoModelForCausalLM.from_config(config, **own_code))
    return kind.from_pretrained(None, config=config, state_dict=numbers, **options)


def read_tokenizer(model: Model) -> Any:
    """Return the tokenizer of a model folder, which encodes text as its `tokenizer.json` states.

    Raises:
        InputError: If its files cannot be read, or contradict one another.
    """
    from transformers import AutoTokenizer

    def read(folder: Path) -> Any:
        with _quiet(), _loading(f"the tokenizer of {str(folder)!r}", folder):
            own = tokenizers.stated(folder)
            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=model.trust_remote_code)
            model.add_note(tokenizers.proved(tokenizer, folder, own))
            return tokenizer

    assert model.folder is not None
    tokenizer = read(model.folder)
    with loading(f"the tokenizer of {model.name!r}", "the adapter's files"):
        return with_tokenizer(tokenizer, model, read) if model.adapter else tokenizer


@contextmanager
def _loading(what: str, folder: Path) -> Iterator[None]:
    """Turn what transformers raises into an `InputError`; it names config.json if that alone is rejected alike."""
    from transformers import AutoConfig

    try:
        with loading(what):
            yield
    except InputError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, InputError):
            raise
        try:
            AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        except Exception as alone:
            if reason_of(alone) == reason_of(cause):
                with loading(f"the config.json of {str(folder)!r}", "it"):
                    raise
        raise


@dataclass(slots=True)
class _Kept:
    """The network that is kept for the next notebook."""

    used: bool = True
    """Whether the present notebook has loaded a network already; always True in processes that keep none."""
    key: tuple[Any, ...] = ()
    """Fingerprint and options of its model."""
    network: Any = None
    """The network."""
    before: tuple[Any, ...] = ()
    """Its state when it was read."""


_kept = _Kept()


def begin_notebook() -> None:
    """Let the next notebook use the kept network, or keep the first network it loads."""
    _kept.used = False


def _shared_network(model: Model) -> Any:
    """Return a model's network: on a notebook's first call the kept one, if it is this model's and unchanged.

    A notebook that loads one model twice gets two networks, as in a process of its own.
    """
    if _kept.used:
        return read_network(model)
    _kept.used = True
    key = (model.fingerprint, model.device, model.trust_remote_code, model.allow_pickle)
    if _kept.key != key or not _is_unchanged(_kept.network):
        _kept.key, _kept.network = (), None
        gc.collect()  # two networks may not fit
        _kept.network = read_network(model)
        _kept.key, _kept.before = key, (state.of_network(_kept.network), _other_settings(_kept.network))
    return _kept.network


def _is_unchanged(network: Any) -> bool:
    before, others = _kept.before
    return not state.changed(network, before, state.of_network) and others == _other_settings(network)


def _other_settings(network: Any) -> tuple[str, list[bool]]:
    """Return what a notebook may change that affects no stored number: settings of generation, weights that train."""
    return repr(getattr(network, "generation_config", None)), [p.requires_grad for p in network.parameters()]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' advice and progress bars."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
