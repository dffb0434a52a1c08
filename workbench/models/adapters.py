"""PEFT adapters: laid over a network, proved, merged in float32, and proved again."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import InputError
from workbench.models import proof
from workbench.models.model import Model, context_length_of
from workbench.models.tokenizers import PROBES
from workbench.models.weights import chat_template_of, headers, read_json, unread

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""Files by which a folder has a tokenizer of its own."""
SCALED = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
"""Parameters of an adapter whose change of the weights can be made stronger or weaker."""
REWRITES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations of LoRA that change the base model's weights when the adapter is laid on."""
TRAINING = re.compile(r"(^|_)(lr|dropout|seed|version|dtype)(_|$)")
"""Settings of an adapter's training that decide no number."""
TOLERANCE = {"bfloat16": 0.5, "float16": 0.5}
"""Nats that merging may move a probe's sum by, of which half precision rounds the weights; 1e-3 in float32."""


def with_adapter(network: Any, model: Model, scale: float = 1.0) -> Any:
    """The network with the model's adapter merged into it, `scale` times as strong.

    The probes are read three times: by the base, by base and adapter, and after the merge, in float32 at least.

    Raises:
        InputError: The adapter's files are damaged or do not fit the network, it changes nothing, it is of a kind that
            cannot be merged, or merging gives other numbers.
    """
    from peft import PeftModel

    config = _config(model)
    assert model.adapter is not None
    shown, file = f"Adapter {str(model.adapter)!r}", model.adapter / "adapter_model.safetensors"
    for key, stored in headers([file]).items():
        if "lora_" in key and stored.dtype not in proof.WHOLE:
            raise InputError(
                f"{shown} stores {key} as {stored.dtype}, and PEFT knows no scale for it; convert the adapter to "
                "float32."
            )
    text = network.config.get_text_config()
    probes = proof.probes(text.vocab_size, context_length_of(network.config, model.name))
    own = len(probes)
    probes += [(ids[:8], ids[-2:]) for ids in _token_indices(config)]
    with proof.computing_in_float32(network):
        base = proof.plain(network, probes)
    before, tied = {id(parameter): parameter.dtype for parameter in network.parameters()}, _tied(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            laid = PeftModel(network, config)
            _widen(laid, before)
            result = laid.load_adapter(str(model.adapter), "default", torch_device="cpu")
        except Exception as error:
            raise InputError(f"{shown} does not fit {model.name!r}: {_reason(error)}") from error
        _check_keys([*result.unexpected_keys], [*result.missing_keys], shown, model.name)
        _scale(laid, scale, shown)
        _untie(laid)
        with proof.computing_in_float32(laid):
            exact = proof.plain(laid, probes)
        effect = float(np.abs(exact - base).max())
        if effect == 0 and scale == 1 and _says_something(laid, before):
            raise InputError(
                f"{shown} holds weights that are not zero and changes nothing in {model.name!r}; check lora_alpha and "
                "target_modules in its adapter_config.json."
            )
        merged = _merged(laid, getattr(network, "dtype", None), before, shown)
    with proof.computing_in_float32(merged):
        moved = float(np.abs(proof.plain(merged, probes) - exact).max())
    if not moved <= TOLERANCE.get(model.dtype, 1e-3):
        raise InputError(
            f"{shown} gives other numbers once it is merged into {model.name!r} ({moved:.2g} nat), so it cannot be "
            "read this way; merge it with the code it was trained with and give the merged folder."
        )
    proof.exact_sums[merged] = exact[:own]
    if tied and not _tied(merged):
        merged.config.get_text_config().tie_word_embeddings = merged.config.tie_word_embeddings = False
    said = "head and embedding are no longer tied, the adapter changes one of them" if tied > _tied(merged) else ""
    _say(merged, model, effect, moved, [said, _base_named(config, model), unread(model.adapter, [file])])
    return merged


def with_tokenizer(tokenizer: Any, model: Model, read: Callable[[Path], Any]) -> Any:
    """The tokenizer an adapter was trained with: its own where its folder holds one, with its own chat template.

    Args:
        tokenizer: The base model's.
        model: With an adapter.
        read: Reads the tokenizer of a folder.

    Raises:
        InputError: If the adapter's tokenizer gives tokens of the base model other ids.
    """
    assert model.adapter is not None
    template, of_base = chat_template_of(model.adapter), tokenizer.chat_template
    if any((model.adapter / name).is_file() for name in VOCABULARIES):
        before, of_probes = tokenizer.get_vocab(), tokenizer(list(PROBES))["input_ids"]
        tokenizer = read(model.adapter)
        known = tokenizer.get_vocab()
        if other := [token for token, number in before.items() if known.get(token) != number]:
            raise InputError(
                f"Adapter {str(model.adapter)!r} has a tokenizer of its own, which gives {len(other)} tokens of "
                f"{str(model.folder)!r} another id ({other[0]!r} first); remove the tokenizer that is stale."
            )
        if len(known) > len(before):
            model.add_note(f"the adapter's tokenizer adds {len(known) - len(before)} tokens")
        elif tokenizer(list(PROBES))["input_ids"] != of_probes:
            model.add_note("the adapter's tokenizer reads some texts otherwise than the base model's")
        tokenizer.chat_template = tokenizer.chat_template or of_base
    elif template is not None:
        tokenizer.chat_template = template
    if tokenizer.chat_template != of_base:
        model.add_note("chat template of the adapter")
    return tokenizer


def _config(model: Model) -> Any:
    """The adapter's configuration; kinds that are no change of weights are refused."""
    from peft import PeftConfig

    try:
        config = PeftConfig.from_pretrained(str(model.adapter))
    except Exception as error:
        raise InputError(f"adapter_config.json of {str(model.adapter)!r} cannot be read: {_reason(error)}") from error
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if config.is_prompt_learning or config.is_adaption_prompt or kind in ("XLORA", "POLY"):
        raise InputError(
            f"Adapter {str(model.adapter)!r} is of the kind {kind}, which changes no weights and cannot be merged; "
            "only adapters like LoRA can be read."
        )
    start = str(getattr(config, "init_lora_weights", ""))
    if start.startswith(REWRITES_BASE):
        raise InputError(
            f"Adapter {str(model.adapter)!r} was trained with init_lora_weights={start!r}, which changes the base "
            "model's own weights; convert it to a plain LoRA (save_pretrained with "
            "path_initial_model_for_weight_conversion)."
        )
    assert model.adapter is not None
    _check_settings(config, read_json(model.adapter / "adapter_config.json"), str(model.adapter))
    config.inference_mode = True
    return config


def _check_settings(config: Any, written: dict[str, Any], adapter: str) -> None:
    """Refuse settings that PEFT would leave out, or put in of its own, where they may change numbers."""
    fields = type(config).__dataclass_fields__
    if "lora_alpha" in fields and "lora_alpha" not in written:
        raise InputError(
            f"adapter_config.json of {adapter!r} has no lora_alpha, so nobody knows how strong the adapter is; write "
            "the value it was trained with."
        )
    for key, value in written.items():
        if value and key not in fields and not TRAINING.search(key):
            raise InputError(
                f"adapter_config.json of {adapter!r} sets {key} to {str(value)[:40]}, which this version of PEFT does "
                "not know and leaves out; update peft, or remove the setting if it changes no number."
            )
    if written.get("alora_invocation_tokens"):
        raise InputError(
            f"Adapter {adapter!r} acts behind its alora_invocation_tokens alone, so it cannot be merged; only adapters "
            "that act on the whole text can be read."
        )


def _token_indices(config: Any) -> Iterator[tuple[int, ...]]:
    """Token ids that an adapter trains rows of the embedding for, which random probes would miss."""
    found = getattr(config, "trainable_token_indices", None) or getattr(config, "token_indices", None) or []
    for ids in found.values() if isinstance(found, dict) else [found]:
        if len(ids):
            yield tuple(int(i) for i in (*ids, *ids, *ids))


def _widen(laid: Any, base: dict[int, Any]) -> None:
    """Gives an adapter's parameters float32, so that none of its numbers is rounded when it is read."""
    for parameter in laid.parameters():
        if id(parameter) not in base and parameter.element_size() < 4:
            parameter.data = parameter.data.float()


def _check_keys(unexpected: list[str], missing: list[str], shown: str, name: str) -> None:
    """Refuse an adapter part of which was not read, or part of which the file lacks."""
    if unexpected:
        raise InputError(
            f"{shown} holds {len(unexpected)} weights that have no place in {name!r} ({unexpected[0]} first): it was "
            "made for another model, or its names have a prefix such as _orig_mod. or module. that must be taken off."
        )
    if missing:
        raise InputError(
            f"{shown} lacks {len(missing)} weights that its adapter_config.json asks for in {name!r} ({missing[0]} "
            "first); it is incomplete, or was made for a smaller model."
        )


def _scale(laid: Any, scale: float, shown: str) -> None:
    """Multiplies an adapter's change of the weights."""
    if scale == 1:
        return
    adapted = {name for name, _ in laid.named_parameters() if ".default" in name}
    if other := sorted(name for name in adapted if not any(part in name for part in SCALED)):
        raise InputError(f"{shown} holds {other[0]}, which cannot be scaled; load it with scale=1.")
    for name, parameter in laid.named_parameters():
        if "lora_B" in name or "lora_embedding_B" in name:
            parameter.data.mul_(scale)


def _tied(network: Any) -> bool:
    """Whether the embedding is the head."""
    head, embedding = network.get_output_embeddings(), network.get_input_embeddings()
    return head is not None and embedding is not None and head.weight is embedding.weight


def _untie(laid: Any) -> None:
    """Gives an adapted layer a weight of its own where another module shares it."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in laid.modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        owners = Counter(id(parameter) for _, parameter in laid.named_parameters(remove_duplicate=False))
        layer = module.get_base_layer()
        for name, parameter in list(layer.named_parameters(recurse=False)):
            if owners[id(parameter)] > 1:
                setattr(layer, name, torch.nn.Parameter(parameter.detach().clone(), requires_grad=False))


def _says_something(laid: Any, base: dict[int, Any]) -> bool:
    """Whether an adapter's weights are others than those of one that does nothing."""
    own = {name: parameter for name, parameter in laid.named_parameters() if id(parameter) not in base}
    tuned = {name: parameter for name, parameter in own.items() if "lora_B" in name or "lora_embedding_B" in name}
    return any(bool((parameter != float("ia3_" in name)).any()) for name, parameter in (tuned or own).items())


def _merged(laid: Any, dtype: Any, before: dict[int, Any], shown: str) -> Any:
    """The base network with the adapter merged into it in float32, then in its own types again."""
    try:
        merged = laid.merge_and_unload()
    except Exception as error:
        raise InputError(
            f"{shown} cannot be merged ({_reason(error)[:-1]}); merge it with the code it was trained with."
        ) from error
    for parameter in merged.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(before.get(id(parameter), dtype or parameter.dtype))
    return merged


def _base_named(config: Any, model: Model) -> str:
    """What an adapter says of its base, where that is not the name or folder of the model it is laid over."""
    named, base = str(config.base_model_name_or_path or ""), model.name.partition("#")[0].partition("@")[0]
    same = Path(named).name in (model.name, Path(base).name, model.folder.name if model.folder else "")
    return f"the adapter names {named} as its base" if named and not same else ""


def _say(merged: Any, model: Model, effect: float, moved: float, said: list[str]) -> None:
    """Leaves with the network what a record should say of its adapter, and warns where half precision hides it."""
    if model.dtype in TOLERANCE:
        rounding = f"rounding the merged weights to {model.dtype} moves probes by {moved:.2g} nat"
        said.append(f"{rounding}, the adapter by {effect:.2g}")
        if moved > effect / 4:
            warnings.warn(f"{model.name}: {said[-1]}; use dtype='float32' to see what it does", stacklevel=2)
    merged.workbench_note = "; ".join(filter(None, [getattr(merged, "workbench_note", ""), *said]))


def _reason(error: BaseException) -> str:
    """One sentence of what a library says, with the tensor where shapes differ."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    named = next((line for line in lines if "size mismatch" in line), lines[0])
    text = f"it lacks {named}" if isinstance(error, KeyError) else named
    if "size mismatch" in text and re.search(r"embed|lm_head|wte|embed_out", text):
        text = text[:200].rstrip(".:") + "; if it adds tokens, resize the base, save it, and lay the adapter over that"
    return text[:300].rstrip(".:") + "."
