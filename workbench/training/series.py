"""Training runs kept in the cache, and the series of checkpoints each leaves: trained once, read often."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.errors import InputError, unknown
from workbench.extraction import progress
from workbench.files import cache_folder, written_whole
from workbench.models import Model
from workbench.models import fingerprint as fingerprints
from workbench.training.algorithms import Reward, Row, algorithm_named, checked_rows, make_trainer

RECORD = "series.json"
FINISHED = "finished"
"""Marks a checkpoint that was written whole."""
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Checkpoint(Model):
    """A model some steps into a training run; its network is laid over its parent's when first used."""

    parent: Model | None = None
    """What the run started from."""
    scale: float = 1.0
    """Factor on the adapter's change of the weights."""

    @cached_property
    def network(self) -> Any:
        """The parent's network with the adapter merged into a copy, or the fully trained network."""
        assert self.parent is not None and self.adapter is not None
        if not (self.adapter / ADAPTER[0]).is_file():
            from transformers import AutoModelForCausalLM

            kind = self.parent.network.dtype
            return AutoModelForCausalLM.from_pretrained(str(self.adapter), dtype=kind).to(self.device).eval()
        from peft import PeftModel

        network = PeftModel.from_pretrained(copy.deepcopy(self.parent.network), str(self.adapter))
        for name, weights in network.named_parameters():
            if "lora_B" in name:
                weights.data.mul_(self.scale)
        return network.merge_and_unload().eval().requires_grad_(False)

    @cached_property
    def tokenizer(self) -> Any:
        """The parent's: training changes no token."""
        assert self.parent is not None
        return self.parent.tokenizer


@dataclass(frozen=True)
class CheckpointSeries:
    """The checkpoints of one training run, step 0 being the model it started from."""

    folder: Path
    """Where they lie."""
    parent: Model
    """The model the run started from."""
    record: Mapping[str, Any] = field(init=False)
    """What was trained: algorithm, parameters, data digest, log."""

    def __post_init__(self) -> None:
        path = self.folder / RECORD
        if not path.is_file():
            raise InputError(f"{self.folder} holds no training run ({RECORD} is missing); give the folder of a series.")
        record = json.loads(path.read_text("utf-8"))
        if record["parent"] != self.parent.fingerprint:
            raise InputError(
                f"The checkpoints in {self.folder} were trained from a model with fingerprint {record['parent'][:12]}, "
                f"not from {self.parent.name!r} ({self.parent.fingerprint[:12]}); load them with their own."
            )
        object.__setattr__(self, "record", record)

    def steps(self) -> list[int]:
        """Steps that can be loaded, 0 first."""
        return [0, *sorted(_finished(self.folder))]

    @property
    def log(self) -> pd.DataFrame:
        """What TRL logged at each step: means over the training batch before the update."""
        return pd.DataFrame([row for row in self.record.get("log", []) if "loss" in row or "rewards/margins" in row])

    def load(self, step: int, scale: float = 1.0) -> Model:
        """The model after some steps; `scale` weakens or strengthens what the adapter does.

        Raises:
            InputError: There is no such checkpoint, or one of its files is missing.
        """
        if step == 0:
            return self.parent
        if step not in self.steps():
            raise unknown("step", step, [str(each) for each in self.steps()])
        folder = checkpoint_folder(self.folder, step)
        files = _weights(folder)
        name = f"{self.record['name']} step {step}" + (f" x{scale:g}" if scale != 1 else "")
        content = f"{self.parent.fingerprint} {fingerprints.of_files(files, self.parent.dtype)} {scale!r}"
        return Checkpoint(
            name=f"{self.parent.name} > {name}",
            folder=None,
            adapter=folder,
            device=self.parent.device,
            dtype=self.parent.dtype,
            fingerprint=hashlib.sha256(content.encode()).hexdigest(),
            parent=self.parent,
            scale=scale,
        )

    def __iter__(self) -> Iterator[tuple[int, Model]]:
        for step in self.steps():
            yield step, self.load(step)

    def probe(self, read: Callable[[Model], pd.DataFrame]) -> pd.DataFrame:
        """What a reading gives at every checkpoint, one below the other, with the column `step`."""
        return pd.concat([read(model).assign(step=step) for step, model in self], ignore_index=True)


