"""TRL trainers built from an algorithm's data."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Mapping, Sequence
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from workbench.errors import InputError, unknown
from workbench.extraction.templates import template_of
from workbench.extraction.tokens import Encoder
from workbench.models import Model
from workbench.training.algorithms import (
    MAX_LENGTH,
    Algorithm,
    Reward,
    Row,
    algorithm_named,
    checked_rows,
    named_settings,
    trl_classes,
    valid_parameters,
)
from workbench.training.exchanges import ANSWERS, as_trained


def sft_weight(eta: float, beta: float, mean_tokens: float) -> float:
    """The weight of TRL's `sft` term, a token mean, that imitates RPO's eta * beta * summed log-likelihood."""
    if mean_tokens <= 0:
        raise InputError(f"mean_tokens must be positive, not {mean_tokens!r}.")
    return eta * beta * mean_tokens


def make_trainer(
    algorithm: str,
    model: Model,
    data: Sequence[Row],
    params: Mapping[str, Any] | None = None,
    *,
    folder: Path | str,
    lora: int | None = 8,
    seed: int = 0,
    reward: Reward | None = None,
    callbacks: Sequence[Any] = (),
) -> Any:
    """A TRL trainer on a copy of the model, offline and, on the CPU, deterministic.

    Args:
        algorithm: A name of `ALGORITHMS`, which may carry settings (`algorithm_named`).
        model: What is trained; with LoRA it is also the reference.
        data: Rows with the algorithm's columns, as plain texts; a model with a chat template is trained in chats.
        params: Parameters of the TRL configuration, and the algorithm's own; settings in the name go over them.
        folder: Where checkpoints go.
        lora: Rank of the adapters on all linear layers; None trains every weight.
        seed: Of weights, order and sampling.
        reward: For rloo and grpo: called with `prompts`, `completions` and more by keyword, one number each.
        callbacks: Of transformers.

    Raises:
        InputError: Unknown algorithm or parameter, missing columns, or a combination TRL cannot train.
    """
    made = algorithm_named(algorithm)
    rows = checked_rows(algorithm, data)
    if (reward is None) == (made.columns == ("prompt",)):
        says = (
            "needs a reward function; pass reward=" if reward is None else "takes no reward function; rloo and grpo do"
        )
        raise InputError(f"{algorithm!r} {says}.")
    trainer_class, config_class = trl_classes(made)
    network, tokenizer = network_of(made, model, lora), tokenizer_of(model)
    if "cpo" in made.trainer and not tokenizer.chat_template and _starts_bare(tokenizer):
        tokenizer.bos_token = None  # else this trainer begins every text with it
    settings = _settings(algorithm, {**made.settings, **(params or {}), **named_settings(algorithm)}, model, rows)
    try:
        config = config_class(**{"seed": seed, "data_seed": seed} | settings, output_dir=str(folder))
    except ValueError as error:
        raise InputError(f"TRL cannot train {algorithm!r} with these parameters: {error}") from error
    more = _references(algorithm, made, model, lora, reward, config)
    if lora is not None:
        more["peft_config"] = _adapters(made, lora)
    data = _dataset(rows, tokenizer)
    try:
        trainer = trainer_class(
            model=network,
            args=config,
            train_dataset=data,
            processing_class=tokenizer,
            callbacks=list(callbacks),
            **more,
        )
    except ValueError as error:
        raise InputError(f"TRL cannot train {algorithm!r} with these parameters: {error}") from error
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    _read_head_at_responses(trainer)
    _check_room(len(rows), len(trainer.train_dataset), config)
    return trainer


def _check_room(given: int, left: int, config: Any) -> None:
    """Count the rows that TRL drops without a word, as they leave no room for a response; packing merges rows."""
    most = getattr(config, "max_length", None)
    if not left:
        raise InputError(f"No row leaves room for a response in {most} tokens; raise max_length.")
    if left < given and not getattr(config, "packing", False):
        warnings.warn(
            f"{given - left} of {given} rows are left out: they leave no room for a response in max_length="
            f"{most} tokens.",
            stacklevel=3,
        )


def _read_head_at_responses(trainer: Any) -> None:
    """Read the head of the network at responses alone, while this trainer makes a step.

    TRL does so on devices with Triton; elsewhere it reads prompts too and throws that away. Left alone where TRL's
    switch is not the one known.
    """
    utils: Any = import_module("trl.trainer.utils")
    known, step = getattr(utils, "_use_triton", None), trainer.training_step
    if not inspect.isfunction(known) or list(inspect.signature(known).parameters) != ["device"]:
        return

    @wraps(step)
    def training_step(*args: Any, **more: Any) -> Any:
        before, utils._use_triton = utils._use_triton, lambda device: True
        try:
            return step(*args, **more)
        finally:
            utils._use_triton = before

    trainer.training_step = training_step


def _settings(algorithm: str, asked: Mapping[str, Any], model: Model, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Arguments of the TRL configuration."""
    own, valid = algorithm_named(algorithm).own, valid_parameters(algorithm)
    for name in asked:
        if name not in valid:
            raise unknown("parameter", name, valid, f" of {algorithm!r}")
    settings = {
        "use_cpu": model.device == "cpu",
        "bf16": model.dtype == "bfloat16",
        "fp16": False,
        "report_to": [],
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": 1,
        "max_steps": 16,
        "per_device_train_batch_size": 4,
        "learning_rate": 2e-4,
        "max_length": min(MAX_LENGTH, model.context_length),
        **asked,
    }
    if "sft_weight" in own:
        weight = asked.get("sft_weight", 1.0)
        if "eta" in asked:
            lengths = [len(model.tokenizer(row["chosen"])["input_ids"]) + 1 for row in rows]
            weight = sft_weight(asked["eta"], settings["beta"], sum(lengths) / len(lengths))
        settings["loss_weights"] = [1.0, weight]
    if settings["bf16"] and model.device == "cpu":
        settings["bf16"] = False
    return {name: value for name, value in settings.items() if name in valid and name not in own}


