"""Training runs kept in the cache, and the series of checkpoints each leaves: trained once, read often."""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import progress
from workbench.errors import InputError, unknown
from workbench.files import cache_folder
from workbench.models import TRAINED_FROM, Model
from workbench.models import fingerprint as fingerprints
from workbench.training.algorithms import Reward, Row, algorithm_named, checked_rows, named_settings
from workbench.training.folders import (
    ADAPTER,
    RECORD,
    checkpoint_folder,
    finished,
    full_disk_named,
    is_complete,
    read_record,
    remove_torn,
    resumed_from,
    reward_digest,
    weight_files,
    write_record,
)
from workbench.training.trainers import make_trainer


@dataclass(frozen=True)
class Checkpoint(Model):
    """A model some steps into a training run; its network is laid over its parent's when first used."""

    parent: Model | None = None
    """What the run started from."""
    scale: float = 1.0
    """Factor on the adapter's change of the weights."""

    def _read(self, name: str) -> Any:
        """The parent's network with the adapter merged into a copy, or the fully trained network; its tokenizer."""
        from workbench.models.adapters import with_adapter
        from workbench.models.loading import read_network

        assert self.parent is not None and self.adapter is not None
        if name == "tokenizer":
            return self.parent.tokenizer  # training changes no token
        if not (self.adapter / ADAPTER[0]).is_file():
            return read_network(replace(self, folder=self.adapter, adapter=None))
        network = self.parent.network
        self.parent.check_unchanged()
        return with_adapter(copy.deepcopy(network), self, self.scale).eval().requires_grad_(False)

    def forget(self) -> None:
        """Lets go of the network, which is laid over its parent's again when next used."""
        self.__dict__.pop("network", None)


@dataclass(frozen=True)
class CheckpointSeries:
    """The checkpoints of one training run, step 0 being the model it started from."""

    folder: Path
    """Where they lie."""
    parent: Model
    """The model the run started from."""
    record: Mapping[str, Any] = field(init=False, repr=False)
    """What was trained: algorithm, parameters, data digest, log."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        path = self.folder / RECORD
        if not path.is_file():
            raise InputError(f"{self.folder} holds no training run ({RECORD} is missing); give the folder of a series.")
        record = read_record(path)
        if record["parent"] != self.parent.fingerprint:
            raise InputError(
                f"The checkpoints in {self.folder} were trained from a model with fingerprint {record['parent'][:12]}, "
                f"not from {self.parent.name!r} ({self.parent.fingerprint[:12]}); load them with their own."
            )
        object.__setattr__(self, "record", record)

    def steps(self) -> list[int]:
        """Steps that can be loaded, 0 first."""
        return [0, *sorted(finished(self.folder))]

    @property
    def log(self) -> pd.DataFrame:
        """What TRL logged at each step: means over the training batch before the update."""
        return pd.DataFrame([row for row in self.record.get("log", []) if "loss" in row or "rewards/margins" in row])

    def load(self, step: int, scale: float = 1.0) -> Model:
        """The model after some steps; `scale` weakens or strengthens what the adapter does.

        Raises:
            InputError: There is no such checkpoint, one of its files is missing, or it has no adapter to scale.
        """
        if scale != 1 and self.record["lora"] is None:
            raise InputError(f"{self.record['name']!r} was trained without adapters, which alone can be scaled.")
        if step == 0:
            return self.parent
        if step not in self.steps():
            raise unknown("step", step, [str(each) for each in self.steps()])
        folder = checkpoint_folder(self.folder, step)
        files = weight_files(folder)
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
        reward: Reward function of rloo and grpo; its name and its code stand for it in the key.
        name: What to call the run.
        folder: Where to keep it; by default in the cache.
        show_progress: Whether a bar with the time left is shown when someone watches.

    Raises:
        InputError: As `make_trainer`, or a model behind a server, saves that are no increasing positive steps, a
            reward that is no function, a folder of something else, or a disk that fills up.
    """
    algorithm_named(algorithm)
    model.require_network()
    saves = _checked_saves(save_at)
    settings = {"max_steps": saves[-1]} | dict(params or {}) | named_settings(algorithm)
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
    if reward is not None:
        facts["reward_code"] = reward_digest(reward)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
    place = Path(folder) if folder else cache_folder() / "training" / key
    place.mkdir(parents=True, exist_ok=True)
    if not (place / RECORD).is_file() and any(place.glob("checkpoint-*")):
        raise InputError(f"{place} holds checkpoints of something else; give this run a folder of its own.")
    from filelock import FileLock

    facts |= {"name": name or algorithm, "key": key}
    with FileLock(str(place) + ".lock"), full_disk_named(place):
        if not is_complete(place, key):
            write_record(place, facts | {"complete": False})
            _run(place, facts, model, rows, reward, show_progress)
    return CheckpointSeries(place, model)


def _run(place: Path, facts: dict[str, Any], model: Model, rows: list[dict[str, Any]], reward: Any, show: bool) -> None:
    """Train from the last whole checkpoint, then record that the run is complete."""
    remove_torn(place)
    steps, done = facts["params"]["max_steps"], resumed_from(place, facts["save_at"])
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
                trainer.train(resume_from_checkpoint=str(checkpoint_folder(place, done)) if done else None)
            except InputError:
                raise
            except ValueError as error:  # a setting that TRL looks at only now
                raise InputError(f"TRL cannot train {facts['algorithm']!r} with these parameters: {error}") from error
            finally:
                gc.unfreeze()
            history = trainer.state.log_history
        else:  # killed between its last checkpoint and the record
            history = json.loads((checkpoint_folder(place, done) / "trainer_state.json").read_text())["log_history"]
    log = [{k: v for k, v in row.items() if isinstance(v, (int, float))} for row in history]
    seconds = round(time.perf_counter() - started, 1)
    write_record(place, facts | {"complete": True, "seconds": seconds, "log": log, "versions": _versions()})


def _keeper(saves: set[int], parent: str, advance: Callable[[int], Any]) -> Any:
    """A callback that saves at chosen steps, marks what is whole, and keeps the optimiser of the newest alone."""
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


def _checked_saves(save_at: Sequence[int]) -> list[int]:
    steps = [int(step) for step in save_at if step != 0]
    if not steps or steps[0] < 1 or any(b <= a for a, b in pairwise(steps)):
        raise InputError(f"save_at must list increasing steps above 0, not {list(save_at)}.")
    return steps


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("trl", "peft", "transformers", "torch")}
