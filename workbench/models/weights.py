"""The weight files of a model folder: which are read, and what their headers say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import InputError

ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
FORMATS = {"model": ".safetensors", "pytorch_model": ".bin"}
"""Name and ending of a folder's weights, in the order in which transformers looks for them."""
SHARD = re.compile(r"(.*-)?\d{5}-of-\d{5}\.(safetensors|bin)")


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a weight file, from the file's header."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """Its type as safetensors writes it (F32, BF16, I8 ...)."""
    file: Path
    """The file that holds it."""


def weight_files(folder: Path, source: str, allow_pickle: bool) -> list[Path]:
    """The files that transformers reads the weights of a folder from.

    Raises:
        InputError: If there are none, the folder holds two things of which one may be stale, or an index does not
            describe the files beside it.
    """
    if not (folder / "config.json").is_file():
        if (folder / ADAPTER[0]).is_file():
            raise InputError(f"{source!r} is an adapter ({ADAPTER[0]}), no model; write BASE#{source}.")
        raise InputError(f"{source!r} has no config.json; give the folder that save_pretrained wrote.")
    config = read_json(folder / "config.json")
    chat_template_of(folder)
    for stem, ending in FORMATS.items():
        named = str(config.get("transformers_weights") or "") if stem == "model" else ""
        found = _archive(folder, source, named or stem + ending, ending)
        if found:
            if ending == ".bin" and not allow_pickle:
                raise InputError(
                    f"{source!r} has its weights in pickle files only, which can run code when read; convert them to "
                    "safetensors, or pass allow_pickle=True if you trust them."
                )
            _refuse_second_thing(folder, source, found)
            return found
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    beside = f" beside {others[0]}" if others else ""
    raise InputError(
        f"{source!r} has no weights (model.safetensors or its index){beside}; the download may be incomplete."
    )


def unread(folder: Path, read: Iterable[Path]) -> str:
    """Says which weight files lie in a folder and are not read; empty if none do."""
    names = {path.name for ending in ("safetensors", "bin", "gguf") for path in folder.glob(f"*.{ending}")}
    names -= {path.name for path in read} | {"training_args.bin"}
    return f"not read: {', '.join(sorted(names))}" if names else ""


def headers(files: Iterable[Path]) -> dict[str, Stored]:
    """The tensors of weight files by name; of safetensors the headers alone are read.

    Raises:
        InputError: If a file is damaged, or two of them hold a tensor of one name.
    """
    found: dict[str, Stored] = {}
    for path in files:
        for name, shape, dtype in _header(path):
            if name in found:
                raise InputError(
                    f"Both {str(found[name].file)!r} and {path.name!r} hold the weight {name}; remove the file that "
                    "does not belong to the model."
                )
            found[name] = Stored(shape, dtype, path)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: If there is none.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} is not JSON ({str(error).partition(chr(10))[0]}); copy it again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{str(path)!r} holds no JSON object; copy it again.")
    return content


def _archive(folder: Path, source: str, name: str, ending: str) -> list[Path]:
    """The files of one kind of weights: one whole file, or the shards that an index names."""
    whole, index = folder / name, folder / f"{name}.index.json"
    if name.endswith(".index.json"):
        whole, index = folder / name.removesuffix(".index.json"), folder / name
    if Path(name).name != name or ending not in name:
        raise InputError(
            f"config.json of {source!r} names the weights {name!r}; it must name a {ending} file beside it."
        )
    shards = [path for path in folder.glob(f"*{ending}") if SHARD.fullmatch(path.name) and path != whole]
    if whole.is_file():
        stale = [path.name for path in (index, *sorted(shards)) if path.is_file()]
        if stale == [index.name] and set((read_json(index).get("weight_map") or {"": ""}).values()) == {name}:
            return _shards(index, source, ending, [])
        if stale:
            raise InputError(
                f"{source!r} holds both {whole.name} and {stale[0]}, of which one may be stale; remove one of the two."
            )
        return [whole]
    if not index.is_file():
        if shards:
            raise InputError(f"{source!r} holds {min(shards).name} without {index.name}; copy the index too.")
        return []
    return _shards(index, source, ending, shards)


def _shards(index: Path, source: str, ending: str, shards: list[Path]) -> list[Path]:
    """The shards that an index names, once its list of tensors is that of their headers."""
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise InputError(f"{index.name} of {source!r} has no weight_map; copy it again.")
    for name in placed.values():
        if not isinstance(name, str) or Path(name).name != name or "\\" in name or not name.endswith(ending):
            raise InputError(
                f"{index.name} of {source!r} names the shard {name!r}; it must be a {ending} file in the same "
                "folder, so copy it there and name it without a path."
            )
    files = [index.parent / name for name in sorted(set(placed.values()))]
    if absent := [path.name for path in files if not path.is_file()]:
        raise InputError(f"{source!r} lacks {absent[0]}, which {index.name} names; the download may be incomplete.")
    if extra := sorted(set(shards) - set(files)):
        raise InputError(
            f"{source!r} holds {extra[0].name}, which {index.name} does not name; remove the one of the two that is "
            "stale."
        )
    if ending == ".safetensors":
        stored = headers(files)
        for name in sorted(set(placed) | set(stored)):
            there = stored[name].file.name if name in stored else "no shard"
            if placed.get(name) != there and not name.endswith("rotary_emb.inv_freq"):
                raise InputError(
                    f"{index.name} of {source!r} has the weight {name} in {placed.get(name, 'no shard')}, but it is in "
                    f"{there}; copy index and shards again from one place."
                )
    return files


def _refuse_second_thing(folder: Path, source: str, read: list[Path]) -> None:
    """Refuse adapter files beside whole weights, which transformers lays over them."""
    for name in ADAPTER:
        if (folder / name).is_file():
            raise InputError(
                f"{source!r} holds both a whole model ({read[0].name}) and an adapter ({name}), so it cannot be known "
                "whether the adapter is in the weights already; move the adapter's files to a folder of their own."
            )


def chat_template_of(folder: Path) -> str | None:
    """The chat template that a folder's files state; None where they state none.

    Raises:
        InputError: If it is in two files that differ.
    """
    file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    try:
        written = file.read_text("utf-8") if file.is_file() else None
    except (OSError, ValueError) as error:
        raise InputError(f"{str(file)!r} is no text in UTF-8 ({error}); copy it again.") from error
    stated = read_json(settings).get("chat_template") if settings.is_file() else None
    if isinstance(stated, list):
        stated = next((one.get("template") for one in stated if one.get("name") == "default"), None)
    if written is not None and isinstance(stated, str) and stated.strip() != written.strip():
        raise InputError(
            f"{str(folder)!r} has two chat templates that differ, in {file.name} and in {settings.name}; remove the "
            "stale one."
        )
    return written if written is not None else stated


def _header(path: Path) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Name, shape and type of each tensor in a weight file."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118
                    part = file.get_slice(name)
                    yield name, tuple(part.get_shape()), str(part.get_dtype())
        except (SafetensorError, OSError) as error:
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