def network_of(made: Algorithm, model: Model, lora: int | None) -> Any:
    """A trainable copy of the network; with a head of one number for a reward model."""
    if "Reward" not in made.trainer:
        return copy.deepcopy(model.network).requires_grad_(lora is None).train()
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(model.network.config)
    config.num_labels = 1
    config.pad_token_id = tokenizer_of(model).pad_token_id
    network = AutoModelForSequenceClassification.from_config(config).to(model.network.dtype)
    network.base_model.load_state_dict(model.network.base_model.state_dict())
    return network.to(model.network.device)


def tokenizer_of(model: Model) -> Any:
    """A copy of the tokenizer that can pad."""
    tokenizer = copy.deepcopy(model.tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template:
        template_of(tokenizer)  # fixes the date it is trained under, as where it is read
    return tokenizer


def _starts_bare(tokenizer: Any) -> bool:
    """Whether the tokenizer begins a text without BOS, though it has one."""
    return tokenizer.bos_token_id not in tokenizer("x")["input_ids"][:1]


def _references(
    algorithm: str, made: Algorithm, model: Model, lora: int | None, reward: Reward | None, config: Any
) -> dict[str, Any]:
    """Reference network and reward function, where the algorithm takes them."""
    if made.columns == ("prompt",):
        if lora is None and config.beta:
            raise InputError(f"{algorithm!r} with beta > 0 needs a reference, which LoRA gives for free; pass lora=8.")
        return {"reward_funcs": reward}
    if lora is None and made.trainer in ("trl:DPO", "trl:KTO"):
        return {"ref_model": copy.deepcopy(model.network)}
    return {}


def _adapters(made: Algorithm, rank: int) -> Any:
    from peft import LoraConfig

    task = "SEQ_CLS" if "Reward" in made.trainer else "CAUSAL_LM"
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type=task)


def _dataset(rows: list[dict[str, Any]], tokenizer: Any) -> Any:
    """The rows as a data set in memory, as the model is asked them.

    Raises:
        InputError: If a text spells a control token: trained as one, and read as text.
    """
    import datasets

    control = Encoder(tokenizer, 0).control
    for number, row in enumerate(rows, 1):
        for name in ("prompt", *ANSWERS):
            if token := control.first_in(str(row.get(name, ""))):
                raise InputError(
                    f"The {name} of row {number} holds {token!r}, which training would take for this model's control "
                    "token; take it out of the row."
                )
    datasets.disable_progress_bars()
    return datasets.Dataset.from_list([as_trained(tokenizer, row) for row in rows])