def train(
    algorithm: str,
    model: Model,
    data: Sequence[Row],
    params: Mapping[str, Any] | None = None,
    *,
    save_at: Sequence[int],
    lora: int | None = 8,
    seed: int = 0,
    reward: Reward | None = None,
    name: str = "",
    folder: Path | str | None = None,
    show_progress: bool = True,
) -> CheckpointSeries:
    """Trains once and keeps a series of checkpoints; the same call again trains nothing.

    The folder is named by its content: model, algorithm, data, parameters, saves and seed. A run that was killed goes
    on from its last whole checkpoint.

    Args:
        algorithm: A name of `ALGORITHMS`.
        model: What to start from.
        data: Rows with the algorithm's columns.
        params: Parameters of TRL, `max_steps` among them; by default the last of `save_at`.
        save_at: Steps to keep, increasing; 0, the model itself, may stand first.
        lora: Rank of the adapters; None trains every weight.
        seed: Of everything random.
        reward: Reward function of rloo and grpo; its name stands for it in the key.
        name: What to call the run.
        folder: Where to keep it; by default in the cache.
        show_progress: Whether a bar with the time left is shown when someone watches.

    Raises:
        InputError: As `make_trainer`, or saves that are no increasing positive steps, or a disk that fills up.
    """
    algorithm_named(algorithm)
    saves = _checked_saves(save_at)
    settings = {"max_steps": saves[-1]} | dict(params or {})
    if saves[-1] > settings["max_steps"]:
        raise InputError(f"save_at asks for step {saves[-1]}, but max_steps is {settings['max_steps']}; train longer.")
    rows = checked_rows(algorithm, data)
    facts = {
        "algorithm": algorithm,
        "parent": model.fingerprint,
        "data": hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest(),
        "rows": len(rows),
        "params": settings,
        "save_at": saves,
        "lora": lora,
        "seed": seed,
        "reward": getattr(reward, "__qualname__", None),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    place = Path(folder) if folder else cache_folder() / "training" / key
    place.mkdir(parents=True, exist_ok=True)
    from filelock import FileLock

    with FileLock(str(place) + ".lock"):
        if not _is_complete(place, key):
            _write_record(place, facts | {"name": name or algorithm, "key": key, "complete": False})
            _run(place, facts | {"name": name or algorithm, "key": key}, model, rows, reward, show_progress)
    return CheckpointSeries(place, model)


def _run(place: Path, facts: dict[str, Any], model: Model, rows: list[dict[str, Any]], reward: Any, show: bool) -> None:
    """Train from the last whole checkpoint, then record that the run is complete."""
    done = max(_finished(place), default=0)
    for folder in place.glob("checkpoint-*"):
        if int(folder.name.partition("-")[2]) not in _finished(place):
            shutil.rmtree(folder)
    started = time.perf_counter()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    label = f"training {facts['name']}"
    with progress.bar(facts["params"]["max_steps"] - done, label, show, "steps") as advance:
        trainer = make_trainer(
            facts["algorithm"],
            model,
            rows,
            facts["params"],
            folder=place,
            lora=facts["lora"],
            seed=facts["seed"],
            reward=reward,
            callbacks=[_keeper(set(facts["save_at"]), advance)],
        )
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint_folder(place, done)) if done else None)
        except Exception as error:
            if not _disk_is_full(error):
                raise
            kept = ", ".join(map(str, sorted(_finished(place)))) or "none"
            raise InputError(
                f"The disk is full at {place}; finished checkpoints ({kept}) are kept. Free some space and run this "
                "again to go on from there."
            ) from error
    log = [{k: v for k, v in row.items() if isinstance(v, (int, float))} for row in trainer.state.log_history]
    seconds = round(time.perf_counter() - started, 1)
    _write_record(place, facts | {"complete": True, "seconds": seconds, "log": log, "versions": _versions()})


def _keeper(saves: set[int], advance: Callable[[int], Any]) -> Any:
    """A callback that saves at chosen steps, marks what is whole, and keeps the optimiser of the newest alone."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
            advance(1)
            control.should_save = state.global_step in saves
            return control

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            newest = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (newest / FINISHED).touch()
            for older in Path(args.output_dir).glob("checkpoint-*"):
                if older != newest:
                    (older / "optimizer.pt").unlink(missing_ok=True)

    return Keeper()


def _checked_saves(save_at: Sequence[int]) -> list[int]:
    steps = [int(step) for step in save_at if step != 0]
    if not steps or steps[0] < 1 or any(b <= a for a, b in pairwise(steps)):
        raise InputError(f"save_at must list increasing steps above 0, not {list(save_at)}.")
    return steps


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where a step's checkpoint lies."""
    return folder / f"checkpoint-{step}"


def _finished(folder: Path) -> list[int]:
    """Steps of the checkpoints that were written whole."""
    return [int(path.parent.name.partition("-")[2]) for path in folder.glob(f"checkpoint-*/{FINISHED}")]


def _weights(folder: Path) -> list[Path]:
    """The files of a checkpoint that decide its numbers."""
    adapter = [folder / name for name in ADAPTER]
    if any(path.is_file() for path in adapter) or not (folder / "config.json").is_file():
        for path in adapter:
            if not path.is_file():
                raise InputError(f"Checkpoint {folder} lacks {path.name}; delete the folder and train again.")
        return adapter
    found = [*folder.glob("model*.safetensors"), folder / "config.json"]
    if len(found) < 2:
        raise InputError(f"Checkpoint {folder} has no weights (model.safetensors); delete the folder and train again.")
    return found


def _is_complete(place: Path, key: str) -> bool:
    try:
        record = json.loads((place / RECORD).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    if record.get("key") != key:
        raise InputError(f"{place} holds another training run ({record.get('name')!r}); give this one its own folder.")
    return bool(record["complete"]) and set(record["save_at"]) <= set(_finished(place))


def _write_record(place: Path, record: Mapping[str, Any]) -> None:
    with written_whole(place / RECORD) as partial:
        partial.write_text(json.dumps(record, indent=1, default=str), encoding="utf-8")


def _disk_is_full(error: BaseException) -> bool:
    import errno

    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("trl", "peft", "transformers", "torch")}
