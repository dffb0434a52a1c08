"""State of a network and a tokenizer in memory: everything that affects their numbers, to detect changes.

A fingerprint is computed once, and anything in memory may change afterwards: weights, buffers, hooks, training mode,
modules, the switches and scalings of an adapter, settings, rules of the tokenizer. A state maps the path of each of
these to a comparable value and is computed without reading whole tensors.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from threading import RLock
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

State = dict[str, Any]
"""Path -> comparable value; a network with an equal state gives equal numbers."""
SAMPLED = 16
"""Numbers read from each tensor, to detect writes that bypass its version counter (`tensor.data`)."""
NUMBERS = " (numbers)"
"""Suffix of the path under which a tensor's sampled numbers are kept."""
SEPARATE = re.compile(
    r"_(parameters|buffers|modules|non_persistent.*|(forward|backward|state_dict|load|is_full).*hook.*)"
)
"""Attributes of modules that are read elsewhere, or not at all."""
IRRELEVANT = frozenset((
    "_output_capturing_hooks_installed", "_is_hf_initialized", "gradient_checkpointing", "generation_config",
    "_name_or_path", "_commit_hash", "name_or_path", "transformers_version", "use_cache", "warnings_issued",
    "workbench_note", "init_kwargs", "init_inputs", "files_loaded", "deprecation_warnings", "verbose", "_tokenizer",
    "_in_target_context_manager",
))  # fmt: skip
"""Attributes of modules, configurations and tokenizers that affect no number."""
RECOMPUTED = re.compile(r"(?!.*original).*(inv_freq|max_seq_len_cached|attention_scaling)")
"""Attributes that a rotary embedding whose factors depend on the length of a text recomputes at each forward."""
PROBE = "The year 1984, 10 or 123\n\n1  tab\t naïve façade 日本語 🙂 <s></s> don't(x)==0; "
"""Digits, spaces, accents, other scripts and control tokens, whose ids a change of the vocabulary changes."""
LIBRARIES = ("torch.", "transformers.", "peft.")
"""Packages whose functions networks call by name, so that replacing a function changes their numbers."""
computing = RLock()
"""Locked while the engine computes with a modified network; a state is only taken outside."""
_written: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def of_network(network: Any) -> State:
    """Return the state of a network; the cost depends on the number of modules and tensors, not on their size."""
    with computing:
        return structure(network) | dict(_tensors(network))


def structure(network: Any) -> State:
    """Return the state of a network without its tensors: modules, hooks, attributes and configuration."""
    with computing:
        return {"": id(network)} | dict(_described(network, id))


def in_words(network: Any) -> list[str]:
    """Return the structure of a network as text that is the same in every process, for a fingerprint."""
    return [f"{path} {value}" for path, value in _described(network, named)]


