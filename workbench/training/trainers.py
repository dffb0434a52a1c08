"""TRL trainers built from the table of algorithms."""

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
    named_settings,
    trl_classes,
    valid_parameters,
)
from workbench.training.rows import RESPONSES, as_trained, checked_rows


def sft_weight(eta: float, beta: float, mean_tokens: float) -> float:
    """Return the weight of TRL's `sft` term (a token mean) that equals RPO's eta * beta * summed log-likelihood."""
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
    """Return a TRL trainer on a copy of the model; it is offline, and deterministic on the CPU.

    Args:
        algorithm: A name of `ALGORITHMS`, with or without settings (see `algorithm_named`).
        model: The model to train; with LoRA also the reference.
        data: Rows with the algorithm's columns, as plain texts; trained as chats if the model has a chat template.
        params: Parameters of the TRL configuration or of `Algorithm.converted`; settings in the name override them.
        folder: Where checkpoints are saved.
        lora: Rank of the adapters on all linear layers; None trains all weights.
        seed: Seed of weights, order and sampling.
        reward: Reward function for rloo and grpo.
        callbacks: Callbacks of transformers.

    Raises:
        InputError: Unknown algorithm or parameter, missing columns, or a combination TRL cannot train.
    """
    chosen = algorithm_named(algorithm)
    rows = checked_rows(algorithm, data)
    if chosen.samples and reward is None:
        raise InputError(f"{algorithm!r} needs a reward function; pass reward=.")
    if reward is not None and not chosen.samples:
        raise InputError(f"{algorithm!r} takes no reward function; use 'rloo' or 'grpo', or drop reward=.")
    trainer_class, config_class = trl_classes(chosen)
    network, tokenizer = network_of(chosen, model, lora), tokenizer_of(model)
    adds_bos = tokenizer.bos_token_id in tokenizer("x")["input_ids"][:1]
    if "cpo" in chosen.trainer and not (tokenizer.chat_template or adds_bos):
        tokenizer.bos_token = None  # otherwise this trainer prepends BOS to every text
    settings = _settings(algorithm, {**chosen.settings, **(params or {}), **named_settings(algorithm)}, model, rows)
    dataset = _dataset(rows, tokenizer)
    try:
        config = config_class(**{"seed": seed, "data_seed": seed} | settings, output_dir=str(folder))
        more = _references(algorithm, chosen, model, lora, reward, config)
        trainer = trainer_class(
            model=network,
            args=config,
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=list(callbacks),
            **more,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"TRL cannot train {algorithm!r} with these parameters: {error}") from error
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    _skip_head_at_prompts(trainer)
    _check_dropped(len(rows), len(trainer.train_dataset), config)
    return trainer


def _check_dropped(given: int, left: int, config: Any) -> None:
    """Warn of rows that TRL drops silently because the response does not fit; packing merges rows instead."""
    most = getattr(config, "max_length", None)
    if not left:
        raise InputError(f"No row leaves room for a response in max_length={most} tokens; raise max_length.")
    if left < given and not getattr(config, "packing", False):
        warnings.warn(
            f"{given - left} of {given} rows are left out: they leave no room for a response in max_length="
            f"{most} tokens.",
            stacklevel=3,
        )


def _skip_head_at_prompts(trainer: Any) -> None:
    """Compute the language-model head at response positions only, during this trainer's steps.

    TRL does so on devices with Triton; elsewhere it computes the head at prompt positions too and discards the result.
    Does nothing where TRL's private switch has another signature.
    """
    utils: Any = import_module("trl.trainer.utils")
    switch, step = getattr(utils, "_use_triton", None), trainer.training_step
    if not inspect.isfunction(switch) or list(inspect.signature(switch).parameters) != ["device"]:
        return

    @wraps(step)
    def training_step(*args: Any, **more: Any) -> Any:
        before, utils._use_triton = utils._use_triton, lambda device: True
        try:
            return step(*args, **more)
        finally:
            utils._use_triton = before

    trainer.training_step = training_step


def _settings(algorithm: str, given: Mapping[str, Any], model: Model, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the arguments of the TRL configuration."""
    converted, valid = algorithm_named(algorithm).converted, valid_parameters(algorithm)
    for name in given:
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
        **given,
    }
    if "sft_weight" in converted:
        weight = given.get("sft_weight", 1.0)
        if "eta" in given:
            lengths = [len(model.tokenizer(row["chosen"])["input_ids"]) + 1 for row in rows]
            weight = sft_weight(given["eta"], settings["beta"], sum(lengths) / len(lengths))
        settings["loss_weights"] = [1.0, weight]
    settings["bf16"] = settings["bf16"] and model.device != "cpu"
    return {name: value for name, value in settings.items() if name in valid and name not in converted}


def network_of(algorithm: Algorithm, model: Model, lora: int | None) -> Any:
    """Return a trainable copy of the network; for a reward model, with a head of one output."""
    if not algorithm.is_reward_model:
        return copy.deepcopy(model.network).requires_grad_(lora is None).train()
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(model.network.config)
    config.num_labels = 1
    config.pad_token_id = tokenizer_of(model).pad_token_id
    network = AutoModelForSequenceClassification.from_config(config).to(model.network.dtype)
    network.base_model.load_state_dict(model.network.base_model.state_dict())
    return network.to(model.network.device)


def tokenizer_of(model: Model) -> Any:
    """Return a copy of the tokenizer with a padding token."""
    tokenizer = copy.deepcopy(model.tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template:
        template_of(tokenizer)  # fixes the template's date to the one used for scoring
    return tokenizer


def _references(
    name: str, algorithm: Algorithm, model: Model, lora: int | None, reward: Reward | None, config: Any
) -> dict[str, Any]:
    """Return the adapters, the reference network and the reward function, for algorithms that take them."""
    from peft import LoraConfig

    more: dict[str, Any] = {"reward_funcs": reward} if algorithm.samples else {}
    if lora is not None:
        task = "SEQ_CLS" if algorithm.is_reward_model else "CAUSAL_LM"
        shape: dict[str, Any] = {"lora_alpha": 2 * lora, "lora_dropout": 0.0, "target_modules": "all-linear"}
        return more | {"peft_config": LoraConfig(r=lora, task_type=task, **shape)}
    if algorithm.samples and config.beta:
        raise InputError(f"{name!r} with beta > 0 needs a reference model, which only LoRA provides; pass lora=8.")
    if algorithm.trainer in ("trl:DPO", "trl:KTO"):
        more["ref_model"] = copy.deepcopy(model.network)
    return more


def _dataset(rows: list[dict[str, Any]], tokenizer: Any) -> Any:
    """Return the rows as an in-memory data set, in the form in which the model is queried.

    Raises:
        InputError: A text contains a control token, which would be trained as a token and scored as text.
    """
    import datasets

    control = Encoder(tokenizer, 0).control
    for number, row in enumerate(rows, 1):
        for name in ("prompt", *RESPONSES):
            if token := control.first_in(str(row.get(name, ""))):
                raise InputError(
                    f"The {name} of row {number} contains {token!r}, which training would encode as this model's "
                    "control token; remove it from the row."
                )
    datasets.disable_progress_bars()
    return datasets.Dataset.from_list([as_trained(tokenizer, row) for row in rows])
