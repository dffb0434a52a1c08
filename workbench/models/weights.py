"""The weight files of a model folder: which files are read, and the contents of their headers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import reading
from workbench.errors import InputError, one_line

ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
FORMATS = {"model": ".safetensors", "pytorch_model": ".bin"}
"""Stem and suffix of weight files, in the order in which transformers looks for them."""
SETTINGS = (".json", ".jinja", ".txt")
SHARD = re.compile(r"(.*-)?\d{5}-of-\d{5}\.(safetensors|bin)")
HINTS = re.compile(r"huggingface\.co|report|make sure|If you|you (are|were) |Otherwise", re.IGNORECASE)
"""In a library's sentences that point at the hub, or at output that is not shown."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a weight file, from the file's header."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Its type in the notation of safetensors (F32, BF16, I8 ...)."""
    file: Path
    """The file."""


def weight_files(folder: Path, source: str, allow_pickle: bool) -> list[Path]:
    """Return the files that transformers reads the weights of a folder from.

    Raises:
        InputError: If there are none, the folder has two versions of something, of which one may be stale, or an index
            does not match the files beside it.
    """
    check_folder(folder, source)
    config = read_json(folder / "config.json")
    chat_template_of(folder)
    for stem, suffix in FORMATS.items():
        named = str(config.get("transformers_weights") or "") if stem == "model" else ""
        files = _files_of_format(folder, source, named or stem + suffix, suffix)
        if not files:
            continue
        if suffix == ".bin" and not allow_pickle:
            raise InputError(
                f"{source!r} has its weights in pickle files only, which can run code when read; convert them to "
                "safetensors, or pass allow_pickle=True if you trust them."
            )
        if adapter := next((name for name in ADAPTER if (folder / name).is_file()), ""):
            raise InputError(  # which transformers would add to the weights
                f"{source!r} contains both a whole model ({files[0].name}) and an adapter ({adapter}), and whether the "
                "weights already include the adapter is unknown; move the adapter's files to a folder of their own."
            )
        return files
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    beside = f" beside {others[0]}" if others else ""
    raise InputError(
        f"{source!r} has no weights (model.safetensors or its index){beside}; the download may be incomplete."
    )


def check_folder(folder: Path, source: str) -> None:
    """Refuse a folder that is not a model's, named by what it is, or one with members that are no files.

    Raises:
        InputError: If it has no config.json, or a member that `check_members` refuses.
    """
    if not (folder / "config.json").exists():
        if (folder / ADAPTER[0]).is_file():
            raise InputError(f"{source!r} is an adapter ({ADAPTER[0]}), not a model; write BASE#{source}.")
        if (folder / "model_index.json").is_file():
            raise InputError(f"{source!r} is a pipeline for images (model_index.json), not a language model.")
        if below := sorted(folder.glob("*/config.json")):
            raise InputError(
                f"{source!r} has no config.json, but {below[0].parent.name} in it has one; name that folder."
            )
        raise InputError(f"{source!r} has no config.json; give the folder that save_pretrained wrote.")
    check_members(folder)


def check_members(folder: Path) -> None:
    """Refuse a pipe, a device, or a settings file that is too large to be one, in a model's or adapter's folder."""
    for path in folder.iterdir():
        if path.exists() and not path.is_dir() and (not path.is_file() or path.suffix in SETTINGS):
            with reading.opened_file(path, reading.LARGEST if path.suffix in SETTINGS else None):
                pass


@contextmanager
def loading(what: str, files: str = "") -> Iterator[None]:
    """Turn whatever a library raises for files that it cannot use into an `InputError`, also a panic of its Rust code.

    Args:
        what: What is loaded, for the message.
        files: The files to compare with their source; the model's by default.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except BaseException as error:
        kind = type(error).__name__
        if kind == "OutOfMemoryError" or not (isinstance(error, Exception) or kind == "PanicException"):
            raise
        files = files or "its files"
        raise InputError(f"Cannot load {what}: {reason_of(error)}; compare {files} with their source.") from error


def reason_of(error: BaseException) -> str:
    """Return a library's message as part of a sentence, without its hints at the hub and at output not shown."""
    kind = type(error).__name__
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if isinstance(error, KeyError):
        return f"its files lack {lines[0] if lines else 'an entry'}, or name it where the library does not know it"
    if lines and lines[0].endswith(":"):
        lines[0] += f" {lines[-1]}"
    first = re.split(r"(?<=[.!]) ", lines[0]) if lines else []
    shown = one_line(" ".join(part for part in first if not HINTS.search(part)).rstrip(".!: "), 300)
    return f"{shown}" if shown and " " in shown else f"the library cannot use them ({kind}{f': {shown}' * bool(shown)})"


def unread(folder: Path, files: Iterable[Path]) -> str:
    """Return a note on the weight files of a folder that are not among `files`, which are read; empty if none."""
    names = {path.name for suffix in ("safetensors", "bin", "gguf") for path in folder.glob(f"*.{suffix}")}
    names -= {path.name for path in files} | {"training_args.bin"}
    return f"not read: {', '.join(sorted(names))}" if names else ""


