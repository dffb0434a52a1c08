"""Training runs in the cache, and their series of checkpoints."""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import progress, reading
from workbench.errors import InputError, unknown
from workbench.files import cache_folder
from workbench.models import TRAINED_FROM, Model
from workbench.models import fingerprint as fingerprints
from workbench.training import folders
from workbench.training.algorithms import Reward, Row, algorithm_named, named_settings
from workbench.training.rows import checked_rows
from workbench.training.trainers import make_trainer


@dataclass(frozen=True)
class Checkpoint(Model):
    """A model after some training steps; its network is built from the parent's on first use."""

    parent: Model | None = None
    """The model at step 0."""
    scale: float = 1.0
    """Factor on the adapter's change of the weights."""

    def _read(self, name: str) -> Any:
        """Return the tokenizer, or the network: a copy of the parent's with the adapter merged, or full weights."""
        from workbench.models.adapters import with_adapter
        from workbench.models.loading import read_network

        assert self.parent is not None and self.adapter is not None
        if name == "tokenizer":
            return self.parent.tokenizer  # training does not change the tokenizer
        if not (self.adapter / folders.ADAPTER[0]).is_file():
            return read_network(replace(self, folder=self.adapter, adapter=None))
        network = self.parent.network
        self.parent.check_unchanged()
        return with_adapter(copy.deepcopy(network), self, self.scale).eval().requires_grad_(False)

    def forget(self) -> None:
        """Free the network; it is rebuilt on next use."""
        self.__dict__.pop("network", None)


@dataclass(frozen=True)
class CheckpointSeries:
    """The checkpoints of one training run; step 0 is the model before training."""

    folder: Path
    """Folder of the run."""
    parent: Model
    """The model at step 0."""
    record: Mapping[str, Any] = field(init=False, repr=False)
    """Record of the run: algorithm, parameters, data digest, log."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        path = self.folder / folders.RECORD
        if not path.is_file():
            raise InputError(
                f"{self.folder} is not a training run ({folders.RECORD} is missing); give the folder of a series."
            )
        record = folders.read_record(path)
        if record["parent"] != self.parent.fingerprint:
            raise InputError(
                f"The checkpoints in {self.folder} were trained from a model with fingerprint {record['parent'][:12]}, "
                f"not from {self.parent.name!r} ({self.parent.fingerprint[:12]}); load them with that model."
            )
        object.__setattr__(self, "record", record)

    def steps(self) -> list[int]:
        """Return the steps that can be loaded, starting with 0."""
        return [0, *folders.complete_steps(self.folder)]

    @property
    def log(self) -> pd.DataFrame:
        """TRL's log: per step, means over the training batch before the update."""
        return pd.DataFrame([row for row in self.record.get("log", []) if "loss" in row or "rewards/margins" in row])

    def load(self, step: int, scale: float = 1.0) -> Model:
        """Return the model after `step` training steps; `scale` multiplies the adapter's change of the weights."""
        if scale != 1 and self.record["lora"] is None:
            raise InputError(f"{self.record['name']!r} was trained without adapters and cannot be scaled.")
        if step == 0:
            return self.parent
        if step not in self.steps():
            raise unknown("step", step, [str(each) for each in self.steps()])
        folder = folders.checkpoint_folder(self.folder, step)
        files = folders.weight_files(folder)
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
        """Return the tables that `read` makes of every checkpoint, concatenated, with the column `step`."""
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
    """Train a model and return its series of checkpoints; a run that exists is reused.

    The default folder is in the cache, under a key of model, algorithm, data, parameters, saves, rank, seed and reward.
    A killed run resumes from its last complete checkpoint.

    Args:
        algorithm: See `make_trainer`, also for model, data, lora and seed.
        model: The model at step 0.
        data: Rows with the algorithm's columns.
        params: Parameters; max_steps is the last of `save_at` by default.
        save_at: Steps to save, increasing; 0 is ignored.
        lora: Rank of the adapters.
        seed: Of weights, order and sampling.
        reward: Python function for rloo and grpo; its name and code are part of the key.
        name: Title of the run; the algorithm by default.
        folder: Another folder than the one in the cache.
        show_progress: Show a progress bar.

    Raises:
        InputError: As in `make_trainer`; also for a folder with other content, or a full disk.
    """
    algorithm_named(algorithm)
    model.require_network()
    saves = [int(step) for step in save_at if step != 0]
    if not saves or saves[0] < 1 or any(b <= a for a, b in pairwise(saves)):
        raise InputError(f"save_at must list increasing steps above 0, not {list(save_at)}.")
    settings = {"max_steps": saves[-1]} | dict(params or {}) | named_settings(algorithm)
    if saves[-1] > settings["max_steps"]:
        raise InputError(
            f"save_at contains step {saves[-1]}, but max_steps is {settings['max_steps']}; raise max_steps."
        )
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
    if reward is not None:
        facts["reward_code"] = folders.reward_digest(reward)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    place = Path(folder) if folder else cache_folder() / "training" / key
    place.mkdir(parents=True, exist_ok=True)
    if not (place / folders.RECORD).is_file() and any(place.glob("checkpoint-*")):
        raise InputError(f"{place} contains checkpoints of something else; choose another folder.")
    from filelock import FileLock

    facts |= {"name": name or algorithm, "key": key}
    with FileLock(str(place) + ".lock"), folders.full_disk_reported(place):
        if not folders.is_complete(place, key):
            folders.write_record(place, facts | {"complete": False})
            _train(place, facts, model, rows, reward, show_progress)
    return CheckpointSeries(place, model)


