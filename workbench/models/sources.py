"""Names of models, and loading the model of a name.

A name is a packaged model's, a hub id, a folder, a GGUF file, any of these with an adapter, or a server's address.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from pathlib import Path
from typing import Any

from workbench.errors import InputError, unknown
from workbench.files import user_path
from workbench.models import fetched, proof, server, tokenizers
from workbench.models import fingerprint as fingerprints
from workbench.models.loading import StoredModel
from workbench.models.model import Model
from workbench.models.packaged import MODELS
from workbench.models.weights import ADAPTER, check_folder, check_members, unread, weight_files
from workbench.reading import read_json, read_text

DTYPES = ["float32", "bfloat16", "float16", "float64"]
TRAINED_FROM = "finished"
"""File in a checkpoint trained here with the fingerprint of the model it was trained from."""
DEVICE = re.compile(r"cpu|mps|auto|cuda(:\d+)?")

UNSEEN = "its weights were not seen: the fingerprint covers the server's statement"


def split_adapter(source: str, here: Path = Path()) -> tuple[str, str]:
    """Return base and adapter folder of a model's name; the adapter is empty if there is none.

    They are separated by `#`, which may also occur in the name of a folder or file: the way that exists is chosen.
    Relative paths start from `here`.

    Raises:
        InputError: If the name can be split in two ways that both exist.
    """
    cuts = [(source[:at], source[at + 1 :]) for at, mark in enumerate(source) if mark == "#"]
    if not cuts or "://" in source:
        return source, ""
    whole = [(source, "")] if _exists(here, source) else []
    based = [cut for cut in cuts if _exists(here, cut[0])]
    known = [cut for cut in cuts if cut[0] in MODELS or fetched.HUB_ID.fullmatch(cut[0].partition("@")[0])]
    ways = whole + [cut for cut in dict.fromkeys(based + known) if _exists(here, cut[1])]
    if len(ways) > 1:
        listed = (f"{base!r} with adapter {adapter!r}" if adapter else repr(base) for base, adapter in ways)
        raise InputError(f"{source!r} can be read as {' and as '.join(listed)}, and all exist; rename a folder.")
    return (ways or based[::-1] or cuts)[0]


def paths_in(source: str, here: Path = Path()) -> list[str]:
    """Return a model's name in parts, of which the second, fourth and so on are paths; joined they are the name."""
    if server.is_address(source):
        return server.paths_in(source, lambda text: paths_in(text, here))
    if "://" in source:
        return [source]
    base, adapter = split_adapter(source, here)
    if base in MODELS or not _exists(here, base):
        return [f"{base}#", adapter] if adapter else [source]
    return ["", base, "#", adapter] if adapter else ["", base]


def files_of(path: Path) -> list[Path]:
    """Return the files that are read of a model's or adapter's folder, or all parts of a GGUF file."""
    if not path.is_dir():
        part = re.fullmatch(r"(.*-)\d{5}(-of-\d{5}\.gguf)", path.name)
        return sorted(path.parent.glob(f"{glob.escape(part[1])}*{part[2]}")) if part else [path]
    others = ("*.index.json", "generation_config.json", TRAINED_FROM)
    return sorted({*fingerprints.model_files(path), *(file for name in others for file in path.glob(name))})


