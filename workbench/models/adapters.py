"""PEFT adapters: applied to a network, checked, merged in float32, and checked again."""

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
"""Files of which a folder with its own tokenizer has at least one."""
SCALED = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
"""Parameters of adapters whose change of the weights can be scaled."""
REWRITES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations of LoRA that also change the base model's weights."""
TRAINING = re.compile(r"(^|_)(lr|dropout|seed|version|dtype)(_|$)")
"""Settings of an adapter's training that affect no number."""
TOLERANCE = {"bfloat16": 0.5, "float16": 0.5}
"""Nats by which merging may move a probe in half precision, where weights are rounded; 1e-3 in float32."""


def with_adapter(network: Any, model: Model, scale: float = 1.0) -> Any:
    """Return the network with the model's adapter merged into it, its change of the weights multiplied by `scale`.

    The probes are scored by the base, by base and adapter, and after the merge, in float32 or wider.

    Raises:
        InputError: If the adapter's files are damaged or do not fit the network, it has no effect, its kind cannot be
            merged, or merging changes the numbers.
    """
    from peft import PeftModel

    config = _config(model)
    assert model.adapter is not None
    shown, file = f"Adapter {str(model.adapter)!r}", model.adapter / "adapter_model.safetensors"
    tensors, ranks = headers([file]), [getattr(config, "r", 0), *(getattr(config, "rank_pattern", None) or {}).values()]
    longest = max((size for stored in tensors.values() for size in stored.shape), default=0)
    if wrong := [rank for rank in ranks if isinstance(rank, int) and rank > longest]:
        raise InputError(
            f"adapter_config.json of {str(model.adapter)!r} gives the rank {wrong[0]}, but no weight of the "
            f"adapter is longer than {longest}; take adapter_config.json from the source of the weights."
        )
    for key, stored in tensors.items():
        if "lora_" in key and stored.dtype not in proof.WHOLE:
            raise InputError(
                f"{shown} stores {key} as {stored.dtype}, for which PEFT has no scale; convert the adapter to float32."
            )
    vocabulary = network.config.get_text_config().vocab_size
    probes = proof.probes(vocabulary, context_length_of(network.config, model.name))
    standard = len(probes)
    probes += [(ids[:8], ids[-2:]) for ids in _trained_tokens(config)]
    with proof.computing_in_float32(network):
        base = proof.plain(network, probes)
    before, tied = {id(parameter): parameter.dtype for parameter in network.parameters()}, _tied(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adapted = PeftModel(network, config)
            for parameter in adapted.parameters():  # float32, so that loading does not round the adapter's numbers
                if id(parameter) not in before and parameter.element_size() < 4:
                    parameter.data = parameter.data.float()
            keys = adapted.load_adapter(str(model.adapter), "default", torch_device="cpu")
        except Exception as error:
            raise InputError(f"{shown} does not fit {model.name!r}: {_reason(error)}") from error
        _check_keys([*keys.unexpected_keys], [*keys.missing_keys], shown, model.name)
        if scale != 1:
            _scale(adapted, scale, shown)
        _untie(adapted)
        with proof.computing_in_float32(adapted):
            exact = proof.plain(adapted, probes)
        effect = float(np.abs(exact - base).max())
        if effect == 0 and scale == 1 and _is_trained(adapted, before):
            raise InputError(
                f"{shown} has weights that are not zero and changes nothing in {model.name!r}; check lora_alpha and "
                "target_modules in its adapter_config.json."
            )
        merged = _merged(adapted, getattr(network, "dtype", None), before, shown)
    with proof.computing_in_float32(merged):
        moved = float(np.abs(proof.plain(merged, probes) - exact).max())
    if not moved <= TOLERANCE.get(model.dtype, 1e-3):
        raise InputError(
            f"{shown} gives other numbers once it is merged into {model.name!r} ({moved:.2g} nat); merge it with the "
            "code it was trained with and give the merged folder."
        )
    proof.exact_sums[merged] = exact[:standard]
    notes = [getattr(merged, "workbench_note", "")]
    if tied and not _tied(merged):
        merged.config.get_text_config().tie_word_embeddings = merged.config.tie_word_embeddings = False
        notes.append("head and embedding are no longer tied, the adapter changes one of them")
    notes += [_base_named(config, model), unread(model.adapter, [file])]
    if model.dtype in TOLERANCE:
        rounding = f"rounding the merged weights to {model.dtype} moves probes by {moved:.2g} nat"
        notes.append(f"{rounding}, the adapter by {effect:.2g}")
        if moved > effect / 4:
            warnings.warn(f"{model.name}: {notes[-1]}; use dtype='float32' to see its effect", stacklevel=2)
    merged.workbench_note = "; ".join(filter(None, notes))
    return merged


def with_tokenizer(tokenizer: Any, model: Model, read: Callable[[Path], Any]) -> Any:
    """Return the tokenizer of the model's adapter: the base model's, or its own by `read`, with its chat template.

    Raises:
        InputError: If the adapter's tokenizer gives tokens of the base model other ids.
    """
    assert model.adapter is not None
    template, of_base = chat_template_of(model.adapter), tokenizer.chat_template
    if any((model.adapter / name).is_file() for name in VOCABULARIES):
        before, encoded = tokenizer.get_vocab(), tokenizer(list(PROBES))["input_ids"]
        tokenizer = read(model.adapter)
        known = tokenizer.get_vocab()
        if other := [token for token, number in before.items() if known.get(token) != number]:
            raise InputError(
                f"Adapter {str(model.adapter)!r} has a tokenizer of its own, which gives {len(other)} tokens of "
                f"{str(model.folder)!r} another id ({other[0]!r} first); remove the tokenizer that is stale."
            )
        if len(known) > len(before):
            model.add_note(f"the adapter's tokenizer adds {len(known) - len(before)} tokens")
        elif tokenizer(list(PROBES))["input_ids"] != encoded:
            model.add_note("the adapter's tokenizer encodes some texts otherwise than the base model's")
        tokenizer.chat_template = tokenizer.chat_template or of_base
    elif template is not None:
        tokenizer.chat_template = template
    if tokenizer.chat_template != of_base:
        model.add_note("chat template of the adapter")
    return tokenizer


def _config(model: Model) -> Any:
    """Return the adapter's configuration."""
    from peft import PeftConfig

    assert model.adapter is not None
    adapter, written = str(model.adapter), read_json(model.adapter / "adapter_config.json")
    try:
        config = PeftConfig.from_pretrained(adapter)
    except Exception as error:
        raise InputError(f"adapter_config.json of {adapter!r} cannot be read: {_reason(error)}") from error
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if config.is_prompt_learning or config.is_adaption_prompt or kind in ("XLORA", "POLY"):
        raise InputError(
            f"Adapter {adapter!r} is of the kind {kind}, which changes no weights and cannot be merged; only adapters "
            "that change weights, as LoRA does, are supported."
        )
    start = str(getattr(config, "init_lora_weights", ""))
    if start.startswith(REWRITES_BASE):
        raise InputError(
            f"Adapter {adapter!r} was trained with init_lora_weights={start!r}, which changes the base model's own "
            "weights; convert it to a plain LoRA (save_pretrained with path_initial_model_for_weight_conversion)."
        )
    fields = type(config).__dataclass_fields__
    if "lora_alpha" in fields and "lora_alpha" not in written:
        raise InputError(
            f"adapter_config.json of {adapter!r} has no lora_alpha, so the adapter's scale is unknown; add the value "
            "it was trained with."
        )
    for key, value in written.items():
        if value and key not in fields and not TRAINING.search(key):
            raise InputError(
                f"adapter_config.json of {adapter!r} sets {key} to {str(value)[:40]}, which this version of PEFT does "
                "not know and ignores; update peft, or remove the setting if it affects no number."
            )
    if written.get("alora_invocation_tokens"):
        raise InputError(
            f"Adapter {adapter!r} acts only behind its alora_invocation_tokens and cannot be merged; only adapters "
            "that act on the whole text are supported."
        )
    config.inference_mode = True
    return config


def _trained_tokens(config: Any) -> Iterator[tuple[int, ...]]:
    """Yield the token ids whose embeddings an adapter trains, three times; random probes may not contain them."""
    tokens = getattr(config, "trainable_token_indices", None) or getattr(config, "token_indices", None) or []
    for ids in tokens.values() if isinstance(tokens, dict) else [tokens]:
        if len(ids):
            yield tuple(int(i) for i in (*ids, *ids, *ids))


def _check_keys(unexpected: list[str], missing: list[str], shown: str, name: str) -> None:
    """Refuse an adapter with weights that were not loaded, or without weights that its configuration requires."""
    if unexpected:
        raise InputError(
            f"{shown} contains {len(unexpected)} weights that have no place in {name!r} ({unexpected[0]} first): it "
            "was made for another model, or its names have a prefix such as _orig_mod. or module. that must be removed."
        )
    if missing:
        raise InputError(
            f"{shown} lacks {len(missing)} weights that its adapter_config.json requires in {name!r} ({missing[0]} "
            "first); it is incomplete, or was made for a smaller model."
        )


def _scale(adapted: Any, scale: float, shown: str) -> None:
    """Multiply an adapter's change of the weights."""
    names = sorted(name for name, _ in adapted.named_parameters() if ".default" in name)
    if other := [name for name in names if not any(part in name for part in SCALED)]:
        raise InputError(f"{shown} contains {other[0]}, which cannot be scaled; load it with scale=1.")
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name or "lora_embedding_B" in name:
            parameter.data.mul_(scale)


def _tied(network: Any) -> bool:
    """Whether head and embedding share one weight."""
    head, embedding = network.get_output_embeddings(), network.get_input_embeddings()
    return head is not None and embedding is not None and head.weight is embedding.weight


def _untie(adapted: Any) -> None:
    """Give each adapted layer its own copy of weights that other modules share."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    owners = Counter(id(parameter) for _, parameter in adapted.named_parameters(remove_duplicate=False))
    for module in adapted.modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        layer = module.get_base_layer()
        for name, parameter in list(layer.named_parameters(recurse=False)):
            if owners[id(parameter)] > 1:
                owners[id(parameter)] -= 1
                setattr(layer, name, torch.nn.Parameter(parameter.detach().clone(), requires_grad=False))


def _is_trained(adapted: Any, base: dict[int, Any]) -> bool:
    """Whether an adapter's weights differ from an initialisation without effect (0, or 1 for IA3)."""
    added = {name: parameter for name, parameter in adapted.named_parameters() if id(parameter) not in base}
    tuned = {name: parameter for name, parameter in added.items() if "lora_B" in name or "lora_embedding_B" in name}
    return any(bool((parameter != float("ia3_" in name)).any()) for name, parameter in (tuned or added).items())


def _merged(adapted: Any, dtype: Any, before: dict[int, Any], shown: str) -> Any:
    """Return the base network with the adapter merged in float32, converted to its former types."""
    try:
        merged = adapted.merge_and_unload()
    except Exception as error:
        raise InputError(
            f"{shown} cannot be merged ({_reason(error)[:-1]}); merge it with the code it was trained with."
        ) from error
    for parameter in merged.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(before.get(id(parameter), dtype or parameter.dtype))
    return merged


def _base_named(config: Any, model: Model) -> str:
    """Return a note on the base that an adapter names, if that is not the name or folder of its base here."""
    named, base = str(config.base_model_name_or_path or ""), model.name.partition("#")[0].partition("@")[0]
    same = Path(named).name in (model.name, Path(base).name, model.folder.name if model.folder else "")
    return f"the adapter names {named} as its base" if named and not same else ""


def _reason(error: BaseException) -> str:
    """Return a library's error message as one sentence, with the tensor if shapes differ."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    named = next((line for line in lines if "size mismatch" in line), lines[0])
    text = f"it lacks {named}" if isinstance(error, KeyError) else named
    if "size mismatch" in text and re.search(r"embed|lm_head|wte|embed_out", text):
        text = text[:200].rstrip(".:") + "; if it adds tokens, resize the base, save it, and apply the adapter to that"
    return text[:300].rstrip(".:") + "."
