"""The tokenizer of a GGUF file, built from its metadata; a vocabulary with unknown rules is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.models.gguf import Gguf

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of tokens in `tokenizer.ggml.token_type`."""
_GPT2 = "GPT-2"
"""Marks the split built into `tokenizers`, which is GPT-2's."""
_DIGITS = r"\p{N}"
_ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_ENGLISH}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_ENGLISH}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_WORD = r"[^\r\n\p{L}\p{N}]?"
_REST_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = rf"{_WORD}{_UPPER}*{_LOWER}+|{_WORD}{_UPPER}+{_LOWER}*|\p{{N}}|{_REST_SLASH}"
_GPT4O = rf"{_WORD}{_UPPER}*{_LOWER}+{_ENGLISH}?|{_WORD}{_UPPER}+{_LOWER}*{_ENGLISH}?|\p{{N}}{{1,3}}|{_REST_SLASH}"
_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class _Rules:
    """Rules of a byte-level vocabulary for text before merging."""

    splits: tuple[str, ...]
    """Regular expressions, each applied to the pieces of the one before; or GPT-2's split."""
    composed: bool = False
    """Whether text is first brought to Unicode's composed form (NFC)."""
    whole: bool = False
    """Whether a piece that is a token is not merged."""
    begins: bool = False
    """Whether a text begins with BOS by default."""