def cached_commit(source: str, here: Path = Path()) -> str | None:
    """Return the commit in this machine's cache of a hub id without a commit; "" if it is not cached.

    None for other names, and for hub ids with a commit.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    base = source if "://" in source else split_adapter(source, here)[0]
    name, _, revision = base.partition("@")
    if base in MODELS or not fetched.HUB_ID.fullmatch(name) or _exists(here, base):
        return None
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return None
    try:
        folder = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
        return (folder / "refs" / (revision or "main")).read_text("utf-8").strip()
    except (OSError, ValueError):
        return ""


def check_name(source: str, here: Path = Path()) -> None:
    """Refuse a name that cannot be a model's, without reading files or contacting the hub.

    Raises:
        InputError: If it is not a short name, a hub id, an address, or an existing folder or file.
    """
    if "://" in source:
        server.parse(source)
        return
    base, adapter = split_adapter(source, here)
    _check_base(base, _path(base, here))
    if base not in MODELS and (folder := _path(base, here)).is_dir():
        check_folder(folder, base)
    if base != source and not adapter:
        raise InputError(f"{source!r} names no adapter behind the '#'; write BASE#FOLDER.")


def load_model(
    source: str | Path,
    *,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
) -> Model:
    """Return the model of a name; its weights are loaded on first use.

    Args:
        source: A short name from `names()`, a hub id `owner/name[@revision]`, a folder, a `.gguf` file, or any of
            these followed by `#folder` of a PEFT adapter; or the address of a server, `vllm://host:port/NAME` or
            `openai+https://host/v1/NAME`, with options behind `?` (docs/servers.md).
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` to spread layers over all devices. Default: cuda, else mps,
            else cpu.
        dtype: One of `DTYPES`. Default: bfloat16 on cuda, float32 elsewhere.
        trust_remote_code: Let code shipped beside the weights run.
        allow_pickle: Accept weights in pickle files, which can run code when read.

    Raises:
        InputError: If there is no such model, or its files cannot be used safely.
    """
    name = str(source)
    if "://" in name:
        if device or dtype:
            raise InputError("A server chooses its own device and dtype; leave both out for a served model.")
        served = server.Server(server.parse(name))
        return StoredModel(
            name,
            served.folder,
            adapter=None,
            device="server",
            dtype="as served",
            fingerprint=served.fingerprint(),
            revision=served.address.revision,
            note=UNSEEN + (" and the tokenizer's files" if served.folder else ""),
            trust_remote_code=trust_remote_code,
            server=served,
        )
    base, adapter_path = split_adapter(name)
    device = device or _best_device()
    if not DEVICE.fullmatch(device):
        raise InputError(f"Device {device!r} is not known; use cpu, cuda, cuda:1, mps or auto.")
    dtype = dtype or ("bfloat16" if device.startswith(("cuda", "auto")) else "float32")
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    folder, revision, note = _folder_of(base, allow_pickle)
    weights = weight_files(folder, name, allow_pickle)
    files = weights + fingerprints.settings_files(folder)
    if not trust_remote_code and _names_code(read_json(folder / "config.json", strict=False)):
        raise InputError(
            f"The config.json of {name!r} names attention code from the hub; remove that entry, or pass "
            "trust_remote_code=True if you trust it."
        )
    adapter = _adapter(adapter_path, files) if base != name else None
    if adapter:
        files = [*files, adapter / ADAPTER[1], *fingerprints.settings_files(adapter)]
    return StoredModel(
        name,
        folder,
        adapter,
        device,
        dtype,
        fingerprint=fingerprints.of_files(files, dtype),
        files=tuple(files),
        revision=revision,
        note="; ".join(filter(None, (note, unread(folder, weights)))),
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )


def wrap_model(network: Any, tokenizer: Any, name: str = "in memory") -> Model:
    """Return a `Model` of a network in memory, for instance one that was just trained.

    Raises:
        InputError: If it is in training mode or not a causal language model, or its tokenizer is not supported.
    """
    tokenizers.check_wrapped(tokenizer)
    proof.check_wrapped(network, name)
    kinds = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    least_precise = min(kinds, key=lambda kind: (kind.itemsize, str(kind)))
    dtype = str(least_precise).removeprefix("torch.")
    model = Model(
        name,
        folder=None,
        adapter=None,
        device=str(next(network.parameters()).device),
        dtype=dtype,
        fingerprint=fingerprints.of_network(network, tokenizer, dtype),
        loaded={"network": network, "tokenizer": tokenizer},
    )
    model.check_evaluating()
    return model


def _names_code(value: Any, implementation: bool = False) -> bool:
    """Whether a configuration names an implementation, of attention or another part, by its address on the hub."""
    if isinstance(value, dict):
        return any(_names_code(v, implementation or "implementation" in k.casefold()) for k, v in value.items())
    if isinstance(value, list):
        return any(_names_code(item, implementation) for item in value)
    return implementation and isinstance(value, str) and "/" in value


def _folder_of(base: str, allow_pickle: bool) -> tuple[Path, str, str]:
    """Return folder, revision and note of a model without an adapter."""
    path = _path(base)
    _check_base(base, path)
    if packaged := MODELS.get(base):
        folder = packaged.located()
        rounded = "; rounded to bfloat16" if folder == packaged.folder("bfloat16") else ""
        return folder, str(packaged.package), packaged.note + rounded
    if path.is_dir():
        return path, "", ""
    if path.suffix == ".gguf":
        return fetched.converted(path), "", "dequantised from a GGUF file"
    name, _, revision = base.partition("@")
    return *fetched.hub_snapshot(name, revision or None, allow_pickle), ""


def _check_base(base: str, path: Path) -> None:
    """Refuse a name that is not a packaged model, a folder, a GGUF file or a hub id; `path` is the name as a path."""
    if not base:
        raise InputError("The model has no name; give a short name, a hub id `owner/name`, a folder or a .gguf file.")
    if base in MODELS and path.is_dir():
        raise InputError(
            f"{base!r} is a packaged model and also a folder in {str(path.parent.resolve())!r}; write './{base}' for "
            "the folder, or rename it."
        )
    if base in MODELS or path.is_dir():
        return
    if base.endswith("@") and fetched.HUB_ID.fullmatch(base[:-1]):
        raise InputError(f"{base!r} names no revision behind the '@'; write one, or leave the '@' out.")
    if base.endswith(".gguf"):
        if not path.is_file():
            raise InputError(f"There is no GGUF file {base!r}; check the path.")
    elif base.startswith((".", "/", "~")) or not fetched.HUB_ID.fullmatch(base.partition("@")[0]):
        if "/" not in base:
            raise unknown("model", base, [*MODELS, "a hub id `owner/name[@revision]`", "a folder", "a .gguf file"])
        raise InputError(f"There is no model folder {base!r}; check the path, or give a hub id `owner/name`.")


def _exists(here: Path, path: str) -> bool:
    try:
        return bool(path) and _path(path, here).exists()
    except (InputError, OSError, ValueError):
        return False


def _path(name: str, here: Path | None = None) -> Path:
    """Return a name as a path; a `~` that begins no home folder is an ordinary character."""
    path = user_path(name, here)
    try:
        path.is_dir()
    except OSError as error:
        raise InputError(
            f"{name[:60]!r} cannot be looked up as a folder ({error.strerror}); check the name."
        ) from error
    return path


def _adapter(path: str, base: list[Path]) -> Path:
    """Return the folder of an adapter; `base` are the base model's files."""
    if not path:
        raise InputError("The name of an adapter's folder is missing behind the '#'; write BASE#FOLDER.")
    folder = _path(path)
    if missing := next((name for name in ADAPTER[:2] if not (folder / name).is_file()), ""):
        raise InputError(f"Adapter folder {path!r} lacks {missing}; give the folder that PEFT's save_pretrained wrote.")
    check_members(folder)
    parent = read_text(folder / TRAINED_FROM) if (folder / TRAINED_FROM).is_file() else ""
    if parent and parent not in [fingerprints.of_files(base, dtype) for dtype in DTYPES]:
        raise InputError(
            f"Adapter {path!r} was trained from another model (fingerprint {parent[:12]}); use that one as its base, "
            "or read its run with training.CheckpointSeries."
        )
    return folder


def _best_device() -> str:
    """Return the best device here; torch is imported only where there can be an accelerator."""
    drivers = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, that of Windows below Linux, AMD's
    if "torch" not in sys.modules and sys.platform == "linux" and not any(map(os.path.exists, drivers)):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