def headers(files: Iterable[Path]) -> dict[str, Stored]:
    """Return the tensors of weight files by name, from their headers (a pickle is read without its numbers).

    Raises:
        InputError: If a file is damaged, or two files have a tensor of the same name.
    """
    tensors: dict[str, Stored] = {}
    for path in files:
        for name, shape, dtype in _header(path):
            if name in tensors:
                raise InputError(
                    f"Both {str(tensors[name].file)!r} and {path.name!r} contain the weight {name}; remove the file "
                    "that does not belong to the model."
                )
            tensors[name] = Stored(shape, dtype, path)
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file."""
    content = reading.read_json(path, strict=False)
    if not isinstance(content, dict):
        raise InputError(f"{str(path)!r} is not a JSON object; copy it again.")
    return content


def _files_of_format(folder: Path, source: str, name: str, suffix: str) -> list[Path]:
    """Return the weight files of one format: one whole file, or the shards of an index; empty if there are none."""
    stem = name.removesuffix(".index.json")
    whole, index = folder / stem, folder / f"{stem}.index.json"
    if Path(name).name != name or suffix not in name:
        raise InputError(
            f"config.json of {source!r} names the weights {name!r}; it must name a {suffix} file beside it."
        )
    shards = [path for path in folder.glob(f"*{suffix}") if SHARD.fullmatch(path.name) and path != whole]
    if whole.is_file():
        stale = [path.name for path in (index, *sorted(shards)) if path.is_file()]
        placed = read_json(index).get("weight_map") if stale == [index.name] else None
        if isinstance(placed, dict) and placed and all(each == name for each in placed.values()):
            return _shards(index, source, suffix, [])
        if stale:
            raise InputError(
                f"{source!r} contains both {whole.name} and {stale[0]}, of which one may be stale; remove one of them."
            )
        return [whole]
    if index.is_file():
        return _shards(index, source, suffix, shards)
    if shards:
        raise InputError(f"{source!r} contains {min(shards).name} without {index.name}; copy the index too.")
    return []


def _shards(index: Path, source: str, suffix: str, shards: list[Path]) -> list[Path]:
    """Return the shards that an index names, after comparing its list of tensors with their headers."""
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise InputError(f"{index.name} of {source!r} has no weight_map; copy it again.")
    for name in placed.values():
        if not isinstance(name, str) or Path(name).name != name or "\\" in name or not name.endswith(suffix):
            raise InputError(
                f"{index.name} of {source!r} names the shard {name!r}; it must be a {suffix} file in the same folder, "
                "so copy it there and name it without a path."
            )
    files = [index.parent / name for name in sorted(set(placed.values()))]
    if absent := [path.name for path in files if not path.is_file()]:
        raise InputError(f"{source!r} lacks {absent[0]}, which {index.name} names; the download may be incomplete.")
    if extra := sorted(set(shards) - set(files)):
        raise InputError(
            f"{source!r} contains {extra[0].name}, which {index.name} does not name; remove the one of the two that "
            "is stale."
        )
    if suffix == ".safetensors":
        stored = headers(files)
        for name in sorted(set(placed) | set(stored)):
            actual = stored[name].file.name if name in stored else "no shard"
            if placed.get(name) != actual and not name.endswith("rotary_emb.inv_freq"):
                raise InputError(
                    f"{index.name} of {source!r} has the weight {name} in {placed.get(name, 'no shard')}, but it is in "
                    f"{actual}; copy index and shards again from one source."
                )
    return files


def chat_template_of(folder: Path) -> str | None:
    """Return the chat template in a folder's files, which must agree; None without one."""
    file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    written = reading.read_text(file) if file.is_file() else None
    stated = read_json(settings).get("chat_template") if settings.is_file() else None
    if isinstance(stated, list):
        named = {str(each.get("name")): each.get("template") for each in stated if isinstance(each, dict)}
        stated = named.get("default")
    if not isinstance(stated, str | None):
        raise InputError(f"The chat_template in {str(settings)!r} is no text; copy {settings.name} again.")
    if written is not None and isinstance(stated, str) and stated.strip() != written.strip():
        raise InputError(
            f"{str(folder)!r} has two chat templates that differ, in {file.name} and in {settings.name}; remove the "
            "stale one."
        )
    return written if written is not None else stated


def _header(path: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield name, shape and type of each tensor in a weight file."""
    with reading.opened_file(path):  # the libraries wait for a pipe for ever
        pass
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118
                    part = file.get_slice(name)
                    yield name, tuple(part.get_shape()), str(part.get_dtype())
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"The weights in {str(path)!r} are damaged ({error}); copy them again.") from error
        return
    import torch

    try:
        for name, tensor in torch.load(path, map_location="meta", weights_only=True).items():
            yield name, tuple(tensor.shape), "F" if tensor.is_floating_point() else "I"
    except Exception as error:
        raise InputError(
            f"The weights in {str(path)!r} cannot be read ({type(error).__name__}); convert them."
        ) from error