def _train(
    place: Path, facts: dict[str, Any], model: Model, rows: list[dict[str, Any]], reward: Any, show: bool
) -> None:
    """Train from the last complete checkpoint on, then write the complete record."""
    folders.remove_incomplete(place)
    steps, done = facts["params"]["max_steps"], folders.resume_step(place, facts["save_at"])
    started = time.perf_counter()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    with progress.bar(steps - done, f"training {facts['name']}", show, unit="steps") as advance:
        if done < steps:
            trainer = make_trainer(
                facts["algorithm"],
                model,
                rows,
                facts["params"],
                folder=place,
                lora=facts["lora"],
                seed=facts["seed"],
                reward=reward,
                callbacks=[_keeper(set(facts["save_at"]), model.fingerprint, advance)],
            )
            gc.freeze()  # transformers collects garbage after training: only among what came since
            try:
                trainer.train(resume_from_checkpoint=str(folders.checkpoint_folder(place, done)) if done else None)
            except InputError:
                raise
            except ValueError as error:  # a setting that TRL checks only now
                raise InputError(f"TRL cannot train {facts['algorithm']!r} with these parameters: {error}") from error
            finally:
                gc.unfreeze()
            history = trainer.state.log_history
        else:  # killed between its last checkpoint and the record
            state = folders.checkpoint_folder(place, done) / "trainer_state.json"
            history = reading.field(reading.read_json(state, strict=False), "log_history", list, str(state))
    log = [{k: v for k, v in row.items() if isinstance(v, (int, float))} for row in history if isinstance(row, dict)]
    seconds = round(time.perf_counter() - started, 1)
    versions = {name: version(name) for name in ("trl", "peft", "transformers", "torch")}
    folders.write_record(place, facts | {"complete": True, "seconds": seconds, "log": log, "versions": versions})


def _keeper(saves: set[int], parent: str, advance: Callable[[int], Any]) -> Any:
    """Return a callback that saves at given steps, marks complete checkpoints and keeps the newest optimiser only."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
            advance(1)
            control.should_save = state.global_step in saves
            return control

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            newest = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (newest / TRAINED_FROM).write_text(parent, encoding="utf-8")
            for older in Path(args.output_dir).glob("checkpoint-*"):
                if older != newest:
                    (older / "optimizer.pt").unlink(missing_ok=True)

    return Keeper()
