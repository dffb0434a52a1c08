"""Models as folders of safetensors: packaged models and GGUF files, converted once, and models of the hub."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from filelock import FileLock

from workbench.errors import InputError
from workbench.files import CACHE_VARIABLE, cache_folder, digests, full_disk, full_disk_named, moved, sha256_of
from workbench.models import fingerprint as fingerprints
from workbench.models.gguf import FAMILIES, check_all_read, configuration, parts_of, read, weights
from workbench.models.gguf_tokenizer import tokenizer_of
from workbench.models.packaged import RULES, PackagedModel
from workbench.models.weights import reason_of
from workbench.packages import require
from workbench.progress import bar
from workbench.reading import printable

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
SHARD = 1 << 30
"""Bytes of weights from which a converted model is stored in several files; each is in memory at once."""


def convert(model: PackagedModel, dtype: str = "float32") -> Path:
    """Convert the fetched GGUF file once into safetensors, which load about 20 times faster, and return the folder.

    Args:
        model: The model.
        dtype: `float32`, or `bfloat16` for half the disk and weights rounded to three significant digits.
    """
    source = next(require(model.package, f"The model {model.name!r}").rglob("*.gguf"))
    return _converted_once(model.folder(dtype), [source], [model.gguf_sha256], dtype)


def converted(source: Path) -> Path:
    """Return the cached folder of a GGUF file (or any part of one) as safetensors, converted on first use.

    Raises:
        InputError: If parts are missing, or the file is damaged or not supported.
    """
    parts = parts_of(source)
    hashes = list(digests(parts).values())
    key = hashlib.sha256("\n".join([f"rules {RULES}", *hashes]).encode()).hexdigest()[:16]
    return _converted_once(cache_folder() / "models" / f"{source.stem[:40]}-{key}", parts, hashes)


def _converted_once(target: Path, parts: list[Path], expected: list[str], dtype: str = "float32") -> Path:
    """Return the folder `target`, converted from a GGUF file if absent or damaged, by one process at a time.

    `expected` are the SHA-256 of the parts, checked after they were read.
    """
    with _writing(target.parent), FileLock(target.with_name(f".{target.name}.lock")):
        if fingerprints.sealed(target):
            return target
        partial = target.with_name(target.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _convert(parts, partial, dtype)
            for part, digest in zip(parts, expected, strict=True):
                if (actual := sha256_of(part)) != digest:
                    raise InputError(
                        f"The GGUF file {part} has other bytes than expected (SHA-256 {actual[:12]}, not "
                        f"{digest[:12]}): it is damaged or was changed meanwhile; copy or fetch it again."
                    )
            fingerprints.seal(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(target, ignore_errors=True)
        moved(partial, target)
    return target


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Create a folder, and raise an `InputError` for every error of writing to it."""
    try:
        with full_disk_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"Cannot write a converted model to {folder} ({printable(error)}); check that disk, or set "
            f"{CACHE_VARIABLE} to another folder."
        ) from error


def _convert(parts: list[Path], target: Path, dtype: str) -> None:
    """Dequantise a GGUF file into a folder of safetensors, configuration and tokenizer.

    Only the GGUF file is read; transformers is given no folder.
    """
    with _reading(parts[0]):
        file = read(parts)
        if file.architecture not in FAMILIES:
            raise file.error(
                f"is of architecture {file.architecture!r}, which is not supported (supported: {', '.join(FAMILIES)})"
            )
        tokenizer = tokenizer_of(file)
        config = configuration(file)
        if len(tokenizer) > config.vocab_size:
            raise file.error(f"has {len(tokenizer)} tokens and a network for {config.vocab_size}")
        sizes, tensors = weights(file, config)
        check_all_read(file)
    target.mkdir(parents=True)
    _write(sizes, _read_of(parts[0], tensors), target, dtype)
    if dtype != "float32":
        config.dtype = dtype
    config.save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise an `InputError` for every error of reading a GGUF file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = printable((str(error).strip().splitlines() or [type(error).__name__])[0]).rstrip(".")
        raise InputError(
            f"Cannot read the GGUF file {path}: {reason}; if it is damaged, copy or convert it again."
        ) from error


def _read_of(path: Path, tensors: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    with _reading(path):
        yield from tensors


def _write(sizes: dict[str, int], tensors: Iterator[tuple[str, Any]], target: Path, dtype: str) -> None:
    """Write weights, `sizes` elements each, to one file, or to several with an index; one file is in memory at once."""
    import torch
    from safetensors.torch import save_file

    kind, file_of = getattr(torch, dtype), dict[str, str]()
    total = sum(sizes.values()) * kind.itemsize
    if shutil.disk_usage(target).free < total:
        raise InputError(
            f"The converted model needs {total / 1e9:.1f} GB of the disk of {target.parent}; free that, or set "
            f"{CACHE_VARIABLE} to a folder of another one."
        )
    starts = accumulate((size * kind.itemsize for size in sizes.values()), initial=0)
    shards = [start // SHARD for start, _ in zip(starts, sizes)]
    for name, shard in zip(sizes, shards, strict=True):
        last = shards[-1] + 1
        file_of[name] = f"model-{shard + 1:05}-of-{last:05}.safetensors" if last > 1 else "model.safetensors"
    label = f"converting {target.name.removesuffix('.part')} to safetensors"
    with bar(total // 1_000_000, label, unit="MB") as advance:
        for file, group in groupby(tensors, lambda each: file_of[each[0]]):
            shard = {}
            for name, values in group:
                shard[name] = values.to(kind)
                advance(shard[name].nbytes // 1_000_000)
            save_file(shard, target / file, metadata={"format": "pt"})
    if len(set(shards)) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": file_of}
        (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")


def hub_snapshot(
    repository: str, revision: str | None, allow_pickle: bool = False, weights: bool = True
) -> tuple[Path, str]:
    """Return the local folder and commit of a hub repository, downloaded if absent; without `weights`, small files.

    Raises:
        InputError: If the hub cannot be reached, or has no such repository or revision.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import LocalEntryNotFoundError

    patterns = [*fingerprints.SETTINGS, *["*.safetensors"] * weights, *["*.bin"] * (weights and allow_pickle)]
    other = ["consolidated*"]  # the same weights under names that transformers does not read
    try:
        path = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, ignore_patterns=other))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"Cannot reach the hub for {repository!r} and no copy is in its cache; go online, "
            "or give the path of a local folder."
        ) from error
    except Exception as error:
        if full := full_disk(error, Path(HF_HUB_CACHE), instead="set HF_HOME to a folder on another disk"):
            raise full from error
        raise InputError(f"Cannot fetch {repository!r} from the hub: {reason_of(error)}; check its name.") from error
    return path, path.name
