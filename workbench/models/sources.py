"""What a model can be called, and the model a name stands for.

A name is the embedded model's, a hub id, a folder, a GGUF file, any of these with an adapter, or a server's address.
"""

from __future__ import annotations

import glob
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.errors import InputError, unknown
from workbench.models import fetched, proof, server, tokenizers
from workbench.models import fingerprint as fingerprints
from workbench.models.loading import StoredModel
from workbench.models.model import Model, check_evaluating
from workbench.models.weights import unread, weight_files

DTYPES = ["float32", "bfloat16", "float16", "float64"]
TRAINED_FROM = "finished"
"""File in a checkpoint trained here that holds the fingerprint of the model it was trained from."""
DEVICE = re.compile(r"cpu|mps|auto|cuda(:\d+)?")
_KERNEL = re.compile(r'"_?attn_implementation[^"]*"\s*:\s*"[^"]*/')


def names() -> list[str]:
    """Models known by a short name; any hub id, folder or GGUF file works too."""
    return [fetched.EMBEDDED]


def split_adapter(source: str, here: Path = Path()) -> tuple[str, str]:
    """The base model and the adapter folder that a name holds; the adapter is empty where there is none.

    A `#` parts the two, and may also stand in the name of a folder or file: what exists decides.

    Args:
        source: As `load_model` takes it.
        here: Folder that relative paths start from.

    Raises:
        InputError: If the name can be read in two ways, both of which exist.
    """
    cuts = [(source[:at], source[at + 1 :]) for at, mark in enumerate(source) if mark == "#"]
    if not cuts or "://" in source:
        return source, ""
    whole = [(source, "")] if _exists(here, source) else []
    based = [cut for cut in cuts if _exists(here, cut[0])]
    known = [cut for cut in cuts if cut[0] == fetched.EMBEDDED or fetched.HUB_ID.fullmatch(cut[0].partition("@")[0])]
    readings = whole + [cut for cut in dict.fromkeys(based + known) if _exists(here, cut[1])]
    if len(readings) > 1:
        ways = " and as ".join(
            f"{base!r} with adapter {adapter!r}" if adapter else repr(base) for base, adapter in readings
        )
        raise InputError(f"{source!r} can be read as {ways}, and all exist; rename one of the folders.")
    return (readings or based[::-1] or cuts)[0]


def paths_in(source: str, here: Path = Path()) -> list[str]:
    """A model's name in parts, of which every second one, from the second on, is a path; joined they are the name.

    Args:
        source: As `load_model` takes it.
        here: Folder that relative paths start from.
    """
    if server.is_address(source):
        return server.paths_in(source, lambda text: paths_in(text, here))
    if "://" in source:
        return [source]
    base, adapter = split_adapter(source, here)
    if base == fetched.EMBEDDED or not _exists(here, base):
        return [f"{base}#", adapter] if adapter else [source]
    return ["", base, "#", adapter] if adapter else ["", base]


def files_of(path: Path) -> list[Path]:
    """The files that are read of a model's or an adapter's folder, or of a GGUF file with its other parts."""
    if not path.is_dir():
        parted = re.fullmatch(r"(.*-)\d{5}(-of-\d{5}\.gguf)", path.name)
        return sorted(path.parent.glob(f"{glob.escape(parted[1])}*{parted[2]}")) if parted else [path]
    others = ("*.index.json", "generation_config.json", TRAINED_FROM)
    return sorted({*fingerprints.model_files(path), *(file for name in others for file in path.glob(name))})


