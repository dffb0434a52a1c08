"""Reading networks and tokenizers from disk with transformers and PEFT."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.models import fingerprint as fingerprints
from workbench.models import proof, tokenizers
from workbench.models.adapters import with_adapter, with_tokenizer
from workbench.models.model import Model, check_evaluating
from workbench.models.settings import check_settings
from workbench.models.weights import headers, read_json, weight_files


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
    network.workbench_note = "; ".join(filter(None, (said, check_settings(network, written, model.name))))
    if model.device != "auto":
        try:
            network = network.to(model.device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"Device {model.device!r} cannot be used here ({_first_sentence(error)[:-1]}); use device='cpu'."
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


def wrap_model(network: Any, tokenizer: Any, name: str = "in memory") -> Model:
    """A `Model` around a network already in memory, for instance one just trained or built in a test.

    Raises:
        InputError: If it is in training mode, or its tokenizer cannot be used.
    """
    tokenizers.check_wrapped(tokenizer)
    proof.check_wrapped(network, name)
    check_evaluating(network, name)
    parameter = next(network.parameters())
    dtype = _lowest_dtype(network)
    return Model(
        name=name,
        folder=None,
        adapter=None,
        device=str(parameter.device),
        dtype=dtype,
        fingerprint=fingerprints.of_network(network, tokenizer, dtype),
        loaded={"network": network, "tokenizer": tokenizer},
    )


def _lowest_dtype(network: Any) -> str:
    """The least precise type among a network's floating-point parameters: what its numbers are worth."""
    kinds = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    return str(min(kinds, key=lambda kind: (kind.itemsize, str(kind)))).removeprefix("torch.")


def hub_snapshot(
    repository: str, revision: str | None, allow_pickle: bool = False, weights: bool = True
) -> tuple[Path, str]:
    """The local folder and commit of a hub repository, downloaded when absent; without `weights`, its small files.

    Raises:
        InputError: If the hub cannot be reached, or has no such repository or revision.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [*fingerprints.SETTINGS]
    other = ["consolidated*"]  # the same weights under names that transformers does not read
    patterns += ["*.safetensors"] * weights + ["*.bin"] * (weights and allow_pickle)
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, ignore_patterns=other))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"Cannot reach the hub for {repository!r} and no copy is in its cache; go online, "
            "or give the path of a local folder."
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(f"Cannot fetch {repository!r} from the hub: {_first_sentence(error)}") from error
    return folder, folder.name


def _unloaded(what: str, folder: Path, error: Exception) -> InputError:
    """A refusal by what transformers says, which blames config.json where that alone cannot be read either."""
    from transformers import AutoConfig

    if (folder / "config.json").is_file() and not isinstance(error, InputError):
        try:
            AutoConfig.from_pretrained(str(folder))
        except Exception as cause:
            if _first_sentence(cause) == _first_sentence(error):
                what = f"the config.json of {str(folder)!r}"
    return InputError(f"Cannot load {what}: {_first_sentence(error)}")


def _first_sentence(error: BaseException) -> str:
    """What a library says is wrong, in one sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, KeyError):
        lines[0] = f"its files name {lines[0]}, which transformers does not know"
    if lines[0].endswith(":"):
        lines[0] += f" {lines[-1].strip()}"
    return lines[0].rstrip(".") + "."


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
