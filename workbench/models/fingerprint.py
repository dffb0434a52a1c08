"""Fingerprints: SHA-256 hashes that identify a model's numbers, computed from its files without loading it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.files import digests, written_whole
from workbench.models import state
from workbench.reading import read_json

WEIGHTS = ("*.safetensors", "*.gguf", "*.bin", "*.pt", "*.pth")
SETTINGS = (
    *("*.json", "*.jinja", "*.txt", "*.py", "additional_chat_templates/*.jinja", "tokenizer*", "*.tokenizer", "vocab*"),
    *("*.vocab", "merges*", "*.model", "*.tiktoken", "*.spm", "*.bpe", "*.codes"),
)
"""Patterns of all files that configurations, chat templates and tokenizers may be read from."""
SEAL = "sha256.json"
IDLE = (SEAL, "*.index.json", "generation_config.json", "trainer_state.json", "*_results.json", "LICENSE*", "README*")
"""Patterns of files that affect no number; an index is checked against the weights."""


def of_files(paths: Iterable[Path], dtype: str) -> str:
    """Return the SHA-256 over names and contents of model files and the dtype they are read in.

    The hash of a file whose size, inode and times are unchanged is looked up. The folder's name has no influence.
    """
    lines = [f"dtype {dtype}", *(f"{path.name} {digest}" for path, digest in digests(paths).items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """Return the files of a model folder that affect its numbers."""
    paths = {path for pattern in WEIGHTS + SETTINGS for path in folder.glob(pattern)}
    return sorted(path for path in paths if path.is_file() and not any(path.match(pattern) for pattern in IDLE))


def settings_files(folder: Path) -> list[Path]:
    """Return the files of a model folder that affect its numbers, apart from weights."""
    return [path for path in model_files(folder) if not any(path.match(pattern) for pattern in WEIGHTS)]


def seal(folder: Path) -> None:
    """Write the SHA-256 of a model folder's files to `SEAL`, for `sealed`."""
    with written_whole(folder / SEAL) as partial:
        partial.write_text(json.dumps(_hashes(folder), indent=1), encoding="utf-8")


def sealed(folder: Path) -> bool:
    """Whether a folder's files are unchanged since `seal`."""
    try:
        return bool(read_json(folder / SEAL) == _hashes(folder))
    except (OSError, InputError):
        return False


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: digest for path, digest in digests(model_files(folder)).items()}


def of_network(network: Any, tokenizer: Any, dtype: str) -> str:
    """Return the fingerprint of a network in memory: tensors, modules, attributes, configuration, and the tokenizer.

    A network with hooks or a replaced forward gets a random fingerprint, since their effect cannot be hashed.
    """
    import torch

    digest = hashlib.sha256(f"dtype {dtype}\n".encode())
    for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update("\n".join(state.in_words(network)).encode())
    digest.update(repr(state.of_tokenizer(tokenizer, state.named)).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(os.urandom(16) if state.is_hooked(network) else b"")
    return digest.hexdigest()