def of_tokenizer(tokenizer: Any, name_of: Callable[[Any], Any] = id) -> State:
    """Return the state of a tokenizer: rules, size and some entries of the vocabulary, and the ids of a text."""
    state: State = {"": name_of(tokenizer)}
    state |= {name: _value(value, name_of) for name, value in vars(tokenizer).items() if name not in IRRELEVANT}
    state["vocabulary"] = len(tokenizer)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return state | {"encoding": tokenizer.encode(PROBE)}
    for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        state[name] = _rule(getattr(backend, name))
    settings = [f"{name}={value}" for name, value in _settings(backend.model)]
    size = backend.get_vocab_size()
    state["model"] = [type(backend.model).__name__, *settings, size]
    state["added tokens"] = repr(backend.get_added_tokens_decoder())
    state["some tokens"] = [backend.id_to_token(i) for i in range(0, size, max(1, size // 64))]
    state["encoding"] = [tokenizer.encode(PROBE, add_special_tokens=whole) for whole in (False, True)]
    return state


def changed(part: Any, before: State, state_of: Callable[[Any], State]) -> str:
    """Return the first path at which a network or tokenizer differs from an earlier state; empty if there is none."""
    now, ignored = state_of(part), _written.get(part, ()) if state_of is of_network else ()
    paths = (path for path in {**before, **now} if now.get(path) != before.get(path) and path not in ignored)
    return next((path or "another object" for path in paths), "")


def learn(network: Any, before: State) -> None:
    """Exclude from comparison what changed since `before`: the network's own forward writes it.

    Weights are always compared, since no forward writes to them.
    """
    now, weights = of_network(network), dict(network.named_parameters(remove_duplicate=False))
    written = {path for path in {**before, **now} if now.get(path) != before.get(path)}
    _written.setdefault(network, set()).update(path for path in written if path.removesuffix(NUMBERS) not in weights)


def in_training(network: Any) -> str:
    """Return the name of the first module in training mode (of the class, for the network itself); empty if none is."""
    return next((name or type(network).__name__ for name, module in network.named_modules() if module.training), "")


def is_hooked(network: Any) -> bool:
    """Whether a module has hooks or a replaced forward, whose effect cannot be known from outside."""
    return any(_hooks(module) or _has_replaced_forward(module) for module in network.modules())


def _described(network: Any, name_of: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    """Yield path and value of everything but tensors."""
    from torch.nn.modules import module as torch_modules

    for name in ("_global_forward_hooks", "_global_forward_pre_hooks"):
        yield f"torch {name}", [name_of(hook) for hook in getattr(torch_modules, name).values()]
    configs: dict[int, tuple[str, Any]] = {}
    for path, module in network.named_modules():
        kind: Any = type(module)
        yield f"{path}:", (name_of(module), *map(name_of, (kind, kind.__call__, getattr(kind, "forward", None))))
        yield f"{path}: hooks", [(key, name_of(hook)) for key, hook in _hooks(module)]
        recomputes = _recomputes(module)
        for name, value in vars(module).items():
            if _is_left_out(name) or (recomputes and RECOMPUTED.fullmatch(name)):
                continue
            if name == "forward" and not _has_replaced_forward(module):
                continue
            if hasattr(value, "to_diff_dict"):
                configs.setdefault(id(value), (f"{path}.{name}".lstrip("."), value))
            yield f"{path}.{name}".lstrip("."), _value(value, name_of)
    for path, config in configs.values():
        yield from ((f"{path}.{name}", value) for name, value in _settings_of(config, name_of))
    for library in sorted({type(module).__module__ for module in network.modules()} | {"torch.nn.functional"}):
        if library.startswith(LIBRARIES):
            functions = [each for each in vars(sys.modules[library]).items() if isinstance(each[1], FunctionType)]
            yield f"functions of {library}", [(name, name_of(function)) for name, function in functions]


def _settings_of(config: Any, name_of: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each setting of a configuration, also of nested configurations."""
    for name, value in vars(config).items():
        if hasattr(value, "to_diff_dict"):
            yield from ((f"{name}.{inner}", each) for inner, each in _settings_of(value, name_of))
        elif name not in IRRELEVANT:
            yield name, _value(value, name_of)


def _value(value: Any, name_of: Callable[[Any], Any]) -> Any:
    """Return a comparable value of an attribute: content for plain values and containers, else `name_of` the object."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, dict):
        return [(_value(key, name_of), _value(each, name_of)) for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return [_value(each, name_of) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted(str(_value(each, name_of)) for each in value)
    if isinstance(value, MethodType):
        return name_of(value.__func__), name_of(value.__self__)
    if hasattr(value, "data_ptr"):
        return _tensor(value) if name_of is id else repr(value.tolist())
    if type(value).__module__ in ("torch", "numpy") or type(value).__name__ == "AddedToken":
        return repr(value)
    return name_of(value)


def named(thing: Any) -> str:
    """Return the qualified name of a class or function, or of an object's class."""
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


def _hooks(module: Any) -> list[tuple[Any, Any]]:
    """Return the hooks on a module's passes, without those that transformers adds to capture hidden states."""
    groups = [group for name, group in vars(module).items() if name.startswith(("_forward", "_backward")) and group]
    hooks = [each for group in groups if hasattr(group, "values") for each in group.items()]
    return [(k, hook) for k, hook in hooks if not str(getattr(hook, "__module__", "")).startswith("transformers.")]


def _has_replaced_forward(module: Any) -> bool:
    """Whether a module has a forward other than its class's."""
    forward, usual = vars(module).get("forward"), getattr(type(module), "forward", None)
    bound = isinstance(forward, MethodType) and forward.__self__ is module and forward.__func__ is usual
    return forward is not None and not bound


@cache
def _is_left_out(name: str) -> bool:
    return name in IRRELEVANT or SEPARATE.fullmatch(name) is not None


def _recomputes(module: Any) -> bool:
    """Whether a module is a rotary embedding whose factors depend on the length of a text."""
    kinds = vars(module).get("rope_type")
    kinds = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(kind in ("dynamic", "longrope") for kind in kinds)


def _tensor(tensor: Any) -> tuple[Any, ...]:
    """Return what changes when a tensor is replaced, moved, or written to in place."""
    written = None if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), written, tuple(tensor.shape), tensor.stride(), str(tensor.dtype), str(tensor.device)


def _tensors(network: Any) -> Iterator[tuple[str, Any]]:
    """Yield path and state of every parameter and buffer; the samples of one device are fetched together."""
    import torch

    samples: dict[Any, list[tuple[str, Any]]] = {}
    for path, module in network.named_modules():
        recomputes = _recomputes(module)
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is None or (recomputes and RECOMPUTED.fullmatch(name)):
                continue
            full = f"{path}.{name}".lstrip(".")
            yield full, _tensor(tensor)
            if tensor.numel() and not tensor.is_meta:
                samples.setdefault(tensor.device, []).append((full, _sample(tensor.detach())))
    for some in samples.values():
        numbers = torch.cat([sample for _, sample in some]).cpu().numpy().tobytes()
        for path, sample in some:
            yield path + NUMBERS, numbers[: len(sample)]
            numbers = numbers[len(sample) :]


def _sample(tensor: Any) -> Any:
    """Return the bytes of evenly spaced numbers of a tensor, on its device."""
    import torch

    step = max(1, tensor.numel() // SAMPLED)
    if tensor.is_contiguous():
        some = tensor.view(-1)[::step]
    else:
        some = tensor[torch.unravel_index(torch.arange(0, tensor.numel(), step, device=tensor.device), tensor.shape)]
    return some.contiguous().view(torch.uint8)


def _rule(rule: Any) -> Any:
    """Return a normalizer, pre-tokenizer, post-processor or decoder, serialised."""
    try:
        return rule and rule.__getstate__()
    except Exception:  # a rule written in Python cannot be serialised; its effect shows in the encoding
        return type(rule).__name__


def _settings(model: Any) -> Iterator[tuple[str, str]]:
    """Yield the settings of a tokenizer's model, such as its dropout."""
    for name in dir(model):
        value = None if name.startswith("_") else getattr(model, name)
        if value is None or isinstance(value, (bool, int, float, str)):
            yield name, repr(value)