def cached_commit(source: str, here: Path = Path()) -> str | None:
    """The commit that a hub id without a commit stands for in this machine's cache; "" where it is not there yet.

    None for what is no hub id, and for one that names its commit.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    base = source if "://" in source else split_adapter(source, here)[0]
    name, _, revision = base.partition("@")
    if base == fetched.EMBEDDED or not fetched.HUB_ID.fullmatch(name) or _exists(here, base):
        return None
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return None
    try:
        folder = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
        return (folder / "refs" / (revision or "main")).read_text("utf-8").strip()
    except OSError:
        return ""


def check_name(source: str, here: Path = Path()) -> None:
    """Refuses what can be no model, by its name alone: nothing is read, and the hub is not asked.

    Args:
        source: As `load_model` takes it.
        here: Folder that relative paths start from.

    Raises:
        InputError: If it is no short name, no hub id, and no folder or file that is there.
    """
    if "://" in source:
        server.parse(source)
        return
    base, adapter = split_adapter(source, here)
    path = _path(base, here)
    _refuse_two_of_a_name(base, path)
    if not (base and (base == fetched.EMBEDDED or path.is_dir())):
        _refuse_unless_hub_id(base, is_file=path.is_file())
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
    """Find a model and describe it; its weights are read when they are first needed.

    Args:
        source: A short name from `names()`, a hub id `owner/name[@revision]`, a folder, a `.gguf` file, or any of
            these with `#folder` of a PEFT adapter behind it; or the address of a server, `vllm://host:port/NAME` or
            `openai+https://host/v1/NAME`, with options behind `?` (docs/servers.md).
        device: `cpu`, `cuda`, `cuda:1`, `mps`, or `auto` to spread layers over all devices. Default: cuda, else mps,
            else cpu.
        dtype: One of `DTYPES`. Default: bfloat16 on cuda, float32 elsewhere.
        trust_remote_code: Let code shipped beside the weights run.
        allow_pickle: Accept weights in pickle files, which can run code when read.

    Raises:
        InputError: If there is no such model, or its files cannot be used safely.
    """
    if "://" in str(source):
        if device or dtype:
            raise InputError("A server chooses its own device and dtype; leave both out for a model behind one.")
        served, folder, fingerprint = server.connect(str(source))
        return StoredModel(
            name=str(source),
            folder=folder,
            adapter=None,
            device="server",
            dtype="as served",
            fingerprint=fingerprint,
            revision=served.address.revision,
            note="its weights were not seen: the fingerprint is what the server states and the tokenizer's files",
            trust_remote_code=trust_remote_code,
            server=served,
        )
    base, adapter_path = split_adapter(str(source))
    device = device or _best_device()
    if not DEVICE.fullmatch(device):
        raise InputError(f"Device {device!r} is not known; use cpu, cuda, cuda:1, mps or auto.")
    dtype = dtype or ("bfloat16" if device.startswith(("cuda", "auto")) else "float32")
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    folder, revision, note = _folder_of(base, allow_pickle)
    weights = weight_files(folder, str(source), allow_pickle)
    note = "; ".join(filter(None, (note, unread(folder, weights))))
    files = weights + fingerprints.settings_files(folder)
    if not trust_remote_code and _KERNEL.search((folder / "config.json").read_text(errors="replace")):
        raise InputError(
            f"The config.json of {str(source)!r} names attention code from the hub; take that entry out, or pass "
            "trust_remote_code=True if you trust it."
        )
    adapter = _adapter(adapter_path, files) if base != str(source) else None
    if adapter:
        files = [*files, adapter / "adapter_model.safetensors", *fingerprints.settings_files(adapter)]
    return StoredModel(
        name=str(source),
        folder=folder,
        adapter=adapter,
        device=device,
        dtype=dtype,
        fingerprint=fingerprints.of_files(files, dtype),
        files=tuple(files),
        revision=revision,
        note=note,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )


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


def _folder_of(base: str, allow_pickle: bool) -> tuple[Path, str, str]:
    """Folder, revision and note of a model source."""
    path = _path(base)
    _refuse_two_of_a_name(base, path)
    if base == fetched.EMBEDDED:
        return fetched.located(), f"{fetched.SMOLLM2.name} {fetched.SMOLLM2.version}", fetched.NOTE
    if base and path.is_dir():
        return path, "", ""
    _refuse_unless_hub_id(base, is_file=path.is_file())
    if path.suffix == ".gguf":
        return fetched.converted(path), "", "dequantised from a GGUF file"
    name, _, revision = base.partition("@")
    return *fetched.hub_snapshot(name, revision or None, allow_pickle), ""


def _refuse_two_of_a_name(base: str, path: Path) -> None:
    """Raises where a folder at hand is called like the embedded model."""
    if base == fetched.EMBEDDED and path.is_dir():
        raise InputError(
            f"{base!r} is the embedded model and also a folder in {str(path.parent.resolve())!r}; write './{base}' for "
            "the folder, or rename it."
        )


def _refuse_unless_hub_id(base: str, is_file: bool) -> None:
    """Raises for a name that is neither a hub id nor a GGUF file that is there."""
    if not base:
        raise InputError("The model has no name; give a short name, a hub id `owner/name`, a folder or a .gguf file.")
    if base.endswith("@") and fetched.HUB_ID.fullmatch(base[:-1]):
        raise InputError(f"{base!r} names no revision behind the '@'; write one, or leave the '@' out.")
    if base.endswith(".gguf"):
        if not is_file:
            raise InputError(f"There is no GGUF file {base!r}; check the path.")
    elif base.startswith((".", "/", "~")) or not fetched.HUB_ID.fullmatch(base.partition("@")[0]):
        if "/" not in base:
            raise unknown("model", base, [*names(), "a hub id `owner/name[@revision]`", "a folder", "a .gguf file"])
        raise InputError(f"There is no model folder {base!r}; check the path, or give a hub id `owner/name`.")


def _exists(here: Path, path: str) -> bool:
    try:
        return bool(path) and _path(path, here).exists()
    except (InputError, OSError, ValueError):
        return False


def _path(name: str, here: Path = Path()) -> Path:
    """A name as a path; a `~` that begins no home folder is a character like any other.

    Raises:
        InputError: If it is too long for one.
    """
    path = Path(name)
    with suppress(RuntimeError):
        path = path.expanduser()
    try:
        (here / path).is_dir()
    except OSError as error:
        raise InputError(
            f"{name[:60]!r} cannot be looked up as a folder ({error.strerror}); check the name."
        ) from error
    return here / path


def _adapter(path: str, base: list[Path]) -> Path:
    """The folder of an adapter; one trained here from another model than `base` is refused."""
    if not path:
        raise InputError("The name of an adapter's folder is missing behind the '#'; write BASE#FOLDER.")
    folder = _path(path)
    for needed in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / needed).is_file():
            raise InputError(
                f"Adapter folder {path!r} lacks {needed}; give the folder that PEFT's save_pretrained wrote."
            )
    parent = (folder / TRAINED_FROM).read_text("utf-8") if (folder / TRAINED_FROM).is_file() else ""
    if parent and parent not in [fingerprints.of_files(base, dtype) for dtype in DTYPES]:
        raise InputError(
            f"Adapter {path!r} was trained from another model (fingerprint {parent[:12]}); lay it over that one, or "
            "read its run with training.CheckpointSeries."
        )
    return folder


def _best_device() -> str:
    """The best device at hand; torch is imported only where an accelerator could be."""
    if "torch" not in sys.modules and sys.platform != "darwin" and not Path("/dev/nvidiactl").exists():
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
