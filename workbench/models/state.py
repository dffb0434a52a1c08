"""What decides the numbers of a network and a tokenizer in memory, and whether any of it has changed.

A fingerprint is made once. Afterwards anything in memory may change: weights, buffers, hooks, training mode, a module,
the switches and scalings of an adapter, a setting of the configuration, a rule of the tokenizer. A state maps the path
of each such thing to a value that can be compared, and is made without reading whole tensors.
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
"""Path -> what stands there; with equal states a network gives equal numbers."""
SAMPLED = 16
"""Numbers of each tensor that are read, for writes past the tensor's own count (`tensor.data`)."""
NUMBERS = " (numbers)"
"""Behind the path of a tensor: the path of those numbers."""
KEPT_APART = re.compile(
    r"_(parameters|buffers|modules|non_persistent.*|(forward|backward|state_dict|load|is_full).*hook.*)"
)
"""Attributes of modules that are read elsewhere, or not at all."""
IRRELEVANT = frozenset(
    [
        *("_output_capturing_hooks_installed", "_is_hf_initialized", "gradient_checkpointing", "generation_config"),
        *(
            "_name_or_path",
            "_commit_hash",
            "name_or_path",
            "transformers_version",
            "use_cache",
            "warnings_issued",
            "workbench_note",
        ),
        *("init_kwargs", "init_inputs", "files_loaded", "deprecation_warnings", "verbose"),
        *("_tokenizer", "_in_target_context_manager"),
    ]
)
"""Attributes of modules, configurations and tokenizers that decide no number."""
RECOMPUTED = re.compile(r"(?!.*original).*(inv_freq|max_seq_len_cached|attention_scaling)")
"""Attributes that a rotary embedding whose factors follow the length of a text writes anew at each forward."""
PROBE = "The year 1984, 10 or 123\n\n1  tab\t naïve façade 日本語 🙂 <s></s> don't(x)==0; "
"""A text of digits, spaces, accents, other scripts and control tokens; a change of the vocabulary changes its ids."""
LIBRARIES = ("torch.", "transformers.", "peft.")
"""Packages whose functions networks call by name, so that another function under that name changes their numbers."""
computing = RLock()
"""Held while the engine has a network compute in another way than its own; a state is taken when none does."""
_written: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def of_network(network: Any) -> State:
    """The state of a network; its cost follows the number of modules and tensors, not their size."""
    with computing:
        return structure(network) | dict(_tensors(network))


def structure(network: Any) -> State:
    """The state of a network without its tensors: modules, hooks, attributes and configuration."""
    with computing:
        return {"": id(network)} | dict(_described(network, id))


def in_words(network: Any) -> list[str]:
    """The structure of a network in words that are the same in every process, for a fingerprint."""
    return [f"{path} {value}" for path, value in _described(network, named)]


def of_tokenizer(tokenizer: Any, name_of: Callable[[Any], Any] = id) -> State:
    """The state of a tokenizer: all of its rules; of its vocabulary the size, some entries and the ids of a text."""
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
    """The first path at which a network or tokenizer is not as in a former state; "" if there is none."""
    now, ignored = state_of(part), _written.get(part, ()) if state_of is of_network else ()
    paths = (path for path in {**before, **now} if now.get(path) != before.get(path) and path not in ignored)
    return next((path or "another object" for path in paths), "")


def learn(network: Any, before: State) -> None:
    """Takes what changed since `before` as written by this network's own forward, and compares it no more.

    Weights are always compared: no forward writes to them.
    """
    now, weights = of_network(network), dict(network.named_parameters(remove_duplicate=False))
    written = {path for path in {**before, **now} if now.get(path) != before.get(path)}
    _written.setdefault(network, set()).update(path for path in written if path.removesuffix(NUMBERS) not in weights)


def in_training(network: Any) -> str:
    """The name of the first module in training mode, that of the class for the network itself; "" if there is none."""
    return next((name or type(network).__name__ for name, module in network.named_modules() if module.training), "")


def is_hooked(network: Any) -> bool:
    """Whether a module has a hook or a forward of its own; what they do cannot be known from outside."""
    return any(_hooks(module) or _own_forward(module) for module in network.modules())


def _described(network: Any, name_of: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    """Path and value of everything but tensors."""
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
            if name == "forward" and not _own_forward(module):
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
    """Name and value of each setting of a configuration, also of those inside it."""
    for name, value in vars(config).items():
        if hasattr(value, "to_diff_dict"):
            yield from ((f"{name}.{inner}", each) for inner, each in _settings_of(value, name_of))
        elif name not in IRRELEVANT:
            yield name, _value(value, name_of)


def _value(value: Any, name_of: Callable[[Any], Any]) -> Any:
    """What an attribute holds: plain values by content, also in containers; other objects by what `name_of` says."""
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
    """What a thing is called in every process."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _hooks(module: Any) -> list[tuple[Any, Any]]:
    """The hooks on a module's passes, apart from those transformers leaves there for hidden states."""
    named = [some for name, some in vars(module).items() if name.startswith(("_forward", "_backward")) and some]
    hooks = [each for some in named if hasattr(some, "values") for each in some.items()]
    return [(k, hook) for k, hook in hooks if not str(getattr(hook, "__module__", "")).startswith("transformers.")]


def _own_forward(module: Any) -> bool:
    """Whether a module has another forward than its class."""
    own = vars(module).get("forward")
    usual = (
        isinstance(own, MethodType)
        and own.__self__ is module
        and own.__func__ is getattr(type(module), "forward", None)
    )
    return own is not None and not usual


@cache
def _is_left_out(name: str) -> bool:
    return name in IRRELEVANT or KEPT_APART.fullmatch(name) is not None


def _recomputes(module: Any) -> bool:
    """Whether a module is a rotary embedding whose factors follow the length of a text."""
    kinds = vars(module).get("rope_type")
    kinds = kinds.values() if isinstance(kinds, dict) else [kinds]
    return any(kind in ("dynamic", "longrope") for kind in kinds)


def _tensor(tensor: Any) -> tuple[Any, ...]:
    """What changes when a tensor is replaced, moved, or written to in place."""
    written = None if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), written, tuple(tensor.shape), tensor.stride(), str(tensor.dtype), str(tensor.device)


def _tensors(network: Any) -> Iterator[tuple[str, Any]]:
    """Path and state of every parameter and buffer; the sampled numbers of a device are fetched together."""
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
    """The bytes of some numbers of a tensor, spread over it, on its device."""
    import torch

    step = max(1, tensor.numel() // SAMPLED)
    if tensor.is_contiguous():
        some = tensor.view(-1)[::step]
    else:
        some = tensor[torch.unravel_index(torch.arange(0, tensor.numel(), step, device=tensor.device), tensor.shape)]
    return some.contiguous().view(torch.uint8)


def _rule(rule: Any) -> Any:
    """A normalizer, pre-tokenizer, post-processor or decoder, written out."""
    try:
        return rule and rule.__getstate__()
    except Exception:  # one written in Python cannot be written out; what it does shows in the encoding
        return type(rule).__name__


def _settings(model: Any) -> Iterator[tuple[str, str]]:
    """The settings of a tokenizer's model, such as its dropout."""
    for name in dir(model):
        value = None if name.startswith("_") else getattr(model, name)
        if value is None or isinstance(value, (bool, int, float, str)):
            yield name, repr(value)
