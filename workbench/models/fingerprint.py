"""Fingerprints: a name for the numbers a model gives, computed from its files without loading it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.files import digests, written_whole

WEIGHTS = ("*.safetensors", "*.gguf", "*.bin", "*.pt", "*.pth")
SETTINGS = ("config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt")
SEAL = "sha256.json"
TEMPLATES = ("chat_template*", "*.model", "*.tiktoken", "adapter_config.json", "*.py")


def of_files(paths: Iterable[Path], dtype: str) -> str:
    """The SHA-256 over names and contents of model files and the dtype they are read in.

    Contents are hashed once: a file whose size, inode and times are unchanged is looked up. Renaming the folder
    changes nothing; changing one byte of weights, tokenizer or template changes everything.
    """
    lines = [f"dtype {dtype}", *(f"{path.name} {digest}" for path, digest in digests(paths).items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that decide its numbers."""
    paths = {path for pattern in WEIGHTS + SETTINGS + TEMPLATES for path in folder.glob(pattern)}
    return sorted(path for path in paths if path.is_file())


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
    """The fingerprint of a network already in memory, from its tensors, configuration, tokenizer and template.

    What a hook does cannot be told from outside: a network with one gets a name that no other will ever have.
    """
    import torch

    digest = hashlib.sha256(f"dtype {dtype}\n".encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps(network.config.to_diff_dict(), sort_keys=True, default=str).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(f"{tokenizer.chat_template} {tokenizer.special_tokens_map}".encode())
    digest.update(os.urandom(16) if any(map(hooks_of, network.modules())) else b"")
    return digest.hexdigest()


def state_of_network(network: Any) -> tuple[Any, ...]:
    """What changes when weights are replaced or written over in place, or a hook is laid on; quick to tell."""
    weights = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in network.parameters()]
    return id(network), sum(map(hooks_of, network.modules())), *weights


def hooks_of(module: Any) -> int:
    """How many hooks a module has on its passes, apart from those transformers leaves there for hidden states."""
    named = [some for name, some in vars(module).items() if name.startswith(("_forward", "_backward")) and some]
    hooks = [hook for some in named if hasattr(some, "values") for hook in some.values()]
    return sum(not str(getattr(hook, "__module__", "")).startswith("transformers.") for hook in hooks)


def state_of_tokenizer(tokenizer: Any) -> tuple[Any, ...]:
    """What changes when another template, special token or word is given to a tokenizer."""
    return id(tokenizer), str(tokenizer.chat_template), str(tokenizer.special_tokens_map), len(tokenizer)


def changed(parts: dict[str, Any], states: dict[str, Any]) -> str:
    """The first of these parts, a `network` and a `tokenizer`, that is not as its state says; "" if all are.

    Args:
        parts: By name; one that is not loaded may be left out.
        states: By name, as they were when the fingerprint was made; a part without one, or another object, is passed.
    """
    for name, state in (("network", state_of_network), ("tokenizer", state_of_tokenizer)):
        before = states.get(name)
        if before is not None and name in parts and before[0] == id(parts[name]) and state(parts[name]) != before:
            return name
    return ""