PRE = {
    **dict.fromkeys(("gpt-2", "phi-2"), _Rules((_GPT2,))),
    **dict.fromkeys(("mpt", "olmo"), _Rules((_GPT2,), composed=True)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "codeshell"), _Rules((_DIGITS, _GPT2))),
    "command-r": _Rules((_DIGITS, _GPT2), composed=True),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3"), _Rules((_LLAMA3,), whole=True, begins=True)),
    **dict.fromkeys(("dbrx", "smaug-bpe"), _Rules((_LLAMA3,))),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2"), _Rules((_QWEN2,), composed=True)),
    "tekken": _Rules((_TEKKEN,), whole=True, begins=True),
    "gpt-4o": _Rules((_GPT4O,)),
    "deepseek-coder": _Rules(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", _DIGITS)),
    "deepseek-v3": _Rules((r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3)),
    "falcon": _Rules((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
}
"""Rules of each `tokenizer.ggml.pre`: those of that model's own tokenizer.json. Other names are refused.

The names and expressions are facts of the models (listed in llama.cpp's src/llama-vocab.cpp, which itself does not
compose text, and splits it less finely for a few).
"""


def tokenizer_of(file: Gguf) -> Any:
    """Return the tokenizer that a GGUF file's metadata describe, as a transformers tokenizer.

    Raises:
        InputError: If its kind or its split is not known, or its parts contradict one another.
    """
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    tokens, kinds = file.value("tokenizer.ggml.tokens"), file.value("tokenizer.ggml.token_type", [])
    if len(kinds) != len(tokens):
        raise file.error(f"has the kinds of {len(kinds)} of its {len(tokens)} tokens (tokenizer.ggml.token_type)")
    vocabulary = {token or f"[EMPTY_{index}]": index for index, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        twice = next(token for index, token in enumerate(tokens) if vocabulary.get(token, index) != index)
        raise file.error(f"has the token {twice!r} twice")
    model = file.value("tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        raise file.error(f"has a tokenizer of the kind {model!r}, which is not supported (gpt2 and llama are)")
    spm = model == "llama"
    ids = {
        "bos": file.value("tokenizer.ggml.bos_token_id", 1 if spm else None),
        "eos": file.value("tokenizer.ggml.eos_token_id", 2 if spm else None),
        "unk": file.value("tokenizer.ggml.unknown_token_id", 0 if spm else None),
        "pad": file.value("tokenizer.ggml.padding_token_id", None),
    }
    if wrong := [f"{name} {index}" for name, index in ids.items() if index is not None and index >= len(tokens)]:
        raise file.error(f"names {wrong[0]} as a special token, of {len(tokens)} tokens")
    named = {f"{name}_token": list(vocabulary)[index] for name, index in ids.items() if index is not None}
    if spm:
        backend, begins = _pieces(file, vocabulary, kinds, named["unk_token"]), True
    else:
        rules = _rules(file)
        backend, begins = _byte_level(file, vocabulary, rules), rules.begins
    special = {index for index in ids.values() if index is not None}
    for kind in (CONTROL, USER_DEFINED):
        added = [
            AddedToken(token, special=kind == CONTROL, normalized=False, rstrip=_eats_spaces(file, token))
            for token, index in vocabulary.items()
            if (CONTROL if index in special or kinds[index] == UNKNOWN else kinds[index]) == kind
        ]
        (backend.add_special_tokens if kind == CONTROL else backend.add_tokens)(added)
    edges = {
        "bos": file.value("tokenizer.ggml.add_bos_token", begins),
        "eos": file.value("tokenizer.ggml.add_eos_token", False),
    }
    if lacking := [name for name, wanted in edges.items() if wanted and ids[name] is None]:
        raise file.error(f"adds {lacking[0]} to every text and does not state which token that is")
    first, last = (f"{named[f'{name}_token']} " * bool(edges[name]) for name in edges)
    if first or last:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{first}$A {last}".strip(),
            pair=f"{first}$A {last}{first.replace(' ', ':1 ')}$B:1 {last.replace(' ', ':1 ')}".strip(),
            special_tokens=[(named[f"{name}_token"], ids[name]) for name in edges if edges[name]],
        )
    if len(backend.get_vocab(with_added_tokens=True)) != len(tokens):
        raise file.error("marks tokens as special that are not in its vocabulary")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **named)
    wrapped.chat_template = file.value("tokenizer.chat_template", None)
    return wrapped


def _rules(file: Gguf) -> _Rules:
    """Return the rules that the file's `tokenizer.ggml.pre` names."""
    name = file.value("tokenizer.ggml.pre", "")
    if name not in PRE:
        raise file.error(
            f"names a split of text that is not known (tokenizer.ggml.pre {name!r}), so its tokens would be wrong"
        )
    return PRE[name]


def _byte_level(file: Gguf, vocabulary: dict[str, int], rules: _Rules) -> Any:
    """Return a tokenizer with byte-level merging, as in GPT-2, Llama 3 and Qwen."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    merges = [tuple(merge.split(" ")) for merge in file.value("tokenizer.ggml.merges")]
    file.unread.discard("tokenizer.ggml.scores")  # written by some converters, without effect
    try:
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=rules.whole))
    except Exception as error:  # what the library raises for merges outside the vocabulary
        raise file.error(f"has merges that do not fit its tokens ({error})") from error
    if rules.composed:
        backend.normalizer = normalizers.NFC()
    steps: list[Any] = [
        pre_tokenizers.ByteLevel(add_prefix_space=False)
        if split == _GPT2
        else pre_tokenizers.Split(Regex(split), behavior="isolated")
        for split in rules.splits
    ]
    if _GPT2 not in rules.splits:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.ByteLevel()
    return backend


def _pieces(file: Gguf, vocabulary: dict[str, int], kinds: list[int], unknown: str) -> Any:
    """Return a tokenizer with sentencepiece's merging by scores, as in Llama 2; unknown characters become bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    scores = file.value("tokenizer.ggml.scores")
    file.unread -= {"tokenizer.ggml.pre", "tokenizer.ggml.merges"}  # written by some converters, without effect
    prefix = bool(file.value("tokenizer.ggml.add_space_prefix", True))
    if len(scores) != len(vocabulary):
        raise file.error(f"has scores of {len(scores)} of its {len(vocabulary)} tokens (tokenizer.ggml.scores)")
    normal = {token: index for token, index in vocabulary.items() if kinds[index] in (NORMAL, USER_DEFINED)}
    pairs = [
        (-scores[index], index, normal[token[:cut]], normal[token[cut:]], (token[:cut], token[cut:]))
        for token, index in normal.items()
        for cut in range(1, len(token))
        if token[:cut] in normal and token[cut:] in normal
    ]
    merges = [pair for *_, pair in sorted(pairs)]
    backend = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    steps: list[Any] = [normalizers.Prepend("▁")] * prefix + [normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence(steps)
    ends: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(ends + [decoders.Strip(" ", 1, 0)] * prefix)
    return backend


def _eats_spaces(file: Gguf, token: str) -> bool:
    """Whether a control token includes the white space behind it, as in Phi 3; the file cannot state this."""
    phi = file.architecture == "phi3" and file.values["tokenizer.ggml.model"] == "llama"
    return phi and token not in ("<unk>", "<s>", "<|endoftext|>")
