"""Fingerprints: a name for the numbers a model gives, computed from its files without loading it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.files import digests, written_whole
from workbench.models import state

WEIGHTS = ("*.safetensors", "*.gguf", "*.bin", "*.pt", "*.pth")
SETTINGS = (
    *("*.json", "*.jinja", "*.txt", "*.py", "additional_chat_templates/*.jinja", "tokenizer*", "*.tokenizer", "vocab*"),
    *("*.vocab", "merges*", "*.model", "*.tiktoken", "*.spm", "*.bpe", "*.codes"),
)
"""All that configurations, chat templates and any class of tokenizers may be read from."""
SEAL = "sha256.json"
IDLE = (SEAL, "*.index.json", "generation_config.json", "trainer_state.json", "*_results.json", "LICENSE*", "README*")
"""Files of these endings that decide no number; an index is held against the weights."""


def of_files(paths: Iterable[Path], dtype: str) -> str:
    """The SHA-256 over names and contents of model files and the dtype they are read in.

    Contents are hashed once: a file whose size, inode and times are unchanged is looked up. Renaming the folder
    changes nothing; changing one byte of weights, tokenizer or template changes everything.
    """
    lines = [f"dtype {dtype}", *(f"{path.name} {digest}" for path, digest in digests(paths).items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that decide its numbers."""
    paths = {path for pattern in WEIGHTS + SETTINGS for path in folder.glob(pattern)}
    return sorted(path for path in paths if path.is_file() and not any(path.match(pattern) for pattern in IDLE))


def settings_files(folder: Path) -> list[Path]:
    """The files of a model folder that decide its numbers, apart from weights."""
    return [path for path in model_files(folder) if not holds_weights(path)]


def holds_weights(path: Path) -> bool:
    """Whether a file's name says that it holds weights."""
    return any(path.match(pattern) for pattern in WEIGHTS)


def seal(folder: Path) -> None:
    """Write down the SHA-256 of a model folder's files, so that damage shows."""
    found = {path.name: digest for path, digest in digests(model_files(folder)).items()}
    with written_whole(folder / SEAL) as partial:
        partial.write_text(json.dumps(found, indent=1))


def sealed(folder: Path) -> bool:
    """Whether a folder's files are those that were sealed."""
    try:
        expected = json.loads((folder / SEAL).read_text())
    except (OSError, ValueError):
        return False
    return {path.name: digest for path, digest in digests(model_files(folder)).items()} == expected


def of_network(network: Any, tokenizer: Any, dtype: str) -> str:
    """The fingerprint of a network in memory: its tensors, modules, attributes and configuration, and the tokenizer.

    What a hook or another forward does cannot be told from outside: a network with one gets a name that no other will
    ever have.
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
